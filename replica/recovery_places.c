/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Deciding what is to stand in each disputed place.
 *
 * What hangs together is decided together: a group is a connected set of
 * places and of the objects that stand in them on some mirror; a directory
 * that not every mirror has hangs together with the disputed names in it, and
 * so do all directories that moved (or two of them could end in each other).
 *
 * The state of a group is always that of one mirror, since that existed: the
 * words of the journal, of which any may be missing, say which mirror and
 * what may be removed, but are never put together to a state that may never
 * have been. To it is added what else must not be lost: objects it has no
 * place for, in the places another mirror has them, and further links where
 * another mirror has all those links at once. Of the mirrors that one is
 * taken that loses nothing no word speaks of, then that agrees with most words,
 * then that keeps the most objects, then the first. So a second run, on mirrors
 * made like that, decides the same. Of a mirror in the middle of its changes when
 * a run was cut short each object with one name is where it was or where it was
 * to go, but one with several may have a set of them that never was.
 */
#include "replica/recovery_places.h"

#include <errno.h>
#include <stdlib.h>

/* ---- groups ---- */

static uint32_t group_of(struct places *p, uint32_t i)
{
	while (p->place[i].group != i)
		i = p->place[i].group = p->place[p->place[i].group].group;
	return i;
}

static void unite(struct places *p, uint32_t a, uint32_t b)
{
	a = group_of(p, a);
	b = group_of(p, b);
	if (a < b)
		p->place[b].group = a;
	else
		p->place[a].group = b;
}

/* Bit m: mirror m has the object in the place. */
static uint32_t holders(const struct places *p, const struct place_object *o, uint32_t place)
{
	uint32_t mask = 0;

	FOR_EACH_BIT(m, p->mask)
		if (p->place[place].cell[m].kind == CELL_ID &&
		    p->place[place].cell[m].id == o->id)
			mask |= 1u << m;
	return mask;
}

/* A directory that different mirrors have in different places. */
static bool has_moved(const struct place_object *o)
{
	return o->isdir && o->n > 1;
}

static void join_children(struct places *p, const struct place_object *o)
{
	uint32_t dir = o->isdir ? places_find_dir(p, o->id) : PLACE_NONE;

	if (dir == PLACE_NONE)
		return;
	for (uint32_t i = p->dir[dir].first; i < p->dir[dir].first + p->dir[dir].n; i++)
		if (p->place[i].disputed)
			unite(p, o->group, i);
}

static void build_groups(struct places *p)
{
	uint32_t moved = PLACE_NONE;

	for (size_t k = 0; k < p->n_object; k++) {
		struct place_object *o = &p->object[k];

		for (uint32_t i = o->first; i < o->first + o->n; i++) {
			if (!p->place[p->at[i]].disputed)
				continue;
			if (o->group == PLACE_NONE)
				o->group = p->at[i];
			unite(p, o->group, p->at[i]);
		}
		join_children(p, o);
		if (!has_moved(o))
			continue;
		if (moved == PLACE_NONE)
			moved = o->group;
		unite(p, moved, o->group);
	}
}

/* ---- one state of one group ---- */

/* What belongs to one group, sorted by it. */
struct group {
	struct places *p;
	const uint32_t *place, *object; /* indexes */
	size_t n_place, n_object;
	uint32_t id;
};

/* A durable word puts the object in a place where it is not to stand. */
static bool said_elsewhere(const struct places *p, const struct place_object *o)
{
	for (uint32_t i = o->first_word; i < o->first_word + o->n_words; i++) {
		const struct recovery_name *w = p->word[i];
		bool there = false;

		for (uint32_t k = o->first; k < o->first + o->n && !there; k++)
			there = p->place[p->at[k]].word == w && p->place[p->at[k]].want == o->id;
		if (!there)
			return true;
	}
	return false;
}

/* Whether the object may be taken from the place: a word says that the name is
 * gone, and none that the object went to where it did not arrive. */
static bool is_gone(const struct places *p, const struct place_object *o, uint32_t place)
{
	const struct recovery_name *w = p->place[place].word;

	return w && !w->id && !said_elsewhere(p, o);
}

static bool has_place(const struct places *p, const struct place_object *o)
{
	for (uint32_t i = o->first; i < o->first + o->n; i++)
		if (p->place[p->at[i]].want == o->id)
			return true;
	return false;
}

/* The object of the directory that holds the place; NULL: all mirrors have it. */
static struct place_object *holder(const struct places *p, uint32_t place)
{
	return places_object(p, p->dir[p->place[place].dir].id);
}

/* Whether the directory o would come to lie in itself. */
static bool makes_loop(const struct places *p, const struct place_object *o, uint32_t place)
{
	for (size_t depth = 0; o->isdir && depth <= p->n_object; depth++) {
		const struct place_object *up = holder(p, place);
		uint32_t i;

		if (!up)
			return false;
		if (up == o)
			return true;
		for (i = up->first; i < up->first + up->n; i++)
			if (p->place[p->at[i]].want == up->id)
				break;
		if (i == up->first + up->n)
			return false;
		place = p->at[i];
	}
	return o->isdir;
}

/*
 * Puts o in the place as mirror m has it, if it is free, with all directories
 * above. A directory with something in it stays even where a word says that
 * it is gone: what is in it was removed or moved before that, and is not.
 */
static bool put(struct places *p, struct place_object *o, uint32_t place, int m)
{
	struct place_object *up = holder(p, place);

	if (p->place[place].want == o->id)
		return true;
	if (p->place[place].want || !p->place[place].disputed || makes_loop(p, o, place))
		return false;
	if (up && !has_place(p, up)) {
		bool done = false;

		for (uint32_t i = up->first; i < up->first + up->n && !done; i++)
			if (holders(p, up, p->at[i]) & 1u << m)
				done = put(p, up, p->at[i], m);
		if (!done)
			return false;
	}
	p->place[place].want = o->id;
	return true;
}

static void take_state(struct group *g, int m)
{
	struct places *p = g->p;

	for (size_t i = 0; i < g->n_place; i++) {
		struct place *x = &p->place[g->place[i]];

		x->want = x->cell[m].kind == CELL_ID ? x->cell[m].id : 0;
	}
	/* What every mirror has is not removed: see is_removed(). */
	for (size_t i = 0; i < g->n_place; i++) {
		struct place *x = &p->place[g->place[i]];
		const struct place_object *o = x->want ? places_object(p, x->want) : NULL;

		if (o && o->have != p->mask && is_gone(p, o, g->place[i]))
			x->want = 0;
	}
	/* Directories that went by a word, but not all that is in them. */
	for (size_t i = 0; i < g->n_place; i++) {
		struct place *x = &p->place[g->place[i]];
		uint64_t id = x->want;

		x->want = 0;
		if (id)
			put(p, places_object(p, id), g->place[i], m);
	}
}

/* Places of o on mirror k added to those it has, if k has all those, too.
 * gone: also those that a word calls gone. */
static void add_places(struct places *p, struct place_object *o, int k, bool gone)
{
	bool has = has_place(p, o);

	if (has && p->mixed & 1u << k) /* its links were perhaps never there at once */
		return;
	for (uint32_t i = o->first; i < o->first + o->n; i++)
		if (p->place[p->at[i]].want == o->id &&
		    (o->isdir || !(holders(p, o, p->at[i]) & 1u << k)))
			return;
	for (uint32_t i = o->first; i < o->first + o->n; i++) {
		if (!(holders(p, o, p->at[i]) & 1u << k) || (!gone && is_gone(p, o, p->at[i])))
			continue;
		if (o->isdir && has)
			return;
		has |= put(p, o, p->at[i], k);
	}
}

/*
 * Nowhere, and each place it had is said to be gone or another's. Not while
 * every mirror has it: words do not say what it was that went, and of what an
 * fsync covered every mirror shows the last place, or a later one.
 */
static bool is_removed(const struct places *p, const struct place_object *o)
{
	if (has_place(p, o) || said_elsewhere(p, o) || o->have == p->mask)
		return false;
	for (uint32_t i = o->first; i < o->first + o->n; i++) {
		const struct recovery_name *w = p->place[p->at[i]].word;

		if (!w || w->id == o->id)
			return false;
	}
	return true;
}

/* Further links that a word calls gone: known only now that it is known where
 * the object is. */
static void prune(struct places *p, const struct place_object *o)
{
	unsigned n = 0;

	for (uint32_t i = o->first; i < o->first + o->n; i++)
		n += p->place[p->at[i]].want == o->id;
	for (uint32_t i = o->first; i < o->first + o->n && n > 1; i++) {
		struct place *x = &p->place[p->at[i]];

		if (x->want != o->id || !x->disputed || !is_gone(p, o, p->at[i]))
			continue;
		x->want = 0;
		n--;
	}
}

/* The state of mirror m with what else must not be lost. */
static void try_state(struct group *g, int m)
{
	struct places *p = g->p;

	take_state(g, m);
	/* Twice: with a link gone another mirror may have all the rest. */
	for (unsigned i = 0; i < 2 * g->n_object; i++) {
		struct place_object *o = &p->object[g->object[i % g->n_object]];

		FOR_EACH_BIT(k, p->mask)
			add_places(p, o, (int)k, false);
		prune(p, o);
	}
	/* Said to be gone from here, but not removed: it went on, or the word
	 * is older than its coming. Others would be gone with the next run. */
	for (size_t i = 0; i < g->n_object; i++) {
		struct place_object *o = &p->object[g->object[i]];

		if (has_place(p, o) || (o->have != p->mask && !said_elsewhere(p, o)))
			continue;
		add_places(p, o, m, true);
		FOR_EACH_BIT(k, has_place(p, o) ? 0 : p->mask)
			add_places(p, o, (int)k, true);
	}
}

struct worth {
	size_t lost, agreed, kept;
};

static struct worth weigh(const struct group *g)
{
	const struct places *p = g->p;
	struct worth w = { 0 };

	for (size_t i = 0; i < g->n_place; i++) {
		const struct place *x = &p->place[g->place[i]];

		w.agreed += x->word && x->word->id == x->want;
	}
	for (size_t i = 0; i < g->n_object; i++) {
		const struct place_object *o = &p->object[g->object[i]];

		w.kept += has_place(p, o);
		w.lost += !has_place(p, o) && !is_removed(p, o);
	}
	return w;
}

static bool better(const struct worth *a, const struct worth *b)
{
	if (a->lost != b->lost)
		return a->lost < b->lost;
	if (a->agreed != b->agreed)
		return a->agreed > b->agreed;
	return a->kept > b->kept;
}

/* A mirror of which part of the group is not known has no state to offer. */
static bool knows(const struct group *g, int m)
{
	for (size_t i = 0; i < g->n_place; i++)
		if (g->p->dir[g->p->place[g->place[i]].dir].where[m] == DIR_UNKNOWN)
			return false;
	return true;
}

/* Mirror m has an object of the group under several names. */
static bool has_links(const struct group *g, int m)
{
	for (size_t i = 0; i < g->n_object; i++) {
		const struct place_object *o = &g->p->object[g->object[i]];
		unsigned n = 0;

		for (uint32_t k = o->first; k < o->first + o->n; k++)
			n += holders(g->p, o, g->p->at[k]) >> m & 1;
		if (n > 1)
			return true;
	}
	return false;
}

/* Mirrors whose state may be taken. */
static uint32_t candidates(const struct group *g)
{
	uint32_t mask = 0, torn = 0;

	FOR_EACH_BIT(m, g->p->mask) {
		if (!knows(g, (int)m))
			continue;
		mask |= 1u << m;
		if (g->p->mixed & 1u << m && has_links(g, (int)m))
			torn |= 1u << m;
	}
	return mask & ~torn ? mask & ~torn : mask;
}

static void decide_group(struct group *g)
{
	struct places *p = g->p;
	struct worth best = { 0 };
	bool any = false;

	FOR_EACH_BIT(m, candidates(g)) {
		struct worth w;

		try_state(g, (int)m);
		w = weigh(g);
		if (any && !better(&w, &best))
			continue;
		best = w;
		any = true;
		for (size_t i = 0; i < g->n_place; i++)
			p->place[g->place[i]].best = p->place[g->place[i]].want;
	}
	for (size_t i = 0; i < g->n_place; i++) {
		p->place[g->place[i]].want = p->place[g->place[i]].best;
		p->place[g->place[i]].disputed = any; /* none to be believed: left alone */
	}
	for (size_t i = 0; any && i < g->n_object; i++) {
		struct place_object *o = &p->object[g->object[i]];

		o->gone = is_removed(p, o);
	}
}

/* ---- all groups ---- */

struct listed {
	uint32_t group, index;
};

static int by_group(const void *pa, const void *pb)
{
	const struct listed *a = pa, *b = pb;

	if (a->group != b->group)
		return a->group < b->group ? -1 : 1;
	return a->index < b->index ? -1 : a->index > b->index;
}

/* Indexes sorted by group; group[i] is that of index[i]. */
static int sort_members(struct listed *x, size_t n, uint32_t **index)
{
	if (n)
		qsort(x, n, sizeof(*x), by_group);
	*index = calloc(n + 1, sizeof(**index));
	for (size_t i = 0; *index && i < n; i++)
		(*index)[i] = x[i].index;
	return *index ? 0 : -ENOMEM;
}

static void decide_groups(struct places *p, const struct listed *places, size_t n_places,
			  const uint32_t *place, const struct listed *objects,
			  const uint32_t *object)
{
	size_t o = 0;

	for (size_t i = 0, end; i < n_places; i = end) {
		struct group g = { .p = p, .place = place + i, .object = object + o,
				   .id = places[i].group };

		for (end = i; end < n_places && places[end].group == g.id; end++)
			g.n_place++;
		for (; o < p->n_object && objects[o].group == g.id; o++)
			g.n_object++;
		decide_group(&g);
	}
}

static int decide_all(struct places *p)
{
	struct listed *places = calloc(p->n_place + 1, sizeof(*places));
	struct listed *objects = calloc(p->n_object + 1, sizeof(*objects));
	uint32_t *place = NULL, *object = NULL;
	size_t n = 0;
	int r = places && objects ? 0 : -ENOMEM;

	for (uint32_t i = 0; r == 0 && i < p->n_place; i++)
		if (p->place[i].disputed)
			places[n++] = (struct listed){ group_of(p, i), i };
	for (uint32_t i = 0; r == 0 && i < p->n_object; i++) {
		p->object[i].group = group_of(p, p->object[i].group);
		objects[i] = (struct listed){ p->object[i].group, i };
	}
	if (r == 0)
		r = sort_members(places, n, &place);
	if (r == 0)
		r = sort_members(objects, p->n_object, &object);
	if (r == 0)
		decide_groups(p, places, n, place, objects, object);
	free(place);
	free(object);
	free(places);
	free(objects);
	return r;
}

int places_decide(struct places *p)
{
	build_groups(p);
	return decide_all(p);
}
