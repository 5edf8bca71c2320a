/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The leaf hashes of a file in memory. Small files: an array in the struct,
 * found by reading the whole content and comparing with the record. Larger
 * ones: pages as in the hash files, loaded when a leaf of theirs is asked for.
 * All under f->lock.
 */
#include "replica/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replica/base/io.h"
#include "replica/check.h"
#include "replica/tree.h"

#define KEEP_PAGES 1024

static uint64_t page_of(uint64_t leaf)
{
	return leaf / HASHFILE_LEAVES;
}

static bool page_ready(const struct file *f, uint64_t no)
{
	return (no < f->n_page && f->page[no]) || no >= f->disk_pages;
}

bool leaves_ready(const struct file *f, uint64_t first, uint64_t n)
{
	if (!f->large)
		return f->known;
	for (uint64_t no = page_of(first); n && no <= page_of(first + n - 1); no++)
		if (!page_ready(f, no))
			return false;
	return true;
}

static int grow_pages(struct file *f, uint64_t n)
{
	struct leaf_page **bigger;
	uint64_t cap = f->n_page ? f->n_page : 4;

	if (n <= f->n_page)
		return 0;
	while (cap < n)
		cap *= 2;
	bigger = realloc(f->page, cap * sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	memset(bigger + f->n_page, 0, (cap - f->n_page) * sizeof(*bigger));
	f->page = bigger;
	f->n_page = cap;
	return 0;
}

static struct leaf_page *page_new(struct file *f, uint64_t no)
{
	if (grow_pages(f, no + 1) < 0)
		return NULL;
	if (!f->page[no])
		f->page[no] = calloc(1, sizeof(*f->page[no]));
	return f->page[no];
}

/* One page from every in-sync mirror: the valid one of the newest generation
 * counts, the mirrors that do not have it are given it. */
static int load_page(struct volume *v, struct file *f, uint64_t no)
{
	struct hash_page best = { 0 }, got[MAX_MIRRORS];
	uint32_t mask = volume_in_sync(v), bad = 0;
	struct leaf_page *page;
	int source = -1;

	FOR_EACH_BIT(m, mask) {
		int fd = hashfile_open(v->m[m].dotfd, f->id, O_RDONLY);
		int r = fd < 0 ? fd : hashfile_read(fd, f->id, no, &got[m]);

		if (fd >= 0)
			close(fd);
		if (r < 0) {
			bad |= 1u << m;
			got[m].gen = 0;
			continue;
		}
		if (source < 0 || got[m].gen > best.gen) {
			source = (int)m;
			best = got[m];
		}
	}
	if (source < 0)
		return -EBADMSG;
	FOR_EACH_BIT(m, mask & ~bad)
		if (memcmp(got[m].leaf, best.leaf, sizeof(best.leaf)) != 0)
			bad |= 1u << m;
	page = page_new(f, no);
	if (!page)
		return -ENOMEM;
	page->p = best;
	/* Of an append that a power cut undid. */
	for (uint64_t k = 0; k < HASHFILE_LEAVES; k++)
		if (no * HASHFILE_LEAVES + k >= leaves_of(f->rest))
			page->p.leaf[k] = 0;
	if (bad)
		leaves_repair_page(v, f, no, bad, source);
	return 0;
}

/* A page that no mirror can give: hashed anew from the copy whose sum over
 * all leaves is that of the record. Other pages must be readable. */
static int rebuild_page(struct volume *v, struct file *f, uint64_t no)
{
	uint64_t first = no * HASHFILE_LEAVES, n = leaves_of(f->size), others = 0;
	struct leaf_page *page = page_new(f, no);
	uint8_t buf[LEAF_SIZE];

	if (!page)
		return -ENOMEM;
	n = n - first < HASHFILE_LEAVES ? n - first : HASHFILE_LEAVES;
	for (uint64_t i = 0; i < f->disk_pages; i++) {
		if (i == no)
			continue;
		if (!page_ready(f, i) && load_page(v, f, i) < 0)
			goto lost;
		for (int k = 0; k < HASHFILE_LEAVES; k++)
			others += f->page[i]->p.leaf[k];
	}
	FOR_EACH_BIT(m, volume_in_sync(v)) {
		int fd = file_fd(v, f, (int)m, false);
		uint64_t sum = others;

		memset(&page->p, 0, sizeof(page->p));
		for (uint64_t k = 0; fd >= 0 && k < n; k++) {
			ssize_t len = io_pread_full(fd, buf, LEAF_SIZE,
						    (off_t)((first + k) << LEAF_SHIFT));

			if (len < 0)
				break;
			page->p.leaf[k] = hash_leaf(f->id, first + k, buf, (size_t)len);
			sum += page->p.leaf[k];
		}
		if (fd >= 0 && sum == f->sum) {
			page->p.gen = f->rec.gen;
			leaves_repair_page(v, f, no, volume_in_sync(v), (int)m);
			return 0;
		}
	}
lost:
	free(page);
	f->page[no] = NULL;
	return -EIO;
}

/* Reads a whole small file of mirror m and hashes it. */
static int hash_small(struct volume *v, struct file *f, int m, uint64_t leaf[SMALL_LEAVES])
{
	static __thread uint8_t buf[SMALL_MAX + 1];
	int fd = file_fd(v, f, m, false);
	uint64_t sum = 0;
	ssize_t n;

	if (fd < 0)
		return fd;
	n = io_pread_full(fd, buf, sizeof(buf), 0);
	if (n < 0)
		return (int)n;
	if ((uint64_t)n != f->size)
		return -EBADMSG;
	memset(leaf, 0, SMALL_LEAVES * sizeof(*leaf));
	for (uint64_t i = 0; i < leaves_of(f->size); i++) {
		size_t at = i << LEAF_SHIFT;
		size_t len = (size_t)n - at < LEAF_SIZE ? (size_t)n - at : LEAF_SIZE;

		leaf[i] = hash_leaf(f->id, i, buf + at, len);
		sum += leaf[i];
	}
	return sum == f->sum ? 0 : -EBADMSG;
}

static int load_small(struct volume *v, struct file *f)
{
	int p = volume_preferred(v, f->id);
	uint32_t mask = volume_in_sync(v);

	if (hash_small(v, f, p, f->small) == 0) {
		f->known = true;
		return 0;
	}
	FOR_EACH_BIT(m, mask & ~(1u << p))
		if (hash_small(v, f, (int)m, f->small) == 0) {
			f->known = true;
			return 0;
		}
	return -EIO;
}

int leaves_load(struct volume *v, struct file *f, uint64_t first, uint64_t n)
{
	if (!f->large)
		return f->known ? 0 : load_small(v, f);
	for (uint64_t no = page_of(first); n && no <= page_of(first + n - 1); no++) {
		int r = 0;

		if (!page_ready(f, no))
			r = load_page(v, f, no);
		if (r == -EBADMSG)
			r = rebuild_page(v, f, no);
		if (r < 0)
			return r;
	}
	return 0;
}

uint64_t leaves_get(const struct file *f, uint64_t leaf)
{
	uint64_t no = page_of(leaf);

	if (!f->large)
		return leaf < SMALL_LEAVES ? f->small[leaf] : 0;
	return no < f->n_page && f->page[no] ? f->page[no]->p.leaf[leaf % HASHFILE_LEAVES] : 0;
}

/* Pages beyond are void; what the hash files hold there must go before any
 * of them is in use again. */
static void set_disk_pages(struct file *f, uint64_t pages)
{
	if (pages < f->disk_pages)
		f->disk_pages = pages;
	if (f->disk_pages < f->cut_pages)
		f->cut_pages = f->disk_pages;
}

static int become_large(struct file *f)
{
	struct leaf_page *page = page_new(f, 0);

	if (!page)
		return -ENOMEM;
	memcpy(page->p.leaf, f->small, sizeof(f->small));
	page->dirty = true;
	f->large = true;
	set_disk_pages(f, 0);
	return 0;
}

int leaves_set(struct file *f, uint64_t leaf, uint64_t hash)
{
	uint64_t *at;

	if (!f->large && leaf >= SMALL_LEAVES) {
		if (hash == 0)
			return 0;
		if (become_large(f) < 0)
			return -ENOMEM;
	}
	if (f->large) {
		struct leaf_page *page;

		if (hash == 0 && leaves_get(f, leaf) == 0)
			return 0;
		page = page_new(f, page_of(leaf));
		if (!page)
			return -ENOMEM;
		page->dirty = true;
		at = &page->p.leaf[leaf % HASHFILE_LEAVES];
	} else {
		at = &f->small[leaf];
	}
	f->sum += hash - *at;
	*at = hash;
	return 0;
}

/* Drops all leaves from `leaf` on. */
static int cut_leaves(struct volume *v, struct file *f, uint64_t leaf)
{
	uint64_t end = leaves_of(f->size), pages;
	int r;

	if (!f->large) {
		for (uint64_t i = leaf; i < SMALL_LEAVES; i++)
			leaves_set(f, i, 0);
		return 0;
	}
	for (uint64_t no = page_of(leaf); leaf < end && no <= page_of(end - 1); no++) {
		uint64_t from = no == page_of(leaf) ? leaf % HASHFILE_LEAVES : 0;

		r = leaves_load(v, f, no * HASHFILE_LEAVES, 1);
		if (r < 0)
			return r;
		if (no >= f->n_page || !f->page[no])
			continue;
		for (uint64_t k = from; k < HASHFILE_LEAVES; k++) {
			f->sum -= f->page[no]->p.leaf[k];
			f->page[no]->p.leaf[k] = 0;
		}
		f->page[no]->dirty = true;
		if (from == 0) {
			free(f->page[no]);
			f->page[no] = NULL;
		}
	}
	pages = (leaf + HASHFILE_LEAVES - 1) / HASHFILE_LEAVES;
	set_disk_pages(f, pages);
	return 0;
}

int leaves_resize(struct volume *v, struct file *f, uint64_t size)
{
	int r = 0;

	if (size == 0) {
		f->rec.flags &= (uint8_t)~RECORD_UNVERIFIED;
		leaves_free(f);
		memset(f->small, 0, sizeof(f->small));
		f->large = false;
		f->known = true;
		f->sum = 0;
		set_disk_pages(f, 0);
	} else if (size < f->size) {
		r = cut_leaves(v, f, leaves_of(size));
	} else if (size > SMALL_MAX && !f->large) {
		r = f->known ? 0 : leaves_load(v, f, 0, SMALL_LEAVES);
		if (r == 0)
			r = become_large(f);
	}
	if (r == 0)
		f->size = size;
	return r;
}

/* Writes pages into mirror m's hash file. all: every page, whole file. */
static int store_on(struct volume *v, struct file *f, int m, uint64_t gen, bool all)
{
	int fd = hashfile_open(v->m[m].dotfd, f->id, O_RDWR | O_CREAT);
	uint64_t pages = (leaves_of(f->size) + HASHFILE_LEAVES - 1) / HASHFILE_LEAVES;
	int r;

	if (fd < 0)
		return fd;
	r = f->cut_pages < pages ? hashfile_truncate(fd, f->cut_pages) : 0;
	for (uint64_t no = 0; r == 0 && no < f->n_page && no < pages; no++)
		if (f->page[no] && (all || f->page[no]->dirty)) {
			struct hash_page p = f->page[no]->p;

			p.gen = gen;
			r = hashfile_write(fd, f->id, no, &p);
		}
	if (r == 0)
		r = hashfile_truncate(fd, pages);
	close(fd);
	return r;
}

void leaves_store(struct volume *v, struct file *f, uint32_t mask, uint64_t gen, bool all,
		  uint32_t *bad)
{
	*bad = 0;
	if (!f->large || f->size <= SMALL_MAX) {
		if (tree_node(v, f->node)->flags & NODE_HASHFILE)
			FOR_EACH_BIT(m, mask)
				hashfile_remove(v->m[m].dotfd, f->id);
		return;
	}
	tree_set_flag(v, f->node, NODE_HASHFILE);
	FOR_EACH_BIT(m, mask)
		if (store_on(v, f, (int)m, gen, all) < 0)
			*bad |= 1u << m;
	if (all) /* one mirror is being filled: the others still wait for theirs */
		return;
	for (uint64_t no = 0; no < f->n_page; no++)
		if (f->page[no] && f->page[no]->dirty) {
			f->page[no]->p.gen = gen;
			f->page[no]->dirty = false;
		}
	f->disk_pages = (leaves_of(f->size) + HASHFILE_LEAVES - 1) / HASHFILE_LEAVES;
	f->cut_pages = UINT64_MAX;
}

/* A sealed file gives its pages back when they are many. */
void leaves_clean(struct volume *v, struct file *f)
{
	uint64_t loaded = 0;

	(void)v;
	for (uint64_t no = 0; no < f->n_page; no++)
		loaded += f->page[no] != NULL;
	if (loaded <= KEEP_PAGES)
		return;
	for (uint64_t no = 0; no < f->n_page; no++)
		if (f->page[no] && !f->page[no]->dirty) {
			free(f->page[no]);
			f->page[no] = NULL;
		}
}

void leaves_free(struct file *f)
{
	for (uint64_t no = 0; no < f->n_page; no++)
		free(f->page[no]);
	free(f->page);
	f->page = NULL;
	f->n_page = 0;
}
