/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One function for every kind of damage. Each leaves the object really
 * different from before (a zeroed block was not zero, swapped blocks differ)
 * or says PLANT_UNFIT, so that every planted damage is one that must be found.
 * Damages to content keep the mtime: that is what rot looks like.
 */
#include "tests/rot/damage.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define RECORD_BYTES 68
#define RECORD_ID_OFFSET 4 /* of the file id, little-endian: docs/format.md */

#define T_REG (1u << (S_IFREG >> 12))
#define T_DIR (1u << (S_IFDIR >> 12))
#define T_LNK (1u << (S_IFLNK >> 12))
#define T_FIFO (1u << (S_IFIFO >> 12))
#define T_ANY (T_REG | T_DIR | T_LNK | T_FIFO)

uint64_t rng_next(struct rng *rng)
{
	uint64_t z = (rng->state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t rng_below(struct rng *rng, uint64_t n)
{
	return rng_next(rng) % n;
}

static void rng_fill(struct rng *rng, uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)rng_next(rng);
}

/* ---- content ---- */

/* The leaf at off as it lies on the disk now. */
static size_t read_leaf(int fd, uint64_t off, uint8_t *buf)
{
	ssize_t n = pread(fd, buf, BLOCK, (off_t)(off / BLOCK * BLOCK));

	return n < 0 ? 0 : (size_t)n;
}

static int finish(int fd, const struct object *o, int err)
{
	struct timespec tv[2] = { o->st.st_atim, o->st.st_mtim };

	if (err >= 0 && futimens(fd, tv) != 0)
		err = -errno;
	/* the rot is to be on the medium, not only in the page cache */
	if (err >= 0 && fdatasync(fd) != 0)
		err = -errno;
	close(fd);
	return err;
}

/* Overwrites [off, off + len) with buf and notes old bytes and bad leaf. */
static int overwrite(int fd, const uint8_t *buf, size_t len, uint64_t off,
		     struct damage *d)
{
	ssize_t n = pread(fd, d->old, len, (off_t)off);

	if (n != (ssize_t)len)
		return n < 0 ? -errno : PLANT_UNFIT;
	if (memcmp(d->old, buf, len) == 0)
		return PLANT_UNFIT;
	d->old_len = len;
	d->off = off;
	d->len = len;
	n = pwrite(fd, buf, len, (off_t)off);
	if (n != (ssize_t)len)
		return n < 0 ? -errno : -EIO;
	d->bad_len = read_leaf(fd, off, d->bad);
	return PLANT_DONE;
}

static int plant_flip(struct rng *rng, const struct object *o, struct damage *d)
{
	uint64_t off;
	uint8_t c;
	int fd, err = PLANT_UNFIT;

	if (o->st.st_size == 0)
		return PLANT_UNFIT;
	fd = open(o->path, O_RDWR | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	off = rng_below(rng, (uint64_t)o->st.st_size);
	if (pread(fd, &c, 1, (off_t)off) == 1) {
		unsigned bit = (unsigned)rng_below(rng, 8);

		c ^= (uint8_t)(1u << bit);
		snprintf(d->detail, sizeof(d->detail), "bit=%u", bit);
		err = overwrite(fd, &c, 1, off, d);
	}
	return finish(fd, o, err);
}

static int plant_zero(struct rng *rng, const struct object *o, struct damage *d)
{
	static const uint8_t zeros[BLOCK];
	uint64_t off;
	size_t len;
	int fd, err;

	if (o->st.st_size == 0)
		return PLANT_UNFIT;
	fd = open(o->path, O_RDWR | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	off = rng_below(rng, ((uint64_t)o->st.st_size + BLOCK - 1) / BLOCK) * BLOCK;
	len = (uint64_t)o->st.st_size - off;
	err = overwrite(fd, zeros, len > BLOCK ? BLOCK : len, off, d);
	d->bad_len = 0; /* zeros are found anywhere: nothing to look for */
	return finish(fd, o, err);
}

static int plant_swap(struct rng *rng, const struct object *o, struct damage *d)
{
	uint64_t blocks = (uint64_t)o->st.st_size / BLOCK, a, b;
	uint8_t one[BLOCK], two[BLOCK];
	int fd, err = -EIO;

	if (blocks < 2)
		return PLANT_UNFIT;
	a = rng_below(rng, blocks);
	b = (a + 1 + rng_below(rng, blocks - 1)) % blocks;
	fd = open(o->path, O_RDWR | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	if (pread(fd, one, BLOCK, (off_t)(a * BLOCK)) == BLOCK &&
	    pread(fd, two, BLOCK, (off_t)(b * BLOCK)) == BLOCK)
		err = overwrite(fd, one, BLOCK, b * BLOCK, d);
	if (err == PLANT_DONE)
		err = overwrite(fd, two, BLOCK, a * BLOCK, d);
	snprintf(d->detail, sizeof(d->detail), "with=%llu", (unsigned long long)(b * BLOCK));
	return finish(fd, o, err);
}

/* Other content of the same size: a lost write, a restored old file. */
static int plant_replace(struct rng *rng, const struct object *o, struct damage *d)
{
	uint64_t size = (uint64_t)o->st.st_size, off;
	uint8_t buf[BLOCK];
	int fd, err = PLANT_DONE;

	if (size == 0 || size > 2 * 1024 * 1024)
		return PLANT_UNFIT;
	fd = open(o->path, O_RDWR | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	for (off = 0; off < size && err == PLANT_DONE; off += BLOCK) {
		size_t len = size - off > BLOCK ? BLOCK : size - off;

		rng_fill(rng, buf, len);
		err = overwrite(fd, buf, len, off, d);
		/* one byte may come out as it was: not a failure of the rest */
		if (err == PLANT_UNFIT && off > 0)
			err = PLANT_DONE;
	}
	d->off = 0;
	d->len = size;
	return finish(fd, o, err);
}

static int plant_truncate(struct rng *rng, const struct object *o, struct damage *d)
{
	uint64_t size = (uint64_t)o->st.st_size;
	int fd, err = PLANT_DONE;

	if (size == 0)
		return PLANT_UNFIT;
	fd = open(o->path, O_RDWR | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	d->off = rng_below(rng, size);
	d->len = size - d->off;
	if (ftruncate(fd, (off_t)d->off) != 0)
		err = -errno;
	return finish(fd, o, err);
}

static int plant_extend(struct rng *rng, const struct object *o, struct damage *d)
{
	uint8_t buf[BLOCK];
	ssize_t n;
	int fd, err = PLANT_DONE;

	fd = open(o->path, O_RDWR | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	d->off = (uint64_t)o->st.st_size;
	d->len = 1 + rng_below(rng, BLOCK);
	rng_fill(rng, buf, d->len);
	n = pwrite(fd, buf, d->len, (off_t)d->off);
	if (n != (ssize_t)d->len)
		err = n < 0 ? -errno : -EIO;
	memcpy(d->bad, buf, d->len);
	d->bad_len = d->len;
	/* the part in the last leaf may be kept apart from the part beyond it */
	if (d->off % BLOCK + d->len > BLOCK)
		d->bad_len = BLOCK - d->off % BLOCK;
	return finish(fd, o, err);
}

/* ---- names ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int remove_all(const char *path)
{
	return nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS) == 0 ? 0 : -errno;
}

static int plant_delete(struct rng *rng, const struct object *o, struct damage *d)
{
	(void)rng;
	(void)d;
	return remove_all(o->path) == 0 ? PLANT_DONE : -errno;
}

static int make_other(struct rng *rng, const char *path, mode_t type)
{
	int fd;

	switch (type) {
	case S_IFDIR:
		return mkdir(path, 0755);
	case S_IFLNK:
		return symlink("rotten/target", path);
	case S_IFIFO:
		return mkfifo(path, 0644);
	default:
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
		if (fd < 0)
			return -1;
		if (rng_below(rng, 2) != 0 && write(fd, "not a directory\n", 16) != 16) {
			close(fd);
			return -1;
		}
		return close(fd);
	}
}

static int plant_retype(struct rng *rng, const struct object *o, struct damage *d)
{
	static const mode_t types[] = { S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO };
	static const char *const names[] = { "file", "dir", "symlink", "fifo" };
	unsigned t = (unsigned)rng_below(rng, 4);

	if (types[t] == (o->st.st_mode & S_IFMT))
		t = (t + 1) % 4;
	snprintf(d->detail, sizeof(d->detail), "to=%s", names[t]);
	if (remove_all(o->path) != 0 || make_other(rng, o->path, types[t]) != 0)
		return -errno;
	return PLANT_DONE;
}

static int plant_target(struct rng *rng, const struct object *o, struct damage *d)
{
	char target[4096];
	ssize_t n = readlink(o->path, target, sizeof(target) - 2);

	if (n <= 0)
		return n < 0 ? -errno : PLANT_UNFIT;
	target[n] = '\0';
	memcpy(d->old, target, (size_t)n);
	d->old_len = (size_t)n;
	if (rng_below(rng, 2) == 0)
		strcat(target, "x"); /* also another length */
	else
		target[rng_below(rng, (uint64_t)n)] ^= 1;
	if (unlink(o->path) != 0 || symlink(target, o->path) != 0)
		return -errno;
	return PLANT_DONE;
}

/* Adds something nobody made through the mount, in directory o. */
static int plant_foreign(struct rng *rng, const struct object *o, struct damage *d)
{
	static const mode_t types[] = { S_IFREG, S_IFREG, S_IFREG, S_IFDIR, S_IFLNK };
	mode_t type = types[rng_below(rng, 5)];
	int fd;

	if (snprintf(d->path, sizeof(d->path), "%s/foreign-%08llx", o->path,
		     (unsigned long long)(rng_next(rng) >> 32)) >= (int)sizeof(d->path))
		return PLANT_UNFIT;
	if (type != S_IFREG)
		return make_other(rng, d->path, type) == 0 ? PLANT_DONE : -errno;
	d->bad_len = 1 + rng_below(rng, BLOCK);
	rng_fill(rng, d->bad, d->bad_len);
	fd = open(d->path, O_WRONLY | O_CREAT | O_EXCL, 0644);
	if (fd < 0)
		return -errno;
	if (write(fd, d->bad, d->bad_len) != (ssize_t)d->bad_len) {
		close(fd);
		return -EIO;
	}
	return close(fd) == 0 ? PLANT_DONE : -errno;
}

/* ---- attributes ---- */

static const char *record_name(const struct object *o)
{
	bool user = S_ISREG(o->st.st_mode) || S_ISDIR(o->st.st_mode);

	return user ? "user.mfs" : "trusted.mfs";
}

static int plant_norecord(struct rng *rng, const struct object *o, struct damage *d)
{
	ssize_t n = lgetxattr(o->path, record_name(o), d->old, sizeof(d->old));

	(void)rng;
	if (n < 0) /* spilled, or a name of a file without one */
		return PLANT_UNFIT;
	d->old_len = (size_t)n;
	return lremovexattr(o->path, record_name(o)) == 0 ? PLANT_DONE : -errno;
}

static int plant_badrecord(struct rng *rng, const struct object *o, struct damage *d)
{
	ssize_t n = lgetxattr(o->path, record_name(o), d->old, sizeof(d->old));
	uint8_t rec[RECORD_BYTES];

	if (n != RECORD_BYTES)
		return PLANT_UNFIT;
	d->old_len = (size_t)n;
	memcpy(rec, d->old, sizeof(rec));
	d->off = rng_below(rng, RECORD_BYTES);
	d->len = 1;
	rec[d->off] ^= (uint8_t)(1 + rng_below(rng, 255));
	if (lsetxattr(o->path, record_name(o), rec, sizeof(rec), XATTR_REPLACE) != 0)
		return -errno;
	return PLANT_DONE;
}

/* The first user.* attribute which is the user's own. */
static const char *users_xattr(const char *path, char *list, size_t size)
{
	ssize_t n = llistxattr(path, list, size);

	for (char *p = list; n > 0 && p < list + n; p += strlen(p) + 1)
		if (strncmp(p, "user.", 5) == 0 && strcmp(p, "user.mfs") != 0)
			return p;
	return NULL;
}

static int plant_noxattr(struct rng *rng, const struct object *o, struct damage *d)
{
	char list[4096];
	const char *name = users_xattr(o->path, list, sizeof(list));

	(void)rng;
	if (name == NULL)
		return PLANT_UNFIT;
	snprintf(d->detail, sizeof(d->detail), "%s", name);
	return lremovexattr(o->path, name) == 0 ? PLANT_DONE : -errno;
}

static int plant_badxattr(struct rng *rng, const struct object *o, struct damage *d)
{
	char list[4096], value[BLOCK];
	const char *name = users_xattr(o->path, list, sizeof(list));
	ssize_t n;

	if (name == NULL)
		return PLANT_UNFIT;
	n = lgetxattr(o->path, name, value, sizeof(value));
	if (n <= 0)
		return PLANT_UNFIT;
	memcpy(d->old, value, (size_t)n);
	d->old_len = (size_t)n;
	value[rng_below(rng, (uint64_t)n)] ^= 1;
	snprintf(d->detail, sizeof(d->detail), "%s", name);
	return lsetxattr(o->path, name, value, (size_t)n, 0) == 0 ? PLANT_DONE : -errno;
}

static int plant_addxattr(struct rng *rng, const struct object *o, struct damage *d)
{
	(void)rng;
	snprintf(d->detail, sizeof(d->detail), "user.planted");
	if (lsetxattr(o->path, "user.planted", "x", 1, XATTR_CREATE) != 0)
		return errno == ENOSPC ? PLANT_UNFIT : -errno;
	return PLANT_DONE;
}

static int plant_mode(struct rng *rng, const struct object *o, struct damage *d)
{
	mode_t old = o->st.st_mode & 07777, mode = old ^ (1u << rng_below(rng, 9));

	snprintf(d->detail, sizeof(d->detail), "%04o->%04o", old, mode);
	return chmod(o->path, mode) == 0 ? PLANT_DONE : -errno;
}

static int plant_owner(struct rng *rng, const struct object *o, struct damage *d)
{
	uid_t uid = o->st.st_uid + 1 + (uid_t)rng_below(rng, 1000);

	snprintf(d->detail, sizeof(d->detail), "%u->%u", o->st.st_uid, uid);
	if (lchown(o->path, uid, (gid_t)-1) != 0)
		return errno == EPERM ? PLANT_UNFIT : -errno;
	return PLANT_DONE;
}

/* ---- hash files ---- */

/* Path of the hash file of o, by the id in its record. */
static int hash_path(const struct object *o, char *out, size_t size)
{
	uint8_t rec[RECORD_BYTES];
	uint64_t id = 0;

	if (o->st.st_size <= SMALL_MAX)
		return PLANT_UNFIT;
	if (lgetxattr(o->path, record_name(o), rec, sizeof(rec)) != RECORD_BYTES)
		return PLANT_UNFIT;
	for (int i = 7; i >= 0; i--)
		id = id << 8 | rec[RECORD_ID_OFFSET + i];
	snprintf(out, size, ".mirrorfs/hashes/%02x/%02x/%016llx", (unsigned)(id & 0xff),
		 (unsigned)(id >> 8 & 0xff), (unsigned long long)id);
	return access(out, F_OK) == 0 ? PLANT_DONE : PLANT_UNFIT;
}

static int open_hash(struct rng *rng, const struct object *o, struct damage *d)
{
	char path[128];
	struct stat st;
	int fd;

	if (hash_path(o, path, sizeof(path)) != PLANT_DONE)
		return -ENOENT;
	fd = open(path, O_RDWR);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) != 0 || st.st_size < BLOCK) {
		close(fd);
		return -ENOENT;
	}
	d->off = rng_below(rng, (uint64_t)st.st_size / BLOCK) * BLOCK;
	d->len = BLOCK;
	snprintf(d->detail, sizeof(d->detail), "%s", path + strlen(".mirrorfs/"));
	return fd;
}

static int plant_hashflip(struct rng *rng, const struct object *o, struct damage *d)
{
	int fd = open_hash(rng, o, d), err = PLANT_UNFIT;
	uint8_t c;

	if (fd < 0)
		return PLANT_UNFIT;
	d->off += rng_below(rng, BLOCK);
	if (pread(fd, &c, 1, (off_t)d->off) == 1) {
		c ^= (uint8_t)(1 + rng_below(rng, 255));
		err = overwrite(fd, &c, 1, d->off, d);
	}
	d->bad_len = 0; /* derived data: need not be kept */
	if (fdatasync(fd) != 0)
		err = -errno;
	close(fd);
	return err;
}

static int plant_hashzero(struct rng *rng, const struct object *o, struct damage *d)
{
	static const uint8_t zeros[BLOCK];
	int fd = open_hash(rng, o, d), err;

	if (fd < 0)
		return PLANT_UNFIT;
	err = overwrite(fd, zeros, BLOCK, d->off, d);
	d->bad_len = 0;
	if (fdatasync(fd) != 0)
		err = -errno;
	close(fd);
	return err;
}

static int plant_hashdelete(struct rng *rng, const struct object *o, struct damage *d)
{
	char path[128];
	int err = hash_path(o, path, sizeof(path));

	(void)rng;
	if (err != PLANT_DONE)
		return err;
	snprintf(d->detail, sizeof(d->detail), "%s", path + strlen(".mirrorfs/"));
	return unlink(path) == 0 ? PLANT_DONE : -errno;
}

const struct kind damage_kinds[] = {
	{ "flip", T_REG, false, plant_flip },
	{ "zero", T_REG, false, plant_zero },
	{ "swap", T_REG, false, plant_swap },
	{ "replace", T_REG, false, plant_replace },
	{ "truncate", T_REG, false, plant_truncate },
	{ "extend", T_REG, false, plant_extend },
	{ "delete", T_REG | T_LNK | T_FIFO, true, plant_delete },
	{ "rmtree", T_DIR, true, plant_delete },
	{ "retype", T_REG | T_LNK | T_FIFO, true, plant_retype },
	{ "retypedir", T_DIR, true, plant_retype },
	{ "target", T_LNK, false, plant_target },
	{ "foreign", T_DIR, false, plant_foreign },
	{ "norecord", T_ANY, false, plant_norecord },
	{ "badrecord", T_ANY, false, plant_badrecord },
	{ "noxattr", T_REG | T_DIR, false, plant_noxattr },
	{ "badxattr", T_REG | T_DIR, false, plant_badxattr },
	{ "addxattr", T_REG | T_DIR, false, plant_addxattr },
	{ "mode", T_REG | T_DIR | T_FIFO, false, plant_mode },
	{ "owner", T_ANY, false, plant_owner },
	{ "hashflip", T_REG, false, plant_hashflip },
	{ "hashzero", T_REG, false, plant_hashzero },
	{ "hashdelete", T_REG, false, plant_hashdelete },
};
const size_t damage_n_kinds = sizeof(damage_kinds) / sizeof(damage_kinds[0]);
