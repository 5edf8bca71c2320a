/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Invariant: the level is never more than a tenth of a second is worth, so
 * that a pause is no credit, and `filled_us` is when the level was last true.
 */
#include "replica/remote/rate.h"

/* Keeps all products below in 64 bits; a TiB/s is no limit anyway. */
#define LIMIT_MAX (1ULL << 40)
#define FILL_MAX_US 1000000
#define DELAY_MAX_MS 60000

void rate_set(struct rate *r, uint64_t limit, uint64_t now_us)
{
	r->limit = limit < LIMIT_MAX ? limit : LIMIT_MAX;
	r->level = 0;
	r->filled_us = now_us;
}

static void fill(struct rate *r, uint64_t now_us)
{
	uint64_t passed = now_us > r->filled_us ? now_us - r->filled_us : 0;
	int64_t more, most = (int64_t)(r->limit / 10 + 1);

	if (passed > FILL_MAX_US)
		passed = FILL_MAX_US;
	more = (int64_t)(r->limit * passed / 1000000);
	/* Too short for a byte: do not forget that time. */
	if (!more)
		return;
	r->level = r->level + more < most ? r->level + more : most;
	r->filled_us = now_us;
}

bool rate_open(struct rate *r, uint64_t now_us)
{
	if (!r->limit)
		return true;
	fill(r, now_us);
	return r->level > 0;
}

void rate_take(struct rate *r, uint64_t bytes)
{
	if (r->limit)
		r->level -= (int64_t)bytes;
}

int rate_delay_ms(struct rate *r, uint64_t now_us)
{
	uint64_t ms;

	if (rate_open(r, now_us))
		return 0;
	ms = (uint64_t)(1 - r->level) * 1000 / r->limit + 1;
	return ms < DELAY_MAX_MS ? (int)ms : DELAY_MAX_MS;
}

uint64_t rate_piece(const struct rate *r, uint64_t max)
{
	uint64_t piece = r->limit / 20 + 1;

	return r->limit && piece < max ? piece : max;
}
