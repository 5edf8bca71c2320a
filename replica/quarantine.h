/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Quarantine: `.mirrorfs/quarantine/`, where repairs put what they replace.
 * Each item is a file `<seq>-<kind>` (bytes) or a moved object, and one line in
 * `index` (tab separated: seq, ISO time, kind, bytes, member path, object path
 * with bytes outside printable ASCII, backslash and tab as \ooo, range, reason).
 * Bounded in bytes: the oldest items go first, with a log line each.
 */
#ifndef REPLICA_QUARANTINE_H
#define REPLICA_QUARANTINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct quarantine_item;

struct quarantine {
	pthread_mutex_t lock; /* all below */
	int dirfd;            /* of .mirrorfs/quarantine on one mirror, owned */
	uint64_t limit;       /* bytes kept at most */
	uint64_t used;
	uint64_t next_seq;
	uint64_t lines;       /* of the index, those of gone items included */
	struct quarantine_item *items; /* kept now, oldest first: [first, end) */
	size_t first, end, cap;
};

struct quarantine_note {
	const char *member; /* path of the mirror the bytes come from */
	const char *path;   /* object, relative to the volume root */
	uint64_t off, len;  /* byte range, 0,0 for a whole object */
	const char *reason; /* one line */
};

/* dotfd: `.mirrorfs` of the mirror that keeps it. Creates the directory,
 * reads the index, sums up what is there. */
int quarantine_open(struct quarantine *q, int dotfd, uint64_t limit);
void quarantine_close(struct quarantine *q);
/* Keeps bytes (fsynced before it returns). A single item larger than the
 * limit, or -ENOSPC: an error, and the caller must not overwrite. */
int quarantine_bytes(struct quarantine *q, const struct quarantine_note *note,
		     const void *buf, size_t len);
/* Moves the object parentfd/name (same filesystem as the quarantine; any type) into it by
 * renameat, fsyncs both directories. -EXDEV if it lies elsewhere. A non-empty directory counts as 0 bytes. */
int quarantine_move(struct quarantine *q, const struct quarantine_note *note,
		    int parentfd, const char *name);
/* Items kept now. */
uint64_t quarantine_count(struct quarantine *q);

#endif
