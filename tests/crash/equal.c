/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether two mirrors hold the same tree: names, types, modes, owners, mtimes,
 * sizes, contents. The same as tree_equal of tests/lib.sh, but for what the load does not make
 * (links, xattrs), in a fraction of the time.
 */
#include "tests/crash/verify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int differ(const char *path, const char *what)
{
	printf("VIOLATION unequal: %s: %s\n", path, what);
	return 1;
}

static int files_differ(int a, int b, const char *path)
{
	struct content x, y;
	uint64_t i = 0;
	int n = 0;

	content_read(&x, a, path);
	content_read(&y, b, path);
	if (x.error || y.error)
		n = differ(path, strerror(-(x.error ? x.error : y.error)));
	else if (x.size != y.size)
		n = differ(path, "size");
	else if (memcmp(x.data, y.data, x.size)) {
		char what[64];

		while (x.data[i] == y.data[i])
			i++;
		snprintf(what, sizeof(what), "content, first in leaf %llu",
			 (unsigned long long)(i / LEAF_SIZE));
		n = differ(path, what);
	}
	free(x.data);
	free(x.failed);
	free(y.data);
	free(y.failed);
	return n;
}

static int meta_differs(const struct stat *x, const struct stat *y, const char *path)
{
	char what[128];

	if (x->st_mode != y->st_mode || x->st_uid != y->st_uid || x->st_gid != y->st_gid)
		return differ(path, "type, mode or owner");
	if (x->st_mtim.tv_sec == y->st_mtim.tv_sec && x->st_mtim.tv_nsec == y->st_mtim.tv_nsec)
		return 0;
	snprintf(what, sizeof(what), "mtime %lld.%09ld and %lld.%09ld",
		 (long long)x->st_mtim.tv_sec, x->st_mtim.tv_nsec, (long long)y->st_mtim.tv_sec,
		 y->st_mtim.tv_nsec);
	return differ(path, what);
}

static int dirs_differ(int a, int b, const char *path);

static int entry_differs(int a, int b, const char *path)
{
	struct stat x, y;

	if (fstatat(a, path, &x, AT_SYMLINK_NOFOLLOW) || fstatat(b, path, &y, AT_SYMLINK_NOFOLLOW))
		return differ(path, "only on one side");
	if (meta_differs(&x, &y, path))
		return 1;
	if (S_ISDIR(x.st_mode))
		return dirs_differ(a, b, path);
	return S_ISREG(x.st_mode) ? files_differ(a, b, path) : 0;
}

/* Entries of a; those of b that a lacks are found the other way round. */
static int walk(int a, int b, const char *path, bool missing_only)
{
	int fd = openat(a, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	char sub[4096];
	struct stat st;

	if (!d)
		return differ(path, "cannot be read");
	while ((e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
		    strcmp(e->d_name, ".mirrorfs") == 0)
			continue;
		snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name);
		if (!missing_only)
			n += entry_differs(a, b, sub);
		else if (fstatat(b, sub, &st, AT_SYMLINK_NOFOLLOW))
			n += differ(sub, "only on one side");
	}
	closedir(d);
	return n;
}

static int dirs_differ(int a, int b, const char *path)
{
	return walk(a, b, path, false) + walk(b, a, path, true);
}

int trees_differ(const char *a, const char *b)
{
	int x = open(a, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int y = open(b, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (x < 0 || y < 0) {
		fprintf(stderr, "verify: %s, %s: %s\n", a, b, strerror(errno));
		return 2;
	}
	return dirs_differ(x, y, ".") != 0;
}
