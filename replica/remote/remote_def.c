/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Definitions of remotes: what a person may put into one, and their text: a JSON
 * object. Its "sum" is the hash of all the rest (sorted, without spaces), so that a
 * damaged definition is not taken for another one; a text without it, written by
 * hand, is taken as it is. No state, no locks.
 */
#include "replica/remote/remote_def.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "replica/base/io.h"
#include "replica/hash.h"

#define DEF_VERSION 1
#define PATH_TEXT_MAX 4095
#define REGION_MAX 64
#define NUMBER_MAX (UINT64_C(1) << 62)
#define LIMIT_MIN 1024
#define SETTLE_MAX 86400

static int refuse(char *error, size_t n, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(char *error, size_t n, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error, n, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* ---- life ---- */

static void random_id(char id[REMOTE_ID_TEXT])
{
	uint64_t x;

	io_random(&x, sizeof(x));
	snprintf(id, REMOTE_ID_TEXT, "%016" PRIx64, x);
}

void remote_def_new(struct remote_def *d)
{
	*d = (struct remote_def){
		.connections = 8,
		.settle_s = 120,
		.brake_percent = 30,
		.brake_files = 100,
		.scrub_bytes = UINT64_C(1) << 30,
		.fallback = true,
	};
	random_id(d->id);
	random_id(d->writer);
}

void remote_def_free(struct remote_def *d)
{
	for (unsigned i = 0; i < REMOTE_URLS_MAX; i++)
		free(d->url[i]);
	free(d->credentials);
	free(d->ca);
	free(d->region);
	memset(d, 0, sizeof(*d));
}

static bool dup_text(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return *to || !from;
}

int remote_def_copy(struct remote_def *to, const struct remote_def *from)
{
	bool ok = true;

	*to = *from;
	for (unsigned i = 0; i < REMOTE_URLS_MAX; i++)
		ok &= dup_text(&to->url[i], from->url[i]);
	ok &= dup_text(&to->credentials, from->credentials);
	ok &= dup_text(&to->ca, from->ca);
	ok &= dup_text(&to->region, from->region);
	if (ok)
		return 0;
	remote_def_free(to);
	return -ENOMEM;
}

/* ---- what a person can get wrong ---- */

bool remote_def_is_id(const char *id)
{
	return strlen(id) == REMOTE_ID_TEXT - 1 &&
		strspn(id, "0123456789abcdef") == REMOTE_ID_TEXT - 1;
}

static bool all_of(const char *s, size_t len, const char *more)
{
	for (size_t i = 0; i < len; i++)
		if (!isascii((unsigned char)s[i]) ||
		    (!isalnum((unsigned char)s[i]) && !strchr(more, s[i])))
			return false;
	return true;
}

static int check_name(const char *name, char *error, size_t n)
{
	size_t len = strnlen(name, REMOTE_NAME_MAX + 1);

	if (len == 0)
		return refuse(error, n, "name: is empty");
	if (len > REMOTE_NAME_MAX)
		return refuse(error, n, "name: longer than %d characters", REMOTE_NAME_MAX);
	if (!all_of(name, len, "._-"))
		return refuse(error, n, "name: only letters, digits, '.', '_' and '-'");
	if (name[0] == '.' || name[0] == '-')
		return refuse(error, n, "name: must not begin with '%c'", name[0]);
	return 0;
}

static int check_urls(const struct remote_def *d, char *error, size_t n)
{
	if (d->n_urls < 1 || d->n_urls > REMOTE_URLS_MAX)
		return refuse(error, n, "url: 1 to %d of them, not %u", REMOTE_URLS_MAX,
			      d->n_urls);
	for (unsigned i = 0; i < d->n_urls; i++) {
		const char *bad = d->url[i] ? remote_url_bad(d->url[i], d->kind) : "is missing";

		if (bad && d->n_urls == 1)
			return refuse(error, n, "url: %s", bad);
		if (bad)
			return refuse(error, n, "url %u: %s", i + 1, bad);
		for (unsigned k = 0; k < i; k++)
			if (!strcmp(d->url[i], d->url[k]))
				return refuse(error, n, "url %u: is the same as url %u", i + 1,
					      k + 1);
	}
	return 0;
}

static int check_file(const char *what, const char *path, char *error, size_t n)
{
	if (!path)
		return 0;
	if (path[0] != '/')
		return refuse(error, n, "%s: must be an absolute path", what);
	if (strlen(path) > PATH_TEXT_MAX)
		return refuse(error, n, "%s: the path is too long", what);
	for (const char *c = path; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return refuse(error, n, "%s: the path has a control character", what);
	return 0;
}

static int check_s3(const struct remote_def *d, char *error, size_t n)
{
	size_t len = d->region ? strlen(d->region) : 0;

	if (d->kind != REMOTE_S3)
		return d->region ? refuse(error, n, "region: is for --kind=s3 only") : 0;
	if (!d->credentials)
		return refuse(error, n, "credentials: S3 needs a file with access-key and "
			      "secret-key");
	if (d->region && (!len || len > REGION_MAX || !all_of(d->region, len, "-_")))
		return refuse(error, n, "region: 1 to %d letters, digits, '-' and '_'",
			      REGION_MAX);
	return 0;
}

/* Numbers: option, where it is, and what it may be. */
struct number {
	const char *option, *key;
	size_t at;
	bool wide;                  /* uint64_t, else unsigned */
	uint64_t min, max;
	bool or_zero;               /* 0 is "none" */
};

#define AT(f) offsetof(struct remote_def, f)
static const struct number number[] = {
	{ "connections", "connections", AT(connections), false, 1, 8, false },
	{ "up-limit", "up_limit", AT(up_limit), true, LIMIT_MIN, NUMBER_MAX, true },
	{ "down-limit", "down_limit", AT(down_limit), true, LIMIT_MIN, NUMBER_MAX, true },
	{ "settle", "settle", AT(settle_s), false, 0, SETTLE_MAX, false },
	{ "brake-percent", "brake_percent", AT(brake_percent), false, 0, 100, false },
	{ "brake-files", "brake_files", AT(brake_files), false, 0, UINT32_MAX, false },
	{ "scrub-bytes", "scrub_bytes", AT(scrub_bytes), true, 0, NUMBER_MAX, false },
	{ "seq", "seq", AT(seq), true, 0, NUMBER_MAX, false },
};
#define N_NUMBERS (sizeof(number) / sizeof(number[0]))

static uint64_t number_get(const struct remote_def *d, const struct number *f)
{
	const char *p = (const char *)d + f->at;

	return f->wide ? *(const uint64_t *)(const void *)p :
		*(const unsigned *)(const void *)p;
}

static void number_set(struct remote_def *d, const struct number *f, uint64_t x)
{
	char *p = (char *)d + f->at;

	if (f->wide)
		*(uint64_t *)(void *)p = x;
	else
		*(unsigned *)(void *)p = (unsigned)x;
}

static int check_number(const struct number *f, uint64_t x, char *error, size_t n)
{
	if ((x >= f->min && x <= f->max) || (f->or_zero && x == 0))
		return 0;
	if (f->or_zero && x < f->min)
		return refuse(error, n, "%s: at least %" PRIu64 " bytes a second, or 0 for none",
			      f->option, f->min);
	return refuse(error, n, "%s: from %" PRIu64 " to %" PRIu64 ", not %" PRIu64, f->option,
		      f->min, f->max, x);
}

int remote_def_check(const struct remote_def *d, char *error, size_t n)
{
	int r = check_name(d->name, error, n);

	if (r == 0 && d->kind != REMOTE_WEBDAV && d->kind != REMOTE_S3)
		r = refuse(error, n, "kind: must be webdav or s3");
	if (r == 0)
		r = check_urls(d, error, n);
	if (r == 0)
		r = check_file("credentials", d->credentials, error, n);
	if (r == 0)
		r = check_file("ca", d->ca, error, n);
	if (r == 0)
		r = check_s3(d, error, n);
	for (size_t i = 0; r == 0 && i < N_NUMBERS; i++)
		r = check_number(&number[i], number_get(d, &number[i]), error, n);
	if (r == 0 && (!remote_def_is_id(d->id) || !remote_def_is_id(d->writer)))
		r = refuse(error, n, "id and writer: must be 16 hex digits");
	return r;
}

/* ---- text ---- */

static const struct {
	const char *key;
	size_t at;
} text[] = {
	{ "credentials", AT(credentials) },
	{ "ca", AT(ca) },
	{ "region", AT(region) },
}, flag[] = {
	{ "fallback", AT(fallback) },
	{ "paused", AT(paused) },
	{ "held", AT(held) },
};
#define N_TEXTS (sizeof(text) / sizeof(text[0]))
#define N_FLAGS (sizeof(flag) / sizeof(flag[0]))

static const char *const kind_name[] = { [REMOTE_WEBDAV] = "webdav", [REMOTE_S3] = "s3" };
static const char *const other_key[] = { "version", "id", "name", "kind", "urls", "writer" };

static int add(json_t *o, const char *key, json_t *value)
{
	return json_object_set_new(o, key, value);
}

static json_t *urls_of(const struct remote_def *d)
{
	json_t *urls = json_array();

	for (unsigned i = 0; urls && i < d->n_urls; i++)
		if (json_array_append_new(urls, json_string(d->url[i])) < 0) {
			json_decref(urls);
			return NULL;
		}
	return urls;
}

static int add_fields(json_t *o, const struct remote_def *d)
{
	int r = add(o, "version", json_integer(DEF_VERSION)) | add(o, "id", json_string(d->id)) |
		add(o, "name", json_string(d->name)) |
		add(o, "kind", json_string(kind_name[d->kind])) | add(o, "urls", urls_of(d)) |
		add(o, "writer", json_string(d->writer));

	for (size_t i = 0; i < N_TEXTS; i++) {
		const char *s = *(char *const *)(const void *)((const char *)d + text[i].at);

		if (s)
			r |= add(o, text[i].key, json_string(s));
	}
	for (size_t i = 0; i < N_FLAGS; i++)
		r |= add(o, flag[i].key, json_boolean(*(const bool *)((const char *)d + flag[i].at)));
	for (size_t i = 0; i < N_NUMBERS; i++)
		r |= add(o, number[i].key, json_integer((json_int_t)number_get(d, &number[i])));
	return r;
}

/* Of all but "sum", however it was laid out. */
static int sum_of(const json_t *o, char sum[REMOTE_ID_TEXT])
{
	char *flat = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);

	if (!flat)
		return -ENOMEM;
	snprintf(sum, REMOTE_ID_TEXT, "%016" PRIx64, hash_bytes(flat, strlen(flat), 0));
	free(flat);
	return 0;
}

char *remote_def_encode(const struct remote_def *d)
{
	json_t *o = json_object();
	char sum[REMOTE_ID_TEXT];
	char *out = NULL;

	if (o && add_fields(o, d) == 0 && sum_of(o, sum) == 0 &&
	    add(o, "sum", json_string(sum)) == 0)
		out = json_dumps(o, JSON_INDENT(1));
	json_decref(o);
	return out;
}

static int check_sum(json_t *o, char *error, size_t n)
{
	const json_t *had = json_object_get(o, "sum");
	char want[REMOTE_ID_TEXT] = "", sum[REMOTE_ID_TEXT];

	if (!had)
		return 0;
	if (json_is_string(had))
		snprintf(want, sizeof(want), "%s", json_string_value(had));
	json_object_del(o, "sum");
	if (sum_of(o, sum) < 0)
		return -ENOMEM;
	return strcmp(sum, want) ? refuse(error, n, "the text does not match its \"sum\"") : 0;
}

static bool is_known(const char *key)
{
	for (size_t i = 0; i < sizeof(other_key) / sizeof(other_key[0]); i++)
		if (!strcmp(key, other_key[i]))
			return true;
	for (size_t i = 0; i < N_TEXTS; i++)
		if (!strcmp(key, text[i].key))
			return true;
	for (size_t i = 0; i < N_FLAGS; i++)
		if (!strcmp(key, flag[i].key))
			return true;
	for (size_t i = 0; i < N_NUMBERS; i++)
		if (!strcmp(key, number[i].key))
			return true;
	return false;
}

/* What a newer version says beyond us may change what the rest means. */
static int check_version(json_t *o, char *error, size_t n)
{
	const json_t *version = json_object_get(o, "version");
	const char *key;
	json_t *value;

	if (!json_is_integer(version) || json_integer_value(version) < 1)
		return refuse(error, n, "\"version\" is missing or not a number");
	if (json_integer_value(version) <= DEF_VERSION)
		return 0;
	json_object_foreach(o, key, value)
		if (!is_known(key)) {
			refuse(error, n, "written by a newer mirrorfs (version %" JSON_INTEGER_FORMAT
			       "), \"%.40s\" is unknown here", json_integer_value(version), key);
			return -EPROTONOSUPPORT;
		}
	return 0;
}

/* A string that must be there, at most size - 1 bytes. */
static int take_fixed(json_t *o, const char *key, char *to, size_t size, char *error, size_t n)
{
	const char *s = json_string_value(json_object_get(o, key));

	if (!s || strlen(s) >= size)
		return refuse(error, n, "\"%s\" is missing, no string or too long", key);
	memcpy(to, s, strlen(s) + 1);
	return 0;
}

static int take_text(const json_t *value, const char *key, char **to, char *error, size_t n)
{
	if (!json_is_string(value))
		return refuse(error, n, "\"%s\" is not a string", key);
	*to = strdup(json_string_value(value));
	return *to ? 0 : -ENOMEM;
}

static int take_kind(json_t *o, struct remote_def *d, char *error, size_t n)
{
	const char *s = json_string_value(json_object_get(o, "kind"));

	for (unsigned i = 0; s && i < sizeof(kind_name) / sizeof(kind_name[0]); i++)
		if (!strcmp(s, kind_name[i])) {
			d->kind = (enum remote_kind)i;
			return 0;
		}
	return refuse(error, n, "\"kind\" is neither \"webdav\" nor \"s3\"");
}

static int take_urls(json_t *o, struct remote_def *d, char *error, size_t n)
{
	const json_t *urls = json_object_get(o, "urls");
	int r = 0;

	if (!json_is_array(urls) || json_array_size(urls) > REMOTE_URLS_MAX)
		return refuse(error, n, "\"urls\" is not a list of at most %d", REMOTE_URLS_MAX);
	for (size_t i = 0; r == 0 && i < json_array_size(urls); i++) {
		r = take_text(json_array_get(urls, i), "urls", &d->url[i], error, n);
		if (r == 0)
			d->n_urls++;
	}
	return r;
}

static int take_optional(json_t *o, struct remote_def *d, char *error, size_t n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < N_TEXTS; i++) {
		const json_t *value = json_object_get(o, text[i].key);

		if (value)
			r = take_text(value, text[i].key,
				      (char **)(void *)((char *)d + text[i].at), error, n);
	}
	for (size_t i = 0; r == 0 && i < N_FLAGS; i++) {
		const json_t *value = json_object_get(o, flag[i].key);

		if (value && !json_is_boolean(value))
			r = refuse(error, n, "\"%s\" is not true or false", flag[i].key);
		else if (value)
			*(bool *)((char *)d + flag[i].at) = json_is_true(value);
	}
	return r;
}

static int take_numbers(json_t *o, struct remote_def *d, char *error, size_t n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < N_NUMBERS; i++) {
		const json_t *value = json_object_get(o, number[i].key);

		if (!value)
			continue;
		if (!json_is_integer(value) || json_integer_value(value) < 0)
			return refuse(error, n, "\"%s\" is not a whole number", number[i].key);
		r = check_number(&number[i], (uint64_t)json_integer_value(value), error, n);
		if (r == 0)
			number_set(d, &number[i], (uint64_t)json_integer_value(value));
	}
	return r;
}

static int take_all(json_t *o, struct remote_def *d, char *error, size_t n)
{
	int r = check_sum(o, error, n);

	if (r == 0)
		r = check_version(o, error, n);
	if (r == 0)
		r = take_fixed(o, "id", d->id, sizeof(d->id), error, n);
	if (r == 0)
		r = take_fixed(o, "writer", d->writer, sizeof(d->writer), error, n);
	if (r == 0)
		r = take_fixed(o, "name", d->name, sizeof(d->name), error, n);
	if (r == 0)
		r = take_kind(o, d, error, n);
	if (r == 0)
		r = take_urls(o, d, error, n);
	if (r == 0)
		r = take_optional(o, d, error, n);
	if (r == 0)
		r = take_numbers(o, d, error, n);
	return r ? r : remote_def_check(d, error, n);
}

int remote_def_decode(const char *json, struct remote_def *d, char *error, size_t n)
{
	json_error_t at;
	json_t *o = json_loads(json, JSON_REJECT_DUPLICATES, &at);
	int r;

	remote_def_new(d);
	if (!json_is_object(o)) {
		r = o ? refuse(error, n, "not a JSON object") :
			refuse(error, n, "no JSON, line %d", at.line);
	} else {
		r = take_all(o, d, error, n);
		if (r == -ENOMEM)
			snprintf(error, n, "out of memory");
	}
	json_decref(o);
	if (r < 0)
		remote_def_free(d);
	return r;
}
