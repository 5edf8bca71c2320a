/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The leaf hashes in memory: after every operation the sum over them is the
 * file's, each is that of the bytes a plain model holds, and what the hash
 * files hold after sealing is the same again.
 */
#include "replica/file.h"

#include "tests/unit/volume.h"

#define PAGE_BYTES ((uint64_t)HASHFILE_LEAVES << LEAF_SHIFT)
#define MODEL_MAX (3 * PAGE_BYTES)

struct model {
	uint8_t *data;      /* MODEL_MAX bytes, zero beyond size */
	uint64_t size;
};

/* f->lock is not needed: nobody else is there. */
static void check_leaves(struct bed *b, struct file *f, const struct model *m)
{
	uint64_t n = leaves_of(f->size), sum = 0;

	assert_int_equal(f->size, m->size);
	assert_int_equal(leaves_load(b->v, f, 0, n), 0);
	assert_true(n == 0 || leaves_ready(f, 0, n));
	for (uint64_t i = 0; i < n; i++) {
		uint64_t got = leaves_get(f, i);

		sum += got;
		if (got != hash_leaf(f->id, i, m->data + (i << LEAF_SHIFT), LEAF_SIZE))
			fail_msg("leaf %llu of %llu", (unsigned long long)i,
				 (unsigned long long)n);
	}
	assert_int_equal(sum, f->sum);
	/* nothing hides beyond the end */
	for (uint64_t i = n; i < n + 600; i++)
		if (leaves_ready(f, i, 1))
			assert_int_equal(leaves_get(f, i), 0);
}

static void m_write(struct bed *b, struct file *f, struct model *m, uint64_t off, uint64_t len,
		    uint64_t seed)
{
	fill_pattern(m->data + off, len, seed);
	assert_int_equal(bed_pwrite(b, f, off, m->data + off, len), 0);
	if (off + len > m->size)
		m->size = off + len;
	check_leaves(b, f, m);
}

static void m_truncate(struct bed *b, struct file *f, struct model *m, uint64_t size)
{
	assert_int_equal(file_truncate(b->v, f, &b->space, size), 0);
	if (size < m->size)
		memset(m->data + size, 0, m->size - size);
	m->size = size;
	check_leaves(b, f, m);
}

static void m_zero(struct bed *b, struct file *f, struct model *m, uint64_t off, uint64_t len)
{
	uint64_t end = off + len < m->size ? off + len : m->size;

	assert_int_equal(file_allocate(b->v, f, &b->space, 3 /* punch, keep size */, off, len), 0);
	if (off < end)
		memset(m->data + off, 0, end - off);
	check_leaves(b, f, m);
}

/* Sealed, forgotten and loaded again: the same leaves. */
static struct file *m_again(struct bed *b, struct file *f, const struct model *m)
{
	file_put(b->v, f);
	bed_reopen(b);
	assert_int_equal(bed_file(b, "f", &f), 0);
	assert_int_equal(file_load(b->v, f), 0);
	assert_int_equal(f->large, m->size > SMALL_MAX);
	check_leaves(b, f, m);
	for (int i = 0; i < 2; i++)
		assert_true(bed_raw_is(b, i, "f", m->data, m->size));
	return f;
}

static struct file *begin(struct bed *b, struct model *m)
{
	struct file *f;

	m->data = calloc(1, MODEL_MAX + LEAF_SIZE);
	m->size = 0;
	assert_non_null(m->data);
	assert_int_equal(bed_file(b, "f", &f), 0);
	return f;
}

static void end(struct bed *b, struct file *f, struct model *m)
{
	f = m_again(b, f, m);
	assert_int_equal(bed_scrub(b, false).found, 0);
	file_put(b->v, f);
	free(m->data);
}

static void small_to_large_and_back(void **state)
{
	static const uint64_t size[] = { SMALL_MAX + 1, SMALL_MAX, SMALL_MAX + 1, 1,
					 SMALL_MAX + LEAF_SIZE, SMALL_MAX - 1, 2 * SMALL_MAX, 0,
					 SMALL_MAX + 1, SMALL_MAX - LEAF_SIZE, PAGE_BYTES, 5 };
	struct bed *b = *state;
	struct model m;
	struct file *f = begin(b, &m);

	for (int again = 0; again < 2; again++)
		for (size_t i = 0; i < N_ELEMS(size); i++) {
			if (size[i] > m.size)
				m_write(b, f, &m, m.size, size[i] - m.size, i + 1);
			else
				m_truncate(b, f, &m, size[i]);
			if (again)
				f = m_again(b, f, &m);
		}
	end(b, f, &m);
}

static void truncate_across_page_borders(void **state)
{
	static const int64_t near[] = { -4097, -4096, -1, 0, 1, LEAF_SIZE,
					LEAF_SIZE + 1 };
	struct bed *b = *state;
	struct model m;
	struct file *f = begin(b, &m);

	for (uint64_t page = 1; page <= 2; page++)
		for (size_t i = 0; i < N_ELEMS(near); i++) {
			uint64_t cut = page * PAGE_BYTES + (uint64_t)near[i];

			if (m.size < 2 * PAGE_BYTES + 5 * LEAF_SIZE)
				m_write(b, f, &m, m.size, 2 * PAGE_BYTES + 5 * LEAF_SIZE - m.size,
					i + 1);
			if (i % 2)
				f = m_again(b, f, &m);
			m_truncate(b, f, &m, cut);
			if (i % 3 == 0)
				f = m_again(b, f, &m);
			/* growing again shows zeros, not what was cut */
			m_truncate(b, f, &m, 2 * PAGE_BYTES + 7);
			f = m_again(b, f, &m);
		}
	end(b, f, &m);
}

static void sparse(void **state)
{
	struct bed *b = *state;
	struct model m;
	struct file *f = begin(b, &m);
	struct stat st;
	char name[64];

	m_truncate(b, f, &m, 2 * PAGE_BYTES + 100);
	assert_int_equal(f->sum, 0);
	m_write(b, f, &m, 2 * PAGE_BYTES, 10, 1);
	f = m_again(b, f, &m);
	/* holes in the file and in its hash file */
	assert_int_equal(fstatat(b->fd[0], "f", &st, 0), 0);
	assert_true((uint64_t)st.st_blocks * 512 < PAGE_BYTES);
	snprintf(name, sizeof(name), DOT_DIR "/hashes/%02x/%02x/%016llx", (unsigned)f->id & 255,
		 (unsigned)(f->id >> 8) & 255, (unsigned long long)f->id);
	assert_int_equal(fstatat(b->fd[0], name, &st, 0), 0);
	assert_int_equal(st.st_size, 3 * HASHFILE_PAGE);
	m_write(b, f, &m, PAGE_BYTES - 3, 6, 2);
	m_zero(b, f, &m, 100, PAGE_BYTES);
	f = m_again(b, f, &m);
	m_zero(b, f, &m, 0, MODEL_MAX);
	assert_int_equal(f->sum, 0);
	/* zeros written are zeros too */
	memset(m.data, 0, LEAF_SIZE);
	assert_int_equal(bed_pwrite(b, f, 0, m.data, LEAF_SIZE), 0);
	check_leaves(b, f, &m);
	assert_int_equal(f->sum, 0);
	end(b, f, &m);
}

/* A file without content has no hash file, one that shrinks loses it. */
static void hash_files_come_and_go(void **state)
{
	struct bed *b = *state;
	struct model m;
	struct file *f = begin(b, &m);
	char name[64];

	snprintf(name, sizeof(name), DOT_DIR "/hashes/%02x/%02x/%016llx", (unsigned)f->id & 255,
		 (unsigned)(f->id >> 8) & 255, (unsigned long long)f->id);
	m_write(b, f, &m, 0, SMALL_MAX, 1);
	bed_seal(b);
	assert_false(exists(b->fd[0], name));
	m_write(b, f, &m, 0, SMALL_MAX + 1, 2);
	bed_seal(b);
	assert_true(exists(b->fd[0], name) && exists(b->fd[1], name));
	m_truncate(b, f, &m, 10);
	bed_seal(b);
	assert_false(exists(b->fd[0], name) || exists(b->fd[1], name));
	m_write(b, f, &m, 0, SMALL_MAX + 1, 3);
	bed_seal(b);
	file_put(b->v, f);
	tree_forget_all(b->v);
	assert_int_equal(bed_unlink(b, "f", false), 0);
	bed_close(b);
	assert_false(exists(b->fd[0], name) || exists(b->fd[1], name));
	free(m.data);
}

static void random_model(void **state)
{
	struct bed *b = *state;
	uint64_t seed = seed_of_run();
	struct model m;
	struct file *f = begin(b, &m);

	for (int i = 0; i < 300; i++) {
		uint64_t r = next_random(&seed), what = r % 16;
		uint64_t limit = r >> 8 & 1 ? 2 * SMALL_MAX : MODEL_MAX;
		uint64_t off = next_random(&seed) % limit;
		uint64_t len = 1 + next_random(&seed) % (r >> 9 & 1 ? 3 * LEAF_SIZE : 400000);

		if (r >> 10 & 1)
			off &= ~(uint64_t)(LEAF_SIZE - 1);
		if (off + len > MODEL_MAX)
			len = MODEL_MAX - off;
		if (what < 8)
			m_write(b, f, &m, off, len, r);
		else if (what < 11)
			m_truncate(b, f, &m, off);
		else if (what < 14)
			m_zero(b, f, &m, off, len);
		else if (what < 15)
			bed_seal(b);
		else
			f = m_again(b, f, &m);
	}
	end(b, f, &m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(small_to_large_and_back),
		bed_test(truncate_across_page_borders),
		bed_test(sparse),
		bed_test(hash_files_come_and_go),
		bed_test(random_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
