/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger of a remote on its mirrors: logs that are damaged, torn, old, gone or
 * cannot be written; and many threads at a time.
 */
#include "replica/remote/ledger.h"

#include "replica/remote/ledger_log.h"
#include "tests/unit/ledger.h"

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
	struct ledger *l = open_ledger(b), *fresh;

	ledger_mark_entry(l, 20, "a", "x");
	ledger_flush(l);
	/* put back by somebody while we were not looking */
	put_file(b->fd[1], PLACE, "old", 3);
	ledger_mark_entry(l, 20, "a", "y");
	l = reopen(b, l);
	assert_int_equal(log_size(b, 0), log_size(b, 1));
	/* of the same size, but not the same */
	spoil(b, 1, log_size(b, 1) - 48);
	ledger_flush(l);
	spoil(b, 0, log_size(b, 0) - 48); /* the other one is good again, then */
	fresh = open_ledger(b);
	has(fresh, "20 'a' 0 x y\n");
	ledger_close(fresh);
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
		bed_test(damage),
		bed_test(torn),
		bed_test(united),
		bed_test(mirror_away),
		bed_test(flipped),
		bed_test(threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
