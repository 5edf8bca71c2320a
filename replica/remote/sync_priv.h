/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One round of the uploader: see sync.c. First a survey, which changes nothing: it
 * counts what is to be sent and what would be lost, and finds what was moved. Then the moves,
 * then the same walk again, for good.
 */
#ifndef REPLICA_REMOTE_SYNC_PRIV_H
#define REPLICA_REMOTE_SYNC_PRIV_H

#include <string.h>

#include "replica/base/map.h"
#include "replica/hash.h"
#include "replica/ops.h"
#include "replica/remote/local.h"
#include "replica/remote/look.h"
#include "replica/remote/remote_priv.h"

#define SYNC_MOVES_MAX 200000    /* some 50 MB; beyond that things are sent again */

/* Was at the remote, and is not at that place here. */
struct sync_gone {
	uint64_t id;
	uint8_t type;
	struct layout_dir *dir;      /* referenced */
	char *name;
	uint64_t files;              /* it counts for so many */
	bool wanted;                 /* it is somewhere else here */
	uint64_t root;
	bool hidden;                 /* stored by id, with all below */
	bool out;                    /* moved out of the way, `token` has it */
	unsigned token;
};

/* Is here, and not at that place at the remote. */
struct sync_arrived {
	uint64_t id, root;
	uint8_t type;
	char *path;                  /* of the directory */
	char *name;
};

struct sync_late;

struct sync {
	struct volume *v;
	struct remote *r;
	struct layout *l;
	struct look *looks;
	uint64_t seq;                /* of the oldest mark taken */
	uint64_t renames;            /* there had been so many before the marks were taken */
	int64_t since;
	bool survey;
	bool held, released, lost;
	bool whole;                  /* whether that directory has all its names */
	uint64_t whole_of;
	unsigned depth, removing;
	unsigned out;                /* moved out of the way, and not in again: no commit before */
	uint64_t files, bytes;       /* to be sent, as the survey counts */
	uint64_t destroyed;          /* files deleted or overwritten */
	uint64_t allowed;            /* ... as the brake knows, or a person has released */
	uint64_t undone;             /* puts that failed: they destroyed nothing */
	bool moved;                  /* the moves of this round are done */
	uint64_t doomed;             /* ... as the walk comes upon them */
	uint64_t left;               /* what could not be done in this round */
	enum retry_kind worst;       /* ... why, of all that the worst */
	uint64_t held_changes;
	struct sync_gone *gone;
	size_t n_gone;
	struct map gone_by_id;       /* index + 1 */
	struct sync_arrived *arrived;
	size_t n_arrived;
	struct map arrived_ids;      /* of all of them, also beyond the list */
	struct map inodes;           /* ids of files of several names that were looked at */
	struct map pending;          /* ... whose content is staged since the last commit */
	struct sync_late *late;
	size_t n_late;
	struct map nameless;         /* ... to be looked at by a name that is gone */
};

/* A name of several that waits for its inode. */
struct sync_late {
	struct layout_dir *d;        /* referenced */
	char *name;
	uint64_t id;
};

/* What the remote has under a name, kept while other entries are read. */
struct sync_seen {
	bool there, link;
	uint8_t type;
	uint64_t id, files, refs;
	bool same;                   /* object, content and attributes as here */
	bool same_content;
	bool by_id;
	bool partial;                /* a directory that was cut off */
};

/* The call, again and again while waiting helps. */
#define TRY(s, result, call) \
	do { (result) = (call); } while (sync_again((s)->r, &(result)))

/* A place in the tree, for what is remembered of its file. */
static inline uint64_t sync_place(struct layout_dir *d, const char *name)
{
	return hash_bytes(name, strlen(name), layout_dir_id(d));
}

/* A directory here and there. d NULL: the remote has none (in a survey). */
int sync_dir(struct sync *s, uint32_t node, struct layout_dir *d, const struct look *k,
	     unsigned flags);
/* A file of several names was to be looked at by one that leads to it no more. */
void sync_lose(struct sync *s, const struct sync_seen *seen);
/* The inode of several names is left: it is found again by any of them. */
void sync_leave_inode(struct sync *s, uint64_t id, int result);
int sync_find(struct sync *s, struct layout_dir *d, const struct manifest_entry *mine,
	      const char *name, struct sync_seen *out);
int sync_commit(struct sync *s);
int sync_maybe_commit(struct sync *s);
/* This one is left for another round; the mark stays as old as it is. */
void sync_leave(struct sync *s, uint64_t dir, const char *path, const char *name, int result,
		const char *what);
/* name of d and everything below goes away at the remote. */
int sync_remove(struct sync *s, struct layout_dir *d, const char *name);
/* Files of several names. */
int sync_link(struct sync *s, struct layout_dir *d, const struct sync_seen *seen,
	      const struct entry *e, const struct manifest_entry *mine);
/* After a commit: names whose inodes are there now are staged. */
int sync_late_names(struct sync *s);
void sync_late_free(struct sync *s);
int sync_put(struct sync *s, struct layout_dir *d, const struct sync_seen *seen,
	     const struct entry *e, const struct manifest_entry *mine);

/* moves.c */
void moves_gone(struct sync *s, struct layout_dir *d, const struct manifest_entry *e);
void moves_arrived(struct sync *s, uint32_t dir, const struct manifest_entry *mine);
/* Whether the survey has seen it gone from its place, or arrive at one. */
bool moves_has_gone(struct sync *s, uint64_t id);
bool moves_has_arrived(struct sync *s, uint64_t id);
/* After the survey: pairs; what was only moved is neither sent nor destroyed. */
int moves_match(struct sync *s);
bool moves_wanted(const struct sync *s);
int moves_do(struct sync *s);
/* What is about to be removed is to be moved: then it is out of the way now. *r: what came of
 * it. */
bool moves_rescue(struct sync *s, struct layout_dir *d, const char *name, uint64_t id, int *r);
void moves_free(struct sync *s);

#endif
