/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Superblocks. A slot is self-contained and checksummed; the file holds two,
 * and only the one that does not hold the newest valid state is ever written,
 * so a write cut short leaves the state before it. Magic, version, sequence
 * and checksum keep their places in every version to come. No locks: the
 * caller writes one superblock at a time.
 */
#include "replica/superblock.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/hash.h"

#define FILE_NAME "volume"
#define SLOTS 2
#define INCOMPAT_KNOWN 0ULL

#define AT_SEQ 16
#define AT_CHECK (SUPERBLOCK_SLOT - 8)

static const char magic[8] = "MIRRORFS";

enum slot_flags {
	FLAG_CLEAN = 1 << 0,
	FLAG_ADOPTING = 1 << 1,
	FLAGS_KNOWN = 3,
};

/* A place in a slot. bad: something did not fit, or lay beyond the end; from
 * then on nothing is written and zeros are read. */
struct cursor {
	uint8_t *p;
	size_t at;
	bool bad;
};

static uint8_t *take(struct cursor *c, size_t n)
{
	uint8_t *p = c->p + c->at;

	if (c->bad || n > AT_CHECK - c->at) {
		c->bad = true;
		return NULL;
	}
	c->at += n;
	return p;
}

static void put(struct cursor *c, const void *data, size_t n)
{
	uint8_t *p = take(c, n);

	if (p && n)
		memcpy(p, data, n);
}

static void get(struct cursor *c, void *data, size_t n)
{
	const uint8_t *p = take(c, n);

	if (p)
		memcpy(data, p, n);
	else
		memset(data, 0, n);
}

static void put64(struct cursor *c, uint64_t v)
{
	v = htole64(v);
	put(c, &v, sizeof(v));
}

static uint64_t get64(struct cursor *c)
{
	uint64_t v;

	get(c, &v, sizeof(v));
	return le64toh(v);
}

static void put32(struct cursor *c, uint32_t v)
{
	v = htole32(v);
	put(c, &v, sizeof(v));
}

static uint32_t get32(struct cursor *c)
{
	uint32_t v;

	get(c, &v, sizeof(v));
	return le32toh(v);
}

/* Strings: one byte of length (all fields are shorter than 256), the bytes. */
static void put_text(struct cursor *c, const char *s, size_t field)
{
	uint8_t len = (uint8_t)strnlen(s, field - 1);

	put(c, &len, 1);
	put(c, s, len);
}

static void get_text(struct cursor *c, char *s, size_t field)
{
	uint8_t len;

	get(c, &len, 1);
	if (len >= field) {
		c->bad = true;
		len = 0;
	}
	memset(s, 0, field);
	get(c, s, len);
	if (strlen(s) != len)
		c->bad = true;
}

const char *member_state_name(enum member_state s)
{
	static const char *const names[] = {
		[MEMBER_IN_SYNC] = "in-sync",
		[MEMBER_STALE] = "stale",
		[MEMBER_RESYNCING] = "resyncing",
		[MEMBER_ABSENT] = "absent",
		[MEMBER_FULL] = "full",
		[MEMBER_REMOVED] = "removed",
	};

	return (unsigned)s <= MEMBER_REMOVED ? names[s] : "unknown";
}

static uint64_t check_of(const uint8_t *slot)
{
	return htole64(hash_bytes(slot, AT_CHECK, 0));
}

static void put_header(struct cursor *c, const struct superblock *sb)
{
	put(c, magic, sizeof(magic));
	put32(c, SUPERBLOCK_VERSION);
	put32(c, (sb->clean ? FLAG_CLEAN : 0u) | (sb->adopting ? FLAG_ADOPTING : 0u));
	put64(c, sb->seq);
	put64(c, sb->features_incompat);
	put64(c, sb->features_ro);
	put(c, sb->volume_id, UUID_LEN);
	put(c, sb->mirror_id, UUID_LEN);
	put64(c, sb->fs_id);
	put64(c, sb->dir_ino);
	put64(c, sb->epoch);
	put(c, sb->generation, UUID_LEN);
	put64(c, sb->next_id);
	put32(c, sb->n_members);
	put32(c, sb->n_lineage);
}

static void put_member(struct cursor *c, const struct member *m)
{
	uint8_t state = (uint8_t)m->state;

	put(c, m->id, UUID_LEN);
	put(c, &state, 1);
	put64(c, m->since);
	put_text(c, m->path, sizeof(m->path));
	put_text(c, m->reason, sizeof(m->reason));
}

int superblock_encode(const struct superblock *sb, uint8_t out[SUPERBLOCK_SLOT])
{
	struct cursor c = { .p = out };
	uint64_t check;
	uint32_t i;

	if (sb->n_members > SUPERBLOCK_MAX_MEMBERS || sb->n_lineage > SUPERBLOCK_LINEAGE)
		return -E2BIG;
	memset(out, 0, SUPERBLOCK_SLOT);
	put_header(&c, sb);
	for (i = 0; i < sb->n_lineage; i++) {
		put64(&c, sb->lineage[i].epoch);
		put(&c, sb->lineage[i].generation, UUID_LEN);
	}
	for (i = 0; i < sb->n_members; i++)
		put_member(&c, &sb->members[i]);
	if (c.bad)
		return -E2BIG;
	check = check_of(out);
	memcpy(out + AT_CHECK, &check, sizeof(check));
	return 0;
}

static void get_header(struct cursor *c, struct superblock *sb)
{
	sb->seq = get64(c);
	sb->features_incompat = get64(c);
	sb->features_ro = get64(c);
	get(c, sb->volume_id, UUID_LEN);
	get(c, sb->mirror_id, UUID_LEN);
	sb->fs_id = get64(c);
	sb->dir_ino = get64(c);
	sb->epoch = get64(c);
	get(c, sb->generation, UUID_LEN);
	sb->next_id = get64(c);
	sb->n_members = get32(c);
	sb->n_lineage = get32(c);
}

static void get_member(struct cursor *c, struct member *m)
{
	uint8_t state;

	get(c, m->id, UUID_LEN);
	get(c, &state, 1);
	if (state > MEMBER_REMOVED)
		c->bad = true;
	m->state = (enum member_state)state;
	m->since = get64(c);
	get_text(c, m->path, sizeof(m->path));
	get_text(c, m->reason, sizeof(m->reason));
}

static int get_lists(struct cursor *c, struct superblock *sb)
{
	uint32_t i;

	if (sb->n_members > SUPERBLOCK_MAX_MEMBERS || sb->n_lineage > SUPERBLOCK_LINEAGE)
		return -EINVAL;
	for (i = 0; i < sb->n_lineage; i++) {
		sb->lineage[i].epoch = get64(c);
		get(c, sb->lineage[i].generation, UUID_LEN);
	}
	for (i = 0; i < sb->n_members; i++)
		get_member(c, &sb->members[i]);
	return c->bad ? -EINVAL : 0;
}

/* Magic and checksum, which hold for slots of any version. */
static bool slot_intact(const uint8_t in[SUPERBLOCK_SLOT])
{
	uint64_t check = check_of(in);

	return memcmp(in, magic, sizeof(magic)) == 0 &&
	       memcmp(in + AT_CHECK, &check, sizeof(check)) == 0;
}

int superblock_decode(const uint8_t in[SUPERBLOCK_SLOT], struct superblock *sb)
{
	uint8_t copy[SUPERBLOCK_SLOT];
	struct cursor c = { .p = copy, .at = sizeof(magic) };
	struct superblock got = { 0 };
	uint32_t version, flags;
	int ret;

	memcpy(copy, in, sizeof(copy));
	if (!slot_intact(copy))
		return -EINVAL;
	version = get32(&c);
	flags = get32(&c);
	if (version != SUPERBLOCK_VERSION)
		return -EPROTONOSUPPORT;
	get_header(&c, &got);
	if (got.features_incompat & ~INCOMPAT_KNOWN)
		return -EPROTONOSUPPORT;
	if (flags & ~(uint32_t)FLAGS_KNOWN)
		return -EINVAL;
	got.clean = flags & FLAG_CLEAN;
	got.adopting = flags & FLAG_ADOPTING;
	ret = get_lists(&c, &got);
	if (!ret)
		*sb = got;
	return ret;
}

/* What the file holds. A missing part counts as zeros, which is no slot. */
struct slots {
	uint8_t bytes[SLOTS][SUPERBLOCK_SLOT];
	struct superblock sb; /* of the newest, when err is 0 */
	int newest;           /* -1: none is valid */
	int err;              /* of decoding the newest */
	uint64_t seq;         /* of the newest */
};

/*
 * The newest slot with good checksum counts even if it is of a version or
 * feature not known here: going back to the older one would undo what a newer
 * program wrote. One with impossible fields is as good as torn.
 */
static void pick_newest(struct slots *s)
{
	struct superblock sb;
	int i;

	s->newest = -1;
	s->err = -EINVAL;
	for (i = 0; i < SLOTS; i++) {
		int err = superblock_decode(s->bytes[i], &sb);
		struct cursor c = { .p = s->bytes[i], .at = AT_SEQ };
		uint64_t seq = get64(&c);

		if (err == -EINVAL || (s->newest >= 0 && seq <= s->seq))
			continue;
		s->newest = i;
		s->err = err;
		s->seq = seq;
		if (!err)
			s->sb = sb;
	}
}

static int read_slots(int fd, struct slots *s)
{
	ssize_t n = io_pread_full(fd, s->bytes, sizeof(s->bytes), 0);

	if (n < 0)
		return (int)n;
	memset((uint8_t *)s->bytes + n, 0, sizeof(s->bytes) - (size_t)n);
	pick_newest(s);
	return 0;
}

int superblock_read(int dotfd, struct superblock *sb)
{
	CLEANUP_CLOSE int fd = openat(dotfd, FILE_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct slots s;
	int ret;

	if (fd < 0)
		return -errno;
	ret = read_slots(fd, &s);
	if (!ret)
		ret = s.err;
	if (!ret)
		*sb = s.sb;
	return ret;
}

static void cut_texts(struct superblock *sb, size_t path, size_t reason)
{
	uint32_t i;

	for (i = 0; i < sb->n_members; i++) {
		sb->members[i].path[path] = '\0';
		sb->members[i].reason[reason] = '\0';
	}
}

/* Paths and reasons are hints for people. With many members and long texts
 * they do not all fit; writing down who is in sync must not fail for that. */
static int encode_fitting(const struct superblock *sb, uint8_t out[SUPERBLOCK_SLOT])
{
	struct superblock cut = *sb;
	int ret = superblock_encode(&cut, out);

	if (ret != -E2BIG || sb->n_members > SUPERBLOCK_MAX_MEMBERS)
		return ret;
	cut_texts(&cut, sizeof(cut.members[0].path) - 1, 40);
	ret = superblock_encode(&cut, out);
	if (ret != -E2BIG)
		return ret;
	cut_texts(&cut, 120, 40);
	return superblock_encode(&cut, out);
}

static int write_slot(int fd, int slot, const uint8_t bytes[SUPERBLOCK_SLOT])
{
	struct stat st;
	int ret = io_pwrite_full(fd, bytes, SUPERBLOCK_SLOT, (off_t)slot * SUPERBLOCK_SLOT, NULL);

	if (ret)
		return ret;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size != SLOTS * SUPERBLOCK_SLOT && ftruncate(fd, SLOTS * SUPERBLOCK_SLOT) < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0; /* a failed sync is never retried */
}

/* A new file appears whole under its name or not at all: an empty one would
 * be a damaged mirror instead of an absent one. */
static int write_first(int dotfd, const struct superblock *sb)
{
	uint8_t both[SLOTS * SUPERBLOCK_SLOT] = { 0 };
	int ret = encode_fitting(sb, both);

	return ret ? ret : io_replace_file(dotfd, FILE_NAME, both, sizeof(both), 0600);
}

static int write_next(int fd, struct superblock *next)
{
	uint8_t bytes[SUPERBLOCK_SLOT];
	struct slots s;
	int ret = read_slots(fd, &s);

	if (ret)
		return ret;
	if (s.err == -EPROTONOSUPPORT)
		return s.err;
	if (s.newest >= 0 && s.seq >= next->seq)
		next->seq = s.seq + 1;
	ret = encode_fitting(next, bytes);
	return ret ? ret : write_slot(fd, s.newest == 0 ? 1 : 0, bytes);
}

int superblock_write(int dotfd, struct superblock *sb)
{
	CLEANUP_CLOSE int fd = openat(dotfd, FILE_NAME, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	struct superblock next = *sb;
	int ret;

	if (fd < 0 && errno != ENOENT)
		return -errno;
	next.seq++;
	ret = fd < 0 ? write_first(dotfd, &next) : write_next(fd, &next);
	if (!ret)
		sb->seq = next.seq;
	return ret;
}

/* Whether the epoch may be the head of a member that is out of sync. Such
 * entries stay in the lineage, or a long absence would look like split-brain. */
static bool epoch_needed(const struct superblock *sb, uint64_t epoch)
{
	uint32_t i;

	for (i = 0; i < sb->n_members && i < SUPERBLOCK_MAX_MEMBERS; i++) {
		const struct member *m = &sb->members[i];

		if (m->state == MEMBER_IN_SYNC || m->state == MEMBER_REMOVED || !m->since)
			continue;
		if (epoch == m->since || epoch + 1 == m->since)
			return true;
	}
	return false;
}

/* The oldest lineage entry nobody needs; the oldest, if all are needed. */
static uint32_t lineage_victim(const struct superblock *sb)
{
	uint32_t i;

	for (i = SUPERBLOCK_LINEAGE; i-- > 0;)
		if (!epoch_needed(sb, sb->lineage[i].epoch))
			return i;
	return SUPERBLOCK_LINEAGE - 1;
}

void superblock_new_epoch(struct superblock *sb)
{
	uint32_t drop;

	if (sb->n_lineage < SUPERBLOCK_LINEAGE)
		drop = sb->n_lineage++;
	else
		drop = lineage_victim(sb);
	memmove(&sb->lineage[1], &sb->lineage[0], drop * sizeof(sb->lineage[0]));
	sb->lineage[0].epoch = sb->epoch;
	memcpy(sb->lineage[0].generation, sb->generation, UUID_LEN);
	sb->epoch++;
	uuid_new(sb->generation);
}

static bool is_ancestor(const struct superblock *old, const struct superblock *of)
{
	uint32_t i;

	for (i = 0; i < of->n_lineage && i < SUPERBLOCK_LINEAGE; i++)
		if (of->lineage[i].epoch == old->epoch &&
		    memcmp(of->lineage[i].generation, old->generation, UUID_LEN) == 0)
			return true;
	return false;
}

enum sb_relation superblock_compare(const struct superblock *a, const struct superblock *b)
{
	if (memcmp(a->volume_id, b->volume_id, UUID_LEN) != 0)
		return SB_FOREIGN;
	if (memcmp(a->generation, b->generation, UUID_LEN) == 0)
		return SB_SAME;
	if (is_ancestor(a, b))
		return SB_OLDER;
	if (is_ancestor(b, a))
		return SB_NEWER;
	return SB_DIVERGED;
}

int superblock_find_member(const struct superblock *sb, const uint8_t id[UUID_LEN])
{
	uint32_t i;

	for (i = 0; i < sb->n_members && i < SUPERBLOCK_MAX_MEMBERS; i++)
		if (memcmp(sb->members[i].id, id, UUID_LEN) == 0)
			return (int)i;
	return -1;
}

/* RFC 4122, version 4. */
void uuid_new(uint8_t id[UUID_LEN])
{
	io_random(id, UUID_LEN);
	id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
	id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

void uuid_format(const uint8_t id[UUID_LEN], char out[UUID_TEXT])
{
	size_t i, at = 0;

	for (i = 0; i < UUID_LEN; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[at++] = '-';
		snprintf(out + at, 3, "%02x", id[i]);
		at += 2;
	}
}
