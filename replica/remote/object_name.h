/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of the objects of layout "tree" in the store, and which names of files
 * every server takes as they are. A file is stored under its path if that is plain, else under
 * its id (OBJECT_ID). All else is in `.mirrorfs/`:
 *
 *   .mirrorfs/format
 *   .mirrorfs/head/<seq, 20 digits>
 *   .mirrorfs/intent/<seq, 20 digits>
 *   .mirrorfs/dir/<xx>/<id>-<seq>          whole manifests and indexes
 *   .mirrorfs/dir/<xx>/<id>-<seq>p<no>     pages
 *   .mirrorfs/leaf/<xx>/<id>-<seq>         leaf hashes
 *   .mirrorfs/id/<xx>/<id>-<seq>           content stored by file id
 *   .mirrorfs/aside/<id>-<seq>             content under way from one name to another
 *
 * An id is 16 hex digits, xx the last two of them, other numbers are decimal.
 */
#ifndef REPLICA_REMOTE_OBJECT_NAME_H
#define REPLICA_REMOTE_OBJECT_NAME_H

#include <stdbool.h>
#include <stdint.h>

#define OBJECT_NAME_MAX	     72 /* of ours, with the zero */
#define OBJECT_FOLDER	     ".mirrorfs"
#define OBJECT_FOLDER_HEAD   ".mirrorfs/head"
#define OBJECT_FOLDER_INTENT ".mirrorfs/intent"
#define OBJECT_FOLDER_DIR    ".mirrorfs/dir" /* these three: with folders xx */
#define OBJECT_FOLDER_LEAF   ".mirrorfs/leaf"
#define OBJECT_FOLDER_ID     ".mirrorfs/id"
#define OBJECT_FOLDER_ASIDE  ".mirrorfs/aside"

enum object_kind {
	OBJECT_FORMAT,
	OBJECT_HEAD,
	OBJECT_INTENT,
	OBJECT_DIR,
	OBJECT_PAGE,
	OBJECT_LEAF,
	OBJECT_ID,
	OBJECT_ASIDE,
};

struct object_name {
	enum object_kind kind;
	uint64_t id; /* directory or file; what a kind has not is 0 */
	uint64_t seq;
	unsigned page;
};

void object_name_make(const struct object_name *o, char out[OBJECT_NAME_MAX]);
/* -EINVAL: no name that object_name_make makes. */
int object_name_parse(const char *name, struct object_name *o);

void object_name_format(char out[OBJECT_NAME_MAX]);
void object_name_head(char out[OBJECT_NAME_MAX], uint64_t seq);
void object_name_intent(char out[OBJECT_NAME_MAX], uint64_t seq);
void object_name_dir(char out[OBJECT_NAME_MAX], uint64_t id, uint64_t seq);
void object_name_page(char out[OBJECT_NAME_MAX], uint64_t id, uint64_t seq, unsigned page);
void object_name_leaf(char out[OBJECT_NAME_MAX], uint64_t id, uint64_t seq);
void object_name_id(char out[OBJECT_NAME_MAX], uint64_t id, uint64_t seq);
void object_name_aside(char out[OBJECT_NAME_MAX], uint64_t id, uint64_t seq);

#define OBJECT_PLAIN_MAX \
	200 /* bytes of a name: servers add suffixes of their own while they write */
#define OBJECT_PATH_MAX 900 /* bytes of a path: S3 has 1024 with the prefix */

/*
 * Whether every server can hold a file of this name, as it is: UTF-8, no control
 * characters, no backslash, nothing that servers keep or refuse (".DAV", ".mirrorfs",
 * ".htaccess"...). folds_case: "A" and "a" are one name there.
 */
bool object_name_plain(const char *name, bool folds_case);
/* ... each component, and the length of all of it. "" (the root) is. */
bool object_path_plain(const char *path, bool folds_case);

#endif
