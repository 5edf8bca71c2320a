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

#include "tests/unit/fakestore.h"
#include "tests/unit/layoutmodel.h"

static const uint8_t volume[16] = "sixteen bytes...";
static struct store *store;
static struct layout *layout;
static uint64_t seed;

/* ---- looking at what is there ---- */

static bool matches(const struct manifest_entry *e, const char *object)
{
	const struct fake_object *o = *object ? fake_get(object) : NULL;
	uint64_t sum = 0, at;

	if (!o || o->dir || o->len != e->size)
		return false;
	for (at = 0; at < o->len; at += LEAF_SIZE)
		sum += hash_leaf(e->id, at / LEAF_SIZE, o->data + at,
				 o->len - at < LEAF_SIZE ? o->len - at : LEAF_SIZE);
	return sum == e->root;
}

static bool is_or_below(const char *name, const char *above)
{
	return !strcmp(name, above) || (fake_below(name, above) && *above);
}

/* Moves and what comes after them leave nothing of it anywhere: an intent says so. */
static bool given_up(const struct layout *l, const struct manifest_entry *e, const char *object)
{
	char *name = strdup(object), *next;
	bool gone = false;

	for (size_t i = 0; i < l->n_beyond; i++)
		for (size_t k = 0; k < l->beyond[i].n; k++) {
			const struct intent_op *op = &l->beyond[i].op[k];

			if (op->kind == INTENT_DELETE && is_or_below(name, op->name))
				gone = true;
			if (op->kind == INTENT_PUT && !op->dir && !strcmp(name, op->name))
				gone |= op->entry.id != e->id;
			if (op->kind != INTENT_MOVE)
				continue;
			next = name_translate(name, op->name, op->to, op->dir);
			if (next) {
				free(name);
				name = next;
			} else if (is_or_below(name, op->to)) {
				gone = true;
			}
		}
	free(name);
	return gone;
}

static bool is_one_of(struct layout *l, const struct manifest_entry *e, const char *first,
		      const char *object)
{
	const struct manifest_entry *maybe;
	unsigned n;

	if (matches(e, object))
		return true;
	for (n = 0; (maybe = layout_maybe_nth(l, first, n)); n++)
		if (matches(maybe, object))
			return true;
	return false;
}

static bool is_sound(struct layout *l, struct layout_dir *d, const struct manifest_entry *e)
{
	char object[LAYOUT_NAME_MAX], path[LAYOUT_NAME_MAX], other[LAYOUT_NAME_MAX];
	unsigned n;

	layout_content(l, d, e, object);
	assert_int_equal(dir_path(d, e->name, path), 0);
	if (is_one_of(l, e, object, object))
		return true;
	for (n = 0; !layout_elsewhere(l, object, n, other); n++)
		if (is_one_of(l, e, object, other))
			return true;
	if (given_up(l, e, object))
		return true;
	for (size_t i = 0; i < l->n_beyond; i++)
		for (size_t k = 0; k < l->beyond[i].n; k++) {
			const struct intent_op *op = &l->beyond[i].op[k];

			print_message("intent %llu: %d %s%s%s, path %s\n",
				      (unsigned long long)l->beyond[i].seq, (int)op->kind, op->name,
				      op->to ? " -> " : "", op->to ? op->to : "", op->path);
		}
	print_message("head %llu: %s (%s): neither as before nor as intended\n",
		      (unsigned long long)l->head.seq, path, object);
	return false;
}

struct walk {
	struct layout *l;
	struct layout_dir *d;
	uint64_t files, bytes;
};

static int walk_entry(const struct manifest_entry *e, void *arg)
{
	struct walk *w = arg, below = { .l = w->l };
	uint64_t *leaves;

	w->files += e->type != M_DIR;
	w->bytes += e->type == M_REG && !e->link ? e->size : 0;
	if (e->type == M_DIR) {
		struct manifest_entry copy = *e;

		must(w->l, layout_dir_open(w->l, w->d, e->name, &below.d), 0);
		must(w->l, layout_each(w->l, below.d, walk_entry, &below), 0);
		layout_dir_put(w->l, below.d);
		assert_int_equal(copy.files, below.files);
		assert_int_equal(copy.bytes, below.bytes);
		w->files += below.files;
		w->bytes += below.bytes;
	} else if (e->type == M_REG && !e->link) {
		assert_true(is_sound(w->l, w->d, e));
		if (e->leaves.seq) {
			must(w->l, layout_leaves(w->l, e, &leaves), 0);
			free(leaves);
		} else {
			assert_true(e->size <= LAYOUT_SMALL);
		}
	}
	return 0;
}

static bool only_head(void)
{
	size_t n = 0, i;

	for (i = 0; i < world.n; i++)
		n += fake_below(world.o[i].name, OBJECT_FOLDER_HEAD) && !world.o[i].dir;
	return n == 1;
}

static struct layout *open_reader(void)
{
	struct layout_options o = { .volume = volume };
	char error[LAYOUT_ERROR_MAX];
	struct layout *l = NULL;
	int err = layout_open(store, &o, &l, error);

	/* The very first head may be torn where a server writes in place. */
	if (err == -ENOENT || (err == -EBADMSG && world.caps.in_place && only_head()))
		return NULL;
	if (err)
		print_message("reader: %s\n", error);
	assert_int_equal(err, 0);
	return l;
}

/* Another handle: requests of the writer under way stay where they are. */
static void check_all(void)
{
	struct store *mine = store, own = { .n = 0 };
	struct walk w = { 0 }, links = { 0 };

	store = &own;
	w.l = links.l = open_reader();
	if (w.l) {
		w.d = layout_root(w.l);
		must(w.l, layout_each(w.l, w.d, walk_entry, &w), 0);
		links.d = layout_links(w.l);
		must(w.l, layout_each(w.l, links.d, walk_entry, &links), 0);
		assert_int_equal(w.l->head.files, w.files);
		assert_int_equal(w.l->head.bytes, w.bytes + links.bytes);
		layout_dir_put(w.l, w.d);
		layout_dir_put(w.l, links.d);
		layout_close(w.l);
	}
	store = mine;
}

/* ---- the end ---- */

static void compare(struct layout *l, struct layout_dir *d, struct node *dir, struct names *known);

static void compare_file(struct layout *l, struct layout_dir *d, const struct node *f,
			 const char *name, struct names *known)
{
	struct manifest_entry mine = model_entry(f, name, false);
	const struct manifest_entry *e;
	char object[LAYOUT_NAME_MAX];

	must(l, layout_find(l, d, name, &e), 0);
	assert_true(same_entry(e, &mine));
	layout_content(l, d, e, object);
	assert_true(matches(&mine, object));
	assert_int_equal(names_add(known, object), 0);
	if (e->leaves.seq) {
		object_name_leaf(object, e->id, e->leaves.seq);
		assert_int_equal(names_add(known, object), 0);
	}
}

static void compare_node(struct layout *l, struct layout_dir *d, struct node *n,
			 struct names *known)
{
	struct manifest_entry mine = model_entry(n, n->name, n->link != NULL);
	const struct manifest_entry *e;
	struct layout_dir *child;

	must(l, layout_find(l, d, n->name, &e), 0);
	if (!same_entry(e, &mine))
		print_message("%s: type %u, id %llx, mode %o; want type %u, id %llx, mode %o\n", n->name,
			      e->type, (unsigned long long)e->id, e->mode, mine.type,
			      (unsigned long long)mine.id, mine.mode);
	assert_true(same_entry(e, &mine));
	if (n->type == M_REG && !n->link)
		compare_file(l, d, n, n->name, known);
	if (n->type != M_DIR)
		return;
	must(l, layout_dir_open(l, d, n->name, &child), 0);
	compare(l, child, n, known);
	layout_dir_put(l, child);
}

static void know_manifests(struct layout_dir *d, struct names *known)
{
	char name[OBJECT_NAME_MAX];

	if (d->ref.seq) {
		object_name_dir(name, d->id, d->ref.seq);
		assert_int_equal(names_add(known, name), 0);
	}
	for (size_t i = 0; d->bits && i < (size_t)1 << d->bits; i++) {
		object_name_page(name, d->id, d->page[i].ref.seq, (unsigned)i);
		assert_int_equal(names_add(known, name), 0);
	}
}

static void compare(struct layout *l, struct layout_dir *d, struct node *dir, struct names *known)
{
	struct node *n;
	size_t count = 0;

	know_manifests(d, known);
	for (n = dir->child; n; n = n->next, count++)
		compare_node(l, d, n, known);
	assert_int_equal(layout_count(d), count);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* What no manifest of the newest head needs: only what older heads do. */
static void find_litter(struct layout *l, struct names *known, bool strict)
{
	struct remote_head h;
	uint64_t *seq;
	size_t n, i, k;

	assert_int_equal(heads_list(l, &seq, &n), 0);
	assert_true(n <= LAYOUT_HEADS_KEPT);
	for (i = 0; i < n; i++) {
		assert_int_equal(head_read(l, seq[i], &h), 0);
		for (k = 0; k < h.n_drop; k++)
			names_add(known, h.drop[k]);
		remote_head_clear(&h);
	}
	free(seq);
	qsort(known->name, known->n, sizeof(char *), by_text);
	for (i = 0; i < world.n; i++) {
		const char *name = world.o[i].name;
		bool ours = !strncmp(name, OBJECT_FOLDER "/", 10);

		if (world.o[i].dir || !strncmp(name, OBJECT_FOLDER_HEAD "/", 15) ||
		    !strcmp(name, OBJECT_FOLDER "/format"))
			continue;
		/* After a death some of what it had stored may stay for ever; nothing of the tree. */
		if (ours && !strict && strncmp(name, OBJECT_FOLDER_INTENT "/", 17))
			continue;
		if (!bsearch(&name, known->name, known->n, sizeof(char *), by_text))
			fail_msg("litter: %s", name);
	}
}

static void check_equal(bool strict)
{
	struct layout *l = open_reader();
	struct names known = { 0 };
	struct layout_dir *d;
	struct node *f;
	char hex[17];
	size_t n = 0;

	assert_non_null(l);
	d = layout_root(l);
	compare(l, d, model.root, &known);
	layout_dir_put(l, d);
	d = layout_links(l);
	know_manifests(d, &known);
	for (f = model.files; f; f = f->next, n++) {
		snprintf(hex, sizeof(hex), "%016" PRIx64, f->id);
		compare_file(l, d, f, hex, &known);
	}
	assert_int_equal(layout_count(d), n);
	layout_dir_put(l, d);
	find_litter(l, &known, strict);
	names_clear(&known);
	layout_close(l);
}

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
		fprintf(stderr, "exchanged %s/%s with %s/%s: %d\n", da->name, na, db->name, nb, err);
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
