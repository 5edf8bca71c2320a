/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A store in memory, in place of store.c: all functions of store.h, without a
 * server. What is stored outlives the handle. Requests are done one at a time when
 * somebody waits, in an order of chance. Any of them can fail before or after
 * it was done, lie, or be the last that is done at all; after each one a check
 * of the test's own is called.
 */
#ifndef TESTS_UNIT_FAKESTORE_H
#define TESTS_UNIT_FAKESTORE_H

#include <errno.h>

#include "replica/remote/store.h"
#include "tests/unit/tmpdir.h"

enum fake_fault {
	FAKE_NONE,
	FAKE_BEFORE,   /* not done, -EAGAIN */
	FAKE_AFTER,    /* done, and -EAGAIN */
	FAKE_DIE,      /* not done, nor any after it */
	FAKE_DIE_AFTER,
	FAKE_LOSE,     /* a PUT: 201, and nothing stored */
	FAKE_HALF,     /* ... half of it */
	FAKE_DENY,     /* -EACCES */
};

struct fake_object {
	char *name;
	bool dir;
	char *data;
	size_t len;
};

static struct {
	struct fake_object *o;        /* sorted by name */
	size_t n, room;
	bool s3;
	struct store_caps caps;
	enum fake_fault fault;
	uint64_t at;                  /* of this request, from 1; 0: none */
	const char *match;            /* ... counting only PUTs that contain it */
	uint64_t every;               /* 0: once */
	uint64_t requests, puts, heads, lists, gets, deletes, moves;
	bool dead;
	uint64_t random;
	void (*check)(void);
	bool checking, trace;
	bool calm;                    /* no faults now */
} world;

struct store {
	struct store_op *todo[256];
	unsigned n;
	bool cancelled;
};

/* ---- objects ---- */

static inline size_t fake_find(const char *name, bool *there)
{
	size_t lo = 0, hi = world.n;

	*there = false;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = strcmp(world.o[mid].name, name);

		if (!c) {
			*there = true;
			return mid;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static inline struct fake_object *fake_get(const char *name)
{
	bool there;
	size_t at = fake_find(name, &there);

	return there ? &world.o[at] : NULL;
}

static inline void fake_drop(const char *name)
{
	bool there;
	size_t at = fake_find(name, &there);

	if (!there)
		return;
	free(world.o[at].name);
	free(world.o[at].data);
	memmove(&world.o[at], &world.o[at + 1], (--world.n - at) * sizeof(*world.o));
}

static inline void fake_set(const char *name, bool dir, const void *data, size_t len)
{
	bool there;
	size_t at;
	char *copy = malloc(len + 1), *own = strdup(name);

	assert_true(copy && own);
	if (len)
		memcpy(copy, data, len);
	fake_drop(name);
	at = fake_find(name, &there);
	if (world.n == world.room) {
		world.room = world.room ? 2 * world.room : 64;
		world.o = realloc(world.o, world.room * sizeof(*world.o));
		assert_non_null(world.o);
	}
	memmove(&world.o[at + 1], &world.o[at], (world.n++ - at) * sizeof(*world.o));
	world.o[at] = (struct fake_object){ own, dir, copy, len };
}

static inline bool fake_below(const char *name, const char *above)
{
	size_t n = strlen(above);

	return !strncmp(name, above, n) && (name[n] == '/' || !n);
}

static inline bool fake_empty(const char *dir)
{
	for (size_t i = 0; i < world.n; i++)
		if (fake_below(world.o[i].name, dir) && strcmp(world.o[i].name, dir))
			return false;
	return true;
}

static inline void fake_clear(void)
{
	while (world.n)
		fake_drop(world.o[world.n - 1].name);
	free(world.o);
	memset(&world, 0, sizeof(world));
}

/* Parents are made; -ENOTDIR where one is a file. */
static inline int fake_parents(const char *name)
{
	char part[8192];

	if (world.s3)
		return 0;
	for (const char *p = strchr(name, '/'); p; p = strchr(p + 1, '/')) {
		struct fake_object *o;

		snprintf(part, sizeof(part), "%.*s", (int)(p - name), name);
		o = fake_get(part);
		if (o && !o->dir)
			return -ENOTDIR;
		if (!o)
			fake_set(part, true, "", 0);
	}
	return 0;
}

/* ---- verbs ---- */

static inline int fake_body(struct store_op *op, char **out)
{
	uint64_t at = 0;
	ssize_t n;

	*out = malloc(op->len + 1);
	assert_non_null(*out);
	if (op->data)
		memcpy(*out, op->data, op->len);
	while (!op->data && at < op->len) {
		n = op->read(op->read_arg, at, *out + at,
			     op->len - at < 5000 ? op->len - at : 5000);
		assert_int_not_equal(n, 0);
		if (n < 0)
			return (int)n;
		at += (uint64_t)n;
	}
	return 0;
}

static inline int fake_put(struct store_op *op, enum fake_fault fault)
{
	struct fake_object *o = fake_get(op->name);
	char *data;
	int err;

	world.puts++;
	if (!world.s3 && o && o->dir)
		return -EISDIR;
	if (op->exclusive && o)
		return -EEXIST;
	err = fake_parents(op->name);
	if (err)
		return err;
	err = fake_body(op, &data);
	/* What is cut off stays where the server writes in place. */
	if (err && world.caps.in_place)
		fake_set(op->name, false, data, 0);
	else if (!err && fault != FAKE_LOSE)
		fake_set(op->name, false, data, fault == FAKE_HALF ? op->len / 2 : op->len);
	free(data);
	return err;
}

static inline int fake_read(struct store_op *op)
{
	struct fake_object *o = fake_get(op->name);

	world.gets++;
	if (!o)
		return -ENOENT;
	if (o->dir)
		return -EISDIR;
	op->size = o->len;
	if (op->off > o->len || (op->len && op->len > o->len - op->off))
		return -EPROTO;
	return op->write ? op->write(op->write_arg, o->data + op->off,
				     op->len ? op->len : o->len - op->off) : 0;
}

static inline int fake_head(struct store_op *op)
{
	struct fake_object *o = fake_get(op->name);

	world.heads++;
	if (!o || o->dir != op->dir)
		return !o ? -ENOENT : o->dir ? -EISDIR : -ENOTDIR;
	op->size = o->len;
	return 0;
}

static inline int fake_delete(struct store_op *op)
{
	struct fake_object *o = fake_get(op->name);

	world.deletes++;
	if (!o)
		return 0;
	if (o->dir != op->dir)
		return o->dir ? -EISDIR : -ENOTDIR;
	if (o->dir && !fake_empty(op->name))
		return -ENOTEMPTY;
	fake_drop(op->name);
	return 0;
}

static inline void fake_move_tree(const char *from, const char *to)
{
	char name[8192];

	fake_set(to, true, "", 0);
	for (size_t i = 0; i < world.n;) {
		struct fake_object o = world.o[i];

		if (!fake_below(o.name, from)) {
			i++;
			continue;
		}
		snprintf(name, sizeof(name), "%s%s", to, o.name + strlen(from));
		fake_set(name, o.dir, o.data, o.len);
		snprintf(name, sizeof(name), "%s", fake_get(o.name)->name);
		fake_drop(name);
		i = 0;
	}
	fake_drop(from);
}

static inline int fake_move(struct store_op *op)
{
	struct fake_object *o = fake_get(op->name), *to = fake_get(op->to);
	int err;

	world.moves++;
	if (world.s3 && op->dir)
		return -ENOTSUP;
	if (!o)
		return -ENOENT;
	if (o->dir != op->dir)
		return o->dir ? -EISDIR : -ENOTDIR;
	if (to && to->dir && !op->dir)
		return -EISDIR;
	if (to && !to->dir && op->dir)
		return -ENOTDIR;
	if (to && to->dir && !fake_empty(op->to))
		return -ENOTEMPTY;
	err = fake_parents(op->to);
	if (err)
		return err;
	if (op->dir) {
		fake_move_tree(op->name, op->to);
		return 0;
	}
	o = fake_get(op->name);
	fake_set(op->to, false, o->data, o->len);
	fake_drop(op->name);
	return 0;
}

static inline int fake_mkdir(struct store_op *op)
{
	struct fake_object *o = fake_get(op->name);
	int err = fake_parents(op->name);

	if (err || world.s3)
		return err;
	if (o && !o->dir)
		return -EEXIST;
	if (!o && *op->name)
		fake_set(op->name, true, "", 0);
	return 0;
}

static inline int fake_list(struct store_op *op)
{
	struct fake_object *o = fake_get(op->name);
	size_t n = *op->name ? strlen(op->name) + 1 : 0;
	char last[8192] = "", part[8192];

	world.lists++;
	if (!world.s3 && *op->name && !o)
		return -ENOENT;
	if (!world.s3 && o && !o->dir)
		return -ENOTDIR;
	for (size_t i = 0; i < world.n; i++) {
		struct fake_object *x = &world.o[i];
		struct store_found f = { .name = part, .size = x->len };
		const char *slash;
		int err;

		if (!fake_below(x->name, op->name) || strlen(x->name) <= n)
			continue;
		slash = strchr(x->name + n, '/');
		if (slash && !world.s3)
			continue;
		f.dir = slash || x->dir;
		snprintf(part, sizeof(part), "%.*s",
			 slash ? (int)(slash - x->name - (long)n) : 8000, x->name + n);
		if (!strcmp(part, last))
			continue;
		strcpy(last, part);
		err = op->found ? op->found(op->found_arg, &f) : 0;
		if (err)
			return err;
	}
	return 0;
}

static inline int fake_verb(struct store_op *op, enum fake_fault fault)
{
	switch (op->verb) {
	case STORE_PUT: return fake_put(op, fault);
	case STORE_GET: return fake_read(op);
	case STORE_HEAD: return fake_head(op);
	case STORE_DELETE: return fake_delete(op);
	case STORE_MOVE: return fake_move(op);
	case STORE_COPY: return -ENOTSUP;
	case STORE_MKDIR: return fake_mkdir(op);
	case STORE_LIST: return fake_list(op);
	}
	return -EINVAL;
}

/* ---- store.h ---- */

static inline enum fake_fault fake_turn(const struct store_op *op)
{
	if (world.checking || world.calm)
		return FAKE_NONE;
	if (world.match && (op->verb != STORE_PUT || !strstr(op->name, world.match)))
		return FAKE_NONE;
	world.requests++;
	if (!world.at || world.requests < world.at)
		return FAKE_NONE;
	if (world.requests == world.at || (world.every && (world.requests - world.at) %
					   world.every == 0))
		return world.fault;
	return FAKE_NONE;
}

static inline void fake_do(struct store_op *op)
{
	enum fake_fault f = world.dead && !world.checking ? FAKE_DIE : fake_turn(op);
	static const char *const verbs[] = { "PUT", "GET", "HEAD", "DELETE",
					     "MOVE", "COPY", "MKDIR", "LIST" };

	*op->error = '\0';
	op->size = UINT64_MAX;
	op->retry_after = -1;
	if (f == FAKE_BEFORE || f == FAKE_DIE || f == FAKE_DENY)
		op->result = f == FAKE_DENY ? -EACCES : -EAGAIN;
	else
		op->result = fake_verb(op, f);
	if (f == FAKE_BEFORE && op->verb == STORE_PUT && world.caps.in_place)
		fake_set(op->name, false, "torn", 2);
	if (f == FAKE_AFTER || f == FAKE_DIE_AFTER)
		op->result = -EAGAIN;
	world.dead |= !world.checking && (f == FAKE_DIE || f == FAKE_DIE_AFTER);
	if (world.trace && !world.checking)
		fprintf(stderr, "%4llu %s %s%s%s%s: %d%s\n", (unsigned long long)world.requests,
			verbs[op->verb], op->name, op->dir ? "/" : "", op->to ? " -> " : "",
			op->to ? op->to : "", op->result, f ? " (fault)" : "");
	if (world.trace && !world.checking && op->verb == STORE_PUT && op->data &&
	    strstr(op->name, "/intent/"))
		fprintf(stderr, "%.*s", (int)op->len, (const char *)op->data);
	if (op->result)
		snprintf(op->error, sizeof(op->error), "%s %.200s: %s", verbs[op->verb], op->name,
			 strerror(-op->result));
	if (world.check && !world.checking && !world.dead && op->verb != STORE_GET &&
	    op->verb != STORE_HEAD && op->verb != STORE_LIST) {
		world.checking = true;
		world.check();
		world.checking = false;
	}
}

int store_open(const struct remote_def *def, const struct remote_secret *secret, struct store **out)
{
	(void)def, (void)secret;
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void store_close(struct store *s)
{
	assert_int_equal(s->n, 0);
	free(s);
}

int store_submit(struct store *s, struct store_op *op)
{
	assert_true(s->n < N_ELEMS(s->todo));
	assert_true(op->name && (*op->name || op->verb == STORE_LIST || op->verb == STORE_MKDIR));
	assert_true(strlen(op->name) < 4500);
	s->todo[s->n++] = op;
	return 0;
}

struct store_op *store_next(struct store *s, int ms)
{
	struct store_op *op;
	unsigned i;

	(void)ms;
	if (!s->n)
		return NULL;
	i = (unsigned)(next_random(&world.random) % s->n);
	op = s->todo[i];
	s->todo[i] = s->todo[--s->n];
	if (s->cancelled) {
		op->result = -ECANCELED;
		*op->error = '\0';
	} else {
		fake_do(op);
	}
	if (!s->n)
		s->cancelled = false;
	return op;
}

int store_run(struct store *s, struct store_op *op)
{
	(void)s;
	fake_do(op);
	return op->result;
}

void store_cancel_all(struct store *s) { s->cancelled = s->n > 0; }
unsigned store_running(const struct store *s) { return s->n; }
void store_wake(struct store *s) { (void)s; }
unsigned store_endpoint(const struct store *s) { (void)s; return 0; }
void store_next_endpoint(struct store *s) { (void)s; }
void store_use(struct store *s, const struct store_caps *caps) { (void)s; world.caps = *caps; }
const struct store_caps *store_caps(const struct store *s) { (void)s; return &world.caps; }
bool store_is_s3(const struct store *s) { (void)s; return world.s3; }
void store_traffic(const struct store *s, uint64_t *up, uint64_t *down)
{
	(void)s;
	*up = *down = 0;
}
int store_probe(struct store *s, bool quick, struct store_caps *caps,
		void (*say)(void *arg, enum probe_level level, const char *line), void *arg)
{
	(void)s, (void)quick, (void)say, (void)arg;
	*caps = world.caps;
	return 0;
}

#endif
