/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading directories. A stream lists its directory when it is read from
 * offset 0 and keeps that list: an offset is a place in it, so it stays valid
 * whatever is created, removed, or fails meanwhile. Offsets 1 and 2 follow "."
 * and "..".
 */
#include "fs/mount.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DOTS 2

struct stream {
	pthread_mutex_t lock;
	bool filled;
	struct dir_list list;
};

static struct stream **slot_of(uint64_t fh)
{
	return &the_mount.stream[fh & 0xffffff];
}

void h_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	pthread_mutex_init(&s->lock, NULL);
	fi->fh = handle_new(vol(), (uint32_t)ino, (uint32_t)fi->flags);
	if (!fi->fh) {
		free(s);
		fuse_reply_err(req, ENFILE);
		return;
	}
	*slot_of(fi->fh) = s;
	fuse_reply_open(req, fi);
}

void h_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stream *s = *slot_of(fi->fh);

	(void)ino;
	*slot_of(fi->fh) = NULL;
	handle_free(vol(), fi->fh);
	if (s) {
		dir_list_free(&s->list);
		pthread_mutex_destroy(&s->lock);
		free(s);
	}
	fuse_reply_err(req, 0);
}

void h_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)fi;
	reply_status(req, op_fsyncdir(vol(), (uint32_t)ino, datasync));
}

static uint64_t parent_id(uint32_t node)
{
	char name[NAME_MAX_LEN + 1];
	uint32_t parent;

	if (node == NODE_ROOT || !tree_position(vol(), node, &parent, name))
		return ROOT_ID;
	return tree_node(vol(), parent)->id;
}

/* A reply being filled. */
struct fill {
	fuse_req_t req;
	uint32_t node;
	struct stream *s;
	char *buf;
	size_t size, used;
	bool plus;
};

static bool put(struct fill *f, const char *name, const struct fuse_entry_param *p, off_t next)
{
	size_t n;

	if (f->plus)
		n = fuse_add_direntry_plus(f->req, f->buf + f->used, f->size - f->used, name, p,
					   next);
	else
		n = fuse_add_direntry(f->req, f->buf + f->used, f->size - f->used, name,
				      &p->attr, next);
	if (n > f->size - f->used)
		return false;
	f->used += n;
	return true;
}

static bool put_dot(struct fill *f, off_t at)
{
	struct fuse_entry_param p = { .attr = { .st_mode = S_IFDIR } };

	p.attr.st_ino = at == 0 ? tree_node(vol(), f->node)->id : parent_id(f->node);
	return put(f, at == 0 ? "." : "..", &p, at + 1);
}

static bool put_entry(struct fill *f, size_t i)
{
	const char *name = dir_list_name(&f->s->list, i);
	struct dir_entry *e = &f->s->list.entry[i];
	struct fuse_entry_param p = { .attr = { .st_mode = MODE_OF(e->type) } };
	off_t next = (off_t)i + DOTS + 1;
	struct entry found;

	if (!f->plus || op_lookup(vol(), f->node, name, &found) < 0) {
		p.attr.st_ino = op_entry_id(vol(), f->node, name, e->type);
		/* Vanished since it was listed: leave it out. */
		return p.attr.st_ino ? put(f, name, &p, next) : true;
	}
	entry_param(&p, &found);
	tree_lookup_inc(vol(), found.node);
	tree_unref(vol(), found.node);
	if (put(f, name, &p, next))
		return true;
	tree_forget(vol(), found.node, 1);
	return false;
}

static int refresh(struct fill *f)
{
	dir_list_free(&f->s->list);
	f->s->filled = false;
	if (op_list(vol(), f->node, &f->s->list) < 0)
		return -EIO;
	f->s->filled = true;
	return 0;
}

static int fill_reply(struct fill *f, off_t off)
{
	int r = 0;

	if (off == 0 || !f->s->filled)
		r = refresh(f);
	for (; r == 0 && off < DOTS; off++)
		if (!put_dot(f, off))
			return 0;
	for (size_t i = (size_t)(off - DOTS); r == 0 && i < f->s->list.n; i++)
		if (!put_entry(f, i))
			return 0;
	return r;
}

static void read_stream(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			struct fuse_file_info *fi, bool plus)
{
	struct fill f = { .req = req, .node = (uint32_t)ino, .s = *slot_of(fi->fh),
			  .buf = worker_self()->text, .plus = plus };
	int r;

	f.size = size < WORKER_TEXT ? size : WORKER_TEXT;
	if (!f.s) {
		fuse_reply_err(req, EBADF);
		return;
	}
	pthread_mutex_lock(&f.s->lock);
	r = fill_reply(&f, off);
	pthread_mutex_unlock(&f.s->lock);
	if (!answer_error(req, r))
		fuse_reply_buf(req, f.buf, f.used);
}

void h_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	       struct fuse_file_info *fi)
{
	read_stream(req, ino, size, off, fi, false);
}

void h_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		   struct fuse_file_info *fi)
{
	read_stream(req, ino, size, off, fi, true);
}
