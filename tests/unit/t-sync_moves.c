// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What was renamed is not sent again, whichever of its sides is noted first. Sealing is by hand
 * here, so that a round of the uploader can come between.
 */
#include "tests/unit/sync.h"

#include "replica/remote/remote_priv.h"

#define FILES 12
#define FILE_LEN 20000u
#define ROUND_MS 20000

static struct world *begin(bool s3)
{
	struct world *w = world_new(s3, false);
	char error[REMOTE_SAY_MAX] = "";

	w->b->opt.background = false;
	w->def.brake_percent = 30; /* nothing is lost by a rename */
	w->def.brake_files = 5;
	bed_open(w->b);
	assert_int_equal(remotes_start(w->b->v), 0);
	if (remotes_add(w->b->v, &w->def, false, NULL, NULL, error) < 0)
		fail_msg("add: %s", error);
	return w;
}

static void end(struct world *w)
{
	bed_close(w->b);
	world_free(w);
}

static void write_file(struct world *w, const char *path, uint64_t seed)
{
	char data[FILE_LEN];

	fill_pattern(data, sizeof(data), seed);
	assert_int_equal(bed_write(w->b, path, data, sizeof(data)), 0);
}

/* Its directory does not change. */
static void touch_mode(struct world *w, const char *path)
{
	struct stat want = { .st_mode = 0600 }, st;
	uint32_t node = bed_node(w->b, path, NULL);

	assert_int_not_equal(node, 0);
	assert_int_equal(op_setattr(w->b->v, node, &want, ATTR_MODE, NULL, &w->b->space, &st), 0);
	tree_unref(w->b->v, node);
}

static void plant(struct world *w, const char *dir)
{
	char path[300];

	assert_int_equal(bed_mkdir(w->b, dir), 0);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/f%u", dir, i);
		write_file(w, path, i);
	}
	world_wait(w);
}

static void pause_it(struct world *w, bool paused)
{
	char error[REMOTE_SAY_MAX] = "";
	struct remote_status s;
	int64_t end = clock_ms() + ROUND_MS;

	assert_int_equal(remotes_pause(w->b->v, SYNC_REMOTE, paused, error), 0);
	do {
		assert_true(clock_ms() < end);
		faulty_pause(5);
		status_of(w, &s);
	} while ((s.state == REMOTE_PAUSED) != paused);
}

static bool is_stored(struct world *w, const char *path)
{
	char object[400];

	snprintf(object, sizeof(object), SYNC_PREFIX "/%s", path);
	return faccessat(w->f.tree, object, F_OK, 0) == 0;
}

static void wait_stored(struct world *w, const char *path)
{
	int64_t end_ms = clock_ms() + ROUND_MS;

	while (!is_stored(w, path)) {
		assert_true(clock_ms() < end_ms);
		faulty_pause(5);
	}
}

/* All is there, and hardly anything was sent for it. */
static void expect_little(struct world *w)
{
	world_wait(w);
	assert_true(faulty_count(&w->f, "bytes_in") < FILES * FILE_LEN / 2);
}

/* A file below was noted; then the directory is renamed, and not noted yet. */
static void way_leads_through(void **state)
{
	struct world *w = begin(*(const bool *)*state);

	plant(w, "one");
	pause_it(w, true);
	touch_mode(w, "one/f3");
	bed_seal(w->b);
	assert_int_equal(bed_rename(w->b, "one", "two", 0), 0);
	faulty_command(&w->f, "zero");
	pause_it(w, false);
	wait_stored(w, "two/f0");
	expect_little(w);
	end(w);
}

/* Both names are noted together, though neither directory is sealed. */
static void names_together(void **state)
{
	struct world *w = begin(*(const bool *)*state);

	plant(w, "one");
	pause_it(w, true);
	assert_int_equal(bed_rename(w->b, "one", "two", 0), 0);
	note_moved(w->b->v->remotes->r[0]);
	faulty_command(&w->f, "zero");
	pause_it(w, false);
	wait_stored(w, "two/f0");
	expect_little(w);
	end(w);
}

/* The directory that the files left is never at rest. */
static void new_name_first(void **state)
{
	struct world *w = begin(true);
	int64_t end_ms = clock_ms() + ROUND_MS;
	char path[300], to[300];

	(void)state;
	plant(w, "busy");
	assert_int_equal(bed_mkdir(w->b, "calm"), 0);
	world_wait(w);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "busy/f%u", i);
		snprintf(to, sizeof(to), "calm/f%u", i);
		assert_int_equal(bed_rename(w->b, path, to, 0), 0);
	}
	faulty_command(&w->f, "zero");
	w->b->v->opt.seal_ms = 200; /* what has not changed for half of that is at rest */
	do {
		assert_true(clock_ms() < end_ms);
		assert_int_equal(bed_mkdir(w->b, "busy/bee"), 0);
		assert_int_equal(bed_unlink(w->b, "busy/bee", true), 0);
		assert_int_equal(seal_run(w->b->v, false), 0);
		faulty_pause(10);
	} while (!is_stored(w, to));
	expect_little(w);
	end(w);
}

/* Without a word to its directory. */
static void overwrite(struct world *w, const char *path, uint64_t seed)
{
	uint32_t node = bed_node(w->b, path, NULL);
	char data[FILE_LEN];
	struct file *f;

	assert_int_not_equal(node, 0);
	f = file_get(w->b->v, node);
	assert_non_null(f);
	fill_pattern(data, sizeof(data), seed);
	assert_int_equal(bed_pwrite(w->b, f, 0, data, sizeof(data)), 0);
	file_put(w->b->v, f);
	tree_unref(w->b->v, node);
}

static void expect_stored(struct world *w, const char *path, uint64_t seed)
{
	char object[400], data[FILE_LEN], got[FILE_LEN];
	int fd;

	snprintf(object, sizeof(object), SYNC_PREFIX "/%s", path);
	fd = openat(w->f.tree, object, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, got, sizeof(got)), sizeof(got));
	close(fd);
	fill_pattern(data, sizeof(data), seed);
	assert_memory_equal(got, data, sizeof(data));
}

/* A file below has changed; the directory is renamed after the survey. */
static void renamed_after_survey(void **state)
{
	struct world *w = begin(false);
	int64_t end_ms = clock_ms() + ROUND_MS;

	(void)state;
	plant(w, "one");
	write_file(w, "x", 99);
	world_wait(w);
	pause_it(w, true);
	overwrite(w, "one/f3", 77);
	assert_int_equal(bed_rename(w->b, "x", "y", 0), 0);
	bed_seal(w->b);
	faulty_command(&w->f, "zero");
	faulty_command(&w->f, "fault=hang&seconds=1&method=MOVE&count=1");
	pause_it(w, false);
	while (!faulty_count(&w->f, "faults")) {
		assert_true(clock_ms() < end_ms);
		faulty_pause(5);
	}
	assert_int_equal(bed_rename(w->b, "one", "two", 0), 0);
	expect_little(w);
	expect_stored(w, "two/f3", 77);
	end(w);
}

#define at(kind, f, is_s3) { #f ", " #kind, f, NULL, NULL, is_s3 }
#define at_both(f) at(dav, f, &dav), at(s3, f, &s3)

int main(void)
{
	static bool dav = false, s3 = true;
	const struct CMUnitTest tests[] = {
		at_both(way_leads_through),
		at_both(names_together),
		cmocka_unit_test(new_name_first),
		cmocka_unit_test(renamed_after_survey),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
