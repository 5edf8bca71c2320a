/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small tree in memory that a layout is to bring to a store: what the
 * uploader has in a volume. A file's content follows from its id and its version.
 */
#ifndef TESTS_UNIT_LAYOUTMODEL_H
#define TESTS_UNIT_LAYOUTMODEL_H

#include <errno.h>
#include <inttypes.h>

#include "replica/hash.h"
#include "replica/remote/layout.h"
#include "tests/unit/tmpdir.h"

#define M_DIR (S_IFDIR >> 12)
#define M_REG (S_IFREG >> 12)
#define M_LNK (S_IFLNK >> 12)

struct node {
	char name[256];
	uint64_t id;
	uint8_t type;
	uint32_t mode;
	uint64_t version, size;       /* of files */
	struct node *link;            /* this is one of several names of that file */
	unsigned names;               /* ... of which there are so many */
	struct node *child, *next, *parent;
};

static struct {
	struct node *root;
	struct node *files;           /* of several names; linked by next */
	uint64_t ids;
	uint64_t random;
	unsigned restless;            /* of 100 sources so many change under the hands */
} model;

static inline uint8_t model_byte(uint64_t id, uint64_t version, uint64_t at)
{
	/* Longer files have holes. */
	if (at / 4096 % 3 == 1)
		return 0;
	return (uint8_t)((id * 31 + version * 7 + at / 7 + at) % 255 + 1);
}

static inline void model_leaf(const struct node *f, uint64_t leaf, uint8_t buf[LEAF_SIZE],
			      size_t *len)
{
	uint64_t at = leaf * LEAF_SIZE;
	size_t i;

	*len = f->size - at < LEAF_SIZE ? (size_t)(f->size - at) : LEAF_SIZE;
	for (i = 0; i < *len; i++)
		buf[i] = model_byte(f->id, f->version, at + i);
}

/* leaves may be NULL. */
static inline uint64_t model_root(const struct node *f, uint64_t *leaves)
{
	uint64_t i, h, sum = 0, n = (f->size + LEAF_SIZE - 1) / LEAF_SIZE;
	uint8_t buf[LEAF_SIZE];
	size_t len;

	for (i = 0; i < n; i++) {
		model_leaf(f, i, buf, &len);
		h = hash_leaf(f->id, i, buf, len);
		sum += h;
		if (leaves)
			leaves[i] = h;
	}
	return sum;
}

static inline const struct node *model_file(const struct node *n)
{
	return n->link ? n->link : n;
}

/* As the uploader would describe it; points into n. */
static inline struct manifest_entry model_entry(const struct node *n, const char *name, bool link)
{
	static char target[] = "some/where";
	struct manifest_entry e = { .name = (char *)name, .type = n->type, .id = n->id };

	if (link) {
		e.link = true;
		return e;
	}
	e.mode = n->mode;
	e.mtime = (int64_t)(n->version * 1000 + n->id);
	e.gen = n->version + 1;
	if (n->type == M_REG) {
		e.size = n->size;
		e.root = model_root(n, NULL);
	}
	if (n->type == M_LNK) {
		e.target = target;
		e.size = strlen(target);
	}
	return e;
}

/* ---- the tree ---- */

static inline struct node *model_find(struct node *d, const char *name)
{
	struct node *n;

	for (n = d->child; n && strcmp(n->name, name); n = n->next)
		;
	return n;
}

static inline struct node *model_new(uint8_t type)
{
	struct node *n = calloc(1, sizeof(*n));

	assert_non_null(n);
	n->type = type;
	n->id = ++model.ids;
	n->mode = 0644;
	return n;
}

static inline void model_add(struct node *d, struct node *n, const char *name)
{
	snprintf(n->name, sizeof(n->name), "%s", name);
	n->parent = d;
	n->next = d->child;
	d->child = n;
}

static inline void model_take(struct node *n)
{
	struct node **p;

	for (p = &n->parent->child; *p != n; p = &(*p)->next)
		;
	*p = n->next;
	n->next = NULL;
}

static inline struct node *model_make(struct node *d, const char *name, uint8_t type, uint64_t size)
{
	struct node *n = model_new(type);

	n->size = type == M_REG ? size : 0;
	model_add(d, n, name);
	return n;
}

static inline void model_forget(struct node *n)
{
	struct node **p, *f = n->link;

	while (n->child) {
		struct node *c = n->child;

		n->child = c->next;
		model_forget(c);
	}
	if (f && !--f->names) {
		for (p = &model.files; *p != f; p = &(*p)->next)
			;
		*p = f->next;
		free(f);
	}
	free(n);
}

static inline void model_remove(struct node *n)
{
	model_take(n);
	model_forget(n);
}

/* The file gets a second name. */
static inline struct node *model_link(struct node *n, struct node *d, const char *name)
{
	struct node *f = n->link, *other = calloc(1, sizeof(*other));

	assert_non_null(other);
	if (!f) {
		f = calloc(1, sizeof(*f));
		assert_non_null(f);
		*f = *n;
		f->parent = f->child = NULL;
		f->names = 1;
		f->next = model.files;
		model.files = f;
		n->link = f;
	}
	f->names++;
	other->id = f->id;
	other->type = f->type;
	other->link = f;
	model_add(d, other, name);
	return other;
}

static inline void model_begin(void)
{
	memset(&model, 0, sizeof(model));
	model.ids = 100;
	model.root = model_new(M_DIR);
	model.root->id = 1;
	model.root->mode = 0755;
}

static inline void model_end(void)
{
	model_forget(model.root);
	assert_null(model.files);
}

/* ---- sources ---- */

struct model_source {
	struct node *n;               /* the file itself, alive as long as the source */
	struct node now;
	uint64_t *leaves;
	bool changed, restless;
	const bool *dead;
};

static inline int source_begin(void *arg, struct manifest_entry *e, const uint64_t **leaves)
{
	struct model_source *s = arg;
	struct manifest_entry mine;
	static char none[] = "";

	s->now = *s->n;
	free(s->leaves);
	s->leaves = calloc(s->now.size / LEAF_SIZE + 2, sizeof(*s->leaves));
	assert_non_null(s->leaves);
	model_root(&s->now, s->leaves);
	mine = model_entry(&s->now, none, false);
	*leaves = s->leaves;
	s->restless = next_random(&model.random) % 100 < model.restless;
	return manifest_entry_copy(e, &mine);
}

static inline ssize_t source_read(void *arg, uint64_t off, void *buf, size_t len)
{
	struct model_source *s = arg;
	size_t i;

	if (s->restless && next_random(&model.random) % 4 == 0)
		return -ESTALE;
	assert_true(off + len <= s->now.size);
	for (i = 0; i < len; i++)
		((uint8_t *)buf)[i] = model_byte(s->now.id, s->now.version, off + i);
	return (ssize_t)len;
}

static inline int source_end(void *arg)
{
	struct model_source *s = arg;

	free(s->leaves);
	s->leaves = NULL;
	return s->restless || s->now.version != s->n->version ? -ESTALE : 0;
}

static inline void source_free(void *arg)
{
	struct model_source *s = arg;

	free(s->leaves);
	free(s->n);
	free(s);
}

/* Of the file as it is now: nodes may go before their sources do. */
static inline struct layout_source model_source(const struct node *n)
{
	struct model_source *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->n = malloc(sizeof(*n));
	assert_non_null(s->n);
	*s->n = *n;
	return (struct layout_source){ source_begin, source_read, source_end, source_free, s };
}

/* ---- bringing the layout to it ---- */

static inline void must(struct layout *l, int err, int want)
{
	if (err != want)
		print_message("%d: %s\n", err, layout_error(l));
	assert_int_equal(err, want);
}

static inline int stage_put(struct layout *l, struct layout_dir *d, const struct node *f,
			    const char *name)
{
	struct manifest_entry e = model_entry(f, name, false);
	struct layout_source src = model_source(f);
	int err = layout_put(l, d, &e, &src);

	if (err)
		src.free(src.arg);
	return err;
}

struct name_list {
	char name[600][256];
	size_t n;
};

static inline int name_list_add(const struct manifest_entry *e, void *arg)
{
	struct name_list *x = arg;

	assert_true(x->n < N_ELEMS(x->name));
	strcpy(x->name[x->n++], e->name);
	return 0;
}

static inline struct name_list *names_of(struct layout *l, struct layout_dir *d)
{
	struct name_list *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	must(l, layout_each(l, d, name_list_add, x), 0);
	return x;
}

static inline void stage_remove(struct layout *l, struct layout_dir *d, const char *name)
{
	const struct manifest_entry *e;
	struct layout_dir *child;
	struct name_list *x;

	must(l, layout_find(l, d, name, &e), 0);
	if (e->type == M_DIR) {
		must(l, layout_dir_open(l, d, name, &child), 0);
		x = names_of(l, child);
		for (size_t i = 0; i < x->n; i++)
			stage_remove(l, child, x->name[i]);
		free(x);
		layout_dir_put(l, child);
	}
	must(l, layout_remove(l, d, name), 0);
}

static inline bool same_content(const struct manifest_entry *a, const struct manifest_entry *b)
{
	return a->type == b->type && a->id == b->id && !a->link && a->size == b->size &&
	       a->root == b->root;
}

/* by_id is the layout's own. */
static inline bool same_entry(const struct manifest_entry *a, const struct manifest_entry *b)
{
	struct manifest_entry x = *a;

	x.by_id = b->by_id;
	return manifest_entry_same(&x, b);
}

static inline void stage_inode(struct layout *l, const struct node *f)
{
	struct layout_dir *links = layout_links(l);
	const struct manifest_entry *e;
	struct manifest_entry mine;
	char hex[17];
	int err;

	snprintf(hex, sizeof(hex), "%016" PRIx64, f->id);
	mine = model_entry(f, hex, false);
	err = layout_find(l, links, hex, &e);
	if (err == -ENOENT || !same_content(e, &mine))
		must(l, stage_put(l, links, f, hex), 0);
	else if (!same_entry(e, &mine))
		must(l, layout_set(l, links, &mine), 0);
	layout_dir_put(l, links);
}

static inline void stage_dir(struct layout *l, struct layout_dir *d, struct node *dir);

static inline void stage_node(struct layout *l, struct layout_dir *d, struct node *n)
{
	struct manifest_entry mine = model_entry(n, n->name, n->link != NULL);
	const struct manifest_entry *e;
	struct layout_dir *child;
	int err = layout_find(l, d, n->name, &e);
	bool there = !err;

	if (there && (e->id != n->id || e->type != n->type)) {
		stage_remove(l, d, n->name);
		there = false;
	} else if (err != -ENOENT) {
		must(l, err, 0);
	}
	if (n->link) {
		stage_inode(l, n->link);
		if (!there || !e->link)
			must(l, layout_set(l, d, &mine), 0);
	} else if (n->type == M_REG) {
		if (!there || !same_content(e, &mine))
			must(l, stage_put(l, d, n, n->name), 0);
		else if (!same_entry(e, &mine))
			must(l, layout_set(l, d, &mine), 0);
	} else if (!there || !same_entry(e, &mine)) {
		must(l, layout_set(l, d, &mine), 0);
	}
	if (n->type == M_DIR) {
		must(l, layout_dir_open(l, d, n->name, &child), 0);
		stage_dir(l, child, n);
		layout_dir_put(l, child);
	}
}

static inline void stage_dir(struct layout *l, struct layout_dir *d, struct node *dir)
{
	struct name_list *x = names_of(l, d);
	struct node *n;

	for (size_t i = 0; i < x->n; i++)
		if (!model_find(dir, x->name[i]))
			stage_remove(l, d, x->name[i]);
	free(x);
	for (n = dir->child; n; n = n->next)
		stage_node(l, d, n);
}

/* All that differs. */
static inline void stage_all(struct layout *l)
{
	struct manifest_entry mine = model_entry(model.root, "", false);
	struct layout_dir *root = layout_root(l), *links = layout_links(l);
	struct name_list *x;

	if (!same_entry(&mine, &layout_head(l)->attrs))
		must(l, layout_set_root(l, &mine), 0);
	stage_dir(l, root, model.root);
	x = names_of(l, links);
	for (size_t i = 0; i < x->n; i++) {
		uint64_t id = strtoull(x->name[i], NULL, 16);
		struct node *f;

		for (f = model.files; f && f->id != id; f = f->next)
			;
		if (!f)
			stage_remove(l, links, x->name[i]);
	}
	free(x);
	layout_dir_put(l, root);
	layout_dir_put(l, links);
}

#endif
