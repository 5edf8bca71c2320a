/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The map against a plain array, with few keys so that runs collide and wrap. */
#include "replica/base/map.h"

#include "tests/unit/tmpdir.h"

static void empty_map(void **state)
{
	struct map m = MAP_INIT;
	uint64_t v = 7;

	(void)state;
	assert_false(map_get(&m, 1, &v));
	assert_false(map_del(&m, 1));
	assert_int_equal(v, 7);
	map_free(&m);
	map_free(&m);
}

static void any_key_and_value(void **state)
{
	static const uint64_t odd[] = { 0, 1, UINT64_MAX, UINT64_MAX - 1, 1ULL << 63 };
	struct map m = MAP_INIT;
	uint64_t v;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(odd); i++)
		assert_int_equal(map_set(&m, odd[i], ~odd[i]), 0);
	assert_int_equal(m.used, N_ELEMS(odd));
	for (i = 0; i < N_ELEMS(odd); i++) {
		assert_true(map_get(&m, odd[i], &v));
		assert_true(v == ~odd[i]);
	}
	assert_int_equal(map_set(&m, 0, 5), 0);
	assert_int_equal(m.used, N_ELEMS(odd));
	assert_true(map_get(&m, 0, &v));
	assert_int_equal(v, 5);
	map_free(&m);
	assert_int_equal(m.used, 0);
}

static void grows_within_load(void **state)
{
	struct map m = MAP_INIT;
	uint64_t k, v;

	(void)state;
	for (k = 0; k < 100000; k++) {
		assert_int_equal(map_set(&m, k << 12, k), 0);
		assert_true(m.used * 4 <= m.size * 3);
	}
	for (k = 0; k < 100000; k++) {
		assert_true(map_get(&m, k << 12, &v));
		assert_true(v == k);
	}
	assert_false(map_get(&m, 1, &v));
	map_free(&m);
}

#define KEYS 61

static void random_against_array(void **state)
{
	struct map m = MAP_INIT;
	uint64_t seed = seed_of_run(), want[KEYS] = { 0 }, v;
	int there[KEYS] = { 0 }, i, k;
	size_t live = 0;

	(void)state;
	for (i = 0; i < 400000; i++) {
		uint64_t r = next_random(&seed);

		k = (int)(r % KEYS);
		/* phases of mostly inserting and mostly deleting */
		if ((r >> 32) % 8 < ((i / 1000) % 2 ? 2u : 6u)) {
			assert_int_equal(map_set(&m, (uint64_t)k, r), 0);
			live += !there[k];
			there[k] = 1;
			want[k] = r;
		} else {
			assert_int_equal(map_del(&m, (uint64_t)k), there[k]);
			live -= there[k];
			there[k] = 0;
		}
		assert_int_equal(m.used, live);
		k = (int)((r >> 16) % KEYS);
		assert_int_equal(map_get(&m, (uint64_t)k, &v), there[k]);
		if (there[k])
			assert_true(v == want[k]);
	}
	map_free(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_map),
		cmocka_unit_test(any_key_and_value),
		cmocka_unit_test(grows_within_load),
		cmocka_unit_test(random_against_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
