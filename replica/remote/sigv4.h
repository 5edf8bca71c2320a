/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * AWS Signature Version 4 of a request, with the headers that carry it. Pure
 * functions: no clock, no network, no state. What is signed is what is to be
 * sent: the caller sends the path, the canonical query and every signed header
 * as they stand here. Secrets are wiped from memory that is given back.
 */
#ifndef REPLICA_REMOTE_SIGV4_H
#define REPLICA_REMOTE_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIGV4_PAIRS_MAX 16      /* query pairs, headers */
#define SIGV4_HEX 65            /* a SHA-256 as text */
#define SIGV4_DATE 17           /* 20130524T000000Z */
#define SIGV4_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct sigv4_pair {
	const char *name;
	const char *value;
};

struct sigv4_request {
	const char *method;
	const char *path;               /* encoded: sigv4_encode */
	const struct sigv4_pair *query; /* as they are, in any order; "" where there is no value */
	size_t n_query;
	/* All that are sent and signed ("host" must be), but x-amz-date and x-amz-security-token,
	 * which are added here. */
	const struct sigv4_pair *header;
	size_t n_header;
	const char *payload;            /* SHA-256 of the body as text */
	const char *region;
	const char *service;
	int64_t time;                   /* seconds, of the server's clock as far as we know it */
	const char *access_key;
	const char *secret_key;
	const char *session_token;      /* NULL: none */
};

struct sigv4_signature {
	char date[SIGV4_DATE];          /* value of x-amz-date */
	char signature[SIGV4_HEX];
	char *authorization;            /* value of Authorization */
	char *query;                    /* what is to stand behind the '?', may be "" */
};

/* 0, -ENOMEM, -EINVAL: too many pairs, a name too long, a time that is none. */
int sigv4_sign(const struct sigv4_request *r, struct sigv4_signature *out);
void sigv4_clear(struct sigv4_signature *s);
/* The canonical request, for tests and for looking: freed by the caller. NULL with errno. */
char *sigv4_canonical(const struct sigv4_request *r, const char *date);
/* Percent-encodes all but A-Z a-z 0-9 - . _ ~, and '/' if told so. out holds
 * 3 * strlen(text) + 1 bytes. Returns the end of what was written. */
char *sigv4_encode(const char *text, bool keep_slash, char *out);
void sigv4_hex(const uint8_t sha256[32], char out[SIGV4_HEX]);

#endif
