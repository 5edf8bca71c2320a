// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reading the state: entries with what is laid over them. A put that is staged shows as the
 * entry that it will be; one in doubt has a root that no file has.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/hash.h"

uint64_t name_hash(const char *name)
{
	return hash_bytes(name, strlen(name), 0);
}

bool name_is_good(const char *name)
{
	size_t n = name ? strlen(name) : 0;

	return n && n <= 255 && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..");
}

bool has_content(const struct manifest_entry *e)
{
	return e->type == TYPE_REG && !e->link;
}

/* ---- what is laid over ---- */

struct put *put_find(const struct layout_dir *d, const char *name)
{
	uint64_t hash = d->puts ? name_hash(name) : 0;
	struct put *p;

	for (p = d->puts; p; p = p->dir_next)
		if (p->hash == hash && !strcmp(p->e.name, name))
			return p;
	return NULL;
}

/* ---- where content is ---- */

bool place_is_plain(struct layout *l, const struct layout_dir *d, const char *name)
{
	char path[LAYOUT_NAME_MAX];

	return !d->hidden && !dir_path(d, name, path) &&
	       object_path_plain(path, store_caps(l->store)->folds_case);
}

void content_name(const struct layout_dir *d, const struct manifest_entry *e,
		  char out[LAYOUT_NAME_MAX])
{
	*out = '\0';
	if (e->by_id || d->hidden) {
		if (e->object)
			object_name_id(out, e->id, e->object);
	} else if (dir_path(d, e->name, out)) {
		*out = '\0';
	}
}

void layout_content(struct layout *l, const struct layout_dir *d, const struct manifest_entry *e,
		    char out[LAYOUT_NAME_MAX])
{
	(void)l;
	content_name(d, e, out);
}

/* ---- entries ---- */

static const struct manifest_entry *doubtful(struct layout *l, const struct manifest_entry *e)
{
	l->shown = *e;
	l->shown.root = ~e->root;
	l->shown.gen = 0;
	return &l->shown;
}

int layout_find(struct layout *l, struct layout_dir *d, const char *name,
		const struct manifest_entry **e)
{
	const struct put *p = put_find(d, name);
	struct manifest_entry *own;
	int err;

	if (p) {
		*e = &p->e;
		return 0;
	}
	err = entry_get(l, d, name, &own);
	if (!err)
		*e = doubt_find(d, name) ? doubtful(l, own) : own;
	return err;
}

static int each_of_page(struct layout *l, struct layout_dir *d, struct page *p,
			int (*fn)(const struct manifest_entry *e, void *arg), void *arg)
{
	const struct manifest_entry *e;
	const struct put *put;
	struct layout_dir *child;
	size_t i;
	int err = 0;

	for (i = 0; !err && i < p->n; i++) {
		e = &p->e[i];
		put = put_find(d, e->name);
		child = e->type == TYPE_DIR ? dir_cached(l, d, e->name) : NULL;
		if (child) {
			p->e[i].files = child->files;
			p->e[i].bytes = child->bytes;
		}
		if (put)
			e = &put->e;
		else if (doubt_find(d, e->name))
			e = doubtful(l, e);
		err = fn(e, arg);
	}
	return err;
}

int layout_each(struct layout *l, struct layout_dir *d,
		int (*fn)(const struct manifest_entry *e, void *arg), void *arg)
{
	const struct put *put;
	struct page *p;
	unsigned i;
	int err = dir_ready(l, d);

	layout_dir_ref(d);
	for (i = 0; !err && i < 1u << d->bits; i++) {
		err = page_get(l, d, i, &p);
		if (err)
			break;
		p->pins++;
		err = each_of_page(l, d, p, fn, arg);
		p->pins--;
	}
	for (put = d->puts; !err && put; put = put->dir_next)
		if (put->fresh)
			err = fn(&put->e, arg);
	layout_dir_put(l, d);
	return err;
}

uint64_t layout_count(const struct layout_dir *d)
{
	const struct put *p;
	uint64_t n = d->count;

	/* Not read yet, because it could not be: there may be some. */
	if (!d->ready)
		return 1;
	for (p = d->puts; p; p = p->dir_next)
		n += p->fresh;
	return n;
}

int layout_inode(struct layout *l, const struct manifest_entry *name,
		 const struct manifest_entry **e)
{
	char hex[17];

	snprintf(hex, sizeof(hex), "%016" PRIx64, name->id);
	return layout_find(l, l->links, hex, e);
}

/* ---- directories ---- */

struct layout_dir *layout_root(struct layout *l)
{
	layout_dir_ref(l->root);
	return l->root;
}

struct layout_dir *layout_links(struct layout *l)
{
	layout_dir_ref(l->links);
	return l->links;
}

/* The entry's, not in the cache yet. */
static int open_new(struct layout *l, struct layout_dir *d, const struct manifest_entry *e,
		    struct layout_dir **out)
{
	struct manifest_entry copy = *e; /* reading evicts pages */
	char path[LAYOUT_NAME_MAX];
	struct layout_dir *child;
	int err = dir_path(d, e->name, path);

	if (err || strlen(path) > LAYOUT_PATH_MAX)
		return layout_failed(l, -ENAMETOOLONG, "a path of more than %d bytes at the remote",
				     LAYOUT_PATH_MAX);
	err = dir_new(l, d, e->name, e->id, &child);
	if (err)
		return err;
	child->ref = copy.dir;
	child->files = copy.files;
	child->bytes = copy.bytes;
	child->hidden = d->hidden || copy.by_id;
	err = dir_ready(l, child);
	if (err) {
		dir_gone(l, child);
		layout_dir_put(l, child);
		return err;
	}
	*out = child;
	return 0;
}

int layout_dir_open(struct layout *l, struct layout_dir *d, const char *name,
		    struct layout_dir **out)
{
	const struct manifest_entry *e;
	int err = 0;

	*out = d->gone ? NULL : dir_cached(l, d, name);
	if (*out) {
		layout_dir_ref(*out);
		err = dir_ready(l, *out);
		if (err)
			layout_dir_put(l, *out);
		return err;
	}
	err = layout_find(l, d, name, &e);
	if (err)
		return err;
	return e->type == TYPE_DIR ? open_new(l, d, e, out) : -ENOTDIR;
}

int layout_dir_resolve(struct layout *l, const char *path, struct layout_dir **out)
{
	struct layout_dir *d = layout_root(l), *child;
	size_t n, links = strlen(LAYOUT_LINKS_PATH);
	char part[256];
	int err = 0;

	if (!strcmp(path, LAYOUT_LINKS_PATH)) {
		layout_dir_put(l, d);
		d = layout_links(l);
		path += links;
	}
	for (; *path && !err; path += n + (path[n] == '/')) {
		n = strcspn(path, "/");
		if (n >= sizeof(part)) {
			err = -ENAMETOOLONG;
			break;
		}
		memcpy(part, path, n);
		part[n] = '\0';
		err = layout_dir_open(l, d, part, &child);
		if (err)
			break;
		layout_dir_put(l, d);
		d = child;
	}
	if (err)
		layout_dir_put(l, d);
	else
		*out = d;
	return err;
}

/* ---- leaf hashes ---- */

static int leaves_match(struct layout *l, const struct manifest_entry *e, const char *name,
			uint64_t *hash)
{
	uint64_t i, sum = 0, n = e->size / LEAF_SIZE + (e->size % LEAF_SIZE != 0);

	for (i = 0; i < n; i++)
		sum += hash[i];
	return sum == e->root ? 0 :
	       layout_failed(l, -EBADMSG, "%s: the hashes are not of this content", name);
}

int layout_leaves(struct layout *l, const struct manifest_entry *e, uint64_t **hash)
{
	char name[OBJECT_NAME_MAX], error[200] = "", *data;
	struct manifest_entry copy = *e;
	size_t len;
	int err;

	if (!e->leaves.seq)
		return layout_failed(l, -ENOENT, "%s has no leaf hashes", e->name ? e->name : "?");
	object_name_leaf(name, copy.id, copy.leaves.seq);
	err = object_get(l, name, &data, &len);
	if (err)
		return err;
	err = leaf_object_decode(data, len, copy.leaves.sha256, copy.id, copy.size, hash, error,
				 sizeof(error));
	free(data);
	if (err)
		return layout_failed(l, err, "%s: %s", name, *error ? error : strerror(-err));
	err = leaves_match(l, &copy, name, *hash);
	if (err) {
		free(*hash);
		*hash = NULL;
	}
	return err;
}

bool layout_holds(const struct layout_dir *d, const char *object)
{
	char name[OBJECT_NAME_MAX];

	object_name_dir(name, d->id, d->ref.seq);
	if (!strcmp(name, object))
		return true;
	for (unsigned i = 0; d->bits && d->ready && i < 1u << d->bits; i++) {
		object_name_page(name, d->id, d->page[i].ref.seq, i);
		if (!strcmp(name, object))
			return true;
	}
	return false;
}

bool layout_holds_leaves(const struct manifest_entry *e, const char *object)
{
	char name[OBJECT_NAME_MAX];

	if (!e->leaves.seq)
		return false;
	object_name_leaf(name, e->id, e->leaves.seq);
	return !strcmp(name, object);
}
