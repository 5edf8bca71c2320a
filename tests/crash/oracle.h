/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a volume may hold after a crash, from the log of acknowledgements
 * alone; knows nothing of how the product works.
 *
 * Every file has its versions, leaf by leaf, made again from the log. The
 * floor of a file is its newest state that an fsync or fdatasync covered which
 * was acknowledged before the cut. A leaf may be as in the floor, or as after
 * any later operation that had begun before the cut, or a mixture of those by
 * sectors; a leaf without later operations is exactly its floor. Names have
 * floors the same way, and what they lead to.
 *
 * After a mere kill of the daemon every acknowledged operation is a floor.
 */
#ifndef TESTS_CRASH_ORACLE_H
#define TESTS_CRASH_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/crash/oplog.h"

#define SECTOR 512u

struct version {
	uint32_t op;         /* index in file.op */
	const uint8_t *page; /* LEAF_SIZE bytes */
};

struct leaf {
	struct version *v;   /* rising; v[0] is of the file's creation */
	uint32_t n, cap;
	uint32_t floor;      /* index of the newest acknowledged OP_DSYNC here */
};

struct file {
	uint64_t id;
	const struct op **op;
	uint64_t *size;      /* after each op */
	size_t n, cap;
	struct leaf *leaf;
	size_t n_leaves, cap_leaves;
	uint32_t floor;      /* index of the newest op that must be there */
	uint32_t last;       /* of the newest that may be there */
	bool begun;          /* created before the cut */
};

/* What a name came to lead to; file NULL: nothing. */
struct binding {
	const struct op *op;
	struct file *file;
};

struct name {
	const char *name;
	struct binding *b;
	size_t n, cap;
	int floor, last;     /* -1: from before its first */
};

struct oracle_rules {
	uint64_t cut;        /* number of the last request before the cut */
	bool killed;         /* no power cut: every acknowledged operation stays */
	bool plain;          /* a filesystem by itself: syncfs counts, a rename syncs nothing */
};

struct oracle {
	struct oplog log;
	struct oracle_rules rules;
	struct file *file;
	size_t n_files;
	struct name *name;
	size_t n_names;
};

enum leaf_verdict {
	LEAF_EXACT,   /* the floor, and nothing else is possible */
	LEAF_OLD,     /* the floor, of several */
	LEAF_NEW,
	LEAF_TORN,    /* sectors of several allowed versions */
	LEAF_MIDTORN, /* and one sector that is the beginning of one and the end of another */
	LEAF_STALE,   /* older than the floor, or newer than the cut */
	LEAF_FOREIGN, /* of no version */
	LEAF_VERDICTS,
};

/* 0 or a negative errno */
int oracle_init(struct oracle *o, const char *path, const struct oracle_rules *rules);
struct name *oracle_name(const struct oracle *o, const char *name);
bool oracle_size_allowed(const struct file *f, uint64_t size);
/* Index of the oldest op a leaf may be of, of those since `since`. */
uint32_t oracle_floor(const struct file *f, uint64_t leaf, uint32_t since);
/*
 * len: bytes of the leaf within the file. since: nothing older than op `since`
 * of the file (at least its floor). version: the op it is of, where the
 * verdict names one.
 */
enum leaf_verdict oracle_leaf(const struct file *f, uint64_t leaf, const uint8_t *data,
			      size_t len, uint32_t since, uint32_t *version);
/*
 * Whether these bytes (of a copy of `size` bytes) are the leaf as in the floor,
 * and nothing but writes may have touched it since. Then its hash is on record:
 * with such a copy on any mirror there is nothing that cannot be decided.
 */
bool oracle_is_floor(const struct file *f, uint64_t leaf, const uint8_t *data, uint64_t size);
/* Index of the version of a leaf after op `op`. */
uint32_t oracle_version_at(const struct leaf *l, uint32_t op);
/* Where the name's binding is a replacement: the state of the file that was renamed there. */
uint32_t oracle_since(const struct oracle *o, const struct name *n, size_t binding);

#endif
