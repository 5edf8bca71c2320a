// SPDX-License-Identifier: GPL-2.0-or-later
/* Strict: a number that is not wholly understood is none. */
#include "tools/values.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* The digits at the beginning; *end is what follows them. -EINVAL: none, or too many. */
static int digits(const char *text, int64_t max, int64_t *out, const char **end)
{
	int64_t n = 0;

	for (*end = text; **end >= '0' && **end <= '9'; (*end)++) {
		int d = **end - '0';

		if (n > (max - d) / 10)
			return -EINVAL;
		n = n * 10 + d;
	}
	*out = n;
	return *end == text ? -EINVAL : 0;
}

int values_count(const char *text, int64_t *out)
{
	const char *end;
	int64_t n;

	if (digits(text, INT32_MAX, &n, &end) < 0 || *end)
		return -EINVAL;
	*out = n;
	return 0;
}

int values_percent(const char *text, int64_t *out)
{
	const char *end;
	int64_t n;

	if (digits(text, 100, &n, &end) < 0 || (*end && strcmp(end, "%") != 0))
		return -EINVAL;
	*out = n;
	return 0;
}

int values_size(const char *text, int64_t *out)
{
	static const char units[] = "KkMmGgTt";
	const char *end, *unit;
	int64_t n;
	int shift = 0;

	if (digits(text, INT64_MAX, &n, &end) < 0)
		return -EINVAL;
	if (*end) {
		unit = strchr(units, *end);
		if (!unit || end[1])
			return -EINVAL;
		shift = 10 * ((int)(unit - units) / 2 + 1);
	}
	if (n > INT64_MAX >> shift)
		return -EINVAL;
	*out = n << shift;
	return 0;
}
