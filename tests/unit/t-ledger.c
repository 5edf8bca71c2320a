/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger of a remote: marks, renames, what is left after done, bounds, waiting.
 * Mirrors and damage are in t-ledger_disk.c, everything at random in t-ledger_random.c.
 */
#include "replica/remote/ledger.h"

#include <malloc.h>

#include "replica/remote/ledger_marks.h"
#include "tests/unit/ledger.h"

static void marks(void **state)
{
	struct bed *b = *state;
	struct ledger *l = open_ledger(b);

	has(l, "");
	assert_true(exists(b->fd[0], PLACE) && exists(b->fd[1], PLACE));
	ledger_mark_entry(l, 20, "a/b", "y");
	ledger_mark_entry(l, 20, "a/b", "x");
	ledger_mark_entry(l, 20, "a/b", "y");
	ledger_mark_dir(l, 20, "a/b", MARK_ATTRS);
	ledger_mark_dir(l, 21, "a", MARK_NAMES);
	ledger_mark_dir(l, 22, "c", 0);
	has(l, "21 'a' 2\n20 'a/b' 1 x y\n");
	assert_int_equal(stats(l).dirs, 2);
	assert_int_equal(stats(l).names, 2);
	assert_true(stats(l).since > 0 && !stats(l).all);
	l = reopen(b, l);
	has(l, "21 'a' 2\n20 'a/b' 1 x y\n");
	/* single names are part of all of them */
	ledger_mark_dir(l, 20, "a/b", MARK_ENTRIES | MARK_NAMES);
	ledger_mark_entry(l, 20, "a/b", "z");
	ledger_mark_dir(l, 21, "a", MARK_BELOW);
	ledger_mark_entry(l, 21, "a", "z");
	has(l, "21 'a' 10\n20 'a/b' 7\n");
	ledger_removed(l, 20);
	has(l, "21 'a' 10\n");
	l = reopen(b, l);
	has(l, "21 'a' 10\n");
	/* what cannot be a name or a path is everything */
	ledger_mark_entry(l, 22, "c", "a/b");
	has(l, "21 'a' 10\n22 'c' 6\n");
	ledger_mark_entry(l, 22, "/c", "a");
	has(l, "1 '' 15\n");
	l = reopen(b, l);
	has(l, "1 '' 15\n");
	assert_true(stats(l).all && stats(l).dirs == 1 && stats(l).since > 0);
	ledger_close(l);
	assert_int_equal(ledger_open(b->v, "../..", &l), -EINVAL);
}

static void renames(void **state)
{
	struct bed *b = *state;
	struct ledger *l = open_ledger(b);
	struct taken t;

	ledger_mark_dir(l, 20, "a/b", 1);
	ledger_mark_dir(l, 21, "a", 1);
	ledger_mark_dir(l, 22, "ab", 1);
	ledger_mark_dir(l, 23, "x/y/z", 1);
	ledger_renamed(l, "a", "n/m");
	ledger_mark_dir(l, 24, "a", 1); /* another one, made after it */
	ledger_mark_dir(l, 25, "n/m/k", 1);
	has(l, "24 'a' 1\n22 'ab' 1\n21 'n/m' 1\n20 'n/m/b' 1\n25 'n/m/k' 1\n23 'x/y/z' 1\n");
	l = reopen(b, l);
	has(l, "24 'a' 1\n22 'ab' 1\n21 'n/m' 1\n20 'n/m/b' 1\n25 'n/m/k' 1\n23 'x/y/z' 1\n");
	ledger_exchanged(l, "n/m", "x/y");
	has(l, "24 'a' 1\n22 'ab' 1\n23 'n/m/z' 1\n21 'x/y' 1\n20 'x/y/b' 1\n25 'x/y/k' 1\n");
	/* there and back, and while they are taken; in the log they come after the marks */
	ledger_flush(l);
	t = take(l);
	ledger_renamed(l, "x", "q");
	ledger_renamed(l, "q/y", "r");
	ledger_mark_entry(l, 20, "r/b", "name");
	ledger_flush(l);
	ledger_renamed(l, "a", "b");
	give_back(l, t);
	has(l, "22 'ab' 1\n24 'b' 1\n23 'n/m/z' 1\n21 'r' 1\n20 'r/b' 1 name\n25 'r/k' 1\n");
	l = reopen(b, l);
	has(l, "22 'ab' 1\n24 'b' 1\n23 'n/m/z' 1\n21 'r' 1\n20 'r/b' 1 name\n25 'r/k' 1\n");
	ledger_close(l);
}

/* A wrong hint, and a rename that fits it: the last word counts, in the log too. */
static void wrong_hint(void **state)
{
	struct bed *b = *state;
	struct ledger *l = open_ledger(b);

	ledger_mark_dir(l, 20, "a", 1);
	ledger_flush(l);
	ledger_renamed(l, "a", "b");
	ledger_mark_dir(l, 20, "a", 1);
	has(l, "20 'a' 1\n");
	l = reopen(b, l);
	has(l, "20 'a' 1\n");
	ledger_close(l);
}

static void many_renames(void **state)
{
	struct bed *b = *state;
	struct ledger *l = open_ledger(b);
	char from[32] = "d", to[32], want[64];

	ledger_mark_dir(l, 20, "d/e", 1);
	ledger_flush(l);
	for (int i = 0; i < 3 * LEDGER_MOVES + 7; i++) {
		snprintf(to, sizeof(to), "d%d", i);
		ledger_renamed(l, from, to);
		memcpy(from, to, sizeof(to));
	}
	snprintf(want, sizeof(want), "20 '%s/e' 1\n", from);
	l = reopen(b, l);
	has(l, want);
	/* more than a log is played back with at a time */
	for (int i = 0; i < 3 * LEDGER_MOVES + 7; i++) {
		snprintf(to, sizeof(to), "e%d", i);
		ledger_renamed(l, from, to);
		memcpy(from, to, sizeof(to));
		if (i % 500 == 0)
			ledger_flush(l);
	}
	snprintf(want, sizeof(want), "20 '%s/e' 1\n", from);
	l = reopen(b, l);
	has(l, want);
	ledger_close(l);
}

static void done(void **state)
{
	struct bed *b = *state;
	struct ledger *l = open_ledger(b);
	bool again[3] = { false, true, false };
	struct taken t, none;

	ledger_mark_entry(l, 20, "a", "x");
	ledger_mark_entry(l, 21, "b", "x");
	ledger_mark_entry(l, 22, "c", "x");
	ledger_flush(l);
	ledger_hold(l);
	ledger_hold(l);
	ledger_let(l);
	assert_int_equal(ledger_take(l, &none.m, &none.n), -EINPROGRESS);
	ledger_let(l);
	t = take(l);
	assert_int_equal(ledger_take(l, &none.m, &none.n), -EBUSY);
	/* marked again while it is worked on, flushed before it is done */
	ledger_mark_entry(l, 20, "a", "y");
	ledger_mark_entry(l, 21, "b", "y");
	ledger_flush(l);
	ledger_mark_entry(l, 20, "a", "z");
	ledger_done(l, t.m, t.n, again);
	has(l, "20 'a' 0 y z\n21 'b' 0 x y\n");
	l = reopen(b, l);
	has(l, "20 'a' 0 y z\n21 'b' 0 x y\n");
	/* removed while it is worked on: again or not, it is gone */
	t = take(l);
	ledger_removed(l, 20);
	give_back(l, t);
	has(l, "21 'b' 0 x y\n");
	l = reopen(b, l);
	has(l, "21 'b' 0 x y\n");
	/* a close in between keeps it all */
	t = take(l);
	ledger_mark_entry(l, 21, "b", "z");
	l = reopen(b, l);
	has(l, "21 'b' 0 x y z\n");
	t = take(l);
	ledger_done(l, t.m, t.n, NULL);
	has(l, "");
	assert_true(stats(l).since == 0 && stats(l).dirs == 0);
	l = reopen(b, l);
	has(l, "");
	/* everything, and a mark since */
	ledger_mark_dir(l, ROOT_ID, "", MARK_BELOW);
	t = take(l);
	ledger_mark_entry(l, 21, "b", "x");
	ledger_flush(l);
	ledger_done(l, t.m, t.n, NULL);
	l = reopen(b, l);
	has(l, "21 'b' 0 x\n");
	ledger_close(l);
}

/* ---- bounds ---- */

static void many_names(void **state)
{
	struct bed *b = *state;
	struct ledger *l = open_ledger(b);

	mark_many(l, 20, "a", LEDGER_NAMES);
	assert_int_equal(stats(l).names, LEDGER_NAMES);
	l = reopen(b, l);
	assert_int_equal(stats(l).names, LEDGER_NAMES);
	ledger_mark_entry(l, 20, "a", "one more");
	has(l, "20 'a' 6\n");
	l = reopen(b, l);
	has(l, "20 'a' 6\n");
	ledger_close(l);
}

static void many_dirs(void **state)
{
	struct bed *b = *state;
	struct ledger *l = open_ledger(b);
	uint64_t i, seq;
	char path[32];

	for (i = 0; i < LEDGER_DIRS; i++) {
		snprintf(path, sizeof(path), "dir/%llu", (unsigned long long)i);
		ledger_mark_entry(l, 100 + i, path, "x");
	}
	assert_false(stats(l).all);
	ledger_flush(l);
	l = reopen(b, l);
	assert_int_equal(stats(l).dirs, LEDGER_DIRS);
	assert_int_equal(stats(l).names, LEDGER_DIRS);
	seq = ledger_seq(l);
	assert_false(ledger_reached(l, 1, NULL)); /* as old as it was */
	ledger_mark_entry(l, 100 + i, "dir", "x");
	assert_int_equal(ledger_seq(l), seq + 1);
	assert_false(ledger_reached(l, 1, NULL));
	has(l, "1 '' 15\n");
	assert_true(stats(l).memory < 1000);
	l = reopen(b, l);
	has(l, "1 '' 15\n");
	assert_true(stats(l).bytes < 1000);
	ledger_close(l);
}

/* A long name in many directories: coarser, not all at once, and nothing is lost. */
static void memory_bounded(void **state)
{
	unsigned dirs = 40000, each = getenv("MIRRORFS_TEST_LONG") ? 250 : 50;
	struct bed *b = *state;
	struct ledger *l = open_ledger(b);
	struct taken t;
	size_t whole = 0;

	for (unsigned n = 0; n < each; n++)
		for (unsigned d = 0; d < dirs; d++) {
			char path[64], name[64];

			snprintf(path, sizeof(path), "some/where/below/%u", d);
			snprintf(name, sizeof(name), "a file of a longer name %u", n);
			ledger_mark_entry(l, 100 + d, path, name);
			if (d == 0 && n % 25 == 0)
				ledger_flush(l);
		}
	assert_true(stats(l).memory < 64u << 20);
	assert_true(mallinfo2().uordblks < 160u << 20);
	assert_true(stats(l).bytes < 64u << 20);
	t = take(l);
	assert_int_equal(t.n, dirs);
	for (size_t i = 0; i < t.n; i++)
		whole += (t.m[i].flags & MARK_EACH) == MARK_EACH;
	assert_int_equal(whole, dirs);
	give_back(l, t);
	ledger_close(l);
}

static void log_bounded(void **state)
{
	struct bed *b = *state;
	struct ledger *l = open_ledger(b);
	uint64_t most = 0, before = 0;
	bool shrank = false;

	ledger_mark_dir(l, 500, "keep", 1);
	for (unsigned i = 0; i < 600; i++) {
		struct taken t;
		uint64_t bytes;

		mark_many(l, 20 + i % 7, "some/dir", 300);
		ledger_flush(l);
		t = take(l);
		ledger_mark_dir(l, 500, "keep", 1);
		ledger_done(l, t.m, t.n, NULL);
		bytes = stats(l).bytes;
		most = bytes > most ? bytes : most;
		shrank |= bytes < before;
		before = bytes;
	}
	/* never much above 1 MiB, with so little that counts */
	assert_true(most > 1000000 && most < 1100000 && shrank);
	has(l, "500 'keep' 1\n");
	l = reopen(b, l);
	has(l, "500 'keep' 1\n");
	ledger_close(l);
}

/* ---- waiting ---- */

static void reached(void **state)
{
	struct bed *b = *state;
	struct ledger *l = open_ledger(b);
	uint64_t first, second;
	bool again[1] = { true };
	struct taken t;

	assert_true(ledger_reached(l, ledger_seq(l), NULL));
	ledger_mark_entry(l, 20, "a/b", "x");
	first = ledger_seq(l);
	ledger_mark_entry(l, 20, "a/b", "y");
	second = ledger_seq(l);
	assert_true(second > first);
	assert_true(ledger_reached(l, first - 1, NULL));
	assert_false(ledger_reached(l, first, NULL));
	assert_false(ledger_reached(l, first, ""));
	assert_false(ledger_reached(l, first, "a"));
	assert_false(ledger_reached(l, first, "a/b"));
	assert_false(ledger_reached(l, first, "a/b/x"));
	assert_false(ledger_reached(l, first, "a/b/x/below")); /* a directory that is new */
	assert_true(ledger_reached(l, first, "a/b/z"));
	assert_true(ledger_reached(l, first, "a/bb"));
	assert_true(ledger_reached(l, first, "a/c"));
	assert_true(ledger_reached(l, first, "x"));
	/* taken is not there yet; what comes later is not waited for */
	t = take(l);
	assert_false(ledger_reached(l, first, NULL));
	ledger_mark_entry(l, 20, "a/b", "x");
	ledger_renamed(l, "a", "q");
	assert_true(ledger_reached(l, second, "a/b/x"));
	assert_false(ledger_reached(l, second, "q/b/x"));
	ledger_done(l, t.m, t.n, NULL);
	assert_true(ledger_reached(l, second, NULL));
	assert_false(ledger_reached(l, ledger_seq(l), NULL));
	/* not finished: as old as it was */
	t = take(l);
	ledger_mark_entry(l, 20, "q/b", "x");
	ledger_done(l, t.m, t.n, again);
	assert_false(ledger_reached(l, second + 1, NULL));
	/* above: whatever may be on the way */
	ledger_mark_dir(l, 30, "m", MARK_ATTRS);
	assert_true(ledger_reached(l, ledger_seq(l), "m/n/o"));
	ledger_mark_dir(l, 30, "m", MARK_NAMES);
	assert_false(ledger_reached(l, ledger_seq(l), "m/n"));
	ledger_mark_dir(l, 31, "k", MARK_BELOW);
	assert_false(ledger_reached(l, ledger_seq(l), "k/l/m/n"));
	ledger_mark_dir(l, ROOT_ID, "", MARK_BELOW);
	assert_false(ledger_reached(l, second + 1, "x"));
	ledger_close(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(marks),
		bed_test(renames),
		bed_test(wrong_hint),
		bed_test(many_renames),
		bed_test(done),
		bed_test(many_names),
		bed_test(many_dirs),
		bed_test(memory_bounded),
		bed_test(log_bounded),
		bed_test(reached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
