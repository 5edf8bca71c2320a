// SPDX-License-Identifier: GPL-2.0-or-later
/* See settle.h. */
#include "replica/remote/settle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct settle_item *at(const struct settle_list *l, size_t i)
{
	return &l->item[(l->first + i) % l->size];
}

static int grow(struct settle_list *l)
{
	size_t size = l->size ? 2 * l->size : 64;
	struct settle_item *item = calloc(size, sizeof(*item));

	if (!item)
		return -ENOMEM;
	for (size_t i = 0; i < l->n; i++)
		item[i] = *at(l, i);
	free(l->item);
	l->item = item;
	l->size = size;
	l->first = 0;
	return 0;
}

static void clear(struct settle_item *i)
{
	free(i->object);
	free(i->dir);
	free(i->name);
	memset(i, 0, sizeof(*i));
}

int settle_add(struct settle_list *l, const char *object, uint64_t size, int64_t due,
	       const char *dir, const char *name)
{
	struct settle_item new = { strdup(object), size, due, strdup(dir), strdup(name) };

	if (l->n == SETTLE_MAX)
		settle_pop(l);
	if (!new.object || !new.dir || !new.name || (l->n == l->size && grow(l) < 0)) {
		clear(&new);
		return -ENOMEM;
	}
	*at(l, l->n) = new;
	l->n++;
	return 0;
}

const struct settle_item *settle_due(const struct settle_list *l, int64_t now)
{
	return l->n && at(l, 0)->due <= now ? at(l, 0) : NULL;
}

const struct settle_item *settle_at(const struct settle_list *l, size_t i)
{
	return i < l->n ? at(l, i) : NULL;
}

void settle_pop(struct settle_list *l)
{
	if (!l->n)
		return;
	clear(at(l, 0));
	l->first = (l->first + 1) % l->size;
	l->n--;
}

void settle_free(struct settle_list *l)
{
	while (l->n)
		settle_pop(l);
	free(l->item);
	memset(l, 0, sizeof(*l));
}
