/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One entry per (node, mirror) in a hash map to an array slot; a clock hand
 * evicts idle entries. cache.lock guards everything here and is a leaf lock.
 */
#include "replica/dirfd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replica/base/map.h"
#include "replica/tree.h"

struct entry {
	uint64_t key;   /* node << 8 | mirror; 0: free */
	int fd;
	uint32_t refs;
	bool used;      /* since the hand last came by */
	bool dropped;   /* close at the last put */
};

struct dirfd_cache {
	pthread_mutex_t lock;
	struct map index;      /* key -> slot, live entries only */
	struct entry *entry;
	unsigned max, high, hand;
};

static uint64_t key_of(uint32_t node, int m)
{
	return (uint64_t)node << 8 | (unsigned)m;
}

int dirfd_init(struct volume *v, unsigned max)
{
	struct dirfd_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->entry = calloc(max, sizeof(*c->entry));
	if (!c->entry) {
		free(c);
		return -ENOMEM;
	}
	c->max = max;
	pthread_mutex_init(&c->lock, NULL);
	v->dirfds = c;
	return 0;
}

void dirfd_fini(struct volume *v)
{
	struct dirfd_cache *c = v->dirfds;

	if (!c)
		return;
	for (unsigned i = 0; i < c->high; i++)
		if (c->entry[i].key)
			close(c->entry[i].fd);
	map_free(&c->index);
	pthread_mutex_destroy(&c->lock);
	free(c->entry);
	free(c);
	v->dirfds = NULL;
}

static int cache_hit(struct dirfd_cache *c, uint64_t key)
{
	uint64_t slot;
	int fd = -1;

	pthread_mutex_lock(&c->lock);
	if (map_get(&c->index, key, &slot)) {
		c->entry[slot].refs++;
		c->entry[slot].used = true;
		fd = c->entry[slot].fd;
	}
	pthread_mutex_unlock(&c->lock);
	return fd;
}

static void entry_clear(struct dirfd_cache *c, struct entry *e)
{
	if (!e->dropped)
		map_del(&c->index, e->key);
	close(e->fd);
	memset(e, 0, sizeof(*e));
}

static struct entry *free_entry(struct dirfd_cache *c)
{
	if (c->high < c->max)
		return &c->entry[c->high++];
	for (unsigned i = 0; i < 2 * c->max; i++) {
		struct entry *e = &c->entry[c->hand];

		c->hand = (c->hand + 1) % c->max;
		if (!e->key)
			return e;
		if (e->refs)
			continue;
		if (!e->used) {
			entry_clear(c, e);
			return e;
		}
		e->used = false;
	}
	return NULL;
}

/* Puts fd in; if another thread was first, fd is closed and theirs is used.
 * With every entry in use the descriptor stays out of the cache. */
static int cache_add(struct dirfd_cache *c, uint64_t key, int fd)
{
	struct entry *e;
	uint64_t slot;

	pthread_mutex_lock(&c->lock);
	if (map_get(&c->index, key, &slot)) {
		close(fd);
		fd = c->entry[slot].fd;
		c->entry[slot].refs++;
	} else {
		e = free_entry(c);
		if (e && map_set(&c->index, key, (uint64_t)(e - c->entry)) == 0)
			*e = (struct entry){ .key = key, .fd = fd, .refs = 1, .used = true };
	}
	pthread_mutex_unlock(&c->lock);
	return fd;
}

static int open_below(struct volume *v, uint32_t node, int m)
{
	char name[NAME_MAX_LEN + 1], again[NAME_MAX_LEN + 1];
	uint32_t parent, parent2;

	for (int tries = 0; tries < 1000; tries++) {
		pthread_rwlock_t *stripe = tree_stripe(v, node);
		int pfd, fd;

		if (!tree_position(v, node, &parent, name)) {
			fd = tree_pin_fd(v, node, m);
			fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
			return fd >= 0 ? fd : -ESTALE;
		}
		pfd = dirfd_get(v, parent, m);
		if (pfd < 0)
			return pfd;
		pthread_rwlock_rdlock(stripe);
		if (tree_position(v, node, &parent2, again) && parent2 == parent &&
		    strcmp(name, again) == 0) {
			fd = openat(pfd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			fd = fd < 0 ? -errno : fd;
			pthread_rwlock_unlock(stripe);
			dirfd_put(v, parent, m, pfd);
			return fd;
		}
		pthread_rwlock_unlock(stripe);
		dirfd_put(v, parent, m, pfd);
	}
	return -EAGAIN;
}

int dirfd_get(struct volume *v, uint32_t node, int m)
{
	int fd;

	if (node == NODE_ROOT)
		return v->m[m].rootfd >= 0 ? v->m[m].rootfd : -ENODEV;
	fd = cache_hit(v->dirfds, key_of(node, m));
	if (fd >= 0)
		return fd;
	fd = open_below(v, node, m);
	return fd < 0 ? fd : cache_add(v->dirfds, key_of(node, m), fd);
}

/* An entry is found by its key and, when dropped meanwhile, by its number. */
static struct entry *held_entry(struct dirfd_cache *c, uint64_t key, int fd)
{
	uint64_t slot;

	if (map_get(&c->index, key, &slot) && c->entry[slot].fd == fd)
		return &c->entry[slot];
	for (unsigned i = 0; i < c->high; i++)
		if (c->entry[i].dropped && c->entry[i].fd == fd)
			return &c->entry[i];
	return NULL;
}

void dirfd_put(struct volume *v, uint32_t node, int m, int fd)
{
	struct dirfd_cache *c = v->dirfds;
	struct entry *e;

	if (node == NODE_ROOT || fd < 0)
		return;
	pthread_mutex_lock(&c->lock);
	e = held_entry(c, key_of(node, m), fd);
	if (!e)
		close(fd); /* never got into the cache */
	else if (--e->refs == 0 && e->dropped)
		entry_clear(c, e);
	pthread_mutex_unlock(&c->lock);
}

void dirfd_drop(struct volume *v, uint32_t node)
{
	struct dirfd_cache *c = v->dirfds;

	pthread_mutex_lock(&c->lock);
	for (unsigned m = 0; m < v->n; m++) {
		struct entry *e;
		uint64_t slot;

		if (!map_get(&c->index, key_of(node, (int)m), &slot))
			continue;
		e = &c->entry[slot];
		if (e->refs) {
			map_del(&c->index, e->key);
			e->dropped = true;
		} else {
			entry_clear(c, e);
		}
	}
	pthread_mutex_unlock(&c->lock);
}

void dirfds_get(struct volume *v, uint32_t node, uint32_t mask, int fd[MAX_MIRRORS])
{
	for (int m = 0; m < MAX_MIRRORS; m++)
		fd[m] = -EBADF;
	FOR_EACH_BIT(m, mask)
		fd[m] = dirfd_get(v, node, (int)m);
}

void dirfds_put(struct volume *v, uint32_t node, uint32_t mask, const int fd[MAX_MIRRORS])
{
	FOR_EACH_BIT(m, mask)
		if (fd[m] >= 0)
			dirfd_put(v, node, (int)m, fd[m]);
}
