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

/* What dropping references leaves to be done once the lock is dropped: an
 * unlink is carried out by closing the last descriptor, which takes time. */
struct remains {
	uint64_t gone;             /* id of a deleted file with leaf hashes, 0: none */
	int n;
	int fd[4 * MAX_MIRRORS];
};

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

/* tree.c. One reference less; what the freed nodes leave behind is collected
 * in *rest, and tree_settle() sees to it once the lock is dropped: closing the
 * last descriptor of a deleted file can take long. */
void tree_put_locked(struct volume *v, uint32_t n, struct remains *rest);
void tree_settle(struct volume *v, struct remains *rest);

/* tree_names.c */
uint32_t tree_find_dentry(const struct tree *t, uint32_t parent, const char *name);
int tree_add_dentry(struct tree *t, uint32_t node, uint32_t parent, const char *name);
/* Takes d off the index and its node; the parent keeps its reference for the
 * caller to drop. Returns the parent. */
uint32_t tree_remove_dentry(struct tree *t, uint32_t d);

/* tree_handles.c */
void tree_close_pins(struct tree *t, struct node *node, struct remains *rest);

#endif
