/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log of acknowledgements: its lines, and what the load writes. */
#include "tests/crash/oplog.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void oplog_write(FILE *out, const struct op *op)
{
	fprintf(out,
		"%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %d %d %c %" PRIu64 " %" PRIu64
		" %" PRIu64 " %s\n",
		op->id, op->end, op->seq0, op->seq1, op->thread, op->result, op->kind, op->file,
		op->off, op->len, *op->name ? op->name : "-");
	fflush(out);
}

static int by_id(const void *a, const void *b)
{
	const struct op *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static int parse(FILE *in, struct oplog *log)
{
	size_t cap = 0;
	struct op op;
	int n;

	for (;;) {
		memset(&op, 0, sizeof(op));
		n = fscanf(in,
			   "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %d %d %c %" SCNu64
			   " %" SCNu64 " %" SCNu64 " %47s\n",
			   &op.id, &op.end, &op.seq0, &op.seq1, &op.thread, &op.result, &op.kind,
			   &op.file, &op.off, &op.len, op.name);
		if (n == EOF)
			return ferror(in) ? -EIO : 0;
		if (n != 11)
			return -EINVAL;
		if (log->n == cap) {
			struct op *more = realloc(log->op, (cap = cap ? 2 * cap : 1024) * sizeof(op));

			if (!more)
				return -ENOMEM;
			log->op = more;
		}
		log->op[log->n++] = op;
	}
}

int oplog_read(const char *path, struct oplog *log)
{
	FILE *in = fopen(path, "r");
	int r = in ? 0 : -errno;

	memset(log, 0, sizeof(*log));
	if (!r)
		r = parse(in, log);
	if (in)
		fclose(in);
	if (r)
		fprintf(stderr, "%s: after %zu lines: %s\n", path, log->n, strerror(-r));
	else if (log->n)
		qsort(log->op, log->n, sizeof(*log->op), by_id);
	return r;
}

static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

void content_fill(uint8_t *buf, uint64_t file, uint64_t op, uint64_t off, size_t len)
{
	uint64_t base = mix(mix(file + 0x9e3779b97f4a7c15ull) ^ op), word;
	uint64_t at = off;
	size_t n;

	for (; len; buf += n, at += n, len -= n) {
		word = mix(base + (at >> 3) * 0x9e3779b97f4a7c15ull);
		n = 8 - (at & 7) < len ? 8 - (at & 7) : len;
		memcpy(buf, (uint8_t *)&word + (at & 7), n);
	}
}
