/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Restore from a remote alone: all that a tree can hold comes back and is a
 * sound volume; damage is named and the rest comes back; a restore that was
 * cut off anywhere goes on.
 */
#include "tests/unit/restore.h"

#include <grp.h>

/* ---- all of it ---- */

static void test_all(void **state)
{
	struct scene *s = *state;
	struct superblock sb;
	struct stat st;
	int dot;

	restore_well(s);
	assert_int_equal(s->st.lacking + s->st.failed + s->st.skipped + s->st.newer, 0);
	assert_int_equal(s->st.files, s->st.total_files);
	assert_int_equal(s->st.bytes, s->st.total_bytes);
	assert_whole(s);
	/* No id comes twice, not even those that were handed out since the head. */
	dot = openat(s->b->fd[1], DOT_DIR, O_RDONLY | O_DIRECTORY);
	assert_int_equal(superblock_read(dot, &sb), 0);
	assert_true(sb.next_id >= s->sb.next_id + (1u << 20));
	close(dot);
	/* Holes stay holes. */
	assert_int_equal(fstatat(s->b->fd[1], "a/sparse", &st, 0), 0);
	assert_true(st.st_blocks < 1000);
}

/* Records: ids, generations and ctimes are those of the original. */
static void test_records(void **state)
{
	static const char *const paths[] = { "a", "a/f1", "a/b/f1", "a/big", "many/n7", "a/sym",
					     "a/fifo", "a/sparse" };
	struct scene *s = *state;

	restore_well(s);
	for (size_t i = 0; i < N_ELEMS(paths); i++) {
		struct record a = bed_record(s->b, 0, paths[i]), b = bed_record(s->b, 1, paths[i]);

		assert_int_equal(b.flags, 0);
		assert_int_equal(a.id, b.id);
		assert_int_equal(a.gen, b.gen);
		assert_int_equal(a.size, b.size);
		assert_int_equal(a.hash, b.hash);
		assert_int_equal(a.mtime, b.mtime);
		assert_int_equal(a.ctime, b.ctime);
		assert_int_equal(a.meta, b.meta);
	}
}

static void test_dry_run(void **state)
{
	struct scene *s = *state;

	s->o.dry_run = true;
	restore_well(s);
	assert_int_equal(s->st.files, s->st.total_files);
	assert_true(init_dir_empty(s->b->fd[1]));
	/* It looks at every byte, also of what is all zeros. */
	flip_byte(s->objects, "a/sparse", 20 << 20, 1);
	flip_byte(s->objects, "many/n5", 2, 1);
	restore_well(s);
	flip_byte(s->objects, "a/sparse", 20 << 20, 1);
	flip_byte(s->objects, "many/n5", 2, 1);
	assert_int_equal(s->st.lacking, 2);
	assert_non_null(strstr(s->lines, "a/sparse: damaged content, bytes 20971520+4096\n"));
	assert_non_null(strstr(s->lines, "many/n5: damaged content"));
}

static void test_path(void **state)
{
	struct scene *s = *state;

	s->o.path = "/a/b/c/";
	restore_well(s);
	assert_int_equal(s->st.files, 1);
	assert_true(exists(s->b->fd[1], "a/b/c/big"));
	assert_false(exists(s->b->fd[1], "a/f1"));
	assert_false(exists(s->b->fd[1], "zz"));
	assert_sound(s);
	empty_target(s);
	s->o.path = "a/f64k1";
	restore_well(s);
	assert_true(bed_raw_is(s->b, 1, "a/f64k1", "", 0) == false);
	assert_int_equal(s->st.files, 1);
	assert_sound(s);
	empty_target(s);
	s->o.path = "a/none";
	assert_int_equal(restore(s), -ENOENT);
	assert_true(init_dir_empty(s->b->fd[1]));
	s->o.path = "a/f1/x";
	assert_true(restore(s) < 0);
}

/* ---- where to ---- */

static void test_target(void **state)
{
	struct scene *s = *state;

	put_file(s->b->fd[1], "mine", "x", 1);
	assert_int_equal(restore(s), -ENOTEMPTY);
	assert_non_null(strstr(s->error, "empty directory"));
	assert_true(bed_raw_is(s->b, 1, "mine", "x", 1));
	unlinkat(s->b->fd[1], "mine", 0);
	restore_well(s);
	assert_int_equal(restore(s), -EEXIST);
	assert_non_null(strstr(s->error, "already a mirror"));
	assert_whole(s);
}

/* ---- damage at the remote ---- */

static void test_damage(void **state)
{
	struct scene *s = *state;

	flip_byte(s->objects, "a/f64k1", 20000, 4);
	flip_byte(s->objects, "many/n77", 0, 4);
	assert_int_equal(renameat(s->objects, "many/n78", s->objects, "aside"), 0);
	put_file(s->objects, "many/n79", "short", 5);
	put_file(s->objects, "many/n80", "many/n80+", 9);
	restore_well(s);
	flip_byte(s->objects, "a/f64k1", 20000, 4);
	flip_byte(s->objects, "many/n77", 0, 4);
	assert_int_equal(renameat(s->objects, "aside", s->objects, "many/n78"), 0);
	put_file(s->objects, "many/n79", "many/n79", 8);
	put_file(s->objects, "many/n80", "many/n80", 8);
	assert_non_null(strstr(s->lines, "a/f64k1: damaged content, bytes 16384+4096\n"));
	assert_non_null(strstr(s->lines, "many/n77: damaged content"));
	assert_non_null(strstr(s->lines, "many/n78: its content is not at the remote\n"));
	assert_non_null(strstr(s->lines, "only 5 of 8 bytes\n"));
	assert_non_null(strstr(s->lines, "many/n80: its content has 9 bytes instead of 8\n"));
	assert_int_equal(s->st.lacking, 5);
	assert_int_equal(s->st.files, s->st.total_files - 5);
	assert_false(exists(s->b->fd[1], "a/f64k1"));
	assert_false(exists(s->b->fd[1], "many/n78"));
	assert_sound(s);
}

/* The path of an object whose name has `part`, below the folder; the caller frees it. */
static char *find_object(int fd, const char *above, const char *part)
{
	DIR *d = fdopendir(openat(fd, above, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	const struct dirent *e;
	char *found = NULL, *path;

	while (d && !found && (e = readdir(d))) {
		if (e->d_name[0] == '.' && (!e->d_name[1] || e->d_name[1] == '.'))
			continue;
		assert_true(asprintf(&path, "%s/%s", above, e->d_name) > 0);
		if (e->d_type == DT_DIR)
			found = find_object(fd, path, part);
		else if (strstr(path, part))
			found = strdup(path);
		free(path);
	}
	if (d)
		closedir(d);
	return found;
}

/* The one object with the content of a file of several names. */
static void find_content(struct scene *s, const char *path, char name[OBJECT_NAME_MAX])
{
	char part[64], *object;

	snprintf(part, sizeof(part), "%016" PRIx64, bed_record(s->b, 0, path).id);
	object = find_object(s->objects, "./" OBJECT_FOLDER_ID, part);
	assert_non_null(object);
	snprintf(name, OBJECT_NAME_MAX, "%s", object);
	free(object);
}

static void test_damaged_manifest(void **state)
{
	struct scene *s = *state;
	char part[64], *object;

	snprintf(part, sizeof(part), "%016" PRIx64, bed_record(s->b, 0, "a/b").id);
	object = find_object(s->objects, "./.mirrorfs/dir", part);
	assert_non_null(object);
	flip_byte(s->objects, object, 200, 1);
	restore_well(s);
	flip_byte(s->objects, object, 200, 1);
	free(object);
	assert_non_null(strstr(s->lines, "a/b: "));
	assert_int_equal(s->st.lacking, 1);
	assert_true(exists(s->b->fd[1], "a/b"));
	assert_false(exists(s->b->fd[1], "a/b/f1"));
	assert_true(exists(s->b->fd[1], "a/f1"));
	assert_true(exists(s->b->fd[1], "zz"));
	assert_sound(s);
}

/* The hashes of the leaves are lost: the sum still tells. */
static void test_no_leaves(void **state)
{
	struct scene *s = *state;
	char part[64], *object;

	snprintf(part, sizeof(part), "%016" PRIx64, bed_record(s->b, 0, "a/f64k1").id);
	object = find_object(s->objects, "./.mirrorfs/leaf", part);
	assert_non_null(object);
	assert_int_equal(renameat(s->objects, object, s->objects, "aside"), 0);
	restore_well(s);
	assert_int_equal(renameat(s->objects, "aside", s->objects, object), 0);
	free(object);
	assert_whole(s);
}

/* All names of a file of several lack together. */
static void test_damaged_links(void **state)
{
	struct scene *s = *state;
	char name[OBJECT_NAME_MAX];

	find_content(s, "a/f1", name);
	flip_byte(s->objects, name, 1, 1);
	restore_well(s);
	flip_byte(s->objects, name, 1, 1);
	assert_int_equal(s->st.lacking, 3);
	assert_non_null(strstr(s->lines, "zz: "));
	assert_non_null(strstr(s->lines, "a/f1: "));
	assert_non_null(strstr(s->lines, "a/b/f1: "));
	assert_sound(s);
}

/* ---- trouble on the way ---- */

static void test_trouble(void **state)
{
	struct scene *s = *state;

	s->o.patience_s = 30;
	faulty_command(&s->f, "fault=status&status=503&match=many&count=3&skip=500");
	faulty_command(&s->f, "fault=reset&match=many&count=2&skip=900");
	faulty_command(&s->f, "fault=truncate&match=many&count=2&skip=1200");
	faulty_command(&s->f, "fault=flip&match=many&count=1&skip=100&method=GET");
	faulty_command(&s->f, "fault=flip&match=/a/sparse&count=1&method=GET");
	restore_well(s);
	assert_whole(s);
}

static void test_outage(void **state)
{
	struct scene *s = *state;
	uint64_t files;

	faulty_command(&s->f, "fault=status&status=503&count=0&skip=1000");
	assert_int_equal(restore(s), -EAGAIN);
	assert_non_null(strstr(s->error, "503"));
	files = s->st.files;
	assert_true(files > 500 && files < MANY);
	/* It is no volume yet. */
	assert_true(volume_open(1, (const char *[]){ s->b->path[1] }, &s->b->opt, &s->b->v) < 0);
	faulty_command(&s->f, "clear");
	faulty_command(&s->f, "zero");
	restore_well(s);
	assert_true(s->st.skipped >= files - 20 && s->st.skipped <= files);
	assert_true(faulty_count(&s->f, "GET") < 2 * MANY - files);
	assert_whole(s);
}

static void test_refused(void **state)
{
	struct scene *s = *state;

	faulty_command(&s->f, "fault=auth&count=0&skip=300");
	assert_int_equal(restore(s), -EACCES);
	faulty_command(&s->f, "clear");
	restore_well(s);
	assert_whole(s);
}

/* One object that the server never gives does not hold up the others. */
static void test_broken_object(void **state)
{
	struct scene *s = *state;

	faulty_command(&s->f, "fault=status&status=500&count=0&match=many/n1234");
	assert_int_equal(restore(s), -EAGAIN);
	assert_non_null(strstr(s->error, "1 files met only trouble"));
	assert_int_equal(s->st.lacking, 1);
	restore_well(s);
	assert_true(s->st.skipped > MANY);
	assert_int_equal(s->st.lacking, 1);
	assert_non_null(strstr(s->lines, "many/n1234: "));
	assert_non_null(strstr(s->lines, "500"));
	assert_sound(s);
}

/* ---- cut off ---- */

static int stop_at_once(const struct restore_stats *st, const char *path, void *arg)
{
	(void)path;
	(void)arg;
	return st->files > 10;
}

static void test_interrupted(void **state)
{
	struct scene *s = *state;

	s->o.progress = stop_at_once;
	faulty_command(&s->f, "fault=slow&rate=200&count=0&match=many/n1");
	assert_int_equal(restore(s), -EINTR);
	faulty_command(&s->f, "clear");
	s->o.progress = NULL;
	restore_well(s);
	assert_true(s->st.skipped > 0);
	assert_whole(s);
}

static void kill_one(struct scene *s, unsigned ms)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		restore(s);
		_exit(0);
	}
	faulty_pause((int)ms);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_killed(void **state)
{
	struct scene *s = *state;
	uint64_t seed = seed_of_run();

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 3; i++)
			kill_one(s, (unsigned)(next_random(&seed) % 400));
		if (restore(s) == -EEXIST) /* it had finished */
			s->lines[0] = '\0';
		assert_whole(s);
		empty_target(s);
	}
}

/* New content of many/n<i>, of the same length, in the original and staged. */
static void change(struct scene *s, struct layout *l, struct layout_dir *d, int i)
{
	int many = openat(s->b->fd[0], "many", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct manifest_entry e;
	uint8_t text[16];
	char name[16];
	nlink_t links;

	snprintf(name, sizeof(name), "n%d", i);
	entry_of(s, many, name, &e, &links);
	assert_true(e.size <= sizeof(text));
	memset(text, 'x', sizeof(text));
	put_file(many, name, text, e.size);
	set_times(many, name, e.mtime);
	e.atime = e.mtime + 1234567;
	e.root = hash_leaf(e.id, 0, text, e.size);
	e.gen++;
	stage_file(l, d, &e, many, name);
	manifest_entry_clear(&e);
	close(many);
}

/* The remote went on after the first try: what is gone there goes here. */
static void test_moved_on(void **state)
{
	struct scene *s = *state;
	struct store *store;
	struct layout_dir *d;
	struct layout *l;

	faulty_command(&s->f, "fault=status&status=503&count=0&skip=1200");
	assert_int_equal(restore(s), -EAGAIN);
	faulty_command(&s->f, "clear");
	l = open_writer(s, &store);
	assert_int_equal(layout_dir_resolve(l, "many", &d), 0);
	for (int i = 0; i < 50; i++) {
		char name[16], path[32];

		snprintf(name, sizeof(name), "n%d", i);
		snprintf(path, sizeof(path), "many/n%d", i);
		assert_int_equal(layout_remove(l, d, name), 0);
		assert_int_equal(unlinkat(s->b->fd[0], path, 0), 0);
	}
	for (int i = 60; i < 260; i++)
		change(s, l, d, i);
	layout_dir_put(l, d);
	assert_int_equal(commit(l), 0);
	layout_close(l);
	store_close(store);
	restore_well(s);
	assert_true(s->st.skipped > 0);
	assert_sound(s);
	set_times(s->b->fd[0], "many", 5);
	set_times(s->b->fd[1], "many", 5);
	assert_int_equal(compare_dirs(s->b->fd[0], s->b->fd[1], "", COMPARE_TIMES), 0);
}

/* ---- by an ordinary user ---- */

#define NOBODY 65534

static int restore_as_nobody(struct scene *s)
{
	if (setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
		return 1;
	s->o.lacking = NULL;
	return restore(s) < 0 ? 2 : s->st.lacking ? 3 : s->st.failed != 2 ? 4 : 0;
}

/* Owners, device nodes and trusted.* cannot be had; all else comes. */
static void test_ordinary_user(void **state)
{
	struct scene *s = *state;
	int status = 0;
	struct stat st;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(s->b->base, 0755), 0);
	assert_int_equal(fchown(s->b->fd[1], NOBODY, NOBODY), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(restore_as_nobody(s));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_false(exists(s->b->fd[1], "a/chr"));
	assert_int_equal(fstatat(s->b->fd[1], "a/f64k", &st, 0), 0);
	assert_int_equal(st.st_uid, NOBODY);
	assert_int_equal(st.st_mode & 07777, 0755); /* set-id bits would be for another owner */
	assert_int_equal(compare_bytes(s->b->fd[0], s->b->fd[1], "a/big", "a/big"), 0);
	assert_sound(s);
}

/* ---- an upload that was under way ---- */

static void test_newer(void **state)
{
	struct scene *s = *state;
	struct manifest_entry e;
	struct store *store;
	struct layout_dir *d;
	struct layout *l;
	nlink_t links;
	uint8_t leaf[8] = "newer!!";

	/* The content and its intent are stored, the head is not. */
	entry_of(s, s->b->fd[0], "many/n99", &e, &links);
	free(e.name);
	e.name = strdup("n99");
	e.size = sizeof(leaf);
	e.root = hash_leaf(e.id, 0, leaf, sizeof(leaf));
	e.gen++;
	put_file(s->b->fd[0], "fresh", leaf, sizeof(leaf));
	l = open_writer(s, &store);
	assert_int_equal(layout_dir_resolve(l, "many", &d), 0);
	stage_file(l, d, &e, s->b->fd[0], "fresh");
	faulty_command(&s->f, "fault=status&status=403&count=0&method=PUT&match=/head/");
	assert_true(commit(l) < 0);
	faulty_command(&s->f, "clear");
	layout_dir_put(l, d);
	layout_close(l);
	store_close(store);
	manifest_entry_clear(&e);
	restore_well(s);
	assert_string_equal(s->lines, "");
	assert_int_equal(s->st.newer, 1);
	assert_true(bed_raw_is(s->b, 1, "many/n99", leaf, sizeof(leaf)));
	assert_sound(s);
}

/* ---- ls and cat ---- */

struct listing {
	char text[4096];
	int n;
};

static int list_one(const char *path, const struct manifest_entry *e, void *arg)
{
	struct listing *l = arg;
	size_t at = strlen(l->text);

	l->n++;
	snprintf(l->text + at, sizeof(l->text) - at, "%s %" PRIu64 "%s\n", path, e->size,
		 e->link ? " link" : "");
	return 0;
}

static void test_list(void **state)
{
	struct scene *s = *state;
	struct listing l = { 0 };

	assert_int_equal(restore_list(&s->def, &s->secret, "a/b/", list_one, &l, s->error), 0);
	assert_int_equal(l.n, 2);
	assert_non_null(strstr(l.text, "a/b/c "));
	assert_non_null(strstr(l.text, "a/b/f1 5 link\n"));
	memset(&l, 0, sizeof(l));
	assert_int_equal(restore_list(&s->def, &s->secret, "a/f64k", list_one, &l, s->error), 0);
	assert_string_equal(l.text, "a/f64k 65536\n");
	memset(&l, 0, sizeof(l));
	assert_int_equal(restore_list(&s->def, &s->secret, "many", list_one, &l, s->error), 0);
	assert_int_equal(l.n, MANY);
	assert_int_equal(restore_list(&s->def, &s->secret, "x", list_one, &l, s->error), -ENOENT);
	assert_non_null(strstr(s->error, "no such file"));
}

struct taken {
	uint8_t *buf;
	size_t len, most;
};

static int take(void *arg, const void *buf, size_t len)
{
	struct taken *t = arg;

	assert_true(t->len + len <= t->most);
	memcpy(t->buf + t->len, buf, len);
	t->len += len;
	return 0;
}

static int cat(struct scene *s, const char *path, uint64_t off, uint64_t len, struct taken *t)
{
	t->len = 0;
	return restore_cat(&s->def, &s->secret, path, off, len, take, t, s->error);
}

static void assert_cat(struct scene *s, const char *path, uint64_t off, uint64_t len,
		       struct taken *t)
{
	char *whole;
	size_t n, from, want;

	assert_int_equal(bed_raw(s->b, 0, path, &whole, &n), 0);
	from = off < n ? (size_t)off : n;
	want = len < n - from ? (size_t)len : n - from;
	assert_int_equal(cat(s, path, off, len, t), 0);
	assert_int_equal(t->len, want);
	assert_memory_equal(t->buf, whole + from, want);
	free(whole);
}

static void test_cat(void **state)
{
	static const uint64_t offs[] = { 0, 1, 4095, 4194304, BIG - 1, BIG, BIG + 1 };
	static const uint64_t lens[] = { 0, 1, 4097, 5000000, UINT64_MAX };
	struct scene *s = *state;
	struct taken t = { .buf = malloc(BIG), .most = BIG };

	for (size_t i = 0; i < N_ELEMS(offs) * N_ELEMS(lens); i++)
		assert_cat(s, "a/big", offs[i / N_ELEMS(lens)], lens[i % N_ELEMS(lens)], &t);
	assert_cat(s, "a/f64k", 100, 70000, &t);
	assert_cat(s, "a/b/f1", 0, UINT64_MAX, &t);
	assert_cat(s, "odd na%me/\xff\xfe\n", 0, UINT64_MAX, &t);
	assert_cat(s, "a/nothing", 0, UINT64_MAX, &t);
	/* Only what is asked for travels. */
	faulty_command(&s->f, "zero");
	assert_cat(s, "a/sparse", 12345678, 4, &t);
	assert_memory_equal(t.buf, "data", 4);
	assert_true(faulty_count(&s->f, "bytes_out") < 4u << 20);
	assert_int_equal(cat(s, "a", 0, 1, &t), -EISDIR);
	assert_int_equal(cat(s, "a/sym", 0, 1, &t), -EINVAL);
	assert_int_equal(cat(s, "a/x", 0, 1, &t), -ENOENT);
	free(t.buf);
}

static void test_cat_damaged(void **state)
{
	struct scene *s = *state;
	struct taken t = { .buf = malloc(BIG), .most = BIG };
	char name[OBJECT_NAME_MAX];

	find_content(s, "a/big", name);
	flip_byte(s->objects, name, 5000000, 1);
	flip_byte(s->objects, "a/f64k", 9, 1);
	assert_int_equal(cat(s, "a/big", 4900000, 200000, &t), -EBADMSG);
	assert_non_null(strstr(s->error, "4997120+4096"));
	assert_int_equal(t.len, 0);
	assert_cat(s, "a/big", 0, 4096, &t);
	assert_cat(s, "a/big", 5001216, 100000, &t);
	assert_int_equal(cat(s, "a/f64k", 60000, 10, &t), -EBADMSG);
	assert_int_equal(t.len, 0);
	flip_byte(s->objects, name, 5000000, 1);
	flip_byte(s->objects, "a/f64k", 9, 1);
	free(t.buf);
}

#define with_scene(f) cmocka_unit_test_teardown(f, scene_again)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_scene(test_all),
		with_scene(test_records),
		with_scene(test_dry_run),
		with_scene(test_path),
		with_scene(test_target),
		with_scene(test_damage),
		with_scene(test_damaged_manifest),
		with_scene(test_no_leaves),
		with_scene(test_damaged_links),
		with_scene(test_trouble),
		with_scene(test_outage),
		with_scene(test_refused),
		with_scene(test_broken_object),
		with_scene(test_interrupted),
		with_scene(test_killed),
		with_scene(test_ordinary_user),
		with_scene(test_list),
		with_scene(test_cat),
		with_scene(test_cat_damaged),
		with_scene(test_moved_on), /* these two leave another state behind */
		with_scene(test_newer),
	};
	const struct CMUnitTest s3[] = {
		with_scene(test_all),
		with_scene(test_damage),
		with_scene(test_outage),
		with_scene(test_cat),
	};
	int failed = cmocka_run_group_tests_name("WebDAV", tests, scene_dav, scene_free);

	return failed + cmocka_run_group_tests_name("S3", s3, scene_s3, scene_free);
}
