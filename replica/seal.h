/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sealing: what changed and came to rest gets its final record. In batches:
 * leaf hashes to their files, one sync of each mirror, then the records. So a
 * sealed record is never durable before its data.
 */
#ifndef REPLICA_SEAL_H
#define REPLICA_SEAL_H

#include "replica/dir.h"
#include "replica/file.h"

int seal_init(struct volume *v);
/* Stops the thread; what is queued stays queued. */
void seal_stop(struct volume *v);
void seal_fini(struct volume *v);
/* Takes part in the next batches, until sealed. f->lock (d->lock) held. */
void seal_queue(struct volume *v, struct file *f);
void seal_queue_dir(struct volume *v, struct dir *d);
/* Seals everything now. all: also what changed a moment ago. 0 or the first
 * error; what could not be sealed stays OPEN on the mirrors. */
int seal_run(struct volume *v, bool all);
/*
 * Changes stand still between these two; seal_frozen, in between, seals all
 * there is and makes it durable, after which the journals are empty. Waits
 * for changes under way: the caller holds no lock.
 */
void seal_freeze(struct volume *v);
int seal_frozen(struct volume *v);
void seal_thaw(struct volume *v);
/* Before a change takes its locks: sees to it that the journals have room. */
void seal_make_room(struct volume *v);
/* Objects not sealed yet. */
uint64_t seal_pending(struct volume *v);

#endif
