/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The verdict, all results of three members from a table of errnos, against a
 * second implementation: it goes by the sentences of verdict.h, member by
 * member, without sets.
 */
#include "replica/verdict.h"

#include <errno.h>

#include "tests/unit/tmpdir.h"

#define N 3

/* who: 'r' request, 'm' member, 't' transient (resources), '-' success */
static const struct outcome {
	int err;
	char who;
} table[] = {
	{ 0, '-' },         { EEXIST, 'r' }, { ENOENT, 'r' }, { ENAMETOOLONG, 'r' },
	{ EACCES, 'r' },    { EIO, 'm' },    { EROFS, 'm' },  { ENODEV, 'm' },
	{ ESTALE, 'm' },    { ENOSPC, 'm' }, { EDQUOT, 'm' }, { ENOMEM, 't' },
	{ EMFILE, 't' },    { EINTR, 't' },  { 4095, 'm' },
};

struct asked_one {
	int member;
	struct outcome o;
};

static int count_who(const struct asked_one *a, int n, char who)
{
	int i, count = 0;

	for (i = 0; i < n; i++)
		count += a[i].o.who == who;
	return count;
}

static int first_err(const struct asked_one *a, int n, char who)
{
	int i;

	for (i = 0; i < n; i++)
		if (a[i].o.who == who)
			return -a[i].o.err;
	return 1;
}

static int all_equal(const struct asked_one *a, int n)
{
	int i;

	for (i = 1; i < n; i++)
		if (a[i].o.err != a[0].o.err)
			return 0;
	return 1;
}

static int mildest_err(const struct asked_one *a, int n)
{
	int best = 3, i;

	for (i = 0; i < n; i++) {
		int rank = a[i].o.err == ENOSPC ? 0 : a[i].o.err == EDQUOT ? 1
			 : a[i].o.err == EROFS ? 2 : 3;

		best = rank < best ? rank : best;
	}
	return best == 0 ? -ENOSPC : best == 1 ? -EDQUOT : best == 2 ? -EROFS : -EIO;
}

static int expected_reply(enum verdict_class class, const struct asked_one *a, int n)
{
	if (count_who(a, n, '-'))
		return 0;
	if (all_equal(a, n))
		return -a[0].o.err;
	if (class == VERDICT_SYNC)
		return -EIO;
	if (count_who(a, n, 'r'))
		return first_err(a, n, 'r');
	if (count_who(a, n, 't'))
		return first_err(a, n, 't');
	return mildest_err(a, n);
}

static int expected_stale(enum verdict_class class, const struct asked_one *a, int n, int i)
{
	if (a[i].o.who == '-')
		return 0;
	if (count_who(a, n, '-'))
		return 1;
	if (class == VERDICT_SYNC)
		return 0;
	return a[i].o.who == 'm' && count_who(a, n, 'r') > 0;
}

static struct verdict reference(enum verdict_class class, const struct asked_one *a, int n)
{
	struct verdict v = { .reply = expected_reply(class, a, n) };
	int i;

	for (i = 0; i < n; i++) {
		uint32_t bit = 1u << a[i].member;

		if (expected_stale(class, a, n, i)) {
			v.stale += bit;
			if (a[i].o.err == ENOSPC || a[i].o.err == EDQUOT)
				v.full += bit;
		} else if (a[i].o.who == 't') {
			v.retry += bit;
		}
	}
	return v;
}

static void compare(enum verdict_class class, uint32_t asked, const struct outcome *o)
{
	struct asked_one a[N];
	int result[N], n = 0, m;
	struct verdict got, want;

	for (m = 0; m < N; m++) {
		result[m] = -o[m].err;
		if (asked & 1u << m)
			a[n++] = (struct asked_one){ m, o[m] };
	}
	got = verdict_of(class, asked, result);
	want = reference(class, a, n);
	if (got.reply != want.reply || got.stale != want.stale || got.full != want.full ||
	    got.retry != want.retry)
		fail_msg("class %d asked %x results %d %d %d: got %d/%x/%x/%x want %d/%x/%x/%x",
			 class, asked, result[0], result[1], result[2], got.reply, got.stale,
			 got.full, got.retry, want.reply, want.stale, want.full, want.retry);
}

static void all_results_of_three(void **state)
{
	const size_t e = N_ELEMS(table);
	uint32_t asked;
	size_t i;

	(void)state;
	for (asked = 1; asked < 1u << N; asked++) {
		for (i = 0; i < e * e * e; i++) {
			const struct outcome o[N] = {
				table[i % e], table[i / e % e], table[i / e / e],
			};

			compare(VERDICT_CHANGE, asked, o);
			compare(VERDICT_SYNC, asked, o);
		}
	}
}

/* What must hold of any verdict whatsoever, whichever rule made it. */
static void never_all_stale(void **state)
{
	const size_t e = N_ELEMS(table);
	size_t i;

	(void)state;
	for (i = 0; i < e * e * e; i++) {
		const int result[N] = {
			-table[i % e].err, -table[i / e % e].err, -table[i / e / e].err,
		};
		struct verdict c = verdict_of(VERDICT_CHANGE, 7, result);
		struct verdict s = verdict_of(VERDICT_SYNC, 7, result);

		assert_true(c.stale != 7 && s.stale != 7);
		assert_true((c.full & ~c.stale) == 0 && (c.retry & c.stale) == 0);
		assert_true(c.reply <= 0 && s.reply <= 0);
		assert_true(!(c.stale & 1) || result[0]);
	}
}

static void unasked_are_not_looked_at(void **state)
{
	int result[16];
	struct verdict v;
	int m;

	(void)state;
	for (m = 0; m < 16; m++)
		result[m] = -EIO;
	result[15] = 0;
	v = verdict_of(VERDICT_CHANGE, 1u << 15, result);
	assert_int_equal(v.reply, 0);
	assert_int_equal(v.stale, 0);
	v = verdict_of(VERDICT_CHANGE, 0xffff, result);
	assert_int_equal(v.reply, 0);
	assert_int_equal(v.stale, 0x7fff);
}

/* The sentences of the header, spelled out, in case both implementations
 * read one of them wrongly. */
static void examples(void **state)
{
	static const struct {
		enum verdict_class class;
		int result[N];
		struct verdict want;
	} cases[] = {
		{ VERDICT_CHANGE, { 0, 0, 0 }, { 0, 0, 0, 0 } },
		{ VERDICT_CHANGE, { -EEXIST, -EEXIST, -EEXIST }, { -EEXIST, 0, 0, 0 } },
		{ VERDICT_CHANGE, { -EIO, -EIO, -EIO }, { -EIO, 0, 0, 0 } },
		{ VERDICT_CHANGE, { 0, -ENOSPC, -EIO }, { 0, 6, 2, 0 } },
		{ VERDICT_CHANGE, { 0, -EEXIST, 0 }, { 0, 2, 0, 0 } },
		{ VERDICT_CHANGE, { -EIO, -EEXIST, -EEXIST }, { -EEXIST, 1, 0, 0 } },
		{ VERDICT_CHANGE, { -EIO, -ENOSPC, -EROFS }, { -ENOSPC, 0, 0, 0 } },
		{ VERDICT_CHANGE, { 0, -ENOMEM, 0 }, { 0, 2, 0, 0 } },
		{ VERDICT_CHANGE, { -ENOMEM, -ENOMEM, -ENOMEM }, { -ENOMEM, 0, 0, 7 } },
		{ VERDICT_SYNC, { 0, -EIO, 0 }, { 0, 2, 0, 0 } },
		{ VERDICT_SYNC, { -EIO, -EIO, -EIO }, { -EIO, 0, 0, 0 } },
		{ VERDICT_SYNC, { -ENOSPC, -EIO, -EIO }, { -EIO, 0, 0, 0 } },
		{ VERDICT_SYNC, { -ENOSPC, 0, -EIO }, { 0, 5, 1, 0 } },
	};
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(cases); i++) {
		struct verdict v = verdict_of(cases[i].class, 7, cases[i].result);

		assert_int_equal(v.reply, cases[i].want.reply);
		assert_int_equal(v.stale, cases[i].want.stale);
		assert_int_equal(v.full, cases[i].want.full);
		assert_int_equal(v.retry, cases[i].want.retry);
	}
}

static void whom_an_errno_blames(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(table); i++)
		assert_int_equal(verdict_blames_member(table[i].err) != 0, table[i].who == 'm');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_results_of_three),
		cmocka_unit_test(never_all_stale),
		cmocka_unit_test(unasked_are_not_looked_at),
		cmocka_unit_test(examples),
		cmocka_unit_test(whom_an_errno_blames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
