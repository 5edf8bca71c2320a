/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every member asked once, all results there on return, from many threads. */
#include "replica/fan.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "tests/unit/tmpdir.h"

static int square(int m, void *arg)
{
	atomic_fetch_add((_Atomic int *)arg, 1);
	return -m * m;
}

static void every_mask(void **state)
{
	_Atomic int calls;
	int result[32];

	(void)state;
	for (uint32_t mask = 0; mask < 256; mask++) {
		atomic_store(&calls, 0);
		for (int m = 0; m < 32; m++)
			result[m] = 99;
		fan_run(mask, square, &calls, result);
		assert_int_equal(atomic_load(&calls), __builtin_popcount(mask));
		for (int m = 0; m < 32; m++)
			assert_int_equal(result[m], mask >> m & 1 ? -m * m : 99);
	}
	fan_run(0xffffffff, square, &calls, result);
	assert_int_equal(result[31], -31 * 31);
	fan_stop();
}

/* Two members that wait for each other: only side by side can they end. */
static int meet(int m, void *arg)
{
	(void)m;
	return pthread_barrier_wait(arg) > 0 ? -EIO : 0;
}

static void members_run_side_by_side(void **state)
{
	pthread_barrier_t both;
	int result[32];

	(void)state;
	pthread_barrier_init(&both, NULL, 2);
	for (int i = 0; i < 200; i++)
		fan_run(0x5, meet, &both, result);
	pthread_barrier_destroy(&both);
	fan_stop();
}

struct seat {
	pthread_t caller, helper;
	int others;
	bool taken;
};

static int sit_down(int m, void *arg)
{
	struct seat *s = arg;

	if (m != 2)
		return 0;
	if (!s->taken)
		s->helper = pthread_self();
	else if (!pthread_equal(s->helper, pthread_self()))
		s->others++;
	s->taken = true;
	return pthread_equal(s->caller, pthread_self()) ? -EBUSY : 0;
}

/* A helper is free again before its caller goes on, however late it gets a
 * processor: a caller's next call has the same one. Else helpers on their way
 * back can add up to the whole pool, and members no longer run side by side. */
static void helper_is_free_on_return(void **state)
{
	struct seat seat = { .caller = pthread_self() };
	int result[32];

	(void)state;
	for (int i = 0; i < 20000; i++) {
		fan_run(0x5, sit_down, &seat, result);
		assert_int_equal(result[2], 0);
	}
	assert_int_equal(seat.others, 0);
	fan_stop();
}

static void *caller(void *arg)
{
	bool *wrong = arg;

	for (int i = 0; i < 500; i++) {
		_Atomic int calls = 0;
		int result[32];

		fan_run(0x7f, square, &calls, result);
		*wrong |= atomic_load(&calls) != 7;
		for (int m = 0; m < 7; m++)
			*wrong |= result[m] != -m * m;
	}
	return NULL;
}

/* More work than helpers: the callers do it themselves. Stopping and starting
 * again meanwhile loses nothing. */
static void more_callers_than_helpers(void **state)
{
	pthread_t t[24];
	bool wrong[24] = { false };

	(void)state;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 24; i++)
			assert_int_equal(pthread_create(&t[i], NULL, caller, &wrong[i]), 0);
		if (round)
			fan_stop();
		for (int i = 0; i < 24; i++) {
			pthread_join(t[i], NULL);
			assert_false(wrong[i]);
		}
	}
	fan_stop();
	fan_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_mask),
		cmocka_unit_test(helper_is_free_on_return),
		cmocka_unit_test(members_run_side_by_side),
		cmocka_unit_test(more_callers_than_helpers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
