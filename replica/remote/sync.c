// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Bringing a remote up to date: the marks of the ledger say where to look, the
 * state here is compared with what the remote's manifests say, and what differs is
 * staged and committed, some thousand changes at a time.
 *
 * Nothing is removed at the remote because something could not be read here: a
 * name counts as gone only when all mirrors together say -ENOENT.
 */
#include "replica/remote/sync_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/cleanup.h"
#include "replica/base/log.h"
#include "replica/tree.h"
#include "replica/walk.h"

#define DEPTH_MAX 2000

/* ---- what is left for later ---- */

static void blame(struct sync *s, int result)
{
	enum retry_kind kind = result == -ESTALE ? RETRY_NONE : retry_kind(result);

	s->left++;
	if (kind > s->worst && kind != RETRY_STOP)
		s->worst = kind;
}

void sync_leave(struct sync *s, uint64_t dir, const char *path, const char *name, int result,
		const char *what)
{
	blame(s, result);
	ledger_mark_again(s->r->ledger, dir, path, name, s->seq, s->since);
	if (result == -EUCLEAN)
		what = "names are lost on all mirrors: nothing is deleted there until "
			"`mirrorctl remote release`";
	if (result != -ESTALE) /* it changes just now: nothing is wrong */
		remote_note_error(s->r, "%s%s%s: %s", path, *path ? "/" : "", name,
				  what && *what ? what : strerror(-result));
}

/* Of what was to be looked at, nothing may be forgotten: with a name, what is below it
 * (k, MARK_BELOW) is left, too. The directory that it is in stands for that. */
static void leave_local(struct sync *s, uint32_t dir, const char *name, const struct look *k,
			unsigned flags, int result)
{
	char path[LAYOUT_NAME_MAX];

	if (s->survey)
		return;
	note_path(s->v, dir, path);
	sync_leave(s, tree_node(s->v, dir)->id, path, name, result, NULL);
	if (flags & MARK_BELOW || (k && (k->n || k->flags)))
		ledger_mark_below_again(s->r->ledger, tree_node(s->v, dir)->id, path, s->seq,
					s->since);
}

/* The inode of several names: it is found again by any of them. */
void sync_leave_inode(struct sync *s, uint64_t id, int result)
{
	uint32_t node = tree_find_id(s->v, id), parent;
	char path[LAYOUT_NAME_MAX], name[NAME_MAX_LEN + 1];
	unsigned k = 0;

	blame(s, result);
	for (; node && tree_position_at(s->v, node, k, &parent, name); k++) {
		note_path(s->v, parent, path);
		ledger_mark_again(s->r->ledger, tree_node(s->v, parent)->id, path, name, s->seq,
				  s->since);
	}
	/* By no name that we know, and it is not gone. */
	if (!k && !(node && tree_node(s->v, node)->flags & NODE_DELETED))
		ledger_mark_below_again(s->r->ledger, ROOT_ID, "", s->seq, s->since);
	if (node)
		tree_unref(s->v, node);
}

/* The brake holds this: it stays as it is at the remote. */
static int hold(struct sync *s, struct layout_dir *d, const char *name, uint64_t files)
{
	char path[LAYOUT_NAME_MAX];

	s->held_changes += files;
	if (layout_dir_id(d) == LAYOUT_LINKS_ID) {
		sync_leave_inode(s, strtoull(name, NULL, 16), 0);
		return 0;
	}
	s->left++;
	layout_dir_path(d, path, sizeof(path));
	ledger_mark_again(s->r->ledger, layout_dir_id(d), path, name, s->seq, s->since);
	return 0;
}

/* What goes on while the walk lasts, hours perhaps, is under the brake, too: more than the
 * survey saw is judged when the walk comes upon it. */
static bool brake(struct sync *s, uint64_t files)
{
	struct remote *r = s->r;

	s->doomed += files;
	if (s->held || s->doomed <= s->allowed)
		return s->held;
	if (!brake_holds(&r->brake, remote_now_ms(), s->doomed - s->allowed,
			 layout_head(s->l)->files, r->def.brake_percent, r->def.brake_files))
		return false;
	log_warn("remote %s: %llu more files are to be deleted or overwritten: held until "
		 "`mirrorctl remote release`; new files go on", r->def.name,
		 (unsigned long long)(s->doomed - s->allowed));
	s->held = true;
	remote_set_held(r, true);
	return true;
}

/* ---- one name ---- */

int sync_find(struct sync *s, struct layout_dir *d, const struct manifest_entry *mine,
	      const char *name, struct sync_seen *out)
{
	const struct manifest_entry *e;
	int r;

	memset(out, 0, sizeof(*out));
	if (!d)
		return 0;
	TRY(s, r, layout_find(s->l, d, name, &e));
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	out->there = true;
	out->link = e->link;
	out->type = e->type;
	out->id = e->id;
	out->by_id = e->by_id;
	out->refs = e->refs;
	out->partial = e->partial;
	out->files = e->type == TYPE_OF(S_IFDIR) ? e->files : 1;
	out->same = mine && manifest_entry_same(e, mine);
	out->same_content = mine && e->type == mine->type && e->id == mine->id && !e->link &&
		e->size == mine->size && e->root == mine->root;
	return 0;
}

int sync_put(struct sync *s, struct layout_dir *d, const struct sync_seen *seen,
	     const struct entry *e, const struct manifest_entry *mine)
{
	struct layout_source src;
	bool replaces = seen->there && seen->type == TYPE_OF(S_IFREG);
	int r;

	if (s->survey) {
		s->files++;
		s->bytes += mine->size;
		s->destroyed += replaces;
		return 0;
	}
	if (replaces && brake(s, 1))
		return hold(s, d, mine->name, 1);
	/* What changed while it was sent: a state of it is fixed this time. */
	r = local_source(s->v, e->node, mine->name,
			 map_del(&s->r->restless, sync_place(d, mine->name)), &src);
	if (r == 0) {
		r = layout_put(s->l, d, mine, &src);
		if (r < 0)
			src.free(src.arg);
	}
	return r < 0 ? r : sync_maybe_commit(s);
}

/* Something else has that name there: it goes first. A file is replaced by a
 * file in one go, if both lie under their names. */
static int make_way(struct sync *s, struct layout_dir *d, struct sync_seen *seen,
		    const struct manifest_entry *mine)
{
	const uint8_t file = TYPE_OF(S_IFREG);
	int r;

	if (!seen->there || (seen->id == mine->id && seen->type == mine->type))
		return 0;
	if (seen->type == file && mine->type == file && !seen->link && !seen->by_id)
		return 0;
	r = sync_remove(s, d, mine->name);
	seen->there = false;
	return r;
}

static int set(struct sync *s, struct layout_dir *d, const struct manifest_entry *mine)
{
	int r;

	if (s->survey)
		return 0;
	r = layout_set(s->l, d, mine);
	return r < 0 ? r : sync_maybe_commit(s);
}

/* In a survey it counts as if the remote had none. */
static int spoil_dir(struct sync *s, struct layout_dir *d, const char *name,
		     struct layout_dir **out)
{
	int r;

	*out = NULL;
	if (s->survey)
		return 0;
	log_warn("remote %s: %s: sent again: %s", s->r->def.name, name, layout_error(s->l));
	r = layout_spoil(s->l, d, name);
	if (r == 0)
		TRY(s, r, layout_dir_open(s->l, d, name, out));
	return r;
}

/* The directory as the remote has it; one whose manifest is lost begins anew. */
static int open_dir(struct sync *s, struct layout_dir *d, const char *name, unsigned *flags,
		    struct layout_dir **out)
{
	int r;

	TRY(s, r, layout_dir_open(s->l, d, name, out));
	if (r != -EBADMSG && r != -ENOENT)
		return r;
	*flags |= MARK_BELOW;
	return spoil_dir(s, d, name, out);
}

static int sync_subdir(struct sync *s, struct layout_dir *d, const struct sync_seen *seen,
		       const struct entry *e, const struct manifest_entry *mine,
		       const struct look *k, unsigned flags)
{
	bool known = seen->there && seen->id == mine->id && seen->type == mine->type;
	struct layout_dir *child = NULL;
	int r = 0;

	if (!known || seen->partial) /* what led here may be about a name only */
		flags |= MARK_BELOW;
	if (!known || !seen->same)
		r = set(s, d, mine);
	if (r < 0 || (!k && !(flags & MARK_BELOW)))
		return r;
	if (known || !s->survey)
		r = open_dir(s, d, mine->name, &flags, &child);
	if (r == 0)
		r = sync_dir(s, e->node, child, k, flags & MARK_BELOW);
	if (r == -EBADMSG && child) {
		/* A page of it is lost: all of it is sent again. */
		layout_dir_put(s->l, child);
		child = NULL;
		r = spoil_dir(s, d, mine->name, &child);
		if (r == 0)
			r = sync_dir(s, e->node, child, k, MARK_BELOW);
	}
	if (child)
		layout_dir_put(s->l, child);
	if (r == 0 && !s->survey && flags & MARK_BELOW)
		TRY(s, r, layout_complete(s->l, d, mine->name));
	return r;
}

static int sync_file(struct sync *s, struct layout_dir *d, const struct sync_seen *seen,
		     const struct entry *e, const struct manifest_entry *mine)
{
	if (e->st.st_nlink > 1 || (seen->there && seen->link && seen->id == mine->id))
		return sync_link(s, d, seen, e, mine);
	if (!seen->same_content)
		return sync_put(s, d, seen, e, mine);
	return seen->same ? 0 : set(s, d, mine);
}

/* What had this name may have been renamed, as logs are. */
static int note_replaced(struct sync *s, struct layout_dir *d, const char *name)
{
	const struct manifest_entry *e;
	int r;

	TRY(s, r, layout_find(s->l, d, name, &e));
	if (r == 0 && e->type == TYPE_OF(S_IFREG))
		moves_gone(s, d, e);
	return r == -ENOENT ? 0 : r;
}

static int sync_entry(struct sync *s, uint32_t dir, struct layout_dir *d, const struct entry *e,
		      const struct manifest_entry *mine, const struct look *k, unsigned flags)
{
	struct sync_seen seen;
	int r = sync_find(s, d, mine, mine->name, &seen);

	if (r < 0)
		return r;
	if (s->survey && (!seen.there || seen.id != mine->id))
		moves_arrived(s, dir, mine);
	if (s->survey && seen.there && seen.id != mine->id)
		r = note_replaced(s, d, mine->name);
	if (r < 0)
		return r;
	if (s->held && seen.there && seen.id != mine->id)
		return hold(s, d, mine->name, seen.files);
	if (k && seen.id != mine->id)
		sync_lose(s, &seen);
	r = make_way(s, d, &seen, mine);
	if (r < 0)
		return r;
	if (mine->type == TYPE_OF(S_IFDIR))
		return sync_subdir(s, d, &seen, e, mine, k, flags);
	if (mine->type == TYPE_OF(S_IFREG))
		return sync_file(s, d, &seen, e, mine);
	return seen.same ? 0 : set(s, d, mine);
}

/* Asked once for all that is gone from a directory. */
static bool is_whole(struct sync *s, uint32_t dir)
{
	uint64_t id = tree_node(s->v, dir)->id;

	if (s->whole_of != id) {
		s->whole = dir_whole(s->v, dir);
		s->whole_of = id;
	}
	return s->whole;
}

/* Whether the remote has the object at the place that it has here. */
static bool is_in_place(struct sync *s, uint32_t parent, const char *name, uint64_t id)
{
	const struct manifest_entry *e;
	struct layout_dir *d;
	char path[LAYOUT_NAME_MAX];
	int r;

	note_path(s->v, parent, path);
	TRY(s, r, layout_dir_resolve(s->l, path, &d));
	if (r < 0)
		return r != -ENOENT && r != -ENOTDIR;
	TRY(s, r, layout_find(s->l, d, name, &e));
	r = r < 0 ? r != -ENOENT : e->id == id;
	layout_dir_put(s->l, d);
	return r;
}

/* It was renamed, and the mark of its new place is still to come: it is not to be deleted there
 * and sent again. */
static bool lives_elsewhere(struct sync *s, uint64_t id)
{
	uint32_t node = tree_find_id(s->v, id), parent;
	char name[NAME_MAX_LEN + 1];
	bool lives = node && !(tree_node(s->v, node)->flags & NODE_DELETED) &&
		tree_position_at(s->v, node, 0, &parent, name) &&
		!is_in_place(s, parent, name, id);

	if (node)
		tree_unref(s->v, node);
	return lives;
}

/* What came to another name, as the survey saw it, was moved or is put there anew. What is gone
 * since the survey is for the next one. */
static bool may_go(struct sync *s, uint64_t id)
{
	return moves_has_gone(s, id) && (moves_has_arrived(s, id) || !lives_elsewhere(s, id));
}

/*
 * A directory that is gone from its name since the survey, and was to be looked at with all that
 * is below: if it was renamed, that is still to be done where it is now.
 */
static void follow(struct sync *s, uint32_t dir, const char *name, uint64_t id)
{
	char path[LAYOUT_NAME_MAX], now[MOVED_NAME];
	uint64_t at = tree_node(s->v, dir)->id;
	size_t len;
	uint32_t to;
	bool renamed;

	snprintf(now, sizeof(now), "%s", name);
	pthread_mutex_lock(&s->r->lock);
	renamed = moved_follow(&s->r->moved, &at, now) || s->r->moved.lost;
	pthread_mutex_unlock(&s->r->lock);
	if (!renamed)
		return;
	/* Where the path does not lead there, everything is compared. */
	to = tree_find_id(s->v, at);
	note_path(s->v, to ? to : dir, path);
	if (to)
		tree_unref(s->v, to);
	len = strlen(path);
	snprintf(path + len, sizeof(path) - len, "%s%s", len ? "/" : "", now);
	ledger_mark_below_again(s->r->ledger, id, path, s->seq, s->since);
}

static void leave_gone(struct sync *s, uint32_t dir, const char *name,
		       const struct sync_seen *seen, const struct look *k, unsigned flags)
{
	leave_local(s, dir, name, NULL, 0, -ESTALE);
	if (seen->type == TYPE_OF(S_IFDIR) && (flags & MARK_BELOW || (k && (k->n || k->flags))))
		follow(s, dir, name, seen->id);
}

/* What is wrong with one name must not keep all others from getting there. */
static int leave_one(struct sync *s, uint32_t dir, const char *name, int result)
{
	char path[LAYOUT_NAME_MAX];

	if (result != -ENAMETOOLONG && result != -EINVAL && result != -ESTALE)
		return result;
	if (s->survey)
		return 0;
	note_path(s->v, dir, path);
	sync_leave(s, tree_node(s->v, dir)->id, path, name, result,
		   result == -ESTALE ? NULL : layout_error(s->l));
	return 0;
}

static int sync_name(struct sync *s, uint32_t dir, struct layout_dir *d, const char *name,
		     const struct look *k, unsigned flags)
{
	struct manifest_entry mine = { 0 };
	struct sync_seen seen;
	struct entry e;
	int r;

	if (remote_stopping(s->r))
		return -ECANCELED;
	r = op_lookup(s->v, dir, name, &e);
	if (r == -ENOENT) {
		r = sync_find(s, d, NULL, name, &seen);
		if (r < 0 || !seen.there)
			return r;
		if (k)
			sync_lose(s, &seen);
		if (!s->survey && !seen.link && !may_go(s, seen.id)) {
			leave_gone(s, dir, name, &seen, k, flags);
			return 0;
		}
		if (!s->released && !is_whole(s, dir)) {
			s->lost = true;
			leave_local(s, dir, name, k, flags, -EUCLEAN);
			return 0;
		}
		return sync_remove(s, d, name);
	}
	if (r < 0) {
		leave_local(s, dir, name, k, flags, r);
		return 0;
	}
	tree_lookup_inc(s->v, e.node); /* as if it were open, see source.c */
	r = local_entry(s->v, &e, name, &mine);
	if (r < 0) {
		leave_local(s, dir, name, k, flags, r);
		r = 0;
	} else {
		r = leave_one(s, dir, name, sync_entry(s, dir, d, &e, &mine, k, flags));
	}
	manifest_entry_clear(&mine);
	tree_forget(s->v, e.node, 1);
	tree_unref(s->v, e.node);
	return r;
}

/* ---- a directory ---- */

struct names {
	char **name;
	size_t n, size;
	int err;
};

static int collect_name(const struct manifest_entry *e, void *arg)
{
	struct names *l = arg;

	if (l->n == l->size) {
		size_t size = l->size ? 2 * l->size : 64;
		char **name = realloc(l->name, size * sizeof(*name));

		if (!name)
			return -ENOMEM;
		l->name = name;
		l->size = size;
	}
	l->name[l->n] = strdup(e->name);
	return l->name[l->n++] ? 0 : -ENOMEM;
}

static void names_free(struct names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->name[i]);
	free(l->name);
}

static bool listed(const struct dir_list *l, const char *name)
{
	size_t lo = 0, hi = l->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = strcmp(dir_list_name(l, mid), name);

		if (c == 0)
			return true;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

/* Names that the remote has and the list has not. Each is looked up before it
 * counts as gone. */
static int sync_missing(struct sync *s, uint32_t node, struct layout_dir *d,
			const struct dir_list *l, const struct look *k)
{
	struct names all = { 0 };
	int r;

	TRY(s, r, layout_each(s->l, d, collect_name, &all));
	for (size_t i = 0; r == 0 && i < all.n; i++)
		if (!listed(l, all.name[i]))
			r = sync_name(s, node, d, all.name[i], look_child(k, all.name[i]),
				      MARK_BELOW);
	names_free(&all);
	return r;
}

/* Whether the remote has this name for this object: then it needs no look
 * when only the list of names has changed. */
static int is_known(struct sync *s, uint32_t node, struct layout_dir *d, const char *name,
		    uint8_t type, bool *known)
{
	struct sync_seen seen;
	int r = sync_find(s, d, NULL, name, &seen);

	*known = r == 0 && seen.there && seen.type == type &&
		seen.id == op_entry_id(s->v, node, name, type);
	return r;
}

static int sync_listed(struct sync *s, uint32_t node, struct layout_dir *d, const struct look *k,
		       unsigned flags)
{
	struct dir_list l = { 0 };
	int r = op_list(s->v, node, &l);

	if (r < 0) {
		leave_local(s, node, "", k, flags, r);
		return 0;
	}
	for (size_t i = 0; r == 0 && i < l.n; i++) {
		const char *name = dir_list_name(&l, i);
		const struct look *child = look_child(k, name);
		bool known = false;

		/* A round that was cut off may have moved what it had not looked at yet. */
		if (d && !child && !s->r->doubtful && !(flags & (MARK_ENTRIES | MARK_BELOW)))
			r = is_known(s, node, d, name, l.entry[i].type, &known);
		if (r == 0 && !known)
			r = sync_name(s, node, d, name, child, flags);
	}
	if (r == 0 && d && layout_count(d) > 0)
		r = sync_missing(s, node, d, &l, k);
	dir_list_free(&l);
	return r;
}

static int sync_named(struct sync *s, uint32_t node, struct layout_dir *d, const struct look *k)
{
	int r = 0;

	for (size_t i = 0; k && r == 0 && i < k->n; i++)
		r = sync_name(s, node, d, k->child[i]->name, k->child[i], 0);
	return r;
}

int sync_dir(struct sync *s, uint32_t node, struct layout_dir *d, const struct look *k,
	     unsigned flags)
{
	int r;

	if (k)
		flags |= k->flags;
	if (++s->depth > DEPTH_MAX) {
		leave_local(s, node, "", NULL, 0, -ENAMETOOLONG);
		r = 0;
	} else if (flags & (MARK_NAMES | MARK_ENTRIES | MARK_BELOW)) {
		r = sync_listed(s, node, d, k, flags);
	} else {
		r = sync_named(s, node, d, k);
	}
	s->depth--;
	return r;
}

/* ---- going away ---- */

static int remove_below(struct sync *s, struct layout_dir *d, const char *name)
{
	struct layout_dir *child = NULL;
	struct names all = { 0 };
	int r;

	TRY(s, r, layout_dir_open(s->l, d, name, &child));
	if (r == -EBADMSG || r == -ENOENT) /* lost: what it held is left to the sweep */
		return layout_spoil(s->l, d, name);
	if (r < 0)
		return r;
	TRY(s, r, layout_each(s->l, child, collect_name, &all));
	for (size_t i = 0; r == 0 && i < all.n; i++)
		r = remote_stopping(s->r) ? -ECANCELED : sync_remove(s, child, all.name[i]);
	names_free(&all);
	layout_dir_put(s->l, child);
	return r == -EBADMSG ? layout_spoil(s->l, d, name) : r;
}

int sync_remove(struct sync *s, struct layout_dir *d, const char *name)
{
	const struct manifest_entry *e;
	uint64_t files, id;
	bool dir;
	int r;

	TRY(s, r, layout_find(s->l, d, name, &e));
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	id = e->id;
	dir = e->type == TYPE_OF(S_IFDIR);
	files = dir ? e->files : 1;
	if (s->survey) {
		moves_gone(s, d, e);
		s->destroyed += files;
		return 0;
	}
	if (!s->held && moves_rescue(s, d, name, id, &r))
		return r;
	/* What is in a directory was counted with it. */
	if (s->removing ? s->held : brake(s, files))
		return hold(s, d, name, files ? files : 1);
	if (dir) {
		s->removing++;
		r = remove_below(s, d, name);
		s->removing--;
	}
	if (r == 0)
		TRY(s, r, layout_remove(s->l, d, name));
	return r < 0 ? r : sync_maybe_commit(s);
}
