/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands of the control file: a table of names, numbers of words, handlers.
 * A change of the faults wakes all waiting requests.
 */
#include "tests/disk/control.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/cleanup.h"
#include "replica/base/log.h"
#include "tests/disk/machine.h"

#define MAX_WORDS 9
#define LINE_SIZE 4096

static int parse_number(const char *s, uint64_t *value)
{
	static const char units[] = "KMGT";
	char *end;

	errno = 0;
	*value = strtoull(s, &end, 0);
	if (end == s || *s == '-' || errno)
		return -EINVAL;
	if (*end && strchr(units, *end)) {
		unsigned shift = 10 * (unsigned)(strchr(units, *end++) - units + 1);

		if (*value > UINT64_MAX >> shift)
			return -EINVAL;
		*value <<= shift;
	}
	return *end ? -EINVAL : 0;
}

static int parse_small(const char *s, uint64_t max, unsigned *value)
{
	uint64_t n;

	if (parse_number(s, &n) || n > max)
		return -EINVAL;
	*value = (unsigned)n;
	return 0;
}

static int parse_ops(const char *s, unsigned *ops)
{
	static const char letters[] = "rws"; /* as enum disk_op */

	*ops = 0;
	for (; *s; s++) {
		const char *at = strchr(letters, *s);

		if (!at && *s != '*')
			return -EINVAL;
		*ops |= at ? 1U << (at - letters) : (1U << DISK_OPS) - 1;
	}
	return *ops ? 0 : -EINVAL;
}

static int do_record(char **word, int n)
{
	(void)word, (void)n;
	return machine_record();
}

static int do_stop(char **word, int n)
{
	(void)word, (void)n;
	machine_stop();
	return 0;
}

static int do_snap(char **word, int n)
{
	unsigned percent, torn;
	uint64_t seed;

	(void)n;
	if (word[1][0] != '/' || parse_number(word[2], &seed) ||
	    parse_small(word[3], 100, &percent) || parse_small(word[4], 100, &torn))
		return -EINVAL;
	return machine_snap(word[1], seed, percent, torn);
}

static int do_mark(char **word, int n)
{
	(void)n;
	return machine_mark(word[1]);
}

static void faults_changed(void)
{
	pthread_cond_broadcast(&machine.fault_changed);
	pthread_mutex_unlock(&machine.fault_lock);
}

/* word: NAME OPS OFF LEN, then n words: SKIP COUNT. */
static int add_rule(char **word, int error, char **more, int n)
{
	struct disk *d = machine_find(word[0]);
	struct rule rule = { .count = UINT64_MAX, .error = error };
	int err = 0;

	if (!d || parse_ops(word[1], &rule.ops) || parse_number(word[2], &rule.off) ||
	    parse_number(word[3], &rule.end))
		return -EINVAL;
	rule.end = rule.end > UINT64_MAX - rule.off ? UINT64_MAX : rule.off + rule.end;
	if ((n > 0 && parse_number(more[0], &rule.skip)) ||
	    (n > 1 && parse_number(more[1], &rule.count)))
		return -EINVAL;
	pthread_mutex_lock(&machine.fault_lock);
	if (d->n_rules < MAX_RULES)
		d->rule[d->n_rules++] = rule;
	else
		err = -ENOSPC;
	faults_changed();
	return err;
}

static int do_eio(char **word, int n)
{
	return add_rule(word + 1, -EIO, word + 5, n - 5);
}

static int do_err(char **word, int n)
{
	unsigned error;

	if (parse_small(word[5], 4095, &error) || error == 0)
		return -EINVAL;
	return add_rule(word + 1, -(int)error, word + 6, n - 6);
}

static int do_delay(char **word, int n)
{
	struct disk *d = machine_find(word[1]);
	unsigned ops, ms, op;

	(void)n;
	if (!d || parse_ops(word[2], &ops) || parse_small(word[3], 3600000, &ms))
		return -EINVAL;
	pthread_mutex_lock(&machine.fault_lock);
	for (op = 0; op < DISK_OPS; op++)
		if (ops & 1U << op)
			d->delay_ms[op] = ms;
	faults_changed();
	return 0;
}

static int set_flag(struct disk *d, bool *flag, const char *word)
{
	unsigned value;

	if (!d || parse_small(word, 1, &value))
		return -EINVAL;
	pthread_mutex_lock(&machine.fault_lock);
	*flag = value;
	faults_changed();
	return 0;
}

static int do_hang(char **word, int n)
{
	struct disk *d = machine_find(word[1]);

	(void)n;
	return set_flag(d, d ? &d->hang : NULL, word[2]);
}

static int do_lie(char **word, int n)
{
	struct disk *d = machine_find(word[1]);

	(void)n;
	return set_flag(d, d ? &d->lie : NULL, word[2]);
}

static void clear_disk(struct disk *d)
{
	d->n_rules = 0;
	memset(d->delay_ms, 0, sizeof(d->delay_ms));
	d->hang = d->lie = false;
}

static int do_clear(char **word, int n)
{
	struct disk *d = machine_find(word[1]);
	unsigned i;

	(void)n;
	if (!d && strcmp(word[1], "*"))
		return -EINVAL;
	pthread_mutex_lock(&machine.fault_lock);
	if (d)
		clear_disk(d);
	else
		for (i = 0; i < machine.n_disks; i++)
			clear_disk(&machine.disk[i]);
	faults_changed();
	return 0;
}

static const struct command {
	const char *name;
	int least, most; /* words, with the name */
	int (*run)(char **word, int n);
} commands[] = {
	{ "clear", 2, 2, do_clear },
	{ "delay", 4, 4, do_delay },
	{ "eio", 5, 7, do_eio },
	{ "err", 6, 8, do_err },
	{ "hang", 3, 3, do_hang },
	{ "lie", 3, 3, do_lie },
	{ "mark", 2, 2, do_mark },
	{ "record", 1, 1, do_record },
	{ "snap", 5, 5, do_snap },
	{ "stop", 1, 1, do_stop },
};

static const struct command *find_command(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

/* The text of a mark may have blanks: it is one word. */
static int split(char *line, char **word)
{
	char *rest = line;
	int n = 0;

	while (n < MAX_WORDS && (word[n] = strtok_r(NULL, " \t", &rest))) {
		n++;
		if (n == 1 && !strcmp(word[0], "mark") && *rest) {
			word[n++] = rest;
			break;
		}
	}
	return n;
}

static int run_line(const char *text)
{
	char line[LINE_SIZE], *word[MAX_WORDS];
	const struct command *c;
	int n, err;

	snprintf(line, sizeof(line), "%s", text);
	n = split(line, word);
	if (n == 0)
		return 0;
	c = find_command(word[0]);
	err = !c || n < c->least || n > c->most ? -EINVAL : c->run(word, n);
	return err ? log_err(err, "command \"%s\"", text) : 0;
}

int control_run(const char *text, size_t len)
{
	CLEANUP_FREE char *copy = strndup(text, len);
	char *line, *rest = copy;
	int err = 0;

	if (!copy)
		return -ENOMEM;
	if (len >= LINE_SIZE)
		return -E2BIG;
	while (!err && (line = strsep(&rest, "\n")))
		err = run_line(line);
	return err;
}

size_t control_stats(char *buf, size_t size)
{
	const struct disk *d;
	size_t len = 0;

	pthread_mutex_lock(&machine.lock);
	for (d = machine.disk; d < machine.disk + machine.n_disks && len < size; d++)
		len += (size_t)snprintf(buf + len, size - len,
			"%s reads %" PRIu64 " writes %" PRIu64 " flushes %" PRIu64
			" written %" PRIu64 " failed %" PRIu64 "\n",
			d->name, d->done[DISK_READ], d->done[DISK_WRITE], d->done[DISK_SYNC],
			d->written, d->failed);
	pthread_mutex_unlock(&machine.lock);
	return len < size ? len : size;
}
