/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Journals on one to three mirrors, without the rest of the engine: a volume
 * made by hand, whose mirrors are plain directories. What is on disk is put
 * there by the offsets of docs/format.md. Every record tells its number in all
 * its fields, so that a scan can check them.
 */
#ifndef TESTS_UNIT_JOURNAL_H
#define TESTS_UNIT_JOURNAL_H

#include "tests/unit/tmpdir.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "replica/base/log.h"
#include "replica/fan.h"
#include "replica/hash.h"
#include "replica/journal.h"
#include "replica/volume.h"

#define RING JOURNAL_MIN
#define BLOCK 4096
#define PAYLOAD_MAX (JOURNAL_RECORD_MAX - JOURNAL_HEADER)

static const uint8_t volume_id[16] = "volume 123456789";

/* ---- a volume by hand ---- */

struct set {
	struct volume v;
	int dir;                    /* of all mirrors */
	int fd[3];                  /* .mirrorfs of each */
};

static inline void set_paths(struct set *s, unsigned n)
{
	static char path[3][16] = { "mirror 0", "mirror 1", "mirror 2" };

	memset(&s->v, 0, sizeof(s->v));
	s->v.n = s->v.sb.n_members = n;
	memcpy(s->v.sb.volume_id, volume_id, 16);
	s->v.sb.epoch = 1;
	pthread_mutex_init(&s->v.sb_lock, NULL);
	event_log_init(&s->v.events);
	for (unsigned m = 0; m < n; m++) {
		s->v.m[m].path = path[m];
		s->v.m[m].rootfd = s->v.m[m].dotfd = s->fd[m];
	}
	atomic_store(&s->v.in_sync, (1u << n) - 1);
}

static inline struct set set_new(void **state, unsigned n)
{
	struct set s = { .dir = *(int *)*state };

	log_set_level(LOG_LEVEL_ERROR);
	for (unsigned m = 0; m < n; m++) {
		char name[16];

		snprintf(name, sizeof(name), "m%u", m);
		assert_int_equal(mkdirat(s.dir, name, 0700), 0);
		s.fd[m] = openat(s.dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(s.fd[m] >= 0);
	}
	set_paths(&s, n);
	return s;
}

static inline void set_free(struct set *s)
{
	journal_close(&s->v);
	for (unsigned m = 0; m < s->v.n; m++)
		close(s->fd[m]);
	fan_stop();
}

static inline uint32_t all(const struct set *s)
{
	return (1u << s->v.n) - 1;
}

/* As after another start of the program. */
static inline void set_reopen(struct set *s, bool unclean)
{
	journal_close(&s->v);
	set_paths(s, s->v.n);
	atomic_store(&s->v.unclean, unclean);
	assert_int_equal(journal_open(&s->v, all(s), true), 0);
}

/* ---- files, by the offsets of the format ---- */

static inline void le64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, 8);
}

/* A small ring, made by hand: laps are cheap, and the header is pinned. */
static inline void put_ring(struct set *s, int m, uint64_t size, uint64_t first)
{
	uint8_t *file = calloc(1, BLOCK + size);

	assert_non_null(file);
	memcpy(file, "MFSJOURN", 8);
	le64(file + 8, 1);
	le64(file + 16, size);
	le64(file + 24, first);
	memcpy(file + 32, volume_id, 16);
	le64(file + 48, hash_bytes(file, 48, 0));
	put_file(s->fd[m], "journal", file, BLOCK + size);
	free(file);
}

static inline struct set set_small(void **state, unsigned n)
{
	struct set s = set_new(state, n);

	for (unsigned m = 0; m < n; m++)
		put_ring(&s, (int)m, RING, RING);
	assert_int_equal(journal_open(&s.v, all(&s), true), 0);
	return s;
}

static inline struct stat file_of(struct set *s, int m)
{
	struct stat st;

	assert_int_equal(fstatat(s->fd[m], "journal", &st, 0), 0);
	return st;
}

static inline uint64_t content_of(struct set *s, int m)
{
	char *text;
	size_t len;
	uint64_t h;

	assert_int_equal(io_read_file(s->fd[m], "journal", 64u << 20, &text, &len), 0);
	h = hash_bytes(text, len, 0);
	free(text);
	return h;
}

/* ---- records ---- */

static uint8_t filler[PAYLOAD_MAX];

/* A record that tells its number n and size again in every field. */
static inline struct journal_record make(uint64_t n, uint32_t size)
{
	return (struct journal_record){
		.type = (uint8_t)(1 + n % (JOURNAL_TYPES - 1)), .flags = (uint8_t)n,
		.id = n, .gen = n * 3, .arg = ~n, .payload = filler + n % 64,
		.size = size < PAYLOAD_MAX - 64 ? size : PAYLOAD_MAX - 64,
	};
}

static inline void assert_is(const struct journal_record *r, uint64_t n)
{
	struct journal_record want = make(n, r->size);

	assert_int_equal(r->type, want.type);
	assert_int_equal(r->flags, want.flags);
	assert_int_equal(r->gen, want.gen);
	assert_int_equal(r->arg, want.arg);
	assert_memory_equal(r->payload, want.payload, r->size);
}

static inline uint64_t append(struct set *s, uint64_t n, uint32_t size)
{
	struct journal_record r = make(n, size);

	assert_int_equal(journal_append(&s->v, &r), 0);
	return r.lsn;
}

static inline uint64_t length_of(uint32_t size)
{
	return (JOURNAL_HEADER + (uint64_t)size + 7) / 8 * 8;
}

/* What a scan found: how often each n. */
struct found {
	unsigned n[4096];
	unsigned total;
	uint64_t lsn[4096];
};

static inline int note(const struct journal_record *r, void *arg)
{
	struct found *f = arg;

	assert_true(r->id < N_ELEMS(f->n));
	assert_is(r, r->id);
	f->n[r->id]++;
	f->lsn[r->id] = r->lsn;
	f->total++;
	return 0;
}

static inline struct found scan(struct set *s, int m)
{
	struct found f = { .total = 0 };

	assert_int_equal(journal_scan(&s->v, m, note, &f), 0);
	return f;
}

/* Exactly first..last, each once. */
static inline void assert_found(struct set *s, int m, uint64_t first, uint64_t last)
{
	struct found f = scan(s, m);

	for (uint64_t n = first; n <= last; n++)
		assert_int_equal(f.n[n], 1);
	assert_int_equal(f.total, last + 1 - first);
}

static inline int fill(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (size_t i = 0; i + 8 <= sizeof(filler); i += 8)
		le64(filler + i, next_random(&seed));
	return 0;
}

#endif
