/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Records that their inode cannot carry (no xattrs on the filesystem, no
 * space left for one, symlinks and special files without privilege):
 * `.mirrorfs/spill/xx/<inode number in hex>`, one small checksummed file each, holding
 * the record and the birth time of the inode, by which a reused inode number
 * is recognised.
 */
#ifndef REPLICA_SPILL_H
#define REPLICA_SPILL_H

#include <stdint.h>

#include "replica/record.h"

/* ino, btime: of the object (btime in ns, 0 where the filesystem has none). */
int spill_store(int dotfd, uint64_t ino, int64_t btime, const struct record *r);
/* 0, -ENODATA (none, or of another birth), -EINVAL (damaged). */
int spill_load(int dotfd, uint64_t ino, int64_t btime, struct record *r);
/* A missing one is 0. */
int spill_remove(int dotfd, uint64_t ino);

#endif
