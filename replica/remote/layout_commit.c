// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A commit: intents, moves and what goes with them, puts, manifests, the head,
 * and clearing up. Each step is of no harm when it is done twice, and remembers what is
 * done: so after a failure the next call goes on where this one ended.
 *
 *   look      the newest head is ours
 *   intent    of moves; moves, new directories, deletes that are in the way
 *   intent    of puts and deletes; puts, each looked at
 *   manifests
 *   intent    of what is in doubt beyond the head
 *   head      from here on it is the new state
 *   deletes, old intents, old heads
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/log.h"

#define PARALLEL 4u

static bool any_staged(const struct layout *l)
{
	const struct layout_staged *s = &l->live;

	return s->puts || s->moves || s->removes || s->sets;
}

static bool any_content(const struct layout *l)
{
	const struct step *s;

	for (s = l->steps; s; s = s->next)
		if (!s->done)
			return true;
	return l->puts != NULL;
}

static bool any_due(const struct layout *l)
{
	const struct step *s;

	for (s = l->steps; s; s = s->next)
		if (s->due && !s->done)
			return true;
	return false;
}

static int drop_tree(struct layout *l, struct limbo *x)
{
	int err;

	if (!x->child) {
		err = dir_new(l, NULL, x->e.name, x->e.id, &x->child);
		if (err)
			return err;
		x->child->ref = x->e.dir;
		x->child->hidden = !*x->object;
	}
	err = tree_discard(l, x->child, x->object);
	l->uncounted |= err != 0; /* it begins anew, or ends halfway */
	if (err == -EBADMSG) {
		log_warn("remote: %s: it stays at the store: %s", x->path, l->error);
		err = 0;
	}
	if (!err) {
		dir_forget(l, x->child);
		dir_gone(l, x->child);
	}
	return err;
}

static int drop_file(struct layout *l, const struct limbo *x)
{
	char leaf[OBJECT_NAME_MAX];
	int err = 0;

	if (x->e.leaves.seq) {
		object_name_leaf(leaf, x->e.id, x->e.leaves.seq);
		err = names_add(&l->drop, leaf);
	}
	return err ? err : step_delete(l, x->object, false, NULL);
}

/* Moved out and not in again: whoever did it sends it anew. */
int limbo_drop(struct layout *l)
{
	struct limbo *x;
	int err = 0;

	while ((x = l->limbo) && !err) {
		if (x->e.type == TYPE_DIR)
			err = drop_tree(l, x);
		else
			err = drop_file(l, x);
		if (!err)
			limbo_free(l, x);
	}
	return err;
}

static int do_moves(struct layout *l)
{
	int err = steps_run(l, true);
	bool left = true;

	while (!err && left) {
		err = intent_of_moves(l, &left);
		if (!err)
			err = steps_run(l, true);
	}
	return err;
}

static int do_puts(struct layout *l)
{
	int err, more;

	do {
		err = intent_of_puts(l);
		if (!err)
			err = steps_run(l, false);
		if (!err)
			err = puts_send(l);
		if (!err)
			err = puts_check(l);
		/* Also after trouble: what is good is kept. */
		more = puts_finish(l);
	} while (!err && !more && l->puts);
	/* What the puts have replaced goes too. */
	if (!err && !more)
		err = intent_of_puts(l);
	return err ? err : more;
}

static int do_content(struct layout *l)
{
	uint64_t *seq = NULL;
	size_t n;
	int err = 0;

	if (any_content(l)) {
		err = heads_look(l, &seq, &n);
		free(seq);
	}
	if (!err)
		err = do_moves(l);
	return err ? err : do_puts(l);
}

static int finish_head(struct layout *l)
{
	int err = head_write(l);

	if (!err)
		layout_tidy(l);
	return err;
}

static int commit(struct layout *l)
{
	int err = 0;

	if (l->head_data)
		err = finish_head(l);
	else if (!any_staged(l) && (any_due(l) || l->untidy))
		layout_tidy(l);
	if (!err)
		err = limbo_drop(l);
	if (err || !any_staged(l))
		return err;
	err = do_content(l);
	if (!err)
		err = links_enter(l);
	if (!err)
		err = manifests_write(l);
	if (!err)
		err = head_freeze(l);
	return err ? err : finish_head(l);
}

int layout_commit(struct layout *l, const struct layout_run *run)
{
	int err;

	if (!*l->writer)
		return -EROFS;
	l->run = run;
	l->trouble = 0;
	l->allowed = run && run->parallel ? run->parallel(run->arg, 0) : PARALLEL;
	if (!l->allowed)
		l->allowed = 1;
	err = commit(l);
	if (err && err == l->trouble)
		layout_failed(l, err, "%s", *l->trouble_text ? l->trouble_text : strerror(-err));
	l->run = NULL;
	return err;
}
