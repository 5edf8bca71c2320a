/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Slots: never 0, zeroed, reused, bounded, and visible to another mapping. */
#include "replica/arena.h"

#include <stdbool.h>
#include <sys/mman.h>

#include "tests/unit/tmpdir.h"

struct item {
	uint64_t a, b, c;
};

static const struct arena_spec spec[] = {
	{ sizeof(struct item), 1000 },
	{ 5, 3 },
	{ 4096, 100 },
};
#define N ((int)N_ELEMS(spec))

static void slots_are_fresh_and_bounded(void **state)
{
	struct arena a;
	struct arena_table t[N];
	uint32_t s;

	(void)state;
	assert_int_equal(arena_create(&a, t, spec, N), 0);
	for (uint32_t want = 1; want < 1000; want++) {
		struct item *it;

		s = arena_alloc(&t[0]);
		assert_int_equal(s, want);
		it = arena_slot(&t[0], s);
		assert_true(it->a == 0 && it->b == 0 && it->c == 0);
		*it = (struct item){ s, s + 1, s + 2 };
	}
	assert_int_equal(arena_alloc(&t[0]), 0);
	assert_int_equal(arena_high(&t[0]), 1000);
	assert_int_equal(arena_alloc(&t[1]), 1);
	assert_int_equal(arena_alloc(&t[1]), 2);
	assert_int_equal(arena_alloc(&t[1]), 0);
	memset(arena_slot(&t[1], 2), 0xff, 5);
	memset(arena_slot(&t[2], arena_alloc(&t[2])), 0xff, 4096);
	/* nothing ran over into a neighbour */
	for (s = 1; s < 1000; s++) {
		const struct item *it = arena_slot(&t[0], s);

		assert_true(it->a == s && it->b == s + 1 && it->c == s + 2);
	}
	arena_destroy(&a, t, N);
	assert_int_equal(a.fd, -1);
}

static void freed_slots_come_back_zeroed(void **state)
{
	struct arena a;
	struct arena_table t[N];
	uint64_t seed = seed_of_run();
	bool used[1000] = { false };

	(void)state;
	assert_int_equal(arena_create(&a, t, spec, N), 0);
	for (int i = 0; i < 20000; i++) {
		uint32_t s = 1 + (uint32_t)(next_random(&seed) % 999);

		if (used[s]) {
			assert_int_equal(((struct item *)arena_slot(&t[0], s))->a, s);
			arena_free(&t[0], s);
			used[s] = false;
			continue;
		}
		s = arena_alloc(&t[0]);
		assert_true(s > 0 && s < 1000);
		assert_false(used[s]);
		used[s] = true;
		assert_int_equal(((struct item *)arena_slot(&t[0], s))->a, 0);
		((struct item *)arena_slot(&t[0], s))->a = s;
	}
	arena_destroy(&a, t, N);
}

/* What another process would see through the descriptor. */
static void another_mapping_sees_it(void **state)
{
	struct arena a;
	struct arena_table t[N];
	const struct arena_header *h;
	char *other;
	uint32_t s;

	(void)state;
	assert_int_equal(arena_create(&a, t, spec, N), 0);
	s = arena_alloc(&t[0]);
	((struct item *)arena_slot(&t[0], s))->b = 77;
	other = mmap(NULL, a.size, PROT_READ, MAP_SHARED, a.fd, 0);
	assert_true(other != MAP_FAILED);
	h = (const struct arena_header *)other;
	assert_int_equal(h->tables, N);
	assert_int_equal(h->high[0], 2);
	assert_int_equal(h->high[1], 1);
	assert_int_equal(((const struct item *)(other + (t[0].base - a.base)))[s].b, 77);
	munmap(other, a.size);
	arena_destroy(&a, t, N);
}

/* Tables larger than the memory are only reserved. */
static void huge_tables_cost_nothing(void **state)
{
	const struct arena_spec huge = { 256, 1u << 28 };
	struct arena a;
	struct arena_table t;
	struct stat st;

	(void)state;
	assert_int_equal(arena_create(&a, &t, &huge, 1), 0);
	assert_int_equal(arena_alloc(&t), 1);
	assert_int_equal(fstat(a.fd, &st), 0);
	assert_true(st.st_size > (off_t)1 << 35);
	assert_true(st.st_blocks < 100000);
	arena_destroy(&a, &t, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_are_fresh_and_bounded),
		cmocka_unit_test(freed_slots_come_back_zeroed),
		cmocka_unit_test(another_mapping_sees_it),
		cmocka_unit_test(huge_tables_cost_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
