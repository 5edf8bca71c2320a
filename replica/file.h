/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State of an object that is open, or whose record is not sealed: for regular
 * files descriptors, size and leaf hashes; for the rest only the record.
 *
 * One descriptor a mirror serves all handles of the object. States of the
 * content, as the record on the mirrors tells them:
 *
 *   sealed   record without OPEN; its hash is that of the content
 *   open     record with OPEN; the true hashes are in this struct
 *   sealed again by the sealing thread, at the latest at unmount
 *
 * The root of a file is the wrapping sum of its leaf hashes: each is seeded
 * with its place, so the sum binds content to place, and a change of one leaf
 * costs two additions.
 */
#ifndef REPLICA_FILE_H
#define REPLICA_FILE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "replica/hash.h"
#include "replica/hashfile.h"
#include "replica/object.h"
#include "replica/record.h"
#include "replica/volume.h"

#define SMALL_MAX (64u << 10)
#define SMALL_LEAVES (SMALL_MAX / LEAF_SIZE)

struct leaf_page {
	struct hash_page p;
	bool dirty;              /* differs from the hash files */
};

struct file {
	uint32_t node;
	uint8_t type;
	uint64_t id;
	uint32_t users;          /* tree_lock: handles, operations, the seal queue */

	pthread_rwlock_t lock;   /* all below: shared to read, exclusive to change */
	pthread_mutex_t fd_lock; /* opening of fd[] by readers */
	_Atomic int fd[MAX_MIRRORS]; /* -1: not open */
	uint32_t writable;       /* bit m: fd[m] is O_RDWR */

	bool loaded;             /* the fields below are known */
	/* Atomic what is glanced at without the lock. */
	_Atomic bool dirty;      /* to be sealed */
	_Atomic bool marked;             /* the records on the mirrors say OPEN */
	bool large;              /* leaf hashes in pages, else in small[] */
	bool known;              /* small[] is filled in */
	bool plain_mode;         /* no setuid, setgid bits: nothing to kill */
	struct record rec;       /* as last read or sealed */
	uint64_t size;
	uint64_t sum;            /* of the leaf hashes */
	uint64_t small[SMALL_LEAVES];
	struct leaf_page **page; /* NULL entries: not loaded */
	uint64_t n_page;         /* entries of page[] */
	uint64_t disk_pages;     /* pages below this one may be in the hash files */
	uint64_t cut_pages;      /* lowest disk_pages since they were last stored */
	uint64_t rest;           /* bytes below are on the disk as they were sealed */
	bool overwritten;        /* in place, since it was sealed */
	bool based;              /* the journals have the leaf hashes at rest */
	bool noted;              /* an OPEN record in the journals is durable */
	uint64_t *hot;           /* bit r: region r is open in the journals */
	size_t n_hot;            /* words of it */
	_Atomic uint64_t first_lsn; /* first journal record since sealing, see intent.h */
	uint64_t last_lsn;       /* end of the last */
	uint64_t changes;        /* counts changes, for the seal */
	_Atomic int64_t changed_at; /* monotonic ms of the last */
	_Atomic int64_t atime;   /* ns, set by reading, to be stored; 0: none */

	_Atomic bool queued;     /* seal lock: in the seal queue */
	int64_t restless;        /* seal lock: ms, since when it does not rest; 0: it does */
	struct file *next;       /* in it */
};

/* State of node with one more user; made when there is none. NULL: no memory. */
struct file *file_get(struct volume *v, uint32_t node);
/* State only if there is one. */
struct file *file_peek(struct volume *v, uint32_t node);
void file_put(struct volume *v, struct file *f);

/* A new, empty object with the given (OPEN) record: nothing to load. */
void file_set_new(struct file *f, const struct record *r, const int fd[MAX_MIRRORS]);

/*
 * Makes f->loaded true. Called without f->lock; takes it. -EIO if no good
 * copy is left, -ESTALE if the object is gone.
 */
int file_load(struct volume *v, struct file *f);

/* Descriptor of mirror m, opened on demand; -errno. Caller holds f->lock,
 * exclusively if write. */
int file_fd(struct volume *v, struct file *f, int m, bool write);
void file_close_fd(struct file *f, int m);
/* Stat and record calls on the object, through the descriptor if open. */
int file_at(struct volume *v, struct file *f, int m, struct loc *l, struct at *a);
void file_at_done(struct volume *v, struct loc *l);

/* The object changes now: OPEN goes into the records first. Exclusive. */
int file_mark(struct volume *v, struct file *f);
/* The same before content at rest is cut off: its blocks may be used again. */
int file_mark_cut(struct volume *v, struct file *f);
void file_changed(struct volume *v, struct file *f);

/* ---- leaf hashes (leaves.c); f->lock held, exclusively to load or set ---- */
static inline uint64_t leaves_of(uint64_t size)
{
	return (size + LEAF_SIZE - 1) >> LEAF_SHIFT;
}
/* Whether the hashes of leaves first..first+n-1 are in memory. */
bool leaves_ready(const struct file *f, uint64_t first, uint64_t n);
/* Brings them there (small files: by reading and verifying the content). */
int leaves_load(struct volume *v, struct file *f, uint64_t first, uint64_t n);
uint64_t leaves_get(const struct file *f, uint64_t leaf);
int leaves_set(struct file *f, uint64_t leaf, uint64_t hash);
/* The size becomes `size`; leaves beyond are dropped from the sum. */
int leaves_resize(struct volume *v, struct file *f, uint64_t size);
/* Writes dirty pages into the hash files of the members in mask with this
 * generation; *bad gets the members that failed. */
void leaves_store(struct volume *v, struct file *f, uint32_t mask, uint64_t gen, bool all,
		  uint32_t *bad);
/* Page no as it is in memory goes to the members in `bad`; reported. */
void leaves_repair_page(struct volume *v, struct file *f, uint64_t no, uint32_t bad, int source);
void leaves_clean(struct volume *v, struct file *f);
void leaves_free(struct file *f);

/* ---- reading and writing content ---- */
#define IO_MAX (1u << 20)

/* Memory of one thread for leaf-aligned I/O: IO_MAX and a leaf at each end. */
struct io_space {
	uint8_t *buf;        /* page aligned */
};
int io_space_init(struct io_space *s);
void io_space_free(struct io_space *s);

/* Verified bytes: *data points into s. Returns the length (0: end), -errno. */
ssize_t file_read(struct volume *v, struct file *f, struct io_space *s, uint64_t off, size_t len,
		  const void **data);
ssize_t file_write(struct volume *v, struct file *f, struct io_space *s, uint64_t off,
		   const void *data, size_t len);
int file_truncate(struct volume *v, struct file *f, struct io_space *s, uint64_t size);
/* mode: as fallocate(2). */
int file_allocate(struct volume *v, struct file *f, struct io_space *s, int mode, uint64_t off,
		  uint64_t len);
/* data: fdatasync. All in-sync mirrors at once; a failing one is ejected. */
int file_sync(struct volume *v, struct file *f, bool data);
int64_t file_seek(struct volume *v, struct file *f, int64_t off, int whence);
/*
 * Clears setuid and setgid as a write by somebody without CAP_FSETID does:
 * setgid only if the group may execute, or the writer is not of the group.
 */
struct killer {
	bool (*in_group)(gid_t gid, void *arg);
	void *arg;
};
int file_kill_privileges(struct volume *v, struct file *f, const struct killer *k);
/* Reads one whole verified leaf into out (zero padded). Exclusive lock. */
int file_read_leaf(struct volume *v, struct file *f, uint64_t leaf, uint8_t out[LEAF_SIZE]);

int64_t clock_ms(void);   /* monotonic */
int64_t clock_ns(void);   /* real time, coarse, as the kernel stamps inodes */

#endif
