/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * disk: simulated disks that can lose power, fail, hang, dawdle and lie.
 *
 *   disk DIR MOUNTPOINT NAME=SIZE...
 *
 * Mounts files NAME to be used as block devices through loop devices, with
 * ctl (commands, see control.h), seq (number of the last completed write or
 * flush) and stats beside them. DIR holds what was written (NAME.cur, kept if
 * there), the state when recording began (NAME.base), the request log (log,
 * log.data; recording begins at once), pid, and messages: what went wrong.
 * Goes to the background when mounted and ends when unmounted.
 *
 * All files are opened for direct I/O: no page cache of the kernel delays or
 * merges writes, and each request has a thread of its own, so that a hanging
 * disk stops nobody else. Writes are whole sectors.
 */
#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/log.h"
#include "tests/disk/control.h"
#include "tests/disk/machine.h"

#define FOREVER     1e6
#define MAX_REQUEST (1 << 20)
#define MAX_THREADS 512
#define TEXT_SIZE   4096

enum { INO_ROOT = 1, INO_CTL, INO_SEQ, INO_STATS, INO_DISKS };

static const char *const special[INO_DISKS] = {
	[INO_CTL] = "ctl",
	[INO_SEQ] = "seq",
	[INO_STATS] = "stats",
};

static struct fuse_session *session;

static bool session_over(void)
{
	return fuse_session_exited(session);
}

static struct disk *disk_of(fuse_ino_t ino)
{
	return ino >= INO_DISKS ? &machine.disk[ino - INO_DISKS] : NULL;
}

static void fill_attr(fuse_ino_t ino, struct stat *st)
{
	*st = (struct stat){
		.st_ino = ino,
		.st_nlink = 1,
		.st_mode = ino == INO_ROOT ? S_IFDIR | 0755 :
			   ino == INO_SEQ || ino == INO_STATS ? S_IFREG | 0444 : S_IFREG | 0600,
		.st_uid = getuid(),
		.st_gid = getgid(),
		.st_size = ino >= INO_DISKS ? (off_t)disk_of(ino)->size : 0,
		.st_blksize = 4096,
	};
}

static void op_init(void *data, struct fuse_conn_info *conn)
{
	(void)data;
	conn->max_write = MAX_REQUEST;
	conn->max_background = MAX_THREADS / 2; /* a hanging disk must not use them up */
	conn->congestion_threshold = MAX_THREADS / 2;
}

static fuse_ino_t find_name(const char *name)
{
	struct disk *d = machine_find(name);
	fuse_ino_t ino;

	if (d)
		return INO_DISKS + d->index;
	for (ino = INO_CTL; ino < INO_DISKS; ino++)
		if (!strcmp(special[ino], name))
			return ino;
	return 0;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = { .attr_timeout = FOREVER, .entry_timeout = FOREVER };

	e.ino = parent == INO_ROOT ? find_name(name) : 0;
	if (!e.ino) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	fill_attr(e.ino, &e.attr);
	fuse_reply_entry(req, &e);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	fill_attr(ino, &st);
	fuse_reply_attr(req, &st, FOREVER);
}

/* The shell truncates ctl; the size of a disk is fixed. */
static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int valid,
		       struct fuse_file_info *fi)
{
	if (disk_of(ino) && (valid & FUSE_SET_ATTR_SIZE) &&
	    (uint64_t)attr->st_size != disk_of(ino)->size)
		fuse_reply_err(req, EPERM);
	else
		op_getattr(req, ino, fi);
}

static void op_readdir(fuse_req_t req, fuse_ino_t dir, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	char buf[TEXT_SIZE];
	size_t len = 0, n;
	fuse_ino_t ino;

	(void)dir, (void)fi;
	size = size < sizeof(buf) ? size : sizeof(buf);
	for (ino = (fuse_ino_t)off + INO_CTL; ino < INO_DISKS + machine.n_disks; ino++) {
		const char *name = ino < INO_DISKS ? special[ino] : disk_of(ino)->name;
		struct stat st;

		fill_attr(ino, &st);
		n = fuse_add_direntry(req, buf + len, size - len, name, &st,
				      (off_t)(ino - INO_CTL + 1));
		if (n > size - len)
			break;
		len += n;
	}
	fuse_reply_buf(req, buf, len);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->direct_io = 1;
	fuse_reply_open(req, fi);
}

static size_t text_of(fuse_ino_t ino, char *buf, size_t size)
{
	if (ino == INO_STATS)
		return control_stats(buf, size);
	if (ino == INO_SEQ)
		return (size_t)snprintf(buf, size, "%" PRIu64 "\n", machine_seq());
	return 0;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	CLEANUP_FREE char *buf = malloc(size > TEXT_SIZE ? size : TEXT_SIZE);
	size_t len, at = 0;
	ssize_t n;

	(void)fi;
	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (disk_of(ino)) {
		n = disk_read(disk_of(ino), buf, size, (uint64_t)off);
		if (n < 0) {
			fuse_reply_err(req, (int)-n);
			return;
		}
		len = (size_t)n;
	} else {
		len = text_of(ino, buf, TEXT_SIZE);
		at = (uint64_t)off < len ? (size_t)off : len;
		len = len - at < size ? len - at : size;
	}
	fuse_reply_buf(req, buf + at, len);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	int err = -EPERM;

	(void)fi;
	if (disk_of(ino))
		err = disk_write(disk_of(ino), buf, size, (uint64_t)off);
	else if (ino == INO_CTL)
		err = control_run(buf, size);
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_write(req, size);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync, (void)fi;
	fuse_reply_err(req, disk_of(ino) ? -disk_flush(disk_of(ino)) : 0);
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readdir = op_readdir,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.fsync = op_fsync,
};

/* The background has no terminal: what goes wrong is said in DIR/messages. */
static int go_to_background(void)
{
	CLEANUP_CLOSE int fd = -1;

	fd = openat(machine.dirfd, "messages", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return log_err(-errno, "open messages");
	if (fuse_daemonize(0))
		return -1;
	if (dup2(fd, STDERR_FILENO) < 0)
		return log_err(-errno, "redirect stderr");
	close(steal_fd(&fd));
	fd = openat(machine.dirfd, "pid", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
		return log_err(-errno, "write pid");
	return 0;
}

static int serve(void)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int err;

	if (!config)
		return log_err(-ENOMEM, "loop");
	fuse_loop_cfg_set_max_threads(config, MAX_THREADS);
	/* Writing back pages of the file systems above must not wait for us to do so. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	err = fuse_session_loop_mt(session, config);
	fuse_loop_cfg_destroy(config);
	return err;
}

static int run(const char *mountpoint)
{
	char name[] = "disk", opts[] = "-ofsname=disk,subtype=disk", *argv[] = { name, opts, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(2, argv);
	int err = -1;

	session = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (!session)
		return -1;
	if (fuse_set_signal_handlers(session) == 0) {
		if (fuse_session_mount(session, mountpoint) == 0) {
			err = go_to_background();
			if (!err)
				err = serve();
			fuse_session_unmount(session);
		}
		fuse_remove_signal_handlers(session);
	}
	fuse_session_destroy(session);
	fuse_opt_free_args(&args);
	return err;
}

int main(int argc, char **argv)
{
	int i;

	log_set_program("disk");
	if (argc < 4) {
		fputs("usage: disk DIR MOUNTPOINT NAME=SIZE...\n", stderr);
		return 2;
	}
	if (machine_init(argv[1]))
		return 1;
	for (i = 3; i < argc; i++)
		if (machine_add(argv[i]))
			return 1;
	machine.over = session_over;
	if (machine_record())
		return 1;
	return run(argv[2]) ? 1 : 0;
}
