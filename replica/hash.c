/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * XXH3 behind the names of hash.h. Every value here is part of the format on
 * disk: changing a constant or a mixing step orphans existing volumes. No
 * state, no locks. On x86 the dispatcher picks AVX2 or AVX512 at run time;
 * its results are those of the plain functions.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "replica/hash.h"

#include <string.h>

#if defined(HAVE_XXH_X86DISPATCH) && defined(__x86_64__)
#include <xxh_x86dispatch.h> /* redefines XXH3_64bits_withSeed */
#else
#include <xxhash.h>
#endif

#define MIX_A 0x9e3779b97f4a7c15ULL
#define MIX_B 0xd6e8feb86659fd93ULL
#define MIX_C 0xff51afd7ed558ccdULL
#define MIX_D 0xc4ceb9fe1a85ec53ULL

static uint64_t rotate(uint64_t v, unsigned n)
{
	return v << n | v >> (64 - n);
}

static uint64_t avalanche(uint64_t v)
{
	v ^= v >> 33;
	v *= MIX_C;
	v ^= v >> 33;
	v *= MIX_D;
	return v ^ v >> 33;
}

/* A bijection of h for a given v and of v for a given h, and not commutative:
 * neither another value nor another order at one place can go unseen. */
static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (rotate(h, 29) ^ v * MIX_B) * MIX_A;
	return h ^ h >> 32;
}

static uint64_t seed_of(uint64_t file_id, uint64_t index)
{
	return avalanche(avalanche(file_id + MIX_A) ^ (index + 1) * MIX_B);
}

uint64_t hash_leaf(uint64_t file_id, uint64_t index, const void *data, size_t len)
{
	unsigned char padded[LEAF_SIZE];
	uint64_t h;

	if (hash_is_zero(data, len))
		return 0;
	if (len < LEAF_SIZE) {
		memcpy(padded, data, len);
		memset(padded + len, 0, LEAF_SIZE - len);
		data = padded;
	}
	h = XXH3_64bits_withSeed(data, LEAF_SIZE, seed_of(file_id, index));
	return h ? h : 1;
}

int hash_is_zero(const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t w[8];

	for (; len >= sizeof(w); p += sizeof(w), len -= sizeof(w)) {
		memcpy(w, p, sizeof(w));
		if (w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7])
			return 0;
	}
	for (; len; p++, len--)
		if (*p)
			return 0;
	return 1;
}

void hash_root_init(struct hash_root *r, uint64_t file_id)
{
	r->state[0] = avalanche(file_id ^ MIX_B);
	r->state[1] = 0;
}

/* No leaf but one of zeros hashes to 0, so a 0 fed to mix() can only be the
 * mark of a run, and its length follows. */
static uint64_t fold_run(uint64_t h, uint64_t run)
{
	return run ? mix(mix(h, 0), run) : h;
}

void hash_root_add(struct hash_root *r, const uint64_t *leaves, size_t n)
{
	uint64_t h = r->state[0], run = r->state[1];
	size_t i;

	for (i = 0; i < n; i++) {
		if (!leaves[i]) {
			run++;
			continue;
		}
		h = mix(fold_run(h, run), leaves[i]);
		run = 0;
	}
	r->state[0] = h;
	r->state[1] = run;
}

void hash_root_add_zeros(struct hash_root *r, uint64_t n)
{
	r->state[1] += n;
}

uint64_t hash_root_done(struct hash_root *r, uint64_t size)
{
	return avalanche(mix(fold_run(r->state[0], r->state[1]), size));
}

uint64_t hash_entry(const char *name, size_t len, unsigned type, uint64_t file_id)
{
	return XXH3_64bits_withSeed(name, len, seed_of(file_id ^ MIX_D, type));
}

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len, seed);
}
