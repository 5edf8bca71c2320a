/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of S3 at a real server: lists of more than a page, odd keys, and keys that
 * are none. Without STORE_URL all is skipped: see store_s3.h.
 */
#include "replica/remote/store_s3.h"

#include "tests/unit/store_s3.h"

struct names {
	struct store_op *op;
	char (*name)[1100];
	unsigned n, seen, dirs;
	bool ok;
};

static int found(void *arg, const struct store_found *f)
{
	struct names *l = arg;
	unsigned i;

	if (f->dir) {
		l->dirs++;
		l->ok = l->ok && f->size == UINT64_MAX && !strncmp(f->name, "dir ", 4);
		return 0;
	}
	for (i = 0; i < l->n && strcmp(l->name[i], f->name); i++)
		;
	/* Found once: then it is taken out. */
	l->ok = l->ok && i < l->n && f->size == 1 && f->mtime > time(NULL) - 3600 &&
		f->mtime < time(NULL) + 3600;
	if (i < l->n)
		l->name[i][0] = '\0';
	l->seen++;
	return 0;
}

static void list_names(const char *dir, struct names *l)
{
	struct store_op op = { .verb = STORE_LIST, .name = dir, .found = found, .found_arg = l };

	l->ok = true;
	l->seen = l->dirs = 0;
	assert_int_equal(run(&op), 0);
	assert_true(l->ok);
}

static void put_many(const char *format, unsigned n)
{
	struct store_op *op = calloc(n, sizeof(*op)), *done;
	char (*name)[64] = calloc(n, sizeof(*name));
	unsigned i;

	for (i = 0; i < n; i++) {
		snprintf(name[i], sizeof(name[i]), format, i);
		op[i] = (struct store_op){ .verb = STORE_PUT, .name = name[i], .data = "x",
					   .len = 1 };
		assert_int_equal(store_submit(store, &op[i]), 0);
		while (store_running(store) >= 8 && (done = store_next(store, -1)))
			assert_int_equal(done->result, 0);
	}
	while (store_running(store))
		store_next(store, -1);
	for (i = 0; i < n; i++)
		assert_int_equal(op[i].result, 0);
	while (store_next(store, 0))
		;
	free(name);
	free(op);
}

static void more_than_a_page(void **state)
{
	struct names l = { .n = 1050 };
	unsigned i;

	(void)state;
	l.name = calloc(l.n, sizeof(*l.name));
	put_many("many/%04u", l.n);
	put_many("many/dir %u+/x", 3);
	for (i = 0; i < l.n; i++)
		snprintf(l.name[i], sizeof(l.name[i]), "%04u", i);
	list_names("many", &l);
	assert_int_equal(l.seen, l.n);
	assert_int_equal(l.dirs, 3);
	list_names("not there", &l);
	assert_int_equal(l.seen + l.dirs, 0);
	free(l.name);
}

static void odd_keys(void **state)
{
	static const char *const odd[] = {
		" ", " lead and trail ", "a+b", "%41", "%", "#?&=", "\"quotes'\"", "<&>;",
		"\\", "~:;,@$!*()[]{}|^`", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "new\nline\ttab",
		"\x01\x1f", "\x7f", "...", "-", "e\xcc\x81", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf",
	};
	struct names l = { .n = N_ELEMS(odd) + 1 };
	size_t i, room = S3_KEY_MAX - strlen(prefix) - 2 - strlen("odd");

	(void)state;
	l.name = calloc(l.n, sizeof(*l.name));
	for (i = 0; i < N_ELEMS(odd); i++)
		snprintf(l.name[i], sizeof(l.name[i]), "%s", odd[i]);
	memset(l.name[i], 'k', room);
	for (i = 0; i < l.n; i++) {
		char name[1200];

		snprintf(name, sizeof(name), "odd/%s", l.name[i]);
		assert_int_equal(put(name, "1"), 0);
		assert_text(name, "1");
	}
	list_names("odd", &l);
	assert_int_equal(l.seen, l.n);
	for (i = 0; i < N_ELEMS(odd); i++) {
		char name[1200];

		snprintf(name, sizeof(name), "odd/%s", odd[i]);
		assert_int_equal(on_name(STORE_DELETE, name, NULL), 0);
		assert_int_equal(on_name(STORE_HEAD, name, NULL), -ENOENT);
	}
	free(l.name);
}

/* Not even asked for: there is nobody at that address. */
static void keys_that_are_none(void **state)
{
	static const char *const bad[] = {
		"\xff\xfe", "a\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80",
		"\xe2\x82", "\xf8\x88\x80\x80\x80", "\xc1\xbf", "\xe0\x9f\xbf",
	};
	struct remote_def nobody = def;
	char url[] = "http://127.0.0.1:1/bucket/p%20q", name[S3_KEY_MAX + 2];
	struct store_op op = { .verb = STORE_COPY, .name = "a", .to = "\xff" };
	size_t i;

	(void)state;
	nobody.url[0] = url;
	store_close(store);
	assert_int_equal(store_open(&nobody, &secret, &store), 0);
	for (i = 0; i < N_ELEMS(bad); i++)
		assert_int_equal(put(bad[i], "x"), -EINVAL);
	assert_int_equal(run(&op), -EINVAL);
	/* With "p q/" before it. */
	memset(name, 'n', sizeof(name));
	name[S3_KEY_MAX - 4] = '\0';
	assert_int_equal(put(name, "x"), -EAGAIN);
	name[S3_KEY_MAX - 4] = 'n';
	name[S3_KEY_MAX - 3] = '\0';
	assert_int_equal(put(name, "x"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		store_test(more_than_a_page), store_test(odd_keys),
		store_test(keys_that_are_none),
	};

	return run_at_server(tests);
}
