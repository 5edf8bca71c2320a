/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replica/creds.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The raw calls act on this thread alone; so do setfsuid and setfsgid. */
static __thread struct {
	bool ready, root, changed;
	struct __user_cap_data_struct caps[2];
} self;

static struct __user_cap_header_struct cap_header(void)
{
	return (struct __user_cap_header_struct){ .version = _LINUX_CAPABILITY_VERSION_3 };
}

int creds_thread_init(void)
{
	struct __user_cap_header_struct h = cap_header();

	if (self.ready)
		return 0;
	if (unshare(CLONE_FS) < 0)
		return -errno;
	if (syscall(SYS_capget, &h, self.caps) < 0)
		return -errno;
	self.root = geteuid() == 0;
	umask(0);
	self.ready = true;
	return 0;
}

int creds_assume(const struct caller *c)
{
	struct __user_cap_header_struct h = cap_header();
	int r = creds_thread_init();

	if (r < 0)
		return r;
	umask(c->umask & 0777);
	self.changed = self.root && (c->uid != 0 || c->gid != 0);
	if (!self.changed)
		return 0;
	setfsgid(c->gid);
	setfsuid(c->uid); /* drops the filesystem capabilities */
	if (syscall(SYS_capset, &h, self.caps) < 0) {
		r = -errno;
		creds_restore();
		return r;
	}
	return 0;
}

void creds_restore(void)
{
	umask(0);
	if (!self.changed)
		return;
	setfsuid(0);
	setfsgid(0);
	self.changed = false;
}
