/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Deciding the content of a file that an unclean end left open: which of its
 * leaves may differ from their hashes, and what they may be instead. The
 * rules are the table in docs/durability.md.
 */
#ifndef REPLICA_RECOVER_H
#define REPLICA_RECOVER_H

#include "replica/check.h"
#include "replica/recovery.h"

/* One file while it is being decided. */
struct recover {
	struct check *c;
	struct file *f;
	struct recovery_view view;      /* what the journals say */
	uint32_t have;                  /* members that have a copy */
	bool unnoted;                   /* changed, and no journal has a word of it */
	bool here;                      /* no earlier life: hashes in memory count */
	uint64_t open_from;             /* leaves from here on are open */
	uint64_t *hot;                  /* bit r: region r is open; NULL: none */
	uint64_t n_hot;                 /* regions in it */
	struct map torn;                /* pages of hashes that no mirror has whole */
	bool has_base;                  /* small files: base[] is known */
	uint64_t base[SMALL_LEAVES];    /* leaf hashes of the content at rest */
	uint64_t page;                  /* number of the page in raw[], + 1 */
	uint32_t raw_have;
	uint64_t raw[MAX_MIRRORS][HASHFILE_LEAVES]; /* as they stand on the disks */
};

/* Whether the leaf may be something that no hash is known of. */
bool recover_open(const struct recover *rc, uint64_t leaf);
/* What is known of some bytes found in an open leaf. */
struct version {
	uint64_t age;   /* 0: nothing; 1: at rest; more: the later it was written */
	bool doubt;     /* it was flagged as unverified then */
	bool undone;    /* a version that a sync has left behind: never to come back */
};
struct version recover_version(struct recover *rc, uint64_t leaf, const void *data, size_t len);
/* The hash of a leaf of which no copy is good: it stays lost, and no version
 * that a sync left behind is taken for it the next time. */
uint64_t recover_lost(struct recover *rc, uint64_t leaf);
/* Decides the content of f on the members in `have`, and has it sealed anew.
 * Exclusive f->lock. 0; -EIO if a leaf is lost. */
int recover_file(struct check *c, struct file *f, uint32_t have);

#endif
