/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tasks that bring the names of one mirror to what was decided: made by
 * recovery_plan.c, carried out by recovery_moves.c.
 */
#ifndef REPLICA_RECOVERY_MOVES_H
#define REPLICA_RECOVERY_MOVES_H

#include "replica/recovery_places.h"

#define PARKED_LEN 32

enum task_kind {
	TASK_MOVE,   /* from -> to; from PLACE_NONE: it is parked */
	TASK_LINK,   /* a further link of the object at `to` */
	TASK_MAKE,   /* the directory at `to` */
	TASK_RMDIR,  /* from, once it is empty */
	TASK_ASIDE,  /* from, to quarantine, once nothing else waits for it */
};

struct task {
	enum task_kind kind;
	struct place_object *o;
	uint32_t from, to;       /* places */
	bool done;
};

struct moves {
	struct places *p;
	int m;
	int tmpfd;               /* of DOT_DIR/tmp, -1: not there yet */
	struct task *task;
	size_t n, cap;
	bool changed;
};

static inline struct cell *moves_cell(const struct moves *w, uint32_t place)
{
	return &w->p->place[place].cell[w->m];
}

void moves_add(struct moves *w, enum task_kind kind, struct place_object *o, uint32_t from,
	       uint32_t to);
/* Carries out what can be, in whatever order works; logs the rest. */
void moves_run(struct moves *w);

/* At once. Failures are logged. */
bool moves_quarantine(struct moves *w, uint32_t place, const char *why);
/* An empty leftover; one that has got content since goes to quarantine. */
bool moves_clear(struct moves *w, uint32_t place);
/* One of several links of an inode that stays; a second object of the same id
 * goes to quarantine. */
bool moves_drop_link(struct moves *w, const struct place_object *o, uint32_t place);
/* A name of a file that is gone by a durable word. */
void moves_remove_file(struct moves *w, const struct place_object *o, uint32_t place);

void moves_parked_name(const struct place_object *o, char out[PARKED_LEN]);
/* renameat that never replaces, on any filesystem. */
int moves_rename(int from, const char *name, int to, const char *new_name);

#endif
