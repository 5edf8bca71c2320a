/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Collections that a name needs. They are made from the deepest up, until one is there,
 * and down again: mostly one request. Those known to be there are kept as hashes in a
 * small table. A wrong entry costs a request, not more: the server says that the
 * collection is missing, and it is made.
 */
#include "replica/remote/store_dav.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KNOWN 2048               /* collections remembered, a power of two */

/* store->state: hashes of collections that are there. A wrong one costs a request. */
struct dav_store {
	uint64_t known[KNOWN];
};

/* ---- what is known ---- */

static uint64_t name_hash(const char *name, size_t n)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)name[i]) * 0x100000001b3ULL;
	return h ? h : 1;
}

size_t dav_parent_len(const char *name)
{
	const char *slash = strrchr(name, '/');

	return slash ? (size_t)(slash - name) : 0;
}

static uint64_t *known_slot(struct work *w, const char *name, size_t n, uint64_t *hash)
{
	struct dav_store *d = w->store->state;

	*hash = name_hash(name, n);
	return &d->known[*hash & (KNOWN - 1)];
}

bool dav_is_known(struct work *w, const char *name, size_t n)
{
	uint64_t hash, *slot = known_slot(w, name, n, &hash);

	return *slot == hash;
}

void dav_set_known(struct work *w, const char *name, size_t n, bool there)
{
	uint64_t hash, *slot = known_slot(w, name, n, &hash);

	if (there)
		*slot = hash;
	else if (*slot == hash)
		*slot = 0;
}

void dav_forget_all(struct work *w)
{
	memset(w->store->state, 0, sizeof(struct dav_store));
}

/* ---- making collections ---- */

static int make_answer(struct work *w);

static int make_request(struct work *w)
{
	struct dav *d = dav_of(w);
	const struct endpoint *e = &w->store->endpoint[w->store->at];
	size_t head = (size_t)(e->path - e->base);
	char *url = malloc(head + 3 * d->at + 2);
	size_t n;
	int err;

	if (!url)
		return -ENOMEM;
	memcpy(url, e->base, head);
	n = head + store_encode(d->full, d->at, false, url + head);
	strcpy(url + n, "/");
	err = store_request(w, "MKCOL", url);
	d->next = make_answer;
	return err ? err : STORE_MORE;
}

/* Length of the path above the one of this length. */
static size_t above(const char *path, size_t n)
{
	while (n && path[n - 1] != '/')
		n--;
	return n ? n - 1 : 0;
}

/* Makes the collections above d->target, then goes on with then(). */
int dav_make_above(struct work *w, int (*then)(struct work *w))
{
	struct dav *d = dav_of(w);
	const struct endpoint *e = &w->store->endpoint[w->store->at];
	char *prefix = strdup(e->path);

	free(d->full);
	d->full = NULL;
	if (!prefix || store_decode(prefix) ||
	    asprintf(&d->full, "%s%s%s", prefix, *d->target ? "/" : "", d->target) < 0) {
		d->full = NULL;
		free(prefix);
		return -ENOMEM;
	}
	free(prefix);
	d->made = true;
	d->down = false;
	d->made_then = then;
	d->goal = d->at = above(d->full, strlen(d->full));
	/* It is there as sure as the server is: nothing above to make. */
	return d->at ? make_request(w) : then(w);
}

static int make_answer(struct work *w)
{
	struct dav *d = dav_of(w);
	long status = w->req.status;
	size_t n;

	if (w->req.err)
		return store_judge(w);
	/* 405, 301: something is there. */
	if (status / 100 == 2 || status == 405 || status == 301) {
		d->down = true;
		if (d->at == d->goal) {
			dav_set_known(w, d->target, dav_parent_len(d->target), true);
			return d->made_then(w);
		}
		n = d->at + 1 + strcspn(d->full + d->at + 1, "/");
		d->at = n < d->goal ? n : d->goal;
		return make_request(w);
	}
	n = above(d->full, d->at);
	if (d->down || !n || (status != 409 && status != 404 && status != 500 && status != 403))
		return store_judge(w);
	d->at = n;
	return make_request(w);
}

int dav_known_open(struct store *s)
{
	s->state = calloc(1, sizeof(struct dav_store));
	return s->state ? 0 : -ENOMEM;
}
