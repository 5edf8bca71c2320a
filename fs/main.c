/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of the process: options, volume, mount, waiting, the end. The
 * caller's process returns only when the mount answers.
 */
#include "fs/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "replica/base/exitcode.h"
#include "replica/base/log.h"
#include "replica/remote/remote.h"
#include "replica/resync.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#else
#define PACKAGE_VERSION "unconfigured"
#endif

/* The parent waits here for one byte: the exit status. */
static int report_fd = -1;

static void report(int status)
{
	char byte = (char)status;

	if (report_fd < 0)
		return;
	while (write(report_fd, &byte, 1) < 0 && errno == EINTR)
		;
	close(report_fd);
	report_fd = -1;
}

/* Returns in the child; the parent exits with the child's report. */
static int to_background(void)
{
	int p[2];
	char status = EXIT_MOUNT_FAIL;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return log_err(-errno, "pipe");
	pid = fork();
	if (pid < 0)
		return log_err(-errno, "fork");
	if (pid > 0) {
		close(p[1]);
		while (read(p[0], &status, 1) < 0 && errno == EINTR)
			;
		_exit(status);
	}
	close(p[0]);
	report_fd = p[1];
	setsid();
	return 0;
}

/* The terminal is the caller's again. */
static void leave_terminal(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	log_to_syslog();
	if (chdir("/") < 0)
		log_err(-errno, "chdir /");
	if (null < 0)
		return;
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
}

static void raise_limits(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

static int make_streams(struct mount *m)
{
	m->stream = mmap(NULL, (1u << 20) * sizeof(*m->stream), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return m->stream == MAP_FAILED ? -ENOMEM : 0;
}

static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Until the mount is gone (SIGUSR1 of a thread) or somebody asks us to go. */
static void wait_for_end(struct mount *m, const sigset_t *set)
{
	struct timespec limit = { .tv_sec = 10 };
	int sig;

	if (sigwait(set, &sig) != 0 || sig == SIGUSR1)
		return;
	log_info("signal %d: unmounting %s", sig, m->opt.mountpoint);
	session_unmount(m);
	/* Files may still be open: their users get a while, no more. */
	while ((sig = sigtimedwait(set, NULL, &limit)) >= 0 && sig != SIGUSR1)
		;
}

static int serve(struct mount *m, const sigset_t *set)
{
	struct stat st;
	int r = session_mount(m);

	if (r < 0)
		return EXIT_MOUNT_FAIL;
	r = session_start(m);
	if (r == 0 && stat(m->opt.mountpoint, &st) < 0)
		r = log_err(-errno, "%s does not answer", m->opt.mountpoint);
	if (r == 0)
		r = ctl_start(m);
	if (r == 0)
		r = resync_start(m->v);
	if (r == 0)
		r = remotes_start(m->v);
	if (r < 0) {
		session_unmount(m);
	} else {
		report(EXIT_MOUNT_OK);
		if (!m->opt.foreground)
			leave_terminal();
		wait_for_end(m, set);
	}
	ctl_stop();
	session_join(m);
	return r < 0 ? EXIT_MOUNT_FAIL : EXIT_MOUNT_OK;
}

static int run(struct mount *m)
{
	sigset_t set;
	int status, r;

	raise_limits();
	umask(0);
	block_signals(&set);
	if (make_streams(m) < 0)
		return EXIT_MOUNT_SYSERR;
	r = volume_open(m->opt.n_dirs, (const char *const *)m->opt.dir, &m->opt.volume, &m->v);
	if (r < 0)
		return EXIT_MOUNT_FAIL;
	status = serve(m, &set);
	r = volume_close(m->v);
	if (r < 0 && status == EXIT_MOUNT_OK) {
		log_err(r, "%s: not everything could be settled", m->opt.mountpoint);
		status = EXIT_MOUNT_FAIL;
	}
	session_fini(m);
	return status;
}

/* mount -o remount,...: the kernel changes the flags; the process stays. */
static int remount(const struct mount_options *o)
{
	unsigned long flags = MS_REMOUNT | (o->volume.read_only ? MS_RDONLY : 0);

	if (mount(o->source, o->mountpoint, "fuse.mirrorfs", flags, NULL) == 0)
		return EXIT_MOUNT_OK;
	log_err(-errno, "remount %s", o->mountpoint);
	return EXIT_MOUNT_FAIL;
}

int main(int argc, char **argv)
{
	struct mount *m = &the_mount;
	int status;

	log_set_program("mirrorfs");
	status = opts_parse(argc, argv, &m->opt);
	if (status)
		return status;
	if (m->opt.show_help) {
		opts_usage();
		return EXIT_MOUNT_OK;
	}
	if (m->opt.show_version) {
		printf("mirrorfs %s (libfuse %s)\n", PACKAGE_VERSION, fuse_pkgversion());
		return EXIT_MOUNT_OK;
	}
	if (m->opt.fake)
		return EXIT_MOUNT_OK;
	if (m->opt.remount)
		return remount(&m->opt);
	if (!m->opt.foreground && to_background() < 0)
		return EXIT_MOUNT_SYSERR;
	status = run(m);
	report(status);
	opts_free(&m->opt);
	return status;
}
