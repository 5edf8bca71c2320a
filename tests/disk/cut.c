/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cut: what a power cut leaves of the simulated disks, made offline.
 *
 *   cut DIR OUTDIR K SEED PCT TORN [NAME...]
 *   cut DIR --list
 *
 * OUTDIR/NAME.img of all (or these) disks of DIR as of a cut after request K (or "end"):
 * what was flushed, and of the other writes PCT percent, TORN percent of those
 * torn into sectors. --list prints the requests. Works beside a running disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/cleanup.h"
#include "replica/base/log.h"
#include "tests/disk/image.h"

static int usage(void)
{
	fputs("usage: cut DIR OUTDIR K SEED PCT TORN [NAME...] | cut DIR --list\n", stderr);
	return 2;
}

static int list(int dirfd)
{
	struct trace t;
	int err = trace_open(&t, dirfd);

	if (err) {
		log_err(err, "open the request log");
		return 1;
	}
	trace_list(&t, stdout);
	trace_unmap(&t);
	return fflush(stdout) || ferror(stdout);
}

static int last_request(int dirfd, uint64_t *at)
{
	struct trace t;
	int err = trace_open(&t, dirfd);

	if (err)
		return log_err(err, "open the request log");
	*at = t.last;
	trace_unmap(&t);
	return 0;
}

static bool number(const char *s, uint64_t max, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(s, &end, 0);
	return *s && *s != '-' && !*end && !errno && *value <= max;
}

int main(int argc, char **argv)
{
	CLEANUP_CLOSE int dirfd = -1;
	uint64_t percent, torn;
	struct cut cut;

	log_set_program("cut");
	if (argc != 3 && argc < 7)
		return usage();
	dirfd = open(argv[1], O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (dirfd < 0) {
		log_err(-errno, "open %s", argv[1]);
		return 1;
	}
	if (argc == 3)
		return strcmp(argv[2], "--list") ? usage() : list(dirfd);
	if (!strcmp(argv[3], "end")) {
		if (last_request(dirfd, &cut.at))
			return 1;
	} else if (!number(argv[3], UINT64_MAX, &cut.at)) {
		return usage();
	}
	if (!number(argv[4], UINT64_MAX, &cut.seed) || !number(argv[5], 100, &percent) ||
	    !number(argv[6], 100, &torn))
		return usage();
	cut.percent = (unsigned)percent;
	cut.torn_percent = (unsigned)torn;
	return image_cut(dirfd, argv[2], &cut, argv + 7) ? 1 : 0;
}
