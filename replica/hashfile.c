/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hash files. Each page says which file and which place it is of, under one
 * checksum, so a page that is stale, misplaced or rotten is told from a good
 * one. No locks: the owner of the file id keeps writers of one page apart. No
 * syncs: a checkpoint flushes the mirror as a whole.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* fallocate */
#endif

#include "replica/hashfile.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/io.h"
#include "replica/hash.h"

/*
 * Page: u64 magic in the low 16 bits and page number in the high 48, u64 file
 * id, u64 generation, u64 checksum of the page with this field zero; then the
 * leaf hashes. 48 bits of pages are more than 2^63 bytes of file.
 */
#define PAGE_MAGIC 0x4d48ULL
#define PAGE_NO_MAX ((1ULL << 48) - 1)
#define W_NUMBER 0
#define W_ID 1
#define W_GEN 2
#define W_CHECK 3
#define W_LEAVES 4
#define PAGE_WORDS (HASHFILE_PAGE / 8)

_Static_assert(W_LEAVES + HASHFILE_LEAVES == PAGE_WORDS, "a page is full");

#define NAME_BYTES 40

static void folder_of(uint64_t id, char out[NAME_BYTES])
{
	snprintf(out, NAME_BYTES, "hashes/%02x/%02x", (unsigned)(id & 0xff),
		 (unsigned)(id >> 8 & 0xff));
}

static void path_of(uint64_t id, char out[NAME_BYTES])
{
	snprintf(out, NAME_BYTES, "hashes/%02x/%02x/%016" PRIx64, (unsigned)(id & 0xff),
		 (unsigned)(id >> 8 & 0xff), id);
}

int hashfile_open(int dotfd, uint64_t id, int flags)
{
	char path[NAME_BYTES], folder[NAME_BYTES];
	int fd, ret;

	path_of(id, path);
	flags |= O_NOFOLLOW | O_CLOEXEC;
	fd = openat(dotfd, path, flags, 0600);
	if (fd >= 0)
		return fd;
	if (errno != ENOENT || !(flags & O_CREAT))
		return -errno;
	folder_of(id, folder);
	ret = io_mkdirs(dotfd, folder);
	if (ret)
		return ret;
	fd = openat(dotfd, path, flags, 0600);
	return fd < 0 ? -errno : fd;
}

static off_t offset_of(uint64_t page_no)
{
	return (off_t)(page_no * HASHFILE_PAGE);
}

/* Never begins with a zero byte: the start of a page cut short is no hole. */
static uint64_t first_word(uint64_t page_no)
{
	return page_no << 16 | PAGE_MAGIC;
}

static uint64_t check_of(const uint64_t *words)
{
	uint64_t copy[PAGE_WORDS];

	memcpy(copy, words, sizeof(copy));
	copy[W_CHECK] = 0;
	return hash_bytes(copy, sizeof(copy), PAGE_MAGIC);
}

int hashfile_read(int fd, uint64_t id, uint64_t page_no, struct hash_page *p)
{
	uint64_t words[PAGE_WORDS] = { 0 };
	ssize_t n;
	int i;

	if (page_no > PAGE_NO_MAX)
		return -EINVAL;
	n = io_pread_full(fd, words, sizeof(words), offset_of(page_no));
	if (n < 0)
		return (int)n;
	if (hash_is_zero(words, sizeof(words))) {
		memset(p, 0, sizeof(*p));
		return 0;
	}
	if (le64toh(words[W_NUMBER]) != first_word(page_no) ||
	    le64toh(words[W_ID]) != id || le64toh(words[W_CHECK]) != check_of(words))
		return -EBADMSG;
	p->gen = le64toh(words[W_GEN]);
	for (i = 0; i < HASHFILE_LEAVES; i++)
		p->leaf[i] = le64toh(words[W_LEAVES + i]);
	return 0;
}

int hashfile_read_raw(int fd, uint64_t page_no, uint64_t leaf[HASHFILE_LEAVES])
{
	uint64_t words[PAGE_WORDS] = { 0 };
	ssize_t n;

	if (page_no > PAGE_NO_MAX)
		return -EINVAL;
	n = io_pread_full(fd, words, sizeof(words), offset_of(page_no));
	if (n <= 0)
		return n < 0 ? (int)n : -ENODATA;
	for (int i = 0; i < HASHFILE_LEAVES; i++)
		leaf[i] = le64toh(words[W_LEAVES + i]);
	return 0;
}

/* Beyond the end there is a hole already. Without support for holes zeros do. */
static int punch(int fd, uint64_t page_no)
{
	static const uint8_t zeros[HASHFILE_PAGE];
	off_t off = offset_of(page_no);
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (off >= st.st_size)
		return 0;
	while (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
			 HASHFILE_PAGE) < 0) {
		if (errno == EOPNOTSUPP || errno == ENOSYS)
			return io_pwrite_full(fd, zeros, sizeof(zeros), off, NULL);
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int hashfile_write(int fd, uint64_t id, uint64_t page_no, const struct hash_page *p)
{
	uint64_t words[PAGE_WORDS] = { 0 };
	int i;

	if (page_no > PAGE_NO_MAX)
		return -EINVAL;
	if (hash_is_zero(p->leaf, sizeof(p->leaf)))
		return punch(fd, page_no);
	words[W_NUMBER] = htole64(first_word(page_no));
	words[W_ID] = htole64(id);
	words[W_GEN] = htole64(p->gen);
	for (i = 0; i < HASHFILE_LEAVES; i++)
		words[W_LEAVES + i] = htole64(p->leaf[i]);
	words[W_CHECK] = htole64(check_of(words));
	return io_pwrite_full(fd, words, sizeof(words), offset_of(page_no), NULL);
}

int hashfile_truncate(int fd, uint64_t pages)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (pages > PAGE_NO_MAX || offset_of(pages) >= st.st_size)
		return 0;
	return ftruncate(fd, offset_of(pages)) < 0 ? -errno : 0;
}

int hashfile_remove(int dotfd, uint64_t id)
{
	char path[NAME_BYTES];

	path_of(id, path);
	if (unlinkat(dotfd, path, 0) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}
