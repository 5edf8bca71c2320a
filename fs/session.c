/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The FUSE session: mounting, the threads that read requests, the end. The
 * read loop is ours: requests land in buffers of one memory file that are
 * present from the start, and are seen raw before libfuse takes them apart.
 */
#include "fs/mount.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "replica/base/io.h"
#include "replica/base/log.h"

/* A request in flight, plain data in the memory file. */
struct slot {
	_Atomic uint32_t state;   /* enum slot_state */
	uint32_t opcode;
	uint64_t unique;
	uint8_t pad[4096 - 16];
	uint8_t buf[MAX_WRITE + 4096]; /* page aligned: headers, then data */
};

enum slot_state { SLOT_READING, SLOT_WORKING };

static struct {
	struct slot *slot;
	int memfd;
	unsigned n;
	pthread_t thread[MAX_THREADS];
	pthread_t main;
	_Atomic bool quit;
} loop = { .memfd = -1 };

struct mount the_mount = { .fd = -1 };

static __thread struct worker self;

struct worker *worker_self(void)
{
	return &self;
}

/* ---- device ---- */

static ssize_t device_writev(int fd, struct iovec *iov, int count, void *data)
{
	ssize_t n;

	(void)data;
	raw_reply(iov, count);
	n = writev(fd, iov, count);
	return n;
}

static ssize_t device_read(int fd, void *buf, size_t len, void *data)
{
	(void)data;
	return read(fd, buf, len);
}

/* Reads come in pieces of the mount's read-ahead, 128 KiB by default; only
 * root may raise it. */
static void raise_readahead(const char *mountpoint)
{
	char path[96];
	struct stat st;
	FILE *f;

	if (stat(mountpoint, &st) < 0)
		return;
	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(st.st_dev),
		 minor(st.st_dev));
	f = fopen(path, "w");
	if (!f)
		return;
	fprintf(f, "%u\n", MAX_WRITE >> 10);
	fclose(f);
}

static int build_args(struct mount *m, struct fuse_args *args)
{
	const char *name = m->opt.fsname ? m->opt.fsname : m->opt.source;
	char *opts = NULL, *escaped, *to;
	int r = 0;

	/* fsname must not be cut at its commas. */
	escaped = malloc(2 * strlen(name) + 1);
	if (!escaped)
		return -ENOMEM;
	to = escaped;
	for (const char *c = name; *c; c++) {
		if (*c == ',' || *c == '\\')
			*to++ = '\\';
		*to++ = *c;
	}
	*to = '\0';
	if (asprintf(&opts, "fsname=%s,subtype=mirrorfs,default_permissions%s%s%s", escaped,
		     m->opt.allow_other ? ",allow_other" : "", *m->opt.kernel ? "," : "",
		     m->opt.kernel) < 0)
		opts = NULL;
	if (!opts || fuse_opt_add_arg(args, "mirrorfs") < 0 || fuse_opt_add_arg(args, "-o") < 0 ||
	    fuse_opt_add_arg(args, opts) < 0)
		r = -ENOMEM;
	free(opts);
	free(escaped);
	if (r == 0 && m->opt.debug)
		r = fuse_opt_add_arg(args, "-d") < 0 ? -ENOMEM : 0;
	return r;
}

int session_mount(struct mount *m)
{
	static const struct fuse_custom_io io = { .writev = device_writev, .read = device_read };
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int r = build_args(m, &args);

	if (r == 0) {
		m->se = fuse_session_new(&args, &mount_ops, sizeof(mount_ops), m);
		r = m->se ? 0 : -EINVAL;
	}
	fuse_opt_free_args(&args);
	if (r < 0)
		return r;
	if (fuse_session_mount(m->se, m->opt.mountpoint) < 0) {
		fuse_session_destroy(m->se);
		m->se = NULL;
		return -EIO;
	}
	m->fd = fuse_session_fd(m->se);
	r = fuse_session_custom_io(m->se, &io, m->fd);
	if (r != 0)
		return log_err(r < 0 ? r : -r, "FUSE session");
	return 0;
}

/* ---- the read loop ---- */

static int worker_init(void)
{
	sigset_t all;
	int r;

	sigfillset(&all);
	sigdelset(&all, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	self.text = malloc(WORKER_TEXT);
	r = self.text ? io_space_init(&self.space) : -ENOMEM;
	return r < 0 ? r : creds_thread_init();
}

/* 1: go on; 0: the end. */
static int serve_one(struct slot *s)
{
	struct fuse_buf buf = { .mem = s->buf };
	ssize_t n;

	atomic_store_explicit(&s->state, SLOT_READING, memory_order_release);
	n = read(the_mount.fd, s->buf, sizeof(s->buf));
	if (n < 0) {
		if (errno == EINTR || errno == EAGAIN || errno == ENOENT)
			return !atomic_load(&loop.quit);
		if (errno != ENODEV)
			log_err(-errno, "reading from the FUSE device");
		return 0;
	}
	if ((size_t)n < sizeof(struct fuse_in_header))
		return 0;
	s->unique = ((struct fuse_in_header *)s->buf)->unique;
	s->opcode = ((struct fuse_in_header *)s->buf)->opcode;
	atomic_store_explicit(&s->state, SLOT_WORKING, memory_order_release);
	buf.size = (size_t)n;
	raw_request(&self, s->buf, &buf.size);
	fuse_session_process_buf(the_mount.se, &buf);
	return !atomic_load(&loop.quit) && !fuse_session_exited(the_mount.se);
}

static void *worker_main(void *arg)
{
	struct slot *s = arg;

	if (worker_init() < 0)
		log_error("a request thread could not start");
	else
		while (serve_one(s))
			;
	io_space_free(&self.space);
	free(self.text);
	pthread_kill(loop.main, SIGUSR1); /* the main thread sees to the end */
	return NULL;
}

static void on_usr2(int sig)
{
	(void)sig; /* only interrupts read() */
}

static int make_slots(unsigned n)
{
	size_t size = n * sizeof(struct slot);

	loop.memfd = memfd_create("mirrorfs-requests", MFD_CLOEXEC);
	if (loop.memfd < 0 || ftruncate(loop.memfd, (off_t)size) < 0)
		return -errno;
	/* Present before the kernel copies into it: a fault taken then would
	 * fail the request. */
	loop.slot = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			 loop.memfd, 0);
	if (loop.slot == MAP_FAILED) {
		loop.slot = NULL;
		return -errno;
	}
	return 0;
}

int session_start(struct mount *m)
{
	struct sigaction sa = { .sa_handler = on_usr2 };
	int r = make_slots(m->opt.threads);

	if (r < 0)
		return log_err(r, "request buffers");
	sigaction(SIGUSR2, &sa, NULL);
	loop.main = pthread_self();
	for (unsigned i = 0; i < m->opt.threads; i++) {
		r = -pthread_create(&loop.thread[i], NULL, worker_main, &loop.slot[i]);
		if (r < 0)
			return log_err(r, "request thread");
		loop.n++;
	}
	/* The first question to the new mount; it also waits for INIT. */
	raise_readahead(m->opt.mountpoint);
	return 0;
}

void session_unmount(struct mount *m)
{
	pid_t pid;

	if (umount2(m->opt.mountpoint, MNT_DETACH) == 0 || errno != EPERM)
		return;
	pid = fork();
	if (pid == 0) {
		execlp("fusermount3", "fusermount3", "-u", "-q", "-z", "--", m->opt.mountpoint,
		       (char *)NULL);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void session_join(struct mount *m)
{
	(void)m;
	atomic_store(&loop.quit, true);
	for (unsigned i = 0; i < loop.n; i++) {
		struct timespec until;

		/* A signal may come between the look at `quit` and read(). */
		do {
			pthread_kill(loop.thread[i], SIGUSR2);
			clock_gettime(CLOCK_REALTIME, &until);
			until.tv_nsec += 50000000;
			until.tv_sec += until.tv_nsec / 1000000000;
			until.tv_nsec %= 1000000000;
		} while (pthread_timedjoin_np(loop.thread[i], NULL, &until) == ETIMEDOUT);
	}
	loop.n = 0;
}

void session_fini(struct mount *m)
{
	if (m->se) {
		fuse_session_unmount(m->se); /* only frees: the mount is gone */
		fuse_session_destroy(m->se);
	}
	m->se = NULL;
	if (loop.memfd >= 0)
		close(loop.memfd);
}
