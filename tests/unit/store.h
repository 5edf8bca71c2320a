/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the programs need that try a store at a real server. It is given by the
 * environment, and without STORE_URL all is skipped:
 *
 *	STORE_URL, STORE_KIND (webdav, s3), STORE_USER, STORE_PASSWORD, STORE_CA
 *	STORE_REGION      of S3
 *	STORE_AUTH        basic, digest
 *	STORE_IN_PLACE=1  the server writes in place: the probe must find that
 *	STORE_PROBE=1     only the probe, and what it says; ends with 1 if it refuses
 *	STORE_VERBOSE=1   prints the line of each failure
 *
 * All is done below a prefix of this run's own.
 */
#ifndef TESTS_UNIT_STORE_H
#define TESTS_UNIT_STORE_H

#include <errno.h>

#include "replica/remote/http.h"
#include "replica/remote/store.h"
#include "tests/unit/tmpdir.h"

#define MIB (1u << 20)

static struct remote_def def;
static struct remote_secret secret;
static struct store *store;
static char *url;

/* ---- the store ---- */

static inline bool is_s3(void)
{
	return def.kind == REMOTE_S3;
}

static inline char *env_or(const char *name, const char *otherwise)
{
	const char *value = getenv(name);

	return strdup(value && *value ? value : otherwise);
}

static inline void define(const char *base)
{
	const char *kind = getenv("STORE_KIND"), *ca = getenv("STORE_CA");
	const char *auth = getenv("STORE_AUTH");
	size_t n = strlen(base);

	while (n && base[n - 1] == '/')
		n--;
	/* The prefix is missing, too, and wants encoding. */
	assert_true(asprintf(&url, "%.*s/t-store-%d/of%%20this+run", (int)n, base,
			     (int)getpid()) > 0);
	def.n_urls = 1;
	def.url[0] = url;
	def.kind = kind && !strcmp(kind, "s3") ? REMOTE_S3 : REMOTE_WEBDAV;
	def.ca = ca && *ca ? strdup(ca) : NULL;
	def.region = getenv("STORE_REGION");
	def.connections = 8;
	strcpy(def.name, "test");
	secret.auth = auth && !strcmp(auth, "digest") ? HTTP_AUTH_DIGEST : HTTP_AUTH_BASIC;
	secret.user = env_or("STORE_USER", "");
	secret.password = env_or("STORE_PASSWORD", "");
}

static inline int open_store(void **state)
{
	(void)state;
	return store_open(&def, &secret, &store);
}

static inline int close_store(void **state)
{
	(void)state;
	store_close(store);
	store = NULL;
	return 0;
}

static inline int run(struct store_op *op)
{
	int err = store_run(store, op);

	if (err < 0) {
		assert_true(strlen(op->error) > 0);
		assert_null(strpbrk(op->error, "\r\n"));
		if (getenv("STORE_VERBOSE"))
			print_message("  %d %ld %s\n", err, op->status, op->error);
	}
	return err;
}

static inline int put(const char *name, const void *data, size_t len)
{
	struct store_op op = { .verb = STORE_PUT, .name = name, .data = data, .len = len };

	return run(&op);
}

static inline int put_text(const char *name, const char *text)
{
	return put(name, text, strlen(text));
}

struct bytes {
	size_t n;
	char b[4096];
};

static inline int take(void *arg, const void *buf, size_t len)
{
	struct bytes *got = arg;

	if (len > sizeof(got->b) - 1 - got->n)
		return -EOVERFLOW;
	memcpy(got->b + got->n, buf, len);
	got->n += len;
	got->b[got->n] = '\0';
	return 0;
}

static inline int get(const char *name, uint64_t off, uint64_t len, struct bytes *out)
{
	struct store_op op = { .verb = STORE_GET, .name = name, .off = off, .len = len,
			       .write = take, .write_arg = out };

	out->n = 0;
	out->b[0] = '\0';
	return run(&op);
}

/* lighttpd may show for a second or two what was there before. */
static inline void assert_text(const char *name, const char *text)
{
	time_t end = time(NULL) + 10;
	struct bytes got;
	int err;

	do
		err = get(name, 0, 0, &got);
	while ((err == -EAGAIN || strcmp(got.b, text)) && err != -ENOENT && time(NULL) < end);
	assert_int_equal(err, 0);
	assert_string_equal(got.b, text);
}

static inline int on_name(enum store_verb verb, const char *name, bool dir)
{
	struct store_op op = { .verb = verb, .name = name, .dir = dir };

	return run(&op);
}

static inline int on_two(enum store_verb verb, const char *name, const char *to, bool dir)
{
	struct store_op op = { .verb = verb, .name = name, .to = to, .dir = dir };

	return run(&op);
}

static inline uint64_t size_of(const char *name)
{
	struct store_op op = { .verb = STORE_HEAD, .name = name };

	assert_int_equal(run(&op), 0);
	return op.size;
}

struct names {
	unsigned n, dirs;
	uint64_t bytes;
	const char *wanted;
	bool seen;
	int err;
};

static inline int count_name(void *arg, const struct store_found *f)
{
	struct names *names = arg;

	names->n++;
	names->dirs += f->dir;
	if (!f->dir && f->size != UINT64_MAX)
		names->bytes += f->size;
	if (names->wanted && !strcmp(f->name, names->wanted))
		names->seen = true;
	return names->err;
}

static inline int list(const char *name, struct names *names)
{
	struct store_op op = { .verb = STORE_LIST, .name = name, .found = count_name,
			       .found_arg = names };

	names->n = names->dirs = 0;
	names->bytes = 0;
	names->seen = false;
	return run(&op);
}

static inline void run_all(struct store_op *ops, unsigned n, int want)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(store_submit(store, &ops[i]), 0);
	for (unsigned i = 0, again = 0; i < n; i++) {
		struct store_op *op = store_next(store, 60000);

		assert_non_null(op);
		/* rclone locks a path while another makes it. */
		if (op->status == 423 && ++again < 10 * n) {
			assert_int_equal(store_submit(store, op), 0);
			i--;
			continue;
		}
		if (op->result != want)
			print_message("%s\n", op->error);
		assert_int_equal(op->result, want);
	}
	assert_int_equal(store_running(store), 0);
	assert_null(store_next(store, 0));
}

#define store_test(f) cmocka_unit_test_setup_teardown(f, open_store, close_store)

/* false: there is no server. */
static inline bool begin_store(void)
{
	const char *base = getenv("STORE_URL");

	if (!base || !*base) {
		print_message("skipped: STORE_URL is not set\n");
		return false;
	}
	define(base);
	return true;
}

static inline int end_store_tests(int status)
{
	free(url);
	free(def.ca);
	free(secret.user);
	free(secret.password);
	return status;
}

#endif
