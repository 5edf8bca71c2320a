/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket: see replica/ctlpath.h for the place and the protocol.
 * One thread listens, one serves each connection. Only root and the owner of
 * the mount are heard.
 */
#include "fs/mount.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "replica/recovery.h"
#include "replica/base/log.h"
#include "replica/ctlpath.h"
#include "replica/scrub.h"

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

static int send_json(int fd, json_t *msg)
{
	char *text = msg ? json_dumps(msg, JSON_COMPACT) : NULL;
	size_t len;
	int r = -ENOMEM;

	json_decref(msg);
	if (!text)
		return r;
	len = strlen(text);
	text[len] = '\n';
	r = 0;
	for (size_t done = 0; done < len + 1;) {
		ssize_t n = send(fd, text + done, len + 1 - done, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			r = -EPIPE;
			break;
		}
		done += (size_t)n;
	}
	free(text);
	return r;
}

static int send_error(int fd, int err, const char *what)
{
	return send_json(fd, json_pack("{s:s, s:i}", CTL_ERROR, what, CTL_ERRNO, -err));
}

static json_t *json_text(const char *text)
{
	char *safe = text ? ctlpath_escape(text) : NULL;
	json_t *j = safe ? json_string(safe) : json_null();

	free(safe);
	return j;
}

static json_t *json_count(uint64_t n)
{
	return json_integer((json_int_t)n);
}

/* ---- status ---- */

static json_t *mirror_json(struct volume *v, int m)
{
	char reason[128] = "", id[UUID_TEXT];
	enum member_state s = volume_member(v, m, reason);
	json_t *j = json_object();
	struct statvfs sv;

	uuid_format(v->sb.members[m].id, id);
	json_object_set_new(j, "path", json_text(volume_path(v, m)));
	json_object_set_new(j, "id", json_string(id));
	json_object_set_new(j, "state", json_string(member_state_name(s)));
	json_object_set_new(j, "reason", *reason ? json_text(reason) : json_null());
	if (v->m[m].rootfd >= 0 && fstatvfs(v->m[m].rootfd, &sv) == 0) {
		json_object_set_new(j, "free", json_count(sv.f_bavail * sv.f_frsize));
		json_object_set_new(j, "size", json_count(sv.f_blocks * sv.f_frsize));
	}
	return j;
}

static json_t *status_json(struct volume *v)
{
	json_t *j = json_object(), *mirrors = json_array(), *counters = json_object();
	struct timespec now;
	char id[UUID_TEXT];

	uuid_format(v->sb.volume_id, id);
	clock_gettime(CLOCK_MONOTONIC, &now);
	for (unsigned m = 0; m < v->n; m++)
		if (volume_member(v, (int)m, NULL) != MEMBER_REMOVED)
			json_array_append_new(mirrors, mirror_json(v, (int)m));
	for (int c = 0; c < CNT_MAX; c++)
		json_object_set_new(counters, volume_counter_name(c),
				    json_count(atomic_load(&v->counter[c])));
	json_object_set_new(j, "volume", json_string(id));
	json_object_set_new(j, "mountpoint", json_text(the_mount.opt.mountpoint));
	json_object_set_new(j, "health", json_string(volume_health(v)));
	json_object_set_new(j, "recovering", json_boolean(recovery_pending(v)));
	json_object_set_new(j, "epoch", json_count(v->sb.epoch));
	json_object_set_new(j, "mirrors", mirrors);
	json_object_set_new(j, "counters", counters);
	json_object_set_new(j, "inodes", json_count(tree_count(v)));
	json_object_set_new(j, "uptime", json_integer(now.tv_sec - v->opened.tv_sec));
	return j;
}

static int do_status(int fd, json_t *req)
{
	(void)req;
	return send_json(fd, json_pack("{s:o}", CTL_RESULT, status_json(vol())));
}

/* ---- scrub ---- */

static json_t *stats_json(const struct scrub_stats *s)
{
	json_t *j = json_object();

	json_object_set_new(j, "dirs", json_count(s->dirs));
	json_object_set_new(j, "files", json_count(s->files));
	json_object_set_new(j, "bytes", json_count(s->bytes));
	json_object_set_new(j, "total_bytes", json_count(s->total_bytes));
	json_object_set_new(j, "found", json_count(s->found));
	json_object_set_new(j, "corrected", json_count(s->corrected));
	json_object_set_new(j, "uncorrected", json_count(s->uncorrected));
	json_object_set_new(j, "failed", json_count(s->failed));
	return j;
}

struct client {
	int fd;
	bool gone;
};

static int on_progress(const struct scrub_stats *s, const char *path, void *arg)
{
	struct client *c = arg;
	json_t *j = stats_json(s);

	json_object_set_new(j, "path", json_text(path));
	if (send_json(c->fd, json_pack("{s:o}", CTL_PROGRESS, j)) < 0)
		c->gone = true;
	return c->gone || atomic_load(&server.stop);
}

static void on_finding(const struct scrub_finding *f, void *arg)
{
	struct client *c = arg;
	json_t *j = json_object();

	json_object_set_new(j, "path", json_text(f->path));
	json_object_set_new(j, "item", json_string(f->item));
	json_object_set_new(j, "off", json_count(f->off));
	json_object_set_new(j, "len", json_count(f->len));
	json_object_set_new(j, "member", json_text(f->member));
	json_object_set_new(j, "found", json_text(f->found));
	json_object_set_new(j, "source", json_text(f->source));
	json_object_set_new(j, "action", json_string(f->action));
	if (send_json(c->fd, json_pack("{s:o}", CTL_FINDING, j)) < 0)
		c->gone = true;
}

static int do_scrub(int fd, json_t *req)
{
	const char *given = json_string_value(json_object_get(req, CTL_PATH));
	struct client c = { .fd = fd };
	struct scrub_options opt = { .resync = true, .progress = on_progress,
				     .finding = on_finding, .arg = &c };
	struct scrub_stats stats = { 0 };
	char *path = strdup(given ? given : "");
	int r = path ? ctlpath_unescape(path) : -ENOMEM;

	opt.path = path;
	if (r == 0)
		r = scrub_run(vol(), &opt, &stats);
	free(path);
	if (r == -EBUSY)
		return send_error(fd, r, "a scrub is running already");
	if (r < 0)
		return send_error(fd, r, strerror(-r));
	return send_json(fd, json_pack("{s:o}", CTL_RESULT, stats_json(&stats)));
}

/* ---- connections ---- */

static const struct {
	const char *name;
	int (*run)(int fd, json_t *req);
} commands[] = {
	{ CTL_STATUS, do_status },
	{ CTL_SCRUB, do_scrub },
};

static int run_command(int fd, json_t *req)
{
	const char *name = json_string_value(json_object_get(req, CTL_COMMAND));

	for (size_t i = 0; name && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(fd, req);
	return send_error(fd, -EINVAL, "unknown command");
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
		send_error(fd, -EPERM, "only root and the owner of the mount may ask");
	} else if (send_json(fd, json_pack("{s:i, s:i}", CTL_HELLO, 1, CTL_VERSION,
					   CTL_PROTOCOL)) == 0 &&
		   (line = read_line(fd))) {
		req = json_loads(line, 0, NULL);
		if (req)
			run_command(fd, req);
		else
			send_error(fd, -EINVAL, "not a JSON request");
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
