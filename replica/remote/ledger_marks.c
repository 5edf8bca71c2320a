/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of marks. Invariants: a directory with MARK_EACH or MARK_BELOW has no
 * single names; while `all` is set there are no entries; what was marked stays
 * covered, whatever becomes of its form. Memory that cannot be had counts as a
 * bound that was reached.
 */
#include "replica/remote/ledger_marks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PER_BLOCK 32   /* what the allocator and the pointer to it take, about */

/* ---- what is stored ---- */

bool marks_good_path(const char *s)
{
	size_t len = strlen(s);

	return len <= LEDGER_PATH_MAX && s[0] != '/' && (!len || s[len - 1] != '/') &&
		!strstr(s, "//");
}

bool marks_good_name(const char *s)
{
	size_t len = strlen(s);

	return len >= 1 && len <= 255 && !strchr(s, '/') && strcmp(s, ".") &&
		strcmp(s, "..");
}

/* ---- entries ---- */

struct mark_entry *marks_get(const struct marks *m, uint64_t id)
{
	uint64_t p;

	return map_get(&m->by_id, id, &p) ? (struct mark_entry *)(uintptr_t)p : NULL;
}

struct mark_entry *marks_next(const struct marks *m, uint64_t *at)
{
	uint64_t id, p;

	return map_next(&m->by_id, at, &id, &p) ? (struct mark_entry *)(uintptr_t)p : NULL;
}

static void drop_names(struct marks *m, struct mark_entry *e)
{
	for (uint32_t i = 0; i < e->n; i++)
		free(e->name[i]);
	free(e->name);
	m->names -= e->n;
	m->name_bytes -= e->name_bytes;
	e->name = NULL;
	e->n = e->room = 0;
	e->name_bytes = 0;
}

static void free_entry(struct marks *m, struct mark_entry *e)
{
	drop_names(m, e);
	m->path_bytes -= e->path_len + PER_BLOCK;
	free(e->path);
	free(e);
}

void marks_drop(struct marks *m, uint64_t id)
{
	struct mark_entry *e = marks_get(m, id);

	if (!e)
		return;
	map_del(&m->by_id, id);
	free_entry(m, e);
}

static void drop_entries(struct marks *m)
{
	uint64_t at = 0;
	struct mark_entry *e;

	while ((e = marks_next(m, &at)) != NULL)
		free_entry(m, e);
	map_free(&m->by_id);
}

void marks_clear(struct marks *m)
{
	drop_entries(m);
	memset(m, 0, sizeof(*m));
}

static void set_older(uint64_t *seq, int64_t *since, uint64_t seq2, int64_t since2)
{
	if (seq2 < *seq)
		*seq = seq2;
	if (since2 < *since)
		*since = since2;
}

void marks_add_all(struct marks *m, const struct mark_why *why)
{
	struct mark_entry *e;
	uint64_t at = 0;

	if (!m->all) {
		m->all_seq = why->seq;
		m->all_since = why->since;
		m->rewrite = true;
	}
	m->all = true;
	set_older(&m->all_seq, &m->all_since, why->seq, why->since);
	while ((e = marks_next(m, &at)) != NULL)
		set_older(&m->all_seq, &m->all_since, e->seq, e->since);
	drop_entries(m);
}

static void all_for(struct marks *m, const struct mark_entry *e)
{
	const struct mark_why why = { .seq = e->seq, .since = e->since };

	marks_add_all(m, &why);
}

/* ---- adding ---- */

static bool set_path(struct marks *m, struct mark_entry *e, const char *path, uint64_t moved)
{
	size_t len = strlen(path);
	char *copy = len <= LEDGER_PATH_MAX ? malloc(len + 1) : NULL;

	if (!copy)
		return false;
	memcpy(copy, path, len + 1);
	if (e->path)
		m->path_bytes -= e->path_len + PER_BLOCK;
	free(e->path);
	e->path = copy;
	e->path_len = len;
	e->moved = moved;
	m->path_bytes += len + PER_BLOCK;
	return m->path_bytes <= LEDGER_PATH_BYTES;
}

/* NULL: does not fit. */
static struct mark_entry *make_entry(struct marks *m, uint64_t id, const char *path,
				     const struct mark_why *why)
{
	struct mark_entry *e;

	if (m->by_id.used >= LEDGER_DIRS)
		return NULL;
	e = calloc(1, sizeof(*e));
	if (!e || map_set(&m->by_id, id, (uintptr_t)e) < 0) {
		free(e);
		return NULL;
	}
	e->id = id;
	e->seq = why->seq;
	e->since = why->since;
	e->fresh = true;
	if (set_path(m, e, path, why->moved))
		return e;
	if (!e->path)
		m->path_bytes += PER_BLOCK; /* as if, for free_entry */
	return NULL;
}

/* Where name is, or would go. */
static uint32_t find_name(const struct mark_entry *e, const char *name, bool *there)
{
	uint32_t lo = 0, hi = e->n;

	*there = false;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int r = strcmp(e->name[mid]->text, name);

		if (r == 0) {
			*there = true;
			return mid;
		}
		if (r < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool make_room(struct mark_entry *e)
{
	uint32_t room = e->room ? e->room * 2 : 4;
	struct mark_name **bigger;

	if (e->n < e->room)
		return true;
	bigger = realloc(e->name, room * sizeof(*bigger));
	if (!bigger)
		return false;
	e->name = bigger;
	e->room = room;
	return true;
}

static void coarser(struct marks *m, struct mark_entry *e)
{
	drop_names(m, e);
	if (!(e->flags & MARK_BELOW))
		e->flags |= MARK_EACH;
	e->fresh = true;
}

/* Too much memory for names: those directories that have many lose them, which is at
 * least half of it all. */
static void make_coarser(struct marks *m)
{
	size_t with = 0, least;
	struct mark_entry *e;
	uint64_t at = 0;

	while ((e = marks_next(m, &at)) != NULL)
		with += e->n != 0;
	least = with ? m->name_bytes / with / 2 : 0;
	at = 0;
	while ((e = marks_next(m, &at)) != NULL)
		if (e->n && e->name_bytes >= least)
			coarser(m, e);
}

static bool has_each(const struct mark_entry *e)
{
	return (e->flags & MARK_EACH) == MARK_EACH || (e->flags & MARK_BELOW);
}

static void add_name(struct marks *m, struct mark_entry *e, const char *name, bool fresh)
{
	size_t len = strlen(name);
	struct mark_name *new;
	bool there;
	uint32_t i;

	if (has_each(e))
		return;
	i = find_name(e, name, &there);
	if (there)
		return;
	new = e->n < LEDGER_NAMES && make_room(e) ? malloc(sizeof(*new) + len + 1) : NULL;
	if (!new) {
		coarser(m, e);
		return;
	}
	new->fresh = fresh;
	e->fresh |= fresh;
	memcpy(new->text, name, len + 1);
	memmove(e->name + i + 1, e->name + i, (e->n - i) * sizeof(*e->name));
	e->name[i] = new;
	e->n++;
	e->name_bytes += len + PER_BLOCK;
	m->name_bytes += len + PER_BLOCK;
	m->names++;
	if (m->name_bytes > LEDGER_NAME_BYTES)
		make_coarser(m);
}

static void add_flags(struct marks *m, struct mark_entry *e, unsigned flags, bool fresh)
{
	if ((e->flags | flags) == e->flags)
		return;
	e->flags |= (uint8_t)flags;
	e->fresh |= fresh;
	if (has_each(e) && e->n)
		drop_names(m, e);
}

void marks_add(struct marks *m, uint64_t id, const char *path, unsigned flags, const char *name,
	       const struct mark_why *why)
{
	struct mark_entry *e;

	flags &= MARK_FLAGS;
	if (m->all || (id == ROOT_ID && (flags & MARK_BELOW))) {
		marks_add_all(m, why);
		return;
	}
	e = marks_get(m, id);
	if (!e) {
		e = make_entry(m, id, path, why);
	} else if (strcmp(e->path, path) == 0) {
		/* of a wrong hint renames would make something else in the log */
		e->fresh |= e->moved != why->moved;
		e->moved = why->moved;
	} else {
		e->fresh = true;
		if (!set_path(m, e, path, why->moved))
			e = NULL;
	}
	if (!e) {
		marks_add_all(m, why);
		return;
	}
	set_older(&e->seq, &e->since, why->seq, why->since);
	add_flags(m, e, flags, true);
	if (name)
		add_name(m, e, name, true);
}

void marks_absorb(struct marks *m, const struct mark_entry *from, bool new_path)
{
	const struct mark_why why = { from->seq, from->since, from->moved };
	struct mark_entry *e;

	if (m->all) {
		all_for(m, from);
		return;
	}
	e = marks_get(m, from->id);
	if (!e) {
		e = make_entry(m, from->id, from->path, &why);
		if (e)
			e->fresh = false;
	} else if (new_path && !set_path(m, e, from->path, from->moved)) {
		e = NULL;
	}
	if (!e) {
		all_for(m, from);
		return;
	}
	set_older(&e->seq, &e->since, from->seq, from->since);
	e->fresh |= from->fresh;
	add_flags(m, e, from->flags, from->fresh);
	for (uint32_t i = 0; i < from->n; i++)
		add_name(m, e, from->name[i]->text, from->name[i]->fresh);
	e->logged |= from->logged;
}

void marks_merge(struct marks *m, struct marks *from, bool new_path)
{
	const struct mark_why why = { .seq = from->all_seq, .since = from->all_since };
	struct mark_entry *e;
	uint64_t at = 0;

	if (from->all)
		marks_add_all(m, &why);
	while ((e = marks_next(from, &at)) != NULL)
		marks_absorb(m, e, new_path);
	marks_clear(from);
}

/* ---- looking ---- */

void marks_logged(struct marks *m)
{
	struct mark_entry *e;
	uint64_t at = 0;

	while ((e = marks_next(m, &at)) != NULL) {
		for (uint32_t i = 0; e->fresh && i < e->n; i++)
			e->name[i]->fresh = false;
		e->fresh = false;
		e->logged = true;
	}
	m->rewrite = false;
}

size_t marks_count(const struct marks *m)
{
	return m->all ? 1 : m->by_id.used;
}

size_t marks_memory(const struct marks *m)
{
	return m->name_bytes + m->path_bytes + m->by_id.used * (sizeof(struct mark_entry) + 48);
}

uint64_t marks_log_size(const struct marks *m)
{
	return 64 + marks_count(m) * 64 + m->name_bytes + m->path_bytes;
}

int64_t marks_since(const struct marks *m)
{
	int64_t since = m->all ? m->all_since : 0;
	const struct mark_entry *e;
	uint64_t at = 0;

	while ((e = marks_next(m, &at)) != NULL)
		if (!e->gone && (!since || e->since < since))
			since = e->since;
	return since;
}

/*
 * Above the path every directory counts in which the next component on the way is
 * marked, not the last one only: what lies in a directory that was just made or moved is
 * there when that one is.
 */
static bool concerns(const struct mark_entry *e, const char *path, size_t len)
{
	char next[256];
	const char *rest;
	bool there;
	size_t n;

	if (e->path_len >= len) /* at it or below */
		return memcmp(e->path, path, len) == 0 &&
			(len == 0 || e->path[len] == '\0' || e->path[len] == '/');
	if (e->path_len && (memcmp(e->path, path, e->path_len) || path[e->path_len] != '/'))
		return false;
	if (e->flags & (MARK_BELOW | MARK_EACH))
		return true;
	rest = path + e->path_len + (e->path_len != 0);
	n = strcspn(rest, "/");
	if (n >= sizeof(next))
		return false;
	memcpy(next, rest, n);
	next[n] = '\0';
	find_name(e, next, &there);
	return there;
}

bool marks_reached(const struct marks *m, uint64_t seq, const char *path)
{
	size_t len = path ? strlen(path) : 0;
	const struct mark_entry *e;
	uint64_t at = 0;

	if (m->all && m->all_seq <= seq)
		return false;
	while ((e = marks_next(m, &at)) != NULL)
		if (!e->gone && e->seq <= seq && (!path || concerns(e, path, len)))
			return false;
	return true;
}

/* ---- renames ---- */

int renames_add(struct renames *q, const char *from, const char *to, bool exchange)
{
	struct rename_op *mv;

	if (!q->v)
		q->v = malloc(LEDGER_MOVES * sizeof(*q->v));
	if (!q->v || q->n == LEDGER_MOVES)
		return -ENOMEM;
	mv = &q->v[q->n];
	mv->from = strdup(from);
	mv->to = strdup(to);
	mv->exchange = exchange;
	if (mv->from && mv->to) {
		q->n++;
		return 0;
	}
	free(mv->from);
	free(mv->to);
	return -ENOMEM;
}

void renames_clear(struct renames *q)
{
	for (size_t i = 0; i < q->n; i++) {
		free(q->v[i].from);
		free(q->v[i].to);
	}
	q->first += q->n;
	q->n = 0;
	free(q->v);
	q->v = NULL;
}

/* 1: path was at or below from, and is at or below to now. -ENOMEM: too long, too. */
static int replace_head(struct marks *m, struct mark_entry *e, const char *from, const char *to)
{
	size_t head = strlen(from), len = strlen(to);
	char *path;
	bool ok;

	if (e->path_len < head || (e->path[head] != '\0' && e->path[head] != '/') ||
	    memcmp(e->path, from, head) != 0)
		return 0;
	path = malloc(len + e->path_len - head + 1);
	if (!path)
		return -ENOMEM;
	memcpy(path, to, len);
	memcpy(path + len, e->path + head, e->path_len - head + 1);
	ok = set_path(m, e, path, e->moved);
	free(path);
	return ok ? 1 : -ENOMEM;
}

static int move_entry(struct marks *m, struct mark_entry *e, const struct renames *q)
{
	for (uint64_t i = e->moved < q->first ? q->first : e->moved; i < renames_end(q); i++) {
		const struct rename_op *mv = &q->v[i - q->first];
		int r = replace_head(m, e, mv->from, mv->to);

		if (r == 0 && mv->exchange)
			r = replace_head(m, e, mv->to, mv->from);
		if (r < 0)
			return r;
	}
	e->moved = renames_end(q);
	return 0;
}

bool marks_move(struct marks *m, const struct renames *q)
{
	struct mark_entry *e;
	uint64_t at = 0;
	bool ok = true;

	while ((e = marks_next(m, &at)) != NULL)
		if (e->moved < renames_end(q) && move_entry(m, e, q) < 0) {
			e->moved = renames_end(q);
			ok = false;
		}
	return ok;
}

void marks_settled(struct marks *m)
{
	struct mark_entry *e;
	uint64_t at = 0;

	while ((e = marks_next(m, &at)) != NULL)
		e->moved = 0;
}
