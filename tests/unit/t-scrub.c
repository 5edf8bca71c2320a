/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The walk of scrub: what it counts, tells, leaves out, and how it ends. */
#include "replica/scrub.h"

#include "tests/unit/compare.h"

struct told {
	unsigned calls, findings, cancel_after;
	char path[256], action[32], member[300], source[300];
	uint64_t off, len;
};

static int on_progress(const struct scrub_stats *s, const char *path, void *arg)
{
	struct told *t = arg;

	assert_non_null(s);
	assert_non_null(path);
	return ++t->calls == t->cancel_after;
}

static void on_finding(const struct scrub_finding *f, void *arg)
{
	struct told *t = arg;

	t->findings++;
	snprintf(t->path, sizeof(t->path), "%s", f->path);
	snprintf(t->action, sizeof(t->action), "%s", f->action);
	snprintf(t->member, sizeof(t->member), "%s", f->member ? f->member : "");
	snprintf(t->source, sizeof(t->source), "%s", f->source ? f->source : "");
	t->off = f->off;
	t->len = f->len;
	assert_int_equal(strlen(f->item), 11);
}

static int scrub(struct bed *b, const char *path, bool dry_run, struct told *t,
		 struct scrub_stats *s)
{
	const struct scrub_options opt = { .dry_run = dry_run, .path = path, .arg = t,
					   .progress = on_progress, .finding = on_finding };

	return scrub_run(b->v, &opt, s);
}

static void make_tree(struct bed *b)
{
	static char data[20000];

	fill_pattern(data, sizeof(data), 3);
	assert_int_equal(bed_mkdir(b, "a"), 0);
	assert_int_equal(bed_mkdir(b, "a/b"), 0);
	assert_int_equal(bed_write(b, "a/x", data, sizeof(data)), 0);
	assert_int_equal(bed_write(b, "a/b/y", data, sizeof(data)), 0);
	assert_int_equal(bed_write(b, "top", data, sizeof(data)), 0);
	bed_reopen(b);
}

static void counts(void **state)
{
	struct bed *b = *state;
	struct scrub_stats s;
	struct told t = { 0 };

	make_tree(b);
	assert_int_equal(scrub(b, NULL, false, &t, &s), 0);
	assert_int_equal(s.files, 3);
	assert_true(s.dirs >= 2);
	assert_true(s.bytes >= 2 * 3 * 20000);
	assert_int_equal(s.found + s.corrected + s.uncorrected + s.failed, 0);
	assert_int_equal(t.findings, 0);
	assert_true(t.calls > 0);
}

static void tells_where_and_what(void **state)
{
	struct bed *b = *state;
	struct scrub_stats s;
	struct told t = { 0 };

	make_tree(b);
	bed_rot(b, 1, "a/b/y", 8192);
	assert_int_equal(scrub(b, "", true, &t, &s), 0);
	assert_int_equal(t.findings, 1);
	assert_string_equal(t.path, "a/b/y");
	assert_string_equal(t.action, "would repair");
	assert_int_equal(scrub(b, ".", false, &t, &s), 0);
	assert_string_equal(t.action, "repaired");
	assert_string_equal(t.member, b->path[1]);
	assert_string_equal(t.source, b->path[0]);
	assert_int_equal(s.corrected, 1);
	t.findings = 0;
	assert_int_equal(scrub(b, NULL, false, &t, &s), 0);
	assert_int_equal(t.findings, 0);
}

static void a_subtree_or_a_file(void **state)
{
	struct bed *b = *state;
	struct scrub_stats s;
	struct told t = { 0 };

	make_tree(b);
	bed_rot(b, 0, "top", 0);
	bed_rot(b, 1, "a/b/y", 0);
	assert_int_equal(scrub(b, "a/b", false, &t, &s), 0);
	assert_int_equal(s.files, 1);
	assert_int_equal(t.findings, 1);
	assert_int_equal(scrub(b, "a/x", false, &t, &s), 0);
	assert_int_equal(s.found, 0);
	assert_int_equal(scrub(b, "/top/", false, &t, &s), 0);
	assert_int_equal(s.corrected, 1);
	assert_int_equal(scrub(b, "none", false, &t, &s), -ENOENT);
	assert_int_equal(scrub(b, "../a", false, &t, &s), -EINVAL);
	assert_int_equal(scrub(b, DOT_DIR, false, &t, &s), -ENOENT);
	assert_int_equal(scrub(b, NULL, false, &t, &s), 0);
	assert_int_equal(s.found, 0);
}

static void cancelled(void **state)
{
	struct bed *b = *state;
	struct scrub_stats s;
	struct told t = { .cancel_after = 1 };

	make_tree(b);
	assert_int_equal(scrub(b, NULL, false, &t, &s), -EINTR);
	t.cancel_after = 0;
	assert_int_equal(scrub(b, NULL, false, &t, &s), 0); /* and not left busy */
	atomic_store(&b->v->scrubbing, true);
	assert_int_equal(scrub(b, NULL, false, &t, &s), -EBUSY);
	atomic_store(&b->v->scrubbing, false);
}

static void scrub_while_open(void **state)
{
	struct bed *b = *state;
	struct scrub_stats s;
	struct told t = { 0 };
	struct file *f;

	make_tree(b);
	assert_int_equal(bed_file(b, "a/x", &f), 0);
	assert_int_equal(bed_pwrite(b, f, 5, "fresh", 5), 0);
	assert_int_equal(scrub(b, NULL, false, &t, &s), 0);
	assert_int_equal(s.found, 0);
	file_put(b->v, f);
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
}

static void with_resync(void **state)
{
	const struct scrub_options opt = { .resync = true };
	struct bed *b = *state;
	struct scrub_stats s;

	make_tree(b);
	volume_eject(b->v, 2, EIO, "test", NULL);
	assert_int_equal(bed_write(b, "a/x", "short", 5), 0);
	assert_int_equal(bed_scrub(b, false).found, 0); /* the stale one is left alone */
	assert_int_equal(volume_in_sync(b->v), 1);
	assert_int_equal(scrub_run(b->v, &opt, &s), 0);
	assert_int_equal(volume_in_sync(b->v), 3);
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(counts),
		bed_test(tells_where_and_what),
		bed_test(a_subtree_or_a_file),
		bed_test(cancelled),
		bed_test(scrub_while_open),
		bed_test(with_resync),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
