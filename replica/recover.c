/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replica/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/io.h"
#include "replica/intent.h"
#include "replica/tree.h"

#define WINDOW 256u
#define NO_HASH 1 /* that no bytes have, as good as */

bool recover_open(const struct recover *rc, uint64_t leaf)
{
	uint64_t one;

	if (rc->here || leaf >= rc->open_from ||
	    (leaf / REGION_LEAVES < rc->n_hot &&
	     rc->hot[leaf / REGION_LEAVES / 64] >> leaf / REGION_LEAVES % 64 & 1))
		return true;
	if (rc->f->rec.size > SMALL_MAX)
		return map_get(&rc->torn, leaf / HASHFILE_LEAVES, &one);
	return !rc->has_base; /* its old hashes were not noted */
}

/* The pages of hashes as they are on all mirrors; torn ones, too: a hash that
 * some bytes match proves itself. */
static void load_raw(struct recover *rc, uint64_t no)
{
	if (rc->page == no + 1)
		return;
	rc->page = no + 1;
	rc->raw_have = 0;
	FOR_EACH_BIT(m, volume_in_sync(rc->c->v)) {
		int fd = hashfile_open(rc->c->v->m[m].dotfd, rc->f->id, O_RDONLY);

		if (fd < 0)
			continue;
		if (hashfile_read_raw(fd, no, rc->raw[m]) == 0)
			rc->raw_have |= 1u << m;
		close(fd);
	}
}

/* Whether `hash` is what the leaf had at rest, as far as that is known. A zero
 * on the disk says something only of leaves that were there. */
static bool is_base(struct recover *rc, uint64_t leaf, uint64_t hash)
{
	const struct file *f = rc->f;

	if (rc->here)
		return leaves_ready(f, leaf, 1) && hash == leaves_get(f, leaf);
	if (!f->rec.gen && !f->large)
		return false;
	if (f->rec.size <= SMALL_MAX && leaf < SMALL_LEAVES && rc->has_base)
		if (leaf < leaves_of(f->rec.size) && hash == rc->base[leaf])
			return true;
	if (!f->large)
		return false;
	load_raw(rc, leaf / HASHFILE_LEAVES);
	if (hash == 0 && leaf >= leaves_of(f->rec.size))
		return false;
	FOR_EACH_BIT(m, rc->raw_have)
		if (rc->raw[m][leaf % HASHFILE_LEAVES] == hash)
			return true;
	return false;
}

struct version recover_version(struct recover *rc, uint64_t leaf, const void *data, size_t len)
{
	uint64_t hash = hash_leaf(rc->f->id, leaf, data, len), oldest = 0;
	struct candidate best = { 0 };
	struct version v = { 0 };

	if (rc->view.f)
		oldest = recovery_match(&rc->view, leaf, hash, &best);
	if (best.lsn)
		v = (struct version){ best.lsn + 1, best.unverified, false };
	if (!v.age && is_base(rc, leaf, hash))
		v.age = 1;
	if (v.age && v.age < oldest + 1)
		v = (struct version){ .undone = true };
	return v;
}

uint64_t recover_lost(struct recover *rc, uint64_t leaf)
{
	const struct file *f = rc->f;
	uint64_t hash;

	if (rc->here)
		return leaves_get(f, leaf);
	if (rc->view.f && recover_open(rc, leaf) && recovery_newest(&rc->view, leaf, &hash))
		return hash;
	if (!f->rec.gen || leaf >= leaves_of(f->rec.size))
		return NO_HASH;
	if (f->rec.size <= SMALL_MAX)
		return rc->has_base ? rc->base[leaf] : NO_HASH;
	return leaves_ready(f, leaf, 1) ? leaves_get(f, leaf) : NO_HASH;
}

/* ---- size ---- */

/* The leaf in which the content at rest ended, and what is behind it. */
static void open_tail(struct recover *rc)
{
	uint64_t leaf = rc->f->rec.size >> LEAF_SHIFT;

	if (leaf < rc->open_from)
		rc->open_from = leaf;
}

static void choose_size(struct recover *rc)
{
	struct file *f = rc->f;
	uint64_t size[MAX_MIRRORS];
	int n = 0;

	FOR_EACH_BIT(m, rc->have & rc->c->sources) {
		int fd = file_fd(rc->c->v, f, (int)m, false);
		struct stat st;

		if (fd >= 0 && fstat(fd, &st) == 0)
			size[n++] = (uint64_t)st.st_size;
	}
	if (!n) /* the windows meet the errors */
		return;
	f->size = recovery_size(&rc->view, f->rec.size, f->rec.gen != 0, size, n);
	for (int i = 0; i < n; i++)
		if (size[i] != f->rec.size)
			open_tail(rc);
}

/* ---- what was there at rest ---- */

/* A small copy that is still as the record says tells the hashes. */
static void base_from_copy(struct recover *rc, int m)
{
	static __thread uint8_t buf[SMALL_MAX];
	struct file *f = rc->f;
	int fd = file_fd(rc->c->v, f, m, false);
	uint64_t hash[SMALL_LEAVES] = { 0 }, sum = 0;
	ssize_t n = fd < 0 ? fd : io_pread_full(fd, buf, sizeof(buf), 0);

	if (n < (ssize_t)f->rec.size)
		return;
	for (uint64_t i = 0; i < leaves_of(f->rec.size); i++) {
		size_t at = i << LEAF_SHIFT;
		size_t len = f->rec.size - at < LEAF_SIZE ? f->rec.size - at : LEAF_SIZE;

		hash[i] = hash_leaf(f->id, i, buf + at, len);
		sum += hash[i];
	}
	if (sum != f->rec.hash)
		return;
	memcpy(rc->base, hash, sizeof(hash));
	rc->has_base = true;
}

static void find_base(struct recover *rc)
{
	struct file *f = rc->f;
	const uint64_t *base;
	uint64_t n;

	if (!f->rec.gen || f->rec.size > SMALL_MAX)
		return;
	base = recovery_base(&rc->view, f->rec.gen, &n);
	if (base && n >= leaves_of(f->rec.size)) {
		memcpy(rc->base, base, leaves_of(f->rec.size) * sizeof(*rc->base));
		rc->has_base = true;
		return;
	}
	FOR_EACH_BIT(m, rc->have & rc->c->sources)
		if (!rc->has_base)
			base_from_copy(rc, (int)m);
}

/* ---- the whole file ---- */

static bool any_open(const struct recover *rc)
{
	return rc->unnoted || rc->open_from < leaves_of(rc->f->size) ||
	       rc->f->size < rc->f->rec.size || /* the sum is of more than there is */
	       recovery_any_region(&rc->view);
}

static bool window_open(const struct recover *rc, uint64_t first, unsigned n)
{
	if (rc->unnoted)
		return true;
	for (unsigned i = 0; i < n; i++)
		if (recover_open(rc, first + i))
			return true;
	return false;
}

static void load_pages(struct recover *rc, uint64_t first, unsigned n)
{
	uint64_t one;

	for (uint64_t no = first / HASHFILE_LEAVES; no <= (first + n - 1) / HASHFILE_LEAVES; no++)
		if (!map_get(&rc->torn, no, &one) &&
		    leaves_load(rc->c->v, rc->f, no * HASHFILE_LEAVES, 1) < 0)
			map_set(&rc->torn, no, 1);
}

static int settle_leaves(struct recover *rc)
{
	struct file *f = rc->f;
	uint64_t n = leaves_of(f->size);
	int r = 0;

	if (f->size > SMALL_MAX && !f->large) {
		f->large = true;
		f->disk_pages = 0;
		f->cut_pages = 0;
	}
	f->overwritten = true;
	for (uint64_t first = 0; first < n; first += WINDOW) {
		unsigned part = n - first < WINDOW ? (unsigned)(n - first) : WINDOW;

		if (f->rec.size > SMALL_MAX)
			load_pages(rc, first, part);
		if (f->rec.size > SMALL_MAX && !window_open(rc, first, part))
			continue;
		if (check_window(rc->c, f, first, part, rc, NULL) < 0)
			r = -EIO;
		else if (!rc->c->dry_run && rc->view.f)
			r = intent_decided(rc->c->v, f, first, part) < 0 ? -EIO : r;
	}
	f->known = !f->large;
	f->sum = 0;
	for (uint64_t i = 0; i < n; i++)
		f->sum += leaves_get(f, i);
	return r;
}

/* Asked for each leaf, often: there may be as many notes as regions. */
static int mark_regions(struct recover *rc)
{
	const struct recovery_file *j = rc->view.f;
	uint64_t n = leaves_of(rc->f->size) / REGION_LEAVES + 1;

	if (!recovery_any_region(&rc->view))
		return 0;
	rc->hot = calloc((n + 63) / 64, sizeof(*rc->hot));
	if (!rc->hot)
		return -ENOMEM;
	rc->n_hot = n;
	for (size_t i = 0; i < j->n_region; i++)
		for (uint64_t r = j->region[i].first; j->region[i].lsn >= rc->view.since && r < n &&
		     r - j->region[i].first < j->region[i].n; r++)
			rc->hot[r / 64] |= 1ull << r % 64;
	return 0;
}

/* Copies get the size that was chosen: longer ones, or all. */
static void level_sizes(struct recover *rc, bool all)
{
	FOR_EACH_BIT(m, rc->have) {
		int fd = file_fd(rc->c->v, rc->f, (int)m, false);
		struct stat st;

		if (all || (fd >= 0 && fstat(fd, &st) == 0 && (uint64_t)st.st_size > rc->f->size))
			check_size(rc->c, rc->f, (int)m);
	}
}

static int settle_content(struct recover *rc)
{
	bool open;
	int r = 0;

	choose_size(rc);
	if (rc->f->size < rc->f->rest)
		rc->f->rest = rc->f->size;
	open = any_open(rc);
	if (open) /* before a copy that tells it is cut */
		find_base(rc);
	level_sizes(rc, false);
	if (open) {
		r = mark_regions(rc);
		if (r == 0)
			r = settle_leaves(rc);
	}
	level_sizes(rc, true); /* after the leaves: zeros would pass for a copy */
	return r;
}

/* Nobody says which regions were open: then all are. */
static bool blind(const struct volume *v)
{
	return v->recovery && v->recovery->blind;
}

int recover_file(struct check *c, struct file *f, uint32_t have)
{
	struct check sub = *c;
	struct recover rc = { .c = &sub, .f = f, .have = have, .open_from = UINT64_MAX };
	int r = 0;

	rc.view = recovery_view(c->v, f->id, f->rec.gen);
	if (!f->rec.gen || f->rec.flags & RECORD_CUT || blind(c->v))
		rc.open_from = 0;
	else if (recovery_any_leaf(&rc.view))
		open_tail(&rc);
	rc.unnoted = !rc.view.f && f->rec.flags & RECORD_OPEN;
	sub.mask = have;
	sub.settling = true;
	f->marked = true;
	if (f->type == TYPE_OF(S_IFREG))
		r = settle_content(&rc);
	if (!c->dry_run) {
		f->marked = false; /* in this session it was not yet */
		file_changed(c->v, f);
	}
	map_free(&rc.torn);
	free(rc.hot);
	if (!c->dry_run)
		recovery_done(c->v, f->id);
	return r;
}
