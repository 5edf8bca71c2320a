/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The answer part of a struct http_request, filled from the header lines and
 * pieces of body that come in. Everything in it is what a server says: lengths
 * are bounded, text is made printable, bodies nobody asked for are cut off.
 * Knows nothing of curl.
 */
#ifndef REPLICA_REMOTE_HTTP_ANSWER_H
#define REPLICA_REMOTE_HTTP_ANSWER_H

#include "replica/remote/http.h"

struct http_answer {
	struct http_request *request;
	size_t header_bytes;
	size_t body_room;
	uint64_t useless;             /* bytes of body that were thrown away */
	bool enough;                  /* the rest of the body is not wanted, the answer counts */
	char retry_after[48];
};

void http_answer_begin(struct http_answer *a, struct http_request *r);
/* One line of the header, with its line end; the status line begins anew. */
int http_answer_header(struct http_answer *a, const char *line, size_t len);
/* 0, or -errno: read no more. */
int http_answer_body(struct http_answer *a, long status, const char *buf, size_t len);
void http_answer_end(struct http_answer *a);

/* Copies text of a server: one line, printable, cut off to fit. */
void http_answer_text(char *dst, size_t size, const char *src, size_t len);
/* "Sun, 06 Nov 1994 08:49:37 GMT" in seconds, 0: it is none. */
int64_t http_answer_date(const char *text);

#endif
