/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One object on one mirror: the *at() calls, its record and its metadata.
 * An object is addressed by an `at`: the descriptor of its directory and a
 * name, or a descriptor of the object itself. Never by a path from a root.
 */
#ifndef REPLICA_OBJECT_H
#define REPLICA_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "replica/record.h"
#include "replica/tree.h"
#include "replica/volume.h"

struct at {
	const struct mirror *mirror;
	int fd;            /* directory, or the object itself when name is NULL */
	const char *name;
	bool opened;       /* name is NULL and fd is no O_PATH descriptor */
};

#define SEAL_WINDOW_NS 2000000000ll
#define TYPE_OF(mode) ((uint8_t)(((mode) & S_IFMT) >> 12))
#define MODE_OF(type) ((mode_t)(type) << 12)

static inline int64_t ts_ns(const struct timespec *ts)
{
	return (int64_t)ts->tv_sec * 1000000000 + ts->tv_nsec;
}
struct timespec ns_ts(int64_t ns);

/* The ctime to show: storing the record of an object at rest moves the
 * inode's own, which is no change a user made. */
int64_t node_ctime(struct volume *v, uint32_t node, const struct stat *st);

/* All return 0, a length where one is due, or a negative errno. */
int at_stat(const struct at *a, struct stat *st);
int at_open(const struct at *a, int flags);
int at_chmod(const struct at *a, mode_t mode);
int at_chown(const struct at *a, uid_t uid, gid_t gid);
int at_utimens(const struct at *a, const struct timespec ts[2]);
ssize_t at_readlink(const struct at *a, char *buf, size_t size);
ssize_t at_getxattr(const struct at *a, const char *name, void *value, size_t size);
ssize_t at_listxattr(const struct at *a, char *list, size_t size);
int at_setxattr(const struct at *a, const char *name, const void *value, size_t size, int flags);
int at_removexattr(const struct at *a, const char *name);
/* All of a list or value, grown as needed; the caller frees *out. */
ssize_t at_listxattr_all(const struct at *a, char **out);
ssize_t at_getxattr_all(const struct at *a, const char *name, char **out);

/* Whether name is the record's own xattr, which nobody sees. */
bool record_is_xattr(const char *name);
/* That, or a double under which one filesystem (xfs) also lists its ACLs:
 * not to be shown, copied or hashed. */
bool xattr_is_hidden(const char *name);
/* Whether it belongs to the user's data, and is copied and hashed; the rest is the
 * filesystem's own. */
bool xattr_counts(const char *name);
/* 0, -ENODATA (none), -EINVAL (damaged), -EPROTONOSUPPORT, or an I/O error. */
int record_load(const struct at *a, uint8_t type, struct record *r);
int record_store(const struct at *a, uint8_t type, const struct record *r);
int record_remove(const struct at *a, uint8_t type);

/* Hash of mode, owner and xattrs (the record's own left out). */
int metahash(const struct at *a, const struct stat *st, uint32_t *out);
/* Makes mode, owner, xattrs and times of `to` those of `from`. */
int meta_copy(const struct at *from, const struct stat *st, const struct at *to);

/*
 * Where a node is, on each member of a mask, held so that no rename or unlink
 * moves it: shared for reading, exclusive for changing attributes.
 */
struct loc {
	uint32_t node;
	uint32_t mask;
	uint32_t parent;             /* of `name`; 0: addressed by pins */
	int fd[MAX_MIRRORS];         /* or -errno */
	char name[NAME_MAX_LEN + 1];
};

int loc_get(struct volume *v, uint32_t node, uint32_t mask, bool exclusive, struct loc *l);
void loc_put(struct volume *v, struct loc *l);
/* The object on member m; -errno if its directory cannot be reached there. */
int loc_at(const struct volume *v, const struct loc *l, int m, struct at *a);

#endif
