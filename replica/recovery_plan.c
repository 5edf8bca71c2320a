/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is to be done on one mirror so that the disputed places become what was
 * decided, and what an earlier run that was cut short left in DOT_DIR/tmp.
 */
#include "replica/recovery_moves.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/log.h"

static bool is_wanted(const struct moves *w, const struct place_object *o, uint32_t place)
{
	return w->p->place[place].want == o->id;
}

/* The next of o's places from *i on where it is (have) but is not wanted, or
 * is wanted but is not. */
static uint32_t next_place(const struct moves *w, const struct place_object *o, uint32_t *i,
			   bool have)
{
	while (*i < o->first + o->n) {
		uint32_t at = w->p->at[(*i)++];
		const struct cell *c = moves_cell(w, at);
		bool here = c->kind == CELL_ID && c->id == o->id;

		if (w->p->place[at].disputed && here == have && is_wanted(w, o, at) != have)
			return at;
	}
	return PLACE_NONE;
}

/* Objects that are to be nowhere. */
static void plan_removal(struct moves *w, struct place_object *o)
{
	uint32_t i = o->first, at;

	while ((at = next_place(w, o, &i, true)) != PLACE_NONE) {
		if (!o->gone)
			moves_add(w, TASK_ASIDE, o, at, PLACE_NONE);
		else if (o->isdir)
			moves_add(w, TASK_RMDIR, o, at, PLACE_NONE);
		else
			moves_remove_file(w, o, at);
	}
}

static bool stands_rightly(const struct moves *w, const struct place_object *o)
{
	for (uint32_t i = o->first; i < o->first + o->n; i++)
		if (moves_cell(w, w->p->at[i])->kind == CELL_ID &&
		    moves_cell(w, w->p->at[i])->id == o->id && is_wanted(w, o, w->p->at[i]))
			return true;
	return false;
}

/* Wrong places are paired with lacking ones; those left are links too many or
 * too few. */
static void plan_moves(struct moves *w, struct place_object *o, bool parked)
{
	uint32_t i = o->first, k = o->first, from, to;
	bool here = parked || stands_rightly(w, o);

	from = parked ? PLACE_NONE : next_place(w, o, &i, true);
	to = next_place(w, o, &k, false);
	while (to != PLACE_NONE && (parked || from != PLACE_NONE)) {
		moves_add(w, TASK_MOVE, o, from, to);
		here = true;
		parked = false;
		from = next_place(w, o, &i, true);
		to = next_place(w, o, &k, false);
	}
	for (; from != PLACE_NONE && here; from = next_place(w, o, &i, true))
		moves_drop_link(w, o, from);
	for (; to != PLACE_NONE && here && !o->isdir; to = next_place(w, o, &k, false))
		moves_add(w, TASK_LINK, o, PLACE_NONE, to);
}

/* Directories that must be made so that something can move into them. */
static void plan_dirs(struct moves *w)
{
	for (size_t i = 0; i < w->n; i++) { /* what is added here counts, too */
		const struct place_dir *d;
		struct place_object *o;

		if (w->task[i].to == PLACE_NONE)
			continue;
		d = &w->p->dir[w->p->place[w->task[i].to].dir];
		o = d->where[w->m] == DIR_ABSENT ? places_object(w->p, d->id) : NULL;
		for (uint32_t k = 0; o && !o->planned && k < o->n; k++)
			if (is_wanted(w, o, w->p->at[o->first + k])) {
				o->planned = true;
				moves_add(w, TASK_MAKE, o, PLACE_NONE, w->p->at[o->first + k]);
			}
	}
}

static bool is_parked(const struct moves *w, const struct place_object *o)
{
	for (size_t i = 0; i < w->p->n_parked; i++)
		if (w->p->parked[i].m == w->m && w->p->parked[i].id == o->id)
			return true;
	return false;
}

static void plan(struct moves *w)
{
	for (size_t i = 0; i < w->p->n_object; i++) {
		struct place_object *o = &w->p->object[i];
		bool wanted = false;

		o->planned = false;
		for (uint32_t k = o->first; k < o->first + o->n; k++)
			wanted |= is_wanted(w, o, w->p->at[k]);
		if (wanted)
			plan_moves(w, o, is_parked(w, o));
		else
			plan_removal(w, o);
	}
	plan_dirs(w);
}

/* ---- leftovers ---- */

bool places_is_leftover(const struct places *p, int m, uint32_t place)
{
	const struct place *x = &p->place[place];
	bool all = true, strange = x->disputed && x->want;

	if (x->cell[m].kind != CELL_BARE || !p->dir[x->dir].compared)
		return false;
	FOR_EACH_BIT(k, p->mask) {
		all &= x->cell[k].kind == CELL_BARE;
		strange |= x->cell[k].kind == CELL_ODD ||
			   (!x->disputed && x->cell[k].kind == CELL_ID);
	}
	return !all && !strange;
}

static void clear_leftovers(struct moves *w)
{
	for (uint32_t i = 0; i < w->p->n_place; i++)
		if (places_is_leftover(w->p, w->m, i))
			moves_clear(w, i);
}

/* The place where a durable word puts an object that no mirror has in place. */
static bool unpark_by_word(struct moves *w, uint64_t id, const char *parked)
{
	for (size_t i = 0; i < w->p->n_word; i++) {
		const struct recovery_name *n = w->p->word[i];
		uint32_t dir = n->id == id ? places_find_dir(w->p, n->dir) : PLACE_NONE;
		CLEANUP_CLOSE int fd = -1;

		if (dir == PLACE_NONE || !w->p->dir[dir].path[w->m])
			continue;
		fd = places_open(w->p, w->m, w->p->dir[dir].path[w->m], O_PATH);
		if (fd >= 0 && moves_rename(w->tmpfd, parked, fd, n->name) == 0)
			return true;
	}
	return false;
}

static bool is_wanted_anywhere(const struct moves *w, uint64_t id)
{
	const struct place_object *o = places_object(w->p, id);

	for (uint32_t k = o ? o->first : 0; o && k < o->first + o->n; k++)
		if (is_wanted(w, o, w->p->at[k]))
			return !stands_rightly(w, o);
	return false;
}

static bool stands_anywhere(const struct moves *w, uint64_t id)
{
	for (size_t i = 0; i < w->p->n_found; i++)
		if (w->p->found[i].cell.id == id)
			return true;
	return false;
}

static void settle_parked(struct moves *w, const char *parked)
{
	struct quarantine_note note = { .member = volume_path(w->p->v, w->m), .path = parked,
					.reason = "left by a recovery that was cut short" };
	uint64_t id = strtoull(parked + strlen(PLACES_PARKED), NULL, 16);
	int r;

	w->changed = true;
	if (strcmp(parked, PLACES_MADE) == 0 && unlinkat(w->tmpfd, parked, AT_REMOVEDIR) == 0)
		return;
	if (is_wanted_anywhere(w, id)) /* it did not work this time */
		return;
	if (!stands_anywhere(w, id) && unpark_by_word(w, id, parked))
		return;
	r = volume_quarantine_move(w->p->v, w->m, &note, w->tmpfd, parked);
	if (r < 0)
		log_err(r, "%s: cannot quarantine %s", note.member, parked);
	w->p->quarantined += r == 0;
}

/* All that is parked was moved if it was wanted anywhere. */
static void settle_all_parked(struct moves *w)
{
	int fd = w->tmpfd < 0 ? -1 : openat(w->tmpfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(d)))
		if (strncmp(e->d_name, PLACES_PARKED, strlen(PLACES_PARKED)) == 0 &&
		    strcmp(e->d_name, PLACES_BEGUN) != 0)
			settle_parked(w, e->d_name);
	closedir(d);
}

bool places_apply(struct places *p, int m)
{
	struct moves w = { .p = p, .m = m };

	w.tmpfd = openat(p->v->m[m].dotfd, PLACES_TMP,
			 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	clear_leftovers(&w);
	plan(&w);
	moves_run(&w);
	settle_all_parked(&w);
	if (w.tmpfd >= 0)
		close(w.tmpfd);
	free(w.task);
	return w.changed;
}
