// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Model-checking I/O exerciser: several files, each with a model in memory
 * (its bytes and size), several handles a file (buffered, read-only, append,
 * O_DIRECT, shared and private mappings), random operations with sizes near
 * the edges of 4 KiB, 64 KiB and 2 MiB. Whatever is read is compared with the
 * model; the first difference ends the run with the seed, the operation's
 * number and the last operations of that file. One thread, no locks.
 */
#include "io.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

static const int handle_flags[H_NR] = {
	[H_RW] = O_RDWR,
	[H_RW2] = O_RDWR,
	[H_RD] = O_RDONLY,
	[H_APPEND] = O_RDWR | O_APPEND,
	[H_DIRECT] = O_RDWR | O_DIRECT,
};

struct io_run io_run = { .ops = 5000, .nfiles = 4, .max = 3 << 20, .limit = 1e9 };

void io_note_unsup(const char *what)
{
	static const char *seen[16];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(seen) && seen[i]; i++)
		if (!strcmp(seen[i], what))
			return;
	if (i < ARRAY_SIZE(seen))
		seen[i] = what;
	printf("unsup %s: %s\n", what, strerror(errno));
}

/* --- faults ----------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) void io_log(struct model *f, const char *fmt, ...)
{
	char *line = f->log[f->logged++ % LOG_LINES];
	int n = snprintf(line, LOG_LEN, "%6ld %s size %zu: ", io_run.op, f->direct ? "dir" : "buf",
			 f->size);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line + n, LOG_LEN - (size_t)n, fmt, ap);
	va_end(ap);
}

__attribute__((format(printf, 2, 3))) _Noreturn void io_fault(struct model *f, const char *fmt, ...)
{
	unsigned long i = f->logged > LOG_LINES ? f->logged - LOG_LINES : 0;
	int err = errno;
	va_list ap;

	printf("FAULT io: seed %llu op %ld file %s/%s%s size %zu: ",
	       (unsigned long long)io_run.seed, io_run.op, io_run.dir, f->name,
	       f->linked ? "" : " (unlinked)", f->size);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(" (errno %s)\nlast operations of this file:\n", strerror(err));
	for (; i < f->logged; i++)
		printf("  %s\n", f->log[i % LOG_LINES]);
	printf("replay: io -s %llu -n %ld -f %d -m %zu DIR\n", (unsigned long long)io_run.seed,
	       io_run.op + 1, io_run.nfiles, io_run.max);
	fflush(stdout);
	_exit(EXERCISE_FAULT);
}

static void on_sigbus(int sig)
{
	(void)sig;
	io_fault(io_run.now, "SIGBUS in a mapping");
}

static void print_bytes(const char *label, const unsigned char *p, size_t n)
{
	printf("  %s", label);
	for (size_t i = 0; i < n; i++)
		printf("%s%02x", i % 8 ? "" : " ", p[i]);
	putchar('\n');
}

/* Compares `len` bytes that stand at `off`; the model is zero past its size. */
void io_check(struct model *f, size_t off, const unsigned char *got, size_t len, const char *how)
{
	const unsigned char *want = f->data + off;
	size_t first = 0, last = len, wrong = 0, n;

	if (!memcmp(want, got, len))
		return;
	while (want[first] == got[first])
		first++;
	while (want[last - 1] == got[last - 1])
		last--;
	for (size_t i = first; i < last; i++)
		wrong += want[i] != got[i];
	n = len - first < 32 ? len - first : 32;
	print_bytes("expected", want + first, n);
	print_bytes("got     ", got + first, n);
	errno = 0;
	io_fault(f, "%s differs: first at %zu, last at %zu, %zu bytes wrong", how, off + first,
		 off + last - 1, wrong);
}

/* --- choices ---------------------------------------------------------- */

size_t io_rnd(size_t n)
{
	return rng_below(&io_run.rng, n);
}

/* A number in [0, limit], mostly next to an edge the filesystem cares for. */
static size_t pick_near_edge(size_t limit)
{
	static const size_t edge[] = { PAGE, PAGE, PAGE, 65536, 65536, 2 << 20 };
	size_t e = edge[io_rnd(ARRAY_SIZE(edge))];
	size_t at = e * io_rnd(limit / e + 2);
	size_t wobble = io_rnd(3) ? 0 : io_rnd(5);

	at += wobble;
	at = io_rnd(2) && at >= 3 ? at - 3 : at;
	return at > limit ? limit : at;
}

size_t io_pick_offset(const struct model *f)
{
	switch (io_rnd(6)) {
	case 0:
		return f->size;
	case 1:
		return io_rnd(f->size + 1);
	case 2:
		return io_rnd(f->cap);
	default:
		return pick_near_edge(f->cap - 1);
	}
}

size_t io_pick_length(size_t limit)
{
	static const size_t scale[] = { 16, 600, PAGE, 3 * PAGE, 65536, 200000, 2200000 };
	size_t n;

	if (!limit)
		return 0;
	n = io_rnd(3) ? 1 + io_rnd(scale[io_rnd(ARRAY_SIZE(scale))]) : pick_near_edge(limit);
	return n > limit ? limit : n ? n : 1;
}

static void pick_cap(struct model *f)
{
	static const size_t cap[] = { 100, 5000, 65536, 65539, 70000, 200000 };
	size_t i = io_rnd(ARRAY_SIZE(cap) + 3);

	f->cap = i < ARRAY_SIZE(cap) && cap[i] < io_run.max ? cap[i] : io_run.max;
}

/* Bytes that name their writer: operation number and place, or a plain io_run. */
void io_fill(unsigned char *buf, size_t off, size_t len)
{
	size_t style = io_rnd(10);

	if (style < 2) {
		memset(buf, style ? (int)io_rnd(256) : 0, len);
		return;
	}
	for (size_t i = 0; i < len; i++) {
		uint64_t cell = (uint64_t)io_run.op << 40 | (off + i) / 8;

		buf[i] = (unsigned char)(cell >> (8 * (7 - (off + i) % 8)));
	}
}

/* --- the model -------------------------------------------------------- */

void io_model_write(struct model *f, size_t off, const unsigned char *src, size_t len)
{
	memcpy(f->data + off, src, len);
	if (len && off + len > f->size)
		f->size = off + len;
}

void io_model_resize(struct model *f, size_t size)
{
	if (size < f->size)
		memset(f->data + size, 0, f->size - size);
	f->size = size;
}

/* --- handles ---------------------------------------------------------- */

static int any_fd(const struct model *f)
{
	for (int i = 0; i < H_NR; i++)
		if (f->fd[i] >= 0)
			return f->fd[i];
	return -1;
}

int io_open_handle(struct model *f, int flags)
{
	char proc[40];

	if (f->linked)
		return openat(io_run.dirfd, f->name, flags | O_CLOEXEC);
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", any_fd(f));
	return open(proc, flags | O_CLOEXEC);
}

/* Opens the handle if need be; -1 only for O_DIRECT on a filesystem without. */
int io_get_fd(struct model *f, enum handle h)
{
	if (f->fd[h] >= 0)
		return f->fd[h];
	if (h == H_DIRECT && io_run.no_direct)
		return -1;
	f->fd[h] = io_open_handle(f, handle_flags[h]);
	if (f->fd[h] < 0 && h == H_DIRECT && errno == EINVAL) {
		io_run.no_direct = true;
		io_note_unsup("o_direct");
	} else if (f->fd[h] < 0) {
		io_fault(f, "open with flags %#x", handle_flags[h]);
	}
	return f->fd[h];
}

void io_close_fd(struct model *f, enum handle h)
{
	if (f->fd[h] >= 0 && close(f->fd[h]) < 0)
		io_fault(f, "close");
	f->fd[h] = -1;
}

void io_drop_map(struct model *f)
{
	if (f->map && munmap(f->map, io_run.max) < 0)
		io_fault(f, "munmap");
	f->map = NULL;
}

void io_set_mode(struct model *f, bool direct)
{
	int fd;

	if (f->direct == direct)
		return;
	io_drop_map(f);
	fd = io_get_fd(f, H_RW);
	if (fsync(fd) < 0)
		io_fault(f, "fsync before a change of mode");
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	f->direct = direct;
}

int io_get_buffered(struct model *f)
{
	io_set_mode(f, false);
	return io_get_fd(f, (enum handle)io_rnd(H_DIRECT));
}

int io_get_writable(struct model *f)
{
	io_set_mode(f, false);
	return io_get_fd(f, io_rnd(2) ? H_RW : H_RW2);
}

int io_get_direct(struct model *f)
{
	int fd = io_get_fd(f, H_DIRECT);

	if (fd >= 0)
		io_set_mode(f, true);
	return fd;
}

void io_close_all(struct model *f)
{
	io_drop_map(f);
	for (int i = 0; i < H_NR; i++)
		io_close_fd(f, (enum handle)i);
	f->direct = false;
}

void io_new_name(struct model *f)
{
	int index = (int)(f - io_run.files);

	f->generation++;
	snprintf(f->name, sizeof(f->name), "io%d.%u", index, f->generation);
}

void io_create(struct model *f)
{
	io_new_name(f);
	io_model_resize(f, 0);
	pick_cap(f);
	f->fd[H_RW] = openat(io_run.dirfd, f->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (f->fd[H_RW] < 0)
		io_fault(f, "create");
	f->linked = true;
	io_log(f, "create %s, cap %zu", f->name, f->cap);
}

/* --- the run ---------------------------------------------------------- */

static void start_files(void)
{
	io_run.files = must_alloc((size_t)io_run.nfiles * sizeof(*io_run.files));
	for (int i = 0; i < io_run.nfiles; i++) {
		struct model *f = &io_run.files[i];

		io_run.now = f;
		f->data = must_alloc(io_run.max + PAGE);
		for (int h = 0; h < H_NR; h++)
			f->fd[h] = -1;
		io_create(f);
	}
}

/* The last word: synced, dropped from the cache, read through a new handle. */
static void finish_file(struct model *f)
{
	int fd;

	io_run.now = f;
	io_set_mode(f, false);
	io_drop_map(f);
	fd = io_get_fd(f, H_RW);
	io_verify_whole(f, fd, "final verify through the cache");
	if (fsync(fd) < 0)
		io_fault(f, "final fsync");
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	io_verify_whole(f, io_get_fd(f, H_RD), "final verify");
	io_close_all(f);
	free(f->data);
}

static int usage(void)
{
	fprintf(stderr,
		"usage: io [-s SEED] [-n OPS] [-f FILES] [-m MAX] [-t SECONDS] [-w] DIR\n"
		"DIR must hold no files of an earlier run (io0.1 and so on)\n"
		"-w syncs before it asks for holes, as FUSE with its writeback cache needs\n");
	return EXERCISE_TROUBLE;
}

static bool parse(int argc, char **argv)
{
	int c;

	io_run.seed = seed_default();
	while ((c = getopt(argc, argv, "s:n:f:m:t:w")) != -1) {
		if (c == 's')
			io_run.seed = strtoull(optarg, NULL, 0);
		else if (c == 'n')
			io_run.ops = strtol(optarg, NULL, 0);
		else if (c == 'f')
			io_run.nfiles = atoi(optarg);
		else if (c == 'm')
			io_run.max = strtoull(optarg, NULL, 0);
		else if (c == 'w')
			io_run.sync_first = true;
		else if (c == 't')
			io_run.limit = strtod(optarg, NULL);
		else
			return false;
	}
	io_run.max = (io_run.max + PAGE - 1) & ~(size_t)(PAGE - 1);
	return optind + 1 == argc && io_run.nfiles > 0 && io_run.max > 0 && io_run.ops > 0;
}

int main(int argc, char **argv)
{
	double end;

	if (!parse(argc, argv))
		return usage();
	setvbuf(stdout, NULL, _IOLBF, 0);
	end = seconds_now() + io_run.limit;
	io_run.dir = argv[optind];
	io_run.rng = io_run.seed;
	io_run.dirfd = open(io_run.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (io_run.dirfd < 0)
		die_errno("open", io_run.dir);
	if (posix_memalign((void **)&io_run.buf, PAGE, io_run.max + PAGE))
		die_errno("posix_memalign", "buffer");
	signal(SIGBUS, on_sigbus);
	start_files();
	for (io_run.op = 1; io_run.op <= io_run.ops && seconds_now() < end; io_run.op++) {
		io_run.now = &io_run.files[io_rnd((size_t)io_run.nfiles)];
		io_step(io_run.now);
	}
	for (int i = 0; i < io_run.nfiles; i++)
		finish_file(&io_run.files[i]);
	printf("ok io: seed %llu, %ld operations on %d files\n", (unsigned long long)io_run.seed,
	       io_run.op - 1, io_run.nfiles);
	return 0;
}
