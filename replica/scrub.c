/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replica/scrub.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/check.h"
#include "replica/dirfd.h"
#include "replica/ops.h"
#include "replica/recovery.h"
#include "replica/resync.h"
#include "replica/seal.h"
#include "replica/tree.h"
#include "replica/walk.h"

#define PROGRESS_MS 200

struct nodes {
	uint32_t *node;
	size_t n, cap;
};

struct walk {
	struct check *c;
	const struct scrub_options *opt;
	bool unsealed;         /* go down only where nothing was sealed yet */
	struct nodes todo;     /* directories to visit, each referenced */
	struct nodes linked;   /* files of several names, held so that names meet */
	int64_t last;          /* progress told, ms */
};

static int nodes_push(struct nodes *l, uint32_t node)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		uint32_t *bigger = realloc(l->node, cap * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		l->node = bigger;
		l->cap = cap;
	}
	l->node[l->n++] = node;
	return 0;
}

static void nodes_free(struct volume *v, struct nodes *l)
{
	while (l->n)
		tree_unref(v, l->node[--l->n]);
	free(l->node);
}

static int tell(struct walk *w, uint32_t dir, bool force)
{
	char path[4096];

	if (atomic_load(&w->c->v->stopping))
		return -EINTR;
	if (!w->opt || !w->opt->progress || (!force && clock_ms() - w->last < PROGRESS_MS))
		return 0;
	w->last = clock_ms();
	tree_path(w->c->v, dir, path, sizeof(path));
	return w->opt->progress(w->c->stats, path, w->opt->arg) ? -EINTR : 0;
}

/* ---- names of one file must be one inode ---- */

/* Whether mirror m has the object `id` there; then which inode it is. */
static bool is_there(struct volume *v, int m, int fd, const char *name, uint64_t id, ino_t *ino)
{
	struct at a = { .mirror = &v->m[m], .fd = fd, .name = name };
	struct record rec;
	struct stat st;

	if (fd < 0 || at_stat(&a, &st) < 0 ||
	    record_load(&a, TYPE_OF(st.st_mode), &rec) < 0 || rec.id != id)
		return false;
	*ino = st.st_ino;
	return true;
}

/* to/name on m becomes another link to from/other. */
static int relink(struct volume *v, int m, uint64_t id, int to, const char *name, int from,
		  const char *other)
{
	int dot = v->m[m].dotfd, r = 0;
	char tmp[64];

	snprintf(tmp, sizeof(tmp), "tmp-%llx", (unsigned long long)id);
	unlinkat(dot, tmp, 0); /* of a repair that was cut short */
	if (linkat(from, other, dot, tmp, 0) < 0)
		return -errno;
	if (renameat(dot, tmp, to, name) < 0) {
		r = -errno;
		unlinkat(dot, tmp, 0);
	}
	return r;
}

static bool leads_to(struct volume *v, uint32_t parent, const char *name, uint32_t node)
{
	uint32_t n = tree_find(v, parent, name);

	if (n)
		tree_unref(v, n);
	return n == node;
}

/* The names dir/name and parent/other of node, on the members in mask; returns
 * those that have both. The stripe of node is held, so both stay. */
static uint32_t compare_links(struct walk *w, struct file *f, const int *to, const char *name,
			      const char *path, const int *from, const char *other, uint32_t mask,
			      bool *moved)
{
	struct volume *v = w->c->v;
	uint64_t id = f->id;
	uint32_t done = 0;

	FOR_EACH_BIT(m, mask) {
		ino_t mine, theirs;
		int r;

		if (!is_there(v, (int)m, to[m], name, id, &mine) ||
		    !is_there(v, (int)m, from[m], other, id, &theirs))
			continue;
		done |= 1u << m;
		if (mine == theirs)
			continue;
		r = w->c->dry_run ? 0 : relink(v, (int)m, id, to[m], name, from[m], other);
		if (!w->c->dry_run) {
			file_close_fd(f, (int)m); /* may be of the inode that went */
			*moved = true;
		}
		check_report(w->c, FIND_LINK, path, 0, 0, (int)m, -1,
			     "names of one file are two files",
			     w->c->dry_run ? "would repair" : r < 0 ? "repair failed" : "repaired");
	}
	return done;
}

static void level_times(struct walk *w, uint32_t dir)
{
	struct dir *d = dir_get(w->c->v, dir);

	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	level_dir_times(w->c, d, w->c->sources);
	pthread_mutex_unlock(&d->lock);
	dir_put(w->c->v, d);
}

/*
 * Each member's dir/name against another name of the node that it has. What
 * the names are called is certain only under the node's stripe, and before
 * that the directories are opened, which takes stripes too.
 */
/* A link put back moved the directory's mtime. good: where none was. */
static void check_links(struct walk *w, uint32_t dir, const char *name, uint32_t node)
{
	struct volume *v = w->c->v;
	bool moved = false, settling = w->c->settling;
	char other[NAME_MAX_LEN + 1], path[4096];
	uint32_t parent, left = w->c->mask;
	int to[MAX_MIRRORS], from[MAX_MIRRORS];
	struct file *f = file_get(v, node);

	if (!f)
		return;
	w->c->settling |= recovery_pending(v);
	tree_path_of(v, dir, name, path, sizeof(path));
	pthread_rwlock_wrlock(&f->lock);
	dirfds_get(v, dir, w->c->mask, to);
	for (unsigned k = 0; left && tree_position_at(v, node, k, &parent, other); k++) {
		if (parent == dir && strcmp(name, other) == 0)
			continue;
		dirfds_get(v, parent, w->c->mask, from);
		pthread_rwlock_wrlock(tree_stripe(v, node));
		if (leads_to(v, dir, name, node) && leads_to(v, parent, other, node))
			left &= ~compare_links(w, f, to, name, path, from, other, left,
					       &moved);
		pthread_rwlock_unlock(tree_stripe(v, node));
		dirfds_put(v, parent, w->c->mask, from);
	}
	dirfds_put(v, dir, w->c->mask, to);
	pthread_rwlock_unlock(&f->lock);
	file_put(v, f);
	if (moved)
		level_times(w, dir);
	w->c->settling = settling;
}

/* On any member. */
static bool has_links(struct walk *w, uint32_t dir, const char *name)
{
	bool many = false;
	int fd[MAX_MIRRORS];

	dirfds_get(w->c->v, dir, w->c->mask, fd);
	FOR_EACH_BIT(m, w->c->mask) {
		struct stat st;

		if (fd[m] >= 0 && fstatat(fd[m], name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			many |= st.st_nlink > 1;
	}
	dirfds_put(w->c->v, dir, w->c->mask, fd);
	return many;
}

/* ---- the walk ---- */

static bool never_sealed(struct volume *v, uint32_t node)
{
	struct dir *d = dir_get(v, node);
	bool never = d && dir_load(v, d) == 0 && d->rec.gen == 0;

	if (d)
		dir_put(v, d);
	return never;
}

static int visit_entry(struct walk *w, uint32_t dir, const char *name)
{
	struct volume *v = w->c->v;
	uint32_t node = 0;
	int r = check_entry(w->c, dir, name, &node);

	if (r == -ENOENT)
		return 0;
	if (!node) {
		w->c->stats->failed += r != 0 && !(tree_node(v, dir)->flags & NODE_DELETED);
		return 0;
	}
	if (tree_node(v, node)->type == TYPE_OF(S_IFDIR)) {
		if (!w->unsealed || never_sealed(v, node))
			return nodes_push(&w->todo, node);
		tree_unref(v, node);
		return 0;
	}
	if (has_links(w, dir, name)) {
		check_links(w, dir, name, node);
		if (w->c->mask & ~w->c->sources)
			resync_hold(v, node);
		return nodes_push(&w->linked, node);
	}
	tree_unref(v, node);
	return 0;
}

static int visit_dir(struct walk *w, uint32_t dir)
{
	struct volume *v = w->c->v;
	struct dir_list list;
	struct dir *d = dir_get(v, dir);
	int r = d ? dir_load(v, d) : -ENOMEM;

	if (r == 0)
		r = check_names(w->c, dir);
	if (r == 0 || r == -EIO)
		r = dir_list_read(v, dir, volume_preferred(v, d->id), &list);
	if (d)
		dir_put(v, d);
	if (r < 0) { /* what was removed meanwhile needs no look */
		w->c->stats->failed += !(tree_node(v, dir)->flags & NODE_DELETED);
		return r == -ENOMEM ? r : 0;
	}
	for (size_t i = 0; r == 0 && i < list.n; i++) {
		r = visit_entry(w, dir, dir_list_name(&list, i));
		if (r == 0)
			r = tell(w, dir, false);
	}
	dir_list_free(&list);
	return r;
}

static int walk_from(struct walk *w, uint32_t start)
{
	struct check *c = w->c;
	int r;

	check_scope(c);
	tree_ref(c->v, start);
	r = nodes_push(&w->todo, start);
	while (r == 0 && w->todo.n) {
		uint32_t dir = w->todo.node[--w->todo.n];

		r = visit_dir(w, dir);
		tree_unref(c->v, dir);
	}
	if (r == 0)
		tell(w, start, true);
	nodes_free(c->v, &w->todo);
	nodes_free(c->v, &w->linked);
	check_scope(NULL);
	return r;
}

int walk_tree(struct check *c, const struct scrub_options *opt, uint32_t start)
{
	return walk_from(&(struct walk){ .c = c, .opt = opt }, start);
}

int walk_unsealed(struct check *c, uint32_t start)
{
	return walk_from(&(struct walk){ .c = c, .unsealed = true }, start);
}

int walk_one(struct check *c, uint32_t node)
{
	struct walk w = { .c = c };
	int r = 0;

	check_scope(c);
	if (tree_node(c->v, node)->type == TYPE_OF(S_IFDIR))
		r = visit_dir(&w, node);
	else
		r = check_node(c, node);
	check_scope(NULL);
	nodes_free(c->v, &w.todo);
	nodes_free(c->v, &w.linked);
	return r;
}

/* A path relative to the root, to a node with a reference. */
int walk_resolve(struct volume *v, const char *path, uint32_t *node)
{
	char part[NAME_MAX_LEN + 1];
	uint32_t at = NODE_ROOT;

	tree_ref(v, at);
	while (path && *path) {
		size_t len = strcspn(path, "/");
		struct entry e;
		int r;

		if (len == 0 || (len == 1 && *path == '.')) {
			path += len + (path[len] == '/');
			continue;
		}
		if (len > NAME_MAX_LEN || (len == 2 && strncmp(path, "..", 2) == 0)) {
			tree_unref(v, at);
			return -EINVAL;
		}
		memcpy(part, path, len);
		part[len] = '\0';
		/* What is asked for by path may lead through what is no directory (any more). */
		r = tree_node(v, at)->type != TYPE_OF(S_IFDIR) ? -ENOTDIR :
			op_lookup(v, at, part, &e);
		tree_unref(v, at);
		if (r < 0)
			return r;
		at = e.node;
		path += len + (path[len] == '/');
	}
	*node = at;
	return 0;
}

/* Bytes that a walk will read, for the time left: sizes on one mirror, times
 * the mirrors. One scrub runs at a time, so one counter will do. */
static uint64_t estimated;

static int estimate_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	if (flag == FTW_D && strcmp(path + ftw->base, DOT_DIR) == 0)
		return FTW_SKIP_SUBTREE;
	if (flag == FTW_F)
		estimated += (uint64_t)st->st_size;
	return FTW_CONTINUE;
}

static uint64_t estimate(struct volume *v, const char *path)
{
	uint32_t mask = volume_in_sync(v);
	char start[PATH_MAX];

	estimated = 0;
	snprintf(start, sizeof(start), "%s/%s", volume_path(v, __builtin_ctz(mask)),
		 path ? path : "");
	nftw(start, estimate_one, 64, FTW_PHYS | FTW_ACTIONRETVAL | FTW_MOUNT);
	return estimated * (unsigned)__builtin_popcount(mask);
}

static int scrub_walk(struct volume *v, const struct scrub_options *opt, struct scrub_stats *out)
{
	struct check c;
	uint32_t node = NODE_NONE;
	int r = walk_resolve(v, opt->path, &node);

	if (r < 0)
		return r;
	if (opt->progress)
		out->total_bytes = estimate(v, opt->path);
	check_init(&c, v);
	c.deep = true;
	c.dry_run |= opt->dry_run;
	c.stats = out;
	c.finding = opt->finding;
	c.arg = opt->arg;
	if (tree_node(v, node)->type == TYPE_OF(S_IFDIR))
		r = walk_tree(&c, opt, node);
	else
		walk_one(&c, node); /* what is wrong with it is in the counts */
	tree_unref(v, node);
	return r;
}

int scrub_run(struct volume *v, const struct scrub_options *opt, struct scrub_stats *out)
{
	int r;

	memset(out, 0, sizeof(*out));
	if (atomic_exchange(&v->scrubbing, true))
		return -EBUSY;
	seal_run(v, true);
	if (!opt->dry_run)
		recovery_settle(v);
	r = scrub_walk(v, opt, out);
	if (r == 0 && opt->resync && !opt->dry_run)
		r = resync_run(v, opt, out);
	if (!opt->dry_run)
		seal_run(v, true);
	atomic_store(&v->scrubbing, false);
	return r;
}
