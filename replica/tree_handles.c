/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What keeps nodes alive from outside the tree of names: pins (descriptors of
 * nodes without a name), open handles, and walks over all nodes. Guarded by
 * tree.lock, but for reading a handle that its owner holds open.
 */
#include "replica/tree_priv.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define SLOT_BITS 24

void tree_close_pins(struct tree *t, struct node *node, struct remains *rest)
{
	struct pin *p;

	if (!node->pin)
		return;
	p = arena_slot(&t->t[T_PIN], node->pin);
	for (int m = 0; m < MAX_MIRRORS; m++)
		if (p->fd[m] >= 0 && rest->n < 4 * MAX_MIRRORS)
			rest->fd[rest->n++] = p->fd[m];
		else if (p->fd[m] >= 0)
			close(p->fd[m]);
	arena_free(&t->t[T_PIN], node->pin);
}

int tree_pin(struct volume *v, uint32_t node, const int fd[MAX_MIRRORS])
{
	struct tree *t = v->tree;
	struct node *nd;
	uint32_t slot = 0;

	tree_lock(v);
	nd = node_at(t, node);
	if (!nd->pin)
		slot = nd->pin = arena_alloc(&t->t[T_PIN]);
	if (slot) {
		struct pin *p = arena_slot(&t->t[T_PIN], slot);

		p->node = node;
		memcpy(p->fd, fd, sizeof(p->fd));
	}
	tree_unlock(v);
	return slot ? 0 : -EEXIST;
}

bool tree_pinned(struct volume *v, uint32_t node)
{
	bool pinned;

	tree_lock(v);
	pinned = node_at(v->tree, node)->pin != 0;
	tree_unlock(v);
	return pinned;
}

int tree_pin_fd(struct volume *v, uint32_t node, int m)
{
	int fd = -1;

	tree_lock(v);
	if (node_at(v->tree, node)->pin)
		fd = ((struct pin *)arena_slot(&v->tree->t[T_PIN], node_at(v->tree, node)->pin))->fd[m];
	tree_unlock(v);
	return fd;
}

uint64_t handle_new(struct volume *v, uint32_t node, uint32_t flags)
{
	struct tree *t = v->tree;
	struct handle *h;
	uint32_t slot;
	uint64_t fh = 0;

	tree_lock(v);
	slot = arena_alloc(&t->t[T_HANDLE]);
	if (slot) {
		h = arena_slot(&t->t[T_HANDLE], slot);
		h->seq = t->next_seq++;
		h->node = node;
		h->flags = flags;
		node_at(t, node)->refs++;
		fh = slot | h->seq << SLOT_BITS;
	}
	tree_unlock(v);
	return fh;
}

struct handle *handle_get(struct volume *v, uint64_t fh)
{
	uint32_t slot = fh & ((1u << SLOT_BITS) - 1);
	struct handle *h;

	if (!slot || slot >= v->tree->t[T_HANDLE].max)
		return NULL;
	h = arena_slot(&v->tree->t[T_HANDLE], slot);
	return h->seq && h->seq == fh >> SLOT_BITS ? h : NULL;
}

void handle_free(struct volume *v, uint64_t fh)
{
	struct handle *h = handle_get(v, fh);
	uint32_t node;

	if (!h)
		return;
	node = h->node;
	tree_lock(v);
	arena_free(&v->tree->t[T_HANDLE], fh & ((1u << SLOT_BITS) - 1));
	tree_unlock(v);
	tree_unref(v, node);
}

void tree_for_each(struct volume *v, void (*fn)(struct volume *, uint32_t, void *), void *arg)
{
	struct tree *t = v->tree;

	for (uint32_t n = NODE_ROOT; n < arena_high(&t->t[T_NODE]); n++) {
		bool used;

		tree_lock(v);
		used = node_at(t, n)->id != 0;
		if (used)
			node_at(t, n)->refs++;
		tree_unlock(v);
		if (!used)
			continue;
		fn(v, n, arg);
		tree_unref(v, n);
	}
}
