/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looking at the store in memory (fakestore.h) with the eyes of a reader: whether each file
 * is as the head or an intent beyond it says, and whether all is as the model (layoutmodel.h).
 */
#ifndef TESTS_UNIT_LAYOUTJUDGE_H
#define TESTS_UNIT_LAYOUTJUDGE_H

#include "replica/remote/layout_priv.h"

#include "tests/unit/fakestore.h"
#include "tests/unit/layoutmodel.h"

static const uint8_t volume[16] = "sixteen bytes...";
static struct store *store;

/* ---- looking at what is there ---- */

static inline bool matches(const struct manifest_entry *e, const char *object)
{
	const struct fake_object *o = *object ? fake_get(object) : NULL;
	uint64_t sum = 0, at;

	if (!o || o->dir || o->len != e->size)
		return false;
	for (at = 0; at < o->len; at += LEAF_SIZE)
		sum += hash_leaf(e->id, at / LEAF_SIZE, o->data + at,
				 o->len - at < LEAF_SIZE ? o->len - at : LEAF_SIZE);
	return sum == e->root;
}

static inline bool is_or_below(const char *name, const char *above)
{
	return !strcmp(name, above) || (fake_below(name, above) && *above);
}

/* Moves and what comes after them leave nothing of it anywhere: an intent says so. */
static inline bool given_up(const struct layout *l, const struct manifest_entry *e,
			    const char *object)
{
	char *name = strdup(object), *next;
	bool gone = false;

	for (size_t i = 0; i < l->n_beyond; i++)
		for (size_t k = 0; k < l->beyond[i].n; k++) {
			const struct intent_op *op = &l->beyond[i].op[k];

			if (op->kind == INTENT_DELETE && is_or_below(name, op->name))
				gone = true;
			if (op->kind == INTENT_PUT && !op->dir && !strcmp(name, op->name))
				gone |= op->entry.id != e->id;
			if (op->kind != INTENT_MOVE)
				continue;
			next = name_translate(name, op->name, op->to, op->dir);
			if (next) {
				free(name);
				name = next;
			} else if (is_or_below(name, op->to)) {
				gone = true;
			}
		}
	free(name);
	return gone;
}

static inline bool is_one_of(struct layout *l, const struct manifest_entry *e, const char *first,
		      const char *object)
{
	const struct manifest_entry *maybe;
	unsigned n;

	if (matches(e, object))
		return true;
	for (n = 0; (maybe = layout_maybe(l, first, n)); n++)
		if (matches(maybe, object))
			return true;
	return false;
}

static inline bool is_sound(struct layout *l, struct layout_dir *d, const struct manifest_entry *e)
{
	char object[LAYOUT_NAME_MAX], path[LAYOUT_NAME_MAX], other[LAYOUT_NAME_MAX];
	unsigned n;

	layout_content(l, d, e, object);
	assert_int_equal(dir_path(d, e->name, path), 0);
	if (is_one_of(l, e, object, object))
		return true;
	for (n = 0; !layout_elsewhere(l, object, n, other); n++)
		if (is_one_of(l, e, object, other))
			return true;
	if (given_up(l, e, object))
		return true;
	for (size_t i = 0; i < l->n_beyond; i++)
		for (size_t k = 0; k < l->beyond[i].n; k++) {
			const struct intent_op *op = &l->beyond[i].op[k];

			print_message("intent %llu: %d %s%s%s, path %s\n",
				      (unsigned long long)l->beyond[i].seq, (int)op->kind, op->name,
				      op->to ? " -> " : "", op->to ? op->to : "", op->path);
		}
	print_message("head %llu: %s (%s): neither as before nor as intended\n",
		      (unsigned long long)l->head.seq, path, object);
	return false;
}

struct walk {
	struct layout *l;
	struct layout_dir *d;
	uint64_t files, bytes;
};

static inline int walk_entry(const struct manifest_entry *e, void *arg)
{
	struct walk *w = arg, below = { .l = w->l };
	uint64_t *leaves;

	w->files += e->type != M_DIR;
	w->bytes += e->type == M_REG && !e->link ? e->size : 0;
	if (e->type == M_DIR) {
		struct manifest_entry copy = *e;

		must(w->l, layout_dir_open(w->l, w->d, e->name, &below.d), 0);
		must(w->l, layout_each(w->l, below.d, walk_entry, &below), 0);
		layout_dir_put(w->l, below.d);
		assert_int_equal(copy.files, below.files);
		assert_int_equal(copy.bytes, below.bytes);
		w->files += below.files;
		w->bytes += below.bytes;
	} else if (e->type == M_REG && !e->link) {
		assert_true(is_sound(w->l, w->d, e));
		if (e->leaves.seq) {
			must(w->l, layout_leaves(w->l, e, &leaves), 0);
			free(leaves);
		} else {
			assert_true(e->size <= LAYOUT_SMALL);
		}
	}
	return 0;
}

static inline bool only_head(void)
{
	size_t n = 0, i;

	for (i = 0; i < world.n; i++)
		n += fake_below(world.o[i].name, OBJECT_FOLDER_HEAD) && !world.o[i].dir;
	return n == 1;
}

static inline struct layout *open_reader(void)
{
	struct layout_options o = { .volume = volume };
	char error[LAYOUT_ERROR_MAX];
	struct layout *l = NULL;
	int err = layout_open(store, &o, &l, error);

	/* The very first head may be torn where a server writes in place. */
	if (err == -ENOENT || (err == -EBADMSG && world.caps.in_place && only_head()))
		return NULL;
	if (err)
		print_message("reader: %s\n", error);
	assert_int_equal(err, 0);
	return l;
}

/* Another handle: requests of the writer under way stay where they are. */
static inline void check_all(void)
{
	struct store *mine = store, own = { .n = 0 };
	struct walk w = { 0 }, links = { 0 };

	store = &own;
	w.l = links.l = open_reader();
	if (w.l) {
		w.d = layout_root(w.l);
		must(w.l, layout_each(w.l, w.d, walk_entry, &w), 0);
		links.d = layout_links(w.l);
		must(w.l, layout_each(w.l, links.d, walk_entry, &links), 0);
		assert_int_equal(w.l->head.files, w.files);
		assert_int_equal(w.l->head.bytes, w.bytes + links.bytes);
		layout_dir_put(w.l, w.d);
		layout_dir_put(w.l, links.d);
		layout_close(w.l);
	}
	store = mine;
}

/* ---- the end ---- */

static inline void compare(struct layout *l, struct layout_dir *d, struct node *dir,
			   struct names *known);

static inline void compare_file(struct layout *l, struct layout_dir *d, const struct node *f,
			 const char *name, struct names *known)
{
	struct manifest_entry mine = model_entry(f, name, false);
	const struct manifest_entry *e;
	char object[LAYOUT_NAME_MAX];

	must(l, layout_find(l, d, name, &e), 0);
	assert_true(same_entry(e, &mine));
	layout_content(l, d, e, object);
	assert_true(matches(&mine, object));
	assert_int_equal(names_add(known, object), 0);
	if (e->leaves.seq) {
		object_name_leaf(object, e->id, e->leaves.seq);
		assert_int_equal(names_add(known, object), 0);
	}
}

static inline void compare_node(struct layout *l, struct layout_dir *d, struct node *n,
			 struct names *known)
{
	struct manifest_entry mine = model_entry(n, n->name, n->link != NULL);
	const struct manifest_entry *e;
	struct layout_dir *child;

	must(l, layout_find(l, d, n->name, &e), 0);
	if (!same_entry(e, &mine))
		print_message("%s: type %u, id %llx, mode %o; want type %u, id %llx, mode %o\n",
			      n->name, e->type, (unsigned long long)e->id, e->mode, mine.type,
			      (unsigned long long)mine.id, mine.mode);
	assert_true(same_entry(e, &mine));
	if (n->type == M_REG && !n->link)
		compare_file(l, d, n, n->name, known);
	if (n->type != M_DIR)
		return;
	must(l, layout_dir_open(l, d, n->name, &child), 0);
	compare(l, child, n, known);
	layout_dir_put(l, child);
}

static inline void know_manifests(struct layout_dir *d, struct names *known)
{
	char name[OBJECT_NAME_MAX];

	if (d->ref.seq) {
		object_name_dir(name, d->id, d->ref.seq);
		assert_int_equal(names_add(known, name), 0);
	}
	for (size_t i = 0; d->bits && i < (size_t)1 << d->bits; i++) {
		object_name_page(name, d->id, d->page[i].ref.seq, (unsigned)i);
		assert_int_equal(names_add(known, name), 0);
	}
}

static inline void compare(struct layout *l, struct layout_dir *d, struct node *dir,
			   struct names *known)
{
	struct node *n;
	size_t count = 0;

	know_manifests(d, known);
	for (n = dir->child; n; n = n->next, count++)
		compare_node(l, d, n, known);
	assert_int_equal(layout_count(d), count);
}

static inline int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* What no manifest of the newest head needs: only what older heads do. */
static inline void find_litter(struct layout *l, struct names *known, bool strict)
{
	struct remote_head h;
	uint64_t *seq;
	size_t n, i, k;

	assert_int_equal(heads_list(l, &seq, &n), 0);
	assert_true(n <= LAYOUT_HEADS_KEPT);
	for (i = 0; i < n; i++) {
		assert_int_equal(head_read(l, seq[i], &h), 0);
		for (k = 0; k < h.n_drop; k++)
			names_add(known, h.drop[k]);
		remote_head_clear(&h);
	}
	free(seq);
	qsort(known->name, known->n, sizeof(char *), by_text);
	for (i = 0; i < world.n; i++) {
		const char *name = world.o[i].name;
		bool ours = !strncmp(name, OBJECT_FOLDER "/", 10);

		if (world.o[i].dir || !strncmp(name, OBJECT_FOLDER_HEAD "/", 15) ||
		    !strcmp(name, OBJECT_FOLDER "/format"))
			continue;
		/* After a death some of ours may stay for ever; nothing of the tree. */
		if (ours && !strict && strncmp(name, OBJECT_FOLDER_INTENT "/", 17))
			continue;
		if (!bsearch(&name, known->name, known->n, sizeof(char *), by_text))
			fail_msg("litter: %s", name);
	}
}

static inline void check_equal(bool strict)
{
	struct layout *l = open_reader();
	struct names known = { 0 };
	struct layout_dir *d;
	struct node *f;
	char hex[17];
	size_t n = 0;

	assert_non_null(l);
	d = layout_root(l);
	compare(l, d, model.root, &known);
	layout_dir_put(l, d);
	d = layout_links(l);
	know_manifests(d, &known);
	for (f = model.files; f; f = f->next, n++) {
		snprintf(hex, sizeof(hex), "%016" PRIx64, f->id);
		compare_file(l, d, f, hex, &known);
	}
	assert_int_equal(layout_count(d), n);
	layout_dir_put(l, d);
	find_litter(l, &known, strict);
	names_clear(&known);
	layout_close(l);
}

#endif
