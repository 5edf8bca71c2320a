// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mirrorctl restore: makes a mirror out of a remote, without a mounted
 * volume. What lacks there is a line each on standard output.
 */
#include "tools/ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "replica/base/cleanup.h"
#include "replica/base/exitcode.h"
#include "replica/base/log.h"
#include "replica/ctlpath.h"
#include "replica/remote/restore.h"
#include "tools/output.h"
#include "tools/progress.h"
#include "tools/remote_arg.h"

static int on_progress(const struct restore_stats *s, const char *path, void *arg)
{
	CLEANUP_FREE char *escaped = path ? ctlpath_escape(path) : NULL;

	progress_update(arg, &(struct progress_state){
		.done = s->bytes, .total = s->total_bytes, .dirs = s->dirs, .files = s->files,
		.found = s->lacking + s->failed, .path = escaped });
	return progress_stopped();
}

static void on_lacking(const char *path, const char *what, void *arg)
{
	CLEANUP_FREE char *escaped = ctlpath_escape(path);
	CLEANUP_FREE char *shown = ctlpath_printable(what);

	progress_clear(arg);
	printf("%s: %s\n", escaped && *escaped ? escaped : ".", shown ? shown : "");
	fflush(stdout);
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static void print_more(uint64_t n, const char *what)
{
	if (n)
		printf(", %" PRIu64 " %s", n, what);
}

/* "restored: 3 directories, 12 files, 1.2 GiB" and whatever else there was. */
static void print_summary(const struct restore_stats *s, bool dry_run, int r)
{
	char size[OUTPUT_SIZE_MAX];

	output_size(s->bytes, size);
	printf("%s: %" PRIu64 " director%s, %" PRIu64 " file%s, %s",
	       r < 0 ? "broken off" : dry_run ? "verified, nothing written" : "restored", s->dirs,
	       s->dirs == 1 ? "y" : "ies", s->files, plural(s->files), size);
	print_more(s->skipped, "were there already");
	print_more(s->newer, "newer than the head (an upload was under way)");
	print_more(s->lacking, "missing or damaged at the remote");
	print_more(s->failed, "could not be stored here");
	putchar('\n');
}

static int restore(const struct remote_def *d, const struct remote_secret *secret,
		   const struct ctl_options *o, const char *dir, const char *path)
{
	char error[LAYOUT_ERROR_MAX] = "";
	struct restore_stats s = { 0 };
	struct progress progress;
	const struct restore_options opt = {
		.path = path, .dry_run = o->dry_run, .progress = on_progress,
		.lacking = on_lacking, .arg = &progress
	};
	int r;

	progress_init(&progress, o->progress, false);
	progress_catch_signals();
	r = restore_run(d, secret, dir, &opt, &s, error);
	progress_end(&progress, &(struct progress_state){
		.done = s.bytes, .total = s.total_bytes, .dirs = s.dirs, .files = s.files,
		.found = s.lacking + s.failed });
	if (r == 0 || s.dirs || s.files)
		print_summary(&s, o->dry_run, r);
	if (r == -EINTR)
		log_error("interrupted; the same command goes on from here");
	else if (r < 0)
		log_error("%s", *error ? error : strerror(-r));
	return r < 0 || s.lacking || s.failed ? EXIT_CTL_FAIL : EXIT_CTL_OK;
}

int cmd_restore(const struct command *self, const struct ctl_options *o, int n, char **arg)
{
	struct remote_secret secret;
	struct remote_def d;
	char path[PATH_MAX];
	int status;

	if (n < 2 || n > 3)
		return ctl_usage(self, n == 0 ? "no remote given" : n == 1
				 ? "no directory for the new mirror given"
				 : "too many arguments: a remote, a directory and one path");
	status = remote_arg_path(self, n > 2 ? arg[2] : NULL, path, sizeof(path));
	if (status == 0)
		status = remote_arg_open(self, &o->def, arg[0], &d, &secret);
	if (status)
		return status;
	status = restore(&d, &secret, o, arg[1], *path ? path : NULL);
	remote_secret_wipe(&secret);
	remote_def_free(&d);
	return status;
}
