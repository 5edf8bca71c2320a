/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tables of fixed-size plain slots in one memory file. Slot 0 of a table is
 * never used, so that 0 can mean "none". The memory file is reserved large and
 * sparse: only touched pages exist. Free lists are private and can be rebuilt
 * by scanning. Not locked: the owner's lock guards each table.
 */
#ifndef REPLICA_ARENA_H
#define REPLICA_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct arena_header {
	uint64_t magic;
	uint32_t layout;     /* version of every struct in the arena */
	uint32_t tables;
	uint64_t high[16];   /* per table: slots ever used + 1 */
};

struct arena {
	int fd;              /* memfd */
	char *base;
	size_t size;
	struct arena_header *header;
};

struct arena_table {
	struct arena *arena;
	char *base;
	size_t slot;         /* bytes a slot */
	uint32_t max;        /* slots, slot 0 included */
	int index;           /* in header->high */
	uint32_t *free;      /* stack of free slots */
	size_t n_free, cap_free;
};

struct arena_spec {
	size_t slot;
	uint32_t max;
};

int arena_create(struct arena *a, struct arena_table *tables, const struct arena_spec *spec,
		 int n);
void arena_destroy(struct arena *a, struct arena_table *tables, int n);
/* A slot, or 0 when the table is full. Zeroed, but for what the owner wrote
 * into it after freeing it. */
uint32_t arena_alloc(struct arena_table *t);
void arena_free(struct arena_table *t, uint32_t slot);

static inline void *arena_slot(const struct arena_table *t, uint32_t slot)
{
	return t->base + (size_t)slot * t->slot;
}

static inline uint32_t arena_high(const struct arena_table *t)
{
	return (uint32_t)t->arena->header->high[t->index];
}

#endif
