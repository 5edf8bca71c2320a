/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names in the store are pinned, have one spelling, and names of files that a server would refuse
 * are seen. */
#include "replica/remote/object_name.h"

#include <errno.h>

#include "tests/unit/tmpdir.h"

static void names_are_pinned(void **state)
{
	static const struct {
		struct object_name o;
		const char *name;
	} cases[] = {
		{ { OBJECT_FORMAT, 0, 0, 0 }, ".mirrorfs/format" },
		{ { OBJECT_HEAD, 0, 42, 0 }, ".mirrorfs/head/00000000000000000042" },
		{ { OBJECT_HEAD, 0, UINT64_MAX, 0 }, ".mirrorfs/head/18446744073709551615" },
		{ { OBJECT_INTENT, 0, 43, 0 }, ".mirrorfs/intent/00000000000000000043" },
		{ { OBJECT_DIR, 0x1234abcd, 42, 0 }, ".mirrorfs/dir/cd/000000001234abcd-42" },
		{ { OBJECT_PAGE, 0x1234abcd, 42, 0 }, ".mirrorfs/dir/cd/000000001234abcd-42p0" },
		{ { OBJECT_PAGE, 1, 42, 16383 }, ".mirrorfs/dir/01/0000000000000001-42p16383" },
		{ { OBJECT_PAGE, UINT64_MAX, UINT64_MAX, UINT32_MAX },
		  ".mirrorfs/dir/ff/ffffffffffffffff-18446744073709551615p4294967295" },
		{ { OBJECT_LEAF, 0x105, 7, 0 }, ".mirrorfs/leaf/05/0000000000000105-7" },
		{ { OBJECT_ID, 0x105, 9, 0 }, ".mirrorfs/id/05/0000000000000105-9" },
		{ { OBJECT_ASIDE, 0x105, 7, 0 }, ".mirrorfs/aside/0000000000000105-7" },
	};
	char out[OBJECT_NAME_MAX];
	struct object_name o;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(cases); i++) {
		object_name_make(&cases[i].o, out);
		assert_string_equal(out, cases[i].name);
		assert_int_equal(object_name_parse(out, &o), 0);
		assert_true(o.kind == cases[i].o.kind && o.id == cases[i].o.id &&
			    o.seq == cases[i].o.seq && o.page == cases[i].o.page);
	}
	object_name_format(out);
	assert_string_equal(out, cases[0].name);
	object_name_head(out, 42);
	assert_string_equal(out, cases[1].name);
	object_name_intent(out, 43);
	assert_string_equal(out, cases[3].name);
	object_name_dir(out, 0x1234abcd, 42);
	assert_string_equal(out, cases[4].name);
	object_name_page(out, 1, 42, 16383);
	assert_string_equal(out, cases[6].name);
	object_name_leaf(out, 0x105, 7);
	assert_string_equal(out, cases[8].name);
	object_name_id(out, 0x105, 9);
	assert_string_equal(out, cases[9].name);
	object_name_aside(out, 0x105, 7);
	assert_string_equal(out, cases[10].name);
}

static void other_spellings_are_none(void **state)
{
	static const char *const bad[] = {
		"",
		".",
		"mirrorfs/format",
		".mirrorfs",
		".mirrorfs/",
		".mirrorfs/format/",
		".mirrorfs/formats",
		".mirrorfs/head",
		".mirrorfs/head/",
		".mirrorfs/head/42",
		".mirrorfs/head/000000000000000000042",
		".mirrorfs/head/0000000000000000004x",
		".mirrorfs/head/-0000000000000000042",
		".mirrorfs/head/ 0000000000000000042",
		".mirrorfs/head/+0000000000000000042",
		".mirrorfs/head/99999999999999999999",
		".mirrorfs/head/00000000000000000042 ",
		".mirrorfs/dir/cd",
		".mirrorfs/dir/cd/",
		".mirrorfs/dir/ce/000000001234abcd-42",
		".mirrorfs/dir/CD/000000001234ABCD-42",
		".mirrorfs/dir/cd/1234abcd-42",
		".mirrorfs/dir/cd/000000001234abcd",
		".mirrorfs/dir/cd/000000001234abcd-",
		".mirrorfs/dir/cd/000000001234abcd-042",
		".mirrorfs/dir/cd/000000001234abcd-42p",
		".mirrorfs/dir/cd/000000001234abcd-42p01",
		".mirrorfs/dir/cd/000000001234abcd-42p-1",
		".mirrorfs/dir/cd/000000001234abcd-42p4294967296",
		".mirrorfs/dir/cd/000000001234abcd-42q1",
		".mirrorfs/dir/cd/0x0000001234abcd-42",
		".mirrorfs/dir//000000001234abcd-42",
		".mirrorfs/leaf/05/0000000000000105-7p1",
		".mirrorfs/id/05/0000000000000105",
		".mirrorfs/id/05/0000000000000105-9/x",
		".mirrorfs/aside/05/0000000000000105-7",
		".mirrorfs/probe/x",
		".mirrorfs/id/05",
		".mirrorfs/id/0",
		".mirrorfs/id/",
	};
	struct object_name o;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(bad); i++)
		if (object_name_parse(bad[i], &o) != -EINVAL)
			fail_msg("%s is none", bad[i]);
}

/* Any damage to a name is another name or none. */
static void parse_is_strict(void **state)
{
	uint64_t seed = seed_of_run();
	char name[2 * OBJECT_NAME_MAX], out[OBJECT_NAME_MAX];
	struct object_name o;
	int i, found = 0;
	size_t n;

	(void)state;
	for (i = 0; i < 200000; i++) {
		o = (struct object_name){
			.kind = (enum object_kind)(next_random(&seed) % (OBJECT_ASIDE + 1)),
			.id = next_random(&seed) >> next_random(&seed) % 64,
			.seq = next_random(&seed) >> next_random(&seed) % 64,
			.page = (unsigned)(next_random(&seed) % 20000),
		};
		object_name_make(&o, name);
		n = strlen(name);
		if (i % 2)
			name[next_random(&seed) % n] = (char)(1 + next_random(&seed) % 127);
		else if (i % 4)
			name[next_random(&seed) % n] = '\0';
		else
			memmove(name + n / 2, name + n / 2 - 1, n / 2 + 2);
		if (object_name_parse(name, &o))
			continue;
		object_name_make(&o, out);
		assert_string_equal(name, out);
		found++;
	}
	assert_in_range(found, 1, 199999);
}

static void plain_names(void **state)
{
	static const char *const plain[] = {
		"a", "a b", " a", "a ", "...", ".a", "a.", "%41", "a#b?c&d=e+f;g:h@i!",
		"'\"<>|*", "(x)[y]{z}", "a~b", "~a", "\xc3\xa4", "\xe2\x82\xac",
		"\xf0\x9f\x98\x80", ".mirrorfs2", "x.mirrorfs", ".DAVx", "A", "index.php",
		"h.ht", "-", "CON",
	}, *const odd[] = {
		"", ".", "..", "a/b", "a\\b", "\n", "a\x01", "\x7f", "\xff", "\xc3", "\xc0\xaf",
		"\xed\xa0\x80", "\xc2\x85", "\xef\xbf\xbf", "x\xef\xbf\xbe", ".DAV", ".dav",
		".mirrorfs", ".MirrorFS", ".davfs.tmp123", ".htaccess", ".HTpasswd", ".ht", "a~",
		"~",
	};
	char name[202];
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMS(plain); i++)
		if (!object_name_plain(plain[i], false))
			fail_msg("\"%s\" is plain", plain[i]);
	for (i = 0; i < N_ELEMS(odd); i++)
		if (object_name_plain(odd[i], false) || object_name_plain(odd[i], true))
			fail_msg("\"%s\" is not plain", odd[i]);
	memset(name, 'n', 201);
	name[201] = '\0';
	assert_false(object_name_plain(name, false));
	name[200] = '\0';
	assert_true(object_name_plain(name, false));
	assert_true(object_name_plain("lower-case 1", true));
	assert_false(object_name_plain("Upper", true));
	assert_false(object_name_plain("\xc3\xa4", true));
}

static void plain_paths(void **state)
{
	char path[1000];
	size_t i;

	(void)state;
	assert_true(object_path_plain("", false));
	assert_true(object_path_plain("a/b c/d", true));
	assert_false(object_path_plain("a/B", true));
	assert_false(object_path_plain("a//b", false));
	assert_false(object_path_plain("/a", false));
	assert_false(object_path_plain("a/", false));
	assert_false(object_path_plain("a/../b", false));
	assert_false(object_path_plain("a/.mirrorfs/b", false));
	for (i = 0; i < sizeof(path) - 1; i++)
		path[i] = i % 100 == 99 ? '/' : 'p';
	path[901] = '\0';
	assert_false(object_path_plain(path, false));
	path[900] = '\0';
	path[899] = 'p';
	assert_true(object_path_plain(path, false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_pinned), cmocka_unit_test(other_spellings_are_none),
		cmocka_unit_test(parse_is_strict),  cmocka_unit_test(plain_names),
		cmocka_unit_test(plain_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
