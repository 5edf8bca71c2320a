/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors of directories, cached: the only way from a node to a mirror's
 * file. A bounded number stays open whatever the size of the inode table.
 */
#ifndef REPLICA_DIRFD_H
#define REPLICA_DIRFD_H

#include "replica/volume.h"

#define DIRFD_MAX 4096

struct dirfd_cache;

/* max: descriptors kept open when idle. */
int dirfd_init(struct volume *v, unsigned max);
void dirfd_fini(struct volume *v);
/* O_PATH descriptor of directory `node` on mirror m, held until dirfd_put.
 * -ESTALE when the node has no name left and no pin, or an errno of openat.
 * Takes position stripes (shared, one at a time) of node and its ancestors. */
int dirfd_get(struct volume *v, uint32_t node, int m);
void dirfd_put(struct volume *v, uint32_t node, int m, int fd);
/* Forgets the cached descriptors of a node (freed, or replaced by a repair). */
void dirfd_drop(struct volume *v, uint32_t node);

/* One for each member in mask: fd[m] >= 0, or -errno. Others -EBADF. */
void dirfds_get(struct volume *v, uint32_t node, uint32_t mask, int fd[MAX_MIRRORS]);
void dirfds_put(struct volume *v, uint32_t node, uint32_t mask, const int fd[MAX_MIRRORS]);

#endif
