/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests about open files. */
#include "fs/mount.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>

/* The state that the handle holds a user of. */
static struct file *held(struct fuse_file_info *fi, struct handle **h)
{
	*h = handle_get(vol(), fi->fh);
	return *h ? *tree_state_slot(vol(), (*h)->node) : NULL;
}

static int kill_privileges(fuse_req_t req, struct file *f)
{
	const struct killer k = killer_of(req);

	return file_kill_privileges(vol(), f, &k);
}

void h_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct fuse_in_header *in = worker_self()->raw;
	const struct fuse_open_in *arg = (const void *)(in + 1);
	bool writes = (fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC;
	struct file *f;
	int r = 0;

	if (writes && vol()->opt.read_only) {
		fuse_reply_err(req, EROFS);
		return;
	}
	f = file_get(vol(), (uint32_t)ino);
	if (!f) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (fi->flags & O_TRUNC) {
		r = file_truncate(vol(), f, &worker_self()->space, 0);
		if (r == 0 && arg->open_flags & FUSE_OPEN_KILL_SUIDGID)
			r = kill_privileges(req, f);
	}
	fi->fh = r == 0 ? handle_new(vol(), (uint32_t)ino, (uint32_t)fi->flags) : 0;
	if (r == 0 && !fi->fh)
		r = -ENFILE;
	if (answer_error(req, r)) {
		file_put(vol(), f);
		return;
	}
	fi->keep_cache = 1;
	if (fuse_reply_open(req, fi) < 0) {
		handle_free(vol(), fi->fh);
		file_put(vol(), f);
	}
}

void h_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct handle *h;
	struct file *f = held(fi, &h);

	(void)ino;
	if (f) {
		handle_free(vol(), fi->fh);
		file_put(vol(), f);
	}
	fuse_reply_err(req, 0);
}

void h_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct handle *h;
	struct file *f = held(fi, &h);
	const void *data = NULL;
	ssize_t n;

	(void)ino;
	if (!f) {
		fuse_reply_err(req, EBADF);
		return;
	}
	if (!h->touched) {
		h->touched = 1;
		op_accessed(vol(), f);
	}
	n = file_read(vol(), f, &worker_self()->space, (uint64_t)off, size, &data);
	if (!answer_error(req, n))
		fuse_reply_buf(req, data, (size_t)n);
}

void h_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	     struct fuse_file_info *fi)
{
	const struct fuse_in_header *in = worker_self()->raw;
	const struct fuse_write_in *arg = (const void *)(in + 1);
	struct handle *h;
	struct file *f = held(fi, &h);
	ssize_t n;

	(void)ino;
	if (!f) {
		fuse_reply_err(req, EBADF);
		return;
	}
	n = file_write(vol(), f, &worker_self()->space, (uint64_t)off, buf, size);
	if (n > 0 && arg->write_flags & FUSE_WRITE_KILL_SUIDGID)
		kill_privileges(req, f);
	/* Buffered synchronous writes are followed by an FSYNC of the kernel's. */
	if (n > 0 && h->flags & O_DIRECT && h->flags & O_DSYNC) {
		int r = file_sync(vol(), f, (h->flags & O_SYNC) != O_SYNC);

		n = r < 0 ? r : n;
	}
	if (!answer_error(req, n))
		fuse_reply_write(req, (size_t)n);
}

void h_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct file *f = file_get(vol(), (uint32_t)ino);

	(void)fi;
	reply_status(req, f ? file_sync(vol(), f, datasync) : -ENOMEM);
	if (f)
		file_put(vol(), f);
}

void h_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
		 struct fuse_file_info *fi)
{
	struct handle *h;
	struct file *f = held(fi, &h);
	int r = -EBADF;

	(void)ino;
	if (f)
		r = file_allocate(vol(), f, &worker_self()->space, mode, (uint64_t)off,
				  (uint64_t)len);
	if (r == 0 && fuse_req_ctx(req)->uid != 0)
		r = kill_privileges(req, f);
	reply_status(req, r);
}

void h_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct handle *h;
	struct file *f = held(fi, &h);
	int64_t r = f ? file_seek(vol(), f, off, whence) : -EBADF;

	/* The kernel does not write its dirty pages out before it asks, and a
	 * program that copies by holes would lose them. */
	if (the_mount.opt.writeback)
		r = -ENOSYS;

	(void)ino;
	if (!answer_error(req, r))
		fuse_reply_lseek(req, r);
}

void h_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
		       struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
		       struct fuse_file_info *fi_out, size_t len, int flags)
{
	struct io_space *s = &worker_self()->space;
	struct handle *h;
	struct file *in = held(fi_in, &h), *out = held(fi_out, &h);
	struct io_space edge = { 0 };
	size_t done = 0;
	ssize_t n = in && out ? io_space_init(&edge) : -EBADF;

	(void)ino_in;
	(void)ino_out;
	(void)flags;
	/* Verified bytes in, new hashes out; a GiB at a time is enough for one call. */
	while (n >= 0 && done < len && done < 1u << 30) {
		const void *data;

		n = file_read(vol(), in, s, (uint64_t)off_in + done,
			      len - done < IO_MAX ? len - done : IO_MAX, &data);
		if (n > 0)
			n = file_write(vol(), out, &edge, (uint64_t)off_out + done, data,
				       (size_t)n);
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	io_space_free(&edge);
	if (done)
		n = (ssize_t)done;
	if (!answer_error(req, n))
		fuse_reply_write(req, (size_t)n);
}
