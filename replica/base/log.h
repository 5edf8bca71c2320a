/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One line a message, to stderr while in the foreground and to syslog once
 * the process is a daemon. Thread-safe. Never called with a lock held that
 * a message could need.
 */
#ifndef REPLICA_BASE_LOG_H
#define REPLICA_BASE_LOG_H

#include <stdarg.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Prefix of each stderr line ("mirrorfs", "mirrorctl"). Default: none. */
void log_set_program(const char *name);
void log_set_level(enum log_level level);
/* From now on to syslog (facility daemon) instead of stderr. */
void log_to_syslog(void);

void log_write(enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* Logs "fmt: strerror(-err)" as an error and returns err, so that a failing
 * path can say `return log_err(-errno, "open %s", path);`. err is negative. */
int log_err(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
