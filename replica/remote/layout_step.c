// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is to be done at the store besides puts, in the order in which it was
 * staged: moves, new directories, deletes. A delete waits until the head is
 * written, so that the old state stays whole; unless it is in the way of something new:
 * then it is done at its place in the list.
 *
 * A name in the list means what it means at that place; what comes after may
 * call the object something else. Deletes that wait are translated as they wait.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/log.h"

void step_free(struct layout *l, struct step *s)
{
	if (s->d)
		layout_dir_put(l, s->d);
	manifest_entry_clear(&s->e);
	free(s->name);
	free(s->to);
	free(s->now);
	free(s->path);
	free(s->at);
	free(s);
}

static char *copy(const char *s, int *err)
{
	char *c = s ? strdup(s) : NULL;

	if (s && !c)
		*err = -ENOMEM;
	return c;
}

struct step *step_add(struct layout *l, enum step_kind kind, const char *name, const char *to,
		      const char *path)
{
	struct step *s = calloc(1, sizeof(*s));
	int err = 0;

	if (!s)
		return NULL;
	s->kind = kind;
	s->name = copy(name, &err);
	s->to = copy(to, &err);
	s->now = kind == STEP_DELETE ? copy(name, &err) : NULL;
	s->path = copy(path, &err);
	if (err) {
		step_free(l, s);
		return NULL;
	}
	*l->steps_end = s;
	l->steps_end = &s->next;
	return s;
}

int step_delete(struct layout *l, const char *name, bool dir, const char *path)
{
	struct step *s;

	if (!*name || (dir && store_is_s3(l->store)))
		return 0;
	s = step_add(l, STEP_DELETE, name, NULL, path);
	if (!s)
		return -ENOMEM;
	s->dir = dir;
	return 0;
}

/* Nobody's at all: it needs no head. */
int step_delete_now(struct layout *l, const char *name, bool dir)
{
	struct step *s = step_add(l, STEP_DELETE, name, NULL, NULL);

	if (!s)
		return -ENOMEM;
	s->dir = dir;
	s->due = s->noted = true;
	return 0;
}

int step_mkdir(struct layout *l, const struct layout_dir *d, const struct manifest_entry *e)
{
	char path[LAYOUT_NAME_MAX];
	struct step *s;
	bool silent = d->hidden || e->by_id || store_is_s3(l->store);
	int err = dir_path(d, e->name, path);

	if (err)
		return err;
	if (!silent)
		step_claim(l, path, CLAIM_FOLDER);
	s = step_add(l, STEP_MKDIR, path, NULL, path);
	if (!s || manifest_entry_copy(&s->e, e)) {
		if (s)
			s->done = s->noted = true;
		return -ENOMEM;
	}
	s->dir = true;
	s->silent = s->done = silent;
	return 0;
}

/* ---- names ---- */

bool name_is_below(const char *name, const char *above)
{
	size_t n = strlen(above);

	return !strncmp(name, above, n) && name[n] == '/';
}

bool name_is_within(const char *name, const char *above)
{
	return !strcmp(name, above) || name_is_below(name, above);
}

char *name_translate(const char *name, const char *from, const char *to, bool dir)
{
	size_t n = strlen(from);
	char *out;

	if (strcmp(name, from) && !(dir && name_is_below(name, from)))
		return NULL;
	return asprintf(&out, "%s%s", to, name + n) < 0 ? NULL : out;
}

int step_translate(struct layout *l, const char *from, const char *to)
{
	struct step *s;
	char *now;

	for (s = l->steps; s; s = s->next) {
		if (s->kind != STEP_DELETE || s->done || s->early)
			continue;
		if (strcmp(s->now, from) && !name_is_below(s->now, from))
			continue;
		now = name_translate(s->now, from, to, true);
		if (!now)
			return -ENOMEM;
		free(s->now);
		s->now = now;
		s->noted = false;
	}
	return 0;
}

enum effect { NOTHING, CANCELS, HURRIES };

/* What it means for a delete that something is going to be called `name`. */
static enum effect effect_on(const struct step *s, const char *name, enum claim claim)
{
	if (!strcmp(s->now, name)) {
		if (claim == CLAIM_TREE)
			return HURRIES;
		return s->dir == (claim == CLAIM_FOLDER) ? CANCELS : HURRIES;
	}
	if (name_is_below(s->now, name))
		return claim == CLAIM_FOLDER ? NOTHING : HURRIES;
	if (name_is_below(name, s->now))
		return s->dir ? CANCELS : HURRIES;
	return NOTHING;
}

/* One that is in the way, the deepest first; those that are of no use any more are done. */
static struct step *claimed(struct layout *l, const char *name, enum claim claim, bool *spared)
{
	struct step *s, *found = NULL;

	for (s = l->steps; s; s = s->next) {
		enum effect e = NOTHING;

		if (s->kind == STEP_DELETE && !s->done && !s->early)
			e = effect_on(s, name, claim);
		if (e == CANCELS) {
			s->done = true;
			*spared |= !strcmp(s->now, name);
		}
		if (e == HURRIES && (!found || strlen(s->now) > strlen(found->now)))
			found = s;
	}
	return found;
}

/* Its place is here, and its name what it is by now. */
static void hurry(struct layout *l, struct step *s)
{
	struct step **p;
	char *name = s->name;

	for (p = &l->steps; *p != s; p = &(*p)->next)
		;
	*p = s->next;
	if (!*p)
		l->steps_end = p;
	s->next = NULL;
	*l->steps_end = s;
	l->steps_end = &s->next;
	s->name = s->now;
	s->now = name;
	s->early = true;
	s->noted = false;
}

bool step_claim(struct layout *l, const char *name, enum claim claim)
{
	bool spared = false;
	struct step *s;

	while ((s = claimed(l, name, claim, &spared)))
		hurry(l, s);
	return spared;
}

void step_follow(struct layout *l, struct layout_dir *d, const char *name, struct layout_dir *to,
		 const char *new_name, unsigned token)
{
	struct step *s;
	char *at;

	for (s = l->steps; s; s = s->next) {
		if (s->kind != STEP_MOVE || (d ? s->d != d || strcmp(s->at, name) :
						 s->token != token || !token))
			continue;
		if (s->d)
			layout_dir_put(l, s->d);
		s->d = NULL;
		s->token = token;
		at = to ? strdup(new_name) : NULL;
		free(s->at);
		s->at = at;
		if (!at)
			continue;
		s->token = 0;
		s->d = to;
		layout_dir_ref(to);
	}
}

/* ---- doing ---- */

static bool is_gone(int err)
{
	return err == -ENOENT || err == -EISDIR || err == -ENOTDIR || err == -ENOTEMPTY;
}

/* Something in the collection is still to be deleted. */
static bool waits_for(const struct layout *l, const struct step *dir)
{
	const char *name = dir->job.op.name;
	const struct step *s;

	for (s = l->steps; s; s = s->next)
		if (s->kind == STEP_DELETE && !s->done && s != dir &&
		    name_is_below(s->early ? s->name : s->now, name))
			return true;
	return false;
}

static void step_came(struct layout *l, struct job *j)
{
	struct step *s = (struct step *)((char *)j - offsetof(struct step, job));
	int err = j->op.result;

	s->running = false;
	/* Deletes: something else has the name by now, so what was meant is gone. */
	if (!err || (s->kind == STEP_DELETE && is_gone(err) &&
		     !(err == -ENOTEMPTY && waits_for(l, s)))) {
		s->done = true;
		return;
	}
	s->failed = true;
	snprintf(s->error, sizeof(s->error), "%s", j->op.error);
	/* One that waits has another go when more is deleted. */
	if (s->kind == STEP_MOVE || (err == -ENOTEMPTY && !s->early))
		return;
	if (layout_is_transport(err) || err == -ENOTEMPTY) {
		layout_trouble(l, err == -ENOTEMPTY ? -EAGAIN : err, s->error);
	} else {
		log_warn("remote: %s", s->error);
		s->done = true;
	}
}

static void step_start(struct layout *l, struct step *s)
{
	static const enum store_verb verbs[] = {
		[STEP_MOVE] = STORE_MOVE, [STEP_DELETE] = STORE_DELETE, [STEP_MKDIR] = STORE_MKDIR,
	};

	s->job = (struct job){ .done = step_came };
	s->job.op.verb = verbs[s->kind];
	s->job.op.name = s->kind == STEP_DELETE && !s->early ? s->now : s->name;
	s->job.op.to = s->to;
	s->job.op.dir = s->dir;
	s->running = true;
	s->failed = false;
	job_start(l, &s->job);
}

/* Whether some step before this one that is about the same names is still under way. */
static bool must_wait(const struct layout *l, const struct step *s)
{
	const char *mine = s->job.op.name, *other;
	const struct step *b;

	for (b = l->steps; b != s; b = b->next) {
		if (!b->running)
			continue;
		other = b->job.op.name;
		if (!strcmp(mine, other) || name_is_below(mine, other) ||
		    name_is_below(other, mine))
			return true;
	}
	return false;
}

static void run_beside(struct layout *l, struct step *s)
{
	s->job.op.name = s->kind == STEP_DELETE && !s->early ? s->now : s->name;
	while (must_wait(l, s))
		job_pump(l);
	job_room(l);
	/* What this one builds on may have failed meanwhile. */
	if (!l->trouble)
		step_start(l, s);
}

int step_look(struct layout *l, const char *name, bool dir, uint64_t *size)
{
	struct job j = { .op = { .verb = STORE_HEAD, .name = name, .dir = dir } };
	int err = job_run(l, &j);

	*size = j.op.size;
	return err ? layout_op_failed(l, &j.op) : 0;
}

/* The source is not there: 0 if it has arrived. */
static int has_arrived(struct layout *l, const struct step *s)
{
	uint64_t size;
	int err = step_look(l, s->name, s->dir, &size);

	if (err != -ENOENT)
		return err ? err : layout_failed(l, -EAGAIN, "%s", s->error);
	err = step_look(l, s->to, s->dir, &size);
	if (!err && !s->dir && size != s->size && size != UINT64_MAX)
		err = -ENOENT;
	return err;
}

/* Whether a step after s, up to end, makes something that is called so, or leads to it. */
static bool comes_later(const struct step *s, const struct step *end, const char *name)
{
	const struct step *u;
	const char *made;

	for (u = s->next; u != end; u = u->next) {
		made = u->kind == STEP_MOVE ? u->to : u->kind == STEP_MKDIR ? u->name : NULL;
		if (made && (!strcmp(made, name) || name_is_below(name, made) ||
			     name_is_below(made, name)))
			return true;
	}
	return false;
}

static bool is_taken(const struct layout *l, const struct step *s, const char *name)
{
	const struct put *p;

	for (p = l->puts; p; p = p->next)
		if (!strcmp(p->object, name))
			return true;
	return comes_later(s, NULL, name);
}

static int call_again(char **name, const struct step *s)
{
	char *as = name_translate(*name, s->to, s->name, true);

	if (!as)
		return -ENOMEM;
	free(*name);
	*name = as;
	return 0;
}

/*
 * A directory stays where it is. What was to be done with things in it after that move names
 * them as they would have been called; perhaps something else, made by a writer that died, has
 * those names.
 */
static int stays_behind(struct layout *l, struct step *s)
{
	bool after = false;
	struct step *t;
	char **name;
	int err = 0;

	for (t = l->steps; t && !err; t = t->next) {
		after |= t == s;
		if (t == s || t->done || t->kind == STEP_MKDIR ||
		    (t->kind == STEP_DELETE && !t->early) == after)
			continue;
		name = t->kind == STEP_DELETE && !t->early ? &t->now : &t->name;
		if (!name_is_below(*name, s->to) || (after && comes_later(s, t, *name)))
			continue;
		err = call_again(name, s);
		t->noted = false;
		/* A delete that waits does not hit what has that name by then. */
		t->done |= !err && !after && is_taken(l, s, *name);
	}
	return err;
}

/* All of it is sent again; what is left at its old place goes, unless that is another's by now. */
static int discard_rest(struct layout *l, struct step *s, struct layout_dir *child)
{
	struct step **end = l->steps_end, *t;
	int err = tree_discard(l, child, s->name);

	for (t = *end; t; t = t->next)
		t->done |= is_taken(l, s, t->name);
	return err;
}

/* The store cannot do it, or there is nothing to be moved: what the state has there is lost. */
static int move_lost(struct layout *l, struct step *s, int result)
{
	struct layout_dir *d = s->d, *child;
	struct manifest_entry e;
	int err = 0;

	log_warn("remote: %s: not moved to %s: sent again: %s", s->name, s->to,
		 *s->error ? s->error : strerror(-result));
	s->done = true;
	if (!s->dir && result != -ENOENT && !is_taken(l, s, s->name))
		err = step_delete(l, s->name, false, s->path);
	if (s->dir && result != -ENOENT)
		err = stays_behind(l, s);
	if (err || !d)
		return err;
	s->d = NULL;
	if (s->dir) {
		err = layout_dir_open(l, d, s->at, &child);
		if (!err) {
			if (result != -ENOENT)
				err = discard_rest(l, s, child);
			dir_forget(l, child);
			layout_dir_put(l, child);
		}
	} else {
		doubt_remove(l, doubt_find(d, s->at));
		err = entry_take(l, d, s->at, &e);
		if (!err)
			manifest_entry_clear(&e);
	}
	if (!put_find(d, s->at) && l->run && l->run->done)
		l->run->done(l->run->arg, d, s->at, -ESTALE, s->error);
	layout_dir_put(l, d);
	return err;
}

static int run_move(struct layout *l, struct step *s)
{
	int err;

	job_drain(l);
	if (l->trouble)
		return 0;
	step_start(l, s);
	job_drain(l);
	if (!s->failed)
		return 0;
	err = s->job.op.result;
	if (err == -ENOENT)
		err = has_arrived(l, s);
	else if (layout_is_transport(err))
		return layout_failed(l, err, "%s", s->error);
	if (!err)
		s->done = true;
	else if (err == -ENOENT || !layout_is_transport(err))
		err = move_lost(l, s, err);
	return err;
}

int steps_run(struct layout *l, bool noted)
{
	struct step *s;
	int err = 0;

	for (s = l->steps; s && !err && !l->trouble; s = s->next) {
		if (s->done || (s->kind == STEP_DELETE && !s->early))
			continue;
		if (noted && !s->noted)
			break;
		if (s->kind == STEP_MOVE)
			err = run_move(l, s);
		else
			run_beside(l, s);
	}
	job_drain(l);
	return err ? err : l->trouble;
}

static bool is_due(const struct step *s)
{
	return s->kind == STEP_DELETE && s->due && !s->done;
}

void steps_run_due(struct layout *l)
{
	size_t left = SIZE_MAX, before;
	struct step *s;

	do {
		before = left;
		for (s = l->steps; s && !l->trouble; s = s->next)
			if (is_due(s))
				run_beside(l, s);
		job_drain(l);
		for (left = 0, s = l->steps; s; s = s->next)
			left += is_due(s);
	} while (!l->trouble && left && left < before);
}

void steps_prune(struct layout *l)
{
	struct step **p = &l->steps, *s;

	while ((s = *p)) {
		if (!s->done || !s->due) {
			p = &s->next;
			continue;
		}
		*p = s->next;
		step_free(l, s);
	}
	l->steps_end = p;
}
