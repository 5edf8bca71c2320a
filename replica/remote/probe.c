/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The attach probe: a list of steps, each a few requests on names below
 * `.mirrorfs/probe/`. A step either finds that the server cannot be used, and says
 * which setting to change, or notes what it can do. What it does is found out by doing it,
 * not by what the server says of itself: proxies and versions differ.
 */
#include "replica/remote/probe_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "replica/base/io.h"
#include "replica/remote/store_priv.h"

/* ---- saying ---- */

void probe_say(struct probe *p, enum probe_level level, const char *fmt, ...)
{
	char line[600], clean[600];
	va_list ap;

	if (!p->say)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	store_printable(line, strlen(line), clean, sizeof(clean));
	p->say(p->arg, level, clean);
}

static const char dav_allow[] =
	"nginx: \"dav_methods PUT DELETE MKCOL COPY MOVE\"; Apache: \"Dav On\" and no Limit on "
	"the method; lighttpd: webdav.activate = \"enable\" and webdav.is-readonly = \"disable\"";

/* What a person can do about a refusal, by errno and dialect. */
static const char *advice(const struct probe *p, int err, long status)
{
	bool s3 = store_is_s3(p->s);

	switch (err) {
	case -EACCES:
		if (status == 401 || s3)
			return "check the credentials file (and with S3 the rights on the bucket)";
		return "this user may not: check the rights of the server on its files; Apache: "
		       "Require; lighttpd: webdav.is-readonly = \"disable\"";
	case -ENOTSUP:
		return s3 ? "check the URL: scheme, host, bucket" : dav_allow;
	case -EKEYREJECTED:
		return "name the CA of the server with --ca";
	case -EFBIG:
		return "nginx: \"client_max_body_size 0\"; Apache: \"LimitRequestBody 0\"; "
		       "lighttpd: server.max-request-size = 0";
	case -ENOENT:
		return s3 ? "does the bucket exist?" : "does the path of the URL exist?";
	case -ENOSPC:
		return "the server is full";
	case -EAGAIN:
		return "the server cannot be reached or is in trouble";
	default:
		return "";
	}
}

int probe_fail(struct probe *p, int err, const struct store_op *op)
{
	const char *help = advice(p, err, op->status);

	probe_say(p, PROBE_FAIL, "%s%s%s", op->error, *help ? "; " : "", help);
	return err;
}

int probe_refuse(struct probe *p, int err, const char *line)
{
	probe_say(p, PROBE_FAIL, "%s", line);
	return err;
}

/* ---- operations ---- */

int probe_run(struct probe *p, struct store_op *op)
{
	return store_run(p->s, op);
}

int probe_put(struct probe *p, const char *name, const char *text, struct store_op *op)
{
	*op = (struct store_op){ .verb = STORE_PUT, .name = name, .data = text,
				 .len = strlen(text) };
	return probe_run(p, op);
}

static int take(void *arg, const void *buf, size_t len)
{
	struct probe_text *t = arg;

	if (len > sizeof(t->b) - 1 - t->n)
		return -EMSGSIZE;
	memcpy(t->b + t->n, buf, len);
	t->n += len;
	t->b[t->n] = '\0';
	return 0;
}

int probe_get(struct store *s, const char *name, uint64_t off, uint64_t len,
	      struct probe_text *text, struct store_op *op)
{
	text->n = 0;
	text->b[0] = '\0';
	*op = (struct store_op){ .verb = STORE_GET, .name = name, .off = off, .len = len,
				 .write = take, .write_arg = text };
	return store_run(s, op);
}

/* ---- the steps that are always done ---- */

static int step_small(struct probe *p)
{
	struct store_op op;
	int err = probe_put(p, PROBE_DIR "/small", p->mark, &op);

	if (err)
		return probe_fail(p, err, &op);
	snprintf(p->caps->server, sizeof(p->caps->server), "%s", p->s->server);
	snprintf(p->caps->http, sizeof(p->caps->http), p->s->version >= 20 ? "%u" : "%u.%u",
		 p->s->version / 10, p->s->version % 10);
	probe_say(p, PROBE_OK, "takes objects: %s, HTTP/%s",
		  *p->caps->server ? p->caps->server : "server without a name", p->caps->http);
	return 0;
}

/* By itself first: where MKCOL is not allowed, a PUT fails in ways that tell nothing. */
static int step_dir(struct probe *p)
{
	struct store_op op = { .verb = STORE_MKDIR, .name = PROBE_DIR };
	int err = probe_run(p, &op);

	return err ? probe_fail(p, err, &op) : 0;
}

#define SKEW_TOLD 60
static int step_clock(struct probe *p)
{
	int64_t skew = p->s->date ? p->s->date - (int64_t)time(NULL) : 0;

	p->caps->skew = skew >= -1 && skew <= 1 ? 0 : skew; /* a second may have turned */
	if (!p->s->date)
		probe_say(p, PROBE_WARN, "the server does not tell its time");
	else if (skew > SKEW_TOLD || skew < -SKEW_TOLD)
		probe_say(p, PROBE_WARN, "the server's clock is %" PRId64 " s %s ours",
			  skew < 0 ? -skew : skew, skew < 0 ? "behind" : "ahead of");
	return 0;
}

static int step_read(struct probe *p)
{
	struct probe_text got;
	struct store_op op;
	int err = probe_get(p->s, PROBE_DIR "/small", 0, 0, &got, &op);

	if (err)
		return probe_fail(p, err, &op);
	if (strcmp(got.b, p->mark))
		return probe_refuse(p, -EPROTO, "what was stored is not what comes back");
	op = (struct store_op){ .verb = STORE_HEAD, .name = PROBE_DIR "/small" };
	err = probe_run(p, &op);
	if (err)
		return probe_fail(p, err, &op);
	if (op.size != strlen(p->mark))
		return probe_refuse(p, -EPROTO, "the server does not tell the size of an object");
	return 0;
}

static int step_delete(struct probe *p)
{
	struct store_op op = { .verb = STORE_DELETE, .name = PROBE_DIR "/small" };
	int err = probe_run(p, &op);

	if (err)
		return probe_fail(p, err, &op);
	op = (struct store_op){ .verb = STORE_HEAD, .name = PROBE_DIR "/small" };
	err = probe_run(p, &op);
	if (err != -ENOENT)
		return err ? probe_fail(p, err, &op)
			   : probe_refuse(p, -EPROTO, "what was deleted is still there");
	return 0;
}

/* ---- all of it ---- */

static int (*const quick_steps[])(struct probe *p) = {
	step_dir, step_small, step_clock, step_read, step_delete, NULL,
};

/* The order matters: what is needed to tell others comes first. */
static int (*const full_steps[])(struct probe *p) = {
	step_dir, step_small, step_clock, step_read, probe_list, probe_replace, probe_range, step_delete,
	probe_move, probe_copy, probe_move_dir, probe_exclusive, probe_case, probe_hash,
	probe_body, probe_announced, probe_in_place, NULL,
};

static int sweep_one(void *arg, const struct store_found *f)
{
	struct probe *p = arg;

	/* More than we make is not ours. */
	if (p->n_left == PROBE_LEFT_MAX)
		return 0;
	if (snprintf(p->left[p->n_left].name, sizeof(p->left[0].name), "%s/%s", p->sweep,
		     f->name) < (int)sizeof(p->left[0].name))
		p->left[p->n_left++].dir = f->dir;
	return 0;
}

static int remove_one(struct probe *p, const char *name, bool dir)
{
	struct store_op op = { .verb = STORE_DELETE, .name = name, .dir = dir };

	return probe_run(p, &op);
}

/* Everything in the collection, then itself; two levels are all there is. */
static int sweep_dir(struct probe *p, const char *name, unsigned depth)
{
	struct store_op op = { .verb = STORE_LIST, .name = name, .found = sweep_one,
			       .found_arg = p };
	unsigned from = p->n_left;
	int err;

	p->sweep = name;
	err = probe_run(p, &op);
	if (err == -ENOENT)
		return 0;
	for (unsigned i = from, n = p->n_left; i < n && !err; i++)
		err = p->left[i].dir && depth ? sweep_dir(p, p->left[i].name, depth - 1)
					      : remove_one(p, p->left[i].name, p->left[i].dir);
	p->n_left = from;
	return err || store_is_s3(p->s) ? err : remove_one(p, name, true);
}

static int sweep(struct probe *p)
{
	/* Lists may leave it out. */
	int err = remove_one(p, PROBE_DIR "/.dot", false);

	return err ? err : sweep_dir(p, PROBE_DIR, 1);
}

int store_probe(struct store *s, bool quick, struct store_caps *caps,
		void (*say)(void *arg, enum probe_level level, const char *line), void *arg)
{
	struct probe *p = calloc(1, sizeof(*p));
	uint64_t mark;
	int err = 0, swept;

	if (!p)
		return -ENOMEM;
	io_random(&mark, sizeof(mark));
	*p = (struct probe){ .s = s, .caps = caps, .say = say, .arg = arg };
	snprintf(p->mark, sizeof(p->mark), "mirrorfs probe %016" PRIx64, mark);
	if (!quick)
		memset(caps, 0, sizeof(*caps));
	for (int (*const *step)(struct probe *) = quick ? quick_steps : full_steps;
	     *step && !err; step++)
		err = (*step)(p);
	/* With these no more can be done. */
	if (err != -EACCES && err != -EKEYREJECTED && err != -EAGAIN) {
		swept = sweep(p);
		if (swept && !err)
			probe_say(p, PROBE_WARN, "left behind: %s (%s)", PROBE_DIR,
				  strerror(-swept));
	}
	free(p);
	return err;
}
