/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Records as bytes, appending, flushing, room. A record carries the tail of
 * its time, so that the tail outlives an unclean end without being stored
 * anywhere else. Locks: journal_priv.h.
 */
#include "replica/journal.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "replica/base/io.h"
#include "replica/base/le.h"
#include "replica/fan.h"
#include "replica/hash.h"
#include "replica/journal_priv.h"

#define SEED_OF_RECORDS 5

/* ---- records as bytes ---- */

static uint64_t record_check(const uint8_t *in, size_t len, const uint8_t volume[16])
{
	return hash_bytes(in + 8, len - 8, hash_bytes(volume, 16, SEED_OF_RECORDS));
}

size_t journal_encode(const struct journal_record *r, const uint8_t volume[16], uint8_t *out)
{
	size_t len = journal_length(r->size);
	uint64_t back = r->lsn > r->tail ? r->lsn - r->tail : 0;

	if (back > UINT32_MAX) /* a tail too low does no harm */
		back = UINT32_MAX;
	put64(out + 8, r->lsn);
	put64(out + 16, r->type | (uint64_t)r->flags << 8 | (uint64_t)r->size << 16 | back << 32);
	put64(out + 24, r->id);
	put64(out + 32, r->gen);
	put64(out + 40, r->arg);
	if (r->size)
		memcpy(out + JOURNAL_HEADER, r->payload, r->size);
	memset(out + JOURNAL_HEADER + r->size, 0, len - JOURNAL_HEADER - r->size);
	put64(out, record_check(out, len, volume));
	return len;
}

int journal_decode(const uint8_t *in, size_t len, const uint8_t volume[16],
		   struct journal_record *r)
{
	uint64_t word, back;
	uint32_t size;

	if (len < JOURNAL_HEADER)
		return -EINVAL;
	word = get64(in + 16);
	size = word >> 16 & 0xffff;
	back = word >> 32;
	if (!(word & 0xff) || (word & 0xff) >= JOURNAL_TYPES ||
	    size > JOURNAL_RECORD_MAX - JOURNAL_HEADER || journal_length(size) > len)
		return -EINVAL;
	if (get64(in) != record_check(in, journal_length(size), volume))
		return -EINVAL;
	*r = (struct journal_record){
		.type = word & 0xff, .flags = word >> 8 & 0xff, .lsn = get64(in + 8),
		.id = get64(in + 24), .gen = get64(in + 32), .arg = get64(in + 40),
		.payload = in + JOURNAL_HEADER, .size = size,
	};
	r->tail = r->lsn > back ? r->lsn - back : 0;
	return 0;
}

/* ---- appending ---- */

/* Mirrors in mask that failed leave. Nobody is blamed when all did: the last
 * mirrors stay, and the caller hears of it. */
static int settle(struct volume *v, uint32_t mask, const int *result, const char *what)
{
	uint32_t failed = 0;
	int err = EIO;

	FOR_EACH_BIT(m, mask)
		if (result[m] < 0) {
			failed |= 1u << m;
			err = -result[m];
		}
	if (failed == mask) {
		volume_eject(v, failed, err, what, NULL);
		return -EIO;
	}
	FOR_EACH_BIT(m, failed)
		volume_eject(v, 1u << m, -result[m], what, NULL);
	return 0;
}

/* Gives the record its number; *next is the head after it. Locked. */
static int place(struct journal *j, struct journal_record *r, uint64_t *next)
{
	uint64_t head = atomic_load(&j->head), tail = atomic_load(&j->tail);
	uint64_t left = j->size - head % j->size;
	size_t len = journal_length(r->size);

	if (left < len) /* none straddles the end */
		head += left;
	if (head + len - tail > j->size)
		return -ENOSPC;
	r->lsn = head;
	r->tail = tail;
	*next = head + len;
	return 0;
}

/*
 * Zeros behind a record that begins a page, up to the end of that page: a page
 * written whole needs not be read first. Nothing below the tail may go for it.
 */
static size_t fill_page(const struct journal *j, uint64_t lsn, size_t len)
{
	uint64_t end = lsn + len;
	size_t fill = -end % JOURNAL_BLOCK;

	if (lsn % JOURNAL_BLOCK && lsn / JOURNAL_BLOCK == (end - 1) / JOURNAL_BLOCK)
		return 0;
	return end + fill - atomic_load(&j->tail) <= j->size ? fill : 0;
}

/* Locked. How many mirrors took it. */
static int write_all(struct volume *v, uint32_t mask, const struct journal_record *r, int *result)
{
	struct journal *j = v->journal;
	size_t len = journal_encode(r, v->sb.volume_id, j->buf);
	off_t off = (off_t)(JOURNAL_BLOCK + r->lsn % j->size);
	size_t fill = fill_page(j, r->lsn, len);
	int good = 0;

	memset(j->buf + len, 0, fill);
	len += fill;
	FOR_EACH_BIT(m, mask) {
		const struct ring *g = &j->m[m];

		result[m] = g->fd < 0 ? g->open_err
				      : io_pwrite_full(g->fd, j->buf, len, off, NULL);
		good += result[m] == 0;
	}
	return good;
}

int journal_append(struct volume *v, struct journal_record *r)
{
	struct journal *j = v->journal;
	int result[32] = { 0 }, e;
	uint32_t mask;
	uint64_t next;

	if (!j || !j->write)
		return -EROFS;
	if (!r->type || r->type >= JOURNAL_TYPES)
		return -EINVAL;
	if (r->size > JOURNAL_RECORD_MAX - JOURNAL_HEADER)
		return -EMSGSIZE;
	pthread_mutex_lock(&j->lock);
	mask = volume_in_sync(v);
	e = place(j, r, &next);
	/* one that nobody took may be overwritten by the next */
	if (e == 0 && write_all(v, mask, r, result))
		atomic_store(&j->head, next);
	pthread_mutex_unlock(&j->lock);
	return e < 0 ? e : settle(v, mask, result, "journal write");
}

/* ---- flushing ---- */

/* Until somebody is done with the ring. ring.lock held, before and after. */
static void wait_for_ring(struct ring *g)
{
	struct waiter w = { .next = g->waiting };

	sem_init(&w.wake, 0, 0);
	g->waiting = &w;
	pthread_mutex_unlock(&g->lock);
	while (sem_wait(&w.wake) < 0)
		; /* a signal */
	sem_destroy(&w.wake);
	pthread_mutex_lock(&g->lock);
}

/* ring.lock held. All look again: most have what they want. */
void journal_leave_ring(struct ring *g)
{
	struct waiter *w = g->waiting;

	g->busy = false;
	g->waiting = NULL;
	while (w) {
		struct waiter *next = w->next;

		sem_post(&w->wake);
		w = next;
	}
}

void journal_enter_ring(struct ring *g)
{
	pthread_mutex_lock(&g->lock);
	while (g->busy)
		wait_for_ring(g);
	g->busy = true;
	pthread_mutex_unlock(&g->lock);
}

static int sync_fd(int fd)
{
	while (fdatasync(fd) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* The busy one. What is below the head read first was written before. */
static int sync_ring(struct journal *j, struct ring *g, uint64_t *upto)
{
	*upto = atomic_load(&j->head);
	return g->fd < 0 ? g->open_err : sync_fd(g->fd);
}

/* A caller that finds a sync under way waits for it, and does one itself only
 * if that one began too early for it: then for all who wait. */
static int flush_ring(struct journal *j, struct ring *g, uint64_t lsn)
{
	int r = 0;

	pthread_mutex_lock(&g->lock);
	while (g->flushed < lsn && !g->sync_err) {
		uint64_t upto;

		if (g->busy) {
			wait_for_ring(g);
			continue;
		}
		g->busy = true;
		pthread_mutex_unlock(&g->lock);
		r = sync_ring(j, g, &upto);
		pthread_mutex_lock(&g->lock);
		if (r < 0)
			g->sync_err = r;
		else if (g->flushed < upto)
			g->flushed = upto;
		journal_leave_ring(g);
	}
	r = g->flushed < lsn ? g->sync_err : 0;
	pthread_mutex_unlock(&g->lock);
	return r;
}

/* With the record at lsn, and never more than there is. */
static uint64_t flush_bound(struct journal *j, uint64_t lsn)
{
	uint64_t head = atomic_load(&j->head);

	return lsn < head ? lsn + 1 : head;
}

int journal_flush_on(struct volume *v, int m, uint64_t lsn)
{
	struct journal *j = v->journal;

	if (!j || !j->write)
		return -EROFS;
	return flush_ring(j, &j->m[m], flush_bound(j, lsn));
}

struct flush {
	struct volume *v;
	uint64_t lsn;
};

static int flush_one(int m, void *arg)
{
	const struct flush *f = arg;

	return journal_flush_on(f->v, m, f->lsn);
}

static bool is_flushed(struct ring *g, uint64_t lsn)
{
	bool done;

	pthread_mutex_lock(&g->lock);
	done = g->flushed >= lsn;
	pthread_mutex_unlock(&g->lock);
	return done;
}

int journal_flush(struct volume *v, uint64_t lsn)
{
	struct flush f = { .v = v, .lsn = lsn };
	uint32_t mask = volume_in_sync(v), need = 0;
	struct journal *j = v->journal;
	int result[32] = { 0 };

	if (!j || !j->write)
		return -EROFS;
	FOR_EACH_BIT(m, mask)
		if (!is_flushed(&j->m[m], flush_bound(j, lsn)))
			need |= 1u << m;
	if (!need)
		return 0;
	fan_run(need, flush_one, &f, result);
	return settle(v, mask, result, "journal flush");
}

/* ---- room ---- */

static uint64_t in_use(struct journal *j)
{
	uint64_t tail = atomic_load(&j->tail); /* before the head, which it never passes */

	return atomic_load(&j->head) - tail;
}

uint64_t journal_head(struct volume *v)
{
	return v->journal ? atomic_load(&v->journal->head) : 0;
}

void journal_set_tail(struct volume *v, uint64_t lsn)
{
	struct journal *j = v->journal;

	if (!j)
		return;
	pthread_mutex_lock(&j->lock);
	if (lsn > atomic_load(&j->head))
		lsn = atomic_load(&j->head);
	if (lsn > atomic_load(&j->tail))
		atomic_store(&j->tail, lsn);
	pthread_mutex_unlock(&j->lock);
	pthread_mutex_lock(&j->room_lock);
	pthread_cond_broadcast(&j->room);
	pthread_mutex_unlock(&j->room_lock);
}

unsigned journal_used(struct volume *v)
{
	struct journal *j = v->journal;
	uint64_t percent = j ? in_use(j) * 100 / j->size : 0;

	return percent < 100 ? (unsigned)percent : 100;
}

static bool has_room(struct journal *j)
{
	return in_use(j) < j->size / 4 * 3;
}

static struct timespec after_ms(unsigned ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

/* Looks again every so often besides, for the reason given in fan.c. */
int journal_wait_room(struct volume *v, unsigned ms)
{
	struct journal *j = v->journal;

	if (!j || has_room(j))
		return 0;
	pthread_mutex_lock(&j->room_lock);
	while (ms && !has_room(j)) {
		unsigned slice = ms < 100 ? ms : 100;
		struct timespec until = after_ms(slice);

		while (!has_room(j) &&
		       pthread_cond_timedwait(&j->room, &j->room_lock, &until) == 0)
			;
		ms -= slice;
	}
	pthread_mutex_unlock(&j->room_lock);
	return has_room(j) ? 0 : -ETIMEDOUT;
}
