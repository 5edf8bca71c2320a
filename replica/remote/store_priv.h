/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the store and its dialects share. An operation of the caller becomes a
 * `struct work`: one HTTP request at a time, built by the dialect. The dialect
 * sees each answer and ends the operation or builds the next request. The store
 * owns the work, its URL, headers and buffers; nothing here is called by another
 * thread.
 *
 * store.c      queue, results
 * store_req.c  building requests: URLs, headers, bodies, sinks, ranges; end points
 * store_word.c what an answer means: status -> errno, the line for people
 * store_xml.c  XML of servers, piece by piece
 * store_dav.c, store_s3.c   the dialects
 */
#ifndef REPLICA_REMOTE_STORE_PRIV_H
#define REPLICA_REMOTE_STORE_PRIV_H

#include "replica/remote/http.h"
#include "replica/remote/store.h"

#define STORE_MORE 1             /* of begin and answer: another request is ready */
#define STORE_HEADERS_MAX 24
#define STORE_NAME_BYTES 8192    /* of a name; longer ones are -ENAMETOOLONG */

/* One operation under way. */
struct work {
	struct store *store;
	struct store_op *op;
	struct http_request req;     /* the request under way, and its answer */
	char *url;                   /* of req; the store's */
	char *header[STORE_HEADERS_MAX + 1];
	unsigned n_header;
	char *text;                  /* a body that belongs to the request, or NULL */
	/* The window of the op's body that req sends (store_body_op). */
	uint64_t body_off;
	int own;                     /* what the caller's read, write or found returned, if an error */
	/* GET: what came so far, and what is wrong with it. */
	uint64_t got;
	const char *wrong;
	/* The sink of the request; the store stands between and counts. */
	int (*sink)(void *arg, const void *buf, size_t len);
	void *sink_arg;
	/* The dialect's own. 0 and NULL at begin. */
	unsigned step;
	unsigned tries;
	void *state;                 /* freed by dialect->end */
	struct work *next, **link;   /* all that run */
};

struct dialect {
	const char *name;            /* "WebDAV", "S3", for messages */
	/* State of its own in store->state; may be NULL. */
	int (*open)(struct store *s);
	void (*close)(struct store *s);
	/*
	 * First request of w->op: STORE_MORE with w->req ready; or the result of the
	 * op at once (0 or -errno).
	 */
	int (*begin)(struct work *w);
	/*
	 * w->req has come back (w->req.err or w->req.status). STORE_MORE after
	 * store_request() for a further one; else the result. An error must have
	 * its line in op->error: return store_judge(w), or store_fail().
	 */
	int (*answer)(struct work *w);
	/* Frees w->state; always called, once, also after -ECANCELED. May be NULL. */
	void (*end)(struct work *w);
};

extern const struct dialect dialect_webdav, dialect_s3;

struct endpoint {
	char *base;                  /* "https://host:port/prefix", no slash at the end, encoded */
	char *host;                  /* "host:port" as the Host header has it */
	const char *path;            /* in base: "/prefix", or "" */
};

struct store {
	const struct remote_def *def;
	const struct remote_secret *secret;
	const struct dialect *dialect;
	struct http *http;
	struct endpoint endpoint[REMOTE_URLS_MAX];
	unsigned n_endpoint, at;
	struct store_caps caps;
	unsigned version;            /* of HTTP in the last answer: 11, 20 */
	int64_t date;                /* Date of the last answer, 0: none */
	char server[64];             /* Server header of the last answer */
	void *state;                 /* the dialect's */
	struct work *running;
	unsigned n_running;
	struct store_op *done, **done_end;
	uint64_t up, down;
	int64_t retry_after;         /* of the last answer that was a failure, s; -1 none */
	bool (*stop)(void *arg);     /* asked while store_run waits */
	void *stop_arg;
};

/* ---- building requests (store_req.c); all return 0 or -errno ---- */

/*
 * Begins a request: clears the answer, URL, headers and body of the one before.
 * url is malloc'd and becomes w's (NULL: -ENOMEM). method is a constant.
 */
int store_request(struct work *w, const char *method, char *url);
/* Adds "Name: value". Newlines in it are -EINVAL. */
int store_header(struct work *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/*
 * URL of a name at the present end point: base, '/', the name encoded (all but
 * A-Za-z0-9-._~/ as %XX, upper case), `tail` as it is ("" or "/" or "?query").
 * name "" is the prefix itself: no '/' is added. NULL: no memory.
 */
char *store_url(const struct store *s, const char *name, const char *tail);
/* Encodes n bytes, '/' too if `slash`. out has room for 3 * n + 1. Returns its length. */
size_t store_encode(const void *in, size_t n, bool slash, char *out);
/* Decodes %XX in place; -EPROTO if it is none or gives a zero byte. */
int store_decode(char *text);
/* Body: [off, off + len) of the op's data or read(). */
void store_body_op(struct work *w, uint64_t off, uint64_t len);
/* Body: text, malloc'd, becomes w's. */
void store_body_text(struct work *w, char *text, size_t len);
/* Same for both dialects: GET with Range of op->off, op->len, sink of the op; and its end. */
int store_get_begin(struct work *w);      /* after store_request: adds Range, sets the sink */
int store_get_end(struct work *w);        /* judges status, range, length; fills size, etag */
int store_head_end(struct work *w);       /* fills size, etag */
/* "http(s)://host[:port][/prefix]" taken apart; -EINVAL. Freed by endpoint_free. */
int endpoint_parse(const char *url, struct endpoint *e);
void endpoint_free(struct endpoint *e);
/* Names: relative, no empty, "." or ".." component; "" only if `root`. -EINVAL, -ENAMETOOLONG. */
int store_name_check(const char *name, bool root);

/* ---- what an answer means (store_word.c) ---- */

/* errno of a status alone: 2xx is 0. */
int store_errno(long status);
/* Transport errors as the store reports them (-EAGAIN, -EKEYREJECTED, the caller's own). */
int store_transport(int err);
/*
 * Result of w->req by the tables, and for a failure the line in op->error: verb,
 * name, status, the server's own words. Sets op->status, retry_after.
 */
int store_judge(struct work *w);
/* As store_judge, but the errno is given and the words are too; returns err. */
int store_fail(struct work *w, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* As store_judge with an errno that the dialect knows better (an S3 <Code>). words: the
 * server's, made printable and shortened; may be NULL. */
int store_refused(struct work *w, int err, const char *words);
/* Printable, one line, at most n - 1 bytes of in (len bytes). */
void store_printable(const char *in, size_t len, char *out, size_t n);

/* ---- XML (store_xml.c) ---- */

#define XML_TEXT_MAX 16384       /* of one element; longer is -EPROTO */
#define XML_DEPTH_MAX 32

struct xml_hooks {
	/* ns: the namespace's URI, or "". name: the local name. Non-zero (-errno) ends it. */
	int (*start)(void *arg, const char *ns, const char *name);
	/* text: what stood directly in this element, blanks and all, decoded. */
	int (*end)(void *arg, const char *ns, const char *name, const char *text);
};

/* No DTD and no entities of the document's: -EPROTO. */
struct xml;
struct xml *xml_new(const struct xml_hooks *hooks, void *arg);
/* As http_request.write: arg is a struct xml. After an error only errors. */
int xml_feed(void *xml, const void *buf, size_t len);
int xml_finish(struct xml *x);            /* the document is complete: 0 or -EPROTO */
void xml_free(struct xml *x);             /* NULL is fine */

#endif
