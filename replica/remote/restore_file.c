/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Content of files. A job is one file; it is asked for in pieces of whole
 * leaves (restore_slot.c). Small files stay in memory until they are checked.
 * Large ones are written to `.mirrorfs/tmp`, each piece after its leaves were
 * checked, and get their name when all are good; what an earlier run left of
 * one there is not asked for again where the hashes say that it is right.
 *
 * What matches neither its entry nor that of an upload under way gets no name
 * at all. No locks.
 */
#include "replica/remote/restore_job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/hash.h"

/* ---- the end of a job ---- */

static void job_free(struct run *r, struct job *j)
{
	if (j->fd >= 0)
		close(j->fd);
	place_release(r, j->dir);
	layout_dir_put(r->from.layout, j->d);
	manifest_entry_clear(&j->e);
	free(j->hash);
	free(j->small);
	free(j->object);
	free(j->first);
	free(j->name);
	free(j);
}

/* Nothing of an earlier run must stay under the name. */
static void drop_file(struct run *r, struct job *j)
{
	if (!r->o->dry_run)
		keep_drop(r, j->dir, j->name, j->own);
	if (j->link)
		link_settle(r, j->link, j->dir, j->name, NULL);
}

static void push_redo(struct run *r, struct job *j)
{
	j->next = r->redo;
	r->redo = j;
}

/* What the next upload under way was to make of it. */
static bool next_maybe(struct run *r, struct job *j)
{
	const struct manifest_entry *maybe;
	struct manifest_entry e;

	while ((maybe = layout_maybe(r->from.layout, j->first, j->maybe))) {
		j->maybe++;
		if (maybe->type != j->e.type || maybe->id < FIRST_ID || maybe->id > RESTORE_ID_MAX ||
		    (j->link && maybe->id != j->e.id))
			continue;
		if (manifest_entry_copy(&e, maybe) < 0)
			return false;
		if (e.id > r->max_id)
			r->max_id = e.id;
		manifest_entry_clear(&j->e);
		j->e = e;
		return j->second = true;
	}
	return false;
}

/* true: it is tried again, where a move under way may have brought it, or as what an upload
 * under way was to make of it. */
static bool second_try(struct run *r, struct job *j)
{
	char other[LAYOUT_NAME_MAX];

	if (!j->first)
		j->first = strdup(j->object ? j->object : "");
	if (!j->first || !*j->first)
		return false;
	if (layout_elsewhere(r->from.layout, j->first, j->place, other) == 0) {
		j->place++;
	} else {
		j->place = 0;
		if (!next_maybe(r, j))
			return false;
	}
	j->anew = false;
	push_redo(r, j);
	return true;
}

/* Without leaf hashes only the sum of all tells. */
static bool sum_is_wrong(struct job *j)
{
	if (j->err || j->local || j->known ||
	    content_sum(j->hash, leaves_of(j->e.size)) == j->e.root)
		return false;
	j->err = -EBADMSG;
	snprintf(j->why, sizeof(j->why), "damaged content: it is not that of its hash");
	return true;
}

static void tell_lacking(struct run *r, struct job *j)
{
	if (j->err == -ENOENT)
		run_lacks(r, j->dir, j->name, "its content is not at the remote");
	else
		run_lacks(r, j->dir, j->name, "%s", j->why[0] ? j->why : strerror(-j->err));
	drop_file(r, j);
}

/* All of it was checked: the hashes are of the id that it has at the remote, and have to be of
 * the one that it gets here. */
static int hash_again(struct job *j)
{
	CLEANUP_FREE uint8_t *buf = j->small ? NULL : calloc(1, RESTORE_CHUNK);
	uint64_t off, bad;

	if (!buf && !j->small)
		return -ENOMEM;
	for (off = 0; off < j->e.size; off += RESTORE_CHUNK) {
		uint64_t rest = j->e.size - off;
		size_t len = rest < RESTORE_CHUNK ? (size_t)rest : RESTORE_CHUNK;

		if (job_is_large(j) && io_pread_full(j->fd, buf, len, (off_t)off) != (ssize_t)len)
			return -EIO;
		content_check(j->own, off / LEAF_SIZE, j->small ? j->small : buf, len, j->hash,
			      false, &bad);
	}
	j->e.root = content_sum(j->hash, leaves_of(j->e.size));
	return 0;
}

static void finish_file(struct run *r, struct job *j)
{
	struct record rec;

	if (!j->local && !r->o->dry_run && j->own != j->e.id)
		j->local = hash_again(j);
	j->e.id = j->own;
	rec = meta_record(&j->e);
	if (!j->local && !r->o->dry_run)
		j->local = keep_file(r, j->dir, j->name, &j->e, j->small, j->hash);
	if (j->local) {
		run_failed(r, j->dir, j->name, j->local, NULL);
		drop_file(r, j);
		return;
	}
	if (j->link)
		link_settle(r, j->link, j->dir, j->name, &rec);
	r->st->files++;
	r->st->newer += j->second;
	r->st->bytes += j->e.size;
}

void job_end(struct run *r, struct job *j)
{
	if (r->fatal) { /* what is in tmp is of use to the next run */
		if (j->link)
			link_settle(r, j->link, j->dir, j->name, NULL);
		job_free(r, j);
		return;
	}
	if (sum_is_wrong(j) && !j->anew) { /* it may have been the way */
		j->anew = true;
		push_redo(r, j);
		return;
	}
	if (j->err && second_try(r, j))
		return;
	if (j->err)
		tell_lacking(r, j);
	else
		finish_file(r, j);
	run_tell(r, j->dir, j->name);
	job_free(r, j);
}

/* ---- the beginning of a job ---- */

/* A piece that needs no request: a hole, or what an earlier run brought. */
static bool have_piece(struct run *r, struct job *j, uint64_t off, size_t len)
{
	const uint64_t *hash = j->hash + off / LEAF_SIZE;
	CLEANUP_FREE uint8_t *buf = NULL;
	uint64_t bad = 1;

	if (!j->known || r->o->dry_run)
		return false;
	if (hash_is_zero(hash, (len + LEAF_SIZE - 1) / LEAF_SIZE * sizeof(*hash))) {
		if (!j->partial)
			return true;
		return keep_hole(j->fd, off, len) == 0;
	}
	buf = j->partial ? malloc(len) : NULL;
	if (buf && io_pread_full(j->fd, buf, len, (off_t)off) == (ssize_t)len)
		content_check(j->e.id, off / LEAF_SIZE, buf, len, j->hash, true, &bad);
	return bad == 0;
}

static void ask_all(struct run *r, struct job *j)
{
	uint64_t off = 0;
	bool more = true;

	if (j->e.size == 0 && r->o->dry_run)
		slot_ask(r, j, 0, 0);
	while (more && off < j->e.size) {
		uint64_t rest = j->e.size - off;
		size_t len = rest < RESTORE_CHUNK ? (size_t)rest : RESTORE_CHUNK;

		if (!have_piece(r, j, off, len))
			more = slot_ask(r, j, off, len);
		off += len;
	}
	j->planned = true;
	if (!j->out)
		job_end(r, j);
}

static void job_begin(struct run *r, struct job *j)
{
	char object[LAYOUT_NAME_MAX];
	int err;

	j->own = j->own ? j->own : run_own_id(r, j->e.id);
	err = j->own ? origin_leaves(&r->from, &j->e, &j->hash) : r->fatal;
	if (err < 0) {
		run_trouble(r, err);
		job_end(r, j);
		return;
	}
	j->known = j->hash != NULL;
	if (!j->hash)
		j->hash = calloc(leaves_of(j->e.size) + 1, sizeof(*j->hash));
	if (!j->first)
		origin_object(&r->from, j->d, &j->e, j->link != NULL, object);
	else if (!j->place || layout_elsewhere(r->from.layout, j->first, j->place - 1, object) < 0)
		snprintf(object, sizeof(object), "%s", j->first);
	j->object = strdup(object);
	if (!j->object || !j->hash) {
		j->local = -EFBIG; /* one that is not to be believed */
		j->planned = true;
		job_end(r, j);
		return;
	}
	if (job_is_large(j) && !r->o->dry_run) {
		j->fd = keep_open(r, j->own, j->e.size, j->known, &j->partial);
		j->local = j->fd < 0 ? j->fd : 0;
	}
	ask_all(r, j);
}

int fetch_start(struct run *r, struct place *p, struct layout_dir *d, const char *name,
		struct manifest_entry *e, struct linked *l)
{
	struct job *j = calloc(1, sizeof(*j));

	if (j)
		j->name = strdup(name);
	if (!j || !j->name) {
		free(j);
		return run_fatal(r, -ENOMEM, "%s", strerror(ENOMEM));
	}
	j->fd = -1;
	j->dir = p;
	j->d = d;
	j->e = *e;
	j->link = l;
	memset(e, 0, sizeof(*e));
	place_hold(p);
	layout_dir_ref(d);
	job_begin(r, j);
	return r->fatal;
}

int fetch_redo(struct run *r)
{
	while (r->redo && !r->fatal) {
		struct job *j = r->redo;

		r->redo = j->next;
		free(j->hash);
		free(j->object);
		free(j->small);
		if (j->fd >= 0)
			close(j->fd);
		j->hash = NULL;
		j->object = NULL;
		j->small = NULL;
		j->fd = -1;
		j->err = j->local = 0;
		j->ranges = 0;
		j->partial = j->planned = false;
		job_begin(r, j);
	}
	return r->fatal;
}

int fetch_init(struct run *r)
{
	return slots_init(r);
}

void fetch_fini(struct run *r)
{
	slots_fini(r);
	while (r->redo) {
		struct job *j = r->redo;

		r->redo = j->next;
		job_end(r, j);
	}
}
