/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The choice, exhaustively over three members, against second implementations
 * that rank and loop where the first one uses sets.
 */
#include "replica/choice.h"

#include "tests/unit/tmpdir.h"

#define N 3
#define STATES 5

static int readable(enum copy_state s)
{
	return s == COPY_MATCH || s == COPY_MATCH_OLD || s == COPY_DIFFERS;
}

/* How good a copy is as a source: the higher the better, 0 is none. */
static int rank_of(enum copy_state s, bool open)
{
	if (s == COPY_MATCH)
		return 3;
	if (!open)
		return 0;
	return s == COPY_MATCH_OLD ? 2 : s == COPY_DIFFERS ? 1 : 0;
}

static struct choice reference_leaf(int n, const enum copy_state *copy, int preferred,
				    bool open, bool identical)
{
	struct choice c = { CHOICE_LOST, -1, 0 };
	int best = 0, n_readable = 0, m;

	for (m = 0; m < n; m++) {
		n_readable += readable(copy[m]);
		if (rank_of(copy[m], open) > best ||
		    (best && rank_of(copy[m], open) == best && m == preferred)) {
			best = rank_of(copy[m], open);
			c.source = m;
		}
	}
	if (best == 0)
		return c;
	if (best >= 2)
		c.verdict = CHOICE_GOOD;
	else
		c.verdict = identical && n_readable >= 2 ? CHOICE_ADOPT : CHOICE_UNVERIFIED;
	for (m = 0; m < n; m++) {
		bool equal = m == c.source;

		/* known to be equal to the source without looking again */
		if (copy[m] == COPY_MATCH && best == 3)
			equal = true;
		if (readable(copy[m]) && identical && copy[m] == copy[c.source] &&
		    c.verdict != CHOICE_UNVERIFIED)
			equal = true;
		if (copy[m] != COPY_NOT_ASKED && !equal)
			c.repair += 1u << m;
	}
	return c;
}

static void compare(int n, const enum copy_state *copy, int preferred, bool open,
		    bool identical)
{
	struct choice got = choice_leaf(n, copy, preferred, open, identical);
	struct choice want = reference_leaf(n, copy, preferred, open, identical);

	if (got.verdict != want.verdict || got.source != want.source ||
	    got.repair != want.repair)
		fail_msg("n %d states %d %d %d preferred %d open %d identical %d: "
			 "got %d %d %x want %d %d %x", n, copy[0], copy[1], copy[2],
			 preferred, open, identical, got.verdict, got.source,
			 got.repair, want.verdict, want.source, want.repair);
}

static void leaf_all_states(void **state)
{
	int n, i, preferred, flags, space;

	(void)state;
	for (n = 1, space = STATES; n <= N; n++, space *= STATES)
		for (i = 0; i < space; i++)
			for (preferred = -1; preferred < n; preferred++)
				for (flags = 0; flags < 4; flags++) {
					const enum copy_state copy[N] = {
						i % STATES, i / STATES % STATES,
						i / STATES / STATES,
					};

					compare(n, copy, preferred, flags & 1, flags & 2);
				}
}

/* Of any choice whatsoever, whichever rule made it. */
static void leaf_invariants(void **state)
{
	uint64_t seed = seed_of_run();
	int round, m;

	(void)state;
	for (round = 0; round < 200000; round++) {
		enum copy_state copy[16];
		int n = 1 + (int)(next_random(&seed) % 16);
		int preferred = (int)(next_random(&seed) % 16);
		bool open = next_random(&seed) & 1, identical = next_random(&seed) & 1;
		bool any_match = false;
		struct choice c;

		for (m = 0; m < n; m++) {
			copy[m] = (enum copy_state)(next_random(&seed) % STATES);
			any_match |= copy[m] == COPY_MATCH;
		}
		c = choice_leaf(n, copy, preferred, open, identical);
		if (any_match) { /* bytes are never outvoted */
			assert_int_equal(c.verdict, CHOICE_GOOD);
			assert_int_equal(copy[c.source], COPY_MATCH);
		}
		if (c.verdict == CHOICE_LOST) {
			assert_int_equal(c.source, -1);
			assert_int_equal(c.repair, 0);
		} else {
			assert_true(c.source >= 0 && c.source < n);
			assert_true(readable(copy[c.source]));
			assert_false(c.repair >> c.source & 1);
		}
		if (!open && !any_match)
			assert_int_equal(c.verdict, CHOICE_LOST);
		assert_true(c.repair >> n == 0);
		for (m = 0; m < n; m++) {
			if (copy[m] == COPY_NOT_ASKED || copy[m] == COPY_MATCH)
				assert_false(c.repair >> m & 1);
			if (copy[m] == COPY_ERROR && c.verdict != CHOICE_LOST)
				assert_true(c.repair >> m & 1);
		}
	}
}

#define M COPY_MATCH
#define O COPY_MATCH_OLD
#define D COPY_DIFFERS
#define E COPY_ERROR
#define X COPY_NOT_ASKED

static void leaf_examples(void **state)
{
	static const struct {
		enum copy_state copy[N];
		int preferred;
		bool open, identical;
		struct choice want;
	} cases[] = {
		{ { M, M, M }, 1, false, true, { CHOICE_GOOD, 1, 0 } },
		{ { D, D, M }, 0, false, false, { CHOICE_GOOD, 2, 3 } },
		{ { D, D, D }, 0, false, true, { CHOICE_LOST, -1, 0 } },
		{ { O, O, O }, 0, false, true, { CHOICE_LOST, -1, 0 } },
		{ { O, M, D }, 0, true, false, { CHOICE_GOOD, 1, 5 } },
		{ { D, O, E }, 0, true, false, { CHOICE_GOOD, 1, 5 } },
		{ { O, O, X }, 1, true, true, { CHOICE_GOOD, 1, 0 } },
		{ { O, O, X }, 1, true, false, { CHOICE_GOOD, 1, 1 } },
		{ { D, D, D }, 2, true, true, { CHOICE_ADOPT, 2, 0 } },
		{ { D, D, E }, 2, true, true, { CHOICE_ADOPT, 0, 4 } },
		{ { D, E, X }, 1, true, true, { CHOICE_UNVERIFIED, 0, 2 } },
		{ { D, D, D }, 2, true, false, { CHOICE_UNVERIFIED, 2, 3 } },
		{ { E, X, E }, 1, true, true, { CHOICE_LOST, -1, 0 } },
	};
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(cases); i++) {
		struct choice c = choice_leaf(N, cases[i].copy, cases[i].preferred,
					      cases[i].open, cases[i].identical);

		assert_int_equal(c.verdict, cases[i].want.verdict);
		assert_int_equal(c.source, cases[i].want.source);
		assert_int_equal(c.repair, cases[i].want.repair);
	}
}

/* Score of a record: generation, then holders, then low index. */
static int reference_record(int n, uint32_t asked, const int *have, const struct record *rec,
			    uint32_t *bad, bool *conflict)
{
	long best_score = -1;
	int best = -1, m, k;

	*bad = 0;
	*conflict = false;
	for (m = 0; m < n; m++) {
		long holders = 0, score;

		if (!(asked & 1u << m) || !have[m])
			continue;
		for (k = 0; k < n; k++)
			holders += (asked & 1u << k) && have[k] && record_equal(&rec[k], &rec[m]);
		score = (long)rec[m].gen * 10000 + holders * 100 + (n - m);
		if (score > best_score) {
			best_score = score;
			best = m;
		}
	}
	for (m = 0; m < n; m++) {
		if (!(asked & 1u << m))
			continue;
		if (best < 0 || !have[m] || !record_equal(&rec[m], &rec[best]))
			*bad += 1u << m;
		if (best >= 0 && have[m] && rec[m].gen == rec[best].gen &&
		    !record_equal(&rec[m], &rec[best]))
			*conflict = true;
	}
	return best;
}

/* Five members, each without a record or with one of two generations and
 * three contents. */
static void record_all_states(void **state)
{
	int i, m, n;
	uint32_t asked;

	(void)state;
	for (n = 1; n <= 5; n++) {
		int space = 1;

		for (m = 0; m < n; m++)
			space *= 7;
		for (i = 0; i < space; i++) {
			struct record rec[5];
			int have[5], rest = i;

			memset(rec, 0, sizeof(rec));
			for (m = 0; m < n; m++, rest /= 7) {
				have[m] = rest % 7 != 6;
				rec[m].gen = (uint64_t)(1 + rest % 7 / 3);
				rec[m].hash = (uint64_t)(rest % 3);
			}
			for (asked = 0; asked < 1u << n; asked += n < 4 ? 1 : 3) {
				uint32_t bad, want_bad;
				bool conflict, want_conflict;

				assert_int_equal(choice_record(n, asked, have, rec, &bad, &conflict),
						 reference_record(n, asked, have, rec, &want_bad,
								  &want_conflict));
				assert_int_equal(bad, want_bad);
				assert_int_equal(conflict, want_conflict);
			}
		}
	}
}

static void record_examples(void **state)
{
	struct record rec[N];
	int have[N] = { 1, 1, 1 };
	uint32_t bad;
	bool conflict;

	(void)state;
	memset(rec, 0, sizeof(rec));
	/* the highest generation beats the majority */
	rec[0].gen = rec[1].gen = 4;
	rec[2].gen = 5;
	assert_int_equal(choice_record(N, 7, have, rec, &bad, &conflict), 2);
	assert_int_equal(bad, 3);
	assert_false(conflict);
	/* unless it is not asked, or not there */
	assert_int_equal(choice_record(N, 3, have, rec, &bad, &conflict), 0);
	assert_int_equal(bad, 0);
	have[2] = 0;
	assert_int_equal(choice_record(N, 7, have, rec, &bad, &conflict), 0);
	assert_int_equal(bad, 4);
	/* the majority among equals */
	have[2] = 1;
	rec[2].gen = 4;
	rec[0].size = 1;
	assert_int_equal(choice_record(N, 7, have, rec, &bad, &conflict), 1);
	assert_int_equal(bad, 1);
	assert_true(conflict);
	have[0] = have[1] = have[2] = 0;
	assert_int_equal(choice_record(N, 5, have, rec, &bad, &conflict), -1);
	assert_int_equal(bad, 5);
}

static enum entry_verdict reference_entry(const struct entry_facts *f)
{
	uint32_t m;

	if (f->dir_open) {
		if (f->has_id)
			return ENTRY_KEEP;
		for (m = 1; m <= f->asked; m <<= 1)
			if ((f->asked & m) && !(f->present & m))
				return ENTRY_FOREIGN;
		return ENTRY_KEEP;
	}
	if (f->sum_with)
		return ENTRY_KEEP;
	if (f->sum_without)
		return ENTRY_FOREIGN;
	return f->has_id ? ENTRY_KEEP : ENTRY_FOREIGN;
}

static void entry_all_facts(void **state)
{
	uint32_t i;

	(void)state;
	for (i = 0; i < 1u << 10; i++) {
		const struct entry_facts f = {
			.asked = i & 7,
			.present = i >> 3 & 7,
			.dir_open = i >> 6 & 1,
			.sum_with = i >> 7 & 1,
			.sum_without = i >> 8 & 1,
			.has_id = i >> 9 & 1,
		};

		if (choice_entry(&f) != reference_entry(&f))
			fail_msg("facts %x: got %d", i, choice_entry(&f));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leaf_all_states),
		cmocka_unit_test(leaf_invariants),
		cmocka_unit_test(leaf_examples),
		cmocka_unit_test(record_all_states),
		cmocka_unit_test(record_examples),
		cmocka_unit_test(entry_all_facts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
