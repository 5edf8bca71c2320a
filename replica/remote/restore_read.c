/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ls and cat on a remote: nothing but what they show is read. One thread, no locks. */
#include "replica/remote/restore_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "replica/base/cleanup.h"
#include "replica/file.h"
#include "replica/hash.h"

static int tell(struct origin *s, int r, const char *path)
{
	if (r == -ENOENT)
		snprintf(s->error, LAYOUT_ERROR_MAX, "%.300s: no such file at the remote", path);
	else if (r == -ENOTDIR)
		snprintf(s->error, LAYOUT_ERROR_MAX, "%.300s: a part of it is no directory", path);
	else if (r < 0 && !s->error[0])
		snprintf(s->error, LAYOUT_ERROR_MAX, "%.200s: %.150s", path,
			 origin_line(s, r));
	return r;
}

/* ---- ls ---- */

struct list {
	char **name;
	size_t n, cap;
};

static void list_clear(void *arg)
{
	struct list *l = arg;

	for (size_t i = 0; i < l->n; i++)
		free(l->name[i]);
	l->n = 0;
}

static int list_take(const struct manifest_entry *e, void *arg)
{
	struct list *l = arg;

	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		char **bigger = realloc(l->name, cap * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		l->name = bigger;
		l->cap = cap;
	}
	l->name[l->n] = strdup(e->name);
	return l->name[l->n] ? (l->n++, 0) : -ENOMEM;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

typedef int (*list_fn)(const char *path, const struct manifest_entry *e, void *arg);

static int list_one(struct origin *s, struct layout_dir *d, const char *dir, const char *name,
		    list_fn fn, void *arg)
{
	CLEANUP_FREE char *path = NULL;
	struct manifest_entry e;
	bool link;
	int r = origin_entry(s, d, name, &e, &link);

	if (r < 0)
		return r;
	e.link = link;
	if (asprintf(&path, "%s%s%s", dir, *dir ? "/" : "", name) < 0)
		path = NULL;
	r = path ? fn(path, &e, arg) : -ENOMEM;
	manifest_entry_clear(&e);
	return r;
}

static int list_dir(struct origin *s, struct layout_dir *d, const char *path, list_fn fn, void *arg)
{
	struct list l = { 0 };
	int r = origin_each(s, d, list_take, &l, list_clear);

	if (l.n)
		qsort(l.name, l.n, sizeof(*l.name), by_bytes);
	for (size_t i = 0; r == 0 && i < l.n; i++)
		r = list_one(s, d, path, l.name[i], fn, arg);
	list_clear(&l);
	free(l.name);
	return r;
}

static int list_path(struct origin *s, const char *path, list_fn fn, void *arg)
{
	struct layout_dir *up, *d = NULL;
	struct manifest_entry e = { 0 };
	const char *last;
	bool link = false;
	int r = origin_parent(s, path, &up, &last);

	if (r < 0)
		return tell(s, r, path);
	if (!*last) {
		r = list_dir(s, up, "", fn, arg);
	} else {
		r = origin_entry(s, up, last, &e, &link);
		if (r == 0 && MODE_OF(e.type) == S_IFDIR)
			r = origin_dir(s, up, last, &d);
		if (r == 0 && d)
			r = list_dir(s, d, path, fn, arg);
		else if (r == 0) {
			e.link = link;
			r = fn(path, &e, arg);
		}
	}
	if (d)
		layout_dir_put(s->layout, d);
	layout_dir_put(s->layout, up);
	manifest_entry_clear(&e);
	return tell(s, r, path);
}

int restore_list(const struct remote_def *def, const struct remote_secret *secret, const char *path,
		 int (*fn)(const char *path, const struct manifest_entry *e, void *arg), void *arg,
		 char error[LAYOUT_ERROR_MAX])
{
	CLEANUP_FREE char *at = origin_path(path ? path : "");
	struct origin s = { .error = error };
	int r;

	error[0] = '\0';
	r = at ? origin_open(&s, def, secret) : -ENOMEM;
	if (r == 0)
		r = list_path(&s, at, fn, arg);
	origin_close(&s);
	return r;
}

/* ---- cat ---- */

struct cat {
	struct origin *s;
	struct manifest_entry e;
	char object[LAYOUT_NAME_MAX];
	uint64_t *hash;            /* of its leaves; known: those of the remote */
	bool known;
	int (*write)(void *arg, const void *buf, size_t len);
	void *arg;
	bool begun;                /* something was handed on */
};

struct sink {
	uint8_t *buf;
	size_t len, got;
};

static int sink_write(void *arg, const void *buf, size_t len)
{
	struct sink *k = arg;

	if (len > k->len - k->got)
		return -EPROTO;
	memcpy(k->buf + k->got, buf, len);
	k->got += len;
	return 0;
}

/* Exactly these bytes of the object. -EBADMSG: it has another size than the entry says. */
static int get(struct cat *c, uint64_t off, uint8_t *buf, size_t len)
{
	struct origin *s = c->s;

	for (int tries = 0;;) {
		struct sink k = { .buf = buf, .len = len };
		struct store_op op = { .verb = STORE_GET, .name = c->object, .off = off, .len = len,
				       .write = sink_write, .write_arg = &k };
		int r = store_run(s->content, &op);

		if (r == 0 && op.size != UINT64_MAX && op.size != c->e.size)
			r = -EBADMSG;
		else if (r == 0 && k.got != len)
			r = -EPROTO;
		if (r < 0)
			snprintf(s->error, LAYOUT_ERROR_MAX, "%s", op.error[0] ? op.error :
				 "the object has another size than the manifest says");
		if (r == -EPROTO && tries++ == 0)
			continue;
		if (!origin_again_for(s, &r, op.error, op.retry_after))
			return r;
	}
}

/* A piece that begins at a leaf, checked if its hashes are known. */
static int get_checked(struct cat *c, uint64_t off, uint8_t *buf, size_t len)
{
	uint64_t bad = 0, at;
	int r;

	for (int tries = 0; tries < 2; tries++) { /* once more: it may have been the way */
		r = get(c, off, buf, len);
		if (r < 0)
			return r;
		at = content_check(c->e.id, off / LEAF_SIZE, buf, len, c->hash, c->known, &bad);
		if (!bad)
			return 0;
	}
	snprintf(c->s->error, LAYOUT_ERROR_MAX, "damaged at the remote: bytes %llu+%llu",
		 (unsigned long long)(off + at * LEAF_SIZE), (unsigned long long)(bad * LEAF_SIZE));
	return -EBADMSG;
}

/* [off, end) in pieces; handed on if `out`. */
static int cat_pieces(struct cat *c, uint64_t off, uint64_t end, bool out, uint8_t *buf)
{
	uint64_t at = off - off % LEAF_SIZE, to = end + LEAF_SIZE - 1;
	int r = 0;

	to -= to % LEAF_SIZE;
	if (to > c->e.size)
		to = c->e.size;
	while (r == 0 && at < to) {
		size_t len = to - at < RESTORE_CHUNK ? (size_t)(to - at) : RESTORE_CHUNK;
		uint64_t from = at < off ? off : at, until = at + len < end ? at + len : end;

		r = get_checked(c, at, buf, len);
		if (r == 0 && out && from < until) {
			c->begun = true;
			r = c->write(c->arg, buf + (from - at), (size_t)(until - from));
		}
		at += len;
	}
	return r;
}

/* Where the remote has no leaf hashes all of it is read to see that the sum is right; the
 * hashes of that reading are what the second one is held against. */
static int learn_leaves(struct cat *c, uint8_t *buf)
{
	uint64_t n = leaves_of(c->e.size);
	int r;

	c->hash = calloc(n, sizeof(*c->hash));
	if (!c->hash)
		return -ENOMEM;
	r = cat_pieces(c, 0, c->e.size, false, buf);
	c->known = true;
	if (r == 0 && content_sum(c->hash, n) != c->e.root) {
		snprintf(c->s->error, LAYOUT_ERROR_MAX, "damaged at the remote: the content is not "
			 "that of its hash");
		r = -EBADMSG;
	}
	return r;
}

static int cat_entry(struct cat *c, uint64_t off, uint64_t len)
{
	uint64_t end = len > c->e.size || off + len > c->e.size ? c->e.size : off + len;
	CLEANUP_FREE uint8_t *buf = malloc(RESTORE_CHUNK);
	int r;

	if (!buf)
		return -ENOMEM;
	if (off >= end)
		return 0;
	r = origin_leaves(c->s, &c->e, &c->hash);
	c->known = c->hash != NULL;
	if (r == 0 && !c->hash)
		r = learn_leaves(c, buf);
	if (r == 0)
		r = cat_pieces(c, off, end, true, buf);
	free(c->hash);
	c->hash = NULL;
	return r;
}

/* Whether another place, or what an upload under way was to make of it, is worth a try. */
static bool cat_goes_on(const struct cat *c, int r)
{
	return (r == -EBADMSG || r == -EPROTO || r == -ENOENT) && !c->begun;
}

/* The object, and wherever a move under way may have brought it. */
static int cat_places(struct cat *c, const char *first, uint64_t off, uint64_t len)
{
	unsigned n = 0;
	int r;

	snprintf(c->object, sizeof(c->object), "%s", first);
	do
		r = cat_entry(c, off, len);
	while (cat_goes_on(c, r) &&
	       layout_elsewhere(c->s->layout, first, n++, c->object) == 0);
	return r;
}

static int cat_all(struct cat *c, const char *first, uint64_t off, uint64_t len)
{
	const struct manifest_entry *maybe;
	uint8_t type = c->e.type;
	int r = cat_places(c, first, off, len), again;

	for (unsigned n = 0; cat_goes_on(c, r); n++) {
		maybe = layout_maybe(c->s->layout, first, n);
		if (!maybe)
			break;
		if (maybe->type != type)
			continue;
		manifest_entry_clear(&c->e);
		if (manifest_entry_copy(&c->e, maybe) < 0)
			return -ENOMEM;
		again = cat_places(c, first, off, len);
		if (!cat_goes_on(c, again))
			return again;
	}
	return r;
}

static int cat_name(struct cat *c, struct layout_dir *d, const char *path, const char *last,
		    uint64_t off, uint64_t len)
{
	char first[LAYOUT_NAME_MAX];
	bool link;
	int r = origin_entry(c->s, d, last, &c->e, &link);

	if (r < 0)
		return r;
	if (MODE_OF(c->e.type) != S_IFREG) {
		snprintf(c->s->error, LAYOUT_ERROR_MAX, "%.300s: no regular file", path);
		return MODE_OF(c->e.type) == S_IFDIR ? -EISDIR : -EINVAL;
	}
	origin_object(c->s, d, &c->e, link, first);
	r = cat_all(c, first, off, len);
	if (r == -ENOENT) /* the entry is there */
		r = -EBADMSG;
	return r;
}

int restore_cat(const struct remote_def *def, const struct remote_secret *secret, const char *path,
		uint64_t off, uint64_t len, int (*write)(void *arg, const void *buf, size_t len),
		void *arg, char error[LAYOUT_ERROR_MAX])
{
	CLEANUP_FREE char *at = origin_path(path);
	struct origin s = { .error = error };
	struct cat c = { .s = &s, .write = write, .arg = arg };
	struct layout_dir *up = NULL;
	const char *last;
	int r;

	error[0] = '\0';
	r = at ? origin_open(&s, def, secret) : -ENOMEM;
	if (r == 0) {
		r = origin_parent(&s, at, &up, &last);
		if (r == 0)
			r = *last ? cat_name(&c, up, at, last, off, len) : -EISDIR;
		r = tell(&s, r, at);
	}
	if (up)
		layout_dir_put(s.layout, up);
	manifest_entry_clear(&c.e);
	origin_close(&s);
	return r;
}
