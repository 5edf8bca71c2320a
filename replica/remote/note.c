// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the engine tells of changes, as marks on the ledgers. Called with locks
 * of the engine held: nothing here waits for the network or calls back.
 */
#include "replica/remote/remote_priv.h"

#include <string.h>

#include "replica/object.h"
#include "replica/tree.h"

void note_path(struct volume *v, uint32_t node, char out[LAYOUT_NAME_MAX])
{
	tree_path(v, node, out, LAYOUT_NAME_MAX);
	if (strcmp(out, ".") == 0)
		*out = '\0';
}

void note_node(struct volume *v, struct ledger *l, uint32_t node)
{
	char path[LAYOUT_NAME_MAX], name[NAME_MAX_LEN + 1];
	uint32_t parent;
	unsigned k = 0;

	if (tree_node(v, node)->flags & NODE_DELETED)
		return;
	if (tree_node(v, node)->type == TYPE_OF(S_IFDIR)) {
		note_path(v, node, path);
		ledger_mark_dir(l, tree_node(v, node)->id, path, MARK_ATTRS | MARK_NAMES);
	}
	for (; tree_position_at(v, node, k, &parent, name); k++) {
		note_path(v, parent, path);
		ledger_mark_entry(l, tree_node(v, parent)->id, path, name);
	}
	/* It has names, but the one that we knew is gone: only a look at all finds another. */
	if (!k && node != NODE_ROOT)
		ledger_mark_dir(l, ROOT_ID, "", MARK_BELOW);
}

void remotes_note(struct volume *v, uint32_t node)
{
	struct remotes *all = v->remotes;

	if (!remotes_any(v))
		return;
	pthread_rwlock_rdlock(&all->list);
	for (size_t i = 0; i < all->n; i++)
		note_node(v, all->r[i]->ledger, node);
	pthread_rwlock_unlock(&all->list);
}

static void each_ledger(struct volume *v, void (*fn)(struct ledger *l))
{
	struct remotes *all = v->remotes;

	if (!remotes_any(v))
		return;
	pthread_rwlock_rdlock(&all->list);
	for (size_t i = 0; i < all->n; i++)
		fn(all->r[i]->ledger);
	pthread_rwlock_unlock(&all->list);
}

void remotes_hold(struct volume *v)
{
	each_ledger(v, ledger_hold);
}

void remotes_let(struct volume *v)
{
	each_ledger(v, ledger_let);
}

void remotes_flush(struct volume *v)
{
	each_ledger(v, ledger_flush);
}

static void mark_everything(struct ledger *l)
{
	ledger_mark_dir(l, ROOT_ID, "", MARK_ATTRS | MARK_BELOW);
}

void remotes_note_all(struct volume *v)
{
	each_ledger(v, mark_everything);
}

/* ---- renames ---- */

/*
 * What was renamed may be sealed, and noted, long before the directory that it left, or long
 * after: both names are noted together, or one would be sent as new content or the other removed.
 */
void remotes_moved(struct volume *v, uint64_t from, const char *name, uint64_t to,
		   const char *new_name)
{
	struct remotes *all = v->remotes;

	if (!remotes_any(v))
		return;
	pthread_rwlock_rdlock(&all->list);
	for (size_t i = 0; i < all->n; i++) {
		struct remote *r = all->r[i];

		pthread_mutex_lock(&r->lock);
		moved_add(&r->moved, from, name, to, new_name);
		pthread_mutex_unlock(&r->lock);
	}
	pthread_rwlock_unlock(&all->list);
}

/* A directory that is gone itself is told of by the one that had it. */
static void note_name(struct remote *r, uint64_t dir, const char *name)
{
	uint32_t node = tree_find_id(r->v, dir);
	char path[LAYOUT_NAME_MAX];

	if (!node)
		return;
	note_path(r->v, node, path);
	if (!(tree_node(r->v, node)->flags & NODE_DELETED))
		ledger_mark_entry(r->ledger, dir, path, name);
	tree_unref(r->v, node);
}

uint64_t note_moved(struct remote *r)
{
	struct moved_list list;
	uint64_t count;

	pthread_mutex_lock(&r->lock);
	list = r->moved;
	count = list.count;
	r->moved = (struct moved_list){ .count = count };
	pthread_mutex_unlock(&r->lock);
	for (size_t i = 0; i < list.n; i++) {
		note_name(r, list.one[i].from, list.one[i].name);
		note_name(r, list.one[i].to, list.one[i].new_name);
	}
	moved_clear(&list);
	return count;
}

void remotes_renamed(struct volume *v, const char *from, const char *to, bool exchange)
{
	struct remotes *all = v->remotes;

	if (!remotes_any(v))
		return;
	pthread_rwlock_rdlock(&all->list);
	for (size_t i = 0; i < all->n; i++)
		if (exchange)
			ledger_exchanged(all->r[i]->ledger, from, to);
		else
			ledger_renamed(all->r[i]->ledger, from, to);
	pthread_rwlock_unlock(&all->list);
}

void remotes_removed_dir(struct volume *v, uint64_t id)
{
	struct remotes *all = v->remotes;

	if (!remotes_any(v))
		return;
	pthread_rwlock_rdlock(&all->list);
	for (size_t i = 0; i < all->n; i++)
		ledger_removed(all->r[i]->ledger, id);
	pthread_rwlock_unlock(&all->list);
}
