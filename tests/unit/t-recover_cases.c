/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an unclean end leaves besides differing leaves: torn pages of hashes,
 * records and metadata that only one mirror has, what nobody can prove, what is
 * lost for good; and a second end while the first is being cleared up.
 */
#include "replica/recover.h"

#include "tests/unit/recover.h"

#define L LEAF_SIZE
#define SIZE ((size_t)2100 * L)  /* three regions, five pages of hashes */

static uint8_t good[SIZE], back[SIZE];

static int setup(void **state)
{
	struct bed *b = bed_new(2);

	if (!b)
		return -1;
	bed_small_rings(b);
	fill_pattern(good, sizeof(good), 7);
	*state = b;
	return 0;
}

#define case_test(f) cmocka_unit_test_setup_teardown(f, setup, bed_teardown)

static void make_file(struct bed *b, size_t size)
{
	assert_int_equal(bed_write(b, "f", good, size), 0);
	bed_reopen(b);
}

static void assert_reads(struct bed *b, size_t size)
{
	memset(back, 0, size);
	assert_int_equal(bed_read(b, "f", back, SIZE), size);
	assert_memory_equal(back, good, size);
}

static void settle(struct bed *b)
{
	assert_int_equal(recovery_settle(b->v), 0);
	assert_false(recovery_pending(b->v));
}

/* All is well: sealed, alike, nothing said about rot. */
static void assert_whole(struct bed *b, size_t size, uint8_t flags)
{
	assert_reads(b, size);
	settle(b);
	assert_int_equal(bed_counter(b, CNT_LEAVES_BAD), 0);
	assert_int_equal(bed_counter(b, CNT_UNCORRECTED), 0);
	for (int m = 0; m < 2; m++) {
		assert_true(bed_raw_is(b, m, "f", good, size));
		assert_int_equal(bed_record(b, m, "f").flags, flags);
	}
	bed_reopen(b);
	assert_int_equal(bed_scrub(b, false).found, 0);
	assert_reads(b, size);
}

/* As it was on the disk before: a record that a mirror did not get. */
static void put_record(struct bed *b, int m, const char *path, const struct record *r)
{
	int fd = openat(b->fd[m], path, O_RDONLY | O_CLOEXEC);
	uint8_t raw[RECORD_SIZE];

	record_encode(r, raw);
	assert_int_equal(fsetxattr(fd, RECORD_XATTR_USER, raw, sizeof(raw), 0), 0);
	close(fd);
}

static int overwrite_leaf_100(struct bed *b)
{
	struct file *f;

	return bed_file(b, "f", &f) < 0 ? -1 : bed_pwrite(b, f, 100 * L, good, L);
}

/* ---- pages of hashes ---- */

static void tear_page(struct bed *b, int m, uint64_t no, unsigned leaf)
{
	uint64_t id = bed_record(b, 0, "f").id;
	char path[64];

	snprintf(path, sizeof(path), DOT_DIR "/hashes/%02x/%02x/%016llx", (unsigned)id & 255,
		 (unsigned)(id >> 8) & 255, (unsigned long long)id);
	flip_byte(b->fd[m], path, (off_t)(no * HASHFILE_PAGE + 32 + leaf * 8), 1);
}

/*
 * In an open region (page 0): a leaf that one mirror has rotten is proved by a
 * hash of the torn page, one whose hash is gone by both copies. Outside (page
 * 3) the page is made anew from the copy that fits the sum of the record.
 */
static void torn_pages(void **state)
{
	struct bed *b = *state;

	for (uint64_t page = 0; page < 4; page += 3)
		for (int rotten = 0; rotten < 3; rotten++) {
			fill_pattern(good, sizeof(good), 7);
			make_file(b, SIZE);
			bed_crash(b, 3, overwrite_leaf_100);
			memcpy(good + 100 * L, good, L);
			for (int m = 0; m < 2; m++)
				tear_page(b, m, page, 5);
			if (rotten < 2)
				bed_rot(b, rotten, "f", (off_t)((page * HASHFILE_LEAVES + 7) * L));
			bed_open(b);
			if (page == 3 && rotten < 2) { /* made anew: rot is rot again */
				assert_reads(b, SIZE);
				settle(b);
				bed_scrub(b, false);
				bed_reopen(b);
			}
			assert_whole(b, SIZE, 0);
		}
}

/* No copy is whole, so the page is not made anew: what is left of it proves
 * each leaf, and the one whose hash is gone is alike on both. */
static void a_torn_page_and_no_whole_copy(void **state)
{
	struct bed *b = *state;

	make_file(b, SIZE);
	bed_crash(b, 3, overwrite_leaf_100);
	memcpy(good + 100 * L, good, L);
	for (int m = 0; m < 2; m++) {
		tear_page(b, m, 3, 5);
		bed_rot(b, m, "f", (3 * HASHFILE_LEAVES + 7 + m) * L);
	}
	bed_open(b);
	assert_whole(b, SIZE, 0);
}

static void a_page_torn_on_one(void **state)
{
	struct bed *b = *state;

	make_file(b, SIZE);
	bed_crash(b, 3, overwrite_leaf_100);
	memcpy(good + 100 * L, good, L);
	tear_page(b, 1, 0, 5);
	tear_page(b, 0, 3, 5);
	bed_rot(b, 0, "f", 5 * L);
	bed_open(b);
	assert_whole(b, SIZE, 0);
}

/* ---- records that one mirror has ---- */

static int overwrite_and_seal(struct bed *b)
{
	struct file *f;

	if (bed_file(b, "f", &f) < 0 || bed_pwrite(b, f, L, good, L) < 0)
		return -1;
	return seal_run(b->v, true);
}

/* The newer generation counts, whichever mirror has it. */
static void a_record_lags(void **state)
{
	static const size_t sizes[] = { 5 * L, SIZE };
	struct bed *b = *state;

	for (size_t i = 0; i < N_ELEMS(sizes) * 4; i++) {
		int m = i & 1;
		struct record old;

		fill_pattern(good, sizeof(good), 100 + i);
		make_file(b, sizes[i / 4]);
		old = bed_record(b, m, "f");
		bed_crash(b, 3, overwrite_and_seal);
		memcpy(good + L, good, L);
		assert_true(bed_record(b, m, "f").gen > old.gen);
		old.flags = i & 2 ? RECORD_OPEN : 0;
		put_record(b, m, "f", &old);
		bed_open(b);
		assert_whole(b, sizes[i / 4], 0);
	}
}

static int make_and_seal(struct bed *b)
{
	return bed_mkdir(b, "new") < 0 ? -1 : seal_run(b->v, true);
}

/* The record of the root, too: no alarm, and it is the newer one everywhere. */
static void the_roots_record_lags(void **state)
{
	struct bed *b = *state;

	for (int m = 0; m < 2; m++) {
		struct record old;

		bed_reopen(b);
		old = bed_record(b, m, ".");
		bed_crash(b, 3, make_and_seal);
		assert_true(bed_record(b, m, ".").gen > old.gen);
		put_record(b, m, ".", &old);
		bed_open(b);
		assert_int_equal(bed_counter(b, CNT_RECORDS_REPAIRED), 0);
		settle(b);
		assert_int_equal(bed_counter(b, CNT_RECORDS_REPAIRED), 0);
		assert_int_equal(bed_unlink(b, "new", true), 0);
		bed_reopen(b);
		assert_int_equal(bed_record(b, 0, ".").gen, bed_record(b, 1, ".").gen);
		assert_int_equal(bed_scrub(b, false).found, 0);
	}
}

static int cut_and_write(struct bed *b)
{
	struct file *f;

	if (bed_file(b, "f", &f) < 0 || file_truncate(b->v, f, &b->space, L) < 0)
		return -1;
	return bed_pwrite(b, f, L, good, 30 * L);
}

/* Whichever mirror says CUT: nothing that was at rest is taken for rot. */
static void cut_on_one(void **state)
{
	struct bed *b = *state;

	for (int m = 0; m < 2; m++) {
		struct record r;

		fill_pattern(good, sizeof(good), 7);
		make_file(b, 31 * L);
		bed_crash(b, 3, cut_and_write);
		memmove(good + L, good, 30 * L);
		r = bed_record(b, m, "f");
		assert_int_equal(r.flags, RECORD_OPEN | RECORD_CUT);
		r.flags = RECORD_OPEN;
		put_record(b, m, "f", &r);
		for (int k = 0; k < 2; k++)
			assert_true(ring_destroy(b, k, JOURNAL_NEW, 0) > 0);
		bed_open(b);
		assert_whole(b, 31 * L, 0);
	}
}

static int empty(struct bed *b)
{
	struct file *f;

	return bed_file(b, "f", &f) < 0 ? -1 : file_truncate(b->v, f, &b->space, 0);
}

static int cut_short(struct bed *b)
{
	struct file *f;

	return bed_file(b, "f", &f) < 0 ? -1 : file_truncate(b->v, f, &b->space, 2 * L);
}

/* The sum at rest is of more than is left: what is written next must not need it. */
static void cut_and_no_more(void **state)
{
	static const size_t sizes[] = { 3 * L, 31 * L };
	struct bed *b = *state;

	for (size_t i = 0; i < 2 * N_ELEMS(sizes); i++) {
		size_t left = i % 2 ? 2 * L : 0;
		struct file *f;

		fill_pattern(good, sizeof(good), 7);
		make_file(b, sizes[i / 2]);
		bed_crash(b, 3, left ? cut_short : empty);
		for (int k = 0; k < 2 && i >= N_ELEMS(sizes); k++)
			ring_destroy(b, k, JOURNAL_NEW, 0);
		bed_open(b);
		settle(b);
		bed_reopen(b);
		assert_int_equal(bed_scrub(b, false).found, 0);
		assert_whole(b, left, 0);
		assert_int_equal(bed_file(b, "f", &f), 0);
		assert_int_equal(bed_pwrite(b, f, left, good + left, L), 0);
		file_put(b->v, f);
		bed_seal(b);
		assert_whole(b, left + L, 0);
	}
}

/* ---- metadata of one mirror ---- */

static const char *victim;

static int change_mode(struct bed *b)
{
	const struct stat want = { .st_mode = 0700 };
	uint32_t node = bed_node(b, victim, NULL);
	struct stat st;

	return node ? op_setattr(b->v, node, &want, ATTR_MODE, NULL, &b->space, &st) : -1;
}

static int change_xattr(struct bed *b)
{
	uint32_t node = bed_node(b, victim, NULL);

	return node ? op_setxattr(b->v, node, "user.new", "1", 1, 0, false) : -1;
}

static void undo_metadata(struct bed *b, int m, const struct record *r)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/%s", b->path[m], victim);
	assert_int_equal(chmod(path, 0755), 0);
	removexattr(path, "user.new");
	put_record(b, m, victim, r);
}

static void assert_changed(struct bed *b, int m, bool xattr)
{
	char path[400], value[8];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", b->path[m], victim);
	assert_int_equal(stat(path, &st), 0);
	if (xattr)
		assert_int_equal(getxattr(path, "user.new", value, sizeof(value)), 1);
	else
		assert_int_equal(st.st_mode & 07777, 0700);
}

/* The mirror whose record says OPEN has seen the change. */
static void metadata_of_one(struct bed *b, int m, bool xattr)
{
	struct record before;
	struct stat st;

	before = bed_record(b, m, victim);
	bed_crash(b, 3, xattr ? change_xattr : change_mode);
	undo_metadata(b, m, &before);
	bed_open(b);
	assert_int_equal(bed_stat(b, victim, &st), 0);
	if (!S_ISDIR(st.st_mode) && !xattr)
		assert_int_equal(st.st_mode & 07777, 0700);
	settle(b); /* a directory's are settled with its names */
	for (int k = 0; k < 2; k++)
		assert_changed(b, k, xattr);
	assert_int_equal(bed_counter(b, CNT_UNCORRECTED), 0);
	bed_reopen(b);
	assert_int_equal(bed_scrub(b, false).found, 0);
}

static void metadata(void **state, const char *name, bool xattr)
{
	struct bed *b = *state;
	char path[16];

	for (int m = 0; m < 2; m++) {
		snprintf(path, sizeof(path), "%s%d", name, m);
		victim = path;
		if (*name == 'd')
			assert_int_equal(bed_mkdir(b, path), 0);
		else
			assert_int_equal(bed_make(b, path, S_IFREG | 0755, NULL), 0);
		bed_reopen(b);
		metadata_of_one(b, m, xattr);
	}
}

static void mode_of_a_file(void **state)
{
	metadata(state, "f", false);
}

static void xattr_of_a_file(void **state)
{
	metadata(state, "f", true);
}

static void mode_of_a_directory(void **state)
{
	metadata(state, "d", false);
}

static void xattr_of_a_directory(void **state)
{
	metadata(state, "d", true);
}

/* ---- what nobody can prove ---- */

static int read_and_die(struct bed *b)
{
	return bed_read(b, "f", back, SIZE) < 0 ? -1 : 0;
}

/* The same leaf of both copies, other bytes each, and no note of it. */
static void make_undecidable(struct bed *b)
{
	for (int m = 0; m < 2; m++) {
		fill_pattern(back, L, 50 + (uint64_t)m);
		raw_write(b, m, "f", L, back, L);
		assert_true(ring_destroy(b, m, JOURNAL_NEW, 0) > 0);
	}
}

static int overwrite_leaf_1(struct bed *b)
{
	struct file *f;

	return bed_file(b, "f", &f) < 0 ? -1 : bed_pwrite(b, f, L, good, L);
}

static void unverified_stays_until_written_anew(void **state)
{
	static const size_t sizes[] = { 5 * L, SIZE };
	struct bed *b = *state;

	for (size_t i = 0; i < N_ELEMS(sizes); i++) {
		fill_pattern(good, sizeof(good), 7);
		make_file(b, sizes[i]);
		bed_crash(b, 3, overwrite_leaf_1);
		make_undecidable(b);
		bed_crash(b, 3, read_and_die); /* chosen, noted, not sealed */
		bed_open(b);
		assert_int_equal(bed_read(b, "f", back, SIZE), sizes[i]);
		assert_true(bed_quarantined(b) > 0);
		settle(b);
		for (int m = 0; m < 2; m++)
			assert_int_equal(bed_record(b, m, "f").flags, RECORD_UNVERIFIED);
		bed_crash(b, 3, overwrite_leaf_1); /* written in part */
		bed_open(b);
		settle(b);
		assert_int_equal(bed_record(b, 0, "f").flags, RECORD_UNVERIFIED);
		fill_pattern(good, sizeof(good), 9);
		assert_int_equal(bed_write(b, "f", good, sizes[i]), 0);
		bed_seal(b);
		assert_int_equal(bed_record(b, 0, "f").flags, 0);
		assert_reads(b, sizes[i]);
	}
}

/* ---- what is lost ---- */

static int append_a_leaf(struct bed *b)
{
	struct file *f;

	return bed_file(b, "f", &f) < 0 ? -1 : bed_pwrite(b, f, 5 * L, good + 5 * L, L);
}

/* A leaf at rest that rotted on both mirrors, on one to zeros: nobody may take
 * them for content, the first time or later. */
static void zeros_are_no_answer(void **state)
{
	static const uint8_t zeros[L];
	struct bed *b = *state;

	for (int m = 0; m < 2; m++) {
		fill_pattern(good, sizeof(good), 7);
		make_file(b, 5 * L);
		bed_crash(b, 3, append_a_leaf);
		raw_write(b, m, "f", 2 * L, zeros, L);
		bed_rot(b, !m, "f", 2 * L + 5);
		bed_open(b);
		for (int turn = 0; turn < 3; turn++) {
			assert_int_equal(bed_read(b, "f", back, SIZE), -EIO);
			assert_int_equal(bed_read(b, "f", back, SIZE), -EIO);
			if (turn == 0)
				settle(b);
			else
				bed_reopen(b);
		}
		/* the good bytes come back: they are known */
		raw_write(b, m, "f", 2 * L, good + 2 * L, L);
		assert_reads(b, 6 * L);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		case_test(torn_pages),
		case_test(a_torn_page_and_no_whole_copy),
		case_test(a_page_torn_on_one),
		case_test(a_record_lags),
		case_test(the_roots_record_lags),
		case_test(cut_on_one),
		case_test(cut_and_no_more),
		case_test(mode_of_a_file),
		case_test(xattr_of_a_file),
		case_test(mode_of_a_directory),
		case_test(xattr_of_a_directory),
		case_test(unverified_stays_until_written_anew),
		case_test(zeros_are_no_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
