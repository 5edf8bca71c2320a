/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Creating on behalf of a caller: the calling thread takes the caller's
 * filesystem uid, gid and umask, so that a new object has the right owner,
 * mode and inherited ACL from its first instant, and keeps the capabilities
 * of the daemon, so that permission (already checked by the kernel) is not
 * asked again. The umask belongs to the thread only after creds_thread_init.
 */
#ifndef REPLICA_CREDS_H
#define REPLICA_CREDS_H

#include <sys/types.h>

struct caller {
	uid_t uid;
	gid_t gid;
	mode_t umask;
};

/* Once a thread, before the first creds_assume: unshares its umask. */
int creds_thread_init(void);
/* 0 or -errno. Without privilege only the umask is taken. */
int creds_assume(const struct caller *c);
void creds_restore(void);

#endif
