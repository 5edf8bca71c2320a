// SPDX-License-Identifier: GPL-2.0-or-later
/* mirrorctl wait: returns when what was written before it is at a remote. */
#include "tools/ctl.h"

#include <errno.h>
#include <string.h>

#include "replica/base/cleanup.h"
#include "replica/base/exitcode.h"
#include "replica/base/log.h"
#include "tools/client.h"
#include "tools/progress.h"
#include "tools/show_remote.h"

struct waiting {
	struct progress progress;
	bool begun;
	uint64_t sent_before; /* since the mount, when the wait began */
};

static uint64_t count(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (uint64_t)n : 0;
}

static int on_line(const char *kind, const json_t *body, void *arg)
{
	CLEANUP_FREE char *brief = show_remote_brief(body);
	struct waiting *w = arg;
	struct progress_state s = { .done = count(body, "sent_bytes"), .path = brief };

	(void)kind;
	if (!w->begun)
		w->sent_before = s.done;
	w->begun = true;
	s.done -= s.done > w->sent_before ? w->sent_before : s.done;
	s.total = s.done + count(body, "bytes");
	s.files = count(body, "sent_files");
	progress_update(&w->progress, &s);
	return progress_stopped();
}

static json_t *make_request(const struct ctl_options *o, const struct ctlpath *where)
{
	CLEANUP_FREE char *path = ctlpath_escape(where->rel);
	json_t *request = json_pack("{ss,ss,ss}", CTL_COMMAND, CTL_REMOTE_WAIT, CTL_NAME,
				    o->remote, CTL_PATH, path ? path : "");

	if (o->timeout >= 0)
		json_object_set_new(request, CTL_TIMEOUT, json_integer(o->timeout * 1000));
	return path ? request : NULL;
}

int cmd_wait(const struct command *self, const struct ctl_options *o, int n, char **arg)
{
	struct waiting w = { 0 };
	struct ctlpath where;
	struct client c;
	json_t *result;
	int r;

	if (n != 1)
		return ctl_usage(self, n ? "one mount point or path at a time"
					 : "no mount point given");
	if (!o->remote)
		return ctl_usage(self, "which remote? --remote=NAME is missing");
	if (client_open(&c, arg[0], &where) < 0)
		return EXIT_CTL_FAIL;
	progress_init(&w.progress, o->progress, false);
	progress_catch_signals();
	r = client_call(&c, make_request(o, &where), -1, on_line, &w, &result);
	progress_clear(&w.progress);
	client_close(&c);
	json_decref(result);
	if (r == -EINTR && progress_stopped())
		log_error("interrupted");
	return r < 0 ? EXIT_CTL_FAIL : EXIT_CTL_OK;
}
