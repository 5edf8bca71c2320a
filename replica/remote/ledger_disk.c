/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger on the mirrors: flushing to the logs, and reading them at the start.
 * A log that is not as it was left, or could not be written, is replaced as a
 * whole, so that there is no other kind of repair. The locks are in ledger_priv.h.
 */
#include "replica/remote/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/base/log.h"
#include "replica/remote/ledger_log.h"
#include "replica/remote/ledger_priv.h"

#define COMPACT_MIN (1u << 20)
#define COMPACT_RATIO 4

/* ---- what to write ---- */

/* All there is, in the place of what was. */
static void put_whole(struct ledger *l, struct wire *w)
{
	const struct marks *both[] = { &l->taken, &l->pending };

	log_put_head(w, l->id, l->seq);
	for (size_t i = 0; i < 2; i++) {
		const struct mark_entry *e;
		uint64_t at = 0;

		if (both[i]->all)
			log_put_all(w, both[i]);
		while ((e = marks_next(both[i], &at)) != NULL)
			if (!e->gone)
				log_put_mark(w, e, LOG_WHOLE);
	}
}

/* A mark that is over in the log but was made again: replaced, else it is void. */
static void put_voided(struct ledger *l, struct wire *w)
{
	uint64_t *ids = malloc((l->voided.used + 1) * sizeof(*ids));
	uint64_t at = 0, id, one;
	size_t n = 0;

	w->failed |= !ids;
	while (!w->failed && map_next(&l->voided, &at, &id, &one)) {
		const struct mark_entry *t = marks_get(&l->taken, id);
		const struct mark_entry *e = marks_get(&l->pending, id);

		if (t && !t->gone)
			log_put_mark(w, t, LOG_REPLACE);
		else if (e)
			log_put_mark(w, e, LOG_REPLACE);
		else
			ids[n++] = id;
	}
	log_put_void(w, ids, n);
	free(ids);
}

static void put_fresh(struct marks *m, struct wire *w)
{
	const struct mark_entry *e;
	uint64_t at = 0;

	while ((e = marks_next(m, &at)) != NULL)
		if (e->fresh && !e->gone)
			log_put_mark(w, e, LOG_FRESH);
}

static void put_changes(struct ledger *l, struct wire *w)
{
	for (size_t i = 0; i < l->renames.n; i++)
		log_put_move(w, &l->renames.v[i]);
	put_voided(l, w);
	put_fresh(&l->taken, w);
	put_fresh(&l->pending, w);
}

/* What is in the wires counts as stored: a mirror that does not take it gets all of it
 * the next time. */
static void all_logged(struct ledger *l)
{
	marks_logged(&l->taken);
	marks_logged(&l->pending);
	renames_clear(&l->renames);
	map_free(&l->voided);
	l->rewrite = false;
}

struct output {
	struct wire whole, changes;
	bool anew;                  /* also where the log is good */
};

static bool is_long(struct ledger *l)
{
	uint64_t live = marks_log_size(&l->pending) + marks_log_size(&l->taken);
	uint64_t longest = 0;

	FOR_EACH_BIT(m, l->have)
		longest = l->log[m].size > longest ? l->log[m].size : longest;
	return longest > COMPACT_MIN && longest > COMPACT_RATIO * live;
}

static bool put_output(struct ledger *l, uint32_t set, struct output *o)
{
	o->anew = l->rewrite || l->pending.rewrite || l->taken.rewrite || is_long(l);
	if (o->anew || set & ~l->have)
		put_whole(l, &o->whole);
	if (!o->anew)
		put_changes(l, &o->changes);
	if (!o->whole.failed && !o->changes.failed)
		return true;
	wire_free(&o->whole);
	wire_free(&o->changes);
	return false;
}

/* Without memory for more, "everything" must be said: that takes next to none. */
static bool make_output(struct ledger *l, uint32_t set, struct output *o)
{
	bool ok;

	pthread_mutex_lock(&l->lock);
	ledger_catch_up(l);
	ok = put_output(l, set, o);
	if (!ok) {
		ledger_mark_all(l);
		ok = put_output(l, set, o);
	}
	if (ok)
		all_logged(l);
	pthread_mutex_unlock(&l->lock);
	return ok;
}

/* ---- writing ---- */

static int open_log(struct ledger *l, unsigned m, int flags, struct stat *st)
{
	int fd = openat(l->v->m[m].dotfd, l->place, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (fstat(fd, st) == 0 && S_ISREG(st->st_mode))
		return fd;
	close(fd);
	return -EINVAL;
}

static bool is_as_left(struct ledger *l, unsigned m)
{
	const struct log_place *as = &l->log[m];
	uint8_t head[LOG_HEAD];
	struct stat st;
	CLEANUP_CLOSE int fd = open_log(l, m, O_RDONLY, &st);

	return fd >= 0 && (uint64_t)st.st_size == as->size && st.st_ino == as->ino &&
		io_pread_full(fd, head, LOG_HEAD, (off_t)as->last) == LOG_HEAD &&
		memcmp(head, as->head, LOG_HEAD) == 0;
}

/* Logs that are not what was left there (a mirror may have been away, or restored)
 * are made anew. */
static void check_logs(struct ledger *l, uint32_t set)
{
	l->have &= set;
	FOR_EACH_BIT(m, l->have)
		if (!is_as_left(l, m))
			l->have &= ~(1u << m);
}

/* w was written at `at`. */
static void note_left(struct log_place *as, const struct wire *w, uint64_t at, uint64_t ino)
{
	as->size = at + w->len;
	as->ino = ino;
	as->last = at + w->last;
	memcpy(as->head, w->p + w->last, LOG_HEAD);
}

static int append(struct ledger *l, unsigned m, const struct wire *w)
{
	struct stat st;
	CLEANUP_CLOSE int fd = w->len ? open_log(l, m, O_WRONLY, &st) : -1;
	int r;

	if (!w->len)
		return 0;
	if (fd < 0)
		return fd;
	r = io_pwrite_full(fd, w->p, w->len, (off_t)l->log[m].size, NULL);
	if (r == 0)
		note_left(&l->log[m], w, l->log[m].size, st.st_ino);
	return r;
}

static int replace(struct ledger *l, unsigned m, const struct wire *w)
{
	int dotfd = l->v->m[m].dotfd;
	int r = remote_def_mkdir(dotfd, l->id);
	struct stat st;

	if (r == 0)
		r = io_replace_file(dotfd, l->place, w->p, w->len, 0600);
	if (r == 0 && fstatat(dotfd, l->place, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	if (r == 0) {
		note_left(&l->log[m], w, 0, st.st_ino);
		l->have |= 1u << m;
	}
	return r;
}

/* No mirror takes it (they are full): a log that is not all must not be believed after a
 * crash. Cut to nothing, which takes no room, it means that everything is compared. */
static void disown(struct ledger *l, uint32_t bad)
{
	FOR_EACH_BIT(m, bad) {
		struct stat st;
		CLEANUP_CLOSE int fd = open_log(l, m, O_WRONLY, &st);

		if (fd >= 0 && ftruncate(fd, 0) < 0)
			log_err(-errno, "%s: ledger of remote %s", volume_path(l->v, (int)m),
				l->id);
	}
}

/* A mirror that alone fails is out; when all do, they stay, and are tried again. */
static void judge(struct ledger *l, uint32_t took, uint32_t bad, const int *err)
{
	l->have &= ~bad;
	FOR_EACH_BIT(m, bad) {
		if (took || !l->told)
			log_err(err[m], "%s: cannot store the ledger of remote %s",
				volume_path(l->v, (int)m), l->id);
		if (took)
			volume_eject(l->v, 1u << m, -err[m], "write of the ledger of a remote",
				     l->place);
	}
	if (!took)
		disown(l, bad);
	l->told = !took;
}

/* Returns the mirrors that took it. */
static uint32_t write_output(struct ledger *l, uint32_t set, const struct output *o)
{
	uint32_t took = 0;
	int err[MAX_MIRRORS] = { 0 };

	FOR_EACH_BIT(m, set) {
		err[m] = o->anew || !(l->have & 1u << m) ? replace(l, m, &o->whole) :
			append(l, m, &o->changes);
		if (!err[m])
			took |= 1u << m;
	}
	judge(l, took, set & ~took, err);
	return took;
}

/* io_lock held. 0 or why no mirror took it. */
static int flush(struct ledger *l)
{
	uint32_t set = volume_in_sync(l->v), took;
	struct output o = { 0 };

	if (l->v->opt.read_only)
		return 0;
	check_logs(l, set);
	if (!make_output(l, set, &o))
		return log_err(-ENOMEM, "ledger of remote %s: not stored", l->id);
	took = write_output(l, set, &o);
	wire_free(&o.whole);
	wire_free(&o.changes);
	pthread_mutex_lock(&l->lock);
	if (took)
		l->bytes = l->log[__builtin_ctz(took)].size;
	pthread_mutex_unlock(&l->lock);
	return took ? 0 : -EIO;
}

void ledger_flush(struct ledger *l)
{
	pthread_mutex_lock(&l->io_lock);
	flush(l);
	pthread_mutex_unlock(&l->io_lock);
}

/* ---- opening ---- */

/* What the logs of the mirrors come to. */
struct gather {
	uint32_t found, good, clean;
	struct log_state first;     /* of the first good one */
	bool alike;                 /* all good ones so far are byte for byte the same */
};

/* A torn end is what a power cut leaves; after an orderly end it is damage. */
static bool is_good(struct ledger *l, unsigned m, const struct log_state *s)
{
	const char *path = volume_path(l->v, (int)m);

	if (s->err == -EBADMSG)
		log_warn("%s: ledger of remote %s: is none", path, l->id);
	else if (s->err)
		log_warn("%s: ledger of remote %s: %s", path, l->id, strerror(-s->err));
	if (s->skipped)
		log_warn("%s: ledger of remote %s: %" PRIu64 " damaged bytes left out", path, l->id,
			 s->skipped);
	if (s->torn)
		log_warn("%s: ledger of remote %s: its last %" PRIu64 " bytes are torn", path,
			 l->id, s->torn);
	return !s->err && !s->skipped && (!s->torn || atomic_load(&l->v->unclean));
}

static void gather_one(struct ledger *l, unsigned m, struct gather *g)
{
	struct log_state s = { 0 };
	struct marks one = { 0 };
	struct stat st;
	CLEANUP_CLOSE int fd = open_log(l, m, O_RDONLY, &st);
	bool good;

	if (fd == -ENOENT)
		return;
	if (fd < 0)
		s.err = fd;
	else
		log_replay(fd, l->id, &one, &s);
	g->found |= 1u << m;
	good = is_good(l, m, &s);
	if (good && !g->good)
		g->first = s;
	g->alike = good && !s.torn && (!g->good || g->alike) && s.size == g->first.size &&
		s.digest == g->first.digest;
	/* of a path that two logs know, the word of a good one counts */
	marks_merge(&l->pending, &one, good && !g->good);
	if (s.seq > l->seq)
		l->seq = s.seq;
	if (good)
		g->good |= 1u << m;
	if (good) {
		l->log[m] = (struct log_place){ .size = s.size, .ino = st.st_ino, .last = s.last };
		memcpy(l->log[m].head, s.head, LOG_HEAD);
	}
}

static void gather_all(struct ledger *l)
{
	uint32_t set = volume_in_sync(l->v);
	struct gather g = { 0 };

	FOR_EACH_BIT(m, set)
		gather_one(l, m, &g);
	if (g.found && !g.good) {
		log_warn("ledger of remote %s: no mirror has a good one; everything will be compared",
			 l->id);
		ledger_mark_all(l);
	} else if (g.good == set && g.alike) {
		l->have = set;
		marks_logged(&l->pending);
	}
}

static void ledger_free(struct ledger *l)
{
	ledger_free_out(l);
	marks_clear(&l->pending);
	marks_clear(&l->taken);
	renames_clear(&l->renames);
	map_free(&l->voided);
	pthread_mutex_destroy(&l->lock);
	pthread_mutex_destroy(&l->io_lock);
	free(l);
}

int ledger_open(struct volume *v, const char *remote_id, struct ledger **out)
{
	struct ledger *l;
	int r;

	if (!remote_def_is_id(remote_id))
		return -EINVAL;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->v = v;
	snprintf(l->id, sizeof(l->id), "%s", remote_id);
	snprintf(l->place, sizeof(l->place), "remote/%s/ledger", l->id);
	pthread_mutex_init(&l->io_lock, NULL);
	pthread_mutex_init(&l->lock, NULL);
	gather_all(l);
	r = flush(l);
	if (r < 0) {
		ledger_free(l);
		return r;
	}
	*out = l;
	return 0;
}

static void sync_logs(struct ledger *l)
{
	FOR_EACH_BIT(m, l->have) {
		struct stat st;
		CLEANUP_CLOSE int fd = open_log(l, m, O_RDONLY, &st);
		int r = fd < 0 ? fd : fsync(fd) < 0 ? -errno : 0;

		if (r < 0)
			volume_eject(l->v, 1u << m, -r, "sync of the ledger of a remote",
				     l->place);
	}
}

void ledger_close(struct ledger *l)
{
	if (!l)
		return;
	flush(l);
	if (!l->v->opt.read_only)
		sync_logs(l);
	ledger_free(l);
}
