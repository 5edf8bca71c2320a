/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The request log of the simulated disks: what was written and flushed, in the
 * order of completion over all disks. DIR/log has a header and one entry of
 * fixed size a request, DIR/log.data the bytes written. An entry is appended
 * after its bytes, so that a reader beside the writer only sees whole requests.
 * The writer has no lock of its own: the machine's lock orders the appends.
 */
#ifndef TESTS_DISK_TRACE_H
#define TESTS_DISK_TRACE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TRACE_MAX_DISKS 16
#define TRACE_NAME_SIZE 32
#define SECTOR_SIZE     512

enum trace_op {
	TRACE_WRITE = 'W',
	TRACE_ZERO = 'Z',  /* a write of zeros; has no bytes in log.data */
	TRACE_FLUSH = 'F',
	TRACE_LIE = 'L',   /* a flush that was acknowledged and not done */
	TRACE_MARK = 'M',  /* a text; has the number of the request before it */
};

struct trace_entry {
	uint64_t seq;
	uint64_t off;  /* F, L: number of the last request when it began */
	uint64_t data; /* W, M: where the bytes are in log.data */
	uint32_t len;
	uint8_t op;
	uint8_t disk;
	uint16_t unused;
};

struct trace_header {
	char magic[8];
	uint32_t n_disks;
	uint32_t unused;
	uint64_t first; /* number of the last request before the recording */
	struct {
		char name[TRACE_NAME_SIZE];
		uint64_t size;
	} disk[TRACE_MAX_DISKS];
};

struct trace_writer {
	int fd, data_fd; /* -1: not recording */
	uint64_t end, data_end;
};

/* An empty log in place of the one in dirfd, if any. */
int trace_create(struct trace_writer *w, int dirfd, const struct trace_header *header);
/* data: entry->len bytes for W and M, else NULL. Sets entry->data. */
int trace_append(struct trace_writer *w, struct trace_entry *entry, const void *data);
void trace_close(struct trace_writer *w);

/* A log being read, mapped as far as it went when it was opened. */
struct trace {
	const struct trace_header *header;
	const struct trace_entry *entry;
	size_t n;
	const uint8_t *data;
	uint64_t last; /* number of the last request in it */
	size_t map_len, data_len;
};

int trace_open(struct trace *t, int dirfd);
void trace_unmap(struct trace *t);
/* One line an entry: number, disk, operation, offset, length (or the text). */
void trace_list(const struct trace *t, FILE *out);

#endif
