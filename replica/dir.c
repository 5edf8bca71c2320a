/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replica/dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "replica/check.h"
#include "replica/dirfd.h"
#include "replica/hash.h"
#include "replica/intent.h"
#include "replica/object.h"
#include "replica/recovery.h"
#include "replica/seal.h"
#include "replica/tree.h"

static struct dir *take(struct volume *v, uint32_t node)
{
	struct dir *d = *tree_state_slot(v, node);

	if (d && d->users++ == 0)
		tree_node(v, node)->refs++;
	return d;
}

static void dir_release(void *state)
{
	struct dir *d = state;

	pthread_mutex_destroy(&d->lock);
	free(d);
}

void dir_init(struct volume *v)
{
	tree_set_release(v, dir_release);
}

struct dir *dir_get(struct volume *v, uint32_t node)
{
	struct dir *d, *fresh;

	tree_lock(v);
	d = take(v, node);
	tree_unlock(v);
	if (d)
		return d;
	fresh = calloc(1, sizeof(*fresh));
	if (!fresh)
		return NULL;
	pthread_mutex_init(&fresh->lock, NULL);
	fresh->node = node;
	fresh->id = tree_node(v, node)->id;
	fresh->first_lsn = LSN_NONE;
	tree_lock(v);
	d = *tree_state_slot(v, node);
	if (!d) {
		*tree_state_slot(v, node) = fresh;
		fresh = NULL;
	}
	d = take(v, node);
	tree_unlock(v);
	if (fresh)
		dir_release(fresh);
	return d;
}

/* The state stays with its node: loading it means listing every mirror. */
void dir_put(struct volume *v, struct dir *d)
{
	tree_lock(v);
	if (--d->users == 0)
		tree_unref_unlock(v, d->node);
	else
		tree_unlock(v);
}

/* ---- the sum ---- */

void dir_add(struct dir *d, const char *name, uint8_t type, uint64_t id)
{
	d->sum += hash_entry(name, strlen(name), type, id);
	d->count++;
}

void dir_sub(struct dir *d, const char *name, uint8_t type, uint64_t id)
{
	d->sum -= hash_entry(name, strlen(name), type, id);
	d->count--;
}

/* The best record of the directory among the in-sync mirrors. */
static int load_record(struct volume *v, struct dir *d)
{
	struct record best = { 0 }, rec;
	uint32_t mask = volume_in_sync(v);
	bool found = false, open = false;
	struct loc l;
	int r = loc_get(v, d->node, mask, false, &l), err = -ENODATA;

	if (r < 0)
		return r;
	FOR_EACH_BIT(m, mask) {
		struct at a;

		r = loc_at(v, &l, (int)m, &a);
		if (r == 0)
			r = record_load(&a, TYPE_OF(S_IFDIR), &rec);
		if (r == 0 && rec.id != d->id)
			r = -EINVAL;
		if (r < 0) {
			err = r;
			continue;
		}
		/* One that was open before it was sealed elsewhere is only late. */
		if (!found || rec.gen > best.gen)
			open = rec.flags & RECORD_OPEN;
		else if (rec.gen == best.gen)
			open |= rec.flags & RECORD_OPEN;
		if (!found || rec.gen > best.gen)
			best = rec;
		found = true;
	}
	loc_put(v, &l);
	if (!found)
		return err;
	open |= recovery_dir(v, d->id, best.gen) != NULL;
	d->rec = best;
	d->sum = best.hash;
	d->count = best.size;
	d->open_before = open;
	return 0;
}

int dir_load(struct volume *v, struct dir *d)
{
	struct check c;
	int r = 0;

	pthread_mutex_lock(&d->lock);
	if (!d->loaded) {
		r = load_record(v, d);
		if (r < 0) {
			/* None has a record: whatever the names say, they are kept. */
			d->rec = (struct record){ .id = d->id, .leaf_shift = LEAF_SHIFT,
						  .type = TYPE_OF(S_IFDIR), .flags = RECORD_OPEN };
			d->sum = d->count = 0;
			d->open_before = true;
			d->marked = false;
			r = r == -ENODATA || r == -EINVAL ? 0 : r;
		}
		d->loaded = r == 0;
	}
	if (r < 0 || d->checked) {
		pthread_mutex_unlock(&d->lock);
		return r;
	}
	d->checked = true;
	pthread_mutex_unlock(&d->lock);
	check_init(&c, v);
	r = check_names(&c, d->node);
	return r == -ENOENT ? 0 : r;
}

int dir_mark(struct volume *v, struct dir *d)
{
	uint32_t mask = volume_in_sync(v), failed = 0, done = 0;
	struct record r = d->rec;
	struct loc l;
	int err;

	if (d->marked)
		return 0;
	err = intent_dir(v, d);
	if (err < 0)
		return err;
	r.flags |= RECORD_OPEN;
	err = loc_get(v, d->node, mask, false, &l);
	if (err < 0)
		return err;
	FOR_EACH_BIT(m, mask) {
		struct at a;
		int e = loc_at(v, &l, (int)m, &a);

		if (e == 0)
			e = record_store(&a, TYPE_OF(S_IFDIR), &r);
		if (e == 0)
			done |= 1u << m;
		else {
			failed |= 1u << m;
			err = e;
		}
	}
	loc_put(v, &l);
	if (!done)
		return err;
	if (failed) {
		char path[512];

		tree_path(v, d->node, path, sizeof(path));
		volume_eject(v, failed, -err, "setxattr of the record", path);
	}
	d->rec = r;
	d->marked = true;
	tree_set_ctime(v, d->node, 0, 0);
	return 0;
}

void dir_changed(struct volume *v, struct dir *d)
{
	d->changes++;
	d->changed_at = clock_ms();
	d->dirty = true;
	seal_queue_dir(v, d);
}

/* ---- listing ---- */

static int list_add(struct dir_list *l, const char *name, uint8_t type)
{
	size_t len = strlen(name);

	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		struct dir_entry *bigger = realloc(l->entry, cap * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		l->entry = bigger;
		l->cap = cap;
	}
	if (l->used + len + 1 > l->size) {
		size_t size = (l->size ? l->size * 2 : 4096) + len + 1;
		char *bigger = realloc(l->text, size);

		if (!bigger)
			return -ENOMEM;
		l->text = bigger;
		l->size = size;
	}
	l->entry[l->n++] = (struct dir_entry){ .type = type, .len = (uint16_t)len,
					       .name = (uint32_t)l->used };
	memcpy(l->text + l->used, name, len + 1);
	l->used += len + 1;
	return 0;
}

static int by_name(const void *a, const void *b, void *text)
{
	const struct dir_entry *x = a, *y = b;

	return strcmp((char *)text + x->name, (char *)text + y->name);
}

struct dirent64_raw {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

static uint8_t type_of_entry(int fd, const struct dirent64_raw *e)
{
	struct stat st;

	if (e->type != DT_UNKNOWN)
		return e->type;
	return fstatat(fd, e->name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? 0 : TYPE_OF(st.st_mode);
}

static int list_block(int fd, uint32_t node, const char *buf, long n, struct dir_list *l)
{
	for (long at = 0; at < n;) {
		const struct dirent64_raw *e = (const void *)(buf + at);
		int r;

		at += e->reclen;
		if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
			continue;
		if (node == NODE_ROOT && (strcmp(e->name, DOT_DIR) == 0 ||
					  strcmp(e->name, "lost+found") == 0))
			continue;
		r = list_add(l, e->name, type_of_entry(fd, e));
		if (r < 0)
			return r;
	}
	return 0;
}

int dir_list_read(struct volume *v, uint32_t node, int m, struct dir_list *l)
{
	uint64_t buf[4096];
	int dfd = dirfd_get(v, node, m), fd, r = 0;
	long n;

	memset(l, 0, sizeof(*l));
	if (dfd < 0)
		return dfd;
	fd = openat(dfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME);
	if (fd < 0 && errno == EPERM)
		fd = openat(dfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? -errno : 0;
	dirfd_put(v, node, m, dfd);
	while (r == 0 && (n = syscall(SYS_getdents64, fd, buf, sizeof(buf))) != 0)
		r = n < 0 ? -errno : list_block(fd, node, (char *)buf, n, l);
	if (fd >= 0)
		close(fd);
	if (r < 0)
		dir_list_free(l);
	else if (l->n)
		qsort_r(l->entry, l->n, sizeof(*l->entry), by_name, l->text);
	return r;
}

void dir_list_free(struct dir_list *l)
{
	free(l->entry);
	free(l->text);
	memset(l, 0, sizeof(*l));
}

bool dir_whole(struct volume *v, uint32_t node)
{
	struct dir *d = dir_get(v, node);
	struct dir_list l = { 0 };
	bool whole;

	if (!d)
		return false;
	pthread_mutex_lock(&d->lock); /* no name comes or goes meanwhile */
	whole = dir_list_read(v, node, volume_preferred(v, d->id), &l) == 0 &&
		(d->open_before || l.n >= d->count);
	pthread_mutex_unlock(&d->lock);
	dir_list_free(&l);
	dir_put(v, d);
	return whole;
}
