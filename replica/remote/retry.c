// SPDX-License-Identifier: GPL-2.0-or-later
/* See retry.h. */
#include "replica/remote/retry.h"

#include <errno.h>
#include <stddef.h>

static const struct {
	int result;
	enum retry_kind kind;
} kinds[] = {
	{ 0, RETRY_NONE },
	{ -ECANCELED, RETRY_STOP },
	{ -EACCES, RETRY_AUTH },
	{ -EPERM, RETRY_AUTH },
	{ -EKEYREJECTED, RETRY_AUTH },
	{ -EFBIG, RETRY_MISCONFIGURED },
	{ -ENOTSUP, RETRY_MISCONFIGURED },
	{ -EINVAL, RETRY_MISCONFIGURED },
	{ -EPROTONOSUPPORT, RETRY_MISCONFIGURED },
	{ -ENOTDIR, RETRY_MISCONFIGURED },
	{ -EBUSY, RETRY_CONFLICT },
	{ -EEXIST, RETRY_CONFLICT },
};

enum retry_kind retry_kind(int result)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i].result == result)
			return kinds[i].kind;
	return RETRY_LATER;
}

void retry_init(struct retry *r)
{
	*r = (struct retry){ .parallel = 2 };
}

int64_t retry_delay(struct retry *r, int64_t asked, uint64_t random)
{
	int64_t bound = RETRY_FIRST_MS, wait;

	for (unsigned i = 0; i < r->failures && bound < RETRY_MOST_MS; i++)
		bound *= 2;
	if (bound > RETRY_MOST_MS)
		bound = RETRY_MOST_MS;
	r->failures++;
	/* Never at once: a bound of 1 s may come out as nothing. */
	wait = 100 + (int64_t)(random % (uint64_t)bound);
	if (asked > 0 && asked * 1000 > wait)
		wait = asked > 3600 ? 3600000 : asked * 1000;
	return wait;
}

void retry_success(struct retry *r)
{
	r->failures = 0;
}

unsigned retry_parallel(struct retry *r, int result, unsigned most)
{
	if (result == -EAGAIN || result == -ENOSPC) {
		r->parallel = r->parallel > 1 ? r->parallel / 2 : 1;
		r->good = 0;
	} else if (result == 0 && ++r->good >= 4 * r->parallel) {
		r->parallel++;
		r->good = 0;
	}
	if (r->parallel > most)
		r->parallel = most;
	return r->parallel;
}
