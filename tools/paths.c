// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Joins and strips paths by their letters. ".." is refused rather than
 * resolved: what it means depends on symbolic links that only the mount or
 * the mirror knows.
 */
#include "tools/paths.h"

#include <errno.h>
#include <string.h>

/* Adds the components of in to out. */
static int add_components(const char *in, char *out, size_t n)
{
	size_t used = strlen(out), len;

	for (; *in; in += len) {
		in += strspn(in, "/");
		len = strcspn(in, "/");
		if (len == 0 || (len == 1 && in[0] == '.'))
			continue;
		if (len == 2 && in[0] == '.' && in[1] == '.')
			return -EINVAL;
		if (used + len + 2 > n)
			return -ENAMETOOLONG;
		if (used)
			out[used++] = '/';
		memcpy(out + used, in, len);
		used += len;
		out[used] = '\0';
	}
	return 0;
}

int paths_join(const char *base, const char *add, char *out, size_t n)
{
	int r;

	out[0] = '\0';
	r = add_components(base, out, n);
	return r < 0 ? r : add_components(add, out, n);
}

const char *paths_below(const char *path, const char *dir)
{
	size_t plen, dlen;

	if ((*path == '/') != (*dir == '/'))
		return NULL;
	for (;;) {
		path += strspn(path, "/");
		dir += strspn(dir, "/");
		if (!*dir)
			return path;
		plen = strcspn(path, "/");
		dlen = strcspn(dir, "/");
		if (plen != dlen || memcmp(path, dir, plen) != 0)
			return NULL;
		path += plen;
		dir += dlen;
	}
}
