/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hashes. The literal values pin the format: a change here orphans volumes. */
#include "replica/hash.h"

#include "tests/unit/tmpdir.h"

static void fill(uint8_t *p, size_t len, uint64_t seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = (uint8_t)next_random(&seed);
}

static void zero_is_zero(void **state)
{
	uint8_t buf[LEAF_SIZE + 16] = { 0 };
	size_t len, at;

	(void)state;
	for (len = 0; len <= 300; len++)
		assert_true(hash_is_zero(buf + len % 7, len));
	for (len = 1; len <= 300; len++) {
		for (at = 0; at < len; at++) {
			buf[at] = 0x80;
			assert_false(hash_is_zero(buf, len));
			assert_true(hash_is_zero(buf + at + 1, len - at - 1));
			assert_true(hash_is_zero(buf, at));
			buf[at] = 0;
		}
	}
	assert_true(hash_leaf(1, 2, buf, LEAF_SIZE) == 0);
	assert_true(hash_leaf(1, 2, buf, 5) == 0);
	assert_true(hash_leaf(1, 2, buf, 0) == 0);
}

static void leaf_is_padded(void **state)
{
	uint8_t data[LEAF_SIZE], padded[LEAF_SIZE];
	size_t len;

	(void)state;
	fill(data, sizeof(data), 1);
	for (len = 1; len <= LEAF_SIZE; len += len < 64 ? 1 : 61) {
		memset(padded, 0, sizeof(padded));
		memcpy(padded, data, len);
		assert_true(hash_leaf(3, 4, data, len) == hash_leaf(3, 4, padded, LEAF_SIZE));
	}
}

static void leaf_knows_its_place(void **state)
{
	uint8_t data[LEAF_SIZE];
	uint64_t h, at;

	(void)state;
	fill(data, sizeof(data), 2);
	h = hash_leaf(10, 20, data, LEAF_SIZE);
	assert_true(h != hash_leaf(10, 21, data, LEAF_SIZE));
	assert_true(h != hash_leaf(11, 20, data, LEAF_SIZE));
	assert_true(h != hash_leaf(20, 10, data, LEAF_SIZE));
	assert_true(h != hash_leaf(10 + 1, 20 - 1, data, LEAF_SIZE));
	for (at = 0; at < LEAF_SIZE; at++) {
		data[at] ^= 1;
		assert_true(h != hash_leaf(10, 20, data, LEAF_SIZE));
		data[at] ^= 1;
	}
	assert_true(h == hash_leaf(10, 20, data, LEAF_SIZE));
}

static uint64_t root_of(uint64_t id, const uint64_t *leaves, size_t n, uint64_t size)
{
	struct hash_root r;

	hash_root_init(&r, id);
	hash_root_add(&r, leaves, n);
	return hash_root_done(&r, size);
}

/* The same leaves in random chunks, zeros now and then as runs. */
static uint64_t root_chunked(uint64_t id, const uint64_t *leaves, size_t n, uint64_t size,
			     uint64_t *seed)
{
	struct hash_root r;
	size_t at = 0;

	hash_root_init(&r, id);
	while (at < n) {
		size_t len = next_random(seed) % (n - at + 1), zeros = 0;

		while (at + zeros < n && !leaves[at + zeros])
			zeros++;
		if (zeros && next_random(seed) & 1) {
			len = len < zeros ? len : zeros;
			hash_root_add_zeros(&r, len);
		} else {
			hash_root_add(&r, leaves + at, len);
		}
		at += len;
	}
	return hash_root_done(&r, size);
}

#define LEAVES 40

static void root_whatever_the_chunks(void **state)
{
	uint64_t seed = seed_of_run(), leaves[LEAVES];
	int round, i;

	(void)state;
	for (round = 0; round < 2000; round++) {
		uint64_t want;

		for (i = 0; i < LEAVES; i++)
			leaves[i] = next_random(&seed) % 3 ? 0 : next_random(&seed);
		want = root_of(9, leaves, LEAVES, 1000);
		for (i = 0; i < 5; i++)
			assert_true(root_chunked(9, leaves, LEAVES, 1000, &seed) == want);
	}
}

static void root_sees_every_change(void **state)
{
	uint64_t leaves[LEAVES], want, kept;
	int i, k;

	(void)state;
	for (i = 0; i < LEAVES; i++)
		leaves[i] = i % 5 == 3 ? 0 : (uint64_t)(i % 7 + 1);
	want = root_of(9, leaves, LEAVES, 1000);
	assert_true(want != root_of(8, leaves, LEAVES, 1000));
	assert_true(want != root_of(9, leaves, LEAVES, 1001));
	assert_true(want != root_of(9, leaves, LEAVES - 1, 1000));
	for (i = 0; i < LEAVES; i++) {
		for (k = 0; k < 64; k++) {
			leaves[i] ^= 1ULL << k;
			assert_true(want != root_of(9, leaves, LEAVES, 1000));
			leaves[i] ^= 1ULL << k;
		}
		for (k = 0; k < i; k++) {
			if (leaves[i] == leaves[k])
				continue;
			kept = leaves[i];
			leaves[i] = leaves[k];
			leaves[k] = kept;
			assert_true(want != root_of(9, leaves, LEAVES, 1000));
			kept = leaves[i];
			leaves[i] = leaves[k];
			leaves[k] = kept;
		}
	}
	assert_true(want == root_of(9, leaves, LEAVES, 1000));
}

/* A run of n zeros must not look like a leaf whose hash is n, and trailing
 * zeros count. */
static void root_runs_are_no_leaves(void **state)
{
	const uint64_t run[] = { 5, 0, 0, 0 }, leaf[] = { 5, 3 }, marked[] = { 5, 0, 3 };
	struct hash_root r;
	uint64_t a;

	(void)state;
	a = root_of(1, run, 4, 9);
	assert_true(a != root_of(1, run, 3, 9));
	assert_true(a != root_of(1, leaf, 2, 9));
	assert_true(a != root_of(1, marked, 3, 9));
	hash_root_init(&r, 1);
	hash_root_add_zeros(&r, 1ULL << 50); /* at once, whatever the length */
	a = hash_root_done(&r, 1ULL << 62);
	assert_true(a == hash_root_done(&r, 1ULL << 62));
	hash_root_add_zeros(&r, 1);
	assert_true(a != hash_root_done(&r, 1ULL << 62));
}

static void entry_sees_all_parts(void **state)
{
	uint64_t h = hash_entry("name", 4, 8, 77);

	(void)state;
	assert_true(h == hash_entry("name and more", 4, 8, 77));
	assert_true(h != hash_entry("name", 3, 8, 77));
	assert_true(h != hash_entry("namf", 4, 8, 77));
	assert_true(h != hash_entry("name", 4, 4, 77));
	assert_true(h != hash_entry("name", 4, 8, 78));
	/* two names that swap their ids are another directory */
	assert_true(hash_entry("a", 1, 8, 1) + hash_entry("b", 1, 8, 2) !=
		    hash_entry("a", 1, 8, 2) + hash_entry("b", 1, 8, 1));
}

static void pinned_values(void **state)
{
	uint8_t data[LEAF_SIZE];
	const uint64_t leaves[] = { 1, 0, 0, 2 };

	(void)state;
	fill(data, sizeof(data), 42);
	assert_int_equal(hash_bytes("mirror", 6, 5), 0x4dfbf47104acc88bULL);
	assert_int_equal(hash_leaf(7, 9, data, LEAF_SIZE), 0x18ef96384c5d61e8ULL);
	assert_int_equal(hash_leaf(7, 9, data, 100), 0xa83bcf03ee688838ULL);
	assert_int_equal(root_of(7, leaves, 4, 16384), 0xb62059096a9462acULL);
	assert_int_equal(hash_entry("name", 4, 8, 77), 0x6d5691acada8d54bULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zero_is_zero),
		cmocka_unit_test(leaf_is_padded),
		cmocka_unit_test(leaf_knows_its_place),
		cmocka_unit_test(root_whatever_the_chunks),
		cmocka_unit_test(root_sees_every_change),
		cmocka_unit_test(root_runs_are_no_leaves),
		cmocka_unit_test(entry_sees_all_parts),
		cmocka_unit_test(pinned_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
