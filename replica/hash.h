/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The boundary to XXH3: the only file that includes <xxhash.h>. Hashes are
 * 64 bits, host independent. They find accidents, not attackers.
 */
#ifndef REPLICA_HASH_H
#define REPLICA_HASH_H

#include <stddef.h>
#include <stdint.h>

#define LEAF_SHIFT 12
#define LEAF_SIZE 4096u

/*
 * Hash of one leaf: len bytes (0..4096) taken as if padded with zeros to
 * 4096, seeded with (file id, leaf index) so that a block in the wrong place
 * never matches. A leaf of zeros has hash 0 whatever its length, and no other
 * leaf has (a computed 0 becomes 1): sparse files have sparse hash arrays and
 * growing a file changes no hash.
 */
uint64_t hash_leaf(uint64_t file_id, uint64_t index, const void *data, size_t len);

/* Whether len bytes are all zero. */
int hash_is_zero(const void *data, size_t len);

/* One entry of a directory sum: name, type (S_IFMT >> 12), file id. The sum
 * of a directory is the wrapping 64-bit sum over its entries. */
uint64_t hash_entry(const char *name, size_t len, unsigned type, uint64_t file_id);

/* Plain checksum of bytes, for pages, superblocks, metadata. */
uint64_t hash_bytes(const void *data, size_t len, uint64_t seed);

#endif
