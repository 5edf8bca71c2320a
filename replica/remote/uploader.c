// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The thread of a remote: waits until there is something to do, connects, works
 * through the ledger, looks again at what was stored, scrubs a little. All waiting for
 * the network and for people is in remote_trouble(): what calls it is straight
 * code that tries again.
 */
#include "replica/remote/remote_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "replica/base/io.h"
#include "replica/base/log.h"
#include "replica/remote/object_name.h"

#define POLL_MS 1000
#define ENDPOINT_MS 100    /* before the next end point is tried */
#define PERSON_MS 600000   /* a person may have mended the server without telling us */
#define LOOK_MS 2000       /* of looks at what is settled, between two rounds */
#define STORE_MS 60000     /* between writes of the state file, while there is news */

static void until(struct timespec *ts, int64_t ms)
{
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_sec += ms / 1000;
	ts->tv_nsec += (long)(ms % 1000) * 1000000;
	ts->tv_sec += ts->tv_nsec / 1000000000;
	ts->tv_nsec %= 1000000000;
}

/* r->lock held. */
static void nap(struct remote *r, int64_t ms)
{
	struct timespec ts;

	until(&ts, ms);
	pthread_cond_timedwait(&r->wake, &r->lock, &ts);
}

/* ---- trouble ---- */

static const struct {
	enum retry_kind kind;
	enum remote_state state;
} states[] = {
	{ RETRY_NONE, REMOTE_UPLOADING },
	{ RETRY_LATER, REMOTE_WAITING },
	{ RETRY_AUTH, REMOTE_AUTH },
	{ RETRY_MISCONFIGURED, REMOTE_MISCONFIGURED },
	{ RETRY_CONFLICT, REMOTE_CONFLICT },
};

enum remote_state remote_state_of(enum retry_kind kind)
{
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (states[i].kind == kind)
			return states[i].state;
	return REMOTE_WAITING;
}

/* When the files that a person would mend were last changed. */
static int64_t files_changed(const struct remote *r)
{
	const char *path[] = { r->def.credentials, r->def.ca };
	int64_t sum = 0;
	struct stat st;

	for (size_t i = 0; i < 2; i++)
		if (path[i] && stat(path[i], &st) == 0)
			sum += (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec +
				(int64_t)st.st_ino;
	return sum;
}

/* On to the next end point, at once until each was tried. */
static bool next_endpoint(struct remote *r)
{
	r->endpoint = (r->endpoint + 1) % r->def.n_urls;
	if (r->store)
		store_next_endpoint(r->store);
	return r->endpoint != 0;
}

bool remote_trouble(struct remote *r, int result, const char *what)
{
	enum retry_kind kind = retry_kind(result);
	int64_t ms, end, files = files_changed(r);
	int64_t asked = r->store ? store_retry_after(r->store) : -1;
	bool go;

	if (kind == RETRY_STOP || remote_stopping(r))
		return false;
	remote_note_error(r, "%s", what && *what ? what : strerror(-result));
	if (kind == RETRY_LATER) {
		uint64_t random;

		io_random(&random, sizeof(random));
		ms = next_endpoint(r) ? ENDPOINT_MS : retry_delay(&r->retry, asked, random);
	} else {
		ms = PERSON_MS;
		log_error("remote %s: stopped (%s) until `mirrorctl remote release`: %s",
			  r->def.name, remote_state_name(remote_state_of(kind)), r->error);
	}
	remote_set_state(r, remote_state_of(kind));
	end = remote_now_ms() + ms;
	pthread_mutex_lock(&r->lock);
	r->next_try = end;
	while (!r->stop && !r->def.paused && !r->kick && remote_now_ms() < end) {
		nap(r, end - remote_now_ms() < POLL_MS ? end - remote_now_ms() : POLL_MS);
		if (kind != RETRY_LATER && files_changed(r) != files)
			break;
	}
	r->next_try = 0;
	r->kick = false;
	go = !r->stop && !r->def.paused;
	pthread_mutex_unlock(&r->lock);
	/* A person's change is seen with a new connection only. */
	return go && (kind == RETRY_LATER || !r->layout);
}

void remote_went_well(struct remote *r)
{
	if (r->retry.failures)
		log_info("remote %s: answers again", r->def.name);
	remote_flows(r);
}

void remote_flows(struct remote *r)
{
	retry_success(&r->retry);
	if (r->state == REMOTE_WAITING || r->state == REMOTE_AUTH ||
	    r->state == REMOTE_MISCONFIGURED || r->state == REMOTE_CONFLICT)
		remote_set_state(r, REMOTE_UPLOADING);
}

/* ---- connecting ---- */

static void say(void *arg, enum probe_level level, const char *line)
{
	struct remote *r = arg;

	if (level == PROBE_FAIL)
		remote_note_error(r, "%s", line);
	else if (level == PROBE_WARN)
		log_warn("remote %s: %s", r->def.name, line);
}

static int load_secret(struct remote *r)
{
	char error[REMOTE_SAY_MAX];
	int e;

	remote_secret_wipe(&r->secret);
	if (!r->def.credentials)
		return 0;
	e = remote_secret_load(r->def.credentials, r->def.kind, &r->secret, error, sizeof(error));
	if (e < 0)
		remote_note_error(r, "%s", error);
	return e < 0 ? -EACCES : 0;
}

static bool marks_wait(struct remote *r)
{
	struct ledger_stats s;

	ledger_stats(r->ledger, &s);
	if (s.held || (!s.dirs && !s.all))
		return false;
	return ledger_seq(r->ledger) != r->seen_seq || remote_now_ms() >= r->not_before;
}

/* The scrub, which a slow or hanging server may hold up, leaves off when there is work. */
static bool leave_off(void *arg)
{
	struct remote *r = arg;

	return remote_stopping(r) || (r->sweeping && marks_wait(r));
}

static int open_layout(struct remote *r)
{
	struct layout_options o = { .volume = r->v->sb.volume_id, .writer = r->def.writer,
				    .create = true, .stop = leave_off, .stop_arg = r };
	char error[LAYOUT_ERROR_MAX] = "";
	int e = layout_open(r->store, &o, &r->layout, error);

	if (e < 0 && e != -ECANCELED)
		remote_note_error(r, "%s", *error ? error : strerror(-e));
	return e;
}

/* What is there is older than what we wrote, or nothing: someone took it away. */
static void compare_heads(struct remote *r)
{
	const struct remote_head *h = layout_head(r->layout);

	/* No round was ever completed: the mark that the attaching made may have been lost. Or
	 * the mirrors are older than what was written from them. */
	if (h->seq == 0 || h->seq != r->last_head) {
		if (r->last_head)
			log_warn("remote %s: head %" PRIu64 " is there, not %" PRIu64
				 ": everything is compared", r->def.name, h->seq, r->last_head);
		ledger_mark_dir(r->ledger, ROOT_ID, "", MARK_ATTRS | MARK_BELOW);
	}
}

static void disconnect(struct remote *r)
{
	sweep_leave(r);
	if (r->layout)
		layout_close(r->layout);
	if (r->store)
		store_close(r->store);
	r->layout = NULL;
	r->store = NULL;
	remote_secret_wipe(&r->secret);
}

/* Credentials, store, probe, layout. 0, or what store.h says, with the reason in r->error. */
static int connect_once(struct remote *r)
{
	int e = load_secret(r);

	if (e == 0)
		e = store_open(&r->def, &r->secret, &r->store);
	if (e == 0) {
		for (unsigned i = 0; i < r->endpoint; i++)
			store_next_endpoint(r->store);
		store_stop(r->store, leave_off, r);
		if (r->probed)
			store_use(r->store, &r->caps);
		e = store_probe(r->store, r->probed, &r->caps, say, r);
	}
	if (e == 0) {
		store_use(r->store, &r->caps);
		r->probed = true;
		e = open_layout(r);
	}
	if (e < 0) {
		disconnect(r);
		return e;
	}
	compare_heads(r);
	remote_went_well(r);
	return 0;
}

static int connect_until(struct remote *r)
{
	int e;

	remote_set_state(r, REMOTE_STARTING);
	do {
		char why[512];

		e = connect_once(r);
		snprintf(why, sizeof(why), "%s", r->error);
		if (e == 0)
			return 0;
		if (!remote_trouble(r, e, why))
			return -ECANCELED;
	} while (1);
}

/* ---- what was stored is looked at again ---- */

static bool is_head(struct remote *r, const char *object)
{
	char name[OBJECT_NAME_MAX];

	object_name_head(name, layout_head(r->layout)->seq);
	return strcmp(name, object) == 0;
}

/* Whether the item is still what the remote should have: 1, 0; an error if that cannot be
 * told now. */
static int is_current(struct remote *r, const struct settle_item *i, struct layout_dir **d)
{
	const struct manifest_entry *e;
	char object[LAYOUT_NAME_MAX];
	int err = layout_dir_resolve(r->layout, i->dir, d);

	if (err < 0)
		return err == -ENOENT || err == -ENOTDIR ? 0 : err;
	if (!*i->name)
		return is_head(r, i->object) || layout_holds(*d, i->object);
	err = layout_find(r->layout, *d, i->name, &e);
	if (err < 0 || e->link || e->type != S_IFREG >> 12)
		return err == -ENOENT || err >= 0 ? 0 : err;
	layout_content(r->layout, *d, e, object);
	if (strcmp(object, i->object) == 0)
		return e->size == i->size;
	return layout_holds_leaves(e, i->object);
}

/* What has been replaced says nothing: its name may be a collection's by now, where a look is refused
 * (403, a redirect). */
static int needs_look(struct remote *r, const struct settle_item *i)
{
	struct layout_dir *d = NULL;
	int current = is_current(r, i, &d);

	if (d)
		layout_dir_put(r->layout, d);
	return current == -EBADMSG ? 1 : current;
}

static int mend(struct remote *r, const struct settle_item *i, const char *what)
{
	struct layout_dir *d = NULL;
	int current = is_current(r, i, &d);

	if (current <= 0 && d)
		layout_dir_put(r->layout, d);
	if (current == -EBADMSG) {
		/* A manifest that leads there is gone with it: the walk finds out. */
		remote_note_error(r, "%s: acknowledged, and now %s: everything is compared",
				  i->object, what);
		ledger_mark_dir(r->ledger, ROOT_ID, "", MARK_BELOW);
		return 0;
	}
	if (current <= 0)
		return current;
	remote_note_error(r, "%s: acknowledged, and now %s: sent again", i->object, what);
	if (*i->name && layout_spoil(r->layout, d, i->name) == 0) {
		ledger_mark_entry(r->ledger, layout_dir_id(d), i->dir, i->name);
	} else if (!*i->name) {
		layout_rewrite(r->layout, d);
		ledger_mark_dir(r->ledger, layout_dir_id(d), i->dir, MARK_ATTRS);
	}
	pthread_mutex_lock(&r->lock);
	r->mended++;
	pthread_mutex_unlock(&r->lock);
	layout_dir_put(r->layout, d);
	return 0;
}

/* why: STORE_ERROR_MAX */
static int look_again(struct remote *r, char *why)
{
	int64_t end = remote_now_ms() + LOOK_MS;
	const struct settle_item *i;

	/* New changes do not wait for thousands of looks. */
	while (remote_now_ms() < end &&
	       (i = settle_due(&r->unsettled, clock_ns() / 1000000))) {
		struct store_op op = { .verb = STORE_HEAD, .name = i->object };
		int e;

		if (remote_stopping(r))
			return -ECANCELED;
		e = needs_look(r, i);
		if (e > 0) {
			e = store_run(r->store, &op);
			memcpy(why, op.error, STORE_ERROR_MAX);
		} else {
			op.size = i->size;
		}
		if (e == -ENOENT)
			e = mend(r, i, "it is not there");
		else if (e == 0 && op.size != UINT64_MAX && i->size != UINT64_MAX &&
			 op.size != i->size)
			e = mend(r, i, "it has another size");
		if (e < 0)
			return e;
		*why = '\0';
		settle_pop(&r->unsettled);
		atomic_store(&r->n_unsettled, r->unsettled.n);
	}
	return 0;
}

/* ---- the loop ---- */

static bool has_work(struct remote *r)
{
	return marks_wait(r) || !r->layout || settle_due(&r->unsettled, clock_ns() / 1000000);
}

static void rest(struct remote *r)
{
	bool paused, held, swept;

	pthread_mutex_lock(&r->lock);
	paused = r->def.paused;
	held = r->def.held;
	pthread_mutex_unlock(&r->lock);
	if (paused && r->store)
		disconnect(r);
	remote_set_state(r, paused ? REMOTE_PAUSED : held ? REMOTE_HELD : r->resting);
	if (remote_now_ms() - r->stored_at > STORE_MS)
		state_store(r);
	r->sweeping = true;
	swept = !paused && r->layout && sweep_step(r);
	r->sweeping = false;
	if (swept)
		return;
	pthread_mutex_lock(&r->lock);
	if (!r->stop && !r->kick)
		nap(r, POLL_MS);
	if (r->kick) { /* what was left is tried again, too */
		r->not_before = 0;
		r->state = r->def.paused ? REMOTE_PAUSED : REMOTE_STARTING;
	}
	r->kick = false;
	pthread_mutex_unlock(&r->lock);
}

static void work(struct remote *r)
{
	int e = r->layout ? 0 : connect_until(r);
	char why[STORE_ERROR_MAX] = "";

	if (e == 0)
		e = look_again(r, why);
	if (e == 0) {
		remote_set_state(r, REMOTE_UPLOADING);
		e = sync_round(r);
	}
	if (e == 0) {
		const struct remote_head *h = layout_head(r->layout);

		if (h->seq != r->last_head) {
			r->last_head = h->seq;
			state_store_head(r);
		}
		r->failed_rounds = 0;
		return;
	}
	if (!*why && r->layout)
		snprintf(why, sizeof(why), "%s", layout_error(r->layout));
	/* Whatever was staged is looked for again, over a new connection. That it comes
	 * about must not make us forget how often the round failed. */
	disconnect(r);
	if (e == -ECANCELED)
		return;
	if (r->retry.failures < r->failed_rounds)
		r->retry.failures = r->failed_rounds;
	r->failed_rounds++;
	remote_trouble(r, e, why);
}

void *uploader_main(void *arg)
{
	struct remote *r = arg;

	state_load(r);
	while (1) {
		bool stop, paused;

		pthread_mutex_lock(&r->lock);
		stop = r->stop;
		paused = r->def.paused;
		pthread_mutex_unlock(&r->lock);
		if (stop)
			break;
		if (!paused && has_work(r))
			work(r);
		else
			rest(r);
	}
	state_store(r);
	sweep_free(r);
	disconnect(r);
	remote_set_state(r, REMOTE_STOPPED);
	return NULL;
}
