// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The operations of the I/O exerciser. Each picks its own parameters, leaves
 * a line in the file's ring, does the call and the same on the model; a call
 * that fails, a short count or a differing byte is a fault. See io.h for the
 * invariants of model and mode.
 */
#include "io.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* --- reading ---------------------------------------------------------- */

static size_t readable(const struct model *f, size_t off, size_t len)
{
	size_t left = off < f->size ? f->size - off : 0;

	return len < left ? len : left;
}

static void read_check(struct model *f, int fd, size_t off, size_t len, const char *how)
{
	size_t want = readable(f, off, len);
	ssize_t n = pread(fd, io_run.buf, len, (off_t)off);

	if (n < 0)
		io_fault(f, "%s of %zu bytes at %zu", how, len, off);
	io_check(f, off, io_run.buf, (size_t)n < want ? (size_t)n : want, how);
	if ((size_t)n != want)
		io_fault(f, "%s of %zu bytes at %zu gave %zd, expected %zu", how, len, off, n,
			 want);
}

static void op_read(struct model *f)
{
	int fd = io_get_buffered(f);
	size_t off = io_pick_offset(f);
	size_t len = io_pick_length(io_run.max - off);

	io_log(f, "read %zu at %zu", len, off);
	read_check(f, fd, off, len, "read");
}

/*
 * xfs (seen on 6.18) answers a direct read past the last block with EIO while
 * it holds unwritten preallocation there. Noted, and read again up to the end.
 */
static size_t direct_length(struct model *f, int fd, size_t off, size_t len)
{
	size_t end = PAGE_UP(f->size);

	if (off + len <= end || pread(fd, io_run.buf, len, (off_t)off) >= 0 || errno != EIO)
		return len;
	io_note_unsup("direct read past the end");
	return off < end ? end - off : 0;
}

static void op_read_direct(struct model *f)
{
	int fd = io_get_direct(f);
	size_t off = PAGE_DOWN(io_pick_offset(f));
	size_t len = PAGE_UP(io_pick_length(io_run.max - off));

	if (fd < 0)
		return;
	len = direct_length(f, fd, off, len);
	io_log(f, "direct read %zu at %zu", len, off);
	read_check(f, fd, off, len, "direct read");
}

void io_verify_whole(struct model *f, int fd, const char *how)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		io_fault(f, "%s: fstat", how);
	if ((size_t)st.st_size != f->size)
		io_fault(f, "%s: fstat says size %lld", how, (long long)st.st_size);
	if (st.st_nlink != (f->linked ? 1 : 0))
		io_fault(f, "%s: fstat says nlink %lu", how, (unsigned long)st.st_nlink);
	read_check(f, fd, 0, io_run.max, how);
}

static void op_verify(struct model *f)
{
	int fd = io_get_buffered(f);

	io_log(f, "verify");
	io_verify_whole(f, fd, "verify");
}

/* --- writing ---------------------------------------------------------- */

static void write_all(struct model *f, int fd, size_t off, size_t len, const char *how)
{
	size_t cut = io_rnd(4) ? len : io_rnd(len + 1);
	struct iovec iov[2] = {
		{ io_run.buf, cut },
		{ io_run.buf + cut, len - cut },
	};
	ssize_t n = cut == len ? pwrite(fd, io_run.buf, len, (off_t)off)
			       : pwritev(fd, iov, 2, (off_t)off);

	if (n != (ssize_t)len)
		io_fault(f, "%s of %zu bytes at %zu gave %zd", how, len, off, n);
	io_model_write(f, off, io_run.buf, len);
}

static void op_write(struct model *f)
{
	int fd = io_get_writable(f);
	size_t off = io_pick_offset(f);
	size_t len = io_pick_length(off < f->cap ? f->cap - off : 0);

	io_log(f, "write %zu at %zu", len, off);
	io_fill(io_run.buf, off, len);
	write_all(f, fd, off, len, "write");
}

static void op_write_direct(struct model *f)
{
	int fd = io_get_direct(f);
	size_t off = PAGE_DOWN(io_pick_offset(f));
	size_t len = PAGE_UP(io_pick_length(f->cap));

	if (fd < 0 || off + len > io_run.max)
		return;
	io_log(f, "direct write %zu at %zu", len, off);
	io_fill(io_run.buf, off, len);
	if (pwrite(fd, io_run.buf, len, (off_t)off) != (ssize_t)len)
		io_fault(f, "direct write of %zu bytes at %zu", len, off);
	io_model_write(f, off, io_run.buf, len);
}

static void op_append(struct model *f)
{
	size_t len = io_pick_length(f->size < f->cap ? f->cap - f->size : 0);
	int fd;

	io_set_mode(f, false);
	fd = io_get_fd(f, H_APPEND);
	io_log(f, "append %zu", len);
	io_fill(io_run.buf, f->size, len);
	if (write(fd, io_run.buf, len) != (ssize_t)len)
		io_fault(f, "append of %zu bytes", len);
	io_model_write(f, f->size, io_run.buf, len);
}

/* A run of small appends, as a log writer does. */
static void op_append_run(struct model *f)
{
	size_t times = 1 + io_rnd(20);

	while (times--)
		op_append(f);
}

static void op_truncate(struct model *f)
{
	size_t size = io_rnd(4) ? io_pick_offset(f) : io_rnd(2) ? 0 : io_rnd(f->size + 1);
	bool by_path = f->linked && io_rnd(2);
	char path[4096];
	int r;

	io_log(f, "%s to %zu", by_path ? "truncate" : "ftruncate", size);
	snprintf(path, sizeof(path), "%s/%s", io_run.dir, f->name);
	r = by_path ? truncate(path, (off_t)size) : ftruncate(io_get_fd(f, H_RW), (off_t)size);
	if (r < 0)
		io_fault(f, "truncate to %zu", size);
	io_model_resize(f, size);
}

static void op_open_trunc(struct model *f)
{
	int fd;

	io_log(f, "open with O_TRUNC");
	fd = io_open_handle(f, O_WRONLY | O_TRUNC);
	if (fd < 0 || close(fd) < 0)
		io_fault(f, "open with O_TRUNC");
	io_model_resize(f, 0);
}

/* --- fallocate, copy, holes ------------------------------------------- */

static const struct falloc_mode {
	const char *name;
	int mode;
	bool zeroes;
	bool grows;
} falloc_modes[] = {
	{ "fallocate extend", 0, false, true },
	{ "fallocate keep_size", FALLOC_FL_KEEP_SIZE, false, false },
	{ "fallocate punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, true, false },
	{ "fallocate zero", FALLOC_FL_ZERO_RANGE, true, true },
	{ "fallocate zero keep_size", FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, true, false },
};

static void op_fallocate(struct model *f)
{
	const struct falloc_mode *m = &falloc_modes[io_rnd(ARRAY_SIZE(falloc_modes))];
	size_t off = io_pick_offset(f);
	size_t len = io_pick_length(off < f->cap ? f->cap - off : 0);

	if (!len)
		return;
	io_log(f, "%s %zu at %zu", m->name, len, off);
	if (fallocate(io_get_fd(f, H_RW), m->mode, (off_t)off, (off_t)len) < 0) {
		if (errno != EOPNOTSUPP)
			io_fault(f, "%s of %zu bytes at %zu", m->name, len, off);
		io_note_unsup(m->name);
		return;
	}
	if (m->zeroes)
		memset(f->data + off, 0, readable(f, off, len));
	if (m->grows && off + len > f->size)
		io_model_resize(f, off + len);
}

static bool overlaps(size_t a, size_t b, size_t len)
{
	return (a > b ? a - b : b - a) < len;
}

static void op_copy(struct model *f)
{
	struct model *to = io_rnd(2) ? f : &io_run.files[io_rnd((size_t)io_run.nfiles)];
	int in = io_get_buffered(f), out = io_get_writable(to);
	off_t from = (off_t)io_rnd(f->size + 1), at = (off_t)io_pick_offset(to);
	size_t len = io_pick_length(to->cap > (size_t)at ? to->cap - (size_t)at : 0);
	size_t want = readable(f, (size_t)from, len), done = 0;

	if (!want || (f == to && overlaps((size_t)from, (size_t)at, want)))
		return;
	io_log(f, "copy %zu from %lld to %s at %lld", want, (long long)from, to->name,
	       (long long)at);
	if (to != f)
		io_log(to, "copy %zu from %s %lld to %lld", want, f->name, (long long)from,
		       (long long)at);
	memcpy(io_run.buf, f->data + from, want);
	while (done < want) {
		ssize_t n = copy_file_range(in, &from, out, &at, want - done, 0);

		if (n <= 0)
			io_fault(to, "copy_file_range gave %zd after %zu of %zu bytes", n, done,
				 want);
		io_model_write(to, (size_t)at - (size_t)n, io_run.buf + done, (size_t)n);
		done += (size_t)n;
	}
	io_run.now = to;
	read_check(to, out, (size_t)at - want, want, "read of copied range");
}

static void check_hole(struct model *f, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		if (f->data[i])
			io_fault(f, "SEEK_DATA skips %zu-%zu but byte %zu is %#x", from, to, i,
				 f->data[i]);
}

/*
 * Walks all segments: holes are zero in the model, the map is consistent. FUSE
 * does not write dirty pages back before it asks the filesystem for holes.
 */
static void op_seek(struct model *f)
{
	int fd = io_get_fd(f, H_RW);
	off_t pos = (off_t)(io_rnd(2) ? 0 : io_rnd(f->size + 1)), data, hole;

	io_log(f, "seek walk from %lld", (long long)pos);
	if ((f->map_dirty || io_run.sync_first) && fdatasync(fd) < 0)
		io_fault(f, "fdatasync before a seek walk");
	f->map_dirty = false;
	while ((size_t)pos < f->size) {
		data = lseek(fd, pos, SEEK_DATA);
		if (data < 0 && errno != ENXIO)
			io_fault(f, "SEEK_DATA at %lld", (long long)pos);
		check_hole(f, (size_t)pos, data < 0 ? f->size : (size_t)data);
		if (data < 0)
			return;
		if (data < pos || (size_t)data >= f->size)
			io_fault(f, "SEEK_DATA at %lld gave %lld", (long long)pos, (long long)data);
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < data || (size_t)hole > f->size)
			io_fault(f, "SEEK_HOLE at %lld gave %lld", (long long)data,
				 (long long)hole);
		/* ext4 with blocks below a page may call the same place both */
		pos = hole > data ? hole : data + 512 - data % 512;
	}
	if (lseek(fd, (off_t)f->size, SEEK_DATA) >= 0 || errno != ENXIO)
		io_fault(f, "SEEK_DATA at the end is not ENXIO");
}

/* --- mappings --------------------------------------------------------- */

static unsigned char *shared_map(struct model *f)
{
	void *p;

	io_set_mode(f, false);
	if (f->map)
		return f->map;
	p = mmap(NULL, io_run.max, PROT_READ | PROT_WRITE, MAP_SHARED, io_get_fd(f, H_RW), 0);
	if (p == MAP_FAILED)
		io_fault(f, "mmap MAP_SHARED");
	f->map = p;
	return f->map;
}

static void op_map_read(struct model *f)
{
	unsigned char *map = shared_map(f);
	size_t off = io_rnd(f->size + 1), len = readable(f, off, io_pick_length(io_run.max));
	size_t end = PAGE_UP(f->size);

	io_log(f, "map read %zu at %zu", len, off);
	memcpy(io_run.buf, map + off, len);
	io_check(f, off, io_run.buf, len, "mapped read");
	/* the rest of the last page reads as zeros */
	memcpy(io_run.buf, map + f->size, end - f->size);
	io_check(f, f->size, io_run.buf, end - f->size, "mapped page past the end");
}

static void op_map_write(struct model *f)
{
	unsigned char *map = shared_map(f);
	size_t off = io_rnd(f->size + 1), len = readable(f, off, io_pick_length(io_run.max));

	io_log(f, "map write %zu at %zu", len, off);
	io_fill(io_run.buf, off, len);
	memcpy(map + off, io_run.buf, len);
	f->map_dirty = true;
	io_model_write(f, off, io_run.buf, len);
	if (io_rnd(4) == 0 && msync(map, io_run.max, io_rnd(2) ? MS_SYNC : MS_ASYNC) < 0)
		io_fault(f, "msync");
}

/* What is written into a private mapping must not reach the file. */
static void op_map_private(struct model *f)
{
	size_t off = io_rnd(f->size + 1), len = readable(f, off, io_pick_length(io_run.max));
	unsigned char *map;
	int fd;

	io_set_mode(f, false);
	fd = io_get_fd(f, H_RD);
	io_log(f, "private map read and scribble %zu at %zu", len, off);
	map = mmap(NULL, io_run.max, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		io_fault(f, "mmap MAP_PRIVATE");
	memcpy(io_run.buf, map + off, len);
	io_check(f, off, io_run.buf, len, "private mapping");
	memset(map + off, 0xa5, len);
	read_check(f, fd, off, len, "read after a scribble in a private mapping");
	munmap(map, io_run.max);
}

/* --- syncs, names ----------------------------------------------------- */

static void op_sync(struct model *f)
{
	bool data_only = io_rnd(2);
	int fd = f->direct ? io_get_fd(f, H_DIRECT) : io_get_buffered(f);

	io_log(f, "%s", data_only ? "fdatasync" : "fsync");
	if ((data_only ? fdatasync(fd) : fsync(fd)) < 0)
		io_fault(f, "sync");
}

static void op_dontneed(struct model *f)
{
	int fd = io_get_fd(f, H_RW);

	io_log(f, "fsync, DONTNEED, verify");
	if (fsync(fd) < 0)
		io_fault(f, "fsync");
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	io_verify_whole(f, f->direct ? io_get_fd(f, H_DIRECT) : fd, "verify after DONTNEED");
}

static void op_reopen(struct model *f)
{
	bool all = f->linked && io_rnd(2);

	io_log(f, "close %s", all ? "all handles" : "one handle");
	if (all)
		io_close_all(f);
	else if (f->linked || f->fd[H_RW] >= 0)
		io_close_fd(f, (enum handle)(H_RW2 + (int)io_rnd(H_NR - H_RW2)));
}

static void op_rename(struct model *f)
{
	char old[sizeof(f->name)];

	if (!f->linked)
		return;
	memcpy(old, f->name, sizeof(old));
	io_new_name(f);
	io_log(f, "rename %s to %s", old, f->name);
	if (renameat(io_run.dirfd, old, io_run.dirfd, f->name) < 0)
		io_fault(f, "rename from %s", old);
}

/* Unlinks, to go on through the handles; the next time makes it anew. */
static void op_unlink(struct model *f)
{
	if (f->linked) {
		int fd = io_get_fd(f, H_RW);

		io_log(f, "unlink %s while open", f->name);
		if (unlinkat(io_run.dirfd, f->name, 0) < 0)
			io_fault(f, "unlink");
		f->linked = false;
		io_verify_whole(f, fd, "verify after unlink");
		return;
	}
	io_set_mode(f, false);
	io_verify_whole(f, io_get_fd(f, H_RW), "verify of the unlinked file");
	io_close_all(f);
	io_create(f);
}

/* The way editors save: write beside, rename over; old handles keep the old. */
static void op_replace(struct model *f)
{
	size_t len = io_pick_length(f->cap);
	unsigned char *copy;
	int fd, old;

	if (!f->linked)
		return;
	io_set_mode(f, false);
	old = io_get_fd(f, H_RW);
	io_log(f, "replace by a new file of %zu", len);
	fd = openat(io_run.dirfd, "io.tmp", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		io_fault(f, "create of io.tmp");
	copy = must_alloc(len);
	io_fill(copy, 0, len);
	if (pwrite(fd, copy, len, 0) != (ssize_t)len || (io_rnd(2) && fsync(fd) < 0))
		io_fault(f, "write of io.tmp");
	if (renameat(io_run.dirfd, "io.tmp", io_run.dirfd, f->name) < 0)
		io_fault(f, "rename of io.tmp over the file");
	f->linked = false;
	io_verify_whole(f, old, "old handle after a rename over the file");
	io_close_all(f);
	io_model_resize(f, 0);
	f->linked = true;
	f->fd[H_RW] = fd;
	io_model_write(f, 0, copy, len);
	free(copy);
}

/* --- the table -------------------------------------------------------- */

static const struct op {
	void (*fn)(struct model *f);
	unsigned int weight;
} ops[] = {
	{ op_read, 20 },	{ op_write, 24 },     { op_append, 6 },	   { op_append_run, 2 },
	{ op_truncate, 6 },	{ op_open_trunc, 1 }, { op_fallocate, 8 }, { op_copy, 8 },
	{ op_seek, 4 },		{ op_map_read, 6 },   { op_map_write, 8 }, { op_map_private, 3 },
	{ op_sync, 4 },		{ op_dontneed, 3 },   { op_reopen, 4 },	   { op_rename, 2 },
	{ op_unlink, 1 },	{ op_replace, 1 },    { op_verify, 2 },	   { op_read_direct, 4 },
	{ op_write_direct, 6 },
};

static const struct op *pick_op(void)
{
	unsigned int total = 0, at;

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		total += ops[i].weight;
	at = (unsigned int)io_rnd(total);
	for (size_t i = 0;; i++) {
		if (at < ops[i].weight)
			return &ops[i];
		at -= ops[i].weight;
	}
}

void io_step(struct model *f)
{
	pick_op()->fn(f);
}
