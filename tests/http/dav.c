/* SPDX-License-Identifier: GPL-2.0-or-later */
/* WebDAV over the tree DIR, after what Apache does. No state. */
#include "tests/http/faulty.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/io.h"

struct place {
	char rel[PATH_SIZE];          /* "." is the root */
	bool slash;                   /* the URL ended with one */
	struct stat st;
	bool there, dir;
};

/* From "/a/b/"; false: not a path that we serve. */
static bool place_at(const char *path, struct place *p)
{
	size_t len = strlen(path), at;

	p->slash = path[len - 1] == '/';
	len -= p->slash;
	snprintf(p->rel, sizeof(p->rel), "%.*s", (int)len - (len > 0), path + 1);
	for (at = 0; p->rel[at]; at++) {
		size_t n = strcspn(p->rel + at, "/");

		/* "", "." and ".." */
		if (n <= 2 && !memcmp(p->rel + at, "..", n))
			return false;
		if (!at && n == strlen(TEMP_DIR) && !memcmp(p->rel, TEMP_DIR, n))
			return false;
		at += n;
		if (!p->rel[at])
			break;
	}
	if (!len)
		strcpy(p->rel, ".");
	p->there = !fstatat(server.root, p->rel, &p->st, AT_SYMLINK_NOFOLLOW);
	p->dir = p->there && S_ISDIR(p->st.st_mode);
	return true;
}

static bool has_parent(const struct place *p)
{
	char parent[PATH_SIZE];
	char *slash;
	struct stat st;

	strcpy(parent, p->rel);
	slash = strrchr(parent, '/');
	if (!slash)
		return true;
	*slash = '\0';
	return !fstatat(server.root, parent, &st, 0) && S_ISDIR(st.st_mode);
}

static void answer_errno(struct exchange *x, int err)
{
	static const struct {
		int err, status;
	} known[] = {
		{ -ENOENT, 404 }, { -ENOSPC, 507 }, { -EDQUOT, 507 }, { -EACCES, 403 },
		{ -EISDIR, 405 }, { -ENOTDIR, 409 }, { -EEXIST, 412 }, { -ENAMETOOLONG, 403 },
		{ -ENOTEMPTY, 409 },
	};
	char text[128];
	size_t i = 0;

	while (i < N_ELEMS(known) && known[i].err != err)
		i++;
	snprintf(text, sizeof(text), "%s\n", strerror(-err));
	wire_answer(x, i < N_ELEMS(known) ? known[i].status : 500, NULL, text);
}

static void serve_put(struct exchange *x, struct place *p)
{
	const char *none = wire_header(x, "If-None-Match");
	int ret;

	if (wire_header(x, "Content-Range"))
		wire_answer(x, 501, NULL, "no partial PUT\n");
	else if (p->slash || p->dir)
		wire_answer(x, 405, NULL, "a collection\n");
	else if (!has_parent(p))
		wire_answer(x, 409, NULL, "no such collection\n");
	else if (none && !strcmp(none, "*") && p->there)
		wire_answer(x, 412, NULL, "it is there\n");
	else if ((ret = files_put(x, p->rel, NULL)))
		answer_errno(x, ret);
	else
		wire_answer(x, p->there ? 204 : 201, NULL, NULL);
}

static void serve_get(struct exchange *x, struct place *p)
{
	if (p->slash && p->there && !p->dir)
		wire_answer(x, 404, NULL, "not a collection\n");
	else
		files_get(x, p->rel);
}

static void serve_delete(struct exchange *x, struct place *p)
{
	int ret;

	if (!p->there) {
		wire_answer(x, 404, NULL, "nothing there\n");
	} else if (!strcmp(p->rel, ".")) {
		wire_answer(x, 403, NULL, "not the root\n");
	} else if (p->dir && !p->slash) {
		wire_answer(x, 301, NULL, "with a slash\n");
	} else {
		ret = io_remove_tree(server.root, p->rel);
		if (ret)
			answer_errno(x, ret);
		else
			wire_answer(x, 204, NULL, NULL);
	}
}

static void serve_mkcol(struct exchange *x, struct place *p)
{
	if (p->there)
		wire_answer(x, 405, NULL, "it is there\n");
	else if (!has_parent(p))
		wire_answer(x, 409, NULL, "no such collection\n");
	else if (!mkdirat(server.root, p->rel, 0700))
		wire_answer(x, 201, NULL, NULL);
	else if (errno == EEXIST) /* another made it just now */
		wire_answer(x, 405, NULL, "it is there\n");
	else
		answer_errno(x, -errno);
}

/* The place that the Destination header names. */
static bool destination(const struct exchange *x, struct place *to)
{
	const char *url = wire_header(x, "Destination");
	char path[PATH_SIZE];

	if (!url || strncasecmp(url, "http://", 7) != 0 || !(url = strchr(url + 7, '/')))
		return false;
	return percent_decode(url, strlen(url), path, sizeof(path)) > 0 && place_at(path, to);
}

static bool contains(const struct place *outer, const struct place *inner)
{
	size_t len = strlen(outer->rel);

	return !strncmp(outer->rel, inner->rel, len) &&
	       (!inner->rel[len] || inner->rel[len] == '/');
}

static int carry_out(const struct exchange *x, const struct place *p, const struct place *to)
{
	int ret = 0;

	if (!strcmp(x->method, "COPY"))
		return p->dir ? -EACCES : files_copy(p->rel, to->rel);
	if (to->dir || (to->there && p->dir))
		ret = io_remove_tree(server.root, to->rel);
	if (!ret && renameat(server.root, p->rel, server.root, to->rel))
		ret = -errno;
	return ret;
}

static void serve_move(struct exchange *x, struct place *p)
{
	const char *overwrite = wire_header(x, "Overwrite");
	struct place to;
	int ret;

	if (!destination(x, &to))
		wire_answer(x, 400, NULL, "no good Destination\n");
	else if (!p->there)
		wire_answer(x, 404, NULL, "nothing there\n");
	else if (p->dir != p->slash)
		wire_answer(x, p->dir ? 301 : 404, NULL, "a slash too many or too few\n");
	else if (!has_parent(&to))
		wire_answer(x, 409, NULL, "no such collection\n");
	else if (contains(p, &to) || contains(&to, p))
		wire_answer(x, 403, NULL, "into itself\n");
	else if (to.there && overwrite && !strcasecmp(overwrite, "F"))
		wire_answer(x, 412, NULL, "it is there\n");
	else if ((ret = carry_out(x, p, &to)))
		answer_errno(x, ret);
	else
		wire_answer(x, to.there ? 204 : 201, NULL, NULL);
}

static void print_properties(FILE *out, const struct stat *st)
{
	char date[40];

	http_date(date, st->st_mtime);
	fprintf(out, "<D:propstat><D:prop><D:resourcetype>%s</D:resourcetype>"
		"<D:getlastmodified>%s</D:getlastmodified>",
		S_ISDIR(st->st_mode) ? "<D:collection/>" : "", date);
	if (!S_ISDIR(st->st_mode))
		fprintf(out, "<D:getcontentlength>%lld</D:getcontentlength>",
			(long long)st->st_size);
	fprintf(out, "</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>");
}

static void print_response(FILE *out, const struct place *p, const char *name,
			   const struct stat *st)
{
	fprintf(out, "<D:response><D:href>/");
	if (strcmp(p->rel, ".") != 0) {
		percent_encode(out, p->rel, "/");
		fprintf(out, *name || p->dir ? "/" : "");
	}
	percent_encode(out, name, "");
	fprintf(out, "%s</D:href>", *name && S_ISDIR(st->st_mode) ? "/" : "");
	print_properties(out, st);
	fprintf(out, "</D:response>\n");
}

static void print_members(FILE *out, const struct place *p)
{
	int fd = openat(server.root, p->rel, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	struct stat st;

	while (dir && (e = readdir(dir))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
		    (!strcmp(p->rel, ".") && !strcmp(e->d_name, TEMP_DIR)))
			continue;
		if (!fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW))
			print_response(out, p, e->d_name, &st);
	}
	if (dir)
		closedir(dir);
	else if (fd >= 0)
		close(fd);
}

static void serve_propfind(struct exchange *x, struct place *p)
{
	const char *depth = wire_header(x, "Depth");
	char *text = NULL;
	size_t size;
	FILE *out;

	if (!p->there) {
		wire_answer(x, 404, NULL, "nothing there\n");
		return;
	}
	if (!depth || (strcmp(depth, "0") != 0 && strcmp(depth, "1") != 0)) {
		wire_answer(x, 403, NULL, "not without an end\n");
		return;
	}
	out = open_memstream(&text, &size);
	if (!out) {
		wire_answer(x, 500, NULL, "no memory\n");
		return;
	}
	fprintf(out, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
		"<D:multistatus xmlns:D=\"DAV:\">\n");
	print_response(out, p, "", &p->st);
	if (p->dir && *depth == '1')
		print_members(out, p);
	fprintf(out, "</D:multistatus>\n");
	fclose(out);
	wire_answer(x, 207, "Content-Type: application/xml; charset=utf-8\r\n", text);
	free(text);
}

static void serve_options(struct exchange *x, struct place *p)
{
	(void)p;
	wire_answer(x, 200, "DAV: 1\r\nAllow: OPTIONS, GET, HEAD, PUT, DELETE, MKCOL, MOVE, COPY, "
		    "PROPFIND\r\n", NULL);
}

void dav_serve(struct exchange *x)
{
	static const struct {
		const char *method;
		void (*serve)(struct exchange *x, struct place *p);
	} verbs[] = {
		{ "GET", serve_get },	      { "HEAD", serve_get },   { "PUT", serve_put },
		{ "DELETE", serve_delete },   { "MKCOL", serve_mkcol }, { "MOVE", serve_move },
		{ "COPY", serve_move },	      { "OPTIONS", serve_options },
		{ "PROPFIND", serve_propfind },
	};
	struct place p;
	size_t i;

	if (!place_at(x->path, &p)) {
		wire_answer(x, 400, NULL, "not a path\n");
		return;
	}
	for (i = 0; i < N_ELEMS(verbs); i++)
		if (!strcmp(verbs[i].method, x->method)) {
			verbs[i].serve(x, &p);
			return;
		}
	wire_answer(x, 501, NULL, "no such method\n");
}
