/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An S3 store at a real server, for the unit programs that want one: opened for each
 * test, below a prefix of this run's own. The server is given by the environment as
 * for t-store: STORE_URL, STORE_USER, STORE_PASSWORD, STORE_CA, STORE_REGION.
 */
#ifndef TESTS_UNIT_STORE_S3_H
#define TESTS_UNIT_STORE_S3_H

#include "tests/unit/tmpdir.h"

#include <errno.h>

#include "replica/remote/store_s3.h"

static struct remote_def def;
static struct remote_secret secret;
static struct store *store;
static char prefix[64];
static char *bucket_url;
static struct s3_sizes real_sizes;

static inline int open_store(void **state)
{
	(void)state;
	s3_sizes = real_sizes;
	return store_open(&def, &secret, &store);
}

static inline int close_store(void **state)
{
	(void)state;
	store_close(store);
	return 0;
}

static inline int run(struct store_op *op)
{
	int err = store_run(store, op);

	if (err < 0) {
		assert_true(op->error[0] != '\0');
		assert_null(strstr(op->error, secret.password));
		print_message("  %s\n", op->error);
	}
	return err;
}

static inline int put(const char *name, const char *text)
{
	struct store_op op = { .verb = STORE_PUT, .name = name, .data = text,
			       .len = strlen(text) };

	return run(&op);
}

static inline int on_name(enum store_verb verb, const char *name, uint64_t *size)
{
	struct store_op op = { .verb = verb, .name = name };
	int err = run(&op);

	if (size)
		*size = op.size;
	return err;
}

struct text {
	size_t n;
	char b[256];
};

static inline int take_text(void *arg, const void *buf, size_t len)
{
	struct text *t = arg;

	if (len >= sizeof(t->b) - t->n)
		return -EOVERFLOW;
	memcpy(t->b + t->n, buf, len);
	t->n += len;
	t->b[t->n] = '\0';
	return 0;
}

static inline void assert_text(const char *name, const char *text)
{
	struct text t = { 0 };
	struct store_op op = { .verb = STORE_GET, .name = name, .write = take_text,
			       .write_arg = &t };

	assert_int_equal(run(&op), 0);
	assert_string_equal(t.b, text);
}
static inline const char *env(const char *name, const char *otherwise)
{
	const char *value = getenv(name);

	return value && *value ? value : otherwise;
}

static inline void define(const char *url)
{
	uint64_t tag;
	size_t n = strlen(url);

	io_random(&tag, sizeof(tag));
	snprintf(prefix, sizeof(prefix), "t-store_s3-%llx", (unsigned long long)tag);
	bucket_url = strndup(url, url[n - 1] == '/' ? n - 1 : n);
	def.kind = REMOTE_S3;
	def.n_urls = 1;
	assert_true(asprintf(&def.url[0], "%s/%s", bucket_url, prefix) > 0);
	def.ca = *env("STORE_CA", "") ? strdup(env("STORE_CA", "")) : NULL;
	def.region = strdup(env("STORE_REGION", "us-east-1"));
	def.connections = 8;
	strcpy(def.name, "test");
	secret.user = strdup(env("STORE_USER", ""));
	secret.password = strdup(env("STORE_PASSWORD", ""));
	real_sizes = s3_sizes;
}

#define store_test(f) cmocka_unit_test_setup_teardown(f, open_store, close_store)

/* The tests, or 77 if there is no server to run them at. */
#define run_at_server(tests) \
	(server_given() ? define_off(cmocka_run_group_tests(tests, NULL, NULL)) : 77)

static inline bool server_given(void)
{
	const char *url = env("STORE_URL", "");

	if (*url)
		define(url);
	else
		print_message("skipped: STORE_URL is not set\n");
	return *url;
}

static inline int define_off(int failed)
{
	free(bucket_url);
	free(def.url[0]);
	free(def.ca);
	free(def.region);
	free(secret.user);
	free(secret.password);
	return failed;
}

#endif
