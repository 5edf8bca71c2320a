/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State of a directory: the sum over its entries, kept up to date in O(1) a
 * change, and the lock that orders the changes of its names.
 */
#ifndef REPLICA_DIR_H
#define REPLICA_DIR_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "replica/record.h"
#include "replica/volume.h"

struct dir {
	uint32_t node;
	uint64_t id;
	uint32_t users;          /* tree_lock */

	pthread_mutex_t lock;    /* all below, and the names on the mirrors */
	bool loaded;
	bool checked;            /* names compared since loading */
	_Atomic bool dirty, marked; /* as in struct file */
	bool open_before;        /* record was OPEN when loaded: sum unknown */
	struct record rec;
	uint64_t sum, count;
	uint64_t changes;
	_Atomic uint64_t first_lsn; /* as in struct file */
	_Atomic int64_t changed_at;
	bool queued;             /* seal lock */
	struct dir *next;
};

void dir_init(struct volume *v);
struct dir *dir_get(struct volume *v, uint32_t node);
void dir_put(struct volume *v, struct dir *d);
/* Reads the record; then, once, compares the names on all mirrors. Without d->lock. */
int dir_load(struct volume *v, struct dir *d);
/* With d->lock: OPEN into the records. */
int dir_mark(struct volume *v, struct dir *d);
void dir_changed(struct volume *v, struct dir *d);
void dir_add(struct dir *d, const char *name, uint8_t type, uint64_t id);
void dir_sub(struct dir *d, const char *name, uint8_t type, uint64_t id);

/* A list of names, sorted by bytes. */
struct dir_entry {
	uint64_t id;       /* 0: not known yet */
	uint8_t type;
	uint16_t len;
	uint32_t name;     /* offset in text */
};
struct dir_list {
	struct dir_entry *entry;
	size_t n, cap;
	char *text;
	size_t used, size;
};
/* Names on mirror m, `.`, `..` and the root's hidden folder left out. */
int dir_list_read(struct volume *v, uint32_t node, int m, struct dir_list *l);
void dir_list_free(struct dir_list *l);
static inline const char *dir_list_name(const struct dir_list *l, size_t i)
{
	return l->text + l->entry[i].name;
}

/* Whether all the names are there that the directory should have; without a good record nobody
 * can tell, and they are. */
bool dir_whole(struct volume *v, uint32_t node);

#endif
