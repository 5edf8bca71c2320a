/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A remote to restore from: a volume of one mirror with all there can be in a
 * tree, closed, and stored at a faulty server by way of a layout, as the
 * uploader would. What is restored is compared with that mirror.
 */
#ifndef TESTS_UNIT_RESTORE_H
#define TESTS_UNIT_RESTORE_H

#include <dirent.h>
#include <inttypes.h>
#include <sys/sysmacros.h>

#include "tests/http/spawn.h"
#include "tests/unit/compare.h"
#include "tests/unit/volume.h"

#include "replica/hash.h"
#include "replica/remote/object_name.h"
#include "replica/remote/restore.h"

#define PREFIX "r"
#define BIG 9000001u
#define MANY 2000

struct scene {
	struct bed *b;                /* [0]: the original. [1]: a directory to restore into */
	struct faulty f;
	int objects;                  /* the remote's folder at the server */
	struct remote_def def;
	struct remote_secret secret;
	struct superblock sb;         /* of the original */
	struct restore_options o;
	struct restore_stats st;
	char error[LAYOUT_ERROR_MAX];
	char lines[16384];            /* what lacked */
};

/* ---- the original ---- */

static inline void put_pattern(int fd, const char *name, size_t len, uint64_t seed)
{
	uint8_t *buf = malloc(len + 8);

	assert_non_null(buf);
	fill_pattern(buf, len, seed);
	put_file(fd, name, buf, len);
	free(buf);
}

static inline void put_hole(int fd, const char *name, off_t size, off_t at)
{
	int file = openat(fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);

	assert_true(file >= 0);
	assert_int_equal(ftruncate(file, size), 0);
	assert_int_equal(pwrite(file, "data", 4, at), 4);
	close(file);
}

static inline void set_times(int fd, const char *name, int64_t ns)
{
	struct timespec ts[2] = { ns_ts(ns + 1234567), ns_ts(ns) };

	assert_int_equal(utimensat(fd, name, ts, AT_SYMLINK_NOFOLLOW), 0);
}

static inline void set_xattr(int fd, const char *name, const char *xattr, const char *value)
{
	char path[600];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", fd, name);
	assert_int_equal(lsetxattr(path, xattr, value, strlen(value), 0), 0);
}

/* Owners, devices and what else only root can make. */
static inline void make_rooted(int fd)
{
	/* version 2; user::rw-, user:77:rw-, group::r--, mask::rw-, other::--- */
	static const uint8_t acl[] = {
		2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 6, 0, 77, 0, 0, 0, 4, 0, 4, 0,
		255, 255, 255, 255, 16, 0, 6, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255,
		255,
	};
	char path[64];

	assert_int_equal(mknodat(fd, "a/chr", S_IFCHR | 0620, makedev(1, 3)), 0);
	assert_int_equal(mknodat(fd, "a/blk", S_IFBLK | 0600, makedev(7, 299)), 0);
	assert_int_equal(fchownat(fd, "a/f1", 123, 456, 0), 0);
	assert_int_equal(fchownat(fd, "a/b", 5, 6, 0), 0);
	assert_int_equal(fchownat(fd, "a/sym", 7, 8, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(fchmodat(fd, "a/f64k", 06755, 0), 0);
	set_xattr(fd, "a/f1", "trusted.t", "one");
	set_xattr(fd, "a/sym", "trusted.t", "two");
	snprintf(path, sizeof(path), "/proc/self/fd/%d/a/big", fd);
	assert_int_equal(setxattr(path, "system.posix_acl_access", acl, sizeof(acl), 0), 0);
}

static inline void make_tree(int fd)
{
	static const char *const dirs[] = { "a", "a/b", "a/b/c", "empty", "odd na%me", "many",
					    "deep", "deep/deep" };
	char name[300];

	for (size_t i = 0; i < N_ELEMS(dirs); i++)
		assert_int_equal(mkdirat(fd, dirs[i], 0755), 0);
	put_file(fd, "a/f1", "hello", 5);
	put_file(fd, "a/nothing", "", 0);
	put_pattern(fd, "a/f64k", 65536, 1);
	put_pattern(fd, "a/f64k1", 65537, 2);
	put_pattern(fd, "a/big", BIG, 3);
	put_hole(fd, "a/sparse", 24 << 20, 12345678);
	put_hole(fd, "a/tail", 40000, 0);
	put_file(fd, "odd na%me/#?&+\xc3\xbc", "x", 1);
	put_file(fd, "odd na%me/\xff\xfe\n", "y", 1);
	memset(name, 'n', 255);
	name[255] = '\0';
	put_file(fd, name, "long", 4);
	assert_int_equal(linkat(fd, "a/f1", fd, "a/b/f1", 0), 0);
	assert_int_equal(linkat(fd, "a/f1", fd, "zz", 0), 0);
	assert_int_equal(linkat(fd, "a/big", fd, "a/b/c/big", 0), 0);
	assert_int_equal(symlinkat("../nowhere/\xff", fd, "a/sym"), 0);
	assert_int_equal(mknodat(fd, "a/fifo", S_IFIFO | 0610, 0), 0);
	assert_int_equal(mknodat(fd, "a/socket", S_IFSOCK | 0600, 0), 0);
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "many/n%d", i);
		put_file(fd, name, name, strlen(name));
	}
	set_xattr(fd, "a/f64k1", "user.colour", "green");
	set_xattr(fd, "a", "user.empty", "");
	if (geteuid() == 0)
		make_rooted(fd);
	assert_int_equal(fchmodat(fd, "a/b/c", 01700, 0), 0);
	assert_int_equal(fchmodat(fd, "empty", 0500, 0), 0);
	set_times(fd, "a/f1", 1000000000123456789);
	set_times(fd, "a/sym", -3600000000001);
	set_times(fd, "a/b", 981173106000000001);
	set_times(fd, "a", 77);
}

/* ---- the remote ---- */

static inline void add_xattrs(const char *path, struct manifest_entry *e)
{
	char list[8192], value[8192];
	ssize_t n = llistxattr(path, list, sizeof(list));

	for (const char *at = list; n > 0 && at < list + n; at += strlen(at) + 1) {
		ssize_t len = lgetxattr(path, at, value, sizeof(value));
		struct manifest_xattr *x;

		if (xattr_is_hidden(at))
			continue;
		assert_true(len >= 0);
		e->xattr = realloc(e->xattr, (e->n_xattr + 1) * sizeof(*e->xattr));
		x = &e->xattr[e->n_xattr++];
		*x = (struct manifest_xattr){ .name = strdup(at), .value = malloc((size_t)len + 1),
					      .len = (size_t)len };
		memcpy(x->value, value, (size_t)len);
	}
}

/* What stands at dirfd/name on the original, "." the root. */
static inline void entry_of(struct scene *s, int dirfd, const char *name, struct manifest_entry *e,
			    nlink_t *links)
{
	struct mirror m = { .dotfd = openat(s->b->fd[0], DOT_DIR, O_RDONLY | O_DIRECTORY),
			    .user_xattr = true, .trusted_xattr = true };
	struct at a = { .mirror = &m, .fd = dirfd, .name = name };
	char path[600], target[4097];
	struct record rec;
	struct stat st;

	assert_int_equal(at_stat(&a, &st), 0);
	assert_int_equal(record_load(&a, TYPE_OF(st.st_mode), &rec), 0);
	close(m.dotfd);
	*links = S_ISDIR(st.st_mode) ? 1 : st.st_nlink;
	*e = (struct manifest_entry){
		.name = strdup(strcmp(name, ".") ? name : ""), .type = rec.type, .id = rec.id,
		.gen = rec.gen, .mode = st.st_mode & 07777, .uid = st.st_uid, .gid = st.st_gid,
		.mtime = ts_ns(&st.st_mtim), .atime = ts_ns(&st.st_atim), .ctime = rec.ctime,
	};
	if (S_ISREG(st.st_mode)) {
		e->size = rec.size;
		e->root = rec.hash;
	}
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		e->rdev = st.st_rdev;
	if (S_ISLNK(st.st_mode)) {
		ssize_t n = readlinkat(dirfd, name, target, sizeof(target) - 1);

		assert_true(n > 0);
		target[n] = '\0';
		e->target = strdup(target);
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dirfd, name);
	add_xattrs(path, e);
}

struct from_file {
	int fd;
	struct manifest_entry e;
	uint64_t *leaf;
};

static inline int from_begin(void *arg, struct manifest_entry *e, const uint64_t **leaves)
{
	struct from_file *f = arg;
	uint64_t n = leaves_of(f->e.size);
	uint8_t buf[LEAF_SIZE];

	free(f->leaf);
	f->leaf = calloc(n + 1, sizeof(*f->leaf));
	for (uint64_t i = 0; f->leaf && i < n; i++) {
		ssize_t len = io_pread_full(f->fd, buf, sizeof(buf), (off_t)(i * LEAF_SIZE));

		f->leaf[i] = len < 0 ? 1 : hash_leaf(f->e.id, i, buf, (size_t)len);
	}
	*leaves = f->leaf;
	return f->leaf ? manifest_entry_copy(e, &f->e) : -ENOMEM;
}

static inline ssize_t from_read(void *arg, uint64_t off, void *buf, size_t len)
{
	return io_pread_full(((struct from_file *)arg)->fd, buf, len, (off_t)off);
}

static inline int from_end(void *arg)
{
	(void)arg;
	return 0;
}

static inline void from_free(void *arg)
{
	struct from_file *f = arg;

	close(f->fd);
	manifest_entry_clear(&f->e);
	free(f->leaf);
	free(f);
}

static inline void stage_file(struct layout *l, struct layout_dir *d,
			      const struct manifest_entry *e, int dirfd, const char *name)
{
	struct from_file *f = calloc(1, sizeof(*f));
	struct layout_source src = { .begin = from_begin, .read = from_read, .end = from_end,
				     .free = from_free, .arg = f };

	f->fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	assert_true(f->fd >= 0);
	assert_int_equal(manifest_entry_copy(&f->e, e), 0);
	assert_int_equal(layout_put(l, d, e, &src), 0);
}

static inline void stage(struct layout *l, struct layout_dir *d, const struct manifest_entry *e,
			 int dirfd, const char *name)
{
	if (MODE_OF(e->type) == S_IFREG)
		stage_file(l, d, e, dirfd, name);
	else
		assert_int_equal(layout_set(l, d, e), 0);
}

/* A name of a file of several: the object once, in the directory of links. */
static inline void stage_link(struct layout *l, struct layout_dir *d, struct manifest_entry *e,
			      nlink_t refs, int dirfd, const char *name)
{
	struct manifest_entry link = { .name = e->name, .type = e->type, .id = e->id,
				       .link = true };
	struct layout_dir *links = layout_links(l);
	const struct manifest_entry *had;
	char hex[17];

	assert_int_equal(layout_set(l, d, &link), 0);
	snprintf(hex, sizeof(hex), "%016" PRIx64, e->id);
	e->name = hex;
	e->refs = refs;
	if (layout_find(l, links, hex, &had) == -ENOENT)
		stage(l, links, e, dirfd, name);
	e->name = link.name;
	layout_dir_put(l, links);
}

static inline void stage_dir(struct scene *s, struct layout *l, struct layout_dir *d, int fd)
{
	DIR *dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	const struct dirent *de;

	assert_non_null(dir);
	while ((de = readdir(dir))) {
		const char *name = de->d_name;
		struct layout_dir *child;
		struct manifest_entry e;
		nlink_t links;

		if (!strcmp(name, ".") || !strcmp(name, "..") || !strcmp(name, DOT_DIR))
			continue;
		entry_of(s, fd, name, &e, &links);
		if (links > 1)
			stage_link(l, d, &e, links, fd, name);
		else
			stage(l, d, &e, fd, name);
		if (MODE_OF(e.type) == S_IFDIR) {
			int below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

			assert_int_equal(layout_dir_open(l, d, name, &child), 0);
			stage_dir(s, l, child, below);
			layout_dir_put(l, child);
			close(below);
		}
		manifest_entry_clear(&e);
	}
	closedir(dir);
}

static inline unsigned eight(void *arg, int last)
{
	(void)arg;
	(void)last;
	return 8;
}

static inline void put_done(void *arg, struct layout_dir *d, const char *name, int result,
			    const char *error)
{
	(void)arg;
	(void)d;
	if (result < 0)
		print_message("%s: %d %s\n", name, result, error);
}

static inline void put_stored(void *arg, const char *object, uint64_t size, struct layout_dir *d,
			      const char *name)
{
	(void)arg;
	(void)object;
	(void)size;
	(void)d;
	(void)name;
}

static inline bool go_on(void *arg)
{
	(void)arg;
	return false;
}

static inline int commit(struct layout *l)
{
	const struct layout_run run = { .parallel = eight, .done = put_done, .stored = put_stored };
	int r = layout_commit(l, &run);

	if (r < 0)
		print_message("commit: %d %s\n", r, layout_error(l));
	return r;
}

static inline struct layout *open_writer(struct scene *s, struct store **store)
{
	const struct layout_options lo = { .volume = s->sb.volume_id, .writer = "00000000000000ab",
					   .create = true, .stop = go_on };
	struct layout *l = NULL;
	int r = store_open(&s->def, &s->secret, store);

	if (r == 0)
		r = layout_open(*store, &lo, &l, s->error);
	if (r < 0)
		fail_msg("writer: %d %s", r, s->error);
	return l;
}

static inline void upload(struct scene *s)
{
	struct manifest_entry root;
	struct store *store;
	struct layout *l = open_writer(s, &store);
	struct layout_dir *d = layout_root(l);
	nlink_t links;

	entry_of(s, s->b->fd[0], ".", &root, &links);
	assert_int_equal(layout_set_root(l, &root), 0);
	manifest_entry_clear(&root);
	stage_dir(s, l, d, s->b->fd[0]);
	layout_dir_put(l, d);
	assert_int_equal(commit(l), 0);
	layout_close(l);
	store_close(store);
}

/* ---- a scene ---- */

static inline void note_lacking(const char *path, const char *what, void *arg)
{
	struct scene *s = arg;
	size_t at = strlen(s->lines);

	snprintf(s->lines + at, sizeof(s->lines) - at, "%s: %s\n", path, what);
}

static inline struct scene *scene_make(bool s3)
{
	static const char *const options[] = { "--s3", NULL };
	struct scene *s = calloc(1, sizeof(*s));
	char url[128];
	int dot;

	if (!s || !(s->b = bed_new_dirs(2)))
		return NULL;
	make_tree(s->b->fd[0]);
	s->b->n = 1;
	if (bed_init(s->b, true) < 0)
		return NULL;
	s->b->n = 2;
	dot = openat(s->b->fd[0], DOT_DIR, O_RDONLY | O_DIRECTORY);
	assert_int_equal(superblock_read(dot, &s->sb), 0);
	close(dot);
	faulty_start(&s->f, s3 ? options : NULL);
	assert_int_equal(mkdirat(s->f.tree, PREFIX, 0700), 0);
	s->objects = openat(s->f.tree, PREFIX, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(url, sizeof(url), "%s/" PREFIX, s->f.url);
	remote_def_new(&s->def);
	snprintf(s->def.name, sizeof(s->def.name), "there");
	s->def.kind = s3 ? REMOTE_S3 : REMOTE_WEBDAV;
	s->def.n_urls = 1;
	s->def.url[0] = strdup(url);
	if (s3)
		s->secret = (struct remote_secret){ .user = strdup("key"),
						    .password = strdup("secret") };
	s->o = (struct restore_options){ .lacking = note_lacking, .patience_s = 3, .arg = s };
	upload(s);
	return s;
}

/* One scene serves all tests of a group: what they do to the remote they undo. */
static inline int scene_dav(void **state)
{
	return (*state = scene_make(false)) ? 0 : -1;
}

static inline int scene_s3(void **state)
{
	return (*state = scene_make(true)) ? 0 : -1;
}

static inline int scene_free(void **state)
{
	struct scene *s = *state;

	if (!s)
		return 0;
	close(s->objects);
	faulty_stop(&s->f);
	s->b->n = 2;
	bed_free(s->b);
	remote_def_free(&s->def);
	free(s->secret.user);
	free(s->secret.password);
	free(s);
	return 0;
}

static inline int restore(struct scene *s)
{
	s->lines[0] = '\0';
	return restore_run(&s->def, &s->secret, s->b->path[1], &s->o, &s->st, s->error);
}

static inline void restore_well(struct scene *s)
{
	int r = restore(s);

	if (r < 0)
		fail_msg("restore: %d %s", r, s->error);
}

/* The new mirror as a volume of its own, looked at in full: nothing is found. */
static inline void assert_sound(struct scene *s)
{
	const char *dirs[] = { s->b->path[1] };
	const struct scrub_options opt = { .finding = bed_tell };
	struct scrub_stats st;
	struct volume *v;

	assert_int_equal(volume_open(1, dirs, &s->b->opt, &v), 0);
	assert_memory_equal(v->sb.volume_id, s->sb.volume_id, UUID_LEN);
	assert_memory_not_equal(v->sb.mirror_id, s->sb.mirror_id, UUID_LEN);
	assert_true(v->sb.next_id > s->sb.next_id);
	assert_int_equal(scrub_run(v, &opt, &st), 0);
	assert_int_equal(st.found, 0);
	assert_int_equal(st.failed, 0);
	assert_int_equal(volume_close(v), 0);
}

static inline void assert_whole(struct scene *s)
{
	struct stat a, b;

	assert_string_equal(s->lines, "");
	assert_int_equal(compare_dirs(s->b->fd[0], s->b->fd[1], "", COMPARE_TIMES), 0);
	assert_int_equal(fstat(s->b->fd[0], &a), 0);
	assert_int_equal(fstat(s->b->fd[1], &b), 0);
	assert_int_equal(compare_stat(&a, &b, ".", COMPARE_TIMES), 0);
	assert_sound(s);
}

static inline void empty_target(struct scene *s)
{
	close(s->b->fd[1]);
	assert_int_equal(io_remove_tree(AT_FDCWD, s->b->path[1]), 0);
	assert_int_equal(mkdir(s->b->path[1], 0755), 0);
	s->b->fd[1] = open(s->b->path[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(s->b->fd[1] >= 0);
}

static inline int scene_again(void **state)
{
	struct scene *s = *state;

	faulty_command(&s->f, "clear");
	empty_target(s);
	s->o = (struct restore_options){ .lacking = note_lacking, .patience_s = 3, .arg = s };
	return 0;
}

#endif
