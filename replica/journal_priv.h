/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What journal.c (records, appending, flushing) and journal_file.c (the file,
 * opening, scanning) share, and nobody else.
 *
 * Head and tail change under journal.lock, which is held over the writes of
 * an append: whoever reads a head knows that all below it was written. A
 * mirror's ring is synced, or exchanged, by one thread at a time, the one that
 * has set its `busy`; those who come meanwhile wait, and most find afterwards
 * that what they wanted is done.
 *
 * Locks: journal.lock, ring.lock, room_lock: each takes no other. Nobody is
 * ejected while one is held.
 */
#ifndef REPLICA_JOURNAL_PRIV_H
#define REPLICA_JOURNAL_PRIV_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "replica/journal.h"
#include "replica/volume.h"

#define JOURNAL_BLOCK 4096u /* header of the file, before the ring */
#define JOURNAL_ALIGN 8u

/* Somebody who waits for a ring that is busy. A semaphore each, for the
 * reason given in fan.c. */
struct waiter {
	sem_t wake;
	struct waiter *next;
};

struct ring {
	int fd;            /* -1: none. Changed under journal.lock by the busy one */
	int open_err;      /* why there is none */
	uint64_t size;     /* bytes */
	uint64_t first;    /* records below do not count */
	uint64_t end;      /* while opening: above all its records */
	uint64_t tail;     /* while opening: highest that a record tells of */

	pthread_mutex_t lock; /* all below */
	bool busy;
	int sync_err;      /* a sync failed: none is tried again */
	uint64_t flushed;  /* what is below is durable */
	struct waiter *waiting;
};

struct journal {
	bool write;
	bool found;              /* some mirror had one when it was opened */
	uint64_t size;           /* of each ring, bytes */
	pthread_mutex_t lock;    /* below; also held over the writes of an append */
	_Atomic uint64_t head;   /* number of the next record */
	_Atomic uint64_t tail;
	uint8_t buf[JOURNAL_RECORD_MAX + JOURNAL_BLOCK];
	pthread_mutex_t room_lock; /* for the condition alone */
	pthread_cond_t room;
	struct ring m[MAX_MIRRORS];
};

/* Of a record in the ring. */
static inline size_t journal_length(uint32_t payload)
{
	return (JOURNAL_HEADER + payload + JOURNAL_ALIGN - 1) & ~(size_t)(JOURNAL_ALIGN - 1);
}

/* Makes the ring of mirror m the caller's alone, once its sync has ended. */
void journal_enter_ring(struct ring *g);
/* ring.lock held. Wakes those who wait. */
void journal_leave_ring(struct ring *g);

#endif
