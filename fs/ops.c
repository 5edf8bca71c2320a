/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table, the connection's settings, and replies. No flush, no access, no
 * locks: the kernel does without asking us (ENOSYS once, or its own locks). */
#include "fs/mount.h"

#include <errno.h>

const struct fuse_lowlevel_ops mount_ops = {
	.init = h_init,
	.lookup = h_lookup,
	.forget = h_forget,
	.forget_multi = h_forget_multi,
	.getattr = h_getattr,
	.setattr = h_setattr,
	.readlink = h_readlink,
	.mknod = h_mknod,
	.mkdir = h_mkdir,
	.symlink = h_symlink,
	.unlink = h_unlink,
	.rmdir = h_rmdir,
	.rename = h_rename,
	.link = h_link,
	.create = h_create,
	.open = h_open,
	.read = h_read,
	.write = h_write,
	.release = h_release,
	.fsync = h_fsync,
	.fallocate = h_fallocate,
	.lseek = h_lseek,
	.copy_file_range = h_copy_file_range,
	.opendir = h_opendir,
	.readdir = h_readdir,
	.readdirplus = h_readdirplus,
	.releasedir = h_releasedir,
	.fsyncdir = h_fsyncdir,
	.statfs = h_statfs,
	.setxattr = h_setxattr,
	.getxattr = h_getxattr,
	.listxattr = h_listxattr,
	.removexattr = h_removexattr,
};

void h_init(void *data, struct fuse_conn_info *conn)
{
	const unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC |
		FUSE_CAP_DONT_MASK | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
		FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_POSIX_ACL |
		FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPLICIT_INVAL_DATA;

	(void)data;
	conn->want = conn->capable & wanted;
	if (the_mount.opt.writeback)
		conn->want |= conn->capable & FUSE_CAP_WRITEBACK_CACHE;
	conn->max_write = MAX_WRITE;
	conn->max_readahead = MAX_WRITE;
	conn->max_background = 64;
	conn->time_gran = 1;
}

static bool caller_in_group(gid_t gid, void *arg)
{
	gid_t list[1024];
	int n;

	if (fuse_req_ctx(arg)->gid == gid)
		return true;
	n = fuse_req_getgroups(arg, (int)(sizeof(list) / sizeof(list[0])), list);
	for (int i = 0; i < n && i < (int)(sizeof(list) / sizeof(list[0])); i++)
		if (list[i] == gid)
			return true;
	return false;
}

struct killer killer_of(fuse_req_t req)
{
	return (struct killer){ .in_group = caller_in_group, .arg = req };
}

void reply_status(fuse_req_t req, int r)
{
	fuse_reply_err(req, r < 0 ? -r : 0);
}

bool answer_error(fuse_req_t req, int64_t r)
{
	if (r < 0)
		fuse_reply_err(req, (int)-r);
	return r < 0;
}

void entry_param(struct fuse_entry_param *p, const struct entry *e)
{
	*p = (struct fuse_entry_param){
		.ino = e->node, .generation = e->gen, .attr = e->st,
		.attr_timeout = CACHE_SECONDS, .entry_timeout = CACHE_SECONDS,
	};
}

/* The reference becomes a lookup of the kernel's, before it hears of it. */
void reply_entry(fuse_req_t req, struct entry *e)
{
	struct fuse_entry_param p;
	uint32_t node = e->node;

	entry_param(&p, e);
	tree_lookup_inc(vol(), node);
	tree_unref(vol(), node);
	if (fuse_reply_entry(req, &p) < 0)
		tree_forget(vol(), node, 1);
}
