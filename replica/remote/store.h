/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A store: named objects at a server, below one prefix. What WebDAV and S3 have
 * in common; each is a dialect (store_dav.c, store_s3.c). A name is a path of
 * bytes relative to the prefix, components separated by one '/', never encoded
 * by the caller.
 *
 * Many operations at a time, in one thread. Each is tried once, but for what
 * belongs to the dialect (making missing collections, the empty request of
 * Digest). What to do after a failure is the caller's trade: see retry.h.
 */
#ifndef REPLICA_REMOTE_STORE_H
#define REPLICA_REMOTE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "replica/remote/remote_def.h"

enum store_verb {
	STORE_PUT,      /* whole object, atomically where the server can */
	STORE_GET,      /* off, len (0: to the end); a short object is -EPROTO when len was given */
	STORE_HEAD,     /* size, etag. `dir`: whether it is a collection (WebDAV) */
	STORE_DELETE,   /* a missing one is 0. A collection only if `dir`, and then only an empty one */
	/* name -> to, replaces a file or an empty collection. `dir`: a collection (WebDAV
	 * only, -ENOTSUP on S3). -ENOENT after an -EAGAIN may be that it was done: look. */
	STORE_MOVE,
	STORE_COPY,     /* name -> to, at the server; S3 and WebDAV */
	STORE_MKDIR,    /* one there already is 0; no-op on S3 */
	STORE_LIST,     /* what is directly below the collection `name`; calls `found` */
};

/*
 * How an operation ended:
 *  0
 *  -ENOENT       no such object (or collection)
 *  -EAGAIN       the server or the network has trouble: try later (408, 423, 425, 429,
 *                5xx but 501 and 505, timeouts, resets); retry_after may be set
 *  -ENOSPC       507, quotas: try later
 *  -EACCES       401, 403: credentials. Nothing helps but a person
 *  -EKEYREJECTED the TLS certificate is not good: a person
 *  -EFBIG        413: the server's limit of a body: a person
 *  -ENOTSUP      405, 501, redirects, and what else says "not this way": a person
 *  -EINVAL       400, 414: this name or request, others may go well
 *  -EPROTO       an answer that makes no sense (wrong length, wrong range, no XML)
 *  -EISDIR, -ENOTDIR, -EEXIST, -ENOTEMPTY  what is there is in the way. -EEXIST of an
 *                exclusive PUT may be by its own first try: compare
 *  -ECANCELED    store_cancel_all
 *  anything else came from the source or the sink of the caller
 */
struct store_found {
	const char *name;    /* last component, decoded */
	bool dir;
	uint64_t size;       /* UINT64_MAX: not told */
	int64_t mtime;       /* seconds, 0: not told */
};

#define STORE_ERROR_MAX 320

struct store_op {
	enum store_verb verb;
	const char *name;
	const char *to;
	bool dir;
	bool exclusive;      /* PUT: If-None-Match: * (where the probe says it works); -EEXIST */
	/* PUT: bytes at any offset, possibly more than once; or data in memory. */
	ssize_t (*read)(void *arg, uint64_t off, void *buf, size_t len);
	void *read_arg;
	const void *data;
	uint64_t len;        /* PUT: of the body. GET: wanted */
	const uint8_t *sha256; /* PUT: of the body, if known (32 bytes); S3 else reads it twice */
	uint64_t off;
	/* GET: pieces in order; non-zero ends it. */
	int (*write)(void *arg, const void *buf, size_t len);
	void *write_arg;
	int (*found)(void *arg, const struct store_found *f);
	void *found_arg;
	void *user;

	int result;
	long status;         /* HTTP, 0: none came */
	char error[STORE_ERROR_MAX]; /* one line for people: verb, name, server's words */
	uint64_t size;       /* HEAD, GET: of the whole object; UINT64_MAX: not told */
	char etag[128];
	int64_t retry_after; /* seconds, -1: not told */
	struct store_op *next; /* the store's */
	void *work;
};

/* What the attach probe found. Stored with the definition, made anew at each start. */
struct store_caps {
	bool in_place;       /* a PUT shows through before it is whole: upload aside and move */
	bool moves_dirs;     /* MOVE of a collection */
	bool copies;         /* server-side copies */
	bool exclusive;      /* If-None-Match: * is honoured */
	bool checks_content; /* refuses a body that is not that of the hash we sent (S3) */
	bool folds_case;     /* "A" and "a" are one name */
	bool hides_dots;     /* LIST leaves out names that begin with a dot (nginx), and so a
			      * collection that is "empty" may hold some */
	bool stale;          /* what was replaced may still show for a second or two (lighttpd) */
	uint64_t body_max;   /* largest body tried that was taken */
	int64_t skew;        /* seconds the server's clock is ahead of ours */
	char server[64];
	char http[16];       /* "1.1", "2" */
};

struct store;
/* def and secret stay the caller's and must outlive the store. Connects to nothing yet. */
int store_open(const struct remote_def *def, const struct remote_secret *secret,
	       struct store **out);
void store_close(struct store *s);
int store_submit(struct store *s, struct store_op *op);
/* One that is done; NULL after ms or a wake. */
struct store_op *store_next(struct store *s, int ms);
/* Submit and wait for this one; returns op->result. */
int store_run(struct store *s, struct store_op *op);
/* store_run asks a few times a second; true: what it waits for ends with -ECANCELED. */
void store_stop(struct store *s, bool (*stop)(void *arg), void *arg);
/* Retry-After of the last failure, in s; -1: none. */
int64_t store_retry_after(const struct store *s);
void store_cancel_all(struct store *s);   /* they come back by store_next */
unsigned store_running(const struct store *s);
void store_wake(struct store *s);         /* from any thread */
/* Endpoints of the definition: which is in use, and on to the next. */
unsigned store_endpoint(const struct store *s);
void store_next_endpoint(struct store *s);
/* Uses what a probe found; until then the dialect's defaults. */
void store_use(struct store *s, const struct store_caps *caps);
const struct store_caps *store_caps(const struct store *s);
bool store_is_s3(const struct store *s);
/* Bytes that went up and down since it was opened. */
void store_traffic(const struct store *s, uint64_t *up, uint64_t *down);

/*
 * The attach probe: about 20 requests below `.mirrorfs/probe/`, cleaned up
 * afterwards. Says each weakness and each refusal in one line with the setting
 * to change (say may be NULL). quick: what can have changed since the last time
 * (clock, credentials, a small body). 0, or why the server cannot be used.
 */
enum probe_level { PROBE_OK, PROBE_WARN, PROBE_FAIL };
int store_probe(struct store *s, bool quick, struct store_caps *caps,
		void (*say)(void *arg, enum probe_level level, const char *line), void *arg);

#endif
