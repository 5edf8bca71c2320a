/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An HTTP client over the multi interface of libcurl: many requests at a time
 * over few connections. Knows nothing of WebDAV, S3 or mirrorfs. Only http_priv.h
 * includes <curl/...>.
 *
 * A client belongs to one thread; only http_wake may be called by others.
 * Redirects are not followed; http and https only; TLS is verified. Nothing is
 * retried here. Secrets are never in a message.
 */
#ifndef REPLICA_REMOTE_HTTP_H
#define REPLICA_REMOTE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum http_auth { HTTP_AUTH_NONE, HTTP_AUTH_BASIC, HTTP_AUTH_DIGEST, HTTP_AUTH_BEARER };

struct http_options {
	unsigned connections;      /* at most, 0: 8 */
	const char *ca_file;       /* PEM, NULL: the system's */
	enum http_auth auth;
	const char *user;          /* basic, digest */
	const char *password;      /* ... or the bearer token; copied, wiped at the end */
	uint64_t up_limit;         /* bytes/s over all requests, 0: none */
	uint64_t down_limit;
	unsigned connect_ms;       /* 0: 10 s */
	unsigned stall_s;          /* no byte for so long ends a request, 0: 120 s */
};

#define HTTP_ERROR_MAX 256

/* All zero before its first use. */
struct http_request {
	/* Set by the caller, valid until the request has come back. */
	const char *method;
	const char *url;           /* percent-encoded, sent as it is */
	const char *const *header; /* "Name: value", NULL-terminated; may be NULL */
	/* Body: len bytes from read() at any offset (it may be asked for again).
	 * read returns bytes (>0) or -errno, which ends the request. NULL: no body. */
	ssize_t (*read)(void *arg, uint64_t off, void *buf, size_t len);
	void *read_arg;
	uint64_t body_len;
	/* Takes the body of a 2xx answer; non-zero (-errno) ends the request. NULL: the
	 * body goes to `body`, at most body_max bytes (-EFBIG beyond). Bodies of other
	 * answers always go to `body`, cut off at 4 KiB. */
	int (*write)(void *arg, const void *buf, size_t len);
	void *write_arg;
	size_t body_max;
	bool want_body;            /* false: GET bodies are thrown away */
	void *user;                /* the caller's own */

	/* The answer. */
	int err;                   /* 0: an HTTP answer came, else -errno: see http_classify */
	long status;               /* HTTP status, 0: none */
	unsigned version;          /* of HTTP: 10, 11, 20, 30; 0: not known */
	char error[HTTP_ERROR_MAX]; /* one line: what went wrong in transport */
	char *body;                /* zero-terminated; http_request_clear frees it */
	size_t body_got;           /* bytes in body, or given to write() */
	uint64_t content_length;   /* of the answer; UINT64_MAX: not told */
	int64_t date;              /* Date header, seconds; 0: none */
	int64_t retry_after;       /* seconds from now, -1: none */
	char etag[128];
	char content_range[64];
	char location[256];
	char server[64];
	uint64_t sent;             /* bytes of body that went out */
	bool reused;               /* it went out again, as an older connection had died (or
				    * Digest asked for it): the answer may be of the repeat */

	struct http_request *next; /* the client's */
	void *handle;
};

/*
 * Transport errors come as: -ETIMEDOUT, -ECONNREFUSED, -ECONNRESET (also cut off
 * answers), -EHOSTUNREACH (names, routes, proxies), -EKEYREJECTED (TLS: the
 * certificate is not good), -ECANCELED, -EINVAL (URL, CA file), what read() or
 * write() returned, -EIO for the rest.
 */
struct http;
int http_open(const struct http_options *o, struct http **out); /* logs why not */
void http_close(struct http *h);           /* requests under way come back as -ECANCELED first */
/* Begins; 0, or -errno (in r->err, too) and the request is not taken. Clears the
 * answer before. */
int http_start(struct http *h, struct http_request *r);
/* The next one that is done, or NULL after ms (-1: no limit; 0: look) or a wake. */
struct http_request *http_wait(struct http *h, int ms);
void http_cancel(struct http *h, struct http_request *r); /* it comes back soon as -ECANCELED */
unsigned http_running(const struct http *h);
void http_wake(struct http *h);            /* from any thread */
void http_limit(struct http *h, uint64_t up, uint64_t down); /* for requests to come */
/* Start and wait for this one alone (others under way go on). */
int http_perform(struct http *h, struct http_request *r);
void http_request_clear(struct http_request *r); /* frees and zeroes the answer part */
/* "libcurl/7.88.1 OpenSSL/3.0.19", for people. */
const char *http_version(void);

#endif
