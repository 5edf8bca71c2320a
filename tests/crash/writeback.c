/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Plays the part of the kernel's writeback, which may write any dirty page of a
 * mirror at any time: a thread that starts the writing of a random file of a
 * random mirror every millisecond or two: user's files, journal, leaf hashes.
 * No flush of the disk is asked for.
 */
#include "tests/crash/load.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/exercise/common.h"

#define MAX_DEPTH 4

static struct {
	const char *mirror[16];
	unsigned n;
	uint64_t rng;
	pthread_t thread;
	_Atomic bool stop;
} wb;

/* One of the entries of a directory, or "" */
static void pick_entry(DIR *d, char *name, size_t size)
{
	struct dirent *e;
	unsigned n = 0;

	*name = '\0';
	while ((e = readdir(d)))
		if (*e->d_name != '.' && rng_one_in(&wb.rng, ++n))
			snprintf(name, size, "%s", e->d_name);
}

/* Follows random entries of directories down to a file. -1: there is none. */
static int random_file(int fd)
{
	char name[256];
	struct stat st;
	int next;
	DIR *d;

	for (int depth = 0; fd >= 0 && depth < MAX_DEPTH; depth++) {
		if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
			return fd;
		d = fdopendir(fd);
		if (!d)
			break;
		pick_entry(d, name, sizeof(name));
		next = *name ? openat(fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
		closedir(d);
		fd = next;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

static void write_back_one(void)
{
	uint64_t kind = rng_below(&wb.rng, 16);
	const char *start = kind == 0 ? ".mirrorfs/journal" : kind == 1 ? ".mirrorfs/hashes" : "";
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", wb.mirror[rng_below(&wb.rng, wb.n)], start);
	fd = random_file(open(path, O_RDONLY | O_CLOEXEC));
	if (fd < 0)
		return;
	sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	close(fd);
}

static void *write_back(void *arg)
{
	(void)arg;
	while (!atomic_load(&wb.stop)) {
		usleep((useconds_t)rng_below(&wb.rng, 2000));
		write_back_one();
	}
	return NULL;
}

void writeback_add(const char *mirror)
{
	if (wb.n < ARRAY_SIZE(wb.mirror))
		wb.mirror[wb.n++] = mirror;
}

int writeback_start(uint64_t seed)
{
	wb.rng = seed;
	return wb.n ? pthread_create(&wb.thread, NULL, write_back, NULL) : 0;
}

void writeback_stop(void)
{
	atomic_store(&wb.stop, true);
	if (wb.n)
		pthread_join(wb.thread, NULL);
}
