/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON objects by tables: one table of fields says how a struct is written and
 * how it is read, so that the two cannot disagree. What is zero is left out, what is
 * unknown, doubled, of another type or out of its range is refused, by the writer too.
 */
#ifndef REPLICA_REMOTE_MANIFEST_JSON_H
#define REPLICA_REMOTE_MANIFEST_JSON_H

#include <jansson.h>

#include "replica/remote/manifest_text.h"

/* Who reads, and where it is, for the one line about what is wrong. */
struct reader {
	char *error;
	size_t size;
	const char *list; /* "entry", NULL: not in a list */
	size_t index;
	const char *name; /* of the entry, NULL: not known yet */
};

struct field;
struct field_kind {
	bool (*zero)(const void *p);
	void (*write)(struct text *t, const struct field *f, const void *p);
	/* 0, or -errno after reader_bad. */
	int (*read)(struct reader *r, const struct field *f, const json_t *j, void *p);
};
struct field {
	const char *key;
	const struct field_kind *kind;
	size_t at;			     /* in the struct */
	bool always;			     /* written even if zero, must be there */
	const char *(*wrong)(const char *s); /* bytes: why they cannot be, NULL: they can */
};

/* The kinds, and what p points to. */
extern const struct field_kind field_u64;    /* uint64_t up to 2^63 - 1 */
extern const struct field_kind field_u32;    /* uint32_t */
extern const struct field_kind field_time;   /* int64_t */
extern const struct field_kind field_flag;   /* bool */
extern const struct field_kind field_id;     /* uint64_t in 16 hex digits */
extern const struct field_kind field_uuid;   /* uint8_t[16] in 32 hex digits */
extern const struct field_kind field_writer; /* char[17], 16 hex digits */
extern const struct field_kind field_bytes;  /* char *, allocated; with `wrong` */
extern const struct field_kind field_ref;    /* struct manifest_ref */

int reader_bad(struct reader *r, const char *key, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int reader_no_memory(struct reader *r);
/* Bytes from a string or {"b64": ...}. *len may be NULL: then a zero among them is refused. */
int json_read_bytes(struct reader *r, const char *key, const json_t *j, char **out, size_t *len);
/* Base64 from a string; out is allocated even for no bytes. */
int json_read_base64(struct reader *r, const char *key, const json_t *j, char **out, size_t *len);

/* `{...}` of the struct at obj. */
void object_write(struct text *t, const struct field *f, size_t n, const void *obj);
/* Into a struct that was zeroed; what it got is the caller's to clear, on errors too. */
int object_read(struct reader *r, const struct field *f, size_t n, const json_t *j, void *obj);
/* All of an object: first line, text, the struct. The error line is filled in. */
int object_decode(const char *what, const char *s, size_t len, const uint8_t want[SHA256_LEN],
		  const struct field *f, size_t n, void *obj, char *error, size_t size);

/* Why bytes cannot be the name of an entry, a path of such names ("" is none), an object. */
const char *wrong_name(const char *s);
const char *wrong_path(const char *s);

/* manifest_entry.c: entries. */
/* Writes one; -EINVAL sticks to t if it cannot be. */
void entry_write(struct text *t, const struct manifest_entry *e);
/* The name is "" if it has none. On an error *e is cleared. */
int entry_read(struct reader *r, const json_t *j, struct manifest_entry *e);
/* Lists `[...]`, sorted by name, each with one. */
void entries_write(struct text *t, const struct manifest_entry *e, size_t n);
int entries_read(struct reader *r, const json_t *j, struct manifest_entry **e, size_t *n);
void entries_free(struct manifest_entry *e, size_t n);

#endif
