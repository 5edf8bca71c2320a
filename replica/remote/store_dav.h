/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the WebDAV dialect share: an operation is a chain of requests,
 * `next` is what takes the answer under way.
 *
 * store_dav.c       the dialect: GET, HEAD, DELETE, LIST, and looking
 * store_dav_come.c  PUT, MOVE, COPY, MKDIR: a name comes to be
 * store_dav_make.c  the collections it needs, and which are known
 */
#ifndef REPLICA_REMOTE_STORE_DAV_H
#define REPLICA_REMOTE_STORE_DAV_H

#include "replica/remote/store_priv.h"
#include "replica/remote/store_propfind.h"

/* work->state */
struct dav {
	int (*next)(struct work *w);       /* takes the answer under way */
	const char *target;                /* the name that is to come to be */
	bool over;                         /* Overwrite: T */
	bool made;                         /* collections were made once */
	bool repeated;                     /* the main request was: the client's doing */
	int err;                           /* of the main request, its line is in op->error, */
	long status;                       /* ... and its status */
	/* making collections */
	char *full;                        /* decoded path of target, with the prefix */
	size_t at, goal;                   /* lengths: the collection under way, the last */
	bool down;
	int (*made_then)(struct work *w);
	/* looking */
	struct propfind *look;
	const char *look_name;
	bool look_members, look_slash, look_turned;
	enum propfind_kind kind;
	int (*looked)(struct work *w, int err);
};

static inline struct dav *dav_of(struct work *w)
{
	return w->state;
}

/* What is at name, and how much below it; then looked() has d->kind, or an error. */
int dav_look(struct work *w, const char *name, bool members,
	     int (*looked)(struct work *w, int err));

int dav_come_begin(struct work *w);

/* Makes the collections above d->target, then goes on with then(). */
int dav_make_above(struct work *w, int (*then)(struct work *w));

/* Collections that are known to be there; n bytes of a name. */
int dav_known_open(struct store *s);
bool dav_is_known(struct work *w, const char *name, size_t n);
void dav_set_known(struct work *w, const char *name, size_t n, bool there);
void dav_forget_all(struct work *w);
/* Length of the collection's part of a name; 0: the prefix. */
size_t dav_parent_len(const char *name);

#endif
