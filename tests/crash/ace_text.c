// SPDX-License-Identifier: GPL-2.0-or-later
/* Sequences as text: the short form that replays one, and in words. */
#include "tests/crash/ace.h"

#include <stdlib.h>
#include <string.h>

const char *const ace_op_name[ACE_OPS] = {
	"create", "overwrite", "append", "truncate", "punch",
	"rename", "rename-over", "exchange", "link", "unlink",
	"mkdir", "rmdir", "symlink", "setxattr", "chmod",
};
const char *const ace_sync_name[ACE_SYNCS] = { "none", "file", "dir", "sync" };

static int find(const char *const *table, unsigned n, const char *word, size_t len)
{
	unsigned i;

	for (i = 0; i < n; i++)
		if (strlen(table[i]) == len && !strncmp(table[i], word, len))
			return (int)i;
	return -1;
}

bool ace_parse(const char *text, struct ace_sequence *seq)
{
	size_t len;
	int op, sync;

	*seq = (struct ace_sequence){ 0 };
	do {
		len = strcspn(text, ":");
		op = find(ace_op_name, ACE_OPS, text, len);
		if (seq->n == ACE_STEPS || op < 0 || text[len] != ':')
			return false;
		text += len + 1;
		len = strcspn(text, ",/");
		sync = find(ace_sync_name, ACE_SYNCS, text, len);
		if (sync < 0)
			return false;
		seq->step[seq->n].op = (enum ace_op)op;
		seq->step[seq->n++].sync = (enum ace_sync)sync;
		text += len;
	} while (*text++ == ',');
	if (text[-1] == '/')
		seq->variant = (unsigned)strtoul(text, NULL, 10) % ACE_VARIANTS;
	return true;
}

void ace_format(const struct ace_sequence *seq, char *text)
{
	size_t len = 0;
	unsigned i;

	for (i = 0; i < seq->n; i++)
		len += (size_t)snprintf(text + len, ACE_TEXT - len, "%s%s:%s", i ? "," : "",
					ace_op_name[seq->step[i].op],
					ace_sync_name[seq->step[i].sync]);
	snprintf(text + len, ACE_TEXT - len, "/%u", seq->variant);
}

static size_t step_words(const struct ace_model *m, unsigned s, char *words, size_t size)
{
	static const char *const between[ACE_OPS] = {
		[ACE_RENAME] = "->", [ACE_RENAME_OVER] = "->", [ACE_EXCHANGE] = "<->",
		[ACE_LINK] = "->",
	};
	const struct ace_action *a = &m->action[s];
	enum ace_op op = m->seq.step[s].op;
	bool dir = m->seq.step[s].sync == ACE_DIR;
	char sync[ACE_PATH + 8] = "-";

	if (m->seq.step[s].sync == ACE_SYNC)
		strcpy(sync, "sync");
	else if (m->seq.step[s].sync != ACE_NONE)
		snprintf(sync, sizeof(sync), "fsync(%s)", a->sync_path[dir]);
	return (size_t)snprintf(words, size, "%s%s %s%s%s; %s", s ? " | " : "", ace_op_name[op],
				a->path[0], between[op] ? between[op] : "",
				between[op] ? a->path[1] : "", sync);
}

void ace_words(const struct ace_model *m, char *words)
{
	size_t len = 0;
	unsigned s;

	for (s = 0; s < m->seq.n; s++)
		len += step_words(m, s, words + len, ACE_WORDS - len);
}
