/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the attach probe share. A step returns 0, having noted in
 * p->caps and said what is weak; or it has said why the server cannot be used and
 * returns the reason.
 *
 * probe.c       the list of steps, the small ones, cleaning up
 * probe_step.c  what the server can do
 * probe_body.c  large and broken bodies
 */
#ifndef REPLICA_REMOTE_PROBE_PRIV_H
#define REPLICA_REMOTE_PROBE_PRIV_H

#include "replica/remote/store.h"

#define PROBE_DIR ".mirrorfs/probe"
#define PROBE_LEFT_MAX 64
#define PROBE_BODY (16u << 20)   /* must be taken */

struct probe {
	struct store *s;
	struct store_caps *caps;
	void (*say)(void *arg, enum probe_level level, const char *line);
	void *arg;
	char mark[64];               /* content of this probe's own */
	const char *sweep;
	struct {
		char name[512];
		bool dir;
	} left[PROBE_LEFT_MAX];
	unsigned n_left;
};

struct probe_text {
	size_t n;
	char b[512];
};

void probe_say(struct probe *p, enum probe_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The line of op with what a person can do about it; returns err. */
int probe_fail(struct probe *p, int err, const struct store_op *op);
int probe_refuse(struct probe *p, int err, const char *line);

int probe_run(struct probe *p, struct store_op *op);
int probe_put(struct probe *p, const char *name, const char *text, struct store_op *op);
int probe_get(struct store *s, const char *name, uint64_t off, uint64_t len,
	      struct probe_text *text, struct store_op *op);

int probe_list(struct probe *p);
int probe_replace(struct probe *p);
int probe_range(struct probe *p);
int probe_move(struct probe *p);
int probe_copy(struct probe *p);
int probe_move_dir(struct probe *p);
int probe_exclusive(struct probe *p);
int probe_case(struct probe *p);
int probe_hash(struct probe *p);
int probe_body(struct probe *p);
int probe_announced(struct probe *p);
int probe_in_place(struct probe *p);

#endif
