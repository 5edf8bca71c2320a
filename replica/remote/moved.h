/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Renames since the last round of a remote began, in order. Bounded: what is too much is not
 * kept, and `lost` says so. No locks, no I/O.
 */
#ifndef REPLICA_REMOTE_MOVED_H
#define REPLICA_REMOTE_MOVED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOVED_MAX 20000
#define MOVED_NAME 256

struct moved {
	uint64_t from, to;           /* ids of directories */
	char *name, *new_name;
};

struct moved_list {
	struct moved *one;
	size_t n, room;
	uint64_t count;              /* of all there ever were */
	bool lost;
};

void moved_add(struct moved_list *l, uint64_t from, const char *name, uint64_t to,
	       const char *new_name);
/* Frees what is kept; the count stays. */
void moved_clear(struct moved_list *l);
/* Where what had that name is by now. false: it was not renamed. name: MOVED_NAME bytes. */
bool moved_follow(const struct moved_list *l, uint64_t *dir, char *name);

#endif
