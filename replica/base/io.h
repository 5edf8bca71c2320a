/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whole reads and writes and durable small files. Every function returns 0,
 * or a count where it says so, or a negative errno. EINTR is retried.
 */
#ifndef REPLICA_BASE_IO_H
#define REPLICA_BASE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Reads until len bytes, end of file or error. Returns the bytes read. */
ssize_t io_pread_full(int fd, void *buf, size_t len, off_t off);
/* Writes all len bytes. Returns 0; on an error *done (may be NULL) says how
 * many bytes went out before it. A write that makes no progress is -EIO. */
int io_pwrite_full(int fd, const void *buf, size_t len, off_t off, size_t *done);
/* Whole file dirfd/name into a fresh zero-terminated buffer, at most max
 * bytes (-EFBIG beyond). The caller frees *out. */
int io_read_file(int dirfd, const char *name, size_t max, char **out, size_t *len);
/* Replaces dirfd/name by a new file with these bytes: written beside it as
 * ".name.new", fsynced, renamed over, directory fsynced. */
int io_replace_file(int dirfd, const char *name, const void *buf, size_t len, mode_t mode);
int io_fsync_dir(int dirfd);
/* mkdirat for every missing component of the relative path (mode 0700). */
int io_mkdirs(int dirfd, const char *path);
/* Removes dirfd/name and everything below it. A missing name is 0. Does not
 * cross symbolic links; descends at any depth. */
int io_remove_tree(int dirfd, const char *name);
/* Random bytes from the kernel. Never fails (aborts if it must). */
void io_random(void *buf, size_t len);

#endif
