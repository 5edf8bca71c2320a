/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The request log: appending, mapping, printing. Nothing of it is synced: it
 * is for a reader on the same machine that never loses power.
 */
#include "tests/disk/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"

#define MAGIC "mfsdisk1"

/* A reader of the old log keeps it. */
static int create_anew(int dirfd, const char *name)
{
	int fd;

	if (unlinkat(dirfd, name, 0) && errno != ENOENT)
		return -errno;
	fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

int trace_create(struct trace_writer *w, int dirfd, const struct trace_header *header)
{
	struct trace_header h = *header;
	int err;

	trace_close(w);
	w->data_fd = create_anew(dirfd, "log.data");
	if (w->data_fd < 0)
		return w->data_fd;
	w->fd = create_anew(dirfd, "log");
	err = w->fd < 0 ? w->fd : 0;
	memcpy(h.magic, MAGIC, sizeof(h.magic));
	if (!err)
		err = io_pwrite_full(w->fd, &h, sizeof(h), 0, NULL);
	if (err)
		trace_close(w);
	w->end = sizeof(h);
	w->data_end = 0;
	return err;
}

int trace_append(struct trace_writer *w, struct trace_entry *entry, const void *data)
{
	int err = 0;

	if (w->fd < 0)
		return 0;
	entry->data = w->data_end;
	if (data)
		err = io_pwrite_full(w->data_fd, data, entry->len, (off_t)w->data_end, NULL);
	if (!err)
		err = io_pwrite_full(w->fd, entry, sizeof(*entry), (off_t)w->end, NULL);
	if (err)
		return err;
	w->end += sizeof(*entry);
	if (data)
		w->data_end += entry->len;
	return 0;
}

void trace_close(struct trace_writer *w)
{
	if (w->fd >= 0)
		close(w->fd);
	if (w->data_fd >= 0)
		close(w->data_fd);
	w->fd = w->data_fd = -1;
}

static int map_file(int dirfd, const char *name, const void **map, size_t *len)
{
	CLEANUP_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	*map = NULL;
	*len = (size_t)st.st_size;
	if (!*len)
		return 0;
	p = mmap(NULL, *len, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*map = p;
	return 0;
}

/* Entries first: their bytes were there before them. */
int trace_open(struct trace *t, int dirfd)
{
	const void *map, *data;
	int err;

	memset(t, 0, sizeof(*t));
	err = map_file(dirfd, "log", &map, &t->map_len);
	if (err)
		return err;
	t->header = map;
	if (t->map_len < sizeof(*t->header) ||
	    memcmp(t->header->magic, MAGIC, sizeof(t->header->magic)))
		err = -EINVAL;
	if (!err)
		err = map_file(dirfd, "log.data", &data, &t->data_len);
	if (err) {
		trace_unmap(t);
		return err;
	}
	t->data = data;
	t->entry = (const struct trace_entry *)(t->header + 1);
	t->n = (t->map_len - sizeof(*t->header)) / sizeof(*t->entry);
	t->last = t->n ? t->entry[t->n - 1].seq : t->header->first;
	return 0;
}

void trace_unmap(struct trace *t)
{
	if (t->header)
		munmap((void *)t->header, t->map_len);
	if (t->data)
		munmap((void *)t->data, t->data_len);
	memset(t, 0, sizeof(*t));
}

void trace_list(const struct trace *t, FILE *out)
{
	const struct trace_entry *e;

	for (e = t->entry; e < t->entry + t->n; e++) {
		const char *name = t->header->disk[e->disk].name;

		if (e->op == TRACE_MARK)
			fprintf(out, "%" PRIu64 " - M %.*s\n", e->seq, (int)e->len,
				(const char *)t->data + e->data);
		else
			fprintf(out, "%" PRIu64 " %s %c %" PRIu64 " %" PRIu32 "\n", e->seq, name,
				e->op, e->off, e->len);
	}
}
