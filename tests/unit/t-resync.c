/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stale mirror catches up with all that happened without it, also with what
 * happens while it does, and joins only when it is equal.
 */
#include "replica/resync.h"

#include <pthread.h>

#include "tests/unit/compare.h"

static char big[150000];

static void eject(struct bed *b, int m)
{
	volume_eject(b->v, 1u << m, EIO, "test", NULL);
	assert_false(volume_in_sync(b->v) & 1u << m);
}

static void tell_trouble(const struct scrub_finding *f, void *arg)
{
	if (strcmp(f->action, "repaired") != 0 && strcmp(f->action, "quarantined") != 0)
		bed_tell(f, arg);
}

static int run(struct bed *b, struct scrub_stats *s)
{
	const struct scrub_options opt = { .finding = tell_trouble };
	int r = resync_run(b->v, &opt, s);

	if (r < 0 || s->uncorrected || s->failed)
		print_message("resync: %d, %llu uncorrected, %llu failed\n", r,
			      (unsigned long long)s->uncorrected, (unsigned long long)s->failed);
	return r;
}

static struct scrub_stats catch_up(struct bed *b)
{
	struct scrub_stats s = { 0 };

	assert_int_equal(run(b, &s), 0);
	assert_int_equal(s.uncorrected, 0);
	assert_int_equal(volume_in_sync(b->v), (1u << b->n) - 1);
	assert_int_equal(atomic_load(&b->v->targets), 0);
	assert_string_equal(volume_health(b->v), "ok");
	return s;
}

static void assert_equal_now(struct bed *b)
{
	bed_seal(b);
	assert_int_equal(bed_scrub(b, false).found, 0);
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
	bed_reopen(b);
	assert_int_equal(volume_in_sync(b->v), (1u << b->n) - 1);
	assert_int_equal(bed_scrub(b, false).found, 0);
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
}

static void make_tree(struct bed *b)
{
	char path[64];

	fill_pattern(big, sizeof(big), 11);
	for (int d = 0; d < 4; d++) {
		snprintf(path, sizeof(path), "d%d", d);
		assert_int_equal(bed_mkdir(b, path), 0);
		snprintf(path, sizeof(path), "d%d/sub", d);
		assert_int_equal(bed_mkdir(b, path), 0);
		for (int f = 0; f < 5; f++) {
			snprintf(path, sizeof(path), "d%d/f%d", d, f);
			assert_int_equal(bed_write(b, path, big, 1000u * (unsigned)f), 0);
			snprintf(path, sizeof(path), "d%d/sub/g%d", d, f);
			assert_int_equal(bed_write(b, path, big, 30000u * (unsigned)f), 0);
		}
	}
	bed_seal(b);
}

static void change_everything(struct bed *b)
{
	struct stat in = { .st_mode = 0600, .st_uid = geteuid(), .st_mtim = { 77777, 7 } }, out;
	struct file *f;
	uint32_t node;

	assert_int_equal(bed_write(b, "d0/f1", "short now", 9), 0);
	assert_int_equal(bed_file(b, "d0/sub/g4", &f), 0);
	assert_int_equal(bed_pwrite(b, f, 50000, "patched", 7), 0);
	file_put(b->v, f);
	assert_int_equal(bed_unlink(b, "d0/f2", false), 0);
	for (int i = 0; i < 5; i++) {
		char path[64];

		snprintf(path, sizeof(path), "d1/sub/g%d", i);
		assert_int_equal(bed_unlink(b, path, false), 0);
	}
	assert_int_equal(bed_unlink(b, "d1/sub", true), 0);
	assert_int_equal(bed_rename(b, "d2", "d3/moved", 0), 0);
	assert_int_equal(bed_rename(b, "d3/sub", "d1/sub", 0), 0);
	assert_int_equal(bed_rename(b, "d0/f3", "d0/f4", RENAME_EXCHANGE), 0);
	assert_int_equal(bed_mkdir(b, "new"), 0);
	assert_int_equal(bed_mkdir(b, "new/deep"), 0);
	assert_int_equal(bed_write(b, "new/deep/file", big, sizeof(big)), 0);
	assert_int_equal(bed_make(b, "new/link", S_IFLNK, "deep/file"), 0);
	assert_int_equal(bed_link(b, "new/deep/file", "d0/hard"), 0);
	/* a name that is another kind of thing now */
	assert_int_equal(bed_unlink(b, "d0/f0", false), 0);
	assert_int_equal(bed_mkdir(b, "d0/f0"), 0);
	node = bed_node(b, "d1/f1", NULL);
	assert_int_equal(op_setattr(b->v, node, &in, ATTR_MODE | ATTR_MTIME, NULL, &b->space, &out),
			 0);
	assert_int_equal(op_setxattr(b->v, node, "user.new", "v", 1, 0, false), 0);
	tree_unref(b->v, node);
}

static void everything_it_missed(void **state)
{
	struct bed *b = *state;

	make_tree(b);
	eject(b, 1);
	change_everything(b);
	catch_up(b);
	assert_equal_now(b);
}

static void everything_it_missed_while_away(void **state)
{
	struct bed *b = *state;

	make_tree(b);
	bed_close(b);
	b->opt.degraded = true;
	assert_int_equal(bed_open_some(b, 5), 0);
	b->opt.degraded = false;
	change_everything(b);
	bed_reopen(b);
	assert_int_equal(volume_in_sync(b->v), 5);
	catch_up(b);
	assert_equal_now(b);
	assert_int_equal(bed_quarantined(b) > 0, 1); /* nothing of it was just deleted */
}

/* What it had and nobody else is put aside, and rot it brings is found. */
static void what_it_made_of_its_own(void **state)
{
	struct bed *b = *state;

	make_tree(b);
	eject(b, 0);
	put_file(b->fd[0], "d1/own", "mine", 4);
	put_file(b->fd[0], "d1/f4", "scribbled over it", 17);
	assert_int_equal(io_remove_tree(b->fd[0], "d2"), 0);
	assert_int_equal(bed_write(b, "d3/f1", "newer", 5), 0);
	catch_up(b);
	assert_false(exists(b->fd[0], "d1/own"));
	assert_true(bed_quarantined(b) >= 2);
	assert_equal_now(b);
}

static void nothing_missed_is_nothing_copied(void **state)
{
	struct bed *b = *state;
	struct stat before, after;

	make_tree(b);
	assert_int_equal(fstatat(b->fd[1], "d0/sub/g4", &before, 0), 0);
	eject(b, 1);
	catch_up(b);
	assert_int_equal(fstatat(b->fd[1], "d0/sub/g4", &after, 0), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(bed_quarantined(b), 0);
	assert_equal_now(b);
}

static void two_at_once(void **state)
{
	struct bed *b = *state;

	make_tree(b);
	eject(b, 0);
	assert_int_equal(bed_write(b, "d0/f1", "one", 3), 0);
	eject(b, 2);
	change_everything(b);
	catch_up(b);
	assert_equal_now(b);
}

/* The only source is bad: the target does not join. */
static void no_good_source(void **state)
{
	struct scrub_stats s = { 0 };
	struct bed *b = *state;

	make_tree(b);
	eject(b, 1);
	assert_int_equal(bed_write(b, "d0/f1", big, 5000), 0);
	assert_int_equal(bed_write(b, "d0/f2", big, 6000), 0);
	bed_reopen(b);
	bed_rot(b, 0, "d0/f1", 100);
	assert_true(resync_run(b->v, NULL, &s) < 0);
	assert_int_equal(volume_in_sync(b->v), 1);
	assert_int_equal(volume_member(b->v, 1, NULL), MEMBER_STALE);
	/* the rest came over, and it joins once the file is whole again */
	assert_true(bed_raw_is(b, 1, "d0/f2", big, 6000));
	bed_rot(b, 0, "d0/f1", 100);
	catch_up(b);
	assert_equal_now(b);
}

/* ---- changes while it goes on ---- */

struct changer {
	struct bed *b;
	struct io_space space;
	uint64_t seed;
	_Atomic bool stop;
	uint64_t done;
	int wrong;
};

static int change_name(struct changer *c, const char *dir, const char *other)
{
	struct bed *b = c->b;
	char a[64], z[64];
	int r;

	snprintf(a, sizeof(a), "%s/n%u", dir, (unsigned)(next_random(&c->seed) % 6));
	snprintf(z, sizeof(z), "%s/n%u", other, (unsigned)(next_random(&c->seed) % 6));
	switch (next_random(&c->seed) % 6) {
	case 0:
		r = bed_mkdir(b, a);
		break;
	case 1:
		r = bed_unlink(b, a, next_random(&c->seed) % 2);
		break;
	case 2: /* directories have one name */
		r = bed_link(b, a, z);
		break;
	default:
		r = bed_rename(b, a, z, 0);
	}
	return r == -ENOENT || r == -EEXIST || r == -EISDIR || r == -ENOTDIR || r == -ENOTEMPTY ||
	       r == -EPERM || r == -EINVAL ? 0 : r;
}

static int change_content(struct changer *c, const char *dir)
{
	uint64_t off = next_random(&c->seed) % 100000;
	struct bed *b = c->b;
	struct file *f;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "%s/n%u", dir, (unsigned)(next_random(&c->seed) % 6));
	r = bed_file(b, path, &f);
	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR || r == -EISDIR ? 0 : r;
	if (f->type == TYPE_OF(S_IFREG)) {
		ssize_t n = next_random(&c->seed) % 4 ?
			file_write(b->v, f, &c->space, off, big, 5000) :
			file_truncate(b->v, f, &c->space, off);

		r = n < 0 && n != -ESTALE ? (int)n : 0;
	}
	file_put(b->v, f);
	return r;
}

static void *change_on_and_on(void *arg)
{
	static const char *const dirs[] = { "d0", "d1", "d2", "d3", "d0/sub", "d3/sub" };
	struct changer *c = arg;

	while (!atomic_load(&c->stop) && !c->wrong) {
		const char *dir = dirs[next_random(&c->seed) % N_ELEMS(dirs)];

		c->wrong = next_random(&c->seed) % 2 ? change_content(c, dir) :
			change_name(c, dir, dirs[next_random(&c->seed) % N_ELEMS(dirs)]);
		if (c->done % 50 == 0)
			seal_run(c->b->v, false);
		c->done++;
	}
	return NULL;
}

static void changes_meanwhile(void **state)
{
	struct bed *b = *state;
	struct changer c = { .b = b, .seed = seed_of_run() };
	struct scrub_stats s;
	uint64_t all = 0;
	pthread_t t;
	int r;

	assert_int_equal(io_space_init(&c.space), 0);
	make_tree(b);
	for (int round = 0; round < 5; round++) {
		s = (struct scrub_stats){ 0 };
		eject(b, round % 2);
		change_content(&c, "d1");
		atomic_store(&c.stop, false);
		assert_int_equal(pthread_create(&t, NULL, change_on_and_on, &c), 0);
		r = run(b, &s);
		atomic_store(&c.stop, true);
		pthread_join(t, NULL);
		assert_int_equal(c.wrong, 0);
		assert_int_equal(r, 0);
		assert_int_equal(s.uncorrected, 0);
		assert_int_equal(volume_in_sync(b->v), 3);
		bed_seal(b);
		bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
		all += c.done;
	}
	print_message("%llu changes\n", (unsigned long long)all);
	io_space_free(&c.space);
	assert_equal_now(b);
}

/* An open file that changes just then, attributes included. */
static void open_files_meanwhile(void **state)
{
	struct bed *b = *state;
	struct stat in = { .st_mode = 06755 }, out;
	struct file *f, *gone;

	make_tree(b);
	assert_int_equal(bed_file(b, "d0/sub/g3", &f), 0);
	assert_int_equal(bed_file(b, "d0/sub/g2", &gone), 0);
	assert_int_equal(bed_pwrite(b, f, 0, "before", 6), 0);
	eject(b, 0);
	assert_int_equal(bed_pwrite(b, f, 4096, "without", 7), 0);
	assert_int_equal(op_setattr(b->v, f->node, &in, ATTR_MODE, NULL, &b->space, &out), 0);
	assert_int_equal(bed_unlink(b, "d0/sub/g2", false), 0);
	assert_int_equal(bed_pwrite(b, gone, 0, "nameless", 8), 0);
	catch_up(b);
	assert_int_equal(bed_pwrite(b, f, 8192, "again with", 10), 0);
	/* the nameless one lives on where it is; that is no fault of the other */
	assert_int_equal(bed_pwrite(b, gone, 5, "still", 5), 0);
	assert_int_equal(file_sync(b->v, gone, false), 0);
	assert_int_equal(volume_in_sync(b->v), 3);
	file_put(b->v, gone);
	file_put(b->v, f);
	assert_equal_now(b);
}

/* Cut short, then begun again. */
static void interrupted(void **state)
{
	struct scrub_stats s = { 0 };
	struct bed *b = *state;

	make_tree(b);
	eject(b, 1);
	change_everything(b);
	atomic_store(&b->v->stopping, true);
	assert_int_equal(resync_run(b->v, NULL, &s), -EINTR);
	atomic_store(&b->v->stopping, false);
	assert_int_equal(volume_in_sync(b->v), 1);
	bed_reopen(b);
	assert_int_equal(volume_in_sync(b->v), 1);
	catch_up(b);
	assert_equal_now(b);
}

/* As after mounting: in a thread of its own. */
static void in_the_background(void **state)
{
	struct bed *b = *state;
	int64_t until = clock_ms() + 20000;

	make_tree(b);
	eject(b, 1);
	change_everything(b);
	bed_reopen(b);
	assert_int_equal(resync_start(b->v), 0);
	while (volume_in_sync(b->v) != 3 && clock_ms() < until)
		usleep(2000);
	assert_int_equal(volume_in_sync(b->v), 3);
	assert_equal_now(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(everything_it_missed),
		bed_test_3(everything_it_missed_while_away),
		bed_test(what_it_made_of_its_own),
		bed_test(nothing_missed_is_nothing_copied),
		bed_test_3(two_at_once),
		bed_test(no_good_source),
		bed_test(changes_meanwhile),
		bed_test(open_files_meanwhile),
		bed_test(interrupted),
		bed_test(in_the_background),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
