/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Damages beneath the volume, between the crash and its recovery. Times of the
 * damaged files stay. Where nothing fits, nothing is planted or printed.
 */
#include "tests/crash/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/exercise/common.h"

#define TRIES 200
#define SPARED_MAX 24

/* Changes a copy and puts its times back. */
static int overwrite(const char *mirror, const char *name, uint64_t off, const void *data,
		     size_t len)
{
	char path[4096];
	struct stat st;
	int fd, r = 0;

	snprintf(path, sizeof(path), "%s/%s", mirror, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		r = -errno;
	if (r == 0 && pwrite(fd, data, len, (off_t)off) != (ssize_t)len)
		r = -EIO;
	if (r == 0) {
		struct timespec times[2] = { st.st_atim, st.st_mtim };

		if (futimens(fd, times))
			r = -errno;
	}
	if (fd >= 0)
		close(fd);
	if (r)
		fprintf(stderr, "verify: %s: %s\n", path, strerror(-r));
	return r;
}

/* The one file that the name certainly leads to, or NULL. */
static const struct file *sure_file(const struct name *n)
{
	return n->floor >= 0 && n->floor == n->last ? n->b[n->floor].file : NULL;
}

static bool is_cold(const struct file *f, uint64_t leaf)
{
	const struct leaf *l = &f->leaf[leaf];

	return leaf < f->n_leaves &&
	       oracle_version_at(l, oracle_floor(f, leaf, 0)) == oracle_version_at(l, f->last);
}

/* A file of which one copy is to be damaged, on all mirrors; [0] is the one. */
struct copies {
	const struct name *name;
	const struct file *f;
	struct content *c;
	int n;
};

static void copies_free(struct copies *k)
{
	for (int m = 0; k->c && m < k->n; m++) {
		free(k->c[m].data);
		free(k->c[m].failed);
	}
	free(k->c);
	k->c = NULL;
}

/* Whether there is anything to damage. */
static bool copies_read(struct copies *k, const struct name *name, char *const *mirror, int n)
{
	*k = (struct copies){ .name = name, .f = sure_file(name), .n = n };
	k->c = k->f ? calloc((size_t)n, sizeof(*k->c)) : NULL;
	for (int m = 0; k->c && m < n; m++) {
		int root = open(mirror[m], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		content_read(&k->c[m], root, name->name);
		if (root >= 0)
			close(root);
	}
	if (k->c && !k->c[0].error && k->c[0].size)
		return true;
	copies_free(k);
	return false;
}

static bool is_spared(const struct copies *k, uint64_t leaf)
{
	for (int m = 1; m < k->n; m++)
		if (!k->c[m].error && leaf * LEAF_SIZE < k->c[m].size &&
		    oracle_is_floor(k->f, leaf, k->c[m].data + leaf * LEAF_SIZE, k->c[m].size))
			return true;
	return false;
}

static void print_plant(const struct planted *p, const char *name, const char *mirror)
{
	printf("%c %s %" PRIu64 " %u %u %" PRIu32 " %d %s\n", p->kind, name, p->leaf, p->byte,
	       p->mask, p->op, p->cold + 2 * p->spared, mirror);
}

/* A bit of byte `at` of the first copy, if the leaf is as wanted. */
static bool flip_at(const struct verify *v, const struct copies *k, const char *mirror, uint64_t at,
		    uint64_t *rng, enum flip_where where)
{
	struct planted p = { .kind = PLANT_FLIP, .leaf = at / LEAF_SIZE,
			     .byte = (unsigned)(at % LEAF_SIZE) };
	uint8_t byte;

	p.cold = p.leaf < k->f->n_leaves && is_cold(k->f, p.leaf);
	if ((where == FLIP_COLD && !p.cold) || (where == FLIP_SPARED && p.cold) ||
	    plants_find(&v->plants, k->name->name, p.leaf))
		return false;
	p.spared = is_spared(k, p.leaf);
	if (where == FLIP_SPARED && !p.spared)
		return false;
	p.mask = 1u << rng_below(rng, 8);
	byte = k->c[0].data[at] ^ (uint8_t)p.mask;
	if (overwrite(mirror, k->name->name, at, &byte, 1))
		return false;
	print_plant(&p, k->name->name, mirror);
	return true;
}

/* Every leaf in flight that another mirror has as it was, up to a limit. */
static void flip_spared(const struct verify *v, char *const *mirror, int n, uint64_t *rng)
{
	uint64_t first = rng_below(rng, v->o.n_names);
	struct copies k;
	int done = 0;

	for (size_t i = 0; i < v->o.n_names && done < SPARED_MAX; i++) {
		const struct name *name = &v->o.name[(first + i) % v->o.n_names];

		if (!copies_read(&k, name, mirror, n))
			continue;
		for (uint64_t at = 0; at + LEAF_SIZE <= k.c[0].size && done < SPARED_MAX; at += LEAF_SIZE)
			done += flip_at(v, &k, mirror[0], at + rng_below(rng, LEAF_SIZE), rng,
					FLIP_SPARED);
		copies_free(&k);
	}
}

int plant_flip(struct verify *v, char *const *mirror, int n, uint64_t seed, enum flip_where where)
{
	uint64_t rng = seed;
	bool done = false;
	struct copies k;

	if (!v->o.n_names)
		return 0;
	if (where == FLIP_SPARED) {
		flip_spared(v, mirror, n, &rng);
		return 0;
	}
	for (int i = 0; i < TRIES && !done; i++) {
		if (!copies_read(&k, &v->o.name[rng_below(&rng, v->o.n_names)], mirror, n))
			continue;
		done = flip_at(v, &k, mirror[0], rng_below(&rng, k.c[0].size), &rng, where);
		copies_free(&k);
	}
	return 0;
}

static bool is_sync_before(const struct oracle *o, const struct op *s)
{
	return (s->kind == OP_FSYNC || s->kind == OP_DATASYNC) && !s->result &&
	       s->seq1 <= o->rules.cut;
}

/* An overwrite since then, by a sync of whose file its note is durable, and with it what was
 * noted before. A sync alone need not flush the journal: others may have done so. */
static bool is_flushed(const struct oracle *o, uint64_t since, const struct op *s)
{
	for (size_t i = 0; i < o->log.n; i++) {
		const struct op *w = &o->log.op[i];

		if (w->kind == OP_WRITE && !w->result && w->file == s->file && w->id > since &&
		    w->end < s->id && w->len >= LEAF_SIZE)
			return true;
	}
	return false;
}

/* The sync that makes op durable, and a second one, after it, that made its COMMIT durable. */
static bool commit_is_durable(const struct oracle *o, const struct file *f, const struct op *op)
{
	const struct op *first = NULL;

	for (size_t i = 0; i < o->log.n; i++) {
		const struct op *s = &o->log.op[i];

		if (!is_sync_before(o, s))
			continue;
		if (!first && s->file == f->id && op->end < s->id)
			first = s;
		else if (first && first->end < s->id && is_flushed(o, first->end, s))
			return true;
	}
	return false;
}

/*
 * A leaf that was overwritten and fsynced, and not touched since, with an older
 * version before it; the file not renamed, cut or grown meanwhile.
 */
static bool is_overwritten(const struct verify *v, const struct file *f, uint64_t leaf)
{
	const struct leaf *l = &f->leaf[leaf];
	uint32_t at = oracle_version_at(l, f->floor);
	const struct op *op = f->op[l->v[at].op];

	if (f->floor != f->last || at < 2 || op->kind != OP_WRITE || op->len < LEAF_SIZE)
		return false;
	for (uint32_t i = l->v[at - 1].op; i < f->n; i++)
		if (f->size[i] < (leaf + 1) * LEAF_SIZE || f->size[i] != f->size[f->floor])
			return false;
	return memcmp(l->v[at].page, l->v[at - 1].page, LEAF_SIZE) &&
	       commit_is_durable(&v->o, f, op);
}

int plant_stale(struct verify *v, char *const *mirror, int n, uint64_t seed)
{
	uint64_t rng = seed, leaf;

	for (int i = 0; i < 100 * TRIES && v->o.n_names; i++) {
		const struct name *name = &v->o.name[rng_below(&rng, v->o.n_names)];
		const struct file *f = sure_file(name);
		struct planted p = { .kind = PLANT_STALE, .cold = true };
		const struct version *now;
		uint8_t page[LEAF_SIZE];
		int m;

		if (!f || !f->n_leaves)
			continue;
		leaf = rng_below(&rng, f->n_leaves);
		if (!is_overwritten(v, f, leaf))
			continue;
		now = &f->leaf[leaf].v[oracle_version_at(&f->leaf[leaf], f->floor)];
		memcpy(page, now->page, LEAF_SIZE);
		page[rng_below(&rng, LEAF_SIZE)] ^= 1;
		p.leaf = leaf;
		p.op = now[-1].op;
		for (m = 0; m < n; m++)
			if (overwrite(mirror[m], name->name, leaf * LEAF_SIZE,
				      m ? page : now[-1].page, LEAF_SIZE))
				return 1;
		print_plant(&p, name->name, mirror[0]);
		return 0;
	}
	return 0;
}
