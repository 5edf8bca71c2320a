/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kinds of fields, and the two loops over a table. Reading is by jansson,
 * on text whose number of values is bounded beforehand; nothing that it gives is
 * believed but its types. No locks.
 */
#include "replica/remote/manifest_json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "replica/base/cleanup.h"

#define SHOWN 40 /* bytes of a name in a message */

/* A name as people may see it. */
static void show(const char *s, char out[SHOWN + 4])
{
	size_t i;

	for (i = 0; i < SHOWN && s[i]; i++)
		out[i] = s[i] >= ' ' && s[i] <= '~' && s[i] != '"' ? s[i] : '?';
	strcpy(out + i, s[i] ? "..." : "");
}

static void describe_place(const struct reader *r, char *out, size_t n)
{
	char name[SHOWN + 4];

	*out = '\0';
	if (!r->list)
		return;
	if (!r->name || !*r->name) {
		snprintf(out, n, "%s %zu: ", r->list, r->index);
		return;
	}
	show(r->name, name);
	snprintf(out, n, "%s %zu (\"%s\"): ", r->list, r->index, name);
}

int reader_bad(struct reader *r, const char *key, const char *format, ...)
{
	char place[SHOWN + 64], field[SHOWN + 4], why[160];
	va_list args;

	describe_place(r, place, sizeof(place));
	show(key, field);
	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	snprintf(r->error, r->size, "%s%s %s", place, field, why);
	return -EBADMSG;
}

int reader_no_memory(struct reader *r)
{
	snprintf(r->error, r->size, "no memory");
	return -ENOMEM;
}

/* ---- bytes ---- */

int json_read_base64(struct reader *r, const char *key, const json_t *j, char **out, size_t *len)
{
	CLEANUP_FREE char *p = NULL;
	size_t room;

	if (!json_is_string(j))
		return reader_bad(r, key, "is no string");
	room = json_string_length(j) / 4 * 3 + 3;
	p = malloc(room + 1);
	if (!p)
		return reader_no_memory(r);
	if (sodium_base642bin((uint8_t *)p, room, json_string_value(j), json_string_length(j), NULL,
			      len, NULL, sodium_base64_VARIANT_ORIGINAL))
		return reader_bad(r, key, "is no base64");
	p[*len] = '\0';
	*out = steal_ptr(&p);
	return 0;
}

int json_read_bytes(struct reader *r, const char *key, const json_t *j, char **out, size_t *len)
{
	CLEANUP_FREE char *p = NULL;
	const json_t *coded;
	size_t n;
	int err;

	if (json_is_string(j)) {
		n = json_string_length(j);
		p = malloc(n + 1);
		if (!p)
			return reader_no_memory(r);
		memcpy(p, json_string_value(j), n);
		p[n] = '\0';
	} else {
		coded = json_object_get(j, "b64");
		if (!coded || json_object_size(j) != 1)
			return reader_bad(r, key, "is neither a string nor {\"b64\": ...}");
		err = json_read_base64(r, key, coded, &p, &n);
		if (err)
			return err;
	}
	if (!len && memchr(p, '\0', n))
		return reader_bad(r, key, "has a zero byte");
	if (len)
		*len = n;
	*out = steal_ptr(&p);
	return 0;
}

static bool bytes_zero(const void *p)
{
	const char *s = *(char *const *)p;

	return !s || !*s;
}

static void bytes_write(struct text *t, const struct field *f, const void *p)
{
	const char *s = *(char *const *)p;

	if (!s)
		s = "";
	if (f->wrong && f->wrong(s))
		text_fail(t, -EINVAL);
	text_bytes(t, s, strlen(s));
}

static int bytes_read(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	const char *why;
	int err = json_read_bytes(r, f->key, j, p, NULL);

	if (err)
		return err;
	why = f->wrong ? f->wrong(*(char **)p) : NULL;
	return why ? reader_bad(r, f->key, "%s", why) : 0;
}

const struct field_kind field_bytes = { bytes_zero, bytes_write, bytes_read };

/* ---- numbers ---- */

static int read_integer(struct reader *r, const char *key, const json_t *j, int64_t least,
			int64_t most, int64_t *v)
{
	if (!json_is_integer(j))
		return reader_bad(r, key, "is no integer");
	*v = json_integer_value(j);
	if (*v < least || *v > most)
		return reader_bad(r, key, "is %lld, not within %lld to %lld", (long long)*v,
				  (long long)least, (long long)most);
	return 0;
}

static bool u64_zero(const void *p)
{
	return !*(const uint64_t *)p;
}

static void u64_write(struct text *t, const struct field *f, const void *p)
{
	uint64_t v = *(const uint64_t *)p;

	(void)f;
	if (v > INT64_MAX)
		text_fail(t, -EINVAL);
	text_number(t, (int64_t)v);
}

static int u64_read(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	int64_t v = 0;
	int err = read_integer(r, f->key, j, 0, INT64_MAX, &v);

	if (!err)
		*(uint64_t *)p = (uint64_t)v;
	return err;
}

const struct field_kind field_u64 = { u64_zero, u64_write, u64_read };

static bool u32_zero(const void *p)
{
	return !*(const uint32_t *)p;
}

static void u32_write(struct text *t, const struct field *f, const void *p)
{
	(void)f;
	text_number(t, *(const uint32_t *)p);
}

static int u32_read(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	int64_t v = 0;
	int err = read_integer(r, f->key, j, 0, UINT32_MAX, &v);

	if (!err)
		*(uint32_t *)p = (uint32_t)v;
	return err;
}

const struct field_kind field_u32 = { u32_zero, u32_write, u32_read };

static void time_write(struct text *t, const struct field *f, const void *p)
{
	(void)f;
	text_number(t, *(const int64_t *)p);
}

static int time_read(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	return read_integer(r, f->key, j, INT64_MIN, INT64_MAX, p);
}

const struct field_kind field_time = { u64_zero, time_write, time_read };

static bool flag_zero(const void *p)
{
	return !*(const bool *)p;
}

static void flag_write(struct text *t, const struct field *f, const void *p)
{
	(void)f;
	text_puts(t, *(const bool *)p ? "true" : "false");
}

static int flag_read(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	if (!json_is_boolean(j))
		return reader_bad(r, f->key, "is neither true nor false");
	*(bool *)p = json_is_true(j);
	return 0;
}

const struct field_kind field_flag = { flag_zero, flag_write, flag_read };

/* ---- hex ---- */

static void write_hex(struct text *t, const uint8_t *p, size_t n)
{
	text_puts(t, "\"");
	text_hex(t, p, n);
	text_puts(t, "\"");
}

static int read_hex(struct reader *r, const char *key, const json_t *j, uint8_t *out, size_t n)
{
	if (!json_is_string(j) || json_string_length(j) != 2 * n ||
	    !text_unhex(json_string_value(j), out, n))
		return reader_bad(r, key, "is not %zu small hex digits", 2 * n);
	return 0;
}

static void id_write(struct text *t, const struct field *f, const void *p)
{
	(void)f;
	text_puts(t, "\"");
	text_hex64(t, *(const uint64_t *)p);
	text_puts(t, "\"");
}

static int id_read(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	uint8_t bytes[8] = { 0 };
	uint64_t v = 0;
	int i, err = read_hex(r, f->key, j, bytes, sizeof(bytes));

	for (i = 0; i < 8; i++)
		v = v << 8 | bytes[i];
	*(uint64_t *)p = v;
	return err;
}

const struct field_kind field_id = { u64_zero, id_write, id_read };

static bool uuid_zero(const void *p)
{
	static const uint8_t none[16];

	return !memcmp(p, none, sizeof(none));
}

static void uuid_write(struct text *t, const struct field *f, const void *p)
{
	(void)f;
	write_hex(t, p, 16);
}

static int uuid_read(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	return read_hex(r, f->key, j, p, 16);
}

const struct field_kind field_uuid = { uuid_zero, uuid_write, uuid_read };

static bool writer_zero(const void *p)
{
	return !*(const char *)p;
}

static void writer_write(struct text *t, const struct field *f, const void *p)
{
	const char *s = p;
	uint8_t bytes[8];

	(void)f;
	if (strnlen(s, 17) != 16 || !text_unhex(s, bytes, sizeof(bytes))) {
		text_fail(t, -EINVAL);
		return;
	}
	write_hex(t, bytes, sizeof(bytes));
}

static int writer_read(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	uint8_t bytes[8];
	int err = read_hex(r, f->key, j, bytes, sizeof(bytes));

	if (!err)
		memcpy(p, json_string_value(j), 17);
	return err;
}

const struct field_kind field_writer = { writer_zero, writer_write, writer_read };

/* ---- references ---- */

static bool ref_zero(const void *p)
{
	return !((const struct manifest_ref *)p)->seq;
}

static void ref_write(struct text *t, const struct field *f, const void *p)
{
	const struct manifest_ref *ref = p;

	text_puts(t, "{\"seq\":");
	u64_write(t, f, &ref->seq);
	text_puts(t, ",\"sha256\":");
	write_hex(t, ref->sha256, SHA256_LEN);
	text_puts(t, "}");
}

static int ref_read(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	const json_t *seq = json_object_get(j, "seq"), *hash = json_object_get(j, "sha256");
	struct manifest_ref *ref = p;
	int64_t v = 0;
	int err;

	if (!seq || !hash || json_object_size(j) != 2)
		return reader_bad(r, f->key, "is not {\"seq\": ..., \"sha256\": ...}");
	err = read_integer(r, f->key, seq, 1, INT64_MAX, &v);
	if (err)
		return err;
	ref->seq = (uint64_t)v;
	return read_hex(r, f->key, hash, ref->sha256, SHA256_LEN);
}

const struct field_kind field_ref = { ref_zero, ref_write, ref_read };

/* ---- names ---- */

static const char *wrong_component(const char *s, size_t n)
{
	if (!n)
		return "has an empty part";
	if (n > 255)
		return "has a part of more than 255 bytes";
	return n <= 2 && !memcmp(s, "..", n) ? "has a part \".\" or \"..\"" : NULL;
}

const char *wrong_name(const char *s)
{
	return strchr(s, '/') ? "has a \"/\"" : wrong_component(s, strlen(s));
}

const char *wrong_path(const char *s)
{
	const char *why = NULL;
	size_t n;

	for (; !why; s += n + 1) {
		n = strcspn(s, "/");
		why = wrong_component(s, n);
		if (!s[n])
			break;
	}
	return why;
}

/* ---- objects ---- */

void object_write(struct text *t, const struct field *f, size_t n, const void *obj)
{
	const char *before = "{\"";
	const void *p;
	size_t i;

	for (i = 0; i < n; i++) {
		p = (const char *)obj + f[i].at;
		if (!f[i].always && f[i].kind->zero(p))
			continue;
		text_puts(t, before);
		text_puts(t, f[i].key);
		text_puts(t, "\":");
		f[i].kind->write(t, &f[i], p);
		before = ",\"";
	}
	text_puts(t, *before == '{' ? "{}" : "}");
}

/* The field of that key. Fields come in the order of the table, mostly: *next is tried first. */
static const struct field *field_find(const struct field *f, size_t n, const char *key,
				      size_t *next)
{
	size_t i, at;

	for (i = 0; i < n; i++) {
		at = (*next + i) % n;
		if (strcmp(f[at].key, key))
			continue;
		*next = at + 1;
		return &f[at];
	}
	return NULL;
}

static int check_missing(struct reader *r, const struct field *f, size_t n, uint64_t seen)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (f[i].always && !(seen >> i & 1))
			return reader_bad(r, f[i].key, "is missing");
	return 0;
}

int object_read(struct reader *r, const struct field *f, size_t n, const json_t *j, void *obj)
{
	const struct field *found;
	uint64_t seen = 0;
	size_t next = 0;
	const char *key;
	json_t *value;
	int err;

	if (!json_is_object(j))
		return reader_bad(r, "it", "is no object");
	json_object_foreach((json_t *)j, key, value)
	{
		found = field_find(f, n, key, &next);
		if (!found)
			return reader_bad(r, key, "is no field known here");
		err = found->kind->read(r, found, value, (char *)obj + found->at);
		if (err)
			return err;
		seen |= 1ull << (found - f);
	}
	return check_missing(r, f, n, seen);
}

int object_decode(const char *what, const char *s, size_t len, const uint8_t want[SHA256_LEN],
		  const struct field *f, size_t n, void *obj, char *error, size_t size)
{
	struct reader r = { .error = error, .size = size };
	json_auto_t *j = NULL;
	json_error_t why;
	size_t body;
	int err = text_open(what, s, len, TEXT_MAX, want, &body, error, size);

	if (err)
		return err;
	if (text_too_many(s + body, len - body))
		return reader_bad(&r, what, "has more than %u values", TEXT_VALUES_MAX);
	j = json_loadb(s + body, len - body, JSON_REJECT_DUPLICATES, &why);
	if (!j && json_error_code(&why) == json_error_out_of_memory)
		return reader_no_memory(&r);
	if (!j)
		return reader_bad(&r, what, "is no JSON: line %d, column %d", why.line + 1,
				  why.column);
	return object_read(&r, f, n, j, obj);
}
