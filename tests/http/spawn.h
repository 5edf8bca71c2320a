/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For unit programs: starts the faulty server (faulty.h) as a child with a tree
 * of its own, commands its faults, reads its counters. The program is $FAULTY,
 * or tests/http/faulty from here. It ends with the test, however that ends.
 */
#ifndef TESTS_HTTP_SPAWN_H
#define TESTS_HTTP_SPAWN_H

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "tests/unit/tmpdir.h"

struct faulty {
	pid_t pid;
	int port;
	int tree;                     /* what it serves */
	char base[PATH_MAX];
	char url[64];                 /* without a slash at the end */
};

static inline void faulty_pause(int ms)
{
	poll(NULL, 0, ms);
}

static inline void faulty_child(const struct faulty *f, const char *const *options)
{
	const char *program = getenv("FAULTY") ? getenv("FAULTY") : "tests/http/faulty";
	char tree[PATH_MAX + 8], port[PATH_MAX + 8];
	const char *argv[16] = { program, tree, port };
	size_t i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(tree, sizeof(tree), "%s/tree", f->base);
	snprintf(port, sizeof(port), "%s/port", f->base);
	for (i = 0; options && options[i] && i < 12; i++)
		argv[3 + i] = options[i];
	execv(program, (char *const *)argv);
	perror(program);
	_exit(127);
}

/* Half a minute, as the machine may be busy with other things. */
static inline void faulty_wait_port(struct faulty *f)
{
	char path[PATH_MAX + 8], text[16] = "";
	int fd, tries, status;

	snprintf(path, sizeof(path), "%s/port", f->base);
	for (tries = 0; tries < 3000; tries++, faulty_pause(10)) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			break;
		if (waitpid(f->pid, &status, WNOHANG) == f->pid)
			fail_msg("the faulty server did not start (status %d)", status);
	}
	assert_true(fd >= 0);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	f->port = atoi(text);
	snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%d", f->port);
}

/* options: NULL-terminated, or NULL */
static inline void faulty_start(struct faulty *f, const char *const *options)
{
	const char *base = getenv("TMPDIR");
	char tree[PATH_MAX + 8];

	memset(f, 0, sizeof(*f));
	/* No request of a test shall go by way of a proxy. */
	setenv("no_proxy", "*", 1);
	snprintf(f->base, sizeof(f->base), "%s/mirrorfs-faulty.XXXXXX", base ? base : "/tmp");
	assert_non_null(mkdtemp(f->base));
	snprintf(tree, sizeof(tree), "%s/tree", f->base);
	assert_int_equal(mkdir(tree, 0700), 0);
	f->tree = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->tree >= 0);
	f->pid = fork();
	assert_true(f->pid >= 0);
	if (!f->pid)
		faulty_child(f, options);
	faulty_wait_port(f);
}

static inline void faulty_stop(struct faulty *f)
{
	int status = 0;

	kill(f->pid, SIGTERM);
	assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
	close(f->tree);
	assert_int_equal(io_remove_tree(AT_FDCWD, f->base), 0);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
}

/* "METHOD /path" without curl; the answer, head and body, into out. */
static inline void faulty_ask(const struct faulty *f, const char *what, char *out, size_t size)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				  .sin_port = htons((uint16_t)f->port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t got = 0;
	char text[2048];
	ssize_t n;
	int len = snprintf(text, sizeof(text), "%s HTTP/1.1\r\nConnection: close\r\n\r\n", what);

	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(send(fd, text, (size_t)len, MSG_NOSIGNAL), len);
	while (got < size - 1 && (n = recv(fd, out + got, size - 1 - got, 0)) > 0)
		got += (size_t)n;
	out[got] = '\0';
	close(fd);
}

/* "fault=status&status=503&match=/x", "clear", "zero": see faulty.h. */
static inline void faulty_command(const struct faulty *f, const char *query)
{
	char what[1024], answer[1024];

	snprintf(what, sizeof(what), "POST /.faulty?%s", query);
	faulty_ask(f, what, answer, sizeof(answer));
	if (strncmp(answer, "HTTP/1.1 200 ", 13) != 0)
		fail_msg("%s: %s", query, answer);
}

static inline unsigned long long faulty_count(const struct faulty *f, const char *name)
{
	char answer[8192], line[64];
	const char *at;

	faulty_ask(f, "GET /.faulty", answer, sizeof(answer));
	snprintf(line, sizeof(line), "\n%s ", name);
	at = strstr(answer, line);
	assert_non_null(at);
	return strtoull(at + strlen(line), NULL, 10);
}

#endif
