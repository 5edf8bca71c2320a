// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Derives the control socket of a mount from the device number of any path in
 * it and from /proc/self/mountinfo, and escapes paths for the protocol. Keeps
 * no state and takes no locks.
 */
#include "replica/ctlpath.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "replica/base/cleanup.h"

#define SYSTEM_DIR "/run/mirrorfs"

static int copy_string(char *out, size_t n, const char *in)
{
	if (strlen(in) >= n)
		return -ENAMETOOLONG;
	strcpy(out, in);
	return 0;
}

static bool is_directory(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The directories a daemon of a user may have used, best first. */
enum { DIR_SYSTEM, DIR_XDG, DIR_RUN, DIR_TMP, DIR_COUNT };

/* Writes the base directory (which must exist beforehand) and the directory
 * itself. Returns 0, -ENOENT if this row does not apply, -ENAMETOOLONG. */
static int candidate(int row, uid_t uid, char *base, char *out, size_t n)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	int len, baselen = 0;

	switch (row) {
	case DIR_SYSTEM:
		baselen = snprintf(base, n, "/run");
		len = snprintf(out, n, "%s", SYSTEM_DIR);
		break;
	case DIR_XDG:
		/* the environment speaks of the caller, of nobody else */
		if (uid != geteuid() || !xdg || xdg[0] != '/')
			return -ENOENT;
		baselen = snprintf(base, n, "%s", xdg);
		len = snprintf(out, n, "%s/mirrorfs", xdg);
		break;
	case DIR_RUN:
		baselen = snprintf(base, n, "/run/user/%u", (unsigned)uid);
		len = snprintf(out, n, "/run/user/%u/mirrorfs", (unsigned)uid);
		break;
	default:
		baselen = snprintf(base, n, "/tmp");
		len = snprintf(out, n, "/tmp/mirrorfs-%u", (unsigned)uid);
		break;
	}
	return len >= (int)n || baselen >= (int)n ? -ENAMETOOLONG : 0;
}

int ctlpath_dir(uid_t uid, char *out, size_t n)
{
	char base[CTLPATH_SOCKET_MAX], dir[CTLPATH_SOCKET_MAX];
	int r;

	for (int row = uid == 0 ? DIR_SYSTEM : DIR_XDG; row < DIR_COUNT; row++) {
		r = candidate(row, uid, base, dir, sizeof(dir));
		if (r == -ENOENT || (r == 0 && row != DIR_TMP && !is_directory(base)))
			continue;
		if (r < 0)
			return r;
		return copy_string(out, n, dir);
	}
	return -ENOENT; /* not reached: /tmp always applies */
}

int ctlpath_socket(const char *dir, dev_t dev, char *out, size_t n)
{
	int len = snprintf(out, n, "%s/%u-%u.sock", dir, major(dev), minor(dev));

	return len >= (int)n ? -ENAMETOOLONG : 0;
}

/* Undoes the \040 of mountinfo; anything else stays as it is. */
static void mountinfo_unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

struct mount_line {
	dev_t dev;
	char *root, *point, *type;
	uid_t owner;
};

/* Owner of a FUSE mount, from the last field of the line (its super options):
 * the source field before it may hold any text. */
static uid_t owner_of(const char *options)
{
	static const char key[] = "user_id=";
	const char *p = options;

	while ((p = strstr(p, key))) {
		if (p == options || p[-1] == ',')
			return (uid_t)strtoul(p + sizeof(key) - 1, NULL, 10);
		p++;
	}
	return 0;
}

/* "36 35 0:53 /root /point rw shared:1 - type source options" */
static bool parse_line(char *line, struct mount_line *m)
{
	char *field[6], *save = NULL, *tok, *last;
	unsigned maj, min;

	line[strcspn(line, "\n")] = '\0';
	last = strrchr(line, ' ');
	m->owner = last ? owner_of(last + 1) : 0;
	for (int i = 0; i < 6; i++) {
		field[i] = strtok_r(i ? NULL : line, " ", &save);
		if (!field[i])
			return false;
	}
	do
		tok = strtok_r(NULL, " ", &save);
	while (tok && strcmp(tok, "-") != 0);
	m->type = strtok_r(NULL, " ", &save);
	if (!m->type || sscanf(field[2], "%u:%u", &maj, &min) != 2)
		return false;
	m->dev = makedev(maj, min);
	m->root = field[3];
	m->point = field[4];
	mountinfo_unescape(m->root);
	mountinfo_unescape(m->point);
	return true;
}

/* What is left of path below dir ("" for dir itself, else "/..."), or NULL. */
static const char *below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	if (len == 1)
		return path[1] ? path : "";
	if (strncmp(path, dir, len) != 0 || (path[len] != '/' && path[len]))
		return NULL;
	return path + len;
}

static int set_mount(struct ctlpath *out, const struct mount_line *m, const char *rest)
{
	const char *root = strcmp(m->root, "/") == 0 ? "" : m->root;
	char rel[2 * PATH_MAX];
	int r;

	out->dev = m->dev;
	out->owner = m->owner;
	r = copy_string(out->point, sizeof(out->point), m->point);
	if (r == 0 && snprintf(rel, sizeof(rel), "%s%s", root, rest) >= (int)sizeof(rel))
		r = -ENAMETOOLONG;
	if (r == 0)
		r = copy_string(out->rel, sizeof(out->rel), rel[0] == '/' ? rel + 1 : rel);
	return r;
}

int ctlpath_scan(FILE *mountinfo, dev_t dev, const char *real, struct ctlpath *out)
{
	CLEANUP_FREE char *line = NULL;
	struct mount_line m;
	size_t size = 0, best = 0;
	const char *rest;
	int r = -ENODEV;

	/* bind mounts give one device several lines: the nearest one counts */
	while (getline(&line, &size, mountinfo) >= 0) {
		if (!parse_line(line, &m) || m.dev != dev || strcmp(m.type, CTLPATH_FSTYPE) != 0)
			continue;
		rest = below(real, m.point);
		if (!rest || strlen(m.point) < best)
			continue;
		best = strlen(m.point);
		r = set_mount(out, &m, rest);
		if (r < 0)
			return r;
	}
	return r;
}

/* Looks for the socket in every directory of one user. 1: found, 0: not. */
static int find_socket(uid_t uid, struct ctlpath *c)
{
	char base[CTLPATH_SOCKET_MAX], dir[CTLPATH_SOCKET_MAX];
	struct stat st;

	for (int row = 0; row < DIR_COUNT; row++) {
		if (candidate(row, uid, base, dir, sizeof(dir)) < 0 ||
		    ctlpath_socket(dir, c->dev, c->socket, sizeof(c->socket)) < 0)
			continue;
		/* one that may not be looked at is found: connecting says why */
		if (lstat(c->socket, &st) == 0 || errno == EACCES)
			return 1;
	}
	c->socket[0] = '\0';
	return 0;
}

int ctlpath_find(const char *path, struct ctlpath *out)
{
	CLEANUP_FREE char *real = NULL;
	struct stat st;
	FILE *f;
	int r;

	out->socket[0] = '\0';
	if (stat(path, &st) < 0)
		return -errno;
	real = realpath(path, NULL);
	if (!real)
		return -errno;
	f = fopen("/proc/self/mountinfo", "re");
	if (!f)
		return -errno;
	r = ctlpath_scan(f, st.st_dev, real, out);
	fclose(f);
	if (r < 0)
		return r;
	if (find_socket(geteuid(), out) || (geteuid() == 0 && find_socket(out->owner, out)))
		return 0;
	return -ECONNREFUSED;
}

/* Length of the well-formed UTF-8 sequence at s (RFC 3629) that is not a
 * control character, or 0. */
static size_t utf8_length(const unsigned char *s)
{
	uint32_t c;
	size_t len;

	if (s[0] < 0x80)
		return s[0] >= 0x20 && s[0] != 0x7f;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	c = s[0] & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fu);
	}
	if (c < 0xa0 || (len == 3 && c < 0x800) || (len == 4 && c < 0x10000))
		return 0;
	return (c >= 0xd800 && c < 0xe000) || c > 0x10ffff ? 0 : len;
}

static char *escape(const char *in, bool backslash)
{
	const unsigned char *s = (const unsigned char *)in;
	char *out = malloc(strlen(in) * 4 + 1), *to = out;
	size_t len;

	if (!out)
		return NULL;
	while (*s) {
		len = backslash && *s == '\\' ? 0 : utf8_length(s);
		if (len == 0)
			to += sprintf(to, "\\%03o", (unsigned)*s);
		memcpy(to, s, len);
		to += len;
		s += len ? len : 1;
	}
	*to = '\0';
	return out;
}

char *ctlpath_escape(const char *path)
{
	return escape(path, true);
}

char *ctlpath_printable(const char *text)
{
	return escape(text, false);
}

int ctlpath_unescape(char *path)
{
	char *to = path;
	unsigned byte;

	for (const char *s = path; *s; s++) {
		if (*s != '\\') {
			*to++ = *s;
			continue;
		}
		byte = 0;
		for (int i = 1; i <= 3; i++) {
			if (s[i] < '0' || s[i] > '7')
				return -EINVAL;
			byte = byte * 8 + (unsigned)(s[i] - '0');
		}
		if (byte == 0 || byte > 255)
			return -EINVAL;
		*to++ = (char)byte;
		s += 3;
	}
	*to = '\0';
	return 0;
}
