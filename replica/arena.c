/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replica/arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ARENA_MAGIC 0x6d6972726f726673ull
#define ARENA_LAYOUT 1
#define ARENA_PAGE 4096

static size_t round_page(size_t n)
{
	return (n + ARENA_PAGE - 1) & ~(size_t)(ARENA_PAGE - 1);
}

static int map_arena(struct arena *a)
{
	a->fd = memfd_create("mirrorfs-arena", MFD_CLOEXEC);
	if (a->fd < 0)
		return -errno;
	if (ftruncate(a->fd, (off_t)a->size) < 0)
		return -errno;
	a->base = mmap(NULL, a->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		       a->fd, 0);
	if (a->base == MAP_FAILED) {
		a->base = NULL;
		return -errno;
	}
	return 0;
}

int arena_create(struct arena *a, struct arena_table *tables, const struct arena_spec *spec, int n)
{
	size_t at = ARENA_PAGE;
	int r;

	memset(a, 0, sizeof(*a));
	a->size = ARENA_PAGE;
	for (int i = 0; i < n; i++)
		a->size += round_page(spec[i].slot * spec[i].max);
	r = map_arena(a);
	if (r < 0) {
		arena_destroy(a, tables, 0);
		return r;
	}
	a->header = (struct arena_header *)a->base;
	a->header->magic = ARENA_MAGIC;
	a->header->layout = ARENA_LAYOUT;
	a->header->tables = (uint32_t)n;
	for (int i = 0; i < n; i++) {
		tables[i] = (struct arena_table){
			.arena = a, .base = a->base + at, .slot = spec[i].slot,
			.max = spec[i].max, .index = i,
		};
		a->header->high[i] = 1;
		at += round_page(spec[i].slot * spec[i].max);
	}
	return 0;
}

void arena_destroy(struct arena *a, struct arena_table *tables, int n)
{
	for (int i = 0; i < n; i++)
		free(tables[i].free);
	if (a->base)
		munmap(a->base, a->size);
	if (a->fd >= 0)
		close(a->fd);
	a->base = NULL;
	a->fd = -1;
}

uint32_t arena_alloc(struct arena_table *t)
{
	uint64_t *high = &t->arena->header->high[t->index];
	uint32_t slot;

	if (t->n_free)
		slot = t->free[--t->n_free];
	else if (*high < t->max)
		slot = (uint32_t)(*high)++;
	else
		return 0;
	return slot;
}

void arena_free(struct arena_table *t, uint32_t slot)
{
	memset(arena_slot(t, slot), 0, t->slot);
	if (t->n_free == t->cap_free) {
		size_t cap = t->cap_free ? t->cap_free * 2 : 256;
		uint32_t *bigger = realloc(t->free, cap * sizeof(*bigger));

		if (!bigger)
			return; /* the slot is lost until the next scan, no more */
		t->free = bigger;
		t->cap_free = cap;
	}
	t->free[t->n_free++] = slot;
}
