/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The index over the journals: records are put into rings by hand, by the
 * layout of docs/format.md, and the index is asked. Odd payloads of every type
 * must do no harm: this is run under sanitizers, too.
 */
#include "replica/recovery.h"

#include "tests/unit/journal.h"

#define FILE_ID 20u

/* ---- putting records there ---- */

struct ink {
	struct set s;
	uint64_t lsn[3];          /* next, on each mirror */
};

static struct ink ink_new(void **state, unsigned n)
{
	struct ink k = { .s = set_new(state, n) };

	for (unsigned m = 0; m < n; m++) {
		put_ring(&k.s, (int)m, RING, RING);
		k.lsn[m] = RING;
	}
	return k;
}

static void ink_raw(struct ink *k, int m, uint64_t lsn, const void *data, size_t len)
{
	int fd = openat(k->s.fd[m], "journal", O_WRONLY | O_CLOEXEC);

	assert_int_equal(io_pwrite_full(fd, data, len, (off_t)(BLOCK + lsn % RING), NULL), 0);
	close(fd);
}

/* The same place on each mirror of the mask; what is not in it has a gap. */
static uint64_t ink_put(struct ink *k, uint32_t mask, struct journal_record r)
{
	uint8_t out[JOURNAL_RECORD_MAX];
	size_t len;

	r.lsn = k->lsn[0];
	r.tail = RING;
	len = journal_encode(&r, volume_id, out);
	FOR_EACH_BIT(m, mask)
		ink_raw(k, (int)m, r.lsn, out, len);
	k->lsn[0] += len;
	assert_true(k->lsn[0] < 2ull * RING);
	return r.lsn;
}

static const struct recovery *ink_load(struct ink *k)
{
	set_paths(&k->s, k->s.v.n);
	atomic_store(&k->s.v.unclean, true);
	assert_int_equal(journal_open(&k->s.v, all(&k->s), false), 0);
	assert_int_equal(recovery_load(&k->s.v), 0);
	return k->s.v.recovery;
}

static void ink_unload(struct ink *k)
{
	recovery_free(&k->s.v);
	journal_close(&k->s.v);
}

static void ink_free(struct ink *k)
{
	ink_unload(k);
	set_free(&k->s);
}

static uint64_t put_open(struct ink *k, uint32_t mask, uint64_t gen, const char *path,
			 uint32_t first, uint32_t n, const uint64_t *hash, unsigned hashes)
{
	uint8_t p[512] = { 0 };
	size_t len = strlen(path), at = (len + 2 + 7) / 8 * 8;

	p[0] = (uint8_t)len;
	memcpy(p + 2, path, len);
	for (unsigned i = 0; i < hashes; i++)
		le64(p + at + i * 8, hash[i]);
	return ink_put(k, mask, (struct journal_record){
		.type = JOURNAL_OPEN, .flags = hashes ? OPEN_HASHES : 0, .id = FILE_ID, .gen = gen,
		.arg = (uint64_t)first << 32 | n, .payload = p, .size = (uint32_t)(at + hashes * 8) });
}

static uint64_t put_new(struct ink *k, uint32_t mask, uint64_t gen, uint64_t leaf, uint64_t size,
			uint64_t n, uint64_t hash, uint8_t flags)
{
	uint8_t p[16 + 64 * 8];
	unsigned stored = flags & NEW_ZERO ? 0 : (unsigned)n;

	le64(p, size);
	le64(p + 8, n);
	for (unsigned i = 0; i < stored; i++)
		le64(p + 16 + i * 8, hash + i);
	return ink_put(k, mask, (struct journal_record){
		.type = JOURNAL_NEW, .flags = flags, .id = FILE_ID, .gen = gen, .arg = leaf,
		.payload = p, .size = 16 + stored * 8 });
}

static uint64_t put_commit(struct ink *k, uint32_t mask, uint64_t id, uint64_t gen, uint64_t lsn)
{
	return ink_put(k, mask, (struct journal_record){ .type = JOURNAL_COMMIT, .id = id,
							 .gen = gen, .arg = lsn });
}

static uint64_t put_name(struct ink *k, uint32_t mask, uint64_t dir, const char *name,
			 uint64_t id)
{
	uint8_t p[512] = { 0 };

	le64(p, dir);
	le64(p + 8, 7);
	le64(p + 16, id);
	p[24] = 8;
	p[25] = (uint8_t)strlen(name);
	memcpy(p + 26, name, strlen(name));
	return ink_put(k, mask, (struct journal_record){
		.type = JOURNAL_NAME, .id = 1, .payload = p,
		.size = (uint32_t)((26 + strlen(name) + 7) / 8 * 8) });
}

/* The newest note of a hash; lsn 0: none. */
static struct candidate match(const struct recovery_view *w, uint64_t leaf, uint64_t hash,
			      uint64_t *oldest)
{
	struct candidate c;
	uint64_t o = recovery_match(w, leaf, hash, &c);

	if (oldest)
		*oldest = o;
	return c;
}

/* ---- what is asked ---- */

/* The mirrors' records are taken together, each once. */
static void the_union_counts(void **state)
{
	struct ink k = ink_new(state, 2);
	uint64_t a = put_new(&k, 1, 3, 5, 100, 1, 50, 0), c, oldest;
	struct recovery_view w;

	put_new(&k, 3, 3, 6, 200, 2, 60, 0);
	c = put_new(&k, 2, 3, 5, 300, 1, 51, NEW_UNVERIFIED);
	assert_int_equal(ink_load(&k)->n_records, 4);
	w = recovery_view(&k.s.v, FILE_ID, 3);
	assert_int_equal(w.f->n_cand, 4);
	assert_int_equal(w.f->n_size, 3);
	assert_true(match(&w, 5, 51, &oldest).lsn == c && match(&w, 5, 51, NULL).unverified);
	assert_true(match(&w, 5, 50, NULL).lsn == a && !match(&w, 5, 50, NULL).unverified);
	assert_int_equal(oldest, 0);
	assert_true(match(&w, 6, 60, NULL).lsn && match(&w, 7, 61, NULL).lsn);
	assert_int_equal(match(&w, 6, 61, NULL).lsn, 0);
	assert_int_equal(match(&w, 8, 62, NULL).lsn, 0);
	assert_int_equal(match(&w, 4, 0, NULL).lsn, 0);
	assert_null(recovery_view(&k.s.v, FILE_ID + 1, 0).f);
	ink_free(&k);
}

/* However many notes there are of a leaf, each is found, by the newest. */
static void many_notes_of_one_leaf(void **state)
{
	struct ink k = ink_new(state, 1);
	uint64_t lsn[300], zero = 0;
	struct recovery_view w;

	for (unsigned i = 0; i < 300; i++) {
		lsn[i] = put_new(&k, 1, 1, 5, 100, 1, 100 + i % 150, i == 7 ? NEW_ZERO : 0);
		zero = i == 7 ? lsn[i] : zero;
	}
	ink_load(&k);
	w = recovery_view(&k.s.v, FILE_ID, 1);
	for (unsigned i = 0; i < 150; i++)
		assert_int_equal(match(&w, 5, 100 + i, NULL).lsn, lsn[150 + i]);
	assert_int_equal(match(&w, 5, 0, NULL).lsn, zero);
	ink_free(&k);
}

static void zeros_to_the_end_of_all_leaves(void **state)
{
	struct ink k = ink_new(state, 1);
	uint64_t z = put_new(&k, 1, 1, 10, 100, UINT64_MAX, 0, NEW_ZERO);
	struct recovery_view w;

	put_new(&k, 1, 1, UINT64_MAX, 100, 0, 0, NEW_ZERO);
	ink_load(&k);
	w = recovery_view(&k.s.v, FILE_ID, 1);
	assert_int_equal(match(&w, 9, 0, NULL).lsn, 0);
	assert_int_equal(match(&w, 10, 0, NULL).lsn, z);
	assert_int_equal(match(&w, 10, 1, NULL).lsn, 0);
	assert_int_equal(match(&w, UINT64_MAX - 10, 0, NULL).lsn, z);
	ink_free(&k);
}

/* Records of generations that the object's own record has passed are void;
 * later ones prove that what came before was sealed. */
static void generations(void **state)
{
	struct ink k = ink_new(state, 1);
	uint64_t hash[2][2] = { { 11, 12 }, { 21, 22 } }, g1, g2, n, oldest;
	struct recovery_view w;

	put_open(&k, 1, 1, "old", 0, 1, hash[0], 2);
	g1 = put_new(&k, 1, 1, 0, 100, 1, 77, 0);
	put_open(&k, 1, 2, "new", 5, 2, hash[1], 2);
	g2 = put_new(&k, 1, 2, 0, 200, 1, 78, 0);
	ink_load(&k);
	w = recovery_view(&k.s.v, FILE_ID, 1);
	assert_string_equal(w.f->path, "new");
	assert_int_equal(match(&w, 0, 77, &oldest).lsn, g1);
	assert_int_equal(match(&w, 0, 78, NULL).lsn, g2);
	assert_int_equal(oldest, g1); /* below the first of the newest */
	assert_true(recovery_region_open(&w, 0) && recovery_region_open(&w, 5 * REGION_LEAVES));
	assert_int_equal(recovery_base(&w, 1, &n)[1], 12);
	assert_int_equal(recovery_base(&w, 2, &n)[1], 22);
	assert_int_equal(n, 2);
	assert_null(recovery_base(&w, 3, &n));
	w = recovery_view(&k.s.v, FILE_ID, 2);
	assert_int_equal(match(&w, 0, 77, &oldest).lsn, 0);
	assert_true(match(&w, 0, 78, NULL).lsn == g2 && oldest == 0);
	assert_false(recovery_region_open(&w, 0));
	assert_false(recovery_region_open(&w, 5 * REGION_LEAVES - 1));
	assert_true(recovery_region_open(&w, 7 * REGION_LEAVES - 1));
	assert_false(recovery_region_open(&w, 7 * REGION_LEAVES));
	assert_null(recovery_view(&k.s.v, FILE_ID, 3).f);
	ink_free(&k);
}

/* Of several notes of the hashes at rest the first: later ones are of a file
 * that had changed and changed back. */
static void the_first_base(void **state)
{
	struct ink k = ink_new(state, 2);
	uint64_t hash[2] = { 31, 32 }, n;
	struct recovery_view w;

	for (uint32_t turn = 1; turn <= 2; turn++) { /* mirror 0 is scanned first */
		k.lsn[0] = RING;
		put_open(&k, turn, 1, "f", 0, 0, hash, 1);
		put_open(&k, 3 - turn, 1, "f", 0, 0, hash + 1, 1);
		ink_load(&k);
		w = recovery_view(&k.s.v, FILE_ID, 1);
		assert_int_equal(recovery_base(&w, 1, &n)[0], 31);
		assert_int_equal(n, 1);
		assert_false(recovery_any_region(&w));
		assert_false(recovery_any_leaf(&w));
		ink_unload(&k);
		for (int m = 0; m < 2; m++)
			put_ring(&k.s, m, RING, RING);
	}
	set_free(&k.s);
}

static void floors(void **state)
{
	struct ink k = ink_new(state, 1);
	uint64_t a = put_new(&k, 1, 1, 0, 100, 1, 1, 0), b, oldest;
	struct recovery_view w;

	b = put_new(&k, 1, 1, 0, 100, 1, 2, 0);
	put_commit(&k, 1, FILE_ID, 1, b);
	ink_load(&k);
	w = recovery_view(&k.s.v, FILE_ID, 1);
	match(&w, 0, 1, &oldest);
	assert_int_equal(oldest, a); /* what is at the floor itself is newer */
	ink_unload(&k);
	put_commit(&k, 1, 0, 0, b + 1);
	ink_load(&k);
	w = recovery_view(&k.s.v, FILE_ID, 1);
	match(&w, 0, 1, &oldest);
	assert_int_equal(oldest, b);
	match(&w, 1, 1, &oldest);
	assert_int_equal(oldest, 0);
	ink_free(&k);
}

static void sizes(void **state)
{
	struct ink k = ink_new(state, 1);
	struct recovery_view none = { .f = NULL }, w;
	uint64_t b;

	put_new(&k, 1, 1, 0, 500, 0, 0, NEW_ZERO);
	b = put_new(&k, 1, 1, 0, 300, 0, 0, NEW_ZERO);
	put_new(&k, 1, 1, 0, 400, 0, 0, NEW_ZERO);
	ink_load(&k);
	w = recovery_view(&k.s.v, FILE_ID, 1);
#define SIZE(view, base, has, ...) recovery_size(&(view), base, has, \
	(const uint64_t[]){ __VA_ARGS__ }, (int)N_ELEMS(((uint64_t[]){ __VA_ARGS__ })))
	assert_int_equal(SIZE(none, 100, true, 100, 900), 100);
	assert_int_equal(SIZE(none, 100, false, 100, 900), 900);
	assert_int_equal(SIZE(none, 100, true, 99, 98), 99);
	assert_int_equal(SIZE(w, 100, true, 100, 500, 300), 300); /* the newest of them */
	assert_int_equal(SIZE(w, 100, true, 100, 500), 500);
	assert_int_equal(SIZE(w, 100, true, 100, 350), 100);
	assert_int_equal(SIZE(w, 100, true, 90, 350), 350);
	ink_unload(&k);
	put_commit(&k, 1, FILE_ID, 1, b + 1); /* 300 was synced: 500 and 100 are gone */
	ink_load(&k);
	w = recovery_view(&k.s.v, FILE_ID, 1);
	assert_int_equal(SIZE(w, 100, true, 100, 500), 500);
	assert_int_equal(SIZE(w, 100, true, 100, 90), 100);
	assert_int_equal(SIZE(w, 100, true, 500, 300), 300);
	assert_int_equal(SIZE(w, 600, true, 600, 700), 700); /* the longest */
	ink_free(&k);
}

static void the_newest_word_on_a_name(void **state)
{
	struct ink k = ink_new(state, 2);
	const struct recovery *r;
	const struct recovery_name *n;

	put_name(&k, 1, 2, "a", 10);
	put_name(&k, 3, 1, "a", 11);
	put_name(&k, 2, 1, "b", 12);
	put_name(&k, 1, 1, "a", 0);
	put_name(&k, 2, 1, "ab", 13);
	r = ink_load(&k);
	assert_int_equal(r->n_name, 4);
	n = recovery_name(r, 1, "a");
	assert_true(n && n->id == 0 && n->gen == 7 && n->type == 8);
	assert_int_equal(recovery_name(r, 2, "a")->id, 10);
	assert_int_equal(recovery_name(r, 1, "ab")->id, 13);
	assert_null(recovery_name(r, 1, ""));
	assert_null(recovery_name(r, 1, "abc"));
	assert_null(recovery_name(r, 3, "a"));
	ink_free(&k);
}

static void directories(void **state)
{
	struct journal_record r = { .type = JOURNAL_DIRTY, .id = 30, .gen = 3, .payload = "old",
				    .size = 3 };
	struct ink k = ink_new(state, 2);

	ink_put(&k, 2, r); /* scanned last */
	r.gen = 4;
	r.payload = "D/E";
	ink_put(&k, 1, r);
	ink_load(&k);
	assert_string_equal(recovery_dir(&k.s.v, 30, 4)->path, "D/E");
	assert_null(recovery_dir(&k.s.v, 30, 5));
	assert_non_null(recovery_dir(&k.s.v, 30, 1));
	atomic_store(&k.s.v.recovery->over, true);
	assert_null(recovery_dir(&k.s.v, 30, 1));
	assert_false(recovery_pending(&k.s.v));
	ink_free(&k);
}

static void what_is_settled(void **state)
{
	struct ink k = ink_new(state, 1);

	ink_load(&k);
	assert_true(recovery_pending(&k.s.v));
	assert_false(recovery_is_done(&k.s.v, 5));
	recovery_done(&k.s.v, 5);
	assert_true(recovery_is_done(&k.s.v, 5));
	assert_false(recovery_is_done(&k.s.v, 6));
	ink_free(&k);
}

/* ---- odd payloads ---- */

/* What claims to be longer than its record says nothing at all. */
static void longer_than_the_record(void **state)
{
	struct journal_record r = { .type = JOURNAL_OPEN, .gen = 1, .arg = 1, .size = 8 };
	struct ink k = ink_new(state, 1);
	uint8_t p[40] = "\6\0path12";

	for (r.id = 1; r.id <= 3; r.id++) { /* 6, 7 and 262 bytes */
		p[0] = (uint8_t)(r.id < 3 ? 5 + r.id : 6);
		p[1] = r.id == 3;
		r.payload = p;
		ink_put(&k, 1, r);
	}
	r = (struct journal_record){ .type = JOURNAL_NEW, .id = 4, .gen = 1, .payload = p };
	r.size = 15;
	ink_put(&k, 1, r);
	r.id = 5;
	r.size = 24; /* one hash, and a claim of many */
	le64(p + 8, 1000);
	ink_put(&k, 1, r);
	ink_load(&k);
	assert_string_equal(recovery_file(&k.s.v, 1, 1)->path, "path12");
	assert_null(recovery_file(&k.s.v, 2, 1));
	assert_null(recovery_file(&k.s.v, 3, 1));
	assert_null(recovery_file(&k.s.v, 4, 1));
	assert_int_equal(recovery_file(&k.s.v, 5, 1)->n_cand, 1);
	ink_free(&k);
}

/* Lengths that claim more than there is, and just so much. */
static void claims_of_lengths(void **state)
{
	struct ink k = ink_new(state, 1);
	uint8_t p[64] = { 0 };

	for (uint32_t size = 0; size <= sizeof(p); size++)
		for (unsigned claim = 0; claim < 70; claim += 3)
			for (uint8_t type = 1; type < JOURNAL_TYPES; type++) {
				memset(p, 'x', sizeof(p));
				p[0] = (uint8_t)claim;
				p[1] = type == JOURNAL_OPEN ? (uint8_t)(claim % 7 == 0) : 'x';
				p[25] = (uint8_t)claim;
				ink_put(&k, 1, (struct journal_record){
					.type = type, .flags = (uint8_t)claim & 3, .payload = p,
					.size = size, .id = size, .gen = claim });
				if (k.lsn[0] > 2ull * RING - 4096)
					k.lsn[0] = RING;
			}
	ink_load(&k);
	ink_free(&k);
}

static void ask_everything(struct volume *v, uint64_t *seed)
{
	const struct recovery *r = v->recovery;
	uint64_t size[3], n = 0;

	for (int i = 0; i < 200; i++) {
		uint64_t x = next_random(seed), id = x % 12, gen = x >> 8 & 3, leaf = x >> 16 % 60;
		struct recovery_view w = recovery_view(v, id, gen);
		const uint64_t *base = recovery_base(&w, gen, &n);

		for (uint64_t h = 0, sum = 0; base && h < n; h++)
			sum += base[h];
		size[0] = size[1] = size[2] = leaf;
		if (w.f)
			match(&w, leaf, x, NULL);
		recovery_region_open(&w, leaf);
		recovery_any_region(&w);
		recovery_any_leaf(&w);
		assert_int_equal(recovery_size(&w, 0, x & 1, size, 3), leaf);
		recovery_dir(v, id, gen);
		recovery_file(v, id, gen);
		if (r->n_name)
			assert_non_null(recovery_name(r, r->name[x % r->n_name].dir,
						      r->name[x % r->n_name].name));
	}
}

static uint8_t some_byte(uint64_t x)
{
	return x % 4 == 0 ? 0 : x % 4 == 1 ? 255 : (uint8_t)(x >> 8);
}

/* Records with a right check and anything in them, then with bytes changed. */
static void random_payloads(void **state)
{
	uint64_t seed = seed_of_run();
	struct ink k = ink_new(state, 2);
	uint8_t *p = malloc(PAYLOAD_MAX);

	for (int round = 0; round < 30; round++) {
		for (int i = 0; i < 300 && k.lsn[0] < 2ull * RING - 2 * JOURNAL_RECORD_MAX; i++) {
			uint64_t x = next_random(&seed);
			uint32_t size = x % 16 == 0 ? (uint32_t)(x >> 20) % PAYLOAD_MAX
						    : (uint32_t)(x >> 20) % 80;

			for (uint32_t at = 0; at < size; at++)
				p[at] = some_byte(next_random(&seed));
			ink_put(&k, 1 + x % 3, (struct journal_record){
				.type = (uint8_t)(1 + x / 3 % (JOURNAL_TYPES - 1)),
				.flags = (uint8_t)(x >> 40), .id = x >> 48 & 7, .gen = x >> 52 & 3,
				.arg = x >> 60 ? x : next_random(&seed), .payload = p, .size = size });
		}
		for (int i = 0; i < round; i++) {
			uint64_t x = next_random(&seed);
			uint8_t byte = some_byte(x);

			ink_raw(&k, x & 1, (x >> 16) % (k.lsn[0] - RING), &byte, 1);
		}
		ink_load(&k);
		ask_everything(&k.s.v, &seed);
		ink_unload(&k);
		k.lsn[0] = RING;
	}
	free(p);
	set_free(&k.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmpdir_test(the_union_counts),
		tmpdir_test(many_notes_of_one_leaf),
		tmpdir_test(zeros_to_the_end_of_all_leaves),
		tmpdir_test(generations),
		tmpdir_test(the_first_base),
		tmpdir_test(floors),
		tmpdir_test(sizes),
		tmpdir_test(the_newest_word_on_a_name),
		tmpdir_test(directories),
		tmpdir_test(what_is_settled),
		tmpdir_test(longer_than_the_record),
		tmpdir_test(claims_of_lengths),
		tmpdir_test(random_payloads),
	};

	return cmocka_run_group_tests(tests, fill, NULL);
}
