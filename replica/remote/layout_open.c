// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Opening a layout: the format, the newest good head, what intents beyond it tell. An
 * empty store is made one of ours, if that is wanted.
 */
#include "replica/remote/layout_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/base/log.h"

#define MEMORY_DEFAULT (32u << 20)
#define FORMAT_VERSION 1u
#define LAYOUT_NAME "tree"

/* ---- the format ---- */

static int compare_format(struct layout *l, const struct layout_options *o,
			  const struct remote_format *f)
{
	if (strcmp(f->layout, LAYOUT_NAME))
		return layout_failed(l, -EEXIST, "what is there has the layout \"%s\"", f->layout);
	if (o->volume && memcmp(o->volume, f->volume, sizeof(l->volume)))
		return layout_failed(l, -EEXIST, "what is there belongs to another volume");
	memcpy(l->volume, f->volume, sizeof(l->volume));
	return 0;
}

static int read_format(struct layout *l, const struct layout_options *o)
{
	char name[OBJECT_NAME_MAX], error[200] = "", *data;
	struct remote_format f;
	size_t len;
	int err;

	object_name_format(name);
	err = object_get(l, name, &data, &len);
	if (err == -ENOTDIR || err == -EISDIR)
		return layout_failed(l, -EEXIST, "something else is there");
	if (err)
		return err;
	err = remote_format_decode(data, len, &f, error, sizeof(error));
	free(data);
	if (err)
		return layout_failed(l, err, "%s: %s", name, *error ? error : strerror(-err));
	return compare_format(l, o, &f);
}

/* What an attempt before this one may have left behind. */
static bool is_ours(const char *name)
{
	static const char *const list[] = { "probe", "head", "intent", "dir", "leaf", "id",
					    "aside" };
	unsigned i;

	for (i = 0; i < sizeof(list) / sizeof(*list); i++)
		if (!strcmp(name, list[i]))
			return true;
	return false;
}

static int check_empty(struct layout *l, const char *folder, bool (*allowed)(const char *name))
{
	struct names list = { 0 };
	int err = object_list(l, folder, false, &list);
	size_t i;

	for (i = 0; !err && i < list.n; i++)
		if (!allowed(list.name[i]))
			err = layout_failed(l, -EEXIST, "something else is there: %s%s%.200s",
					    folder, *folder ? "/" : "", list.name[i]);
	names_clear(&list);
	return err;
}

static bool is_folder(const char *name)
{
	return !strcmp(name, OBJECT_FOLDER);
}

static bool none(const char *name)
{
	(void)name;
	return false;
}

static int make_folders(struct layout *l)
{
	static const char *const list[] = { OBJECT_FOLDER, OBJECT_FOLDER_HEAD,
					    OBJECT_FOLDER_INTENT };
	unsigned i;
	int err = 0;

	for (i = 0; !err && i < sizeof(list) / sizeof(*list); i++) {
		struct job j = { .op = { .verb = STORE_MKDIR, .name = list[i] } };

		err = job_run(l, &j);
		if (err)
			layout_op_failed(l, &j.op);
	}
	return err;
}

static int create(struct layout *l, const struct layout_options *o)
{
	struct remote_format f = { .version = FORMAT_VERSION, .created = layout_now() };
	char name[OBJECT_NAME_MAX], *data;
	size_t len;
	int err;

	if (!o->volume || !o->writer)
		return -EINVAL;
	err = check_empty(l, "", is_folder);
	if (!err)
		err = check_empty(l, OBJECT_FOLDER, is_ours);
	if (!err)
		err = check_empty(l, OBJECT_FOLDER_HEAD, none);
	if (!err)
		err = make_folders(l);
	if (err)
		return err;
	strcpy(f.layout, LAYOUT_NAME);
	memcpy(f.volume, o->volume, sizeof(f.volume));
	snprintf(f.writer, sizeof(f.writer), "%s", o->writer);
	err = remote_format_encode(&f, &data, &len);
	if (err)
		return err;
	object_name_format(name);
	err = object_put(l, name, data, len, false);
	free(data);
	return err ? err : read_format(l, o);
}

/* ---- the head ---- */

static int check_head(struct layout *l, const struct remote_head *h, bool take_over)
{
	if (memcmp(h->volume, l->volume, sizeof(l->volume)))
		return layout_failed(l, -EEXIST, "head %" PRIu64 " is of another volume", h->seq);
	if (*l->writer && !take_over && strcmp(l->writer, h->writer))
		return layout_failed(l, -EBUSY, "another writer (%s) has written head %" PRIu64,
				     h->writer, h->seq);
	return 0;
}

/* The newest one that is good. */
static int read_heads(struct layout *l, bool take_over)
{
	uint64_t *seq = NULL;
	size_t n = 0, i;
	int err = heads_list(l, &seq, &n);

	if (!err && n)
		l->top = l->last = seq[n - 1];
	for (i = n; !err && i > 0; i--) {
		err = head_read(l, seq[i - 1], &l->head);
		if (!err)
			break;
		if (err != -EBADMSG && err != -ENOENT)
			break;
		log_warn("remote: %s: %s", l->error, i > 1 ? "the head before it is taken" :
			 "there is no other one");
		/* The first one may be torn: a writer begins anew. */
		err = i > 1 || *l->writer ? 0 : -EBADMSG;
	}
	l->before = i > 1 && !err ? seq[i - 2] : 0;
	l->untidy = n > LAYOUT_HEADS_KEPT;
	free(seq);
	if (!err && l->head.seq)
		err = check_head(l, &l->head, take_over);
	if (!err && !l->head.seq && !*l->writer)
		err = layout_failed(l, -ENOENT, "no state was ever completed there");
	return err;
}

static int make_state(struct layout *l)
{
	static char no_name[1] = "";
	struct manifest_entry none_yet = { .name = no_name, .type = TYPE_DIR, .id = LAYOUT_ROOT_ID,
					   .mode = 0755 };
	int err = manifest_entry_copy(&l->attrs, l->head.seq ? &l->head.attrs : &none_yet);

	if (!err)
		err = dir_new(l, NULL, "", LAYOUT_ROOT_ID, &l->root);
	if (!err)
		err = dir_new(l, NULL, OBJECT_FOLDER, LAYOUT_LINKS_ID, &l->links);
	if (err)
		return err;
	l->root->ref = l->head.root;
	/* Of both: what changes is kept up in each of them, the sum counts. */
	l->root->files = l->head.files;
	l->root->bytes = l->head.bytes;
	l->links->ref = l->head.links;
	l->links->hidden = true;
	return 0;
}

/* A damaged manifest is told to whoever reads it; the layout can be had all the same. */
static int read_state(struct layout *l)
{
	int err = make_state(l);

	if (err)
		return err;
	err = dir_ready(l, l->root);
	if (!err || err == -EBADMSG)
		err = dir_ready(l, l->links);
	if (err == -EBADMSG) {
		log_warn("remote: %s", l->error);
		err = 0;
	}
	return err;
}

/* ---- the calls ---- */

static struct layout *new_layout(struct store *s, const struct layout_options *o)
{
	struct layout *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->store = s;
	if (o->writer)
		snprintf(l->writer, sizeof(l->writer), "%s", o->writer);
	l->stop = o->stop;
	l->stop_arg = o->stop_arg;
	l->limit = o->memory ? o->memory : MEMORY_DEFAULT;
	l->puts_end = &l->puts;
	l->steps_end = &l->steps;
	l->allowed = 4;
	return l;
}

static int open_all(struct layout *l, const struct layout_options *o)
{
	int err = sodium_init() < 0 ? -EIO : read_format(l, o);

	if (err == -ENOENT)
		err = o->create ? create(l, o) : layout_failed(l, err, "there is no remote");
	if (!err)
		err = read_heads(l, o->take_over);
	if (!err)
		err = read_state(l);
	if (err)
		return err;
	if (!*l->writer)
		return layout_beyond(l);
	l->uncounted = l->head.uncounted;
	err = layout_replay(l, o->take_over);
	l->untidy |= l->n_intent > 0;
	/* Numbers that nobody used before, also where a head that was sent is still under way. */
	l->fixed = l->last << 20 | 0xfffff;
	l->running_no = randombytes_uniform(0x7ffff);
	if (!err && l->head.seq && strcmp(l->writer, l->head.writer))
		l->live.sets++;
	return err;
}

int layout_open(struct store *s, const struct layout_options *o, struct layout **out,
		char error[LAYOUT_ERROR_MAX])
{
	struct layout *l = new_layout(s, o);
	int err = l ? open_all(l, o) : -ENOMEM;

	*error = '\0';
	if (!err) {
		*out = l;
		return 0;
	}
	snprintf(error, LAYOUT_ERROR_MAX, "%s", l && *l->error ? l->error : strerror(-err));
	if (l)
		layout_close(l);
	return err;
}

static void free_puts(struct layout *l, struct put *p)
{
	struct put *next;

	for (; p; p = next) {
		next = p->next;
		put_free(l, p);
	}
}

void layout_close(struct layout *l)
{
	struct step *s;

	while (l->limbo)
		limbo_free(l, l->limbo);
	free_puts(l, l->puts);
	free_puts(l, l->good);
	free_puts(l, l->good_frozen);
	while (l->doubts)
		doubt_remove(l, l->doubts);
	while ((s = l->steps)) {
		l->steps = s->next;
		step_free(l, s);
	}
	dir_free_all(l);
	map_free(&l->link_names);
	map_free(&l->unlinked);
	map_free(&l->asked);
	names_clear(&l->drop);
	while (l->n_beyond)
		remote_intent_clear(&l->beyond[--l->n_beyond]);
	free(l->beyond);
	free(l->intent);
	free(l->head_data);
	remote_head_clear(&l->head);
	remote_head_clear(&l->head_next);
	manifest_entry_clear(&l->attrs);
	free(l);
}

const struct remote_head *layout_head(const struct layout *l)
{
	return &l->head;
}

const char *layout_error(const struct layout *l)
{
	return l->error;
}
