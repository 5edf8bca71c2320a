// SPDX-License-Identifier: GPL-2.0-or-later
/* mirrorctl status: asks the daemon of a mount how the volume is. */
#include "tools/ctl.h"

#include <stdio.h>

#include "replica/base/exitcode.h"
#include "replica/base/log.h"
#include "tools/client.h"
#include "tools/output.h"
#include "tools/show_remote.h"

static const struct output_row volume_rows[] = {
	{ "health", "health", OUTPUT_TEXT },
	{ "volume", "volume", OUTPUT_TEXT },
	{ "mountpoint", "mounted on", OUTPUT_TEXT },
	{ "epoch", "epoch", OUTPUT_NUMBER },
	{ "uptime", "up", OUTPUT_DURATION },
};

static const struct output_row mirror_rows[] = {
	{ "path", "MIRROR", OUTPUT_TEXT },
	{ "state", "STATE", OUTPUT_TEXT },
	{ "free", "FREE", OUTPUT_BYTES },
	{ "size", "SIZE", OUTPUT_BYTES },
	{ "reason", "REASON", OUTPUT_TEXT },
};

#define N_ROWS(rows) (sizeof(rows) / sizeof((rows)[0]))

static int print_text(const json_t *status, const char *mnt)
{
	int r = output_lines(stdout, status, volume_rows, N_ROWS(volume_rows));

	if (r == 0 && json_is_true(json_object_get(status, "recovering")))
		puts("recovering: what an unclean end left open is being settled");
	if (r == 0)
		r = output_table(stdout, json_object_get(status, "mirrors"), mirror_rows,
				 N_ROWS(mirror_rows));
	if (r == 0)
		r = show_remotes(stdout, json_object_get(status, CTL_REMOTES), mnt);
	if (r == 0)
		output_nonzero(stdout, json_object_get(status, "counters"));
	return r;
}

int cmd_status(const struct command *self, const struct ctl_options *o, int n, char **arg)
{
	struct client c;
	struct ctlpath where;
	json_t *status;
	int r;

	if (n != 1)
		return ctl_usage(self, n ? "one mount point at a time" : "no mount point given");
	if (client_open(&c, arg[0], &where) < 0)
		return EXIT_CTL_FAIL;
	r = client_call(&c, json_pack("{ss}", CTL_COMMAND, CTL_STATUS), CLIENT_TIMEOUT_MS, NULL,
			NULL, &status);
	client_close(&c);
	if (r < 0)
		return EXIT_CTL_FAIL;
	r = o->json ? output_json(stdout, status) : print_text(status, where.point);
	json_decref(status);
	if (r < 0)
		log_err(r, "print the status");
	return r < 0 ? EXIT_CTL_FAIL : EXIT_CTL_OK;
}
