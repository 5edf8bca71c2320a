// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A directory with all below that the state has no place for any more, though the store
 * has it: everything in it is to be deleted, by what the manifests say.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/log.h"

struct discard {
	struct layout *l;
	struct layout_dir *d;
	char *path;                 /* LAYOUT_NAME_MAX; where d is at the store */
};

static int discard_dir(struct discard *x);

static int discard_object(struct discard *x, const struct manifest_entry *e)
{
	char leaf[OBJECT_NAME_MAX], object[OBJECT_NAME_MAX];
	int err = e->link ? links_count(x->l, e->id, -1) : 0;

	if (!has_content(e))
		return err;
	if (e->leaves.seq) {
		object_name_leaf(leaf, e->id, e->leaves.seq);
		err = names_add(&x->l->drop, leaf);
	}
	if (err || !e->by_id)
		return err ? err : step_delete(x->l, x->path, false, NULL);
	object_name_id(object, e->id, e->object);
	return step_delete(x->l, object, false, NULL);
}

static int discard_child(struct discard *x, const struct manifest_entry *e)
{
	struct discard below = { .l = x->l, .path = x->path };
	bool hidden = e->by_id || x->d->hidden;
	int err = layout_dir_open(x->l, x->d, e->name, &below.d);

	if (err == -EBADMSG) {
		log_warn("remote: %s: what is in it stays at the store: %s", x->path, x->l->error);
		x->l->uncounted = true;
		return 0;
	}
	if (err)
		return err;
	err = discard_dir(&below);
	if (!err && !hidden)
		err = step_delete(x->l, x->path, true, NULL);
	layout_dir_put(x->l, below.d);
	return err;
}

static int discard_entry(const struct manifest_entry *e, void *arg)
{
	struct discard *x = arg;
	size_t n = strlen(x->path);
	int err;

	if (n + strlen(e->name) + 2 > LAYOUT_NAME_MAX)
		return -ENAMETOOLONG;
	sprintf(x->path + n, "/%s", e->name);
	err = e->type == TYPE_DIR ? discard_child(x, e) : discard_object(x, e);
	x->path[n] = '\0';
	return err;
}

/* Puts into it come to nothing, and say so; what they have done goes with the rest. */
static int discard_puts(struct discard *x)
{
	size_t n = strlen(x->path);
	const struct put *p;
	int err = 0;

	for (p = x->d->puts; p && !err; p = p->dir_next) {
		if (!p->tried || n + strlen(p->e.name) + 2 > LAYOUT_NAME_MAX)
			continue;
		sprintf(x->path + n, "/%s", p->e.name);
		err = step_delete(x->l, p->e.by_id ? p->object : x->path, false, NULL);
		x->path[n] = '\0';
	}
	return err;
}

/* As deep as paths are long at most: layout_dir_open opens none beyond. */
static int discard_dir(struct discard *x)
{
	int err = discard_puts(x);

	if (!err)
		err = entries_each(x->l, x->d, discard_entry, x);
	return err ? err : dir_drop(x->l, x->d);
}

int tree_discard(struct layout *l, struct layout_dir *d, const char *object)
{
	struct discard x = { .l = l, .d = d, .path = malloc(LAYOUT_NAME_MAX) };
	int err;

	if (!x.path)
		return -ENOMEM;
	snprintf(x.path, LAYOUT_NAME_MAX, "%s", object);
	err = discard_dir(&x);
	if (!err && *object)
		err = step_delete(l, object, true, NULL);
	free(x.path);
	return err;
}
