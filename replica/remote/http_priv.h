/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between http.c (the client: what runs, waits and is done) and
 * http_transfer.c (one request as curl wants it). The only file that includes
 * <curl/...>.
 */
#ifndef REPLICA_REMOTE_HTTP_PRIV_H
#define REPLICA_REMOTE_HTTP_PRIV_H

#include <curl/curl.h>
#include <stdatomic.h>

#include "replica/remote/http.h"
#include "replica/remote/http_answer.h"
#include "replica/remote/rate.h"

enum { UP, DOWN };

/* A curl handle with what one request needs around it. Kept for the next one
 * with all that is the same for each: TLS, credentials, the nonce of Digest. */
struct transfer {
	struct http *http;
	struct http_request *request;
	CURL *easy;
	struct curl_slist *headers;
	struct http_answer answer;
	uint64_t at;                  /* of the body to send */
	unsigned tries;               /* how often the request went out */
	int fault;                    /* why a callback ended it */
	bool cancelled;
	char error[CURL_ERROR_SIZE];
	bool waiting[2];              /* for the rate, in the queue of http.c */
	struct transfer *next_waiting[2];
	struct transfer *next;        /* in running or idle */
};

struct queue {
	struct transfer *first, *last;
};

struct http {
	CURLM *multi;
	struct http_options o;        /* no strings: they are here */
	char *ca_file, *user, *password;
	struct rate rate[2];
	struct queue waiting[2];      /* paused, in order */
	struct transfer *running, *idle;
	struct http_request *done, **done_end;
	unsigned n_running;           /* running and done */
	unsigned n_idle;
	bool cancels;
	atomic_bool woken;
};

uint64_t http_now_us(void);
/* http.c: the transfer was paused until its rate is open. */
void http_await_rate(struct transfer *t, int way);

/* NULL: no memory, or this curl lacks what we need. */
struct transfer *transfer_new(struct http *h);
void transfer_free(struct transfer *t);
int transfer_begin(struct transfer *t, struct http_request *r);
/* Fills the answer part. */
void transfer_end(struct transfer *t, CURLcode rc);

#endif
