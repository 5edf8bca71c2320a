/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Judging what a recovered volume holds, by the oracle. */
#include "tests/crash/verify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL_FILE (64u << 10)
#define CHUNK (128u << 10)

/* ---- reading ---- */

static void read_leaves(struct content *c, int fd, uint64_t from, uint64_t end)
{
	for (; from < end; from += LEAF_SIZE) {
		size_t len = end - from < LEAF_SIZE ? end - from : LEAF_SIZE;

		if (pread(fd, c->data + from, len, (off_t)from) != (ssize_t)len)
			c->failed[from / LEAF_SIZE] = true;
	}
}

void content_read(struct content *c, int root, const char *name)
{
	int fd = openat(root, name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint64_t next;

	memset(c, 0, sizeof(*c));
	if (fd < 0 || fstat(fd, &st)) {
		c->error = -errno;
		if (fd >= 0)
			close(fd);
		return;
	}
	c->size = (uint64_t)st.st_size;
	c->data = calloc(1, c->size + 1);
	c->failed = calloc(c->size / LEAF_SIZE + 1, sizeof(*c->failed));
	if (!c->data || !c->failed) {
		perror("verify");
		exit(2);
	}
	for (uint64_t at = 0; at < c->size; at = next) {
		next = c->size - at < CHUNK ? c->size : at + CHUNK;
		if (pread(fd, c->data + at, next - at, (off_t)at) != (ssize_t)(next - at))
			read_leaves(c, fd, at, next);
	}
	close(fd);
}

/* ---- one file ---- */

/* What was found, and as which of the candidates it is judged. */
struct suspect {
	const struct name *name;
	const struct content *c;
	const struct file *f;
	uint32_t since;
};

static size_t leaf_len(const struct content *c, uint64_t leaf)
{
	uint64_t at = leaf * LEAF_SIZE;

	return c->size - at < LEAF_SIZE ? c->size - at : LEAF_SIZE;
}

static enum leaf_verdict verdict_of(const struct suspect *s, uint64_t leaf, uint32_t *version)
{
	return oracle_leaf(s->f, leaf, s->c->data + leaf * LEAF_SIZE, leaf_len(s->c, leaf),
			   s->since, version);
}

static unsigned long misfits(const struct suspect *s)
{
	unsigned long n = !oracle_size_allowed(s->f, s->c->size);
	uint32_t version;

	for (uint64_t leaf = 0; leaf * LEAF_SIZE < s->c->size; leaf++)
		n += !s->c->failed[leaf] && verdict_of(s, leaf, &version) >= LEAF_STALE;
	return n;
}

/* "12T 15W*": operations that a leaf may be of, the floor first. */
static const char *allowed_text(const struct suspect *s, uint64_t leaf, char *buf, size_t size)
{
	uint32_t since = oracle_floor(s->f, leaf, s->since);
	const struct leaf *l = leaf < s->f->n_leaves ? &s->f->leaf[leaf] : NULL;
	size_t len = 0;

	*buf = '\0';
	for (uint32_t i = l ? oracle_version_at(l, since) : 0; l && i < l->n; i++) {
		const struct op *op = s->f->op[l->v[i].op];

		if (l->v[i].op <= s->f->last && len < size)
			len += (size_t)snprintf(buf + len, size - len, " %" PRIu64 "%c", op->id,
						op->kind);
	}
	return buf;
}

/* With the planted bit put back: an allowed version? */
static bool is_planted_flip(const struct suspect *s, const struct planted *p)
{
	uint8_t *byte = s->c->data + p->leaf * LEAF_SIZE + p->byte;
	uint32_t version;
	bool is;

	if (p->kind != PLANT_FLIP || p->byte >= leaf_len(s->c, p->leaf))
		return false;
	*byte ^= (uint8_t)p->mask;
	is = verdict_of(s, p->leaf, &version) < LEAF_STALE;
	*byte ^= (uint8_t)p->mask;
	return is;
}

static void bad_leaf(struct verify *v, const struct suspect *s, uint64_t leaf,
		     enum leaf_verdict verdict, uint32_t version)
{
	const struct planted *p = plants_find(&v->plants, s->name->name, leaf);
	bool flagged = events_have(&v->events, "unverified", s->name->name, leaf);
	const struct op *floor = s->f->op[s->f->floor];
	char allowed[512];

	allowed_text(s, leaf, allowed, sizeof(allowed));
	if (p && p->kind == PLANT_FLIP && is_planted_flip(s, p)) {
		if (flagged && !p->cold && !p->spared)
			v->count[COUNT_FLIPS_KEPT]++;
		else
			violation(v, COUNT_BLESSED, "%s leaf %" PRIu64 ": the flipped bit is returned%s%s",
				  s->name->name, leaf, flagged && p->cold ? ", of an fsynced leaf" : "",
				  p->spared ? ", another copy was as fsynced" : "");
	} else if (p && p->kind == PLANT_STALE) {
		if (flagged)
			v->count[COUNT_STALES_KEPT]++;
		else
			violation(v, COUNT_BLESSED, "%s leaf %" PRIu64 ": returned is %s",
				  s->name->name, leaf, verdict == LEAF_STALE ?
				  "the version from before the commit" : "the damaged copy");
	} else if (verdict == LEAF_STALE) {
		violation(v, COUNT_LOST, "%s (file %" PRIu64 ") leaf %" PRIu64 ": is of operation %"
			  PRIu64 "%c, may be of%s; floor %" PRIu64 "%s", s->name->name, s->f->id, leaf,
			  s->f->op[version]->id, s->f->op[version]->kind, allowed, floor->id,
			  flagged ? "; flagged" : "");
	} else {
		violation(v, COUNT_FOREIGN, "%s (file %" PRIu64 ") leaf %" PRIu64
			  ": bytes of no version, may be of%s; floor %" PRIu64 "%s%s", s->name->name,
			  s->f->id, leaf, allowed, floor->id, p ? "; planted there" : "",
			  flagged ? "; flagged" : "");
	}
}

/* A sealed file without a file of leaf hashes is lost as a whole. */
static bool lost_with_others(const struct verify *v, const char *name, uint64_t size)
{
	for (size_t i = 0; i < v->plants.n && size <= SMALL_FILE; i++)
		if (v->plants.p[i].kind == PLANT_STALE && !strcmp(v->plants.p[i].name, name))
			return true;
	return false;
}

static void unreadable_leaf(struct verify *v, const struct suspect *s, uint64_t leaf)
{
	const struct planted *p = plants_find(&v->plants, s->name->name, leaf);
	char allowed[512];

	if (p && p->kind == PLANT_STALE)
		v->count[COUNT_STALES_EIO]++;
	else if (lost_with_others(v, s->name->name, s->c->size))
		return;
	else
		violation(v, COUNT_EIO, "%s (file %" PRIu64 ") leaf %" PRIu64
			  ": EIO, may be of%s; floor %" PRIu64 "%s", s->name->name, s->f->id, leaf,
			  allowed_text(s, leaf, allowed, sizeof(allowed)),
			  s->f->op[s->f->floor]->id, p ? "; planted there" : "");
}

static void judge_leaf(struct verify *v, const struct suspect *s, uint64_t leaf)
{
	const struct planted *p;
	enum leaf_verdict verdict;
	uint32_t version = 0;

	v->count[COUNT_LEAVES]++;
	if (s->c->failed[leaf]) {
		unreadable_leaf(v, s, leaf);
		return;
	}
	p = plants_find(&v->plants, s->name->name, leaf);
	verdict = verdict_of(s, leaf, &version);
	v->count[COUNT_OLD] += verdict == LEAF_OLD;
	v->count[COUNT_NEW] += verdict == LEAF_NEW;
	v->count[COUNT_TORN] += verdict == LEAF_TORN;
	v->count[COUNT_MIDTORN] += verdict == LEAF_MIDTORN;
	if (verdict >= LEAF_STALE)
		bad_leaf(v, s, leaf, verdict, version);
	if (!events_have(&v->events, "unverified", s->name->name, leaf))
		return;
	v->count[COUNT_UNVERIFIED]++;
	if (p && p->spared)
		violation(v, COUNT_UNDECIDED, "%s leaf %" PRIu64
			  ": flagged as unverified, though a copy was as fsynced (floor %" PRIu64 ")",
			  s->name->name, leaf, s->f->op[s->f->floor]->id);
	else if (verdict == LEAF_EXACT && !p)
		violation(v, COUNT_UNDECIDED, "%s leaf %" PRIu64
			  ": flagged as unverified, though fsynced and not touched since (floor %"
			  PRIu64 ")", s->name->name, leaf, s->f->op[s->f->floor]->id);
}

static void judge_file(struct verify *v, const struct suspect *s)
{
	const struct file *f = s->f;

	if (!oracle_size_allowed(f, s->c->size))
		violation(v, COUNT_LOST, "%s (file %" PRIu64 "): size %" PRIu64
			  ", the floor's (%" PRIu64 "%c) is %" PRIu64 ", the last begun one's (%" PRIu64
			  ") %" PRIu64, s->name->name, f->id, s->c->size, f->op[f->floor]->id,
			  f->op[f->floor]->kind, f->size[f->floor], f->op[f->last]->id,
			  f->size[f->last]);
	for (uint64_t leaf = 0; leaf * LEAF_SIZE < s->c->size; leaf++)
		judge_leaf(v, s, leaf);
}

/* ---- names ---- */

static bool may_be_absent(const struct name *n)
{
	if (n->floor < 0)
		return true;
	for (int i = n->floor; i <= n->last; i++)
		if (!n->b[i].file)
			return true;
	return false;
}

/* Of the files the name may lead to, the one that fits best. */
void check_name(struct verify *v, const struct name *n, const struct content *c)
{
	struct suspect s = { .name = n, .c = c }, best = s;
	unsigned long misfit, least = ~0ul;

	if (c->error == -ENOENT && may_be_absent(n))
		return;
	if (c->error) {
		violation(v, COUNT_NAMES, "%s: %s; bound by operation %" PRIu64, n->name,
			  strerror(-c->error), n->b[n->floor < 0 ? 0 : n->floor].op->id);
		return;
	}
	for (int i = n->floor < 0 ? 0 : n->floor; i <= n->last; i++) {
		s.f = n->b[i].file;
		if (!s.f)
			continue;
		s.since = oracle_since(&v->o, n, (size_t)i);
		misfit = misfits(&s);
		if (misfit < least) {
			least = misfit;
			best = s;
		}
	}
	if (best.f)
		judge_file(v, &best);
	else
		violation(v, COUNT_NAMES, "%s: is there, and may not be", n->name);
}

static void check_dir(struct verify *v, const char *root, const char *dir)
{
	char path[4096];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "%s/%s", root, dir);
	d = opendir(path);
	if (!d) {
		violation(v, COUNT_NAMES, "%s: %s", dir, strerror(errno));
		return;
	}
	while ((errno = 0, e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (*e->d_name != '.' && !oracle_name(&v->o, path))
			violation(v, COUNT_NAMES, "%s: nobody made it", path);
	}
	if (errno)
		violation(v, COUNT_NAMES, "%s: reading it: %s", dir, strerror(errno));
	closedir(d);
}

void check_unknown_names(struct verify *v, const char *root)
{
	const char *slash;
	char dir[OP_NAME_SIZE];

	for (size_t i = 0; i < v->o.n_names; i++) {
		const char *name = v->o.name[i].name;

		/* each directory once: by the first name made in it */
		slash = strchr(name, '/');
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - name), name);
		if (strcmp(slash, "/s0") == 0 || strcmp(slash, "/l0") == 0)
			check_dir(v, root, dir);
	}
}

/* ---- events ---- */

static bool is_planted(const struct verify *v, const struct event_line *e)
{
	for (size_t i = 0; i < v->plants.n; i++)
		if (event_covers(e, v->plants.p[i].name, v->plants.p[i].leaf) ||
		    (v->plants.p[i].kind == PLANT_STALE && !strcmp(e->path, v->plants.p[i].name)))
			return true;
	return false;
}

static void check_event(struct verify *v, const struct event_line *e)
{
	static const char *const harmless[] = { "repaired", "unverified", "adopted", "settled",
						"quarantined", "kept", "recovered" };

	if (strcmp(e->action, "lost") == 0 || strstr(e->found, "hash mismatch")) {
		if (!is_planted(v, e))
			violation(v, COUNT_FALSE_ROT, "event: %s", e->text);
		return;
	}
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		if (strcmp(e->action, harmless[i]) == 0)
			return;
	violation(v, COUNT_FAILED, "event: %s", e->text);
}

void check_events(struct verify *v)
{
	for (size_t i = 0; i < v->events.n; i++)
		check_event(v, &v->events.line[i]);
	for (size_t i = 0; i < v->plants.n; i++) {
		const struct planted *p = &v->plants.p[i];
		bool seen = false;

		for (size_t j = 0; j < v->events.n && !seen; j++)
			seen = event_covers(&v->events.line[j], p->name, p->leaf);
		if (p->kind == PLANT_FLIP && !seen && strstr(p->name, "/i"))
			violation(v, COUNT_UNSEEN, "%s leaf %" PRIu64
				  ": a flipped bit of a file at rest was not reported", p->name, p->leaf);
		v->count[p->kind == PLANT_FLIP ? COUNT_FLIPS : COUNT_STALES]++;
		v->count[COUNT_FLIPS_SEEN] += p->kind == PLANT_FLIP && seen;
	}
}
