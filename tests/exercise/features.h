/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by the parts of the feature prober: features.c (runner, helpers),
 * features_data.c (contents, locks), features_meta.c (attributes),
 * features_rights.c (owners, groups, set-id bits) and features_dir.c (names,
 * directories). A probe runs in a child of its own
 * with an empty directory as working directory, so it may change ids and
 * umask, crash or hang without harm to the others.
 */
#ifndef TESTS_EXERCISE_FEATURES_H
#define TESTS_EXERCISE_FEATURES_H

#include <sys/stat.h>
#include <sys/types.h>

#include "common.h"

enum verdict { PROBE_OK, PROBE_FAIL, PROBE_UNSUP };

enum need { ANYONE, ROOT };

struct probe {
	const char *name;
	enum verdict (*run)(void);
	enum need need;
};

extern const struct probe data_probes[], meta_probes[], rights_probes[], dir_probes[];
extern const size_t data_probes_nr, meta_probes_nr, rights_probes_nr, dir_probes_nr;

/* How many entries the big directory gets. */
extern int features_big_dir;

/* Leaves the reason and returns the verdict. */
__attribute__((format(printf, 1, 2))) enum verdict probe_fail(const char *fmt, ...);
__attribute__((format(printf, 1, 2))) enum verdict probe_unsup(const char *fmt, ...);
/* After a failed call: not supported here, or plainly failed. */
enum verdict probe_refused(const char *call);

/* A condition that must hold. */
#define CHECK(cond, ...)                                \
	do {                                            \
		if (!(cond))                            \
			return probe_fail(__VA_ARGS__); \
	} while (0)
/* A call that must succeed. */
#define CALL(expr)                                                           \
	do {                                                                 \
		if ((expr) < 0)                                              \
			return probe_fail("%s: %s", #expr, strerror(errno)); \
	} while (0)
/* A call that a filesystem may lack. */
#define MAY_LACK(expr)                               \
	do {                                         \
		if ((expr) < 0)                      \
			return probe_refused(#expr); \
	} while (0)
/* A call that must fail with this errno. */
#define REFUSED(expr, err)                                                                \
	do {                                                                              \
		errno = 0;                                                                \
		if ((expr) >= 0 || errno != (err))                                        \
			return probe_fail("%s: %s instead of %s", #expr, strerror(errno), \
					  strerror(err));                                 \
	} while (0)

/* A file of `size` patterned bytes with exactly this mode; descriptor or -1. */
int make_file(const char *name, mode_t mode, size_t size);
/* Byte `i` of the pattern. */
unsigned char pattern(size_t i);
mode_t mode_of(const char *name);
struct stat stat_of(const char *name);
/* Runs fn in a child with these ids; returns 0 or the errno it returned. */
int as_user(uid_t uid, gid_t gid, size_t ngroups, const gid_t *groups, int (*fn)(void *),
	    void *arg);
/* As above with no supplementary groups. */
int as_uid(uid_t uid, int (*fn)(void *), void *arg);
/* For as_user: opens what the struct says. */
struct try_open {
	const char *name;
	int flags;
	mode_t mode;
};
int try_open(void *arg);
/* Waits until a change would get a later time than what stands on the file. */
void pass_tick(const char *name);

#endif
