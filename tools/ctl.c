// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mirrorctl: the table of commands, --help and --version; nothing else. Each
 * command is a row here and a file cmd_<name>.c.
 */
#include "tools/ctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "replica/base/exitcode.h"
#include "replica/base/log.h"

static const struct command commands[] = {
	{ "init", "DIR DIR...", "make a volume out of mirror directories", "Anq",
	  EXIT_CTL_USAGE, EXIT_CTL_FAIL, cmd_init },
	{ "status", "MNT", "show health, mirrors and counters of a mounted volume", "J",
	  EXIT_CTL_USAGE, EXIT_CTL_FAIL, cmd_status },
	{ "scrub", "MNT [PATH]", "read and verify everything on a mounted volume, and heal it",
	  "JqP", EXIT_FSCK_USAGE, EXIT_FSCK_ERROR, cmd_scrub },
	{ "repair", "[PATH...] DIR DIR...",
	  "read and verify the mirrors of a volume that is not mounted, and heal them",
	  "nviJqP", EXIT_FSCK_USAGE, EXIT_FSCK_ERROR, cmd_repair },
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

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

static void print_help(void)
{
	char synopsis[256];

	printf("Usage: mirrorctl COMMAND [OPTION...] OPERAND...\n\nCommands:\n");
	for (size_t i = 0; i < N_COMMANDS; i++) {
		options_synopsis(&commands[i], synopsis, sizeof(synopsis));
		printf("  %s%s %s\n        %s\n", commands[i].name, synopsis, commands[i].args,
		       commands[i].help);
	}
	printf("\nOptions:\n"
	       "  -h, --help               this help; of one command after its name\n"
	       "  -V, --version            the version\n"
	       "\nSee mirrorctl(8) for exit statuses, formats and examples.\n");
}

static int print_command_help(const struct command *c)
{
	char synopsis[256];

	options_synopsis(c, synopsis, sizeof(synopsis));
	printf("Usage: mirrorctl %s%s %s\n%c%s.\n\nOptions:\n", c->name, synopsis, c->args,
	       c->help[0] & ~0x20, c->help + 1);
	options_help(c);
	return 0;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* Results that did not get out are no success. */
static int close_output(int status, int failure)
{
	int failed = ferror(stdout), closed;

	closed = fclose(stdout);
	if (!failed && closed == 0)
		return status;
	log_error("standard output: %s", closed ? strerror(errno) : "write error");
	return status | failure;
}

static int run_command(const struct command *c, int argc, char **argv)
{
	struct ctl_options o;
	int first, status;

	if (options_parse(c, argc, argv, &o, &first))
		return c->usage;
	status = o.help ? print_command_help(c)
			: c->run(c, &o, argc - first, argv + first);
	return close_output(status, c->failure);
}

static bool is_one_of(const char *word, const char *a, const char *b)
{
	return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

int main(int argc, char **argv)
{
	const struct command *c = argc > 1 ? find_command(argv[1]) : NULL;

	log_set_program("mirrorctl");
	if (c)
		return run_command(c, argc - 1, argv + 1);
	if (argc > 1 && is_one_of(argv[1], "-h", "--help")) {
		print_help();
		return close_output(EXIT_CTL_OK, EXIT_CTL_FAIL);
	}
	if (argc > 1 && is_one_of(argv[1], "-V", "--version")) {
		printf("mirrorctl %s\n", PACKAGE_VERSION);
		return close_output(EXIT_CTL_OK, EXIT_CTL_FAIL);
	}
	if (argc > 1)
		log_error("no command '%s' (see mirrorctl --help)", argv[1]);
	else
		log_error("no command given (see mirrorctl --help)");
	return EXIT_CTL_USAGE;
}
