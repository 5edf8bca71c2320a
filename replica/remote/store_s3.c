/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The S3 dialect: path-style requests, signed here. Collections are only names,
 * so making and removing them is nothing, and they cannot be moved. A request
 * says the SHA-256 of its body, so what arrives is what was meant, or is refused.
 *
 * A signature holds the time. The server's clock is ours plus caps.skew; a
 * server that finds the time wrong tells its own, which is taken once a step.
 */
#include "replica/remote/store_s3.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sodium.h>

#include "replica/base/cleanup.h"
#include "replica/base/log.h"

#define HASH_PIECE (256 << 10)
#define RESULT_MAX (64 << 10)    /* of an answer that is kept */
#define SKEW_SURE 300            /* seconds: where nothing but the Date tells */

struct s3_sizes s3_sizes = {
	.put = 64ULL << 20, .part = 16ULL << 20,
	.copy = 5ULL << 30, .copy_part = 1ULL << 30,
};

/* --- names -------------------------------------------------------------------- */

/* Length of the character at p, 0 if it is none: too long a form, a surrogate, cut off. */
static unsigned utf8_len(const unsigned char *p)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned i, n = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	uint32_t c;

	if (n < 2)
		return n;
	c = p[0] & (0x7fu >> n);
	for (i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (p[0] > 0xf4 || c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return n;
}

static bool is_utf8(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	unsigned n;

	for (; *p; p += n)
		if (!(n = utf8_len(p)))
			return false;
	return true;
}

/* "/bucket" of "/bucket/prefix". */
static size_t bucket_len(const struct endpoint *e)
{
	return 1 + strcspn(e->path + 1, "/");
}

int s3_key(const struct store *s, const char *name, char *key)
{
	const struct endpoint *e = &s->endpoint[s->at];
	const char *prefix = e->path + bucket_len(e);
	char *text CLEANUP_FREE = strdup(prefix + (*prefix == '/'));
	int err = text ? store_decode(text) : -ENOMEM;

	if (err)
		return err;
	if (strlen(text) + strlen(name) + 1 > S3_KEY_MAX + !*text || !is_utf8(name))
		return -EINVAL;
	sprintf(key, "%s%s%s", text, *text && *name ? "/" : "", name);
	return 0;
}

static int check_name(struct work *w, const char *name)
{
	char key[S3_KEY_MAX + 1];
	int err = s3_key(w->store, name, key);

	if (err == -EINVAL)
		return store_fail(w, err, "S3 has no such name: it must be UTF-8 and, with the "
				  "prefix, at most %d bytes", S3_KEY_MAX);
	return err;
}

char *s3_copy_source(const struct store *s, const char *name)
{
	char *url CLEANUP_FREE = store_url(s, name, "");
	const struct endpoint *e = &s->endpoint[s->at];

	return url ? strdup(url + (e->path - e->base)) : NULL;
}

/* --- requests ----------------------------------------------------------------- */

/* The URL without its query; *path points to what is signed of it. */
static char *bare_url(const struct store *s, const char *name, const char **path)
{
	const struct endpoint *e = &s->endpoint[s->at];
	size_t head = (size_t)(e->path - e->base);
	char *url = name ? store_url(s, name, "") : strndup(e->base, head + bucket_len(e));

	*path = url ? url + head : NULL;
	return url;
}

static char *full_url(const char *url, const char *query)
{
	char *full = NULL;

	if (asprintf(&full, "%s%s%s", url, *query ? "?" : "", query) < 0)
		return NULL;
	return full;
}

static int put_headers(struct work *w, const struct sigv4_request *r,
		       const struct sigv4_signature *sig)
{
	int err = 0;
	size_t i;

	for (i = 0; i < r->n_header && !err; i++)
		err = store_header(w, "%s: %s", r->header[i].name, r->header[i].value);
	if (!err)
		err = store_header(w, "x-amz-date: %s", sig->date);
	if (!err && r->session_token)
		err = store_header(w, "x-amz-security-token: %s", r->session_token);
	if (!err)
		err = store_header(w, "Authorization: %s", sig->authorization);
	return err;
}

static int signed_request(struct work *w, const struct s3_call *c, const char *url,
			  const struct sigv4_request *r)
{
	struct sigv4_signature sig;
	int err = sigv4_sign(r, &sig);

	if (err)
		return err;
	err = store_request(w, c->method, full_url(url, sig.query));
	if (!err)
		err = put_headers(w, r, &sig);
	sigv4_clear(&sig);
	if (err)
		return err;
	w->req.want_body = true;
	w->req.body_max = RESULT_MAX;
	return STORE_MORE;
}

int s3_send(struct work *w, const struct s3_call *c)
{
	const struct store *s = w->store;
	const char *payload = c->payload ? c->payload : SIGV4_EMPTY, *path;
	char *url CLEANUP_FREE = bare_url(s, c->name, &path);
	struct sigv4_pair header[5] = {
		{ "Host", s->endpoint[s->at].host }, { "x-amz-content-sha256", payload },
	};
	struct sigv4_request r = {
		.method = c->method, .path = path, .query = c->query, .n_query = c->n_query,
		.header = header, .n_header = 2 + c->n_header, .payload = payload,
		.region = s->def->region ? s->def->region : "us-east-1", .service = "s3",
		.time = (int64_t)time(NULL) + s->caps.skew,
		.access_key = s->secret->user, .secret_key = s->secret->password,
		.session_token = s->secret->session_token,
	};

	if (!url)
		return -ENOMEM;
	memcpy(header + 2, c->header, c->n_header * sizeof(header[0]));
	return signed_request(w, c, url, &r);
}

static ssize_t read_piece(const struct store_op *op, uint64_t off, void *buf, size_t len)
{
	if (op->data) {
		memcpy(buf, (const char *)op->data + off, len);
		return (ssize_t)len;
	}
	return op->read ? op->read(op->read_arg, off, buf, len) : -EINVAL;
}

int s3_hash(struct work *w, uint64_t off, uint64_t len, struct crypto_hash_sha256_state *whole,
	    char hex[SIGV4_HEX])
{
	crypto_hash_sha256_state own;
	uint8_t hash[crypto_hash_sha256_BYTES];
	unsigned char *buf CLEANUP_FREE = malloc(HASH_PIECE);

	if (!buf)
		return -ENOMEM;
	crypto_hash_sha256_init(&own);
	while (len) {
		ssize_t n = read_piece(w->op, off, buf, len < HASH_PIECE ? len : HASH_PIECE);

		if (n <= 0) {
			w->own = n ? (int)n : -ENODATA;
			return store_fail(w, w->own, "reading it: %s", strerror(-w->own));
		}
		crypto_hash_sha256_update(&own, buf, (size_t)n);
		if (whole)
			crypto_hash_sha256_update(whole, buf, (size_t)n);
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	crypto_hash_sha256_final(&own, hash);
	sigv4_hex(hash, hex);
	return 0;
}

/* --- single requests ---------------------------------------------------------- */

static int put_send(struct work *w)
{
	const struct store_op *op = w->op;
	char hex[SIGV4_HEX];
	struct s3_call c = { .method = "PUT", .name = op->name, .payload = hex };
	int err = 0;

	if (op->sha256)
		sigv4_hex(op->sha256, hex);
	else
		err = s3_hash(w, 0, op->len, NULL, hex);
	if (err)
		return err;
	if (op->exclusive)
		c.header[c.n_header++] = (struct sigv4_pair){ "If-None-Match", "*" };
	err = s3_send(w, &c);
	if (err == STORE_MORE)
		store_body_op(w, 0, op->len);
	return err;
}

static int put_done(struct work *w)
{
	return s3_judge(w);
}

static int get_send(struct work *w)
{
	struct s3_call c = { .method = "GET", .name = w->op->name };
	int err = s3_send(w, &c);

	if (err == STORE_MORE)
		err = store_get_begin(w);
	return err ? err : STORE_MORE;
}

static int get_done(struct work *w)
{
	/* What is no object, but an error with a code. */
	if (!w->own && !w->wrong && !w->req.err && w->req.status >= 300 && w->req.status != 416)
		return s3_judge(w);
	return store_get_end(w);
}

static int head_send(struct work *w)
{
	struct s3_call c = { .method = "HEAD", .name = w->op->name };

	return s3_send(w, &c);
}

static int head_done(struct work *w)
{
	return store_head_end(w);
}

static int delete_send(struct work *w)
{
	struct s3_call c = { .method = "DELETE", .name = w->op->name };

	return s3_send(w, &c);
}

static int delete_done(struct work *w)
{
	int err = s3_judge(w);

	return err == -ENOENT ? 0 : err;
}

/* --- copies ------------------------------------------------------------------- */

static int copy_send(struct work *w)
{
	char *source CLEANUP_FREE = s3_copy_source(w->store, w->op->name);
	struct s3_call c = {
		.method = "PUT", .name = w->op->to,
		.header = { { "x-amz-copy-source", source } }, .n_header = 1,
	};

	return source ? s3_send(w, &c) : -ENOMEM;
}

static int copy_done(struct work *w)
{
	char etag[128];
	int err = s3_judge_result(w, "ETag", etag, sizeof(etag));

	/* What S3 says of objects that are too large for one request. */
	if (err && w->req.status == 400 && !w->op->len &&
	    (s3_code_is(w, "InvalidRequest") || s3_code_is(w, "EntityTooLarge")))
		return s3_go(w, S3_COPY_SIZE);
	if (err)
		return err;
	return w->op->verb == STORE_MOVE ? s3_go(w, S3_DELETE) : 0;
}

/* Came from a size that the caller told, or from a refusal, which stands if it was not the
 * size after all: its line is still in op->error. */
static int copy_size_done(struct work *w)
{
	struct store_op *op = w->op;
	long refused = op->status;
	int err = store_head_end(w);

	if (err)
		return err;
	if (op->size > s3_sizes.copy && op->size != UINT64_MAX)
		return s3_parts_start(w, op->size);
	return refused ? -EINVAL : s3_go(w, S3_COPY);
}

/* --- steps -------------------------------------------------------------------- */

static const struct {
	int (*send)(struct work *w);
	int (*done)(struct work *w);
} steps[S3_STEPS] = {
	[S3_PUT] = { put_send, put_done },
	[S3_GET] = { get_send, get_done },
	[S3_HEAD] = { head_send, head_done },
	[S3_DELETE] = { delete_send, delete_done },
	[S3_COPY] = { copy_send, copy_done },
	[S3_COPY_SIZE] = { head_send, copy_size_done },
	[S3_LIST] = { s3_list_send, s3_list_done },
	[S3_LEFT] = { s3_left_send, s3_left_done },
	[S3_LEFT_ABORT] = { s3_left_abort_send, s3_left_abort_done },
	[S3_BEGIN] = { s3_begin_send, s3_begin_done },
	[S3_PART] = { s3_part_send, s3_part_done },
	[S3_COMPLETE] = { s3_complete_send, s3_complete_done },
	[S3_ABORT] = { s3_abort_send, s3_abort_done },
};

int s3_go(struct work *w, enum s3_step step)
{
	w->step = step;
	w->tries = 0;
	return steps[step].send(w);
}

static int begin_copy(struct work *w)
{
	const struct store_op *op = w->op;
	int err;

	if (op->dir)
		return store_fail(w, -ENOTSUP, "S3 has no collections that could be moved");
	err = check_name(w, op->to);
	/* Onto itself: S3 refuses to copy, and to remove it then would be the end of it. */
	if (err || !strcmp(op->name, op->to))
		return err;
	return s3_go(w, op->len > s3_sizes.copy ? S3_COPY_SIZE : S3_COPY);
}

static int begin(struct work *w)
{
	static const enum s3_step first[] = {
		[STORE_PUT] = S3_PUT, [STORE_GET] = S3_GET, [STORE_HEAD] = S3_HEAD,
		[STORE_DELETE] = S3_DELETE, [STORE_LIST] = S3_LIST,
	};
	const struct store_op *op = w->op;
	int err = check_name(w, op->name);

	if (err)
		return err;
	if (op->verb == STORE_MKDIR || (op->verb == STORE_DELETE && op->dir))
		return 0;
	if (op->verb == STORE_MOVE || op->verb == STORE_COPY)
		return begin_copy(w);
	if (op->verb == STORE_PUT && op->len > s3_sizes.put)
		return s3_parts_start(w, op->len);
	return s3_go(w, first[op->verb]);
}

/* The server finds our time wrong and tells its own. To HEAD it has no words for it. */
static bool skewed(struct work *w)
{
	const struct http_request *r = &w->req;
	int64_t off;

	if (r->err || w->own || r->status != 403 || !r->date || w->tries)
		return false;
	off = r->date - ((int64_t)time(NULL) + w->store->caps.skew);
	return s3_code_is(w, "RequestTimeTooSkewed") ||
	       (!r->body_got && (off > SKEW_SURE || off < -SKEW_SURE));
}

static int answer(struct work *w)
{
	struct store *s = w->store;
	int64_t skew;

	if (!skewed(w))
		return steps[w->step].done(w);
	skew = w->req.date - (int64_t)time(NULL);
	/* Others under way were signed with the old one, too. */
	if (llabs(skew - s->caps.skew) > SKEW_SURE / 10)
		log_warn("remote %s: the server's clock is %lld s ahead of ours", s->def->name,
			 (long long)skew);
	s->caps.skew = skew;
	w->tries++;
	return steps[w->step].send(w);
}

static void end(struct work *w)
{
	if (w->op->verb == STORE_LIST)
		s3_list_free(w->state);
	else
		s3_parts_free(w->state);
	w->state = NULL;
}

static int open_s3(struct store *s)
{
	unsigned i;

	for (i = 0; i < s->n_endpoint; i++)
		if (!s->endpoint[i].path[0])
			return log_err(-EINVAL, "remote %s: URL %u has no bucket", s->def->name,
				       i + 1);
	if (!s->secret || !s->secret->user || !s->secret->password)
		return log_err(-EINVAL, "remote %s: S3 needs an access key and a secret key",
			       s->def->name);
	return 0;
}

const struct dialect dialect_s3 = {
	.name = "S3", .open = open_s3, .begin = begin, .answer = answer, .end = end,
};
