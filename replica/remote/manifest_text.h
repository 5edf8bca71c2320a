/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text of an object at a remote: a growing buffer to write JSON into, and
 * the first line that every object begins with,
 * "mirrorfs-<what> <version> <sha256 of the rest>\n". Knows nothing of fields.
 */
#ifndef REPLICA_REMOTE_MANIFEST_TEXT_H
#define REPLICA_REMOTE_MANIFEST_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replica/remote/manifest.h"

#define TEXT_VERSION	1u
#define TEXT_MAX	(64u << 20) /* bytes of an object of JSON */
#define TEXT_VALUES_MAX (1u << 20)  /* values in it: what bounds the memory of a reader */

struct text {
	char *p;
	size_t len, cap;
	size_t body; /* where the rest begins */
	int err;     /* the first thing that went wrong; then nothing is added */
};

void text_begin(struct text *t, const char *what);
void text_fail(struct text *t, int err);
/* Room for n more bytes, at t->p + t->len; NULL: failed. */
char *text_room(struct text *t, size_t n);
void text_add(struct text *t, const char *s, size_t n);
void text_puts(struct text *t, const char *s);
void text_number(struct text *t, int64_t v);
void text_hex64(struct text *t, uint64_t v); /* 16 digits */
void text_hex(struct text *t, const uint8_t *p, size_t n);
void text_base64(struct text *t, const void *p, size_t n); /* in quotes */
/* Bytes as a JSON string, or {"b64": "..."} where they are no plain text. */
void text_bytes(struct text *t, const char *s, size_t n);
/* Fills in the first line and hands the text over. On an error the text is freed. json: it must be
 * within what a reader takes, or -EFBIG. */
int text_finish(struct text *t, bool json, char **out, size_t *len, uint8_t sha256[SHA256_LEN]);

/* Valid UTF-8 without control characters (C0, DEL, C1). */
bool text_plain(const char *s, size_t n);
/* Whether it can have more than TEXT_VALUES_MAX values. Needs no memory. */
bool text_too_many(const char *s, size_t n);
/* n bytes as n * 2 small hex digits; false: they are not. */
bool text_unhex(const char *s, uint8_t *out, size_t n);

/*
 * Checks all there is but the content: -EBADMSG, -EPROTONOSUPPORT. want: the hash of all of it,
 * may be NULL. what: the word in the first line. *body is what comes after it.
 */
int text_open(const char *what, const char *s, size_t len, size_t max,
	      const uint8_t want[SHA256_LEN], size_t *body, char *error, size_t n);

#endif
