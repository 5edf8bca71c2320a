/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names after a power cut, at random: operations on a model tree; each mirror
 * gets the state after some of them, the journals the words of some. All words
 * and states up to a point are there: it was fsynced. After the recovery, also
 * one that was cut itself up to three times, no object that an fsync covered
 * may be lost, none may be in places it never had at one time, and the mirrors
 * may differ by missing copies only. MIRRORFS_TEST_CASES: how many.
 */
#include "tests/unit/names.h"

#define ENTRIES 64
#define OPS 24
#define IDS 200

struct entry {
	uint64_t dir, id;
	char name[2];
	bool isdir;
};

struct tree {
	unsigned n;
	struct entry e[ENTRIES];
};

struct effect {
	uint64_t dir, id;
	char name[2];
};

struct op {
	struct effect effect[2];
	unsigned n;
};

/* One history, and what is left of it. */
struct history {
	struct tree state[OPS + 1];  /* after so many operations */
	struct op op[OPS];
	unsigned n_ops, fsynced;
	uint64_t next_id, first_new; /* ids from first_new on were never sealed */
	bool durable[OPS];
	bool loose;                  /* states that are no prefix of the operations */
	uint64_t rnd;
};

static unsigned pick(struct history *h, unsigned n)
{
	return (unsigned)(next_random(&h->rnd) % n);
}

/* ---- the model ---- */

static struct entry *find(struct tree *t, uint64_t dir, const char *name)
{
	for (unsigned i = 0; i < t->n; i++)
		if (t->e[i].dir == dir && strcmp(t->e[i].name, name) == 0)
			return &t->e[i];
	return NULL;
}

static struct entry *find_id(struct tree *t, uint64_t id)
{
	for (unsigned i = 0; i < t->n; i++)
		if (t->e[i].id == id)
			return &t->e[i];
	return NULL;
}

static bool is_empty(const struct tree *t, uint64_t dir)
{
	for (unsigned i = 0; i < t->n; i++)
		if (t->e[i].dir == dir)
			return false;
	return true;
}

static bool is_inside(struct tree *t, uint64_t dir, uint64_t top)
{
	while (dir != ROOT_ID && dir != top)
		dir = find_id(t, dir)->dir;
	return dir == top;
}

static void set(struct tree *t, uint64_t dir, const char *name, uint64_t id, bool isdir)
{
	struct entry *e = find(t, dir, name);

	if (!e && id) {
		assert_true(t->n < ENTRIES);
		e = &t->e[t->n++];
	}
	if (e && !id)
		*e = t->e[--t->n];
	else if (e) {
		*e = (struct entry){ .dir = dir, .id = id, .isdir = isdir };
		strcpy(e->name, name);
	}
}

static uint64_t random_dir(struct history *h, struct tree *t)
{
	uint64_t dirs[ENTRIES + 1] = { ROOT_ID };
	unsigned n = 1;

	for (unsigned i = 0; i < t->n; i++)
		if (t->e[i].isdir)
			dirs[n++] = t->e[i].id;
	return dirs[pick(h, n)];
}

static void effect(struct op *op, uint64_t dir, const char *name, uint64_t id)
{
	struct effect *f = &op->effect[op->n++];

	f->dir = dir;
	f->id = id;
	strcpy(f->name, name);
}

static bool do_rename(struct history *h, struct tree *t, struct op *op, struct entry e,
		      uint64_t dir, const char *name)
{
	struct entry *x = find(t, dir, name);
	struct entry old = x ? *x : (struct entry){ 0 };
	bool exchange = x && pick(h, 3) == 0;

	if (old.id == e.id || (e.isdir && is_inside(t, dir, e.id)))
		return false;
	if (exchange && old.isdir && is_inside(t, e.dir, old.id))
		return false;
	if (x && !exchange && (old.isdir != e.isdir || (old.isdir && !is_empty(t, old.id))))
		return false;
	set(t, e.dir, e.name, exchange ? old.id : 0, old.isdir);
	set(t, dir, name, e.id, e.isdir);
	effect(op, e.dir, e.name, exchange ? old.id : 0);
	effect(op, dir, name, e.id);
	return true;
}

static bool random_op(struct history *h, struct tree *t, struct op *op)
{
	char name[2] = { (char)('a' + pick(h, 4)), '\0' };
	uint64_t dir = random_dir(h, t);
	struct entry e = { 0 };
	unsigned what = pick(h, 10);

	*op = (struct op){ 0 };
	if (t->n)
		e = t->e[pick(h, t->n)];
	if (what < 3) {
		if (find(t, dir, name) || t->n > ENTRIES / 2)
			return false;
		effect(op, dir, name, h->next_id);
		set(t, dir, name, h->next_id++, what == 0);
		return true;
	}
	if (!t->n)
		return false;
	if (what == 3) {
		if (e.isdir || find(t, dir, name))
			return false;
		effect(op, dir, name, e.id);
		set(t, dir, name, e.id, false);
		return true;
	}
	if (what < 6) {
		if (e.isdir && !is_empty(t, e.id))
			return false;
		effect(op, e.dir, e.name, 0);
		set(t, e.dir, e.name, 0, false);
		return true;
	}
	return do_rename(h, t, op, e, dir, name);
}

static void make_history(struct history *h, uint64_t seed, bool loose)
{
	struct op op;

	memset(h, 0, sizeof(*h));
	h->rnd = seed;
	h->loose = loose;
	h->next_id = 20;
	for (unsigned i = pick(h, 30); i; i--)
		random_op(h, &h->state[0], &op);
	h->first_new = h->next_id;
	for (unsigned n = 1 + pick(h, OPS); h->n_ops < n; h->n_ops++) {
		h->state[h->n_ops + 1] = h->state[h->n_ops];
		while (!random_op(h, &h->state[h->n_ops + 1], &h->op[h->n_ops]))
			;
	}
	h->fsynced = pick(h, h->n_ops + 1);
	for (unsigned i = 0, share = pick(h, 4); i < h->n_ops; i++)
		h->durable[i] = i < h->fsynced || pick(h, 3) < share;
}

/* ---- from the model to mirrors and journals ---- */

static void path_in(struct tree *t, uint64_t dir, char *out, size_t size)
{
	char rest[256] = "";

	while (dir != ROOT_ID) {
		struct entry *e = find_id(t, dir);
		char longer[256];

		snprintf(longer, sizeof(longer), "%s%s%.200s", e->name, *rest ? "/" : "", rest);
		strcpy(rest, longer);
		dir = e->dir;
	}
	snprintf(out, size, "%s", *rest ? rest : ".");
}

static uint64_t gen_of(const struct history *h, uint64_t dir)
{
	return dir == ROOT_ID || dir >= h->first_new ? 0 : 1;
}

static void say_all(struct history *h, struct bench *b)
{
	for (unsigned i = 0; i < h->n_ops; i++)
		for (unsigned k = 0; k < h->op[i].n; k++) {
			const struct effect *f = &h->op[i].effect[k];
			uint64_t at;
			char path[256];

			if (f->dir < h->first_new && !map_get(&b->r.dirs, f->dir, &at)) {
				path_in(&h->state[i], f->dir, path, sizeof(path));
				say_dirty(b, f->dir, gen_of(h, f->dir), path);
			}
			if (h->durable[i])
				say_name(b, f->dir, gen_of(h, f->dir), f->name, f->id);
			if (i + 1 == h->fsynced && pick(h, 2)) /* by syncfs */
				b->r.floor = b->r.highest + 1;
		}
}

/* Some of the operations from the fsynced one on, each where it can be. */
static void loose_state(struct history *h, struct tree *t)
{
	*t = h->state[h->fsynced];
	for (unsigned i = h->fsynced; i < h->n_ops; i++) {
		bool fits = pick(h, 5) != 0;

		for (unsigned k = 0; k < h->op[i].n; k++) {
			const struct effect *f = &h->op[i].effect[k];
			struct entry *was = find(&h->state[i], f->dir, f->name);
			struct entry *is = find(t, f->dir, f->name);

			fits &= (was ? was->id : 0) == (is ? is->id : 0);
			fits &= f->dir == ROOT_ID || find_id(t, f->dir);
			if (is && is->isdir && !f->id)
				fits &= is_empty(t, is->id) || h->op[i].n == 2;
			if (is && is->isdir && f->id && h->op[i].effect[0].id == 0)
				fits &= is_empty(t, is->id);
			if (fits && f->id && find_id(t, f->id) && find_id(t, f->id)->isdir)
				fits &= !is_inside(t, f->dir, f->id);
		}
		for (unsigned k = 0; fits && k < h->op[i].n; k++) {
			const struct effect *f = &h->op[i].effect[k];
			struct entry *e = find_id(&h->state[i + 1], f->id);

			set(t, f->dir, f->name, f->id, e && e->isdir);
		}
	}
}

static void lay_out(struct history *h, struct bench *b, int m, struct tree *t, uint64_t dir,
		    const char *path)
{
	for (unsigned i = 0; i < t->n; i++) {
		const struct entry *e = &t->e[i];
		char below[256];

		if (e->dir != dir)
			continue;
		snprintf(below, sizeof(below), "%.200s%s%s", path, *path ? "/" : "", e->name);
		if (e->isdir) {
			make_dir(b, m, below, e->id, gen_of(h, e->id), true);
			lay_out(h, b, m, t, e->id, below);
			continue;
		}
		char aside[64], by_id[96];

		/* links of one inode, whatever comes first */
		snprintf(aside, sizeof(aside), "%llu", (unsigned long long)e->id);
		snprintf(by_id, sizeof(by_id), DOT_DIR "/%s", aside);
		if (!exists(b->v->m[m].rootfd, by_id))
			make_file(b, m, by_id, e->id);
		assert_int_equal(linkat(b->v->m[m].rootfd, by_id, b->v->m[m].rootfd, below, 0), 0);
	}
}

static void drop_aside(struct bench *b, int m)
{
	for (unsigned id = 20; id < IDS; id++) {
		char by_id[96];

		snprintf(by_id, sizeof(by_id), DOT_DIR "/%u", id);
		if (exists(b->v->m[m].rootfd, by_id))
			assert_int_equal(unlinkat(b->v->m[m].rootfd, by_id, 0), 0);
	}
}

static void read_one(struct dump *d, uint64_t dir, const char *path, const char *name,
		     uint64_t id, bool isdir)
{
	struct tree *t = d->arg;

	(void)path;
	assert_true(id != 0 && strlen(name) == 1);
	set(t, dir, name, id, isdir);
}

static void read_tree(struct bench *b, int m, struct tree *t)
{
	struct dump d = { .b = b, .m = m, .fn = read_one, .arg = t };

	t->n = 0;
	walk_names(&d, b->v->m[m].rootfd, ROOT_ID, "");
}

/* ---- what must hold ---- */

struct outcome {
	struct history *h;
	struct bench *b;
	struct tree before[3], after[3], all;
	char what[160];
	unsigned cuts;
};

#define must(o, cond, ...) do { \
	if (!(cond)) { \
		char why_[200]; \
		snprintf(why_, sizeof(why_), __VA_ARGS__); \
		fail_msg("%s: %s", (o)->what, why_); \
	} \
} while (0)

static void check_one_object_a_name(struct outcome *o)
{
	o->all.n = 0;
	for (unsigned m = 0; m < o->b->v->n; m++)
		for (unsigned i = 0; i < o->after[m].n; i++) {
			struct entry *e = &o->after[m].e[i], *x = find(&o->all, e->dir, e->name);

			must(o, !x || x->id == e->id, "%llu/%s leads to %llu and %llu",
			     (unsigned long long)e->dir, e->name, (unsigned long long)e->id,
			     x ? (unsigned long long)x->id : 0);
			set(&o->all, e->dir, e->name, e->id, e->isdir);
		}
}

/* All places of the object in `all` are among those it has in s. */
static bool fits_in(struct outcome *o, uint64_t id, struct tree *s)
{
	for (unsigned i = 0; i < o->all.n; i++) {
		struct entry *e = &o->all.e[i], *x;

		if (e->id != id)
			continue;
		x = find(s, e->dir, e->name);
		if (!x || x->id != id)
			return false;
	}
	return true;
}

static void check_places(struct outcome *o)
{
	for (unsigned i = 0; i < o->all.n; i++) {
		struct entry *e = &o->all.e[i];
		unsigned places = 0;
		bool fits = false;

		for (unsigned k = 0; k < o->all.n; k++)
			places += o->all.e[k].id == e->id;
		must(o, !e->isdir || places == 1, "directory %llu has %u places",
		     (unsigned long long)e->id, places);
		for (unsigned s = o->h->fsynced; s <= o->h->n_ops && !fits; s++)
			fits = fits_in(o, e->id, &o->h->state[s]);
		for (unsigned m = 0; m < o->b->v->n && !fits; m++)
			fits = o->h->loose && fits_in(o, e->id, &o->before[m]);
		must(o, fits, "%llu never had these places at one time", (unsigned long long)e->id);
	}
}

static bool in_all_states(struct outcome *o, uint64_t id)
{
	for (unsigned s = o->h->fsynced; s <= o->h->n_ops; s++)
		if (!find_id(&o->h->state[s], id))
			return false;
	return true;
}

/* A durable word says of a place it had that something else stands there. */
static bool said_gone(struct outcome *o, uint64_t id)
{
	for (unsigned m = 0; m < o->b->v->n; m++)
		for (unsigned i = 0; i < o->before[m].n; i++) {
			const struct entry *e = &o->before[m].e[i];
			const struct recovery_name *w = recovery_name(&o->b->r, e->dir, e->name);

			if (e->id == id && w && w->id != id)
				return true;
		}
	return false;
}

static void note_id(struct dump *d, uint64_t dir, const char *path, const char *name,
		    uint64_t id, bool isdir)
{
	bool *ids = d->arg;

	(void)dir;
	(void)path;
	(void)name;
	(void)isdir;
	assert_true(id < IDS);
	ids[id] = true;
}

static void check_lost(struct outcome *o)
{
	bool kept[IDS] = { false };

	for (unsigned m = 0; m < o->b->v->n; m++) {
		struct dump d = { .b = o->b, .m = (int)m, .fn = note_id, .arg = kept };

		walk_names(&d, o->b->v->m[m].quarantine.dirfd, 0, "");
	}
	for (uint64_t id = 20; id < o->h->next_id; id++) {
		bool had = false;

		for (unsigned m = 0; m < o->b->v->n; m++)
			had |= find_id(&o->before[m], id) != NULL;
		if (!had || find_id(&o->all, id))
			continue;
		must(o, o->h->loose || !in_all_states(o, id), "%llu is lost",
		     (unsigned long long)id);
		must(o, kept[id] || said_gone(o, id), "%llu is gone without a word",
		     (unsigned long long)id);
	}
}

/* Linked in a directory that nothing says is dirty: not looked at, so a new
 * link cannot be made from there. */
static bool linked_elsewhere(struct outcome *o, uint64_t id)
{
	uint64_t at;

	for (unsigned i = 0; i < o->all.n; i++)
		if (o->all.e[i].id == id && o->all.e[i].dir < o->h->first_new &&
		    !map_get(&o->b->r.dirs, o->all.e[i].dir, &at))
			return true;
	return false;
}

/* A mirror that has an object has it in all its places. */
static void check_alike(struct outcome *o)
{
	for (unsigned m = 0; m < o->b->v->n; m++) {
		for (unsigned i = 0; i < o->all.n; i++) {
			struct entry *e = &o->all.e[i];

			must(o, !find_id(&o->after[m], e->id) ||
			     find(&o->after[m], e->dir, e->name) ||
			     linked_elsewhere(o, e->id),
			     "mirror %u has %llu, but not at %llu/%s", m,
			     (unsigned long long)e->id, (unsigned long long)e->dir, e->name);
		}
		must(o, left_in_tmp(o->b, (int)m) == 0, "mirror %u has something left in tmp", m);
	}
}

/* What was there before and not said to be gone was moved, not removed: the
 * mirror that had it has it still. A run that was cut may have decided otherwise. */
static void check_copies(struct outcome *o)
{
	if (o->cuts)
		return;
	for (unsigned m = 0; m < o->b->v->n; m++)
		for (unsigned i = 0; i < o->before[m].n; i++) {
			uint64_t id = o->before[m].e[i].id;

			must(o, !find_id(&o->all, id) || find_id(&o->after[m], id),
			     "mirror %u has no copy of %llu any more", m, (unsigned long long)id);
		}
}

static bool same_tree(struct tree *a, struct tree *b)
{
	for (unsigned i = 0; i < a->n; i++) {
		struct entry *x = find(b, a->e[i].dir, a->e[i].name);

		if (!x || x->id != a->e[i].id)
			return false;
	}
	return a->n == b->n;
}

static void check_again(struct outcome *o)
{
	assert_int_equal(recovery_names(o->b->v), 0);
	for (unsigned m = 0; m < o->b->v->n; m++) {
		struct tree t;

		read_tree(o->b, (int)m, &t);
		must(o, same_tree(&t, &o->after[m]),
		     "mirror %u is another one after a second run", m);
	}
}

static void check_outcome(struct outcome *o)
{
	for (unsigned m = 0; m < o->b->v->n; m++)
		read_tree(o->b, (int)m, &o->after[m]);
	check_one_object_a_name(o);
	check_places(o);
	check_lost(o);
	check_alike(o);
	check_copies(o);
	check_again(o);
}

/* ---- one case ---- */

/* For a replay of a single case (MIRRORFS_TEST_CASES=1). */
static void tell(struct outcome *o)
{
	if (!getenv("MIRRORFS_TEST_TELL"))
		return;
	print_message("%s; new from %llu\n", o->what, (unsigned long long)o->h->first_new);
	for (unsigned i = 0; i < o->h->n_ops; i++) {
		print_message("op %u%s%s:", i, i < o->h->fsynced ? " fsynced" : "",
			      o->h->durable[i] ? " durable" : "");
		for (unsigned k = 0; k < o->h->op[i].n; k++)
			print_message(" %llu/%s=%llu",
				      (unsigned long long)o->h->op[i].effect[k].dir,
				      o->h->op[i].effect[k].name,
				      (unsigned long long)o->h->op[i].effect[k].id);
		print_message("\n");
	}
	for (unsigned m = 0; m < o->b->v->n; m++) {
		char *text = dump(o->b, (int)m);

		print_message("m%u: %s\n", m, text);
		free(text);
	}
}

/* A run that ends after some calls. */
static void run_cut(struct bench *b, int after)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		calls_left = after;
		_exit(recovery_names(b->v) == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 1);
	for (unsigned m = 0; m < b->v->n; m++) {
		quarantine_close(&b->v->m[m].quarantine);
		assert_int_equal(quarantine_open(&b->v->m[m].quarantine, b->v->m[m].dotfd,
						 1u << 30), 0);
	}
}

static void one_case(uint64_t seed, int n, bool loose, unsigned cuts)
{
	struct history *h = calloc(1, sizeof(*h));
	struct outcome *o = calloc(1, sizeof(*o));

	assert_true(h && o);
	make_history(h, seed, loose);
	o->h = h;
	o->cuts = cuts;
	o->b = bench_new(n);
	snprintf(o->what, sizeof(o->what), "seed %llu, %d mirrors%s, %u cuts",
		 (unsigned long long)seed, n, loose ? ", loose" : "", cuts);
	for (int m = 0; m < n; m++) {
		if (loose)
			loose_state(h, &o->before[m]);
		else
			o->before[m] = h->state[h->fsynced + pick(h, h->n_ops - h->fsynced + 1)];
		lay_out(h, o->b, m, &o->before[m], ROOT_ID, "");
		drop_aside(o->b, m);
	}
	say_all(h, o->b);
	tell(o);
	for (unsigned i = 0; i < cuts; i++)
		run_cut(o->b, (int)pick(h, 8));
	tell(o);
	assert_int_equal(recovery_names(o->b->v), 0);
	tell(o);
	check_outcome(o);
	bench_free(o->b);
	free(h);
	free(o);
}

static unsigned n_cases(void)
{
	const char *text = getenv("MIRRORFS_TEST_CASES");

	return text ? (unsigned)strtoul(text, NULL, 0) : 150;
}

static void run_cases(bool loose, unsigned max_cuts)
{
	uint64_t seed = seed_of_run();

	for (unsigned i = 0; i < n_cases(); i++)
		one_case(seed + i, 2 + (int)((seed + i) % 2), loose,
			 max_cuts ? 1 + (unsigned)((seed + i) / 2 % max_cuts) : 0);
}

static void test_prefixes(void **state)
{
	(void)state;
	run_cases(false, 0);
}

static void test_prefixes_cut(void **state)
{
	(void)state;
	run_cases(false, 3);
}

static void test_loose(void **state)
{
	(void)state;
	run_cases(true, 0);
}

static void test_loose_cut(void **state)
{
	(void)state;
	run_cases(true, 3);
}

/* Each found a fault once. */
static void test_known(void **state)
{
	static const struct { uint64_t seed; bool loose; unsigned cuts; } known[] = {
		{ 67, false, 0 }, { 131, false, 0 }, { 131, false, 3 }, { 235, false, 0 },
		{ 538, false, 0 }, { 103142, false, 0 }, { 7779797, false, 0 },
		{ 100666, false, 3 }, { 101517, false, 2 }, { 5001091, false, 1 },
		{ 183, true, 0 }, { 220, true, 0 }, { 325, true, 0 }, { 102254, true, 0 },
		{ 77, true, 3 }, { 667, true, 1 }, { 100682, true, 2 }, { 5005880, true, 2 },
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMS(known); i++)
		one_case(known[i].seed, 2 + (int)(known[i].seed % 2), known[i].loose,
			 known[i].cuts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_prefixes_cut),
		cmocka_unit_test(test_loose),
		cmocka_unit_test(test_loose_cut),
	};

	cmocka_set_test_filter(getenv("MIRRORFS_TEST_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
