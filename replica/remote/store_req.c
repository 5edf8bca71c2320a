/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Building requests: end points, URLs, headers, bodies, and what GET and HEAD have in
 * common at every server. A body is a window of the caller's, so that any part
 * of it can be asked for again. What a server sends is held against what was asked for
 * before a byte of it reaches the caller.
 */
#include "replica/remote/store_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- percent-encoding ---- */

static bool is_plain(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       (c && strchr("-._~", c));
}

size_t store_encode(const void *in, size_t n, bool slash, char *out)
{
	static const char digits[] = "0123456789ABCDEF";
	const unsigned char *b = in;
	char *at = out;

	for (size_t i = 0; i < n; i++) {
		if (is_plain(b[i]) || (b[i] == '/' && !slash)) {
			*at++ = (char)b[i];
			continue;
		}
		*at++ = '%';
		*at++ = digits[b[i] >> 4];
		*at++ = digits[b[i] & 15];
	}
	*at = '\0';
	return (size_t)(at - out);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int store_decode(char *text)
{
	char *out = text;

	for (char *in = text; *in; in++) {
		int high, low;

		if (*in != '%') {
			*out++ = *in;
			continue;
		}
		high = hex_digit(in[1]);
		low = high < 0 ? -1 : hex_digit(in[2]);
		if (low < 0 || (high | low) == 0)
			return -EPROTO;
		*out++ = (char)(high << 4 | low);
		in += 2;
	}
	*out = '\0';
	return 0;
}

/* ---- names and end points ---- */

int store_name_check(const char *name, bool root)
{
	size_t n = strlen(name);

	if (n > STORE_NAME_BYTES)
		return -ENAMETOOLONG;
	if (!n)
		return root ? 0 : -EINVAL;
	for (const char *at = name;; at++) {
		size_t len = strcspn(at, "/");

		if (!len || (at[0] == '.' && (len == 1 || (len == 2 && at[1] == '.'))))
			return -EINVAL;
		at += len;
		if (!*at)
			return 0;
	}
}

/* Host as libcurl puts it into "Host:": without the port of the scheme. */
static char *host_of(const char *host, size_t n, bool tls)
{
	const char *port = tls ? ":443" : ":80";
	size_t len = strlen(port);

	if (n > len && !memcmp(host + n - len, port, len))
		n -= len;
	return strndup(host, n);
}

/* The prefix in the one form we use: decoded, checked, encoded again. */
static int endpoint_path(struct endpoint *e, const char *url, size_t head, const char *path)
{
	size_t n = strlen(path);
	char *text = strdup(path);
	int err = -ENOMEM;

	while (text && n && text[n - 1] == '/')
		text[--n] = '\0';
	e->base = malloc(head + 3 * n + 1);
	if (!text || !e->base)
		goto out;
	memcpy(e->base, url, head);
	e->base[head] = '\0';
	e->path = e->base + head;
	err = -EINVAL;
	if (strcasestr(text, "%2f") || store_decode(text))
		goto out;
	if (*text && store_name_check(text + 1, false))
		goto out;
	store_encode(text, strlen(text), false, e->base + head);
	err = 0;
out:
	free(text);
	return err;
}

int endpoint_parse(const char *url, struct endpoint *e)
{
	bool tls = !strncasecmp(url, "https://", 8);
	const char *host = url + (tls ? 8 : 7), *path;
	int err;

	memset(e, 0, sizeof(*e));
	if (!tls && strncasecmp(url, "http://", 7))
		return -EINVAL;
	path = host + strcspn(host, "/?#");
	if (path == host || *path == '?' || strpbrk(path, "?#") || memchr(host, '@', path - host))
		return -EINVAL;
	for (const char *at = host; at < path; at++)
		if (*at <= ' ' || *at >= 0x7f)
			return -EINVAL;
	err = endpoint_path(e, url, (size_t)(path - url), path);
	if (!err) {
		e->host = host_of(host, (size_t)(path - host), tls);
		err = e->host ? 0 : -ENOMEM;
	}
	if (err)
		endpoint_free(e);
	return err;
}

void endpoint_free(struct endpoint *e)
{
	free(e->base);
	free(e->host);
	memset(e, 0, sizeof(*e));
}

char *store_url(const struct store *s, const char *name, const char *tail)
{
	const char *base = s->endpoint[s->at].base;
	size_t n = strlen(base), len = strlen(name);
	char *url = malloc(n + 1 + 3 * len + strlen(tail) + 1);

	if (!url)
		return NULL;
	memcpy(url, base, n);
	if (len) {
		url[n++] = '/';
		n += store_encode(name, len, false, url + n);
	}
	strcpy(url + n, tail);
	return url;
}

/* ---- a request ---- */

int store_request(struct work *w, const char *method, char *url)
{
	for (unsigned i = 0; i < w->n_header; i++)
		free(w->header[i]);
	w->n_header = 0;
	w->header[0] = NULL;
	http_request_clear(&w->req);
	free(w->url);
	free(w->text);
	w->text = NULL;
	w->url = url;
	memset(&w->req, 0, sizeof(w->req));
	w->req.retry_after = -1;
	w->req.method = method;
	w->req.url = url;
	w->req.header = (const char *const *)w->header;
	w->got = 0;
	w->wrong = NULL;
	return url ? 0 : -ENOMEM;
}

int store_header(struct work *w, const char *fmt, ...)
{
	va_list ap;
	char *line;
	int n;

	if (w->n_header == STORE_HEADERS_MAX)
		return -E2BIG;
	va_start(ap, fmt);
	n = vasprintf(&line, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	if (strpbrk(line, "\r\n")) {
		free(line);
		return -EINVAL;
	}
	w->header[w->n_header++] = line;
	w->header[w->n_header] = NULL;
	return 0;
}

/* ---- bodies ---- */

static ssize_t read_op(void *arg, uint64_t off, void *buf, size_t len)
{
	struct work *w = arg;
	struct store_op *op = w->op;
	ssize_t n;

	off += w->body_off;
	if (op->data) {
		memcpy(buf, (const char *)op->data + off, len);
		return (ssize_t)len;
	}
	n = op->read ? op->read(op->read_arg, off, buf, len) : -EINVAL;
	if (!n)
		n = -ENODATA; /* it became shorter meanwhile */
	if (n < 0)
		w->own = (int)n;
	return n;
}

void store_body_op(struct work *w, uint64_t off, uint64_t len)
{
	w->body_off = off;
	w->req.body_len = len;
	w->req.read = len ? read_op : NULL;
	w->req.read_arg = w;
}

static ssize_t read_text(void *arg, uint64_t off, void *buf, size_t len)
{
	struct work *w = arg;

	memcpy(buf, w->text + off, len);
	return (ssize_t)len;
}

void store_body_text(struct work *w, char *text, size_t len)
{
	w->text = text;
	w->req.body_len = len;
	w->req.read = len ? read_text : NULL;
	w->req.read_arg = w;
}

/* ---- GET and HEAD ---- */

/* "bytes FIRST-LAST/TOTAL"; TOTAL may be '*'. */
static bool parse_range(const char *text, uint64_t *first, uint64_t *last, uint64_t *total)
{
	int n = 0;

	if (strncasecmp(text, "bytes ", 6) || strpbrk(text + 6, "+ \t") ||
	    sscanf(text + 6, "%" SCNu64 "-%" SCNu64 "/%n", first, last, &n) != 2 || !n)
		return false;
	text += 6 + n;
	if (!strcmp(text, "*")) {
		*total = UINT64_MAX;
		return true;
	}
	n = 0;
	return sscanf(text, "%" SCNu64 "%n", total, &n) == 1 && !text[n] && *last < *total;
}

/* What is wrong with the piece the server announces, before any of it is taken. */
static const char *range_wrong(struct work *w)
{
	const struct store_op *op = w->op;
	uint64_t first, last, total;

	if (!w->req.content_range[0]) {
		if (!op->off && (!op->len || w->req.content_length == op->len))
			return NULL;
		return "the server ignores ranges";
	}
	if (!op->off && !op->len)
		return "a range that was not asked for";
	if (!parse_range(w->req.content_range, &first, &last, &total) || first != op->off ||
	    last < first)
		return "the server sends another range";
	if (op->len ? last - first > op->len - 1 : total != UINT64_MAX && last + 1 != total)
		return "the server sends another range";
	return NULL;
}

static int take_piece(void *arg, const void *buf, size_t len)
{
	struct work *w = arg;
	struct store_op *op = w->op;
	int err;

	/* The length of the answer may not be known before its end. */
	if (!w->got && w->req.content_range[0])
		w->wrong = range_wrong(w);
	else if (!w->got && op->off)
		w->wrong = "the server ignores ranges";
	if (!w->wrong && op->len && len > op->len - w->got)
		w->wrong = "more bytes than asked for";
	if (w->wrong)
		return -EPROTO;
	w->got += len;
	err = op->write ? op->write(op->write_arg, buf, len) : 0;
	if (err)
		w->own = err;
	return err;
}

int store_get_begin(struct work *w)
{
	const struct store_op *op = w->op;

	w->req.write = take_piece;
	w->req.write_arg = w;
	w->req.want_body = true;
	if (op->len && op->off > UINT64_MAX - op->len)
		return -EINVAL;
	if (op->len)
		return store_header(w, "Range: bytes=%" PRIu64 "-%" PRIu64, op->off,
				    op->off + op->len - 1);
	return op->off ? store_header(w, "Range: bytes=%" PRIu64 "-", op->off) : 0;
}

static void take_facts(struct work *w, uint64_t size)
{
	w->op->size = size;
	snprintf(w->op->etag, sizeof(w->op->etag), "%s", w->req.etag);
}

int store_get_end(struct work *w)
{
	struct store_op *op = w->op;
	uint64_t first, last, total = UINT64_MAX;
	int err;

	if (w->wrong)
		return store_fail(w, -EPROTO, "%s", w->wrong);
	/* Beyond its end: shorter than asked for. */
	if (!w->req.err && w->req.status == 416)
		return store_fail(w, -EPROTO, "the object ends before byte %" PRIu64, op->off + 1);
	err = store_judge(w);
	if (err)
		return err;
	if (w->req.status != (w->req.content_range[0] ? 206 : 200))
		return store_fail(w, -EPROTO, "HTTP %ld where an object should be", w->req.status);
	if (w->req.content_range[0])
		w->wrong = range_wrong(w);
	if (w->wrong)
		return store_fail(w, -EPROTO, "%s", w->wrong);
	if (op->len && w->got != op->len)
		return store_fail(w, -EPROTO, "only %" PRIu64 " of %" PRIu64 " bytes", w->got,
				  op->len);
	if (!w->req.content_range[0])
		total = w->got;
	else if (!parse_range(w->req.content_range, &first, &last, &total) ||
		 w->got != last - first + 1)
		return store_fail(w, -EPROTO, "only %" PRIu64 " bytes of the range", w->got);
	take_facts(w, total);
	return 0;
}

int store_head_end(struct work *w)
{
	int err = store_judge(w);

	if (!err && w->req.status != 200)
		err = store_fail(w, -EPROTO, "HTTP %ld where an object should be", w->req.status);
	if (!err)
		take_facts(w, w->req.content_length);
	return err;
}
