/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The definition of a remote, as it is kept on the mirrors
 * (`.mirrorfs/remote/<id>/definition`, JSON), and its credentials, which are kept
 * only in the file they came from.
 */
#ifndef REPLICA_REMOTE_REMOTE_DEF_H
#define REPLICA_REMOTE_REMOTE_DEF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replica/volume.h"

#define REMOTE_NAME_MAX 32      /* [A-Za-z0-9._-], not beginning with '.' or '-' */
#define REMOTE_ID_TEXT 17       /* 16 hex digits */
#define REMOTE_URLS_MAX 8
#define REMOTE_MAX 8            /* a volume */

enum remote_kind { REMOTE_WEBDAV, REMOTE_S3 };

struct remote_def {
	char id[REMOTE_ID_TEXT];    /* random, made by remote_def_new */
	char name[REMOTE_NAME_MAX + 1];
	enum remote_kind kind;
	unsigned n_urls;            /* end points of one and the same store, tried in order */
	char *url[REMOTE_URLS_MAX]; /* http(s)://host[:port]/prefix ; S3: /bucket[/prefix] */
	char *credentials;          /* absolute path of the file, NULL: none */
	char *ca;                   /* absolute path, PEM, NULL: the system's */
	char *region;               /* S3; NULL: us-east-1 */
	unsigned connections;       /* 1 to 8 */
	uint64_t up_limit, down_limit; /* bytes/s, 0: none */
	unsigned settle_s;          /* until what was stored is looked at again; 120 */
	unsigned brake_percent;     /* 30; 0: no brake */
	unsigned brake_files;       /* 100 */
	uint64_t scrub_bytes;       /* bytes a day that the remote scrub may read; 1 GiB; 0: none */
	bool fallback;              /* reads may come from here; true */
	bool paused;
	bool held;                  /* the brake; stays until released */
	char writer[REMOTE_ID_TEXT];/* who writes there: this volume's mark in the heads */
	uint64_t seq;               /* of this stored version: the highest on any mirror counts */
};

struct remote_secret {
	int auth;                   /* enum http_auth */
	char *user, *password;      /* S3: access key, secret key; bearer: token in password */
	char *session_token;        /* S3, may be NULL */
};

/* Defaults, a fresh id and writer. */
void remote_def_new(struct remote_def *d);
void remote_def_free(struct remote_def *d);
int remote_def_copy(struct remote_def *to, const struct remote_def *from);
/* Everything a person can get wrong; the line says which option and why. 0 or -EINVAL. */
int remote_def_check(const struct remote_def *d, char *error, size_t n);
/* What is wrong with a URL, in words that repeat nothing of it; NULL: nothing. */
const char *remote_url_bad(const char *url, enum remote_kind kind);
/* JSON text, never with secrets; freed by the caller. */
char *remote_def_encode(const struct remote_def *d);
int remote_def_decode(const char *text, struct remote_def *d, char *error, size_t n);
/* All definitions on the in-sync mirrors (highest seq of each id); n <= REMOTE_MAX. Damaged
 * ones are told and left out. */
int remote_def_load(struct volume *v, struct remote_def **out, size_t *n);
/* Onto all in-sync mirrors, durably (seq + 1). A mirror that fails is ejected. */
int remote_def_store(struct volume *v, struct remote_def *d);
/* Removes `.mirrorfs/remote/<id>` everywhere, the definition first. */
int remote_def_remove(struct volume *v, const char *id);
/* Makes `.mirrorfs/remote/<id>`, durably. */
int remote_def_mkdir(int dotfd, const char *id);
/* Whether it is 16 hex digits, and nothing else that could lead elsewhere in a path. */
bool remote_def_is_id(const char *id);

/*
 * The credentials file: owned by us or root, mode 0600 or stricter, a regular
 * file, at most 16 KiB, lines "key = value": user, password, token, access-key,
 * secret-key, session-token, auth (basic, digest, bearer). '#' begins a comment
 * line. Messages name the file, the line and the key, never a value.
 */
int remote_secret_load(const char *path, enum remote_kind kind, struct remote_secret *s,
		       char *error, size_t n);
void remote_secret_wipe(struct remote_secret *s);

#endif
