/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inode table and the names, without any mirror: a bare struct volume
 * with a tree and a cache of descriptors that stays empty.
 */
#include "replica/tree.h"

#include <errno.h>
#include <sys/stat.h>

#include "replica/dirfd.h"
#include "tests/unit/tmpdir.h"

#define T_FILE 8
#define T_DIR 4

static int setup_nodes(void **state, uint32_t max)
{
	struct volume *v = calloc(1, sizeof(*v));

	*state = v;
	for (int m = 0; m < MAX_MIRRORS; m++)
		v->m[m].rootfd = v->m[m].dotfd = -1;
	return tree_create(v, max) < 0 || dirfd_init(v, 16) < 0 ? -1 : 0;
}

static int setup(void **state)
{
	return setup_nodes(state, 1u << 16);
}

static int setup_tiny(void **state)
{
	return setup_nodes(state, 8);
}

static int setup_huge(void **state)
{
	return setup_nodes(state, (1u << 20) + (1u << 16));
}

static int teardown(void **state)
{
	struct volume *v = *state;

	tree_destroy(v);
	dirfd_fini(v);
	free(v);
	return 0;
}

static uint32_t enter(struct volume *v, uint64_t id, uint8_t type, uint32_t parent,
		      const char *name)
{
	uint32_t n = 0;

	assert_int_equal(tree_enter(v, id, type, parent, name, &n), 0);
	assert_true(n != 0);
	assert_int_equal(tree_node(v, n)->id, id);
	return n;
}

static void enter_find_drop(void **state)
{
	struct volume *v = *state;
	uint32_t d, f, parent;
	char name[NAME_MAX_LEN + 1];

	assert_int_equal(tree_node(v, NODE_ROOT)->id, ROOT_ID);
	d = enter(v, 20, T_DIR, NODE_ROOT, "d");
	f = enter(v, 21, T_FILE, d, "f");
	assert_int_equal(tree_count(v), 3);
	assert_int_equal(tree_find(v, d, "f"), f);
	tree_unref(v, f);
	assert_int_equal(tree_find(v, NODE_ROOT, "f"), 0);
	assert_int_equal(tree_find(v, d, "F"), 0);
	assert_int_equal(tree_find_id(v, 21), f);
	tree_unref(v, f);
	assert_int_equal(tree_find_id(v, 22), 0);
	/* entering again is the same node with one more reference */
	assert_int_equal(enter(v, 21, T_FILE, d, "f"), f);
	assert_int_equal(tree_names(v, f), 1);
	tree_unref(v, f);
	assert_true(tree_position(v, f, &parent, name));
	assert_int_equal(parent, d);
	assert_string_equal(name, "f");
	tree_drop_name(v, d, "f");
	assert_false(tree_position(v, f, &parent, name));
	assert_int_equal(tree_find(v, d, "f"), 0);
	assert_int_equal(tree_count(v), 3);
	tree_unref(v, f);
	assert_int_equal(tree_count(v), 2);
	tree_unref(v, d);
	assert_int_equal(tree_count(v), 1);
}

/* A name that now leads to another object. */
static void name_of_another_life(void **state)
{
	struct volume *v = *state;
	uint32_t a = enter(v, 30, T_FILE, NODE_ROOT, "x");
	uint32_t b = enter(v, 31, T_FILE, NODE_ROOT, "x");

	assert_true(a != b);
	assert_int_equal(tree_find(v, NODE_ROOT, "x"), b);
	assert_int_equal(tree_names(v, a), 0);
	tree_unref(v, b);
	tree_unref(v, b);
	tree_unref(v, a);
	assert_int_equal(tree_count(v), 1);
}

static void hard_links(void **state)
{
	struct volume *v = *state;
	uint32_t d1 = enter(v, 40, T_DIR, NODE_ROOT, "d1"), d2 = enter(v, 41, T_DIR, d1, "d2");
	char name[NAME_MAX_LEN + 1];
	uint32_t f = 0, parent;

	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		f = enter(v, 42, T_FILE, i % 2 ? d1 : d2, name);
	}
	assert_int_equal(tree_names(v, f), 100);
	assert_int_equal(tree_count(v), 4);
	for (unsigned k = 0; k < 100; k++)
		assert_true(tree_position_at(v, f, k, &parent, name));
	assert_false(tree_position_at(v, f, 100, &parent, name));
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		tree_drop_name(v, i % 2 ? d1 : d2, name);
	}
	assert_int_equal(tree_names(v, f), 50);
	/* the directories live on by the names below them, then all goes at once */
	tree_unref(v, d2);
	tree_unref(v, d1);
	assert_int_equal(tree_count(v), 4);
	for (int i = 0; i < 100; i++)
		tree_unref(v, f);
	assert_int_equal(tree_count(v), 1);
	assert_int_equal(tree_find(v, NODE_ROOT, "d1"), 0);
}

/* A directory known to the kernel is not freed before its children, and
 * forgetting in any order leaves nothing. */
static void forget_in_any_order(void **state)
{
	struct volume *v = *state;
	uint64_t seed = seed_of_run();
	uint32_t chain[64], order[64];

	for (int round = 0; round < 200; round++) {
		uint32_t parent = NODE_ROOT;

		for (unsigned i = 0; i < 64; i++) {
			chain[i] = enter(v, 100 + i, T_DIR, parent, "c");
			tree_lookup_inc(v, chain[i]);
			tree_lookup_inc(v, chain[i]);
			tree_unref(v, chain[i]);
			parent = chain[i];
			order[i] = i;
		}
		for (unsigned i = 63; i > 0; i--) {
			unsigned k = (unsigned)(next_random(&seed) % (i + 1));
			uint32_t x = order[i];

			order[i] = order[k];
			order[k] = x;
		}
		for (unsigned i = 0; i < 64; i++)
			tree_forget(v, chain[order[i]], 1);
		assert_int_equal(tree_count(v), 65);
		for (unsigned i = 0; i < 64; i++) {
			assert_int_equal(tree_node(v, chain[63])->id, 100 + 63);
			tree_forget(v, chain[i], 1);
		}
		assert_int_equal(tree_count(v), 1);
	}
	/* all at once, whatever is held */
	for (unsigned i = 0; i < 64; i++) {
		chain[i] = enter(v, 100 + i, T_DIR, i ? chain[i - 1] : NODE_ROOT, "c");
		tree_lookup_inc(v, chain[i]);
		tree_unref(v, chain[i]);
	}
	tree_forget_all(v);
	assert_int_equal(tree_count(v), 1);
}

static void slots_are_told_apart_by_gen(void **state)
{
	struct volume *v = *state;
	uint32_t n = enter(v, 50, T_FILE, NODE_ROOT, "a"), gen = tree_node(v, n)->gen;

	for (uint64_t id = 51; id < 60; id++) {
		tree_set_flag(v, n, NODE_DELETED);
		tree_set_ctime(v, n, 5, 6);
		tree_drop_name(v, NODE_ROOT, "a");
		tree_unref(v, n);
		assert_int_equal(enter(v, id, T_FILE, NODE_ROOT, "a"), n);
		assert_true(tree_node(v, n)->gen > gen);
		gen = tree_node(v, n)->gen;
		assert_int_equal(tree_node(v, n)->flags, 0);
		assert_int_equal(tree_node(v, n)->sealed_at, 0);
	}
	tree_unref(v, n);
}

static void a_full_table_says_so(void **state)
{
	struct volume *v = *state;
	char name[8];
	uint32_t n[8], x;

	for (uint64_t i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "%d", (int)i);
		n[i] = enter(v, 60 + i, T_FILE, NODE_ROOT, name);
	}
	assert_int_equal(tree_enter(v, 70, T_FILE, NODE_ROOT, "more", &x), -ENOMEM);
	assert_int_equal(tree_find(v, NODE_ROOT, "more"), 0);
	assert_int_equal(tree_find_id(v, 70), 0);
	assert_int_equal(tree_count(v), 7);
	tree_unref(v, n[3]);
	assert_int_equal(enter(v, 70, T_FILE, NODE_ROOT, "more"), n[3]);
}

static void long_names(void **state)
{
	struct volume *v = *state;
	char name[NAME_MAX_LEN + 1] = "", got[NAME_MAX_LEN + 1];
	uint32_t n[NAME_MAX_LEN + 1], parent;

	for (unsigned len = 1; len <= NAME_MAX_LEN; len++) {
		name[len - 1] = (char)('a' + len % 26);
		n[len] = enter(v, 1000 + len, T_FILE, NODE_ROOT, name);
	}
	for (unsigned len = NAME_MAX_LEN; len; len--) {
		name[len] = '\0';
		assert_int_equal(tree_find(v, NODE_ROOT, name), n[len]);
		assert_true(tree_position(v, n[len], &parent, got));
		assert_string_equal(got, name);
		tree_unref(v, n[len]);
		tree_unref(v, n[len]);
	}
	assert_int_equal(tree_count(v), 1);
}

static void moves_and_swaps(void **state)
{
	struct volume *v = *state;
	uint32_t d = enter(v, 80, T_DIR, NODE_ROOT, "d"), e = enter(v, 81, T_DIR, NODE_ROOT, "e");
	uint32_t f = enter(v, 82, T_FILE, d, "f"), g = enter(v, 83, T_FILE, e, "g");
	char path[64];

	assert_int_equal(tree_move_name(v, d, "f", e, "h"), 0);
	assert_int_equal(tree_find(v, d, "f"), 0);
	assert_int_equal(tree_find(v, e, "h"), f);
	tree_unref(v, f);
	assert_int_equal(tree_move_name(v, e, "h", e, "g"), 0); /* over another */
	assert_int_equal(tree_names(v, g), 0);
	tree_path(v, f, path, sizeof(path));
	assert_string_equal(path, "e/g");
	tree_path(v, g, path, sizeof(path));
	assert_non_null(strstr(path, "unlinked"));
	assert_int_equal(enter(v, 83, T_FILE, d, "x"), g);
	tree_swap_names(v, d, "x", e, "g");
	tree_path(v, f, path, sizeof(path));
	assert_string_equal(path, "d/x");
	tree_path(v, g, path, sizeof(path));
	assert_string_equal(path, "e/g");
	tree_unref(v, g);
	tree_unref(v, g);
	tree_unref(v, f);
	tree_unref(v, d);
	tree_unref(v, e);
	assert_int_equal(tree_count(v), 1);
}

static void paths(void **state)
{
	struct volume *v = *state;
	uint32_t at = NODE_ROOT, first = 0;
	char path[4096], small[16];

	tree_path(v, NODE_ROOT, path, sizeof(path));
	assert_string_equal(path, ".");
	tree_path_of(v, NODE_ROOT, "x", path, sizeof(path));
	assert_string_equal(path, "x");
	for (uint64_t i = 0; i < 2000; i++) {
		uint32_t n = enter(v, 200 + i, T_DIR, at, i ? "abc" : "top");

		if (i)
			tree_unref(v, at);
		else
			first = n;
		at = n;
	}
	tree_path(v, first, path, sizeof(path));
	assert_string_equal(path, "top");
	tree_path_of(v, first, "y", path, sizeof(path));
	assert_string_equal(path, "top/y");
	/* too long: the tail is what is kept, within the size given */
	tree_path(v, at, path, sizeof(path));
	assert_true(strlen(path) > 4000);
	assert_string_equal(path + strlen(path) - 8, "/abc/abc");
	tree_path(v, at, small, sizeof(small));
	assert_true(strlen(small) < sizeof(small));
	assert_string_equal(small + strlen(small) - 3, "abc");
	tree_unref(v, at);
	assert_int_equal(tree_count(v), 1);
}

static void handles(void **state)
{
	struct volume *v = *state;
	uint32_t n = enter(v, 90, T_FILE, NODE_ROOT, "f");
	uint64_t h = handle_new(v, n, O_RDWR), again;

	assert_true(h != 0);
	assert_int_equal(handle_get(v, h)->node, n);
	assert_int_equal(handle_get(v, h)->flags, O_RDWR);
	assert_null(handle_get(v, 0));
	assert_null(handle_get(v, h + (1ull << 24)));
	assert_null(handle_get(v, UINT64_MAX));
	tree_unref(v, n);
	assert_int_equal(tree_count(v), 2); /* the handle holds it */
	handle_free(v, h);
	assert_null(handle_get(v, h));
	assert_int_equal(tree_count(v), 1);
	n = enter(v, 91, T_FILE, NODE_ROOT, "g");
	again = handle_new(v, n, 0);
	assert_true(again != h); /* the slot may be the same, the number is not */
	assert_null(handle_get(v, h));
	handle_free(v, again);
	tree_unref(v, n);
}

static void pins(void **state)
{
	struct volume *v = *state;
	uint32_t n = enter(v, 95, T_FILE, NODE_ROOT, "p");
	int fd[MAX_MIRRORS], pipes[2];

	for (int m = 0; m < MAX_MIRRORS; m++)
		fd[m] = -1;
	assert_int_equal(pipe(pipes), 0);
	fd[2] = pipes[0];
	assert_false(tree_pinned(v, n));
	assert_int_equal(tree_pin_fd(v, n, 2), -1);
	assert_int_equal(tree_pin(v, n, fd), 0);
	assert_true(tree_pinned(v, n));
	assert_int_equal(tree_pin_fd(v, n, 2), pipes[0]);
	assert_int_equal(tree_pin_fd(v, n, 1), -1);
	assert_int_equal(tree_pin(v, n, fd), -EEXIST);
	tree_unref(v, n);
	assert_int_equal(fcntl(pipes[0], F_GETFD), -1); /* closed with the node */
	close(pipes[1]);
}

static void count_node(struct volume *v, uint32_t n, void *arg)
{
	assert_true(tree_node(v, n)->refs > 0);
	++*(unsigned *)arg;
}

/* Names by the million: the index grows many times, and nothing gets lost. */
static void a_million_names(void **state)
{
	struct volume *v = *state;
	const uint32_t many = 1u << 20;
	uint32_t d = enter(v, 20, T_DIR, NODE_ROOT, "d");
	unsigned seen = 0;
	char name[64];

	for (uint32_t i = 0; i < many; i++) {
		uint32_t n;

		snprintf(name, sizeof(name), i % 16 ? "%u" :
			 "%u-with-a-name-too-long-to-stay-inline-in-the-table", i);
		assert_int_equal(tree_enter(v, 1000 + i, T_FILE, d, name, &n), 0);
	}
	assert_int_equal(tree_count(v), many + 2);
	for (uint32_t i = 0; i < many; i += 7) {
		uint32_t n;

		snprintf(name, sizeof(name), i % 16 ? "%u" :
			 "%u-with-a-name-too-long-to-stay-inline-in-the-table", i);
		n = tree_find(v, d, name);
		assert_true(n != 0);
		assert_int_equal(tree_node(v, n)->id, 1000 + i);
		tree_unref(v, n);
	}
	tree_for_each(v, count_node, &seen);
	assert_int_equal(seen, many + 2);
	for (uint32_t i = 0; i < many; i++) {
		uint32_t n = tree_find_id(v, 1000 + i);

		assert_true(n != 0);
		tree_unref(v, n);
		tree_unref(v, n);
	}
	assert_int_equal(tree_count(v), 2);
	tree_unref(v, d);
	assert_int_equal(tree_count(v), 1);
}

#define in(f, s) cmocka_unit_test_setup_teardown(f, s, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in(enter_find_drop, setup),
		in(name_of_another_life, setup),
		in(hard_links, setup),
		in(forget_in_any_order, setup),
		in(slots_are_told_apart_by_gen, setup),
		in(a_full_table_says_so, setup_tiny),
		in(long_names, setup),
		in(moves_and_swaps, setup),
		in(paths, setup),
		in(handles, setup),
		in(pins, setup),
		in(a_million_names, setup_huge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
