/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encoding of records. Pure. Whatever the bytes are, decoding either yields a
 * record that encodes to the same bytes or says why not.
 */
#include "replica/record.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "replica/base/le.h"
#include "replica/hash.h"

/* Places in the encoded record. */
#define AT_VERSION 0
#define AT_FLAGS 1
#define AT_LEAF_SHIFT 2
#define AT_TYPE 3
#define AT_WORDS 4
#define AT_META 60
#define AT_CHECK 64
#define N_WORDS 7

/* Bit t: S_IFMT >> 12 may be t (FIFO, chr, dir, blk, reg, link, socket). */
#define TYPES_KNOWN 0x1556u

static uint32_t check_of(const uint8_t *bytes)
{
	return (uint32_t)hash_bytes(bytes, AT_CHECK, RECORD_VERSION);
}

void record_encode(const struct record *r, uint8_t out[RECORD_SIZE])
{
	const uint64_t words[N_WORDS] = {
		htole64(r->id), htole64(r->gen), htole64(r->size), htole64(r->hash),
		htole64((uint64_t)r->mtime), htole64((uint64_t)r->ctime),
		htole64((uint64_t)r->sealed_at),
	};

	out[AT_VERSION] = RECORD_VERSION;
	out[AT_FLAGS] = r->flags;
	out[AT_LEAF_SHIFT] = r->leaf_shift;
	out[AT_TYPE] = r->type;
	memcpy(out + AT_WORDS, words, sizeof(words));
	put32(out + AT_META, r->meta);
	put32(out + AT_CHECK, check_of(out));
}

static int check_fields(const uint8_t *p)
{
	if (p[AT_VERSION] != RECORD_VERSION || p[AT_FLAGS] & ~RECORD_FLAGS_KNOWN)
		return -EPROTONOSUPPORT;
	if (p[AT_LEAF_SHIFT] != LEAF_SHIFT)
		return -EINVAL;
	if (p[AT_TYPE] > 15 || !(TYPES_KNOWN >> p[AT_TYPE] & 1))
		return -EINVAL;
	return 0;
}

int record_decode(const void *in, size_t len, struct record *r)
{
	const uint8_t *p = in;
	uint64_t words[N_WORDS];
	int ret;

	if (len != RECORD_SIZE || get32(p + AT_CHECK) != check_of(p))
		return -EINVAL;
	ret = check_fields(p);
	if (ret)
		return ret;
	memcpy(words, p + AT_WORDS, sizeof(words));
	*r = (struct record){
		.flags = p[AT_FLAGS],
		.leaf_shift = p[AT_LEAF_SHIFT],
		.type = p[AT_TYPE],
		.id = le64toh(words[0]),
		.gen = le64toh(words[1]),
		.size = le64toh(words[2]),
		.hash = le64toh(words[3]),
		.mtime = (int64_t)le64toh(words[4]),
		.ctime = (int64_t)le64toh(words[5]),
		.sealed_at = (int64_t)le64toh(words[6]),
		.meta = get32(p + AT_META),
	};
	return 0;
}

bool record_equal(const struct record *a, const struct record *b)
{
	return a->flags == b->flags && a->leaf_shift == b->leaf_shift &&
	       a->type == b->type && a->id == b->id && a->gen == b->gen &&
	       a->size == b->size && a->hash == b->hash && a->mtime == b->mtime &&
	       a->ctime == b->ctime && a->sealed_at == b->sealed_at && a->meta == b->meta;
}
