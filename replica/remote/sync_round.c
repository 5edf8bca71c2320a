// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A round: marks are taken from the ledger and made a tree of places to look at,
 * the survey, the brake, the moves, the walk, commits. What could not be done
 * is marked again; what is given up by a stop counts again as a whole.
 */
#include "replica/remote/sync_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/log.h"
#include "replica/remote/object_name.h"
#include "replica/tree.h"
#include "replica/walk.h"

#define COMMIT_CHANGES 1000
#define SURVEYS_MOST 2         /* void ones, one after another */
#define COMMIT_BYTES (256ull << 20)
#define COMMIT_SHORT_MS 2000   /* commits that took less may be larger */
#define COMMIT_LONG_MS 10000   /* ... that took more are to be smaller */
/* What could not be done now is not asked for at once again, and less and less often. */
#define LEFT_MS 15000
#define LEFT_MOST_MS 300000

/* Results that say something of the tree at the remote, not of the way to it. */
static bool is_answer(int r)
{
	return r >= 0 || r == -ENOENT || r == -EBADMSG || r == -ENOMEM || r == -ENOTDIR ||
		r == -ENAMETOOLONG || r == -ESTALE;
}

bool sync_again(struct remote *r, int *result)
{
	if (is_answer(*result)) {
		if (*result == 0)
			remote_went_well(r);
		return false;
	}
	if (remote_trouble(r, *result, layout_error(r->layout)))
		return true;
	*result = -ECANCELED;
	return false;
}

/* ---- commits ---- */

static void put_done(void *arg, struct layout_dir *d, const char *name, int result,
		     const char *error)
{
	struct sync *s = arg;
	char path[LAYOUT_NAME_MAX];

	if (result == 0) {
		pthread_mutex_lock(&s->r->lock);
		s->r->sent_files++;
		s->r->todo_files -= s->r->todo_files > 0;
		pthread_mutex_unlock(&s->r->lock);
		return;
	}
	s->undone++;
	if (result == -ESTALE)
		map_set(&s->r->restless, sync_place(d, name), 1);
	layout_dir_path(d, path, sizeof(path));
	if (layout_dir_id(d) == LAYOUT_LINKS_ID)
		sync_leave_inode(s, strtoull(name, NULL, 16), result);
	else
		sync_leave(s, layout_dir_id(d), path, name, result, error);
}

static void stored(void *arg, const char *object, uint64_t size, struct layout_dir *d,
		   const char *name)
{
	struct sync *s = arg;
	char path[LAYOUT_NAME_MAX] = "";
	int64_t due = clock_ns() / 1000000 + (int64_t)s->r->def.settle_s * 1000;

	if (d)
		layout_dir_path(d, path, sizeof(path));
	settle_add(&s->r->unsettled, object, size, due, path, d && name ? name : "");
	atomic_store(&s->r->n_unsettled, s->r->unsettled.n);
	remote_sent(s->r, size);
}

/* Of a thousand some may fail each time: no reason to wait longer and longer, nor to say
 * that we do nothing else. */
static void sent(void *arg)
{
	struct sync *s = arg;

	remote_flows(s->r);
}

static unsigned parallel(void *arg, int result)
{
	struct sync *s = arg;

	return retry_parallel(&s->r->retry, result, s->r->def.connections);
}

static void tell_head(struct remote *r)
{
	const struct remote_head *h = layout_head(r->layout);

	pthread_mutex_lock(&r->lock);
	r->head = h->seq;
	r->head_time = h->time;
	r->remote_files = h->files;
	r->remote_bytes = h->bytes;
	pthread_mutex_unlock(&r->lock);
}

/* What is sent and not yet in a head is sent again after a crash here: batches are as large
 * as goes up within some seconds. */
static void adapt_batch(struct remote *r, int64_t took_ms)
{
	if (took_ms < COMMIT_SHORT_MS && r->batch_shift)
		r->batch_shift--;
	else if (took_ms > COMMIT_LONG_MS && r->batch_shift < BATCH_SHIFT_MOST)
		r->batch_shift++;
}

/* A server that forgets may forget the head. */
static void settle_head(struct sync *s, uint64_t before)
{
	uint64_t seq = layout_head(s->l)->seq;
	char object[OBJECT_NAME_MAX];

	if (seq == before)
		return;
	object_name_head(object, seq);
	settle_add(&s->r->unsettled, object, UINT64_MAX,
		   clock_ns() / 1000000 + (int64_t)s->r->def.settle_s * 1000, "", "");
}

int sync_commit(struct sync *s)
{
	uint64_t head = layout_head(s->l)->seq;
	int64_t begun = remote_now_ms();
	struct layout_run run = { .parallel = parallel, .done = put_done, .sent = sent,
				  .stored = stored, .arg = s };
	struct layout_staged staged;
	int r;

	layout_staged(s->l, &staged);
	do {
		r = layout_commit(s->l, &run);
		if (r == -ENOENT) /* nothing that waiting mends: the prefix is gone */
			r = -EAGAIN;
	} while (sync_again(s->r, &r));
	tell_head(s->r);
	if (r == 0)
		settle_head(s, head);
	if (r == 0) {
		adapt_batch(s->r, remote_now_ms() - begun);
		pthread_mutex_lock(&s->r->lock);
		s->r->deleted += staged.removes;
		pthread_mutex_unlock(&s->r->lock);
		r = sync_late_names(s);
	}
	return r;
}

/* With the names that waited for it. */
static int commit_all(struct sync *s)
{
	struct layout_staged g;
	int r;

	do {
		r = sync_commit(s);
		layout_staged(s->l, &g);
	} while (r == 0 && g.puts + g.moves + g.removes + g.sets > 0);
	return r;
}

int sync_maybe_commit(struct sync *s)
{
	struct layout_staged g;

	/* A commit drops what was moved out and is not in again. */
	if (s->survey || s->out)
		return 0;
	layout_staged(s->l, &g);
	if (g.puts + g.moves + g.removes + g.sets < (uint64_t)COMMIT_CHANGES >> s->r->batch_shift &&
	    g.put_bytes < COMMIT_BYTES >> s->r->batch_shift)
		return 0;
	return sync_commit(s);
}

/* ---- the round ---- */

/* The directory of a mark by where it was, or by its id. */
static int resolve(struct sync *s, const struct mark *m, char path[LAYOUT_NAME_MAX])
{
	uint32_t node = 0;
	int r = walk_resolve(s->v, m->path, &node);

	if (r == 0 && tree_node(s->v, node)->id != m->id) {
		tree_unref(s->v, node);
		r = -ENOENT;
	}
	if (r == -ENOENT || r == -ENOTDIR) {
		node = tree_find_id(s->v, m->id);
		r = node && tree_names(s->v, node) ? 0 : -ENOENT;
	}
	if (r == 0) {
		note_path(s->v, node, path);
	}
	if (node)
		tree_unref(s->v, node);
	return r;
}

/* place: where it was looked for, NULL: nowhere. */
static int look_mark(struct sync *s, const struct mark *m, char **place)
{
	char path[LAYOUT_NAME_MAX];
	struct look *k;
	int r = resolve(s, m, path);

	if (r == -ENOENT && ledger_gone(s->r->ledger, m->id))
		return 0; /* its parent is marked */
	if (r == -ENOENT) {
		/* Removed or moved, and nobody said so: only a look at all can tell. */
		log_info("remote %s: %s is not there any more: everything is compared",
			 s->r->def.name, *m->path ? m->path : "a directory");
		s->looks->flags |= MARK_BELOW;
		return 0;
	}
	if (r < 0) { /* it cannot be read just now */
		sync_leave(s, m->id, m->path, "", r, NULL);
		return 0;
	}
	k = look_at(s->looks, path);
	*place = strdup(path);
	if (!k || !*place)
		return -ENOMEM;
	k->flags |= m->flags;
	for (size_t i = 0; i < m->n_names; i++)
		if (*m->name[i] && !look_make(k, m->name[i]))
			return -ENOMEM;
		else if (!*m->name[i])
			k->flags |= MARK_NAMES | MARK_ENTRIES;
	return 0;
}

static int sync_root(struct sync *s)
{
	struct layout_dir *root = layout_root(s->l);
	struct manifest_entry mine = { 0 };
	struct entry e = { .node = NODE_ROOT };
	int r = op_getattr(s->v, NODE_ROOT, &e.st);

	if (r == 0)
		r = local_entry(s->v, &e, "", &mine);
	if (r == 0 && !s->survey && !manifest_entry_same(&mine, &layout_head(s->l)->attrs))
		r = layout_set_root(s->l, &mine);
	manifest_entry_clear(&mine);
	if (r == 0)
		r = sync_dir(s, NODE_ROOT, root, s->looks, 0);
	if (r == -EBADMSG && !s->survey) {
		/* A page of the root, or of the directory of links: both are made anew. */
		struct layout_dir *links = layout_links(s->l);

		log_warn("remote %s: everything is compared: %s", s->r->def.name,
			 layout_error(s->l));
		r = layout_spoil(s->l, root, NULL);
		if (r == 0)
			r = layout_spoil(s->l, links, NULL);
		layout_dir_put(s->l, links);
		if (r == 0)
			r = sync_dir(s, NODE_ROOT, root, s->looks, MARK_BELOW);
	} else if (r == -EBADMSG) {
		r = 0;
	}
	layout_dir_put(s->l, root);
	return r;
}

static void tell_todo(struct sync *s, bool counting)
{
	pthread_mutex_lock(&s->r->lock);
	s->r->todo_files = s->files;
	s->r->todo_bytes = s->bytes;
	s->r->counting = counting;
	pthread_mutex_unlock(&s->r->lock);
}

/* What the survey counts is too much. */
static void pull_brake(struct sync *s)
{
	struct remote *r = s->r;

	if (s->held || s->released ||
	    !brake_holds(&r->brake, remote_now_ms(), s->destroyed, layout_head(s->l)->files,
			 r->def.brake_percent, r->def.brake_files))
		return;
	s->held = true;
	log_warn("remote %s: %llu files are to be deleted or overwritten, of %llu there: held "
		 "until `mirrorctl remote release`; new files go on", r->def.name,
		 (unsigned long long)s->destroyed, (unsigned long long)layout_head(s->l)->files);
}

/* A person releases it for what is asked at that time, and all of it is done. */
static void apply_brake(struct sync *s)
{
	struct remote *r = s->r;

	pthread_mutex_lock(&r->lock);
	s->held = r->def.held && !r->released;
	s->released = r->released;
	if (r->released)
		r->state = REMOTE_UPLOADING;
	r->released = false;
	pthread_mutex_unlock(&r->lock);
	if (s->released)
		brake_reset(&r->brake);
	pull_brake(s);
	s->allowed = s->destroyed;
	remote_set_held(r, s->held);
}

/* What a person has released is still to be done. */
static void keep_released(struct sync *s)
{
	pthread_mutex_lock(&s->r->lock);
	s->r->released |= s->released;
	pthread_mutex_unlock(&s->r->lock);
}

/* What was done of that counts for the hour; what a person has released does not. */
static void count_brake(struct sync *s)
{
	uint64_t done = s->doomed > s->undone ? s->doomed - s->undone : 0;

	if (s->released)
		done = done > s->allowed ? done - s->allowed : 0;
	if (done)
		brake_count(&s->r->brake, remote_now_ms(), done);
}

static int collect_nameless(const struct manifest_entry *e, void *arg)
{
	return e->refs ? 0 : map_set(arg, e->id, 1);
}

/* How many names each inode has, where that got lost. -EBADMSG: not now, a directory is to be
 * made anew first. */
static int count_names(struct sync *s)
{
	int r = 0;

	if (!layout_uncounted(s->l))
		return 0;
	TRY(s, r, layout_recount(s->l));
	return r < 0 ? r : commit_all(s);
}

/* Inodes that lost their last name; only now, for the name may have come elsewhere. */
static int remove_unlinked(struct sync *s)
{
	struct layout_dir *links = layout_links(s->l);
	struct map left = { 0 };
	char hex[17];
	uint64_t id, one;
	int r = 0;

	/* Of a session that died before it could. */
	if (s->looks->flags & MARK_BELOW && !s->held)
		TRY(s, r, layout_each(s->l, links, collect_nameless, &left));
	for (uint64_t at = 0; r == 0 && map_next(&left, &at, &id, &one);) {
		if (map_get(&s->inodes, id, &one))
			continue;
		snprintf(hex, sizeof(hex), "%016" PRIx64, id);
		r = sync_remove(s, links, hex);
	}
	map_free(&left);
	while (r == 0 && !s->held && layout_unlinked(s->l, &id)) {
		if (map_get(&s->inodes, id, &one)) /* it has a name here */
			continue;
		snprintf(hex, sizeof(hex), "%016" PRIx64, id);
		r = sync_remove(s, links, hex);
	}
	layout_dir_put(s->l, links);
	return r < 0 ? r : commit_all(s);
}

/* What changed and lost the name that it was noted by: only a look at all finds another. */
static int find_lost(struct sync *s)
{
	struct layout_dir *links = layout_links(s->l);
	uint64_t at = 0, id, one;
	struct sync_seen seen = { .there = false };
	char hex[17];
	int r = 0;

	while (r == 0 && !seen.there && map_next(&s->nameless, &at, &id, &one)) {
		if (map_get(&s->inodes, id, &one))
			continue;
		snprintf(hex, sizeof(hex), "%016" PRIx64, id);
		r = sync_find(s, links, NULL, hex, &seen);
		if (r == 0 && seen.there && seen.refs == 0)
			seen.there = false;
	}
	layout_dir_put(s->l, links);
	if (r < 0 || !seen.there)
		return r;
	log_info("remote %s: a file of several names has changed, and lost the one that was known: "
		 "everything is compared", s->r->def.name);
	s->looks->flags |= MARK_BELOW;
	r = sync_root(s);
	return r < 0 ? r : commit_all(s);
}

static int survey(struct sync *s)
{
	int r;

	s->survey = true;
	s->files = s->bytes = s->destroyed = 0;
	tell_todo(s, true);
	r = sync_root(s);
	if (r == 0 && !s->moved)
		r = moves_match(s);
	tell_todo(s, false);
	s->survey = false;
	s->whole_of = 0;
	return r;
}

/* A name that was seen come and not go, or go and not come: the survey does not know. Where
 * there is always something renamed it has to do. */
static bool is_void(struct sync *s)
{
	bool renamed;

	pthread_mutex_lock(&s->r->lock);
	renamed = s->r->moved.count != s->renames;
	pthread_mutex_unlock(&s->r->lock);
	if (renamed && s->r->surveys < SURVEYS_MOST) {
		s->r->surveys++;
		return true;
	}
	s->r->surveys = 0;
	return false;
}

/* What is overwritten in a directory that was moved shows only when it is at its place. */
static int run_moves(struct sync *s)
{
	int r;

	if (s->held || !moves_wanted(s))
		return 0;
	r = moves_do(s);
	s->moved = true;
	if (r == 0)
		r = survey(s);
	if (r == 0 && is_void(s))
		r = -EINPROGRESS;
	if (r < 0)
		return r;
	pull_brake(s);
	s->allowed = s->destroyed;
	remote_set_held(s->r, s->held);
	return 0;
}

static int run(struct sync *s)
{
	int r = survey(s);

	if (r < 0)
		return r;
	if (is_void(s))
		return -EINPROGRESS;
	apply_brake(s);
	remote_set_state(s->r, s->held ? REMOTE_HELD : REMOTE_UPLOADING);
	r = run_moves(s);
	if (r == -EINPROGRESS)
		keep_released(s);
	if (r == 0)
		r = sync_root(s);
	if (r == 0)
		r = commit_all(s);
	if (r == 0)
		r = find_lost(s);
	if (r == 0)
		r = count_names(s);
	if (r == 0)
		r = remove_unlinked(s);
	else if (r == -EBADMSG)
		r = 0;
	count_brake(s);
	return r;
}

static void oldest(struct sync *s, const struct mark *m, size_t n)
{
	s->seq = n ? m[0].seq : 0;
	s->since = n ? m[0].since : 0;
	for (size_t i = 1; i < n; i++) {
		if (m[i].seq < s->seq)
			s->seq = m[i].seq;
		if (m[i].since < s->since)
			s->since = m[i].since;
	}
}

/* All of it counts again. */
static void give_back(struct remote *r, struct mark *m, size_t n)
{
	bool *again = malloc(n + 1);

	if (again)
		memset(again, true, n);
	else
		ledger_mark_dir(r->ledger, ROOT_ID, "", MARK_BELOW);
	ledger_done(r->ledger, m, n, again);
	free(again);
}

/* A directory that was renamed in the meantime: the walk may have missed it in both places. It
 * is not found by where it was, and by its id only as long as somebody uses it. */
static void done(struct sync *s, struct mark *m, char **place, size_t n)
{
	bool *again = calloc(n + 1, 1);
	char path[LAYOUT_NAME_MAX];

	if (!again) {
		give_back(s->r, m, n);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		int r = place[i] ? resolve(s, &m[i], path) : -ENOENT;

		if (r == -ENOENT)
			again[i] = place[i] && !ledger_gone(s->r->ledger, m[i].id);
		else
			again[i] = r < 0 || strcmp(path, place[i]) != 0;
	}
	ledger_done(s->r->ledger, m, n, again);
	free(again);
}

static int64_t left_delay(unsigned rounds)
{
	int64_t ms = LEFT_MS;

	for (; rounds > 1 && ms < LEFT_MOST_MS; rounds--)
		ms *= 2;
	return ms < LEFT_MOST_MS ? ms : LEFT_MOST_MS;
}

int sync_round(struct remote *r)
{
	struct sync s = { .v = r->v, .r = r, .l = r->layout };
	struct mark *marks = NULL;
	char **place;
	size_t n = 0;
	uint64_t seq;
	int e;

	s.renames = note_moved(r);
	seq = ledger_seq(r->ledger);
	e = ledger_take(r->ledger, &marks, &n);
	if (e == -EINPROGRESS)
		return 0;
	if (e < 0)
		return e;
	r->seen_seq = seq;
	oldest(&s, marks, n);
	s.looks = look_new();
	place = calloc(n + 1, sizeof(*place));
	e = s.looks && place ? 0 : -ENOMEM;
	for (size_t i = 0; e == 0 && i < n; i++)
		e = look_mark(&s, &marks[i], &place[i]);
	if (e == 0)
		e = run(&s);
	moves_free(&s);
	look_free(s.looks);
	sync_late_free(&s);
	map_free(&s.inodes);
	map_free(&s.nameless);
	if (e < 0)
		give_back(r, marks, n);
	else
		done(&s, marks, place, n);
	for (size_t i = 0; place && i < n; i++)
		free(place[i]);
	free(place);
	r->not_before = 0;
	if (e == -EINPROGRESS) { /* at once again */
		r->doubtful |= s.moved;
		return 0;
	}
	r->doubtful = e < 0;
	r->resting = REMOTE_IDLE;
	r->left_rounds = s.left && (s.worst != RETRY_NONE || s.held) ? r->left_rounds + 1 : 0;
	if (s.left) {
		r->not_before = remote_now_ms() + left_delay(r->left_rounds);
		r->resting = remote_state_of(s.worst);
	}
	pthread_mutex_lock(&r->lock);
	r->next_try = r->not_before;
	r->held_changes = s.held_changes;
	r->lost = s.lost;
	r->todo_files = r->todo_bytes = 0;
	pthread_mutex_unlock(&r->lock);
	return e;
}
