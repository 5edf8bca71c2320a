/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making images. A cut first finds for each sector the last surviving write,
 * in memory, and then copies the base and those bytes only: the cost is that
 * of what the image holds, hardly that of the length of the log.
 */
#include "tests/disk/image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/base/log.h"

#define BLOCK 4096
#define CHUNK (256 * 1024)

bool all_zero(const void *buf, size_t len)
{
	const char *p = buf;

	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* Writes what is not zero of a chunk, in runs of blocks. */
static int copy_chunk(int dst, const char *buf, size_t len, uint64_t off)
{
	size_t start, end, n;
	int err = 0;

	for (start = 0; start < len && !err; start = end) {
		n = len - start < BLOCK ? len - start : BLOCK;
		end = start + n;
		if (all_zero(buf + start, n))
			continue;
		while (end < len) {
			n = len - end < BLOCK ? len - end : BLOCK;
			if (all_zero(buf + end, n))
				break;
			end += n;
		}
		err = io_pwrite_full(dst, buf + start, end - start, (off_t)(off + start), NULL);
	}
	return err;
}

static int copy_extent(int src, int dst, uint64_t off, uint64_t end)
{
	CLEANUP_FREE char *buf = malloc(CHUNK);
	ssize_t n;
	int err = 0;

	if (!buf)
		return -ENOMEM;
	for (; off < end && !err; off += (uint64_t)n) {
		n = io_pread_full(src, buf, end - off < CHUNK ? end - off : CHUNK, (off_t)off);
		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EIO;
		err = copy_chunk(dst, buf, (size_t)n, off);
	}
	return err;
}

int image_copy(int src, int dst, uint64_t size)
{
	off_t data, hole = 0;
	int err = 0;

	if (ftruncate(dst, 0) || ftruncate(dst, (off_t)size))
		return -errno;
	if (ioctl(dst, FICLONE, src) == 0)
		return 0;
	while (!err && (uint64_t)hole < size) {
		data = lseek(src, hole, SEEK_DATA);
		if (data < 0)
			return errno == ENXIO ? 0 : -errno;
		hole = lseek(src, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		err = copy_extent(src, dst, (uint64_t)data, (uint64_t)hole);
	}
	return err;
}

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* A stream of its own for each request: what the others draw does not matter. */
static uint64_t request_random(const struct cut *cut, const struct trace_entry *e)
{
	uint64_t state = cut->seed;

	state = next_random(&state) ^ (e->seq * TRACE_MAX_DISKS + e->disk);
	return next_random(&state);
}

/* ext4's superblock has a checksum over two sectors and no copy that mount(2) would
 * take instead: no filesystem above that could come through a torn one. */
#define SUPERBLOCK_END 4096

/* Marks the sectors of a write as this one's: winner[] holds index + 1. */
static void apply_write(uint32_t *winner, uint32_t index, const struct trace_entry *e,
			const struct cut *cut, bool durable)
{
	uint64_t sector = e->off / SECTOR_SIZE, end = (e->off + e->len) / SECTOR_SIZE;
	uint64_t state = request_random(cut, e);
	bool torn = false;

	if (!durable) {
		if (next_random(&state) % 100 >= cut->percent)
			return;
		torn = next_random(&state) % 100 < cut->torn_percent && e->len > SECTOR_SIZE &&
		       e->off >= SUPERBLOCK_END;
	}
	for (; sector < end; sector++)
		if (!torn || next_random(&state) & 1)
			winner[sector] = index + 1;
}

/* The number up to which the writes of the disk are durable at the cut. */
static uint64_t durable_until(const struct trace *t, unsigned disk, const struct cut *cut)
{
	const struct trace_entry *e;
	uint64_t until = 0;

	for (e = t->entry; e < t->entry + t->n && e->seq <= cut->at; e++)
		if (e->disk == disk && e->op == TRACE_FLUSH && e->off > until)
			until = e->off;
	return until;
}

static void find_winners(const struct trace *t, unsigned disk, const struct cut *cut,
			 uint32_t *winner)
{
	uint64_t until = durable_until(t, disk, cut);
	const struct trace_entry *e;

	for (e = t->entry; e < t->entry + t->n && e->seq <= cut->at; e++)
		if (e->disk == disk && (e->op == TRACE_WRITE || e->op == TRACE_ZERO))
			apply_write(winner, (uint32_t)(e - t->entry), e, cut, e->seq <= until);
}

static int write_zeros(int fd, uint64_t off, uint64_t len)
{
	static const char zeros[CHUNK];
	uint64_t n;
	int err = 0;

	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) == 0)
		return 0;
	for (; len && !err; off += n, len -= n) {
		n = len < CHUNK ? len : CHUNK;
		err = io_pwrite_full(fd, zeros, n, (off_t)off, NULL);
	}
	return err;
}

/* One run of sectors that the same request won. */
static int write_run(int fd, const struct trace *t, uint32_t index, uint64_t off, uint64_t len)
{
	const struct trace_entry *e = &t->entry[index];

	if (e->op == TRACE_ZERO)
		return write_zeros(fd, off, len);
	return io_pwrite_full(fd, t->data + e->data + (off - e->off), len, (off_t)off, NULL);
}

static int write_winners(int fd, const struct trace *t, const uint32_t *winner, uint64_t sectors)
{
	uint64_t start, end;
	int err = 0;

	for (start = 0; start < sectors && !err; start = end) {
		for (end = start + 1; end < sectors && winner[end] == winner[start]; end++)
			;
		if (winner[start])
			err = write_run(fd, t, winner[start] - 1, start * SECTOR_SIZE,
					(end - start) * SECTOR_SIZE);
	}
	return err;
}

static int cut_disk(int dirfd, int outfd, const struct trace *t, unsigned disk,
		    const struct cut *cut)
{
	const char *name = t->header->disk[disk].name;
	uint64_t size = t->header->disk[disk].size, sectors = size / SECTOR_SIZE;
	CLEANUP_FREE uint32_t *winner = calloc(sectors, sizeof(*winner));
	CLEANUP_CLOSE int base = -1;
	CLEANUP_CLOSE int img = -1;
	char path[TRACE_NAME_SIZE + 8];
	int err;

	if (!winner)
		return log_err(-ENOMEM, "%s", name);
	snprintf(path, sizeof(path), "%s.base", name);
	base = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	if (base < 0)
		return log_err(-errno, "open %s", path);
	snprintf(path, sizeof(path), "%s.img", name);
	img = openat(outfd, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (img < 0)
		return log_err(-errno, "open %s", path);
	find_winners(t, disk, cut, winner);
	err = image_copy(base, img, size);
	if (!err)
		err = write_winners(img, t, winner, sectors);
	return err ? log_err(err, "write %s", path) : 0;
}

static int find_disk(const struct trace *t, const char *name)
{
	unsigned i;

	for (i = 0; i < t->header->n_disks; i++)
		if (!strcmp(t->header->disk[i].name, name))
			return (int)i;
	return log_err(-ENOENT, "disk %s", name);
}

static int cut_disks(int dirfd, const char *outdir, const struct trace *t, const struct cut *cut,
		     char *const *names)
{
	CLEANUP_CLOSE int outfd = -1;
	unsigned i;
	int disk, err = 0;

	if (cut->at < t->header->first || cut->at > t->last)
		return log_err(-ERANGE, "the log has %llu to %llu, not request %llu",
			       (unsigned long long)t->header->first, (unsigned long long)t->last,
			       (unsigned long long)cut->at);
	if (mkdir(outdir, 0700) && errno != EEXIST)
		return log_err(-errno, "mkdir %s", outdir);
	outfd = open(outdir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (outfd < 0)
		return log_err(-errno, "open %s", outdir);
	for (i = 0; !*names && i < t->header->n_disks && !err; i++)
		err = cut_disk(dirfd, outfd, t, i, cut);
	for (; *names && !err; names++) {
		disk = find_disk(t, *names);
		err = disk < 0 ? disk : cut_disk(dirfd, outfd, t, (unsigned)disk, cut);
	}
	return err;
}

int image_cut(int dirfd, const char *outdir, const struct cut *cut, char *const *names)
{
	struct trace t;
	int err = trace_open(&t, dirfd);

	if (err)
		return log_err(err, "open the request log");
	err = cut_disks(dirfd, outdir, &t, cut, names);
	trace_unmap(&t);
	return err;
}
