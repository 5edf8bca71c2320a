// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a reader knows of the intents that the newest head does not cover: what else an
 * object may be, and where else it may be. Nothing is changed.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int layout_beyond(struct layout *l)
{
	uint64_t *seq = NULL;
	size_t n = 0, i;
	int err = intents_list(l, &seq, &n);

	l->beyond = err ? NULL : calloc(n + 1, sizeof(*l->beyond));
	if (!err && !l->beyond)
		err = -ENOMEM;
	for (i = 0; !err && i < n; i++) {
		if (seq[i] <= l->head.seq)
			continue;
		err = intent_read(l, seq[i], &l->beyond[l->n_beyond]);
		if (!err)
			l->n_beyond++;
		else if (err == -EBADMSG || err == -ENOENT)
			err = 0;
	}
	free(seq);
	return err;
}

/* Calls fn with each operation beyond the head, until it returns non-zero. */
static int each_beyond(struct layout *l, int (*fn)(const struct intent_op *op, void *arg),
		       void *arg)
{
	size_t i, k;
	int r = 0;

	for (i = 0; !r && i < l->n_beyond; i++)
		for (k = 0; !r && k < l->beyond[i].n; k++)
			r = fn(&l->beyond[i].op[k], arg);
	return r;
}

/* A name on its way through the moves. */
struct track {
	char *name;
	unsigned n;                 /* still to be passed */
	unsigned found;
	const struct manifest_entry *entry;
};

static int track_move(struct track *t, const struct intent_op *op)
{
	char *next = strcmp(op->name, op->to) ?
			     name_translate(t->name, op->name, op->to, op->dir) : NULL;

	if (!next)
		return 0;
	free(t->name);
	t->name = next;
	return 1;
}

static int track_put(const struct intent_op *op, void *arg)
{
	struct track *t = arg;

	if (op->kind == INTENT_MOVE)
		track_move(t, op);
	else if (op->kind == INTENT_PUT && !op->dir && !strcmp(op->name, t->name) &&
		 t->found++ == t->n)
		t->entry = &op->entry;
	return 0;
}

static unsigned count_maybe(struct layout *l, const char *object, unsigned at,
			    const struct manifest_entry **e)
{
	struct track t = { .name = strdup(object), .n = at };

	if (t.name)
		each_beyond(l, track_put, &t);
	free(t.name);
	*e = t.entry;
	return t.found;
}

const struct manifest_entry *layout_maybe(struct layout *l, const char *object, unsigned n)
{
	const struct manifest_entry *e;
	unsigned all = count_maybe(l, object, UINT32_MAX, &e);

	if (n >= all)
		return NULL;
	count_maybe(l, object, all - 1 - n, &e);
	return e;
}

static int track_object(const struct intent_op *op, void *arg)
{
	struct track *t = arg;

	if (op->kind != INTENT_MOVE || !track_move(t, op))
		return 0;
	return t->n-- == 0;
}

int layout_elsewhere(struct layout *l, const char *object, unsigned n, char out[LAYOUT_NAME_MAX])
{
	struct track t = { .name = strdup(object), .n = n };
	int found = t.name ? each_beyond(l, track_object, &t) : 0;

	if (found)
		snprintf(out, LAYOUT_NAME_MAX, "%s", t.name);
	free(t.name);
	return found ? 0 : -ENOENT;
}
