// SPDX-License-Identifier: GPL-2.0-or-later
/* Text and JSON of the tools: sizes, tables, progress line, reports, paths, remotes. */
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
#include "tools/ctl.h"
#include "tools/paths.h"
#include "tools/progress.h"
#include "tools/remote_arg.h"
#include "tools/report.h"
#include "tools/show_remote.h"
#include "tools/values.h"

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

static void test_seconds_and_rates(void **state)
{
	static const struct output_row rows[] = {
		{ "a", "", OUTPUT_SECONDS }, { "b", "", OUTPUT_SECONDS },
		{ "c", "", OUTPUT_SECONDS }, { "d", "", OUTPUT_RATE },
		{ "e", "", OUTPUT_RATE }, { "f", "", OUTPUT_SECONDS },
		{ "g", "", OUTPUT_SECONDS }, { "h", "", OUTPUT_TIME },
	};
	static const char *const want[] = {
		"0.8 s", "1:01:01", "59.9 s", "3.0 MiB/s", "-1/s", "ever", "-", "1970-01-01 00:00"
	};
	json_t *o = json_pack("{sf,si,sf,si,si,sf,sn,si}", "a", 0.75, "b", 3661, "c", 59.94, "d",
			      3 << 20, "e", -1, "f", 1e300, "g", "h", 0);

	(void)state;
	setenv("TZ", "UTC0", 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = output_value(o, &rows[i]);

		assert_string_equal(text, want[i]);
		free(text);
	}
	json_decref(o);
}

static void test_values(void **state)
{
	static const struct {
		int (*parse)(const char *text, int64_t *out);
		const char *text;
		int64_t value; /* -1: not taken */
	} rows[] = {
		{ values_count, "0", 0 }, { values_count, "2147483647", INT32_MAX },
		{ values_count, "2147483648", -1 }, { values_count, "", -1 },
		{ values_count, "-1", -1 }, { values_count, "+1", -1 }, { values_count, " 1", -1 },
		{ values_count, "1 ", -1 }, { values_count, "1K", -1 },
		{ values_count, "99999999999999999999999", -1 },
		{ values_percent, "0", 0 }, { values_percent, "100%", 100 },
		{ values_percent, "30", 30 }, { values_percent, "101", -1 },
		{ values_percent, "30%%", -1 }, { values_percent, "%", -1 },
		{ values_size, "0", 0 }, { values_size, "4096", 4096 },
		{ values_size, "512K", 512 << 10 }, { values_size, "10m", 10 << 20 },
		{ values_size, "2T", 2ll << 40 }, { values_size, "10 ", -1 },
		{ values_size, "1KB", -1 }, { values_size, "1X", -1 }, { values_size, "K", -1 },
		{ values_size, "1.5G", -1 }, { values_size, "9223372036854775807", INT64_MAX },
		{ values_size, "9223372036854775808", -1 }, { values_size, "8388607T",
							      8388607ll << 40 },
		{ values_size, "8388608T", -1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int64_t out = -1;
		int r = rows[i].parse(rows[i].text, &out);

		assert_int_equal(r, rows[i].value < 0 ? -EINVAL : 0);
		assert_int_equal(out, rows[i].value);
	}
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

/* What show() prints of an array of remotes, in fresh memory. */
static char *shown(const json_t *remotes)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_int_equal(show_remotes(f, remotes, "/m nt"), 0);
	fclose(f);
	return text;
}

static void test_remotes(void **state)
{
	json_t *a = json_pack("[{ss,ss,sf,si,si,si,si,si,si,si,sb,sn,sn,sn,sn},"
			      "{ss,ss,sf,si,si,si,si,si,si,si,sb,ss,si,si,ss}]",
			      "name", "home", "state", "idle", "lag", 0.0, "files", 0, "bytes", 0,
			      "rate", 0, "head", 17, "unsettled", 2, "mended", 0,
			      "held_changes", 0, "counting", 0, "error", "error_age", "next_try",
			      "scrub",
			      "name", "s3", "state", "held", "lag", 75.0, "files", 30, "bytes",
			      2048, "rate", 1024, "head", 0, "unsettled", 0, "mended", 1,
			      "held_changes", 500, "counting", 1, "error", "PUT x: \x1b[1m 503",
			      "error_age", 75, "next_try", 40, "scrub", "3 %");
	char *text;

	(void)state;
	assert_non_null(a);
	text = shown(a);
	assert_string_equal(text,
		"REMOTE  STATE      LAG  FILES    BYTES       RATE  HEAD  UNSETTLED  MENDED  HELD\n"
		"home    idle     0.0 s      0      0 B      0 B/s    17          2       0     0\n"
		"s3      held   0:01:15     30  2.0 KiB  1.0 KiB/s     0          0       1   500\n"
		"s3: last error, 0:01:15 ago: PUT x: \\033[1m 503\n"
		"s3: tried again in 0:00:40\n"
		"s3: deletes and overwrites are held back; if they are meant: "
		"mirrorctl remote release /m nt s3\n"
		"s3: still counting: more than that is to be sent\n"
		"s3: scrub: 3 %\n");
	free(text);
	text = show_remote_brief(json_array_get(a, 1));
	assert_string_equal(text, "held, 0:01:15 behind, 30 files to go");
	free(text);
	json_decref(a);
}

/* A daemon that tells little, or nonsense. */
static void test_remotes_sparse(void **state)
{
	json_t *a = json_pack("[{}, {ss,si,ss}, i]", "state", "held", "error", 7, "lag", "x", 7);
	char *text = shown(NULL);

	(void)state;
	assert_non_null(a);
	assert_string_equal(text, "");
	free(text);
	text = shown(a);
	assert_non_null(strstr(text, "-: deletes and overwrites are held back"));
	free(text);
	json_decref(a);
}

/* Options onto a definition: what is not given stays. */
static void test_remote_options(void **state)
{
	static const struct command self = { .name = "test", .usage = 2, .failure = 1 };
	struct remote_options none = { .connections = -1, .up_limit = -1, .down_limit = -1,
				       .settle = -1, .brake = -1, .brake_files = -1,
				       .scrub = -1 };
	struct remote_options o = none;
	struct remote_def d, before;
	char cwd[4096], want[4200];

	(void)state;
	remote_def_new(&d);
	before = d;
	assert_int_equal(remote_arg_options(&self, &none, &d), 0);
	assert_memory_equal(&d, &before, sizeof(d));
	o = (struct remote_options){ .kind = "s3", .credentials = "a/b", .ca = "/c",
				     .region = "x", .connections = 3, .up_limit = 1 << 20,
				     .down_limit = 0, .settle = 5, .brake = 0,
				     .brake_files = 7, .scrub = 0, .no_fallback = true };
	assert_int_equal(remote_arg_options(&self, &o, &d), 0);
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	snprintf(want, sizeof(want), "%s/a/b", cwd);
	assert_string_equal(d.credentials, want);
	assert_string_equal(d.ca, "/c");
	assert_int_equal(d.kind, REMOTE_S3);
	assert_int_equal(d.connections, 3);
	assert_int_equal(d.up_limit, 1 << 20);
	assert_int_equal(d.settle_s, 5);
	assert_int_equal(d.brake_percent, 0);
	assert_int_equal(d.brake_files, 7);
	assert_int_equal(d.scrub_bytes, 0);
	assert_false(d.fallback);
	remote_def_free(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_duration),
		cmocka_unit_test(test_seconds_and_rates),
		cmocka_unit_test(test_values),
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
		cmocka_unit_test(test_remotes),
		cmocka_unit_test(test_remotes_sparse),
		cmocka_unit_test(test_remote_options),
	};

	return cmocka_run_group_tests_name("output", tests, NULL, NULL);
}
