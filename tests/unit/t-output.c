// SPDX-License-Identifier: GPL-2.0-or-later
/* Text and JSON of the tools: sizes, tables, progress line, reports, paths. */
#include "tools/output.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "replica/base/exitcode.h"
#include "tools/paths.h"
#include "tools/progress.h"
#include "tools/report.h"

static void test_size(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} rows[] = {
		{ 0, "0 B" }, { 1, "1 B" }, { 1023, "1023 B" }, { 1024, "1.0 KiB" },
		{ 1536, "1.5 KiB" }, { 10 * 1024, "10 KiB" }, { 1024 * 1024 - 1, "1.0 MiB" },
		{ 1024 * 1024, "1.0 MiB" }, { 1288490189, "1.2 GiB" }, { UINT64_MAX, "16 EiB" },
	};
	char out[OUTPUT_SIZE_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		output_size(rows[i].bytes, out);
		assert_string_equal(out, rows[i].text);
	}
}

static void test_duration(void **state)
{
	static const struct {
		uint64_t seconds;
		const char *text;
	} rows[] = {
		{ 0, "0:00:00" }, { 451, "0:07:31" }, { 26 * 3600, "26:00:00" },
		{ 72 * 3600 - 1, "71:59:59" }, { 291 * 3600ull, "12 d 03:00:00" },
	};
	char out[OUTPUT_SIZE_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		output_duration(rows[i].seconds, out);
		assert_string_equal(out, rows[i].text);
	}
	output_duration(UINT64_MAX, out); /* must fit */
}

static const struct output_row rows_under_test[] = {
	{ "path", "MIRROR", OUTPUT_TEXT },
	{ "free", "FREE", OUTPUT_BYTES },
	{ "n", "N", OUTPUT_NUMBER },
	{ "reason", "REASON", OUTPUT_TEXT },
};

/* What the function prints, in fresh memory. */
static char *printed_table(const json_t *array)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_int_equal(output_table(f, array, rows_under_test, 4), 0);
	fclose(f);
	return text;
}

static void test_table(void **state)
{
	json_t *a = json_pack("[{ss,si,si,sn},{ss,si,sI,ss}]", "path", "/gr\xc3\xbc\xc3\x9f",
			      "free", 2048, "n", 7, "reason", "path", "/b", "free", 0, "n",
			      (json_int_t)12345, "reason", "two\nlines");
	char *text;

	(void)state;
	assert_non_null(a);
	text = printed_table(a);
	assert_string_equal(text, "MIRROR     FREE      N  REASON\n"
				  "/gr\xc3\xbc\xc3\x9f   2.0 KiB      7  -\n"
				  "/b          0 B  12345  two\\012lines\n");
	free(text);
	json_decref(a);
}

static void test_table_without_rows(void **state)
{
	char *text = printed_table(NULL); /* a server that leaves it out */

	(void)state;
	assert_string_equal(text, "MIRROR  FREE  N  REASON\n");
	free(text);
}

static void test_lines_and_counters(void **state)
{
	json_t *o = json_pack("{ss,si,si}", "path", "x", "n", 0, "free", 3);
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	(void)state;
	assert_int_equal(output_lines(f, o, rows_under_test, 4), 0);
	output_nonzero(f, o);
	fclose(f);
	assert_string_equal(text, "MIRROR: x\nFREE: 3 B\nN: 0\nfree: 3\n");
	free(text);
	json_decref(o);
}

static void test_json(void **state)
{
	json_t *o = json_pack("{ss,si}", "health", "ok", "epoch", 3), *back;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	(void)state;
	assert_int_equal(output_json(f, o), 0);
	fclose(f);
	back = json_loads(text, 0, NULL);
	assert_true(json_equal(o, back));
	assert_int_equal(text[len - 1], '\n');
	json_decref(o);
	json_decref(back);
	free(text);
}

static void test_progress(void **state)
{
	struct progress_state s = {
		.done = 430 << 20, .total = 1000 << 20, .files = 12, .found = 3,
		.path = "one/two/three/four/gr\xc3\xbc\xc3\x9f"
	};
	char out[200];

	(void)state;
	progress_format(&s, 10 << 20, 120, out, sizeof(out));
	assert_string_equal(out, " 43%  430 MiB of 1000 MiB  10 MiB/s  0:00:57 left  12 files  "
				 "3 found  one/two/three/four/gr\xc3\xbc\xc3\x9f");
	progress_format(&s, -1, 60, out, sizeof(out));
	assert_string_equal(out, " 43%  430 MiB of 1000 MiB  12 files  3 found  ...four/gr"
				 "\xc3\xbc\xc3\x9f");
	s.total = 0;
	s.path = NULL;
	progress_format(&s, 0, 80, out, sizeof(out));
	assert_string_equal(out, "430 MiB  0 B/s  12 files  3 found");
	/* an estimate that was too low is not the end */
	s.total = s.done - 1;
	progress_format(&s, -1, 80, out, sizeof(out));
	assert_memory_equal(out, " 99%", 4);
	for (unsigned w = 0; w < sizeof(out) + 9; w++) {
		s.path = "a/long/path/that/has/to/be/cut/somewhere";
		progress_format(&s, 5, w, out, sizeof(out));
		assert_true(strlen(out) <= w && strlen(out) < sizeof(out));
	}
}

static void test_progress_mode(void **state)
{
	enum progress_mode m = PROGRESS_AUTO;

	(void)state;
	assert_int_equal(progress_parse_mode("never", &m), 0);
	assert_int_equal(m, PROGRESS_NEVER);
	assert_int_equal(progress_parse_mode("always", &m), 0);
	assert_int_equal(m, PROGRESS_ALWAYS);
	assert_int_equal(progress_parse_mode("", &m), -EINVAL);
	assert_int_equal(progress_parse_mode("alwaysx", &m), -EINVAL);
	assert_int_equal(m, PROGRESS_ALWAYS);
}

static void test_status(void **state)
{
	static const struct {
		struct scrub_stats s;
		bool dry_run;
		int err, status;
	} rows[] = {
		{ { .files = 3 }, false, 0, EXIT_FSCK_OK },
		{ { .found = 2, .corrected = 2 }, false, 0, EXIT_FSCK_CORRECTED },
		{ { .found = 2, .corrected = 1, .uncorrected = 1 }, false, 0, 1 | 4 },
		{ { .found = 1, .uncorrected = 1 }, false, 0, EXIT_FSCK_UNCORRECTED },
		{ { .failed = 1 }, false, 0, EXIT_FSCK_ERROR },
		{ { .found = 1, .corrected = 1 }, false, -EIO, 1 | 8 },
		{ { .found = 1, .corrected = 1 }, false, -EINTR, 1 | 32 },
		{ { .found = 1 }, true, 0, EXIT_FSCK_UNCORRECTED },
		{ { .found = 1, .corrected = 1 }, true, 0, EXIT_FSCK_UNCORRECTED },
		{ { .found = 0 }, true, 0, EXIT_FSCK_OK },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(report_status(&rows[i].s, rows[i].dry_run, rows[i].err),
				 rows[i].status);
}

static void test_stats_round_trip(void **state)
{
	struct scrub_stats s = { 1, 2, 3, 4, 5, 6, 7, 8 }, back = { 0 };
	json_t *o = report_stats_json(&s);

	(void)state;
	report_stats_parse(o, &back);
	assert_memory_equal(&s, &back, sizeof(s));
	json_object_set_new(o, "files", json_integer(-4)); /* nonsense counts as none */
	json_object_set_new(o, "found", json_string("x"));
	report_stats_parse(o, &back);
	assert_int_equal(back.files, 0);
	assert_int_equal(back.found, 0);
	json_decref(o);
}

static const struct scrub_finding finding = {
	.path = "d\\ir/\xff", .item = ">fc........", .off = 4096, .len = 8192,
	.member = "/b", .found = "hash differs", .source = "/a", .action = "repaired",
};

static void test_finding_json(void **state)
{
	json_t *o = report_finding_json(&finding);
	json_t *want = json_pack("{ss,ss,si,si,ss,ss,ss,ss}", "path", "d\\134ir/\\377", "item",
				 ">fc........", "off", 4096, "len", 8192, "member", "/b", "found",
				 "hash differs", "source", "/a", "action", "repaired");
	struct scrub_finding bare = { .path = "x", .action = "lost" };

	(void)state;
	assert_true(json_equal(o, want));
	json_decref(o);
	json_decref(want);
	o = report_finding_json(&bare);
	assert_true(json_is_null(json_object_get(o, "source")));
	assert_true(json_is_null(json_object_get(o, "member")));
	json_decref(o);
}

/* Runs a whole report with stdout in a file; returns what was printed. */
static char *captured_report(const struct ctl_options *o, int findings, int err, int *status)
{
	struct scrub_stats s = { .dirs = 1, .files = 2, .bytes = 4096, .found = (uint64_t)findings,
				 .corrected = (uint64_t)findings };
	json_t *f = report_finding_json(&finding);
	FILE *tmp = tmpfile();
	int saved = dup(STDOUT_FILENO);
	char *text = calloc(1, 4096);
	struct report r;

	fflush(stdout);
	dup2(fileno(tmp), STDOUT_FILENO);
	report_init(&r, o);
	for (int i = 0; i < findings; i++)
		report_finding(&r, f);
	*status = report_end(&r, &s, err);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	assert_true(pread(fileno(tmp), text, 4095, 0) >= 0);
	fclose(tmp);
	json_decref(f);
	return text;
}

static void test_report_text(void **state)
{
	static const struct {
		struct ctl_options o;
		int findings, err, status;
		const char *text;
	} rows[] = {
		{ { 0 }, 0, 0, 0, "done: 1 directory, 2 files, 4.0 KiB verified: nothing found\n" },
		{ { 0 }, 1, 0, 1, "done: 1 directory, 2 files, 4.0 KiB verified: 1 finding, "
				  "1 corrected, 0 left\n" },
		{ { .quiet = true }, 2, 0, 1, "" },
		{ { .quiet = true, .verbose = true }, 2, 0, 1, "" },
		{ { .itemize = true }, 1, 0, 1, ">fc........ d\\134ir/\\377\n"
			"done: 1 directory, 2 files, 4.0 KiB verified: 1 finding, 1 corrected, "
			"0 left\n" },
		{ { .verbose = true, .dry_run = true }, 1, -EINTR, 4 | 32,
		  "d\\134ir/\\377: bytes 4096-12287 on /b: hash differs: repaired from /a\n"
		  "cancelled: 1 directory, 2 files, 4.0 KiB verified: 1 finding, nothing changed "
		  "(dry run)\n" },
	};
	int status;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = captured_report(&rows[i].o, rows[i].findings, rows[i].err, &status);

		assert_string_equal(text, rows[i].text);
		assert_int_equal(status, rows[i].status);
		free(text);
	}
}

/* What is not known leaves no trace on the line. */
static void test_report_sparse(void **state)
{
	static const struct {
		struct scrub_finding f;
		const char *text;
	} rows[] = {
		{ { .path = "x", .found = "no copy matches", .action = "lost",
		    .item = "!fc........", .len = 1 },
		  "!fc........ x: bytes 0-0: no copy matches: lost\n" },
		{ { .path = "", .member = "/b", .found = "missing", .action = "left" },
		  "            .: on /b: missing: left\n" },
		{ { .path = "x", .found = "odd", .action = "kept" }, "            x: odd: kept\n" },
	};
	const struct ctl_options o = { .itemize = true, .verbose = true };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *f = report_finding_json(&rows[i].f);
		FILE *tmp = tmpfile();
		int saved = dup(STDOUT_FILENO);
		char text[200] = "";
		struct report r;

		fflush(stdout);
		dup2(fileno(tmp), STDOUT_FILENO);
		report_init(&r, &o);
		report_finding(&r, f);
		dup2(saved, STDOUT_FILENO);
		close(saved);
		assert_true(pread(fileno(tmp), text, sizeof(text) - 1, 0) >= 0);
		fclose(tmp);
		assert_string_equal(text, rows[i].text);
		json_decref(f);
	}
}

static void test_report_json(void **state)
{
	const struct ctl_options o = { .json = true };
	int status;

	(void)state;
	for (int findings = 0; findings < 3; findings++) {
		char *text = captured_report(&o, findings, findings == 2 ? -EIO : 0, &status);
		json_t *doc = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

		assert_non_null(doc);
		assert_int_equal(json_array_size(json_object_get(doc, "findings")), findings);
		assert_int_equal(json_integer_value(json_object_get(doc, "files")), 2);
		assert_int_equal(json_integer_value(json_object_get(doc, "errno")),
				 findings == 2 ? EIO : 0);
		json_decref(doc);
		free(text);
	}
}

static void test_paths(void **state)
{
	static const struct {
		const char *base, *add, *out;
		int r;
	} rows[] = {
		{ "", "", "", 0 }, { "", ".", "", 0 }, { "", "/", "", 0 },
		{ "a", "", "a", 0 }, { "", "a//b/./c/", "a/b/c", 0 }, { "x/y", "z", "x/y/z", 0 },
		{ "", "a/../b", NULL, -EINVAL }, { "", "..", NULL, -EINVAL },
		{ "", "..a/b..", "..a/b..", 0 }, { "", "0123456789abcdef", NULL, -ENAMETOOLONG },
		{ "", "0123456789abcd", "0123456789abcd", 0 },
	};
	char out[16];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int r = paths_join(rows[i].base, rows[i].add, out, sizeof(out));

		assert_int_equal(r, rows[i].r);
		if (rows[i].out)
			assert_string_equal(out, rows[i].out);
	}
}

static void test_below(void **state)
{
	(void)state;
	assert_string_equal(paths_below("/a/b/c", "/a"), "b/c");
	assert_string_equal(paths_below("/a//b", "//a/"), "b");
	assert_string_equal(paths_below("/a", "/a/"), "");
	assert_string_equal(paths_below("/a/b", "/"), "a/b");
	assert_string_equal(paths_below("m/x", "m"), "x");
	assert_null(paths_below("/ab", "/a"));
	assert_null(paths_below("/a", "/a/b"));
	assert_null(paths_below("a/b", "/a"));
	assert_null(paths_below("/a/b", "a"));
	assert_null(paths_below(".mirrorfsx/y", ".mirrorfs"));
	assert_string_equal(paths_below(".mirrorfs/y", ".mirrorfs"), "y");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_duration),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_table_without_rows),
		cmocka_unit_test(test_lines_and_counters),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_progress),
		cmocka_unit_test(test_progress_mode),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_stats_round_trip),
		cmocka_unit_test(test_finding_json),
		cmocka_unit_test(test_report_text),
		cmocka_unit_test(test_report_sparse),
		cmocka_unit_test(test_report_json),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_below),
	};

	return cmocka_run_group_tests_name("output", tests, NULL, NULL);
}
