// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mirrorctl: the table of commands, --help and --version; nothing else. Each
 * command is a row here and a function in a file cmd_<name>.c; those of two
 * words share the file of the first.
 */
#include "tools/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "replica/base/exitcode.h"
#include "replica/base/log.h"

#define SYNOPSIS_WIDE 100

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
	{ "remote add", "MNT NAME URL...", "send a mounted volume to a server from now on",
	  "KCTRcudsbfyFa", EXIT_CTL_USAGE, EXIT_CTL_FAIL, cmd_remote_add },
	{ "remote remove", "MNT NAME", "forget a remote; what it holds stays there", "",
	  EXIT_CTL_USAGE, EXIT_CTL_FAIL, cmd_remote_remove },
	{ "remote probe", "MNT [NAME]", "try what the server of a remote can do", "",
	  EXIT_CTL_USAGE, EXIT_CTL_FAIL, cmd_remote_probe },
	{ "remote list", "MNT [NAME]", "show the remotes of a mounted volume", "J",
	  EXIT_CTL_USAGE, EXIT_CTL_FAIL, cmd_remote_list },
	{ "remote pause", "MNT [NAME]", "send nothing for a while", "",
	  EXIT_CTL_USAGE, EXIT_CTL_FAIL, cmd_remote_pause },
	{ "remote resume", "MNT [NAME]", "go on after a pause", "",
	  EXIT_CTL_USAGE, EXIT_CTL_FAIL, cmd_remote_resume },
	{ "remote release", "MNT NAME", "let held deletes and overwrites through; try again now",
	  "", EXIT_CTL_USAGE, EXIT_CTL_FAIL, cmd_remote_release },
	{ "wait", "MNT|PATH", "wait until all that is written by now is at a remote", "NtP",
	  EXIT_CTL_USAGE, EXIT_CTL_FAIL, cmd_wait },
	{ "restore", "REMOTE NEWMIRROR [PATH]", "make a mirror out of a remote alone", "KCTRcdnP",
	  EXIT_CTL_USAGE, EXIT_CTL_FAIL, cmd_restore },
	{ "ls", "REMOTE [PATH]", "list a directory as a remote holds it", "KCTRl",
	  EXIT_CTL_USAGE, EXIT_CTL_FAIL, cmd_ls },
	{ "cat", "REMOTE PATH", "write a file as a remote holds it to standard output", "KCTR",
	  EXIT_CTL_USAGE, EXIT_CTL_FAIL, cmd_cat },
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* One that takes many options says so here; its own --help lists them. */
static void print_row(const struct command *c)
{
	char synopsis[512];

	options_synopsis(c, synopsis, sizeof(synopsis));
	printf("  %s%s %s\n        %s\n", c->name,
	       strlen(synopsis) > SYNOPSIS_WIDE ? " [OPTION...]" : synopsis, c->args, c->help);
}

/* Whether the command is word, or begins with it. */
static bool begins_with(const struct command *c, const char *word)
{
	size_t len = strlen(word);

	return strncmp(c->name, word, len) == 0 && (c->name[len] == ' ' || !c->name[len]);
}

/* All commands, or those whose first word this is. */
static void print_help(const char *word)
{
	printf("Usage: mirrorctl %s [OPTION...] OPERAND...\n\nCommands:\n",
	       word ? word : "COMMAND");
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (!word || begins_with(&commands[i], word))
			print_row(&commands[i]);
	printf("\nOptions:\n"
	       "  -h, --help               this help; of one command after its name\n"
	       "  -V, --version            the version\n"
	       "\nSee mirrorctl(8) for exit statuses, formats and examples.\n");
}

static int print_command_help(const struct command *c)
{
	char synopsis[512];

	options_synopsis(c, synopsis, sizeof(synopsis));
	printf("Usage: mirrorctl %s%s %s\n%c%s.\n\nOptions:\n", c->name, synopsis, c->args,
	       c->help[0] & ~0x20, c->help + 1);
	options_help(c);
	return 0;
}

/* By the first word or the first two; *words is how many they are. */
static const struct command *find_command(int argc, char **argv, int *words)
{
	for (size_t i = 0; i < N_COMMANDS; i++) {
		const char *second = strchr(commands[i].name, ' ');

		*words = second ? 2 : 1;
		if (argc <= *words || !begins_with(&commands[i], argv[1]))
			continue;
		if (!second || strcmp(argv[2], second + 1) == 0)
			return &commands[i];
	}
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

/* The first word of commands that have two, without a second that is one. */
static bool is_first_word(const char *word)
{
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strchr(commands[i].name, ' ') && begins_with(&commands[i], word))
			return true;
	return false;
}

static int print_all_help(const char *word)
{
	print_help(word);
	return close_output(EXIT_CTL_OK, EXIT_CTL_FAIL);
}

static int complain(int argc, char **argv)
{
	if (argc < 2)
		log_error("no command given (see mirrorctl --help)");
	else if (!is_first_word(argv[1]))
		log_error("no command '%s' (see mirrorctl --help)", argv[1]);
	else if (argc < 3)
		log_error("%s: no command given (see mirrorctl %s --help)", argv[1], argv[1]);
	else
		log_error("no command '%s %s' (see mirrorctl %s --help)", argv[1], argv[2],
			  argv[1]);
	return EXIT_CTL_USAGE;
}

int main(int argc, char **argv)
{
	int words;
	const struct command *c = find_command(argc, argv, &words);

	log_set_program("mirrorctl");
	if (c)
		return run_command(c, argc - words, argv + words);
	if (argc > 1 && is_one_of(argv[1], "-h", "--help"))
		return print_all_help(NULL);
	if (argc > 2 && is_one_of(argv[2], "-h", "--help") && is_first_word(argv[1]))
		return print_all_help(argv[1]);
	if (argc > 1 && is_one_of(argv[1], "-V", "--version")) {
		printf("mirrorctl %s\n", PACKAGE_VERSION);
		return close_output(EXIT_CTL_OK, EXIT_CTL_FAIL);
	}
	return complain(argc, argv);
}
