/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the load share. Each worker has a directory and files of
 * its own that nobody else writes, so the order of operations on a file is
 * known. The log has a lock; the rest of `load` is constant while workers run.
 */
#ifndef TESTS_CRASH_LOAD_H
#define TESTS_CRASH_LOAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "tests/crash/oplog.h"

#define MAX_THREADS 16
#define MAX_SLOTS   64
#define SMALL_MAX   (96u << 10)  /* a "small" file may outgrow 64 KiB now and then */
#define LARGE_MAX   (9u << 20)
#define WRITE_MAX   (256u << 10)

/* A name and the file it leads to. */
struct slot {
	char name[OP_NAME_SIZE];
	uint64_t file, size;
	int fd; /* -1: closed */
	bool large;
};

struct worker {
	pthread_t thread;
	int index;
	uint64_t rng;
	struct slot slot[MAX_SLOTS];
	unsigned n_slots, n_created, n_temps;
	unsigned long done;
	uint8_t buf[WRITE_MAX + LEAF_SIZE];
};

struct action {
	const char *name;
	unsigned weight;
	/* 0 or a negative errno, of an operation that is in the log */
	int (*run)(struct worker *w, struct slot *s);
};

struct load {
	int root;          /* the volume */
	int seq;           /* the disks' number of requests, or -1 */
	FILE *log;
	pthread_mutex_t lock; /* the log */
	_Atomic uint64_t ticket;
	_Atomic bool stop;
	unsigned n_small, n_large, n_idle, max_created, pause_ms;
	unsigned long ops; /* of each worker */
};

extern struct load load;
extern struct action load_actions[];
extern const size_t load_n_actions;

/* The file of a slot as it is before the recording, fsynced. */
int load_prefill(struct worker *w, struct slot *s, uint64_t size);
int load_sync_dir(struct worker *w);
int load_sync_all(struct worker *w);
int load_run_random(struct worker *w);
void load_close(struct slot *s);

/* writeback.c: of the mirrors that were added, none is fine. */
void writeback_add(const char *mirror);
int writeback_start(uint64_t seed);
void writeback_stop(void);

#endif
