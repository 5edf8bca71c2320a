/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Quarantine: what is kept, for how long, and what a damaged index costs. */
#include "replica/quarantine.h"

#include <errno.h>

#include "tests/unit/tmpdir.h"

static const struct quarantine_note note = {
	.member = "/m/1",
	.path = "dir/na\tme",
	.off = 4096,
	.len = 100,
	.reason = "leaf 1 differs",
};

/* Not inlined: gcc 12 then warns of a dangling &text that is none. */
__attribute__((noinline))
static char *read_item(int dirfd, const char *name, size_t *len)
{
	char path[128], *text;

	snprintf(path, sizeof(path), "quarantine/%s", name);
	assert_int_equal(io_read_file(dirfd, path, 1 << 24, &text, len), 0);
	return text;
}

static int count_lines(int dirfd)
{
	size_t len;
	char *text = read_item(dirfd, "index", &len), *p;
	int n = 0;

	for (p = text; *p; p++)
		n += *p == '\n';
	free(text);
	return n;
}

static void keep(struct quarantine *q, char fill, size_t len, int want)
{
	char *buf = malloc(len + 1);

	memset(buf, fill, len);
	assert_int_equal(quarantine_bytes(q, &note, buf, len), want);
	free(buf);
}

static void bytes_and_index(void **state)
{
	int dirfd = *(int *)*state;
	struct quarantine q;
	char *text;
	size_t len;

	assert_int_equal(quarantine_open(&q, dirfd, 10000), 0);
	assert_int_equal(quarantine_count(&q), 0);
	keep(&q, 'a', 100, 0);
	keep(&q, 'b', 0, 0);
	assert_int_equal(quarantine_count(&q), 2);
	assert_int_equal(q.used, 100);
	text = read_item(dirfd, "0000000001-bytes", &len);
	assert_int_equal(len, 100);
	assert_int_equal(strspn(text, "a"), 100);
	free(text);
	text = read_item(dirfd, "index", &len);
	assert_memory_equal(text, "1\t20", 4);
	assert_int_equal(strspn(text + 2, "0123456789-T:+"), 24);
	*strchr(text, '\n') = '\0';
	assert_string_equal(text + 26, "\tbytes\t100\t/m/1\tdir/na\\011me\t4096+100\t"
				       "leaf 1 differs");
	free(text);
	quarantine_close(&q);
	/* the same again after a restart */
	assert_int_equal(quarantine_open(&q, dirfd, 10000), 0);
	assert_int_equal(quarantine_count(&q), 2);
	assert_int_equal(q.used, 100);
	assert_int_equal(q.next_seq, 3);
	quarantine_close(&q);
	quarantine_close(&q);
}

static void oldest_go_first(void **state)
{
	int dirfd = *(int *)*state, i;
	struct quarantine q;

	assert_int_equal(quarantine_open(&q, dirfd, 1000), 0);
	for (i = 0; i < 10; i++)
		keep(&q, 'x', 100, 0);
	assert_int_equal(q.used, 1000);
	assert_true(exists(dirfd, "quarantine/0000000001-bytes"));
	keep(&q, 'x', 1, 0);
	assert_false(exists(dirfd, "quarantine/0000000001-bytes"));
	assert_true(exists(dirfd, "quarantine/0000000002-bytes"));
	assert_int_equal(quarantine_count(&q), 10);
	assert_int_equal(q.used, 901);
	keep(&q, 'x', 1001, -EFBIG);
	assert_int_equal(quarantine_count(&q), 10);
	keep(&q, 'x', 1000, 0);
	assert_int_equal(quarantine_count(&q), 1);
	assert_int_equal(q.used, 1000);
	assert_true(exists(dirfd, "quarantine/0000000012-bytes"));
	quarantine_close(&q);
	/* a lower limit takes hold with the next item */
	assert_int_equal(quarantine_open(&q, dirfd, 500), 0);
	assert_int_equal(q.used, 1000);
	keep(&q, 'y', 10, 0);
	assert_int_equal(q.used, 10);
	assert_int_equal(quarantine_count(&q), 1);
	quarantine_close(&q);
}

/* Random sizes: never over the limit, order kept, and the index bounded. */
static void bound_holds(void **state)
{
	int dirfd = *(int *)*state, i;
	uint64_t seed = seed_of_run();
	struct quarantine q;

	assert_int_equal(quarantine_open(&q, dirfd, 5000), 0);
	for (i = 0; i < 700; i++) {
		uint64_t before = q.next_seq;

		keep(&q, 'x', next_random(&seed) % 1500, 0);
		assert_true(q.used <= 5000);
		assert_true(q.next_seq == before + 1);
		assert_true(count_lines(dirfd) == (int)q.lines);
		assert_true(q.lines <= 2 * quarantine_count(&q) + 257);
		if (i % 100 == 99) {
			uint64_t used = q.used, count = quarantine_count(&q);

			quarantine_close(&q);
			assert_int_equal(quarantine_open(&q, dirfd, 5000), 0);
			assert_int_equal(q.used, used);
			assert_int_equal(quarantine_count(&q), count);
			assert_int_equal(q.next_seq, before + 1);
		}
	}
	quarantine_close(&q);
}

static void make_objects(int dirfd)
{
	assert_int_equal(io_mkdirs(dirfd, "t/full/sub"), 0);
	assert_int_equal(io_mkdirs(dirfd, "t/empty"), 0);
	put_file(dirfd, "t/file", "12345", 5);
	put_file(dirfd, "t/full/sub/f", "12345", 5);
	assert_int_equal(symlinkat("nowhere", dirfd, "t/link"), 0);
	assert_int_equal(mkfifoat(dirfd, "t/pipe", 0600), 0);
}

static void moves_of_any_type(void **state)
{
	static const char *const names[] = { "file", "link", "pipe", "empty", "full" };
	static const char *const items[] = {
		"quarantine/0000000001-file", "quarantine/0000000002-symlink",
		"quarantine/0000000003-fifo", "quarantine/0000000004-dir",
		"quarantine/0000000005-dir/sub/f",
	};
	int dirfd = *(int *)*state, parent;
	struct quarantine q;
	size_t i;

	make_objects(dirfd);
	parent = openat(dirfd, "t", O_RDONLY | O_DIRECTORY);
	assert_int_equal(quarantine_open(&q, dirfd, 1000), 0);
	for (i = 0; i < N_ELEMS(names); i++) {
		assert_int_equal(quarantine_move(&q, &note, parent, names[i]), 0);
		assert_false(exists(parent, names[i]));
		assert_true(exists(dirfd, items[i]));
	}
	assert_int_equal(quarantine_count(&q), 5);
	assert_int_equal(q.used, 5);
	assert_int_equal(count_lines(dirfd), 5);
	assert_int_equal(quarantine_move(&q, &note, parent, "none"), -ENOENT);
	assert_int_equal(quarantine_count(&q), 5);
	quarantine_close(&q);
	assert_int_equal(quarantine_open(&q, dirfd, 1000), 0);
	assert_int_equal(quarantine_count(&q), 5);
	assert_int_equal(q.used, 5);
	keep(&q, 'x', 996, 0); /* the file goes, what weighs nothing stays */
	assert_int_equal(quarantine_count(&q), 5);
	keep(&q, 'x', 1000, 0); /* in order: all of them, the full folder too */
	assert_int_equal(quarantine_count(&q), 1);
	assert_false(exists(dirfd, "quarantine/0000000005-dir"));
	quarantine_close(&q);
	close(parent);
}

static void too_large_to_move(void **state)
{
	int dirfd = *(int *)*state;
	struct quarantine q;

	put_file(dirfd, "f", "0123456789", 10);
	assert_int_equal(quarantine_open(&q, dirfd, 9), 0);
	assert_int_equal(quarantine_move(&q, &note, dirfd, "f"), -EFBIG);
	assert_true(exists(dirfd, "f"));
	assert_int_equal(quarantine_count(&q), 0);
	quarantine_close(&q);
}

static void another_filesystem(void **state)
{
	char other[] = "/dev/shm/mirrorfs-unit.XXXXXX";
	int dirfd = *(int *)*state, fd;
	struct stat a, b;
	struct quarantine q;

	if (!mkdtemp(other)) {
		print_message("no /dev/shm to move from\n");
		skip();
	}
	fd = open(other, O_RDONLY | O_DIRECTORY);
	fstat(fd, &a);
	fstat(dirfd, &b);
	if (a.st_dev == b.st_dev) {
		rmdir(other);
		print_message("the test directory is on the same filesystem\n");
		skip();
	}
	put_file(fd, "f", "x", 1);
	assert_int_equal(quarantine_open(&q, dirfd, 1000), 0);
	keep(&q, 'x', 10, 0);
	assert_int_equal(quarantine_move(&q, &note, fd, "f"), -EXDEV);
	assert_true(exists(fd, "f"));
	assert_int_equal(quarantine_count(&q), 1);
	assert_int_equal(q.used, 10);
	assert_int_equal(count_lines(dirfd), 1);
	keep(&q, 'x', 10, 0);
	assert_int_equal(quarantine_count(&q), 2);
	quarantine_close(&q);
	close(fd);
	io_remove_tree(AT_FDCWD, other);
}

/* Whatever byte of the index is damaged: nothing kept is lost or miscounted,
 * and no number is given out twice. */
static void every_flipped_byte_of_the_index(void **state)
{
	int dirfd = *(int *)*state;
	static const uint8_t masks[] = { 0x01, 0x02, 0x40, 0xff };
	struct quarantine q;
	struct stat st;
	off_t at;
	size_t k;

	assert_int_equal(quarantine_open(&q, dirfd, 1000), 0);
	keep(&q, 'a', 100, 0);
	keep(&q, 'b', 200, 0);
	keep(&q, 'c', 300, 0);
	quarantine_close(&q);
	assert_int_equal(fstatat(dirfd, "quarantine/index", &st, 0), 0);
	for (at = 0; at < st.st_size - 1; at++) {
		for (k = 0; k < N_ELEMS(masks); k++) {
			flip_byte(dirfd, "quarantine/index", at, masks[k]);
			assert_int_equal(quarantine_open(&q, dirfd, 1000), 0);
			assert_int_equal(quarantine_count(&q), 3);
			assert_int_equal(q.used, 600);
			assert_true(q.next_seq >= 4 && q.next_seq < UINT64_MAX / 2);
			quarantine_close(&q);
			flip_byte(dirfd, "quarantine/index", at, masks[k]);
		}
	}
	/* cut at any place: the next line is whole */
	for (at = 0; at < st.st_size; at++) {
		size_t len;
		char *text = read_item(dirfd, "index", &len), *last, *tail;

		assert_int_equal(quarantine_open(&q, dirfd, 1000), 0);
		quarantine_close(&q);
		put_file(dirfd, "quarantine/index", text, (size_t)at);
		assert_int_equal(quarantine_open(&q, dirfd, 100000), 0);
		keep(&q, 'd', 1, 0);
		quarantine_close(&q);
		last = read_item(dirfd, "index", &len);
		assert_int_equal(last[len - 1], '\n');
		last[len - 1] = '\0';
		tail = strrchr(last, '\n');
		assert_true(strtoull(tail ? tail + 1 : last, NULL, 10) == q.next_seq - 1);
		free(last);
		put_file(dirfd, "quarantine/index", text, strlen(text));
		free(text);
	}
}

/* Items whose line is missing count; lines whose item is gone do not, but
 * their number is not given out again. Foreign files are left alone. */
static void items_are_the_truth(void **state)
{
	int dirfd = *(int *)*state;
	struct quarantine q;

	assert_int_equal(io_mkdirs(dirfd, "quarantine"), 0);
	put_file(dirfd, "quarantine/0000000007-bytes", "1234567", 7);
	put_file(dirfd, "quarantine/index", "9\tx\n", 4);
	put_file(dirfd, "quarantine/README", "by a person", 11);
	put_file(dirfd, "quarantine/99999999999999999999-bytes", "x", 1);
	put_file(dirfd, "quarantine/8-withalongkind", "x", 1);
	assert_int_equal(quarantine_open(&q, dirfd, 1000), 0);
	assert_int_equal(quarantine_count(&q), 1);
	assert_int_equal(q.used, 7);
	assert_int_equal(q.next_seq, 10);
	/* an item removed by hand is no obstacle to making room */
	assert_int_equal(unlinkat(dirfd, "quarantine/0000000007-bytes", 0), 0);
	keep(&q, 'x', 1000, 0);
	assert_int_equal(quarantine_count(&q), 1);
	assert_true(exists(dirfd, "quarantine/README"));
	quarantine_close(&q);
}

/* What cannot be kept is said, and leaves nothing behind. */
static void failures_leave_nothing(void **state)
{
	int dirfd = *(int *)*state;
	struct quarantine q;

	assert_int_equal(quarantine_open(&q, dirfd, 1000), 0);
	assert_int_equal(io_mkdirs(dirfd, "quarantine/index"), 0); /* no index to append to */
	keep(&q, 'x', 10, -EISDIR);
	assert_int_equal(quarantine_count(&q), 0);
	assert_int_equal(q.used, 0);
	assert_false(exists(dirfd, "quarantine/0000000001-bytes"));
	assert_int_equal(unlinkat(dirfd, "quarantine/index", AT_REMOVEDIR), 0);
	put_file(dirfd, "quarantine/0000000001-bytes", "", 0); /* the name is taken */
	keep(&q, 'x', 10, -EEXIST);
	assert_int_equal(quarantine_count(&q), 0);
	quarantine_close(&q);
	put_file(dirfd, "plain", "", 0);
	assert_int_equal(io_remove_tree(dirfd, "quarantine"), 0);
	assert_int_equal(symlinkat("plain", dirfd, "quarantine"), 0);
	assert_true(quarantine_open(&q, dirfd, 1000) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmpdir_test(bytes_and_index),
		tmpdir_test(oldest_go_first),
		tmpdir_test(bound_holds),
		tmpdir_test(moves_of_any_type),
		tmpdir_test(too_large_to_move),
		tmpdir_test(another_filesystem),
		tmpdir_test(every_flipped_byte_of_the_index),
		tmpdir_test(items_are_the_truth),
		tmpdir_test(failures_leave_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
