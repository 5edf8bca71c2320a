// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mirrorctl repair: scrub and resynchronisation of a volume that is not
 * mounted, on its mirror directories. Operands are sorted by what they are:
 * the mirrors stand last, everything before them is a path in the volume.
 */
#include "tools/ctl.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/exitcode.h"
#include "replica/base/log.h"
#include "replica/ctlpath.h"
#include "replica/scrub.h"
#include "replica/volume.h"
#include "tools/paths.h"
#include "tools/report.h"

struct job {
	struct report report;
	struct scrub_stats before; /* sum of the paths done */
	struct scrub_stats now;    /* before + the walk at hand */
};

static bool is_mirror(const char *dir)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/" DOT_DIR "/volume", dir) >= (int)sizeof(path))
		return false;
	return access(path, F_OK) == 0;
}

static void add_stats(struct scrub_stats *sum, const struct scrub_stats *s)
{
	sum->dirs += s->dirs;
	sum->files += s->files;
	sum->bytes += s->bytes;
	sum->total_bytes += s->total_bytes;
	sum->found += s->found;
	sum->corrected += s->corrected;
	sum->uncorrected += s->uncorrected;
	sum->failed += s->failed;
}

static int on_progress(const struct scrub_stats *s, const char *path, void *arg)
{
	CLEANUP_FREE char *escaped = path ? ctlpath_escape(path) : NULL;
	struct job *j = arg;

	j->now = j->before;
	add_stats(&j->now, s);
	report_progress(&j->report, &j->now, escaped);
	return progress_stopped();
}

static void on_finding(const struct scrub_finding *f, void *arg)
{
	json_t *finding = report_finding_json(f);
	struct job *j = arg;

	report_finding(&j->report, finding);
	json_decref(finding);
}

/* What path is relative to mirror: by its letters, else by where both really
 * are. NULL: not inside. The answer lies in path or in *hold. */
static const char *inside(const char *path, const char *mirror, char **hold)
{
	CLEANUP_FREE char *root = NULL;
	const char *rest = paths_below(path, mirror);

	if (rest || path[0] != '/')
		return rest;
	root = realpath(mirror, NULL);
	if (!root)
		return NULL;
	rest = paths_below(path, root);
	if (rest)
		return rest;
	free(*hold);
	*hold = realpath(path, NULL);
	return *hold ? paths_below(*hold, root) : NULL;
}

/* One operand to a path relative to the volume's root. 0 or -EINVAL after a line. */
static int operand_path(const struct command *self, const char *arg, int n, char **mirror,
		       char *out, size_t size)
{
	CLEANUP_FREE char *hold = NULL;
	const char *rest = NULL;
	int r;

	for (int i = 0; i < n && !rest; i++)
		rest = inside(arg, mirror[i], &hold);
	if (!rest && arg[0] == '/') {
		ctl_usage(self, "%s: neither a mirror nor a path in one of those given", arg);
		return -EINVAL;
	}
	r = paths_join("", rest ? rest : arg, out, size);
	if (r == 0 && paths_below(out, DOT_DIR)) {
		ctl_usage(self, "%s: belongs to mirrorfs, not to the volume", arg);
		return -EINVAL;
	}
	if (r < 0)
		ctl_usage(self, "%s: %s", arg,
			  r == -EINVAL ? "'..' is not taken in a path" : strerror(-r));
	return r;
}

static int walk(struct volume *v, struct job *j, const char *path)
{
	const struct scrub_options opt = {
		.dry_run = j->report.dry_run, .resync = true, .path = path,
		.progress = on_progress, .finding = on_finding, .arg = j
	};
	struct scrub_stats s = { 0 };
	int r = scrub_run(v, &opt, &s);

	add_stats(&j->before, &s);
	j->now = j->before;
	progress_clear(&j->report.progress);
	if (r < 0 && r != -EINTR)
		log_err(r, "%s", path[0] ? path : "the volume");
	return r;
}

/* Walks every path, or all; a path that fails does not stop the others. */
static int walk_all(const struct command *self, struct volume *v, struct job *j, int n,
		    char **arg, int mirrors)
{
	char path[PATH_MAX];
	int r, first = 0;

	if (n == 0)
		return walk(v, j, "");
	for (int i = 0; i < n && first != -EINTR; i++) {
		r = operand_path(self, arg[i], mirrors, arg + n, path, sizeof(path));
		if (r == 0)
			r = walk(v, j, path);
		if (r == -EINTR || first == 0)
			first = r;
	}
	return first;
}

/* Number of mirrors at the end of the operands, or -1 after a line. */
static int count_mirrors(const struct command *self, int n, char **arg)
{
	int mirrors = 0;

	while (mirrors < n && is_mirror(arg[n - 1 - mirrors]))
		mirrors++;
	if (mirrors > 0 && mirrors <= MAX_MIRRORS)
		return mirrors;
	if (n == 0)
		ctl_usage(self, "no mirror directories given");
	else if (mirrors == 0)
		ctl_usage(self, "%s: not a mirror of a volume (no %s/volume in it)", arg[n - 1],
			  DOT_DIR);
	else
		ctl_usage(self, "%d mirrors given, a volume has at most %d", mirrors, MAX_MIRRORS);
	return -1;
}

/* Looks at all operands before anything is opened: the number of mirrors, or
 * -1 after a line. */
static int check_operands(const struct command *self, int n, char **arg)
{
	int mirrors = count_mirrors(self, n, arg);
	char path[PATH_MAX];

	for (int i = 0; i < n - mirrors && mirrors > 0; i++) {
		if (operand_path(self, arg[i], mirrors, arg + n - mirrors, path, sizeof(path)) < 0)
			return -1;
	}
	return mirrors;
}

int cmd_repair(const struct command *self, const struct ctl_options *o, int n, char **arg)
{
	int mirrors = check_operands(self, n, arg), r, closed;
	struct volume_options opt;
	struct volume *v;
	struct job j = { 0 };

	if (mirrors < 0)
		return self->usage;
	log_set_level(LOG_LEVEL_ERROR); /* findings are told by report.c */
	volume_options_default(&opt);
	opt.read_only = o->dry_run;
	progress_catch_signals();
	if (volume_open(mirrors, (const char *const *)arg + n - mirrors, &opt, &v) < 0)
		return EXIT_FSCK_ERROR;
	report_init(&j.report, o);
	r = walk_all(self, v, &j, n - mirrors, arg, mirrors);
	closed = volume_close(v);
	if (closed < 0)
		log_err(closed, "close the volume");
	return report_end(&j.report, &j.before, r < 0 ? r : closed);
}
