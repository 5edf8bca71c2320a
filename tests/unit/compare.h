/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two directory trees compared in all that a mirror promises: names, types,
 * modes, owners, mtimes, sizes, bytes, targets, device numbers, number of
 * links, and the users' xattrs. Prints what differs.
 */
#ifndef TESTS_UNIT_COMPARE_H
#define TESTS_UNIT_COMPARE_H

#include <dirent.h>
#include <sys/xattr.h>

#include "tests/unit/volume.h"

enum { COMPARE_TIMES = 1, COMPARE_RECORDS = 2 };

static inline int compare_say(const char *path, const char *what)
{
	print_message("differs: %s: %s\n", path, what);
	return 1;
}

static inline int compare_bytes(int a, int b, const char *name, const char *path)
{
	char *x = NULL, *y = NULL;
	size_t n = 0, k = 0;
	bool same = io_read_file(a, name, 1u << 30, &x, &n) == 0 &&
		    io_read_file(b, name, 1u << 30, &y, &k) == 0 &&
		    n == k && memcmp(x, y, n) == 0;

	free(x);
	free(y);
	return same ? 0 : compare_say(path, "bytes");
}

static inline int compare_targets(int a, int b, const char *name, const char *path)
{
	char x[4097], y[4097];
	ssize_t n = readlinkat(a, name, x, sizeof(x)), k = readlinkat(b, name, y, sizeof(y));

	return n == k && n >= 0 && memcmp(x, y, (size_t)n) == 0 ? 0 : compare_say(path, "target");
}

/* One xattr of both, by name. */
static inline bool same_xattr(const char *x, const char *y, const char *name)
{
	char u[4096], w[4096];
	ssize_t n = lgetxattr(x, name, u, sizeof(u)), k = lgetxattr(y, name, w, sizeof(w));

	return n >= 0 && n == k && memcmp(u, w, (size_t)n) == 0;
}

static inline int compare_xattrs(int a, int b, const char *name, const char *path, unsigned how)
{
	char x[600], y[600], list[8192];

	for (int turn = 0; turn < 2; turn++) {
		ssize_t n;

		snprintf(x, sizeof(x), "/proc/self/fd/%d/%s", turn ? b : a, name);
		snprintf(y, sizeof(y), "/proc/self/fd/%d/%s", turn ? a : b, name);
		n = llistxattr(x, list, sizeof(list));
		for (const char *at = list; n > 0 && at < list + n; at += strlen(at) + 1)
			if ((how & COMPARE_RECORDS || !record_is_xattr(at)) &&
			    !same_xattr(x, y, at))
				return compare_say(path, at);
	}
	return 0;
}

static inline int compare_stat(const struct stat *s, const struct stat *t, const char *path,
			       unsigned how)
{
	if (s->st_mode != t->st_mode)
		return compare_say(path, "mode");
	if (s->st_uid != t->st_uid || s->st_gid != t->st_gid)
		return compare_say(path, "owner");
	if (!S_ISDIR(s->st_mode) && (s->st_size != t->st_size || s->st_nlink != t->st_nlink))
		return compare_say(path, "size or links");
	if ((S_ISBLK(s->st_mode) || S_ISCHR(s->st_mode)) && s->st_rdev != t->st_rdev)
		return compare_say(path, "device");
	if (how & COMPARE_TIMES && ts_ns(&s->st_mtim) != ts_ns(&t->st_mtim))
		return compare_say(path, "mtime");
	return 0;
}

static inline int compare_dirs(int a, int b, const char *path, unsigned how);

static inline int compare_entry(int a, int b, const char *name, const char *above, unsigned how)
{
	char path[4096];
	struct stat s, t;
	int r;

	snprintf(path, sizeof(path), "%s%s%s", above, *above ? "/" : "", name);
	if (fstatat(a, name, &s, AT_SYMLINK_NOFOLLOW) < 0)
		return compare_say(path, "missing on the first");
	if (fstatat(b, name, &t, AT_SYMLINK_NOFOLLOW) < 0)
		return compare_say(path, "missing on the second");
	r = compare_stat(&s, &t, path, how);
	if (r == 0)
		r = compare_xattrs(a, b, name, path, how);
	if (r == 0 && S_ISREG(s.st_mode))
		r = compare_bytes(a, b, name, path);
	if (r == 0 && S_ISLNK(s.st_mode))
		r = compare_targets(a, b, name, path);
	if (r == 0 && S_ISDIR(s.st_mode)) {
		int x = openat(a, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		int y = openat(b, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		r = x < 0 || y < 0 ? compare_say(path, strerror(errno))
				   : compare_dirs(x, y, path, how);
		close(x);
		close(y);
	}
	return r;
}

/* How many names there are, each of them compared if there is another directory. */
static inline int compare_listed(int a, int b, const char *path, unsigned how, unsigned *n)
{
	int fd = openat(a, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	if (!d)
		return compare_say(path, strerror(errno));
	for (*n = 0; r == 0 && (e = readdir(d));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
		    strcmp(e->d_name, DOT_DIR) == 0)
			continue;
		++*n;
		if (b >= 0)
			r = compare_entry(a, b, e->d_name, path, how);
	}
	closedir(d);
	return r;
}

static inline int compare_dirs(int a, int b, const char *path, unsigned how)
{
	unsigned here, there;
	int r = compare_listed(a, b, path, how, &here);

	if (r == 0)
		r = compare_listed(b, -1, path, how, &there);
	return r == 0 && here != there ? compare_say(path, "more names on the second") : r;
}

/* All mirrors of the volume against the first. */
static inline void bed_assert_same(struct bed *b, unsigned how)
{
	for (int m = 1; m < b->n; m++)
		assert_int_equal(compare_dirs(b->fd[0], b->fd[m], "", how), 0);
}

#endif
