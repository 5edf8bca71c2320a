/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The bytes of a record, and a ring in use: laps, room, damage. */
#include "replica/journal.h"

#include "tests/unit/journal.h"

/* ---- bytes ---- */

static void round_trip(void **state)
{
	static const uint32_t sizes[] = { 0, 1, 7, 8, 9, 55, 4096, PAYLOAD_MAX - 1, PAYLOAD_MAX };
	static uint8_t out[JOURNAL_RECORD_MAX + 1];

	(void)state;
	for (uint8_t type = 1; type < JOURNAL_TYPES; type++)
		for (size_t i = 0; i < N_ELEMS(sizes); i++) {
			struct journal_record got, r = {
				.type = type, .flags = 0x81, .lsn = 1ull << 40, .id = 1ull << 63,
				.gen = 5, .arg = UINT64_MAX, .tail = (1ull << 40) - 77777,
				.payload = filler, .size = sizes[i],
			};
			size_t len = journal_encode(&r, volume_id, out);

			assert_int_equal(len, length_of(sizes[i]));
			assert_int_equal(journal_decode(out, len, volume_id, &got), 0);
			assert_ptr_equal(got.payload, out + JOURNAL_HEADER);
			assert_memory_equal(got.payload, filler, r.size);
			got.payload = r.payload;
			assert_int_equal(got.type, r.type);
			assert_int_equal(got.flags, r.flags);
			assert_true(got.lsn == r.lsn && got.id == r.id && got.gen == r.gen);
			assert_true(got.arg == r.arg && got.tail == r.tail && got.size == r.size);
			assert_int_equal(journal_decode(out, len - 1, volume_id, &got), -EINVAL);
		}
}

/* The table of docs/format.md. */
static void bytes_of_a_record(void **state)
{
	const struct journal_record r = {
		.type = JOURNAL_DIRTY, .flags = 2, .lsn = 0x100008, .tail = 0x100000, .id = 7,
		.gen = 8, .arg = 9, .payload = "abc", .size = 3,
	};
	uint8_t out[64], want[56] = { 0 };

	(void)state;
	le64(want + 8, 0x100008);
	want[16] = 4;
	want[17] = 2;
	want[18] = 3;
	want[20] = 8;
	le64(want + 24, 7);
	le64(want + 32, 8);
	le64(want + 40, 9);
	memcpy(want + 48, "abc", 3);
	le64(want, hash_bytes(want + 8, 48, hash_bytes(volume_id, 16, 5)));
	memset(out, 0xff, sizeof(out));
	assert_int_equal(journal_encode(&r, volume_id, out), 56);
	assert_memory_equal(out, want, 56);
	assert_int_equal(out[56], 0xff);
}

static void every_flipped_byte_is_refused(void **state)
{
	struct journal_record r = make(11, 101), got;
	uint8_t out[256], other[16] = { 0 };
	size_t len;

	(void)state;
	r.lsn = r.tail = RING;
	len = journal_encode(&r, volume_id, out);
	for (size_t i = 0; i < len; i++)
		for (int bit = 0; bit < 8; bit++) {
			out[i] ^= (uint8_t)(1 << bit);
			assert_int_equal(journal_decode(out, sizeof(out), volume_id, &got), -EINVAL);
			out[i] ^= (uint8_t)(1 << bit);
		}
	assert_int_equal(journal_decode(out, len, other, &got), -EINVAL);
	assert_int_equal(journal_decode(out, len, volume_id, &got), 0);
	memset(out, 0, sizeof(out));
	assert_int_equal(journal_decode(out, sizeof(out), volume_id, &got), -EINVAL);
}

/* ---- the ring ---- */

static void first_journal(void **state)
{
	struct set s = set_new(state, 2);
	struct stat st;

	assert_int_equal(journal_open(&s.v, 3, true), 0);
	st = file_of(&s, 0);
	assert_int_equal(st.st_size, file_of(&s, 1).st_size);
	assert_true(st.st_size >= JOURNAL_MIN + BLOCK && st.st_size <= JOURNAL_MAX + BLOCK);
	assert_true((uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size); /* no holes */
	assert_int_equal(journal_head(&s.v), st.st_size - BLOCK);
	assert_int_equal(journal_used(&s.v), 0);
	assert_false(exists(s.fd[0], ".journal.new"));
	assert_int_equal(append(&s, 1, 10), st.st_size - BLOCK);
	assert_int_equal(content_of(&s, 0), content_of(&s, 1));
	assert_found(&s, 1, 1, 1);
	set_free(&s);
}

/* What lies between tail and head, and nothing else, on both mirrors; after an
 * unclean end what the newest record says is above the tail. */
static void laps(void **state)
{
	struct set s = set_small(state, 2);
	uint64_t seed = seed_of_run(), first = 0, n = 0, lsn[2000];

	for (n = 0; n < 1000; n++) {
		uint32_t size = (uint32_t)(next_random(&seed) % 14000);
		struct journal_record r = make(n, size);

		if (next_random(&seed) % 4 == 0)
			r.size %= 64;
		while (journal_append(&s.v, &r) == -ENOSPC) {
			first += 1 + next_random(&seed) % (n - first);
			journal_set_tail(&s.v, first == n ? journal_head(&s.v) : lsn[first]);
		}
		lsn[n] = r.lsn;
		assert_true(n == 0 || lsn[n] > lsn[n - 1]);
		assert_true(lsn[n] % 8 == 0 && lsn[n] % RING + length_of(r.size) <= RING);
		if (n % 50 == 49)
			assert_found(&s, n % 2, first, n);
	}
	assert_true(lsn[n - 1] > 4 * RING);
	set_reopen(&s, true);
	assert_found(&s, 0, first, n - 1);
	assert_found(&s, 1, first, n - 1);
	assert_true(journal_head(&s.v) > lsn[n - 1]);
	assert_int_equal(journal_head(&s.v) % BLOCK, 0);
	set_reopen(&s, false);
	assert_int_equal(scan(&s, 0).total, 0);
	set_free(&s);
}

static void full_and_room(void **state)
{
	struct set s = set_small(state, 2);
	struct journal_record r = make(0, 4096 - JOURNAL_HEADER);
	uint64_t head, before;

	for (unsigned i = 0; i < RING / 4096; i++) {
		assert_int_equal(journal_used(&s.v), i * 100 / (RING / 4096));
		assert_int_equal(append(&s, i, 4096 - JOURNAL_HEADER), RING + i * 4096);
	}
	head = journal_head(&s.v);
	before = content_of(&s, 1);
	r.size = 0;
	assert_int_equal(journal_append(&s.v, &r), -ENOSPC);
	assert_int_equal(journal_used(&s.v), 100);
	assert_int_equal(journal_head(&s.v), head);
	assert_int_equal(content_of(&s, 1), before);
	assert_int_equal(volume_in_sync(&s.v), 3);
	assert_int_equal(journal_wait_room(&s.v, 1), -ETIMEDOUT);
	journal_set_tail(&s.v, RING + 4096);
	append(&s, 300, 4096 - JOURNAL_HEADER);
	assert_int_equal(journal_append(&s.v, &r), -ENOSPC);
	journal_set_tail(&s.v, journal_head(&s.v) - RING / 2);
	assert_int_equal(journal_used(&s.v), 50);
	journal_set_tail(&s.v, RING); /* never back */
	assert_int_equal(journal_used(&s.v), 50);
	journal_set_tail(&s.v, UINT64_MAX);
	assert_int_equal(journal_used(&s.v), 0);
	assert_int_equal(journal_wait_room(&s.v, 0), 0);
	append(&s, 1, 0);
	r.size = PAYLOAD_MAX + 1;
	assert_int_equal(journal_append(&s.v, &r), -EMSGSIZE);
	r = make(1, 1);
	r.type = JOURNAL_TYPES;
	assert_int_equal(journal_append(&s.v, &r), -EINVAL);
	set_free(&s);
}

static void *wait_room(void *arg)
{
	return (void *)(intptr_t)journal_wait_room(arg, 60000);
}

static void waiters_for_room_wake(void **state)
{
	struct set s = set_small(state, 1);
	pthread_t t[4];
	void *r;

	while (journal_used(&s.v) < 75)
		append(&s, 0, PAYLOAD_MAX - 64);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, wait_room, &s.v), 0);
	journal_set_tail(&s.v, journal_head(&s.v));
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &r);
		assert_null(r);
	}
	set_free(&s);
}

/* What damage touches is lost, and nothing else is. */
static void damage_loses_what_it_touches(void **state)
{
	struct set s = set_small(state, 1);
	uint64_t seed = seed_of_run(), end[600], start[600];
	static uint8_t junk[1024];
	unsigned n;
	int fd;

	for (n = 0; n < 600 && journal_used(&s.v) < 95; n++) {
		uint32_t size = (uint32_t)(next_random(&seed) % 4000);

		start[n] = append(&s, n, size) % RING;
		end[n] = start[n] + length_of(size);
	}
	assert_found(&s, 0, 0, n - 1);
	for (int round = 0; round < 40; round++) {
		uint64_t at = next_random(&seed) % (RING / 512 - 1) * 512;
		size_t len = next_random(&seed) % 2 ? 512 : 1024;
		uint8_t old[1024];
		struct found f;

		fd = openat(s.fd[0], "journal", O_RDWR | O_CLOEXEC);
		assert_int_equal(pread(fd, old, len, (off_t)(BLOCK + at)), len);
		memset(junk, 0, sizeof(junk));
		for (size_t i = 0; round % 2 && i < sizeof(junk); i += 8)
			le64(junk + i, next_random(&seed));
		assert_int_equal(pwrite(fd, junk, len, (off_t)(BLOCK + at)), len);
		f = scan(&s, 0);
		for (unsigned i = 0; i < n; i++) {
			bool hit = memcmp(old, junk, len) && start[i] < at + len && end[i] > at;

			if (hit && f.n[i]) /* the same bytes by chance: only padding */
				assert_true(end[i] - at <= 8);
			else
				assert_int_equal(f.n[i], !hit);
		}
		assert_int_equal(pwrite(fd, old, len, (off_t)(BLOCK + at)), len);
		close(fd);
	}
	assert_found(&s, 0, 0, n - 1);
	set_free(&s);
}

/* A record copied to another place of the ring is none. */
static void record_elsewhere_is_void(void **state)
{
	struct set s = set_small(state, 1);
	uint64_t lsn = append(&s, 3, 100);
	uint8_t buf[256];
	int fd = openat(s.fd[0], "journal", O_RDWR | O_CLOEXEC);

	assert_int_equal(pread(fd, buf, length_of(100), (off_t)(BLOCK + lsn % RING)), length_of(100));
	assert_int_equal(pwrite(fd, buf, length_of(100), BLOCK + RING / 2), length_of(100));
	close(fd);
	assert_found(&s, 0, 3, 3);
	set_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(bytes_of_a_record),
		cmocka_unit_test(every_flipped_byte_is_refused),
		tmpdir_test(first_journal),
		tmpdir_test(laps),
		tmpdir_test(full_and_room),
		tmpdir_test(waiters_for_room_wake),
		tmpdir_test(damage_loses_what_it_touches),
		tmpdir_test(record_elsewhere_is_void),
	};

	return cmocka_run_group_tests(tests, fill, NULL);
}
