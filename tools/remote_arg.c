// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A definition is put together here exactly as the daemon will keep it, and
 * checked by the same function, so that a mistake is told at once and by the
 * name of its option. Names of files are made absolute by their letters: what
 * is a symbolic link today may lead elsewhere tomorrow, as its owner wants.
 */
#include "tools/remote_arg.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/base/log.h"
#include "tools/paths.h"

#define DEFINITION_MAX (64u << 10)
#define ERROR_MAX 512

static int no_memory(const struct command *self)
{
	log_err(-ENOMEM, "%s", self->name);
	return self->failure;
}

/* ---- options ---- */

static int set_kind(const struct command *self, const char *text, struct remote_def *d)
{
	if (!text)
		return 0;
	if (strcmp(text, "webdav") != 0 && strcmp(text, "s3") != 0)
		return ctl_usage(self, "--kind is webdav or s3, not '%s'", text);
	d->kind = strcmp(text, "s3") == 0 ? REMOTE_S3 : REMOTE_WEBDAV;
	return 0;
}

static int set_text(const struct command *self, const char *text, char **to)
{
	if (!text)
		return 0;
	free(*to);
	*to = strdup(text);
	return *to ? 0 : no_memory(self);
}

static int set_file(const struct command *self, const char *name, char **to)
{
	char path[2 * PATH_MAX + 2] = "";

	if (!name)
		return 0;
	if (!*name)
		return ctl_usage(self, "a name of a file is empty");
	if (name[0] != '/') {
		if (!getcwd(path, PATH_MAX)) {
			log_err(-errno, "the current directory");
			return self->failure;
		}
		strcat(path, path[1] ? "/" : "");
	}
	if (strlen(path) + strlen(name) >= sizeof(path))
		return ctl_usage(self, "a name of a file is too long");
	strcat(path, name);
	return set_text(self, path, to);
}

/* Parsed as at most 2^31 - 1. */
static void set_number(int64_t given, unsigned *to)
{
	if (given >= 0)
		*to = (unsigned)given;
}

static void set_size(int64_t given, uint64_t *to)
{
	if (given >= 0)
		*to = (uint64_t)given;
}

int remote_arg_options(const struct command *self, const struct remote_options *o,
		       struct remote_def *d)
{
	int status = set_kind(self, o->kind, d);

	if (status == 0)
		status = set_file(self, o->credentials, &d->credentials);
	if (status == 0)
		status = set_file(self, o->ca, &d->ca);
	if (status == 0)
		status = set_text(self, o->region, &d->region);
	set_number(o->connections, &d->connections);
	set_number(o->settle, &d->settle_s);
	set_number(o->brake, &d->brake_percent);
	set_number(o->brake_files, &d->brake_files);
	set_size(o->up_limit, &d->up_limit);
	set_size(o->down_limit, &d->down_limit);
	set_size(o->scrub, &d->scrub_bytes);
	d->fallback = d->fallback && !o->no_fallback;
	return status;
}

int remote_arg_urls(const struct command *self, int n, char **url, struct remote_def *d)
{
	if (n > REMOTE_URLS_MAX)
		return ctl_usage(self, "%d URLs given, a remote has at most %d", n,
				 REMOTE_URLS_MAX);
	for (int i = 0; i < n; i++) {
		d->url[i] = strdup(url[i]);
		if (!d->url[i])
			return no_memory(self);
		d->n_urls++;
	}
	return 0;
}

static bool is_clear(const char *url)
{
	static const char *const own[] = { "localhost", "127.", "[::1]" };

	if (strncasecmp(url, "http://", 7) != 0)
		return false;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (strncasecmp(url + 7, own[i], strlen(own[i])) == 0)
			return false;
	return true;
}

/* S3 signs with its secret and does not send it. */
static void warn_of_clear_text(const struct remote_def *d)
{
	for (unsigned i = 0; i < d->n_urls && d->credentials && d->kind == REMOTE_WEBDAV; i++) {
		if (!is_clear(d->url[i]))
			continue;
		log_warn("http:// without TLS: everybody on the way can read the password");
		return;
	}
}

int remote_arg_check(const struct command *self, const struct remote_def *d)
{
	char error[ERROR_MAX] = "";

	if (remote_def_check(d, error, sizeof(error)) < 0)
		return ctl_usage(self, "%s", error);
	warn_of_clear_text(d);
	if (d->ca && access(d->ca, R_OK) < 0) {
		log_err(-errno, "%s", d->ca);
		return self->failure;
	}
	return 0;
}

/* Root may ask for the mount of another user, whose daemon reads that user's
 * file: it is not for us to judge. */
static bool is_of_another(const char *file)
{
	struct stat st;

	return geteuid() == 0 && stat(file, &st) == 0 && st.st_uid != 0;
}

int remote_arg_secret(const struct command *self, const struct remote_def *d,
		      struct remote_secret *s)
{
	char error[ERROR_MAX] = "";

	memset(s, 0, sizeof(*s));
	if (!d->credentials)
		return 0;
	if (remote_secret_load(d->credentials, d->kind, s, error, sizeof(error)) == 0)
		return 0;
	log_error("%s", error);
	return self->failure;
}

int remote_arg_secret_early(const struct command *self, const struct remote_def *d)
{
	struct remote_secret s;
	int status;

	if (d->credentials && is_of_another(d->credentials))
		return 0;
	status = remote_arg_secret(self, d, &s);
	remote_secret_wipe(&s);
	return status;
}

/* ---- operands ---- */

static bool is_regular(const char *name)
{
	struct stat st;

	return stat(name, &st) == 0 && S_ISREG(st.st_mode);
}

static int read_definition(const struct command *self, const char *file, struct remote_def *d)
{
	CLEANUP_FREE char *text = NULL;
	char error[ERROR_MAX] = "";
	size_t len;
	int r = io_read_file(AT_FDCWD, file, DEFINITION_MAX, &text, &len);

	if (r < 0)
		log_err(r, "%s", file);
	else if (text[strspn(text, " \t\r\n")] != '{') /* of some files no word may be repeated */
		log_error("%s: not the definition of a remote: no JSON object", file);
	else if (remote_def_decode(text, d, error, sizeof(error)) == 0)
		return 0;
	else
		log_error("%s: not the definition of a remote: %s", file, error);
	return self->failure;
}

static int begin(const struct command *self, char *remote, struct remote_def *d)
{
	if (is_regular(remote))
		return read_definition(self, remote, d);
	if (!strstr(remote, "://"))
		return ctl_usage(self, "%s: neither a URL nor a file with a definition", remote);
	remote_def_new(d);
	strcpy(d->name, "remote"); /* it has to have one */
	return remote_arg_urls(self, 1, &remote, d);
}

int remote_arg_open(const struct command *self, const struct remote_options *o, char *remote,
		    struct remote_def *d, struct remote_secret *s)
{
	int status;

	memset(d, 0, sizeof(*d));
	status = begin(self, remote, d);
	if (status == 0)
		status = remote_arg_options(self, o, d);
	if (status == 0)
		status = remote_arg_check(self, d);
	if (status == 0)
		status = remote_arg_secret(self, d, s);
	if (status != 0)
		remote_def_free(d);
	return status;
}

int remote_arg_path(const struct command *self, const char *path, char *out, size_t n)
{
	int r = paths_join("", path ? path : "", out, n);

	if (r < 0)
		return ctl_usage(self, "%s: %s", path,
				 r == -EINVAL ? "'..' is not taken in a path" : strerror(-r));
	return 0;
}
