/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Putting back a whole object: built aside in `.mirrorfs/tmp`, synced, then
 * renamed into place; what stood there goes into quarantine first.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/check.h"
#include "replica/dirfd.h"
#include "replica/recovery.h"
#include "replica/tree.h"

#define TMP_DIR "tmp"

struct rebuild {
	struct check *c;
	struct dir *d;
	const char *name;
	uint32_t node;
	struct file *f;        /* NULL: directory */
	int m, src;
	int from_fd, to_fd;    /* directories of the object on src and m */
	struct stat st;        /* of the good copy */
	char tmp[64];          /* name below TMP_DIR */
};

/*
 * One of several names of an inode: the others still hold all of it, so
 * nothing is lost with the name. In quarantine it would be a further link to a
 * file in use, which writes go on changing. -ENOTSUP: it is none.
 */
static int drop_link(int fd, const char *name)
{
	struct stat st;

	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode) || st.st_nlink < 2)
		return -ENOTSUP;
	return unlinkat(fd, name, 0) < 0 ? -errno : 0;
}

int banish(struct check *c, struct dir *d, const char *name, int m, enum finding_kind kind,
	   const char *why)
{
	struct quarantine_note note = { .member = volume_path(c->v, m), .reason = why };
	char path[4096];
	bool link;
	int fd, r;

	tree_path_of(c->v, d->node, name, path, sizeof(path));
	note.path = path;
	if (c->dry_run) {
		check_report(c, kind, path, 0, 0, m, -1, why, "would quarantine");
		return 0;
	}
	fd = dirfd_get(c->v, d->node, m);
	r = fd < 0 ? fd : drop_link(fd, name);
	link = r == 0;
	if (r == -ENOTSUP)
		r = volume_quarantine_move(c->v, m, &note, fd, name);
	if (fd >= 0)
		dirfd_put(c->v, d->node, m, fd);
	if (r == -ENOENT)
		return 0;
	check_report(c, kind, path, 0, 0, m, -1, why,
		     r < 0 ? "repair failed" : link ? "repaired" : "quarantined");
	return r;
}

static int tmp_fd(const struct rebuild *b)
{
	int dot = b->c->v->m[b->m].dotfd, fd;

	if (mkdirat(dot, TMP_DIR, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(dot, TMP_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Verified leaves from the sources into fd; runs of zeros stay holes. */
static int copy_content(struct rebuild *b, int fd)
{
	struct check sub = *b->c;
	uint64_t n = leaves_of(b->f->size);
	CLEANUP_FREE uint8_t *buf = malloc(256 * LEAF_SIZE);

	if (!buf)
		return -ENOMEM;
	sub.mask = b->c->sources & ~(1u << b->m);
	if (ftruncate(fd, (off_t)b->f->size) < 0)
		return -errno;
	for (uint64_t first = 0; first < n; first += 256) {
		unsigned part = n - first < 256 ? (unsigned)(n - first) : 256;
		int r = check_window(&sub, b->f, first, part, NULL, buf);

		if (r < 0)
			return r;
		for (unsigned i = 0; r == 0 && i < part; i++) {
			uint64_t off = (first + i) << LEAF_SHIFT;
			size_t len = b->f->size - off < LEAF_SIZE ?
				(size_t)(b->f->size - off) : LEAF_SIZE;
			const uint8_t *leaf = buf + ((size_t)i << LEAF_SHIFT);

			if (!hash_is_zero(leaf, len))
				r = io_pwrite_full(fd, leaf, len, (off_t)off, NULL);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int make_file(struct rebuild *b, int tmp)
{
	CLEANUP_CLOSE int fd = openat(tmp, b->tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	uint32_t bad = 0;
	int r;

	if (fd < 0)
		return -errno;
	r = copy_content(b, fd);
	if (r < 0)
		return r;
	if (b->f->large && b->f->size > SMALL_MAX) {
		r = leaves_load(b->c->v, b->f, 0, leaves_of(b->f->size));
		if (r == 0)
			leaves_store(b->c->v, b->f, 1u << b->m, b->f->rec.gen + b->f->marked, true,
				     &bad);
	}
	return r < 0 ? r : bad ? -EIO : fsync(fd) < 0 ? -errno : 0;
}

static int make_link(struct rebuild *b, int tmp)
{
	struct at from = { .mirror = &b->c->v->m[b->src], .fd = b->from_fd, .name = b->name };
	char target[4097];
	ssize_t n = at_readlink(&from, target, sizeof(target) - 1);

	if (n < 0)
		return (int)n;
	target[n] = '\0';
	return symlinkat(target, tmp, b->tmp) < 0 ? -errno : 0;
}

static int make_object(struct rebuild *b, int tmp)
{
	switch (b->st.st_mode & S_IFMT) {
	case S_IFREG:
		return make_file(b, tmp);
	case S_IFLNK:
		return make_link(b, tmp);
	case S_IFDIR:
		return mkdirat(tmp, b->tmp, 0700) < 0 ? -errno : 0;
	default:
		return mknodat(tmp, b->tmp, (b->st.st_mode & S_IFMT) | 0600, b->st.st_rdev) < 0 ?
			-errno : 0;
	}
}

/* Another name of the same file on this mirror: one inode, not a copy. */
static int link_sibling(struct rebuild *b)
{
	char name[NAME_MAX_LEN + 1];
	uint32_t parent;

	for (unsigned k = 0; tree_position_at(b->c->v, b->node, k, &parent, name); k++) {
		int fd, r = -ENOENT;
		struct record rec;
		struct stat st;

		if (parent == b->d->node && strcmp(name, b->name) == 0)
			continue;
		fd = dirfd_get(b->c->v, parent, b->m);
		if (fd >= 0) {
			struct at a = { .mirror = &b->c->v->m[b->m], .fd = fd, .name = name };

			if (at_stat(&a, &st) == 0 &&
			    record_load(&a, TYPE_OF(st.st_mode), &rec) == 0 &&
			    rec.id == tree_node(b->c->v, b->node)->id)
				r = linkat(fd, name, b->to_fd, b->name, 0) < 0 ? -errno : 0;
			dirfd_put(b->c->v, parent, b->m, fd);
		}
		if (r == 0)
			return 0;
	}
	return -ENOENT;
}

static int finish(struct rebuild *b, int tmp)
{
	struct at from = { .mirror = &b->c->v->m[b->src], .fd = b->from_fd, .name = b->name };
	struct at to = { .mirror = &b->c->v->m[b->m], .fd = tmp, .name = b->tmp };
	struct record rec;
	int r = meta_copy(&from, &b->st, &to);

	if (r == 0 && b->f)
		rec = b->f->rec;
	else if (r == 0)
		r = record_load(&from, TYPE_OF(b->st.st_mode), &rec);
	if (r == 0 || r == -ENODATA)
		r = r < 0 ? 0 : record_store(&to, TYPE_OF(b->st.st_mode), &rec);
	if (r == 0)
		r = io_fsync_dir(tmp);
	if (r == 0 && renameat(tmp, b->tmp, b->to_fd, b->name) < 0)
		r = -errno;
	return r;
}

static int rebuild_aside(struct rebuild *b)
{
	int tmp = tmp_fd(b), r;

	if (tmp < 0)
		return tmp;
	snprintf(b->tmp, sizeof(b->tmp), "%016llx",
		 (unsigned long long)tree_node(b->c->v, b->node)->id);
	io_remove_tree(tmp, b->tmp); /* of a repair that was cut short */
	r = make_object(b, tmp);
	if (r == 0)
		r = finish(b, tmp);
	if (r < 0)
		io_remove_tree(tmp, b->tmp);
	close(tmp);
	return r;
}

static int sync_parent(int opath)
{
	int fd = openat(opath, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	r = io_fsync_dir(fd);
	close(fd);
	return r;
}

static int rebuild_here(struct rebuild *b)
{
	struct at from = { .mirror = &b->c->v->m[b->src], .fd = b->from_fd, .name = b->name };
	struct at to = { .mirror = &b->c->v->m[b->m], .fd = b->to_fd, .name = b->name };
	struct stat st;
	int r = at_stat(&from, &b->st);

	if (r < 0)
		return r;
	if (at_stat(&to, &st) == 0) {
		r = banish(b->c, b->d, b->name, b->m, FIND_TYPE, "not the right object");
		if (r < 0)
			return r;
	}
	r = b->f && b->st.st_nlink > 1 ? link_sibling(b) : -ENOENT;
	if (r < 0) {
		if (b->st.st_nlink > 1 && recovery_pending(b->c->v))
			atomic_store(&b->c->v->recovery->unlinked, true);
		r = rebuild_aside(b);
	}
	return r < 0 ? r : sync_parent(b->to_fd);
}

int rebuild_object(struct check *c, struct dir *d, const char *name, uint32_t node,
		   struct file *f, int m, int src)
{
	struct rebuild b = { .c = c, .d = d, .name = name, .node = node, .f = f, .m = m,
			     .src = src };
	char path[4096];
	int r;

	tree_path_of(c->v, d->node, name, path, sizeof(path));
	if (c->dry_run) {
		check_report(c, FIND_MISSING, path, 0, 0, m, src, "missing", "would repair");
		return 0;
	}
	if (f)
		file_close_fd(f, m);
	else
		dirfd_drop(c->v, node);
	b.from_fd = dirfd_get(c->v, d->node, src);
	b.to_fd = dirfd_get(c->v, d->node, m);
	r = b.from_fd < 0 ? b.from_fd : b.to_fd < 0 ? b.to_fd : rebuild_here(&b);
	if (b.from_fd >= 0)
		dirfd_put(c->v, d->node, src, b.from_fd);
	if (b.to_fd >= 0)
		dirfd_put(c->v, d->node, m, b.to_fd);
	level_dir_times(c, d, 1u << src);
	check_report(c, FIND_MISSING, path, 0, 0, m, src, r < 0 ? strerror(-r) : "missing",
		     r < 0 ? "repair failed" : "repaired");
	return r;
}
