/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What goes into the journals before a change, and when it is flushed; that the
 * tail never passes what is not sealed; that a full ring holds nobody up for
 * good; and that nothing is changed that could not be noted.
 */
#include "replica/intent.h"

#include "tests/unit/recover.h"

#include "replica/journal_priv.h"

#define L LEAF_SIZE
#define REGION ((uint64_t)REGION_LEAVES * L)

static uint8_t data[64 * L];

static int setup(void **state)
{
	struct bed *b = bed_new(2);

	if (!b)
		return -1;
	bed_small_rings(b);
	fill_pattern(data, sizeof(data), 5);
	*state = b;
	return 0;
}

#define intent_test(f) cmocka_unit_test_setup_teardown(f, setup, bed_teardown)

/* A sealed file of this size, without blocks where it was not written. */
static struct file *at_rest(struct bed *b, const char *name, uint64_t size)
{
	struct file *f;

	assert_int_equal(bed_file(b, name, &f), 0);
	assert_int_equal(file_truncate(b->v, f, &b->space, size), 0);
	if (size <= sizeof(data))
		assert_int_equal(bed_pwrite(b, f, 0, data, size), 0);
	bed_seal(b);
	return f;
}

static struct ring *ring_of(struct bed *b, int m)
{
	return &b->v->journal->m[m];
}

/* Journal flushes that a write costs, of both mirrors together. */
static unsigned flushes(struct bed *b, struct file *f, uint64_t off, size_t len)
{
	unsigned before = atomic_load(&n_fdatasync);

	assert_int_equal(bed_pwrite(b, f, off, data, len), 0);
	return atomic_load(&n_fdatasync) - before;
}

/* The nth record of the type and object from lsn `from` on. */
static bool nth(struct bed *b, uint8_t type, uint64_t id, uint64_t from, unsigned n,
		struct journal_record *out, uint8_t payload[4096])
{
	uint8_t *buf = ring_read(b, 0);
	struct journal_record r;
	bool found = false;
	size_t at = 0;

	while (!found && ring_next(buf, &at, &r) >= 0)
		if (r.type == type && r.id == id && r.lsn >= from && n-- == 0) {
			*out = r;
			memcpy(payload, r.payload, r.size < 4096 ? r.size : 4096);
			found = true;
		}
	free(buf);
	return found;
}

static uint64_t get_le64(const uint8_t *p)
{
	uint64_t x = 0;

	for (int i = 7; i >= 0; i--)
		x = x << 8 | p[i];
	return x;
}

/* ---- flushes ---- */

static void one_flush_a_region(void **state)
{
	struct bed *b = *state;
	struct file *f = at_rest(b, "f", 30 * REGION);

	assert_int_equal(flushes(b, f, 5 * REGION, L), 2);
	assert_int_equal(flushes(b, f, 5 * REGION, L), 0);
	assert_int_equal(flushes(b, f, 6 * REGION - 100, 100), 0);
	assert_int_equal(flushes(b, f, 20 * REGION, L), 2);
	assert_int_equal(flushes(b, f, 20 * REGION + 7 * L, L), 0);
	assert_int_equal(flushes(b, f, 5 * REGION, L), 0);
	bed_seal(b); /* the next life begins anew */
	assert_int_equal(flushes(b, f, 5 * REGION, L), 2);
	file_put(b->v, f);
}

static void regions_ahead_of_one_who_writes_on(void **state)
{
	struct bed *b = *state;
	struct file *f = at_rest(b, "f", 30 * REGION);
	uint64_t from = journal_head(b->v);
	struct journal_record r;
	uint8_t p[4096];

	assert_int_equal(flushes(b, f, 2 * REGION, L), 2);
	for (unsigned i = 3; i < 12; i++)
		assert_int_equal(flushes(b, f, i * REGION, L), i == 3 ? 2 : 0);
	assert_int_equal(flushes(b, f, 12 * REGION, L), 2);
	/* and not beyond what is at rest */
	assert_int_equal(flushes(b, f, 28 * REGION, L), 2);
	assert_int_equal(flushes(b, f, 29 * REGION, L), 2);
	assert_true(nth(b, JOURNAL_OPEN, f->id, from, 1, &r, p)); /* the first says no region */
	assert_int_equal(r.arg, 2ull << 32 | 1);
	assert_true(nth(b, JOURNAL_OPEN, f->id, from, 2, &r, p));
	assert_int_equal(r.arg, 3ull << 32 | 9);
	assert_true(nth(b, JOURNAL_OPEN, f->id, from, 5, &r, p));
	assert_int_equal(r.arg, 29ull << 32 | 1);
	file_put(b->v, f);
}

/* Across the edge of two regions: one flush for both. */
static void a_write_over_an_edge(void **state)
{
	struct bed *b = *state;
	struct file *f = at_rest(b, "f", 30 * REGION);

	assert_int_equal(flushes(b, f, 5 * REGION - L, 2 * L), 2);
	assert_int_equal(flushes(b, f, 4 * REGION, L), 0);
	assert_int_equal(flushes(b, f, 5 * REGION, L), 0);
	file_put(b->v, f);
}

static void what_costs_no_flush(void **state)
{
	struct bed *b = *state;
	struct file *f = at_rest(b, "f", 5 * L + 10), *g;
	unsigned before;

	before = atomic_load(&n_fdatasync);
	assert_int_equal(flushes(b, f, 5 * L + 10, 3 * L), 0);  /* append */
	assert_int_equal(flushes(b, f, 20 * L, L), 0);          /* behind a gap */
	assert_int_equal(flushes(b, f, 6 * L, L), 0);           /* over what was appended */
	assert_int_equal(file_truncate(b->v, f, &b->space, 30 * L), 0);
	assert_int_equal(file_truncate(b->v, f, &b->space, 2 * L), 0);
	assert_int_equal(flushes(b, f, 3 * L, L), 0);           /* over what was cut off */
	assert_int_equal(bed_mkdir(b, "d"), 0);                 /* the root is dirty already */
	assert_int_equal(bed_file(b, "d/new", &g), 0);
	assert_int_equal(flushes(b, g, 0, 4 * L), 0);
	assert_int_equal(flushes(b, g, L, L), 0);
	assert_true(atomic_load(&n_fdatasync) <= before + 2);   /* that of the root */
	before = atomic_load(&n_fdatasync);
	assert_int_equal(file_truncate(b->v, f, &b->space, L + 5), 0); /* the edge is overwritten */
	assert_int_equal(atomic_load(&n_fdatasync), before + 2);
	file_put(b->v, g);
	file_put(b->v, f);
}

static void strict_flushes_each_overwrite(void **state)
{
	struct bed *b = *state;
	struct file *f = at_rest(b, "f", 5 * L);

	b->v->opt.strict = true;
	for (int i = 0; i < 3; i++)
		assert_true(flushes(b, f, L, L) >= 2);
	assert_int_equal(flushes(b, f, 5 * L, L), 0);
	file_put(b->v, f);
}

static void an_xattr_is_announced(void **state)
{
	struct bed *b = *state;
	struct file *f = at_rest(b, "f", 5 * L);
	unsigned before = atomic_load(&n_fdatasync);

	assert_int_equal(op_setxattr(b->v, f->node, "user.a", "1", 1, 0, false), 0);
	assert_int_equal(atomic_load(&n_fdatasync), before + 2);
	assert_int_equal(op_setxattr(b->v, f->node, "user.a", "2", 1, 0, false), 0);
	assert_int_equal(atomic_load(&n_fdatasync), before + 2);
	file_put(b->v, f);
}

/* ---- what is in them ---- */

static void hashes_of_small_files_at_rest(void **state)
{
	struct bed *b = *state;
	struct file *f = at_rest(b, "f", 5 * L - 7), *g;
	uint64_t from = journal_head(b->v);
	struct journal_record r;
	uint8_t p[4096];

	assert_int_equal(bed_pwrite(b, f, 5 * L, data, L), 0);
	assert_true(nth(b, JOURNAL_OPEN, f->id, from, 0, &r, p));
	assert_true(r.flags == OPEN_HASHES && (uint32_t)r.arg == 0 && r.size == 8 + 5 * 8);
	assert_memory_equal(p, "\1\0f", 3);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(get_le64(p + 8 + i * 8), hash_leaf(f->id, i, data + i * L,
								    i < 4 ? L : L - 7));
	/* it has changed: these would not be at rest */
	assert_int_equal(bed_pwrite(b, f, 0, data + 1, L), 0);
	assert_true(nth(b, JOURNAL_OPEN, f->id, from, 1, &r, p));
	assert_true(r.flags == 0 && r.arg == 1 && r.size == 8);
	assert_false(nth(b, JOURNAL_OPEN, f->id, from, 2, &r, p));
	/* of the same size again, but not the same */
	g = at_rest(b, "h", 5 * L);
	from = journal_head(b->v);
	assert_int_equal(file_truncate(b->v, g, &b->space, 2 * L), 0);
	assert_int_equal(bed_pwrite(b, g, 2 * L, data, 3 * L), 0);
	assert_int_equal(bed_pwrite(b, g, 0, data + 1, L), 0);
	assert_true(nth(b, JOURNAL_OPEN, g->id, from, 0, &r, p) && r.flags == OPEN_HASHES);
	assert_true(nth(b, JOURNAL_OPEN, g->id, from, 1, &r, p) && r.flags == 0);
	file_put(b->v, g);
	g = at_rest(b, "g", 17 * L); /* large: they are in its hash file */
	assert_int_equal(bed_pwrite(b, g, 0, data + 1, L), 0);
	for (unsigned i = 0; nth(b, JOURNAL_OPEN, g->id, from, i, &r, p); i++)
		assert_int_equal(r.flags, 0);
	file_put(b->v, g);
	file_put(b->v, f);
}

static void gaps_are_noted_as_zeros(void **state)
{
	struct bed *b = *state;
	struct file *f = at_rest(b, "f", 5 * L - 7);
	uint64_t from = journal_head(b->v);
	struct journal_record r;
	uint8_t p[4096];

	assert_int_equal(bed_pwrite(b, f, 9 * L + 5, data, 10), 0);
	assert_true(nth(b, JOURNAL_NEW, f->id, from, 0, &r, p));
	assert_true(r.flags == NEW_ZERO && r.arg == 5 && r.size == 16);
	assert_int_equal(get_le64(p + 8), 4); /* leaves 5 to 8 */
	assert_true(nth(b, JOURNAL_NEW, f->id, from, 1, &r, p));
	assert_true(r.flags == 0 && r.arg == 9 && r.size == 24);
	assert_int_equal(get_le64(p), 9 * L + 15);
	assert_int_equal(get_le64(p + 8), 1);
	assert_int_equal(file_truncate(b->v, f, &b->space, 12 * L), 0);
	assert_true(nth(b, JOURNAL_NEW, f->id, from, 2, &r, p));
	assert_true(r.flags == NEW_ZERO && r.arg == 10);
	file_put(b->v, f);
}

static void the_same_on_both_mirrors(void **state)
{
	struct bed *b = *state;
	struct file *f = at_rest(b, "f", 5 * L);
	uint8_t *x, *y;

	for (int i = 0; i < 50; i++)
		assert_int_equal(bed_pwrite(b, f, (uint64_t)i * 999, data, 5000), 0);
	x = ring_read(b, 0);
	y = ring_read(b, 1);
	assert_memory_equal(x, y, RING);
	free(x);
	free(y);
	file_put(b->v, f);
}

/* ---- the tail ---- */

static uint64_t tail_of(struct bed *b)
{
	return atomic_load(&b->v->journal->tail);
}

/* Records of what a batch sealed stay until the next one has synced that. */
static void a_batch_later(void **state)
{
	struct bed *b = *state;
	struct file *f = at_rest(b, "f", 5 * L), *g = at_rest(b, "g", 5 * L);
	uint64_t a, c;

	assert_int_equal(bed_pwrite(b, f, 0, data, L), 0);
	a = f->first_lsn;
	bed_seal(b);
	assert_true(f->first_lsn == LSN_NONE && tail_of(b) <= a);
	assert_int_equal(bed_pwrite(b, g, 0, data, L), 0);
	c = g->first_lsn;
	bed_seal(b);
	assert_true(tail_of(b) > a && tail_of(b) <= c);
	file_put(b->v, g);
	file_put(b->v, f);
}

#define WRITERS 4

struct writer {
	struct bed *b;
	struct file *f[WRITERS * 2];
	_Atomic bool stop;
	_Atomic unsigned writes;
};

static struct writer crew;

static void *write_all_the_time(void *arg)
{
	struct writer *w = &crew;
	struct io_space space;
	unsigned me = (unsigned)(uintptr_t)arg;
	uint64_t seed = me + 1;

	if (io_space_init(&space) < 0)
		abort();
	while (!atomic_load(&w->stop)) {
		uint64_t x = next_random(&seed);
		struct file *f = w->f[x % 2 ? me : WRITERS + x / 2 % WRITERS];

		if (file_write(w->b->v, f, &space, x >> 8 & 0xffff, data, 1 + (x >> 32 & 4095)) <= 0)
			abort();
		atomic_fetch_add(&w->writes, 1);
	}
	io_space_free(&space);
	return NULL;
}

static void start(struct bed *b, pthread_t *t)
{
	crew.b = b;
	atomic_store(&crew.stop, false);
	atomic_store(&crew.writes, 0);
	for (unsigned i = 0; i < WRITERS * 2; i++) {
		char name[8];

		snprintf(name, sizeof(name), "f%u", i);
		crew.f[i] = at_rest(b, name, i % 3 ? 5 * L : 25 * L);
	}
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, write_all_the_time,
						(void *)(uintptr_t)i), 0);
}

static void stop(struct bed *b, pthread_t *t)
{
	atomic_store(&crew.stop, true);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(t[i], NULL);
	for (unsigned i = 0; i < WRITERS * 2; i++)
		file_put(b->v, crew.f[i]);
	assert_int_equal(volume_in_sync(b->v), 3);
	bed_seal(b);
	assert_int_equal(bed_scrub(b, false).found, 0);
}

static void the_tail_waits_for_what_is_unsealed(void **state)
{
	struct bed *b = *state;
	int64_t until = clock_ms() + 60000;
	uint64_t last;
	pthread_t t[WRITERS];

	start(b, t);
	last = tail_of(b);
	for (int round = 0, moved = 0; (round < 300 || moved < 20) && clock_ms() < until; round++) {
		moved += tail_of(b) != last;
		last = tail_of(b);
		assert_int_equal(seal_run(b->v, round % 2), 0);
		for (unsigned i = 0; i < WRITERS * 2; i++) {
			struct file *f = crew.f[i];

			/* while it is locked, no batch can have taken it */
			pthread_rwlock_rdlock(&f->lock);
			assert_true(f->first_lsn == LSN_NONE || tail_of(b) <= f->first_lsn);
			assert_true(!f->dirty || f->first_lsn != LSN_NONE);
			pthread_rwlock_unlock(&f->lock);
		}
	}
	assert_true(clock_ms() < until);
	stop(b, t);
}

/* Nobody seals in the background here: who wants to write makes room. */
static void a_full_ring_holds_nobody_up(void **state)
{
	struct bed *b = *state;
	int64_t until = clock_ms() + 60000;
	uint64_t head = journal_head(b->v);
	pthread_t t[WRITERS];

	start(b, t);
	while (journal_head(b->v) < head + 4 * RING && clock_ms() < until)
		usleep(1000);
	assert_true(journal_head(b->v) >= head + 4 * RING);
	assert_true(journal_used(b->v) < 100);
	stop(b, t);
}

/* ---- journals that fail ---- */

static int unwritable(struct bed *b, int m)
{
	int fd = ring_of(b, m)->fd;

	ring_of(b, m)->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return fd;
}

static void writable_again(struct bed *b, int m, int fd)
{
	close(ring_of(b, m)->fd);
	ring_of(b, m)->fd = fd;
}

static void one_that_cannot_be_written(void **state)
{
	struct bed *b = *state;
	struct file *f = at_rest(b, "f", 5 * L);
	int fd;

	for (int how = 0; how < 2; how++) {
		if (how)
			atomic_store(&fail_sync_fd, ring_of(b, 1)->fd);
		else
			fd = unwritable(b, 1);
		assert_int_equal(bed_pwrite(b, f, L, data, L), 0);
		assert_int_equal(volume_in_sync(b->v), 1);
		assert_int_equal(volume_member(b->v, 1, NULL), MEMBER_STALE);
		assert_int_equal(bed_pwrite(b, f, 5 * L, data, L), 0);
		if (!how)
			writable_again(b, 1, fd);
		atomic_store(&fail_sync_fd, -1);
		assert_int_equal(resync_run(b->v, NULL, &(struct scrub_stats){ 0 }), 0);
		assert_int_equal(volume_in_sync(b->v), 3);
		bed_seal(b);
		assert_int_equal(bed_scrub(b, false).found, 0);
	}
	file_put(b->v, f);
}

/* Raw bytes, records and attributes of everything, on both. */
static uint64_t print_of(struct bed *b)
{
	uint64_t sum = 0;

	for (int m = 0; m < 2; m++) {
		struct record r = bed_record(b, m, "f");
		uint8_t raw[RECORD_SIZE];
		struct stat st;
		char *text;
		size_t n;

		assert_int_equal(bed_raw(b, m, "f", &text, &n), 0);
		sum += hash_bytes(text, n, (uint64_t)m);
		record_encode(&r, raw);
		sum += hash_bytes(raw, sizeof(raw), (uint64_t)m);
		assert_int_equal(fstatat(b->fd[m], "f", &st, 0), 0);
		sum += st.st_mode + (uint64_t)ts_ns(&st.st_mtim) + st.st_nlink;
		assert_int_equal(fstatat(b->fd[m], ".", &st, 0), 0);
		sum += (uint64_t)ts_ns(&st.st_mtim) + st.st_nlink;
		sum += (uint64_t)exists(b->fd[m], "new") + (uint64_t)exists(b->fd[m], "dir");
		free(text);
	}
	return sum;
}

static void nothing_is_changed_that_is_not_noted(void **state)
{
	const struct stat mode = { .st_mode = 0600 };
	struct bed *b = *state;
	struct file *f = at_rest(b, "f", 5 * L), *g;
	uint64_t before = print_of(b);
	struct stat st;
	int fd[2];

	log_set_level(LOG_LEVEL_ERROR - 1);
	for (int m = 0; m < 2; m++)
		fd[m] = unwritable(b, m);
	assert_int_equal(bed_pwrite(b, f, L, data, L), -EIO);
	assert_int_equal(bed_pwrite(b, f, 5 * L, data, L), -EIO);
	assert_int_equal(file_truncate(b->v, f, &b->space, 0), -EIO);
	assert_int_equal(file_truncate(b->v, f, &b->space, 2 * L + 1), -EIO);
	assert_int_equal(file_truncate(b->v, f, &b->space, 9 * L), -EIO);
	assert_int_equal(file_allocate(b->v, f, &b->space, FALLOC_FL_PUNCH_HOLE |
				       FALLOC_FL_KEEP_SIZE, 0, 2 * L), -EIO);
	assert_int_equal(op_setxattr(b->v, f->node, "user.a", "1", 1, 0, false), -EIO);
	assert_int_equal(op_setattr(b->v, f->node, &mode, ATTR_MODE, NULL, &b->space, &st), -EIO);
	assert_int_equal(bed_file(b, "new", &g), -EIO);
	assert_int_equal(bed_mkdir(b, "dir"), -EIO);
	assert_int_equal(bed_rename(b, "f", "new", 0), -EIO);
	assert_int_equal(bed_link(b, "f", "new"), -EIO);
	assert_int_equal(bed_unlink(b, "f", false), -EIO);
	assert_int_equal(volume_in_sync(b->v), 3); /* the last ones stay */
	assert_true(print_of(b) == before);
	for (int m = 0; m < 2; m++)
		writable_again(b, m, fd[m]);
	assert_int_equal(bed_pwrite(b, f, L, data, L), 0);
	file_put(b->v, f);
	bed_seal(b);
	assert_int_equal(bed_scrub(b, false).found, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		intent_test(one_flush_a_region),
		intent_test(regions_ahead_of_one_who_writes_on),
		intent_test(a_write_over_an_edge),
		intent_test(what_costs_no_flush),
		intent_test(strict_flushes_each_overwrite),
		intent_test(an_xattr_is_announced),
		intent_test(hashes_of_small_files_at_rest),
		intent_test(gaps_are_noted_as_zeros),
		intent_test(the_same_on_both_mirrors),
		intent_test(a_batch_later),
		intent_test(the_tail_waits_for_what_is_unsealed),
		intent_test(a_full_ring_holds_nobody_up),
		intent_test(one_that_cannot_be_written),
		intent_test(nothing_is_changed_that_is_not_noted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
