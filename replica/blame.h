/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verdict carried out: who failed is ejected, the rest is the reply. */
#ifndef REPLICA_BLAME_H
#define REPLICA_BLAME_H

#include "replica/verdict.h"
#include "replica/volume.h"

/*
 * Ejects the members that missed what the others did, durably, and returns
 * what to reply. what: the operation, for the reason. name: an entry of the
 * directory node; NULL: the object node itself.
 */
int blame(struct volume *v, enum verdict_class class, uint32_t asked, const int *result,
	  const char *what, uint32_t node, const char *name);

#endif
