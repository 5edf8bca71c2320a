/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What S3 means: from the <Code> of an answer to the errno of store.h, and the
 * text of single elements. The body of an error is cut off at some length, so
 * what stands in it counts even if the rest is missing.
 */
#include "replica/remote/store_s3.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *code;
	int err;
	const char *hint;        /* what to do, instead of the server's message */
} codes[] = {
	{ "AccessDenied", -EACCES, NULL },
	{ "AccountProblem", -EACCES, NULL },
	{ "AuthorizationHeaderMalformed", -ENOTSUP, NULL },
	{ "BadDigest", -EAGAIN, NULL },
	{ "ConditionalRequestConflict", -EAGAIN, NULL },
	{ "EntityTooLarge", -EFBIG, NULL },
	{ "ExpiredToken", -EACCES, NULL },
	{ "IncompleteBody", -EAGAIN, NULL },
	{ "InternalError", -EAGAIN, NULL },
	{ "InvalidAccessKeyId", -EACCES, "the access key is not known there" },
	{ "InvalidBucketName", -ENOTSUP, NULL },
	{ "InvalidSecurity", -EACCES, NULL },
	{ "InvalidToken", -EACCES, NULL },
	{ "NoSuchBucket", -ENOTSUP, "there is no such bucket: make it, or correct the URL" },
	{ "NoSuchKey", -ENOENT, NULL },
	{ "NoSuchUpload", -EAGAIN, NULL },
	{ "NotImplemented", -ENOTSUP, NULL },
	{ "OperationAborted", -EAGAIN, NULL },
	{ "PermanentRedirect", -ENOTSUP, NULL },
	{ "PreconditionFailed", -EEXIST, NULL },
	{ "QuotaExceeded", -ENOSPC, NULL },
	{ "RequestTimeTooSkewed", -EACCES, "the clocks differ: set ours or the server's" },
	{ "RequestTimeout", -EAGAIN, NULL },
	{ "ServiceUnavailable", -EAGAIN, NULL },
	{ "SignatureDoesNotMatch", -EACCES, "the secret key is not that of the access key" },
	{ "SlowDown", -EAGAIN, NULL },
	{ "TemporaryRedirect", -ENOTSUP, NULL },
	{ "XAmzContentSHA256Mismatch", -EAGAIN, NULL },
	{ "XMinioStorageFull", -ENOSPC, NULL },
};

/* --- single elements ---------------------------------------------------------- */

struct pick {
	const char *name;
	char *text;              /* of its first occurrence that has any; "" if none */
	size_t n;
	bool seen;
};

struct picks {
	struct pick *pick;
	size_t n;
};

static int on_end(void *arg, const char *ns, const char *name, const char *text)
{
	const struct picks *p = arg;
	size_t i;

	(void)ns;
	for (i = 0; i < p->n; i++) {
		struct pick *one = &p->pick[i];

		if (strcmp(one->name, name))
			continue;
		one->seen = true;
		if (one->n && !one->text[0])
			snprintf(one->text, one->n, "%s", text);
	}
	return 0;
}

/* 0, or -EPROTO: not whole, or no XML at all. */
static int pick(const struct work *w, struct pick *list, size_t n)
{
	static const struct xml_hooks hooks = { .end = on_end };
	struct picks p = { list, n };
	struct xml *x;
	size_t i;
	int err;

	for (i = 0; i < n; i++)
		if (list[i].n)
			list[i].text[0] = '\0';
	if (!w->req.body || !w->req.body_got)
		return -EPROTO;
	x = xml_new(&hooks, &p);
	if (!x)
		return -ENOMEM;
	err = xml_feed(x, w->req.body, w->req.body_got);
	if (!err)
		err = xml_finish(x);
	xml_free(x);
	return err;
}

bool s3_code_is(const struct work *w, const char *code)
{
	char text[64];
	struct pick p = { .name = "Code", .text = text, .n = sizeof(text) };

	pick(w, &p, 1);
	return !strcmp(text, code);
}

/* --- judging ------------------------------------------------------------------ */

static int refuse(struct work *w, const char *code, const char *message)
{
	int err = store_errno(w->req.status);
	const char *hint = NULL;
	char words[S3_WORDS];
	size_t i;

	/* An error in an answer that was begun as 200: it came up while the server was busy. */
	if (!err)
		err = -EAGAIN;
	/* To S3 a conflict is of the moment. */
	if (w->req.status == 409)
		err = -EAGAIN;
	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (!strcmp(codes[i].code, code)) {
			err = codes[i].err;
			hint = codes[i].hint;
		}
	if (!hint)
		hint = message;
	snprintf(words, sizeof(words), "%s%s%s", code, *code && *hint ? ": " : "", hint);
	return store_refused(w, err, words);
}

int s3_judge(struct work *w)
{
	char code[64], message[256];
	struct pick p[] = {
		{ .name = "Code", .text = code, .n = sizeof(code) },
		{ .name = "Message", .text = message, .n = sizeof(message) },
	};

	if (w->own || w->req.err || w->req.status / 100 == 2)
		return store_judge(w);
	pick(w, p, 2);
	if (!*code && w->req.status != 409)
		return store_judge(w);
	return refuse(w, code, message);
}

int s3_judge_result(struct work *w, const char *name, char *text, size_t n)
{
	char code[64], message[256];
	struct pick p[] = {
		{ .name = "Code", .text = code, .n = sizeof(code) },
		{ .name = "Message", .text = message, .n = sizeof(message) },
		{ .name = name, .text = text, .n = n },
	};
	int err = s3_judge(w);

	if (err)
		return err;
	err = pick(w, p, 3);
	if (*code)
		return refuse(w, code, message);
	if (err || !p[2].seen || (n && !*text))
		return store_fail(w, -EPROTO, "an answer without %s", name);
	return 0;
}
