/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inode table and the known names, as plain data in one arena.
 *
 * Identifiers:
 *   node   32-bit slot of the inode table; the kernel's nodeid is the same
 *          number. Slot 1 is the root. Reused after the last reference; `gen`
 *          tells two uses apart.
 *   id     64-bit file id of the volume; st_ino. One node per id.
 *   dentry 32-bit slot of the table of names; a node has one dentry for each
 *          name that was looked up and still exists.
 *
 * Nodes, dentries and open handles hold no pointers: another process that
 * maps the arena can rebuild the private indexes by scanning it. No
 * descriptor is kept for a node; paths are walked from cached descriptors of
 * directories (dirfd.h). A node that lost its last name but is still known
 * to the kernel keeps one O_PATH descriptor a mirror (its pins).
 *
 * A node is freed when nlookup, refs and opens are all 0. refs counts child
 * dentries, unsealed state and walkers.
 */
#ifndef REPLICA_TREE_H
#define REPLICA_TREE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "replica/volume.h"

#define NODE_ROOT 1u
#define NODE_NONE 0u
#define NAME_MAX_LEN 255
#define POS_STRIPES 512
#define DENTRY_INLINE 36

enum node_flags {
	NODE_DELETED = 1,    /* its last link is gone */
	NODE_HASHFILE = 2,   /* has, or may have, a file of leaf hashes */
};

/* Plain data, in the arena. */
struct node {
	uint64_t id;         /* 0: free slot */
	uint64_t nlookup;    /* the kernel's lookup count */
	uint32_t refs;
	uint32_t gen;        /* of the slot's use */
	uint32_t dentry;     /* first of its names, 0: none */
	uint32_t pin;        /* slot in the pin table, 0: none */
	uint8_t type;        /* S_IFMT >> 12 */
	_Atomic uint8_t flags; /* set under the lock, read without */
	uint16_t spare;
	uint32_t spare2;
	int64_t shown_ctime; /* ctime to show while the inode's own lies in */
	int64_t sealed_at;   /* [sealed_at, sealed_at + SEAL_WINDOW_NS); 0: never */
};

struct dentry {
	uint32_t node;       /* 0: free slot */
	uint32_t parent;
	uint32_t next;       /* next name of the same node */
	uint32_t hash;       /* of (parent, name) */
	uint32_t long_name;  /* slot of the long names, 0: inline */
	uint16_t len;
	char name[DENTRY_INLINE];
};

struct pin {
	uint32_t node;       /* 0: free slot */
	int32_t fd[MAX_MIRRORS];
};

/* An open file or directory handle; fh = slot | seq << 24. */
struct handle {
	uint64_t seq;        /* 0: free slot; never reused */
	uint32_t node;
	uint32_t flags;      /* open flags of the caller */
	uint32_t touched;    /* atime was looked after */
	uint32_t spare;
};

int tree_create(struct volume *v, uint32_t max_nodes);
void tree_destroy(struct volume *v);

struct node *tree_node(const struct volume *v, uint32_t node);
/* Finds or makes the node of id with one reference (refs + 1), and notes
 * that (parent, name) leads to it (parent 0: no name). */
int tree_enter(struct volume *v, uint64_t id, uint8_t type, uint32_t parent, const char *name,
	       uint32_t *node);
/* Node behind a known name with a reference, or 0. */
uint32_t tree_find(struct volume *v, uint32_t parent, const char *name);
uint32_t tree_find_id(struct volume *v, uint64_t id);
void tree_set_flag(struct volume *v, uint32_t node, uint8_t flag);
void tree_clear_flag(struct volume *v, uint32_t node, uint8_t flag);
/* The ctime to show until the inode's own leaves the window of its sealing. */
void tree_set_ctime(struct volume *v, uint32_t node, int64_t shown, int64_t sealed_at);
void tree_ref(struct volume *v, uint32_t node);
void tree_unref(struct volume *v, uint32_t node);
/* Turns n references into kernel lookups and back. */
void tree_lookup_inc(struct volume *v, uint32_t node);
void tree_forget(struct volume *v, uint32_t node, uint64_t n);
/* All lookups are dropped (unmount). */
void tree_forget_all(struct volume *v);

/* Names. The caller holds the position stripe of the node exclusively. */
void tree_drop_name(struct volume *v, uint32_t parent, const char *name);
int tree_move_name(struct volume *v, uint32_t from, const char *name, uint32_t to,
		   const char *new_name);
void tree_swap_names(struct volume *v, uint32_t p1, const char *n1, uint32_t p2, const char *n2);
/* One position of the node. false: it has none. name: NAME_MAX_LEN + 1. */
bool tree_position(struct volume *v, uint32_t node, uint32_t *parent, char *name);
/* The k-th position. */
bool tree_position_at(struct volume *v, uint32_t node, unsigned k, uint32_t *parent, char *name);
unsigned tree_names(struct volume *v, uint32_t node);
/* Path relative to the root for messages, "." for the root. Never fails. */
void tree_path(struct volume *v, uint32_t node, char *out, size_t size);
void tree_path_of(struct volume *v, uint32_t parent, const char *name, char *out, size_t size);

/* Pins: takes the descriptors over. */
int tree_pin(struct volume *v, uint32_t node, const int fd[MAX_MIRRORS]);
bool tree_pinned(struct volume *v, uint32_t node);
int tree_pin_fd(struct volume *v, uint32_t node, int m);

pthread_rwlock_t *tree_stripe(struct volume *v, uint32_t node);

/* Private state hung on a node (struct file or struct dir), guarded by
 * tree_lock. A state in use keeps a reference on the node; one that stays
 * behind unused (directories) is freed with its node by `release`. */
void tree_set_release(struct volume *v, void (*release)(void *state));
/* Drops a reference with tree_lock held, and unlocks. */
void tree_unref_unlock(struct volume *v, uint32_t node);
void tree_lock(struct volume *v);
void tree_unlock(struct volume *v);
void **tree_state_slot(struct volume *v, uint32_t node);

uint64_t handle_new(struct volume *v, uint32_t node, uint32_t flags);
struct handle *handle_get(struct volume *v, uint64_t fh);
void handle_free(struct volume *v, uint64_t fh);
uint64_t tree_count(struct volume *v);
int tree_arena_fd(struct volume *v);
/* Calls fn for each node in use (no lock held in fn; the node is referenced). */
void tree_for_each(struct volume *v, void (*fn)(struct volume *, uint32_t, void *), void *arg);

#endif
