/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The HTTP client and those who ask who it is: Basic, Digest, Bearer at the
 * faulty server, and TLS at openssl s_server.
 */
#include "replica/remote/http.h"

#include "tests/http/spawn.h"

#define BODY_LEN 300000

static struct faulty server;

/* After each test, however it went. */
static int stop(void **state)
{
	(void)state;
	faulty_stop(&server);
	return 0;
}

static void start(const char *auth)
{
	const char *const options[] = { auth, NULL };

	faulty_start(&server, options);
}

static struct http *open_client(enum http_auth auth, const char *user, const char *password)
{
	struct http_options o = { .auth = auth, .user = user, .password = password, .stall_s = 5 };
	struct http *h;

	assert_int_equal(http_open(&o, &h), 0);
	return h;
}

static ssize_t read_body(void *arg, uint64_t off, void *buf, size_t len)
{
	size_t i;

	(void)arg;
	for (i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)((off + i) * 7 >> 3);
	return (ssize_t)len;
}

static long put(struct http *h, const char *name)
{
	struct http_request r = { .method = "PUT", .read = read_body, .body_len = BODY_LEN };
	char url[128];
	long status;

	snprintf(url, sizeof(url), "%s/%s", server.url, name);
	r.url = url;
	assert_int_equal(http_perform(h, &r), 0);
	status = r.status;
	http_request_clear(&r);
	return status;
}

static void expect_stored(const char *name)
{
	uint8_t *want = test_malloc(BODY_LEN);
	size_t len;
	char *data;

	read_body(NULL, 0, want, BODY_LEN);
	assert_int_equal(io_read_file(server.tree, name, BODY_LEN + 1, &data, &len), 0);
	assert_int_equal(len, BODY_LEN);
	assert_memory_equal(data, want, len);
	free(data);
	test_free(want);
}

static void test_basic(void **state)
{
	struct http *h;

	(void)state;
	start("--auth=basic:account:user:secret");
	h = open_client(HTTP_AUTH_BASIC, "account:user", "secret");
	assert_int_equal(put(h, "a"), 201);
	expect_stored("a");
	assert_int_equal(faulty_count(&server, "requests"), 1); /* it did not wait to be asked */
	http_close(h);
	h = open_client(HTTP_AUTH_BASIC, "account:user", "wrong");
	assert_int_equal(put(h, "b"), 401);
	http_close(h);
	h = open_client(HTTP_AUTH_NONE, NULL, NULL);
	assert_int_equal(put(h, "b"), 401);
	http_close(h);
	h = open_client(HTTP_AUTH_DIGEST, "account:user", "secret");
	assert_int_equal(put(h, "b"), 401);
	http_close(h);
	assert_false(exists(server.tree, "b"));
}

static void test_bearer(void **state)
{
	struct http *h;

	(void)state;
	start("--auth=bearer:abc.def");
	h = open_client(HTTP_AUTH_BEARER, NULL, "abc.def");
	assert_int_equal(put(h, "a"), 201);
	expect_stored("a");
	http_close(h);
	h = open_client(HTTP_AUTH_BEARER, NULL, "abc");
	assert_int_equal(put(h, "b"), 401);
	http_close(h);
}

static void test_digest(void **state)
{
	struct http *h;

	(void)state;
	start("--auth=digest:user:secret");
	h = open_client(HTTP_AUTH_DIGEST, "user", "secret");
	assert_int_equal(put(h, "a"), 201);
	expect_stored("a");
	assert_int_equal(faulty_count(&server, "requests"), 2);
	assert_int_equal(put(h, "b"), 201);
	assert_int_equal(faulty_count(&server, "requests"), 3); /* it knows the nonce */
	/* The body has gone out when the nonce turns out to be stale: once more. */
	faulty_command(&server, "zero");
	faulty_command(&server, "fault=nonce&method=PUT");
	assert_int_equal(put(h, "c"), 201);
	expect_stored("c");
	assert_int_equal(faulty_count(&server, "requests"), 2);
	assert_true(faulty_count(&server, "bytes_in") > BODY_LEN);
	http_close(h);
	h = open_client(HTTP_AUTH_DIGEST, "user", "wrong");
	assert_int_equal(put(h, "d"), 401);
	assert_false(exists(server.tree, "d"));
	http_close(h);
}

/* TLS */

static char dir[PATH_MAX];
static pid_t tls_pid;

static void run(const char *command)
{
	int status = system(command);

	if (status)
		fail_msg("%s: status %d", command, status);
}

static void make_certificate(const char *name, const char *alt_name)
{
	char command[PATH_MAX * 2];

	snprintf(command, sizeof(command),
		 "cd '%s' && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
		 "-days 2 -subj /CN=%s -addext subjectAltName=%s -keyout %s.key -out %s.pem "
		 ">/dev/null 2>&1", dir, name, alt_name, name, name);
	run(command);
}

/* s_server takes port 0 and says which it took. *said stays open, as it says more. */
static pid_t start_tls(const char *name, int *port, FILE **said)
{
	char cert[PATH_MAX + 32], key[PATH_MAX + 32], line[256];
	int out[2];
	pid_t pid;

	snprintf(cert, sizeof(cert), "%s/%s.pem", dir, name);
	snprintf(key, sizeof(key), "%s/%s.key", dir, name);
	assert_int_equal(pipe(out), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out[1], 1);
		close(out[0]);
		execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", cert,
		       "-key", key, "-www", NULL);
		_exit(127);
	}
	close(out[1]);
	*said = fdopen(out[0], "r");
	*port = 0;
	while (!*port && fgets(line, sizeof(line), *said))
		sscanf(line, "ACCEPT 127.0.0.1:%d", port);
	assert_true(*port > 0);
	return pid;
}

static int get_tls(const char *host, int port, const char *ca_file)
{
	struct http_options o = { .ca_file = ca_file, .stall_s = 10 };
	char url[64];
	struct http_request r = { .method = "GET", .url = url };
	struct http *h;

	snprintf(url, sizeof(url), "https://%s:%d/", host, port);
	assert_int_equal(http_open(&o, &h), 0);
	http_perform(h, &r);
	http_close(h);
	assert_int_equal(r.err ? 0 : 200, r.status);
	return r.err;
}

static int stop_tls(void **state)
{
	int status;

	(void)state;
	if (tls_pid > 0) {
		kill(tls_pid, SIGTERM);
		waitpid(tls_pid, &status, 0);
	}
	return *dir ? io_remove_tree(AT_FDCWD, dir) : 0;
}

static void test_tls(void **state)
{
	char right[PATH_MAX + 16], other[PATH_MAX + 16];
	struct http_options missing = { .ca_file = other };
	struct http *h;
	FILE *said;
	int port;

	(void)state;
	if (system("openssl version >/dev/null 2>&1")) {
		print_message("skipped: no openssl\n");
		skip();
	}
	snprintf(dir, sizeof(dir), "%s/mirrorfs-tls.XXXXXX",
		 getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	assert_non_null(mkdtemp(dir));
	make_certificate("right", "IP:127.0.0.1");
	make_certificate("other", "IP:127.0.0.1");
	snprintf(right, sizeof(right), "%s/right.pem", dir);
	snprintf(other, sizeof(other), "%s/other.pem", dir);
	tls_pid = start_tls("right", &port, &said);
	assert_int_equal(get_tls("127.0.0.1", port, right), 0);
	assert_int_equal(get_tls("127.0.0.1", port, other), -EKEYREJECTED);
	assert_int_equal(get_tls("127.0.0.1", port, NULL), -EKEYREJECTED);
	assert_int_equal(get_tls("localhost", port, right), -EKEYREJECTED); /* another name */
	fclose(said);
	snprintf(other, sizeof(other), "%s/none.pem", dir);
	assert_int_equal(http_open(&missing, &h), -ENOENT);
	assert_null(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_basic, stop),
		cmocka_unit_test_teardown(test_bearer, stop),
		cmocka_unit_test_teardown(test_digest, stop),
		cmocka_unit_test_teardown(test_tls, stop_tls),
	};

	setenv("no_proxy", "*", 1);
	return cmocka_run_group_tests_name("http_auth", tests, NULL, NULL);
}
