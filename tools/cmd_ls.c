// SPDX-License-Identifier: GPL-2.0-or-later
/* mirrorctl ls and cat: a look at a remote without fetching the rest of it. */
#include "tools/ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "replica/base/cleanup.h"
#include "replica/base/exitcode.h"
#include "replica/base/log.h"
#include "replica/ctlpath.h"
#include "replica/remote/restore.h"
#include "tools/output.h"
#include "tools/remote_arg.h"

#define NS 1000000000

/* "drwxr-sr-t" */
static void mode_text(unsigned type, uint32_t mode, char out[11])
{
	static const char types[] = "?pc?d?b?-?l?s???";
	static const struct {
		uint32_t bit, x;
		char set, alone; /* with and without the x */
		int at;
	} special[] = {
		{ S_ISUID, S_IXUSR, 's', 'S', 3 },
		{ S_ISGID, S_IXGRP, 's', 'S', 6 },
		{ S_ISVTX, S_IXOTH, 't', 'T', 9 },
	};

	out[0] = types[type & 15];
	for (int i = 0; i < 9; i++)
		out[1 + i] = mode & (0400u >> i) ? "rwx"[i % 3] : '-';
	for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++)
		if (mode & special[i].bit)
			out[special[i].at] = mode & special[i].x ? special[i].set
								 : special[i].alone;
	out[10] = '\0';
}

/* Bytes; of a directory those of all files below; of a device its numbers. */
static void size_text(const struct manifest_entry *e, char out[OUTPUT_SIZE_MAX])
{
	unsigned type = (unsigned)e->type << 12;

	if (S_ISCHR(type) || S_ISBLK(type))
		snprintf(out, OUTPUT_SIZE_MAX, "%u, %u", major(e->rdev), minor(e->rdev));
	else
		snprintf(out, OUTPUT_SIZE_MAX, "%" PRIu64, S_ISDIR(type) ? e->bytes : e->size);
}

static void print_long(const struct manifest_entry *e)
{
	char mode[11], size[OUTPUT_SIZE_MAX], when[OUTPUT_SIZE_MAX];

	mode_text(e->type, e->mode, mode);
	size_text(e, size);
	output_time(e->mtime / NS - (e->mtime % NS < 0), when);
	printf("%s %5" PRIu32 " %5" PRIu32 " %12s %s ", mode, e->uid, e->gid, size, when);
}

static int on_entry(const char *path, const struct manifest_entry *e, void *arg)
{
	const char *slash = strrchr(path, '/');
	CLEANUP_FREE char *name = ctlpath_escape(slash ? slash + 1 : path);
	CLEANUP_FREE char *target = e->target ? ctlpath_escape(e->target) : NULL;
	const struct ctl_options *o = arg;

	if (!name)
		return -ENOMEM;
	if (o->long_lines)
		print_long(e);
	fputs(*name ? name : ".", stdout);
	if (o->long_lines && target)
		printf(" -> %s", target);
	putchar('\n');
	return 0;
}

static int write_out(void *arg, const void *buf, size_t len)
{
	(void)arg;
	return fwrite(buf, 1, len, stdout) == len ? 0 : -EIO;
}

/* Opens REMOTE, then lists or writes what is at path; the exit status. */
static int look(const struct command *self, const struct ctl_options *o, char *remote,
		const char *given, bool list)
{
	char error[LAYOUT_ERROR_MAX] = "", path[PATH_MAX];
	struct remote_secret secret;
	struct remote_def d;
	int status, r;

	status = remote_arg_path(self, given, path, sizeof(path));
	if (status == 0)
		status = remote_arg_open(self, &o->def, remote, &d, &secret);
	if (status)
		return status;
	if (list)
		r = restore_list(&d, &secret, path, on_entry, (void *)(uintptr_t)o, error);
	else
		r = restore_cat(&d, &secret, path, 0, UINT64_MAX, write_out, NULL, error);
	remote_secret_wipe(&secret);
	remote_def_free(&d);
	if (r < 0 && !ferror(stdout)) /* which is told at the end */
		log_error("%s", *error ? error : strerror(-r));
	return r < 0 ? EXIT_CTL_FAIL : EXIT_CTL_OK;
}

int cmd_ls(const struct command *self, const struct ctl_options *o, int n, char **arg)
{
	if (n < 1 || n > 2)
		return ctl_usage(self, n ? "too many arguments: one remote and one path"
					 : "no remote given");
	return look(self, o, arg[0], n > 1 ? arg[1] : NULL, true);
}

int cmd_cat(const struct command *self, const struct ctl_options *o, int n, char **arg)
{
	if (n != 2)
		return ctl_usage(self, n == 0 ? "no remote given" : n == 1 ? "no path given"
				 : "too many arguments: one remote and one path");
	return look(self, o, arg[0], arg[1], false);
}
