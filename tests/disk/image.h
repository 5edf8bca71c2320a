/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images of the simulated disks: sparse copies, and what a power cut leaves.
 *
 * At a cut after request k, a write of a disk is durable if it had completed
 * before the beginning of an honest flush that completed up to k. Each later
 * write up to k survives with a probability, whole or as a random subset of
 * its sectors (but those to the first 4 KiB, where ext4 has its superblock: whole);
 * survivors lie over each other in the order of completion. All
 * chance comes from the seed, the disk and the number of the request, so the
 * same arguments make the same image, also of a log that has grown since.
 */
#ifndef TESTS_DISK_IMAGE_H
#define TESTS_DISK_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/disk/trace.h"

struct cut {
	uint64_t at;           /* number of the last request before the cut */
	uint64_t seed;
	unsigned percent;      /* survivors among the unflushed writes */
	unsigned torn_percent; /* torn ones among those */
};

bool all_zero(const void *buf, size_t len);
/* dst becomes a copy of src's first size bytes, with holes for zeros. */
int image_copy(int src, int dst, uint64_t size);
/* outdir/NAME.img of the disks with these names (NULL at the end; none: of all)
 * from dirfd's NAME.base and log. -ERANGE: the log does not have that request. */
int image_cut(int dirfd, const char *outdir, const struct cut *cut, char *const *names);

#endif
