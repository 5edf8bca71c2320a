/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A copied directory is known from the original; what is unknown is no clone. */
#include "replica/identity.h"

#include "tests/unit/tmpdir.h"

static void one_directory_is_itself(void **state)
{
	int fd = *(int *)*state, again = openat(fd, ".", O_RDONLY | O_DIRECTORY);
	uint64_t fs = 9, ino = 9, fs2, ino2;
	struct stat st;

	identity_of(fd, &fs, &ino);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(ino, st.st_ino);
	identity_of(again, &fs2, &ino2);
	assert_true(fs == fs2 && ino == ino2);
	assert_false(identity_is_clone(again, fs, ino));
	close(again);
}

static void another_directory_is_a_clone(void **state)
{
	int fd = *(int *)*state, sub;
	uint64_t fs, ino;

	assert_int_equal(mkdirat(fd, "copy", 0755), 0);
	sub = openat(fd, "copy", O_RDONLY | O_DIRECTORY);
	identity_of(fd, &fs, &ino);
	assert_true(identity_is_clone(sub, fs, ino));
	/* another filesystem, where it can be told */
	if (fs)
		assert_true(identity_is_clone(fd, fs ^ 2, ino));
	close(sub);
}

static void the_unknown_is_no_clone(void **state)
{
	int fd = *(int *)*state;
	uint64_t fs, ino;

	identity_of(fd, &fs, &ino);
	assert_false(identity_is_clone(fd, 0, 0));
	assert_false(identity_is_clone(fd, 0, ino));
	assert_false(identity_is_clone(fd, fs, 0));
	identity_of(-1, &fs, &ino);
	assert_true(fs == 0 && ino == 0);
	assert_false(identity_is_clone(-1, 5, 6));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmpdir_test(one_directory_is_itself),
		tmpdir_test(another_directory_is_a_clone),
		tmpdir_test(the_unknown_is_no_clone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
