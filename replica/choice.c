/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The choice. Pure. Copies are held as bit sets, one set per state; every rule
 * is a relation between sets. The rules themselves stand in choice.h.
 */
#include "replica/choice.h"

#define MAX_MEMBERS 16

static uint32_t set_of(int n, const enum copy_state *copy, enum copy_state state)
{
	uint32_t set = 0;
	int m;

	for (m = 0; m < n && m < MAX_MEMBERS; m++)
		if (copy[m] == state)
			set |= 1u << m;
	return set;
}

/* The preferred member if it is in the set (which is not empty), else the
 * lowest. */
static int pick(uint32_t set, int preferred)
{
	if (preferred >= 0 && preferred < MAX_MEMBERS && set >> preferred & 1)
		return preferred;
	return __builtin_ctz(set);
}

static struct choice take(enum choice_verdict verdict, uint32_t from, int preferred,
			  uint32_t repair)
{
	return (struct choice){ verdict, pick(from, preferred), repair };
}

struct choice choice_leaf(int n, const enum copy_state *copy, int preferred,
			  bool open, bool identical)
{
	uint32_t match = set_of(n, copy, COPY_MATCH);
	uint32_t old = set_of(n, copy, COPY_MATCH_OLD);
	uint32_t differs = set_of(n, copy, COPY_DIFFERS);
	uint32_t error = set_of(n, copy, COPY_ERROR);
	uint32_t asked = match | old | differs | error;
	struct choice c;

	if (match)
		return take(CHOICE_GOOD, match, preferred, asked & ~match);
	if (!open || !(old | differs))
		return (struct choice){ CHOICE_LOST, -1, 0 };
	if (old) {
		/* there may be several older candidates: two copies may each
		 * match another one, so all but the source are made equal to it
		 * unless they are known to be */
		c = take(CHOICE_GOOD, old, preferred, 0);
		c.repair = asked & ~(identical ? old : 1u << c.source);
		return c;
	}
	if (identical && (differs & (differs - 1)))
		return take(CHOICE_ADOPT, differs, preferred, error);
	c = take(CHOICE_UNVERIFIED, differs, preferred, 0);
	c.repair = asked & ~(1u << c.source);
	return c;
}

static bool usable(int m, uint32_t asked, const int *have)
{
	return m < MAX_MEMBERS && asked >> m & 1 && have[m];
}

/* How many asked members hold a record equal to that of w. */
static int holders(int n, uint32_t asked, const int *have, const struct record *rec, int w)
{
	int m, count = 0;

	for (m = 0; m < n; m++)
		if (usable(m, asked, have) && record_equal(&rec[m], &rec[w]))
			count++;
	return count;
}

int choice_record(int n, uint32_t asked, const int *have, const struct record *rec,
		  uint32_t *bad, bool *conflict)
{
	int m, best = -1, best_count = 0;

	*bad = 0;
	*conflict = false;
	for (m = 0; m < n; m++) {
		int count;

		if (!usable(m, asked, have) || (best >= 0 && rec[m].gen < rec[best].gen))
			continue;
		count = holders(n, asked, have, rec, m);
		if (best < 0 || rec[m].gen > rec[best].gen) {
			*conflict = false;
		} else {
			*conflict |= !record_equal(&rec[m], &rec[best]);
			if (count <= best_count)
				continue;
		}
		best = m;
		best_count = count;
	}
	for (m = 0; m < n && m < MAX_MEMBERS; m++)
		if (asked >> m & 1 && (!have[m] || !record_equal(&rec[m], &rec[best])))
			*bad |= 1u << m;
	return best;
}

uint32_t choice_newest(uint32_t of, const struct record *rec)
{
	uint32_t same = 0, open = 0;
	uint64_t gen = 0;

	for (uint32_t m = 0; m < MAX_MEMBERS; m++)
		if (of >> m & 1 && rec[m].gen > gen)
			gen = rec[m].gen;
	for (uint32_t m = 0; m < MAX_MEMBERS; m++)
		if (of >> m & 1 && rec[m].gen == gen) {
			same |= 1u << m;
			open |= rec[m].flags & RECORD_OPEN ? 1u << m : 0;
		}
	return open ? open : same;
}

enum entry_verdict choice_entry(const struct entry_facts *f)
{
	bool everywhere = (f->present & f->asked) == f->asked;

	if (f->has_id && (f->dir_open || f->sum_with || !f->sum_without))
		return ENTRY_KEEP;
	if (f->dir_open)
		return everywhere ? ENTRY_KEEP : ENTRY_FOREIGN;
	return f->sum_with ? ENTRY_KEEP : ENTRY_FOREIGN;
}
