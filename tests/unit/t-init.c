/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making a volume: of empty directories, of a tree that is there already, and
 * all that is refused. */
#include "replica/init.h"

#include "tests/unit/compare.h"

static char data[200000];

static int init(struct bed *b, int n, const char *const *dirs, const struct init_options *opt)
{
	(void)b;
	return init_volume(n, dirs, opt);
}

static void refusals(void **state)
{
	const struct init_options plain = { .adopt = false }, adopt = { .adopt = true };
	struct bed *b = *state;
	char sub[400], link[400];
	const char *dirs[20] = { b->path[0], b->path[0] };

	assert_int_equal(init(b, 2, dirs, &plain), -EINVAL); /* twice the same */
	snprintf(sub, sizeof(sub), "%s/m0x", b->base);
	dirs[1] = sub;
	assert_int_equal(init(b, 2, dirs, &plain), -ENOENT);
	put_file(b->fd[1], "file", "x", 1);
	snprintf(sub, sizeof(sub), "%s/file", b->path[1]);
	assert_int_equal(init(b, 2, dirs, &plain), -ENOTDIR);
	dirs[1] = b->path[1];
	assert_int_equal(init(b, 2, dirs, &plain), -ENOTEMPTY);
	assert_int_equal(init(b, 2, dirs, &adopt), -ENOTEMPTY); /* not the first */
	assert_int_equal(unlinkat(b->fd[1], "file", 0), 0);
	assert_int_equal(mkdirat(b->fd[0], "in", 0755), 0);
	snprintf(sub, sizeof(sub), "%s/in", b->path[0]);
	dirs[1] = sub;
	assert_int_equal(init(b, 2, dirs, &adopt), -EINVAL); /* one inside the other */
	snprintf(link, sizeof(link), "%s/link", b->base);
	assert_int_equal(symlink(b->path[0], link), 0);
	dirs[1] = link;
	assert_int_equal(init(b, 2, dirs, &adopt), -EINVAL); /* seen through a link */
	for (int i = 0; i < 20; i++)
		dirs[i] = b->path[0];
	assert_int_equal(init(b, 17, dirs, &plain), -EINVAL);
	assert_int_equal(init(b, 0, dirs, &plain), -EINVAL);
	assert_false(exists(b->fd[0], DOT_DIR) || exists(b->fd[1], DOT_DIR));
}

static void names_that_only_begin_alike(void **state)
{
	struct bed *b = *state;
	char longer[400];
	const char *dirs[2] = { b->path[0], longer };

	snprintf(longer, sizeof(longer), "%s2", b->path[0]);
	assert_int_equal(mkdir(longer, 0755), 0);
	assert_int_equal(init_check_dirs(2, dirs), 0);
}

static void empty_directories(void **state)
{
	struct bed *b = *state;

	assert_int_equal(mkdirat(b->fd[1], "lost+found", 0700), 0);
	assert_true(init_dir_empty(b->fd[1]));
	assert_int_equal(bed_init(b, false), 0);
	assert_false(init_dir_empty(b->fd[0]));
	assert_int_equal(bed_init(b, false), -EEXIST);
	assert_int_equal(bed_init(b, true), -EEXIST);
	bed_open(b);
	assert_int_equal(volume_in_sync(b->v), 3);
	assert_int_equal(bed_record(b, 0, ".").id, ROOT_ID);
	assert_int_equal(bed_scrub(b, false).found, 0);
}

static void one_mirror(void **state)
{
	struct bed *b = bed_new(1);

	(void)state;
	assert_int_equal(bed_write(b, "f", "x", 1), 0);
	bed_reopen(b);
	assert_int_equal(bed_read(b, "f", data, 10), 1);
	bed_free(b);
}

static void a_dry_run_makes_nothing(void **state)
{
	const struct init_options opt = { .dry_run = true }, adopt = { .adopt = true,
								       .dry_run = true };
	struct bed *b = *state;
	const char *dirs[2] = { b->path[0], b->path[1] };

	assert_int_equal(init_volume(2, dirs, &opt), 0);
	put_file(b->fd[0], "f", "x", 1);
	assert_int_equal(init_volume(2, dirs, &adopt), 0);
	assert_false(exists(b->fd[0], DOT_DIR) || exists(b->fd[1], DOT_DIR));
}

/* ---- adoption ---- */

static void make_tree(struct bed *b)
{
	const struct timespec ts[2] = { { 1000, 0 }, { 2000, 0 } };
	char path[400];

	fill_pattern(data, sizeof(data), 8);
	assert_int_equal(mkdirat(b->fd[0], "d", 0750), 0);
	assert_int_equal(mkdirat(b->fd[0], "d/sub", 0755), 0);
	put_file(b->fd[0], "d/small", data, 500);
	put_file(b->fd[0], "d/sub/big", data, sizeof(data));
	put_file(b->fd[0], "d/empty", "", 0);
	assert_int_equal(symlinkat("../d", b->fd[0], "d/link"), 0);
	assert_int_equal(mkfifoat(b->fd[0], "d/fifo", 0600), 0);
	assert_int_equal(linkat(b->fd[0], "d/small", b->fd[0], "d/sub/hard", 0), 0);
	assert_int_equal(fchmodat(b->fd[0], "d/small", 0604, 0), 0);
	assert_int_equal(utimensat(b->fd[0], "d/small", ts, 0), 0);
	snprintf(path, sizeof(path), "%s/d/small", b->path[0]);
	assert_int_equal(setxattr(path, "user.mine", "kept", 4, 0), 0);
	assert_int_equal(utimensat(b->fd[0], "d/sub", ts, 0), 0);
	assert_int_equal(utimensat(b->fd[0], "d", ts, 0), 0);
}

static void check_adopted(struct bed *b)
{
	static char back[sizeof(data)];
	struct stat st;
	char value[8];

	bed_open(b);
	assert_int_equal(volume_in_sync(b->v), 3);
	assert_int_equal(bed_read(b, "d/sub/big", back, sizeof(back)), sizeof(data));
	assert_memory_equal(back, data, sizeof(data));
	assert_int_equal(bed_stat(b, "d/small", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0604);
	assert_int_equal(st.st_mtim.tv_sec, 2000);
	assert_int_equal(st.st_nlink, 2);
	assert_int_equal(bed_stat(b, "d", &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 2000);
	assert_int_equal(st.st_mode & 07777, 0750);
	snprintf(back, 400, "%s/d/small", b->path[1]);
	assert_int_equal(getxattr(back, "user.mine", value, sizeof(value)), 4);
	assert_int_equal(bed_record(b, 0, "d/sub/big").flags, 0);
	assert_int_equal(bed_scrub(b, false).found, 0);
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
	assert_int_equal(bed_quarantined(b), 0);
}

static void adopted(void **state)
{
	struct bed *b = *state;

	make_tree(b);
	assert_int_equal(bed_init(b, true), 0);
	check_adopted(b);
}

static int stop_at(const struct init_progress *p, void *arg)
{
	unsigned *left = arg;

	assert_non_null(p->path);
	return *left && --*left == 0;
}

/* Stopped, it is no volume yet; the same command goes on with it. */
static void adoption_goes_on(void **state)
{
	struct bed *b = *state;
	unsigned left;
	const struct init_options opt = { .adopt = true, .progress = stop_at, .arg = &left };
	const char *dirs[2] = { b->path[0], b->path[1] };
	int stopped = 0, r;

	make_tree(b);
	for (left = 1;; left = 0) {
		r = init_volume(2, dirs, &opt);
		if (r == 0)
			break;
		assert_int_equal(r, -EINTR);
		stopped++;
		assert_true(bed_open_some(b, 3) < 0);
	}
	assert_int_equal(stopped, 1);
	check_adopted(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test_dirs(refusals),
		bed_test_dirs(names_that_only_begin_alike),
		bed_test_dirs(empty_directories),
		cmocka_unit_test(one_mirror),
		bed_test_dirs(a_dry_run_makes_nothing),
		bed_test_dirs(adopted),
		bed_test_dirs(adoption_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
