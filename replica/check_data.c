/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checking and repairing content: windows of leaves, hash pages, sizes. What
 * a repair replaces goes into quarantine first; without that nothing is
 * overwritten. A repair is written, synced, and read back from the medium.
 */
#include "replica/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/choice.h"
#include "replica/intent.h"
#include "replica/recover.h"
#include "replica/remote/remote.h"
#include "replica/tree.h"

#define WINDOW 256u
#define SOURCE_REMOTE (-2)   /* of a leaf: no mirror, a remote */

static __thread const struct check *scope;

void check_scope(const struct check *c)
{
	scope = c;
}

void check_init(struct check *c, struct volume *v)
{
	if (scope && scope->v == v) {
		*c = *scope;
		c->deep = false;
		c->mask = volume_in_sync(v);
		c->sources = c->mask;
		return;
	}
	*c = (struct check){ .v = v, .mask = volume_in_sync(v), .sources = volume_in_sync(v),
			     .dry_run = v->opt.read_only, .adopt = v->opt.adopting };
}

/* What the copies of one window are like. */
struct window {
	struct check *c;
	struct file *f;
	uint64_t first;
	unsigned n;
	size_t bytes;               /* within the file */
	struct recover *rc;         /* the content was left open, or NULL */
	uint8_t *copy[MAX_MIRRORS]; /* n leaves each, zero padded */
	size_t got[MAX_MIRRORS];    /* bytes read */
	int err[MAX_MIRRORS];
	uint8_t *good;              /* n leaves */
	int8_t source[WINDOW];      /* member taken, -1 lost, SOURCE_REMOTE */
	uint16_t repair[WINDOW];    /* members to repair */
	uint16_t older[WINDOW];     /* of these, with an older version: not damaged */
};

/* From the medium: the page cache may hold what the disk does not. The same
 * inode as fd, whatever its name leads to by now. */
static int open_medium(int fd)
{
	struct at a = { .fd = fd };

	return at_open(&a, O_RDONLY | O_DIRECT | O_NOATIME | O_NONBLOCK);
}

static ssize_t read_medium(struct volume *v, struct file *f, int m, uint8_t *buf, size_t len,
			   uint64_t off)
{
	int fd = file_fd(v, f, m, false), direct;
	ssize_t n;

	if (fd < 0)
		return fd;
	direct = open_medium(fd);
	if (direct >= 0) {
		size_t span = (len + LEAF_SIZE - 1) & ~(size_t)(LEAF_SIZE - 1);

		n = io_pread_full(direct, buf, span, (off_t)off);
		close(direct);
		if (n != -EINVAL)
			return n > (ssize_t)len ? (ssize_t)len : n;
	}
	posix_fadvise(fd, (off_t)off, (off_t)len, POSIX_FADV_DONTNEED);
	return io_pread_full(fd, buf, len, (off_t)off);
}

static void read_copies(struct window *w)
{
	struct volume *v = w->c->v;

	FOR_EACH_BIT(m, w->c->mask) {
		uint64_t off = w->first << LEAF_SHIFT;
		ssize_t n;

		if (w->c->deep) {
			n = read_medium(v, w->f, (int)m, w->copy[m], w->bytes, off);
		} else {
			int fd = file_fd(v, w->f, (int)m, false);

			n = fd < 0 ? fd : io_pread_full(fd, w->copy[m], w->bytes, (off_t)off);
		}
		w->err[m] = n < 0 ? (int)n : 0;
		w->got[m] = n < 0 ? 0 : (size_t)n;
		memset(w->copy[m] + w->got[m], 0, ((size_t)w->n << LEAF_SHIFT) - w->got[m]);
		if (n < 0)
			volume_count(v, CNT_READ_ERRORS, 1);
		if (w->c->stats)
			w->c->stats->bytes += w->got[m];
	}
}

/* A copy that was read, by its hash. */
static enum copy_state match_leaf(struct window *w, int m, unsigned i, size_t want,
				  struct version *version)
{
	const uint8_t *bytes = w->copy[m] + ((size_t)i << LEAF_SHIFT);
	const struct file *f = w->f;
	uint64_t leaf = w->first + i;

	if (w->rc && recover_open(w->rc, leaf)) {
		*version = recover_version(w->rc, leaf, bytes, want);
		return version->age ? COPY_MATCH : COPY_DIFFERS;
	}
	if (w->rc && f->rec.size <= SMALL_MAX) /* small, and its hashes at rest are known */
		version->age = hash_leaf(f->id, leaf, bytes, want) == w->rc->base[leaf];
	else
		version->age = hash_leaf(f->id, leaf, bytes, want) == leaves_get(f, leaf);
	return version->age ? COPY_MATCH : COPY_DIFFERS;
}

/* Are the bytes of leaf i the same on all copies that could be read? */
static bool identical(const struct window *w, const enum copy_state *state, unsigned i)
{
	size_t at = (size_t)i << LEAF_SHIFT;
	const uint8_t *one = NULL;

	for (unsigned m = 0; m < w->c->v->n; m++) {
		if (state[m] == COPY_NOT_ASKED || state[m] == COPY_ERROR)
			continue;
		if (one && memcmp(one, w->copy[m] + at, LEAF_SIZE) != 0)
			return false;
		one = w->copy[m] + at;
	}
	return one != NULL;
}

/*
 * A copy that shows a version which a sync has left behind is a lost write, and no
 * evidence of anything. Unless every mirror shows it: then the same was written once more, and
 * the note of it did not get to the disks. A copy that is alone is not called lost.
 */
static void drop_undone(const struct window *w, unsigned i, enum copy_state *state,
			uint32_t undone)
{
	if (!undone || identical(w, state, i))
		return;
	FOR_EACH_BIT(m, undone)
		state[m] = COPY_ERROR;
}

/* Fills in the state of every copy of leaf i. Returns whether the newest of
 * the versions found was doubtful. */
static bool leaf_states(struct window *w, unsigned i, enum copy_state *state)
{
	size_t at = (size_t)i << LEAF_SHIFT;
	size_t want = w->bytes - at < LEAF_SIZE ? w->bytes - at : LEAF_SIZE;
	struct version version[MAX_MIRRORS] = { 0 }, newest = { 0 };
	uint32_t undone = 0;

	for (unsigned m = 0; m < w->c->v->n; m++) {
		state[m] = COPY_NOT_ASKED;
		if (!(w->c->mask & 1u << m))
			continue;
		state[m] = COPY_ERROR;
		if (w->err[m] < 0 || w->got[m] < at + want)
			continue;
		state[m] = match_leaf(w, (int)m, i, want, &version[m]);
		undone |= version[m].undone ? 1u << m : 0;
		if (version[m].age > newest.age)
			newest = version[m];
	}
	w->older[i] = 0;
	for (unsigned m = 0; m < w->c->v->n; m++)
		if (state[m] == COPY_MATCH && version[m].age < newest.age) {
			state[m] = COPY_MATCH_OLD;
			w->older[i] |= (uint16_t)(1u << m);
		}
	drop_undone(w, i, state, undone);
	return newest.doubt;
}

/*
 * A member that is being brought up to date may match, and then is as good as
 * any, but its unmatched bytes are no evidence: they are left out of what is
 * undecidable.
 */
static void mask_targets(const struct window *w, enum copy_state *state)
{
	for (unsigned m = 0; m < w->c->v->n; m++)
		if (!(w->c->sources & 1u << m) && state[m] == COPY_DIFFERS)
			state[m] = COPY_ERROR;
}

/* What cannot be proved is noted before it goes over the other copies: once
 * they are alike, nobody could tell any more. If it cannot be, they stay. */
static void flag_unverified(struct window *w, unsigned i, int source)
{
	size_t at = (size_t)i << LEAF_SHIFT;
	struct volume *v = w->c->v;
	uint64_t leaf = w->first + i;
	char path[4096];

	if (w->c->adopt)
		return;
	w->f->rec.flags |= RECORD_UNVERIFIED;
	volume_count(v, CNT_UNVERIFIED, 1);
	if (w->c->dry_run)
		return;
	if (intent_unverified(v, w->f, leaf,
			      hash_leaf(w->f->id, leaf, w->good + at, LEAF_SIZE)) < 0)
		w->repair[i] = 0;
	tree_path(v, w->f->node, path, sizeof(path));
	check_report(w->c, FIND_UNVERIFIED, path, leaf << LEAF_SHIFT, LEAF_SIZE, -1, source,
		     "written shortly before an unclean end, copies differ", "unverified");
}

/*
 * Of a file that was changed, and of which no journal has a word (all of them
 * may be gone): what two mirrors have alike is no rot. Else it is not open.
 */
static bool unnoted_open(const struct window *w, const enum copy_state *state, bool alike)
{
	unsigned differ = 0;

	for (unsigned m = 0; m < w->c->v->n; m++)
		differ += state[m] == COPY_DIFFERS;
	return w->rc->unnoted && alike && differ > 1;
}

/* Returns whether the leaf is lost. */
static bool choose_leaf(struct window *w, unsigned i)
{
	enum copy_state state[MAX_MIRRORS];
	struct volume *v = w->c->v;
	size_t at = (size_t)i << LEAF_SHIFT;
	bool open, alike, doubtful;
	struct choice ch;

	doubtful = leaf_states(w, i, state);
	mask_targets(w, state);
	alike = identical(w, state, i);
	open = w->rc && (recover_open(w->rc, w->first + i) || unnoted_open(w, state, alike));
	ch = choice_leaf((int)v->n, state, volume_preferred(v, w->f->id), open, alike);
	w->source[i] = (int8_t)ch.source;
	w->repair[i] = (uint16_t)(ch.verdict == CHOICE_LOST ? 0 : ch.repair & w->c->mask);
	if (ch.verdict == CHOICE_LOST)
		return true;
	memcpy(w->good + at, w->copy[ch.source] + at, LEAF_SIZE);
	if (ch.verdict == CHOICE_ADOPT)
		volume_count(v, CNT_ADOPTED, 1);
	if (ch.verdict == CHOICE_UNVERIFIED || doubtful)
		flag_unverified(w, i, ch.source);
	return false;
}

/* ---- repair of a run of leaves on one mirror ---- */

static int quarantine_run(struct window *w, int m, unsigned i, size_t len, const char *path)
{
	struct quarantine_note note = {
		.member = volume_path(w->c->v, m), .path = path,
		.off = (w->first + i) << LEAF_SHIFT, .len = len, .reason = "hash mismatch",
	};
	size_t at = (size_t)i << LEAF_SHIFT;

	if (w->got[m] <= at || w->older[i] & 1u << m)
		return 0; /* nothing was readable, or it is known: nothing to keep */
	if (w->got[m] - at < len)
		len = w->got[m] - at;
	return volume_quarantine_bytes(w->c->v, m, &note, w->copy[m] + at, len);
}

/* Writes good bytes, syncs, reads back. Keeps the times of the copy. */
static int write_back(struct window *w, int m, unsigned i, size_t len)
{
	static __thread uint8_t proof[LEAF_SIZE] __attribute__((aligned(4096)));
	int fd = file_fd(w->c->v, w->f, m, true), r;
	uint64_t off = (w->first + i) << LEAF_SHIFT;
	const uint8_t *good = w->good + ((size_t)i << LEAF_SHIFT);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	r = io_pwrite_full(fd, good, len, (off_t)off, NULL);
	if (r == 0) {
		struct timespec ts[2] = { st.st_atim, st.st_mtim };

		futimens(fd, ts);
		r = fdatasync(fd) < 0 ? -errno : 0;
	}
	for (size_t at = 0; r == 0 && at < len; at += LEAF_SIZE) {
		size_t part = len - at < LEAF_SIZE ? len - at : LEAF_SIZE;

		if (read_medium(w->c->v, w->f, m, proof, part, off + at) != (ssize_t)part ||
		    memcmp(proof, good + at, part) != 0)
			r = -EIO;
	}
	return r;
}

static void repair_run(struct window *w, int m, unsigned i, unsigned n)
{
	size_t at = (size_t)i << LEAF_SHIFT, len = (size_t)n << LEAF_SHIFT;
	struct volume *v = w->c->v;
	bool missed = !(volume_in_sync(v) & 1u << m); /* no rot: it was out */
	char path[4096], found[96];
	int r;

	if (len > w->bytes - at)
		len = w->bytes - at;
	tree_path(v, w->f->node, path, sizeof(path));
	if (w->err[m] < 0)
		snprintf(found, sizeof(found), "read failed: %s", strerror(-w->err[m]));
	else
		snprintf(found, sizeof(found), "%s",
			 w->c->settling ? "copies differ after an unclean end" :
			 missed ? "missed while it was out" : "hash mismatch");
	if (!w->c->settling && !missed)
		volume_count(v, CNT_LEAVES_BAD, n);
	if (w->c->dry_run) {
		check_report(w->c, FIND_LEAF, path, (w->first + i) << LEAF_SHIFT, len, m,
			     w->source[i], found, "would repair");
		return;
	}
	r = quarantine_run(w, m, i, len, path);
	if (r < 0) {
		snprintf(found, sizeof(found), "quarantine: %s", strerror(-r));
		check_report(w->c, FIND_LEAF, path, (w->first + i) << LEAF_SHIFT, len, m,
			     w->source[i], found, "postponed");
		return;
	}
	r = write_back(w, m, i, len);
	if (r < 0) {
		check_report(w->c, FIND_LEAF, path, (w->first + i) << LEAF_SHIFT, len, m,
			     w->source[i], found, "repair failed");
		if (r != -ENOENT && r != -ESTALE)
			volume_eject(v, 1u << m, -r, "repair", path);
		return;
	}
	if (!w->c->settling)
		volume_count(v, CNT_LEAVES_REPAIRED, n);
	check_report(w->c, FIND_LEAF, path, (w->first + i) << LEAF_SHIFT, len, m, w->source[i],
		     found, "repaired");
}

/* Whether leaves i and k of member m need the same: one source, one report. */
static bool one_run(const struct window *w, unsigned m, unsigned i, unsigned k)
{
	return w->repair[k] & 1u << m && w->source[i] == w->source[k] &&
	       !((w->older[i] ^ w->older[k]) & 1u << m) &&
	       (!w->rc || recover_open(w->rc, w->first + i) == recover_open(w->rc, w->first + k));
}

static void repair_window(struct window *w)
{
	bool settling = w->c->settling;

	FOR_EACH_BIT(m, w->c->mask) {
		unsigned i = 0;

		/* A copy that is not there at all is put back whole, elsewhere. */
		if (w->err[m] == -ENOENT || w->err[m] == -ESTALE || w->err[m] == -ENXIO)
			continue;
		while (i < w->n) {
			unsigned run = 0;

			while (i + run < w->n && one_run(w, m, i, i + run))
				run++;
			/* What was at rest is damaged, not half way. */
			w->c->settling = settling && w->rc && recover_open(w->rc, w->first + i);
			if (run)
				repair_run(w, (int)m, i, run);
			i += run ? run : 1;
		}
	}
	w->c->settling = settling;
}

static int window_alloc(struct window *w)
{
	size_t len = (size_t)w->n << LEAF_SHIFT;
	uint8_t *all = aligned_alloc(LEAF_SIZE, len * (w->c->v->n + 1));

	if (!all)
		return -ENOMEM;
	w->good = all;
	for (unsigned m = 0; m < w->c->v->n; m++)
		w->copy[m] = all + len * (m + 1);
	memset(w->good, 0, len);
	return 0;
}

static void report_lost(struct window *w, unsigned i)
{
	uint64_t off = (w->first + i) << LEAF_SHIFT;
	size_t at = (size_t)i << LEAF_SHIFT;
	size_t len = w->bytes - at < LEAF_SIZE ? w->bytes - at : LEAF_SIZE;
	char path[4096];

	tree_path(w->c->v, w->f->node, path, sizeof(path));
	volume_count(w->c->v, CNT_LEAVES_BAD, 1);
	volume_count(w->c->v, CNT_UNCORRECTED, 1);
	check_report(w->c, FIND_LEAF, path, off, len, -1, -1, "no copy matches its hash", "lost");
}

/* Leaves i..i+n-1, which no mirror has, from a remote; each by its hash. */
static void rescue_run(struct window *w, unsigned i, unsigned n)
{
	size_t at = (size_t)i << LEAF_SHIFT;
	CLEANUP_FREE bool *good = calloc(n, sizeof(*good));

	if (!good || check_remote_leaves(w->c, w->f, w->first + i, n, w->good + at, good) < 0)
		return;
	for (unsigned k = 0; k < n; k++) {
		if (!good[k])
			continue;
		w->source[i + k] = SOURCE_REMOTE;
		w->repair[i + k] = (uint16_t)w->c->mask;
	}
}

/* A hash that is not known by the mirrors proves nothing: such a leaf stays lost. */
static void rescue(struct window *w)
{
	if (!remotes_any(w->c->v) || w->rc)
		return;
	for (unsigned i = 0, n; i < w->n; i += n ? n : 1) {
		for (n = 0; i + n < w->n && w->source[i + n] == -1 &&
			    leaves_ready(w->f, w->first + i + n, 1);)
			n++;
		if (n)
			rescue_run(w, i, n);
	}
}

int check_window(struct check *c, struct file *f, uint64_t first, unsigned n,
		 struct recover *rc, uint8_t *out)
{
	struct window w = { .c = c, .f = f, .first = first, .n = n, .rc = rc };
	uint64_t start = first << LEAF_SHIFT;
	int r = 0;

	if (start >= f->size)
		return 0;
	w.bytes = (size_t)n << LEAF_SHIFT;
	if (w.bytes > f->size - start)
		w.bytes = f->size - start;
	w.n = n = (unsigned)leaves_of(w.bytes);
	if (!rc && !leaves_ready(f, first, n) && leaves_load(c->v, f, first, n) < 0)
		check_remote_hashes(c, f);
	if (window_alloc(&w) < 0)
		return -ENOMEM;
	read_copies(&w);
	for (unsigned i = 0; i < n; i++) {
		if (!rc && !leaves_ready(f, first + i, 1)) {
			w.source[i] = -1;
			w.repair[i] = 0;
		} else if (choose_leaf(&w, i)) {
			w.source[i] = -1;
			if (rc)
				leaves_set(f, first + i, recover_lost(rc, first + i));
		} else if (rc) {
			size_t at = (size_t)i << LEAF_SHIFT;

			leaves_set(f, first + i, hash_leaf(f->id, first + i, w.good + at,
							   LEAF_SIZE));
		}
	}
	rescue(&w);
	for (unsigned i = 0; i < n; i++)
		if (w.source[i] == -1) {
			r = -EIO;
			report_lost(&w, i);
		}
	repair_window(&w);
	if (out && r == 0)
		memcpy(out, w.good, (size_t)n << LEAF_SHIFT);
	free(w.good);
	return r;
}

/* ---- sizes, hash pages, whole files ---- */

int check_size(struct check *c, struct file *f, int m)
{
	int fd = file_fd(c->v, f, m, false), r = 0;
	char path[4096], found[96];
	struct stat st;
	uint64_t have;

	if (fd < 0 || fstat(fd, &st) < 0)
		return 0; /* the windows meet the error */
	have = (uint64_t)st.st_size;
	if (have == f->size)
		return 0;
	tree_path(c->v, f->node, path, sizeof(path));
	snprintf(found, sizeof(found), "size %llu instead of %llu", (unsigned long long)have,
		 (unsigned long long)f->size);
	if (c->dry_run) {
		check_report(c, FIND_SIZE, path, 0, 0, m, -1, found, "would repair");
		return 0;
	}
	for (uint64_t at = f->size; r == 0 && at < have; at += IO_MAX) {
		CLEANUP_FREE uint8_t *buf = malloc(IO_MAX);
		struct quarantine_note note = { .member = volume_path(c->v, m), .path = path,
						.off = at, .reason = "beyond the end of the file" };
		ssize_t n = buf ? io_pread_full(fd, buf, IO_MAX, (off_t)at) : -ENOMEM;

		if (n <= 0)
			break;
		note.len = (uint64_t)n;
		if (!hash_is_zero(buf, (size_t)n))
			r = volume_quarantine_bytes(c->v, m, &note, buf, (size_t)n);
	}
	fd = file_fd(c->v, f, m, true);
	if (r == 0)
		r = fd < 0 ? fd : ftruncate(fd, (off_t)f->size) < 0 ? -errno : 0;
	if (r == 0) {
		struct timespec ts[2] = { st.st_atim, st.st_mtim };

		futimens(fd, ts);
	}
	check_report(c, FIND_SIZE, path, 0, 0, m, -1, found, r < 0 ? "repair failed" : "repaired");
	return r;
}

/* Leaves that are holes on every mirror and zero by their hash need no look. */
static bool skip_holes(struct check *c, struct file *f, uint64_t first, unsigned n)
{
	uint64_t start = first << LEAF_SHIFT;

	for (unsigned i = 0; i < n; i++)
		if (!leaves_ready(f, first + i, 1) || leaves_get(f, first + i))
			return false;
	FOR_EACH_BIT(m, c->mask) {
		int fd = file_fd(c->v, f, (int)m, false);
		off_t data = fd < 0 ? 0 : lseek(fd, (off_t)start, SEEK_DATA);

		if (fd < 0 || (data < 0 && errno != ENXIO))
			return false;
		if (data >= 0 && (uint64_t)data < start + ((uint64_t)n << LEAF_SHIFT))
			return false;
	}
	return true;
}

/* All hash pages are in memory: compares what each mirror has. */
static void check_pages(struct check *c, struct file *f)
{
	uint64_t pages = (leaves_of(f->size) + HASHFILE_LEAVES - 1) / HASHFILE_LEAVES;
	uint32_t bad = 0;

	if (!f->large || f->size <= SMALL_MAX || f->dirty)
		return;
	FOR_EACH_BIT(m, c->mask) {
		int fd = hashfile_open(c->v->m[m].dotfd, f->id, O_RDONLY);
		struct hash_page got;

		for (uint64_t no = 0; no < pages; no++) {
			const struct leaf_page *p = no < f->n_page ? f->page[no] : NULL;
			static const struct hash_page hole;

			if (fd < 0 || hashfile_read(fd, f->id, no, &got) < 0 ||
			    memcmp(got.leaf, p ? p->p.leaf : hole.leaf, sizeof(got.leaf)) != 0)
				bad |= 1u << m;
		}
		if (fd >= 0)
			close(fd);
	}
	FOR_EACH_BIT(m, bad) {
		char path[4096];
		uint32_t failed = 0;

		tree_path(c->v, f->node, path, sizeof(path));
		if (!c->dry_run)
			leaves_store(c->v, f, 1u << m, f->rec.gen + f->marked, true,
				     &failed);
		check_report(c, FIND_HASHES, path, 0, 0, (int)m, -1, "leaf hashes differ",
			     c->dry_run ? "would repair" : failed ? "repair failed" : "repaired");
	}
}

/*
 * The last proof of a file: the sum over its leaf hashes is that of its
 * record. If it is not, a hash page of the wrong age passed its checksum.
 */
static void check_sum(struct check *c, struct file *f)
{
	uint64_t sum = 0, n = leaves_of(f->size);
	char path[4096];

	for (uint64_t i = 0; i < n; i++)
		sum += leaves_get(f, i);
	if (sum == f->sum)
		return;
	tree_path(c->v, f->node, path, sizeof(path));
	volume_count(c->v, CNT_UNCORRECTED, 1);
	check_report(c, FIND_HASHES, path, 0, 0, -1, -1, "sum of the leaf hashes is not the record's",
		     "lost");
}

int check_content(struct check *c, struct file *f)
{
	uint64_t n = leaves_of(f->size);
	int r = 0;

	FOR_EACH_BIT(m, c->mask)
		check_size(c, f, (int)m);
	for (uint64_t first = 0; first < n; first += WINDOW) {
		unsigned part = n - first < WINDOW ? (unsigned)(n - first) : WINDOW;

		if (leaves_load(c->v, f, first, part) == 0 && skip_holes(c, f, first, part))
			continue;
		if (check_window(c, f, first, part, NULL, NULL) < 0)
			r = -EIO;
	}
	if (!n || leaves_ready(f, 0, n)) {
		check_sum(c, f);
		check_pages(c, f);
	}
	leaves_clean(c->v, f);
	return r;
}

void leaves_repair_page(struct volume *v, struct file *f, uint64_t no, uint32_t bad, int source)
{
	struct check c;
	char path[4096];

	check_init(&c, v);
	c.settling |= recovery_pending(v); /* one mirror's are newer */
	tree_path(v, f->node, path, sizeof(path));
	FOR_EACH_BIT(m, bad) {
		int fd, r;

		if (c.dry_run)
			continue;
		fd = hashfile_open(v->m[m].dotfd, f->id, O_RDWR | O_CREAT);
		r = fd < 0 ? fd : hashfile_write(fd, f->id, no, &f->page[no]->p);
		if (fd >= 0)
			close(fd);
		check_report(&c, FIND_HASHES, path, (no * HASHFILE_LEAVES) << LEAF_SHIFT,
			     (uint64_t)HASHFILE_LEAVES << LEAF_SHIFT, (int)m, source,
			     "page of leaf hashes", r < 0 ? "repair failed" : "repaired");
	}
}
