/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every exit status of the programs. Scripts rely on them: never renumber. */
#ifndef REPLICA_BASE_EXITCODE_H
#define REPLICA_BASE_EXITCODE_H

/* mirrorfs, mount.mirrorfs: as mount(8) */
enum {
	EXIT_MOUNT_OK = 0,
	EXIT_MOUNT_USAGE = 1,
	EXIT_MOUNT_SYSERR = 2,
	EXIT_MOUNT_FAIL = 32,
};

/* mirrorctl scrub, repair, verify: as fsck(8), bits may be added up */
enum {
	EXIT_FSCK_OK = 0,
	EXIT_FSCK_CORRECTED = 1,
	EXIT_FSCK_UNCORRECTED = 4,
	EXIT_FSCK_ERROR = 8,
	EXIT_FSCK_USAGE = 16,
	EXIT_FSCK_CANCELLED = 32,
};

/* mirrorctl, all other commands */
enum {
	EXIT_CTL_OK = 0,
	EXIT_CTL_FAIL = 1,
	EXIT_CTL_USAGE = 2,
};

#endif
