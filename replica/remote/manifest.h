/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The objects that describe a tree at a remote: manifests of directories, heads,
 * intents. Encoding only: no I/O, no volume. Text, JSON (docs/remote-format.md), each
 * with a first line "mirrorfs-<what> <version> <sha256 of the rest>\n", so that
 * a torn or foreign object is never taken for one.
 *
 * Names, targets and xattr names are bytes: as JSON strings where they are
 * valid UTF-8 without control characters, else as {"b64": "..."}; xattr values always
 * base64.
 *
 * A large directory is split into pages by a hash of the name (XXH3, hash_bytes seed 0; the top
 * `bits` bits choose), so that a change of one entry stores one page and the index again.
 */
#ifndef REPLICA_REMOTE_MANIFEST_H
#define REPLICA_REMOTE_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define SHA256_LEN 32
#define MANIFEST_PAGE 512       /* entries a page, about */
#define MANIFEST_BITS_MAX 14

/* A manifest object by its number and content. The object is named after owner and number. */
struct manifest_ref {
	uint64_t seq;               /* 0: none */
	uint8_t sha256[SHA256_LEN];
};

struct manifest_xattr {
	char *name;
	void *value;
	size_t len;
};

struct manifest_entry {
	char *name;
	uint8_t type;               /* S_IFMT >> 12 */
	bool link;                  /* one of several names of a file: all but name, type and id
	                               is in the entry of that id in the directory of links */
	bool by_id;                 /* content (a directory: everything below) is stored by id */
	uint64_t object;            /* files, by_id: number of the object that has the content */
	uint64_t id;                /* file id, as st_ino */
	uint64_t gen;               /* of the record when it was sent */
	uint64_t size;              /* files: bytes; directories: entries */
	uint64_t root;              /* files: sum of leaf hashes; else 0 */
	uint32_t mode, uid, gid;    /* mode: permission bits only */
	uint64_t rdev;
	int64_t mtime, atime, ctime;/* ns */
	char *target;               /* symlinks */
	struct manifest_xattr *xattr;
	size_t n_xattr;
	uint64_t refs;              /* in the directory of links: how many names lead to it */
	struct manifest_ref leaves; /* files over 64 KiB: object of leaf hashes */
	struct manifest_ref dir;    /* directories: their manifest */
	uint64_t files, bytes;      /* directories: of all files below, links counted by name */
	bool partial;               /* directories: new, and not all that is below is there yet */
};

struct manifest_page {          /* one page of an index */
	struct manifest_ref ref;
	uint32_t entries;
};

/* A manifest is either all entries (bits 0, no pages) or an index. */
struct manifest {
	uint64_t id;                /* of the directory */
	unsigned bits;
	struct manifest_entry *entry; /* whole: sorted by name (strcmp) */
	size_t n;
	struct manifest_page *page; /* index: 1 << bits */
};

void manifest_entry_clear(struct manifest_entry *e);
int manifest_entry_copy(struct manifest_entry *to, const struct manifest_entry *from);
/* Same object, content and attributes. Aside are names, refs, gen, atime, where things are stored
 * (by_id, object, leaves, dir), and of directories all counts (size, files, bytes). */
bool manifest_entry_same(const struct manifest_entry *a, const struct manifest_entry *b);
void manifest_free(struct manifest *m);
/* Which page holds the name. */
unsigned manifest_page_of(const char *name, unsigned bits);
/* Bits for so many entries: 0 up to 2 * MANIFEST_PAGE. Hysteresis: `now` is kept while it fits
 * within a factor of four. */
unsigned manifest_bits(size_t entries, unsigned now);

/* What is given is a whole manifest, an index, or one page (a whole manifest with page set).
 * *out is malloc'ed, with a zero behind it; sha256 (may be NULL) gets the hash of all of it, for a
 * ref. -ENOMEM; -EINVAL: what no reader would take (a name with '/', an unsorted list, a size of
 * 2^63...); -EFBIG: over 64 MiB of text. */
int manifest_encode(const struct manifest *m, char **out, size_t *len, uint8_t sha256[SHA256_LEN]);
int manifest_encode_page(uint64_t id, unsigned bits, unsigned no, const struct manifest_entry *e,
			 size_t n, char **out, size_t *len, uint8_t sha256[SHA256_LEN]);
/* want (may be NULL): the hash it must have. -EBADMSG: damaged or not what was wanted; error says
 * what. -EPROTONOSUPPORT: of a newer version. */
int manifest_decode(const char *text, size_t len, const uint8_t want[SHA256_LEN],
		    struct manifest *m, char *error, size_t n);
int manifest_decode_page(const char *text, size_t len, const uint8_t want[SHA256_LEN], uint64_t id,
			 unsigned bits, unsigned no, struct manifest_entry **e, size_t *count,
			 char *error, size_t n);

/* The format object: written once. */
struct remote_format {
	uint32_t version;           /* 1 */
	char layout[16];            /* "tree" */
	uint8_t volume[16];
	char writer[17];
	int64_t created;            /* seconds */
};
/* A head: a whole state. Objects `head/<seq, 20 digits>`. */
struct remote_head {
	uint64_t seq;
	int64_t time;               /* seconds */
	uint8_t volume[16];
	char writer[17];
	struct manifest_ref root;   /* manifest of directory 1 */
	struct manifest_entry attrs;/* attributes of the root directory (name "") */
	struct manifest_ref links;  /* manifest of the directory of links, id 2 */
	uint64_t files, bytes;
	bool uncounted;             /* the numbers of names of inodes are to be made anew */
	char **drop;                /* objects that this head no longer needs and older ones do */
	size_t n_drop;
};
/* An intent: what may be under way between head seq - 1 and head seq. Objects `intent/<seq>`. */
enum intent_kind { INTENT_PUT, INTENT_MOVE, INTENT_DELETE };
struct intent_op {
	enum intent_kind kind;
	bool dir;
	char *name;                 /* of the object in the store */
	char *to;                   /* moves */
	char *path;                 /* in the tree, of what it is about */
	struct manifest_entry entry;/* puts: what it will be */
};
struct remote_intent {
	uint64_t seq;
	char writer[17];
	int64_t time;
	struct intent_op *op;
	size_t n;
};
int remote_format_encode(const struct remote_format *f, char **out, size_t *len);
int remote_format_decode(const char *text, size_t len, struct remote_format *f, char *error,
			 size_t n);
int remote_head_encode(const struct remote_head *h, char **out, size_t *len);
int remote_head_decode(const char *text, size_t len, struct remote_head *h, char *error, size_t n);
void remote_head_clear(struct remote_head *h);
int remote_intent_encode(const struct remote_intent *i, char **out, size_t *len);
int remote_intent_decode(const char *text, size_t len, struct remote_intent *i, char *error,
			 size_t n);
void remote_intent_clear(struct remote_intent *i);
/* Leaf hashes: header line, then 8 bytes little-endian each. */
int leaf_object_encode(uint64_t id, uint64_t size, const uint64_t *hash, size_t n, char **out,
		       size_t *len, uint8_t sha256[SHA256_LEN]);
int leaf_object_decode(const void *data, size_t len, const uint8_t want[SHA256_LEN], uint64_t id,
		       uint64_t size, uint64_t **hash, char *error, size_t n);

#endif
