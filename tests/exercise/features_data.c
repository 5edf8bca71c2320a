// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Probes of contents: direct I/O, allocation and holes, mappings, locks,
 * copies, execution. See features.h for how a probe runs and answers.
 */
#include "features.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#define KIB 1024
#define MIB (1024 * KIB)

static unsigned char *aligned(size_t size)
{
	void *p;

	if (posix_memalign(&p, 4096, size))
		die_errno("posix_memalign", "buffer");
	memset(p, 0, size);
	return p;
}

static bool all_bytes(const unsigned char *p, size_t n, unsigned char c)
{
	while (n--)
		if (*p++ != c)
			return false;
	return true;
}

static bool patterned(const unsigned char *p, size_t from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != pattern(from + i))
			return false;
	return true;
}

static enum verdict o_direct(void)
{
	size_t size = 256 * KIB;
	unsigned char *buf = aligned(size), *back = aligned(size);
	int fd = open("f", O_RDWR | O_CREAT | O_DIRECT, 0644);

	MAY_LACK(fd);
	for (size_t i = 0; i < size; i++)
		buf[i] = pattern(i);
	CHECK(pwrite(fd, buf, size, 0) == (ssize_t)size, "direct write: %s", strerror(errno));
	CHECK(pread(fd, back, size, 0) == (ssize_t)size, "direct read: %s", strerror(errno));
	CHECK(patterned(back, 0, size), "direct read differs");
	CALL(ftruncate(fd, 10000));
	CHECK(pread(fd, back, size, 8192) == 10000 - 8192, "direct read at the end is not short");
	fd = open("f", O_RDONLY);
	CHECK(pread(fd, back, size, 0) == 10000, "buffered read: %s", strerror(errno));
	CHECK(patterned(back, 0, 10000), "buffered read after direct write differs");
	return PROBE_OK;
}

static enum verdict o_direct_mmap(void)
{
	int fd = make_file("f", 0644, 8192);
	unsigned char *map;

	CALL(fd);
	CALL(fsync(fd));
	fd = open("f", O_RDWR | O_DIRECT);
	MAY_LACK(fd);
	map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return probe_refused("mmap");
	CHECK(patterned(map, 0, 8192), "mapping differs");
	map[5000] = 'x';
	CALL(msync(map, 8192, MS_SYNC));
	return PROBE_OK;
}

/* A descriptor with 1 MiB of pattern, and its fallocate verdict. */
static enum verdict falloc(int *fd, int mode, off_t off, off_t len)
{
	*fd = make_file("f", 0644, MIB);
	CALL(*fd);
	CALL(fsync(*fd));
	MAY_LACK(fallocate(*fd, mode, off, len));
	return PROBE_OK;
}

static bool reads_as(int fd, off_t off, size_t len, bool zero)
{
	unsigned char *buf = must_alloc(len);

	return pread(fd, buf, len, off) == (ssize_t)len &&
	       (zero ? all_bytes(buf, len, 0) : patterned(buf, (size_t)off, len));
}

static enum verdict fallocate_extend(void)
{
	int fd;
	enum verdict v = falloc(&fd, 0, MIB, MIB);

	if (v)
		return v;
	CHECK(stat_of("f").st_size == 2 * MIB, "size %lld", (long long)stat_of("f").st_size);
	CHECK(reads_as(fd, MIB, MIB, true), "new range is not zero");
	CHECK(stat_of("f").st_blocks >= 2 * MIB / 512, "no blocks allocated");
	return PROBE_OK;
}

static enum verdict fallocate_keep_size(void)
{
	int fd;
	enum verdict v = falloc(&fd, FALLOC_FL_KEEP_SIZE, MIB, MIB);

	if (v)
		return v;
	CHECK(stat_of("f").st_size == MIB, "size %lld", (long long)stat_of("f").st_size);
	return PROBE_OK;
}

static enum verdict fallocate_punch(void)
{
	int fd;
	enum verdict v = falloc(&fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 500000);

	if (v)
		return v;
	CHECK(stat_of("f").st_size == MIB, "size %lld", (long long)stat_of("f").st_size);
	CHECK(reads_as(fd, 0, 5000, false), "bytes before the hole differ");
	CHECK(reads_as(fd, 5000, 500000, true), "hole is not zero");
	CHECK(reads_as(fd, 505000, MIB - 505000, false), "bytes after the hole differ");
	CALL(fsync(fd));
	CHECK(stat_of("f").st_blocks < MIB / 512, "hole still has its blocks");
	return PROBE_OK;
}

static enum verdict fallocate_zero(void)
{
	int fd;
	enum verdict v = falloc(&fd, FALLOC_FL_ZERO_RANGE, MIB - 100, 300);

	if (v)
		return v;
	CHECK(stat_of("f").st_size == MIB + 200, "size %lld", (long long)stat_of("f").st_size);
	CHECK(reads_as(fd, 0, MIB - 100, false), "bytes before the range differ");
	CHECK(reads_as(fd, MIB - 100, 300, true), "range is not zero");
	return PROBE_OK;
}

static enum verdict fallocate_collapse(void)
{
	int fd;
	enum verdict v = falloc(&fd, FALLOC_FL_COLLAPSE_RANGE, 65536, 65536);

	if (v)
		return v;
	CHECK(stat_of("f").st_size == MIB - 65536, "size is wrong");
	return PROBE_OK;
}

static enum verdict fallocate_insert(void)
{
	int fd;
	enum verdict v = falloc(&fd, FALLOC_FL_INSERT_RANGE, 65536, 65536);

	if (v)
		return v;
	CHECK(stat_of("f").st_size == MIB + 65536, "size is wrong");
	return PROBE_OK;
}

/* 4 MiB, of which only 4 KiB at 1 MiB were written. */
static int make_sparse(void)
{
	int fd = open("f", O_RDWR | O_CREAT, 0644);

	if (fd >= 0 &&
	    (ftruncate(fd, 4 * MIB) < 0 || pwrite(fd, "data", 4, MIB) != 4 || fsync(fd) < 0))
		return -1;
	return fd;
}

static enum verdict seek_hole_data(void)
{
	int fd = make_sparse();
	off_t data, hole;

	CALL(fd);
	data = lseek(fd, 0, SEEK_DATA);
	MAY_LACK(data);
	if (data == 0)
		return probe_unsup("all is data");
	CHECK(data > 0 && data <= MIB, "SEEK_DATA found %lld", (long long)data);
	hole = lseek(fd, MIB, SEEK_HOLE);
	CHECK(hole > MIB && hole < 2 * MIB, "SEEK_HOLE found %lld", (long long)hole);
	REFUSED(lseek(fd, hole, SEEK_DATA), ENXIO);
	CHECK(pwrite(fd, "more", 4, 3 * MIB) == 4, "write: %s", strerror(errno));
	data = lseek(fd, hole, SEEK_DATA);
	CHECK(data > hole && data <= 3 * MIB, "data not yet synced is seen as a hole");
	return PROBE_OK;
}

static enum verdict sparse_stays_sparse(void)
{
	int fd = make_sparse();

	CALL(fd);
	CHECK(stat_of("f").st_blocks < MIB / 512, "%lld blocks for 4 KiB of data",
	      (long long)stat_of("f").st_blocks);
	CHECK(reads_as(fd, 0, MIB, true), "hole does not read as zero");
	CALL(ftruncate(fd, (off_t)1 << 40));
	CHECK(reads_as(fd, ((off_t)1 << 40) - 4096, 4096, true), "end of a 1 TiB hole is not zero");
	CHECK(stat_of("f").st_blocks < MIB / 512, "a 1 TiB hole takes blocks");
	return PROBE_OK;
}

static enum verdict copy_range(void)
{
	int in = make_file("f", 0644, 300000), out = open("g", O_RDWR | O_CREAT, 0644);
	off_t from = 7, to = 0;
	ssize_t n;

	CALL(in);
	CALL(out);
	while ((n = copy_file_range(in, &from, out, &to, 200000 - (size_t)to, 0)) > 0)
		;
	CALL(n);
	CHECK(to == 200000, "copied %lld bytes", (long long)to);
	CHECK(stat_of("g").st_size == 200000, "size is wrong");
	from = 0;
	CHECK(sendfile(out, in, &from, 1000) == 1000, "sendfile: %s", strerror(errno));
	return PROBE_OK;
}

static unsigned char *map_whole(const char *name, size_t size)
{
	int fd = open(name, O_RDWR);

	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

static enum verdict mmap_shared(void)
{
	int fd = make_file("f", 0644, 100000), status;
	unsigned char *map = map_whole("f", 100000);
	char byte;
	pid_t pid;

	CALL(fd);
	CHECK(map != MAP_FAILED, "mmap: %s", strerror(errno));
	CHECK(map[70000] == pattern(70000), "mapping differs");
	pid = fork();
	if (pid == 0) {
		unsigned char *other = map_whole("f", 100000);

		if (other == MAP_FAILED)
			_exit(1);
		other[70000] = 'y';
		_exit(0);
	}
	CALL(waitpid(pid, &status, 0));
	CHECK(status == 0, "child failed");
	CHECK(map[70000] == 'y', "write of another process is not in the mapping");
	CHECK(pread(fd, &byte, 1, 70000) == 1 && byte == 'y', "read(2) does not see it");
	CHECK(pwrite(fd, "z", 1, 70000) == 1 && map[70000] == 'z', "mapping misses write(2)");
	return PROBE_OK;
}

static enum verdict exec_copied(void)
{
	int in = open("/bin/true", O_RDONLY), out = open("true", O_WRONLY | O_CREAT, 0755);
	char buf[65536];
	int status = -1;
	ssize_t n;
	pid_t pid;

	if (in < 0)
		return probe_unsup("no /bin/true");
	CALL(out);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		CHECK(write(out, buf, (size_t)n) == n, "write: %s", strerror(errno));
	CALL(close(out));
	pid = fork();
	if (pid == 0) {
		execl("./true", "true", (char *)NULL);
		_exit(errno == EACCES ? 100 : 101);
	}
	CALL(waitpid(pid, &status, 0));
	if (status == 100 << 8)
		return probe_unsup("mounted noexec");
	CHECK(status == 0, "exit status %#x", (unsigned int)status);
	return PROBE_OK;
}

static int write_on(void *arg)
{
	const struct try_open *t = arg;
	int fd = open(t->name, t->flags, t->mode);

	return fd >= 0 && write(fd, "x", 1) == 1 && fchmod(fd, 0400) == 0 &&
			       write(fd, "y", 1) == 1 && fsync(fd) == 0 && close(fd) == 0
		       ? 0
		       : errno;
}

static enum verdict open_write_then_readonly_mode(void)
{
	struct try_open t = { "f", O_WRONLY | O_CREAT | O_EXCL, 0444 };
	int err = geteuid() == 0 ? as_uid(1000, write_on, &t) : write_on(&t);

	CHECK(err == 0, "write through a handle of a file with mode 0444: %s", strerror(err));
	CHECK(stat_of("f").st_size == 2, "size is wrong");
	return PROBE_OK;
}

/* --- locks ------------------------------------------------------------ */

static enum verdict flock_excludes(void)
{
	int a = make_file("f", 0644, 10), b = open("f", O_RDWR), c;

	CALL(a);
	MAY_LACK(flock(a, LOCK_EX));
	REFUSED(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	REFUSED(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	CALL(flock(a, LOCK_SH));
	CALL(flock(b, LOCK_SH | LOCK_NB));
	REFUSED(flock(a, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	CALL(flock(b, LOCK_UN));
	c = dup(a);
	CALL(flock(a, LOCK_EX));
	close(a);
	REFUSED(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	close(c);
	return PROBE_OK;
}

static enum verdict flock_freed_by_close(void)
{
	for (int i = 0; i < 20; i++) {
		int a = open("f", O_RDWR | O_CREAT, 0644), b = open("f", O_RDWR);

		CALL(a);
		MAY_LACK(flock(a, LOCK_EX | LOCK_NB));
		close(a);
		CHECK(flock(b, LOCK_EX | LOCK_NB) == 0, "held after close, round %d", i);
		close(b);
	}
	return PROBE_OK;
}

static int lock_as(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };

	return fcntl(fd, cmd, &fl);
}

/* A child locks bytes 10-19, says so, and ends by closing another handle. */
static pid_t lock_in_child(int ready, int go)
{
	pid_t pid = fork();
	char c = 0;

	if (pid == 0) {
		int fd = open("f", O_RDWR), other = open("f", O_RDWR);

		c = lock_as(fd, F_SETLK, F_WRLCK, 10, 10) == 0;
		if (write(ready, &c, 1) != 1 || read(go, &c, 1) != 1)
			_exit(1);
		close(other);
		if (write(ready, "c", 1) != 1 || read(go, &c, 1) != 1)
			_exit(1);
		_exit(0);
	}
	return pid;
}

static enum verdict posix_locks(void)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0 };
	int fd = make_file("f", 0644, 100), ready[2], go[2];
	char c = 0;
	pid_t pid;

	CALL(fd);
	CALL(pipe(ready));
	CALL(pipe(go));
	pid = lock_in_child(ready[1], go[0]);
	CHECK(read(ready[0], &c, 1) == 1 && c == 1, "the child cannot lock");
	CALL(fcntl(fd, F_GETLK, &fl));
	CHECK(fl.l_type == F_WRLCK && fl.l_start == 10 && fl.l_len == 10, "F_GETLK is wrong");
	CHECK(fl.l_pid == pid, "F_GETLK names process %d, not %d", fl.l_pid, pid);
	REFUSED(lock_as(fd, F_SETLK, F_WRLCK, 15, 1), EAGAIN);
	CALL(lock_as(fd, F_SETLK, F_WRLCK, 0, 10));
	CHECK(write(go[1], "g", 1) == 1 && read(ready[0], &c, 1) == 1, "child is gone");
	CHECK(lock_as(fd, F_SETLK, F_WRLCK, 10, 10) == 0,
	      "closing a handle of the file does not free the lock");
	CHECK(write(go[1], "g", 1) == 1, "child is gone");
	waitpid(pid, NULL, 0);
	return PROBE_OK;
}

static enum verdict ofd_locks(void)
{
	int a = make_file("f", 0644, 100), b = open("f", O_RDWR), c;

	CALL(a);
	MAY_LACK(lock_as(a, F_OFD_SETLK, F_WRLCK, 0, 10));
	REFUSED(lock_as(b, F_OFD_SETLK, F_RDLCK, 5, 10), EAGAIN);
	CALL(lock_as(b, F_OFD_SETLK, F_WRLCK, 10, 10));
	c = dup(a);
	close(a);
	REFUSED(lock_as(b, F_OFD_SETLK, F_RDLCK, 5, 1), EAGAIN);
	close(c);
	CHECK(lock_as(b, F_OFD_SETLK, F_RDLCK, 5, 1) == 0, "held after the last close");
	return PROBE_OK;
}

/* A waiter gets the lock when the holder lets go, and not before. */
static enum verdict lock_wait(void)
{
	int fd = make_file("f", 0644, 100), status, up[2];
	char c;
	pid_t pid;

	CALL(fd);
	CALL(pipe(up));
	CALL(lock_as(fd, F_OFD_SETLK, F_WRLCK, 0, 10));
	pid = fork();
	if (pid == 0) {
		int mine = open("f", O_RDWR);

		if (write(up[1], "r", 1) != 1)
			_exit(1);
		_exit(lock_as(mine, F_OFD_SETLKW, F_WRLCK, 0, 10) < 0);
	}
	CHECK(read(up[0], &c, 1) == 1, "child is gone");
	CHECK(waitpid(pid, &status, WNOHANG) == 0, "the lock was given twice");
	CALL(lock_as(fd, F_OFD_SETLK, F_UNLCK, 0, 10));
	CALL(waitpid(pid, &status, 0));
	CHECK(status == 0, "the waiter did not get the lock");
	return PROBE_OK;
}

/* --- the whole filesystem --------------------------------------------- */

static enum verdict statfs_sane(void)
{
	struct statvfs v;

	CALL(statvfs(".", &v));
	CHECK(v.f_namemax == 255, "f_namemax %lu", v.f_namemax);
	CHECK(v.f_bsize >= 512 && v.f_frsize >= 512, "block size %lu", v.f_bsize);
	CHECK(v.f_blocks > 0 && v.f_bfree <= v.f_blocks && v.f_bavail <= v.f_bfree,
	      "blocks %llu free %llu available %llu", (unsigned long long)v.f_blocks,
	      (unsigned long long)v.f_bfree, (unsigned long long)v.f_bavail);
	CHECK(v.f_ffree <= v.f_files, "more free inodes than inodes");
	return PROBE_OK;
}

static enum verdict syncs(void)
{
	int fd = make_file("f", 0644, 100000), dir = open(".", O_RDONLY | O_DIRECTORY);

	CALL(fd);
	CALL(fdatasync(fd));
	CALL(fsync(fd));
	CALL(fsync(dir));
	CALL(syncfs(dir));
	CALL(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
	fd = open("g", O_WRONLY | O_CREAT | O_SYNC, 0644);
	CHECK(write(fd, "x", 1) == 1, "write with O_SYNC: %s", strerror(errno));
	return PROBE_OK;
}

const struct probe data_probes[] = {
	{ "o_direct", o_direct, ANYONE },
	{ "o_direct_mmap", o_direct_mmap, ANYONE },
	{ "fallocate_extend", fallocate_extend, ANYONE },
	{ "fallocate_keep_size", fallocate_keep_size, ANYONE },
	{ "fallocate_punch", fallocate_punch, ANYONE },
	{ "fallocate_zero", fallocate_zero, ANYONE },
	{ "fallocate_collapse", fallocate_collapse, ANYONE },
	{ "fallocate_insert", fallocate_insert, ANYONE },
	{ "seek_hole_data", seek_hole_data, ANYONE },
	{ "sparse_stays_sparse", sparse_stays_sparse, ANYONE },
	{ "copy_range", copy_range, ANYONE },
	{ "mmap_shared", mmap_shared, ANYONE },
	{ "exec_copied", exec_copied, ANYONE },
	{ "open_write_then_readonly_mode", open_write_then_readonly_mode, ANYONE },
	{ "flock_excludes", flock_excludes, ANYONE },
	{ "flock_freed_by_close", flock_freed_by_close, ANYONE },
	{ "posix_locks", posix_locks, ANYONE },
	{ "ofd_locks", ofd_locks, ANYONE },
	{ "lock_wait", lock_wait, ANYONE },
	{ "statfs_sane", statfs_sane, ANYONE },
	{ "syncs", syncs, ANYONE },
};

const size_t data_probes_nr = ARRAY_SIZE(data_probes);
