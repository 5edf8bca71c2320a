/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A name comes to be: PUT, MOVE, COPY, MKDIR.
 *
 * Servers disagree on how they refuse: a missing collection is 409, 404, 403,
 * 400 or 500. So on any of these the collections are made, and the request is
 * repeated once; what still fails is looked at, to tell what is in the way.
 *
 * Some replace a whole collection by a file, some put the file into it. So what is
 * at the target is looked at before a MOVE or COPY, and nothing else is replaced.
 *
 * The client repeats a request whose connection died. A source that is gone or a
 * collection that is there already may be our own doing: looked at, too.
 */
#include "replica/remote/store_dav.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A body from here on is not sent on the chance that its collection is there. */
#define SURE_FIRST (64 << 10)

static bool is_ok(const struct work *w)
{
	return !w->req.err && w->req.status / 100 == 2;
}

/* ---- PUT, MOVE, COPY, MKDIR: a name comes to be ---- */

static int come_answer(struct work *w);

static int put_request(struct work *w)
{
	struct store_op *op = w->op;
	int err = store_request(w, "PUT", store_url(w->store, op->name, ""));

	if (!err)
		err = store_header(w, "Content-Type: application/octet-stream");
	if (!err && op->exclusive)
		err = store_header(w, "If-None-Match: *");
	store_body_op(w, 0, op->len);
	return err;
}

static int move_request(struct work *w)
{
	struct store_op *op = w->op;
	const char *tail = op->dir ? "/" : "";
	char *to = store_url(w->store, op->to, tail);
	int err = store_request(w, op->verb == STORE_MOVE ? "MOVE" : "COPY",
				store_url(w->store, op->name, tail));

	if (!err)
		err = to ? store_header(w, "Destination: %s", to) : -ENOMEM;
	if (!err)
		err = store_header(w, "Overwrite: %c", dav_of(w)->over ? 'T' : 'F');
	free(to);
	return err;
}

static int mkdir_request(struct work *w)
{
	return store_request(w, "MKCOL", store_url(w->store, w->op->name, "/"));
}

static int come_request(struct work *w)
{
	static int (*const requests[])(struct work *w) = {
		[STORE_PUT] = put_request, [STORE_MOVE] = move_request,
		[STORE_COPY] = move_request, [STORE_MKDIR] = mkdir_request,
	};
	int err = requests[w->op->verb](w);

	dav_of(w)->next = come_answer;
	return err ? err : STORE_MORE;
}

static int come_done(struct work *w)
{
	struct dav *d = dav_of(w);
	int err = store_judge(w);

	if (err)
		return err;
	if (w->req.status == 207)
		return store_fail(w, -ENOTSUP, "the server did only a part of it (HTTP 207)");
	if (w->op->verb == STORE_MOVE && w->op->dir)
		dav_forget_all(w);
	dav_set_known(w, d->target, dav_parent_len(d->target), true);
	if (w->op->verb == STORE_MKDIR)
		dav_set_known(w, w->op->name, strlen(w->op->name), true);
	return 0;
}

/* What the main request ended with, before it is looked into. */
static void note_main(struct work *w, int err)
{
	dav_of(w)->err = err;
	dav_of(w)->status = w->req.status;
}

/* ---- ... and what is in its way ---- */

static bool comes_from(const struct work *w)
{
	return w->op->verb == STORE_MOVE || w->op->verb == STORE_COPY;
}

/* The source is there or not: the last that is looked at. */
static int source_looked(struct work *w, int err)
{
	struct dav *d = dav_of(w);

	if (!err && d->kind == PROPFIND_MISSING)
		return store_fail(w, -ENOENT, "there is none");
	if (!err && (d->kind == PROPFIND_DIR) != w->op->dir)
		return store_fail(w, w->op->dir ? -ENOTDIR : -EISDIR, "it is %sa collection",
				  w->op->dir ? "not " : "");
	return d->err;
}

static int parent_looked(struct work *w, int err)
{
	struct dav *d = dav_of(w);

	if (!err && d->kind == PROPFIND_FILE)
		return store_fail(w, -ENOTDIR, "a file is where a collection should be");
	return comes_from(w) ? dav_look(w, w->op->name, false, source_looked) : d->err;
}

static int target_looked(struct work *w, int err)
{
	struct dav *d = dav_of(w);
	size_t n = dav_parent_len(d->target);

	if (!err && d->kind == PROPFIND_DIR && !w->op->dir && w->op->verb != STORE_MKDIR)
		return store_fail(w, -EISDIR, "a collection is in the way");
	if (!n)
		return parent_looked(w, -ENOENT);
	/* Shortened, as the name is needed no more. */
	free(d->full);
	d->full = strndup(d->target, n);
	return d->full ? dav_look(w, d->full, false, parent_looked) : -ENOMEM;
}

/* What was refused may be explained by what is there. */
static int explain(struct work *w)
{
	static const long explained[] = { 301, 302, 307, 308, 400, 403, 404, 405, 409, 500 };
	struct dav *d = dav_of(w);

	for (size_t i = 0; i < sizeof(explained) / sizeof(explained[0]); i++)
		if (w->req.status == explained[i]) {
			note_main(w, store_judge(w));
			return dav_look(w, d->target, false, target_looked);
		}
	return store_judge(w);
}

/* ---- ... and what it would replace ---- */

/*
 * Asked before each MOVE and COPY: the standard lets a collection be replaced by a
 * file, and lighttpd puts the file into it.
 */
static int over_go(struct work *w)
{
	/* A 404 would not tell what is missing, lighttpd's 207 not what was done. */
	return w->op->dir ? dav_make_above(w, come_request) : come_request(w);
}

/* rclone removes the target before it finds that there is no source. */
static int over_source_looked(struct work *w, int err)
{
	struct dav *d = dav_of(w);

	if (err)
		return err;
	if (d->kind == PROPFIND_MISSING)
		return store_fail(w, -ENOENT, "there is none");
	if ((d->kind == PROPFIND_DIR) != w->op->dir)
		return store_fail(w, w->op->dir ? -ENOTDIR : -EISDIR, "it is %sa collection",
				  w->op->dir ? "not " : "");
	d->over = true;
	return over_go(w);
}

static int over_looked(struct work *w, int err)
{
	struct dav *d = dav_of(w);
	long status = w->req.status;

	/* Below a file: the request itself will fail, and be explained. */
	if (err && !w->req.err && (status == 400 || status == 403 || status == 409))
		return over_go(w);
	if (err)
		return err;
	if (d->kind == PROPFIND_MISSING)
		return over_go(w);
	if (d->kind == PROPFIND_DIR && !w->op->dir)
		return store_fail(w, -EISDIR, "a collection is at %s", w->op->to);
	if (d->kind == PROPFIND_FILE && w->op->dir)
		return store_fail(w, -ENOTDIR, "a file is at %s", w->op->to);
	if (w->op->dir && propfind_members(d->look))
		return store_fail(w, -ENOTEMPTY, "a collection that is not empty is at %s",
				  w->op->to);
	return dav_look(w, w->op->name, false, over_source_looked);
}

/* The source is gone. After a repeat, the target there is ours. */
static int gone_looked(struct work *w, int err)
{
	struct dav *d = dav_of(w);
	struct store_found self;

	if (err)
		return err;
	if (d->kind == PROPFIND_MISSING || (d->kind == PROPFIND_DIR) != w->op->dir)
		return d->err;
	propfind_self(d->look, &self);
	w->op->size = self.size;
	if (w->op->dir)
		dav_forget_all(w);
	return 0;
}

/* 404: the source, or with nginx a collection of the target. */
static int which_looked(struct work *w, int err)
{
	struct dav *d = dav_of(w);

	if (err)
		return err;
	if (d->kind != PROPFIND_MISSING)
		return d->made ? dav_look(w, d->target, false, target_looked)
			       : dav_make_above(w, come_request);
	d->err = store_fail(w, -ENOENT, "there is none");
	if (d->repeated && w->op->verb == STORE_MOVE)
		return dav_look(w, w->op->to, false, gone_looked);
	return d->err;
}

/* MKCOL of what is there: 405, but also where the method is not allowed at all. */
static int dir_looked(struct work *w, int err)
{
	struct dav *d = dav_of(w);

	if (err)
		return d->err;
	if (d->kind == PROPFIND_FILE)
		return store_fail(w, -EEXIST, "a file is there");
	if (d->kind == PROPFIND_MISSING)
		return d->err;
	dav_set_known(w, w->op->name, strlen(w->op->name), true);
	return 0;
}

static int come_answer(struct work *w)
{
	struct dav *d = dav_of(w);
	long status = w->req.status;

	d->repeated |= w->req.reused;
	if (w->req.err || is_ok(w))
		return come_done(w);
	if (w->op->verb == STORE_MKDIR && (status == 405 || status == 301 || status == 400)) {
		note_main(w, store_judge(w));
		return dav_look(w, w->op->name, false, dir_looked);
	}
	if (status == 412 && comes_from(w) && !d->over)
		return dav_look(w, w->op->to, w->op->dir, over_looked);
	if (status == 412 && w->op->exclusive)
		return store_fail(w, -EEXIST, "there is one already");
	if (status == 404 && comes_from(w)) {
		note_main(w, store_judge(w));
		return dav_look(w, w->op->name, false, which_looked);
	}
	if (!d->made && (status == 403 || status == 404 || status == 409 || status == 500)) {
		dav_set_known(w, d->target, dav_parent_len(d->target), false);
		return dav_make_above(w, come_request);
	}
	return explain(w);
}

int dav_come_begin(struct work *w)
{
	struct dav *d = dav_of(w);
	struct store_op *op = w->op;

	d->target = comes_from(w) ? op->to : op->name;
	if (op->verb == STORE_COPY && op->dir)
		return store_fail(w, -ENOTSUP, "collections are not copied");
	if (op->verb == STORE_PUT && op->len >= SURE_FIRST &&
	    !dav_is_known(w, op->name, dav_parent_len(op->name)))
		return dav_make_above(w, come_request);
	if (comes_from(w))
		return dav_look(w, op->to, op->dir, over_looked);
	return come_request(w);
}
