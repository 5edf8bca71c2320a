// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The client against a server that says what the test has written down: one
 * thread that reads the request and sends its lines, in odd pieces.
 */
#include "tools/client.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "replica/base/log.h"

#define HELLO "{\"mirrorfs\":1,\"protocol\":1}\n"

struct server {
	pthread_t thread;
	int fd;
	const char *hello;
	const char *lines;   /* after the request */
	size_t piece;        /* bytes a send */
	char request[256];   /* as received */
	int hold;            /* wait for the client to hang up before closing */
};

static void send_pieces(struct server *s, const char *text)
{
	size_t left = strlen(text), n;

	for (; left; text += n, left -= n) {
		n = left < s->piece ? left : s->piece;
		if (send(s->fd, text, n, MSG_NOSIGNAL) != (ssize_t)n)
			return;
	}
}

static void *serve(void *arg)
{
	struct server *s = arg;
	size_t used = 0;
	char byte;

	send_pieces(s, s->hello);
	while (s->lines && used < sizeof(s->request) - 1 &&
	       recv(s->fd, s->request + used, 1, 0) == 1 && s->request[used] != '\n')
		used++;
	s->request[used] = '\0';
	if (s->lines)
		send_pieces(s, s->lines);
	while (s->hold && recv(s->fd, &byte, 1, 0) > 0)
		;
	close(s->fd);
	return NULL;
}

static int start(struct server *s)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	s->fd = pair[0];
	if (!s->hello)
		s->hello = HELLO;
	if (!s->piece)
		s->piece = 7;
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
	return pair[1];
}

struct seen {
	int progress, findings, cancel_after;
};

static int on_line(const char *kind, const json_t *body, void *arg)
{
	struct seen *seen = arg;

	if (strcmp(kind, CTL_PROGRESS) == 0)
		seen->progress++;
	else
		seen->findings++;
	assert_true(json_is_object(body));
	return seen->cancel_after && seen->progress + seen->findings >= seen->cancel_after;
}

/* Attach and one call. The result, if any, is printed into text. */
static int talk(struct server *s, struct seen *seen, char *text, size_t n)
{
	struct client c;
	json_t *result = NULL;
	int r = client_attach(&c, start(s), "/mnt");

	if (r == 0)
		r = client_call(&c, json_pack("{ss,ss}", CTL_COMMAND, CTL_SCRUB, CTL_PATH, "a b"),
				60000, on_line, seen, &result);
	client_close(&c);
	pthread_join(s->thread, NULL);
	if (text) {
		char *dump = json_dumps(result, JSON_COMPACT);

		snprintf(text, n, "%s", dump ? dump : "none");
		free(dump);
	}
	json_decref(result);
	return r;
}

static void test_call(void **state)
{
	struct server s = { .lines = "{\"progress\":{\"files\":1}}\n"
				     "{\"finding\":{\"path\":\"x\"}}\n"
				     "{\"later\":{\"word\":1}}\n"
				     "{\"progress\":{\"files\":2}}\n"
				     "{\"result\":{\"files\":2}}\n" };
	struct seen seen = { 0 };
	char text[64];

	(void)state;
	for (s.piece = 1; s.piece < 300; s.piece *= 3) {
		seen = (struct seen){ 0 };
		assert_int_equal(talk(&s, &seen, text, sizeof(text)), 0);
		assert_string_equal(text, "{\"files\":2}");
		assert_string_equal(s.request, "{\"command\":\"scrub\",\"path\":\"a b\"}");
		assert_int_equal(seen.progress, 2);
		assert_int_equal(seen.findings, 1);
	}
}

static void test_long_line(void **state)
{
	size_t len = 300000; /* many times the first buffer */
	char *lines = malloc(len + 100);
	struct server s = { .piece = 5000 };
	struct seen seen = { 0 };
	char text[64];

	(void)state;
	strcpy(lines, "{\"finding\":{\"path\":\"");
	memset(lines + strlen(lines), 'x', len);
	strcpy(lines + 20 + len, "\"}}\n{\"result\":{}}\n");
	s.lines = lines;
	assert_int_equal(talk(&s, &seen, text, sizeof(text)), 0);
	assert_int_equal(seen.findings, 1);
	free(lines);
}

static void test_endless_line(void **state)
{
	char *lines = malloc(2 * CTL_LINE_MAX + 1);
	struct server s = { .lines = lines, .piece = 4096 };
	struct seen seen = { 0 };

	(void)state;
	memset(lines, 'x', 2 * CTL_LINE_MAX);
	lines[2 * CTL_LINE_MAX] = '\0';
	assert_int_equal(talk(&s, &seen, NULL, 0), -EPROTO);
	free(lines);
}

/* Words of a server that a remote talks to reach us through the daemon: only the
 * line of an error is printed, and made harmless. */
static void test_foreign_words(void **state)
{
	struct server s = { .lines = "{\"progress\":{\"level\":\"ok\",\"line\":\"a\"}}\n"
				     "{\"progress\":{\"level\":7}}\n"
				     "{\"error\":\"no\\u001b[2J\\nsuch\",\"errno\":95}\n" };
	struct seen seen = { 0 };
	FILE *tmp = tmpfile();
	int saved = dup(STDERR_FILENO);
	char text[200] = "";

	(void)state;
	fflush(stderr);
	dup2(fileno(tmp), STDERR_FILENO);
	assert_int_equal(talk(&s, &seen, NULL, 0), -EOPNOTSUPP);
	dup2(saved, STDERR_FILENO);
	close(saved);
	assert_true(pread(fileno(tmp), text, sizeof(text) - 1, 0) >= 0);
	fclose(tmp);
	assert_string_equal(text, "t-client: error: /mnt: no\\033[2J\\012such\n");
	assert_int_equal(seen.progress, 2);
}

static void test_bad_servers(void **state)
{
	static const struct {
		const char *hello, *lines;
		int r;
	} rows[] = {
		{ HELLO, "{\"error\":\"no such path\",\"errno\":2}\n", -ENOENT },
		{ HELLO, "{\"error\":\"odd\"}\n", -EIO },
		{ HELLO, "{\"error\":\"odd\",\"errno\":-7}\n", -EIO },
		{ HELLO, "{\"error\":7}\n", -EIO },
		{ HELLO, "{\"result\":\n", -EPROTO },
		{ HELLO, "[1,2]\n", -EPROTO },
		{ HELLO, "\n", -EPROTO },
		{ HELLO, "", -ECONNRESET },
		{ HELLO, "{\"result\":{}", -ECONNRESET },
		{ "{\"mirrorfs\":1,\"protocol\":2}\n", NULL, -EPROTONOSUPPORT },
		{ "{\"mirrorfs\":1}\n", NULL, -EPROTONOSUPPORT },
		{ "{\"error\":\"permission denied\",\"errno\":1}\n", NULL, -EPROTO },
		{ "220 mail ready\n", NULL, -EPROTO },
		{ "", NULL, -ECONNRESET },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct server s = { .hello = rows[i].hello, .lines = rows[i].lines };
		struct seen seen = { 0 };

		assert_int_equal(talk(&s, &seen, NULL, 0), rows[i].r);
	}
}

static void test_cancel(void **state)
{
	struct server s = { .lines = "{\"progress\":{}}\n{\"progress\":{}}\n", .hold = 1 };
	struct seen seen = { .cancel_after = 2 };

	(void)state;
	assert_int_equal(talk(&s, &seen, NULL, 0), -EINTR); /* and the server sees it */
}

static void test_silence(void **state)
{
	struct server s = { .lines = "{\"progress\":{}}\n", .hold = 1 };
	struct client c;
	json_t *result;
	struct seen seen = { 0 };

	(void)state;
	assert_int_equal(client_attach(&c, start(&s), "/mnt"), 0);
	assert_int_equal(client_call(&c, json_pack("{ss}", CTL_COMMAND, CTL_STATUS), 50, on_line,
				     &seen, &result), -ETIMEDOUT);
	assert_null(result);
	client_close(&c);
	pthread_join(s.thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_call),
		cmocka_unit_test(test_long_line),
		cmocka_unit_test(test_endless_line),
		cmocka_unit_test(test_foreign_words),
		cmocka_unit_test(test_bad_servers),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_silence),
	};

	log_set_program("t-client");
	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
