// SPDX-License-Identifier: GPL-2.0-or-later
/* See brake.h. Slots of a minute in a ring; the clock is monotonic. */
#include "replica/remote/brake.h"

#include <string.h>

static void turn(struct brake *b, int64_t now)
{
	int64_t minute = now / 60000;

	if (minute - b->minute >= BRAKE_SLOTS)
		memset(b->done, 0, sizeof(b->done));
	else
		for (int64_t m = b->minute + 1; m <= minute; m++)
			b->done[m % BRAKE_SLOTS] = 0;
	if (minute > b->minute)
		b->minute = minute;
}

void brake_count(struct brake *b, int64_t now, uint64_t files)
{
	turn(b, now);
	b->done[b->minute % BRAKE_SLOTS] += files;
}

uint64_t brake_hour(struct brake *b, int64_t now)
{
	uint64_t sum = 0;

	turn(b, now);
	for (int i = 0; i < BRAKE_SLOTS; i++)
		sum += b->done[i];
	return sum;
}

void brake_reset(struct brake *b)
{
	memset(b->done, 0, sizeof(b->done));
}

bool brake_holds(struct brake *b, int64_t now, uint64_t coming, uint64_t total, unsigned percent,
		 unsigned files)
{
	uint64_t done = brake_hour(b, now), sum = done + coming;

	if (!percent || !coming || sum <= files)
		return false;
	return sum * 100 > (total + done) * percent;
}
