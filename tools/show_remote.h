/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the daemon tells of remotes, as text. */
#ifndef TOOLS_SHOW_REMOTE_H
#define TOOLS_SHOW_REMOTE_H

#include <jansson.h>
#include <stdio.h>

/* A table of the array "remotes" of a status, and a line for whatever needs
 * one (errors, what a person has to do). mnt: for these lines. Nothing
 * when there are none. 0 or -ENOMEM. */
int show_remotes(FILE *f, const json_t *remotes, const char *mnt);
/* The same array: where they are and what they hold. */
int show_remote_list(FILE *f, const json_t *remotes);
/* "uploading, 12.3 s behind, 30 files to go" in fresh memory. */
char *show_remote_brief(const json_t *remote);

#endif
