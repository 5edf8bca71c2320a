/* SPDX-License-Identifier: GPL-2.0-or-later */
/* States of the members, file ids, quarantine: the volume once it is open.
 * Opening and closing are in volume_open.c. */
#include "replica/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "replica/base/log.h"
#include "replica/remote/remote.h"

static const char *const counter_name[CNT_MAX] = {
	[CNT_LEAVES_BAD] = "leaves_bad",
	[CNT_LEAVES_REPAIRED] = "leaves_repaired",
	[CNT_FILES_REPAIRED] = "files_repaired",
	[CNT_UNVERIFIED] = "unverified",
	[CNT_UNCORRECTED] = "uncorrected",
	[CNT_FOREIGN] = "foreign",
	[CNT_QUARANTINED] = "quarantined",
	[CNT_EJECTED] = "ejected",
	[CNT_RECORDS_REPAIRED] = "records_repaired",
	[CNT_READ_ERRORS] = "read_errors",
	[CNT_SETTLED] = "settled",
	[CNT_ADOPTED] = "adopted",
};

const char *volume_counter_name(enum counter c)
{
	return counter_name[c];
}

void volume_count(struct volume *v, enum counter c, uint64_t n)
{
	atomic_fetch_add_explicit(&v->counter[c], n, memory_order_relaxed);
}

const char *volume_path(const struct volume *v, int m)
{
	return v->m[m].path ? v->m[m].path : v->sb.members[m].path;
}

int volume_preferred(const struct volume *v, uint64_t id)
{
	uint32_t mask = volume_in_sync(v);
	unsigned skip, n = (unsigned)__builtin_popcount(mask);

	if (n == 0)
		return 0;
	skip = (unsigned)((id * 0x9e3779b97f4a7c15ull) >> 40) % n;
	while (skip--)
		mask &= mask - 1;
	return __builtin_ctz(mask);
}

/* Writes the shared superblock to every mirror in mask; returns those that
 * took it. sb_lock held. */
static uint32_t write_superblocks(struct volume *v, uint32_t mask)
{
	uint32_t done = 0;

	FOR_EACH_BIT(m, mask) {
		struct superblock sb = v->sb;
		int r;

		memcpy(sb.mirror_id, v->m[m].id, UUID_LEN);
		sb.fs_id = v->m[m].fs_id;
		sb.dir_ino = v->m[m].dir_ino;
		sb.seq = v->m[m].sb_seq;
		r = superblock_write(v->m[m].dotfd, &sb);
		if (r < 0) {
			log_err(r, "%s: cannot write the superblock", volume_path(v, (int)m));
			continue;
		}
		v->m[m].sb_seq = sb.seq;
		done |= 1u << m;
	}
	return done;
}

/* All in-sync members must take the superblock; one that does not leaves the
 * set, which makes another epoch, until it holds. sb_lock held. */
static int store_epoch(struct volume *v, uint32_t set)
{
	for (;;) {
		uint32_t done = write_superblocks(v, set);

		if (done == set)
			break;
		if (!done)
			return -EIO;
		FOR_EACH_BIT(m, set & ~done) {
			v->sb.members[m].state = MEMBER_STALE;
			v->sb.members[m].since = v->sb.epoch;
			snprintf(v->sb.members[m].reason, sizeof(v->sb.members[m].reason),
				 "superblock could not be written");
			volume_count(v, CNT_EJECTED, 1);
		}
		superblock_new_epoch(&v->sb);
		set = done;
	}
	atomic_store(&v->in_sync, set);
	return 0;
}

int volume_store_superblocks(struct volume *v, uint32_t set)
{
	int r;

	pthread_mutex_lock(&v->sb_lock);
	r = store_epoch(v, set);
	pthread_mutex_unlock(&v->sb_lock);
	return r;
}

uint64_t volume_new_id(struct volume *v)
{
	uint64_t id = atomic_fetch_add(&v->next_id, 1);

	while (id >= atomic_load(&v->id_limit)) {
		int r = 0;

		pthread_mutex_lock(&v->sb_lock);
		if (id >= atomic_load(&v->id_limit)) {
			v->sb.next_id = id + (1u << 20);
			r = store_epoch(v, volume_in_sync(v));
			if (r == 0)
				atomic_store(&v->id_limit, v->sb.next_id);
		}
		pthread_mutex_unlock(&v->sb_lock);
		if (r < 0)
			return 0;
	}
	return id;
}

void volume_eject(struct volume *v, uint32_t mask, int err, const char *what, const char *path)
{
	bool full = err == ENOSPC || err == EDQUOT;
	uint32_t set;

	pthread_mutex_lock(&v->sb_lock);
	set = volume_in_sync(v);
	mask &= set;
	if (mask == set && mask) {
		log_error("%s failed on the last mirrors (%s); they stay in use", what,
			  strerror(err));
		mask = 0;
	}
	if (!mask) {
		pthread_mutex_unlock(&v->sb_lock);
		return;
	}
	FOR_EACH_BIT(m, mask) {
		v->sb.members[m].state = full ? MEMBER_FULL : MEMBER_STALE;
		v->sb.members[m].since = v->sb.epoch;
		snprintf(v->sb.members[m].reason, sizeof(v->sb.members[m].reason), "%s: %s",
			 what, strerror(err));
		volume_count(v, CNT_EJECTED, 1);
	}
	superblock_new_epoch(&v->sb);
	if (store_epoch(v, set & ~mask) < 0)
		log_error("no mirror takes the new epoch; the exclusion is not durable");
	pthread_mutex_unlock(&v->sb_lock);
	FOR_EACH_BIT(m, mask) {
		char found[160];
		struct event e = { .action = "ejected", .path = path,
				   .member = volume_path(v, (int)m), .found = found };

		snprintf(found, sizeof(found), "%s: %s", what, strerror(err));
		event_log_detach(&v->events, (int)m);
		event_emit(&v->events, &e);
	}
}

int volume_admit(struct volume *v, int m)
{
	int r;

	pthread_mutex_lock(&v->sb_lock);
	v->sb.members[m].state = MEMBER_IN_SYNC;
	v->sb.members[m].since = 0;
	v->sb.members[m].reason[0] = '\0';
	superblock_new_epoch(&v->sb);
	r = store_epoch(v, volume_in_sync(v) | 1u << m);
	if (r == 0 && !(volume_in_sync(v) & 1u << m))
		r = -EIO;
	pthread_mutex_unlock(&v->sb_lock);
	if (r == 0) {
		struct event e = { .action = "in-sync", .member = volume_path(v, m),
				   .found = "equal to the others again" };

		event_log_attach(&v->events, m, v->m[m].dotfd);
		event_emit(&v->events, &e);
		remotes_joined(v, m);
	}
	return r;
}

uint32_t volume_begin_resync(struct volume *v, uint32_t mask)
{
	uint32_t done;

	pthread_mutex_lock(&v->sb_lock);
	FOR_EACH_BIT(m, mask)
		v->sb.members[m].state = MEMBER_RESYNCING;
	done = write_superblocks(v, mask);
	FOR_EACH_BIT(m, mask & ~done)
		v->sb.members[m].state = MEMBER_STALE;
	pthread_mutex_unlock(&v->sb_lock);
	return done;
}

void volume_set_state(struct volume *v, int m, enum member_state s, const char *reason)
{
	pthread_mutex_lock(&v->sb_lock);
	v->sb.members[m].state = s;
	if (reason)
		snprintf(v->sb.members[m].reason, sizeof(v->sb.members[m].reason), "%s", reason);
	pthread_mutex_unlock(&v->sb_lock);
}

enum member_state volume_member(struct volume *v, int m, char reason[128])
{
	enum member_state s;

	pthread_mutex_lock(&v->sb_lock);
	s = v->sb.members[m].state;
	if (reason)
		memcpy(reason, v->sb.members[m].reason, 128);
	pthread_mutex_unlock(&v->sb_lock);
	if (v->m[m].dotfd < 0 && s != MEMBER_REMOVED)
		s = MEMBER_ABSENT;
	return s;
}

const char *volume_health(struct volume *v)
{
	const char *health = "ok";

	for (unsigned m = 0; m < v->n; m++) {
		enum member_state s = volume_member(v, (int)m, NULL);

		if (s == MEMBER_RESYNCING)
			return "resyncing";
		if (s != MEMBER_IN_SYNC && s != MEMBER_REMOVED)
			health = "degraded";
	}
	return health;
}

static int quarantine_on(struct volume *v, int m, const struct quarantine_note *note,
			 const void *buf, size_t len)
{
	int r = v->m[m].has_quarantine ?
		quarantine_bytes(&v->m[m].quarantine, note, buf, len) : -EROFS;

	if (r == 0)
		volume_count(v, CNT_QUARANTINED, 1);
	return r;
}

/* Bytes go to a healthy mirror other than the one they come from, and to that
 * one before nowhere: the others may be full. */
int volume_quarantine_bytes(struct volume *v, int bad, const struct quarantine_note *note,
			    const void *buf, size_t len)
{
	int r = -EROFS;

	FOR_EACH_BIT(m, volume_in_sync(v) & ~(1u << bad)) {
		r = quarantine_on(v, (int)m, note, buf, len);
		if (r == 0)
			return 0;
	}
	return quarantine_on(v, bad, note, buf, len) == 0 ? 0 : r;
}

int volume_quarantine_move(struct volume *v, int m, const struct quarantine_note *note,
			   int parentfd, const char *name)
{
	int fd, r;

	if (!v->m[m].has_quarantine)
		return -EROFS;
	/* An O_PATH descriptor cannot be synced. */
	fd = openat(parentfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = quarantine_move(&v->m[m].quarantine, note, fd, name);
	close(fd);
	if (r == 0)
		volume_count(v, CNT_QUARANTINED, 1);
	return r;
}
