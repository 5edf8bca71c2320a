/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checking one entry of a directory on every member. The order: what is it
 * (record), is it everywhere, is its metadata right, is its content right.
 */
#include "replica/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "replica/choice.h"
#include "replica/dirfd.h"
#include "replica/recover.h"
#include "replica/resync.h"
#include "replica/tree.h"

/* What stands under one name on each member. */
struct seen {
	uint32_t there;               /* bit m: something of that name */
	uint32_t recorded;            /* ... with a valid record */
	struct stat st[MAX_MIRRORS];
	struct record rec[MAX_MIRRORS];
	int err[MAX_MIRRORS];         /* of stat */
};

static void look(struct check *c, uint32_t parent, const char *name, struct seen *s)
{
	int fd[MAX_MIRRORS];

	s->there = s->recorded = 0;
	dirfds_get(c->v, parent, c->mask, fd);
	FOR_EACH_BIT(m, c->mask) {
		struct at a = { .mirror = &c->v->m[m], .fd = fd[m], .name = name };

		s->err[m] = fd[m] < 0 ? fd[m] : at_stat(&a, &s->st[m]);
		if (s->err[m] < 0)
			continue;
		s->there |= 1u << m;
		if (record_load(&a, TYPE_OF(s->st[m].st_mode), &s->rec[m]) == 0)
			s->recorded |= 1u << m;
	}
	dirfds_put(c->v, parent, c->mask, fd);
}

/* The record that counts among the members in `of`; index or -1. */
static int best_record(const struct check *c, const struct seen *s, uint32_t of)
{
	int have[MAX_MIRRORS] = { 0 };
	uint32_t bad;
	bool conflict;

	if (!(of & s->recorded))
		return -1;
	FOR_EACH_BIT(m, of & s->recorded)
		have[m] = 1;
	return choice_record((int)c->v->n, of & s->there, have, s->rec, &bad, &conflict);
}

/*
 * The same with what the marks of other members add: while one of them says
 * that the object was open, it was. *newest: members that have seen the last
 * change, as far as their records tell.
 */
static int merged_record(const struct check *c, const struct seen *s, uint32_t of,
			 struct record *rec, uint32_t *newest)
{
	int best = best_record(c, s, of);
	uint32_t same = 0;

	*newest = of;
	if (best < 0)
		return best;
	*rec = s->rec[best];
	FOR_EACH_BIT(m, of & s->recorded)
		if (s->rec[m].gen == rec->gen && s->rec[m].id == rec->id) {
			rec->flags |= s->rec[m].flags;
			same |= 1u << m;
		}
	*newest = choice_newest(same, s->rec);
	return best;
}

/* Of a session that did not end in order some members' records are older. */
static bool lagging(const struct check *c, const struct seen *s, uint32_t have,
		    const struct record *rec)
{
	FOR_EACH_BIT(m, recovery_pending(c->v) ? have & s->recorded : 0)
		if (s->rec[m].gen < rec->gen)
			return true;
	return false;
}

int check_pick(const struct check *c, uint32_t of, uint64_t id)
{
	int p = volume_preferred(c->v, id);

	return of >> p & 1 ? p : __builtin_ctz(of);
}

/* Members of `of` that have the entry as t says. */
static uint32_t agreeing(const struct seen *s, uint32_t of, const struct truth *t)
{
	uint32_t mask = 0;

	FOR_EACH_BIT(m, of & s->there)
		if (TYPE_OF(s->st[m].st_mode) == t->type &&
		    (!(s->recorded & 1u << m) || s->rec[m].id == t->id))
			mask |= 1u << m;
	return mask;
}

/* ---- metadata ---- */

static bool meta_matches(const struct at *a, const struct stat *st, const struct record *rec)
{
	uint32_t meta;

	return metahash(a, st, &meta) == 0 && meta == rec->meta;
}

/* The mtime is in the record itself: no copy is needed to put it back. */
static void check_mtime(struct check *c, const char *path, int m, const struct at *a,
			const struct record *rec)
{
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, ns_ts(rec->mtime) };
	struct stat st;
	int r;

	if (at_stat(a, &st) < 0 || ts_ns(&st.st_mtim) == rec->mtime)
		return;
	r = c->dry_run ? 0 : at_utimens(a, ts);
	check_report(c, FIND_MTIME, path, 0, 0, m, -1, "mtime is not the recorded one",
		     c->dry_run ? "would repair" : r < 0 ? "repair failed" : "repaired");
}

/*
 * Compares mode, owner, xattrs and mtime of each member with the sealed
 * record. rec: sealed. Members that differ get them from one that matches; if
 * none does, somebody changed all below the mount: that is reported, the first
 * source's are taken, and true is returned: the record is to be made anew.
 */
static bool check_meta_at(struct check *c, const char *path, const int fd[MAX_MIRRORS],
			  const char *name, const struct seen *s, uint32_t have,
			  const struct record *rec)
{
	bool accept = false;
	uint32_t bad = 0;
	int src = -1;

	FOR_EACH_BIT(m, have) {
		struct at a = { .mirror = &c->v->m[m], .fd = fd[m], .name = name };

		if (fd[m] < 0)
			continue;
		if (!meta_matches(&a, &s->st[m], rec))
			bad |= 1u << m;
		else if (src < 0)
			src = (int)m;
	}
	if (src < 0 && bad & c->sources) {
		accept = true;
		src = __builtin_ctz(bad & c->sources);
		bad &= ~(1u << src);
		volume_count(c->v, CNT_UNCORRECTED, 1);
		check_report(c, FIND_META, path, 0, 0, -1, -1,
			     "mode, owner or xattrs changed on all mirrors", "kept");
	}
	FOR_EACH_BIT(m, src >= 0 ? bad : 0) {
		struct at from = { .mirror = &c->v->m[src], .fd = fd[src], .name = name };
		struct at to = { .mirror = &c->v->m[m], .fd = fd[m], .name = name };
		int r = c->dry_run ? 0 : meta_copy(&from, &s->st[src], &to);

		check_report(c, FIND_META, path, 0, 0, (int)m, src,
			     "mode, owner or xattrs changed",
			     c->dry_run ? "would repair" : r < 0 ? "repair failed" : "repaired");
	}
	FOR_EACH_BIT(m, have) {
		struct at a = { .mirror = &c->v->m[m], .fd = fd[m], .name = name };

		if (fd[m] >= 0)
			check_mtime(c, path, (int)m, &a, rec);
	}
	return accept && !c->dry_run;
}

static bool check_meta(struct check *c, struct dir *d, const char *name, const struct seen *s,
		       uint32_t have, const struct record *rec)
{
	int fd[MAX_MIRRORS];
	char path[4096];
	bool accept;

	tree_path_of(c->v, d->node, name, path, sizeof(path));
	dirfds_get(c->v, d->node, have, fd);
	accept = check_meta_at(c, path, fd, name, s, have, rec);
	dirfds_put(c->v, d->node, have, fd);
	return accept;
}

static void check_root_records(struct check *c, struct dir *root, const int fd[MAX_MIRRORS])
{
	FOR_EACH_BIT(m, c->mask) {
		struct at a = { .mirror = &c->v->m[m], .fd = fd[m], .opened = true };
		bool settling = c->settling;
		struct record rec;
		int r = record_load(&a, c->type, &rec);

		if (r == 0 && record_equal(&rec, &root->rec))
			continue;
		/* Nobody syncs a record that was just sealed: after a cut one may be older. */
		c->settling |= r == 0 && recovery_pending(c->v) && rec.gen < root->rec.gen;
		r = c->dry_run ? 0 : record_store(&a, c->type, &root->rec);
		check_report(c, FIND_RECORD, ".", 0, 0, (int)m, -1,
			     "record lost or not the newest",
			     c->dry_run ? "would repair" : r < 0 ? "repair failed" : "repaired");
		c->settling = settling;
	}
}

void check_root(struct check *c, struct dir *root)
{
	int fd[MAX_MIRRORS];
	struct seen s;

	if (root->marked || root->dirty || root->rec.flags & RECORD_OPEN)
		return;
	FOR_EACH_BIT(m, c->mask) {
		fd[m] = c->v->m[m].rootfd;
		if (fstat(fd[m], &s.st[m]) < 0)
			return;
	}
	c->type = TYPE_OF(S_IFDIR);
	check_root_records(c, root, fd);
	if (check_meta_at(c, ".", fd, NULL, &s, c->mask, &root->rec))
		dir_changed(c->v, root);
}

/* An object that is not sealed has no record to compare with: members being
 * brought up to date get what a source has. */
static void align_meta(struct check *c, struct dir *d, const char *name, const struct seen *s,
		       uint32_t targets, int src)
{
	uint32_t want, got;
	char path[4096];
	int fd[MAX_MIRRORS];
	struct at from;

	targets &= ~(1u << src);
	if (!targets || c->dry_run)
		return;
	tree_path_of(c->v, d->node, name, path, sizeof(path));
	dirfds_get(c->v, d->node, targets | 1u << src, fd);
	from = (struct at){ .mirror = &c->v->m[src], .fd = fd[src], .name = name };
	FOR_EACH_BIT(m, fd[src] >= 0 && metahash(&from, &s->st[src], &want) == 0 ? targets : 0) {
		struct at to = { .mirror = &c->v->m[m], .fd = fd[m], .name = name };
		int r = fd[m] < 0 ? fd[m] : metahash(&to, &s->st[m], &got);

		if (r == 0 && want == got &&
		    ts_ns(&s->st[m].st_mtim) == ts_ns(&s->st[src].st_mtim))
			continue;
		if (r == 0)
			r = meta_copy(&from, &s->st[src], &to);
		check_report(c, FIND_META, path, 0, 0, (int)m, src, "older metadata",
			     r < 0 ? "repair failed" : "repaired");
	}
	dirfds_put(c->v, d->node, targets | 1u << src, fd);
}

/* ---- records ---- */

static void store_records(struct check *c, struct dir *d, const char *name, uint32_t mask,
			  const struct record *rec)
{
	char path[4096];
	int fd[MAX_MIRRORS];

	tree_path_of(c->v, d->node, name, path, sizeof(path));
	dirfds_get(c->v, d->node, mask, fd);
	FOR_EACH_BIT(m, mask) {
		struct at a = { .mirror = &c->v->m[m], .fd = fd[m], .name = name };
		int r = c->dry_run || fd[m] < 0 ? fd[m] : record_store(&a, rec->type, rec);

		check_report(c, FIND_RECORD, path, 0, 0, (int)m, -1, "record lost or not the newest",
			     c->dry_run ? "would repair" : r < 0 ? "repair failed" : "repaired");
	}
	dirfds_put(c->v, d->node, mask, fd);
}

/* ---- content ---- */

static void load_from(struct volume *v, struct file *f, const struct record *rec)
{
	f->rec = *rec;
	f->size = f->rest = f->type == TYPE_OF(S_IFREG) ? rec->size : 0;
	f->sum = rec->hash;
	f->large = f->type == TYPE_OF(S_IFREG) && rec->size > SMALL_MAX;
	f->disk_pages = f->large ?
		(leaves_of(rec->size) + HASHFILE_LEAVES - 1) / HASHFILE_LEAVES : 0;
	f->known = false;
	f->marked = rec->flags & RECORD_OPEN;
	if (f->large)
		tree_set_flag(v, f->node, NODE_HASHFILE);
	f->loaded = true;
}

static int hash_target(struct volume *v, const struct at *a, const struct stat *st,
		       uint64_t *hash, uint64_t *size)
{
	char buf[4097];
	ssize_t n;

	(void)v;
	if (!S_ISLNK(st->st_mode)) {
		*hash = *size = st->st_rdev;
		return 0;
	}
	n = at_readlink(a, buf, sizeof(buf));
	if (n < 0)
		return (int)n;
	*size = (uint64_t)n;
	*hash = hash_bytes(buf, (size_t)n, 3);
	return 0;
}

/* Symlinks and special files: members whose target is not the recorded one. */
static uint32_t wrong_target(struct check *c, struct dir *d, const char *name,
			     const struct seen *s, uint32_t have, const struct record *rec)
{
	uint32_t bad = 0;
	int fd[MAX_MIRRORS];

	if (rec->type == TYPE_OF(S_IFREG) || rec->type == TYPE_OF(S_IFDIR) ||
	    rec->flags & RECORD_OPEN)
		return 0;
	dirfds_get(c->v, d->node, have, fd);
	FOR_EACH_BIT(m, have) {
		struct at a = { .mirror = &c->v->m[m], .fd = fd[m], .name = name };
		uint64_t hash = 0, size;

		if (fd[m] < 0 || hash_target(c->v, &a, &s->st[m], &hash, &size) < 0 ||
		    hash != rec->hash)
			bad |= 1u << m;
	}
	dirfds_put(c->v, d->node, have, fd);
	return bad;
}

static void report_no_target(struct check *c, struct dir *d, const char *name)
{
	char path[4096];

	tree_path_of(c->v, d->node, name, path, sizeof(path));
	volume_count(c->v, CNT_UNCORRECTED, 1);
	check_report(c, FIND_TYPE, path, 0, 0, -1, -1, "no copy has the recorded target", "lost");
}

/* Members whose copy looks wrong at a glance. */
static uint32_t suspicious(const struct check *c, const struct file *f, const struct seen *s,
			   uint32_t have, uint32_t no_record)
{
	uint32_t mask = no_record;

	if (f->dirty || f->marked)
		mask |= have & ~c->sources;
	FOR_EACH_BIT(m, have)
		if ((uint64_t)s->st[m].st_size != f->size)
			mask |= 1u << m;
	return mask;
}

/*
 * A member being brought up to date may still have something else under the
 * name by which the node would be reached: its copy is opened by the name at
 * hand. f->lock and the lock of d are held.
 */
static void open_targets(struct check *c, struct dir *d, const char *name, struct file *f,
			 const struct seen *s, uint32_t targets)
{
	int dfd[MAX_MIRRORS];

	if (f->type != TYPE_OF(S_IFREG) || !targets)
		return;
	dirfds_get(c->v, d->node, targets, dfd);
	FOR_EACH_BIT(m, targets) {
		struct at a = { .mirror = &c->v->m[m], .fd = dfd[m], .name = name };
		struct stat st;
		int fd;

		if (f->fd[m] >= 0 && fstat(f->fd[m], &st) == 0 && st.st_ino == s->st[m].st_ino)
			continue;
		file_close_fd(f, (int)m);
		fd = dfd[m] < 0 ? -1 : at_open(&a, O_RDWR | O_NOATIME | O_NONBLOCK);
		if (fd < 0)
			continue; /* the windows meet the error */
		f->fd[m] = fd;
		f->writable |= 1u << m;
	}
	dirfds_put(c->v, d->node, targets, dfd);
}

static int settle_content(struct check *c, struct file *f, const struct seen *s, uint32_t have,
			  uint32_t no_record)
{
	struct check sub = *c;
	uint32_t doubt;
	int r;

	if (f->type != TYPE_OF(S_IFREG))
		return 0;
	doubt = suspicious(c, f, s, have, no_record);
	if (!c->deep && !doubt)
		return 0;
	sub.mask = have;
	sub.deep = c->deep;
	r = check_content(&sub, f);
	return r;
}

/* ---- the entry ---- */

/* While a file changes, its sources' records lag behind; a target's must not. */
static bool record_counts(const struct check *c, const struct file *f, int m)
{
	return !(c->sources & 1u << m) || (!f->dirty && !f->marked);
}

static int settle_object(struct check *c, struct dir *d, const char *name, const struct truth *t,
			 const struct seen *s, uint32_t node)
{
	uint32_t missing = c->mask & ~t->have, no_record, have = t->have, newest;
	bool fresh, crashed, settling = c->settling;
	int src, r = 0;
	struct record rec = { .flags = RECORD_OPEN, .leaf_shift = LEAF_SHIFT, .type = t->type,
			      .id = t->id };
	struct file *f = file_get(c->v, node);
	struct seen again;
	uint32_t wrong;

	if (!f)
		return -ENOMEM;
	merged_record(c, s, have & c->sources, &rec, &newest);
	pthread_rwlock_wrlock(&f->lock);
	fresh = !f->loaded;
	if (fresh) {
		load_from(c->v, f, &rec);
	} else { /* it may have been sealed since it was looked at */
		look(c, d->node, name, &again);
		s = &again;
	}
	crashed = fresh && (rec.flags & RECORD_OPEN || recovery_file(c->v, t->id, rec.gen));
	if (crashed)
		r = recover_file(c, f, have);
	c->settling |= crashed || lagging(c, s, have, &rec);
	no_record = 0;
	FOR_EACH_BIT(m, have)
		if (!(s->recorded & 1u << m) || (record_counts(c, f, (int)m) &&
						 !record_equal(&s->rec[m], &f->rec)))
			no_record |= 1u << m;
	wrong = f->dirty ? 0 : wrong_target(c, d, name, s, have, &f->rec);
	if (wrong && !(have & c->sources & ~wrong)) { /* nothing to put there instead */
		report_no_target(c, d, name);
		r = -EIO;
		wrong = missing = 0;
	}
	newest &= have & c->sources & ~wrong;
	src = check_pick(c, newest ? newest : have & c->sources & ~wrong ?
			  have & c->sources & ~wrong : have, t->id);
	if (!f->dirty && !f->marked && check_meta(c, d, name, s, have & ~wrong, &f->rec))
		file_changed(c->v, f);
	open_targets(c, d, name, f, s, have & ~wrong & ~c->sources);
	if (settle_content(c, f, s, have & ~wrong, no_record) < 0)
		r = -EIO;
	if (f->dirty || f->marked) /* after the content, whose repair keeps old times */
		align_meta(c, d, name, s, have & ~wrong & ~(crashed ? 0 : c->sources), src);
	if (r < 0) /* no record over content that is not what it says */
		no_record &= c->sources;
	if (no_record & ~wrong & ~missing)
		store_records(c, d, name, no_record & ~wrong, &f->rec);
	FOR_EACH_BIT(m, missing | wrong)
		if (rebuild_object(c, d, name, node, f, (int)m, src) < 0)
			r = r ? r : -EIO;
	c->settling = settling;
	pthread_rwlock_unlock(&f->lock);
	file_put(c->v, f);
	return r;
}

static void renew_dir(struct volume *v, struct dir *child)
{
	if (dir_load(v, child) < 0)
		return;
	pthread_mutex_lock(&child->lock);
	dir_changed(v, child);
	pthread_mutex_unlock(&child->lock);
}

static int settle_dir(struct check *c, struct dir *d, const char *name, const struct truth *t,
		      const struct seen *s, uint32_t node)
{
	uint32_t missing = c->mask & ~t->have, no_record = 0, newest;
	bool sealed, crashed, settling = c->settling;
	int r = 0;
	struct dir *child = dir_get(c->v, node);
	struct record rec = { .flags = RECORD_OPEN, .leaf_shift = LEAF_SHIFT, .type = t->type,
			      .id = t->id };

	if (!child)
		return -ENOMEM;
	merged_record(c, s, t->have & c->sources, &rec, &newest);
	crashed = !child->loaded && (rec.flags & RECORD_OPEN ||
				     recovery_dir(c->v, t->id, rec.gen));
	c->settling |= crashed || lagging(c, s, t->have, &rec);
	sealed = !(rec.flags & RECORD_OPEN) && !child->dirty;
	FOR_EACH_BIT(m, t->have)
		if (!(s->recorded & 1u << m) || (sealed && !record_equal(&s->rec[m], &rec)))
			no_record |= 1u << m;
	if (sealed && check_meta(c, d, name, s, t->have, &rec))
		renew_dir(c->v, child);
	if (!sealed)
		align_meta(c, d, name, s, t->have & ~c->sources,
			   check_pick(c, t->have & c->sources, t->id));
	if (no_record)
		store_records(c, d, name, no_record, child->loaded ? &child->rec : &rec);
	FOR_EACH_BIT(m, missing)
		if (rebuild_object(c, d, name, node, NULL, (int)m,
				   __builtin_ctz(t->have & c->sources)) < 0)
			r = -EIO;
	if (missing && !c->dry_run) { /* filled by the next look at its names */
		child->checked = false;
		resync_moved(c->v, node);
	}
	c->settling = settling;
	dir_put(c->v, child);
	return r;
}

/*
 * Damage and repair in a directory both move its mtime. It becomes again what
 * the record says, or, while that is not sealed, what a mirror of `good` has.
 */
void level_dir_times(struct check *c, struct dir *d, uint32_t good)
{
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };
	struct stat st;
	struct loc l;

	if (c->dry_run || loc_get(c->v, d->node, c->mask, false, &l) < 0)
		return;
	if (d->loaded && !d->marked && !(d->rec.flags & RECORD_OPEN)) {
		ts[1] = ns_ts(d->rec.mtime);
	} else {
		struct at a;
		int m = good & c->sources ? __builtin_ctz(good & c->sources) : -1;

		if (m >= 0 && loc_at(c->v, &l, m, &a) == 0 && at_stat(&a, &st) == 0)
			ts[1] = st.st_mtim;
	}
	FOR_EACH_BIT(m, c->mask) {
		struct at a;

		if (loc_at(c->v, &l, (int)m, &a) == 0 && at_stat(&a, &st) == 0 &&
		    ts_ns(&st.st_mtim) != ts_ns(&ts[1]))
			at_utimens(&a, ts);
	}
	loc_put(c->v, &l);
}

int settle_entry(struct check *c, struct dir *d, const char *name, const struct truth *t,
		 uint32_t *node)
{
	bool change = t->have != c->mask;
	struct seen s;
	uint32_t n;
	int r = tree_enter(c->v, t->id, t->type, d->node, name, &n);

	if (r < 0)
		return r;
	c->type = t->type;
	look(c, d->node, name, &s);
	FOR_EACH_BIT(m, c->dry_run ? 0 : s.there & c->mask & ~t->have)
		banish(c, d, name, (int)m, c->sources & 1u << m ? FIND_TYPE : FIND_STALE,
		       "another object of that name");
	if (t->type == TYPE_OF(S_IFDIR))
		r = settle_dir(c, d, name, t, &s, n);
	else
		r = settle_object(c, d, name, t, &s, n);
	if (change)
		level_dir_times(c, d, t->have);
	if (c->stats) {
		c->stats->files += t->type != TYPE_OF(S_IFDIR);
		c->stats->dirs += t->type == TYPE_OF(S_IFDIR);
	}
	if (node && r != -ENOMEM)
		*node = n;
	else
		tree_unref(c->v, n);
	return r;
}

/* Whether the sources agree on what the name is; then *t says so. */
static bool plain_truth(struct check *c, struct dir *d, const char *name, const struct seen *s,
			struct truth *t)
{
	uint32_t src = c->sources & c->mask;
	int best = best_record(c, s, src);

	if ((s->there & src) != src)
		return false;
	if (best < 0) {
		uint32_t n = tree_find(c->v, d->node, name);

		/* Every record is lost, but the name is known. */
		if (!n)
			return false;
		*t = (struct truth){ .id = tree_node(c->v, n)->id, .type = tree_node(c->v, n)->type };
		tree_unref(c->v, n);
	} else {
		*t = (struct truth){ .id = s->rec[best].id, .type = s->rec[best].type };
	}
	t->have = agreeing(s, c->mask, t);
	return (t->have & src) == src;
}

static int entry_locked(struct check *c, struct dir *d, const char *name, uint32_t *node)
{
	struct truth t;
	struct seen s;

	look(c, d->node, name, &s);
	if (!s.there) {
		tree_drop_name(c->v, d->node, name);
		return -ENOENT;
	}
	if (!plain_truth(c, d, name, &s, &t)) {
		int r = names_locked(c, d, s.there == c->mask && s.recorded ? name : NULL);

		if (r < 0 && r != -EIO)
			return r;
		look(c, d->node, name, &s);
		if (!s.there || c->dry_run || !plain_truth(c, d, name, &s, &t))
			return s.there ? -EIO : -ENOENT;
	}
	return settle_entry(c, d, name, &t, node);
}

int check_entry(struct check *c, uint32_t parent, const char *name, uint32_t *node)
{
	struct dir *d = dir_get(c->v, parent);
	int r;

	if (!d)
		return -ENOMEM;
	r = dir_load(c->v, d);
	if (r == 0) {
		pthread_mutex_lock(&d->lock);
		r = entry_locked(c, d, name, node);
		pthread_mutex_unlock(&d->lock);
	}
	dir_put(c->v, d);
	return r;
}

int check_node(struct check *c, uint32_t node)
{
	char name[NAME_MAX_LEN + 1];
	uint32_t parent;
	int r;

	if (!tree_position(c->v, node, &parent, name))
		return 0;
	tree_ref(c->v, parent);
	r = check_entry(c, parent, name, NULL);
	tree_unref(c->v, parent);
	return r;
}
