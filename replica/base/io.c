/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whole reads and writes, durable replacement of small files, removal of
 * trees. No state and no locks. Two callers replacing the same name at the
 * same time would share its ".name.new": the owner of the name keeps them
 * apart.
 */
#include "replica/base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"

#define READ_FIRST 4096

ssize_t io_pread_full(int fd, void *buf, size_t len, off_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, off + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int io_pwrite_full(int fd, const void *buf, size_t len, off_t off, size_t *done)
{
	size_t at = 0;
	int ret = 0;

	while (at < len) {
		ssize_t n = pwrite(fd, (const char *)buf + at, len - at, off + (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			ret = n < 0 ? -errno : -EIO;
			break;
		}
		at += (size_t)n;
	}
	if (done)
		*done = at;
	return ret;
}

/* Reads to the end of file, whatever fstat says of the size (it may grow, and
 * is 0 in /proc). One byte more than max is asked for, to see the excess. */
static int slurp(int fd, size_t max, char **out, size_t *len)
{
	CLEANUP_FREE char *buf = NULL;
	size_t cap = 0, at = 0;

	for (;;) {
		char *bigger;
		ssize_t n;

		cap = cap ? cap * 2 : READ_FIRST;
		if (cap > max + 1)
			cap = max + 1;
		bigger = realloc(buf, cap + 1);
		if (!bigger)
			return -ENOMEM;
		buf = bigger;
		n = io_pread_full(fd, buf + at, cap - at, (off_t)at);
		if (n < 0)
			return (int)n;
		at += (size_t)n;
		if (at > max)
			return -EFBIG;
		if (at < cap)
			break;
	}
	buf[at] = '\0';
	*out = steal_ptr(&buf);
	*len = at;
	return 0;
}

int io_read_file(int dirfd, const char *name, size_t max, char **out, size_t *len)
{
	CLEANUP_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (max > SSIZE_MAX - 2)
		max = SSIZE_MAX - 2;
	return slurp(fd, max, out, len);
}

static int fsync_retry(int fd)
{
	while (fsync(fd) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int io_fsync_dir(int dirfd)
{
	int ret = fsync_retry(dirfd);

	/* a filesystem that cannot sync directories has nothing to sync */
	return ret == -EINVAL ? 0 : ret;
}

static int write_new(int dirfd, const char *tmp, const void *buf, size_t len, mode_t mode)
{
	CLEANUP_CLOSE int fd = -1;
	int ret;

	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	ret = io_pwrite_full(fd, buf, len, 0, NULL);
	if (ret)
		return ret;
	if (fchmod(fd, mode) < 0) /* past the umask */
		return -errno;
	ret = fsync_retry(fd);
	if (ret)
		return ret;
	if (close(steal_fd(&fd)) < 0 && errno != EINTR) /* NFS reports here */
		return -errno;
	return 0;
}

static int replace_in(int dirfd, const char *base, const void *buf, size_t len, mode_t mode)
{
	char tmp[NAME_MAX + 8];
	int ret;

	if (strlen(base) > NAME_MAX)
		return -ENAMETOOLONG;
	snprintf(tmp, sizeof(tmp), ".%s.new", base);
	ret = write_new(dirfd, tmp, buf, len, mode);
	if (!ret && renameat(dirfd, tmp, dirfd, base) < 0)
		ret = -errno;
	if (ret) {
		unlinkat(dirfd, tmp, 0); /* best effort: the next one truncates it */
		return ret;
	}
	return io_fsync_dir(dirfd);
}

int io_replace_file(int dirfd, const char *name, const void *buf, size_t len, mode_t mode)
{
	const char *slash = strrchr(name, '/');
	CLEANUP_FREE char *parent = NULL;
	CLEANUP_CLOSE int fd = -1;

	/* dirfd itself is opened anew: it may be AT_FDCWD or O_PATH */
	parent = slash ? strndup(name, slash == name ? 1 : (size_t)(slash - name)) : strdup(".");
	if (!parent)
		return -ENOMEM;
	fd = openat(dirfd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return replace_in(fd, slash ? slash + 1 : name, buf, len, mode);
}

int io_mkdirs(int dirfd, const char *path)
{
	CLEANUP_FREE char *copy = strdup(path);
	struct stat st;
	char *p;

	if (!copy)
		return -ENOMEM;
	for (p = copy; *p;) {
		char kept;

		p += strspn(p, "/");
		p += strcspn(p, "/");
		kept = *p;
		*p = '\0';
		if (mkdirat(dirfd, copy, 0700) < 0 && errno != EEXIST)
			return -errno;
		*p = kept;
	}
	if (fstatat(dirfd, path, &st, 0) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

/*
 * Removal of a tree of any depth with two descriptors and no recursion: what
 * cannot be removed at once from a folder of the top is moved up into the
 * top, where a later entry or pass comes by it. A name in the way there is
 * doomed as well, so a clash only means to try the next number.
 */
struct removal {
	int topfd;
	uint64_t lifted;   /* numbers used for names in the top */
	uint64_t progress; /* removed or lifted */
};

static DIR *open_dir(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0) {
		int saved = errno;

		close(fd);
		errno = saved;
	}
	return d;
}

/* Returns 1 if the name was a directory with something in it. */
static int remove_one(int at, const char *name)
{
	if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (unlinkat(at, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if (errno == ENOTDIR)
		return -EPERM; /* no directory: it was unlink that was refused */
	return errno == ENOTEMPTY || errno == EEXIST ? 1 : -errno;
}

static int lift(struct removal *r, int at, const char *name)
{
	char up[32];

	for (;;) {
		snprintf(up, sizeof(up), "removed-%llu", (unsigned long long)r->lifted++);
		if (renameat(at, name, r->topfd, up) == 0)
			return 0;
		if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR)
			return -errno;
	}
}

/* Calls one() for each entry, "." and ".." left out; stops at an error. */
static int each_entry(DIR *d, int (*one)(struct removal *, int, const char *),
		      struct removal *r)
{
	struct dirent *e;
	int ret = 0;

	while (!ret && (errno = 0, e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			ret = one(r, dirfd(d), e->d_name);
	if (!ret && errno)
		ret = -errno;
	return ret;
}

static int clear_second(struct removal *r, int at, const char *name)
{
	int ret = remove_one(at, name);

	if (ret == 1)
		ret = lift(r, at, name);
	if (!ret)
		r->progress++;
	return ret;
}

static int clear_first(struct removal *r, int at, const char *name)
{
	int ret = remove_one(at, name);
	DIR *d;

	if (ret == 1) {
		d = open_dir(at, name);
		if (!d)
			return errno == ENOENT ? 0 : -errno;
		ret = each_entry(d, clear_second, r);
		closedir(d);
		if (ret)
			return ret;
		/* not empty again: the next pass sees it */
		ret = remove_one(at, name);
		if (ret == 1)
			return 0;
	}
	if (!ret)
		r->progress++;
	return ret;
}

int io_remove_tree(int at, const char *name)
{
	struct removal r = { .topfd = -1 };
	int ret = remove_one(at, name);

	while (ret == 1) {
		uint64_t before = r.progress;
		DIR *top = open_dir(at, name);

		if (!top)
			return errno == ENOENT ? 0 : -errno;
		r.topfd = dirfd(top);
		ret = each_entry(top, clear_first, &r);
		closedir(top);
		if (ret)
			return ret;
		ret = remove_one(at, name);
		if (ret == 1 && r.progress == before)
			return -ENOTEMPTY;
	}
	return ret;
}

void io_random(void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = getrandom((char *)buf + done, len - done, 0);

		if (n < 0 && errno != EINTR)
			abort();
		if (n > 0)
			done += (size_t)n;
	}
}
