/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What goes into the journals before a change (docs/durability.md). The lock
 * of the object is held exclusively. A change that fails here must not be
 * carried out; nothing was touched yet.
 */
#ifndef REPLICA_INTENT_H
#define REPLICA_INTENT_H

#include "replica/dir.h"
#include "replica/file.h"

/* Not noted in the journals since it was sealed. */
#define LSN_NONE UINT64_MAX
/* Just being noted: the journal's tail must not move. */
#define LSN_PENDING 0

/* f leaves its state of rest: its path, and the leaf hashes of a small file.
 * durable: before this returns. */
int intent_mark(struct volume *v, struct file *f, bool durable);
/*
 * Leaves first..first+n-1 get these hashes (NULL: zeros), and the file this size.
 * What is at rest below `sealed_end` bytes will be overwritten in place: for its
 * regions the note is durable first.
 */
int intent_leaves(struct volume *v, struct file *f, uint64_t first, uint64_t n,
		  const uint64_t *hash, uint64_t size, bool in_place);
/* Leaves in [first, first + n) can match nothing known: what was put there is
 * not proved. Durable. */
int intent_unverified(struct volume *v, struct file *f, uint64_t leaf, uint64_t hash);
/* What was decided of leaves that an unclean end left open: the newest version from now on, so
 * that a sync covers it and not a note whose bytes got to no disk. */
int intent_decided(struct volume *v, struct file *f, uint64_t first, unsigned n);
/* All that was noted of f before is on the disks, with its data. */
void intent_commit(struct volume *v, struct file *f, uint64_t lsn);
void intent_commit_all(struct volume *v, uint64_t lsn);
/* f is sealed: the next change starts anew. */
void intent_reset(struct file *f);

/* Names of d change: durable, once until d is sealed. */
int intent_dir(struct volume *v, struct dir *d);

/* Up to four names and what they are to lead to (id 0: nothing). */
struct intent_name {
	const struct dir *dir;
	const char *name;
	uint64_t id;
	uint8_t type;
};
int intent_names(struct volume *v, const struct intent_name *names, unsigned n);

#endif
