// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The slow scrub of a remote: every object is fetched and its content compared
 * with the hash that the manifest has, within a budget of bytes a day, a piece at a
 * time, only while there is nothing else to do. What is missing or wrong is sent again.
 *
 * The place is kept as a path, so that it goes on after a break; what changes
 * meanwhile is of no matter: it was looked at when it was stored.
 */
#include "replica/remote/remote_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/log.h"
#include "replica/hash.h"
#include "replica/object.h"

#define PIECE (16u << 20)
#define SAVED_MOST (256u << 20)  /* budget that idle time may save up */
#define REQUEST_COST 4096        /* an object costs a request, too */
#define FRAMES_MAX 512
#define BREAK_MS (24 * 3600 * 1000ll) /* between two sweeps, if the budget allows more */

struct frame {
	struct layout_dir *dir;
	char **name;
	size_t n, at;
};

struct sweep {
	struct layout *layout;       /* frames belong to it */
	struct frame frame[FRAMES_MAX];
	unsigned depth;
	char cursor[LAYOUT_NAME_MAX]; /* the last one that was done; "" the beginning */
	int64_t budget, at;          /* bytes; when it was last added to, ms */
	int64_t not_before;
	uint64_t files, bad;         /* of this sweep */

	/* the file that is being read */
	bool reading;
	char name[NAME_MAX_LEN + 1];
	char object[LAYOUT_NAME_MAX];
	uint64_t id, size, root, off, sum, leaf;
	uint8_t part[LEAF_SIZE];
	size_t n_part;
};

static struct sweep *get(struct remote *r)
{
	if (!r->sweep)
		r->sweep = calloc(1, sizeof(*r->sweep));
	return r->sweep;
}

static void frame_clear(struct sweep *s, struct frame *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->name[i]);
	free(f->name);
	layout_dir_put(s->layout, f->dir);
	memset(f, 0, sizeof(*f));
}

static void forget(struct sweep *s)
{
	while (s->depth)
		frame_clear(s, &s->frame[--s->depth]);
	s->reading = false;
	s->layout = NULL;
}

/* Called before the layout is closed, too: frames hold its directories. */
void sweep_leave(struct remote *r)
{
	if (r->sweep)
		forget(r->sweep);
}

void sweep_free(struct remote *r)
{
	sweep_leave(r);
	free(r->sweep);
	r->sweep = NULL;
}

void sweep_resume(struct remote *r, const char *cursor)
{
	struct sweep *s = get(r);

	if (s)
		snprintf(s->cursor, sizeof(s->cursor), "%s", cursor);
}

bool sweep_cursor(struct remote *r, char out[LAYOUT_NAME_MAX])
{
	if (!r->sweep || !*r->sweep->cursor)
		return false;
	memcpy(out, r->sweep->cursor, LAYOUT_NAME_MAX);
	return true;
}

/* ---- the way through the tree ---- */

static int collect(const struct manifest_entry *e, void *arg)
{
	struct frame *f = arg;
	char **name = f->n & (f->n - 1) ? f->name :
		realloc(f->name, (f->n ? 2 * f->n : 1) * sizeof(*name));

	if (!name)
		return -ENOMEM;
	f->name = name;
	f->name[f->n] = strdup(e->name);
	return f->name[f->n++] ? 0 : -ENOMEM;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Takes over d. */
static int enter(struct sweep *s, struct layout_dir *d)
{
	struct frame *f = &s->frame[s->depth];
	int r;

	if (s->depth == FRAMES_MAX) {
		layout_dir_put(s->layout, d);
		return 0; /* deeper than anybody goes */
	}
	f->dir = d;
	r = layout_each(s->layout, d, collect, f);
	if (r < 0) {
		frame_clear(s, f);
		return r;
	}
	qsort(f->name, f->n, sizeof(*f->name), by_text);
	s->depth++;
	return 0;
}

/* Down to where the cursor is: what comes before it was done. */
static int descend(struct sweep *s)
{
	const char *rest = s->cursor;
	int r = enter(s, layout_root(s->layout));

	while (r == 0 && *rest) {
		struct frame *f = &s->frame[s->depth - 1];
		size_t len = strcspn(rest, "/");
		char part[NAME_MAX_LEN + 1];
		struct layout_dir *d;

		if (len > NAME_MAX_LEN)
			return 0;
		memcpy(part, rest, len);
		part[len] = '\0';
		while (f->at < f->n && strcmp(f->name[f->at], part) < 0)
			f->at++;
		rest += len + (rest[len] == '/');
		if (f->at == f->n || strcmp(f->name[f->at], part) != 0)
			return 0;
		f->at++;
		if (layout_dir_open(s->layout, f->dir, part, &d) < 0)
			return 0;
		r = enter(s, d);
	}
	return r;
}

static int begin_file(struct sweep *s, struct layout_dir *d, const struct manifest_entry *e)
{
	const struct manifest_entry *inode = e;
	struct layout_dir *links = NULL;
	int r = 0;

	snprintf(s->name, sizeof(s->name), "%s", e->name);
	if (e->link) {
		links = layout_links(s->layout);
		r = layout_inode(s->layout, e, &inode);
	}
	if (r == 0) {
		layout_content(s->layout, links ? links : d, inode, s->object);
		s->id = inode->id;
		s->size = inode->size;
		s->root = inode->root;
		s->off = s->sum = s->leaf = s->n_part = 0;
		s->reading = true;
	}
	if (links)
		layout_dir_put(s->layout, links);
	return r == -ENOENT ? 0 : r;
}

/* The next file, or the end (1). A directory that cannot be read is told and passed. */
static int next_file(struct remote *r, struct sweep *s)
{
	while (s->depth) {
		struct frame *f = &s->frame[s->depth - 1];
		const struct manifest_entry *e;
		struct layout_dir *d;
		int err;

		if (f->at == f->n) {
			frame_clear(s, f);
			s->depth--;
			continue;
		}
		err = layout_find(s->layout, f->dir, f->name[f->at], &e);
		if (err < 0 && err != -ENOENT && err != -EBADMSG)
			return err;
		f->at++;
		if (err < 0)
			continue;
		if (e->type == TYPE_OF(S_IFREG))
			return begin_file(s, f->dir, e);
		if (e->type != TYPE_OF(S_IFDIR))
			continue;
		err = layout_dir_open(s->layout, f->dir, f->name[f->at - 1], &d);
		if (err == 0)
			return enter(s, d);
		remote_note_error(r, "%s", layout_error(s->layout));
		if (err != -EBADMSG && err != -ENOENT)
			return err;
		/* The round that looks at it sends it anew. */
		ledger_mark_dir(r->ledger, ROOT_ID, "", MARK_BELOW);
	}
	return 1;
}

/* ---- one file ---- */

static int hash_piece(void *arg, const void *buf, size_t len)
{
	struct sweep *s = arg;
	const uint8_t *p = buf;

	while (len) {
		size_t n = LEAF_SIZE - s->n_part < len ? LEAF_SIZE - s->n_part : len;

		memcpy(s->part + s->n_part, p, n);
		s->n_part += n;
		p += n;
		len -= n;
		if (s->n_part == LEAF_SIZE) {
			s->sum += hash_leaf(s->id, s->leaf++, s->part, LEAF_SIZE);
			s->n_part = 0;
		}
	}
	return 0;
}

/* The content of one of several names is that of the inode. */
static int spoil(struct sweep *s, struct layout_dir *d)
{
	struct layout_dir *links;
	const struct manifest_entry *e;
	char hex[17];
	int r = layout_find(s->layout, d, s->name, &e);

	if (r < 0 || !e->link)
		return r < 0 ? r : layout_spoil(s->layout, d, s->name);
	snprintf(hex, sizeof(hex), "%016" PRIx64, e->id);
	links = layout_links(s->layout);
	r = layout_spoil(s->layout, links, hex);
	layout_dir_put(s->layout, links);
	return r;
}

/* It was replaced while it was read. */
static bool is_other(struct sweep *s, struct layout_dir *d)
{
	const struct manifest_entry *e;

	if (layout_find(s->layout, d, s->name, &e) < 0)
		return true;
	if (e->link && layout_inode(s->layout, e, &e) < 0)
		return true;
	return e->id != s->id || e->size != s->size || e->root != s->root;
}

static void done(struct remote *r, struct sweep *s, const char *wrong)
{
	struct frame *f = &s->frame[s->depth - 1];
	char path[LAYOUT_NAME_MAX];

	s->reading = false;
	s->files++;
	layout_dir_path(f->dir, path, sizeof(path));
	snprintf(s->cursor, sizeof(s->cursor), "%.4000s%s%s", path, *path ? "/" : "", s->name);
	if (!wrong || is_other(s, f->dir))
		return;
	s->bad++;
	remote_note_error(r, "%s: the scrub found that %s: sent again", s->cursor, wrong);
	if (spoil(s, f->dir) == 0)
		ledger_mark_entry(r->ledger, layout_dir_id(f->dir), path, s->name);
	pthread_mutex_lock(&r->lock);
	r->mended++;
	pthread_mutex_unlock(&r->lock);
}

static int read_piece(struct remote *r, struct sweep *s)
{
	uint64_t left = s->size - s->off, len = left < PIECE ? left : PIECE;
	uint64_t sum = s->sum, leaf = s->leaf;
	struct store_op op = { .verb = STORE_GET, .name = s->object, .off = s->off, .len = len,
			       .write = hash_piece, .write_arg = s };
	int e = 0;

	if (len)
		e = store_run(r->store, &op);
	s->budget -= (int64_t)len + REQUEST_COST;
	if (e == -ECANCELED) { /* the piece is read again from its beginning, that of a leaf */
		s->sum = sum;
		s->leaf = leaf;
		s->n_part = 0;
		return e;
	}
	if (e == -ENOENT) {
		done(r, s, "it is missing");
		return 0;
	}
	if (e == -EPROTO || (e == 0 && op.size != UINT64_MAX && op.size != s->size && len)) {
		done(r, s, "it has another size");
		return 0;
	}
	if (e < 0)
		return e;
	s->off += len;
	if (s->off < s->size)
		return 0;
	if (s->n_part)
		s->sum += hash_leaf(s->id, s->leaf, s->part, s->n_part);
	done(r, s, s->sum == s->root ? NULL : "its content is not what was stored");
	return 0;
}

/* ---- a little at a time ---- */

static bool may_go(struct remote *r, struct sweep *s)
{
	int64_t now = remote_now_ms();

	if (!s->at)
		s->at = now;
	s->budget += (int64_t)((double)(now - s->at) * (double)r->def.scrub_bytes / 86400e3);
	if (s->budget > (int64_t)SAVED_MOST)
		s->budget = SAVED_MOST;
	s->at = now;
	return s->budget > 0 && now >= s->not_before;
}

static void tell(struct remote *r, const struct sweep *s)
{
	pthread_mutex_lock(&r->lock);
	snprintf(r->scrub, sizeof(r->scrub), "%llu files, %llu bad, at %.24s",
		 (unsigned long long)s->files, (unsigned long long)s->bad, s->cursor);
	pthread_mutex_unlock(&r->lock);
}

static void finish(struct remote *r, struct sweep *s)
{
	log_info("remote %s: scrub done: %llu files, %llu bad", r->def.name,
		 (unsigned long long)s->files, (unsigned long long)s->bad);
	forget(s);
	*s->cursor = '\0';
	s->files = s->bad = 0;
	s->not_before = remote_now_ms() + BREAK_MS;
}

bool sweep_step(struct remote *r)
{
	struct sweep *s = get(r);
	int e = 0;

	if (!s || !r->def.scrub_bytes || !may_go(r, s))
		return false;
	if (s->layout != r->layout) {
		forget(s);
		s->layout = r->layout;
	}
	if (!s->depth)
		e = descend(s);
	if (e == 0 && s->reading)
		e = read_piece(r, s);
	else if (e == 0)
		e = next_file(r, s);
	tell(r, s);
	if (e == 1) {
		finish(r, s);
		return false;
	}
	if (e == -ECANCELED) {
		if (!s->reading)
			forget(s);
		return false;
	}
	if (e < 0) { /* left for now: a round is better at trouble */
		forget(s);
		s->not_before = remote_now_ms() + 60000;
		return false;
	}
	return true;
}
