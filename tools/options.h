/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options of all commands: one table, from which parsing and --help come. */
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/progress.h"

struct command;

/* Of a remote; a number that was not given is -1, a text NULL. */
struct remote_options {
	const char *kind, *credentials, *ca, *region;
	int64_t connections, up_limit, down_limit, settle, brake, brake_files, scrub;
	bool no_fallback, adopt;
};

struct ctl_options {
	bool adopt, dry_run, itemize, json, quiet, verbose, long_lines, help;
	enum progress_mode progress;
	const char *remote; /* name of one */
	int64_t timeout;    /* seconds, -1: none */
	struct remote_options def;
};

/* Parses argv[1..]; argv[0] is the command's name. 0, and *first is the index
 * of the first operand (argv is permuted), or 1 after one line on a mistake. */
int options_parse(const struct command *c, int argc, char **argv, struct ctl_options *o,
		  int *first);
/* The options of the command, a line each, on stdout. */
void options_help(const struct command *c);
/* "[--adopt] [-n] [-q]" */
void options_synopsis(const struct command *c, char *out, size_t n);

#endif
