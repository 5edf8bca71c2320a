// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Comparison of the two sides of the namespace exerciser: attributes of one
 * path, the listing of one directory, whole trees. Times that were set to
 * something must agree to the nanosecond; times the filesystem took by itself
 * lie between the start of the run and now on both sides. Inode numbers are
 * compared by what they say (which names are one file), never by value.
 */
#include "names.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>

static time_t run_start;
static bool dir_nlink_alike = true;

void compare_set_start(time_t start)
{
	run_start = start;
}

void compare_set_dir_nlink(bool alike)
{
	dir_nlink_alike = alike;
}

/* --- attributes ------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t put_xattr(char *to, size_t room, const char *path, const char *name)
{
	unsigned char value[4096];
	ssize_t n = lgetxattr(path, name, value, sizeof(value));
	size_t len = (size_t)snprintf(to, room, "%s=", name);

	if (n < 0)
		len += (size_t)snprintf(to + len, room - len, "(%s)", strerror(errno));
	for (ssize_t i = 0; i < n && len + 3 < room; i++)
		len += (size_t)snprintf(to + len, room - len, "%02x", value[i]);
	len += (size_t)snprintf(to + len, room - len, " ");
	return len;
}

static void get_xattrs(const char *path, char *out, size_t room)
{
	char list[8192];
	char *name[128];
	ssize_t n = llistxattr(path, list, sizeof(list));
	size_t nr = 0, len = 0;

	if (n < 0) {
		snprintf(out, room, "(%s)", strerror(errno));
		return;
	}
	for (ssize_t i = 0; i < n && nr < ARRAY_SIZE(name); i += (ssize_t)strlen(list + i) + 1)
		/* xfs lists its ACLs twice; a mirror of several kinds does not */
		if (strncmp(list + i, "trusted.SGI_ACL_", 16) != 0)
			name[nr++] = list + i;
	qsort(name, nr, sizeof(*name), by_text);
	out[0] = '\0';
	for (size_t i = 0; i < nr && len + 700 < room; i++)
		len += put_xattr(out + len, room - len, path, name[i]);
}

void attr_get(const char *path, struct attr *out)
{
	ssize_t n;

	out->err = lstat(path, &out->st) < 0 ? errno : 0;
	out->target[0] = out->xattrs[0] = '\0';
	if (out->err)
		return;
	if (S_ISLNK(out->st.st_mode)) {
		n = readlink(path, out->target, sizeof(out->target) - 1);
		out->target[n < 0 ? 0 : n] = '\0';
	}
	get_xattrs(path, out->xattrs, sizeof(out->xattrs));
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	time_t now = time(NULL) + 2;

	if (a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec)
		return true;
	return a->tv_sec >= run_start && b->tv_sec >= run_start && a->tv_sec <= now &&
	       b->tv_sec <= now;
}

static void compare_time(const struct timespec *m, const struct timespec *p, const char *what,
			 const char *path)
{
	if (!same_time(m, p))
		names_fault("%s of %s: mount %lld.%09ld, plain %lld.%09ld", what, names_show(path),
			    (long long)m->tv_sec, m->tv_nsec, (long long)p->tv_sec, p->tv_nsec);
}

static void compare_number(const char *what, const char *path, unsigned long long m,
			   unsigned long long p, const char *fmt)
{
	char text[2][40];

	if (m == p)
		return;
	snprintf(text[0], sizeof(text[0]), fmt[0] == 'o' ? "%#llo" : "%llu", m);
	snprintf(text[1], sizeof(text[1]), fmt[0] == 'o' ? "%#llo" : "%llu", p);
	names_fault("%s of %s: mount %s, plain %s", what, names_show(path), text[0], text[1]);
}

void attr_compare(const struct attr *m, const struct attr *p, const char *path, bool atime)
{
	bool dir = S_ISDIR(p->st.st_mode);

	if (m->err != p->err)
		names_fault("lstat of %s: mount %s, plain %s", names_show(path),
			    m->err ? strerror(m->err) : "ok", p->err ? strerror(p->err) : "ok");
	if (m->err)
		return;
	compare_number("mode", path, m->st.st_mode, p->st.st_mode, "o");
	compare_number("uid", path, m->st.st_uid, p->st.st_uid, "u");
	compare_number("gid", path, m->st.st_gid, p->st.st_gid, "u");
	compare_number("rdev", path, m->st.st_rdev, p->st.st_rdev, "u");
	if (!dir)
		compare_number("size", path, (unsigned long long)m->st.st_size,
			       (unsigned long long)p->st.st_size, "u");
	if (!dir || dir_nlink_alike)
		compare_number("nlink", path, m->st.st_nlink, p->st.st_nlink, "u");
	if (strcmp(m->target, p->target))
		names_fault("target of %s: mount %s, plain %s", names_show(path), m->target,
			    p->target);
	if (strcmp(m->xattrs, p->xattrs))
		names_fault("xattrs of %s: mount %s, plain %s", names_show(path), m->xattrs,
			    p->xattrs);
	compare_time(&m->st.st_mtim, &p->st.st_mtim, "mtime", path);
	if (atime)
		compare_time(&m->st.st_atim, &p->st.st_atim, "atime", path);
}

/* --- listings --------------------------------------------------------- */

struct listing {
	struct dirent **entries;
	int nr;
};

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void listing_free(struct listing *l)
{
	for (int i = 0; i < l->nr; i++)
		free(l->entries[i]);
	free(l->entries);
}

/* d_ino and d_type must say what lstat says, on each side by itself. */
static void check_entries(const struct listing *l, enum side side)
{
	struct stat st;

	for (int i = 0; i < l->nr; i++) {
		const struct dirent *e = l->entries[i];

		if (!strcmp(e->d_name, "..") || !strcmp(e->d_name, "."))
			continue;
		if (lstat(e->d_name, &st) < 0 && errno == EACCES && geteuid() != 0)
			continue;
		if (lstat(e->d_name, &st) < 0)
			names_fault("%s: %s is listed but lstat says %s", side_name[side],
				    names_show(e->d_name), strerror(errno));
		if (st.st_ino != e->d_ino)
			names_fault("%s: %s has d_ino %llu, st_ino %llu", side_name[side],
				    names_show(e->d_name), (unsigned long long)e->d_ino,
				    (unsigned long long)st.st_ino);
		if (e->d_type != DT_UNKNOWN && e->d_type != IFTODT(st.st_mode))
			names_fault("%s: %s has d_type %d, mode %#o", side_name[side],
				    names_show(e->d_name), e->d_type, st.st_mode);
	}
}

/* Reads and checks the listing; the working directory is that one afterwards. */
static int read_listing(int dir, struct listing *l, enum side side)
{
	l->entries = NULL;
	l->nr = scandirat(dir, ".", &l->entries, NULL, by_bytes);
	if (l->nr < 0 || fchdir(dir) < 0)
		return errno;
	check_entries(l, side);
	return 0;
}

/* False if both sides refuse alike, which they do to others than root. */
static bool read_listings(const int dir[SIDES], struct listing l[SIDES])
{
	int m = read_listing(dir[MOUNTED], &l[MOUNTED], MOUNTED);
	int p = read_listing(dir[PLAIN], &l[PLAIN], PLAIN);

	if (m != p || (m && (m != EACCES || geteuid() == 0)))
		names_fault("reading a directory: mount %s, plain %s", strerror(m), strerror(p));
	return !m;
}

static void compare_listings(const struct listing *m, const struct listing *p)
{
	for (int i = 0; i < m->nr || i < p->nr; i++) {
		const char *a = i < m->nr ? m->entries[i]->d_name : NULL;
		const char *b = i < p->nr ? p->entries[i]->d_name : NULL;
		int c = !a ? 1 : !b ? -1 : strcmp(a, b);

		if (c)
			names_fault("listing: %s only on the %s side", names_show(c < 0 ? a : b),
				    side_name[c < 0 ? MOUNTED : PLAIN]);
	}
}

static int open_both(const int base[SIDES], const char *path, int flags, int fd[SIDES])
{
	for (int s = 0; s < SIDES; s++)
		fd[s] = openat(base[s], path, flags | O_CLOEXEC);
	if ((fd[MOUNTED] < 0) != (fd[PLAIN] < 0))
		names_fault("open of %s: ok on the %s side only", names_show(path),
			    side_name[fd[MOUNTED] < 0 ? PLAIN : MOUNTED]);
	return fd[MOUNTED] < 0 ? -1 : 0;
}

void listing_compare(const int base[SIDES], const char *path)
{
	struct listing l[SIDES];
	int fd[SIDES];

	if (open_both(base, *path ? path : ".", O_RDONLY | O_DIRECTORY, fd) < 0)
		return;
	if (read_listings(fd, l))
		compare_listings(&l[MOUNTED], &l[PLAIN]);
	for (int s = 0; s < SIDES; s++) {
		listing_free(&l[s]);
		close(fd[s]);
	}
}

/* --- trees ------------------------------------------------------------ */

/* inode numbers in order of first sight: equal ranks, equal hard links */
static struct {
	ino_t *ino[SIDES];
	size_t nr, room;
} seen;

static size_t rank_of(enum side side, ino_t ino)
{
	for (size_t i = 0; i < seen.nr; i++)
		if (seen.ino[side][i] == ino)
			return i;
	return seen.nr;
}

static void compare_identity(ino_t m, ino_t p, const char *path)
{
	size_t a = rank_of(MOUNTED, m), b = rank_of(PLAIN, p);

	if (a != b)
		names_fault("hard links of %s: the two sides group names differently",
			    names_show(path));
	if (a < seen.nr)
		return;
	if (seen.nr == seen.room) {
		seen.room = seen.room * 2 + 64;
		for (int s = 0; s < SIDES; s++) {
			seen.ino[s] = realloc(seen.ino[s], seen.room * sizeof(ino_t));
			if (!seen.ino[s])
				die_errno("realloc", "inode list");
		}
	}
	seen.ino[MOUNTED][seen.nr] = m;
	seen.ino[PLAIN][seen.nr++] = p;
}

static void compare_content(const int base[SIDES], const char *name)
{
	static unsigned char buf[SIDES][1 << 16];
	ssize_t n[SIDES];
	int fd[SIDES];

	if (open_both(base, name, O_RDONLY | O_NOFOLLOW, fd) < 0)
		return;
	do {
		for (int s = 0; s < SIDES; s++)
			n[s] = read(fd[s], buf[s], sizeof(buf[s]));
		if (n[MOUNTED] != n[PLAIN] ||
		    (n[PLAIN] > 0 && memcmp(buf[MOUNTED], buf[PLAIN], (size_t)n[PLAIN])))
			names_fault("content of %s differs", names_show(name));
	} while (n[PLAIN] > 0);
	close(fd[MOUNTED]);
	close(fd[PLAIN]);
}

static void walk(const int base[SIDES]);

static void compare_entry(const int dir[SIDES], const char *name)
{
	static struct attr attr[SIDES];
	int below[SIDES];

	for (int s = 0; s < SIDES; s++) {
		if (fchdir(dir[s]) < 0)
			names_fault("%s: fchdir: %s", side_name[s], strerror(errno));
		attr_get(name, &attr[s]);
	}
	attr_compare(&attr[MOUNTED], &attr[PLAIN], name, false);
	if (S_ISREG(attr[PLAIN].st.st_mode))
		compare_content(dir, name);
	if (!S_ISDIR(attr[PLAIN].st.st_mode))
		compare_identity(attr[MOUNTED].st.st_ino, attr[PLAIN].st.st_ino, name);
	else if (open_both(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, below) == 0) {
		walk(below);
		close(below[MOUNTED]);
		close(below[PLAIN]);
	}
}

static void walk(const int base[SIDES])
{
	struct listing l[SIDES];

	if (read_listings(base, l))
		compare_listings(&l[MOUNTED], &l[PLAIN]);
	else
		l[PLAIN].nr = 0;
	for (int i = 0; i < l[PLAIN].nr; i++) {
		const char *name = l[PLAIN].entries[i]->d_name;

		if (strcmp(name, ".") && strcmp(name, ".."))
			compare_entry(base, name);
	}
	for (int s = 0; s < SIDES; s++)
		listing_free(&l[s]);
}

void tree_compare(const int base[SIDES])
{
	seen.nr = 0;
	walk(base);
}
