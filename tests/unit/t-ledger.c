/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger of a remote: bounds, renames, what is left after done, several mirrors,
 * damage, threads. t-ledger_random.c has it all at random.
 */
#include "replica/remote/ledger.h"

#include <malloc.h>

#include "replica/remote/ledger_log.h"
#include "replica/remote/remote_def.h"
#include "tests/unit/volume.h"

#define ID "0123456789abcdef"
#define PLACE DOT_DIR "/remote/" ID "/ledger"

static struct ledger *open_ledger(struct bed *b)
{
	struct ledger *l;

	assert_int_equal(ledger_open(b->v, ID, &l), 0);
	return l;
}

static struct ledger *reopen(struct bed *b, struct ledger *l)
{
	ledger_close(l);
	return open_ledger(b);
}

static struct ledger_stats stats(struct ledger *l)
{
	struct ledger_stats s;

	ledger_stats(l, &s);
	return s;
}

/* ---- one thing at a time ---- */

struct taken {
	struct mark *m;
	size_t n;
};

static struct taken take(struct ledger *l)
{
	struct taken t;

	assert_int_equal(ledger_take(l, &t.m, &t.n), 0);
	return t;
}

static void give_back(struct ledger *l, struct taken t)
{
	bool *again = malloc(t.n + 1);

	memset(again, 1, t.n + 1);
	ledger_done(l, t.m, t.n, again);
	free(again);
}

/* As text, one mark a line: "id path flags name name". */
static char *text_of(struct taken t)
{
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	for (size_t i = 0; i < t.n; i++) {
		fprintf(f, "%llu '%s' %u", (unsigned long long)t.m[i].id, t.m[i].path,
			t.m[i].flags);
		for (size_t k = 0; k < t.m[i].n_names; k++)
			fprintf(f, " %s", t.m[i].name[k]);
		fputc('\n', f);
	}
	fclose(f);
	return text;
}

static void has(struct ledger *l, const char *want)
{
	struct taken t = take(l);
	char *text = text_of(t);

	assert_string_equal(text, want);
	free(text);
	give_back(l, t);
}

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

static void mark_many(struct ledger *l, uint64_t dir, const char *path, unsigned n)
{
	char name[32];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "name %u", i);
		ledger_mark_entry(l, dir, path, name);
	}
}

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

/* ---- mirrors ---- */

static void spoil(struct bed *b, int m, off_t at)
{
	flip_byte(b->fd[m], PLACE, at, 0x10);
}

static off_t log_size(struct bed *b, int m)
{
	struct stat st;

	assert_int_equal(fstatat(b->fd[m], PLACE, &st, 0), 0);
	return st.st_size;
}

static void cut(struct bed *b, int m, off_t less)
{
	int fd = openat(b->fd[m], PLACE, O_WRONLY | O_CLOEXEC);

	assert_int_equal(ftruncate(fd, log_size(b, m) - less), 0);
	close(fd);
}

#define SAID "20 'a' 0 x\n21 'b' 0 x\n22 'c' 0 x\n"

static void fill(struct bed *b)
{
	struct ledger *l;

	for (int m = 0; m < 2; m++)
		io_remove_tree(b->fd[m], PLACE);
	l = open_ledger(b);
	for (unsigned i = 0; i < 3; i++) {
		ledger_mark_entry(l, 20 + i, (const char *[]){ "a", "b", "c" }[i], "x");
		ledger_flush(l);
	}
	ledger_close(l);
}

static void check(struct bed *b, const char *want)
{
	struct ledger *l = open_ledger(b);
	char *one, *two;
	size_t n1, n2;

	has(l, want);
	ledger_close(l);
	/* mended: both are good again */
	l = open_ledger(b);
	has(l, want);
	ledger_close(l);
	assert_int_equal(bed_raw(b, 0, PLACE, &one, &n1), 0);
	assert_int_equal(bed_raw(b, 1, PLACE, &two, &n2), 0);
	assert_int_equal(n1, n2);
	assert_memory_equal(one, two, n1);
	free(one);
	free(two);
}

static void damage(void **state)
{
	struct bed *b = *state;
	off_t size;

	fill(b);
	size = log_size(b, 0);
	check(b, SAID);
	assert_int_equal(log_size(b, 0), size); /* nothing to mend: not made anew */
	for (int m = 0; m < 2; m++) {
		fill(b);
		spoil(b, m, size / 2);
		check(b, SAID);
		fill(b);
		spoil(b, m, 3); /* no head */
		check(b, SAID);
		fill(b);
		assert_int_equal(unlinkat(b->fd[m], PLACE, 0), 0);
		check(b, SAID);
		fill(b);
		put_file(b->fd[m], PLACE, "", 0);
		check(b, SAID);
		fill(b);
		cut(b, m, 1);
		check(b, SAID);
	}
	/* on both */
	fill(b);
	spoil(b, 0, size / 2);
	spoil(b, 1, size / 2 + 100);
	check(b, "1 '' 15\n");
	fill(b);
	put_file(b->fd[0], PLACE, "", 0);
	assert_int_equal(unlinkat(b->fd[1], PLACE, 0), 0);
	check(b, "1 '' 15\n");
	/* of another remote */
	fill(b);
	for (int m = 0; m < 2; m++)
		assert_int_equal(renameat(b->fd[m], DOT_DIR "/remote/" ID, b->fd[m],
					  DOT_DIR "/remote/fedcba9876543210"), 0);
	assert_int_equal(mkdirat(b->fd[0], DOT_DIR "/remote/" ID, 0700), 0);
	assert_int_equal(renameat(b->fd[0], DOT_DIR "/remote/fedcba9876543210/ledger", b->fd[0],
				  PLACE), 0);
	check(b, SAID);
}

static void torn(void **state)
{
	struct bed *b = *state;

	/* A power cut leaves a torn end; after an orderly end there is no such thing. */
	fill(b);
	cut(b, 0, 9);
	cut(b, 1, 10);
	check(b, "1 '' 15\n");
	fill(b);
	cut(b, 0, 9);
	cut(b, 1, 10);
	atomic_store(&b->v->unclean, true);
	check(b, "20 'a' 0 x\n21 'b' 0 x\n");
	fill(b);
	cut(b, 0, 100);
	cut(b, 1, 9);
	check(b, "20 'a' 0 x\n21 'b' 0 x\n");
	/* in the middle it is damage even so, and what comes behind it counts */
	fill(b);
	spoil(b, 0, 60);
	cut(b, 1, 9);
	check(b, SAID);
	fill(b);
	spoil(b, 0, 60);
	spoil(b, 1, 60);
	check(b, "1 '' 15\n");
	atomic_store(&b->v->unclean, false);
}

/* Each log has something that the other lacks. */
static void united(void **state)
{
	struct bed *b = *state;
	char *raw;
	struct ledger *l;
	size_t len;

	fill(b);
	assert_int_equal(bed_raw(b, 0, PLACE, &raw, &len), 0);
	l = open_ledger(b);
	ledger_mark_entry(l, 20, "a", "y");
	ledger_mark_dir(l, 30, "d", 1);
	ledger_removed(l, 21);
	ledger_close(l);
	put_file(b->fd[1], PLACE, raw, len);
	free(raw);
	check(b, "20 'a' 0 x y\n21 'b' 0 x\n22 'c' 0 x\n30 'd' 1\n");
}

static void mirror_away(void **state)
{
	struct bed *b = *state;
	struct ledger *l = open_ledger(b);

	ledger_mark_entry(l, 20, "a", "x");
	ledger_flush(l);
	/* put back by somebody while we were not looking */
	put_file(b->fd[1], PLACE, "old", 3);
	ledger_mark_entry(l, 20, "a", "y");
	l = reopen(b, l);
	assert_int_equal(log_size(b, 0), log_size(b, 1));
	/* cannot be written any more */
	assert_int_equal(unlinkat(b->fd[1], PLACE, 0), 0);
	assert_int_equal(mkdirat(b->fd[1], PLACE, 0700), 0);
	ledger_mark_entry(l, 20, "a", "z");
	ledger_flush(l);
	assert_int_equal(volume_in_sync(b->v), 1);
	/* the last one stays, and gets it all when it can */
	assert_int_equal(unlinkat(b->fd[0], PLACE, 0), 0);
	assert_int_equal(mkdirat(b->fd[0], PLACE, 0700), 0);
	ledger_mark_entry(l, 21, "b", "x");
	ledger_flush(l);
	ledger_flush(l);
	assert_int_equal(volume_in_sync(b->v), 1);
	assert_int_equal(unlinkat(b->fd[0], PLACE, AT_REMOVEDIR), 0);
	l = reopen(b, l);
	has(l, "20 'a' 0 x y z\n21 'b' 0 x\n");
	ledger_close(l);
	put_file(b->fd[0], DOT_DIR "/file", "", 0);
	assert_int_equal(io_remove_tree(b->fd[0], DOT_DIR "/remote"), 0);
	put_file(b->fd[0], DOT_DIR "/remote", "", 0);
	assert_true(ledger_open(b->v, ID, &l) < 0);
	assert_int_equal(unlinkat(b->fd[0], DOT_DIR "/remote", 0), 0);
	assert_int_equal(io_remove_tree(b->fd[1], DOT_DIR "/remote"), 0);
}

/* No flipped byte passes for a good log, and none does harm. */
static void flipped(void **state)
{
	struct bed *b = *state;
	struct ledger *l = open_ledger(b);
	uint64_t seed = seed_of_run();
	struct log_state s;
	struct marks m = { 0 };
	off_t size;
	int fd;

	mark_many(l, 20, "a/b", 5);
	ledger_flush(l);
	ledger_renamed(l, "a", "c");
	ledger_exchanged(l, "c/b", "d");
	ledger_mark_dir(l, 22, "x", 3);
	ledger_flush(l);
	ledger_removed(l, 22);
	ledger_mark_dir(l, 23, "y", 3);
	ledger_close(l);
	size = log_size(b, 0);
	fd = openat(b->fd[0], PLACE, O_RDONLY | O_CLOEXEC);
	log_replay(fd, ID, &m, &s);
	assert_true(!s.err && !s.skipped && !s.torn && s.size == (uint64_t)size);
	marks_clear(&m);
	for (off_t at = 0; at < size; at++) {
		spoil(b, 0, at);
		log_replay(fd, ID, &m, &s);
		assert_true(s.err || s.skipped || s.torn);
		marks_clear(&m);
		spoil(b, 0, at);
	}
	for (unsigned i = 0; i < 2000; i++) {
		for (unsigned k = next_random(&seed) % 20; k; k--)
			flip_byte(b->fd[0], PLACE, (off_t)(next_random(&seed) % (uint64_t)size),
				  (uint8_t)next_random(&seed));
		log_replay(fd, ID, &m, &s);
		marks_clear(&m);
	}
	close(fd);
}

/* ---- many threads ---- */

#define THREADS 3
#define PER_THREAD 20000

struct job {
	struct ledger *l;
	unsigned no;
};

static void *mark_thread(void *arg)
{
	struct job *j = arg;

	for (unsigned i = 0; i < PER_THREAD; i++) {
		char path[32], name[32];

		snprintf(path, sizeof(path), "d%u", i % 97);
		snprintf(name, sizeof(name), "%u-%u", j->no, i);
		ledger_mark_entry(j->l, 100 + i % 97, path, name);
		if (i % 1000 == 0)
			ledger_renamed(j->l, "e", "f");
		if (i % 3000 == 0)
			ledger_flush(j->l);
	}
	return NULL;
}

static void note_seen(struct taken t, uint8_t seen[THREADS][PER_THREAD])
{
	for (size_t i = 0; i < t.n; i++) {
		for (size_t k = 0; k < t.m[i].n_names; k++) {
			unsigned no, x;

			assert_int_equal(sscanf(t.m[i].name[k], "%u-%u", &no, &x), 2);
			seen[no][x] = 1;
		}
		if (t.m[i].flags & MARK_ENTRIES)
			for (unsigned x = (unsigned)t.m[i].id - 100; x < PER_THREAD; x += 97)
				for (unsigned no = 0; no < THREADS; no++)
					seen[no][x] = 1;
	}
}

static void threads(void **state)
{
	static uint8_t seen[THREADS][PER_THREAD];
	struct bed *b = *state;
	struct ledger *l = open_ledger(b);
	pthread_t id[THREADS];
	struct job job[THREADS];
	bool *again = malloc(1000);
	uint64_t seed = seed_of_run();

	for (unsigned i = 0; i < THREADS; i++) {
		job[i] = (struct job){ .l = l, .no = i };
		assert_int_equal(pthread_create(&id[i], NULL, mark_thread, &job[i]), 0);
	}
	for (unsigned round = 0; round < 200; round++) {
		struct taken t = take(l);

		note_seen(t, seen);
		assert_true(t.n <= 97);
		for (size_t i = 0; i < t.n; i++)
			again[i] = next_random(&seed) % 2;
		ledger_reached(l, ledger_seq(l), "d5/x");
		ledger_done(l, t.m, t.n, again);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(id[i], NULL);
	note_seen(take(l), seen);
	for (unsigned i = 0; i < THREADS; i++)
		for (unsigned k = 0; k < PER_THREAD; k++)
			assert_true(seen[i][k]);
	free(again);
	ledger_close(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(marks),
		bed_test(renames),
		bed_test(many_renames),
		bed_test(done),
		bed_test(many_names),
		bed_test(many_dirs),
		bed_test(memory_bounded),
		bed_test(log_bounded),
		bed_test(reached),
		bed_test(damage),
		bed_test(torn),
		bed_test(united),
		bed_test(mirror_away),
		bed_test(flipped),
		bed_test(threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
