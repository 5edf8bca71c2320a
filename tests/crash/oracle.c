/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Versions and floors, from the log of acknowledgements. */
#include "tests/crash/oracle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t zero_page[LEAF_SIZE];

/* A test's memory: enough, or the end. */
static void *grown(void *p, size_t *cap, size_t n, size_t size)
{
	if (n < *cap)
		return p;
	*cap = *cap ? 2 * *cap : 4;
	p = realloc(p, *cap * size);
	if (!p) {
		perror("oracle");
		exit(2);
	}
	return p;
}

/* ---- versions ---- */

static void leaf_push(struct leaf *l, uint32_t op, const uint8_t *page)
{
	size_t cap = l->cap;

	l->v = grown(l->v, &cap, l->n, sizeof(*l->v));
	l->cap = (uint32_t)cap;
	l->v[l->n++] = (struct version){ op, page };
}

static struct leaf *leaf_get(struct file *f, uint64_t index)
{
	while (f->n_leaves <= index) {
		f->leaf = grown(f->leaf, &f->cap_leaves, f->n_leaves, sizeof(*f->leaf));
		f->leaf[f->n_leaves] = (struct leaf){ 0 };
		leaf_push(&f->leaf[f->n_leaves++], 0, zero_page);
	}
	return &f->leaf[index];
}

/* The part [from, to) of a leaf becomes what the operation writes there. */
static void leaf_change(struct file *f, uint64_t index, size_t from, size_t to, bool zeros)
{
	struct leaf *l = leaf_get(f, index);
	const uint8_t *old = l->v[l->n - 1].page;
	uint32_t op = (uint32_t)f->n - 1;
	uint8_t *page;

	if (zeros && (old == zero_page || (from == 0 && to == LEAF_SIZE))) {
		leaf_push(l, op, zero_page);
		return;
	}
	page = malloc(LEAF_SIZE);
	if (!page) {
		perror("oracle");
		exit(2);
	}
	memcpy(page, old, LEAF_SIZE);
	if (zeros)
		memset(page + from, 0, to - from);
	else
		content_fill(page + from, f->id, f->op[op]->id, index * LEAF_SIZE + from, to - from);
	leaf_push(l, op, page);
}

static void range_change(struct file *f, uint64_t off, uint64_t end, bool zeros)
{
	uint64_t next;

	for (; off < end; off = next) {
		uint64_t leaf = off / LEAF_SIZE;

		next = (leaf + 1) * LEAF_SIZE < end ? (leaf + 1) * LEAF_SIZE : end;
		leaf_change(f, leaf, off % LEAF_SIZE, next - leaf * LEAF_SIZE, zeros);
	}
}

static void apply(struct file *f, const struct op *op)
{
	uint64_t size = f->n ? f->size[f->n - 1] : 0, end = op->off + op->len;
	size_t cap = f->cap;

	f->op = grown(f->op, &cap, f->n, sizeof(*f->op));
	f->size = grown(f->size, &f->cap, f->n, sizeof(*f->size));
	f->op[f->n++] = op;
	switch (op->kind) {
	case OP_WRITE:
	case OP_ZERO:
	case OP_DSYNC:
		range_change(f, op->off, end, op->kind == OP_ZERO);
		size = end > size ? end : size;
		break;
	case OP_TRUNCATE:
		range_change(f, op->off, size, true);
		size = op->off;
		break;
	case OP_PUNCH:
		range_change(f, op->off, end < size ? end : size, true);
		break;
	default:
		break;
	}
	f->size[f->n - 1] = size;
}

static struct file *find_file(const struct oracle *o, uint64_t id)
{
	for (size_t i = o->n_files; i-- > 0;)
		if (o->file[i].id == id)
			return &o->file[i];
	return NULL;
}

static bool changes_file(char kind)
{
	return kind == OP_CREATE || kind == OP_WRITE || kind == OP_ZERO || kind == OP_DSYNC ||
	       kind == OP_TRUNCATE || kind == OP_PUNCH;
}

static int build_files(struct oracle *o)
{
	size_t n = 0;

	for (size_t i = 0; i < o->log.n; i++)
		n += o->log.op[i].kind == OP_CREATE;
	o->file = calloc(n + 1, sizeof(*o->file));
	if (!o->file)
		return -ENOMEM;
	for (size_t i = 0; i < o->log.n; i++) {
		const struct op *op = &o->log.op[i];
		struct file *f;

		if (op->kind == OP_CREATE)
			o->file[o->n_files++].id = op->id;
		if (!changes_file(op->kind))
			continue;
		f = find_file(o, op->file);
		if (!f)
			return -EINVAL;
		apply(f, op);
	}
	return 0;
}

/* ---- names ---- */

struct name *oracle_name(const struct oracle *o, const char *name)
{
	for (size_t i = 0; i < o->n_names; i++)
		if (strcmp(o->name[i].name, name) == 0)
			return &o->name[i];
	return NULL;
}

static void bind_name(struct oracle *o, const char *text, const struct op *op, struct file *f)
{
	struct name *n = oracle_name(o, text);

	if (!n) {
		n = &o->name[o->n_names++];
		n->name = text;
	}
	n->b = grown(n->b, &n->cap, n->n, sizeof(*n->b));
	n->b[n->n++] = (struct binding){ op, f };
}

static int build_names(struct oracle *o)
{
	o->name = calloc(o->n_files + 1, sizeof(*o->name));
	if (!o->name)
		return -ENOMEM;
	for (size_t i = 0; i < o->log.n; i++) {
		const struct op *op = &o->log.op[i];
		struct file *f = find_file(o, op->file);

		if (op->kind == OP_RENAME)
			bind_name(o, f->op[0]->name, op, NULL);
		if (op->kind == OP_RENAME || op->kind == OP_CREATE)
			bind_name(o, op->name, op, f);
	}
	return 0;
}

/* ---- floors ---- */

static bool acknowledged(const struct oracle *o, const struct op *op)
{
	return op->result == 0 && (o->rules.killed || op->seq1 <= o->rules.cut);
}

static bool begun(const struct oracle *o, const struct op *op)
{
	return o->rules.killed || op->seq0 <= o->rules.cut;
}

/* Whether the sync is one of what the file holds. */
static bool syncs_data(const struct oracle *o, const struct op *sync, const struct file *f)
{
	if (sync->kind == OP_SYNCFS)
		return o->rules.plain;
	return (sync->kind == OP_FSYNC || sync->kind == OP_DATASYNC) && sync->file == f->id;
}

static bool syncs_name(const struct oracle *o, const struct op *sync, const struct op *op)
{
	if (sync->kind == OP_SYNCFS)
		return o->rules.plain;
	return (sync->kind == OP_DIRSYNC && sync->thread == op->thread) ||
	       (sync->kind == OP_FSYNC && sync->file == op->file);
}

/* An acknowledged sync of it began after the operation had ended. */
static bool durable(const struct oracle *o, const struct op *op, const struct file *f)
{
	if (o->rules.killed)
		return op->result == 0;
	for (size_t i = 0; i < o->log.n; i++) {
		const struct op *sync = &o->log.op[i];

		if (op->end < sync->id && acknowledged(o, sync) &&
		    (f ? syncs_data(o, sync, f) : syncs_name(o, sync, op)))
			return true;
	}
	return false;
}

static void file_floor(const struct oracle *o, struct file *f)
{
	f->begun = begun(o, f->op[0]);
	for (uint32_t i = (uint32_t)f->n; i-- > 0 && !f->last;)
		f->last = begun(o, f->op[i]) ? i : 0;
	for (f->floor = f->last; f->floor > 0 && !durable(o, f->op[f->floor], f); f->floor--)
		;
	for (uint32_t i = 0; i < f->n; i++) {
		const struct op *op = f->op[i];

		if (op->kind != OP_DSYNC || !acknowledged(o, op))
			continue;
		for (uint64_t at = op->off / LEAF_SIZE; at * LEAF_SIZE < op->off + op->len; at++)
			f->leaf[at].floor = i;
	}
}

static void name_floor(const struct oracle *o, struct name *n)
{
	for (n->last = (int)n->n - 1; n->last >= 0 && !begun(o, n->b[n->last].op); n->last--)
		;
	for (n->floor = n->last; n->floor >= 0 && !durable(o, n->b[n->floor].op, NULL); n->floor--)
		;
}

uint32_t oracle_since(const struct oracle *o, const struct name *n, size_t binding)
{
	const struct op *op = n->b[binding].op;
	const struct file *f = n->b[binding].file;
	uint32_t i = f->last;

	if (o->rules.plain || op->kind != OP_RENAME || binding == 0 || !n->b[binding - 1].file)
		return f->floor;
	while (i > f->floor && f->op[i]->end >= op->id)
		i--;
	return i;
}

int oracle_init(struct oracle *o, const char *path, const struct oracle_rules *rules)
{
	int r;

	memset(o, 0, sizeof(*o));
	o->rules = *rules;
	r = oplog_read(path, &o->log);
	if (r == 0)
		r = build_files(o);
	if (r == 0)
		r = build_names(o);
	for (size_t i = 0; r == 0 && i < o->n_files; i++)
		file_floor(o, &o->file[i]);
	for (size_t i = 0; r == 0 && i < o->n_names; i++)
		name_floor(o, &o->name[i]);
	return r;
}

/* ---- verdicts ---- */

/* A write that grows the file may be there in part. */
bool oracle_size_allowed(const struct file *f, uint64_t size)
{
	for (uint32_t i = f->floor; i <= f->last; i++) {
		if (f->size[i] == size)
			return true;
		if (i > f->floor && (f->op[i]->kind == OP_WRITE || f->op[i]->kind == OP_ZERO) &&
		    f->size[i - 1] < size && size < f->size[i])
			return true;
	}
	return false;
}

uint32_t oracle_version_at(const struct leaf *l, uint32_t op)
{
	uint32_t i = l->n - 1;

	while (i > 0 && l->v[i].op > op)
		i--;
	return i;
}

/* Bytes of b from the end that are those of a. */
static size_t same_tail(const uint8_t *a, const uint8_t *b, size_t len)
{
	size_t n = 0;

	while (n < len && a[len - 1 - n] == b[len - 1 - n])
		n++;
	return n;
}

static size_t same_head(const uint8_t *a, const uint8_t *b, size_t len)
{
	size_t n = 0;

	while (n < len && a[n] == b[n])
		n++;
	return n;
}

/* 0: the sector is of one version, 1: of two, -1: of none. */
static int sector_of(const struct leaf *l, uint32_t lo, uint32_t hi, const uint8_t *data, size_t at,
		     size_t len)
{
	size_t head = 0, tail = 0, n;

	for (uint32_t i = lo; i <= hi; i++) {
		n = same_head(l->v[i].page + at, data + at, len);
		head = n > head ? n : head;
		n = same_tail(l->v[i].page + at, data + at, len);
		tail = n > tail ? n : tail;
	}
	return head == len ? 0 : head + tail >= len ? 1 : -1;
}

static enum leaf_verdict mixture(const struct leaf *l, uint32_t lo, uint32_t hi,
				 const uint8_t *data, size_t len)
{
	enum leaf_verdict verdict = LEAF_TORN;

	for (size_t at = 0; at < len; at += SECTOR) {
		int r = sector_of(l, lo, hi, data, at, len - at < SECTOR ? len - at : SECTOR);

		if (r < 0)
			return LEAF_FOREIGN;
		if (r > 0)
			verdict = LEAF_MIDTORN;
	}
	return verdict;
}

uint32_t oracle_floor(const struct file *f, uint64_t leaf, uint32_t since)
{
	uint32_t floor = since > f->floor ? since : f->floor;

	if (leaf < f->n_leaves && f->leaf[leaf].floor > floor)
		floor = f->leaf[leaf].floor;
	return floor;
}

bool oracle_is_floor(const struct file *f, uint64_t leaf, const uint8_t *data, uint64_t size)
{
	uint64_t end = (leaf + 1) * LEAF_SIZE;
	const struct leaf *l;

	if (leaf >= f->n_leaves || size < end)
		return false;
	l = &f->leaf[leaf];
	for (uint32_t i = f->floor; i <= f->last; i++) /* cut away meanwhile, or not there before */
		if (f->size[i] < end)
			return false;
	return !memcmp(l->v[oracle_version_at(l, oracle_floor(f, leaf, 0))].page, data, LEAF_SIZE);
}

enum leaf_verdict oracle_leaf(const struct file *f, uint64_t leaf, const uint8_t *data,
			      size_t len, uint32_t since, uint32_t *version)
{
	static const struct version none = { 0, zero_page };
	static const struct leaf beyond = { (struct version *)(uintptr_t)&none, 1, 1, 0 };
	const struct leaf *l = leaf < f->n_leaves ? &f->leaf[leaf] : &beyond;
	uint32_t lo = oracle_version_at(l, oracle_floor(f, leaf, since));
	uint32_t hi = oracle_version_at(l, f->last), i;
	enum leaf_verdict verdict;

	for (i = lo; i <= hi; i++) {
		*version = l->v[i].op;
		if (memcmp(l->v[i].page, data, len) == 0)
			return i > lo ? LEAF_NEW : lo < hi ? LEAF_OLD : LEAF_EXACT;
	}
	verdict = lo < hi ? mixture(l, lo, hi, data, len) : LEAF_FOREIGN;
	for (i = l->n; verdict == LEAF_FOREIGN && i-- > 0;) {
		*version = l->v[i].op;
		if (memcmp(l->v[i].page, data, len) == 0)
			verdict = LEAF_STALE;
	}
	return verdict;
}
