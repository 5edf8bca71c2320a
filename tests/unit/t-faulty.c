/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The faulty server itself: does it do what it is told, and is it a good server
 * while it is told nothing? Other tests build on that.
 */
#include "tests/http/spawn.h"

#include "replica/remote/http.h"

#define BODY "0123456789abcdef"
#define BODY_LEN 16

static struct faulty server;
static struct http *client;

static void open_client(void)
{
	static const struct http_options o = { .stall_s = 5 };

	client = NULL;
	assert_int_equal(http_open(&o, &client), 0);
}

static void start(const char *const *options)
{
	faulty_start(&server, options);
	open_client();
}

/* After each test, however it went. */
static int stop(void **state)
{
	(void)state;
	http_close(client);
	faulty_stop(&server);
	return 0;
}

static ssize_t read_text(void *arg, uint64_t off, void *buf, size_t len)
{
	memcpy(buf, (const char *)arg + off, len);
	return (ssize_t)len;
}

/* Status or error; the body is in *body if the caller wants it. */
static long ask(const char *method, const char *path, const char *header, char *text, char **body)
{
	const char *const headers[] = { header, NULL };
	char url[1024];
	struct http_request r = { .method = method, .url = url, .header = headers,
				  .want_body = true, .body_max = 1 << 20 };
	long ret;

	snprintf(url, sizeof(url), "%s%s", server.url, path);
	if (text) {
		r.read = read_text;
		r.read_arg = text;
		r.body_len = strlen(text);
	}
	http_perform(client, &r);
	ret = r.err ? r.err : r.status;
	if (body) {
		*body = r.body ? r.body : strdup("");
		r.body = NULL;
	}
	http_request_clear(&r);
	return ret;
}

static long put(const char *path)
{
	static char text[] = BODY;

	return ask("PUT", path, NULL, text, NULL);
}

static void expect_file(const char *name, const char *text)
{
	char *data;
	size_t len;

	assert_int_equal(io_read_file(server.tree, name, 4096, &data, &len), 0);
	assert_int_equal(len, strlen(text));
	assert_memory_equal(data, text, len);
	free(data);
}

static void expect_body(const char *path, long status, const char *text)
{
	char *body;

	assert_int_equal(ask("GET", path, NULL, NULL, &body), status);
	assert_string_equal(body, text);
	free(body);
}

static void test_stored_faults(void **state)
{
	static const char garbled[] = { (char)~'0', (char)~'1', (char)~'2', (char)~'3' };
	char *data;
	size_t len;

	(void)state;
	start(NULL);
	faulty_command(&server, "fault=lose");
	assert_int_equal(put("/lost"), 201);
	assert_false(exists(server.tree, "lost"));
	faulty_command(&server, "fault=half&match=alf");
	assert_int_equal(put("/whole"), 201);
	assert_int_equal(put("/half"), 201);
	expect_file("half", "01234567");
	expect_file("whole", BODY);
	faulty_command(&server, "fault=wrong&method=PUT");
	expect_body("/whole", 200, BODY);
	assert_int_equal(put("/wrong"), 201);
	assert_int_equal(io_read_file(server.tree, "wrong", 4096, &data, &len), 0);
	assert_int_equal(len, BODY_LEN);
	assert_memory_equal(data, garbled, sizeof(garbled));
	free(data);
	/* On a new connection, as libcurl does it again on an old one. */
	http_close(client);
	open_client();
	faulty_command(&server, "fault=reset");
	assert_int_equal(put("/before"), -ECONNRESET);
	assert_false(exists(server.tree, "before"));
	faulty_command(&server, "fault=reset-after");
	assert_int_equal(put("/after"), -ECONNRESET);
	expect_file("after", BODY);
	faulty_command(&server, "fault=full&skip=1");
	assert_int_equal(put("/a"), 201);
	assert_int_equal(put("/b"), 507);
	assert_int_equal(put("/b"), 201);
}

static void test_forget(void **state)
{
	int tries;

	(void)state;
	start(NULL);
	faulty_command(&server, "fault=forget&seconds=1&count=2");
	assert_int_equal(put("/gone"), 201);
	assert_int_equal(put("/stays"), 201);
	assert_int_equal(put("/stays"), 204); /* stored anew, not forgotten */
	expect_body("/gone", 200, BODY);
	for (tries = 0; tries < 3000 && exists(server.tree, "gone"); tries++)
		faulty_pause(10);
	assert_false(exists(server.tree, "gone"));
	expect_file("stays", BODY);
}

static void test_answer_faults(void **state)
{
	struct http_request r = { .method = "HEAD" };
	char url[128];

	(void)state;
	start(NULL);
	assert_int_equal(put("/f"), 201);
	faulty_command(&server, "fault=flip&bytes=0");
	expect_body("/f", 200, " 123456789abcdef");
	faulty_command(&server, "fault=short&count=2");
	expect_body("/f", 200, "01234567");
	snprintf(url, sizeof(url), "%s/f", server.url);
	r.url = url;
	assert_int_equal(http_perform(client, &r), 0);
	assert_int_equal(r.content_length, 8);
	faulty_command(&server, "fault=skew&seconds=-3600");
	assert_int_equal(http_perform(client, &r), 0);
	assert_in_range(r.date, time(NULL) - 3660, time(NULL) - 3540);
	expect_body("/f", 200, BODY);
	/* Rules add up. */
	faulty_command(&server, "fault=status&status=429&retry_after=3&count=0");
	faulty_command(&server, "fault=truncate&bytes=2&count=0");
	assert_int_equal(ask("GET", "/f", NULL, NULL, NULL), -ECONNRESET);
	faulty_command(&server, "clear");
	expect_body("/f", 200, BODY);
}

static void test_in_place(void **state)
{
	static const char *const in_place[] = { "--in-place", NULL };

	(void)state;
	start(in_place);
	faulty_command(&server, "fault=reset&bytes=4&match=torn");
	assert_int_equal(put("/torn"), -ECONNRESET);
	expect_file("torn", "0123");
	assert_int_equal(put("/whole"), 201);
	expect_file("whole", BODY);
}

static void test_dav(void **state)
{
	char destination[128];
	char *body;

	(void)state;
	start(NULL);
	assert_int_equal(put("/no/such"), 409);
	assert_int_equal(ask("MKCOL", "/d/", NULL, NULL, NULL), 201);
	assert_int_equal(ask("MKCOL", "/d/", NULL, NULL, NULL), 405);
	assert_int_equal(ask("MKCOL", "/e/f/", NULL, NULL, NULL), 409);
	assert_int_equal(put("/d/a"), 201);
	assert_int_equal(put("/d"), 405);
	assert_int_equal(ask("PUT", "/d/a", "If-None-Match: *", NULL, NULL), 412);
	assert_int_equal(ask("GET", "/.faulty/0", NULL, NULL, NULL), 400);
	assert_int_equal(ask("GET", "/d/%2e%2e/x", NULL, NULL, NULL), 400);
	snprintf(destination, sizeof(destination), "Destination: %s/e/", server.url);
	assert_int_equal(ask("MOVE", "/d/", destination, NULL, NULL), 201);
	expect_file("e/a", BODY);
	snprintf(destination, sizeof(destination), "Destination: %s/e/b%%20c", server.url);
	assert_int_equal(ask("COPY", "/e/a", destination, NULL, NULL), 201);
	assert_int_equal(ask("MOVE", "/e/a", destination, NULL, NULL), 204);
	assert_int_equal(ask("PROPFIND", "/", "Depth: infinity", NULL, NULL), 403);
	assert_int_equal(ask("PROPFIND", "/", "Depth: 1", NULL, &body), 207);
	assert_non_null(strstr(body, "<D:href>/e/</D:href>"));
	assert_null(strstr(body, ".faulty"));
	free(body);
	assert_int_equal(ask("PROPFIND", "/e", "Depth: 1", NULL, &body), 207);
	assert_non_null(strstr(body, "<D:href>/e/b%20c</D:href>"));
	assert_null(strstr(body, "/e/a<"));
	free(body);
	assert_int_equal(ask("DELETE", "/e/", NULL, NULL, NULL), 204);
	assert_int_equal(ask("DELETE", "/e/", NULL, NULL, NULL), 404);
}

static void expect_listed(const char *query, const char *want)
{
	static const char *const tags[] = { "<Key>", "<Prefix>", "<NextContinuationToken>" };
	char *body, *at, got[1024] = "";
	size_t i;

	assert_int_equal(ask("GET", query, NULL, NULL, &body), 200);
	for (at = body; *at; at++)
		for (i = 0; i < N_ELEMS(tags); i++)
			if (!strncmp(at, tags[i], strlen(tags[i])))
				sprintf(got + strlen(got), "%s%.*s ", i == 2 ? "more:" : "",
					(int)strcspn(at + strlen(tags[i]), "<"),
					at + strlen(tags[i]));
	assert_string_equal(got, want);
	free(body);
}

static void test_s3(void **state)
{
	static const char *const s3[] = { "--s3", NULL };
	static char text[] = BODY;
	char hash[128];

	(void)state;
	start(s3);
	assert_int_equal(put("/b/early"), 404);
	assert_int_equal(ask("PUT", "/b", NULL, NULL, NULL), 200);
	assert_int_equal(put("/b/a"), 200);
	assert_int_equal(put("/b/d/x%25"), 200);
	assert_int_equal(put("/b/d/y"), 200);
	assert_int_equal(put("/b/d//z"), 200);
	assert_int_equal(put("/b/e"), 200);
	expect_listed("/b?list-type=2", "a d//z d/x% d/y e ");
	expect_listed("/b?list-type=2&encoding-type=url&prefix=d/x", "d/x%25 ");
	expect_listed("/b?list-type=2&delimiter=%2F", "a d/ e ");
	expect_listed("/b?list-type=2&delimiter=/&prefix=d/", "d// d/x% d/y ");
	expect_listed("/b?list-type=2&max-keys=2", "a d//z more:d//z ");
	expect_listed("/b?list-type=2&max-keys=2&continuation-token=d%2F%2Fz",
		      "d/x% d/y more:d/y ");
	expect_listed("/b?list-type=2&delimiter=/&max-keys=2", "a d/ more:d/ ");
	expect_listed("/b?list-type=2&delimiter=/&continuation-token=d/", "e ");
	expect_listed("/b?list-type=2&max-keys=5", "a d//z d/x% d/y e ");
	assert_int_equal(ask("PUT", "/b/c/c", "x-amz-copy-source: /b/d/x%25", NULL, NULL), 200);
	expect_body("/b/c/c", 200, BODY);
	snprintf(hash, sizeof(hash), "x-amz-content-sha256: %064d", 0);
	assert_int_equal(ask("PUT", "/b/bad", hash, text, NULL), 400);
	/* sha256sum of the text */
	snprintf(hash, sizeof(hash), "x-amz-content-sha256: "
		 "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f");
	assert_int_equal(ask("PUT", "/b/good", hash, text, NULL), 200);
	assert_int_equal(ask("DELETE", "/b/d//z", NULL, NULL, NULL), 204);
	assert_int_equal(ask("DELETE", "/b/d//z", NULL, NULL, NULL), 204);
	assert_int_equal(ask("GET", "/b/bad", NULL, NULL, NULL), 404);
}

#define faulty_test(f) cmocka_unit_test_teardown(f, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		faulty_test(test_stored_faults),
		faulty_test(test_forget),
		faulty_test(test_answer_faults),
		faulty_test(test_in_place),
		faulty_test(test_dav),
		faulty_test(test_s3),
	};

	return cmocka_run_group_tests_name("faulty", tests, NULL, NULL);
}
