// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Groups of sequences, and the log of a run. The log is text, outside of what
 * is cut:
 *
 *   sequence INDEX TEXT
 *   step INDEX STEP BEFORE AFTER DONE   numbers of disk requests
 *   failed INDEX STEP WHAT: REASON
 *   mark NAME NUMBER
 */
#include "tests/crash/ace.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/exercise/common.h"

static void add(struct ace_log *log, const struct ace_sequence *seq)
{
	if (log->n == log->cap) {
		log->cap = log->cap ? 2 * log->cap : 64;
		log->run = realloc(log->run, log->cap * sizeof(log->run[0]));
		if (!log->run)
			die_errno("realloc", "memory");
	}
	log->run[log->n++] = (struct ace_run){ .seq = *seq };
}

/* Of two steps, what each is about is chance. */
static void add_pairs(struct ace_log *log, struct ace_sequence *seq, uint64_t seed)
{
	unsigned i;

	seq->n = 2;
	for (i = 0; i < ACE_OPS * ACE_OPS; i++) {
		seq->step[0].op = (enum ace_op)(i / ACE_OPS);
		seq->step[1].op = (enum ace_op)(i % ACE_OPS);
		seq->variant = (unsigned)rng_below(&seed, ACE_VARIANTS);
		add(log, seq);
	}
}

static void add_singles(struct ace_log *log, struct ace_sequence *seq)
{
	unsigned i;

	seq->n = 1;
	for (i = 0; i < ACE_OPS * ACE_VARIANTS; i++) {
		seq->step[0].op = (enum ace_op)(i / ACE_VARIANTS);
		seq->variant = i % ACE_VARIANTS;
		add(log, seq);
	}
}

bool ace_group(struct ace_log *log, const char *what, uint64_t seed)
{
	struct ace_sequence seq;
	char text[ACE_TEXT];

	if (ace_parse(what, &seq)) {
		add(log, &seq);
		return true;
	}
	if (strlen(what) > 16)
		return false;
	/* the pattern as a sequence of any operations */
	snprintf(text, sizeof(text), "create:%.*s,create:%s", (int)strcspn(what, ","), what,
		 what[strcspn(what, ",")] ? strchr(what, ',') + 1 : "");
	if (!ace_parse(text, &seq))
		return false;
	add_pairs(log, &seq, seed);
	if (seq.step[1].sync == ACE_NONE)
		add_singles(log, &seq);
	return true;
}

static bool read_sequence(struct ace_log *log, const char *line)
{
	struct ace_sequence seq;
	unsigned index;
	int at = 0;

	if (sscanf(line, "sequence %u %n", &index, &at) != 1 || index != log->n || !at ||
	    !ace_parse(line + at, &seq))
		return false;
	add(log, &seq);
	return true;
}

static bool read_step(struct ace_log *log, const char *line)
{
	struct ace_ack ack = { .ran = true, .ended = true };
	unsigned index, step;

	if (sscanf(line, "step %u %u %" SCNu64 " %" SCNu64 " %" SCNu64, &index, &step, &ack.before,
		   &ack.after, &ack.done) != 5 || index >= log->n || step >= ACE_STEPS)
		return false;
	log->run[index].ack[step] = ack;
	return true;
}

static bool read_mark(struct ace_log *log, const char *line)
{
	if (log->n_marks == ARRAY_SIZE(log->mark) ||
	    sscanf(line, "mark %15s %" SCNu64, log->mark[log->n_marks].name,
		   &log->mark[log->n_marks].seq) != 2)
		return false;
	log->n_marks++;
	return true;
}

void ace_log_read(struct ace_log *log, const char *path)
{
	FILE *f = fopen(path, "re");
	char line[512];

	if (!f)
		die_errno("open", path);
	memset(log, 0, sizeof(*log));
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, "failed ", 7)) {
			log->failed++;
		} else if (!read_sequence(log, line) && !read_step(log, line) &&
			   !read_mark(log, line)) {
			fprintf(stderr, "ace: %s: %s\n", path, line);
			exit(EXERCISE_TROUBLE);
		}
	}
	fclose(f);
}

void ace_log_free(struct ace_log *log)
{
	free(log->run);
}

uint64_t ace_log_mark(const struct ace_log *log, const char *name)
{
	unsigned i;

	for (i = 0; i < log->n_marks; i++)
		if (!strcmp(log->mark[i].name, name))
			return log->mark[i].seq;
	fprintf(stderr, "ace: no mark %s in the log\n", name);
	exit(EXERCISE_TROUBLE);
}
