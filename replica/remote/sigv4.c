/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * AWS Signature Version 4. Canonical text is made in memory streams, pairs are
 * sorted in small arrays on the stack. Queries are sorted by encoded name, then
 * by encoded value; never as "name=value", since '=' sorts behind '-'. Headers
 * are sorted by name alone, and repeated ones are joined in their order.
 */
#include "replica/remote/sigv4.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sodium.h>

#include "replica/base/cleanup.h"

#define NAME_MAX_LEN 64
#define ALGORITHM "AWS4-HMAC-SHA256"

struct header {
	char name[NAME_MAX_LEN];
	const char *value;
	size_t order;
};

struct headers {
	struct header h[SIGV4_PAIRS_MAX + 2];
	size_t n;
};

/* --- encoding ----------------------------------------------------------------- */

/* Not isalnum: what a locale calls a letter is not what the server does. */
static bool plain(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_' || c == '~';
}

char *sigv4_encode(const char *text, bool keep_slash, char *out)
{
	static const char digit[] = "0123456789ABCDEF";

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (plain(c) || (c == '/' && keep_slash)) {
			*out++ = (char)c;
			continue;
		}
		*out++ = '%';
		*out++ = digit[c >> 4];
		*out++ = digit[c & 15];
	}
	*out = '\0';
	return out;
}

void sigv4_hex(const uint8_t sha256[32], char out[SIGV4_HEX])
{
	sodium_bin2hex(out, SIGV4_HEX, sha256, 32);
}

/* --- query -------------------------------------------------------------------- */

static int by_pair(const void *a, const void *b)
{
	const struct sigv4_pair *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	return c ? c : strcmp(x->value, y->value);
}

/* Encodes all pairs into one block; to points into it. */
static char *encode_pairs(const struct sigv4_request *r, struct sigv4_pair *to)
{
	size_t i, room = 1;
	char *block, *at;

	for (i = 0; i < r->n_query; i++)
		room += 3 * (strlen(r->query[i].name) + strlen(r->query[i].value)) + 2;
	block = at = malloc(room);
	for (i = 0; block && i < r->n_query; i++) {
		to[i].name = at;
		at = sigv4_encode(r->query[i].name, false, at) + 1;
		to[i].value = at;
		at = sigv4_encode(r->query[i].value, false, at) + 1;
	}
	return block;
}

static char *canonical_query(const struct sigv4_request *r)
{
	struct sigv4_pair pair[SIGV4_PAIRS_MAX];
	char *block CLEANUP_FREE = NULL;
	char *out, *at;
	size_t i, room = 1;

	if (r->n_query > SIGV4_PAIRS_MAX) {
		errno = EINVAL;
		return NULL;
	}
	block = encode_pairs(r, pair);
	if (!block)
		return NULL;
	qsort(pair, r->n_query, sizeof(*pair), by_pair);
	for (i = 0; i < r->n_query; i++)
		room += strlen(pair[i].name) + strlen(pair[i].value) + 2;
	out = at = malloc(room);
	if (!out)
		return NULL;
	*at = '\0';
	/* A pair without a value has its '=' all the same. */
	for (i = 0; i < r->n_query; i++)
		at += sprintf(at, "%s%s=%s", i ? "&" : "", pair[i].name, pair[i].value);
	return out;
}

/* --- headers ------------------------------------------------------------------ */

static int by_name(const void *a, const void *b)
{
	const struct header *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	return c ? c : x->order < y->order ? -1 : x->order > y->order;
}

static int add_header(struct headers *to, const char *name, const char *value)
{
	struct header *h = &to->h[to->n];
	size_t i, n = strlen(name);

	if (n >= NAME_MAX_LEN)
		return -EINVAL;
	for (i = 0; i <= n; i++)
		h->name[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] | 32) : name[i];
	h->value = value;
	h->order = to->n++;
	return 0;
}

static int sorted_headers(const struct sigv4_request *r, const char *date, struct headers *to)
{
	size_t i;

	to->n = 0;
	if (r->n_header > SIGV4_PAIRS_MAX)
		return -EINVAL;
	for (i = 0; i < r->n_header; i++)
		if (add_header(to, r->header[i].name, r->header[i].value))
			return -EINVAL;
	add_header(to, "x-amz-date", date);
	if (r->session_token)
		add_header(to, "x-amz-security-token", r->session_token);
	qsort(to->h, to->n, sizeof(to->h[0]), by_name);
	return 0;
}

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Without blanks around it, and a run of blanks within as one. */
static void put_value(FILE *f, const char *v)
{
	bool gap = false, begun = false;

	for (; *v; v++) {
		if (is_blank(*v)) {
			gap = begun;
			continue;
		}
		if (gap)
			putc(' ', f);
		putc(*v, f);
		gap = false;
		begun = true;
	}
}

static bool repeats(const struct headers *h, size_t i)
{
	return i > 0 && !strcmp(h->h[i].name, h->h[i - 1].name);
}

static void put_headers(FILE *f, const struct headers *h)
{
	size_t i;

	for (i = 0; i < h->n; i++) {
		if (repeats(h, i))
			putc(',', f);
		else
			fprintf(f, "%s%s:", i ? "\n" : "", h->h[i].name);
		put_value(f, h->h[i].value);
	}
	putc('\n', f);
}

static void put_names(FILE *f, const struct headers *h)
{
	size_t i;

	for (i = 0; i < h->n; i++)
		if (!repeats(h, i))
			fprintf(f, "%s%s", i ? ";" : "", h->h[i].name);
}

/* --- signing ------------------------------------------------------------------ */

/* Text that may hold a session token is wiped. */
static void wipe(char *text)
{
	if (text)
		sodium_memzero(text, strlen(text));
	free(text);
}

static int close_stream(FILE *f, char **text)
{
	int failed = ferror(f);

	if (fclose(f) || failed) {
		wipe(*text);
		*text = NULL;
		return -ENOMEM;
	}
	return 0;
}

static char *canonical(const struct sigv4_request *r, const struct headers *h, const char *query)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	fprintf(f, "%s\n%s\n%s\n", r->method, r->path, query);
	put_headers(f, h);
	putc('\n', f);
	put_names(f, h);
	fprintf(f, "\n%s", r->payload);
	if (close_stream(f, &text))
		errno = ENOMEM;
	return text;
}

char *sigv4_canonical(const struct sigv4_request *r, const char *date)
{
	char *query CLEANUP_FREE = canonical_query(r);
	struct headers h;

	if (!query)
		return NULL;
	if (sorted_headers(r, date, &h)) {
		errno = EINVAL;
		return NULL;
	}
	return canonical(r, &h, query);
}

static void hmac(const void *key, size_t key_len, const char *text, uint8_t out[32])
{
	crypto_auth_hmacsha256_state s;

	crypto_auth_hmacsha256_init(&s, key, key_len);
	crypto_auth_hmacsha256_update(&s, (const unsigned char *)text, strlen(text));
	crypto_auth_hmacsha256_final(&s, out);
	sodium_memzero(&s, sizeof(s));
}

static int signing_key(const struct sigv4_request *r, const char *day, uint8_t key[32])
{
	const char *const step[] = { day, r->region, r->service, "aws4_request" };
	size_t i, len = strlen(r->secret_key) + 4;
	char *first = malloc(len + 1);

	if (!first)
		return -ENOMEM;
	memcpy(first, "AWS4", 4);
	memcpy(first + 4, r->secret_key, len - 3);
	hmac(first, len, step[0], key);
	for (i = 1; i < 4; i++)
		hmac(key, 32, step[i], key);
	wipe(first);
	return 0;
}

static int date_text(int64_t when, char date[SIGV4_DATE])
{
	time_t t = (time_t)when;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || tm.tm_year < 70 || tm.tm_year > 9999 - 1900)
		return -EINVAL;
	return strftime(date, SIGV4_DATE, "%Y%m%dT%H%M%SZ", &tm) ? 0 : -EINVAL;
}

/* The string to sign, hashed with the key. */
static int seal(const struct sigv4_request *r, const char *text, const char *scope,
		struct sigv4_signature *out)
{
	char *to_sign CLEANUP_FREE = NULL;
	uint8_t hash[32], key[32];
	char hex[SIGV4_HEX], day[9];
	int err;

	crypto_hash_sha256(hash, (const unsigned char *)text, strlen(text));
	sigv4_hex(hash, hex);
	if (asprintf(&to_sign, ALGORITHM "\n%s\n%s\n%s", out->date, scope, hex) < 0) {
		to_sign = NULL;
		return -ENOMEM;
	}
	snprintf(day, sizeof(day), "%.8s", out->date);
	err = signing_key(r, day, key);
	if (err)
		return err;
	hmac(key, 32, to_sign, hash);
	sigv4_hex(hash, out->signature);
	sodium_memzero(key, sizeof(key));
	return 0;
}

static int put_authorization(const struct sigv4_request *r, const struct headers *h,
			     const char *scope, struct sigv4_signature *out)
{
	size_t len;
	FILE *f = open_memstream(&out->authorization, &len);

	if (!f)
		return -ENOMEM;
	fprintf(f, ALGORITHM " Credential=%s/%s, SignedHeaders=", r->access_key, scope);
	put_names(f, h);
	fprintf(f, ", Signature=%s", out->signature);
	return close_stream(f, &out->authorization);
}

static int sign(const struct sigv4_request *r, struct sigv4_signature *out)
{
	char *scope CLEANUP_FREE = NULL;
	struct headers h;
	char *text;
	int err = date_text(r->time, out->date);

	if (!err)
		err = sorted_headers(r, out->date, &h);
	if (err)
		return err;
	out->query = canonical_query(r);
	if (!out->query)
		return -errno;
	if (asprintf(&scope, "%.8s/%s/%s/aws4_request", out->date, r->region, r->service) < 0) {
		scope = NULL;
		return -ENOMEM;
	}
	text = canonical(r, &h, out->query);
	if (!text)
		return -ENOMEM;
	err = seal(r, text, scope, out);
	wipe(text);
	return err ? err : put_authorization(r, &h, scope, out);
}

int sigv4_sign(const struct sigv4_request *r, struct sigv4_signature *out)
{
	int err;

	memset(out, 0, sizeof(*out));
	if (sodium_init() < 0)
		return -ENOSYS;
	err = sign(r, out);
	if (err)
		sigv4_clear(out);
	return err;
}

void sigv4_clear(struct sigv4_signature *s)
{
	free(s->authorization);
	free(s->query);
	memset(s, 0, sizeof(*s));
}
