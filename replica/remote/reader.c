// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The read fall-back: pieces of a file from a remote, for what no mirror has.
 * Has a store and a (read-only) layout of its own, since the thread of the remote may be
 * busy for hours. One read at a time; each has a deadline, because an application waits.
 *
 * What comes back is not trusted: the caller checks each leaf by the hash that it knows.
 */
#include "replica/remote/remote_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_MS 20000
#define AGAIN_MS 30000     /* after a failure it is left alone for so long */

struct reader {
	struct volume *v;
	pthread_mutex_t lock;
	struct remote_secret secret;
	struct store *store;
	struct layout *layout;
	int64_t deadline;
	int64_t not_before;
	uint64_t head;           /* what the layout has read */
};

int reader_open(struct remote *r)
{
	r->reader = calloc(1, sizeof(*r->reader));
	if (!r->reader)
		return -ENOMEM;
	r->reader->v = r->v;
	pthread_mutex_init(&r->reader->lock, NULL);
	return 0;
}

static void disconnect(struct reader *d)
{
	if (d->layout)
		layout_close(d->layout);
	if (d->store)
		store_close(d->store);
	d->layout = NULL;
	d->store = NULL;
	remote_secret_wipe(&d->secret);
}

void reader_close(struct remote *r)
{
	disconnect(r->reader);
	pthread_mutex_destroy(&r->reader->lock);
	free(r->reader);
	r->reader = NULL;
}

static bool late(void *arg)
{
	struct reader *d = arg;

	return remote_now_ms() > d->deadline || atomic_load(&d->v->stopping);
}

static int connect(struct remote *r, struct reader *d)
{
	struct layout_options o = { .volume = r->v->sb.volume_id, .stop = late, .stop_arg = d,
				    .memory = 8u << 20 };
	char error[LAYOUT_ERROR_MAX];
	int e = 0;

	if (r->def.credentials)
		e = remote_secret_load(r->def.credentials, r->def.kind, &d->secret, error,
				       sizeof(error));
	if (e == 0)
		e = store_open(&r->def, &d->secret, &d->store);
	if (e == 0)
		store_stop(d->store, late, d);
	for (unsigned i = 0; e == 0 && i < r->def.n_urls && !d->layout; i++) {
		e = layout_open(d->store, &o, &d->layout, error);
		if (e < 0 && i + 1 < r->def.n_urls) {
			store_next_endpoint(d->store);
			e = 0;
		}
	}
	if (e == 0 && !d->layout)
		e = -EAGAIN;
	if (e < 0)
		disconnect(d);
	return e;
}

static int find_object(struct reader *d, const char *path, uint64_t id, char *object)
{
	const struct manifest_entry *e, *inode;
	struct layout_dir *dir = NULL;
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char parent[LAYOUT_NAME_MAX];
	size_t len = slash ? (size_t)(slash - path) : 0;
	int r;

	memcpy(parent, path, len);
	parent[len] = '\0';
	r = layout_dir_resolve(d->layout, parent, &dir);
	if (r < 0)
		return r;
	r = layout_find(d->layout, dir, name, &e);
	if (r == 0 && e->id != id)
		r = -ENOENT;
	if (r == 0 && e->link) {
		struct layout_dir *links = layout_links(d->layout);

		r = layout_inode(d->layout, e, &inode);
		if (r == 0)
			layout_content(d->layout, links, inode, object);
		layout_dir_put(d->layout, links);
	} else if (r == 0) {
		layout_content(d->layout, dir, e, object);
	}
	layout_dir_put(d->layout, dir);
	return r;
}

struct sink {
	uint8_t *to;
	size_t left;
};

static int take(void *arg, const void *buf, size_t len)
{
	struct sink *s = arg;

	if (len > s->left)
		return -EPROTO;
	memcpy(s->to, buf, len);
	s->to += len;
	s->left -= len;
	return 0;
}

static int get(struct reader *d, const char *object, uint64_t off, uint64_t len, void *buf)
{
	struct sink sink = { buf, len };
	struct store_op op = { .verb = STORE_GET, .name = object, .off = off, .len = len,
			       .write = take, .write_arg = &sink };
	int e = store_submit(d->store, &op);

	if (e < 0)
		return e;
	while (!store_next(d->store, 200))
		if (late(d))
			store_cancel_all(d->store);
	return op.result < 0 ? op.result : sink.left ? -EPROTO : 0;
}

static int fetch(struct remote *r, const char *path, uint64_t id, uint64_t off, uint64_t len,
		 void *buf)
{
	struct reader *d = r->reader;
	char object[LAYOUT_NAME_MAX];
	int e = d->layout ? 0 : connect(r, d);

	if (e == 0)
		e = find_object(d, path, id, object);
	if (e == 0)
		e = get(d, object, off, len, buf);
	return e;
}

int reader_fetch(struct remote *r, const char *path, uint64_t id, uint64_t off, uint64_t len,
		 void *buf)
{
	struct reader *d = r->reader;
	bool fresh;
	uint64_t head;
	int e;

	pthread_mutex_lock(&r->lock);
	head = r->head;
	pthread_mutex_unlock(&r->lock);
	pthread_mutex_lock(&d->lock);
	d->deadline = remote_now_ms() + DEADLINE_MS;
	if (remote_now_ms() < d->not_before) {
		pthread_mutex_unlock(&d->lock);
		return -EAGAIN;
	}
	if (d->layout && d->head != head) /* the thread has written since */
		disconnect(d);
	fresh = !d->layout;
	d->head = head;
	e = fetch(r, path, id, off, len, buf);
	if (e < 0) {
		disconnect(d);
		if (!fresh && !late(d))
			e = fetch(r, path, id, off, len, buf);
	}
	if (e < 0 && e != -ENOENT)
		d->not_before = remote_now_ms() + AGAIN_MS;
	pthread_mutex_unlock(&d->lock);
	return e;
}
