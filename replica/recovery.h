/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the journals say after an unclean end: an index over the records of
 * all in-sync mirrors, made when the volume is opened and kept until all is
 * settled. It is read by the checks: which regions of a file may differ from
 * their hashes, what they may be instead, which directories may differ.
 *
 * Payloads (little-endian):
 *
 *   OPEN   arg: first region << 32 | number of regions (0: none). payload: the
 *          path, then for small files (flag OPEN_HASHES) its leaf hashes:
 *          u16 length of the path, path, padding to 8, 8 bytes a leaf
 *   NEW    arg: first leaf. payload: u64 size of the file afterwards, u64
 *          number of leaves, then a hash a leaf (none with flag NEW_ZERO: they
 *          are zeros, up to any number of leaves)
 *   COMMIT arg: lsn
 *   DIRTY  payload: the path relative to the root, without a zero, "." the root
 *   NAME   payload: effects, each: u64 directory, u64 its generation, u64 id (0:
 *          the name is gone), u8 type, u8 length of the name, name, padding to 8
 */
#ifndef REPLICA_RECOVERY_H
#define REPLICA_RECOVERY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replica/base/map.h"
#include "replica/hashfile.h"

struct volume;

/* Hash pages never straddle a region: a torn page is always in an open one. */
#define REGION_LEAVES (2 * HASHFILE_LEAVES)

enum journal_open_flags { OPEN_HASHES = 1 };
enum journal_new_flags { NEW_ZERO = 1, NEW_UNVERIFIED = 2 };

/* A candidate for one leaf. */
struct candidate {
	uint64_t leaf, lsn, hash;
	bool unverified;
};

/* A run of leaves from `first` to the end of file or first + n: zeros. */
struct zero_run {
	uint64_t first, n, lsn;
};

struct size_note {
	uint64_t size, lsn;
};

/* The journal's records of one file that were made at one generation. */
struct recovery_gen {
	uint64_t gen, first;         /* lsn of the first one found */
	uint64_t *base;              /* leaf hashes of a small file then at rest, or NULL */
	uint64_t base_lsn, n_base;
};

/*
 * What is known of one file, of all generations: a record of a generation can
 * be durable before the object's own record of it is. Generations and lsn
 * rise together.
 */
struct recovery_file {
	uint64_t id, gen;            /* the newest */
	char *path;                  /* where it was, or NULL */
	struct recovery_gen *gens;   /* rising */
	size_t n_gens, cap_gens;
	struct region_run { uint64_t lsn; uint32_t first, n; } *region;
	size_t n_region, cap_region;
	struct candidate *cand;      /* sorted by leaf, then lsn falling */
	size_t n_cand, cap_cand;
	struct zero_run *zero;
	size_t n_zero, cap_zero;
	struct size_note *size;
	size_t n_size, cap_size;
	uint64_t floor;              /* newest COMMIT: what is older may not come back */
};

/* A directory whose names may differ. */
struct recovery_dir {
	uint64_t id, gen;
	uint64_t lsn;
	char *path;                  /* when it was marked; it may have moved since */
};

/* The newest word on one name. */
struct recovery_name {
	uint64_t dir, gen;           /* directory and its generation */
	uint64_t lsn;
	uint64_t id;                 /* what it leads to, 0: the name is gone */
	uint8_t type;                /* S_IFMT >> 12 */
	char name[256];
};

struct recovery {
	struct map files;            /* id -> struct recovery_file * */
	struct map dirs;             /* id -> struct recovery_dir * */
	struct recovery_name *name;  /* sorted by (dir, name); newest only */
	size_t n_name, cap_name;
	uint64_t highest;            /* lsn seen */
	uint64_t n_records;
	uint64_t floor;              /* newest COMMIT of everything */
	bool blind;                  /* no mirror had a journal */
	_Atomic bool unlinked;       /* a file of several names was put back as a copy */
	_Atomic bool over;           /* all is settled: nothing is known any more */
	pthread_mutex_t run;         /* one settles at a time */
	pthread_mutex_t lock;        /* done */
	struct map done;             /* ids that were settled */
};

/* Builds v->recovery from the journals of the in-sync mirrors. 0 or -ENOMEM. */
int recovery_load(struct volume *v);
void recovery_free(struct volume *v);
/* NULL: nothing is known of it at this generation or later. */
const struct recovery_file *recovery_file(struct volume *v, uint64_t id, uint64_t gen);
const struct recovery_dir *recovery_dir(struct volume *v, uint64_t id, uint64_t gen);
/* The newest durable word on dir/name, or NULL. */
const struct recovery_name *recovery_name(const struct recovery *r, uint64_t dir,
					  const char *name);

/* What counts for a file whose own record is of generation `gen`. */
struct recovery_view {
	const struct recovery_file *f; /* NULL: nothing */
	uint64_t since;                /* lsn: what is older is void */
	uint64_t floor;                /* what is older may not come back, if there is newer */
};
struct recovery_view recovery_view(struct volume *v, uint64_t id, uint64_t gen);
bool recovery_region_open(const struct recovery_view *w, uint64_t leaf);
bool recovery_any_region(const struct recovery_view *w);
/* Whether leaves or the size were noted. */
bool recovery_any_leaf(const struct recovery_view *w);
/* Leaf hashes at rest of the generation, *n of them; NULL: not known. */
const uint64_t *recovery_base(const struct recovery_view *w, uint64_t gen, uint64_t *n);
/*
 * The newest note of this hash for the leaf, however many others there are; lsn 0: none. Returns
 * the lsn of the oldest version that may come back, 0 if the one at rest may.
 */
uint64_t recovery_match(const struct recovery_view *w, uint64_t leaf, uint64_t hash,
			struct candidate *best);
/* Hash of the newest note of a leaf. False: there is none. */
bool recovery_newest(const struct recovery_view *w, uint64_t leaf, uint64_t *hash);
/* Which of the n sizes found is right. base: at rest (has_base: there was such
 * a time). */
uint64_t recovery_size(const struct recovery_view *w, uint64_t base, bool has_base,
		       const uint64_t *size, int n);
/* Object id (file or directory) is settled and on its way to be sealed. */
void recovery_done(struct volume *v, uint64_t id);
bool recovery_is_done(struct volume *v, uint64_t id);
/* Whether anything may still have to be settled. */
bool recovery_pending(struct volume *v);
/* Settles everything the journals name (settle.c), then forgets it. Run by the thread
 * that serves a fresh mount, and by whoever needs the journal's room. 0, -EINTR. */
int recovery_settle(struct volume *v);

/*
 * Names first, before anybody looks at the volume: in every directory that
 * the journals call dirty, and in the directories below that were never sealed, what
 * stands under the names is made to fit together on all in-sync mirrors, as
 * far as it takes no copying: renames are completed or undone, names that a
 * durable record says are gone are removed, no object has two places that it
 * never had at one time. Missing copies are left to the checks. Works on the
 * mirrors' directories themselves; the tree is not in use yet. read_only
 * volumes are left alone. (recovery_names.c)
 */
int recovery_names(struct volume *v);

#endif
