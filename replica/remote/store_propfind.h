/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PROPFIND of WebDAV: what is at a name (depth 0) and what is directly below it
 * (depth 1). The answer is read as it comes; nothing of it is kept but the
 * response under way. Of each resource only type, length and time are asked.
 */
#ifndef REPLICA_REMOTE_STORE_PROPFIND_H
#define REPLICA_REMOTE_STORE_PROPFIND_H

#include "replica/remote/store_priv.h"

enum propfind_kind { PROPFIND_MISSING, PROPFIND_FILE, PROPFIND_DIR };

struct propfind;
/*
 * Makes w's next request one. slash: the URL ends in one, as that of a collection
 * should. found (may be NULL) is called for each member, in the order of the
 * server; what it returns, unless 0, ends the request and becomes w->own.
 * *p is freed by propfind_free, after the answer.
 */
int propfind_request(struct work *w, const char *name, bool slash, bool members,
		     int (*found)(void *arg, const struct store_found *f), void *arg,
		     struct propfind **p);
/* After the answer: 0 and what is there, or -errno with its line (store_judge). */
int propfind_end(struct work *w, struct propfind *p, enum propfind_kind *kind);
/* Members seen; size and mtime of the thing itself (UINT64_MAX, 0: not told). */
uint64_t propfind_members(const struct propfind *p);
void propfind_self(const struct propfind *p, struct store_found *self);
void propfind_free(struct propfind *p);

#endif
