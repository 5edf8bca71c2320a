/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The program: options, the listening socket, a thread a connection. SIGTERM
 * and SIGINT come through a descriptor, so that they end it in one place.
 */
#include "tests/http/faulty.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "replica/base/io.h"

#define TICK_MS 50

struct server server;

static void serve_control(struct exchange *x)
{
	const char *wrong = NULL;
	char *text = NULL;
	size_t size;
	FILE *out;

	if (!strcmp(x->method, "GET")) {
		out = open_memstream(&text, &size);
		if (!out)
			abort();
		stats_print(out);
		fclose(out);
		wire_answer(x, 200, NULL, text);
		free(text);
		return;
	}
	if (!strcmp(x->query, "clear"))
		fault_clear();
	else if (!strcmp(x->query, "zero"))
		stats_zero();
	else
		wrong = fault_add(x->query);
	wire_answer(x, wrong ? 400 : 200, NULL, wrong ? wrong : "ok\n");
}

/* The status of a rule instead of the real one. */
static void answer_status(struct exchange *x)
{
	const struct effect *e = &x->effect;
	char headers[1024] = "", *filler = NULL;
	int n = 0;

	if (e->retry_after >= 0)
		n = snprintf(headers, sizeof(headers), "Retry-After: %ld\r\n", e->retry_after);
	if (e->status / 100 == 3)
		snprintf(headers + n, sizeof(headers) - (size_t)n, "Location: %s\r\n",
			 *e->location ? e->location : "/moved");
	if (e->status == 401)
		snprintf(headers + n, sizeof(headers) - (size_t)n,
			 "WWW-Authenticate: Basic realm=\"faulty\"\r\n");
	if (e->bytes > 0) {
		filler = malloc((size_t)e->bytes + 1);
		if (!filler)
			abort();
		memset(filler, 'x', (size_t)e->bytes);
		filler[e->bytes] = '\0';
	}
	wire_answer(x, e->status, headers, filler ? filler : *e->text ? e->text : "on demand\n");
	free(filler);
}

static void serve(struct exchange *x)
{
	if (x->effect.bits & FAULT_RESET && (x->effect.bytes <= 0 || !wire_has_body(x)))
		wire_reset(x);
	if (x->effect.bits & FAULT_HANG && !x->answered)
		wire_hang(x);
	if (x->answered)
		return;
	if (x->effect.bits & FAULT_STATUS)
		answer_status(x);
	else if (auth_check(x))
		server.s3 ? s3_serve(x) : dav_serve(x);
}

static bool serve_one(struct conn *c, struct exchange *x)
{
	int ret = wire_request(c, x);

	if (ret < 0) {
		x->method = x->head;
		wire_answer(x, 400, NULL, "not a request\n");
	}
	if (ret <= 0)
		return false;
	if (!strcmp(x->path, CONTROL_PATH)) {
		serve_control(x);
		return !x->broken && x->keep_alive;
	}
	files_tick();
	fault_take(x);
	stats_begin(x);
	serve(x);
	stats_end(x);
	return !x->broken && x->keep_alive;
}

static void *connection(void *arg)
{
	struct exchange *x = calloc(1, sizeof(*x));
	struct conn *c = arg;

	while (x && serve_one(c, x))
		;
	close(c->fd);
	stats_connection(-1);
	free(x);
	free(c);
	return NULL;
}

static void accept_one(int listener)
{
	struct conn *c = calloc(1, sizeof(*c));
	pthread_attr_t attr;
	pthread_t thread;
	int one = 1;

	if (!c)
		return;
	c->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (c->fd < 0) {
		free(c);
		return;
	}
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	stats_connection(1);
	if (pthread_create(&thread, &attr, connection, c)) {
		stats_connection(-1);
		close(c->fd);
		free(c);
	}
	pthread_attr_destroy(&attr);
}

static int listen_anywhere(int *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 1024) ||
	    getsockname(fd, (struct sockaddr *)&at, &len))
		return -errno;
	*port = ntohs(at.sin_port);
	return fd;
}

/* Until a signal; nothing is flushed or freed, as other threads still run. */
static void run(int listener)
{
	struct pollfd p[2] = { { .fd = listener, .events = POLLIN }, { .events = POLLIN } };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	p[1].fd = signalfd(-1, &set, SFD_CLOEXEC);
	for (;;) {
		files_tick();
		if (poll(p, 2, TICK_MS) < 0 && errno != EINTR)
			_exit(1);
		if (p[1].revents)
			_exit(0);
		if (p[0].revents)
			accept_one(listener);
	}
}

static bool read_options(int argc, char **argv)
{
	int i;

	for (i = 3; i < argc; i++) {
		if (!strcmp(argv[i], "--s3"))
			server.s3 = true;
		else if (!strcmp(argv[i], "--in-place"))
			server.in_place = true;
		else if (!strncmp(argv[i], "--auth=", 7) && strrchr(argv[i], ':'))
			server.auth = argv[i] + 7;
		else
			return false;
	}
	return argc >= 3;
}

int main(int argc, char **argv)
{
	char text[16];
	int listener, port = 0, n;

	if (!read_options(argc, argv) || sodium_init() < 0) {
		fprintf(stderr, "usage: faulty DIR PORT-FILE [--s3] [--in-place] [--auth=...]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	server.root = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (server.root < 0 || files_init()) {
		perror(argv[1]);
		return 1;
	}
	listener = listen_anywhere(&port);
	n = snprintf(text, sizeof(text), "%d\n", port);
	if (listener < 0 || io_replace_file(AT_FDCWD, argv[2], text, (size_t)n, 0600)) {
		perror(argv[2]);
		return 1;
	}
	run(listener);
}
