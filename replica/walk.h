/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checking all of a subtree: what scrub, recovery and resync share. */
#ifndef REPLICA_WALK_H
#define REPLICA_WALK_H

#include "replica/check.h"

/* c->stats must be set. opt (may be NULL): progress and its arg are used. */
int walk_tree(struct check *c, const struct scrub_options *opt, uint32_t start);
/* A directory, its entries, and below it only what was never sealed. */
int walk_unsealed(struct check *c, uint32_t start);
/* The node at a path relative to the root, with a reference. */
int walk_resolve(struct volume *v, const char *path, uint32_t *node);
/* One file, or one directory and its entries without going deeper. */
int walk_one(struct check *c, uint32_t node);

#endif
