/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making a volume out of directories. */
#ifndef REPLICA_INIT_H
#define REPLICA_INIT_H

#include <stdbool.h>
#include <stdint.h>

struct init_progress {
	uint64_t files, dirs;    /* looked at so far */
	uint64_t bytes;          /* hashed or copied so far */
	const char *path;        /* the object at hand, relative */
};

struct init_options {
	bool adopt;   /* the first directory holds an existing tree */
	bool dry_run; /* say what would be done; change nothing */
	/* May be NULL. Called from the calling thread, every few hundred ms;
	 * a return other than 0 stops (-EINTR). Resumed by calling again. */
	int (*progress)(const struct init_progress *p, void *arg);
	void *arg;
};

/*
 * dirs[0..n-1], 1 <= n <= 16, absolute or relative paths of existing
 * directories. Without adopt all must be empty ("lost+found" is ignored).
 * With adopt the others must be empty, or belong to the same unfinished
 * adoption. Errors are logged in one clear line and returned.
 */
int init_volume(int n, const char *const *dirs, const struct init_options *opt);

/*
 * Checks that say no before anything is done, used at mount too; logs one
 * line and returns -EINVAL, -ENOENT, -ENOTDIR, ...: no directory, not a
 * directory, the same directory twice, one inside another. Warns when two
 * share a filesystem.
 */
int init_check_dirs(int n, const char *const *dirs);
/* Nothing but "." ".." and "lost+found" in it. */
bool init_dir_empty(int dirfd);

#endif
