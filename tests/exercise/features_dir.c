// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Probes of names and directories: unlinked but open files, renames, odd and
 * long names, reading directories while they change. See features.h for how a
 * probe runs and answers.
 */
#include "features.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/xattr.h>

/* --- open files without a name ---------------------------------------- */

static enum verdict o_tmpfile(void)
{
	int fd = open(".", O_TMPFILE | O_RDWR, 0640), excl;
	char proc[40];

	MAY_LACK(fd);
	CHECK(write(fd, "data", 4) == 4, "write: %s", strerror(errno));
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	CALL(linkat(AT_FDCWD, proc, AT_FDCWD, "f", AT_SYMLINK_FOLLOW));
	CHECK(stat_of("f").st_size == 4 && stat_of("f").st_nlink == 1, "size or nlink");
	CHECK(mode_of("f") == 0640, "mode %#o", mode_of("f"));
	CHECK(pwrite(fd, "more", 4, 2) == 4 && stat_of("f").st_size == 6, "write after linkat");
	excl = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600);
	CALL(excl);
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", excl);
	REFUSED(linkat(AT_FDCWD, proc, AT_FDCWD, "g", AT_SYMLINK_FOLLOW), ENOENT);
	return PROBE_OK;
}

/* All that a handle can do to a file that has lost its last name. */
static enum verdict use_nameless(int fd)
{
	const struct timespec ts[2] = { { 1000, 1 }, { 2000, 2 } };
	struct stat st;
	char buf[10];

	CALL(fstat(fd, &st));
	CHECK(st.st_nlink == 0, "nlink is %lu", (unsigned long)st.st_nlink);
	CHECK(pwrite(fd, "hello", 5, 100) == 5, "write: %s", strerror(errno));
	CHECK(pread(fd, buf, 5, 100) == 5 && !memcmp(buf, "hello", 5), "read back");
	CALL(ftruncate(fd, 50));
	CALL(fchmod(fd, 0600));
	CALL(futimens(fd, ts));
	CALL(fsync(fd));
	CALL(fstat(fd, &st));
	CHECK(st.st_size == 50 && (st.st_mode & 07777) == 0600, "size or mode");
	CHECK(st.st_mtim.tv_sec == 2000, "mtime");
	if (fsetxattr(fd, "user.x", "v", 1, 0) == 0)
		CHECK(fgetxattr(fd, "user.x", buf, sizeof(buf)) == 1, "xattr");
	else
		CHECK(errno == EOPNOTSUPP, "fsetxattr: %s", strerror(errno));
	return PROBE_OK;
}

static enum verdict unlinked_open_file(void)
{
	int fd = make_file("f", 0644, 70000), again;
	char proc[40];

	CALL(fd);
	CALL(unlink("f"));
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	again = open(proc, O_RDWR);
	CALL(again);
	CALL(make_file("f", 0640, 3));
	CHECK(stat_of("f").st_size == 3, "the new file of that name is mixed up with the old");
	return use_nameless(again);
}

static enum verdict rename_over_open(void)
{
	int fd = make_file("f", 0644, 70000);

	CALL(fd);
	CALL(make_file("g", 0644, 3));
	CALL(rename("g", "f"));
	CHECK(stat_of("f").st_size == 3, "size after rename");
	REFUSED(open("g", O_RDONLY), ENOENT);
	return use_nameless(fd);
}

static enum verdict no_silly_rename(void)
{
	CALL(mkdir("d", 0755));
	CALL(make_file("d/f", 0644, 10));
	CALL(unlink("d/f"));
	CALL(rmdir("d"));
	return PROBE_OK;
}

static enum verdict rmdir_open_dir(void)
{
	int fd, err;
	struct stat st;
	DIR *d;

	CALL(mkdir("d", 0755));
	fd = open("d", O_RDONLY | O_DIRECTORY);
	CALL(fd);
	CALL(rmdir("d"));
	CALL(fstat(fd, &st));
	CHECK(S_ISDIR(st.st_mode) && st.st_nlink <= 1, "nlink is %lu", (unsigned long)st.st_nlink);
	REFUSED(openat(fd, "x", O_CREAT | O_WRONLY, 0644), ENOENT);
	REFUSED(mkdirat(fd, "x", 0755), ENOENT);
	CALL(fchmod(fd, 0700));
	d = fdopendir(fd);
	CHECK(d, "fdopendir: %s", strerror(errno));
	errno = 0;
	while (readdir(d))
		;
	err = errno;
	CHECK(err == 0 || err == ENOENT, "readdir: %s", strerror(err));
	return PROBE_OK;
}

static enum verdict cwd_removed(void)
{
	char buf[4096];

	CALL(mkdir("d", 0755));
	CALL(chdir("d"));
	CALL(rmdir("../d"));
	REFUSED(getcwd(buf, sizeof(buf)) ? 0 : -1, ENOENT);
	REFUSED(open("x", O_CREAT | O_WRONLY, 0644), ENOENT);
	CALL(open(".", O_RDONLY));
	CALL(chdir(".."));
	return PROBE_OK;
}

/* --- renames ---------------------------------------------------------- */

static enum verdict rename_flags(unsigned int flags)
{
	CALL(make_file("f", 0644, 1));
	CALL(make_file("g", 0644, 2));
	CALL(mkdir("d", 0755));
	MAY_LACK(renameat2(AT_FDCWD, "f", AT_FDCWD, flags == RENAME_EXCHANGE ? "g" : "h", flags));
	return PROBE_OK;
}

static enum verdict rename_noreplace(void)
{
	enum verdict v = rename_flags(RENAME_NOREPLACE);

	if (v)
		return v;
	CHECK(stat_of("h").st_size == 1, "not renamed");
	REFUSED(renameat2(AT_FDCWD, "h", AT_FDCWD, "g", RENAME_NOREPLACE), EEXIST);
	CHECK(stat_of("h").st_size == 1 && stat_of("g").st_size == 2, "replaced");
	return PROBE_OK;
}

static enum verdict rename_exchange(void)
{
	enum verdict v = rename_flags(RENAME_EXCHANGE);

	if (v)
		return v;
	CHECK(stat_of("f").st_size == 2 && stat_of("g").st_size == 1, "not exchanged");
	CALL(make_file("d/in", 0644, 3));
	CALL(renameat2(AT_FDCWD, "f", AT_FDCWD, "d", RENAME_EXCHANGE));
	CHECK(S_ISDIR(stat_of("f").st_mode) && S_ISREG(stat_of("d").st_mode), "types");
	CHECK(stat_of("f/in").st_size == 3, "content of the exchanged directory");
	REFUSED(renameat2(AT_FDCWD, "f", AT_FDCWD, "no", RENAME_EXCHANGE), ENOENT);
	return PROBE_OK;
}

static enum verdict rename_whiteout(void)
{
	enum verdict v = rename_flags(RENAME_WHITEOUT);

	if (v)
		return v;
	CHECK(S_ISCHR(stat_of("f").st_mode) && stat_of("f").st_rdev == 0, "no whiteout left");
	return PROBE_OK;
}

static enum verdict rename_directories(void)
{
	CALL(mkdir("a", 0755));
	CALL(mkdir("a/b", 0755));
	CALL(mkdir("e", 0755));
	CALL(make_file("a/b/f", 0644, 5));
	REFUSED(rename("a", "a/b/c"), EINVAL);
	CHECK(rename("e", "a") < 0 && (errno == ENOTEMPTY || errno == EEXIST),
	      "rename over a directory that is not empty: %s", strerror(errno));
	REFUSED(rename("a/b/f", "e"), EISDIR);
	REFUSED(rename("e", "a/b/f"), ENOTDIR);
	CALL(rename("a/b", "e"));
	CHECK(stat_of("e/f").st_size == 5, "content after rename");
	CHECK(stat_of("a").st_nlink <= 2, "nlink of the old parent");
	REFUSED(open("a/b/f", O_RDONLY), ENOENT);
	CALL(rename("a", "e/a"));
	CALL(chdir("e/a"));
	CHECK(stat_of("../f").st_size == 5, "dot-dot after a move");
	return PROBE_OK;
}

/* --- names ------------------------------------------------------------ */

static enum verdict long_names(void)
{
	char name[300];

	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	CALL(make_file(name, 0644, 1));
	CHECK(stat_of(name).st_size == 1, "255 bytes");
	name[255] = 'n';
	name[256] = '\0';
	REFUSED(open(name, O_CREAT | O_WRONLY, 0644), ENAMETOOLONG);
	REFUSED(mkdir(name, 0755), ENAMETOOLONG);
	REFUSED(unlink(name), ENAMETOOLONG);
	REFUSED(rename(name, "x"), ENAMETOOLONG);
	REFUSED(access(name, F_OK), ENAMETOOLONG);
	return PROBE_OK;
}

static enum verdict odd_names(void)
{
	DIR *d;
	int seen = 0;

	for (int c = 1; c < 256; c++) {
		char name[] = { (char)c, 'x', (char)c, '\0' };

		if (c == '/')
			continue;
		CALL(close(make_file(name, 0644, (size_t)c)));
	}
	d = opendir(".");
	CHECK(d, "opendir: %s", strerror(errno));
	for (struct dirent *e; (e = readdir(d));) {
		int c = (unsigned char)e->d_name[0];

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		CHECK(stat_of(e->d_name).st_size == c, "name of byte %d", c);
		CALL(unlink(e->d_name));
		seen++;
	}
	CHECK(seen == 254, "%d names listed of 254", seen);
	CALL(make_file("case", 0644, 1));
	CALL(make_file("CASE", 0644, 2));
	CHECK(stat_of("case").st_size == 1, "case is not kept");
	return PROBE_OK;
}

static enum verdict long_path(void)
{
	char name[201], big[4200];
	int fd = open(".", O_RDONLY | O_DIRECTORY), next;
	struct stat st;

	memset(name, 'p', 200);
	name[200] = '\0';
	for (int depth = 0; depth < 30; depth++) {
		if (mkdirat(fd, name, 0755) < 0)
			return probe_fail("mkdirat at depth %d: %s", depth, strerror(errno));
		next = openat(fd, name, O_RDONLY | O_DIRECTORY);
		if (next < 0)
			return probe_fail("openat at depth %d: %s", depth, strerror(errno));
		close(fd);
		fd = next;
	}
	next = openat(fd, "f", O_CREAT | O_RDWR, 0644);
	CALL(next);
	CHECK(write(next, "x", 1) == 1, "write: %s", strerror(errno));
	CALL(renameat(fd, "f", fd, "g"));
	CALL(linkat(fd, "g", fd, "h", 0));
	CALL(fstatat(fd, "h", &st, 0));
	CHECK(st.st_nlink == 2 && st.st_size == 1, "nlink or size");
	CALL(unlinkat(fd, "g", 0));
	memset(big, 'x', sizeof(big));
	for (size_t i = 100; i < sizeof(big); i += 100)
		big[i] = '/';
	big[sizeof(big) - 1] = '\0';
	REFUSED(open(big, O_RDONLY), ENAMETOOLONG);
	return PROBE_OK;
}

static enum verdict long_symlink(void)
{
	char target[4096], back[4200];

	memset(target, 's', 4095);
	target[4095] = '\0';
	if (symlink(target, "l") < 0 && errno == ENAMETOOLONG)
		return probe_unsup("4095 bytes: %s", strerror(errno));
	CHECK(readlink("l", back, sizeof(back)) == 4095, "length of the target");
	CHECK(!memcmp(back, target, 4095), "target differs");
	CHECK(stat_of("l").st_size == 4095, "size of the symlink");
	CHECK(readlink("l", back, 10) == 10, "cut readlink");
	return PROBE_OK;
}

static enum verdict special_files(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "sock" };
	int s = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0), r, w;
	char buf[4];

	CALL(mkfifo("p", 0600));
	r = open("p", O_RDONLY | O_NONBLOCK);
	w = open("p", O_WRONLY);
	CALL(r);
	CALL(w);
	CHECK(write(w, "abc", 3) == 3 && read(r, buf, 4) == 3, "fifo: %s", strerror(errno));
	CALL(bind(s, (struct sockaddr *)&a, sizeof(a)));
	CALL(listen(s, 1));
	CALL(connect(c, (struct sockaddr *)&a, sizeof(a)));
	CHECK(S_ISSOCK(stat_of("sock").st_mode), "type of the socket");
	return PROBE_OK;
}

/* --- reading directories ---------------------------------------------- */

static int fill_dir(int nr)
{
	char name[32];

	for (int i = 0; i < nr; i++) {
		snprintf(name, sizeof(name), "entry%06d", i);
		if (mknod(name, S_IFREG | 0644, 0) < 0)
			return -1;
	}
	return 0;
}

static bool is_entry(const struct dirent *e, int nr, int *index)
{
	return sscanf(e->d_name, "entry%d", index) == 1 && *index >= 0 && *index < nr;
}

/* Counts each entry from the current position; -1 if one comes twice. */
static int count_once(DIR *d, int nr)
{
	char *seen = must_alloc((size_t)nr);
	struct dirent *e;
	int total = 0, i;

	while ((e = readdir(d)) && total >= 0) {
		if (!is_entry(e, nr, &i))
			continue;
		total = seen[i]++ ? -1 : total + 1;
	}
	free(seen);
	return total;
}

static enum verdict readdir_big(void)
{
	int nr = features_big_dir, n;
	DIR *d;

	CALL(fill_dir(nr));
	d = opendir(".");
	CHECK(d, "opendir: %s", strerror(errno));
	n = count_once(d, nr);
	CHECK(n == nr, "%d entries listed of %d", n, nr);
	rewinddir(d);
	n = count_once(d, nr);
	CHECK(n == nr, "%d entries after rewinddir of %d", n, nr);
	return PROBE_OK;
}

static enum verdict readdir_types(void)
{
	struct dirent *e;
	int dots = 0;
	DIR *d;

	CALL(make_file("f", 0644, 0));
	CALL(mkdir("d", 0755));
	CALL(symlink("f", "l"));
	CALL(mkfifo("p", 0644));
	d = opendir(".");
	CHECK(d, "opendir: %s", strerror(errno));
	while ((e = readdir(d))) {
		struct stat st = stat_of(e->d_name);

		dots += !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");
		CHECK(e->d_type == DT_UNKNOWN || e->d_type == IFTODT(st.st_mode), "d_type of %s",
		      e->d_name);
		CHECK(st.st_ino == e->d_ino, "d_ino of %s", e->d_name);
	}
	CHECK(dots == 2, "%d of . and ..", dots);
	return PROBE_OK;
}

/* Each position taken while reading leads back to the entry it stood before. */
static enum verdict seekdir_returns(void)
{
	enum { NR = 2000 };
	static long pos[NR + 2];
	static char name[NR + 2][32];
	struct dirent *e;
	int n = 0;
	DIR *d;

	CALL(fill_dir(NR));
	d = opendir(".");
	CHECK(d, "opendir: %s", strerror(errno));
	for (pos[0] = telldir(d); n < NR + 2 && (e = readdir(d)); pos[n] = telldir(d)) {
		snprintf(name[n++], sizeof(name[0]), "%.31s", e->d_name);
		if (n == NR + 2)
			break;
	}
	for (int i = n - 1; i >= 0; i -= 37) {
		seekdir(d, pos[i]);
		e = readdir(d);
		CHECK(e && !strcmp(e->d_name, name[i]), "seekdir to entry %d of %d gave %s", i, n,
		      e ? e->d_name : "the end");
	}
	return PROBE_OK;
}

static enum verdict readdir_while_removing(void)
{
	enum { NR = 3000 };
	struct dirent *e;
	int removed = 0, i;
	DIR *d;

	CALL(fill_dir(NR));
	d = opendir(".");
	CHECK(d, "opendir: %s", strerror(errno));
	while ((e = readdir(d)))
		if (is_entry(e, NR, &i)) {
			CALL(unlink(e->d_name));
			removed++;
		}
	CHECK(removed == NR, "%d entries met of %d", removed, NR);
	rewinddir(d);
	CHECK(count_once(d, NR) == 0, "removed entries are listed after rewinddir");
	return PROBE_OK;
}

/* What is there all the time is listed once, whatever comes and goes. */
static enum verdict readdir_while_changing(void)
{
	enum { NR = 1000 };
	char *seen = must_alloc(NR), name[40];
	struct dirent *e;
	int i, total = 0;
	DIR *d;

	CALL(fill_dir(NR));
	d = opendir(".");
	CHECK(d, "opendir: %s", strerror(errno));
	for (int k = 0; (e = readdir(d)); k++) {
		snprintf(name, sizeof(name), "new%d", k);
		if (k < NR)
			CALL(mknod(name, S_IFREG | 0644, 0));
		if (k % 2 && k < NR)
			CALL(unlink(name));
		if (!is_entry(e, NR, &i))
			continue;
		CHECK(!seen[i]++, "%s is listed twice", e->d_name);
		total++;
	}
	CHECK(total == NR, "%d entries met of %d", total, NR);
	return PROBE_OK;
}

static enum verdict dir_nlink(void)
{
	nlink_t empty;

	CALL(mkdir("d", 0755));
	empty = stat_of("d").st_nlink;
	CALL(mkdir("d/a", 0755));
	CALL(mkdir("d/b", 0755));
	if (empty == 1)
		return probe_unsup("the filesystem does not count subdirectories");
	CHECK(stat_of("d").st_nlink == 4, "nlink %lu with two subdirectories",
	      (unsigned long)stat_of("d").st_nlink);
	CALL(rmdir("d/a"));
	CHECK(stat_of("d").st_nlink == 3, "nlink after rmdir");
	CALL(rename("d/b", "b"));
	CHECK(stat_of("d").st_nlink == 2, "nlink after a subdirectory moved away");
	return PROBE_OK;
}

const struct probe dir_probes[] = {
	{ "o_tmpfile", o_tmpfile, ANYONE },
	{ "unlinked_open_file", unlinked_open_file, ANYONE },
	{ "rename_over_open", rename_over_open, ANYONE },
	{ "no_silly_rename", no_silly_rename, ANYONE },
	{ "rmdir_open_dir", rmdir_open_dir, ANYONE },
	{ "cwd_removed", cwd_removed, ANYONE },
	{ "rename_noreplace", rename_noreplace, ANYONE },
	{ "rename_exchange", rename_exchange, ANYONE },
	{ "rename_whiteout", rename_whiteout, ROOT },
	{ "rename_directories", rename_directories, ANYONE },
	{ "long_names", long_names, ANYONE },
	{ "odd_names", odd_names, ANYONE },
	{ "long_path", long_path, ANYONE },
	{ "long_symlink", long_symlink, ANYONE },
	{ "special_files", special_files, ANYONE },
	{ "readdir_types", readdir_types, ANYONE },
	{ "readdir_big", readdir_big, ANYONE },
	{ "seekdir_returns", seekdir_returns, ANYONE },
	{ "readdir_while_removing", readdir_while_removing, ANYONE },
	{ "readdir_while_changing", readdir_while_changing, ANYONE },
	{ "dir_nlink", dir_nlink, ANYONE },
};

const size_t dir_probes_nr = ARRAY_SIZE(dir_probes);
