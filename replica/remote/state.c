// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * `.mirrorfs/remote/<id>/state`: what the thread of a remote wants to know after
 * the next mount: the head it wrote last, what the probe found, what is not settled. JSON, on every
 * in-sync mirror. Losing it costs requests, nothing else.
 */
#include "replica/remote/remote_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/base/log.h"
#include "replica/ctlpath.h"

#define STATE_MAX (64u << 20)
#define STATE_UNSETTLED 20000  /* kept of what is not settled: the newest */

static void state_path(const struct remote *r, char out[64])
{
	snprintf(out, 64, "remote/%s/state", r->def.id);
}

static json_t *caps_json(const struct store_caps *c)
{
	return json_pack("{s:b, s:b, s:b, s:b, s:b, s:b, s:I}", "in_place", c->in_place,
			 "moves_dirs", c->moves_dirs, "copies", c->copies, "exclusive", c->exclusive,
			 "checks_content", c->checks_content, "folds_case", c->folds_case,
			 "body_max", (json_int_t)c->body_max);
}

static bool caps_parse(json_t *j, struct store_caps *c)
{
	int in_place, moves, copies, exclusive, checks, folds;
	json_int_t max;

	if (!j || json_unpack(j, "{s:b, s:b, s:b, s:b, s:b, s:b, s:I}", "in_place", &in_place,
			      "moves_dirs", &moves, "copies", &copies, "exclusive", &exclusive,
			      "checks_content", &checks, "folds_case", &folds, "body_max",
			      &max) < 0)
		return false;
	*c = (struct store_caps){ .in_place = in_place, .moves_dirs = moves, .copies = copies,
				  .exclusive = exclusive, .checks_content = checks,
				  .folds_case = folds, .body_max = (uint64_t)max };
	return true;
}

static json_t *text(const char *bytes)
{
	CLEANUP_FREE char *safe = ctlpath_escape(bytes);

	return safe ? json_string(safe) : NULL;
}

static json_t *unsettled_json(const struct settle_list *l)
{
	json_t *list = json_array();
	size_t from = l->n > STATE_UNSETTLED ? l->n - STATE_UNSETTLED : 0;

	for (size_t i = from; i < l->n; i++) {
		const struct settle_item *s = settle_at(l, i);

		json_array_append_new(list, json_pack("[o, I, I, o, o]", text(s->object),
						      (json_int_t)s->size, (json_int_t)s->due,
						      text(s->dir), text(s->name)));
	}
	return list;
}

static int unsettled_one(json_t *j, struct settle_list *l)
{
	const char *object, *dir, *name;
	json_int_t size, due;
	char *copy[3] = { NULL, NULL, NULL };
	int e = -EINVAL;

	if (json_unpack(j, "[s, I, I, s, s]", &object, &size, &due, &dir, &name) < 0)
		return e;
	copy[0] = strdup(object);
	copy[1] = strdup(dir);
	copy[2] = strdup(name);
	if (copy[0] && copy[1] && copy[2] && ctlpath_unescape(copy[0]) == 0 &&
	    ctlpath_unescape(copy[1]) == 0 && ctlpath_unescape(copy[2]) == 0)
		e = settle_add(l, copy[0], (uint64_t)size, due, copy[1], copy[2]);
	for (int i = 0; i < 3; i++)
		free(copy[i]);
	return e;
}

static json_t *newest(struct remote *r)
{
	char path[64];
	json_t *best = NULL;
	json_int_t best_head = -1;

	state_path(r, path);
	FOR_EACH_BIT(m, volume_in_sync(r->v)) {
		CLEANUP_FREE char *buf = NULL;
		size_t len;
		json_t *j;
		json_int_t head;

		if (io_read_file(r->v->m[m].dotfd, path, STATE_MAX, &buf, &len) < 0)
			continue;
		j = json_loadb(buf, len, 0, NULL);
		if (!j || json_unpack(j, "{s:I}", "head", &head) < 0 || head <= best_head) {
			json_decref(j);
			continue;
		}
		json_decref(best);
		best = j;
		best_head = head;
	}
	return best;
}

/* Torn or lost: then everything is compared. */
static uint64_t load_head(struct remote *r)
{
	uint64_t best = 0;
	char path[64];

	snprintf(path, sizeof(path), "remote/%s/head", r->def.id);
	FOR_EACH_BIT(m, volume_in_sync(r->v)) {
		CLEANUP_FREE char *buf = NULL;
		unsigned long long seq;
		size_t len;
		char end;

		if (io_read_file(r->v->m[m].dotfd, path, 64, &buf, &len) == 0 &&
		    sscanf(buf, "%20llu%c", &seq, &end) == 2 && end == '\n' && seq > best)
			best = seq;
	}
	return best;
}

void state_store_head(struct remote *r)
{
	char path[64], line[32];
	int len = snprintf(line, sizeof(line), "%llu\n", (unsigned long long)r->last_head);

	snprintf(path, sizeof(path), "remote/%s/head", r->def.id);
	FOR_EACH_BIT(m, volume_in_sync(r->v)) {
		/* Not synced: after a power cut an older number costs a look at everything. */
		CLEANUP_CLOSE int fd = openat(r->v->m[m].dotfd, path,
					      O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		int e = fd < 0 ? -errno : io_pwrite_full(fd, line, (size_t)len, 0, NULL);

		if (e == 0 && ftruncate(fd, len) < 0)
			e = -errno;
		if (e < 0)
			log_err(e, "%s/.mirrorfs/%s", volume_path(r->v, (int)m), path);
	}
}

int state_load(struct remote *r)
{
	json_t *j = newest(r), *item;
	const char *cursor;
	size_t i;

	r->last_head = load_head(r);
	if (!j)
		return -ENOENT;
	if (!r->probed)
		r->probed = caps_parse(json_object_get(j, "caps"), &r->caps);
	json_array_foreach(json_object_get(j, "unsettled"), i, item)
		if (unsettled_one(item, &r->unsettled) < 0)
			break;
	cursor = json_string_value(json_object_get(j, "scrub"));
	if (cursor)
		sweep_resume(r, cursor);
	json_decref(j);
	return 0;
}

int state_store(struct remote *r)
{
	json_t *j = json_pack("{s:I, s:o}", "head", (json_int_t)r->last_head, "unsettled",
			      unsettled_json(&r->unsettled));
	CLEANUP_FREE char *out = NULL;
	char path[64], cursor[LAYOUT_NAME_MAX];
	int e = -ENOMEM;

	r->stored_at = remote_now_ms();
	if (j && r->probed)
		json_object_set_new(j, "caps", caps_json(&r->caps));
	if (j && sweep_cursor(r, cursor))
		json_object_set_new(j, "scrub", text(cursor));
	if (j)
		out = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	if (!out)
		return e;
	state_path(r, path);
	e = 0;
	FOR_EACH_BIT(m, volume_in_sync(r->v)) {
		int one = io_replace_file(r->v->m[m].dotfd, path, out, strlen(out), 0600);

		if (one < 0)
			e = log_err(one, "%s/.mirrorfs/%s", volume_path(r->v, (int)m), path);
	}
	return e;
}
