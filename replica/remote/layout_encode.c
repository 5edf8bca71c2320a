// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Manifests that changed, deepest first, because a parent has the hashes of its
 * children. They go up side by side while the next are made: nobody refers to them
 * before the head. What could not be stored stays dirty.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/log.h"

#define WHOLE UINT32_MAX         /* of a directory: its manifest or index */

struct outgoing {
	struct job job;
	struct layout_dir *d;       /* referenced */
	uint32_t page;
	bool looking;
	unsigned tries;
	char *data;
	size_t len;
	uint8_t sha256[SHA256_LEN];
	char name[OBJECT_NAME_MAX];
};

/* ---- one object ---- */

static void out_came(struct layout *l, struct job *j);

static void out_free(struct layout *l, struct outgoing *o)
{
	o->d->outgoing--;
	layout_dir_put(l, o->d);
	free(o->data);
	free(o);
}

static void out_failed(struct layout *l, struct outgoing *o, int err, const char *text)
{
	o->d->dirty = true;
	if (o->page != WHOLE)
		o->d->page[o->page].dirty = true;
	layout_trouble(l, err, text);
	out_free(l, o);
}

static void out_send(struct layout *l, struct outgoing *o, bool look)
{
	o->looking = look;
	o->job = (struct job){ .done = out_came };
	o->job.op.name = o->name;
	o->job.op.verb = look ? STORE_HEAD : STORE_PUT;
	if (!look) {
		o->job.op.data = o->data;
		o->job.op.len = o->len;
		o->job.op.sha256 = o->sha256;
	}
	job_start(l, &o->job);
}

static void out_looked(struct layout *l, struct outgoing *o)
{
	const struct store_op *op = &o->job.op;
	char text[STORE_ERROR_MAX];

	if (!op->result && (op->size == o->len || op->size == UINT64_MAX)) {
		if (l->run && l->run->stored)
			l->run->stored(l->run->arg, o->name, o->len, o->d, NULL);
		out_free(l, o);
		return;
	}
	if (++o->tries < LAYOUT_TRIES) {
		out_send(l, o, false);
		return;
	}
	snprintf(text, sizeof(text), "%s: the server says that it is stored, and has not got it",
		 o->name);
	out_failed(l, o, -EAGAIN, text);
}

static void out_came(struct layout *l, struct job *j)
{
	struct outgoing *o = (struct outgoing *)((char *)j - offsetof(struct outgoing, job));
	int err = j->op.result;

	if (err && !(o->looking && err == -ENOENT))
		out_failed(l, o, err, j->op.error);
	else if (o->looking)
		out_looked(l, o);
	else
		out_send(l, o, true);
}

/* data becomes the object's. */
static int out_start(struct layout *l, struct layout_dir *d, uint32_t page, uint64_t seq,
		     char *data, size_t len, const uint8_t sha256[SHA256_LEN])
{
	struct outgoing *o = calloc(1, sizeof(*o));

	if (!o) {
		free(data);
		return -ENOMEM;
	}
	o->d = d;
	layout_dir_ref(d);
	d->outgoing++;
	o->page = page;
	o->data = data;
	o->len = len;
	memcpy(o->sha256, sha256, SHA256_LEN);
	if (page == WHOLE)
		object_name_dir(o->name, d->id, seq);
	else
		object_name_page(o->name, d->id, seq, page);
	job_room(l);
	out_send(l, o, false);
	return 0;
}

/* A new name: of what is written over an equal length could not be told whether it arrived. The
 * object before goes some time after this head; at once, if no head knows it. */
static int ref_renew(struct layout *l, struct layout_dir *d, uint32_t page,
		     struct manifest_ref *ref)
{
	char name[OBJECT_NAME_MAX];
	int err = 0;

	if (ref->seq) {
		if (page == WHOLE)
			object_name_dir(name, d->id, ref->seq);
		else
			object_name_page(name, d->id, ref->seq, page);
		err = ref_is_ours(l, ref->seq) ? step_delete_now(l, name, false) :
						 names_add(&l->drop, name);
	}
	if (!err)
		ref->seq = ref_next(l);
	return err;
}

/* ---- one directory ---- */

static int write_page(struct layout *l, struct layout_dir *d, uint32_t no)
{
	struct page *p = &d->page[no];
	char *data;
	size_t len;
	int err = ref_renew(l, d, no, &p->ref);

	if (!err)
		err = manifest_encode_page(d->id, d->bits, no, p->e, p->n, &data, &len,
					   p->ref.sha256);
	if (err)
		return err;
	p->dirty = false;
	return out_start(l, d, no, p->ref.seq, data, len, p->ref.sha256);
}

static int encode_index(const struct layout_dir *d, struct manifest *m, char **data, size_t *len,
			uint8_t sha256[SHA256_LEN])
{
	size_t i, n = (size_t)1 << d->bits;
	int err;

	m->page = calloc(n, sizeof(*m->page));
	if (!m->page)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		m->page[i].ref = d->page[i].ref;
		m->page[i].entries = d->page[i].count;
	}
	err = manifest_encode(m, data, len, sha256);
	free(m->page);
	return err;
}

static int write_whole(struct layout *l, struct layout_dir *d)
{
	struct manifest m = { .id = d->id, .bits = d->bits };
	char *data;
	size_t len;
	int err = ref_renew(l, d, WHOLE, &d->ref);

	if (err)
		return err;
	if (d->bits) {
		err = encode_index(d, &m, &data, &len, d->ref.sha256);
	} else {
		m.entry = d->page[0].e;
		m.n = d->page[0].n;
		err = manifest_encode(&m, &data, &len, d->ref.sha256);
	}
	if (err)
		return err;
	d->dirty = false;
	d->untold = true;
	if (!d->bits)
		d->page[0].dirty = false;
	return out_start(l, d, WHOLE, d->ref.seq, data, len, d->ref.sha256);
}

static int rewrite_pages(struct layout *l, struct layout_dir *d)
{
	struct page *p;
	unsigned i;
	int err = dir_ready(l, d);

	for (i = 0; !err && i < 1u << d->bits; i++) {
		err = page_get(l, d, i, &p);
		if (!err)
			p->dirty = true;
	}
	if (!err)
		d->rewrite = false;
	return err;
}

static int write_dir(struct layout *l, struct layout_dir *d)
{
	unsigned bits = manifest_bits(d->count, d->bits);
	struct page *p;
	unsigned i;
	int err = d->rewrite ? rewrite_pages(l, d) : 0;

	if (!err && bits != d->bits)
		err = dir_set_bits(l, d, bits);
	for (i = 0; !err && d->bits && i < 1u << d->bits; i++)
		if (d->page[i].dirty)
			err = write_page(l, d, i);
	if (!err && !d->bits)
		err = page_get(l, d, 0, &p);
	return err ? err : write_whole(l, d);
}

/* The parent's entry says what the directory is now. */
static int tell_parent(struct layout *l, struct layout_dir *d)
{
	struct manifest_entry *e;
	int err;

	if (!d->parent)
		d->untold = false;
	if (!d->untold)
		return 0;
	err = entry_get(l, d->parent, d->name, &e);
	if (err && err != -ENOENT)
		return err;
	d->untold = false;
	if (err)
		return 0;
	if (e->dir.seq == d->ref.seq && !memcmp(e->dir.sha256, d->ref.sha256, SHA256_LEN))
		return 0;
	e->dir = d->ref;
	e->files = d->files;
	e->bytes = d->bytes;
	entry_changed(d->parent, d->name);
	return 0;
}

/* ---- all ---- */

static size_t queue(struct layout *l)
{
	struct layout_dir *d, *up;
	size_t n = 0;

	for (d = l->oldest; d; d = d->newer)
		d->queued = false;
	for (d = l->oldest; d; d = d->newer) {
		if (!(d->dirty || d->untold) || d->gone)
			continue;
		for (up = d; up && !up->queued; up = up->parent) {
			up->queued = true;
			n++;
		}
	}
	return n;
}

static unsigned depth_of(const struct layout_dir *d)
{
	unsigned n = 0;

	for (; d->parent; d = d->parent)
		n++;
	return n;
}

static int deepest_first(const void *a, const void *b)
{
	const struct layout_dir *x = *(struct layout_dir *const *)a;
	const struct layout_dir *y = *(struct layout_dir *const *)b;

	return x->depth == y->depth ? 0 : x->depth > y->depth ? -1 : 1;
}

/* Those queued, referenced, in the order to be written. */
static struct layout_dir **in_order(struct layout *l, size_t n)
{
	struct layout_dir **list = calloc(n + 1, sizeof(*list)), *d;
	size_t k = 0;

	for (d = l->oldest; list && d; d = d->newer) {
		if (!d->queued)
			continue;
		d->depth = depth_of(d);
		layout_dir_ref(d);
		list[k++] = d;
	}
	if (list)
		qsort(list, k, sizeof(*list), deepest_first);
	return list;
}

int manifests_write(struct layout *l)
{
	size_t i, n = queue(l);
	struct layout_dir **list = in_order(l, n);
	int err = list ? 0 : -ENOMEM;

	for (i = 0; list && i < n; i++) {
		struct layout_dir *d = list[i];

		if (!err && !l->trouble && !d->gone) {
			err = d->dirty ? write_dir(l, d) : 0;
			/* Also where it was written before, in a commit that failed. */
			if (!err)
				err = tell_parent(l, d);
		}
		layout_dir_put(l, d);
	}
	job_drain(l);
	free(list);
	return err ? err : l->trouble;
}
