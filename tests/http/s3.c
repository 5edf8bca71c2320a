/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * S3, path-style. A key is a path below the folder of its bucket; components
 * that no file may have are encoded (s3_path_of_key). So "a" and "a/b" cannot
 * both be there, unlike on a real server. Signatures are not looked at, hashes
 * of bodies are. No state.
 */
#include "tests/http/faulty.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_MAX 1024

static void answer_error(struct exchange *x, int status, const char *code)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "<?xml version=\"1.0\"?>\n<Error><Code>%s</Code><Message>faulty says so</Message>"
		 "</Error>\n", code);
	wire_answer(x, status, "Content-Type: application/xml\r\n", text);
}

static void answer_errno(struct exchange *x, int err)
{
	static const struct {
		int err, status;
		const char *code;
	} known[] = {
		{ -ENOENT, 404, "NoSuchKey" },
		{ -EKEYREJECTED, 400, "XAmzContentSHA256Mismatch" },
		{ -ENOSPC, 507, "QuotaExceeded" },
		{ -ENAMETOOLONG, 400, "KeyTooLongError" },
	};
	size_t i;

	for (i = 0; i < N_ELEMS(known); i++)
		if (known[i].err == err) {
			answer_error(x, known[i].status, known[i].code);
			return;
		}
	answer_error(x, 500, "InternalError");
}

/* One component: '%', and those that mean something else to a filesystem. */
static bool add_component(FILE *out, const char *s, size_t len)
{
	size_t i;

	if (len > NAME_MAX)
		return false;
	if (!len)
		fputs("%", out);
	else if (len <= 2 && !memcmp(s, "..", len))
		fputs(len == 1 ? "%2E" : "%2E%2E", out);
	else
		for (i = 0; i < len; i++)
			if (s[i] == '%')
				fputs("%25", out);
			else
				fputc(s[i], out);
	return true;
}

bool s3_path_of_key(const char *key, char *out, size_t size)
{
	FILE *f = fmemopen(out, size, "w");
	bool good = f && *key && strlen(key) <= KEY_MAX;

	while (good) {
		size_t len = strcspn(key, "/");

		good = add_component(f, key, len);
		key += len;
		if (!*key)
			break;
		fputc('/', f);
		key++;
	}
	return f && !fclose(f) && good;
}

/* "bucket/key" to a path below DIR. */
static bool path_of(const char *bucket_key, char *rel, size_t size)
{
	const char *slash = strchr(bucket_key, '/');
	int n;

	if (!slash || slash == bucket_key)
		return false;
	n = snprintf(rel, size, "%.*s/", (int)(slash - bucket_key), bucket_key);
	return n > 0 && (size_t)n < size && s3_path_of_key(slash + 1, rel + n, size - (size_t)n);
}

/* Folders go with the last key in them. */
static void remove_parents(const char *rel)
{
	char parent[PATH_SIZE];
	char *slash;

	snprintf(parent, sizeof(parent), "%s", rel);
	while ((slash = strrchr(parent, '/'))) {
		*slash = '\0';
		if (!strchr(parent, '/') || unlinkat(server.root, parent, AT_REMOVEDIR))
			return;
	}
}

static int copy_source(const char *source, const char *rel)
{
	char decoded[PATH_SIZE], from[PATH_SIZE];

	source += *source == '/';
	if (percent_decode(source, strlen(source), decoded, sizeof(decoded)) < 0 ||
	    !path_of(decoded, from, sizeof(from)))
		return -EINVAL;
	return files_copy(from, rel);
}

static void answer_stored(struct exchange *x, const char *rel, bool copied)
{
	char text[512], headers[256], etag[128] = "\"0\"";
	int fd = files_open(rel);

	if (fd >= 0) {
		files_etag(etag, sizeof(etag), fd);
		close(fd);
	}
	snprintf(headers, sizeof(headers), "ETag: %s\r\n", etag);
	snprintf(text, sizeof(text), "<?xml version=\"1.0\"?>\n<CopyObjectResult><ETag>%s</ETag>"
		 "</CopyObjectResult>\n", etag);
	wire_answer(x, 200, headers, copied ? text : NULL);
}

static const char *wanted_hash(const struct exchange *x)
{
	const char *hash = wire_header(x, "x-amz-content-sha256");

	return hash && strlen(hash) == 64 ? hash : NULL;
}

static void put(struct exchange *x, const char *rel)
{
	const char *source = wire_header(x, "x-amz-copy-source");
	const char *none = wire_header(x, "If-None-Match");
	struct stat st;
	int ret;

	if (x->chunked) {
		answer_error(x, 411, "MissingContentLength");
		return;
	}
	if (none && !strcmp(none, "*") && !fstatat(server.root, rel, &st, 0)) {
		answer_error(x, 412, "PreconditionFailed");
		return;
	}
	ret = files_make_parents(rel);
	if (!ret)
		ret = source ? copy_source(source, rel) : files_put(x, rel, wanted_hash(x));
	if (ret)
		answer_errno(x, ret);
	else
		answer_stored(x, rel, source != NULL);
}

static void delete(struct exchange *x, const char *rel)
{
	if (unlinkat(server.root, rel, 0) && errno != ENOENT && errno != ENOTDIR &&
	    errno != EISDIR) {
		answer_errno(x, -errno);
		return;
	}
	remove_parents(rel);
	wire_answer(x, 204, NULL, NULL);
}

static void get(struct exchange *x, const char *rel)
{
	int fd = files_open(rel);

	if (fd < 0) {
		answer_error(x, 404, "NoSuchKey");
		return;
	}
	close(fd);
	files_get(x, rel);
}

static void serve_key(struct exchange *x)
{
	char rel[PATH_SIZE];

	if (!path_of(x->path + 1, rel, sizeof(rel)))
		answer_error(x, 400, "InvalidObjectName");
	else if (!strcmp(x->method, "PUT"))
		put(x, rel);
	else if (!strcmp(x->method, "DELETE"))
		delete(x, rel);
	else if (!strcmp(x->method, "GET") || !strcmp(x->method, "HEAD"))
		get(x, rel);
	else
		answer_error(x, 405, "MethodNotAllowed");
}

static void serve_bucket(struct exchange *x, const char *bucket)
{
	struct stat st;
	bool there = !fstatat(server.root, bucket, &st, 0);

	if (!strcmp(x->method, "PUT")) {
		if (there || !mkdirat(server.root, bucket, 0700))
			wire_answer(x, 200, NULL, NULL);
		else
			answer_errno(x, -errno);
	} else if (!there) {
		answer_error(x, 404, "NoSuchBucket");
	} else if (!strcmp(x->method, "GET")) {
		s3_list(x, bucket);
	} else if (!strcmp(x->method, "HEAD")) {
		wire_answer(x, 200, NULL, NULL);
	} else {
		answer_error(x, 405, "MethodNotAllowed");
	}
}

void s3_serve(struct exchange *x)
{
	char bucket[NAME_MAX + 1];
	const char *name = x->path + 1;
	size_t len = strcspn(name, "/");
	struct stat st;

	if (!len || len > NAME_MAX || name[0] == '.') {
		answer_error(x, 400, "InvalidBucketName");
		return;
	}
	snprintf(bucket, sizeof(bucket), "%.*s", (int)len, name);
	if (!name[len] || !name[len + 1])
		serve_bucket(x, bucket);
	else if (fstatat(server.root, bucket, &st, 0))
		answer_error(x, 404, "NoSuchBucket");
	else
		serve_key(x);
}
