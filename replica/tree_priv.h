/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What tree.c, tree_names.c and tree_handles.c share. Nobody else includes it.
 * Every function here but tree_remove_hashes() expects tree.lock held.
 */
#ifndef REPLICA_TREE_PRIV_H
#define REPLICA_TREE_PRIV_H

#include "replica/arena.h"
#include "replica/base/map.h"
#include "replica/tree.h"

enum { T_NODE, T_DENTRY, T_LONG, T_PIN, T_HANDLE, T_MAX };

#define LONG_NAME 256

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

static inline struct dentry *dentry_at(const struct tree *t, uint32_t d)
{
	return arena_slot(&t->t[T_DENTRY], d);
}

static inline struct node *node_at(const struct tree *t, uint32_t n)
{
	return arena_slot(&t->t[T_NODE], n);
}

static inline const char *dentry_name(const struct tree *t, const struct dentry *d)
{
	return d->long_name ? (const char *)arena_slot(&t->t[T_LONG], d->long_name) : d->name;
}

/* tree.c. One reference less; *gone becomes the id of a deleted file whose leaf
 * hashes tree_remove_hashes() is to remove once the lock is dropped. */
void tree_put_locked(struct volume *v, uint32_t n, uint64_t *gone);
void tree_remove_hashes(struct volume *v, uint64_t id);

/* tree_names.c */
uint32_t tree_find_dentry(const struct tree *t, uint32_t parent, const char *name);
int tree_add_dentry(struct tree *t, uint32_t node, uint32_t parent, const char *name);
/* Takes d off the index and its node; the parent keeps its reference for the
 * caller to drop. Returns the parent. */
uint32_t tree_remove_dentry(struct tree *t, uint32_t d);

/* tree_handles.c */
void tree_close_pins(struct tree *t, struct node *node);

#endif
