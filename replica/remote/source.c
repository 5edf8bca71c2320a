// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The content of a file that others go on writing to. The file is not held: its
 * count of changes is looked at before and after each read, and a change ends
 * the source with -ESTALE. So what was read whole is one state, whose hashes are those
 * that were taken at the beginning.
 *
 * A file that never rests would never be sent so. For such a one the state is
 * fixed: a clone (FICLONE) where the filesystem can, else a copy, made under
 * the file's lock. Copies are verified as they are read, against the hashes.
 */
#include "replica/remote/local.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/base/log.h"
#include "replica/tree.h"

#define COPY_MAX (64ull << 20)   /* writers of the file wait meanwhile */

struct source {
	struct volume *v;
	uint32_t node;
	char *name;
	bool steady;
	struct file *f;          /* between begin and end */
	struct io_space io;      /* only then, too: there may be many sources */
	uint64_t changes, size, root;
	uint64_t *leaf;          /* hashes as they were */
	int copy;                /* descriptor, -1: none */
};

static void source_reset(struct source *s)
{
	if (s->f) {
		file_put(s->v, s->f);
		tree_forget(s->v, s->node, 1);
	}
	s->f = NULL;
	if (s->copy >= 0)
		close(s->copy);
	s->copy = -1;
	free(s->leaf);
	s->leaf = NULL;
	if (s->io.buf)
		io_space_free(&s->io);
}

/* All leaf hashes and what else is fixed; f->lock held exclusively. */
static int take_hashes(struct source *s)
{
	struct file *f = s->f;
	uint64_t n = leaves_of(f->size);
	int r = 0;

	s->changes = f->changes;
	s->size = f->size;
	s->root = f->sum;
	s->leaf = malloc((n ? n : 1) * sizeof(*s->leaf));
	if (!s->leaf)
		return -ENOMEM;
	for (uint64_t at = 0; r == 0 && at < n; at += HASHFILE_LEAVES) {
		uint64_t m = n - at < HASHFILE_LEAVES ? n - at : HASHFILE_LEAVES;

		r = leaves_load(s->v, f, at, m);
		for (uint64_t i = at; r == 0 && i < at + m; i++)
			s->leaf[i] = leaves_get(f, i);
	}
	return r;
}

static int copy_bytes(int from, int to, uint64_t size)
{
	CLEANUP_FREE char *buf = malloc(IO_MAX);

	if (!buf)
		return -ENOMEM;
	for (uint64_t off = 0; off < size;) {
		size_t len = size - off < IO_MAX ? (size_t)(size - off) : IO_MAX;
		ssize_t n = io_pread_full(from, buf, len, (off_t)off);
		int r = n < 0 ? (int)n : n == 0 ? -EIO :
			io_pwrite_full(to, buf, (size_t)n, (off_t)off, NULL);

		if (r < 0)
			return r;
		off += (uint64_t)n;
	}
	return 0;
}

/* A state of its own; f->lock held exclusively. 0 also when that is too dear. */
static int take_copy(struct source *s)
{
	int m = volume_preferred(s->v, s->f->id);
	int from = file_fd(s->v, s->f, m, false);
	CLEANUP_CLOSE int to = openat(s->v->m[m].dotfd, "tmp",
				      O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (from < 0 || to < 0)
		return 0;
	if (ioctl(to, FICLONE, from) < 0 &&
	    (s->size > COPY_MAX || copy_bytes(from, to, s->size) < 0))
		return 0;
	s->copy = steal_fd(&to);
	return 0;
}

static int source_begin(void *arg, struct manifest_entry *e, const uint64_t **leaves)
{
	struct source *s = arg;
	struct entry local = { .node = s->node };
	int r;

	source_reset(s);
	manifest_entry_clear(e);
	s->f = file_get(s->v, s->node);
	/* As if it were open: what is removed meanwhile can still be read, and nobody
	 * takes it for damaged. */
	if (s->f)
		tree_lookup_inc(s->v, s->node);
	r = s->f ? io_space_init(&s->io) : -ENOMEM;
	if (r == 0 && tree_node(s->v, s->node)->flags & NODE_DELETED)
		r = -ESTALE;
	if (r == 0)
		r = file_load(s->v, s->f);
	if (r == 0)
		r = op_getattr(s->v, s->node, &local.st);
	if (r == 0)
		r = local_entry(s->v, &local, s->name, e);
	if (r == 0) {
		pthread_rwlock_wrlock(&s->f->lock);
		r = take_hashes(s);
		if (r == 0 && s->steady)
			r = take_copy(s);
		e->gen = s->f->rec.gen;
		pthread_rwlock_unlock(&s->f->lock);
	}
	e->size = s->size;
	e->root = s->root;
	*leaves = s->leaf;
	return r == -ENOENT ? -ESTALE : r;
}

static bool changed(struct source *s)
{
	bool is;

	pthread_rwlock_rdlock(&s->f->lock);
	is = s->f->changes != s->changes;
	pthread_rwlock_unlock(&s->f->lock);
	return is;
}

/* From the copy, which nobody has verified yet: whole leaves around the range. */
static ssize_t read_copy(struct source *s, uint64_t off, void *buf, size_t len)
{
	uint64_t first = off >> LEAF_SHIFT, start = first << LEAF_SHIFT;
	size_t n;
	ssize_t got;

	if (len > IO_MAX)
		len = IO_MAX;
	n = (size_t)((off + len - start + LEAF_SIZE - 1) >> LEAF_SHIFT);
	got = io_pread_full(s->copy, s->io.buf, n << LEAF_SHIFT, (off_t)start);
	if (got < 0)
		return got;
	memset(s->io.buf + got, 0, (n << LEAF_SHIFT) - (size_t)got);
	for (size_t i = 0; i < n; i++) {
		uint64_t end = (first + i + 1) << LEAF_SHIFT;
		size_t want = end <= s->size ? LEAF_SIZE : LEAF_SIZE - (size_t)(end - s->size);

		if (hash_leaf(s->f->id, first + i, s->io.buf + (i << LEAF_SHIFT), want) !=
		    s->leaf[first + i])
			return -ESTALE; /* rotten: the next time it is read with help */
	}
	memcpy(buf, s->io.buf + (off - start), len);
	return (ssize_t)len;
}

static ssize_t source_read(void *arg, uint64_t off, void *buf, size_t len)
{
	struct source *s = arg;
	const void *data;
	ssize_t n;

	if (off >= s->size)
		return -ESTALE;
	if (len > s->size - off)
		len = (size_t)(s->size - off);
	if (s->copy >= 0)
		return read_copy(s, off, buf, len);
	if (len > IO_MAX)
		len = IO_MAX;
	n = changed(s) ? -ESTALE : file_read(s->v, s->f, &s->io, off, len, &data);
	if (n > 0)
		memcpy(buf, data, (size_t)n);
	if (n == 0 || (n > 0 && changed(s)))
		return -ESTALE;
	return n;
}

static int source_end(void *arg)
{
	struct source *s = arg;
	int r = !s->f || (s->copy < 0 && changed(s)) ? -ESTALE : 0;

	source_reset(s);
	return r;
}

static void source_free(void *arg)
{
	struct source *s = arg;

	source_reset(s);
	tree_unref(s->v, s->node);
	free(s->name);
	free(s);
}

int local_source(struct volume *v, uint32_t node, const char *name, bool steady,
		 struct layout_source *out)
{
	struct source *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->name = strdup(name);
	s->copy = -1;
	if (!s->name) {
		free(s);
		return -ENOMEM;
	}
	s->v = v;
	s->node = node;
	s->steady = steady;
	tree_ref(v, node);
	*out = (struct layout_source){ .begin = source_begin, .read = source_read,
				       .end = source_end, .free = source_free, .arg = s };
	return 0;
}
