/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random changes of a small tree, brought to a store in memory by a layout, with
 * requests that fail, lie, or are the last ones. After each request that changes something a
 * reader is opened, and each file it finds must be as the head or an intent beyond it says. In the
 * end the store has the tree, and nothing else.
 *
 *	LAYOUT_ROUNDS   of each kind of store and fault; default 40
 *	LAYOUT_TRACE=1  prints each request
 */
#include "replica/remote/layout_priv.h"

#include "tests/unit/layoutjudge.h"

static struct layout *layout;
static uint64_t seed;

/* ---- changes ---- */

static const char *const pool[] = {
	"a", "b", "c", "d", "e", "B", "back\\slash", ".DAV", "f.txt", "g~",
};

static unsigned pick(unsigned n)
{
	return (unsigned)(next_random(&model.random) % n);
}

static void collect(struct node *d, struct node **list, size_t *n, bool dirs)
{
	struct node *c;

	if (dirs)
		list[(*n)++] = d;
	for (c = d->child; c; c = c->next) {
		assert_true(*n < 2000);
		if (c->type == M_DIR)
			collect(c, list, n, dirs);
		if (!dirs)
			list[(*n)++] = c;
	}
}

static struct node *any_node(bool dir)
{
	static struct node *list[2048];
	size_t n = 0;

	collect(model.root, list, &n, dir);
	return n ? list[pick((unsigned)n)] : NULL;
}

static bool is_above(const struct node *n, const struct node *d)
{
	for (; d; d = d->parent)
		if (d == n)
			return true;
	return false;
}

static uint64_t any_size(void)
{
	return pick(12) == 0 ? 65000 + pick(9000) : pick(3) ? pick(60) : 4090 + pick(5000);
}

static struct layout_dir *dir_of(struct node *d)
{
	struct layout_dir *up, *out;

	if (!d->parent)
		return layout_root(layout);
	up = dir_of(d->parent);
	must(layout, layout_dir_open(layout, up, d->name, &out), 0);
	layout_dir_put(layout, up);
	return out;
}

static bool can_replace(const struct node *n, const struct node *old)
{
	return !old || (old != n && (old->type == M_DIR) == (n->type == M_DIR) && !old->child);
}

/* Both here and at the layout. */
static void do_move(void)
{
	struct node *n = any_node(false), *d = any_node(true), *old;
	const char *name = pool[pick(N_ELEMS(pool))];
	struct layout_dir *from, *to;
	int err;

	if (!n || (n->type == M_DIR && is_above(n, d)))
		return;
	old = model_find(d, name);
	if (!can_replace(n, old))
		return;
	stage_all(layout);
	from = dir_of(n->parent);
	to = dir_of(d);
	err = layout_move(layout, from, n->name, to, name);
	if (err != -ENOTSUP)
		must(layout, err, 0);
	layout_dir_put(layout, from);
	layout_dir_put(layout, to);
	if (world.trace)
		fprintf(stderr, "moved %s to %s/%s: %d\n", n->name, d->name, name, err);
	if (old)
		model_remove(old);
	model_take(n);
	model_add(d, n, name);
}

static void do_exchange(void)
{
	struct node *a = any_node(false), *b = any_node(false), *da, *db;
	struct layout_dir *x, *y;
	char na[256], nb[256];
	unsigned token, other;
	int err;

	if (!a || !b || a == b || is_above(a, b) || is_above(b, a))
		return;
	stage_all(layout);
	strcpy(na, a->name);
	strcpy(nb, b->name);
	da = a->parent;
	db = b->parent;
	x = dir_of(da);
	y = dir_of(db);
	err = layout_move_out(layout, x, na, &token);
	if (!err && pick(2)) {
		err = layout_move(layout, y, nb, x, na);
		if (!err)
			err = layout_move_in(layout, token, y, nb);
	} else if (!err) {
		err = layout_move_out(layout, y, nb, &other);
		if (!err)
			err = layout_move_in(layout, token, y, nb);
		if (!err)
			err = layout_move_in(layout, other, x, na);
	}
	if (err != -ENOTSUP)
		must(layout, err, 0);
	layout_dir_put(layout, x);
	layout_dir_put(layout, y);
	if (world.trace)
		fprintf(stderr, "exchanged %s/%s with %s/%s: %d\n", da->name, na, db->name, nb,
			err);
	model_take(a);
	model_take(b);
	model_add(da, b, na);
	model_add(db, a, nb);
}

static void do_make(void)
{
	struct node *d = any_node(true), *old;
	const char *name = pool[pick(N_ELEMS(pool))];
	static const uint8_t types[] = { M_REG, M_REG, M_REG, M_DIR, M_DIR, M_LNK };

	old = model_find(d, name);
	if (old && pick(3))
		return;
	if (old)
		model_remove(old);
	model_make(d, name, types[pick(N_ELEMS(types))], any_size());
}

static void do_change(void)
{
	struct node *n = any_node(false);

	if (!n)
		return;
	if (n->link)
		n = n->link;
	n->version++;
	/* Of a lie only the size can tell. */
	if (n->type == M_REG && (world.fault == FAKE_LOSE || world.fault == FAKE_HALF))
		n->size += 1 + n->version;
	else if (n->type == M_REG && pick(3))
		n->size = any_size();
}

static void do_chmod(void)
{
	struct node *n = any_node(pick(2));

	if (n && !n->link)
		n->mode ^= 1u << pick(9);
}

static void do_remove(void)
{
	struct node *n = any_node(false);

	if (n && (!n->child || pick(3) == 0))
		model_remove(n);
}

static void do_link(void)
{
	struct node *n = any_node(false), *d = any_node(true);
	const char *name = pool[pick(N_ELEMS(pool))];

	if (n && n->type == M_REG && !model_find(d, name))
		model_link(n, d, name);
}

static void do_stage(void)
{
	stage_all(layout);
}

static void any_change(void)
{
	static void (*const all[])(void) = { do_make, do_make, do_make, do_change, do_change,
					     do_chmod, do_remove, do_move, do_move, do_exchange,
					     do_link, do_stage };

	unsigned i = pick(N_ELEMS(all));

	if (world.trace)
		fprintf(stderr, "change %u\n", i);
	all[i]();
}

/* ---- the writer ---- */

static unsigned lost;

static void told(void *arg, struct layout_dir *d, const char *name, int result, const char *error)
{
	(void)arg, (void)d, (void)name, (void)error;
	lost += result != 0;
}

static int open_writer(bool create)
{
	struct layout_options o = { .volume = volume, .writer = "0123456789abcdef",
				    .create = create, .memory = pick(2) ? 0 : 2000 };
	char error[LAYOUT_ERROR_MAX];
	int err;

	assert_int_equal(store_open(NULL, NULL, &store), 0);
	err = layout_open(store, &o, &layout, error);
	if (!err)
		return 0;
	if (err != -EAGAIN)
		print_message("writer: %s\n", error);
	assert_int_equal(err, -EAGAIN);
	store_close(store);
	store = NULL;
	layout = NULL;
	return err;
}

static void close_writer(void)
{
	layout_close(layout);
	store_close(store);
	layout = NULL;
	store = NULL;
}

static void plan_fault(enum fake_fault fault, unsigned range)
{
	world.requests = 0;
	world.at = fault == FAKE_NONE ? 0 : 1 + pick(range);
	if (fault != FAKE_NONE)
		world.fault = fault;
	world.every = fault == FAKE_DIE || fault == FAKE_DIE_AFTER || pick(2) ? 0 : 1 + pick(40);
	world.dead = false;
}

/* Dead: a new one, that may die as well. */
static void revive(void)
{
	static const enum fake_fault deaths[] = { FAKE_DIE, FAKE_DIE_AFTER };
	unsigned tries = 0;

	close_writer();
	do {
		assert_true(++tries < 100);
		plan_fault(pick(3) ? FAKE_NONE : deaths[pick(2)], 60);
		world.calm = false;
	} while (open_writer(true));
	/* It may have used up its time just now. */
	world.dead = false;
	world.calm = true;
	lost = 0;
}

static int commit_once(void)
{
	struct layout_run run = { .done = told };
	int err;

	world.calm = false;
	err = layout_commit(layout, &run);
	world.calm = !world.dead;
	if (world.dead)
		revive();
	else if (err && err != -EAGAIN)
		must(layout, err, -EAGAIN);
	return err;
}

/* Until all is there. */
static void commit_all(void)
{
	struct layout_staged g;
	unsigned tries = 0;

	do {
		assert_true(++tries < 200);
		if (tries > 60)
			plan_fault(FAKE_NONE, 1);
		if (tries > 30)
			model.restless = 0;
		/* Sometimes more comes between two attempts. */
		if (tries < 20 && pick(4) == 0)
			any_change();
		stage_all(layout);
		lost = 0;
		commit_once();
		stage_all(layout);
		layout_staged(layout, &g);
	} while (g.puts + g.moves + g.removes + g.sets);
}

static void finish(bool strict)
{
	struct layout_run run = { .done = told };

	plan_fault(FAKE_NONE, 1);
	model.restless = 0;
	commit_all();
	/* What was left over is cleared up with nothing else to do. */
	must(layout, layout_commit(layout, &run), 0);
	check_all();
	check_equal(strict);
}

/* ---- tests ---- */

struct kind {
	const char *name;
	bool s3, in_place, no_dir_moves, folds;
};

static const struct kind kinds[] = {
	{ "webdav", false, false, false, false },
	{ "webdav in place", false, true, false, false },
	{ "webdav that cannot move directories, and folds case", false, false, true, true },
	{ "s3", true, false, true, false },
};

static void round_of(const struct kind *k, enum fake_fault fault, uint64_t no, bool strict)
{
	unsigned batches = 6;

	fake_clear();
	model_begin();
	world.s3 = k->s3;
	world.caps = (struct store_caps){ .in_place = k->in_place, .moves_dirs = !k->no_dir_moves,
					  .folds_case = k->folds, .exclusive = k->s3 };
	world.random = model.random = seed + no * 1000003;
	world.trace = getenv("LAYOUT_TRACE") != NULL;
	world.check = fault == FAKE_LOSE || fault == FAKE_HALF ? NULL : check_all;
	model.restless = pick(3) ? 0 : 20;
	plan_fault(fault, 1);
	world.at = 0;
	world.calm = true;
	assert_int_equal(open_writer(true), 0);
	while (batches--) {
		unsigned n = 1 + pick(25);

		while (n--)
			any_change();
		plan_fault(fault, 120);
		commit_all();
	}
	finish(strict);
	close_writer();
	model_end();
	fake_clear();
}

static void rounds(enum fake_fault fault, bool strict)
{
	const char *text = getenv("LAYOUT_ROUNDS"), *one = getenv("LAYOUT_ONLY");
	uint64_t n = text ? strtoull(text, NULL, 0) : 40, i;

	for (size_t k = 0; k < N_ELEMS(kinds); k++)
		for (i = 0; i < n; i++) {
			uint64_t no = ((uint64_t)fault * N_ELEMS(kinds) + k) * 1000000 + i;

			if (one && strtoull(one, NULL, 0) != no)
				continue;
			if (getenv("LAYOUT_VERBOSE"))
				fprintf(stderr, "%s, fault %d, LAYOUT_ONLY=%llu\n", kinds[k].name,
					(int)fault, (unsigned long long)no);
			round_of(&kinds[k], fault, no, strict);
		}
}

static void test_well(void **state)
{
	(void)state;
	rounds(FAKE_NONE, true);
}

static void test_fails_before(void **state)
{
	(void)state;
	rounds(FAKE_BEFORE, false);
}

static void test_fails_after(void **state)
{
	(void)state;
	rounds(FAKE_AFTER, false);
}

static void test_dies(void **state)
{
	(void)state;
	rounds(FAKE_DIE, false);
}

static void test_dies_after(void **state)
{
	(void)state;
	rounds(FAKE_DIE_AFTER, false);
}

static void test_loses(void **state)
{
	(void)state;
	rounds(FAKE_LOSE, false);
}

static void test_halves(void **state)
{
	(void)state;
	rounds(FAKE_HALF, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_well),
		cmocka_unit_test(test_fails_before),
		cmocka_unit_test(test_fails_after),
		cmocka_unit_test(test_dies),
		cmocka_unit_test(test_dies_after),
		cmocka_unit_test(test_loses),
		cmocka_unit_test(test_halves),
	};

	seed = seed_of_run();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
