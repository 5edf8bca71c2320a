/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the ledger share: one ledger on a volume of two mirrors. */
#ifndef TESTS_UNIT_LEDGER_H
#define TESTS_UNIT_LEDGER_H

#include "replica/remote/ledger.h"
#include "tests/unit/volume.h"

#define ID "0123456789abcdef"
#define PLACE DOT_DIR "/remote/" ID "/ledger"

static inline struct ledger *open_ledger(struct bed *b)
{
	struct ledger *l;

	assert_int_equal(ledger_open(b->v, ID, &l), 0);
	return l;
}

static inline struct ledger *reopen(struct bed *b, struct ledger *l)
{
	ledger_close(l);
	return open_ledger(b);
}

static inline struct ledger_stats stats(struct ledger *l)
{
	struct ledger_stats s;

	ledger_stats(l, &s);
	return s;
}

struct taken {
	struct mark *m;
	size_t n;
};

static inline struct taken take(struct ledger *l)
{
	struct taken t;

	assert_int_equal(ledger_take(l, &t.m, &t.n), 0);
	return t;
}

static inline void give_back(struct ledger *l, struct taken t)
{
	bool *again = malloc(t.n + 1);

	memset(again, 1, t.n + 1);
	ledger_done(l, t.m, t.n, again);
	free(again);
}

/* As text, one mark a line: "id path flags name name". */
static inline char *text_of(struct taken t)
{
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	for (size_t i = 0; i < t.n; i++) {
		fprintf(f, "%llu '%s' %u", (unsigned long long)t.m[i].id, t.m[i].path,
			t.m[i].flags);
		for (size_t k = 0; k < t.m[i].n_names; k++)
			fprintf(f, " %s", t.m[i].name[k]);
		fputc('\n', f);
	}
	fclose(f);
	return text;
}

static inline void has(struct ledger *l, const char *want)
{
	struct taken t = take(l);
	char *text = text_of(t);

	assert_string_equal(text, want);
	free(text);
	give_back(l, t);
}

static inline void mark_many(struct ledger *l, uint64_t dir, const char *path, unsigned n)
{
	char name[32];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "name %u", i);
		ledger_mark_entry(l, dir, path, name);
	}
}

#endif
