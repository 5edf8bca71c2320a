/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by the parts of the namespace exerciser: names.c (users, the run,
 * faults), names_pick.c (the choices), names_ops.c (the operations) and
 * names_compare.c (attributes, directory listings, whole trees). Two sides, the mount and a plain
 * directory, get the same operations; all of them run with the side's base
 * directory as the working directory and with relative paths, so that no
 * path depends on where the two stand.
 */
#ifndef TESTS_EXERCISE_NAMES_H
#define TESTS_EXERCISE_NAMES_H

#include <sys/stat.h>
#include <sys/types.h>

#include "common.h"

#define PATH_LEN  4200
#define VALUE_LEN 70000

#define CREDS 5 /* users an operation may run as; 0 is the caller */

enum side { MOUNTED, PLAIN, SIDES };

extern const char *const side_name[SIDES];

struct op;

struct op_kind {
	const char *name;
	/* 0 or an errno; *digest stands for what was read, if anything */
	int (*run)(const struct op *o, uint64_t *digest);
	unsigned int weight;
	bool makes; /* path a should be a new name */
	bool two_paths;
	bool sets_times;
};

/* One operation with everything random already decided. */
struct op {
	const struct op_kind *kind;
	char a[PATH_LEN];
	char b[PATH_LEN];
	mode_t mode;
	mode_t mask;
	uid_t uid;
	gid_t gid;
	dev_t dev;
	off_t size;
	int flags;
	struct timespec times[2];
	const char *xattr;
	unsigned char value[VALUE_LEN];
	size_t value_len;
	int cred; /* index into the table of users, 0 is the caller */
};

struct attr {
	int err; /* of lstat; the rest counts only if 0 */
	struct stat st;
	char target[PATH_LEN];
	char xattrs[16384]; /* sorted "name=hex" lines */
};

extern const struct op_kind op_kinds[];
extern const size_t op_kinds_nr;

/* names.c: reports a fault with seed and history, and ends the run. */
__attribute__((format(printf, 1, 2))) _Noreturn void names_fault(const char *fmt, ...);
/* A printable short form of a name; four results live at a time. */
const char *names_show(const char *path);

/* names_pick.c */
void pick_start(uint64_t seed, int plain_base, const char *excluded_ops, bool users);
/* The directories both sides begin with. */
void pick_make_dirs(const int base[SIDES]);
void pick_op(struct op *o);
bool pick_one_in(size_t n);

/* names_compare.c; names are relative to the working directory */
void attr_get(const char *path, struct attr *out);
/* Faults on any difference but of directory sizes and recent times. */
void attr_compare(const struct attr *m, const struct attr *p, const char *path, bool atime);
/* Names, types and inode numbers of one directory on both sides. */
void listing_compare(const int base[SIDES], const char *path);
/* Everything below the two, with contents and hard links. */
void tree_compare(const int base[SIDES]);
/* Times from here on are "now" and need not be equal on both sides. */
void compare_set_start(time_t start);
/* Filesystems of both sides count subdirectories in nlink alike? */
void compare_set_dir_nlink(bool alike);

#endif
