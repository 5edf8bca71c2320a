/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The operations of a mounted volume, by node and name. No FUSE in here: the
 * front end, the tools and the tests call the same functions. All return 0, a
 * length where one is due, or a negative errno. `.mirrorfs` in the root does
 * not exist for any of them.
 */
#ifndef REPLICA_OPS_H
#define REPLICA_OPS_H

#include <sys/stat.h>
#include <sys/statvfs.h>

#include "replica/creds.h"
#include "replica/dir.h"
#include "replica/file.h"
#include "replica/volume.h"

/* What a lookup finds. The caller owns one reference on node. */
struct entry {
	uint32_t node;
	uint32_t gen;
	struct stat st;     /* st_ino is the file id */
};

int op_lookup(struct volume *v, uint32_t parent, const char *name, struct entry *e);
/* As any one mirror has it, for what could not be healed. */
int op_lookup_any(struct volume *v, uint32_t parent, const char *name, struct entry *e);
int op_getattr(struct volume *v, uint32_t node, struct stat *st);

#define ATTR_MODE 1u
#define ATTR_UID 2u
#define ATTR_GID 4u
#define ATTR_SIZE 8u
#define ATTR_ATIME 16u
#define ATTR_MTIME 32u
/* want: bits above; in *st the values, times may hold UTIME_NOW. kill (may be NULL): a
 * size change by somebody who must not keep setuid bits. */
int op_setattr(struct volume *v, uint32_t node, const struct stat *in, unsigned want,
	       const struct killer *kill, struct io_space *s, struct stat *out);

/* mkdir, mknod, symlink: mode says which; target for symlinks. */
struct make {
	mode_t mode;
	dev_t rdev;
	const char *target;
	struct caller caller;
};
int op_make(struct volume *v, uint32_t parent, const char *name, const struct make *m,
	    struct entry *e);
/* A regular file, -EEXIST if the name is there; *f is its state, open. */
int op_create(struct volume *v, uint32_t parent, const char *name, const struct make *m,
	      struct entry *e, struct file **f);
int op_tmpfile(struct volume *v, uint32_t parent, const struct make *m, struct entry *e,
	       struct file **f);
int op_link(struct volume *v, uint32_t node, uint32_t parent, const char *name, struct entry *e);
int op_unlink(struct volume *v, uint32_t parent, const char *name, bool dir);
/* flags as renameat2: NOREPLACE, EXCHANGE. */
int op_rename(struct volume *v, uint32_t p1, const char *n1, uint32_t p2, const char *n2,
	      unsigned flags);
ssize_t op_readlink(struct volume *v, uint32_t node, char *buf, size_t size);

ssize_t op_getxattr(struct volume *v, uint32_t node, const char *name, void *buf, size_t size);
/* trusted: the caller may see trusted.* names. */
ssize_t op_listxattr(struct volume *v, uint32_t node, bool trusted, char *buf, size_t size);
/* kill_sgid: an ACL by somebody outside the file's group takes the setgid bit away. */
int op_setxattr(struct volume *v, uint32_t node, const char *name, const void *value,
		size_t size, int flags, bool kill_sgid);
int op_removexattr(struct volume *v, uint32_t node, const char *name);

int op_statfs(struct volume *v, struct statvfs *sv);
int op_fsyncdir(struct volume *v, uint32_t node, bool data);
/* Everything on all mirrors. */
int op_syncfs(struct volume *v);
/* First read through a handle: moves the atime as the volume's options say. */
void op_accessed(struct volume *v, struct file *f);

/* Names of a directory after comparing all mirrors, with ids where known. */
int op_list(struct volume *v, uint32_t node, struct dir_list *l);
/* Id of one listed entry (0: vanished). */
uint64_t op_entry_id(struct volume *v, uint32_t parent, const char *name, uint8_t type);

/* ---- shared by the files of the operations ---- */

/* -ENOENT for the hidden folder, -ENAMETOOLONG. making: -EPERM instead. */
int op_check_name(uint32_t parent, const char *name, bool making);
/* Fills in what a mirror's stat cannot know. */
void op_fix_stat(struct volume *v, uint32_t node, struct stat *st);
/* Whether errno e tells of a limit of one filesystem (length of names or
 * values, kinds of objects): then the operation is refused on all mirrors. */
bool op_is_limit(int e);
#endif
