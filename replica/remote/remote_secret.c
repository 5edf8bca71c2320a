/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The credentials file. What was read is wiped as soon as it is not needed any
 * more, on every way out; no message repeats anything of the file but the keys
 * that we know. No state, no locks.
 */
#include "replica/remote/remote_def.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/remote/http.h"

#define FILE_MAX 16384

enum key { USER, PASSWORD, TOKEN, AUTH, ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, N_KEYS };

static const struct {
	const char *name;
	enum remote_kind kind;
} known[N_KEYS] = {
	[USER] = { "user", REMOTE_WEBDAV },
	[PASSWORD] = { "password", REMOTE_WEBDAV },
	[TOKEN] = { "token", REMOTE_WEBDAV },
	[AUTH] = { "auth", REMOTE_WEBDAV },
	[ACCESS_KEY] = { "access-key", REMOTE_S3 },
	[SECRET_KEY] = { "secret-key", REMOTE_S3 },
	[SESSION_TOKEN] = { "session-token", REMOTE_S3 },
};

static const char *const kind_text[] = { [REMOTE_WEBDAV] = "WebDAV", [REMOTE_S3] = "S3" };
static const char *const allowed[] = {
	[REMOTE_WEBDAV] = "user, password, token, auth",
	[REMOTE_S3] = "access-key, secret-key, session-token",
};

/* One reading. Values point into text. */
struct load {
	const char *path;
	enum remote_kind kind;
	char text[FILE_MAX + 2];
	size_t len;
	char *value[N_KEYS];
	char *error;
	size_t n;
};

static int bad(struct load *l, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int bad(struct load *l, int err, const char *fmt, ...)
{
	char why[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	snprintf(l->error, l->n, "credentials file %s: %s", l->path, why);
	return err;
}

/* ---- the file ---- */

static int check_file(struct load *l, const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return bad(l, -EINVAL, "is not a regular file");
	if (st->st_uid != geteuid() && st->st_uid != 0)
		return bad(l, -EPERM, "belongs to user %u, neither to us nor to root",
			   (unsigned)st->st_uid);
	if (st->st_mode & 0177)
		return bad(l, -EPERM, "has mode %04o, must be 0600 or stricter",
			   (unsigned)st->st_mode & 07777);
	if (st->st_size > FILE_MAX)
		return bad(l, -EFBIG, "is larger than %d bytes", FILE_MAX);
	return 0;
}

static int read_text(struct load *l)
{
	/* a FIFO must not hold us up */
	CLEANUP_CLOSE int fd = open(l->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY |
				    O_CLOEXEC);
	struct stat st;
	ssize_t got;
	int r;

	if (fd < 0)
		return errno == ELOOP ? bad(l, -ELOOP, "is a symbolic link") :
			bad(l, -errno, "%s", strerror(errno));
	if (fstat(fd, &st) < 0)
		return bad(l, -errno, "%s", strerror(errno));
	r = check_file(l, &st);
	if (r < 0)
		return r;
	got = io_pread_full(fd, l->text, FILE_MAX + 1, 0);
	if (got < 0)
		return bad(l, (int)got, "%s", strerror((int)-got));
	if (got > FILE_MAX) /* it grew */
		return bad(l, -EFBIG, "is larger than %d bytes", FILE_MAX);
	l->len = (size_t)got;
	l->text[l->len] = '\0';
	if (memchr(l->text, '\0', l->len))
		return bad(l, -EINVAL, "has zero bytes in it");
	return 0;
}

/* ---- its lines ---- */

static char *trim(char *s)
{
	size_t len;

	s += strspn(s, " \t");
	len = strlen(s);
	while (len && strchr(" \t\r", s[len - 1]))
		len--;
	s[len] = '\0';
	return s;
}

/* They end up in the headers of requests. */
static bool has_control(const char *s)
{
	for (; *s; s++)
		if (iscntrl((unsigned char)*s))
			return true;
	return false;
}

static int take_line(struct load *l, char *line, unsigned no)
{
	char *eq, *key, *value;
	unsigned k = 0;

	line = trim(line);
	if (!*line || *line == '#')
		return 0;
	eq = strchr(line, '=');
	if (!eq)
		return bad(l, -EINVAL, "line %u: not \"key = value\"", no);
	*eq = '\0';
	key = trim(line);
	value = trim(eq + 1);
	while (k < N_KEYS && strcmp(key, known[k].name))
		k++;
	if (k == N_KEYS) /* it may be a part of a password: not repeated */
		return bad(l, -EINVAL, "line %u: unknown key; there are %s", no,
			   allowed[l->kind]);
	if (known[k].kind != l->kind)
		return bad(l, -EINVAL, "line %u: \"%s\" is for %s, this remote is %s", no,
			   known[k].name, kind_text[known[k].kind], kind_text[l->kind]);
	if (l->value[k])
		return bad(l, -EINVAL, "line %u: \"%s\" is there twice", no, known[k].name);
	if (!*value)
		return bad(l, -EINVAL, "line %u: \"%s\" has no value", no, known[k].name);
	if (has_control(value))
		return bad(l, -EINVAL, "line %u: \"%s\" has a control character", no,
			   known[k].name);
	l->value[k] = value;
	return 0;
}

static int take_lines(struct load *l)
{
	char *at = l->text;
	unsigned no = 0;
	int r = 0;

	while (r == 0 && at) {
		char *end = strchr(at, '\n');

		if (end)
			*end = '\0';
		r = take_line(l, at, ++no);
		at = end ? end + 1 : NULL;
	}
	return r;
}

/* ---- what they come to ---- */

static const struct {
	const char *name;
	enum http_auth auth;
} auths[] = {
	{ "basic", HTTP_AUTH_BASIC },
	{ "digest", HTTP_AUTH_DIGEST },
	{ "bearer", HTTP_AUTH_BEARER },
};

static int pick_auth(struct load *l, enum http_auth *auth)
{
	*auth = l->value[TOKEN] ? HTTP_AUTH_BEARER : HTTP_AUTH_BASIC;
	if (!l->value[AUTH])
		return 0;
	for (size_t i = 0; i < sizeof(auths) / sizeof(auths[0]); i++)
		if (!strcmp(l->value[AUTH], auths[i].name)) {
			*auth = auths[i].auth;
			return 0;
		}
	return bad(l, -EINVAL, "\"auth\" must be basic, digest or bearer");
}

static int judge_dav(struct load *l, enum http_auth *auth)
{
	int r = pick_auth(l, auth);

	if (r < 0)
		return r;
	if (!l->value[TOKEN] && !l->value[USER] && !l->value[PASSWORD])
		return bad(l, -EINVAL, "has neither \"user\" and \"password\" nor \"token\"");
	if (l->value[TOKEN] && (l->value[USER] || l->value[PASSWORD]))
		return bad(l, -EINVAL, "has \"token\" and \"user\" or \"password\": only one of "
			   "the two ways");
	if (l->value[TOKEN] && *auth != HTTP_AUTH_BEARER)
		return bad(l, -EINVAL, "\"token\" is for \"auth = bearer\"");
	if (l->value[TOKEN])
		return 0;
	if (*auth == HTTP_AUTH_BEARER)
		return bad(l, -EINVAL, "\"auth = bearer\" needs \"token\"");
	if (!l->value[USER] || !l->value[PASSWORD])
		return bad(l, -EINVAL, "lacks \"%s\"", l->value[USER] ? "password" : "user");
	if (strchr(l->value[USER], ':'))
		return bad(l, -EINVAL, "\"user\" must not have a ':' in it");
	return 0;
}

static int judge_s3(struct load *l)
{
	if (!l->value[ACCESS_KEY] || !l->value[SECRET_KEY])
		return bad(l, -EINVAL, "lacks \"%s\"",
			   l->value[ACCESS_KEY] ? "secret-key" : "access-key");
	if (strpbrk(l->value[ACCESS_KEY], " /,"))
		return bad(l, -EINVAL, "\"access-key\" must not have ' ', '/' or ',' in it");
	return 0;
}

static bool copy(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return *to || !from;
}

static int hand_over(struct load *l, enum http_auth auth, struct remote_secret *s)
{
	bool s3 = l->kind == REMOTE_S3;
	bool token = auth == HTTP_AUTH_BEARER;

	s->auth = auth;
	if (copy(&s->user, l->value[s3 ? ACCESS_KEY : USER]) &&
	    copy(&s->password, l->value[s3 ? SECRET_KEY : token ? TOKEN : PASSWORD]) &&
	    copy(&s->session_token, l->value[SESSION_TOKEN]))
		return 0;
	remote_secret_wipe(s);
	return bad(l, -ENOMEM, "out of memory");
}

int remote_secret_load(const char *path, enum remote_kind kind, struct remote_secret *s,
		       char *error, size_t n)
{
	struct load *l = calloc(1, sizeof(*l));
	enum http_auth auth = HTTP_AUTH_NONE;
	int r;

	memset(s, 0, sizeof(*s));
	if (!l) {
		snprintf(error, n, "credentials file %s: out of memory", path);
		return -ENOMEM;
	}
	l->path = path;
	l->kind = kind;
	l->error = error;
	l->n = n;
	r = read_text(l);
	if (r == 0)
		r = take_lines(l);
	if (r == 0)
		r = kind == REMOTE_S3 ? judge_s3(l) : judge_dav(l, &auth);
	if (r == 0)
		r = hand_over(l, auth, s);
	sodium_memzero(l, sizeof(*l));
	free(l);
	return r;
}

static void wipe(char *s)
{
	if (s)
		sodium_memzero(s, strlen(s));
	free(s);
}

void remote_secret_wipe(struct remote_secret *s)
{
	wipe(s->user);
	wipe(s->password);
	wipe(s->session_token);
	sodium_memzero(s, sizeof(*s));
}
