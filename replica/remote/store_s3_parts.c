/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Objects too large for one request: uploaded, or copied at the server, in
 * parts, one after the other, and put together by a last request: until then
 * the object is what it was. Each part is read twice, once for its hash, and
 * never held whole. A failure aborts the upload, or the server would keep (and
 * charge) its parts for ever. What could not be aborted, since the network or we
 * were gone, is found and aborted before the next upload of the same name.
 */
#include "replica/remote/store_s3.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "replica/base/cleanup.h"

#define UPLOAD_ID_MAX 1024
#define LEFT_MAX 8               /* left uploads of a name that are aborted at a time */
#define MIB (1ULL << 20)

struct parts {
	uint64_t size, part;
	unsigned n, at;
	bool copy;
	char *key;                   /* of the object that comes of it */
	const char *name;            /* its name */
	char id[UPLOAD_ID_MAX];
	char **etag;                 /* n */
	crypto_hash_sha256_state whole, before; /* of all parts so far; before the present one */
	int result;                  /* why it is aborted */
	/* Left by earlier tries. */
	char *left[LEFT_MAX];
	unsigned n_left;
	char left_key[3 * S3_KEY_MAX + 1], left_id[UPLOAD_ID_MAX];
};

void s3_parts_free(void *state)
{
	struct parts *p = state;
	unsigned i;

	if (!p)
		return;
	for (i = 0; p->etag && i < p->n; i++)
		free(p->etag[i]);
	for (i = 0; i < p->n_left; i++)
		free(p->left[i]);
	free(p->etag);
	free(p->key);
	free(p);
}

uint64_t s3_part_size(uint64_t size, uint64_t least)
{
	uint64_t part = (size + S3_PARTS_MAX - 1) / S3_PARTS_MAX;

	part = (part + MIB - 1) / MIB * MIB;
	return part > least ? part : least;
}

int s3_parts_start(struct work *w, uint64_t size)
{
	struct store_op *op = w->op;
	struct parts *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	w->state = p;
	p->copy = op->verb != STORE_PUT;
	p->name = p->copy ? op->to : op->name;
	p->size = size;
	p->part = s3_part_size(size, p->copy ? s3_sizes.copy_part : s3_sizes.part);
	p->n = (unsigned)((size + p->part - 1) / p->part);
	p->key = calloc(1, S3_KEY_MAX + 1);
	p->etag = calloc(p->n, sizeof(*p->etag));
	if (!p->key || !p->etag)
		return -ENOMEM;
	if (size > S3_OBJECT_MAX)
		return store_fail(w, -EFBIG, "S3 has no objects of more than 5 TiB");
	crypto_hash_sha256_init(&p->whole);
	return s3_go(w, S3_LEFT);
}

static uint64_t part_off(const struct parts *p)
{
	return p->at * p->part;
}

static uint64_t part_len(const struct parts *p)
{
	uint64_t left = p->size - part_off(p);

	return left < p->part ? left : p->part;
}

/* --- what earlier tries left --------------------------------------------------- */

int s3_left_send(struct work *w)
{
	struct parts *p = w->state;
	struct s3_call c = { .method = "GET", .n_query = 4 };
	int err = s3_key(w->store, p->name, p->key);

	if (err)
		return err;
	c.query[0] = (struct sigv4_pair){ "uploads", "" };
	c.query[1] = (struct sigv4_pair){ "prefix", p->key };
	c.query[2] = (struct sigv4_pair){ "encoding-type", "url" };
	c.query[3] = (struct sigv4_pair){ "max-uploads", "50" };
	return s3_send(w, &c);
}

static void take(char *to, size_t n, const char *text)
{
	if ((size_t)snprintf(to, n, "%s", text) >= n)
		to[0] = '\0';
}

/* Keys may be encoded or not, as the server likes: only one that is ours either way counts. */
static bool is_ours(struct parts *p)
{
	char *c;

	if (!strcmp(p->left_key, p->key))
		return true;
	for (c = p->left_key; *c; c++)
		if (*c == '+')
			*c = ' ';
	return !store_decode(p->left_key) && !strcmp(p->left_key, p->key);
}

static int on_left(void *arg, const char *ns, const char *name, const char *text)
{
	struct parts *p = arg;

	(void)ns;
	if (!strcmp(name, "Key"))
		take(p->left_key, sizeof(p->left_key), text);
	if (!strcmp(name, "UploadId"))
		take(p->left_id, sizeof(p->left_id), text);
	if (strcmp(name, "Upload"))
		return 0;
	if (p->left_id[0] && p->n_left < LEFT_MAX && is_ours(p)) {
		p->left[p->n_left] = strdup(p->left_id);
		p->n_left += p->left[p->n_left] != NULL;
	}
	p->left_id[0] = p->left_key[0] = '\0';
	return 0;
}

/* A server that cannot tell, or does not let us look, is no reason not to upload. */
int s3_left_done(struct work *w)
{
	static const struct xml_hooks hooks = { .end = on_left };
	struct parts *p = w->state;
	struct xml *x;

	if (w->req.err && w->req.err != -EFBIG)
		return s3_judge(w);
	x = w->req.status == 200 && w->req.body ? xml_new(&hooks, p) : NULL;
	if (x)
		xml_feed(x, w->req.body, w->req.body_got);
	xml_free(x);
	return s3_go(w, p->n_left ? S3_LEFT_ABORT : S3_BEGIN);
}

static int abort_upload(struct work *w, const char *id)
{
	struct parts *p = w->state;
	struct s3_call c = { .method = "DELETE", .name = p->name, .n_query = 1 };

	c.query[0] = (struct sigv4_pair){ "uploadId", id };
	return s3_send(w, &c);
}

int s3_left_abort_send(struct work *w)
{
	struct parts *p = w->state;

	return abort_upload(w, p->left[p->n_left - 1]);
}

int s3_left_abort_done(struct work *w)
{
	struct parts *p = w->state;

	if (w->req.err)
		return s3_judge(w);
	free(p->left[--p->n_left]);
	return s3_go(w, p->n_left ? S3_LEFT_ABORT : S3_BEGIN);
}

/* --- an upload ----------------------------------------------------------------- */

int s3_begin_send(struct work *w)
{
	struct parts *p = w->state;
	struct s3_call c = { .method = "POST", .name = p->name, .n_query = 1 };

	c.query[0] = (struct sigv4_pair){ "uploads", "" };
	return s3_send(w, &c);
}

int s3_begin_done(struct work *w)
{
	struct parts *p = w->state;
	int err = s3_judge_result(w, "UploadId", p->id, sizeof(p->id));

	if (!err && strlen(p->id) == sizeof(p->id) - 1)
		err = store_fail(w, -EPROTO, "an upload id that is too long");
	return err ? err : s3_go(w, S3_PART);
}

/* The line of the failure is in op->error already. */
static int give_up(struct work *w, int err)
{
	struct parts *p = w->state;

	p->result = err;
	return s3_go(w, S3_ABORT);
}

static void part_call(const struct parts *p, char number[16], struct s3_call *c)
{
	snprintf(number, 16, "%u", p->at + 1);
	*c = (struct s3_call){ .method = "PUT", .name = p->name, .n_query = 2 };
	c->query[0] = (struct sigv4_pair){ "partNumber", number };
	c->query[1] = (struct sigv4_pair){ "uploadId", p->id };
}

static int part_upload(struct work *w)
{
	struct parts *p = w->state;
	char number[16], hex[SIGV4_HEX];
	struct s3_call c;
	int err;

	part_call(p, number, &c);
	c.payload = hex;
	/* A part that is sent again is hashed again. */
	if (w->tries)
		p->whole = p->before;
	p->before = p->whole;
	err = s3_hash(w, part_off(p), part_len(p), w->op->sha256 ? &p->whole : NULL, hex);
	if (err)
		return give_up(w, err);
	err = s3_send(w, &c);
	if (err == STORE_MORE)
		store_body_op(w, part_off(p), part_len(p));
	return err;
}

static int part_copy(struct work *w)
{
	struct parts *p = w->state;
	char *source CLEANUP_FREE = s3_copy_source(w->store, w->op->name);
	char number[16], range[64];
	struct s3_call c;

	if (!source)
		return -ENOMEM;
	part_call(p, number, &c);
	snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, part_off(p),
		 part_off(p) + part_len(p) - 1);
	c.header[c.n_header++] = (struct sigv4_pair){ "x-amz-copy-source", source };
	c.header[c.n_header++] = (struct sigv4_pair){ "x-amz-copy-source-range", range };
	return s3_send(w, &c);
}

int s3_part_send(struct work *w)
{
	struct parts *p = w->state;

	return p->copy ? part_copy(w) : part_upload(w);
}

static int part_result(struct work *w, char *etag, size_t n)
{
	struct parts *p = w->state;
	int err;

	if (p->copy)
		return s3_judge_result(w, "ETag", etag, n);
	err = s3_judge(w);
	snprintf(etag, n, "%s", w->req.etag);
	if (!err && !etag[0])
		err = store_fail(w, -EPROTO, "a part without an ETag");
	return err;
}

static int check_whole(struct work *w)
{
	struct parts *p = w->state;
	uint8_t hash[crypto_hash_sha256_BYTES];

	if (p->copy || !w->op->sha256)
		return 0;
	crypto_hash_sha256_final(&p->whole, hash);
	if (!memcmp(hash, w->op->sha256, sizeof(hash)))
		return 0;
	return store_fail(w, -EAGAIN, "it is not of the SHA-256 that was told: it changed");
}

int s3_part_done(struct work *w)
{
	struct parts *p = w->state;
	char etag[128];
	int err = part_result(w, etag, sizeof(etag));

	if (err)
		return give_up(w, err);
	p->etag[p->at] = strdup(etag);
	if (!p->etag[p->at])
		return give_up(w, -ENOMEM);
	if (++p->at < p->n)
		return s3_go(w, S3_PART);
	err = check_whole(w);
	return err ? give_up(w, err) : s3_go(w, S3_COMPLETE);
}

/* --- its end ------------------------------------------------------------------- */

static void put_escaped(FILE *f, const char *text)
{
	static const struct {
		char c;
		const char *as;
	} special[] = { { '&', "&amp;" }, { '<', "&lt;" }, { '>', "&gt;" }, { '"', "&quot;" } };
	size_t i;

	for (; *text; text++) {
		for (i = 0; i < 4 && special[i].c != *text; i++)
			;
		if (i < 4)
			fputs(special[i].as, f);
		else
			putc(*text, f);
	}
}

static char *complete_text(const struct parts *p, size_t *len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, len);
	unsigned i;
	bool failed;

	if (!f)
		return NULL;
	fputs("<CompleteMultipartUpload>", f);
	for (i = 0; i < p->n; i++) {
		fprintf(f, "<Part><PartNumber>%u</PartNumber><ETag>", i + 1);
		put_escaped(f, p->etag[i]);
		fputs("</ETag></Part>", f);
	}
	fputs("</CompleteMultipartUpload>", f);
	failed = ferror(f);
	if (!fclose(f) && !failed)
		return text;
	free(text);
	return NULL;
}

int s3_complete_send(struct work *w)
{
	struct parts *p = w->state;
	char hex[SIGV4_HEX], *text;
	uint8_t hash[crypto_hash_sha256_BYTES];
	struct s3_call c = { .method = "POST", .name = p->name, .n_query = 1, .payload = hex };
	size_t len;
	int err;

	text = complete_text(p, &len);
	if (!text)
		return -ENOMEM;
	crypto_hash_sha256(hash, (const unsigned char *)text, len);
	sigv4_hex(hash, hex);
	c.query[0] = (struct sigv4_pair){ "uploadId", p->id };
	if (w->op->exclusive && !p->copy)
		c.header[c.n_header++] = (struct sigv4_pair){ "If-None-Match", "*" };
	err = s3_send(w, &c);
	if (err != STORE_MORE) {
		free(text);
		return err;
	}
	store_body_text(w, text, len);
	return STORE_MORE;
}

int s3_complete_done(struct work *w)
{
	/* Its ETag is left empty by RGW. */
	int err = s3_judge_result(w, "CompleteMultipartUploadResult", NULL, 0);

	if (err)
		return give_up(w, err);
	return w->op->verb == STORE_MOVE ? s3_go(w, S3_DELETE) : 0;
}

int s3_abort_send(struct work *w)
{
	struct parts *p = w->state;

	return abort_upload(w, p->id);
}

/* 404: there is nothing left of it. What failed counts, not this. */
int s3_abort_done(struct work *w)
{
	struct store_op *op = w->op;
	struct parts *p = w->state;
	size_t n = strlen(op->error);

	if (n && (w->req.err || (w->req.status / 100 != 2 && w->req.status != 404)))
		snprintf(op->error + n, sizeof(op->error) - n, "; its parts are still there");
	return p->result;
}
