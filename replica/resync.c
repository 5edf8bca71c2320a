/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replica/resync.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replica/base/log.h"
#include "replica/base/map.h"
#include "replica/journal.h"
#include "replica/recovery.h"
#include "replica/seal.h"
#include "replica/tree.h"
#include "replica/walk.h"

#define FEW_NOTES 32
#define MAX_PASSES 20

struct resync {
	pthread_mutex_t run;     /* one at a time */
	pthread_mutex_t lock;    /* all below */
	struct map noted;        /* node -> 1, each referenced */
	struct map held;         /* files of several names, each referenced */
	pthread_t thread;
	bool started;
};

int resync_init(struct volume *v)
{
	struct resync *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->run, NULL);
	pthread_mutex_init(&s->lock, NULL);
	v->resync = s;
	return 0;
}

enum { NOTE_SHALLOW = 1, NOTE_DEEP = 2 };

static void note(struct volume *v, uint32_t node, uint64_t how)
{
	struct resync *s = v->resync;
	uint64_t had = 0;
	bool known;

	if (!atomic_load_explicit(&v->targets, memory_order_acquire))
		return;
	pthread_mutex_lock(&s->lock);
	known = map_get(&s->noted, node, &had);
	if (had < how) {
		if (map_set(&s->noted, node, how) < 0)
			log_error("resync: no memory for a note; scrub the volume afterwards");
		else if (!known)
			tree_ref(v, node);
	}
	pthread_mutex_unlock(&s->lock);
}

void resync_touched(struct volume *v, uint32_t node)
{
	note(v, node, NOTE_SHALLOW);
}

void resync_moved(struct volume *v, uint32_t node)
{
	note(v, node, NOTE_DEEP);
}

void resync_hold(struct volume *v, uint32_t node)
{
	struct resync *s = v->resync;
	uint64_t had;

	if (!atomic_load_explicit(&v->targets, memory_order_acquire))
		return;
	pthread_mutex_lock(&s->lock);
	if (!map_get(&s->held, node, &had) && map_set(&s->held, node, 1) == 0)
		tree_ref(v, node);
	pthread_mutex_unlock(&s->lock);
}

static void drop_held(struct volume *v)
{
	struct resync *s = v->resync;
	uint64_t node, one, at = 0;
	struct map held;

	pthread_mutex_lock(&s->lock);
	held = s->held;
	memset(&s->held, 0, sizeof(s->held));
	pthread_mutex_unlock(&s->lock);
	while (map_next(&held, &at, &node, &one))
		tree_unref(v, (uint32_t)node);
	map_free(&held);
}

/* Takes all notes; the caller drops the references. */
static struct map take_notes(struct resync *s)
{
	struct map m;

	pthread_mutex_lock(&s->lock);
	m = s->noted;
	memset(&s->noted, 0, sizeof(s->noted));
	pthread_mutex_unlock(&s->lock);
	return m;
}

static size_t count_notes(struct resync *s)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = s->noted.used;
	pthread_mutex_unlock(&s->lock);
	return n;
}

static void redo(struct check *c, uint32_t node, uint64_t how)
{
	if (tree_node(c->v, node)->flags & NODE_DELETED)
		return;
	/* Its own record, once it is sealed, is a matter of the entry. */
	if (tree_node(c->v, node)->type == TYPE_OF(S_IFDIR))
		check_node(c, node);
	if (tree_node(c->v, node)->type == TYPE_OF(S_IFDIR) && how == NOTE_DEEP)
		walk_tree(c, NULL, node);
	else
		walk_one(c, node);
}

/* c NULL: only drops them. */
static void use_notes(struct volume *v, struct check *c)
{
	struct map notes = take_notes(v->resync);
	uint64_t node, how, at = 0;

	while (map_next(&notes, &at, &node, &how)) {
		if (c)
			redo(c, (uint32_t)node, how);
		tree_unref(v, (uint32_t)node);
	}
	map_free(&notes);
}

static void pass(struct check *c)
{
	c->sources = volume_in_sync(c->v);
	c->mask = volume_active(c->v);
	use_notes(c->v, c);
}

/* Changes stand still: the rest is compared, then the targets are in sync. */
static int last_pass(struct check *c, uint64_t failures)
{
	struct volume *v = c->v;
	int r = 0;

	seal_freeze(v);
	/* The journals of those who join know nothing of what is open now. */
	r = seal_frozen(v);
	for (int i = 0; i < 1000 && count_notes(v->resync); i++)
		pass(c);
	if (c->stats->failed + c->stats->uncorrected > failures || count_notes(v->resync))
		r = -EIO;
	FOR_EACH_BIT(m, r == 0 ? atomic_load(&v->targets) : 0) {
		if (syncfs(v->m[m].rootfd) < 0) {
			r = log_err(-errno, "%s: sync after the resync", volume_path(v, (int)m));
			continue;
		}
		r = journal_join(v, (int)m);
		if (r == 0)
			r = volume_admit(v, (int)m);
	}
	atomic_store(&v->targets, 0);
	seal_thaw(v);
	return r;
}

static uint32_t find_targets(struct volume *v)
{
	uint32_t mask = 0;

	for (unsigned m = 0; m < v->n; m++) {
		enum member_state s = volume_member(v, (int)m, NULL);

		if (v->m[m].dotfd >= 0 && s != MEMBER_IN_SYNC && s != MEMBER_REMOVED)
			mask |= 1u << m;
	}
	return mask & ~volume_in_sync(v);
}

static int run_locked(struct volume *v, const struct scrub_options *opt,
		      struct scrub_stats *stats)
{
	uint64_t failures = stats->failed + stats->uncorrected;
	uint32_t targets = find_targets(v);
	struct check c;
	int r;

	if (!targets)
		return 0;
	FOR_EACH_BIT(m, targets)
		log_info("%s: bringing it up to date", volume_path(v, (int)m));
	targets = volume_begin_resync(v, targets);
	if (!targets)
		return -EIO;
	atomic_store(&v->targets, targets);
	check_init(&c, v);
	c.mask = volume_active(v);
	c.stats = stats;
	c.deep = v->opt.clone;
	if (opt) {
		c.finding = opt->finding;
		c.arg = opt->arg;
	}
	r = walk_tree(&c, opt, NODE_ROOT);
	for (int i = 0; r == 0 && i < MAX_PASSES && count_notes(v->resync) > FEW_NOTES; i++)
		pass(&c);
	if (r == 0)
		r = last_pass(&c, failures);
	atomic_store(&v->targets, 0);
	FOR_EACH_BIT(m, r < 0 ? targets & ~volume_in_sync(v) : 0)
		volume_set_state(v, (int)m, MEMBER_STALE, "resync did not finish");
	return r;
}

int resync_run(struct volume *v, const struct scrub_options *opt, struct scrub_stats *stats)
{
	int r;

	pthread_mutex_lock(&v->resync->run);
	r = run_locked(v, opt, stats);
	use_notes(v, NULL);
	drop_held(v);
	pthread_mutex_unlock(&v->resync->run);
	return r;
}

static void *resync_thread(void *arg)
{
	struct volume *v = arg;
	struct scrub_stats stats = { 0 };
	int r;

	r = recovery_settle(v);
	if (r == 0 && !atomic_load(&v->stopping))
		r = resync_run(v, NULL, &stats);
	if (r < 0 && r != -EINTR)
		log_err(r, "a mirror could not be brought up to date");
	return NULL;
}

int resync_start(struct volume *v)
{
	struct resync *s = v->resync;

	if (v->opt.read_only || (!recovery_pending(v) && !find_targets(v)))
		return 0;
	s->started = pthread_create(&s->thread, NULL, resync_thread, v) == 0;
	return s->started ? 0 : -EAGAIN;
}

void resync_fini(struct volume *v)
{
	struct resync *s = v->resync;

	if (!s)
		return;
	atomic_store(&v->stopping, true);
	if (s->started)
		pthread_join(s->thread, NULL);
	use_notes(v, NULL);
	drop_held(v);
	pthread_mutex_destroy(&s->run);
	pthread_mutex_destroy(&s->lock);
	free(s);
	v->resync = NULL;
}
