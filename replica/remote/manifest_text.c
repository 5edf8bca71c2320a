/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Written by hand and not by jansson: a manifest of a large directory is made
 * again at each change of it, and a tree of values for it costs more than all
 * the rest. An error sticks to the buffer, so writers need not look. No locks.
 */
#include "replica/remote/manifest_text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "replica/base/cleanup.h"

#define SHA256_HEX (2 * SHA256_LEN)
#define PREFIX	   "mirrorfs-"

void text_fail(struct text *t, int err)
{
	if (!t->err)
		t->err = err;
}

char *text_room(struct text *t, size_t n)
{
	size_t cap = t->cap ? t->cap : 4096;
	char *p;

	if (t->err)
		return NULL;
	if (n <= t->cap - t->len)
		return t->p + t->len;
	if (n > SIZE_MAX / 4 - t->len) {
		text_fail(t, -ENOMEM);
		return NULL;
	}
	while (cap - t->len < n)
		cap *= 2;
	p = realloc(t->p, cap);
	if (!p) {
		text_fail(t, -ENOMEM);
		return NULL;
	}
	t->p = p;
	t->cap = cap;
	return t->p + t->len;
}

void text_add(struct text *t, const char *s, size_t n)
{
	char *p = text_room(t, n);

	if (!p)
		return;
	memcpy(p, s, n);
	t->len += n;
}

void text_puts(struct text *t, const char *s)
{
	text_add(t, s, strlen(s));
}

void text_number(struct text *t, int64_t v)
{
	uint64_t rest = v < 0 ? -(uint64_t)v : (uint64_t)v;
	char digits[24];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest);
	if (v < 0)
		digits[--at] = '-';
	text_add(t, digits + at, sizeof(digits) - at);
}

void text_hex(struct text *t, const uint8_t *p, size_t n)
{
	static const char digit[] = "0123456789abcdef";
	char *to = text_room(t, 2 * n);
	size_t i;

	if (!to)
		return;
	for (i = 0; i < n; i++) {
		*to++ = digit[p[i] >> 4];
		*to++ = digit[p[i] & 15];
	}
	t->len += 2 * n;
}

void text_hex64(struct text *t, uint64_t v)
{
	uint8_t bytes[8];
	int i;

	for (i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(v >> (56 - 8 * i));
	text_hex(t, bytes, sizeof(bytes));
}

void text_base64(struct text *t, const void *p, size_t n)
{
	size_t room = sodium_base64_ENCODED_LEN(n, sodium_base64_VARIANT_ORIGINAL);
	char *to;

	text_puts(t, "\"");
	to = text_room(t, room);
	if (!to)
		return;
	sodium_bin2base64(to, room, p, n, sodium_base64_VARIANT_ORIGINAL);
	t->len += room - 1; /* without its zero */
	text_puts(t, "\"");
}

/* Plain text has nothing to escape but these two. */
static void add_escaped(struct text *t, const char *s, size_t n)
{
	size_t i, from = 0;

	for (i = 0; i < n; i++) {
		if (s[i] != '"' && s[i] != '\\')
			continue;
		text_add(t, s + from, i - from);
		text_puts(t, "\\");
		from = i;
	}
	text_add(t, s + from, n - from);
}

void text_bytes(struct text *t, const char *s, size_t n)
{
	if (!text_plain(s, n)) {
		text_puts(t, "{\"b64\":");
		text_base64(t, s, n);
		text_puts(t, "}");
		return;
	}
	text_puts(t, "\"");
	add_escaped(t, s, n);
	text_puts(t, "\"");
}

/* Bytes of the character at s (n of them are left), 0: it is none, or no plain text. */
static size_t plain_char(const uint8_t *s, size_t n)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t want = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	uint32_t c;
	size_t i;

	if (s[0] < 0x80)
		return s[0] >= 0x20 && s[0] != 0x7f;
	if (s[0] < 0xc2 || s[0] > 0xf4 || want > n)
		return 0;
	c = s[0] & (0x7fu >> want);
	for (i = 1; i < want; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fu);
	}
	if (c < least[want] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) || c < 0xa0)
		return 0;
	return want;
}

bool text_plain(const char *s, size_t n)
{
	const uint8_t *p = (const uint8_t *)s;
	size_t step;

	for (; n; p += step, n -= step) {
		step = plain_char(p, n);
		if (!step)
			return false;
	}
	return true;
}

bool text_too_many(const char *s, size_t n)
{
	bool quoted = false;
	size_t i, values = 1;

	if (n / 2 < TEXT_VALUES_MAX) /* each has two bytes at least, with what parts it */
		return false;
	for (i = 0; i < n; i++) {
		if (s[i] == '"')
			quoted = !quoted;
		else if (quoted && s[i] == '\\')
			i++;
		else if (!quoted && (s[i] == ',' || s[i] == '[' || s[i] == '{'))
			values++;
	}
	return values > TEXT_VALUES_MAX;
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool text_unhex(const char *s, uint8_t *out, size_t n)
{
	int high, low;
	size_t i;

	for (i = 0; i < n; i++) {
		high = nibble(s[2 * i]);
		low = high < 0 ? -1 : nibble(s[2 * i + 1]);
		if (low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

void text_begin(struct text *t, const char *what)
{
	uint8_t none[SHA256_LEN] = { 0 };

	*t = (struct text){ 0 };
	text_puts(t, PREFIX);
	text_puts(t, what);
	text_puts(t, " ");
	text_number(t, TEXT_VERSION);
	text_puts(t, " ");
	text_hex(t, none, sizeof(none));
	text_puts(t, "\n");
	t->body = t->len;
}

static void fill_in_hash(struct text *t)
{
	uint8_t hash[SHA256_LEN];
	char hex[SHA256_HEX + 1];

	crypto_hash_sha256(hash, (uint8_t *)t->p + t->body, t->len - t->body);
	sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
	memcpy(t->p + t->body - 1 - SHA256_HEX, hex, SHA256_HEX);
}

static bool too_much(const struct text *t)
{
	return t->len > TEXT_MAX || text_too_many(t->p + t->body, t->len - t->body);
}

int text_finish(struct text *t, bool json, char **out, size_t *len, uint8_t sha256[SHA256_LEN])
{
	text_add(t, "", 1); /* a zero behind it, not counted */
	t->len--;
	if (!t->err && json && too_much(t))
		t->err = -EFBIG;
	if (t->err) {
		free(t->p);
		t->p = NULL;
		return t->err;
	}
	fill_in_hash(t);
	if (sha256)
		crypto_hash_sha256(sha256, (uint8_t *)t->p, t->len);
	*len = t->len;
	*out = steal_ptr(&t->p);
	return 0;
}

__attribute__((format(printf, 3, 4))) static int bad(char *error, size_t n, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, n, format, args);
	va_end(args);
	return -EBADMSG;
}

/* The first line in parts. Its length, 0: it is none. */
static size_t first_line(const char *what, const char *s, size_t len, unsigned *version,
			 uint8_t hash[SHA256_LEN])
{
	size_t at = sizeof(PREFIX) - 1, word = strlen(what), digits = 0;

	if (len < at + word + 1 || memcmp(s, PREFIX, at) || memcmp(s + at, what, word) ||
	    s[at + word] != ' ')
		return 0;
	at += word + 1;
	*version = 0;
	for (; digits < 6 && at < len && s[at] >= '0' && s[at] <= '9'; digits++)
		*version = *version * 10 + (unsigned)(s[at++] - '0');
	if (!digits || !*version || len - at < SHA256_HEX + 2 || s[at] != ' ' ||
	    s[at + 1 + SHA256_HEX] != '\n' || !text_unhex(s + at + 1, hash, SHA256_LEN))
		return 0;
	return at + SHA256_HEX + 2;
}

int text_open(const char *what, const char *s, size_t len, size_t max,
	      const uint8_t want[SHA256_LEN], size_t *body, char *error, size_t n)
{
	uint8_t hash[SHA256_LEN], told[SHA256_LEN];
	unsigned version = 0;

	if (len > max)
		return bad(error, n, "%zu bytes are more than a %s may have", len, what);
	*body = first_line(what, s, len, &version, told);
	if (!*body)
		return bad(error, n, "the first line is not that of a mirrorfs-%s", what);
	/* One pass is enough: what has the hash that was wanted is what its writer made. */
	if (want) {
		crypto_hash_sha256(hash, (const uint8_t *)s, len);
		if (memcmp(hash, want, SHA256_LEN))
			return bad(error, n, "SHA-256 is not that of the %s wanted", what);
	} else {
		crypto_hash_sha256(hash, (const uint8_t *)s + *body, len - *body);
		if (memcmp(hash, told, SHA256_LEN))
			return bad(error, n, "SHA-256 is not the one in the first line");
	}
	if (version > TEXT_VERSION) {
		bad(error, n, "version %u of a %s: made by a newer mirrorfs", version, what);
		return -EPROTONOSUPPORT;
	}
	return 0;
}
