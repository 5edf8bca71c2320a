/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mirrors with trees made by hand, for the recovery of names: a volume of
 * which only that is there what recovery_names() uses, and a struct recovery
 * filled in as from journals. The calls that change names are counted, and
 * can be made the last ones of the process.
 */
#ifndef TESTS_UNIT_NAMES_H
#define TESTS_UNIT_NAMES_H

#include "tests/unit/tmpdir.h"

#include <dirent.h>
#include <errno.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "replica/base/cleanup.h"
#include "replica/base/log.h"
#include "replica/object.h"
#include "replica/recovery.h"
#include "replica/volume.h"

#define DIR_TYPE TYPE_OF(S_IFDIR)
#define FILE_TYPE TYPE_OF(S_IFREG)
#define TEXT_MAX 16384

/* ---- calls that change names ---- */

static int calls_left = -1;      /* the process ends after so many; -1: never */
static unsigned calls;
static int fail_sync_of = -1;    /* descriptor whose syncfs fails */

static inline void count_call(void)
{
	calls++;
	if (calls_left >= 0 && calls_left-- == 0)
		_exit(42);
}

int renameat2(int a, const char *n, int b, const char *k, unsigned flags)
{
	count_call();
	return (int)syscall(SYS_renameat2, a, n, b, k, flags);
}

int renameat(int a, const char *n, int b, const char *k)
{
	return renameat2(a, n, b, k, 0);
}

int unlinkat(int fd, const char *n, int flags)
{
	count_call();
	return (int)syscall(SYS_unlinkat, fd, n, flags);
}

int linkat(int a, const char *n, int b, const char *k, int flags)
{
	count_call();
	return (int)syscall(SYS_linkat, a, n, b, k, flags);
}

int mkdirat(int fd, const char *n, mode_t mode)
{
	count_call();
	return (int)syscall(SYS_mkdirat, fd, n, mode);
}

/* No power is cut here. */
int fsync(int fd)
{
	(void)fd;
	return 0;
}

int syncfs(int fd)
{
	if (fd == fail_sync_of)
		errno = EIO;
	return fd == fail_sync_of ? -1 : 0;
}

/* ---- the volume ---- */

struct bench {
	char base[256];
	struct volume *v;
	struct recovery r;
};

static inline void bench_mirror(struct bench *b, int m)
{
	struct mirror *x = &b->v->m[m];
	char path[300];

	snprintf(path, sizeof(path), "%s/m%d", b->base, m);
	assert_int_equal(mkdir(path, 0755), 0);
	x->path = strdup(path);
	x->rootfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(x->rootfd, DOT_DIR, 0700), 0);
	x->dotfd = openat(x->rootfd, DOT_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(x->dotfd >= 0);
	x->user_xattr = x->trusted_xattr = true;
	assert_int_equal(quarantine_open(&x->quarantine, x->dotfd, 1u << 30), 0);
	x->has_quarantine = true;
}

static inline struct bench *bench_new(int n)
{
	struct bench *b = calloc(1, sizeof(*b));
	const char *base = getenv("TMPDIR");

	assert_non_null(b);
	log_set_level(getenv("MIRRORFS_TEST_LOG") ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR);
	snprintf(b->base, sizeof(b->base), "%s/mirrorfs-unit.XXXXXX", base ? base : "/tmp");
	assert_non_null(mkdtemp(b->base));
	b->v = calloc(1, sizeof(*b->v));
	assert_non_null(b->v);
	b->v->n = (unsigned)n;
	b->v->sb.n_members = (unsigned)n;
	atomic_store(&b->v->in_sync, (1u << n) - 1);
	pthread_mutex_init(&b->v->sb_lock, NULL);
	pthread_mutex_init(&b->v->events.lock, NULL);
	for (int m = 0; m < n; m++)
		bench_mirror(b, m);
	b->v->recovery = &b->r;
	return b;
}

static inline void bench_forget(struct bench *b)
{
	uint64_t at = 0, id, value;

	while (map_next(&b->r.dirs, &at, &id, &value)) {
		free(((struct recovery_dir *)(uintptr_t)value)->path);
		free((void *)(uintptr_t)value);
	}
	map_free(&b->r.dirs);
	free(b->r.name);
	memset(&b->r, 0, sizeof(b->r));
}

static inline void bench_free(struct bench *b)
{
	bench_forget(b);
	for (unsigned m = 0; m < b->v->n; m++) {
		quarantine_close(&b->v->m[m].quarantine);
		close(b->v->m[m].dotfd);
		close(b->v->m[m].rootfd);
		free(b->v->m[m].path);
	}
	free(b->v);
	io_remove_tree(AT_FDCWD, b->base);
	free(b);
}

static inline uint64_t bench_quarantined(struct bench *b)
{
	uint64_t n = 0;

	for (unsigned m = 0; m < b->v->n; m++)
		n += quarantine_count(&b->v->m[m].quarantine);
	return n;
}

/* ---- the journals ---- */

static inline void say_dirty(struct bench *b, uint64_t id, uint64_t gen, const char *path)
{
	struct recovery_dir *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	*d = (struct recovery_dir){ .id = id, .gen = gen, .path = strdup(path) };
	assert_int_equal(map_set(&b->r.dirs, id, (uintptr_t)d), 0);
}

static inline int by_name(const void *pa, const void *pb)
{
	const struct recovery_name *a = pa, *b = pb;

	if (a->dir != b->dir)
		return a->dir < b->dir ? -1 : 1;
	return strcmp(a->name, b->name);
}

/* Later words replace earlier ones. */
static inline void say_name(struct bench *b, uint64_t dir, uint64_t gen, const char *name,
			    uint64_t id)
{
	struct recovery_name n = { .dir = dir, .gen = gen, .lsn = ++b->r.highest, .id = id };

	assert_true(strlen(name) < sizeof(n.name));
	strcpy(n.name, name);
	for (size_t i = 0; i < b->r.n_name; i++)
		if (by_name(&b->r.name[i], &n) == 0) {
			b->r.name[i] = n;
			return;
		}
	b->r.name = realloc(b->r.name, (b->r.n_name + 1) * sizeof(n));
	assert_non_null(b->r.name);
	b->r.name[b->r.n_name++] = n;
	qsort(b->r.name, b->r.n_name, sizeof(n), by_name);
}

/* ---- trees ---- */

static inline void put_record(struct bench *b, int m, int dirfd, const char *name, uint8_t type,
			      uint64_t id, uint64_t gen, bool is_open)
{
	struct at a = { .mirror = &b->v->m[m], .fd = dirfd, .name = name };
	struct record r = { .flags = is_open ? RECORD_OPEN : 0, .leaf_shift = 12, .type = type,
			    .id = id, .gen = gen };

	assert_int_equal(record_store(&a, type, &r), 0);
}

/* The id of dirfd/name; 0: no record. */
static inline uint64_t id_at(struct bench *b, int m, int dirfd, const char *name)
{
	struct at a = { .mirror = &b->v->m[m], .fd = dirfd, .name = name };
	struct record r;
	struct stat st;

	assert_int_equal(at_stat(&a, &st), 0);
	return record_load(&a, TYPE_OF(st.st_mode), &r) == 0 ? r.id : 0;
}

static inline void make_dir(struct bench *b, int m, const char *path, uint64_t id, uint64_t gen,
			    bool is_open)
{
	int root = b->v->m[m].rootfd;

	assert_int_equal(mkdirat(root, path, 0755), 0);
	if (id)
		put_record(b, m, root, path, DIR_TYPE, id, gen, is_open);
}

/* The content of a file tells its id. */
static inline void make_file(struct bench *b, int m, const char *path, uint64_t id)
{
	int root = b->v->m[m].rootfd;
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)id);
	put_file(root, path, text, id ? strlen(text) : 0);
	if (id)
		put_record(b, m, root, path, FILE_TYPE, id, 0, true);
}

struct dump {
	struct bench *b;
	int m;
	void (*fn)(struct dump *d, uint64_t dir, const char *path, const char *name, uint64_t id,
		   bool isdir);
	char *text;
	size_t len;
	void *arg;
};

static inline int by_text(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static inline void walk_names(struct dump *d, int fd, uint64_t dir, const char *path)
{
	struct dirent **e;
	int n = scandirat(fd, ".", &e, NULL, by_text);

	assert_true(n >= 0);
	for (int i = 0; i < n; i++) {
		const char *name = e[i]->d_name;
		struct stat st;
		char below[4096];

		if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
		    strcmp(name, DOT_DIR) != 0) {
			uint64_t id = id_at(d->b, d->m, fd, name);

			assert_int_equal(fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
			snprintf(below, sizeof(below), "%s%s%s", path, *path ? "/" : "", name);
			d->fn(d, dir, below, name, id, S_ISDIR(st.st_mode));
			if (S_ISDIR(st.st_mode)) {
				int sub = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);

				walk_names(d, sub, id, below);
				close(sub);
			}
		}
		free(e[i]);
	}
	free(e);
}

static inline void dump_one(struct dump *d, uint64_t dir, const char *path, const char *name,
			    uint64_t id, bool isdir)
{
	(void)dir;
	(void)name;
	d->len += (size_t)snprintf(d->text + d->len, TEXT_MAX - d->len, "%s%s%s=%llu",
				   d->len ? " " : "", path, isdir ? "/" : "",
				   (unsigned long long)id);
	assert_true(d->len < TEXT_MAX);
	if (!isdir && id) { /* the object itself is there, not only its id */
		CLEANUP_FREE char *text = NULL;
		size_t len;

		assert_int_equal(io_read_file(d->b->v->m[d->m].rootfd, path, 64, &text, &len), 0);
		assert_int_equal(strtoull(text, NULL, 10), id);
	}
}

/* "path=id" of all of mirror m, sorted, directories with a slash. */
static inline char *dump(struct bench *b, int m)
{
	struct dump d = { .b = b, .m = m, .fn = dump_one, .text = calloc(1, TEXT_MAX) };

	walk_names(&d, b->v->m[m].rootfd, ROOT_ID, "");
	return d.text;
}

/* What lies in DOT_DIR/tmp. */
static inline unsigned left_in_tmp(struct bench *b, int m)
{
	struct dirent **e;
	int n = scandirat(b->v->m[m].dotfd, "tmp", &e, NULL, NULL);

	for (int i = 0; i < n; i++)
		free(e[i]);
	if (n > 0)
		free(e);
	return n < 2 ? 0 : (unsigned)n - 2;
}

#endif
