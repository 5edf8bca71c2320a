// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Files of several names. Their attributes and content stand once, in the
 * directory of links, under their id; the names lead to it. Which names there
 * are need not be known here: so a change that came by one name is right for all.
 */
#include "replica/remote/sync_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/log.h"

/* What was under one name only becomes the content of all. */
static int adopt(struct sync *s, struct layout_dir *d, struct layout_dir *links,
		 const char *name, const char *hex)
{
	int r = layout_move(s->l, d, name, links, hex);

	return r == -ENOTSUP || r == -ENOENT ? 0 : r;
}

static int sync_inode(struct sync *s, struct layout_dir *d, const struct sync_seen *name,
		      const struct entry *e, const struct manifest_entry *mine)
{
	struct layout_dir *links = layout_links(s->l);
	struct manifest_entry inode = *mine;
	struct sync_seen seen;
	char hex[17];
	int r;

	snprintf(hex, sizeof(hex), "%016" PRIx64, mine->id);
	inode.name = hex;
	if (!s->survey)
		map_set(&s->inodes, mine->id, 1);
	r = sync_find(s, links, &inode, hex, &seen);
	if (r == -EBADMSG && !s->survey) {
		/* A page of the links is lost: no inode is known, each name looks again. */
		log_warn("remote %s: everything is compared: %s", s->r->def.name,
			 layout_error(s->l));
		ledger_mark_dir(s->r->ledger, ROOT_ID, "", MARK_BELOW);
		r = layout_spoil(s->l, links, NULL);
		if (r == 0)
			r = sync_find(s, links, &inode, hex, &seen);
	} else if (r == -EBADMSG) {
		r = 0; /* a survey: counts as not there */
	}
	if (r == 0 && !seen.there && name->there && name->same_content && !s->survey) {
		r = adopt(s, d, links, mine->name, hex);
		if (r == 0)
			r = sync_find(s, links, &inode, hex, &seen);
	}
	if (r == 0 && !seen.same_content && !s->survey)
		r = map_set(&s->pending, mine->id, 1);
	if (r == 0 && !seen.same_content && !(s->survey && name->same_content))
		r = sync_put(s, links, &seen, e, &inode);
	else if (r == 0 && !seen.same && !s->survey)
		r = layout_set(s->l, links, &inode);
	layout_dir_put(s->l, links);
	return r;
}

/*
 * A name gets into a head only after its inode: the number of names stands there, and one that
 * was not counted would let the inode go while it is still led to.
 */
static int later(struct sync *s, struct layout_dir *d, const struct manifest_entry *mine)
{
	struct sync_late *list = s->late;

	if (!(s->n_late & (s->n_late - 1)))
		list = realloc(list, (s->n_late ? 2 * s->n_late : 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	s->late = list;
	list[s->n_late] = (struct sync_late){ .d = d, .name = strdup(mine->name), .id = mine->id };
	if (!list[s->n_late].name)
		return -ENOMEM;
	layout_dir_ref(d);
	s->n_late++;
	return 0;
}

int sync_link(struct sync *s, struct layout_dir *d, const struct sync_seen *seen,
	      const struct entry *e, const struct manifest_entry *mine)
{
	uint64_t pending;
	struct manifest_entry name = { .name = mine->name, .type = mine->type, .id = mine->id,
				       .link = true };
	int r = sync_inode(s, d, seen, e, mine);

	if (r < 0 || s->survey || (seen->there && seen->link && seen->id == mine->id))
		return r;
	if (map_get(&s->pending, mine->id, &pending))
		return later(s, d, mine);
	r = layout_set(s->l, d, &name);
	return r < 0 ? r : sync_maybe_commit(s);
}

static int name_late(struct sync *s, const struct sync_late *n)
{
	struct layout_dir *links = layout_links(s->l);
	struct manifest_entry name = { .name = n->name, .type = TYPE_OF(S_IFREG), .id = n->id,
				       .link = true };
	char hex[17], path[LAYOUT_NAME_MAX];
	struct sync_seen seen;
	int r;

	snprintf(hex, sizeof(hex), "%016" PRIx64, n->id);
	r = sync_find(s, links, NULL, hex, &seen);
	layout_dir_put(s->l, links);
	if (r == 0 && seen.there)
		r = layout_set(s->l, n->d, &name);
	else if (r == 0)
		r = -ESTALE;
	if (r != -ESTALE)
		return r;
	/* Its content did not get there, or the directory has gone. */
	layout_dir_path(n->d, path, sizeof(path));
	sync_leave(s, layout_dir_id(n->d), path, n->name, r, NULL);
	return 0;
}

int sync_late_names(struct sync *s)
{
	struct sync_late *late = s->late;
	size_t n = s->n_late;
	int r = 0;

	map_free(&s->pending);
	s->late = NULL;
	s->n_late = 0;
	for (size_t i = 0; i < n; i++) {
		if (r == 0)
			r = name_late(s, &late[i]);
		layout_dir_put(s->l, late[i].d);
		free(late[i].name);
	}
	free(late);
	return r;
}

void sync_late_free(struct sync *s)
{
	for (size_t i = 0; i < s->n_late; i++) {
		layout_dir_put(s->l, s->late[i].d);
		free(s->late[i].name);
	}
	free(s->late);
	map_free(&s->pending);
}

void sync_lose(struct sync *s, const struct sync_seen *seen)
{
	/* Without memory it is too much that is looked at, later. */
	if (seen->there && seen->link && !s->survey && map_set(&s->nameless, seen->id, 1) < 0)
		sync_leave_inode(s, seen->id, 0);
}
