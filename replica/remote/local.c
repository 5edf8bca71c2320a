// SPDX-License-Identifier: GPL-2.0-or-later
/* See local.h. Reads through the same verified calls as everybody. */
#include "replica/remote/local.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/cleanup.h"
#include "replica/tree.h"

/* The content by its hash: what a state of the file knows, or its record. */
static int content(struct volume *v, uint32_t node, struct manifest_entry *out)
{
	struct file *f = file_get(v, node);
	int r;

	if (!f)
		return -ENOMEM;
	r = file_load(v, f);
	if (r == 0) {
		pthread_rwlock_rdlock(&f->lock);
		out->size = f->size;
		out->root = f->sum;
		out->gen = f->rec.gen;
		pthread_rwlock_unlock(&f->lock);
	}
	file_put(v, f);
	return r;
}

static int target(struct volume *v, uint32_t node, struct manifest_entry *out)
{
	char buf[4097];
	ssize_t n = op_readlink(v, node, buf, sizeof(buf) - 1);

	if (n < 0)
		return (int)n;
	buf[n] = '\0';
	out->target = strdup(buf);
	out->size = (uint64_t)n;
	return out->target ? 0 : -ENOMEM;
}

static int xattr_value(struct volume *v, uint32_t node, const char *name, struct manifest_xattr *x)
{
	ssize_t n = op_getxattr(v, node, name, NULL, 0);

	if (n < 0)
		return (int)n;
	x->value = malloc((size_t)n + 1);
	if (!x->value)
		return -ENOMEM;
	n = n ? op_getxattr(v, node, name, x->value, (size_t)n) : 0;
	if (n < 0)
		return (int)n;
	x->len = (size_t)n;
	x->name = strdup(name);
	return x->name ? 0 : -ENOMEM;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct manifest_xattr *)a)->name,
		      ((const struct manifest_xattr *)b)->name);
}

static int xattrs(struct volume *v, uint32_t node, struct manifest_entry *out)
{
	ssize_t n = op_listxattr(v, node, true, NULL, 0);
	CLEANUP_FREE char *list = NULL;
	int r = 0;

	if (n == -ENOTSUP || n == 0)
		return 0;
	if (n < 0)
		return (int)n;
	list = malloc((size_t)n);
	if (!list)
		return -ENOMEM;
	n = op_listxattr(v, node, true, list, (size_t)n);
	if (n < 0)
		return (int)n;
	out->xattr = calloc((size_t)n, sizeof(*out->xattr));
	if (!out->xattr)
		return -ENOMEM;
	for (const char *p = list; r == 0 && p < list + n; p += strlen(p) + 1) {
		if (!xattr_counts(p)) /* what is copied between mirrors goes to a remote */
			continue;
		r = xattr_value(v, node, p, &out->xattr[out->n_xattr]);
		if (r == -ENODATA) { /* gone since it was listed */
			free(out->xattr[out->n_xattr].value);
			out->xattr[out->n_xattr].value = NULL;
			r = 0;
			continue;
		}
		out->n_xattr++; /* also half made: it is cleared with the rest */
	}
	if (r == 0)
		qsort(out->xattr, out->n_xattr, sizeof(*out->xattr), by_name);
	return r;
}

static void attributes(const struct stat *st, struct manifest_entry *out)
{
	out->type = TYPE_OF(st->st_mode);
	out->id = st->st_ino;
	out->mode = S_ISLNK(st->st_mode) ? 0777 : st->st_mode & 07777;
	out->uid = st->st_uid;
	out->gid = st->st_gid;
	out->mtime = ts_ns(&st->st_mtim);
	out->atime = ts_ns(&st->st_atim);
	out->ctime = ts_ns(&st->st_ctim);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		out->rdev = st->st_rdev;
}

int local_entry(struct volume *v, const struct entry *e, const char *name,
		struct manifest_entry *out)
{
	int r = 0;

	memset(out, 0, sizeof(*out));
	out->name = strdup(name);
	if (!out->name)
		return -ENOMEM;
	attributes(&e->st, out);
	if (S_ISREG(e->st.st_mode))
		r = content(v, e->node, out);
	else if (S_ISLNK(e->st.st_mode))
		r = target(v, e->node, out);
	if (r == 0)
		r = xattrs(v, e->node, out);
	return r == -ENOENT ? -ESTALE : r;
}
