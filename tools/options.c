// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The option table. A row says how an option is written, what it sets and
 * what --help tells of it; a command lists the keys of the rows it takes, so
 * that the same name means the same everywhere (--adopt: take what is there).
 * No abbreviations are relied on and no option has an optional argument.
 */
#include "tools/options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "replica/base/log.h"
#include "tools/ctl.h"
#include "tools/values.h"

/* Keys of options without a short form lie above these in the table. */
#define SHORT_KEYS "hilnqv"
#define MAX_ROWS 32

enum option_kind { FLAG, TEXT, COUNT, PERCENT, SIZE, WHEN };

#define AT(member) offsetof(struct ctl_options, member)

static const struct option_row {
	char key; /* the short form too, if in SHORT_KEYS */
	const char *name;
	const char *value; /* NULL: takes none; one that ends in "|off" may be off, which is 0 */
	enum option_kind kind;
	size_t at; /* the bool, text or int64_t it sets */
	const char *help;
} rows[] = {
	{ 'A', "adopt", NULL, FLAG, AT(adopt),
	  "the first directory holds a tree: keep it, copy it to the others" },
	{ 'a', "adopt", NULL, FLAG, AT(def.adopt),
	  "the server holds what this volume stored there before: go on from that" },
	{ 'N', "remote", "NAME", TEXT, AT(remote), "the remote to wait for" },
	{ 't', "timeout", "SECONDS", COUNT, AT(timeout), "wait no longer than that" },
	{ 'K', "kind", "KIND", TEXT, AT(def.kind), "webdav (the default) or s3" },
	{ 'C', "credentials", "FILE", TEXT, AT(def.credentials),
	  "file with the secrets, mode 0600; they are kept nowhere else" },
	{ 'T', "ca", "FILE", TEXT, AT(def.ca),
	  "certificates (PEM) to trust, instead of the system's" },
	{ 'R', "region", "NAME", TEXT, AT(def.region), "region of an S3 store (us-east-1)" },
	{ 'c', "connections", "N", COUNT, AT(def.connections),
	  "connections at a time, 1 to 8" },
	{ 'u', "up-limit", "RATE", SIZE, AT(def.up_limit),
	  "bytes a second to the server, such as 512K or 10M; 0: no limit" },
	{ 'd', "down-limit", "RATE", SIZE, AT(def.down_limit),
	  "bytes a second from the server" },
	{ 's', "settle", "SECONDS", COUNT, AT(def.settle),
	  "until what was stored is looked at again (120)" },
	{ 'b', "brake", "PERCENT|off", PERCENT, AT(def.brake),
	  "share of the tree that may be deleted or overwritten in an hour (30)" },
	{ 'f', "brake-files", "N", COUNT, AT(def.brake_files),
	  "... and the brake never holds fewer files than that (100)" },
	{ 'y', "scrub", "BYTES|off", SIZE, AT(def.scrub),
	  "what may be read back a day to verify it (1G)" },
	{ 'F', "no-fallback", NULL, FLAG, AT(def.no_fallback),
	  "never read from there what no mirror has" },
	{ 'l', "long", NULL, FLAG, AT(long_lines),
	  "type and mode, owner, group, size, time, name, target" },
	{ 'n', "dry-run", NULL, FLAG, AT(dry_run), "say what would be done, change nothing" },
	{ 'v', "verbose", NULL, FLAG, AT(verbose),
	  "one line a finding: path, bytes, mirror, what was seen, what was done" },
	{ 'i', "itemize-changes", NULL, FLAG, AT(itemize),
	  "one line a finding, itemised in eleven letters as rsync does" },
	{ 'J', "json", NULL, FLAG, AT(json),
	  "one JSON document on standard output instead of text" },
	{ 'q', "quiet", NULL, FLAG, AT(quiet), "nothing but errors" },
	{ 'P', "progress", "WHEN", WHEN, AT(progress),
	  "progress line on stderr: auto (on a terminal), always, never" },
	{ 'h', "help", NULL, FLAG, AT(help), "this help" },
};
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

int ctl_usage(const struct command *c, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_error("%s: %s (see mirrorctl %s --help)", c->name, text, c->name);
	return c->usage;
}

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

/* What the values of each kind are, for those who gave something else. */
static const struct {
	int (*parse)(const char *text, int64_t *out);
	const char *what;
} numbers[] = {
	[COUNT] = { values_count, "a whole number" },
	[PERCENT] = { values_percent, "a percentage, 0 to 100" },
	[SIZE] = { values_size, "a number of bytes such as 4096, 512K, 10M or 1G" },
};

static bool is_number(enum option_kind kind)
{
	return kind == COUNT || kind == PERCENT || kind == SIZE;
}

static bool may_be_off(const struct option_row *row)
{
	const char *last = strrchr(row->value, '|');

	return last && strcmp(last, "|off") == 0;
}

static int apply_number(const struct command *c, const struct option_row *row, int64_t *out)
{
	*out = 0;
	if (may_be_off(row) && strcmp(optarg, "off") == 0)
		return 0;
	if (numbers[row->kind].parse(optarg, out) == 0)
		return 0;
	ctl_usage(c, "--%s is %s%s, not '%s'", row->name, numbers[row->kind].what,
		  may_be_off(row) ? ", or off" : "", optarg);
	return 1;
}

static int apply(const struct command *c, int key, struct ctl_options *o)
{
	const struct option_row *row = find_row(key);
	void *at = (char *)o + row->at;

	if (row->kind == FLAG) {
		*(bool *)at = true;
	} else if (row->kind == TEXT) {
		*(const char **)at = optarg;
	} else if (row->kind != WHEN) {
		return apply_number(c, row, at);
	} else if (progress_parse_mode(optarg, at) < 0) {
		ctl_usage(c, "--%s is auto, always or never, not '%s'", row->name, optarg);
		return 1;
	}
	return 0;
}

static void set_defaults(struct ctl_options *o)
{
	memset(o, 0, sizeof(*o));
	for (size_t i = 0; i < N_ROWS; i++)
		if (is_number(rows[i].kind))
			*(int64_t *)((char *)o + rows[i].at) = -1;
}

int options_parse(const struct command *c, int argc, char **argv, struct ctl_options *o,
		  int *first)
{
	struct option longs[MAX_ROWS + 1];
	char shorts[MAX_ROWS + 2];
	int key;

	_Static_assert(N_ROWS <= MAX_ROWS, "longer tables, please");
	set_defaults(o);
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
