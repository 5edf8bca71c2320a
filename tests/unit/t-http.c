/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The HTTP client against the faulty server: what a request sends, what its
 * answer says, how errors are named. Limits, waiting and many requests at a
 * time are in t-http_many.c.
 */
#include "replica/remote/http.h"

#include "replica/remote/http_answer.h"
#include "tests/http/spawn.h"

static struct faulty server;
static struct http *client;

static struct http *open_client(const struct http_options *o)
{
	struct http *h;

	assert_int_equal(http_open(o, &h), 0);
	return h;
}

static int setup(void **state)
{
	static const struct http_options o = { .stall_s = 2 };

	(void)state;
	faulty_start(&server, NULL);
	client = open_client(&o);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	http_close(client);
	faulty_stop(&server);
	return 0;
}

/* Each test begins with a server that behaves, and on a new connection. */
static int begin(void **state)
{
	static const struct http_options o = { .stall_s = 2 };

	(void)state;
	http_close(client);
	faulty_command(&server, "clear");
	client = open_client(&o);
	faulty_command(&server, "zero");
	return 0;
}

struct blob {
	uint8_t *data;
	size_t len;
	size_t reads;
	int err;
};

static ssize_t read_blob(void *arg, uint64_t off, void *buf, size_t len)
{
	struct blob *b = arg;

	b->reads++;
	if (b->err)
		return b->err;
	assert_true(off < b->len);
	len = len < b->len - off ? len : b->len - off;
	memcpy(buf, b->data + off, len);
	return (ssize_t)len;
}

static struct blob make_blob(size_t len)
{
	struct blob b = { .data = test_malloc(len + 1), .len = len };
	uint64_t seed = len + 1;
	size_t i;

	for (i = 0; i < len; i++)
		b.data[i] = (uint8_t)next_random(&seed);
	return b;
}

static const char *at(const char *path)
{
	static char url[4][512];
	static unsigned n;

	n = (n + 1) % 4;
	snprintf(url[n], sizeof(url[n]), "%s%s", server.url, path);
	return url[n];
}

static struct http_request request(const char *method, const char *path)
{
	return (struct http_request){ .method = method, .url = at(path), .want_body = true,
				      .body_max = 1 << 20 };
}

static long put_with(struct http *h, const char *path, struct blob *b, struct http_request *r)
{
	*r = request("PUT", path);
	r->read = read_blob;
	r->read_arg = b;
	r->body_len = b->len;
	http_perform(h, r);
	return r->err ? r->err : r->status;
}

static long put(const char *path, struct blob *b, struct http_request *r)
{
	return put_with(client, path, b, r);
}

static void expect_stored(const char *name, const struct blob *b)
{
	size_t len;
	char *data;

	assert_int_equal(io_read_file(server.tree, name, b->len + 1, &data, &len), 0);
	assert_int_equal(len, b->len);
	assert_memory_equal(data, b->data, len);
	free(data);
}

/* What goes out, what comes back */

static void test_round_trip(void **state)
{
	static const char *const range[] = { "Range: bytes=100-199", NULL };
	struct blob b = make_blob(300000);
	struct http_request r;

	(void)state;
	assert_int_equal(put("/a", &b, &r), 201);
	assert_int_equal(r.sent, b.len);
	assert_string_equal(r.server, "faulty");
	assert_in_range(r.date, time(NULL) - 60, time(NULL) + 60);
	assert_int_equal(r.retry_after, -1);
	assert_false(r.reused);
	expect_stored("a", &b);
	http_request_clear(&r);

	r = request("GET", "/a");
	assert_int_equal(http_perform(client, &r), 0);
	assert_int_equal(r.status, 200);
	assert_int_equal(r.body_got, b.len);
	assert_int_equal(r.content_length, b.len);
	assert_memory_equal(r.body, b.data, b.len);
	assert_int_equal(r.body[b.len], 0);
	http_request_clear(&r);

	r.header = range;
	assert_int_equal(http_perform(client, &r), 0);
	assert_int_equal(r.status, 206);
	assert_string_equal(r.content_range, "bytes 100-199/300000");
	assert_int_equal(r.body_got, 100);
	assert_memory_equal(r.body, b.data + 100, 100);
	assert_true(strlen(r.etag) > 4);
	http_request_clear(&r);

	r = request("HEAD", "/a");
	assert_int_equal(http_perform(client, &r), 0);
	assert_int_equal(r.content_length, b.len);
	assert_null(r.body);
	r = request("DELETE", "/a");
	assert_int_equal(http_perform(client, &r), 0);
	assert_int_equal(r.status, 204);
	assert_int_equal(faulty_count(&server, "connections"), 2); /* one is ours */
	test_free(b.data);
}

static void test_other_methods(void **state)
{
	char destination[128];
	const char *const headers[] = { destination, "Overwrite: T", NULL };
	static const char *const depth[] = { "Depth: 1", NULL };
	struct blob empty = make_blob(0);
	struct http_request r = request("MKCOL", "/col/");

	(void)state;
	assert_int_equal(http_perform(client, &r), 0);
	assert_int_equal(r.status, 201);
	assert_int_equal(put("/col/empty", &empty, &r), 201);
	expect_stored("col/empty", &empty);
	r = request("PUT", "/col/also%20empty"); /* no read: an empty body */
	assert_int_equal(http_perform(client, &r), 0);
	assert_int_equal(r.status, 201);
	expect_stored("col/also empty", &empty);
	snprintf(destination, sizeof(destination), "Destination: %s/col/%%c3%%a4", server.url);
	r = request("MOVE", "/col/empty");
	r.header = headers;
	assert_int_equal(http_perform(client, &r), 0);
	assert_int_equal(r.status, 201);
	assert_true(exists(server.tree, "col/\xc3\xa4"));
	r = request("PROPFIND", "/col/");
	r.header = depth;
	assert_int_equal(http_perform(client, &r), 0);
	assert_int_equal(r.status, 207);
	assert_non_null(strstr(r.body, "/col/also%20empty"));
	http_request_clear(&r);
	r = request("GET", "/col/../col/x"); /* not made shorter by us */
	assert_int_equal(http_perform(client, &r), 0);
	assert_int_equal(r.status, 400);
	http_request_clear(&r);
	assert_int_equal(faulty_count(&server, "chunked"), 0);
	test_free(empty.data);
}

static void test_expect(void **state)
{
	struct blob small = make_blob((1 << 20) - 1), large = make_blob((1 << 20) + 1);
	struct http_request r;

	(void)state;
	assert_int_equal(put("/e", &small, &r), 201);
	assert_int_equal(faulty_count(&server, "expects"), 0);
	assert_int_equal(put("/e", &large, &r), 204);
	assert_int_equal(faulty_count(&server, "expects"), 1);
	expect_stored("e", &large);
	/* Refused before the body went out. */
	faulty_command(&server, "fault=status&status=413");
	assert_int_equal(put("/e", &large, &r), 413);
	assert_int_equal(r.sent, 0);
	http_request_clear(&r);
	assert_int_equal(faulty_count(&server, "chunked"), 0);
	test_free(small.data);
	test_free(large.data);
}

static void test_statuses(void **state)
{
	static const int statuses[] = { 200, 202, 207, 300, 301, 302, 303, 304, 307, 308, 400, 401,
					403, 404, 405, 408, 409, 410, 411, 412, 413, 414, 416, 417,
					421, 422, 423, 424, 425, 429, 431, 451, 500, 501, 502, 503,
					504, 505, 507, 508, 511 };
	struct blob b = make_blob(5000);
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(statuses); i++) {
		struct http_request r = request("GET", "/s");
		char rule[128];

		snprintf(rule, sizeof(rule),
			 "fault=status&status=%d&retry_after=7&count=2&text=why", statuses[i]);
		faulty_command(&server, rule);
		assert_int_equal(http_perform(client, &r), 0);
		assert_int_equal(r.status, statuses[i]);
		assert_int_equal(r.retry_after, 7);
		assert_string_equal(r.error, "");
		if (statuses[i] != 304)
			assert_string_equal(r.body, "why");
		http_request_clear(&r);
		assert_int_equal(put("/s", &b, &r), statuses[i]);
		http_request_clear(&r);
		faulty_command(&server, "clear");
	}
	test_free(b.data);
}

static void test_redirects(void **state)
{
	struct http_request r = request("GET", "/r");

	(void)state;
	faulty_command(&server, "fault=redirect&location=/elsewhere&match=/r");
	assert_int_equal(http_perform(client, &r), 0);
	assert_int_equal(r.status, 301);
	assert_string_equal(r.location, "/elsewhere");
	assert_int_equal(faulty_count(&server, "requests"), 1);
	http_request_clear(&r);
}

/* Errors */

static int error_of(const char *rule, const char *method, char *text)
{
	struct http_request r = request(method, "/err");
	int err;

	faulty_command(&server, rule);
	http_perform(client, &r);
	err = r.err;
	assert_int_equal(!err, !r.error[0]);
	assert_null(strchr(r.error, '\n'));
	if (text)
		strcpy(text, r.error);
	http_request_clear(&r);
	faulty_command(&server, "clear");
	return err;
}

static void test_transport_errors(void **state)
{
	struct blob b = make_blob(100000);
	struct http_request r;

	(void)state;
	assert_int_equal(put("/err", &b, &r), 201);
	assert_int_equal(error_of("fault=truncate&count=0", "GET", NULL), -ECONNRESET);
	assert_int_equal(error_of("fault=truncate&bytes=0&count=0", "GET", NULL), -ECONNRESET);
	assert_int_equal(error_of("fault=reset&count=0", "GET", NULL), -ECONNRESET);
	assert_int_equal(error_of("fault=reset-after&count=0", "DELETE", NULL), -ECONNRESET);
	assert_int_equal(error_of("fault=garbage&count=0", "GET", NULL), -EIO);
	assert_int_equal(error_of("fault=hang&count=0", "GET", NULL), -ETIMEDOUT);
	assert_int_equal(error_of("fault=headers&bytes=3000000", "HEAD", NULL), -EFBIG);
	/* In the middle of the body that we send. */
	faulty_command(&server, "fault=reset&bytes=50000&count=0");
	assert_int_equal(put("/half", &b, &r), -ECONNRESET);
	assert_false(exists(server.tree, "half"));
	test_free(b.data);
}

static int error_of_url(struct http *h, const char *url)
{
	struct http_request r = { .method = "GET", .url = url };

	http_perform(h, &r);
	assert_int_equal(r.status, 0);
	assert_true(r.error[0]);
	assert_null(strstr(r.error, "secret"));
	return r.err;
}

static void test_no_connection(void **state)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	static const struct http_options o = { .connect_ms = 300 };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), other[4];
	struct http *h = open_client(&o);
	char url[64];
	size_t i;

	(void)state;
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", ntohs(in.sin_port));
	assert_int_equal(error_of_url(h, url), -ECONNREFUSED);
	/* Nobody accepts, and the queue is full. */
	assert_int_equal(listen(fd, 0), 0);
	for (i = 0; i < N_ELEMS(other); i++) {
		other[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		connect(other[i], (struct sockaddr *)&in, sizeof(in));
	}
	assert_int_equal(error_of_url(h, url), -ETIMEDOUT);
	for (i = 0; i < N_ELEMS(other); i++)
		close(other[i]);
	close(fd);
	/* No label may be that long, so no name server is asked. */
	assert_int_equal(error_of_url(h, "http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
					 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.invalid/"),
			 -EHOSTUNREACH);
	http_close(h);
}

static void test_refused(void **state)
{
	static const char *const bad[] = { "X-A: b\r\nX-Evil: c", NULL };
	struct http_request r = request("GET", "/");

	(void)state;
	assert_int_equal(error_of_url(client, "file:///etc/passwd"), -EINVAL);
	assert_int_equal(error_of_url(client, "ftp://127.0.0.1/"), -EINVAL);
	assert_int_equal(error_of_url(client, "127.0.0.1/"), -EINVAL);
	assert_int_equal(error_of_url(client, "http://127.0.0.1/ HTTP/1.1"), -EINVAL);
	assert_int_equal(error_of_url(client, "http://127.0.0.1/\r\nX-Evil: a"), -EINVAL);
	assert_int_equal(error_of_url(client, "http://user:secret@127.0.0.1/"), -EINVAL);
	r.header = bad;
	assert_int_equal(http_start(client, &r), -EINVAL);
	r = request("GET /x HTTP/1.1\r\n", "/");
	assert_int_equal(http_start(client, &r), -EINVAL);
	r = request("PUT", "/");
	r.body_len = 1;
	assert_int_equal(http_start(client, &r), -EINVAL);
	assert_int_equal(http_running(client), 0);
	assert_int_equal(faulty_count(&server, "requests"), 0);
}

static void test_body_limits(void **state)
{
	struct blob b = make_blob(200000);
	struct http_request r;

	(void)state;
	assert_int_equal(put("/l", &b, &r), 201);
	r = request("GET", "/l");
	r.body_max = b.len;
	assert_int_equal(http_perform(client, &r), 0);
	http_request_clear(&r);
	r.body_max = b.len - 1;
	assert_int_equal(http_perform(client, &r), -EFBIG);
	http_request_clear(&r);
	r.want_body = false;
	assert_int_equal(http_perform(client, &r), 0);
	assert_null(r.body);
	faulty_command(&server, "fault=status&status=500&bytes=5000");
	assert_int_equal(http_perform(client, &r), 0);
	assert_int_equal(r.body_got, 4096);
	http_request_clear(&r);
	/* An answer of that length is not read to its end, but it is an answer. */
	faulty_command(&server, "zero");
	faulty_command(&server, "fault=status&status=500&bytes=200000000");
	assert_int_equal(http_perform(client, &r), 0);
	assert_int_equal(r.status, 500);
	assert_true(faulty_count(&server, "bytes_out") < 100000000);
	http_request_clear(&r);
	test_free(b.data);
}

static int refuse_write(void *arg, const void *buf, size_t len)
{
	(void)buf, (void)len;
	return *(int *)arg;
}

static void test_callback_errors(void **state)
{
	struct blob b = make_blob(100000);
	struct http_request r;
	int err = -ENOSPC;

	(void)state;
	assert_int_equal(put("/c", &b, &r), 201);
	b.err = -ESTALE;
	assert_int_equal(put("/c2", &b, &r), -ESTALE);
	assert_string_equal(r.error, strerror(ESTALE));
	assert_false(exists(server.tree, "c2"));
	r = request("GET", "/c");
	r.write = refuse_write;
	r.write_arg = &err;
	assert_int_equal(http_perform(client, &r), -ENOSPC);
	/* It takes the body of a good answer only. */
	r = request("GET", "/nothing");
	r.write = refuse_write;
	r.write_arg = &err;
	assert_int_equal(http_perform(client, &r), 0);
	assert_int_equal(r.status, 404);
	assert_string_equal(r.body, "no such object\n");
	http_request_clear(&r);
	test_free(b.data);
}

/* On an old connection that dies without an answer libcurl does it again. */
static void test_repeat(void **state)
{
	struct blob b = make_blob(1000);
	struct http_request r;
	int tries;

	(void)state;
	assert_int_equal(put("/once", &b, &r), 201);
	assert_false(r.reused);
	r = request("DELETE", "/once");
	faulty_command(&server, "fault=reset-after&method=DELETE");
	assert_int_equal(http_perform(client, &r), 0);
	assert_int_equal(r.status, 404);
	assert_true(r.reused);
	http_request_clear(&r);
	faulty_command(&server, "fault=reset-after&method=PUT");
	assert_int_equal(put("/twice", &b, &r), 204); /* 201 did not reach us */
	assert_true(r.reused);
	expect_stored("twice", &b);
	/* A connection that was closed in the meantime is noticed before. */
	faulty_command(&server, "fault=close");
	assert_int_equal(put("/x", &b, &r), 201);
	/* One is that of the question. */
	for (tries = 0; faulty_count(&server, "open_connections") > 1 && tries < 3000; tries++)
		faulty_pause(10);
	assert_int_equal(put("/y", &b, &r), 201);
	assert_false(r.reused);
	test_free(b.data);
}

/* Parsing */

static void test_dates(void **state)
{
	(void)state;
	assert_int_equal(http_answer_date("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
	assert_int_equal(http_answer_date("Thu, 29 Feb 2024 23:59:59 GMT"), 1709251199);
	assert_int_equal(http_answer_date(""), 0);
	assert_int_equal(http_answer_date("Sun, 06 Nov 1994 08:49:37 CET"), 0);
	assert_int_equal(http_answer_date("Sun, 06 anF 1994 08:49:37 GMT"), 0);
	assert_int_equal(http_answer_date("tomorrow"), 0);
}

static void feed(struct http_answer *a, struct http_request *r, const char *line)
{
	assert_int_equal(http_answer_header(a, line, strlen(line)), 0);
	(void)r;
}

static void test_headers(void **state)
{
	struct http_request r = { .method = "GET" };
	struct http_answer a;
	char line[400];

	(void)state;
	http_answer_begin(&a, &r);
	feed(&a, &r, "HTTP/1.1 100 Continue\r\n");
	feed(&a, &r, "ETag: \"old\"\r\n");
	feed(&a, &r, "HTTP/1.1 503 No\r\n");
	assert_string_equal(r.etag, "");
	feed(&a, &r, "eTaG:\t \"a\x01\xff\" \r\n");
	assert_string_equal(r.etag, "\"a??\"");
	feed(&a, &r, "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
	feed(&a, &r, "Retry-After: Sun, 06 Nov 1994 08:50:37 GMT\r\n");
	feed(&a, &r, "no colon\r\n");
	feed(&a, &r, ":\r\n");
	feed(&a, &r, "Server:\r\n");
	memset(line, 'x', sizeof(line) - 1);
	memcpy(line, "Content-Range: ", 15);
	line[sizeof(line) - 1] = '\0';
	feed(&a, &r, line);
	assert_string_equal(r.content_range, ""); /* rather none than a part */
	http_answer_end(&a);
	assert_int_equal(r.retry_after, 60);
	feed(&a, &r, "Retry-After: 99999999999999999999\r\n");
	http_answer_end(&a);
	assert_int_equal(r.retry_after, 86400);
	feed(&a, &r, "Retry-After: Sun, 06 Nov 1994 08:00:00 GMT\r\n");
	http_answer_end(&a);
	assert_int_equal(r.retry_after, 0);
	r.retry_after = -1;
	feed(&a, &r, "Retry-After: -5\r\n");
	http_answer_end(&a);
	assert_int_equal(r.retry_after, -1);
}

#define http_test(f) cmocka_unit_test_setup(f, begin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		http_test(test_round_trip),
		http_test(test_other_methods),
		http_test(test_expect),
		http_test(test_statuses),
		http_test(test_redirects),
		http_test(test_transport_errors),
		http_test(test_no_connection),
		http_test(test_refused),
		http_test(test_body_limits),
		http_test(test_callback_errors),
		http_test(test_repeat),
		cmocka_unit_test(test_dates),
		cmocka_unit_test(test_headers),
	};

	return cmocka_run_group_tests_name("http", tests, setup, teardown);
}
