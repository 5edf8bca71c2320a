// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Remotes in words. A state that ends by itself is a word in the table; one
 * that waits for a person gets a line that says what to do.
 */
#include "tools/show_remote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/cleanup.h"
#include "replica/ctlpath.h"
#include "tools/output.h"

#define N_ROWS(rows) (sizeof(rows) / sizeof((rows)[0]))

static const struct output_row status_rows[] = {
	{ "name", "REMOTE", OUTPUT_TEXT },
	{ "state", "STATE", OUTPUT_TEXT },
	{ "lag", "LAG", OUTPUT_SECONDS },
	{ "files", "FILES", OUTPUT_NUMBER },
	{ "bytes", "BYTES", OUTPUT_BYTES },
	{ "rate", "RATE", OUTPUT_RATE },
	{ "head", "HEAD", OUTPUT_NUMBER },
	{ "unsettled", "UNSETTLED", OUTPUT_NUMBER },
	{ "mended", "MENDED", OUTPUT_NUMBER },
	{ "held_changes", "HELD", OUTPUT_NUMBER },
};

static const struct output_row list_rows[] = {
	{ "name", "REMOTE", OUTPUT_TEXT },
	{ "kind", "KIND", OUTPUT_TEXT },
	{ "state", "STATE", OUTPUT_TEXT },
	{ "head", "HEAD", OUTPUT_NUMBER },
	{ "head_time", "TIME", OUTPUT_TIME },
	{ "remote_files", "FILES", OUTPUT_NUMBER },
	{ "remote_bytes", "BYTES", OUTPUT_BYTES },
	{ "url", "URL", OUTPUT_TEXT },
};

/* States that wait for a person, and the command that ends them. */
static const struct {
	const char *state, *text, *command;
} advice[] = {
	{ "paused", "paused; to go on", "resume" },
	{ "held", "deletes and overwrites are held back; if they are meant", "release" },
	{ "auth", "the server refuses our credentials, or we its certificate; once mended",
	  "release" },
	{ "misconfigured", "the server or the definition has to change; once mended", "release" },
	{ "conflict", "somebody else writes there, or something else is there; to look", "probe" },
};

/* A string of the object, harmless to print; NULL: none. */
static char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text && *text ? ctlpath_printable(text) : NULL;
}

static void print_advice(FILE *f, const json_t *remote, const char *name, const char *mnt)
{
	const char *state = json_string_value(json_object_get(remote, "state"));

	for (size_t i = 0; state && i < N_ROWS(advice); i++)
		if (strcmp(state, advice[i].state) == 0)
			fprintf(f, "%s: %s: mirrorctl remote %s %s %s\n", name, advice[i].text,
				advice[i].command, mnt, name);
}

static void print_error(FILE *f, const json_t *remote, const char *name)
{
	static const struct output_row age = { "error_age", "", OUTPUT_DURATION };
	CLEANUP_FREE char *error = text_of(remote, "error");
	CLEANUP_FREE char *ago = output_value(remote, &age);

	if (error)
		fprintf(f, "%s: last error, %s ago: %s\n", name, ago ? ago : "-", error);
}

static void print_lines(FILE *f, const json_t *remote, const char *mnt)
{
	static const struct output_row next = { "next_try", "", OUTPUT_DURATION };
	CLEANUP_FREE char *given = text_of(remote, "name");
	CLEANUP_FREE char *scrub = text_of(remote, "scrub");
	CLEANUP_FREE char *again = output_value(remote, &next);
	const char *name = given ? given : "-";

	print_error(f, remote, name);
	if (again && json_is_integer(json_object_get(remote, "next_try")))
		fprintf(f, "%s: tried again in %s\n", name, again);
	print_advice(f, remote, name, mnt);
	if (json_is_true(json_object_get(remote, "counting")))
		fprintf(f, "%s: still counting: more than that is to be sent\n", name);
	if (scrub)
		fprintf(f, "%s: scrub: %s\n", name, scrub);
}

int show_remotes(FILE *f, const json_t *remotes, const char *mnt)
{
	CLEANUP_FREE char *shown = ctlpath_printable(mnt);
	const json_t *remote;
	size_t i;
	int r;

	if (json_array_size(remotes) == 0)
		return 0;
	r = output_table(f, remotes, status_rows, N_ROWS(status_rows));
	json_array_foreach(remotes, i, remote)
		print_lines(f, remote, shown ? shown : "MNT");
	return r;
}

int show_remote_list(FILE *f, const json_t *remotes)
{
	return output_table(f, remotes, list_rows, N_ROWS(list_rows));
}

char *show_remote_brief(const json_t *remote)
{
	static const struct output_row state_row = { "state", "", OUTPUT_TEXT };
	static const struct output_row lag_row = { "lag", "", OUTPUT_SECONDS };
	CLEANUP_FREE char *state = output_value(remote, &state_row);
	CLEANUP_FREE char *lag = output_value(remote, &lag_row);
	long long files = json_integer_value(json_object_get(remote, "files"));
	char *text = NULL;

	if (!state || !lag ||
	    asprintf(&text, "%s, %s behind, %lld file%s to go", state, lag, files,
		     files == 1 ? "" : "s") < 0)
		return NULL;
	return text;
}
