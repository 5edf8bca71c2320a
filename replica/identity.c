/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replica/identity.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "replica/hash.h"

/* FS_IOC_GETFSUUID, since Linux 6.9; the headers may be older. */
struct fs_uuid {
	uint8_t len;
	uint8_t uuid[16];
};
#define IOC_GET_FS_UUID _IOR(0x15, 0, struct fs_uuid)

void identity_of(int rootfd, uint64_t *fs_id, uint64_t *ino)
{
	struct fs_uuid u = { 0 };
	struct stat st;

	*fs_id = *ino = 0;
	if (fstat(rootfd, &st) == 0)
		*ino = st.st_ino;
	if (ioctl(rootfd, IOC_GET_FS_UUID, &u) == 0 && u.len && u.len <= sizeof(u.uuid))
		*fs_id = hash_bytes(u.uuid, u.len, 4) | 1;
}

bool identity_is_clone(int rootfd, uint64_t fs_id, uint64_t ino)
{
	uint64_t now_fs, now_ino;

	identity_of(rootfd, &now_fs, &now_ino);
	if (ino && now_ino && ino != now_ino)
		return true;
	return fs_id && now_fs && fs_id != now_fs;
}
