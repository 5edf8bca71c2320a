/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mirror that a restore makes. Until it is finished its superblock says
 * adopting and stale, so that neither a mount nor `init --adopt` takes it, and
 * `.mirrorfs/restore` holds the subtree that it is to hold: the same command
 * goes on. Records are stored only after the mirror was synced. No locks but
 * the flock of the mirror.
 */
#include "replica/remote/restore_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/base/log.h"
#include "replica/file.h"
#include "replica/hash.h"
#include "replica/identity.h"
#include "replica/init.h"

#define NOTE "restore"             /* in DOT_DIR: the subtree, of an unfinished restore */
#define TMP "tmp"
#define NOTE_MAX 65536
#define BATCH_ITEMS 4096u
#define BATCH_BYTES (256ull << 20)
#define BATCH_MS 10000
#define ID_RESERVE (1u << 20)
#define UNFINISHED "a restore from a remote that has not finished"

/* ---- beginning ---- */

static void new_superblock(struct run *r, const uint8_t volume[UUID_LEN])
{
	CLEANUP_FREE char *real = realpath(r->dir, NULL);
	struct superblock *sb = &r->sb;

	memset(sb, 0, sizeof(*sb));
	memcpy(sb->volume_id, volume, UUID_LEN);
	superblock_new_epoch(sb);
	sb->n_lineage = 0;
	sb->next_id = FIRST_ID;
	sb->adopting = true;
	sb->n_members = 1;
	uuid_new(sb->members[0].id);
	memcpy(sb->mirror_id, sb->members[0].id, UUID_LEN);
	sb->members[0].state = MEMBER_STALE;
	snprintf(sb->members[0].reason, sizeof(sb->members[0].reason), UNFINISHED);
	snprintf(sb->members[0].path, sizeof(sb->members[0].path), "%s", real ? real : r->dir);
}

static bool same_subtree(struct run *r)
{
	CLEANUP_FREE char *text = NULL;
	size_t len;

	return io_read_file(r->m.dotfd, NOTE, NOTE_MAX, &text, &len) == 0 &&
	       len == strlen(r->path) && memcmp(text, r->path, len) == 0;
}

/* What stands in the superblock must be our own unfinished work. */
static int check_unfinished(struct run *r, const uint8_t volume[UUID_LEN])
{
	const struct superblock *sb = &r->sb;

	if (!sb->adopting || sb->n_members != 1 || sb->members[0].state != MEMBER_STALE)
		return run_fatal(r, -EEXIST, "%s: already a mirror of a volume", r->dir);
	if (memcmp(sb->volume_id, volume, UUID_LEN) != 0)
		return run_fatal(r, -EEXIST, "%s: holds an unfinished restore of another volume",
				 r->dir);
	if (!same_subtree(r))
		return run_fatal(r, -EEXIST, "%s: holds an unfinished restore of another path; "
				 "give that path, or an empty directory", r->dir);
	r->resumed = true;
	return 0;
}

static bool only_dot_dir(int fd)
{
	DIR *d = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	const struct dirent *e;
	bool only = d != NULL;

	while (only && (e = readdir(d)))
		only = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
		       strcmp(e->d_name, DOT_DIR) == 0 || strcmp(e->d_name, "lost+found") == 0;
	if (d)
		closedir(d);
	return only;
}

/* An empty directory, or one where a restore was cut off before the superblock was there. */
static int begin_new(struct run *r, const uint8_t volume[UUID_LEN])
{
	int err;

	if (!only_dot_dir(r->m.rootfd))
		return run_fatal(r, -ENOTEMPTY, "%s: a restore wants an empty directory", r->dir);
	new_superblock(r, volume);
	err = io_replace_file(r->m.dotfd, NOTE, r->path, strlen(r->path), 0600);
	if (err == 0) {
		identity_of(r->m.rootfd, &r->sb.fs_id, &r->sb.dir_ino);
		err = superblock_write(r->m.dotfd, &r->sb);
	}
	if (err == 0)
		err = io_fsync_dir(r->m.rootfd);
	return err < 0 ? run_fatal(r, err, "%s: cannot make a mirror of it: %s", r->dir,
				   strerror(-err)) : 0;
}

static int open_dot(struct run *r)
{
	const char *dir = r->dir;

	r->m.rootfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->m.rootfd < 0)
		return run_fatal(r, -errno, "%s: %s", dir, strerror(errno));
	if (init_dir_empty(r->m.rootfd) && mkdirat(r->m.rootfd, DOT_DIR, 0700) < 0)
		return run_fatal(r, -errno, "%s/%s: %s", dir, DOT_DIR, strerror(errno));
	r->m.dotfd = openat(r->m.rootfd, DOT_DIR,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (r->m.dotfd < 0 && errno == ENOENT)
		return run_fatal(r, -ENOTEMPTY, "%s: a restore wants an empty directory", dir);
	if (r->m.dotfd < 0)
		return run_fatal(r, -errno, "%s/%s: %s", dir, DOT_DIR, strerror(errno));
	if (flock(r->m.dotfd, LOCK_EX | LOCK_NB) < 0)
		return run_fatal(r, -EBUSY, "%s: in use (mounted, or being restored)", dir);
	return 0;
}

int mirror_begin(struct run *r, const uint8_t volume[UUID_LEN])
{
	int err = open_dot(r);

	if (err < 0)
		return err;
	r->m.user_xattr = r->m.trusted_xattr = true;
	err = superblock_read(r->m.dotfd, &r->sb);
	if (err == -ENOENT)
		err = begin_new(r, volume);
	else if (err == 0)
		err = check_unfinished(r, volume);
	else
		err = run_fatal(r, err, "%s: its superblock is damaged, or of a newer version",
				r->dir);
	if (err < 0)
		return err;
	err = io_mkdirs(r->m.dotfd, TMP);
	r->tmpfd = err < 0 ? err : openat(r->m.dotfd, TMP, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
					  O_CLOEXEC);
	if (r->tmpfd < 0)
		return run_fatal(r, err < 0 ? err : -errno, "%s/%s/%s: %s", r->dir, DOT_DIR, TMP,
				 strerror(err < 0 ? -err : errno));
	return 0;
}

/* ---- places ---- */

char *place_path(const struct place *p, const char *name)
{
	size_t len = name ? strlen(name) + 1 : 1, at;
	char *out;

	for (const struct place *d = p; d && d->up; d = d->up)
		len += strlen(d->e.name) + 1;
	out = malloc(len);
	if (!out)
		return NULL;
	at = len - 1;
	out[at] = '\0';
	if (name) {
		at -= strlen(name);
		memcpy(out + at, name, strlen(name));
	}
	for (const struct place *d = p; d && d->up; d = d->up) {
		size_t n = strlen(d->e.name);

		if (at < len - 1)
			out[--at] = '/';
		at -= n;
		memcpy(out + at, d->e.name, n);
	}
	memmove(out, out + at, len - at);
	return out;
}

static int open_child(int fd, const char *name)
{
	int child = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return child < 0 ? -errno : child;
}

static int open_place(const struct run *r, const struct place *p)
{
	const struct place *way[PATH_MAX]; /* a path has at most half as many parts */
	size_t n = 0;
	int fd;

	for (; p->up; p = p->up) {
		if (n == PATH_MAX)
			return -ENAMETOOLONG;
		way[n++] = p;
	}
	fd = open_child(r->m.rootfd, ".");
	while (fd >= 0 && n) {
		int next = open_child(fd, way[--n]->e.name);

		close(fd);
		fd = next;
	}
	return fd;
}

int place_fd(struct run *r, struct place *p)
{
	if (r->at == p && r->at_fd >= 0)
		return r->at_fd;
	if (r->at_fd >= 0)
		close(r->at_fd);
	r->at = p;
	r->at_fd = open_place(r, p);
	return r->at_fd;
}

int place_remove(struct run *r, struct place *p, const char *name)
{
	int fd = place_fd(r, p);

	return fd < 0 ? fd : io_remove_tree(fd, name);
}

/* 1: it is there already. The owner may go in while it is being filled. */
static int make_dir(struct run *r, struct place *up, const char *name)
{
	int fd = place_fd(r, up);
	struct stat st;

	if (fd < 0)
		return fd;
	if (mkdirat(fd, name, 0700) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode)) {
		if ((st.st_mode & 0700) != 0700 && fchmodat(fd, name, 0700, 0) < 0)
			return -errno;
		return 1;
	}
	if (unlinkat(fd, name, 0) < 0 || mkdirat(fd, name, 0700) < 0)
		return -errno;
	return 0;
}

int place_new(struct run *r, struct place *up, struct manifest_entry *e, struct place **out)
{
	struct place *p = calloc(1, sizeof(*p));
	int err = 0;

	if (!p)
		return -ENOMEM;
	p->existed = true;
	if (up && !r->o->dry_run) {
		err = make_dir(r, up, e->name);
		p->existed = err == 1;
	}
	if (err < 0) {
		free(p);
		return err;
	}
	p->pending = 1;
	p->up = up;
	p->e = *e;
	memset(e, 0, sizeof(*e));
	if (up)
		place_hold(up);
	*out = p;
	return 0;
}

void place_hold(struct place *p)
{
	p->pending++;
}

void place_release(struct run *r, struct place *p)
{
	if (--p->pending)
		return;
	*r->complete_end = p;
	r->complete_end = &p->next;
}

int place_clean(struct run *r, struct place *p,
		bool (*keep)(void *arg, const char *name, mode_t mode), void *arg)
{
	int fd = place_fd(r, p), copy = fd < 0 ? fd : open_child(fd, "."), err = 0;
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *e;
	struct stat st;

	if (!d) {
		if (copy >= 0)
			close(copy);
		return copy < 0 ? copy : -ENOMEM;
	}
	while (err == 0 && (errno = 0, e = readdir(d))) {
		const char *name = e->d_name;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		if (!p->up && (strcmp(name, DOT_DIR) == 0 || strcmp(name, "lost+found") == 0))
			continue;
		if (fstatat(copy, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    !keep(arg, name, st.st_mode))
			err = io_remove_tree(copy, name);
	}
	if (err == 0 && !e && errno)
		err = -errno;
	closedir(d);
	return err;
}

static void place_free(struct run *r, struct place *p)
{
	if (r->at == p && r->at_fd >= 0) {
		close(r->at_fd);
		r->at_fd = -1;
	}
	if (r->at == p)
		r->at = NULL;
	manifest_entry_clear(&p->e);
	free(p);
}

/* ---- the batch ---- */

int batch_add(struct run *r, struct place *p, const char *name, const struct record *rec)
{
	struct item *i;

	if (r->n_items == r->cap_items) {
		size_t cap = r->cap_items ? r->cap_items * 2 : 64;
		struct item *bigger = realloc(r->item, cap * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		r->item = bigger;
		r->cap_items = cap;
	}
	i = &r->item[r->n_items];
	*i = (struct item){ .dir = p, .name = strdup(name), .rec = *rec };
	if (!i->name)
		return -ENOMEM;
	place_hold(p);
	r->n_items++;
	r->unsynced += rec->type == TYPE_OF(S_IFREG) ? rec->size : 0;
	return 0;
}

bool batch_due(const struct run *r)
{
	return r->n_items >= BATCH_ITEMS || r->unsynced >= BATCH_BYTES ||
	       (r->n_items && clock_ms() - r->flushed_ms >= BATCH_MS);
}

static void add_entry(struct place *p, const char *name, const struct record *rec)
{
	p->sum += hash_entry(name, strlen(name), rec->type, rec->id);
	p->count++;
}

static void seal_item(struct run *r, struct item *i)
{
	struct at a = { .mirror = &r->m, .fd = place_fd(r, i->dir), .name = i->name };
	int err = a.fd < 0 ? a.fd : meta_seal(&a, &i->rec);

	if (err == 0) {
		add_entry(i->dir, i->name, &i->rec);
		return;
	}
	if (a.fd >= 0)
		io_remove_tree(a.fd, i->name);
	run_failed(r, i->dir, i->name, err, "its record");
}

static void seal_place(struct run *r, struct place *p)
{
	struct at a = { .mirror = &r->m, .fd = place_fd(r, p), .opened = true };
	struct record rec = meta_record(&p->e);
	int err = a.fd < 0 ? a.fd : meta_apply(r, &a, &p->e, p, NULL);

	rec.type = TYPE_OF(S_IFDIR);
	rec.id = p->up ? p->e.id : ROOT_ID;
	rec.size = p->count;
	rec.hash = p->sum;
	if (err == 0)
		err = meta_seal(&a, &rec);
	if (err < 0)
		run_failed(r, p, NULL, err, "its attributes and record");
	else
		r->st->dirs++;
	if (p->up)
		add_entry(p->up, p->e.name, &rec);
}

/* Those that are complete now; the last one of a directory completes that. */
static void finish_places(struct run *r, bool seal)
{
	while (r->complete) {
		struct place *p = r->complete;

		r->complete = p->next;
		if (!r->complete)
			r->complete_end = &r->complete;
		if (seal && r->fatal == 0)
			seal_place(r, p);
		else if (r->o->dry_run)
			r->st->dirs++;
		if (p->up)
			place_release(r, p->up);
		place_free(r, p);
	}
}

int batch_flush(struct run *r)
{
	bool seal = !r->o->dry_run;

	if (seal && (r->n_items || r->complete) && syncfs(r->m.rootfd) < 0) {
		run_fatal(r, -errno, "%s: sync: %s", r->dir, strerror(errno));
		seal = false;
	}
	for (size_t i = 0; i < r->n_items; i++) {
		if (seal)
			seal_item(r, &r->item[i]);
		place_release(r, r->item[i].dir);
		free(r->item[i].name);
	}
	r->n_items = 0;
	r->unsynced = 0;
	r->flushed_ms = clock_ms();
	finish_places(r, seal);
	return r->fatal;
}

/* ---- the end ---- */

int mirror_finish(struct run *r)
{
	struct superblock *sb = &r->sb;
	int err;

	close(r->tmpfd);
	r->tmpfd = -1;
	err = io_remove_tree(r->m.dotfd, TMP);
	if (err == 0 && syncfs(r->m.rootfd) < 0)
		err = -errno;
	if (err < 0)
		return run_fatal(r, err, "%s: %s", r->dir, strerror(-err));
	sb->adopting = false;
	sb->clean = true;
	sb->members[0].state = MEMBER_IN_SYNC;
	sb->members[0].reason[0] = '\0';
	sb->next_id = (r->max_id < FIRST_ID ? FIRST_ID : r->max_id + 1) + ID_RESERVE;
	identity_of(r->m.rootfd, &sb->fs_id, &sb->dir_ino);
	err = superblock_write(r->m.dotfd, sb);
	if (err < 0)
		return run_fatal(r, err, "%s: its superblock cannot be written: %s", r->dir,
				 strerror(-err));
	unlinkat(r->m.dotfd, NOTE, 0); /* means nothing any more */
	return 0;
}

void mirror_close(struct run *r)
{
	if (r->at_fd >= 0)
		close(r->at_fd);
	if (r->tmpfd >= 0)
		close(r->tmpfd);
	if (r->m.dotfd >= 0)
		close(r->m.dotfd);
	if (r->m.rootfd >= 0)
		close(r->m.rootfd);
	free(r->item);
	r->item = NULL;
}
