/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When to try again, and how many requests at a time. Pure: time and chance are
 * handed in. Full jitter: a random time between 0 and a bound that doubles from 1 s to
 * 5 minutes; what the server asks for (Retry-After) is kept.
 */
#ifndef REPLICA_REMOTE_RETRY_H
#define REPLICA_REMOTE_RETRY_H

#include <stdint.h>

#define RETRY_FIRST_MS 1000
#define RETRY_MOST_MS 300000

struct retry {
	unsigned failures;     /* in a row */
	unsigned parallel;     /* requests at a time */
	unsigned good;         /* successes since parallel was last changed */
};

/* What to do after a result of store.h. */
enum retry_kind {
	RETRY_NONE,            /* it went well */
	RETRY_LATER,           /* by itself */
	RETRY_AUTH,            /* when a person has seen to the credentials */
	RETRY_MISCONFIGURED,   /* ... to the server or the definition */
	RETRY_CONFLICT,        /* ... to who writes there */
	RETRY_STOP,            /* we are to end */
};
enum retry_kind retry_kind(int result);

void retry_init(struct retry *r);
/* Milliseconds to wait after a failure. asked: Retry-After in s, -1 none. random: any 64 bits. */
int64_t retry_delay(struct retry *r, int64_t asked, uint64_t random);
void retry_success(struct retry *r);
/* Additive increase, multiplicative decrease, 1 to most. result: of the last request. */
unsigned retry_parallel(struct retry *r, int result, unsigned most);

#endif
