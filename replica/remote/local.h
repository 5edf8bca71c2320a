/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the volume has, in the words of a manifest: entries of objects, and
 * their content as a source that is one state or nothing.
 */
#ifndef REPLICA_REMOTE_LOCAL_H
#define REPLICA_REMOTE_LOCAL_H

#include "replica/ops.h"
#include "replica/remote/layout.h"

/* Everything of the object but manifests of directories. 0, -ESTALE (it is gone), or what
 * reading it said. The caller clears *out. */
int local_entry(struct volume *v, const struct entry *e, const char *name,
		struct manifest_entry *out);
/*
 * The content of a regular file (node gets a reference of its own). steady: a
 * state that stays although the file goes on changing, if that can be had at little
 * cost: a clone on the mirror's filesystem, or a copy of a file that is not large.
 */
int local_source(struct volume *v, uint32_t node, const char *name, bool steady,
		 struct layout_source *out);

#endif
