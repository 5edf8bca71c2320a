/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Listing at S3: ListObjectsV2 with a delimiter, page by page. Keys come
 * percent-encoded (encoding-type=url), since XML cannot hold all of them; a
 * server that does not do so is refused. Entries go to the caller while a page
 * is read, so memory does not depend on how many there are. A name that could
 * not be asked for again ("..", "a//b", the marker object of the collection
 * itself) is left out. An empty collection and a missing one look the same: 0.
 */
#include "replica/remote/store_s3.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TOKEN_MAX 4096
#define ENCODED_MAX (3 * S3_KEY_MAX + 1)

enum within { TOP, OBJECT, PREFIX };

struct listing {
	struct work *w;
	struct xml *xml;             /* of this page */
	char prefix[S3_KEY_MAX + 2]; /* of the keys, with its slash */
	char token[TOKEN_MAX], next[TOKEN_MAX];
	bool is_list, encoded, truncated;
	enum within within;
	char key[ENCODED_MAX];       /* of the entry that is being read */
	uint64_t size;
	int64_t mtime;
};

/* --- entries ------------------------------------------------------------------ */

static int decode_key(char *key)
{
	char *p;

	/* Some encode a blank as a form does; a plus itself is always encoded. */
	for (p = key; *p; p++)
		if (*p == '+')
			*p = ' ';
	return store_decode(key);
}

static int found(struct listing *l, bool dir)
{
	struct store_op *op = l->w->op;
	size_t n = strlen(l->prefix), len;
	struct store_found f = { .dir = dir, .size = dir ? UINT64_MAX : l->size,
				 .mtime = dir ? 0 : l->mtime };
	char *name;
	int err;

	if (decode_key(l->key) || strncmp(l->key, l->prefix, n))
		return -EPROTO;
	name = l->key + n;
	len = strlen(name);
	if (dir && (!len || name[len - 1] != '/'))
		return -EPROTO;
	if (dir)
		name[len - 1] = '\0';
	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return 0;
	if (strchr(name, '/'))
		return -EPROTO;
	f.name = name;
	err = op->found ? op->found(op->found_arg, &f) : 0;
	if (err)
		l->w->own = err;
	return err;
}

/* --- one page ----------------------------------------------------------------- */

static int64_t parse_time(const char *text)
{
	struct tm tm;

	memset(&tm, 0, sizeof(tm));
	return strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) ? (int64_t)timegm(&tm) : 0;
}

static int parse_size(const char *text, uint64_t *size)
{
	char *end;

	errno = 0;
	*size = strtoull(text, &end, 10);
	return errno || end == text || *end || !(*text >= '0' && *text <= '9') ? -EPROTO : 0;
}

static int take(char *to, size_t n, const char *text)
{
	return (size_t)snprintf(to, n, "%s", text) < n ? 0 : -EPROTO;
}

static int on_start(void *arg, const char *ns, const char *name)
{
	struct listing *l = arg;

	(void)ns;
	if (!strcmp(name, "ListBucketResult"))
		l->is_list = true;
	if (!strcmp(name, "Contents") || !strcmp(name, "CommonPrefixes")) {
		l->within = name[2] == 'n' ? OBJECT : PREFIX;
		l->key[0] = '\0';
		l->size = UINT64_MAX;
		l->mtime = 0;
	}
	return 0;
}

static int in_object(struct listing *l, const char *name, const char *text)
{
	if (!strcmp(name, "Key"))
		return take(l->key, sizeof(l->key), text);
	if (!strcmp(name, "Size"))
		return parse_size(text, &l->size);
	if (!strcmp(name, "LastModified"))
		l->mtime = parse_time(text);
	if (strcmp(name, "Contents"))
		return 0;
	l->within = TOP;
	return found(l, false);
}

static int in_prefix(struct listing *l, const char *name, const char *text)
{
	if (!strcmp(name, "Prefix"))
		return take(l->key, sizeof(l->key), text);
	if (strcmp(name, "CommonPrefixes"))
		return 0;
	l->within = TOP;
	return found(l, true);
}

static int on_end(void *arg, const char *ns, const char *name, const char *text)
{
	struct listing *l = arg;

	(void)ns;
	if (l->within == OBJECT)
		return in_object(l, name, text);
	if (l->within == PREFIX)
		return in_prefix(l, name, text);
	if (!strcmp(name, "NextContinuationToken"))
		return take(l->next, sizeof(l->next), text);
	if (!strcmp(name, "IsTruncated"))
		l->truncated = !strcmp(text, "true");
	if (!strcmp(name, "EncodingType"))
		l->encoded = !strcmp(text, "url");
	return 0;
}

static int page_begin(struct listing *l)
{
	static const struct xml_hooks hooks = { on_start, on_end };

	xml_free(l->xml);
	l->is_list = l->encoded = l->truncated = false;
	l->within = TOP;
	l->next[0] = l->key[0] = '\0';
	l->xml = xml_new(&hooks, l);
	return l->xml ? 0 : -ENOMEM;
}

/* --- all of them -------------------------------------------------------------- */

static int list_new(struct work *w, struct listing **out)
{
	struct listing *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	l->w = w;
	w->state = *out = l;
	err = s3_key(w->store, w->op->name, l->prefix);
	if (!err && l->prefix[0])
		strcat(l->prefix, "/");
	return err;
}

int s3_list_send(struct work *w)
{
	struct listing *l = w->state;
	struct s3_call c = { .method = "GET" };
	int err = l ? 0 : list_new(w, &l);

	if (!err)
		err = page_begin(l);
	if (err)
		return err;
	c.query[c.n_query++] = (struct sigv4_pair){ "list-type", "2" };
	c.query[c.n_query++] = (struct sigv4_pair){ "delimiter", "/" };
	c.query[c.n_query++] = (struct sigv4_pair){ "encoding-type", "url" };
	c.query[c.n_query++] = (struct sigv4_pair){ "max-keys", "1000" };
	c.query[c.n_query++] = (struct sigv4_pair){ "prefix", l->prefix };
	if (l->token[0])
		c.query[c.n_query++] = (struct sigv4_pair){ "continuation-token", l->token };
	err = s3_send(w, &c);
	w->req.write = xml_feed;
	w->req.write_arg = l->xml;
	return err;
}

/* Whether the page is what was asked for; else why not. */
static const char *page_wrong(const struct listing *l)
{
	if (!l->is_list)
		return "no list of objects";
	if (!l->encoded)
		return "the server cannot encode names (encoding-type=url)";
	if (l->truncated && (!l->next[0] || !strcmp(l->next, l->token)))
		return "a list that does not go on";
	return NULL;
}

int s3_list_done(struct work *w)
{
	struct listing *l = w->state;
	const char *wrong = NULL;
	int err;

	if (!w->own && w->req.err == -EPROTO)
		return store_fail(w, -EPROTO, "the list is damaged, or of something else");
	err = s3_judge(w);
	if (err)
		return err;
	wrong = xml_finish(l->xml) ? "the list is cut off" : page_wrong(l);
	if (wrong)
		return store_fail(w, -EPROTO, "%s", wrong);
	if (!l->truncated)
		return 0;
	strcpy(l->token, l->next);
	return s3_go(w, S3_LIST);
}

void s3_list_free(void *state)
{
	struct listing *l = state;

	if (l)
		xml_free(l->xml);
	free(l);
}
