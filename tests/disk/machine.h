/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulated disks of one machine: their bytes (NAME.cur), the faults they
 * are told to have, their counters, and the common request log. Requests are
 * numbered over all disks as they complete.
 *
 * machine.lock orders completions: it is held while a write reaches NAME.cur
 * and the log, so that number, log and bytes agree. machine.fault_lock guards
 * the faults; requests wait under its condition, never with machine.lock held.
 * Neither is taken inside the other.
 */
#ifndef TESTS_DISK_MACHINE_H
#define TESTS_DISK_MACHINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/disk/trace.h"

#define MAX_RULES 16

enum disk_op { DISK_READ, DISK_WRITE, DISK_SYNC, DISK_OPS };

/* Requests of these kinds that touch the range fail. */
struct rule {
	unsigned ops; /* bits 1 << enum disk_op */
	uint64_t off, end;
	uint64_t skip, count; /* so many pass first, then so many fail */
	int error;            /* negative errno */
};

struct disk {
	char name[TRACE_NAME_SIZE];
	unsigned index;
	uint64_t size;
	int fd; /* NAME.cur */

	/* machine.fault_lock */
	struct rule rule[MAX_RULES];
	unsigned n_rules;
	unsigned delay_ms[DISK_OPS];
	bool hang, lie;

	/* machine.lock */
	uint64_t done[DISK_OPS]; /* completed without an error */
	uint64_t failed;
	uint64_t written;
};

struct machine {
	int dirfd;
	struct disk disk[TRACE_MAX_DISKS];
	unsigned n_disks;
	bool (*over)(void); /* asked by waiting requests: give up? */

	pthread_mutex_t lock;
	uint64_t seq;
	struct trace_writer trace;

	pthread_mutex_t fault_lock;
	pthread_cond_t fault_changed;
};

extern struct machine machine;

int machine_init(const char *dir);
/* spec: NAME=SIZE. Opens or creates NAME.cur. */
int machine_add(const char *spec);
struct disk *machine_find(const char *name);

/* All that is written so far is durable; starts an empty log. */
int machine_record(void);
void machine_stop(void);
/* Images of all disks as after a cut now. */
int machine_snap(const char *outdir, uint64_t seed, unsigned percent, unsigned torn);
int machine_mark(const char *text);
uint64_t machine_seq(void);

ssize_t disk_read(struct disk *d, void *buf, size_t len, uint64_t off);
int disk_write(struct disk *d, const void *buf, size_t len, uint64_t off);
int disk_flush(struct disk *d);

#endif
