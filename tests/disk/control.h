/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control file: one command a line.
 *
 *   record                      what is written so far is durable; an empty log
 *   stop                        end of the recording
 *   snap OUTDIR SEED PCT TORN   images of a power cut now (absolute path)
 *   mark TEXT                   a line in the log
 *   eio NAME OPS OFF LEN [SKIP [COUNT]]        OPS: of r, w, s (flush), or *;
 *   err NAME OPS OFF LEN ERRNO [SKIP [COUNT]]  after SKIP such requests COUNT fail
 *   delay NAME OPS MS
 *   hang NAME 0|1
 *   lie NAME 0|1                flushes are acknowledged and not done
 *   clear NAME                  a healthy disk; "clear *": all
 *
 * Numbers take K, M, G and T.
 */
#ifndef TESTS_DISK_CONTROL_H
#define TESTS_DISK_CONTROL_H

#include <stddef.h>

/* Carries out a text of one or more lines. Stops at the first that fails, says
 * why on stderr and returns a negative errno. */
int control_run(const char *text, size_t len);
/* "NAME reads R writes W flushes F written BYTES failed E", one line a disk. */
size_t control_stats(char *buf, size_t size);

#endif
