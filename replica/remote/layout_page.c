// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Entries of a directory, in one page or in 1 << bits of them by a hash of the
 * name. A page is read when it is asked for, and believed by the hash that its
 * index, its parent or the head has for it.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

static size_t entry_bytes(const struct manifest_entry *e)
{
	size_t i, n = sizeof(*e) + strlen(e->name) + 32 + (e->target ? strlen(e->target) : 0);

	for (i = 0; i < e->n_xattr; i++)
		n += sizeof(*e->xattr) + strlen(e->xattr[i].name) + e->xattr[i].len + 48;
	return n;
}

static void page_weigh(struct layout *l, struct page *p, size_t more, size_t less)
{
	p->bytes += more;
	p->bytes -= less < p->bytes ? less : p->bytes;
	l->cached += more;
	l->cached -= less < l->cached ? less : l->cached;
}

void page_clear(struct layout *l, struct page *p)
{
	size_t i;

	for (i = 0; i < p->n; i++)
		manifest_entry_clear(&p->e[i]);
	free(p->e);
	p->e = NULL;
	p->n = p->room = 0;
	p->loaded = false;
	page_weigh(l, p, 0, p->bytes);
	p->bytes = 0;
}

int page_take_over(struct layout *l, struct page *p, struct manifest_entry *e, size_t n)
{
	size_t i, bytes = 0;

	for (i = 0; i < n; i++)
		bytes += entry_bytes(&e[i]);
	p->e = e;
	p->n = p->room = n;
	p->count = (uint32_t)n;
	p->loaded = true;
	page_weigh(l, p, bytes, 0);
	return 0;
}

/* ---- reading manifests ---- */

/* That it is not there is damage, too. */
static int read_manifest(struct layout *l, const char *name, object_decoder *decode, void *arg)
{
	int err = object_load(l, name, decode, arg);

	return err == -ENOENT ? layout_failed(l, -EBADMSG, "%s is missing", name) : err;
}

struct reading {
	struct layout_dir *d;
	unsigned no;
	struct manifest m;
	struct manifest_entry *e;
	size_t n;
};

static int decode_page(void *arg, const char *text, size_t len, char *error, size_t n)
{
	struct reading *r = arg;

	return manifest_decode_page(text, len, r->d->page[r->no].ref.sha256, r->d->id, r->d->bits,
				    r->no, &r->e, &r->n, error, n);
}

static int decode_manifest(void *arg, const char *text, size_t len, char *error, size_t n)
{
	struct reading *r = arg;

	return manifest_decode(text, len, r->d->ref.sha256, &r->m, error, n);
}

static int set_index(struct layout_dir *d, const struct manifest *m)
{
	size_t i, n = (size_t)1 << m->bits;
	struct page *page = calloc(n, sizeof(*page));

	if (!page)
		return -ENOMEM;
	d->count = 0;
	for (i = 0; i < n; i++) {
		page[i].ref = m->page[i].ref;
		page[i].count = m->page[i].entries;
		page[i].loaded = !page[i].count;
		d->count += page[i].count;
	}
	free(d->page);
	d->page = page;
	d->bits = m->bits;
	return 0;
}

/* Of a directory that has no page loaded. */
int layout_load_manifest(struct layout *l, struct layout_dir *d)
{
	struct reading r = { .d = d };
	char name[OBJECT_NAME_MAX];
	int err;

	if (!d->ref.seq) {
		d->page[0].loaded = true;
		return 0;
	}
	object_name_dir(name, d->id, d->ref.seq);
	err = read_manifest(l, name, decode_manifest, &r);
	if (err)
		return err;
	if (r.m.id != d->id || (d->ready && r.m.bits != d->bits)) {
		err = layout_failed(l, -EBADMSG, "%s is of another directory", name);
	} else if (r.m.bits) {
		err = set_index(d, &r.m);
	} else {
		page_take_over(l, &d->page[0], r.m.entry, r.m.n);
		d->count = r.m.n;
		r.m.entry = NULL;
		r.m.n = 0;
	}
	manifest_free(&r.m);
	return err;
}

int dir_ready(struct layout *l, struct layout_dir *d)
{
	int err;

	if (d->ready)
		return 0;
	if (d->gone)
		return -ENOENT;
	dir_evict(l);
	err = layout_load_manifest(l, d);
	if (!err)
		d->ready = true;
	return err;
}

static int load_page(struct layout *l, struct layout_dir *d, unsigned no)
{
	struct reading r = { .d = d, .no = no };
	char name[OBJECT_NAME_MAX];
	int err;

	object_name_page(name, d->id, d->page[no].ref.seq, no);
	err = read_manifest(l, name, decode_page, &r);
	if (!err && r.n != d->page[no].count) {
		while (r.n)
			manifest_entry_clear(&r.e[--r.n]);
		free(r.e);
		return layout_failed(l, -EBADMSG, "%s has not as many entries as its index says",
				     name);
	}
	return err ? err : page_take_over(l, &d->page[no], r.e, r.n);
}

int page_get(struct layout *l, struct layout_dir *d, unsigned no, struct page **out)
{
	int err = dir_ready(l, d);

	dir_touch(l, d);
	if (!err && !d->page[no].loaded) {
		dir_evict(l);
		err = d->bits ? load_page(l, d, no) : layout_load_manifest(l, d);
	}
	if (err)
		return err;
	*out = &d->page[no];
	(*out)->used = ++l->tick;
	return 0;
}

int page_of(struct layout *l, struct layout_dir *d, const char *name, struct page **out)
{
	int err = dir_ready(l, d);

	return err ? err : page_get(l, d, manifest_page_of(name, d->bits), out);
}

/* ---- entries ---- */

static bool search(const struct page *p, const char *name, size_t *at)
{
	size_t lo = 0, hi = p->n, mid;
	int c;

	while (lo < hi) {
		mid = (lo + hi) / 2;
		c = strcmp(p->e[mid].name, name);
		if (!c) {
			*at = mid;
			return true;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*at = lo;
	return false;
}

int entry_get(struct layout *l, struct layout_dir *d, const char *name, struct manifest_entry **e)
{
	struct layout_dir *child;
	struct page *p;
	size_t at;
	int err = page_of(l, d, name, &p);

	if (err)
		return err;
	if (!search(p, name, &at))
		return -ENOENT;
	*e = &p->e[at];
	/* What is kept up in the directory itself, where there is one. */
	child = (*e)->type == TYPE_DIR ? dir_cached(l, d, name) : NULL;
	if (child) {
		(*e)->files = child->files;
		(*e)->bytes = child->bytes;
	}
	return 0;
}

void entry_weight(struct layout *l, struct layout_dir *d, const struct manifest_entry *e,
		  int64_t *files, int64_t *bytes)
{
	const struct layout_dir *child = e->type == TYPE_DIR ? dir_cached(l, d, e->name) : NULL;

	if (e->type == TYPE_DIR) {
		*files = (int64_t)(child ? child->files : e->files);
		*bytes = (int64_t)(child ? child->bytes : e->bytes);
	} else {
		*files = 1;
		*bytes = e->type == TYPE_REG && !e->link ? (int64_t)e->size : 0;
	}
}

static void page_changed(struct layout_dir *d, struct page *p)
{
	p->dirty = true;
	d->dirty = true;
}

void entry_changed(struct layout_dir *d, const char *name)
{
	page_changed(d, &d->page[manifest_page_of(name, d->bits)]);
}

static int page_grow(struct page *p)
{
	size_t room = p->room ? p->room + p->room / 2 + 1 : 16;
	struct manifest_entry *e;

	if (p->n < p->room)
		return 0;
	e = realloc(p->e, room * sizeof(*e));
	if (!e)
		return -ENOMEM;
	p->e = e;
	p->room = room;
	return 0;
}

/* A name of several comes or goes; an inode of several keeps their number. */
static int count_links(struct layout *l, struct layout_dir *d, struct manifest_entry *old,
		       struct manifest_entry *new)
{
	int err = 0;

	if (dir_is_links(d) && old && new) {
		new->refs = old->refs;
		return 0;
	}
	if (dir_is_links(d))
		return old ? links_leave(l, old) : links_arrive(l, new);
	if (old && old->link)
		err = links_count(l, old->id, -1);
	if (!err && new && new->link)
		err = links_count(l, new->id, 1);
	return err;
}

int entry_store(struct layout *l, struct layout_dir *d, struct manifest_entry *e)
{
	int64_t files, bytes, less_files = 0, less_bytes = 0;
	struct page *p;
	size_t at;
	bool there;
	int err = page_of(l, d, e->name, &p);

	if (!err)
		err = page_grow(p);
	if (err) {
		manifest_entry_clear(e);
		return err;
	}
	there = search(p, e->name, &at);
	err = count_links(l, d, there ? &p->e[at] : NULL, e);
	if (err) {
		manifest_entry_clear(e);
		return err;
	}
	entry_weight(l, d, e, &files, &bytes);
	if (there) {
		entry_weight(l, d, &p->e[at], &less_files, &less_bytes);
		page_weigh(l, p, 0, entry_bytes(&p->e[at]));
		manifest_entry_clear(&p->e[at]);
	} else {
		memmove(&p->e[at + 1], &p->e[at], (p->n - at) * sizeof(*p->e));
		p->n++;
		p->count++;
		d->count++;
	}
	p->e[at] = *e;
	*e = (struct manifest_entry){ 0 };
	page_weigh(l, p, entry_bytes(&p->e[at]), 0);
	page_changed(d, p);
	dir_account(d, files - less_files, bytes - less_bytes);
	return 0;
}

int entry_take(struct layout *l, struct layout_dir *d, const char *name,
	       struct manifest_entry *out)
{
	int64_t files, bytes;
	struct page *p;
	size_t at;
	int err = page_of(l, d, name, &p);

	if (err)
		return err;
	if (!search(p, name, &at))
		return -ENOENT;
	err = count_links(l, d, &p->e[at], NULL);
	if (err)
		return err;
	entry_weight(l, d, &p->e[at], &files, &bytes);
	*out = p->e[at];
	if (out->type == TYPE_DIR) {
		out->files = (uint64_t)files;
		out->bytes = (uint64_t)bytes;
	}
	page_weigh(l, p, 0, entry_bytes(out));
	p->n--;
	p->count--;
	d->count--;
	memmove(&p->e[at], &p->e[at + 1], (p->n - at) * sizeof(*p->e));
	page_changed(d, p);
	dir_account(d, -files, -bytes);
	return 0;
}

int entries_each(struct layout *l, struct layout_dir *d,
		 int (*fn)(const struct manifest_entry *e, void *arg), void *arg)
{
	int err = dir_ready(l, d);

	for (unsigned i = 0; !err && i < 1u << d->bits; i++) {
		struct page *p;

		err = page_get(l, d, i, &p);
		if (err)
			break;
		p->pins++;
		for (size_t k = 0; !err && k < p->n; k++)
			err = fn(&p->e[k], arg);
		p->pins--;
	}
	return err;
}

/* ---- more or fewer pages ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct manifest_entry *)a)->name,
		      ((const struct manifest_entry *)b)->name);
}

static int spread(struct layout_dir *d, struct page *to, unsigned bits)
{
	size_t i, k;
	int err;

	for (i = 0; i < (size_t)1 << d->bits; i++)
		for (k = 0; k < d->page[i].n; k++) {
			struct page *p = &to[manifest_page_of(d->page[i].e[k].name, bits)];

			err = page_grow(p);
			if (err)
				return err;
			p->e[p->n++] = d->page[i].e[k];
		}
	return 0;
}

static int pages_load(struct layout *l, struct layout_dir *d)
{
	struct page *p;
	size_t i;
	int err = 0;

	for (i = 0; !err && i < (size_t)1 << d->bits; i++) {
		err = page_get(l, d, (unsigned)i, &p);
		if (!err)
			p->pins++;
	}
	/* All at once are needed now. */
	for (i -= err != 0; i > 0; i--)
		d->page[i - 1].pins--;
	return err;
}

static void page_of_new(struct layout *l, struct page *p)
{
	size_t k, bytes = 0;

	qsort(p->e, p->n, sizeof(*p->e), by_name);
	for (k = 0; k < p->n; k++)
		bytes += entry_bytes(&p->e[k]);
	page_weigh(l, p, bytes, 0);
	p->count = (uint32_t)p->n;
	p->loaded = p->dirty = true;
}

int dir_set_bits(struct layout *l, struct layout_dir *d, unsigned bits)
{
	size_t i, n = (size_t)1 << bits;
	struct page *to;
	int err = pages_load(l, d);

	if (err)
		return err;
	to = calloc(n, sizeof(*to));
	if (!to)
		return -ENOMEM;
	err = spread(d, to, bits);
	if (!err)
		err = dir_drop(l, d);
	if (err) {
		for (i = 0; i < n; i++)
			free(to[i].e); /* the entries are still where they were */
		free(to);
		return err;
	}
	for (i = 0; i < n; i++)
		page_of_new(l, &to[i]);
	for (i = 0; i < (size_t)1 << d->bits; i++) {
		d->page[i].n = 0;
		page_clear(l, &d->page[i]);
	}
	free(d->page);
	d->page = to;
	d->bits = bits;
	d->ref = (struct manifest_ref){ 0 };
	d->dirty = true;
	return 0;
}
