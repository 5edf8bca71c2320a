/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One object on one mirror: the calls by name and by descriptor, records in
 * xattrs and spilled, the hash of metadata and its copy. */
#include "replica/object.h"

#include <sys/sysmacros.h>

#include "replica/spill.h"
#include "tests/unit/volume.h"

static const struct record sample = {
	.leaf_shift = 12, .type = 10, .id = 5, .gen = 6, .size = 7, .hash = 8,
	.mtime = 9, .ctime = -10, .sealed_at = 11, .meta = 12,
};

static const struct kind {
	const char *name;
	mode_t mode;
} kind[] = {
	{ "file", S_IFREG }, { "dir", S_IFDIR }, { "link", S_IFLNK }, { "fifo", S_IFIFO },
	{ "sock", S_IFSOCK }, { "null", S_IFCHR },
};

/* One object of each type in dir; -1: this user may not make it. */
static int make_kind(int dir, const struct kind *k)
{
	switch (k->mode) {
	case S_IFREG:
		put_file(dir, k->name, "abc", 3);
		return 0;
	case S_IFDIR:
		return mkdirat(dir, k->name, 0755);
	case S_IFLNK:
		return symlinkat("to/nowhere", dir, k->name);
	default:
		return mknodat(dir, k->name, k->mode | 0644, makedev(1, 3));
	}
}

static struct mirror mirror_of(struct bed *b, int m)
{
	struct mirror mi = { .user_xattr = true, .trusted_xattr = geteuid() == 0 };

	if (mkdirat(b->fd[m], DOT_DIR, 0700) < 0)
		assert_int_equal(errno, EEXIST);
	mi.dotfd = openat(b->fd[m], DOT_DIR, O_RDONLY | O_DIRECTORY);
	assert_true(mi.dotfd >= 0);
	return mi;
}

static void records_of_every_type(void **state)
{
	struct bed *b = *state;

	for (int spilled = 0; spilled < 2; spilled++) {
		struct mirror mi = mirror_of(b, spilled);

		if (spilled)
			mi.user_xattr = mi.trusted_xattr = false;
		for (size_t i = 0; i < N_ELEMS(kind); i++) {
			struct at a = { .mirror = &mi, .fd = b->fd[spilled], .name = kind[i].name };
			struct record want = sample, got;
			char list[1024];
			ssize_t n;

			if (make_kind(b->fd[spilled], &kind[i]) < 0)
				continue;
			want.type = TYPE_OF(kind[i].mode);
			assert_int_equal(record_load(&a, want.type, &got), -ENODATA);
			assert_int_equal(record_store(&a, want.type, &want), 0);
			assert_int_equal(record_load(&a, want.type, &got), 0);
			assert_true(record_equal(&want, &got));
			want.gen++;
			assert_int_equal(record_store(&a, want.type, &want), 0);
			assert_int_equal(record_load(&a, want.type, &got), 0);
			assert_int_equal(got.gen, want.gen);
			n = at_listxattr(&a, list, sizeof(list));
			for (ssize_t at = 0; at < n; at += (ssize_t)strlen(list + at) + 1)
				assert_true(!spilled || !record_is_xattr(list + at));
		}
		close(mi.dotfd);
	}
}

static void record_of_another_type_is_damage(void **state)
{
	struct bed *b = *state;
	struct mirror mi = mirror_of(b, 0);
	struct at a = { .mirror = &mi, .fd = b->fd[0], .name = "file" };
	struct record r = sample;

	put_file(b->fd[0], "file", "x", 1);
	r.type = TYPE_OF(S_IFDIR);
	assert_int_equal(record_store(&a, TYPE_OF(S_IFREG), &r), 0);
	assert_int_equal(record_load(&a, TYPE_OF(S_IFREG), &r), -EINVAL);
	assert_int_equal(at_setxattr(&a, RECORD_XATTR_USER, "short", 5, 0), 0);
	assert_int_equal(record_load(&a, TYPE_OF(S_IFREG), &r), -EINVAL);
	close(mi.dotfd);
}

/* xattrs refused: the record spills, an older xattr does not win, and the
 * record taken back into the xattr later wins over the spill. */
static void a_full_inode_spills(void **state)
{
	struct bed *b = *state;
	struct mirror mi = mirror_of(b, 0), blind = mi;
	struct at a = { .mirror = &mi, .fd = b->fd[0], .name = "file" };
	struct record r = sample, got;
	char filler[4000];
	int k = 0;

	put_file(b->fd[0], "file", "x", 1);
	memset(filler, 'f', sizeof(filler));
	for (size_t size = sizeof(filler); size >= 1; size /= 2)
		for (; k < 5000; k++) {
			char name[32];

			snprintf(name, sizeof(name), "user.%d", k);
			if (at_setxattr(&a, name, filler, size, 0) < 0)
				break;
		}
	r.type = TYPE_OF(S_IFREG);
	assert_int_equal(record_store(&a, r.type, &r), 0);
	assert_int_equal(record_load(&a, r.type, &got), 0);
	assert_true(record_equal(&r, &got));
	/* where the filesystem has no limit the mirror is told it has none */
	blind.user_xattr = false;
	a.mirror = &blind;
	r.gen = 100;
	assert_int_equal(record_store(&a, r.type, &r), 0);
	assert_int_equal(record_load(&a, r.type, &got), 0);
	assert_int_equal(got.gen, 100);
	close(mi.dotfd);
}

/* A file that replaced another one under its inode number has no record. */
static void a_spill_dies_with_its_inode(void **state)
{
	struct bed *b = *state;
	struct mirror mi = mirror_of(b, 0);
	struct at a = { .mirror = &mi, .fd = b->fd[0], .name = "file" };
	struct record r = sample, got;
	bool reused = false;

	mi.user_xattr = false;
	r.type = TYPE_OF(S_IFREG);
	for (int i = 0; i < 50; i++) {
		struct stat st, now;

		put_file(b->fd[0], "file", "x", 1);
		assert_int_equal(at_stat(&a, &st), 0);
		assert_int_equal(record_store(&a, r.type, &r), 0);
		assert_int_equal(record_load(&a, r.type, &got), 0);
		assert_int_equal(unlinkat(b->fd[0], "file", 0), 0);
		usleep(5000); /* so that the birth time is another one */
		put_file(b->fd[0], "file", "y", 1);
		assert_int_equal(at_stat(&a, &now), 0);
		reused |= st.st_ino == now.st_ino;
		assert_int_equal(record_load(&a, r.type, &got), -ENODATA);
	}
	if (!reused)
		print_message("no inode number came back here\n");
	close(mi.dotfd);
}

/* By name, by O_PATH descriptor, by open descriptor. */
static void three_ways_to_an_object(void **state)
{
	struct bed *b = *state;
	struct mirror mi = mirror_of(b, 0);
	const struct timespec ts[2] = { { 1000, 1 }, { 2000, 2 } };

	put_file(b->fd[0], "f", "abc", 3);
	for (int way = 0; way < 3; way++) {
		struct at a = { .mirror = &mi, .fd = b->fd[0], .name = "f" };
		struct stat st;
		char buf[8];
		int fd;

		if (way)
			a = (struct at){ .mirror = &mi, .opened = way == 2, .fd =
					 openat(b->fd[0], "f", way == 1 ? O_PATH : O_RDWR) };
		assert_true(a.fd >= 0);
		assert_int_equal(at_chmod(&a, (mode_t)(0600 + way)), 0);
		assert_int_equal(at_utimens(&a, ts), 0);
		assert_int_equal(at_setxattr(&a, "user.w", "12", 2, 0), 0);
		assert_int_equal(at_getxattr(&a, "user.w", buf, sizeof(buf)), 2);
		assert_int_equal(at_removexattr(&a, "user.w"), 0);
		assert_int_equal(at_getxattr(&a, "user.w", buf, sizeof(buf)), -ENODATA);
		if (geteuid() == 0)
			assert_int_equal(at_chown(&a, 7, (gid_t)(8 + way)), 0);
		assert_int_equal(at_stat(&a, &st), 0);
		assert_int_equal(st.st_mode, S_IFREG | (mode_t)(0600 + way));
		assert_int_equal(ts_ns(&st.st_mtim), 2000000000002);
		assert_true(geteuid() != 0 || (st.st_uid == 7 && st.st_gid == (gid_t)(8 + way)));
		fd = at_open(&a, O_RDONLY | O_NOATIME);
		assert_true(fd >= 0);
		assert_int_equal(read(fd, buf, 8), 3);
		close(fd);
		if (way)
			close(a.fd);
	}
	assert_int_equal(symlinkat("f", b->fd[0], "l"), 0);
	assert_int_equal(at_open(&(struct at){ .fd = b->fd[0], .name = "l" }, O_RDONLY), -ELOOP);
	close(mi.dotfd);
}

static uint32_t hash_of(const struct at *a)
{
	struct stat st;
	uint32_t h = 0;

	assert_int_equal(at_stat(a, &st), 0);
	assert_int_equal(metahash(a, &st, &h), 0);
	return h;
}

static void metahash_sees_what_counts(void **state)
{
	struct bed *b = *state;
	struct mirror mi = mirror_of(b, 0);
	struct at a = { .mirror = &mi, .fd = b->fd[0], .name = "f" };
	uint32_t h, h2;
	struct record r = sample;

	put_file(b->fd[0], "f", "abc", 3);
	assert_int_equal(at_chmod(&a, 0644), 0);
	h = hash_of(&a);
	/* not content, times, or our own record */
	put_file(b->fd[0], "f", "abcdef", 6);
	r.type = TYPE_OF(S_IFREG);
	assert_int_equal(record_store(&a, r.type, &r), 0);
	assert_int_equal(hash_of(&a), h);
	assert_int_equal(at_chmod(&a, 0640), 0);
	assert_int_not_equal(hash_of(&a), h);
	assert_int_equal(at_chmod(&a, 0644), 0);
	assert_int_equal(at_setxattr(&a, "user.a", "1", 1, 0), 0);
	h2 = hash_of(&a);
	assert_int_not_equal(h2, h);
	/* name and value are bound together, order does not matter */
	assert_int_equal(at_setxattr(&a, "user.b", "2", 1, 0), 0);
	h = hash_of(&a);
	assert_int_equal(at_setxattr(&a, "user.a", "2", 1, 0), 0);
	assert_int_equal(at_setxattr(&a, "user.b", "1", 1, 0), 0);
	assert_int_not_equal(hash_of(&a), h);
	assert_int_equal(at_removexattr(&a, "user.a"), 0);
	assert_int_equal(at_removexattr(&a, "user.b"), 0);
	assert_int_equal(at_setxattr(&a, "user.b", "2", 1, 0), 0);
	assert_int_equal(at_setxattr(&a, "user.a", "1", 1, 0), 0);
	assert_int_equal(hash_of(&a), h);
	if (geteuid() == 0) {
		assert_int_equal(at_chown(&a, 1, 0), 0);
		assert_int_not_equal(hash_of(&a), h);
	}
	close(mi.dotfd);
}

static void meta_copy_makes_them_equal(void **state)
{
	struct bed *b = *state;
	struct mirror mi[2] = { mirror_of(b, 0), mirror_of(b, 1) };

	for (size_t i = 0; i < N_ELEMS(kind); i++) {
		struct at from = { .mirror = &mi[0], .fd = b->fd[0], .name = kind[i].name };
		struct at to = { .mirror = &mi[1], .fd = b->fd[1], .name = kind[i].name };
		struct timespec ts[2] = { { 12345, 678 }, { -5, 999999999 } };
		bool plain = kind[i].mode == S_IFREG || kind[i].mode == S_IFDIR;
		struct stat st, now;

		if (make_kind(b->fd[0], &kind[i]) < 0)
			continue;
		assert_int_equal(make_kind(b->fd[1], &kind[i]), 0);
		if (geteuid() == 0)
			assert_int_equal(at_chown(&from, 1000, 1001), 0);
		if (kind[i].mode != S_IFLNK)
			assert_int_equal(at_chmod(&from, plain ? 06751 : 0601), 0);
		if (plain) {
			char big[3000];

			memset(big, 'b', sizeof(big));
			assert_int_equal(at_setxattr(&from, "user.big", big, sizeof(big), 0), 0);
			assert_int_equal(at_setxattr(&from, "user.empty", "", 0, 0), 0);
			assert_int_equal(at_setxattr(&to, "user.extra", "x", 1, 0), 0);
		}
		assert_int_equal(at_utimens(&from, ts), 0);
		assert_int_equal(at_stat(&from, &st), 0);
		assert_int_equal(meta_copy(&from, &st, &to), 0);
		assert_int_equal(at_stat(&to, &now), 0);
		assert_int_equal(now.st_mode, st.st_mode);
		assert_true(now.st_uid == st.st_uid && now.st_gid == st.st_gid);
		assert_int_equal(ts_ns(&now.st_mtim), ts_ns(&st.st_mtim));
		assert_int_equal(ts_ns(&now.st_atim), ts_ns(&st.st_atim));
		assert_int_equal(hash_of(&to), hash_of(&from));
		assert_int_equal(at_getxattr(&to, "user.extra", NULL, 0),
				 kind[i].mode == S_IFREG || kind[i].mode == S_IFDIR ? -ENODATA :
				 at_getxattr(&from, "user.extra", NULL, 0));
	}
	close(mi[0].dotfd);
	close(mi[1].dotfd);
}

static void times_before_1970(void **state)
{
	static const int64_t ns[] = { 0, 1, -1, 999999999, -999999999, 1000000000, -1000000000,
				      -1000000001, 1700000000123456789, -1700000000123456789 };

	(void)state;
	for (size_t i = 0; i < N_ELEMS(ns); i++) {
		struct timespec ts = ns_ts(ns[i]);

		assert_true(ts.tv_nsec >= 0 && ts.tv_nsec < 1000000000);
		assert_int_equal(ts_ns(&ts), ns[i]);
	}
}

static void only_our_names_are_hidden(void **state)
{
	(void)state;
	assert_true(record_is_xattr("user.mfs"));
	assert_true(record_is_xattr("trusted.mfs"));
	assert_false(record_is_xattr("user.mfs2"));
	assert_false(record_is_xattr("user.mirrorf"));
	assert_false(record_is_xattr("security.mirrorfs"));
}

/* A whole volume whose mirrors have no xattrs at all. */
static void a_volume_without_xattrs(void **state)
{
	struct bed *b = bed_new(2);
	char data[100000], back[100000], path[400];
	struct entry e;
	struct scrub_stats s;

	(void)state;
	assert_non_null(b);
	for (int m = 0; m < 2; m++)
		b->v->m[m].user_xattr = b->v->m[m].trusted_xattr = false;
	fill_pattern(data, sizeof(data), 5);
	assert_int_equal(bed_mkdir(b, "d"), 0);
	assert_int_equal(bed_write(b, "d/f", data, sizeof(data)), 0);
	assert_int_equal(bed_make(b, "d/l", S_IFLNK, "f"), 0);
	bed_seal(b);
	snprintf(path, sizeof(path), "%s/d/f", b->path[0]);
	assert_int_equal(getxattr(path, RECORD_XATTR_USER, NULL, 0), -1);
	s = bed_scrub(b, false);
	assert_int_equal(s.found, 0);
	tree_forget_all(b->v);
	assert_int_equal(op_lookup(b->v, NODE_ROOT, "d", &e), 0);
	tree_unref(b->v, e.node);
	assert_int_equal(bed_read(b, "d/f", back, sizeof(back)), sizeof(back));
	assert_memory_equal(data, back, sizeof(data));
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test_dirs(records_of_every_type),
		bed_test_dirs(record_of_another_type_is_damage),
		bed_test_dirs(a_full_inode_spills),
		bed_test_dirs(a_spill_dies_with_its_inode),
		bed_test_dirs(three_ways_to_an_object),
		bed_test_dirs(metahash_sees_what_counts),
		bed_test_dirs(meta_copy_makes_them_equal),
		cmocka_unit_test(times_before_1970),
		cmocka_unit_test(only_our_names_are_hidden),
		cmocka_unit_test(a_volume_without_xattrs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
