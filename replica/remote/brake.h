/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The brake: when what is about to be deleted and overwritten at a remote,
 * with what was in the last hour, is more than a share of the tree, a person is
 * asked first. A mass of changes is either wanted (then `mirrorctl remote release` costs a
 * line) or the work of a wrong rm or of an extortionist. Pure.
 */
#ifndef REPLICA_REMOTE_BRAKE_H
#define REPLICA_REMOTE_BRAKE_H

#include <stdbool.h>
#include <stdint.h>

#define BRAKE_SLOTS 60

struct brake {
	uint64_t done[BRAKE_SLOTS];  /* files a minute */
	int64_t minute;              /* of the newest slot */
};

/* files were deleted or overwritten at `now` (ms). */
void brake_count(struct brake *b, int64_t now, uint64_t files);
uint64_t brake_hour(struct brake *b, int64_t now);
/* A person said yes: what was done so far no longer counts. */
void brake_reset(struct brake *b);
/* Whether `coming` more pass the limit. total: files at the remote. percent 0: no brake. */
bool brake_holds(struct brake *b, int64_t now, uint64_t coming, uint64_t total, unsigned percent,
		 unsigned files);

#endif
