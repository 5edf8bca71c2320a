/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The nodes of the inode table: their life and their references. The names
 * are in tree_names.c, descriptors and open handles in tree_handles.c. All of
 * it is guarded by tree.lock; functions ending in _locked expect it held.
 */
#include "replica/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "replica/dirfd.h"
#include "replica/hashfile.h"
#include "replica/tree_priv.h"

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

/* ---- life of a node ---- */

static bool node_idle(const struct tree *t, uint32_t n)
{
	const struct node *node = node_at(t, n);

	return node->id && node->refs == 0 && node->nlookup == 0;
}

/*
 * Frees n and every ancestor that this leaves idle. Only what is no directory
 * has several names, so tree_put_locked() below recurses once at most. *gone:
 * id of a deleted file whose leaf hashes are to be removed.
 */
static void reap_locked(struct volume *v, uint32_t n, struct remains *rest)
{
	struct tree *t = v->tree;

	while (n && node_idle(t, n)) {
		struct node *node = node_at(t, n);
		uint32_t parent = 0, gen = node->gen;

		while (node->dentry && dentry_at(t, node->dentry)->next)
			tree_put_locked(v, tree_remove_dentry(t, node->dentry), rest);
		if (node->dentry)
			parent = tree_remove_dentry(t, node->dentry);
		if ((node->flags & NODE_DELETED) && (node->flags & NODE_HASHFILE))
			rest->gone = node->id;
		tree_close_pins(t, node, rest);
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

void tree_put_locked(struct volume *v, uint32_t n, struct remains *rest)
{
	if (--node_at(v->tree, n)->refs == 0)
		reap_locked(v, n, rest);
}

void tree_settle(struct volume *v, struct remains *rest)
{
	while (rest->n)
		close(rest->fd[--rest->n]);
	FOR_EACH_BIT(m, rest->gone ? volume_active(v) : 0)
		hashfile_remove(v->m[m].dotfd, rest->gone);
}

void tree_unref(struct volume *v, uint32_t node)
{
	struct remains rest = { 0 };

	tree_lock(v);
	tree_put_locked(v, node, &rest);
	tree_unlock(v);
	tree_settle(v, &rest);
}

void tree_unref_unlock(struct volume *v, uint32_t node)
{
	struct remains rest = { 0 };

	tree_put_locked(v, node, &rest);
	tree_unlock(v);
	tree_settle(v, &rest);
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
	struct remains rest = { 0 };
	struct node *nd;

	tree_lock(v);
	nd = node_at(v->tree, node);
	nd->nlookup -= n < nd->nlookup ? n : nd->nlookup;
	/* What is open counts as looked up: nobody will ask by the pins again. */
	if (nd->nlookup == 0 && nd->pin) {
		tree_close_pins(v->tree, nd, &rest);
		nd->pin = 0;
	}
	reap_locked(v, node, &rest);
	tree_unlock(v);
	tree_settle(v, &rest);
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
			const char *name, uint32_t *out, struct remains *rest)
{
	struct tree *t = v->tree;
	uint32_t d = parent ? tree_find_dentry(t, parent, name) : 0;
	uint64_t n = 0;

	if (d && node_at(t, dentry_at(t, d)->node)->id != id) {
		tree_put_locked(v, tree_remove_dentry(t, d), rest); /* a name of another life */
		d = 0;
	}
	if (!map_get(&t->by_id, id, &n))
		n = new_node(t, id, type);
	if (!n)
		return -ENOMEM;
	node_at(t, n)->refs++;
	if (parent && !d && tree_add_dentry(t, (uint32_t)n, parent, name) < 0) {
		tree_put_locked(v, (uint32_t)n, rest);
		return -ENOMEM;
	}
	if (node_at(t, n)->type != type) /* read without the lock */
		node_at(t, n)->type = type;
	*out = (uint32_t)n;
	return 0;
}

int tree_enter(struct volume *v, uint64_t id, uint8_t type, uint32_t parent, const char *name,
	       uint32_t *node)
{
	struct remains rest = { 0 };
	int r;

	tree_lock(v);
	r = enter_locked(v, id, type, parent, name, node, &rest);
	tree_unlock(v);
	tree_settle(v, &rest);
	return r;
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
