/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random operations on a volume, on few names and odd ones, so that they
 * collide. What the kernel would not let through is left out. For one program:
 * nothing here is inline.
 */
#ifndef TESTS_UNIT_SYNC_OPS_H
#define TESTS_UNIT_SYNC_OPS_H

#include "tests/unit/sync.h"

#define DEPTH 5
#define PATH_ROOM 2048
#define HELD 6
#define BIG (300u << 10)

struct actor {
	struct world *w;
	struct bed *b;
	uint64_t seed;
	uint8_t *data;
	uint32_t node[HELD];         /* referenced, as the kernel does */
	struct file *file[HELD];     /* open */
};

static uint64_t below(struct actor *a, uint64_t n)
{
	return next_random(&a->seed) % n;
}

static bool chance(struct actor *a, unsigned percent)
{
	return below(a, 100) < percent;
}

/* ---- where ---- */

static const char *name_of(unsigned i)
{
	static const char *const plain[] = { "a", "b", "c", "d" };
	static const char *const odd[] = { "\xff\xfe", ".DAV", "A", "new\nline", "50%41 + #?&",
					   "\xc3\xbc", "back\\slash", "x~", ".htx" };
	static char longest[241];

	if (i % 10 < 7)
		return plain[i % N_ELEMS(plain)];
	i /= 10;
	if (i % 10)
		return odd[i % N_ELEMS(odd)];
	memset(longest, 'L', 240);
	return longest;
}

/* A directory that is there. */
static void some_dir(struct actor *a, char path[PATH_ROOM])
{
	*path = '\0';
	for (int depth = 0; depth < DEPTH && chance(a, 65); depth++) {
		uint32_t node = bed_node(a->b, path, NULL);
		const char *pick = NULL;
		struct dir_list l = { 0 };
		size_t dirs = 0;

		assert_true(node);
		assert_int_equal(op_list(a->b->v, node, &l), 0);
		tree_unref(a->b->v, node);
		for (size_t i = 0; i < l.n; i++)
			if (l.entry[i].type == TYPE_OF(S_IFDIR) && below(a, ++dirs) == 0)
				pick = dir_list_name(&l, i);
		if (pick)
			snprintf(path + strlen(path), PATH_ROOM - strlen(path), "%s%s",
				 *path ? "/" : "", pick);
		dir_list_free(&l);
		if (!pick)
			return;
	}
}

/* A name that may be free or not. */
static void some_name(struct actor *a, char path[PATH_ROOM])
{
	some_dir(a, path);
	snprintf(path + strlen(path), PATH_ROOM - strlen(path), "%s%s", *path ? "/" : "",
		 name_of((unsigned)below(a, 1000)));
}

/* One that is there, if there is any. */
static void some_thing(struct actor *a, char path[PATH_ROOM])
{
	struct dir_list l = { 0 };
	uint32_t node;

	some_dir(a, path);
	node = bed_node(a->b, path, NULL);
	assert_true(node);
	assert_int_equal(op_list(a->b->v, node, &l), 0);
	tree_unref(a->b->v, node);
	if (l.n)
		snprintf(path + strlen(path), PATH_ROOM - strlen(path), "%s%s", *path ? "/" : "",
			 dir_list_name(&l, below(a, l.n)));
	else
		snprintf(path + strlen(path), PATH_ROOM - strlen(path), "%sa", *path ? "/" : "");
	dir_list_free(&l);
}

static void told(const char *what, const char *path, const char *other, int r)
{
	trace("%s %s %s%s", what, shown(path), other ? shown(other) : "", r < 0 ? strerror(-r) : "");
	/* What an application would have to bear by its own fault. */
	if (r < 0 && r != -ENOENT && r != -EEXIST && r != -ENOTDIR && r != -EISDIR &&
	    r != -ENOTEMPTY && r != -EINVAL && r != -ENODATA && r != -EPERM)
		fail_msg("%s %s: %d", what, shown(path), r);
}

/* ---- what: content ---- */

static void scribble(struct actor *a, struct file *f, const char *path)
{
	uint64_t off = chance(a, 60) ? 0 : chance(a, 80) ? below(a, 20000) : below(a, 2u << 20);
	size_t len = 1 + (chance(a, 75) ? below(a, 9000) : below(a, BIG));
	int r;

	fill_pattern(a->data, len, next_random(&a->seed));
	r = bed_pwrite(a->b, f, off, a->data, len);
	trace("write %s %" PRIu64 "+%zu", shown(path), off, len);
	assert_int_equal(r, 0);
}

static void do_write(struct actor *a)
{
	char path[PATH_ROOM];
	struct file *f;
	int r;

	if (chance(a, 50))
		some_name(a, path);
	else
		some_thing(a, path);
	r = bed_file(a->b, path, &f);
	told("open", path, NULL, r);
	if (r < 0)
		return;
	if (tree_node(a->b->v, f->node)->type == TYPE_OF(S_IFREG) && chance(a, 85))
		scribble(a, f, path);
	file_put(a->b->v, f);
}

static void do_truncate(struct actor *a)
{
	char path[PATH_ROOM];
	struct stat in = { 0 }, out;
	struct entry x = { 0 };
	struct file *f;

	some_thing(a, path);
	x.node = bed_node(a->b, path, NULL);
	if (!x.node)
		return;
	in.st_size = (off_t)(chance(a, 30) ? 0 : chance(a, 70) ? below(a, 70000) : below(a, 1u << 20));
	f = tree_node(a->b->v, x.node)->type == TYPE_OF(S_IFREG) ? file_get(a->b->v, x.node) : NULL;
	if (f) {
		told("truncate", path, NULL, op_setattr(a->b->v, x.node, &in, ATTR_SIZE, NULL,
							&a->b->space, &out));
		file_put(a->b->v, f);
	}
	tree_unref(a->b->v, x.node);
}

static void release(struct actor *a, unsigned i)
{
	if (a->file[i])
		file_put(a->b->v, a->file[i]);
	if (a->node[i]) {
		tree_forget(a->b->v, a->node[i], 1);
		tree_unref(a->b->v, a->node[i]);
	}
	a->file[i] = NULL;
	a->node[i] = NODE_NONE;
}

/* Open files and looked-up names live on. */
static void do_hold(struct actor *a)
{
	unsigned i = (unsigned)below(a, HELD);
	char path[PATH_ROOM];

	release(a, i);
	some_thing(a, path);
	a->node[i] = bed_node(a->b, path, NULL);
	if (a->node[i]) /* so that it can be reached when its name is gone */
		tree_lookup_inc(a->b->v, a->node[i]);
	if (a->node[i] && tree_node(a->b->v, a->node[i])->type == TYPE_OF(S_IFREG))
		a->file[i] = file_get(a->b->v, a->node[i]);
}

static void do_write_held(struct actor *a)
{
	unsigned i = (unsigned)below(a, HELD);

	if (a->file[i])
		scribble(a, a->file[i], "(open)");
}

static void let_go(struct actor *a)
{
	for (unsigned i = 0; i < HELD; i++)
		release(a, i);
}

/* ---- what: names ---- */

static void do_mkdir(struct actor *a)
{
	char path[PATH_ROOM];

	some_name(a, path);
	told("mkdir", path, NULL, bed_mkdir(a->b, path));
}

static void do_symlink(struct actor *a)
{
	char path[PATH_ROOM], target[40];

	some_name(a, path);
	snprintf(target, sizeof(target), "to/%u\xff", (unsigned)below(a, 4));
	told("symlink", path, NULL, bed_make(a->b, path, S_IFLNK | 0777, target));
}

static void do_mknod(struct actor *a)
{
	char path[PATH_ROOM];

	some_name(a, path);
	told("mkfifo", path, NULL, bed_make(a->b, path, S_IFIFO | 0640, NULL));
}

static void do_link(struct actor *a)
{
	char path[PATH_ROOM], to[PATH_ROOM];
	struct stat st;

	some_thing(a, path);
	some_name(a, to);
	/* What is not a file is not told to be one and the same at a remote. */
	if (bed_stat(a->b, path, &st) == 0 && S_ISREG(st.st_mode))
		told("link", path, to, bed_link(a->b, path, to));
}

static void do_tmpfile(struct actor *a)
{
	const struct make mk = { .mode = S_IFREG | 0600 };
	char path[PATH_ROOM];
	uint32_t parent;
	const char *name;
	struct entry e, x;
	struct file *f;
	int r;

	some_name(a, path);
	parent = bed_parent(a->b, path, &name);
	r = op_tmpfile(a->b->v, parent, &mk, &e, &f);
	assert_int_equal(r, 0);
	scribble(a, f, "(nameless)");
	if (chance(a, 70)) {
		r = op_link(a->b->v, e.node, parent, name, &x);
		told("link nameless", path, NULL, r);
		if (r == 0)
			tree_unref(a->b->v, x.node);
	}
	file_put(a->b->v, f);
	tree_unref(a->b->v, e.node);
	tree_unref(a->b->v, parent);
}

static void do_unlink(struct actor *a)
{
	char path[PATH_ROOM];
	struct stat st;

	some_thing(a, path);
	if (bed_stat(a->b, path, &st) == 0)
		told("unlink", path, NULL, bed_unlink(a->b, path, S_ISDIR(st.st_mode)));
}

static void remove_all(struct actor *a, const char *path)
{
	uint32_t node = bed_node(a->b, path, NULL);
	struct dir_list l = { 0 };
	char child[PATH_ROOM];
	bool dir = node && tree_node(a->b->v, node)->type == TYPE_OF(S_IFDIR);

	if (dir)
		assert_int_equal(op_list(a->b->v, node, &l), 0);
	for (size_t i = 0; i < l.n; i++) {
		snprintf(child, sizeof(child), "%s/%s", path, dir_list_name(&l, i));
		remove_all(a, child);
	}
	dir_list_free(&l);
	if (node) {
		tree_unref(a->b->v, node);
		told("remove", path, NULL, bed_unlink(a->b, path, dir));
	}
}

static void do_remove_all(struct actor *a)
{
	char path[PATH_ROOM];

	some_thing(a, path);
	if (chance(a, 30))
		remove_all(a, path);
}

static bool leads_below(const char *path, const char *above)
{
	size_t n = strlen(above);

	return strncmp(path, above, n) == 0 && (path[n] == '/' || !path[n]);
}

/* What the kernel does not let through is left out. */
static void do_rename(struct actor *a)
{
	unsigned flags = chance(a, 25) ? RENAME_EXCHANGE : chance(a, 10) ? RENAME_NOREPLACE : 0;
	char from[PATH_ROOM], to[PATH_ROOM];
	struct stat x, y;
	int r;

	some_thing(a, from);
	if (flags == RENAME_EXCHANGE || chance(a, 40))
		some_thing(a, to);
	else
		some_name(a, to);
	if (leads_below(from, to) || leads_below(to, from) || bed_stat(a->b, from, &x) < 0)
		return;
	r = bed_stat(a->b, to, &y);
	if (r == 0 && flags != RENAME_EXCHANGE &&
	    (x.st_ino == y.st_ino || S_ISDIR(x.st_mode) != S_ISDIR(y.st_mode)))
		return;
	if (flags == RENAME_EXCHANGE && (r < 0 || x.st_ino == y.st_ino))
		return;
	told(flags == RENAME_EXCHANGE ? "exchange" : "rename", from, to,
	     bed_rename(a->b, from, to, flags));
}

/* ---- what: attributes ---- */

static void do_attr(struct actor *a)
{
	const struct stat in = { .st_mode = (mode_t)below(a, 01000), .st_uid = (uid_t)below(a, 9),
				 .st_gid = (gid_t)below(a, 9),
				 .st_mtim = { (time_t)below(a, 1u << 30), (long)below(a, 1000000000) } };
	unsigned want = 1u << below(a, 3);
	char path[PATH_ROOM];
	struct stat out;
	uint32_t node;

	if (chance(a, 10))
		*path = '\0';
	else
		some_thing(a, path);
	node = bed_node(a->b, path, NULL);
	if (!node)
		return;
	if (chance(a, 30))
		want = ATTR_MTIME;
	if (tree_node(a->b->v, node)->type == TYPE_OF(S_IFLNK))
		want &= ~ATTR_MODE;
	if (want)
		told("setattr", path, NULL, op_setattr(a->b->v, node, &in, want, NULL, &a->b->space,
						       &out));
	tree_unref(a->b->v, node);
}

static void do_xattr(struct actor *a)
{
	static const char *const names[] = { "user.a", "user.b\xff", "trusted.c" };
	const char *name = names[below(a, N_ELEMS(names))];
	char path[PATH_ROOM], value[64];
	uint32_t node;

	some_thing(a, path);
	node = bed_node(a->b, path, NULL);
	if (!node)
		return;
	fill_pattern(value, sizeof(value), next_random(&a->seed));
	if (chance(a, 30))
		told("removexattr", path, NULL, op_removexattr(a->b->v, node, name));
	else
		told("setxattr", path, NULL, op_setxattr(a->b->v, node, name, value,
							 below(a, sizeof(value)), 0, false));
	tree_unref(a->b->v, node);
}

/* ---- what: others at work ---- */

static void do_seal(struct actor *a)
{
	trace("seal");
	assert_int_equal(seal_run(a->b->v, true), 0);
}

/* The uploader gets to see the middle of a burst. */
static void do_pause(struct actor *a)
{
	char error[REMOTE_SAY_MAX];

	if (chance(a, 50))
		do_seal(a);
	remotes_release(a->b->v, SYNC_REMOTE, error);
	faulty_pause((int)below(a, 30));
}

static const struct {
	void (*act)(struct actor *a);
	unsigned weight;
} acts[] = {
	{ do_write, 24 }, { do_truncate, 4 }, { do_hold, 5 }, { do_write_held, 3 },
	{ do_mkdir, 14 }, { do_symlink, 3 }, { do_mknod, 2 }, { do_link, 7 }, { do_tmpfile, 1 },
	{ do_unlink, 9 }, { do_remove_all, 4 }, { do_rename, 22 }, { do_attr, 8 }, { do_xattr, 4 },
	{ do_seal, 2 }, { do_pause, 3 },
};

static void act(struct actor *a)
{
	unsigned sum = 0;
	uint64_t at;

	for (size_t i = 0; i < N_ELEMS(acts); i++)
		sum += acts[i].weight;
	at = below(a, sum);
	for (size_t i = 0; i < N_ELEMS(acts); i++) {
		if (at < acts[i].weight) {
			acts[i].act(a);
			return;
		}
		at -= acts[i].weight;
	}
}

#endif
