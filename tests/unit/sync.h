/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A volume of two mirrors with a remote at the faulty server, for tests of the
 * uploader from end to end. Sessions of the volume run in children, so that one
 * can be killed; there a failed assertion aborts.
 */
#ifndef TESTS_UNIT_SYNC_H
#define TESTS_UNIT_SYNC_H

#include <inttypes.h>

#include "tests/http/spawn.h"
#include "tests/unit/volume.h"

#include "replica/remote/remote.h"

#define SYNC_BUCKET "bucket"
#define SYNC_PREFIX SYNC_BUCKET "/r"
#define SYNC_REMOTE "there"
#define SYNC_WAIT_MS 90000

struct world {
	struct bed *b;
	struct faulty f;
	bool s3;
	struct remote_def def;
	struct remote_secret secret;
	char credentials[400];
};

static inline void trace(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* SYNC_TRACE=1: what is done, on stderr. */
static inline void trace(const char *fmt, ...)
{
	static int on = -1;
	va_list ap;

	if (on < 0)
		on = getenv("SYNC_TRACE") != NULL;
	if (!on)
		return;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* A path that can be printed. */
static inline const char *shown(const char *path)
{
	static char text[4][300];
	static unsigned turn;
	char *out = text[turn++ % 4];
	size_t at = 0;

	for (; *path && at < sizeof(text[0]) - 20; path++) {
		const char *p = path;

		if (*p < ' ' || *p > '~')
			at += (size_t)sprintf(out + at, "\\%02x", (unsigned char)*p);
		else if (p[0] == p[1] && p[0] == p[2] && p[0] == p[3]) {
			while (path[1] == *p)
				path++;
			at += (size_t)sprintf(out + at, "%c{%d}", *p, (int)(path - p + 1));
		} else
			out[at++] = *p;
	}
	snprintf(out + at, 4, "%s", *path ? "..." : "");
	return out;
}

/* ---- life ---- */

static inline void world_credentials(struct world *w)
{
	static const char text[] = "access-key = key\nsecret-key = secret\n";
	int dir = open(w->b->base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(dir >= 0);
	put_file(dir, "credentials", text, sizeof(text) - 1);
	close(dir);
	snprintf(w->credentials, sizeof(w->credentials), "%s/credentials", w->b->base);
	w->def.credentials = strdup(w->credentials);
	w->secret = (struct remote_secret){ .user = strdup("key"), .password = strdup("secret") };
}

static inline struct world *world_new(bool s3, bool in_place)
{
	const char *options[3] = { NULL };
	struct world *w = calloc(1, sizeof(*w));
	size_t n = 0;

	if (s3)
		options[n++] = "--s3";
	if (in_place)
		options[n++] = "--in-place";
	assert_non_null(w);
	w->b = bed_new_dirs(2);
	assert_non_null(w->b);
	assert_int_equal(bed_init(w->b, false), 0);
	w->s3 = s3;
	faulty_start(&w->f, options);
	assert_int_equal(mkdirat(w->f.tree, SYNC_BUCKET, 0700), 0);
	assert_int_equal(mkdirat(w->f.tree, SYNC_PREFIX, 0700), 0);
	remote_def_new(&w->def);
	snprintf(w->def.name, sizeof(w->def.name), SYNC_REMOTE);
	w->def.kind = s3 ? REMOTE_S3 : REMOTE_WEBDAV;
	w->def.n_urls = 1;
	w->def.brake_percent = 0;
	w->def.settle_s = 2; /* what the server forgets after one is gone then */
	w->def.scrub_bytes = 0;
	if (asprintf(&w->def.url[0], "%s/" SYNC_PREFIX, w->f.url) < 0)
		return NULL;
	if (s3)
		world_credentials(w);
	return w;
}

static inline void world_free(struct world *w)
{
	faulty_stop(&w->f);
	bed_free(w->b);
	remote_def_free(&w->def);
	free(w->secret.user);
	free(w->secret.password);
	free(w);
}

/* A process that may be killed; there a failed assertion aborts. It writes a byte to ready[1]
 * when it is under way. */
static inline pid_t fork_session(int ready[2])
{
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setenv("CMOCKA_TEST_ABORT", "1", 1);
	for (int s = 1; s < 32; s++)
		signal(s, SIG_DFL);
	return 0;
}

/* ---- waiting ---- */

static inline void status_of(struct world *w, struct remote_status *s)
{
	assert_int_equal(remotes_status(w->b->v, s, 1), 1);
}

/* After a failure it is not the time that is tested. */
static inline int hurry(void *arg, const struct remote_status *s)
{
	struct world *w = arg;
	char error[REMOTE_SAY_MAX];

	if (s->state == REMOTE_WAITING || s->state == REMOTE_IDLE)
		remotes_release(w->b->v, SYNC_REMOTE, error);
	return 0;
}

static inline void world_wait(struct world *w)
{
	char error[REMOTE_SAY_MAX] = "";
	int64_t began = clock_ms();
	struct remote_status s;
	int r = remotes_wait(w->b->v, SYNC_REMOTE, NULL, SYNC_WAIT_MS, hurry, w, error);

	status_of(w, &s);
	if (r < 0)
		fail_msg("wait: %d %s (%s; %s; %llu files to go)", r, error,
			 remote_state_name(s.state), s.error, (unsigned long long)s.files);
	trace("waited %lld ms, head %llu", (long long)(clock_ms() - began),
	      (unsigned long long)s.head);
}

/* ... and until all that was stored has been looked at again. */
static inline void world_settle(struct world *w)
{
	int64_t end = clock_ms() + SYNC_WAIT_MS;
	struct remote_status s;
	uint64_t mended;

	world_wait(w);
	do {
		status_of(w, &s);
		mended = s.mended;
		while (s.unsettled) {
			assert_true(clock_ms() < end);
			faulty_pause(50);
			status_of(w, &s);
		}
		world_wait(w);
		status_of(w, &s);
		assert_true(clock_ms() < end);
	} while (s.unsettled || s.mended != mended);
}

#endif
