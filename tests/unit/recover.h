/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Journals of a bed, looked at and damaged by the offsets of docs/format.md
 * while no session is under way. No sync of this process goes to a disk: here
 * sessions are killed, the power stays on. The syncs are counted.
 */
#ifndef TESTS_UNIT_RECOVER_H
#define TESTS_UNIT_RECOVER_H

#include "tests/unit/volume.h"

#include <stdatomic.h>
#include <sys/syscall.h>

#include "replica/hash.h"
#include "replica/journal.h"
#include "replica/recovery.h"

#define JOURNAL_PATH DOT_DIR "/journal"
#define JOURNAL_HEAD 4096 /* bytes before the ring */
#define RING ((size_t)JOURNAL_MIN)

static _Atomic unsigned n_fdatasync, n_syncfs;
static _Atomic int fail_sync_fd = -1;   /* its fdatasync fails */

int fsync(int fd)
{
	(void)fd;
	return 0;
}

int fdatasync(int fd)
{
	atomic_fetch_add(&n_fdatasync, 1);
	errno = EIO;
	return fd == atomic_load(&fail_sync_fd) ? -1 : 0;
}

int syncfs(int fd)
{
	(void)fd;
	atomic_fetch_add(&n_syncfs, 1);
	return 0;
}

/* No reading from the medium, which would have to write all first. */
int openat(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	va_start(ap, flags);
	if (flags & (O_CREAT | __O_TMPFILE))
		mode = va_arg(ap, mode_t);
	va_end(ap);
	return (int)syscall(SYS_openat, dir, path, flags & ~O_DIRECT, mode);
}

int open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	va_start(ap, flags);
	if (flags & (O_CREAT | __O_TMPFILE))
		mode = va_arg(ap, mode_t);
	va_end(ap);
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags & ~O_DIRECT, mode);
}

static uint8_t volume_id[16];

static inline void put_le64(uint8_t *p, uint64_t x)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(x >> 8 * i);
}

/* An empty ring of the smallest size: cheap to look at, and soon full. */
static inline void ring_make(struct bed *b, int m)
{
	uint8_t *file = calloc(1, JOURNAL_HEAD + RING);

	assert_non_null(file);
	memcpy(file, "MFSJOURN", 8);
	put_le64(file + 8, 1);
	put_le64(file + 16, RING);
	put_le64(file + 24, RING);
	memcpy(file + 32, volume_id, 16);
	put_le64(file + 48, hash_bytes(file, 48, 0));
	put_file(b->fd[m], JOURNAL_PATH, file, JOURNAL_HEAD + RING);
	free(file);
}

/* The volume is closed and opened again with small rings. */
static inline void bed_small_rings(struct bed *b)
{
	memcpy(volume_id, b->v->sb.volume_id, 16);
	bed_close(b);
	for (int m = 0; m < b->n; m++)
		ring_make(b, m);
	bed_open(b);
}

static inline uint8_t *ring_read(struct bed *b, int m)
{
	uint8_t *buf = malloc(RING);
	int fd = openat(b->fd[m], JOURNAL_PATH, O_RDONLY | O_CLOEXEC);

	assert_non_null(buf);
	assert_int_equal(io_pread_full(fd, buf, RING, JOURNAL_HEAD), RING);
	close(fd);
	return buf;
}

/* The next record at or behind *at. *at is moved behind it, its place returned;
 * -1: none. */
static inline ssize_t ring_next(const uint8_t *buf, size_t *at, struct journal_record *r)
{
	for (; *at + JOURNAL_HEADER <= RING; *at += 8) {
		size_t here = *at;

		if (journal_decode(buf + here, RING - here, volume_id, r) < 0 ||
		    r->lsn % RING != here)
			continue;
		*at += (JOURNAL_HEADER + r->size + 7) / 8 * 8;
		return (ssize_t)here;
	}
	return -1;
}

/* Records of a type (0: any) and an object (0: any) on mirror m from lsn on. */
static inline unsigned ring_count(struct bed *b, int m, uint8_t type, uint64_t id, uint64_t from)
{
	uint8_t *buf = ring_read(b, m);
	struct journal_record r;
	unsigned n = 0;
	size_t at = 0;

	while (ring_next(buf, &at, &r) >= 0)
		n += (!type || r.type == type) && (!id || r.id == id) && r.lsn >= from;
	free(buf);
	return n;
}

/* Destroys these records: no sector of them got to the disk. */
static inline unsigned ring_destroy(struct bed *b, int m, uint8_t type, uint64_t id)
{
	uint8_t *buf = ring_read(b, m);
	int fd = openat(b->fd[m], JOURNAL_PATH, O_WRONLY | O_CLOEXEC);
	struct journal_record r;
	unsigned n = 0;
	size_t at = 0;
	ssize_t here;

	while ((here = ring_next(buf, &at, &r)) >= 0)
		if (r.type == type && (!id || r.id == id)) {
			assert_int_equal(pwrite(fd, "damage", 6, JOURNAL_HEAD + here), 6);
			n++;
		}
	close(fd);
	free(buf);
	return n;
}

/* A disk that has nothing of it. */
static inline void ring_lose(struct bed *b, int m)
{
	assert_int_equal(unlinkat(b->fd[m], JOURNAL_PATH, 0), 0);
}

/* What a copy holds after the power cut. Size and bytes, nothing else. */
static inline void raw_put(struct bed *b, int m, const char *path, const void *data, size_t len)
{
	int fd = openat(b->fd[m], path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(io_pwrite_full(fd, data, len, 0, NULL), 0);
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	close(fd);
}

static inline void raw_write(struct bed *b, int m, const char *path, uint64_t off,
			     const void *data, size_t len)
{
	int fd = openat(b->fd[m], path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(io_pwrite_full(fd, data, len, (off_t)off, NULL), 0);
	close(fd);
}

#endif
