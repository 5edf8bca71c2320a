/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records: what goes in comes out, and no flipped bit goes unseen. */
#include "replica/record.h"

#include <errno.h>

#include "replica/hash.h"
#include "tests/unit/tmpdir.h"

static const struct record sample = {
	.flags = RECORD_OPEN,
	.leaf_shift = 12,
	.type = 8,
	.id = 0x1122334455667788,
	.gen = 3,
	.size = 0xfedcba9876543210,
	.hash = 0x0102030405060708,
	.mtime = -5,
	.ctime = 1700000000123456789,
	.sealed_at = INT64_MIN,
	.meta = 0xdeadbeef,
};

/* Sets the self-check as a writer would. */
static void sign(uint8_t *bytes)
{
	uint64_t h = hash_bytes(bytes, RECORD_SIZE - 4, RECORD_VERSION);
	int i;

	for (i = 0; i < 4; i++)
		bytes[RECORD_SIZE - 4 + i] = (uint8_t)(h >> 8 * i);
}

static void layout_is_pinned(void **state)
{
	static const uint8_t head[] = {
		1, 1, 12, 8,
		0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
		3, 0, 0, 0, 0, 0, 0, 0,
		0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe,
		8, 7, 6, 5, 4, 3, 2, 1,
		0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	};
	static const uint8_t meta[] = { 0xef, 0xbe, 0xad, 0xde };
	uint8_t out[RECORD_SIZE], again[RECORD_SIZE];

	(void)state;
	record_encode(&sample, out);
	assert_memory_equal(out, head, sizeof(head));
	assert_memory_equal(out + 60, meta, sizeof(meta));
	memcpy(again, out, sizeof(again));
	sign(again);
	assert_memory_equal(out, again, sizeof(out));
}

static void round_trip(void **state)
{
	static const uint8_t types[] = { 1, 2, 4, 6, 8, 10, 12 };
	uint64_t seed = seed_of_run();
	uint8_t out[RECORD_SIZE];
	struct record r, back;
	int i;

	(void)state;
	for (i = 0; i < 20000; i++) {
		r = (struct record){
			.flags = next_random(&seed) & RECORD_FLAGS_KNOWN,
			.leaf_shift = 12,
			.type = types[next_random(&seed) % N_ELEMS(types)],
			.id = next_random(&seed),
			.gen = next_random(&seed),
			.size = next_random(&seed),
			.hash = next_random(&seed),
			.mtime = (int64_t)next_random(&seed),
			.ctime = (int64_t)next_random(&seed),
			.sealed_at = (int64_t)next_random(&seed),
			.meta = (uint32_t)next_random(&seed),
		};
		record_encode(&r, out);
		assert_int_equal(record_decode(out, sizeof(out), &back), 0);
		assert_true(record_equal(&r, &back));
	}
}

static void every_flipped_bit_is_seen(void **state)
{
	uint8_t out[RECORD_SIZE];
	struct record r = { .id = 99 };
	int bit;

	(void)state;
	record_encode(&sample, out);
	for (bit = 0; bit < RECORD_SIZE * 8; bit++) {
		out[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(record_decode(out, sizeof(out), &r), -EINVAL);
		assert_int_equal(r.id, 99);
		out[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (bit = 0; bit < RECORD_SIZE; bit++) {
		uint8_t kept = out[bit];

		out[bit] = (uint8_t)~kept;
		assert_int_equal(record_decode(out, sizeof(out), &r), -EINVAL);
		out[bit] = kept;
	}
	assert_int_equal(record_decode(out, sizeof(out), &r), 0);
}

static void wrong_lengths(void **state)
{
	uint8_t out[RECORD_SIZE * 2] = { 0 };
	struct record r;
	size_t len;

	(void)state;
	record_encode(&sample, out);
	for (len = 0; len < sizeof(out); len++)
		assert_int_equal(record_decode(out, len, &r), len == RECORD_SIZE ? 0 : -EINVAL);
	memset(out, 0, sizeof(out));
	assert_int_equal(record_decode(out, RECORD_SIZE, &r), -EINVAL);
}

/* One signed byte changed: at, value, result. */
static void signed_fields(void **state)
{
	uint8_t out[RECORD_SIZE];
	struct record r;
	int v;

	(void)state;
	for (v = 0; v < 256; v++) {
		record_encode(&sample, out);
		out[0] = (uint8_t)v;
		sign(out);
		assert_int_equal(record_decode(out, RECORD_SIZE, &r), v == 1 ? 0 : -EPROTONOSUPPORT);
		record_encode(&sample, out);
		out[1] = (uint8_t)v;
		sign(out);
		assert_int_equal(record_decode(out, RECORD_SIZE, &r), v < 8 ? 0 : -EPROTONOSUPPORT);
		record_encode(&sample, out);
		out[2] = (uint8_t)v;
		sign(out);
		assert_int_equal(record_decode(out, RECORD_SIZE, &r), v == 12 ? 0 : -EINVAL);
		record_encode(&sample, out);
		out[3] = (uint8_t)v;
		sign(out);
		assert_int_equal(record_decode(out, RECORD_SIZE, &r),
				 v == S_IFIFO >> 12 || v == S_IFCHR >> 12 || v == S_IFDIR >> 12 ||
				 v == S_IFBLK >> 12 || v == S_IFREG >> 12 || v == S_IFLNK >> 12 ||
				 v == S_IFSOCK >> 12 ? 0 : -EINVAL);
	}
}

static void equal_looks_at_every_field(void **state)
{
	struct record r[11];
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(r); i++)
		r[i] = sample;
	r[0].flags ^= 2;
	r[1].leaf_shift++;
	r[2].type++;
	r[3].id++;
	r[4].gen++;
	r[5].size++;
	r[6].hash++;
	r[7].mtime++;
	r[8].ctime++;
	r[9].sealed_at++;
	r[10].meta++;
	assert_true(record_equal(&sample, &sample));
	for (i = 0; i < N_ELEMS(r); i++)
		assert_false(record_equal(&sample, &r[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layout_is_pinned),
		cmocka_unit_test(round_trip),
		cmocka_unit_test(every_flipped_bit_is_seen),
		cmocka_unit_test(wrong_lengths),
		cmocka_unit_test(signed_fields),
		cmocka_unit_test(equal_looks_at_every_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
