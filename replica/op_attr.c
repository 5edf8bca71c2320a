/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The class "write inode" for attributes: mark the record OPEN, the change on
 * every in-sync mirror under the exclusive position lock (so that two changes
 * reach all mirrors in one order), verdict, seal later.
 */
#include "replica/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/blame.h"
#include "replica/dirfd.h"
#include "replica/fan.h"
#include "replica/intent.h"
#include "replica/journal.h"
#include "replica/resync.h"
#include "replica/seal.h"
#include "replica/tree.h"

bool op_is_limit(int e)
{
	static const int limits[] = { ENAMETOOLONG, EILSEQ, EOPNOTSUPP, EMLINK, EINVAL, E2BIG,
				      ERANGE, EOVERFLOW };

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		if (e == limits[i])
			return true;
	return false;
}

/* One change of attributes. */
struct attr_change {
	int (*run)(const struct at *a, const struct attr_change *c);
	const char *what;
	const struct stat *st;      /* setattr */
	unsigned want;
	struct timespec ts[2];
	const char *name;           /* xattr */
	const void *value;
	size_t size;
	int flags;
	bool kill_sgid;
};

/*
 * An xattr that one filesystem has no room for (its inode's, not the disk's)
 * is refused on all: the others get back the value which that one still has.
 */
static void undo_setxattr(struct volume *v, const struct loc *l, uint32_t asked,
			  const struct attr_change *c, int *result)
{
	int err = 0, from = -1;
	struct at a;
	char *old = NULL;
	ssize_t n;

	FOR_EACH_BIT(m, asked)
		if (result[m] == -ENOSPC || op_is_limit(-result[m])) {
			err = result[m];
			from = (int)m;
		}
	if (!err || loc_at(v, l, from, &a) < 0)
		return;
	n = at_getxattr_all(&a, c->name, &old);
	FOR_EACH_BIT(m, asked) {
		if (result[m] == 0 && loc_at(v, l, (int)m, &a) == 0) {
			if (n >= 0)
				at_setxattr(&a, c->name, old, (size_t)n, 0);
			else
				at_removexattr(&a, c->name);
		}
		result[m] = err;
	}
	free(old);
}

static int run_setxattr(const struct at *a, const struct attr_change *c);
static int run_removexattr(const struct at *a, const struct attr_change *c);

/* Some filesystems mind the removal of an ACL that is not there. */
static void excuse_absent(uint32_t asked, int *result)
{
	bool any = false;

	FOR_EACH_BIT(m, asked)
		any |= result[m] == 0;
	FOR_EACH_BIT(m, any ? asked : 0)
		if (result[m] == -ENODATA)
			result[m] = 0;
}

/* The mark moved the ctime, but the change was refused: the ctime to show is
 * still the one before. */
static void keep_ctime(struct volume *v, uint32_t node, const struct stat *before, int64_t since)
{
	tree_set_ctime(v, node, ts_ns(&before->st_ctim), since);
}

static int run_everywhere(struct volume *v, uint32_t node, const struct attr_change *c)
{
	uint32_t mask = volume_in_sync(v), asked = 0;
	int result[MAX_MIRRORS] = { 0 };
	struct loc l;
	int r = loc_get(v, node, mask, true, &l);

	if (r < 0)
		return r;
	FOR_EACH_BIT(m, mask) {
		struct at a;

		/* An unlinked object that a returned mirror never had. */
		if (!l.parent && l.fd[m] == -ESTALE)
			continue;
		asked |= 1u << m;
		r = loc_at(v, &l, (int)m, &a);
		result[m] = r < 0 ? r : c->run(&a, c);
	}
	if (c->run == run_removexattr)
		excuse_absent(asked, result);
	if (c->run == run_setxattr)
		undo_setxattr(v, &l, asked, c, result);
	loc_put(v, &l);
	return blame(v, VERDICT_CHANGE, asked, result, c->what, node, NULL);
}

static int change_dir(struct volume *v, uint32_t node, const struct attr_change *c)
{
	struct dir *d = dir_get(v, node);
	int r;

	if (!d)
		return -ENOMEM;
	r = dir_load(v, d);
	if (r == 0) {
		int64_t since = clock_ns();
		struct stat before;
		bool fresh;

		pthread_mutex_lock(&d->lock);
		fresh = !d->marked && op_getattr(v, node, &before) == 0;
		r = dir_mark(v, d);
		if (r == 0)
			r = run_everywhere(v, node, c);
		if (r < 0 && fresh)
			keep_ctime(v, node, &before, since);
		dir_changed(v, d);
		pthread_mutex_unlock(&d->lock);
	}
	dir_put(v, d);
	return r;
}

static int change_file(struct volume *v, uint32_t node, const struct attr_change *c)
{
	struct file *f = file_get(v, node);
	int r;

	if (!f)
		return -ENOMEM;
	r = file_load(v, f);
	if (r == 0) {
		int64_t since = clock_ns();
		struct stat before;
		bool fresh;

		pthread_rwlock_wrlock(&f->lock);
		f->plain_mode = false;
		fresh = !f->marked && op_getattr(v, node, &before) == 0;
		r = file_mark(v, f);
		/* Unlike mode or size, nobody would see at a glance that the
		 * mirrors differ: so it is noted durably. */
		if (r == 0 && c->name && f->rec.gen)
			r = intent_mark(v, f, true);
		if (r == 0)
			r = run_everywhere(v, node, c);
		if (r < 0 && fresh)
			keep_ctime(v, node, &before, since);
		if (c->want & ATTR_ATIME)
			f->atime = 0;
		file_changed(v, f);
		pthread_rwlock_unlock(&f->lock);
	}
	file_put(v, f);
	return r;
}

static int change_attr(struct volume *v, uint32_t node, const struct attr_change *c)
{
	int r;

	seal_make_room(v);
	pthread_rwlock_rdlock(&v->gate);
	if (tree_node(v, node)->type == TYPE_OF(S_IFDIR))
		r = change_dir(v, node, c);
	else
		r = change_file(v, node, c);
	resync_touched(v, node);
	pthread_rwlock_unlock(&v->gate);
	return r;
}

/* ---- setattr ---- */

static int run_setattr(const struct at *a, const struct attr_change *c)
{
	int r = 0;

	if (c->want & (ATTR_UID | ATTR_GID))
		r = at_chown(a, c->want & ATTR_UID ? c->st->st_uid : (uid_t)-1,
			     c->want & ATTR_GID ? c->st->st_gid : (gid_t)-1);
	if (r == 0 && c->want & ATTR_MODE)
		r = at_chmod(a, c->st->st_mode & 07777);
	if (r == 0 && c->want & (ATTR_ATIME | ATTR_MTIME))
		r = at_utimens(a, c->ts);
	return r;
}

/* One instant for all mirrors. */
static struct timespec time_for(const struct timespec *ts, bool wanted)
{
	struct timespec now;

	if (!wanted)
		return (struct timespec){ .tv_nsec = UTIME_OMIT };
	if (ts->tv_nsec != UTIME_NOW)
		return *ts;
	clock_gettime(CLOCK_REALTIME, &now);
	return now;
}

static int set_size(struct volume *v, uint32_t node, uint64_t size,
		    const struct killer *kill, struct io_space *s)
{
	uint8_t type = tree_node(v, node)->type;
	struct file *f;
	int r;

	if (type != TYPE_OF(S_IFREG)) /* a directory's state is no struct file */
		return type == TYPE_OF(S_IFDIR) ? -EISDIR : -EINVAL;
	f = file_get(v, node);
	if (!f)
		return -ENOMEM;
	r = file_truncate(v, f, s, size);
	if (r == 0 && kill)
		r = file_kill_privileges(v, f, kill);
	file_put(v, f);
	return r;
}

int op_setattr(struct volume *v, uint32_t node, const struct stat *in, unsigned want,
	       const struct killer *kill, struct io_space *s, struct stat *out)
{
	struct attr_change c = { .run = run_setattr, .what = "change of attributes", .st = in,
				 .want = want & ~ATTR_SIZE };
	int r = 0;

	if (v->opt.read_only)
		return -EROFS;
	if (want & ATTR_SIZE)
		r = set_size(v, node, (uint64_t)in->st_size, kill, s);
	if (r == 0 && c.want) {
		c.ts[0] = time_for(&in->st_atim, want & ATTR_ATIME);
		c.ts[1] = time_for(&in->st_mtim, want & ATTR_MTIME);
		r = change_attr(v, node, &c);
	}
	return r < 0 ? r : op_getattr(v, node, out);
}

/* ---- xattrs ---- */

static int run_setxattr(const struct at *a, const struct attr_change *c)
{
	int r = at_setxattr(a, c->name, c->value, c->size, c->flags);
	struct stat st;

	if (r == 0 && c->kill_sgid && at_stat(a, &st) == 0 && st.st_mode & S_ISGID)
		r = at_chmod(a, st.st_mode & 07777 & ~(mode_t)S_ISGID);
	return r;
}

static int run_removexattr(const struct at *a, const struct attr_change *c)
{
	return at_removexattr(a, c->name);
}

int op_setxattr(struct volume *v, uint32_t node, const char *name, const void *value,
		size_t size, int flags, bool kill_sgid)
{
	struct attr_change c = { .run = run_setxattr, .what = "setxattr", .name = name,
				 .value = value, .size = size, .flags = flags,
				 .kill_sgid = kill_sgid };

	if (record_is_xattr(name))
		return -EPERM;
	return v->opt.read_only ? -EROFS : change_attr(v, node, &c);
}

int op_removexattr(struct volume *v, uint32_t node, const char *name)
{
	struct attr_change c = { .run = run_removexattr, .what = "removexattr", .name = name };

	if (record_is_xattr(name))
		return -ENODATA;
	return v->opt.read_only ? -EROFS : change_attr(v, node, &c);
}

/* ---- atime ---- */

#define DAY_NS (24ll * 3600 * 1000000000)

void op_accessed(struct volume *v, struct file *f)
{
	int64_t now = clock_ns(), at;
	struct stat st;

	if (v->opt.noatime || v->opt.read_only || op_getattr(v, f->node, &st) < 0)
		return;
	at = ts_ns(&st.st_atim);
	if (!v->opt.strictatime && at > ts_ns(&st.st_mtim) && at > ts_ns(&st.st_ctim) &&
	    now - at < DAY_NS)
		return;
	if (file_load(v, f) < 0)
		return;
	pthread_rwlock_wrlock(&f->lock);
	f->atime = now;
	file_changed(v, f);
	pthread_rwlock_unlock(&f->lock);
}

/* ---- syncs ---- */

struct dir_sync {
	struct volume *v;
	uint32_t node;
	bool data;
	uint64_t lsn;
};

static int sync_dir_on(int m, void *arg)
{
	struct dir_sync *s = arg;
	int dfd, fd, r = 0;

	if (m >= MAX_MIRRORS)
		return journal_flush_on(s->v, m - MAX_MIRRORS, s->lsn);
	dfd = dirfd_get(s->v, s->node, m);
	if (dfd < 0)
		return dfd == -ESTALE ? 0 : dfd;
	fd = openat(dfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		r = errno == ENOENT ? 0 : -errno; /* removed, still open */
	else if ((s->data ? fdatasync(fd) : fsync(fd)) < 0)
		r = -errno;
	if (fd >= 0)
		close(fd);
	dirfd_put(s->v, s->node, m, dfd);
	return r;
}

static int sync_root_on(int m, void *arg)
{
	struct volume *v = arg;

	return syncfs(v->m[m].rootfd) < 0 ? -errno : 0;
}

int op_fsyncdir(struct volume *v, uint32_t node, bool data)
{
	struct dir_sync s = { v, node, data, atomic_load(&v->noted) };
	uint32_t mask = volume_in_sync(v);
	int result[2 * MAX_MIRRORS] = { 0 };

	fan_run(v->opt.read_only ? mask : mask | mask << MAX_MIRRORS, sync_dir_on, &s, result);
	FOR_EACH_BIT(m, mask)
		if (result[m] == 0)
			result[m] = result[m + MAX_MIRRORS];
	return blame(v, VERDICT_SYNC, mask, result, "fsync of a directory", node, NULL);
}

int op_syncfs(struct volume *v)
{
	uint32_t mask = volume_in_sync(v);
	int result[MAX_MIRRORS] = { 0 }, r;
	uint64_t lsn;

	/* No change is half way between its note and its write. */
	pthread_rwlock_wrlock(&v->gate);
	lsn = journal_head(v);
	pthread_rwlock_unlock(&v->gate);
	fan_run(mask, sync_root_on, v, result);
	r = blame(v, VERDICT_SYNC, mask, result, "syncfs", NODE_ROOT, NULL);
	if (r == 0 && !v->opt.read_only)
		intent_commit_all(v, lsn);
	return r;
}
