/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hash files: pages, holes, damage, and pages that are not where they belong. */
#include "replica/hashfile.h"

#include <errno.h>

#include "replica/hash.h"
#include "tests/unit/tmpdir.h"

#define ID 0x0123456789abcdefULL
#define ID_PATH "hashes/ef/cd/0123456789abcdef"

static struct hash_page page_of(uint64_t seed)
{
	struct hash_page p = { .gen = seed + 1 };
	int i;

	for (i = 0; i < HASHFILE_LEAVES; i++)
		p.leaf[i] = i % 3 ? next_random(&seed) : 0;
	return p;
}

static void assert_page(int fd, uint64_t no, const struct hash_page *want)
{
	struct hash_page p;

	memset(&p, 0x5a, sizeof(p));
	assert_int_equal(hashfile_read(fd, ID, no, &p), 0);
	assert_memory_equal(&p, want, sizeof(p));
}

static const struct hash_page hole;

static void open_and_remove(void **state)
{
	int dirfd = *(int *)*state, fd;

	assert_int_equal(hashfile_open(dirfd, ID, O_RDONLY), -ENOENT);
	assert_int_equal(hashfile_open(dirfd, ID, O_RDWR), -ENOENT);
	assert_false(exists(dirfd, "hashes"));
	fd = hashfile_open(dirfd, ID, O_RDWR | O_CREAT);
	assert_true(fd >= 0);
	assert_true(exists(dirfd, ID_PATH));
	close(fd);
	fd = hashfile_open(dirfd, 0xff, O_RDWR | O_CREAT);
	assert_true(fd >= 0);
	assert_true(exists(dirfd, "hashes/ff/00/00000000000000ff"));
	close(fd);
	fd = hashfile_open(dirfd, ID, O_RDONLY);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(hashfile_remove(dirfd, ID), 0);
	assert_false(exists(dirfd, ID_PATH));
	assert_int_equal(hashfile_remove(dirfd, ID), 0);
	/* never through a link */
	assert_int_equal(symlinkat("/etc/hostname", dirfd, ID_PATH), 0);
	assert_int_equal(hashfile_open(dirfd, ID, O_RDONLY), -ELOOP);
}

static void pages_come_back(void **state)
{
	int dirfd = *(int *)*state, fd = hashfile_open(dirfd, ID, O_RDWR | O_CREAT);
	static const uint64_t far = 1ULL << 28; /* a file of 2 PiB; 1 TiB of pages */
	struct hash_page a = page_of(1), b = page_of(2);
	struct stat st;

	assert_page(fd, 0, &hole);
	assert_int_equal(hashfile_write(fd, ID, 3, &a), 0);
	assert_int_equal(hashfile_write(fd, ID, far, &b), 0);
	assert_page(fd, 0, &hole);
	assert_page(fd, 2, &hole);
	assert_page(fd, 3, &a);
	assert_page(fd, far - 1, &hole);
	assert_page(fd, far, &b);
	assert_page(fd, far + 1, &hole);
	assert_int_equal(hashfile_write(fd, ID, 3, &b), 0);
	assert_page(fd, 3, &b);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_blocks < 128);
	close(fd);
}

static void zeros_are_punched(void **state)
{
	int dirfd = *(int *)*state, fd = hashfile_open(dirfd, ID, O_RDWR | O_CREAT);
	struct hash_page a = page_of(1), zeros = { .gen = 9 };
	struct stat full, st;
	uint64_t i;

	/* beyond the end nothing comes to be */
	assert_int_equal(hashfile_write(fd, ID, 7, &zeros), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 0);
	for (i = 0; i < 32; i++)
		assert_int_equal(hashfile_write(fd, ID, i, &a), 0);
	fsync(fd);
	fstat(fd, &full);
	for (i = 0; i < 32; i++)
		assert_int_equal(hashfile_write(fd, ID, i, &zeros), 0);
	fsync(fd);
	fstat(fd, &st);
	assert_int_equal(st.st_size, full.st_size);
	assert_true(st.st_blocks < full.st_blocks);
	for (i = 0; i < 32; i++)
		assert_page(fd, i, &hole);
	close(fd);
}

static void every_flipped_byte_is_seen(void **state)
{
	int dirfd = *(int *)*state, fd = hashfile_open(dirfd, ID, O_RDWR | O_CREAT), i;
	struct hash_page a = page_of(1), p;

	assert_int_equal(hashfile_write(fd, ID, 0, &a), 0);
	assert_int_equal(hashfile_write(fd, ID, 1, &a), 0);
	for (i = 0; i < HASHFILE_PAGE; i++) {
		flip_byte(dirfd, ID_PATH, HASHFILE_PAGE + i, (uint8_t)(1 << i % 8));
		assert_int_equal(hashfile_read(fd, ID, 1, &p), -EBADMSG);
		assert_page(fd, 0, &a);
		flip_byte(dirfd, ID_PATH, HASHFILE_PAGE + i, (uint8_t)(1 << i % 8));
	}
	assert_page(fd, 1, &a);
	close(fd);
}

static void misplaced_pages(void **state)
{
	int dirfd = *(int *)*state, fd = hashfile_open(dirfd, ID, O_RDWR | O_CREAT);
	struct hash_page a = page_of(1), p;
	uint8_t raw[HASHFILE_PAGE];

	assert_int_equal(hashfile_write(fd, ID, 1, &a), 0);
	assert_int_equal(hashfile_read(fd, ID + 1, 1, &p), -EBADMSG);
	assert_int_equal(io_pread_full(fd, raw, sizeof(raw), HASHFILE_PAGE), HASHFILE_PAGE);
	assert_int_equal(io_pwrite_full(fd, raw, sizeof(raw), 0, NULL), 0);
	assert_int_equal(hashfile_read(fd, ID, 0, &p), -EBADMSG);
	assert_page(fd, 1, &a);
	close(fd);
}

static void cut_pages(void **state)
{
	int dirfd = *(int *)*state, fd = hashfile_open(dirfd, ID, O_RDWR | O_CREAT);
	struct hash_page a = page_of(1), p;
	uint8_t zeros[HASHFILE_PAGE] = { 0 };
	int len;

	for (len = 1; len < HASHFILE_PAGE; len += 97) {
		assert_int_equal(hashfile_write(fd, ID, 0, &a), 0);
		assert_int_equal(ftruncate(fd, len), 0);
		assert_int_equal(hashfile_read(fd, ID, 0, &p), -EBADMSG);
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(io_pwrite_full(fd, zeros, (size_t)len, 0, NULL), 0);
		assert_page(fd, 0, &hole);
	}
	close(fd);
}

static void truncation(void **state)
{
	int dirfd = *(int *)*state, fd = hashfile_open(dirfd, ID, O_RDWR | O_CREAT);
	struct hash_page a = page_of(1);
	struct stat st;
	uint64_t i;

	for (i = 0; i < 4; i++)
		assert_int_equal(hashfile_write(fd, ID, i, &a), 0);
	assert_int_equal(hashfile_truncate(fd, UINT64_MAX), 0);
	assert_int_equal(hashfile_truncate(fd, 9), 0);
	fstat(fd, &st);
	assert_int_equal(st.st_size, 4 * HASHFILE_PAGE);
	assert_int_equal(hashfile_truncate(fd, 2), 0);
	assert_page(fd, 1, &a);
	assert_page(fd, 2, &hole);
	assert_int_equal(hashfile_truncate(fd, 0), 0);
	fstat(fd, &st);
	assert_int_equal(st.st_size, 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmpdir_test(open_and_remove),
		tmpdir_test(pages_come_back),
		tmpdir_test(zeros_are_punched),
		tmpdir_test(every_flipped_byte_is_seen),
		tmpdir_test(misplaced_pages),
		tmpdir_test(cut_pages),
		tmpdir_test(truncation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
