// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Doubts: entries whose content may not be what they say, because something was
 * sent to its name and did not become an entry, or because somebody looked and found it
 * wrong. Intents tell them from head to head, with what the content may be instead, until
 * it was sent again or is gone.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALT_MAX 8u

struct doubt *doubt_find(const struct layout_dir *d, const char *name)
{
	uint64_t hash = d->doubts ? name_hash(name) : 0;
	struct doubt *x;

	for (x = d->doubts; x; x = x->dir_next)
		if (x->hash == hash && !strcmp(x->name, name))
			return x;
	return NULL;
}

static void doubt_free(struct doubt *x)
{
	while (x->n_alt)
		manifest_entry_clear(&x->alt[--x->n_alt]);
	free(x->alt);
	free(x->name);
	free(x);
}

void doubt_unhang(struct layout *l, struct doubt *x)
{
	struct doubt **p;

	for (p = &x->d->doubts; *p != x; p = &(*p)->dir_next)
		;
	*p = x->dir_next;
	*x->link = x->next;
	if (x->next)
		x->next->link = x->link;
	layout_dir_put(l, x->d);
	x->d = NULL;
}

int doubt_hang(struct layout *l, struct doubt *x, struct layout_dir *d, const char *name)
{
	char *copy = strdup(name);

	if (!copy) {
		doubt_free(x);
		return -ENOMEM;
	}
	free(x->name);
	x->name = copy;
	x->hash = name_hash(name);
	x->d = d;
	layout_dir_ref(d);
	x->dir_next = d->doubts;
	d->doubts = x;
	x->next = l->doubts;
	x->link = &l->doubts;
	if (x->next)
		x->next->link = &x->next;
	l->doubts = x;
	l->doubts_noted = false;
	return 0;
}

static int add_alt(struct doubt *x, const struct manifest_entry *alt)
{
	struct manifest_entry *list = realloc(x->alt, (x->n_alt + 1) * sizeof(*list));

	if (!list)
		return -ENOMEM;
	x->alt = list;
	if (x->n_alt == ALT_MAX) {
		manifest_entry_clear(&list[0]);
		memmove(&list[0], &list[1], --x->n_alt * sizeof(*list));
	}
	if (manifest_entry_copy(&list[x->n_alt], alt))
		return -ENOMEM;
	x->n_alt++;
	return 0;
}

int doubt_add(struct layout *l, struct layout_dir *d, const char *name,
	      const struct manifest_entry *alt)
{
	struct doubt *x = doubt_find(d, name);
	int err;

	if (!x) {
		x = calloc(1, sizeof(*x));
		err = x ? doubt_hang(l, x, d, name) : -ENOMEM;
		if (err)
			return err;
	}
	l->doubts_noted = false;
	return alt ? add_alt(x, alt) : 0;
}

void doubt_remove(struct layout *l, struct doubt *x)
{
	if (!x)
		return;
	if (x->d)
		doubt_unhang(l, x);
	doubt_free(x);
}
