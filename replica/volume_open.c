/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening a volume: which of the given directories are mirrors of one volume,
 * which of them hold the newest state, and which are stale or missing. Every
 * refusal is one line that says what was compared and what can be done.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "replica/base/io.h"
#include "replica/base/log.h"
#include "replica/dir.h"
#include "replica/dirfd.h"
#include "replica/fan.h"
#include "replica/hash.h"
#include "replica/identity.h"
#include "replica/init.h"
#include "replica/journal.h"
#include "replica/recovery.h"
#include "replica/remote/remote.h"
#include "replica/resync.h"
#include "replica/seal.h"
#include "replica/tree.h"
#include "replica/volume.h"

#define ID_RESERVE (1u << 20)

/* A directory given at mount, before it has a place in the volume. */
struct found {
	struct mirror m;
	struct superblock sb;
	bool have;      /* it has a superblock */
	bool clone;
};

void volume_options_default(struct volume_options *o)
{
	*o = (struct volume_options){
		.quarantine_limit = DEFAULT_QUARANTINE_LIMIT, .max_nodes = 4u << 20,
		.seal_ms = 2000, .background = true,
	};
}

static void probe_xattrs(struct mirror *m)
{
	m->user_xattr = fsetxattr(m->dotfd, "user.mfs.probe", "1", 1, 0) == 0;
	if (m->user_xattr)
		fremovexattr(m->dotfd, "user.mfs.probe");
	else /* read-only: assume what the filesystem type can do */
		m->user_xattr = errno == EROFS;
	m->trusted_xattr = fsetxattr(m->dotfd, "trusted.mfs.probe", "1", 1, 0) == 0;
	if (m->trusted_xattr)
		fremovexattr(m->dotfd, "trusted.mfs.probe");
	else
		m->trusted_xattr = errno == EROFS && geteuid() == 0;
}

static void found_close(struct found *f)
{
	if (f->m.dotfd >= 0)
		close(f->m.dotfd);
	if (f->m.rootfd >= 0)
		close(f->m.rootfd);
	free(f->m.path);
	f->m.path = NULL;
	f->m.rootfd = f->m.dotfd = -1;
}

static int read_superblock(struct found *f)
{
	int r = superblock_read(f->m.dotfd, &f->sb);

	if (r == -ENOENT)
		return 0;
	if (r == -EPROTONOSUPPORT)
		return log_err(r, "%s: made by a newer mirrorfs (format or feature unknown)",
			       f->m.path);
	if (r < 0)
		return log_err(r, "%s: superblock is damaged (both copies)", f->m.path);
	f->have = true;
	f->m.sb_seq = f->sb.seq;
	memcpy(f->m.id, f->sb.mirror_id, UUID_LEN);
	f->clone = identity_is_clone(f->m.rootfd, f->sb.fs_id, f->sb.dir_ino);
	identity_of(f->m.rootfd, &f->m.fs_id, &f->m.dir_ino);
	return 0;
}

static int found_open(const char *dir, struct found *f)
{
	struct stat st;

	memset(f, 0, sizeof(*f));
	f->m.rootfd = f->m.dotfd = -1;
	f->m.path = realpath(dir, NULL);
	if (!f->m.path)
		return log_err(-errno, "%s", dir);
	f->m.rootfd = open(f->m.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->m.rootfd < 0)
		return log_err(-errno, "%s", f->m.path);
	if (fstat(f->m.rootfd, &st) == 0)
		f->m.dev = st.st_dev;
	f->m.dotfd = openat(f->m.rootfd, DOT_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (f->m.dotfd < 0)
		return errno == ENOENT ? 0 : log_err(-errno, "%s/%s", f->m.path, DOT_DIR);
	if (flock(f->m.dotfd, LOCK_EX | LOCK_NB) < 0)
		return log_err(-EBUSY, "%s: the volume is in use (mounted, or under repair)",
			       f->m.path);
	probe_xattrs(&f->m);
	return read_superblock(f);
}

/* A directory without a superblock is absent, not empty. */
static int check_strangers(struct found *f, int n, bool degraded)
{
	bool any = false;

	for (int i = 0; i < n; i++)
		any |= f[i].have;
	for (int i = 0; i < n; i++) {
		if (f[i].have)
			continue;
		if (!init_dir_empty(f[i].m.rootfd) || !any) {
			log_error("%s: not a mirror (no %s/volume); 'mirrorctl init%s' makes one",
				  f[i].m.path, DOT_DIR,
				  init_dir_empty(f[i].m.rootfd) ? "" : " --adopt");
			return -EINVAL;
		}
		if (!degraded) {
			log_error("%s: no superblock: mirror is missing (not mounted?); "
				  "-o degraded goes on without it", f[i].m.path);
			return -ENOENT;
		}
		log_warn("%s: no superblock: going on without this mirror", f[i].m.path);
	}
	return 0;
}

/* Index of the newest state; -errno. */
static int find_newest(struct found *f, int n)
{
	int best = -1;

	for (int i = 0; i < n; i++) {
		enum sb_relation rel;

		if (!f[i].have)
			continue;
		if (best < 0) {
			best = i;
			continue;
		}
		rel = superblock_compare(&f[i].sb, &f[best].sb);
		if (rel == SB_FOREIGN) {
			log_error("%s belongs to another volume than %s", f[i].m.path,
				  f[best].m.path);
			return -EINVAL;
		}
		if (rel == SB_DIVERGED) {
			log_error("split-brain: %s (epoch %llu) and %s (epoch %llu) were changed "
				  "apart; mount one alone with -o degraded", f[i].m.path,
				  (unsigned long long)f[i].sb.epoch, f[best].m.path,
				  (unsigned long long)f[best].sb.epoch);
			return -EINVAL;
		}
		if (rel == SB_NEWER ||
		    (rel == SB_SAME && f[i].sb.next_id > f[best].sb.next_id))
			best = i;
	}
	return best < 0 ? -ENOENT : best;
}

static int place_mirror(struct volume *v, struct found *f)
{
	int m = superblock_find_member(&v->sb, f->sb.mirror_id);
	struct member *mem = m >= 0 ? &v->sb.members[m] : NULL;

	if (!mem || mem->state == MEMBER_REMOVED) {
		log_error("%s: no member of the volume (removed earlier)", f->m.path);
		return -EINVAL;
	}
	if (v->m[m].path) {
		log_error("%s and %s claim to be the same mirror: one is a copy of the other",
			  v->m[m].path, f->m.path);
		return -EINVAL;
	}
	if (f->clone && !v->opt.clone) {
		log_error("%s: a copy of a mirror, not the original (file system or directory "
			  "differ); -o clone takes it, after comparing all of it", f->m.path);
		return -EINVAL;
	}
	if (f->clone && mem->state == MEMBER_IN_SYNC) {
		mem->state = MEMBER_STALE;
		snprintf(mem->reason, sizeof(mem->reason), "copied to a new place");
	}
	/* An older state of a mirror (a backup, a disk put away) is no equal,
	 * whatever the newest one says of the member. */
	if (mem->state == MEMBER_IN_SYNC && superblock_compare(&f->sb, &v->sb) == SB_OLDER) {
		mem->state = MEMBER_STALE;
		snprintf(mem->reason, sizeof(mem->reason), "holds an older state");
	}
	v->m[m] = f->m;
	snprintf(mem->path, sizeof(mem->path), "%s", f->m.path);
	f->m.path = NULL;
	f->m.rootfd = f->m.dotfd = -1;
	return 0;
}

/* Members of the newest state that were not found. */
static int check_absent(struct volume *v)
{
	for (unsigned m = 0; m < v->n; m++) {
		struct member *mem = &v->sb.members[m];
		char id[UUID_TEXT];

		if (v->m[m].dotfd >= 0 || mem->state == MEMBER_REMOVED)
			continue;
		uuid_format(mem->id, id);
		if (!v->opt.degraded) {
			log_error("mirror %s (last seen at %s) is missing; "
				  "-o degraded goes on without it", id, mem->path);
			return -ENOENT;
		}
		log_warn("mirror %s (last seen at %s) is missing: degraded", id, mem->path);
		if (mem->state == MEMBER_IN_SYNC) {
			mem->state = MEMBER_STALE;
			mem->since = v->sb.epoch;
			snprintf(mem->reason, sizeof(mem->reason), "missing at mount");
			v->epoch_changed = true;
		}
	}
	return 0;
}

static int set_members(struct volume *v, struct found *f, int n)
{
	uint32_t set = 0;
	int r = 0;

	v->n = v->sb.n_members;
	for (int i = 0; r == 0 && i < n; i++)
		if (f[i].have)
			r = place_mirror(v, &f[i]);
	if (r == 0)
		r = check_absent(v);
	if (r < 0)
		return r;
	for (unsigned m = 0; m < v->n; m++)
		if (v->m[m].dotfd >= 0 && v->sb.members[m].state == MEMBER_IN_SYNC)
			set |= 1u << m;
	for (int i = 0; i < n; i++) {
		int m = f[i].have ? superblock_find_member(&v->sb, f[i].sb.mirror_id) : -1;

		if (m >= 0 && set & 1u << m)
			v->unclean |= !f[i].sb.clean;
	}
	if (!set) {
		log_error("none of the given mirrors is in sync; the newest state is elsewhere");
		return -EINVAL;
	}
	atomic_store(&v->in_sync, set);
	return 0;
}

static int start_session(struct volume *v)
{
	uint32_t set = volume_in_sync(v);
	int r = 0;

	atomic_store(&v->next_id, v->sb.next_id);
	FOR_EACH_BIT(m, set)
		event_log_attach(&v->events, (int)m, v->opt.read_only ? -1 : v->m[m].dotfd);
	if (v->opt.read_only)
		return 0;
	v->sb.clean = false;
	v->sb.features_ro |= SUPERBLOCK_RO_JOURNAL;
	v->sb.next_id += ID_RESERVE;
	if (v->epoch_changed)
		superblock_new_epoch(&v->sb);
	r = volume_store_superblocks(v, set);
	if (r < 0)
		return log_err(r, "no mirror can be written");
	atomic_store(&v->id_limit, v->sb.next_id);
	for (unsigned m = 0; m < v->n; m++)
		if (v->m[m].dotfd >= 0)
			v->m[m].has_quarantine = quarantine_open(&v->m[m].quarantine,
				v->m[m].dotfd, v->opt.quarantine_limit) == 0;
	return 0;
}

static int start_parts(struct volume *v)
{
	int r = tree_create(v, v->opt.max_nodes);

	if (r == 0)
		dir_init(v);
	if (r == 0)
		r = dirfd_init(v, DIRFD_MAX);
	if (r == 0)
		r = seal_init(v);
	if (r == 0)
		r = resync_init(v);
	if (r == 0)
		r = remotes_init(v);
	return r;
}

/* A freeze must not wait for ever on a stream of changes. Nobody takes the
 * gate twice. */
static void gate_init(pthread_rwlock_t *gate)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(gate, &attr);
	pthread_rwlockattr_destroy(&attr);
}

static struct volume *volume_alloc(const struct volume_options *o)
{
	struct volume *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->opt = *o;
	for (int m = 0; m < MAX_MIRRORS; m++)
		v->m[m].rootfd = v->m[m].dotfd = -1;
	pthread_mutex_init(&v->sb_lock, NULL);
	gate_init(&v->gate);
	event_log_init(&v->events);
	clock_gettime(CLOCK_MONOTONIC, &v->opened);
	return v;
}

static void volume_free(struct volume *v)
{
	remotes_fini(v);
	resync_fini(v);
	seal_fini(v);
	tree_destroy(v);
	dirfd_fini(v);
	recovery_free(v);
	journal_close(v);
	for (unsigned m = 0; m < MAX_MIRRORS; m++) {
		if (v->m[m].has_quarantine)
			quarantine_close(&v->m[m].quarantine);
		if (v->m[m].dotfd >= 0)
			close(v->m[m].dotfd);
		if (v->m[m].rootfd >= 0)
			close(v->m[m].rootfd);
		free(v->m[m].path);
	}
	pthread_mutex_destroy(&v->sb_lock);
	pthread_rwlock_destroy(&v->gate);
	free(v);
}

static int open_found(int n, const char *const *dirs, struct volume *v)
{
	struct found f[MAX_MIRRORS];
	int r = 0, i, newest;

	for (i = 0; r == 0 && i < n; i++)
		r = found_open(dirs[i], &f[i]);
	n = i;
	if (r == 0)
		r = check_strangers(f, n, v->opt.degraded);
	if (r == 0) {
		newest = find_newest(f, n);
		r = newest < 0 ? newest : 0;
	}
	if (r == 0) {
		v->sb = f[newest].sb;
		if (v->sb.adopting && !v->opt.adopting) {
			bool restoring = v->sb.members[0].state == MEMBER_STALE;

			log_error("the %s of %s has not finished; run 'mirrorctl %s' again as "
				  "before", restoring ? "restoring" : "adoption",
				  f[newest].m.path, restoring ? "restore" : "init --adopt");
			r = -EINVAL;
		}
	}
	if (r == 0 && !v->opt.read_only && v->sb.features_ro & ~(uint64_t)SUPERBLOCK_FEATURES_RO) {
		log_error("the volume has features (%#llx) that this version may only read; "
			  "-o ro", (unsigned long long)v->sb.features_ro);
		r = -EROFS;
	}
	if (r == 0)
		r = set_members(v, f, n);
	for (i = 0; i < n; i++)
		found_close(&f[i]);
	return r;
}

/* The kernel asks for the root's attributes once and keeps them. */
static int look_at_root(struct volume *v)
{
	struct dir *d = dir_get(v, NODE_ROOT);
	int r = d ? dir_load(v, d) : -ENOMEM;

	if (d)
		dir_put(v, d);
	return r;
}

/* A mirror whose very directory is gone is missing, too. Returns how many of
 * dirs are left in *there. */
static int existing_dirs(int n, const char *const *dirs, bool degraded, const char **there)
{
	int k = 0;

	for (int i = 0; i < n && i < MAX_MIRRORS; i++) {
		if (access(dirs[i], F_OK) < 0 && errno == ENOENT) {
			if (!degraded)
				return log_err(-ENOENT, "mirror %s (-o degraded goes on without it)",
					       dirs[i]);
			log_warn("%s: no such directory: going on without this mirror", dirs[i]);
			continue;
		}
		there[k++] = dirs[i];
	}
	return k;
}

int volume_open(int n, const char *const *dirs, const struct volume_options *o,
		struct volume **out)
{
	const char *there[MAX_MIRRORS];
	struct volume *v;
	int r;

	n = existing_dirs(n, dirs, o->degraded, there);
	if (n < 0)
		return n;
	dirs = there;
	r = init_check_dirs(n, dirs);
	if (r < 0)
		return r;
	v = volume_alloc(o);
	if (!v)
		return log_err(-ENOMEM, "volume");
	r = open_found(n, dirs, v);
	if (r == 0) /* before the superblocks say that this session is under way */
		r = journal_open(v, volume_in_sync(v), !o->read_only);
	if (r == 0)
		r = start_session(v);
	if (r == 0 && v->unclean)
		r = recovery_load(v);
	if (r == 0 && v->recovery)
		r = recovery_names(v);
	if (r == 0)
		r = start_parts(v);
	if (r == 0)
		r = look_at_root(v);
	if (r < 0) {
		volume_free(v);
		return r;
	}
	*out = v;
	return 0;
}

/* Syncs every in-sync mirror before the clean mark may be believed. */
static int sync_all(struct volume *v)
{
	int r = 0;

	FOR_EACH_BIT(m, volume_in_sync(v))
		if (syncfs(v->m[m].rootfd) < 0) {
			r = -errno;
			volume_eject(v, 1u << m, errno, "syncfs", NULL);
		}
	return r;
}

int volume_close(struct volume *v)
{
	int r = 0;

	atomic_store(&v->stopping, true);
	remotes_stop(v);
	seal_stop(v); /* it notes for the resync what it seals */
	resync_fini(v);
	if (!v->opt.read_only) {
		r = seal_run(v, true);
		if (r == 0)
			r = sync_all(v);
		v->sb.clean = r == 0 && seal_pending(v) == 0 && !recovery_pending(v);
		v->sb.next_id = atomic_load(&v->next_id);
		volume_store_superblocks(v, volume_in_sync(v));
	}
	tree_forget_all(v);
	volume_free(v);
	fan_stop();
	return r;
}
