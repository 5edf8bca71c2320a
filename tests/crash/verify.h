/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of verify share. */
#ifndef TESTS_CRASH_VERIFY_H
#define TESTS_CRASH_VERIFY_H

#include "tests/crash/events.h"
#include "tests/crash/oracle.h"

/* A file as read through the mount. */
struct content {
	uint64_t size;
	uint8_t *data;
	bool *failed;   /* of each leaf: it cannot be read */
	int error;      /* negative errno of the open or stat; -ENOENT: it is not there */
};

enum count {
	COUNT_LEAVES,
	COUNT_OLD,
	COUNT_NEW,
	COUNT_TORN,
	COUNT_MIDTORN,
	COUNT_UNVERIFIED,  /* leaves the volume flags */
	COUNT_ADOPTED,     /* counters of the volume */
	COUNT_SETTLED,
	COUNT_FLIPS,       /* planted */
	COUNT_FLIPS_SEEN,  /* an event tells of it */
	COUNT_FLIPS_KEPT,  /* came through in an in-flight leaf, flagged */
	COUNT_STALES,      /* planted */
	COUNT_STALES_EIO,
	COUNT_STALES_KEPT, /* returned, but flagged */
	COUNT_LOST,        /* from here on: violations */
	COUNT_FOREIGN,
	COUNT_EIO,
	COUNT_BLESSED,
	COUNT_NAMES,       /* missing, unknown, doubled */
	COUNT_FALSE_ROT,
	COUNT_UNDECIDED,   /* fsynced, and flagged as not verifiable */
	COUNT_UNSEEN,      /* rot of a file at rest that nobody reports */
	COUNT_FAILED,      /* repairs that failed, ejected mirrors */
	COUNTS,
};

struct verify {
	struct oracle o;
	struct events events;
	struct plants plants;
	const char *seed;
	unsigned long count[COUNTS];
};

/* Counts it and prints the line, with what is needed to do it again. */
void violation(struct verify *v, enum count kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

void content_read(struct content *c, int root, const char *name);
/* Judges one name by what was read; data_violations() alone prints nothing. */
void check_name(struct verify *v, const struct name *n, const struct content *c);
void check_unknown_names(struct verify *v, const char *root);
void check_events(struct verify *v);

enum flip_where {
	FLIP_ANY,
	FLIP_COLD,   /* nothing in flight there */
	FLIP_SPARED, /* in flight, and another copy is still as in the floor; several leaves */
};

/* verify flip MIRROR OTHER..., verify stale MIRROR MIRROR: prints lines for check -f. */
int plant_flip(struct verify *v, char *const *mirror, int n, uint64_t seed, enum flip_where where);
int plant_stale(struct verify *v, char *const *mirror, int n, uint64_t seed);

/* verify equal A B */
int trees_differ(const char *a, const char *b);

#endif
