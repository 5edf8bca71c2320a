/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a URL of a remote may look like. What is wrong is said without any part of
 * the URL: it may hold a password, in an unexpected place too. No state, no locks.
 */
#include "replica/remote/remote_def.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define URL_MAX 2048

static bool all_of(const char *s, size_t len, const char *more)
{
	for (size_t i = 0; i < len; i++)
		if (!isascii((unsigned char)s[i]) ||
		    (!isalnum((unsigned char)s[i]) && !strchr(more, s[i])))
			return false;
	return true;
}

/* The parts of a URL, pointing into it. */
struct parts {
	const char *host, *port, *path; /* port: NULL or digits; path: "" or from its '/' on */
	size_t host_len, port_len;
};

static const char *skip_scheme(const char *url)
{
	if (strncasecmp(url, "http://", 7) == 0)
		return url + 7;
	if (strncasecmp(url, "https://", 8) == 0)
		return url + 8;
	return NULL;
}

static void split(const char *rest, struct parts *p)
{
	const char *colon, *from = rest;

	p->host = rest;
	p->path = rest + strcspn(rest, "/");
	p->host_len = (size_t)(p->path - rest);
	/* the colons of an IPv6 address are within its brackets */
	if (*rest == '[')
		from = memchr(rest, ']', p->host_len);
	colon = from ? memchr(from, ':', (size_t)(p->path - from)) : NULL;
	p->port = colon ? colon + 1 : NULL;
	p->port_len = colon ? (size_t)(p->path - p->port) : 0;
	if (colon)
		p->host_len = (size_t)(colon - rest);
}

static bool good_host(const struct parts *p)
{
	const char *h = p->host;
	size_t n = p->host_len;

	if (n > 2 && h[0] == '[')
		return h[n - 1] == ']' && strspn(h + 1, "0123456789abcdefABCDEF:.") == n - 2;
	return n > 0 && n <= 253 && all_of(h, n, ".-_") && h[0] != '-' && h[0] != '.';
}

static bool good_port(const struct parts *p)
{
	long port = 0;

	if (!p->port)
		return true;
	if (p->port_len == 0 || p->port_len > 5)
		return false;
	for (size_t i = 0; i < p->port_len; i++) {
		if (!isdigit((unsigned char)p->port[i]))
			return false;
		port = port * 10 + (p->port[i] - '0');
	}
	return port >= 1 && port <= 65535;
}

/* One component of a path, decoded: no byte that could mean something else at a server. */
static const char *bad_component(const char *s, size_t len)
{
	char text[URL_MAX + 1];
	size_t out = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned c = (unsigned char)s[i];

		if (c == '%') {
			if (len - i < 3 || !isxdigit((unsigned char)s[i + 1]) ||
			    sscanf(s + i + 1, "%2x", &c) != 1 || !isxdigit((unsigned char)s[i + 2]))
				return "'%' is not followed by two hex digits";
			if (c == 0 || c == '/')
				return "%00 and %2F cannot be in it";
			i += 2;
		}
		text[out++] = (char)c;
	}
	text[out] = '\0';
	if (out == 0)
		return "has an empty component ('//')";
	if (!strcmp(text, ".") || !strcmp(text, ".."))
		return "has a component '.' or '..'";
	return NULL;
}

/* A slash at the end is nothing. */
static const char *bad_path(const char *path)
{
	while (path[0] == '/' && path[1]) {
		size_t len = strcspn(path + 1, "/");
		const char *bad = bad_component(path + 1, len);

		if (bad)
			return bad;
		path += 1 + len;
	}
	return NULL;
}

static const char *bad_bucket(const char *path)
{
	size_t len = path[0] ? strcspn(path + 1, "/") : 0;

	if (len == 0)
		return "S3 needs a bucket: https://host/bucket[/prefix]";
	if (len < 3 || len > 63 || !all_of(path + 1, len, "._-"))
		return "the bucket (first part of the path) must be 3 to 63 letters, digits, "
			"'.', '_' or '-'";
	return NULL;
}

#define NO_CREDENTIALS "credentials (user:password@) do not belong into it: put them into a " \
	"file of mode 0600 and name that file with --credentials"

/* What is wrong, in an order in which nothing of a password is taken for something else. */
const char *remote_url_bad(const char *url, enum remote_kind kind)
{
	const char *rest = skip_scheme(url), *bad;
	struct parts p;

	if (!rest)
		return "must begin with http:// or https://";
	if (strlen(url) > URL_MAX)
		return "is longer than 2048 bytes";
	if (memchr(rest, '@', strcspn(rest, "/?#")))
		return NO_CREDENTIALS;
	for (const char *c = rest; *c; c++)
		if (*c <= ' ' || *c == 0x7f || strchr("\"<>\\^`{|}", *c))
			return "has a character that must be percent-encoded";
	split(rest, &p);
	/* a password with a '/' in it looks like this */
	if (!good_port(&p))
		return strchr(rest, '@') ? NO_CREDENTIALS :
			"the port is not a number from 1 to 65535";
	if (strpbrk(rest, "?"))
		return "must not have a query ('?')";
	if (strpbrk(rest, "#"))
		return "must not have a fragment ('#')";
	if (!good_host(&p))
		return p.host_len ? "the host is not a name or an address" : "has no host";
	bad = bad_path(p.path);
	return !bad && kind == REMOTE_S3 ? bad_bucket(p.path) : bad;
}
