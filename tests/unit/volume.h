/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A volume for a unit test: n mirrors in a directory of its own, driven by
 * op_*() without FUSE. Paths are relative to the volume's root. The mirrors
 * can be looked at and damaged behind the engine's back through bed.fd[].
 */
#ifndef TESTS_UNIT_VOLUME_H
#define TESTS_UNIT_VOLUME_H

#include "tests/unit/tmpdir.h"

#include <errno.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "replica/base/log.h"
#include "replica/check.h"
#include "replica/fan.h"
#include "replica/init.h"
#include "replica/ops.h"
#include "replica/resync.h"
#include "replica/scrub.h"
#include "replica/seal.h"
#include "replica/tree.h"

struct bed {
	char base[256];
	int n;
	char path[MAX_MIRRORS][300];
	int fd[MAX_MIRRORS];        /* of the mirrors' roots */
	struct volume_options opt;
	struct volume *v;           /* NULL: closed */
	struct io_space space;
};

/* ---- life ---- */

/* Opens the mirrors whose bit is set. 0 or -errno. */
static inline int bed_open_some(struct bed *b, uint32_t mask)
{
	const char *dirs[MAX_MIRRORS];
	int n = 0;

	FOR_EACH_BIT(m, mask)
		dirs[n++] = b->path[m];
	return volume_open(n, dirs, &b->opt, &b->v);
}

static inline void bed_open(struct bed *b)
{
	assert_int_equal(bed_open_some(b, (1u << b->n) - 1), 0);
}

static inline void bed_close(struct bed *b)
{
	int r;

	if (!b->v)
		return;
	r = volume_close(b->v);
	b->v = NULL;
	assert_int_equal(r, 0);
}

/* Nothing is remembered but what stands on the mirrors. */
static inline void bed_reopen(struct bed *b)
{
	bed_close(b);
	bed_open(b);
}

/* Directories m0.. below a fresh one, no volume in them yet. */
static inline struct bed *bed_new_dirs(int n)
{
	struct bed *b = calloc(1, sizeof(*b));
	const char *base = getenv("TMPDIR");
	char made[sizeof(b->base)];

	if (!b || io_space_init(&b->space) < 0)
		return NULL;
	log_set_level(LOG_LEVEL_ERROR);
	b->n = n;
	snprintf(made, sizeof(made), "%s/mirrorfs-unit.XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(made))
		return NULL;
	memcpy(b->base, made, sizeof(made));
	for (int m = 0; m < n; m++) {
		snprintf(b->path[m], sizeof(b->path[m]), "%s/m%d", made, m);
		if (mkdir(b->path[m], 0755) < 0)
			return NULL;
		b->fd[m] = open(b->path[m], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (b->fd[m] < 0)
			return NULL;
	}
	volume_options_default(&b->opt);
	b->opt.background = false;
	b->opt.max_nodes = 1u << 18;
	return b;
}

static inline int bed_init(struct bed *b, bool adopt)
{
	const struct init_options opt = { .adopt = adopt };
	const char *dirs[MAX_MIRRORS];

	for (int m = 0; m < b->n; m++)
		dirs[m] = b->path[m];
	return init_volume(b->n, dirs, &opt);
}

/* A fresh open volume; NULL on any failure. */
static inline struct bed *bed_new(int n)
{
	struct bed *b = bed_new_dirs(n);

	if (!b || bed_init(b, false) < 0 || bed_open_some(b, (1u << n) - 1) < 0)
		return NULL;
	return b;
}

static inline void bed_free(struct bed *b)
{
	if (b->v)
		volume_close(b->v);
	for (int m = 0; m < b->n; m++)
		close(b->fd[m]);
	io_remove_tree(AT_FDCWD, b->base);
	io_space_free(&b->space);
	free(b);
}

static inline int bed_setup_2(void **state)
{
	*state = bed_new(2);
	return *state ? 0 : -1;
}

static inline int bed_setup_3(void **state)
{
	*state = bed_new(3);
	return *state ? 0 : -1;
}

static inline int bed_setup_dirs_2(void **state)
{
	*state = bed_new_dirs(2);
	return *state ? 0 : -1;
}

static inline int bed_teardown(void **state)
{
	bed_free(*state);
	return 0;
}

#define bed_test(f) cmocka_unit_test_setup_teardown(f, bed_setup_2, bed_teardown)
#define bed_test_3(f) cmocka_unit_test_setup_teardown(f, bed_setup_3, bed_teardown)
#define bed_test_dirs(f) cmocka_unit_test_setup_teardown(f, bed_setup_dirs_2, bed_teardown)

/*
 * A session that ends without closing, in a process of its own. fn returns 0
 * when all went as it should; cmocka's assertions do not work in it.
 */
static inline void bed_crash(struct bed *b, uint32_t mask, int (*fn)(struct bed *b))
{
	int status = 0;
	pid_t pid;

	bed_close(b);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(bed_open_some(b, mask) < 0 ? 2 : fn(b) < 0 ? 3 : 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- through the volume ---- */

/* Node of a path, with a reference, or 0 with *err (may be NULL). */
static inline uint32_t bed_node(struct bed *b, const char *path, int *err)
{
	char part[NAME_MAX_LEN + 1];
	uint32_t at = NODE_ROOT;

	tree_ref(b->v, at);
	while (*path) {
		size_t len = strcspn(path, "/");
		struct entry e = { 0 };
		int r;

		memcpy(part, path, len);
		part[len] = '\0';
		/* the kernel asks nothing below what is no directory */
		r = tree_node(b->v, at)->type != TYPE_OF(S_IFDIR) ? -ENOTDIR :
			op_lookup(b->v, at, part, &e);
		tree_unref(b->v, at);
		if (err)
			*err = r;
		if (r < 0)
			return NODE_NONE;
		at = e.node;
		path += len + (path[len] == '/');
	}
	return at;
}

/* Parent of a path, referenced; *name points at its last part. */
static inline uint32_t bed_parent(struct bed *b, const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	char dir[4096] = "";

	*name = slash ? slash + 1 : path;
	uint32_t node;

	if (slash)
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	node = bed_node(b, dir, NULL);
	if (node && tree_node(b->v, node)->type != TYPE_OF(S_IFDIR)) {
		tree_unref(b->v, node);
		return NODE_NONE;
	}
	return node;
}

static inline int bed_make(struct bed *b, const char *path, mode_t mode, const char *target)
{
	const struct make mk = { .mode = mode, .target = target, .rdev = 0 };
	const char *name;
	uint32_t parent = bed_parent(b, path, &name);
	struct entry e;
	int r;

	if (!parent)
		return -ENOENT;
	r = op_make(b->v, parent, name, &mk, &e);
	if (r == 0)
		tree_unref(b->v, e.node);
	tree_unref(b->v, parent);
	return r;
}

static inline int bed_mkdir(struct bed *b, const char *path)
{
	return bed_make(b, path, S_IFDIR | 0755, NULL);
}

/* The file's state, made when it is not there. file_put() when done. */
static inline int bed_file(struct bed *b, const char *path, struct file **f)
{
	const struct make mk = { .mode = S_IFREG | 0644 };
	const char *name;
	uint32_t parent = bed_parent(b, path, &name);
	struct entry e;
	int r;

	if (!parent)
		return -ENOENT;
	r = op_create(b->v, parent, name, &mk, &e, f);
	if (r == -EEXIST) {
		r = op_lookup(b->v, parent, name, &e);
		if (r == 0) {
			bool isdir = tree_node(b->v, e.node)->type == TYPE_OF(S_IFDIR);

			*f = isdir ? NULL : file_get(b->v, e.node);
			r = *f ? 0 : isdir ? -EISDIR : -ENOMEM;
			tree_unref(b->v, e.node);
		}
	} else if (r == 0) {
		tree_unref(b->v, e.node);
	}
	tree_unref(b->v, parent);
	return r;
}

static inline int bed_pwrite(struct bed *b, struct file *f, uint64_t off, const void *data,
			     size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = file_write(b->v, f, &b->space, off + done,
				       (const char *)data + done, len - done);

		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		done += (size_t)n;
	}
	return 0;
}

/* Bytes read, -errno. */
static inline ssize_t bed_pread(struct bed *b, struct file *f, uint64_t off, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		const void *data;
		ssize_t n = file_read(b->v, f, &b->space, off + done, len - done, &data);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		memcpy((char *)buf + done, data, (size_t)n);
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static inline int bed_write(struct bed *b, const char *path, const void *data, size_t len)
{
	struct file *f;
	int r = bed_file(b, path, &f);

	if (r < 0)
		return r;
	r = file_truncate(b->v, f, &b->space, 0);
	if (r == 0)
		r = bed_pwrite(b, f, 0, data, len);
	file_put(b->v, f);
	return r;
}

static inline ssize_t bed_read(struct bed *b, const char *path, void *buf, size_t size)
{
	uint32_t node;
	struct file *f;
	ssize_t n;
	int err = -ENOENT;

	node = bed_node(b, path, &err);
	if (!node)
		return err;
	f = file_get(b->v, node);
	n = f ? bed_pread(b, f, 0, buf, size) : -ENOMEM;
	if (f)
		file_put(b->v, f);
	tree_unref(b->v, node);
	return n;
}

static inline int bed_unlink(struct bed *b, const char *path, bool dir)
{
	const char *name;
	uint32_t parent = bed_parent(b, path, &name);
	int r;

	if (!parent)
		return -ENOENT;
	r = op_unlink(b->v, parent, name, dir);
	tree_unref(b->v, parent);
	return r;
}

static inline int bed_rename(struct bed *b, const char *from, const char *to, unsigned flags)
{
	const char *n1, *n2;
	uint32_t p1 = bed_parent(b, from, &n1), p2 = bed_parent(b, to, &n2);
	int r = p1 && p2 ? op_rename(b->v, p1, n1, p2, n2, flags) : -ENOENT;

	if (p1)
		tree_unref(b->v, p1);
	if (p2)
		tree_unref(b->v, p2);
	return r;
}

static inline int bed_link(struct bed *b, const char *from, const char *to)
{
	uint32_t node = bed_node(b, from, NULL), parent;
	struct entry e;
	const char *name;
	int r;

	if (!node)
		return -ENOENT;
	parent = bed_parent(b, to, &name);
	r = parent ? op_link(b->v, node, parent, name, &e) : -ENOENT;
	if (r == 0)
		tree_unref(b->v, e.node);
	if (parent)
		tree_unref(b->v, parent);
	tree_unref(b->v, node);
	return r;
}

static inline int bed_stat(struct bed *b, const char *path, struct stat *st)
{
	int err = -ENOENT, r;
	uint32_t node = bed_node(b, path, &err);

	if (!node)
		return err;
	r = op_getattr(b->v, node, st);
	tree_unref(b->v, node);
	return r;
}

/* Everything sealed, all mirrors still there. */
static inline void bed_seal(struct bed *b)
{
	assert_int_equal(seal_run(b->v, true), 0);
	assert_int_equal(seal_pending(b->v), 0);
}

static inline void bed_tell(const struct scrub_finding *f, void *arg)
{
	(void)arg;
	print_message("  %s %s [%llu,+%llu] %s: %s, %s\n", f->item, f->path,
		      (unsigned long long)f->off, (unsigned long long)f->len,
		      f->member ? f->member : "-", f->found, f->action);
}

static inline struct scrub_stats bed_scrub(struct bed *b, bool dry_run)
{
	const struct scrub_options opt = { .dry_run = dry_run, .finding = bed_tell };
	struct scrub_stats s;

	assert_int_equal(scrub_run(b->v, &opt, &s), 0);
	return s;
}

/* ---- behind its back ---- */

static inline void fill_pattern(void *buf, size_t len, uint64_t seed)
{
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t x = next_random(&seed);

		memcpy(p + i, &x, len - i < 8 ? len - i : 8);
	}
}

/* Rot: bytes change, times do not. */
static inline void bed_rot(struct bed *b, int m, const char *path, off_t at)
{
	struct timespec ts[2];
	struct stat st;

	assert_int_equal(fstatat(b->fd[m], path, &st, 0), 0);
	flip_byte(b->fd[m], path, at, 0x40);
	ts[0] = st.st_atim;
	ts[1] = st.st_mtim;
	assert_int_equal(utimensat(b->fd[m], path, ts, 0), 0);
}

/* Whole content of a copy; -errno. The caller frees *out. */
static inline int bed_raw(struct bed *b, int m, const char *path, char **out, size_t *len)
{
	return io_read_file(b->fd[m], path, 1u << 30, out, len);
}

static inline bool bed_raw_is(struct bed *b, int m, const char *path, const void *data, size_t len)
{
	char *text = NULL;
	size_t n = 0;
	bool same = bed_raw(b, m, path, &text, &n) == 0 && n == len && memcmp(text, data, len) == 0;

	free(text);
	return same;
}

static inline struct record bed_record(struct bed *b, int m, const char *path)
{
	struct mirror mirror = { .dotfd = openat(b->fd[m], DOT_DIR, O_RDONLY | O_DIRECTORY),
				 .user_xattr = true, .trusted_xattr = true };
	struct at a = { .mirror = &mirror, .fd = b->fd[m], .name = path };
	struct record r = { 0 };
	struct stat st;

	assert_int_equal(at_stat(&a, &st), 0);
	assert_int_equal(record_load(&a, TYPE_OF(st.st_mode), &r), 0);
	close(mirror.dotfd);
	return r;
}

/* Items in the quarantines of all mirrors. */
static inline uint64_t bed_quarantined(struct bed *b)
{
	uint64_t n = 0;

	for (unsigned m = 0; m < b->v->n; m++)
		if (b->v->m[m].has_quarantine)
			n += quarantine_count(&b->v->m[m].quarantine);
	return n;
}

static inline uint64_t bed_counter(struct bed *b, enum counter c)
{
	return atomic_load(&b->v->counter[c]);
}

#endif
