/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading, writing, truncating and allocating against a plain buffer, and
 * against the files of both mirrors byte for byte. */
#include "replica/file.h"

#include <pthread.h>

#include "tests/unit/compare.h"

#define MODEL_MAX (5u << 20)
#define PUNCH (1 | 2)          /* FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE */
#define ZERO_RANGE 16

struct model {
	uint8_t *data, *back;
	uint64_t size;
};

static void model_init(struct model *m)
{
	m->data = calloc(1, MODEL_MAX);
	m->back = malloc(MODEL_MAX);
	m->size = 0;
	assert_true(m->data && m->back);
}

static void model_free(struct model *m)
{
	free(m->data);
	free(m->back);
}

static void read_range(struct bed *b, struct file *f, struct model *m, uint64_t off, uint64_t len)
{
	uint64_t want = off >= m->size ? 0 : m->size - off < len ? m->size - off : len;

	assert_int_equal(bed_pread(b, f, off, m->back, len), want);
	assert_memory_equal(m->back, m->data + off, want);
}

static void zero_range(struct model *m, uint64_t off, uint64_t len)
{
	if (off < m->size)
		memset(m->data + off, 0, m->size - off < len ? m->size - off : len);
}

static void allocate(struct bed *b, struct file *f, struct model *m, int mode, uint64_t off,
		     uint64_t len)
{
	assert_int_equal(file_allocate(b->v, f, &b->space, mode, off, len), 0);
	if (mode & ~1)
		zero_range(m, off, len);
	if (!(mode & 1) && off + len > m->size)
		m->size = off + len;
}

/* One random operation on f and the model. */
static void step(struct bed *b, struct file *f, struct model *m, uint64_t *seed)
{
	static const int mode[] = { 0, 1, PUNCH, ZERO_RANGE, ZERO_RANGE | 1 };
	uint64_t r = next_random(seed), top = r >> 8 & 1 ? 100000 : MODEL_MAX;
	uint64_t off = next_random(seed) % top;
	uint64_t len = 1 + next_random(seed) % (r >> 9 & 3 ? 20000 : 1500000);

	if (off + len > MODEL_MAX)
		len = MODEL_MAX - off;
	switch (r % 10) {
	case 0: case 1: case 2: case 3:
		fill_pattern(m->data + off, len, r);
		assert_int_equal(bed_pwrite(b, f, off, m->data + off, len), 0);
		if (off + len > m->size)
			m->size = off + len;
		break;
	case 4:
		assert_int_equal(file_truncate(b->v, f, &b->space, off), 0);
		if (off < m->size)
			memset(m->data + off, 0, m->size - off);
		m->size = off;
		break;
	case 5: case 6:
		allocate(b, f, m, mode[next_random(seed) % N_ELEMS(mode)], off, len);
		break;
	default:
		read_range(b, f, m, off, len);
	}
}

static void random_model(void **state)
{
	struct bed *b = *state;
	uint64_t seed = seed_of_run();
	struct model m;
	struct file *f;

	model_init(&m);
	assert_int_equal(bed_file(b, "f", &f), 0);
	for (int i = 0; i < 600; i++) {
		step(b, f, &m, &seed);
		if (i % 50 == 0)
			bed_seal(b);
		if (i % 100 == 99) {
			read_range(b, f, &m, 0, MODEL_MAX);
			file_put(b->v, f);
			bed_reopen(b);
			for (int k = 0; k < 2; k++)
				assert_true(bed_raw_is(b, k, "f", m.data, m.size));
			bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
			assert_int_equal(bed_file(b, "f", &f), 0);
		}
	}
	file_put(b->v, f);
	assert_int_equal(bed_scrub(b, false).found, 0);
	model_free(&m);
}

/* All edges around leaves and the end, exhaustively in a small file. */
static void every_edge(void **state)
{
	static const uint64_t point[] = { 0, 1, 4095, 4096, 4097, 8191, 8192, 12287, 12288, 12300 };
	struct bed *b = *state;
	struct model m;
	struct file *f;

	model_init(&m);
	assert_int_equal(bed_file(b, "f", &f), 0);
	for (size_t size = 0; size < N_ELEMS(point); size++)
		for (size_t from = 0; from < N_ELEMS(point); from++)
			for (size_t to = from + 1; to < N_ELEMS(point); to++)
				for (int what = 0; what < 4; what++) {
					uint64_t off = point[from], len = point[to] - point[from];

					memset(m.data, 0, 20000);
					m.size = point[size];
					fill_pattern(m.data, m.size, size + 1);
					assert_int_equal(file_truncate(b->v, f, &b->space, 0), 0);
					assert_int_equal(bed_pwrite(b, f, 0, m.data, m.size), 0);
					if (what == 0) {
						fill_pattern(m.data + off, len, to);
						assert_int_equal(bed_pwrite(b, f, off,
									    m.data + off, len), 0);
						if (off + len > m.size)
							m.size = off + len;
					} else {
						allocate(b, f, &m, what == 1 ? PUNCH :
							 what == 2 ? ZERO_RANGE : 0, off, len);
					}
					read_range(b, f, &m, 0, 20000);
					read_range(b, f, &m, off, len);
				}
	file_put(b->v, f);
	bed_close(b);
	for (int k = 0; k < 2; k++)
		assert_true(bed_raw_is(b, k, "f", m.data, m.size));
	model_free(&m);
}

static void reads_at_the_end(void **state)
{
	struct bed *b = *state;
	const void *data;
	struct file *f;
	char buf[10000];

	fill_pattern(buf, sizeof(buf), 3);
	assert_int_equal(bed_file(b, "f", &f), 0);
	assert_int_equal(file_read(b->v, f, &b->space, 0, 100, &data), 0);
	assert_int_equal(bed_pwrite(b, f, 0, buf, sizeof(buf)), 0);
	assert_int_equal(file_read(b->v, f, &b->space, 9999, 100, &data), 1);
	assert_int_equal(*(const char *)data, buf[9999]);
	assert_int_equal(file_read(b->v, f, &b->space, 10000, 100, &data), 0);
	assert_int_equal(file_read(b->v, f, &b->space, 1ull << 40, 100, &data), 0);
	assert_int_equal(file_write(b->v, f, &b->space, 0, buf, 0), 0);
	assert_int_equal(file_allocate(b->v, f, &b->space, 8 /* collapse */, 0, 4096),
			 -EOPNOTSUPP);
	/* more than one call takes: short, never wrong */
	assert_int_equal(file_truncate(b->v, f, &b->space, 3u << 20), 0);
	assert_int_equal(file_read(b->v, f, &b->space, 0, 3u << 20, &data), IO_MAX);
	file_put(b->v, f);
}

/* Offsets at the far end of what a filesystem takes. */
static void far_offsets(void **state)
{
	const uint64_t far = (8ull << 30) + 123;
	struct bed *b = *state;
	struct file *f;
	char buf[5000];

	assert_int_equal(bed_file(b, "f", &f), 0);
	assert_int_equal(bed_pwrite(b, f, far, "end", 3), 0);
	assert_int_equal(bed_pread(b, f, far - 4997, buf, 5000), 5000);
	assert_memory_equal(buf + 4997, "end", 3);
	assert_true(hash_is_zero(buf, 4997));
	file_put(b->v, f);
	bed_reopen(b);
	assert_int_equal(bed_file(b, "f", &f), 0);
	assert_int_equal(bed_pread(b, f, far, buf, 10), 3);
	assert_int_equal(file_seek(b->v, f, 0, SEEK_DATA) > 0, 1);
	/* refused alike on all mirrors: the caller's mistake, nobody ejected */
	assert_true(file_truncate(b->v, f, &b->space, 1ull << 62) < 0);
	assert_true(file_write(b->v, f, &b->space, INT64_MAX - 10, "x", 1) < 0);
	assert_int_equal(volume_in_sync(b->v), 3);
	assert_int_equal(bed_pread(b, f, far, buf, 10), 3);
	file_put(b->v, f);
}

/* One descriptor a mirror, whatever the number of users. */
static void state_is_shared(void **state)
{
	struct bed *b = *state;
	struct file *f, *g;
	uint32_t node;

	assert_int_equal(bed_file(b, "f", &f), 0);
	node = f->node;
	g = file_get(b->v, node);
	assert_ptr_equal(f, g);
	file_put(b->v, g);
	bed_seal(b);
	g = file_peek(b->v, node);
	assert_ptr_equal(f, g);
	file_put(b->v, g);
	file_put(b->v, f);
	assert_int_equal(tree_count(b->v), 1);
}

static bool told(gid_t gid, void *arg)
{
	(void)gid;
	return *(const bool *)arg;
}

static void kill_privileges(void **state)
{
	bool member = true;
	const struct killer k = { told, &member };
	struct bed *b = *state;
	struct stat in = { .st_mode = 06777 }, st;
	struct file *f;

	assert_int_equal(bed_write(b, "f", "abc", 3), 0);
	assert_int_equal(bed_file(b, "f", &f), 0);
	assert_int_equal(op_setattr(b->v, f->node, &in, ATTR_MODE, NULL, &b->space, &st), 0);
	assert_int_equal(st.st_mode & 07777, 06777);
	assert_int_equal(file_kill_privileges(b->v, f, &k), 0);
	assert_int_equal(op_getattr(b->v, f->node, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0777);
	/* setgid without group execution means locking, and stays */
	in.st_mode = 06767;
	assert_int_equal(op_setattr(b->v, f->node, &in, ATTR_MODE, NULL, &b->space, &st), 0);
	assert_int_equal(file_kill_privileges(b->v, f, &k), 0);
	assert_int_equal(op_getattr(b->v, f->node, &st), 0);
	assert_int_equal(st.st_mode & 07777, 02767);
	/* but not if the writer is none of the group */
	member = false;
	assert_int_equal(op_setattr(b->v, f->node, &in, ATTR_MODE, NULL, &b->space, &st), 0);
	assert_int_equal(file_kill_privileges(b->v, f, &k), 0);
	assert_int_equal(op_getattr(b->v, f->node, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0767);
	file_put(b->v, f);
	bed_close(b);
	bed_assert_same(b, COMPARE_TIMES | COMPARE_RECORDS);
}

struct writer {
	struct bed *b;
	struct file *f;
	unsigned who;
	int wrong;
};

/* Each thread owns every fourth 6000 bytes: neighbours share leaves. */
static void *write_stripes(void *arg)
{
	struct writer *w = arg;
	struct io_space s;
	char mine[6000];
	const void *got;

	if (io_space_init(&s) < 0)
		return NULL;
	memset(mine, 'a' + (int)w->who, sizeof(mine));
	for (unsigned i = 0; i < 200; i++) {
		uint64_t off = (w->who + 4 * (i % 20)) * 6000ull;

		w->wrong |= file_write(w->b->v, w->f, &s, off, mine, 6000) != 6000;
		w->wrong |= file_read(w->b->v, w->f, &s, off, 6000, &got) != 6000 ||
			    memcmp(got, mine, 6000) != 0;
		if (i % 64 == 0)
			w->wrong |= file_sync(w->b->v, w->f, true) < 0;
	}
	io_space_free(&s);
	return NULL;
}

static void writers_side_by_side(void **state)
{
	struct bed *b = *state;
	struct writer w[4];
	pthread_t t[4];
	struct file *f;
	char *want = malloc(480000);

	assert_int_equal(bed_file(b, "f", &f), 0);
	for (unsigned i = 0; i < 4; i++) {
		w[i] = (struct writer){ b, f, i, 0 };
		assert_int_equal(pthread_create(&t[i], NULL, write_stripes, &w[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(w[i].wrong, 0);
	}
	file_put(b->v, f);
	bed_close(b);
	for (unsigned i = 0; i < 480000; i++)
		want[i] = (char)('a' + i / 6000 % 4);
	for (int m = 0; m < 2; m++)
		assert_true(bed_raw_is(b, m, "f", want, 480000));
	free(want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(random_model),
		bed_test(every_edge),
		bed_test(reads_at_the_end),
		bed_test(far_offsets),
		bed_test(state_is_shared),
		bed_test(kill_privileges),
		bed_test(writers_side_by_side),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
