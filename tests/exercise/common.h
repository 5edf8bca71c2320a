/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the exercisers share: a small random generator whose whole state is
 * the seed (so a printed seed replays a run exactly), seeds from the command
 * line or the environment, and one-line deaths for trouble of the test
 * itself, as opposed to a fault found. No include of the project: these
 * programs look at a mounted tree from outside.
 */
#ifndef TESTS_EXERCISE_COMMON_H
#define TESTS_EXERCISE_COMMON_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

enum {
	EXERCISE_FAULT = 1,   /* the filesystem did wrong */
	EXERCISE_TROUBLE = 2, /* the test could not run */
};

/* splitmix64: passes from any seed, even 0 */
static inline uint64_t rng_next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static inline uint64_t rng_below(uint64_t *state, uint64_t n)
{
	return n ? rng_next(state) % n : 0;
}

static inline bool rng_one_in(uint64_t *state, uint64_t n)
{
	return rng_below(state, n) == 0;
}

static inline uint64_t seed_default(void)
{
	const char *env = getenv("MIRRORFS_TEST_SEED");
	struct timespec ts;

	if (env && *env)
		return strtoull(env, NULL, 0);
	clock_gettime(CLOCK_REALTIME, &ts);
	return ((uint64_t)ts.tv_sec * 1000003 + (uint64_t)ts.tv_nsec + (uint64_t)getpid()) %
	       1000000000;
}

static inline double seconds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Trouble of the test itself: "what: path: reason". */
static inline _Noreturn void die_errno(const char *what, const char *path)
{
	fprintf(stderr, "%s: %s: %s\n", what, path, strerror(errno));
	exit(EXERCISE_TROUBLE);
}

static inline void *must_alloc(size_t n)
{
	void *p = calloc(1, n ? n : 1);

	if (!p)
		die_errno("calloc", "memory");
	return p;
}

#endif
