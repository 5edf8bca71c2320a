// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The operations of the namespace exerciser. Each does one system call (or
 * one small usual sequence) on paths relative to the working directory and
 * returns 0 or the errno; all choices were made before, so that a second run
 * on the other side is the same operation. Device nodes and FIFOs are never
 * opened: they answer for the machine, not for the filesystem.
 */
#include "names.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>

#define NOT_OPENED 240 /* an errno nobody uses: a device or FIFO */

static int result(int r)
{
	return r < 0 ? errno : 0;
}

static uint64_t mix(uint64_t h, const void *data, size_t n)
{
	const unsigned char *p = data;

	while (n--)
		h = (h ^ *p++) * 0x100000001b3ull;
	return h;
}

static bool is_special(const char *path)
{
	struct stat st;

	return !stat(path, &st) && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) &&
	       !S_ISSOCK(st.st_mode);
}

/* Opens, or returns minus the errno. */
static int open_plain(const char *path, int flags, mode_t mode)
{
	int fd;

	if (is_special(path))
		return -NOT_OPENED;
	fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, mode);
	return fd < 0 ? -errno : fd;
}

static int open_close(const struct op *o, int flags)
{
	int fd = open_plain(o->a, flags, o->mode);

	if (fd < 0)
		return -fd;
	return result(close(fd));
}

static int run_creat(const struct op *o, uint64_t *digest)
{
	(void)digest;
	return open_close(o, O_WRONLY | O_CREAT);
}

static int run_creat_excl(const struct op *o, uint64_t *digest)
{
	(void)digest;
	return open_close(o, O_RDWR | O_CREAT | O_EXCL);
}

static int run_open_trunc(const struct op *o, uint64_t *digest)
{
	(void)digest;
	return open_close(o, O_WRONLY | O_TRUNC | (o->flags & 1 ? O_CREAT : 0));
}

static int run_open_dir(const struct op *o, uint64_t *digest)
{
	(void)digest;
	return open_close(o, O_RDONLY | O_DIRECTORY | (o->flags & 1 ? O_NOFOLLOW : 0));
}

static int run_write(const struct op *o, uint64_t *digest)
{
	int fd = open_plain(o->a, O_WRONLY | (o->flags & 1 ? O_APPEND : 0), 0);
	size_t n = (size_t)o->size < VALUE_LEN ? (size_t)o->size : VALUE_LEN;
	int err;

	(void)digest;
	if (fd < 0)
		return -fd;
	err = write(fd, o->value, n) == (ssize_t)n ? 0 : errno;
	return close(fd) < 0 ? errno : err;
}

static int run_read(const struct op *o, uint64_t *digest)
{
	static unsigned char buf[1 << 16];
	int fd = open_plain(o->a, O_RDONLY, 0);
	ssize_t n;

	if (fd < 0)
		return -fd;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		*digest = mix(*digest, buf, (size_t)n);
	n = n < 0 ? errno : 0;
	close(fd);
	return (int)n;
}

static int run_truncate(const struct op *o, uint64_t *digest)
{
	off_t size = (off_t)o->size;
	struct stat st;

	(void)digest;
	/* Whether a truncate to the size there is moves the times is each file
	 * system's own affair: ext4 does, xfs and btrfs do not. */
	if (stat(o->a, &st) == 0 && st.st_size == size)
		size++;
	return is_special(o->a) ? NOT_OPENED : result(truncate(o->a, size));
}

static int run_access(const struct op *o, uint64_t *digest)
{
	(void)digest;
	return result(faccessat(AT_FDCWD, o->a, (int)(o->mode & 7), AT_EACCESS));
}

static int run_mkdir(const struct op *o, uint64_t *digest)
{
	(void)digest;
	return result(mkdir(o->a, o->mode));
}

static int run_mknod(const struct op *o, uint64_t *digest)
{
	static const mode_t type[] = { S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK, S_IFREG };
	mode_t mode = (o->mode & 07777) | type[(size_t)o->flags % ARRAY_SIZE(type)];

	(void)digest;
	return result(mknod(o->a, mode, o->dev));
}

/* Targets stay inside the base: no "..", nothing absolute. */
static int run_symlink(const struct op *o, uint64_t *digest)
{
	static const char *const target[] = { "a", "d0/a", ".", "./b", "d1", "missing", "d2/c/d" };

	(void)digest;
	return result(symlink(target[(size_t)o->flags % ARRAY_SIZE(target)], o->a));
}

static int run_symlink_long(const struct op *o, uint64_t *digest)
{
	static const size_t length[] = { 59, 60, 255, 1023, 4095, 4096 };
	size_t n = length[(size_t)o->flags % ARRAY_SIZE(length)];
	char target[4097];

	(void)digest;
	for (size_t i = 0; i < n; i++)
		target[i] = i % 2 ? '/' : 'x';
	target[n] = '\0';
	return result(symlink(target, o->a));
}

static int run_readlink(const struct op *o, uint64_t *digest)
{
	char buf[PATH_LEN];
	ssize_t n = readlink(o->a, buf, sizeof(buf));

	if (n > 0)
		*digest = mix(*digest, buf, (size_t)n);
	return result((int)n);
}

static int run_link(const struct op *o, uint64_t *digest)
{
	int flags = o->flags % 4 == 0 ? AT_SYMLINK_FOLLOW : 0;
	struct stat a, b;

	(void)digest;
	if (linkat(AT_FDCWD, o->a, AT_FDCWD, o->b, flags) < 0)
		return errno;
	if (fstatat(AT_FDCWD, o->a, &a, flags ? 0 : AT_SYMLINK_NOFOLLOW) ||
	    fstatat(AT_FDCWD, o->b, &b, AT_SYMLINK_NOFOLLOW))
		return errno == EACCES ? 0 : errno;
	return a.st_ino == b.st_ino && a.st_nlink == b.st_nlink ? 0 : EBADMSG;
}

static int run_unlink(const struct op *o, uint64_t *digest)
{
	(void)digest;
	return result(unlink(o->a));
}

static int run_rmdir(const struct op *o, uint64_t *digest)
{
	(void)digest;
	return result(rmdir(o->a));
}

static int run_rename(const struct op *o, uint64_t *digest)
{
	(void)digest;
	return result(rename(o->a, o->b));
}

static int run_noreplace(const struct op *o, uint64_t *digest)
{
	(void)digest;
	return result(renameat2(AT_FDCWD, o->a, AT_FDCWD, o->b, RENAME_NOREPLACE));
}

static int run_exchange(const struct op *o, uint64_t *digest)
{
	(void)digest;
	return result(renameat2(AT_FDCWD, o->a, AT_FDCWD, o->b, RENAME_EXCHANGE));
}

static int run_chmod(const struct op *o, uint64_t *digest)
{
	(void)digest;
	return result(chmod(o->a, o->mode));
}

static int run_chown(const struct op *o, uint64_t *digest)
{
	int flags = o->flags & 1 ? AT_SYMLINK_NOFOLLOW : 0;

	(void)digest;
	return result(fchownat(AT_FDCWD, o->a, o->uid, o->gid, flags));
}

static int run_utimens(const struct op *o, uint64_t *digest)
{
	int flags = o->flags & 1 ? AT_SYMLINK_NOFOLLOW : 0;

	(void)digest;
	return result(utimensat(AT_FDCWD, o->a, o->times, flags));
}

static int run_setxattr(const struct op *o, uint64_t *digest)
{
	static const int flags[] = { 0, 0, XATTR_CREATE, XATTR_REPLACE };
	int flag = flags[(size_t)(o->flags >> 1) % ARRAY_SIZE(flags)];

	(void)digest;
	if (o->flags & 1)
		return result(setxattr(o->a, o->xattr, o->value, o->value_len, flag));
	return result(lsetxattr(o->a, o->xattr, o->value, o->value_len, flag));
}

static int run_getxattr(const struct op *o, uint64_t *digest)
{
	char buf[1024];
	ssize_t n = lgetxattr(o->a, o->xattr, buf, o->flags % 8 ? sizeof(buf) : 4);

	if (n > 0)
		*digest = mix(*digest, buf, (size_t)n);
	return result((int)n);
}

/* Order is the filesystem's own; the digest must not depend on it. */
static int run_listxattr(const struct op *o, uint64_t *digest)
{
	char buf[8192];
	ssize_t n = llistxattr(o->a, buf, sizeof(buf)), doubles = 0;

	for (ssize_t i = 0; i < n; i += (ssize_t)strlen(buf + i) + 1) {
		/* as in get_xattrs() */
		if (strncmp(buf + i, "trusted.SGI_ACL_", 16) == 0)
			doubles += (ssize_t)strlen(buf + i) + 1;
		else
			*digest += mix(7, buf + i, strlen(buf + i));
	}
	return result((int)(n - doubles));
}

static int run_removexattr(const struct op *o, uint64_t *digest)
{
	(void)digest;
	return result(lremovexattr(o->a, o->xattr));
}

static const char *acl_name(const struct op *o)
{
	return o->flags & 1 ? "system.posix_acl_access" : "system.posix_acl_default";
}

/* The value was built as an ACL, see names.c. */
static int run_acl_set(const struct op *o, uint64_t *digest)
{
	(void)digest;
	return result(setxattr(o->a, acl_name(o), o->value, o->value_len, 0));
}

static int run_acl_remove(const struct op *o, uint64_t *digest)
{
	(void)digest;
	/* Removing an ACL that is not there: whether that moves the ctime is
	 * each file system's own affair. */
	if (getxattr(o->a, acl_name(o), NULL, 0) < 0 && errno == ENODATA)
		return ENODATA;
	return result(removexattr(o->a, acl_name(o)));
}

static int run_tmpfile(const struct op *o, uint64_t *digest)
{
	int excl = o->flags % 8 == 0 ? O_EXCL : 0;
	int fd = open(o->a, O_TMPFILE | O_RDWR | O_CLOEXEC | excl, o->mode);
	char proc[40];
	int err = 0;

	(void)digest;
	if (fd < 0)
		return errno;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	if (write(fd, o->value, 100) != 100)
		err = errno;
	else if (linkat(AT_FDCWD, proc, AT_FDCWD, o->b, AT_SYMLINK_FOLLOW) < 0)
		err = errno;
	close(fd);
	return err;
}

static int run_list(const struct op *o, uint64_t *digest)
{
	DIR *d = opendir(o->a);
	struct dirent *e;

	if (!d)
		return errno;
	while ((e = readdir(d)))
		*digest += mix(e->d_type, e->d_name, strlen(e->d_name));
	closedir(d);
	return 0;
}

/* Down past PATH_MAX, a file there, and all of it away again. */
static int run_deep(const struct op *o, uint64_t *digest)
{
	char name[251];
	int depth = 0, err = 0;
	struct stat st;

	memset(name, 'p', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (; depth < 18 && !err; depth++)
		if (mkdir(name, o->mode | 0700) < 0 || chdir(name) < 0)
			err = errno;
	if (!err && (mknod("f", S_IFREG | 0640, 0) || stat("f", &st) || unlink("f")))
		err = errno;
	*digest = (uint64_t)depth;
	while (depth-- > 0)
		if (chdir("..") < 0 || (rmdir(name) < 0 && !err))
			return errno;
	return err;
}

/* Modes and owners after a change through an open handle. */
static int run_fchange(const struct op *o, uint64_t *digest)
{
	int fd = open_plain(o->a, O_RDONLY, 0);
	int err = 0;

	(void)digest;
	if (fd < 0)
		return -fd;
	if (o->flags & 1 ? fchmod(fd, o->mode) : fchown(fd, o->uid, o->gid))
		err = errno;
	close(fd);
	return err;
}

const struct op_kind op_kinds[] = {
	{ "creat", run_creat, 10, true, false, false },
	{ "creat_excl", run_creat_excl, 6, true, false, false },
	{ "open_trunc", run_open_trunc, 4, false, false, false },
	{ "open_dir", run_open_dir, 2, false, false, false },
	{ "write", run_write, 8, false, false, false },
	{ "read", run_read, 4, false, false, false },
	{ "truncate", run_truncate, 4, false, false, false },
	{ "access", run_access, 3, false, false, false },
	{ "mkdir", run_mkdir, 9, true, false, false },
	{ "mknod", run_mknod, 5, true, false, false },
	{ "symlink", run_symlink, 5, true, false, false },
	{ "symlink_long", run_symlink_long, 1, true, false, false },
	{ "readlink", run_readlink, 1, false, false, false },
	{ "link", run_link, 8, false, true, false },
	{ "unlink", run_unlink, 14, false, false, false },
	{ "rmdir", run_rmdir, 9, false, false, false },
	{ "rename", run_rename, 12, false, true, false },
	{ "noreplace", run_noreplace, 4, false, true, false },
	{ "exchange", run_exchange, 4, false, true, false },
	{ "chmod", run_chmod, 8, false, false, false },
	{ "chown", run_chown, 8, false, false, false },
	{ "fchange", run_fchange, 3, false, false, false },
	{ "utimens", run_utimens, 6, false, false, true },
	{ "setxattr", run_setxattr, 7, false, false, false },
	{ "getxattr", run_getxattr, 2, false, false, false },
	{ "listxattr", run_listxattr, 2, false, false, false },
	{ "removexattr", run_removexattr, 3, false, false, false },
	{ "acl_set", run_acl_set, 5, false, false, false },
	{ "acl_remove", run_acl_remove, 1, false, false, false },
	{ "tmpfile", run_tmpfile, 3, false, true, false },
	{ "list", run_list, 2, false, false, false },
	{ "deep", run_deep, 1, true, false, false },
};

const size_t op_kinds_nr = ARRAY_SIZE(op_kinds);
