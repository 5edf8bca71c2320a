// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * After a head: what it says is gone is deleted, intents that it covers, old
 * heads and what only they need. Nothing here makes a commit fail: what could not be done
 * now is done after the next one.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/log.h"

#define RETIRE_AT_ONCE 8u        /* heads after one commit */

static int delete_one(struct layout *l, const char *name)
{
	struct job j = { .op = { .verb = STORE_DELETE, .name = name } };
	int err = job_run(l, &j);

	return err && err != -ENOENT ? layout_op_failed(l, &j.op) : 0;
}

/* ---- intents ---- */

/* keep: deletes that one of them tells of are not done yet; the last is kept for them. */
static int intents_delete(struct layout *l, bool keep)
{
	char name[OBJECT_NAME_MAX];
	size_t i, left = 0;
	uint64_t last = 0;
	int err = 0;

	for (i = 0; i < l->n_intent; i++)
		if (l->intent[i] <= l->head.seq && l->intent[i] > last)
			last = l->intent[i];
	for (i = 0; i < l->n_intent; i++) {
		if (!err && l->intent[i] <= l->head.seq && !(keep && l->intent[i] == last)) {
			object_name_intent(name, l->intent[i]);
			err = delete_one(l, name);
			if (!err)
				continue;
		}
		l->intent[left++] = l->intent[i];
	}
	l->n_intent = left;
	return err;
}

/* ---- what old heads need ---- */

struct retired {
	struct job job;
	struct names *list;
	size_t at;
};

static void drop_came(struct layout *l, struct job *j)
{
	if (j->op.result && j->op.result != -ENOENT)
		layout_trouble(l, j->op.result, j->op.error);
	free(j);
}

/* Only what can be of no use: manifests and leaf hashes, and left-overs. */
static bool may_drop(const char *name)
{
	struct object_name o;

	return !object_name_parse(name, &o) && (o.kind == OBJECT_DIR || o.kind == OBJECT_PAGE ||
						o.kind == OBJECT_LEAF || o.kind == OBJECT_ASIDE);
}

static int drop_all(struct layout *l, const struct remote_head *h)
{
	struct job *j;
	size_t i;

	for (i = 0; i < h->n_drop && !l->trouble; i++) {
		if (!may_drop(h->drop[i])) {
			log_warn("remote: head %" PRIu64 " tells to delete %s: left alone", h->seq,
				 h->drop[i]);
			continue;
		}
		job_room(l);
		j = calloc(1, sizeof(*j));
		if (!j) {
			layout_trouble(l, -ENOMEM, strerror(ENOMEM));
			break;
		}
		j->op.verb = STORE_DELETE;
		j->op.name = h->drop[i];
		j->done = drop_came;
		job_start(l, j);
	}
	job_drain(l);
	return l->trouble;
}

/* seq, and what it needs beyond its successor. A damaged one has no say in that. */
static int head_retire(struct layout *l, uint64_t seq, const uint64_t *later, size_t n)
{
	char name[OBJECT_NAME_MAX];
	struct remote_head h;
	int err = head_read(l, seq, &h);
	size_t i;

	if (!err) {
		remote_head_clear(&h);
		for (i = 0; i < n; i++) {
			err = head_read(l, later[i], &h);
			if (err != -EBADMSG)
				break;
		}
		if (!err && i < n) {
			err = drop_all(l, &h);
			remote_head_clear(&h);
		}
	}
	if (err && err != -EBADMSG)
		return err;
	object_name_head(name, seq);
	return delete_one(l, name);
}

static int heads_retire(struct layout *l)
{
	uint64_t *seq = NULL;
	size_t n = 0, i;
	int err = heads_look(l, &seq, &n);

	for (i = 0; !err && i < RETIRE_AT_ONCE && n > LAYOUT_HEADS_KEPT + i; i++)
		err = head_retire(l, seq[i], seq + i + 1, n - i - 1);
	free(seq);
	return err;
}

/* ---- all ---- */

void layout_tidy(struct layout *l)
{
	struct step *s;
	bool left = false;
	int err;

	l->trouble = 0;
	steps_run_due(l);
	err = l->trouble;
	if (err)
		layout_failed(l, err, "%s", l->trouble_text);
	for (s = l->steps; s; s = s->next) {
		if (s->kind != STEP_DELETE || !s->due || s->done)
			continue;
		left = true;
		s->noted = false; /* the next intent tells of it, too */
	}
	steps_prune(l);
	if (!err)
		err = intents_delete(l, left);
	if (!err && l->head.seq)
		err = heads_retire(l);
	l->trouble = 0;
	l->untidy = err != 0;
	if (err && err != -ECANCELED)
		log_warn("remote: clearing up is left for later: %s", l->error);
}
