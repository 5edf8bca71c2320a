/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A layout at a server: the faulty one (tests/http/spawn.h), as WebDAV, as one that
 * writes in place, and as S3; or, with STORE_URL and the rest of tests/unit/store.h set, a real
 * one, where what needs faults is left out. t-layout_random has the sequences.
 */
#include "replica/remote/layout_priv.h"

#include "tests/unit/layoutscene.h"

/* ---- opening ---- */

static void test_open(void **state)
{
	(void)state;
	assert_int_equal(open_as(volume, WRITER, false, 0), -ENOENT);
	assert_true(*s.error);
	open_ours();
	close_ours();
	/* Nothing was ever completed. */
	assert_int_equal(open_as(volume, NULL, false, 0), -ENOENT);
	open_ours();
	small_tree();
	sync_all();
	assert_int_equal(layout_head(s.l)->files, 8);
	close_ours();
	assert_int_equal(open_as(other_volume, WRITER, true, 0), -EEXIST);
	assert_non_null(strstr(s.error, "another volume"));
	open_ours();
	stage_all(s.l);
	must(s.l, commit(), 0);
	assert_there();
}

static void test_something_else(void **state)
{
	(void)state;
	put_object("photos/cat.jpg", "cat", 3);
	assert_int_equal(open_as(volume, WRITER, true, 0), -EEXIST);
	assert_non_null(strstr(s.error, "photos"));
}

static void test_writers(void **state)
{
	struct layout_options o = { .volume = volume, .writer = "ffffffffffffffff" };
	struct layout *other = NULL;
	char error[LAYOUT_ERROR_MAX];

	(void)state;
	open_ours();
	small_tree();
	sync_all();
	assert_int_equal(layout_open(s.store, &o, &other, error), -EBUSY);
	assert_non_null(strstr(error, WRITER));
	o.take_over = true;
	assert_int_equal(layout_open(s.store, &o, &other, error), 0);
	must(other, layout_commit(other, NULL), 0);
	layout_close(other);
	/* The first one notices before it changes anything. */
	model_make(model.root, "late", M_REG, 10);
	stage_all(s.l);
	must(s.l, commit(), -EBUSY);
	close_ours();
	assert_int_equal(open_as(volume, WRITER, true, 0), -EBUSY);
}

/* ---- changes ---- */

static void test_changes(void **state)
{
	struct layout_dir *root, *a;
	struct node *dir, *f, *empty;
	unsigned token;

	(void)state;
	open_ours();
	small_tree();
	sync_all();
	assert_there();
	/* A file and a directory change places. */
	root = layout_root(s.l);
	must(s.l, layout_dir_open(s.l, root, "a dir", &a), 0);
	must(s.l, layout_move_out(s.l, root, "empty", &token), 0);
	must(s.l, layout_move(s.l, a, "large", root, "empty"), 0);
	must(s.l, layout_move_in(s.l, token, a, "large"), 0);
	dir = model_find(model.root, "a dir");
	f = model_find(dir, "large");
	empty = model_find(model.root, "empty");
	model_take(f);
	model_take(empty);
	model_add(model.root, f, "empty");
	model_add(dir, empty, "large");
	stage_all(s.l);
	must(s.l, commit(), 0);
	assert_there();
	/* Files go, one becomes a directory, a directory a file. */
	model_remove(model_find(model.root, "empty"));
	model_make(model.root, "empty", M_DIR, 0);
	model_make(model_find(model.root, "empty"), "x", M_REG, 40);
	model_remove(model_find(dir, "below"));
	model_make(dir, "below", M_REG, 41);
	sync_all();
	assert_there();
	layout_dir_put(s.l, a);
	layout_dir_put(s.l, root);
}

static void test_move_dir(void **state)
{
	struct node *a, *b;
	struct layout_dir *root;
	unsigned before;
	int err;

	(void)state;
	open_ours();
	small_tree();
	sync_all();
	before = s.done;
	root = layout_root(s.l);
	err = layout_move(s.l, root, "a dir", root, "moved");
	must(s.l, err, store_is_s3(s.store) ? -ENOTSUP : 0);
	layout_dir_put(s.l, root);
	a = model_find(model.root, "a dir");
	model_take(a);
	model_add(model.root, a, "moved");
	sync_all();
	/* By one MOVE, and nothing was sent; or all of it again. */
	assert_int_equal(s.done - before, err ? 3 : 0);
	assert_there();
	b = model_find(a, "below");
	model_take(b);
	model_add(model.root, b, "above");
	sync_all();
	assert_there();
}

static void test_log_rotation(void **state)
{
	struct layout_dir *root;
	unsigned before;
	char name[16], to[16];
	int i;

	(void)state;
	open_ours();
	for (i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "log.%d", i);
		model_make(model.root, name, M_REG, 100 + (uint64_t)i);
	}
	sync_all();
	before = s.done;
	root = layout_root(s.l);
	for (i = 4; i >= 0; i--) {
		struct node *n;

		snprintf(name, sizeof(name), "log.%d", i);
		snprintf(to, sizeof(to), "log.%d", i + 1);
		must(s.l, layout_move(s.l, root, name, root, to), 0);
		n = model_find(model.root, name);
		model_take(n);
		model_add(model.root, n, to);
	}
	layout_dir_put(s.l, root);
	model_make(model.root, "log.0", M_REG, 7);
	sync_all();
	assert_int_equal(s.done - before, 1);
	assert_there();
}

/* ---- large directories ---- */

static uint64_t puts_so_far(void)
{
	return s.faulty ? faulty_count(&s.f, "PUT") : 0;
}

static void test_pages(void **state)
{
	enum { N = 5000 };
	struct manifest_entry e = { .type = M_LNK, .mode = 0777, .target = (char *)"x", .size = 1 };
	struct layout_dir *root, *d;
	const struct manifest_entry *found;
	struct node *dir = model_make(model.root, "large", M_DIR, 0);
	uint64_t before;
	char name[32];
	int i;

	(void)state;
	open_ours();
	stage_all(s.l);
	root = layout_root(s.l);
	must(s.l, layout_dir_open(s.l, root, "large", &d), 0);
	e.name = name;
	for (i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "entry %d", i);
		e.id = 1000 + (uint64_t)i;
		must(s.l, layout_set(s.l, d, &e), 0);
	}
	must(s.l, commit(), 0);
	assert_true(d->bits >= 2);
	assert_int_equal(layout_count(d), N);
	/* One change: a page, the index, the root, the head. */
	before = puts_so_far();
	strcpy(name, "entry 77");
	e.id = 1077;
	e.mtime = 5;
	must(s.l, layout_set(s.l, d, &e), 0);
	must(s.l, commit(), 0);
	if (s.faulty)
		assert_int_equal(puts_so_far() - before, 4);
	layout_dir_put(s.l, d);
	layout_dir_put(s.l, root);
	close_ours();
	/* With memory for little. */
	assert_int_equal(open_as(volume, WRITER, false, 100000), 0);
	must(s.l, layout_dir_resolve(s.l, "large", &d), 0);
	for (i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "entry %d", i * 7 % N);
		must(s.l, layout_find(s.l, d, name, &found), 0);
		assert_int_equal(found->id, 1000 + i * 7 % N);
		assert_true(s.l->cached < 500000);
		if (i == 300)
			break;
	}
	/* Few are left: fewer pages. */
	for (i = 100; i < N; i++) {
		snprintf(name, sizeof(name), "entry %d", i);
		must(s.l, layout_remove(s.l, d, name), 0);
	}
	must(s.l, commit(), 0);
	assert_int_equal(d->bits, 0);
	assert_int_equal(layout_count(d), 100);
	layout_dir_put(s.l, d);
	model_remove(dir);
}

static void test_memory(void **state)
{
	struct layout_dir *root, *d;
	struct node *dir;
	char name[16];
	int i;

	(void)state;
	open_ours();
	for (i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		dir = model_make(model.root, name, M_DIR, 0);
		model_make(dir, "symlink", M_LNK, 0);
	}
	sync_all();
	close_ours();
	assert_int_equal(open_as(volume, WRITER, false, 20000), 0);
	root = layout_root(s.l);
	for (i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		must(s.l, layout_dir_open(s.l, root, name, &d), 0);
		layout_dir_put(s.l, d);
		assert_true(s.l->n_dirs < 100);
	}
	layout_dir_put(s.l, root);
	assert_there();
}

/* ---- trouble ---- */

static void fault(const char *query)
{
	faulty_command(&s.f, query);
}

static void test_lies(void **state)
{
	static const char *const lies[] = { "lose", "half" };
	char query[96];
	size_t i;

	(void)state;
	open_ours();
	for (i = 0; i < N_ELEMS(lies); i++) {
		/* A content, a manifest, an intent, the head. */
		static const char *const match[] = { "/new", "/.mirrorfs/dir", "/.mirrorfs/intent",
						     "/.mirrorfs/head" };
		size_t k;

		for (k = 0; k < N_ELEMS(match); k++) {
			snprintf(query, sizeof(query), "fault=%s&method=PUT&match=%s", lies[i],
				 match[k]);
			fault(query);
			snprintf(query, sizeof(query), "new %zu %zu", i, k);
			model_make(model.root, query, M_REG, 3000);
			sync_all();
			assert_there();
		}
	}
	assert_int_equal(s.failed, 0);
	/* Always: it says so, and goes on when the server does better. */
	snprintf(query, sizeof(query), "fault=lose&method=PUT&match=%s&count=0",
		 store_caps(s.store)->in_place ? "/aside" : "/never");
	fault(query);
	model_make(model.root, "never", M_REG, 10);
	stage_all(s.l);
	must(s.l, commit(), 0);
	assert_int_equal(s.failed, 1);
	assert_int_equal(s.last_result, -EAGAIN);
	fault("clear");
	sync_all();
	assert_there();
}

static void test_every_request(void **state)
{
	static const char *const faults[] = { "status", "reset", "reset-after" };
	char query[96], name[32];
	unsigned i, k, tries;

	(void)state;
	open_ours();
	small_tree();
	sync_all();
	for (i = 0; i < N_ELEMS(faults); i++)
		for (k = 0; k < 24; k++) {
			snprintf(name, sizeof(name), "n %u %u", i, k);
			model_make(model.root, name, M_REG, k * 100);
			if (k)
				model_remove(model.root->child->next);
			model_find(model.root, "a dir")->version++;
			stage_all(s.l);
			snprintf(query, sizeof(query), "fault=%s&skip=%u", faults[i], k);
			fault(query);
			for (tries = 0; tries < 5; tries++)
				if (!commit())
					break;
			fault("clear");
			assert_true(tries < 5);
			if (k % 8 == 7)
				assert_there();
		}
	assert_int_equal(s.failed, 0);
}

static void test_damaged_head(void **state)
{
	char name[OBJECT_NAME_MAX];
	uint64_t seq;

	(void)state;
	open_ours();
	small_tree();
	sync_all();
	seq = layout_head(s.l)->seq;
	model_find(model.root, "a dir")->mode = 0700;
	sync_all();
	object_name_head(name, layout_head(s.l)->seq);
	close_ours();
	damage(name);
	open_ours();
	assert_int_equal(layout_head(s.l)->seq, seq);
	sync_all();
	assert_true(layout_head(s.l)->seq > seq + 1);
	assert_there();
}

static void test_damaged_manifest(void **state)
{
	char name[OBJECT_NAME_MAX];
	struct layout_dir *root, *d;
	const struct manifest_entry *e;

	(void)state;
	open_ours();
	small_tree();
	sync_all();
	root = layout_root(s.l);
	must(s.l, layout_find(s.l, root, "a dir", &e), 0);
	object_name_dir(name, e->id, e->dir.seq);
	layout_dir_put(s.l, root);
	close_ours();
	damage(name);
	open_ours();
	root = layout_root(s.l);
	must(s.l, layout_dir_open(s.l, root, "a dir", &d), -EBADMSG);
	assert_non_null(strstr(layout_error(s.l), name));
	/* It counts as nothing from now on, and is sent again. */
	must(s.l, layout_spoil(s.l, root, "a dir"), 0);
	layout_dir_put(s.l, root);
	sync_all();
	assert_there();
}

static void test_spoil(void **state)
{
	struct layout_dir *root;
	const struct manifest_entry *e;

	(void)state;
	open_ours();
	small_tree();
	sync_all();
	put_object("file %41#?", "rubbish", 7);
	root = layout_root(s.l);
	must(s.l, layout_spoil(s.l, root, "file %41#?"), 0);
	must(s.l, layout_find(s.l, root, "file %41#?", &e), 0);
	assert_int_equal(e->gen, 0);
	/* Over a commit that does nothing about it, and a new start. */
	must(s.l, commit(), 0);
	layout_dir_put(s.l, root);
	close_ours();
	open_ours();
	root = layout_root(s.l);
	must(s.l, layout_find(s.l, root, "file %41#?", &e), 0);
	assert_int_equal(e->gen, 0);
	layout_dir_put(s.l, root);
	sync_all();
	assert_there();
}

/* ---- names of an inode ---- */

static void set_name(struct layout_dir *root, const char *name, uint64_t id)
{
	char copy[8];
	struct manifest_entry e = { .name = strcpy(copy, name), .type = M_REG, .id = id,
				    .link = true };

	must(s.l, layout_set(s.l, root, &e), 0);
}

static uint64_t refs_of(struct layout_dir *links, const char *hex)
{
	const struct manifest_entry *e;

	must(s.l, layout_find(s.l, links, hex, &e), 0);
	return e->refs;
}

/* An inode goes before its names and comes back: those that it left behind still count, also
 * for a writer that comes after us. */
static void test_names_of_an_inode(void **state)
{
	struct layout_dir *root, *links;
	struct node *f;
	char hex[17];
	uint64_t id;

	(void)state;
	open_ours();
	f = model_make(model.root, "content", M_REG, 3000);
	id = f->id;
	snprintf(hex, sizeof(hex), "%016" PRIx64, id);
	for (int again = 0; again < 2; again++) {
		root = layout_root(s.l);
		links = layout_links(s.l);
		must(s.l, stage_put(s.l, links, f, hex), 0);
		set_name(root, "a", id);
		set_name(root, "b", id);
		must(s.l, commit(), 0);
		assert_int_equal(refs_of(links, hex), 2);
		assert_false(layout_head(s.l)->uncounted);
		must(s.l, layout_move(s.l, links, hex, root, "a"), 0);
		must(s.l, commit(), 0);
		assert_true(layout_head(s.l)->uncounted);
		if (again) {
			layout_dir_put(s.l, root);
			layout_dir_put(s.l, links);
			close_ours();
			open_ours();
			assert_true(layout_uncounted(s.l));
			root = layout_root(s.l);
			links = layout_links(s.l);
			must(s.l, layout_recount(s.l), 0);
		}
		must(s.l, layout_move(s.l, root, "a", links, hex), 0);
		set_name(root, "a", id);
		must(s.l, commit(), 0);
		assert_int_equal(refs_of(links, hex), 2);
		assert_false(layout_head(s.l)->uncounted);
		must(s.l, layout_remove(s.l, root, "a"), 0);
		must(s.l, layout_remove(s.l, root, "b"), 0);
		must(s.l, commit(), 0);
		assert_int_equal(refs_of(links, hex), 0);
		assert_true(layout_unlinked(s.l, &id));
		assert_int_equal(id, f->id);
		layout_dir_put(s.l, root);
		layout_dir_put(s.l, links);
	}
}

static bool is_partial(struct layout_dir *root, const char *name)
{
	const struct manifest_entry *e;

	must(s.l, layout_find(s.l, root, name, &e), 0);
	return e->partial;
}

/* A new directory says that it is not all there, also to a writer that comes after us. */
static void test_partial(void **state)
{
	struct manifest_entry e = { .name = strdup("new"), .type = M_DIR, .id = 77, .mode = 0755 };
	struct layout_dir *root;

	(void)state;
	open_ours();
	root = layout_root(s.l);
	must(s.l, layout_set(s.l, root, &e), 0);
	must(s.l, commit(), 0);
	layout_dir_put(s.l, root);
	close_ours();
	open_ours();
	root = layout_root(s.l);
	assert_true(is_partial(root, "new"));
	e.mode = 0700;
	must(s.l, layout_set(s.l, root, &e), 0);
	must(s.l, layout_move(s.l, root, "new", root, "moved"), 0);
	assert_true(is_partial(root, "moved"));
	must(s.l, layout_complete(s.l, root, "moved"), 0);
	must(s.l, commit(), 0);
	assert_false(is_partial(root, "moved"));
	must(s.l, layout_spoil(s.l, root, "moved"), 0);
	assert_true(is_partial(root, "moved"));
	layout_dir_put(s.l, root);
	free(e.name);
}

/* What a writer that died left out of the way, a directory with all in it. */
static void test_litter_aside(void **state)
{
	static const char *const place[] = {
		"/.mirrorfs", "/.mirrorfs/aside", "/.mirrorfs/aside/00000000000000c5-165675009",
		"/.mirrorfs/aside/00000000000000c5-165675009/d",
		"/.mirrorfs/aside/00000000000000c5-165675009/d/e",
	};
	const char *top = s.def.kind == REMOTE_S3 ? "bucket/r" : "r";
	char path[300];

	(void)state;
	open_ours();
	small_tree();
	sync_all();
	close_ours();
	for (size_t i = 0; i < sizeof(place) / sizeof(*place); i++) {
		snprintf(path, sizeof(path), "%s%s", top, place[i]);
		assert_true(mkdirat(s.f.tree, path, 0700) == 0 || errno == EEXIST);
	}
	strcat(path, "/file");
	put_file(s.f.tree, path, "content", 7);
	open_ours();
	must(s.l, commit(), 0);
	assert_int_equal(faccessat(s.f.tree, path, F_OK, 0), -1);
	snprintf(path, sizeof(path), "%s%s", top, place[2]);
	if (s.def.kind != REMOTE_S3)
		assert_int_equal(faccessat(s.f.tree, path, F_OK, 0), -1);
}

static void test_stop(void **state)
{
	(void)state;
	open_ours();
	small_tree();
	stage_all(s.l);
	s.stop = true;
	must(s.l, commit(), -ECANCELED);
	s.stop = false;
	must(s.l, commit(), 0);
	assert_there();
}

#define on(kind, f) { #f ", " #kind, f, setup_##kind, teardown, NULL }
#define anywhere(f) on(dav, f), on(in_place, f), on(s3, f)

static int run_real(void)
{
	const struct CMUnitTest tests[] = {
		on(dav, test_open), on(dav, test_something_else), on(dav, test_writers),
		on(dav, test_changes), on(dav, test_move_dir), on(dav, test_log_rotation),
		on(dav, test_pages), on(dav, test_memory), on(dav, test_damaged_head),
		on(dav, test_damaged_manifest), on(dav, test_spoil), on(dav, test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

static int run_faulty(void)
{
	const struct CMUnitTest tests[] = {
		anywhere(test_open), anywhere(test_something_else), anywhere(test_writers),
		anywhere(test_changes), anywhere(test_move_dir), anywhere(test_log_rotation),
		on(dav, test_pages), on(s3, test_pages), on(dav, test_memory),
		anywhere(test_lies), anywhere(test_every_request), anywhere(test_damaged_head),
		on(dav, test_damaged_manifest), anywhere(test_spoil), on(dav, test_stop),
		anywhere(test_names_of_an_inode), anywhere(test_partial),
		anywhere(test_litter_aside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	const char *url = getenv("STORE_URL");

	real = url && *url;
	return real ? run_real() : run_faulty();
}
