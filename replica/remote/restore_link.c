/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files of several names: the first name that the walk meets brings the
 * object, the others are linked to it. Names that come while the content is
 * under way wait. What is remembered of such a file stays to the end of the
 * run, as nobody can tell where its last name will come. No locks.
 */
#include "replica/remote/restore_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"

#define LACKING "one of several names of a file that lacks"

static int open_parent(const struct run *r, char *path, const char **last)
{
	int fd = openat(r->m.rootfd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char *slash;

	while (fd >= 0 && (slash = strchr(path, '/'))) {
		int next;

		*slash = '\0';
		next = openat(fd, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close(fd);
		fd = next;
		path = slash + 1;
	}
	*last = path;
	return fd < 0 ? -errno : fd;
}

static bool same_inode(int fd1, const char *name1, int fd2, const char *name2)
{
	struct stat a, b;

	return fstatat(fd1, name1, &a, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstatat(fd2, name2, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

static int make_link(struct run *r, const char *first, struct place *p, const char *name)
{
	CLEANUP_FREE char *path = strdup(first);
	CLEANUP_CLOSE int from = -1;
	const char *last;
	int fd = place_fd(r, p), err;

	if (!path || fd < 0)
		return path ? fd : -ENOMEM;
	from = open_parent(r, path, &last);
	if (from < 0)
		return from;
	if (linkat(from, last, fd, name, 0) == 0)
		return 0;
	if (errno != EEXIST || same_inode(from, last, fd, name))
		return errno == EEXIST ? 0 : -errno;
	err = place_remove(r, p, name);
	if (err == 0 && linkat(from, last, fd, name, 0) < 0)
		err = -errno;
	return err;
}

/* A further name of what is there. Linking moves the ctime: it is sealed again. */
static void add_name(struct run *r, struct linked *l, struct place *p, const char *name)
{
	int err = 0;

	if (!r->o->dry_run) {
		err = make_link(r, l->path, p, name);
		if (err == 0)
			err = batch_add(r, p, name, &l->rec);
	}
	if (err < 0) {
		run_failed(r, p, name, err, NULL);
		place_remove(r, p, name);
		return;
	}
	r->st->files++; /* its bytes were counted with the first */
}

static void add_lacking(struct run *r, struct place *p, const char *name)
{
	if (r->fatal)
		return;
	run_lacks(r, p, name, LACKING);
	if (!r->o->dry_run)
		place_remove(r, p, name); /* an older state, of an earlier run */
}

static int wait_for(struct linked *l, struct place *p, const char *name)
{
	struct waiter *w = calloc(1, sizeof(*w));

	if (w)
		w->name = strdup(name);
	if (!w || !w->name) {
		free(w);
		return -ENOMEM;
	}
	place_hold(p);
	w->dir = p;
	w->next = l->waiting;
	l->waiting = w;
	return 0;
}

bool link_known(struct run *r, struct place *p, const char *name, const struct manifest_entry *e,
		struct linked **out)
{
	struct linked *l;
	uint64_t value;

	if (!map_get(&r->links, e->id, &value)) {
		l = calloc(1, sizeof(*l));
		if (!l || map_set(&r->links, e->id, (uintptr_t)l) < 0) {
			free(l);
			run_fatal(r, -ENOMEM, "%s", strerror(ENOMEM));
			return true;
		}
		*out = l;
		return false;
	}
	l = (struct linked *)(uintptr_t)value;
	if (l->state == LINKED_THERE)
		add_name(r, l, p, name);
	else if (l->state == LINKED_LACKS)
		add_lacking(r, p, name);
	else if (wait_for(l, p, name) < 0)
		run_fatal(r, -ENOMEM, "%s", strerror(ENOMEM));
	return true;
}

void link_settle(struct run *r, struct linked *l, struct place *p, const char *name,
		 const struct record *rec)
{
	if (rec) {
		l->rec = *rec;
		l->path = place_path(p, name);
		if (!l->path)
			run_fatal(r, -ENOMEM, "%s", strerror(ENOMEM));
	}
	l->state = rec && l->path ? LINKED_THERE : LINKED_LACKS;
	while (l->waiting) {
		struct waiter *w = l->waiting;

		l->waiting = w->next;
		if (l->state == LINKED_THERE && !r->fatal)
			add_name(r, l, w->dir, w->name);
		else
			add_lacking(r, w->dir, w->name);
		place_release(r, w->dir);
		free(w->name);
		free(w);
	}
}

void links_free(struct run *r)
{
	uint64_t at = 0, id, value;

	while (map_next(&r->links, &at, &id, &value)) {
		struct linked *l = (struct linked *)(uintptr_t)value;

		free(l->path);
		free(l);
	}
	map_free(&r->links);
}
