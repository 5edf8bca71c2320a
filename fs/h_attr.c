/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests about attributes and xattrs. */
#include "fs/mount.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#ifndef FATTR_KILL_SUIDGID
#define FATTR_KILL_SUIDGID (1 << 11)
#endif

void h_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	if (!answer_error(req, op_getattr(vol(), (uint32_t)ino, &st)))
		fuse_reply_attr(req, &st, CACHE_SECONDS);
}

/* libfuse's bits to ours. */
static unsigned wanted(int to_set, struct stat *st)
{
	static const struct {
		int theirs;
		unsigned ours;
	} map[] = {
		{ FUSE_SET_ATTR_MODE, ATTR_MODE }, { FUSE_SET_ATTR_UID, ATTR_UID },
		{ FUSE_SET_ATTR_GID, ATTR_GID }, { FUSE_SET_ATTR_SIZE, ATTR_SIZE },
		{ FUSE_SET_ATTR_ATIME, ATTR_ATIME }, { FUSE_SET_ATTR_MTIME, ATTR_MTIME },
		{ FUSE_SET_ATTR_ATIME_NOW, ATTR_ATIME }, { FUSE_SET_ATTR_MTIME_NOW, ATTR_MTIME },
	};
	unsigned want = 0;

	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++)
		if (to_set & map[i].theirs)
			want |= map[i].ours;
	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		st->st_atim.tv_nsec = UTIME_NOW;
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		st->st_mtim.tv_nsec = UTIME_NOW;
	return want;
}

void h_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
	       struct fuse_file_info *fi)
{
	const struct fuse_in_header *in = worker_self()->raw;
	const struct fuse_setattr_in *arg = (const void *)(in + 1);
	struct stat out;
	const struct killer killer = killer_of(req);
	unsigned want = wanted(to_set, st);

	(void)fi;
	if (!answer_error(req, op_setattr(vol(), (uint32_t)ino, st, want,
					  arg->valid & FATTR_KILL_SUIDGID ? &killer : NULL,
					  &worker_self()->space, &out)))
		fuse_reply_attr(req, &out, CACHE_SECONDS);
}

void h_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs sv;

	(void)ino;
	if (!answer_error(req, op_statfs(vol(), &sv)))
		fuse_reply_statfs(req, &sv);
}

void h_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
		size_t size, int flags)
{
	/* The kernel says so for default ACLs as well, which touch no mode. */
	bool kill = worker_self()->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID &&
		strcmp(name, "system.posix_acl_access") == 0;

	reply_status(req, op_setxattr(vol(), (uint32_t)ino, name, value, size, flags, kill));
}

void h_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	reply_status(req, op_removexattr(vol(), (uint32_t)ino, name));
}

static void reply_xattr(fuse_req_t req, ssize_t n, const char *buf, size_t size)
{
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else if (size == 0)
		fuse_reply_xattr(req, (size_t)n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

void h_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	char *buf = worker_self()->text;

	if (size > WORKER_TEXT)
		size = WORKER_TEXT;
	reply_xattr(req, op_getxattr(vol(), (uint32_t)ino, name, buf, size), buf, size);
}

void h_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	char *buf = worker_self()->text;

	if (size > WORKER_TEXT)
		size = WORKER_TEXT;
	reply_xattr(req, op_listxattr(vol(), (uint32_t)ino, fuse_req_ctx(req)->uid == 0,
				      buf, size), buf, size);
}
