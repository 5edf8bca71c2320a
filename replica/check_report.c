/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A finding becomes an event, a count, and a line for whoever is watching. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "replica/check.h"

static const struct finding_info {
	const char *item;     /* as rsync itemises, X to be filled in: see mirrorctl(8) */
	enum counter counter; /* raised when corrected; CNT_MAX: none */
} finding_info[] = {
	[FIND_LEAF] = { ">Xc........", CNT_MAX },
	[FIND_SIZE] = { ">X.s.......", CNT_FILES_REPAIRED },
	[FIND_MISSING] = { "cX+++++++++", CNT_FILES_REPAIRED },
	[FIND_TYPE] = { "*X.........", CNT_MAX },
	[FIND_RECORD] = { ".X......u..", CNT_RECORDS_REPAIRED },
	[FIND_META] = { ".X...pog.ax", CNT_FILES_REPAIRED },
	[FIND_MTIME] = { ".X..t......", CNT_FILES_REPAIRED },
	[FIND_HASHES] = { ".X......u..", CNT_RECORDS_REPAIRED },
	[FIND_FOREIGN] = { "*X.........", CNT_FOREIGN },
	[FIND_LINK] = { "hX+++++++++", CNT_FILES_REPAIRED },
	[FIND_STALE] = { "*X.........", CNT_MAX },
	[FIND_NAMES] = { ".X......u..", CNT_RECORDS_REPAIRED },
	[FIND_UNVERIFIED] = { ".X......u..", CNT_MAX },
};

static char type_letter(uint8_t type)
{
	switch (MODE_OF(type)) {
	case S_IFDIR:
		return 'd';
	case S_IFLNK:
		return 'L';
	case S_IFBLK:
	case S_IFCHR:
		return 'D';
	case S_IFIFO:
	case S_IFSOCK:
		return 'S';
	default:
		return 'f';
	}
}

static bool is_corrected(const char *action)
{
	return strcmp(action, "repaired") == 0 || strcmp(action, "quarantined") == 0;
}

void check_report(struct check *c, enum finding_kind kind, const char *path, uint64_t off,
		  uint64_t len, int member, int source, const char *found, const char *action)
{
	const struct finding_info *info = &finding_info[kind];
	struct volume *v = c->v;
	struct scrub_finding f = { .path = path, .off = off, .len = len, .found = found,
				   .action = action };
	bool corrected = is_corrected(action);

	if (c->settling && corrected) {
		action = f.action = "settled";
		volume_count(v, CNT_SETTLED, 1);
	}

	f.member = member >= 0 ? volume_path(v, member) : NULL;
	f.source = source >= 0 ? volume_path(v, source) : source < -1 ? c->remote : NULL;
	snprintf(f.item, sizeof(f.item), "%s", info->item);
	f.item[1] = kind == FIND_NAMES ? 'd' : type_letter(c->type);
	if (strcmp(action, "lost") == 0)
		f.item[0] = '!';
	if (corrected && !c->settling && info->counter != CNT_MAX)
		volume_count(v, info->counter, 1);
	if (c->stats) {
		c->stats->found++;
		c->stats->corrected += corrected;
		c->stats->uncorrected += !corrected;
	}
	if (c->finding)
		c->finding(&f, c->arg);
	if (!c->dry_run && !(c->settling && corrected)) {
		struct event e = { .action = action, .path = path, .off = off, .len = len,
				   .member = f.member, .found = found, .source = f.source };

		event_emit(&v->events, &e);
	}
}
