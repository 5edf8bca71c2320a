/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A layout: how a tree lies at a store. What the uploader, restore, the read
 * fall-back and the remote scrub know of it is this page; "tree" (layout_*.c) is
 * the one there is: files under their own names, the rest in `.mirrorfs/`
 * (docs/remote-format.md).
 *
 * A layout holds the remote's state: the tree of manifests of the newest head, read
 * as needed and kept in bounded memory, with the changes since staged on top. layout_commit makes
 * them so at the store and writes the next head. What is staged shows at once in
 * layout_find: it is the state as it will be.
 *
 * One thread a layout.
 */
#ifndef REPLICA_REMOTE_LAYOUT_H
#define REPLICA_REMOTE_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "replica/remote/manifest.h"
#include "replica/remote/store.h"

#define LAYOUT_LINKS_ID 2u
#define LAYOUT_NAME_MAX 4352    /* longest name of an object, with its zero */

struct layout;
struct layout_dir;              /* a directory in that state, referenced by who uses it */

struct layout_options {
	const uint8_t *volume;      /* 16 bytes: must be this volume; NULL: any */
	const char *writer;         /* ours; NULL: read only */
	bool create;                /* an empty store is made one of ours */
	bool take_over;             /* another writer's state is ours from now on, not -EBUSY */
	size_t memory;              /* of cached manifests, about; 0: 32 MiB */
	/* Asked between requests and while waiting; true ends everything with -ECANCELED. */
	bool (*stop)(void *arg);
	void *stop_arg;
};

#define LAYOUT_ERROR_MAX 400

/*
 * Reads the format, the newest valid head and the intents beyond it (finishing or
 * undoing what a writer that died had begun). -ENOENT: nothing is there (and not create).
 * -EEXIST: something else is there, or another volume's, or another layout's. -EBUSY: another
 * writer has written since. -EPROTONOSUPPORT: made by a newer version. What the store says
 * otherwise.
 */
int layout_open(struct store *s, const struct layout_options *o, struct layout **out,
		char error[LAYOUT_ERROR_MAX]);
/* Uncommitted changes are forgotten. */
void layout_close(struct layout *l);
/* The head as committed. */
const struct remote_head *layout_head(const struct layout *l);
/* What went wrong last, for people. */
const char *layout_error(const struct layout *l);

/* ---- reading ---- */
/* The root, and the directory of links (names are ids in 16 hex digits). Referenced. */
struct layout_dir *layout_root(struct layout *l);
struct layout_dir *layout_links(struct layout *l);
void layout_dir_ref(struct layout_dir *d);
void layout_dir_put(struct layout *l, struct layout_dir *d);
/* A child directory, referenced. -ENOENT, -ENOTDIR, -EBADMSG (a damaged manifest), or of the
 * store. */
int layout_dir_open(struct layout *l, struct layout_dir *d, const char *name,
		    struct layout_dir **out);
/* By path from the root ("" is the root). */
int layout_dir_resolve(struct layout *l, const char *path, struct layout_dir **out);
uint64_t layout_dir_id(const struct layout_dir *d);
/* Path from the root; size >= LAYOUT_NAME_MAX. */
void layout_dir_path(const struct layout_dir *d, char *out, size_t size);
/* The entry, valid until the next call that changes or reads another directory. -ENOENT. */
int layout_find(struct layout *l, struct layout_dir *d, const char *name,
		const struct manifest_entry **e);
/* Each entry, in no order; non-zero from fn ends it and is returned. fn must not change d. */
int layout_each(struct layout *l, struct layout_dir *d,
		int (*fn)(const struct manifest_entry *e, void *arg), void *arg);
uint64_t layout_count(const struct layout_dir *d);   /* entries */
/* The truth about a name that is one of several: the entry in the directory of links. */
int layout_inode(struct layout *l, const struct manifest_entry *name,
		 const struct manifest_entry **e);
/* Name of the object that holds the content of entry e (a regular file) of d. */
void layout_content(struct layout *l, const struct layout_dir *d, const struct manifest_entry *e,
		    char out[LAYOUT_NAME_MAX]);
/* Leaf hashes of a large file, checked against e->root; fresh memory. */
int layout_leaves(struct layout *l, const struct manifest_entry *e, uint64_t **hash);
/* Readers. While an intent that the head does not cover is about an object (layout_content): what
 * it, or what it is moved to, may be instead. NULL: none. Its root may be that of nothing, where
 * the writer did not know it. The n-th, the newest first: it was tried again and again, and
 * changed between. */
const struct manifest_entry *layout_maybe(struct layout *l, const char *object, unsigned n);
/* ... and where object may be instead, because it is being moved: the n-th other place. -ENOENT. */
int layout_elsewhere(struct layout *l, const char *object, unsigned n, char out[LAYOUT_NAME_MAX]);

/* ---- staging ---- */
/*
 * Content of a file, from somewhere that may change. begin() fixes one state of it and says
 * what it is (size, root, leaf hashes, all attributes in *e); read() delivers it, and fails with
 * -ESTALE once it cannot any more; end() frees. What was sent counts only if end() returns 0.
 */
struct layout_source {
	int (*begin)(void *arg, struct manifest_entry *e, const uint64_t **leaves);
	ssize_t (*read)(void *arg, uint64_t off, void *buf, size_t len);
	int (*end)(void *arg);
	void (*free)(void *arg);
	void *arg;
};
/* How a staged put ended, or a move that came to nothing (-ESTALE: what was at d/name, a directory
 * with all below, is to be sent again); called by layout_commit, before it returns. result 0: it is
 * in the new head. d and name as staged. -ESTALE: it changed; -EINVAL: the store cannot hold it
 * so. */
typedef void (*layout_done)(void *arg, struct layout_dir *d, const char *name, int result,
			    const char *error);

/* Content and entry. The entry at first is what begin() says later: give name, type, id; with size
 * and root as far as they are known, an intent tells them. by_id: not under its path in any case. A
 * put that is replaced or removed before it was done is only freed. */
int layout_put(struct layout *l, struct layout_dir *d, const struct manifest_entry *e,
	       const struct layout_source *src);
/* Attributes, or an object without content (a directory that is new: empty). Content and manifest
 * references of what is there stay if the type and id are the same. */
int layout_set(struct layout *l, struct layout_dir *d, const struct manifest_entry *e);
int layout_set_root(struct layout *l, const struct manifest_entry *e);
/* All that is below a directory is staged or there: until then it is partial, also in heads. */
int layout_complete(struct layout *l, struct layout_dir *d, const char *name);
/* Content comes along by one MOVE, or a copy at the server. What is at the new place is replaced.
 * -ENOTSUP: this store cannot move that (a directory on S3): put it anew. */
int layout_move(struct layout *l, struct layout_dir *from, const char *name,
		struct layout_dir *to, const char *new_name);
/* Out of the way, to be moved on in the same commit. *token: for layout_move_in. */
int layout_move_out(struct layout *l, struct layout_dir *from, const char *name, unsigned *token);
int layout_move_in(struct layout *l, unsigned token, struct layout_dir *to, const char *new_name);
/* A file, or a directory that is empty by now. */
int layout_remove(struct layout *l, struct layout_dir *d, const char *name);
/* An inode in the directory of links that no name leads to (as of the last commit), each once. */
bool layout_unlinked(struct layout *l, uint64_t *id);
/* Whether that is not known for sure: then all names are to be counted. -EBADMSG: a
 * directory is damaged, and nothing is known yet. With nothing staged; commit what comes of it. */
bool layout_uncounted(const struct layout *l);
int layout_recount(struct layout *l);
/* What the remote should have of this entry is not there, or damaged: it counts as nothing. A
 * directory becomes empty; name NULL or "": d itself. */
int layout_spoil(struct layout *l, struct layout_dir *d, const char *name);
/* Whether an object is (of) the manifest of d as it is now. */
bool layout_holds_leaves(const struct manifest_entry *e, const char *object);
bool layout_holds(const struct layout_dir *d, const char *object);
/* All of a directory's manifest is written again. */
void layout_rewrite(struct layout *l, struct layout_dir *d);

struct layout_staged {
	uint64_t puts, put_bytes, moves, removes, sets;
};
void layout_staged(const struct layout *l, struct layout_staged *s);
/*
 * Makes it so. 0: a new head is written (or nothing was staged); layout_done was called for each
 * put. Else nothing is lost: call it again later (what was stored is not sent again), or close.
 * parallel: puts at a time, asked again and again.
 */
struct layout_run {
	unsigned (*parallel)(void *arg, int last_result);
	layout_done done;
	void (*sent)(void *arg);    /* content of a file went up; may be NULL */
	void (*stored)(void *arg, const char *object, uint64_t size, struct layout_dir *d,
		       const char *name);   /* to be looked at again after the settle time; name
						 NULL: of the manifest of d */
	void *arg;
};
int layout_commit(struct layout *l, const struct layout_run *run);

#endif
