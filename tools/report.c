// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Findings and statistics of a walk over a volume, as text or as one JSON
 * document written while the walk goes on (a volume may have more findings
 * than memory). Standard output carries results, stderr everything else.
 */
#include "tools/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/cleanup.h"
#include "replica/base/exitcode.h"
#include "replica/ctlpath.h"
#include "tools/output.h"

static const struct {
	const char *key;
	size_t offset;
} stat_rows[] = {
	{ "dirs", offsetof(struct scrub_stats, dirs) },
	{ "files", offsetof(struct scrub_stats, files) },
	{ "bytes", offsetof(struct scrub_stats, bytes) },
	{ "total_bytes", offsetof(struct scrub_stats, total_bytes) },
	{ "found", offsetof(struct scrub_stats, found) },
	{ "corrected", offsetof(struct scrub_stats, corrected) },
	{ "uncorrected", offsetof(struct scrub_stats, uncorrected) },
	{ "failed", offsetof(struct scrub_stats, failed) },
};
#define N_STATS (sizeof(stat_rows) / sizeof(stat_rows[0]))

json_t *report_stats_json(const struct scrub_stats *s)
{
	json_t *o = json_object();

	for (size_t i = 0; i < N_STATS; i++) {
		uint64_t value = *(const uint64_t *)((const char *)s + stat_rows[i].offset);

		json_object_set_new(o, stat_rows[i].key, json_integer((json_int_t)value));
	}
	return o;
}

void report_stats_parse(const json_t *object, struct scrub_stats *s)
{
	for (size_t i = 0; i < N_STATS; i++) {
		json_int_t value = json_integer_value(json_object_get(object, stat_rows[i].key));

		*(uint64_t *)((char *)s + stat_rows[i].offset) = value > 0 ? (uint64_t)value : 0;
	}
}

/* A string member, null for none. */
static void set_string(json_t *o, const char *key, const char *text)
{
	CLEANUP_FREE char *escaped = text ? ctlpath_escape(text) : NULL;

	json_object_set_new(o, key, escaped ? json_string(escaped) : json_null());
}

json_t *report_finding_json(const struct scrub_finding *f)
{
	json_t *o = json_object();

	set_string(o, "path", f->path ? f->path : "");
	set_string(o, "item", f->item);
	json_object_set_new(o, "off", json_integer((json_int_t)f->off));
	json_object_set_new(o, "len", json_integer((json_int_t)f->len));
	set_string(o, "member", f->member);
	set_string(o, "found", f->found);
	set_string(o, "source", f->source);
	set_string(o, "action", f->action);
	return o;
}

void report_init(struct report *r, const struct ctl_options *o)
{
	memset(r, 0, sizeof(*r));
	r->json = o->json;
	r->quiet = o->quiet;
	r->dry_run = o->dry_run;
	r->itemize = o->itemize;
	r->details = o->verbose;
	progress_init(&r->progress, o->progress, o->quiet);
}

static struct progress_state progress_of(const struct scrub_stats *s, const char *path)
{
	return (struct progress_state){ .done = s->bytes, .total = s->total_bytes, .dirs = s->dirs,
					.files = s->files, .found = s->found, .path = path };
}

void report_progress(struct report *r, const struct scrub_stats *s, const char *escaped_path)
{
	struct progress_state state = progress_of(s, escaped_path);

	progress_update(&r->progress, &state);
}

static void print_json_finding(struct report *r, const json_t *finding)
{
	fputs(r->begun ? "" : "{\"findings\": [", stdout);
	r->begun = true;
	fputs(r->printed ? ",\n  " : "\n  ", stdout);
	json_dumpf(finding, stdout, 0);
}

/* before + value, if the finding has that value. Whether it had. */
static bool print_member(const json_t *finding, const char *key, const char *before)
{
	const char *text = json_string_value(json_object_get(finding, key));
	CLEANUP_FREE char *shown = text && *text ? ctlpath_printable(text) : NULL;

	if (shown)
		printf("%s%s", before, shown);
	return shown != NULL;
}

/* ": bytes 4096-8191 on /b", both inclusive, as far as it is known. */
static void print_place(const json_t *finding)
{
	json_int_t off = json_integer_value(json_object_get(finding, "off"));
	json_int_t len = json_integer_value(json_object_get(finding, "len"));

	if (len > 0)
		printf(": bytes %lld-%lld", (long long)off, (long long)(off + len - 1));
	print_member(finding, "member", len > 0 ? " on " : ": on ");
}

/* "ITEM path: bytes 0-4095 on /b: what was seen: repaired from /a" */
static void print_text_finding(const struct report *r, const json_t *finding)
{
	const char *item = json_string_value(json_object_get(finding, "item"));

	if (r->itemize) {
		CLEANUP_FREE char *letters = ctlpath_printable(item ? item : "");

		printf("%-11s ", letters ? letters : "");
	}
	if (!print_member(finding, "path", ""))
		putchar('.'); /* the root itself */
	if (r->details) {
		print_place(finding);
		print_member(finding, "found", ": ");
		print_member(finding, "action", ": ");
		print_member(finding, "source", " from ");
	}
	putchar('\n');
}

void report_finding(struct report *r, const json_t *finding)
{
	if (!r->json && (r->quiet || (!r->itemize && !r->details)))
		return;
	progress_clear(&r->progress);
	if (r->json)
		print_json_finding(r, finding);
	else
		print_text_finding(r, finding);
	r->printed++;
	fflush(stdout);
}

/* Ends the document: "], then the members of the statistics". */
static void end_json(struct report *r, const struct scrub_stats *s, int err)
{
	json_t *o = report_stats_json(s);
	char *text;

	if (err < 0) {
		json_object_set_new(o, "error", json_string(strerror(-err)));
		json_object_set_new(o, "errno", json_integer(-err));
	}
	text = json_dumps(o, 0);
	json_decref(o);
	if (!r->begun)
		fputs("{\"findings\": [", stdout);
	printf("%s],\n %s\n", r->printed ? "\n" : "", text ? text + 1 : "}");
	free(text);
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static void end_text(const struct report *r, const struct scrub_stats *s, int err)
{
	char size[OUTPUT_SIZE_MAX];

	output_size(s->bytes, size);
	printf("%s: %" PRIu64 " director%s, %" PRIu64 " file%s, %s verified: ",
	       err == -EINTR ? "cancelled" : err ? "broken off" : "done", s->dirs,
	       s->dirs == 1 ? "y" : "ies", s->files, plural(s->files), size);
	if (s->found == 0)
		printf("nothing found");
	else if (r->dry_run)
		printf("%" PRIu64 " finding%s, nothing changed (dry run)", s->found,
		       plural(s->found));
	else
		printf("%" PRIu64 " finding%s, %" PRIu64 " corrected, %" PRIu64 " left", s->found,
		       plural(s->found), s->corrected, s->uncorrected);
	if (s->failed)
		printf(", %" PRIu64 " object%s could not be looked at", s->failed,
		       plural(s->failed));
	putchar('\n');
}

int report_status(const struct scrub_stats *s, bool dry_run, int err)
{
	int status = EXIT_FSCK_OK;

	if (s->corrected > 0 && !dry_run)
		status |= EXIT_FSCK_CORRECTED;
	if (s->uncorrected > 0 || (dry_run && s->found > 0))
		status |= EXIT_FSCK_UNCORRECTED;
	if (err == -EINTR)
		status |= EXIT_FSCK_CANCELLED;
	else if (err < 0 || s->failed > 0)
		status |= EXIT_FSCK_ERROR;
	return status;
}

int report_end(struct report *r, const struct scrub_stats *s, int err)
{
	struct progress_state state = progress_of(s, NULL);

	progress_end(&r->progress, &state);
	if (r->json)
		end_json(r, s, err);
	else if (!r->quiet)
		end_text(r, s, err);
	return report_status(s, r->dry_run, err);
}
