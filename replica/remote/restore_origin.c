/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a restore, ls and cat read from: what to do about trouble, and what is
 * a good byte. Trouble that passes is waited for (full jitter, 1 s to
 * a minute) as long as patience lasts; each success begins it anew. No locks,
 * one thread.
 */
#include "replica/remote/restore_priv.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/file.h"
#include "replica/hash.h"

#define PATIENCE_S 300
#define WAIT_MOST_MS 60000
#define WAIT_STEP_MS 100

/* ---- trouble ---- */

enum trouble origin_trouble(int err)
{
	static const struct {
		int err;
		enum trouble trouble;
	} table[] = {
		{ -EAGAIN, TROUBLE_PASSES },
		{ -ENOSPC, TROUBLE_PASSES },
		{ -ETIMEDOUT, TROUBLE_PASSES },
		{ -ECONNRESET, TROUBLE_PASSES },
		{ -ECONNREFUSED, TROUBLE_PASSES },
		{ -EHOSTUNREACH, TROUBLE_PASSES },
		{ -EACCES, TROUBLE_PERSON },
		{ -EKEYREJECTED, TROUBLE_PERSON },
		{ -ENOTSUP, TROUBLE_PERSON },
		{ -EPROTONOSUPPORT, TROUBLE_PERSON },
		{ -ENOMEM, TROUBLE_PERSON },
		{ -ECANCELED, TROUBLE_PERSON },
		{ -EINTR, TROUBLE_PERSON },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].err == err)
			return table[i].trouble;
	return TROUBLE_OBJECT;
}

void origin_good(struct origin *s)
{
	retry_success(&s->retry);
	s->trouble_ms = s->again_ms = 0;
	s->waited = false;
}

int origin_bad(struct origin *s, int64_t retry_after, const char *line)
{
	int64_t now = clock_ms(), wait;
	uint64_t chance;

	if (now < s->again_ms) /* of the same wave */
		return 0;
	if (!s->trouble_ms)
		s->trouble_ms = now;
	if (now - s->trouble_ms >= s->patience_ms) {
		snprintf(s->error, LAYOUT_ERROR_MAX, "%.300s; the same command goes on later",
			 line);
		return -EAGAIN;
	}
	io_random(&chance, sizeof(chance));
	wait = retry_delay(&s->retry, -1, chance);
	if (wait > WAIT_MOST_MS)
		wait = 1 + (int64_t)(chance % WAIT_MOST_MS);
	if (retry_after * 1000 > wait)
		wait = retry_after * 1000;
	if (wait > s->trouble_ms + s->patience_ms - now)
		wait = s->trouble_ms + s->patience_ms - now;
	s->again_ms = now + wait;
	if (s->store)
		store_next_endpoint(s->store);
	if (s->content)
		store_next_endpoint(s->content);
	return 0;
}

static int wait_again(struct origin *s)
{
	int64_t left;
	int r = 0;

	while (r == 0 && (left = s->again_ms - clock_ms()) > 0) {
		int ms = left < WAIT_STEP_MS ? (int)left : WAIT_STEP_MS;

		if (s->idle)
			r = s->idle(s->arg, ms);
		else
			poll(NULL, 0, ms);
	}
	return r;
}

bool origin_again_for(struct origin *s, int *r, const char *line, int64_t retry_after)
{
	if (*r == 0 && s->waited) /* else it may have come from memory */
		origin_good(s);
	if (*r == 0 || origin_trouble(*r) != TROUBLE_PASSES)
		return false;
	s->waited = true;
	*r = origin_bad(s, retry_after, line);
	if (*r == 0)
		*r = wait_again(s);
	return *r == 0;
}

const char *origin_line(const struct origin *s, int err)
{
	const char *line = s->layout ? layout_error(s->layout) : "";

	return line[0] ? line : strerror(-err);
}

bool origin_again(struct origin *s, int *r)
{
	return origin_again_for(s, r, layout_error(s->layout), -1);
}

/* ---- opening ---- */

static bool never(void *arg)
{
	(void)arg;
	return false;
}

int origin_open(struct origin *s, const struct remote_def *def,
		const struct remote_secret *secret)
{
	const struct layout_options lo = { .stop = s->stop ? s->stop : never, .stop_arg = s->arg };
	char line[LAYOUT_ERROR_MAX] = "";
	int r;

	retry_init(&s->retry);
	if (!s->patience_ms)
		s->patience_ms = PATIENCE_S * 1000;
	r = store_open(def, secret, &s->store);
	if (r == 0)
		r = store_open(def, secret, &s->content);
	if (r < 0) {
		snprintf(s->error, LAYOUT_ERROR_MAX, "remote %s cannot be opened: %s", def->name,
			 strerror(-r));
		return r;
	}
	do
		r = layout_open(s->store, &lo, &s->layout, line);
	while (origin_again_for(s, &r, line, -1));
	if (r < 0 && r != -EAGAIN)
		snprintf(s->error, LAYOUT_ERROR_MAX, "%s", line[0] ? line : strerror(-r));
	return r;
}

void origin_close(struct origin *s)
{
	if (s->layout)
		layout_close(s->layout);
	store_close(s->content);
	store_close(s->store);
	s->layout = NULL;
	s->content = s->store = NULL;
}

/* ---- the layout, with patience ---- */

int origin_dir(struct origin *s, struct layout_dir *d, const char *name, struct layout_dir **out)
{
	int r;

	do
		r = layout_dir_open(s->layout, d, name, out);
	while (origin_again(s, &r));
	return r;
}

/* Of a name that is one of several, all but the name is told elsewhere. */
static int merge_inode(struct origin *s, struct manifest_entry *e)
{
	const struct manifest_entry *inode;
	struct manifest_entry whole = { 0 };
	char *name;
	int r;

	do
		r = layout_inode(s->layout, e, &inode);
	while (origin_again(s, &r));
	if (r == 0 && (inode->type != e->type || inode->id != e->id))
		r = -EBADMSG;
	if (r == 0)
		r = manifest_entry_copy(&whole, inode);
	if (r < 0)
		return r;
	name = whole.name;
	whole.name = e->name;
	e->name = name;
	manifest_entry_clear(e);
	*e = whole;
	return 0;
}

int origin_entry(struct origin *s, struct layout_dir *d, const char *name,
		 struct manifest_entry *e, bool *link)
{
	const struct manifest_entry *found;
	int r;

	memset(e, 0, sizeof(*e));
	do
		r = layout_find(s->layout, d, name, &found);
	while (origin_again(s, &r));
	if (r == 0)
		r = manifest_entry_copy(e, found);
	*link = r == 0 && e->link;
	if (*link)
		r = merge_inode(s, e);
	if (r < 0)
		manifest_entry_clear(e);
	return r;
}

int origin_each(struct origin *s, struct layout_dir *d,
		int (*fn)(const struct manifest_entry *e, void *arg), void *arg,
		void (*restart)(void *arg))
{
	int r;

	do {
		restart(arg);
		r = layout_each(s->layout, d, fn, arg);
	} while (origin_again(s, &r));
	return r;
}

void origin_object(struct origin *s, struct layout_dir *d, const struct manifest_entry *e,
		   bool link, char out[LAYOUT_NAME_MAX])
{
	struct layout_dir *links = link ? layout_links(s->layout) : NULL;

	layout_content(s->layout, links ? links : d, e, out);
	if (links)
		layout_dir_put(s->layout, links);
}

int origin_leaves(struct origin *s, const struct manifest_entry *e, uint64_t **hash)
{
	int r;

	*hash = NULL;
	if (e->size <= SMALL_MAX || !e->leaves.seq)
		return 0;
	do
		r = layout_leaves(s->layout, e, hash);
	while (origin_again(s, &r));
	if (r < 0)
		*hash = NULL;
	return r < 0 && (r == -EAGAIN || origin_trouble(r) == TROUBLE_PERSON) ? r : 0;
}

char *origin_path(const char *path)
{
	size_t len;
	char *out;

	path += strspn(path, "/");
	while (path[0] == '.' && (path[1] == '/' || !path[1]))
		path += 1 + strspn(path + 1, "/");
	len = strlen(path);
	while (len && path[len - 1] == '/')
		len--;
	out = strndup(path, len);
	return out;
}

int origin_parent(struct origin *s, const char *path, struct layout_dir **dir,
		       const char **last)
{
	const char *slash = strrchr(path, '/');
	CLEANUP_FREE char *up = strndup(path, slash ? (size_t)(slash - path) : 0);
	int r;

	if (!up)
		return -ENOMEM;
	*last = slash ? slash + 1 : path;
	do
		r = layout_dir_resolve(s->layout, up, dir);
	while (origin_again(s, &r));
	return r;
}

/* ---- good bytes ---- */

uint64_t content_check(uint64_t id, uint64_t first, const uint8_t *buf, size_t len,
		       uint64_t *hash, bool known, uint64_t *bad)
{
	uint64_t n = (len + LEAF_SIZE - 1) / LEAF_SIZE, good = n;

	*bad = 0;
	for (uint64_t i = 0; i < n; i++) {
		size_t at = (size_t)i * LEAF_SIZE;
		uint64_t h = hash_leaf(id, first + i, buf + at,
				       len - at < LEAF_SIZE ? len - at : LEAF_SIZE);

		if (!known) {
			hash[first + i] = h;
		} else if (hash[first + i] != h) {
			if (!*bad)
				good = i;
			++*bad;
		} else if (*bad) {
			break;
		}
	}
	return good;
}

uint64_t content_sum(const uint64_t *hash, uint64_t n)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n; i++)
		sum += hash[i];
	return sum;
}
