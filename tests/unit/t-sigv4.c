/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Signature Version 4 against published vectors: the test suite of AWS (key
 * AKIDEXAMPLE) and the examples of the S3 documentation (AKIAIOSFODNN7EXAMPLE).
 * Then what is known to go wrong in clients: sorting, empty values, header names
 * of which one begins with the other, odd characters.
 */
#include "replica/remote/sigv4.h"

#include "tests/unit/tmpdir.h"

#include <errno.h>

#define SUITE_TIME 1440938160   /* 2015-08-30T12:36:00Z */
#define S3_TIME 1369353600      /* 2013-05-24T00:00:00Z */
#define FORM "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"
#define WELCOME "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
#define UNRESERVED "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define STS_TOKEN                                                                              \
	"AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeM"    \
	"icRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZa"    \
	"mpKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr"    \
	"7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR"    \
	"/oLxBA=="

struct vector {
	const char *name, *method, *path; /* path: not encoded */
	struct sigv4_pair query[4];
	struct sigv4_pair header[6];      /* the order is part of it */
	const char *payload;              /* NULL: the empty one */
	const char *token;
	const char *signature;
};

#define HOST { "Host", "example.amazonaws.com" }

static const struct vector suite[] = {
	{ .name = "get-vanilla", .method = "GET", .path = "/", .header = { HOST },
	  .signature = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31" },
	{ .name = "get-header-key-duplicate", .method = "GET", .path = "/",
	  .header = { HOST, { "My-Header1", "value2" }, { "My-Header1", "value2" },
		      { "My-Header1", "value1" } },
	  .signature = "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea" },
	{ .name = "get-header-value-multiline", .method = "GET", .path = "/",
	  .header = { HOST, { "My-Header1", "value1\n  value2\n     value3" } },
	  .signature = "cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a51a73575eefd" },
	{ .name = "get-header-value-order", .method = "GET", .path = "/",
	  .header = { HOST, { "My-Header1", "value4" }, { "My-Header1", "value1" },
		      { "My-Header1", "value3" }, { "My-Header1", "value2" } },
	  .signature = "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01" },
	{ .name = "get-header-value-trim", .method = "GET", .path = "/",
	  .header = { HOST, { "My-Header1", " value1" }, { "My-Header2", " \"a   b   c\"" } },
	  .signature = "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736" },
	{ .name = "get-slashes-unnormalized", .method = "GET", .path = "//example//",
	  .header = { HOST },
	  .signature = "87cca117541a147f6df867677d98a7d80dff226d2bfca9e4ffa899665623c7e5" },
	{ .name = "get-slash-dot-slash-unnormalized", .method = "GET", .path = "/./",
	  .header = { HOST },
	  .signature = "68714168e6557f8f2de0ef956fc24dc2593a4bd2961f8df51898d8a134695145" },
	{ .name = "get-space-unnormalized", .method = "GET", .path = "/example space/",
	  .header = { HOST },
	  .signature = "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741" },
	{ .name = "get-unreserved", .method = "GET", .path = "/" UNRESERVED, .header = { HOST },
	  .signature = "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f" },
	{ .name = "get-utf8", .method = "GET", .path = "/\xe1\x88\xb4", .header = { HOST },
	  .signature = "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85" },
	{ .name = "get-vanilla-query-order-encoded", .method = "GET", .path = "/",
	  .query = { { "Param-3", "Value3" }, { "Param", "Value2" },
		     { "\xe1\x88\xb4", "Value1" } },
	  .header = { HOST },
	  .signature = "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac" },
	{ .name = "get-vanilla-query-order-key-case", .method = "GET", .path = "/",
	  .query = { { "Param2", "value2" }, { "Param1", "value1" } }, .header = { HOST },
	  .signature = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500" },
	{ .name = "get-vanilla-query-unreserved", .method = "GET", .path = "/",
	  .query = { { UNRESERVED, UNRESERVED } }, .header = { HOST },
	  .signature = "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197" },
	{ .name = "get-vanilla-utf8-query", .method = "GET", .path = "/",
	  .query = { { "\xe1\x88\xb4", "bar" } }, .header = { HOST },
	  .signature = "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04" },
	{ .name = "get-vanilla-with-session-token", .method = "GET", .path = "/",
	  .header = { HOST },
	  .token = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267",
	  .signature = "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8" },
	{ .name = "post-vanilla", .method = "POST", .path = "/", .header = { HOST },
	  .signature = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b" },
	{ .name = "post-header-key-sort", .method = "POST", .path = "/",
	  .header = { { "My-Header1", "value1" }, HOST },
	  .signature = "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c" },
	{ .name = "post-header-value-case", .method = "POST", .path = "/",
	  .header = { HOST, { "My-Header1", "VALUE1" } },
	  .signature = "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d" },
	{ .name = "post-sts-header-before", .method = "POST", .path = "/", .header = { HOST },
	  .token = STS_TOKEN,
	  .signature = "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead" },
	{ .name = "post-vanilla-query", .method = "POST", .path = "/",
	  .query = { { "Param1", "value1" } }, .header = { HOST },
	  .signature = "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11" },
	{ .name = "post-x-www-form-urlencoded-parameters", .method = "POST", .path = "/",
	  .header = { { "Content-Type", "application/x-www-form-urlencoded; charset=utf-8" },
		      HOST, { "Content-Length", "13" }, { "x-amz-content-sha256", FORM } },
	  .payload = FORM,
	  .signature = "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422" },
};

#define S3_HOST { "Host", "examplebucket.s3.amazonaws.com" }
#define S3_EMPTY { "x-amz-content-sha256", SIGV4_EMPTY }

static const struct vector s3[] = {
	{ .name = "GET object", .method = "GET", .path = "/test.txt",
	  .header = { S3_HOST, { "Range", "bytes=0-9" }, S3_EMPTY },
	  .signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41" },
	{ .name = "PUT object", .method = "PUT", .path = "/test$file.text",
	  .header = { S3_HOST, { "Date", "Fri, 24 May 2013 00:00:00 GMT" },
		      { "x-amz-storage-class", "REDUCED_REDUNDANCY" },
		      { "x-amz-content-sha256", WELCOME } },
	  .payload = WELCOME,
	  .signature = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd" },
	{ .name = "GET lifecycle", .method = "GET", .path = "/", .query = { { "lifecycle", "" } },
	  .header = { S3_HOST, S3_EMPTY },
	  .signature = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543" },
	{ .name = "GET list", .method = "GET", .path = "/",
	  .query = { { "prefix", "J" }, { "max-keys", "2" } }, .header = { S3_HOST, S3_EMPTY },
	  .signature = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7" },
};

static size_t count(const struct sigv4_pair *p, size_t max)
{
	size_t n = 0;

	while (n < max && p[n].name)
		n++;
	return n;
}

static struct sigv4_request request(const struct vector *v, const char *path)
{
	struct sigv4_request r = {
		.method = v->method, .path = path,
		.query = v->query, .n_query = count(v->query, N_ELEMS(v->query)),
		.header = v->header, .n_header = count(v->header, N_ELEMS(v->header)),
		.payload = v->payload ? v->payload : SIGV4_EMPTY,
		.region = "us-east-1", .session_token = v->token,
		.service = "service", .time = SUITE_TIME, .access_key = "AKIDEXAMPLE",
		.secret_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
	};

	return r;
}

static void check_vector(const struct vector *v, bool is_s3)
{
	char path[512];
	struct sigv4_signature s;
	struct sigv4_request r;

	sigv4_encode(v->path, true, path);
	r = request(v, path);
	if (is_s3) {
		r.service = "s3";
		r.time = S3_TIME;
		r.access_key = "AKIAIOSFODNN7EXAMPLE";
		r.secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
	}
	print_message("%s\n", v->name);
	assert_int_equal(sigv4_sign(&r, &s), 0);
	assert_string_equal(s.signature, v->signature);
	sigv4_clear(&s);
}

static void vectors(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(suite); i++)
		check_vector(&suite[i], false);
	for (i = 0; i < N_ELEMS(s3); i++)
		check_vector(&s3[i], true);
}

static void whole_header(void **state)
{
	struct sigv4_request r = request(&suite[0], "/");
	struct sigv4_signature s;

	(void)state;
	assert_int_equal(sigv4_sign(&r, &s), 0);
	assert_string_equal(s.date, "20150830T123600Z");
	assert_string_equal(s.query, "");
	assert_string_equal(s.authorization,
		"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
		"SignedHeaders=host;x-amz-date, Signature="
		"5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
	sigv4_clear(&s);
	assert_null(s.authorization);
	sigv4_clear(&s);
}

/* What libcurl 7.88 got wrong, as canonical text. */
static void traps(void **state)
{
	static const struct sigv4_pair query[] = {
		{ "uploadId", "2~a/b+c=d&e" }, { "uploads", "" }, { "partNumber", "10" },
		{ "partNumber", "1" }, { "a-b", "%41 \x7f" }, { "a", "\xc3\xa9" },
	};
	static const struct sigv4_pair header[] = {
		{ "x-amz-copy-source-range", "bytes=0-9" }, { "x-amz-copy-source", "/b/%C3%A9" },
		{ "Host", "h:80" }, { "x-amz-meta-a-b", "" }, { "x-amz-meta-a", "  " },
	};
	struct sigv4_request r = {
		.method = "PUT", .path = "/", .query = query, .n_query = N_ELEMS(query),
		.header = header, .n_header = N_ELEMS(header), .payload = SIGV4_EMPTY,
		.region = "r", .service = "s3", .access_key = "a", .secret_key = "s",
		.session_token = "T",
	};
	char *text = sigv4_canonical(&r, "20150830T123600Z");

	(void)state;
	assert_non_null(text);
	assert_string_equal(text, "PUT\n/\n"
		"a=%C3%A9&a-b=%2541%20%7F&partNumber=1&partNumber=10"
		"&uploadId=2~a%2Fb%2Bc%3Dd%26e&uploads=\n"
		"host:h:80\n"
		"x-amz-copy-source:/b/%C3%A9\n"
		"x-amz-copy-source-range:bytes=0-9\n"
		"x-amz-date:20150830T123600Z\n"
		"x-amz-meta-a:\n"
		"x-amz-meta-a-b:\n"
		"x-amz-security-token:T\n\n"
		"host;x-amz-copy-source;x-amz-copy-source-range;x-amz-date;x-amz-meta-a;"
		"x-amz-meta-a-b;x-amz-security-token\n" SIGV4_EMPTY);
	free(text);
}

static void encoding(void **state)
{
	char all[256], out[3 * 255 + 1], *end;
	unsigned c;

	(void)state;
	for (c = 1; c < 256; c++)
		all[c - 1] = (char)c;
	all[255] = '\0';
	sigv4_encode("+ ()'!*@:=,;$&?#[]\\\"<>^`{|}%/~-._", true, out);
	assert_string_equal(out, "%2B%20%28%29%27%21%2A%40%3A%3D%2C%3B%24%26%3F%23%5B%5D%5C%22"
				 "%3C%3E%5E%60%7B%7C%7D%25/~-._");
	sigv4_encode("a/b", false, out);
	assert_string_equal(out, "a%2Fb");
	end = sigv4_encode(all, true, out);
	assert_ptr_equal(end, out + strlen(out));
	/* 255 characters, of which 62 + 4 and the slash stand for themselves. */
	assert_int_equal(strlen(out), 67 + 3 * (255 - 67));
	assert_string_equal(end - 3, "%FF");
}

static void refused(void **state)
{
	struct sigv4_pair many[SIGV4_PAIRS_MAX + 1], wide = { NULL, "v" };
	struct sigv4_request r = request(&suite[0], "/");
	struct sigv4_signature s;
	char name[100];
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(many); i++)
		many[i] = (struct sigv4_pair){ "a", "b" };
	r.query = many;
	r.n_query = N_ELEMS(many);
	assert_int_equal(sigv4_sign(&r, &s), -EINVAL);
	r.n_query--;
	assert_int_equal(sigv4_sign(&r, &s), 0);
	sigv4_clear(&s);
	r.n_query = 0;
	r.header = many;
	r.n_header = N_ELEMS(many);
	assert_int_equal(sigv4_sign(&r, &s), -EINVAL);
	memset(name, 'x', sizeof(name));
	name[99] = '\0';
	wide.name = name;
	r.header = &wide;
	r.n_header = 1;
	assert_int_equal(sigv4_sign(&r, &s), -EINVAL);
	r.n_header = 0;
	r.time = INT64_MAX;
	assert_int_equal(sigv4_sign(&r, &s), -EINVAL);
	r.time = -1;
	assert_int_equal(sigv4_sign(&r, &s), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors), cmocka_unit_test(whole_header),
		cmocka_unit_test(traps), cmocka_unit_test(encoding),
		cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
