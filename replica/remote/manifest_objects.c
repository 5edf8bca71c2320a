/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Formats, heads, intents, and objects of leaf hashes. Only the last are not
 * JSON as a whole: their header is of a fixed length, so that hash i can be read
 * from the server by itself. No locks.
 */
#include "replica/remote/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/le.h"
#include "replica/hash.h"
#include "replica/remote/manifest_json.h"

#define N_ELEMS(a) (sizeof(a) / sizeof((a)[0]))
#define FIELD(type, key, kind, member, always)                                    \
	{ key, kind, offsetof(type, member), always, NULL }
#define ROOT_ID		  1u
#define OBJECT_LENGTH_MAX 4351u

static const char *wrong_object(const char *s)
{
	return strlen(s) > OBJECT_LENGTH_MAX ? "is longer than a name may be" : wrong_path(s);
}

static int write_object(const char *what, const struct field *f, size_t n, const void *obj, int err,
			char **out, size_t *len)
{
	struct text t;

	text_begin(&t, what);
	text_fail(&t, err);
	object_write(&t, f, n, obj);
	text_puts(&t, "\n");
	return text_finish(&t, true, out, len, NULL);
}

static bool never_zero(const void *p)
{
	(void)p;
	return false;
}

/* ---- format ---- */

static bool layout_zero(const void *p)
{
	return !*(const char *)p;
}

static bool layout_wrong(const char *s)
{
	size_t n = strnlen(s, 16);

	return !n || n > 15 || strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != n;
}

static void layout_write(struct text *t, const struct field *f, const void *p)
{
	(void)f;
	if (layout_wrong(p)) {
		text_fail(t, -EINVAL);
		return;
	}
	text_bytes(t, p, strlen(p));
}

static int layout_read(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	const char *s = json_string_value(j);

	if (!s || layout_wrong(s))
		return reader_bad(r, f->key, "is no name of a layout");
	strcpy(p, s);
	return 0;
}

static const struct field_kind field_layout = { layout_zero, layout_write, layout_read };

static const struct field format_fields[] = {
	FIELD(struct remote_format, "version", &field_u32, version, true),
	FIELD(struct remote_format, "layout", &field_layout, layout, true),
	FIELD(struct remote_format, "volume", &field_uuid, volume, true),
	FIELD(struct remote_format, "writer", &field_writer, writer, true),
	FIELD(struct remote_format, "created", &field_time, created, true),
};

int remote_format_encode(const struct remote_format *f, char **out, size_t *len)
{
	return write_object("format", format_fields, N_ELEMS(format_fields), f,
			    f->version == TEXT_VERSION ? 0 : -EINVAL, out, len);
}

int remote_format_decode(const char *text, size_t len, struct remote_format *f, char *error,
			 size_t n)
{
	int err;

	*f = (struct remote_format){ 0 };
	err = object_decode("format", text, len, NULL, format_fields, N_ELEMS(format_fields), f,
			    error, n);
	if (!err && f->version > TEXT_VERSION) {
		snprintf(error, n, "version %u of the store: made by a newer mirrorfs", f->version);
		return -EPROTONOSUPPORT;
	}
	if (!err && !f->version) {
		snprintf(error, n, "version is 0");
		return -EBADMSG;
	}
	return err;
}

/* ---- head ---- */

static bool entry_zero(const void *p)
{
	return !((const struct manifest_entry *)p)->type;
}

static void write_entry(struct text *t, const struct field *f, const void *p)
{
	(void)f;
	entry_write(t, p);
}

static int read_entry(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	(void)f;
	return entry_read(r, j, p);
}

static const struct field_kind field_entry = { entry_zero, write_entry, read_entry };

static void drop_write(struct text *t, const struct field *f, const void *p)
{
	const struct remote_head *h = p;
	size_t i;

	(void)f;
	text_puts(t, "[");
	for (i = 0; i < h->n_drop; i++) {
		text_puts(t, i ? ",\n" : "\n");
		if (wrong_object(h->drop[i]))
			text_fail(t, -EINVAL);
		text_bytes(t, h->drop[i], strlen(h->drop[i]));
	}
	text_puts(t, "]");
}

static int drop_read(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	size_t n = json_array_size(j);
	struct remote_head *h = p;
	const char *why = NULL;
	int err = 0;

	if (!json_is_array(j))
		return reader_bad(r, f->key, "is no list");
	h->drop = calloc(n + 1, sizeof(*h->drop));
	if (!h->drop)
		return reader_no_memory(r);
	r->list = "object";
	for (r->index = 0; !err && r->index < n; r->index++) {
		err = json_read_bytes(r, f->key, json_array_get(j, r->index), &h->drop[h->n_drop],
				      NULL);
		if (err)
			break;
		why = wrong_object(h->drop[h->n_drop++]);
		if (why)
			err = reader_bad(r, f->key, "%s", why);
	}
	r->list = NULL;
	return err;
}

static bool drop_zero(const void *p)
{
	return !((const struct remote_head *)p)->n_drop;
}

static const struct field_kind field_drop = { drop_zero, drop_write, drop_read };

static const struct field head_fields[] = {
	FIELD(struct remote_head, "seq", &field_u64, seq, true),
	FIELD(struct remote_head, "time", &field_time, time, true),
	FIELD(struct remote_head, "volume", &field_uuid, volume, true),
	FIELD(struct remote_head, "writer", &field_writer, writer, true),
	FIELD(struct remote_head, "root", &field_ref, root, false),
	FIELD(struct remote_head, "attrs", &field_entry, attrs, true),
	FIELD(struct remote_head, "links", &field_ref, links, false),
	FIELD(struct remote_head, "files", &field_u64, files, false),
	FIELD(struct remote_head, "bytes", &field_u64, bytes, false),
	FIELD(struct remote_head, "uncounted", &field_flag, uncounted, false),
	{ "drop", &field_drop, 0, false, NULL },
};

static int check_head(struct reader *r, const struct remote_head *h)
{
	const struct manifest_entry *a = &h->attrs;

	if (!h->seq)
		return reader_bad(r, "seq", "is 0");
	if (a->type != S_IFDIR >> 12 || a->id != ROOT_ID || (a->name && *a->name))
		return reader_bad(r, "attrs", "is not the root directory without a name");
	return 0;
}

int remote_head_encode(const struct remote_head *h, char **out, size_t *len)
{
	struct reader nobody = { .error = NULL };

	return write_object("head", head_fields, N_ELEMS(head_fields), h,
			    check_head(&nobody, h) ? -EINVAL : 0, out, len);
}

int remote_head_decode(const char *text, size_t len, struct remote_head *h, char *error, size_t n)
{
	struct reader r = { .error = error, .size = n };
	int err;

	*h = (struct remote_head){ 0 };
	err = object_decode("head", text, len, NULL, head_fields, N_ELEMS(head_fields), h, error,
			    n);
	if (!err)
		err = check_head(&r, h);
	if (err)
		remote_head_clear(h);
	return err;
}

void remote_head_clear(struct remote_head *h)
{
	size_t i;

	for (i = 0; i < h->n_drop; i++)
		free(h->drop[i]);
	free(h->drop);
	manifest_entry_clear(&h->attrs);
	*h = (struct remote_head){ 0 };
}

/* ---- intent ---- */

static const char *const kind_words[] = {
	[INTENT_PUT] = "put",
	[INTENT_MOVE] = "move",
	[INTENT_DELETE] = "delete",
};

static void kind_write(struct text *t, const struct field *f, const void *p)
{
	unsigned kind = *(const enum intent_kind *)p;

	(void)f;
	if (kind >= N_ELEMS(kind_words)) {
		text_fail(t, -EINVAL);
		return;
	}
	text_bytes(t, kind_words[kind], strlen(kind_words[kind]));
}

static int kind_read(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	const char *word = json_string_value(j);
	unsigned i;

	for (i = 0; word && i < N_ELEMS(kind_words); i++) {
		if (strcmp(word, kind_words[i]))
			continue;
		*(enum intent_kind *)p = (enum intent_kind)i;
		return 0;
	}
	return reader_bad(r, f->key, "is none of put, move, delete");
}

static const struct field_kind field_op = { never_zero, kind_write, kind_read };

static const struct field op_fields[] = {
	FIELD(struct intent_op, "op", &field_op, kind, true),
	FIELD(struct intent_op, "dir", &field_flag, dir, false),
	{ "name", &field_bytes, offsetof(struct intent_op, name), true, wrong_object },
	{ "to", &field_bytes, offsetof(struct intent_op, to), false, wrong_object },
	{ "path", &field_bytes, offsetof(struct intent_op, path), false, wrong_path },
	FIELD(struct intent_op, "entry", &field_entry, entry, false),
};

static int check_op(struct reader *r, const struct intent_op *op)
{
	if ((op->kind == INTENT_MOVE) != (op->to && *op->to))
		return reader_bad(r, "to",
				  "is missing of a move, or there is one of something else");
	if (op->entry.type && op->kind != INTENT_PUT)
		return reader_bad(r, "entry", "is of no put");
	return 0;
}

static void ops_write(struct text *t, const struct field *f, const void *p)
{
	const struct remote_intent *in = p;
	struct reader nobody = { .error = NULL };
	size_t i;

	(void)f;
	text_puts(t, "[");
	for (i = 0; i < in->n; i++) {
		text_puts(t, i ? ",\n" : "\n");
		if (check_op(&nobody, &in->op[i]))
			text_fail(t, -EINVAL);
		object_write(t, op_fields, N_ELEMS(op_fields), &in->op[i]);
	}
	text_puts(t, "\n]");
}

static int op_read(struct reader *r, const json_t *j, struct intent_op *op)
{
	int err = object_read(r, op_fields, N_ELEMS(op_fields), j, op);

	if (!err && !op->path) {
		op->path = strdup("");
		if (!op->path)
			return reader_no_memory(r);
	}
	return err ? err : check_op(r, op);
}

static int ops_read(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	size_t i, n = json_array_size(j);
	struct remote_intent *in = p;
	int err = 0;

	if (!json_is_array(j))
		return reader_bad(r, f->key, "is no list");
	in->op = calloc(n + 1, sizeof(*in->op));
	if (!in->op)
		return reader_no_memory(r);
	in->n = n;
	r->list = "op";
	for (i = 0; !err && i < n; i++) {
		r->index = i;
		err = op_read(r, json_array_get(j, i), &in->op[i]);
	}
	r->list = NULL;
	return err;
}

static const struct field_kind field_ops = { never_zero, ops_write, ops_read };

static const struct field intent_fields[] = {
	FIELD(struct remote_intent, "seq", &field_u64, seq, true),
	FIELD(struct remote_intent, "writer", &field_writer, writer, true),
	FIELD(struct remote_intent, "time", &field_time, time, true),
	{ "ops", &field_ops, 0, true, NULL },
};

int remote_intent_encode(const struct remote_intent *i, char **out, size_t *len)
{
	return write_object("intent", intent_fields, N_ELEMS(intent_fields), i,
			    i->seq ? 0 : -EINVAL, out, len);
}

int remote_intent_decode(const char *text, size_t len, struct remote_intent *i, char *error,
			 size_t n)
{
	int err;

	*i = (struct remote_intent){ 0 };
	err = object_decode("intent", text, len, NULL, intent_fields, N_ELEMS(intent_fields), i,
			    error, n);
	if (!err && !i->seq) {
		snprintf(error, n, "seq is 0");
		err = -EBADMSG;
	}
	if (err)
		remote_intent_clear(i);
	return err;
}

void remote_intent_clear(struct remote_intent *in)
{
	size_t i;

	for (i = 0; i < in->n; i++) {
		free(in->op[i].name);
		free(in->op[i].to);
		free(in->op[i].path);
		manifest_entry_clear(&in->op[i].entry);
	}
	free(in->op);
	*in = (struct remote_intent){ 0 };
}

/* ---- leaf hashes ---- */

#define LEAVES_WHAT   "leaves"
#define LEAVES_FIRST  83u			     /* the first line */
#define LEAVES_SECOND 53u			     /* the second */
#define LEAVES_HEADER (LEAVES_FIRST + LEAVES_SECOND) /* 136: a multiple of 8 */

static uint64_t leaves_of(uint64_t size)
{
	return size / LEAF_SIZE + (size % LEAF_SIZE != 0);
}

/* The second line, filled up with spaces. size: at most 2^63 - 1. */
static void second_line(uint64_t id, uint64_t size, char out[LEAVES_SECOND + 1])
{
	char json[96];
	int n = snprintf(json, sizeof(json), "{\"id\":\"%016" PRIx64 "\",\"size\":%" PRIu64 "}", id,
			 size);

	memset(out, ' ', LEAVES_SECOND);
	memcpy(out, json, (size_t)n);
	strcpy(out + LEAVES_SECOND - 1, "\n");
}

int leaf_object_encode(uint64_t id, uint64_t size, const uint64_t *hash, size_t n, char **out,
		       size_t *len, uint8_t sha256[SHA256_LEN])
{
	char line[LEAVES_SECOND + 1];
	struct text t;
	uint8_t *to;
	size_t i;

	if (!id || size > INT64_MAX || n != leaves_of(size))
		return -EINVAL;
	text_begin(&t, LEAVES_WHAT);
	second_line(id, size, line);
	text_puts(&t, line);
	to = (uint8_t *)text_room(&t, 8 * n);
	for (i = 0; to && i < n; i++)
		put64(to + 8 * i, hash[i]);
	t.len += 8 * n;
	return text_finish(&t, false, out, len, sha256);
}

int leaf_object_decode(const void *data, size_t len, const uint8_t want[SHA256_LEN], uint64_t id,
		       uint64_t size, uint64_t **hash, char *error, size_t n)
{
	char line[LEAVES_SECOND + 1];
	const uint8_t *p = data;
	struct reader r = { .error = error, .size = n };
	uint64_t i, leaves = leaves_of(size);
	size_t body;
	int err = text_open(LEAVES_WHAT, data, len, SIZE_MAX, want, &body, error, n);

	if (err)
		return err;
	if (size > INT64_MAX)
		return reader_bad(&r, "size", "is out of range");
	second_line(id, size, line);
	if (len < LEAVES_HEADER || memcmp(p + LEAVES_FIRST, line, LEAVES_SECOND))
		return reader_bad(&r, "leaves",
				  "are not those of file %016" PRIx64 " with %" PRIu64 " bytes", id,
				  size);
	if (leaves != (len - LEAVES_HEADER) / 8 || (len - LEAVES_HEADER) % 8)
		return reader_bad(&r, "leaves", "are not %" PRIu64, leaves);
	*hash = malloc(8 * leaves + 1);
	if (!*hash)
		return reader_no_memory(&r);
	for (i = 0; i < leaves; i++)
		(*hash)[i] = get64(p + LEAVES_HEADER + 8 * i);
	return 0;
}
