/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The verdict: N results of one change become one reply and a list of the
 * members that are now stale. Pure.
 */
#ifndef REPLICA_VERDICT_H
#define REPLICA_VERDICT_H

#include <stdint.h>

#include "replica/superblock.h"

enum verdict_class {
	VERDICT_CHANGE, /* a change of data, names or attributes */
	VERDICT_SYNC,   /* fsync, fdatasync, syncfs */
};

struct verdict {
	int reply;        /* 0 or a negative errno */
	uint32_t stale;   /* bit m: member m missed what the others did */
	uint32_t full;    /* subset of stale: for want of space (ENOSPC, EDQUOT) */
	uint32_t retry;   /* no one is to blame (ENOMEM, EMFILE...): nothing may be
	                     concluded; the caller undoes or fails */
};

/*
 * result[m]: 0 or negative errno of member m, looked at where bit m of
 * `asked` is set (asked is never 0).
 *
 * CHANGE: all 0 -> 0. All the same error -> that error, nobody stale (the
 * application's mistake). Some 0: reply 0, the failing ones are stale.
 * No 0 but different errors: an error that speaks of the request itself
 * (EEXIST, ENOENT, ENOTEMPTY, EPERM, EACCES, ENAMETOOLONG...) wins over one
 * that speaks of the member (EIO, EROFS, ENODEV, ESTALE, ENOSPC...); the
 * members with a member error are stale only if at least one other answered
 * with a request error; all with member errors -> the mildest is replied
 * (ENOSPC, EDQUOT, EROFS, EIO in this order), nobody stale.
 * SYNC: any member error at all makes that member stale, as long as one
 * member succeeded; if none did, reply -EIO (or the common errno) and nobody
 * is stale: there is no better copy to run to.
 * Resource errors (ENOMEM, EMFILE, ENFILE, EINTR, EAGAIN) on some, success on
 * others: the member did miss the change, so it is stale too. On all: reply
 * it, nobody stale.
 */
struct verdict verdict_of(enum verdict_class class, uint32_t asked, const int *result);

/* Whether errno e (positive) says something of the member, not the request. */
int verdict_blames_member(int e);

#endif
