/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The queue holds one user of each state in it. seal.lock guards the lists
 * and the `queued` marks; batch_lock lets one batch run at a time.
 */
#include "replica/seal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "replica/base/log.h"
#include "replica/fan.h"
#include "replica/intent.h"
#include "replica/journal.h"
#include "replica/recovery.h"
#include "replica/remote/remote.h"
#include "replica/resync.h"
#include "replica/tree.h"

#define RETRY_MS 30000
#define RESTLESS_MS 30000 /* what does not come to rest is told to the remotes as often */

struct seal {
	pthread_mutex_t batch_lock;
	pthread_mutex_t lock;      /* all below */
	pthread_cond_t wake;
	struct file *files;
	struct dir *dirs;
	uint64_t n;                /* in both */
	bool stop, running;
	pthread_t thread;
	_Atomic int64_t full_until; /* ms: no use to make room before */
};

/* What one batch works on. */
struct batch {
	struct file **file;
	uint64_t *file_changes;
	struct dir **dir;
	uint64_t *dir_changes;
	size_t n_files, n_dirs;
	bool late;                 /* leaf hashes that wait for their data's sync */
	uint64_t tail;
};

void seal_queue(struct volume *v, struct file *f)
{
	struct seal *s = v->seal;

	pthread_mutex_lock(&s->lock);
	if (!f->queued) {
		f->queued = true;
		f->next = s->files;
		s->files = f;
		s->n++;
		tree_lock(v);
		f->users++;
		tree_unlock(v);
	}
	pthread_mutex_unlock(&s->lock);
}

void seal_queue_dir(struct volume *v, struct dir *d)
{
	struct seal *s = v->seal;

	pthread_mutex_lock(&s->lock);
	if (!d->queued) {
		d->queued = true;
		d->next = s->dirs;
		s->dirs = d;
		s->n++;
		tree_lock(v);
		d->users++;
		tree_unlock(v);
	}
	pthread_mutex_unlock(&s->lock);
}

uint64_t seal_pending(struct volume *v)
{
	uint64_t n;

	pthread_mutex_lock(&v->seal->lock);
	n = v->seal->n;
	pthread_mutex_unlock(&v->seal->lock);
	return n;
}

/*
 * What the journals need not keep once the mirrors are synced: all that was
 * sealed before. s->lock held. head was read before: see intent.c.
 */
static uint64_t tail_of(const struct seal *s, uint64_t head)
{
	for (const struct file *f = s->files; f; f = f->next)
		if (f->first_lsn < head)
			head = f->first_lsn;
	for (const struct dir *d = s->dirs; d; d = d->next)
		if (d->first_lsn < head)
			head = d->first_lsn;
	return head;
}

/* A file that is always written to is never sealed, but is to get to the remotes. */
static void note_restless(struct volume *v, struct file *f)
{
	int64_t now = clock_ms();

	if (!remotes_any(v))
		return;
	if (f->restless && now - f->restless >= RESTLESS_MS)
		remotes_note(v, f->node);
	if (!f->restless || now - f->restless >= RESTLESS_MS)
		f->restless = now;
}

/* Takes what has come to rest off the queue. */
static int collect(struct volume *v, bool all, struct batch *b)
{
	int64_t rest = all ? INT64_MAX : clock_ms() - (int64_t)v->opt.seal_ms / 2;
	uint64_t head = journal_head(v);
	struct seal *s = v->seal;
	int r = 0;

	memset(b, 0, sizeof(*b));
	pthread_mutex_lock(&s->lock);
	b->tail = tail_of(s, head);
	b->file = calloc(s->n + 1, sizeof(*b->file));
	b->dir = calloc(s->n + 1, sizeof(*b->dir));
	b->file_changes = calloc(s->n + 1, sizeof(uint64_t));
	b->dir_changes = calloc(s->n + 1, sizeof(uint64_t));
	if (!b->file || !b->dir || !b->file_changes || !b->dir_changes)
		r = -ENOMEM;
	for (struct file **p = &s->files; r == 0 && *p;) {
		struct file *f = *p;

		if (atomic_load(&f->changed_at) > rest) {
			note_restless(v, f);
			p = &f->next;
			continue;
		}
		*p = f->next;
		f->queued = false;
		f->restless = 0;
		s->n--;
		b->file[b->n_files++] = f;
	}
	for (struct dir **p = &s->dirs; r == 0 && *p;) {
		struct dir *d = *p;

		if (atomic_load(&d->changed_at) > rest) {
			p = &d->next;
			continue;
		}
		*p = d->next;
		d->queued = false;
		s->n--;
		b->dir[b->n_dirs++] = d;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

static void release(struct volume *v, struct batch *b)
{
	for (size_t i = 0; i < b->n_files; i++)
		file_put(v, b->file[i]);
	for (size_t i = 0; i < b->n_dirs; i++)
		dir_put(v, b->dir[i]);
	free(b->file);
	free(b->dir);
	free(b->file_changes);
	free(b->dir_changes);
}

static void store_leaves(struct volume *v, struct file *f)
{
	uint32_t bad = 0;

	leaves_store(v, f, volume_in_sync(v), f->rec.gen + 1, false, &bad);
	if (bad)
		volume_eject(v, bad, EIO, "write of leaf hashes", NULL);
}

static bool has_leaves(struct volume *v, const struct file *f)
{
	return f->type == TYPE_OF(S_IFREG) && !(tree_node(v, f->node)->flags & NODE_DELETED);
}

/*
 * Leaf hashes go out before the sync, so that it covers them; but those that
 * replace hashes of content at rest only when the new content is durable: until then
 * the old ones may be the right ones.
 */
static void prepare(struct volume *v, struct batch *b)
{
	for (size_t i = 0; i < b->n_files; i++) {
		struct file *f = b->file[i];

		pthread_rwlock_wrlock(&f->lock);
		b->file_changes[i] = f->changes;
		if (f->overwritten && f->large && !ABLATED(v, checkpoint))
			b->late = true;
		else if (has_leaves(v, f))
			store_leaves(v, f);
		pthread_rwlock_unlock(&f->lock);
	}
	for (size_t i = 0; i < b->n_dirs; i++) {
		pthread_mutex_lock(&b->dir[i]->lock);
		b->dir_changes[i] = b->dir[i]->changes;
		pthread_mutex_unlock(&b->dir[i]->lock);
	}
}

/* The sync that makes the batch durable covers what the remotes have to know of it. */
static void note_batch(struct volume *v, const struct batch *b)
{
	if (!remotes_any(v))
		return;
	remotes_hold(v);
	for (size_t i = 0; i < b->n_files; i++)
		remotes_note(v, b->file[i]->node);
	for (size_t i = 0; i < b->n_dirs; i++)
		remotes_note(v, b->dir[i]->node);
	remotes_let(v);
	remotes_flush(v);
}

/* The rest of the leaf hashes, of files that did not change meanwhile. */
static void prepare_late(struct volume *v, struct batch *b)
{
	for (size_t i = 0; i < b->n_files; i++) {
		struct file *f = b->file[i];

		pthread_rwlock_wrlock(&f->lock);
		if (f->overwritten && f->large && f->changes == b->file_changes[i] &&
		    has_leaves(v, f))
			store_leaves(v, f);
		pthread_rwlock_unlock(&f->lock);
	}
}

static int sync_mirror(int m, void *arg)
{
	struct volume *v = arg;

	return syncfs(v->m[m].rootfd) < 0 ? -errno : 0;
}

/* -EIO: none did it; nothing may be called durable. */
static int sync_mirrors(struct volume *v)
{
	uint32_t mask = volume_in_sync(v), bad = 0;
	int result[MAX_MIRRORS] = { 0 }, err = 0;

	if (ABLATED(v, seal))
		return 0;
	fan_run(mask, sync_mirror, v, result);
	FOR_EACH_BIT(m, mask)
		if (result[m] < 0) {
			bad |= 1u << m;
			err = -result[m];
		}
	if (bad)
		volume_eject(v, bad, err, "syncfs", NULL);
	return bad == mask ? -EIO : 0;
}

/* Nothing was sealed: all of it takes part in a later batch. */
static void put_back(struct volume *v, struct batch *b)
{
	for (size_t i = 0; i < b->n_files; i++) {
		pthread_rwlock_wrlock(&b->file[i]->lock);
		b->file[i]->changed_at = clock_ms() + RETRY_MS;
		seal_queue(v, b->file[i]);
		pthread_rwlock_unlock(&b->file[i]->lock);
	}
	for (size_t i = 0; i < b->n_dirs; i++) {
		pthread_mutex_lock(&b->dir[i]->lock);
		b->dir[i]->changed_at = clock_ms() + RETRY_MS;
		seal_queue_dir(v, b->dir[i]);
		pthread_mutex_unlock(&b->dir[i]->lock);
	}
}

/* Times are those of the preferred mirror on all. */
static int level_times(const struct at *a, const struct stat *want)
{
	struct timespec ts[2] = { want->st_atim, want->st_mtim };
	struct stat st;
	int r = at_stat(a, &st);

	if (r < 0)
		return r;
	if (ts_ns(&st.st_mtim) == ts_ns(&ts[1]) && ts_ns(&st.st_atim) == ts_ns(&ts[0]))
		return 0;
	return at_utimens(a, ts);
}

/* The record of an object at rest, without hash and size. */
static int make_record(struct volume *v, uint32_t node, const struct at *a, struct stat *st,
		       struct record *r)
{
	int e = at_stat(a, st);

	if (e == 0)
		e = metahash(a, st, &r->meta);
	if (e < 0)
		return e;
	r->flags &= RECORD_UNVERIFIED;
	r->leaf_shift = LEAF_SHIFT;
	r->gen++;
	r->mtime = ts_ns(&st->st_mtim);
	r->ctime = node_ctime(v, node, st);
	r->sealed_at = clock_ns();
	return 0;
}

/* lax: whatever size the copy has. The record says what there should be. */
static int fill_content(struct file *f, const struct at *a, const struct stat *st, bool lax,
			struct record *r)
{
	char target[4097];
	ssize_t n;

	if (f->type == TYPE_OF(S_IFREG)) {
		r->size = f->size;
		r->hash = f->sum;
		return lax || (uint64_t)st->st_size == f->size ? 0 : -EBADMSG;
	}
	if (f->type != TYPE_OF(S_IFLNK)) {
		r->hash = r->size = st->st_rdev;
		return 0;
	}
	n = at_readlink(a, target, sizeof(target));
	if (n < 0)
		return (int)n;
	r->size = (uint64_t)n;
	r->hash = hash_bytes(target, (size_t)n, 3);
	return 0;
}

/* Writes r to every in-sync mirror; one that fails is ejected. -EIO: none has it. */
static int store(struct volume *v, const struct loc *l, const struct stat *st,
		 const struct record *r)
{
	int err = -EIO;
	char path[512];

	FOR_EACH_BIT(m, volume_in_sync(v) & l->mask) {
		struct at a;
		int e = loc_at(v, l, (int)m, &a);

		if (e == 0)
			e = level_times(&a, st);
		if (e == 0)
			e = record_store(&a, r->type, r);
		if (e == 0) {
			err = 0;
			continue;
		}
		tree_path(v, l->node, path, sizeof(path));
		volume_eject(v, 1u << m, -e, "sealing", path);
	}
	return err;
}

/* The record as mirror m's copy makes it; *out only if that went well. */
static int describe(struct volume *v, const struct loc *l, int m, struct file *f,
		    const struct dir *d, bool lax, struct stat *st, struct record *out)
{
	struct record r = f ? f->rec : d->rec;
	struct at a;
	int e = loc_at(v, l, m, &a);

	if (e == 0)
		e = make_record(v, l->node, &a, st, &r);
	if (e == 0 && f)
		e = fill_content(f, &a, st, lax, &r);
	if (e == 0)
		*out = r;
	return e;
}

static int seal_at(struct volume *v, uint32_t node, struct file *f, struct dir *d)
{
	struct record r = f ? f->rec : d->rec;
	struct stat st;
	struct loc l;
	int p, e;

	e = loc_get(v, node, volume_in_sync(v), true, &l);
	if (e < 0)
		return e;
	p = volume_preferred(v, r.id);
	e = describe(v, &l, p, f, d, false, &st, &r);
	FOR_EACH_BIT(m, l.mask & ~(1u << p)) /* one that lost it is put out by store() */
		if (e < 0)
			e = describe(v, &l, (int)m, f, d, false, &st, &r);
	/* Cut or grown below the mount, on all: whoever reads it will be told. It
	 * must not keep the journals from coming to an end. */
	if (e == -EBADMSG)
		e = describe(v, &l, p, f, d, true, &st, &r);
	if (e == 0 && f && f->atime)
		st.st_atim = ns_ts(f->atime);
	if (e == 0 && d) {
		r.hash = d->sum;
		r.size = d->count;
	}
	if (e == 0)
		e = store(v, &l, &st, &r);
	if (e == 0) {
		tree_set_ctime(v, node, r.ctime, r.sealed_at);
		if (f)
			f->rec = r;
		else
			d->rec = r;
	}
	loc_put(v, &l);
	return e;
}

/* An object without a name cannot be found again: nothing to seal. */
static bool nameless(struct volume *v, uint32_t node)
{
	return tree_node(v, node)->flags & NODE_DELETED;
}

static int seal_file(struct volume *v, struct file *f, uint64_t changes)
{
	int r = 0;

	pthread_rwlock_wrlock(&f->lock);
	if (f->changes != changes) {
		seal_queue(v, f);
	} else if (nameless(v, f->node)) {
		f->dirty = false;
		f->first_lsn = LSN_NONE;
	} else if (f->dirty) {
		r = seal_at(v, f->node, f, NULL);
		if (r == 0) {
			f->dirty = f->marked = false;
			intent_reset(f);
			f->atime = 0;
			leaves_clean(v, f);
			resync_touched(v, f->node);
		} else if (r != -ESTALE) { /* it stays unclean until it works */
			f->changed_at = clock_ms() + RETRY_MS;
			seal_queue(v, f);
		}
	} else { /* what was noted was not done: the next note counts anew */
		f->first_lsn = LSN_NONE;
	}
	pthread_rwlock_unlock(&f->lock);
	return r;
}

static int seal_dir(struct volume *v, struct dir *d, uint64_t changes)
{
	int r = 0;

	pthread_mutex_lock(&d->lock);
	if (d->changes != changes) {
		seal_queue_dir(v, d);
	} else if (nameless(v, d->node)) {
		d->dirty = false;
		d->first_lsn = LSN_NONE;
	} else if (d->dirty) {
		r = seal_at(v, d->node, NULL, d);
		if (r == 0) {
			d->dirty = d->marked = false;
			d->first_lsn = LSN_NONE;
			resync_touched(v, d->node);
		} else if (r != -ESTALE) {
			d->changed_at = clock_ms() + RETRY_MS;
			seal_queue_dir(v, d);
		}
	}
	pthread_mutex_unlock(&d->lock);
	return r;
}

static int complain(struct volume *v, uint32_t node, int r)
{
	char path[4096];

	if (r == 0 || r == -ESTALE)
		return 0;
	tree_path(v, node, path, sizeof(path));
	log_err(r, "%s: cannot store the record; it stays open", path);
	return r;
}

/* Records of earlier batches are durable once the mirrors are synced again;
 * what the journals say of their objects is void then. */
static void move_tail(struct volume *v, uint64_t tail)
{
	if (tail != LSN_PENDING && !recovery_pending(v))
		journal_set_tail(v, tail);
}

/* batch_lock and, at least shared, the gate are held. */
static int run_batch(struct volume *v, bool all)
{
	struct batch b;
	int r = collect(v, all, &b), first = 0;

	if (r == 0 && (b.n_files || b.n_dirs)) {
		prepare(v, &b);
		note_batch(v, &b);
		r = sync_mirrors(v);
		if (r == 0)
			move_tail(v, b.tail);
		if (r == 0 && b.late) {
			prepare_late(v, &b);
			r = sync_mirrors(v);
		}
		if (r < 0) {
			put_back(v, &b);
			release(v, &b);
			return r;
		}
		for (size_t i = 0; i < b.n_files; i++) {
			r = complain(v, b.file[i]->node, seal_file(v, b.file[i], b.file_changes[i]));
			first = first ? first : r;
		}
		for (size_t i = 0; i < b.n_dirs; i++) {
			r = complain(v, b.dir[i]->node, seal_dir(v, b.dir[i], b.dir_changes[i]));
			first = first ? first : r;
		}
	}
	release(v, &b);
	return first ? first : r;
}

int seal_run(struct volume *v, bool all)
{
	int r;

	if (v->opt.read_only)
		return 0;
	pthread_mutex_lock(&v->seal->batch_lock);
	pthread_rwlock_rdlock(&v->gate);
	r = run_batch(v, all);
	pthread_rwlock_unlock(&v->gate);
	pthread_mutex_unlock(&v->seal->batch_lock);
	return r;
}

void seal_freeze(struct volume *v)
{
	pthread_mutex_lock(&v->seal->batch_lock);
	pthread_rwlock_wrlock(&v->gate);
}

void seal_thaw(struct volume *v)
{
	pthread_rwlock_unlock(&v->gate);
	pthread_mutex_unlock(&v->seal->batch_lock);
}

int seal_frozen(struct volume *v)
{
	struct seal *s = v->seal;
	uint64_t all = journal_head(v), tail;
	int r = run_batch(v, true);

	if (r == 0)
		intent_commit_all(v, all); /* nothing was half way */
	tail = journal_head(v);

	pthread_mutex_lock(&s->lock);
	tail = tail_of(s, tail); /* what could not be sealed */
	pthread_mutex_unlock(&s->lock);
	if (sync_mirrors(v) < 0)
		return -EIO;
	move_tail(v, tail);
	return r;
}

#define FULL_PERCENT 75
#define FULL_MS 2000     /* until it is tried again in vain */

void seal_make_room(struct volume *v)
{
	if (journal_used(v) < FULL_PERCENT || clock_ms() < atomic_load(&v->seal->full_until))
		return;
	if (recovery_pending(v))
		recovery_settle(v);
	seal_run(v, true);
	if (journal_used(v) < FULL_PERCENT)
		return;
	seal_freeze(v); /* something changes all the time */
	if (journal_used(v) >= FULL_PERCENT)
		seal_frozen(v);
	seal_thaw(v);
	if (journal_used(v) >= FULL_PERCENT) /* something cannot be sealed */
		atomic_store(&v->seal->full_until, clock_ms() + FULL_MS);
}

static void *seal_thread(void *arg)
{
	struct volume *v = arg;
	struct seal *s = v->seal;
	struct timespec until;

	pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += (long)(v->opt.seal_ms % 1000) * 1000000;
		until.tv_sec += v->opt.seal_ms / 1000 + until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&s->wake, &s->lock, &until);
		if (s->stop || !s->n)
			continue;
		pthread_mutex_unlock(&s->lock);
		seal_run(v, false);
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

int seal_init(struct volume *v)
{
	struct seal *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->batch_lock, NULL);
	pthread_cond_init(&s->wake, NULL);
	v->seal = s;
	if (!v->opt.background || v->opt.read_only)
		return 0;
	s->running = pthread_create(&s->thread, NULL, seal_thread, v) == 0;
	return s->running ? 0 : -EAGAIN;
}

void seal_stop(struct volume *v)
{
	struct seal *s = v->seal;

	if (!s || !s->running)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	s->running = false;
}

void seal_fini(struct volume *v)
{
	struct batch b;

	if (!v->seal)
		return;
	seal_stop(v);
	if (v->tree && collect(v, true, &b) == 0)
		release(v, &b);
	pthread_mutex_destroy(&v->seal->lock);
	pthread_mutex_destroy(&v->seal->batch_lock);
	pthread_cond_destroy(&v->seal->wake);
	free(v->seal);
	v->seal = NULL;
}
