// SPDX-License-Identifier: GPL-2.0-or-later
/* What people command: remotes come and go, stop and go on, are waited for. */
#include "replica/remote/remote_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/io.h"
#include "replica/base/log.h"
#include "replica/recovery.h"
#include "replica/seal.h"

/* The list is locked as asked for while the remote is in use. NULL: not locked. */
static struct remote *get(struct volume *v, const char *name, bool exclusive, size_t *at)
{
	struct remotes *all = v->remotes;

	if (!all)
		return NULL;
	if (exclusive)
		pthread_rwlock_wrlock(&all->list);
	else
		pthread_rwlock_rdlock(&all->list);
	for (size_t i = 0; i < all->n; i++)
		if (strcmp(all->r[i]->def.name, name) == 0) {
			if (at)
				*at = i;
			return all->r[i];
		}
	pthread_rwlock_unlock(&all->list);
	return NULL;
}

static void put(struct volume *v)
{
	pthread_rwlock_unlock(&v->remotes->list);
}

static int none(const char *name, char error[REMOTE_SAY_MAX])
{
	snprintf(error, REMOTE_SAY_MAX, "no remote named %.64s", name);
	return -ENOENT;
}

/* ---- add ---- */

struct listener {
	void (*say)(void *arg, enum probe_level level, const char *line);
	void *arg;
	char *error;
};

static void listen(void *arg, enum probe_level level, const char *line)
{
	struct listener *l = arg;

	if (level == PROBE_FAIL)
		snprintf(l->error, REMOTE_SAY_MAX, "%s", line);
	if (l->say)
		l->say(l->arg, level, line);
}

static bool ending(void *arg)
{
	struct volume *v = arg;

	return atomic_load(&v->stopping);
}

/* A store of its own, not that of the remote's thread. */
static int probe(struct volume *v, const struct remote_def *def, bool quick, struct store_caps *caps,
		 struct listener *l, struct store **store, struct remote_secret *secret)
{
	int e = 0;

	memset(secret, 0, sizeof(*secret));
	if (def->credentials)
		e = remote_secret_load(def->credentials, def->kind, secret, l->error,
				       REMOTE_SAY_MAX);
	if (e < 0)
		return e;
	e = store_open(def, secret, store);
	if (e < 0) {
		snprintf(l->error, REMOTE_SAY_MAX, "%s: cannot be used: %s", def->url[0],
			 strerror(-e));
		return e;
	}
	store_stop(*store, ending, v);
	e = store_probe(*store, quick, caps, listen, l);
	for (unsigned i = 1; e == -EAGAIN && i < def->n_urls; i++) {
		store_next_endpoint(*store);
		e = store_probe(*store, quick, caps, listen, l);
	}
	if (e < 0 && !*l->error)
		snprintf(l->error, REMOTE_SAY_MAX, "%s: %s", def->url[0], strerror(-e));
	if (e == 0)
		store_use(*store, caps);
	return e;
}

/* With a writer of its own: who has written there until now, and may still live, sees that. */
static int take_over(struct store *s, struct layout_options *o, const struct remote_def *def,
		     char why[LAYOUT_ERROR_MAX])
{
	struct layout *l = NULL;
	int e;

	o->writer = def->writer;
	o->take_over = true;
	e = layout_open(s, o, &l, why);
	if (e < 0)
		return e;
	e = layout_commit(l, NULL);
	if (e < 0)
		snprintf(why, LAYOUT_ERROR_MAX, "%s", layout_error(l));
	layout_close(l);
	return e;
}

/* A new place is made ours; an old one has to be asked for, and to be this volume's. */
static int claim(struct volume *v, struct store *s, struct remote_def *def, bool adopt,
		 char error[REMOTE_SAY_MAX])
{
	struct layout_options o = { .volume = v->sb.volume_id, .stop = ending, .stop_arg = v };
	char why[LAYOUT_ERROR_MAX] = "";
	struct layout *l = NULL;
	int e = layout_open(s, &o, &l, why);

	if (e == 0)
		layout_close(l);
	if (e == 0 && adopt) {
		e = take_over(s, &o, def, why);
	} else if (e == 0) {
		snprintf(error, REMOTE_SAY_MAX, "%s: this volume has been there before: "
			 "--adopt takes it up again (if nothing else writes there)", def->url[0]);
		return -EEXIST;
	}
	if (e == -ENOENT) {
		o.writer = def->writer;
		o.create = true;
		e = layout_open(s, &o, &l, why);
		if (e == 0)
			layout_close(l);
	}
	if (e < 0)
		snprintf(error, REMOTE_SAY_MAX, "%s", *why ? why : strerror(-e));
	return e;
}

static int fresh_def(struct volume *v, const struct remote_def *given, struct remote_def *def,
		     char error[REMOTE_SAY_MAX])
{
	struct remote_def new = { 0 };
	struct remote *same;
	int e;

	remote_def_new(&new);
	e = remote_def_copy(def, given);
	if (e == 0) {
		memcpy(def->id, new.id, sizeof(def->id));
		memcpy(def->writer, new.writer, sizeof(def->writer));
		def->seq = 0;
		def->held = def->paused = false;
		e = remote_def_check(def, error, REMOTE_SAY_MAX);
	} else {
		snprintf(error, REMOTE_SAY_MAX, "%s", strerror(-e));
	}
	remote_def_free(&new);
	if (e < 0)
		return e;
	same = get(v, def->name, false, NULL);
	if (!same)
		return 0;
	put(v);
	snprintf(error, REMOTE_SAY_MAX, "there is a remote named %s already", def->name);
	return -EEXIST;
}

/* It takes part from here on, and everything is to be looked at once. */
static int enlist(struct volume *v, struct remote_def *def, const struct store_caps *caps,
		  char error[REMOTE_SAY_MAX])
{
	struct remotes *all = v->remotes;
	struct remote *r = NULL;
	int e = remote_def_store(v, def);

	if (e == 0)
		e = remote_make(v, def, &r);
	if (e == 0) {
		r->caps = *caps;
		r->probed = true;
		state_store(r);
		pthread_rwlock_wrlock(&all->list);
		all->r[all->n++] = r;
		atomic_store(&v->has_remotes, true);
		pthread_rwlock_unlock(&all->list);
		ledger_mark_dir(r->ledger, ROOT_ID, "", MARK_ATTRS | MARK_BELOW);
		ledger_flush(r->ledger);
		return remote_start(r);
	}
	remote_def_remove(v, def->id);
	snprintf(error, REMOTE_SAY_MAX, "it cannot be kept on the mirrors: %s", strerror(-e));
	return e;
}

int remotes_add(struct volume *v, const struct remote_def *given, bool adopt,
		void (*say)(void *arg, enum probe_level level, const char *line), void *arg,
		char error[REMOTE_SAY_MAX])
{
	struct listener l = { .say = say, .arg = arg, .error = error };
	struct store_caps caps = { 0 };
	struct remote_secret secret;
	struct remote_def def = { 0 };
	struct store *s = NULL;
	int e;

	*error = '\0';
	if (v->opt.read_only || !v->remotes) {
		snprintf(error, REMOTE_SAY_MAX, "the volume is mounted read-only");
		return -EROFS;
	}
	pthread_mutex_lock(&v->remotes->adding);
	e = v->remotes->n < REMOTE_MAX ? 0 : -ENOSPC;
	if (e < 0)
		snprintf(error, REMOTE_SAY_MAX, "a volume has at most %d remotes", REMOTE_MAX);
	else
		e = fresh_def(v, given, &def, error);
	if (e == 0) {
		e = probe(v, &def, false, &caps, &l, &s, &secret);
		if (e == 0)
			e = claim(v, s, &def, adopt, error);
		if (s)
			store_close(s);
		remote_secret_wipe(&secret);
	}
	if (e == 0)
		e = enlist(v, &def, &caps, error);
	if (e == 0)
		log_info("remote %s: %s added", def.name, def.url[0]);
	pthread_mutex_unlock(&v->remotes->adding);
	remote_def_free(&def);
	return e;
}

/* ---- the others ---- */

int remotes_remove(struct volume *v, const char *name, char error[REMOTE_SAY_MAX])
{
	struct remotes *all = v->remotes;
	char id[REMOTE_ID_TEXT];
	struct remote *r;
	size_t at;
	int e;

	r = get(v, name, true, &at);
	if (!r)
		return none(name, error);
	/* Out of the list first: its thread may need what waits for the list. */
	memmove(&all->r[at], &all->r[at + 1], (all->n - at - 1) * sizeof(all->r[0]));
	all->n--;
	atomic_store(&v->has_remotes, all->n > 0);
	put(v);
	remote_end(r);
	memcpy(id, r->def.id, sizeof(id));
	remote_free(r);
	e = remote_def_remove(v, id);
	if (e < 0)
		snprintf(error, REMOTE_SAY_MAX, "%s is no longer served, but what is kept of it "
			 "cannot be removed: %s", name, strerror(-e));
	return e;
}

int remotes_probe(struct volume *v, const char *name,
		  void (*say)(void *arg, enum probe_level level, const char *line), void *arg,
		  char error[REMOTE_SAY_MAX])
{
	struct listener l = { .say = say, .arg = arg, .error = error };
	struct store_caps caps = { 0 };
	struct remote_secret secret;
	struct remote_def def = { 0 };
	struct store *s = NULL;
	struct remote *r = get(v, name, false, NULL);
	int e;

	*error = '\0';
	if (!r)
		return none(name, error);
	pthread_mutex_lock(&r->lock);
	e = remote_def_copy(&def, &r->def);
	pthread_mutex_unlock(&r->lock);
	put(v);
	if (e == 0)
		e = probe(v, &def, false, &caps, &l, &s, &secret);
	if (s)
		store_close(s);
	remote_secret_wipe(&secret);
	remote_def_free(&def);
	return e;
}

static void kick(struct remote *r)
{
	r->kick = true;
	pthread_cond_signal(&r->wake);
}

static void pause_def(struct remote_def *d, bool paused)
{
	d->paused = paused;
}

int remotes_pause(struct volume *v, const char *name, bool paused, char error[REMOTE_SAY_MAX])
{
	struct remote *r = get(v, name, false, NULL);
	int e;

	if (!r)
		return none(name, error);
	e = remote_change(r, pause_def, paused);
	if (e < 0)
		snprintf(error, REMOTE_SAY_MAX, "done, but not kept for the next mount: %s",
			 strerror(-e));
	pthread_mutex_lock(&r->lock);
	kick(r);
	pthread_mutex_unlock(&r->lock);
	put(v);
	return e;
}

int remotes_release(struct volume *v, const char *name, char error[REMOTE_SAY_MAX])
{
	struct remote *r = get(v, name, false, NULL);

	if (!r)
		return none(name, error);
	pthread_mutex_lock(&r->lock);
	r->released = r->def.held || r->lost;
	r->not_before = 0;
	kick(r);
	pthread_mutex_unlock(&r->lock);
	put(v);
	return 0;
}

/* ---- wait ---- */

/* Whether waiting makes sense: some states end by a person only. */
static int hopeless(const struct remote_status *s, char error[REMOTE_SAY_MAX])
{
	switch (s->state) {
	case REMOTE_PAUSED:
	case REMOTE_HELD:
	case REMOTE_AUTH:
	case REMOTE_MISCONFIGURED:
	case REMOTE_CONFLICT:
	case REMOTE_STOPPED:
		snprintf(error, REMOTE_SAY_MAX, "remote %s: %s%s%.380s", s->name,
			 remote_state_name(s->state), *s->error ? ": " : "", s->error);
		return -EAGAIN;
	default:
		return 0;
	}
}

static int one_look(struct volume *v, const char *name, uint64_t seq, const char *path,
		    struct remote_status *s, char error[REMOTE_SAY_MAX])
{
	struct remote *r = get(v, name, false, NULL);
	struct remote_status all[REMOTE_MAX];
	size_t n;
	bool there;

	if (!r)
		return none(name, error);
	there = ledger_reached(r->ledger, seq, path);
	put(v);
	if (there)
		return 1;
	n = remotes_status(v, all, REMOTE_MAX);
	for (size_t i = 0; i < n; i++)
		if (strcmp(all[i].name, name) == 0)
			*s = all[i];
	return hopeless(s, error);
}

int remotes_wait(struct volume *v, const char *name, const char *path, int64_t timeout_ms,
		 int (*stop)(void *arg, const struct remote_status *s), void *arg,
		 char error[REMOTE_SAY_MAX])
{
	int64_t end = remote_now_ms() + timeout_ms;
	struct remote_status s = { 0 };
	struct remote *r;
	uint64_t seq;
	int e = recovery_settle(v); /* what an unclean end left open is noted by then */

	if (e == 0)
		e = seal_run(v, true);
	if (e < 0) {
		snprintf(error, REMOTE_SAY_MAX, "not everything could be sealed: %s", strerror(-e));
		return e;
	}
	r = get(v, name, false, NULL);
	if (!r)
		return none(name, error);
	seq = ledger_seq(r->ledger);
	pthread_mutex_lock(&r->lock);
	kick(r);
	pthread_mutex_unlock(&r->lock);
	put(v);
	while ((e = one_look(v, name, seq, path, &s, error)) == 0) {
		struct timespec half = { .tv_nsec = 100000000 };

		if (atomic_load(&v->stopping) || (stop && stop(arg, &s)))
			return -EINTR;
		if (timeout_ms >= 0 && remote_now_ms() >= end)
			return -ETIMEDOUT;
		nanosleep(&half, NULL);
	}
	return e > 0 ? 0 : e;
}
