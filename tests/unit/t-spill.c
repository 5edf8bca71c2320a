/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Spilled records: found again, damage seen, reused inode numbers recognised. */
#include "replica/spill.h"

#include <errno.h>

#include "tests/unit/tmpdir.h"

#define INO 0xabcdefULL
#define BTIME 1700000000000000001LL
#define INO_PATH "spill/ef/abcdef"
#define FILE_BYTES 100

static const struct record sample = {
	.leaf_shift = 12, .type = 10, .id = 5, .gen = 6, .size = 7, .hash = 8,
	.mtime = 9, .ctime = -10, .sealed_at = 11, .meta = 12,
};

static void round_trip(void **state)
{
	int dirfd = *(int *)*state;
	struct record r, other = sample;

	assert_int_equal(spill_load(dirfd, INO, BTIME, &r), -ENODATA);
	assert_int_equal(spill_remove(dirfd, INO), 0);
	assert_int_equal(spill_store(dirfd, INO, BTIME, &sample), 0);
	assert_true(exists(dirfd, INO_PATH));
	assert_int_equal(spill_load(dirfd, INO, BTIME, &r), 0);
	assert_true(record_equal(&r, &sample));
	other.gen++;
	assert_int_equal(spill_store(dirfd, INO, BTIME, &other), 0);
	assert_int_equal(spill_store(dirfd, INO + 256, 0, &sample), 0);
	assert_int_equal(spill_load(dirfd, INO, BTIME, &r), 0);
	assert_true(record_equal(&r, &other));
	assert_int_equal(spill_load(dirfd, INO + 256, 0, &r), 0);
	assert_true(record_equal(&r, &sample));
	assert_int_equal(spill_remove(dirfd, INO), 0);
	assert_int_equal(spill_load(dirfd, INO, BTIME, &r), -ENODATA);
	assert_int_equal(spill_load(dirfd, INO + 256, 0, &r), 0);
}

static void another_birth(void **state)
{
	int dirfd = *(int *)*state;
	struct record r = { .id = 99 };

	assert_int_equal(spill_store(dirfd, INO, BTIME, &sample), 0);
	assert_int_equal(spill_load(dirfd, INO, BTIME + 1, &r), -ENODATA);
	assert_int_equal(spill_load(dirfd, INO, 0, &r), -ENODATA);
	assert_int_equal(r.id, 99);
	assert_int_equal(spill_store(dirfd, INO, BTIME + 1, &sample), 0);
	assert_int_equal(spill_load(dirfd, INO, BTIME, &r), -ENODATA);
	assert_int_equal(spill_load(dirfd, INO, BTIME + 1, &r), 0);
}

static void every_flipped_bit_is_seen(void **state)
{
	int dirfd = *(int *)*state, bit;
	struct record r;
	struct stat st;

	assert_int_equal(spill_store(dirfd, INO, BTIME, &sample), 0);
	assert_int_equal(fstatat(dirfd, INO_PATH, &st, 0), 0);
	assert_int_equal(st.st_size, FILE_BYTES);
	for (bit = 0; bit < FILE_BYTES * 8; bit++) {
		flip_byte(dirfd, INO_PATH, bit / 8, (uint8_t)(1 << bit % 8));
		assert_int_equal(spill_load(dirfd, INO, BTIME, &r), -EINVAL);
		flip_byte(dirfd, INO_PATH, bit / 8, (uint8_t)(1 << bit % 8));
	}
	assert_int_equal(spill_load(dirfd, INO, BTIME, &r), 0);
}

static void wrong_lengths_and_places(void **state)
{
	int dirfd = *(int *)*state;
	char bytes[FILE_BYTES + 20] = { 0 }, *text;
	struct record r;
	size_t len;

	assert_int_equal(spill_store(dirfd, INO, BTIME, &sample), 0);
	assert_int_equal(io_read_file(dirfd, INO_PATH, 999, &text, &len), 0);
	memcpy(bytes, text, FILE_BYTES);
	free(text);
	for (len = 0; len <= sizeof(bytes); len++) {
		put_file(dirfd, INO_PATH, bytes, len);
		assert_int_equal(spill_load(dirfd, INO, BTIME, &r),
				 len == FILE_BYTES ? 0 : -EINVAL);
	}
	/* a spill of another inode under this name is damage */
	assert_int_equal(io_mkdirs(dirfd, "spill/00"), 0);
	put_file(dirfd, "spill/00/100", bytes, FILE_BYTES);
	assert_int_equal(spill_load(dirfd, 0x100, BTIME, &r), -EINVAL);
	/* storing over damage mends it */
	put_file(dirfd, INO_PATH, bytes, 30);
	assert_int_equal(spill_store(dirfd, INO, BTIME, &sample), 0);
	assert_int_equal(spill_load(dirfd, INO, BTIME, &r), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmpdir_test(round_trip),
		tmpdir_test(another_birth),
		tmpdir_test(every_flipped_bit_is_seen),
		tmpdir_test(wrong_lengths_and_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
