/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The queue of a store: operations become work, work becomes requests of the
 * one HTTP client, answers go to the dialect until it has a result. An
 * operation is either in `running` or in `done`. One thread; only store_wake is
 * for others.
 */
#include "replica/remote/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "replica/base/log.h"
#include "replica/remote/store_priv.h"

#define STOP_MS 200 /* between two questions whether to stop */

/* ---- opening ---- */

static int open_endpoints(struct store *s)
{
	for (unsigned i = 0; i < s->def->n_urls && i < REMOTE_URLS_MAX; i++) {
		int err = endpoint_parse(s->def->url[i], &s->endpoint[i]);

		if (err)
			return log_err(err, "remote %s: its URL %u", s->def->name, i + 1);
		s->n_endpoint++;
	}
	return s->n_endpoint ? 0 : log_err(-EINVAL, "remote %s: no URL", s->def->name);
}

static int open_http(struct store *s)
{
	const struct remote_def *d = s->def;
	struct http_options o = {
		.connections = d->connections, .ca_file = d->ca,
		.up_limit = d->up_limit, .down_limit = d->down_limit,
	};

	/* S3 signs by itself. */
	if (s->secret && d->kind == REMOTE_WEBDAV) {
		o.auth = (enum http_auth)s->secret->auth;
		o.user = s->secret->user;
		o.password = s->secret->password;
	}
	return http_open(&o, &s->http);
}

int store_open(const struct remote_def *def, const struct remote_secret *secret,
	       struct store **out)
{
	struct store *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->def = def;
	s->secret = secret;
	s->done_end = &s->done;
	s->dialect = def->kind == REMOTE_S3 ? &dialect_s3 : &dialect_webdav;
	s->caps.moves_dirs = def->kind == REMOTE_WEBDAV;
	s->caps.copies = true;
	err = open_endpoints(s);
	if (!err)
		err = open_http(s);
	if (!err && s->dialect->open)
		err = s->dialect->open(s);
	if (err) {
		store_close(s);
		return err;
	}
	*out = s;
	return 0;
}

/* ---- an operation ---- */

static void work_free(struct work *w)
{
	store_request(w, "", NULL);
	free(w);
}

static void finish(struct work *w, int result)
{
	struct store *s = w->store;
	struct store_op *op = w->op;

	op->result = result;
	if (result < 0 && !op->error[0])
		store_fail(w, result, "%s", strerror(-result));
	if (result >= 0)
		op->error[0] = '\0';
	if (s->dialect->end)
		s->dialect->end(w);
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	s->n_running--;
	work_free(w);
	op->work = NULL;
	op->next = NULL;
	*s->done_end = op;
	s->done_end = &op->next;
}

/* Stands between the client and the sink of the request, to count. */
static int count_down(void *arg, const void *buf, size_t len)
{
	struct work *w = arg;

	w->store->down += len;
	return w->sink(w->sink_arg, buf, len);
}

static void advance(struct work *w, int result)
{
	int err;

	if (result != STORE_MORE) {
		finish(w, result);
		return;
	}
	w->sink = w->req.write;
	w->sink_arg = w->req.write_arg;
	if (w->sink) {
		w->req.write = count_down;
		w->req.write_arg = w;
	}
	w->req.user = w;
	err = http_start(w->store->http, &w->req);
	if (err)
		finish(w, err);
}

static void answered(struct http_request *req)
{
	struct work *w = req->user;
	struct store *s = w->store;

	s->up += req->sent;
	if (!w->sink)
		s->down += req->body_got;
	if (!req->err) {
		s->date = req->date;
		s->version = req->version;
		snprintf(s->server, sizeof(s->server), "%s", req->server);
	}
	advance(w, req->err == -ECANCELED && !w->own ? -ECANCELED : s->dialect->answer(w));
}

static int check_names(const struct store_op *op)
{
	bool root = op->verb == STORE_LIST || op->verb == STORE_MKDIR;
	int err;

	if (op->verb > STORE_LIST)
		return -EINVAL;
	err = store_name_check(op->name, root);
	if (err || (op->verb != STORE_MOVE && op->verb != STORE_COPY))
		return err;
	return op->to ? store_name_check(op->to, false) : -EINVAL;
}

static void clear_result(struct store_op *op)
{
	op->result = 0;
	op->status = 0;
	op->error[0] = '\0';
	op->size = UINT64_MAX;
	op->etag[0] = '\0';
	op->retry_after = -1;
	op->next = NULL;
}

int store_submit(struct store *s, struct store_op *op)
{
	struct work *w = op->name ? calloc(1, sizeof(*w)) : NULL;
	int err;

	clear_result(op);
	if (!w)
		return op->result = op->name ? -ENOMEM : -EINVAL;
	w->store = s;
	w->op = op;
	w->req.retry_after = -1;
	op->work = w;
	w->next = s->running;
	w->link = &s->running;
	if (w->next)
		w->next->link = &w->next;
	s->running = w;
	s->n_running++;
	err = check_names(op);
	advance(w, err ? err : s->dialect->begin(w));
	return 0;
}

/* ---- waiting ---- */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static struct store_op *take_done(struct store *s, const struct store_op *wanted)
{
	struct store_op **link = &s->done;

	while (*link && wanted && *link != wanted)
		link = &(*link)->next;
	if (*link) {
		struct store_op *op = *link;

		*link = op->next;
		if (s->done_end == &op->next)
			s->done_end = link;
		op->next = NULL;
		return op;
	}
	return NULL;
}

struct store_op *store_next(struct store *s, int ms)
{
	int64_t end = now_ms() + ms;

	for (;;) {
		struct store_op *op = take_done(s, NULL);
		int64_t left = ms < 0 ? -1 : end - now_ms();
		struct http_request *r;

		if (op)
			return op;
		r = http_wait(s->http, ms < 0 ? -1 : left > 0 ? (int)left : 0);
		if (!r)
			return NULL;
		answered(r);
	}
}

int store_run(struct store *s, struct store_op *op)
{
	bool woken = false;
	int err = store_submit(s, op);

	if (err)
		return err;
	while (!take_done(s, op)) {
		struct http_request *r = http_wait(s->http, s->stop ? STOP_MS : -1);

		if (r)
			answered(r);
		else if (s->stop && s->stop(s->stop_arg))
			store_cancel_all(s);
		else
			woken = !s->stop; /* else it was the time */
	}
	/* The wake was for whoever waits in store_next. */
	if (woken)
		http_wake(s->http);
	return op->result;
}

void store_stop(struct store *s, bool (*stop)(void *arg), void *arg)
{
	s->stop = stop;
	s->stop_arg = arg;
}

int64_t store_retry_after(const struct store *s)
{
	return s->retry_after;
}

void store_cancel_all(struct store *s)
{
	for (struct work *w = s->running; w; w = w->next)
		http_cancel(s->http, &w->req);
}

void store_close(struct store *s)
{
	struct http_request *r;

	if (!s)
		return;
	store_cancel_all(s);
	while (s->running) {
		r = http_wait(s->http, -1);
		if (!r)
			continue; /* only woken */
		finish(r->user, -ECANCELED);
	}
	if (s->http)
		http_close(s->http);
	if (s->dialect->close)
		s->dialect->close(s);
	for (unsigned i = 0; i < s->n_endpoint; i++)
		endpoint_free(&s->endpoint[i]);
	free(s);
}

/* ---- the rest ---- */

unsigned store_running(const struct store *s)
{
	return s->n_running;
}

void store_wake(struct store *s)
{
	http_wake(s->http);
}

unsigned store_endpoint(const struct store *s)
{
	return s->at;
}

void store_next_endpoint(struct store *s)
{
	s->at = (s->at + 1) % s->n_endpoint;
}

void store_use(struct store *s, const struct store_caps *caps)
{
	s->caps = *caps;
}

const struct store_caps *store_caps(const struct store *s)
{
	return &s->caps;
}

bool store_is_s3(const struct store *s)
{
	return s->def->kind == REMOTE_S3;
}

void store_traffic(const struct store *s, uint64_t *up, uint64_t *down)
{
	*up = s->up;
	*down = s->down;
}
