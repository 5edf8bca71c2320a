/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sbtool: looks at a superblock as a test needs it, or makes it one of a
 * future that this version must refuse.
 *
 *   sbtool show FILE              clean, epoch, and one line a member, tab
 *                                 separated: member, path, state, reason
 *   sbtool version|feature FILE   in both slots, with good checksums
 */
#include <endian.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "replica/hash.h"
#include "replica/superblock.h"

/* docs/format.md; these places hold in every version. */
#define AT_VERSION 8
#define AT_INCOMPAT 24
#define AT_CHECK (SUPERBLOCK_SLOT - 8)

static int complain(const char *what)
{
	fprintf(stderr, "sbtool: %s\n", what);
	return 1;
}

static int show(int fd)
{
	struct superblock sb, newest = { .seq = 0 };
	uint8_t slot[SUPERBLOCK_SLOT];

	for (off_t off = 0; pread(fd, slot, sizeof(slot), off) == sizeof(slot);
	     off += SUPERBLOCK_SLOT)
		if (superblock_decode(slot, &sb) == 0 && sb.seq >= newest.seq)
			newest = sb;
	if (newest.n_members == 0)
		return complain("no valid slot");
	printf("clean\t%d\nepoch\t%llu\n", newest.clean, (unsigned long long)newest.epoch);
	for (uint32_t i = 0; i < newest.n_members; i++)
		printf("member\t%s\t%s\t%s\n", newest.members[i].path,
		       member_state_name(newest.members[i].state), newest.members[i].reason);
	return 0;
}

static int advance(int fd, int version)
{
	uint8_t slot[SUPERBLOCK_SLOT];
	off_t off;

	for (off = 0; pread(fd, slot, sizeof(slot), off) == sizeof(slot);
	     off += SUPERBLOCK_SLOT) {
		uint32_t next = htole32(SUPERBLOCK_VERSION + 1);
		uint64_t feature = htole64(1ull << 63), check;

		if (hash_is_zero(slot, sizeof(slot)))
			continue;
		if (version)
			memcpy(slot + AT_VERSION, &next, sizeof(next));
		else
			memcpy(slot + AT_INCOMPAT, &feature, sizeof(feature));
		check = htole64(hash_bytes(slot, AT_CHECK, 0));
		memcpy(slot + AT_CHECK, &check, sizeof(check));
		if (pwrite(fd, slot, sizeof(slot), off) != sizeof(slot))
			return complain("cannot write");
	}
	return off == 0 ? complain("no slot") : fsync(fd) != 0;
}

int main(int argc, char **argv)
{
	int fd, status;

	if (argc != 3)
		return complain("usage: sbtool show|version|feature FILE");
	fd = open(argv[2], O_RDWR);
	if (fd < 0)
		return complain("cannot open the file");
	if (strcmp(argv[1], "show") == 0)
		status = show(fd);
	else
		status = advance(fd, strcmp(argv[1], "version") == 0);
	close(fd);
	return status;
}
