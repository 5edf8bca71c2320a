/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Quarantine. The items in the directory are the truth: bytes and sequence
 * numbers are taken from them, and a damaged, cut or missing index costs the
 * notes, never an item. The index is appended to, and written anew when most
 * of its lines are of items gone. One lock covers everything, the syncs
 * included: nothing may be overwritten before its item is safe.
 */
#include "replica/quarantine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/base/log.h"
#include "replica/event.h"

#define DIR_NAME "quarantine"
#define INDEX "index"
#define INDEX_MAX (256u << 20)
#define INDEX_SLACK 256 /* lines of gone items always tolerated */
#define ITEM_NAME 48
#define SEQ_MAX 999999999999999ULL /* beyond is damage, not a number of ours */

struct quarantine_item {
	uint64_t seq;
	uint64_t bytes;
	char kind[8];
};

static const char *kind_of(mode_t mode)
{
	static const char *const kinds[16] = {
		[S_IFIFO >> 12] = "fifo",  [S_IFCHR >> 12] = "chr",
		[S_IFDIR >> 12] = "dir",   [S_IFBLK >> 12] = "blk",
		[S_IFREG >> 12] = "file",  [S_IFLNK >> 12] = "symlink",
		[S_IFSOCK >> 12] = "socket",
	};
	const char *kind = kinds[(mode & S_IFMT) >> 12];

	return kind ? kind : "other";
}

static void name_of(const struct quarantine_item *it, char out[ITEM_NAME])
{
	snprintf(out, ITEM_NAME, "%010" PRIu64 "-%s", it->seq, it->kind);
}

/* The number that text begins with; ends at `end`. 0: none (numbers start at 1). */
static uint64_t parse_seq(const char *text, char end)
{
	uint64_t v = 0;

	for (; *text >= '0' && *text <= '9'; text++) {
		v = v * 10 + (uint64_t)(*text - '0');
		if (v > SEQ_MAX)
			return 0;
	}
	return *text == end ? v : 0;
}

static int push_item(struct quarantine *q, const struct quarantine_item *it)
{
	if (q->first > 0 && q->first * 2 >= q->end) {
		memmove(q->items, q->items + q->first,
			(q->end - q->first) * sizeof(*q->items));
		q->end -= q->first;
		q->first = 0;
	}
	if (q->end == q->cap) {
		size_t cap = q->cap ? q->cap * 2 : 64;
		void *bigger = realloc(q->items, cap * sizeof(*q->items));

		if (!bigger)
			return -ENOMEM;
		q->items = bigger;
		q->cap = cap;
	}
	q->items[q->end++] = *it;
	q->used += it->bytes;
	if (it->seq >= q->next_seq)
		q->next_seq = it->seq + 1;
	return 0;
}

/* Bytes an object counts for. What a directory holds is not walked. */
static uint64_t weight_of(const struct stat *st)
{
	return S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
}

static int scan_one(struct quarantine *q, const char *name)
{
	struct quarantine_item it = { .seq = parse_seq(name, '-') };
	const char *kind = strchr(name, '-');
	struct stat st;

	if (!it.seq || strlen(kind + 1) >= sizeof(it.kind))
		return 0; /* not ours */
	if (fstatat(q->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	strcpy(it.kind, kind + 1);
	it.bytes = weight_of(&st);
	return push_item(q, &it);
}

static int by_seq(const void *a, const void *b)
{
	uint64_t x = ((const struct quarantine_item *)a)->seq;
	uint64_t y = ((const struct quarantine_item *)b)->seq;

	return (x > y) - (x < y);
}

static int scan_items(struct quarantine *q)
{
	int fd = openat(q->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int ret = 0;

	if (!d) {
		ret = -errno;
		if (fd >= 0)
			close(fd);
		return ret;
	}
	while (!ret && (errno = 0, e = readdir(d)) != NULL)
		ret = scan_one(q, e->d_name);
	if (!ret && errno)
		ret = -errno;
	closedir(d);
	if (!ret && q->end)
		qsort(q->items, q->end, sizeof(*q->items), by_seq);
	return ret;
}

static bool is_kept(const struct quarantine *q, uint64_t seq)
{
	const struct quarantine_item key = { .seq = seq };

	return q->end > q->first &&
	       bsearch(&key, q->items + q->first, q->end - q->first, sizeof(key), by_seq);
}

/* Counts lines and looks for numbers already given out, so that none is used
 * twice even if its item is gone. A damaged line can only raise next_seq. */
static void scan_index(struct quarantine *q, const char *text, size_t len)
{
	const char *p = text, *end = text + len;

	while (p < end) {
		const char *stop = memchr(p, '\n', (size_t)(end - p));
		uint64_t seq = parse_seq(p, '\t');

		if (seq >= q->next_seq && seq < SEQ_MAX)
			q->next_seq = seq + 1;
		q->lines++;
		p = stop ? stop + 1 : end;
	}
}

/* Rewrites the index with the lines of kept items only. */
static int compact_index(struct quarantine *q, char *text, size_t len)
{
	char *p = text, *end = text + len, *out = text;
	uint64_t lines = 0;
	int ret;

	while (p < end) {
		char *stop = memchr(p, '\n', (size_t)(end - p));
		size_t n = stop ? (size_t)(stop + 1 - p) : (size_t)(end - p);

		if (stop && is_kept(q, parse_seq(p, '\t'))) {
			memmove(out, p, n);
			out += n;
			lines++;
		}
		p += n;
	}
	ret = io_replace_file(q->dirfd, INDEX, text, (size_t)(out - text), 0600);
	if (!ret)
		q->lines = lines;
	return ret;
}

static bool index_is_long(const struct quarantine *q)
{
	return q->lines > 2 * (q->end - q->first) + INDEX_SLACK;
}

/* A failure leaves the long index as it is: not worth more than a line. */
static void trim_index(struct quarantine *q)
{
	CLEANUP_FREE char *text = NULL;
	size_t len;
	int ret;

	if (!index_is_long(q))
		return;
	ret = io_read_file(q->dirfd, INDEX, INDEX_MAX, &text, &len);
	if (!ret)
		ret = compact_index(q, text, len);
	if (ret && ret != -ENOENT)
		log_err(ret, "quarantine: cannot shorten %s", INDEX);
}

static int load_index(struct quarantine *q)
{
	CLEANUP_FREE char *text = NULL;
	size_t len;
	int ret = io_read_file(q->dirfd, INDEX, INDEX_MAX, &text, &len);

	if (ret == -ENOENT)
		return 0;
	if (ret)
		return ret;
	scan_index(q, text, len);
	/* a last line cut short by a crash must not swallow the next one */
	if (len && text[len - 1] != '\n')
		return compact_index(q, text, len);
	return 0;
}

static int open_dir(int dotfd)
{
	int ret = mkdirat(dotfd, DIR_NAME, 0700) < 0 ? -errno : io_fsync_dir(dotfd);
	int fd;

	if (ret && ret != -EEXIST)
		return ret;
	fd = openat(dotfd, DIR_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int quarantine_open(struct quarantine *q, int dotfd, uint64_t limit)
{
	int ret;

	*q = (struct quarantine){ .limit = limit, .next_seq = 1 };
	q->dirfd = open_dir(dotfd);
	if (q->dirfd < 0)
		return q->dirfd;
	pthread_mutex_init(&q->lock, NULL);
	ret = scan_items(q);
	if (!ret) {
		ret = load_index(q);
		if (ret == -EFBIG || ret == -EIO) { /* the items count, not the notes */
			log_err(ret, "quarantine: cannot read %s; its notes are lost", INDEX);
			ret = 0;
		}
	}
	if (ret)
		quarantine_close(q);
	return ret;
}

void quarantine_close(struct quarantine *q)
{
	if (q->dirfd < 0)
		return;
	close(q->dirfd);
	q->dirfd = -1;
	free(q->items);
	q->items = NULL;
	q->first = q->end = q->cap = 0;
	pthread_mutex_destroy(&q->lock);
}

static int evict_oldest(struct quarantine *q)
{
	struct quarantine_item *it = &q->items[q->first];
	char name[ITEM_NAME];
	int ret;

	name_of(it, name);
	ret = io_remove_tree(q->dirfd, name);
	if (ret)
		return log_err(ret, "quarantine: cannot remove the oldest item %s", name);
	log_warn("quarantine: removed the oldest item %s (%" PRIu64 " bytes) to stay "
		 "within %" PRIu64 " bytes", name, it->bytes, q->limit);
	q->used -= it->bytes;
	q->first++;
	return 0;
}

static int make_room(struct quarantine *q, uint64_t bytes)
{
	int ret = 0;

	if (bytes > q->limit)
		return -EFBIG;
	while (!ret && q->used > q->limit - bytes && q->first < q->end)
		ret = evict_oldest(q);
	return ret;
}

static void put_field(FILE *f, const char *s)
{
	char text[4 * PATH_MAX + 1];

	event_escape(s && *s ? s : "-", text, sizeof(text));
	fprintf(f, "\t%s", text);
}

static int format_line(const struct quarantine_item *it, const struct quarantine_note *note,
		       char **line, size_t *len)
{
	time_t now = time(NULL);
	char when[40];
	struct tm tm;
	FILE *f = open_memstream(line, len);

	if (!f)
		return -errno;
	localtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S%z", &tm);
	fprintf(f, "%" PRIu64 "\t%s\t%s\t%" PRIu64, it->seq, when, it->kind, it->bytes);
	put_field(f, note->member);
	put_field(f, note->path);
	if (note->len)
		fprintf(f, "\t%" PRIu64 "+%" PRIu64, note->off, note->len);
	else
		fputs("\t-", f);
	put_field(f, note->reason);
	fputc('\n', f);
	return fclose(f) ? -ENOMEM : 0;
}

static int append_index(struct quarantine *q, const char *line, size_t len)
{
	CLEANUP_CLOSE int fd = -1;
	struct stat st;
	int ret;

	fd = openat(q->dirfd, INDEX, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	ret = io_pwrite_full(fd, line, len, st.st_size, NULL);
	if (!ret && fsync(fd) < 0)
		ret = -errno;
	if (ret && ftruncate(fd, st.st_size) < 0)
		log_err(-errno, "quarantine: cannot cut a half-written line of %s", INDEX);
	if (!ret)
		q->lines++;
	return ret;
}

static int note_item(struct quarantine *q, const struct quarantine_item *it,
		     const struct quarantine_note *note)
{
	CLEANUP_FREE char *line = NULL;
	size_t len;
	int ret = format_line(it, note, &line, &len);

	return ret ? ret : append_index(q, line, len);
}

static int write_item(int dirfd, const char *name, const void *buf, size_t len)
{
	CLEANUP_CLOSE int fd = -1;
	int ret;

	fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	ret = io_pwrite_full(fd, buf, len, 0, NULL);
	if (!ret && fsync(fd) < 0)
		ret = -errno;
	if (ret)
		unlinkat(dirfd, name, 0);
	return ret;
}

static int keep_bytes(struct quarantine *q, const struct quarantine_note *note,
		      const void *buf, size_t len)
{
	struct quarantine_item it = { q->next_seq, len, "bytes" };
	char name[ITEM_NAME];
	int ret = make_room(q, len);

	if (ret)
		return ret;
	name_of(&it, name);
	ret = write_item(q->dirfd, name, buf, len);
	if (ret)
		return ret;
	ret = note_item(q, &it, note);
	if (!ret)
		ret = io_fsync_dir(q->dirfd);
	if (!ret)
		ret = push_item(q, &it);
	if (ret) {
		unlinkat(q->dirfd, name, 0);
		return ret;
	}
	trim_index(q);
	return 0;
}

int quarantine_bytes(struct quarantine *q, const struct quarantine_note *note,
		     const void *buf, size_t len)
{
	int ret;

	pthread_mutex_lock(&q->lock);
	ret = keep_bytes(q, note, buf, len);
	pthread_mutex_unlock(&q->lock);
	return ret;
}

static int sync_both(int a, int b)
{
	int ret = io_fsync_dir(a);

	return ret ? ret : io_fsync_dir(b);
}

/* Once the object has moved it is safe here; a note that cannot be written is
 * reported with all it would have said, and is no failure. */
static void note_moved(struct quarantine *q, const struct quarantine_item *it,
		       const struct quarantine_note *note)
{
	int ret = note_item(q, it, note);

	if (ret)
		log_err(ret, "quarantine: no index line for item %" PRIu64 " (%s of %s: %s)",
			it->seq, note->path, note->member, note->reason);
}

static int move_in(struct quarantine *q, const struct quarantine_note *note,
		   int parentfd, const char *name)
{
	struct quarantine_item it = { .seq = q->next_seq };
	char item[ITEM_NAME];
	struct stat st;
	int ret;

	if (fstatat(parentfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	snprintf(it.kind, sizeof(it.kind), "%s", kind_of(st.st_mode));
	it.bytes = weight_of(&st);
	ret = make_room(q, it.bytes);
	if (ret)
		return ret;
	/* the list first: memory may fail, and it is easier to take back */
	ret = push_item(q, &it);
	if (ret)
		return ret;
	name_of(&it, item);
	if (renameat(parentfd, name, q->dirfd, item) < 0) {
		ret = -errno;
		q->end--;
		q->used -= it.bytes;
		return ret;
	}
	note_moved(q, &it, note);
	ret = sync_both(q->dirfd, parentfd);
	trim_index(q);
	return ret;
}

int quarantine_move(struct quarantine *q, const struct quarantine_note *note,
		    int parentfd, const char *name)
{
	int ret;

	pthread_mutex_lock(&q->lock);
	ret = move_in(q, note, parentfd, name);
	pthread_mutex_unlock(&q->lock);
	return ret;
}

uint64_t quarantine_count(struct quarantine *q)
{
	uint64_t n;

	pthread_mutex_lock(&q->lock);
	n = q->end - q->first;
	pthread_mutex_unlock(&q->lock);
	return n;
}
