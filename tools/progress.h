/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The progress line on stderr, and the signals that belong to a long command:
 * SIGINT, SIGTERM and SIGHUP ask it to stop, SIGUSR1 asks for one line.
 */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum progress_mode { PROGRESS_AUTO, PROGRESS_ALWAYS, PROGRESS_NEVER };

/* "auto", "always", "never". 0 or -EINVAL. */
int progress_parse_mode(const char *text, enum progress_mode *mode);

struct progress_state {
	uint64_t done, total; /* bytes; total 0: unknown */
	uint64_t dirs, files;
	uint64_t found;
	const char *path; /* object at hand, escaped, or NULL */
};

struct progress {
	bool on;         /* draw by itself */
	bool terminal;   /* redraw one line; else a line each time, but seldom */
	bool shown;      /* a line stands on the terminal */
	unsigned width;  /* columns of the terminal */
	uint64_t drawn;  /* ms, when the last line was drawn */
	uint64_t sampled, sampled_done; /* start of the window of the rate */
	double rate;     /* bytes a second, smoothed; negative: not known yet */
};

void progress_init(struct progress *p, enum progress_mode mode, bool quiet);
/* Draws if it is time to. */
void progress_update(struct progress *p, const struct progress_state *s);
/* Wipes the line, before something else is printed. */
void progress_clear(struct progress *p);
/* The end: wipes the line of a terminal; elsewhere a last line stays. */
void progress_end(struct progress *p, const struct progress_state *s);

/* The text: "43%  1.2 GiB of 2.8 GiB  210 MiB/s  0:07:31 left  3 found  path",
 * at most width bytes (a path that does not fit loses its beginning). Pure. */
void progress_format(const struct progress_state *s, double rate, unsigned width, char *out,
		     size_t n);

/* Installs the signal handlers; calls that block then return EINTR. */
void progress_catch_signals(void);
/* Whether a signal asked to stop. */
bool progress_stopped(void);

#endif
