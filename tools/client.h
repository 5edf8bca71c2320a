/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's side of the control socket: one command a connection. Failures
 * are logged in one line; the functions return a negative errno.
 */
#ifndef TOOLS_CLIENT_H
#define TOOLS_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "replica/ctlpath.h"

#define CLIENT_TIMEOUT_MS 10000

struct client {
	int fd;       /* -1: not connected */
	char *name;   /* for messages, owned */
	char *buf;    /* bytes received, owned */
	size_t used, size;
	size_t taken; /* bytes of buf that belong to lines already handed out */
};

/* Finds the mount that holds path, connects, checks that the other side is
 * the owner of the mount or root, and reads its greeting. */
int client_open(struct client *c, const char *path, struct ctlpath *where);
/* The same on a connected socket, which the client then owns; for tests too. */
int client_attach(struct client *c, int fd, const char *name);
void client_close(struct client *c);

/*
 * Sends the request (a reference is taken over) and hands every progress and
 * finding line to on_line (kind: CTL_PROGRESS, CTL_FINDING) until the result
 * comes, which the caller frees with json_decref(). on_line returning non-zero, or a
 * signal, cancels: -EINTR, without a message. An error line of the server is
 * logged and its errno returned. timeout_ms: of silence; -1: none.
 */
int client_call(struct client *c, json_t *request, int timeout_ms,
		int (*on_line)(const char *kind, const json_t *body, void *arg), void *arg,
		json_t **result);

#endif
