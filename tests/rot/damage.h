/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The damages the planter knows, one function a kind, and what they need.
 * All paths are relative to the mirror, which is the working directory.
 */
#ifndef TESTS_ROT_DAMAGE_H
#define TESTS_ROT_DAMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define BLOCK 4096
#define SMALL_MAX (64 * 1024) /* files up to here have no hash file */

struct object {
	char *path;
	struct stat st;
	bool used; /* damaged already, here or (excluded) on another mirror */
};

struct rng {
	uint64_t state;
};

/* What was done, for the manifest. */
struct damage {
	char path[4096];     /* of the damage: the object, or the foreign one added */
	uint64_t off, len;   /* byte range, 0,0 for a whole object */
	uint8_t old[BLOCK];  /* bytes that were there */
	size_t old_len;
	uint8_t bad[BLOCK];  /* bytes a repair must put into quarantine */
	size_t bad_len;
	char detail[160];
};

enum plant_result {
	PLANT_DONE,
	PLANT_UNFIT, /* this object does not lend itself to it: take another */
};

struct kind {
	const char *name;
	unsigned types;    /* bits 1 << (S_IFMT >> 12) of the objects it fits */
	bool structural;   /* everything below the object goes with it */
	/* PLANT_* or a negative errno */
	int (*plant)(struct rng *rng, const struct object *o, struct damage *d);
};

extern const struct kind damage_kinds[];
extern const size_t damage_n_kinds;

uint64_t rng_next(struct rng *rng);
/* 0 .. n-1; n is not 0. */
uint64_t rng_below(struct rng *rng, uint64_t n);

#endif
