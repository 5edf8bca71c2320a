/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger in memory: marks, renames, taking and giving back. The locks are in
 * ledger_priv.h; nothing here does any I/O.
 */
#include "replica/remote/ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "replica/remote/ledger_priv.h"

#define VOID_LIMIT 100000

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- marks ---- */

static struct mark_why next_why(struct ledger *l)
{
	l->seq++;
	return (struct mark_why){ l->seq, now_ms(), renames_end(&l->renames) };
}

void ledger_mark_all(struct ledger *l)
{
	const struct mark_why why = next_why(l);

	marks_add_all(&l->pending, &why);
}

static void mark(struct ledger *l, uint64_t id, const char *path, unsigned flags,
		 const char *name)
{
	pthread_mutex_lock(&l->lock);
	if (id && marks_good_path(path)) {
		const struct mark_why why = next_why(l);

		marks_add(&l->pending, id, path, flags, name, &why);
	} else {
		ledger_mark_all(l);
	}
	pthread_mutex_unlock(&l->lock);
}

void ledger_mark_dir(struct ledger *l, uint64_t id, const char *path, unsigned flags)
{
	if (flags & MARK_FLAGS)
		mark(l, id, path, flags, NULL);
}

void ledger_mark_entry(struct ledger *l, uint64_t dir, const char *path, const char *name)
{
	bool good = marks_good_name(name);

	mark(l, dir, path, good ? 0 : MARK_EACH, good ? name : NULL);
}

void ledger_mark_again(struct ledger *l, uint64_t dir, const char *path, const char *name,
		       uint64_t seq, int64_t since)
{
	bool entry = marks_good_name(name);

	pthread_mutex_lock(&l->lock);
	if (dir && marks_good_path(path)) {
		const struct mark_why why = { seq, since, renames_end(&l->renames) };

		marks_add(&l->pending, dir, path, entry ? 0 : MARK_ATTRS | MARK_EACH,
			  entry ? name : NULL, &why);
	} else {
		ledger_mark_all(l);
	}
	pthread_mutex_unlock(&l->lock);
}

void ledger_mark_below_again(struct ledger *l, uint64_t dir, const char *path, uint64_t seq,
			     int64_t since)
{
	pthread_mutex_lock(&l->lock);
	if (dir && marks_good_path(path)) {
		const struct mark_why why = { seq, since, renames_end(&l->renames) };

		marks_add(&l->pending, dir, path, MARK_ATTRS | MARK_BELOW, NULL, &why);
	} else {
		ledger_mark_all(l);
	}
	pthread_mutex_unlock(&l->lock);
}

/* Paths are as of now. */
void ledger_catch_up(struct ledger *l)
{
	bool ok;

	if (l->moved == renames_end(&l->renames))
		return;
	l->moved = renames_end(&l->renames);
	ok = marks_move(&l->pending, &l->renames);
	ok &= marks_move(&l->taken, &l->renames);
	if (!ok)
		ledger_mark_all(l);
}

static bool is_empty(const struct ledger *l)
{
	return !l->pending.by_id.used && !l->taken.by_id.used;
}

static void moved(struct ledger *l, const char *a, const char *b, bool exchange)
{
	pthread_mutex_lock(&l->lock);
	if (is_empty(l)) {
		/* the log has no path either, or what it has is void */
	} else if (!*a || !*b || !marks_good_path(a) || !marks_good_path(b)) {
		ledger_mark_all(l);
	} else {
		if (l->renames.n == LEDGER_MOVES) {
			ledger_catch_up(l);
			renames_clear(&l->renames);
			l->rewrite = true;
		}
		if (renames_add(&l->renames, a, b, exchange) < 0)
			ledger_mark_all(l);
	}
	pthread_mutex_unlock(&l->lock);
}

void ledger_renamed(struct ledger *l, const char *from, const char *to)
{
	moved(l, from, to, false);
}

void ledger_exchanged(struct ledger *l, const char *a, const char *b)
{
	moved(l, a, b, true);
}

/* The log is to forget this one. */
static void void_id(struct ledger *l, uint64_t id)
{
	if (l->rewrite)
		return;
	/* "everything" in the log has taken in what else there was */
	if (!l->pending.all && !l->taken.all && l->voided.used < VOID_LIMIT &&
	    map_set(&l->voided, id, 1) == 0)
		return;
	map_free(&l->voided);
	l->rewrite = true;
}

void ledger_removed(struct ledger *l, uint64_t id)
{
	struct mark_entry *e, *t;

	pthread_mutex_lock(&l->lock);
	e = marks_get(&l->pending, id);
	t = marks_get(&l->taken, id);
	if ((e && e->logged) || (t && t->logged))
		void_id(l, id);
	if (e)
		marks_drop(&l->pending, id);
	if (t)
		t->gone = true;
	pthread_mutex_unlock(&l->lock);
}

/* ---- taking ---- */

void ledger_free_out(struct ledger *l)
{
	for (size_t i = 0; i < l->n_out; i++) {
		free(l->out[i].path);
		free(l->out[i].name);
	}
	free(l->out);
	l->out = NULL;
	l->n_out = 0;
}

/* The names are those of the entry: they stay as long as it is taken. */
static bool give_out(struct mark *to, const struct mark_entry *e)
{
	*to = (struct mark){ .id = e->id, .flags = e->flags, .seq = e->seq, .since = e->since,
			     .path = strdup(e->path) };
	if (e->n)
		to->name = malloc(e->n * sizeof(*to->name));
	if (!to->path || (e->n && !to->name))
		return false;
	for (uint32_t i = 0; i < e->n; i++)
		to->name[to->n_names++] = e->name[i]->text;
	return true;
}

static bool give_all(struct mark *to, const struct marks *m)
{
	*to = (struct mark){ .id = ROOT_ID, .flags = MARK_FLAGS, .seq = m->all_seq,
			     .since = m->all_since, .path = strdup("") };
	return to->path != NULL;
}

static int by_path(const void *a, const void *b)
{
	const struct mark *x = a, *y = b;
	int r = strcmp(x->path, y->path);

	return r ? r : x->id < y->id ? -1 : x->id > y->id;
}

static int fill_out(struct ledger *l)
{
	size_t n = marks_count(&l->taken);
	const struct mark_entry *e;
	uint64_t at = 0;
	bool ok = true;

	if (!n)
		return 0;
	l->out = calloc(n, sizeof(*l->out));
	if (!l->out)
		return -ENOMEM;
	if (l->taken.all)
		ok = give_all(&l->out[l->n_out++], &l->taken);
	while (ok && (e = marks_next(&l->taken, &at)) != NULL)
		ok = give_out(&l->out[l->n_out++], e);
	if (!ok) {
		ledger_free_out(l);
		return -ENOMEM;
	}
	qsort(l->out, n, sizeof(*l->out), by_path);
	return 0;
}

void ledger_hold(struct ledger *l)
{
	pthread_mutex_lock(&l->lock);
	l->held++;
	pthread_mutex_unlock(&l->lock);
}

void ledger_let(struct ledger *l)
{
	pthread_mutex_lock(&l->lock);
	l->held -= l->held > 0; /* it may have been made since */
	pthread_mutex_unlock(&l->lock);
}

int ledger_take(struct ledger *l, struct mark **out, size_t *n)
{
	int r = -EBUSY;

	pthread_mutex_lock(&l->lock);
	if (l->held) {
		r = -EINPROGRESS;
	} else if (!l->out) {
		ledger_catch_up(l);
		l->taken = l->pending;
		memset(&l->pending, 0, sizeof(l->pending));
		r = fill_out(l);
		if (r < 0) {
			l->pending = l->taken;
			memset(&l->taken, 0, sizeof(l->taken));
		}
	}
	if (r == 0) {
		l->rewrite |= l->taken.rewrite;
		*out = l->out;
		*n = l->n_out;
	}
	pthread_mutex_unlock(&l->lock);
	return r;
}

static void settle_one(struct ledger *l, uint64_t id, bool again)
{
	struct mark_entry *e = marks_get(&l->taken, id);

	if (!e)
		return;
	if (again && !e->gone)
		marks_absorb(&l->pending, e, false);
	else if (e->logged)
		void_id(l, id);
}

static void settle_all(struct ledger *l, bool again)
{
	const struct mark_why why = { .seq = l->taken.all_seq, .since = l->taken.all_since };

	if (again)
		marks_add_all(&l->pending, &why);
	/* records cannot take back "everything" */
	l->rewrite = true;
}

void ledger_done(struct ledger *l, struct mark *taken, size_t n, const bool *again)
{
	pthread_mutex_lock(&l->lock);
	if (!l->out || taken != l->out || n != l->n_out) {
		pthread_mutex_unlock(&l->lock);
		return;
	}
	ledger_catch_up(l);
	if (l->taken.all)
		settle_all(l, again && again[0]);
	else
		for (size_t i = 0; i < n; i++)
			settle_one(l, taken[i].id, again && again[i]);
	ledger_free_out(l);
	marks_clear(&l->taken);
	pthread_mutex_unlock(&l->lock);
	ledger_flush(l);
}

bool ledger_gone(struct ledger *l, uint64_t id)
{
	const struct mark_entry *e;
	bool gone;

	pthread_mutex_lock(&l->lock);
	e = marks_get(&l->taken, id);
	gone = e && e->gone;
	pthread_mutex_unlock(&l->lock);
	return gone;
}

/* ---- looking ---- */

uint64_t ledger_seq(struct ledger *l)
{
	uint64_t seq;

	pthread_mutex_lock(&l->lock);
	seq = l->seq;
	pthread_mutex_unlock(&l->lock);
	return seq;
}

bool ledger_reached(struct ledger *l, uint64_t seq, const char *path)
{
	bool reached;

	pthread_mutex_lock(&l->lock);
	if (path)
		ledger_catch_up(l);
	reached = marks_reached(&l->pending, seq, path) && marks_reached(&l->taken, seq, path);
	pthread_mutex_unlock(&l->lock);
	return reached;
}

void ledger_stats(struct ledger *l, struct ledger_stats *s)
{
	int64_t since;

	pthread_mutex_lock(&l->lock);
	*s = (struct ledger_stats){
		.dirs = marks_count(&l->pending) + marks_count(&l->taken),
		.names = l->pending.names + l->taken.names,
		.all = l->pending.all || l->taken.all,
		.held = l->held > 0,
		.since = marks_since(&l->pending),
		.bytes = l->bytes,
		.memory = marks_memory(&l->pending) + marks_memory(&l->taken),
	};
	since = marks_since(&l->taken);
	if (since && (!s->since || since < s->since))
		s->since = since;
	pthread_mutex_unlock(&l->lock);
}
