/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What several unit programs need: a directory of their own that is gone
 * afterwards, and random numbers that can be replayed (MIRRORFS_TEST_SEED).
 * Includes cmocka with what it wants before it.
 */
#ifndef TESTS_UNIT_TMPDIR_H
#define TESTS_UNIT_TMPDIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cmocka.h>

#include "replica/base/io.h"

#define N_ELEMS(a) (sizeof(a) / sizeof((a)[0]))

/* Setup and teardown of a test: *state points to an int, the directory. */
static inline int tmpdir_setup(void **state)
{
	const char *base = getenv("TMPDIR");
	static int fd;
	char path[4096];

	snprintf(path, sizeof(path), "%s/mirrorfs-unit.XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(path))
		return -1;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = &fd;
	return fd < 0 ? -1 : 0;
}

static inline int tmpdir_teardown(void **state)
{
	int fd = *(int *)*state;
	char link[64], path[4096];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	close(fd);
	if (n < 0)
		return -1;
	path[n] = '\0';
	return io_remove_tree(AT_FDCWD, path);
}

#define tmpdir_test(f) cmocka_unit_test_setup_teardown(f, tmpdir_setup, tmpdir_teardown)

/* splitmix64 */
static inline uint64_t next_random(uint64_t *s)
{
	uint64_t z = *s += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static inline uint64_t seed_of_run(void)
{
	const char *text = getenv("MIRRORFS_TEST_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0)
			     : (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();

	print_message("MIRRORFS_TEST_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

static inline void put_file(int dirfd, const char *name, const void *data, size_t len)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(io_pwrite_full(fd, data, len, 0, NULL), 0);
	close(fd);
}

/* Flips one bit of the byte at `at` and, called again, flips it back. */
static inline void flip_byte(int dirfd, const char *name, off_t at, uint8_t bits)
{
	int fd = openat(dirfd, name, O_RDWR | O_CLOEXEC);
	uint8_t b;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &b, 1, at), 1);
	b ^= bits;
	assert_int_equal(pwrite(fd, &b, 1, at), 1);
	close(fd);
}

static inline int exists(int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

#endif
