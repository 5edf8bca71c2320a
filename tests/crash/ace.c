// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ace: all short sequences of operations, and what a power cut leaves of them.
 *
 *   ace list GROUP SEED                sequences of a group: "sync,sync" or one
 *   ace prepare DIR COUNT              DIR/w with a directory for each
 *   ace run DIR SEQFILE LOG GROUP SEED [FILESYSTEM...]
 *   ace cuts LOG COUNT SEED            a plan: lines of K SEED PERCENT TORN
 *   ace check DIR LOG K [plain]        the judge, on what a cut after K left
 *   ace equal DIR DIR...               mirrors, unmounted
 *
 * SEQFILE has the number of the last disk request ("-": none). K "all": no cut.
 * Exit status: 0; 1 violations, printed; 2 the test could not be run.
 */
#include "tests/crash/ace.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/exercise/common.h"

static int usage(void)
{
	fputs("usage: ace list|prepare|run|cuts|check|equal ...; see ace.c\n", stderr);
	return EXERCISE_TROUBLE;
}

static int cmd_list(char **arg, int n)
{
	struct ace_log group = { 0 };
	char text[ACE_TEXT];
	unsigned i;

	(void)n;
	if (!ace_group(&group, arg[0], strtoull(arg[1], NULL, 0)))
		return usage();
	for (i = 0; i < group.n; i++) {
		ace_format(&group.run[i].seq, text);
		puts(text);
	}
	ace_log_free(&group);
	return 0;
}

static int cmd_prepare(char **arg, int n)
{
	(void)n;
	return ace_prepare(arg[0], (unsigned)strtoul(arg[1], NULL, 10));
}

/* First, after the last step with all metadata and nothing else; then by the
 * seed from the rest: after a step with nothing unflushed, between, beyond. */
static int cmd_cuts(char **arg, int n)
{
	static const struct {
		const char *from, *to;
		unsigned percent, torn;
	} plan[] = {
		{ "committed", "committed", 0, 0 },
		{ "step2", "step2", 0, 0 },
		{ "step1", "step1", 0, 0 },
		{ "commit1", "commit1", 0, 0 },
		{ "step2", "end", 50, 30 },
		{ "start", "step2", 50, 30 },
		{ "step2", "step2", 100, 0 },
		{ "start", "step2", 0, 0 },
		{ "step2", "end", 0, 0 },
		{ "step1", "step1", 50, 30 },
		{ "step1", "step2", 80, 20 },
		{ "step2", "end", 100, 0 },
		{ "step2", "step2", 50, 30 },
		{ "start", "step1", 30, 50 },
	};
	uint64_t seed = strtoull(arg[2], NULL, 0), from, to;
	unsigned long i, k, count = strtoul(arg[1], NULL, 10), turn = seed % (ARRAY_SIZE(plan) - 1);
	struct ace_log log;

	(void)n;
	ace_log_read(&log, arg[0]);
	for (i = 0; i < count; i++) {
		k = i % ARRAY_SIZE(plan) ? 1 + (turn + i) % (ARRAY_SIZE(plan) - 1) : 0;
		from = ace_log_mark(&log, plan[k].from);
		to = ace_log_mark(&log, plan[k].to);
		printf("%" PRIu64 " ", from + rng_below(&seed, to - from + 1));
		printf("%" PRIu64 " %u %u\n", rng_below(&seed, 1000000), plan[k].percent,
		       plan[k].torn);
	}
	ace_log_free(&log);
	return 0;
}

static int cmd_check(char **arg, int n)
{
	uint64_t cut = strcmp(arg[2], "all") ? strtoull(arg[2], NULL, 10) : UINT64_MAX;

	return ace_check(arg[0], arg[1], cut, n > 3 && !strcmp(arg[3], "plain"));
}

static int cmd_equal(char **arg, int n)
{
	return ace_equal(arg, n);
}

static const struct {
	const char *name;
	int args;
	int (*run)(char **arg, int n);
} command[] = {
	{ "list", 2, cmd_list }, { "prepare", 2, cmd_prepare }, { "run", 5, ace_run },
	{ "cuts", 3, cmd_cuts }, { "check", 3, cmd_check },     { "equal", 2, cmd_equal },
};

int main(int argc, char **argv)
{
	unsigned i;

	umask(022);
	for (i = 0; i < ARRAY_SIZE(command) && argc > 1; i++)
		if (!strcmp(argv[1], command[i].name) && argc - 2 >= command[i].args)
			return command[i].run(argv + 2, argc - 2);
	return usage();
}
