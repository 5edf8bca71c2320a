/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * After an unclean end: everything that the journals name is looked at, and
 * what was never sealed below it. The rest of the volume is not touched. Who
 * asks for an object earlier settles it on the spot; this comes by later and
 * finds nothing to do.
 */
#include "replica/recovery.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/log.h"
#include "replica/check.h"
#include "replica/ops.h"
#include "replica/remote/remote.h"
#include "replica/seal.h"
#include "replica/tree.h"
#include "replica/walk.h"

struct settle {
	struct check c;
	struct scrub_stats stats;
	uint64_t left;         /* objects not found by what is known of them */
	uint32_t *known;       /* files looked up by their names, referenced */
	size_t n_known;
};

/* The node at `path` if it is object id (0: any), with a reference. */
static int node_at(struct volume *v, const char *path, uint64_t id, uint32_t *node)
{
	int r = walk_resolve(v, path, node);

	if (r < 0)
		return r;
	if (!id || tree_node(v, *node)->id == id)
		return 0;
	tree_unref(v, *node);
	return -ENOENT;
}

/* Its newest name according to the journals, in a directory they know. */
static int node_by_name(struct volume *v, uint64_t id, uint32_t *node)
{
	const struct recovery *r = v->recovery;
	uint32_t dir;
	uint64_t at;

	for (size_t i = 0; i < r->n_name; i++) {
		const struct recovery_name *n = &r->name[i];
		struct entry e;

		if (n->id != id || !map_get(&r->dirs, n->dir, &at) ||
		    node_at(v, ((struct recovery_dir *)(uintptr_t)at)->path, n->dir, &dir) < 0)
			continue;
		if (op_lookup(v, dir, n->name, &e) < 0)
			e.node = NODE_NONE;
		tree_unref(v, dir);
		if (e.node && tree_node(v, e.node)->id == id) {
			*node = e.node;
			return 0;
		}
		if (e.node)
			tree_unref(v, e.node);
	}
	return -ENOENT;
}

static int find(struct volume *v, const char *path, uint64_t id, uint32_t *node)
{
	if (id == ROOT_ID)
		return node_at(v, "", id, node);
	if (path && node_at(v, path, id, node) == 0)
		return 0;
	return node_by_name(v, id, node);
}

static int settle_dirs(struct settle *s)
{
	struct volume *v = s->c.v;
	uint64_t at = 0, id, value;

	while (map_next(&v->recovery->dirs, &at, &id, &value)) {
		const struct recovery_dir *d = (const struct recovery_dir *)(uintptr_t)value;
		uint32_t node;

		if (atomic_load(&v->stopping))
			return -EINTR;
		if (find(v, d->path, id, &node) < 0) {
			s->left++;
			continue;
		}
		remotes_note(v, node);
		if (tree_node(v, node)->type == TYPE_OF(S_IFDIR)) {
			check_node(&s->c, node);
			walk_unsealed(&s->c, node);
		}
		tree_unref(v, node);
	}
	return 0;
}

/* Says nothing of the object, and it was not settled. */
static bool for_a_moment(int r)
{
	return r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -EINTR || r == -EAGAIN;
}

static int settle_files(struct settle *s)
{
	struct volume *v = s->c.v;
	uint64_t at = 0, id, value;
	int r;

	while (map_next(&v->recovery->files, &at, &id, &value)) {
		const struct recovery_file *f = (const struct recovery_file *)(uintptr_t)value;
		uint32_t node;

		if (atomic_load(&v->stopping))
			return -EINTR;
		if (recovery_is_done(v, id) && !remotes_any(v))
			continue;
		if (find(v, f->path, id, &node) < 0) {
			s->left += !recovery_is_done(v, id);
			remotes_note_all(v);
			continue;
		}
		remotes_note(v, node);
		if (recovery_is_done(v, id)) {
			tree_unref(v, node);
			continue;
		}
		r = walk_one(&s->c, node);
		tree_unref(v, node);
		if (for_a_moment(r))
			return r;
	}
	return 0;
}

/* The names that the journals tell of files are known while the directories
 * are looked at: so two names of one file meet. */
static void know_names(struct settle *s)
{
	struct volume *v = s->c.v;
	uint64_t at = 0, id, value;
	uint32_t node;

	s->known = calloc(v->recovery->files.used + 1, sizeof(*s->known));
	while (s->known && map_next(&v->recovery->files, &at, &id, &value)) {
		const struct recovery_file *f = (const struct recovery_file *)(uintptr_t)value;

		if (f->path && node_at(v, f->path, id, &node) == 0)
			s->known[s->n_known++] = node;
	}
}

static void forget_names(struct volume *v, struct settle *s)
{
	while (s->n_known)
		tree_unref(v, s->known[--s->n_known]);
	free(s->known);
}

/* All that was decided is sealed, then the journals are of no use any more. */
static int finish(struct volume *v)
{
	int r;

	remotes_flush(v); /* also when there is nothing to seal: the journals said it so far */
	seal_freeze(v);
	r = seal_frozen(v);
	if (r == 0) {
		atomic_store(&v->recovery->over, true);
		r = seal_frozen(v);
	}
	seal_thaw(v);
	return r;
}

static int settle_all(struct volume *v)
{
	struct settle s = { .left = 0 };
	int r;

	check_init(&s.c, v);
	s.c.stats = &s.stats;
	know_names(&s);
	remotes_hold(v);
	r = settle_dirs(&s);
	if (r == 0)
		r = settle_files(&s);
	remotes_let(v);
	/* Renamed, or removed, or linked to a name that nobody noted: only a look
	 * at all of the names can tell. */
	if (r == 0 && (s.left || v->recovery->blind || atomic_load(&v->recovery->unlinked)))
	{
		remotes_note_all(v);
		r = walk_tree(&s.c, NULL, NODE_ROOT);
	}
	forget_names(v, &s);
	if (r == 0 && !v->opt.read_only)
		r = finish(v);
	if (r == 0)
		log_info("what it left open is settled: %llu traces cleared away, "
			 "%llu leaves unverified",
			 (unsigned long long)atomic_load(&v->counter[CNT_SETTLED]),
			 (unsigned long long)atomic_load(&v->counter[CNT_UNVERIFIED]));
	else if (r != -EINTR)
		log_err(r, "what an unclean end left open could not all be settled");
	return r;
}

int recovery_settle(struct volume *v)
{
	int r = 0;

	if (!recovery_pending(v))
		return 0;
	pthread_mutex_lock(&v->recovery->run);
	if (recovery_pending(v))
		r = settle_all(v);
	pthread_mutex_unlock(&v->recovery->run);
	return r;
}
