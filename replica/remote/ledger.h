/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger of a remote: what it has not got yet, as marks that say "look
 * here". State-based: repeats merge, and what a mark finds is the state at the
 * time it is looked at. Too many marks are safe, one too few is not.
 *
 * Marks are kept by directory: its id, the path it was last seen at (a hint,
 * corrected by renames), and which of its entries to look at. Memory is bounded
 * (ledger_marks.h): many names in a directory become "all of them", many directories one mark
 * to compare all.
 *
 * Durable in `.mirrorfs/remote/<id>/ledger` on every in-sync mirror: an append-only
 * log of checksummed records, replaced by a shorter one now and then. Appended
 * (not synced) by ledger_flush, which the sealing calls before it syncs the mirrors:
 * so the mark of a change is durable before the record that says the object is at
 * rest. A rename or removal that got lost in a power cut shows as a path that does not lead to
 * its id: then all is compared.
 *
 * Thread-safe.
 */
#ifndef REPLICA_REMOTE_LEDGER_H
#define REPLICA_REMOTE_LEDGER_H

#include "replica/volume.h"

enum mark_flags {
	MARK_ATTRS = 1,    /* the directory's own attributes */
	MARK_NAMES = 2,    /* its list of names */
	MARK_ENTRIES = 4,  /* each of its entries, not below */
	MARK_BELOW = 8,    /* everything below, at any depth */
};

struct mark {
	uint64_t id;       /* of the directory */
	char *path;        /* relative to the root, "" is the root: a hint */
	unsigned flags;
	char **name;       /* single entries to look at, sorted by strcmp, without repeats */
	size_t n_names;
	uint64_t seq;      /* of the oldest reason */
	int64_t since;     /* real time of it, ms */
};

struct ledger;
/* Reads what the in-sync mirrors have (union). None: an empty ledger that is made there.
 * No good one on any mirror that has one: everything is marked. */
int ledger_open(struct volume *v, const char *remote_id, struct ledger **out);
/* Stores everything, taken marks too, durably, and frees. */
void ledger_close(struct ledger *l);

void ledger_mark_dir(struct ledger *l, uint64_t id, const char *path, unsigned flags);
void ledger_mark_entry(struct ledger *l, uint64_t dir, const char *path, const char *name);
/* What was taken and could not be done: counts from when it was first marked. name "": the
 * directory itself and each entry of it. */
void ledger_mark_again(struct ledger *l, uint64_t dir, const char *path, const char *name,
		       uint64_t seq, int64_t since);
/* ... and all below it, at any depth. */
void ledger_mark_below_again(struct ledger *l, uint64_t dir, const char *path, uint64_t seq,
			     int64_t since);
/* Between the two nothing is taken: marks that belong together are taken together. */
void ledger_hold(struct ledger *l);
void ledger_let(struct ledger *l);
/* A directory has moved: hints at and below `from` now begin with `to`. O(1). */
void ledger_renamed(struct ledger *l, const char *from, const char *to);
/* ... two were exchanged. */
void ledger_exchanged(struct ledger *l, const char *a, const char *b);
/* A directory is gone: its mark is void. */
void ledger_removed(struct ledger *l, uint64_t id);
/* Appends what is new to the logs of all in-sync mirrors; a mirror that fails is
 * ejected. Not synced. May be called with no lock but the seal's batch lock and the gate. */
void ledger_flush(struct ledger *l);

/*
 * All marks there are, to work on, by path; they stay in the durable ledger until
 * ledger_done. At most one taking at a time (-EBUSY), none while it is held (-EINPROGRESS).
 * *n may be 0: then nothing is taken.
 * "Everything" is one mark of the root with all flags. A directory that is removed
 * meanwhile needs no `again`.
 */
int ledger_take(struct ledger *l, struct mark **out, size_t *n);
/* What was taken is at the remote now, but for those given back with ledger_mark_* between.
 * again[i] true (may be NULL): mark i was not finished and counts again, as old as it was.
 * Frees what was taken, and flushes. Without it, ledger_close frees. */
void ledger_done(struct ledger *l, struct mark *taken, size_t n, const bool *again);

/* Whether that directory, of those taken, was removed since. */
bool ledger_gone(struct ledger *l, uint64_t id);
/* The sequence number of the newest mark: what ledger_reached waits for. */
uint64_t ledger_seq(struct ledger *l);
/* Whether no mark as old as seq is left (taken or not). path (may be NULL): only marks at or
 * below it, and above it those that say BELOW, ENTRIES or NAMES or have the name of the next
 * directory on the way (or of path itself). */
bool ledger_reached(struct ledger *l, uint64_t seq, const char *path);
struct ledger_stats {
	uint64_t dirs, names;  /* marks, taken or not */
	bool all;              /* everything is to be compared */
	bool held;             /* nothing can be taken just now */
	int64_t since;         /* ms, oldest; 0: nothing is left */
	uint64_t bytes;        /* size of the log on one mirror */
	uint64_t memory;
};
void ledger_stats(struct ledger *l, struct ledger_stats *s);

#endif
