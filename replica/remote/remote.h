/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The remotes of a mounted volume: what the rest of the program knows of
 * them. Each remote has a thread that looks at its ledger and brings the
 * server up to date; nobody waits for it but who asks to.
 */
#ifndef REPLICA_REMOTE_REMOTE_H
#define REPLICA_REMOTE_REMOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replica/file.h"
#include "replica/remote/remote_def.h"
#include "replica/remote/store.h"
#include "replica/volume.h"

struct remotes;

/* Reads the definitions; no thread yet. 0 also when a definition is damaged. */
int remotes_init(struct volume *v);
/* Starts a thread a remote (none on a read-only mount). */
int remotes_start(struct volume *v);
/* Ends the threads; uploads under way are cut off. Ledgers stay open for the last sealing. */
void remotes_stop(struct volume *v);
void remotes_fini(struct volume *v);

/* ---- from the engine; cheap, and nothing when there are no remotes ---- */
/* An object has changed or is about to be sealed. */
void remotes_note(struct volume *v, uint32_t node);
/* Between the two the remotes take no notice, and then of all that was noted together. */
void remotes_hold(struct volume *v);
void remotes_let(struct volume *v);
/* What had the name of directory `from` (an id) was renamed. */
void remotes_moved(struct volume *v, uint64_t from, const char *name, uint64_t to,
		   const char *new_name);
/* Nobody knows what has changed: everything is compared. */
void remotes_note_all(struct volume *v);
/* Before the mirrors are synced. */
void remotes_flush(struct volume *v);
/* op_rename did it (exchange: both), paths before. Directories only. */
void remotes_renamed(struct volume *v, const char *from, const char *to, bool exchange);
void remotes_removed_dir(struct volume *v, uint64_t id);
/* Mirror m has joined those in sync: it gets what is kept of the remotes. */
void remotes_joined(struct volume *v, int m);
static inline bool remotes_any(const struct volume *v)
{
	return v->remotes != NULL && atomic_load(&v->has_remotes);
}

/*
 * Leaves that no mirror has: n leaves from `leaf` on of a file of this size, as a remote has
 * them, into buf (zeros beyond the end). The caller checks each leaf. Waits for the network,
 * at most some seconds. 0, -ENODATA (no remote, or none has it).
 */
int remotes_fetch(struct volume *v, uint32_t node, uint64_t id, uint64_t leaf, uint64_t size,
		  uint64_t n, void *buf, char *source, size_t source_size);

/* ---- for people, through the control socket ---- */
enum remote_state {
	REMOTE_STARTING,
	REMOTE_IDLE,           /* everything is there */
	REMOTE_UPLOADING,
	REMOTE_WAITING,        /* trouble at the server or on the way: tried again later */
	REMOTE_PAUSED,
	REMOTE_HELD,           /* the brake: deletes and overwrites wait for a person */
	REMOTE_AUTH,           /* credentials or certificate refused */
	REMOTE_MISCONFIGURED,  /* the server or the definition: a person */
	REMOTE_CONFLICT,       /* somebody else writes there, or it holds something else */
	REMOTE_STOPPED,        /* end of the mount, or a read-only one */
};
const char *remote_state_name(enum remote_state s);

struct remote_status {
	char name[REMOTE_NAME_MAX + 1], id[REMOTE_ID_TEXT];
	enum remote_kind kind;
	enum remote_state state;
	char url[512];               /* in use, without secrets */
	char error[512];             /* the last one, "" none */
	int64_t error_at;            /* real time, s */
	int64_t next_try;            /* s from now, 0: none is planned */
	double lag;                  /* s: age of the oldest change that is not there */
	uint64_t files, bytes;       /* still to be sent, as far as it is known */
	bool counting;               /* ... and not known in full yet */
	uint64_t rate;               /* bytes/s, of the last minute */
	uint64_t sent_files, sent_bytes, deleted; /* since the mount */
	uint64_t remote_files, remote_bytes;      /* in the newest head */
	uint64_t head;               /* its number, 0: none yet */
	int64_t head_time;           /* s */
	uint64_t unsettled;          /* stored, to be looked at again */
	uint64_t mended;             /* found missing or wrong there and sent again */
	uint64_t held_changes;       /* deletes and overwrites that the brake holds */
	char scrub[64];              /* "", or how far the remote scrub is */
};
/* Up to max remotes; returns how many. */
size_t remotes_status(struct volume *v, struct remote_status *out, size_t max);

#define REMOTE_SAY_MAX 512
/* say gets the lines of the probe. def: name, kind, urls, ...; id and writer are made here. error:
 * one line. adopt: the store may hold what this volume wrote before. */
int remotes_add(struct volume *v, const struct remote_def *def, bool adopt,
		void (*say)(void *arg, enum probe_level level, const char *line), void *arg,
		char error[REMOTE_SAY_MAX]);
/* Forgets it here; nothing is deleted there. */
int remotes_remove(struct volume *v, const char *name, char error[REMOTE_SAY_MAX]);
int remotes_probe(struct volume *v, const char *name,
		  void (*say)(void *arg, enum probe_level level, const char *line), void *arg,
		  char error[REMOTE_SAY_MAX]);
int remotes_pause(struct volume *v, const char *name, bool paused, char error[REMOTE_SAY_MAX]);
/* The brake; states auth and misconfigured: try again now. */
int remotes_release(struct volume *v, const char *name, char error[REMOTE_SAY_MAX]);
/*
 * What was written before the call is there: seals, takes the ledger's number, and waits. path
 * relative to the root, NULL: everything. timeout_ms < 0: none. stop (may be NULL) is asked some
 * times a second and gets the lag. 0, -ETIMEDOUT, -EINTR (stop said so), -ENOENT (no such
 * remote), -EAGAIN with error: it will not get there by itself (paused, held, auth, ...).
 */
int remotes_wait(struct volume *v, const char *name, const char *path, int64_t timeout_ms,
		 int (*stop)(void *arg, const struct remote_status *s), void *arg,
		 char error[REMOTE_SAY_MAX]);

#endif
