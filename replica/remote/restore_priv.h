/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of restore share. One thread does all of it: the walk plans,
 * and while it waits for a free slot the requests under way go on.
 *
 * A directory being restored is a `place`. It is complete when its walk is
 * over and all below it is sealed. What is written waits in a batch: the
 * mirror is synced, then the files of the batch are sealed, then the
 * directories that are complete by that, children first.
 *
 * restore.c        the walk
 * restore_file.c   content of files; restore_slot.c: requests for it (restore_job.h)
 * restore_keep.c   writing them
 * restore_link.c   files of several names
 * restore_meta.c   attributes, symlinks and special files, records
 * restore_mirror.c the new mirror: superblock, places, the batch
 * restore_origin.c the remote as it is read: trouble and patience
 * restore_read.c   ls and cat
 */
#ifndef REPLICA_REMOTE_RESTORE_PRIV_H
#define REPLICA_REMOTE_RESTORE_PRIV_H

#include "replica/base/map.h"
#include "replica/object.h"
#include "replica/remote/restore.h"
#include "replica/remote/retry.h"
#include "replica/volume.h"

#define RESTORE_CHUNK (4u << 20)   /* of a large file, a request */
#define RESTORE_PARALLEL 8u
#define RESTORE_ID_MAX (UINT64_MAX >> 2)

/* ---- the remote (restore_origin.c) ---- */

struct origin {
	struct store *store;       /* the layout's */
	struct store *content;     /* for what is read beside it */
	struct layout *layout;
	struct retry retry;
	int64_t trouble_ms;        /* since when nothing went well, 0: all is well */
	int64_t again_ms;          /* nothing is asked before */
	bool waited;               /* ... for the layout */
	int64_t patience_ms;
	/* Called while waiting; non-zero ends it. Asked by the layout: true ends it. */
	int (*idle)(void *arg, int ms);
	bool (*stop)(void *arg);
	void *arg;
	char *error;               /* LAYOUT_ERROR_MAX */
};

enum trouble {
	TROUBLE_PASSES,            /* of the server or the way: try again */
	TROUBLE_OBJECT,            /* of this object only */
	TROUBLE_PERSON,            /* nothing goes until somebody sees to it */
};
enum trouble origin_trouble(int err);

int origin_open(struct origin *s, const struct remote_def *def,
		const struct remote_secret *secret);
void origin_close(struct origin *s);
/* Something went well. */
void origin_good(struct origin *s);
/* A request met trouble that passes: again_ms is set. -EAGAIN with error: no patience is left. */
int origin_bad(struct origin *s, int64_t retry_after, const char *line);
/* What the layout says of its last error. */
const char *origin_line(const struct origin *s, int err);
/* How a call of the layout ended. true: try it again now. *r may become -EAGAIN, or what idle
 * said. */
bool origin_again(struct origin *s, int *r);
bool origin_again_for(struct origin *s, int *r, const char *line, int64_t retry_after);
/* Layout calls that are tried again. 0 or -errno. */
int origin_dir(struct origin *s, struct layout_dir *d, const char *name, struct layout_dir **out);
/* A copy; of a name that is one of several the attributes are the inode's. */
int origin_entry(struct origin *s, struct layout_dir *d, const char *name,
		 struct manifest_entry *e, bool *link);
int origin_each(struct origin *s, struct layout_dir *d,
		int (*fn)(const struct manifest_entry *e, void *arg), void *arg,
		void (*restart)(void *arg));
/* Name of the object that holds the content of e, as origin_entry gave it. */
void origin_object(struct origin *s, struct layout_dir *d, const struct manifest_entry *e,
		   bool link, char out[LAYOUT_NAME_MAX]);
/* The directory (referenced) that holds the last part of path, and that part; "": the root. */
int origin_parent(struct origin *s, const char *path, struct layout_dir **dir, const char **last);
/* NULL with 0: none can be had; the sum has to do. */
int origin_leaves(struct origin *s, const struct manifest_entry *e, uint64_t **hash);
/* The path without slashes at its ends, fresh; NULL: no memory. */
char *origin_path(const char *path);

/*
 * Hashes of the leaves of a piece that begins at leaf `first`. known: compared with
 * hash[], else stored there. Returns the number of leaves that are good before the
 * first bad one; *bad: leaves in that row of bad ones, 0: none.
 */
uint64_t content_check(uint64_t id, uint64_t first, const uint8_t *buf, size_t len,
		       uint64_t *hash, bool known, uint64_t *bad);
uint64_t content_sum(const uint64_t *hash, uint64_t n);

/* ---- the run ---- */

/* A directory on the way to the new mirror. */
struct place {
	struct place *up;          /* NULL: the root */
	struct place *next;        /* of those that are complete */
	unsigned pending;          /* its walk, directories below, files not sealed yet */
	bool existed;              /* made by an earlier run */
	uint64_t sum, count;       /* of what is sealed */
	struct manifest_entry e;   /* name and attributes */
};

/* A file of several names. */
struct linked {
	enum { LINKED_WAITS, LINKED_THERE, LINKED_LACKS } state;
	char *path;                /* of the first name, once it is there */
	struct record rec;         /* as it is to be sealed */
	struct waiter {            /* names that came meanwhile */
		struct place *dir;
		char *name;
		struct waiter *next;
	} *waiting;
};

/* Written, not sealed. */
struct item {
	struct place *dir;
	char *name;
	struct record rec;
};

struct slot;
struct job;

struct run {
	struct origin from;
	const struct restore_options *o;
	struct restore_stats *st;
	const char *dir;
	const char *path;          /* the subtree; "": all */
	char *error;
	int fatal;                 /* ends all of it; error says why */

	struct mirror m;           /* the new one; descriptors -1 in a dry run */
	int tmpfd;
	struct superblock sb;
	bool resumed;
	uint64_t max_id;
	unsigned warned;           /* bits of what was told once */

	struct place *at;          /* whose descriptor at_fd is */
	int at_fd;
	struct item *item;
	size_t n_items, cap_items;
	uint64_t unsynced;         /* bytes in them */
	int64_t flushed_ms;
	struct place *complete, **complete_end;
	struct map links;          /* id -> struct linked */
	struct map ids;            /* those that something here has */

	struct slot *slot;
	unsigned n_slots;
	char *good;                /* an object that could be read */
	uint64_t given_up;         /* pieces that only ever met trouble */
	struct job *redo;          /* to be tried as what an upload under way makes of them */
	int64_t told_ms;
};

/* Sets fatal and error unless that was done. Returns fatal. */
int run_fatal(struct run *r, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same for what a call of the layout came to. */
int run_trouble(struct run *r, int err);
/* The object lacks at the remote: one line. p NULL: the root itself. */
void run_lacks(struct run *r, const struct place *p, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* It could not be stored here; an error of the whole filesystem is fatal. */
void run_failed(struct run *r, const struct place *p, const char *name, int err, const char *what);
/*
 * The id that an object is to have here: its own, but for one that another has already. A head in
 * the midst of a rename that the store does file by file has both places; and one id must
 * not be two objects on a mirror. 0: no memory (fatal).
 */
uint64_t run_own_id(struct run *r, uint64_t id);
/* Progress, a few times a second. */
void run_tell(struct run *r, const struct place *p, const char *name);

/* ---- restore_mirror.c ---- */
int mirror_begin(struct run *r, const uint8_t volume[UUID_LEN]);
/* All is stored. */
int mirror_finish(struct run *r);
void mirror_close(struct run *r);
/* The directory is made, or taken from an earlier run. Held for its walk. e is taken over. */
int place_new(struct run *r, struct place *up, struct manifest_entry *e, struct place **out);
void place_hold(struct place *p);
void place_release(struct run *r, struct place *p);
/* Descriptor, valid until the next call; -errno. */
int place_fd(struct run *r, struct place *p);
/* Fresh memory, NULL: none left. name may be NULL. */
char *place_path(const struct place *p, const char *name);
/* Removes what stands under the name. */
int place_remove(struct run *r, struct place *p, const char *name);
/* What an earlier run left there and keep() does not want. */
int place_clean(struct run *r, struct place *p,
		bool (*keep)(void *arg, const char *name, mode_t mode), void *arg);
/* Written: to be sealed with the next batch. The place is held until then. */
int batch_add(struct run *r, struct place *p, const char *name, const struct record *rec);
bool batch_due(const struct run *r);
/* Syncs and seals. */
int batch_flush(struct run *r);

/* ---- restore_meta.c ---- */
/* The record as it is to be, but for what the inode says. */
struct record meta_record(const struct manifest_entry *e);
/* Owner, xattrs, mode, times. What cannot be set here is told; errors of the filesystem come
 * back. */
int meta_apply(struct run *r, const struct at *a, const struct manifest_entry *e,
	       const struct place *p, const char *name);
/* A symlink or special file, in place of whatever is there. */
int meta_make(struct run *r, struct place *p, const char *name, const struct manifest_entry *e);
/* Stores the record with what the inode says. -ESTALE: it is not the object any more. */
int meta_seal(const struct at *a, struct record *rec);

/* ---- restore_keep.c ---- */
/* The temporary file of a large one, of its size. *over: it held something before (resume). */
int keep_open(struct run *r, uint64_t id, uint64_t size, bool resume, bool *over);
/* A piece of whole leaves that was checked; hash: of its first leaf and on. */
int keep_piece(int fd, bool over, const uint8_t *buf, uint64_t off, size_t len,
	       const uint64_t *hash);
int keep_hole(int fd, uint64_t off, uint64_t len);
/* All of a file, with its attributes: to be sealed. small: its content (NULL: zeros), of a large
 * one the temporary file is whole. */
int keep_file(struct run *r, struct place *p, const char *name, const struct manifest_entry *e,
	      const uint8_t *small, const uint64_t *hash);
int keep_attributes(struct run *r, struct place *p, const char *name,
		    const struct manifest_entry *e);
/* Neither a temporary file nor one of that name. */
void keep_drop(struct run *r, struct place *p, const char *name, uint64_t id);
/* An earlier run brought this very content. */
bool keep_have(struct run *r, struct place *p, const char *name, const struct manifest_entry *e);

/* ---- restore_file.c, restore_slot.c ---- */
int fetch_init(struct run *r);
void fetch_fini(struct run *r);
/* Begins a file; e is taken over. l (may be NULL): it is the first of several names. Waits for
 * free slots. */
int fetch_start(struct run *r, struct place *p, struct layout_dir *d, const char *name,
	       struct manifest_entry *e, struct linked *l);
/* One turn: waits up to ms. */
int fetch_pump(struct run *r, int ms);
/* An object that can be read, of so many bytes. */
void slots_remember(struct run *r, const char *object, uint64_t size);
/* Second tries. */
int fetch_redo(struct run *r);
/* Until nothing is under way. */
int fetch_drain(struct run *r);

/* ---- restore_link.c ---- */
/* A name of a file of several. false: it is the first, *out is to be settled. true: all is done,
 * or will be when the first is settled. */
bool link_known(struct run *r, struct place *p, const char *name, const struct manifest_entry *e,
		struct linked **out);
/* The first name is there, or (rec NULL) never will be. */
void link_settle(struct run *r, struct linked *l, struct place *p, const char *name,
		 const struct record *rec);
void links_free(struct run *r);

#endif
