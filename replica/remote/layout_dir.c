// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The cache of directories. One is found by its parent and its name: during a
 * rename that the store cannot do in one go there are two of one id. A directory
 * references its parent, so all above one that is cached are too, and their counts can be kept
 * up. What is clean and used by nobody goes when memory is short, longest unused first.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/log.h"
#include "replica/hash.h"

static uint64_t place_hash(const struct layout_dir *parent, const char *name)
{
	return hash_bytes(name, strlen(name), (uint64_t)(uintptr_t)parent);
}

/* ---- the table ---- */

static int table_grow(struct layout *l)
{
	size_t n = l->buckets ? 2 * l->buckets : 256, i;
	struct layout_dir **bucket, *d, *next;

	if (l->n_dirs < l->buckets)
		return 0;
	bucket = calloc(n, sizeof(*bucket));
	if (!bucket)
		return l->buckets ? 0 : -ENOMEM;
	for (i = 0; i < l->buckets; i++)
		for (d = l->bucket[i]; d; d = next) {
			next = d->chain;
			d->chain = bucket[d->hash & (n - 1)];
			bucket[d->hash & (n - 1)] = d;
		}
	free(l->bucket);
	l->bucket = bucket;
	l->buckets = n;
	return 0;
}

static void table_add(struct layout *l, struct layout_dir *d)
{
	struct layout_dir **b = &l->bucket[(d->hash = place_hash(d->parent, d->name)) &
					   (l->buckets - 1)];

	d->chain = *b;
	*b = d;
}

static void table_remove(struct layout *l, struct layout_dir *d)
{
	struct layout_dir **p = &l->bucket[d->hash & (l->buckets - 1)];

	while (*p && *p != d)
		p = &(*p)->chain;
	if (*p)
		*p = d->chain;
	d->chain = NULL;
}

struct layout_dir *dir_cached(struct layout *l, struct layout_dir *parent, const char *name)
{
	uint64_t hash = place_hash(parent, name);
	struct layout_dir *d;

	for (d = l->bucket[hash & (l->buckets - 1)]; d; d = d->chain)
		if (d->hash == hash && d->parent == parent && !strcmp(d->name, name))
			return d;
	return NULL;
}

/* ---- order of use ---- */

static void order_remove(struct layout *l, struct layout_dir *d)
{
	*(d->older ? &d->older->newer : &l->oldest) = d->newer;
	*(d->newer ? &d->newer->older : &l->newest) = d->older;
}

static void order_add(struct layout *l, struct layout_dir *d)
{
	d->newer = NULL;
	d->older = l->newest;
	*(l->newest ? &l->newest->newer : &l->oldest) = d;
	l->newest = d;
}

void dir_touch(struct layout *l, struct layout_dir *d)
{
	if (l->newest == d)
		return;
	order_remove(l, d);
	order_add(l, d);
}

/* ---- life ---- */

int dir_new(struct layout *l, struct layout_dir *parent, const char *name, uint64_t id,
	    struct layout_dir **out)
{
	struct layout_dir *d = calloc(1, sizeof(*d));
	int err = d ? table_grow(l) : -ENOMEM;

	if (!err) {
		d->name = strdup(name);
		d->page = calloc(1, sizeof(*d->page));
		err = d->name && d->page ? 0 : -ENOMEM;
	}
	if (err) {
		if (d) {
			free(d->name);
			free(d->page);
		}
		free(d);
		return err;
	}
	d->id = id;
	d->users = 1;
	d->parent = parent;
	if (parent)
		parent->users++;
	table_add(l, d);
	order_add(l, d);
	l->n_dirs++;
	l->cached += sizeof(*d);
	*out = d;
	return 0;
}

static void pages_clear(struct layout *l, struct layout_dir *d)
{
	size_t i;

	for (i = 0; i < (size_t)1 << d->bits; i++)
		page_clear(l, &d->page[i]);
}

static void dir_free(struct layout *l, struct layout_dir *d)
{
	if (!d->gone)
		table_remove(l, d);
	order_remove(l, d);
	pages_clear(l, d);
	if (d->parent)
		layout_dir_put(l, d->parent);
	l->n_dirs--;
	l->cached -= sizeof(*d);
	free(d->page);
	free(d->name);
	free(d);
}

void layout_dir_ref(struct layout_dir *d)
{
	d->users++;
}

void layout_dir_put(struct layout *l, struct layout_dir *d)
{
	if (!--d->users && d->gone)
		dir_free(l, d);
}

/* At the end; whoever still has one has lost it. */
void dir_free_all(struct layout *l)
{
	struct layout_dir *d;

	for (d = l->oldest; d; d = d->newer)
		d->parent = NULL;
	while (l->oldest) {
		l->oldest->gone = true;
		dir_free(l, l->oldest);
	}
	free(l->bucket);
	l->bucket = NULL;
	l->buckets = 0;
}

int dir_rehang(struct layout *l, struct layout_dir *d, struct layout_dir *parent, const char *name)
{
	struct layout_dir *before = d->parent;
	char *copy = strdup(name);

	if (!copy)
		return -ENOMEM;
	table_remove(l, d);
	free(d->name);
	d->name = copy;
	d->parent = parent;
	if (parent)
		parent->users++;
	table_add(l, d);
	if (before)
		layout_dir_put(l, before);
	return 0;
}

void dir_gone(struct layout *l, struct layout_dir *d)
{
	if (d->gone)
		return;
	table_remove(l, d);
	d->gone = true;
	d->dirty = d->rewrite = false;
}

void dir_forget(struct layout *l, struct layout_dir *d)
{
	struct layout_dir *c;

	if (dir_drop(l, d) < 0)
		log_warn("%s: objects of its manifest stay at the store", d->name);
	for (c = l->oldest; c; c = c->newer)
		if (c != d && !c->gone && dir_is_below(c, d))
			dir_gone(l, c);
	dir_account(d, -(int64_t)d->files, -(int64_t)d->bytes);
	while (d->doubts)
		doubt_remove(l, d->doubts);
	pages_clear(l, d);
	d->bits = 0;
	d->page[0] = (struct page){ .loaded = true };
	d->ref = (struct manifest_ref){ 0 };
	d->ready = true;
	d->dirty = true;
	d->count = 0;
}

/* ---- memory ---- */

static bool evict_pages(struct layout *l, struct layout_dir *d)
{
	bool all = true;
	size_t i;

	for (i = 0; i < (size_t)1 << d->bits; i++) {
		struct page *p = &d->page[i];

		if (!p->loaded)
			continue;
		/* The one used last has the entry that somebody looks at. */
		if (p->dirty || p->pins || p->used == l->tick || (!d->bits && !d->ref.seq))
			all = false;
		else
			page_clear(l, p);
	}
	return all;
}

void dir_evict(struct layout *l)
{
	struct layout_dir *d, *newer, *last = l->newest;

	if (l->cached <= l->limit)
		return;
	for (d = l->oldest; d && l->cached > l->limit / 4 * 3; d = newer) {
		newer = d == last ? NULL : d->newer;
		if (d->gone || d->dirty || d->rewrite || d->untold || d->outgoing || !d->ready)
			continue;
		if (evict_pages(l, d) && !d->users)
			dir_free(l, d);
	}
}

/* ---- where it is ---- */

void dir_account(struct layout_dir *d, int64_t files, int64_t bytes)
{
	for (; d; d = d->parent) {
		d->files += (uint64_t)files;
		d->bytes += (uint64_t)bytes;
	}
}

bool dir_is_links(const struct layout_dir *d)
{
	return !d->parent && d->id == LAYOUT_LINKS_ID;
}

bool dir_is_below(const struct layout_dir *d, const struct layout_dir *above)
{
	for (d = d->parent; d; d = d->parent)
		if (d == above)
			return true;
	return false;
}

/* Puts text and a '/' before what is at *at. */
static int put_before(char *out, size_t *at, const char *text)
{
	size_t n = strlen(text), slash = out[*at] != '\0';

	if (n + slash > *at)
		return -ENAMETOOLONG;
	if (slash)
		out[--*at] = '/';
	*at -= n;
	memcpy(out + *at, text, n);
	return 0;
}

int dir_path(const struct layout_dir *d, const char *name, char *out)
{
	size_t at = LAYOUT_NAME_MAX - 1;
	int err = 0;

	out[at] = '\0';
	if (name)
		err = put_before(out, &at, name);
	for (; !err && d->parent; d = d->parent)
		err = put_before(out, &at, d->name);
	if (!err && d->id == LAYOUT_LINKS_ID)
		err = put_before(out, &at, LAYOUT_LINKS_PATH);
	if (err)
		return err;
	memmove(out, out + at, LAYOUT_NAME_MAX - at);
	return 0;
}

uint64_t layout_dir_id(const struct layout_dir *d)
{
	return d->id;
}

void layout_dir_path(const struct layout_dir *d, char *out, size_t size)
{
	char path[LAYOUT_NAME_MAX];

	if (dir_path(d, NULL, path) || strlen(path) >= size)
		strcpy(path, "?"); /* no path that is ours, and never the root */
	if (size > strlen(path))
		memcpy(out, path, strlen(path) + 1);
}

int dir_drop(struct layout *l, struct layout_dir *d)
{
	char name[OBJECT_NAME_MAX];
	size_t i;
	int err = 0;

	for (i = 0; d->bits && !err && i < (size_t)1 << d->bits; i++) {
		if (!d->page[i].ref.seq)
			continue;
		object_name_page(name, d->id, d->page[i].ref.seq, (unsigned)i);
		err = names_add(&l->drop, name);
	}
	if (d->ref.seq && !err) {
		object_name_dir(name, d->id, d->ref.seq);
		err = names_add(&l->drop, name);
	}
	return err;
}
