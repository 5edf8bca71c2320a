// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Intents: what is going to be done, written before it is done. One with moves or new
 * directories lists them with all that was staged between them, and no puts. One with puts
 * lists all that wait, the deletes to come, and what is in doubt.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/log.h"

/* ---- numbers ---- */

uint64_t number_next(struct layout *l)
{
	l->last++;
	l->opened = true;
	return l->last;
}

/* Of an object of ours. Never the same twice: the number of the head to be, and a running one. */
uint64_t ref_next(struct layout *l)
{
	if (!l->opened || l->running_no >= 0xfffff) {
		number_next(l);
		l->running_no &= 0x7ffff;
	}
	return l->last << 20 | ++l->running_no;
}

/* Made since the last head, so that no head refers to it. */
bool ref_is_ours(const struct layout *l, uint64_t seq)
{
	return seq > l->fixed;
}

/* ---- lists ---- */

struct list {
	struct remote_intent in;
	size_t room;
	int err;
};

static struct intent_op *list_add(struct list *x, enum intent_kind kind, const char *name,
				  const char *to, const char *path)
{
	size_t room = x->room ? 2 * x->room : 64;
	struct intent_op *op;

	if (x->in.n == x->room) {
		op = realloc(x->in.op, room * sizeof(*op));
		if (!op) {
			x->err = -ENOMEM;
			return NULL;
		}
		x->in.op = op;
		x->room = room;
	}
	op = &x->in.op[x->in.n++];
	*op = (struct intent_op){ .kind = kind };
	op->name = strdup(name);
	op->to = to ? strdup(to) : NULL;
	op->path = path && *path ? strdup(path) : NULL;
	if (!op->name || (to && !op->to) || (path && *path && !op->path))
		x->err = -ENOMEM;
	return op;
}

static void add_step(struct list *x, const struct step *s, const char *name)
{
	static const enum intent_kind kinds[] = {
		[STEP_MOVE] = INTENT_MOVE, [STEP_DELETE] = INTENT_DELETE, [STEP_MKDIR] = INTENT_PUT,
	};
	struct intent_op *op = list_add(x, kinds[s->kind], name, s->to, s->path);

	if (!op)
		return;
	op->dir = s->dir;
	if (s->kind == STEP_MKDIR && manifest_entry_copy(&op->entry, &s->e))
		x->err = -ENOMEM;
}

static void add_content(struct list *x, struct layout_dir *d, const struct manifest_entry *e,
			const char *object)
{
	char path[LAYOUT_NAME_MAX];
	struct intent_op *op;

	if (dir_path(d, e->name, path))
		return;
	op = list_add(x, INTENT_PUT, object, NULL, path);
	if (op && manifest_entry_copy(&op->entry, e))
		x->err = -ENOMEM;
}

static int write_list(struct layout *l, struct list *x)
{
	char name[OBJECT_NAME_MAX], *data = NULL;
	uint64_t *seq, least = l->head_data ? l->head_next.seq : l->head.seq;
	bool again = l->intent_again > least;
	size_t len;
	int err = x->err;

	seq = realloc(l->intent, (l->n_intent + 1) * sizeof(*seq));
	if (!seq)
		return -ENOMEM;
	l->intent = seq;
	/* One that may have arrived although it failed is written over. */
	x->in.seq = again ? l->intent_again : number_next(l);
	strcpy(x->in.writer, l->writer);
	x->in.time = layout_now();
	if (!err)
		err = remote_intent_encode(&x->in, &data, &len);
	object_name_intent(name, x->in.seq);
	if (err)
		layout_failed(l, err, "%s: %s", name, strerror(-err));
	else
		err = object_put(l, name, data, len, again);
	free(data);
	l->intent_again = err ? x->in.seq : 0;
	if (!again)
		l->intent[l->n_intent++] = x->in.seq;
	return err;
}

/* ---- the three kinds ---- */

/* How far the steps of an intent came is told by the first move whose source is there. So nothing
 * comes to a name that an earlier one leaves, and nothing leaves a directory that is made
 * by the same intent. */
static bool is_confusing(const struct list *x, const struct step *s)
{
	const char *name = s->kind == STEP_MOVE ? s->to : s->name;
	const struct intent_op *op;
	size_t i;

	if (s->kind == STEP_DELETE || s->silent)
		return false;
	for (i = 0; i < x->in.n; i++) {
		op = &x->in.op[i];
		if (op->kind == INTENT_MOVE && (name_is_within(op->name, name) ||
						name_is_below(name, op->name)))
			return true;
		if (op->kind == INTENT_PUT && s->kind == STEP_MOVE &&
		    name_is_within(s->name, op->name))
			return true;
	}
	return false;
}

static bool is_ordered(const struct step *s)
{
	return s->kind != STEP_DELETE || (s->early && !s->done);
}

/* It is why there must be an intent of moves: moves, and directories that are new at the store. */
static bool wants_order(const struct step *s)
{
	if (s->noted || s->kind == STEP_DELETE)
		return false;
	return !s->done || (s->silent && s->kind == STEP_MOVE);
}

/* The first ones that may stand in one intent; *left: there are more. */
int intent_of_moves(struct layout *l, bool *left)
{
	struct list x = { .err = 0 };
	struct step *s, *end = NULL;
	int err;

	*left = false;
	for (s = l->steps; s; s = s->next)
		*left |= wants_order(s);
	if (!*left)
		return 0;
	*left = false;
	for (s = l->steps; s && !*left; s = s->next) {
		if (s->noted || !is_ordered(s))
			continue;
		*left = is_confusing(&x, s);
		if (*left)
			end = s;
		else
			add_step(&x, s, s->name);
	}
	err = write_list(l, &x);
	for (s = l->steps; s != end && !err; s = s->next)
		if (is_ordered(s))
			s->noted = true;
	remote_intent_clear(&x.in);
	return err;
}

static bool anything_new(const struct layout *l)
{
	const struct step *s;
	const struct put *p;

	for (s = l->steps; s; s = s->next)
		if (s->kind == STEP_DELETE && !s->done && !s->noted)
			return true;
	for (p = l->puts; p; p = p->next)
		if (!p->noted)
			return true;
	return false;
}

/* The entry too, where nothing is known of what it may be instead. */
static void add_doubt(struct list *x, const struct doubt *d, const struct manifest_entry *e,
		      const char *object)
{
	struct manifest_entry alt;
	size_t i;

	for (i = 0; i < d->n_alt; i++) {
		alt = d->alt[i];
		alt.name = e->name;
		add_content(x, d->d, &alt, object);
	}
	if (!d->n_alt)
		add_content(x, d->d, e, object);
}

static int add_doubts(struct layout *l, struct list *x)
{
	char object[LAYOUT_NAME_MAX];
	struct manifest_entry *e;
	struct doubt *d;
	int err;

	for (d = l->doubts; d; d = d->next) {
		err = entry_get(l, d->d, d->name, &e);
		if (err == -ENOENT || err == -EBADMSG)
			continue;
		if (err)
			return err;
		content_name(d->d, e, object);
		if (*object)
			add_doubt(x, d, e, object);
	}
	return 0;
}

static int list_puts(struct layout *l, struct list *x)
{
	struct step *s;
	struct put *p;
	int err;

	for (s = l->steps; s; s = s->next)
		if (s->kind == STEP_DELETE && !s->done)
			add_step(x, s, s->early ? s->name : s->now);
	err = add_doubts(l, x);
	for (p = l->puts; p && !err; p = p->next) {
		content_name(p->d, &p->e, p->object);
		if (*p->object)
			add_content(x, p->d, &p->e, p->object);
	}
	return err;
}

int intent_of_puts(struct layout *l)
{
	struct list x = { .err = 0 };
	struct step *s;
	struct put *p;
	int err;

	if (!anything_new(l))
		return 0;
	err = list_puts(l, &x);
	if (!err)
		err = write_list(l, &x);
	for (s = l->steps; s && !err; s = s->next)
		if (s->kind == STEP_DELETE)
			s->noted = true;
	for (p = l->puts; p && !err; p = p->next)
		p->noted = true;
	remote_intent_clear(&x.in);
	return err;
}

int intent_of_doubts(struct layout *l)
{
	struct list x = { .err = 0 };
	int err = 0;

	if (!l->doubts || l->doubts_noted)
		return 0;
	err = add_doubts(l, &x);
	if (!err && x.in.n)
		err = write_list(l, &x);
	l->doubts_noted = !err;
	l->opened = false; /* the head under way has its number */
	remote_intent_clear(&x.in);
	return err;
}

/* ---- reading ---- */

struct numbered {
	uint64_t seq;
	struct remote_intent *in;
};

static int decode_intent(void *arg, const char *text, size_t len, char *error, size_t n)
{
	struct numbered *x = arg;
	int err = remote_intent_decode(text, len, x->in, error, n);

	if (err || x->in->seq == x->seq)
		return err;
	remote_intent_clear(x->in);
	snprintf(error, n, "it says that it is another one");
	return -EBADMSG;
}

int intent_read(struct layout *l, uint64_t seq, struct remote_intent *in)
{
	struct numbered x = { seq, in };
	char name[OBJECT_NAME_MAX];
	int err;

	object_name_intent(name, seq);
	err = object_load(l, name, decode_intent, &x);
	/* Nothing is begun before the intent is whole. */
	if (err == -EBADMSG)
		log_warn("remote: %s: left out", l->error);
	return err;
}
