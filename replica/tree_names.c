/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The known names: dentries, their index by (parent, name), the positions of
 * a node and the paths made of them. A dentry keeps a reference on its parent,
 * none on its node. Guarded by tree.lock; who changes a name also holds the
 * position stripe of the node.
 */
#include "replica/tree_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/hash.h"

/* ---- the index of names ---- */

static uint32_t name_hash(uint32_t parent, const char *name, size_t len)
{
	return (uint32_t)hash_bytes(name, len, parent);
}

uint32_t tree_find_dentry(const struct tree *t, uint32_t parent, const char *name)
{
	size_t len = strlen(name);
	uint32_t h = name_hash(parent, name, len);

	for (uint32_t d = t->bucket[h & (t->n_buckets - 1)]; d; d = t->chain[d]) {
		const struct dentry *e = dentry_at(t, d);

		if (e->hash == h && e->parent == parent && e->len == len &&
		    memcmp(dentry_name(t, e), name, len) == 0)
			return d;
	}
	return 0;
}

static void index_insert(struct tree *t, uint32_t d)
{
	uint32_t *b = &t->bucket[dentry_at(t, d)->hash & (t->n_buckets - 1)];

	t->chain[d] = *b;
	*b = d;
}

static void index_remove(struct tree *t, uint32_t d)
{
	uint32_t *p = &t->bucket[dentry_at(t, d)->hash & (t->n_buckets - 1)];

	while (*p != d)
		p = &t->chain[*p];
	*p = t->chain[d];
}

static void index_grow(struct tree *t)
{
	uint32_t n = t->n_buckets * 2;
	uint32_t *bigger = calloc(n, sizeof(*bigger));

	if (!bigger)
		return; /* longer chains, no more */
	free(t->bucket);
	t->bucket = bigger;
	t->n_buckets = n;
	for (uint32_t d = 1; d < arena_high(&t->t[T_DENTRY]); d++)
		if (dentry_at(t, d)->node)
			index_insert(t, d);
}

static int set_name(struct tree *t, struct dentry *e, uint32_t parent, const char *name)
{
	size_t len = strlen(name);

	if (len >= DENTRY_INLINE) {
		e->long_name = arena_alloc(&t->t[T_LONG]);
		if (!e->long_name)
			return -ENOMEM;
		memcpy(arena_slot(&t->t[T_LONG], e->long_name), name, len + 1);
	} else {
		memcpy(e->name, name, len + 1);
	}
	e->len = (uint16_t)len;
	e->parent = parent;
	e->hash = name_hash(parent, name, len);
	return 0;
}

int tree_add_dentry(struct tree *t, uint32_t node, uint32_t parent, const char *name)
{
	uint32_t d = arena_alloc(&t->t[T_DENTRY]);
	struct dentry *e;

	if (!d)
		return -ENOMEM;
	e = dentry_at(t, d);
	if (set_name(t, e, parent, name) < 0) {
		arena_free(&t->t[T_DENTRY], d);
		return -ENOMEM;
	}
	e->node = node;
	e->next = node_at(t, node)->dentry;
	node_at(t, node)->dentry = d;
	node_at(t, parent)->refs++;
	index_insert(t, d);
	if (++t->n_dentries > t->n_buckets)
		index_grow(t); /* inserts all anew */
	return 0;
}

uint32_t tree_remove_dentry(struct tree *t, uint32_t d)
{
	struct dentry *e = dentry_at(t, d);
	uint32_t *p = &node_at(t, e->node)->dentry;
	uint32_t parent = e->parent;

	while (*p != d)
		p = &dentry_at(t, *p)->next;
	*p = e->next;
	index_remove(t, d);
	if (e->long_name)
		arena_free(&t->t[T_LONG], e->long_name);
	arena_free(&t->t[T_DENTRY], d);
	t->n_dentries--;
	return parent;
}

/* ---- names ---- */

uint32_t tree_find(struct volume *v, uint32_t parent, const char *name)
{
	uint32_t d, n = 0;

	tree_lock(v);
	d = tree_find_dentry(v->tree, parent, name);
	if (d) {
		n = dentry_at(v->tree, d)->node;
		node_at(v->tree, n)->refs++;
	}
	tree_unlock(v);
	return n;
}

void tree_drop_name(struct volume *v, uint32_t parent, const char *name)
{
	struct remains rest = { 0 };
	uint32_t d;

	tree_lock(v);
	d = tree_find_dentry(v->tree, parent, name);
	if (d)
		tree_put_locked(v, tree_remove_dentry(v->tree, d), &rest);
	tree_unlock(v);
	tree_settle(v, &rest);
}

int tree_move_name(struct volume *v, uint32_t from, const char *name, uint32_t to,
		   const char *new_name)
{
	struct remains rest = { 0 };
	uint32_t d, n;
	int r = 0;

	tree_lock(v);
	d = tree_find_dentry(v->tree, to, new_name);
	if (d)
		tree_put_locked(v, tree_remove_dentry(v->tree, d), &rest);
	d = tree_find_dentry(v->tree, from, name);
	if (d) {
		n = dentry_at(v->tree, d)->node;
		r = tree_add_dentry(v->tree, n, to, new_name);
		tree_put_locked(v, tree_remove_dentry(v->tree, d), &rest);
	}
	tree_unlock(v);
	tree_settle(v, &rest);
	return r;
}

void tree_swap_names(struct volume *v, uint32_t p1, const char *n1, uint32_t p2, const char *n2)
{
	uint32_t d1, d2, node1, node2;
	struct remains rest = { 0 };

	tree_lock(v);
	d1 = tree_find_dentry(v->tree, p1, n1);
	d2 = tree_find_dentry(v->tree, p2, n2);
	node1 = d1 ? dentry_at(v->tree, d1)->node : 0;
	node2 = d2 ? dentry_at(v->tree, d2)->node : 0;
	if (d1)
		tree_put_locked(v, tree_remove_dentry(v->tree, d1), &rest);
	if (d2)
		tree_put_locked(v, tree_remove_dentry(v->tree, d2), &rest);
	if (node1)
		tree_add_dentry(v->tree, node1, p2, n2);
	if (node2)
		tree_add_dentry(v->tree, node2, p1, n1);
	tree_unlock(v);
}

bool tree_position_at(struct volume *v, uint32_t node, unsigned k, uint32_t *parent, char *name)
{
	const struct tree *t = v->tree;
	uint32_t d;

	tree_lock(v);
	for (d = node_at(t, node)->dentry; d && k; k--)
		d = dentry_at(t, d)->next;
	if (d) {
		const struct dentry *e = dentry_at(t, d);

		*parent = e->parent;
		memcpy(name, dentry_name(t, e), e->len + 1u);
	}
	tree_unlock(v);
	return d != 0;
}

bool tree_position(struct volume *v, uint32_t node, uint32_t *parent, char *name)
{
	return tree_position_at(v, node, 0, parent, name);
}

unsigned tree_names(struct volume *v, uint32_t node)
{
	unsigned n = 0;

	tree_lock(v);
	for (uint32_t d = node_at(v->tree, node)->dentry; d; d = dentry_at(v->tree, d)->next)
		n++;
	tree_unlock(v);
	return n;
}

/* Writes the path right to left into out; a path too long loses its head. */
void tree_path(struct volume *v, uint32_t node, char *out, size_t size)
{
	const struct tree *t = v->tree;
	size_t at = size - 1;

	out[at] = '\0';
	tree_lock(v);
	while (node != NODE_ROOT) {
		const struct dentry *e;

		if (!node_at(t, node)->dentry) {
			char text[40];
			size_t len = (size_t)snprintf(text, sizeof(text), "<id %llu, unlinked>",
					(unsigned long long)node_at(t, node)->id);

			if (at > len)
				memcpy(out + (at -= len), text, len);
			break;
		}
		e = dentry_at(t, node_at(t, node)->dentry);
		if (at < e->len + 1u)
			break;
		if (out[at])
			out[--at] = '/';
		at -= e->len;
		memcpy(out + at, dentry_name(t, e), e->len);
		node = e->parent;
	}
	tree_unlock(v);
	if (!out[at] && size > 1)
		out[--at] = '.';
	memmove(out, out + at, size - at);
}

void tree_path_of(struct volume *v, uint32_t parent, const char *name, char *out, size_t size)
{
	size_t len;

	tree_path(v, parent, out, size);
	len = strlen(out);
	if (strcmp(out, ".") == 0)
		len = 0;
	snprintf(out + len, size - len, "%s%s", len ? "/" : "", name);
}
