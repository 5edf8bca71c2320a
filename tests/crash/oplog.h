/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of acknowledgements, kept outside the mirrors: what a load did, when
 * it was asked for and when it was acknowledged, one line an operation. Two
 * clocks: tickets, drawn before an operation and after it (of two operations
 * one is known to be over before the other began if its end is less than the
 * other's id), and the numbers of the simulated disks' requests, which tell an
 * operation from a power cut.
 *
 * What is written is a function of file, operation and offset, so any byte of
 * any version can be made again, and every byte tells where it comes from.
 */
#ifndef TESTS_CRASH_OPLOG_H
#define TESTS_CRASH_OPLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define OP_NAME_SIZE 48
#define LEAF_SIZE    4096u

enum op_kind {
	OP_CREATE = 'C',   /* name; the id of this operation is the file's */
	OP_WRITE = 'W',    /* off, len */
	OP_ZERO = 'Z',     /* a write of zeros */
	OP_DSYNC = 'Y',    /* a write with RWF_DSYNC: when it returns, its range is durable */
	OP_TRUNCATE = 'T', /* off: the new size */
	OP_PUNCH = 'P',    /* off, len */
	OP_FSYNC = 'F',
	OP_DATASYNC = 'D',
	OP_SYNCFS = 'S',   /* no file */
	OP_DIRSYNC = 'N',  /* of the thread's directory */
	OP_RENAME = 'R',   /* the file's name becomes `name` */
};

struct op {
	uint64_t id, end;    /* tickets */
	uint64_t seq0, seq1; /* last request of the disks before and after it */
	uint64_t file;       /* id of the OP_CREATE, or 0 */
	uint64_t off, len;
	int thread;
	int result;          /* 0 or a negative errno */
	char kind;           /* enum op_kind */
	char name[OP_NAME_SIZE];
};

struct oplog {
	struct op *op; /* by id */
	size_t n;
};

void oplog_write(FILE *out, const struct op *op);
/* 0 or a negative errno; says what is wrong on stderr. */
int oplog_read(const char *path, struct oplog *log);

/* The bytes [off, off + len) that operation `op` writes to `file`. */
void content_fill(uint8_t *buf, uint64_t file, uint64_t op, uint64_t off, size_t len);

#endif
