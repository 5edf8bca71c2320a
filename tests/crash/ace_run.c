// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Runs sequences in a mounted tree: the first step of all, then the second of
 * all, each with its sync, and notes around each the number of the last disk
 * request. Steps of one kind of sync run together, so that what is not synced
 * stays so as long as possible; each sync still may carry what others did.
 *
 * The end, with the directories of the mirrors' own filesystems given: the
 * metadata of one mirror after the other, then the data of one after the other.
 * The cuts in there find mirrors that are far apart, and names, sizes and
 * records without the data that belongs to them.
 */
#include "tests/crash/ace.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/btrfs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "tests/exercise/common.h"

#define MAX_MIRRORS 4

static struct {
	int dirfd;                /* of ACE_TOP */
	int seqfd;
	FILE *log;
	int mirror[MAX_MIRRORS];  /* their filesystems */
	unsigned n_mirrors;
	bool failed;
} run;

/* --- the calls ------------------------------------------------------------------ */

static int write_at(const char *path, int flags, mode_t mode, const struct ace_action *a)
{
	CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC | flags, mode);
	int err;

	if (fd < 0)
		return -errno;
	err = io_pwrite_full(fd, a->bytes, a->len, (off_t)a->off, NULL);
	if (!err && close(steal_fd(&fd)))
		err = -errno;
	return err;
}

static int do_create(const struct ace_action *a)
{
	return write_at(a->path[0], O_CREAT | O_EXCL, a->mode, a);
}

static int do_write(const struct ace_action *a)
{
	return write_at(a->path[0], 0, 0, a);
}

static int do_truncate(const struct ace_action *a)
{
	return truncate(a->path[0], (off_t)a->len) ? -errno : 0;
}

static int do_punch(const struct ace_action *a)
{
	CLEANUP_CLOSE int fd = open(a->path[0], O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)a->off,
			 (off_t)a->len) ? -errno : 0;
}

static int do_rename(const struct ace_action *a)
{
	return renameat2(AT_FDCWD, a->path[0], AT_FDCWD, a->path[1], 0) ? -errno : 0;
}

static int do_exchange(const struct ace_action *a)
{
	return renameat2(AT_FDCWD, a->path[0], AT_FDCWD, a->path[1], RENAME_EXCHANGE) ? -errno : 0;
}

static int do_link(const struct ace_action *a)
{
	return link(a->path[0], a->path[1]) ? -errno : 0;
}

static int do_unlink(const struct ace_action *a)
{
	return unlink(a->path[0]) ? -errno : 0;
}

static int do_mkdir(const struct ace_action *a)
{
	return mkdir(a->path[0], a->mode) ? -errno : 0;
}

static int do_rmdir(const struct ace_action *a)
{
	return rmdir(a->path[0]) ? -errno : 0;
}

static int do_symlink(const struct ace_action *a)
{
	return symlink(a->xattr, a->path[0]) ? -errno : 0;
}

static int do_setxattr(const struct ace_action *a)
{
	return setxattr(a->path[0], ACE_XATTR, a->xattr, strlen(a->xattr), 0) ? -errno : 0;
}

static int do_chmod(const struct ace_action *a)
{
	return chmod(a->path[0], a->mode) ? -errno : 0;
}

static int (*const call[ACE_OPS])(const struct ace_action *) = {
	do_create, do_write, do_write, do_truncate, do_punch,
	do_rename, do_rename, do_exchange, do_link, do_unlink,
	do_mkdir, do_rmdir, do_symlink, do_setxattr, do_chmod,
};

static int sync_path(const char *path)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fsync(fd) ? -errno : 0;
}

/* sync(2), of what the test has mounted only: a volume's own has no effect
 * below, the kernel does not tell the daemon. */
static int sync_all(void)
{
	unsigned i;

	if (syncfs(run.dirfd))
		return -errno;
	for (i = 0; i < run.n_mirrors; i++)
		if (syncfs(run.mirror[i]))
			return -errno;
	return 0;
}

static int sync_step(const struct ace_action *a, enum ace_sync sync)
{
	if (sync == ACE_NONE)
		return 0;
	if (sync == ACE_SYNC)
		return sync_all();
	return sync_path(a->sync_path[sync == ACE_DIR]);
}

/* --- the log ---------------------------------------------------------------------- */

static uint64_t request_now(void)
{
	char text[32] = "";

	if (run.seqfd < 0)
		return 0;
	if (pread(run.seqfd, text, sizeof(text) - 1, 0) <= 0)
		die_errno("read", "the number of the last disk request");
	return strtoull(text, NULL, 10);
}

static void mark(const char *name)
{
	fprintf(run.log, "mark %s %" PRIu64 "\n", name, request_now());
}

static void failed(const struct ace_model *m, unsigned s, const char *what, int err)
{
	char words[ACE_WORDS];

	ace_words(m, words);
	fprintf(run.log, "failed %u %u %s: %s\n", m->index, s + 1, what, strerror(-err));
	printf("violation: %s: step %u: %s: %s\n", words, s + 1, what, strerror(-err));
	run.failed = true;
}

/* --- the run ------------------------------------------------------------------------ */

static void enter(unsigned index)
{
	char name[16];

	snprintf(name, sizeof(name), "%04u", index);
	if (fchdir(run.dirfd) || chdir(name))
		die_errno("chdir", name);
}

static void run_step(const struct ace_sequence *seq, unsigned index, unsigned s)
{
	struct ace_model m;
	struct ace_ack ack;
	int err;

	ace_model_make(&m, seq, index);
	enter(index);
	ack.before = request_now();
	err = call[seq->step[s].op](&m.action[s]);
	if (err)
		failed(&m, s, ace_op_name[seq->step[s].op], err);
	ack.after = request_now();
	err = sync_step(&m.action[s], seq->step[s].sync);
	if (err)
		failed(&m, s, ace_sync_name[seq->step[s].sync], err);
	ack.done = request_now();
	fprintf(run.log, "step %u %u %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", index, s, ack.before,
		ack.after, ack.done);
	ace_model_free(&m);
}

static void run_steps(const struct ace_log *group)
{
	static const char *const name[ACE_STEPS] = { "step1", "step2" };
	const char *rest = getenv("ACE_REST");
	unsigned s, i;

	mark("start");
	for (s = 0; s < ACE_STEPS; s++) {
		if (s && rest && *rest)
			sleep((unsigned)strtoul(rest, NULL, 10));
		for (i = 0; i < group->n; i++)
			if (s < group->run[i].seq.n)
				run_step(&group->run[i].seq, i, s);
		mark(name[s]);
	}
}

/* The metadata becomes durable, overwritten data does not: ext4 and xfs do so
 * for any fsync, btrfs when a transaction ends. */
static int commit_metadata(int mirror)
{
	CLEANUP_CLOSE int fd = openat(mirror, "unrelated", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	uint64_t transaction;

	if (fd < 0 || write(fd, "x", 1) != 1 || fsync(fd))
		return -1;
	if (ioctl(fd, BTRFS_IOC_START_SYNC, &transaction))
		return 0; /* another filesystem */
	return ioctl(fd, BTRFS_IOC_WAIT_SYNC, &transaction);
}

static void write_out_mirrors(void)
{
	char name[16];
	unsigned i;

	for (i = 0; i < run.n_mirrors; i++) {
		if (commit_metadata(run.mirror[i]))
			die_errno("commit", "the metadata of a mirror");
		snprintf(name, sizeof(name), "commit%u", i + 1);
		mark(name);
	}
	mark("committed");
	for (i = 0; i < run.n_mirrors; i++)
		if (syncfs(run.mirror[i]))
			die_errno("syncfs", "mirror");
	mark("end");
}

static void open_all(char **arg, int n)
{
	char path[4096];
	int i;

	snprintf(path, sizeof(path), "%s/%s", arg[0], ACE_TOP);
	run.dirfd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (run.dirfd < 0)
		die_errno("open", path);
	run.seqfd = strcmp(arg[1], "-") ? open(arg[1], O_RDONLY | O_CLOEXEC) : -1;
	if (run.seqfd < 0 && strcmp(arg[1], "-"))
		die_errno("open", arg[1]);
	run.log = fopen(arg[2], "we");
	if (!run.log)
		die_errno("open", arg[2]);
	for (i = 5; i < n && run.n_mirrors < MAX_MIRRORS; i++) {
		run.mirror[run.n_mirrors] = open(arg[i], O_DIRECTORY | O_RDONLY | O_CLOEXEC);
		if (run.mirror[run.n_mirrors++] < 0)
			die_errno("open", arg[i]);
	}
}

/* DIR SEQFILE LOG GROUP SEED [FILESYSTEM...] */
int ace_run(char **arg, int n)
{
	struct ace_log group = { 0 };
	char text[ACE_TEXT];
	unsigned i;

	if (!ace_group(&group, arg[3], strtoull(arg[4], NULL, 0))) {
		fprintf(stderr, "ace: no sequence: %s\n", arg[3]);
		return EXERCISE_TROUBLE;
	}
	open_all(arg, n);
	for (i = 0; i < group.n; i++) {
		ace_format(&group.run[i].seq, text);
		fprintf(run.log, "sequence %u %s\n", i, text);
	}
	run_steps(&group);
	write_out_mirrors();
	ace_log_free(&group);
	if (fclose(run.log))
		die_errno("write", arg[2]);
	return run.failed ? EXERCISE_FAULT : 0;
}

/* --- what is there before -------------------------------------------------------------- */

static void prepare_object(const struct ace_model *m, int entry, const char *path)
{
	const struct ace_object *o = &m->object[m->at[0][entry]];
	struct ace_action a = { .bytes = o->version[0].bytes, .len = o->version[0].size };
	const char *xattr = o->version[0].xattr;
	int err;

	if (o->type == S_IFDIR)
		err = mkdir(path, o->version[0].mode) ? -errno : 0;
	else
		err = write_at(path, O_CREAT | O_EXCL, o->version[0].mode, &a);
	errno = -err;
	if (err || (*xattr && setxattr(path, ACE_XATTR, xattr, strlen(xattr), 0)))
		die_errno("prepare", path);
}

static void prepare_one(unsigned index)
{
	static const struct ace_sequence none;
	char path[ACE_PATH], first[ACE_PATH];
	struct ace_model m;
	unsigned e, before;

	ace_model_make(&m, &none, index);
	snprintf(path, sizeof(path), "%04u", index);
	if (fchdir(run.dirfd) || mkdir(path, 0755) || chdir(path))
		die_errno("mkdir", path);
	for (e = 0; e < m.n_entries; e++) {
		ace_path_of_entry(&m, 0, (int)e, path);
		for (before = 0; m.at[0][before] != m.at[0][e]; before++)
			;
		ace_path_of_entry(&m, 0, (int)before, first);
		if (before == e)
			prepare_object(&m, (int)e, path);
		else if (link(first, path))
			die_errno("link", path);
	}
	ace_model_free(&m);
}

int ace_prepare(const char *dir, unsigned count)
{
	char path[4096];
	unsigned i;

	umask(022);
	snprintf(path, sizeof(path), "%s/%s", dir, ACE_TOP);
	if (mkdir(path, 0755))
		die_errno("mkdir", path);
	run.dirfd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (run.dirfd < 0)
		die_errno("open", path);
	for (i = 0; i < count; i++)
		prepare_one(i);
	return 0;
}
