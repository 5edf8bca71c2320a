/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the control socket share. A command runs in the thread of
 * its connection; what it sends it has no further claim on.
 */
#ifndef FS_CTL_H
#define FS_CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/mount.h"

/* Who asked, for commands that go on for long. */
struct ctl_client {
	int fd;
	bool gone; /* a line could not be sent: nobody listens any more */
};

/* ctl.c. msg is taken over; NULL is no memory. 0 or a negative errno. */
int ctl_send(int fd, json_t *msg);
/* The last line of a command that failed; what may hold any bytes. */
int ctl_send_error(int fd, int err, const char *what);
/* A line of a long command: kind is CTL_PROGRESS or CTL_FINDING. */
void ctl_tell(struct ctl_client *c, const char *kind, json_t *body);
/* Whether a long command should end: nobody listens, or the mount ends. */
bool ctl_unwanted(const struct ctl_client *c);
/* A path, escaped. NULL is null. */
json_t *ctl_path(const char *path);
/* A line for people, which may hold escaped paths: made harmless. NULL is null. */
json_t *ctl_line(const char *line);
json_t *ctl_count(uint64_t n);

/* Commands: return what sending the last line did. */
typedef int ctl_command(int fd, json_t *req);
/* ctl_status.c */
ctl_command ctl_status, ctl_scrub;
/* ctl_remote.c */
ctl_command ctl_remote_add, ctl_remote_remove, ctl_remote_probe, ctl_remote_list,
	ctl_remote_pause, ctl_remote_resume, ctl_remote_release, ctl_remote_wait;
/* All remotes of the volume with all that is known of them. */
json_t *ctl_remotes(struct volume *v);

#endif
