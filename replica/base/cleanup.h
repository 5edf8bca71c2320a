/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Release bound to scope. A variable declared with one of these attributes
 * is released when it goes out of scope; steal_fd() and steal_ptr() hand the
 * resource over instead.
 */
#ifndef REPLICA_BASE_CLEANUP_H
#define REPLICA_BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_freep(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define CLEANUP_FREE __attribute__((cleanup(cleanup_freep)))
#define CLEANUP_CLOSE __attribute__((cleanup(cleanup_closep)))

static inline int steal_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

static inline void *steal_ptr_(void *pp)
{
	void *taken = *(void **)pp;

	*(void **)pp = NULL;
	return taken;
}
#define steal_ptr(pp) ((__typeof__(*(pp)))steal_ptr_(pp))

#endif
