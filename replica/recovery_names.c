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
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/base/log.h"

/* Whether anything but a missing copy is to be done on mirror m. */
static bool needs_changes(const struct places *p, int m)
{
	bool any = p->mixed & 1u << m;

	for (size_t i = 0; i < p->n_parked; i++)
		any |= p->parked[i].m == m;
	for (size_t i = 0; i < p->n_place && !any; i++) {
		const struct place *x = &p->place[i];
		const struct cell *c = &x->cell[m];
		const struct place_object *o = x->want ? places_object(p, x->want) : NULL;

		any |= x->disputed && c->id != x->want && (c->id || (o && o->have & 1u << m));
		any |= places_is_leftover(p, m, (uint32_t)i);
	}
	return any;
}

/* Until the mark is gone this mirror's names are neither old nor new. */
static int mark(const struct places *p, int m, bool begun)
{
	int dot = p->v->m[m].dotfd, r;
	CLEANUP_CLOSE int tmp = -1;

	if (mkdirat(dot, PLACES_TMP, 0700) < 0 && errno != EEXIST)
		return -errno;
	tmp = openat(dot, PLACES_TMP, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (tmp < 0)
		return -errno;
	if (begun) {
		CLEANUP_CLOSE int fd = openat(tmp, PLACES_BEGUN, O_WRONLY | O_CREAT | O_NOFOLLOW |
					      O_CLOEXEC, 0600);

		r = fd < 0 ? -errno : fsync(fd) < 0 ? -errno : 0;
	} else {
		r = unlinkat(tmp, PLACES_BEGUN, 0) < 0 ? -errno : 0;
	}
	return r < 0 ? r : io_fsync_dir(tmp);
}

static int apply(struct places *p, int m)
{
	int r = mark(p, m, true);

	if (r < 0)
		return r;
	places_apply(p, m);
	if (syncfs(p->v->m[m].rootfd) < 0)
		return -errno;
	return mark(p, m, false);
}

static void apply_all(struct places *p)
{
	struct volume *v = p->v;

	FOR_EACH_BIT(m, p->mask) {
		int r = needs_changes(p, (int)m) ? apply(p, (int)m) : 0;

		if (r == 0)
			continue;
		log_err(r, "%s: recovery of names", volume_path(v, (int)m));
		volume_eject(v, 1u << m, -r, "recovery of names", NULL);
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
