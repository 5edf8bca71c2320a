/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger at random, beside a model that renames at once, counts at once and
 * keeps every mark apart. Without a crash both say the same, word for word. A crash is
 * an open from copies of the logs: as the last flush left them, or, with what it wrote torn
 * at any byte, or with one mirror's log spoilt. Then what was flushed and was not done
 * has to be there; more may be.
 */
#include "replica/remote/ledger.h"

#include "tests/unit/ledger_model.h"
#include "tests/unit/volume.h"

#define ID "0123456789abcdef"
#define PLACE DOT_DIR "/remote/" ID "/ledger"

struct run {
	struct bed *b;
	struct ledger *l;
	struct model *w;
	uint64_t seed;
	struct mark *out;
	size_t n_out;
	struct { char *p; size_t n; } now[2], before[2]; /* the logs, as of the last two flushes */
};

static unsigned dice(struct run *r, unsigned n)
{
	return (unsigned)(next_random(&r->seed) % n);
}

static unsigned some_dir(struct run *r)
{
	unsigned i;

	do
		i = dice(r, r->w->n);
	while (!r->w->live[i]);
	return i;
}

/* ---- looking ---- */

static void part_of(const struct mark *m, struct part *p)
{
	memset(p, 0, sizeof(*p));
	p->on = true;
	p->seq = m->seq;
	p->items[0] = (uint8_t)m->flags;
	snprintf(p->path, sizeof(p->path), "%s", m->path);
	for (size_t k = 0; k < m->n_names; k++) {
		unsigned no = (unsigned)atoi(m->name[k] + 1);

		assert_true(m->name[k][0] == 'f' && no < NAMES);
		set_item(p, FLAGS + no);
	}
}

static void same_part(unsigned i, const struct part *is, const struct part *want)
{
	bool same = is->on == want->on;

	if (same && is->on) {
		same = !strcmp(is->path, want->path) && is->seq == want->seq;
		for (unsigned k = 0; k < ITEMS; k++)
			same &= covers(is, k) == covers(want, k) || (k < FLAGS && each(is) &&
				has_item(is, k) == has_item(want, k));
	}
	if (!same)
		fail_msg("directory %u: %d '%s' %02x%02x seq %llu, want %d '%s' %02x%02x seq %llu",
			 i, is->on, is->path, is->items[1], is->items[0],
			 (unsigned long long)is->seq, want->on, want->path, want->items[1],
			 want->items[0], (unsigned long long)want->seq);
}

/* What was taken is the model's pending marks, exactly. */
static void same_marks(struct run *r)
{
	const struct model *w = r->w;
	static struct part is[IDS];

	memset(is, 0, sizeof(is));
	if (w->all_pending.on) {
		assert_int_equal(r->n_out, 1);
		assert_true(r->out[0].id == ROOT_ID && r->out[0].flags == EVERYTHING);
		assert_true(r->out[0].seq == w->all_pending.seq);
		return;
	}
	for (size_t k = 0; k < r->n_out; k++)
		part_of(&r->out[k], &is[index_of(r->out[k].id)]);
	for (unsigned i = 0; i < w->n; i++)
		same_part(i, &is[i], &w->pending[i]);
}

static bool model_concerns(const struct part *p, const char *path)
{
	size_t n = strlen(path), m = strlen(p->path);
	unsigned no;

	if (n == 0 || (!strncmp(p->path, path, n) && (!p->path[n] || p->path[n] == '/')))
		return true;
	if (m && (strncmp(p->path, path, m) || path[m] != '/'))
		return false;
	if (flags_of(p) & ~MARK_ATTRS)
		return true;
	/* names of files here are f<no>, of directories n<label>: only the last part can match */
	return sscanf(path + m + (m != 0), "f%u", &no) == 1 && has_item(p, FLAGS + no);
}

static void check_reached(struct run *r)
{
	uint64_t seq = ledger_seq(r->l) - dice(r, 20);
	char path[320], dir[300];
	const char *ask = dice(r, 2) ? path : NULL;
	struct model *w = r->w;
	bool left = (w->all_pending.on && w->all_pending.seq <= seq) ||
		(w->all_taken.on && w->all_taken.seq <= seq);

	path_of(w, some_dir(r), dir);
	snprintf(path, sizeof(path), "%s", dir);
	if (dice(r, 2))
		snprintf(path, sizeof(path), "%s%sf%u", dir, *dir ? "/" : "", dice(r, NAMES));
	for (unsigned i = 0; i < w->n; i++)
		for (unsigned k = 0; k < 2; k++) {
			const struct part *p = k ? &w->taken[i] : &w->pending[i];

			left |= p->on && p->seq <= seq && (!ask || model_concerns(p, ask));
		}
	assert_int_equal(ledger_reached(r->l, seq, ask), !left);
}

/* ---- the logs ---- */

static void keep_logs(struct run *r)
{
	for (int m = 0; m < 2; m++) {
		free(r->before[m].p);
		r->before[m].p = r->now[m].p;
		r->before[m].n = r->now[m].n;
		assert_int_equal(bed_raw(r->b, m, PLACE, &r->now[m].p, &r->now[m].n), 0);
	}
}

static void flush(struct run *r)
{
	ledger_flush(r->l);
	model_flushed(r->w);
	keep_logs(r);
}

/* ---- what can happen ---- */

static void do_mark(struct run *r)
{
	unsigned i = some_dir(r), item = FLAGS + dice(r, NAMES);
	char path[300], name[16];

	snprintf(name, sizeof(name), "f%u", item - FLAGS);
	ledger_mark_entry(r->l, id_of(i), path_of(r->w, i, path), name);
	mark_item(r->w, i, item, ledger_seq(r->l));
}

static void do_flags(struct run *r)
{
	unsigned i = some_dir(r), flags = 1u << dice(r, 4);
	char path[300];

	if (flags == MARK_BELOW && dice(r, 4))
		flags = MARK_ATTRS;
	if (i == 0 && flags == MARK_BELOW && dice(r, 3))
		return;
	ledger_mark_dir(r->l, id_of(i), path_of(r->w, i, path), flags);
	if (i == 0 && flags == MARK_BELOW)
		mark_everything(r->w, ledger_seq(r->l));
	else
		mark_item(r->w, i, (unsigned)__builtin_ctz(flags), ledger_seq(r->l));
}

static void do_mkdir(struct run *r)
{
	struct model *w = r->w;
	unsigned i = w->n, parent = some_dir(r);

	if (i == IDS || depth(w, parent) > 5)
		return;
	w->n++;
	w->live[i] = true;
	w->parent[i] = parent;
	w->label[i] = ++w->labels;
}

static void do_rmdir(struct run *r)
{
	struct model *w = r->w;
	unsigned i = some_dir(r);

	if (!leaf(w, i))
		return;
	w->live[i] = false;
	w->pending[i].on = w->taken[i].on = false;
	ledger_removed(r->l, id_of(i));
}

static void do_rename(struct run *r)
{
	struct model *w = r->w;
	unsigned i = some_dir(r), to = some_dir(r);
	char a[300], b[300];

	if (i == 0 || below(w, to, i) || depth(w, to) > 5)
		return;
	path_of(w, i, a);
	w->parent[i] = to;
	/* names come again, to meet marks of what had them before */
	w->label[i] = ++w->labels;
	path_of(w, i, b);
	ledger_renamed(r->l, a, b);
	rename_all(w, a, b);
}

static void do_exchange(struct run *r)
{
	struct model *w = r->w;
	unsigned i = some_dir(r), k = some_dir(r), x;
	char a[300], b[300];

	if (below(w, i, k) || below(w, k, i))
		return;
	path_of(w, i, a);
	path_of(w, k, b);
	x = w->parent[i], w->parent[i] = w->parent[k], w->parent[k] = x;
	x = w->label[i], w->label[i] = w->label[k], w->label[k] = x;
	ledger_exchanged(r->l, a, b);
	rename_all(w, a, "\1");
	rename_all(w, b, a);
	rename_all(w, "\1", b);
}

static void do_take(struct run *r)
{
	struct model *w = r->w;

	if (r->out)
		return;
	assert_int_equal(ledger_take(r->l, &r->out, &r->n_out), 0);
	same_marks(r);
	if (!r->n_out)
		r->out = NULL;
	memcpy(w->taken, w->pending, sizeof(w->taken));
	memset(w->pending, 0, sizeof(w->pending));
	w->all_taken.on = w->all_pending.on;
	w->all_taken.level = w->all_pending.level;
	w->all_taken.seq = w->all_pending.seq;
	w->all_pending.on = false;
}

static void model_done(struct model *w, unsigned i, bool again)
{
	struct part *p = &w->taken[i];

	if (p->on && again && w->all_pending.on)
		mark_everything(w, p->seq);
	else if (p->on && again)
		unite(&w->pending[i], p);
	memset(p, 0, sizeof(*p));
}

static void do_done(struct run *r, unsigned percent)
{
	struct model *w = r->w;
	bool *again = calloc(r->n_out + 1, sizeof(bool));

	if (r->out) {
		for (size_t k = 0; k < r->n_out; k++) {
			again[k] = dice(r, 100) < percent;
			if (!w->all_taken.on)
				model_done(w, index_of(r->out[k].id), again[k]);
		}
		if (w->all_taken.on && again[0]) {
			uint8_t level = w->all_pending.on ? w->all_pending.level :
				w->all_taken.level;

			mark_everything(w, w->all_taken.seq);
			w->all_pending.level = level;
		}
		w->all_taken.on = false;
		ledger_done(r->l, r->out, r->n_out, again);
		r->out = NULL;
		flush(r);
	}
	free(again);
}

/* All of it is pending now, and both logs are of one piece. */
static void model_reopened(struct run *r)
{
	struct model *w = r->w;

	if (w->all_taken.on || w->all_pending.on) {
		if (w->all_taken.on)
			mark_everything(w, w->all_taken.seq);
		for (unsigned i = 0; i < w->n; i++)
			if (w->taken[i].on)
				mark_everything(w, w->taken[i].seq);
	}
	w->all_taken.on = false;
	for (unsigned i = 0; i < w->n; i++) {
		if (!w->all_pending.on)
			unite(&w->pending[i], &w->taken[i]);
		memset(&w->taken[i], 0, sizeof(w->taken[i]));
	}
	r->out = NULL;
	model_flushed(w);
	model_flushed(w);
	keep_logs(r);
	keep_logs(r);
}

static void do_reopen(struct run *r)
{
	ledger_close(r->l);
	assert_int_equal(ledger_open(r->b->v, ID, &r->l), 0);
	model_reopened(r);
	do_take(r);
	do_done(r, 100);
}

/* A mirror comes back with an old log, or none: it gets all of it. */
static void do_return(struct run *r)
{
	int m = (int)dice(r, 2);

	if (dice(r, 2))
		assert_int_equal(unlinkat(r->b->fd[m], PLACE, 0), 0);
	else
		put_file(r->b->fd[m], PLACE, r->before[m].p, r->before[m].n / 2);
	flush(r);
}

/* ---- crashes ---- */

/* Puts a log there as a crash may leave it. Returns up to which level marks must be in it. */
static unsigned crashed_log(struct run *r, int m, bool other_good)
{
	size_t n = r->now[m].n, old = r->before[m].n, at;
	char *p = r->now[m].p;
	unsigned kind = dice(r, other_good ? 6 : 4);

	put_file(r->b->fd[m], PLACE, p, n);
	if (kind < 2)
		return 1;
	if (kind == 4) { /* damage anywhere, or gone */
		flip_byte(r->b->fd[m], PLACE, (off_t)dice(r, (unsigned)n), 4);
		return 3;
	}
	if (kind == 5) {
		assert_int_equal(unlinkat(r->b->fd[m], PLACE, 0), 0);
		return 3;
	}
	if (n < old || memcmp(p, r->before[m].p, old)) { /* replaced: either or */
		put_file(r->b->fd[m], PLACE, r->before[m].p, old);
		return 2;
	}
	at = old + dice(r, (unsigned)(n - old + 1));
	put_file(r->b->fd[m], PLACE, p, at);
	return 2;
}

static bool must(const struct part *p, unsigned item, unsigned level)
{
	return p->on && has_item(p, item) && p->level[item] >= level;
}

static void check_superset(struct run *r, unsigned level, const struct model *w)
{
	static struct part is[IDS];
	bool all = false;

	memset(is, 0, sizeof(is));
	for (size_t k = 0; k < r->n_out; k++) {
		if (r->out[k].id == ROOT_ID && r->out[k].flags & MARK_BELOW)
			all = true;
		else
			part_of(&r->out[k], &is[index_of(r->out[k].id)]);
	}
	if (all) /* for a reason only */
		assert_true(w->all_since <= 3);
	else
		assert_false((w->all_pending.on && w->all_pending.level >= level) ||
			     (w->all_taken.on && w->all_taken.level >= level));
	for (unsigned i = 0; i < w->n && !all; i++)
		for (unsigned k = 0; k < ITEMS; k++)
			if ((must(&w->pending[i], k, level) || must(&w->taken[i], k, level)) &&
			    !covers(&is[i], k))
				fail_msg("directory %u: lost item %u", i, k);
}

/* The model goes on with what is there. */
static void adopt(struct run *r)
{
	struct model *w = r->w;

	memset(w->pending, 0, sizeof(w->pending));
	memset(w->taken, 0, sizeof(w->taken));
	w->all_pending.on = w->all_taken.on = false;
	for (size_t k = 0; k < r->n_out; k++) {
		if (r->out[k].id == ROOT_ID && r->out[k].flags & MARK_BELOW)
			mark_everything(w, r->out[k].seq);
		else
			part_of(&r->out[k], &w->pending[index_of(r->out[k].id)]);
	}
	model_flushed(w);
	model_flushed(w);
}

static void do_crash(struct run *r)
{
	unsigned first, second;
	bool *again;

	ledger_close(r->l);
	first = crashed_log(r, 0, false);
	second = crashed_log(r, 1, first == 1);
	atomic_store(&r->b->v->unclean, true);
	assert_int_equal(ledger_open(r->b->v, ID, &r->l), 0);
	atomic_store(&r->b->v->unclean, false);
	assert_int_equal(ledger_take(r->l, &r->out, &r->n_out), 0);
	check_superset(r, first < second ? first : second, r->w);
	adopt(r);
	again = malloc(r->n_out + 1);
	memset(again, 1, r->n_out + 1);
	ledger_done(r->l, r->out, r->n_out, again);
	free(again);
	r->out = NULL;
	keep_logs(r);
	keep_logs(r);
}

/* ---- the test ---- */

static void give_most_back(struct run *r)
{
	do_done(r, 50);
}

static void take_all_done(struct run *r)
{
	do_done(r, 0);
}

static const struct {
	unsigned weight;
	void (*op)(struct run *r);
} ops[] = {
	{ 30, do_mark }, { 10, do_flags }, { 8, do_mkdir }, { 4, do_rmdir }, { 10, do_rename },
	{ 6, do_exchange }, { 12, flush }, { 6, do_take }, { 3, give_most_back },
	{ 3, take_all_done }, { 10, check_reached }, { 2, do_reopen }, { 2, do_return }, { 2, do_crash },
};

static void step(struct run *r)
{
	unsigned sum = 0, x;

	for (size_t i = 0; i < N_ELEMS(ops); i++)
		sum += ops[i].weight;
	x = dice(r, sum);
	for (size_t i = 0; i < N_ELEMS(ops); i++) {
		if (x < ops[i].weight) {
			ops[i].op(r);
			return;
		}
		x -= ops[i].weight;
	}
}

static void one_round(struct run *r, unsigned steps)
{
	memset(r->w, 0, sizeof(*r->w));
	r->w->live[0] = true;
	r->w->n = 1;
	r->w->all_since = 100;
	for (int m = 0; m < 2; m++)
		assert_int_equal(io_remove_tree(r->b->fd[m], PLACE), 0);
	assert_int_equal(ledger_open(r->b->v, ID, &r->l), 0);
	keep_logs(r);
	keep_logs(r);
	for (unsigned i = 0; i < steps; i++)
		step(r);
	do_reopen(r);
	ledger_close(r->l);
}

static void random_ops(void **state)
{
	const char *more = getenv("MIRRORFS_TEST_ROUNDS");
	unsigned rounds = more ? (unsigned)atoi(more) : 40;
	struct run r = { .b = *state, .w = calloc(1, sizeof(*r.w)) };
	uint64_t seed = seed_of_run();

	for (unsigned i = 0; i < rounds; i++) {
		r.seed = seed + i;
		if (more)
			print_message("round %u: MIRRORFS_TEST_SEED=%llu\n", i, (unsigned long long)r.seed);
		one_round(&r, 300);
	}
	for (int m = 0; m < 2; m++) {
		free(r.now[m].p);
		free(r.before[m].p);
	}
	free(r.w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(random_ops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
