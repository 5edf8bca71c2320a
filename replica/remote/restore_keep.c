/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Content on its way to the new mirror. Small files are written under their
 * names; large ones in `.mirrorfs/tmp`, named by file id so that a later run
 * finds them, and get their names when they are whole. Runs of zero leaves
 * stay holes. Nothing here is synced: the batch does that. No locks.
 */
#include "replica/remote/restore_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/file.h"
#include "replica/hash.h"
#include "replica/hashfile.h"

#define TMP_NAME 32

static void tmp_name(uint64_t id, char out[TMP_NAME])
{
	snprintf(out, TMP_NAME, "restore-%016" PRIx64, id);
}

/* ---- pieces ---- */

/* Runs of leaves that are not zero. */
static int write_sparse(int fd, const uint8_t *buf, size_t len, uint64_t off, const uint64_t *hash)
{
	size_t n = (len + LEAF_SIZE - 1) / LEAF_SIZE, i = 0;

	while (i < n) {
		size_t k = i, end;
		int err;

		while (k < n && hash[k])
			k++;
		end = k * LEAF_SIZE < len ? k * LEAF_SIZE : len;
		err = k > i ? io_pwrite_full(fd, buf + i * LEAF_SIZE, end - i * LEAF_SIZE,
					     (off_t)(off + i * LEAF_SIZE), NULL) : 0;
		if (err < 0)
			return err;
		i = k + 1;
	}
	return 0;
}

int keep_hole(int fd, uint64_t off, uint64_t len)
{
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) < 0)
		return -errno;
	return 0;
}

int keep_piece(int fd, bool over, const uint8_t *buf, uint64_t off, size_t len,
	       const uint64_t *hash)
{
	int err = over ? keep_hole(fd, off, len) : 0;

	if (err == -EOPNOTSUPP) /* then zeros */
		return io_pwrite_full(fd, buf, len, (off_t)off, NULL);
	return err ? err : write_sparse(fd, buf, len, off, hash);
}

int keep_open(struct run *r, uint64_t id, uint64_t size, bool resume, bool *over)
{
	CLEANUP_CLOSE int fd = -1;
	char tmp[TMP_NAME];
	struct stat st;

	tmp_name(id, tmp);
	fd = openat(r->tmpfd, tmp, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &st) < 0 || (!resume && ftruncate(fd, 0) < 0))
		return -errno;
	*over = resume && st.st_size > 0;
	if (ftruncate(fd, (off_t)size) < 0)
		return -errno;
	return steal_fd(&fd);
}

void keep_drop(struct run *r, struct place *p, const char *name, uint64_t id)
{
	char tmp[TMP_NAME];

	tmp_name(id, tmp);
	unlinkat(r->tmpfd, tmp, 0);
	place_remove(r, p, name); /* an older state, of an earlier run */
}

/* ---- whole files ---- */

static int write_hashes(struct run *r, const struct manifest_entry *e, const uint64_t *hash)
{
	uint64_t n = leaves_of(e->size), pages = (n + HASHFILE_LEAVES - 1) / HASHFILE_LEAVES;
	struct hash_page page = { .gen = e->gen ? e->gen : 1 };
	CLEANUP_CLOSE int fd = hashfile_open(r->m.dotfd, e->id, O_RDWR | O_CREAT);
	int err = fd < 0 ? fd : 0;

	for (uint64_t no = 0; err == 0 && no < pages; no++) {
		uint64_t first = no * HASHFILE_LEAVES, k = n - first;

		k = k < HASHFILE_LEAVES ? k : HASHFILE_LEAVES;
		memset(page.leaf, 0, sizeof(page.leaf));
		memcpy(page.leaf, hash + first, k * sizeof(*page.leaf));
		err = hashfile_write(fd, e->id, no, &page);
	}
	return err == 0 ? hashfile_truncate(fd, pages) : err;
}

/* A new file under its name; whatever stands there goes. */
static int create(struct run *r, struct place *p, const char *name, int dirfd)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dirfd, name, flags, 0600), err;

	if (fd < 0 && errno == EEXIST) {
		err = place_remove(r, p, name);
		if (err < 0)
			return err;
		fd = openat(dirfd, name, flags, 0600);
	}
	return fd < 0 ? -errno : fd;
}

static int put_small(struct run *r, struct place *p, const char *name,
		     const struct manifest_entry *e, const uint8_t *buf, const uint64_t *hash)
{
	int dirfd = place_fd(r, p), err;
	CLEANUP_CLOSE int fd = dirfd < 0 ? dirfd : create(r, p, name, dirfd);

	if (fd < 0)
		return fd;
	err = ftruncate(fd, (off_t)e->size) < 0 ? -errno : 0;
	if (err == 0 && buf)
		err = write_sparse(fd, buf, e->size, 0, hash);
	if (err < 0)
		unlinkat(dirfd, name, 0);
	return err;
}

static int put_large(struct run *r, struct place *p, const char *name,
		     const struct manifest_entry *e, const uint64_t *hash)
{
	int err = write_hashes(r, e, hash), dirfd = place_fd(r, p);
	char tmp[TMP_NAME];

	if (err < 0 || dirfd < 0)
		return err < 0 ? err : dirfd;
	tmp_name(e->id, tmp);
	if (renameat(r->tmpfd, tmp, dirfd, name) == 0)
		return 0;
	if (errno != EISDIR && errno != ENOTEMPTY && errno != EEXIST)
		return -errno;
	err = place_remove(r, p, name);
	if (err == 0 && renameat(r->tmpfd, tmp, dirfd, name) < 0)
		err = -errno;
	return err;
}

int keep_attributes(struct run *r, struct place *p, const char *name,
		    const struct manifest_entry *e)
{
	struct record rec = meta_record(e);
	struct at a = { .mirror = &r->m, .fd = place_fd(r, p), .name = name };
	int err = a.fd < 0 ? a.fd : meta_apply(r, &a, e, p, name);

	return err == 0 ? batch_add(r, p, name, &rec) : err;
}

int keep_file(struct run *r, struct place *p, const char *name, const struct manifest_entry *e,
	      const uint8_t *small, const uint64_t *hash)
{
	int err = e->size > SMALL_MAX ? put_large(r, p, name, e, hash) :
		put_small(r, p, name, e, small, hash);

	return err == 0 ? keep_attributes(r, p, name, e) : err;
}

/* ---- what an earlier run brought ---- */

static bool hashes_there(struct run *r, const struct manifest_entry *e)
{
	uint64_t pages = (leaves_of(e->size) + HASHFILE_LEAVES - 1) / HASHFILE_LEAVES, sum = 0;
	CLEANUP_CLOSE int fd = hashfile_open(r->m.dotfd, e->id, O_RDONLY);
	struct hash_page page;

	for (uint64_t no = 0; no < pages; no++) {
		if (fd < 0 || hashfile_read(fd, e->id, no, &page) < 0)
			return false;
		sum += content_sum(page.leaf, HASHFILE_LEAVES);
	}
	return sum == e->root;
}

/* A record is sealed after a sync: what it says of the content holds while nobody writes. */
bool keep_have(struct run *r, struct place *p, const char *name, const struct manifest_entry *e)
{
	struct at a = { .mirror = &r->m, .name = name };
	struct record rec;
	struct stat st;

	if (!r->resumed || r->o->dry_run || (a.fd = place_fd(r, p)) < 0)
		return false;
	if (at_stat(&a, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != e->size ||
	    record_load(&a, TYPE_OF(S_IFREG), &rec) < 0)
		return false;
	return !rec.flags && rec.id == e->id && rec.size == e->size && rec.hash == e->root &&
	       rec.mtime == ts_ns(&st.st_mtim) && (e->size <= SMALL_MAX || hashes_there(r, e));
}
