/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Marks of a ledger as a tree by path: where to look, on the way down from the
 * root. A place that is on the way only has no flags.
 */
#ifndef REPLICA_REMOTE_LOOK_H
#define REPLICA_REMOTE_LOOK_H

#include <stddef.h>

struct look {
	char *name;
	unsigned flags;          /* enum mark_flags of the directory */
	struct look **child;     /* sorted by name */
	size_t n;
};

struct look *look_new(void);
void look_free(struct look *k);
/* The place of a path, made with the places on the way. NULL: no memory. */
struct look *look_at(struct look *root, const char *path);
struct look *look_child(const struct look *k, const char *name);   /* NULL: none; k may be NULL */
struct look *look_make(struct look *k, const char *name);

#endif
