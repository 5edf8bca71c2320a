/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger: two tables of marks, what waits (`pending`) and what is being worked
 * on (`taken`), and the logs that hold both together. Invariant: what the log of a mirror
 * plays back to, with all that is fresh added, covers pending and taken.
 *
 * Locks: io_lock guards the logs and lets one flush run at a time; lock guards all
 * else and is never held over I/O, so that a mark waits for no disk. io_lock is taken
 * first; volume.sb_lock is taken within it (ejection). lock takes no other.
 */
#ifndef REPLICA_REMOTE_LEDGER_PRIV_H
#define REPLICA_REMOTE_LEDGER_PRIV_H

#include <pthread.h>

#include "replica/remote/ledger_log.h"
#include "replica/remote/remote_def.h"

/* A log as it was left. */
struct log_place {
	uint64_t size, ino;
	uint64_t last;              /* where its last record begins, and how */
	uint8_t head[LOG_HEAD];
};

struct ledger {
	struct volume *v;
	char id[REMOTE_ID_TEXT];
	char place[64];             /* of the log in .mirrorfs */

	pthread_mutex_t io_lock;    /* have, log, told */
	uint32_t have;              /* mirrors whose log says what it should */
	struct log_place log[MAX_MIRRORS]; /* ... of them */
	bool told;                  /* that the ledger cannot be stored */

	pthread_mutex_t lock;       /* all below */
	struct marks pending, taken;
	struct renames renames;         /* since the last flush */
	uint64_t moved;             /* all paths have been through those before this one */
	struct map voided;          /* ids whose marks in the log are over */
	bool rewrite;               /* records cannot say what happened: make the logs anew */
	uint64_t seq;
	unsigned held;              /* marks that belong together are under way */
	struct mark *out;           /* what ledger_take gave out, NULL: nothing */
	size_t n_out;
	uint64_t bytes;             /* of the log, as of the last flush */
};

/* ---- l->lock held ---- */
/* Brings all paths up to date. */
void ledger_catch_up(struct ledger *l);
/* A new mark on everything. */
void ledger_mark_all(struct ledger *l);
/* Frees what ledger_take gave out. */
void ledger_free_out(struct ledger *l);

#endif
