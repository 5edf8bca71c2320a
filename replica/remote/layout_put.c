// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One upload: leaf hashes, then content, both while the source keeps one state of
 * the file; where the server writes in place, to another name and from there by a move. Many
 * at a time. A failure of the way ends the commit, and the put begins anew in the next
 * one; a failure of this file ends this put.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/log.h"
#include "replica/hash.h"

static struct put *put_of(struct job *j)
{
	return (struct put *)((char *)j - offsetof(struct put, job));
}

static ssize_t put_read(void *arg, uint64_t off, void *buf, size_t len)
{
	struct put *p = arg;
	ssize_t n = p->src.read(p->src.arg, off, buf, len);

	if (n <= 0 || (size_t)n > len)
		p->source_err = n < 0 ? (int)n : -EIO;
	return p->source_err ? p->source_err : n;
}

static int put_end(struct put *p)
{
	p->begun = false;
	free(p->leaf_data);
	p->leaf_data = NULL;
	p->leaves = NULL;
	return p->src.end(p->src.arg);
}

/* This put will not do. */
static void put_lost(struct put *p, int err, const char *text)
{
	if (p->begun)
		put_end(p);
	p->stage = PUT_FAILED;
	p->result = err;
	snprintf(p->error, sizeof(p->error), "%s", text && *text ? text : strerror(-err));
}

/* What a request of it ended with. */
static void put_failed(struct layout *l, struct put *p, int err, const char *text)
{
	if (p->source_err) {
		put_lost(p, p->source_err, NULL);
		return;
	}
	if (!layout_is_transport(err)) {
		put_lost(p, err, text);
		return;
	}
	layout_trouble(l, err, text);
	if (p->begun)
		put_end(p);
	if (p->stage != PUT_RENAME)
		p->stage = PUT_WAITS;
}

/* ---- the steps of one ---- */

static void put_came(struct layout *l, struct job *j);

static void put_submit(struct layout *l, struct put *p, enum put_stage stage,
		       const struct store_op *op)
{
	p->stage = stage;
	p->job = (struct job){ .op = *op, .done = put_came };
	job_start(l, &p->job);
}

static void send_leaves(struct layout *l, struct put *p)
{
	struct store_op op = { .verb = STORE_PUT, .name = p->leaf, .data = p->leaf_data,
			       .len = p->leaf_len, .sha256 = p->leaf_sha };

	put_submit(l, p, PUT_LEAVES, &op);
}

static void send_content(struct layout *l, struct put *p)
{
	struct store_op op = { .verb = STORE_PUT, .name = *p->aside ? p->aside : p->object,
			       .read = put_read, .read_arg = p, .len = p->e.size };

	p->tried |= !*p->aside;
	put_submit(l, p, PUT_CONTENT, &op);
}

static void send_rename(struct layout *l, struct put *p)
{
	struct store_op op = { .verb = STORE_MOVE, .name = p->aside, .to = p->object };

	p->tried = true;
	put_submit(l, p, PUT_RENAME, &op);
}

static void content_came(struct layout *l, struct put *p)
{
	int err = put_end(p);

	if (l->run && l->run->sent)
		l->run->sent(l->run->arg);
	if (err)
		put_lost(p, err, NULL);
	else if (*p->aside)
		send_rename(l, p);
	else
		p->stage = PUT_SENT;
}

/* What is not there to be moved may have been moved before, or not: it is sent again. */
static void rename_came(struct put *p, int err)
{
	*p->aside = '\0';
	p->stage = err ? PUT_WAITS : PUT_SENT;
	if (err && ++p->tries >= LAYOUT_TRIES)
		put_lost(p, -EAGAIN, "what was uploaded is not there to be moved into place");
}

static void put_came(struct layout *l, struct job *j)
{
	struct put *p = put_of(j);
	enum put_stage stage = p->stage;
	int err = j->op.result;

	if (err == -ENOENT && stage == PUT_RENAME)
		rename_came(p, err);
	else if (err)
		put_failed(l, p, err, j->op.error);
	else if (stage == PUT_LEAVES)
		send_content(l, p);
	else if (stage == PUT_CONTENT)
		content_came(l, p);
	else
		rename_came(p, 0);
}

/* ---- beginning ---- */

static int leaves_sum(const struct manifest_entry *e, const uint64_t *leaves)
{
	uint64_t i, n = e->size / LEAF_SIZE + (e->size % LEAF_SIZE != 0), sum = 0;

	for (i = 0; leaves && i < n; i++)
		sum += leaves[i];
	return !leaves || sum == e->root ? 0 : -EIO;
}

/* The entry as the source says, under our name. */
static int adopt_entry(struct put *p, struct manifest_entry *e)
{
	char *name;

	if (e->type != TYPE_REG || e->id != p->e.id || leaves_sum(e, p->leaves))
		return e->id != p->e.id ? -ESTALE : -EIO;
	if (e->size > LAYOUT_SMALL && !p->leaves)
		return -EIO;
	name = strdup(p->e.name);
	if (!name)
		return -ENOMEM;
	free(e->name);
	e->name = name;
	e->by_id = p->e.by_id;
	e->object = p->e.object;
	e->link = false;
	e->leaves = e->dir = (struct manifest_ref){ 0 };
	manifest_entry_clear(&p->e);
	p->e = *e;
	*e = (struct manifest_entry){ 0 };
	return 0;
}

static int make_leaves(struct layout *l, struct put *p)
{
	uint64_t n = p->e.size / LEAF_SIZE + (p->e.size % LEAF_SIZE != 0);
	int err;

	if (p->e.size <= LAYOUT_SMALL)
		return 0;
	err = leaf_object_encode(p->e.id, p->e.size, p->leaves, n, &p->leaf_data, &p->leaf_len,
				 p->leaf_sha);
	if (err)
		return err;
	p->e.leaves.seq = ref_next(l);
	memcpy(p->e.leaves.sha256, p->leaf_sha, SHA256_LEN);
	object_name_leaf(p->leaf, p->e.id, p->e.leaves.seq);
	return 0;
}

/*
 * 1: it is not what the intent says, which is to be written first. Once only: a
 * file that changes all the time would never be sent.
 */
static int put_begin(struct layout *l, struct put *p)
{
	struct manifest_entry e = { 0 };
	uint64_t size = p->e.size, root = p->e.root;
	bool did;
	int err = put_litter(l, p);

	p->source_err = 0;
	p->listed = false;
	if (!err)
		err = p->src.begin(p->src.arg, &e, &p->leaves);
	if (err) {
		manifest_entry_clear(&e);
		return err;
	}
	p->begun = true;
	if (p->tried && (e.size != size || e.root != root))
		err = put_doubt(l, p, &did);
	if (!err)
		err = adopt_entry(p, &e);
	manifest_entry_clear(&e);
	if (err)
		return err;
	l->live.put_bytes += p->e.size - size;
	if ((p->e.size != size || p->e.root != root) && !p->noted_again) {
		p->noted_again = true;
		p->noted = false;
		return put_end(p) ? -ESTALE : 1;
	}
	err = make_leaves(l, p);
	if (!err && store_caps(l->store)->in_place)
		object_name_aside(p->aside, p->e.id, ref_next(l));
	return err;
}

static void put_start(struct layout *l, struct put *p)
{
	int err;

	if (p->stage == PUT_RENAME) {
		send_rename(l, p);
		return;
	}
	err = put_begin(l, p);
	if (err == 1)
		return;
	if (err == -ENOMEM) {
		layout_trouble(l, err, strerror(ENOMEM));
		if (p->begun)
			put_end(p);
	} else if (err) {
		put_lost(p, err, NULL);
	} else if (*p->leaf) {
		send_leaves(l, p);
	} else {
		send_content(l, p);
	}
}

/* All that wait and that an intent has. */
int puts_send(struct layout *l)
{
	struct put *p;

	for (p = l->puts; p && !l->trouble; p = p->next) {
		if (!p->noted || (p->stage != PUT_WAITS && p->stage != PUT_RENAME))
			continue;
		if (p->d->gone) {
			put_lost(p, -ESTALE, "its directory is gone");
			continue;
		}
		job_room(l);
		if (l->trouble)
			break;
		if (layout_stopping(l))
			layout_trouble(l, -ECANCELED, "stopped");
		else
			put_start(l, p);
	}
	job_drain(l);
	return l->trouble;
}

/* ---- what became of them ---- */

static void put_told(struct layout *l, struct put *p)
{
	if (l->run && l->run->done)
		l->run->done(l->run->arg, p->d, p->e.name, p->result, p->error);
	put_free(l, p);
}

static int put_give_up(struct layout *l, struct put *p)
{
	int err = put_litter(l, p);

	if (!err && !p->d->gone)
		err = put_undo(l, p);
	/* An empty collection that nobody knows of goes, so that the next one goes well. */
	if (!err && p->result == -EISDIR)
		err = step_delete(l, p->object, true, NULL);
	put_unlink(l, p);
	put_told(l, p);
	return err;
}

/* What stood there until now. */
static int put_successor(struct layout *l, struct put *p)
{
	char object[LAYOUT_NAME_MAX], leaf[OBJECT_NAME_MAX];
	struct manifest_entry *e;
	int err = entry_get(l, p->d, p->e.name, &e);

	if (err || !has_content(e))
		return err == -ENOENT ? 0 : err;
	content_name(p->d, e, object);
	if (strcmp(object, p->object))
		return content_drop(l, p->d, e);
	if (!e->leaves.seq)
		return 0;
	object_name_leaf(leaf, e->id, e->leaves.seq);
	return names_add(&l->drop, leaf);
}

static int put_apply(struct layout *l, struct put *p)
{
	struct manifest_entry copy;
	int err;

	if (p->d->gone)
		return step_delete(l, p->object, false, NULL);
	err = put_successor(l, p);
	if (!err)
		err = manifest_entry_copy(&copy, &p->e);
	if (!err)
		err = entry_store(l, p->d, &copy);
	if (!err)
		doubt_remove(l, doubt_find(p->d, p->e.name));
	return err;
}

/* It counts until the head is written. */
static int put_accept(struct layout *l, struct put *p)
{
	int err = put_apply(l, p);

	if (err)
		return err;
	if (p->d->gone) {
		p->result = -ESTALE;
		put_unlink(l, p);
		put_told(l, p);
		return 0;
	}
	p->result = 0;
	*p->leaf = '\0';
	put_unlink(l, p);
	l->live.puts++;
	l->live.put_bytes += p->e.size;
	p->next = l->good;
	l->good = p;
	return 0;
}

int puts_finish(struct layout *l)
{
	struct put *p, *next;
	int err = 0;

	for (p = l->puts; p && !err; p = next) {
		next = p->next;
		if (p->stage == PUT_GOOD)
			err = put_accept(l, p);
		else if (p->stage == PUT_FAILED)
			err = put_give_up(l, p);
	}
	return err;
}
