/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Events. The lock keeps lines and rotations of one process in order; it is
 * dropped before anything is written to the message log. Lines are appended
 * with one write and not synced: they tell what happened, nothing is decided
 * by them.
 */
#include "replica/event.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/base/log.h"

#define FILE_NAME "events"
#define FILE_ROTATED "events.1"

void event_log_init(struct event_log *l)
{
	int i;

	pthread_mutex_init(&l->lock, NULL);
	l->failed = 0;
	for (i = 0; i < EVENT_MAX_LOGS; i++)
		l->dotfd[i] = -1;
}

/* Moves the lines that are whole to the front. Returns their length. */
static size_t whole_lines(char *text, size_t len)
{
	size_t kept = 0;

	for (size_t at = 0, end; at < len; at = end) {
		const char *nl = memchr(text + at, '\n', len - at);

		end = nl ? (size_t)(nl + 1 - text) : len;
		if (!nl || memchr(text + at, '\0', end - at))
			continue;
		memmove(text + kept, text + at, end - at);
		kept += end - at;
	}
	return kept;
}

/* A power cut can leave zeros where lines were, or half a line: the next one
 * would be glued to it. */
static void drop_torn_lines(int dotfd)
{
	CLEANUP_FREE char *text = NULL;
	size_t len, whole;
	int r = io_read_file(dotfd, FILE_NAME, 2 * EVENT_LOG_LIMIT, &text, &len);

	if (r < 0)
		return; /* none yet; or the first event that is appended tells */
	whole = whole_lines(text, len);
	if (whole < len)
		r = io_replace_file(dotfd, FILE_NAME, text, whole, 0600);
	if (r < 0)
		log_err(r, "event log: cannot drop what a crash left of its last lines");
}

void event_log_attach(struct event_log *l, int slot, int dotfd)
{
	pthread_mutex_lock(&l->lock);
	if (dotfd >= 0)
		drop_torn_lines(dotfd);
	l->dotfd[slot] = dotfd;
	l->failed &= ~(1u << slot);
	pthread_mutex_unlock(&l->lock);
}

void event_log_detach(struct event_log *l, int slot)
{
	event_log_attach(l, slot, -1);
}

void event_escape(const char *path, char *out, size_t size)
{
	size_t at = 0;

	for (; *path && size; path++) {
		unsigned char c = (unsigned char)*path;
		int plain = c >= 0x20 && c < 0x7f && c != '\\';

		if (at + (plain ? 1 : 4) >= size)
			break; /* cut between characters, not inside an escape */
		if (plain)
			out[at++] = (char)c;
		else
			at += (size_t)snprintf(out + at, 5, "\\%03o", c);
	}
	if (size)
		out[at] = '\0';
}

/* A missing or empty field is "-", so that columns keep their number. */
static void put_field(FILE *f, const char *s)
{
	char text[4 * PATH_MAX + 1];

	event_escape(s && *s ? s : "-", text, sizeof(text));
	fprintf(f, "\t%s", text);
}

/* "4096+8192": 8192 bytes from 4096 on; "-" the whole object. */
static void format_range(const struct event *e, char out[48])
{
	if (e->len)
		snprintf(out, 48, "%" PRIu64 "+%" PRIu64, e->off, e->len);
	else
		snprintf(out, 48, "-");
}

static int format_line(const struct event *e, char **line, size_t *len)
{
	char when[40], range[48];
	time_t now = time(NULL);
	struct tm tm;
	FILE *f = open_memstream(line, len);

	if (!f)
		return -errno;
	localtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S%z", &tm);
	format_range(e, range);
	fputs(when, f);
	put_field(f, e->action);
	put_field(f, e->path);
	put_field(f, range);
	put_field(f, e->member);
	put_field(f, e->found);
	put_field(f, e->source);
	fputc('\n', f);
	return fclose(f) ? -ENOMEM : 0;
}

static int open_log(int dotfd, off_t *size)
{
	CLEANUP_CLOSE int fd = -1;
	struct stat st;

	fd = openat(dotfd, FILE_NAME, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	*size = st.st_size;
	return steal_fd(&fd);
}

static int append(int dotfd, const char *line, size_t len)
{
	off_t size;
	CLEANUP_CLOSE int fd = open_log(dotfd, &size);
	int ret;

	if (fd < 0)
		return fd;
	if (size > 0 && (uint64_t)size + len > EVENT_LOG_LIMIT) {
		if (renameat(dotfd, FILE_NAME, dotfd, FILE_ROTATED) < 0)
			return -errno;
		close(steal_fd(&fd));
		fd = open_log(dotfd, &size);
		if (fd < 0)
			return fd;
	}
	ret = io_pwrite_full(fd, line, len, size, NULL);
	/* no half lines: the next one would be glued to it */
	if (ret && ftruncate(fd, size) < 0)
		log_err(-errno, "event log: cannot cut a half-written line");
	return ret;
}

/* Appends to every log. Returns the slots that failed for the first time. */
static uint32_t append_all(struct event_log *l, const char *line, size_t len,
			   int err[EVENT_MAX_LOGS])
{
	uint32_t failed = 0, fresh;
	int i;

	pthread_mutex_lock(&l->lock);
	for (i = 0; i < EVENT_MAX_LOGS; i++) {
		err[i] = l->dotfd[i] < 0 ? 0 : append(l->dotfd[i], line, len);
		if (err[i])
			failed |= 1u << i;
	}
	fresh = failed & ~l->failed;
	l->failed |= fresh;
	pthread_mutex_unlock(&l->lock);
	return fresh;
}

static void log_event(const struct event *e)
{
	char range[48];

	format_range(e, range);
	log_warn("%s: %s%s%s%s%s%s%s%s%s", e->action, e->path ? e->path : "volume",
		 e->len ? " bytes " : "", e->len ? range : "",
		 e->member ? " on " : "", e->member ? e->member : "",
		 e->found ? ": " : "", e->found ? e->found : "",
		 e->source ? ", good copy: " : "", e->source ? e->source : "");
}

void event_emit(struct event_log *l, const struct event *e)
{
	CLEANUP_FREE char *line = NULL;
	int err[EVENT_MAX_LOGS];
	uint32_t fresh;
	size_t len;
	int i, ret;

	log_event(e);
	ret = format_line(e, &line, &len);
	if (ret) {
		log_err(ret, "event log: cannot write down an event");
		return;
	}
	fresh = append_all(l, line, len, err);
	for (i = 0; i < EVENT_MAX_LOGS; i++)
		if (fresh >> i & 1)
			log_err(err[i], "event log of mirror %d: cannot append "
				"(reported once)", i);
}
