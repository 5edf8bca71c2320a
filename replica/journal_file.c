/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal's file: its header, making it, scanning its ring; which rings
 * there are when a volume is opened, where they end, and which must be made.
 * A ring that holds records of an unclean end is never made anew for the sake
 * of another. After a clean one the header is told that they are void, before
 * the superblocks say that a session is under way: else that session, ended by
 * a crash, would bring them back. Locks: journal_priv.h.
 */
#include "replica/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/base/le.h"
#include "replica/base/log.h"
#include "replica/fan.h"
#include "replica/hash.h"
#include "replica/journal_priv.h"

#define FILE_NAME "journal"
#define FILE_VERSION 1u
#define AT_CHECK 48 /* all in one sector, for it is written again in place */
#define PAGE 4096u
#define READ_CHUNK (256u << 10)

static const char magic[8] = "MFSJOURN";

/* ---- reading a ring ---- */

/* A page that cannot be read holds nothing, and hides no other. */
static int read_pages(int fd, uint8_t *buf, size_t len, off_t off)
{
	int bad = 0;

	for (size_t at = 0; at < len; at += PAGE)
		if (io_pread_full(fd, buf + at, PAGE, off + (off_t)at) != PAGE) {
			memset(buf + at, 0, PAGE);
			bad++;
		}
	return bad;
}

/* Returns how many pages could not be read. */
static int read_ring(int fd, uint8_t *buf, size_t size)
{
	int bad = 0;

	for (size_t at = 0; at < size; at += READ_CHUNK) {
		size_t n = size - at < READ_CHUNK ? size - at : READ_CHUNK;
		off_t off = (off_t)(JOURNAL_BLOCK + at);

		if (io_pread_full(fd, buf + at, n, off) != (ssize_t)n)
			bad += read_pages(fd, buf + at, n, off);
	}
	return bad;
}

/* Cheap, and false for nearly all that is no record; lsn 0 is none. */
static bool may_be_record(const uint8_t *in, size_t at, uint64_t size)
{
	uint64_t lsn;

	if (!in[16] || in[16] >= JOURNAL_TYPES)
		return false;
	lsn = get64(in + 8);
	return lsn >= size && lsn % size == at;
}

static int scan_bytes(const uint8_t *buf, uint64_t size, const uint8_t volume[16], uint64_t from,
		      int (*fn)(const struct journal_record *r, void *arg), void *arg)
{
	size_t at = 0;
	int r = 0;

	while (r == 0 && at + JOURNAL_HEADER <= size) {
		struct journal_record rec;

		if (!may_be_record(buf + at, at, size) ||
		    journal_decode(buf + at, size - at, volume, &rec) < 0) {
			at += JOURNAL_ALIGN;
			continue;
		}
		at += journal_length(rec.size);
		if (rec.lsn >= from)
			r = fn(&rec, arg);
	}
	return r;
}

static int scan_ring(struct volume *v, int m, uint64_t from,
		     int (*fn)(const struct journal_record *r, void *arg), void *arg)
{
	struct ring *g = &v->journal->m[m];
	CLEANUP_FREE uint8_t *buf = malloc(g->size);
	int bad;

	if (!buf)
		return log_err(-ENOMEM, "%s: journal", volume_path(v, m));
	bad = read_ring(g->fd, buf, g->size);
	if (bad)
		log_error("%s: %d pages of the journal cannot be read", volume_path(v, m), bad);
	if (from < g->first)
		from = g->first;
	return scan_bytes(buf, g->size, v->sb.volume_id, from, fn, arg);
}

int journal_scan(struct volume *v, int m, int (*fn)(const struct journal_record *r, void *arg),
		 void *arg)
{
	struct journal *j = v->journal;

	if (!j || j->m[m].fd < 0)
		return 0;
	return scan_ring(v, m, atomic_load(&j->tail), fn, arg);
}

/* ---- the file ---- */

static bool size_possible(uint64_t size)
{
	return size >= JOURNAL_MIN && size <= JOURNAL_MAX && size % JOURNAL_BLOCK == 0;
}

static void header_encode(uint8_t out[JOURNAL_BLOCK], const uint8_t volume[16], uint64_t size,
			  uint64_t first)
{
	memset(out, 0, JOURNAL_BLOCK);
	memcpy(out, magic, sizeof(magic));
	put64(out + 8, FILE_VERSION);
	put64(out + 16, size);
	put64(out + 24, first);
	memcpy(out + 32, volume, 16);
	put64(out + AT_CHECK, hash_bytes(out, AT_CHECK, 0));
}

/* -EINVAL: damaged, or not of this volume. */
static int header_read(int fd, const uint8_t volume[16], struct ring *g)
{
	uint8_t in[JOURNAL_BLOCK];
	struct stat st;
	ssize_t n = io_pread_full(fd, in, sizeof(in), 0);

	if (n < 0)
		return (int)n;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (n < (ssize_t)sizeof(in) || memcmp(in, magic, sizeof(magic)) != 0 ||
	    get64(in + AT_CHECK) != hash_bytes(in, AT_CHECK, 0))
		return -EINVAL;
	if (get64(in + 8) != FILE_VERSION)
		return -EPROTONOSUPPORT;
	g->size = get64(in + 16);
	g->first = get64(in + 24);
	if (!size_possible(g->size) || memcmp(in + 32, volume, 16) != 0 ||
	    st.st_size < (off_t)(JOURNAL_BLOCK + g->size) || g->first % JOURNAL_ALIGN)
		return -EINVAL;
	return 0;
}

/* A new file with all its bytes written, so that no sync of a record ever
 * has to allocate. The descriptor or -errno. */
static int make_file(struct volume *v, int m, uint64_t size, uint64_t first)
{
	CLEANUP_FREE uint8_t *bytes = calloc(1, JOURNAL_BLOCK + size);
	int fd, r;

	if (!bytes)
		return log_err(-ENOMEM, "%s: journal", volume_path(v, m));
	header_encode(bytes, v->sb.volume_id, size, first);
	r = io_replace_file(v->m[m].dotfd, FILE_NAME, bytes, JOURNAL_BLOCK + size, 0600);
	if (r < 0)
		return log_err(r, "%s/" DOT_DIR "/" FILE_NAME ": cannot be made", volume_path(v, m));
	fd = openat(v->m[m].dotfd, FILE_NAME, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? log_err(-errno, "%s/" DOT_DIR "/" FILE_NAME, volume_path(v, m)) : fd;
}

/* A share of the smallest filesystem. */
static uint64_t size_for(struct volume *v, uint32_t mask)
{
	uint64_t smallest = UINT64_MAX, size;

	FOR_EACH_BIT(m, mask) {
		struct statvfs st;

		if (v->m[m].dotfd < 0 || fstatvfs(v->m[m].dotfd, &st) < 0 || !st.f_blocks)
			continue;
		size = (uint64_t)st.f_blocks * (uint64_t)st.f_frsize;
		if (size < smallest)
			smallest = size;
	}
	size = smallest == UINT64_MAX ? JOURNAL_MIN : smallest / 64 & ~(uint64_t)(JOURNAL_BLOCK - 1);
	return size < JOURNAL_MIN ? JOURNAL_MIN : size > JOURNAL_MAX ? JOURNAL_MAX : size;
}

/* ---- open and close ---- */

static int find_end(const struct journal_record *r, void *arg)
{
	struct ring *g = arg;

	if (r->lsn + journal_length(r->size) > g->end)
		g->end = r->lsn + journal_length(r->size);
	if (r->tail > g->tail)
		g->tail = r->tail;
	return 0;
}

static int load_ring(int m, void *arg)
{
	struct volume *v = arg;
	struct journal *j = v->journal;
	struct ring *g = &j->m[m];
	CLEANUP_CLOSE int fd = openat(v->m[m].dotfd, FILE_NAME,
				      (j->write ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC);
	int r = fd < 0 ? -errno : header_read(fd, v->sb.volume_id, g);

	if (r == -ENOENT)
		return r;
	if (r == -EINVAL || r == -ELOOP) {
		log_warn("%s/" DOT_DIR "/" FILE_NAME ": damaged, or of another volume: no records "
			 "are taken from it", volume_path(v, m));
		return -EINVAL;
	}
	if (r == -EPROTONOSUPPORT)
		return log_err(r, "%s/" DOT_DIR "/" FILE_NAME ": made by a newer mirrorfs",
			       volume_path(v, m));
	if (r < 0)
		return log_err(r, "%s/" DOT_DIR "/" FILE_NAME, volume_path(v, m));
	g->fd = steal_fd(&fd);
	g->end = g->first;
	return scan_ring(v, m, 0, find_end, g);
}

static int make_ring(int m, void *arg)
{
	struct volume *v = arg;
	struct journal *j = v->journal;
	struct ring *g = &j->m[m];
	int fd = make_file(v, m, j->size, atomic_load(&j->head));

	if (g->fd >= 0) /* of another size: not to be used, made anew or not */
		close(g->fd);
	g->fd = fd < 0 ? -1 : fd;
	if (fd < 0)
		return fd;
	g->size = j->size;
	g->first = g->flushed = atomic_load(&j->head);
	return 0;
}

/* None of the records found counts any more. */
static int void_ring(int m, void *arg)
{
	struct volume *v = arg;
	struct ring *g = &v->journal->m[m];
	uint8_t header[JOURNAL_BLOCK];
	int r;

	g->first = atomic_load(&v->journal->head);
	header_encode(header, v->sb.volume_id, g->size, g->first);
	r = io_pwrite_full(g->fd, header, sizeof(header), 0, NULL);
	if (r == 0 && fdatasync(g->fd) < 0)
		r = -errno;
	if (r == 0)
		return 0;
	close(g->fd);
	g->fd = -1;
	return log_err(r, "%s/" DOT_DIR "/" FILE_NAME, volume_path(v, m));
}

/* Of what was found in the rings: size, where numbers go on, and where the
 * records begin that still count. A fresh session starts on a page of its own. */
static void set_ends(struct volume *v, uint32_t mask)
{
	struct journal *j = v->journal;
	uint64_t end = 0, tail = 0;

	FOR_EACH_BIT(m, mask) {
		const struct ring *g = &j->m[m];

		if (g->fd < 0)
			continue;
		if (!j->size || g->end > end)
			j->size = g->size;
		if (g->end > end)
			end = g->end;
		if (g->tail > tail)
			tail = g->tail;
	}
	if (!j->size)
		j->size = size_for(v, mask);
	if (end < j->size)
		end = j->size;
	end = (end + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	atomic_store(&j->head, end);
	atomic_store(&j->tail, tail && atomic_load(&v->unclean) ? tail : end);
}

/* Makes those that are missing, damaged or of another size; no other. */
static void prepare(struct volume *v, uint32_t mask, int *result)
{
	struct journal *j = v->journal;
	uint32_t make = 0, full = 0;

	FOR_EACH_BIT(m, mask)
		if (result[m] == -ENOENT || result[m] == -EINVAL ||
		    (j->m[m].fd >= 0 && j->m[m].size != j->size))
			make |= 1u << m;
		else if (j->m[m].end > j->m[m].first && !atomic_load(&v->unclean))
			full |= 1u << m;
	fan_run(make, make_ring, v, result);
	fan_run(full, void_ring, v, result);
}

static struct journal *journal_alloc(bool write)
{
	struct journal *j = calloc(1, sizeof(*j));
	pthread_condattr_t attr;

	if (!j)
		return NULL;
	j->write = write;
	pthread_mutex_init(&j->lock, NULL);
	pthread_mutex_init(&j->room_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&j->room, &attr);
	pthread_condattr_destroy(&attr);
	for (int m = 0; m < MAX_MIRRORS; m++) {
		j->m[m].fd = -1;
		j->m[m].open_err = -EIO;
		pthread_mutex_init(&j->m[m].lock, NULL);
	}
	return j;
}

bool journal_found(const struct volume *v)
{
	return v->journal && v->journal->found;
}

int journal_open(struct volume *v, uint32_t mask, bool write)
{
	int result[32] = { 0 }, err = 0;
	bool any = false;

	v->journal = journal_alloc(write);
	if (!v->journal)
		return log_err(-ENOMEM, "journal");
	fan_run(mask, load_ring, v, result);
	FOR_EACH_BIT(m, mask)
		if (result[m] == -EPROTONOSUPPORT || result[m] == -ENOMEM) {
			journal_close(v);
			return result[m];
		}
	FOR_EACH_BIT(m, mask)
		v->journal->found |= result[m] == 0;
	set_ends(v, mask);
	if (write)
		prepare(v, mask, result);
	FOR_EACH_BIT(m, mask) {
		struct ring *g = &v->journal->m[m];

		any |= g->fd >= 0;
		if (result[m] < 0)
			err = g->open_err = result[m];
	}
	if (write && !any) {
		journal_close(v);
		return err ? err : -EIO;
	}
	return 0;
}

void journal_close(struct volume *v)
{
	struct journal *j = v->journal;

	if (!j)
		return;
	v->journal = NULL;
	for (int m = 0; m < MAX_MIRRORS; m++) {
		if (j->m[m].fd >= 0)
			close(j->m[m].fd);
		pthread_mutex_destroy(&j->m[m].lock);
	}
	pthread_cond_destroy(&j->room);
	pthread_mutex_destroy(&j->room_lock);
	pthread_mutex_destroy(&j->lock);
	free(j);
}

/* ---- a mirror joins ---- */

int journal_join(struct volume *v, int m)
{
	struct journal *j = v->journal;
	struct ring *g;
	uint64_t first;
	int fd, old = -1;

	if (!j || !j->write)
		return -EROFS;
	g = &j->m[m];
	journal_enter_ring(g);
	first = atomic_load(&j->head);
	fd = make_file(v, m, j->size, first);
	pthread_mutex_lock(&j->lock);
	if (fd >= 0) {
		old = g->fd;
		g->fd = fd;
		g->size = j->size;
		g->first = first;
	}
	pthread_mutex_unlock(&j->lock);

	pthread_mutex_lock(&g->lock);
	if (fd >= 0) {
		g->sync_err = 0;
		g->flushed = first;
	}
	journal_leave_ring(g);
	pthread_mutex_unlock(&g->lock);
	if (old >= 0)
		close(old);
	return fd < 0 ? fd : 0;
}
