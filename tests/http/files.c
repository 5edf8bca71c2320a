/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Objects as files below DIR: uploads with the faults that are about what is
 * stored, copies, downloads, and the list of objects that are to vanish (one
 * lock). An upload goes to TEMP_DIR and is renamed when it is whole; with
 * --in-place it is written where it is read, byte by byte as it comes.
 */
#include "tests/http/faulty.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/io.h"

struct vanishing {
	struct vanishing *next;
	uint64_t at_ms;
	char rel[PATH_SIZE];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct vanishing *vanishing;

int files_init(void)
{
	int ret = io_remove_tree(server.root, TEMP_DIR);

	if (ret && ret != -ENOENT)
		return ret;
	return mkdirat(server.root, TEMP_DIR, 0700) ? -errno : 0;
}

/* What is to vanish */

static void forget_in(const char *rel, long seconds)
{
	struct vanishing *v = calloc(1, sizeof(*v));

	if (!v)
		return;
	v->at_ms = now_ms() + (uint64_t)(seconds > 0 ? seconds : 0) * 1000;
	snprintf(v->rel, sizeof(v->rel), "%s", rel);
	pthread_mutex_lock(&lock);
	v->next = vanishing;
	vanishing = v;
	pthread_mutex_unlock(&lock);
}

/* rel NULL: all that are due vanish; else that one may stay. */
static void forget_update(const char *rel)
{
	struct vanishing **link, *v;
	uint64_t now = now_ms();

	pthread_mutex_lock(&lock);
	for (link = &vanishing; (v = *link);) {
		if (rel ? strcmp(v->rel, rel) != 0 : v->at_ms > now) {
			link = &v->next;
			continue;
		}
		if (!rel)
			unlinkat(server.root, v->rel, 0);
		*link = v->next;
		free(v);
	}
	pthread_mutex_unlock(&lock);
}

void files_tick(void)
{
	forget_update(NULL);
}

/* Folders of S3 come and go with what is in them: perhaps just now. */
static int into_place(const char *temp, const char *rel)
{
	int tries = 0;

	while (renameat(server.root, temp, server.root, rel)) {
		if (errno != ENOENT || !server.s3 || tries++ == 10)
			return -errno;
		files_make_parents(rel);
	}
	return 0;
}

int files_make_parents(const char *rel)
{
	char parent[PATH_SIZE];
	char *slash;

	snprintf(parent, sizeof(parent), "%s", rel);
	slash = strrchr(parent, '/');
	if (!slash)
		return 0;
	*slash = '\0';
	return io_mkdirs(server.root, parent);
}

/* Uploads */

struct upload {
	int fd;
	char temp[64];                /* "": in place */
	uint64_t len;
	crypto_hash_sha256_state hash;
	char hash_hex[2 * crypto_hash_sha256_BYTES + 1];
};

static int upload_open(struct exchange *x, struct upload *u, const char *rel)
{
	static atomic_uint count;
	bool in_place = server.in_place && !(x->effect.bits & FAULT_LOSE);

	u->temp[0] = '\0';
	if (!in_place)
		snprintf(u->temp, sizeof(u->temp), TEMP_DIR "/%u", atomic_fetch_add(&count, 1));
	u->len = 0;
	crypto_hash_sha256_init(&u->hash);
	u->fd = openat(server.root, in_place ? rel : u->temp,
		       O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	return u->fd < 0 ? -errno : 0;
}

static int upload_receive(struct exchange *x, struct upload *u)
{
	unsigned char sum[crypto_hash_sha256_BYTES];
	char buf[65536];
	ssize_t n;
	int ret;

	while ((n = wire_body(x, buf, sizeof(buf))) > 0) {
		ret = io_pwrite_full(u->fd, buf, (size_t)n, (off_t)u->len, NULL);
		if (ret)
			return ret;
		crypto_hash_sha256_update(&u->hash, (unsigned char *)buf, (unsigned long long)n);
		u->len += (uint64_t)n;
	}
	crypto_hash_sha256_final(&u->hash, sum);
	hex(u->hash_hex, sum, sizeof(sum));
	return (int)n;
}

/* Other bytes, as many. */
static int spoil(struct upload *u)
{
	char buf[4096];
	ssize_t i, n = io_pread_full(u->fd, buf, sizeof(buf), 0);

	for (i = 0; i < n; i++)
		buf[i] = (char)~buf[i];
	return n < 0 ? (int)n : io_pwrite_full(u->fd, buf, (size_t)n, 0, NULL);
}

static int upload_commit(struct exchange *x, struct upload *u, const char *rel)
{
	int ret = 0;

	if (x->effect.bits & FAULT_LOSE)
		return unlinkat(server.root, u->temp, 0) ? -errno : 0;
	if (x->effect.bits & FAULT_HALF && ftruncate(u->fd, (off_t)(u->len / 2)))
		ret = -errno;
	if (x->effect.bits & FAULT_WRONG && !ret)
		ret = spoil(u);
	if (*u->temp && !ret)
		ret = into_place(u->temp, rel);
	forget_update(rel);
	if (x->effect.bits & FAULT_FORGET && !ret)
		forget_in(rel, x->effect.seconds);
	return ret;
}

int files_put(struct exchange *x, const char *rel, const char *sha256_hex)
{
	struct upload u;
	int ret = upload_open(x, &u, rel);

	if (ret)
		return ret;
	ret = upload_receive(x, &u);
	if (!ret && sha256_hex && strcmp(sha256_hex, u.hash_hex) != 0)
		ret = -EKEYREJECTED;
	if (!ret)
		ret = upload_commit(x, &u, rel);
	close(u.fd);
	if (ret && *u.temp)
		unlinkat(server.root, u.temp, 0);
	return ret;
}

static int copy_bytes(int in, int out)
{
	off_t at = 0;
	char buf[65536];
	ssize_t n;
	int ret = 0;

	for (; !ret && (n = io_pread_full(in, buf, sizeof(buf), at)) > 0; at += n)
		ret = io_pwrite_full(out, buf, (size_t)n, at, NULL);
	return ret ? ret : (int)n;
}

int files_copy(const char *from, const char *to)
{
	static atomic_uint count;
	char temp[64];
	int in = files_open(from), out, ret;

	if (in < 0)
		return in;
	snprintf(temp, sizeof(temp), TEMP_DIR "/copy%u", atomic_fetch_add(&count, 1));
	out = openat(server.root, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ret = out < 0 ? -errno : copy_bytes(in, out);
	if (!ret)
		ret = into_place(temp, to);
	if (ret)
		unlinkat(server.root, temp, 0);
	else
		forget_update(to);
	close(in);
	if (out >= 0)
		close(out);
	return ret;
}

/* Downloads */

int files_open(const char *rel)
{
	int fd = openat(server.root, rel, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		ret = -errno;
	else if (!S_ISREG(st.st_mode))
		ret = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if (ret)
		close(fd);
	return ret ? ret : fd;
}

void files_etag(char *out, size_t size, int fd)
{
	struct stat st = { 0 };

	fstat(fd, &st);
	snprintf(out, size, "\"%llx-%llx-%llx\"", (unsigned long long)st.st_ino,
		 (unsigned long long)st.st_size,
		 (unsigned long long)st.st_mtim.tv_sec * 1000000000 +
			 (unsigned long long)st.st_mtim.tv_nsec);
}

/* "bytes=FROM-[TO]" or "bytes=-LAST" of an object of `size` bytes. 1: a part,
 * 0: no range that we understand, -1: there is no such part. */
static int parse_range(const char *text, uint64_t size, uint64_t *from, uint64_t *len)
{
	unsigned long long a, b = ULLONG_MAX;
	int n;

	if (!text || strncmp(text, "bytes=", 6) != 0 || strchr(text, ','))
		return 0;
	text += 6;
	if (*text == '-') {
		a = strtoull(text + 1, NULL, 10);
		*len = a < size ? a : size;
		*from = size - *len;
		return *len ? 1 : -1;
	}
	n = sscanf(text, "%llu-%llu", &a, &b);
	if (n < 1 || b < a)
		return 0;
	if (a >= size)
		return -1;
	*from = a;
	*len = (b < size ? b + 1 : size) - a;
	return 1;
}

static uint64_t size_of(const struct exchange *x, int fd)
{
	struct stat st = { 0 };
	uint64_t size;

	fstat(fd, &st);
	size = (uint64_t)st.st_size;
	if (!(x->effect.bits & FAULT_SHORT))
		return size;
	return x->effect.bytes >= 0 && (uint64_t)x->effect.bytes < size ? (uint64_t)x->effect.bytes
									  : size / 2;
}

void files_get(struct exchange *x, const char *rel)
{
	char headers[512], etag[128];
	uint64_t size, from = 0, len;
	int fd = files_open(rel), part;

	if (fd < 0) {
		wire_answer(x, fd == -EISDIR ? 403 : 404, NULL, "no such object\n");
		return;
	}
	len = size = size_of(x, fd);
	files_etag(etag, sizeof(etag), fd);
	part = parse_range(wire_header(x, "Range"), size, &from, &len);
	if (part < 0) {
		snprintf(headers, sizeof(headers), "Content-Range: bytes */%llu\r\n",
			 (unsigned long long)size);
		wire_answer(x, 416, headers, NULL);
	} else {
		int n = snprintf(headers, sizeof(headers),
				 "ETag: %s\r\nAccept-Ranges: bytes\r\n", etag);

		if (part)
			snprintf(headers + n, sizeof(headers) - (size_t)n,
				 "Content-Range: bytes %llu-%llu/%llu\r\n",
				 (unsigned long long)from, (unsigned long long)(from + len - 1),
				 (unsigned long long)size);
		wire_answer_file(x, part ? 206 : 200, headers, fd, from, len);
	}
	close(fd);
}
