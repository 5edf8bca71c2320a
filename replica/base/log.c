/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages. A message is formatted into one buffer and leaves in one write(2)
 * or one syslog(3), so lines of several threads or processes never mix. The
 * settings are atomics: no lock is ever taken here, and errno is preserved.
 */
#include "replica/base/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

/* PIPE_BUF: up to here a write to a pipe is not interleaved either. */
#define LINE_MAX_BYTES 4096

static const char *_Atomic program;
static atomic_int max_level = LOG_LEVEL_INFO;
static atomic_bool syslog_on;

static const struct {
	int priority;
	const char *word;
} levels[] = {
	[LOG_LEVEL_ERROR] = { LOG_ERR, "error: " },
	[LOG_LEVEL_WARN] = { LOG_WARNING, "warning: " },
	[LOG_LEVEL_INFO] = { LOG_INFO, "" },
	[LOG_LEVEL_DEBUG] = { LOG_DEBUG, "debug: " },
};

void log_set_program(const char *name)
{
	atomic_store(&program, name);
}

void log_set_level(enum log_level level)
{
	atomic_store(&max_level, (int)level);
}

void log_to_syslog(void)
{
	openlog(atomic_load(&program), LOG_PID, LOG_DAEMON);
	atomic_store(&syslog_on, true);
}

/* vsnprintf at the end of what stands in line; returns the new length, which
 * never passes size - 1. */
__attribute__((format(printf, 4, 0)))
static size_t append(char *line, size_t at, size_t size, const char *fmt, va_list ap)
{
	int n = vsnprintf(line + at, size - at, fmt, ap);

	if (n < 0)
		return at;
	return (size_t)n < size - at ? at + (size_t)n : size - 1;
}

__attribute__((format(printf, 4, 5)))
static size_t appendf(char *line, size_t at, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	at = append(line, at, size, fmt, ap);
	va_end(ap);
	return at;
}

/* A file name may hold line breaks or terminal escapes: one message is one
 * line, whatever it quotes. */
static void flatten(char *s, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < 0x20 || c == 0x7f)
			s[i] = '?';
	}
}

static void put_line(char *line, size_t len)
{
	size_t done = 0;

	line[len++] = '\n';
	while (done < len) {
		ssize_t n = write(STDERR_FILENO, line + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nowhere left to report it */
		done += (size_t)n;
	}
}

/* err < 0: ": " and its text follow the message. */
__attribute__((format(printf, 3, 0)))
static void emit(enum log_level level, int err, const char *fmt, va_list ap)
{
	char line[LINE_MAX_BYTES];
	size_t size = sizeof(line) - 1; /* room for the line break */
	size_t len = 0, start;
	const char *name = atomic_load(&program);
	bool to_syslog = atomic_load(&syslog_on);

	if ((int)level > atomic_load(&max_level))
		return;
	if (!to_syslog && name)
		len = appendf(line, len, size, "%s: ", name);
	if (!to_syslog)
		len = appendf(line, len, size, "%s", levels[level].word);
	start = len;
	len = append(line, len, size, fmt, ap);
	if (err) {
		errno = -err; /* %m, as strerror is not thread-safe */
		len = appendf(line, len, size, ": %m");
	}
	if (len == size - 1)
		memcpy(line + len - 3, "...", 3);
	flatten(line + start, len - start);
	if (to_syslog)
		syslog(levels[level].priority, "%s", line + start);
	else
		put_line(line, len);
}

void log_write(enum log_level level, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	va_start(ap, fmt);
	emit(level, 0, fmt, ap);
	va_end(ap);
	errno = saved;
}

int log_err(int err, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	va_start(ap, fmt);
	emit(LOG_LEVEL_ERROR, err, fmt, ap);
	va_end(ap);
	errno = saved;
	return err;
}
