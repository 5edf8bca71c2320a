/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replica/tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "replica/arena.h"
#include "replica/base/map.h"
#include "replica/hash.h"
#include "replica/hashfile.h"
#include "replica/dirfd.h"

enum { T_NODE, T_DENTRY, T_LONG, T_PIN, T_HANDLE, T_MAX };

#define LONG_NAME 256
#define SLOT_BITS 24

struct tree {
	pthread_mutex_t lock;      /* all below but the stripes */
	struct arena arena;
	struct arena_table t[T_MAX];
	struct map by_id;          /* id -> node */
	uint32_t *bucket;          /* hash of (parent, name) -> dentry */
	uint32_t n_buckets;
	uint32_t n_dentries;
	uint32_t *chain;           /* next dentry in the bucket, by dentry */
	void **state;              /* by node */
	size_t state_bytes, chain_bytes;
	uint64_t next_seq;         /* of handles */
	uint64_t n_nodes;
	void (*release)(void *state);
	pthread_rwlock_t stripe[POS_STRIPES];
};

static struct dentry *dentry_at(const struct tree *t, uint32_t d)
{
	return arena_slot(&t->t[T_DENTRY], d);
}

static struct node *node_at(const struct tree *t, uint32_t n)
{
	return arena_slot(&t->t[T_NODE], n);
}

static const char *dentry_name(const struct tree *t, const struct dentry *d)
{
	return d->long_name ? (const char *)arena_slot(&t->t[T_LONG], d->long_name) : d->name;
}

static uint32_t name_hash(uint32_t parent, const char *name, size_t len)
{
	return (uint32_t)hash_bytes(name, len, parent);
}

static void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int tree_tables(struct tree *t, uint32_t max_nodes)
{
	const struct arena_spec spec[T_MAX] = {
		[T_NODE] = { sizeof(struct node), max_nodes },
		[T_DENTRY] = { sizeof(struct dentry), max_nodes },
		[T_LONG] = { LONG_NAME, max_nodes },
		[T_PIN] = { sizeof(struct pin), 1u << 20 },
		[T_HANDLE] = { sizeof(struct handle), 1u << 20 },
	};
	int r = arena_create(&t->arena, t->t, spec, T_MAX);

	if (r < 0)
		return r;
	t->state_bytes = max_nodes * sizeof(void *);
	t->chain_bytes = max_nodes * sizeof(uint32_t);
	t->state = reserve(t->state_bytes);
	t->chain = reserve(t->chain_bytes);
	t->n_buckets = 1024;
	t->bucket = calloc(t->n_buckets, sizeof(*t->bucket));
	return t->state && t->chain && t->bucket ? 0 : -ENOMEM;
}

static int tree_make_root(struct tree *t)
{
	uint32_t n = arena_alloc(&t->t[T_NODE]);
	struct node *root = node_at(t, n);

	root->id = ROOT_ID;
	root->type = 4; /* S_IFDIR >> 12 */
	root->refs = 1;
	root->gen = 1;
	t->n_nodes = 1;
	return map_set(&t->by_id, ROOT_ID, NODE_ROOT);
}

int tree_create(struct volume *v, uint32_t max_nodes)
{
	struct tree *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	for (int i = 0; i < POS_STRIPES; i++)
		pthread_rwlock_init(&t->stripe[i], NULL);
	t->next_seq = 1;
	v->tree = t;
	r = tree_tables(t, max_nodes);
	if (r == 0)
		r = tree_make_root(t);
	if (r < 0)
		tree_destroy(v);
	return r;
}

void tree_destroy(struct volume *v)
{
	struct tree *t = v->tree;

	if (!t)
		return;
	for (uint32_t n = NODE_ROOT; t->state && t->release && n < arena_high(&t->t[T_NODE]); n++)
		if (t->state[n])
			t->release(t->state[n]);
	if (t->state)
		munmap(t->state, t->state_bytes);
	if (t->chain)
		munmap(t->chain, t->chain_bytes);
	free(t->bucket);
	map_free(&t->by_id);
	arena_destroy(&t->arena, t->t, T_MAX);
	for (int i = 0; i < POS_STRIPES; i++)
		pthread_rwlock_destroy(&t->stripe[i]);
	pthread_mutex_destroy(&t->lock);
	free(t);
	v->tree = NULL;
}

void tree_lock(struct volume *v)
{
	pthread_mutex_lock(&v->tree->lock);
}

void tree_unlock(struct volume *v)
{
	pthread_mutex_unlock(&v->tree->lock);
}

void **tree_state_slot(struct volume *v, uint32_t node)
{
	return &v->tree->state[node];
}

struct node *tree_node(const struct volume *v, uint32_t node)
{
	return node_at(v->tree, node);
}

pthread_rwlock_t *tree_stripe(struct volume *v, uint32_t node)
{
	return &v->tree->stripe[node % POS_STRIPES];
}

int tree_arena_fd(struct volume *v)
{
	return v->tree->arena.fd;
}

uint64_t tree_count(struct volume *v)
{
	uint64_t n;

	tree_lock(v);
	n = v->tree->n_nodes;
	tree_unlock(v);
	return n;
}

/* ---- the index of names ---- */

static uint32_t find_dentry(const struct tree *t, uint32_t parent, const char *name)
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

static int add_dentry(struct tree *t, uint32_t node, uint32_t parent, const char *name)
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
	if (++t->n_dentries > t->n_buckets)
		index_grow(t);
	index_insert(t, d);
	return 0;
}

/* Takes d off the index and its node; the parent keeps its reference for the
 * caller to drop. Returns the parent. */
static uint32_t remove_dentry(struct tree *t, uint32_t d)
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

/* ---- life of a node ---- */

static bool node_idle(const struct tree *t, uint32_t n)
{
	const struct node *node = node_at(t, n);

	return node->id && node->refs == 0 && node->nlookup == 0;
}

static void close_pins(struct tree *t, struct node *node)
{
	struct pin *p;

	if (!node->pin)
		return;
	p = arena_slot(&t->t[T_PIN], node->pin);
	for (int m = 0; m < MAX_MIRRORS; m++)
		if (p->fd[m] >= 0)
			close(p->fd[m]);
	arena_free(&t->t[T_PIN], node->pin);
}

static void put_locked(struct volume *v, uint32_t n, uint64_t *gone);

/*
 * Frees n and every ancestor that this leaves idle. Only what is no directory
 * has several names, so put_locked() below recurses once at most. *gone: id
 * of a deleted file whose leaf hashes are to be removed.
 */
static void reap_locked(struct volume *v, uint32_t n, uint64_t *gone)
{
	struct tree *t = v->tree;

	while (n && node_idle(t, n)) {
		struct node *node = node_at(t, n);
		uint32_t parent = 0, gen = node->gen;

		while (node->dentry && dentry_at(t, node->dentry)->next)
			put_locked(v, remove_dentry(t, node->dentry), gone);
		if (node->dentry)
			parent = remove_dentry(t, node->dentry);
		if ((node->flags & NODE_DELETED) && (node->flags & NODE_HASHFILE))
			*gone = node->id;
		close_pins(t, node);
		dirfd_drop(v, n);
		if (t->state[n])
			t->release(t->state[n]);
		t->state[n] = NULL;
		map_del(&t->by_id, node->id);
		arena_free(&t->t[T_NODE], n);
		node_at(t, n)->gen = gen; /* lives on in the free slot */
		t->n_nodes--;
		n = parent && --node_at(t, parent)->refs == 0 ? parent : 0;
	}
}

static void put_locked(struct volume *v, uint32_t n, uint64_t *gone)
{
	if (--node_at(v->tree, n)->refs == 0)
		reap_locked(v, n, gone);
}

static void remove_hashes(struct volume *v, uint64_t id)
{
	if (!id)
		return;
	FOR_EACH_BIT(m, volume_active(v))
		hashfile_remove(v->m[m].dotfd, id);
}

void tree_unref(struct volume *v, uint32_t node)
{
	uint64_t gone = 0;

	tree_lock(v);
	put_locked(v, node, &gone);
	tree_unlock(v);
	remove_hashes(v, gone);
}

void tree_unref_unlock(struct volume *v, uint32_t node)
{
	uint64_t gone = 0;

	put_locked(v, node, &gone);
	tree_unlock(v);
	remove_hashes(v, gone);
}

void tree_set_release(struct volume *v, void (*release)(void *state))
{
	v->tree->release = release;
}

void tree_ref(struct volume *v, uint32_t node)
{
	tree_lock(v);
	node_at(v->tree, node)->refs++;
	tree_unlock(v);
}

void tree_lookup_inc(struct volume *v, uint32_t node)
{
	tree_lock(v);
	node_at(v->tree, node)->nlookup++;
	tree_unlock(v);
}

void tree_forget(struct volume *v, uint32_t node, uint64_t n)
{
	uint64_t gone = 0;
	struct node *nd;

	tree_lock(v);
	nd = node_at(v->tree, node);
	nd->nlookup -= n < nd->nlookup ? n : nd->nlookup;
	reap_locked(v, node, &gone);
	tree_unlock(v);
	remove_hashes(v, gone);
}

void tree_forget_all(struct volume *v)
{
	for (uint32_t n = NODE_ROOT; n < arena_high(&v->tree->t[T_NODE]); n++)
		if (node_at(v->tree, n)->id)
			tree_forget(v, n, UINT64_MAX);
}

static uint32_t new_node(struct tree *t, uint64_t id, uint8_t type)
{
	uint32_t n = arena_alloc(&t->t[T_NODE]), gen;
	struct node *node;

	if (!n)
		return 0;
	node = node_at(t, n);
	gen = node->gen;
	if (map_set(&t->by_id, id, n) < 0) {
		arena_free(&t->t[T_NODE], n);
		return 0;
	}
	*node = (struct node){ .id = id, .type = type, .gen = gen + 1 };
	t->n_nodes++;
	return n;
}

static int enter_locked(struct volume *v, uint64_t id, uint8_t type, uint32_t parent,
			const char *name, uint32_t *out, uint64_t *gone)
{
	struct tree *t = v->tree;
	uint32_t d = parent ? find_dentry(t, parent, name) : 0;
	uint64_t n = 0;

	if (d && node_at(t, dentry_at(t, d)->node)->id != id) {
		put_locked(v, remove_dentry(t, d), gone); /* a name of another life */
		d = 0;
	}
	if (!map_get(&t->by_id, id, &n))
		n = new_node(t, id, type);
	if (!n)
		return -ENOMEM;
	node_at(t, n)->refs++;
	if (parent && !d && add_dentry(t, (uint32_t)n, parent, name) < 0) {
		put_locked(v, (uint32_t)n, gone);
		return -ENOMEM;
	}
	node_at(t, n)->type = type;
	*out = (uint32_t)n;
	return 0;
}

int tree_enter(struct volume *v, uint64_t id, uint8_t type, uint32_t parent, const char *name,
	       uint32_t *node)
{
	uint64_t gone = 0;
	int r;

	tree_lock(v);
	r = enter_locked(v, id, type, parent, name, node, &gone);
	tree_unlock(v);
	remove_hashes(v, gone);
	return r;
}

uint32_t tree_find(struct volume *v, uint32_t parent, const char *name)
{
	uint32_t d, n = 0;

	tree_lock(v);
	d = find_dentry(v->tree, parent, name);
	if (d) {
		n = dentry_at(v->tree, d)->node;
		node_at(v->tree, n)->refs++;
	}
	tree_unlock(v);
	return n;
}

uint32_t tree_find_id(struct volume *v, uint64_t id)
{
	uint64_t n = 0;

	tree_lock(v);
	if (map_get(&v->tree->by_id, id, &n))
		node_at(v->tree, n)->refs++;
	tree_unlock(v);
	return (uint32_t)n;
}

void tree_set_flag(struct volume *v, uint32_t node, uint8_t flag)
{
	tree_lock(v);
	node_at(v->tree, node)->flags |= flag;
	tree_unlock(v);
}

void tree_clear_flag(struct volume *v, uint32_t node, uint8_t flag)
{
	tree_lock(v);
	node_at(v->tree, node)->flags &= (uint8_t)~flag;
	tree_unlock(v);
}

void tree_set_ctime(struct volume *v, uint32_t node, int64_t shown, int64_t sealed_at)
{
	tree_lock(v);
	node_at(v->tree, node)->shown_ctime = shown;
	node_at(v->tree, node)->sealed_at = sealed_at;
	tree_unlock(v);
}

/* ---- names ---- */

void tree_drop_name(struct volume *v, uint32_t parent, const char *name)
{
	uint64_t gone = 0;
	uint32_t d;

	tree_lock(v);
	d = find_dentry(v->tree, parent, name);
	if (d)
		put_locked(v, remove_dentry(v->tree, d), &gone);
	tree_unlock(v);
	remove_hashes(v, gone);
}

int tree_move_name(struct volume *v, uint32_t from, const char *name, uint32_t to,
		   const char *new_name)
{
	uint64_t gone = 0;
	uint32_t d, n;
	int r = 0;

	tree_lock(v);
	d = find_dentry(v->tree, to, new_name);
	if (d)
		put_locked(v, remove_dentry(v->tree, d), &gone);
	d = find_dentry(v->tree, from, name);
	if (d) {
		n = dentry_at(v->tree, d)->node;
		r = add_dentry(v->tree, n, to, new_name);
		put_locked(v, remove_dentry(v->tree, d), &gone);
	}
	tree_unlock(v);
	remove_hashes(v, gone);
	return r;
}

void tree_swap_names(struct volume *v, uint32_t p1, const char *n1, uint32_t p2, const char *n2)
{
	uint32_t d1, d2, node1, node2;
	uint64_t gone = 0;

	tree_lock(v);
	d1 = find_dentry(v->tree, p1, n1);
	d2 = find_dentry(v->tree, p2, n2);
	node1 = d1 ? dentry_at(v->tree, d1)->node : 0;
	node2 = d2 ? dentry_at(v->tree, d2)->node : 0;
	if (d1)
		put_locked(v, remove_dentry(v->tree, d1), &gone);
	if (d2)
		put_locked(v, remove_dentry(v->tree, d2), &gone);
	if (node1)
		add_dentry(v->tree, node1, p2, n2);
	if (node2)
		add_dentry(v->tree, node2, p1, n1);
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

/* ---- pins and handles ---- */

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
