// SPDX-License-Identifier: GPL-2.0-or-later
/* See moved.h. */
#include "replica/remote/moved.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void free_one(struct moved *m)
{
	free(m->name);
	free(m->new_name);
}

static bool make_room(struct moved_list *l)
{
	size_t room = l->room ? 2 * l->room : 64;
	struct moved *one;

	if (l->n < l->room)
		return true;
	one = l->n < MOVED_MAX ? realloc(l->one, room * sizeof(*one)) : NULL;
	if (!one)
		return false;
	l->one = one;
	l->room = room;
	return true;
}

void moved_add(struct moved_list *l, uint64_t from, const char *name, uint64_t to,
	       const char *new_name)
{
	struct moved m = { .from = from, .to = to, .name = strdup(name),
			   .new_name = strdup(new_name) };

	l->count++;
	if (m.name && m.new_name && make_room(l)) {
		l->one[l->n++] = m;
		return;
	}
	free_one(&m);
	l->lost = true;
}

void moved_clear(struct moved_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free_one(&l->one[i]);
	free(l->one);
	*l = (struct moved_list){ .count = l->count };
}

bool moved_follow(const struct moved_list *l, uint64_t *dir, char *name)
{
	bool found = false;

	for (size_t i = 0; i < l->n; i++) {
		const struct moved *m = &l->one[i];

		if (m->from != *dir || strcmp(m->name, name) != 0)
			continue;
		*dir = m->to;
		snprintf(name, MOVED_NAME, "%s", m->new_name);
		found = true;
	}
	return found;
}
