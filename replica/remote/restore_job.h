/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between restore_file.c and restore_slot.c: a job is one file, a slot is one
 * piece of a file that is asked for.
 */
#ifndef REPLICA_REMOTE_RESTORE_JOB_H
#define REPLICA_REMOTE_RESTORE_JOB_H

#include "replica/file.h"
#include "replica/remote/restore_priv.h"

#define RANGES_MOST 8u             /* bad ones that are named */

struct job {
	struct place *dir;
	char *name;
	struct layout_dir *d;
	struct manifest_entry e;   /* what it is to be */
	struct linked *link;       /* the first of several names, or NULL */
	char *object;
	uint64_t own;              /* id that it gets here, 0: none yet */
	uint64_t *hash;            /* of its leaves */
	bool known;                /* ... from the remote, not from what came */
	uint8_t *small;            /* all of it, if it is small */
	int fd;                    /* else the temporary file */
	bool partial;              /* which held something before */
	bool anew;                 /* asked for once more, as its sum was wrong */
	bool second;               /* e is that of an upload under way */
	char *first;               /* the object as the head says, once another place was tried */
	unsigned place, maybe;     /* of first: elsewhere place - 1, as upload maybe - 1 makes it; 0: as it is */
	bool planned;              /* no more pieces will be asked for */
	unsigned out;              /* pieces under way */
	int err;                   /* of the remote: it lacks */
	int local;                 /* of this side */
	char why[400];
	unsigned ranges;           /* named in why */
	struct job *next;          /* in run.redo */
};

static inline bool job_is_large(const struct job *j)
{
	return j->e.size > SMALL_MAX;
}

/* Further bad ranges of a large file are worth naming, up to a point. */
static inline bool job_wants_more(const struct job *j)
{
	return !j->local && (!j->err || (j->ranges && j->ranges < RANGES_MOST));
}

/* Nothing is under way for it, and nothing more will be: it is stored, told as lacking or
 * put on run.redo. */
void job_end(struct run *r, struct job *j);

/* ---- restore_slot.c ---- */
int slots_init(struct run *r);
/* Whatever is under way comes back first. */
void slots_fini(struct run *r);
/* Asks for a piece once a slot is free; len 0: only for the size. false: no more of this job. */
bool slot_ask(struct run *r, struct job *j, uint64_t off, size_t len);

#endif
