/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the store makes of URLs, names, statuses and XML, without a server: encoding,
 * end points, the line of an error, and lists of servers that lie.
 */
#include "replica/remote/store_priv.h"

#include <errno.h>

#include "replica/remote/store_propfind.h"
#include "tests/unit/tmpdir.h"

static struct remote_secret secret = { .user = (char *)"tester", .password = (char *)"pass-word" };
static struct store store = { .secret = &secret };
static struct store_op op;
static struct work work = { .store = &store, .op = &op };

static void begin(const char *url)
{
	endpoint_free(&store.endpoint[0]);
	assert_int_equal(endpoint_parse(url, &store.endpoint[0]), 0);
	op = (struct store_op){ .verb = STORE_LIST, .name = "dir" };
}

static void end(void)
{
	store_request(&work, "", NULL);
	work.own = 0;
	endpoint_free(&store.endpoint[0]);
}

/* ---- URLs ---- */

static void test_encode(void **state)
{
	char out[800], all[256];

	(void)state;
	for (int i = 0; i < 255; i++)
		all[i] = (char)(i + 1);
	all[255] = '\0';
	store_encode("a b/c", 5, false, out);
	assert_string_equal(out, "a%20b/c");
	store_encode("a b/c", 5, true, out);
	assert_string_equal(out, "a%20b%2Fc");
	assert_int_equal(store_encode("A-z0.9_~\xff", 9, false, out), 11);
	assert_string_equal(out, "A-z0.9_~%FF");
	store_encode(all, 255, true, out);
	assert_int_equal(store_decode(out), 0);
	assert_string_equal(out, all);
	for (size_t i = 0; i < 6; i++) {
		static const char *const bad[] = { "%", "%4", "%g1", "%1g", "a%00b", "%-1" };
		char text[16];

		strcpy(text, bad[i]);
		assert_int_equal(store_decode(text), -EPROTO);
	}
}

static void test_endpoints(void **state)
{
	static const struct {
		const char *url, *base, *host, *path;
	} good[] = {
		{ "http://h", "http://h", "h", "" },
		{ "http://h/", "http://h", "h", "" },
		{ "https://h:443/a/", "https://h:443/a", "h", "/a" },
		{ "http://h:80/a//", "http://h:80/a", "h", "/a" },
		{ "https://h:80/a", "https://h:80/a", "h:80", "/a" },
		{ "http://[::1]:8080/a%20b/c+d", "http://[::1]:8080/a%20b/c%2Bd", "[::1]:8080",
		  "/a%20b/c%2Bd" },
		{ "http://h/%c3%a4/\xc3\xa4", "http://h/%C3%A4/%C3%A4", "h", "/%C3%A4/%C3%A4" },
	};
	static const char *const bad[] = {
		"", "h", "ftp://h/", "file:///etc", "http://", "http:///a", "http://u:p@h/a",
		"http://h/a?b", "http://h/a#b", "http://h/../a", "http://h/a%2fb", "http://h/%zz",
		"http://h/a//b", "http://h\r\nX: y/", "http://h/./a", "http://h/%00",
	};
	struct endpoint e;

	(void)state;
	for (size_t i = 0; i < N_ELEMS(good); i++) {
		assert_int_equal(endpoint_parse(good[i].url, &e), 0);
		assert_string_equal(e.base, good[i].base);
		assert_string_equal(e.host, good[i].host);
		assert_string_equal(e.path, good[i].path);
		endpoint_free(&e);
	}
	for (size_t i = 0; i < N_ELEMS(bad); i++)
		assert_int_equal(endpoint_parse(bad[i], &e), -EINVAL);
}

static void test_url(void **state)
{
	char *url;

	(void)state;
	begin("http://h/pre%20fix");
	url = store_url(&store, "a/b?c", "/");
	assert_string_equal(url, "http://h/pre%20fix/a/b%3Fc/");
	free(url);
	url = store_url(&store, "", "?list");
	assert_string_equal(url, "http://h/pre%20fix?list");
	free(url);
	end();
}

static void test_headers(void **state)
{
	(void)state;
	begin("http://h/");
	assert_int_equal(store_request(&work, "GET", strdup("http://h/")), 0);
	assert_int_equal(store_header(&work, "A: %s", "b\r\nEvil: 1"), -EINVAL);
	for (int i = 0; i < STORE_HEADERS_MAX; i++)
		assert_int_equal(store_header(&work, "A: %d", i), 0);
	assert_int_equal(store_header(&work, "A: more"), -E2BIG);
	assert_string_equal(work.req.header[STORE_HEADERS_MAX - 1], "A: 23");
	assert_null(work.req.header[STORE_HEADERS_MAX]);
	end();
}

/* ---- words ---- */

static const char *judged(long status, int err, const char *body)
{
	static char text[4096];

	store_request(&work, "GET", strdup("http://h/"));
	op.verb = STORE_GET;
	op.name = "na\nme";
	snprintf(text, sizeof(text), "%s", body);
	work.req.status = status;
	work.req.body = strdup(text);
	assert_int_equal(store_judge(&work), err);
	return op.error;
}

static void test_statuses(void **state)
{
	static const struct {
		long status;
		int err;
	} table[] = {
		{ 200, 0 }, { 201, 0 }, { 204, 0 }, { 207, 0 }, { 301, -ENOTSUP }, { 308, -ENOTSUP },
		{ 400, -EINVAL }, { 401, -EACCES }, { 403, -EACCES }, { 404, -ENOENT },
		{ 405, -ENOTSUP }, { 408, -EAGAIN }, { 413, -EFBIG }, { 414, -EINVAL },
		{ 418, -ENOTSUP }, { 423, -EAGAIN }, { 425, -EAGAIN }, { 429, -EAGAIN },
		{ 500, -EAGAIN }, { 501, -ENOTSUP }, { 502, -EAGAIN }, { 503, -EAGAIN },
		{ 505, -ENOTSUP }, { 507, -ENOSPC }, { 599, -EAGAIN }, { 100, -EPROTO },
		{ 0, -EPROTO }, { 600, -EPROTO }, { -1, -EPROTO }, { 999, -EPROTO },
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMS(table); i++)
		assert_int_equal(store_errno(table[i].status), table[i].err);
	assert_int_equal(store_transport(-ETIMEDOUT), -EAGAIN);
	assert_int_equal(store_transport(-EKEYREJECTED), -EKEYREJECTED);
	assert_int_equal(store_transport(-ECANCELED), -ECANCELED);
}

static void test_words(void **state)
{
	char long_body[4000];

	(void)state;
	begin("http://h/");
	assert_string_equal(judged(403, -EACCES, "<html><head><title>x</title></head><body>"
				   "<h1>No\n\n  way</h1> &c</body>"),
			    "GET na me: HTTP 403, not allowed (No way &c)");
	assert_string_equal(judged(500, -EAGAIN, ""),
			    "GET na me: HTTP 500, internal server error");
	assert_string_equal(judged(500, -EAGAIN, "<<<<> <script>evil() < </script>a\x1b[31mb\x7f"),
			    "GET na me: HTTP 500, internal server error (a?[31mb?)");
	/* What we sent does not come into a log. */
	assert_null(strstr(judged(401, -EACCES, "pass-word? and pass-word"), "pass-word"));
	assert_null(strstr(judged(401, -EACCES, "Basic dGVzdGVyOnBhc3Mtd29yZA== is bad"),
			   "dGVzdGVy"));
	memset(long_body, 'w', sizeof(long_body) - 1);
	long_body[sizeof(long_body) - 1] = '\0';
	assert_true(strlen(judged(404, -ENOENT, long_body)) < STORE_ERROR_MAX / 2);
	assert_null(strchr(judged(404, -ENOENT, "<head"), '<'));
	end();
}

/* ---- XML ---- */

static int count_end(void *arg, const char *ns, const char *name, const char *text)
{
	int *n = arg;

	(void)ns, (void)text;
	*n += !strcmp(name, "a");
	return 0;
}

static int parse(const char *text, int *n)
{
	static const struct xml_hooks hooks = { NULL, count_end };
	struct xml *x = xml_new(&hooks, n);
	int err;

	*n = 0;
	for (size_t i = 0; i < strlen(text); i++)
		if (xml_feed(x, text + i, 1))
			break;
	err = xml_finish(x);
	xml_free(x);
	return err;
}

static void test_xml(void **state)
{
	static char big[XML_TEXT_MAX + 100];
	int n;

	(void)state;
	assert_int_equal(parse("<r><a>1</a><a/></r>", &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(parse("<r><a>1</a>", &n), -EPROTO);
	assert_int_equal(parse("", &n), -EPROTO);
	assert_int_equal(parse("<r></r><r/>", &n), -EPROTO);
	assert_int_equal(parse("<!DOCTYPE r [<!ENTITY e \"x\">]><r><a>&e;</a></r>", &n), -EPROTO);
	assert_int_equal(n, 0);
	assert_int_equal(parse("<!DOCTYPE r SYSTEM \"file:///etc/passwd\"><r><a/></r>", &n),
			 -EPROTO);
	assert_int_equal(n, 0);
	assert_int_equal(parse("<r>&nothing;</r>", &n), -EPROTO);
	big[0] = '\0';
	for (int i = 0; i <= XML_DEPTH_MAX; i++)
		strcat(big, "<a>");
	assert_int_equal(parse(big, &n), -EPROTO);
	memset(big, 'x', sizeof(big) - 1);
	memcpy(big, "<r><a>", 6);
	memcpy(big + sizeof(big) - 9, "</a></r>", 9);
	assert_int_equal(parse(big, &n), -EPROTO);
	assert_int_equal(n, 0);
}

/* ---- PROPFIND ---- */

struct listed {
	unsigned n;
	char names[256];
	uint64_t size;
	int64_t mtime;
	bool dir;
};

static int found(void *arg, const struct store_found *f)
{
	struct listed *l = arg;

	l->n++;
	snprintf(l->names + strlen(l->names), sizeof(l->names) - strlen(l->names), "[%s]",
		 f->name);
	l->size = f->size;
	l->mtime = f->mtime;
	l->dir = f->dir;
	return 0;
}

/* What comes of the answer of a server to "what is below dir". */
static int answer(long status, const char *text, struct listed *l, enum propfind_kind *kind)
{
	struct propfind *p = NULL;
	int err;

	memset(l, 0, sizeof(*l));
	work.own = 0;
	assert_int_equal(propfind_request(&work, "dir", true, true, found, l, &p), 0);
	assert_string_equal(work.url, "http://h/my%20pre/dir/");
	if (status / 100 == 2)
		work.req.err = work.req.write(work.req.write_arg, text, strlen(text));
	work.req.status = status;
	err = propfind_end(&work, p, kind);
	propfind_free(p);
	return err;
}

#define MULTI(x) "<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\">" x "</D:multistatus>"
#define ITEM(href, props) "<D:response><D:href>" href "</D:href><D:propstat><D:prop>" props \
	"</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
#define COLLECTION "<D:resourcetype><D:collection/></D:resourcetype>"
#define SELF ITEM("/my%20pre/dir/", COLLECTION)

static void test_propfind(void **state)
{
	enum propfind_kind kind;
	struct listed l;

	(void)state;
	begin("http://h/my%20pre");
	assert_int_equal(answer(404, "", &l, &kind), 0);
	assert_int_equal(kind, PROPFIND_MISSING);
	assert_int_equal(answer(207, MULTI(SELF), &l, &kind), 0);
	assert_int_equal(kind, PROPFIND_DIR);
	assert_int_equal(l.n, 0);
	assert_int_equal(answer(207, MULTI(SELF ITEM("http://other:1/my%20pre/dir/a%2b%c3%a4",
		"<D:resourcetype/><D:getcontentlength>17</D:getcontentlength>"
		"<D:getlastmodified>Sun, 06 Nov 1994 08:49:37 GMT</D:getlastmodified>")),
		&l, &kind), 0);
	assert_string_equal(l.names, "[a+\xc3\xa4]");
	assert_int_equal(l.size, 17);
	assert_int_equal(l.mtime, 784111777);
	assert_false(l.dir);
	assert_int_equal(answer(207, MULTI(ITEM("/my%20pre/dir/x/", COLLECTION) SELF), &l, &kind),
			 0);
	assert_string_equal(l.names, "[x]");
	assert_true(l.dir);
	assert_int_equal(answer(207, MULTI(ITEM("/my%20pre/dir", "<D:resourcetype/>")), &l, &kind),
			 0);
	assert_int_equal(kind, PROPFIND_FILE);
	/* Values that make no sense are not told. */
	assert_int_equal(answer(207, MULTI(SELF ITEM("/my%20pre/dir/b",
		"<D:getcontentlength>-1</D:getcontentlength>"
		"<D:getlastmodified>yesterday</D:getlastmodified>")), &l, &kind), 0);
	assert_true(l.size == UINT64_MAX);
	assert_int_equal(l.mtime, 0);
	end();
}

static void test_propfind_lies(void **state)
{
	static const char *const lies[] = {
		"", "not XML", "<html><body>login please</body></html>",
		"<multistatus xmlns=\"other\"></multistatus>",
		MULTI(SELF ITEM("/my%20pre/dir/../../etc", "")),
		MULTI(SELF ITEM("/my%20pre/dir/a/b", "")),
		MULTI(SELF ITEM("/my%20pre/dir/a%2fb", "")),
		MULTI(SELF ITEM("/my%20pre/dir/..", "")),
		MULTI(SELF ITEM("/my%20pre/dir/%2e%2e/", "")),
		MULTI(SELF ITEM("/my%20pre/dir//", "")),
		MULTI(SELF ITEM("/my%20pre/dirt", "")),
		MULTI(SELF ITEM("/elsewhere/a", "")),
		MULTI(SELF ITEM("a", "")),
		MULTI(SELF ITEM("/my%20pre/dir/a%00b", "")),
		MULTI(SELF ITEM("/my%20pre/dir/a%zz", "")),
		MULTI(SELF "<D:response></D:response>"),
		MULTI(SELF "<D:response><D:href>/my%20pre/dir/a</D:href>"
		      "<D:href>/my%20pre/dir/b</D:href></D:response>"),
		"<D:multistatus xmlns:D=\"DAV:\">" SELF,
	};
	enum propfind_kind kind;
	struct listed l;

	(void)state;
	begin("http://h/my%20pre");
	for (size_t i = 0; i < N_ELEMS(lies); i++) {
		assert_int_equal(answer(207, lies[i], &l, &kind), -EPROTO);
		assert_string_equal(l.names, "");
		assert_true(strlen(op.error) > 0);
	}
	assert_int_equal(answer(200, MULTI(SELF), &l, &kind), -ENOTSUP);
	assert_int_equal(answer(405, "", &l, &kind), -ENOTSUP);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_encode),
		cmocka_unit_test(test_endpoints),
		cmocka_unit_test(test_url),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_xml),
		cmocka_unit_test(test_propfind),
		cmocka_unit_test(test_propfind_lies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
