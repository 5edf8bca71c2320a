/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading: the preferred mirror's bytes are compared leaf by leaf with their
 * hashes before anybody sees them. The good case runs under the shared lock;
 * anything else is settled by check_window() under the exclusive one.
 */
#include "replica/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replica/base/io.h"
#include "replica/check.h"

int io_space_init(struct io_space *s)
{
	s->buf = aligned_alloc(LEAF_SIZE, IO_MAX + 2 * LEAF_SIZE);
	return s->buf ? 0 : -ENOMEM;
}

void io_space_free(struct io_space *s)
{
	free(s->buf);
	s->buf = NULL;
}

/* Leaf-aligned span of [off, off + len). */
struct span {
	uint64_t first, n;   /* leaves */
	uint64_t start;      /* byte of the first leaf */
	size_t bytes;        /* n leaves, cut at the end of the file */
};

static struct span span_of(uint64_t off, size_t len, uint64_t size)
{
	struct span s = { .first = off >> LEAF_SHIFT };
	uint64_t end = off + len;

	s.n = ((end + LEAF_SIZE - 1) >> LEAF_SHIFT) - s.first;
	s.start = s.first << LEAF_SHIFT;
	s.bytes = s.n << LEAF_SHIFT;
	if (s.start + s.bytes > size)
		s.bytes = size - s.start;
	return s;
}

static bool span_good(const struct file *f, const struct span *s, const uint8_t *buf)
{
	for (uint64_t i = 0; i < s->n; i++) {
		size_t at = i << LEAF_SHIFT;
		size_t len = s->bytes - at < LEAF_SIZE ? s->bytes - at : LEAF_SIZE;

		if (hash_leaf(f->id, s->first + i, buf + at, len) != leaves_get(f, s->first + i))
			return false;
	}
	return true;
}

/*
 * A small file that nobody read yet: the whole of it, hashed once, verified
 * against the record and kept. Saves reading it twice. Exclusive lock.
 */
static bool read_small(struct volume *v, struct file *f, uint8_t *buf)
{
	int fd = file_fd(v, f, volume_preferred(v, f->id), false);
	uint64_t leaf[SMALL_LEAVES] = { 0 }, sum = 0;

	/* Its size was compared when it was loaded. */
	if (fd < 0 || io_pread_full(fd, buf, f->size, 0) != (ssize_t)f->size)
		return false;
	for (uint64_t i = 0; i < leaves_of(f->size); i++) {
		size_t at = i << LEAF_SHIFT;
		size_t len = f->size - at < LEAF_SIZE ? f->size - at : LEAF_SIZE;

		leaf[i] = hash_leaf(f->id, i, buf + at, len);
		sum += leaf[i];
	}
	if (sum != f->sum)
		return false;
	memcpy(f->small, leaf, sizeof(leaf));
	f->known = true;
	return true;
}

static ssize_t cut(const struct file *f, uint64_t off, size_t len)
{
	if (off >= f->size)
		return 0;
	return (ssize_t)(len < f->size - off ? len : f->size - off);
}

/* 1: try again the slow way. */
static ssize_t read_fast(struct volume *v, struct file *f, struct io_space *s, uint64_t off,
			 size_t len, const void **data)
{
	struct span sp;
	int fd;

	if (!f->loaded)
		return -EAGAIN;
	len = (size_t)cut(f, off, len);
	if (!len)
		return 0;
	sp = span_of(off, len, f->size);
	if (!leaves_ready(f, sp.first, sp.n))
		return -EAGAIN;
	fd = file_fd(v, f, volume_preferred(v, f->id), false);
	if (fd < 0 || io_pread_full(fd, s->buf, sp.bytes, (off_t)sp.start) != (ssize_t)sp.bytes)
		return -EAGAIN;
	if (!span_good(f, &sp, s->buf))
		return -EAGAIN;
	*data = s->buf + (off - sp.start);
	return (ssize_t)len;
}

/* Reads window by window through the check, which heals. */
static int read_checked(struct volume *v, struct file *f, const struct span *sp, uint8_t *buf)
{
	struct check c;

	check_init(&c, v);
	for (uint64_t done = 0; done < sp->n;) {
		unsigned n = sp->n - done < 256 ? (unsigned)(sp->n - done) : 256;
		int r = check_window(&c, f, sp->first + done, n, NULL,
				     buf + (done << LEAF_SHIFT));

		if (r < 0)
			return r;
		done += n;
	}
	return 0;
}

/* Exclusive lock held. A leaf without a good copy fails the whole request: a
 * short answer would be taken for the end of the file. The kernel then asks
 * page by page, so that in the end only the lost leaf is an error. */
static ssize_t read_slow(struct volume *v, struct file *f, struct io_space *s, uint64_t off,
			 size_t len, const void **data, bool *trouble)
{
	struct span sp;
	ssize_t r;

	len = (size_t)cut(f, off, len);
	if (!len)
		return 0;
	if (!f->large && !f->known && read_small(v, f, s->buf)) {
		*data = s->buf + off;
		return (ssize_t)len;
	}
	sp = span_of(off, len, f->size);
	if (leaves_load(v, f, sp.first, sp.n) == 0) {
		r = read_fast(v, f, s, off, len, data);
		if (r != -EAGAIN)
			return r;
	}
	*trouble = true;
	r = read_checked(v, f, &sp, s->buf);
	if (r < 0)
		return r;
	*data = s->buf + (off - sp.start);
	return (ssize_t)len;
}

ssize_t file_read(struct volume *v, struct file *f, struct io_space *s, uint64_t off, size_t len,
		  const void **data)
{
	bool missing = false, trouble = false;
	ssize_t r;

	if (len > IO_MAX)
		len = IO_MAX;
	pthread_rwlock_rdlock(&f->lock);
	r = read_fast(v, f, s, off, len, data);
	pthread_rwlock_unlock(&f->lock);
	if (r != -EAGAIN)
		return r;
	r = file_load(v, f);
	if (r < 0)
		return r;
	pthread_rwlock_wrlock(&f->lock);
	r = read_slow(v, f, s, off, len, data, &trouble);
	FOR_EACH_BIT(m, trouble ? volume_in_sync(v) : 0)
		missing |= f->fd[m] < 0 && file_fd(v, f, (int)m, false) == -ENOENT;
	pthread_rwlock_unlock(&f->lock);
	if (missing) { /* whole copies are put back under the directory's lock */
		struct check c;

		check_init(&c, v);
		check_node(&c, f->node);
		if (r == -EIO && file_load(v, f) == 0) {
			pthread_rwlock_wrlock(&f->lock);
			r = read_slow(v, f, s, off, len, data, &trouble);
			pthread_rwlock_unlock(&f->lock);
		}
	}
	return r;
}

int file_read_leaf(struct volume *v, struct file *f, uint64_t leaf, uint8_t out[LEAF_SIZE])
{
	int p = volume_preferred(v, f->id);
	int fd = file_fd(v, f, p, false);
	uint64_t start = leaf << LEAF_SHIFT;
	size_t len = f->size - start < LEAF_SIZE ? (size_t)(f->size - start) : LEAF_SIZE;
	struct check c;
	int r = leaves_load(v, f, leaf, 1);

	if (r == 0 && fd >= 0 && io_pread_full(fd, out, len, (off_t)start) == (ssize_t)len &&
	    (ABLATED(v, verify) || hash_leaf(f->id, leaf, out, len) == leaves_get(f, leaf))) {
		memset(out + len, 0, LEAF_SIZE - len);
		return 0;
	}
	check_init(&c, v);
	return check_window(&c, f, leaf, 1, NULL, out);
}

int64_t file_seek(struct volume *v, struct file *f, int64_t off, int whence)
{
	int64_t r = file_load(v, f);
	int fd;

	if (r < 0)
		return r;
	pthread_rwlock_rdlock(&f->lock);
	fd = file_fd(v, f, volume_preferred(v, f->id), false);
	r = fd < 0 ? fd : lseek(fd, off, whence);
	if (fd >= 0 && r < 0)
		r = -errno;
	pthread_rwlock_unlock(&f->lock);
	return r;
}
