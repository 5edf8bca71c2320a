/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A directory tree as it is found, whole, in memory: what a sequence left, or
 * what a mirror holds. Nodes stand after their directory. What cannot be read
 * is noted in the node, not an end.
 */
#ifndef TESTS_CRASH_ACE_FOUND_H
#define TESTS_CRASH_ACE_FOUND_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct found_node {
	int dir;          /* node; -1: the top itself */
	char *name;
	struct stat st;
	uint8_t *bytes;   /* files, st.st_size of them */
	char *target;     /* symbolic links */
	char *error;      /* what went wrong here, or NULL */
};

struct found {
	struct found_node *node;
	unsigned n, cap;
};

/* The tree at dirfd/name. skip: a name left out at the top, or NULL. */
void found_read(struct found *f, int dirfd, const char *name, const char *skip);
void found_free(struct found *f);
/* Path of a node below the top, size bytes. */
void found_path(const struct found *f, unsigned node, char *path, size_t size);

#endif
