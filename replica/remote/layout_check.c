// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Whether what the server says it has stored is there, with its size. One listing for
 * many files of one directory, else a request each. What is not there is sent again, some
 * times.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/log.h"

#define LIST_FROM 16u    /* files of a directory: then one listing is cheaper */
#define LIST_TIMES 4u    /* ... if it has at most so many times as many entries */

static void put_missing(struct layout *l, struct put *p, const char *what)
{
	p->stage = PUT_WAITS;
	if (++p->tries < LAYOUT_TRIES) {
		log_warn("remote: %s: the server says that it is stored, but %s: sent again",
			 p->object, what);
		return;
	}
	(void)l;
	p->stage = PUT_FAILED;
	p->result = -EAGAIN;
	snprintf(p->error, sizeof(p->error), "the server says that it is stored, but %s, %u times",
		 what, p->tries);
}

static void put_found(struct layout *l, struct put *p, uint64_t size)
{
	if (size != p->e.size && size != UINT64_MAX) {
		put_missing(l, p, "it has another size");
		return;
	}
	p->stage = PUT_GOOD;
	if (l->run && l->run->stored)
		l->run->stored(l->run->arg, p->object, p->e.size, p->d, p->e.name);
}

/* ---- a request each ---- */

struct look {
	struct job job;
	struct put *put;
	bool leaf;
	char name[LAYOUT_NAME_MAX];
};

static void look_came(struct layout *l, struct job *j)
{
	struct look *k = (struct look *)((char *)j - offsetof(struct look, job));
	struct put *p = k->put;
	uint64_t want = k->leaf ? p->leaf_len : p->e.size;
	bool bad = j->op.result == -ENOENT;

	if (!j->op.result && j->op.size != want && j->op.size != UINT64_MAX)
		bad = true;
	if (j->op.result && !bad)
		layout_trouble(l, j->op.result, j->op.error);
	else if (p->stage != PUT_SENT)
		; /* the other one was not there */
	else if (bad)
		put_missing(l, p, j->op.result ? "it is not there" : "it has another size");
	else if (!k->leaf)
		put_found(l, p, j->op.size);
	else if (l->run && l->run->stored)
		l->run->stored(l->run->arg, k->name, p->leaf_len, p->d, p->e.name);
	free(k);
}

static void look_start(struct layout *l, struct put *p, bool leaf)
{
	struct look *k;

	job_room(l);
	if (l->trouble || p->stage != PUT_SENT)
		return;
	k = calloc(1, sizeof(*k));
	if (!k) {
		layout_trouble(l, -ENOMEM, strerror(ENOMEM));
		return;
	}
	k->put = p;
	k->leaf = leaf;
	snprintf(k->name, sizeof(k->name), "%s", leaf ? p->leaf : p->object);
	k->job = (struct job){ .op = { .verb = STORE_HEAD, .name = k->name }, .done = look_came };
	job_start(l, &k->job);
}

/* ---- one listing ---- */

struct listing {
	struct layout *l;
	struct put **put;           /* sorted by name */
	size_t n;
};

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct put *const *)a)->e.name, (*(struct put *const *)b)->e.name);
}

static int listing_found(void *arg, const struct store_found *f)
{
	struct listing *x = arg;
	size_t lo = 0, hi = x->n, mid;
	int c;

	while (lo < hi) {
		mid = (lo + hi) / 2;
		c = strcmp(x->put[mid]->e.name, f->name);
		if (!c) {
			if (!f->dir && f->size != UINT64_MAX && x->put[mid]->stage == PUT_SENT)
				put_found(x->l, x->put[mid], f->size);
			return 0;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return 0;
}

static bool is_listable(const struct put *p, const struct layout_dir *d)
{
	return p->d == d && p->stage == PUT_SENT && !p->listed && !p->e.by_id && !d->hidden;
}

/* What the listing has not is asked for one by one. */
static int check_listed(struct layout *l, struct layout_dir *d, size_t n)
{
	struct listing x = { .l = l };
	char folder[LAYOUT_NAME_MAX];
	struct job j = { .op = { .verb = STORE_LIST, .name = folder, .found = listing_found,
				 .found_arg = &x } };
	struct put *p;
	int err = dir_path(d, NULL, folder);

	x.put = err ? NULL : calloc(n, sizeof(*x.put));
	if (!x.put)
		return 0;
	for (p = l->puts; p && x.n < n; p = p->next)
		if (is_listable(p, d))
			x.put[x.n++] = p;
	for (n = 0; n < x.n; n++)
		x.put[n]->listed = true;
	qsort(x.put, x.n, sizeof(*x.put), by_name);
	err = job_run(l, &j);
	free(x.put);
	return err == -ECANCELED || err == -EAGAIN ? layout_op_failed(l, &j.op) : 0;
}

static int check_lists(struct layout *l)
{
	const struct put *p, *q;
	size_t n;
	int err = 0;

	for (p = l->puts; p && !err; p = p->next) {
		if (!is_listable(p, p->d))
			continue;
		for (n = 0, q = p; q; q = q->next)
			n += is_listable(q, p->d);
		if (n >= LIST_FROM && layout_count(p->d) <= LIST_TIMES * n)
			err = check_listed(l, p->d, n);
	}
	return err;
}

/* ---- all that were sent ---- */

int puts_check(struct layout *l)
{
	struct put *p;
	int err;

	for (p = l->puts; p; p = p->next)
		if (p->stage == PUT_SENT && *p->leaf)
			look_start(l, p, true);
	job_drain(l);
	err = l->trouble ? 0 : check_lists(l);
	if (err)
		return err;
	for (p = l->puts; p; p = p->next)
		if (p->stage == PUT_SENT)
			look_start(l, p, false);
	job_drain(l);
	return l->trouble;
}
