// SPDX-License-Identifier: GPL-2.0-or-later
/* mirrorctl init: makes a volume out of directories. */
#include "tools/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#include "replica/base/cleanup.h"
#include "replica/base/exitcode.h"
#include "replica/base/log.h"
#include "replica/ctlpath.h"
#include "replica/init.h"
#include "replica/superblock.h"

static int on_progress(const struct init_progress *p, void *arg)
{
	CLEANUP_FREE char *path = p->path ? ctlpath_escape(p->path) : NULL;

	progress_update(arg, &(struct progress_state){
		.done = p->bytes, .dirs = p->dirs, .files = p->files, .path = path });
	return progress_stopped();
}

/* "volume 1b4e28ba-... of 2 mirrors" from the superblock just written. */
static int print_volume(const char *dir, int n)
{
	CLEANUP_CLOSE int fd = -1;
	struct superblock sb;
	char id[UUID_TEXT];
	char dot[PATH_MAX];
	int r = -ENAMETOOLONG;

	if (snprintf(dot, sizeof(dot), "%s/.mirrorfs", dir) < (int)sizeof(dot)) {
		fd = open(dot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = fd < 0 ? -errno : superblock_read(fd, &sb);
	}
	if (r < 0)
		return log_err(r, "%s: superblock just written", dir);
	uuid_format(sb.volume_id, id);
	printf("volume %s of %d mirrors\n", id, n);
	return 0;
}

int cmd_init(const struct command *self, const struct ctl_options *o, int n, char **arg)
{
	struct progress progress;
	struct init_options opt = {
		.adopt = o->adopt, .dry_run = o->dry_run, .progress = on_progress, .arg = &progress
	};
	int r;

	if (n < 2)
		return ctl_usage(self, n ? "one directory is no mirror: give two or more"
					 : "no directories given");
	if (n > SUPERBLOCK_MAX_MEMBERS)
		return ctl_usage(self, "%d directories given, at most %d can be mirrors", n,
				 SUPERBLOCK_MAX_MEMBERS);
	/* what speaks against these directories is said once and now; later on
	 * each object that is adopted would be a warning of the engine */
	if (o->quiet)
		log_set_level(LOG_LEVEL_ERROR);
	if (init_check_dirs(n, (const char *const *)arg) < 0)
		return EXIT_CTL_FAIL;
	log_set_level(LOG_LEVEL_ERROR);
	progress_init(&progress, PROGRESS_AUTO, o->quiet);
	progress_catch_signals();
	r = init_volume(n, (const char *const *)arg, &opt);
	progress_clear(&progress);
	if (r == -EINTR)
		log_error("interrupted; the same command goes on from here");
	if (r == 0 && !o->dry_run && !o->quiet)
		r = print_volume(arg[0], n);
	return r < 0 ? EXIT_CTL_FAIL : EXIT_CTL_OK;
}
