/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Events: every finding, one line each, in the bounded log `.mirrorfs/events`
 * of the mirrors (rotated to `events.1` at the limit) and to log_write().
 * Line: ISO time with zone, action, path (escaped as in the quarantine index),
 * range, member, what was compared, source, tab separated.
 */
#ifndef REPLICA_EVENT_H
#define REPLICA_EVENT_H

#include <pthread.h>
#include <stdint.h>

struct event {
	const char *action;  /* "repaired", "lost", "foreign", "ejected", ... */
	const char *path;    /* object relative to the volume root, or NULL */
	uint64_t off, len;   /* byte range; len 0: whole object */
	const char *member;  /* path of the mirror concerned, or NULL */
	const char *found;   /* what was compared and seen, one line */
	const char *source;  /* path of the mirror the good bytes came from, or NULL */
};

#define EVENT_LOG_LIMIT (1u << 20)
#define EVENT_MAX_LOGS 16

struct event_log {
	pthread_mutex_t lock;         /* all below */
	int dotfd[EVENT_MAX_LOGS];    /* `.mirrorfs` of each mirror, not owned; -1 none */
	uint32_t failed;              /* slots whose failure has been reported */
};

void event_log_init(struct event_log *l);
void event_log_attach(struct event_log *l, int slot, int dotfd);
void event_log_detach(struct event_log *l, int slot);
/* Appends to all attached logs and logs a warning line. Failure to append is
 * reported on the log once and otherwise ignored: an event never fails an operation. */
void event_emit(struct event_log *l, const struct event *e);
/* Escapes path bytes: printable ASCII but backslash as is, all else \ooo. */
void event_escape(const char *path, char *out, size_t size);

#endif
