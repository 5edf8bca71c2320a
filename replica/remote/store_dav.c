/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The WebDAV dialect: GET, HEAD, DELETE, LIST, and looking at what is there. What
 * makes a name is in store_dav_come.c. Some servers delete a whole collection where a
 * file was named: nothing is deleted unseen.
 */
#include "replica/remote/store_dav.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- looking ---- */

static int look_answer(struct work *w);

static int look_request(struct work *w)
{
	struct dav *d = dav_of(w);
	bool list = w->op->verb == STORE_LIST;
	int err;

	propfind_free(d->look);
	d->look = NULL;
	/* Without its slash it can only be a file: nothing is found below. */
	err = propfind_request(w, d->look_name, d->look_slash, d->look_members && d->look_slash,
			       list ? w->op->found : NULL, w->op->found_arg, &d->look);
	d->next = look_answer;
	return err ? err : STORE_MORE;
}

/* What is at name, and how much below it; then looked() has d->kind, or an error. */
int dav_look(struct work *w, const char *name, bool members,
		int (*looked)(struct work *w, int err))
{
	struct dav *d = dav_of(w);

	d->look_name = name;
	d->look_members = members;
	d->look_slash = members;
	d->look_turned = false;
	d->looked = looked;
	return look_request(w);
}

static int look_answer(struct work *w)
{
	struct dav *d = dav_of(w);
	char line[STORE_ERROR_MAX];
	long status = w->req.status;
	int err;

	/* Some redirect to a collection's slash, some refuse a file with one. */
	if (!w->req.err && !d->look_turned &&
	    (d->look_slash ? status == 400 || status == 403 : status / 100 == 3)) {
		d->look_turned = true;
		d->look_slash = !d->look_slash;
		return look_request(w);
	}
	/* The line of the request that is looked into stays. */
	memcpy(line, w->op->error, sizeof(line));
	err = propfind_end(w, d->look, &d->kind);
	if (d->err)
		memcpy(w->op->error, line, sizeof(line));
	return d->looked(w, err);
}

/* ---- GET, HEAD ---- */

static int is_collection(struct work *w, int err)
{
	struct dav *d = dav_of(w);

	if (!err && d->kind == PROPFIND_DIR)
		return store_fail(w, -EISDIR, "it is a collection");
	return d->err;
}

static int size_looked(struct work *w, int err)
{
	struct dav *d = dav_of(w);
	struct store_found self;

	if (err)
		return err;
	if (d->kind == PROPFIND_DIR)
		return store_fail(w, -EISDIR, "it is a collection");
	if (d->kind == PROPFIND_MISSING)
		return store_fail(w, -ENOENT, "there is none");
	propfind_self(d->look, &self);
	w->op->size = self.size;
	return 0;
}

static int get_answer(struct work *w)
{
	struct dav *d = dav_of(w);
	int err = w->op->verb == STORE_GET ? store_get_end(w) : store_head_end(w);

	/* Apache does not tell that it is empty. */
	if (!err && w->op->verb == STORE_HEAD && w->op->size == UINT64_MAX)
		return dav_look(w, w->op->name, false, size_looked);
	if (!err || w->req.err || w->req.status / 100 != 3)
		return err;
	d->err = err;
	d->status = w->req.status;
	return dav_look(w, w->op->name, false, is_collection);
}

static int get_begin(struct work *w)
{
	bool get = w->op->verb == STORE_GET;
	int err = store_request(w, get ? "GET" : "HEAD", store_url(w->store, w->op->name, ""));

	if (!err && get)
		err = store_get_begin(w);
	dav_of(w)->next = get_answer;
	return err ? err : STORE_MORE;
}

static int is_dir(struct work *w, int err)
{
	struct dav *d = dav_of(w);

	if (err)
		return err;
	if (d->kind == PROPFIND_MISSING)
		return store_fail(w, -ENOENT, "there is none");
	return d->kind == PROPFIND_DIR ? 0 : store_fail(w, -ENOTDIR, "it is not a collection");
}

static int head_begin(struct work *w)
{
	return w->op->dir ? dav_look(w, w->op->name, false, is_dir) : get_begin(w);
}

/* ---- DELETE ---- */

static int delete_answer(struct work *w)
{
	int err;

	if (!w->req.err && (w->req.status == 404 || w->req.status == 410))
		return 0;
	err = store_judge(w);
	if (!err && w->req.status == 207)
		err = store_fail(w, -ENOTSUP, "the server did only a part of it (HTTP 207)");
	return err;
}

static int delete_looked(struct work *w, int err)
{
	struct dav *d = dav_of(w);
	struct store_op *op = w->op;

	if (err || d->kind == PROPFIND_MISSING)
		return err;
	if (d->kind == PROPFIND_DIR && !op->dir)
		return store_fail(w, -EISDIR, "it is a collection");
	if (d->kind == PROPFIND_FILE && op->dir)
		return store_fail(w, -ENOTDIR, "it is not a collection");
	if (propfind_members(d->look))
		return store_fail(w, -ENOTEMPTY, "the collection is not empty");
	if (op->dir)
		dav_set_known(w, op->name, strlen(op->name), false);
	err = store_request(w, "DELETE", store_url(w->store, op->name, op->dir ? "/" : ""));
	d->next = delete_answer;
	return err ? err : STORE_MORE;
}

static int delete_begin(struct work *w)
{
	return dav_look(w, w->op->name, w->op->dir, delete_looked);
}

/* ---- LIST ---- */

static int list_begin(struct work *w)
{
	return dav_look(w, w->op->name, true, is_dir);
}

/* ---- the dialect ---- */

static int dav_begin(struct work *w)
{
	static int (*const begins[])(struct work *w) = {
		[STORE_PUT] = dav_come_begin, [STORE_GET] = get_begin, [STORE_HEAD] = head_begin,
		[STORE_DELETE] = delete_begin, [STORE_MOVE] = dav_come_begin,
		[STORE_COPY] = dav_come_begin, [STORE_MKDIR] = dav_come_begin, [STORE_LIST] = list_begin,
	};

	w->state = calloc(1, sizeof(struct dav));
	return w->state ? begins[w->op->verb](w) : -ENOMEM;
}

static int dav_answer(struct work *w)
{
	return dav_of(w)->next(w);
}

static void dav_end(struct work *w)
{
	struct dav *d = dav_of(w);

	if (!d)
		return;
	/* Not that of a look into it. */
	if (d->status && w->op->result < 0)
		w->op->status = d->status;
	propfind_free(d->look);
	free(d->full);
	free(d);
}

static void dav_close(struct store *s)
{
	free(s->state);
}

const struct dialect dialect_webdav = {
	.name = "WebDAV",
	.open = dav_known_open,
	.close = dav_close,
	.begin = dav_begin,
	.answer = dav_answer,
	.end = dav_end,
};
