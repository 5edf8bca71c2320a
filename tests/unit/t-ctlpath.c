// SPDX-License-Identifier: GPL-2.0-or-later
/* The socket's place, the reading of mountinfo, the escaping of paths. */
#include "replica/ctlpath.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

static const char mountinfo[] =
	"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
	"40 22 0:53 / /mnt rw shared:5 - fuse.mirrorfs /a:/b rw,user_id=1000,group_id=0\n"
	"41 22 0:53 /sub/dir /bind rw - fuse.mirrorfs /a:/b rw,user_id=1000,group_id=0\n"
	"42 40 0:54 / /mnt/over rw - fuse.sshfs host: rw,user_id=0\n"
	"43 22 0:55 / /with\\040blank\\134 rw - fuse.mirrorfs x,user_id=7 rw,user_id=12\n"
	"44 22 0:56 / / rw - fuse.mirrorfs root rw,user_id=0\n"
	"45 40 0:53 /sub /mnt/sub/again rw - fuse.mirrorfs /a:/b rw,user_id=1000,group_id=0\n"
	"46 22 0:57 / /tricky rw - fuse.mirrorfs a rw,xuser_id=9,user_id=3\n"
	"broken line\n";

static int scan(unsigned minor_number, const char *real, struct ctlpath *out)
{
	FILE *f = fmemopen((void *)(uintptr_t)mountinfo, sizeof(mountinfo) - 1, "r");
	int r;

	assert_non_null(f);
	memset(out, 0, sizeof(*out));
	r = ctlpath_scan(f, makedev(0, minor_number), real, out);
	fclose(f);
	return r;
}

static void test_scan(void **state)
{
	static const struct {
		unsigned minor_number;
		const char *real, *point, *rel;
		uid_t owner;
	} rows[] = {
		{ 53, "/mnt", "/mnt", "", 1000 },
		{ 53, "/mnt/x/y", "/mnt", "x/y", 1000 },
		{ 53, "/bind", "/bind", "sub/dir", 1000 },
		{ 53, "/bind/z", "/bind", "sub/dir/z", 1000 },
		{ 53, "/mnt/sub/again/q", "/mnt/sub/again", "sub/q", 1000 },
		{ 53, "/mnt/sub/againx", "/mnt", "sub/againx", 1000 },
		{ 55, "/with blank\\/f", "/with blank\\", "f", 12 },
		{ 56, "/", "/", "", 0 },
		{ 57, "/tricky/f", "/tricky", "f", 3 },
		{ 56, "/etc", "/", "etc", 0 },
	};
	struct ctlpath c;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(scan(rows[i].minor_number, rows[i].real, &c), 0);
		assert_string_equal(c.point, rows[i].point);
		assert_string_equal(c.rel, rows[i].rel);
		assert_int_equal(c.owner, rows[i].owner);
		assert_int_equal(minor(c.dev), rows[i].minor_number);
	}
}

static void test_scan_refuses(void **state)
{
	struct ctlpath c;

	(void)state;
	assert_int_equal(scan(54, "/mnt/over", &c), -ENODEV); /* another type */
	assert_int_equal(scan(99, "/mnt", &c), -ENODEV);      /* no such device */
	assert_int_equal(scan(53, "/mntx", &c), -ENODEV);     /* not below the point */
	assert_int_equal(scan(53, "/elsewhere", &c), -ENODEV);
}

static void test_find(void **state)
{
	struct ctlpath c;

	(void)state;
	assert_int_equal(ctlpath_find("/proc/self", &c), -ENODEV);
	assert_int_equal(ctlpath_find("/no/such/place", &c), -ENOENT);
}

static void test_socket(void **state)
{
	char out[31];

	(void)state;
	assert_int_equal(ctlpath_socket("/run/mirrorfs", makedev(259, 1048575), out,
					30), -ENAMETOOLONG);
	assert_int_equal(ctlpath_socket("/run/mirrorfs", makedev(259, 1048575), out,
					31), 0);
	assert_int_equal(ctlpath_socket("/run/mirrorfs", makedev(0, 53), out, sizeof(out)), 0);
	assert_string_equal(out, "/run/mirrorfs/0-53.sock");
}

static void test_dir(void **state)
{
	char out[CTLPATH_SOCKET_MAX], tiny[4], base[] = "/tmp/t-ctlpath.XXXXXX", want[64];
	uid_t me = geteuid();

	(void)state;
	assert_non_null(mkdtemp(base));
	setenv("XDG_RUNTIME_DIR", base, 1);
	/* the environment is nobody else's: 4242 has no /run/user either */
	assert_int_equal(ctlpath_dir(4242, out, sizeof(out)), 0);
	assert_string_equal(out, "/tmp/mirrorfs-4242");
	assert_int_equal(ctlpath_dir(me, out, sizeof(out)), 0);
	snprintf(want, sizeof(want), "%s/mirrorfs", base);
	assert_string_equal(out, me == 0 ? "/run/mirrorfs" : want);
	/* set, but no such directory, or not absolute: passed over */
	setenv("XDG_RUNTIME_DIR", "tmp", 1);
	assert_int_equal(ctlpath_dir(me, out, sizeof(out)), 0);
	assert_int_equal(out[0], '/');
	assert_int_equal(ctlpath_dir(4242, tiny, sizeof(tiny)), -ENAMETOOLONG);
	rmdir(base);
}

static const struct {
	const char *raw, *escaped;
} escapes[] = {
	{ "", "" },
	{ "plain/name with blanks", "plain/name with blanks" },
	{ "a\\b", "a\\134b" },
	{ "tab\tnl\nesc\033del\177", "tab\\011nl\\012esc\\033del\\177" },
	{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
	{ "latin \xfc", "latin \\374" },
	{ "cut \xe2\x82", "cut \\342\\202" },
	{ "\xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x82\xac \xf0\x9f\x98\x80" },
	{ "c1 \xc2\x9b", "c1 \\302\\233" },
	{ "overlong \xc0\xaf \xe0\x80\xaf", "overlong \\300\\257 \\340\\200\\257" },
	{ "overlong \xf0\x8f\xbf\xbf", "overlong \\360\\217\\277\\277" },
	{ "surrogate \xed\xa0\x80", "surrogate \\355\\240\\200" },
	{ "beyond \xf4\x90\x80\x80", "beyond \\364\\220\\200\\200" },
};

static void test_escape(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(escapes) / sizeof(escapes[0]); i++) {
		char *s = ctlpath_escape(escapes[i].raw);

		assert_string_equal(s, escapes[i].escaped);
		assert_int_equal(ctlpath_unescape(s), 0);
		assert_string_equal(s, escapes[i].raw);
		free(s);
	}
}

static void test_escape_every_byte(void **state)
{
	char raw[256], *s;

	(void)state;
	for (int i = 1; i < 256; i++)
		raw[i - 1] = (char)i;
	raw[255] = '\0';
	s = ctlpath_escape(raw);
	for (const char *p = s; *p; p++)
		assert_in_range((unsigned char)*p, 0x20, 0x7e);
	assert_int_equal(ctlpath_unescape(s), 0);
	assert_string_equal(s, raw);
	free(s);
}

static void test_unescape_refuses(void **state)
{
	static const char *const bad[] = {
		"\\", "a\\1", "\\12", "\\128", "\\000", "\\400", "\\x41"
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[16];

		strcpy(text, bad[i]);
		assert_int_equal(ctlpath_unescape(text), -EINVAL);
	}
}

static void test_printable(void **state)
{
	char *s = ctlpath_printable("a\\134b\033[31m");

	(void)state;
	assert_string_equal(s, "a\\134b\\033[31m");
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_scan_refuses),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_socket),
		cmocka_unit_test(test_dir),
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_escape_every_byte),
		cmocka_unit_test(test_unescape_refuses),
		cmocka_unit_test(test_printable),
	};

	return cmocka_run_group_tests_name("ctlpath", tests, NULL, NULL);
}
