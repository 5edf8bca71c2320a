/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * verify: holds a recovered volume against the log of what was acknowledged.
 *
 *   verify check [-k|-P] [-s SEED] [-f PLANTED] [-x COMMAND] [-j STATUS] [-e EVENTS]... LOG K DIR
 *   verify flip [-s SEED] [-c|-o] [-f PLANTED] LOG K MIRROR [OTHER...]
 *   verify stale [-s SEED] LOG K MIRROR MIRROR...
 *   verify syncs LOG
 *   verify pauses LOG
 *   verify equal A B
 *
 * K: number of the last request before the power cut. -k: there was none, the
 * daemon was killed (K is not looked at). -P: DIR is a filesystem by itself.
 * check reads everything, runs COMMAND (a scrub, say), reads the event files of
 * the mirrors and counters of the STATUS that COMMAND stored, prints a line
 * VIOLATION for each and a last line of counts; exit status 1 if there were any.
 *
 * flip changes a bit of a copy, with -c of one that has nothing in flight, not
 * where -f says there is one, and notes whether an OTHER mirror's copy is as in
 * the floor: then the damaged one must not come back, not even flagged. With -o
 * many leaves that are in flight and of which that is so get one.
 * stale puts the version before the last fsynced one back on the first mirror
 * and damages the others. Both print the line that check -f wants, or none.
 * syncs prints first and last request of every acknowledged fsync, pauses those
 * of the times when nothing was asked of the volume. equal compares two mirrors.
 */
#include "tests/crash/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_EVENT_FILES 32

static const char *const count_name[COUNTS] = {
	[COUNT_LEAVES] = "leaves",
	[COUNT_OLD] = "old",
	[COUNT_NEW] = "new",
	[COUNT_TORN] = "torn",
	[COUNT_MIDTORN] = "midtorn",
	[COUNT_UNVERIFIED] = "unverified",
	[COUNT_ADOPTED] = "adopted",
	[COUNT_SETTLED] = "settled",
	[COUNT_FLIPS] = "flips",
	[COUNT_FLIPS_SEEN] = "flips_seen",
	[COUNT_FLIPS_KEPT] = "flips_kept",
	[COUNT_STALES] = "stales",
	[COUNT_STALES_EIO] = "stales_eio",
	[COUNT_STALES_KEPT] = "stales_kept",
	[COUNT_LOST] = "lost",
	[COUNT_FOREIGN] = "foreign",
	[COUNT_EIO] = "eio",
	[COUNT_BLESSED] = "blessed",
	[COUNT_NAMES] = "names",
	[COUNT_FALSE_ROT] = "falserot",
	[COUNT_UNDECIDED] = "undecided",
	[COUNT_UNSEEN] = "unseen",
	[COUNT_FAILED] = "failed",
};

static struct {
	struct verify v;
	struct oracle_rules rules;
	const char *command, *planted, *status, *events[MAX_EVENT_FILES];
	int n_events;
	uint64_t seed;
	enum flip_where where;
} opt;

void violation(struct verify *v, enum count kind, const char *fmt, ...)
{
	va_list ap;

	v->count[kind]++;
	printf("VIOLATION %s: ", count_name[kind]);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(" (K %" PRIu64 ", seed %s)\n", v->o.rules.cut, v->seed ? v->seed : "-");
}

static int usage(void)
{
	fputs("usage: verify check [-k|-P] [-s SEED] [-f PLANTED] [-x COMMAND] [-j STATUS]"
	      " [-e EVENTS]... LOG K DIR"
	      " | flip [-s SEED] [-c|-o] [-f PLANTED] LOG K MIRROR [OTHER...]"
	      " | stale [-s SEED] LOG K MIRROR MIRROR..."
	      " | syncs LOG | pauses LOG | equal A B\n", stderr);
	return 2;
}

static int trouble(const char *what, int err)
{
	fprintf(stderr, "verify: %s: %s\n", what, strerror(-err));
	return 2;
}

static int print_counts(const struct verify *v)
{
	unsigned long bad = 0;

	printf("counts");
	for (int i = 0; i < COUNTS; i++) {
		printf(" %s %lu", count_name[i], v->count[i]);
		if (i >= COUNT_LOST)
			bad += v->count[i];
	}
	printf("\n");
	return bad != 0;
}

static int read_findings(struct verify *v)
{
	int r = 0;

	for (int i = 0; r == 0 && i < opt.n_events; i++)
		r = events_read(&v->events, opt.events[i]);
	events_unify(&v->events);
	return r;
}

/* One number of a JSON text, looked for by its key alone. */
static unsigned long json_number(const char *text, const char *key)
{
	char quoted[64];
	const char *at;

	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	at = strstr(text, quoted);
	return at ? strtoul(at + strlen(quoted), NULL, 10) : 0;
}

static int read_status(struct verify *v, const char *path)
{
	char text[16384];
	FILE *in = fopen(path, "r");
	size_t n;

	if (!in)
		return -errno;
	n = fread(text, 1, sizeof(text) - 1, in);
	fclose(in);
	text[n] = '\0';
	v->count[COUNT_ADOPTED] = json_number(text, "adopted");
	v->count[COUNT_SETTLED] = json_number(text, "settled");
	return n ? 0 : -EIO;
}

static int check(struct verify *v, const char *dir)
{
	struct content *c = calloc(v->o.n_names + 1, sizeof(*c));
	int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	if (root < 0 || !c)
		return trouble(dir, -errno);
	for (size_t i = 0; i < v->o.n_names; i++)
		content_read(&c[i], root, v->o.name[i].name);
	check_unknown_names(v, dir);
	if (opt.command && system(opt.command))
		violation(v, COUNT_FAILED, "the command to run in between fails");
	r = read_findings(v);
	if (r)
		return trouble("events", r);
	if (opt.status && (r = read_status(v, opt.status)))
		violation(v, COUNT_FAILED, "no status in %s: %s", opt.status, strerror(-r));
	for (size_t i = 0; i < v->o.n_names; i++)
		check_name(v, &v->o.name[i], &c[i]);
	check_events(v);
	return print_counts(v);
}

static int print_syncs(const struct oplog *log)
{
	for (size_t i = 0; i < log->n; i++) {
		const struct op *op = &log->op[i];

		if ((op->kind == OP_FSYNC || op->kind == OP_DATASYNC) && op->seq1)
			printf("%" PRIu64 " %" PRIu64 "\n", op->seq0, op->seq1);
	}
	return 0;
}

static int print_pauses(const struct oplog *log)
{
	uint64_t end = 0;

	for (size_t i = 0; i < log->n; i++) {
		const struct op *op = &log->op[i];

		if (end && op->seq0 > end)
			printf("%" PRIu64 " %" PRIu64 "\n", end + 1, op->seq0);
		if (op->seq1 > end)
			end = op->seq1;
	}
	return 0;
}

/* Verbs that look at the log alone. */
static int about_log(const char *verb, const char *path)
{
	struct oplog log;
	int r = oplog_read(path, &log);

	if (r)
		return trouble(path, r);
	return strcmp(verb, "syncs") ? print_pauses(&log) : print_syncs(&log);
}

static int parse(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "kPcos:f:x:j:e:")) != -1) {
		switch (c) {
		case 'k': opt.rules.killed = true; break;
		case 'P': opt.rules.plain = true; break;
		case 'c': opt.where = FLIP_COLD; break;
		case 'o': opt.where = FLIP_SPARED; break;
		case 's':
			opt.v.seed = optarg;
			opt.seed = strtoull(optarg, NULL, 0);
			break;
		case 'f': opt.planted = optarg; break;
		case 'j': opt.status = optarg; break;
		case 'x': opt.command = optarg; break;
		case 'e':
			if (opt.n_events == MAX_EVENT_FILES)
				return usage();
			opt.events[opt.n_events++] = optarg;
			break;
		default: return usage();
		}
	}
	return 0;
}

/* argv: LOG K DIR... */
static int with_oracle(const char *verb, int argc, char **argv)
{
	int r;

	if (argc < 3)
		return usage();
	opt.rules.cut = strtoull(argv[1], NULL, 0);
	r = oracle_init(&opt.v.o, argv[0], &opt.rules);
	if (r)
		return trouble(argv[0], r);
	if (opt.planted && (r = plants_read(&opt.v.plants, opt.planted)))
		return trouble(opt.planted, r);
	if (strcmp(verb, "check") == 0)
		return check(&opt.v, argv[2]);
	if (strcmp(verb, "flip") == 0)
		return plant_flip(&opt.v, argv + 2, argc - 2, opt.seed, opt.where);
	if (strcmp(verb, "stale") == 0)
		return plant_stale(&opt.v, argv + 2, argc - 2, opt.seed);
	return usage();
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	int r;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 3)
		return usage();
	r = parse(argc - 1, argv + 1);
	if (r)
		return r;
	argv += 1 + optind;
	argc -= 1 + optind;
	if (strcmp(verb, "equal") == 0)
		return argc == 2 ? trees_differ(argv[0], argv[1]) : usage();
	if (strcmp(verb, "syncs") == 0 || strcmp(verb, "pauses") == 0)
		return argc == 1 ? about_log(verb, argv[0]) : usage();
	return with_oracle(verb, argc, argv);
}
