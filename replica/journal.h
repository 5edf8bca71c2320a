/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal of each mirror: `.mirrorfs/journal`, a ring that was written
 * once, so that a sync of it is one flush and no metadata. All in-sync mirrors
 * get the same records at the same places. Layout in docs/format.md.
 *
 * A record's number (lsn) is the byte position it would have in a ring without
 * end: its place in the file is lsn modulo the size of the ring, and a record
 * found elsewhere is void. Records are independent of each other: any subset
 * of those not yet synced may survive a power cut, and each stands alone.
 *
 * A record speaks of an object at one generation of its record. Once a record
 * of a higher generation is stored, it is void: sealing needs no record of
 * its own.
 *
 * Locks: journal_append and journal_flush take the journal's own, which take
 * no other, and afterwards may eject (so they take sb_lock). Neither waits for
 * room: whoever is about to change something has seen to it before, with no
 * lock held (seal_make_room).
 */
#ifndef REPLICA_JOURNAL_H
#define REPLICA_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct volume;

#define JOURNAL_HEADER 48
#define JOURNAL_RECORD_MAX (32u << 10) /* header and payload */
#define JOURNAL_MIN (1u << 20)
#define JOURNAL_MAX (16u << 20)

/* Their arguments and payloads: docs/format.md. */
enum journal_type {
	JOURNAL_OPEN = 1, /* object may differ from its record; regions */
	JOURNAL_NEW,      /* hashes of leaves about to be written */
	JOURNAL_COMMIT,   /* what is older than lsn `arg` may not come back */
	JOURNAL_DIRTY,    /* names of a directory may differ; payload: its path */
	JOURNAL_NAME,     /* effects of a namespace operation */
	JOURNAL_TYPES,
};

/* In memory and as handed to a scan. */
struct journal_record {
	uint8_t type;         /* enum journal_type */
	uint8_t flags;        /* of the type */
	uint64_t lsn;         /* set by journal_append */
	uint64_t id;          /* object; 0: all (COMMIT of a whole filesystem) */
	uint64_t gen;         /* of its record when this was written */
	uint64_t arg;         /* by type */
	uint64_t tail;        /* set by journal_append: what was below was void */
	const void *payload;  /* little-endian, see docs/format.md */
	uint32_t size;        /* of the payload, bytes */
};

struct journal;

/*
 * Opens the journals of the mirrors in `mask` and finds where the ring ends.
 * write: missing and damaged ones and those of another size are made (zeros,
 * fsynced, all of one size), the others keep what they hold; without it no
 * file is touched. Called once, when the in-sync set and v->unclean are known.
 * Numbers go on above all that is found. The tail is where it last was if
 * v->unclean, so that those records stay; else the head: what is found is void,
 * which is durable on return.
 *
 * 0 if one mirror has a journal (or none, without write). A mirror that then
 * has none is logged, and is ejected by the first append. -EPROTONOSUPPORT: a
 * newer program made it.
 */
int journal_open(struct volume *v, uint32_t mask, bool write);
/* Safe at any time, also when it was never opened. */
/* Whether any mirror had a journal then. */
bool journal_found(const struct volume *v);
void journal_close(struct volume *v);
/* A mirror that is not in sync yet joins: its journal is made anew, empty. All
 * objects are sealed, and nothing is appended until it is in sync. */
int journal_join(struct volume *v, int m);

/*
 * Appends to the journals of all in-sync mirrors with a plain write, in one
 * order. A mirror that fails is ejected. r->lsn is set. 0; -EIO if no mirror
 * took it; -ENOSPC when the ring is full (nothing was written: not one byte is
 * kept in reserve); -EROFS without write, -EMSGSIZE above JOURNAL_RECORD_MAX.
 */
int journal_append(struct volume *v, struct journal_record *r);
/*
 * Makes all records up to and with the one at `lsn` durable on every in-sync
 * mirror, in parallel: r->lsn and journal_head() will both do. A mirror that
 * fails is ejected, and never synced again before it joins anew. -EIO: none
 * did it (the last stays in use, and fails for good). Concurrent callers share
 * flushes.
 */
int journal_flush(struct volume *v, uint64_t lsn);
/* The same for mirror m alone; nobody is ejected. For callers that sync
 * something else at the same time. */
int journal_flush_on(struct volume *v, int m, uint64_t lsn);
/* The number of the next record. */
uint64_t journal_head(struct volume *v);
/* Records below are void and their room may be used again. Never goes back. */
void journal_set_tail(struct volume *v, uint64_t lsn);
/* Share of the ring in use, percent. */
unsigned journal_used(struct volume *v);
/* Waits until less than 3/4 of the ring is in use, at most `ms`. 0 or
 * -ETIMEDOUT. Only journal_set_tail makes room. The caller holds no lock. */
int journal_wait_room(struct volume *v, unsigned ms);

/*
 * Every valid record of mirror m's ring at or above the tail, in no order,
 * each once; intact ones below it are void and left out. fn returns non-zero
 * to stop, and that is returned. Damaged bytes are skipped over, never
 * trusted. r is gone after fn returns. Not while somebody appends. 0 also when
 * the mirror has no journal; -ENOMEM.
 */
int journal_scan(struct volume *v, int m, int (*fn)(const struct journal_record *r, void *arg),
		 void *arg);

/* Pure: header and payload into out (size JOURNAL_HEADER + r->size rounded up
 * to 8). Returns the length. volume: id of the volume, seeds the check. */
size_t journal_encode(const struct journal_record *r, const uint8_t volume[16], uint8_t *out);
/* The record at `in` (at most len bytes). 0 or -EINVAL. r->payload points into in. */
int journal_decode(const uint8_t *in, size_t len, const uint8_t volume[16],
		   struct journal_record *r);

#endif
