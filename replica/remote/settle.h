/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What was stored at a remote and not looked at again yet. No WebDAV server
 * syncs before it answers: what it acknowledged may be gone after its power failed. So each
 * object is looked at once more when the settle time is over (not before, also after trouble:
 * a look that goes well then says nothing about later). Kept in the order of storing; bounded:
 * beyond that the oldest are left to the slow scrub.
 */
#ifndef REPLICA_REMOTE_SETTLE_H
#define REPLICA_REMOTE_SETTLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SETTLE_MAX 200000

struct settle_item {
	char *object;
	uint64_t size;
	int64_t due;           /* ms, real time */
	char *dir;             /* directory in the tree, and name there; "": none */
	char *name;            /* "" the manifest of dir */
};

struct settle_list {
	struct settle_item *item; /* ring */
	size_t size, first, n;
};

/* Copies. */
int settle_add(struct settle_list *l, const char *object, uint64_t size, int64_t due,
	       const char *dir, const char *name);
/* The oldest, if it is due; it stays the list's until settle_pop. */
const struct settle_item *settle_due(const struct settle_list *l, int64_t now);
const struct settle_item *settle_at(const struct settle_list *l, size_t i);
void settle_pop(struct settle_list *l);
void settle_free(struct settle_list *l);

#endif
