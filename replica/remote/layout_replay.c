// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Intents that the newest head does not cover: what a writer that died had begun.
 *
 * The next writer rolls them forward. Moves are applied to the state. Those of
 * the last intent may not all be done: they were done one after the other, and nothing comes
 * back to a name that one of them leaves, so the first one whose source is there tells how
 * far it came; the rest is done by the next commit. What was to be uploaded is in doubt. What
 * was to be deleted is deleted after the next head.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/log.h"

/* Moves and what is done between them, or else puts. */
static bool is_ordered(const struct remote_intent *in)
{
	size_t i;

	for (i = 0; i < in->n; i++)
		if (in->op[i].kind == INTENT_MOVE ||
		    (in->op[i].kind == INTENT_PUT && in->op[i].dir))
			return true;
	return false;
}

/* Nothing moves at the store: what is stored by id has another place in the tree. Twice: where
 * from, and where to. */
static bool is_silent(const struct intent_op *op)
{
	return !strcmp(op->name, op->to);
}

static bool is_aside(const char *object)
{
	return !strncmp(object, OBJECT_FOLDER_ASIDE "/", strlen(OBJECT_FOLDER_ASIDE) + 1);
}

/* Where in the tree an object of a move is. */
static const char *tree_path(const struct intent_op *op, const char *object)
{
	return object_is_by_id(object) ? op->path : object;
}

/* ---- places ---- */

/* 0 or -ENOENT, or trouble. */
static int resolve(struct layout *l, const char *path, struct layout_dir **d, char name[256])
{
	const char *slash = strrchr(path, '/');
	char above[LAYOUT_NAME_MAX];
	int err;

	snprintf(name, 256, "%s", slash ? slash + 1 : path);
	if (!name_is_good(name) || strlen(path) >= sizeof(above))
		return -ENOENT;
	snprintf(above, sizeof(above), "%.*s", slash ? (int)(slash - path) : 0, path);
	err = layout_dir_resolve(l, above, d);
	if (err == -ENOTDIR || err == -ENAMETOOLONG || err == -EBADMSG)
		err = -ENOENT;
	return err;
}

static bool stands_for(struct layout_dir *d, const struct manifest_entry *e, const char *object,
		       bool dir)
{
	char name[LAYOUT_NAME_MAX] = "";

	if (dir != (e->type == TYPE_DIR))
		return false;
	if (has_content(e))
		content_name(d, e, name);
	else if (e->type == TYPE_DIR && !d->hidden && !e->by_id && dir_path(d, e->name, name))
		*name = '\0';
	return !strcmp(name, object);
}

/* The entry at a path, if it has the object that the operation is about. */
static int find_entry(struct layout *l, const struct intent_op *op, const char *path,
		      struct layout_dir **d, char name[256], struct manifest_entry **e)
{
	int err = resolve(l, path, d, name);

	if (err)
		return err;
	err = entry_get(l, *d, name, e);
	if (!err && stands_for(*d, *e, op->name, op->dir))
		return 0;
	layout_dir_put(l, *d);
	return err && err != -EBADMSG ? err : -ENOENT;
}

/* It is not there any more, and nothing of it at the store is our business now. */
static int forget_entry(struct layout *l, struct layout_dir *d, const char *name)
{
	struct layout_dir *child;
	struct manifest_entry e, *own;
	int err;

	err = layout_dir_open(l, d, name, &child);
	if (!err) {
		dir_forget(l, child);
		/* The entry says by now that nothing is below. */
		err = entry_get(l, d, name, &own);
		dir_gone(l, child);
		layout_dir_put(l, child);
		if (err)
			return err;
	} else if (err != -ENOTDIR && err != -EBADMSG) {
		return err == -ENOENT ? 0 : err;
	} else {
		l->uncounted |= err == -EBADMSG;
	}
	doubt_remove(l, doubt_find(d, name));
	step_follow(l, d, name, NULL, NULL, 0);
	err = entry_take(l, d, name, &e);
	if (!err)
		manifest_entry_clear(&e);
	l->live.sets++;
	return err;
}

/* ---- one operation ---- */

/* What is new in the list, or came to another place in it, is in an intent, and perhaps done. */
static void settle_steps(struct layout *l, bool done)
{
	struct step *s;

	for (s = l->steps; s; s = s->next) {
		/* What waits for the head waits still. */
		s->done |= done && !s->noted && (s->kind != STEP_DELETE || s->early);
		s->noted = true;
	}
}

/* Whether the state has something else, or by another way, under the name that it goes to. */
static int is_known(struct layout *l, const struct intent_op *op)
{
	struct intent_op to = { .name = op->to, .dir = op->dir };
	struct manifest_entry *e;
	struct layout_dir *d;
	char name[256];
	int err = find_entry(l, &to, tree_path(op, op->to), &d, name, &e);

	if (err)
		return err == -ENOENT ? 0 : err;
	layout_dir_put(l, d);
	return 1;
}

/* The state knows nothing of it. */
static int replay_stray(struct layout *l, const struct intent_op *op, bool done)
{
	struct step *s;
	int err;

	log_warn("remote: %s was moved to %s, and is not known", op->name, op->to);
	step_claim(l, op->to, op->dir ? CLAIM_TREE : CLAIM_FILE);
	err = op->dir ? step_translate(l, op->name, op->to) : 0;
	if (err)
		return err;
	s = step_add(l, STEP_MOVE, op->name, op->to, op->path);
	if (!s)
		return -ENOMEM;
	s->dir = op->dir;
	s->size = UINT64_MAX;
	s->done = done;
	l->live.sets++;
	s->noted = true;
	err = op->dir ? 1 : is_known(l, op);
	if (err)
		return err < 0 ? err : 0;
	/* It is nobody's, unless something else is put there. */
	s = step_add(l, STEP_DELETE, op->to, NULL, NULL);
	if (!s)
		return -ENOMEM;
	s->noted = true; /* not done with the move */
	return 0;
}

/* Where an earlier move has brought it: names of what is stored by id change without a word. */
static int find_moved(struct layout *l, const char *object, struct layout_dir **d, char name[256])
{
	const struct step *s;

	for (s = l->steps; s; s = s->next) {
		if (s->kind != STEP_MOVE || strcmp(s->to, object) || !s->d)
			continue;
		*d = s->d;
		layout_dir_ref(*d);
		snprintf(name, 256, "%s", s->at);
		return 0;
	}
	return -ENOENT;
}

/* The entry with what hangs on it, out of the state. */
static int take_moved(struct layout *l, const struct intent_op *op, struct limbo **x)
{
	struct manifest_entry *e;
	struct layout_dir *d;
	char name[256];
	int err;

	for (*x = l->limbo; *x; *x = (*x)->next)
		if (!strcmp((*x)->object, op->name) || !strcmp((*x)->alias, op->name))
			return 0;
	err = find_entry(l, op, tree_path(op, op->name), &d, name, &e);
	if (err == -ENOENT)
		err = find_moved(l, op->name, &d, name);
	if (err)
		return err;
	err = take_out(l, d, name, x);
	if (!err)
		step_follow(l, d, name, NULL, NULL, (*x)->token);
	layout_dir_put(l, d);
	return err;
}

/* Unless what comes takes the name. */
static int drop_content(struct layout *l, struct layout_dir *d, const struct manifest_entry *e)
{
	struct manifest_entry copy;
	int err = manifest_entry_copy(&copy, e);

	if (err)
		return err;
	err = content_drop(l, d, &copy);
	manifest_entry_clear(&copy);
	return err;
}

static int discard_dir(struct layout *l, struct layout_dir *d, const char *name)
{
	char path[LAYOUT_NAME_MAX] = "";
	struct layout_dir *child;
	int err = layout_dir_open(l, d, name, &child);

	if (err == -EBADMSG) {
		l->uncounted = true;
		return 0;
	}
	if (err)
		return err;
	if (!child->hidden)
		err = dir_path(child, NULL, path);
	if (!err)
		err = tree_discard(l, child, path);
	layout_dir_put(l, child);
	l->uncounted |= err == -EBADMSG;
	return err == -EBADMSG ? 0 : err;
}

/* What stands where something comes to was removed, or, if it is stored by id, moved without a
 * word. */
static int make_room(struct layout *l, struct layout_dir *d, const char *name)
{
	struct manifest_entry *e;
	struct limbo *x;
	int err = entry_get(l, d, name, &e);

	if (err)
		return err == -ENOENT ? 0 : err;
	if (!has_content(e) || !e->by_id) {
		err = e->type == TYPE_DIR ? discard_dir(l, d, name) : drop_content(l, d, e);
		return err ? err : forget_entry(l, d, name);
	}
	err = take_out(l, d, name, &x);
	if (!err)
		step_follow(l, d, name, NULL, NULL, x->token);
	return err;
}

static int make_folder(struct layout *l, struct layout_dir *d, const char *name,
		       const struct manifest_entry *e)
{
	struct manifest_entry copy;
	int err = manifest_entry_copy(&copy, e);

	if (err)
		return err;
	free(copy.name);
	copy.name = strdup(name);
	copy.dir = (struct manifest_ref){ 0 };
	copy.partial = true;
	l->live.sets++;
	err = copy.name ? step_mkdir(l, d, &copy) : -ENOMEM;
	if (!err)
		return entry_store(l, d, &copy);
	manifest_entry_clear(&copy);
	return err;
}

static int replay_folder(struct layout *l, const struct intent_op *op)
{
	struct manifest_entry *e;
	struct layout_dir *d;
	char name[256];
	int err;

	if (op->entry.type != TYPE_DIR)
		return 0;
	err = resolve(l, op->path, &d, name);
	if (err)
		return err == -ENOENT ? 0 : err;
	err = entry_get(l, d, name, &e);
	if (!err && e->type == TYPE_DIR && e->id == op->entry.id)
		err = 1;
	else if (!err)
		err = make_room(l, d, name);
	if (!err || err == -ENOENT)
		err = make_folder(l, d, name, &op->entry);
	layout_dir_put(l, d);
	return err == 1 || err == -EBADMSG ? 0 : err;
}

static int put_again(struct layout *l, struct limbo *x, const char *path)
{
	struct layout_dir *to;
	char name[256];
	int err = resolve(l, path, &to, name);

	if (err)
		return err;
	err = make_room(l, to, name);
	if (!err)
		err = put_in(l, x, to, name);
	layout_dir_put(l, to);
	return err;
}

static int replay_silent(struct layout *l, const struct intent_op *op)
{
	struct manifest_entry *e;
	struct layout_dir *d;
	struct object_name o;
	struct limbo *x;
	char name[256];
	int err;

	for (x = l->limbo; x; x = x->next)
		if (!strcmp(x->alias, op->name))
			break;
	if (x)
		err = put_again(l, x, op->path);
	else
		err = resolve(l, op->path, &d, name);
	if (x || err)
		return err == -ENOENT ? 0 : err;
	err = entry_get(l, d, name, &e);
	if (!err && !object_name_parse(op->name, &o) && e->id == o.id &&
	    (e->type == TYPE_DIR) == op->dir && (op->dir || e->object == o.seq)) {
		err = take_out(l, d, name, &x);
		if (!err)
			step_follow(l, d, name, NULL, NULL, x->token);
	}
	layout_dir_put(l, d);
	return err == -ENOENT || err == -EBADMSG ? 0 : err;
}

static int replay_move(struct layout *l, const struct intent_op *op, bool done)
{
	struct object_name number;
	struct limbo *x;
	int err;

	if (is_silent(op))
		return replay_silent(l, op);
	err = take_moved(l, op, &x);
	if (err)
		return err == -ENOENT ? replay_stray(l, op, done) : err;
	if (is_aside(op->to))
		return put_aside(l, x, op->to);
	/* By id it has the number that it got then. */
	if (object_is_by_id(op->to) && !object_name_parse(op->to, &number))
		x->e.object = number.seq;
	err = put_again(l, x, tree_path(op, op->to));
	if (err != -ENOENT)
		return err;
	/* It goes with what was moved out and not in again. */
	snprintf(x->object, sizeof(x->object), "%s", op->to);
	return replay_stray(l, op, done);
}

static int replay_put(struct layout *l, const struct intent_op *op)
{
	struct manifest_entry *e;
	struct layout_dir *d;
	char name[256];
	int err = find_entry(l, op, op->path, &d, name, &e);

	/* An object that no entry has. */
	if (err == -ENOENT)
		return step_delete(l, op->name, false, op->path);
	if (err)
		return err;
	err = doubt_add(l, d, name, &op->entry);
	layout_dir_put(l, d);
	return err;
}

static int replay_delete(struct layout *l, const struct intent_op *op, bool early)
{
	struct manifest_entry *e;
	struct layout_dir *d;
	struct step *s;
	char name[256];
	int err = find_entry(l, op, op->path, &d, name, &e);

	if (!err) {
		if (e->type != TYPE_DIR)
			err = forget_entry(l, d, name);
		else
			/* What is left below is looked at by whoever opened this. */
			err = layout_remove(l, d, name);
		layout_dir_put(l, d);
	}
	if (err && err != -ENOENT && err != -ENOTEMPTY)
		return err;
	s = step_add(l, STEP_DELETE, op->name, NULL, op->path);
	if (!s)
		return -ENOMEM;
	s->dir = op->dir;
	s->early = early;
	l->live.sets++;
	return 0;
}

/* ---- one intent ---- */

static int replay_op(struct layout *l, const struct intent_op *op, bool ordered, bool done)
{
	int err;

	if (op->kind == INTENT_MOVE)
		err = replay_move(l, op, done);
	else if (op->kind == INTENT_DELETE)
		err = replay_delete(l, op, ordered);
	else if (op->dir)
		err = replay_folder(l, op);
	else
		err = replay_put(l, op);
	settle_steps(l, done);
	return err;
}

/* How many operations are done at least: all up to the last move before the first
 * one whose source is there. */
static int progress(struct layout *l, const struct remote_intent *in, size_t *done)
{
	uint64_t size;
	size_t i;
	int err;

	*done = 0;
	for (i = 0; i < in->n; i++) {
		const struct intent_op *op = &in->op[i];

		if (op->kind != INTENT_MOVE || is_silent(op))
			continue;
		err = step_look(l, op->name, op->dir, &size);
		if (!err)
			break;
		if (err != -ENOENT && err != -ENOTDIR && err != -EISDIR)
			return err;
		*done = i + 1;
	}
	return 0;
}

static int replay_intent(struct layout *l, const struct remote_intent *in, bool last)
{
	bool ordered = is_ordered(in);
	size_t i, done = ordered ? in->n : 0;
	int err = ordered && last ? progress(l, in, &done) : 0;

	for (i = 0; !err && i < in->n; i++)
		err = replay_op(l, &in->op[i], ordered, i < done);
	return err;
}

/* Deletes of the newest head that may not be done: the last list of them counts. */
static int redo_deletes(struct layout *l, const struct remote_intent *in)
{
	struct manifest_entry *e;
	struct layout_dir *d;
	struct step *s;
	char name[256];
	size_t i;
	int err = 0;

	for (s = l->steps; s; s = s->next)
		s->done = true;
	for (i = 0; !err && i < in->n; i++) {
		const struct intent_op *op = &in->op[i];

		if (op->kind != INTENT_DELETE)
			continue;
		err = find_entry(l, op, op->path, &d, name, &e);
		if (!err) {
			layout_dir_put(l, d);
			continue;
		}
		if (err != -ENOENT)
			break;
		s = step_add(l, STEP_DELETE, op->name, NULL, op->path);
		err = s ? 0 : -ENOMEM;
		if (s) {
			s->dir = op->dir;
			s->due = s->noted = true;
		}
	}
	return err;
}

static int replay_one(struct layout *l, uint64_t seq, bool last, bool take_over)
{
	struct remote_intent in;
	int err = intent_read(l, seq, &in);

	if (err)
		return err == -EBADMSG || err == -ENOENT ? 0 : err;
	if (seq > l->head.seq && !take_over && strcmp(in.writer, l->writer))
		err = layout_failed(l, -EBUSY, "another writer (%s) has begun to write", in.writer);
	else if (seq > l->head.seq)
		err = replay_intent(l, &in, last);
	else if (!is_ordered(&in))
		err = redo_deletes(l, &in);
	remote_intent_clear(&in);
	return err;
}

static bool is_mentioned(const struct layout *l, const char *name)
{
	const struct step *s;

	for (s = l->steps; s; s = s->next)
		if (name_is_within(s->name, name) || (s->to && name_is_within(s->to, name)))
			return true;
	return false;
}

static int clear_collection(struct layout *l, const char *name);

/* entry: as object_list() tells it. */
static int clear_entry(struct layout *l, const char *folder, const char *entry)
{
	char name[LAYOUT_NAME_MAX];
	size_t len = strlen(entry);
	bool dir = len && entry[len - 1] == '/';
	int n = snprintf(name, sizeof(name), "%s/%.*s", folder, (int)(len - dir), entry);

	if (n < 0 || (size_t)n >= sizeof(name))
		return 0;
	return dir ? clear_collection(l, name) : step_delete_now(l, name, false);
}

static int clear_collection(struct layout *l, const char *name)
{
	struct names list = { 0 };
	int err = object_list(l, name, true, &list);

	for (size_t i = 0; !err && i < list.n; i++)
		err = clear_entry(l, name, list.name[i]);
	names_clear(&list);
	return err || store_is_s3(l->store) ? err : step_delete_now(l, name, true);
}

/* What was on its way when the writer died, and no intent tells of. */
static int clear_aside(struct layout *l)
{
	struct names list = { 0 };
	struct object_name o;
	char name[LAYOUT_NAME_MAX];
	int err = object_list(l, OBJECT_FOLDER_ASIDE, true, &list);
	size_t i;

	for (i = 0; !err && i < list.n; i++) {
		snprintf(name, sizeof(name), "%s/%.*s", OBJECT_FOLDER_ASIDE,
			 (int)strcspn(list.name[i], "/"), list.name[i]);
		if (!object_name_parse(name, &o) && !is_mentioned(l, name))
			err = clear_entry(l, OBJECT_FOLDER_ASIDE, list.name[i]);
	}
	names_clear(&list);
	return err;
}

int layout_replay(struct layout *l, bool take_over)
{
	size_t n = 0, i;
	int err = intents_list(l, &l->intent, &n);

	l->n_intent = n;
	if (!err && n && l->intent[n - 1] > l->last)
		l->last = l->intent[n - 1];
	for (i = 0; !err && i < n; i++)
		if (l->intent[i] > l->before)
			err = replay_one(l, l->intent[i], i == n - 1, take_over);
	/* Before anything new gets a name that it has. */
	if (!err)
		err = limbo_drop(l);
	return err ? err : clear_aside(l);
}
