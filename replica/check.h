/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checking one object against what is known of it, and healing it. The same
 * functions serve a read that meets a bad leaf, lookup, scrub, repair and
 * the catching-up of a stale mirror; they differ in how deep they look.
 */
#ifndef REPLICA_CHECK_H
#define REPLICA_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "replica/dir.h"
#include "replica/file.h"
#include "replica/scrub.h"
#include "replica/volume.h"

struct check {
	struct volume *v;
	bool deep;           /* read all content, from the medium */
	bool dry_run;        /* find, change nothing */
	uint8_t type;        /* of the object at hand, for reports */
	bool settling;       /* what is found are traces of an unclean end, no faults */
	bool adopt;          /* what has no record is the user's: give it one */
	uint32_t mask;       /* members looked at and healed */
	uint32_t sources;    /* members that may be believed (in-sync) */
	struct scrub_stats *stats;                     /* may be NULL */
	void (*finding)(const struct scrub_finding *f, void *arg); /* may be NULL */
	void *arg;
	char remote[64];     /* source -2 of a report: the remote that the last leaf came from */
};

/* The ordinary check of a request in flight: shallow, heals, no callbacks. */
void check_init(struct check *c, struct volume *v);
/* While a walk runs in this thread, checks begun by what it calls (loading of
 * a file or directory) report to it and are as dry as it is. NULL ends it. */
void check_scope(const struct check *c);

enum finding_kind {
	FIND_LEAF,       /* bytes do not match their hash */
	FIND_SIZE,
	FIND_MISSING,    /* object not there */
	FIND_TYPE,       /* something else of that name */
	FIND_RECORD,     /* record lost or wrong */
	FIND_META,       /* mode, owner, xattrs */
	FIND_MTIME,
	FIND_HASHES,     /* page of the hash file */
	FIND_FOREIGN,    /* nobody's entry */
	FIND_LINK,       /* names of one file are not one inode */
	FIND_STALE,      /* a stale mirror's older state */
	FIND_NAMES,      /* directory sum */
	FIND_UNVERIFIED, /* undecidable after a crash */
};

/* Reports a finding: event, counters, callback. action: "repaired", ... */
void check_report(struct check *c, enum finding_kind kind, const char *path, uint64_t off,
		  uint64_t len, int member, int source, const char *found, const char *action);

struct recover;
/*
 * Leaves first..first+n-1 (n <= 256) of f on all members of c->mask: reads
 * every copy, chooses, repairs. out (may be NULL): n leaves of good bytes.
 * rc (may be NULL): the content was left open, it says which hashes may be
 * right, and what is chosen sets them anew (recover.h). Exclusive f->lock.
 * 0; -EIO if a leaf has no good copy (the others are done all the same).
 */
int check_window(struct check *c, struct file *f, uint64_t first, unsigned n,
		 struct recover *rc, uint8_t *out);

/*
 * Of leaves that no mirror has: out gets those that a remote has and that match
 * their (known) hashes, good says which. -ENODATA: none has. Waits for the network.
 */
int check_remote_leaves(struct check *c, struct file *f, uint64_t first, unsigned n,
			uint8_t *out, bool *good);
/* Of a small file no copy matches its root: its leaf hashes, if a remote has content that
 * does. Exclusive f->lock. */
void check_remote_hashes(struct check *c, struct file *f);

/* The copy on m gets the size of f; what it has beyond goes into quarantine. */
int check_size(struct check *c, struct file *f, int m);
/* Everything about a non-directory's content, and its hash pages. Exclusive f->lock. */
int check_content(struct check *c, struct file *f);

/*
 * One entry on all members of c->mask: there, right type, record, metadata,
 * and with c->deep the content. Takes dir.lock of the parent. *node (may be NULL) gets
 * the node with a reference. -ENOENT if the name belongs to nobody.
 */
int check_entry(struct check *c, uint32_t parent, const char *name, uint32_t *node);
/* The same for a node by one of its names (or none: then 0). */
int check_node(struct check *c, uint32_t node);

/* All names of a directory: lists every member, settles what differs.
 * Takes its dir.lock. */
int check_names(struct check *c, uint32_t dir);

/* ---- between the files of the check; the parent's dir.lock is held ---- */

/* What an entry is taken to be. */
struct truth {
	uint64_t id;
	uint8_t type;
	uint32_t have;       /* members that have it: right type, right id or no record */
};
/* Makes every member of c->mask have the entry; *node as in check_entry. */
int settle_entry(struct check *c, struct dir *d, const char *name, const struct truth *t,
		 uint32_t *node);
/* The preferred mirror of id if it is in `of` (not empty), else the lowest. */
int check_pick(const struct check *c, uint32_t of, uint64_t id);
/* good: members whose mtime may be believed. d->lock held. */
void level_dir_times(struct check *c, struct dir *d, uint32_t good);
/* The root has no entry: its metadata is checked with its names. d->lock held. */
void check_root(struct check *c, struct dir *root);
/* suspect (may be NULL): a name under which the members have different objects. */
int names_locked(struct check *c, struct dir *d, const char *suspect);
/* Puts the object of f (or directory node) where it lacks on member m. f->lock
 * exclusive (f NULL: a directory). src: a member with a good copy. */
int rebuild_object(struct check *c, struct dir *d, const char *name, uint32_t node,
		   struct file *f, int m, int src);
/* Moves dir/name of member m into quarantine. */
int banish(struct check *c, struct dir *d, const char *name, int m, enum finding_kind kind,
	   const char *why);
#endif
