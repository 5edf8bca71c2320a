/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For t-layout: a server, a store and a layout there, and a model (layoutmodel.h) to
 * compare it with.
 */
#ifndef TESTS_UNIT_LAYOUTSCENE_H
#define TESTS_UNIT_LAYOUTSCENE_H

#include "replica/remote/layout_priv.h"

#include "replica/remote/http.h"
#include "tests/http/spawn.h"
#include "tests/unit/layoutmodel.h"

#define WRITER "00112233aabbccdd"

static const uint8_t volume[16] = "volume of a test", other_volume[16] = "another volume..";
static const char *const dav_options[] = { NULL };
static const char *const in_place_options[] = { "--in-place", NULL };
static const char *const s3_options[] = { "--s3", NULL };

struct scene {
	struct faulty f;
	bool faulty;                  /* a server of our own */
	struct remote_def def;
	struct remote_secret secret;
	char *url;
	struct store *store;
	struct layout *l;
	char error[LAYOUT_ERROR_MAX];
	unsigned done, failed;        /* puts, as told */
	int last_result;
	bool stop;
};

static struct scene s;
static bool real;
static unsigned prefixes;

/* ---- scenes ---- */

static inline char *setting(const char *name)
{
	const char *value = getenv(name);

	return strdup(value ? value : "");
}

static inline void define_real(void)
{
	const char *base = getenv("STORE_URL"), *kind = getenv("STORE_KIND");
	size_t n = strlen(base);

	while (n && base[n - 1] == '/')
		n--;
	assert_true(asprintf(&s.url, "%.*s/t-layout-%d-%u", (int)n, base, (int)getpid(),
			     ++prefixes) > 0);
	s.def.kind = kind && !strcmp(kind, "s3") ? REMOTE_S3 : REMOTE_WEBDAV;
	s.def.ca = getenv("STORE_CA") ? setting("STORE_CA") : NULL;
	s.def.region = getenv("STORE_REGION");
	s.secret.auth = HTTP_AUTH_BASIC;
	s.secret.user = setting("STORE_USER");
	s.secret.password = setting("STORE_PASSWORD");
}

static inline void define_faulty(const char *const *options)
{
	bool s3 = options == s3_options;

	s.faulty = true;
	faulty_start(&s.f, options);
	if (s3)
		assert_int_equal(mkdirat(s.f.tree, "bucket", 0700), 0);
	assert_true(asprintf(&s.url, "%s/%s", s.f.url, s3 ? "bucket/r" : "r") > 0);
	s.def.kind = s3 ? REMOTE_S3 : REMOTE_WEBDAV;
	s.secret.auth = s3 ? HTTP_AUTH_BASIC : HTTP_AUTH_NONE;
	s.secret.user = strdup("key");
	s.secret.password = strdup("secret");
}

static inline struct store *open_store(void)
{
	struct store_caps caps;
	struct store *st;

	assert_int_equal(store_open(&s.def, &s.secret, &st), 0);
	caps = *store_caps(st);
	caps.in_place = s.faulty ? caps.in_place : getenv("STORE_IN_PLACE") != NULL;
	caps.moves_dirs = s.def.kind == REMOTE_WEBDAV;
	store_use(st, &caps);
	return st;
}

static inline void begin(const char *const *options)
{
	memset(&s, 0, sizeof(s));
	strcpy(s.def.name, "test");
	s.def.n_urls = 1;
	s.def.connections = 8;
	if (real)
		define_real();
	else
		define_faulty(options);
	s.def.url[0] = s.url;
	s.store = open_store();
	if (options == in_place_options) {
		struct store_caps caps = *store_caps(s.store);

		caps.in_place = true;
		store_use(s.store, &caps);
	}
	model_begin();
	model.random = 4711;
}

static inline int setup_dav(void **state)
{
	(void)state;
	begin(dav_options);
	return 0;
}

static inline int setup_in_place(void **state)
{
	(void)state;
	begin(in_place_options);
	return 0;
}

static inline int setup_s3(void **state)
{
	(void)state;
	begin(s3_options);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	if (s.l)
		layout_close(s.l);
	store_close(s.store);
	if (s.faulty)
		faulty_stop(&s.f);
	free(s.url);
	free(s.def.ca);
	free(s.secret.user);
	free(s.secret.password);
	model_end();
	return 0;
}

/* ---- verbs ---- */

static inline bool stop(void *arg)
{
	(void)arg;
	return s.stop;
}

static inline int open_as(const uint8_t *id, const char *writer, bool create, size_t memory)
{
	struct layout_options o = { .volume = id, .writer = writer, .create = create,
				    .memory = memory, .stop = stop };

	assert_null(s.l);
	return layout_open(s.store, &o, &s.l, s.error);
}

static inline void open_ours(void)
{
	int err = open_as(volume, WRITER, true, 0);

	if (err)
		print_message("%s\n", s.error);
	assert_int_equal(err, 0);
}

static inline void close_ours(void)
{
	layout_close(s.l);
	s.l = NULL;
}

static inline void told(void *arg, struct layout_dir *d, const char *name, int result,
			const char *error)
{
	(void)arg, (void)d, (void)name, (void)error;
	s.done += !result;
	s.failed += result != 0;
	s.last_result = result ? result : s.last_result;
}

static inline unsigned four(void *arg, int result)
{
	(void)arg, (void)result;
	return 4;
}

static inline int commit(void)
{
	struct layout_run run = { .parallel = four, .done = told };

	return layout_commit(s.l, &run);
}

static inline void sync_all(void)
{
	int err, tries = 0;

	stage_all(s.l);
	do /* rclone locks a path while another makes it */
		err = commit();
	while (real && err == -EAGAIN && ++tries < 20);
	must(s.l, err, 0);
}

struct body {
	char *data;
	size_t len;
};

static inline int body_add(void *arg, const void *buf, size_t len)
{
	struct body *b = arg;

	b->data = realloc(b->data, b->len + len + 1);
	assert_non_null(b->data);
	memcpy(b->data + b->len, buf, len);
	b->len += len;
	return 0;
}

static inline int get_object(const char *name, struct body *b)
{
	struct store_op op = { .verb = STORE_GET, .name = name, .write = body_add, .write_arg = b };

	*b = (struct body){ 0 };
	return store_run(s.store, &op);
}

static inline void put_object(const char *name, const void *data, size_t len)
{
	struct store_op op = { .verb = STORE_PUT, .name = name, .data = data, .len = len };

	assert_int_equal(store_run(s.store, &op), 0);
}

/* Flips a bit of it, through the server. */
static inline void damage(const char *name)
{
	struct body b;

	assert_int_equal(get_object(name, &b), 0);
	b.data[b.len / 2] ^= 4;
	put_object(name, b.data, b.len);
	free(b.data);
}

/* ---- what is there ---- */

static inline void compare_content(struct layout *l, struct layout_dir *d, const struct node *f,
			    const char *name)
{
	struct manifest_entry mine = model_entry(f, name, false);
	const struct manifest_entry *e;
	char object[LAYOUT_NAME_MAX];
	uint64_t i;
	struct body b;

	must(l, layout_find(l, d, name, &e), 0);
	assert_true(same_entry(e, &mine));
	layout_content(l, d, e, object);
	assert_int_equal(get_object(object, &b), 0);
	assert_int_equal(b.len, f->size);
	for (i = 0; i < f->size; i++)
		assert_int_equal((uint8_t)b.data[i], model_byte(f->id, f->version, i));
	free(b.data);
}

static inline void compare_dir(struct layout *l, struct layout_dir *d, struct node *dir)
{
	struct layout_dir *child;
	uint64_t count = 0;
	struct node *n;

	for (n = dir->child; n; n = n->next, count++) {
		struct manifest_entry mine = model_entry(n, n->name, n->link != NULL);
		const struct manifest_entry *e;

		must(l, layout_find(l, d, n->name, &e), 0);
		assert_true(same_entry(e, &mine));
		if (n->type == M_REG && !n->link)
			compare_content(l, d, n, n->name);
		if (n->type != M_DIR)
			continue;
		must(l, layout_dir_open(l, d, n->name, &child), 0);
		compare_dir(l, child, n);
		layout_dir_put(l, child);
	}
	assert_int_equal(layout_count(d), count);
}

/* By a reader of its own. */
static inline void assert_there(void)
{
	struct layout_options o = { .volume = volume };
	struct layout_dir *d;
	struct layout *l;
	struct node *f;
	char hex[17];
	int err = layout_open(s.store, &o, &l, s.error);

	if (err)
		print_message("%s\n", s.error);
	assert_int_equal(err, 0);
	d = layout_root(l);
	compare_dir(l, d, model.root);
	layout_dir_put(l, d);
	d = layout_links(l);
	for (f = model.files; f; f = f->next) {
		snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)f->id);
		compare_content(l, d, f, hex);
	}
	layout_dir_put(l, d);
	layout_close(l);
}

static inline void small_tree(void)
{
	struct node *a = model_make(model.root, "a dir", M_DIR, 0), *b;

	b = model_make(a, "below", M_DIR, 0);
	model_make(model.root, "empty", M_REG, 0);
	model_make(model.root, "file %41#?", M_REG, 1234);
	model_make(a, "large", M_REG, 300000);
	model_make(b, "symlink", M_LNK, 0);
	model_make(b, "odd\\name", M_REG, 77);
	model_make(b, "\xff\xfe", M_DIR, 0);
	model_make(model_find(b, "\xff\xfe"), "hidden", M_REG, 5000);
	model_link(model_make(b, "one name", M_REG, 9), a, "other name");
}

#endif
