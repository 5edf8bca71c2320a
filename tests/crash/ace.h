/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ace: short sequences of operations, all of them, and what a power cut may
 * leave of each. A sequence works in a directory of its own, w/NNNN, on names
 * that were prepared and synced before:
 *
 *   A (3 leaves, hard link H), B (20 leaves), D with D/f, E and G (empty)
 *
 * The model says in plain data what each step does to the names and objects of
 * that directory. What runs the sequences and what judges the outcome both
 * read it; neither knows the other.
 *
 * Times: 0 is what was prepared, step s happens at time s (1, 2).
 */
#ifndef TESTS_CRASH_ACE_H
#define TESTS_CRASH_ACE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define ACE_STEPS     2
#define ACE_VARIANTS  3 /* which file or directory a sequence is about: A, B, D */
#define ACE_OBJECTS   12
#define ACE_ENTRIES   20
#define ACE_NAME      8
#define ACE_PATH      32
#define ACE_TEXT      96
#define ACE_WORDS     192
#define ACE_XATTR     "user.ace"
#define ACE_TOP       "w"
#define ACE_NOTHING   (-1)
#define ACE_ROOT      0 /* the object that is the directory of the sequence */

enum ace_op {
	ACE_CREATE, ACE_OVERWRITE, ACE_APPEND, ACE_TRUNCATE, ACE_PUNCH,
	ACE_RENAME, ACE_RENAME_OVER, ACE_EXCHANGE, ACE_LINK, ACE_UNLINK,
	ACE_MKDIR, ACE_RMDIR, ACE_SYMLINK, ACE_SETXATTR, ACE_CHMOD,
	ACE_OPS
};

enum ace_sync { ACE_NONE, ACE_FILE, ACE_DIR, ACE_SYNC, ACE_SYNCS };

extern const char *const ace_op_name[ACE_OPS];
extern const char *const ace_sync_name[ACE_SYNCS];

struct ace_sequence {
	unsigned n, variant;
	struct {
		enum ace_op op;
		enum ace_sync sync;
	} step[ACE_STEPS];
};

/* What an object is from some time on. A new file has two versions of one time:
 * empty, and written. */
struct ace_version {
	unsigned time;
	uint64_t size;
	uint8_t *bytes; /* files; else NULL */
	mode_t mode;
	char xattr[ACE_NAME]; /* "": none */
};

struct ace_object {
	mode_t type;
	char target[ACE_NAME]; /* symbolic links */
	struct ace_version version[ACE_STEPS + 2];
	unsigned n_versions;
};

/* A name in a directory, whatever it leads to. */
struct ace_entry {
	int dir; /* object */
	char name[ACE_NAME];
};

/* A step: the call, and the names it changes, all of them or none. */
struct ace_action {
	char path[2][ACE_PATH]; /* when it runs, below the sequence's directory */
	uint64_t off, len;
	const uint8_t *bytes;
	mode_t mode;
	char xattr[ACE_NAME];
	struct {
		int entry, after; /* after: object or ACE_NOTHING */
	} change[2];
	unsigned n_changes;
	bool over;              /* takes the place of another file */
	char sync_path[2][ACE_PATH]; /* for ACE_FILE and for ACE_DIR */
	int sync_object[2];
};

struct ace_model {
	struct ace_sequence seq;
	unsigned index;
	struct ace_object object[ACE_OBJECTS];
	unsigned n_objects;
	struct ace_entry entry[ACE_ENTRIES];
	unsigned n_entries;
	int at[ACE_STEPS + 1][ACE_ENTRIES]; /* [time][entry]: object or ACE_NOTHING */
	struct ace_action action[ACE_STEPS];
};

/* --- ace_text.c --- */

/* "op:sync,op:sync/variant". parse: false if it is none. */
bool ace_parse(const char *text, struct ace_sequence *seq);
void ace_format(const struct ace_sequence *seq, char *text);
/* "rename-over A->B; fsync(B) | append B; -" */
void ace_words(const struct ace_model *m, char *words);

/* --- ace_model.c --- */

/* index: number of its directory, and part of all bytes in it. */
void ace_model_make(struct ace_model *m, const struct ace_sequence *seq, unsigned index);
void ace_model_free(struct ace_model *m);
/* Path of an object (of its first name) or of an entry at a time. */
void ace_path_of(const struct ace_model *m, unsigned time, int object, char *path);
void ace_path_of_entry(const struct ace_model *m, unsigned time, int entry, char *path);
/* The last version not younger than time. */
unsigned ace_version_at(const struct ace_object *o, unsigned time);

/* --- ace_log.c --- */

/* Of one step; numbers of disk requests. done is that of the end of the sync. */
struct ace_ack {
	uint64_t before, after, done;
	bool ran, ended;
};

struct ace_run {
	struct ace_sequence seq;
	struct ace_ack ack[ACE_STEPS];
};

struct ace_log {
	struct ace_run *run;
	unsigned n, cap;
	unsigned failed; /* steps that returned an error; reported when read */
	struct {
		char name[16];
		uint64_t seq;
	} mark[16];
	unsigned n_marks;
};

/* The sequences of a pattern "sync,sync", or of one sequence. */
bool ace_group(struct ace_log *log, const char *what, uint64_t seed);
void ace_log_read(struct ace_log *log, const char *path);
void ace_log_free(struct ace_log *log);
uint64_t ace_log_mark(const struct ace_log *log, const char *name);

/* --- the commands: exit statuses --- */

int ace_prepare(const char *dir, unsigned count);
int ace_run(char **arg, int n);
int ace_check(const char *dir, const char *logpath, uint64_t cut, bool plain);
int ace_equal(char *const *dir, int n);

#endif
