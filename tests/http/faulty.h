/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A faulty HTTP/1.1 server for tests, on 127.0.0.1 only.
 *
 *   faulty DIR PORT-FILE [--s3] [--in-place] [--auth=basic:USER:PASSWORD]
 *          [--auth=digest:USER:PASSWORD] [--auth=bearer:TOKEN]
 *
 * serves the tree DIR as WebDAV: OPTIONS GET (Range) HEAD PUT DELETE MKCOL MOVE COPY
 * PROPFIND (depth 0 and 1); or with --s3 its folders as buckets, path-style: PUT (also
 * copies) GET HEAD DELETE, ListObjectsV2. A PUT is atomic unless
 * --in-place. The port is in PORT-FILE when it may be used. SIGTERM ends it.
 *
 * POST /.faulty?fault=NAME&... adds a rule, POST /.faulty?clear drops all rules,
 * POST /.faulty?zero sets the counters to zero, GET /.faulty has them, "NAME NUMBER" a
 * line. Keys of a rule (percent-encoded):
 *   match=TEXT   is part of "/path?query", the path decoded. Default: any
 *   method=NAME  default: any
 *   count=N      so many requests, default 1; 0: all from now on
 *   skip=N       ... after so many more that match
 *   and of some faults: status retry_after seconds bytes rate text location
 * Several rules may hit one request. The faults are in fault.c, beside what they do.
 */
#ifndef TESTS_HTTP_FAULTY_H
#define TESTS_HTTP_FAULTY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define CONTROL_PATH "/.faulty"
#define TEMP_DIR ".faulty"            /* in DIR: uploads that are not whole yet */
#define PATH_SIZE 8192
#define N_ELEMS(a) (sizeof(a) / sizeof((a)[0]))

struct server {
	int root;
	bool s3, in_place;
	const char *auth;
};
extern struct server server;

enum fault_bit {
	FAULT_STATUS = 1 << 0,
	FAULT_HANG = 1 << 1,
	FAULT_HANG_AFTER = 1 << 2,
	FAULT_SLOW = 1 << 3,
	FAULT_SLOW_READ = 1 << 4,
	FAULT_TRUNCATE = 1 << 5,
	FAULT_SHORT = 1 << 6,
	FAULT_FLIP = 1 << 7,
	FAULT_LOSE = 1 << 8,
	FAULT_HALF = 1 << 9,
	FAULT_WRONG = 1 << 10,
	FAULT_RESET = 1 << 11,
	FAULT_RESET_AFTER = 1 << 12,
	FAULT_SKEW = 1 << 13,
	FAULT_FORGET = 1 << 14,
	FAULT_GARBAGE = 1 << 15,
	FAULT_CLOSE = 1 << 16,
	FAULT_HEADERS = 1 << 17,
	FAULT_NONCE = 1 << 18,
};

/* What the rules do to one request. Numbers are -1 where no rule gives them. */
struct effect {
	unsigned bits;
	int status;
	long retry_after, seconds;
	int64_t bytes, rate;
	char text[512], location[512];
};

struct conn {
	int fd;
	char in[65536];
	size_t at, end;
};

#define HEADERS_MAX 64

/* One request and how it is answered. */
struct exchange {
	struct conn *conn;
	struct effect effect;
	char *method, *target;        /* in head, as all the headers */
	char *name[HEADERS_MAX], *value[HEADERS_MAX];
	size_t n_headers;
	char path[PATH_SIZE];         /* decoded, without the query */
	const char *query;            /* "" if there is none */
	int64_t body_left;
	bool chunked;
	int64_t body_got;
	bool expects;                 /* 100 is owed before the body is read */
	bool keep_alive;
	bool answered, broken;
	char head[65536];
};

/* text.c */
/* Decoded and zero-terminated; its length, or -1: bad, or too long. */
ssize_t percent_decode(const char *s, size_t len, char *out, size_t size);
void percent_encode(FILE *out, const char *s, const char *also_plain);
void xml_escape(FILE *out, const char *s);
/* The decoded value of a key of a query, "" for a key alone. */
bool query_get(const char *query, const char *key, char *out, size_t size);
int64_t query_number(const char *query, const char *key, int64_t none);
void http_date(char out[40], int64_t when);
void hex(char *out, const void *data, size_t len);
uint64_t now_ms(void);

/* wire.c */
/* 1: a request is there, 0: the client has gone, -EBADMSG: not HTTP. */
int wire_request(struct conn *c, struct exchange *x);
const char *wire_header(const struct exchange *x, const char *name);
bool wire_has_body(const struct exchange *x);
/* Bytes of the body, 0: it is whole, -errno. */
ssize_t wire_body(struct exchange *x, void *buf, size_t len);
/* headers: "Name: value\r\n" lines, may be NULL. */
void wire_answer(struct exchange *x, int status, const char *headers, const char *body);
void wire_answer_file(struct exchange *x, int status, const char *headers, int fd, uint64_t off,
		      uint64_t len);
void wire_reset(struct exchange *x);
void wire_hang(struct exchange *x);

/* fault.c */
/* A line that says what is wrong with the rule, or NULL. */
const char *fault_add(const char *query);
void fault_clear(void);
void fault_take(struct exchange *x);

/* stats.c */
void stats_connection(int change);
void stats_begin(const struct exchange *x);
void stats_end(const struct exchange *x);
void stats_bytes(uint64_t in, uint64_t out);
void stats_zero(void);
void stats_print(FILE *out);

/* files.c: rel is a path below DIR. */
/* Takes the body of x. 0, or -errno; sha256 may be NULL, else it must be of the body. */
int files_put(struct exchange *x, const char *rel, const char *sha256_hex);
int files_make_parents(const char *rel);
int files_copy(const char *from, const char *to);
int files_open(const char *rel);      /* a regular file, or -errno */
void files_get(struct exchange *x, const char *rel);
void files_etag(char *out, size_t size, int fd);
/* Objects that are to vanish. */
void files_tick(void);
int files_init(void);

/* auth.c: true if the request may go on; else it is answered. */
bool auth_check(struct exchange *x);

void dav_serve(struct exchange *x);
void s3_serve(struct exchange *x);
/* s3_list.c */
void s3_list(struct exchange *x, const char *bucket);
/* A key as a path below its bucket; false: it cannot be stored here. */
bool s3_path_of_key(const char *key, char *out, size_t size);

#endif
