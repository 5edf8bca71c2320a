/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The class "write dir", part two: operations that take a name away or move
 * it. The position stripes of the objects are held exclusively, so nobody
 * meets a name between its old place and its new one.
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
#include "replica/remote/remote.h"
#include "replica/resync.h"
#include "replica/seal.h"
#include "replica/tree.h"

static int find_node(struct volume *v, uint32_t parent, const char *name, uint32_t *node)
{
	struct entry e;
	int r = op_check_name(parent, name, false);

	if (r < 0)
		return r;
	*node = tree_find(v, parent, name);
	if (*node)
		return 0;
	r = op_lookup(v, parent, name, &e);
	*node = r == 0 ? e.node : NODE_NONE;
	return r;
}

static struct dir *loaded_dir(struct volume *v, uint32_t node, int *r)
{
	struct dir *d = dir_get(v, node);

	*r = d ? dir_load(v, d) : -ENOMEM;
	if (*r == 0)
		return d;
	if (d)
		dir_put(v, d);
	return NULL;
}

/* An object about to lose its last known name keeps an O_PATH descriptor on
 * each mirror, since the kernel may go on using it. */
static void pin(struct volume *v, uint32_t parent, const char *name, uint32_t node,
		const int dfd[MAX_MIRRORS], uint32_t mask)
{
	int fd[MAX_MIRRORS];

	(void)parent;
	if (tree_names(v, node) > 1 || tree_pinned(v, node))
		return;
	for (int m = 0; m < MAX_MIRRORS; m++)
		fd[m] = -1;
	FOR_EACH_BIT(m, mask)
		if (dfd[m] >= 0)
			fd[m] = openat(dfd[m], name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (tree_pin(v, node, fd) == 0)
		return;
	for (int m = 0; m < MAX_MIRRORS; m++)
		if (fd[m] >= 0)
			close(fd[m]);
}

/* Whether the name is the object's last link, and what it leaves behind. */
static void note_last_link(struct volume *v, uint32_t node, const int dfd[MAX_MIRRORS],
			   uint32_t mask, const char *name, bool *last)
{
	struct stat st;

	*last = false;
	FOR_EACH_BIT(m, mask) {
		if (dfd[m] < 0 || fstatat(dfd[m], name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		*last = S_ISDIR(st.st_mode) || st.st_nlink <= 1;
		if (S_ISREG(st.st_mode) && st.st_size > SMALL_MAX)
			tree_set_flag(v, node, NODE_HASHFILE);
		return;
	}
}

static void reseal_dir(struct volume *v, uint32_t node)
{
	struct dir *d = dir_get(v, node);

	if (!d)
		return;
	if (dir_load(v, d) == 0) {
		pthread_mutex_lock(&d->lock);
		if (dir_mark(v, d) == 0)
			dir_changed(v, d);
		pthread_mutex_unlock(&d->lock);
	}
	dir_put(v, d);
}

static void reseal_file(struct volume *v, uint32_t node)
{
	struct file *f = file_get(v, node);

	if (!f)
		return;
	if (file_load(v, f) == 0) {
		pthread_rwlock_wrlock(&f->lock);
		if (file_mark(v, f) == 0)
			file_changed(v, f);
		pthread_rwlock_unlock(&f->lock);
	}
	file_put(v, f);
}

/*
 * The object's inode changed (ctime, links) though not its content. xfs moves
 * the mtime, too, of what is exchanged: the record has to be made anew.
 */
static void object_touched(struct volume *v, uint32_t node, bool exchanged)
{
	struct node *n = tree_node(v, node);
	bool isdir = n->type == TYPE_OF(S_IFDIR);

	resync_touched(v, node);
	/* Otherwise only a change within the window of its sealing would be hidden. */
	if (!exchanged && (isdir || !n->sealed_at ||
			   clock_ns() >= n->sealed_at + SEAL_WINDOW_NS))
		tree_set_ctime(v, node, 0, 0);
	else if (isdir)
		reseal_dir(v, node);
	else
		reseal_file(v, node);
}

/* ---- unlink, rmdir ---- */

/* A mirror on which the name is gone already is no worse for it; one whose
 * directory holds strangers gives the whole of it to quarantine. */
static void excuse(struct volume *v, struct dir *d, const char *name, uint32_t mask, int *result)
{
	struct check c;
	bool any = false;

	FOR_EACH_BIT(m, mask)
		any |= result[m] == 0;
	if (!any)
		return;
	check_init(&c, v);
	FOR_EACH_BIT(m, mask) {
		if (result[m] == -ENOENT)
			result[m] = 0;
		if (result[m] == -ENOTEMPTY || result[m] == -EEXIST)
			result[m] = banish(&c, d, name, (int)m, FIND_FOREIGN,
					   "directory held entries that are not the volume's");
	}
}

/*
 * One of several names goes, the object changed since it was sealed, and the others may not be
 * known: the remotes look for it by this name, miss it, and find the others.
 */
static void tell_changed(struct volume *v, uint32_t node)
{
	struct file *f = remotes_any(v) ? file_peek(v, node) : NULL;

	if (!f)
		return;
	if (atomic_load(&f->dirty))
		remotes_note(v, node);
	file_put(v, f);
}

static int remove_locked(struct volume *v, struct dir *d, const char *name, uint32_t node,
			 bool isdir)
{
	uint32_t mask = volume_in_sync(v);
	int dfd[MAX_MIRRORS], result[MAX_MIRRORS] = { 0 }, r;
	struct intent_name gone = { d, name, 0, 0 };
	bool last;

	r = dir_mark(v, d);
	if (r == 0)
		r = intent_names(v, &gone, 1);
	if (r < 0)
		return r;
	dirfds_get(v, d->node, mask, dfd);
	pthread_rwlock_wrlock(tree_stripe(v, node));
	note_last_link(v, node, dfd, mask, name, &last);
	pin(v, d->node, name, node, dfd, mask);
	FOR_EACH_BIT(m, mask) {
		result[m] = dfd[m];
		if (dfd[m] >= 0)
			result[m] = unlinkat(dfd[m], name, isdir ? AT_REMOVEDIR : 0) < 0 ?
				-errno : 0;
	}
	excuse(v, d, name, mask, result);
	r = blame(v, VERDICT_CHANGE, mask, result, isdir ? "rmdir" : "unlink", d->node, name);
	if (r < 0) /* it is still there: the last word must not be that it is gone */
		intent_names(v, &(struct intent_name){ d, name, tree_node(v, node)->id,
						       tree_node(v, node)->type }, 1);
	if (r == 0) {
		dir_sub(d, name, tree_node(v, node)->type, tree_node(v, node)->id);
		if (last)
			tree_set_flag(v, node, NODE_DELETED);
		else if (!isdir)
			tell_changed(v, node);
		tree_drop_name(v, d->node, name);
		if (isdir)
			remotes_removed_dir(v, tree_node(v, node)->id);
		resync_touched(v, d->node);
	}
	dir_changed(v, d); /* the record says OPEN, whatever came of it */
	pthread_rwlock_unlock(tree_stripe(v, node));
	dirfds_put(v, d->node, mask, dfd);
	return r;
}

int op_unlink(struct volume *v, uint32_t parent, const char *name, bool isdir)
{
	struct dir *d;
	uint32_t node;
	int r;

	if (v->opt.read_only)
		return -EROFS;
	r = find_node(v, parent, name, &node);
	if (r < 0)
		return r;
	seal_make_room(v);
	d = loaded_dir(v, parent, &r);
	if (d) {
		pthread_rwlock_rdlock(&v->gate);
		pthread_mutex_lock(&d->lock);
		r = remove_locked(v, d, name, node, isdir);
		pthread_mutex_unlock(&d->lock);
		if (r == 0 && !isdir && !(tree_node(v, node)->flags & NODE_DELETED))
			object_touched(v, node, false);
		pthread_rwlock_unlock(&v->gate);
		dir_put(v, d);
	}
	tree_unref(v, node);
	return r;
}

/* ---- rename ---- */

struct rename {
	struct volume *v;
	struct dir *from, *to;
	const char *name, *new_name;
	uint32_t node, victim;      /* victim NODE_NONE: the new name is free */
	unsigned flags;
	bool last;                  /* the victim loses its last link */
};

static void lock_dirs(struct rename *r)
{
	struct dir *first = r->from->node < r->to->node ? r->from : r->to;
	struct dir *second = first == r->from ? r->to : r->from;

	pthread_mutex_lock(&first->lock);
	if (second != first)
		pthread_mutex_lock(&second->lock);
}

static void unlock_dirs(struct rename *r)
{
	pthread_mutex_unlock(&r->from->lock);
	if (r->to != r->from)
		pthread_mutex_unlock(&r->to->lock);
}

static void lock_stripes(struct rename *r, pthread_rwlock_t *held[2])
{
	pthread_rwlock_t *a = tree_stripe(r->v, r->node);
	pthread_rwlock_t *b = r->victim ? tree_stripe(r->v, r->victim) : NULL;

	held[0] = !b || a < b ? a : b;
	held[1] = held[0] == a ? b : a;
	if (held[1] == held[0])
		held[1] = NULL;
	pthread_rwlock_wrlock(held[0]);
	if (held[1])
		pthread_rwlock_wrlock(held[1]);
}

static void unlock_stripes(pthread_rwlock_t *held[2])
{
	if (held[1])
		pthread_rwlock_unlock(held[1]);
	pthread_rwlock_unlock(held[0]);
}

/* No remote can know a file that was never sealed: most are renamed then, and only then. */
static bool is_new(struct volume *v, uint32_t node)
{
	bool regular = tree_node(v, node)->type == TYPE_OF(S_IFREG), new = false;
	struct file *f = regular ? file_peek(v, node) : NULL;

	if (!f)
		return false;
	if (pthread_rwlock_tryrdlock(&f->lock) == 0) { /* an fsync may have it for long */
		new = f->rec.gen == 0;
		pthread_rwlock_unlock(&f->lock);
	}
	file_put(v, f);
	return new;
}

/* Marks below a directory go with it. */
static void tell_remotes(struct rename *r)
{
	const uint8_t dir = TYPE_OF(S_IFDIR);
	const struct node *n = tree_node(r->v, r->node);
	const struct node *x = r->victim ? tree_node(r->v, r->victim) : NULL;
	bool exchange = r->flags & RENAME_EXCHANGE;
	char from[4352], to[4352];

	if (!remotes_any(r->v))
		return;
	if (exchange || !is_new(r->v, r->node))
		remotes_moved(r->v, tree_node(r->v, r->from->node)->id, r->name,
			      tree_node(r->v, r->to->node)->id, r->new_name);
	if (n->type != dir && !(exchange && x->type == dir))
		return;
	tree_path_of(r->v, r->from->node, r->name, from, sizeof(from));
	tree_path_of(r->v, r->to->node, r->new_name, to, sizeof(to));
	if (!exchange && x && r->last)
		remotes_removed_dir(r->v, x->id);
	remotes_renamed(r->v, from, to, exchange);
}

static void account(struct rename *r)
{
	struct volume *v = r->v;
	struct node *n = tree_node(v, r->node);
	struct node *x = r->victim ? tree_node(v, r->victim) : NULL;

	dir_sub(r->from, r->name, n->type, n->id);
	if (x)
		dir_sub(r->to, r->new_name, x->type, x->id);
	dir_add(r->to, r->new_name, n->type, n->id);
	if (r->flags & RENAME_EXCHANGE) {
		dir_add(r->from, r->name, x->type, x->id);
		tree_swap_names(v, r->from->node, r->name, r->to->node, r->new_name);
	} else {
		if (x && r->last)
			tree_set_flag(v, r->victim, NODE_DELETED);
		else if (x && x->type != TYPE_OF(S_IFDIR))
			tell_changed(v, r->victim);
		tree_move_name(v, r->from->node, r->name, r->to->node, r->new_name);
	}
	tell_remotes(r);
	resync_touched(v, r->from->node);
	resync_touched(v, r->to->node);
	resync_moved(v, r->node);
	if (r->flags & RENAME_EXCHANGE)
		resync_moved(v, r->victim);
}

/* Where both names are to lead afterwards; undone: and did before. */
static int intend(struct rename *r, bool undone)
{
	const struct node *n = tree_node(r->v, r->node);
	const struct node *x = r->victim ? tree_node(r->v, r->victim) : NULL;
	bool exchange = r->flags & RENAME_EXCHANGE;
	struct intent_name names[2] = { { r->from, r->name, 0, 0 },
					{ r->to, r->new_name, n->id, n->type } };

	if (undone)
		names[0] = (struct intent_name){ r->from, r->name, n->id, n->type };
	else if (exchange)
		names[0] = (struct intent_name){ r->from, r->name, x->id, x->type };
	if (undone)
		names[1] = (struct intent_name){ r->to, r->new_name, x ? x->id : 0,
						 x ? x->type : 0 };
	return intent_names(r->v, names, 2);
}

static int rename_locked(struct rename *r)
{
	struct volume *v = r->v;
	uint32_t mask = volume_in_sync(v);
	int from[MAX_MIRRORS], to[MAX_MIRRORS], result[MAX_MIRRORS] = { 0 };
	pthread_rwlock_t *held[2];
	int e = dir_mark(v, r->from);

	if (e == 0)
		e = dir_mark(v, r->to);
	if (e == 0)
		e = intend(r, false);
	if (e < 0)
		return e;
	dirfds_get(v, r->from->node, mask, from);
	dirfds_get(v, r->to->node, mask, to);
	lock_stripes(r, held);
	if (r->victim && !(r->flags & RENAME_EXCHANGE)) {
		note_last_link(v, r->victim, to, mask, r->new_name, &r->last);
		pin(v, r->to->node, r->new_name, r->victim, to, mask);
	}
	FOR_EACH_BIT(m, mask) {
		result[m] = from[m] < 0 ? from[m] : to[m] < 0 ? to[m] : 0;
		if (result[m] == 0 && renameat2(from[m], r->name, to[m], r->new_name,
						r->flags) < 0)
			result[m] = -errno;
	}
	e = blame(v, VERDICT_CHANGE, mask, result, "rename", r->from->node, r->name);
	if (e == 0)
		account(r);
	else
		intend(r, true);
	dir_changed(v, r->from); /* the records say OPEN, whatever came of it */
	dir_changed(v, r->to);
	unlock_stripes(held);
	dirfds_put(v, r->from->node, mask, from);
	dirfds_put(v, r->to->node, mask, to);
	return e;
}

/* Replacing a file by one whose data is not on the disk would lose both at a
 * power cut on some filesystems. */
static int sync_source(struct volume *v, uint32_t node)
{
	struct file *f;
	int r = 0;

	if (tree_node(v, node)->type != TYPE_OF(S_IFREG))
		return 0;
	f = file_peek(v, node);
	if (!f)
		return 0;
	if (f->dirty)
		r = file_sync(v, f, true);
	file_put(v, f);
	return r;
}

static int rename_nodes(struct rename *r)
{
	struct volume *v = r->v;
	int e = 0;

	if (r->node == r->victim) /* two names of one file: nothing to do */
		return 0;
	if (r->victim && !(r->flags & RENAME_EXCHANGE))
		e = sync_source(v, r->node);
	if (e < 0)
		return e;
	pthread_rwlock_rdlock(&v->gate);
	lock_dirs(r);
	e = rename_locked(r);
	unlock_dirs(r);
	if (e == 0)
		object_touched(v, r->node, r->flags & RENAME_EXCHANGE);
	if (e == 0 && r->victim && !(tree_node(v, r->victim)->flags & NODE_DELETED))
		object_touched(v, r->victim, r->flags & RENAME_EXCHANGE);
	pthread_rwlock_unlock(&v->gate);
	return e;
}

static int rename_dirs(struct rename *r, uint32_t p1, uint32_t p2)
{
	int e;

	r->from = loaded_dir(r->v, p1, &e);
	if (!r->from)
		return e;
	r->to = loaded_dir(r->v, p2, &e);
	if (r->to) {
		e = rename_nodes(r);
		dir_put(r->v, r->to);
	}
	dir_put(r->v, r->from);
	return e;
}

int op_rename(struct volume *v, uint32_t p1, const char *n1, uint32_t p2, const char *n2,
	      unsigned flags)
{
	struct rename r = { .v = v, .name = n1, .new_name = n2, .flags = flags };
	int e = op_check_name(p2, n2, true);

	if (v->opt.read_only)
		return -EROFS;
	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	if (e == 0)
		e = find_node(v, p1, n1, &r.node);
	if (e < 0)
		return e;
	seal_make_room(v);
	e = find_node(v, p2, n2, &r.victim);
	if (e == -ENOENT && !(flags & RENAME_EXCHANGE))
		e = 0;
	if (e == 0 && r.victim && flags & RENAME_NOREPLACE)
		e = -EEXIST;
	if (e == 0)
		e = rename_dirs(&r, p1, p2);
	if (r.victim)
		tree_unref(v, r.victim);
	tree_unref(v, r.node);
	return e;
}
