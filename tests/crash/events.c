/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Event lines and planted damages. The names of the load need no escapes. */
#include "tests/crash/events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIELD_ACTION = 1, FIELD_PATH, FIELD_RANGE, FIELD_MEMBER, FIELD_FOUND, FIELDS };

static int add_line(struct events *e, const char *text)
{
	struct event_line *line;
	char *field[FIELDS], *rest = strdup(text);

	if (e->n == e->cap) {
		e->cap = e->cap ? 2 * e->cap : 64;
		line = realloc(e->line, e->cap * sizeof(*line));
		if (!line)
			return -ENOMEM;
		e->line = line;
	}
	line = &e->line[e->n++];
	*line = (struct event_line){ .text = strdup(text) };
	if (!rest || !line->text)
		return -ENOMEM;
	for (int i = 0; i < FIELDS; i++)
		field[i] = rest ? strsep(&rest, "\t") : field[0] + strlen(field[0]);
	line->action = field[FIELD_ACTION];
	line->path = field[FIELD_PATH];
	line->found = field[FIELD_FOUND];
	if (sscanf(field[FIELD_RANGE], "%" SCNu64 "+%" SCNu64, &line->off, &line->len) != 2)
		line->off = line->len = 0;
	return 0;
}

int events_read(struct events *e, const char *path)
{
	FILE *in = fopen(path, "r");
	char *text = NULL;
	size_t size = 0;
	int r = 0;

	if (!in)
		return errno == ENOENT ? 0 : -errno;
	while (r == 0 && getline(&text, &size, in) > 0) {
		text[strcspn(text, "\n")] = '\0';
		r = add_line(e, text);
	}
	free(text);
	fclose(in);
	return r;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(((const struct event_line *)a)->text, ((const struct event_line *)b)->text);
}

void events_unify(struct events *e)
{
	size_t n = 0;

	if (e->n)
		qsort(e->line, e->n, sizeof(*e->line), by_text);
	for (size_t i = 0; i < e->n; i++)
		if (!n || strcmp(e->line[n - 1].text, e->line[i].text))
			e->line[n++] = e->line[i];
	e->n = n;
}

bool event_covers(const struct event_line *e, const char *name, uint64_t leaf)
{
	uint64_t start = leaf * LEAF_SIZE;

	return strcmp(e->path, name) == 0 &&
	       (e->len == 0 || (e->off < start + LEAF_SIZE && start < e->off + e->len));
}

bool events_have(const struct events *e, const char *action, const char *name, uint64_t leaf)
{
	for (size_t i = 0; i < e->n; i++)
		if (strcmp(e->line[i].action, action) == 0 && event_covers(&e->line[i], name, leaf))
			return true;
	return false;
}

int plants_read(struct plants *plants, const char *path)
{
	FILE *in = fopen(path, "r");
	struct planted p;
	int n = 0, state;

	if (!in)
		return -errno;
	while (plants->n < sizeof(plants->p) / sizeof(plants->p[0])) {
		memset(&p, 0, sizeof(p));
		n = fscanf(in, " %c %47s %" SCNu64 " %u %u %" SCNu32 " %d%*[^\n]\n", &p.kind, p.name,
			   &p.leaf, &p.byte, &p.mask, &p.op, &state);
		if (n != 7)
			break;
		p.cold = state & 1;
		p.spared = state & 2;
		plants->p[plants->n++] = p;
	}
	fclose(in);
	return n == EOF ? 0 : -EINVAL;
}

const struct planted *plants_find(const struct plants *plants, const char *name, uint64_t leaf)
{
	for (size_t i = 0; i < plants->n; i++)
		if (plants->p[i].leaf == leaf && strcmp(plants->p[i].name, name) == 0)
			return &plants->p[i];
	return NULL;
}
