/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of layout "tree" share, and nobody else.
 *
 * layout_open.c    format, heads, what is there at the start
 * layout_replay.c  intents beyond the head: rolled forward; layout_beyond.c looked up
 * layout_io.c      requests: waiting, stopping, small objects
 * layout_dir.c     the cache of directories; layout_page.c their entries
 * layout_find.c    reading the state; layout_doubt.c what of it may be wrong
 * layout_edit.c    put, set, remove, spoil; layout_move.c moves; layout_discard.c whole trees
 * layout_links.c   how many names an inode has
 * layout_step.c    the list of what is to be done at the store besides puts
 * layout_intent.c  intents
 * layout_put.c     uploads; layout_check.c whether they are there
 * layout_encode.c  manifests that changed; layout_head.c the head
 * layout_retire.c  after the head: deletes, old intents and heads
 * layout_commit.c  all of it in order
 *
 * The state is that of the newest head with the staged changes on top, but for
 * puts: those are kept in a list of their own, laid over the entries when these are read,
 * and become entries when the content is at the store.
 *
 * Numbers: intents and heads are numbered alike, upwards. A head has the number of
 * the last intent before it. An intent is written once and never changed; more that comes up
 * before the head makes another. One that has moves in it has no puts: so whatever intent
 * comes after it says that its moves are done.
 */
#ifndef REPLICA_REMOTE_LAYOUT_PRIV_H
#define REPLICA_REMOTE_LAYOUT_PRIV_H

#include "replica/base/map.h"
#include "replica/remote/layout.h"
#include "replica/remote/object_name.h"

#define LAYOUT_LINKS_PATH OBJECT_FOLDER "/links" /* of the directory of links */
#define LAYOUT_ROOT_ID 1u
#define LAYOUT_PATH_MAX 4096
#define LAYOUT_SMALL 65536u      /* files beyond have an object of leaf hashes */
#define LAYOUT_HEADS_KEPT 3u
#define LAYOUT_OBJECT_MAX (256u << 20) /* longest of our own objects that is read */
#define LAYOUT_TRIES 3u
#define LAYOUT_SLICE_MS 200
#define TYPE_REG (S_IFREG >> 12)
#define TYPE_DIR (S_IFDIR >> 12)

/* ---- directories ---- */

struct page {
	struct manifest_entry *e;   /* sorted by name */
	size_t n, room;
	uint32_t count;             /* entries, also while it is not loaded */
	bool loaded, dirty;
	unsigned pins;
	struct manifest_ref ref;    /* unused in a directory of one page */
	size_t bytes;               /* of memory, about */
	uint64_t used;
};

struct layout_dir {
	struct layout_dir *parent;  /* referenced; NULL: root, links, or in no place just now */
	char *name;
	uint64_t id;
	bool hidden;                /* everything below is stored by id */
	bool ready;                 /* its manifest was read, or there is none */
	bool gone;                  /* in the state no more */
	bool dirty;                 /* its manifest (or index) is to be written */
	bool rewrite;               /* ... and all pages */
	bool untold;                /* written, and its parent does not know yet */
	unsigned outgoing;          /* objects of its manifest that are under way */
	bool queued;
	unsigned depth;             /* while manifests are written */
	struct manifest_ref ref;
	unsigned bits;
	struct page *page;          /* 1 << bits */
	uint64_t count;
	uint64_t files, bytes;      /* below */
	unsigned users;
	struct put *puts;
	struct doubt *doubts;
	uint64_t hash;
	struct layout_dir *chain;   /* of the hash table */
	struct layout_dir *older, *newer;
};

struct names {
	char **name;
	size_t n, room;
};

/* ---- staged ---- */

struct job {
	struct store_op op;
	void (*done)(struct layout *l, struct job *j); /* NULL: the starter looks at finished */
	bool finished;
};

enum put_stage {
	PUT_WAITS,                  /* to be sent, from the beginning */
	PUT_LEAVES, PUT_CONTENT, PUT_RENAME, /* under way; the last also: still to be moved */
	PUT_SENT,                   /* to be looked at */
	PUT_GOOD,                   /* to become an entry */
	PUT_FAILED,
};

struct put {
	struct put *next;
	struct put *dir_next;
	struct layout_dir *d;       /* referenced */
	uint64_t hash;              /* of the name */
	struct manifest_entry e;    /* as staged, then as begin() said */
	struct layout_source src;
	const uint64_t *leaves;
	enum put_stage stage;
	bool fresh;                 /* counts as an entry of d that is not there yet */
	bool forced;                /* by id because the caller says so */
	bool begun;
	bool noted;                 /* an intent has it */
	bool noted_again;
	bool listed;                /* a listing was asked for it */
	bool tried;                 /* something may be under its name that is nobody's */
	unsigned tries;
	int result, source_err;
	char object[LAYOUT_NAME_MAX];
	char aside[OBJECT_NAME_MAX]; /* "": straight to its name */
	char leaf[OBJECT_NAME_MAX]; /* "": none */
	char *leaf_data;
	size_t leaf_len;
	uint8_t leaf_sha[SHA256_LEN];
	char error[STORE_ERROR_MAX];
	struct job job;
};

/* Content that may not be what the entry says. */
struct doubt {
	struct doubt *next, **link;
	struct doubt *dir_next;
	struct layout_dir *d;       /* referenced; NULL: moved out of the way */
	char *name;
	uint64_t hash;
	struct manifest_entry *alt; /* what it may be instead, the newest last */
	size_t n_alt;
};

enum step_kind { STEP_MOVE, STEP_DELETE, STEP_MKDIR };

struct step {
	struct step *next;
	enum step_kind kind;
	bool dir;                   /* a collection */
	bool early;                 /* delete: at its place in the list, not after the head */
	bool due;                   /* the head is written (under way), a delete can go */
	bool silent;                /* nothing to do at the store, for intents only */
	bool done, noted, running, failed;
	char *name, *to;            /* objects; as they are called at its place in the list */
	char *now;                  /* delete: ... and after all of the list */
	char *path;                 /* in the tree */
	struct manifest_entry e;    /* mkdir: the directory */
	uint64_t size;              /* move of a file */
	struct layout_dir *d;       /* move: where that entry is now; referenced, NULL: nowhere */
	char *at;
	unsigned token;             /* ... or moved out, with this */
	char error[STORE_ERROR_MAX];
	struct job job;
};

struct limbo {
	struct limbo *next;
	unsigned token;
	struct manifest_entry e;
	struct layout_dir *child;   /* referenced, NULL: not cached */
	struct put *put;
	struct doubt *doubt;
	uint64_t files, bytes;
	char object[LAYOUT_NAME_MAX]; /* where the content is; "": there is none */
	char path[LAYOUT_NAME_MAX]; /* where it was */
	char alias[OBJECT_NAME_MAX]; /* what intents call it where nothing moves at the store */
	bool out;                   /* ... and that it was moved out is among the steps */
};

struct layout {
	struct store *store;
	char writer[17];            /* "": read only */
	uint8_t volume[16];
	bool (*stop)(void *arg);
	void *stop_arg;
	char error[LAYOUT_ERROR_MAX];

	struct remote_head head;    /* as committed */
	struct manifest_entry attrs; /* of the root, as staged */
	uint64_t last;              /* highest number in use */
	uint64_t before;            /* the head before the newest, when it was opened; 0: none */
	uint64_t top;               /* highest head that we know of */
	uint64_t fixed;             /* refs up to here may be referred to by a head */
	uint32_t running_no;
	bool opened;                /* `last` is the number of the head to be */

	struct layout_dir *root, *links;
	struct layout_dir **bucket;
	size_t buckets, n_dirs;
	struct layout_dir *oldest, *newest;
	size_t cached, limit;
	uint64_t tick;
	struct manifest_entry shown; /* what layout_find gives out that is no entry; not owned */

	struct put *puts, **puts_end; /* not entries yet */
	struct put *good;           /* entries, not in a head yet */
	struct put *good_frozen;    /* in the head under way */
	struct step *steps, **steps_end;
	struct doubt *doubts;
	struct limbo *limbo;
	unsigned tokens;
	struct layout_staged live, frozen;
	struct map link_names;      /* id -> names more or less than its inode says, signed */
	struct map unlinked;        /* inodes that perhaps no name leads to */
	struct map asked;           /* ... those that layout_unlinked is at */
	uint64_t asked_at;
	bool uncounted;             /* ... but not all of that is known */
	struct names drop;          /* objects that the next head does not need */

	uint64_t intent_again;      /* number of one that was not written, 0: none */
	uint64_t *intent;           /* numbers of those at the store */
	size_t n_intent;
	struct remote_intent *beyond; /* a reader's: intents beyond the head */
	size_t n_beyond;

	/* A head that was begun is finished before anything else. */
	char *head_data;
	size_t head_len;
	struct remote_head head_next;
	bool doubts_noted;

	const struct layout_run *run;
	unsigned running, allowed;
	bool cancelled;
	bool untidy;                /* something was left for later */
	int trouble;                /* what ends this commit */
	char trouble_text[STORE_ERROR_MAX];
};

/* ---- layout_io.c ---- */
int layout_failed(struct layout *l, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The error of an operation becomes that of the layout. */
int layout_op_failed(struct layout *l, const struct store_op *op);
bool layout_stopping(struct layout *l);
/* op is zeroed by the caller and filled in. done may be called at once, where it cannot begin. */
void job_start(struct layout *l, struct job *j);
/* One that has ended, or a slice of time. */
void job_pump(struct layout *l);
int job_run(struct layout *l, struct job *j);
/* Until less than what is allowed, or nothing, is under way. */
void job_room(struct layout *l);
void job_drain(struct layout *l);
/* The first one that ends a commit. */
void layout_trouble(struct layout *l, int err, const char *text);
/* Whether err is about the way to the server, not about this one object. */
bool layout_is_transport(int err);
/* data is malloc'ed, zero-terminated. The error is told but for -ENOENT. */
int object_get(struct layout *l, const char *name, char **data, size_t *len);
/* ... and decoded; -EBADMSG: read again, for it may be the way that is bad, not the object. */
typedef int object_decoder(void *arg, const char *text, size_t len, char *error, size_t n);
int object_load(struct layout *l, const char *name, object_decoder *decode, void *arg);
/* Stored and looked at. replaces: there may be one already. */
int object_put(struct layout *l, const char *name, const char *data, size_t len, bool replaces);
/* 0 and the size; -ENOENT. */
int object_head(struct layout *l, const char *name, uint64_t *size);
/* Last components of what is in a collection; a missing one is empty. */
/* mark: names of collections end in '/'. */
int object_list(struct layout *l, const char *folder, bool mark, struct names *out);
int names_add(struct names *n, const char *name);
void names_clear(struct names *n);
int64_t layout_now(void);

/* ---- layout_dir.c ---- */
int dir_new(struct layout *l, struct layout_dir *parent, const char *name, uint64_t id,
	    struct layout_dir **out);
void dir_free_all(struct layout *l);
struct layout_dir *dir_cached(struct layout *l, struct layout_dir *parent, const char *name);
/* To another place: parent NULL: none. */
int dir_rehang(struct layout *l, struct layout_dir *d, struct layout_dir *parent, const char *name);
/* It is in the state no more. */
void dir_gone(struct layout *l, struct layout_dir *d);
/* ... and all of its entries are forgotten: it is empty. */
void dir_forget(struct layout *l, struct layout_dir *d);
void dir_touch(struct layout *l, struct layout_dir *d);
void dir_evict(struct layout *l);
/* Its manifest is read. */
int dir_ready(struct layout *l, struct layout_dir *d);
/* Counts of all above. */
void dir_account(struct layout_dir *d, int64_t files, int64_t bytes);
/* -ENAMETOOLONG. size >= LAYOUT_NAME_MAX; name may be NULL. */
int dir_path(const struct layout_dir *d, const char *name, char *out);
bool dir_is_links(const struct layout_dir *d);
bool dir_is_below(const struct layout_dir *d, const struct layout_dir *above);
/* Objects of its manifest are not needed any more. */
int dir_drop(struct layout *l, struct layout_dir *d);

/* ---- layout_page.c ---- */
int page_get(struct layout *l, struct layout_dir *d, unsigned no, struct page **out);
int page_of(struct layout *l, struct layout_dir *d, const char *name, struct page **out);
void page_clear(struct layout *l, struct page *p);
int page_take_over(struct layout *l, struct page *p, struct manifest_entry *e, size_t n);
/* The entry itself, not what is laid over it. -ENOENT. */
int entry_get(struct layout *l, struct layout_dir *d, const char *name, struct manifest_entry **e);
/* Replaces or adds; *e becomes the page's, also on errors. */
int entry_store(struct layout *l, struct layout_dir *d, struct manifest_entry *e);
int entry_take(struct layout *l, struct layout_dir *d, const char *name,
	       struct manifest_entry *out);
/* Is going to be written. */
void entry_changed(struct layout_dir *d, const char *name);
void entry_weight(struct layout *l, struct layout_dir *d, const struct manifest_entry *e,
		  int64_t *files, int64_t *bytes);
int dir_set_bits(struct layout *l, struct layout_dir *d, unsigned bits);
/* Without what is laid over; fn may open other directories. */
int entries_each(struct layout *l, struct layout_dir *d,
		 int (*fn)(const struct manifest_entry *e, void *arg), void *arg);
int layout_load_manifest(struct layout *l, struct layout_dir *d);

/* ---- layout_find.c ---- */
struct put *put_find(const struct layout_dir *d, const char *name);
/* Of e, a regular file that is no link, in d. "" where the path is too long. */
void content_name(const struct layout_dir *d, const struct manifest_entry *e,
		  char out[LAYOUT_NAME_MAX]);
bool has_content(const struct manifest_entry *e);
/* Whether an object called so under d can lie under its path. */
bool place_is_plain(struct layout *l, const struct layout_dir *d, const char *name);
bool name_is_good(const char *name);
uint64_t name_hash(const char *name);

/* ---- layout_doubt.c ---- */
struct doubt *doubt_find(const struct layout_dir *d, const char *name);
/* alt (may be NULL): what it may be instead. */
int doubt_add(struct layout *l, struct layout_dir *d, const char *name,
	      const struct manifest_entry *alt);
void doubt_remove(struct layout *l, struct doubt *x); /* NULL is fine */
/* From its place, and to another one; what cannot be hung up is gone. */
void doubt_unhang(struct layout *l, struct doubt *x);
int doubt_hang(struct layout *l, struct doubt *x, struct layout_dir *d, const char *name);

/* ---- layout_links.c ---- */
/* Names of that inode came or went. */
int links_count(struct layout *l, uint64_t id, int64_t by);
/* Of the entries of d: a new inode, and one that goes (as entry_take gives it out). */
int links_arrive(struct layout *l, struct manifest_entry *inode);
int links_leave(struct layout *l, struct manifest_entry *inode);
/* What was counted goes into the inodes that there are. */
int links_enter(struct layout *l);
/* Whether some is left, or not all is known: whoever opens this state is to count. */
bool links_dangle(const struct layout *l);

/* ---- layout_edit.c ---- */
void put_free(struct layout *l, struct put *p);
void put_unlink(struct layout *l, struct put *p);
void put_link(struct layout *l, struct put *p, struct layout_dir *d);
/* Not wanted any more. Its name is to be cleaned up if it was tried. */
int put_cancel(struct layout *l, struct put *p);
int put_undo(struct layout *l, struct put *p);
/* It may have changed the object of the entry that is there; *did: there is one. */
int put_doubt(struct layout *l, struct put *p, bool *did);
int put_litter(struct layout *l, struct put *p);
int put_place(struct layout *l, struct put *p);
void limbo_free(struct layout *l, struct limbo *x);
/* What was moved out and not in again is to be deleted. */
int limbo_drop(struct layout *l);
int content_drop(struct layout *l, struct layout_dir *d, const struct manifest_entry *e);

/* ---- layout_move.c ---- */
bool object_is_by_id(const char *object);
int take_out(struct layout *l, struct layout_dir *d, const char *name, struct limbo **out);
int put_in(struct layout *l, struct limbo *x, struct layout_dir *to, const char *name);
int put_aside(struct layout *l, struct limbo *x, const char *aside);

/* ---- layout_discard.c ---- */
/* object: where it is at the store; "": it is stored by id. */
int tree_discard(struct layout *l, struct layout_dir *d, const char *object);

/* ---- layout_step.c ---- */
enum claim { CLAIM_FILE, CLAIM_FOLDER, CLAIM_TREE };
struct step *step_add(struct layout *l, enum step_kind kind, const char *name, const char *to,
		      const char *path);
int step_delete(struct layout *l, const char *name, bool dir, const char *path);
int step_delete_now(struct layout *l, const char *name, bool dir);
int step_mkdir(struct layout *l, const struct layout_dir *d, const struct manifest_entry *e);
/* Something is going to be called so. Returns whether that very name was to be deleted. */
bool step_claim(struct layout *l, const char *name, enum claim claim);
/* What is called from or is below it will be called to. Of collections. */
int step_translate(struct layout *l, const char *from, const char *to);
/* "a/b" of "a" -> "x" (dir): "x/b"; NULL: not concerned. malloc'ed. */
bool name_is_below(const char *name, const char *above);
bool name_is_within(const char *name, const char *above); /* or the same */
char *name_translate(const char *name, const char *from, const char *to, bool dir);
/* The entry at d/name is now at to/new_name; to NULL: nowhere, or out with that token. */
void step_follow(struct layout *l, struct layout_dir *d, const char *name, struct layout_dir *to,
		 const char *new_name, unsigned token);
/* Whether something is called so at the store. size as far as it is told. */
int step_look(struct layout *l, const char *name, bool dir, uint64_t *size);
/* Those at their place; noted: up to the first one that no intent tells of. */
int steps_run(struct layout *l, bool noted);
/* Deletes that are due. */
void steps_run_due(struct layout *l);
void steps_prune(struct layout *l);
void step_free(struct layout *l, struct step *s);

/* ---- layout_intent.c ---- */
int intent_of_moves(struct layout *l, bool *left);
int intent_of_puts(struct layout *l);
/* What stays in doubt beyond the head. */
int intent_of_doubts(struct layout *l);
int intent_read(struct layout *l, uint64_t seq, struct remote_intent *in);
uint64_t number_next(struct layout *l);
uint64_t ref_next(struct layout *l);
bool ref_is_ours(const struct layout *l, uint64_t seq);

/* ---- layout_replay.c ---- */
int layout_replay(struct layout *l, bool take_over);
/* ---- layout_beyond.c ---- */
int layout_beyond(struct layout *l);

/* ---- layout_put.c, layout_check.c ---- */
int puts_send(struct layout *l);
int puts_check(struct layout *l);
int puts_finish(struct layout *l);

/* ---- layout_encode.c, layout_head.c, layout_retire.c ---- */
int manifests_write(struct layout *l);
int heads_list(struct layout *l, uint64_t **seq, size_t *n);
/* -EBUSY if there is one that we do not know. */
int heads_look(struct layout *l, uint64_t **seq, size_t *n);
int intents_list(struct layout *l, uint64_t **seq, size_t *n);
int head_freeze(struct layout *l);
int head_write(struct layout *l);
int head_read(struct layout *l, uint64_t seq, struct remote_head *h);
void layout_tidy(struct layout *l);

#endif
