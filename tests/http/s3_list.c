/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ListObjectsV2. All keys of the bucket are collected and sorted anew for each
 * page; a continuation token is the last name of the page before.
 */
#include "tests/http/faulty.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE_MAX 1000

struct key {
	char *name;
	struct stat st;
};

struct keys {
	struct key *all;
	size_t n, room;
};

struct page {
	char prefix[2048], delimiter[8], after[2048];
	bool encode;
	int64_t max, n;
	bool more;
	char last[2048];
	FILE *out;
};

static void keys_free(struct keys *k)
{
	while (k->n)
		free(k->all[--k->n].name);
	free(k->all);
}

static void add_key(struct keys *k, const char *path, const struct stat *st)
{
	if (k->n == k->room) {
		size_t room = k->room ? 2 * k->room : 64;
		struct key *all = realloc(k->all, room * sizeof(*all));

		if (!all)
			abort();
		k->all = all;
		k->room = room;
	}
	k->all[k->n].name = strdup(path);
	k->all[k->n++].st = *st;
}

/* A path component as it was in the key: a '%' alone is the empty one. */
static void decode(const char *s, char *out, size_t size)
{
	if (!strcmp(s, "%") || percent_decode(s, strlen(s), out, size) < 0)
		*out = '\0';
}

/* at: length of the key so far, with its '/' at the end. */
static void collect(struct keys *k, int dirfd, const char *name, char *key, size_t at)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	struct stat st;

	while (dir && (e = readdir(dir))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
		    at + 2 * sizeof(e->d_name) > 2 * PATH_SIZE ||
		    fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		decode(e->d_name, key + at, sizeof(e->d_name));
		if (S_ISDIR(st.st_mode)) {
			size_t end = at + strlen(key + at);

			key[end] = '/';
			key[end + 1] = '\0';
			collect(k, fd, e->d_name, key, end + 1);
		} else {
			add_key(k, key, &st);
		}
	}
	if (dir)
		closedir(dir);
	else if (fd >= 0)
		close(fd);
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct key *)a)->name, ((const struct key *)b)->name);
}

static void print_name(struct page *p, const char *tag, const char *name)
{
	fprintf(p->out, "<%s>", tag);
	if (p->encode)
		percent_encode(p->out, name, "/");
	else
		xml_escape(p->out, name);
	fprintf(p->out, "</%s>", tag);
}

static void print_key(struct page *p, const struct key *k)
{
	char date[40];
	struct tm tm;

	gmtime_r(&k->st.st_mtime, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S.000Z", &tm);
	fprintf(p->out, "<Contents>");
	print_name(p, "Key", k->name);
	fprintf(p->out, "<LastModified>%s</LastModified><Size>%lld</Size></Contents>\n", date,
		(long long)k->st.st_size);
}

/* The part of the name up to the delimiter behind the prefix, or all of it. */
static bool common_prefix(const struct page *p, const char *name, char *out, size_t size)
{
	const char *end = *p->delimiter ? strstr(name + strlen(p->prefix), p->delimiter) : NULL;

	size_t len = end ? (size_t)(end - name) + strlen(p->delimiter) : strlen(name);

	snprintf(out, size, "%.*s", (int)len, name);
	return end != NULL;
}

static void list_key(struct page *p, const struct key *k)
{
	char shown[2048];
	bool group;

	if (strncmp(k->name, p->prefix, strlen(p->prefix)) != 0)
		return;
	group = common_prefix(p, k->name, shown, sizeof(shown));
	if (strcmp(shown, p->after) <= 0 || (p->n && !strcmp(shown, p->last)))
		return;
	if (p->n == p->max) {
		p->more = true;
		return;
	}
	p->n++;
	strcpy(p->last, shown);
	if (!group) {
		print_key(p, k);
		return;
	}
	fprintf(p->out, "<CommonPrefixes>");
	print_name(p, "Prefix", shown);
	fprintf(p->out, "</CommonPrefixes>\n");
}

static void read_query(struct page *p, const char *query)
{
	char text[2048];

	memset(p, 0, sizeof(*p));
	query_get(query, "prefix", p->prefix, sizeof(p->prefix));
	query_get(query, "delimiter", p->delimiter, sizeof(p->delimiter));
	if (!query_get(query, "continuation-token", p->after, sizeof(p->after)))
		query_get(query, "start-after", p->after, sizeof(p->after));
	p->encode = query_get(query, "encoding-type", text, sizeof(text));
	p->max = query_number(query, "max-keys", PAGE_MAX);
	if (p->max > PAGE_MAX || p->max < 0)
		p->max = PAGE_MAX;
}

static void print_page(struct page *p, const char *bucket, const struct keys *k)
{
	size_t i;

	fprintf(p->out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
	print_name(p, "Name", bucket);
	for (i = 0; i < k->n && !p->more; i++)
		list_key(p, &k->all[i]);
	if (p->encode)
		fprintf(p->out, "<EncodingType>url</EncodingType>");
	fprintf(p->out, "<KeyCount>%lld</KeyCount><MaxKeys>%lld</MaxKeys>"
		"<IsTruncated>%s</IsTruncated>", (long long)p->n, (long long)p->max,
		p->more ? "true" : "false");
	if (p->more) {
		fprintf(p->out, "<NextContinuationToken>");
		xml_escape(p->out, p->last);
		fprintf(p->out, "</NextContinuationToken>");
	}
	fprintf(p->out, "</ListBucketResult>\n");
}

void s3_list(struct exchange *x, const char *bucket)
{
	char key[2 * PATH_SIZE + 512];
	struct keys k = { 0 };
	char *text = NULL;
	struct page p;
	size_t size;

	read_query(&p, x->query);
	p.out = open_memstream(&text, &size);
	if (!p.out)
		abort();
	collect(&k, server.root, bucket, key, 0);
	if (k.n)
		qsort(k.all, k.n, sizeof(*k.all), compare);
	print_page(&p, bucket, &k);
	fclose(p.out);
	keys_free(&k);
	wire_answer(x, 200, "Content-Type: application/xml\r\n", text);
	free(text);
}
