/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whole reads and writes, replaced files, made and removed trees. */
#include "replica/base/io.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>

#include "tests/unit/tmpdir.h"

static void pread_to_the_end(void **state)
{
	int dirfd = *(int *)*state, fd;
	char buf[16];

	put_file(dirfd, "f", "0123456789", 10);
	fd = openat(dirfd, "f", O_RDONLY);
	assert_int_equal(io_pread_full(fd, buf, 4, 3), 4);
	assert_memory_equal(buf, "3456", 4);
	assert_int_equal(io_pread_full(fd, buf, 16, 3), 7);
	assert_int_equal(io_pread_full(fd, buf, 16, 10), 0);
	assert_int_equal(io_pread_full(-1, buf, 16, 0), -EBADF);
	close(fd);
}

static void pwrite_says_how_far(void **state)
{
	int dirfd = *(int *)*state, fd;
	struct rlimit old, lim;
	size_t done = 99;
	char buf[8192] = { 1 };

	fd = openat(dirfd, "f", O_RDWR | O_CREAT, 0600);
	assert_int_equal(io_pwrite_full(fd, buf, sizeof(buf), 0, &done), 0);
	assert_int_equal(done, sizeof(buf));
	/* a limit on the file size makes a write end in the middle */
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	lim = old;
	lim.rlim_cur = 10000;
	setrlimit(RLIMIT_FSIZE, &lim);
	assert_int_equal(io_pwrite_full(fd, buf, sizeof(buf), 8192, &done), -EFBIG);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(done, 10000 - 8192);
	assert_int_equal(io_pwrite_full(-1, buf, 1, 0, NULL), -EBADF);
	close(fd);
}

static void read_file_bounds(void **state)
{
	int dirfd = *(int *)*state;
	char big[20000], *out;
	size_t len, n;

	memset(big, 'z', sizeof(big));
	for (n = 0; n <= sizeof(big); n = n ? n * 3 + 1 : 1) {
		put_file(dirfd, "f", big, n);
		assert_int_equal(io_read_file(dirfd, "f", n, &out, &len), 0);
		assert_int_equal(len, n);
		assert_memory_equal(out, big, n);
		assert_int_equal(out[n], 0);
		free(out);
		if (n)
			assert_int_equal(io_read_file(dirfd, "f", n - 1, &out, &len), -EFBIG);
	}
	assert_int_equal(io_read_file(dirfd, "f", SIZE_MAX, &out, &len), 0);
	free(out);
	assert_int_equal(io_read_file(dirfd, "none", 9, &out, &len), -ENOENT);
	assert_int_equal(io_read_file(dirfd, ".", 9, &out, &len), -EISDIR);
}

static void replace_is_whole(void **state)
{
	int dirfd = *(int *)*state;
	struct stat st;
	char *out, name[NAME_MAX + 1];
	size_t len;
	mode_t mask = umask(077);

	assert_int_equal(io_replace_file(dirfd, "f", "old", 3, 0644), 0);
	umask(mask);
	assert_int_equal(io_replace_file(dirfd, "f", "newer", 5, 0644), 0);
	assert_int_equal(fstatat(dirfd, "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(io_read_file(dirfd, "f", 99, &out, &len), 0);
	assert_string_equal(out, "newer");
	free(out);
	assert_false(exists(dirfd, ".f.new"));
	/* what a crash left behind is in nobody's way */
	put_file(dirfd, ".f.new", "longer than it will be", 22);
	assert_int_equal(io_replace_file(dirfd, "f", "x", 1, 0600), 0);
	assert_int_equal(io_read_file(dirfd, "f", 99, &out, &len), 0);
	assert_string_equal(out, "x");
	free(out);
	/* below a folder; and errors */
	assert_int_equal(io_mkdirs(dirfd, "a/b"), 0);
	assert_int_equal(io_replace_file(dirfd, "a/b/f", "y", 1, 0600), 0);
	assert_true(exists(dirfd, "a/b/f"));
	assert_int_equal(io_replace_file(dirfd, "a/b", "y", 1, 0600), -EISDIR);
	assert_false(exists(dirfd, "a/.b.new"));
	assert_int_equal(io_replace_file(dirfd, "no/f", "y", 1, 0600), -ENOENT);
	memset(name, 'n', NAME_MAX);
	name[NAME_MAX] = '\0';
	assert_int_equal(io_replace_file(dirfd, name, "y", 1, 0600), -ENAMETOOLONG);
}

static void mkdirs_makes_what_is_missing(void **state)
{
	int dirfd = *(int *)*state;
	struct stat st;

	assert_int_equal(io_mkdirs(dirfd, "a"), 0);
	assert_int_equal(io_mkdirs(dirfd, "a/b//c/"), 0);
	assert_int_equal(io_mkdirs(dirfd, "a/b/c"), 0);
	assert_int_equal(fstatat(dirfd, "a/b/c", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	put_file(dirfd, "a/f", "", 0);
	assert_int_equal(io_mkdirs(dirfd, "a/f"), -ENOTDIR);
	assert_int_equal(io_mkdirs(dirfd, "a/f/g"), -ENOTDIR);
}

/* Chains deeper than PATH_MAX and than the descriptors allowed. */
static void deep_chain(int dirfd, const char *name, int depth)
{
	int at = dup(dirfd), i;

	for (i = 0; i < depth; i++) {
		int next;

		assert_int_equal(mkdirat(at, i ? "folder" : name, 0700), 0);
		next = openat(at, i ? "folder" : name, O_RDONLY | O_DIRECTORY);
		put_file(next, "f", "x", 1);
		put_file(next, "removed-0", "x", 1);
		close(at);
		at = next;
	}
	close(at);
}

static void remove_any_depth(void **state)
{
	int dirfd = *(int *)*state;
	struct rlimit old, lim;

	deep_chain(dirfd, "top", 700);
	getrlimit(RLIMIT_NOFILE, &old);
	lim = old;
	lim.rlim_cur = 64;
	setrlimit(RLIMIT_NOFILE, &lim);
	assert_int_equal(io_remove_tree(dirfd, "top"), 0);
	setrlimit(RLIMIT_NOFILE, &old);
	assert_false(exists(dirfd, "top"));
}

static void remove_a_bush(void **state)
{
	int dirfd = *(int *)*state, i;
	char path[64];

	for (i = 0; i < 512; i++) {
		snprintf(path, sizeof(path), "top/%d/%d/removed-%d", i & 7, i >> 3 & 7,
			 i >> 6 & 7);
		assert_int_equal(io_mkdirs(dirfd, path), 0);
		strcat(path, "/f");
		put_file(dirfd, path, "x", 1);
	}
	assert_int_equal(io_remove_tree(dirfd, "top"), 0);
	assert_false(exists(dirfd, "top"));
}

static void remove_follows_no_links(void **state)
{
	int dirfd = *(int *)*state;

	assert_int_equal(io_mkdirs(dirfd, "kept/in"), 0);
	put_file(dirfd, "kept/in/f", "x", 1);
	assert_int_equal(io_mkdirs(dirfd, "top/sub/sub2"), 0);
	assert_int_equal(symlinkat("../kept", dirfd, "top/l"), 0);
	assert_int_equal(symlinkat("../../../kept", dirfd, "top/sub/sub2/l"), 0);
	assert_int_equal(symlinkat("kept", dirfd, "l"), 0);
	assert_int_equal(mkfifoat(dirfd, "top/fifo", 0600), 0);
	assert_int_equal(io_remove_tree(dirfd, "top"), 0);
	assert_int_equal(io_remove_tree(dirfd, "l"), 0);
	assert_false(exists(dirfd, "top"));
	assert_false(exists(dirfd, "l"));
	assert_true(exists(dirfd, "kept/in/f"));
	assert_int_equal(io_remove_tree(dirfd, "none"), 0);
	assert_int_equal(io_remove_tree(dirfd, "kept/in/f"), 0);
	assert_int_equal(io_remove_tree(dirfd, "kept/in"), 0);
	assert_true(exists(dirfd, "kept"));
}

static void random_fills(void **state)
{
	uint8_t a[1000] = { 0 }, b[1000] = { 0 };

	(void)state;
	io_random(a, sizeof(a));
	io_random(b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
	assert_memory_not_equal(a + 984, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmpdir_test(pread_to_the_end),
		tmpdir_test(pwrite_says_how_far),
		tmpdir_test(read_file_bounds),
		tmpdir_test(replace_is_whole),
		tmpdir_test(mkdirs_makes_what_is_missing),
		tmpdir_test(remove_any_depth),
		tmpdir_test(remove_a_bush),
		tmpdir_test(remove_follows_no_links),
		cmocka_unit_test(random_fills),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
