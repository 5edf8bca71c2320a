/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What only S3 has, at a real server: objects in parts and what is left of them
 * when they fail, copies in parts, the clock, keys and hashes that are refused.
 * Without STORE_URL all is skipped: see store_s3.h.
 */
#include "replica/remote/store_s3.h"

#include <sodium.h>

#include "tests/unit/store_s3.h"

#define MIB (1ULL << 20)
#define LARGE (80 * MIB + 4711)

/* --- the server, past the store ----------------------------------------------- */

/* A signed GET of the bucket. What the store would not tell. */
static char *ask_bucket(const char *what)
{
	struct sigv4_pair query[] = { { what, "" }, { "prefix", prefix } };
	struct sigv4_pair header[] = { { "Host", store->endpoint[0].host },
				       { "x-amz-content-sha256", SIGV4_EMPTY } };
	struct sigv4_request r = {
		.method = "GET", .path = strchr(strstr(bucket_url, "://") + 3, '/'),
		.query = query, .n_query = 2, .header = header, .n_header = 2,
		.payload = SIGV4_EMPTY, .region = def.region, .service = "s3",
		.time = time(NULL), .access_key = secret.user, .secret_key = secret.password,
	};
	struct http_request q = { .method = "GET", .want_body = true, .body_max = MIB };
	struct sigv4_signature s;
	char *line[4] = { NULL }, *url, *body;

	assert_int_equal(sigv4_sign(&r, &s), 0);
	assert_true(asprintf(&url, "%s?%s", bucket_url, s.query) > 0);
	assert_true(asprintf(&line[0], "x-amz-date: %s", s.date) > 0);
	assert_true(asprintf(&line[1], "x-amz-content-sha256: %s", SIGV4_EMPTY) > 0);
	assert_true(asprintf(&line[2], "Authorization: %s", s.authorization) > 0);
	q.url = url;
	q.header = (const char *const *)line;
	assert_int_equal(http_perform(store->http, &q), 0);
	assert_int_equal(q.status, 200);
	body = strdup(q.body ? q.body : "");
	http_request_clear(&q);
	sigv4_clear(&s);
	free(url);
	free(line[0]);
	free(line[1]);
	free(line[2]);
	return body;
}

static unsigned unfinished(void)
{
	char *body = ask_bucket("uploads"), *at = body;
	unsigned n = 0;

	assert_non_null(strstr(body, "ListMultipartUploadsResult"));
	while ((at = strstr(at, "<UploadId>"))) {
		at++;
		n++;
	}
	free(body);
	return n;
}

/* --- large objects ------------------------------------------------------------ */

/* Bytes of a large object: any offset, the same each time. */
struct pattern {
	uint64_t salt;
	uint64_t fail_at;            /* 0: never */
	int err;                     /* of that; 0: from there on other bytes, each time */
	uint64_t reads, most;
};

static void fill(uint64_t salt, uint64_t off, unsigned char *buf, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		uint64_t word = (off + i) / 8, s = salt + word;

		buf[i] = (unsigned char)(next_random(&s) >> (off + i) % 8 * 8);
	}
}

static ssize_t read_pattern(void *arg, uint64_t off, void *buf, size_t len)
{
	struct pattern *p = arg;

	if (len > 64 << 10)
		len = 64 << 10;
	p->reads++;
	if (off + len > p->most)
		p->most = off + len;
	if (p->fail_at && off >= p->fail_at && p->err)
		return p->err;
	fill(p->salt, off, buf, len);
	if (p->fail_at && off >= p->fail_at)
		((unsigned char *)buf)[0] ^= (unsigned char)p->reads | 1;
	return (ssize_t)len;
}

struct check {
	uint64_t salt, off;
	bool same;
};

static int check_pattern(void *arg, const void *buf, size_t len)
{
	struct check *c = arg;
	unsigned char *want = malloc(len);

	fill(c->salt, c->off, want, len);
	c->same = c->same && !memcmp(want, buf, len);
	c->off += len;
	free(want);
	return 0;
}

static struct store_op large(struct pattern *p)
{
	struct store_op op = { .verb = STORE_PUT, .name = "large", .len = LARGE,
			       .read = read_pattern, .read_arg = p };

	return op;
}

static void assert_pattern(const char *name, uint64_t salt, uint64_t off, uint64_t len)
{
	struct check c = { salt, off, true };
	struct store_op op = { .verb = STORE_GET, .name = name, .off = off, .len = len,
			       .write = check_pattern, .write_arg = &c };

	assert_int_equal(run(&op), 0);
	assert_true(c.same);
	assert_int_equal(c.off, off + (len ? len : LARGE));
	assert_int_equal(op.size, LARGE);
}

static void hash_pattern(uint64_t salt, uint8_t hash[32])
{
	static unsigned char buf[64 << 10];
	crypto_hash_sha256_state s;
	uint64_t off;

	crypto_hash_sha256_init(&s);
	for (off = 0; off < LARGE; off += sizeof(buf)) {
		size_t n = LARGE - off < sizeof(buf) ? (size_t)(LARGE - off) : sizeof(buf);

		fill(salt, off, buf, n);
		crypto_hash_sha256_update(&s, buf, n);
	}
	crypto_hash_sha256_final(&s, hash);
}

static void in_parts(void **state)
{
	struct pattern p = { .salt = 1 };
	struct store_op op = large(&p), head = { .verb = STORE_HEAD, .name = "large" };
	uint8_t hash[32];

	(void)state;
	hash_pattern(1, hash);
	op.sha256 = hash;
	assert_int_equal(run(&op), 0);
	assert_int_equal(run(&head), 0);
	assert_int_equal(head.size, LARGE);
	/* Six parts: 5 of 16 MiB and the rest. */
	assert_non_null(strstr(head.etag, "-6"));
	assert_pattern("large", 1, 0, 0);
	assert_pattern("large", 1, 16 * MIB - 7, 20);
	assert_pattern("large", 1, LARGE - 5, 5);
	assert_int_equal(unfinished(), 0);
	assert_int_equal(on_name(STORE_DELETE, "large", NULL), 0);
}

static void part_sizes(void **state)
{
	static const uint64_t size[] = { 64 * MIB + 1, 100ULL << 30, 140ULL << 30, 1ULL << 40,
					 S3_OBJECT_MAX };
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(size); i++) {
		uint64_t part = s3_part_size(size[i], 16 * MIB);

		assert_true(part >= 16 * MIB && part <= 5ULL << 30);
		assert_true((size[i] + part - 1) / part <= S3_PARTS_MAX);
		assert_int_equal(part % MIB, 0);
	}
	assert_int_equal(s3_part_size(size[0], 16 * MIB), 16 * MIB);
	assert_true(s3_part_size(1ULL << 40, 16 * MIB) > 100 * MIB);
}

/* The object before stays, and no part is left. */
static void failed_upload(void **state)
{
	struct pattern p = { .salt = 2, .fail_at = 40 * MIB, .err = -EIO };
	struct pattern q = { .salt = 2, .fail_at = 40 * MIB };
	struct store_op op = large(&p);
	uint8_t hash[32];

	(void)state;
	assert_int_equal(put("large", "small"), 0);
	assert_int_equal(run(&op), -EIO);
	assert_non_null(strstr(op.error, "Input/output error"));
	assert_text("large", "small");
	assert_int_equal(unfinished(), 0);
	/* Changes between its two passes: the server must see it. */
	op = large(&q);
	assert_int_equal(run(&op), -EAGAIN);
	assert_text("large", "small");
	assert_int_equal(unfinished(), 0);
	/* All parts are well, but it is not what was told. */
	q = (struct pattern){ .salt = 3 };
	op = large(&q);
	hash_pattern(2, hash);
	op.sha256 = hash;
	assert_int_equal(run(&op), -EAGAIN);
	assert_non_null(strstr(op.error, "changed"));
	assert_text("large", "small");
	assert_int_equal(unfinished(), 0);
}

static void cancelled_upload(void **state)
{
	struct pattern p = { .salt = 4 };
	struct store_op op = large(&p);

	(void)state;
	assert_int_equal(store_submit(store, &op), 0);
	while (p.most < 40 * MIB)
		assert_null(store_next(store, 1));
	store_cancel_all(store);
	assert_ptr_equal(store_next(store, 10000), &op);
	assert_int_equal(op.result, -ECANCELED);
	assert_int_equal(unfinished(), 1);
	/* The next one of that name clears it away. */
	p = (struct pattern){ .salt = 5 };
	op = large(&p);
	assert_int_equal(run(&op), 0);
	assert_int_equal(unfinished(), 0);
	assert_pattern("large", 5, LARGE / 2, MIB);
}

/* --- copies ------------------------------------------------------------------- */

static void copies(void **state)
{
	struct store_op op = { .verb = STORE_COPY, .name = "odd % + \xc3\xa9", .to = "to = & ?" };

	(void)state;
	assert_int_equal(put(op.name, "one"), 0);
	assert_int_equal(run(&op), 0);
	assert_text("to = & ?", "one");
	assert_text(op.name, "one");
	op.verb = STORE_MOVE;
	op.to = "moved";
	assert_int_equal(run(&op), 0);
	assert_text("moved", "one");
	assert_int_equal(on_name(STORE_HEAD, op.name, NULL), -ENOENT);
	/* It is gone. */
	assert_int_equal(run(&op), -ENOENT);
	/* Onto itself. */
	op.name = op.to;
	assert_int_equal(run(&op), 0);
	assert_text("moved", "one");
}

static void copies_in_parts(void **state)
{
	struct pattern p = { .salt = 6 };
	struct store_op op = large(&p);

	(void)state;
	assert_int_equal(run(&op), 0);
	s3_sizes.copy = 48 * MIB;
	s3_sizes.copy_part = 32 * MIB;
	op = (struct store_op){ .verb = STORE_MOVE, .name = "large", .to = "other", .len = LARGE };
	assert_int_equal(run(&op), 0);
	assert_pattern("other", 6, 0, 0);
	op = (struct store_op){ .verb = STORE_HEAD, .name = "other" };
	assert_int_equal(run(&op), 0);
	assert_non_null(strstr(op.etag, "-3"));
	assert_int_equal(on_name(STORE_HEAD, "large", NULL), -ENOENT);
	/* The size told is not the size: then in one go, after all. */
	assert_int_equal(put("small", "s"), 0);
	op = (struct store_op){ .verb = STORE_COPY, .name = "small", .to = "x", .len = LARGE };
	assert_int_equal(run(&op), 0);
	assert_text("x", "s");
	op.name = "nothing";
	assert_int_equal(run(&op), -ENOENT);
	assert_int_equal(unfinished(), 0);
}

/* --- what is refused ---------------------------------------------------------- */

static void skewed_clock(void **state)
{
	static const int64_t skew[] = { 3600, -3600, 86400 };
	struct store_caps caps = *store_caps(store);
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(skew) * 3; i++) {
		struct store_op op = { .verb = i % 3 == 1 ? STORE_LIST : STORE_HEAD, .name = "t" };

		caps.skew = skew[i / 3];
		store_use(store, &caps);
		assert_int_equal(i % 3 ? run(&op) : put("t", "time"), 0);
		assert_in_range(store_caps(store)->skew + 60, 0, 120);
	}
	/* With parts, the clock of which goes wrong in the middle. */
	caps.skew = 3600;
	store_use(store, &caps);
	failed_upload(state);
	assert_in_range(store_caps(store)->skew + 60, 0, 120);
}

static void wrong_keys(void **state)
{
	struct remote_secret other = secret;
	struct store_op op = { .verb = STORE_PUT, .name = "a", .data = "x", .len = 1 };
	char wrong[] = "Not+The/Secret", nobody[] = "nobody:at-all";

	(void)state;
	store_close(store);
	other.password = wrong;
	assert_int_equal(store_open(&def, &other, &store), 0);
	assert_int_equal(run(&op), -EACCES);
	assert_null(strstr(op.error, wrong));
	store_close(store);
	other = secret;
	other.user = nobody;
	assert_int_equal(store_open(&def, &other, &store), 0);
	assert_int_equal(run(&op), -EACCES);
	assert_int_equal(op.status, 403);
	assert_int_equal(on_name(STORE_HEAD, "a", NULL), -EACCES);
	assert_int_equal(on_name(STORE_LIST, "", NULL), -EACCES);
}

static void wrong_hash(void **state)
{
	static const uint8_t hash[32] = { 1, 2, 3 };
	struct store_op op = { .verb = STORE_PUT, .name = "wrong", .data = "body", .len = 4,
			       .sha256 = hash };
	uint8_t right[32];

	(void)state;
	assert_int_equal(run(&op), -EAGAIN);
	assert_int_equal(op.status, 400);
	assert_int_equal(on_name(STORE_HEAD, "wrong", NULL), -ENOENT);
	crypto_hash_sha256(right, (const unsigned char *)"body", 4);
	op.sha256 = right;
	assert_int_equal(run(&op), 0);
	assert_text("wrong", "body");
}

static void no_bucket(void **state)
{
	struct remote_def other = def;
	char *url;

	(void)state;
	assert_true(asprintf(&url, "%s-that-is-not-there/prefix", bucket_url) > 0);
	store_close(store);
	other.url[0] = url;
	assert_int_equal(store_open(&other, &secret, &store), 0);
	assert_int_equal(put("a", "x"), -ENOTSUP);
	assert_int_equal(on_name(STORE_LIST, "", NULL), -ENOTSUP);
	assert_int_equal(on_name(STORE_DELETE, "a", NULL), -ENOTSUP);
	/* No bucket at all, and no key. */
	store_close(store);
	strcpy(strchr(strstr(url, "://") + 3, '/'), "/");
	assert_int_equal(store_open(&other, &secret, &store), -EINVAL);
	assert_int_equal(store_open(&def, NULL, &store), -EINVAL);
	assert_int_equal(store_open(&def, &secret, &store), 0);
	free(url);
}

static void exclusive(void **state)
{
	struct store_op op = { .verb = STORE_PUT, .name = "only", .data = "1", .len = 1,
			       .exclusive = true };
	int err;

	(void)state;
	err = run(&op);
	/* Swift says so. */
	if (err == -ENOTSUP)
		skip();
	assert_int_equal(err, 0);
	op.data = "2";
	assert_int_equal(run(&op), -EEXIST);
	assert_text("only", "1");
}
int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(part_sizes),
		store_test(in_parts), store_test(failed_upload), store_test(cancelled_upload),
		store_test(copies), store_test(copies_in_parts),
		store_test(skewed_clock), store_test(wrong_keys), store_test(wrong_hash),
		store_test(no_bucket), store_test(exclusive),
	};

	return run_at_server(tests);
}
