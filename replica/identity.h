/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which directory of which filesystem a mirror is, to know a copied mirror
 * (cp -a, dd) from the original: a hash of the filesystem's UUID where the
 * kernel tells it (0 otherwise) and the directory's inode number.
 */
#ifndef REPLICA_IDENTITY_H
#define REPLICA_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

void identity_of(int rootfd, uint64_t *fs_id, uint64_t *ino);
bool identity_is_clone(int rootfd, uint64_t fs_id, uint64_t ino);

#endif
