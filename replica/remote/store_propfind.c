/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The multistatus of a PROPFIND. Each href is decoded and held against the path that
 * was asked for: it is that, or one name below it, or an error of the server. No name
 * of it is taken that could not be one of a directory.
 */
#include "replica/remote/store_propfind.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static const char question[] =
	"<?xml version=\"1.0\" encoding=\"utf-8\"?>"
	"<D:propfind xmlns:D=\"DAV:\"><D:prop><D:resourcetype/><D:getcontentlength/>"
	"<D:getlastmodified/></D:prop></D:propfind>";

struct item {
	char *path;                  /* decoded, no slash at the end */
	bool slash, dir, gone;
	uint64_t size;
	int64_t mtime;
};

struct propfind {
	struct xml *xml;
	char *path;                  /* what was asked for, decoded, no slash at the end */
	size_t path_len;
	bool members;
	int (*found)(void *arg, const struct store_found *f);
	void *arg;
	struct work *work;
	const char *wrong;
	uint64_t n;
	bool answered, in_propstat, prop_ok;
	struct item item;            /* the response under way */
	struct item prop;            /* the propstat under way in it */
	struct item self;
	bool self_seen;
};

/* ---- values ---- */

/* "Sun, 06 Nov 1994 08:49:37 GMT"; 0 if it is not. Not strptime: that has a locale. */
static int64_t parse_time(const char *text)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	char month[4] = "";
	struct tm tm = { 0 };
	const char *at;

	if (sscanf(text, " %*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT", &tm.tm_mday, month,
		   &tm.tm_year, &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6)
		return 0;
	at = strlen(month) == 3 ? strstr(months, month) : NULL;
	if (!at || (at - months) % 3 || tm.tm_year < 1970)
		return 0;
	tm.tm_mon = (int)(at - months) / 3;
	tm.tm_year -= 1900;
	return timegm(&tm);
}

static uint64_t parse_size(const char *text)
{
	uint64_t size;
	int n = 0;

	while (isspace((unsigned char)*text))
		text++;
	if (!isdigit((unsigned char)*text) || sscanf(text, "%" SCNu64 " %n", &size, &n) != 1 ||
	    text[n])
		return UINT64_MAX;
	return size;
}

/* Path of an href, decoded, the slash at its end taken off. */
static int parse_href(const char *text, struct item *it)
{
	const char *path, *host;
	size_t n;

	while (isspace((unsigned char)*text))
		text++;
	host = strstr(text, "://");
	path = *text == '/' ? text : host ? strchr(host + 3, '/') : NULL;
	if (!path || it->path)
		return -EPROTO;
	n = strlen(path);
	while (n && isspace((unsigned char)path[n - 1]))
		n--;
	it->slash = n && path[n - 1] == '/';
	if (it->slash)
		n--;
	it->path = strndup(path, n);
	if (!it->path)
		return -ENOMEM;
	return store_decode(it->path);
}

/* ---- the document ---- */

static int on_start(void *arg, const char *ns, const char *name)
{
	struct propfind *p = arg;

	if (strcmp(ns, "DAV:"))
		return 0;
	if (!strcmp(name, "multistatus"))
		p->answered = true;
	if (!strcmp(name, "response")) {
		free(p->item.path);
		p->item = (struct item){ .size = UINT64_MAX };
	}
	if (!strcmp(name, "propstat")) {
		p->in_propstat = true;
		p->prop_ok = true;
		p->prop = (struct item){ .size = UINT64_MAX };
	}
	return 0;
}

/* The one name below what was asked for; NULL: it is none. */
static const char *member_name(const struct propfind *p)
{
	const char *path = p->item.path;

	if (!path || strncmp(path, p->path, p->path_len) || path[p->path_len] != '/')
		return NULL;
	path += p->path_len + 1;
	if (strchr(path, '/') || store_name_check(path, false))
		return NULL;
	return path;
}

static int end_response(struct propfind *p)
{
	struct store_found f = { .dir = p->item.dir || p->item.slash, .size = p->item.size,
				 .mtime = p->item.mtime };
	int err;

	if (!p->item.path) {
		p->wrong = "a response without a path";
		return -EPROTO;
	}
	if (!strcmp(p->item.path, p->path)) {
		p->self = p->item;
		p->self.path = NULL;
		/* With the slash in the question it is in the answer, whatever it is. */
		p->self_seen = !p->item.gone;
		return 0;
	}
	f.name = member_name(p);
	if (!f.name) {
		p->wrong = "lists other paths than asked for (a proxy that maps them?)";
		return -EPROTO;
	}
	if (!p->members || p->item.gone)
		return 0;
	p->n++;
	err = p->found ? p->found(p->arg, &f) : 0;
	if (err)
		p->work->own = err;
	return err;
}

/* "HTTP/1.1 200 OK" */
static long parse_status(const char *text)
{
	long status = 0;

	return sscanf(text, " HTTP/%*[0-9.] %3ld", &status) == 1 ? status : 0;
}

static void end_propstat(struct propfind *p)
{
	p->in_propstat = false;
	if (!p->prop_ok)
		return;
	p->item.dir |= p->prop.dir;
	if (p->prop.size != UINT64_MAX)
		p->item.size = p->prop.size;
	if (p->prop.mtime)
		p->item.mtime = p->prop.mtime;
}

static int on_end(void *arg, const char *ns, const char *name, const char *text)
{
	struct propfind *p = arg;

	if (strcmp(ns, "DAV:"))
		return 0;
	if (!strcmp(name, "href") && !p->in_propstat)
		return parse_href(text, &p->item);
	if (!strcmp(name, "collection"))
		p->prop.dir = true;
	else if (!strcmp(name, "getcontentlength"))
		p->prop.size = parse_size(text);
	else if (!strcmp(name, "getlastmodified"))
		p->prop.mtime = parse_time(text);
	else if (!strcmp(name, "status") && p->in_propstat)
		p->prop_ok = parse_status(text) == 200;
	else if (!strcmp(name, "status"))
		p->item.gone = parse_status(text) / 100 != 2;
	else if (!strcmp(name, "propstat"))
		end_propstat(p);
	else if (!strcmp(name, "response"))
		return end_response(p);
	return 0;
}

/* ---- the request ---- */

/* The path of the present URL as the hrefs will have it. */
static char *asked_path(const struct work *w)
{
	const struct endpoint *e = &w->store->endpoint[w->store->at];
	char *path = strdup(w->url + (e->path - e->base));
	size_t n = path ? strlen(path) : 0;

	while (n && path[n - 1] == '/')
		path[--n] = '\0';
	if (path && store_decode(path)) {
		free(path);
		return NULL;
	}
	return path;
}

static int new_propfind(struct work *w, struct propfind **out)
{
	static const struct xml_hooks hooks = { on_start, on_end };
	struct propfind *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->work = w;
	p->xml = xml_new(&hooks, p);
	p->path = asked_path(w);
	if (!p->xml || !p->path) {
		propfind_free(p);
		return -ENOMEM;
	}
	p->path_len = strlen(p->path);
	*out = p;
	return 0;
}

int propfind_request(struct work *w, const char *name, bool slash, bool members,
		     int (*found)(void *arg, const struct store_found *f), void *arg,
		     struct propfind **p)
{
	char *text;
	int err = store_request(w, "PROPFIND", store_url(w->store, name, slash ? "/" : ""));

	if (!err)
		err = store_header(w, "Depth: %d", members ? 1 : 0);
	if (!err)
		err = store_header(w, "Content-Type: application/xml; charset=utf-8");
	if (!err)
		err = new_propfind(w, p);
	if (err)
		return err;
	(*p)->members = members;
	(*p)->found = found;
	(*p)->arg = arg;
	text = strdup(question);
	if (!text)
		return -ENOMEM;
	store_body_text(w, text, strlen(text));
	w->req.write = xml_feed;
	w->req.write_arg = (*p)->xml;
	w->req.want_body = true;
	return 0;
}

int propfind_end(struct work *w, struct propfind *p, enum propfind_kind *kind)
{
	int err;

	*kind = PROPFIND_MISSING;
	if (!w->req.err && (w->req.status == 404 || w->req.status == 410))
		return 0;
	if (p->wrong)
		return store_fail(w, -EPROTO, "%s", p->wrong);
	if (w->req.err == -EPROTO && !w->own)
		return store_fail(w, -EPROTO, "PROPFIND: the answer is not good XML");
	err = store_judge(w);
	if (err)
		return err;
	if (w->req.status != 207)
		return store_fail(w, -ENOTSUP, "PROPFIND: HTTP %ld, this is not WebDAV",
				  w->req.status);
	if (xml_finish(p->xml) || !p->answered)
		return store_fail(w, -EPROTO, "PROPFIND: the answer is not good XML");
	if (p->self_seen)
		*kind = p->self.dir ? PROPFIND_DIR : PROPFIND_FILE;
	return 0;
}

uint64_t propfind_members(const struct propfind *p)
{
	return p->n;
}

void propfind_self(const struct propfind *p, struct store_found *self)
{
	*self = (struct store_found){ .dir = p->self.dir, .mtime = p->self.mtime,
				      .size = p->self_seen ? p->self.size : UINT64_MAX };
}

void propfind_free(struct propfind *p)
{
	if (!p)
		return;
	xml_free(p->xml);
	free(p->path);
	free(p->item.path);
	free(p);
}
