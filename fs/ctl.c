/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket: see replica/ctlpath.h for the place and the protocol.
 * One thread listens, one serves each connection. Only root and the owner of
 * the mount are heard. The commands are in ctl_*.c.
 */
#include "fs/ctl.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/log.h"
#include "replica/ctlpath.h"

#define MAX_CLIENTS 16

static struct {
	int fd;
	char path[CTLPATH_SOCKET_MAX];
	ino_t ino;           /* of the socket at path */
	pthread_t thread;
	bool started;
	_Atomic int clients;
	_Atomic bool stop;
} server = { .fd = -1 };

/* ---- messages ---- */

static int send_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EPIPE;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

int ctl_send(int fd, json_t *msg)
{
	CLEANUP_FREE char *text = msg ? json_dumps(msg, JSON_COMPACT) : NULL;
	size_t len;

	json_decref(msg);
	if (!text)
		return -ENOMEM;
	len = strlen(text);
	text[len] = '\n'; /* in place of the zero: the length counts from here */
	return send_all(fd, text, len + 1);
}

int ctl_send_error(int fd, int err, const char *what)
{
	return ctl_send(fd, json_pack("{s:o, s:i}", CTL_ERROR, ctl_line(what), CTL_ERRNO, -err));
}

void ctl_tell(struct ctl_client *c, const char *kind, json_t *body)
{
	if (ctl_send(c->fd, json_pack("{s:o}", kind, body)) < 0)
		c->gone = true;
}

bool ctl_unwanted(const struct ctl_client *c)
{
	return c->gone || atomic_load(&server.stop);
}

json_t *ctl_path(const char *path)
{
	CLEANUP_FREE char *safe = path ? ctlpath_escape(path) : NULL;

	return safe ? json_string(safe) : json_null();
}

json_t *ctl_line(const char *line)
{
	CLEANUP_FREE char *safe = line ? ctlpath_printable(line) : NULL;

	return safe ? json_string(safe) : json_null();
}

json_t *ctl_count(uint64_t n)
{
	return json_integer((json_int_t)n);
}

/* ---- connections ---- */

static const struct {
	const char *name;
	ctl_command *run;
} commands[] = {
	{ CTL_STATUS, ctl_status },
	{ CTL_SCRUB, ctl_scrub },
	{ CTL_REMOTE_ADD, ctl_remote_add },
	{ CTL_REMOTE_REMOVE, ctl_remote_remove },
	{ CTL_REMOTE_PROBE, ctl_remote_probe },
	{ CTL_REMOTE_LIST, ctl_remote_list },
	{ CTL_REMOTE_PAUSE, ctl_remote_pause },
	{ CTL_REMOTE_RESUME, ctl_remote_resume },
	{ CTL_REMOTE_RELEASE, ctl_remote_release },
	{ CTL_REMOTE_WAIT, ctl_remote_wait },
};

static int run_command(int fd, json_t *req)
{
	const char *name = json_string_value(json_object_get(req, CTL_COMMAND));

	for (size_t i = 0; name && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(fd, req);
	return ctl_send_error(fd, -EINVAL, "unknown command");
}

/* One line of at most CTL_LINE_MAX bytes; the caller frees it. */
static char *read_line(int fd)
{
	size_t used = 0, size = 4096;
	char *line = malloc(size);

	while (line) {
		ssize_t n = recv(fd, line + used, size - used - 1, 0);
		char *end;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		used += (size_t)n;
		line[used] = '\0';
		end = memchr(line, '\n', used);
		if (end) {
			*end = '\0';
			return line;
		}
		if (used + 1 == size) {
			char *bigger = size < CTL_LINE_MAX ? realloc(line, size *= 2) : NULL;

			if (!bigger)
				break;
			line = bigger;
		}
	}
	free(line);
	return NULL;
}

static bool may_ask(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
		(cred.uid == 0 || cred.uid == geteuid());
}

static void *serve_client(void *arg)
{
	int fd = (int)(intptr_t)arg;
	struct timeval limit = { .tv_sec = 30 };
	char *line;
	json_t *req;

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (!may_ask(fd)) {
		ctl_send_error(fd, -EPERM, "only root and the owner of the mount may ask");
	} else if (ctl_send(fd, json_pack("{s:i, s:i}", CTL_HELLO, 1, CTL_VERSION,
					   CTL_PROTOCOL)) == 0 &&
		   (line = read_line(fd))) {
		req = json_loads(line, 0, NULL);
		if (req)
			run_command(fd, req);
		else
			ctl_send_error(fd, -EINVAL, "not a JSON request");
		json_decref(req);
		free(line);
	}
	close(fd);
	atomic_fetch_sub(&server.clients, 1);
	return NULL;
}

static void *listen_main(void *arg)
{
	sigset_t all;

	(void)arg;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	while (!atomic_load(&server.stop)) {
		int fd = accept4(server.fd, NULL, NULL, SOCK_CLOEXEC);
		pthread_t t;

		if (fd < 0)
			continue;
		if (atomic_load(&server.stop) || atomic_load(&server.clients) >= MAX_CLIENTS) {
			close(fd);
			continue;
		}
		atomic_fetch_add(&server.clients, 1);
		if (pthread_create(&t, NULL, serve_client, (void *)(intptr_t)fd) == 0) {
			pthread_detach(t);
		} else {
			atomic_fetch_sub(&server.clients, 1);
			close(fd);
		}
	}
	return NULL;
}

static int open_socket(const char *mountpoint)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char dir[CTLPATH_SOCKET_MAX];
	struct stat st;
	int r = ctlpath_dir(geteuid(), dir, sizeof(dir));

	if (r == 0 && stat(mountpoint, &st) < 0)
		r = -errno;
	if (r == 0)
		r = ctlpath_socket(dir, st.st_dev, server.path, sizeof(server.path));
	if (r < 0)
		return r;
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	if (geteuid() == 0)
		chmod(dir, 0755);
	unlink(server.path); /* of a process that died; device numbers come again */
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", server.path);
	server.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server.fd < 0)
		return -errno;
	if (bind(server.fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    chmod(server.path, 0600) < 0 || listen(server.fd, 8) < 0 ||
	    stat(server.path, &st) < 0)
		return -errno;
	server.ino = st.st_ino;
	return 0;
}

int ctl_start(struct mount *m)
{
	int r = open_socket(m->opt.mountpoint);

	if (r < 0) { /* the mount is of use without it */
		log_err(r, "control socket %s; mirrorctl will not reach this mount",
			server.path);
		return 0;
	}
	r = -pthread_create(&server.thread, NULL, listen_main, NULL);
	server.started = r == 0;
	return r;
}

/* The kernel may have given the device number to another mount by now, and
 * that one its own socket to the name. */
static void remove_socket(void)
{
	struct stat st;

	if (stat(server.path, &st) == 0 && st.st_ino == server.ino)
		unlink(server.path);
}

void ctl_stop(void)
{
	if (!server.started)
		return;
	atomic_store(&server.stop, true);
	atomic_store(&vol()->stopping, true);
	shutdown(server.fd, SHUT_RDWR); /* ends accept() */
	pthread_join(server.thread, NULL);
	close(server.fd);
	remove_socket();
	while (atomic_load(&server.clients))
		usleep(10000);
	server.started = false;
}
