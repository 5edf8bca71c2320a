/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers on the command line. Pure. */
#ifndef TOOLS_VALUES_H
#define TOOLS_VALUES_H

#include <stdint.h>

/* Each: 0, or -EINVAL and *out is untouched. No sign, no space, nothing behind. */
/* "120"; at most 2^31 - 1. */
int values_count(const char *text, int64_t *out);
/* "30", "30%"; at most 100. */
int values_percent(const char *text, int64_t *out);
/* "4096", "512K", "10M", "1G", "2T": powers of 1024. */
int values_size(const char *text, int64_t *out);

#endif
