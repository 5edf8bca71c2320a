// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Progress of a long command. The line goes to stderr, redrawn in place on a
 * terminal five times a second, or as a line of its own every ten seconds
 * where --progress=always sends it elsewhere. One thread only; the signal
 * handlers set flags and nothing more.
 */
#include "tools/progress.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "tools/output.h"

#define REDRAW_MS 200
#define LINE_MS 10000
#define SAMPLE_MS 1000
#define WIDTH_DEFAULT 80
#define WIDTH_MAX 500

static volatile sig_atomic_t stop_asked, line_asked;

int progress_parse_mode(const char *text, enum progress_mode *mode)
{
	static const char *const names[] = {
		[PROGRESS_AUTO] = "auto",
		[PROGRESS_ALWAYS] = "always",
		[PROGRESS_NEVER] = "never",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]) == 0) {
			*mode = (enum progress_mode)i;
			return 0;
		}
	}
	return -EINVAL;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void progress_init(struct progress *p, enum progress_mode mode, bool quiet)
{
	struct winsize ws;

	memset(p, 0, sizeof(*p));
	p->terminal = isatty(STDERR_FILENO);
	p->on = !quiet && (mode == PROGRESS_ALWAYS || (mode == PROGRESS_AUTO && p->terminal));
	p->width = WIDTH_DEFAULT;
	if (p->terminal && ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0)
		p->width = ws.ws_col < WIDTH_MAX ? ws.ws_col : WIDTH_MAX;
	p->sampled = now_ms();
	p->rate = -1;
}

/* Bytes a second over the last seconds: a new sample weighs a quarter, so
 * that neither a burst nor a stall throws the time left about. */
static void sample_rate(struct progress *p, uint64_t now, uint64_t done)
{
	double rate;

	if (now - p->sampled < SAMPLE_MS || done < p->sampled_done)
		return;
	rate = (double)(done - p->sampled_done) * 1000 / (double)(now - p->sampled);
	p->rate = p->rate < 0 ? rate : p->rate + (rate - p->rate) / 4;
	p->sampled = now;
	p->sampled_done = done;
}

static void append(char *out, size_t n, const char *text)
{
	size_t used = strlen(out);

	snprintf(out + used, n - used, "%s%s", used ? "  " : "", text);
}

static void append_bytes(const struct progress_state *s, char *out, size_t n)
{
	char text[80], done[OUTPUT_SIZE_MAX], total[OUTPUT_SIZE_MAX];
	uint64_t percent;

	output_size(s->done, done);
	if (s->total == 0) {
		append(out, n, done);
		return;
	}
	/* the total is an estimate: being past it is still not the end */
	percent = s->done >= s->total ? 99 : (uint64_t)((double)s->done * 100 / (double)s->total);
	if (s->done == s->total)
		percent = 100;
	output_size(s->total, total);
	snprintf(text, sizeof(text), "%3u%%  %s of %s", (unsigned)percent, done, total);
	append(out, n, text);
}

static void append_rate(const struct progress_state *s, double rate, char *out, size_t n)
{
	char text[80], size[OUTPUT_SIZE_MAX];

	if (rate < 0)
		return;
	output_size((uint64_t)rate, size);
	snprintf(text, sizeof(text), "%s/s", size);
	append(out, n, text);
	if (s->total <= s->done || rate < 1)
		return;
	output_duration((uint64_t)((double)(s->total - s->done) / rate), size);
	snprintf(text, sizeof(text), "%s left", size);
	append(out, n, text);
}

/* The end of the path, begun at a whole character, after "...". */
static void append_path(const char *path, unsigned width, char *out, size_t n)
{
	size_t used = strlen(out) + 2, len = strlen(path), room;
	char text[WIDTH_MAX + 4];

	if (used + 8 > width)
		return;
	room = width - used;
	if (len <= room) {
		append(out, n, path);
		return;
	}
	path += len - (room - 3);
	while ((*path & 0xc0) == 0x80)
		path++;
	snprintf(text, sizeof(text), "...%s", path);
	append(out, n, text);
}

void progress_format(const struct progress_state *s, double rate, unsigned width, char *out,
		     size_t n)
{
	char text[64];

	if (width >= n)
		width = (unsigned)n - 1;
	out[0] = '\0';
	append_bytes(s, out, n);
	append_rate(s, rate, out, n);
	snprintf(text, sizeof(text), "%llu files", (unsigned long long)s->files);
	append(out, n, text);
	if (s->found) {
		snprintf(text, sizeof(text), "%llu found", (unsigned long long)s->found);
		append(out, n, text);
	}
	if (s->path)
		append_path(s->path, width, out, n);
	out[width] = '\0';
}

void progress_update(struct progress *p, const struct progress_state *s)
{
	uint64_t now = now_ms();
	char line[WIDTH_MAX + 1];
	bool due;

	sample_rate(p, now, s->done);
	due = p->on && now - p->drawn >= (p->terminal ? REDRAW_MS : LINE_MS);
	if (!due && !line_asked)
		return;
	/* the last column stays free: some terminals wrap there */
	progress_format(s, p->rate, p->terminal ? p->width - 1 : WIDTH_MAX, line, sizeof(line));
	if (p->terminal && !line_asked) {
		fprintf(stderr, "\r%s\033[K", line);
		p->shown = true;
	} else {
		progress_clear(p);
		fprintf(stderr, "%s\n", line);
	}
	fflush(stderr);
	line_asked = 0;
	p->drawn = now;
}

void progress_clear(struct progress *p)
{
	if (!p->shown)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	p->shown = false;
	p->drawn = 0;
}

void progress_end(struct progress *p, const struct progress_state *s)
{
	if (p->on && !p->terminal) {
		line_asked = 1;
		progress_update(p, s);
	}
	progress_clear(p);
}

static void on_signal(int sig)
{
	if (sig == SIGUSR1)
		line_asked = 1;
	else
		stop_asked = 1;
}

void progress_catch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1 };
	struct sigaction sa = { .sa_handler = on_signal }, old; /* no SA_RESTART */

	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		/* nohup(1) and shells in the background say "ignore": so be it */
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
			continue;
		sigaction(signals[i], &sa, NULL);
	}
}

bool progress_stopped(void)
{
	return stop_asked != 0;
}
