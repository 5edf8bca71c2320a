/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The index over the journals: built once, read without locks afterwards. */
#include "replica/recovery.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/io.h"
#include "replica/base/le.h"
#include "replica/base/log.h"
#include "replica/journal.h"
#include "replica/volume.h"

/* Room for one more element of an array. NULL: no memory. */
static void *more(void *array, size_t n, size_t *cap, size_t size)
{
	size_t want = *cap ? *cap * 2 : 16;
	void *bigger;

	if (n < *cap)
		return array;
	bigger = realloc(array, want * size);
	if (bigger)
		*cap = want;
	return bigger;
}

#define PUSH(array, n, cap, ...) __extension__ ({ \
	void *bigger_ = more(array, n, &(cap), sizeof(*(array))); \
	if (bigger_) { \
		(array) = bigger_; \
		(array)[(n)++] = (__typeof__(*(array))){ __VA_ARGS__ }; \
	} \
	bigger_ ? 0 : -ENOMEM; })

/* ---- records into the index ---- */

static void file_free(struct recovery_file *f)
{
	for (size_t i = 0; i < f->n_gens; i++)
		free(f->gens[i].base);
	free(f->path);
	free(f->gens);
	free(f->region);
	free(f->cand);
	free(f->zero);
	free(f->size);
	free(f);
}

/* The file of a record, or NULL. */
static struct recovery_file *file_of(struct recovery *r, const struct journal_record *rec)
{
	struct recovery_file *f;
	uint64_t at;

	if (map_get(&r->files, rec->id, &at))
		return (struct recovery_file *)(uintptr_t)at;
	f = calloc(1, sizeof(*f));
	if (!f || map_set(&r->files, rec->id, (uintptr_t)f) < 0) {
		free(f);
		return NULL;
	}
	f->id = rec->id;
	return f;
}

/* The generation of a record, kept in order. NULL: no memory. */
static struct recovery_gen *gen_of(struct recovery_file *f, const struct journal_record *rec)
{
	size_t i = 0;

	while (i < f->n_gens && f->gens[i].gen < rec->gen)
		i++;
	if (i == f->n_gens || f->gens[i].gen != rec->gen) {
		if (PUSH(f->gens, f->n_gens, f->cap_gens, .gen = 0) < 0)
			return NULL;
		memmove(&f->gens[i + 1], &f->gens[i], (f->n_gens - 1 - i) * sizeof(*f->gens));
		f->gens[i] = (struct recovery_gen){ .gen = rec->gen, .first = rec->lsn };
	}
	if (rec->lsn < f->gens[i].first)
		f->gens[i].first = rec->lsn;
	if (rec->gen > f->gen)
		f->gen = rec->gen;
	return &f->gens[i];
}

static int put_base(struct recovery_gen *g, const struct journal_record *rec, size_t at)
{
	const uint8_t *p = rec->payload;
	size_t n = at <= rec->size ? (rec->size - at) / 8 : 0;

	if (g->base && g->base_lsn <= rec->lsn)
		return 0; /* the first one is of the content at rest */
	free(g->base);
	g->base = calloc(n + 1, sizeof(*g->base));
	if (!g->base)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		g->base[i] = get64(p + at + i * 8);
	g->n_base = n;
	g->base_lsn = rec->lsn;
	return 0;
}

static int put_open(struct recovery *r, const struct journal_record *rec)
{
	const uint8_t *p = rec->payload;
	struct recovery_file *f;
	struct recovery_gen *g;
	size_t len;

	if (rec->size < 2 || (len = get16(p)) + 2 > rec->size)
		return 0;
	f = file_of(r, rec);
	g = f ? gen_of(f, rec) : NULL;
	if (!g)
		return -ENOMEM;
	if (!f->path || rec->gen == f->gen) {
		free(f->path);
		f->path = strndup((const char *)p + 2, len);
		if (!f->path)
			return -ENOMEM;
	}
	if (rec->flags & OPEN_HASHES && put_base(g, rec, (len + 2 + 7) & ~(size_t)7) < 0)
		return -ENOMEM;
	if (!(uint32_t)rec->arg)
		return 0;
	return PUSH(f->region, f->n_region, f->cap_region, .lsn = rec->lsn,
		    .first = (uint32_t)(rec->arg >> 32), .n = (uint32_t)rec->arg);
}

static int put_new(struct recovery *r, const struct journal_record *rec)
{
	const uint8_t *p = rec->payload;
	struct recovery_file *f;
	uint64_t n, size;
	int e;

	if (rec->size < 16)
		return 0;
	size = get64(p);
	n = get64(p + 8);
	f = file_of(r, rec);
	if (!f || !gen_of(f, rec))
		return -ENOMEM;
	e = PUSH(f->size, f->n_size, f->cap_size, .size = size, .lsn = rec->lsn);
	if (e == 0 && rec->flags & NEW_ZERO)
		return n ? PUSH(f->zero, f->n_zero, f->cap_zero, .first = rec->arg, .n = n,
				.lsn = rec->lsn) : 0;
	for (uint64_t i = 0; e == 0 && i < n && 16 + i * 8 + 8 <= rec->size; i++)
		e = PUSH(f->cand, f->n_cand, f->cap_cand, .leaf = rec->arg + i,
			 .lsn = rec->lsn, .hash = get64(p + 16 + i * 8),
			 .unverified = rec->flags & NEW_UNVERIFIED);
	return e;
}

static int put_commit(struct recovery *r, const struct journal_record *rec)
{
	struct recovery_file *f;

	if (!rec->id) {
		if (rec->arg > r->floor)
			r->floor = rec->arg;
		return 0;
	}
	f = file_of(r, rec);
	if (!f || !gen_of(f, rec))
		return -ENOMEM;
	if (rec->arg > f->floor)
		f->floor = rec->arg;
	return 0;
}

static int put_dirty(struct recovery *r, const struct journal_record *rec)
{
	struct recovery_dir *d;
	uint64_t at;

	if (map_get(&r->dirs, rec->id, &at)) {
		d = (struct recovery_dir *)(uintptr_t)at;
		if (rec->lsn <= d->lsn)
			return 0;
	} else {
		d = calloc(1, sizeof(*d));
		if (!d || map_set(&r->dirs, rec->id, (uintptr_t)d) < 0) {
			free(d);
			return -ENOMEM;
		}
	}
	d->id = rec->id;
	d->gen = rec->gen;
	d->lsn = rec->lsn;
	free(d->path);
	d->path = strndup(rec->payload, rec->size);
	return d->path ? 0 : -ENOMEM;
}

static int put_name(struct recovery *r, const struct journal_record *rec)
{
	const uint8_t *p = rec->payload;
	size_t at = 0;

	while (at + 26 <= rec->size) {
		size_t len = p[at + 25];
		struct recovery_name n = { .dir = get64(p + at), .gen = get64(p + at + 8),
					   .lsn = rec->lsn, .id = get64(p + at + 16),
					   .type = p[at + 24] };
		void *bigger;

		if (at + 26 + len > rec->size)
			break;
		memcpy(n.name, p + at + 26, len);
		bigger = more(r->name, r->n_name, &r->cap_name, sizeof(*r->name));
		if (!bigger)
			return -ENOMEM;
		r->name = bigger;
		r->name[r->n_name++] = n;
		at += (26 + len + 7) & ~(size_t)7;
	}
	return 0;
}

static int put(const struct journal_record *rec, void *arg)
{
	static int (*const by_type[JOURNAL_TYPES])(struct recovery *, const struct journal_record *) = {
		[JOURNAL_OPEN] = put_open, [JOURNAL_NEW] = put_new, [JOURNAL_COMMIT] = put_commit,
		[JOURNAL_DIRTY] = put_dirty, [JOURNAL_NAME] = put_name,
	};
	struct recovery *r = arg;

	if (rec->lsn > r->highest)
		r->highest = rec->lsn;
	r->n_records++;
	return rec->type < JOURNAL_TYPES && by_type[rec->type] ? by_type[rec->type](r, rec) : 0;
}

/* ---- sorting ---- */

static int by_leaf(const void *pa, const void *pb)
{
	const struct candidate *a = pa, *b = pb;

	if (a->leaf != b->leaf)
		return a->leaf < b->leaf ? -1 : 1;
	return a->lsn < b->lsn ? 1 : a->lsn > b->lsn ? -1 : 0;
}

static int by_size_lsn(const void *pa, const void *pb)
{
	const struct size_note *a = pa, *b = pb;

	return a->lsn < b->lsn ? 1 : a->lsn > b->lsn ? -1 : 0;
}

static int same_name(const struct recovery_name *a, const struct recovery_name *b)
{
	if (a->dir != b->dir)
		return a->dir < b->dir ? -1 : 1;
	return strcmp(a->name, b->name);
}

static int by_name(const void *pa, const void *pb)
{
	const struct recovery_name *a = pa, *b = pb;
	int c = same_name(a, b);

	return c ? c : a->lsn < b->lsn ? 1 : a->lsn > b->lsn ? -1 : 0;
}

/* The mirrors have the same records: each candidate counts once. */
#define DEDUP(array, n) do { \
	size_t kept_ = 0; \
	for (size_t i_ = 0; i_ < (n); i_++) \
		if (!kept_ || (array)[kept_ - 1].lsn != (array)[i_].lsn) \
			(array)[kept_++] = (array)[i_]; \
	(n) = kept_; \
} while (0)

static int by_zero_lsn(const void *pa, const void *pb)
{
	const struct zero_run *a = pa, *b = pb;

	return a->lsn < b->lsn ? 1 : a->lsn > b->lsn ? -1 : 0;
}

static int by_region_lsn(const void *pa, const void *pb)
{
	const struct region_run *a = pa, *b = pb;

	return a->lsn < b->lsn ? 1 : a->lsn > b->lsn ? -1 : 0;
}

static void sort_file(struct recovery_file *f)
{
	size_t kept = 0;

	if (f->n_cand)
		qsort(f->cand, f->n_cand, sizeof(*f->cand), by_leaf);
	for (size_t i = 0; i < f->n_cand; i++)
		if (!kept || by_leaf(&f->cand[kept - 1], &f->cand[i]) != 0)
			f->cand[kept++] = f->cand[i];
	f->n_cand = kept;
	if (f->n_size)
		qsort(f->size, f->n_size, sizeof(*f->size), by_size_lsn);
	if (f->n_zero)
		qsort(f->zero, f->n_zero, sizeof(*f->zero), by_zero_lsn);
	if (f->n_region)
		qsort(f->region, f->n_region, sizeof(*f->region), by_region_lsn);
	DEDUP(f->size, f->n_size);
	DEDUP(f->zero, f->n_zero);
	DEDUP(f->region, f->n_region);
}

static void sort_all(struct recovery *r)
{
	uint64_t at = 0, id, value;
	size_t kept = 0;

	while (map_next(&r->files, &at, &id, &value))
		sort_file((struct recovery_file *)(uintptr_t)value);
	if (r->n_name)
		qsort(r->name, r->n_name, sizeof(*r->name), by_name);
	for (size_t i = 0; i < r->n_name; i++)
		if (!kept || same_name(&r->name[kept - 1], &r->name[i]) != 0)
			r->name[kept++] = r->name[i];
	r->n_name = kept;
}

int recovery_load(struct volume *v)
{
	struct recovery *r = calloc(1, sizeof(*r));
	int e = r ? 0 : -ENOMEM;

	if (!r)
		return e;
	pthread_mutex_init(&r->run, NULL);
	pthread_mutex_init(&r->lock, NULL);
	v->recovery = r;
	FOR_EACH_BIT(m, volume_in_sync(v))
		if (e == 0)
			e = journal_scan(v, (int)m, put, r);
	if (e < 0) {
		recovery_free(v);
		return log_err(e, "reading the journals");
	}
	sort_all(r);
	r->blind = !journal_found(v);
	if (r->blind)
		log_warn("the last session did not end in order, and no mirror has a journal: "
			 "what was written shortly before can not be told from damage");
	log_info("the last session did not end in order: %llu journal records, of %llu files and "
		 "%llu directories", (unsigned long long)r->n_records,
		 (unsigned long long)r->files.used, (unsigned long long)r->dirs.used);
	return 0;
}

void recovery_free(struct volume *v)
{
	struct recovery *r = v->recovery;
	uint64_t at = 0, id, value;

	if (!r)
		return;
	while (map_next(&r->files, &at, &id, &value))
		file_free((struct recovery_file *)(uintptr_t)value);
	at = 0;
	while (map_next(&r->dirs, &at, &id, &value)) {
		free(((struct recovery_dir *)(uintptr_t)value)->path);
		free((void *)(uintptr_t)value);
	}
	map_free(&r->files);
	map_free(&r->dirs);
	map_free(&r->done);
	free(r->name);
	pthread_mutex_destroy(&r->run);
	pthread_mutex_destroy(&r->lock);
	free(r);
	v->recovery = NULL;
}

/* ---- asking ---- */

const struct recovery_file *recovery_file(struct volume *v, uint64_t id, uint64_t gen)
{
	const struct recovery_file *f;
	uint64_t at;

	if (!v->recovery || atomic_load(&v->recovery->over) ||
	    !map_get(&v->recovery->files, id, &at))
		return NULL;
	f = (const struct recovery_file *)(uintptr_t)at;
	return f->gen >= gen ? f : NULL;
}

const struct recovery_dir *recovery_dir(struct volume *v, uint64_t id, uint64_t gen)
{
	const struct recovery_dir *d;
	uint64_t at;

	if (!v->recovery || atomic_load(&v->recovery->over) ||
	    !map_get(&v->recovery->dirs, id, &at))
		return NULL;
	d = (const struct recovery_dir *)(uintptr_t)at;
	return d->gen >= gen ? d : NULL;
}

const struct recovery_name *recovery_name(const struct recovery *r, uint64_t dir,
					  const char *name)
{
	size_t low = 0, high = r->n_name;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct recovery_name *n = &r->name[mid];
		int c = n->dir != dir ? (n->dir < dir ? -1 : 1) : strcmp(n->name, name);

		if (c == 0)
			return n;
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

/*
 * That there are records of a later generation proves that the one before it
 * was sealed, so all that was noted before is durable.
 */
struct recovery_view recovery_view(struct volume *v, uint64_t id, uint64_t gen)
{
	struct recovery_view w = { .f = recovery_file(v, id, gen) };

	if (!w.f)
		return w;
	w.since = UINT64_MAX;
	for (size_t i = 0; i < w.f->n_gens; i++)
		if (w.f->gens[i].gen >= gen && w.f->gens[i].first < w.since)
			w.since = w.f->gens[i].first;
	if (ABLATED(v, commit))
		return w;
	w.floor = w.f->floor > v->recovery->floor ? w.f->floor : v->recovery->floor;
	if (w.f->gen > gen && w.f->gens[w.f->n_gens - 1].first > w.floor)
		w.floor = w.f->gens[w.f->n_gens - 1].first;
	return w;
}

bool recovery_region_open(const struct recovery_view *w, uint64_t leaf)
{
	uint64_t region = leaf / REGION_LEAVES;

	for (size_t i = 0; w->f && i < w->f->n_region; i++)
		if (w->f->region[i].lsn >= w->since && region >= w->f->region[i].first &&
		    region - w->f->region[i].first < w->f->region[i].n)
			return true;
	return false;
}

bool recovery_any_region(const struct recovery_view *w)
{
	for (size_t i = 0; w->f && i < w->f->n_region; i++)
		if (w->f->region[i].lsn >= w->since)
			return true;
	return false;
}

/* Every note of leaves has one of the size with it. */
bool recovery_any_leaf(const struct recovery_view *w)
{
	return w->f && w->f->n_size && w->f->size[0].lsn >= w->since;
}

const uint64_t *recovery_base(const struct recovery_view *w, uint64_t gen, uint64_t *n)
{
	for (size_t i = 0; w->f && i < w->f->n_gens; i++)
		if (w->f->gens[i].gen == gen) {
			*n = w->f->gens[i].n_base;
			return w->f->gens[i].base;
		}
	return NULL;
}

/* The first candidate of a leaf, or where it would be. */
static size_t find_leaf(const struct recovery_file *f, uint64_t leaf)
{
	size_t low = 0, high = f->n_cand;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (f->cand[mid].leaf < leaf)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/*
 * The newest version that a sync covered (records below the floor) is the
 * oldest that may come back.
 */
uint64_t recovery_match(const struct recovery_view *w, uint64_t leaf, uint64_t hash,
			struct candidate *best)
{
	const struct recovery_file *f = w->f;
	uint64_t oldest = 0;
	bool doubt = false;

	*best = (struct candidate){ 0 };
	for (size_t i = find_leaf(f, leaf); i < f->n_cand && f->cand[i].leaf == leaf; i++) {
		if (f->cand[i].lsn < w->since)
			break;
		if (f->cand[i].lsn < w->floor && f->cand[i].lsn > oldest)
			oldest = f->cand[i].lsn;
		if (f->cand[i].hash != hash)
			continue;
		doubt |= f->cand[i].unverified; /* what is noted of it later proves nothing */
		if (f->cand[i].lsn > best->lsn)
			*best = f->cand[i];
	}
	for (size_t i = 0; i < f->n_zero; i++) {
		const struct zero_run *z = &f->zero[i];

		if (z->lsn < w->since || leaf < z->first || leaf - z->first >= z->n)
			continue;
		if (z->lsn < w->floor && z->lsn > oldest)
			oldest = z->lsn;
		if (hash == 0 && z->lsn > best->lsn)
			*best = (struct candidate){ .leaf = leaf, .lsn = z->lsn };
	}
	best->unverified = doubt;
	return oldest;
}

bool recovery_newest(const struct recovery_view *w, uint64_t leaf, uint64_t *hash)
{
	const struct recovery_file *f = w->f;
	size_t i = find_leaf(f, leaf);
	struct candidate zero;

	recovery_match(w, leaf, 0, &zero);
	*hash = 0;
	if (i < f->n_cand && f->cand[i].leaf == leaf && f->cand[i].lsn >= w->since &&
	    f->cand[i].lsn > zero.lsn)
		*hash = f->cand[i].hash;
	return *hash || zero.lsn;
}

uint64_t recovery_size(const struct recovery_view *w, uint64_t base, bool has_base,
		       const uint64_t *size, int n)
{
	uint64_t longest = 0;

	for (size_t i = 0; w->f && i < w->f->n_size; i++) {
		if (w->f->size[i].lsn < w->since)
			break;
		for (int k = 0; k < n; k++)
			if (size[k] == w->f->size[i].size)
				return size[k];
		if (w->f->size[i].lsn < w->floor) { /* every copy was at least there once */
			has_base = false;
			break;
		}
	}
	for (int k = 0; k < n; k++) {
		if (has_base && size[k] == base)
			return base;
		if (size[k] > longest)
			longest = size[k];
	}
	return longest;
}

/* ---- what is settled ---- */

void recovery_done(struct volume *v, uint64_t id)
{
	struct recovery *r = v->recovery;

	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	map_set(&r->done, id, 1);
	pthread_mutex_unlock(&r->lock);
}

bool recovery_is_done(struct volume *v, uint64_t id)
{
	struct recovery *r = v->recovery;
	uint64_t one;
	bool done;

	pthread_mutex_lock(&r->lock);
	done = map_get(&r->done, id, &one);
	pthread_mutex_unlock(&r->lock);
	return done;
}

bool recovery_pending(struct volume *v)
{
	return v->recovery && !atomic_load(&v->recovery->over);
}
