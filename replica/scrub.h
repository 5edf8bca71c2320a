/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scrub: walk everything on all mirrors, read from the medium, verify, heal.
 * One engine for `mirrorctl scrub` on a mounted volume, `mirrorctl repair`
 * on mirror directories, and the catching-up of stale mirrors.
 */
#ifndef REPLICA_SCRUB_H
#define REPLICA_SCRUB_H

#include <stdbool.h>
#include <stdint.h>

struct volume;

struct scrub_stats {
	uint64_t dirs, files;       /* objects looked at */
	uint64_t bytes;             /* bytes verified (of all mirrors) */
	uint64_t total_bytes;       /* estimate of the bytes to verify, 0 unknown */
	uint64_t found;             /* findings of any kind */
	uint64_t corrected;         /* of these, made good */
	uint64_t uncorrected;       /* of these, left (no good copy, or dry run) */
	uint64_t failed;            /* objects that could not be looked at */
};

struct scrub_finding {
	const char *path;    /* relative to the volume root */
	char item[12];       /* itemised as rsync does: see mirrorctl(8) */
	uint64_t off, len;   /* byte range, len 0: the whole object */
	const char *member;  /* path of the mirror that was wrong */
	const char *found;   /* what was compared and seen */
	const char *source;  /* path of the mirror with the good copy, or NULL */
	const char *action;  /* "repaired", "lost", "foreign", "would repair", ... */
};

struct scrub_options {
	bool dry_run;            /* report, change nothing */
	bool resync;             /* also bring stale mirrors up to date */
	const char *path;        /* subtree relative to the root; NULL or "": all */
	/* Both may be NULL. progress returning non-zero cancels (-EINTR). */
	int (*progress)(const struct scrub_stats *s, const char *path, void *arg);
	void (*finding)(const struct scrub_finding *f, void *arg);
	void *arg;
};

/* Returns 0 when the walk ended (look at the stats), or a negative errno:
 * -EINTR cancelled, -ENOENT no such path, -EBUSY another walk is running. */
int scrub_run(struct volume *v, const struct scrub_options *opt, struct scrub_stats *out);

#endif
