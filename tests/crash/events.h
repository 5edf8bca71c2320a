/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a volume says of itself after a recovery, the event lines of its
 * mirrors, and the damages that were planted before it.
 */
#ifndef TESTS_CRASH_EVENTS_H
#define TESTS_CRASH_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/crash/oplog.h"

struct event_line {
	char *text;                 /* the whole line, escaped as it stands */
	char *action, *path, *found; /* in a copy of it, cut at the tabs */
	uint64_t off, len;          /* len 0: all of the object */
};

struct events {
	struct event_line *line;    /* each once, however many mirrors have it */
	size_t n, cap;
};

enum plant_kind {
	PLANT_FLIP = 'f',  /* a bit of one mirror's copy */
	PLANT_STALE = 's', /* one copy is an older version, the others are damaged */
};

struct planted {
	char kind;                  /* enum plant_kind */
	bool cold;                  /* no operation later than the floor */
	bool spared;                /* PLANT_FLIP: another copy was whole and as in the floor */
	char name[OP_NAME_SIZE];
	uint64_t leaf;
	unsigned byte, mask;        /* PLANT_FLIP: within the leaf */
	uint32_t op;                /* PLANT_STALE: index of the older version's in the file */
};

struct plants {
	struct planted p[128];
	size_t n;
};

/* Adds the lines of a file; none if it is not there. 0 or a negative errno. */
int events_read(struct events *e, const char *path);
/* Sorts, and drops what is there twice. */
void events_unify(struct events *e);
/* Whether the line is about a byte of this leaf (or all of the object). */
bool event_covers(const struct event_line *e, const char *name, uint64_t leaf);
/* One of that action covers it. */
bool events_have(const struct events *e, const char *action, const char *name, uint64_t leaf);

int plants_read(struct plants *plants, const char *path);
const struct planted *plants_find(const struct plants *plants, const char *name, uint64_t leaf);

#endif
