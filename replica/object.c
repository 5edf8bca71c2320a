/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replica/object.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/dirfd.h"
#include "replica/hash.h"
#include "replica/spill.h"

#define PROC_PATH (NAME_MAX_LEN + 40)

struct timespec ns_ts(int64_t ns)
{
	int64_t sec = ns / 1000000000, rest = ns % 1000000000;

	if (rest < 0) {
		rest += 1000000000;
		sec--;
	}
	return (struct timespec){ .tv_sec = sec, .tv_nsec = rest };
}

/* The kernel resolves this to the object itself; with a name the last
 * component must not be followed, without one it must. */
static const char *proc_path(const struct at *a, char buf[PROC_PATH])
{
	if (a->name)
		snprintf(buf, PROC_PATH, "/proc/self/fd/%d/%s", a->fd, a->name);
	else
		snprintf(buf, PROC_PATH, "/proc/self/fd/%d", a->fd);
	return buf;
}

int at_stat(const struct at *a, struct stat *st)
{
	int flags = a->name ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH;

	return fstatat(a->fd, a->name ? a->name : "", st, flags) < 0 ? -errno : 0;
}

/*
 * A daemon without privilege owns the files but is bound by their modes: a
 * copy that nobody may write still needs its record and its repairs. The
 * owner's bits are lent for the one call. 0: *mode is to be given back.
 */
static int lend_bits(const struct at *a, int err, mode_t *mode)
{
	struct stat st;

	if (err != -EACCES || geteuid() == 0 || at_stat(a, &st) < 0 || st.st_uid != geteuid() ||
	    S_ISLNK(st.st_mode) || (st.st_mode & 0600) == 0600)
		return -1;
	*mode = st.st_mode & 07777;
	return at_chmod(a, *mode | (S_ISDIR(st.st_mode) ? 0700 : 0600));
}

static int open_once(const struct at *a, int flags);

int at_open(const struct at *a, int flags)
{
	int fd = open_once(a, flags);
	mode_t mode;

	if (fd < 0 && lend_bits(a, fd, &mode) == 0) {
		fd = open_once(a, flags);
		at_chmod(a, mode);
	}
	return fd;
}

static int open_once(const struct at *a, int flags)
{
	char buf[PROC_PATH];
	int fd;

	if (a->name)
		fd = openat(a->fd, a->name, flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
	else
		fd = open(proc_path(a, buf), flags | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 && errno == EPERM && (flags & O_NOATIME)) /* not the owner */
		return open_once(a, flags & ~O_NOATIME);
	return fd < 0 ? -errno : fd;
}

int at_chmod(const struct at *a, mode_t mode)
{
	char buf[PROC_PATH];
	int r;

	if (a->name)
		r = fchmodat(a->fd, a->name, mode, 0);
	else
		r = chmod(proc_path(a, buf), mode);
	return r < 0 ? -errno : 0;
}

int at_chown(const struct at *a, uid_t uid, gid_t gid)
{
	int flags = a->name ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH;

	return fchownat(a->fd, a->name ? a->name : "", uid, gid, flags) < 0 ? -errno : 0;
}

int at_utimens(const struct at *a, const struct timespec ts[2])
{
	char buf[PROC_PATH];
	int r;

	if (a->name)
		r = utimensat(a->fd, a->name, ts, AT_SYMLINK_NOFOLLOW);
	else
		r = utimensat(AT_FDCWD, proc_path(a, buf), ts, 0);
	return r < 0 ? -errno : 0;
}

ssize_t at_readlink(const struct at *a, char *buf, size_t size)
{
	ssize_t n = readlinkat(a->fd, a->name ? a->name : "", buf, size);

	return n < 0 ? -errno : n;
}

ssize_t at_getxattr(const struct at *a, const char *name, void *value, size_t size)
{
	char buf[PROC_PATH];
	ssize_t n;

	if (a->opened)
		n = fgetxattr(a->fd, name, value, size);
	else if (a->name)
		n = lgetxattr(proc_path(a, buf), name, value, size);
	else
		n = getxattr(proc_path(a, buf), name, value, size);
	return n < 0 ? -errno : n;
}

ssize_t at_listxattr(const struct at *a, char *list, size_t size)
{
	char buf[PROC_PATH];
	ssize_t n;

	if (a->opened)
		n = flistxattr(a->fd, list, size);
	else if (a->name)
		n = llistxattr(proc_path(a, buf), list, size);
	else
		n = listxattr(proc_path(a, buf), list, size);
	return n < 0 ? -errno : n;
}

int at_setxattr(const struct at *a, const char *name, const void *value, size_t size, int flags)
{
	char buf[PROC_PATH];
	int r;

	if (a->opened)
		r = fsetxattr(a->fd, name, value, size, flags);
	else if (a->name)
		r = lsetxattr(proc_path(a, buf), name, value, size, flags);
	else
		r = setxattr(proc_path(a, buf), name, value, size, flags);
	return r < 0 ? -errno : 0;
}

int at_removexattr(const struct at *a, const char *name)
{
	char buf[PROC_PATH];
	int r;

	if (a->opened)
		r = fremovexattr(a->fd, name);
	else if (a->name)
		r = lremovexattr(proc_path(a, buf), name);
	else
		r = removexattr(proc_path(a, buf), name);
	return r < 0 ? -errno : 0;
}

/* Calls get(size) with growing buffers until the answer fits. */
static ssize_t grow(const struct at *a, const char *name, char **out)
{
	size_t size = 1024;

	for (;;) {
		CLEANUP_FREE char *buf = malloc(size);
		ssize_t n;

		if (!buf)
			return -ENOMEM;
		n = name ? at_getxattr(a, name, buf, size) : at_listxattr(a, buf, size);
		if (n >= 0)
			*out = steal_ptr(&buf);
		if (n != -ERANGE)
			return n;
		if (size > (1u << 20))
			return -E2BIG;
		size *= 4;
	}
}

ssize_t at_listxattr_all(const struct at *a, char **out)
{
	return grow(a, NULL, out);
}

ssize_t at_getxattr_all(const struct at *a, const char *name, char **out)
{
	return grow(a, name, out);
}

/* ---- the record ---- */

bool record_is_xattr(const char *name)
{
	return strcmp(name, RECORD_XATTR_USER) == 0 || strcmp(name, RECORD_XATTR_TRUSTED) == 0;
}

bool xattr_is_hidden(const char *name)
{
	return record_is_xattr(name) || strncmp(name, "trusted.SGI_ACL_", 16) == 0;
}

static const char *record_xattr(const struct mirror *m, uint8_t type)
{
	if (type == TYPE_OF(S_IFREG) || type == TYPE_OF(S_IFDIR))
		return m->user_xattr ? RECORD_XATTR_USER : NULL;
	return m->trusted_xattr ? RECORD_XATTR_TRUSTED : NULL;
}

static int birth(const struct at *a, uint64_t *ino, int64_t *btime)
{
	struct statx sx;
	int flags = a->name ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH;

	if (statx(a->fd, a->name ? a->name : "", flags, STATX_INO | STATX_BTIME, &sx) < 0)
		return -errno;
	*ino = sx.stx_ino;
	*btime = sx.stx_mask & STATX_BTIME ?
		(int64_t)sx.stx_btime.tv_sec * 1000000000 + sx.stx_btime.tv_nsec : 0;
	return 0;
}

static int spilled_load(const struct at *a, struct record *r)
{
	uint64_t ino;
	int64_t btime;
	int err = birth(a, &ino, &btime);

	return err < 0 ? err : spill_load(a->mirror->dotfd, ino, btime, r);
}

int record_load(const struct at *a, uint8_t type, struct record *r)
{
	const char *name = record_xattr(a->mirror, type);
	uint8_t buf[RECORD_SIZE + 1];
	ssize_t n = name ? at_getxattr(a, name, buf, sizeof(buf)) : -ENODATA;
	mode_t mode;
	int err;

	if (n == -EACCES && lend_bits(a, (int)n, &mode) == 0) {
		n = at_getxattr(a, name, buf, sizeof(buf));
		at_chmod(a, mode);
	}
	if (n == -ENODATA || n == -EOPNOTSUPP)
		return spilled_load(a, r);
	if (n == -ERANGE)
		return -EINVAL;
	if (n < 0)
		return (int)n;
	err = record_decode(buf, (size_t)n, r);
	return err < 0 ? err : r->type == type ? 0 : -EINVAL;
}

int record_store(const struct at *a, uint8_t type, const struct record *r)
{
	const char *name = record_xattr(a->mirror, type);
	uint8_t buf[RECORD_SIZE];
	uint64_t ino;
	int64_t btime;
	int err = -EOPNOTSUPP;
	mode_t mode;

	record_encode(r, buf);
	if (name)
		err = at_setxattr(a, name, buf, sizeof(buf), 0);
	if (err == -EACCES && lend_bits(a, err, &mode) == 0) {
		err = at_setxattr(a, name, buf, sizeof(buf), 0);
		at_chmod(a, mode);
	}
	/* An inode without room for it: no error of the disk. */
	if (err != -ENOSPC && err != -EOPNOTSUPP && err != -E2BIG && err != -EPERM)
		return err;
	err = birth(a, &ino, &btime);
	if (err < 0)
		return err;
	if (name)
		at_removexattr(a, name); /* an older one must not win */
	return spill_store(a->mirror->dotfd, ino, btime, r);
}

int record_remove(const struct at *a, uint8_t type)
{
	const char *name = record_xattr(a->mirror, type);
	int err = name ? at_removexattr(a, name) : 0;

	return err == -ENODATA ? 0 : err;
}

/* ---- metadata ---- */

bool xattr_counts(const char *name)
{
	static const char *const prefix[] = { "user.", "trusted.", "security.capability",
					      "system.posix_acl_", NULL };

	if (xattr_is_hidden(name))
		return false;
	for (int i = 0; prefix[i]; i++)
		if (strncmp(name, prefix[i], strlen(prefix[i])) == 0)
			return true;
	return false;
}

static int xattr_sum(const struct at *a, uint64_t *sum)
{
	CLEANUP_FREE char *list = NULL;
	ssize_t len = at_listxattr_all(a, &list);

	if (len == -EOPNOTSUPP)
		return 0;
	if (len < 0)
		return (int)len;
	for (const char *name = list; name < list + len; name += strlen(name) + 1) {
		CLEANUP_FREE char *value = NULL;
		ssize_t n;

		if (!xattr_counts(name))
			continue;
		n = at_getxattr_all(a, name, &value);
		if (n < 0)
			return (int)n;
		*sum += hash_bytes(value, (size_t)n, hash_bytes(name, strlen(name), 1));
	}
	return 0;
}

int metahash(const struct at *a, const struct stat *st, uint32_t *out)
{
	uint32_t basic[3] = { st->st_mode & 07777, st->st_uid, st->st_gid };
	uint64_t sum = 0;
	int r;

	if (S_ISLNK(st->st_mode))
		basic[0] = 0777; /* filesystems differ, and nobody can change it */
	r = xattr_sum(a, &sum);
	if (r < 0)
		return r;
	sum += hash_bytes(basic, sizeof(basic), 2);
	*out = (uint32_t)(sum ^ sum >> 32);
	return 0;
}

static int drop_xattrs(const struct at *to)
{
	CLEANUP_FREE char *list = NULL;
	ssize_t len = at_listxattr_all(to, &list);

	if (len == -EOPNOTSUPP)
		return 0;
	if (len < 0)
		return (int)len;
	for (const char *name = list; name < list + len; name += strlen(name) + 1)
		if (xattr_counts(name)) {
			int r = at_removexattr(to, name);

			if (r < 0 && r != -ENODATA)
				return r;
		}
	return 0;
}

static int copy_xattrs(const struct at *from, const struct at *to)
{
	CLEANUP_FREE char *list = NULL;
	ssize_t len = at_listxattr_all(from, &list);

	if (len == -EOPNOTSUPP)
		return 0;
	if (len < 0)
		return (int)len;
	for (const char *name = list; name < list + len; name += strlen(name) + 1) {
		CLEANUP_FREE char *value = NULL;
		ssize_t n;
		int r;

		if (!xattr_counts(name))
			continue;
		n = at_getxattr_all(from, name, &value);
		if (n < 0)
			return (int)n;
		r = at_setxattr(to, name, value, (size_t)n, 0);
		if (r < 0)
			return r;
	}
	return 0;
}

int meta_copy(const struct at *from, const struct stat *st, const struct at *to)
{
	struct timespec ts[2] = { st->st_atim, st->st_mtim };
	int r = at_chown(to, st->st_uid, st->st_gid);

	if (r == 0)
		r = drop_xattrs(to);
	if (r == 0)
		r = copy_xattrs(from, to);
	if (r == 0 && !S_ISLNK(st->st_mode)) /* after chown, which clears bits */
		r = at_chmod(to, st->st_mode & 07777);
	if (r == 0)
		r = at_utimens(to, ts);
	return r;
}

int64_t node_ctime(struct volume *v, uint32_t node, const struct stat *st)
{
	const struct node *n = tree_node(v, node);
	int64_t own = ts_ns(&st->st_ctim);

	if (n->sealed_at && own >= n->sealed_at && own < n->sealed_at + SEAL_WINDOW_NS)
		return n->shown_ctime;
	return own;
}

/* ---- where a node is ---- */

static void lock_stripe(struct volume *v, uint32_t node, bool exclusive)
{
	if (exclusive)
		pthread_rwlock_wrlock(tree_stripe(v, node));
	else
		pthread_rwlock_rdlock(tree_stripe(v, node));
}

static int loc_pinned(struct volume *v, struct loc *l, bool exclusive)
{
	int found = 0;

	l->parent = 0;
	lock_stripe(v, l->node, exclusive);
	for (int m = 0; m < MAX_MIRRORS; m++)
		l->fd[m] = -ESTALE;
	FOR_EACH_BIT(m, l->mask) {
		int fd = l->node == NODE_ROOT ? v->m[m].rootfd : tree_pin_fd(v, l->node, (int)m);

		l->fd[m] = fd >= 0 ? fd : -ESTALE;
		found += fd >= 0;
	}
	if (found)
		return 0;
	pthread_rwlock_unlock(tree_stripe(v, l->node));
	return -ESTALE;
}

int loc_get(struct volume *v, uint32_t node, uint32_t mask, bool exclusive, struct loc *l)
{
	char again[NAME_MAX_LEN + 1];
	uint32_t parent2;

	l->node = node;
	l->mask = mask;
	for (int tries = 0; tries < 1000; tries++) {
		if (node == NODE_ROOT || !tree_position(v, node, &l->parent, l->name))
			return loc_pinned(v, l, exclusive);
		dirfds_get(v, l->parent, mask, l->fd);
		lock_stripe(v, node, exclusive);
		if (tree_position(v, node, &parent2, again) && parent2 == l->parent &&
		    strcmp(again, l->name) == 0)
			return 0;
		pthread_rwlock_unlock(tree_stripe(v, node));
		dirfds_put(v, l->parent, mask, l->fd);
	}
	return -EAGAIN;
}

void loc_put(struct volume *v, struct loc *l)
{
	pthread_rwlock_unlock(tree_stripe(v, l->node));
	if (l->parent)
		dirfds_put(v, l->parent, l->mask, l->fd);
}

int loc_at(const struct volume *v, const struct loc *l, int m, struct at *a)
{
	*a = (struct at){ .mirror = &v->m[m], .fd = l->fd[m], .name = l->parent ? l->name : NULL };
	return l->fd[m] < 0 ? l->fd[m] : 0;
}
