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

static uint64_t avalanche(uint64_t v)
{
	v ^= v >> 33;
	v *= MIX_C;
	v ^= v >> 33;
	v *= MIX_D;
	return v ^ v >> 33;
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

uint64_t hash_entry(const char *name, size_t len, unsigned type, uint64_t file_id)
{
	return XXH3_64bits_withSeed(name, len, seed_of(file_id ^ MIX_D, type));
}

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len, seed);
}
