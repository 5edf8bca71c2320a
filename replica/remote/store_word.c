/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an answer means: tables from HTTP statuses and transport errors to the
 * errno of store.h, and the one line that people read. The words of the server
 * are untrusted: markup is dropped, they are made printable and cut, and a
 * server that sends our credentials back does not get them into a log.
 */
#include "replica/remote/store_priv.h"

#include <ctype.h>
#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 160
#define NAME_SHOWN 120

/* ---- tables ---- */

struct meaning {
	long status;
	int err;
	const char *word;
};

static const struct meaning meanings[] = {
	{ 400, -EINVAL, "bad request" },
	{ 401, -EACCES, "the credentials are refused" },
	{ 403, -EACCES, "not allowed" },
	{ 404, -ENOENT, "not found" },
	{ 405, -ENOTSUP, "method not allowed" },
	{ 407, -ENOTSUP, "a proxy wants credentials" },
	{ 408, -EAGAIN, "request timeout" },
	{ 409, -ENOENT, "conflict" },
	{ 410, -ENOENT, "gone" },
	{ 411, -ENOTSUP, "length required" },
	{ 412, -EEXIST, "precondition failed" },
	{ 413, -EFBIG, "body too large for the server" },
	{ 414, -EINVAL, "name too long for the server" },
	{ 415, -ENOTSUP, "unsupported media type" },
	{ 416, -EPROTO, "range not satisfiable" },
	{ 417, -ENOTSUP, "expectation failed" },
	{ 421, -ENOTSUP, "misdirected request" },
	{ 422, -EINVAL, "unprocessable" },
	{ 423, -EAGAIN, "locked" },
	{ 424, -EAGAIN, "failed dependency" },
	{ 425, -EAGAIN, "too early" },
	{ 429, -EAGAIN, "too many requests" },
	{ 431, -EINVAL, "headers too large for the server" },
	{ 500, -EAGAIN, "internal server error" },
	{ 501, -ENOTSUP, "not implemented by the server" },
	{ 502, -EAGAIN, "bad gateway" },
	{ 503, -EAGAIN, "service unavailable" },
	{ 504, -EAGAIN, "gateway timeout" },
	{ 505, -ENOTSUP, "HTTP version not supported" },
	{ 507, -ENOSPC, "the server has no room" },
};

static const struct meaning *meaning_of(long status)
{
	/* By the hundreds, where the table has nothing. */
	static const struct meaning classes[] = {
		{ 0, -EPROTO, "no HTTP answer" },
		{ 1, -EPROTO, "unexpected status" },
		{ 2, 0, "ok" },
		{ 3, -ENOTSUP, "redirected: the URL is not the store's own" },
		{ 4, -ENOTSUP, "refused" },
		{ 5, -EAGAIN, "server error" },
	};

	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (meanings[i].status == status)
			return &meanings[i];
	if (status < 0 || status >= 600)
		return &classes[0];
	return &classes[status / 100];
}

int store_errno(long status)
{
	return meaning_of(status)->err;
}

int store_transport(int err)
{
	switch (err) {
	case -ETIMEDOUT:
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -EHOSTUNREACH:
	case -EIO:
		return -EAGAIN;
	case -EINVAL: /* the URL or the CA file: others will go no better */
		return -ENOTSUP;
	case -EFBIG: /* an answer longer than we keep */
		return -EPROTO;
	default:
		return err;
	}
}

/* ---- words ---- */

void store_printable(const char *in, size_t len, char *out, size_t n)
{
	size_t at = 0;

	for (size_t i = 0; i < len && at + 1 < n; i++) {
		unsigned char c = in[i];

		/* UTF-8 stays; control bytes and what looks like them do not. */
		if (c < 0x20 || c == 0x7f)
			c = c == '\n' || c == '\t' || c == '\r' ? ' ' : '?';
		out[at++] = (char)c;
	}
	out[at] = '\0';
	/* Not half a character at the end. */
	if (at + 1 == n && len >= n) {
		while (at && ((unsigned char)out[at - 1] & 0xc0) == 0x80)
			at--;
		if (at && (unsigned char)out[at - 1] >= 0xc0)
			at--;
		out[at] = '\0';
	}
}

/* Past the markup that begins at in ('<'); a head, style or script with all in it. */
static const char *skip_markup(const char *in)
{
	static const char *const whole[] = { "head", "style", "script" };
	const char *end;

	for (size_t i = 0; i < 3; i++) {
		size_t n = strlen(whole[i]);
		char close[16];

		if (strncasecmp(in + 1, whole[i], n) || isalnum((unsigned char)in[n + 1]))
			continue;
		snprintf(close, sizeof(close), "</%s", whole[i]);
		end = strcasestr(in, close);
		if (end)
			in = end;
	}
	end = strchr(in, '>');
	return end ? end + 1 : in + strlen(in);
}

/* Text of an HTML, XML or plain body, blanks merged. */
static void plain_text(const char *in, char *out, size_t n)
{
	size_t at = 0;

	while (*in && at + 1 < n) {
		if (*in == '<') {
			in = skip_markup(in);
			if (at && out[at - 1] != ' ')
				out[at++] = ' ';
		} else if (isspace((unsigned char)*in)) {
			if (at && out[at - 1] != ' ')
				out[at++] = ' ';
			in++;
		} else {
			out[at++] = *in++;
		}
	}
	while (at && out[at - 1] == ' ')
		at--;
	out[at] = '\0';
}

static void mask(char *text, const char *secret)
{
	size_t n = secret ? strlen(secret) : 0;
	char *at = text;

	if (n < 4) /* would hit words by chance, and is no secret */
		return;
	while ((at = strstr(at, secret))) {
		memset(at, '*', n);
		at += n;
	}
}

static void mask_secrets(const struct remote_secret *s, char *text)
{
	char pair[512], encoded[sodium_base64_ENCODED_LEN(sizeof(pair),
							  sodium_base64_VARIANT_ORIGINAL)];
	int n;

	if (!s)
		return;
	mask(text, s->password);
	mask(text, s->session_token);
	if (!s->password)
		return;
	n = snprintf(pair, sizeof(pair), "%s:%s", s->user ? s->user : "", s->password);
	if (n > 0 && (size_t)n < sizeof(pair)) {
		sodium_bin2base64(encoded, sizeof(encoded), (const unsigned char *)pair, (size_t)n,
				  sodium_base64_VARIANT_ORIGINAL);
		mask(text, encoded);
		sodium_memzero(encoded, sizeof(encoded));
	}
	sodium_memzero(pair, sizeof(pair));
}

/* ---- the line ---- */

static const char *const verb_names[] = {
	[STORE_PUT] = "PUT", [STORE_GET] = "GET", [STORE_HEAD] = "HEAD",
	[STORE_DELETE] = "DELETE", [STORE_MOVE] = "MOVE", [STORE_COPY] = "COPY",
	[STORE_MKDIR] = "MKDIR", [STORE_LIST] = "LIST",
};

static void one_line(struct work *w, const char *text)
{
	struct store_op *op = w->op;
	char name[NAME_SHOWN], words[WORDS_MAX], raw[WORDS_MAX * 2];

	store_printable(op->name, strlen(op->name), name, sizeof(name));
	snprintf(raw, sizeof(raw), "%s", text);
	mask_secrets(w->store->secret, raw);
	store_printable(raw, strlen(raw), words, sizeof(words));
	snprintf(op->error, sizeof(op->error), "%s %s: %s", verb_names[op->verb],
		 *name ? name : "/", words);
}

static void note(struct work *w)
{
	w->op->status = w->req.status;
	w->op->retry_after = w->store->retry_after = w->req.retry_after;
}

int store_fail(struct work *w, int err, const char *fmt, ...)
{
	char text[WORDS_MAX * 2];
	va_list ap;

	note(w);
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	one_line(w, text);
	return err;
}

int store_refused(struct work *w, int err, const char *words)
{
	const struct meaning *m = meaning_of(w->req.status);
	char plain[96] = "";
	const char *method = w->req.method ? w->req.method : "";
	bool other = strcmp(method, verb_names[w->op->verb]) != 0;

	if (words)
		plain_text(words, plain, sizeof(plain));
	return store_fail(w, err, "%s%sHTTP %ld, %s%s%s%s", other ? method : "", other ? ": " : "",
			  w->req.status, m->word, *plain ? " (" : "", plain, *plain ? ")" : "");
}

int store_judge(struct work *w)
{
	int err = w->req.err;

	if (w->own)
		return store_fail(w, w->own, "%s", strerror(-w->own));
	if (err)
		return store_fail(w, store_transport(err), "%s",
				  w->req.error[0] ? w->req.error : strerror(-err));
	err = store_errno(w->req.status);
	if (!err) {
		note(w);
		return 0;
	}
	return store_refused(w, err, w->req.body);
}
