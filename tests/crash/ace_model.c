// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The model: what each step of a sequence does. A step picks what it works on
 * from what the steps before it left, so that the second is about the first as
 * often as it can be: a new file is the one that is written next, a new
 * directory the one where new names are made and files are moved to.
 */
#include "tests/crash/ace.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/exercise/common.h"

enum { OBJ_A = 1, OBJ_B, OBJ_D, OBJ_F, OBJ_E, OBJ_G, OBJ_PREPARED };
enum { ENTRY_A, ENTRY_B, ENTRY_H, ENTRY_D, ENTRY_F, ENTRY_E, ENTRY_G };

/* What the next step would work on. */
struct builder {
	struct ace_model *m;
	unsigned time;  /* of the step being made */
	int *now;       /* at[time] */
	int file;       /* entry of the file the sequence is about */
	int dir;        /* object: where new names go */
	int made;       /* object: directory just made, or ACE_NOTHING */
	int touched;    /* object: what ACE_FILE syncs after this step */
	int touched_in; /* object: what ACE_DIR syncs */
};

static int new_object(struct ace_model *m, mode_t type, mode_t mode)
{
	struct ace_object *o = &m->object[m->n_objects];

	if (m->n_objects == ACE_OBJECTS)
		abort();
	o->type = type;
	o->version[0].mode = mode;
	o->n_versions = 1;
	return (int)m->n_objects++;
}

static int entry_of(struct ace_model *m, int dir, const char *name)
{
	unsigned e, t;

	for (e = 0; e < m->n_entries; e++)
		if (m->entry[e].dir == dir && !strcmp(m->entry[e].name, name))
			return (int)e;
	if (e == ACE_ENTRIES)
		abort();
	m->entry[e].dir = dir;
	strcpy(m->entry[e].name, name);
	for (t = 0; t <= ACE_STEPS; t++)
		m->at[t][e] = ACE_NOTHING;
	m->n_entries++;
	return (int)e;
}

/* Bytes that no other object, place or time has; never like a hole. */
static uint64_t word_at(const struct ace_model *m, int object, unsigned time, uint64_t at)
{
	uint64_t state = ((uint64_t)m->index << 40) ^ ((uint64_t)object << 32) ^
			 ((uint64_t)time << 60) ^ at;

	return rng_next(&state) | 0x0101010101010101;
}

static void fill(const struct ace_model *m, int object, unsigned time, uint8_t *bytes, uint64_t off,
		 uint64_t len)
{
	uint64_t word, skip, n, done;

	for (done = 0; done < len; done += n) {
		skip = (off + done) % 8;
		n = 8 - skip < len - done ? 8 - skip : len - done;
		word = word_at(m, object, time, (off + done) / 8);
		memcpy(bytes + done, (uint8_t *)&word + skip, n);
	}
}

static void set_bytes(struct ace_version *v, uint64_t size)
{
	v->bytes = must_alloc(size);
	v->size = size;
}

/* A copy of the newest version to be changed, of this time. */
static struct ace_version *next_version(struct ace_object *o, unsigned time, uint64_t size)
{
	struct ace_version *v = &o->version[o->n_versions], *old = v - 1;

	*v = *old;
	v->time = time;
	o->n_versions++;
	if (o->type == S_IFREG) {
		set_bytes(v, size);
		memcpy(v->bytes, old->bytes, size < old->size ? size : old->size);
	}
	return v;
}

unsigned ace_version_at(const struct ace_object *o, unsigned time)
{
	unsigned i = o->n_versions - 1;

	while (i > 0 && o->version[i].time > time)
		i--;
	return i;
}

void ace_path_of_entry(const struct ace_model *m, unsigned time, int entry, char *path)
{
	char dir[ACE_PATH];

	ace_path_of(m, time, m->entry[entry].dir, dir);
	if (!strcmp(dir, "."))
		snprintf(path, ACE_PATH, "%s", m->entry[entry].name);
	else
		snprintf(path, ACE_PATH, "%.20s/%s", dir, m->entry[entry].name);
}

void ace_path_of(const struct ace_model *m, unsigned time, int object, char *path)
{
	unsigned e;

	strcpy(path, ".");
	for (e = 0; object != ACE_ROOT && e < m->n_entries; e++) {
		if (m->at[time][e] != object)
			continue;
		ace_path_of_entry(m, time, (int)e, path);
		return;
	}
}

static struct ace_action *action_of(struct builder *b)
{
	return &b->m->action[b->time - 1];
}

static struct ace_object *file_of(struct builder *b)
{
	b->touched = b->now[b->file];
	b->touched_in = b->m->entry[b->file].dir;
	return &b->m->object[b->touched];
}

/* The step's first or second path is that of the entry as it is before it. */
static void name_path(struct builder *b, unsigned which, int entry)
{
	ace_path_of_entry(b->m, b->time, entry, action_of(b)->path[which]);
}

static void change(struct builder *b, int entry, int after)
{
	struct ace_action *a = action_of(b);

	a->change[a->n_changes].entry = entry;
	a->change[a->n_changes++].after = after;
}

/* A name of this step, where new names go. */
static int fresh_entry(struct builder *b, int dir, char letter)
{
	char name[ACE_NAME];

	snprintf(name, sizeof(name), "%c%u", letter, b->time);
	return entry_of(b->m, dir, name);
}

static bool is_empty(struct builder *b, int dir)
{
	unsigned e;

	for (e = 0; e < b->m->n_entries; e++)
		if (b->m->entry[e].dir == dir && b->now[e] != ACE_NOTHING)
			return false;
	return true;
}

static int entry_leading_to(struct builder *b, int object)
{
	unsigned e = 0;

	while (b->now[e] != object)
		e++;
	return (int)e;
}

/* The first of these that is there and is not this object. */
static int another(struct builder *b, const int *list, unsigned n, int object)
{
	unsigned i;

	for (i = 0; i < n; i++)
		if (b->now[list[i]] != ACE_NOTHING && b->now[list[i]] != object &&
		    (b->m->object[b->now[list[i]]].type == S_IFREG || is_empty(b, b->now[list[i]])))
			return list[i];
	abort();
}

static int another_file(struct builder *b)
{
	static const int order[2][3] = {
		{ ENTRY_B, ENTRY_A, ENTRY_F },
		{ ENTRY_A, ENTRY_B, ENTRY_F },
	};

	return another(b, order[b->m->seq.variant == 1], 3, b->now[b->file]);
}

static int empty_dir(struct builder *b)
{
	static const int order[] = { ENTRY_E, ENTRY_G, ENTRY_D };

	return another(b, order, 3, OBJ_D);
}

/* --- the operations: paths, effects, versions -------------------------------- */

static void make_create(struct builder *b)
{
	struct ace_action *a = action_of(b);
	int object = new_object(b->m, S_IFREG, 0644), entry = fresh_entry(b, b->dir, 'C');
	struct ace_object *o = &b->m->object[object];
	struct ace_version *v;

	o->version[0].time = b->time;
	set_bytes(&o->version[0], 0);
	a->len = 2 * 4096 + 777;
	v = next_version(o, b->time, a->len);
	fill(b->m, object, b->time, v->bytes, 0, a->len);
	a->bytes = v->bytes;
	a->mode = 0644;
	name_path(b, 0, entry);
	change(b, entry, object);
	b->file = entry;
	b->touched = object;
	b->touched_in = b->dir;
}

static void make_write(struct builder *b, uint64_t off, uint64_t len)
{
	struct ace_action *a = action_of(b);
	struct ace_object *o = file_of(b);
	uint64_t size = o->version[o->n_versions - 1].size;
	struct ace_version *v = next_version(o, b->time, off + len > size ? off + len : size);

	fill(b->m, b->touched, b->time, v->bytes + off, off, len);
	a->off = off;
	a->len = len;
	a->bytes = v->bytes + off;
	name_path(b, 0, b->file);
}

static uint64_t size_now(struct builder *b)
{
	struct ace_object *o = file_of(b);

	return o->version[o->n_versions - 1].size;
}

static void make_overwrite(struct builder *b)
{
	uint64_t size = size_now(b);

	make_write(b, size / 4 + 7, size / 2);
}

static void make_append(struct builder *b)
{
	make_write(b, size_now(b), 6001);
}

static void make_truncate(struct builder *b)
{
	struct ace_action *a = action_of(b);
	uint64_t size = size_now(b);

	a->len = size / 2 + 33;
	next_version(file_of(b), b->time, a->len);
	name_path(b, 0, b->file);
}

static void make_punch(struct builder *b)
{
	struct ace_action *a = action_of(b);
	uint64_t size = size_now(b);
	struct ace_version *v = next_version(file_of(b), b->time, size);

	a->off = size / 5;
	a->len = size / 2;
	memset(v->bytes + a->off, 0, a->len);
	name_path(b, 0, b->file);
}

/* The file goes where new names go; the directory, in the variant of its own,
 * to the top. */
static void make_rename(struct builder *b)
{
	bool dir = b->m->seq.variant == 2;
	int from = dir ? entry_leading_to(b, OBJ_D) : b->file;
	int to = fresh_entry(b, dir ? ACE_ROOT : b->dir, 'R');

	name_path(b, 0, from);
	name_path(b, 1, to);
	b->touched = b->now[from];
	b->touched_in = b->m->entry[to].dir;
	change(b, from, ACE_NOTHING);
	change(b, to, b->touched);
	if (!dir)
		b->file = to;
}

static void make_swap(struct builder *b, bool over)
{
	bool dir = b->m->seq.variant == 2;
	int from = dir ? entry_leading_to(b, OBJ_D) : b->file;
	int to = dir ? empty_dir(b) : another_file(b);

	name_path(b, 0, from);
	name_path(b, 1, to);
	b->touched = b->now[from];
	b->touched_in = b->m->entry[to].dir;
	change(b, from, over ? ACE_NOTHING : b->now[to]);
	change(b, to, b->touched);
	action_of(b)->over = over && !dir;
	if (!dir)
		b->file = to;
}

static void make_rename_over(struct builder *b)
{
	make_swap(b, true);
}

static void make_exchange(struct builder *b)
{
	make_swap(b, false);
}

static void make_link(struct builder *b)
{
	int to = fresh_entry(b, b->dir, 'L');

	name_path(b, 0, b->file);
	name_path(b, 1, to);
	b->touched = b->now[b->file];
	b->touched_in = b->dir;
	change(b, to, b->touched);
}

/* The file synced afterwards is another: this one may be no more. */
static void make_unlink(struct builder *b)
{
	int from = b->file;

	name_path(b, 0, from);
	b->touched_in = b->m->entry[from].dir;
	change(b, from, ACE_NOTHING);
	b->file = another_file(b);
	b->touched = b->now[b->file];
}

static void make_mkdir(struct builder *b)
{
	int object = new_object(b->m, S_IFDIR, 0755), entry = fresh_entry(b, b->dir, 'M');

	b->m->object[object].version[0].time = b->time;
	action_of(b)->mode = 0755;
	name_path(b, 0, entry);
	change(b, entry, object);
	b->touched = object;
	b->touched_in = b->dir;
	b->dir = b->made = object;
}

static void make_rmdir(struct builder *b)
{
	bool own = b->made != ACE_NOTHING && is_empty(b, b->made);
	int entry = own ? entry_leading_to(b, b->made) : empty_dir(b);

	name_path(b, 0, entry);
	b->touched = b->now[b->file];
	b->touched_in = b->m->entry[entry].dir;
	change(b, entry, ACE_NOTHING);
	if (own)
		b->dir = b->m->entry[entry].dir;
	b->made = ACE_NOTHING;
}

static void make_symlink(struct builder *b)
{
	int object = new_object(b->m, S_IFLNK, 0777), entry = fresh_entry(b, b->dir, 'S');

	b->m->object[object].version[0].time = b->time;
	snprintf(b->m->object[object].target, ACE_NAME, "to-%u", b->time);
	snprintf(action_of(b)->xattr, ACE_NAME, "to-%u", b->time);
	name_path(b, 0, entry);
	change(b, entry, object);
	b->touched = b->now[b->file];
	b->touched_in = b->dir;
}

/* Attributes: of a directory just made, of the one it is about, or the file. */
static struct ace_version *attribute(struct builder *b)
{
	struct ace_model *m = b->m;
	struct ace_object *o;
	int entry = b->file;

	if (b->made != ACE_NOTHING)
		entry = entry_leading_to(b, b->made);
	else if (m->seq.variant == 2)
		entry = entry_leading_to(b, OBJ_D);
	name_path(b, 0, entry);
	b->touched = b->now[entry];
	b->touched_in = m->entry[entry].dir;
	o = &m->object[b->touched];
	return next_version(o, b->time, o->version[o->n_versions - 1].size);
}

static void make_setxattr(struct builder *b)
{
	struct ace_version *v = attribute(b);

	snprintf(v->xattr, ACE_NAME, "new-%u", b->time);
	memcpy(action_of(b)->xattr, v->xattr, ACE_NAME);
}

static void make_chmod(struct builder *b)
{
	struct ace_version *v = attribute(b);

	v->mode = (v->mode & 0700) | (b->time == 1 ? 0040 : 0004);
	action_of(b)->mode = v->mode;
}

static void (*const make[ACE_OPS])(struct builder *) = {
	make_create, make_overwrite, make_append, make_truncate, make_punch,
	make_rename, make_rename_over, make_exchange, make_link, make_unlink,
	make_mkdir, make_rmdir, make_symlink, make_setxattr, make_chmod,
};

/* --- the whole ---------------------------------------------------------------- */

static void prepared_file(struct ace_model *m, int object, uint64_t size)
{
	struct ace_version *v = &m->object[object].version[0];

	set_bytes(v, size);
	fill(m, object, 0, v->bytes, 0, size);
}

static void prepared(struct ace_model *m)
{
	static const struct {
		int object, dir;
		const char *name;
		mode_t type;
		uint64_t size;
	} row[] = {
		[ENTRY_A] = { OBJ_A, ACE_ROOT, "A", S_IFREG, 3 * 4096 - 1000 },
		[ENTRY_B] = { OBJ_B, ACE_ROOT, "B", S_IFREG, 20 * 4096 - 500 },
		[ENTRY_H] = { OBJ_A, ACE_ROOT, "H", S_IFREG, 0 },
		[ENTRY_D] = { OBJ_D, ACE_ROOT, "D", S_IFDIR, 0 },
		[ENTRY_F] = { OBJ_F, OBJ_D, "f", S_IFREG, 5000 },
		[ENTRY_E] = { OBJ_E, ACE_ROOT, "E", S_IFDIR, 0 },
		[ENTRY_G] = { OBJ_G, ACE_ROOT, "G", S_IFDIR, 0 },
	};
	unsigned i;

	new_object(m, S_IFDIR, 0755); /* ACE_ROOT */
	for (i = 0; i < ARRAY_SIZE(row); i++) {
		if (row[i].object == (int)m->n_objects) {
			new_object(m, row[i].type, row[i].type == S_IFDIR ? 0755 : 0644);
			if (row[i].type == S_IFREG)
				prepared_file(m, row[i].object, row[i].size);
		}
		m->at[0][entry_of(m, row[i].dir, row[i].name)] = row[i].object;
	}
	strcpy(m->object[OBJ_A].version[0].xattr, "old");
	strcpy(m->object[OBJ_D].version[0].xattr, "old");
}

static void make_step(struct builder *b, unsigned s)
{
	struct ace_model *m = b->m;
	struct ace_action *a = &m->action[s];
	unsigned i;

	b->time = s + 1;
	b->now = m->at[b->time];
	memcpy(b->now, m->at[s], sizeof(m->at[0]));
	if (m->seq.step[s].op != ACE_SETXATTR && m->seq.step[s].op != ACE_CHMOD &&
	    m->seq.step[s].op != ACE_RMDIR)
		b->made = ACE_NOTHING;
	make[m->seq.step[s].op](b);
	for (i = 0; i < a->n_changes; i++)
		b->now[a->change[i].entry] = a->change[i].after;
	a->sync_object[0] = b->touched;
	a->sync_object[1] = b->touched_in;
	for (i = 0; i < 2; i++)
		ace_path_of(m, b->time, a->sync_object[i], a->sync_path[i]);
}

void ace_model_make(struct ace_model *m, const struct ace_sequence *seq, unsigned index)
{
	static const int subject[ACE_VARIANTS] = { ENTRY_A, ENTRY_B, ENTRY_F };
	struct builder b = { .m = m, .made = ACE_NOTHING };
	unsigned s;

	memset(m, 0, sizeof(*m));
	m->seq = *seq;
	m->index = index;
	prepared(m);
	b.file = subject[seq->variant];
	b.dir = seq->variant == 2 ? OBJ_D : ACE_ROOT;
	for (s = 0; s < seq->n; s++)
		make_step(&b, s);
}

void ace_model_free(struct ace_model *m)
{
	unsigned i, v;

	for (i = 0; i < m->n_objects; i++)
		for (v = 0; v < m->object[i].n_versions; v++)
			free(m->object[i].version[v].bytes);
}
