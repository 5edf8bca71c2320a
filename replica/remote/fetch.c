// SPDX-License-Identifier: GPL-2.0-or-later
/* The read fall-back over all remotes, one after another. */
#include "replica/remote/remote_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "replica/tree.h"

static bool may_read(struct remote *r)
{
	bool may;

	pthread_mutex_lock(&r->lock);
	may = r->def.fallback && !r->def.paused && r->state != REMOTE_AUTH &&
		r->state != REMOTE_MISCONFIGURED && r->state != REMOTE_CONFLICT;
	pthread_mutex_unlock(&r->lock);
	return may;
}

int remotes_fetch(struct volume *v, uint32_t node, uint64_t id, uint64_t leaf, uint64_t size,
		  uint64_t n, void *buf, char *source, size_t source_size)
{
	struct remotes *all = v->remotes;
	uint64_t off = leaf << LEAF_SHIFT, len = n << LEAF_SHIFT;
	char path[LAYOUT_NAME_MAX];
	int e = -ENODATA;

	if (!remotes_any(v) || off >= size)
		return e;
	if (len > size - off)
		len = size - off;
	memset(buf, 0, n << LEAF_SHIFT);
	tree_path(v, node, path, sizeof(path));
	pthread_rwlock_rdlock(&all->list);
	for (size_t i = 0; e < 0 && i < all->n; i++) {
		struct remote *r = all->r[i];

		if (!may_read(r))
			continue;
		e = reader_fetch(r, path, id, off, len, buf);
		if (e == 0)
			snprintf(source, source_size, "remote %s", r->def.name);
		else
			e = -ENODATA;
	}
	pthread_rwlock_unlock(&all->list);
	return e;
}
