/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Content after an unclean end. First every combination of what two copies of
 * a leaf may be, for each kind of change and each loss of journal records,
 * against a model of the table in docs/durability.md; then what the table does
 * not have. A change is a script; the engine carries it out in a process that
 * ends without closing, the model on its own bytes. What the copies hold then
 * is put there by hand.
 */
#include "replica/recover.h"

#include "tests/unit/recover.h"

#define L LEAF_SIZE
#define MAX_BYTES (26 * L)
#define MAX_STEPS 4
#define END (1u << 30) /* offsets from here on count from the end at rest */

/* ---- scripts ---- */

enum what { STOP, WRITE, CUT, GROW, PUNCH, SYNC };

struct step {
	enum what what;
	uint64_t off, len; /* CUT, GROW: off is the size */
};

static const struct script {
	const char *name;
	uint64_t target;   /* in the leaf of which the copies are varied */
	bool isnew;        /* never sealed */
	struct step step[MAX_STEPS];
} scripts[] = {
	{ "in place", 2 * L, false, { { WRITE, 2 * L, L } } },
	{ "in place, part", 2 * L, false, { { WRITE, 2 * L + 100, 300 } } },
	{ "in place, synced", 2 * L, false, { { WRITE, 2 * L, L }, { SYNC, 0, 0 } } },
	{ "twice", 2 * L, false, { { WRITE, 2 * L, L }, { WRITE, 2 * L, L } } },
	{ "twice, synced between", 2 * L, false,
	  { { WRITE, 2 * L, L }, { SYNC, 0, 0 }, { WRITE, 2 * L, L } } },
	{ "twice, synced", 2 * L, false,
	  { { WRITE, 2 * L, L }, { WRITE, 2 * L, L }, { SYNC, 0, 0 } } },
	{ "append, last leaf", END, false, { { WRITE, END, 5000 } } },
	{ "append, behind it", END + L, false, { { WRITE, END, 5000 } } },
	{ "append twice, synced between", END + L, false,
	  { { WRITE, END, 3000 }, { SYNC, 0, 0 }, { WRITE, END + 3000, 3000 } } },
	{ "grow", END + L, false, { { GROW, END + 3 * L, 0 } } },
	{ "append behind a gap", END + L, false, { { WRITE, END + 2 * L, 100 } } },
	{ "punch", 2 * L, false, { { PUNCH, 2 * L, L } } },
	{ "punch, edges", 2 * L, false, { { PUNCH, L + 100, 2 * L } } },
	{ "cut", 2 * L, false, { { CUT, 2 * L + 100, 0 } } },
	{ "cut and written again", 2 * L, false, { { CUT, L + 100, 0 }, { WRITE, L + 100, 2 * L } } },
	{ "cut to nothing, written again", 2 * L, false, { { CUT, 0, 0 }, { WRITE, 0, 4 * L + 9 } } },
	{ "new", 2 * L, true, { { WRITE, 0, 4 * L + 9 } } },
	{ "new, synced, in place", 2 * L, true,
	  { { WRITE, 0, 4 * L + 9 }, { SYNC, 0, 0 }, { WRITE, 2 * L, L } } },
};

/* Content after a step, and what the step noted: leaves from `first` on. */
struct text {
	uint8_t bytes[MAX_BYTES];   /* zeros behind the size */
	uint64_t size, first, n;
};

/* A script's versions, [0] at rest; the same for every file. */
struct story {
	const struct script *s;
	struct text v[MAX_STEPS + 1];
	struct text stale;       /* at rest once, before */
	unsigned n, floor;          /* versions; newest one that a sync covered */
	bool cut, region;           /* the record says CUT; leaves at rest overwritten */
};

static uint64_t place(uint64_t rest, uint64_t off)
{
	return off >= END ? rest + (off - END) : off;
}

static uint64_t up(uint64_t size)
{
	return (size + L - 1) / L;
}

static void write_bytes(const struct step *t, uint64_t off, unsigned k, uint8_t *out)
{
	fill_pattern(out, t->len, off * 8 + k);
}

static void apply(struct story *y, const struct step *t, unsigned k)
{
	const struct text *old = &y->v[y->n - 1];
	struct text *v = &y->v[y->n++];
	uint64_t off = place(y->v[0].size, t->off), end = off + t->len;

	*v = *old;
	if (t->what == CUT || t->what == GROW)
		end = off;
	v->first = off / L;
	if (off > old->size && up(old->size) < v->first) /* the gap is noted, too */
		v->first = up(old->size);
	v->n = up(end) - v->first;
	if (t->what == WRITE)
		write_bytes(t, off, k, v->bytes + off);
	if (t->what == PUNCH)
		memset(v->bytes + off, 0, t->len);
	if (t->what == CUT)
		memset(v->bytes + off, 0, MAX_BYTES - off);
	if (t->what == CUT)
		v->n = UINT64_MAX;
	if (t->what == CUT || end > v->size)
		v->size = end;
	y->cut |= t->what == CUT && !y->s->isnew;
	y->region |= !y->s->isnew && t->what != CUT && t->what != GROW && off < y->v[0].size;
}

static void tell(struct story *y, const struct script *s, bool large)
{
	memset(y, 0, sizeof(*y));
	y->s = s;
	y->n = 1;
	if (!s->isnew) {
		y->v[0].size = y->stale.size = (large ? 20 : 5) * (uint64_t)L - 1000;
		fill_pattern(y->v[0].bytes, y->v[0].size, 1001);
		fill_pattern(y->stale.bytes, y->stale.size, 1002);
	}
	for (unsigned k = 0; k < MAX_STEPS && s->step[k].what; k++) {
		if (s->step[k].what == SYNC)
			y->floor = y->n - 1;
		else
			apply(y, &s->step[k], k);
	}
}

/* ---- copies ---- */

enum state { OLD, NEW, MIDDLE, STALE, GARBAGE, SHORT, HOLE, STATES };

struct copy {
	uint8_t bytes[MAX_BYTES];
	uint64_t size;
};

static void make_copy(const struct story *y, enum state st, struct copy *c)
{
	const struct text *last = &y->v[y->n - 1], *from = last;
	uint64_t at = place(y->v[0].size, y->s->target) / L * L;

	if (st == OLD || st == HOLE)
		from = &y->v[0];
	if (st == MIDDLE)
		from = &y->v[y->n / 2];
	if (st == STALE)
		from = &y->stale;
	memcpy(c->bytes, from->bytes, MAX_BYTES);
	c->size = st == HOLE ? last->size : from->size;
	if (st == GARBAGE)
		fill_pattern(c->bytes + at, at + L > c->size ? c->size - at : L, 77);
	if (st == SHORT && at + 50 < c->size)
		c->size = at + 50;
	memset(c->bytes + c->size, 0, MAX_BYTES - c->size);
}

/* ---- the journals ---- */

enum loss { NOTHING, NEW_ON_ONE, NEW_ON_BOTH, JOURNAL_ON_ONE, JOURNAL_ON_BOTH, COMMIT_ON_BOTH };

static void lose(struct bed *b, enum loss l)
{
	if (l == NEW_ON_ONE || l == NEW_ON_BOTH)
		for (int m = 0; m <= (l == NEW_ON_BOTH); m++)
			assert_true(ring_destroy(b, m, JOURNAL_NEW, 0) > 0);
	if (l == COMMIT_ON_BOTH)
		for (int m = 0; m < 2; m++)
			ring_destroy(b, m, JOURNAL_COMMIT, 0);
	if (l == JOURNAL_ON_ONE || l == JOURNAL_ON_BOTH)
		for (int m = 0; m <= (l == JOURNAL_ON_BOTH); m++)
			ring_lose(b, m);
}

/* ---- the model ---- */

struct model {
	const struct story *y;
	const struct copy *c[2];
	bool large, ro;
	bool notes, opens, commits; /* what the journals still have */
	int preferred;
	uint64_t size;              /* chosen */
	bool base;                  /* hashes at rest are known */
	uint8_t bytes[MAX_BYTES];   /* what is to be read */
	bool lost[MAX_BYTES / L];
	unsigned unverified, adopted, n_lost;
};

static bool on_any(const struct model *d, uint64_t size)
{
	return d->c[0]->size == size || d->c[1]->size == size;
}

static uint64_t model_size(const struct model *d)
{
	const struct story *y = d->y;
	bool rest = !y->s->isnew;

	for (unsigned k = y->n - 1; d->notes && k > 0; k--) {
		if (on_any(d, y->v[k].size))
			return y->v[k].size;
		if (d->commits && k <= y->floor) {
			rest = false;
			break;
		}
	}
	if (rest && on_any(d, y->v[0].size))
		return y->v[0].size;
	return d->c[0]->size > d->c[1]->size ? d->c[0]->size : d->c[1]->size;
}

/* Whether anything of the file may be newer than its hashes, from which leaf. */
static uint64_t open_from(const struct model *d)
{
	const struct story *y = d->y;
	uint64_t rest = y->v[0].size;

	if (y->s->isnew || y->cut || y->region || !d->opens) /* without journals all is */
		return 0;
	if (d->notes || d->c[0]->size != rest || d->c[1]->size != rest)
		return rest / L;
	return UINT64_MAX;
}

static bool as_at_rest(const struct model *d, int m)
{
	return d->c[m]->size >= d->y->v[0].size &&
	       memcmp(d->c[m]->bytes, d->y->v[0].bytes, d->y->v[0].size) == 0;
}

static bool same_leaf(const uint8_t *bytes, const struct text *v, uint64_t leaf)
{
	return memcmp(bytes, v->bytes + leaf * L, L) == 0;
}

/* Which version some bytes are, 1 at rest; 0 none; -1: left behind by a sync. */
static int age_of(const struct model *d, uint64_t leaf, const uint8_t *bytes, bool open)
{
	const struct story *y = d->y;
	unsigned age = 0, oldest = 0;

	for (unsigned k = 1; open && d->notes && k < y->n; k++) {
		if (leaf < y->v[k].first || leaf - y->v[k].first >= y->v[k].n)
			continue;
		if (d->commits && k <= y->floor)
			oldest = k + 1;
		if (same_leaf(bytes, &y->v[k], leaf))
			age = k + 1;
	}
	if (!age && d->base && leaf < up(y->v[0].size) && same_leaf(bytes, &y->v[0], leaf))
		age = 1;
	return age && age < oldest ? -1 : (int)age;
}

static void model_leaf(struct model *d, uint64_t leaf, bool open)
{
	uint64_t at = leaf * L, want = d->size - at < L ? d->size - at : L;
	uint8_t x[2][L] = { { 0 } };
	bool read[2], undone[2] = { false }, alike;
	int age[2] = { 0 }, take = -1;

	for (int m = 0; m < 2; m++) {
		read[m] = d->c[m]->size >= at + want;
		memcpy(x[m], d->c[m]->bytes + at, want);
		age[m] = read[m] ? age_of(d, leaf, x[m], open) : 0;
		undone[m] = age[m] < 0;
	}
	alike = !read[0] || !read[1] || memcmp(x[0], x[1], L) == 0;
	for (int m = 0; m < 2; m++)
		if (age[m] > 0 && (take < 0 || age[m] > age[take]))
			take = m;
	for (int m = 0; m < 2; m++)
		if (undone[m] && !alike)
			read[m] = false; /* lost on this one */
	if (take < 0 && open && (read[0] || read[1])) {
		take = read[d->preferred] ? d->preferred : !d->preferred;
		if (alike && read[0] && read[1])
			d->adopted++;
		else
			d->unverified++;
	}
	d->lost[leaf] = take < 0;
	d->n_lost += take < 0;
	if (take >= 0)
		memcpy(d->bytes + at, x[take], want);
}

static void model_run(struct model *d, enum loss l)
{
	uint64_t from;

	d->notes = l != NEW_ON_BOTH && l != JOURNAL_ON_BOTH;
	d->opens = l != JOURNAL_ON_BOTH;
	d->commits = l != COMMIT_ON_BOTH && l != JOURNAL_ON_BOTH;
	d->size = model_size(d);
	from = open_from(d);
	/* a file cut to nothing was not read before: its hashes were not noted */
	d->base = !d->y->s->isnew &&
		  (d->large || (d->opens && !(d->y->cut && !d->y->v[1].size)) ||
		   as_at_rest(d, 0) || as_at_rest(d, 1));
	if (!d->base && from < up(d->size)) /* nothing else can be told then */
		from = 0;
	for (uint64_t i = 0; i < up(d->size); i++)
		model_leaf(d, i, i >= from);
}

/* ---- one script, one loss: all pairs of states ---- */

#define CASES (STATES * STATES * 2)

static struct story story[2]; /* small, large */
static struct copy copies[2][STATES];

static void name_of(unsigned i, char out[16])
{
	snprintf(out, 16, "f%u", i);
}

static int run_script(struct bed *b, const char *name, const struct story *y)
{
	uint8_t data[MAX_BYTES];
	struct file *f;
	int r = bed_file(b, name, &f);

	for (unsigned k = 0; r == 0 && k < MAX_STEPS && y->s->step[k].what; k++) {
		const struct step *t = &y->s->step[k];
		uint64_t off = place(y->v[0].size, t->off);

		if (t->what == SYNC) {
			r = file_sync(b->v, f, false);
		} else if (t->what == WRITE) {
			write_bytes(t, off, k, data);
			r = bed_pwrite(b, f, off, data, t->len);
		} else if (t->what == PUNCH) {
			r = file_allocate(b->v, f, &b->space,
					  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, t->len);
		} else {
			r = file_truncate(b->v, f, &b->space, off);
		}
	}
	file_put(b->v, f);
	return r;
}

static int run_all(struct bed *b)
{
	char name[16];

	for (unsigned i = 0; i < CASES; i++) {
		name_of(i, name);
		if (run_script(b, name, &story[i % 2]) < 0)
			return -1;
	}
	return 0;
}

static void put_rest(struct bed *b, const struct text *v, unsigned i)
{
	char name[16];

	name_of(i, name);
	assert_int_equal(bed_write(b, name, v->bytes, v->size), 0);
}

static void case_model(struct bed *b, unsigned i, enum loss l, bool ro, struct model *d)
{
	char name[16];

	name_of(i, name);
	*d = (struct model){ .y = &story[i % 2], .large = i % 2, .ro = ro,
			     .c = { &copies[i % 2][i / 2 / STATES], &copies[i % 2][i / 2 % STATES] },
			     .preferred = volume_preferred(b->v, bed_record(b, 0, name).id) };
	model_run(d, l);
}

static void explain(const struct model *d, unsigned i, enum loss l, uint64_t leaf)
{
	print_message("script '%s', %s, states %u and %u, loss %d%s, leaf %llu of %llu bytes: "
		      "lost %d, unverified %u, adopted %u\n", d->y->s->name,
		      d->large ? "large" : "small", i / 2 / STATES, i / 2 % STATES, (int)l,
		      d->ro ? ", read-only" : "", (unsigned long long)leaf,
		      (unsigned long long)d->size, d->lost[leaf], d->unverified, d->adopted);
}

/* Leaf by leaf: what is lost is an error there, and only there. */
static void check_case(struct bed *b, unsigned i, enum loss l, const struct model *d)
{
	uint32_t node;
	struct file *f;
	struct stat st;
	char name[16];

	name_of(i, name);
	node = bed_node(b, name, NULL);
	assert_true(node);
	f = file_get(b->v, node);
	for (uint64_t leaf = 0; leaf < up(d->size); leaf++) {
		uint64_t want = d->size - leaf * L < L ? d->size - leaf * L : L;
		uint8_t got[L];
		ssize_t n = bed_pread(b, f, leaf * L, got, want);
		bool good = d->lost[leaf] ? n == -EIO : n == (ssize_t)want &&
			    memcmp(got, d->bytes + leaf * L, want) == 0;

		if (!good)
			explain(d, i, l, leaf);
		assert_true(good);
	}
	assert_int_equal(op_getattr(b->v, node, &st), 0);
	if ((uint64_t)st.st_size != d->size)
		explain(d, i, l, 0);
	assert_int_equal(st.st_size, d->size);
	file_put(b->v, f);
	tree_unref(b->v, node);
}

static void check_copies(struct bed *b, unsigned i, enum loss l, const struct model *d)
{
	uint8_t flags = d->unverified ? RECORD_UNVERIFIED : 0;
	char name[16];

	name_of(i, name);
	for (int m = 0; m < 2 && !d->n_lost; m++) {
		if (!bed_raw_is(b, m, name, d->bytes, d->size) ||
		    bed_record(b, m, name).flags != flags) {
			explain(d, i, l, 0);
			fail_msg("copy %d, flags %d", m, bed_record(b, m, name).flags);
		}
	}
}

static uint64_t print_of(struct bed *b)
{
	uint64_t sum = 0;
	char name[16];

	for (unsigned i = 0; i <= CASES; i++)
		for (int m = 0; m < 2; m++) {
			char *text = NULL;
			size_t n = 0;

			name_of(i, name);
			bed_raw(b, m, i < CASES ? name : JOURNAL_PATH, &text, &n);
			sum += hash_bytes(text, n, i * 2 + (unsigned)m);
			if (i < CASES) {
				struct record r = bed_record(b, m, name);
				uint8_t raw[RECORD_SIZE];

				record_encode(&r, raw);
				sum += hash_bytes(raw, sizeof(raw), i);
			}
			free(text);
		}
	return sum;
}

/* Everything read and compared; the models must be those of the copies. */
static void check_all(struct bed *b, struct model *d, enum loss l)
{
	for (unsigned i = 0; i < CASES; i++)
		check_case(b, i, l, &d[i]);
}

static void model_all(struct bed *b, struct model *d, enum loss l, bool ro)
{
	for (unsigned i = 0; i < CASES; i++)
		case_model(b, i, l, ro, &d[i]);
}

static void look_read_only(struct bed *b, struct model *d, enum loss l)
{
	uint64_t before = print_of(b);

	b->opt.read_only = true;
	bed_open(b);
	model_all(b, d, l, true);
	check_all(b, d, l);
	bed_close(b);
	b->opt.read_only = false;
	assert_true(print_of(b) == before);
}

/* A third of the files is settled, then the power fails again. */
static int settle_some(struct bed *b)
{
	uint8_t data[MAX_BYTES];
	char name[16];

	for (unsigned i = 0; i < CASES; i += 3) {
		name_of(i, name);
		bed_read(b, name, data, sizeof(data));
	}
	return 0;
}

static void count_all(struct bed *b, const struct model *d)
{
	uint64_t unverified = 0, adopted = 0;

	for (unsigned i = 0; i < CASES; i++) {
		unverified += d[i].unverified;
		adopted += d[i].adopted;
	}
	assert_int_equal(bed_counter(b, CNT_UNVERIFIED), unverified);
	assert_int_equal(bed_counter(b, CNT_ADOPTED), adopted);
}

static void recover_and_look(struct bed *b, struct model *d, enum loss l, bool twice)
{
	if (twice)
		bed_crash(b, 3, settle_some);

	bed_open(b);
	model_all(b, d, l, false);
	check_all(b, d, l);
	if (!twice)
		count_all(b, d);
	assert_int_equal(recovery_settle(b->v), 0);
	assert_false(recovery_pending(b->v));
	if (l == NEW_ON_BOTH || l == JOURNAL_ON_BOTH) { /* what nothing told of is rot */
		assert_int_equal(scrub_run(b->v, &(struct scrub_options){ 0 },
					   &(struct scrub_stats){ 0 }), 0);
		bed_seal(b);
	}
	for (unsigned i = 0; i < CASES; i++)
		check_copies(b, i, l, &d[i]);
	bed_reopen(b);
	assert_false(recovery_pending(b->v));
	for (unsigned i = 0; i < CASES; i++) /* small ones are known as a whole */
		for (uint64_t k = 0; !d[i].large && d[i].n_lost && k < up(d[i].size); k++)
			d[i].lost[k] = true;
	check_all(b, d, l);
}

static void script_and_loss(const struct script *s, enum loss l, bool twice)
{
	struct bed *b = bed_new(2);
	struct model *d = calloc(CASES, sizeof(*d));
	char name[16];

	assert_non_null(b);
	bed_small_rings(b);
	for (int k = 0; k < 2; k++) {
		tell(&story[k], s, k);
		for (int st = 0; st < STATES; st++)
			make_copy(&story[k], (enum state)st, &copies[k][st]);
	}
	for (int k = 0; k < 2 && !s->isnew; k++) {
		for (unsigned i = 0; i < CASES; i++)
			put_rest(b, k ? &story[i % 2].v[0] : &story[i % 2].stale, i);
		bed_seal(b);
	}
	bed_crash(b, 3, run_all);
	for (unsigned i = 0; i < CASES; i++)
		for (int m = 0; m < 2; m++) {
			const struct copy *c = &copies[i % 2][m ? i / 2 % STATES : i / 2 / STATES];

			name_of(i, name);
			raw_put(b, m, name, c->bytes, c->size);
		}
	lose(b, l);
	if (l == NOTHING || l == JOURNAL_ON_BOTH)
		look_read_only(b, d, l);
	recover_and_look(b, d, l, twice);
	free(d);
	bed_free(b);
}

static bool has_sync(const struct script *s)
{
	return s->step[1].what == SYNC || s->step[2].what == SYNC;
}

/* What is lost on one mirror only is not lost: a few of them will do. */
static void every_combination(enum loss l)
{
	bool on_one = l == NEW_ON_ONE || l == JOURNAL_ON_ONE;

	for (size_t i = 0; i < N_ELEMS(scripts); i += on_one ? 5 : 1)
		if (l != COMMIT_ON_BOTH || has_sync(&scripts[i]))
			script_and_loss(&scripts[i], l, false);
}

static void cut_short_again(void **state)
{
	static const enum loss loss[] = { NOTHING, NEW_ON_BOTH };

	(void)state;
	for (size_t i = 0; i < N_ELEMS(scripts); i++)
		script_and_loss(&scripts[i], loss[i % 2], true);
}

#define LOSS(name, loss) static void name(void **state) { (void)state; every_combination(loss); }
LOSS(journal_intact, NOTHING)
LOSS(new_lost_on_one, NEW_ON_ONE)
LOSS(new_lost_on_both, NEW_ON_BOTH)
LOSS(journal_lost_on_one, JOURNAL_ON_ONE)
LOSS(journal_lost_on_both, JOURNAL_ON_BOTH)
LOSS(commit_lost_on_both, COMMIT_ON_BOTH)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(journal_intact),
		cmocka_unit_test(new_lost_on_one),
		cmocka_unit_test(new_lost_on_both),
		cmocka_unit_test(journal_lost_on_one),
		cmocka_unit_test(journal_lost_on_both),
		cmocka_unit_test(commit_lost_on_both),
		cmocka_unit_test(cut_short_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
