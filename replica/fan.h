/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One call on several mirrors at once: the caller's thread serves the first
 * member, helper threads the others. Worth it where a call waits for a disk
 * (syncs) or moves much data; a hand-over to another thread costs tens of
 * microseconds.
 */
#ifndef REPLICA_FAN_H
#define REPLICA_FAN_H

#include <stdint.h>

/* Calls fn(m, arg) for each bit of mask; result[m] gets what it returned. */
void fan_run(uint32_t mask, int (*fn)(int m, void *arg), void *arg, int *result);
/* Ends the helper threads. */
void fan_stop(void);

#endif
