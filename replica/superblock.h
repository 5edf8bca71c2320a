/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The superblock of a mirror: file `.mirrorfs/volume`, two slots of 4 KiB
 * written in turn (the older one is overwritten), each with a sequence
 * number and a checksum, fsynced. The valid slot with the higher sequence
 * counts. Layout in docs/format.md.
 */
#ifndef REPLICA_SUPERBLOCK_H
#define REPLICA_SUPERBLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SUPERBLOCK_SLOT 4096
#define SUPERBLOCK_VERSION 1
#define SUPERBLOCK_RO_JOURNAL 1u /* after an unclean end the journals have to be read */
#define SUPERBLOCK_FEATURES_RO SUPERBLOCK_RO_JOURNAL /* known bits of features_ro */
#define SUPERBLOCK_MAX_MEMBERS 16
#define SUPERBLOCK_LINEAGE 32
#define UUID_LEN 16
#define UUID_TEXT 37

enum member_state {
	MEMBER_IN_SYNC,
	MEMBER_STALE,     /* missed something since `since` */
	MEMBER_RESYNCING,
	MEMBER_ABSENT,    /* not found at mount; never stored as such on itself */
	MEMBER_FULL,      /* stale because it had no space */
	MEMBER_REMOVED,
};
/* "in-sync", "stale", "resyncing", "absent", "full", "removed" */
const char *member_state_name(enum member_state s);

struct member {
	uint8_t id[UUID_LEN];
	enum member_state state;
	uint64_t since;      /* epoch at which it left the in-sync set, or 0 */
	char path[192];      /* where it was last mounted from; a hint for people */
	char reason[128];    /* one line: why it is not in-sync */
};

struct superblock {
	uint64_t seq;                     /* of the slot; set by superblock_write */
	uint64_t features_incompat;       /* unknown bit: refuse */
	uint64_t features_ro;             /* unknown bit: no read-write mount */
	uint8_t volume_id[UUID_LEN];
	uint8_t mirror_id[UUID_LEN];      /* which of members[] this copy is */
	uint64_t fs_id;                   /* of the filesystem that holds the mirror */
	uint64_t dir_ino;                 /* inode of the mirror's root directory */
	uint64_t epoch;
	uint8_t generation[UUID_LEN];     /* random, new for each epoch */
	uint64_t next_id;                 /* file ids from here on were never used */
	bool clean;                       /* unmounted in order */
	bool adopting;                    /* init --adopt has not finished */
	uint32_t n_members;
	struct member members[SUPERBLOCK_MAX_MEMBERS];
	uint32_t n_lineage;               /* earlier epochs, newest first */
	struct lineage {
		uint64_t epoch;
		uint8_t generation[UUID_LEN];
	} lineage[SUPERBLOCK_LINEAGE];
};

/* Pure encoding. The slot is zero-padded. -E2BIG if it does not fit. */
int superblock_encode(const struct superblock *sb, uint8_t out[SUPERBLOCK_SLOT]);
/* 0, -EINVAL (no magic, checksum, impossible field), -EPROTONOSUPPORT (version
 * or incompat feature unknown; the checksum is good). Never crashes on any bytes. */
int superblock_decode(const uint8_t in[SUPERBLOCK_SLOT], struct superblock *sb);

/* dotfd: the directory `.mirrorfs`. -ENOENT: no such file (the mirror is
 * absent); -EINVAL: no slot is valid; -EPROTONOSUPPORT. */
int superblock_read(int dotfd, struct superblock *sb);
/* Writes the slot not holding the newest valid one, with seq+1, and fsyncs
 * the file (and the directory when the file is new). sb->seq is raised. */
int superblock_write(int dotfd, struct superblock *sb);

/* Starts a new epoch: pushes (epoch, generation) on the lineage, epoch + 1,
 * fresh random generation. */
void superblock_new_epoch(struct superblock *sb);

/* How two superblocks of one volume stand to each other. */
enum sb_relation {
	SB_SAME,      /* same generation */
	SB_OLDER,     /* a is an ancestor of b */
	SB_NEWER,     /* b is an ancestor of a */
	SB_DIVERGED,  /* two heads: split-brain */
	SB_FOREIGN,   /* not of one volume */
};
enum sb_relation superblock_compare(const struct superblock *a, const struct superblock *b);

int superblock_find_member(const struct superblock *sb, const uint8_t id[UUID_LEN]);
void uuid_new(uint8_t id[UUID_LEN]);
void uuid_format(const uint8_t id[UUID_LEN], char out[UUID_TEXT]);

#endif
