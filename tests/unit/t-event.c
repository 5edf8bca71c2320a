/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The event log: lines, rotation, several logs, logs that fail. */
#include "replica/event.h"

#include <errno.h>

#include "tests/unit/tmpdir.h"

static void escapes(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "", "" },
		{ "plain path/x ~", "plain path/x ~" },
		{ "a\\b", "a\\134b" },
		{ "\t\n\x7f", "\\011\\012\\177" },
		{ "\xc3\xa4\xff\x01", "\\303\\244\\377\\001" },
	};
	char out[64];
	size_t i, size;

	(void)state;
	for (i = 0; i < N_ELEMS(cases); i++) {
		event_escape(cases[i].in, out, sizeof(out));
		assert_string_equal(out, cases[i].out);
	}
	/* cut to size, always terminated, never inside an escape */
	for (size = 1; size < 12; size++) {
		memset(out, '#', sizeof(out));
		event_escape("ab\tcd", out, size);
		assert_true(strlen(out) < size);
		assert_int_equal(out[size], '#');
		assert_int_equal(strncmp("ab\\011cd", out, strlen(out)), 0);
		assert_true(strlen(out) < 3 || strlen(out) > 5);
	}
	out[0] = '#';
	event_escape("x", out, 0);
	assert_int_equal(out[0], '#');
}

static const struct event sample = {
	.action = "repaired",
	.path = "a dir/fi\tle",
	.off = 4096,
	.len = 8192,
	.member = "/m/1",
	.found = "leaf 1\nrotten",
	.source = "/m/0",
};

static char *read_log(int dirfd, const char *name)
{
	char *text;
	size_t len;

	assert_int_equal(io_read_file(dirfd, name, 1 << 22, &text, &len), 0);
	assert_int_equal(strlen(text), len);
	return text;
}

static void line_format(void **state)
{
	int dirfd = *(int *)*state;
	struct event bare = { .action = "ejected" };
	struct event_log l;
	char *text, *second;

	event_log_init(&l);
	event_log_attach(&l, 3, dirfd);
	event_emit(&l, &sample);
	event_emit(&l, &bare);
	text = read_log(dirfd, "events");
	second = strchr(text, '\n') + 1;
	/* 2026-01-02T03:04:05+0000 */
	assert_int_equal(strspn(text, "0123456789-T:+"), 24);
	assert_int_equal(strspn(second, "0123456789-T:+"), 24);
	assert_string_equal(second + 24, "\tejected\t-\t-\t-\t-\t-\n");
	*second = '\0';
	assert_string_equal(text + 24, "\trepaired\ta dir/fi\\011le\t4096+8192\t/m/1"
				       "\tleaf 1\\012rotten\t/m/0\n");
	free(text);
}

static void all_attached_logs(void **state)
{
	int dirfd = *(int *)*state, fd[2], i;
	struct event_log l;
	char *a, *b;

	assert_int_equal(io_mkdirs(dirfd, "0"), 0);
	assert_int_equal(io_mkdirs(dirfd, "1"), 0);
	event_log_init(&l);
	for (i = 0; i < 2; i++) {
		fd[i] = openat(dirfd, i ? "1" : "0", O_RDONLY | O_DIRECTORY);
		event_log_attach(&l, i * (EVENT_MAX_LOGS - 1), fd[i]);
	}
	event_emit(&l, &sample);
	a = read_log(fd[0], "events");
	b = read_log(fd[1], "events");
	assert_string_equal(a, b);
	free(b);
	event_log_detach(&l, 0);
	event_emit(&l, &sample);
	b = read_log(fd[0], "events");
	assert_string_equal(a, b);
	free(b);
	b = read_log(fd[1], "events");
	assert_int_equal(strlen(b), 2 * strlen(a));
	free(a);
	free(b);
	close(fd[0]);
	close(fd[1]);
}

/* Neither file passes the limit, and no line is lost or cut on the way. */
static void rotation(void **state)
{
	int dirfd = *(int *)*state, i;
	char path[600], *text, *filler;
	struct event e = sample;
	struct event_log l;
	struct stat st;

	memset(path, 'p', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	e.path = path;
	filler = calloc(1, EVENT_LOG_LIMIT);
	memset(filler, 'f', EVENT_LOG_LIMIT - 1001);
	filler[EVENT_LOG_LIMIT - 1001] = '\n';
	put_file(dirfd, "events", filler, EVENT_LOG_LIMIT - 1000);
	event_log_init(&l);
	event_log_attach(&l, 0, dirfd);
	event_emit(&l, &e); /* fits */
	assert_false(exists(dirfd, "events.1"));
	event_emit(&l, &e); /* does not */
	assert_int_equal(fstatat(dirfd, "events.1", &st, 0), 0);
	assert_true(st.st_size > EVENT_LOG_LIMIT - 1000 && st.st_size <= EVENT_LOG_LIMIT);
	text = read_log(dirfd, "events");
	assert_true(strchr(text, '\n') == text + strlen(text) - 1);
	free(text);
	/* the older one of two is replaced */
	put_file(dirfd, "events", filler, EVENT_LOG_LIMIT);
	event_emit(&l, &e);
	assert_int_equal(fstatat(dirfd, "events.1", &st, 0), 0);
	assert_int_equal(st.st_size, EVENT_LOG_LIMIT);
	for (i = 0; i < 3; i++)
		event_emit(&l, &e);
	assert_int_equal(fstatat(dirfd, "events", &st, 0), 0);
	assert_true(st.st_size > 2400 && st.st_size < 4000);
	free(filler);
}

static void torn_lines_are_dropped(void **state)
{
	static const char torn[] = "one\twhole\n\0\0\0\0\0\0lf\nanother\n\0\0\0\0\0\0\0\0";
	static const char half[] = "one\twhole\nanother\nhal";
	const struct { const char *bytes; size_t len; } cases[] = {
		{ torn, sizeof(torn) - 1 }, { half, sizeof(half) - 1 },
	};
	int dirfd = *(int *)*state;
	struct event_log l;

	for (size_t i = 0; i < N_ELEMS(cases); i++) {
		char *text;

		put_file(dirfd, "events", cases[i].bytes, cases[i].len);
		event_log_init(&l);
		event_log_attach(&l, 0, dirfd);
		event_emit(&l, &sample);
		text = read_log(dirfd, "events");
		assert_int_equal(strncmp(text, "one\twhole\nanother\n20", 20), 0);
		assert_true(strchr(text + 18, '\n') == text + strlen(text) - 1);
		free(text);
	}
}

/* How many lines of what stderr got speak of the event log. */
static int complaints(int dirfd, struct event_log *l, int events)
{
	int kept = dup(STDERR_FILENO), n = 0;
	int fd = openat(dirfd, "err", O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);
	char *text, *p;

	dup2(fd, STDERR_FILENO);
	while (events--)
		event_emit(l, &sample);
	dup2(kept, STDERR_FILENO);
	close(kept);
	close(fd);
	text = read_log(dirfd, "err");
	for (p = text; (p = strstr(p, "event log")) != NULL; p++)
		n++;
	free(text);
	return n;
}

static void failure_is_reported_once(void **state)
{
	int dirfd = *(int *)*state, good;
	struct event_log l;
	char *text;

	assert_int_equal(io_mkdirs(dirfd, "bad/events"), 0); /* cannot be appended to */
	assert_int_equal(io_mkdirs(dirfd, "good"), 0);
	good = openat(dirfd, "good", O_RDONLY | O_DIRECTORY);
	event_log_init(&l);
	event_log_attach(&l, 0, openat(dirfd, "bad", O_RDONLY | O_DIRECTORY));
	event_log_attach(&l, 1, good);
	assert_int_equal(complaints(dirfd, &l, 5), 1);
	assert_int_equal(complaints(dirfd, &l, 5), 0);
	text = read_log(good, "events");
	free(text);
	/* a log attached anew starts anew */
	event_log_attach(&l, 0, l.dotfd[0]);
	assert_int_equal(complaints(dirfd, &l, 5), 1);
	close(l.dotfd[0]);
	close(good);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(escapes),
		tmpdir_test(line_format),
		tmpdir_test(all_attached_logs),
		tmpdir_test(rotation),
		tmpdir_test(torn_lines_are_dropped),
		tmpdir_test(failure_is_reported_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
