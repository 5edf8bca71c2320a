/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From entries as they were listed to places and objects: which places are
 * disputed, which durable word counts for each, and all the places of every
 * object that has a disputed one.
 */
#include "replica/recovery_places.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica/object.h"

static int by_place(const void *pa, const void *pb)
{
	const struct found *a = pa, *b = pb;
	int c;

	if (a->dir != b->dir)
		return a->dir < b->dir ? -1 : 1;
	c = strcmp(a->name, b->name);
	return c ? c : a->m - b->m;
}

/* Whether a word is of the life of its directory that the crash ended, and not
 * older than what was synced as a whole: what differs is younger. */
static bool word_counts(const struct places *p, const struct recovery_name *w)
{
	uint32_t dir = places_find_dir(p, w->dir);

	if (w->lsn < p->v->recovery->floor)
		return false;
	return dir == PLACE_NONE || w->gen >= p->dir[dir].gen;
}

static void init_cells(struct places *p, struct place *x)
{
	const struct place_dir *d = &p->dir[x->dir];

	FOR_EACH_BIT(m, p->mask)
		x->cell[m].kind = d->where[m] == DIR_UNKNOWN ? CELL_ODD : CELL_ABSENT;
}

static int build_places(struct places *p)
{
	p->place = calloc(p->n_found + 1, sizeof(*p->place));
	p->cells = calloc((p->n_found + 1) * p->v->n, sizeof(*p->cells));
	if (!p->place || !p->cells)
		return -ENOMEM;
	if (p->n_found)
		qsort(p->found, p->n_found, sizeof(*p->found), by_place);
	for (size_t i = 0; i < p->n_found; i++) {
		struct found *f = &p->found[i];
		struct place *x = p->n_place ? &p->place[p->n_place - 1] : NULL;

		if (!x || x->dir != f->dir || strcmp(x->name, f->name) != 0) {
			struct place_dir *d = &p->dir[f->dir];

			x = &p->place[p->n_place];
			x->dir = f->dir;
			x->name = f->name;
			x->cell = p->cells + p->n_place * p->v->n;
			x->word = recovery_name(p->v->recovery, d->id, f->name);
			if (x->word && !word_counts(p, x->word))
				x->word = NULL;
			init_cells(p, x);
			if (!d->n++)
				d->first = (uint32_t)p->n_place;
			p->n_place++;
		}
		x->cell[f->m] = f->cell;
	}
	return 0;
}

/* Disputed: not all mirrors have the same object there. One without a record
 * is none. A mirror where nothing is known of the directory has no say. */
static void find_disputes(struct places *p)
{
	for (uint32_t i = 0; i < p->n_place; i++) {
		struct place *x = &p->place[i];
		const struct place_dir *d = &p->dir[x->dir];
		bool any = false, alike = true;

		x->group = i;
		FOR_EACH_BIT(m, p->mask) {
			if (d->where[m] == DIR_UNKNOWN)
				continue;
			alike &= !any || x->cell[m].id == x->want;
			x->want = x->cell[m].id;
			any = true;
		}
		x->disputed = d->compared && !alike;
	}
}

static int by_word(const void *a, const void *b)
{
	uint64_t x = (*(const struct recovery_name *const *)a)->id;
	uint64_t y = (*(const struct recovery_name *const *)b)->id;

	return x < y ? -1 : x > y;
}

static int build_words(struct places *p)
{
	const struct recovery *r = p->v->recovery;

	p->word = calloc(r->n_name + 1, sizeof(*p->word));
	if (!p->word)
		return -ENOMEM;
	for (size_t i = 0; i < r->n_name; i++)
		if (r->name[i].id && word_counts(p, &r->name[i]))
			p->word[p->n_word++] = &r->name[i];
	if (p->n_word)
		qsort(p->word, p->n_word, sizeof(*p->word), by_word);
	return 0;
}

struct pair {
	uint64_t id;
	uint32_t place;
	bool disputed, isdir;
};

static int by_pair(const void *pa, const void *pb)
{
	const struct pair *a = pa, *b = pb;

	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	return a->place < b->place ? -1 : a->place > b->place;
}

static size_t list_pairs(const struct places *p, struct pair *out)
{
	size_t n = 0;

	for (uint32_t i = 0; i < p->n_place; i++)
		FOR_EACH_BIT(m, p->mask) {
			const struct cell *c = &p->place[i].cell[m];
			bool twice = false;

			FOR_EACH_BIT(k, p->mask & ((1u << m) - 1))
				twice |= p->place[i].cell[k].id == c->id;
			if (c->kind == CELL_ID && !twice)
				out[n++] = (struct pair){ c->id, i, p->place[i].disputed,
							  c->type == TYPE_OF(S_IFDIR) };
		}
	if (n)
		qsort(out, n, sizeof(*out), by_pair);
	return n;
}

static void words_of(const struct places *p, struct place_object *o)
{
	size_t low = 0, high = p->n_word;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (p->word[mid]->id < o->id)
			low = mid + 1;
		else
			high = mid;
	}
	o->first_word = (uint32_t)low;
	while (low < p->n_word && p->word[low]->id == o->id)
		low++;
	o->n_words = (uint32_t)low - o->first_word;
}

/* Mirrors on which something compared was not found: they may have anything. */
static uint32_t unsure(const struct places *p)
{
	uint32_t mask = 0;

	for (size_t i = 0; i < p->n_dir; i++)
		FOR_EACH_BIT(m, p->dir[i].compared && p->dir[i].n ? p->mask : 0)
			if (p->dir[i].where[m] == DIR_UNKNOWN)
				mask |= 1u << m;
	return mask;
}

static void find_holders(struct places *p, struct place_object *o, uint32_t mask)
{
	o->have = mask;
	for (uint32_t i = o->first; i < o->first + o->n; i++)
		FOR_EACH_BIT(m, p->mask)
			if (p->place[p->at[i]].cell[m].id == o->id)
				o->have |= 1u << m;
	for (size_t i = 0; i < p->n_parked; i++)
		if (p->parked[i].id == o->id)
			o->have |= 1u << p->parked[i].m;
}

/* The ids that have a disputed place, with all their places. */
static int build_objects(struct places *p)
{
	size_t room = p->n_found + 1, n, kept = 0;
	uint32_t may_have = unsure(p);
	struct pair *pair = calloc(room, sizeof(*pair));

	p->object = calloc(room, sizeof(*p->object));
	p->at = calloc(room, sizeof(*p->at));
	if (!pair || !p->object || !p->at) {
		free(pair);
		return -ENOMEM;
	}
	n = list_pairs(p, pair);
	for (size_t i = 0, end; i < n; i = end) {
		struct place_object *o = &p->object[p->n_object];
		bool disputed = false;

		for (end = i; end < n && pair[end].id == pair[i].id; end++)
			disputed |= pair[end].disputed;
		if (!disputed)
			continue;
		*o = (struct place_object){ .id = pair[i].id, .isdir = pair[i].isdir,
					    .group = PLACE_NONE, .first = (uint32_t)kept,
					    .n = (uint32_t)(end - i) };
		for (size_t k = i; k < end; k++)
			p->at[kept++] = pair[k].place;
		words_of(p, o);
		find_holders(p, o, may_have);
		p->n_object++;
	}
	free(pair);
	return 0;
}

struct place_object *places_object(const struct places *p, uint64_t id)
{
	size_t low = 0, high = p->n_object;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (p->object[mid].id == id)
			return &p->object[mid];
		if (p->object[mid].id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

int places_index(struct places *p)
{
	int r = build_places(p);

	if (r == 0)
		r = build_words(p);
	if (r < 0)
		return r;
	find_disputes(p);
	return build_objects(p);
}

void places_free(struct places *p)
{
	for (size_t i = 0; i < p->n_dir; i++)
		FOR_EACH_BIT(m, p->mask)
			free(p->dir[i].path[m]);
	for (size_t i = 0; i < p->n_found; i++)
		free(p->found[i].name);
	free(p->dir);
	free(p->found);
	free(p->parked);
	free(p->place);
	free(p->cells);
	free(p->object);
	free(p->at);
	free(p->word);
	map_free(&p->by_id);
}
