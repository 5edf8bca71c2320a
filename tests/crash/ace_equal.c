// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Are mirrors equal? Names, types, modes, owners, sizes, times of the last
 * change, links, contents, targets and xattrs, but not mirrorfs' own.
 */
#include "tests/crash/ace.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/xattr.h>

#include "tests/crash/ace_found.h"
#include "tests/exercise/common.h"

#define OWN_DIR ".mirrorfs"
#define XATTRS  4096

static unsigned differences;

static void differs(const struct found *f, unsigned i, const char *what)
{
	char path[1024];

	found_path(f, i, path, sizeof(path));
	if (differences++ < 10)
		printf("violation: mirrors differ: %s: %s\n", path, what);
}

static bool own(const char *name)
{
	return !strncmp(name, "user.mfs", 8) && (name[8] == '.' || name[8] == '=' || !name[8]);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All xattrs as one text, sorted by name. */
static size_t xattrs_of(const char *path, char *out, size_t size)
{
	char list[XATTRS], *name[64], *p;
	ssize_t len = llistxattr(path, list, sizeof(list)), got;
	size_t n = 0, i, used = 0;

	for (p = list; len > 0 && p < list + len && n < ARRAY_SIZE(name); p += strlen(p) + 1)
		if (!own(p))
			name[n++] = p;
	qsort(name, n, sizeof(name[0]), compare_names);
	for (i = 0; i < n && used + 300 < size; i++) {
		used += (size_t)snprintf(out + used, size - used, "%s=", name[i]);
		got = lgetxattr(path, name[i], out + used, size - used);
		used += got > 0 ? (size_t)got : 0;
	}
	return used;
}

static bool same_xattrs(const struct found *f, unsigned i, char *const *dir)
{
	char path[4096], inner[1024], a[XATTRS], b[XATTRS];
	size_t n;

	found_path(f, i, inner, sizeof(inner));
	snprintf(path, sizeof(path), "%s/%s", dir[0], inner);
	n = xattrs_of(path, a, sizeof(a));
	snprintf(path, sizeof(path), "%s/%s", dir[1], inner);
	return n == xattrs_of(path, b, sizeof(b)) && !memcmp(a, b, n);
}

static const char *difference(const struct found_node *a, const struct found_node *b)
{
	if (a->error || b->error)
		return a->error ? a->error : b->error;
	if (a->st.st_mode != b->st.st_mode)
		return "type or mode";
	if (a->st.st_uid != b->st.st_uid || a->st.st_gid != b->st.st_gid)
		return "owner";
	if (!S_ISDIR(a->st.st_mode) && a->st.st_nlink != b->st.st_nlink)
		return "link count";
	if (S_ISREG(a->st.st_mode) && a->st.st_size != b->st.st_size)
		return "size";
	if (S_ISREG(a->st.st_mode) && memcmp(a->bytes, b->bytes, (size_t)a->st.st_size) != 0)
		return "content";
	if (S_ISLNK(a->st.st_mode) && strcmp(a->target, b->target) != 0)
		return "target";
	if (!S_ISLNK(a->st.st_mode) && (a->st.st_mtim.tv_sec != b->st.st_mtim.tv_sec ||
					a->st.st_mtim.tv_nsec != b->st.st_mtim.tv_nsec))
		return "time of the last change";
	return NULL;
}

/* Both lists are in the order of a walk with sorted names. */
static int order(const struct found *a, unsigned i, const struct found *b, unsigned k)
{
	char path[2][1024], *p;
	int n;

	found_path(a, i, path[0], sizeof(path[0]));
	found_path(b, k, path[1], sizeof(path[1]));
	for (n = 0; n < 2; n++)
		for (p = path[n]; *p; p++)
			*p = *p == '/' ? '\1' : *p;
	return strcmp(path[0], path[1]);
}

static void compare(const struct found *a, const struct found *b, char *const *dir)
{
	unsigned i = 1, k = 1;
	const char *what;
	int o;

	while (i < a->n || k < b->n) {
		o = i == a->n ? 1 : k == b->n ? -1 : order(a, i, b, k);
		if (o < 0) {
			differs(a, i++, "only in the first");
		} else if (o > 0) {
			differs(b, k++, "only in the other");
		} else {
			what = difference(&a->node[i], &b->node[k]);
			if (!what && !same_xattrs(a, i, dir))
				what = "xattrs";
			if (what)
				differs(a, i, what);
			i++;
			k++;
		}
	}
}

int ace_equal(char *const *dir, int n)
{
	struct found first, other;
	int i;

	found_read(&first, AT_FDCWD, dir[0], OWN_DIR);
	for (i = 1; i < n; i++) {
		char *const pair[2] = { dir[0], dir[i] };

		found_read(&other, AT_FDCWD, dir[i], OWN_DIR);
		compare(&first, &other, pair);
		found_free(&other);
	}
	found_free(&first);
	return differences ? EXERCISE_FAULT : 0;
}
