// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Speaks the protocol of replica/ctlpath.h. The server is trusted to be the
 * owner of the mount (checked by its peer credentials), not to be sane: lines
 * have a longest length, everything is looked at before it is used, and the
 * greeting has to come in time, for a daemon that hangs must not hang us.
 */
#include "tools/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/log.h"
#include "tools/progress.h"

#define CHUNK 4096
#define SLICE_MS 500

/* What ctlpath_find() says, for people. */
static int report_find(int err, const char *path, const struct ctlpath *where)
{
	switch (err) {
	case -ENODEV:
		log_error("%s: not on a mirrorfs mount", path);
		return err;
	case -ENOTCONN:
	case -ECONNABORTED:
		log_error("%s: the mirrorfs process of this mount is gone: unmount it", path);
		return err;
	case -ECONNREFUSED:
		log_error("%s: no daemon: the mount at %s has no control socket %u-%u.sock", path,
			  where->point, major(where->dev), minor(where->dev));
		return err;
	default:
		return log_err(err, "%s", path);
	}
}

static int report_connect(int err, const struct ctlpath *where)
{
	if (err == -EACCES || err == -EPERM)
		log_error("%s: permission denied: only root and the user who mounted %s (uid %u) "
			  "may ask", where->socket, where->point, (unsigned)where->owner);
	else if (err == -ECONNREFUSED || err == -ENOENT)
		log_error("%s: no daemon answers there for the mount at %s", where->socket,
			  where->point);
	else
		log_err(err, "connect to %s", where->socket);
	return err;
}

/* A socket in a shared directory could be anybody's. */
static int check_peer(int fd, const struct ctlpath *where)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return log_err(-errno, "%s", where->socket);
	if (cred.uid == 0 || cred.uid == where->owner)
		return 0;
	log_error("%s: is served by uid %u, but uid %u mounted %s: not trusted", where->socket,
		  (unsigned)cred.uid, (unsigned)where->owner, where->point);
	return -EPERM;
}

/* What went wrong with the talk itself; errno's own text would add nothing. */
static int say(int err, const struct client *c, const char *what)
{
	log_error("%s: %s", c->name, what);
	return err;
}

static int connect_to(const struct ctlpath *where)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	_Static_assert(sizeof(sun.sun_path) >= CTLPATH_SOCKET_MAX, "socket path");
	if (fd < 0)
		return log_err(-errno, "socket");
	strcpy(sun.sun_path, where->socket);
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		return report_connect(-errno, where);
	r = check_peer(fd, where);
	return r < 0 ? r : steal_fd(&fd);
}

/* Monotonic milliseconds, for deadlines. */
static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* Waits a while for bytes; returns 0 also when none came yet, so that the
 * caller looks at the signals again (one may come just before poll). */
static int wait_readable(struct client *c, long long deadline)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	long long slice = SLICE_MS;

	if (deadline >= 0 && deadline - now_ms() < slice)
		slice = deadline > now_ms() ? deadline - now_ms() : 0;
	if (poll(&p, 1, (int)slice) < 0 && errno != EINTR)
		return log_err(-errno, "%s: poll", c->name);
	if (p.revents || deadline < 0 || now_ms() < deadline)
		return 0;
	return say(-ETIMEDOUT, c, "the daemon does not answer");
}

/* Makes room for one more chunk, dropping what was handed out. */
static int make_room(struct client *c)
{
	char *bigger;

	memmove(c->buf, c->buf + c->taken, c->used - c->taken);
	c->used -= c->taken;
	c->taken = 0;
	if (c->size - c->used >= CHUNK)
		return 0;
	if (c->used >= CTL_LINE_MAX)
		return say(-EPROTO, c, "a line of the daemon is too long");
	bigger = realloc(c->buf, c->size * 2);
	if (!bigger)
		return log_err(-ENOMEM, "%s", c->name);
	c->buf = bigger;
	c->size *= 2;
	return 0;
}

static int fill(struct client *c, long long deadline)
{
	ssize_t n;
	int r = make_room(c);

	if (r == 0)
		r = wait_readable(c, deadline);
	if (r < 0)
		return r;
	n = recv(c->fd, c->buf + c->used, c->size - c->used, MSG_DONTWAIT);
	if (n == 0)
		return say(-ECONNRESET, c, "the daemon closed the connection");
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return log_err(-errno, "%s: receive", c->name);
	if (n > 0)
		c->used += (size_t)n;
	return 0;
}

/* The next line as an object. 0 or a negative errno. */
static int receive(struct client *c, int timeout_ms, json_t **out)
{
	long long deadline = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
	json_error_t error;
	char *start, *end;
	int r;

	for (;;) {
		if (progress_stopped())
			return -EINTR;
		start = c->buf + c->taken;
		end = memchr(start, '\n', c->used - c->taken);
		if (end)
			break;
		r = fill(c, deadline);
		if (r < 0)
			return r;
	}
	c->taken += (size_t)(end - start) + 1;
	*out = json_loadb(start, (size_t)(end - start), JSON_REJECT_DUPLICATES, &error);
	if (json_is_object(*out))
		return 0;
	json_decref(*out);
	return say(-EPROTO, c, "the daemon sent a line that is no JSON object");
}

static int send_line(struct client *c, const json_t *request)
{
	CLEANUP_FREE char *text = json_dumps(request, JSON_COMPACT);
	size_t len, done = 0;
	ssize_t n;

	if (!text)
		return log_err(-ENOMEM, "%s", c->name);
	len = strlen(text);
	text[len] = '\n'; /* in place of the zero: the length counts from here */
	while (done <= len) {
		n = send(c->fd, text + done, len + 1 - done, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR && !progress_stopped())
			continue;
		if (n < 0)
			return log_err(-errno, "%s: send", c->name);
		done += (size_t)n;
	}
	return 0;
}

static int greet(struct client *c)
{
	json_t *hello = NULL;
	long long protocol;
	int r = receive(c, CLIENT_TIMEOUT_MS, &hello);

	if (r < 0)
		return r;
	if (!json_object_get(hello, CTL_HELLO)) {
		/* a server may say no at once */
		const char *text = json_string_value(json_object_get(hello, CTL_ERROR));
		CLEANUP_FREE char *shown = text ? ctlpath_printable(text) : NULL;

		log_error("%s: %s", c->name, shown ? shown : "what answers is not mirrorfs");
		r = -EPROTO;
	}
	protocol = json_integer_value(json_object_get(hello, CTL_VERSION));
	if (r == 0 && protocol != CTL_PROTOCOL) {
		log_error("%s: the daemon speaks protocol %lld, this mirrorctl %d", c->name,
			  protocol, CTL_PROTOCOL);
		r = -EPROTONOSUPPORT;
	}
	json_decref(hello);
	return r;
}

int client_attach(struct client *c, int fd, const char *name)
{
	int r;

	*c = (struct client){ .fd = fd, .size = 2 * CHUNK };
	c->name = strdup(name);
	c->buf = malloc(c->size);
	r = c->name && c->buf ? greet(c) : log_err(-ENOMEM, "%s", name);
	if (r < 0)
		client_close(c);
	return r;
}

int client_open(struct client *c, const char *path, struct ctlpath *where)
{
	int r;

	*c = (struct client){ .fd = -1 };
	r = ctlpath_find(path, where);
	if (r < 0)
		return report_find(r, path, where);
	r = connect_to(where);
	return r < 0 ? r : client_attach(c, r, where->point);
}

void client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->name);
	free(c->buf);
	*c = (struct client){ .fd = -1 };
}

/* The server's one line of error. */
static int report_error(const struct client *c, const json_t *line)
{
	const char *text = json_string_value(json_object_get(line, CTL_ERROR));
	long long number = json_integer_value(json_object_get(line, CTL_ERRNO));
	CLEANUP_FREE char *shown = ctlpath_printable(text ? text : "unknown error");

	log_error("%s: %s", c->name, shown ? shown : "unknown error");
	return number > 0 && number < 4096 ? (int)-number : -EIO;
}

/* Looks at one line: 1 it was the last, 0 go on, or a negative errno. */
static int take_line(const struct client *c, json_t *line,
		     int (*on_line)(const char *kind, const json_t *body, void *arg), void *arg,
		     json_t **result)
{
	static const char *const kinds[] = { CTL_PROGRESS, CTL_FINDING };
	json_t *body = json_object_get(line, CTL_RESULT);

	if (json_is_object(body)) {
		*result = json_incref(body);
		return 1;
	}
	if (json_object_get(line, CTL_ERROR))
		return report_error(c, line);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		body = json_object_get(line, kinds[i]);
		if (json_is_object(body))
			return on_line && on_line(kinds[i], body, arg) ? -EINTR : 0;
	}
	return 0; /* a word of a later version: not for us */
}

int client_call(struct client *c, json_t *request, int timeout_ms,
		int (*on_line)(const char *kind, const json_t *body, void *arg), void *arg,
		json_t **result)
{
	json_t *line = NULL;
	int r;

	*result = NULL;
	r = request ? send_line(c, request) : log_err(-ENOMEM, "%s", c->name);
	json_decref(request);
	while (r == 0) {
		r = receive(c, timeout_ms, &line);
		if (r < 0)
			break;
		r = take_line(c, line, on_line, arg, result);
		json_decref(line);
	}
	return r < 0 ? r : 0;
}
