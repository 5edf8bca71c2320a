// SPDX-License-Identifier: GPL-2.0-or-later
/* The parts of the uploader that need no server: brake, retry, look, settle. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replica/remote/brake.h"
#include "replica/remote/look.h"
#include "replica/remote/retry.h"
#include "replica/remote/settle.h"

#define MINUTE 60000ll

/* ---- brake ---- */

static void brake_share_and_number(void **state)
{
	struct brake b = { 0 };

	(void)state;
	assert_false(brake_holds(&b, MINUTE, 100, 200, 30, 100));  /* not more than 100 files */
	assert_true(brake_holds(&b, MINUTE, 101, 200, 30, 100));
	assert_false(brake_holds(&b, MINUTE, 300, 1000, 30, 100)); /* not more than 30 % */
	assert_true(brake_holds(&b, MINUTE, 301, 1000, 30, 100));
	assert_false(brake_holds(&b, MINUTE, 1000, 1000, 0, 100)); /* no brake */
	assert_false(brake_holds(&b, MINUTE, 0, 0, 30, 0));        /* nothing to hold */
}

/* Many small steps are one large one. */
static void brake_counts_the_hour(void **state)
{
	struct brake b = { 0 };
	int64_t now = 1000 * MINUTE;

	(void)state;
	for (int i = 0; i < 30; i++) {
		assert_false(brake_holds(&b, now, 10, 1000 - 10 * (uint64_t)i, 30, 100));
		brake_count(&b, now, 10);
		now += MINUTE;
	}
	assert_int_equal(brake_hour(&b, now), 300);
	assert_true(brake_holds(&b, now, 10, 700, 30, 100));
	brake_reset(&b);
	assert_false(brake_holds(&b, now, 10, 700, 30, 100));
}

static void brake_forgets(void **state)
{
	struct brake b = { 0 };
	int64_t now = 7 * MINUTE;

	(void)state;
	brake_count(&b, now, 500);
	assert_int_equal(brake_hour(&b, now + 59 * MINUTE), 500);
	assert_int_equal(brake_hour(&b, now + 60 * MINUTE), 0);
	brake_count(&b, now + 61 * MINUTE, 5);
	assert_int_equal(brake_hour(&b, now + 500 * MINUTE), 0);
}

/* ---- retry ---- */

static void retry_bounds_double(void **state)
{
	struct retry r;
	int64_t most = RETRY_FIRST_MS;

	(void)state;
	retry_init(&r);
	for (int i = 0; i < 20; i++) {
		int64_t longest = 0, shortest = INT64_MAX;

		for (uint64_t k = 0; k < 1000; k++) {
			struct retry copy = r;
			int64_t ms = retry_delay(&copy, -1, k * 7919 * 1000003);

			longest = ms > longest ? ms : longest;
			shortest = ms < shortest ? ms : shortest;
		}
		assert_true(longest <= most + 100 && longest > most / 2);
		assert_true(shortest >= 100 && shortest < most / 2); /* full jitter */
		retry_delay(&r, -1, 0);
		most = 2 * most < RETRY_MOST_MS ? 2 * most : RETRY_MOST_MS;
	}
	retry_success(&r);
	assert_true(retry_delay(&r, -1, 999) <= RETRY_FIRST_MS + 100);
}

static void retry_keeps_what_was_asked(void **state)
{
	struct retry r;

	(void)state;
	retry_init(&r);
	assert_int_equal(retry_delay(&r, 30, 5), 30000);
	assert_int_equal(retry_delay(&r, 1000000, 5), 3600000); /* not for days */
}

static void retry_kinds(void **state)
{
	(void)state;
	assert_int_equal(retry_kind(0), RETRY_NONE);
	assert_int_equal(retry_kind(-EAGAIN), RETRY_LATER);
	assert_int_equal(retry_kind(-ENOSPC), RETRY_LATER);
	assert_int_equal(retry_kind(-EIO), RETRY_LATER);
	assert_int_equal(retry_kind(-EACCES), RETRY_AUTH);
	assert_int_equal(retry_kind(-EKEYREJECTED), RETRY_AUTH);
	assert_int_equal(retry_kind(-EFBIG), RETRY_MISCONFIGURED);
	assert_int_equal(retry_kind(-ENOTSUP), RETRY_MISCONFIGURED);
	assert_int_equal(retry_kind(-EBUSY), RETRY_CONFLICT);
	assert_int_equal(retry_kind(-ECANCELED), RETRY_STOP);
}

static void retry_parallel_adapts(void **state)
{
	struct retry r;
	unsigned n = 0;

	(void)state;
	retry_init(&r);
	for (int i = 0; i < 1000; i++)
		n = retry_parallel(&r, 0, 8);
	assert_int_equal(n, 8);
	assert_int_equal(retry_parallel(&r, -EAGAIN, 8), 4);
	assert_int_equal(retry_parallel(&r, -EAGAIN, 8), 2);
	assert_int_equal(retry_parallel(&r, -EAGAIN, 8), 1);
	assert_int_equal(retry_parallel(&r, -EAGAIN, 8), 1);
	for (int i = 0; i < 4; i++)
		n = retry_parallel(&r, 0, 8);
	assert_int_equal(n, 2);
	assert_int_equal(retry_parallel(&r, 0, 1), 1);
}

/* ---- look ---- */

static void look_by_path(void **state)
{
	struct look *root = look_new(), *k;

	(void)state;
	assert_ptr_equal(look_at(root, ""), root);
	k = look_at(root, "a/b/c");
	k->flags = 5;
	look_at(root, "a/a");
	look_at(root, "a/c");
	look_at(root, "b");
	assert_ptr_equal(look_at(root, "a/b/c"), k);
	assert_int_equal(look_child(look_child(look_child(root, "a"), "b"), "c")->flags, 5);
	assert_null(look_child(root, "c"));
	assert_null(look_child(NULL, "c"));
	assert_int_equal(root->n, 2);
	assert_int_equal(look_child(root, "a")->n, 3);
	look_free(root);
}

static void look_stays_sorted(void **state)
{
	struct look *root = look_new();
	char name[16];

	(void)state;
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "%u", i * 7919 % 5000);
		assert_non_null(look_make(root, name));
	}
	assert_int_equal(root->n, 5000);
	for (size_t i = 1; i < root->n; i++)
		assert_true(strcmp(root->child[i - 1]->name, root->child[i]->name) < 0);
	look_free(root);
}

/* ---- settle ---- */

static void settle_in_order(void **state)
{
	struct settle_list l = { 0 };
	char name[16];

	(void)state;
	for (int round = 0; round < 3; round++) { /* the ring goes round */
		for (int i = 0; i < 100; i++) {
			snprintf(name, sizeof(name), "%d", i);
			assert_int_equal(settle_add(&l, name, (uint64_t)i, 10 * i, "d", ""), 0);
		}
		for (int i = 0; i < 100; i++) {
			assert_null(settle_due(&l, 10 * i - 1));
			assert_int_equal(settle_due(&l, 10 * i)->size, i);
			settle_pop(&l);
		}
		assert_null(settle_due(&l, INT64_MAX));
	}
	settle_free(&l);
}

static void settle_is_bounded(void **state)
{
	struct settle_list l = { 0 };

	(void)state;
	for (uint64_t i = 0; i < SETTLE_MAX + 10; i++)
		assert_int_equal(settle_add(&l, "x", i, 0, "", ""), 0);
	assert_int_equal(l.n, SETTLE_MAX);
	assert_int_equal(settle_due(&l, 0)->size, 10); /* the oldest went */
	settle_free(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(brake_share_and_number),
		cmocka_unit_test(brake_counts_the_hour),
		cmocka_unit_test(brake_forgets),
		cmocka_unit_test(retry_bounds_double),
		cmocka_unit_test(retry_keeps_what_was_asked),
		cmocka_unit_test(retry_kinds),
		cmocka_unit_test(retry_parallel_adapts),
		cmocka_unit_test(look_by_path),
		cmocka_unit_test(look_stays_sorted),
		cmocka_unit_test(settle_in_order),
		cmocka_unit_test(settle_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
