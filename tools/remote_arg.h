/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Remotes on the command line: options and operands to a definition. Each
 * function returns 0, or an exit status after one line; none of these
 * lines holds a secret, nor any part of a URL.
 */
#ifndef TOOLS_REMOTE_ARG_H
#define TOOLS_REMOTE_ARG_H

#include "replica/remote/remote_def.h"
#include "tools/ctl.h"

/* What the options say, onto d; names of files become absolute. */
int remote_arg_options(const struct command *self, const struct remote_options *o,
		       struct remote_def *d);
int remote_arg_urls(const struct command *self, int n, char **url, struct remote_def *d);
int remote_arg_check(const struct command *self, const struct remote_def *d);
/* The credentials, or none if the definition names no file. For the caller to wipe. */
int remote_arg_secret(const struct command *self, const struct remote_def *d,
		      struct remote_secret *s);
/* The same only to see whether they are all right; the daemon reads them by itself. */
int remote_arg_secret_early(const struct command *self, const struct remote_def *d);
/*
 * The operand REMOTE: a URL, or a file that holds a definition (a regular file of this name). The
 * options go on top. Both d and s are the caller's to free and wipe after a 0.
 */
int remote_arg_open(const struct command *self, const struct remote_options *o, char *remote,
		    struct remote_def *d, struct remote_secret *s);
/* A path in the volume as people write it, "/" included, relative to its root. */
int remote_arg_path(const struct command *self, const char *path, char *out, size_t n);

#endif
