// SPDX-License-Identifier: GPL-2.0-or-later
/* See look.h. */
#include "replica/remote/look.h"

#include <stdlib.h>
#include <string.h>

#include "replica/base/cleanup.h"

struct look *look_new(void)
{
	return calloc(1, sizeof(struct look));
}

void look_free(struct look *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < k->n; i++)
		look_free(k->child[i]);
	free(k->child);
	free(k->name);
	free(k);
}

/* Where name is, or would be. */
static size_t place(const struct look *k, const char *name, int *cmp)
{
	size_t lo = 0, hi = k->n;

	*cmp = 1;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = strcmp(k->child[mid]->name, name);

		if (c == 0) {
			*cmp = 0;
			return mid;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct look *look_child(const struct look *k, const char *name)
{
	int cmp;
	size_t i;

	if (!k)
		return NULL;
	i = place(k, name, &cmp);
	return cmp == 0 ? k->child[i] : NULL;
}

struct look *look_make(struct look *k, const char *name)
{
	struct look *c, **list;
	size_t i;
	int cmp;

	i = place(k, name, &cmp);
	if (cmp == 0)
		return k->child[i];
	c = look_new();
	if (!c)
		return NULL;
	c->name = strdup(name);
	/* A power of two is full: twice as much. */
	list = k->n & (k->n - 1) || !c->name ? k->child :
	       realloc(k->child, (k->n ? 2 * k->n : 1) * sizeof(*list));
	if (!c->name || !list) {
		look_free(c);
		return NULL;
	}
	k->child = list;
	memmove(list + i + 1, list + i, (k->n - i) * sizeof(*list));
	list[i] = c;
	k->n++;
	return c;
}

struct look *look_at(struct look *root, const char *path)
{
	CLEANUP_FREE char *copy = strdup(path);
	char *save = NULL;
	struct look *k = root;

	if (!copy)
		return NULL;
	for (char *part = strtok_r(copy, "/", &save); part && k; part = strtok_r(NULL, "/", &save))
		k = look_make(k, part);
	return k;
}
