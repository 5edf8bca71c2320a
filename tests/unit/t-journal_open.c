/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which journals are found, kept and made when a volume is opened; mirrors
 * that fail; many threads. Syncs go through a function here that can count
 * them and hold them up.
 */
#include "replica/journal.h"

#include <sys/syscall.h>

#include "tests/unit/journal.h"

/* ---- syncs ---- */

static _Atomic int syncs, syncs_held, sync_hold;

int fdatasync(int fd)
{
	atomic_fetch_add(&syncs, 1);
	while (atomic_load(&sync_hold)) {
		atomic_store(&syncs_held, 1);
		usleep(100);
	}
	return (int)syscall(SYS_fdatasync, fd);
}

/* The journal's own descriptor for mirror m is from now on one of `path`. */
static void exchange_fd(struct set *s, int m, const char *path, int flags)
{
	struct stat want = file_of(s, m), st;
	int fd = open(path, flags | O_CLOEXEC), seen = 0;

	assert_true(fd >= 0);
	for (int i = 3; i < 200; i++)
		if (i != fd && fstat(i, &st) == 0 && st.st_ino == want.st_ino &&
		    st.st_dev == want.st_dev) {
			assert_int_equal(dup2(fd, i), i);
			seen++;
		}
	assert_int_equal(seen, 1);
	close(fd);
}

/* ---- opening ---- */

static void numbers_go_on(void **state)
{
	struct set s = set_small(state, 2);
	uint64_t seed = seed_of_run(), last = append(&s, 1, 100), n = 2;

	for (int i = 0; i < 30; i++) {
		uint64_t head = journal_head(&s.v);
		bool unclean = next_random(&seed) % 2;

		set_reopen(&s, unclean);
		assert_true(journal_head(&s.v) >= head && journal_head(&s.v) < head + 2 * BLOCK);
		assert_int_equal(journal_head(&s.v) % BLOCK, 0);
		assert_int_equal(scan(&s, 0).total ? 1 : 0, unclean);
		for (unsigned k = 0; k < 1 + next_random(&seed) % 20; k++) {
			uint64_t lsn = append(&s, n++, (uint32_t)(next_random(&seed) % 3000));

			assert_true(lsn > last);
			last = lsn;
		}
		if (next_random(&seed) % 3 == 0)
			journal_set_tail(&s.v, last); /* the last one stays */
	}
	set_free(&s);
}

/* The tail outlives an unclean end: a ring that has gone round is not full. */
static void tail_outlives_unclean_end(void **state)
{
	struct set s = set_small(state, 2);
	uint64_t tail = 0;

	for (unsigned i = 0; i < 500; i++) {
		if (journal_used(&s.v) > 60)
			journal_set_tail(&s.v, tail = journal_head(&s.v));
		append(&s, i, 4000);
	}
	set_reopen(&s, true);
	assert_true(journal_used(&s.v) <= 62);
	assert_true(scan(&s, 0).total > 0);
	for (unsigned i = 0; i < 500; i++)
		assert_true(!scan(&s, 0).n[i] || scan(&s, 0).lsn[i] >= tail);
	assert_int_equal(scan(&s, 0).n[499], 1);
	set_free(&s);
}

/* What a clean end made void stays so, also when the next session ends badly
 * before it has written anything. */
static void void_stays_void(void **state)
{
	struct set s = set_small(state, 2);
	uint64_t lsn = 0;

	for (unsigned i = 1; i < 9; i++)
		lsn = append(&s, i, 500);
	set_reopen(&s, false);
	set_reopen(&s, true);
	assert_int_equal(scan(&s, 0).total + scan(&s, 1).total, 0);
	assert_int_equal(journal_used(&s.v), 0);
	assert_true(append(&s, 9, 500) > lsn);
	set_reopen(&s, true);
	assert_found(&s, 0, 9, 9);
	set_free(&s);
}

static void assert_remade(struct set *s, int m, int other, const struct stat *kept)
{
	assert_int_equal(file_of(s, m).st_size, RING + BLOCK);
	assert_true(file_of(s, m).st_ino != kept->st_ino || other == m);
	assert_int_equal(file_of(s, other).st_ino, kept->st_ino);
	assert_int_equal(scan(s, m).total, 0);
	assert_found(s, other, 1, 20);
}

/* Missing, damaged or of another size: made as large as the other, which keeps
 * what it holds. */
static void remade_beside_another(void **state)
{
	enum { MISSING, EMPTY, CUT, HEADER, LARGER, FOREIGN, SYMLINK, CASES };

	for (int how = 0; how < CASES; how++) {
		struct set s = set_small(state, 2);
		int m = how % 2, other = !m;
		struct stat kept = file_of(&s, other);

		for (unsigned i = 1; i <= 20; i++)
			append(&s, i, i * 10);
		journal_close(&s.v);
		if (how == MISSING || how == SYMLINK)
			assert_int_equal(unlinkat(s.fd[m], "journal", 0), 0);
		if (how == SYMLINK)
			assert_int_equal(symlinkat("/dev/null", s.fd[m], "journal"), 0);
		if (how == EMPTY)
			put_file(s.fd[m], "journal", "", 0);
		if (how == CUT) {
			int fd = openat(s.fd[m], "journal", O_WRONLY);

			assert_int_equal(ftruncate(fd, RING), 0);
			close(fd);
		}
		if (how == HEADER)
			flip_byte(s.fd[m], "journal", 30, 1);
		if (how == LARGER)
			put_ring(&s, m, 2 * RING, RING);
		if (how == FOREIGN) {
			/* of another volume, else intact */
			uint8_t head[BLOCK];
			int fd = openat(s.fd[m], "journal", O_RDWR);

			assert_int_equal(pread(fd, head, BLOCK, 0), BLOCK);
			head[32] ^= 1;
			le64(head + 48, hash_bytes(head, 48, 0));
			assert_int_equal(pwrite(fd, head, BLOCK, 0), BLOCK);
			close(fd);
		}
		set_reopen(&s, true);
		assert_remade(&s, m, other, &kept);
		append(&s, 21, 5);
		assert_found(&s, m, 21, 21);
		assert_found(&s, other, 1, 21);
		set_reopen(&s, true); /* its numbers begin where the other's were */
		assert_found(&s, other, 1, 21);
		set_free(&s);
		assert_int_equal(io_remove_tree(s.dir, "m0"), 0);
		assert_int_equal(io_remove_tree(s.dir, "m1"), 0);
	}
}

static void newer_version_is_refused(void **state)
{
	struct set s = set_small(state, 2);
	uint8_t head[BLOCK];
	uint64_t before;
	int fd;

	journal_close(&s.v);
	fd = openat(s.fd[1], "journal", O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, head, BLOCK, 0), BLOCK);
	le64(head + 8, 2);
	le64(head + 48, hash_bytes(head, 48, 0));
	assert_int_equal(pwrite(fd, head, BLOCK, 0), BLOCK);
	close(fd);
	before = content_of(&s, 1);
	assert_int_equal(journal_open(&s.v, 3, true), -EPROTONOSUPPORT);
	assert_null(s.v.journal);
	assert_int_equal(content_of(&s, 1), before);
	set_free(&s);
}

static void without_write_nothing_changes(void **state)
{
	struct set s = set_small(state, 3);
	struct journal_record r = make(1, 1);
	struct stat st[3];
	uint64_t was[3];

	for (unsigned i = 1; i < 9; i++)
		append(&s, i, 500);
	journal_close(&s.v);
	flip_byte(s.fd[1], "journal", 3, 1);
	assert_int_equal(unlinkat(s.fd[2], "journal", 0), 0);
	for (int m = 0; m < 2; m++) {
		st[m] = file_of(&s, m);
		was[m] = content_of(&s, m);
	}
	set_paths(&s, 3);
	atomic_store(&s.v.unclean, true);
	assert_int_equal(journal_open(&s.v, 7, false), 0);
	assert_found(&s, 0, 1, 8);
	assert_int_equal(scan(&s, 1).total + scan(&s, 2).total, 0);
	assert_int_equal(journal_append(&s.v, &r), -EROFS);
	assert_int_equal(journal_flush(&s.v, UINT64_MAX), -EROFS);
	assert_int_equal(journal_flush_on(&s.v, 0, 1), -EROFS);
	assert_int_equal(journal_join(&s.v, 2), -EROFS);
	for (int m = 0; m < 2; m++) {
		struct stat now = file_of(&s, m);

		assert_int_equal(content_of(&s, m), was[m]);
		assert_true(now.st_mtim.tv_nsec == st[m].st_mtim.tv_nsec &&
			    now.st_ino == st[m].st_ino);
	}
	assert_false(exists(s.fd[2], "journal"));
	assert_false(exists(s.fd[2], ".journal.new"));
	set_free(&s);
}

static void never_opened(void **state)
{
	struct set s = set_new(state, 1);
	struct journal_record r = make(1, 1);
	struct found f = { .total = 0 };

	journal_close(&s.v);
	assert_int_equal(journal_append(&s.v, &r), -EROFS);
	assert_int_equal(journal_head(&s.v) + journal_used(&s.v), 0);
	assert_int_equal(journal_wait_room(&s.v, 1000), 0);
	assert_int_equal(journal_scan(&s.v, 0, note, &f), 0);
	journal_set_tail(&s.v, 5);
	/* no mirror can have one */
	s.v.m[0].dotfd = -1;
	log_set_level((enum log_level)-1);
	assert_int_equal(journal_open(&s.v, 1, true), -EBADF);
	assert_null(s.v.journal);
	set_free(&s);
}

/* ---- failing mirrors ---- */

static enum member_state state_of(struct set *s, int m)
{
	return s->v.sb.members[m].state;
}

static void failing_write_ejects(void **state)
{
	struct set s = set_small(state, 3);

	log_set_level((enum log_level)-1);
	append(&s, 1, 10);
	exchange_fd(&s, 1, "/dev/full", O_RDWR);
	append(&s, 2, 10);
	assert_int_equal(volume_in_sync(&s.v), 5);
	assert_int_equal(state_of(&s, 1), MEMBER_FULL);
	assert_found(&s, 0, 1, 2);
	assert_found(&s, 2, 1, 2);
	exchange_fd(&s, 0, "/dev/null", O_RDONLY);
	append(&s, 3, 10);
	assert_int_equal(volume_in_sync(&s.v), 4);
	assert_int_equal(state_of(&s, 0), MEMBER_STALE);
	assert_found(&s, 2, 1, 3);
	set_free(&s);
}

/* A number that nobody took is given again; the last mirror stays. */
static void all_writes_fail(void **state)
{
	struct set s = set_small(state, 2);
	struct journal_record r = make(1, 10);
	uint64_t head = journal_head(&s.v);

	log_set_level((enum log_level)-1);
	exchange_fd(&s, 0, "/dev/full", O_RDWR);
	exchange_fd(&s, 1, "/dev/full", O_RDWR);
	assert_int_equal(journal_append(&s.v, &r), -EIO);
	assert_int_equal(journal_head(&s.v), head);
	assert_int_equal(volume_in_sync(&s.v), 3);
	set_free(&s);
}

static void mirror_without_journal_is_ejected(void **state)
{
	struct set s = set_new(state, 2);

	log_set_level((enum log_level)-1);
	put_ring(&s, 0, RING, RING);
	assert_int_equal(mkdirat(s.fd[1], "journal", 0700), 0); /* in the way */
	assert_int_equal(journal_open(&s.v, 3, true), 0);
	assert_int_equal(volume_in_sync(&s.v), 3);
	append(&s, 1, 1);
	assert_int_equal(volume_in_sync(&s.v), 1);
	assert_int_equal(journal_flush(&s.v, UINT64_MAX), 0);
	set_free(&s);
}

/* A failed sync is final: never tried again, the last mirror's neither. */
static void failing_flush_ejects(void **state)
{
	struct set s = set_small(state, 2);
	uint64_t lsn;
	int n;

	log_set_level((enum log_level)-1);
	exchange_fd(&s, 1, "/dev/null", O_RDWR); /* takes writes, cannot be synced */
	lsn = append(&s, 1, 10);
	assert_int_equal(volume_in_sync(&s.v), 3);
	assert_int_equal(journal_flush_on(&s.v, 0, lsn), 0);
	assert_int_equal(journal_flush_on(&s.v, 1, lsn), -EINVAL);
	assert_int_equal(volume_in_sync(&s.v), 3);
	n = atomic_load(&syncs);
	assert_int_equal(journal_flush(&s.v, lsn), 0);
	assert_int_equal(atomic_load(&syncs), n);
	assert_int_equal(volume_in_sync(&s.v), 1);
	exchange_fd(&s, 0, "/dev/null", O_RDWR);
	assert_int_equal(journal_flush(&s.v, lsn), 0); /* it is durable */
	append(&s, 2, 10);
	assert_int_equal(journal_flush(&s.v, journal_head(&s.v)), -EIO);
	n = atomic_load(&syncs);
	assert_int_equal(journal_flush(&s.v, journal_head(&s.v)), -EIO);
	assert_int_equal(atomic_load(&syncs), n);
	assert_int_equal(volume_in_sync(&s.v), 1);
	set_free(&s);
}

static void joining(void **state)
{
	struct set s = set_small(state, 2);
	uint64_t lsn, head;

	log_set_level((enum log_level)-1);
	append(&s, 1, 10);
	exchange_fd(&s, 1, "/dev/null", O_RDWR);
	append(&s, 2, 10);
	assert_int_equal(journal_flush(&s.v, UINT64_MAX), 0);
	assert_int_equal(volume_in_sync(&s.v), 1);
	append(&s, 3, 10);
	head = journal_head(&s.v);
	assert_int_equal(journal_join(&s.v, 1), 0);
	assert_int_equal(journal_head(&s.v), head);
	atomic_store(&s.v.in_sync, 3);
	lsn = append(&s, 4, 10);
	assert_int_equal(journal_flush(&s.v, lsn), 0);
	assert_int_equal(volume_in_sync(&s.v), 3);
	assert_found(&s, 1, 4, 4);
	assert_found(&s, 0, 1, 4);
	/* empty again, and the other one lost: numbers still go on above */
	atomic_store(&s.v.in_sync, 1);
	assert_int_equal(journal_join(&s.v, 1), 0);
	journal_close(&s.v);
	assert_int_equal(unlinkat(s.fd[0], "journal", 0), 0);
	set_reopen(&s, true);
	assert_true(journal_head(&s.v) > lsn);
	set_free(&s);
}

/* ---- many threads ---- */

static void *flush_all(void *arg)
{
	return (void *)(intptr_t)journal_flush(arg, journal_head(arg));
}

/* While one sync runs, those who come in wait; one more serves them all. */
static void concurrent_flushes_are_shared(void **state)
{
	struct set s = set_small(state, 1);
	pthread_t t[9];
	void *r;
	int n;

	append(&s, 1, 10);
	n = atomic_load(&syncs);
	atomic_store(&syncs_held, 0);
	atomic_store(&sync_hold, 1);
	assert_int_equal(pthread_create(&t[0], NULL, flush_all, &s.v), 0);
	for (int i = 0; i < 100000 && !atomic_load(&syncs_held); i++)
		usleep(100);
	assert_int_equal(atomic_load(&syncs_held), 1);
	append(&s, 2, 10);
	for (int i = 1; i < 9; i++)
		assert_int_equal(pthread_create(&t[i], NULL, flush_all, &s.v), 0);
	atomic_store(&sync_hold, 0);
	for (int i = 0; i < 9; i++) {
		pthread_join(t[i], &r);
		assert_null(r);
	}
	assert_int_equal(atomic_load(&syncs), n + 2);
	assert_int_equal(journal_flush(&s.v, UINT64_MAX), 0);
	assert_int_equal(atomic_load(&syncs), n + 2);
	set_free(&s);
}

struct worker {
	struct set *s;
	uint64_t seed;
	unsigned base, n;
	bool wrong;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	uint64_t last = 0;

	for (unsigned i = 0; i < w->n; i++) {
		struct journal_record r = make(w->base + i,
					       (uint32_t)(next_random(&w->seed) % 3000));
		int e;

		while ((e = journal_append(&w->s->v, &r)) == -ENOSPC)
			journal_set_tail(&w->s->v, journal_head(&w->s->v) - RING / 4);
		w->wrong |= e != 0 || r.lsn <= last;
		last = r.lsn;
		if (next_random(&w->seed) % 8 == 0)
			w->wrong |= journal_flush(&w->s->v, r.lsn) != 0;
		if (next_random(&w->seed) % 8 == 0) {
			e = journal_wait_room(&w->s->v, 1);
			w->wrong |= e != 0 && e != -ETIMEDOUT;
		}
	}
	return NULL;
}

static void threads(void **state)
{
	struct set s = set_small(state, 2);
	uint64_t seed = seed_of_run();
	struct worker w[8];
	pthread_t t[8];
	unsigned total;

	for (int i = 0; i < 8; i++) {
		w[i] = (struct worker){ .s = &s, .seed = seed + (unsigned)i,
					.base = (unsigned)i * 300, .n = 300 };
		assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], NULL);
		assert_false(w[i].wrong);
	}
	total = scan(&s, 0).total;
	assert_true(total > 0);
	assert_int_equal(scan(&s, 1).total, total);
	for (int i = 0; i < 2400; i++)
		assert_true(scan(&s, 0).n[i] <= 1);
	set_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmpdir_test(numbers_go_on),
		tmpdir_test(tail_outlives_unclean_end),
		tmpdir_test(void_stays_void),
		tmpdir_test(remade_beside_another),
		tmpdir_test(newer_version_is_refused),
		tmpdir_test(without_write_nothing_changes),
		tmpdir_test(never_opened),
		tmpdir_test(failing_write_ejects),
		tmpdir_test(all_writes_fail),
		tmpdir_test(mirror_without_journal_is_ejected),
		tmpdir_test(failing_flush_ejects),
		tmpdir_test(joining),
		tmpdir_test(concurrent_flushes_are_shared),
		tmpdir_test(threads),
	};

	return cmocka_run_group_tests(tests, fill, NULL);
}
