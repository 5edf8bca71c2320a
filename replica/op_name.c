/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The class "write dir", part one: operations that bring a name into being.
 * One engine: the parent's record is marked OPEN, the operation runs on every
 * in-sync mirror under the parent's lock, verdict, then the sum.
 */
#include "replica/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/blame.h"
#include "replica/check.h"
#include "replica/dirfd.h"
#include "replica/intent.h"
#include "replica/resync.h"
#include "replica/seal.h"
#include "replica/tree.h"

/* One new name. */
struct birth {
	struct volume *v;
	struct dir *d;
	const char *name;
	const struct make *m;
	int (*make)(struct birth *b, int m, int dfd);
	struct record rec;
	int fd[MAX_MIRRORS];    /* regular files: left open */
	uint32_t node;          /* op_link: the object */
	struct stat st;         /* of the preferred mirror's new object */
	uint32_t asked;
};

static int make_node(struct birth *b, int m, int dfd)
{
	const struct make *mk = b->m;
	int r;

	(void)m;
	if (S_ISDIR(mk->mode))
		r = mkdirat(dfd, b->name, mk->mode & 07777);
	else if (S_ISLNK(mk->mode))
		r = symlinkat(mk->target, dfd, b->name);
	else
		r = mknodat(dfd, b->name, mk->mode, mk->rdev);
	return r < 0 ? -errno : 0;
}

static int make_file(struct birth *b, int m, int dfd)
{
	b->fd[m] = openat(dfd, b->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			  b->m->mode & 07777);
	return b->fd[m] < 0 ? -errno : 0;
}

static int make_tmpfile(struct birth *b, int m, int dfd)
{
	b->fd[m] = openat(dfd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, b->m->mode & 07777);
	return b->fd[m] < 0 ? -errno : 0;
}

static int make_link(struct birth *b, int m, int dfd)
{
	struct file *f = file_peek(b->v, b->node);
	char path[64];
	struct loc l;
	struct at a;
	int r;

	/* A nameless file is reached through its open descriptor only. */
	if (f) {
		r = 1;
		pthread_rwlock_rdlock(&f->lock); /* or it could be closed meanwhile */
		if (f->fd[m] >= 0) {
			snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd[m]);
			r = linkat(AT_FDCWD, path, dfd, b->name, AT_SYMLINK_FOLLOW) < 0 ?
				-errno : 0;
		}
		pthread_rwlock_unlock(&f->lock);
		file_put(b->v, f);
		if (r <= 0)
			return r;
	}
	r = loc_get(b->v, b->node, 1u << m, false, &l);
	if (r < 0)
		return r;
	r = loc_at(b->v, &l, m, &a);
	if (r == 0 && a.name)
		r = linkat(a.fd, a.name, dfd, b->name, 0) < 0 ? -errno : 0;
	else if (r == 0) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", a.fd);
		r = linkat(AT_FDCWD, path, dfd, b->name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
	}
	loc_put(b->v, &l);
	return r;
}

/* The record goes in before the new object is talked about: an object without one
 * was never acknowledged. */
static int give_record(struct birth *b, int m, int dfd)
{
	struct at a = { .mirror = &b->v->m[m], .fd = dfd, .name = b->name };
	int r;

	if (b->make == make_link)
		return 0;
	if (b->fd[m] >= 0)
		a = (struct at){ .mirror = &b->v->m[m], .fd = b->fd[m], .opened = true };
	r = record_store(&a, b->rec.type, &b->rec);
	if (r < 0 && b->make != make_tmpfile)
		unlinkat(dfd, b->name, S_ISDIR(b->m->mode) ? AT_REMOVEDIR : 0);
	return r;
}

static int born_on(struct birth *b, int m, int dfd)
{
	int r;

	if (dfd < 0)
		return dfd;
	r = b->m ? creds_assume(&b->m->caller) : 0;
	if (r == 0)
		r = b->make(b, m, dfd);
	if (b->m)
		creds_restore();
	if (r == 0)
		r = give_record(b, m, dfd);
	if (r < 0 && b->fd[m] >= 0) {
		close(b->fd[m]);
		b->fd[m] = -1;
	}
	return r;
}

/* Something of that name that the others do not have: a stranger. */
static void retry_strangers(struct birth *b, const int *dfd, int *result)
{
	struct check c;
	bool any = false;

	check_init(&c, b->v);
	FOR_EACH_BIT(m, b->asked)
		any |= result[m] == 0;
	FOR_EACH_BIT(m, any ? b->asked : 0)
		if (result[m] == -EEXIST &&
		    banish(&c, b->d, b->name, (int)m, FIND_FOREIGN,
			   "stood in the way of a new name") == 0)
			result[m] = born_on(b, (int)m, dfd[m]);
}

/* What a lesser filesystem cannot hold is refused on all: the others undo. */
static void undo_partial(struct birth *b, const int *dfd, int *result)
{
	int err = 0;

	FOR_EACH_BIT(m, b->asked)
		if (op_is_limit(-result[m]))
			err = result[m];
	FOR_EACH_BIT(m, err ? b->asked : 0) {
		if (result[m] == 0 && b->make != make_tmpfile)
			unlinkat(dfd[m], b->name, S_ISDIR(b->rec.type << 12) ? AT_REMOVEDIR : 0);
		if (b->fd[m] >= 0)
			close(b->fd[m]);
		b->fd[m] = -1;
		result[m] = err;
	}
}

static void stat_newborn(struct birth *b, const int *dfd, const int *result)
{
	int p = volume_preferred(b->v, b->rec.id);

	if (!(b->asked & 1u << p) || result[p] < 0)
		FOR_EACH_BIT(m, b->asked)
			if (result[m] == 0)
				p = (int)m;
	if (b->fd[p] >= 0)
		fstat(b->fd[p], &b->st);
	else
		fstatat(dfd[p], b->name, &b->st, AT_SYMLINK_NOFOLLOW);
}

/* d->lock held, gate held. */
static int birth_run(struct birth *b, const char *what)
{
	struct volume *v = b->v;
	int dfd[MAX_MIRRORS], result[MAX_MIRRORS] = { 0 }, r;

	if (b->make != make_tmpfile) {
		struct intent_name to = { b->d, b->name, b->rec.id, b->rec.type };

		r = dir_mark(v, b->d);
		if (r == 0)
			r = intent_names(v, &to, 1);
		if (r < 0)
			return r;
	}
	b->asked = volume_in_sync(v);
	dirfds_get(v, b->d->node, b->asked, dfd);
	FOR_EACH_BIT(m, b->asked)
		result[m] = born_on(b, (int)m, dfd[m]);
	if (b->make != make_tmpfile)
		retry_strangers(b, dfd, result);
	undo_partial(b, dfd, result);
	stat_newborn(b, dfd, result);
	dirfds_put(v, b->d->node, b->asked, dfd);
	r = blame(v, VERDICT_CHANGE, b->asked, result, what, b->d->node, b->name);
	if (r == 0 && b->make != make_tmpfile) {
		dir_add(b->d, b->name, b->rec.type, b->rec.id);
		resync_touched(v, b->d->node);
	}
	if (b->make != make_tmpfile) /* the record says OPEN, whatever came of it */
		dir_changed(v, b->d);
	return r;
}

static void close_all(struct birth *b)
{
	for (int m = 0; m < MAX_MIRRORS; m++)
		if (b->fd[m] >= 0)
			close(b->fd[m]);
}

/* No name leads to it: a descriptor on each mirror does, until it has one. */
static void pin_nameless(struct birth *b, uint32_t node)
{
	int fd[MAX_MIRRORS];

	tree_set_flag(b->v, node, NODE_DELETED);
	for (int m = 0; m < MAX_MIRRORS; m++)
		fd[m] = b->fd[m] >= 0 ? fcntl(b->fd[m], F_DUPFD_CLOEXEC, 3) : -1;
	tree_pin(b->v, node, fd);
}

/* The node and state of a newborn; takes b->fd over. */
static int register_newborn(struct birth *b, struct entry *e, struct file **out)
{
	bool temp = b->make == make_tmpfile, isdir = b->rec.type == TYPE_OF(S_IFDIR);
	struct volume *v = b->v;
	struct file *f;
	int r = tree_enter(v, b->rec.id, b->rec.type, temp ? 0 : b->d->node, b->name, &e->node);

	if (r < 0) {
		close_all(b);
		return r;
	}
	e->gen = tree_node(v, e->node)->gen;
	e->st = b->st;
	if (temp)
		pin_nameless(b, e->node);
	if (isdir) {
		struct dir *d = dir_get(v, e->node);

		if (d) { /* new and empty: nothing to read */
			pthread_mutex_lock(&d->lock);
			d->rec = b->rec;
			d->loaded = d->checked = d->marked = true;
			r = intent_dir(v, d);
			dir_changed(v, d);
			pthread_mutex_unlock(&d->lock);
			dir_put(v, d);
		}
	} else {
		f = file_get(v, e->node);
		if (!f) {
			close_all(b);
			tree_unref(v, e->node);
			return -ENOMEM;
		}
		file_set_new(f, &b->rec, b->fd);
		pthread_rwlock_wrlock(&f->lock);
		if (!temp)
			file_changed(v, f);
		pthread_rwlock_unlock(&f->lock);
		if (out)
			*out = f;
		else
			file_put(v, f);
	}
	op_fix_stat(v, e->node, &e->st);
	return r;
}

static int birth_begin(struct birth *b, struct volume *v, uint32_t parent, const char *name)
{
	int r = v->opt.read_only ? -EROFS : op_check_name(parent, name, true);

	if (r < 0)
		return r;
	seal_make_room(v);
	b->v = v;
	b->name = name;
	for (int m = 0; m < MAX_MIRRORS; m++)
		b->fd[m] = -1;
	if (tree_node(v, parent)->flags & NODE_DELETED)
		return -ENOENT;
	b->d = dir_get(v, parent);
	if (!b->d)
		return -ENOMEM;
	r = dir_load(v, b->d);
	if (r < 0)
		dir_put(v, b->d);
	return r;
}

static int make_entry(struct birth *b, struct volume *v, uint32_t parent, const char *name,
		      struct entry *e, struct file **f)
{
	uint8_t type = TYPE_OF(b->m->mode);
	int r = birth_begin(b, v, parent, name);

	if (r < 0)
		return r;
	b->rec = (struct record){ .flags = RECORD_OPEN, .leaf_shift = LEAF_SHIFT, .type = type,
				  .id = volume_new_id(v) };
	pthread_rwlock_rdlock(&v->gate);
	pthread_mutex_lock(&b->d->lock);
	r = b->rec.id ? birth_run(b, "creation") : -EIO;
	if (r == 0)
		r = register_newborn(b, e, f);
	pthread_mutex_unlock(&b->d->lock);
	pthread_rwlock_unlock(&v->gate);
	dir_put(v, b->d);
	return r;
}

int op_make(struct volume *v, uint32_t parent, const char *name, const struct make *m,
	    struct entry *e)
{
	struct birth b = { .m = m, .make = make_node };

	return make_entry(&b, v, parent, name, e, NULL);
}

int op_create(struct volume *v, uint32_t parent, const char *name, const struct make *m,
	      struct entry *e, struct file **f)
{
	struct birth b = { .m = m, .make = make_file };

	return make_entry(&b, v, parent, name, e, f);
}

int op_tmpfile(struct volume *v, uint32_t parent, const struct make *m, struct entry *e,
	       struct file **f)
{
	struct birth b = { .m = m, .make = make_tmpfile };

	return make_entry(&b, v, parent, "", e, f);
}

/* ---- link ---- */

/* The ctime moves. Called before the link, too: the journals then know the
 * file by a name that it has already. */
static void linked(struct volume *v, uint32_t node)
{
	struct file *f = file_get(v, node);

	resync_hold(v, node);
	resync_touched(v, node);
	if (!f)
		return;
	if (file_load(v, f) == 0) {
		pthread_rwlock_wrlock(&f->lock);
		file_mark(v, f);
		file_changed(v, f);
		pthread_rwlock_unlock(&f->lock);
	}
	file_put(v, f);
}

int op_link(struct volume *v, uint32_t node, uint32_t parent, const char *name, struct entry *e)
{
	struct birth b = { .make = make_link, .node = node };
	int r;

	if (tree_node(v, node)->type == TYPE_OF(S_IFDIR))
		return -EPERM;
	r = birth_begin(&b, v, parent, name);
	if (r < 0)
		return r;
	b.rec = (struct record){ .type = tree_node(v, node)->type,
				 .id = tree_node(v, node)->id };
	pthread_rwlock_rdlock(&v->gate);
	linked(v, node);
	pthread_mutex_lock(&b.d->lock);
	r = birth_run(&b, "link");
	if (r == 0) {
		r = tree_enter(v, b.rec.id, b.rec.type, parent, name, &e->node);
		tree_clear_flag(v, node, NODE_DELETED);
	}
	pthread_mutex_unlock(&b.d->lock);
	if (r == 0)
		linked(v, node);
	pthread_rwlock_unlock(&v->gate);
	dir_put(v, b.d);
	if (r < 0)
		return r;
	e->gen = tree_node(v, e->node)->gen;
	return op_getattr(v, node, &e->st);
}
