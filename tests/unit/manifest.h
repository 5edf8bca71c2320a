/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random entries and damaged texts, for the programs that test the objects at
 * a remote.
 */
#ifndef TESTS_UNIT_MANIFEST_H
#define TESTS_UNIT_MANIFEST_H

#include <errno.h>

#include <sodium.h>

#include "replica/remote/manifest.h"
#include "tests/unit/tmpdir.h"

#define TYPE_OF(mode) ((mode) >> 12)
#define ERR	      char error[256] = ""

/* ---- making entries ---- */

static inline char *text_of(const char *s)
{
	char *p = strdup(s);

	assert_non_null(p);
	return p;
}

/* Any bytes but zero and '/', or plain text. */
static inline char *random_name(uint64_t *seed)
{
	size_t i, n = 1 + next_random(seed) % (next_random(seed) % 8 ? 20 : 255);
	bool wild = next_random(seed) % 3 == 0;
	char *name = calloc(n + 1, 1);

	for (i = 0; i < n; i++) {
		name[i] = wild ? (char)(1 + next_random(seed) % 255)
			       : (char)(' ' + next_random(seed) % 95);
		if (name[i] == '/')
			name[i] = '"';
	}
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		name[0] = '\\';
	return name;
}

static inline struct manifest_ref random_ref(uint64_t *seed)
{
	struct manifest_ref ref = { .seq = 1 + (next_random(seed) >> 2) };
	size_t i;

	for (i = 0; i < SHA256_LEN; i++)
		ref.sha256[i] = (uint8_t)next_random(seed);
	return ref;
}

static inline void add_xattr(struct manifest_entry *e, const char *name, const void *value,
			     size_t len)
{
	struct manifest_xattr *x;

	e->xattr = realloc(e->xattr, (e->n_xattr + 1) * sizeof(*x));
	assert_non_null(e->xattr);
	x = &e->xattr[e->n_xattr++];
	x->name = text_of(name);
	x->value = malloc(len + 1);
	memcpy(x->value, value, len);
	x->len = len;
}

static inline void random_xattrs(struct manifest_entry *e, uint64_t *seed)
{
	uint8_t value[300];
	char name[24];
	size_t i, j, n = next_random(seed) % 4;

	for (i = n; i > 0; i--) { /* not sorted */
		snprintf(name, sizeof(name), "user.%zu%s", i,
			 next_random(seed) % 2 ? "\xff\x01" : "");
		for (j = 0; j < sizeof(value); j++)
			value[j] = (uint8_t)next_random(seed);
		add_xattr(e, name, value, next_random(seed) % sizeof(value));
	}
}

static inline void random_by_type(struct manifest_entry *e, uint64_t *seed)
{
	if (e->type == TYPE_OF(S_IFREG)) {
		e->root = next_random(seed);
		e->leaves = random_ref(seed);
	} else if (e->type == TYPE_OF(S_IFDIR)) {
		e->dir = random_ref(seed);
		e->files = next_random(seed) >> 1;
		e->bytes = next_random(seed) >> 1;
	} else if (e->type == TYPE_OF(S_IFLNK)) {
		e->target = random_name(seed);
	} else if (e->type == TYPE_OF(S_IFCHR) || e->type == TYPE_OF(S_IFBLK)) {
		e->rdev = next_random(seed);
	}
}

static inline struct manifest_entry random_entry(uint64_t *seed)
{
	static const uint8_t all_types[] = { 1, 2, 4, 6, 8, 10, 12 };
	struct manifest_entry e = {
		.name = random_name(seed),
		.type = all_types[next_random(seed) % N_ELEMS(all_types)],
		.by_id = next_random(seed) % 2,
		.id = next_random(seed) | 1,
	};

	if (e.type != TYPE_OF(S_IFDIR) && next_random(seed) % 8 == 0) {
		e.link = true;
		return e;
	}
	e.gen = next_random(seed) >> 1;
	e.size = next_random(seed) >> 1;
	e.mode = next_random(seed) & 07777;
	e.uid = (uint32_t)next_random(seed);
	e.gid = (uint32_t)next_random(seed);
	e.mtime = (int64_t)next_random(seed);
	e.atime = (int64_t)next_random(seed);
	e.ctime = (int64_t)next_random(seed);
	e.refs = next_random(seed) % 3;
	random_by_type(&e, seed);
	random_xattrs(&e, seed);
	return e;
}

static inline int by_name(const void *a, const void *b)
{
	return strcmp(((const struct manifest_entry *)a)->name,
		      ((const struct manifest_entry *)b)->name);
}

static inline struct manifest random_manifest(uint64_t *seed, size_t n)
{
	struct manifest m = { .id = next_random(seed) | 1 };
	size_t i, kept = 0;

	m.entry = calloc(n + 1, sizeof(*m.entry));
	for (i = 0; i < n; i++)
		m.entry[i] = random_entry(seed);
	qsort(m.entry, n, sizeof(*m.entry), by_name);
	for (i = 0; i < n; i++) {
		if (kept && !by_name(&m.entry[kept - 1], &m.entry[i]))
			manifest_entry_clear(&m.entry[i]);
		else
			m.entry[kept++] = m.entry[i];
	}
	m.n = kept;
	return m;
}

/* Also what manifest_entry_same leaves aside. */
static inline void assert_equal(const struct manifest_entry *a, const struct manifest_entry *b)
{
	assert_true(manifest_entry_same(a, b));
	assert_string_equal(a->name ? a->name : "", b->name ? b->name : "");
	assert_int_equal(a->by_id, b->by_id);
	assert_int_equal(a->object, b->object);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->gen, b->gen);
	assert_int_equal(a->atime, b->atime);
	assert_int_equal(a->refs, b->refs);
	assert_int_equal(a->files, b->files);
	assert_int_equal(a->bytes, b->bytes);
	assert_memory_equal(&a->leaves, &b->leaves, sizeof(a->leaves));
	assert_memory_equal(&a->dir, &b->dir, sizeof(a->dir));
}

/* ---- texts ---- */

/* The whole of it under a right first line, no zero behind it. To be freed. */
static inline char *with_line(const char *what, const char *body, size_t n, size_t *len)
{
	uint8_t hash[SHA256_LEN];
	char hex[2 * SHA256_LEN + 1];
	char *all = malloc(n + 200);

	crypto_hash_sha256(hash, (const uint8_t *)body, n);
	sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
	*len = (size_t)sprintf(all, "mirrorfs-%s 1 %s\n", what, hex);
	memcpy(all + *len, body, n);
	*len += n;
	return realloc(all, *len); /* the sanitizer sees what reads beyond */
}

static const char *body_of(const char *text)
{
	return strchr(text, '\n') + 1;
}

/* ---- damage under a right hash ---- */

static inline size_t mutate(char *p, size_t n, size_t room, uint64_t *seed)
{
	static const char spice[] = "\"\\{}[],:0123456789-.eEtfn \n\xff\x80/";
	size_t at = next_random(seed) % n, from = next_random(seed) % n, len;
	char piece[30];

	switch (next_random(seed) % 5) {
	case 0:
		p[at] = (char)(p[at] ^ 1 << next_random(seed) % 8);
		return n;
	case 1:
		p[at] = spice[next_random(seed) % (sizeof(spice) - 1)];
		return n;
	case 2:
		len = 1 + next_random(seed) % 20;
		len = len < n - at ? len : n - at - 1;
		memmove(p + at, p + at + len, n - at - len);
		return n - len;
	case 3:
		len = 1 + next_random(seed) % sizeof(piece);
		if (from + len > n || n + len > room)
			return n;
		memcpy(piece, p + from, len);
		memmove(p + at + len, p + at, n - at);
		memcpy(p + at, piece, len);
		return n + len;
	default:
		p[at] = (char)('0' + next_random(seed) % 10);
		return n;
	}
}

static inline void fuzz(uint64_t *seed, const char *what, const char *body, size_t n,
			int (*decode)(const char *text, size_t len), int rounds, int *taken)
{
	char *p = malloc(n + 1000), *all;
	size_t len, now;
	int i, err;

	for (i = 0; i < rounds; i++) {
		memcpy(p, body, n);
		now = n;
		do {
			now = mutate(p, now, n + 1000, seed);
		} while (now < 2 || next_random(seed) % 3 == 0);
		all = with_line(what, p, now, &len);
		err = decode(all, len);
		assert_true(err == 0 || err == -EBADMSG || err == -EPROTONOSUPPORT);
		*taken += !err;
		free(all);
	}
	free(p);
}

#endif
