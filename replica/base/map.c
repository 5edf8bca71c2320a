/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Open addressing with linear probing. Invariant: between the home slot of a
 * key and the slot it lies in there is no free slot; deletion restores it by
 * moving later keys of the run back, so there are no tombstones.
 */
#include "replica/base/map.h"

#include <errno.h>
#include <stdlib.h>

#define MAP_MIN 16

struct map_slot {
	uint64_t key;
	uint64_t value;
	bool live;
};

/* Keys are often consecutive (inodes, leaf numbers): spread them. */
static size_t home_of(const struct map *m, uint64_t key)
{
	key ^= key >> 33;
	key *= 0xff51afd7ed558ccdULL;
	key ^= key >> 33;
	key *= 0xc4ceb9fe1a85ec53ULL;
	key ^= key >> 33;
	return (size_t)key & (m->size - 1);
}

/* The slot of key, or the free slot where it would go. size must not be 0. */
static struct map_slot *find(const struct map *m, uint64_t key)
{
	size_t i = home_of(m, key);

	while (m->slots[i].live && m->slots[i].key != key)
		i = (i + 1) & (m->size - 1);
	return &m->slots[i];
}

static int grow(struct map *m)
{
	struct map bigger = { .size = m->size ? m->size * 2 : MAP_MIN, .used = m->used };
	size_t i;

	bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (i = 0; i < m->size; i++)
		if (m->slots[i].live)
			*find(&bigger, m->slots[i].key) = m->slots[i];
	free(m->slots);
	*m = bigger;
	return 0;
}

void map_free(struct map *m)
{
	free(m->slots);
	*m = (struct map)MAP_INIT;
}

bool map_get(const struct map *m, uint64_t key, uint64_t *value)
{
	struct map_slot *s;

	if (!m->size)
		return false;
	s = find(m, key);
	if (s->live)
		*value = s->value;
	return s->live;
}

int map_set(struct map *m, uint64_t key, uint64_t value)
{
	struct map_slot *s = m->size ? find(m, key) : NULL;

	if (s && s->live) {
		s->value = value;
		return 0;
	}
	if ((m->used + 1) * 4 > m->size * 3) {
		int ret = grow(m);

		if (ret)
			return ret;
		s = find(m, key);
	}
	*s = (struct map_slot){ .key = key, .value = value, .live = true };
	m->used++;
	return 0;
}

bool map_del(struct map *m, uint64_t key)
{
	struct map_slot *s;
	size_t mask = m->size - 1, hole, i;

	if (!m->size)
		return false;
	s = find(m, key);
	if (!s->live)
		return false;
	hole = (size_t)(s - m->slots);
	for (i = (hole + 1) & mask; m->slots[i].live; i = (i + 1) & mask) {
		size_t home = home_of(m, m->slots[i].key);

		/* may move back only if its home is not behind the hole */
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			m->slots[hole] = m->slots[i];
			hole = i;
		}
	}
	m->slots[hole].live = false;
	m->used--;
	return true;
}

bool map_next(const struct map *m, uint64_t *at, uint64_t *key, uint64_t *value)
{
	for (; *at < m->size; (*at)++) {
		const struct map_slot *s = &m->slots[*at];

		if (!s->live)
			continue;
		*key = s->key;
		*value = s->value;
		(*at)++;
		return true;
	}
	return false;
}
