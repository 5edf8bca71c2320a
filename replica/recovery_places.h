/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names after a power cut: the three steps of recovery_names() and what they
 * hand to each other. A place is a name in a directory (by the directory's id:
 * directories move, too), an object is an id. recovery_look.c reads what each
 * mirror has at each place, recovery_index.c sorts it, recovery_places.c decides
 * which object each place is to have, recovery_plan.c and recovery_moves.c make
 * it so on one mirror.
 *
 * Single-threaded, before the tree is in use: no locks.
 */
#ifndef REPLICA_RECOVERY_PLACES_H
#define REPLICA_RECOVERY_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replica/recovery.h"
#include "replica/volume.h"

/* Index of "nowhere" among directories, places and objects. */
#define PLACE_NONE UINT32_MAX
/* What must leave its place before another one is free waits in DOT_DIR/tmp. */
#define PLACES_TMP "tmp"
#define PLACES_PARKED "names-"        /* ... and the id, 16 hex digits */
#define PLACES_MADE "names-new"       /* a directory under construction */
#define PLACES_BEGUN "names-begun"    /* this mirror is being changed */

enum cell_kind {
	CELL_ABSENT,
	CELL_ID,     /* an object with a valid record */
	CELL_BARE,   /* no record, and an empty file or a directory: a creation cut short */
	CELL_ODD,    /* anything else, or unknown: left to the checks */
};

/* What one mirror has at one place. */
struct cell {
	uint64_t id, ino;
	uint8_t kind;            /* enum cell_kind */
	uint8_t type;            /* S_IFMT >> 12 */
};

struct place {
	uint32_t dir;            /* index */
	char *name;
	struct cell *cell;       /* one a member of the volume */
	const struct recovery_name *word; /* the newest durable one that counts, or NULL */
	bool disputed;
	uint64_t want;           /* id that is to stand here, 0: nothing */
	uint64_t best;           /* ... of the best decision so far */
	uint32_t group;          /* disputed: its group, as a place (union-find) */
};

/* Where a directory is on one mirror. */
enum dir_where {
	DIR_UNKNOWN,             /* not found, and that says nothing; or unreadable */
	DIR_ABSENT,
	DIR_FOUND,
};

struct place_dir {
	uint64_t id;
	uint64_t gen;            /* the best of its records */
	const struct recovery_dir *dirty; /* or NULL: never sealed, below a dirty one */
	bool compared;           /* its names may differ */
	bool entered;            /* an entry of a directory that was listed leads to it */
	uint32_t unreadable;     /* mirrors that could not list it */
	uint32_t first, n;       /* its places */
	uint8_t where[MAX_MIRRORS]; /* enum dir_where */
	char *path[MAX_MIRRORS]; /* relative, "" the root; NULL if not found. Follows moves */
};

/* An object that has a disputed place. */
struct place_object {
	uint64_t id;
	bool isdir;
	uint32_t group;          /* place, as above */
	uint32_t have;           /* bit m: mirror m has it, or may */
	uint32_t first, n;       /* in places.at: all its places on all mirrors */
	uint32_t first_word, n_words; /* in places.word */
	bool gone;               /* decided: nowhere, and a durable word says so */
	bool planned;            /* the mirror at hand has tasks for it */
};

/* One entry of one directory of one mirror, as listed. */
struct found {
	uint32_t dir;
	int m;
	char *name;
	struct cell cell;
	uint64_t gen;
	bool open;               /* record says OPEN */
};

/* What waits in DOT_DIR/tmp, left by a run that was cut short. */
struct parked {
	uint64_t id;
	int m;
};

struct places {
	struct volume *v;
	uint32_t mask;           /* mirrors compared */
	uint32_t mixed;          /* a run was cut short while it changed them */
	struct map by_id;        /* id of a directory -> index */
	struct place_dir *dir;
	size_t n_dir, cap_dir;
	struct found *found;
	size_t n_found, cap_found;
	struct parked *parked;
	size_t n_parked;
	struct place *place;     /* by directory, then name */
	size_t n_place;
	struct cell *cells;
	struct place_object *object; /* by id */
	size_t n_object;
	uint32_t *at;
	const struct recovery_name **word; /* those that lead somewhere, by id */
	size_t n_word;
	uint64_t moved, removed, quarantined;
};

/* ---- recovery_look.c ---- */

/* Finds the dirty directories and lists them on every mirror, and what is
 * parked. 0 or -ENOMEM. */
int places_look(struct places *p);
/* Descriptor of a directory of mirror m by its path; no link is followed. -errno. */
int places_open(const struct places *p, int m, const char *path, int flags);
/* What parentfd/name is. gen, open: of its record, may be NULL. */
void places_read(const struct places *p, int m, int parentfd, const char *name,
		 struct cell *c, uint64_t *gen, bool *open);
/* Path of a place on mirror m for people; any mirror's if m lacks it. */
void places_path(const struct places *p, int m, uint32_t place, char *out, size_t size);

/* Index of the directory, or PLACE_NONE. */
uint32_t places_find_dir(const struct places *p, uint64_t id);

/* ---- recovery_index.c ---- */

/* Places and objects from what was found. 0 or -ENOMEM. */
int places_index(struct places *p);
/* NULL: no place of it is disputed. */
struct place_object *places_object(const struct places *p, uint64_t id);
void places_free(struct places *p);

/* ---- recovery_places.c ---- */

/* What is to stand in each disputed place. 0 or -ENOMEM. */
int places_decide(struct places *p);

/* ---- recovery_plan.c ---- */

/* A name without a record, of a creation that not every mirror has seen. */
bool places_is_leftover(const struct places *p, int m, uint32_t place);
/* Makes mirror m as decided. true: something was changed. */
bool places_apply(struct places *p, int m);

#endif
