/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Attributes of what is restored, objects without content, and records. What
 * this user or filesystem cannot hold (foreign owners, trusted.*) is told once
 * a kind, not once a file; the record is made from what the inode has in the
 * end, so a later scrub finds it in order. No locks.
 */
#include "replica/remote/restore_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/base/log.h"
#include "replica/file.h"
#include "replica/hash.h"

/* Those that the metahash counts (object.c). Nothing else is taken from a remote: a
 * record or a label of its making must not get on a file. */
static const struct {
	const char *prefix;
	bool whole;
} spaces[] = {
	{ "user.", false },
	{ "trusted.", false },
	{ "system.posix_acl_", false },
	{ "security.capability", true },
};
#define N_SPACES (sizeof(spaces) / sizeof(spaces[0]))
#define WARNED_OWNER (1u << N_SPACES)

/* Index in spaces, -1: not ours. */
static int space_of(const char *name)
{
	if (xattr_is_hidden(name))
		return -1;
	for (size_t i = 0; i < N_SPACES; i++)
		if (strncmp(name, spaces[i].prefix, strlen(spaces[i].prefix)) == 0 &&
		    (!spaces[i].whole || strcmp(name, spaces[i].prefix) == 0))
			return (int)i;
	return -1;
}

/* ---- attributes ---- */

static bool wanted(const struct manifest_entry *e, const char *name)
{
	for (size_t i = 0; i < e->n_xattr; i++)
		if (strcmp(e->xattr[i].name, name) == 0)
			return true;
	return false;
}

/* Of an earlier run, or inherited from a default ACL. */
static int drop_others(const struct at *a, const struct manifest_entry *e)
{
	CLEANUP_FREE char *list = NULL;
	ssize_t len = at_listxattr_all(a, &list);

	if (len == -EOPNOTSUPP)
		return 0;
	if (len < 0)
		return (int)len;
	for (const char *name = list; name < list + len; name += strlen(name) + 1) {
		int r = space_of(name) >= 0 && !wanted(e, name) ? at_removexattr(a, name) : 0;

		if (r < 0 && r != -ENODATA)
			return r;
	}
	return 0;
}

/* true: this place takes no xattrs of that kind at all; told once. */
static bool refused(struct run *r, int space, int err)
{
	if (err != -EPERM && err != -EOPNOTSUPP)
		return false;
	if (!(r->warned & 1u << space))
		log_warn("%s: xattrs %s%s cannot be set here (%s): left out", r->dir,
			 spaces[space].prefix, spaces[space].whole ? "" : "*", strerror(-err));
	r->warned |= 1u << space;
	return true;
}

static int set_xattrs(struct run *r, const struct at *a, const struct manifest_entry *e,
		      const struct place *p, const char *name)
{
	for (size_t i = 0; i < e->n_xattr; i++) {
		const struct manifest_xattr *x = &e->xattr[i];
		int space = space_of(x->name), err;
		char what[320];

		if (space < 0)
			continue;
		err = at_setxattr(a, x->name, x->value, x->len, 0);
		if (err == 0 || refused(r, space, err))
			continue;
		if (err == -EIO || err == -EROFS || err == -EDQUOT)
			return err;
		/* Too large for this filesystem, or a value it does not know. */
		snprintf(what, sizeof(what), "xattr %s", x->name);
		run_failed(r, p, name, err == -ENOSPC ? -E2BIG : err, what);
	}
	return 0;
}

/* true: owner and group are those of the entry. */
static int set_owner(struct run *r, const struct at *a, const struct stat *st,
		     const struct manifest_entry *e, bool *done)
{
	int err;

	*done = true;
	if (st->st_uid == e->uid && st->st_gid == e->gid)
		return 0;
	err = at_chown(a, e->uid, e->gid);
	if (err != -EPERM && err != -EINVAL)
		return err;
	*done = false;
	at_chown(a, (uid_t)-1, e->gid); /* a group we are in */
	if (!(r->warned & WARNED_OWNER))
		log_warn("%s: owners cannot be set without privilege: what is restored belongs "
			 "to user %u", r->dir, (unsigned)geteuid());
	r->warned |= WARNED_OWNER;
	return 0;
}

int meta_apply(struct run *r, const struct at *a, const struct manifest_entry *e,
	       const struct place *p, const char *name)
{
	struct timespec ts[2] = { ns_ts(e->atime), ns_ts(e->mtime) };
	mode_t mode = e->mode & 07777;
	struct stat st;
	bool owned;
	int err = at_stat(a, &st);

	if (err == 0)
		err = set_owner(r, a, &st, e, &owned);
	if (err == 0)
		err = drop_others(a, e);
	if (err == 0)
		err = set_xattrs(r, a, e, p, name);
	if (err == 0 && !S_ISLNK(st.st_mode)) /* after chown, which clears bits */
		err = at_chmod(a, owned ? mode : mode & (mode_t)~06000);
	if (err == 0)
		err = at_utimens(a, ts);
	return err;
}

/* ---- objects without content ---- */

static int make(int fd, const char *name, const struct manifest_entry *e)
{
	if (MODE_OF(e->type) == S_IFLNK)
		return symlinkat(e->target ? e->target : "", fd, name) < 0 ? -errno : 0;
	return mknodat(fd, name, MODE_OF(e->type) | 0600, (dev_t)e->rdev) < 0 ? -errno : 0;
}

int meta_make(struct run *r, struct place *p, const char *name, const struct manifest_entry *e)
{
	int fd = place_fd(r, p), err;

	if (fd < 0)
		return fd;
	err = make(fd, name, e);
	if (err == -EEXIST) {
		err = place_remove(r, p, name);
		if (err == 0)
			err = make(fd, name, e);
	}
	if (err == 0) {
		struct at a = { .mirror = &r->m, .fd = fd, .name = name };

		err = meta_apply(r, &a, e, p, name);
		if (err < 0)
			unlinkat(fd, name, 0);
	}
	return err;
}

/* ---- records ---- */

struct record meta_record(const struct manifest_entry *e)
{
	struct record rec = { .leaf_shift = LEAF_SHIFT, .type = e->type, .id = e->id,
			      .gen = e->gen ? e->gen : 1, .ctime = e->ctime };

	if (MODE_OF(e->type) == S_IFREG) {
		rec.size = e->size;
		rec.hash = e->root;
	} else if (MODE_OF(e->type) == S_IFLNK && e->target) {
		rec.size = strlen(e->target);
		rec.hash = hash_bytes(e->target, rec.size, 3);
	}
	return rec;
}

int meta_seal(const struct at *a, struct record *rec)
{
	struct stat st;
	int err = at_stat(a, &st);

	if (err < 0)
		return err;
	if (TYPE_OF(st.st_mode) != rec->type ||
	    (S_ISREG(st.st_mode) && (uint64_t)st.st_size != rec->size))
		return -ESTALE;
	if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode) && !S_ISDIR(st.st_mode))
		rec->size = rec->hash = st.st_rdev;
	err = metahash(a, &st, &rec->meta);
	if (err < 0)
		return err;
	rec->mtime = ts_ns(&st.st_mtim);
	rec->sealed_at = clock_ns();
	return record_store(a, rec->type, rec);
}
