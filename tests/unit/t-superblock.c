/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Superblocks: encoding, the two slots on disk, epochs and their lineage. */
#include "replica/superblock.h"

#include <endian.h>
#include <errno.h>

#include "replica/hash.h"
#include "tests/unit/tmpdir.h"

#define SLOT SUPERBLOCK_SLOT
#define CHECK_AT (SLOT - 8)

static struct superblock sample(int members)
{
	struct superblock sb = {
		.features_ro = 6, .fs_id = 0x1234567890abcdef, .dir_ino = 2, .epoch = 5,
		.next_id = 1ULL << 40, .clean = true, .n_members = (uint32_t)members,
		.n_lineage = 3,
	};
	int i;

	memset(sb.volume_id, 0xa1, UUID_LEN);
	memset(sb.mirror_id, 0, UUID_LEN);
	memset(sb.generation, 0xc3, UUID_LEN);
	for (i = 0; i < members; i++) {
		memset(sb.members[i].id, i, UUID_LEN);
		sb.members[i].state = (enum member_state)(i % (MEMBER_REMOVED + 1));
		sb.members[i].since = (uint64_t)i * 3;
		snprintf(sb.members[i].path, sizeof(sb.members[i].path), "/m/%d", i);
		snprintf(sb.members[i].reason, sizeof(sb.members[i].reason), "why %d", i);
	}
	for (i = 0; i < 3; i++) {
		sb.lineage[i].epoch = (uint64_t)(4 - i);
		memset(sb.lineage[i].generation, 0x10 + i, UUID_LEN);
	}
	return sb;
}

/* All bytes of both are set, padding aside, so encodings tell equality. */
static void assert_same(const struct superblock *a, const struct superblock *b)
{
	uint8_t x[SLOT], y[SLOT];

	assert_int_equal(superblock_encode(a, x), 0);
	assert_int_equal(superblock_encode(b, y), 0);
	assert_memory_equal(x, y, SLOT);
	assert_int_equal(a->clean, b->clean);
	assert_int_equal(a->adopting, b->adopting);
	assert_memory_equal(a->members, b->members, sizeof(a->members));
	assert_memory_equal(a->lineage, b->lineage, sizeof(a->lineage));
}

static void sign(uint8_t *slot)
{
	uint64_t h = htole64(hash_bytes(slot, CHECK_AT, 0));

	memcpy(slot + CHECK_AT, &h, sizeof(h));
}

static void round_trip(void **state)
{
	uint8_t slot[SLOT];
	int n;

	(void)state;
	for (n = 0; n <= SUPERBLOCK_MAX_MEMBERS; n++) {
		struct superblock a = sample(n), b;

		a.adopting = n & 1;
		a.clean = n & 2;
		a.seq = (uint64_t)n;
		assert_int_equal(superblock_encode(&a, slot), 0);
		memset(&b, 0xee, sizeof(b));
		assert_int_equal(superblock_decode(slot, &b), 0);
		assert_same(&a, &b);
		assert_true(b.fs_id == a.fs_id && b.next_id == a.next_id && b.seq == a.seq);
	}
}

static void too_much_to_fit(void **state)
{
	struct superblock sb = sample(16);
	uint8_t slot[SLOT];
	int i;

	(void)state;
	for (i = 0; i < 16; i++) {
		memset(sb.members[i].path, 'p', sizeof(sb.members[i].path) - 1);
		memset(sb.members[i].reason, 'r', sizeof(sb.members[i].reason) - 1);
	}
	assert_int_equal(superblock_encode(&sb, slot), -E2BIG);
	sb = sample(2);
	sb.n_members = SUPERBLOCK_MAX_MEMBERS + 1;
	assert_int_equal(superblock_encode(&sb, slot), -E2BIG);
	sb = sample(2);
	sb.n_lineage = SUPERBLOCK_LINEAGE + 1;
	assert_int_equal(superblock_encode(&sb, slot), -E2BIG);
}

static void every_flipped_byte_is_seen(void **state)
{
	struct superblock sb = sample(16), out = { .seq = 77 };
	uint8_t slot[SLOT];
	int i;

	(void)state;
	assert_int_equal(superblock_encode(&sb, slot), 0);
	for (i = 0; i < SLOT; i++) {
		static const uint8_t masks[] = { 0x01, 0x80, 0xff };
		size_t k;

		for (k = 0; k < N_ELEMS(masks); k++) {
			slot[i] ^= masks[k];
			assert_int_equal(superblock_decode(slot, &out), -EINVAL);
			slot[i] ^= masks[k];
		}
	}
	assert_int_equal(out.seq, 77);
	assert_int_equal(superblock_decode(slot, &out), 0);
}

/* With a good checksum every byte value is met without harm, and what is
 * accepted says the same when written again. */
static void signed_nonsense_is_harmless(void **state)
{
	struct superblock sb = sample(16), out;
	uint64_t seed = seed_of_run();
	uint8_t slot[SLOT], again[SLOT];
	int i, refused = 0;

	(void)state;
	for (i = 0; i < 60000; i++) {
		size_t at = next_random(&seed) % (i & 1 ? 1400 : CHECK_AT), n;
		int ret;

		assert_int_equal(superblock_encode(&sb, slot), 0);
		for (n = 0; n < 1 + next_random(&seed) % 40 && at + n < CHECK_AT; n++)
			slot[at + n] = (uint8_t)next_random(&seed);
		sign(slot);
		ret = superblock_decode(slot, &out);
		refused += ret != 0;
		if (ret)
			assert_true(ret == -EINVAL || ret == -EPROTONOSUPPORT);
		else
			assert_int_equal(superblock_encode(&out, again), 0);
	}
	assert_true(refused > 100);
}

static void future_and_impossible(void **state)
{
	struct superblock sb = sample(2), out;
	uint8_t slot[SLOT];

	(void)state;
	sb.features_incompat = 1ULL << 63;
	assert_int_equal(superblock_encode(&sb, slot), 0);
	assert_int_equal(superblock_decode(slot, &out), -EPROTONOSUPPORT);
	sb = sample(2);
	assert_int_equal(superblock_encode(&sb, slot), 0);
	slot[8]++; /* version */
	sign(slot);
	assert_int_equal(superblock_decode(slot, &out), -EPROTONOSUPPORT);
	slot[8]--;
	slot[0]++; /* magic */
	sign(slot);
	assert_int_equal(superblock_decode(slot, &out), -EINVAL);
	slot[0]--;
	slot[120] = 17; /* members */
	sign(slot);
	assert_int_equal(superblock_decode(slot, &out), -EINVAL);
	slot[120] = 2;
	slot[124] = 33; /* lineage */
	sign(slot);
	assert_int_equal(superblock_decode(slot, &out), -EINVAL);
}

/* The first member of a slot with three lineage entries. */
#define MEMBER_AT (128 + 3 * 24)
#define STATE_AT (MEMBER_AT + UUID_LEN)
#define PATH_AT (STATE_AT + 1 + 8)

static void impossible_member(void **state)
{
	struct superblock sb = sample(1), out;
	uint8_t slot[SLOT];
	int v;

	(void)state;
	for (v = 0; v < 256; v++) {
		assert_int_equal(superblock_encode(&sb, slot), 0);
		slot[STATE_AT] = (uint8_t)v;
		sign(slot);
		assert_int_equal(superblock_decode(slot, &out), v <= MEMBER_REMOVED ? 0 : -EINVAL);
		/* a path of v bytes and no reason: must leave room for the end */
		assert_int_equal(superblock_encode(&sb, slot), 0);
		memset(slot + PATH_AT, 0, 300);
		slot[PATH_AT] = (uint8_t)v;
		memset(slot + PATH_AT + 1, 'p', (size_t)v);
		sign(slot);
		assert_int_equal(superblock_decode(slot, &out),
				 v < (int)sizeof(out.members[0].path) ? 0 : -EINVAL);
		if (!v)
			continue;
		slot[PATH_AT + v] = '\0'; /* no zero inside a text */
		sign(slot);
		assert_int_equal(superblock_decode(slot, &out), -EINVAL);
	}
}

static void read_slot(int dirfd, int slot, struct superblock *sb, int want)
{
	uint8_t both[2 * SLOT];
	int fd = openat(dirfd, "volume", O_RDONLY);

	assert_int_equal(io_pread_full(fd, both, sizeof(both), 0), sizeof(both));
	close(fd);
	assert_int_equal(superblock_decode(both + slot * SLOT, sb), want);
}

static void slots_alternate(void **state)
{
	int dirfd = *(int *)*state;
	struct superblock sb = sample(3), got, other;
	struct stat st;
	uint64_t i;

	assert_int_equal(superblock_read(dirfd, &got), -ENOENT);
	for (i = 1; i <= 10; i++) {
		sb.next_id = i * 100;
		assert_int_equal(superblock_write(dirfd, &sb), 0);
		assert_int_equal(sb.seq, i);
		assert_int_equal(superblock_read(dirfd, &got), 0);
		assert_same(&sb, &got);
		read_slot(dirfd, (int)(i - 1) % 2, &other, 0);
		assert_int_equal(other.seq, i);
		/* the state before is still there, untouched */
		read_slot(dirfd, (int)i % 2, &other, i == 1 ? -EINVAL : 0);
		if (i > 1)
			assert_int_equal(other.next_id, (i - 1) * 100);
		assert_int_equal(fstatat(dirfd, "volume", &st, 0), 0);
		assert_int_equal(st.st_size, 2 * SLOT);
	}
	assert_false(exists(dirfd, ".volume.new"));
}

/* A newest slot torn at any place leaves the one before it, and the next
 * write repairs the torn one instead of overwriting the good one. */
static void torn_newest_slot(void **state)
{
	int dirfd = *(int *)*state;
	size_t cut;

	for (cut = 0; cut < SLOT; cut += 64) {
		struct superblock sb = sample(16), got;
		uint8_t both[2 * SLOT], torn[2 * SLOT];
		int fd;

		unlinkat(dirfd, "volume", 0);
		assert_int_equal(superblock_write(dirfd, &sb), 0);
		sb.next_id++;
		assert_int_equal(superblock_write(dirfd, &sb), 0);
		fd = openat(dirfd, "volume", O_RDONLY);
		io_pread_full(fd, torn, sizeof(torn), 0);
		close(fd);
		sb.next_id++;
		sb.clean = false;
		assert_int_equal(superblock_write(dirfd, &sb), 0); /* slot 0, seq 3 */
		fd = openat(dirfd, "volume", O_RDONLY);
		io_pread_full(fd, both, sizeof(both), 0);
		close(fd);
		memcpy(torn, both, cut);
		if (memcmp(torn, both, SLOT) == 0)
			break; /* the rest of the slots is equal anyway */
		put_file(dirfd, "volume", torn, sizeof(torn));
		assert_int_equal(superblock_read(dirfd, &got), 0);
		/* the old state of slot 0 (seq 1) where nothing was written yet */
		assert_int_equal(got.seq, 2);
		assert_int_equal(got.next_id, sample(0).next_id + 1);
		assert_int_equal(superblock_write(dirfd, &got), 0);
		assert_int_equal(got.seq, 3);
		put_file(dirfd, "copy", both, sizeof(both));
		read_slot(dirfd, 1, &got, 0);
		assert_int_equal(got.seq, 2);
		read_slot(dirfd, 0, &got, 0);
		assert_int_equal(got.seq, 3);
	}
}

static void damaged_bytes_of_the_newest(void **state)
{
	int dirfd = *(int *)*state, i;
	struct superblock sb = sample(4), got;

	assert_int_equal(superblock_write(dirfd, &sb), 0);
	assert_int_equal(superblock_write(dirfd, &sb), 0); /* slot 1 */
	for (i = 0; i < 2 * SLOT; i++) {
		flip_byte(dirfd, "volume", i, 0x10);
		assert_int_equal(superblock_read(dirfd, &got), 0);
		assert_int_equal(got.seq, i < SLOT ? 2 : 1);
		flip_byte(dirfd, "volume", i, 0x10);
	}
}

static void no_valid_slot(void **state)
{
	int dirfd = *(int *)*state;
	struct superblock sb = sample(2), got;
	uint8_t zeros[2 * SLOT] = { 0 };
	size_t len;

	for (len = 0; len <= sizeof(zeros); len += 1024) {
		put_file(dirfd, "volume", zeros, len);
		assert_int_equal(superblock_read(dirfd, &got), -EINVAL);
	}
	put_file(dirfd, "volume", zeros, 100);
	assert_int_equal(superblock_write(dirfd, &sb), 0);
	assert_int_equal(superblock_read(dirfd, &got), 0);
	assert_same(&sb, &got);
}

/* A slot of the future that is the newer one is neither passed over nor
 * overwritten. */
static void future_slot(void **state)
{
	int dirfd = *(int *)*state;
	struct superblock sb = sample(2), got;
	uint8_t both[2 * SLOT];

	sb.seq = 5;
	assert_int_equal(superblock_encode(&sb, both), 0);
	sb.seq = 6;
	sb.features_incompat = 1;
	assert_int_equal(superblock_encode(&sb, both + SLOT), 0);
	put_file(dirfd, "volume", both, sizeof(both));
	assert_int_equal(superblock_read(dirfd, &got), -EPROTONOSUPPORT);
	sb = sample(2);
	assert_int_equal(superblock_write(dirfd, &sb), -EPROTONOSUPPORT);
	assert_int_equal(sb.seq, 0);
	/* one that is older is history */
	sb.seq = 7;
	assert_int_equal(superblock_encode(&sb, both), 0);
	put_file(dirfd, "volume", both, sizeof(both));
	assert_int_equal(superblock_read(dirfd, &got), 0);
	assert_int_equal(got.seq, 7);
}

static void long_hints_are_cut_not_refused(void **state)
{
	int dirfd = *(int *)*state, i;
	struct superblock sb = sample(16), got;

	for (i = 0; i < SUPERBLOCK_LINEAGE; i++)
		superblock_new_epoch(&sb);
	for (i = 0; i < 16; i++) {
		memset(sb.members[i].path, 'p', sizeof(sb.members[i].path) - 1);
		memset(sb.members[i].reason, 'r', sizeof(sb.members[i].reason) - 1);
	}
	assert_int_equal(superblock_write(dirfd, &sb), 0);
	assert_int_equal(superblock_write(dirfd, &sb), 0);
	assert_int_equal(superblock_read(dirfd, &got), 0);
	assert_int_equal(got.seq, 2);
	assert_int_equal(got.n_lineage, SUPERBLOCK_LINEAGE);
	assert_int_equal(strlen(got.members[15].path), 120);
	assert_int_equal(strlen(got.members[15].reason), 40);
	assert_int_equal(strlen(sb.members[15].path), 191);
	for (i = 0; i < 16; i++)
		assert_memory_equal(got.members[i].id, sb.members[i].id, UUID_LEN);
}

static void relations(void **state)
{
	struct superblock a = sample(2), b = a, c = a, d = a;
	int i;

	(void)state;
	assert_int_equal(superblock_compare(&a, &b), SB_SAME);
	superblock_new_epoch(&b);
	assert_int_equal(b.epoch, a.epoch + 1);
	assert_int_equal(b.n_lineage, a.n_lineage + 1);
	assert_int_equal(b.lineage[0].epoch, a.epoch);
	assert_memory_equal(b.lineage[0].generation, a.generation, UUID_LEN);
	assert_memory_not_equal(b.generation, a.generation, UUID_LEN);
	assert_int_equal(superblock_compare(&a, &b), SB_OLDER);
	assert_int_equal(superblock_compare(&b, &a), SB_NEWER);
	/* two heads on one ancestor, of equal and of unequal epoch */
	superblock_new_epoch(&c);
	assert_int_equal(superblock_compare(&b, &c), SB_DIVERGED);
	assert_int_equal(superblock_compare(&c, &b), SB_DIVERGED);
	for (i = 0; i < 5; i++)
		superblock_new_epoch(&c);
	assert_int_equal(superblock_compare(&b, &c), SB_DIVERGED);
	assert_int_equal(superblock_compare(&c, &b), SB_DIVERGED);
	assert_int_equal(superblock_compare(&a, &c), SB_OLDER);
	d.volume_id[15] ^= 1;
	assert_int_equal(superblock_compare(&a, &d), SB_FOREIGN);
}

/* An ancestor is found up to the length of the lineage; one that fell out of
 * it is taken for split-brain, never for older. A stale member's head does
 * not fall out. */
static void long_lineage(void **state)
{
	struct superblock old = sample(3), sb = old;
	uint32_t i;

	(void)state;
	sb.members[0].state = MEMBER_IN_SYNC;
	sb.members[1].state = MEMBER_IN_SYNC;
	sb.members[2].state = MEMBER_IN_SYNC;
	for (i = 0; i < SUPERBLOCK_LINEAGE; i++) {
		superblock_new_epoch(&sb);
		assert_int_equal(superblock_compare(&old, &sb), SB_OLDER);
	}
	assert_int_equal(sb.n_lineage, SUPERBLOCK_LINEAGE);
	superblock_new_epoch(&sb);
	assert_int_equal(superblock_compare(&old, &sb), SB_DIVERGED);

	old = sb;
	superblock_new_epoch(&sb);
	sb.members[2].state = MEMBER_STALE;
	sb.members[2].since = sb.epoch;
	for (i = 0; i < 1000; i++) {
		superblock_new_epoch(&sb);
		assert_int_equal(superblock_compare(&old, &sb), SB_OLDER);
	}
	for (i = 1; i < sb.n_lineage; i++)
		assert_true(sb.lineage[i].epoch < sb.lineage[i - 1].epoch);
	/* all of them needed: goes on without growing */
	for (i = 0; i < 16; i++) {
		sb.members[i].state = MEMBER_STALE;
		sb.members[i].since = sb.lineage[2 * i].epoch;
	}
	sb.n_members = 16;
	superblock_new_epoch(&sb);
	assert_int_equal(sb.n_lineage, SUPERBLOCK_LINEAGE);
}

static void members_and_names(void **state)
{
	struct superblock sb = sample(5);
	uint8_t id[UUID_LEN], id2[UUID_LEN];
	char text[UUID_TEXT];
	size_t i;

	(void)state;
	memset(id, 3, sizeof(id));
	assert_int_equal(superblock_find_member(&sb, id), 3);
	id[15]++;
	assert_int_equal(superblock_find_member(&sb, id), -1);
	assert_string_equal(member_state_name(MEMBER_IN_SYNC), "in-sync");
	assert_string_equal(member_state_name(MEMBER_FULL), "full");
	assert_string_equal(member_state_name(MEMBER_REMOVED), "removed");
	for (i = 0; i < UUID_LEN; i++)
		id[i] = (uint8_t)(i * 17);
	uuid_format(id, text);
	assert_string_equal(text, "00112233-4455-6677-8899-aabbccddeeff");
	uuid_new(id);
	uuid_new(id2);
	assert_memory_not_equal(id, id2, UUID_LEN);
	assert_int_equal(id[6] >> 4, 4);
	assert_int_equal(id[8] >> 6, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(too_much_to_fit),
		cmocka_unit_test(every_flipped_byte_is_seen),
		cmocka_unit_test(signed_nonsense_is_harmless),
		cmocka_unit_test(future_and_impossible),
		cmocka_unit_test(impossible_member),
		tmpdir_test(slots_alternate),
		tmpdir_test(torn_newest_slot),
		tmpdir_test(damaged_bytes_of_the_newest),
		tmpdir_test(no_valid_slot),
		tmpdir_test(future_slot),
		tmpdir_test(long_hints_are_cut_not_refused),
		cmocka_unit_test(relations),
		cmocka_unit_test(long_lineage),
		cmocka_unit_test(members_and_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
