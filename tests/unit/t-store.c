/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A store at a real server: every verb, and what the dialect promises of each. See store.h.
 */
#include "replica/remote/store.h"

#include "tests/unit/store.h"

/* ---- one object ---- */

static void test_verbs(void **state)
{
	struct names names = { .wanted = "one" };
	struct bytes got;

	(void)state;
	assert_int_equal(get("one", 0, 0, &got), -ENOENT);
	assert_int_equal(on_name(STORE_HEAD, "one", false), -ENOENT);
	assert_int_equal(on_name(STORE_DELETE, "one", false), 0);
	assert_int_equal(put_text("one", "the first"), 0);
	assert_text("one", "the first");
	assert_int_equal(size_of("one"), 9);
	assert_int_equal(list("", &names), 0);
	assert_true(names.seen);
	assert_int_equal(names.bytes, 9);
	assert_int_equal(put_text("one", "longer than before"), 0);
	assert_text("one", "longer than before");
	assert_int_equal(put_text("one", "short"), 0);
	assert_text("one", "short");
	assert_int_equal(put("one", "", 0), 0);
	assert_text("one", "");
	assert_int_equal(size_of("one"), 0);
	assert_int_equal(on_name(STORE_DELETE, "one", false), 0);
	assert_int_equal(on_name(STORE_HEAD, "one", false), -ENOENT);
}

static const char *const odd_names[] = {
	"with space", " leading", "trailing ", "per%cent", "%41", "%2e", "%", "hash#tag",
	"what?", "?a=b&c", "plus+", "colon:", "a:b", "\"quoted\"", "'single'", "a&b", "semi;colon",
	"less<more>", "back\\slash", "star*", "brackets[1]{2}(3)", "at@home", "eq=u,comma", "$HOME",
	"!bang", "caret^", "tick`", "pipe|", "~tilde", "-dash", ".hidden", "..two", "three...",
	"\xc3\xa4\xc3\xb6\xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80", "A", "a", "&amp;", "%C3%A4",
};

/* nginx does not list names that begin with a dot. */
static unsigned listed(const struct names *names)
{
	unsigned dots = 0;

	for (size_t i = 0; i < N_ELEMS(odd_names); i++)
		dots += odd_names[i][0] == '.';
	return names->n == N_ELEMS(odd_names) - dots ? N_ELEMS(odd_names) - dots
						     : N_ELEMS(odd_names);
}

static void test_odd_names(void **state)
{
	struct names names = { 0 };
	char path[512], to[512];

	(void)state;
	for (size_t i = 0; i < N_ELEMS(odd_names); i++) {
		snprintf(path, sizeof(path), "odd/%s", odd_names[i]);
		assert_int_equal(put_text(path, odd_names[i]), 0);
	}
	for (size_t i = 0; i < N_ELEMS(odd_names); i++) {
		snprintf(path, sizeof(path), "odd/%s", odd_names[i]);
		assert_text(path, odd_names[i]);
		names.wanted = odd_names[i];
		assert_int_equal(list("odd", &names), 0);
		assert_int_equal(names.n, listed(&names));
		assert_int_equal(names.seen, names.n == N_ELEMS(odd_names) ||
					     odd_names[i][0] != '.');
	}
	for (size_t i = 0; i < N_ELEMS(odd_names); i++) {
		snprintf(path, sizeof(path), "odd/%s", odd_names[i]);
		snprintf(to, sizeof(to), "odd moved %%/%s/x", odd_names[i]);
		assert_int_equal(on_two(STORE_MOVE, path, to, false), 0);
		assert_text(to, odd_names[i]);
		assert_int_equal(on_name(STORE_DELETE, to, false), 0);
	}
	assert_int_equal(list("odd moved %", &names), 0);
	assert_int_equal(names.n, is_s3() ? 0 : listed(&names));
}

static void test_bad_names(void **state)
{
	static const char *const bad[] = { "", "/a", "a/", "a//b", ".", "..", "a/../b", "a/." };

	(void)state;
	for (size_t i = 0; i < N_ELEMS(bad); i++) {
		assert_int_equal(put_text(bad[i], "x"), -EINVAL);
		assert_int_equal(on_two(STORE_MOVE, "a", bad[i], false), -EINVAL);
	}
}

static void test_ranges(void **state)
{
	char text[1001], want[1001];
	struct bytes got;

	(void)state;
	for (int i = 0; i < 1000; i++)
		text[i] = (char)('a' + i * 7 % 26);
	text[1000] = '\0';
	assert_int_equal(put("range", text, 1000), 0);
	for (uint64_t off = 0; off < 1000; off += 111)
		for (uint64_t len = 1; off + len <= 1000; len = len * 3 + 5) {
			assert_int_equal(get("range", off, len, &got), 0);
			snprintf(want, sizeof(want), "%.*s", (int)len, text + off);
			assert_string_equal(got.b, want);
		}
	assert_int_equal(get("range", 0, 1000, &got), 0);
	assert_int_equal(got.n, 1000);
	assert_int_equal(get("range", 900, 0, &got), 0);
	assert_int_equal(got.n, 100);
	assert_int_equal(get("range", 900, 101, &got), -EPROTO);
	assert_int_equal(get("range", 0, 1001, &got), -EPROTO);
	assert_int_equal(get("range", 1000, 1, &got), -EPROTO);
	assert_int_equal(get("no range", 10, 1, &got), -ENOENT);
}

static ssize_t fail_later(void *arg, uint64_t off, void *buf, size_t len)
{
	(void)arg;
	if (off >= 100000)
		return -EIO;
	memset(buf, 'x', len);
	return (ssize_t)len;
}

static int fail_take(void *arg, const void *buf, size_t len)
{
	(void)arg, (void)buf, (void)len;
	return -ENOSPC;
}

/* What the caller's functions return is the result, and nothing is torn. */
static void test_own_errors(void **state)
{
	struct store_op up = { .verb = STORE_PUT, .name = "kept", .read = fail_later,
			       .len = 300000 };
	struct store_op down = { .verb = STORE_GET, .name = "kept", .write = fail_take };
	struct names names = { .err = -EPIPE };

	(void)state;
	assert_int_equal(put_text("kept", "old"), 0);
	assert_int_equal(run(&up), -EIO);
	/* In place, the end of a broken one may even come after the next. */
	if (!getenv("STORE_IN_PLACE"))
		assert_text("kept", "old");
	while (put_text("kept", "old") == -EAGAIN)
		;
	assert_int_equal(run(&down), -ENOSPC);
	assert_int_equal(list("", &names), -EPIPE);
	if (!getenv("STORE_IN_PLACE"))
		assert_text("kept", "old");
}

/* ---- collections ---- */

static void test_parents(void **state)
{
	(void)state;
	assert_int_equal(put_text("p 1/p#2/p3/p4/file", "deep"), 0);
	assert_text("p 1/p#2/p3/p4/file", "deep");
	assert_int_equal(on_name(STORE_MKDIR, "m1/m2/m3", false), 0);
	assert_int_equal(on_name(STORE_MKDIR, "m1/m2/m3", false), 0);
	assert_int_equal(put_text("m1/m2/m3/file", "there"), 0);
	assert_int_equal(on_name(STORE_MKDIR, "", false), 0);
	if (is_s3())
		return;
	assert_int_equal(on_name(STORE_MKDIR, "m1/m2/m3/file", false), -EEXIST);
	assert_int_equal(put_text("m1/m2/m3/file/below", "x"), -ENOTDIR);
	assert_int_equal(put_text("m1/m2/m3", "x"), -EISDIR);
	assert_int_equal(on_name(STORE_HEAD, "m1/m2", true), 0);
	assert_int_equal(on_name(STORE_HEAD, "m1/m2/m3/file", true), -ENOTDIR);
	assert_int_equal(on_name(STORE_HEAD, "m1/m9", true), -ENOENT);
	assert_text("m1/m2/m3/file", "there");
}

/* Collections that were there are removed behind the store's back. */
static void test_parents_gone(void **state)
{
	struct store *other = store;
	static char big[200000];

	(void)state;
	assert_int_equal(put("gone/below/a", big, sizeof(big)), 0);
	assert_int_equal(store_open(&def, &secret, &store), 0);
	assert_int_equal(on_name(STORE_DELETE, "gone/below/a", false), 0);
	if (!is_s3()) {
		assert_int_equal(on_name(STORE_DELETE, "gone/below", true), 0);
		assert_int_equal(on_name(STORE_DELETE, "gone", true), 0);
	}
	store_close(store);
	store = other;
	assert_int_equal(put("gone/below/b", big, sizeof(big)), 0);
	assert_int_equal(size_of("gone/below/b"), sizeof(big));
}

static void test_delete_dirs(void **state)
{
	(void)state;
	assert_int_equal(put_text("dd/sub/file", "kept"), 0);
	if (is_s3())
		return;
	assert_int_equal(on_name(STORE_DELETE, "dd", false), -EISDIR);
	assert_int_equal(on_name(STORE_DELETE, "dd/sub", false), -EISDIR);
	assert_int_equal(on_name(STORE_DELETE, "dd", true), -ENOTEMPTY);
	assert_int_equal(on_name(STORE_DELETE, "dd/sub", true), -ENOTEMPTY);
	assert_int_equal(on_name(STORE_DELETE, "dd/sub/file", true), -ENOTDIR);
	assert_text("dd/sub/file", "kept");
	assert_int_equal(on_name(STORE_DELETE, "dd/sub/file", false), 0);
	assert_int_equal(on_name(STORE_DELETE, "dd/sub", true), 0);
	assert_int_equal(on_name(STORE_DELETE, "dd/sub", true), 0);
	assert_int_equal(on_name(STORE_DELETE, "dd", true), 0);
	assert_int_equal(on_name(STORE_HEAD, "dd", true), -ENOENT);
}

static void move_or_copy(enum store_verb verb, const char *at)
{
	char from[64], to[64], dir[64], deep[64];
	bool move = verb == STORE_MOVE;

	snprintf(from, sizeof(from), "%s/from %%", at);
	snprintf(to, sizeof(to), "%s/to #", at);
	snprintf(dir, sizeof(dir), "%s/dir", at);
	snprintf(deep, sizeof(deep), "%s/new 1/new 2/to", at);
	assert_int_equal(put_text(from, "new"), 0);
	assert_int_equal(on_two(verb, from, to, false), 0);
	assert_text(to, "new");
	assert_int_equal(on_name(STORE_HEAD, from, false), move ? -ENOENT : 0);
	assert_int_equal(put_text(from, "newer"), 0);
	assert_int_equal(on_two(verb, from, to, false), 0);
	assert_text(to, "newer");
	assert_int_equal(put_text(from, "newest"), 0);
	assert_int_equal(on_two(verb, from, deep, false), 0);
	assert_text(deep, "newest");
	assert_int_equal(on_two(verb, "nothing here", to, false), -ENOENT);
	assert_text(to, "newer");
	if (is_s3())
		return;
	assert_int_equal(put_text(from, "file"), 0);
	snprintf(deep, sizeof(deep), "%s/dir/inside", at);
	assert_int_equal(put_text(deep, "inside"), 0);
	assert_int_equal(on_two(verb, from, dir, false), -EISDIR);
	assert_text(deep, "inside");
	assert_text(from, "file");
	snprintf(deep, sizeof(deep), "%s/to #/below", at);
	assert_int_equal(on_two(verb, from, deep, false), -ENOTDIR);
	assert_text(from, "file");
}

static void test_move(void **state)
{
	(void)state;
	move_or_copy(STORE_MOVE, "move");
}

static void test_copy(void **state)
{
	(void)state;
	move_or_copy(STORE_COPY, "copy");
	/* What one becomes does not show in the other: lighttpd makes hard links. */
	assert_int_equal(put_text("copy/a", "one"), 0);
	assert_int_equal(on_two(STORE_COPY, "copy/a", "copy/b", false), 0);
	assert_int_equal(put_text("copy/b", "two, longer"), 0);
	assert_text("copy/a", "one");
}

static void test_move_dirs(void **state)
{
	struct names names = { 0 };
	char name[64];

	(void)state;
	if (is_s3()) {
		assert_int_equal(on_two(STORE_MOVE, "md", "md2", true), -ENOTSUP);
		return;
	}
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "md #1/sub%d/file %d", i % 3, i);
		assert_int_equal(put_text(name, name), 0);
	}
	assert_int_equal(on_two(STORE_MOVE, "md #1", "md 2", true), 0);
	assert_int_equal(on_name(STORE_HEAD, "md #1", true), -ENOENT);
	assert_text("md 2/sub2/file 5", "md #1/sub2/file 5");
	assert_int_equal(on_two(STORE_MOVE, "md 2", "md/new/parent/md", true), 0);
	assert_text("md/new/parent/md/sub0/file 3", "md #1/sub0/file 3");
	assert_int_equal(on_two(STORE_MOVE, "md 2", "md 3", true), -ENOENT);
	assert_int_equal(put_text("full/file", "x"), 0);
	assert_int_equal(on_two(STORE_MOVE, "md", "full", true), -ENOTEMPTY);
	assert_int_equal(on_two(STORE_MOVE, "md", "full/file", true), -ENOTDIR);
	assert_int_equal(on_name(STORE_MKDIR, "empty", false), 0);
	assert_int_equal(on_two(STORE_MOVE, "md", "empty", true), 0);
	assert_int_equal(list("empty/new/parent/md", &names), 0);
	assert_int_equal(names.n, 3);
	assert_int_equal(names.dirs, 3);
	/* Where it was is known no more. */
	assert_int_equal(put_text("md 2/sub2/file 5", "again"), 0);
	assert_text("md 2/sub2/file 5", "again");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		store_test(test_verbs),
		store_test(test_odd_names),
		store_test(test_bad_names),
		store_test(test_ranges),
		store_test(test_own_errors),
		store_test(test_parents),
		store_test(test_parents_gone),
		store_test(test_delete_dirs),
		store_test(test_move),
		store_test(test_copy),
		store_test(test_move_dirs),
	};

	if (!begin_store())
		return 77;
	return end_store_tests(cmocka_run_group_tests(tests, NULL, NULL));
}
