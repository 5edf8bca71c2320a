// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Changes of the state, one name at a time: put, set, remove, spoil. Each checks
 * all that can be wrong before it changes anything.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- puts ---- */

void put_unlink(struct layout *l, struct put *p)
{
	struct put **q;

	for (q = &p->d->puts; *q && *q != p; q = &(*q)->dir_next)
		;
	if (*q)
		*q = p->dir_next;
	for (q = &l->puts; *q && *q != p; q = &(*q)->next)
		;
	if (!*q)
		return;
	*q = p->next;
	if (!*q)
		l->puts_end = q;
	p->next = p->dir_next = NULL;
	l->live.puts--;
	l->live.put_bytes -= p->e.size < l->live.put_bytes ? p->e.size : l->live.put_bytes;
}

void put_link(struct layout *l, struct put *p, struct layout_dir *d)
{
	p->d = d;
	layout_dir_ref(d);
	p->hash = name_hash(p->e.name);
	p->next = NULL;
	*l->puts_end = p;
	l->puts_end = &p->next;
	p->dir_next = d->puts;
	d->puts = p;
	l->live.puts++;
	l->live.put_bytes += p->e.size;
}

void put_free(struct layout *l, struct put *p)
{
	if (p->begun)
		p->src.end(p->src.arg);
	if (p->src.free)
		p->src.free(p->src.arg);
	if (p->d)
		layout_dir_put(l, p->d);
	manifest_entry_clear(&p->e);
	free(p->leaf_data);
	free(p);
}

/* What a put that came to nothing has left behind at other names than its own. */
int put_litter(struct layout *l, struct put *p)
{
	int err = 0;

	if (*p->leaf)
		err = step_delete_now(l, p->leaf, false);
	if (*p->aside && !err)
		err = step_delete_now(l, p->aside, false);
	*p->leaf = *p->aside = '\0';
	return err;
}

int put_doubt(struct layout *l, struct put *p, bool *did)
{
	char object[LAYOUT_NAME_MAX] = "";
	struct manifest_entry *e;
	int err;

	content_name(p->d, &p->e, p->object); /* it came along when a directory above was moved */
	err = entry_get(l, p->d, p->e.name, &e);
	if (err && err != -ENOENT && err != -EBADMSG)
		return err;
	if (!err && has_content(e))
		content_name(p->d, e, object);
	*did = !strcmp(object, p->object);
	return *did ? doubt_add(l, p->d, p->e.name, &p->e) : 0;
}

/* What it may have done to the object: that is the one of the entry before, or of none. */
int put_undo(struct layout *l, struct put *p)
{
	bool did = false;
	int err = p->tried ? put_doubt(l, p, &did) : 0;

	if (err || did || !p->tried)
		return err;
	return step_delete(l, p->object, false, NULL);
}

int put_cancel(struct layout *l, struct put *p)
{
	int err = put_litter(l, p);

	put_unlink(l, p);
	if (!err)
		err = put_undo(l, p);
	put_free(l, p);
	return err;
}

/* Whether the directory lacks the name until then. */
static int put_looks(struct layout *l, struct layout_dir *d, struct put *p)
{
	struct manifest_entry *e;
	int err = entry_get(l, d, p->e.name, &e);

	if (err && err != -ENOENT)
		return err;
	p->fresh = err == -ENOENT;
	return !err && e->type == TYPE_DIR ? -EISDIR : 0;
}

/* Where its content goes, from where it stands now. */
int put_place(struct layout *l, struct put *p)
{
	p->e.by_id = p->forced || !place_is_plain(l, p->d, p->e.name);
	/* Never one that is there: other entries of this file may still need that. */
	p->e.object = p->e.by_id ? ref_next(l) : 0;
	content_name(p->d, &p->e, p->object);
	if (!*p->object)
		return -ENAMETOOLONG;
	/* What was to be deleted there still is, if nothing comes of this. */
	p->tried |= step_claim(l, p->object, CLAIM_FILE);
	return 0;
}

/* One that is staged already gives way. */
static int put_replace(struct layout *l, struct put *old, struct put *p)
{
	bool did = false;
	int err = put_litter(l, old);

	if (!err && old->tried)
		err = put_doubt(l, old, &did);
	if (err)
		return err;
	p->tried |= old->tried;
	if (old->tried && strcmp(old->object, p->object))
		err = step_delete(l, old->object, false, NULL);
	put_unlink(l, old);
	put_free(l, old);
	return err;
}

static struct put *put_new(const struct manifest_entry *e)
{
	struct put *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	if (manifest_entry_copy(&p->e, e)) {
		free(p);
		return NULL;
	}
	p->forced = e->by_id;
	p->e.link = false;
	p->e.leaves = (struct manifest_ref){ 0 };
	return p;
}

int layout_put(struct layout *l, struct layout_dir *d, const struct manifest_entry *e,
	       const struct layout_source *src)
{
	struct put *p, *old;
	int err;

	if (d->gone || !*l->writer)
		return d->gone ? -ESTALE : -EROFS;
	if (!name_is_good(e->name) || e->type != TYPE_REG || !e->id)
		return layout_failed(l, -EINVAL, "\"%s\": no file to be stored", e->name);
	p = put_new(e);
	if (!p)
		return -ENOMEM;
	err = put_looks(l, d, p);
	if (!err) {
		p->d = d;
		err = put_place(l, p);
		p->d = NULL;
	}
	old = put_find(d, e->name);
	if (!err && old)
		err = put_replace(l, old, p);
	if (err) {
		put_free(l, p);
		return err;
	}
	p->src = *src;
	put_link(l, p, d);
	return 0;
}

/* ---- what goes ---- */

/* Content of an entry that goes away, and its leaf hashes. */
int content_drop(struct layout *l, struct layout_dir *d, const struct manifest_entry *e)
{
	char object[LAYOUT_NAME_MAX], path[LAYOUT_NAME_MAX], leaf[OBJECT_NAME_MAX];
	int err = 0;

	if (!has_content(e))
		return 0;
	if (e->leaves.seq) {
		object_name_leaf(leaf, e->id, e->leaves.seq);
		err = names_add(&l->drop, leaf);
	}
	content_name(d, e, object);
	if (dir_path(d, e->name, path))
		*path = '\0';
	return err ? err : step_delete(l, object, false, *path ? path : NULL);
}

/* The directory of that entry, which must be empty. */
static int dir_drop_entry(struct layout *l, struct layout_dir *d, const struct manifest_entry *e)
{
	char path[LAYOUT_NAME_MAX];
	struct layout_dir *child;
	bool hidden = d->hidden || e->by_id;
	int err = layout_dir_open(l, d, e->name, &child);

	if (err)
		return err;
	if (layout_count(child))
		err = -ENOTEMPTY;
	if (!err)
		err = dir_path(child, NULL, path);
	if (!err)
		err = dir_drop(l, child);
	if (!err && !hidden)
		err = step_delete(l, path, true, path);
	if (!err)
		dir_gone(l, child);
	layout_dir_put(l, child);
	return err;
}

static int entry_remove(struct layout *l, struct layout_dir *d, struct manifest_entry *e)
{
	struct manifest_entry out;
	int err = e->type == TYPE_DIR ? dir_drop_entry(l, d, e) : content_drop(l, d, e);

	if (!err)
		err = entry_take(l, d, e->name, &out);
	if (err)
		return err;
	manifest_entry_clear(&out);
	doubt_remove(l, doubt_find(d, e->name));
	step_follow(l, d, e->name, NULL, NULL, 0);
	return 0;
}

int layout_remove(struct layout *l, struct layout_dir *d, const char *name)
{
	struct put *p = put_find(d, name);
	struct manifest_entry *own, e;
	int err = *l->writer ? entry_get(l, d, name, &own) : -EROFS;

	if (!err)
		err = manifest_entry_copy(&e, own);
	else if (err == -ENOENT && p)
		e = (struct manifest_entry){ 0 };
	else
		return err;
	if (e.name)
		err = entry_remove(l, d, &e);
	manifest_entry_clear(&e);
	if (err && err != -ENOENT)
		return err;
	l->live.removes++;
	return p ? put_cancel(l, p) : 0;
}

/* ---- attributes ---- */

/* What belongs to the content, not to the attributes. */
static void keep_content(struct manifest_entry *to, const struct manifest_entry *from)
{
	to->by_id = from->by_id;
	to->object = from->object;
	if (from->type == TYPE_DIR) {
		to->dir = from->dir;
		to->partial = from->partial;
		to->files = from->files;
		to->bytes = from->bytes;
	}
	if (from->type == TYPE_REG && !from->link) {
		to->size = from->size;
		to->root = from->root;
		to->leaves = from->leaves;
	}
}

static int set_new(struct layout *l, struct layout_dir *d, struct manifest_entry *e)
{
	e->leaves = e->dir = (struct manifest_ref){ 0 };
	e->files = e->bytes = e->object = 0;
	if (e->type == TYPE_REG && !e->link)
		return layout_failed(l, -ENOENT, "%s: attributes of a file that is not stored",
				     e->name);
	if (e->type != TYPE_DIR)
		return 0;
	e->by_id = !place_is_plain(l, d, e->name);
	e->partial = true;
	return step_mkdir(l, d, e);
}

static int set_entry(struct layout *l, struct layout_dir *d, struct manifest_entry *e)
{
	struct manifest_entry *own;
	bool same = false;
	int err = entry_get(l, d, e->name, &own);

	if (err && err != -ENOENT)
		return err;
	if (!err) {
		same = own->type == e->type && own->id == e->id && own->link == e->link;
		if (same)
			keep_content(e, own);
		else if (e->type == TYPE_REG && !e->link)
			return layout_failed(l, -ENOENT, "%s: attributes of another file", e->name);
		else
			err = layout_remove(l, d, e->name);
		if (err)
			return err;
	}
	return same ? 0 : set_new(l, d, e);
}

int layout_set(struct layout *l, struct layout_dir *d, const struct manifest_entry *e)
{
	struct put *p = put_find(d, e->name);
	struct manifest_entry copy;
	int err;

	if (d->gone || !*l->writer)
		return d->gone ? -ESTALE : -EROFS;
	if (!name_is_good(e->name) || !e->id)
		return layout_failed(l, -EINVAL, "\"%s\": no name of an entry", e->name);
	/* It has its attributes with its content. */
	if (p && e->type == TYPE_REG && !e->link && p->e.id == e->id)
		return 0;
	err = manifest_entry_copy(&copy, e);
	if (err)
		return err;
	copy.by_id = false;
	if (p)
		err = put_cancel(l, p);
	if (!err)
		err = set_entry(l, d, &copy);
	if (err)
		manifest_entry_clear(&copy);
	else
		err = entry_store(l, d, &copy);
	if (!err)
		l->live.sets++;
	return err;
}

int layout_set_root(struct layout *l, const struct manifest_entry *e)
{
	struct manifest_entry copy, mine = *e;
	char none[1] = "";
	int err;

	if (e->type != TYPE_DIR || !*l->writer)
		return *l->writer ? -EINVAL : -EROFS;
	mine.name = none;
	mine.id = LAYOUT_ROOT_ID;
	mine.by_id = mine.link = false;
	err = manifest_entry_copy(&copy, &mine);
	if (err)
		return err;
	copy.dir = (struct manifest_ref){ 0 };
	copy.files = copy.bytes = 0;
	manifest_entry_clear(&l->attrs);
	l->attrs = copy;
	l->live.sets++;
	return 0;
}

/* ---- what turned out not to be there ---- */

static int spoil_dir(struct layout *l, struct layout_dir *d, const char *name)
{
	struct layout_dir *child = dir_cached(l, d, name);
	struct manifest_entry *e, copy;
	int err = entry_get(l, d, name, &e);

	if (err)
		return err;
	copy = *e;
	if (child) {
		layout_dir_ref(child);
	} else {
		err = dir_new(l, d, name, copy.id, &child);
		if (err)
			return err;
		child->ref = copy.dir;
		child->files = copy.files;
		child->bytes = copy.bytes;
		child->hidden = d->hidden || copy.by_id;
	}
	dir_forget(l, child);
	l->uncounted = true;
	layout_dir_put(l, child);
	err = entry_get(l, d, name, &e);
	if (err)
		return err;
	e->partial = true;
	entry_changed(d, name);
	return 0;
}

int layout_spoil(struct layout *l, struct layout_dir *d, const char *name)
{
	struct manifest_entry *e;
	int err;

	if (d->gone || !*l->writer)
		return d->gone ? -ESTALE : -EROFS;
	l->live.sets++;
	if ((!name || !*name) && d->parent)
		return spoil_dir(l, d->parent, d->name);
	if (!name || !*name) {
		dir_forget(l, d);
		l->uncounted = true;
		return 0;
	}
	err = entry_get(l, d, name, &e);
	if (err)
		return err;
	if (e->type == TYPE_DIR)
		return spoil_dir(l, d, name);
	return has_content(e) ? doubt_add(l, d, name, NULL) : 0;
}

int layout_complete(struct layout *l, struct layout_dir *d, const char *name)
{
	struct manifest_entry *e;
	int err = entry_get(l, d, name, &e);

	if (err || !e->partial)
		return err;
	e->partial = false;
	entry_changed(d, name);
	l->live.sets++;
	return 0;
}

void layout_rewrite(struct layout *l, struct layout_dir *d)
{
	d->dirty = d->rewrite = true;
	l->live.sets++;
}

void layout_staged(const struct layout *l, struct layout_staged *s)
{
	*s = (struct layout_staged){
		.puts = l->live.puts + l->frozen.puts,
		.put_bytes = l->live.put_bytes + l->frozen.put_bytes,
		.moves = l->live.moves + l->frozen.moves,
		.removes = l->live.removes + l->frozen.removes,
		.sets = l->live.sets + l->frozen.sets,
	};
}
