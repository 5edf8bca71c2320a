/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checking all of a subtree: what scrub, recovery and resync share. */
#ifndef REPLICA_WALK_H
#define REPLICA_WALK_H

#include "replica/check.h"

/* c->stats must be set. opt (may be NULL): progress and its arg are used. */
int walk_tree(struct check *c, const struct scrub_options *opt, uint32_t start);
/* One file, or one directory and its entries without going deeper. */
int walk_one(struct check *c, uint32_t node);

#endif
