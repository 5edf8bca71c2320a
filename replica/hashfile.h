/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Leaf hashes of files over 64 KiB: `.mirrorfs/hashes/xx/yy/<file id>`, xx and
 * yy the last and the last but one byte of the id in hex, the name 16 hex
 * digits. Pages of 4 KiB: 32 bytes of header and 508 hashes. A page of zeros
 * (a hole) stands for 508 zero leaves.
 */
#ifndef REPLICA_HASHFILE_H
#define REPLICA_HASHFILE_H

#include <stdint.h>

#define HASHFILE_PAGE 4096
#define HASHFILE_LEAVES 508

struct hash_page {
	uint64_t gen;    /* generation of the sealing that wrote it; 0: a hole */
	uint64_t leaf[HASHFILE_LEAVES];
};

/* Opens (flags: O_RDONLY, or O_RDWR | O_CREAT which makes the folders too)
 * the hash file of id below dotfd. Returns a descriptor or a negative errno. */
int hashfile_open(int dotfd, uint64_t id, int flags);
/* Reads page number page_no. 0; -EBADMSG if it is not valid for this id and
 * number (magic, id, number, checksum); a page beyond the end is a hole.
 * A page whose bytes are all zero is a hole. */
int hashfile_read(int fd, uint64_t id, uint64_t page_no, struct hash_page *p);
/* What stands at the place of the page's hashes, valid or not: a hash that some
 * bytes match proves itself. -ENODATA: nothing there. */
int hashfile_read_raw(int fd, uint64_t page_no, uint64_t leaf[HASHFILE_LEAVES]);
/* A page whose leaves are all zero is written as a hole (punched). */
int hashfile_write(int fd, uint64_t id, uint64_t page_no, const struct hash_page *p);
/* Cuts the file to n pages. */
int hashfile_truncate(int fd, uint64_t pages);
/* Removes it; a missing file is 0. */
int hashfile_remove(int dotfd, uint64_t id);

#endif
