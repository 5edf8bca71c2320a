/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looking at the directories whose names may differ: those that a durable
 * DIRTY record names, and below them those that were never sealed. Each is
 * looked for by its id on each mirror: where it was when it was marked, else
 * where an entry of another one leads to it. A move marks both directories it
 * touches, so what moved lies in one that is looked at.
 *
 * A directory that is not found on a mirror is absent there: what took it away
 * marked the one it was in. But not if another mirror has it inside one that is
 * not marked, since nothing can have left that: then it is not known where it
 * is, and its names on that mirror are left alone.
 */
#include "replica/recovery_places.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/log.h"
#include "replica/object.h"

#define DIR_TYPE TYPE_OF(S_IFDIR)

/* ---- reaching things ---- */

int places_open(const struct places *p, int m, const char *path, int flags)
{
	int fd = openat(p->v->m[m].rootfd, ".", (*path ? O_PATH : flags) | O_DIRECTORY | O_CLOEXEC);

	while (fd >= 0 && *path) {
		size_t len = strcspn(path, "/");
		char part[NAME_MAX_LEN + 1];
		int next;

		if (!len || len > NAME_MAX_LEN) {
			close(fd);
			return len ? -ENAMETOOLONG : -ENOENT;
		}
		memcpy(part, path, len);
		part[len] = '\0';
		path += len + (path[len] == '/');
		next = openat(fd, part, (*path ? O_PATH : flags) | O_DIRECTORY | O_NOFOLLOW |
			      O_CLOEXEC);
		if (next < 0)
			next = -errno;
		close(fd);
		if (next < 0)
			return next;
		fd = next;
	}
	return fd < 0 ? -errno : fd;
}

void places_read(const struct places *p, int m, int parentfd, const char *name,
		 struct cell *c, uint64_t *gen, bool *open)
{
	struct at a = { .mirror = &p->v->m[m], .fd = parentfd, .name = name };
	struct record rec;
	struct stat st;
	int r = at_stat(&a, &st);

	*c = (struct cell){ .kind = r == -ENOENT ? CELL_ABSENT : CELL_ODD };
	if (r < 0)
		return;
	c->ino = st.st_ino;
	c->type = TYPE_OF(st.st_mode);
	r = record_load(&a, c->type, &rec);
	if (r == 0) {
		c->kind = CELL_ID;
		c->id = rec.id;
		if (gen)
			*gen = rec.gen;
		if (open)
			*open = rec.flags & RECORD_OPEN;
	} else if (r == -ENODATA && (S_ISDIR(st.st_mode) ||
				     (S_ISREG(st.st_mode) && st.st_size == 0))) {
		c->kind = CELL_BARE;
	}
}

void places_path(const struct places *p, int m, uint32_t place, char *out, size_t size)
{
	const struct place_dir *d = &p->dir[p->place[place].dir];
	const char *path = d->path[m];

	FOR_EACH_BIT(k, path ? 0 : p->mask)
		if (!path)
			path = d->path[k];
	snprintf(out, size, "%s%s%s", path ? path : "?", path && !*path ? "" : "/",
		 p->place[place].name);
}

static char *join(const char *dir, const char *name)
{
	size_t a = strlen(dir), b = strlen(name);
	char *out = malloc(a + b + 2);

	if (out)
		snprintf(out, a + b + 2, "%s%s%s", dir, *dir ? "/" : "", name);
	return out;
}

/* ---- listing ---- */

static int add_found(struct places *p, uint32_t dir, int m, int fd, const char *name)
{
	struct found *f;

	if (p->n_found == p->cap_found) {
		size_t cap = p->cap_found ? p->cap_found * 2 : 1024;
		void *bigger = realloc(p->found, cap * sizeof(*p->found));

		if (!bigger)
			return -ENOMEM;
		p->found = bigger;
		p->cap_found = cap;
	}
	f = &p->found[p->n_found];
	*f = (struct found){ .dir = dir, .m = m, .name = strdup(name) };
	if (!f->name)
		return -ENOMEM;
	p->n_found++;
	places_read(p, m, fd, name, &f->cell, &f->gen, &f->open);
	return 0;
}

static bool is_hidden(const struct place_dir *d, const char *name)
{
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return true;
	return d->id == ROOT_ID && (strcmp(name, DOT_DIR) == 0 || strcmp(name, "lost+found") == 0);
}

static int list(struct places *p, uint32_t dir, int m, const char *path)
{
	int fd = places_open(p, m, path, O_RDONLY), r = 0;
	DIR *s = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!s) {
		r = fd < 0 ? fd : -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (r == 0 && (errno = 0, e = readdir(s)) != NULL)
		if (!is_hidden(&p->dir[dir], e->d_name))
			r = add_found(p, dir, m, fd, e->d_name);
	if (r == 0 && errno)
		r = -errno;
	closedir(s);
	return r;
}

/* The record of the directory at `path`, if that is the one wanted. */
static int load_dir(const struct places *p, int m, const char *path, uint64_t id,
		    struct record *rec)
{
	CLEANUP_CLOSE int fd = places_open(p, m, path, O_RDONLY);
	struct at a = { .mirror = &p->v->m[m], .fd = fd, .opened = true };
	int r = fd < 0 ? fd : record_load(&a, DIR_TYPE, rec);

	if (r < 0 && fd >= 0 && id == ROOT_ID) { /* it needs no record to be known */
		*rec = (struct record){ .id = ROOT_ID };
		return 0;
	}
	return r < 0 ? r : rec->id == id ? 0 : -ESTALE;
}

/* Directory `dir` is at `path` on mirror m, if it is. 1: found there. */
static int settle_at(struct places *p, uint32_t dir, int m, const char *path)
{
	struct place_dir *d = &p->dir[dir];
	struct record rec;
	int r = load_dir(p, m, path, d->id, &rec);

	if (r < 0)
		return 0;
	if (rec.gen > d->gen)
		d->gen = rec.gen;
	free(d->path[m]);
	d->path[m] = strdup(path);
	if (!d->path[m])
		return -ENOMEM;
	r = list(p, dir, m, path);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		log_err(r, "%s: cannot list %s; its names are left as they are",
			volume_path(p->v, m), *path ? path : ".");
		free(steal_ptr(&p->dir[dir].path[m]));
		p->dir[dir].unreadable |= 1u << m;
		return 0;
	}
	p->dir[dir].where[m] = DIR_FOUND;
	return 1;
}

static int want_dir(struct places *p, uint64_t id, const struct recovery_dir *dirty)
{
	if (p->n_dir == p->cap_dir) {
		size_t cap = p->cap_dir ? p->cap_dir * 2 : 64;
		void *bigger = realloc(p->dir, cap * sizeof(*p->dir));

		if (!bigger)
			return -ENOMEM;
		p->dir = bigger;
		p->cap_dir = cap;
	}
	p->dir[p->n_dir] = (struct place_dir){ .id = id, .dirty = dirty };
	return map_set(&p->by_id, id, p->n_dir++);
}

uint32_t places_find_dir(const struct places *p, uint64_t id)
{
	uint64_t at;

	return map_get(&p->by_id, id, &at) ? (uint32_t)at : PLACE_NONE;
}

/* ---- looking ---- */

/* As in the record: "." is the root. NULL: no path to follow. */
static const char *hint_of(const struct place_dir *d)
{
	const char *path = d->dirty ? d->dirty->path : NULL;

	if (!path)
		return NULL;
	if (strcmp(path, ".") == 0)
		return "";
	if (strcmp(path, DOT_DIR) == 0 || strncmp(path, DOT_DIR "/", sizeof(DOT_DIR)) == 0)
		return NULL;
	return path;
}

static int look_by_hint(struct places *p)
{
	for (uint32_t i = 0; i < p->n_dir; i++) {
		const char *hint = hint_of(&p->dir[i]);

		FOR_EACH_BIT(m, hint ? p->mask : 0) {
			int r = p->dir[i].where[m] == DIR_FOUND ? 0 : settle_at(p, i, (int)m, hint);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

/*
 * Entries that lead to a directory that is wanted and was not found yet, or
 * to one that was never sealed. What they lead to is listed, so the end moves
 * on; an entry met before its directory was wanted is met in the next round.
 */
static int look_by_entries(struct places *p, bool *found)
{
	for (size_t i = 0; i < p->n_found; i++) {
		struct found f = p->found[i];
		CLEANUP_FREE char *path = NULL;
		uint32_t dir;
		int r;

		if (f.cell.kind != CELL_ID || f.cell.type != DIR_TYPE)
			continue;
		dir = places_find_dir(p, f.cell.id);
		if (dir == PLACE_NONE) {
			if (f.gen || !f.open)
				continue;
			r = want_dir(p, f.cell.id, NULL);
			if (r < 0)
				return r;
			*found = true;
			dir = (uint32_t)p->n_dir - 1;
		}
		p->dir[dir].entered = true;
		if (p->dir[dir].where[f.m] == DIR_FOUND || p->dir[dir].unreadable & 1u << f.m)
			continue;
		path = join(p->dir[f.dir].path[f.m], f.name);
		r = path ? settle_at(p, dir, f.m, path) : -ENOMEM;
		if (r < 0)
			return r;
		*found |= r;
	}
	return 0;
}

static int by_hint(const void *a, const void *b, void *arg)
{
	const struct places *p = arg;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return strcmp(hint_of(&p->dir[x]), hint_of(&p->dir[y]));
}

/* The directories with a hint, sorted by it. */
static uint32_t *sort_hints(struct places *p, size_t *n)
{
	uint32_t *order = calloc(p->n_dir + 1, sizeof(*order));

	*n = 0;
	for (uint32_t i = 0; order && i < p->n_dir; i++)
		if (hint_of(&p->dir[i]))
			order[(*n)++] = i;
	if (order && *n)
		qsort_r(order, *n, sizeof(*order), by_hint, p);
	return order;
}

/* The directory whose hint is the first len bytes of path. */
static uint32_t find_hint(const struct places *p, const uint32_t *order, size_t n,
			  const char *path, size_t len)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const char *hint = hint_of(&p->dir[order[mid]]);
		int c = strncmp(hint, path, len);

		c = c ? c : hint[len] != '\0';
		if (c == 0)
			return order[mid];
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return PLACE_NONE;
}

/*
 * Below a directory that was moved: the innermost one that moved is an entry
 * of a directory listed here, and from there on the hint still holds.
 */
static int look_below_moved(struct places *p, uint32_t dir, int m)
{
	for (size_t i = 0, n = p->n_found; i < n; i++) {
		struct found f = p->found[i];
		CLEANUP_FREE char *base = NULL;
		const char *rest = hint_of(&p->dir[dir]);

		if (f.m != m || f.cell.type != DIR_TYPE || f.cell.kind != CELL_ID)
			continue;
		base = join(p->dir[f.dir].path[m], f.name);
		if (!base)
			return -ENOMEM;
		while ((rest = strchr(rest, '/'))) {
			CLEANUP_FREE char *path = join(base, ++rest);
			int r = path ? settle_at(p, dir, m, path) : -ENOMEM;

			if (r)
				return r;
		}
	}
	return 0;
}

/* Whether the directory may be below one that was moved: no entry leads to it,
 * and what it was in is not marked, so it is in there still. */
static bool moved_along(const struct places *p, uint32_t dir, const uint32_t *order, size_t n)
{
	const char *hint = hint_of(&p->dir[dir]), *slash = strrchr(hint, '/');

	return slash && !p->dir[dir].entered &&
	       find_hint(p, order, n, hint, (size_t)(slash - hint)) == PLACE_NONE;
}

static int look_closer(struct places *p, bool *found)
{
	size_t n;
	CLEANUP_FREE uint32_t *order = sort_hints(p, &n);

	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		FOR_EACH_BIT(m, moved_along(p, order[i], order, n) ? p->mask : 0) {
			int r = 0;

			if (p->dir[order[i]].where[m] != DIR_FOUND)
				r = look_below_moved(p, order[i], (int)m);
			if (r < 0)
				return r;
			*found |= r;
		}
	return 0;
}

static void choose_where(struct places *p, struct place_dir *d)
{
	bool found = false, lost = false;

	FOR_EACH_BIT(m, p->mask)
		found |= d->where[m] == DIR_FOUND;
	FOR_EACH_BIT(m, p->mask) {
		if (d->where[m] == DIR_FOUND || (found && d->dirty && !d->entered))
			continue;
		if (!(d->unreadable & 1u << m))
			d->where[m] = DIR_ABSENT;
	}
	FOR_EACH_BIT(m, p->mask)
		lost |= d->where[m] == DIR_UNKNOWN;
	if (d->compared && found && lost)
		log_warn("%s: the directory is not found on every mirror; what is in it is "
			 "compared later", d->dirty ? d->dirty->path : "?");
}

/* A directory sealed since was the same on all mirrors then. */
static void choose_compared(struct places *p)
{
	for (size_t i = 0; i < p->n_dir; i++) {
		struct place_dir *d = &p->dir[i];

		d->compared = d->dirty ? d->dirty->gen >= d->gen : d->gen == 0;
		d->entered = false;
	}
	for (size_t i = 0; i < p->n_found; i++) {
		const struct found *f = &p->found[i];
		uint32_t dir = f->cell.type == DIR_TYPE && f->cell.id ?
			places_find_dir(p, f->cell.id) : PLACE_NONE;

		if (dir != PLACE_NONE && p->dir[f->dir].compared)
			p->dir[dir].entered = true;
	}
	for (size_t i = 0; i < p->n_dir; i++)
		choose_where(p, &p->dir[i]);
}

/* What is parked has no place, but what is in it has. */
static int enter_parked(struct places *p, int m, int tmp, const char *name)
{
	CLEANUP_FREE char *path = join(DOT_DIR "/" PLACES_TMP, name);
	uint64_t gen = 0;
	bool open = false;
	struct cell c;
	uint32_t dir;
	int r;

	if (!path)
		return -ENOMEM;
	places_read(p, m, tmp, name, &c, &gen, &open);
	if (c.kind != CELL_ID || c.type != DIR_TYPE)
		return 0;
	dir = places_find_dir(p, c.id);
	if (dir == PLACE_NONE) {
		if (gen || !open)
			return 0;
		r = want_dir(p, c.id, NULL);
		if (r < 0)
			return r;
		dir = (uint32_t)p->n_dir - 1;
	}
	r = p->dir[dir].where[m] == DIR_FOUND ? 0 : settle_at(p, dir, m, path);
	return r < 0 ? r : 0;
}

static int add_parked(struct places *p, int m, int tmp, const char *name)
{
	void *bigger = realloc(p->parked, (p->n_parked + 1) * sizeof(*p->parked));

	if (!bigger)
		return -ENOMEM;
	p->parked = bigger;
	p->parked[p->n_parked++] = (struct parked){
		strtoull(name + strlen(PLACES_PARKED), NULL, 16), m };
	return enter_parked(p, m, tmp, name);
}

static int look_for_parked(struct places *p, int m)
{
	int fd = openat(p->v->m[m].dotfd, PLACES_TMP,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r = 0;
	DIR *s = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!s) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while (r == 0 && (e = readdir(s)))
		if (strcmp(e->d_name, PLACES_BEGUN) == 0)
			p->mixed |= 1u << m;
		else if (strncmp(e->d_name, PLACES_PARKED, strlen(PLACES_PARKED)) == 0 &&
			 strcmp(e->d_name, PLACES_MADE) != 0)
			r = add_parked(p, m, fd, e->d_name);
	closedir(s);
	return r;
}

int places_look(struct places *p)
{
	const struct recovery *r = p->v->recovery;
	uint64_t at = 0, id, value;
	bool found = true;
	int e = 0;

	while (e == 0 && map_next(&r->dirs, &at, &id, &value))
		e = want_dir(p, id, (const struct recovery_dir *)(uintptr_t)value);
	FOR_EACH_BIT(m, p->mask)
		if (e == 0)
			e = look_for_parked(p, (int)m);
	if (e == 0)
		e = look_by_hint(p);
	while (e == 0 && found) {
		found = false;
		e = look_by_entries(p, &found);
		if (e == 0 && !found)
			e = look_closer(p, &found);
	}
	choose_compared(p);
	return e;
}
