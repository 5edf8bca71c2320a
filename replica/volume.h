/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The volume: its mirrors, their states, and what all engines share.
 *
 * A mirror's index is its place in the superblock's member table, not in the
 * list given at mount: the choice of a preferred mirror does not depend on
 * the order somebody typed.
 *
 * Locks, in the order in which they are taken:
 *   gate (shared by every change, exclusive to freeze changes)
 *   -> dir.lock (two of them: lower node first)
 *   -> file.lock
 *   -> position stripes of the tree (several: lower stripe first)
 *   -> tree.lock, dirfd cache lock
 *   -> sb_lock
 * No lock but `gate` is held when a reply is sent.
 */
#ifndef REPLICA_VOLUME_H
#define REPLICA_VOLUME_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "replica/event.h"
#include "replica/quarantine.h"
#include "replica/superblock.h"

#define MAX_MIRRORS SUPERBLOCK_MAX_MEMBERS
#define DOT_DIR ".mirrorfs"
#define ROOT_ID 1u
#define FIRST_ID 16u
#define DEFAULT_QUARANTINE_LIMIT (1ull << 30)

struct mirror {
	char *path;          /* as given, made absolute; NULL: absent */
	int rootfd;          /* O_RDONLY directory, -1: absent */
	int dotfd;           /* .mirrorfs in it, -1: absent */
	bool user_xattr;     /* the filesystem takes user.* xattrs */
	bool trusted_xattr;  /* ... and trusted.* from us */
	uint64_t sb_seq;     /* sequence of the superblock slot last written */
	uint64_t fs_id, dir_ino;
	uint8_t id[UUID_LEN];
	struct quarantine quarantine;
	bool has_quarantine;
	dev_t dev;
};

/* Counters that status shows; key names in volume_counter_name. */
enum counter {
	CNT_LEAVES_BAD,
	CNT_LEAVES_REPAIRED,
	CNT_FILES_REPAIRED,
	CNT_UNVERIFIED,
	CNT_UNCORRECTED,
	CNT_FOREIGN,
	CNT_QUARANTINED,
	CNT_EJECTED,
	CNT_RECORDS_REPAIRED,
	CNT_READ_ERRORS,
	CNT_SETTLED,   /* traces of an unclean end that were cleared away */
	CNT_ADOPTED,   /* leaves alike on all mirrors that no hash was known of */
	CNT_MAX,
};

struct volume_options {
	bool read_only;           /* change nothing at all, heal nothing */
	bool degraded;            /* members may be missing */
	uint64_t quarantine_limit;
	uint32_t max_nodes;       /* inode table */
	bool noatime;             /* never move atimes */
	bool strictatime;         /* at every first read of a handle */
	unsigned seal_ms;         /* period of the sealing thread */
	bool background;          /* start the sealing thread (tests may not) */
	bool clone;               /* take a copied mirror, as a stale one */
	bool adopting;            /* init --adopt goes on */
	bool strict;              /* journal flushed before every overwrite */
	/*
	 * Steps of the crash protocol that a test leaves out, to see that the
	 * crash tests notice. Built in with configure --enable-ablations only.
	 */
	struct {
		bool barrier;    /* intents are not flushed before an overwrite */
		bool checkpoint; /* leaf hashes are stored before their data is synced */
		bool verify;     /* old bytes are hashed anew without a check */
		bool seal;       /* records are sealed without a sync */
		bool commit;     /* versions older than a sync may come back */
	} ablate;
};

#ifdef ENABLE_ABLATIONS
#define ABLATED(v, what) ((v)->opt.ablate.what)
#else
#define ABLATED(v, what) ((void)(v), false)
#endif

struct tree;
struct files;
struct seal;
struct resync;
struct journal;
struct recovery;
struct dirfd_cache;
struct remotes;

struct volume {
	struct volume_options opt;
	unsigned n;                   /* members, present or not */
	struct mirror m[MAX_MIRRORS];

	pthread_mutex_t sb_lock;      /* sb and everything written from it */
	struct superblock sb;         /* shared state; mirror_id is per copy */
	_Atomic uint32_t in_sync;     /* bit m: read and written */
	_Atomic uint32_t targets;     /* bit m: being brought up to date */
	_Atomic uint64_t next_id;     /* next file id to hand out */
	_Atomic uint64_t id_limit;    /* ids below are reserved in the superblocks */

	pthread_rwlock_t gate;        /* see above */
	struct event_log events;
	_Atomic uint64_t counter[CNT_MAX];
	bool epoch_changed;           /* while opening: members are missing */
	_Atomic bool unclean;         /* the last session did not end in order */
	_Atomic bool scrubbing;
	_Atomic bool stopping;
	struct timespec opened;       /* CLOCK_MONOTONIC */

	struct tree *tree;
	struct seal *seal;
	struct resync *resync;
	struct journal *journal;
	_Atomic uint64_t noted;       /* end of the journal records that a sync waits for */
	struct recovery *recovery;  /* after an unclean end, until it is settled */
	struct dirfd_cache *dirfds;
	struct remotes *remotes;      /* see remote/remote.h */
	_Atomic bool has_remotes;     /* glanced at by each change */
};

void volume_options_default(struct volume_options *o);
/* Opens and locks the mirrors, picks the newest state, marks it unclean (not
 * when read-only). Logs one clear line on failure. dirs: n given directories. */
int volume_open(int n, const char *const *dirs, const struct volume_options *o,
		struct volume **out);
/* Settles everything, marks the superblocks clean, frees. 0, or the first
 * error met while settling (the volume is closed all the same). */
int volume_close(struct volume *v);

static inline uint32_t volume_in_sync(const struct volume *v)
{
	return atomic_load_explicit(&v->in_sync, memory_order_acquire);
}

/* In-sync members and those being brought up to date. */
static inline uint32_t volume_active(const struct volume *v)
{
	return volume_in_sync(v) | atomic_load(&v->targets);
}

/* The in-sync mirror whose copy of object id is read first. */
int volume_preferred(const struct volume *v, uint64_t id);
/* A fresh file id, or 0 if none can be reserved. */
uint64_t volume_new_id(struct volume *v);
/*
 * Members in `mask` missed something (err: why, positive errno): they leave
 * the in-sync set, durably on all others, before this returns. The last
 * in-sync member never leaves. what: "write", "fsync"...; path may be NULL.
 */
void volume_eject(struct volume *v, uint32_t mask, int err, const char *what, const char *path);
/* The members in mask are about to be changed, and are neither their old state
 * nor the new one until they are admitted: their own superblocks say so first.
 * Returns those that took it. */
uint32_t volume_begin_resync(struct volume *v, uint32_t mask);
/* Member m equals the others now: a new epoch with it. 0 or -errno. */
int volume_admit(struct volume *v, int m);
void volume_set_state(struct volume *v, int m, enum member_state s, const char *reason);
enum member_state volume_member(struct volume *v, int m, char reason[128]);
/* Writes the superblocks of the in-sync set; a mirror that does not take its
 * own leaves the set. -EIO: none took it. */
int volume_store_superblocks(struct volume *v, uint32_t set);
const char *volume_health(struct volume *v);
const char *volume_counter_name(enum counter c);
void volume_count(struct volume *v, enum counter c, uint64_t n);
const char *volume_path(const struct volume *v, int m);
/* Bad bytes or a bad object into the quarantine of another healthy mirror
 * (bytes), or of its own (objects). 0 or -errno: then do not overwrite. */
int volume_quarantine_bytes(struct volume *v, int bad, const struct quarantine_note *note,
			    const void *buf, size_t len);
int volume_quarantine_move(struct volume *v, int m, const struct quarantine_note *note,
			   int parentfd, const char *name);

/* for (m) over the bits of a mask */
#define FOR_EACH_BIT(m, mask) \
	for (uint32_t bits_##m = (mask), m; \
	     bits_##m && ((m = (uint32_t)__builtin_ctz(bits_##m)), 1); \
	     bits_##m &= bits_##m - 1)

#endif
