/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Paths of the command line. Pure: looks at no filesystem. */
#ifndef TOOLS_PATHS_H
#define TOOLS_PATHS_H

#include <stddef.h>

/*
 * base/add without empty and "." components, relative to the volume's root
 * ("" is the root itself). base may be "". 0, -EINVAL (a ".." component) or
 * -ENAMETOOLONG.
 */
int paths_join(const char *base, const char *add, char *out, size_t n);
/* What is left of path below dir, compared by components; NULL if it is not
 * inside. "" when it is dir. Neither is resolved. */
const char *paths_below(const char *path, const char *dir);

#endif
