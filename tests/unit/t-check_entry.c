/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entries that are not alike on all mirrors: missing, of another type,
 * strangers, records lost, metadata changed, whole directories lost. Healed
 * by looking, by listing or by scrub; a dry run only tells.
 */
#include "replica/check.h"

#include "tests/unit/compare.h"

static const char *const payload = "the quick brown fox";
static char big[200000], back[200000];

/* d/{f,big,l,p,sub/{x,deep/y}}, sealed and forgotten. */
static void make_tree(struct bed *b)
{
	fill_pattern(big, sizeof(big), 4);
	assert_int_equal(bed_mkdir(b, "d"), 0);
	assert_int_equal(bed_write(b, "d/f", payload, strlen(payload)), 0);
	assert_int_equal(bed_write(b, "d/big", big, sizeof(big)), 0);
	assert_int_equal(bed_make(b, "d/l", S_IFLNK, "some/target"), 0);
	assert_int_equal(bed_make(b, "d/p", S_IFIFO | 0600, NULL), 0);
	assert_int_equal(bed_mkdir(b, "d/sub"), 0);
	assert_int_equal(bed_write(b, "d/sub/x", "x", 1), 0);
	assert_int_equal(bed_mkdir(b, "d/sub/deep"), 0);
	assert_int_equal(bed_write(b, "d/sub/deep/y", big, sizeof(big)), 0);
	assert_int_equal(bed_link(b, "d/f", "d/sub/hard"), 0);
	bed_reopen(b);
}

static const char *const every_path[] = { "d", "d/f", "d/big", "d/l", "d/p", "d/sub", "d/sub/x",
					  "d/sub/deep", "d/sub/deep/y", "d/sub/hard" };

static void assert_whole(struct bed *b)
{
	struct stat st;

	for (size_t i = 0; i < N_ELEMS(every_path); i++)
		assert_int_equal(bed_stat(b, every_path[i], &st), 0);
	assert_int_equal(bed_read(b, "d/big", back, sizeof(back)), sizeof(big));
	assert_memory_equal(back, big, sizeof(big));
	assert_int_equal(bed_read(b, "d/sub/deep/y", back, sizeof(back)), sizeof(big));
	assert_memory_equal(back, big, sizeof(big));
	assert_int_equal(bed_read(b, "d/sub/hard", back, sizeof(back)), strlen(payload));
	assert_memory_equal(back, payload, strlen(payload));
	assert_int_equal(volume_in_sync(b->v), (1u << b->n) - 1);
}

static void assert_healed(struct bed *b)
{
	assert_whole(b);
	bed_seal(b);
	assert_int_equal(bed_scrub(b, false).found, 0);
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
	bed_close(b);
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
	bed_open(b);
}

/* Everything the mirrors hold, for "nothing was changed". */
static uint64_t print_of(int fd)
{
	int dup = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fdopendir(dup);
	const struct dirent *e;
	uint64_t sum = 0;

	while ((e = readdir(d))) {
		struct stat st;
		uint64_t own[6];

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
		    strcmp(e->d_name, DOT_DIR) == 0)
			continue;
		assert_int_equal(fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW), 0);
		memcpy(own, (uint64_t[]){ st.st_ino, st.st_mode, st.st_uid, (uint64_t)st.st_size,
					  (uint64_t)ts_ns(&st.st_mtim),
					  (uint64_t)ts_ns(&st.st_ctim) }, sizeof(own));
		sum += hash_bytes(own, sizeof(own), hash_bytes(e->d_name, strlen(e->d_name), 7));
		if (S_ISDIR(st.st_mode)) {
			int sub = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

			sum = sum * 31 + print_of(sub);
			close(sub);
		}
	}
	closedir(d);
	return sum;
}

static void dry_run_tells_and_changes_nothing(struct bed *b)
{
	uint64_t before[MAX_MIRRORS];
	struct scrub_stats s;

	bed_close(b);
	for (int m = 0; m < b->n; m++)
		before[m] = print_of(b->fd[m]);
	bed_open(b);
	s = bed_scrub(b, true);
	assert_true(s.found > 0);
	assert_int_equal(s.corrected, 0);
	bed_close(b);
	for (int m = 0; m < b->n; m++)
		assert_int_equal(print_of(b->fd[m]), before[m]);
	bed_open(b);
	assert_int_equal(bed_quarantined(b), 0);
}

/* ---- the kinds of damage, on mirror m ---- */

static void lose_file(struct bed *b, int m)
{
	assert_int_equal(unlinkat(b->fd[m], "d/big", 0), 0);
}

static void lose_link(struct bed *b, int m)
{
	assert_int_equal(unlinkat(b->fd[m], "d/l", 0), 0);
}

static void lose_fifo(struct bed *b, int m)
{
	assert_int_equal(unlinkat(b->fd[m], "d/p", 0), 0);
}

static void lose_hard_link(struct bed *b, int m)
{
	assert_int_equal(unlinkat(b->fd[m], "d/sub/hard", 0), 0);
}

static void lose_tree(struct bed *b, int m)
{
	assert_int_equal(io_remove_tree(b->fd[m], "d/sub"), 0);
}

static void lose_everything(struct bed *b, int m)
{
	assert_int_equal(io_remove_tree(b->fd[m], "d"), 0);
}

static void file_became_directory(struct bed *b, int m)
{
	assert_int_equal(unlinkat(b->fd[m], "d/big", 0), 0);
	assert_int_equal(mkdirat(b->fd[m], "d/big", 0755), 0);
	put_file(b->fd[m], "d/big/inside", "kept", 4);
}

static void directory_became_file(struct bed *b, int m)
{
	assert_int_equal(io_remove_tree(b->fd[m], "d/sub"), 0);
	put_file(b->fd[m], "d/sub", "what", 4);
}

static void link_became_file(struct bed *b, int m)
{
	assert_int_equal(unlinkat(b->fd[m], "d/l", 0), 0);
	put_file(b->fd[m], "d/l", "what", 4);
}

static void other_target(struct bed *b, int m)
{
	assert_int_equal(unlinkat(b->fd[m], "d/l", 0), 0);
	assert_int_equal(symlinkat("else/where", b->fd[m], "d/l"), 0);
}

/* The same in all but its target. */
static void retarget(struct bed *b, int m)
{
	char path[400], record[100];
	struct timespec ts[2];
	struct stat st;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/d/l", b->path[m]);
	n = lgetxattr(path, RECORD_XATTR_TRUSTED, record, sizeof(record));
	assert_int_equal(fstatat(b->fd[m], "d/l", &st, AT_SYMLINK_NOFOLLOW), 0);
	other_target(b, m);
	if (n > 0)
		assert_int_equal(lsetxattr(path, RECORD_XATTR_TRUSTED, record, (size_t)n, 0), 0);
	ts[0] = st.st_atim;
	ts[1] = st.st_mtim;
	assert_int_equal(utimensat(b->fd[m], "d/l", ts, AT_SYMLINK_NOFOLLOW), 0);
}

static void replaced_without_record(struct bed *b, int m)
{
	assert_int_equal(unlinkat(b->fd[m], "d/f", 0), 0);
	put_file(b->fd[m], "d/f", "another file of that name", 25);
}

static void stranger(struct bed *b, int m)
{
	put_file(b->fd[m], "d/stranger", "not ours", 8);
}

static void stranger_directory(struct bed *b, int m)
{
	assert_int_equal(mkdirat(b->fd[m], "d/sub/strange", 0755), 0);
	put_file(b->fd[m], "d/sub/strange/file", "not ours", 8);
}

static void copy_with_record(struct bed *b, int m)
{
	char from[400], record[100];
	ssize_t n;

	/* cp -a of a file: two names of one id */
	snprintf(from, sizeof(from), "%s/d/f", b->path[m]);
	n = getxattr(from, RECORD_XATTR_USER, record, sizeof(record));
	assert_true(n > 0);
	put_file(b->fd[m], "d/copy", payload, strlen(payload));
	snprintf(from, sizeof(from), "%s/d/copy", b->path[m]);
	assert_int_equal(setxattr(from, RECORD_XATTR_USER, record, (size_t)n, 0), 0);
}

static void drop_record(struct bed *b, int m, const char *name)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/%s", b->path[m], name);
	assert_int_equal(removexattr(path, RECORD_XATTR_USER), 0);
}

static void record_lost(struct bed *b, int m)
{
	drop_record(b, m, "d/big");
}

static void directory_record_lost(struct bed *b, int m)
{
	drop_record(b, m, "d/sub");
}

static void record_damaged(struct bed *b, int m)
{
	char path[400], record[100];
	ssize_t n;

	snprintf(path, sizeof(path), "%s/d/f", b->path[m]);
	n = getxattr(path, RECORD_XATTR_USER, record, sizeof(record));
	assert_int_equal(n, RECORD_SIZE);
	record[20] ^= 4;
	assert_int_equal(setxattr(path, RECORD_XATTR_USER, record, (size_t)n, 0), 0);
}

static void mode_changed(struct bed *b, int m)
{
	assert_int_equal(fchmodat(b->fd[m], "d/f", 0666, 0), 0);
}

static void directory_mode_changed(struct bed *b, int m)
{
	assert_int_equal(fchmodat(b->fd[m], "d/sub", 0700, 0), 0);
}

static void mtime_changed(struct bed *b, int m)
{
	const struct timespec ts[2] = { { 1, 1 }, { 2, 2 } };

	assert_int_equal(utimensat(b->fd[m], "d/big", ts, 0), 0);
}

static void xattr_added(struct bed *b, int m)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/d/f", b->path[m]);
	assert_int_equal(setxattr(path, "user.extra", "1", 1, 0), 0);
}

/* The hard link broken up: two files of one content. */
static void links_are_two_files(struct bed *b, int m)
{
	char from[400], record[100];
	struct timespec ts[2];
	struct stat st;
	ssize_t n;

	snprintf(from, sizeof(from), "%s/d/f", b->path[m]);
	n = getxattr(from, RECORD_XATTR_USER, record, sizeof(record));
	assert_int_equal(fstatat(b->fd[m], "d/f", &st, 0), 0);
	ts[0] = st.st_atim;
	ts[1] = st.st_mtim;
	assert_int_equal(unlinkat(b->fd[m], "d/f", 0), 0);
	put_file(b->fd[m], "d/f", payload, strlen(payload));
	assert_int_equal(fchmodat(b->fd[m], "d/f", st.st_mode & 07777, 0), 0);
	assert_int_equal(setxattr(from, RECORD_XATTR_USER, record, (size_t)n, 0), 0);
	assert_int_equal(utimensat(b->fd[m], "d/f", ts, 0), 0);
}

static const struct damage {
	const char *name;
	void (*run)(struct bed *b, int m);
	bool keeps;       /* what it replaces must be in quarantine */
	bool scrub_only;  /* too deep for a look */
} damage[] = {
	{ "lose_file", lose_file, false, false },
	{ "lose_link", lose_link, false, false },
	{ "lose_fifo", lose_fifo, false, false },
	{ "lose_hard_link", lose_hard_link, false, false },
	{ "lose_tree", lose_tree, false, false },
	{ "lose_everything", lose_everything, false, false },
	{ "file_became_directory", file_became_directory, true, false },
	{ "directory_became_file", directory_became_file, true, false },
	{ "link_became_file", link_became_file, true, false },
	{ "other_target", other_target, true, true },
	{ "retarget", retarget, true, true },
	{ "replaced_without_record", replaced_without_record, true, false },
	{ "stranger", stranger, true, true },
	{ "stranger_directory", stranger_directory, true, true },
	{ "copy_with_record", copy_with_record, true, true },
	{ "record_lost", record_lost, false, true },
	{ "directory_record_lost", directory_record_lost, false, true },
	{ "record_damaged", record_damaged, false, true },
	{ "mode_changed", mode_changed, false, false },
	{ "directory_mode_changed", directory_mode_changed, false, false },
	{ "mtime_changed", mtime_changed, false, false },
	{ "xattr_added", xattr_added, false, true },
	{ "links_are_two_files", links_are_two_files, false, true },
};

/* Every kind, on every mirror, first told by a dry run, then healed. */
static void healed_by(struct bed *b, bool scrub)
{
	make_tree(b);
	for (size_t i = 0; i < N_ELEMS(damage); i++)
		for (int m = 0; m < b->n; m++) {
			uint64_t kept = bed_quarantined(b);

			if (!scrub && damage[i].scrub_only)
				continue;
			print_message("%s on %d\n", damage[i].name, m);
			bed_close(b);
			damage[i].run(b, m);
			bed_open(b);
			if (scrub) {
				struct scrub_stats s = bed_scrub(b, false);

				assert_true(s.found > 0);
				assert_int_equal(s.uncorrected, 0);
				assert_int_equal(s.failed, 0);
			} else {
				assert_whole(b);
			}
			if (damage[i].keeps)
				assert_true(bed_quarantined(b) > kept);
			if (!scrub)
				bed_scrub(b, false);
			assert_healed(b);
		}
}

static void healed_by_scrub(void **state)
{
	healed_by(*state, true);
}

static void healed_by_looking(void **state)
{
	healed_by(*state, false);
}

static void a_dry_run_tells(void **state)
{
	for (size_t i = 0; i < N_ELEMS(damage); i++) {
		struct bed *b = bed_new(2);

		print_message("%s\n", damage[i].name);
		make_tree(b);
		bed_close(b);
		damage[i].run(b, (int)(i % 2));
		bed_open(b);
		dry_run_tells_and_changes_nothing(b);
		assert_int_equal(bed_scrub(b, false).uncorrected, 0);
		assert_healed(b);
		bed_free(b);
	}
	(void)state;
}

/* Two mirrors of three damaged in the same way: the sum, not the majority. */
static void the_majority_does_not_win(void **state)
{
	struct bed *b = *state;

	make_tree(b);
	for (size_t i = 0; i < N_ELEMS(damage); i++) {
		if (strcmp(damage[i].name, "stranger") != 0 &&
		    strncmp(damage[i].name, "lose", 4) != 0)
			continue;
		for (int good = 0; good < 3; good++) {
			print_message("%s, good: %d\n", damage[i].name, good);
			bed_close(b);
			for (int m = 0; m < 3; m++)
				if (m != good)
					damage[i].run(b, m);
			bed_open(b);
			assert_int_equal(bed_scrub(b, false).uncorrected, 0);
			assert_healed(b);
		}
	}
}

/* Different things lost on each mirror. */
static void each_lost_another(void **state)
{
	struct bed *b = *state;

	make_tree(b);
	bed_close(b);
	lose_file(b, 0);
	lose_tree(b, 1);
	other_target(b, 0);
	stranger(b, 1);
	mode_changed(b, 1);
	bed_open(b);
	/* what moved on both is the directory's own mtime, and only that is told */
	assert_true(bed_scrub(b, false).uncorrected <= 1);
	assert_healed(b);
}

/* Gone on all mirrors: told, not made up. */
static void lost_on_all(void **state)
{
	struct bed *b = *state;
	struct scrub_stats s;
	struct stat st;

	make_tree(b);
	bed_close(b);
	lose_file(b, 0);
	lose_file(b, 1);
	bed_open(b);
	s = bed_scrub(b, false);
	assert_true(s.uncorrected > 0);
	assert_int_equal(bed_stat(b, "d/big", &st), -ENOENT);
	assert_int_equal(bed_stat(b, "d/f", &st), 0);
	assert_int_equal(volume_in_sync(b->v), 3);
}

/* No copy is right: nothing is touched, and it is still there to be seen. */
static void wrong_target_on_all(void **state)
{
	struct bed *b = *state;
	char target[32] = "";

	make_tree(b);
	bed_close(b);
	retarget(b, 0);
	retarget(b, 1);
	bed_open(b);
	assert_true(bed_scrub(b, false).uncorrected > 0);
	assert_int_equal(bed_quarantined(b), 0);
	for (int m = 0; m < 2; m++)
		assert_int_equal(readlinkat(b->fd[m], "d/l", target, sizeof(target)), 10);
	assert_int_equal(volume_in_sync(b->v), 3);
}

/* The kernel knows it as what it was: its state is not taken for the other. */
static void another_type_under_a_known_node(void **state)
{
	struct bed *b = *state;
	uint32_t dir, file;
	struct stat st;

	make_tree(b);
	dir = bed_node(b, "d/sub", NULL);
	file = bed_node(b, "d/big", NULL);
	for (int m = 0; m < 2; m++) {
		struct dir *d = dir_get(b->v, dir);

		assert_int_equal(dir_load(b->v, d), 0);
		directory_became_file(b, m);
		file_became_directory(b, m);
		for (int i = 0; i < 10; i++) {
			op_getattr(b->v, dir, &st);
			op_getattr(b->v, file, &st);
		}
		assert_int_equal(d->users, 1);
		dir_put(b->v, d);
		assert_int_equal(bed_scrub(b, false).uncorrected, 0);
		assert_whole(b);
	}
	tree_unref(b->v, dir);
	tree_unref(b->v, file);
	assert_healed(b);
}

/* A stranger of the same name on all mirrors, with no record. */
static void stranger_on_all(void **state)
{
	struct bed *b = *state;
	struct stat st;

	make_tree(b);
	bed_close(b);
	stranger(b, 0);
	stranger(b, 1);
	bed_open(b);
	assert_true(bed_scrub(b, false).uncorrected <= 1); /* the directory's mtime */
	assert_int_equal(bed_quarantined(b), 2);
	assert_int_equal(bed_stat(b, "d/stranger", &st), -ENOENT);
	assert_healed(b);
}

/* Changed alike on all mirrors below the mount: kept and said. */
static void metadata_changed_on_all(void **state)
{
	struct bed *b = *state;
	struct stat st;

	make_tree(b);
	bed_close(b);
	mode_changed(b, 0);
	mode_changed(b, 1);
	bed_open(b);
	assert_true(bed_scrub(b, false).found > 0);
	assert_int_equal(bed_stat(b, "d/f", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0666);
	bed_seal(b);
	assert_healed(b);
}

/* A file of several names lost with its directory comes back as one inode. */
static void hard_links_come_back_as_links(void **state)
{
	struct bed *b = *state;
	struct stat a, c;

	make_tree(b);
	bed_close(b);
	lose_everything(b, 1);
	bed_open(b);
	assert_int_equal(bed_scrub(b, false).uncorrected, 0);
	assert_int_equal(fstatat(b->fd[1], "d/f", &a, 0), 0);
	assert_int_equal(fstatat(b->fd[1], "d/sub/hard", &c, 0), 0);
	assert_int_equal(a.st_ino, c.st_ino);
	assert_healed(b);
}

/* ---- after an unclean end ---- */

static int make_and_die(struct bed *b)
{
	if (bed_mkdir(b, "new") < 0 || bed_write(b, "new/a", "1", 1) < 0 ||
	    bed_write(b, "new/b", "2", 1) < 0 || bed_unlink(b, "d/f", false) < 0)
		return -1;
	/* mirror 1 had not carried out all of it */
	return unlinkat(b->fd[1], "new/b", 0) < 0 ||
	       linkat(b->fd[1], "d/sub/hard", b->fd[1], "d/f", 0) < 0 ? -1 : 0;
}

static void names_after_a_crash(void **state)
{
	struct bed *b = *state;
	struct stat st;

	make_tree(b);
	bed_crash(b, 3, make_and_die);
	bed_open(b);
	bed_scrub(b, false);
	assert_int_equal(bed_stat(b, "new/a", &st), 0);
	assert_int_equal(bed_stat(b, "new/b", &st), 0);
	bed_seal(b);
	bed_reopen(b);
	assert_int_equal(bed_scrub(b, false).found, 0);
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
}

static int make_in_a_sealed_one_and_die(struct bed *b)
{
	char path[400];

	/* the power failed on mirror 0 between the name and its record */
	snprintf(path, sizeof(path), "%s/d/sub/new", b->path[0]);
	return bed_write(b, "d/sub/new", "1", 1) < 0 ? -1 : removexattr(path, RECORD_XATTR_USER);
}

static void a_name_cut_off_from_its_record(void **state)
{
	struct bed *b = *state;
	struct stat st;

	make_tree(b);
	bed_crash(b, 3, make_in_a_sealed_one_and_die);
	bed_open(b);
	assert_int_equal(bed_stat(b, "d/sub/new", &st), 0);
	assert_int_equal(bed_scrub(b, false).uncorrected, 0);
	assert_healed(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(healed_by_scrub),
		bed_test(healed_by_looking),
		cmocka_unit_test(a_dry_run_tells),
		bed_test_3(the_majority_does_not_win),
		bed_test(each_lost_another),
		bed_test(lost_on_all),
		bed_test(wrong_target_on_all),
		bed_test(another_type_under_a_known_node),
		bed_test(stranger_on_all),
		bed_test(metadata_changed_on_all),
		bed_test(hard_links_come_back_as_links),
		bed_test(names_after_a_crash),
		bed_test(a_name_cut_off_from_its_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
