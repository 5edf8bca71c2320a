// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Commands of the control socket about remotes. What is told of a remote comes
 * from struct remote_status alone, which knows no secrets; server's words in it
 * are made harmless before they go out.
 */
#include "fs/ctl.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "replica/base/cleanup.h"
#include "replica/ctlpath.h"
#include "replica/remote/remote.h"

/* ---- what is told ---- */

static const struct {
	const char *key;
	size_t offset;
} text_rows[] = {
	{ "name", offsetof(struct remote_status, name) },
	{ "id", offsetof(struct remote_status, id) },
	{ "url", offsetof(struct remote_status, url) },
	{ "error", offsetof(struct remote_status, error) },
	{ "scrub", offsetof(struct remote_status, scrub) },
};

static const struct {
	const char *key;
	size_t offset;
} count_rows[] = {
	{ "files", offsetof(struct remote_status, files) },
	{ "bytes", offsetof(struct remote_status, bytes) },
	{ "rate", offsetof(struct remote_status, rate) },
	{ "sent_files", offsetof(struct remote_status, sent_files) },
	{ "sent_bytes", offsetof(struct remote_status, sent_bytes) },
	{ "deleted", offsetof(struct remote_status, deleted) },
	{ "remote_files", offsetof(struct remote_status, remote_files) },
	{ "remote_bytes", offsetof(struct remote_status, remote_bytes) },
	{ "head", offsetof(struct remote_status, head) },
	{ "unsettled", offsetof(struct remote_status, unsettled) },
	{ "mended", offsetof(struct remote_status, mended) },
	{ "held_changes", offsetof(struct remote_status, held_changes) },
};

#define N_ROWS(rows) (sizeof(rows) / sizeof((rows)[0]))

/* A time and how long ago that is by our clock, which is not the client's business. */
static void set_time(json_t *j, const char *key, const char *age, int64_t at)
{
	int64_t ago = (int64_t)time(NULL) - at;

	json_object_set_new(j, key, at ? json_integer(at) : json_null());
	json_object_set_new(j, age, at ? json_integer(ago > 0 ? ago : 0) : json_null());
}

static json_t *remote_json(const struct remote_status *s)
{
	json_t *j = json_object();

	for (size_t i = 0; i < N_ROWS(text_rows); i++) {
		const char *text = (const char *)s + text_rows[i].offset;

		json_object_set_new(j, text_rows[i].key, ctl_line(*text ? text : NULL));
	}
	for (size_t i = 0; i < N_ROWS(count_rows); i++) {
		uint64_t n = *(const uint64_t *)((const char *)s + count_rows[i].offset);

		json_object_set_new(j, count_rows[i].key, ctl_count(n));
	}
	json_object_set_new(j, "kind", json_string(s->kind == REMOTE_S3 ? "s3" : "webdav"));
	json_object_set_new(j, "state", json_string(remote_state_name(s->state)));
	json_object_set_new(j, "lag", json_real(s->lag));
	json_object_set_new(j, "counting", json_boolean(s->counting));
	set_time(j, "error_at", "error_age", s->error_at);
	set_time(j, "head_time", "head_age", s->head_time);
	json_object_set_new(j, "next_try", s->next_try > 0 ? json_integer(s->next_try)
							   : json_null());
	return j;
}

/* All remotes, or the one of this name. */
static json_t *remotes_json(struct volume *v, const char *name)
{
	struct remote_status s[REMOTE_MAX];
	size_t n = remotes_status(v, s, REMOTE_MAX);
	json_t *all = json_array();

	for (size_t i = 0; i < n; i++)
		if (!name || strcmp(s[i].name, name) == 0)
			json_array_append_new(all, remote_json(&s[i]));
	return all;
}

json_t *ctl_remotes(struct volume *v)
{
	return remotes_json(v, NULL);
}

/* ---- answers ---- */

/* error: what the engine said of it, "" if nothing. */
static int answer_failure(int fd, int r, const char *error)
{
	static const struct {
		int err;
		const char *text;
	} words[] = {
		{ -ENOENT, "no remote of this name" },
		{ -EEXIST, "there is a remote of this name" },
		{ -EROFS, "the volume is mounted read-only" },
		{ -ETIMEDOUT, "not everything was there in time" },
		{ -EINTR, "cancelled: the mount is ending" },
	};

	for (size_t i = 0; i < N_ROWS(words) && !*error; i++)
		if (words[i].err == r)
			error = words[i].text;
	return ctl_send_error(fd, r, *error ? error : strerror(-r));
}

/* What is known of the remote now, or of all if name is NULL. */
static int answer_remotes(int fd, const char *name)
{
	return ctl_send(fd, json_pack("{s:{s:o}}", CTL_RESULT, CTL_REMOTES,
				      remotes_json(vol(), name)));
}

static int answer(int fd, const char *name, int r, const char *error)
{
	return r < 0 ? answer_failure(fd, r, error) : answer_remotes(fd, name);
}

static const char *text_of(json_t *req, const char *key)
{
	return json_string_value(json_object_get(req, key));
}

/* ---- commands ---- */

/* A line of the probe, as it comes. */
static void on_probe(void *arg, enum probe_level level, const char *line)
{
	static const char *const levels[] = {
		[PROBE_OK] = "ok", [PROBE_WARN] = "warning", [PROBE_FAIL] = "failed"
	};

	ctl_tell(arg, CTL_PROGRESS, json_pack("{s:s, s:o}", CTL_LEVEL, levels[level], CTL_LINE,
					      ctl_line(line)));
}

int ctl_remote_add(int fd, json_t *req)
{
	const char *text = text_of(req, CTL_DEFINITION);
	struct ctl_client c = { .fd = fd };
	char error[REMOTE_SAY_MAX] = "";
	struct remote_def def;
	int r;

	if (!text)
		return ctl_send_error(fd, -EINVAL, "no definition of the remote given");
	r = remote_def_decode(text, &def, error, sizeof(error));
	if (r < 0)
		return answer_failure(fd, r, error);
	r = remotes_add(vol(), &def, json_is_true(json_object_get(req, CTL_ADOPT)), on_probe, &c,
			error);
	r = answer(fd, def.name, r, error);
	remote_def_free(&def);
	return r;
}

int ctl_remote_list(int fd, json_t *req)
{
	return answer_remotes(fd, text_of(req, CTL_NAME));
}

/* The name asked for; NULL after an answer that there was none. */
static const char *name_of(int fd, json_t *req)
{
	const char *name = text_of(req, CTL_NAME);

	if (!name)
		ctl_send_error(fd, -EINVAL, "no name of a remote given");
	return name;
}

int ctl_remote_remove(int fd, json_t *req)
{
	const char *name = name_of(fd, req);
	char error[REMOTE_SAY_MAX] = "";

	return name ? answer(fd, name, remotes_remove(vol(), name, error), error) : -EINVAL;
}

int ctl_remote_probe(int fd, json_t *req)
{
	const char *name = name_of(fd, req);
	struct ctl_client c = { .fd = fd };
	char error[REMOTE_SAY_MAX] = "";
	int r;

	if (!name)
		return -EINVAL;
	r = remotes_probe(vol(), name, on_probe, &c, error);
	return answer(fd, name, r, error);
}

static int set_paused(int fd, json_t *req, bool paused)
{
	const char *name = name_of(fd, req);
	char error[REMOTE_SAY_MAX] = "";

	return name ? answer(fd, name, remotes_pause(vol(), name, paused, error), error)
		    : -EINVAL;
}

int ctl_remote_pause(int fd, json_t *req)
{
	return set_paused(fd, req, true);
}

int ctl_remote_resume(int fd, json_t *req)
{
	return set_paused(fd, req, false);
}

int ctl_remote_release(int fd, json_t *req)
{
	const char *name = name_of(fd, req);
	char error[REMOTE_SAY_MAX] = "";

	return name ? answer(fd, name, remotes_release(vol(), name, error), error) : -EINVAL;
}

/* Twice a second while somebody waits: how far it is. */
static int on_wait(void *arg, const struct remote_status *s)
{
	struct ctl_client *c = arg;

	ctl_tell(c, CTL_PROGRESS, remote_json(s));
	return ctl_unwanted(c);
}

/* The path asked for, in fresh memory; NULL is all of the volume. */
static int wanted_path(json_t *req, char **path)
{
	const char *given = text_of(req, CTL_PATH);

	*path = NULL;
	if (!given || !*given)
		return 0;
	*path = strdup(given);
	return *path ? ctlpath_unescape(*path) : -ENOMEM;
}

int ctl_remote_wait(int fd, json_t *req)
{
	const json_t *limit = json_object_get(req, CTL_TIMEOUT);
	int64_t timeout_ms = json_is_integer(limit) ? json_integer_value(limit) : -1;
	CLEANUP_FREE char *path = NULL;
	const char *name = name_of(fd, req);
	struct ctl_client c = { .fd = fd };
	char error[REMOTE_SAY_MAX] = "";
	int r;

	if (!name)
		return -EINVAL;
	r = wanted_path(req, &path);
	if (r == 0)
		r = remotes_wait(vol(), name, path, timeout_ms, on_wait, &c, error);
	return answer(fd, name, r, error);
}
