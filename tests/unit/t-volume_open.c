/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which directories make a volume, and which are refused: exclusion that
 * survives, split-brain, clones, missing members, and file ids that are never
 * given twice.
 */
#include "replica/volume.h"

#include <sys/file.h>

#include "tests/unit/compare.h"

static struct superblock super(struct bed *b, int m)
{
	int dot = openat(b->fd[m], DOT_DIR, O_RDONLY | O_DIRECTORY);
	struct superblock sb;

	assert_int_equal(superblock_read(dot, &sb), 0);
	close(dot);
	return sb;
}

static enum member_state state_of(struct bed *b, int m)
{
	return volume_member(b->v, m, NULL);
}

static void assert_refused(struct bed *b, uint32_t mask)
{
	assert_true(bed_open_some(b, mask) < 0);
	assert_null(b->v);
}

static void open_degraded(struct bed *b, uint32_t mask)
{
	b->opt.degraded = true;
	assert_int_equal(bed_open_some(b, mask), 0);
	b->opt.degraded = false;
}

static void clean_and_unclean(void **state)
{
	struct bed *b = *state;

	assert_false(super(b, 0).clean);
	assert_false(atomic_load(&b->v->unclean));
	bed_close(b);
	assert_true(super(b, 0).clean && super(b, 1).clean);
	assert_string_equal(super(b, 1).members[1].path, b->path[1]);
	bed_open(b);
	assert_string_equal(volume_health(b->v), "ok");
	assert_int_equal(volume_in_sync(b->v), 3);
}

/* The order typed at mount does not matter. */
static void order_of_the_directories(void **state)
{
	struct bed *b = *state;
	const char *dirs[2] = { b->path[1], b->path[0] };

	bed_close(b);
	assert_int_equal(volume_open(2, dirs, &b->opt, &b->v), 0);
	assert_string_equal(volume_path(b->v, 0), b->path[0]);
	assert_string_equal(volume_path(b->v, 1), b->path[1]);
}

static void in_use(void **state)
{
	struct bed *b = *state;
	const char *dirs[2] = { b->path[0], b->path[1] };
	struct volume *again = NULL;

	assert_int_equal(volume_open(2, dirs, &b->opt, &again), -EBUSY);
	assert_null(again);
}

static void what_is_no_mirror(void **state)
{
	struct bed *b = *state;
	char other[400];
	const char *dirs[2] = { b->path[0], other };

	bed_close(b);
	snprintf(other, sizeof(other), "%s/other", b->base);
	assert_true(volume_open(2, dirs, &b->opt, &b->v) < 0);
	assert_int_equal(mkdir(other, 0755), 0);
	assert_int_equal(volume_open(2, dirs, &b->opt, &b->v), -ENOENT); /* absent, not empty */
	snprintf(other, sizeof(other), "%s/other/sub", b->base);
	assert_int_equal(mkdir(other, 0755), 0);
	snprintf(other, sizeof(other), "%s/other", b->base);
	b->opt.degraded = true; /* files of somebody are never a mirror */
	assert_int_equal(volume_open(2, dirs, &b->opt, &b->v), -EINVAL);
	b->opt.degraded = false;
	dirs[1] = b->path[0];
	assert_int_equal(volume_open(2, dirs, &b->opt, &b->v), -EINVAL);
	assert_null(b->v);
}

static void another_volume(void **state)
{
	struct bed *b = *state, *other = bed_new(2);
	const char *dirs[2] = { b->path[0], other->path[1] };

	bed_close(b);
	bed_close(other);
	b->opt.degraded = true;
	assert_int_equal(volume_open(2, dirs, &b->opt, &b->v), -EINVAL);
	bed_free(other);
}

static void missing_member(void **state)
{
	struct bed *b = *state;
	uint64_t epoch = super(b, 0).epoch;

	bed_close(b);
	assert_refused(b, 1);
	assert_int_equal(super(b, 0).epoch, epoch); /* a refusal changes nothing */
	open_degraded(b, 1);
	assert_int_equal(volume_in_sync(b->v), 1);
	assert_int_equal(state_of(b, 1), MEMBER_ABSENT);
	assert_string_equal(volume_health(b->v), "degraded");
	assert_int_equal(super(b, 0).epoch, epoch + 1);
	assert_int_equal(bed_write(b, "new", "1", 1), 0);
	bed_close(b);
	/* the other one missed something: alone it would show less */
	bed_open(b);
	assert_int_equal(volume_in_sync(b->v), 1);
	assert_int_equal(state_of(b, 1), MEMBER_STALE);
	assert_int_equal(bed_read(b, "new", (char[4]){ 0 }, 4), 1);
}

/* Looking at what is left changes no epoch. */
static void missing_member_read_only(void **state)
{
	struct bed *b = *state;
	struct superblock before;

	bed_close(b);
	before = super(b, 0);
	b->opt.read_only = true;
	open_degraded(b, 1);
	bed_close(b);
	b->opt.read_only = false;
	assert_int_equal(super(b, 0).epoch, before.epoch);
	assert_int_equal(super(b, 0).seq, before.seq);
	bed_open(b);
	assert_int_equal(volume_in_sync(b->v), 3);
}

static int eject_and_die(struct bed *b)
{
	if (bed_write(b, "f", "old", 3) < 0)
		return -1;
	volume_eject(b->v, 2, EIO, "test", "f");
	return bed_write(b, "f", "newer", 5);
}

/* Excluded before the next acknowledgement, whatever happens then. */
static void an_ejection_is_durable(void **state)
{
	struct bed *b = *state;
	char reason[128];
	char buf[16];

	bed_crash(b, 3, eject_and_die);
	assert_int_equal(super(b, 0).members[1].state, MEMBER_STALE);
	assert_refused(b, 2);  /* alone: a member is missing */
	assert_refused(b, 1);
	bed_open(b);
	assert_int_equal(volume_in_sync(b->v), 1);
	assert_int_equal(volume_member(b->v, 1, reason), MEMBER_STALE);
	assert_non_null(strstr(reason, "test"));
	assert_int_equal(bed_read(b, "f", buf, sizeof(buf)), 5);
	assert_memory_equal(buf, "newer", 5);
}

static void ejection_rules(void **state)
{
	struct bed *b = *state;

	volume_eject(b->v, 4, ENOSPC, "write", NULL);
	assert_int_equal(state_of(b, 2), MEMBER_FULL);
	assert_int_equal(volume_in_sync(b->v), 3);
	volume_eject(b->v, 4, EIO, "write", NULL); /* once is enough */
	assert_int_equal(bed_counter(b, CNT_EJECTED), 1);
	volume_eject(b->v, 3, EIO, "fsync", NULL); /* never all */
	assert_int_equal(volume_in_sync(b->v), 3);
	volume_eject(b->v, 1, EIO, "fsync", NULL);
	assert_int_equal(volume_in_sync(b->v), 2);
	volume_eject(b->v, 2, EIO, "fsync", NULL); /* nor the last */
	assert_int_equal(volume_in_sync(b->v), 2);
	assert_int_equal(bed_counter(b, CNT_EJECTED), 2);
	assert_int_equal(bed_mkdir(b, "d"), 0);
	assert_true(exists(b->fd[1], "d"));
	assert_false(exists(b->fd[0], "d") || exists(b->fd[2], "d"));
	bed_close(b);
	assert_true(superblock_compare(&(struct superblock[1]){ super(b, 0) }[0],
				       &(struct superblock[1]){ super(b, 1) }[0]) == SB_OLDER);
	bed_open(b);
	assert_int_equal(volume_in_sync(b->v), 2);
}

static void stale_mirrors_alone_are_refused(void **state)
{
	struct bed *b = *state;

	volume_eject(b->v, 2, EIO, "test", NULL);
	bed_close(b);
	/* told by mirror 0 that it is stale, mirror 1 never is taken for new */
	bed_open(b);
	assert_int_equal(volume_in_sync(b->v), 1);
	assert_int_equal(resync_run(b->v, NULL, &(struct scrub_stats){ 0 }), 0);
	assert_int_equal(volume_in_sync(b->v), 3);
	bed_close(b);
	bed_open(b);
	assert_int_equal(volume_in_sync(b->v), 3);
}

static void split_brain(void **state)
{
	struct bed *b = *state;
	char buf[8];

	bed_close(b);
	open_degraded(b, 1);
	assert_int_equal(bed_write(b, "f", "zero", 4), 0);
	bed_close(b);
	open_degraded(b, 2);
	assert_int_equal(bed_write(b, "f", "one", 3), 0);
	bed_close(b);
	assert_refused(b, 3);
	b->opt.degraded = true;
	assert_refused(b, 3);
	b->opt.degraded = false;
	/* either alone can still be had */
	open_degraded(b, 1);
	assert_int_equal(bed_read(b, "f", buf, sizeof(buf)), 4);
	bed_close(b);
	open_degraded(b, 2);
	assert_int_equal(bed_read(b, "f", buf, sizeof(buf)), 3);
}

/* Mirror m replaced by a copy of it in another directory. */
static void copy_mirror(struct bed *b, int m)
{
	char cmd[2400];

	snprintf(cmd, sizeof(cmd), "cp -a '%s' '%s.copy' && mv '%s' '%s.orig' && mv '%s.copy' '%s'",
		 b->path[m], b->path[m], b->path[m], b->path[m], b->path[m], b->path[m]);
	assert_int_equal(system(cmd), 0);
	close(b->fd[m]);
	b->fd[m] = open(b->path[m], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void a_clone(void **state)
{
	struct bed *b = *state;
	char both[2][400];
	const char *dirs[2];

	assert_int_equal(bed_write(b, "f", "abc", 3), 0);
	bed_close(b);
	copy_mirror(b, 1);
	assert_refused(b, 3);
	/* the original and its copy at once */
	snprintf(both[0], sizeof(both[0]), "%s", b->path[1]);
	snprintf(both[1], sizeof(both[1]), "%s.orig", b->path[1]);
	dirs[0] = both[0];
	dirs[1] = both[1];
	b->opt.clone = b->opt.degraded = true;
	assert_int_equal(volume_open(2, dirs, &b->opt, &b->v), -EINVAL);
	b->opt.degraded = false;
	/* taken as a stale one, and as good as the others after comparing */
	bed_open(b);
	assert_int_equal(volume_in_sync(b->v), 1);
	assert_int_equal(state_of(b, 1), MEMBER_STALE);
	assert_int_equal(resync_run(b->v, NULL, &(struct scrub_stats){ 0 }), 0);
	assert_int_equal(volume_in_sync(b->v), 3);
	bed_close(b);
	b->opt.clone = false;
	bed_open(b);
	assert_int_equal(volume_in_sync(b->v), 3);
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
	/* the original is an older state of the same mirror now */
	bed_close(b);
	dirs[0] = b->path[0];
	assert_int_equal(volume_open(2, dirs, &b->opt, &b->v), 0);
	assert_int_equal(volume_in_sync(b->v), 1);
	assert_int_equal(state_of(b, 1), MEMBER_STALE);
}

static void a_damaged_superblock(void **state)
{
	struct bed *b = *state;
	char junk[2 * SUPERBLOCK_SLOT];

	bed_close(b);
	/* one slot of it: the other is taken */
	flip_byte(b->fd[1], DOT_DIR "/volume", 100 + SUPERBLOCK_SLOT * (super(b, 1).seq % 2), 1);
	bed_open(b);
	bed_close(b);
	memset(junk, 'j', sizeof(junk));
	put_file(b->fd[1], DOT_DIR "/volume", junk, sizeof(junk));
	assert_refused(b, 3);
	assert_refused(b, 2);
}

/* ---- file ids ---- */

static uint64_t id_of(struct bed *b, const char *path)
{
	return bed_record(b, 0, path).id;
}

static int make_many_and_die(struct bed *b)
{
	char name[32];

	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "%d-%d", (int)getpid(), i);
		if (bed_write(b, name, "x", 1) < 0)
			return -1;
	}
	/* the last ones vanish with the crash, their ids must not come back */
	for (int i = 25; i < 50; i++) {
		snprintf(name, sizeof(name), "%d-%d", (int)getpid(), i);
		if (bed_unlink(b, name, false) < 0)
			return -1;
	}
	return 0;
}

static void ids_are_never_reused(void **state)
{
	struct bed *b = *state;
	uint64_t last = 0;
	char name[32];

	for (int round = 0; round < 6; round++) {
		uint64_t id;

		snprintf(name, sizeof(name), "round%d", round);
		assert_int_equal(bed_write(b, name, "x", 1), 0);
		id = id_of(b, name);
		assert_true(id > last + (round ? 50 * (round % 2) : 0));
		last = id;
		if (round % 2)
			bed_reopen(b);
		else
			bed_crash(b, 3, make_many_and_die);
		if (!b->v)
			bed_open(b);
	}
}

static void ids_past_the_reserve(void **state)
{
	struct bed *b = *state;
	uint64_t first = volume_new_id(b->v), id = 0;

	atomic_store(&b->v->next_id, atomic_load(&b->v->id_limit) - 3);
	for (int i = 0; i < 6; i++) {
		id = volume_new_id(b->v);
		assert_true(id > first);
	}
	assert_true(super(b, 0).next_id > id && super(b, 1).next_id > id);
	assert_int_equal(bed_write(b, "f", "x", 1), 0);
	assert_true(id_of(b, "f") > id);
}

static void preferred_spreads(void **state)
{
	struct bed *b = *state;
	unsigned hits[3] = { 0 };

	for (uint64_t id = 16; id < 3016; id++)
		hits[volume_preferred(b->v, id)]++;
	for (int m = 0; m < 3; m++)
		assert_true(hits[m] > 500);
	volume_eject(b->v, 2, EIO, "test", NULL);
	for (uint64_t id = 16; id < 3016; id++)
		assert_int_not_equal(volume_preferred(b->v, id), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(clean_and_unclean),
		bed_test(order_of_the_directories),
		bed_test(in_use),
		bed_test(what_is_no_mirror),
		bed_test(another_volume),
		bed_test(missing_member),
		bed_test(missing_member_read_only),
		bed_test(an_ejection_is_durable),
		bed_test_3(ejection_rules),
		bed_test(stale_mirrors_alone_are_refused),
		bed_test(split_brain),
		bed_test(a_clone),
		bed_test(a_damaged_superblock),
		bed_test(ids_are_never_reused),
		bed_test(ids_past_the_reserve),
		bed_test_3(preferred_spreads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
