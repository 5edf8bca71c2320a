/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hash map from a 64-bit key to a 64-bit value, open addressing with linear
 * probing, grown at 3/4 load. Any key and value is allowed. Not locked: the
 * owner holds its own lock. Memory failure: map_set returns -ENOMEM and the
 * map is unchanged.
 */
#ifndef REPLICA_BASE_MAP_H
#define REPLICA_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map {
	struct map_slot *slots; /* NULL until the first insert */
	size_t size;            /* slots, a power of two or 0 */
	size_t used;            /* live keys */
};

#define MAP_INIT { 0 }

void map_free(struct map *m);
bool map_get(const struct map *m, uint64_t key, uint64_t *value);
int map_set(struct map *m, uint64_t key, uint64_t value);
/* Returns whether the key was there. */
bool map_del(struct map *m, uint64_t key);
/* Walks all keys: *at starts at 0. false: no more. The map must not change. */
bool map_next(const struct map *m, uint64_t *at, uint64_t *key, uint64_t *value);

#endif
