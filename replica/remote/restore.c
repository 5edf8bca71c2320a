/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The walk of a restore: directory by directory, the files of one before what
 * is below it. Of a directory only the names are kept while it is at hand; each
 * entry is looked up when its turn comes. Names and ids are those of a server:
 * what could lead out of the new mirror, or into its own folder, lacks. No locks.
 */
#include "replica/remote/restore.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/file.h"
#include "replica/remote/restore_priv.h"
#include "replica/tree.h"

#define TELL_MS 100
#define FRESH_ID (1ull << 56)

struct names {
	char *text;                /* each with its zero */
	size_t used, size, at;
};

struct frame {
	struct place *place;
	struct layout_dir *d;
	struct names dirs;         /* still to be gone into */
};

struct walk {
	struct run *r;
	struct frame *frame;
	size_t depth, cap;
};

/* ---- how it goes ---- */

int run_fatal(struct run *r, int err, const char *fmt, ...)
{
	va_list ap;

	if (r->fatal)
		return r->fatal;
	va_start(ap, fmt);
	vsnprintf(r->error, LAYOUT_ERROR_MAX, fmt, ap);
	va_end(ap);
	return r->fatal = err;
}

int run_trouble(struct run *r, int err)
{
	if (!r->fatal && err == -EAGAIN && r->error[0])
		r->fatal = err; /* said by origin_bad */
	return run_fatal(r, err, "%s", origin_line(&r->from, err));
}

void run_lacks(struct run *r, const struct place *p, const char *name, const char *fmt, ...)
{
	CLEANUP_FREE char *path = place_path(p, name);
	char what[LAYOUT_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	r->st->lacking++;
	if (r->o->lacking)
		r->o->lacking(path ? path : name ? name : "", what, r->o->arg);
}

void run_failed(struct run *r, const struct place *p, const char *name, int err, const char *what)
{
	static const int all[] = { -ENOSPC, -EDQUOT, -EIO, -EROFS, -ENOMEM, -EMFILE, -ENFILE };
	CLEANUP_FREE char *path = place_path(p, name);
	char line[LAYOUT_ERROR_MAX];

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (err == all[i]) {
			run_fatal(r, err, "%s/%s: %s", r->dir, path ? path : "", strerror(-err));
			return;
		}
	if (r->fatal)
		return;
	snprintf(line, sizeof(line), "cannot be stored here: %s%s%s", what ? what : "",
		 what ? ": " : "", strerror(-err));
	r->st->failed++;
	if (r->o->lacking)
		r->o->lacking(path ? path : "", line, r->o->arg);
}

void run_tell(struct run *r, const struct place *p, const char *name)
{
	CLEANUP_FREE char *path = NULL;
	int64_t now;

	if (!r->o->progress || r->fatal)
		return;
	now = clock_ms();
	if (now - r->told_ms < TELL_MS)
		return;
	r->told_ms = now;
	path = p ? place_path(p, name) : NULL;
	if (r->o->progress(r->st, path ? path : "", r->o->arg))
		run_fatal(r, -EINTR, "interrupted; the same command goes on");
}

/* From a range that ids given out one by one do not reach; one met later finds it taken. */
static uint64_t fresh_id(struct run *r)
{
	uint64_t id, seen;

	do {
		io_random(&id, sizeof(id));
		id = (id & (FRESH_ID - 1)) | FRESH_ID;
	} while (map_get(&r->ids, id, &seen));
	return id;
}

uint64_t run_own_id(struct run *r, uint64_t id)
{
	uint64_t seen;

	if (map_get(&r->ids, id, &seen))
		id = fresh_id(r);
	if (map_set(&r->ids, id, 1) < 0) {
		run_fatal(r, -ENOMEM, "%s", strerror(ENOMEM));
		return 0;
	}
	if (id > r->max_id)
		r->max_id = id;
	return id;
}

/* ---- names ---- */

static int names_add(struct names *n, const char *name)
{
	size_t len = strlen(name) + 1;

	if (n->used + len > n->size) {
		size_t size = (n->size ? n->size * 2 : 1024) + len;
		char *bigger = realloc(n->text, size);

		if (!bigger)
			return -ENOMEM;
		n->text = bigger;
		n->size = size;
	}
	memcpy(n->text + n->used, name, len);
	n->used += len;
	return 0;
}

static const char *names_next(struct names *n)
{
	const char *name = n->text + n->at;

	if (n->at >= n->used)
		return NULL;
	n->at += strlen(name) + 1;
	return name;
}

static bool name_is_good(const struct place *p, const char *name)
{
	size_t len = strlen(name);

	if (!len || len > NAME_MAX_LEN || strchr(name, '/') || strcmp(name, ".") == 0 ||
	    strcmp(name, "..") == 0)
		return false;
	return p->up || (strcmp(name, DOT_DIR) != 0 && strcmp(name, "lost+found") != 0);
}

struct reading {
	struct run *r;
	const struct place *p;
	struct names files, dirs;
};

static void read_again(void *arg)
{
	struct reading *k = arg;

	k->files.used = k->dirs.used = 0;
}

static int read_name(const struct manifest_entry *e, void *arg)
{
	struct reading *k = arg;

	if (!name_is_good(k->p, e->name)) {
		run_lacks(k->r, k->p, NULL, "an entry has a name that cannot be");
		return 0;
	}
	return names_add(MODE_OF(e->type) == S_IFDIR ? &k->dirs : &k->files, e->name);
}

/* ---- entries ---- */

/* Of the remote, not only of this object: the run ends. */
static bool ends_run(int err)
{
	return err == -EAGAIN || origin_trouble(err) == TROUBLE_PERSON;
}

/* The entry of a name; -errno: it was told. */
static int look_up(struct run *r, struct place *p, struct layout_dir *d, const char *name,
		   struct manifest_entry *e, bool *link)
{
	int err = origin_entry(&r->from, d, name, e, link);

	if (err < 0 && ends_run(err))
		return run_trouble(r, err);
	if (err < 0) {
		run_lacks(r, p, name, "its entry: %s", origin_line(&r->from, err));
		return err;
	}
	if (e->id < FIRST_ID || e->id > RESTORE_ID_MAX) {
		run_lacks(r, p, name, "its file id cannot be");
		manifest_entry_clear(e);
		return -EBADMSG;
	}
	if (e->id > r->max_id)
		r->max_id = e->id;
	return 0;
}

/* Symlinks and special files. */
static void put_special(struct run *r, struct place *p, const char *name,
			const struct manifest_entry *e, struct linked *l)
{
	struct record rec = meta_record(e);
	int err = 0;

	rec.id = run_own_id(r, e->id);
	if (!rec.id)
		err = -ENOMEM;
	else if (!r->o->dry_run) {
		err = meta_make(r, p, name, e);
		if (err == 0)
			err = batch_add(r, p, name, &rec);
	}
	if (err < 0) {
		run_failed(r, p, name, err, NULL);
		place_remove(r, p, name);
	} else {
		r->st->files++;
	}
	if (l)
		link_settle(r, l, p, name, err < 0 ? NULL : &rec);
}

/* An earlier run stored its content; the attributes may have changed since. */
static void put_again(struct run *r, struct place *p, struct layout_dir *d, const char *name,
		      const struct manifest_entry *e, struct linked *l)
{
	struct record rec = meta_record(e);
	int err = keep_attributes(r, p, name, e);
	char object[LAYOUT_NAME_MAX];

	if (err < 0) {
		run_failed(r, p, name, err, NULL);
	} else {
		r->st->skipped++;
		r->st->files++;
		r->st->bytes += e->size;
		origin_object(&r->from, d, e, l != NULL, object);
		slots_remember(r, object, e->size);
	}
	if (l)
		link_settle(r, l, p, name, err < 0 ? NULL : &rec);
}

/* One that is no directory. */
static void put_entry(struct run *r, struct place *p, struct layout_dir *d, const char *name)
{
	struct linked *l = NULL;
	struct manifest_entry e;
	uint64_t seen;
	bool link;

	if (look_up(r, p, d, name, &e, &link) < 0)
		return;
	run_tell(r, p, name);
	if (!link || !link_known(r, p, name, &e, &l)) {
		if (r->fatal)
			;
		else if (MODE_OF(e.type) != S_IFREG)
			put_special(r, p, name, &e, l);
		else if (!map_get(&r->ids, e.id, &seen) && keep_have(r, p, name, &e) &&
			 run_own_id(r, e.id))
			put_again(r, p, d, name, &e, l);
		else
			fetch_start(r, p, d, name, &e, l);
	}
	manifest_entry_clear(&e);
}

/* ---- directories ---- */

struct keeping {
	struct run *r;
	struct layout_dir *d;
};

static bool still_there(void *arg, const char *name, mode_t mode)
{
	struct keeping *k = arg;
	struct manifest_entry e;
	bool link;
	int err = k->d ? origin_entry(&k->r->from, k->d, name, &e, &link) : -ENOENT;
	uint8_t type = err == 0 ? e.type : 0;

	if (err < 0 && ends_run(err)) {
		run_trouble(k->r, err);
		return true;
	}
	if (err == 0)
		manifest_entry_clear(&e);
	return err == 0 && type == TYPE_OF(mode);
}

/* d NULL: nothing is wanted. */
static void clean(struct run *r, struct place *p, struct layout_dir *d)
{
	struct keeping k = { .r = r, .d = d };
	int err = 0;

	if (r->resumed && p->existed && !r->o->dry_run)
		err = place_clean(r, p, still_there, &k);
	if (err < 0)
		run_failed(r, p, NULL, err, "removing what an earlier run left");
}

static int push(struct walk *w, const struct frame *f)
{
	if (w->depth == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 32;
		struct frame *bigger = realloc(w->frame, cap * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		w->frame = bigger;
		w->cap = cap;
	}
	w->frame[w->depth++] = *f;
	return 0;
}

static void leave(struct run *r, struct frame *f)
{
	layout_dir_put(r->from.layout, f->d);
	place_release(r, f->place);
	free(f->dirs.text);
}

/* Its files now, what is below it later. p and d are taken over. */
static void walk_dir(struct walk *w, struct place *p, struct layout_dir *d)
{
	struct reading k = { .r = w->r, .p = p };
	struct frame f = { .place = p, .d = d };
	struct run *r = w->r;
	const char *name;
	int err = origin_each(&r->from, d, read_name, &k, read_again);

	if (err < 0 && ends_run(err))
		run_trouble(r, err);
	else if (err < 0)
		run_lacks(r, p, NULL, "some or all of its entries: %s", origin_line(&r->from, err));
	if (!r->fatal)
		clean(r, p, d);
	while (!r->fatal && (name = names_next(&k.files))) {
		put_entry(r, p, d, name);
		if (batch_due(r))
			batch_flush(r);
	}
	free(k.files.text);
	f.dirs = k.dirs;
	if (push(w, &f) < 0) {
		run_fatal(r, -ENOMEM, "%s", strerror(ENOMEM));
		leave(r, &f);
	}
}

/* Makes the directory below p. NULL: it lacks, or its entries do; that was told. */
static struct place *enter(struct run *r, struct place *p, struct layout_dir *d, const char *name,
			   struct layout_dir **child)
{
	struct manifest_entry e;
	struct place *below = NULL;
	bool link;
	int err;

	*child = NULL;
	if (look_up(r, p, d, name, &e, &link) < 0)
		return NULL;
	err = origin_dir(&r->from, d, name, child);
	if (err < 0 && ends_run(err))
		run_trouble(r, err);
	else if (err < 0)
		run_lacks(r, p, name, "its entries: %s", origin_line(&r->from, err));
	e.id = run_own_id(r, e.id);
	err = r->fatal ? 0 : place_new(r, p, &e, &below);
	if (err < 0)
		run_failed(r, p, name, err, NULL);
	if (below && !*child) { /* it stays, empty */
		clean(r, below, NULL);
		place_release(r, below);
		below = NULL;
	}
	if (!below && *child) {
		layout_dir_put(r->from.layout, *child);
		*child = NULL;
	}
	manifest_entry_clear(&e);
	return below;
}

static void walk_on(struct walk *w)
{
	struct run *r = w->r;

	while (w->depth) {
		struct frame *f = &w->frame[w->depth - 1];
		const char *name = r->fatal ? NULL : names_next(&f->dirs);
		struct layout_dir *child;
		struct place *below;

		if (!name) {
			leave(r, f);
			w->depth--;
			continue;
		}
		below = enter(r, f->place, f->d, name, &child);
		if (below)
			walk_dir(w, below, child);
		fetch_redo(r);
		if (batch_due(r))
			batch_flush(r);
	}
	free(w->frame);
}

/* ---- where it begins ---- */

/* From the root down along `path` (taken apart) to its last part; that is walked, or put. p and
 * d are taken over. */
static void walk_path(struct walk *w, struct place *p, struct layout_dir *d, char *path,
		      bool is_dir)
{
	struct run *r = w->r;
	char *part = path;

	while (part) {
		char *slash = strchr(part, '/');
		struct layout_dir *child = NULL;
		struct place *below = NULL;

		if (slash)
			*slash = '\0';
		if (slash || is_dir)
			below = enter(r, p, d, part, &child);
		else
			put_entry(r, p, d, part);
		layout_dir_put(r->from.layout, d);
		place_release(r, p);
		if (!below)
			return;
		p = below;
		d = child;
		part = slash ? slash + 1 : NULL;
	}
	walk_dir(w, p, d);
}

static void walk(struct run *r, bool is_dir)
{
	CLEANUP_FREE char *path = strdup(r->path);
	struct layout_dir *d = layout_root(r->from.layout);
	struct manifest_entry e = { 0 };
	struct walk w = { .r = r };
	struct place *p = NULL;
	int err = path && d ? 0 : -ENOMEM;

	if (err == 0)
		err = manifest_entry_copy(&e, &layout_head(r->from.layout)->attrs);
	if (err == 0)
		err = place_new(r, NULL, &e, &p);
	if (err < 0) {
		run_fatal(r, err, "%s", strerror(-err));
		manifest_entry_clear(&e);
		if (d)
			layout_dir_put(r->from.layout, d);
		return;
	}
	if (*path)
		walk_path(&w, p, d, path, is_dir);
	else
		walk_dir(&w, p, d);
	walk_on(&w);
	do /* a second try may want another */
		fetch_drain(r);
	while (!r->fatal && r->redo && fetch_redo(r) == 0);
	fetch_fini(r);
	batch_flush(r);
}

/* What is to be restored is there, and how much it is. */
static int measure(struct run *r, bool *is_dir)
{
	const struct remote_head *head = layout_head(r->from.layout);
	struct manifest_entry e;
	struct layout_dir *up;
	const char *last;
	bool link;
	int err;

	*is_dir = true;
	r->st->total_files = head->files;
	r->st->total_bytes = head->bytes;
	if (!*r->path)
		return 0;
	err = origin_parent(&r->from, r->path, &up, &last);
	if (err == 0) {
		err = origin_entry(&r->from, up, last, &e, &link);
		layout_dir_put(r->from.layout, up);
	}
	if (err == -ENOENT || err == -ENOTDIR)
		return run_fatal(r, err, "%.300s: no such file at the remote", r->path);
	if (err < 0)
		return run_trouble(r, err);
	*is_dir = MODE_OF(e.type) == S_IFDIR;
	r->st->total_files = *is_dir ? e.files : 1;
	r->st->total_bytes = *is_dir ? e.bytes : e.size;
	manifest_entry_clear(&e);
	return 0;
}

/* ---- all of it ---- */

static int idle(void *arg, int ms)
{
	struct run *r = arg;

	return r->slot ? fetch_pump(r, ms) : (run_tell(r, NULL, NULL), poll(NULL, 0, ms), r->fatal);
}

static bool stopped(void *arg)
{
	struct run *r = arg;

	run_tell(r, NULL, NULL);
	return r->fatal != 0;
}

/*
 * What only met trouble may be well tomorrow. A first run leaves it open; a later one that
 * fares no better goes on without.
 */
static int leave_open(struct run *r)
{
	if (!r->given_up || r->resumed || r->o->dry_run)
		return 0;
	return run_fatal(r, -EAGAIN, "%llu files met only trouble at the server; the same command "
			 "tries them again, and if that is in vain goes on without them",
			 (unsigned long long)r->given_up);
}

static void run(struct run *r, const struct remote_def *def, const struct remote_secret *secret)
{
	bool is_dir;
	int err = origin_open(&r->from, def, secret);

	if (err < 0) {
		r->fatal = r->fatal ? r->fatal : err; /* origin_open said why */
		return;
	}
	if (measure(r, &is_dir) < 0)
		return;
	if (fetch_init(r) < 0) {
		run_fatal(r, -ENOMEM, "%s", strerror(ENOMEM));
		return;
	}
	if (r->o->dry_run || mirror_begin(r, layout_head(r->from.layout)->volume) == 0)
		walk(r, is_dir);
	fetch_fini(r);
	if (!r->fatal && !r->o->dry_run && leave_open(r) == 0)
		mirror_finish(r);
}

int restore_run(const struct remote_def *def, const struct remote_secret *secret,
		const char *dir, const struct restore_options *o, struct restore_stats *out,
		char error[LAYOUT_ERROR_MAX])
{
	CLEANUP_FREE char *path = origin_path(o->path ? o->path : "");
	struct run r = {
		.o = o, .st = out, .dir = dir, .path = path, .error = error,
		.m = { .rootfd = -1, .dotfd = -1 }, .tmpfd = -1, .at_fd = -1,
		.complete_end = &r.complete,
		.from = { .idle = idle, .stop = stopped, .error = error,
			  .patience_ms = (int64_t)o->patience_s * 1000 },
	};

	memset(out, 0, sizeof(*out));
	error[0] = '\0';
	if (!path)
		return -ENOMEM;
	r.from.arg = &r;
	run(&r, def, secret);
	if (r.o->progress)
		r.o->progress(out, "", o->arg);
	links_free(&r);
	map_free(&r.ids);
	mirror_close(&r);
	origin_close(&r.from);
	return r.fatal;
}
