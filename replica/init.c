/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replica/init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/base/log.h"
#include "replica/hash.h"
#include "replica/identity.h"
#include "replica/object.h"
#include "replica/resync.h"
#include "replica/seal.h"
#include "replica/tree.h"
#include "replica/walk.h"

bool init_dir_empty(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct dirent *e;
	bool empty = true;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (empty && (e = readdir(d)))
		empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
			strcmp(e->d_name, "lost+found") == 0;
	closedir(d);
	return empty;
}

static bool inside(const char *outer, const char *inner)
{
	size_t n = strlen(outer);

	return strncmp(outer, inner, n) == 0 && (inner[n] == '/' || n == 1);
}

static int check_pair(const char *a, const char *b, const struct stat *sa, const struct stat *sb)
{
	if (sa->st_dev == sb->st_dev && sa->st_ino == sb->st_ino) {
		log_error("%s and %s are the same directory", a, b);
		return -EINVAL;
	}
	if (inside(a, b) || inside(b, a)) {
		log_error("%s lies inside %s: mirrors must not be nested",
			  inside(a, b) ? b : a, inside(a, b) ? a : b);
		return -EINVAL;
	}
	if (sa->st_dev == sb->st_dev)
		log_warn("%s and %s share a file system: one dead disk takes both", a, b);
	return 0;
}

int init_check_dirs(int n, const char *const *dirs)
{
	char *real[SUPERBLOCK_MAX_MEMBERS] = { NULL };
	struct stat st[SUPERBLOCK_MAX_MEMBERS];
	int r = 0;

	if (n < 1 || n > SUPERBLOCK_MAX_MEMBERS) {
		log_error("%d mirrors given; 1 to %d are possible", n, SUPERBLOCK_MAX_MEMBERS);
		return -EINVAL;
	}
	for (int i = 0; r == 0 && i < n; i++) {
		real[i] = realpath(dirs[i], NULL);
		if (!real[i] || stat(real[i], &st[i]) < 0)
			r = log_err(-errno, "%s", dirs[i]);
		else if (!S_ISDIR(st[i].st_mode))
			r = log_err(-ENOTDIR, "%s", dirs[i]);
		for (int k = 0; r == 0 && k < i; k++)
			r = check_pair(real[k], real[i], &st[k], &st[i]);
	}
	for (int i = 0; i < n; i++)
		free(real[i]);
	return r;
}

/* ---- making the mirrors ---- */

static int has_superblock(const char *dir, struct superblock *sb)
{
	char dot[PATH_MAX];
	int fd, r;

	snprintf(dot, sizeof(dot), "%s/%s", dir, DOT_DIR);
	fd = open(dot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ENOENT : -errno;
	r = superblock_read(fd, sb);
	close(fd);
	return r;
}

/* Members of an adoption that was cut short, all of one volume. */
static bool resumes(int n, const char *const *dirs)
{
	struct superblock first, sb;

	if (has_superblock(dirs[0], &first) < 0 || !first.adopting || (int)first.n_members != n)
		return false;
	for (int i = 1; i < n; i++)
		if (has_superblock(dirs[i], &sb) < 0 ||
		    memcmp(sb.volume_id, first.volume_id, UUID_LEN) != 0)
			return false;
	return true;
}

static int check_empty(const char *dir, bool may_hold, bool adopt)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	struct superblock sb;

	if (fd < 0)
		return log_err(-errno, "%s", dir);
	if (has_superblock(dir, &sb) != -ENOENT)
		r = log_err(-EEXIST, "%s: already a mirror of a volume", dir);
	else if (!may_hold && !init_dir_empty(fd))
		r = log_err(-ENOTEMPTY, "%s%s", dir,
			    adopt ? ": only the first directory may hold files" :
				    ": to make a volume of it, give --adopt and this "
				    "directory first");
	close(fd);
	return r;
}

static int root_record(const struct mirror *m, int rootfd, bool adopt)
{
	struct record r = { .flags = adopt ? RECORD_OPEN : 0, .leaf_shift = LEAF_SHIFT,
			    .type = TYPE_OF(S_IFDIR), .id = ROOT_ID, .gen = 1,
			    .sealed_at = 0 };
	struct at a = { .mirror = m, .fd = rootfd, .opened = true };
	struct stat st;
	int e = at_stat(&a, &st);

	if (e == 0)
		e = metahash(&a, &st, &r.meta);
	r.mtime = r.ctime = ts_ns(&st.st_mtim); /* the same on all mirrors */
	return e < 0 ? e : record_store(&a, TYPE_OF(S_IFDIR), &r);
}

/* All roots get owner, mode and times of the first. */
static int level_root(int root, const struct stat *first)
{
	struct timespec ts[2] = { first->st_atim, first->st_mtim };
	struct stat st;

	if (fstat(root, &st) < 0)
		return -errno;
	if ((st.st_uid != first->st_uid || st.st_gid != first->st_gid) &&
	    fchown(root, first->st_uid, first->st_gid) < 0)
		return -errno;
	if (fchmod(root, first->st_mode & 07777) < 0 || futimens(root, ts) < 0)
		return -errno;
	return 0;
}

static int make_mirror(const char *dir, struct superblock sb, int i, bool adopt,
		       struct stat *first)
{
	CLEANUP_CLOSE int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSE int dot = -1;
	struct mirror m = { .user_xattr = true, .trusted_xattr = true };
	int r;

	if (root < 0 || (i == 0 && fstat(root, first) < 0))
		return log_err(-errno, "%s", dir);
	if (mkdirat(root, DOT_DIR, 0700) < 0)
		return log_err(-errno, "%s/%s", dir, DOT_DIR);
	dot = openat(root, DOT_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dot < 0)
		return log_err(-errno, "%s/%s", dir, DOT_DIR);
	m.dotfd = dot;
	memcpy(sb.mirror_id, sb.members[i].id, UUID_LEN);
	identity_of(root, &sb.fs_id, &sb.dir_ino);
	r = level_root(root, first);
	if (r == 0)
		r = root_record(&m, root, adopt);
	if (r == 0)
		r = superblock_write(dot, &sb);
	if (r == 0)
		r = io_fsync_dir(root);
	return r < 0 ? log_err(r, "%s: cannot make a mirror of it", dir) : 0;
}

static void new_superblock(struct superblock *sb, int n, const char *const *dirs, bool adopt)
{
	memset(sb, 0, sizeof(*sb));
	uuid_new(sb->volume_id);
	superblock_new_epoch(sb);
	sb->n_lineage = 0;
	sb->next_id = FIRST_ID;
	sb->clean = true;
	sb->adopting = adopt;
	sb->n_members = (uint32_t)n;
	for (int i = 0; i < n; i++) {
		struct member *m = &sb->members[i];
		CLEANUP_FREE char *real = realpath(dirs[i], NULL);

		uuid_new(m->id);
		m->state = adopt && i > 0 ? MEMBER_STALE : MEMBER_IN_SYNC;
		snprintf(m->path, sizeof(m->path), "%s", real ? real : dirs[i]);
		if (m->state == MEMBER_STALE)
			snprintf(m->reason, sizeof(m->reason), "not filled yet");
	}
}

/* ---- adoption ---- */

struct adoption {
	const struct init_options *opt;
	struct init_progress p;
};

static int on_walk(const struct scrub_stats *s, const char *path, void *arg)
{
	struct adoption *a = arg;

	a->p = (struct init_progress){ .files = s->files, .dirs = s->dirs, .bytes = s->bytes,
				       .path = path };
	return a->opt->progress ? a->opt->progress(&a->p, a->opt->arg) : 0;
}

/* Every object of the first mirror gets an id and a record; then the others
 * are filled as any stale mirror is. */
static int adopt_tree(int n, const char *const *dirs, const struct init_options *opt)
{
	struct adoption a = { .opt = opt };
	struct scrub_options so = { .progress = on_walk, .arg = &a };
	struct scrub_stats stats = { 0 };
	struct volume_options vo;
	struct volume *v;
	struct check c;
	int r, e;

	volume_options_default(&vo);
	vo.adopting = true;
	vo.background = false;
	r = volume_open(n, dirs, &vo, &v);
	if (r < 0)
		return r;
	check_init(&c, v);
	c.stats = &stats;
	r = walk_tree(&c, &so, NODE_ROOT);
	e = seal_run(v, true);
	r = r < 0 ? r : e;
	if (r == 0)
		r = resync_run(v, &so, &stats);
	if (r == 0) {
		v->sb.adopting = false;
		r = volume_store_superblocks(v, volume_in_sync(v));
	}
	e = volume_close(v);
	r = r < 0 ? r : e;
	if (r < 0 && r != -EINTR)
		log_err(r, "%s: the adoption did not finish; the same command goes on", dirs[0]);
	return r;
}

/* ---- dry run ---- */

static struct init_progress counted;

static int count_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	if (ftw->level == 1 && strcmp(path + ftw->base, DOT_DIR) == 0)
		return FTW_SKIP_SUBTREE;
	if (flag == FTW_D)
		counted.dirs++;
	else
		counted.files++;
	if (flag == FTW_F)
		counted.bytes += (uint64_t)st->st_size;
	return FTW_CONTINUE;
}

static int say_what(int n, const char *const *dirs, const struct init_options *opt)
{
	memset(&counted, 0, sizeof(counted));
	if (opt->adopt && nftw(dirs[0], count_one, 64, FTW_PHYS | FTW_ACTIONRETVAL) < 0)
		return log_err(-errno, "%s", dirs[0]);
	if (opt->adopt)
		printf("would adopt %s: %llu files, %llu directories, %llu bytes\n", dirs[0],
		       (unsigned long long)counted.files,
		       (unsigned long long)(counted.dirs ? counted.dirs - 1 : 0),
		       (unsigned long long)counted.bytes);
	for (int i = 0; i < n; i++)
		printf("would make %s a mirror%s\n", dirs[i],
		       opt->adopt && i > 0 ? " and copy the files into it" : "");
	return 0;
}

int init_volume(int n, const char *const *dirs, const struct init_options *opt)
{
	struct superblock sb;
	struct stat first;
	int r = init_check_dirs(n, dirs);

	if (r < 0)
		return r;
	if (opt->adopt && !opt->dry_run && resumes(n, dirs))
		return adopt_tree(n, dirs, opt);
	for (int i = 0; r == 0 && i < n; i++)
		r = check_empty(dirs[i], opt->adopt && i == 0, opt->adopt);
	if (r < 0)
		return r;
	if (opt->dry_run)
		return say_what(n, dirs, opt);
	new_superblock(&sb, n, dirs, opt->adopt);
	for (int i = 0; r == 0 && i < n; i++)
		r = make_mirror(dirs[i], sb, i, opt->adopt, &first);
	return r == 0 && opt->adopt ? adopt_tree(n, dirs, opt) : r;
}
