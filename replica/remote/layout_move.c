// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Moves. An entry is taken out here and put in there, with all that hangs on it:
 * its directory in the cache, a put that waits, a doubt, earlier moves. What is stored by
 * id moves without the store, and a directory that is stored so, stays so.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Where the content of an entry is; "": nowhere, or it moves without the store. */
static int object_of(struct layout_dir *d, const struct manifest_entry *e,
		     char out[LAYOUT_NAME_MAX])
{
	*out = '\0';
	if (has_content(e))
		content_name(d, e, out);
	else if (e->type == TYPE_DIR && !d->hidden && !e->by_id)
		return dir_path(d, e->name, out);
	return has_content(e) && !*out ? -ENAMETOOLONG : 0;
}

static bool moves_folders(struct layout *l)
{
	return !store_is_s3(l->store) && store_caps(l->store)->moves_dirs;
}

/* Whether a directory that lies under its path can go there. */
static int may_move_folder(struct layout *l, struct layout_dir *from, const char *name, bool plain)
{
	struct layout_dir *child;
	int err;

	if (plain && moves_folders(l))
		return 0;
	err = layout_dir_open(l, from, name, &child);
	if (err)
		return err;
	if (layout_count(child))
		err = layout_failed(l, -ENOTSUP, "%s: this store cannot move that directory", name);
	layout_dir_put(l, child);
	return err;
}

/* ---- out ---- */

bool object_is_by_id(const char *object)
{
	return !strncmp(object, OBJECT_FOLDER_ID "/", strlen(OBJECT_FOLDER_ID) + 1);
}

/* What nothing moves at the store for, but what a writer that comes after us must know to
 * find it: what is stored by id. */
static void set_alias(struct limbo *x)
{
	*x->alias = '\0';
	if (x->e.type == TYPE_DIR && !*x->object)
		object_name_id(x->alias, x->e.id, 0);
	else if (has_content(&x->e) && object_is_by_id(x->object))
		object_name_id(x->alias, x->e.id, x->e.object);
}


static struct limbo *limbo_new(struct layout *l)
{
	struct limbo *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->token = ++l->tokens;
	x->next = l->limbo;
	l->limbo = x;
	return x;
}

void limbo_free(struct layout *l, struct limbo *x)
{
	struct limbo **p;

	for (p = &l->limbo; *p != x; p = &(*p)->next)
		;
	*p = x->next;
	if (x->child)
		layout_dir_put(l, x->child);
	if (x->put)
		put_free(l, x->put);
	doubt_remove(l, x->doubt);
	manifest_entry_clear(&x->e);
	free(x);
}

/* Its put goes along and begins anew; what it has sent to the old name is of no use. */
static int take_put(struct layout *l, struct limbo *x, struct put *p)
{
	int err = 0;

	content_name(p->d, &p->e, p->object);
	if (p->tried)
		err = step_delete(l, p->object, false, NULL);
	if (!err)
		err = put_litter(l, p);
	put_unlink(l, p);
	layout_dir_put(l, p->d);
	p->d = NULL;
	p->tried = p->noted = false;
	p->stage = PUT_WAITS;
	x->put = p;
	return err;
}

/* The entry and all that hangs on it. */
static int take_entry(struct layout *l, struct layout_dir *d, const char *name, struct limbo *x)
{
	int err;

	if (x->put) {
		struct manifest_entry *e;

		/* The content that it replaces is not wanted anywhere. */
		err = entry_get(l, d, name, &e);
		if (err)
			return err == -ENOENT ? 0 : err;
		return layout_remove(l, d, name);
	}
	x->child = dir_cached(l, d, name);
	err = entry_take(l, d, name, &x->e);
	if (err) {
		x->child = NULL;
		return err;
	}
	x->files = x->e.files;
	x->bytes = x->e.bytes;
	x->doubt = doubt_find(d, name);
	if (x->doubt)
		doubt_unhang(l, x->doubt);
	if (!x->child)
		return 0;
	layout_dir_ref(x->child);
	return dir_rehang(l, x->child, NULL, name);
}

int take_out(struct layout *l, struct layout_dir *d, const char *name, struct limbo **out)
{
	struct manifest_entry *e;
	struct put *p = put_find(d, name);
	struct limbo *x = limbo_new(l);
	int err;

	if (!x)
		return -ENOMEM;
	err = dir_path(d, name, x->path);
	if (!err && !p) {
		err = entry_get(l, d, name, &e);
		if (!err)
			err = object_of(d, e, x->object);
	}
	if (!err && p)
		err = take_put(l, x, p);
	if (!err)
		err = take_entry(l, d, name, x);
	set_alias(x);
	if (err)
		limbo_free(l, x);
	else
		*out = x;
	return err;
}

/* ---- in ---- */

static int put_in_put(struct layout *l, struct limbo *x, struct layout_dir *to, const char *name)
{
	char *copy = strdup(name);
	struct put *p = x->put;

	if (!copy)
		return -ENOMEM;
	free(p->e.name);
	p->e.name = copy;
	p->fresh = true; /* what was there has been removed */
	p->d = to;
	if (put_place(l, p)) {
		p->d = NULL;
		return -ENAMETOOLONG;
	}
	x->put = NULL;
	put_link(l, p, to);
	return 0;
}

static int add_move(struct layout *l, const struct limbo *x, const struct manifest_entry *e,
		    const char *to, const char *path)
{
	bool dir = e->type == TYPE_DIR;
	struct step *s;
	int err;

	if (!*x->object || !strcmp(x->object, to))
		return 0;
	step_claim(l, to, dir ? CLAIM_TREE : CLAIM_FILE);
	err = dir ? step_translate(l, x->object, to) : 0;
	if (err)
		return err;
	/* The path that the names do not tell: of the side that is stored by id. */
	s = step_add(l, STEP_MOVE, x->object, to, object_is_by_id(x->object) ? x->path : path);
	if (!s)
		return -ENOMEM;
	s->dir = dir;
	s->size = e->size;
	if (dir) {
		struct put *p;

		/* Those below are called otherwise now. */
		for (p = l->puts; p; p = p->next)
			p->noted = false;
	}
	return 0;
}

static int add_silent(struct layout *l, const struct limbo *x, const char *path)
{
	struct step *s = step_add(l, STEP_MOVE, x->alias, x->alias, path);

	if (!s)
		return -ENOMEM;
	s->silent = s->done = true;
	s->dir = x->e.type == TYPE_DIR;
	return 0;
}

static int add_out(struct layout *l, struct limbo *x)
{
	if (x->out || !*x->alias)
		return 0;
	x->out = true;
	return add_silent(l, x, x->path);
}

/* object: what it is called there, "": nothing. */
static int add_moves(struct layout *l, struct limbo *x, const char *object, const char *path)
{
	bool same = x->e.type == TYPE_DIR ? !*object : !strcmp(object, x->object);
	int err;

	if (!same || !*x->alias)
		return add_move(l, x, &x->e, object, path);
	err = add_out(l, x);
	return err ? err : add_silent(l, x, path);
}

/* A directory without moves of directories: it is empty, so another is made. */
static int remake_folder(struct layout *l, struct limbo *x, struct layout_dir *to)
{
	int err = step_delete(l, x->object, true, x->path);

	*x->object = '\0';
	return err ? err : step_mkdir(l, to, &x->e);
}

static int put_in_entry(struct layout *l, struct limbo *x, struct layout_dir *to, const char *name)
{
	char object[LAYOUT_NAME_MAX], path[LAYOUT_NAME_MAX], *copy = strdup(name);
	bool plain = place_is_plain(l, to, name), dir = x->e.type == TYPE_DIR;
	int err = dir_path(to, name, path);

	if (!copy || err) {
		free(copy);
		return err ? err : -ENOMEM;
	}
	free(x->e.name);
	x->e.name = copy;
	if (!dir && has_content(&x->e)) {
		x->e.by_id = !plain;
		/* What has a number already keeps it. */
		x->e.object = plain ? 0 : x->e.object ? x->e.object : ref_next(l);
	} else if (!dir) {
		x->e.by_id = false;
	} else if (!*x->object || !plain) {
		x->e.by_id = true; /* what is hidden stays so */
	}
	if (x->child)
		x->child->hidden = to->hidden || x->e.by_id;
	if (dir && *x->object && (!plain || !moves_folders(l)))
		err = remake_folder(l, x, to);
	if (!err)
		err = object_of(to, &x->e, object);
	if (!err)
		err = add_moves(l, x, object, path);
	if (!err && x->child)
		err = dir_rehang(l, x->child, to, name);
	if (err)
		return err;
	if (x->doubt)
		err = doubt_hang(l, x->doubt, to, name);
	x->doubt = NULL;
	l->live.moves++;
	return err ? err : entry_store(l, to, &x->e);
}

/* The step that was added last is about this entry. */
static void follow_last(struct layout *l, size_t before, struct layout_dir *to, const char *name,
			unsigned token)
{
	struct step *s;

	for (s = l->steps; s && before; s = s->next)
		before--;
	for (; s; s = s->next) {
		if (s->kind != STEP_MOVE)
			continue;
		s->token = token;
		s->at = to ? strdup(name) : NULL;
		if (!s->at)
			continue;
		s->d = to;
		layout_dir_ref(to);
	}
}

static size_t count_steps(const struct layout *l)
{
	const struct step *s;
	size_t n = 0;

	for (s = l->steps; s; s = s->next)
		n++;
	return n;
}

int put_in(struct layout *l, struct limbo *x, struct layout_dir *to, const char *name)
{
	size_t before = count_steps(l);
	unsigned token = x->token;
	int err;

	step_follow(l, NULL, NULL, to, name, token);
	if (x->put) {
		err = put_in_put(l, x, to, name);
	} else {
		err = put_in_entry(l, x, to, name);
		follow_last(l, before, to, name, 0);
	}
	limbo_free(l, x);
	return err;
}

/* ---- checks ---- */

static int what_is_there(struct layout *l, struct layout_dir *d, const char *name, uint8_t *type,
			 bool *hidden)
{
	const struct manifest_entry *e;
	int err = layout_find(l, d, name, &e);

	if (err)
		return err;
	*type = e->type;
	*hidden = d->hidden || e->by_id;
	return 0;
}

static int check_target(struct layout *l, struct layout_dir *to, const char *new_name)
{
	char path[LAYOUT_NAME_MAX];
	int err;

	if (to->gone || !*l->writer)
		return to->gone ? -ESTALE : -EROFS;
	if (!name_is_good(new_name))
		return layout_failed(l, -EINVAL, "\"%s\": no name of an entry", new_name);
	err = dir_path(to, new_name, path);
	return !err && strlen(path) > LAYOUT_PATH_MAX ? -ENAMETOOLONG : err;
}

/* A directory does not go below itself. */
static bool goes_below(struct layout *l, struct layout_dir *from, const char *name,
		       struct layout_dir *to)
{
	const struct layout_dir *child = dir_cached(l, from, name);

	return child && (to == child || dir_is_below(to, child));
}

static int clear_target(struct layout *l, struct layout_dir *to, const char *name)
{
	const struct manifest_entry *e;
	int err = layout_find(l, to, name, &e);

	if (!err)
		err = layout_remove(l, to, name);
	if (!err)
		l->live.removes--; /* it counts as a move */
	return err == -ENOENT ? 0 : err;
}

/* ---- the calls ---- */

int layout_move(struct layout *l, struct layout_dir *from, const char *name,
		struct layout_dir *to, const char *new_name)
{
	struct limbo *x;
	uint8_t type;
	bool hidden;
	int err = check_target(l, to, new_name);

	if (!err)
		err = what_is_there(l, from, name, &type, &hidden);
	if (err || (from == to && !strcmp(name, new_name)))
		return err;
	if (type == TYPE_DIR && goes_below(l, from, name, to))
		return -EINVAL;
	if (type == TYPE_DIR && !hidden)
		err = may_move_folder(l, from, name, place_is_plain(l, to, new_name));
	if (!err)
		err = clear_target(l, to, new_name);
	if (!err)
		err = take_out(l, from, name, &x);
	if (err)
		return err;
	step_follow(l, from, name, to, new_name, 0);
	return put_in(l, x, to, new_name);
}

int put_aside(struct layout *l, struct limbo *x, const char *aside)
{
	size_t before = count_steps(l);
	int err;

	err = add_move(l, x, &x->e, aside, x->path);
	if (err)
		return err;
	follow_last(l, before, NULL, NULL, x->token);
	strcpy(x->object, aside);
	return 0;
}

/* To a name of its own, unless it is stored by id. */
static int move_aside(struct layout *l, struct limbo *x)
{
	char aside[OBJECT_NAME_MAX];

	if (!*x->object || object_is_by_id(x->object))
		return 0;
	object_name_aside(aside, x->e.id, ref_next(l));
	return put_aside(l, x, aside);
}

int layout_move_out(struct layout *l, struct layout_dir *from, const char *name, unsigned *token)
{
	struct limbo *x;
	uint8_t type;
	bool hidden;
	int err = *l->writer ? what_is_there(l, from, name, &type, &hidden) : -EROFS;

	if (!err && type == TYPE_DIR && !hidden && !moves_folders(l))
		err = layout_failed(l, -ENOTSUP, "%s: this store cannot move directories", name);
	if (!err)
		err = take_out(l, from, name, &x);
	if (err)
		return err;
	step_follow(l, from, name, NULL, NULL, x->token);
	*token = x->token;
	err = add_out(l, x);
	if (!err)
		err = move_aside(l, x);
	if (err)
		limbo_free(l, x);
	return err;
}

int layout_move_in(struct layout *l, unsigned token, struct layout_dir *to, const char *new_name)
{
	struct limbo *x;
	int err = check_target(l, to, new_name);

	for (x = l->limbo; x && x->token != token; x = x->next)
		;
	if (!x || err)
		return x ? err : -ENOENT;
	if (x->child && (to == x->child || dir_is_below(to, x->child)))
		return -EINVAL;
	if (x->e.type == TYPE_DIR && *x->object && !place_is_plain(l, to, new_name) &&
	    (!x->child || layout_count(x->child)))
		return layout_failed(l, -ENOTSUP, "%s: cannot be moved to a name the store cannot "
				     "hold", new_name);
	err = clear_target(l, to, new_name);
	return err ? err : put_in(l, x, to, new_name);
}
