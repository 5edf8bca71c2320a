/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A store at a real server: many at a time, large ones, what is refused, and the attach
 * probe. See store.h.
 */
#include "replica/remote/store.h"

#include "tests/unit/store.h"

/* ---- many ---- */

static void test_list_many(void **state)
{
	/* rclone looks through all of them at each PUT. */
	const unsigned n = getenv("STORE_IN_PLACE") ? 300 : 1500;
	struct names names = { .wanted = "name with a space 299" };
	struct store_op *ops = calloc(n, sizeof(*ops));
	char (*name)[48] = calloc(n, sizeof(*name));

	(void)state;
	for (unsigned i = 0; i < n; i++) {
		snprintf(name[i], sizeof(name[i]), "many/name with a space %u", i);
		ops[i] = (struct store_op){ .verb = STORE_PUT, .name = name[i], .data = name[i],
					    .len = strlen(name[i]) };
	}
	assert_int_equal(put_text("many/sub/file", "x"), 0);
	run_all(ops, n, 0);
	assert_int_equal(list("many", &names), 0);
	assert_int_equal(names.n, n + 1);
	assert_int_equal(names.dirs, 1);
	assert_true(names.seen);
	free(ops);
	free(name);
	if (is_s3())
		return;
	assert_int_equal(list("many/none", &names), -ENOENT);
	assert_int_equal(list("many/sub/file", &names), -ENOTDIR);
}

/* All of them find their collections missing. */
static void test_parallel(void **state)
{
	enum { N = 200 };
	static struct store_op ops[N];
	static char name[N][64];
	static struct bytes got[N];

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		snprintf(name[i], sizeof(name[i]), "par/%u/x/%u", i % 5, i);
		ops[i] = (struct store_op){ .verb = STORE_PUT, .name = name[i], .data = name[i],
					    .len = strlen(name[i]) };
	}
	run_all(ops, N, 0);
	for (unsigned i = 0; i < N; i++)
		ops[i] = (struct store_op){ .verb = STORE_GET, .name = name[i], .write = take,
					    .write_arg = &got[i] };
	run_all(ops, N, 0);
	for (unsigned i = 0; i < N; i++) {
		assert_string_equal(got[i].b, name[i]);
		ops[i] = (struct store_op){ .verb = STORE_DELETE, .name = name[i] };
	}
	run_all(ops, N, 0);
	for (unsigned i = 0; i < N; i++)
		ops[i] = (struct store_op){ .verb = STORE_HEAD, .name = name[i] };
	run_all(ops, N, -ENOENT);
}

static void pattern(uint64_t off, uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++, off++)
		buf[i] = (uint8_t)(off * 31 + (off >> 8) * 17 + (off >> 16));
}

static ssize_t read_pattern(void *arg, uint64_t off, void *buf, size_t len)
{
	(void)arg;
	pattern(off, buf, len);
	return (ssize_t)len;
}

static int check_pattern(void *arg, const void *buf, size_t len)
{
	uint64_t *off = arg;
	static uint8_t want[MIB];

	if (len > sizeof(want))
		return -EOVERFLOW;
	pattern(*off, want, len);
	*off += len;
	return memcmp(buf, want, len) ? -EILSEQ : 0;
}

static void test_big(void **state)
{
	uint64_t len = 48 * MIB + 4711, at = 0, up, down;
	struct store_op op = { .verb = STORE_PUT, .name = "big/of this run", .read = read_pattern,
			       .len = len };

	(void)state;
	assert_int_equal(run(&op), 0);
	assert_int_equal(size_of("big/of this run"), len);
	op = (struct store_op){ .verb = STORE_GET, .name = "big/of this run",
				.write = check_pattern, .write_arg = &at };
	assert_int_equal(run(&op), 0);
	assert_int_equal(at, len);
	assert_int_equal(op.size, len);
	at = 33 * MIB + 1;
	op = (struct store_op){ .verb = STORE_GET, .name = "big/of this run", .off = at,
				.len = 3 * MIB, .write = check_pattern, .write_arg = &at };
	assert_int_equal(run(&op), 0);
	assert_int_equal(at, 36 * MIB + 1);
	store_traffic(store, &up, &down);
	assert_in_range(up, len, len + MIB);
	assert_in_range(down, len + 3 * MIB, len + 4 * MIB);
	assert_int_equal(on_name(STORE_DELETE, "big/of this run", false), 0);
}

static void test_cancel(void **state)
{
	enum { N = 12 };
	static struct store_op ops[N];
	static char name[N][32];
	unsigned cancelled = 0;

	(void)state;
	assert_int_equal(on_name(STORE_MKDIR, "cancel", false), 0);
	for (unsigned i = 0; i < N; i++) {
		snprintf(name[i], sizeof(name[i]), "cancel/%u", i);
		ops[i] = (struct store_op){ .verb = STORE_PUT, .name = name[i],
					    .read = read_pattern, .len = 256 * MIB };
		assert_int_equal(store_submit(store, &ops[i]), 0);
	}
	assert_null(store_next(store, 20));
	store_cancel_all(store);
	for (unsigned i = 0; i < N; i++) {
		struct store_op *op = store_next(store, 20000);

		assert_non_null(op);
		cancelled += op->result == -ECANCELED;
	}
	assert_int_equal(cancelled, N);
	assert_int_equal(store_running(store), 0);
	/* And it goes on. */
	assert_int_equal(put_text("cancel/after", "x"), 0);
}

/* ---- what is refused ---- */

static void test_wrong_password(void **state)
{
	struct remote_secret wrong = secret;
	char word[] = "not the word of it";

	(void)state;
	if (!*secret.user)
		skip();
	store_close(store);
	wrong.password = word;
	assert_int_equal(store_open(&def, &wrong, &store), 0);
	assert_int_equal(on_name(STORE_HEAD, "one", false), -EACCES);
	for (int i = 0; i < 2; i++) {
		struct store_op op = { .verb = i ? STORE_PUT : STORE_GET, .name = "one",
				       .data = "x", .len = i };

		assert_int_equal(run(&op), -EACCES);
		assert_null(strstr(op.error, word));
	}
}

static void test_wrong_ca(void **state)
{
	struct remote_def other = def;

	(void)state;
	if (strncmp(url, "https", 5) || !def.ca)
		skip();
	store_close(store);
	other.ca = NULL; /* those of the system do not know ours */
	assert_int_equal(store_open(&other, &secret, &store), 0);
	assert_int_equal(on_name(STORE_HEAD, "one", false), -EKEYREJECTED);
}

static void test_nobody_there(void **state)
{
	struct remote_def other = def;
	char dead[] = "http://127.0.0.1:1/bucket";

	(void)state;
	store_close(store);
	other.n_urls = 2;
	other.url[0] = dead;
	other.url[1] = url;
	assert_int_equal(store_open(&other, &secret, &store), 0);
	assert_int_equal(put_text("two ends", "x"), -EAGAIN);
	assert_int_equal(store_endpoint(store), 0);
	store_next_endpoint(store);
	assert_int_equal(store_endpoint(store), 1);
	assert_int_equal(put_text("two ends", "x"), 0);
}

/* ---- the probe ---- */

struct said {
	unsigned warnings, failures;
};

static void say(void *arg, enum probe_level level, const char *line)
{
	static const char *const words[] = { "ok", "WARN", "FAIL" };
	struct said *said = arg;

	assert_null(strpbrk(line, "\r\n"));
	said->warnings += level == PROBE_WARN;
	said->failures += level == PROBE_FAIL;
	print_message("    %-4s %s\n", words[level], line);
}

static void test_probe(void **state)
{
	struct names names = { .wanted = "probe" };
	struct said said = { 0 };
	struct store_caps caps, quick;
	bool hides_dots;
	int err;

	(void)state;
	assert_int_equal(put_text("dots/.hidden", "x"), 0);
	assert_int_equal(list("dots", &names), 0);
	hides_dots = !names.n;
	assert_int_equal(store_probe(store, false, &caps, say, &said), 0);
	assert_int_equal(said.failures, 0);
	assert_true(caps.body_max >= 16 * MIB);
	assert_true(caps.copies);
	assert_int_equal(caps.moves_dirs, !is_s3());
	assert_int_equal(caps.in_place, getenv("STORE_IN_PLACE") != NULL);
	assert_int_equal(caps.hides_dots, hides_dots);
	assert_in_range(caps.skew + 5, 0, 10);
	/* Nothing is left of it. */
	err = list(".mirrorfs", &names);
	assert_true(err == -ENOENT || (!err && !names.n));
	quick = caps;
	assert_int_equal(store_probe(store, true, &quick, NULL, NULL), 0);
	assert_int_equal(quick.in_place, caps.in_place);
	store_use(store, &caps);
	if (caps.exclusive) {
		struct store_op op = { .verb = STORE_PUT, .name = "only once", .data = "1",
				       .len = 1, .exclusive = true };

		assert_int_equal(run(&op), 0);
		assert_int_equal(run(&op), -EEXIST);
	}
}

static void test_probe_refuses(void **state)
{
	struct remote_secret wrong = secret;
	struct said said = { 0 };
	struct store_caps caps;
	char word[] = "not the word of it";

	(void)state;
	if (!*secret.user)
		skip();
	store_close(store);
	wrong.password = word;
	assert_int_equal(store_open(&def, &wrong, &store), 0);
	assert_int_equal(store_probe(store, false, &caps, say, &said), -EACCES);
	assert_int_equal(said.failures, 1);
}

/* Only says what it finds: for servers that are set up wrongly. */
static int probe_alone(void)
{
	struct said said = { 0 };
	struct store_caps caps;
	int err = store_open(&def, &secret, &store);

	if (!err)
		err = store_probe(store, false, &caps, say, &said);
	store_close(store);
	print_message("probe: %s\n", err ? strerror(-err) : "ok");
	return err != 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		store_test(test_list_many),
		store_test(test_parallel),
		store_test(test_big),
		store_test(test_cancel),
		store_test(test_wrong_password),
		store_test(test_wrong_ca),
		store_test(test_nobody_there),
		store_test(test_probe),
		store_test(test_probe_refuses),
	};

	if (!begin_store())
		return 77;
	return end_store_tests(getenv("STORE_PROBE")
				       ? probe_alone()
				       : cmocka_run_group_tests(tests, NULL, NULL));
}
