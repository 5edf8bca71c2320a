/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replica/intent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/le.h"
#include "replica/journal.h"
#include "replica/recovery.h"
#include "replica/seal.h"
#include "replica/tree.h"

/* Regions opened at once when a file is overwritten from front to back. */
#define REGIONS_AHEAD 8
#define PATH_KEPT 1024

static uint8_t *add64(uint8_t *p, uint64_t x)
{
	put64(p, x);
	return p + sizeof(x);
}

static size_t padded(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

/*
 * The first note of an object since it was sealed. It is in the seal's queue
 * before the place is taken, so a batch that computes the journal's tail
 * either sees the object or looked at the journal's head before.
 */
static void first_note(struct volume *v, struct file *f)
{
	if (f->first_lsn != LSN_NONE)
		return;
	f->first_lsn = LSN_PENDING;
	seal_queue(v, f);
	f->first_lsn = journal_head(v);
}

/* Everything but a COMMIT, which may be lost: a sync waits for it. */
static int append(struct volume *v, struct journal_record *r)
{
	uint64_t noted;
	int e = journal_append(v, r);

	if (e < 0)
		return e;
	noted = atomic_load(&v->noted);
	while (noted <= r->lsn && !atomic_compare_exchange_weak(&v->noted, &noted, r->lsn + 1))
		;
	return 0;
}

static int append_file(struct volume *v, struct file *f, struct journal_record *r)
{
	int e;

	first_note(v, f);
	r->id = f->id;
	r->gen = f->rec.gen;
	e = append(v, r);
	if (e == 0)
		f->last_lsn = r->lsn + 1;
	return e;
}

/* ---- regions ---- */

static bool region_marked(const struct file *f, uint64_t region)
{
	return region / 64 < f->n_hot && f->hot[region / 64] >> region % 64 & 1;
}

static int mark_regions(struct file *f, uint64_t first, uint64_t n)
{
	size_t words = (first + n + 63) / 64;

	if (words > f->n_hot) {
		uint64_t *bigger = realloc(f->hot, words * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		memset(bigger + f->n_hot, 0, (words - f->n_hot) * sizeof(*bigger));
		f->hot = bigger;
		f->n_hot = words;
	}
	for (uint64_t i = first; i < first + n; i++)
		f->hot[i / 64] |= 1ull << i % 64;
	return 0;
}

/* Whether the leaf hashes at rest are in memory, all of them: small files,
 * while nothing has changed yet. */
static bool at_rest(const struct file *f)
{
	return f->type == TYPE_OF(S_IFREG) && f->rec.gen && f->rec.size <= SMALL_MAX &&
	       f->size == f->rec.size && f->sum == f->rec.hash &&
	       leaves_ready(f, 0, leaves_of(f->size)); /* in pages if it was large once */
}

/* OPEN of regions first..first+n-1 (n 0: only that it changes). */
static int append_open(struct volume *v, struct file *f, uint64_t first, uint64_t n)
{
	uint8_t buf[2 + PATH_KEPT + 8 + SMALL_LEAVES * 8] = { 0 };
	struct journal_record r = { .type = JOURNAL_OPEN, .payload = buf,
				    .arg = first << 32 | n };
	char path[PATH_KEPT];
	size_t len;

	tree_path(v, f->node, path, sizeof(path));
	len = strlen(path);
	buf[0] = (uint8_t)len;
	buf[1] = (uint8_t)(len >> 8);
	memcpy(buf + 2, path, len);
	r.size = (uint32_t)padded(2 + len);
	if (at_rest(f)) {
		uint8_t *p = buf + r.size;

		r.flags = OPEN_HASHES;
		f->based = true;
		for (uint64_t i = 0; i < leaves_of(f->rec.size); i++)
			p = add64(p, leaves_get(f, i));
		r.size = (uint32_t)(p - buf);
	}
	return append_file(v, f, &r);
}

int intent_mark(struct volume *v, struct file *f, bool durable)
{
	int e;

	if (!f->rec.gen && !durable) /* never sealed: its directory knows of it */
		return 0;
	if (f->noted && durable)
		return 0;
	e = append_open(v, f, 0, 0);
	if (e == 0 && durable)
		e = journal_flush(v, f->last_lsn);
	f->noted |= e == 0 && durable;
	return e;
}

/* The regions of leaves first..last become open, durably. */
static int open_regions(struct volume *v, struct file *f, uint64_t first, uint64_t last)
{
	uint64_t r0 = first / REGION_LEAVES, r1 = last / REGION_LEAVES, end;
	int e;

	while (r0 <= r1 && region_marked(f, r0))
		r0++;
	if (r0 > r1)
		return 0;
	end = (leaves_of(f->rest) + REGION_LEAVES - 1) / REGION_LEAVES;
	if (r0 > 0 && region_marked(f, r0 - 1)) /* goes on from the one before */
		r1 += REGIONS_AHEAD;
	if (r1 >= end)
		r1 = end - 1;
	e = append_open(v, f, r0, r1 - r0 + 1);
	if (e == 0 && !ABLATED(v, barrier))
		e = journal_flush(v, f->last_lsn);
	if (e == 0)
		e = mark_regions(f, r0, r1 - r0 + 1);
	f->overwritten = f->noted = true;
	return e;
}

/* ---- leaves ---- */

#define NEW_MAX 512 /* hashes in one record */

static int append_new(struct volume *v, struct file *f, uint64_t first, uint64_t n,
		      const uint64_t *hash, uint64_t size, uint8_t flags)
{
	uint8_t buf[16 + NEW_MAX * 8];
	struct journal_record r = { .type = JOURNAL_NEW, .arg = first, .payload = buf,
				    .flags = flags };
	uint8_t *p = add64(add64(buf, size), n);

	/* A new file that goes on growing may outlive the note of its name; one
	 * that was opened by a chmod had not been read. */
	if ((!f->rec.gen && f->changes > 1 && !f->noted) || (!f->based && at_rest(f))) {
		f->noted |= !f->rec.gen;
		append_open(v, f, 0, 0);
	}
	for (uint64_t i = 0; hash && i < n; i++)
		p = add64(p, hash[i]);
	r.size = (uint32_t)(p - buf);
	return append_file(v, f, &r);
}

/* Leaves that the file gets by growing over them: from its end to `first`. */
static int append_gap(struct volume *v, struct file *f, uint64_t first, uint64_t n, uint64_t size)
{
	uint64_t from = leaves_of(f->size), to = leaves_of(size);

	if (n && first < to)
		to = first;
	return size > f->size && from < to ?
		append_new(v, f, from, to - from, NULL, size, NEW_ZERO) : 0;
}

int intent_leaves(struct volume *v, struct file *f, uint64_t first, uint64_t n,
		  const uint64_t *hash, uint64_t size, bool in_place)
{
	uint64_t sealed = leaves_of(f->rest);
	int e = append_gap(v, f, first, n, size);

	if (e == 0 && in_place && f->rec.gen && first < sealed && n)
		e = open_regions(v, f, first, first + n < sealed ? first + n - 1 : sealed - 1);
	/* The last leaf at rest, appended to: its old hash stays until the new bytes are
	 * durable, for nothing else would tell that it changed. */
	if (hash && n && f->rec.gen && first < sealed)
		f->overwritten = true;
	if (e == 0 && !hash)
		e = append_new(v, f, first, n, NULL, size, NEW_ZERO);
	for (uint64_t at = 0; e == 0 && hash && at < n; at += NEW_MAX)
		e = append_new(v, f, first + at, n - at < NEW_MAX ? n - at : NEW_MAX, hash + at,
			       size, 0);
	if (e == 0 && in_place && v->opt.strict)
		e = journal_flush(v, f->last_lsn);
	return e;
}

int intent_unverified(struct volume *v, struct file *f, uint64_t leaf, uint64_t hash)
{
	int e = append_new(v, f, leaf, 1, &hash, f->size, NEW_UNVERIFIED);

	return e < 0 ? e : journal_flush(v, f->last_lsn);
}

int intent_decided(struct volume *v, struct file *f, uint64_t first, unsigned n)
{
	uint64_t hash[256];

	for (unsigned i = 0; i < n; i++)
		hash[i] = leaves_get(f, first + i);
	return append_new(v, f, first, n, hash, f->size, 0);
}

static void commit(struct volume *v, uint64_t id, uint64_t gen, uint64_t lsn)
{
	struct journal_record r = { .type = JOURNAL_COMMIT, .id = id, .gen = gen, .arg = lsn };

	journal_append(v, &r); /* lost: an older version may do, no more */
}

void intent_commit(struct volume *v, struct file *f, uint64_t lsn)
{
	if (f->first_lsn != LSN_NONE)
		commit(v, f->id, f->rec.gen, lsn);
}

void intent_commit_all(struct volume *v, uint64_t lsn)
{
	/* Of what the last session noted nobody knows yet what got to the disks. */
	if (!recovery_pending(v))
		commit(v, 0, 0, lsn);
}

void intent_reset(struct file *f)
{
	free(f->hot);
	f->hot = NULL;
	f->n_hot = 0;
	f->first_lsn = LSN_NONE;
	f->last_lsn = 0;
	f->overwritten = f->noted = f->based = false;
	f->rest = f->size;
}

/* ---- names ---- */

int intent_dir(struct volume *v, struct dir *d)
{
	char path[4096];
	struct journal_record r = { .type = JOURNAL_DIRTY, .id = d->id, .gen = d->rec.gen,
				    .payload = path };
	int e;

	d->first_lsn = LSN_PENDING;
	seal_queue_dir(v, d);
	d->first_lsn = journal_head(v);
	tree_path(v, d->node, path, sizeof(path));
	r.size = (uint32_t)strlen(path);
	e = append(v, &r);
	/* Of a new one the directory above knows, and is durable until that is
	 * sealed: then this is, too. */
	if (e == 0 && (d->rec.gen || d->id == ROOT_ID) && !ABLATED(v, barrier))
		e = journal_flush(v, r.lsn + 1);
	return e;
}

int intent_names(struct volume *v, const struct intent_name *names, unsigned n)
{
	uint8_t buf[4 * (26 + 256 + 8)] = { 0 };
	struct journal_record r = { .type = JOURNAL_NAME, .payload = buf, .id = ROOT_ID };
	uint8_t *p = buf;

	for (unsigned i = 0; i < n; i++) {
		size_t len = strlen(names[i].name);

		p = add64(p, names[i].dir->id);
		p = add64(p, names[i].dir->rec.gen);
		p = add64(p, names[i].id);
		*p++ = names[i].type;
		*p++ = (uint8_t)len;
		memcpy(p, names[i].name, len);
		p = buf + padded((size_t)(p - buf) + len);
	}
	r.size = (uint32_t)(p - buf);
	return append(v, &r);
}
