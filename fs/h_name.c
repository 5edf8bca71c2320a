/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests about names. */
#include "fs/mount.h"

#include <errno.h>
#include <string.h>

static struct caller caller_of(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct caller){ .uid = ctx->uid, .gid = ctx->gid, .umask = ctx->umask };
}

void h_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct entry e;
	int r = op_lookup(vol(), (uint32_t)parent, name, &e);

	if (r == 0) {
		reply_entry(req, &e);
	} else if (r == -ENOENT) { /* remembered by the kernel, too */
		struct fuse_entry_param none = { .entry_timeout = CACHE_SECONDS };

		fuse_reply_entry(req, &none);
	} else {
		fuse_reply_err(req, -r);
	}
}

void h_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	tree_forget(vol(), (uint32_t)ino, n);
	fuse_reply_none(req);
}

void h_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		tree_forget(vol(), (uint32_t)forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void make(fuse_req_t req, fuse_ino_t parent, const char *name, const struct make *m)
{
	struct entry e;

	if (!answer_error(req, op_make(vol(), (uint32_t)parent, name, m, &e)))
		reply_entry(req, &e);
}

void h_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct make m = { .mode = mode, .rdev = rdev, .caller = caller_of(req) };
	struct file *f;
	struct entry e;

	if (!S_ISREG(mode)) {
		make(req, parent, name, &m);
		return;
	}
	if (answer_error(req, op_create(vol(), (uint32_t)parent, name, &m, &e, &f)))
		return;
	file_put(vol(), f);
	reply_entry(req, &e);
}

void h_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	make(req, parent, name, &(struct make){ .mode = (mode & 07777) | S_IFDIR,
						.caller = caller_of(req) });
}

void h_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	make(req, parent, name, &(struct make){ .mode = S_IFLNK | 0777, .target = target,
						.caller = caller_of(req) });
}

void h_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_status(req, op_unlink(vol(), (uint32_t)parent, name, false));
}

void h_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_status(req, op_unlink(vol(), (uint32_t)parent, name, true));
}

void h_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	      const char *newname, unsigned flags)
{
	reply_status(req, op_rename(vol(), (uint32_t)parent, name, (uint32_t)newparent, newname,
				    flags));
}

void h_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	struct entry e;

	if (!answer_error(req, op_link(vol(), (uint32_t)ino, (uint32_t)newparent, newname, &e)))
		reply_entry(req, &e);
}

void h_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[4097];
	ssize_t n = op_readlink(vol(), (uint32_t)ino, target, sizeof(target) - 1);

	if (answer_error(req, n))
		return;
	target[n] = '\0';
	fuse_reply_readlink(req, target);
}

/* ---- create ---- */

static int create_or_open(fuse_ino_t parent, const char *name, const struct make *m, int flags,
			  struct entry *e, struct file **f)
{
	struct worker *w = worker_self();
	int r;

	if (w->tmpfile)
		return op_tmpfile(vol(), (uint32_t)parent, m, e, f);
	for (int tries = 0; tries < 10; tries++) {
		r = op_create(vol(), (uint32_t)parent, name, m, e, f);
		if (r != -EEXIST || flags & O_EXCL)
			return r;
		r = op_lookup(vol(), (uint32_t)parent, name, e);
		if (r == -ENOENT)
			continue; /* gone between the two */
		if (r < 0)
			return r;
		*f = file_get(vol(), e->node);
		r = *f ? 0 : -ENOMEM;
		if (r == 0 && flags & O_TRUNC)
			r = file_truncate(vol(), *f, &w->space, 0);
		if (r < 0 && *f)
			file_put(vol(), *f);
		if (r < 0)
			tree_unref(vol(), e->node);
		return r;
	}
	return -EEXIST;
}

void h_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	      struct fuse_file_info *fi)
{
	struct make m = { .mode = (mode & 07777) | S_IFREG, .caller = caller_of(req) };
	struct fuse_entry_param p;
	struct entry e;
	struct file *f;

	if (answer_error(req, create_or_open(parent, name, &m, fi->flags, &e, &f)))
		return;
	fi->fh = handle_new(vol(), e.node, (uint32_t)fi->flags);
	if (!fi->fh) {
		file_put(vol(), f);
		tree_unref(vol(), e.node);
		fuse_reply_err(req, ENFILE);
		return;
	}
	/* The state's user is the handle's from here on. */
	fi->keep_cache = 1;
	entry_param(&p, &e);
	tree_lookup_inc(vol(), e.node);
	tree_unref(vol(), e.node);
	if (fuse_reply_create(req, &p, fi) < 0) {
		handle_free(vol(), fi->fh);
		file_put(vol(), f);
		tree_forget(vol(), e.node, 1);
	}
}
