/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Header fields are looked up in a table. There are several answers where the
 * request was repeated with credentials, or a 100 came first: the last counts.
 */
#include "replica/remote/http_answer.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define ERROR_BODY_MAX 4096
/* A server that sends more than this where nobody asked is not read on. */
#define USELESS_BODY_MAX (1 << 20)
#define HEADERS_MAX (256 << 10)
#define RETRY_AFTER_MAX 86400

/* Appends to the kept body, always with a zero behind it. */
static int keep(struct http_answer *a, const char *buf, size_t len)
{
	struct http_request *r = a->request;
	size_t want = r->body_got + len + 1;

	if (want > a->body_room) {
		size_t room = want > 2 * a->body_room ? want : 2 * a->body_room;
		char *body = realloc(r->body, room);

		if (!body)
			return -ENOMEM;
		r->body = body;
		a->body_room = room;
	}
	memcpy(r->body + r->body_got, buf, len);
	r->body_got += len;
	r->body[r->body_got] = '\0';
	return 0;
}

static int take_error_body(struct http_answer *a, const char *buf, size_t len)
{
	size_t room = ERROR_BODY_MAX - a->request->body_got;

	if (!room) {
		a->useless += len;
		a->enough = a->useless > USELESS_BODY_MAX;
		return a->enough ? -EFBIG : 0;
	}
	return keep(a, buf, len < room ? len : room);
}

static int take_body(struct http_answer *a, const char *buf, size_t len)
{
	struct http_request *r = a->request;

	if (r->write) {
		r->body_got += len;
		return r->write(r->write_arg, buf, len);
	}
	if (r->want_body)
		return len > r->body_max - r->body_got ? -EFBIG : keep(a, buf, len);
	a->useless += len;
	a->enough = a->useless > USELESS_BODY_MAX && strcmp(r->method, "GET") != 0;
	return a->enough ? -EFBIG : 0;
}

int http_answer_body(struct http_answer *a, long status, const char *buf, size_t len)
{
	return status / 100 == 2 ? take_body(a, buf, len) : take_error_body(a, buf, len);
}

/* What the server says may stand in a message: one line of plain text. */
void http_answer_text(char *dst, size_t size, const char *src, size_t len)
{
	size_t i;

	if (len >= size)
		len = size - 1;
	for (i = 0; i < len; i++)
		dst[i] = src[i] >= ' ' && src[i] <= '~' ? src[i] : '?';
	dst[len] = '\0';
}

int64_t http_answer_date(const char *text)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm tm = { 0 };
	char month[4], zone[4];
	const char *found;

	if (sscanf(text, "%*3s, %2d %3s %4d %2d:%2d:%2d %3s", &tm.tm_mday, month, &tm.tm_year,
		   &tm.tm_hour, &tm.tm_min, &tm.tm_sec, zone) != 7 || strcmp(zone, "GMT") != 0)
		return 0;
	found = strlen(month) == 3 ? strstr(months, month) : NULL;
	if (!found || (found - months) % 3)
		return 0;
	tm.tm_mon = (int)(found - months) / 3;
	tm.tm_year -= 1900;
	return (int64_t)timegm(&tm);
}

static const struct {
	const char *name;
	size_t offset, size;
	bool whole;                   /* useless when cut off */
} known_headers[] = {
#define ANSWER(name, field, whole) \
	{ name, offsetof(struct http_request, field), \
	  sizeof(((struct http_request *)0)->field), whole }
	ANSWER("ETag", etag, true),
	ANSWER("Content-Range", content_range, true),
	ANSWER("Location", location, false),
	ANSWER("Server", server, false),
#undef ANSWER
};

#define N_KNOWN (sizeof(known_headers) / sizeof(known_headers[0]))

static char *field(struct http_request *r, size_t i)
{
	return (char *)r + known_headers[i].offset;
}

/* A status line begins another answer: a 100, a 401 before it, or the real one. */
static void reset(struct http_answer *a)
{
	struct http_request *r = a->request;
	size_t i;

	for (i = 0; i < N_KNOWN; i++)
		*field(r, i) = '\0';
	r->date = 0;
	r->body_got = 0;
	if (r->body)
		r->body[0] = '\0';
	a->retry_after[0] = '\0';
}

void http_answer_begin(struct http_answer *a, struct http_request *r)
{
	memset(a, 0, sizeof(*a));
	a->request = r;
	r->content_length = UINT64_MAX;
	r->retry_after = -1;
}

static bool is_name(const char *name, size_t len, const char *known)
{
	return strlen(known) == len && !strncasecmp(known, name, len);
}

static void take_header(struct http_answer *a, const char *name, size_t name_len,
			const char *value, size_t len)
{
	struct http_request *r = a->request;
	char text[64];
	size_t i;

	for (i = 0; i < N_KNOWN; i++)
		if (is_name(name, name_len, known_headers[i].name) &&
		    (!known_headers[i].whole || len < known_headers[i].size))
			http_answer_text(field(r, i), known_headers[i].size, value, len);
	if (is_name(name, name_len, "Retry-After"))
		http_answer_text(a->retry_after, sizeof(a->retry_after), value, len);
	if (is_name(name, name_len, "Date")) {
		http_answer_text(text, sizeof(text), value, len);
		r->date = http_answer_date(text);
	}
}

int http_answer_header(struct http_answer *a, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len), *value;

	a->header_bytes += len;
	if (a->header_bytes > HEADERS_MAX)
		return -EFBIG;
	if (len >= 5 && !memcmp(line, "HTTP/", 5)) {
		reset(a);
		return 0;
	}
	if (!colon)
		return 0;
	for (value = colon + 1; value < line + len && isblank((unsigned char)*value); value++)
		;
	while (line + len > value && isspace((unsigned char)line[len - 1]))
		len--;
	take_header(a, line, (size_t)(colon - line), value, (size_t)(line + len - value));
	return 0;
}

/* Seconds, or a date, which is meant by the server's clock. */
void http_answer_end(struct http_answer *a)
{
	const char *s = a->retry_after;
	size_t digits = strspn(s, "0123456789");
	int64_t when, now = a->request->date ? a->request->date : (int64_t)time(NULL);

	if (!*s)
		return;
	when = s[digits] ? http_answer_date(s) - now : digits < 6 ? atol(s) : RETRY_AFTER_MAX;
	if (s[digits] && !http_answer_date(s))
		return;
	if (when < 0)
		when = 0;
	a->request->retry_after = when < RETRY_AFTER_MAX ? when : RETRY_AFTER_MAX;
}
