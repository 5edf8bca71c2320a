/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One remote of a mounted volume. `lock` guards what others look at; what is
 * marked so belongs to the remote's own thread.
 *
 * Locks: remotes.list (shared by all who use a remote) -> remote.lock; both below all
 * locks of the engine, for the sealing notes changes with them held. A ledger has its own,
 * below these.
 */
#ifndef REPLICA_REMOTE_REMOTE_PRIV_H
#define REPLICA_REMOTE_REMOTE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "replica/base/map.h"
#include "replica/remote/brake.h"
#include "replica/remote/layout.h"
#include "replica/remote/ledger.h"
#include "replica/remote/moved.h"
#include "replica/remote/remote.h"
#include "replica/remote/retry.h"
#include "replica/remote/settle.h"

#define RATE_SLOTS 60
#define BATCH_SHIFT_MOST 5

struct reader;

struct remote {
	struct volume *v;
	struct ledger *ledger;
	struct reader *reader;       /* the read fall-back's own way to the server */
	pthread_t thread;
	bool running;

	pthread_mutex_t storing;     /* the definition, in the order of its changes; before lock */
	pthread_mutex_t lock;        /* down to `the thread's own` */
	pthread_cond_t wake;
	struct remote_def def;
	enum remote_state state;
	bool stop;                   /* the thread is to end */
	bool kick;                   /* a person wants it to try again now */
	bool released;               /* a person has released the brake */
	struct moved_list moved;
	bool lost;                   /* names are missing here: nothing of those is deleted there */
	char error[512];
	int64_t error_at;            /* s, real time */
	int64_t next_try;            /* ms, monotonic; 0: none */
	char url[512];
	uint64_t todo_files, todo_bytes;
	bool counting;
	uint64_t held_changes;
	uint64_t sent_files, sent_bytes, deleted, mended;
	uint64_t head, remote_files, remote_bytes;
	int64_t head_time;
	uint64_t rate[RATE_SLOTS];   /* bytes a second, by second */
	int64_t rate_at;
	char scrub[64];

	/* the thread's own */
	struct remote_secret secret;
	struct store *store;
	struct store_caps caps;
	struct layout *layout;
	struct retry retry;
	struct brake brake;
	struct settle_list unsettled;
	_Atomic uint64_t n_unsettled; /* for the status */
	unsigned surveys;            /* that counted for nothing, one after another */
	bool doubtful;               /* the last round was cut off, or may have been */
	struct map restless;         /* places of files that changed while they were sent */
	struct sweep *sweep;
	bool sweeping;               /* work may interrupt what is going on */
	bool probed;                 /* caps are of this server */
	unsigned endpoint;           /* the one in use, of def.url */
	uint64_t last_head;          /* as stored in the state file */
	int64_t stored_at;           /* ms, when that was last written */
	unsigned batch_shift;        /* commits are so much smaller than they may be */
	enum remote_state resting;   /* what it is between rounds: idle, or why something is left */
	_Atomic int64_t not_before;          /* ms: no round earlier, if only what was left is to be done */
	unsigned failed_rounds;      /* in a row, or connections that came to nothing */
	unsigned left_rounds;        /* in a row that something was wrong with */
	uint64_t seen_seq;           /* of the ledger, at the last round */
};

struct remotes {
	pthread_mutex_t adding;      /* one at a time; taken before the list */
	pthread_rwlock_t list;
	struct remote *r[REMOTE_MAX];
	size_t n;
};

/* Marks for the renames since it was last called; how many there ever were. */
uint64_t note_moved(struct remote *r);

/* One remote, with its ledger, no thread yet. */
int remote_make(struct volume *v, const struct remote_def *def, struct remote **out);
int remote_start(struct remote *r);
void remote_end(struct remote *r);       /* its thread */
void remote_free(struct remote *r);

int64_t remote_now_ms(void);       /* monotonic */
/* The thread is to leave off: end, pause, or a change of the definition. */
bool remote_stopping(void *r);
void remote_set_state(struct remote *r, enum remote_state s);
/* A failure that waiting or a person may mend: says it, waits as is due, and returns true to try
 * again; false: leave off. what: for people; result: of store.h. */
bool remote_trouble(struct remote *r, int result, const char *what);
/* What a failure of this kind makes of a remote; RETRY_NONE: something changes all the time. */
enum remote_state remote_state_of(enum retry_kind kind);
/* Something answered; something arrived, while other things may fail. */
void remote_went_well(struct remote *r);
void remote_flows(struct remote *r);
void remote_note_error(struct remote *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Changes the definition and stores it. change NULL: only stores it. The change holds also if
 * it cannot be stored. */
int remote_change(struct remote *r, void (*change)(struct remote_def *d, bool value), bool value);
/* Durably, with the definition. */
void remote_set_held(struct remote *r, bool held);
/* Bytes went up, for the rate. */
void remote_sent(struct remote *r, uint64_t bytes);

/* uploader.c: the thread. */
void *uploader_main(void *remote);

/* sync.c: one round: what the ledger has is looked at and brought to the remote. */
int sync_round(struct remote *r);
/* Whether r is to be tried again; waits first. For errors of the layout. */
bool sync_again(struct remote *r, int *result);

/* state.c: what is kept of the thread's own between mounts. */
int state_load(struct remote *r);
int state_store(struct remote *r);
/* The number of the last head alone, after each round. */
void state_store_head(struct remote *r);

/* sweep.c: the slow scrub. Does a little; false: nothing to do now. */
bool sweep_step(struct remote *r);
void sweep_free(struct remote *r);
/* Before the layout is closed. */
void sweep_leave(struct remote *r);
void sweep_resume(struct remote *r, const char *cursor);
bool sweep_cursor(struct remote *r, char out[LAYOUT_NAME_MAX]);

/* reader.c */
int reader_open(struct remote *r);
void reader_close(struct remote *r);
int reader_fetch(struct remote *r, const char *path, uint64_t id, uint64_t off, uint64_t len,
		 void *buf);

/* note.c */
/* Path of a node as ledgers have it: "" for the root. */
void note_path(struct volume *v, uint32_t node, char out[LAYOUT_NAME_MAX]);
/* Marks for a node, on one ledger. */
void note_node(struct volume *v, struct ledger *l, uint32_t node);

#endif
