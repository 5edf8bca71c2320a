/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Marks in memory: a table by directory, and the renames that their paths have not
 * been through yet. Bounded: what would not fit becomes coarser, down to one mark that
 * says to compare everything; so adding never fails. Not locked: the owner has a
 * lock.
 */
#ifndef REPLICA_REMOTE_LEDGER_MARKS_H
#define REPLICA_REMOTE_LEDGER_MARKS_H

#include "replica/base/map.h"
#include "replica/remote/ledger.h"

#define LEDGER_NAMES 1000              /* single names of a directory */
#define LEDGER_DIRS 50000              /* directories */
#define LEDGER_NAME_BYTES (16u << 20)  /* memory of all names */
#define LEDGER_PATH_BYTES (16u << 20)  /* ... of all paths */
#define LEDGER_PATH_MAX 16384          /* bytes of a path */
#define LEDGER_MOVES 1000              /* renames that wait */

#define MARK_EACH (MARK_ENTRIES | MARK_NAMES) /* what many single names become */
#define MARK_FLAGS (MARK_ATTRS | MARK_EACH | MARK_BELOW)

/* Renames in their order. They are numbered on; those before `first` are in all paths. */
struct rename_op {
	char *from, *to;
	bool exchange;
};
struct renames {
	struct rename_op *v;             /* of number first, first + 1, ... */
	size_t n;
	uint64_t first;
};

struct mark_name {
	bool fresh;                 /* not in the log yet */
	char text[];
};

struct mark_entry {
	uint64_t id;
	char *path;
	size_t path_len;
	uint64_t moved;             /* number of the first rename that path has not been through */
	struct mark_name **name;    /* sorted */
	uint32_t n, room;
	size_t name_bytes;
	uint64_t seq;
	int64_t since;
	uint8_t flags;
	bool fresh;                 /* something of it is not in the log yet */
	bool logged;                /* something of it is */
	bool gone;                  /* taken, and the directory was removed since */
};

struct marks {
	struct map by_id;           /* id -> struct mark_entry * */
	bool all;                   /* everything is marked, and there is nothing else */
	uint64_t all_seq;
	int64_t all_since;
	bool rewrite;               /* `all` came up: the log must be made anew */
	uint64_t names;
	size_t name_bytes, path_bytes;
};

/* Of a new mark. */
struct mark_why {
	uint64_t seq;
	int64_t since;
	uint64_t moved;             /* the path has been through the renames before this one */
};

/* Paths: relative, no empty components, "" is the root. Names: one component. All that
 * is added here must be good. */
bool marks_good_path(const char *path);
bool marks_good_name(const char *name);

/* name NULL: flags only. */
void marks_add(struct marks *m, uint64_t id, const char *path, unsigned flags, const char *name,
	       const struct mark_why *why);
/* Everything. Needs no memory. */
void marks_add_all(struct marks *m, const struct mark_why *why);
struct mark_entry *marks_get(const struct marks *m, uint64_t id);
/* *at starts at 0. NULL: no more. The table must not change. */
struct mark_entry *marks_next(const struct marks *m, uint64_t *at);
void marks_drop(struct marks *m, uint64_t id);
/* Adds what e (of another table) says; its path only if there was none, or new_path. */
void marks_absorb(struct marks *m, const struct mark_entry *e, bool new_path);
/* All of `from`, which is empty afterwards. */
void marks_merge(struct marks *m, struct marks *from, bool new_path);
/* All of it is in the log. */
void marks_logged(struct marks *m);
void marks_clear(struct marks *m);
size_t marks_count(const struct marks *m);
size_t marks_memory(const struct marks *m);
/* About what they take in a log. */
uint64_t marks_log_size(const struct marks *m);
int64_t marks_since(const struct marks *m);
/* Whether no mark as old as seq concerns path (NULL: any). See ledger_reached. */
bool marks_reached(const struct marks *m, uint64_t seq, const char *path);

/* ---- renames ---- */
/* -ENOMEM: not queued. The caller sees to it that there are at most LEDGER_MOVES. */
int renames_add(struct renames *q, const char *from, const char *to, bool exchange);
/* Brings all paths up to date; the queue stays. false: for one there was no room, it is
 * wrong now, and everything must be marked. */
bool marks_move(struct marks *m, const struct renames *q);
/* All paths are right, and belong to another queue from now on, a new one. */
void marks_settled(struct marks *m);
/* Empties the queue, all tables having been moved. */
void renames_clear(struct renames *q);
static inline uint64_t renames_end(const struct renames *q)
{
	return q->first + q->n;
}

#endif
