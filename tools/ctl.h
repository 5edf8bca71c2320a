/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the commands of mirrorctl share: a row in the table, a function each. */
#ifndef TOOLS_CTL_H
#define TOOLS_CTL_H

#include "tools/options.h"

struct command {
	const char *name;    /* one word, or two: "remote add" */
	const char *args;    /* what follows the options, for --help */
	const char *help;    /* one line */
	const char *options; /* keys of the rows of options.c it takes */
	int usage;           /* exit status of a usage mistake */
	int failure;         /* or'ed into the exit status when output cannot be written */
	/* arg[0..n-1]: what is no option. Returns the exit status. */
	int (*run)(const struct command *self, const struct ctl_options *o, int n, char **arg);
};

/* options.c. One line "NAME: ... (see mirrorctl NAME --help)"; returns the
 * command's status for usage mistakes. */
int ctl_usage(const struct command *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

int cmd_init(const struct command *self, const struct ctl_options *o, int n, char **arg);
int cmd_status(const struct command *self, const struct ctl_options *o, int n, char **arg);
int cmd_scrub(const struct command *self, const struct ctl_options *o, int n, char **arg);
int cmd_repair(const struct command *self, const struct ctl_options *o, int n, char **arg);
int cmd_remote_add(const struct command *self, const struct ctl_options *o, int n, char **arg);
int cmd_remote_remove(const struct command *self, const struct ctl_options *o, int n, char **arg);
int cmd_remote_probe(const struct command *self, const struct ctl_options *o, int n, char **arg);
int cmd_remote_list(const struct command *self, const struct ctl_options *o, int n, char **arg);
int cmd_remote_pause(const struct command *self, const struct ctl_options *o, int n, char **arg);
int cmd_remote_resume(const struct command *self, const struct ctl_options *o, int n, char **arg);
int cmd_remote_release(const struct command *self, const struct ctl_options *o, int n, char **arg);
int cmd_wait(const struct command *self, const struct ctl_options *o, int n, char **arg);
int cmd_restore(const struct command *self, const struct ctl_options *o, int n, char **arg);
int cmd_ls(const struct command *self, const struct ctl_options *o, int n, char **arg);
int cmd_cat(const struct command *self, const struct ctl_options *o, int n, char **arg);

#endif
