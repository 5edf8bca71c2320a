/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making a mirror out of a remote alone: URL and credentials. No mounted volume is needed. */
#ifndef REPLICA_REMOTE_RESTORE_H
#define REPLICA_REMOTE_RESTORE_H

#include "replica/remote/layout.h"

struct restore_stats {
	uint64_t dirs, files, bytes;         /* done */
	uint64_t total_files, total_bytes;   /* as the head says */
	uint64_t skipped;                    /* of the files: there already, from an earlier run */
	uint64_t newer;                      /* of the files: what an upload under way left */
	uint64_t lacking;                    /* missing or damaged at the remote: reported */
	uint64_t failed;                     /* could not be stored here: reported the same way */
};
struct restore_options {
	const char *path;                    /* subtree, NULL: all */
	bool dry_run;                        /* read and verify everything, write nothing */
	unsigned parallel;                   /* 0: 8 */
	unsigned patience_s;                 /* of trouble without a success in between; 0: 300 */
	/* Non-zero: -EINTR. */
	int (*progress)(const struct restore_stats *s, const char *path, void *arg);
	void (*lacking)(const char *path, const char *what, void *arg);  /* one line each */
	void *arg;
};
/*
 * dir: an empty directory, or one that an unfinished restore of the same volume and path left.
 * When done it is a mirror of a volume of one member, with the volume's id. Until then it does not
 * mount. 0 (look at the stats), or -errno with error; after -EAGAIN (the server has trouble),
 * -EINTR, -ENOSPC and the like the same call goes on where it ended. dry_run: dir is not looked at.
 */
int restore_run(const struct remote_def *def, const struct remote_secret *secret,
		const char *dir, const struct restore_options *o, struct restore_stats *out,
		char error[LAYOUT_ERROR_MAX]);
/* Entries of a directory, or the one file; sorted by name. */
int restore_list(const struct remote_def *def, const struct remote_secret *secret, const char *path,
		 int (*fn)(const char *path, const struct manifest_entry *e, void *arg), void *arg,
		 char error[LAYOUT_ERROR_MAX]);
/* Content of a file, verified before a byte of a leaf is handed on. 0, UINT64_MAX: all of it. */
int restore_cat(const struct remote_def *def, const struct remote_secret *secret, const char *path,
		uint64_t off, uint64_t len, int (*write)(void *arg, const void *buf, size_t len),
		void *arg, char error[LAYOUT_ERROR_MAX]);

#endif
