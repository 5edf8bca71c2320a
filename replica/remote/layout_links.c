// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How many names lead to an inode in the directory of links. Names come and go in
 * any order, the inode perhaps after them: so the differences are gathered, and entered before
 * manifests are written. An inode without a name is told to whoever asks; a rename
 * over two commits must not lose its content.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

int links_count(struct layout *l, uint64_t id, int by)
{
	uint64_t had = 0;

	map_get(&l->link_names, id, &had);
	return map_set(&l->link_names, id, had + (uint64_t)(int64_t)by);
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
	if (by < 0 && e->refs < (uint64_t)-by)
		e->refs = 0;
	else
		e->refs += (uint64_t)by;
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

bool layout_unlinked(struct layout *l, uint64_t *id)
{
	uint64_t at = 0, one;
	struct manifest_entry *e;
	char name[17];

	while (map_next(&l->unlinked, &at, id, &one)) {
		map_del(&l->unlinked, *id);
		at = 0;
		snprintf(name, sizeof(name), "%016" PRIx64, *id);
		if (entry_get(l, l->links, name, &e) == 0 && !e->refs &&
		    !map_get(&l->link_names, *id, &one))
			return true;
	}
	return false;
}
