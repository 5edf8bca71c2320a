/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One entry of a manifest: its fields, and what must hold between them. The
 * rules are the same for writer and reader, so nothing is stored that cannot be
 * read again. Xattrs are stored sorted by name, whatever order they come in. No locks.
 */
#include "replica/remote/manifest_json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#define N_ELEMS(a) (sizeof(a) / sizeof((a)[0]))

#define TYPE_OF(mode)	((mode) >> 12)
#define XATTR_VALUE_MAX 65536u
#define XATTR_NAMES_MAX 65536u /* of all together, with their zeros: what listxattr can give */
#define TARGET_MAX	4095u

static const struct {
	const char *word;
	uint8_t type;
} types[] = {
	{ "file", TYPE_OF(S_IFREG) },	 { "dir", TYPE_OF(S_IFDIR) },
	{ "symlink", TYPE_OF(S_IFLNK) }, { "fifo", TYPE_OF(S_IFIFO) },
	{ "chr", TYPE_OF(S_IFCHR) },	 { "blk", TYPE_OF(S_IFBLK) },
	{ "socket", TYPE_OF(S_IFSOCK) },
};

/* ---- kinds of fields that only entries have ---- */

static bool type_zero(const void *p)
{
	return !*(const uint8_t *)p;
}

static void type_write(struct text *t, const struct field *f, const void *p)
{
	size_t i;

	(void)f;
	for (i = 0; i < N_ELEMS(types); i++) {
		if (types[i].type != *(const uint8_t *)p)
			continue;
		text_puts(t, "\"");
		text_puts(t, types[i].word);
		text_puts(t, "\"");
		return;
	}
	text_fail(t, -EINVAL);
}

static int type_read(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	const char *word = json_string_value(j);
	size_t i;

	for (i = 0; word && i < N_ELEMS(types); i++) {
		if (strcmp(types[i].word, word))
			continue;
		*(uint8_t *)p = types[i].type;
		return 0;
	}
	return reader_bad(r, f->key, "is no type there is");
}

static const struct field_kind field_type = { type_zero, type_write, type_read };

static bool mode_zero(const void *p)
{
	return !*(const uint32_t *)p;
}

static void mode_write(struct text *t, const struct field *f, const void *p)
{
	uint32_t mode = *(const uint32_t *)p;
	char digits[] = "\"0000\"";
	int i;

	(void)f;
	if (mode > 07777)
		text_fail(t, -EINVAL);
	for (i = 0; i < 4; i++)
		digits[4 - i] = (char)('0' + (mode >> 3 * i & 7));
	text_puts(t, digits);
}

static int mode_read(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	const char *s = json_string_value(j);
	uint32_t mode = 0;
	int i;

	if (!s || strlen(s) != 4 || strspn(s, "01234567") != 4)
		return reader_bad(r, f->key, "is not four octal digits");
	for (i = 0; i < 4; i++)
		mode = mode << 3 | (uint32_t)(s[i] - '0');
	*(uint32_t *)p = mode;
	return 0;
}

static const struct field_kind field_mode = { mode_zero, mode_write, mode_read };

static bool rdev_zero(const void *p)
{
	return !*(const uint64_t *)p;
}

static void rdev_write(struct text *t, const struct field *f, const void *p)
{
	uint64_t rdev = *(const uint64_t *)p;
	char both[32];

	(void)f;
	snprintf(both, sizeof(both), "\"%u:%u\"", major(rdev), minor(rdev));
	text_puts(t, both);
}

static int rdev_read(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	const char *s = json_string_value(j);
	char again[32];
	unsigned a, b;

	if (!s || sscanf(s, "%10u:%10u", &a, &b) != 2)
		return reader_bad(r, f->key, "is not \"major:minor\"");
	snprintf(again, sizeof(again), "%u:%u", a, b);
	if (strcmp(s, again))
		return reader_bad(r, f->key, "is not \"major:minor\"");
	*(uint64_t *)p = makedev(a, b);
	return 0;
}

static const struct field_kind field_rdev = { rdev_zero, rdev_write, rdev_read };

/* ---- xattrs: [["name", "base64"], ...] ---- */

static int xattr_compare(const void *a, const void *b)
{
	const struct manifest_xattr *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* Sorted ones. */
static const char *xattrs_wrong(const struct manifest_xattr *x, size_t n)
{
	size_t i, len, names = 0;

	for (i = 0; i < n; i++) {
		len = strlen(x[i].name);
		if (!len || len > 255)
			return "has a name that is empty or longer than 255 bytes";
		if (x[i].len > XATTR_VALUE_MAX)
			return "has a value of more than 64 KiB";
		if (i && !strcmp(x[i - 1].name, x[i].name))
			return "has a name twice";
		names += len + 1;
		if (names > XATTR_NAMES_MAX)
			return "has more than 64 KiB of names";
	}
	return NULL;
}

static bool xattrs_zero(const void *p)
{
	return !((const struct manifest_entry *)p)->n_xattr;
}

static void xattrs_write(struct text *t, const struct field *f, const void *p)
{
	const struct manifest_entry *e = p;
	struct manifest_xattr *x = malloc(e->n_xattr * sizeof(*x));
	size_t i;

	(void)f;
	if (!x) {
		text_fail(t, -ENOMEM);
		return;
	}
	memcpy(x, e->xattr, e->n_xattr * sizeof(*x));
	qsort(x, e->n_xattr, sizeof(*x), xattr_compare);
	if (xattrs_wrong(x, e->n_xattr))
		text_fail(t, -EINVAL);
	for (i = 0; i < e->n_xattr; i++) {
		text_puts(t, i ? ",[" : "[[");
		text_bytes(t, x[i].name, strlen(x[i].name));
		text_puts(t, ",");
		text_base64(t, x[i].value ? x[i].value : "", x[i].len);
		text_puts(t, "]");
	}
	text_puts(t, "]");
	free(x);
}

static int xattr_read(struct reader *r, const char *key, const json_t *j, struct manifest_xattr *x)
{
	char *value = NULL;
	int err;

	if (json_array_size(j) != 2)
		return reader_bad(r, key, "is not a list of pairs");
	err = json_read_bytes(r, key, json_array_get(j, 0), &x->name, NULL);
	if (!err)
		err = json_read_base64(r, key, json_array_get(j, 1), &value, &x->len);
	x->value = value;
	return err;
}

static int xattrs_read(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	struct manifest_entry *e = p;
	size_t i, n = json_array_size(j);
	const char *why;
	int err;

	if (!n || n > XATTR_NAMES_MAX)
		return reader_bad(r, f->key, "is not a list of pairs");
	e->xattr = calloc(n, sizeof(*e->xattr));
	if (!e->xattr)
		return reader_no_memory(r);
	e->n_xattr = n;
	for (i = 0; i < n; i++) {
		err = xattr_read(r, f->key, json_array_get(j, i), &e->xattr[i]);
		if (err)
			return err;
	}
	qsort(e->xattr, n, sizeof(*e->xattr), xattr_compare);
	why = xattrs_wrong(e->xattr, n);
	return why ? reader_bad(r, f->key, "%s", why) : 0;
}

static const struct field_kind field_xattrs = { xattrs_zero, xattrs_write, xattrs_read };

/* ---- the table, and the rules ---- */

static const char *wrong_target(const char *s)
{
	return !*s || strlen(s) > TARGET_MAX ? "is empty or longer than 4095 bytes" : NULL;
}

#define AT(member) offsetof(struct manifest_entry, member)

static const struct field entry_fields[] = {
	{ "name", &field_bytes, AT(name), false, wrong_name },
	{ "type", &field_type, AT(type), true, NULL },
	{ "link", &field_flag, AT(link), false, NULL },
	{ "by_id", &field_flag, AT(by_id), false, NULL },
	{ "id", &field_id, AT(id), true, NULL },
	{ "object", &field_u64, AT(object), false, NULL },
	{ "gen", &field_u64, AT(gen), false, NULL },
	{ "size", &field_u64, AT(size), false, NULL },
	{ "root", &field_id, AT(root), false, NULL },
	{ "mode", &field_mode, AT(mode), false, NULL },
	{ "uid", &field_u32, AT(uid), false, NULL },
	{ "gid", &field_u32, AT(gid), false, NULL },
	{ "rdev", &field_rdev, AT(rdev), false, NULL },
	{ "mtime", &field_time, AT(mtime), false, NULL },
	{ "atime", &field_time, AT(atime), false, NULL },
	{ "ctime", &field_time, AT(ctime), false, NULL },
	{ "target", &field_bytes, AT(target), false, wrong_target },
	{ "xattr", &field_xattrs, 0, false, NULL },
	{ "refs", &field_u64, AT(refs), false, NULL },
	{ "leaves", &field_ref, AT(leaves), false, NULL },
	{ "dir", &field_ref, AT(dir), false, NULL },
	{ "files", &field_u64, AT(files), false, NULL },
	{ "bytes", &field_u64, AT(bytes), false, NULL },
	{ "partial", &field_flag, AT(partial), false, NULL },
};
/* Of a name that is one of several: the rest is in the directory of links. */
static const struct field link_fields[] = {
	{ "name", &field_bytes, AT(name), false, wrong_name },
	{ "type", &field_type, AT(type), true, NULL },
	{ "link", &field_flag, AT(link), true, NULL },
	{ "by_id", &field_flag, AT(by_id), false, NULL },
	{ "id", &field_id, AT(id), true, NULL },
};

static bool is(const struct manifest_entry *e, mode_t type)
{
	return e->type == TYPE_OF(type);
}

static bool bad_id(const struct manifest_entry *e)
{
	return !e->id;
}

static bool bad_link(const struct manifest_entry *e)
{
	return e->link && is(e, S_IFDIR);
}

static bool bad_target(const struct manifest_entry *e)
{
	bool has = e->target && *e->target;

	return is(e, S_IFLNK) ? !has && !e->link : has;
}

static bool bad_root(const struct manifest_entry *e)
{
	return e->root && !is(e, S_IFREG);
}

static bool bad_rdev(const struct manifest_entry *e)
{
	return e->rdev && !is(e, S_IFCHR) && !is(e, S_IFBLK);
}

static bool bad_leaves(const struct manifest_entry *e)
{
	return e->leaves.seq && !is(e, S_IFREG);
}

static bool bad_dir(const struct manifest_entry *e)
{
	return e->dir.seq && !is(e, S_IFDIR);
}

static bool bad_counts(const struct manifest_entry *e)
{
	return (e->files || e->bytes) && !is(e, S_IFDIR);
}

static const struct {
	const char *key, *why;
	bool (*bad)(const struct manifest_entry *e);
} rules[] = {
	{ "id", "is 0", bad_id },
	{ "link", "is true of a directory", bad_link },
	{ "target", "is missing of a symlink, or there is one of something else", bad_target },
	{ "root", "is of no regular file", bad_root },
	{ "rdev", "is of no device", bad_rdev },
	{ "leaves", "is of no regular file", bad_leaves },
	{ "dir", "is of no directory", bad_dir },
	{ "files", "or bytes is of no directory", bad_counts },
};

static int check_rules(struct reader *r, const struct manifest_entry *e)
{
	size_t i;

	for (i = 0; i < N_ELEMS(rules); i++)
		if (rules[i].bad(e))
			return r ? reader_bad(r, rules[i].key, "%s", rules[i].why) : -EINVAL;
	return 0;
}

void entry_write(struct text *t, const struct manifest_entry *e)
{
	if (e->link) {
		if (bad_id(e) || bad_link(e))
			text_fail(t, -EINVAL);
		object_write(t, link_fields, N_ELEMS(link_fields), e);
		return;
	}
	if (check_rules(NULL, e))
		text_fail(t, -EINVAL);
	object_write(t, entry_fields, N_ELEMS(entry_fields), e);
}

static int read_fields(struct reader *r, const json_t *j, struct manifest_entry *e)
{
	bool link = json_is_true(json_object_get(j, "link"));
	int err = link ? object_read(r, link_fields, N_ELEMS(link_fields), j, e)
		       : object_read(r, entry_fields, N_ELEMS(entry_fields), j, e);

	if (!err && !e->name)
		e->name = strdup("");
	if (!err && !e->name)
		return reader_no_memory(r);
	return err ? err : check_rules(r, e);
}

int entry_read(struct reader *r, const json_t *j, struct manifest_entry *e)
{
	int err;

	*e = (struct manifest_entry){ 0 };
	/* First of all, so that messages can say it. */
	r->name = json_string_value(json_object_get(j, "name"));
	err = read_fields(r, j, e);
	r->name = NULL;
	if (err)
		manifest_entry_clear(e);
	return err;
}

/* ---- lists ---- */

static const char *wrong_place(const struct manifest_entry *e, size_t i)
{
	if (!e[i].name || !*e[i].name)
		return "is missing";
	return i && strcmp(e[i - 1].name, e[i].name) >= 0 ? "is not above the one before it" : NULL;
}

void entries_write(struct text *t, const struct manifest_entry *e, size_t n)
{
	size_t i;

	text_puts(t, "[");
	for (i = 0; i < n; i++) {
		text_puts(t, i ? ",\n" : "\n");
		if (wrong_place(e, i))
			text_fail(t, -EINVAL);
		entry_write(t, &e[i]);
	}
	text_puts(t, n ? "\n]" : "]");
}

/* *n counts what is there to be freed, on errors too. */
static int read_all(struct reader *r, const json_t *j, struct manifest_entry *e, size_t *n)
{
	size_t i, total = json_array_size(j);
	const char *why;
	int err;

	for (i = 0; i < total; i++) {
		r->index = i;
		err = entry_read(r, json_array_get(j, i), &e[i]);
		if (err)
			return err;
		*n = i + 1;
		why = wrong_place(e, i);
		r->name = e[i].name;
		if (why)
			return reader_bad(r, "name", "%s", why);
	}
	return 0;
}

int entries_read(struct reader *r, const json_t *j, struct manifest_entry **out, size_t *n)
{
	struct manifest_entry *e;
	size_t got = 0;
	int err;

	if (!json_is_array(j))
		return reader_bad(r, "entries", "is no list");
	e = calloc(json_array_size(j) + 1, sizeof(*e));
	if (!e)
		return reader_no_memory(r);
	r->list = "entry";
	err = read_all(r, j, e, &got);
	r->list = NULL;
	r->name = NULL;
	if (err) {
		entries_free(e, got);
		return err;
	}
	*out = e;
	*n = got;
	return 0;
}

void entries_free(struct manifest_entry *e, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		manifest_entry_clear(&e[i]);
	free(e);
}

/* ---- what others do with entries ---- */

void manifest_entry_clear(struct manifest_entry *e)
{
	size_t i;

	for (i = 0; i < e->n_xattr; i++) {
		free(e->xattr[i].name);
		free(e->xattr[i].value);
	}
	free(e->xattr);
	free(e->name);
	free(e->target);
	*e = (struct manifest_entry){ 0 };
}

static int copy_text(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return from && !*to ? -ENOMEM : 0;
}

static int copy_xattrs(struct manifest_entry *to, const struct manifest_entry *from)
{
	struct manifest_xattr *x;
	size_t i;

	to->xattr = calloc(from->n_xattr + 1, sizeof(*to->xattr));
	if (!to->xattr)
		return -ENOMEM;
	for (i = 0; i < from->n_xattr; i++) {
		x = &to->xattr[i];
		to->n_xattr = i + 1;
		x->len = from->xattr[i].len;
		x->value = malloc(x->len + 1);
		if (copy_text(&x->name, from->xattr[i].name) || !x->value)
			return -ENOMEM;
		if (x->len)
			memcpy(x->value, from->xattr[i].value, x->len);
	}
	return 0;
}

int manifest_entry_copy(struct manifest_entry *to, const struct manifest_entry *from)
{
	int err;

	*to = *from;
	to->target = NULL;
	to->xattr = NULL;
	to->n_xattr = 0;
	err = copy_text(&to->name, from->name);
	if (!err)
		err = copy_text(&to->target, from->target);
	if (!err && from->n_xattr)
		err = copy_xattrs(to, from);
	if (err)
		manifest_entry_clear(to);
	return err;
}

static bool has_xattr(const struct manifest_entry *e, const struct manifest_xattr *x, size_t hint)
{
	const struct manifest_xattr *y;
	size_t i;

	for (i = 0; i < e->n_xattr; i++) {
		y = &e->xattr[(hint + i) % e->n_xattr];
		if (!strcmp(x->name, y->name))
			return x->len == y->len && (!x->len || !memcmp(x->value, y->value, x->len));
	}
	return false;
}

/* In any order. */
static bool same_xattrs(const struct manifest_entry *a, const struct manifest_entry *b)
{
	size_t i;

	if (a->n_xattr != b->n_xattr)
		return false;
	for (i = 0; i < a->n_xattr; i++)
		if (!has_xattr(b, &a->xattr[i], i))
			return false;
	return true;
}

static bool same_attributes(const struct manifest_entry *a, const struct manifest_entry *b)
{
	const char *x = a->target ? a->target : "", *y = b->target ? b->target : "";

	return a->mode == b->mode && a->uid == b->uid && a->gid == b->gid && a->rdev == b->rdev &&
	       a->mtime == b->mtime && a->ctime == b->ctime && !strcmp(x, y) && same_xattrs(a, b);
}

bool manifest_entry_same(const struct manifest_entry *a, const struct manifest_entry *b)
{
	if (a->type != b->type || a->id != b->id || a->link != b->link)
		return false;
	if (a->link)
		return true;
	/* The size of a directory is a count of what is below it. */
	if (!is(a, S_IFDIR) && (a->size != b->size || a->root != b->root))
		return false;
	return same_attributes(a, b);
}
