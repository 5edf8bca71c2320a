/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the S3 dialect makes of answers that real servers give rarely or never: a
 * server of our own, in a thread, plays what a test has written down and keeps
 * what it was asked.
 */
#include "replica/remote/store_s3.h"

#include <errno.h>

#include <sodium.h>

#include "tests/unit/player.h"

#define MIB (1ULL << 20)
#define XML_HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define AWS_NS " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

static struct remote_def def;
static struct remote_secret secret;
static struct store *store;
static struct s3_sizes real_sizes;

static int server_start(void **state)
{
	static char url[64], name[] = "AKID", key[] = "the+secret";
	int port = player_start();

	(void)state;
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/bucket/pre", port);
	def.kind = REMOTE_S3;
	def.n_urls = 1;
	def.url[0] = url;
	def.connections = 2;
	strcpy(def.name, "test");
	secret.user = name;
	secret.password = key;
	real_sizes = s3_sizes;
	return port < 0 ? -1 : 0;
}

static int server_stop(void **state)
{
	(void)state;
	player_stop();
	return 0;
}

static int open_store(void **state)
{
	(void)state;
	s3_sizes = real_sizes;
	secret.session_token = NULL;
	return store_open(&def, &secret, &store);
}

static int close_store(void **state)
{
	(void)state;
	store_close(store);
	return 0;
}

/* Plays the answers to one operation; all of them must have been wanted. */
static int play(struct store_op *op, const struct answer *answer, unsigned n)
{
	int err;

	player_set(answer, n);
	err = store_run(store, op);
	if (err < 0) {
		print_message("  %s\n", op->error);
		assert_true(op->error[0] != '\0');
		assert_null(strstr(op->error, secret.password));
	}
	assert_int_equal(player_asked(), n);
	return err;
}

/* Whether request i begins so. */
static bool asked(unsigned i, const char *line)
{
	return !strncmp(player.asked[i], line, strlen(line));
}

/* --- codes --------------------------------------------------------------------- */

static void codes(void **state)
{
	static const struct {
		int status;
		const char *code;
		int err;
	} c[] = {
		{ 503, "SlowDown", -EAGAIN }, { 400, "RequestTimeout", -EAGAIN },
		{ 500, "InternalError", -EAGAIN }, { 409, "OperationAborted", -EAGAIN },
		{ 409, "", -EAGAIN }, { 404, "NoSuchBucket", -ENOTSUP },
		{ 403, "SignatureDoesNotMatch", -EACCES }, { 403, "AccessDenied", -EACCES },
		{ 403, "InvalidAccessKeyId", -EACCES }, { 400, "ExpiredToken", -EACCES },
		{ 403, "QuotaExceeded", -ENOSPC }, { 400, "EntityTooLarge", -EFBIG },
		{ 400, "XAmzContentSHA256Mismatch", -EAGAIN }, { 400, "BadDigest", -EAGAIN },
		{ 412, "PreconditionFailed", -EEXIST }, { 301, "PermanentRedirect", -ENOTSUP },
		{ 400, "InvalidObjectName", -EINVAL }, { 501, "NotImplemented", -ENOTSUP },
		{ 418, "NobodyKnowsThis", -ENOTSUP }, { 503, "NobodyKnowsThis", -EAGAIN },
		{ 413, "", -EFBIG }, { 507, "", -ENOSPC }, { 404, "NoSuchKey", -ENOENT },
	};
	char body[512];
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(c); i++) {
		struct store_op op = { .verb = STORE_PUT, .name = "n", .data = "x", .len = 1 };
		struct answer a = { c[i].status, "Retry-After: 7\r\n", body, false };

		snprintf(body, sizeof(body), XML_HEAD "<Error><Code>%s</Code><Message>some "
			 "words\nof it, the+secret</Message><Resource>/</Resource></Error>",
			 c[i].code);
		assert_int_equal(play(&op, &a, 1), c[i].err);
		assert_non_null(strstr(op.error, c[i].code));
		assert_int_equal(op.status, c[i].status);
		assert_int_equal(op.retry_after, 7);
	}
}

static void no_codes(void **state)
{
	static const struct answer a[] = {
		{ 403, NULL, "<html><body><h1>go away</h1></body></html>", false },
		{ 500, NULL, "", false },
		{ 400, NULL, XML_HEAD "<Error><Code>SlowDown</Code><Mess", false },
		{ 404, NULL, "<!DOCTYPE x [<!ENTITY a \"SlowDown\">]><Error><Code>&a;</Code>"
			     "</Error>", false },
	};
	static const int want[] = { -EACCES, -EAGAIN, -EAGAIN, -ENOENT };
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(a); i++) {
		struct store_op op = { .verb = STORE_PUT, .name = "n", .data = "x", .len = 1 };

		assert_int_equal(play(&op, &a[i], 1), want[i]);
	}
}

/* --- the clock ----------------------------------------------------------------- */

#define SKEWED XML_HEAD "<Error><Code>RequestTimeTooSkewed</Code></Error>"
#define LATER "Date: Fri, 01 Jan 2038 00:00:00 GMT\r\n"

static void clock_of_server(void **state)
{
	static const struct answer put[] = {
		{ 403, LATER, SKEWED, false }, { 200, LATER, "", false },
	};
	static const struct answer again[] = {
		{ 403, LATER, SKEWED, false }, { 403, LATER, SKEWED, false },
	};
	struct store_op op = { .verb = STORE_PUT, .name = "n", .data = "body", .len = 4 };

	(void)state;
	assert_int_equal(play(&op, put, 2), 0);
	assert_null(strstr(player.asked[0], "x-amz-date: 20380101T0000"));
	assert_non_null(strstr(player.asked[1], "x-amz-date: 20380101T0000"));
	assert_non_null(strstr(player.asked[1], "/20380101/us-east-1/s3/aws4_request"));
	/* Once; then a person has to look. */
	assert_int_equal(play(&op, again, 2), -EACCES);
	assert_non_null(strstr(op.error, "clocks"));
}

static void clock_without_words(void **state)
{
	static const struct answer far[] = {
		{ 403, LATER, "", false }, { 200, LATER "ETag: \"e\"\r\n", "12345", false },
	};
	char date[64];
	struct answer near = { 403, date, "", false };
	struct store_op op = { .verb = STORE_HEAD, .name = "n" };
	time_t now = time(NULL);

	(void)state;
	assert_int_equal(play(&op, far, 2), 0);
	assert_int_equal(op.size, 5);
	assert_string_equal(op.etag, "\"e\"");
	/* Time is not what is wrong. */
	close_store(NULL);
	open_store(NULL);
	strftime(date, sizeof(date), "Date: %a, %d %b %Y %T GMT\r\n", gmtime(&now));
	assert_int_equal(play(&op, &near, 1), -EACCES);
	near.headers = NULL;
	assert_int_equal(play(&op, &near, 1), -EACCES);
}

static void token(void **state)
{
	static const struct answer ok = { 204, NULL, "", false };
	struct store_op op = { .verb = STORE_DELETE, .name = "n %" };
	char text[] = "session/token==";

	(void)state;
	secret.session_token = text;
	assert_int_equal(play(&op, &ok, 1), 0);
	assert_true(asked(0, "DELETE /bucket/pre/n%20%25 HTTP/1.1\r\n"));
	assert_non_null(strstr(player.asked[0], "x-amz-security-token: session/token==\r\n"));
	assert_non_null(strstr(player.asked[0], ";x-amz-security-token, Signature="));
	assert_null(strstr(player.asked[0], secret.password));
	/* No header of its own may come of it. */
	strcpy(text, "a\r\nb: c");
	op.verb = STORE_HEAD;
	assert_int_equal(play(&op, NULL, 0), -EINVAL);
}

/* --- copies -------------------------------------------------------------------- */

#define COPIED "<CopyObjectResult" AWS_NS "><ETag>&quot;e&quot;</ETag></CopyObjectResult>"

static void copies(void **state)
{
	static const struct answer bad[][1] = {
		{ { 200, NULL, XML_HEAD "<Error><Code>InternalError</Code></Error>", false } },
		{ { 200, NULL, XML_HEAD "<Error><Code>AccessDenied</Code></Error>", false } },
		{ { 200, NULL, XML_HEAD "<Error><Code>Whatever</Code></Error>", false } },
		{ { 200, NULL, "", false } },
		{ { 200, NULL, XML_HEAD "<CopyObjectResult/>", false } },
		{ { 200, NULL, "  <CopyObjectResult><ETag>\"e\"</ETag>", false } },
		{ { 200, NULL, XML_HEAD COPIED, true } },
	};
	static const int want[] = { -EAGAIN, -EACCES, -EAGAIN, -EPROTO, -EPROTO, -EPROTO,
				    -EAGAIN };
	static const struct answer good[] = {
		{ 200, NULL, "\n\n" COPIED, false }, { 204, NULL, "", false },
	};
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(want); i++) {
		/* What was not copied is not deleted. */
		struct store_op op = { .verb = STORE_MOVE, .name = "a", .to = "b" };

		assert_int_equal(play(&op, bad[i], 1), want[i]);
	}
	{
		struct store_op op = { .verb = STORE_MOVE, .name = "a b", .to = "b" };

		assert_int_equal(play(&op, good, 2), 0);
		assert_true(asked(0, "PUT /bucket/pre/b "));
		assert_non_null(strstr(player.asked[0],
				       "x-amz-copy-source: /bucket/pre/a%20b\r\n"));
		assert_true(asked(1, "DELETE /bucket/pre/a%20b "));
	}
}

static void copy_too_large(void **state)
{
	static const char *const refusal = XML_HEAD "<Error><Code>InvalidRequest</Code><Message>"
		"larger than the maximum allowable size for a copy source</Message></Error>";
	const struct answer a[] = {
		{ 400, NULL, refusal, false },
		{ 200, NULL, "12345678901234567890", false }, /* a HEAD: only its length */
		{ 200, NULL, "<ListMultipartUploadsResult/>", false },
		{ 200, NULL, "<I><UploadId>id</UploadId></I>", false },
		{ 200, NULL, "<CopyPartResult><ETag>\"1\"</ETag></CopyPartResult>", false },
		{ 200, NULL, "<CompleteMultipartUploadResult/>", false },
	};
	struct store_op op = { .verb = STORE_COPY, .name = "a", .to = "b" };

	(void)state;
	/* It is not the size. */
	assert_int_equal(play(&op, a, 2), -EINVAL);
	assert_non_null(strstr(op.error, "InvalidRequest"));
	s3_sizes.copy = 10;
	assert_int_equal(play(&op, a, 6), 0);
	assert_true(asked(4, "PUT /bucket/pre/b?partNumber=1&uploadId=id "));
	assert_non_null(strstr(player.asked[4], "x-amz-copy-source-range: bytes=0-19\r\n"));
}

/* --- lists --------------------------------------------------------------------- */

struct seen {
	unsigned n;
	char names[256];
};

static int found(void *arg, const struct store_found *f)
{
	struct seen *s = arg;
	size_t n = strlen(s->names);

	s->n++;
	snprintf(s->names + n, sizeof(s->names) - n, "%s%s|", f->name, f->dir ? "/" : "");
	return 0;
}

#define LIST(inner) XML_HEAD "<ListBucketResult" AWS_NS "><Name>bucket</Name><Prefix>pre/d/" \
	"</Prefix>" inner "<EncodingType>url</EncodingType></ListBucketResult>"
#define KEY(key) "<Contents><Key>" key "</Key><LastModified>2026-01-02T03:04:05.678Z" \
	"</LastModified><ETag>x</ETag><Size>5</Size><Owner><ID>o</ID></Owner></Contents>"
#define SUB(key) "<CommonPrefixes><Prefix>" key "</Prefix></CommonPrefixes>"
#define MORE(token) "<IsTruncated>true</IsTruncated><NextContinuationToken>" token \
	"</NextContinuationToken>"

static int list(const struct answer *a, unsigned n, struct seen *s)
{
	struct store_op op = { .verb = STORE_LIST, .name = "d", .found = found, .found_arg = s };

	memset(s, 0, sizeof(*s));
	return play(&op, a, n);
}

static void lists(void **state)
{
	static const struct answer pages[] = {
		{ 200, NULL, LIST(KEY("pre/d/") KEY("pre/d/a+b%2Bc") KEY("pre/d/%01%C3%A9")
				  SUB("pre/d/s%2520/") SUB("pre/d//") MORE("t/1+=")), false },
		{ 200, NULL, LIST(KEY("pre/d/..") SUB("pre/d/../") KEY("pre/d/%26lt%3B")
				  "<IsTruncated>false</IsTruncated>"), false },
	};
	struct seen s;

	(void)state;
	assert_int_equal(list(pages, 2, &s), 0);
	assert_string_equal(s.names, "a b+c|\x01\xc3\xa9|s%20/|&lt;|");
	assert_true(asked(0, "GET /bucket?delimiter=%2F&encoding-type=url&list-type=2&max-keys="
			     "1000&prefix=pre%2Fd%2F "));
	assert_true(asked(1, "GET /bucket?continuation-token=t%2F1%2B%3D&delimiter="));
}

static void lists_that_lie(void **state)
{
	static const char *const body[] = {
		LIST(KEY("other/d/a")), LIST(KEY("pre/e/a")), LIST(KEY("pre/d/a/b")),
		LIST(SUB("pre/d/a")), LIST(SUB("pre/e/a/")), LIST(SUB("pre/d/a/b/")),
		LIST(KEY("pre/d/a%00b")), LIST(KEY("pre/d/%4")), LIST(KEY("pre/d/%GG")),
		LIST(MORE("")), LIST("<IsTruncated>true</IsTruncated>"),
		LIST("<Contents><Key>pre/d/a</Key><Size>-1</Size></Contents>"),
		LIST("<Contents><Key>pre/d/a</Key><Size>99999999999999999999</Size></Contents>"),
		LIST("<Contents><Key>pre/d/a</Key><Size>5x</Size></Contents>"),
		"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
		"<html><body>welcome</body></html>", "welcome", "",
		"<!DOCTYPE x><ListBucketResult/>", XML_HEAD "<ListBucketResult>",
	};
	static char many[5000], whole[6000];
	struct seen s;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(body); i++) {
		struct answer a = { 200, NULL, body[i], false };

		assert_int_equal(list(&a, 1, &s), -EPROTO);
	}
	memset(many, 'k', sizeof(many) - 1);
	snprintf(whole, sizeof(whole), LIST(KEY("pre/d/%s")), many);
	assert_int_equal(list(&(struct answer){ 200, NULL, whole, false }, 1, &s), -EPROTO);
}

static void lists_that_do_not_end(void **state)
{
	static const struct answer same[] = {
		{ 200, NULL, LIST(KEY("pre/d/a") MORE("t")), false },
		{ 200, NULL, LIST(KEY("pre/d/b") MORE("t")), false },
	};
	static const struct answer breaks[] = {
		{ 200, NULL, LIST(KEY("pre/d/a") MORE("t")), false },
		{ 200, NULL, LIST(KEY("pre/d/b")), true },
	};
	static const struct answer denied = { 403, NULL, "<Error><Code>AccessDenied</Code></Error>",
					      false };
	struct seen s;

	(void)state;
	assert_int_equal(list(same, 2, &s), -EPROTO);
	assert_int_equal(list(breaks, 2, &s), -EAGAIN);
	assert_int_equal(list(&denied, 1, &s), -EACCES);
	assert_int_equal(s.n, 0);
}

/* --- parts --------------------------------------------------------------------- */

static unsigned char bytes[3 * MIB];

static struct store_op in_parts(void)
{
	struct store_op op = { .verb = STORE_PUT, .name = "big", .data = bytes,
			       .len = 2 * MIB + 1 };

	s3_sizes.put = MIB;
	s3_sizes.part = MIB;
	return op;
}

#define NO_UPLOADS { 200, NULL, "<ListMultipartUploadsResult/>", false }
#define BEGUN { 200, NULL, "<I><UploadId>a+/b</UploadId></I>", false }
#define PART { 200, "ETag: \"e&1\"\r\n", "", false }
#define DONE { 200, NULL, XML_HEAD "<CompleteMultipartUploadResult" AWS_NS \
	       "><ETag></ETag></CompleteMultipartUploadResult>", false }
#define GONE { 204, NULL, "", false }
#define TROUBLE { 500, NULL, "<Error><Code>InternalError</Code></Error>", false }
#define AS_200 { 200, NULL, "  <Error><Code>InternalError</Code></Error>", false }

static void parts(void **state)
{
	static const struct answer good[] = { NO_UPLOADS, BEGUN, PART, PART, PART, DONE };
	struct store_op op = in_parts();

	(void)state;
	assert_int_equal(play(&op, good, 6), 0);
	assert_true(asked(0, "GET /bucket?encoding-type=url&max-uploads=50&prefix=pre%2Fbig&"
			     "uploads= "));
	assert_true(asked(1, "POST /bucket/pre/big?uploads= "));
	assert_true(asked(2, "PUT /bucket/pre/big?partNumber=1&uploadId=a%2B%2Fb "));
	assert_true(asked(4, "PUT /bucket/pre/big?partNumber=3&uploadId=a%2B%2Fb "));
	assert_non_null(strstr(player.asked[4], "Content-Length: 1\r\n"));
	assert_true(asked(5, "POST /bucket/pre/big?uploadId=a%2B%2Fb "));
	/* 3 * "<Part><PartNumber>1</PartNumber><ETag>&quot;e&amp;1&quot;</ETag></Part>" */
	assert_non_null(strstr(player.asked[5], "Content-Length: 264\r\n"));
}

static void parts_that_fail(void **state)
{
	static const struct answer
		part[] = { NO_UPLOADS, BEGUN, PART, TROUBLE, GONE },
		etag[] = { NO_UPLOADS, BEGUN, PART, GONE, GONE },
		last[] = { NO_UPLOADS, BEGUN, PART, PART, PART, AS_200, GONE },
		both[] = { NO_UPLOADS, BEGUN, TROUBLE, TROUBLE },
		begin[] = { NO_UPLOADS, TROUBLE },
		no_id[] = { NO_UPLOADS, DONE };
	static const struct {
		const struct answer *a;
		unsigned n;
		int err;
	} c[] = {
		{ part, N_ELEMS(part), -EAGAIN }, { etag, N_ELEMS(etag), -EPROTO },
		{ last, N_ELEMS(last), -EAGAIN }, { both, N_ELEMS(both), -EAGAIN },
		{ begin, N_ELEMS(begin), -EAGAIN }, { no_id, N_ELEMS(no_id), -EPROTO },
	};
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(c); i++) {
		struct store_op op = in_parts();

		assert_int_equal(play(&op, c[i].a, c[i].n), c[i].err);
		assert_int_equal(strstr(op.error, "its parts are still there") != NULL,
				 c[i].a == both);
		if (c[i].a != begin && c[i].a != no_id)
			assert_true(asked(c[i].n - 1,
					  "DELETE /bucket/pre/big?uploadId=a%2B%2Fb "));
	}
}

/* The clock goes wrong under way: a part is sent again, but counts once. */
static void parts_and_clock(void **state)
{
	static const struct answer a[] = {
		NO_UPLOADS, BEGUN, PART, { 403, LATER, SKEWED, false }, PART, PART, DONE,
	};
	struct store_op op = in_parts();
	uint8_t hash[32];

	(void)state;
	memset(bytes + MIB, 'b', MIB);
	crypto_hash_sha256(hash, bytes, op.len);
	op.sha256 = hash;
	assert_int_equal(play(&op, a, N_ELEMS(a)), 0);
	assert_true(asked(3, "PUT /bucket/pre/big?partNumber=2&"));
	assert_true(asked(4, "PUT /bucket/pre/big?partNumber=2&"));
	/* It is another than was told: found after the last part. */
	hash[0] ^= 1;
	op = in_parts();
	op.sha256 = hash;
	assert_int_equal(play(&op, (struct answer[]){ NO_UPLOADS, BEGUN, PART, PART, PART, GONE },
			      6), -EAGAIN);
}

static void parts_left(void **state)
{
	static const char *const uploads = XML_HEAD "<ListMultipartUploadsResult" AWS_NS ">"
		"<Upload><Key>pre%2Fbig</Key><UploadId>one</UploadId></Upload>"
		"<Upload><Key>pre/bigger</Key><UploadId>other</UploadId></Upload>"
		"<Upload><Key>pre/big</Key><UploadId>two</UploadId></Upload>"
		"<Upload><Key>pre/big</Key></Upload>"
		"</ListMultipartUploadsResult>";
	const struct answer left[] = {
		{ 200, NULL, uploads, false }, GONE, TROUBLE, BEGUN, PART, PART, PART, DONE,
	};
	static const struct answer denied[] = {
		{ 403, NULL, "<Error><Code>AccessDenied</Code></Error>", false },
		BEGUN, PART, PART, PART, DONE,
	};
	struct store_op op = in_parts();

	(void)state;
	assert_int_equal(play(&op, left, N_ELEMS(left)), 0);
	assert_true(asked(1, "DELETE /bucket/pre/big?uploadId=two "));
	assert_true(asked(2, "DELETE /bucket/pre/big?uploadId=one "));
	assert_int_equal(play(&op, denied, N_ELEMS(denied)), 0);
}

static void too_large(void **state)
{
	struct store_op op = in_parts();

	(void)state;
	op.len = S3_OBJECT_MAX + 1;
	assert_int_equal(play(&op, NULL, 0), -EFBIG);
}

#define store_test(f) cmocka_unit_test_setup_teardown(f, open_store, close_store)

int main(void)
{
	const struct CMUnitTest tests[] = {
		store_test(codes), store_test(no_codes),
		store_test(clock_of_server), store_test(clock_without_words), store_test(token),
		store_test(copies), store_test(copy_too_large),
		store_test(lists), store_test(lists_that_lie), store_test(lists_that_do_not_end),
		store_test(parts), store_test(parts_that_fail), store_test(parts_and_clock),
		store_test(parts_left),
		store_test(too_large),
	};

	return cmocka_run_group_tests(tests, server_start, server_stop);
}
