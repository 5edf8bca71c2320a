/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sessions of random operations that end by SIGKILL, ten on each volume.
 * Nothing that was written is lost then, for the page cache stays: so each file
 * can be read, and a scrub finds nothing that it cannot correct.
 *
 * MIRRORFS_TEST_SEED replays what is done, not when the kill comes; KILL_VOLUMES says how many.
 */
#include "replica/ops.h"

#include "tests/unit/compare.h"
#include "tests/unit/recover.h"
#include "tests/unit/sync_ops.h"

#define VOLUMES 4
#define SESSIONS 10 /* of a volume */

static void operate(struct bed *b, uint64_t seed, int ready)
{
	struct world w = { .b = b };
	struct actor a = { .w = &w, .b = b, .seed = seed, .data = malloc(BIG + 8) };

	if (getenv("SYNC_TRACE"))
		log_set_level(LOG_LEVEL_INFO);
	b->opt.background = seed & 1;
	b->opt.seal_ms = 40;
	bed_open(b);
	assert_int_equal(write(ready, "", 1), 1);
	for (;;) {
		act(&a);
		if (chance(&a, 1))
			let_go(&a);
	}
}

static void run_killed(struct bed *b, uint64_t seed)
{
	int ready[2], status;
	char byte;
	pid_t pid;

	pid = fork_session(ready);
	if (!pid)
		operate(b, seed, ready[1]);
	close(ready[1]);
	if (read(ready[0], &byte, 1) == 1) {
		faulty_pause((int)(seed % 80));
		kill(pid, SIGKILL);
	}
	close(ready[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("a session ended with status %x", status);
}

static void read_all(struct bed *b, uint32_t node, uint8_t *buf, uint64_t *files)
{
	struct dir_list l = { 0 };

	assert_int_equal(op_list(b->v, node, &l), 0);
	for (size_t i = 0; i < l.n; i++) {
		const char *name = dir_list_name(&l, i);
		struct entry x;
		int r = op_lookup(b->v, node, name, &x);

		if (r < 0)
			fail_msg("%s: %d", shown(name), r);
		if (S_ISDIR(x.st.st_mode)) {
			read_all(b, x.node, buf, files);
		} else if (S_ISREG(x.st.st_mode)) {
			struct file *f = file_get(b->v, x.node);

			for (uint64_t at = 0; at < (uint64_t)x.st.st_size; at += BIG) {
				ssize_t n = bed_pread(b, f, at, buf, BIG);

				if (n < 0)
					fail_msg("%s: %zd", shown(name), n);
			}
			++*files;
			file_put(b->v, f);
		}
		tree_unref(b->v, x.node);
	}
	dir_list_free(&l);
}

static void sessions(struct bed *b, uint64_t seed)
{
	uint64_t files;
	uint8_t *buf = malloc(BIG + 8);

	bed_close(b);
	for (unsigned i = 0; i < SESSIONS; i++) {
		trace("==== session %u", i);
		run_killed(b, next_random(&seed));
		b->opt.background = next_random(&seed) & 1;
		bed_open(b);
		files = 0;
		if (next_random(&seed) & 1)
			read_all(b, NODE_ROOT, buf, &files);
		assert_int_equal(bed_scrub(b, false).uncorrected, 0);
		assert_int_equal(bed_counter(b, CNT_EJECTED), 0);
		if (next_random(&seed) & 1) {
			bed_seal(b);
			assert_int_equal(bed_scrub(b, false).found, 0);
		}
		bed_close(b);
		bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
	}
	free(buf);
}

static void killed(void **state)
{
	uint64_t seed = seed_of_run();
	unsigned n = getenv("KILL_VOLUMES") ? (unsigned)atoi(getenv("KILL_VOLUMES")) : VOLUMES;

	(void)state;
	for (unsigned i = 0; i < n; i++) {
		struct bed *b = bed_new(2);

		assert_non_null(b);
		bed_small_rings(b);
		trace("==== volume %u", i);
		sessions(b, next_random(&seed));
		bed_free(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
