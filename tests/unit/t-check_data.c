/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bad content: found on reading and by scrub, answered from a good copy, kept
 * in quarantine, healed; and never overwritten where no copy is good.
 */
#include "replica/check.h"

#include "tests/unit/compare.h"

#define SIZE ((size_t)600 * LEAF_SIZE + 77)   /* two pages of leaf hashes */

static char good[SIZE], back[SIZE];

/* A sealed file "f" of `size` bytes, nothing of it in memory. */
static void make_file(struct bed *b, size_t size)
{
	fill_pattern(good, sizeof(good), 99);
	assert_int_equal(bed_write(b, "f", good, size), 0);
	bed_reopen(b);
}

static int preferred(struct bed *b)
{
	return volume_preferred(b->v, bed_record(b, 0, "f").id);
}

static void assert_reads(struct bed *b, size_t size)
{
	memset(back, 0, size);
	assert_int_equal(bed_read(b, "f", back, SIZE), size);
	assert_memory_equal(back, good, size);
}

static void assert_healed(struct bed *b, size_t size)
{
	for (int m = 0; m < b->n; m++)
		assert_true(bed_raw_is(b, m, "f", good, size));
	assert_int_equal(bed_scrub(b, false).found, 0);
	assert_int_equal(volume_in_sync(b->v), (1u << b->n) - 1);
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
}

static void hash_path(struct bed *b, char out[64])
{
	uint64_t id = bed_record(b, 0, "f").id;

	snprintf(out, 64, DOT_DIR "/hashes/%02x/%02x/%016llx", (unsigned)id & 255,
		 (unsigned)(id >> 8) & 255, (unsigned long long)id);
}

static void rot_on_one_is_healed_by_reading(void **state)
{
	static const size_t sizes[] = { 10, 5000, SMALL_MAX, SIZE };
	struct bed *b = *state;

	for (size_t i = 0; i < N_ELEMS(sizes); i++) {
		uint64_t kept;

		make_file(b, sizes[i]);
		kept = bed_quarantined(b);
		bed_rot(b, preferred(b), "f", (off_t)sizes[i] - 1);
		assert_reads(b, sizes[i]);
		assert_int_equal(bed_counter(b, CNT_LEAVES_REPAIRED), 1);
		assert_int_equal(bed_quarantined(b), kept + 1);
		assert_healed(b, sizes[i]);
		assert_int_equal(bed_unlink(b, "f", false), 0);
	}
}

/* What the preferred mirror does not show is scrub's to find. */
static void rot_on_the_other_is_healed_by_scrub(void **state)
{
	struct bed *b = *state;
	struct scrub_stats s;
	int other;

	make_file(b, SIZE);
	other = !preferred(b);
	bed_rot(b, other, "f", 0);
	bed_rot(b, other, "f", LEAF_SIZE);
	bed_rot(b, other, "f", 509 * LEAF_SIZE);
	assert_reads(b, SIZE);
	assert_int_equal(bed_counter(b, CNT_LEAVES_BAD), 0);
	s = bed_scrub(b, true);
	assert_int_equal(s.uncorrected, 2); /* two runs */
	assert_false(bed_raw_is(b, other, "f", good, SIZE));
	assert_int_equal(bed_quarantined(b), 0);
	s = bed_scrub(b, false);
	assert_int_equal(s.found, 2);
	assert_int_equal(s.corrected, 2);
	assert_int_equal(bed_quarantined(b), 2);
	assert_healed(b, SIZE);
}

static void rot_on_both_in_different_places(void **state)
{
	struct bed *b = *state;

	make_file(b, SIZE);
	for (off_t leaf = 0; leaf < 600; leaf++)
		bed_rot(b, leaf % 2, "f", leaf * LEAF_SIZE + leaf);
	assert_reads(b, SIZE);
	bed_scrub(b, false);
	assert_healed(b, SIZE);
}

/* A small file's leaves are known by their sum only: both copies together
 * hold all good bytes, and neither is good. */
static void no_good_copy(struct bed *b, size_t size, off_t at)
{
	char *raw[2];
	size_t n;

	for (int m = 0; m < 2; m++) {
		bed_rot(b, m, "f", at + m * 8);
		assert_int_equal(bed_raw(b, m, "f", &raw[m], &n), 0);
	}
	assert_int_equal(bed_read(b, "f", back, SIZE), -EIO);
	assert_true(bed_counter(b, CNT_UNCORRECTED) > 0);
	assert_true(bed_scrub(b, false).uncorrected > 0);
	for (int m = 0; m < 2; m++) {
		assert_true(bed_raw_is(b, m, "f", raw[m], size));
		free(raw[m]);
	}
	assert_int_equal(bed_quarantined(b), 0);
	assert_int_equal(volume_in_sync(b->v), 3);
}

static void small_file_without_a_good_copy(void **state)
{
	struct bed *b = *state;

	make_file(b, 5000);
	no_good_copy(b, 5000, 100);
	/* one copy comes back as it was: all is well again */
	bed_rot(b, 1, "f", 108);
	assert_reads(b, 5000);
	bed_scrub(b, false);
	assert_healed(b, 5000);
}

/* Only the bad leaf cannot be read, nor written in part; written whole it is
 * good again. */
static void large_file_without_a_good_leaf(void **state)
{
	struct bed *b = *state;
	struct file *f;

	make_file(b, SIZE);
	no_good_copy(b, SIZE, 300 * LEAF_SIZE);
	assert_int_equal(bed_file(b, "f", &f), 0);
	assert_int_equal(bed_pread(b, f, 0, back, 300 * LEAF_SIZE), 300 * LEAF_SIZE);
	assert_memory_equal(back, good, 300 * LEAF_SIZE);
	assert_int_equal(bed_pread(b, f, 300 * LEAF_SIZE + 4000, back, 10), -EIO);
	assert_int_equal(bed_pread(b, f, 301 * LEAF_SIZE, back, SIZE),
			 SIZE - 301 * LEAF_SIZE);
	assert_int_equal(bed_pwrite(b, f, 300 * LEAF_SIZE + 5, "part", 4), -EIO);
	assert_int_equal(file_truncate(b->v, f, &b->space, 300 * LEAF_SIZE + 5), -EIO);
	assert_int_equal(bed_pwrite(b, f, 300 * LEAF_SIZE, good + 300 * LEAF_SIZE, LEAF_SIZE), 0);
	file_put(b->v, f);
	assert_reads(b, SIZE);
	bed_seal(b);
	assert_healed(b, SIZE);
}

static void three_copies_one_good(void **state)
{
	struct bed *b = *state;
	int p;

	make_file(b, SIZE);
	p = preferred(b);
	/* the two bad ones are alike: bytes are never outvoted */
	bed_rot(b, p, "f", 70000);
	bed_rot(b, (p + 1) % 3, "f", 70000);
	assert_reads(b, SIZE);
	assert_int_equal(bed_counter(b, CNT_LEAVES_REPAIRED), 2);
	assert_healed(b, SIZE);
}

/* Blocks of the same file exchanged: each is good bytes in the wrong place. */
static void misplaced_leaves(void **state)
{
	struct bed *b = *state;
	struct timespec ts[2];
	struct stat st;
	int p, fd;

	make_file(b, SIZE);
	p = preferred(b);
	assert_int_equal(fstatat(b->fd[p], "f", &st, 0), 0);
	fd = openat(b->fd[p], "f", O_WRONLY);
	assert_int_equal(pwrite(fd, good + 8192, LEAF_SIZE, 4096), LEAF_SIZE);
	assert_int_equal(pwrite(fd, good + 4096, LEAF_SIZE, 8192), LEAF_SIZE);
	ts[0] = st.st_atim;
	ts[1] = st.st_mtim;
	assert_int_equal(futimens(fd, ts), 0);
	close(fd);
	assert_reads(b, SIZE);
	assert_int_equal(bed_counter(b, CNT_LEAVES_REPAIRED), 2);
	assert_healed(b, SIZE);
}

static void resize_raw(struct bed *b, int m, off_t size)
{
	int fd = openat(b->fd[m], "f", O_RDWR);
	struct timespec ts[2];
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	ts[0] = st.st_atim;
	ts[1] = st.st_mtim;
	assert_int_equal(ftruncate(fd, size), 0);
	if (size > st.st_size)
		assert_int_equal(pwrite(fd, "junk", 4, size - 4), 4);
	assert_int_equal(futimens(fd, ts), 0);
	close(fd);
}

static void wrong_sizes(void **state)
{
	static const off_t size[] = { 0, 1, 4096, SIZE - 1, SIZE + 4, SIZE + 3000000 };
	struct bed *b = *state;

	make_file(b, SIZE);
	for (size_t i = 0; i < N_ELEMS(size); i++)
		for (int m = 0; m < 2; m++)
			for (int scrub = 0; scrub < 2; scrub++) {
				resize_raw(b, m, size[i]);
				bed_reopen(b);
				if (scrub)
					assert_int_equal(bed_scrub(b, false).uncorrected, 0);
				else
					assert_reads(b, SIZE);
				assert_healed(b, SIZE);
			}
}

/* Damaged while the file is open and its leaves are in memory. */
static void shortened_while_open(void **state)
{
	struct bed *b = *state;
	struct file *f;

	make_file(b, SIZE);
	assert_int_equal(bed_file(b, "f", &f), 0);
	assert_int_equal(bed_pread(b, f, 0, back, SIZE), SIZE);
	resize_raw(b, preferred(b), 5000);
	assert_int_equal(bed_pread(b, f, 0, back, SIZE), SIZE);
	assert_memory_equal(back, good, SIZE);
	file_put(b->v, f);
	bed_scrub(b, false);
	assert_healed(b, SIZE);
}

static void a_hash_page_damaged(void **state)
{
	struct bed *b = *state;
	char path[64];

	make_file(b, SIZE);
	hash_path(b, path);
	for (int scrub = 0; scrub < 2; scrub++)
		for (int page = 0; page < 2; page++) {
			bed_close(b);
			flip_byte(b->fd[page], path, page * HASHFILE_PAGE + 100, 1);
			bed_open(b);
			if (scrub)
				assert_true(bed_scrub(b, false).found > 0);
			else
				assert_reads(b, SIZE);
			assert_int_equal(bed_counter(b, CNT_RECORDS_REPAIRED), 1);
			assert_healed(b, SIZE);
		}
}

static void hash_files_lost(void **state)
{
	struct bed *b = *state;
	char path[64];

	make_file(b, SIZE);
	hash_path(b, path);
	for (uint32_t lost = 1; lost < 3; lost++) {
		bed_close(b);
		FOR_EACH_BIT(m, lost)
			assert_int_equal(unlinkat(b->fd[m], path, 0), 0);
		bed_open(b);
		assert_reads(b, SIZE);
		assert_healed(b, SIZE);
		assert_true(exists(b->fd[0], path) && exists(b->fd[1], path));
	}
}

/* A page lost everywhere is made anew from the copy whose bytes fit the
 * record's sum; where none fits, nothing is believed. */
static void hash_page_lost_and_bytes_bad(void **state)
{
	struct bed *b = *state;
	uint64_t kept;
	char path[64];

	make_file(b, SIZE);
	hash_path(b, path);
	for (int bad = 0; bad < 2; bad++) {
		bed_close(b);
		for (int m = 0; m < 2; m++)
			flip_byte(b->fd[m], path, HASHFILE_PAGE + 50, 1);
		bed_rot(b, bad, "f", 510 * LEAF_SIZE);
		bed_open(b);
		assert_reads(b, SIZE);
		bed_scrub(b, false);
		assert_healed(b, SIZE);
	}
	bed_close(b);
	for (int m = 0; m < 2; m++) {
		flip_byte(b->fd[m], path, HASHFILE_PAGE + 50, 1);
		bed_rot(b, m, "f", 510 * LEAF_SIZE + m);
	}
	bed_open(b);
	kept = bed_quarantined(b);
	assert_true(bed_scrub(b, false).uncorrected > 0);
	assert_int_equal(bed_read(b, "f", back, SIZE), -EIO);
	assert_int_equal(bed_quarantined(b), kept);
}

/* A read error: the descriptor of one copy does not let anybody read. */
static void read_error(void **state)
{
	struct bed *b = *state;
	struct file *f;
	int p;

	make_file(b, SIZE);
	p = preferred(b);
	assert_int_equal(bed_file(b, "f", &f), 0);
	assert_int_equal(bed_pread(b, f, 0, back, SIZE), SIZE);
	close(f->fd[p]);
	f->fd[p] = openat(b->fd[p], "f", O_WRONLY);
	f->writable |= 1u << p;
	assert_int_equal(bed_pread(b, f, 0, back, SIZE), SIZE);
	assert_memory_equal(back, good, SIZE);
	assert_true(bed_counter(b, CNT_READ_ERRORS) > 0);
	file_put(b->v, f);
	bed_seal(b);
	assert_healed(b, SIZE);
}

/* No room in the quarantine: the reader is served, nothing is overwritten. */
static void no_repair_without_quarantine(void **state)
{
	struct bed *b = *state;
	int p;

	make_file(b, SIZE);
	p = preferred(b);
	bed_rot(b, p, "f", 0);
	for (int m = 0; m < 2; m++)
		b->v->m[m].has_quarantine = false;
	assert_reads(b, SIZE);
	assert_int_equal(bed_scrub(b, false).corrected, 0);
	assert_false(bed_raw_is(b, p, "f", good, SIZE));
	for (int m = 0; m < 2; m++)
		b->v->m[m].has_quarantine = true;
	assert_reads(b, SIZE);
	assert_healed(b, SIZE);
}

static void read_only_heals_nothing(void **state)
{
	struct bed *b = *state;
	int p;

	make_file(b, SIZE);
	p = preferred(b);
	bed_close(b);
	bed_rot(b, p, "f", 0);
	b->opt.read_only = true;
	bed_open(b);
	assert_reads(b, SIZE);
	assert_false(bed_raw_is(b, p, "f", good, SIZE));
	bed_close(b);
	b->opt.read_only = false;
	bed_open(b);
	assert_reads(b, SIZE);
	assert_healed(b, SIZE);
}

/* ---- after an unclean end ---- */

static int write_and_die(struct bed *b)
{
	struct file *f;

	fill_pattern(good, sizeof(good), 99);
	return bed_file(b, "f", &f) < 0 ? -1 : bed_pwrite(b, f, 4096, good + 4096, SIZE - 4096);
}

/* Nothing was sealed, but all mirrors hold the same: that is accepted. */
static void crash_with_equal_copies(void **state)
{
	struct bed *b = *state;

	bed_crash(b, 3, write_and_die);
	bed_open(b);
	memset(good, 0, 4096);
	assert_reads(b, SIZE);
	bed_seal(b);
	assert_int_equal(bed_record(b, 0, "f").flags, 0);
	assert_int_equal(bed_quarantined(b), 0);
	assert_healed(b, SIZE);
}

static int overwrite_and_die(struct bed *b)
{
	struct file *f;

	if (bed_file(b, "f", &f) < 0 || bed_pwrite(b, f, 8192, good, 4096) < 0)
		return -1;
	return flip_byte(b->fd[0], "f", 8192 + 7, 1), flip_byte(b->fd[1], "f", 8192 + 9, 1), 0;
}

static int overwrite_and_tear_one(struct bed *b)
{
	struct file *f;

	if (bed_file(b, "f", &f) < 0 || bed_pwrite(b, f, 8192, good + 4096, 4096) < 0)
		return -1;
	return flip_byte(b->fd[0], "f", 8192 + 7, 1), 0;
}

/* The journal tells which of two different copies was written. */
static void crash_with_one_copy_torn(void **state)
{
	struct bed *b = *state;

	make_file(b, SIZE);
	bed_crash(b, 3, overwrite_and_tear_one);
	bed_open(b);
	memcpy(good + 8192, good + 4096, 4096);
	assert_reads(b, SIZE);
	assert_true(bed_quarantined(b) > 0);
	assert_int_equal(bed_counter(b, CNT_LEAVES_BAD), 0);
	bed_seal(b);
	assert_int_equal(bed_record(b, 0, "f").flags, 0);
	assert_healed(b, SIZE);
}

/* The one leaf that differs is decided and kept in quarantine; the rest is
 * what was sealed before. */
static void crash_with_differing_copies(void **state)
{
	static const size_t sizes[] = { 3 * LEAF_SIZE, SIZE };
	struct bed *b = *state;

	for (size_t i = 0; i < N_ELEMS(sizes); i++) {
		char *raw[2];
		size_t n;

		make_file(b, sizes[i]);
		bed_crash(b, 3, overwrite_and_die);
		for (int m = 0; m < 2; m++)
			assert_int_equal(bed_raw(b, m, "f", &raw[m], &n), 0);
		bed_open(b);
		assert_int_equal(bed_read(b, "f", back, SIZE), sizes[i]);
		assert_true(memcmp(back, raw[0], n) == 0 || memcmp(back, raw[1], n) == 0);
		assert_true(bed_quarantined(b) > 0);
		bed_seal(b);
		assert_int_equal(bed_record(b, 0, "f").flags, RECORD_UNVERIFIED);
		memcpy(good, back, sizes[i]);
		bed_reopen(b);
		assert_healed(b, sizes[i]);
		free(raw[0]);
		free(raw[1]);
		assert_int_equal(bed_unlink(b, "f", false), 0);
		bed_reopen(b);
	}
}

static int touch_and_die(struct bed *b)
{
	struct file *f;

	/* marked OPEN, then nothing: the old hashes still hold */
	if (bed_file(b, "f", &f) < 0 || file_load(b->v, f) < 0)
		return -1;
	pthread_rwlock_wrlock(&f->lock);
	return file_mark(b->v, f);
}

/* An OPEN record does not turn rot into "undecidable". */
static void rot_in_an_open_file(void **state)
{
	static const size_t sizes[] = { 5000, SIZE };
	struct bed *b = *state;

	for (size_t i = 0; i < N_ELEMS(sizes); i++)
		for (int m = 0; m < 2; m++) {
			make_file(b, sizes[i]);
			bed_crash(b, 3, touch_and_die);
			bed_rot(b, m, "f", 4097);
			bed_open(b);
			assert_reads(b, sizes[i]);
			bed_seal(b);
			assert_int_equal(bed_record(b, 0, "f").flags, 0);
			bed_scrub(b, false);
			assert_healed(b, sizes[i]);
			assert_int_equal(bed_unlink(b, "f", false), 0);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(rot_on_one_is_healed_by_reading),
		bed_test(rot_on_the_other_is_healed_by_scrub),
		bed_test(rot_on_both_in_different_places),
		bed_test(small_file_without_a_good_copy),
		bed_test(large_file_without_a_good_leaf),
		bed_test_3(three_copies_one_good),
		bed_test(misplaced_leaves),
		bed_test(wrong_sizes),
		bed_test(shortened_while_open),
		bed_test(a_hash_page_damaged),
		bed_test(hash_files_lost),
		bed_test(hash_page_lost_and_bytes_bad),
		bed_test(read_error),
		bed_test(no_repair_without_quarantine),
		bed_test(read_only_heals_nothing),
		bed_test(crash_with_equal_copies),
		bed_test(crash_with_one_copy_torn),
		bed_test(crash_with_differing_copies),
		bed_test(rot_in_an_open_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
