/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests to the simulated disks: first through the gate, where they wait and
 * fail as told, then carried out, counted and logged.
 */
#include "tests/disk/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/base/log.h"
#include "tests/disk/image.h"

#define POLL_MS 100 /* a waiting request looks so often whether all is over */

struct machine machine = {
	.dirfd = -1,
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.fault_lock = PTHREAD_MUTEX_INITIALIZER,
	.trace = { .fd = -1, .data_fd = -1 },
};

int machine_init(const char *dir)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&machine.fault_changed, &attr);
	pthread_condattr_destroy(&attr);
	machine.dirfd = open(dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	return machine.dirfd < 0 ? log_err(-errno, "open %s", dir) : 0;
}

/* NAME=SIZE, SIZE with K, M or G. */
static int parse_spec(const char *spec, struct disk *d)
{
	static const char units[] = "KMG", allowed[] = "abcdefghijklmnopqrstuvwxyz"
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
	const char *equals = strchr(spec, '=');
	size_t len = equals ? (size_t)(equals - spec) : 0;
	char *end;

	if (len == 0 || len >= sizeof(d->name) || strspn(spec, allowed) != len)
		return -EINVAL;
	memcpy(d->name, spec, len);
	d->name[len] = '\0';
	d->size = strtoull(equals + 1, &end, 10);
	if (*end && strchr(units, *end))
		d->size <<= 10 * (strchr(units, *end++) - units + 1);
	return *end || d->size == 0 || d->size % SECTOR_SIZE ? -EINVAL : 0;
}

int machine_add(const char *spec)
{
	struct disk d = { .index = machine.n_disks, .fd = -1 };
	char path[TRACE_NAME_SIZE + 8];
	struct stat st;

	if (machine.n_disks == TRACE_MAX_DISKS)
		return log_err(-ENOSPC, "disk %s", spec);
	if (parse_spec(spec, &d) || machine_find(d.name) || !strcmp(d.name, "ctl") ||
	    !strcmp(d.name, "seq") || !strcmp(d.name, "stats"))
		return log_err(-EINVAL, "disk %s", spec);
	snprintf(path, sizeof(path), "%s.cur", d.name);
	d.fd = openat(machine.dirfd, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (d.fd < 0 || fstat(d.fd, &st))
		return log_err(-errno, "open %s", path);
	if ((uint64_t)st.st_size > d.size)
		return log_err(-EFBIG, "%s is larger than %s", path, spec);
	if (ftruncate(d.fd, (off_t)d.size))
		return log_err(-errno, "truncate %s", path);
	machine.disk[machine.n_disks++] = d;
	return 0;
}

struct disk *machine_find(const char *name)
{
	unsigned i;

	for (i = 0; i < machine.n_disks; i++)
		if (!strcmp(machine.disk[i].name, name))
			return &machine.disk[i];
	return NULL;
}

/* --- the gate ------------------------------------------------------------- */

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void wait_for_change(uint64_t ms)
{
	uint64_t until = now_ms() + (ms < POLL_MS ? ms : POLL_MS);
	struct timespec ts = {
		.tv_sec = (time_t)(until / 1000),
		.tv_nsec = (long)(until % 1000) * 1000000,
	};

	pthread_cond_timedwait(&machine.fault_changed, &machine.fault_lock, &ts);
}

static int find_rule(struct disk *d, enum disk_op op, uint64_t off, uint64_t len)
{
	struct rule *r;

	for (r = d->rule; r < d->rule + d->n_rules; r++) {
		if (!(r->ops & 1U << op) || !r->count)
			continue;
		if (op != DISK_SYNC && (off >= r->end || off + len <= r->off))
			continue;
		if (r->skip) {
			r->skip--;
			continue;
		}
		r->count--;
		return r->error;
	}
	return 0;
}

/* Delay, hang and errors. The faults may change while a request waits. */
static int gate(struct disk *d, enum disk_op op, uint64_t off, uint64_t len, bool *lie)
{
	uint64_t start = now_ms(), waited;
	int err;

	pthread_mutex_lock(&machine.fault_lock);
	while (!machine.over()) {
		waited = now_ms() - start;
		if (d->hang)
			wait_for_change(POLL_MS);
		else if (waited < d->delay_ms[op])
			wait_for_change(d->delay_ms[op] - waited);
		else
			break;
	}
	err = find_rule(d, op, off, len);
	if (lie)
		*lie = d->lie;
	pthread_mutex_unlock(&machine.fault_lock);
	if (!err)
		return 0;
	pthread_mutex_lock(&machine.lock);
	d->failed++;
	pthread_mutex_unlock(&machine.lock);
	return err;
}

/* --- requests ------------------------------------------------------------- */

ssize_t disk_read(struct disk *d, void *buf, size_t len, uint64_t off)
{
	int err;

	if (off >= d->size)
		return 0;
	if (len > d->size - off)
		len = d->size - off;
	err = gate(d, DISK_READ, off, len, NULL);
	if (err)
		return err;
	pthread_mutex_lock(&machine.lock);
	d->done[DISK_READ]++;
	pthread_mutex_unlock(&machine.lock);
	return io_pread_full(d->fd, buf, len, (off_t)off);
}

/* Keeps NAME.cur sparse. */
static int write_current(struct disk *d, const void *buf, size_t len, uint64_t off, bool zero)
{
	if (zero && fallocate(d->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
			      (off_t)len) == 0)
		return 0;
	return io_pwrite_full(d->fd, buf, len, (off_t)off, NULL);
}

static int complete(struct disk *d, enum disk_op op, struct trace_entry *e, const void *data)
{
	int err;

	e->seq = machine.seq + 1;
	e->disk = (uint8_t)d->index;
	err = trace_append(&machine.trace, e, data);
	if (err)
		return log_err(err, "append to the request log");
	machine.seq++;
	d->done[op]++;
	return 0;
}

int disk_write(struct disk *d, const void *buf, size_t len, uint64_t off)
{
	bool zero = all_zero(buf, len);
	struct trace_entry e = {
		.op = zero ? TRACE_ZERO : TRACE_WRITE,
		.off = off,
		.len = (uint32_t)len,
	};
	int err;

	if (off > d->size || len > d->size - off)
		return -ENOSPC;
	if (off % SECTOR_SIZE || len % SECTOR_SIZE)
		return -EINVAL;
	err = gate(d, DISK_WRITE, off, len, NULL);
	if (err)
		return err;
	pthread_mutex_lock(&machine.lock);
	err = write_current(d, buf, len, off, zero);
	if (err)
		log_err(err, "write %s", d->name);
	else
		err = complete(d, DISK_WRITE, &e, zero ? NULL : buf);
	if (!err)
		d->written += len;
	pthread_mutex_unlock(&machine.lock);
	return err;
}

int disk_flush(struct disk *d)
{
	struct trace_entry e = { .off = machine_seq() };
	bool lie;
	int err = gate(d, DISK_SYNC, 0, 0, &lie);

	if (err)
		return err;
	e.op = lie ? TRACE_LIE : TRACE_FLUSH;
	pthread_mutex_lock(&machine.lock);
	err = complete(d, DISK_SYNC, &e, NULL);
	pthread_mutex_unlock(&machine.lock);
	return err;
}

/* --- recording ------------------------------------------------------------ */

static int copy_base(const struct disk *d)
{
	char path[TRACE_NAME_SIZE + 8];
	CLEANUP_CLOSE int fd = -1;
	int err;

	snprintf(path, sizeof(path), "%s.base", d->name);
	if (unlinkat(machine.dirfd, path, 0) && errno != ENOENT)
		return log_err(-errno, "unlink %s", path);
	fd = openat(machine.dirfd, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return log_err(-errno, "create %s", path);
	err = image_copy(d->fd, fd, d->size);
	return err ? log_err(err, "copy to %s", path) : 0;
}

static int record_locked(void)
{
	struct trace_header header = { .n_disks = machine.n_disks, .first = machine.seq };
	unsigned i;
	int err = 0;

	trace_close(&machine.trace);
	for (i = 0; i < machine.n_disks && !err; i++) {
		memcpy(header.disk[i].name, machine.disk[i].name, TRACE_NAME_SIZE);
		header.disk[i].size = machine.disk[i].size;
		err = copy_base(&machine.disk[i]);
	}
	if (err)
		return err;
	err = trace_create(&machine.trace, machine.dirfd, &header);
	return err ? log_err(err, "create the request log") : 0;
}

int machine_record(void)
{
	int err;

	pthread_mutex_lock(&machine.lock);
	err = record_locked();
	pthread_mutex_unlock(&machine.lock);
	return err;
}

void machine_stop(void)
{
	pthread_mutex_lock(&machine.lock);
	trace_close(&machine.trace);
	pthread_mutex_unlock(&machine.lock);
}

uint64_t machine_seq(void)
{
	uint64_t seq;

	pthread_mutex_lock(&machine.lock);
	seq = machine.seq;
	pthread_mutex_unlock(&machine.lock);
	return seq;
}

/* The log does not change up to this instant any more: no need to hold it. */
int machine_snap(const char *outdir, uint64_t seed, unsigned percent, unsigned torn)
{
	struct cut cut = { .seed = seed, .percent = percent, .torn_percent = torn };
	char *all[] = { NULL };
	bool recording;

	pthread_mutex_lock(&machine.lock);
	recording = machine.trace.fd >= 0;
	cut.at = machine.seq;
	pthread_mutex_unlock(&machine.lock);
	if (!recording)
		return log_err(-EINVAL, "snap %s: not recording", outdir);
	return image_cut(machine.dirfd, outdir, &cut, all);
}

int machine_mark(const char *text)
{
	struct trace_entry e = { .op = TRACE_MARK, .len = (uint32_t)strlen(text) };
	int err;

	pthread_mutex_lock(&machine.lock);
	e.seq = machine.seq;
	err = machine.trace.fd >= 0 ? trace_append(&machine.trace, &e, text) : -EINVAL;
	pthread_mutex_unlock(&machine.lock);
	return err ? log_err(err, "mark %s", text) : 0;
}
