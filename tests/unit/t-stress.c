/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Four threads of random operations on shared names and files, while sealing
 * and scrubs go on. Afterwards the mirrors are equal, nobody was ejected, and
 * a scrub finds nothing. The locks here are those the kernel takes for every
 * mounted filesystem before it asks: of the directories whose names change,
 * and of the object that is linked, unlinked or replaced.
 */
#include "replica/ops.h"

#include <pthread.h>

#include "tests/unit/compare.h"

#define DIRS 4
#define NAMES 12
#define THREADS 4
#define RUN_MS 3000

struct shared {
	struct bed *b;
	uint32_t dir[DIRS];
	pthread_mutex_t dir_lock[DIRS];
	pthread_mutex_t inode_lock[64];
	pthread_mutex_t rename_lock;
	int64_t until;
	_Atomic uint64_t operations;
};

struct worker {
	struct shared *s;
	uint64_t seed;
	unsigned who;
	struct io_space space;
	char wrong[160];      /* first thing that was not as it should be */
};

static void complain(struct worker *w, const char *what, int64_t r)
{
	if (!w->wrong[0])
		snprintf(w->wrong, sizeof(w->wrong), "%s: %lld (%s)", what, (long long)r,
			 r < 0 && r > -4096 ? strerror((int)-r) : "");
}

/* Results that concurrent work may lawfully have. */
static void allow(struct worker *w, const char *what, int64_t r)
{
	if (r < 0 && r != -ENOENT && r != -EEXIST && r != -ESTALE)
		complain(w, what, r);
}

static void random_name(struct worker *w, unsigned *dir, char name[16])
{
	*dir = (unsigned)(next_random(&w->seed) % DIRS);
	snprintf(name, 16, "n%u", (unsigned)(next_random(&w->seed) % NAMES));
}

static pthread_mutex_t *inode_of(struct shared *s, uint32_t node)
{
	return &s->inode_lock[node % 64];
}

static void lock_two(pthread_mutex_t *a, pthread_mutex_t *b)
{
	pthread_mutex_lock(a < b ? a : b);
	if (a != b)
		pthread_mutex_lock(a < b ? b : a);
}

static void unlock_two(pthread_mutex_t *a, pthread_mutex_t *b)
{
	pthread_mutex_unlock(a);
	if (a != b)
		pthread_mutex_unlock(b);
}

static void do_create(struct worker *w)
{
	const struct make mk = { .mode = S_IFREG | 0644 };
	struct shared *s = w->s;
	struct volume *v = s->b->v;
	char name[16], data[9000];
	struct entry e;
	struct file *f;
	unsigned d;
	int r;

	random_name(w, &d, name);
	pthread_mutex_lock(&s->dir_lock[d]);
	r = op_create(v, s->dir[d], name, &mk, &e, &f);
	pthread_mutex_unlock(&s->dir_lock[d]);
	allow(w, "create", r);
	if (r < 0)
		return;
	memset(data, 'a' + (int)w->who, sizeof(data));
	allow(w, "write", file_write(v, f, &w->space, next_random(&w->seed) % 100000, data,
				     sizeof(data)));
	file_put(v, f);
	tree_unref(v, e.node);
}

static void do_make(struct worker *w)
{
	const struct make mk = { .mode = S_IFLNK | 0777, .target = "anywhere" };
	struct shared *s = w->s;
	char name[16];
	struct entry e;
	unsigned d;
	int r;

	random_name(w, &d, name);
	pthread_mutex_lock(&s->dir_lock[d]);
	r = op_make(s->b->v, s->dir[d], name, &mk, &e);
	pthread_mutex_unlock(&s->dir_lock[d]);
	allow(w, "symlink", r);
	if (r == 0)
		tree_unref(s->b->v, e.node);
}

static void do_unlink(struct worker *w)
{
	struct shared *s = w->s;
	struct volume *v = s->b->v;
	char name[16];
	struct entry e;
	unsigned d;
	int r;

	random_name(w, &d, name);
	pthread_mutex_lock(&s->dir_lock[d]);
	r = op_lookup(v, s->dir[d], name, &e);
	allow(w, "lookup before unlink", r);
	if (r == 0) {
		pthread_mutex_lock(inode_of(s, e.node));
		r = op_unlink(v, s->dir[d], name, false);
		pthread_mutex_unlock(inode_of(s, e.node));
		if (r < 0)
			complain(w, "unlink", r);
		tree_unref(v, e.node);
	}
	pthread_mutex_unlock(&s->dir_lock[d]);
}

static void do_link(struct worker *w)
{
	struct shared *s = w->s;
	struct volume *v = s->b->v;
	char name[16], new_name[16];
	struct entry e, made;
	unsigned d, d2;
	int r;

	random_name(w, &d, name);
	random_name(w, &d2, new_name);
	r = op_lookup(v, s->dir[d], name, &e);
	allow(w, "lookup before link", r);
	if (r < 0)
		return;
	pthread_mutex_lock(&s->dir_lock[d2]);
	pthread_mutex_lock(inode_of(s, e.node));
	r = tree_node(v, e.node)->flags & NODE_DELETED ? -ENOENT :
		op_link(v, e.node, s->dir[d2], new_name, &made);
	pthread_mutex_unlock(inode_of(s, e.node));
	pthread_mutex_unlock(&s->dir_lock[d2]);
	allow(w, "link", r);
	if (r == 0)
		tree_unref(v, made.node);
	tree_unref(v, e.node);
}

static void do_rename(struct worker *w)
{
	struct shared *s = w->s;
	struct volume *v = s->b->v;
	uint32_t n1, n2;
	char name[16], new_name[16];
	struct entry from, to;
	unsigned d, d2, flags = next_random(&w->seed) % 4 ? 0 : RENAME_EXCHANGE;
	int r;

	random_name(w, &d, name);
	random_name(w, &d2, new_name);
	lock_two(&s->dir_lock[d], &s->dir_lock[d2]);
	r = op_lookup(v, s->dir[d], name, &from);
	n1 = r == 0 ? from.node : 0;
	r = op_lookup(v, s->dir[d2], new_name, &to);
	n2 = r == 0 ? to.node : 0;
	if (n1) {
		lock_two(inode_of(s, n1), inode_of(s, n2 ? n2 : n1));
		r = op_rename(v, s->dir[d], name, s->dir[d2], new_name, flags);
		unlock_two(inode_of(s, n1), inode_of(s, n2 ? n2 : n1));
		if (r < 0 && !(r == -ENOENT && flags && !n2))
			complain(w, "rename", r);
		tree_unref(v, n1);
	}
	if (n2)
		tree_unref(v, n2);
	unlock_two(&s->dir_lock[d], &s->dir_lock[d2]);
}

/* A directory of this thread's own moves about with something in it. */
static void do_dirs(struct worker *w)
{
	const struct make mk = { .mode = S_IFDIR | 0755 }, fi = { .mode = S_IFREG | 0600 };
	struct shared *s = w->s;
	struct volume *v = s->b->v;
	unsigned d = (unsigned)(next_random(&w->seed) % DIRS);
	unsigned d2 = (unsigned)(next_random(&w->seed) % DIRS);
	char name[16], moved[16];
	struct entry e, in;
	struct file *f;
	int r;

	snprintf(name, sizeof(name), "own%u", w->who);
	snprintf(moved, sizeof(moved), "moved%u", w->who);
	pthread_mutex_lock(&s->dir_lock[d]);
	r = op_make(v, s->dir[d], name, &mk, &e);
	pthread_mutex_unlock(&s->dir_lock[d]);
	if (r < 0) {
		complain(w, "mkdir", r);
		return;
	}
	r = op_create(v, e.node, "inside", &fi, &in, &f);
	if (r < 0) {
		complain(w, "create inside", r);
		return;
	}
	allow(w, "write inside", file_write(v, f, &w->space, 0, "0123456789", 10));
	file_put(v, f);
	pthread_mutex_lock(&s->rename_lock);
	lock_two(&s->dir_lock[d], &s->dir_lock[d2]);
	r = op_rename(v, s->dir[d], name, s->dir[d2], moved, 0);
	unlock_two(&s->dir_lock[d], &s->dir_lock[d2]);
	pthread_mutex_unlock(&s->rename_lock);
	if (r < 0)
		complain(w, "rename of a directory", r);
	r = op_unlink(v, e.node, "inside", false);
	if (r < 0)
		complain(w, "unlink inside", r);
	pthread_mutex_lock(&s->dir_lock[d2]);
	r = op_unlink(v, s->dir[d2], moved, true);
	pthread_mutex_unlock(&s->dir_lock[d2]);
	if (r < 0)
		complain(w, "rmdir", r);
	tree_unref(v, in.node);
	tree_unref(v, e.node);
}

static void use_file(struct worker *w, struct file *f)
{
	struct volume *v = w->s->b->v;
	uint64_t off = next_random(&w->seed) % 120000, what = next_random(&w->seed) % 10;
	const void *data;
	char buf[6000];

	memset(buf, 'A' + (int)w->who, sizeof(buf));
	if (what < 4)
		allow(w, "read", file_read(v, f, &w->space, off, sizeof(buf), &data));
	else if (what < 7)
		allow(w, "write", file_write(v, f, &w->space, off, buf, sizeof(buf)));
	else if (what < 8)
		allow(w, "truncate", file_truncate(v, f, &w->space, off));
	else if (what < 9)
		allow(w, "punch", file_allocate(v, f, &w->space, 3, off, 10000));
	else
		allow(w, "fsync", file_sync(v, f, true));
}

static void do_file(struct worker *w)
{
	struct shared *s = w->s;
	struct volume *v = s->b->v;
	char name[16];
	struct entry e;
	struct file *f;
	unsigned d;
	int r;

	random_name(w, &d, name);
	r = op_lookup(v, s->dir[d], name, &e);
	allow(w, "lookup", r);
	if (r < 0)
		return;
	if (S_ISREG(e.st.st_mode)) {
		f = file_get(v, e.node);
		use_file(w, f);
		file_put(v, f);
	}
	tree_unref(v, e.node);
}

static void do_attr(struct worker *w)
{
	struct stat in = { .st_mode = 0600 | (mode_t)(next_random(&w->seed) % 64), .st_mtim =
			   { (time_t)(next_random(&w->seed) % 1000000), 5 } }, out;
	struct volume *v = w->s->b->v;
	char name[16], value[8];
	struct entry e;
	unsigned d;
	int r;

	random_name(w, &d, name);
	r = op_lookup(v, w->s->dir[d], name, &e);
	allow(w, "lookup", r);
	if (r < 0)
		return;
	pthread_mutex_lock(inode_of(w->s, e.node));
	if (S_ISREG(e.st.st_mode)) {
		allow(w, "setattr", op_setattr(v, e.node, &in, ATTR_MODE | ATTR_MTIME, NULL,
					       &w->space, &out));
		snprintf(value, sizeof(value), "%u", w->who);
		allow(w, "setxattr", op_setxattr(v, e.node, "user.t", value, 2, 0, false));
	}
	pthread_mutex_unlock(inode_of(w->s, e.node));
	allow(w, "getattr", op_getattr(v, e.node, &out));
	tree_unref(v, e.node);
}

static void do_list(struct worker *w)
{
	struct dir_list l;
	int r = op_list(w->s->b->v, w->s->dir[next_random(&w->seed) % DIRS], &l);

	allow(w, "list", r);
	if (r == 0)
		dir_list_free(&l);
}

static void *work(void *arg)
{
	static void (*const act[])(struct worker *w) = {
		do_create, do_create, do_make, do_unlink, do_unlink, do_link, do_rename, do_rename,
		do_dirs, do_file, do_file, do_file, do_file, do_attr, do_list,
	};
	struct worker *w = arg;

	while (clock_ms() < w->s->until && !w->wrong[0]) {
		act[next_random(&w->seed) % N_ELEMS(act)](w);
		atomic_fetch_add(&w->s->operations, 1);
	}
	return NULL;
}

static void *seal_on_and_on(void *arg)
{
	struct worker *w = arg;

	while (clock_ms() < w->s->until && !w->wrong[0]) {
		int r = seal_run(w->s->b->v, true);

		if (r < 0)
			complain(w, "seal", r);
	}
	return NULL;
}

static void *scrub_on_and_on(void *arg)
{
	const struct scrub_options opt = { .finding = bed_tell };
	struct worker *w = arg;

	while (clock_ms() < w->s->until && !w->wrong[0]) {
		struct scrub_stats s;
		int r = scrub_run(w->s->b->v, &opt, &s);

		if (r < 0)
			complain(w, "scrub", r);
		else if (s.found)
			complain(w, "scrub found what nobody damaged", (int64_t)s.found);
	}
	return NULL;
}

static void begin(struct shared *s, struct bed *b)
{
	char name[16];

	memset(s, 0, sizeof(*s));
	s->b = b;
	for (int i = 0; i < DIRS; i++) {
		snprintf(name, sizeof(name), "dir%d", i);
		assert_int_equal(bed_mkdir(b, name), 0);
		s->dir[i] = bed_node(b, name, NULL);
		pthread_mutex_init(&s->dir_lock[i], NULL);
	}
	for (int i = 0; i < 64; i++)
		pthread_mutex_init(&s->inode_lock[i], NULL);
	pthread_mutex_init(&s->rename_lock, NULL);
	s->until = clock_ms() + RUN_MS;
}

static void everything_at_once(void **state)
{
	void *(*const run[THREADS + 2])(void *) = { work, work, work, work, seal_on_and_on,
						   scrub_on_and_on };
	struct bed *b = *state;
	uint64_t seed = seed_of_run();
	struct worker w[THREADS + 2];
	pthread_t t[THREADS + 2];
	struct shared s;

	begin(&s, b);
	for (unsigned i = 0; i < N_ELEMS(w); i++) {
		w[i] = (struct worker){ .s = &s, .seed = next_random(&seed), .who = i };
		assert_int_equal(io_space_init(&w[i].space), 0);
	}
	for (unsigned i = 0; i < N_ELEMS(w); i++)
		assert_int_equal(pthread_create(&t[i], NULL, run[i], &w[i]), 0);
	for (unsigned i = 0; i < N_ELEMS(w); i++) {
		pthread_join(t[i], NULL);
		io_space_free(&w[i].space);
	}
	print_message("%llu operations\n", (unsigned long long)atomic_load(&s.operations));
	for (unsigned i = 0; i < N_ELEMS(w); i++)
		if (w[i].wrong[0])
			fail_msg("thread %u: %s", i, w[i].wrong);
	for (int i = 0; i < DIRS; i++)
		tree_unref(b->v, s.dir[i]);
	assert_int_equal(bed_counter(b, CNT_EJECTED), 0);
	bed_seal(b);
	assert_int_equal(bed_scrub(b, false).found, 0);
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
	tree_forget_all(b->v);
	bed_seal(b);
	assert_int_equal(seal_pending(b->v), 0);
	bed_reopen(b);
	assert_int_equal(bed_scrub(b, false).found, 0);
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(everything_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
