/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replica/blame.h"

#include "replica/tree.h"

int blame(struct volume *v, enum verdict_class class, uint32_t asked, const int *result,
	  const char *what, uint32_t node, const char *name)
{
	struct verdict verdict = verdict_of(class, asked, result);
	char path[4096];
	int err = 0;

	if (!verdict.stale)
		return verdict.reply;
	FOR_EACH_BIT(m, verdict.stale)
		err = -result[m];
	if (name)
		tree_path_of(v, node, name, path, sizeof(path));
	else
		tree_path(v, node, path, sizeof(path));
	volume_eject(v, verdict.stale, err, what, path);
	return verdict.reply;
}
