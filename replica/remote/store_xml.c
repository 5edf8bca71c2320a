/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * XML of servers, piece by piece, in bounded memory: text of one element, depth.
 * A document type is refused where it begins, so there are no entities but the
 * five of XML itself, and nothing outside is ever fetched.
 */
#include "replica/remote/store_priv.h"

#include <errno.h>
#include <expat.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define SEPARATOR ' '            /* between namespace and name; in neither of them */

struct xml {
	XML_Parser parser;
	struct xml_hooks hooks;
	void *arg;
	int err;
	unsigned depth;
	size_t len;
	char text[XML_TEXT_MAX + 1]; /* since the last tag */
};

static void stop(struct xml *x, int err)
{
	if (!x->err)
		x->err = err;
	XML_StopParser(x->parser, XML_FALSE);
}

/* "uri name" or "name". Splits in place: expat's strings are const, so a copy. */
static int call(struct xml *x, const XML_Char *full, bool start)
{
	const char *name = strrchr(full, SEPARATOR);
	char ns[256] = "";

	if (name) {
		size_t n = (size_t)(name - full);

		if (n >= sizeof(ns))
			return 0; /* nobody's we know */
		memcpy(ns, full, n);
		ns[n] = '\0';
	}
	name = name ? name + 1 : full;
	if (start)
		return x->hooks.start ? x->hooks.start(x->arg, ns, name) : 0;
	return x->hooks.end ? x->hooks.end(x->arg, ns, name, x->text) : 0;
}

static void XMLCALL on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct xml *x = arg;
	int err;

	(void)attributes;
	if (x->err)
		return;
	x->len = 0;
	x->text[0] = '\0';
	if (++x->depth > XML_DEPTH_MAX) {
		stop(x, -EPROTO);
		return;
	}
	err = call(x, name, true);
	if (err)
		stop(x, err);
}

static void XMLCALL on_end(void *arg, const XML_Char *name)
{
	struct xml *x = arg;
	int err;

	if (x->err)
		return;
	x->depth--;
	x->text[x->len] = '\0';
	err = call(x, name, false);
	if (err)
		stop(x, err);
	x->len = 0;
	x->text[0] = '\0';
}

static void XMLCALL on_text(void *arg, const XML_Char *s, int len)
{
	struct xml *x = arg;

	if (x->err || len <= 0)
		return;
	if ((size_t)len > XML_TEXT_MAX - x->len) {
		stop(x, -EPROTO);
		return;
	}
	memcpy(x->text + x->len, s, (size_t)len);
	x->len += (size_t)len;
}

static void XMLCALL on_doctype(void *arg, const XML_Char *name, const XML_Char *system,
			       const XML_Char *public, int has_subset)
{
	(void)name;
	(void)system;
	(void)public;
	(void)has_subset;
	stop(arg, -EPROTO);
}

struct xml *xml_new(const struct xml_hooks *hooks, void *arg)
{
	struct xml *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->hooks = *hooks;
	x->arg = arg;
	x->parser = XML_ParserCreateNS(NULL, SEPARATOR);
	if (!x->parser) {
		free(x);
		return NULL;
	}
	XML_SetUserData(x->parser, x);
	XML_SetElementHandler(x->parser, on_start, on_end);
	XML_SetCharacterDataHandler(x->parser, on_text);
	XML_SetStartDoctypeDeclHandler(x->parser, on_doctype);
	return x;
}

static int parse(struct xml *x, const void *buf, size_t len, int last)
{
	enum XML_Status status;

	if (x->err)
		return x->err;
	status = XML_Parse(x->parser, buf, (int)len, last);
	if (!x->err && status != XML_STATUS_OK)
		x->err = XML_GetErrorCode(x->parser) == XML_ERROR_NO_MEMORY ? -ENOMEM : -EPROTO;
	return x->err;
}

int xml_feed(void *xml, const void *buf, size_t len)
{
	struct xml *x = xml;
	const char *at = buf;

	while (len) {
		size_t n = len < 65536 ? len : 65536;
		int err = parse(x, at, n, 0);

		if (err)
			return err;
		at += n;
		len -= n;
	}
	return 0;
}

int xml_finish(struct xml *x)
{
	return parse(x, "", 0, 1);
}

void xml_free(struct xml *x)
{
	if (!x)
		return;
	XML_ParserFree(x->parser);
	free(x);
}
