// SPDX-License-Identifier: GPL-2.0-or-later
/* mirrorctl scrub: has the daemon of a mount read and verify everything. */
#include "tools/ctl.h"

#include <errno.h>
#include <string.h>

#include "replica/base/cleanup.h"
#include "replica/base/exitcode.h"
#include "replica/base/log.h"
#include "tools/client.h"
#include "tools/paths.h"
#include "tools/report.h"

struct walk {
	struct report report;
	struct scrub_stats stats; /* as of the last progress line */
};

static int on_line(const char *kind, const json_t *body, void *arg)
{
	struct walk *w = arg;

	if (strcmp(kind, CTL_FINDING) == 0) {
		report_finding(&w->report, body);
		return progress_stopped();
	}
	report_stats_parse(body, &w->stats);
	report_progress(&w->report, &w->stats, json_string_value(json_object_get(body, CTL_PATH)));
	return progress_stopped();
}

/* The subtree asked for, relative to the volume's root. PATH is relative to
 * MNT, or an absolute one in the mount. */
static int subtree(const struct command *self, const struct ctlpath *where, const char *path,
		   char *out, size_t n)
{
	const char *base = where->rel;
	int r;

	if (path && path[0] == '/') {
		base = "";
		path = paths_below(path, where->point);
		if (!path) {
			ctl_usage(self, "the path does not lie in the mount at %s", where->point);
			return -EINVAL;
		}
	}
	r = paths_join(base, path ? path : "", out, n);
	if (r < 0)
		ctl_usage(self, "%s: %s", path,
			  r == -EINVAL ? "'..' is not taken in a path" : strerror(-r));
	return r;
}

static int walk(struct client *c, const char *path, struct walk *w)
{
	CLEANUP_FREE char *escaped = ctlpath_escape(path);
	json_t *request, *result;
	int r;

	if (!escaped)
		return log_err(-ENOMEM, "%s", path);
	request = json_pack("{ss,ss}", CTL_COMMAND, CTL_SCRUB, CTL_PATH, escaped);
	r = client_call(c, request, -1, on_line, w, &result);
	if (r == 0)
		report_stats_parse(result, &w->stats);
	json_decref(result);
	return r;
}

int cmd_scrub(const struct command *self, const struct ctl_options *o, int n, char **arg)
{
	struct ctl_options all = *o;
	struct walk w = { 0 };
	struct client c;
	struct ctlpath where;
	char path[PATH_MAX];
	int r;

	if (n < 1 || n > 2)
		return ctl_usage(self, n ? "too many arguments: one mount point and one path"
					 : "no mount point given");
	if (client_open(&c, arg[0], &where) < 0)
		return EXIT_FSCK_ERROR;
	if (subtree(self, &where, n > 1 ? arg[1] : NULL, path, sizeof(path)) < 0) {
		client_close(&c);
		return self->usage;
	}
	all.verbose = true; /* findings in full, unless -q */
	report_init(&w.report, &all);
	progress_catch_signals();
	r = walk(&c, path, &w);
	client_close(&c);
	return report_end(&w.report, &w.stats, r);
}
