/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the front end share. Nodeids are slots of the inode
 * table, file handles slots of the handle table; both are plain data in the
 * volume's arena.
 */
#ifndef FS_MOUNT_H
#define FS_MOUNT_H

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

#include "replica/ops.h"
#include "replica/volume.h"

#define MAX_WRITE (1u << 20)
#define MAX_THREADS 32

struct mount_options {
	struct volume_options volume;
	bool foreground, debug, writeback, allow_other, show_help, show_version;
	bool fake;                 /* -f of mount helpers is -n here: see opts.c */
	bool remount;
	unsigned threads;
	char *source, *mountpoint;
	char *fsname;              /* shown as the mount's source; NULL: the mirrors */
	char *kernel;              /* options for the kernel and libfuse, comma separated */
	int n_dirs;
	char *dir[MAX_MIRRORS];
};

struct mount {
	struct mount_options opt;
	struct volume *v;
	struct fuse_session *se;
	int fd;                    /* /dev/fuse */
	_Atomic bool ready;        /* INIT was answered */
	struct stream **stream;    /* by handle slot: listings of open directories */
};

/* The one mount of this process. */
extern struct mount the_mount;

/* What a thread that serves requests has of its own. */
struct worker {
	struct io_space space;
	const void *raw;           /* request in hand, as the kernel sent it */
	bool tmpfile;              /* it is a FUSE_TMPFILE in the guise of CREATE */
	uint32_t setxattr_flags;
	char *text;                /* 64 KiB for names and values */
};
#define WORKER_TEXT (64u << 10)
struct worker *worker_self(void);

static inline struct volume *vol(void)
{
	return the_mount.v;
}

extern const struct fuse_lowlevel_ops mount_ops;
/* opts.c: 0, or an exit status after one line on stderr; fills in o. */
int opts_parse(int argc, char **argv, struct mount_options *o);
void opts_free(struct mount_options *o);
void opts_usage(void);

/* session.c */
int session_mount(struct mount *m);
int session_start(struct mount *m);       /* the threads */
void session_unmount(struct mount *m);
void session_join(struct mount *m);
void session_fini(struct mount *m);

/* raw.c: what libfuse has no words for. Returns true if it was answered. */
bool raw_request(struct worker *w, void *buf, size_t *len);
void raw_reply(struct iovec *iov, int count);

/* ctl.c */
int ctl_start(struct mount *m);
void ctl_stop(void);

/* Replies of handlers. */
void reply_entry(fuse_req_t req, struct entry *e);
void reply_status(fuse_req_t req, int r);
bool answer_error(fuse_req_t req, int64_t r);
/* The groups of the caller, asked for only when they matter. */
struct killer killer_of(fuse_req_t req);
void entry_param(struct fuse_entry_param *p, const struct entry *e);
#define CACHE_SECONDS 86400.0

/* handlers, by file */
void h_init(void *data, struct fuse_conn_info *conn);
void h_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void h_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n);
void h_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void h_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void h_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
	       struct fuse_file_info *fi);
void h_readlink(fuse_req_t req, fuse_ino_t ino);
void h_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void h_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void h_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void h_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void h_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void h_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	      const char *newname, unsigned flags);
void h_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname);
void h_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	      struct fuse_file_info *fi);
void h_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void h_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void h_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	     struct fuse_file_info *fi);
void h_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void h_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void h_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
		 struct fuse_file_info *fi);
void h_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void h_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
		       struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
		       struct fuse_file_info *fi_out, size_t len, int flags);
void h_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void h_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	       struct fuse_file_info *fi);
void h_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		   struct fuse_file_info *fi);
void h_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void h_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void h_statfs(fuse_req_t req, fuse_ino_t ino);
void h_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
		size_t size, int flags);
void h_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void h_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void h_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

#endif
