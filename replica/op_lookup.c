/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The classes "read inode" and "read dir": one mirror answers, the others are
 * glanced at; whatever does not fit is settled by a check and asked again.
 */
#include "replica/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "replica/check.h"
#include "replica/dirfd.h"
#include "replica/recovery.h"
#include "replica/tree.h"

int op_check_name(uint32_t parent, const char *name, bool making)
{
	if (strlen(name) > NAME_MAX_LEN)
		return -ENAMETOOLONG;
	if (parent == NODE_ROOT && strcmp(name, DOT_DIR) == 0)
		return making ? -EPERM : -ENOENT;
	return 0;
}

/* A volume that may not be settled: the copies' sizes may differ, and what
 * can be read is what the check decides on. */
static void fix_size(struct volume *v, uint32_t node, struct stat *st)
{
	struct file *f = S_ISREG(st->st_mode) ? file_get(v, node) : NULL;

	if (!f)
		return;
	if (file_load(v, f) == 0) {
		pthread_rwlock_rdlock(&f->lock);
		st->st_size = (off_t)f->size;
		pthread_rwlock_unlock(&f->lock);
	}
	file_put(v, f);
}

void op_fix_stat(struct volume *v, uint32_t node, struct stat *st)
{
	struct timespec ct = ns_ts(node_ctime(v, node, st));
	struct file *f;

	st->st_ino = tree_node(v, node)->id;
	st->st_ctim = ct;
	if (tree_node(v, node)->type == TYPE_OF(S_IFDIR)) /* whatever a mirror has there */
		return;
	if (v->opt.read_only && recovery_pending(v))
		fix_size(v, node, st);
	f = file_peek(v, node);
	if (!f)
		return;
	if (atomic_load(&f->atime))
		st->st_atim = ns_ts(f->atime);
	file_put(v, f);
}

/* Whether content or attributes may lawfully differ between mirrors now. */
static bool in_flux(struct volume *v, uint32_t node)
{
	bool flux;
	struct file *f;

	if (!node || tree_node(v, node)->type == TYPE_OF(S_IFDIR))
		return false;
	f = file_peek(v, node);
	if (!f)
		return false;
	flux = f->dirty || f->marked;
	file_put(v, f);
	return flux;
}

static bool alike(const struct stat *a, const struct stat *b)
{
	if (a->st_mode != b->st_mode && !S_ISLNK(a->st_mode))
		return false;
	if ((a->st_mode & S_IFMT) != (b->st_mode & S_IFMT) || a->st_uid != b->st_uid ||
	    a->st_gid != b->st_gid)
		return false;
	if (S_ISDIR(a->st_mode))
		return true;
	return a->st_size == b->st_size && ts_ns(&a->st_mtim) == ts_ns(&b->st_mtim);
}

/* What one pass over the mirrors says of a name. */
enum glance { GLANCE_OK, GLANCE_ABSENT, GLANCE_ODD };

/* st[m] is filled in for every member that has the name. */
static enum glance glance(struct volume *v, uint32_t parent, const char *name, bool flux,
			  struct stat st[MAX_MIRRORS])
{
	uint32_t mask = volume_in_sync(v), there = 0, absent = 0;
	int fd[MAX_MIRRORS], first = -1;
	bool same = true;

	dirfds_get(v, parent, mask, fd);
	FOR_EACH_BIT(m, mask) {
		if (fd[m] < 0)
			continue;
		if (fstatat(fd[m], name, &st[m], AT_SYMLINK_NOFOLLOW) < 0) {
			if (errno == ENOENT)
				absent |= 1u << m;
			continue;
		}
		there |= 1u << m;
		if (first < 0)
			first = (int)m;
		same &= flux ? (st[m].st_mode & S_IFMT) == (st[first].st_mode & S_IFMT) :
			alike(&st[first], &st[m]);
	}
	dirfds_put(v, parent, mask, fd);
	if (there == mask && same)
		return GLANCE_OK;
	return absent == mask ? GLANCE_ABSENT : GLANCE_ODD;
}

/* Mode, owner, xattrs and mtime against a sealed record. */
static int meta_check(const struct at *a, const struct stat *st, const struct record *rec)
{
	uint32_t meta;
	int r;

	if (rec->flags & RECORD_OPEN)
		return 0;
	r = metahash(a, st, &meta);
	if (r < 0)
		return r;
	return meta == rec->meta && ts_ns(&st->st_mtim) == rec->mtime ? 0 : -EUCLEAN;
}

/* Record of parent/name on mirror m, found to fit the object there. */
static int fitting_record(struct volume *v, uint32_t parent, const char *name, int m,
			  const struct stat *st, struct record *rec)
{
	int fd = dirfd_get(v, parent, m), r;
	struct at a = { .mirror = &v->m[m], .fd = fd, .name = name };

	if (fd < 0)
		return fd;
	r = record_load(&a, TYPE_OF(st->st_mode), rec);
	if (r == 0)
		r = meta_check(&a, st, rec);
	dirfd_put(v, parent, m, fd);
	return r;
}

/*
 * The node behind a name not met before, by its record. The mirror that will
 * answer for it is chosen by its id, which the record tells: so it may take a
 * second look.
 */
static int enter(struct volume *v, uint32_t parent, const char *name,
		 const struct stat st[MAX_MIRRORS], uint32_t *node)
{
	int m = volume_preferred(v, tree_node(v, parent)->id), own;
	struct record rec;
	uint32_t known;
	int r = fitting_record(v, parent, name, m, &st[m], &rec);

	own = r == 0 ? volume_preferred(v, rec.id) : m;
	if (own != m)
		r = fitting_record(v, parent, name, own, &st[own], &rec);
	if (r < 0)
		return r;
	known = tree_find_id(v, rec.id);
	if (!known && rec.type != TYPE_OF(S_IFDIR) &&
	    (rec.flags & RECORD_OPEN || recovery_file(v, rec.id, rec.gen)))
		return -EUCLEAN; /* of an earlier life: to be settled first */
	r = tree_enter(v, rec.id, rec.type, parent, name, node);
	if (r == 0 && !known && !(rec.flags & RECORD_OPEN))
		tree_set_ctime(v, *node, rec.ctime, rec.sealed_at);
	if (known)
		tree_unref(v, known);
	return r;
}

static int lookup_once(struct volume *v, uint32_t parent, const char *name, struct entry *e)
{
	uint32_t known = tree_find(v, parent, name);
	struct stat st[MAX_MIRRORS];
	enum glance g = glance(v, parent, name, in_flux(v, known), st);
	int r = 0;

	if (g == GLANCE_OK && !known)
		r = enter(v, parent, name, st, &known);
	if (g == GLANCE_OK && r == 0) {
		e->st = st[volume_preferred(v, tree_node(v, known)->id)];
		if (tree_node(v, known)->type == TYPE_OF(e->st.st_mode)) {
			e->node = known;
			e->gen = tree_node(v, known)->gen;
			op_fix_stat(v, known, &e->st);
			return 0;
		}
	}
	if (known)
		tree_unref(v, known);
	return g == GLANCE_ABSENT ? -ENOENT : -EUCLEAN;
}

int op_lookup(struct volume *v, uint32_t parent, const char *name, struct entry *e)
{
	struct dir *d;
	struct check c;
	int r = op_check_name(parent, name, false);

	if (r < 0)
		return r;
	d = dir_get(v, parent);
	if (!d)
		return -ENOMEM;
	r = dir_load(v, d);
	dir_put(v, d);
	if (r < 0)
		return r;
	r = lookup_once(v, parent, name, e);
	if (r != -EUCLEAN)
		return r;
	check_init(&c, v);
	r = check_entry(&c, parent, name, NULL);
	if (r < 0 && r != -EIO)
		return r;
	r = lookup_once(v, parent, name, e);
	if (r == -EUCLEAN) /* as good as it gets: what one mirror says */
		r = op_lookup_any(v, parent, name, e);
	return r;
}

/* The entry as any one mirror has it: what could not be healed is still
 * shown. */
int op_lookup_any(struct volume *v, uint32_t parent, const char *name, struct entry *e)
{
	uint32_t mask = volume_in_sync(v), absent = 0;
	int err = -EIO;

	FOR_EACH_BIT(m, mask) {
		int fd = dirfd_get(v, parent, (int)m);
		struct at a = { .mirror = &v->m[m], .fd = fd, .name = name };
		struct record rec;
		int r;

		if (fd < 0)
			continue;
		r = at_stat(&a, &e->st);
		if (r == 0)
			r = record_load(&a, TYPE_OF(e->st.st_mode), &rec);
		dirfd_put(v, parent, (int)m, fd);
		if (r == 0)
			r = tree_enter(v, rec.id, rec.type, parent, name, &e->node);
		if (r == 0) {
			e->gen = tree_node(v, e->node)->gen;
			op_fix_stat(v, e->node, &e->st);
			return 0;
		}
		if (r == -ENOENT) /* a remote deletes by that: all must say it */
			absent |= 1u << m;
		else
			err = r == -ENODATA || r == -EINVAL ? -EIO : r;
	}
	return mask && absent == mask ? -ENOENT : err;
}

/* ---- by node ---- */

/* Calls fn on the preferred mirror, on the others if it fails there. What the
 * application asked wrongly (ENODATA, ERANGE) is an answer. */
static ssize_t read_inode(struct volume *v, uint32_t node,
			  ssize_t (*fn)(const struct at *a, void *arg), void *arg)
{
	uint32_t mask = volume_in_sync(v);
	int p = volume_preferred(v, tree_node(v, node)->id);
	struct loc l;
	ssize_t r = loc_get(v, node, mask, false, &l);

	if (r < 0)
		return r;
	for (uint32_t left = mask, m = (uint32_t)p; left; m = left ? (uint32_t)__builtin_ctz(left) : 0) {
		struct at a;

		left &= ~(1u << m);
		r = loc_at(v, &l, (int)m, &a);
		if (r == 0)
			r = fn(&a, arg);
		if (r >= 0 || r == -ENODATA || r == -ERANGE || r == -EOPNOTSUPP || r == -EINVAL)
			break;
	}
	loc_put(v, &l);
	return r;
}

static ssize_t stat_one(const struct at *a, void *arg)
{
	return at_stat(a, arg);
}

int op_getattr(struct volume *v, uint32_t node, struct stat *st)
{
	int r = (int)read_inode(v, node, stat_one, st);

	if (r == -ENOENT) { /* lost on every mirror that was asked: look closer */
		struct check c;

		check_init(&c, v);
		check_node(&c, node);
		r = (int)read_inode(v, node, stat_one, st);
	}
	if (r == 0)
		op_fix_stat(v, node, st);
	return r;
}

struct text {
	char *buf;
	size_t size;
	const char *name;
};

static ssize_t readlink_one(const struct at *a, void *arg)
{
	struct text *t = arg;

	return at_readlink(a, t->buf, t->size);
}

ssize_t op_readlink(struct volume *v, uint32_t node, char *buf, size_t size)
{
	return read_inode(v, node, readlink_one, &(struct text){ buf, size, NULL });
}

static ssize_t getxattr_one(const struct at *a, void *arg)
{
	struct text *t = arg;

	return at_getxattr(a, t->name, t->buf, t->size);
}

ssize_t op_getxattr(struct volume *v, uint32_t node, const char *name, void *buf, size_t size)
{
	if (record_is_xattr(name))
		return -ENODATA;
	return read_inode(v, node, getxattr_one, &(struct text){ buf, size, name });
}

static ssize_t listxattr_one(const struct at *a, void *arg)
{
	struct text *t = arg;

	return at_listxattr_all(a, &t->buf);
}

/* The list without the record's own name, and for the unprivileged without
 * what only root may read. */
static size_t filter(char *list, size_t len, bool trusted)
{
	size_t kept = 0;

	for (size_t at = 0; at < len;) {
		size_t n = strlen(list + at) + 1;

		if (!xattr_is_hidden(list + at) &&
		    (trusted || strncmp(list + at, "trusted.", 8) != 0)) {
			memmove(list + kept, list + at, n);
			kept += n;
		}
		at += n;
	}
	return kept;
}

ssize_t op_listxattr(struct volume *v, uint32_t node, bool trusted, char *buf, size_t size)
{
	struct text t = { NULL, 0, NULL };
	ssize_t n = read_inode(v, node, listxattr_one, &t);

	if (n < 0)
		return n;
	n = (ssize_t)filter(t.buf, (size_t)n, trusted);
	if (size && (size_t)n > size)
		n = -ERANGE;
	else if (size)
		memcpy(buf, t.buf, (size_t)n);
	free(t.buf);
	return n;
}

/* ---- directories ---- */

int op_list(struct volume *v, uint32_t node, struct dir_list *l)
{
	struct dir *d = dir_get(v, node);
	struct check c;
	int r;

	if (!d)
		return -ENOMEM;
	if (tree_node(v, node)->flags & NODE_DELETED) { /* removed, still open: empty */
		dir_put(v, d);
		memset(l, 0, sizeof(*l));
		return 0;
	}
	r = dir_load(v, d);
	check_init(&c, v);
	if (r == 0)
		r = check_names(&c, node);
	if (r == 0 || r == -EIO)
		r = dir_list_read(v, node, volume_preferred(v, d->id), l);
	dir_put(v, d);
	return r;
}

uint64_t op_entry_id(struct volume *v, uint32_t parent, const char *name, uint8_t type)
{
	uint32_t known = tree_find(v, parent, name);
	struct record rec = { 0 };
	uint64_t id = 0;

	if (known) {
		id = tree_node(v, known)->id;
		tree_unref(v, known);
		return id;
	}
	FOR_EACH_BIT(m, volume_in_sync(v)) {
		int fd = dirfd_get(v, parent, (int)m);
		struct at a = { .mirror = &v->m[m], .fd = fd, .name = name };

		if (fd < 0)
			continue;
		if (record_load(&a, type, &rec) == 0)
			id = rec.id;
		dirfd_put(v, parent, (int)m, fd);
		if (id)
			break;
	}
	return id;
}

int op_statfs(struct volume *v, struct statvfs *out)
{
	bool first = true;
	int err = -EIO;

	FOR_EACH_BIT(m, volume_in_sync(v)) {
		struct statvfs sv;
		uint64_t scale;

		if (fstatvfs(v->m[m].rootfd, &sv) < 0) {
			err = -errno;
			continue;
		}
		if (first) {
			*out = sv;
			first = false;
			continue;
		}
		/* In units of the first mirror's fragments. */
		scale = out->f_frsize ? out->f_frsize : 1;
#define LEAST(field, n) do { if ((n) < out->field) out->field = (n); } while (0)
		LEAST(f_blocks, sv.f_blocks * sv.f_frsize / scale);
		LEAST(f_bfree, sv.f_bfree * sv.f_frsize / scale);
		LEAST(f_bavail, sv.f_bavail * sv.f_frsize / scale);
		LEAST(f_files, sv.f_files);
		LEAST(f_ffree, sv.f_ffree);
		LEAST(f_favail, sv.f_favail);
		LEAST(f_namemax, sv.f_namemax);
#undef LEAST
	}
	return first ? err : 0;
}
