/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the S3 dialect share. An operation is a chain of steps, each
 * one request: `send` makes it and can make it again, `done` looks at the answer
 * and ends the operation or goes to another step.
 *
 * store_s3.c        single requests, signing, the server's clock
 * store_s3_word.c   what S3 means by its codes; XML of single answers
 * store_s3_list.c   listing
 * store_s3_parts.c  large objects in parts, uploaded or copied
 */
#ifndef REPLICA_REMOTE_STORE_S3_H
#define REPLICA_REMOTE_STORE_S3_H

#include "replica/remote/sigv4.h"
#include "replica/remote/store_priv.h"

#define S3_KEY_MAX 1024          /* bytes, prefix and all */
#define S3_PARTS_MAX 9000        /* of 10,000 that S3 allows */
#define S3_OBJECT_MAX (5ULL << 40)
#define S3_WORDS 512

enum s3_step {
	S3_PUT, S3_GET, S3_HEAD, S3_DELETE, S3_COPY, S3_COPY_SIZE, S3_LIST,
	S3_LEFT, S3_LEFT_ABORT, S3_BEGIN, S3_PART, S3_COMPLETE, S3_ABORT,
	S3_STEPS
};

/* Where single requests end. Tests make them smaller. */
struct s3_sizes {
	uint64_t put;            /* larger objects go in parts ... */
	uint64_t part;           /* ... of at least this */
	uint64_t copy;           /* larger ones are copied in parts ... */
	uint64_t copy_part;      /* ... of at least this */
};
extern struct s3_sizes s3_sizes;

/* One request. */
struct s3_call {
	const char *method;
	const char *name;        /* of the object; NULL: the bucket */
	struct sigv4_pair query[8];
	size_t n_query;
	struct sigv4_pair header[3];
	size_t n_header;
	const char *payload;     /* SHA-256 of the body as text; NULL: no body */
};

/* Makes w->req; the body is the caller's to add. STORE_MORE or -errno. */
int s3_send(struct work *w, const struct s3_call *c);
/* The next step: its request. */
int s3_go(struct work *w, enum s3_step step);
/* Key of a name, as the server has it: prefix and all, not encoded. Room: S3_KEY_MAX + 1.
 * -EINVAL: not one that S3 can hold. "" is the prefix itself. */
int s3_key(const struct store *s, const char *name, char *key);
/* Value of x-amz-copy-source: malloc'ed. */
char *s3_copy_source(const struct store *s, const char *name);
/* Reads a window of the op's body and hashes it; whole (may be NULL) goes on, too. */
struct crypto_hash_sha256_state;
int s3_hash(struct work *w, uint64_t off, uint64_t len, struct crypto_hash_sha256_state *whole,
	    char hex[SIGV4_HEX]);

/* ---- store_s3_word.c ---- */

/* As store_judge, with the <Code> of the body where the status alone misleads. */
int s3_judge(struct work *w);
/* ... and an answer that was begun as 200 and is an <Error> all the same. The element `name`
 * must be there and, if n is not 0, have text: else -EPROTO. */
int s3_judge_result(struct work *w, const char *name, char *text, size_t n);
/* Whether the answer's <Code> is this. */
bool s3_code_is(const struct work *w, const char *code);

/* ---- the steps of the other files ---- */

int s3_list_send(struct work *w);
int s3_list_done(struct work *w);
void s3_list_free(void *state);

int s3_parts_start(struct work *w, uint64_t size); /* of a PUT, or of a copy */
uint64_t s3_part_size(uint64_t size, uint64_t least);
int s3_left_send(struct work *w);
int s3_left_done(struct work *w);
int s3_left_abort_send(struct work *w);
int s3_left_abort_done(struct work *w);
int s3_begin_send(struct work *w);
int s3_begin_done(struct work *w);
int s3_part_send(struct work *w);
int s3_part_done(struct work *w);
int s3_complete_send(struct work *w);
int s3_complete_done(struct work *w);
int s3_abort_send(struct work *w);
int s3_abort_done(struct work *w);
void s3_parts_free(void *state);

#endif
