/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replica/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "replica/check.h"
#include "replica/intent.h"
#include "replica/recovery.h"
#include "replica/seal.h"
#include "replica/tree.h"

int64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ll + ts.tv_nsec / 1000000;
}

int64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	return ts_ns(&ts);
}

static struct file *file_new(struct volume *v, uint32_t node)
{
	struct file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->node = node;
	f->id = tree_node(v, node)->id;
	f->type = tree_node(v, node)->type;
	f->cut_pages = UINT64_MAX;
	f->first_lsn = LSN_NONE;
	pthread_rwlock_init(&f->lock, NULL);
	pthread_mutex_init(&f->fd_lock, NULL);
	for (int m = 0; m < MAX_MIRRORS; m++)
		f->fd[m] = -1;
	return f;
}

static void file_free(struct file *f)
{
	for (int m = 0; m < MAX_MIRRORS; m++)
		file_close_fd(f, m);
	leaves_free(f);
	free(f->hot);
	pthread_rwlock_destroy(&f->lock);
	pthread_mutex_destroy(&f->fd_lock);
	free(f);
}

struct file *file_peek(struct volume *v, uint32_t node)
{
	struct file *f;

	tree_lock(v);
	f = *tree_state_slot(v, node);
	if (f)
		f->users++;
	tree_unlock(v);
	return f;
}

struct file *file_get(struct volume *v, uint32_t node)
{
	struct file *f = file_peek(v, node), *fresh;
	void **slot;

	if (f)
		return f;
	fresh = file_new(v, node);
	if (!fresh)
		return NULL;
	tree_lock(v);
	slot = tree_state_slot(v, node);
	if (!*slot) {
		*slot = fresh;
		tree_node(v, node)->refs++;
		fresh = NULL;
	}
	f = *slot;
	f->users++;
	tree_unlock(v);
	if (fresh)
		file_free(fresh);
	return f;
}

/* Nobody but the seal queue will be left: descriptors are given back, so that
 * a burst of new files does not use them up. */
static void close_idle(struct volume *v, struct file *f)
{
	bool idle;

	tree_lock(v);
	idle = f->users == 2 && f->queued;
	tree_unlock(v);
	if (!idle || pthread_rwlock_trywrlock(&f->lock) != 0)
		return;
	for (int m = 0; m < MAX_MIRRORS; m++)
		file_close_fd(f, m);
	pthread_rwlock_unlock(&f->lock);
}

void file_put(struct volume *v, struct file *f)
{
	uint32_t node = f->node;
	bool last;

	close_idle(v, f);
	tree_lock(v);
	last = --f->users == 0;
	if (last)
		*tree_state_slot(v, node) = NULL;
	tree_unlock(v);
	if (!last)
		return;
	file_free(f);
	tree_unref(v, node);
}

void file_set_new(struct file *f, const struct record *r, const int fd[MAX_MIRRORS])
{
	pthread_rwlock_wrlock(&f->lock);
	f->rec = *r;
	f->loaded = f->known = f->marked = true;
	for (int m = 0; fd && m < MAX_MIRRORS; m++)
		if (fd[m] >= 0) {
			f->fd[m] = fd[m];
			f->writable |= 1u << m;
		}
	pthread_rwlock_unlock(&f->lock);
}

/* ---- descriptors ---- */

void file_close_fd(struct file *f, int m)
{
	if (f->fd[m] >= 0)
		close(f->fd[m]);
	f->fd[m] = -1;
	f->writable &= ~(1u << m);
}

static int open_object(struct volume *v, struct file *f, int m, int flags)
{
	struct loc l;
	struct at a;
	int fd = loc_get(v, f->node, 1u << m, false, &l);

	if (fd < 0)
		return fd;
	fd = loc_at(v, &l, m, &a);
	if (fd == 0)
		fd = at_open(&a, flags);
	loc_put(v, &l);
	return fd;
}

int file_fd(struct volume *v, struct file *f, int m, bool write)
{
	int fd = f->fd[m], flags = O_NOATIME | O_NONBLOCK;

	if (fd >= 0 && (!write || f->writable & 1u << m))
		return fd;
	pthread_mutex_lock(&f->fd_lock);
	fd = f->fd[m];
	if (fd < 0 || (write && !(f->writable & 1u << m))) {
		int fresh = open_object(v, f, m, flags | (write ? O_RDWR : O_RDONLY));

		if (fresh >= 0) {
			if (fd >= 0) /* only a writer replaces one, and it is alone */
				close(fd);
			f->fd[m] = fresh;
			if (write)
				f->writable |= 1u << m;
		}
		fd = fresh;
	}
	pthread_mutex_unlock(&f->fd_lock);
	return fd;
}

int file_at(struct volume *v, struct file *f, int m, struct loc *l, struct at *a)
{
	int r;

	l->node = NODE_NONE;
	if (f->fd[m] >= 0) {
		*a = (struct at){ .mirror = &v->m[m], .fd = f->fd[m], .opened = true };
		return 0;
	}
	r = loc_get(v, f->node, 1u << m, false, l);
	if (r < 0)
		return r;
	r = loc_at(v, l, m, a);
	if (r < 0)
		file_at_done(v, l);
	return r;
}

void file_at_done(struct volume *v, struct loc *l)
{
	if (l->node != NODE_NONE)
		loc_put(v, l);
	l->node = NODE_NONE;
}

/* ---- loading ---- */

static void set_loaded(struct volume *v, struct file *f, const struct record *r,
		       const struct stat *st)
{
	f->rec = *r;
	f->size = f->rest = r->size;
	f->sum = r->hash;
	f->large = f->type == TYPE_OF(S_IFREG) && r->size > SMALL_MAX;
	f->disk_pages = f->large ?
		(leaves_of(r->size) + HASHFILE_LEAVES - 1) / HASHFILE_LEAVES : 0;
	f->known = false;
	if (f->large)
		tree_set_flag(v, f->node, NODE_HASHFILE);
	f->plain_mode = !(st->st_mode & (S_ISUID | S_ISGID));
	f->loaded = true;
}

/*
 * The quick way: the preferred copy's record is sealed and its size is right.
 * Returns 1 if a thorough check must come first.
 */
static int load_quick(struct volume *v, struct file *f)
{
	int p = volume_preferred(v, f->id), r;
	struct record rec;
	struct stat st;
	struct loc l;
	struct at a;

	r = file_at(v, f, p, &l, &a);
	if (r < 0)
		return 1;
	r = at_stat(&a, &st);
	if (r == 0)
		r = record_load(&a, f->type, &rec);
	file_at_done(v, &l);
	if (r < 0 || rec.id != f->id || TYPE_OF(st.st_mode) != f->type)
		return 1;
	if (rec.flags & RECORD_OPEN || recovery_file(v, f->id, rec.gen))
		return 1;
	if (f->type == TYPE_OF(S_IFREG) && (uint64_t)st.st_size != rec.size)
		return 1;
	set_loaded(v, f, &rec, &st);
	return 0;
}

/* What a thorough check left: the best record among the in-sync members. */
static int load_best(struct volume *v, struct file *f)
{
	struct record best = { 0 }, rec;
	struct stat st, best_st;
	bool found = false;

	FOR_EACH_BIT(m, volume_in_sync(v)) {
		struct loc l;
		struct at a;

		if (file_at(v, f, (int)m, &l, &a) < 0)
			continue;
		if (at_stat(&a, &st) == 0 && record_load(&a, f->type, &rec) == 0 &&
		    rec.id == f->id && (!found || rec.gen > best.gen)) {
			best = rec;
			best_st = st;
			found = true;
		}
		file_at_done(v, &l);
	}
	if (!found)
		return -EIO;
	set_loaded(v, f, &best, &best_st);
	return 0;
}

int file_load(struct volume *v, struct file *f)
{
	struct check c;
	int r = 0;

	pthread_rwlock_wrlock(&f->lock);
	if (!f->loaded)
		r = load_quick(v, f);
	pthread_rwlock_unlock(&f->lock);
	if (r <= 0)
		return r;
	check_init(&c, v);
	r = check_node(&c, f->node);
	if (r < 0 && r != -EIO)
		return r;
	pthread_rwlock_wrlock(&f->lock);
	r = f->loaded ? 0 : load_best(v, f);
	pthread_rwlock_unlock(&f->lock);
	return r;
}

/* ---- changing ---- */

/*
 * Where a record is a file of its own, nothing orders it before the change of
 * the object: then the journal says first, durably, that it is open.
 */
static bool spills(const struct volume *v, const struct file *f)
{
	FOR_EACH_BIT(m, volume_in_sync(v))
		if (!(f->type == TYPE_OF(S_IFREG) ? v->m[m].user_xattr : v->m[m].trusted_xattr))
			return true;
	return false;
}

static int mark_as(struct volume *v, struct file *f, uint8_t flags)
{
	uint32_t done = 0, failed = 0;
	struct record r = f->rec;
	int err = 0;

	if (f->marked && (r.flags & flags) == flags)
		return 0;
	if (f->type == TYPE_OF(S_IFREG) && f->large)
		tree_set_flag(v, f->node, NODE_HASHFILE);
	r.flags |= flags;
	if (!f->marked)
		err = intent_mark(v, f, r.gen && spills(v, f));
	if (err < 0)
		return err;
	FOR_EACH_BIT(m, volume_in_sync(v)) {
		struct loc l;
		struct at a;
		int e = file_at(v, f, (int)m, &l, &a);

		if (e == 0) {
			e = record_store(&a, f->type, &r);
			file_at_done(v, &l);
		}
		if (e == 0)
			done |= 1u << m;
		else {
			failed |= 1u << m;
			err = e;
		}
	}
	if (!done)
		return err ? err : -EIO;
	if (failed) {
		char path[512];

		tree_path(v, f->node, path, sizeof(path));
		volume_eject(v, failed, -err, "setxattr of the record", path);
	}
	f->rec = r;
	f->marked = true;
	tree_set_ctime(v, f->node, 0, 0);
	return 0;
}

int file_mark(struct volume *v, struct file *f)
{
	return mark_as(v, f, RECORD_OPEN);
}

int file_mark_cut(struct volume *v, struct file *f)
{
	return mark_as(v, f, f->rec.gen ? RECORD_OPEN | RECORD_CUT : RECORD_OPEN);
}

void file_changed(struct volume *v, struct file *f)
{
	f->changes++;
	f->changed_at = clock_ms();
	f->dirty = true;
	seal_queue(v, f);
}
