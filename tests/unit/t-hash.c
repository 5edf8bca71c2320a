/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hashes. The literal values pin the format: a change here orphans volumes. */
#include "replica/hash.h"

#include "tests/unit/tmpdir.h"

static void fill(uint8_t *p, size_t len, uint64_t seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = (uint8_t)next_random(&seed);
}

static void zero_is_zero(void **state)
{
	uint8_t buf[LEAF_SIZE + 16] = { 0 };
	size_t len, at;

	(void)state;
	for (len = 0; len <= 300; len++)
		assert_true(hash_is_zero(buf + len % 7, len));
	for (len = 1; len <= 300; len++) {
		for (at = 0; at < len; at++) {
			buf[at] = 0x80;
			assert_false(hash_is_zero(buf, len));
			assert_true(hash_is_zero(buf + at + 1, len - at - 1));
			assert_true(hash_is_zero(buf, at));
			buf[at] = 0;
		}
	}
	assert_true(hash_leaf(1, 2, buf, LEAF_SIZE) == 0);
	assert_true(hash_leaf(1, 2, buf, 5) == 0);
	assert_true(hash_leaf(1, 2, buf, 0) == 0);
}

static void leaf_is_padded(void **state)
{
	uint8_t data[LEAF_SIZE], padded[LEAF_SIZE];
	size_t len;

	(void)state;
	fill(data, sizeof(data), 1);
	for (len = 1; len <= LEAF_SIZE; len += len < 64 ? 1 : 61) {
		memset(padded, 0, sizeof(padded));
		memcpy(padded, data, len);
		assert_true(hash_leaf(3, 4, data, len) == hash_leaf(3, 4, padded, LEAF_SIZE));
	}
}

static void leaf_knows_its_place(void **state)
{
	uint8_t data[LEAF_SIZE];
	uint64_t h, at;

	(void)state;
	fill(data, sizeof(data), 2);
	h = hash_leaf(10, 20, data, LEAF_SIZE);
	assert_true(h != hash_leaf(10, 21, data, LEAF_SIZE));
	assert_true(h != hash_leaf(11, 20, data, LEAF_SIZE));
	assert_true(h != hash_leaf(20, 10, data, LEAF_SIZE));
	assert_true(h != hash_leaf(10 + 1, 20 - 1, data, LEAF_SIZE));
	for (at = 0; at < LEAF_SIZE; at++) {
		data[at] ^= 1;
		assert_true(h != hash_leaf(10, 20, data, LEAF_SIZE));
		data[at] ^= 1;
	}
	assert_true(h == hash_leaf(10, 20, data, LEAF_SIZE));
}

static void entry_sees_all_parts(void **state)
{
	uint64_t h = hash_entry("name", 4, 8, 77);

	(void)state;
	assert_true(h == hash_entry("name and more", 4, 8, 77));
	assert_true(h != hash_entry("name", 3, 8, 77));
	assert_true(h != hash_entry("namf", 4, 8, 77));
	assert_true(h != hash_entry("name", 4, 4, 77));
	assert_true(h != hash_entry("name", 4, 8, 78));
	/* two names that swap their ids are another directory */
	assert_true(hash_entry("a", 1, 8, 1) + hash_entry("b", 1, 8, 2) !=
		    hash_entry("a", 1, 8, 2) + hash_entry("b", 1, 8, 1));
}

static void pinned_values(void **state)
{
	uint8_t data[LEAF_SIZE];

	(void)state;
	fill(data, sizeof(data), 42);
	assert_int_equal(hash_bytes("mirror", 6, 5), 0x4dfbf47104acc88bULL);
	assert_int_equal(hash_leaf(7, 9, data, LEAF_SIZE), 0x18ef96384c5d61e8ULL);
	assert_int_equal(hash_leaf(7, 9, data, 100), 0xa83bcf03ee688838ULL);
	assert_int_equal(hash_entry("name", 4, 8, 77), 0x6d5691acada8d54bULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zero_is_zero),
		cmocka_unit_test(leaf_is_padded),
		cmocka_unit_test(leaf_knows_its_place),
		cmocka_unit_test(entry_sees_all_parts),
		cmocka_unit_test(pinned_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
