/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests for pieces of files: a few at a time, which bounds the memory. A
 * piece that comes wrong is asked for once more; one that meets trouble waits,
 * and while the server has trouble as a whole only one request goes out to see
 * whether it is over. No locks.
 */
#include "replica/remote/restore_job.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/hash.h"

#define TRIES_LEAST 3u             /* of one piece, before others are tried instead */
#define WAIT_MS 50                 /* between looks, while something waits to be tried again */

enum slot_state { SLOT_FREE, SLOT_RUNNING, SLOT_WAITING };

struct slot {
	enum slot_state state;
	struct store_op op;
	struct job *job;
	uint64_t off;
	uint8_t *buf;
	size_t len, got;
	struct retry retry;        /* of this piece alone */
	int64_t trouble_ms;        /* since when it has trouble, 0: none */
	int64_t again_ms;          /* not asked for before */
	bool again;                /* asked for anew because it came wrong */
};

/* ---- what came ---- */

static void add_range(struct job *j, uint64_t off, uint64_t len)
{
	size_t at = strlen(j->why);

	j->err = -EBADMSG;
	if (!j->ranges)
		at = (size_t)snprintf(j->why, sizeof(j->why), "damaged content, bytes");
	if (j->ranges++ == RANGES_MOST)
		snprintf(j->why + at, sizeof(j->why) - at, " and more");
	else if (j->ranges <= RANGES_MOST)
		snprintf(j->why + at, sizeof(j->why) - at, "%s %" PRIu64 "+%" PRIu64,
			 j->ranges > 1 ? "," : "", off, len);
}

/* Every row of bad leaves in the piece. */
static void name_ranges(struct job *j, const struct slot *k)
{
	uint64_t first = k->off / LEAF_SIZE;
	size_t at = 0;

	while (at < k->len) {
		uint64_t bad, good = content_check(j->e.id, first + at / LEAF_SIZE, k->buf + at,
						   k->len - at, j->hash, true, &bad);
		size_t from = at + (size_t)good * LEAF_SIZE, len = (size_t)bad * LEAF_SIZE;

		if (!bad)
			break;
		add_range(j, k->off + from, from + len < k->len ? len : k->len - from);
		at = from + len;
	}
}

/* -EBADMSG: not what was asked for. The first time the slot is just asked again. */
static int check_piece(struct slot *k)
{
	struct job *j = k->job;
	uint64_t bad;

	if (k->op.size != UINT64_MAX && k->op.size != j->e.size) {
		snprintf(j->why, sizeof(j->why), "its content has %" PRIu64 " bytes instead of %"
			 PRIu64, k->op.size, j->e.size);
		return j->err = -EBADMSG;
	}
	if (k->got != k->len)
		return -EPROTO;
	content_check(j->e.id, k->off / LEAF_SIZE, k->buf, k->len, j->hash, j->known, &bad);
	if (bad && !k->again)
		return -EBADMSG;
	if (bad)
		name_ranges(j, k);
	return 0;
}

static void take_piece(struct run *r, struct slot *k)
{
	struct job *j = k->job;

	if (j->err || r->o->dry_run || !k->len)
		return;
	if (job_is_large(j) && !j->local)
		j->local = keep_piece(j->fd, j->partial, k->buf, k->off, k->len,
						    j->hash + k->off / LEAF_SIZE);
	else if (!job_is_large(j))
		j->small = steal_ptr(&k->buf);
}

static int slot_write(void *arg, const void *buf, size_t len)
{
	struct slot *k = arg;

	if (len > k->len - k->got)
		return -EPROTO;
	memcpy(k->buf + k->got, buf, len);
	k->got += len;
	return 0;
}

static void slot_free(struct run *r, struct slot *k)
{
	struct job *j = k->job;

	free(k->buf);
	*k = (struct slot){ .state = SLOT_FREE };
	if (--j->out == 0 && j->planned)
		job_end(r, j);
}

static void lacks(struct job *j, int err, const char *line)
{
	if (j->err)
		return;
	j->err = err;
	snprintf(j->why, sizeof(j->why), "%s", line);
}

/*
 * One object that only ever meets trouble is not to hold up the rest for ever: after some
 * time one that went well before is asked for. true: that goes, so it is the object.
 */
static bool object_is_broken(struct run *r, struct slot *k)
{
	struct slot probe = { .len = 1, .buf = (uint8_t[1]){ 0 } };
	int64_t now = clock_ms();
	uint64_t chance;

	io_random(&chance, sizeof(chance));
	k->trouble_ms = k->trouble_ms ? k->trouble_ms : now;
	k->again_ms = now + retry_delay(&k->retry, k->op.retry_after, chance);
	if (k->retry.failures < TRIES_LEAST || !r->good ||
	    now - k->trouble_ms < r->from.patience_ms / 10)
		return false;
	probe.op = (struct store_op){ .verb = STORE_GET, .name = r->good, .len = 1,
				      .write = slot_write, .write_arg = &probe };
	if (store_run(r->from.content, &probe.op) == 0) {
		origin_good(&r->from);
		r->given_up++;
		return true;
	}
	k->trouble_ms = now;
	return false;
}

void slots_remember(struct run *r, const char *object, uint64_t size)
{
	if (!r->good && size)
		r->good = strdup(object);
}

/* The operation of a slot has come back. */
static void slot_done(struct run *r, struct slot *k)
{
	int err = k->op.result;
	bool came = err == 0;

	if (r->fatal) {
		slot_free(r, k);
		return;
	}
	if (came) {
		origin_good(&r->from);
		err = check_piece(k);
		if (err == 0)
			slots_remember(r, k->job->object, k->len);
	}
	if (err == 0) {
		take_piece(r, k);
	} else if (origin_trouble(err) == TROUBLE_PERSON) {
		run_fatal(r, err, "%s", k->op.error);
	} else if (origin_trouble(err) == TROUBLE_PASSES && !object_is_broken(r, k)) {
		k->state = SLOT_WAITING;
		if (origin_bad(&r->from, k->op.retry_after, k->op.error) < 0)
			run_trouble(r, -EAGAIN);
	} else if ((err == -EBADMSG || err == -EPROTO) && !k->again && job_wants_more(k->job)) {
		k->state = SLOT_WAITING; /* it may have been the way */
		k->again = true;
	} else {
		lacks(k->job, err, came ? "its content comes cut off" : k->op.error);
	}
	if (k->state != SLOT_WAITING || r->fatal)
		slot_free(r, k);
}

/* ---- slots ---- */

static void slot_submit(struct run *r, struct slot *k)
{
	int err;

	k->got = 0;
	k->state = SLOT_RUNNING;
	k->op = (struct store_op){ .verb = k->len ? STORE_GET : STORE_HEAD, .name = k->job->object,
				   .off = k->off, .len = k->len, .write = slot_write,
				   .write_arg = k, .user = k };
	err = store_submit(r->from.content, &k->op);
	if (err < 0) {
		run_fatal(r, err, "%s: %s", k->job->object, strerror(-err));
		slot_free(r, k);
	}
}

/* In trouble one request goes out to see whether it is over. */
static void resubmit(struct run *r)
{
	int64_t now = clock_ms();
	unsigned running = 0;

	for (unsigned i = 0; i < r->n_slots; i++)
		running += r->slot[i].state == SLOT_RUNNING;
	for (unsigned i = 0; i < r->n_slots && !r->fatal; i++) {
		if (r->slot[i].state != SLOT_WAITING || now < r->from.again_ms ||
		    now < r->slot[i].again_ms)
			continue;
		if (r->from.trouble_ms && running)
			break;
		slot_submit(r, &r->slot[i]);
		running++;
	}
}

static bool waiting(const struct run *r)
{
	for (unsigned i = 0; i < r->n_slots; i++)
		if (r->slot[i].state == SLOT_WAITING)
			return true;
	return false;
}

int fetch_pump(struct run *r, int ms)
{
	struct store_op *op;

	resubmit(r);
	if (waiting(r) && ms > WAIT_MS)
		ms = WAIT_MS;
	op = r->fatal ? NULL : store_next(r->from.content, ms);
	if (op)
		slot_done(r, op->user);
	run_tell(r, NULL, NULL);
	return r->fatal;
}

static struct slot *free_slot(struct run *r)
{
	for (;;) {
		for (unsigned i = 0; i < r->n_slots; i++)
			if (r->slot[i].state == SLOT_FREE)
				return &r->slot[i];
		if (fetch_pump(r, 200))
			return NULL;
	}
}

int fetch_drain(struct run *r)
{
	for (;;) {
		bool any = false;

		for (unsigned i = 0; i < r->n_slots; i++)
			any |= r->slot[i].state != SLOT_FREE;
		if (!any || r->fatal)
			return r->fatal;
		fetch_pump(r, 200);
	}
}

bool slot_ask(struct run *r, struct job *j, uint64_t off, size_t len)
{
	struct slot *k = free_slot(r);

	if (!k || !job_wants_more(j))
		return false;
	k->buf = malloc(len ? len : 1);
	if (!k->buf) {
		j->local = -ENOMEM;
		return false;
	}
	k->job = j;
	k->off = off;
	k->len = len;
	j->out++;
	slot_submit(r, k);
	return !r->fatal;
}

/* ---- beginning and end ---- */

int slots_init(struct run *r)
{
	r->n_slots = r->o->parallel && r->o->parallel < RESTORE_PARALLEL ? r->o->parallel :
		RESTORE_PARALLEL;
	r->slot = calloc(r->n_slots, sizeof(*r->slot));
	return r->slot ? 0 : -ENOMEM;
}

void slots_fini(struct run *r)
{
	struct store_op *op;

	if (!r->slot)
		return;
	store_cancel_all(r->from.content);
	while (store_running(r->from.content))
		if ((op = store_next(r->from.content, 1000)))
			slot_free(r, op->user);
	while ((op = store_next(r->from.content, 0)))
		slot_free(r, op->user);
	for (unsigned i = 0; i < r->n_slots; i++)
		if (r->slot[i].state != SLOT_FREE)
			slot_free(r, &r->slot[i]);
	free(r->slot);
	free(r->good);
	r->slot = NULL;
	r->good = NULL;
}
