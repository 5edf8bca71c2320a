/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Definitions on the mirrors: `.mirrorfs/remote/<id>/definition`, whole or not there.
 * Of each id the highest seq on the in-sync mirrors counts. Not locked: one thread
 * at a time stores or removes definitions.
 */
#include "replica/remote/remote_def.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/cleanup.h"
#include "replica/base/io.h"
#include "replica/base/log.h"

#define TEXT_MAX 65536
#define REMOTES "remote"
#define DEFINITION "definition"
#define PLACE_MAX 64

static void place_of(char place[PLACE_MAX], const char *id, const char *file)
{
	snprintf(place, PLACE_MAX, REMOTES "/%.16s%s%s", id, file ? "/" : "", file ? file : "");
}

static int sync_at(int dotfd, const char *path)
{
	CLEANUP_CLOSE int fd = openat(dotfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : io_fsync_dir(fd);
}

int remote_def_mkdir(int dotfd, const char *id)
{
	char place[PLACE_MAX];
	struct stat st;
	int r;

	if (!remote_def_is_id(id))
		return -EINVAL;
	place_of(place, id, NULL);
	if (fstatat(dotfd, place, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
		return 0;
	r = io_mkdirs(dotfd, place);
	if (r == 0)
		r = sync_at(dotfd, REMOTES);
	return r ? r : sync_at(dotfd, ".");
}

/* ---- loading ---- */

struct found {
	struct remote_def *def;     /* REMOTE_MAX of them */
	size_t n;
	bool full;                  /* told that there are more */
};

static int read_small(int dotfd, const char *place, char **text)
{
	CLEANUP_CLOSE int fd = openat(dotfd, place,
				      O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	CLEANUP_FREE char *buf = NULL;
	struct stat st;
	ssize_t got;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > TEXT_MAX)
		return -EINVAL;
	buf = malloc(TEXT_MAX + 1);
	if (!buf)
		return -ENOMEM;
	got = io_pread_full(fd, buf, TEXT_MAX, 0);
	if (got < 0)
		return (int)got;
	buf[got] = '\0';
	if (strlen(buf) != (size_t)got)
		return -EINVAL;
	*text = steal_ptr(&buf);
	return 0;
}

/* Reads and judges one; why not in error. -ENOENT: none there. */
static int load_one(int dotfd, const char *id, struct remote_def *d, char *error, size_t n)
{
	CLEANUP_FREE char *text = NULL;
	char place[PLACE_MAX];
	int r;

	place_of(place, id, DEFINITION);
	r = read_small(dotfd, place, &text);
	if (r < 0) {
		snprintf(error, n, "%s", r == -EINVAL ? "not a text file" : strerror(-r));
		return r;
	}
	r = remote_def_decode(text, d, error, n);
	if (r == 0 && strcmp(d->id, id)) {
		snprintf(error, n, "is that of another remote, %s", d->id);
		remote_def_free(d);
		return -EINVAL;
	}
	return r;
}

/* Takes d over. */
static void keep_newest(struct found *f, struct remote_def *d)
{
	size_t i = 0;

	while (i < f->n && strcmp(f->def[i].id, d->id))
		i++;
	if (i < f->n && f->def[i].seq >= d->seq) {
		remote_def_free(d);
		return;
	}
	if (i == REMOTE_MAX) {
		if (!f->full)
			log_warn("more than %d remotes; \"%s\" (%s) and what follows are left out",
				 REMOTE_MAX, d->name, d->id);
		f->full = true;
		remote_def_free(d);
		return;
	}
	if (i < f->n)
		remote_def_free(&f->def[i]);
	else
		f->n++;
	f->def[i] = *d;
}

static int load_from(struct volume *v, unsigned m, struct found *f)
{
	struct remote_def d;
	char error[256];
	struct dirent *e;
	int fd, r = 0;
	DIR *dir;

	fd = openat(v->m[m].dotfd, REMOTES, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	while (r != -ENOMEM && (errno = 0, e = readdir(dir)) != NULL) {
		if (!remote_def_is_id(e->d_name))
			continue;
		r = load_one(v->m[m].dotfd, e->d_name, &d, error, sizeof(error));
		if (r == 0)
			keep_newest(f, &d);
		else if (r != -ENOENT && r != -ENOMEM)
			log_warn("%s: the definition of remote %s cannot be used: %s",
				 volume_path(v, (int)m), e->d_name, error);
	}
	if (r != -ENOMEM)
		r = -errno;
	closedir(dir);
	return r;
}

static int by_name(const void *a, const void *b)
{
	const struct remote_def *x = a, *y = b;
	int r = strcmp(x->name, y->name);

	return r ? r : strcmp(x->id, y->id);
}

int remote_def_load(struct volume *v, struct remote_def **out, size_t *n)
{
	struct found f = { .def = calloc(REMOTE_MAX, sizeof(*f.def)) };
	int r = f.def ? 0 : -ENOMEM;

	FOR_EACH_BIT(m, volume_in_sync(v)) {
		if (r == -ENOMEM)
			break;
		r = load_from(v, m, &f);
		if (r < 0 && r != -ENOMEM)
			log_err(r, "%s: cannot list the remotes", volume_path(v, (int)m));
	}
	if (r == -ENOMEM) {
		for (size_t i = 0; i < f.n; i++)
			remote_def_free(&f.def[i]);
		free(f.def);
		return r;
	}
	qsort(f.def, f.n, sizeof(*f.def), by_name);
	*out = f.def;
	*n = f.n;
	return 0;
}

/* ---- storing ---- */

static int store_on(int dotfd, const struct remote_def *d, const char *text)
{
	char place[PLACE_MAX];
	int r = remote_def_mkdir(dotfd, d->id);

	place_of(place, d->id, DEFINITION);
	return r ? r : io_replace_file(dotfd, place, text, strlen(text), 0600);
}

/* A mirror that alone fails is out; when all do, they stay. 0, or why none took it. */
static int judge(struct volume *v, uint32_t took, const int *err, const char *what)
{
	int first = -EIO;

	for (unsigned m = MAX_MIRRORS; m-- > 0;) {
		if (!err[m])
			continue;
		first = err[m];
		if (took)
			volume_eject(v, 1u << m, -err[m], what, NULL);
	}
	return took ? 0 : first;
}

static int store_text(struct volume *v, const struct remote_def *d, const char *text)
{
	int err[MAX_MIRRORS] = { 0 };
	uint32_t took = 0;

	FOR_EACH_BIT(m, volume_in_sync(v)) {
		err[m] = store_on(v->m[m].dotfd, d, text);
		if (err[m])
			log_err(err[m], "%s: cannot store the definition of remote \"%s\"",
				volume_path(v, (int)m), d->name);
		else
			took |= 1u << m;
	}
	return judge(v, took, err, "write of the definition of a remote");
}

int remote_def_store(struct volume *v, struct remote_def *d)
{
	CLEANUP_FREE char *text = NULL;
	char error[256];
	int r;

	if (v->opt.read_only)
		return -EROFS;
	r = remote_def_check(d, error, sizeof(error));
	if (r < 0) {
		log_error("definition of remote \"%s\": %s", d->name, error);
		return r;
	}
	d->seq++;
	text = remote_def_encode(d);
	r = text ? store_text(v, d, text) : -ENOMEM;
	if (r < 0)
		d->seq--;
	return r;
}

/* The definition goes first: one that came back without its ledger would believe that
 * nothing is to be sent. */
static int remove_on(int dotfd, const char *id)
{
	char place[PLACE_MAX], dir[PLACE_MAX];
	int r;

	place_of(place, id, DEFINITION);
	place_of(dir, id, NULL);
	if (unlinkat(dotfd, place, 0) == 0)
		r = sync_at(dotfd, dir);
	else
		r = errno == ENOENT || errno == ENOTDIR || errno == EISDIR ? 0 : -errno;
	if (r == 0)
		r = io_remove_tree(dotfd, dir);
	if (r == 0)
		r = sync_at(dotfd, REMOTES);
	return r == -ENOENT ? 0 : r;
}

int remote_def_remove(struct volume *v, const char *id)
{
	uint32_t set = volume_in_sync(v), took = 0;
	int err[MAX_MIRRORS] = { 0 };

	if (!remote_def_is_id(id))
		return -EINVAL;
	if (v->opt.read_only)
		return -EROFS;
	/* others too: from there it would come back one day */
	for (unsigned m = 0; m < v->n; m++) {
		int r = v->m[m].dotfd < 0 ? 0 : remove_on(v->m[m].dotfd, id);

		if (r < 0)
			log_err(r, "%s: cannot remove remote %s", volume_path(v, (int)m), id);
		if (set & 1u << m && r == 0)
			took |= 1u << m;
		else if (set & 1u << m)
			err[m] = r;
	}
	return judge(v, took, err, "removal of a remote");
}
