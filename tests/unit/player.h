/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An HTTP server in a thread that plays the answers a test has written down, one a
 * connection, and keeps what it was asked.
 */
#ifndef TESTS_UNIT_PLAYER_H
#define TESTS_UNIT_PLAYER_H

#include <pthread.h>
#include <stdbool.h>

#include <arpa/inet.h>
#include <sys/socket.h>

#include "tests/unit/tmpdir.h"

#define ASKED_MAX 16

struct answer {
	int status;
	const char *headers;         /* lines, each with its end; or NULL */
	const char *body;
	bool cut;                    /* the connection ends before the body does */
};

static struct {
	int fd;
	pthread_t thread;
	pthread_mutex_t lock;
	const struct answer *answer;
	unsigned n, at;
	char asked[ASKED_MAX][4096]; /* request line and headers */
} player = { .lock = PTHREAD_MUTEX_INITIALIZER };

static inline void say(int fd, const char *text)
{
	size_t n = strlen(text);

	while (n) {
		ssize_t got = send(fd, text, n, MSG_NOSIGNAL);

		if (got <= 0)
			return;
		text += got;
		n -= (size_t)got;
	}
}

/* Head into head, body into nothing. */
static inline bool take_request(int fd, char *head, size_t room)
{
	size_t n = 0;
	uint64_t left = 0;
	char *end, *at;
	static char buf[64 << 10];

	head[0] = '\0';
	while (!(end = strstr(head, "\r\n\r\n"))) {
		ssize_t got = n < room - 1 ? read(fd, head + n, room - 1 - n) : 0;

		if (got <= 0)
			return false;
		head[n += (size_t)got] = '\0';
	}
	at = strcasestr(head, "\r\nContent-Length:");
	if (at && at < end)
		left = strtoull(at + 17, NULL, 10);
	if (strcasestr(head, "\r\nExpect: 100"))
		say(fd, "HTTP/1.1 100 Continue\r\n\r\n");
	n -= (size_t)(end + 4 - head);
	while (n < left) {
		ssize_t got = read(fd, buf, left - n < sizeof(buf) ? left - n : sizeof(buf));

		if (got <= 0)
			return false;
		n += (size_t)got;
	}
	end[2] = '\0';
	return true;
}

static inline void give(int fd, const struct answer *a, bool head)
{
	const char *body = a->body ? a->body : "";
	char line[512];

	snprintf(line, sizeof(line), "HTTP/1.1 %d x\r\n%sContent-Length: %zu\r\n"
		 "Connection: close\r\n\r\n", a->status, a->headers ? a->headers : "",
		 strlen(body) + (a->cut ? 10 : 0));
	say(fd, line);
	if (!head)
		say(fd, body);
}

static inline void serve(int fd)
{
	static const struct answer none = { 500, NULL, "nothing more was expected", false };
	const struct answer *a = &none;
	char head[4096];

	if (!take_request(fd, head, sizeof(head)))
		return;
	pthread_mutex_lock(&player.lock);
	if (player.at < player.n)
		a = &player.answer[player.at];
	if (player.at < ASKED_MAX)
		strcpy(player.asked[player.at], head);
	player.at++;
	pthread_mutex_unlock(&player.lock);
	give(fd, a, !strncmp(head, "HEAD ", 5));
}

static inline void *player_run(void *arg)
{
	int fd;

	while ((fd = accept(player.fd, NULL, NULL)) >= 0) {
		serve(fd);
		shutdown(fd, SHUT_WR);
		close(fd);
	}
	return arg;
}

/* Its port; -1: it does not start. */
static inline int player_start(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t n = sizeof(a);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	player.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (player.fd < 0 || bind(player.fd, (struct sockaddr *)&a, n) ||
	    listen(player.fd, 8) || getsockname(player.fd, (struct sockaddr *)&a, &n) ||
	    pthread_create(&player.thread, NULL, player_run, NULL))
		return -1;
	return ntohs(a.sin_port);
}

static inline void player_stop(void)
{
	shutdown(player.fd, SHUT_RDWR);
	pthread_join(player.thread, NULL);
	close(player.fd);
}

static inline void player_set(const struct answer *answer, unsigned n)
{
	pthread_mutex_lock(&player.lock);
	player.answer = answer;
	player.n = n;
	player.at = 0;
	pthread_mutex_unlock(&player.lock);
}

/* How many requests came. */
static inline unsigned player_asked(void)
{
	unsigned n;

	pthread_mutex_lock(&player.lock);
	n = player.at;
	pthread_mutex_unlock(&player.lock);
	return n;
}

#endif
