/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names after a power cut. Each mirror shows a state of the recent past, each
 * another one; here they are brought to one, as far as it takes no copying.
 * What is done is in recovery_places.h; what is decided, and why, in
 * recovery_places.c.
 *
 * The mirrors are done one after the other, each synced before the next: only
 * one at a time is between its old state and the new one.
 */
#include "replica/recovery_places.h"

#include <errno.h>
#include <unistd.h>

#include "replica/base/log.h"

static void apply_all(struct places *p)
{
	FOR_EACH_BIT(m, p->mask) {
		struct volume *v = p->v;

		if (places_apply(p, (int)m) && syncfs(v->m[m].rootfd) < 0) {
			int err = errno;

			log_err(-err, "%s: sync after the recovery of names", volume_path(v, (int)m));
			volume_eject(v, 1u << m, err, "syncfs", NULL);
		}
	}
	if (p->moved || p->removed || p->quarantined)
		log_info("names that differed between the mirrors: %llu moved, %llu removed, "
			 "%llu quarantined", (unsigned long long)p->moved,
			 (unsigned long long)p->removed, (unsigned long long)p->quarantined);
}

int recovery_names(struct volume *v)
{
	struct places p = { .v = v, .mask = volume_in_sync(v) };
	int r;

	if (v->opt.read_only || !v->recovery)
		return 0;
	r = places_look(&p);
	if (r == 0)
		r = places_index(&p);
	if (r == 0)
		r = places_decide(&p);
	if (r == 0)
		apply_all(&p);
	places_free(&p);
	return r < 0 ? log_err(r, "recovery of names") : 0;
}
