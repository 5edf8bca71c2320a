// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The option table. A row says how an option is written, what it sets and
 * what --help tells of it; a command lists the keys of the rows it takes, so
 * that the same name means the same everywhere. No abbreviations are relied
 * on and no option has an optional argument.
 */
#include "tools/options.h"

#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "tools/ctl.h"

/* Keys of options without a short form lie above these in the table. */
#define SHORT_KEYS "hinqv"
#define MAX_ROWS 16

static const struct option_row {
	char key; /* the short form too, if in SHORT_KEYS */
	const char *name;
	const char *value; /* NULL: takes none */
	size_t flag;       /* the bool it sets; without meaning when it takes a value */
	const char *help;
} rows[] = {
	{ 'A', "adopt", NULL, offsetof(struct ctl_options, adopt),
	  "the first directory holds a tree: keep it, copy it to the others" },
	{ 'n', "dry-run", NULL, offsetof(struct ctl_options, dry_run),
	  "say what would be done, change nothing" },
	{ 'v', "verbose", NULL, offsetof(struct ctl_options, verbose),
	  "one line a finding: path, bytes, mirror, what was seen, what was done" },
	{ 'i', "itemize-changes", NULL, offsetof(struct ctl_options, itemize),
	  "one line a finding, itemised in eleven letters as rsync does" },
	{ 'J', "json", NULL, offsetof(struct ctl_options, json),
	  "one JSON document on standard output instead of text" },
	{ 'q', "quiet", NULL, offsetof(struct ctl_options, quiet),
	  "nothing but errors" },
	{ 'P', "progress", "WHEN", 0,
	  "progress line on stderr: auto (on a terminal), always, never" },
	{ 'h', "help", NULL, offsetof(struct ctl_options, help), "this help" },
};
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static bool has_short(const struct option_row *row)
{
	return strchr(SHORT_KEYS, row->key) != NULL;
}

static bool takes(const struct command *c, const struct option_row *row)
{
	return row->key == 'h' || strchr(c->options, row->key);
}

static const struct option_row *find_row(int key)
{
	for (size_t i = 0; i < N_ROWS; i++)
		if (rows[i].key == key)
			return &rows[i];
	return NULL;
}

/* Fills what getopt_long() wants with the rows that the command takes. */
static void getopt_tables(const struct command *c, char *shorts, struct option *longs)
{
	*shorts++ = ':';
	for (size_t i = 0; i < N_ROWS; i++) {
		if (!takes(c, &rows[i]))
			continue;
		if (has_short(&rows[i]))
			*shorts++ = rows[i].key;
		*longs++ = (struct option){
			.name = rows[i].name,
			.has_arg = rows[i].value ? required_argument : no_argument,
			.val = rows[i].key,
		};
	}
	*shorts = '\0';
	*longs = (struct option){ 0 };
}

/* One line for what getopt_long() did not like. */
static int complain(const struct command *c, int answer, const char *word)
{
	const struct option_row *row = find_row(optopt);

	if (answer == ':')
		ctl_usage(c, "option '--%s' needs a value", row->name);
	else if (word[0] == '-' && word[1] == '-' && row && optopt)
		ctl_usage(c, "option '--%s' takes no value", row->name);
	else if (word[0] == '-' && word[1] == '-')
		ctl_usage(c, "unknown option '%s'", word);
	else
		ctl_usage(c, "unknown option '-%c'", optopt);
	return 1;
}

static int apply(const struct command *c, int key, struct ctl_options *o)
{
	const struct option_row *row = find_row(key);

	if (!row->value) {
		*(bool *)((char *)o + row->flag) = true;
		return 0;
	}
	/* the only option with a value so far */
	if (progress_parse_mode(optarg, &o->progress) == 0)
		return 0;
	ctl_usage(c, "--%s is auto, always or never, not '%s'", row->name, optarg);
	return 1;
}

int options_parse(const struct command *c, int argc, char **argv, struct ctl_options *o,
		  int *first)
{
	struct option longs[MAX_ROWS + 1];
	char shorts[MAX_ROWS + 2];
	int key;

	_Static_assert(N_ROWS <= MAX_ROWS, "longer tables, please");
	memset(o, 0, sizeof(*o));
	getopt_tables(c, shorts, longs);
	opterr = 0;
	optind = 0; /* glibc: start afresh */
	while ((key = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (key == '?' || key == ':')
			return complain(c, key, argv[optind - 1]);
		if (apply(c, key, o))
			return 1;
	}
	*first = optind;
	return 0;
}

static void row_text(const struct option_row *row, char *out, size_t n)
{
	snprintf(out, n, "%c%c%s--%s%s%s", has_short(row) ? '-' : ' ',
		 has_short(row) ? row->key : ' ', has_short(row) ? ", " : "  ", row->name,
		 row->value ? "=" : "", row->value ? row->value : "");
}

void options_help(const struct command *c)
{
	char text[64];

	for (size_t i = 0; i < N_ROWS; i++) {
		if (!takes(c, &rows[i]))
			continue;
		row_text(&rows[i], text, sizeof(text));
		printf("  %-24s %s\n", text, rows[i].help);
	}
}

void options_synopsis(const struct command *c, char *out, size_t n)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < N_ROWS && used < n; i++) {
		const struct option_row *r = &rows[i];

		if (!takes(c, r) || r->key == 'h')
			continue;
		if (has_short(r))
			used += (size_t)snprintf(out + used, n - used, " [-%c]", r->key);
		else
			used += (size_t)snprintf(out + used, n - used, " [--%s%s%s]", r->name,
						 r->value ? "=" : "", r->value ? r->value : "");
	}
}
