/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making the disputed places of one mirror what was decided, by renames, links
 * and removals alone. Each step leaves every object in a place of its old
 * state, of its new one, or parked in DOT_DIR/tmp under its id while another
 * mirror has it in place: cut anywhere, the next run goes on from there.
 *
 * The steps of a mirror are a list of tasks, tried until nothing moves any
 * more: a task waits until its directory is there and its place is free. What
 * waits for each other is exchanged or parked.
 *
 * Nothing is removed but further links of what stays, empty leftovers of
 * creations cut short, and what a durable word calls gone. The rest that is in
 * the way goes to quarantine.
 */
#include "replica/recovery_moves.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/log.h"
#include "replica/hashfile.h"
#include "replica/object.h"

/* ---- small parts ---- */

static int dir_fd(const struct moves *w, uint32_t place, int flags)
{
	const char *path = w->p->dir[w->p->place[place].dir].path[w->m];

	return path ? places_open(w->p, w->m, path, flags) : -ENOENT;
}

static int failed(const struct moves *w, int err, const char *what, uint32_t place)
{
	char path[4096];

	places_path(w->p, w->m, place, path, sizeof(path));
	return log_err(err, "%s: recovery of names: cannot %s %s", volume_path(w->p->v, w->m),
		       what, path);
}

static void told(const struct moves *w, const char *what, uint32_t place)
{
	char path[4096];

	places_path(w->p, w->m, place, path, sizeof(path));
	log_info("%s: recovery of names: %s %s", volume_path(w->p->v, w->m), what, path);
}

void moves_parked_name(const struct place_object *o, char out[PARKED_LEN])
{
	snprintf(out, PARKED_LEN, PLACES_PARKED "%016llx", (unsigned long long)o->id);
}

static int tmp_fd(struct moves *w)
{
	int dot = w->p->v->m[w->m].dotfd;

	if (w->tmpfd >= 0)
		return w->tmpfd;
	if (mkdirat(dot, PLACES_TMP, 0700) < 0 && errno != EEXIST)
		return -errno;
	w->tmpfd = openat(dot, PLACES_TMP, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return w->tmpfd < 0 ? -errno : w->tmpfd;
}

/* Never over anything, also where the filesystem lacks the flag for it. */
int moves_rename(int from, const char *name, int to, const char *new_name)
{
	struct stat st;

	if (renameat2(from, name, to, new_name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
		return -errno;
	if (fstatat(to, new_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	if (errno != ENOENT)
		return -errno;
	return renameat(from, name, to, new_name) < 0 ? -errno : 0;
}

static bool is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return strncmp(path, dir, len) == 0 && (path[len] == '/' || !path[len]);
}

static char *path_of(const struct moves *w, uint32_t place)
{
	const struct place *x = &w->p->place[place];
	const char *dir = w->p->dir[x->dir].path[w->m];
	char *out = NULL;

	if (!dir || asprintf(&out, "%s%s%s", dir, *dir ? "/" : "", x->name) < 0)
		return NULL;
	return out;
}

/* A directory moved: so did all below it. No memory: those are left alone. */
static void paths_moved(struct moves *w, const char *old, const char *now)
{
	size_t len = strlen(old);

	for (size_t i = 0; old && i < w->p->n_dir; i++) {
		char **path = &w->p->dir[i].path[w->m], *fresh = NULL;

		if (!*path || !is_below(*path, old))
			continue;
		if (now && asprintf(&fresh, "%s%s", now, *path + len) < 0)
			fresh = NULL;
		free(*path);
		*path = fresh;
		if (!fresh)
			w->p->dir[i].where[w->m] = DIR_UNKNOWN;
	}
}

/* A directory went with all that was in it. */
static void gone_along(struct moves *w, const char *top)
{
	for (uint32_t i = 0; i < w->p->n_place; i++) {
		const char *dir = w->p->dir[w->p->place[i].dir].path[w->m];

		if (dir && is_below(dir, top))
			*moves_cell(w, i) = (struct cell){ .kind = CELL_ABSENT };
	}
	paths_moved(w, top, NULL);
}

static void cell_moved(struct moves *w, struct cell *from, struct cell *to)
{
	struct cell c = *from;

	from->kind = CELL_ABSENT;
	from->id = 0;
	if (to)
		*to = c;
	w->changed = true;
}

/* ---- taking away ---- */

bool moves_quarantine(struct moves *w, uint32_t place, const char *why)
{
	struct quarantine_note note = { .member = volume_path(w->p->v, w->m), .reason = why };
	CLEANUP_CLOSE int fd = dir_fd(w, place, O_PATH);
	CLEANUP_FREE char *old = NULL;
	char path[4096];
	int r = fd;

	places_path(w->p, w->m, place, path, sizeof(path));
	note.path = path;
	if (fd >= 0)
		r = volume_quarantine_move(w->p->v, w->m, &note, fd, w->p->place[place].name);
	if (r < 0) {
		failed(w, r, "quarantine", place);
		return false;
	}
	told(w, "quarantined", place);
	old = path_of(w, place);
	if (old)
		gone_along(w, old);
	cell_moved(w, moves_cell(w, place), NULL);
	w->p->quarantined++;
	return true;
}

/* 0 or -errno, not logged. */
static int take_away(struct moves *w, uint32_t place, bool isdir)
{
	CLEANUP_CLOSE int fd = dir_fd(w, place, O_PATH);
	int r = fd;

	if (fd >= 0)
		r = unlinkat(fd, w->p->place[place].name, isdir ? AT_REMOVEDIR : 0) < 0 ?
			-errno : 0;
	if (r < 0)
		return r;
	told(w, "removed", place);
	cell_moved(w, moves_cell(w, place), NULL);
	w->p->removed++;
	return 0;
}

/* An empty leftover; one that has got content since is kept aside. */
bool moves_clear(struct moves *w, uint32_t place)
{
	int r = take_away(w, place, moves_cell(w, place)->type == TYPE_OF(S_IFDIR));

	if (r == -ENOTEMPTY || r == -EEXIST)
		return moves_quarantine(w, place, "an entry that no mirror has a record of");
	if (r < 0)
		failed(w, r, "remove", place);
	return r == 0;
}

/* One of several links of an inode that stays; a second object of the same id
 * is none of ours to delete. */
bool moves_drop_link(struct moves *w, const struct place_object *o, uint32_t place)
{
	struct cell *c = moves_cell(w, place);
	int r;

	for (uint32_t i = o->first; i < o->first + o->n; i++) {
		const struct cell *k = moves_cell(w, w->p->at[i]);

		if (w->p->at[i] == place || k->kind != CELL_ID || k->id != o->id ||
		    k->ino != c->ino)
			continue;
		r = take_away(w, place, false);
		if (r < 0)
			failed(w, r, "remove", place);
		return r == 0;
	}
	return moves_quarantine(w, place, "another object with the id of one that stays");
}

/* The last name of a file that is gone by a durable word. */
void moves_remove_file(struct moves *w, const struct place_object *o, uint32_t place)
{
	CLEANUP_CLOSE int fd = dir_fd(w, place, O_PATH);
	struct stat st;
	const char *name = w->p->place[place].name;
	bool last = fd >= 0 && fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    st.st_nlink == 1;
	int r = take_away(w, place, false);

	if (r < 0)
		failed(w, r, "remove", place);
	else if (last)
		hashfile_remove(w->p->v->m[w->m].dotfd, o->id); /* failing, it wastes room */
}

/* ---- tasks ---- */

void moves_add(struct moves *w, enum task_kind kind, struct place_object *o, uint32_t from,
	       uint32_t to)
{
	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 64;
		void *bigger = realloc(w->task, cap * sizeof(*w->task));

		if (!bigger) {
			log_err(-ENOMEM, "recovery of names");
			return;
		}
		w->task = bigger;
		w->cap = cap;
	}
	w->task[w->n++] = (struct task){ .kind = kind, .o = o, .from = from, .to = to };
}

/* Makes the place ready to take something. 1: free; 0: not yet. */
static bool make_free(struct moves *w, uint32_t place)
{
	struct cell *c = moves_cell(w, place);

	if (!w->p->dir[w->p->place[place].dir].path[w->m])
		return false;
	if (c->kind == CELL_BARE)
		moves_clear(w, place);
	return c->kind == CELL_ABSENT;
}

static int rename_task(struct moves *w, struct task *t)
{
	CLEANUP_CLOSE int to = dir_fd(w, t->to, O_PATH);
	char parked[PARKED_LEN];

	if (to < 0)
		return to;
	if (t->from == PLACE_NONE) {
		int tmp = tmp_fd(w);

		moves_parked_name(t->o, parked);
		return tmp < 0 ? tmp : moves_rename(tmp, parked, to, w->p->place[t->to].name);
	}
	CLEANUP_CLOSE int from = dir_fd(w, t->from, O_PATH);

	return from < 0 ? from : moves_rename(from, w->p->place[t->from].name, to,
					     w->p->place[t->to].name);
}

/* What is parked has no cell: it is read where it arrived. */
static void reread(struct moves *w, uint32_t place)
{
	CLEANUP_CLOSE int fd = dir_fd(w, place, O_PATH);

	if (fd >= 0)
		places_read(w->p, w->m, fd, w->p->place[place].name, moves_cell(w, place), NULL,
			    NULL);
	w->changed = true;
}

static char *parked_path(const struct place_object *o)
{
	char name[PARKED_LEN], *out = NULL;

	moves_parked_name(o, name);
	return asprintf(&out, DOT_DIR "/" PLACES_TMP "/%s", name) < 0 ? NULL : out;
}

static bool try_move(struct moves *w, struct task *t)
{
	CLEANUP_FREE char *old = NULL, *now = NULL;
	int r;

	if (!make_free(w, t->to) ||
	    (t->from != PLACE_NONE && moves_cell(w, t->from)->id != t->o->id))
		return false;
	old = t->from == PLACE_NONE ? parked_path(t->o) : path_of(w, t->from);
	now = path_of(w, t->to);
	if (!old || !now || (t->o->isdir && is_below(now, old)))
		return false;
	r = rename_task(w, t);
	t->done = true;
	if (r < 0) {
		failed(w, r, "move an object to", t->to);
		return true;
	}
	told(w, "moved an object to", t->to);
	w->p->moved++;
	if (t->o->isdir)
		paths_moved(w, old, now);
	if (t->from == PLACE_NONE)
		reread(w, t->to);
	else
		cell_moved(w, moves_cell(w, t->from), moves_cell(w, t->to));
	return true;
}

static bool try_link(struct moves *w, struct task *t)
{
	uint32_t src = PLACE_NONE;
	int r = 0;

	for (uint32_t i = t->o->first; i < t->o->first + t->o->n; i++)
		if (moves_cell(w, w->p->at[i])->kind == CELL_ID &&
		    moves_cell(w, w->p->at[i])->id == t->o->id)
			src = w->p->at[i];
	if (src == PLACE_NONE || !make_free(w, t->to))
		return false;
	CLEANUP_CLOSE int from = dir_fd(w, src, O_PATH);
	CLEANUP_CLOSE int to = dir_fd(w, t->to, O_PATH);

	if (from < 0 || to < 0)
		return false;
	if (linkat(from, w->p->place[src].name, to, w->p->place[t->to].name, 0) < 0)
		r = -errno;
	t->done = true;
	if (r < 0) {
		failed(w, r, "link", t->to);
		return true;
	}
	told(w, "linked", t->to);
	*moves_cell(w, t->to) = *moves_cell(w, src);
	w->changed = true;
	w->p->moved++;
	return true;
}

/* A copy of a directory of another mirror, empty, aside. */
static int build_dir(struct moves *w, int src, const char *path)
{
	CLEANUP_CLOSE int from = places_open(w->p, src, path, O_RDONLY);
	int tmp = tmp_fd(w), r = from < 0 ? from : tmp < 0 ? tmp : 0;
	struct at a = { .mirror = &w->p->v->m[src], .fd = from, .opened = true };
	struct at to = { .mirror = &w->p->v->m[w->m], .fd = tmp, .name = PLACES_MADE };
	struct record rec;
	struct stat st;

	if (r == 0 && unlinkat(tmp, PLACES_MADE, AT_REMOVEDIR) < 0 && errno != ENOENT)
		r = -errno;
	if (r == 0 && mkdirat(tmp, PLACES_MADE, 0700) < 0)
		r = -errno;
	if (r == 0)
		r = at_stat(&a, &st);
	if (r == 0)
		r = record_load(&a, TYPE_OF(S_IFDIR), &rec);
	if (r == 0)
		r = meta_copy(&a, &st, &to);
	if (r == 0)
		r = record_store(&to, TYPE_OF(S_IFDIR), &rec);
	return r;
}

/* The only thing that is made anew: others could not come to their places. */
static bool try_make(struct moves *w, struct task *t)
{
	uint32_t dir = places_find_dir(w->p, t->o->id);
	int src = -1, r;

	FOR_EACH_BIT(k, w->p->mask)
		if (src < 0 && w->p->dir[dir].path[k])
			src = (int)k;
	if (src < 0 || !make_free(w, t->to))
		return false;
	CLEANUP_CLOSE int to = dir_fd(w, t->to, O_PATH);

	t->done = true;
	r = to < 0 ? to : build_dir(w, src, w->p->dir[dir].path[src]);
	if (r == 0)
		r = moves_rename(w->tmpfd, PLACES_MADE, to, w->p->place[t->to].name);
	if (r < 0) {
		failed(w, r, "make the directory", t->to);
		return true;
	}
	told(w, "made the directory", t->to);
	w->p->dir[dir].path[w->m] = path_of(w, t->to);
	w->p->dir[dir].where[w->m] = DIR_FOUND;
	reread(w, t->to);
	return true;
}

static bool try_rmdir(struct moves *w, struct task *t)
{
	CLEANUP_FREE char *old = path_of(w, t->from);
	int r;

	if (moves_cell(w, t->from)->id != t->o->id) { /* it went with what it was in */
		t->done = true;
		return true;
	}
	r = take_away(w, t->from, true);
	if (r == -ENOTEMPTY || r == -EEXIST) /* perhaps later; else it stays */
		return false;
	t->done = true;
	if (r < 0)
		failed(w, r, "remove", t->from);
	else if (old)
		paths_moved(w, old, NULL);
	return true;
}

/* What is left of it when all that was in it has gone its way. */
static bool put_aside(struct moves *w, struct task *t)
{
	if (t->done || t->kind != TASK_ASIDE)
		return false;
	t->done = true;
	if (moves_cell(w, t->from)->id == t->o->id)
		moves_quarantine(w, t->from, "replaced on another mirror");
	return true;
}

static bool try_task(struct moves *w, struct task *t)
{
	static bool (*const by_kind[])(struct moves *, struct task *) = {
		[TASK_MOVE] = try_move, [TASK_LINK] = try_link,
		[TASK_MAKE] = try_make, [TASK_RMDIR] = try_rmdir,
	};

	return !t->done && t->kind != TASK_ASIDE && by_kind[t->kind](w, t);
}

/* ---- when all wait for each other ---- */

/* The pending move that takes away what stands in the place. */
static struct task *leaving(struct moves *w, uint32_t place)
{
	for (size_t i = 0; i < w->n; i++)
		if (!w->task[i].done && w->task[i].kind == TASK_MOVE && w->task[i].from == place)
			return &w->task[i];
	return NULL;
}

static bool swap(struct moves *w, struct task *t)
{
	struct task *u = t->kind == TASK_MOVE && t->from != PLACE_NONE ? leaving(w, t->to) : NULL;
	CLEANUP_FREE char *a = NULL, *b = NULL, *via = NULL;
	struct cell c;

	if (!u || u->to != t->from)
		return false;
	CLEANUP_CLOSE int from = dir_fd(w, t->from, O_PATH);
	CLEANUP_CLOSE int to = dir_fd(w, t->to, O_PATH);

	a = path_of(w, t->from);
	b = path_of(w, t->to);
	if (from < 0 || to < 0 || !a || !b || is_below(a, b) || is_below(b, a) ||
	    renameat2(from, w->p->place[t->from].name, to, w->p->place[t->to].name,
		      RENAME_EXCHANGE) < 0)
		return false; /* parked instead */
	told(w, "exchanged with another", t->to);
	c = *moves_cell(w, t->from);
	*moves_cell(w, t->from) = *moves_cell(w, t->to);
	*moves_cell(w, t->to) = c;
	via = parked_path(t->o);
	if (via) {
		paths_moved(w, a, via);
		paths_moved(w, b, a);
		paths_moved(w, via, b);
	}
	t->done = u->done = w->changed = true;
	w->p->moved += 2;
	return true;
}

static bool park(struct moves *w, struct task *t)
{
	CLEANUP_CLOSE int fd = dir_fd(w, t->from, O_PATH);
	CLEANUP_FREE char *old = path_of(w, t->from), *now = parked_path(t->o);
	int tmp = tmp_fd(w), r = fd < 0 ? fd : tmp < 0 ? tmp : old && now ? 0 : -ENOMEM;
	char name[PARKED_LEN];

	moves_parked_name(t->o, name);
	if (r == 0)
		r = moves_rename(fd, w->p->place[t->from].name, tmp, name);
	if (r < 0) {
		t->done = true;
		failed(w, r, "move aside", t->from);
		return true;
	}
	if (t->o->isdir)
		paths_moved(w, old, now);
	cell_moved(w, moves_cell(w, t->from), NULL);
	t->from = PLACE_NONE;
	return true;
}

/* Moves out of a directory that is itself in the way of something. */
static bool park_content(struct moves *w, uint32_t place)
{
	CLEANUP_FREE char *top = path_of(w, place);

	for (size_t i = 0; top && i < w->n; i++) {
		struct task *u = &w->task[i];
		const char *dir;

		if (u->done || u->kind != TASK_MOVE || u->from == PLACE_NONE)
			continue;
		dir = w->p->dir[w->p->place[u->from].dir].path[w->m];
		if (dir && is_below(dir, top))
			return park(w, u);
	}
	return false;
}

static bool unblock(struct moves *w, struct task *t)
{
	struct task *u;
	bool own;

	if (t->done || t->to == PLACE_NONE || !w->p->dir[w->p->place[t->to].dir].path[w->m])
		return false;
	u = leaving(w, t->to);
	own = t->kind == TASK_MOVE && t->from != PLACE_NONE &&
	      moves_cell(w, t->to)->kind == CELL_ABSENT;
	if (u && u != t)
		return swap(w, t) || park(w, u);
	if (own)
		return park(w, t); /* a directory on its way below itself */
	return moves_cell(w, t->to)->kind != CELL_ABSENT && park_content(w, t->to);
}

static bool push_aside(struct moves *w, struct task *t)
{
	if (t->done || t->to == PLACE_NONE || moves_cell(w, t->to)->kind == CELL_ABSENT ||
	    leaving(w, t->to) || !w->p->dir[w->p->place[t->to].dir].path[w->m])
		return false;
	return moves_quarantine(w, t->to, "in the place of another object");
}

void moves_run(struct moves *w)
{
	static bool (*const way[])(struct moves *, struct task *) = {
		try_task, unblock, push_aside, put_aside,
	};

	for (size_t step = 0; step < sizeof(way) / sizeof(way[0]);) {
		bool any = false;

		/* Only the plain way is tried for all; after any other it may do. */
		for (size_t i = w->n; i-- > 0 && !(any && step);)
			any |= way[step](w, &w->task[i]);
		step = any ? 0 : step + 1;
	}
	for (size_t i = 0; i < w->n; i++)
		if (!w->task[i].done && w->task[i].to != PLACE_NONE)
			failed(w, -EBUSY, "complete what belongs at", w->task[i].to);
}
