// SPDX-License-Identifier: GPL-2.0-or-later
/* Reading a tree whole. Errors are findings: they go into the node. */
#include "tests/crash/ace_found.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "tests/exercise/common.h"

static void trouble(struct found_node *n, const char *what, int err)
{
	char text[128];

	snprintf(text, sizeof(text), "%s: %s", what, strerror(err));
	if (!n->error)
		n->error = strdup(text);
}

static unsigned add(struct found *f, int dir, const char *name)
{
	if (f->n == f->cap) {
		f->cap = f->cap ? 2 * f->cap : 16;
		f->node = realloc(f->node, f->cap * sizeof(f->node[0]));
		if (!f->node)
			die_errno("realloc", "memory");
	}
	f->node[f->n] = (struct found_node){ .dir = dir, .name = strdup(name) };
	return f->n++;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted names in a zero-terminated list. */
static char **names_of(struct found_node *n, DIR *d, const char *skip)
{
	size_t count = 0, cap = 16;
	char **list = must_alloc(cap * sizeof(*list));
	struct dirent *e;

	for (errno = 0; (e = readdir(d)); errno = 0) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
		    (skip && !strcmp(e->d_name, skip)))
			continue;
		if (count + 1 == cap) {
			cap *= 2;
			list = realloc(list, cap * sizeof(*list));
			if (!list)
				die_errno("realloc", "memory");
		}
		list[count++] = strdup(e->d_name);
	}
	if (errno)
		trouble(n, "readdir", errno);
	qsort(list, count, sizeof(*list), by_name);
	list[count] = NULL;
	return list;
}

static void read_node(struct found *f, int dir, int dirfd, const char *name, const char *skip);

static void read_dir(struct found *f, unsigned me, int dirfd, const char *name, const char *skip)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	char **list, **p;

	if (!d) {
		trouble(&f->node[me], "opendir", errno);
		if (fd >= 0)
			close(fd);
		return;
	}
	list = names_of(&f->node[me], d, skip);
	for (p = list; *p; p++) {
		read_node(f, (int)me, fd, *p, NULL);
		free(*p);
	}
	free(list);
	closedir(d);
}

static void read_file(struct found_node *n, int dirfd, const char *name)
{
	CLEANUP_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t got;

	n->bytes = must_alloc((size_t)n->st.st_size);
	if (fd < 0) {
		trouble(n, "open", errno);
		return;
	}
	got = io_pread_full(fd, n->bytes, (size_t)n->st.st_size, 0);
	if (got < 0)
		trouble(n, "read", (int)-got);
	else if (got != n->st.st_size)
		trouble(n, "short read", EIO);
}

static void read_link(struct found_node *n, int dirfd, const char *name)
{
	char target[4096];
	ssize_t len = readlinkat(dirfd, name, target, sizeof(target));

	if (len < 0)
		trouble(n, "readlink", errno);
	n->target = strndup(target, len < 0 ? 0 : (size_t)len);
}

static void read_node(struct found *f, int dir, int dirfd, const char *name, const char *skip)
{
	unsigned me = add(f, dir, name);
	struct found_node *n = &f->node[me];

	if (fstatat(dirfd, name, &n->st, AT_SYMLINK_NOFOLLOW))
		trouble(n, "stat", errno);
	else if (S_ISDIR(n->st.st_mode))
		read_dir(f, me, dirfd, name, skip);
	else if (S_ISREG(n->st.st_mode))
		read_file(n, dirfd, name);
	else if (S_ISLNK(n->st.st_mode))
		read_link(n, dirfd, name);
}

void found_read(struct found *f, int dirfd, const char *name, const char *skip)
{
	memset(f, 0, sizeof(*f));
	read_node(f, -1, dirfd, name, skip);
}

void found_free(struct found *f)
{
	unsigned i;

	for (i = 0; i < f->n; i++) {
		free(f->node[i].name);
		free(f->node[i].bytes);
		free(f->node[i].target);
		free(f->node[i].error);
	}
	free(f->node);
}

void found_path(const struct found *f, unsigned node, char *path, size_t size)
{
	char dir[1024];

	if (f->node[node].dir < 0) {
		snprintf(path, size, ".");
	} else if (f->node[node].dir == 0) {
		snprintf(path, size, "%s", f->node[node].name);
	} else {
		found_path(f, (unsigned)f->node[node].dir, dir, sizeof(dir));
		snprintf(path, size, "%s/%s", dir, f->node[node].name);
	}
}
