/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changing content: one engine for write, truncate and fallocate.
 *
 *   1. the volume's gate (shared) and the file's lock (exclusive)
 *   2. partly covered leaves: old bytes verified, then merged; if they are
 *      lost, nothing was touched yet
 *   3. OPEN into the records, once until the next sealing
 *   4. the change on every in-sync mirror
 *   5. the verdict; a mirror that failed is ejected before the reply
 *   6. the new hashes into memory; the sealing thread stores them
 */
#include "replica/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/io.h"
#include "replica/blame.h"
#include "replica/check.h"
#include "replica/fan.h"
#include "replica/intent.h"
#include "replica/journal.h"
#include "replica/recover.h"
#include "replica/resync.h"
#include "replica/seal.h"
#include "replica/tree.h"

/* From here on two copies go out from two threads. */
#define PARALLEL_WRITE (512u << 10)

/* One change of content as every mirror is to carry it out. */
struct change {
	struct volume *v;
	struct file *f;
	int (*run)(struct change *c, int fd);
	const char *what;
	uint64_t off, len;
	const uint8_t *data;
	int mode;               /* of fallocate */
};

static int change_on(int m, void *arg)
{
	struct change *c = arg;
	int fd = file_fd(c->v, c->f, m, true);

	return fd < 0 ? fd : c->run(c, fd);
}

static int run_write(struct change *c, int fd)
{
	return io_pwrite_full(fd, c->data, c->len, (off_t)c->off, NULL);
}

static int run_truncate(struct change *c, int fd)
{
	return ftruncate(fd, (off_t)c->len) < 0 ? -errno : 0;
}

static int write_zeros(int fd, uint64_t off, uint64_t len)
{
	static const uint8_t zeros[64 << 10];

	while (len) {
		size_t n = len < sizeof(zeros) ? len : sizeof(zeros);
		int r = io_pwrite_full(fd, zeros, n, (off_t)off, NULL);

		if (r < 0)
			return r;
		off += n;
		len -= n;
	}
	return 0;
}

/* Filesystems differ in the modes they know; the result must not. */
static int allocate_otherwise(struct change *c, int fd)
{
	uint64_t end = c->off + c->len, stop = end;
	struct stat st;
	int r = 0;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (stop > (uint64_t)st.st_size)
		stop = (uint64_t)st.st_size;
	if (c->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && c->off < stop &&
	    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)c->off,
		      (off_t)(stop - c->off)) < 0)
		r = write_zeros(fd, c->off, stop - c->off);
	if (r == 0 && !(c->mode & FALLOC_FL_KEEP_SIZE) && end > (uint64_t)st.st_size)
		r = ftruncate(fd, (off_t)end) < 0 ? -errno : 0;
	return r;
}

static int run_allocate(struct change *c, int fd)
{
	if (fallocate(fd, c->mode, (off_t)c->off, (off_t)c->len) == 0)
		return 0;
	if (errno == EOPNOTSUPP || errno == ENOSYS)
		return allocate_otherwise(c, fd);
	return -errno;
}

/* ---- before and after ---- */

/* Takes gate and lock with the file loaded. */
static int change_begin(struct volume *v, struct file *f)
{
	seal_make_room(v);
	for (int tries = 0; tries < 100; tries++) {
		int r = file_load(v, f);

		if (r < 0)
			return r;
		pthread_rwlock_rdlock(&v->gate);
		pthread_rwlock_wrlock(&f->lock);
		if (f->loaded)
			return 0;
		pthread_rwlock_unlock(&f->lock);
		pthread_rwlock_unlock(&v->gate);
	}
	return -EAGAIN;
}

static void change_end(struct volume *v, struct file *f)
{
	pthread_rwlock_unlock(&f->lock);
	pthread_rwlock_unlock(&v->gate);
}

/*
 * The mirrors failed alike, perhaps half way: each leaf of the range is
 * brought to one state, the old one if any copy still is that, and the size
 * goes back to what it was.
 */
static void settle_failure(struct change *c)
{
	struct volume *v = c->v;
	struct file *f = c->f;
	struct recover rc = { .f = f, .here = true };
	struct check chk;

	FOR_EACH_BIT(m, volume_in_sync(v)) {
		int fd = file_fd(v, f, (int)m, true);
		struct stat st;

		if (fd >= 0 && fstat(fd, &st) == 0 && (uint64_t)st.st_size > f->size &&
		    ftruncate(fd, (off_t)f->size) < 0)
			volume_eject(v, 1u << m, errno, "truncate after a failed write", NULL);
	}
	check_init(&chk, v);
	rc.c = &chk;
	rc.have = chk.mask;
	if (c->off >= f->size)
		return;
	for (uint64_t leaf = c->off >> LEAF_SHIFT;
	     leaf << LEAF_SHIFT < c->off + c->len && leaf << LEAF_SHIFT < f->size; leaf++)
		check_window(&chk, f, leaf, 1, &rc, NULL);
}

/* In-sync members that have the object: a mirror that came back lacks what
 * was unlinked and only kept open meanwhile, and that is no fault of it. */
static uint32_t copies(struct volume *v, struct file *f)
{
	uint32_t mask = volume_in_sync(v), have = 0;

	if (!(tree_node(v, f->node)->flags & NODE_DELETED))
		return mask;
	FOR_EACH_BIT(m, mask)
		if (file_fd(v, f, (int)m, false) >= 0)
			have |= 1u << m;
	return have ? have : mask;
}

/* Runs c on all in-sync mirrors. The record is OPEN already. */
static int change_run(struct change *c)
{
	uint32_t mask = copies(c->v, c->f);
	int result[MAX_MIRRORS] = { 0 };
	int reply;

	if (c->len >= PARALLEL_WRITE && c->run == run_write)
		fan_run(mask, change_on, c, result);
	else
		FOR_EACH_BIT(m, mask)
			result[m] = change_on((int)m, c);
	reply = blame(c->v, VERDICT_CHANGE, mask, result, c->what, c->f->node, NULL);
	if (reply < 0)
		settle_failure(c);
	return reply;
}

/*
 * Leaves first..first+n-1 are to get these hashes (NULL: zeros) and the file
 * this size: so it is noted, and what is at rest there is marked as open.
 */
static int intend(struct change *c, uint64_t first, uint64_t n, const uint64_t *hash,
		  uint64_t size)
{
	int r = file_mark(c->v, c->f);

	return r < 0 ? r : intent_leaves(c->v, c->f, first, n, hash, size, c->off < c->f->rest);
}

/* After a failure, too: a record that was marked has to be sealed again. */
static void change_done(struct volume *v, struct file *f)
{
	if (f->marked)
		file_changed(v, f);
	resync_touched(v, f->node);
}

/* ---- write ---- */

/* Bytes of leaf `leaf` that a write of [off, off+len) leaves as they are. */
static bool needs_old(const struct file *f, uint64_t leaf, uint64_t off, uint64_t end)
{
	uint64_t start = leaf << LEAF_SHIFT, stop = start + LEAF_SIZE;

	if (start >= f->size)
		return false;
	if (stop > f->size)
		stop = f->size;
	return off > start || end < stop;
}

/*
 * Hash of every leaf touched, into hash[]; the edges are merged with verified
 * old bytes. s is scratch for the edges.
 */
static int new_hashes(struct change *c, struct io_space *s, uint64_t first, uint64_t n,
		      uint64_t *hash)
{
	struct file *f = c->f;
	uint64_t end = c->off + c->len;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t leaf = first + i, start = leaf << LEAF_SHIFT;
		uint64_t from = c->off > start ? c->off : start;
		uint64_t to = end < start + LEAF_SIZE ? end : start + LEAF_SIZE;

		if (from == start && !needs_old(f, leaf, c->off, end)) {
			hash[i] = hash_leaf(f->id, leaf, c->data + (from - c->off), to - from);
			continue;
		}
		if (needs_old(f, leaf, c->off, end)) {
			int r = file_read_leaf(c->v, f, leaf, s->buf);

			if (r < 0)
				return r;
		} else {
			memset(s->buf, 0, LEAF_SIZE);
		}
		memcpy(s->buf + (from - start), c->data + (from - c->off), to - from);
		hash[i] = hash_leaf(f->id, leaf, s->buf, LEAF_SIZE);
	}
	return 0;
}

static int write_locked(struct change *c, struct io_space *s)
{
	struct file *f = c->f;
	uint64_t first = c->off >> LEAF_SHIFT, end = c->off + c->len;
	uint64_t n = ((end + LEAF_SIZE - 1) >> LEAF_SHIFT) - first;
	uint64_t hash[IO_MAX / LEAF_SIZE + 2];
	int r = leaves_load(c->v, f, first, n);

	if (r == 0)
		r = new_hashes(c, s, first, n, hash);
	if (r == 0)
		r = intend(c, first, n, hash, end > f->size ? end : f->size);
	if (r == 0)
		r = change_run(c);
	if (r == 0 && end > f->size)
		r = leaves_resize(c->v, f, end);
	for (uint64_t i = 0; r == 0 && i < n; i++)
		r = leaves_set(f, first + i, hash[i]);
	return r;
}

ssize_t file_write(struct volume *v, struct file *f, struct io_space *s, uint64_t off,
		   const void *data, size_t len)
{
	struct change c = { .v = v, .f = f, .run = run_write, .what = "write",
			    .off = off, .len = len < IO_MAX ? len : IO_MAX, .data = data };
	int r;

	if (!len)
		return 0;
	r = change_begin(v, f);
	if (r < 0)
		return r;
	r = write_locked(&c, s);
	change_done(v, f);
	change_end(v, f);
	return r < 0 ? r : (ssize_t)c.len;
}

/* ---- truncate ---- */

/* The leaf in which `size` lies: its head stays, the rest becomes zeros. */
static int cut_leaf(struct volume *v, struct file *f, struct io_space *s, uint64_t size,
		    uint64_t *hash)
{
	uint64_t leaf = size >> LEAF_SHIFT;
	size_t keep = size & (LEAF_SIZE - 1);
	int r = file_read_leaf(v, f, leaf, s->buf);

	if (r == 0)
		*hash = hash_leaf(f->id, leaf, s->buf, keep);
	return r;
}

/* The tail of a leaf that is cut becomes zeros in place; whole leaves that go
 * need no barrier, since the record says first that they were cut. */
static int intend_size(struct change *c, uint64_t size, const uint64_t *cut)
{
	struct file *f = c->f;
	bool shrinks = size < f->size;
	int r = size < f->rest ? file_mark_cut(c->v, f) : file_mark(c->v, f);

	if (r == 0 && cut)
		r = intent_leaves(c->v, f, size >> LEAF_SHIFT, 1, cut, size, size < f->rest);
	if (r == 0)
		r = intent_leaves(c->v, f, leaves_of(size), shrinks ? UINT64_MAX : 0, NULL, size,
				  false);
	return r;
}

static int truncate_locked(struct change *c, struct io_space *s)
{
	struct file *f = c->f;
	uint64_t size = c->len, hash = 0;
	bool inside = size < f->size && (size & (LEAF_SIZE - 1));
	int r = inside ? cut_leaf(c->v, f, s, size, &hash) : 0;

	if (r == 0 && size && !f->large)
		r = leaves_load(c->v, f, 0, 1);
	if (r == 0)
		r = intend_size(c, size, inside ? &hash : NULL);
	if (r == 0)
		r = change_run(c);
	if (r == 0)
		r = leaves_resize(c->v, f, size);
	if (r == 0 && inside)
		r = leaves_set(f, size >> LEAF_SHIFT, hash);
	if (r == 0 && size < f->rest)
		f->rest = size;
	return r;
}

int file_truncate(struct volume *v, struct file *f, struct io_space *s, uint64_t size)
{
	struct change c = { .v = v, .f = f, .run = run_truncate, .what = "truncate",
			    .off = size, .len = size };
	int r = change_begin(v, f);

	if (r < 0)
		return r;
	r = truncate_locked(&c, s);
	change_done(v, f);
	change_end(v, f);
	return r;
}

/* ---- fallocate ---- */

/* Hash of an edge leaf once [off, end) in it is zero. */
static int zeroed_leaf(struct change *c, struct io_space *s, uint64_t leaf, uint64_t *hash)
{
	uint64_t start = leaf << LEAF_SHIFT, end = c->off + c->len;
	size_t from = c->off > start ? (size_t)(c->off - start) : 0;
	size_t to = end < start + LEAF_SIZE ? (size_t)(end - start) : LEAF_SIZE;
	int r = file_read_leaf(c->v, c->f, leaf, s->buf);

	if (r < 0)
		return r;
	memset(s->buf + from, 0, to - from);
	*hash = hash_leaf(c->f->id, leaf, s->buf, LEAF_SIZE);
	return 0;
}

static int zero_hashes(struct change *c, uint64_t from, uint64_t to)
{
	for (uint64_t leaf = from; leaf < to; leaf++) {
		int r = leaves_load(c->v, c->f, leaf, 1);

		if (r == 0)
			r = leaves_set(c->f, leaf, 0);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Of the file after a fallocate. */
static uint64_t new_size(const struct change *c)
{
	uint64_t end = c->off + c->len;

	return end > c->f->size && !(c->mode & FALLOC_FL_KEEP_SIZE) ? end : c->f->size;
}

/* Zeroes [off, off+len) below the end of the file. */
static int zero_locked(struct change *c, struct io_space *s)
{
	struct file *f = c->f;
	uint64_t end = c->off + c->len, edge_hash[2] = { 0 };
	uint64_t head = c->off >> LEAF_SHIFT, tail, whole_from, whole_to;
	bool head_part = c->off & (LEAF_SIZE - 1), tail_part;
	int r = 0;

	if (end > f->size)
		end = f->size;
	if (c->off >= end) {
		r = intend(c, 0, 0, NULL, new_size(c));
		return r < 0 ? r : change_run(c);
	}
	tail = end >> LEAF_SHIFT;
	tail_part = (end & (LEAF_SIZE - 1)) && end < f->size && !(head_part && tail == head);
	whole_from = head + head_part;
	whole_to = tail + (end == f->size && (end & (LEAF_SIZE - 1)));
	if (head_part)
		r = zeroed_leaf(c, s, head, &edge_hash[0]);
	if (r == 0 && tail_part)
		r = zeroed_leaf(c, s, tail, &edge_hash[1]);
	if (r == 0)
		r = leaves_load(c->v, f, head, 1);
	if (r == 0 && head_part)
		r = intend(c, head, 1, &edge_hash[0], new_size(c));
	if (r == 0 && tail_part)
		r = intend(c, tail, 1, &edge_hash[1], new_size(c));
	if (r == 0)
		r = intend(c, whole_from, whole_to > whole_from ? whole_to - whole_from : 0, NULL,
			   new_size(c));
	if (r == 0)
		r = change_run(c);
	if (r == 0 && whole_from < whole_to)
		r = zero_hashes(c, whole_from, whole_to);
	if (r == 0 && head_part)
		r = leaves_set(f, head, edge_hash[0]);
	if (r == 0 && tail_part)
		r = leaves_set(f, tail, edge_hash[1]);
	return r;
}

static int allocate_locked(struct change *c, struct io_space *s)
{
	struct file *f = c->f;
	int r = f->large ? 0 : leaves_load(c->v, f, 0, 1);

	if (r < 0)
		return r;
	if (c->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		r = zero_locked(c, s);
	else
		r = intend(c, 0, 0, NULL, new_size(c));
	if (r == 0 && !(c->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
		r = change_run(c);
	if (r == 0 && new_size(c) > f->size)
		r = leaves_resize(c->v, f, new_size(c));
	return r;
}

int file_allocate(struct volume *v, struct file *f, struct io_space *s, int mode, uint64_t off,
		  uint64_t len)
{
	const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
	struct change c = { .v = v, .f = f, .run = run_allocate, .what = "fallocate",
			    .off = off, .len = len, .mode = mode };
	int r;

	if (mode & ~known)
		return -EOPNOTSUPP;
	r = change_begin(v, f);
	if (r < 0)
		return r;
	r = allocate_locked(&c, s);
	change_done(v, f);
	change_end(v, f);
	return r;
}

/* ---- sync and privileges ---- */

struct sync_call {
	struct volume *v;
	struct file *f;
	bool data;
	uint64_t lsn, noted;
};

/* Bits from here on ask for the journal of a member. */
#define SYNC_JOURNAL MAX_MIRRORS

static int sync_on(int m, void *arg)
{
	struct sync_call *s = arg;
	int fd;

	if (m >= SYNC_JOURNAL)
		return journal_flush_on(s->v, m - SYNC_JOURNAL, s->noted);
	fd = file_fd(s->v, s->f, m, false);
	if (fd < 0)
		return fd;
	if (s->data)
		return fdatasync(fd) < 0 ? -errno : 0;
	return fsync(fd) < 0 ? -errno : 0;
}

/*
 * Data and journal of every mirror at once. Nothing of the file is in flight
 * meanwhile, so what was noted of it before is covered.
 */
int file_sync(struct volume *v, struct file *f, bool data)
{
	struct sync_call s = { v, f, data, 0, 0 };
	int result[2 * MAX_MIRRORS] = { 0 }, r;
	uint32_t mask;

	pthread_rwlock_rdlock(&f->lock);
	mask = copies(v, f);
	s.lsn = journal_head(v);
	s.noted = atomic_load(&v->noted);
	fan_run(v->opt.read_only ? mask : mask | mask << SYNC_JOURNAL, sync_on, &s, result);
	FOR_EACH_BIT(m, mask)
		if (result[m] == 0)
			result[m] = result[m + SYNC_JOURNAL];
	r = blame(v, VERDICT_SYNC, mask, result, data ? "fdatasync" : "fsync", f->node, NULL);
	if (r == 0)
		intent_commit(v, f, s.lsn);
	pthread_rwlock_unlock(&f->lock);
	return r;
}

int file_kill_privileges(struct volume *v, struct file *f, const struct killer *k)
{
	struct stat st;
	mode_t mode;
	int fd, r = 0;

	pthread_rwlock_rdlock(&v->gate);
	pthread_rwlock_wrlock(&f->lock);
	fd = file_fd(v, f, volume_preferred(v, f->id), false);
	if (f->plain_mode || fd < 0 || fstat(fd, &st) < 0)
		goto out;
	mode = st.st_mode & 07777 & ~(mode_t)S_ISUID;
	if (st.st_mode & S_ISGID && (st.st_mode & S_IXGRP || !k->in_group(st.st_gid, k->arg)))
		mode &= ~(mode_t)S_ISGID;
	f->plain_mode = !(mode & (S_ISUID | S_ISGID));
	if (mode == (st.st_mode & 07777))
		goto out;
	r = file_mark(v, f);
	FOR_EACH_BIT(m, r == 0 ? volume_in_sync(v) : 0) {
		fd = file_fd(v, f, (int)m, false);
		if (fd < 0 || fchmod(fd, mode) < 0)
			volume_eject(v, 1u << m, fd < 0 ? -fd : errno, "chmod", NULL);
	}
	if (r == 0)
		change_done(v, f);
out:
	pthread_rwlock_unlock(&f->lock);
	pthread_rwlock_unlock(&v->gate);
	return r;
}
