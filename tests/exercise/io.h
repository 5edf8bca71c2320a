/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What io.c (models, handles, faults, the run) and io_ops.c (the operations)
 * of the I/O exerciser share. Invariants: model bytes past the size are zero,
 * so growing needs no fill. A file is in buffered or in direct mode; a switch
 * drops the mapping, syncs and drops the cache, so that only defined
 * combinations are tested.
 */
#ifndef TESTS_EXERCISE_IO_H
#define TESTS_EXERCISE_IO_H

#include "common.h"

#define PAGE	     4096
#define PAGE_UP(n)   (((n) + PAGE - 1) & ~(size_t)(PAGE - 1))
#define PAGE_DOWN(n) ((n) & ~(size_t)(PAGE - 1))
#define LOG_LINES    30
#define LOG_LEN	     120

enum handle { H_RW, H_RW2, H_RD, H_APPEND, H_DIRECT, H_NR };

struct model {
	char name[48];
	unsigned int generation; /* part of the name, new for each rename */
	bool linked;		 /* false: lives on through its handles only */
	bool direct;		 /* the mode, see above */
	int fd[H_NR];
	bool map_dirty;	    /* written through the mapping and not synced since */
	unsigned char *map; /* MAP_SHARED over io_run.max bytes, or NULL */
	unsigned char *data;
	size_t size;
	size_t cap; /* how large this file may grow */
	char log[LOG_LINES][LOG_LEN];
	unsigned long logged;
};

struct io_run {
	uint64_t seed;
	uint64_t rng;
	long op;
	long ops;
	int nfiles;
	size_t max;
	double limit;
	int dirfd;
	const char *dir;
	struct model *files;
	struct model *now;  /* file of the current operation, for SIGBUS */
	unsigned char *buf; /* page aligned, max + PAGE */
	bool no_direct;
	bool sync_first; /* before SEEK_DATA and SEEK_HOLE */
};

extern struct io_run io_run;

/* Says once for each `what` that the filesystem lacks it, with errno. */
void io_note_unsup(const char *what);
/* One line into the file's ring of last operations. */
__attribute__((format(printf, 2, 3))) void io_log(struct model *f, const char *fmt, ...);
/* Reports a fault of the filesystem, with errno, and ends the run. */
__attribute__((format(printf, 2, 3))) _Noreturn void io_fault(struct model *f, const char *fmt,
							      ...);
/* Compares `len` bytes that were read at `off` with the model. */
void io_check(struct model *f, size_t off, const unsigned char *got, size_t len, const char *how);

size_t io_rnd(size_t n);
size_t io_pick_offset(const struct model *f);
/* At least 1 unless the limit is 0. */
size_t io_pick_length(size_t limit);
/* Bytes that name the operation and their place, or zeros, or a plain run. */
void io_fill(unsigned char *buf, size_t off, size_t len);

void io_model_write(struct model *f, size_t off, const unsigned char *src, size_t len);
void io_model_resize(struct model *f, size_t size);

int io_open_handle(struct model *f, int flags);
/* Opens the handle if need be; -1 only for O_DIRECT on a filesystem without. */
int io_get_fd(struct model *f, enum handle h);
void io_close_fd(struct model *f, enum handle h);
void io_close_all(struct model *f);
void io_drop_map(struct model *f);
void io_set_mode(struct model *f, bool direct);
int io_get_buffered(struct model *f);
int io_get_writable(struct model *f);
int io_get_direct(struct model *f);
void io_new_name(struct model *f);
void io_create(struct model *f);

/* io_ops.c: one random operation on the file. */
void io_step(struct model *f);
/* Size, link count and every byte. */
void io_verify_whole(struct model *f, int fd, const char *how);

#endif
