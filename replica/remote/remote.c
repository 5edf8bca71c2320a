// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The remotes of a volume: beginning and end, status. What people command is
 * in remote_people.c, what the engine tells in note.c.
 */
#include "replica/remote/remote.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "replica/base/io.h"
#include "replica/base/log.h"
#include "replica/remote/remote_priv.h"

static const char *const names[] = {
	[REMOTE_STARTING] = "starting", [REMOTE_IDLE] = "idle",
	[REMOTE_UPLOADING] = "uploading", [REMOTE_WAITING] = "waiting",
	[REMOTE_PAUSED] = "paused", [REMOTE_HELD] = "held", [REMOTE_AUTH] = "auth",
	[REMOTE_MISCONFIGURED] = "misconfigured", [REMOTE_CONFLICT] = "conflict",
	[REMOTE_STOPPED] = "stopped",
};

const char *remote_state_name(enum remote_state s)
{
	return (size_t)s < sizeof(names) / sizeof(names[0]) && names[s] ? names[s] : "?";
}

int64_t remote_now_ms(void)
{
	return clock_ms();
}

bool remote_stopping(void *arg)
{
	struct remote *r = arg;
	bool stop;

	pthread_mutex_lock(&r->lock);
	stop = r->stop || r->def.paused;
	pthread_mutex_unlock(&r->lock);
	return stop;
}

void remote_set_state(struct remote *r, enum remote_state s)
{
	pthread_mutex_lock(&r->lock);
	r->state = s;
	if (r->store)
		snprintf(r->url, sizeof(r->url), "%s", r->def.url[store_endpoint(r->store)]);
	pthread_mutex_unlock(&r->lock);
}

void remote_note_error(struct remote *r, const char *fmt, ...)
{
	char line[512];
	bool news;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&r->lock);
	news = strcmp(line, r->error) != 0;
	snprintf(r->error, sizeof(r->error), "%s", line);
	r->error_at = time(NULL);
	pthread_mutex_unlock(&r->lock);
	if (news)
		log_warn("remote %s: %s", r->def.name, line);
}

int remote_change(struct remote *r, void (*change)(struct remote_def *d, bool value), bool value)
{
	struct remote_def def = { 0 };
	int e;

	pthread_mutex_lock(&r->storing);
	pthread_mutex_lock(&r->lock);
	if (change)
		change(&r->def, value);
	e = remote_def_copy(&def, &r->def);
	pthread_mutex_unlock(&r->lock);
	if (e == 0)
		e = remote_def_store(r->v, &def);
	if (e == 0) {
		pthread_mutex_lock(&r->lock);
		r->def.seq = def.seq;
		pthread_mutex_unlock(&r->lock);
	}
	pthread_mutex_unlock(&r->storing);
	remote_def_free(&def);
	return e;
}

static void hold(struct remote_def *d, bool held)
{
	d->held = held;
}

void remote_set_held(struct remote *r, bool held)
{
	bool changed;
	int e;

	pthread_mutex_lock(&r->lock);
	changed = r->def.held != held;
	pthread_mutex_unlock(&r->lock);
	if (!changed)
		return;
	e = remote_change(r, hold, held);
	if (e < 0)
		log_err(e, "remote %s: that it is %sheld is not kept for the next mount",
			r->def.name, held ? "" : "no longer ");
}

/* Slots of the seconds since the last bytes are empty. lock held. */
static void turn_rate(struct remote *r)
{
	int64_t now = remote_now_ms() / 1000;

	if (now - r->rate_at >= RATE_SLOTS)
		memset(r->rate, 0, sizeof(r->rate));
	else
		for (int64_t s = r->rate_at + 1; s <= now; s++)
			r->rate[s % RATE_SLOTS] = 0;
	r->rate_at = now;
}

void remote_sent(struct remote *r, uint64_t bytes)
{
	pthread_mutex_lock(&r->lock);
	turn_rate(r);
	r->rate[r->rate_at % RATE_SLOTS] += bytes;
	r->sent_bytes += bytes;
	r->todo_bytes -= bytes < r->todo_bytes ? bytes : r->todo_bytes;
	pthread_mutex_unlock(&r->lock);
}

/* ---- beginning and end ---- */

void remote_free(struct remote *r)
{
	if (!r)
		return;
	if (r->reader)
		reader_close(r);
	if (r->ledger)
		ledger_close(r->ledger);
	settle_free(&r->unsettled);
	map_free(&r->restless);
	moved_clear(&r->moved);
	remote_def_free(&r->def);
	pthread_mutex_destroy(&r->storing);
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->wake);
	free(r);
}

int remote_make(struct volume *v, const struct remote_def *def, struct remote **out)
{
	struct remote *r = calloc(1, sizeof(*r));
	pthread_condattr_t attr;
	int e;

	if (!r)
		return -ENOMEM;
	r->v = v;
	r->state = v->opt.read_only ? REMOTE_STOPPED : REMOTE_STARTING;
	pthread_mutex_init(&r->storing, NULL);
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->wake, &attr);
	pthread_condattr_destroy(&attr);
	retry_init(&r->retry);
	r->resting = REMOTE_IDLE;
	r->doubtful = true;
	r->batch_shift = BATCH_SHIFT_MOST;
	e = remote_def_copy(&r->def, def);
	if (e == 0)
		e = ledger_open(v, r->def.id, &r->ledger);
	if (e == 0) {
		snprintf(r->url, sizeof(r->url), "%s", r->def.url[0]);
		e = reader_open(r);
	}
	if (e < 0) {
		remote_free(r);
		return e;
	}
	*out = r;
	return 0;
}

int remote_start(struct remote *r)
{
	int e;

	if (r->v->opt.read_only)
		return 0;
	e = -pthread_create(&r->thread, NULL, uploader_main, r);
	r->running = e == 0;
	return e;
}

void remote_end(struct remote *r)
{
	if (!r->running)
		return;
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->thread, NULL);
	r->running = false;
}

/* Its ledger is lost: nobody knows what it has not got. */
static bool has_ledger(struct volume *v, const struct remote_def *def)
{
	char path[64];

	snprintf(path, sizeof(path), "remote/%s/ledger", def->id);
	FOR_EACH_BIT(m, volume_in_sync(v))
		if (faccessat(v->m[m].dotfd, path, F_OK, 0) == 0)
			return true;
	return false;
}

int remotes_init(struct volume *v)
{
	struct remotes *all = calloc(1, sizeof(*all));
	struct remote_def *def = NULL;
	size_t n = 0;
	int e;

	if (!all)
		return -ENOMEM;
	pthread_mutex_init(&all->adding, NULL);
	pthread_rwlock_init(&all->list, NULL);
	v->remotes = all;
	e = remote_def_load(v, &def, &n);
	if (e < 0)
		log_err(e, "the definitions of remotes cannot be read: none is served");
	for (size_t i = 0; i < n; i++) {
		bool known = has_ledger(v, &def[i]);

		e = remote_make(v, &def[i], &all->r[all->n]);
		if (e == 0 && !known)
			ledger_mark_dir(all->r[all->n]->ledger, ROOT_ID, "", MARK_BELOW);
		if (e == 0)
			all->n++;
		else
			log_err(e, "remote %s: not served", def[i].name);
		remote_def_free(&def[i]);
	}
	free(def);
	atomic_store(&v->has_remotes, all->n > 0);
	return 0;
}

int remotes_start(struct volume *v)
{
	struct remotes *all = v->remotes;

	if (!all)
		return 0;
	pthread_rwlock_rdlock(&all->list);
	for (size_t i = 0; i < all->n; i++) {
		int e = remote_start(all->r[i]);

		if (e < 0)
			log_err(e, "remote %s: no thread", all->r[i]->def.name);
	}
	pthread_rwlock_unlock(&all->list);
	return 0;
}

void remotes_stop(struct volume *v)
{
	struct remotes *all = v->remotes;

	if (!all)
		return;
	for (size_t i = 0; i < all->n; i++) { /* all at once, then each in turn */
		pthread_mutex_lock(&all->r[i]->lock);
		all->r[i]->stop = true;
		pthread_cond_signal(&all->r[i]->wake);
		pthread_mutex_unlock(&all->r[i]->lock);
	}
	for (size_t i = 0; i < all->n; i++)
		remote_end(all->r[i]);
}

void remotes_fini(struct volume *v)
{
	struct remotes *all = v->remotes;

	if (!all)
		return;
	remotes_stop(v);
	atomic_store(&v->has_remotes, false);
	for (size_t i = 0; i < all->n; i++)
		remote_free(all->r[i]);
	pthread_rwlock_destroy(&all->list);
	pthread_mutex_destroy(&all->adding);
	free(all);
	v->remotes = NULL;
}

/* What mirror m still has of remotes that were removed while it was out. */
static void forget_removed(struct volume *v, int m)
{
	struct remotes *all = v->remotes;
	int fd = openat(v->m[m].dotfd, "remote", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	if (!dir && fd >= 0)
		close(fd);
	while (dir && (e = readdir(dir))) {
		bool known = !remote_def_is_id(e->d_name);

		for (size_t i = 0; i < all->n; i++)
			known |= strcmp(all->r[i]->def.id, e->d_name) == 0;
		if (!known)
			io_remove_tree(dirfd(dir), e->d_name);
	}
	if (dir)
		closedir(dir);
}

void remotes_joined(struct volume *v, int m)
{
	struct remotes *all = v->remotes;

	if (!all)
		return;
	pthread_rwlock_rdlock(&all->list);
	forget_removed(v, m);
	for (size_t i = 0; i < all->n; i++) {
		remote_change(all->r[i], NULL, false);
		ledger_flush(all->r[i]->ledger); /* a log that is not there is made anew */
	}
	pthread_rwlock_unlock(&all->list);
}

/* ---- status ---- */

static bool waits_for_person(enum remote_state s)
{
	return s == REMOTE_PAUSED || s == REMOTE_HELD || s == REMOTE_AUTH ||
		s == REMOTE_MISCONFIGURED || s == REMOTE_CONFLICT;
}

static void fill(struct remote *r, struct remote_status *s)
{
	struct ledger_stats l;
	int64_t now = clock_ns() / 1000000;

	memset(s, 0, sizeof(*s));
	ledger_stats(r->ledger, &l);
	pthread_mutex_lock(&r->lock);
	turn_rate(r);
	snprintf(s->name, sizeof(s->name), "%s", r->def.name);
	snprintf(s->id, sizeof(s->id), "%s", r->def.id);
	snprintf(s->url, sizeof(s->url), "%s", r->url);
	snprintf(s->error, sizeof(s->error), "%s", r->error);
	snprintf(s->scrub, sizeof(s->scrub), "%s", r->scrub);
	s->kind = r->def.kind;
	/* What a person just said counts, though the thread has not come to it yet. */
	s->state = (r->kick || r->released) && !r->def.paused && waits_for_person(r->state) ?
		REMOTE_STARTING : r->state;
	s->error_at = r->error_at;
	s->next_try = r->next_try ? (r->next_try - remote_now_ms() + 999) / 1000 : 0;
	s->lag = l.since && now > l.since ? (double)(now - l.since) / 1000 : 0;
	s->files = r->todo_files ? r->todo_files : l.names;
	s->bytes = r->todo_bytes;
	s->counting = r->counting || l.all;
	for (int i = 0; i < RATE_SLOTS; i++)
		s->rate += r->rate[i];
	s->rate /= RATE_SLOTS;
	s->sent_files = r->sent_files;
	s->sent_bytes = r->sent_bytes;
	s->deleted = r->deleted;
	s->remote_files = r->remote_files;
	s->remote_bytes = r->remote_bytes;
	s->head = r->head;
	s->head_time = r->head_time;
	s->unsettled = atomic_load(&r->n_unsettled);
	s->mended = r->mended;
	s->held_changes = r->held_changes;
	pthread_mutex_unlock(&r->lock);
}

size_t remotes_status(struct volume *v, struct remote_status *out, size_t max)
{
	struct remotes *all = v->remotes;
	size_t n = 0;

	if (!remotes_any(v))
		return 0;
	pthread_rwlock_rdlock(&all->list);
	for (; n < all->n && n < max; n++)
		fill(all->r[n], &out[n]);
	pthread_rwlock_unlock(&all->list);
	return n;
}
