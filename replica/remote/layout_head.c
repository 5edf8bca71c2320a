// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Heads. Once all that a head refers to is stored, its bytes are fixed, and nothing else
 * is done at the store until it is known to be there, also if that takes several calls:
 * a head that was sent and not acknowledged may show up at any time.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/log.h"

/* ---- looking ---- */

static int upwards(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Numbers of the objects of a folder, sorted; what has another name is left alone. */
static int list_numbers(struct layout *l, const char *folder, enum object_kind kind, uint64_t **seq,
			size_t *n)
{
	char name[LAYOUT_NAME_MAX];
	struct object_name o;
	struct names list = { 0 };
	int err = object_list(l, folder, false, &list);
	size_t i;

	*n = 0;
	*seq = err ? NULL : calloc(list.n + 1, sizeof(**seq));
	for (i = 0; *seq && i < list.n; i++) {
		snprintf(name, sizeof(name), "%s/%.255s", folder, list.name[i]);
		if (!object_name_parse(name, &o) && o.kind == kind && o.seq &&
		    o.seq < UINT64_MAX >> 20)
			(*seq)[(*n)++] = o.seq;
	}
	names_clear(&list);
	if (*seq)
		qsort(*seq, *n, sizeof(**seq), upwards);
	return err ? err : *seq ? 0 : -ENOMEM;
}

int heads_list(struct layout *l, uint64_t **seq, size_t *n)
{
	return list_numbers(l, OBJECT_FOLDER_HEAD, OBJECT_HEAD, seq, n);
}

int intents_list(struct layout *l, uint64_t **seq, size_t *n)
{
	return list_numbers(l, OBJECT_FOLDER_INTENT, OBJECT_INTENT, seq, n);
}

struct numbered {
	uint64_t seq;
	struct remote_head *h;
};

static int decode_head(void *arg, const char *text, size_t len, char *error, size_t n)
{
	struct numbered *x = arg;
	int err = remote_head_decode(text, len, x->h, error, n);

	if (err || x->h->seq == x->seq)
		return err;
	remote_head_clear(x->h);
	snprintf(error, n, "it says that it is another one");
	return -EBADMSG;
}

int head_read(struct layout *l, uint64_t seq, struct remote_head *h)
{
	struct numbered x = { seq, h };
	char name[OBJECT_NAME_MAX];

	object_name_head(name, seq);
	return object_load(l, name, decode_head, &x);
}

static int somebody_else(struct layout *l, uint64_t seq)
{
	return layout_failed(l, -EBUSY, "somebody else writes to this remote: head %" PRIu64
			     " is not ours", seq);
}

int heads_look(struct layout *l, uint64_t **seq, size_t *n)
{
	int err = heads_list(l, seq, n);

	if (err || !*n || (*seq)[*n - 1] <= l->top)
		return err;
	err = somebody_else(l, (*seq)[*n - 1]);
	free(*seq);
	*seq = NULL;
	return err;
}

/* ---- fixing ---- */

static void move_counts(struct layout_staged *to, struct layout_staged *from)
{
	to->puts += from->puts;
	to->put_bytes += from->put_bytes;
	to->moves += from->moves;
	to->removes += from->removes;
	to->sets += from->sets;
	*from = (struct layout_staged){ 0 };
}

static void fill_head(struct layout *l, struct remote_head *h)
{
	*h = (struct remote_head){ .seq = l->last, .time = layout_now() };
	memcpy(h->volume, l->volume, sizeof(h->volume));
	strcpy(h->writer, l->writer);
	h->root = l->root->ref;
	h->links = l->links->ref;
	h->files = l->root->files;
	h->bytes = l->root->bytes + l->links->bytes;
	if (h->bytes > INT64_MAX) /* the directory of links was lost, or the root */
		h->bytes = l->root->bytes;
	h->uncounted = links_dangle(l);
	h->drop = l->drop.name;
	h->n_drop = l->drop.n;
}

int head_freeze(struct layout *l)
{
	struct remote_head h;
	struct step *s;
	int err;

	if (!l->opened)
		number_next(l);
	fill_head(l, &h);
	err = manifest_entry_copy(&h.attrs, &l->attrs);
	if (!err)
		err = remote_head_encode(&h, &l->head_data, &l->head_len);
	if (err) {
		manifest_entry_clear(&h.attrs);
		return layout_failed(l, err, "head %" PRIu64 ": %s", h.seq, strerror(-err));
	}
	l->head_next = h;
	l->drop = (struct names){ 0 };
	l->opened = false;
	l->doubts_noted = false;
	l->fixed = l->last << 20 | 0xfffff;
	l->running_no = 0;
	for (s = l->steps; s; s = s->next)
		s->due = true;
	move_counts(&l->frozen, &l->live);
	l->good_frozen = l->good;
	l->good = NULL;
	return 0;
}

/* ---- writing ---- */

/* 0: it is there as it should be; -ENOENT; -EBADMSG: something torn; -EBUSY. */
static int head_compare(struct layout *l)
{
	char name[OBJECT_NAME_MAX], error[200], *data;
	struct remote_head other;
	size_t len;
	int err;

	object_name_head(name, l->head_next.seq);
	err = object_get(l, name, &data, &len);
	if (err)
		return err;
	if (len == l->head_len && !memcmp(data, l->head_data, len))
		err = 0;
	else if (remote_head_decode(data, len, &other, error, sizeof(error)))
		err = layout_failed(l, -EBADMSG, "%s: the server has not got what was sent", name);
	else {
		remote_head_clear(&other);
		err = somebody_else(l, l->head_next.seq);
	}
	free(data);
	return err;
}

static int head_send(struct layout *l, bool there)
{
	bool exclusive = !there && store_caps(l->store)->exclusive;
	char name[OBJECT_NAME_MAX];
	struct job j = { .op = { .verb = STORE_PUT, .name = name, .data = l->head_data,
				 .len = l->head_len, .exclusive = exclusive } };
	int err;

	object_name_head(name, l->head_next.seq);
	err = job_run(l, &j);
	return err && err != -EEXIST ? layout_op_failed(l, &j.op) : 0;
}

static int head_put(struct layout *l, bool there)
{
	unsigned i;
	int err = there ? head_compare(l) : -ENOENT;

	for (i = 0; i < LAYOUT_TRIES && (err == -ENOENT || err == -EBADMSG); i++) {
		err = head_send(l, err == -EBADMSG);
		if (!err)
			err = head_compare(l);
	}
	return err == -ENOENT || err == -EBADMSG ? -EAGAIN : err;
}

/* It is there: it is the state now. */
static void head_arrived(struct layout *l)
{
	struct put *p;

	l->top = l->head_next.seq;
	remote_head_clear(&l->head);
	l->head = l->head_next;
	l->head_next = (struct remote_head){ 0 };
	free(l->head_data);
	l->head_data = NULL;
	l->frozen = (struct layout_staged){ 0 };
	while ((p = l->good_frozen)) {
		l->good_frozen = p->next;
		if (l->run && l->run->done)
			l->run->done(l->run->arg, p->d, p->e.name, 0, "");
		put_free(l, p);
	}
}

int head_write(struct layout *l)
{
	uint64_t *seq = NULL, top = l->top;
	bool there;
	size_t n = 0;
	int err;

	err = intent_of_doubts(l);
	if (err)
		return err;
	l->top = l->head_next.seq;
	err = heads_look(l, &seq, &n);
	l->top = top;
	if (err)
		return err;
	there = n && seq[n - 1] == l->head_next.seq;
	/* One that is neither ours nor the one we are about to write. */
	if (n - there && seq[n - 1 - there] > top)
		err = somebody_else(l, seq[n - 1 - there]);
	free(seq);
	if (!err)
		err = head_put(l, there);
	if (!err)
		head_arrived(l);
	return err;
}
