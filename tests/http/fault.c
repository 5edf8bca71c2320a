/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules. Their list is behind one lock; a request takes a copy of what
 * they do to it (struct effect) and is then on its own.
 */
#include "tests/http/faulty.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const struct kind {
	const char *name;
	unsigned bits;
	int status;
} kinds[] = {
	/* Another status, nothing done. status=, retry_after=, text= is the body,
	 * bytes= one of that length. */
	{ "status", FAULT_STATUS, 503 },
	{ "full", FAULT_STATUS, 507 },
	{ "auth", FAULT_STATUS, 401 },
	{ "redirect", FAULT_STATUS, 301 },       /* location= */
	/* No answer for seconds=, 0: until the client has gone. */
	{ "hang", FAULT_HANG, 0 },
	{ "hang-after", FAULT_HANG_AFTER, 0 },   /* ... but it is done */
	{ "slow", FAULT_SLOW, 0 },               /* the body of the answer, at rate= bytes/s */
	{ "slow-read", FAULT_SLOW_READ, 0 },     /* the body of the request */
	/* bytes= (half) of a body come, then the end of the connection. */
	{ "truncate", FAULT_TRUNCATE, 0 },
	{ "short", FAULT_SHORT, 0 },             /* the object is bytes= (half) long, it says */
	{ "flip", FAULT_FLIP, 0 },               /* a bit of byte bytes= (the middle) of a body */
	/* A PUT is answered as if it were done, but ... */
	{ "lose", FAULT_LOSE, 0 },               /* nothing is stored */
	{ "half", FAULT_HALF, 0 },               /* half is stored */
	{ "wrong", FAULT_WRONG, 0 },             /* other bytes, as many */
	{ "forget", FAULT_FORGET, 0 },           /* it vanishes after seconds= */
	/* After bytes= of the request's body, with nothing done (but in place). */
	{ "reset", FAULT_RESET, 0 },
	{ "reset-after", FAULT_RESET_AFTER, 0 }, /* done, but no answer */
	{ "skew", FAULT_SKEW, 0 },               /* Date is seconds= ahead */
	{ "garbage", FAULT_GARBAGE, 0 },         /* the answer is not HTTP */
	{ "close", FAULT_CLOSE, 0 },             /* after the answer, without a word */
	{ "headers", FAULT_HEADERS, 0 },         /* bytes= of useless headers */
	{ "nonce", FAULT_NONCE, 0 },             /* Digest: the nonce is stale */
};

struct rule {
	struct rule *next;
	const struct kind *kind;
	char match[1024], method[16];
	int64_t skip, count;
	struct effect effect;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rule *rules;

static const struct kind *kind_of(const char *query)
{
	char name[32];
	size_t i;

	if (!query_get(query, "fault", name, sizeof(name)))
		return NULL;
	for (i = 0; i < N_ELEMS(kinds); i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	return NULL;
}

static void read_effect(struct effect *e, const struct kind *kind, const char *query)
{
	e->bits = kind->bits;
	e->status = (int)query_number(query, "status", kind->status);
	e->retry_after = query_number(query, "retry_after", -1);
	e->seconds = query_number(query, "seconds", -1);
	e->bytes = query_number(query, "bytes", -1);
	e->rate = query_number(query, "rate", -1);
	query_get(query, "text", e->text, sizeof(e->text));
	query_get(query, "location", e->location, sizeof(e->location));
}

const char *fault_add(const char *query)
{
	const struct kind *kind = kind_of(query);
	struct rule *r, **end;

	if (!kind)
		return "no such fault\n";
	r = calloc(1, sizeof(*r));
	if (!r)
		return "no memory\n";
	r->kind = kind;
	query_get(query, "match", r->match, sizeof(r->match));
	query_get(query, "method", r->method, sizeof(r->method));
	r->skip = query_number(query, "skip", 0);
	r->count = query_number(query, "count", 1);
	if (!r->count)
		r->count = INT64_MAX;
	read_effect(&r->effect, kind, query);
	pthread_mutex_lock(&lock);
	for (end = &rules; *end; end = &(*end)->next)
		;
	*end = r;
	pthread_mutex_unlock(&lock);
	return NULL;
}

void fault_clear(void)
{
	struct rule *r;

	pthread_mutex_lock(&lock);
	while ((r = rules)) {
		rules = r->next;
		free(r);
	}
	pthread_mutex_unlock(&lock);
}

static bool hits(struct rule *r, const struct exchange *x, const char *where)
{
	if (!r->count || !strstr(where, r->match))
		return false;
	if (*r->method && strcasecmp(r->method, x->method) != 0)
		return false;
	if (r->skip) {
		r->skip--;
		return false;
	}
	r->count--;
	return true;
}

#define MERGE(field) (into->field = e->field >= 0 ? e->field : into->field)

static void merge(struct effect *into, const struct effect *e)
{
	into->bits |= e->bits;
	if (e->status)
		into->status = e->status;
	MERGE(retry_after);
	MERGE(bytes);
	MERGE(rate);
	/* May well be below zero. */
	if (e->seconds != -1)
		into->seconds = e->seconds;
	if (*e->text)
		memcpy(into->text, e->text, sizeof(into->text));
	if (*e->location)
		memcpy(into->location, e->location, sizeof(into->location));
}

void fault_take(struct exchange *x)
{
	char where[2 * PATH_SIZE];
	struct rule *r;

	x->effect.retry_after = x->effect.seconds = -1;
	x->effect.bytes = x->effect.rate = -1;
	snprintf(where, sizeof(where), "%s?%.*s", x->path, PATH_SIZE - 2, x->query);
	pthread_mutex_lock(&lock);
	for (r = rules; r; r = r->next)
		if (hits(r, x, where))
			merge(&x->effect, &r->effect);
	pthread_mutex_unlock(&lock);
}
