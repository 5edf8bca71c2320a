/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Comparing the names of one directory over all members. Names that all
 * sources have, with one type, are not looked at further here. For the rest
 * the directory's sum says which set of them is right.
 */
#include "replica/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/choice.h"
#include "replica/dirfd.h"
#include "replica/hash.h"
#include "replica/object.h"
#include "replica/tree.h"

/* Subsets of disputed names tried against the sum: 2^DISPUTED_MAX at most. */
#define DISPUTED_MAX 14

/* A name that is not the same on all sources. */
struct disputed {
	char name[NAME_MAX_LEN + 1];
	uint32_t present;      /* sources that have anything of that name */
	struct truth truth;    /* the candidate: id 0 if no copy has a record */
	bool keep;             /* decided */
};

struct names {
	struct check *c;
	struct dir *d;
	struct dir_list list[MAX_MIRRORS];
	size_t at[MAX_MIRRORS];
	uint32_t listed;       /* sources that could be listed */
	struct disputed *dis;
	size_t n_dis, cap_dis;
	uint64_t agreed;       /* names that are alike */
	int lead;              /* a source whose list is used for what is agreed */
};

static int read_lists(struct names *w)
{
	int err = -EIO;

	FOR_EACH_BIT(m, w->c->mask) {
		int r = dir_list_read(w->c->v, w->d->node, (int)m, &w->list[m]);

		if (r == 0) {
			if (w->c->sources & 1u << m)
				w->listed |= 1u << m;
		} else {
			err = r;
			w->list[m].n = 0;
		}
	}
	return w->listed ? 0 : err;
}

static void free_lists(struct names *w)
{
	FOR_EACH_BIT(m, w->c->mask)
		dir_list_free(&w->list[m]);
	free(w->dis);
}

/* The smallest name at the heads of the lists; NULL at the end. */
static const char *next_name(struct names *w)
{
	const char *least = NULL;

	FOR_EACH_BIT(m, w->listed) {
		const char *name;

		if (w->at[m] >= w->list[m].n)
			continue;
		name = dir_list_name(&w->list[m], w->at[m]);
		if (!least || strcmp(name, least) < 0)
			least = name;
	}
	return least;
}

static int dispute(struct names *w, const char *name, uint32_t present)
{
	struct disputed *x;

	if (w->n_dis == w->cap_dis) {
		size_t cap = w->cap_dis ? w->cap_dis * 2 : 16;

		x = realloc(w->dis, cap * sizeof(*x));
		if (!x)
			return -ENOMEM;
		w->dis = x;
		w->cap_dis = cap;
	}
	x = &w->dis[w->n_dis++];
	memset(x, 0, sizeof(*x));
	snprintf(x->name, sizeof(x->name), "%s", name);
	x->present = present;
	return 0;
}

/* Whether the name is known to be nobody's although all sources have it:
 * told by a missing record, looked for only when the count is off. */
static int merge(struct names *w)
{
	const char *name;

	while ((name = next_name(w))) {
		char copy[NAME_MAX_LEN + 1];
		uint32_t present = 0;
		int type = -1;
		bool alike = true;

		snprintf(copy, sizeof(copy), "%s", name);
		FOR_EACH_BIT(m, w->listed) {
			const struct dir_list *l = &w->list[m];

			if (w->at[m] >= l->n || strcmp(dir_list_name(l, w->at[m]), copy) != 0)
				continue;
			present |= 1u << m;
			if (type >= 0 && type != l->entry[w->at[m]].type)
				alike = false;
			type = l->entry[w->at[m]].type;
			w->at[m]++;
		}
		if (present == w->listed && alike)
			w->agreed++;
		else if (dispute(w, copy, present) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Id and type of a name on member m; 0 if it has no valid record. */
static uint64_t id_on(struct names *w, int m, const char *name, uint8_t *type)
{
	int fd = dirfd_get(w->c->v, w->d->node, m);
	struct at a = { .mirror = &w->c->v->m[m], .fd = fd, .name = name };
	uint64_t id = 0;
	struct record rec;
	struct stat st;

	if (fd < 0)
		return 0;
	if (at_stat(&a, &st) == 0) {
		*type = TYPE_OF(st.st_mode);
		if (record_load(&a, *type, &rec) == 0)
			id = rec.id;
	}
	dirfd_put(w->c->v, w->d->node, m, fd);
	return id;
}

/* The members that have the candidate, or only lost its record. */
static void set_have(struct names *w, struct disputed *x, const uint64_t *id, const uint8_t *type)
{
	x->truth.have = 0;
	FOR_EACH_BIT(m, w->c->mask)
		if (x->truth.id && type[m] == x->truth.type &&
		    (id[m] == x->truth.id || id[m] == 0))
			x->truth.have |= 1u << m;
}

/*
 * Objects of one type but different ids under one name: the one with which the
 * directory's sum is right, if that can be told.
 */
static void choose_by_sum(struct names *w, struct disputed *x, uint64_t agreed)
{
	uint64_t id[MAX_MIRRORS] = { 0 };
	uint8_t type[MAX_MIRRORS] = { 0 };

	if (w->n_dis != 1 || w->d->open_before)
		return;
	FOR_EACH_BIT(m, w->c->mask)
		id[m] = id_on(w, (int)m, x->name, &type[m]);
	FOR_EACH_BIT(m, x->present)
		if (id[m] && agreed + hash_entry(x->name, strlen(x->name), type[m], id[m]) ==
			     w->d->sum) {
			x->truth = (struct truth){ .id = id[m], .type = type[m] };
			set_have(w, x, id, type);
			return;
		}
}

/* Candidate for a disputed name: the (type, id) that most members have, the
 * one already known to the tree before all others. */
static void find_candidate(struct names *w, struct disputed *x)
{
	uint32_t known = tree_find(w->c->v, w->d->node, x->name);
	uint64_t id[MAX_MIRRORS] = { 0 };
	uint8_t type[MAX_MIRRORS] = { 0 };
	int best_votes = 0;

	FOR_EACH_BIT(m, w->c->mask)
		id[m] = id_on(w, (int)m, x->name, &type[m]);
	FOR_EACH_BIT(m, x->present) {
		int votes = 0;

		if (!id[m])
			continue;
		FOR_EACH_BIT(k, x->present)
			votes += id[k] == id[m] && type[k] == type[m];
		if (known && tree_node(w->c->v, known)->id == id[m])
			votes += MAX_MIRRORS;
		if (votes <= best_votes)
			continue;
		best_votes = votes;
		x->truth = (struct truth){ .id = id[m], .type = type[m] };
	}
	set_have(w, x, id, type);
	if (known)
		tree_unref(w->c->v, known);
}

static uint64_t sum_of(const struct disputed *x)
{
	return hash_entry(x->name, strlen(x->name), x->truth.type, x->truth.id);
}

/*
 * Id and type of a name that all sources have: of any that has a record (one may
 * have been cut off between the name and its record), or what the tree knows.
 */
static uint64_t id_of(struct names *w, const char *name, uint8_t *type)
{
	uint64_t id = 0;
	uint32_t n;

	FOR_EACH_BIT(m, w->listed)
		if (!id)
			id = id_on(w, (int)m, name, type);
	n = id ? 0 : tree_find(w->c->v, w->d->node, name);
	if (n) {
		id = tree_node(w->c->v, n)->id;
		tree_unref(w->c->v, n);
	}
	return id;
}

/* Sum over the names that are alike; needs the record of each. Names without
 * a record anywhere are noted as disputed (foreign on all mirrors, or new). */
static int sum_agreed(struct names *w, uint64_t *sum)
{
	size_t plain = w->n_dis;

	*sum = 0;
	for (size_t i = 0; i < w->list[w->lead].n; i++) {
		const char *name = dir_list_name(&w->list[w->lead], i);
		uint64_t id;
		uint8_t type = 0;
		bool is_disputed = false;

		for (size_t k = 0; k < plain && !is_disputed; k++)
			is_disputed = strcmp(w->dis[k].name, name) == 0;
		if (is_disputed)
			continue;
		id = id_of(w, name, &type);
		if (id)
			*sum += hash_entry(name, strlen(name), type, id);
		else if (dispute(w, name, w->listed) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Which disputed names belong, by the sum. Returns whether it was settled. */
static bool by_sum(struct names *w, uint64_t agreed)
{
	uint64_t want = w->d->sum - agreed;
	size_t n = w->n_dis < DISPUTED_MAX ? w->n_dis : DISPUTED_MAX;
	uint64_t all = 0;

	for (size_t i = 0; i < w->n_dis; i++)
		if (w->dis[i].truth.id)
			all += sum_of(&w->dis[i]);
	for (size_t i = 0; i < w->n_dis; i++)
		w->dis[i].keep = w->dis[i].truth.id != 0;
	if (all == want)
		return true;
	if (w->n_dis > DISPUTED_MAX)
		return false;
	for (uint32_t set = 0; set < 1u << n; set++) {
		uint64_t sum = 0;

		FOR_EACH_BIT(i, set)
			sum += w->dis[i].truth.id ? sum_of(&w->dis[i]) : 1;
		if (sum != want)
			continue;
		for (size_t i = 0; i < n; i++)
			w->dis[i].keep = set >> i & 1;
		return true;
	}
	return false;
}

static void decide(struct names *w, uint64_t agreed)
{
	bool open = w->d->open_before, settled = !open && by_sum(w, agreed);

	for (size_t i = 0; i < w->n_dis; i++) {
		struct disputed *x = &w->dis[i];
		struct entry_facts facts = {
			.asked = w->listed, .present = x->present, .dir_open = open,
			.has_id = x->truth.id != 0,
			.sum_with = settled && x->keep, .sum_without = settled && !x->keep,
		};

		x->keep = choice_entry(&facts) == ENTRY_KEEP ||
			  (w->c->adopt && !x->truth.id);
	}
}

/* A name without a record anywhere that is to stay gets an id of its own. */
static int give_id(struct names *w, struct disputed *x)
{
	uint32_t best = 0;
	uint8_t type = 0;

	FOR_EACH_BIT(m, w->c->mask) {
		uint8_t t = 0;

		id_on(w, (int)m, x->name, &t);
		if (!t)
			continue;
		if (!best)
			type = t;
		if (t == type)
			best |= 1u << m;
	}
	x->truth = (struct truth){ .id = volume_new_id(w->c->v), .type = type, .have = best };
	return x->truth.id && best & w->c->sources ? 0 : -EIO;
}

static int apply(struct names *w)
{
	int r = 0, e;

	for (size_t i = 0; i < w->n_dis; i++) {
		struct disputed *x = &w->dis[i];

		if (x->keep) {
			if (!x->truth.id && give_id(w, x) < 0)
				continue;
			e = settle_entry(w->c, w->d, x->name, &x->truth, NULL);
			if (e < 0)
				r = e;
			continue;
		}
		tree_drop_name(w->c->v, w->d->node, x->name);
		FOR_EACH_BIT(m, x->present)
			banish(w->c, w->d, x->name, (int)m, FIND_FOREIGN,
			       "not an entry of the volume");
	}
	return r;
}

/* A stale member: what the sources do not have goes, what it lacks comes. */
static int align_target(struct names *w, int m)
{
	struct dir_list *have = &w->list[m], *want = &w->list[w->lead];
	size_t i = 0, k = 0;
	int r = 0;

	while (i < have->n || k < want->n) {
		int order = i >= have->n ? 1 : k >= want->n ? -1 :
			strcmp(dir_list_name(have, i), dir_list_name(want, k));

		if (order < 0) {
			banish(w->c, w->d, dir_list_name(have, i++), m, FIND_STALE,
			       "gone from the volume while this mirror was out");
			continue;
		}
		if (order == 0)
			i++;
		k++;
	}
	return r;
}

/*
 * Mode, owner and xattrs of the directory itself: those of a member that has
 * seen the last change, as far as the records tell.
 */
static void level_meta(struct names *w)
{
	struct record rec[MAX_MIRRORS];
	uint32_t have = 0, recorded = 0, newest, want, got;
	struct volume *v = w->c->v;
	struct stat st[MAX_MIRRORS];
	struct at a[MAX_MIRRORS];
	struct loc l;
	int src;

	if (loc_get(v, w->d->node, w->listed, true, &l) < 0)
		return;
	FOR_EACH_BIT(m, w->listed) {
		if (loc_at(v, &l, (int)m, &a[m]) < 0 || at_stat(&a[m], &st[m]) < 0)
			continue;
		have |= 1u << m;
		if (record_load(&a[m], TYPE_OF(S_IFDIR), &rec[m]) == 0)
			recorded |= 1u << m;
	}
	newest = recorded ? choice_newest(recorded, rec) : have;
	src = newest ? check_pick(w->c, newest, w->d->id) : -1;
	if (newest && metahash(&a[src], &st[src], &want) == 0)
		FOR_EACH_BIT(m, have & ~(1u << src))
			if (metahash(&a[m], &st[m], &got) == 0 && got != want &&
			    meta_copy(&a[src], &st[src], &a[m]) == 0)
				volume_count(v, CNT_SETTLED, 1);
	loc_put(v, &l);
}

/* After an unclean end the sum is made anew from what is there. */
static int renew_sum(struct names *w)
{
	struct dir_list l;
	uint64_t sum = 0, count = 0;
	int r = dir_list_read(w->c->v, w->d->node, w->lead, &l);

	if (r < 0)
		return r;
	for (size_t i = 0; i < l.n; i++) {
		const char *name = dir_list_name(&l, i);
		uint8_t type = 0;
		uint64_t id = id_of(w, name, &type);

		if (!id)
			continue;
		sum += hash_entry(name, strlen(name), type, id);
		count++;
	}
	dir_list_free(&l);
	level_meta(w);
	w->d->sum = sum;
	w->d->count = count;
	w->d->open_before = false;
	dir_changed(w->c->v, w->d);
	return 0;
}

static void report_lost_names(struct names *w)
{
	char path[4096], found[96];

	tree_path(w->c->v, w->d->node, path, sizeof(path));
	snprintf(found, sizeof(found), "%llu names instead of %llu on every mirror",
		 (unsigned long long)w->agreed, (unsigned long long)w->d->count);
	volume_count(w->c->v, CNT_UNCORRECTED, 1);
	check_report(w->c, FIND_NAMES, path, 0, 0, -1, -1, found, "lost");
}

/* A name that all have alike is disputed all the same. */
static int suspect_name(struct names *w, const char *name)
{
	for (size_t i = 0; i < w->n_dis; i++)
		if (strcmp(w->dis[i].name, name) == 0)
			return 0;
	w->agreed--;
	return dispute(w, name, w->listed);
}

int names_locked(struct check *c, struct dir *d, const char *suspect)
{
	struct names w = { .c = c, .d = d };
	bool settling = c->settling;
	uint64_t sum = 0;
	int r = read_lists(&w);

	c->settling |= d->open_before;

	if (r == 0)
		w.lead = __builtin_ctz(w.listed);
	if (r == 0)
		r = merge(&w);
	if (r == 0 && suspect)
		r = suspect_name(&w, suspect);
	if (r == 0 && (w.n_dis || d->open_before || w.agreed != d->count))
		r = sum_agreed(&w, &sum);
	if (r < 0)
		goto out;
	for (size_t i = 0; i < w.n_dis; i++)
		find_candidate(&w, &w.dis[i]);
	if (suspect)
		choose_by_sum(&w, &w.dis[0], sum);
	decide(&w, sum);
	if (w.n_dis)
		r = apply(&w);
	else if (w.agreed != d->count && !d->open_before)
		report_lost_names(&w);
	if (d->open_before && !c->dry_run && (r == 0 || r == -EIO)) {
		int e = renew_sum(&w);

		r = e < 0 ? e : r;
	}
	FOR_EACH_BIT(m, c->mask & ~c->sources)
		align_target(&w, (int)m);
	if (w.n_dis || c->mask & ~c->sources)
		level_dir_times(c, d, c->sources);
	if (d->node == NODE_ROOT)
		check_root(c, d);
out:
	c->settling = settling;
	free_lists(&w);
	return r;
}

int check_names(struct check *c, uint32_t dir)
{
	struct dir *d = dir_get(c->v, dir);
	int r;

	if (!d)
		return -ENOMEM;
	pthread_mutex_lock(&d->lock);
	r = names_locked(c, d, NULL);
	pthread_mutex_unlock(&d->lock);
	dir_put(c->v, d);
	return r;
}
