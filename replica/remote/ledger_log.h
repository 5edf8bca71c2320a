/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of a ledger: its records, made of marks and played back into marks. No
 * state and no locks; the layout is at the head of ledger_log.c.
 */
#ifndef REPLICA_REMOTE_LEDGER_LOG_H
#define REPLICA_REMOTE_LEDGER_LOG_H

#include "replica/remote/ledger_marks.h"

/* The beginning of a record, its hash with it: tells records apart. */
#define LOG_HEAD 24

/* Bytes being put together. Once memory failed, nothing more is added. */
struct wire {
	uint8_t *p;
	size_t len, room;
	size_t last;                /* where the last record begins */
	bool failed;
};
void wire_free(struct wire *w);

void log_put_head(struct wire *w, const char *remote_id, uint64_t seq);
void log_put_move(struct wire *w, const struct rename_op *mv);
void log_put_void(struct wire *w, const uint64_t *id, size_t n);
enum log_how {
	LOG_FRESH,                  /* what the log has not got */
	LOG_WHOLE,                  /* all of it */
	LOG_REPLACE,                /* ... in place of what the log said of this directory */
};
void log_put_mark(struct wire *w, const struct mark_entry *e, enum log_how how);
void log_put_all(struct wire *w, const struct marks *m);

/* What became of reading a log. */
struct log_state {
	uint64_t size;              /* of the file */
	uint64_t last;              /* where its last good record begins */
	uint8_t head[LOG_HEAD];     /* ... and how */
	uint64_t seq;               /* the highest in it */
	uint64_t digest;            /* of all its records: equal logs have equal ones */
	uint64_t skipped;           /* bytes in the middle that are no good records */
	uint64_t torn;              /* ... at the end */
	int err;                    /* it could not be read (on) */
};

/* Plays the log back into m, which is empty. Damaged records are left out and counted. */
void log_replay(int fd, const char *remote_id, struct marks *m, struct log_state *s);

#endif
