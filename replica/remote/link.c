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
	if (r == 0 && !seen.same_content && !(s->survey && name->same_content))
		r = sync_put(s, links, &seen, e, &inode);
	else if (r == 0 && !seen.same && !s->survey)
		r = layout_set(s->l, links, &inode);
	layout_dir_put(s->l, links);
	return r;
}

int sync_link(struct sync *s, struct layout_dir *d, const struct sync_seen *seen,
	      const struct entry *e, const struct manifest_entry *mine)
{
	struct manifest_entry name = { .name = mine->name, .type = mine->type, .id = mine->id,
				       .link = true };
	int r = sync_inode(s, d, seen, e, mine);

	if (r < 0 || s->survey || (seen->there && seen->link && seen->id == mine->id))
		return r;
	r = layout_set(s->l, d, &name);
	return r < 0 ? r : sync_maybe_commit(s);
}

void sync_lose(struct sync *s, const struct sync_seen *seen)
{
	/* Without memory it is too much that is looked at, later. */
	if (seen->there && seen->link && !s->survey && map_set(&s->nameless, seen->id, 1) < 0)
		sync_leave_inode(s, seen->id, 0);
}
