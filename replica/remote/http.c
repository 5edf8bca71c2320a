/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client: which transfers run, which wait for their rate, which are done.
 * Each request that was taken is either in `running` or in the queue `done`.
 *
 * All requests share two rates. A callback that finds its rate closed pauses
 * its transfer and queues it; transfers are let on, one by one and in order,
 * when the rate is open again.
 *
 * No locks: all belongs to the owner's thread but `woken`.
 */
#include "replica/remote/http.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "replica/base/log.h"
#include "replica/remote/http_priv.h"

#define DEFAULT_CONNECTIONS 8
#define DEFAULT_CONNECT_MS 10000
#define DEFAULT_STALL_S 120
#define POLL_MAX_MS 60000

static char version_text[96];
static int global_error;
static pthread_once_t global_once = PTHREAD_ONCE_INIT;

static void global_init(void)
{
	const curl_version_info_data *v;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) || sodium_init() < 0) {
		global_error = -ENOMEM;
		return;
	}
	v = curl_version_info(CURLVERSION_NOW);
	snprintf(version_text, sizeof(version_text), "libcurl/%s %s", v->version,
		 v->ssl_version ? v->ssl_version : "without TLS");
}

const char *http_version(void)
{
	pthread_once(&global_once, global_init);
	return version_text;
}

uint64_t http_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Rates */

void http_await_rate(struct transfer *t, int way)
{
	struct queue *q = &t->http->waiting[way];

	if (t->waiting[way])
		return;
	t->waiting[way] = true;
	t->next_waiting[way] = NULL;
	if (q->first)
		q->last->next_waiting[way] = t;
	else
		q->first = t;
	q->last = t;
}

static void leave_queue(struct http *h, struct transfer *t, int way)
{
	struct queue *q = &h->waiting[way];
	struct transfer **link = &q->first, *before = NULL;

	if (!t->waiting[way])
		return;
	for (; *link != t; link = &before->next_waiting[way])
		before = *link;
	*link = t->next_waiting[way];
	if (q->last == t)
		q->last = before;
	t->waiting[way] = false;
}

/* To resume a download calls our callback, which may queue it again: at most
 * one a turn, and another turn follows while the rate is open. */
static void resume(struct http *h, int way)
{
	struct transfer *t = h->waiting[way].first;

	if (!t || !rate_open(&h->rate[way], http_now_us()))
		return;
	leave_queue(h, t, way);
	curl_easy_pause(t->easy, (t->waiting[UP] ? CURLPAUSE_SEND : 0) |
				 (t->waiting[DOWN] ? CURLPAUSE_RECV : 0));
}

/* -1: nobody waits. */
static int rate_wait_ms(struct http *h, int way)
{
	return h->waiting[way].first ? rate_delay_ms(&h->rate[way], http_now_us()) : -1;
}

/* Requests begin and end */

/* Nothing that could end a line gets into a request. */
static bool plain_text(const char *s, unsigned char from)
{
	for (; *s; s++)
		if ((unsigned char)*s < from || *s == 0x7f)
			return false;
	return true;
}

static int check_request(const struct http_request *r)
{
	const char *const *line;

	if (!r->method || !*r->method || !plain_text(r->method, '!'))
		return -EINVAL;
	if (!r->url || !plain_text(r->url, '!') ||
	    (strncasecmp(r->url, "http://", 7) && strncasecmp(r->url, "https://", 8)))
		return -EINVAL;
	if ((!r->read && r->body_len) || r->body_len > INT64_MAX)
		return -EINVAL;
	for (line = r->header; line && *line; line++)
		if (!plain_text(*line, ' '))
			return -EINVAL;
	return 0;
}

static struct transfer *take_idle(struct http *h)
{
	struct transfer *t = h->idle;

	if (!t)
		return transfer_new(h);
	h->idle = t->next;
	h->n_idle--;
	return t;
}

static void give_idle(struct http *h, struct transfer *t)
{
	t->request = NULL;
	if (h->n_idle >= h->o.connections) {
		transfer_free(t);
		return;
	}
	t->next = h->idle;
	h->idle = t;
	h->n_idle++;
}

static int begin(struct http *h, struct http_request *r)
{
	struct transfer *t = take_idle(h);
	int ret;

	if (!t)
		return -ENOMEM;
	ret = transfer_begin(t, r);
	if (!ret && curl_multi_add_handle(h->multi, t->easy))
		ret = -ENOMEM;
	if (ret) {
		give_idle(h, t);
		return ret;
	}
	r->handle = t;
	t->next = h->running;
	h->running = t;
	h->n_running++;
	return 0;
}

int http_start(struct http *h, struct http_request *r)
{
	int ret = check_request(r);

	http_request_clear(r);
	if (!ret)
		ret = begin(h, r);
	if (ret) {
		r->err = ret;
		snprintf(r->error, sizeof(r->error), "the request cannot be sent: %s",
			 strerror(-ret));
	}
	return ret;
}

/* Off the list of running ones, and into the queue of done ones. */
static void finish(struct http *h, struct transfer *t, CURLcode rc)
{
	struct http_request *r = t->request;
	struct transfer **link = &h->running;

	transfer_end(t, rc);
	leave_queue(h, t, UP);
	leave_queue(h, t, DOWN);
	curl_multi_remove_handle(h->multi, t->easy);
	while (*link != t)
		link = &(*link)->next;
	*link = t->next;
	give_idle(h, t);
	r->handle = NULL;
	r->next = NULL;
	*h->done_end = r;
	h->done_end = &r->next;
}

static void finish_cancelled(struct http *h, bool all)
{
	struct transfer *t, *next;

	h->cancels = false;
	for (t = h->running; t; t = next) {
		next = t->next;
		t->cancelled |= all;
		if (t->cancelled)
			finish(h, t, CURLE_ABORTED_BY_CALLBACK);
	}
}

/* The multi handle itself is out of order: nothing will come of any of them. */
static void finish_broken(struct http *h, CURLMcode rc)
{
	log_error("HTTP client: %s", curl_multi_strerror(rc));
	while (h->running)
		finish(h, h->running, CURLE_OUT_OF_MEMORY);
	poll(NULL, 0, 100);
}

static struct http_request *pop_done(struct http *h, struct http_request *only)
{
	struct http_request **link = &h->done, *r;

	while (*link && only && *link != only)
		link = &(*link)->next;
	r = *link;
	if (!r)
		return NULL;
	*link = r->next;
	if (!*link)
		h->done_end = link;
	r->next = NULL;
	h->n_running--;
	return r;
}

/* All that can be done without waiting. */
static void turn(struct http *h)
{
	struct transfer *t;
	CURLMsg *msg;
	CURLMcode rc;
	int n;

	if (h->cancels)
		finish_cancelled(h, false);
	resume(h, UP);
	resume(h, DOWN);
	rc = curl_multi_perform(h->multi, &n);
	if (rc)
		finish_broken(h, rc);
	while ((msg = curl_multi_info_read(h->multi, &n))) {
		if (msg->msg != CURLMSG_DONE ||
		    curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &t))
			continue;
		finish(h, t, msg->data.result);
	}
}

static int least(int a, int b)
{
	if (a < 0 || b < 0)
		return a < 0 ? b : a;
	return a < b ? a : b;
}

/* ms < 0: as long as it takes. */
static void wait_for_work(struct http *h, int ms)
{
	CURLMcode rc;

	ms = least(ms, least(rate_wait_ms(h, UP), rate_wait_ms(h, DOWN)));
	ms = h->cancels ? 0 : least(ms, POLL_MAX_MS);
	rc = curl_multi_poll(h->multi, NULL, 0, ms, NULL);
	if (rc)
		finish_broken(h, rc);
}

struct http_request *http_wait(struct http *h, int ms)
{
	uint64_t now = http_now_us(), end = now + (ms > 0 ? (uint64_t)ms * 1000 : 0);
	struct http_request *r;

	for (;;) {
		turn(h);
		r = pop_done(h, NULL);
		if (r || atomic_exchange(&h->woken, false))
			return r;
		now = http_now_us();
		if (ms >= 0 && now >= end)
			return NULL;
		wait_for_work(h, ms < 0 ? -1 : (int)((end - now + 999) / 1000));
	}
}

int http_perform(struct http *h, struct http_request *r)
{
	int ret = http_start(h, r);

	if (ret)
		return ret;
	for (;;) {
		turn(h);
		if (pop_done(h, r))
			return r->err;
		wait_for_work(h, -1);
	}
}

void http_cancel(struct http *h, struct http_request *r)
{
	struct transfer *t = r->handle;

	if (!t)
		return;
	/* Not here: we may be in a callback of curl. */
	t->cancelled = true;
	h->cancels = true;
}

void http_wake(struct http *h)
{
	atomic_store(&h->woken, true);
	curl_multi_wakeup(h->multi);
}

unsigned http_running(const struct http *h)
{
	return h->n_running;
}

void http_limit(struct http *h, uint64_t up, uint64_t down)
{
	rate_set(&h->rate[UP], up, http_now_us());
	rate_set(&h->rate[DOWN], down, http_now_us());
}

void http_request_clear(struct http_request *r)
{
	size_t from = offsetof(struct http_request, err);

	free(r->body);
	memset((char *)r + from, 0, sizeof(*r) - from);
}

/* The client */

static int copy_string(const char *s, char **out)
{
	if (!s)
		return 0;
	*out = strdup(s);
	return *out ? 0 : -ENOMEM;
}

static int copy_options(struct http *h, const struct http_options *o)
{
	static const struct http_options defaults = {
		.connections = DEFAULT_CONNECTIONS,
		.connect_ms = DEFAULT_CONNECT_MS,
		.stall_s = DEFAULT_STALL_S,
	};
	int ret;

	h->o = *o;
	h->o.connections = o->connections ? o->connections : defaults.connections;
	h->o.connect_ms = o->connect_ms ? o->connect_ms : defaults.connect_ms;
	h->o.stall_s = o->stall_s ? o->stall_s : defaults.stall_s;
	/* The caller's strings are gone after http_open. */
	h->o.ca_file = h->o.user = h->o.password = NULL;
	ret = copy_string(o->ca_file, &h->ca_file);
	if (!ret)
		ret = copy_string(o->user ? o->user : "", &h->user);
	if (!ret)
		ret = copy_string(o->password ? o->password : "", &h->password);
	return ret ? log_err(ret, "HTTP client") : 0;
}

static int open_multi(struct http *h)
{
	long n = (long)h->o.connections;

	h->multi = curl_multi_init();
	if (!h->multi || curl_multi_setopt(h->multi, CURLMOPT_MAX_HOST_CONNECTIONS, n) ||
	    curl_multi_setopt(h->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, n) ||
	    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, n))
		return log_err(-ENOMEM, "HTTP client");
	return 0;
}

/* Asks for what could be wrong with any request, while a person looks on. */
static int check_options(struct http *h)
{
	struct transfer *t;

	if (h->ca_file && access(h->ca_file, R_OK))
		return log_err(-errno, "CA file %s", h->ca_file);
	t = take_idle(h);
	if (!t)
		return log_err(-EINVAL, "HTTP client: %s lacks what is needed", http_version());
	give_idle(h, t);
	return 0;
}

int http_open(const struct http_options *o, struct http **out)
{
	struct http *h;
	int ret;

	*out = NULL;
	pthread_once(&global_once, global_init);
	if (global_error)
		return log_err(global_error, "libcurl");
	h = calloc(1, sizeof(*h));
	if (!h)
		return log_err(-ENOMEM, "HTTP client");
	h->done_end = &h->done;
	http_limit(h, o->up_limit, o->down_limit);
	ret = copy_options(h, o);
	if (!ret)
		ret = open_multi(h);
	if (!ret)
		ret = check_options(h);
	if (ret) {
		http_close(h);
		return ret;
	}
	*out = h;
	return 0;
}

static void wipe(char *s)
{
	if (s)
		sodium_memzero(s, strlen(s));
	free(s);
}

void http_close(struct http *h)
{
	struct transfer *t;

	if (!h)
		return;
	finish_cancelled(h, true);
	while (pop_done(h, NULL))
		;
	while ((t = h->idle)) {
		h->idle = t->next;
		transfer_free(t);
	}
	if (h->multi)
		curl_multi_cleanup(h->multi);
	wipe(h->password);
	wipe(h->user);
	free(h->ca_file);
	free(h);
}
