/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A limit of bytes per second that several takers share: a token bucket. A
 * taker may begin while there is anything in it, and take a whole piece, which
 * leaves it in debt: so the mean is kept whatever the size of the pieces.
 * Times are those of a monotonic clock in microseconds. No locks, no I/O.
 */
#ifndef REPLICA_REMOTE_RATE_H
#define REPLICA_REMOTE_RATE_H

#include <stdbool.h>
#include <stdint.h>

struct rate {
	uint64_t limit;               /* bytes/s, 0: none */
	int64_t level;
	uint64_t filled_us;
};

void rate_set(struct rate *r, uint64_t limit, uint64_t now_us);
/* May something be taken now? */
bool rate_open(struct rate *r, uint64_t now_us);
void rate_take(struct rate *r, uint64_t bytes);
/* Milliseconds until it is open, 0: it is. */
int rate_delay_ms(struct rate *r, uint64_t now_us);
/* A size of pieces that flows rather than bursts, at most max. */
uint64_t rate_piece(const struct rate *r, uint64_t max);

#endif
