/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sealing: OPEN while it changes, sealed and alike when it rests, and not
 * to be seen from outside. */
#include "replica/seal.h"

#include "tests/unit/compare.h"

static void open_then_sealed(void **state)
{
	struct bed *b = *state;
	struct record r;

	assert_int_equal(bed_mkdir(b, "d"), 0);
	assert_int_equal(bed_write(b, "d/f", "abc", 3), 0);
	assert_int_equal(bed_make(b, "d/l", S_IFLNK, "there"), 0);
	for (int m = 0; m < 2; m++) {
		assert_int_equal(bed_record(b, m, "d").flags, RECORD_OPEN);
		assert_int_equal(bed_record(b, m, "d/f").flags, RECORD_OPEN);
		assert_int_equal(bed_record(b, m, "d/l").flags, RECORD_OPEN);
	}
	assert_int_equal(seal_pending(b->v), 4);
	bed_seal(b);
	for (int m = 0; m < 2; m++) {
		struct stat st;

		r = bed_record(b, m, "d/f");
		assert_int_equal(fstatat(b->fd[m], "d/f", &st, 0), 0);
		assert_int_equal(r.flags, 0);
		assert_int_equal(r.size, 3);
		assert_int_equal(r.hash, hash_leaf(r.id, 0, "abc", 3));
		assert_int_equal(r.mtime, ts_ns(&st.st_mtim));
		r = bed_record(b, m, "d");
		assert_int_equal(r.flags, 0);
		assert_int_equal(r.size, 2);
		assert_int_equal(r.hash, hash_entry("f", 1, 8, bed_record(b, m, "d/f").id) +
				 hash_entry("l", 1, 10, bed_record(b, m, "d/l").id));
		r = bed_record(b, m, "d/l");
		assert_int_equal(r.flags, 0);
		assert_int_equal(r.size, 5);
	}
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
}

static void gen_rises(void **state)
{
	struct bed *b = *state;
	uint64_t gen = 0;

	for (int i = 0; i < 5; i++) {
		assert_int_equal(bed_write(b, "f", "abcdef", (size_t)i + 1), 0);
		assert_true(bed_record(b, 1, "f").flags & RECORD_OPEN);
		bed_seal(b);
		assert_true(bed_record(b, 0, "f").gen > gen);
		gen = bed_record(b, 0, "f").gen;
		assert_int_equal(bed_record(b, 1, "f").gen, gen);
		bed_seal(b); /* nothing to do, nothing done */
		assert_int_equal(bed_record(b, 0, "f").gen, gen);
		bed_reopen(b);
		assert_int_equal(bed_record(b, 0, "f").gen, gen);
	}
}

/* What is still busy waits; all = false takes what has come to rest. */
static void busy_objects_wait(void **state)
{
	struct bed *b = *state;
	int64_t until;

	b->v->opt.seal_ms = 200;
	assert_int_equal(bed_write(b, "f", "x", 1), 0);
	assert_int_equal(seal_run(b->v, false), 0);
	assert_true(seal_pending(b->v) > 0);
	until = clock_ms() + 5000;
	while (seal_pending(b->v) && clock_ms() < until) {
		assert_int_equal(seal_run(b->v, false), 0);
		usleep(10000);
	}
	assert_int_equal(seal_pending(b->v), 0);
	assert_int_equal(bed_record(b, 0, "f").flags, 0);
}

static void times_are_level(void **state)
{
	struct bed *b = *state;
	const struct timespec odd[2] = { { 5, 5 }, { 6, 6 } };
	struct stat st[2];

	assert_int_equal(bed_mkdir(b, "d"), 0);
	assert_int_equal(bed_write(b, "d/f", "x", 1), 0);
	/* the mirrors' clocks never agree to the nanosecond: much more here */
	assert_int_equal(utimensat(b->fd[1], "d/f", odd, 0), 0);
	assert_int_equal(utimensat(b->fd[1], "d", odd, 0), 0);
	bed_seal(b);
	for (int m = 0; m < 2; m++)
		assert_int_equal(fstatat(b->fd[m], "d/f", &st[m], 0), 0);
	assert_int_equal(ts_ns(&st[0].st_mtim), ts_ns(&st[1].st_mtim));
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
}

static void a_user_sees_nothing_of_it(void **state)
{
	struct bed *b = *state;
	struct stat before, after;
	uint32_t node;

	assert_int_equal(bed_write(b, "f", "x", 1), 0);
	node = bed_node(b, "f", NULL);
	assert_int_equal(op_getattr(b->v, node, &before), 0);
	usleep(30000); /* so that the inode's own ctime is another one */
	bed_seal(b);
	assert_int_equal(op_getattr(b->v, node, &after), 0);
	assert_int_equal(ts_ns(&before.st_ctim), ts_ns(&after.st_ctim));
	assert_int_equal(ts_ns(&before.st_mtim), ts_ns(&after.st_mtim));
	tree_unref(b->v, node);
	bed_reopen(b);
	assert_int_equal(bed_stat(b, "f", &after), 0);
	assert_int_equal(ts_ns(&before.st_ctim), ts_ns(&after.st_ctim));
	assert_int_equal(before.st_ino, after.st_ino);
	/* a change by a user is seen, though it falls close to the sealing */
	assert_int_equal(bed_write(b, "f", "y", 1), 0);
	assert_int_equal(bed_stat(b, "f", &after), 0);
	assert_true(ts_ns(&after.st_ctim) > ts_ns(&before.st_ctim));
}

/* A mirror that cannot take a record is put out, the others are sealed. */
static void a_mirror_that_fails(void **state)
{
	struct bed *b = *state;

	assert_int_equal(bed_mkdir(b, "d"), 0);
	assert_int_equal(bed_write(b, "d/f", "x", 1), 0);
	assert_int_equal(unlinkat(b->fd[1], "d/f", 0), 0);
	assert_int_equal(seal_run(b->v, true), 0);
	assert_int_equal(volume_in_sync(b->v), 1);
	assert_int_equal(volume_member(b->v, 1, NULL), MEMBER_STALE);
	assert_int_equal(bed_record(b, 0, "d/f").flags, 0);
	assert_int_equal(resync_run(b->v, NULL, &(struct scrub_stats){ 0 }), 0);
	bed_seal(b);
	assert_int_equal(bed_scrub(b, false).found, 0);
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
}

static void in_the_background(void **state)
{
	struct bed *b = *state;
	int64_t until = clock_ms() + 10000;

	bed_close(b);
	b->opt.background = true;
	b->opt.seal_ms = 100;
	bed_open(b);
	assert_int_equal(bed_write(b, "f", "x", 1), 0);
	while (seal_pending(b->v) && clock_ms() < until)
		usleep(10000);
	assert_int_equal(seal_pending(b->v), 0);
	bed_close(b);
	assert_int_equal(bed_record(b, 0, "f").flags, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(open_then_sealed),
		bed_test(gen_rises),
		bed_test(busy_objects_wait),
		bed_test(times_are_level),
		bed_test(a_user_sees_nothing_of_it),
		bed_test(a_mirror_that_fails),
		bed_test(in_the_background),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
