// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Feature prober: one line for each thing a program may expect of a POSIX
 * filesystem on Linux: "ok NAME", "FAIL NAME reason" or "unsup NAME reason".
 * Here: the runner (a child, an empty directory and an alarm for each probe)
 * and the helpers of the probes. Ends with status 1 if anything failed.
 */
#include "features.h"

#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <signal.h>
#include <sys/wait.h>

#define PROBE_SECONDS 120

int features_big_dir = 20000;

static char reason[300];

/* --- verdicts --------------------------------------------------------- */

enum verdict probe_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	return PROBE_FAIL;
}

enum verdict probe_unsup(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	return PROBE_UNSUP;
}

enum verdict probe_refused(const char *call)
{
	bool lacking = errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL ||
		       errno == ENODEV || errno == ENOTTY || errno == EISDIR;

	probe_fail("%s: %s", call, strerror(errno));
	return lacking ? PROBE_UNSUP : PROBE_FAIL;
}

/* --- helpers ---------------------------------------------------------- */

unsigned char pattern(size_t i)
{
	return (unsigned char)(1 + i % 251);
}

int make_file(const char *name, mode_t mode, size_t size)
{
	unsigned char *buf = must_alloc(size);
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	for (size_t i = 0; i < size; i++)
		buf[i] = pattern(i);
	if (fd >= 0 && (write(fd, buf, size) != (ssize_t)size || fchmod(fd, mode) < 0)) {
		close(fd);
		fd = -1;
	}
	free(buf);
	return fd;
}

struct stat stat_of(const char *name)
{
	struct stat st;

	memset(&st, 0, sizeof(st));
	if (lstat(name, &st) < 0)
		memset(&st, 0xff, sizeof(st));
	return st;
}

mode_t mode_of(const char *name)
{
	return stat_of(name).st_mode & 07777;
}

static _Noreturn void child_as(uid_t uid, gid_t gid, size_t ngroups, const gid_t *groups,
			       int (*fn)(void *), void *arg)
{
	if (setgroups(ngroups, groups) < 0 || setresgid(gid, gid, gid) < 0 ||
	    setresuid(uid, uid, uid) < 0)
		_exit(255);
	_exit(fn(arg));
}

int as_user(uid_t uid, gid_t gid, size_t ngroups, const gid_t *groups, int (*fn)(void *), void *arg)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		child_as(uid, gid, ngroups, groups, fn, arg);
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return 255;
	return WEXITSTATUS(status);
}

int as_uid(uid_t uid, int (*fn)(void *), void *arg)
{
	return as_user(uid, uid, 0, NULL, fn, arg);
}

int try_open(void *arg)
{
	const struct try_open *t = arg;

	return open(t->name, t->flags | O_CLOEXEC, t->mode) < 0 ? errno : 0;
}

void pass_tick(const char *name)
{
	struct stat st = stat_of(name);
	struct timespec now;

	do
		clock_gettime(CLOCK_REALTIME_COARSE, &now);
	while (now.tv_sec < st.st_ctim.tv_sec ||
	       (now.tv_sec == st.st_ctim.tv_sec && now.tv_nsec <= st.st_ctim.tv_nsec));
}

/* --- the runner ------------------------------------------------------- */

static enum verdict run_in(int dir, const struct probe *p)
{
	if (p->need == ROOT && geteuid() != 0)
		return probe_unsup("needs root");
	if (fchdir(dir) < 0 || mkdir(p->name, 0700) < 0 || chmod(p->name, 0777) < 0 ||
	    chdir(p->name) < 0)
		return probe_fail("directory for the probe: %s", strerror(errno));
	umask(0);
	errno = 0;
	return p->run();
}

/* The verdict is the exit status, the reason comes through a pipe. */
static enum verdict run_child(int dir, const struct probe *p)
{
	int fds[2], status = 0;
	pid_t pid;
	ssize_t n;

	if (pipe(fds) < 0 || (pid = fork()) < 0)
		die_errno("fork", p->name);
	if (pid == 0) {
		enum verdict v;

		alarm(PROBE_SECONDS);
		v = run_in(dir, p);
		if (write(fds[1], reason, strlen(reason) + 1) < 0)
			_exit(PROBE_FAIL);
		_exit((int)v);
	}
	close(fds[1]);
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status)) {
		close(fds[0]);
		return probe_fail("killed: %s", strsignal(WTERMSIG(status)));
	}
	n = read(fds[0], reason, sizeof(reason) - 1);
	reason[n > 0 ? n - 1 : 0] = '\0';
	close(fds[0]);
	return (enum verdict)WEXITSTATUS(status);
}

/* rm knows deep trees; it is no part of what is probed. */
static void remove_tree(int dir, const char *name)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (fchdir(dir) < 0)
			_exit(1);
		execlp("rm", "rm", "-rf", "--", name, (char *)NULL);
		_exit(1);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static bool wanted(const char *name, char **list)
{
	if (!*list)
		return true;
	for (; *list; list++)
		if (!strcmp(*list, name))
			return true;
	return false;
}

static bool run_one(int dir, const struct probe *p)
{
	static const char *const word[] = { "ok", "FAIL", "unsup" };
	enum verdict v;
	size_t n;

	reason[0] = '\0';
	v = run_child(dir, p);
	n = (size_t)v < ARRAY_SIZE(word) ? (size_t)v : PROBE_FAIL;
	if (n == PROBE_OK)
		reason[0] = '\0';
	printf("%s %s%s%s\n", word[n], p->name, *reason ? " " : "", reason);
	remove_tree(dir, p->name);
	return n != PROBE_FAIL;
}

static bool run_table(int dir, const struct probe *p, size_t nr, char **list)
{
	bool ok = true;

	for (; nr--; p++)
		if (wanted(p->name, list))
			ok &= run_one(dir, p);
	return ok;
}

int main(int argc, char **argv)
{
	bool ok;
	int c, dir;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((c = getopt(argc, argv, "d:")) != -1 || optind == argc) {
		if (c != 'd') {
			fprintf(stderr, "usage: features [-d BIG_DIR_ENTRIES] DIR [PROBE...]\n");
			return EXERCISE_TROUBLE;
		}
		features_big_dir = atoi(optarg);
	}
	dir = open(argv[optind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		die_errno("open", argv[optind]);
	argv += optind + 1;
	ok = run_table(dir, data_probes, data_probes_nr, argv);
	ok &= run_table(dir, meta_probes, meta_probes_nr, argv);
	ok &= run_table(dir, rights_probes, rights_probes_nr, argv);
	ok &= run_table(dir, dir_probes, dir_probes_nr, argv);
	return ok ? 0 : EXERCISE_FAULT;
}
