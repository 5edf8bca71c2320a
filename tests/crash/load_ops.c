/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The operations of the load. Each draws its arguments from its worker's
 * generator, is logged with what it returned, and keeps the worker's idea of
 * the file's size.
 */
#include "tests/crash/load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "tests/exercise/common.h"

/* ---- the log ---- */

static uint64_t disk_seq(void)
{
	char text[32];
	ssize_t n;

	if (load.seq < 0)
		return 0;
	n = pread(load.seq, text, sizeof(text) - 1, 0);
	if (n <= 0) {
		perror("load: reading the number of requests");
		_exit(EXERCISE_TROUBLE);
	}
	text[n] = '\0';
	return strtoull(text, NULL, 10);
}

static struct op op_begin(const struct worker *w, char kind, uint64_t file)
{
	struct op op = { .kind = kind, .thread = w->index, .file = file };

	op.seq0 = disk_seq();
	op.id = atomic_fetch_add(&load.ticket, 1);
	if (kind == OP_CREATE)
		op.file = op.id;
	return op;
}

static int op_end(struct op *op, int result)
{
	op->result = result;
	op->seq1 = disk_seq();
	op->end = atomic_fetch_add(&load.ticket, 1);
	pthread_mutex_lock(&load.lock);
	oplog_write(load.log, op);
	pthread_mutex_unlock(&load.lock);
	return result;
}

/* ---- system calls ---- */

static int status(int r)
{
	return r < 0 ? -errno : 0;
}

static int slot_open(struct slot *s)
{
	if (s->fd < 0)
		s->fd = openat(load.root, s->name, O_RDWR | O_CLOEXEC);
	return s->fd < 0 ? -errno : 0;
}

void load_close(struct slot *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static int write_all(int fd, const uint8_t *buf, size_t len, uint64_t off, int flags)
{
	while (len) {
		struct iovec iov = { (void *)(uintptr_t)buf, len };
		ssize_t n = pwritev2(fd, &iov, 1, (off_t)off, flags);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		buf += n;
		off += (size_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int do_write_as(struct worker *w, struct slot *s, char kind, uint64_t off, size_t len)
{
	int flags = kind == OP_DSYNC ? RWF_DSYNC : 0, r;
	struct op op;

	op = op_begin(w, kind, s->file);
	op.off = off;
	op.len = len;
	if (kind == OP_ZERO)
		memset(w->buf, 0, len);
	else
		content_fill(w->buf, s->file, op.id, off, len);
	r = op_end(&op, write_all(s->fd, w->buf, len, off, flags));
	if (r == 0 && off + len > s->size)
		s->size = off + len;
	return r;
}

static int do_write(struct worker *w, struct slot *s, uint64_t off, size_t len)
{
	return do_write_as(w, s, rng_one_in(&w->rng, 20) ? OP_ZERO : OP_WRITE, off, len);
}

static int do_truncate(struct worker *w, struct slot *s, uint64_t size)
{
	bool by_open = size == 0 && rng_one_in(&w->rng, 2);
	struct op op = op_begin(w, OP_TRUNCATE, s->file);
	int r, fd;

	op.off = size;
	if (by_open) {
		fd = openat(load.root, s->name, O_RDWR | O_TRUNC | O_CLOEXEC);
		r = status(fd);
		if (fd >= 0)
			close(fd);
	} else {
		r = status(ftruncate(s->fd, (off_t)size));
	}
	if (r == 0)
		s->size = size;
	return op_end(&op, r);
}

static int do_sync(struct worker *w, struct slot *s, char kind)
{
	struct op op = op_begin(w, kind, kind == OP_SYNCFS ? 0 : s->file);
	int r = -EINVAL;

	if (kind == OP_FSYNC)
		r = status(fsync(s->fd));
	else if (kind == OP_DATASYNC)
		r = status(fdatasync(s->fd));
	else if (kind == OP_SYNCFS)
		r = status(syncfs(load.root));
	return op_end(&op, r);
}

static int do_create(struct worker *w, struct slot *s)
{
	struct op op = op_begin(w, OP_CREATE, 0);

	snprintf(op.name, sizeof(op.name), "%s", s->name);
	s->fd = openat(load.root, s->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	s->file = op.id;
	s->size = 0;
	return op_end(&op, status(s->fd));
}

static int fill(struct worker *w, struct slot *s, uint64_t size)
{
	int r = 0;

	while (r == 0 && s->size < size)
		r = do_write(w, s, s->size, size - s->size < WRITE_MAX ? size - s->size : WRITE_MAX);
	return r;
}

/* ---- actions ---- */

static uint64_t limit_of(const struct slot *s)
{
	return s->large ? LARGE_MAX : SMALL_MAX;
}

static int run_append(struct worker *w, struct slot *s)
{
	size_t len = 1 + rng_below(&w->rng, s->large ? 64u << 10 : 9000);

	if (s->size + len > limit_of(s))
		return do_truncate(w, s, rng_below(&w->rng, s->size));
	return do_write(w, s, s->size, len);
}

static int run_overwrite(struct worker *w, struct slot *s)
{
	if (s->size < LEAF_SIZE)
		return run_append(w, s);
	return do_write(w, s, rng_below(&w->rng, s->size / LEAF_SIZE) * LEAF_SIZE, LEAF_SIZE);
}

static int run_partial(struct worker *w, struct slot *s)
{
	uint64_t off, len = 1 + rng_below(&w->rng, rng_one_in(&w->rng, 2) ? 200 : 6000);

	if (s->size < 2)
		return run_append(w, s);
	off = rng_below(&w->rng, s->size);
	if (off + len > s->size)
		len = s->size - off;
	return do_write(w, s, off, len);
}

static int run_multi(struct worker *w, struct slot *s)
{
	uint64_t off, len = 1 + rng_below(&w->rng, WRITE_MAX);

	if (s->size < 2 * LEAF_SIZE)
		return run_append(w, s);
	off = rng_below(&w->rng, s->size);
	if (rng_one_in(&w->rng, 2)) {
		off -= off % LEAF_SIZE;
		len += LEAF_SIZE - 1;
		len -= len % LEAF_SIZE;
	}
	if (off + len > limit_of(s))
		len = limit_of(s) > off ? limit_of(s) - off : 1;
	return do_write(w, s, off, len < WRITE_MAX ? len : WRITE_MAX);
}

/* Within the file: of its size a synchronous write says nothing. */
static int run_dsync(struct worker *w, struct slot *s)
{
	uint64_t off, len = 100 + rng_below(&w->rng, 5000);

	if (s->size < LEAF_SIZE)
		return run_append(w, s);
	off = rng_below(&w->rng, s->size - 100);
	return do_write_as(w, s, OP_DSYNC, off, off + len > s->size ? s->size - off : len);
}

static int run_shrink(struct worker *w, struct slot *s)
{
	uint64_t most = s->large ? s->size / 4 : s->size;

	return do_truncate(w, s, s->size - rng_below(&w->rng, most + 1));
}

static int run_grow(struct worker *w, struct slot *s)
{
	uint64_t size = s->size + 1 + rng_below(&w->rng, s->large ? 200000 : 20000);

	return size > limit_of(s) ? run_shrink(w, s) : do_truncate(w, s, size);
}

static int run_rewrite(struct worker *w, struct slot *s)
{
	uint64_t size = s->size;
	int r = do_truncate(w, s, 0);

	return r ? r : fill(w, s, s->large ? size : 1 + rng_below(&w->rng, 65536));
}

static int run_punch(struct worker *w, struct slot *s)
{
	struct op op = op_begin(w, OP_PUNCH, s->file);
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	op.off = rng_below(&w->rng, s->size + 1);
	op.len = 1 + rng_below(&w->rng, s->large ? 100000 : 10000);
	return op_end(&op, status(fallocate(s->fd, mode, (off_t)op.off, (off_t)op.len)));
}

static int run_fsync(struct worker *w, struct slot *s)
{
	return do_sync(w, s, OP_FSYNC);
}

static int run_fdatasync(struct worker *w, struct slot *s)
{
	return do_sync(w, s, OP_DATASYNC);
}

static int run_sync(struct worker *w, struct slot *s)
{
	return do_sync(w, s, OP_SYNCFS);
}

static int run_dirsync(struct worker *w, struct slot *s)
{
	struct op op = op_begin(w, OP_DIRSYNC, 0);
	char dir[16];
	int fd, r;

	(void)s;
	snprintf(dir, sizeof(dir), "w%d", w->index);
	fd = openat(load.root, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = status(fd < 0 ? fd : fsync(fd));
	if (fd >= 0)
		close(fd);
	return op_end(&op, r);
}

static int run_create(struct worker *w, struct slot *s)
{
	struct slot *new = &w->slot[w->n_slots];
	int r;

	if (w->n_created >= load.max_created || w->n_slots >= MAX_SLOTS)
		return run_overwrite(w, s);
	*new = (struct slot){ .fd = -1 };
	snprintf(new->name, sizeof(new->name), "w%d/n%u", w->index, w->n_created++);
	r = do_create(w, new);
	if (r)
		return r;
	w->n_slots++;
	r = fill(w, new, rng_below(&w->rng, 40000));
	if (r == 0 && rng_one_in(&w->rng, 2))
		r = do_sync(w, new, OP_FSYNC);
	return r;
}

/* Write a temporary file, perhaps sync it, rename it over the target. */
static int run_replace(struct worker *w, struct slot *s)
{
	struct slot temp = { .fd = -1, .large = s->large };
	struct op op;
	int r;

	snprintf(temp.name, sizeof(temp.name), "w%d/tmp%u", w->index, w->n_temps++);
	r = do_create(w, &temp);
	if (r == 0)
		r = fill(w, &temp, s->large ? s->size : 1 + rng_below(&w->rng, 60000));
	if (r == 0 && rng_one_in(&w->rng, 2))
		r = do_sync(w, &temp, OP_FSYNC);
	if (r) {
		load_close(&temp);
		return r;
	}
	op = op_begin(w, OP_RENAME, temp.file);
	memcpy(op.name, s->name, sizeof(op.name));
	r = op_end(&op, status(renameat(load.root, temp.name, load.root, s->name)));
	load_close(s);
	memcpy(temp.name, s->name, sizeof(temp.name));
	*s = temp;
	return r;
}

static void pause_ms(uint64_t ms)
{
	struct timespec ts = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };

	nanosleep(&ts, NULL);
}

static int run_pause(struct worker *w, struct slot *s)
{
	(void)s;
	pause_ms(rng_below(&w->rng, 1 + load.pause_ms / 20));
	return 0;
}

/* Long enough for what rests to be sealed. */
static int run_rest(struct worker *w, struct slot *s)
{
	(void)w;
	(void)s;
	pause_ms(load.pause_ms);
	return 0;
}

struct action load_actions[] = {
	{ "overwrite", 20, run_overwrite }, { "partial", 16, run_partial },
	{ "multi", 8, run_multi },          { "append", 8, run_append },
	{ "dsync", 3, run_dsync },          { "shrink", 4, run_shrink },
	{ "grow", 2, run_grow },            { "rewrite", 3, run_rewrite },
	{ "punch", 4, run_punch },          { "fsync", 10, run_fsync },
	{ "fdatasync", 5, run_fdatasync },  { "sync", 2, run_sync },
	{ "dirsync", 2, run_dirsync },      { "create", 4, run_create },
	{ "replace", 4, run_replace },      { "pause", 5, run_pause },
	{ "rest", 1, run_rest },
};
const size_t load_n_actions = ARRAY_SIZE(load_actions);

/* ---- for the frame ---- */

int load_prefill(struct worker *w, struct slot *s, uint64_t size)
{
	int r = do_create(w, s);

	if (r == 0)
		r = fill(w, s, size);
	return r ? r : do_sync(w, s, OP_FSYNC);
}

int load_sync_dir(struct worker *w)
{
	return run_dirsync(w, NULL);
}

int load_sync_all(struct worker *w)
{
	return do_sync(w, NULL, OP_SYNCFS);
}

static const struct action *pick(uint64_t *rng)
{
	unsigned sum = 0, at;
	size_t i;

	for (i = 0; i < load_n_actions; i++)
		sum += load_actions[i].weight;
	at = (unsigned)rng_below(rng, sum);
	for (i = 0; at >= load_actions[i].weight; i++)
		at -= load_actions[i].weight;
	return &load_actions[i];
}

int load_run_random(struct worker *w)
{
	const struct action *a = pick(&w->rng);
	struct slot *s = &w->slot[rng_below(&w->rng, w->n_slots)];
	int r = slot_open(s);

	if (r == 0)
		r = a->run(w, s);
	if (rng_one_in(&w->rng, 4))
		load_close(s);
	return r;
}
