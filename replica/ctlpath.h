/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the control socket of a mount is, and the words spoken on it. Used by
 * the server (fs/) and by the client (tools/).
 *
 * The socket is a UNIX stream socket "<major>-<minor>.sock", the device number
 * of the mount (st_dev of anything in it), in a directory that depends on the
 * user who mounted. Messages are JSON objects, one a line. The server begins
 * with {"mirrorfs":1,"protocol":1}; the client sends one line with a command;
 * the server answers with any number of progress and finding lines and ends
 * with one result or error line. Closing the connection cancels the command.
 * Paths are escaped by ctlpath_escape() in both directions.
 */
#ifndef REPLICA_CTLPATH_H
#define REPLICA_CTLPATH_H

#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#define CTL_PROTOCOL 1
#define CTL_LINE_MAX (1u << 20) /* bytes of one message at most, newline included */

/* Words of the protocol. */
#define CTL_HELLO "mirrorfs"
#define CTL_VERSION "protocol"
#define CTL_COMMAND "command"
#define CTL_STATUS "status"
#define CTL_SCRUB "scrub"
#define CTL_REMOTE_ADD "remote-add"
#define CTL_REMOTE_REMOVE "remote-remove"
#define CTL_REMOTE_PROBE "remote-probe"
#define CTL_REMOTE_LIST "remote-list"
#define CTL_REMOTE_PAUSE "remote-pause"
#define CTL_REMOTE_RESUME "remote-resume"
#define CTL_REMOTE_RELEASE "remote-release"
#define CTL_REMOTE_WAIT "remote-wait"
#define CTL_PATH "path"
#define CTL_NAME "name"             /* of a remote */
#define CTL_DEFINITION "definition" /* text, as remote_def_encode makes it */
#define CTL_ADOPT "adopt"
#define CTL_TIMEOUT "timeout"       /* ms; none: for ever */
#define CTL_REMOTES "remotes"       /* array in the results of status and remote-list */
#define CTL_LEVEL "level"           /* of a line of the probe: ok, warning, failed */
#define CTL_LINE "line"
#define CTL_PROGRESS "progress"
#define CTL_FINDING "finding"
#define CTL_RESULT "result"
#define CTL_ERROR "error"
#define CTL_ERRNO "errno"

#define CTLPATH_FSTYPE "fuse.mirrorfs"
#define CTLPATH_SOCKET_MAX 108 /* sun_path */

struct ctlpath {
	dev_t dev;
	uid_t owner;          /* who mounted it */
	char point[PATH_MAX]; /* where it is mounted */
	char rel[PATH_MAX];   /* the path asked for, from the volume's root; "" is the root */
	char socket[CTLPATH_SOCKET_MAX];
};

/* The directory that the daemon of this user makes for its sockets. 0 or
 * -ENAMETOOLONG. */
int ctlpath_dir(uid_t uid, char *out, size_t n);
/* dir/<major>-<minor>.sock. 0 or -ENAMETOOLONG. */
int ctlpath_socket(const char *dir, dev_t dev, char *out, size_t n);

/*
 * Finds the mount that holds path (any path inside it) and its socket. 0, or
 * -ENODEV: path does not lie on a mirrorfs mount; -ECONNREFUSED: it does, but
 * there is no socket (everything but socket is filled in); -ENOTCONN: the
 * process behind the mount is gone; else what stat(2) or opening
 * /proc/self/mountinfo said.
 */
int ctlpath_find(const char *path, struct ctlpath *out);
/*
 * The part of the above that only reads: looks in the mountinfo text for the
 * mirrorfs mount of device dev that holds the canonical path real, and fills
 * in all but socket. 0, -ENODEV or -ENAMETOOLONG.
 */
int ctlpath_scan(FILE *mountinfo, dev_t dev, const char *real, struct ctlpath *out);

/*
 * A path is bytes, a JSON string is UTF-8, and a terminal obeys control
 * characters: every byte that is not part of well-formed UTF-8, every control
 * character (C0, DEL, C1) and the backslash become \ooo, three octal digits.
 * Fresh memory, NULL if there is none.
 */
char *ctlpath_escape(const char *path);
/* The inverse, in place. A backslash not followed by three octal digits of
 * a byte other than 0 is -EINVAL. */
int ctlpath_unescape(char *path);
/* As ctlpath_escape(), but backslashes stay: makes a line that came from
 * elsewhere (and may hold escaped paths) harmless to print. */
char *ctlpath_printable(const char *text);

#endif
