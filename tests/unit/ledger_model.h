/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A model of the ledger, for t-ledger_random.c: a tree of directories, and marks
 * that are renamed at once and kept apart, each with how durable it is.
 */
#ifndef TESTS_UNIT_LEDGER_MODEL_H
#define TESTS_UNIT_LEDGER_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "replica/remote/ledger.h"

#define IDS 160        /* directories of a round, dead ones too; 0 is the root */
#define NAMES 12       /* of a directory */
#define FLAGS 4
#define ITEMS (FLAGS + NAMES)
#define EVERYTHING 15

/* How durable: 0 not flushed, 1 by the last flush, 2 by the one before it already. */
struct part {
	bool on;
	uint8_t items[2];           /* bit i % 8 of byte i / 8: is marked */
	uint8_t level[ITEMS];
	char path[300];
	uint64_t seq;
};

struct model {
	bool live[IDS];
	unsigned parent[IDS], label[IDS], n, labels;
	struct part pending[IDS], taken[IDS];
	struct { bool on; uint8_t level; uint64_t seq; } all_pending, all_taken;
	unsigned all_since;         /* flushes since everything was marked */
};

static inline uint64_t id_of(unsigned i)
{
	return i ? 100 + i : ROOT_ID;
}

static inline unsigned index_of(uint64_t id)
{
	return id == ROOT_ID ? 0 : (unsigned)(id - 100);
}

/* ---- the model's tree ---- */

static inline const char *path_of(const struct model *w, unsigned i, char out[300])
{
	char rest[300] = "";

	for (; i; i = w->parent[i]) {
		char longer[300];

		snprintf(longer, sizeof(longer), "n%u%s%.200s", w->label[i], *rest ? "/" : "", rest);
		memcpy(rest, longer, sizeof(rest));
	}
	memcpy(out, rest, sizeof(rest));
	return out;
}

static inline bool below(const struct model *w, unsigned i, unsigned top)
{
	for (; i; i = w->parent[i])
		if (i == top)
			return true;
	return top == 0;
}

static inline unsigned depth(const struct model *w, unsigned i)
{
	unsigned n = 0;

	for (; i; i = w->parent[i])
		n++;
	return n;
}

static inline bool leaf(const struct model *w, unsigned i)
{
	for (unsigned k = 1; k < w->n; k++)
		if (w->live[k] && w->parent[k] == i)
			return false;
	return i != 0;
}

/* ---- the model's marks ---- */

static inline bool has_item(const struct part *p, unsigned item)
{
	return p->items[item / 8] >> item % 8 & 1;
}

static inline void set_item(struct part *p, unsigned item)
{
	p->items[item / 8] |= (uint8_t)(1 << item % 8);
}

static inline unsigned flags_of(const struct part *p)
{
	return p->items[0] & EVERYTHING;
}

static inline bool each(const struct part *p)
{
	return (flags_of(p) & 6) == 6 || (flags_of(p) & MARK_BELOW);
}

/* What it amounts to. */
static inline bool covers(const struct part *p, unsigned item)
{
	return p->on && (has_item(p, item) || (item >= FLAGS && each(p)));
}

static inline void mark_everything(struct model *w, uint64_t seq)
{
	if (!w->all_pending.on) {
		w->all_pending.on = true;
		w->all_pending.level = 0;
		w->all_pending.seq = seq;
	}
	if (seq < w->all_pending.seq)
		w->all_pending.seq = seq;
	for (unsigned i = 0; i < IDS; i++) {
		if (w->pending[i].on && w->pending[i].seq < w->all_pending.seq)
			w->all_pending.seq = w->pending[i].seq;
		memset(&w->pending[i], 0, sizeof(w->pending[i]));
	}
	w->all_since = 0;
}

static inline void mark_item(struct model *w, unsigned i, unsigned item, uint64_t seq)
{
	struct part *p = &w->pending[i];

	if (w->all_pending.on)
		return;
	if (!p->on) {
		memset(p, 0, sizeof(*p));
		p->on = true;
		p->seq = seq;
	}
	path_of(w, i, p->path);
	if (!covers(p, item)) {
		set_item(p, item);
		p->level[item] = 0;
	}
}

/* from becomes a part of to. */
static inline void unite(struct part *to, const struct part *from)
{
	if (!from->on)
		return;
	if (!to->on) {
		*to = *from;
		return;
	}
	for (unsigned k = 0; k < ITEMS; k++) {
		if (has_item(from, k))
			set_item(to, k);
		if (has_item(from, k) && from->level[k] > to->level[k])
			to->level[k] = from->level[k];
	}
	if (from->seq < to->seq)
		to->seq = from->seq;
}

static inline void rename_one(struct part *p, const char *from, const char *to)
{
	size_t n = strlen(from);
	char rest[300];

	if (strncmp(p->path, from, n) || (p->path[n] && p->path[n] != '/'))
		return;
	snprintf(rest, sizeof(rest), "%s", p->path + n);
	snprintf(p->path, sizeof(p->path), "%.140s%.140s", to, rest);
}

static inline void rename_all(struct model *w, const char *from, const char *to)
{
	for (unsigned i = 0; i < w->n; i++) {
		if (w->pending[i].on)
			rename_one(&w->pending[i], from, to);
		if (w->taken[i].on)
			rename_one(&w->taken[i], from, to);
	}
}

static inline void flushed_one(struct part *p)
{
	for (unsigned k = 0; k < ITEMS; k++)
		if (p->on && has_item(p, k) && p->level[k] < 2)
			p->level[k]++;
}

static inline void model_flushed(struct model *w)
{
	for (unsigned i = 0; i < w->n; i++) {
		flushed_one(&w->pending[i]);
		flushed_one(&w->taken[i]);
	}
	w->all_pending.level += w->all_pending.on && w->all_pending.level < 2;
	w->all_taken.level += w->all_taken.on && w->all_taken.level < 2;
	if (w->all_pending.on || w->all_taken.on)
		w->all_since = 0;
	else
		w->all_since++;
}

#endif
