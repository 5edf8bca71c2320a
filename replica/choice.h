/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The choice: which copy is good. Pure functions over plain structs,
 * enumerated exhaustively by tests/unit/t-choice.c.
 */
#ifndef REPLICA_CHOICE_H
#define REPLICA_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

#include "replica/record.h"

/* What one member's copy of a leaf (or of a whole small file) is like. */
enum copy_state {
	COPY_NOT_ASKED, /* member absent, stale or not read */
	COPY_MATCH,     /* equals the newest known hash */
	COPY_MATCH_OLD, /* equals an older candidate (only looked for when open) */
	COPY_DIFFERS,   /* read, matches nothing */
	COPY_ERROR,     /* read error, missing, too short */
};

enum choice_verdict {
	CHOICE_GOOD,       /* take `source`; repair every copy in `repair` */
	CHOICE_ADOPT,      /* open region, nothing matches but all copies are equal
	                      bytes (two or more): accept, hash anew */
	CHOICE_UNVERIFIED, /* open region, undecidable: take `source`, quarantine and
	                      overwrite `repair`, flag the record */
	CHOICE_LOST,       /* closed region and no copy matches: EIO, touch nothing */
};

struct choice {
	enum choice_verdict verdict;
	int source;      /* member index, -1 for LOST */
	uint32_t repair; /* bit m: copy of member m must be made equal to source */
};

/*
 * n members (<= 16); preferred: index whose copy is taken when undecidable
 * (if its copy is readable, else the first readable one); open: whether the
 * leaf lies in an open region or file; identical: whether all copies that
 * could be read (MATCH, MATCH_OLD, DIFFERS) are byte-identical.
 * MATCH beats MATCH_OLD beats everything; bytes are never outvoted. A single
 * readable copy that matches nothing in an open region is UNVERIFIED, not ADOPT. No readable
 * copy at all is LOST. NOT_ASKED members are never in `repair`.
 */
struct choice choice_leaf(int n, const enum copy_state *copy, int preferred,
			  bool open, bool identical);

/*
 * Which member's record counts. have[m]: 1 valid, 0 missing or undecodable;
 * only bits in `asked` are looked at. The highest generation wins; among
 * equals with different content the majority, then the lowest index, and
 * *conflict is set. Returns the index or -1. *bad gets a bit for every asked
 * member whose record is missing or not equal to the winner.
 */
int choice_record(int n, uint32_t asked, const int *have, const struct record *rec,
		  uint32_t *bad, bool *conflict);

/*
 * Members in `of` (all have a valid record) that have seen the last change, as
 * far as the records tell: of those of the highest generation the ones that
 * say OPEN, if any does; else all of them.
 */
uint32_t choice_newest(uint32_t of, const struct record *rec);

/*
 * An entry of a directory that is not the same on all mirrors. What is known:
 */
struct entry_facts {
	uint32_t asked;       /* members that could be listed */
	uint32_t present;     /* bit m: the name is there with the right type and id */
	bool dir_open;        /* the directory's record is OPEN (unclean) on all */
	bool sum_with;        /* the recorded sum is right with the entry in */
	bool sum_without;     /* the recorded sum is right without it */
	bool has_id;          /* a present copy has a valid record with an id */
};
enum entry_verdict {
	ENTRY_KEEP,     /* the entry belongs: put it on the members that lack it */
	ENTRY_FOREIGN,  /* nobody's: move it to quarantine, never delete */
};
/*
 * dir_open: KEEP if it has an id (an un-fsynced unlink may be undone), and
 * KEEP too without one if present on all asked (a creation cut short), else FOREIGN.
 * Closed: sum_with -> KEEP; sum_without -> FOREIGN; neither: KEEP with an id, FOREIGN without.
 */
enum entry_verdict choice_entry(const struct entry_facts *f);

#endif
