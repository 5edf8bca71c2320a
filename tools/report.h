/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What scrub and repair print: findings as they come, a summary, and the exit
 * status. The same for a walk in the daemon and for one in this process.
 */
#ifndef TOOLS_REPORT_H
#define TOOLS_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "replica/scrub.h"
#include "tools/options.h"
#include "tools/progress.h"

struct report {
	bool json, quiet, dry_run;
	bool itemize;    /* the eleven letters before each path */
	bool details;    /* what, where and from where, after each path */
	bool begun;      /* the JSON document is open */
	uint64_t printed;
	struct progress progress;
};

void report_init(struct report *r, const struct ctl_options *o);
/* finding: the object of the protocol (replica/ctlpath.h), paths escaped. */
void report_finding(struct report *r, const json_t *finding);
void report_progress(struct report *r, const struct scrub_stats *s, const char *escaped_path);
/*
 * Prints the summary and returns the exit status. err: 0 or the negative
 * errno the walk ended with (-EINTR: cancelled); what was found before
 * counts all the same.
 */
int report_end(struct report *r, const struct scrub_stats *s, int err);

/* Exit status as fsck's bits. Pure. */
int report_status(const struct scrub_stats *s, bool dry_run, int err);

/* Statistics in the protocol: keys as the fields of struct scrub_stats. */
json_t *report_stats_json(const struct scrub_stats *s);
void report_stats_parse(const json_t *object, struct scrub_stats *s);
/* A finding in the protocol; NULL: no memory. */
json_t *report_finding_json(const struct scrub_finding *f);

#endif
