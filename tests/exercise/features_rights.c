// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Probes of rights: owners of new files, groups, permission bits, set-id bits
 * and what clears them. All need root, to become somebody else. See features.h
 * for how a probe runs and answers.
 */
#include "features.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

/* --- owners and groups ------------------------------------------------ */

static int make_all_kinds(void *arg)
{
	char proc[40];
	int fd;

	(void)arg;
	if (open("f", O_CREAT | O_WRONLY, 0644) < 0 || mkdir("d", 0755) || mkfifo("p", 0644) ||
	    symlink("x", "l") || mknod("s", S_IFSOCK | 0644, 0) || mknod("r", S_IFREG | 0644, 0))
		return errno;
	fd = open(".", O_TMPFILE | O_RDWR, 0644);
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	if (fd >= 0 ? linkat(AT_FDCWD, proc, AT_FDCWD, "t", AT_SYMLINK_FOLLOW) : mkdir("t", 0755))
		return errno;
	return chmod("f", 0600) || chmod("d", 0700) || rename("f", "f2") ? errno : 0;
}

static enum verdict owner_of_new_files(void)
{
	static const char *const names[] = { "f2", "d", "p", "l", "s", "r", "t" };
	int err = as_user(1000, 1001, 0, NULL, make_all_kinds, NULL);

	CHECK(err == 0, "as another user: %s", strerror(err));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct stat st = stat_of(names[i]);

		CHECK(st.st_uid == 1000 && st.st_gid == 1001, "%s belongs to %d:%d", names[i],
		      (int)st.st_uid, (int)st.st_gid);
	}
	return PROBE_OK;
}

static enum verdict setgid_directory(void)
{
	CALL(chown(".", 0, 5000));
	CALL(chmod(".", 02777));
	CHECK(as_uid(1000, make_all_kinds, NULL) == 0, "create as another user");
	CHECK(stat_of("f2").st_gid == 5000 && stat_of("d").st_gid == 5000, "group not inherited");
	CHECK(stat_of("f2").st_uid == 1000, "owner is wrong");
	CHECK(mode_of("d") == 0700 || mode_of("d") == 02700, "mode %#o", mode_of("d"));
	CALL(mkdir("e", 0755));
	CHECK(mode_of("e") == 02755, "setgid not inherited: %#o", mode_of("e"));
	return PROBE_OK;
}

static int create_setgid(void *arg)
{
	(void)arg;
	return open("g", O_CREAT | O_WRONLY, 02775) < 0 ? errno : 0;
}

/* Who is not in the group cannot make a setgid file in its directory. */
static enum verdict setgid_stripped_on_create(void)
{
	CALL(chown(".", 0, 5000));
	CALL(chmod(".", 02777));
	CHECK(as_uid(1000, create_setgid, NULL) == 0, "create as another user");
	CHECK(mode_of("g") == 0775, "mode %#o", mode_of("g"));
	return PROBE_OK;
}

static int use_groups(void *arg)
{
	const struct try_open *t = arg;
	int fd = open("d/mine", O_CREAT | O_WRONLY, 0600);

	if (fd < 0 || open(t->name, O_RDONLY) < 0)
		return errno;
	return fchown(fd, (uid_t)-1, (gid_t)t->mode) || fchmod(fd, 02750) ? errno : 0;
}

static enum verdict with_groups(size_t nr)
{
	struct try_open t = { "f", 0, 5000 };
	gid_t groups[500];
	int err;

	for (size_t i = 0; i < nr; i++)
		groups[i] = (gid_t)(5000 + nr - 1 - i);
	CALL(make_file("f", 0640, 10));
	CALL(chown("f", 0, 5000));
	CALL(mkdir("d", 0770));
	CALL(chown("d", 0, 5000));
	err = as_user(1000, 1000, nr, groups, use_groups, &t);
	CHECK(err == 0, "use of a supplementary group: %s", strerror(err));
	CHECK(stat_of("d/mine").st_gid == 5000, "group is %d", (int)stat_of("d/mine").st_gid);
	CHECK(mode_of("d/mine") == 02750, "mode %#o", mode_of("d/mine"));
	return PROBE_OK;
}

static enum verdict supplementary_groups(void)
{
	return with_groups(3);
}

static enum verdict many_groups(void)
{
	return with_groups(500);
}

static int try_unlink(void *arg)
{
	return unlink(arg) ? errno : 0;
}

static int try_chmod(void *arg)
{
	return chmod(arg, 0777) ? errno : 0;
}

static enum verdict rights_enforced(void)
{
	struct try_open ro = { "f", O_RDONLY, 0 }, in_d = { "d/x", O_CREAT | O_RDWR, 0600 };
	char sticky[] = "s/f", own[] = "f";

	CALL(make_file("f", 0640, 10));
	CALL(mkdir("d", 0755));
	CALL(mkdir("s", 0777));
	CALL(chmod("s", 01777));
	CALL(make_file("s/f", 0666, 10));
	CHECK(as_uid(1000, try_open, &ro) == EACCES, "a file of mode 0640 is open to others");
	CHECK(as_uid(1000, try_open, &in_d) == EACCES, "others may create in mode 0755");
	CHECK(as_uid(1000, try_unlink, sticky) == EPERM, "others may unlink in a sticky directory");
	CHECK(as_uid(1000, try_chmod, own) == EPERM, "others may chmod");
	CALL(chown("s/f", 1000, 1000));
	CHECK(as_uid(1000, try_unlink, sticky) == 0, "the owner may not unlink");
	return PROBE_OK;
}

/* --- set-id bits ------------------------------------------------------ */

enum how { BY_WRITE, BY_DIRECT, BY_TRUNCATE, BY_OPEN_TRUNC, BY_ALLOC, BY_PUNCH, BY_ZERO, BY_MAP };

static int change_by(int fd, enum how how)
{
	static char block[4096] __attribute__((aligned(4096)));
	char *map;

	if (how == BY_TRUNCATE)
		return ftruncate(fd, 100);
	if (how == BY_ALLOC)
		return fallocate(fd, 0, 0, 100000);
	if (how == BY_PUNCH)
		return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
	if (how == BY_ZERO)
		return fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 4096);
	if (how != BY_MAP)
		return how == BY_OPEN_TRUNC || pwrite(fd, block, 4096, 0) == 4096 ? 0 : -1;
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -1;
	map[0] = 1;
	return msync(map, 4096, MS_SYNC);
}

static int change_as_user(void *arg)
{
	enum how how = *(enum how *)arg;
	int flags = how == BY_DIRECT ? O_DIRECT : how == BY_OPEN_TRUNC ? O_TRUNC : 0;
	int fd = open("f", O_RDWR | flags);

	return fd < 0 || change_by(fd, how) < 0 ? errno : 0;
}

/* With and without group x: the second is lost by who is not in the group. */
static enum verdict suid_cleared(enum how how)
{
	static const mode_t mode[] = { 06777, 06666, 02676 };
	static const mode_t left[] = { 0777, 0666, 0676 };

	for (size_t i = 0; i < ARRAY_SIZE(mode); i++) {
		int fd = make_file("f", mode[i], 8192), err;

		CALL(fd);
		CHECK(mode_of("f") == mode[i], "chmod gave %#o", mode_of("f"));
		err = as_uid(1000, change_as_user, &how);
		if (err == EOPNOTSUPP || (err == EINVAL && how == BY_DIRECT))
			return probe_unsup("%s", strerror(err));
		CHECK(err == 0, "as another user: %s", strerror(err));
		CHECK(mode_of("f") == left[i], "mode %#o became %#o", mode[i], mode_of("f"));
		CALL(unlink("f"));
		close(fd);
	}
	return PROBE_OK;
}

static enum verdict suid_cleared_on_write(void)
{
	return suid_cleared(BY_WRITE);
}

static enum verdict suid_cleared_on_direct_write(void)
{
	return suid_cleared(BY_DIRECT);
}

static enum verdict suid_cleared_on_truncate(void)
{
	enum verdict v = suid_cleared(BY_TRUNCATE);

	return v ? v : suid_cleared(BY_OPEN_TRUNC);
}

static enum verdict suid_cleared_on_fallocate(void)
{
	enum verdict v = suid_cleared(BY_ALLOC);

	v = v ? v : suid_cleared(BY_PUNCH);
	if (v)
		return v;
	v = suid_cleared(BY_ZERO);
	return v == PROBE_UNSUP ? PROBE_OK : v; /* tmpfs has no ZERO_RANGE */
}

static enum verdict suid_cleared_on_chown(void)
{
	CALL(make_file("f", 06777, 10));
	CALL(chown("f", 1000, 1000));
	CHECK(mode_of("f") == 0777, "mode %#o", mode_of("f"));
	CALL(chmod("f", 06777));
	CHECK(mode_of("f") == 06777, "mode %#o", mode_of("f"));
	return PROBE_OK;
}

static int chmod_setgid(void *arg)
{
	return chmod(arg, 02775) ? errno : 0;
}

static enum verdict chmod_strips_setgid(void)
{
	char name[] = "f";

	CALL(make_file("f", 0755, 10));
	CALL(chown("f", 1000, 5000));
	CHECK(as_uid(1000, chmod_setgid, name) == 0, "the owner may not chmod");
	CHECK(mode_of("f") == 0775, "setgid of a group one is not in: %#o", mode_of("f"));
	return PROBE_OK;
}

static enum verdict device_nodes(void)
{
	/* xfs takes majors up to 511 and minors of 18 bits */
	CALL(mknod("c", S_IFCHR | 0600, makedev(500, 200000)));
	CALL(mknod("b", S_IFBLK | 0600, makedev(259, 70000)));
	CHECK(stat_of("c").st_rdev == makedev(500, 200000), "character device number");
	CHECK(stat_of("b").st_rdev == makedev(259, 70000), "block device number");
	CHECK(S_ISCHR(stat_of("c").st_mode) && S_ISBLK(stat_of("b").st_mode), "type");
	return PROBE_OK;
}

const struct probe rights_probes[] = {
	{ "owner_of_new_files", owner_of_new_files, ROOT },
	{ "setgid_directory", setgid_directory, ROOT },
	{ "setgid_stripped_on_create", setgid_stripped_on_create, ROOT },
	{ "supplementary_groups", supplementary_groups, ROOT },
	{ "many_groups", many_groups, ROOT },
	{ "rights_enforced", rights_enforced, ROOT },
	{ "suid_cleared_on_write", suid_cleared_on_write, ROOT },
	{ "suid_cleared_on_direct_write", suid_cleared_on_direct_write, ROOT },
	{ "suid_cleared_on_truncate", suid_cleared_on_truncate, ROOT },
	{ "suid_cleared_on_fallocate", suid_cleared_on_fallocate, ROOT },
	{ "suid_cleared_on_chown", suid_cleared_on_chown, ROOT },
	{ "chmod_strips_setgid", chmod_strips_setgid, ROOT },
	{ "device_nodes", device_nodes, ROOT },
};

const size_t rights_probes_nr = ARRAY_SIZE(rights_probes);
