/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The requests as the kernel sends them, for what the oldest supported
 * libfuse has no words for: O_TMPFILE, the flags of SETXATTR, and settings of
 * the connection. Seen before libfuse sees them; replies after it made them.
 */
#include "fs/mount.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/uio.h>

/* Flags of INIT that headers of Debian 12 do not know. */
#define INIT_DIRECT_IO_ALLOW_MMAP (1ull << 36)
#define INIT_NO_EXPORT_SUPPORT (1ull << 38)

/* What is asked for on top of what libfuse asks, if the kernel offers it. */
static const uint64_t init_wanted = FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT |
	INIT_DIRECT_IO_ALLOW_MMAP | INIT_NO_EXPORT_SUPPORT;

static struct {
	uint64_t unique;    /* of the INIT not answered yet */
	uint64_t offered;
	bool setxattr_ext;
} init;

static void note_init(const struct fuse_in_header *in)
{
	const struct fuse_init_in *arg = (const void *)(in + 1);

	init.unique = in->unique;
	init.offered = arg->flags;
	if (arg->flags & FUSE_INIT_EXT)
		init.offered |= (uint64_t)arg->flags2 << 32;
}

/* libfuse of Debian 12 expects the short form of SETXATTR. */
static void shorten_setxattr(struct worker *w, char *buf, size_t *len)
{
	struct fuse_in_header *in = (void *)buf;
	struct fuse_setxattr_in *arg = (void *)(in + 1);
	const size_t extra = sizeof(*arg) - FUSE_COMPAT_SETXATTR_IN_SIZE;
	char *rest = (char *)arg + FUSE_COMPAT_SETXATTR_IN_SIZE;

	w->setxattr_flags = arg->setxattr_flags;
	memmove(rest, rest + extra, *len - (size_t)(rest - buf) - extra);
	*len -= extra;
	in->len = (uint32_t)*len;
}

bool raw_request(struct worker *w, void *buf, size_t *len)
{
	struct fuse_in_header *in = buf;

	w->raw = buf;
	w->tmpfile = false;
	w->setxattr_flags = 0;
	switch (in->opcode) {
	case FUSE_INIT:
		note_init(in);
		break;
	case FUSE_TMPFILE: /* the same body as CREATE, and the same reply */
		w->tmpfile = true;
		in->opcode = FUSE_CREATE;
		break;
	case FUSE_SETXATTR:
		if (init.setxattr_ext && *len > sizeof(*in) + sizeof(struct fuse_setxattr_in))
			shorten_setxattr(w, buf, len);
		break;
	default:
		break;
	}
	return false;
}

void raw_reply(struct iovec *iov, int count)
{
	const struct fuse_out_header *out = iov[0].iov_base;
	struct fuse_init_out *arg;
	uint64_t add = init_wanted & init.offered;

	if (!init.unique || out->unique != init.unique)
		return;
	init.unique = 0;
	if (out->error == 0 && count > 1 && iov[1].iov_len >= sizeof(*arg)) {
		arg = iov[1].iov_base;
		if (!(init.offered & FUSE_INIT_EXT))
			add &= UINT32_MAX;
		arg->flags |= (uint32_t)add;
		if (init.offered & FUSE_INIT_EXT) {
			arg->flags |= FUSE_INIT_EXT;
			arg->flags2 |= (uint32_t)(add >> 32);
		}
		init.setxattr_ext = arg->flags & FUSE_SETXATTR_EXT;
	}
	atomic_store(&the_mount.ready, true);
}
