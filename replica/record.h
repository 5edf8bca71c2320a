/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The record: what a mirror knows of one object, 68 bytes in one xattr, so
 * that ext4 keeps it in the inode. Encoded little-endian; layout in
 * docs/format.md.
 */
#ifndef REPLICA_RECORD_H
#define REPLICA_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_SIZE 68
#define RECORD_VERSION 1
/* Names of at most four letters after the dot leave room for all 68 bytes in
 * an ext4 inode of 256 bytes. user.* where the object takes it (files, directories), trusted.* for
 * symlinks, FIFOs, sockets and device nodes (needs CAP_SYS_ADMIN). */
#define RECORD_XATTR_USER "user.mfs"
#define RECORD_XATTR_TRUSTED "trusted.mfs"

enum record_flags {
	RECORD_OPEN = 1 << 0,       /* content may be newer than the hash */
	RECORD_UNVERIFIED = 1 << 1, /* hash taken from an undecidable copy */
	RECORD_CUT = 1 << 2,        /* OPEN, and leaves below the sealed size were cut off */
	RECORD_FLAGS_KNOWN = 7,
};

struct record {
	uint8_t flags;      /* enum record_flags */
	uint8_t leaf_shift; /* log2 of the leaf, 12 */
	uint8_t type;       /* S_IFMT >> 12 of the object */
	uint64_t id;        /* file id: unique in the volume, equal on all mirrors */
	uint64_t gen;       /* rises at each sealing */
	uint64_t size;      /* bytes of a file; number of entries of a directory;
	                       length of a symlink's target; device number */
	uint64_t hash;      /* root over leaf hashes; directory sum; hash of target */
	int64_t mtime;      /* sealed mtime, ns since the epoch */
	int64_t ctime;      /* ctime to show while the inode's own is of the sealing */
	int64_t sealed_at;  /* when the record was written, ns (coarse clock) */
	uint32_t meta;      /* hash of mode, owner, xattrs: metahash() in object.h */
};

void record_encode(const struct record *r, uint8_t out[RECORD_SIZE]);
/* 0, -EINVAL (length, self-check, impossible field) or -EPROTONOSUPPORT
 * (a version or a flag of the future, with a good self-check). */
int record_decode(const void *in, size_t len, struct record *r);
bool record_equal(const struct record *a, const struct record *b);

#endif
