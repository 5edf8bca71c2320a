// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands of the control socket about the volume as it stands here: status and scrub. */
#include "fs/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "replica/ctlpath.h"
#include "replica/recovery.h"
#include "replica/scrub.h"

/* ---- status ---- */

static json_t *mirror_json(struct volume *v, int m)
{
	char reason[128] = "", id[UUID_TEXT];
	enum member_state s = volume_member(v, m, reason);
	json_t *j = json_object();
	struct statvfs sv;

	uuid_format(v->sb.members[m].id, id);
	json_object_set_new(j, "path", ctl_path(volume_path(v, m)));
	json_object_set_new(j, "id", json_string(id));
	json_object_set_new(j, "state", json_string(member_state_name(s)));
	json_object_set_new(j, "reason", *reason ? ctl_path(reason) : json_null());
	if (v->m[m].rootfd >= 0 && fstatvfs(v->m[m].rootfd, &sv) == 0) {
		json_object_set_new(j, "free", ctl_count(sv.f_bavail * sv.f_frsize));
		json_object_set_new(j, "size", ctl_count(sv.f_blocks * sv.f_frsize));
	}
	return j;
}

static json_t *status_json(struct volume *v)
{
	json_t *j = json_object(), *mirrors = json_array(), *counters = json_object();
	struct timespec now;
	char id[UUID_TEXT];

	uuid_format(v->sb.volume_id, id);
	clock_gettime(CLOCK_MONOTONIC, &now);
	for (unsigned m = 0; m < v->n; m++)
		if (volume_member(v, (int)m, NULL) != MEMBER_REMOVED)
			json_array_append_new(mirrors, mirror_json(v, (int)m));
	for (int c = 0; c < CNT_MAX; c++)
		json_object_set_new(counters, volume_counter_name(c),
				    ctl_count(atomic_load(&v->counter[c])));
	json_object_set_new(j, "volume", json_string(id));
	json_object_set_new(j, "mountpoint", ctl_path(the_mount.opt.mountpoint));
	json_object_set_new(j, "health", json_string(volume_health(v)));
	json_object_set_new(j, "recovering", json_boolean(recovery_pending(v)));
	json_object_set_new(j, "epoch", ctl_count(v->sb.epoch));
	json_object_set_new(j, "mirrors", mirrors);
	json_object_set_new(j, CTL_REMOTES, ctl_remotes(v));
	json_object_set_new(j, "counters", counters);
	json_object_set_new(j, "inodes", ctl_count(tree_count(v)));
	json_object_set_new(j, "uptime", json_integer(now.tv_sec - v->opened.tv_sec));
	return j;
}

int ctl_status(int fd, json_t *req)
{
	(void)req;
	return ctl_send(fd, json_pack("{s:o}", CTL_RESULT, status_json(vol())));
}

/* ---- scrub ---- */

static json_t *stats_json(const struct scrub_stats *s)
{
	json_t *j = json_object();

	json_object_set_new(j, "dirs", ctl_count(s->dirs));
	json_object_set_new(j, "files", ctl_count(s->files));
	json_object_set_new(j, "bytes", ctl_count(s->bytes));
	json_object_set_new(j, "total_bytes", ctl_count(s->total_bytes));
	json_object_set_new(j, "found", ctl_count(s->found));
	json_object_set_new(j, "corrected", ctl_count(s->corrected));
	json_object_set_new(j, "uncorrected", ctl_count(s->uncorrected));
	json_object_set_new(j, "failed", ctl_count(s->failed));
	return j;
}

static int on_progress(const struct scrub_stats *s, const char *path, void *arg)
{
	struct ctl_client *c = arg;
	json_t *j = stats_json(s);

	json_object_set_new(j, "path", ctl_path(path));
	ctl_tell(c, CTL_PROGRESS, j);
	return ctl_unwanted(c);
}

static void on_finding(const struct scrub_finding *f, void *arg)
{
	struct ctl_client *c = arg;
	json_t *j = json_object();

	json_object_set_new(j, "path", ctl_path(f->path));
	json_object_set_new(j, "item", json_string(f->item));
	json_object_set_new(j, "off", ctl_count(f->off));
	json_object_set_new(j, "len", ctl_count(f->len));
	json_object_set_new(j, "member", ctl_path(f->member));
	json_object_set_new(j, "found", ctl_path(f->found));
	json_object_set_new(j, "source", ctl_path(f->source));
	json_object_set_new(j, "action", json_string(f->action));
	ctl_tell(c, CTL_FINDING, j);
}

int ctl_scrub(int fd, json_t *req)
{
	const char *given = json_string_value(json_object_get(req, CTL_PATH));
	struct ctl_client c = { .fd = fd };
	struct scrub_options opt = { .resync = true, .progress = on_progress,
				     .finding = on_finding, .arg = &c };
	struct scrub_stats stats = { 0 };
	char *path = strdup(given ? given : "");
	int r = path ? ctlpath_unescape(path) : -ENOMEM;

	opt.path = path;
	if (r == 0)
		r = scrub_run(vol(), &opt, &stats);
	free(path);
	if (r == -EBUSY)
		return ctl_send_error(fd, r, "a scrub is running already");
	if (r < 0)
		return ctl_send_error(fd, r, strerror(-r));
	return ctl_send(fd, json_pack("{s:o}", CTL_RESULT, stats_json(&stats)));
}
