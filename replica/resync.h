/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bringing stale mirrors up to date while the volume is in use.
 *
 * The targets get no foreground writes. A first pass compares everything;
 * what changes meanwhile is noted by node, and later passes look at the notes
 * only. The last pass runs with the gate held exclusively, when few notes are
 * left; then the targets join the in-sync set in a new epoch.
 */
#ifndef REPLICA_RESYNC_H
#define REPLICA_RESYNC_H

#include <stdbool.h>

#include "replica/scrub.h"
#include "replica/volume.h"

int resync_init(struct volume *v);
void resync_fini(struct volume *v);
/* Content, attributes or (directory) names of node changed. Cheap when no
 * resync is going on. */
void resync_touched(struct volume *v, uint32_t node);
/* A whole tree came to be at node: moved there, or only begun on a target. */
void resync_moved(struct volume *v, uint32_t node);
/* The node, and with it the names known of it, stays until the resync ends: a
 * file of several names is put on a target as one inode only if they meet. */
void resync_hold(struct volume *v, uint32_t node);
/* Brings all stale and present members up to date. opt: callbacks, may be NULL. */
int resync_run(struct volume *v, const struct scrub_options *opt, struct scrub_stats *stats);
/* The same in a thread of its own, after mounting; also settles what an
 * unclean end left open. */
int resync_start(struct volume *v);

#endif
