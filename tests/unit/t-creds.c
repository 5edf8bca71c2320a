/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Creating as somebody else: owner and mode at once, the daemon's rights kept,
 * other threads untouched. As an ordinary user only the umask counts. */
#include "replica/creds.h"

#include <errno.h>
#include <pthread.h>

#include "tests/unit/tmpdir.h"

static struct stat make(int dirfd, const char *name, mode_t mode)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL, mode);
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	close(fd);
	return st;
}

static void umask_of_the_caller(void **state)
{
	int fd = *(int *)*state;
	const struct caller me = { geteuid(), getegid(), 027 };
	struct stat st;

	assert_int_equal(creds_thread_init(), 0);
	assert_int_equal(creds_thread_init(), 0);
	st = make(fd, "before", 0777);
	assert_int_equal(st.st_mode & 07777, 0777);
	assert_int_equal(creds_assume(&me), 0);
	st = make(fd, "during", 0777);
	creds_restore();
	assert_int_equal(st.st_mode & 07777, 0750);
	st = make(fd, "after", 0777);
	assert_int_equal(st.st_mode & 07777, 0777);
}

static void owner_of_the_caller(void **state)
{
	int fd = *(int *)*state;
	const struct caller other = { 4242, 4343, 0 };
	struct stat st;

	if (geteuid() != 0)
		skip();
	assert_int_equal(fchmod(fd, 0700), 0); /* nobody else may create here */
	assert_int_equal(creds_assume(&other), 0);
	st = make(fd, "theirs", 0644);
	assert_int_equal(st.st_uid, 4242);
	assert_int_equal(st.st_gid, 4343);
	/* a directory the caller cannot enter is no obstacle for the daemon */
	assert_int_equal(mkdirat(fd, "closed", 0), 0);
	assert_int_equal(mkdirat(fd, "closed/below", 0), 0);
	creds_restore();
	st = make(fd, "ours", 0644);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(st.st_gid, 0);
	/* a group alone */
	assert_int_equal(creds_assume(&(struct caller){ 0, 4343, 0 }), 0);
	st = make(fd, "group", 0644);
	creds_restore();
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(st.st_gid, 4343);
}

struct worker {
	int dirfd;
	uid_t uid;
	int wrong;
};

static void *create_many(void *arg)
{
	struct worker *w = arg;
	char name[64];

	for (int i = 0; i < 200; i++) {
		const struct caller c = { w->uid, w->uid + 1, (mode_t)(w->uid % 2 ? 077 : 0) };
		struct stat st;
		int fd;

		snprintf(name, sizeof(name), "%u-%d", (unsigned)w->uid, i);
		w->wrong |= creds_assume(&c) < 0;
		fd = openat(w->dirfd, name, O_WRONLY | O_CREAT | O_EXCL, 0666);
		creds_restore();
		w->wrong |= fd < 0 || fstat(fd, &st) < 0 || st.st_uid != w->uid ||
			    st.st_gid != w->uid + 1 ||
			    (st.st_mode & 0777) != (w->uid % 2 ? 0600u : 0666u);
		close(fd);
	}
	return NULL;
}

static void threads_do_not_meet(void **state)
{
	struct worker w[4];
	pthread_t t[4];

	if (geteuid() != 0)
		skip();
	for (unsigned i = 0; i < 4; i++) {
		w[i] = (struct worker){ *(int *)*state, 5000 + i, 0 };
		assert_int_equal(pthread_create(&t[i], NULL, create_many, &w[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(w[i].wrong, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmpdir_test(umask_of_the_caller),
		tmpdir_test(owner_of_the_caller),
		tmpdir_test(threads_do_not_meet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
