// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What was only moved. The survey notes what the remote has and is gone from
 * its place here, and what is here and not at that place there; the same file id on
 * both sides is a move. Ids are never used twice, so this is no guess.
 *
 * Moves are done before anything else, in the order of the walk (parents first). What stands
 * at the new place and is itself to be moved goes out of the way first, and nothing is committed
 * before it is in again: so exchanges and rings end well.
 */
#include "replica/remote/sync_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/log.h"
#include "replica/remote/object_name.h"
#include "replica/tree.h"
#include "replica/walk.h"

static void *room(void *list, size_t n, size_t item)
{
	return n & (n - 1) ? list : realloc(list, (n ? 2 * n : 1) * item);
}

static struct sync_gone *find_gone(struct sync *s, uint64_t id)
{
	uint64_t i;

	return map_get(&s->gone_by_id, id, &i) ? &s->gone[i - 1] : NULL;
}

void moves_gone(struct sync *s, struct layout_dir *d, const struct manifest_entry *e)
{
	struct sync_gone *list, *g;

	if (e->link || s->n_gone == SYNC_MOVES_MAX || find_gone(s, e->id))
		return;
	list = room(s->gone, s->n_gone, sizeof(*list));
	if (!list)
		return; /* it is sent again, that is all */
	s->gone = list;
	g = &list[s->n_gone];
	*g = (struct sync_gone){ .id = e->id, .type = e->type, .dir = d };
	g->hidden = e->by_id;
	g->root = e->root;
	g->files = e->type == TYPE_OF(S_IFDIR) ? e->files : 1;
	g->name = strdup(e->name);
	if (!g->name || map_set(&s->gone_by_id, e->id, s->n_gone + 1) < 0) {
		free(g->name);
		return;
	}
	layout_dir_ref(d);
	s->n_gone++;
}

void moves_arrived(struct sync *s, uint32_t dir, const struct manifest_entry *mine)
{
	struct sync_arrived *list, *a;
	char path[LAYOUT_NAME_MAX];

	if (map_set(&s->arrived_ids, mine->id, 1) < 0 || s->n_arrived == SYNC_MOVES_MAX)
		return;
	list = room(s->arrived, s->n_arrived, sizeof(*list));
	if (!list)
		return;
	s->arrived = list;
	a = &list[s->n_arrived];
	note_path(s->v, dir, path);
	*a = (struct sync_arrived){ .id = mine->id, .type = mine->type, .root = mine->root,
				    .path = strdup(path),
				    .name = strdup(mine->name) };
	if (a->path && a->name) {
		s->n_arrived++;
		return;
	}
	free(a->path);
	free(a->name);
}

bool moves_has_gone(struct sync *s, uint64_t id)
{
	return find_gone(s, id) != NULL;
}

bool moves_has_arrived(struct sync *s, uint64_t id)
{
	uint64_t one;

	return map_get(&s->arrived_ids, id, &one);
}

/*
 * A directory that was moved comes with all that is below: neither sent nor
 * destroyed. Without moves of directories its files count one by one; so they do when they
 * lie under their names, and cannot at the new place.
 */
static bool movable(struct sync *s, const struct sync_gone *g, const struct sync_arrived *a)
{
	const struct store_caps *caps = store_caps(s->r->store);

	if (g->type != a->type)
		return false;
	if (g->type != TYPE_OF(S_IFDIR))
		return g->type == TYPE_OF(S_IFREG);
	return g->hidden || (caps->moves_dirs && object_path_plain(a->path, caps->folds_case) &&
			     object_path_plain(a->name, caps->folds_case));
}

static size_t pair_up(struct sync *s)
{
	size_t alone = 0;

	for (size_t i = 0; i < s->n_arrived; i++) {
		struct sync_gone *g = find_gone(s, s->arrived[i].id);

		if (!g || !movable(s, g, &s->arrived[i])) {
			alone++;
		} else if (!g->wanted) {
			g->wanted = true;
			if (g->type == TYPE_OF(S_IFREG) && g->root != s->arrived[i].root)
				continue; /* what it held is destroyed all the same */
			s->destroyed -= g->files < s->destroyed ? g->files : s->destroyed;
		}
	}
	return alone;
}

static int expand_one(const struct manifest_entry *e, void *arg)
{
	void **pair = arg;
	moves_gone(pair[0], pair[1], e);
	return 0;
}

/* What went with a directory that is gone may have been moved out of it before. */
static int expand(struct sync *s)
{
	for (size_t i = 0; i < s->n_gone && s->n_gone < SYNC_MOVES_MAX; i++) {
		struct layout_dir *d = NULL;
		void *pair[2] = { s, NULL };
		int r;

		if (s->gone[i].type != TYPE_OF(S_IFDIR) || s->gone[i].wanted)
			continue;
		TRY(s, r, layout_dir_open(s->l, s->gone[i].dir, s->gone[i].name, &d));
		if (r == -EBADMSG || r == -ENOENT || r == -ENOTDIR)
			continue;
		if (r < 0)
			return r;
		pair[1] = d;
		TRY(s, r, layout_each(s->l, d, expand_one, pair));
		layout_dir_put(s->l, d);
		if (r < 0)
			return r;
	}
	return 0;
}

int moves_match(struct sync *s)
{
	int r = 0;

	if (s->n_arrived && s->n_gone && pair_up(s))
		r = expand(s);
	if (r == 0)
		pair_up(s);
	return r;
}

/* ---- doing them ---- */

bool moves_rescue(struct sync *s, struct layout_dir *d, const char *name, uint64_t id, int *r)
{
	struct sync_gone *g = find_gone(s, id);

	if (!g || !g->wanted || g->out)
		return false;
	TRY(s, *r, layout_move_out(s->l, d, name, &g->token));
	g->out = *r == 0;
	s->out += g->out;
	return g->out || *r == -ECANCELED;
}

/* What is at a place that a move is to go to. */
static int clear_place(struct sync *s, struct layout_dir *d, const char *name, uint64_t id)
{
	struct sync_seen seen;
	int r = sync_find(s, d, NULL, name, &seen);

	if (r < 0 || !seen.there || seen.id == id)
		return r;
	return sync_remove(s, d, name); /* what is wanted of it goes out of the way */
}

/* A new directory: all of it is still to be looked at. */
static int make_dir(struct sync *s, struct layout_dir *d, uint32_t node,
		    const struct manifest_entry *mine)
{
	char path[LAYOUT_NAME_MAX];
	struct look *k;

	tree_path(s->v, node, path, sizeof(path));
	k = look_at(s->looks, path);
	if (!k)
		return -ENOMEM;
	k->flags |= MARK_BELOW;
	return layout_set(s->l, d, mine);
}

/* The directory at the remote, made where it is new, with what leads there. */
static int place_dir(struct sync *s, const char *path, struct layout_dir **out)
{
	struct layout_dir *d = layout_root(s->l), *child;
	char part[NAME_MAX_LEN + 1];
	uint32_t node = NODE_ROOT;
	int r = 0;

	tree_ref(s->v, node);
	while (r == 0 && *path) {
		size_t len = strcspn(path, "/");
		struct manifest_entry mine = { 0 };
		struct sync_seen seen;
		struct entry e;

		memcpy(part, path, len);
		part[len] = '\0';
		r = tree_node(s->v, node)->type != TYPE_OF(S_IFDIR) ? -ENOTDIR :
			op_lookup(s->v, node, part, &e);
		if (r < 0)
			break;
		tree_unref(s->v, node);
		node = e.node;
		r = local_entry(s->v, &e, part, &mine);
		if (r == 0)
			r = clear_place(s, d, part, mine.id);
		if (r == 0)
			r = sync_find(s, d, &mine, part, &seen);
		if (r == 0 && !seen.there)
			r = make_dir(s, d, node, &mine);
		manifest_entry_clear(&mine);
		if (r == 0)
			TRY(s, r, layout_dir_open(s->l, d, part, &child));
		if (r == 0) {
			layout_dir_put(s->l, d);
			d = child;
		}
		path += len + (path[len] == '/');
	}
	tree_unref(s->v, node);
	if (r < 0)
		layout_dir_put(s->l, d);
	else
		*out = d;
	return r;
}

/* What came is there, but perhaps not as it is now: the mark of its last change may have been
 * for the name that it had before. */
static void look_again(struct sync *s, const struct sync_arrived *a)
{
	struct look *k = look_at(s->looks, a->path);

	if (!k || !look_make(k, a->name))
		s->looks->flags |= MARK_BELOW;
}

static int move_one(struct sync *s, const struct sync_arrived *a)
{
	struct sync_gone *g = find_gone(s, a->id);
	struct layout_dir *to;
	int r;

	if (!g || !g->wanted || g->type != a->type)
		return 0;
	g->wanted = false;
	r = place_dir(s, a->path, &to);
	if (r == 0) {
		r = clear_place(s, to, a->name, a->id);
		if (r == 0 && g->out) {
			r = layout_move_in(s->l, g->token, to, a->name);
			s->out -= r == 0;
		} else if (r == 0)
			r = layout_move(s->l, g->dir, g->name, to, a->name);
		if (r == 0)
			look_again(s, a);
		layout_dir_put(s->l, to);
	}
	/* Then it is sent again. */
	if (r < 0)
		return r == -ECANCELED ? r : 0;
	return sync_maybe_commit(s);
}

bool moves_wanted(const struct sync *s)
{
	for (size_t i = 0; i < s->n_gone; i++)
		if (s->gone[i].wanted)
			return true;
	return false;
}

int moves_do(struct sync *s)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->n_arrived; i++)
		r = move_one(s, &s->arrived[i]);
	s->out = 0;
	return r < 0 ? r : sync_commit(s);
}

void moves_free(struct sync *s)
{
	for (size_t i = 0; i < s->n_gone; i++) {
		layout_dir_put(s->l, s->gone[i].dir);
		free(s->gone[i].name);
	}
	for (size_t i = 0; i < s->n_arrived; i++) {
		free(s->arrived[i].path);
		free(s->arrived[i].name);
	}
	free(s->gone);
	free(s->arrived);
	map_free(&s->gone_by_id);
	map_free(&s->arrived_ids);
}
