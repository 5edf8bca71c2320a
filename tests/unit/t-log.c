/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages, as they come out of stderr. */
#include "replica/base/log.h"

#include <errno.h>
#include <pthread.h>

#include "tests/unit/tmpdir.h"

static int kept = -1;

static void capture(int dirfd)
{
	int fd = openat(dirfd, "err", O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	kept = dup(STDERR_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
}

static char *captured(int dirfd)
{
	char *text;
	size_t len;

	dup2(kept, STDERR_FILENO);
	close(kept);
	assert_int_equal(io_read_file(dirfd, "err", 1 << 24, &text, &len), 0);
	return text;
}

static void levels_and_prefix(void **state)
{
	int dirfd = *(int *)*state;
	char *text;

	capture(dirfd);
	log_info("plain %d", 1);
	log_set_program("prog");
	log_error("e");
	log_warn("w");
	log_info("i");
	log_debug("not shown");
	log_set_level(LOG_LEVEL_ERROR);
	log_warn("not shown");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("d");
	log_set_program(NULL);
	log_set_level(LOG_LEVEL_INFO);
	text = captured(dirfd);
	assert_string_equal(text, "plain 1\nprog: error: e\nprog: warning: w\n"
				  "prog: i\nprog: debug: d\n");
	free(text);
}

static void err_text_and_errno(void **state)
{
	int dirfd = *(int *)*state;
	char *text;

	capture(dirfd);
	errno = EXDEV;
	assert_int_equal(log_err(-ENOENT, "open %s", "x"), -ENOENT);
	assert_int_equal(errno, EXDEV);
	text = captured(dirfd);
	assert_string_equal(text, "error: open x: No such file or directory\n");
	free(text);
}

static void one_line_each(void **state)
{
	int dirfd = *(int *)*state;
	char big[10000], *text;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	capture(dirfd);
	log_info("a\nb\033c\td");
	log_info("%s", big);
	text = captured(dirfd);
	assert_memory_equal(text, "a?b?c?d\nxxx", 11);
	assert_int_equal(strlen(text) - 8, 4095); /* cut, and still a line */
	assert_string_equal(text + strlen(text) - 5, "x...\n");
	free(text);
}

static void *writer(void *arg)
{
	char c = *(char *)arg, word[80];
	int i;

	memset(word, c, sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	for (i = 0; i < 500; i++)
		log_info("%s", word);
	return NULL;
}

static void lines_stay_whole(void **state)
{
	int dirfd = *(int *)*state, i, n = 0;
	char names[] = "abcd", *text, *line, *save;
	pthread_t t[4];

	capture(dirfd);
	for (i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, writer, &names[i]);
	for (i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	text = captured(dirfd);
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char same[2] = { line[0], '\0' };

		assert_int_equal(strspn(line, same), 79);
		assert_int_equal(strlen(line), 79);
		n++;
	}
	assert_int_equal(n, 2000);
	free(text);
}

/* Last: there is no way back. */
static void syslog_leaves_stderr_alone(void **state)
{
	int dirfd = *(int *)*state;
	char *text;

	capture(dirfd);
	log_set_program("t-log");
	log_to_syslog();
	log_info("unit test of the message log, please ignore");
	text = captured(dirfd);
	assert_string_equal(text, "");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmpdir_test(levels_and_prefix),
		tmpdir_test(err_text_and_errno),
		tmpdir_test(one_line_each),
		tmpdir_test(lines_stay_whole),
		tmpdir_test(syslog_leaves_stderr_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
