/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether a remote is what the volume is. The volume is read through op_*(), the
 * remote through a layout that is read-only; objects are counted at the
 * server in its folder, behind its back.
 */
#ifndef TESTS_UNIT_SYNC_COMPARE_H
#define TESTS_UNIT_SYNC_COMPARE_H

#include <ftw.h>

#include "tests/unit/sync.h"

#include "replica/base/map.h"
#include "replica/hash.h"
#include "replica/remote/layout.h"
#include "replica/remote/object_name.h"

struct known {
	char **name;
	size_t n, room;
};

static inline void known_add(struct known *k, const char *name)
{
	if (k->n == k->room) {
		k->room = k->room ? 2 * k->room : 64;
		k->name = realloc(k->name, k->room * sizeof(*k->name));
		assert_non_null(k->name);
	}
	k->name[k->n] = strdup(name);
	assert_non_null(k->name[k->n++]);
}

static inline int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static inline bool known_has(const struct known *k, const char *name)
{
	return bsearch(&name, k->name, k->n, sizeof(*k->name), by_text) != NULL;
}

static inline void known_sort(struct known *k)
{
	if (k->n)
		qsort(k->name, k->n, sizeof(*k->name), by_text);
}

static inline void known_free(struct known *k)
{
	for (size_t i = 0; i < k->n; i++)
		free(k->name[i]);
	free(k->name);
	memset(k, 0, sizeof(*k));
}

struct comparison {
	struct world *w;
	struct store *store;
	struct layout *l;
	struct known object;         /* that manifests refer to */
	struct map names;            /* file id -> names that lead to the directory of links */
	uint64_t files, bytes;
	unsigned wrong;
};

#define WRONG(c, path, ...)                                        \
	do {                                                       \
		if ((c)->wrong++ < 20) {                           \
			print_message("  /%s: ", shown(path));     \
			print_message(__VA_ARGS__);                \
			print_message("\n");                       \
		}                                                  \
	} while (0)
#define SAME(c, path, what, here, there)                                             \
	do {                                                                         \
		uint64_t here_ = (uint64_t)(here), there_ = (uint64_t)(there);       \
		if (here_ != there_)                                                 \
			WRONG(c, path, "%s: %" PRIx64 " here, %" PRIx64 " there", what, here_, \
			      there_);                                               \
	} while (0)

static inline bool is_carried(const char *name)
{
	return !strncmp(name, "user.", 5) || !strncmp(name, "trusted.", 8) ||
		!strncmp(name, "system.posix_acl_", 17);
}

static inline void compare_entry_xattrs(struct comparison *c, const char *path, uint32_t node,
					const struct manifest_entry *e)
{
	struct volume *v = c->w->b->v;
	char list[8192], value[8192];
	ssize_t n = op_listxattr(v, node, true, list, sizeof(list));
	size_t count = 0;

	for (const char *p = list; n > 0 && p < list + n; p += strlen(p) + 1)
		count += is_carried(p);
	SAME(c, path, "number of xattrs", count, e->n_xattr);
	for (size_t i = 0; i < e->n_xattr; i++) {
		n = op_getxattr(v, node, e->xattr[i].name, value, sizeof(value));
		if (n != (ssize_t)e->xattr[i].len ||
		    memcmp(value, e->xattr[i].value, e->xattr[i].len) != 0)
			WRONG(c, path, "xattr %s", e->xattr[i].name);
	}
}

static inline void compare_target(struct comparison *c, const char *path, uint32_t node,
				  const struct manifest_entry *e)
{
	char target[4097];
	ssize_t n = op_readlink(c->w->b->v, node, target, sizeof(target) - 1);

	target[n < 0 ? 0 : n] = '\0';
	if (n < 0 || !e->target || strcmp(target, e->target) != 0)
		WRONG(c, path, "target");
}

struct sink {
	uint8_t *data;
	size_t got, size;
};

static inline int sink_write(void *arg, const void *buf, size_t len)
{
	struct sink *s = arg;

	if (len > s->size - s->got)
		return -EFBIG;
	memcpy(s->data + s->got, buf, len);
	s->got += len;
	return 0;
}

static inline void compare_leaves(struct comparison *c, const char *path,
				  const struct manifest_entry *e, const uint8_t *data)
{
	uint64_t sum = 0, n = leaves_of(e->size), *leaf = NULL;
	int r = e->leaves.seq ? layout_leaves(c->l, e, &leaf) : 0;

	if (r < 0)
		WRONG(c, path, "leaf hashes: %d %s", r, layout_error(c->l));
	if (!e->leaves.seq && e->size > 65536)
		WRONG(c, path, "no leaf hashes");
	for (uint64_t i = 0; i < n; i++) {
		uint64_t rest = e->size - i * LEAF_SIZE;
		uint64_t hash = hash_leaf(e->id, i, data + i * LEAF_SIZE,
					  rest < LEAF_SIZE ? rest : LEAF_SIZE);

		sum += hash;
		if (leaf && leaf[i] != hash)
			WRONG(c, path, "hash of leaf %" PRIu64, i);
	}
	SAME(c, path, "root", sum, e->root);
	free(leaf);
}

/* object holds the content of e. */
static inline void compare_content(struct comparison *c, const char *path, uint32_t node,
				   const struct manifest_entry *e, const char *object)
{
	struct bed *b = c->w->b;
	struct sink there = { malloc(e->size + LEAF_SIZE), 0, e->size };
	uint8_t *here = calloc(1, e->size + LEAF_SIZE);
	struct store_op op = { .verb = STORE_GET, .name = object, .write = sink_write,
			       .write_arg = &there };
	struct file *f = file_get(b->v, node);
	int r = store_run(c->store, &op);

	if (r < 0)
		WRONG(c, path, "%s: %s", object, op.error);
	SAME(c, path, "bytes there", e->size, there.got);
	if (bed_pread(b, f, 0, here, e->size + 1) != (ssize_t)e->size)
		WRONG(c, path, "bytes here");
	else if (r == 0 && memcmp(here, there.data, e->size) != 0)
		WRONG(c, path, "content (%s)", object);
	compare_leaves(c, path, e, here);
	known_add(&c->object, object);
	file_put(b->v, f);
	free(here);
	free(there.data);
}

/* All but the name; of the inode where there are several names. */
static inline void compare_attributes(struct comparison *c, const char *path,
				      const struct entry *x, const struct manifest_entry *e)
{
	bool symlink = S_ISLNK(x->st.st_mode), device = S_ISCHR(x->st.st_mode);

	SAME(c, path, "type", TYPE_OF(x->st.st_mode), e->type);
	SAME(c, path, "id", x->st.st_ino, e->id);
	SAME(c, path, "mode", symlink ? 0777 : x->st.st_mode & 07777, e->mode);
	SAME(c, path, "uid", x->st.st_uid, e->uid);
	SAME(c, path, "gid", x->st.st_gid, e->gid);
	SAME(c, path, "mtime", ts_ns(&x->st.st_mtim), e->mtime);
	SAME(c, path, "rdev", device ? x->st.st_rdev : 0, e->rdev);
	if (!S_ISDIR(x->st.st_mode))
		SAME(c, path, "size", x->st.st_size, e->size);
	compare_entry_xattrs(c, path, x->node, e);
	if (symlink)
		compare_target(c, path, x->node, e);
}

static inline void compare_file(struct comparison *c, const char *path, struct layout_dir *d,
				const struct entry *x, const struct manifest_entry *name)
{
	struct layout_dir *links = layout_links(c->l);
	struct manifest_entry e = { 0 };
	const struct manifest_entry *inode = name;
	char object[LAYOUT_NAME_MAX];
	uint64_t n = 0;
	int r = name->link ? layout_inode(c->l, name, &inode) : 0;

	if (x->st.st_nlink > 1 && !name->link)
		WRONG(c, path, "one of %d names, and does not say so", (int)x->st.st_nlink);
	if (name->link) {
		map_get(&c->names, name->id, &n);
		map_set(&c->names, name->id, n + 1);
	}
	if (r < 0) {
		WRONG(c, path, "no inode: %d %s", r, layout_error(c->l));
	} else {
		assert_int_equal(manifest_entry_copy(&e, inode), 0);
		compare_attributes(c, path, x, &e);
		layout_content(c->l, name->link ? links : d, &e, object);
		compare_content(c, path, x->node, &e, object);
		c->bytes += name->link ? 0 : e.size;
		if (e.leaves.seq) {
			object_name_leaf(object, e.id, e.leaves.seq);
			known_add(&c->object, object);
		}
	}
	manifest_entry_clear(&e);
	layout_dir_put(c->l, links);
}

static inline int add_name(const struct manifest_entry *e, void *arg)
{
	known_add(arg, e->name);
	return 0;
}

/* Names of both; what both have is added to *both. */
static inline void compare_names(struct comparison *c, const char *path, uint32_t node,
				 struct layout_dir *d, struct known *both)
{
	struct known here = { 0 }, there = { 0 };
	struct dir_list l = { 0 };
	int r = layout_each(c->l, d, add_name, &there);

	if (r < 0)
		WRONG(c, path, "entries: %d %s", r, layout_error(c->l));
	assert_int_equal(op_list(c->w->b->v, node, &l), 0);
	for (size_t i = 0; i < l.n; i++)
		known_add(&here, dir_list_name(&l, i));
	dir_list_free(&l);
	known_sort(&here);
	known_sort(&there);
	for (size_t i = 0; i < here.n; i++)
		if (known_has(&there, here.name[i]))
			known_add(both, here.name[i]);
		else
			WRONG(c, path, "%s is here only", shown(here.name[i]));
	for (size_t i = 0; i < there.n; i++)
		if (!known_has(&here, there.name[i]))
			WRONG(c, path, "%s is there only", shown(there.name[i]));
	SAME(c, path, "number of entries", there.n, layout_count(d));
	known_free(&here);
	known_free(&there);
}

static inline void compare_dir(struct comparison *c, const char *path, uint32_t node,
			       struct layout_dir *d);

static inline void compare_below(struct comparison *c, const char *path, uint32_t node,
				 struct layout_dir *d, const struct manifest_entry *e)
{
	uint64_t files = c->files, bytes = c->bytes;
	struct layout_dir *child;
	char object[LAYOUT_NAME_MAX];
	int r = layout_dir_open(c->l, d, e->name, &child);

	if (e->dir.seq) {
		object_name_dir(object, e->id, e->dir.seq);
		known_add(&c->object, object);
	}
	if (r < 0) {
		WRONG(c, path, "manifest: %d %s", r, layout_error(c->l));
		return;
	}
	compare_dir(c, path, node, child);
	SAME(c, path, "files below", c->files - files, e->files);
	SAME(c, path, "bytes below", c->bytes - bytes, e->bytes);
	layout_dir_put(c->l, child);
}

static inline void compare_one(struct comparison *c, const char *dir, uint32_t node,
			       struct layout_dir *d, const char *name)
{
	const struct manifest_entry *found;
	struct manifest_entry e = { 0 };
	struct entry x;
	char path[8192];

	snprintf(path, sizeof(path), "%s%s%s", dir, *dir ? "/" : "", name);
	assert_int_equal(op_lookup(c->w->b->v, node, name, &x), 0);
	assert_int_equal(layout_find(c->l, d, name, &found), 0);
	assert_int_equal(manifest_entry_copy(&e, found), 0);
	if (TYPE_OF(x.st.st_mode) != e.type) {
		WRONG(c, path, "type %o here, %o there", TYPE_OF(x.st.st_mode), e.type);
	} else if (S_ISREG(x.st.st_mode)) {
		c->files++;
		compare_file(c, path, d, &x, &e);
	} else {
		c->files += !S_ISDIR(x.st.st_mode);
		compare_attributes(c, path, &x, &e);
		if (S_ISDIR(x.st.st_mode))
			compare_below(c, path, x.node, d, &e);
	}
	manifest_entry_clear(&e);
	tree_unref(c->w->b->v, x.node);
}

static inline void compare_dir(struct comparison *c, const char *path, uint32_t node,
			       struct layout_dir *d)
{
	struct known both = { 0 };

	compare_names(c, path, node, d, &both);
	for (size_t i = 0; i < both.n; i++)
		compare_one(c, path, node, d, both.name[i]);
	known_free(&both);
}

static inline void compare_root(struct comparison *c)
{
	const struct remote_head *h = layout_head(c->l);
	struct layout_dir *root = layout_root(c->l);
	struct entry x = { .node = NODE_ROOT };
	char object[LAYOUT_NAME_MAX];

	assert_int_equal(op_getattr(c->w->b->v, NODE_ROOT, &x.st), 0);
	compare_attributes(c, "", &x, &h->attrs);
	compare_dir(c, "", NODE_ROOT, root);
	if (h->root.seq) {
		object_name_dir(object, ROOT_ID, h->root.seq);
		known_add(&c->object, object);
	}
	if (h->links.seq) {
		object_name_dir(object, LAYOUT_LINKS_ID, h->links.seq);
		known_add(&c->object, object);
	}
	layout_dir_put(c->l, root);
}

static inline int compare_refs(const struct manifest_entry *e, void *arg)
{
	struct comparison *c = arg;
	uint64_t n = 0;

	map_get(&c->names, e->id, &n);
	c->bytes += e->size;
	SAME(c, e->name, "names of an inode", n, e->refs);
	if (!n)
		WRONG(c, e->name, "an inode without names");
	return 0;
}

static inline void compare_links(struct comparison *c)
{
	struct layout_dir *links = layout_links(c->l);
	int r = layout_each(c->l, links, compare_refs, c);

	if (r < 0)
		WRONG(c, "", "links: %d %s", r, layout_error(c->l));
	layout_dir_put(c->l, links);
	SAME(c, "", "files", c->files, layout_head(c->l)->files);
	SAME(c, "", "bytes", c->bytes, layout_head(c->l)->bytes);
}

/* ---- what else is at the server ---- */

static struct {
	struct comparison *c;
	size_t skip;                 /* of a path */
	bool strict;                 /* nothing at all may be left over */
	struct known dropped;        /* for older heads */
	unsigned heads, intents;
} look;

static inline int look_head(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	struct remote_head h = { 0 };
	char *text, error[256];
	size_t len;

	(void)st;
	(void)ftw;
	if (flag != FTW_F || !strstr(path, "/" OBJECT_FOLDER_HEAD "/"))
		return 0;
	assert_int_equal(io_read_file(AT_FDCWD, path, 1u << 26, &text, &len), 0);
	if (remote_head_decode(text, len, &h, error, sizeof(error)) == 0)
		for (size_t i = 0; i < h.n_drop; i++)
			known_add(&look.dropped, h.drop[i]);
	remote_head_clear(&h);
	free(text);
	return 0;
}

static inline void look_kept(const char *name)
{
	struct object_name o;
	bool known = known_has(&look.c->object, name);

	if (object_name_parse(name, &o) < 0) {
		WRONG(look.c, name, "no object of ours");
		return;
	}
	look.heads += o.kind == OBJECT_HEAD;
	look.intents += o.kind == OBJECT_INTENT;
	if (o.kind == OBJECT_FORMAT || o.kind == OBJECT_HEAD || o.kind == OBJECT_INTENT || known)
		return;
	if (o.kind == OBJECT_ID || o.kind == OBJECT_ASIDE)
		WRONG(look.c, name, "content that nothing refers to");
	else if (look.strict && !known_has(&look.dropped, name))
		WRONG(look.c, name, "left over");
}

/* The server's S3 writes "%25" for '%' in names of files. */
static inline const char *look_key(const char *name)
{
	static char key[PATH_MAX];
	size_t at = 0;

	if (!look.c->w->s3)
		return name;
	for (; *name && at < sizeof(key) - 1; name += *name == '%' ? 3 : 1)
		key[at++] = *name;
	key[at] = '\0';
	return key;
}

static inline int look_object(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	const char *name = path + look.skip;

	(void)st;
	(void)ftw;
	if (flag == FTW_D)
		return 0;
	if (!strncmp(name, OBJECT_FOLDER "/probe/", strlen(OBJECT_FOLDER "/probe/")))
		return 0; /* of one that was killed; the next one takes the same names */
	if (!strncmp(name, OBJECT_FOLDER "/", strlen(OBJECT_FOLDER) + 1))
		look_kept(name);
	else if (!known_has(&look.c->object, look_key(name)))
		WRONG(look.c, name, "is at the server, and in no manifest");
	return 0;
}

static inline void compare_objects(struct comparison *c, bool strict)
{
	char base[PATH_MAX + 20];

	known_sort(&c->object);
	memset(&look, 0, sizeof(look));
	snprintf(base, sizeof(base), "%s/tree/" SYNC_PREFIX, c->w->f.base);
	look.c = c;
	look.strict = strict;
	look.skip = strlen(base) + 1;
	assert_int_equal(nftw(base, look_head, 16, FTW_PHYS), 0);
	known_sort(&look.dropped);
	assert_int_equal(nftw(base, look_object, 16, FTW_PHYS), 0);
	if (strict && (look.heads > 4 || look.intents > 2))
		WRONG(c, "", "%u heads, %u intents", look.heads, look.intents);
	known_free(&look.dropped);
}

/* The remote is what the volume is. strict: and nothing else is there. */
static inline void world_compare(struct world *w, bool strict)
{
	const struct layout_options o = { .volume = w->b->v->sb.volume_id };
	struct comparison c = { .w = w };
	char error[LAYOUT_ERROR_MAX] = "";
	int r = store_open(&w->def, &w->secret, &c.store);

	assert_int_equal(r, 0);
	r = layout_open(c.store, &o, &c.l, error);
	if (r < 0)
		fail_msg("the remote cannot be read: %d %s", r, error);
	compare_root(&c);
	compare_links(&c);
	compare_objects(&c, strict);
	trace("compared %llu files", (unsigned long long)c.files);
	layout_close(c.l);
	store_close(c.store);
	known_free(&c.object);
	map_free(&c.names);
	if (c.wrong)
		fail_msg("%u differences", c.wrong);
}

#endif
