/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Spilled records. The file is overwritten in place by one write within one
 * sector and not synced: like the xattr it stands for, it is durable with the
 * next flush of the mirror, and a torn one is seen by its checksum. No locks:
 * the owner of the inode keeps its writers apart.
 */
#include "replica/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/base/le.h"
#include "replica/hash.h"

/* File: magic, u64 inode, u64 birth time, record, u64 checksum of all before. */
#define AT_INO 8
#define AT_BTIME 16
#define AT_RECORD 24
#define AT_CHECK (AT_RECORD + RECORD_SIZE)
#define SPILL_SIZE (AT_CHECK + 8)
#define NAME_BYTES 40

static const char magic[8] = "MFSSPILL";

static void folder_of(uint64_t ino, char out[NAME_BYTES])
{
	snprintf(out, NAME_BYTES, "spill/%02x", (unsigned)(ino & 0xff));
}

static void path_of(uint64_t ino, char out[NAME_BYTES])
{
	snprintf(out, NAME_BYTES, "spill/%02x/%" PRIx64, (unsigned)(ino & 0xff), ino);
}

static int open_spill(int dotfd, uint64_t ino)
{
	const int flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
	char path[NAME_BYTES], folder[NAME_BYTES];
	int fd, ret;

	path_of(ino, path);
	fd = openat(dotfd, path, flags, 0600);
	if (fd >= 0)
		return fd;
	if (errno != ENOENT)
		return -errno;
	folder_of(ino, folder);
	ret = io_mkdirs(dotfd, folder);
	if (ret)
		return ret;
	fd = openat(dotfd, path, flags, 0600);
	return fd < 0 ? -errno : fd;
}

int spill_store(int dotfd, uint64_t ino, int64_t btime, const struct record *r)
{
	uint8_t bytes[SPILL_SIZE];
	CLEANUP_CLOSE int fd = open_spill(dotfd, ino);

	if (fd < 0)
		return fd;
	memcpy(bytes, magic, sizeof(magic));
	put64(bytes + AT_INO, ino);
	put64(bytes + AT_BTIME, (uint64_t)btime);
	record_encode(r, bytes + AT_RECORD);
	put64(bytes + AT_CHECK, hash_bytes(bytes, AT_CHECK, 0));
	return io_pwrite_full(fd, bytes, sizeof(bytes), 0, NULL);
}

int spill_load(int dotfd, uint64_t ino, int64_t btime, struct record *r)
{
	uint8_t bytes[SPILL_SIZE + 1]; /* one more, to see an excess */
	char path[NAME_BYTES];
	CLEANUP_CLOSE int fd = -1;
	ssize_t n;

	path_of(ino, path);
	fd = openat(dotfd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ENODATA : -errno;
	n = io_pread_full(fd, bytes, sizeof(bytes), 0);
	if (n < 0)
		return (int)n;
	if (n != SPILL_SIZE || memcmp(bytes, magic, sizeof(magic)) != 0 ||
	    get64(bytes + AT_CHECK) != hash_bytes(bytes, AT_CHECK, 0) ||
	    get64(bytes + AT_INO) != ino)
		return -EINVAL;
	if (get64(bytes + AT_BTIME) != (uint64_t)btime)
		return -ENODATA;
	return record_decode(bytes + AT_RECORD, RECORD_SIZE, r);
}

int spill_remove(int dotfd, uint64_t ino)
{
	char path[NAME_BYTES];

	path_of(ino, path);
	if (unlinkat(dotfd, path, 0) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}
