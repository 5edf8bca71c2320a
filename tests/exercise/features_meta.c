// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Probes of attributes: xattrs, ACLs, times, hard links, inode numbers. See
 * features.h for how a probe runs and answers.
 */
#include "features.h"

#include <fcntl.h>
#include <sys/xattr.h>

/* --- xattrs and ACLs -------------------------------------------------- */

static enum verdict xattr_round_trip(const char *path, const char *name)
{
	char buf[300], value[200];

	for (size_t i = 0; i < sizeof(value); i++)
		value[i] = (char)(i * 7);
	MAY_LACK(lsetxattr(path, name, value, sizeof(value), XATTR_CREATE));
	REFUSED(lsetxattr(path, name, value, 1, XATTR_CREATE), EEXIST);
	CHECK(lgetxattr(path, name, NULL, 0) == sizeof(value), "size of %s", name);
	REFUSED((int)lgetxattr(path, name, buf, 10), ERANGE);
	CHECK(lgetxattr(path, name, buf, sizeof(buf)) == sizeof(value) &&
		      !memcmp(buf, value, sizeof(value)),
	      "value of %s differs", name);
	CALL(lsetxattr(path, name, "", 0, XATTR_REPLACE));
	CHECK(lgetxattr(path, name, buf, sizeof(buf)) == 0, "empty value of %s", name);
	CALL(lremovexattr(path, name));
	REFUSED((int)lgetxattr(path, name, buf, sizeof(buf)), ENODATA);
	REFUSED(lremovexattr(path, name), ENODATA);
	REFUSED(lsetxattr(path, name, value, 1, XATTR_REPLACE), ENODATA);
	return PROBE_OK;
}

static enum verdict xattr_user(void)
{
	char list[200];
	enum verdict v;

	CALL(make_file("f", 0644, 10));
	CALL(mkdir("d", 0755));
	v = xattr_round_trip("f", "user.probe");
	if (v == PROBE_OK)
		v = xattr_round_trip("d", "user.probe");
	if (v != PROBE_OK)
		return v;
	CHECK(llistxattr("f", list, sizeof(list)) == 0, "a plain file lists xattrs: %s", list);
	CHECK(llistxattr("d", list, sizeof(list)) == 0, "a plain directory lists xattrs: %s", list);
	return PROBE_OK;
}

static enum verdict xattr_trusted_security(void)
{
	enum verdict v;

	CALL(make_file("f", 0644, 10));
	CALL(symlink("nowhere", "l"));
	CALL(mkfifo("p", 0600));
	v = xattr_round_trip("f", "trusted.probe");
	if (v == PROBE_OK)
		v = xattr_round_trip("f", "security.probe");
	if (v == PROBE_OK)
		v = xattr_round_trip("l", "trusted.probe");
	if (v == PROBE_OK)
		v = xattr_round_trip("p", "trusted.probe");
	return v;
}

static enum verdict xattr_capability_dropped_on_write(void)
{
	/* version 2, effective, cap_net_raw */
	static const uint32_t cap[5] = { 0x02000001, 1 << 13, 0, 0, 0 };
	int fd = make_file("f", 0755, 10);
	char buf[64];

	CALL(fd);
	MAY_LACK(setxattr("f", "security.capability", cap, sizeof(cap), 0));
	CHECK(getxattr("f", "security.capability", buf, sizeof(buf)) == sizeof(cap), "not stored");
	CHECK(pwrite(fd, "x", 1, 0) == 1, "write: %s", strerror(errno));
	REFUSED((int)getxattr("f", "security.capability", buf, sizeof(buf)), ENODATA);
	CALL(setxattr("f", "security.capability", cap, sizeof(cap), 0));
	CALL(truncate("f", 5));
	REFUSED((int)getxattr("f", "security.capability", buf, sizeof(buf)), ENODATA);
	CALL(setxattr("f", "security.capability", cap, sizeof(cap), 0));
	CALL(chown("f", 1, 1));
	REFUSED((int)getxattr("f", "security.capability", buf, sizeof(buf)), ENODATA);
	return PROBE_OK;
}

#define ACL_ACCESS  "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

/* user::rw- user:1000:USER group::r-- mask::MASK other::--- in kernel form */
struct acl {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} e[5];
};

static struct acl acl_with(uint16_t user, uint16_t mask)
{
	const uint32_t none = (uint32_t)-1;
	struct acl a = { 2,
			 { { 1, 6, none },
			   { 2, user, 1000 },
			   { 4, 4, none },
			   { 16, mask, none },
			   { 32, 0, none } } };

	return a;
}

static enum verdict posix_acl(void)
{
	struct try_open rw = { "f", O_RDWR, 0 }, ro = { "f", O_RDONLY, 0 };
	struct acl a = acl_with(6, 6), back;

	CALL(make_file("f", 0600, 10));
	MAY_LACK(setxattr("f", ACL_ACCESS, &a, sizeof(a), 0));
	CHECK(getxattr("f", ACL_ACCESS, &back, sizeof(back)) == sizeof(back) &&
		      !memcmp(&a, &back, sizeof(a)),
	      "read back differs");
	CHECK(mode_of("f") == 0660, "mode is %#o, the mask does not show", mode_of("f"));
	CHECK(as_uid(1000, try_open, &rw) == 0, "named user is refused");
	CHECK(as_uid(1001, try_open, &ro) == EACCES, "other user is let in");
	a = acl_with(6, 4);
	CALL(setxattr("f", ACL_ACCESS, &a, sizeof(a), 0));
	CHECK(as_uid(1000, try_open, &rw) == EACCES, "the mask is not enforced");
	CHECK(as_uid(1000, try_open, &ro) == 0, "named user is refused reading");
	CALL(removexattr("f", ACL_ACCESS));
	CHECK(as_uid(1000, try_open, &ro) == EACCES, "a removed ACL still counts");
	return PROBE_OK;
}

static enum verdict posix_acl_default_inherited(void)
{
	struct acl a = acl_with(6, 6), back;
	struct try_open rw = { "d/f", O_RDWR, 0 };
	int fd;

	CALL(mkdir("d", 0755));
	MAY_LACK(setxattr("d", ACL_DEFAULT, &a, sizeof(a), 0));
	CALL(chmod("d", 0755));
	umask(077);
	CALL(open("d/f", O_CREAT | O_WRONLY, 0666));
	CHECK(mode_of("d/f") == 0660, "mode is %#o: umask over a default ACL", mode_of("d/f"));
	CHECK(getxattr("d/f", ACL_ACCESS, &back, sizeof(back)) == sizeof(back), "not inherited");
	CHECK(as_uid(1000, try_open, &rw) == 0, "named user is refused");
	CALL(mkdir("d/e", 0777));
	CHECK(getxattr("d/e", ACL_DEFAULT, &back, sizeof(back)) == sizeof(back),
	      "a subdirectory does not inherit the default ACL");
	fd = open("d", O_TMPFILE | O_RDWR, 0666);
	if (fd >= 0)
		CHECK(fgetxattr(fd, ACL_ACCESS, &back, sizeof(back)) == sizeof(back),
		      "O_TMPFILE does not inherit");
	return PROBE_OK;
}

static enum verdict acl_chmod_mask(void)
{
	struct acl a = acl_with(6, 6), back;
	struct try_open rw = { "f", O_RDWR, 0 };

	CALL(make_file("f", 0600, 10));
	MAY_LACK(setxattr("f", ACL_ACCESS, &a, sizeof(a), 0));
	CALL(chmod("f", 0640));
	CHECK(mode_of("f") == 0640, "mode is %#o", mode_of("f"));
	CHECK(getxattr("f", ACL_ACCESS, &back, sizeof(back)) == sizeof(back), "ACL is lost");
	CHECK(back.e[3].perm == 4, "mask is %#o after chmod 0640", back.e[3].perm);
	CHECK(as_uid(1000, try_open, &rw) == EACCES, "the mask of chmod is not enforced");
	return PROBE_OK;
}

/* --- times ------------------------------------------------------------ */

static bool is_time(struct timespec t, time_t sec, long nsec)
{
	return t.tv_sec == sec && t.tv_nsec == nsec;
}

static enum verdict utime_omit_now(void)
{
	const struct timespec both[2] = { { 1000, 111 }, { 2000, 222 } };
	const struct timespec only_m[2] = { { 0, UTIME_OMIT }, { 3000, 333 } };
	const struct timespec only_a[2] = { { 4000, 444 }, { 0, UTIME_OMIT } };
	const struct timespec now[2] = { { 0, UTIME_OMIT }, { 0, UTIME_NOW } };
	struct stat st;

	CALL(make_file("f", 0644, 10));
	CALL(utimensat(AT_FDCWD, "f", both, 0));
	CALL(utimensat(AT_FDCWD, "f", only_m, 0));
	st = stat_of("f");
	CHECK(is_time(st.st_atim, 1000, 111) && is_time(st.st_mtim, 3000, 333), "mtime only");
	CALL(utimensat(AT_FDCWD, "f", only_a, 0));
	st = stat_of("f");
	CHECK(is_time(st.st_atim, 4000, 444) && is_time(st.st_mtim, 3000, 333), "atime only");
	CALL(utimensat(AT_FDCWD, "f", now, 0));
	st = stat_of("f");
	CHECK(is_time(st.st_atim, 4000, 444), "atime moved by UTIME_OMIT");
	CHECK(llabs((long long)st.st_mtim.tv_sec - (long long)time(NULL)) < 10, "UTIME_NOW");
	return PROBE_OK;
}

static enum verdict utime_range(void)
{
	static const time_t sec[] = { -86400, -1, 0, 2147483647, 2147483648 + 86400 };
	struct timespec ts[2];

	CALL(make_file("f", 0644, 10));
	for (size_t i = 0; i < ARRAY_SIZE(sec); i++) {
		ts[0] = ts[1] = (struct timespec) { sec[i], 123456789 };
		CALL(utimensat(AT_FDCWD, "f", ts, 0));
		CHECK(is_time(stat_of("f").st_mtim, sec[i], 123456789), "%lld is read as %lld",
		      (long long)sec[i], (long long)stat_of("f").st_mtim.tv_sec);
	}
	CALL(symlink("f", "l"));
	CALL(utimensat(AT_FDCWD, "l", ts, AT_SYMLINK_NOFOLLOW));
	CHECK(is_time(stat_of("l").st_mtim, ts[1].tv_sec, ts[1].tv_nsec), "time of a symlink");
	return PROBE_OK;
}

static enum verdict times_survive_write_utime_close(void)
{
	const struct timespec ts[2] = { { 1000, 111 }, { 2000, 222 } };
	int fd = make_file("f", 0644, 10);

	CALL(fd);
	CHECK(write(fd, "more", 4) == 4, "write: %s", strerror(errno));
	CALL(futimens(fd, ts));
	CALL(fsync(fd));
	CALL(close(fd));
	CHECK(is_time(stat_of("f").st_mtim, 2000, 222), "mtime set before close is lost");
	return PROBE_OK;
}

static enum verdict atime_on_read(void)
{
	const struct timespec ts[2] = { { 1000, 0 }, { 2000, 0 } };
	int fd = make_file("f", 0644, 10);
	char c;

	CALL(fd);
	CALL(fsync(fd));
	CALL(futimens(fd, ts));
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	CHECK(pread(fd, &c, 1, 0) == 1, "read: %s", strerror(errno));
	close(fd);
	return stat_of("f").st_atim.tv_sec > 1000 ? PROBE_OK : probe_unsup("atime stays");
}

static bool ctime_moved(const char *name, struct timespec *last)
{
	struct timespec t = stat_of(name).st_ctim;
	bool moved = t.tv_sec != last->tv_sec || t.tv_nsec != last->tv_nsec;

	*last = t;
	pass_tick(name);
	return moved;
}

static enum verdict ctime_on_change(void)
{
	struct timespec last = { 0, 0 };

	CALL(make_file("f", 0644, 10));
	ctime_moved("f", &last);
	CALL(chmod("f", 0600));
	CHECK(ctime_moved("f", &last), "not moved by chmod");
	CALL(link("f", "g"));
	CHECK(ctime_moved("f", &last), "not moved by link");
	CALL(chmod("g", 0640));
	CHECK(ctime_moved("f", &last), "not moved by chmod of the other name");
	CALL(unlink("g"));
	CHECK(ctime_moved("f", &last), "not moved by unlink of the other name");
	CALL(truncate("f", 5));
	CHECK(ctime_moved("f", &last), "not moved by truncate");
	CHECK(stat_of("missing").st_ino == (ino_t)-1, "a missing file has attributes");
	CHECK(!ctime_moved("f", &last), "moves by itself");
	return PROBE_OK;
}

static enum verdict btime(void)
{
	struct statx x;

	CALL(make_file("f", 0644, 10));
	CALL(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &x));
	if (!(x.stx_mask & STATX_BTIME))
		return probe_unsup("not in the mask");
	CHECK(llabs((long long)x.stx_btime.tv_sec - (long long)time(NULL)) < 100, "not now");
	return PROBE_OK;
}

/* --- links and inodes ------------------------------------------------- */

static enum verdict hard_links(void)
{
	struct stat a, b;
	char c;
	int fd = make_file("f", 0644, 10);

	CALL(fd);
	CALL(mkdir("d", 0755));
	CALL(link("f", "d/g"));
	a = stat_of("f");
	b = stat_of("d/g");
	CHECK(a.st_ino == b.st_ino && a.st_nlink == 2 && b.st_nlink == 2, "ino or nlink");
	CHECK(pwrite(fd, "Z", 1, 5) == 1, "write: %s", strerror(errno));
	fd = open("d/g", O_RDWR | O_APPEND);
	CHECK(pread(fd, &c, 1, 5) == 1 && c == 'Z', "other name has old data");
	CHECK(write(fd, "end", 3) == 3, "append: %s", strerror(errno));
	CHECK(stat_of("f").st_size == 13, "other name has the old size");
	CALL(chmod("f", 0600));
	CHECK(mode_of("d/g") == 0600, "other name has the old mode");
	CALL(unlink("f"));
	CHECK(stat_of("d/g").st_nlink == 1, "nlink after unlink");
	CALL(rename("d/g", "h"));
	CHECK(stat_of("h").st_ino == a.st_ino, "inode changed by rename");
	return PROBE_OK;
}

/* Not sync(): other tests count the flushes of their disks, or let them hang. */
static void drop_inodes(void)
{
	int fd = open(".", O_RDONLY);

	if (fd >= 0) {
		syncfs(fd);
		close(fd);
	}
	fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
	if (fd >= 0 && write(fd, "2", 1) == 1)
		close(fd);
}

static enum verdict inode_stable(void)
{
	ino_t ino[20];
	char name[16];

	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		CALL(i % 4 ? close(make_file(name, 0644, 1)) : mkdir(name, 0755));
		ino[i] = stat_of(name).st_ino;
		for (int k = 0; k < i; k++)
			CHECK(ino[k] != ino[i], "two files have inode %llu",
			      (unsigned long long)ino[i]);
	}
	drop_inodes();
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		CHECK(stat_of(name).st_ino == ino[i], "%s changed its inode number", name);
	}
	return PROBE_OK;
}

static enum verdict file_handles(void)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} u = { .h.handle_bytes = MAX_HANDLE_SZ };
	int mount_id, fd = open(".", O_RDONLY);

	CALL(make_file("f", 0644, 10));
	MAY_LACK(name_to_handle_at(AT_FDCWD, "f", &u.h, &mount_id, 0));
	CALL(open_by_handle_at(fd, &u.h, O_RDONLY));
	drop_inodes();
	CALL(open_by_handle_at(fd, &u.h, O_RDONLY));
	CALL(link("f", "g"));
	CALL(unlink("f"));
	CALL(open_by_handle_at(fd, &u.h, O_RDONLY));
	return PROBE_OK;
}

const struct probe meta_probes[] = {
	{ "xattr_user", xattr_user, ANYONE },
	{ "xattr_trusted_security", xattr_trusted_security, ROOT },
	{ "xattr_capability_dropped_on_write", xattr_capability_dropped_on_write, ROOT },
	{ "posix_acl", posix_acl, ROOT },
	{ "posix_acl_default_inherited", posix_acl_default_inherited, ROOT },
	{ "acl_chmod_mask", acl_chmod_mask, ROOT },
	{ "utime_omit_now", utime_omit_now, ANYONE },
	{ "utime_range", utime_range, ANYONE },
	{ "times_survive_write_utime_close", times_survive_write_utime_close, ANYONE },
	{ "atime_on_read", atime_on_read, ANYONE },
	{ "ctime_on_change", ctime_on_change, ANYONE },
	{ "btime", btime, ANYONE },
	{ "hard_links", hard_links, ANYONE },
	{ "inode_stable", inode_stable, ANYONE },
	{ "file_handles", file_handles, ROOT },
};

const size_t meta_probes_nr = ARRAY_SIZE(meta_probes);
