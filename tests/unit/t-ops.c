/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The operations on names and attributes: random ones beside the same on a
 * plain directory, which must answer alike and look alike afterwards.
 */
#include "replica/ops.h"

#include "tests/unit/compare.h"

/* A plain directory next to the mirrors, worked on by system calls. */
struct plain {
	int fd;
	char path[320];
};

static void plain_open(struct bed *b, struct plain *p)
{
	snprintf(p->path, sizeof(p->path), "%s/plain", b->base);
	assert_int_equal(mkdir(p->path, 0755), 0);
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY);
	assert_true(p->fd >= 0);
}

/* A random path of up to three parts, few of each, so that they meet. */
static void random_path(uint64_t *seed, char path[64])
{
	unsigned depth = 1 + (unsigned)(next_random(seed) % 3);
	size_t at = 0;

	for (unsigned i = 0; i < depth; i++)
		at += (size_t)snprintf(path + at, 64 - at, "%s%c", i ? "/" : "",
				       (char)('a' + next_random(seed) % 4));
}

static int plain_result(int r)
{
	return r < 0 ? -errno : 0;
}

static int plain_write(struct plain *p, const char *path, const char *data, size_t len)
{
	int fd = openat(p->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644);
	int r = fd < 0 ? -errno : write(fd, data, len) == (ssize_t)len ? 0 : -EIO;

	close(fd);
	return r;
}

static bool is_kind(struct plain *p, const char *path, mode_t kind)
{
	struct stat st;

	return fstatat(p->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && (st.st_mode & S_IFMT) == kind;
}

/* The kernel looks at these before it asks a filesystem. */
static bool kernel_refuses(struct plain *p, const char *from, const char *to)
{
	size_t n = strlen(from), k = strlen(to);

	return (strncmp(from, to, n) == 0 && (to[n] == '/' || !to[n])) ||
	       (strncmp(from, to, k) == 0 && from[k] == '/') ||
	       (is_kind(p, from, S_IFDIR) != is_kind(p, to, S_IFDIR) && faccessat(p->fd, to, F_OK,
			AT_SYMLINK_NOFOLLOW) == 0);
}

static int setattr(struct bed *b, const char *path, mode_t mode)
{
	struct stat in = { .st_mode = mode }, out;
	uint32_t node = bed_node(b, path, NULL);
	int r;

	if (!node)
		return -ENOENT;
	r = op_setattr(b->v, node, &in, ATTR_MODE, NULL, &b->space, &out);
	assert_int_equal(r == 0 ? out.st_mode & 07777 : mode, mode);
	tree_unref(b->v, node);
	return r;
}

/* -ENOTDIR on the way is -ENOENT for the helpers of this test. */
static void same_answer(const char *what, const char *path, int ours, int theirs)
{
	if (theirs == -ENOTDIR && ours == -ENOENT)
		return;
	if (ours != theirs)
		fail_msg("%s %s: %s, but plainly: %s", what, path, strerror(-ours),
			 strerror(-theirs));
}

static void step(struct bed *b, struct plain *p, uint64_t *seed)
{
	char path[64], to[64], target[67], data[300];
	size_t len = next_random(seed) % sizeof(data);
	mode_t mode = 0600 | (mode_t)(next_random(seed) % 64);
	unsigned flags = (unsigned)(next_random(seed) % 3);

	random_path(seed, path);
	random_path(seed, to);
	fill_pattern(data, sizeof(data), *seed);
	memcpy(target, "no/", 3); /* leads nowhere, or the plain side would follow it */
	memcpy(target + 3, to, sizeof(to));
	switch (next_random(seed) % 12) {
	case 0: case 1:
		same_answer("mkdir", path, bed_mkdir(b, path),
			    plain_result(mkdirat(p->fd, path, 0755)));
		break;
	case 2: case 3: case 4:
		if (is_kind(p, path, S_IFDIR) || is_kind(p, path, S_IFLNK) ||
		    is_kind(p, path, S_IFIFO))
			break;
		same_answer("write", path, bed_write(b, path, data, len),
			    plain_write(p, path, data, len));
		break;
	case 5:
		same_answer("unlink", path, bed_unlink(b, path, false),
			    plain_result(unlinkat(p->fd, path, 0)));
		break;
	case 6:
		if (!is_kind(p, path, S_IFDIR))
			break;
		same_answer("rmdir", path, bed_unlink(b, path, true),
			    plain_result(unlinkat(p->fd, path, AT_REMOVEDIR)));
		break;
	case 7:
		same_answer("symlink", path, bed_make(b, path, S_IFLNK | 0777, target),
			    plain_result(symlinkat(target, p->fd, path)));
		break;
	case 8:
		if (is_kind(p, path, S_IFDIR))
			break;
		same_answer("link", path, bed_link(b, path, to),
			    plain_result(linkat(p->fd, path, p->fd, to, 0)));
		break;
	case 9:
		if (is_kind(p, path, S_IFLNK))
			break;
		same_answer("chmod", path, setattr(b, path, mode),
			    plain_result(fchmodat(p->fd, path, mode, 0)));
		break;
	case 10:
		same_answer("mkfifo", path, bed_make(b, path, S_IFIFO | 0644, NULL),
			    plain_result(mknodat(p->fd, path, S_IFIFO | 0644, 0)));
		break;
	default:
		if (kernel_refuses(p, path, to))
			break;
		same_answer("rename", path, bed_rename(b, path, to, flags),
			    plain_result(renameat2(p->fd, path, p->fd, to, flags)));
	}
}

static void random_names(void **state)
{
	struct bed *b = *state;
	uint64_t seed = seed_of_run();
	struct plain p;

	umask(0);
	plain_open(b, &p);
	for (int i = 0; i < 3000; i++) {
		step(b, &p, &seed);
		if (i % 97 == 0)
			bed_seal(b);
		if (i % 500 == 499) {
			for (int m = 0; m < 2; m++)
				assert_int_equal(compare_dirs(p.fd, b->fd[m], "", 0), 0);
			bed_reopen(b);
			assert_int_equal(bed_scrub(b, false).found, 0);
			bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
		}
	}
	assert_int_equal(bed_counter(b, CNT_EJECTED), 0);
	close(p.fd);
}

/* ---- answers to particular questions ---- */

static void the_hidden_folder(void **state)
{
	struct bed *b = *state;
	struct dir_list l;
	struct entry e;

	assert_int_equal(op_lookup(b->v, NODE_ROOT, DOT_DIR, &e), -ENOENT);
	assert_int_equal(bed_mkdir(b, DOT_DIR), -EPERM);
	assert_int_equal(bed_unlink(b, DOT_DIR, true), -ENOENT);
	assert_int_equal(bed_mkdir(b, "d"), 0);
	assert_int_equal(bed_rename(b, DOT_DIR, "x", 0), -ENOENT);
	assert_int_equal(bed_rename(b, "d", DOT_DIR, 0), -EPERM);
	assert_int_equal(bed_mkdir(b, "d/" DOT_DIR), 0); /* elsewhere it is a name */
	assert_int_equal(op_list(b->v, NODE_ROOT, &l), 0);
	assert_int_equal(l.n, 1);
	dir_list_free(&l);
}

static void long_names(void **state)
{
	struct bed *b = *state;
	char name[300];
	struct stat st;

	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	assert_int_equal(op_lookup(b->v, NODE_ROOT, name, &(struct entry){ 0 }), -ENAMETOOLONG);
	name[255] = '\0';
	assert_int_equal(bed_write(b, name, "x", 1), 0);
	bed_reopen(b);
	assert_int_equal(bed_stat(b, name, &st), 0);
	assert_int_equal(bed_unlink(b, name, false), 0);
}

static void xattrs(void **state)
{
	struct bed *b = *state;
	char list[100], value[16];
	uint32_t node;

	assert_int_equal(bed_write(b, "f", "x", 1), 0);
	bed_seal(b);
	node = bed_node(b, "f", NULL);
	assert_int_equal(op_listxattr(b->v, node, true, list, sizeof(list)), 0); /* not our own */
	assert_int_equal(op_setxattr(b->v, node, RECORD_XATTR_USER, "x", 1, 0, false), -EPERM);
	assert_int_equal(op_getxattr(b->v, node, RECORD_XATTR_USER, value, 16), -ENODATA);
	assert_int_equal(op_removexattr(b->v, node, RECORD_XATTR_TRUSTED), -ENODATA);
	assert_int_equal(op_setxattr(b->v, node, "user.a", "val", 3, 0, false), 0);
	assert_int_equal(op_setxattr(b->v, node, "user.a", "v", 1, XATTR_CREATE, false), -EEXIST);
	assert_int_equal(op_setxattr(b->v, node, "user.b", "v", 1, XATTR_REPLACE, false), -ENODATA);
	assert_int_equal(op_getxattr(b->v, node, "user.a", value, 16), 3);
	assert_int_equal(op_getxattr(b->v, node, "user.a", value, 1), -ERANGE);
	assert_int_equal(op_getxattr(b->v, node, "user.a", NULL, 0), 3);
	assert_int_equal(op_listxattr(b->v, node, true, list, sizeof(list)), 7);
	assert_int_equal(op_listxattr(b->v, node, true, list, 3), -ERANGE);
	assert_int_equal(op_removexattr(b->v, node, "user.a"), 0);
	assert_int_equal(op_removexattr(b->v, node, "user.a"), -ENODATA);
	assert_int_equal(volume_in_sync(b->v), 3);
	tree_unref(b->v, node);
}

/* Used on after its last name is gone, on all mirrors. */
static void unlinked_and_open(void **state)
{
	struct bed *b = *state;
	struct file *f;
	struct stat st;
	char buf[8];

	assert_int_equal(bed_write(b, "f", "before", 6), 0);
	bed_seal(b);
	assert_int_equal(bed_file(b, "f", &f), 0);
	assert_int_equal(bed_unlink(b, "f", false), 0);
	assert_int_equal(bed_write(b, "f", "another", 7), 0);
	assert_int_equal(bed_pread(b, f, 0, buf, 8), 6);
	assert_memory_equal(buf, "before", 6);
	assert_int_equal(bed_pwrite(b, f, 0, "after!", 6), 0);
	bed_seal(b);
	assert_int_equal(bed_pread(b, f, 0, buf, 8), 6);
	assert_memory_equal(buf, "after!", 6);
	assert_int_equal(op_getattr(b->v, f->node, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(file_sync(b->v, f, false), 0);
	file_put(b->v, f);
	assert_int_equal(bed_read(b, "f", buf, 8), 7);
	bed_reopen(b);
	assert_int_equal(bed_scrub(b, false).found, 0);
}

static void nameless_files_get_names(void **state)
{
	const struct make mk = { .mode = S_IFREG | 0640 };
	struct bed *b = *state;
	struct entry e, named;
	struct file *f;
	char buf[8];

	assert_int_equal(op_tmpfile(b->v, NODE_ROOT, &mk, &e, &f), 0);
	assert_int_equal(bed_pwrite(b, f, 0, "hidden", 6), 0);
	bed_seal(b);
	assert_int_equal(op_link(b->v, e.node, NODE_ROOT, "shown", &named), 0);
	assert_int_equal(named.node, e.node);
	assert_int_equal(named.st.st_nlink, 1);
	file_put(b->v, f);
	tree_unref(b->v, e.node);
	tree_unref(b->v, named.node);
	bed_reopen(b);
	assert_int_equal(bed_read(b, "shown", buf, 8), 6);
	assert_memory_equal(buf, "hidden", 6);
	assert_int_equal(bed_scrub(b, false).found, 0);
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
}

/* What fails on all mirrors alike leaves nothing open behind it. */
static void failures_leave_nothing_open(void **state)
{
	struct bed *b = *state;

	assert_int_equal(bed_mkdir(b, "d"), 0);
	assert_int_equal(bed_mkdir(b, "e"), 0);
	assert_int_equal(bed_write(b, "d/f", "x", 1), 0);
	assert_int_equal(bed_write(b, "e/g", "x", 1), 0);
	bed_seal(b);
	assert_int_equal(bed_mkdir(b, "d/f"), -EEXIST);
	assert_int_equal(bed_unlink(b, "d", true), -ENOTEMPTY);
	assert_int_equal(bed_rename(b, "d", "e", 0), -ENOTEMPTY);
	assert_int_equal(bed_link(b, "d/f", "e/g"), -EEXIST);
	bed_seal(b);
	assert_int_equal(bed_record(b, 0, "d").flags, 0);
	assert_int_equal(bed_record(b, 1, "e").flags, 0);
	assert_int_equal(bed_record(b, 1, ".").flags, 0);
	assert_int_equal(volume_in_sync(b->v), 3);
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
}

static void read_only(void **state)
{
	struct bed *b = *state;
	struct stat st = { 0 };

	assert_int_equal(bed_write(b, "f", "x", 1), 0);
	bed_close(b);
	b->opt.read_only = true;
	bed_open(b);
	assert_int_equal(bed_mkdir(b, "d"), -EROFS);
	assert_int_equal(bed_unlink(b, "f", false), -EROFS);
	assert_int_equal(bed_rename(b, "f", "g", 0), -EROFS);
	assert_int_equal(bed_link(b, "f", "g"), -EROFS);
	assert_int_equal(op_setattr(b->v, NODE_ROOT, &st, ATTR_MODE, NULL, &b->space, &st), -EROFS);
	assert_int_equal(op_setxattr(b->v, NODE_ROOT, "user.x", "1", 1, 0, false), -EROFS);
	assert_int_equal(bed_read(b, "f", (char[2]){ 0 }, 2), 1);
}

static void sums_of_space(void **state)
{
	struct bed *b = *state;
	struct statvfs sv, one;

	assert_int_equal(op_statfs(b->v, &sv), 0);
	assert_int_equal(fstatvfs(b->fd[0], &one), 0);
	assert_int_equal(sv.f_blocks, one.f_blocks);
	assert_int_equal(sv.f_namemax, one.f_namemax);
	assert_int_equal(op_syncfs(b->v), 0);
	assert_int_equal(op_fsyncdir(b->v, NODE_ROOT, false), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(random_names),
		bed_test(the_hidden_folder),
		bed_test(long_names),
		bed_test(xattrs),
		bed_test(unlinked_and_open),
		bed_test(nameless_files_get_names),
		bed_test(failures_leave_nothing_open),
		bed_test(read_only),
		bed_test(sums_of_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
