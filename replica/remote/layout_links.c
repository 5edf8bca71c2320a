// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How many names lead to an inode in the directory of links. Names and inodes come and
 * go in any order, so the differences are gathered, and entered before manifests are
 * written. At any time an inode has as many names as it says and the map says
 * together, and one that is not there as many as the map says: so it does not matter whether it
 * goes before its names. What was lost with a damaged manifest, or was left over when a
 * head was written, is found by counting all names there are.
 *
 * An inode without a name is told to whoever asks; a rename over two commits must not
 * lose its content.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

int links_count(struct layout *l, uint64_t id, int64_t by)
{
	uint64_t had = 0;

	map_get(&l->link_names, id, &had);
	return map_set(&l->link_names, id, had + (uint64_t)by);
}

int links_arrive(struct layout *l, struct manifest_entry *inode)
{
	inode->refs = 0;
	return map_set(&l->unlinked, inode->id, 1);
}

int links_leave(struct layout *l, struct manifest_entry *inode)
{
	int err = inode->refs ? links_count(l, inode->id, (int64_t)inode->refs) : 0;

	if (!err)
		inode->refs = 0;
	return err;
}

static int enter(struct layout *l, uint64_t id, int64_t by, bool *done)
{
	struct manifest_entry *e;
	char name[17];
	int err;

	snprintf(name, sizeof(name), "%016" PRIx64, id);
	err = entry_get(l, l->links, name, &e);
	*done = !err;
	if (err)
		return err == -ENOENT ? 0 : err;
	if (by < 0 && e->refs < (uint64_t)-by) {
		e->refs = 0;
		l->uncounted = true;
	} else {
		e->refs += (uint64_t)by;
	}
	entry_changed(l->links, name);
	return e->refs ? 0 : map_set(&l->unlinked, id, 1);
}

int links_enter(struct layout *l)
{
	uint64_t at = 0, id, by;
	struct map left = { 0 }, over = { 0 };
	bool done;
	int err = 0;

	while (!err && map_next(&l->link_names, &at, &id, &by)) {
		if (!by)
			continue;
		err = enter(l, id, (int64_t)by, &done);
		if (!err)
			err = map_set(done ? &over : &left, id, by);
	}
	/* What is entered must not be entered twice. */
	for (at = 0; map_next(&over, &at, &id, &by);)
		map_del(&l->link_names, id);
	map_free(&over);
	if (err) {
		map_free(&left);
		return err;
	}
	map_free(&l->link_names);
	l->link_names = left;
	return 0;
}

bool links_dangle(const struct layout *l)
{
	uint64_t at = 0, id, by;

	while (map_next(&l->link_names, &at, &id, &by))
		if (by)
			return true;
	return l->uncounted;
}

/* What comes up meanwhile is asked about next: the map that is walked does not change. */
bool layout_unlinked(struct layout *l, uint64_t *id)
{
	struct manifest_entry *e;
	uint64_t one;
	char name[17];

	for (;;) {
		while (map_next(&l->asked, &l->asked_at, id, &one)) {
			snprintf(name, sizeof(name), "%016" PRIx64, *id);
			if (entry_get(l, l->links, name, &e) == 0 && !e->refs &&
			    !map_get(&l->link_names, *id, &one))
				return true;
		}
		map_free(&l->asked);
		l->asked_at = 0;
		if (!l->unlinked.used)
			return false;
		l->asked = l->unlinked;
		l->unlinked = (struct map){ 0 };
	}
}

/* ---- counting anew ---- */

struct count {
	struct layout *l;
	struct layout_dir *d;
	struct map names;           /* as link_names will be */
};

static int count_dir(struct count *c);

static int count_name(const struct manifest_entry *e, void *arg)
{
	struct count *c = arg, below = *c;
	uint64_t n = 0;
	int err;

	if (e->link) {
		map_get(&c->names, e->id, &n);
		return map_set(&c->names, e->id, n + 1);
	}
	if (e->type != TYPE_DIR)
		return 0;
	err = layout_dir_open(c->l, c->d, e->name, &below.d);
	if (err)
		return err;
	err = count_dir(&below);
	c->names = below.names;
	layout_dir_put(c->l, below.d);
	return err;
}

static int count_dir(struct count *c)
{
	return entries_each(c->l, c->d, count_name, c);
}

static int count_inode(const struct manifest_entry *e, void *arg)
{
	struct count *c = arg;
	uint64_t n = 0;

	map_get(&c->names, e->id, &n);
	if (!n && map_set(&c->l->unlinked, e->id, 1) < 0)
		return -ENOMEM;
	return map_set(&c->names, e->id, n - e->refs);
}

int layout_recount(struct layout *l)
{
	struct count c = { .l = l, .d = l->root };
	int err = count_dir(&c);

	c.d = l->links;
	if (!err)
		err = entries_each(l, l->links, count_inode, &c);
	if (err) {
		map_free(&c.names);
		return err;
	}
	map_free(&l->link_names);
	l->link_names = c.names;
	l->uncounted = false;
	l->live.sets++;
	return 0;
}

bool layout_uncounted(const struct layout *l)
{
	return l->uncounted;
}
