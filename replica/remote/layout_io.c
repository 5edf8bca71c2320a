// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Requests of the layout: many under way, each a job with an end of its own; and
 * our own small objects, read and written one by one. While anything waits, the
 * caller is asked whether to stop, five times a second.
 *
 * Of one thread, as all of the layout.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int layout_failed(struct layout *l, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(l->error, sizeof(l->error), fmt, ap);
	va_end(ap);
	return err;
}

int layout_op_failed(struct layout *l, const struct store_op *op)
{
	if (*op->error)
		return layout_failed(l, op->result, "%s", op->error);
	return layout_failed(l, op->result, "%s: %s", op->name, strerror(-op->result));
}

int64_t layout_now(void)
{
	return (int64_t)time(NULL);
}

bool layout_stopping(struct layout *l)
{
	return l->stop && l->stop(l->stop_arg);
}

void layout_trouble(struct layout *l, int err, const char *text)
{
	if (l->trouble)
		return;
	l->trouble = err;
	snprintf(l->trouble_text, sizeof(l->trouble_text), "%s", text);
}

bool layout_is_transport(int err)
{
	static const int list[] = { -EAGAIN, -ENOSPC, -EACCES, -EKEYREJECTED, -ECANCELED, -EPROTO,
				    -ENOMEM, -ENOENT, -EIO, -ETIMEDOUT, -ECONNRESET };
	unsigned i;

	for (i = 0; i < sizeof(list) / sizeof(*list); i++)
		if (list[i] == err)
			return true;
	return false;
}

/* ---- jobs ---- */

static void job_end(struct layout *l, struct job *j)
{
	int result = j->op.result;

	l->running--;
	j->finished = true;
	if (l->run && l->run->parallel)
		l->allowed = l->run->parallel(l->run->arg, result);
	if (!l->allowed)
		l->allowed = 1;
	if (j->done)
		j->done(l, j);
}

void job_start(struct layout *l, struct job *j)
{
	int err;

	j->finished = false;
	j->op.user = j;
	l->running++;
	err = layout_stopping(l) ? -ECANCELED : store_submit(l->store, &j->op);
	if (!err)
		return;
	j->op.result = err;
	if (!*j->op.error)
		snprintf(j->op.error, sizeof(j->op.error), "%s: %s", j->op.name, strerror(-err));
	job_end(l, j);
}

void job_pump(struct layout *l)
{
	struct store_op *op;

	if (!l->cancelled && layout_stopping(l)) {
		store_cancel_all(l->store);
		l->cancelled = true;
	}
	op = store_next(l->store, LAYOUT_SLICE_MS);
	if (op)
		job_end(l, op->user);
	if (!l->running)
		l->cancelled = false;
}

int job_run(struct layout *l, struct job *j)
{
	job_start(l, j);
	while (!j->finished)
		job_pump(l);
	return j->op.result;
}

void job_room(struct layout *l)
{
	while (l->running && l->running >= l->allowed)
		job_pump(l);
}

void job_drain(struct layout *l)
{
	while (l->running)
		job_pump(l);
}

/* ---- our own objects ---- */

struct body {
	char *data;
	size_t len, room;
};

static int body_add(void *arg, const void *buf, size_t len)
{
	struct body *b = arg;
	size_t room = b->room ? b->room : 4096;
	char *data;

	if (len > LAYOUT_OBJECT_MAX - b->len)
		return -EFBIG;
	while (room < b->len + len + 1)
		room *= 2;
	if (room != b->room) {
		data = realloc(b->data, room);
		if (!data)
			return -ENOMEM;
		b->data = data;
		b->room = room;
	}
	memcpy(b->data + b->len, buf, len);
	b->len += len;
	b->data[b->len] = '\0';
	return 0;
}

int object_get(struct layout *l, const char *name, char **data, size_t *len)
{
	struct body b = { 0 };
	struct job j = { .op = { .verb = STORE_GET, .name = name, .write = body_add,
				 .write_arg = &b } };
	int err = body_add(&b, "", 0);

	if (!err)
		err = job_run(l, &j);
	if (err) {
		free(b.data);
		return err == -ENOMEM ? err : layout_op_failed(l, &j.op);
	}
	*data = b.data;
	*len = b.len;
	return 0;
}

int object_load(struct layout *l, const char *name, object_decoder *decode, void *arg)
{
	char error[200] = "", *text;
	size_t len;
	int err = -EBADMSG;

	for (unsigned i = 0; i < LAYOUT_TRIES && err == -EBADMSG; i++) {
		err = object_get(l, name, &text, &len);
		if (err)
			return err;
		*error = '\0';
		err = decode(arg, text, len, error, sizeof(error));
		free(text);
	}
	return err ? layout_failed(l, err, "%s: %s", name, *error ? error : strerror(-err)) : 0;
}

int object_head(struct layout *l, const char *name, uint64_t *size)
{
	struct job j = { .op = { .verb = STORE_HEAD, .name = name } };
	int err = job_run(l, &j);

	*size = j.op.size;
	return err ? layout_op_failed(l, &j.op) : 0;
}

static int send(struct layout *l, const char *name, const char *data, size_t len, bool aside)
{
	char beside[OBJECT_NAME_MAX];
	struct job put = { .op = { .verb = STORE_PUT, .name = name, .data = data, .len = len } };
	struct job move = { .op = { .verb = STORE_MOVE, .name = beside, .to = name } };
	int err;

	if (aside) {
		object_name_aside(beside, 0, ref_next(l));
		put.op.name = beside;
	}
	err = job_run(l, &put);
	if (err)
		return layout_op_failed(l, &put.op);
	err = aside ? job_run(l, &move) : 0;
	return err ? layout_op_failed(l, &move.op) : 0;
}

int object_put(struct layout *l, const char *name, const char *data, size_t len, bool replaces)
{
	bool aside = replaces && store_caps(l->store)->in_place;
	uint64_t size;
	unsigned i;
	int err;

	for (i = 0; i < LAYOUT_TRIES; i++) {
		err = send(l, name, data, len, aside);
		if (err == -ENOENT && aside) /* to be moved, and not there */
			continue;
		if (err)
			return err;
		err = object_head(l, name, &size);
		if (!err && (size == len || size == UINT64_MAX))
			return 0;
		if (err && err != -ENOENT)
			return err;
	}
	return layout_failed(l, -EAGAIN,
			     "%s: the server says that it is stored, and has not got it", name);
}

/* ---- lists ---- */

int names_add(struct names *n, const char *name)
{
	size_t room = n->room ? 2 * n->room : 16;
	char **list;

	if (n->n == n->room) {
		list = realloc(n->name, room * sizeof(*list));
		if (!list)
			return -ENOMEM;
		n->name = list;
		n->room = room;
	}
	n->name[n->n] = strdup(name);
	return n->name[n->n] ? (n->n++, 0) : -ENOMEM;
}

void names_clear(struct names *n)
{
	size_t i;

	for (i = 0; i < n->n; i++)
		free(n->name[i]);
	free(n->name);
	*n = (struct names){ 0 };
}

#define LIST_MAX 100000u

static int list_found(void *arg, const struct store_found *f)
{
	struct names *out = arg;

	return out->n < LIST_MAX ? names_add(out, f->name) : -EFBIG;
}

static int list_marked(void *arg, const struct store_found *f)
{
	struct names *out = arg;
	char name[LAYOUT_NAME_MAX];

	snprintf(name, sizeof(name), "%s%s", f->name, f->dir ? "/" : "");
	return out->n < LIST_MAX ? names_add(out, name) : -EFBIG;
}

int object_list(struct layout *l, const char *folder, bool mark, struct names *out)
{
	struct job j = { .op = { .verb = STORE_LIST, .name = folder, .found_arg = out,
				 .found = mark ? list_marked : list_found } };
	int err = job_run(l, &j);

	if (!err || err == -ENOENT)
		return 0;
	names_clear(out);
	return layout_op_failed(l, &j.op);
}
