// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mirrorctl remote: what the daemon of a mount does about its remotes. Only
 * names of credentials files go to it, never what is in them.
 */
#include "tools/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/cleanup.h"
#include "replica/base/exitcode.h"
#include "replica/base/log.h"
#include "replica/ctlpath.h"
#include "tools/client.h"
#include "tools/output.h"
#include "tools/remote_arg.h"
#include "tools/show_remote.h"

#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

/* One command on a connection of its own; a reference to request is taken
 * over. on_line as for client_call(). */
static int call(const char *mnt, json_t *request,
		int (*on_line)(const char *kind, const json_t *body, void *arg), json_t **result)
{
	struct client c;
	struct ctlpath where;
	int r = client_open(&c, mnt, &where);

	*result = NULL;
	if (r < 0) {
		json_decref(request);
		return r;
	}
	/* stopping an upload, or asking a server, has no time to be done in */
	r = client_call(&c, request, -1, on_line, NULL, result);
	client_close(&c);
	return r;
}

/* A line of the probe: "warning: ...". */
static int on_probe_line(const char *kind, const json_t *body, void *arg)
{
	static const struct output_row level_row = { CTL_LEVEL, "", OUTPUT_TEXT };
	static const struct output_row line_row = { CTL_LINE, "", OUTPUT_TEXT };
	CLEANUP_FREE char *level = output_value(body, &level_row);
	CLEANUP_FREE char *line = output_value(body, &line_row);

	(void)kind;
	(void)arg;
	if (level && line)
		printf("%s: %s\n", level, line);
	fflush(stdout);
	return 0;
}

/* ---- add ---- */

/* The definition as the daemon will have it, but for id and writer. */
static int define(const struct command *self, const struct remote_options *o, int n, char **arg,
		  struct remote_def *d)
{
	int status;

	if (strlen(arg[0]) > REMOTE_NAME_MAX)
		return ctl_usage(self, "name: longer than %d characters", REMOTE_NAME_MAX);
	strcpy(d->name, arg[0]);
	status = remote_arg_options(self, o, d);
	if (status == 0)
		status = remote_arg_urls(self, n - 1, arg + 1, d);
	if (status == 0)
		status = remote_arg_check(self, d);
	return status ? status : remote_arg_secret_early(self, d);
}

static int add(const struct command *self, const struct remote_def *d, bool adopt,
	       const char *mnt)
{
	CLEANUP_FREE char *text = remote_def_encode(d);
	json_t *result;
	int r;

	if (!text) {
		log_error("%s: names of files have to be UTF-8", d->name);
		return self->failure;
	}
	r = call(mnt, json_pack("{ss,ss,sb}", CTL_COMMAND, CTL_REMOTE_ADD, CTL_DEFINITION, text,
				CTL_ADOPT, adopt), on_probe_line, &result);
	json_decref(result);
	if (r < 0)
		return self->failure;
	printf("remote %s added: the volume is sent there from now on\n", d->name);
	return EXIT_CTL_OK;
}

int cmd_remote_add(const struct command *self, const struct ctl_options *o, int n, char **arg)
{
	struct remote_def d;
	int status;

	if (n < 3)
		return ctl_usage(self, n == 0 ? "no mount point given" :
				 n == 1 ? "no name for the remote given" : "no URL given");
	remote_def_new(&d);
	status = define(self, &o->def, n - 1, arg + 1, &d);
	if (status == 0)
		status = add(self, &d, o->def.adopt, arg[0]);
	remote_def_free(&d);
	return status;
}

/* ---- of one, or of all ---- */

static int one(const char *mnt, const char *word, const char *name)
{
	json_t *result;
	int r = call(mnt, json_pack("{ss,ss}", CTL_COMMAND, word, CTL_NAME, name),
		     strcmp(word, CTL_REMOTE_PROBE) == 0 ? on_probe_line : NULL, &result);

	json_decref(result);
	return r;
}

static int fetch_list(const char *mnt, const char *name, json_t **result)
{
	json_t *request = json_pack("{ss}", CTL_COMMAND, CTL_REMOTE_LIST);

	if (name)
		json_object_set_new(request, CTL_NAME, json_string(name));
	return call(mnt, request, NULL, result);
}

/* One that fails does not stop the others. */
static int all(const char *mnt, const char *word)
{
	json_t *result, *remote;
	int r = fetch_list(mnt, NULL, &result), first = r;
	size_t i;

	json_array_foreach(json_object_get(result, CTL_REMOTES), i, remote) {
		const char *name = json_string_value(json_object_get(remote, CTL_NAME));

		if (!name)
			continue;
		if (strcmp(word, CTL_REMOTE_PROBE) == 0)
			printf("%s:\n", name);
		r = one(mnt, word, name);
		first = first < 0 ? first : r;
	}
	json_decref(result);
	return first;
}

/* Of the characters that names have; also: JSON can carry it. */
static bool is_name(const char *text)
{
	size_t len = strlen(text);

	return len > 0 && len <= REMOTE_NAME_MAX && text[0] != '.' && text[0] != '-' &&
		strspn(text, NAME_CHARACTERS) == len;
}

/* Operands MNT NAME, or MNT [NAME] if all can be meant. */
static int check_operands(const struct command *self, int n, bool all_too, char **arg)
{
	if (n == 0)
		return ctl_usage(self, "no mount point given");
	if (n == 1 && !all_too)
		return ctl_usage(self, "no name of a remote given");
	if (n > 2)
		return ctl_usage(self, "too many arguments: one mount point and one name");
	if (n == 2 && !is_name(arg[1]))
		return ctl_usage(self, "'%s' cannot be the name of a remote", arg[1]);
	return 0;
}

static int tell(const struct command *self, const char *word, bool all_too, int n, char **arg)
{
	int status = check_operands(self, n, all_too, arg), r;

	if (status)
		return status;
	r = n == 2 ? one(arg[0], word, arg[1]) : all(arg[0], word);
	return r < 0 ? EXIT_CTL_FAIL : EXIT_CTL_OK;
}

int cmd_remote_remove(const struct command *self, const struct ctl_options *o, int n, char **arg)
{
	(void)o;
	return tell(self, CTL_REMOTE_REMOVE, false, n, arg);
}

int cmd_remote_probe(const struct command *self, const struct ctl_options *o, int n, char **arg)
{
	(void)o;
	return tell(self, CTL_REMOTE_PROBE, true, n, arg);
}

int cmd_remote_pause(const struct command *self, const struct ctl_options *o, int n, char **arg)
{
	(void)o;
	return tell(self, CTL_REMOTE_PAUSE, true, n, arg);
}

int cmd_remote_resume(const struct command *self, const struct ctl_options *o, int n, char **arg)
{
	(void)o;
	return tell(self, CTL_REMOTE_RESUME, true, n, arg);
}

int cmd_remote_release(const struct command *self, const struct ctl_options *o, int n, char **arg)
{
	(void)o;
	return tell(self, CTL_REMOTE_RELEASE, false, n, arg);
}

int cmd_remote_list(const struct command *self, const struct ctl_options *o, int n, char **arg)
{
	int status = check_operands(self, n, true, arg), r;
	json_t *result, *remotes;

	if (status)
		return status;
	r = fetch_list(arg[0], n == 2 ? arg[1] : NULL, &result);
	if (r < 0)
		return EXIT_CTL_FAIL;
	remotes = json_object_get(result, CTL_REMOTES);
	if (n == 2 && json_array_size(remotes) == 0) {
		log_error("%s: no remote of this name: %s", arg[0], arg[1]);
		r = -ENOENT;
	} else {
		r = o->json ? output_json(stdout, result) : show_remote_list(stdout, remotes);
		if (r < 0)
			log_err(r, "print the list");
	}
	json_decref(result);
	return r < 0 ? EXIT_CTL_FAIL : EXIT_CTL_OK;
}
