/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cache of directory descriptors: bounded, right after renames and drops,
 * usable while full, and no limit to the depth. */
#include "replica/dirfd.h"

#include <dirent.h>
#include <pthread.h>

#include "tests/unit/volume.h"

static unsigned open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static ino_t ino_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static ino_t raw_ino(struct bed *b, int m, const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(b->fd[m], path, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st.st_ino;
}

/* The volume's cache made as small as `max`. */
static void shrink(struct bed *b, unsigned max)
{
	dirfd_fini(b->v);
	assert_int_equal(dirfd_init(b->v, max), 0);
}

static void beyond_the_cap(void **state)
{
	struct bed *b = *state;
	uint32_t node[64];
	unsigned before;
	char name[16];

	for (int i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		assert_int_equal(bed_mkdir(b, name), 0);
		node[i] = bed_node(b, name, NULL);
	}
	bed_seal(b);
	shrink(b, 8);
	before = open_descriptors();
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < 64; i++)
			for (int m = 0; m < 2; m++) {
				int fd = dirfd_get(b->v, node[i], m);

				assert_true(fd >= 0);
				snprintf(name, sizeof(name), "d%d", i);
				assert_int_equal(ino_of(fd), raw_ino(b, m, name));
				dirfd_put(b->v, node[i], m, fd);
				assert_true(open_descriptors() <= before + 8);
			}
	for (int i = 0; i < 64; i++)
		tree_unref(b->v, node[i]);
	shrink(b, DIRFD_MAX);
	assert_int_equal(open_descriptors(), before);
}

/* With every entry held the descriptors are given out all the same. */
static void all_held(void **state)
{
	struct bed *b = *state;
	uint32_t node[20];
	int fd[20], again;
	unsigned before;
	char name[16];

	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		assert_int_equal(bed_mkdir(b, name), 0);
		node[i] = bed_node(b, name, NULL);
	}
	bed_seal(b);
	shrink(b, 4);
	before = open_descriptors();
	for (int i = 0; i < 20; i++) {
		fd[i] = dirfd_get(b->v, node[i], 0);
		snprintf(name, sizeof(name), "d%d", i);
		assert_int_equal(ino_of(fd[i]), raw_ino(b, 0, name));
	}
	again = dirfd_get(b->v, node[0], 0);
	assert_int_equal(again, fd[0]);
	dirfd_put(b->v, node[0], 0, again);
	for (int i = 0; i < 20; i++)
		dirfd_put(b->v, node[i], 0, fd[i]);
	assert_true(open_descriptors() <= before + 4);
	for (int i = 0; i < 20; i++)
		tree_unref(b->v, node[i]);
}

/* Dropped while held: the holder's stays good, the next one is fresh. */
static void dropped_while_held(void **state)
{
	struct bed *b = *state;
	unsigned before;
	uint32_t node;
	int old, fresh;

	assert_int_equal(bed_mkdir(b, "d"), 0);
	node = bed_node(b, "d", NULL);
	bed_seal(b);
	shrink(b, 16);
	before = open_descriptors();
	old = dirfd_get(b->v, node, 1);
	dirfd_drop(b->v, node);
	assert_int_equal(renameat(b->fd[1], "d", b->fd[1], "aside"), 0);
	assert_int_equal(mkdirat(b->fd[1], "d", 0755), 0);
	fresh = dirfd_get(b->v, node, 1);
	assert_int_equal(ino_of(old), raw_ino(b, 1, "aside"));
	assert_int_equal(ino_of(fresh), raw_ino(b, 1, "d"));
	dirfd_put(b->v, node, 1, old);
	assert_int_equal(ino_of(fresh), raw_ino(b, 1, "d"));
	assert_int_equal(open_descriptors(), before + 1);
	dirfd_drop(b->v, node);
	dirfd_put(b->v, node, 1, fresh);
	assert_int_equal(open_descriptors(), before);
	tree_unref(b->v, node);
	assert_int_equal(unlinkat(b->fd[1], "d", AT_REMOVEDIR), 0);
	assert_int_equal(renameat(b->fd[1], "aside", b->fd[1], "d"), 0);
}

static void follows_renames(void **state)
{
	struct bed *b = *state;
	uint32_t node;
	int fd;

	assert_int_equal(bed_mkdir(b, "a"), 0);
	assert_int_equal(bed_mkdir(b, "a/sub"), 0);
	assert_int_equal(bed_mkdir(b, "b"), 0);
	node = bed_node(b, "a/sub", NULL);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(bed_rename(b, i % 2 ? "b/x" : "a/sub", i % 2 ? "a/sub" : "b/x", 0),
				 0);
		if (i >= 2)
			dirfd_drop(b->v, node);
		for (int m = 0; m < 2; m++) {
			fd = dirfd_get(b->v, node, m);
			assert_int_equal(ino_of(fd), raw_ino(b, m, i % 2 ? "a/sub" : "b/x"));
			dirfd_put(b->v, node, m, fd);
		}
	}
	tree_unref(b->v, node);
}

static void gone_and_absent(void **state)
{
	struct bed *b = *state;
	uint32_t node;
	int fd[MAX_MIRRORS];

	assert_int_equal(bed_mkdir(b, "d"), 0);
	node = bed_node(b, "d", NULL);
	shrink(b, 16);
	assert_int_equal(unlinkat(b->fd[1], "d", AT_REMOVEDIR), 0);
	dirfds_get(b->v, node, 3, fd);
	assert_true(fd[0] >= 0);
	assert_int_equal(fd[1], -ENOENT);
	assert_int_equal(fd[2], -EBADF);
	dirfds_put(b->v, node, 3, fd);
	assert_int_equal(dirfd_get(b->v, NODE_ROOT, 5), -ENODEV);
	assert_int_equal(mkdirat(b->fd[1], "d", 0755), 0);
	/* removed through the volume, still referenced: by its pins */
	assert_int_equal(bed_unlink(b, "d", true), 0);
	dirfd_drop(b->v, node);
	dirfds_get(b->v, node, 1, fd);
	assert_true(fd[0] >= 0);
	dirfds_put(b->v, node, 1, fd);
	tree_unref(b->v, node);
}

/* A path of 2000 names is longer than any path the kernel takes. */
static void depth_2000(void **state)
{
	struct bed *b = *state;
	const struct make mk = { .mode = S_IFDIR | 0755 };
	uint32_t at = NODE_ROOT, node[2000];
	struct entry e;
	int fd;

	for (int i = 0; i < 2000; i++) {
		assert_int_equal(op_make(b->v, at, "deep", &mk, &e), 0);
		node[i] = at = e.node;
	}
	assert_int_equal(seal_run(b->v, true), 0);
	/* nothing cached: the whole way is walked, from a cache far too small */
	shrink(b, 4);
	for (int m = 0; m < 2; m++) {
		fd = dirfd_get(b->v, at, m);
		assert_true(fd >= 0);
		dirfd_put(b->v, at, m, fd);
	}
	assert_int_equal(op_getattr(b->v, at, &e.st), 0);
	assert_true(S_ISDIR(e.st.st_mode));
	for (int i = 1999; i >= 0; i--)
		tree_unref(b->v, node[i]);
	assert_int_equal(tree_count(b->v), 1);
	/* and again from the mirrors alone */
	bed_reopen(b);
	at = NODE_ROOT;
	for (int i = 0; i < 2000; i++) {
		assert_int_equal(op_lookup(b->v, at, "deep", &e), 0);
		if (i)
			tree_unref(b->v, at);
		at = e.node;
	}
	tree_unref(b->v, at);
}

struct user {
	struct bed *b;
	uint32_t *node;
	ino_t (*ino)[2];
	uint64_t seed;
	bool wrong;
};

static void *use(void *arg)
{
	struct user *u = arg;

	for (int i = 0; i < 20000; i++) {
		unsigned k = (unsigned)(next_random(&u->seed) % 32);
		int m = (int)(next_random(&u->seed) % 2);
		int fd = dirfd_get(u->b->v, u->node[k], m);
		struct stat st;

		u->wrong |= fd < 0 || fstat(fd, &st) < 0 || st.st_ino != u->ino[k][m];
		dirfd_put(u->b->v, u->node[k], m, fd);
		if (i % 64 == 0)
			dirfd_drop(u->b->v, u->node[k]);
	}
	return NULL;
}

static void many_threads(void **state)
{
	struct bed *b = *state;
	uint64_t seed = seed_of_run();
	uint32_t node[32];
	ino_t ino[32][2];
	struct user u[4];
	pthread_t t[4];
	char name[16];

	for (int i = 0; i < 32; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		assert_int_equal(bed_mkdir(b, name), 0);
		node[i] = bed_node(b, name, NULL);
		for (int m = 0; m < 2; m++)
			ino[i][m] = raw_ino(b, m, name);
	}
	shrink(b, 12);
	for (int i = 0; i < 4; i++) {
		u[i] = (struct user){ b, node, ino, next_random(&seed), false };
		assert_int_equal(pthread_create(&t[i], NULL, use, &u[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		assert_false(u[i].wrong);
	}
	for (int i = 0; i < 32; i++)
		tree_unref(b->v, node[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(beyond_the_cap),
		bed_test(all_held),
		bed_test(dropped_while_held),
		bed_test(follows_renames),
		bed_test(gone_and_absent),
		bed_test(depth_2000),
		bed_test(many_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
