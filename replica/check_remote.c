// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What no mirror has, from a remote. Nothing that comes from there is believed:
 * a leaf has to match the hash that the mirrors know, and where they know only
 * the root of a small file, all of its leaves together have to match that.
 */
#include "replica/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/cleanup.h"
#include "replica/remote/remote.h"

/* Bytes of a leaf that lie within the file. */
static size_t leaf_bytes(const struct file *f, uint64_t leaf)
{
	uint64_t left = f->size - (leaf << LEAF_SHIFT);

	return left < LEAF_SIZE ? (size_t)left : LEAF_SIZE;
}

int check_remote_leaves(struct check *c, struct file *f, uint64_t first, unsigned n,
			uint8_t *out, bool *good)
{
	CLEANUP_FREE uint8_t *buf = malloc((size_t)n << LEAF_SHIFT);
	int r = buf ? remotes_fetch(c->v, f->node, f->id, first, f->size, n, buf, c->remote,
				    sizeof(c->remote)) : -ENOMEM;

	for (unsigned i = 0; r == 0 && i < n; i++) {
		const uint8_t *leaf = buf + ((size_t)i << LEAF_SHIFT);

		good[i] = hash_leaf(f->id, first + i, leaf, leaf_bytes(f, first + i)) ==
			leaves_get(f, first + i);
		if (good[i])
			memcpy(out + ((size_t)i << LEAF_SHIFT), leaf, LEAF_SIZE);
	}
	return r;
}

void check_remote_hashes(struct check *c, struct file *f)
{
	uint64_t n = leaves_of(f->size), hash[SMALL_LEAVES], sum = 0;
	CLEANUP_FREE uint8_t *buf = NULL;

	if (f->large || f->known || !n || n > SMALL_LEAVES || !remotes_any(c->v))
		return;
	buf = malloc(n << LEAF_SHIFT);
	if (!buf || remotes_fetch(c->v, f->node, f->id, 0, f->size, n, buf, c->remote,
				  sizeof(c->remote)) < 0)
		return;
	for (uint64_t i = 0; i < n; i++) {
		hash[i] = hash_leaf(f->id, i, buf + (i << LEAF_SHIFT), leaf_bytes(f, i));
		sum += hash[i];
	}
	if (sum != f->sum)
		return;
	memcpy(f->small, hash, n * sizeof(hash[0]));
	f->known = true;
}
