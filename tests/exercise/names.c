// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Namespace exerciser: runs the same random operations in a directory of the
 * mount and in a plain one, and compares result, errno, attributes, listings
 * and at the end the whole trees. The plain directory is the model, so it
 * should stand on the kind of filesystem the mirrors stand on. Few
 * directories and few names: collisions are the point. As root, half of the
 * operations run in a child with another user's ids and groups.
 *
 * Invariant: everything random about an operation is decided before its
 * first run, so both sides get the same one and a seed replays the run.
 */
#include "names.h"

#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <sys/wait.h>

#define LOG_LINES 30
#define LOG_LEN	  800

const char *const side_name[SIDES] = { "mount", "plain" };

static struct {
	uint64_t seed;
	long op;
	long ops;
	long succeeded;
	double limit;
	int base[SIDES];
	const char *dir[SIDES];
	const char *excluded; /* comma separated */
	bool only_compare;
	bool own_user_only;
	bool users; /* may run operations as others */
	char log[LOG_LINES][LOG_LEN];
	unsigned long logged;
} run = { .ops = 3000, .limit = 1e9 };

/* --- faults ----------------------------------------------------------- */

const char *names_show(const char *path)
{
	static char text[4][200];
	static unsigned int turn;
	char *out = text[turn++ % ARRAY_SIZE(text)];
	size_t len = 0, left = strlen(path);

	for (; *path && len + 24 < sizeof(text[0]); path++, left--) {
		unsigned char c = (unsigned char)*path;

		len += (size_t)sprintf(out + len, c > ' ' && c < 127 ? "%c" : "\\x%02x", c);
	}
	out[len] = '\0';
	if (left)
		snprintf(out + len, sizeof(text[0]) - len, "...(%zu more)", left);
	return out;
}

void names_fault(const char *fmt, ...)
{
	unsigned long i = run.logged > LOG_LINES ? run.logged - LOG_LINES : 0;
	va_list ap;

	printf("FAULT names: seed %llu op %ld: ", (unsigned long long)run.seed, run.op);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\nlast operations:\n");
	for (; i < run.logged; i++)
		printf("  %s\n", run.log[i % LOG_LINES]);
	printf("replay: names -s %llu -n %ld %s%s%s MOUNT_DIR PLAIN_DIR\n",
	       (unsigned long long)run.seed, run.op, run.own_user_only ? "-o " : "",
	       run.excluded ? "-x " : "", run.excluded ? run.excluded : "");
	fflush(stdout);
	_exit(EXERCISE_FAULT);
}

static void log_op(const struct op *o)
{
	char *line = run.log[run.logged++ % LOG_LINES];
	int n = snprintf(line, LOG_LEN, "%ld as %d: %s %s", run.op, o->cred, o->kind->name,
			 names_show(o->a));

	if (o->kind->two_paths)
		n += snprintf(line + n, LOG_LEN - (size_t)n, " %s", names_show(o->b));
	snprintf(line + n, LOG_LEN - (size_t)n,
		 " mode %#o umask %#o ids %d:%d size %lld flags %#x xattr %s", o->mode, o->mask,
		 (int)o->uid, (int)o->gid, (long long)o->size, (unsigned int)o->flags, o->xattr);
}

/* --- users ------------------------------------------------------------ */

static const struct cred {
	uid_t uid;
	gid_t gid;
	gid_t groups[3];
	size_t nr;
} creds[CREDS] = {
	{ 0, 0, { 0 }, 0 },
	{ 1000, 1000, { 5000 }, 1 },
	{ 1001, 1001, { 1000, 5000, 5001 }, 3 },
	{ 1002, 1000, { 5001 }, 1 },
	{ 1003, 1003, { 0 }, 0 },
};

/* Number 2 is also in 60 further groups, more than a FUSE daemon sees cheaply. */
static void become(size_t i)
{
	const struct cred *c = &creds[i];
	gid_t groups[64];
	size_t nr = c->nr;

	memcpy(groups, c->groups, sizeof(c->groups));
	for (; i == 2 && nr < ARRAY_SIZE(groups); nr++)
		groups[nr] = (gid_t)(7000 + nr);
	if (setgroups(nr, groups) < 0 || setresgid(c->gid, c->gid, c->gid) < 0 ||
	    setresuid(c->uid, c->uid, c->uid) < 0)
		die_errno("change of user", "child");
}

struct outcome {
	int err;
	uint64_t digest;
};

static void run_here(const struct op *o, struct outcome *out)
{
	out->digest = 0;
	umask(o->mask);
	out->err = o->kind->run(o, &out->digest);
	umask(022);
}

static void run_as(const struct op *o, struct outcome *out)
{
	int fds[2], status;
	pid_t pid;

	if (pipe(fds) < 0 || (pid = fork()) < 0)
		die_errno("fork", "child");
	if (pid == 0) {
		become((size_t)o->cred);
		run_here(o, out);
		_exit(write(fds[1], out, sizeof(*out)) != sizeof(*out));
	}
	close(fds[1]);
	if (read(fds[0], out, sizeof(*out)) != sizeof(*out))
		die_errno("read", "pipe from a child");
	close(fds[0]);
	waitpid(pid, &status, 0);
}

static void run_on(enum side side, const struct op *o, struct outcome *out)
{
	if (fchdir(run.base[side]) < 0)
		names_fault("fchdir to the base of %s: %s", side_name[side], strerror(errno));
	if (o->cred)
		run_as(o, out);
	else
		run_here(o, out);
}

/* --- one step --------------------------------------------------------- */

enum { AT_A, AT_B, AT_PARENT_A, AT_PARENT_B, PLACES };

struct views {
	struct attr attr[SIDES][PLACES];
};

static void parent_of(const char *path, char *out)
{
	char *slash;

	strcpy(out, path);
	slash = strrchr(out, '/');
	strcpy(slash ? slash : out, slash ? "" : ".");
}

static void look(struct views *v, char path[PLACES][PATH_LEN], int places)
{
	for (int s = 0; s < SIDES; s++) {
		if (fchdir(run.base[s]) < 0)
			names_fault("fchdir to the base of %s: %s", side_name[s], strerror(errno));
		for (int i = 0; i < places; i++)
			attr_get(path[i], &v->attr[s][i]);
	}
}

/* Lets the clock of file times move on, so that any change shows. */
static void pass_tick(const struct views *v, int places)
{
	struct timespec now, last = { 0, 0 };

	for (int s = 0; s < SIDES; s++)
		for (int i = 0; i < places; i++) {
			const struct timespec *c = &v->attr[s][i].st.st_ctim;

			if (!v->attr[s][i].err &&
			    (c->tv_sec > last.tv_sec ||
			     (c->tv_sec == last.tv_sec && c->tv_nsec > last.tv_nsec)))
				last = *c;
		}
	do
		clock_gettime(CLOCK_REALTIME_COARSE, &now);
	while (now.tv_sec < last.tv_sec ||
	       (now.tv_sec == last.tv_sec && now.tv_nsec <= last.tv_nsec));
}

static bool moved(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec || a->tv_nsec != b->tv_nsec;
}

/* ctime and mtime of what stands at a place before and after: moved or not. */
static void compare_moves(const struct views *before, const struct views *after, int i,
			  const char *path)
{
	bool ctime_moved[SIDES], mtime_moved[SIDES];

	for (int s = 0; s < SIDES; s++) {
		const struct attr *a = &before->attr[s][i], *b = &after->attr[s][i];

		if (a->err || b->err || a->st.st_ino != b->st.st_ino)
			return;
		ctime_moved[s] = moved(&a->st.st_ctim, &b->st.st_ctim);
		mtime_moved[s] = moved(&a->st.st_mtim, &b->st.st_mtim);
	}
	if (ctime_moved[MOUNTED] != ctime_moved[PLAIN])
		names_fault("ctime of %s moved on the %s side only", names_show(path),
			    side_name[ctime_moved[MOUNTED] ? MOUNTED : PLAIN]);
	if (mtime_moved[MOUNTED] != mtime_moved[PLAIN])
		names_fault("mtime of %s moved on the %s side only", names_show(path),
			    side_name[mtime_moved[MOUNTED] ? MOUNTED : PLAIN]);
}

/* An omitted atime stays; readlink of our own look() moves that of a symlink. */
static void compare_atime(const struct op *o, const struct views *before, const struct views *after)
{
	for (int s = 0; s < SIDES; s++) {
		const struct attr *a = &before->attr[s][AT_A], *b = &after->attr[s][AT_A];

		if (a->err || b->err || S_ISLNK(b->st.st_mode) || o->times[0].tv_nsec != UTIME_OMIT)
			continue;
		if (moved(&a->st.st_atim, &b->st.st_atim))
			names_fault("%s: omitted atime of %s moved", side_name[s],
				    names_show(o->a));
	}
}

/* Whether the operation set the atime of what stands at its path a. */
static bool set_atime(const struct op *o, const struct attr *a, int err)
{
	return o->kind->sets_times && !err && o->times[0].tv_nsec != UTIME_OMIT &&
	       !S_ISLNK(a->st.st_mode);
}

static void compare_outcomes(const struct op *o, const struct outcome out[SIDES])
{
	if (out[MOUNTED].err != out[PLAIN].err)
		names_fault("%s: mount %s, plain %s", o->kind->name,
			    out[MOUNTED].err ? strerror(out[MOUNTED].err) : "ok",
			    out[PLAIN].err ? strerror(out[PLAIN].err) : "ok");
	if (out[MOUNTED].digest != out[PLAIN].digest)
		names_fault("%s: result %#llx in the mount, %#llx in plain", o->kind->name,
			    (unsigned long long)out[MOUNTED].digest,
			    (unsigned long long)out[PLAIN].digest);
	run.succeeded += !out[PLAIN].err;
}

static void step(const struct op *o, bool watch_times)
{
	static struct views before, after;
	static char path[PLACES][PATH_LEN];
	struct outcome out[SIDES];

	watch_times |= o->kind->sets_times;
	strcpy(path[AT_A], o->a);
	strcpy(path[AT_B], o->b);
	parent_of(o->a, path[AT_PARENT_A]);
	parent_of(o->b, path[AT_PARENT_B]);
	if (watch_times) {
		look(&before, path, PLACES);
		pass_tick(&before, PLACES);
	}
	for (int s = 0; s < SIDES; s++)
		run_on((enum side)s, o, &out[s]);
	compare_outcomes(o, out);
	look(&after, path, PLACES);
	for (int i = 0; i < PLACES; i++) {
		attr_compare(&after.attr[MOUNTED][i], &after.attr[PLAIN][i], path[i],
			     i == AT_A && set_atime(o, &after.attr[PLAIN][i], out[PLAIN].err));
		if (watch_times)
			compare_moves(&before, &after, i, path[i]);
	}
	if (o->kind->sets_times)
		compare_atime(o, &before, &after);
	if (pick_one_in(4))
		listing_compare(run.base, path[AT_PARENT_A]);
}

/* --- the run ---------------------------------------------------------- */

static nlink_t nlink_of(enum side side, const char *path)
{
	struct stat st;

	if (fstatat(run.base[side], path, &st, 0) < 0)
		die_errno("stat", path);
	return st.st_nlink;
}

/* Another user must come through a mount that is meant for all. */
static bool probe_users(void)
{
	int status;
	pid_t pid;

	if (geteuid() != 0)
		return false;
	if (fchdir(run.base[MOUNTED]) < 0 || (pid = fork()) < 0)
		die_errno("fork", run.dir[MOUNTED]);
	if (pid == 0) {
		become(4);
		_exit(access(".", F_OK) != 0);
	}
	waitpid(pid, &status, 0);
	if (status)
		printf("unsup other users: the mount answers only to its owner\n");
	return status == 0;
}

static void open_bases(char **dir)
{
	for (int s = 0; s < SIDES; s++) {
		run.dir[s] = dir[s];
		run.base[s] = open(dir[s], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (run.base[s] < 0)
			die_errno("open", dir[s]);
	}
}

static int usage(void)
{
	fprintf(stderr, "usage: names [-s SEED] [-n OPS] [-t SECONDS] [-x OP,OP...] [-o] "
			"MOUNT_DIR PLAIN_DIR\n       names -c MOUNT_DIR PLAIN_DIR\n"
			"Both directories are to be empty; -c only compares the two trees.\n"
			"-o does all as the caller. "
			"-x leaves operations out:");
	for (size_t i = 0; i < op_kinds_nr; i++)
		fprintf(stderr, " %s", op_kinds[i].name);
	fputc('\n', stderr);
	return EXERCISE_TROUBLE;
}

static bool parse(int argc, char **argv)
{
	int c;

	run.seed = seed_default();
	while ((c = getopt(argc, argv, "s:n:t:x:oc")) != -1) {
		if (c == 's')
			run.seed = strtoull(optarg, NULL, 0);
		else if (c == 'n')
			run.ops = strtol(optarg, NULL, 0);
		else if (c == 't')
			run.limit = strtod(optarg, NULL);
		else if (c == 'x')
			run.excluded = optarg;
		else if (c == 'o')
			run.own_user_only = true;
		else if (c == 'c')
			run.only_compare = true;
		else
			return false;
	}
	return optind + 2 == argc;
}

static void exercise(void)
{
	static struct op o;
	double end = seconds_now() + run.limit;

	compare_set_start(time(NULL) - 1);
	run.users = !run.own_user_only && probe_users();
	pick_start(run.seed, run.base[PLAIN], run.excluded, run.users);
	pick_make_dirs(run.base);
	compare_set_dir_nlink(nlink_of(MOUNTED, "d0") == nlink_of(PLAIN, "d0"));
	for (run.op = 1; run.op <= run.ops && seconds_now() < end; run.op++) {
		pick_op(&o);
		log_op(&o);
		step(&o, pick_one_in(8));
	}
	run.op--;
}

int main(int argc, char **argv)
{
	if (!parse(argc, argv))
		return usage();
	setvbuf(stdout, NULL, _IOLBF, 0);
	open_bases(argv + optind);
	if (run.only_compare)
		compare_set_start(time(NULL) - 3600);
	else
		exercise();
	tree_compare(run.base);
	if (run.only_compare)
		printf("ok names: trees equal\n");
	else
		printf("ok names: seed %llu, %ld operations, %ld succeeded\n",
		       (unsigned long long)run.seed, run.op, run.succeeded);
	return 0;
}
