/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pages and indexes, formats, heads, intents, leaf hashes: what goes in comes out, all else is
 * refused. */
#include "replica/remote/manifest.h"

#include "replica/hash.h"
#include "tests/unit/manifest.h"

#define WRITER "0123456789abcdef"

/* ---- pages ---- */

static void pages_hold_their_names(void **state)
{
	uint64_t seed = seed_of_run();
	struct manifest m = random_manifest(&seed, 200);
	struct manifest_entry page[200], *back;
	uint8_t hash[SHA256_LEN];
	size_t i, n, count, len, total = 0;
	unsigned no, other;
	char *text;
	ERR;

	(void)state;
	for (no = 0; no < 8; no++) {
		for (i = n = 0; i < m.n; i++) {
			assert_int_equal(manifest_page_of(m.entry[i].name, 3),
					 hash_bytes(m.entry[i].name, strlen(m.entry[i].name), 0) >>
						 61);
			if (manifest_page_of(m.entry[i].name, 3) == no)
				page[n++] = m.entry[i];
		}
		total += n;
		assert_int_equal(manifest_encode_page(9, 3, no, page, n, &text, &len, hash), 0);
		assert_int_equal(manifest_decode_page(text, len, hash, 9, 3, no, &back, &count,
						      error, sizeof(error)),
				 0);
		assert_int_equal(count, n);
		for (i = 0; i < n; i++) {
			assert_equal(&page[i], &back[i]);
			manifest_entry_clear(&back[i]);
		}
		free(back);
		/* Not where it was put. */
		other = (no + 1) % 8;
		assert_int_equal(manifest_decode_page(text, len, NULL, 9, 3, other, &back, &count,
						      error, sizeof(error)),
				 -EBADMSG);
		assert_int_equal(manifest_decode_page(text, len, NULL, 8, 3, no, &back, &count,
						      error, sizeof(error)),
				 -EBADMSG);
		assert_int_equal(manifest_decode_page(text, len, NULL, 9, 4, no, &back, &count,
						      error, sizeof(error)),
				 -EBADMSG);
		assert_true(!back && !count);
		free(text);
		if (n)
			assert_int_equal(
				manifest_encode_page(9, 3, other, page, n, &text, &len, NULL),
				-EINVAL);
	}
	assert_int_equal(total, m.n);
	manifest_free(&m);
}

static int read_page(const char *body, char *error, size_t n)
{
	struct manifest_entry *e;
	size_t count, len;
	char *all = with_line("page", body, strlen(body), &len);
	int err = manifest_decode_page(all, len, NULL, 9, 1, 0, &e, &count, error, n);

	free(all);
	if (!err) {
		while (count)
			manifest_entry_clear(&e[--count]);
		free(e);
	}
	return err;
}

static void foreign_names_in_a_page(void **state)
{
	char body[300], name[3] = "a";
	unsigned at;
	ERR;

	(void)state;
	for (; *name <= 'z'; name[0]++) {
		at = manifest_page_of(name, 1);
		snprintf(body, sizeof(body),
			 "{\"id\":\"0000000000000009\",\"bits\":1,\"page\":0,"
			 "\"count\":1,\"entries\":[{\"name\":\"%s\",\"type\":\"fifo\","
			 "\"id\":\"0000000000000022\"}]}",
			 name);
		assert_int_equal(read_page(body, error, sizeof(error)), at ? -EBADMSG : 0);
		if (at)
			assert_non_null(strstr(error, "does not belong to this page"));
	}
	assert_int_equal(
		read_page("{\"id\":\"0000000000000009\",\"bits\":15,\"page\":0,\"count\":0,"
			  "\"entries\":[]}",
			  error, sizeof(error)),
		-EBADMSG);
	assert_int_equal(read_page("{\"id\":\"0000000000000009\",\"bits\":1,\"page\":2,\"count\":0,"
				   "\"entries\":[]}",
				   error, sizeof(error)),
			 -EBADMSG);
}

static void indexes(void **state)
{
	uint64_t seed = seed_of_run();
	struct manifest m = { .id = 7, .bits = 5 }, back;
	uint8_t hash[SHA256_LEN];
	char *text, *count;
	size_t i, len, all;
	ERR;

	(void)state;
	m.page = calloc(32, sizeof(*m.page));
	for (i = 0; i < 30; i++) /* the last two are empty, and have no object */
		m.page[i] = (struct manifest_page){ random_ref(&seed), next_random(&seed) % 2000 };
	m.page[3].entries = 0;
	assert_int_equal(manifest_encode(&m, &text, &len, hash), 0);
	assert_int_equal(manifest_decode(text, len, hash, &back, error, sizeof(error)), 0);
	assert_true(back.id == 7 && back.bits == 5 && !back.entry && !back.n);
	assert_memory_equal(back.page, m.page, 32 * sizeof(*m.page));
	manifest_free(&back);
	/* Another count, and pages that bits do not say. */
	count = strstr(text, "\"count\":") + 8;
	*count = (char)(*count == '9' ? '8' : *count + 1);
	count = with_line("index", body_of(text), strlen(body_of(text)) - 1, &all);
	assert_int_equal(manifest_decode(count, all, NULL, &back, error, sizeof(error)), -EBADMSG);
	assert_non_null(strstr(error, "count is not"));
	free(count);
	free(text);
	m.page[31].entries = 1;
	assert_int_equal(manifest_encode(&m, &text, &len, hash), -EINVAL);
	m.page[31].entries = 0;
	m.bits = MANIFEST_BITS_MAX + 1;
	assert_int_equal(manifest_encode(&m, &text, &len, hash), -EINVAL);
	m.bits = 5;
	manifest_free(&m);
}

static void damaged_indexes(void **state)
{
	static const struct {
		const char *body, *says;
	} cases[] = {
		{ "{\"id\":\"0000000000000001\",\"count\":0,\"bits\":1,\"pages\":[{},{}]}", NULL },
		{ "{\"id\":\"0000000000000001\",\"count\":0,\"bits\":2,\"pages\":[{},{}]}",
		  "1 << bits" },
		{ "{\"id\":\"0000000000000001\",\"count\":0,\"bits\":0,\"pages\":[{}]}", "bits" },
		{ "{\"id\":\"0000000000000001\",\"count\":0,\"bits\":33,\"pages\":[{},{}]}",
		  "bits" },
		{ "{\"id\":\"0000000000000001\",\"count\":0,\"bits\":1,\"pages\":[]}", "pages" },
		{ "{\"id\":\"0000000000000001\",\"count\":0,\"bits\":1,\"pages\":[{},[]]}",
		  "page 1: " },
		{ "{\"id\":\"0000000000000001\",\"count\":1,\"bits\":1,\"pages\":[{},{\"entries\":"
		  "1}]}",
		  "page 1: object is missing" },
		{ "{\"id\":\"0000000000000001\",\"count\":0,\"bits\":1,\"entries\":[]}",
		  "entries" },
		{ "[]", "no object" },
		{ "", "no JSON" },
	};
	struct manifest m;
	size_t i, len;
	char *all;
	int err;
	ERR;

	(void)state;
	for (i = 0; i < N_ELEMS(cases); i++) {
		all = with_line("index", cases[i].body, strlen(cases[i].body), &len);
		err = manifest_decode(all, len, NULL, &m, error, sizeof(error));
		assert_int_equal(err, cases[i].says ? -EBADMSG : 0);
		if (cases[i].says && !strstr(error, cases[i].says))
			fail_msg("\"%s\", not \"%s\"", error, cases[i].says);
		manifest_free(&m);
		free(all);
	}
}

static void bits_have_hysteresis(void **state)
{
	size_t n;

	(void)state;
	assert_int_equal(manifest_bits(0, 0), 0);
	assert_int_equal(manifest_bits(1024, 0), 0);
	assert_int_equal(manifest_bits(1025, 0), 1);
	assert_int_equal(manifest_bits(2048, 0), 1);
	assert_int_equal(manifest_bits(2049, 0), 2);
	assert_int_equal(manifest_bits(10 * 1000 * 1000, 0), 14);
	assert_int_equal(manifest_bits(SIZE_MAX, 0), 14);
	assert_int_equal(manifest_bits(SIZE_MAX, 14), 14);
	assert_int_equal(manifest_bits(2000, 99), 1);
	/* 3 bits: 8 pages of 512 = 4096. */
	for (n = 0; n < 30000; n++)
		assert_int_equal(manifest_bits(n, 3) == 3, n > 1024 && n <= 16384);
	assert_int_equal(manifest_bits(256, 1), 0);
	assert_int_equal(manifest_bits(257, 1), 1);
	/* One more and one less around any bound changes nothing back and forth. */
	for (n = 1; n < 100000; n++)
		assert_int_equal(manifest_bits(n - 1, manifest_bits(n, 0)), manifest_bits(n, 0));
}

/* ---- heads, intents, formats ---- */

static struct remote_head sample_head(uint64_t *seed)
{
	struct remote_head h = {
		.seq = 12,
		.time = 1700000000,
		.volume = "0123456789abcde",
		.writer = WRITER,
		.root = random_ref(seed),
		.links = random_ref(seed),
		.files = 5,
		.bytes = 99,
		.attrs = { .type = 4, .id = 1, .mode = 0755, .mtime = -3 },
	};

	h.drop = calloc(2, sizeof(*h.drop));
	h.drop[0] = text_of(".mirrorfs/dir/01/0000000000000001-11");
	h.drop[1] = text_of("odd \xff\n/x");
	h.n_drop = 2;
	add_xattr(&h.attrs, "user.x", "\0\1", 2);
	return h;
}

static int fuzz_head(const char *text, size_t len)
{
	struct remote_head h;
	char *again;
	size_t n;
	ERR;
	int err = remote_head_decode(text, len, &h, error, sizeof(error));

	if (!err) {
		assert_int_equal(remote_head_encode(&h, &again, &n), 0);
		free(again);
	}
	remote_head_clear(&h);
	return err;
}

static void heads(void **state)
{
	uint64_t seed = seed_of_run();
	struct remote_head h = sample_head(&seed), back;
	char *text;
	size_t len;
	int taken = 0;
	ERR;

	(void)state;
	assert_int_equal(remote_head_encode(&h, &text, &len), 0);
	assert_int_equal(remote_head_decode(text, len, &back, error, sizeof(error)), 0);
	assert_true(back.seq == 12 && back.time == 1700000000 && back.files == 5 &&
		    back.bytes == 99);
	assert_memory_equal(back.volume, h.volume, 16);
	assert_string_equal(back.writer, WRITER);
	assert_memory_equal(&back.root, &h.root, sizeof(h.root));
	assert_memory_equal(&back.links, &h.links, sizeof(h.links));
	assert_equal(&h.attrs, &back.attrs);
	assert_int_equal(back.n_drop, 2);
	assert_string_equal(back.drop[0], h.drop[0]);
	assert_string_equal(back.drop[1], h.drop[1]);
	remote_head_clear(&back);
	fuzz(&seed, "head", body_of(text), strlen(body_of(text)) - 1, fuzz_head, 5000, &taken);
	assert_in_range(taken, 50, 4500);
	free(text);
	remote_head_clear(&h);
}

static void heads_refused(void **state)
{
	uint64_t seed = 1;
	struct remote_head h = sample_head(&seed), bad;
	char *text;
	size_t len;

	(void)state;
#define REFUSED(change)                                                           \
	do {                                                                      \
		bad = h;                                                          \
		change;                                                           \
		assert_int_equal(remote_head_encode(&bad, &text, &len), -EINVAL); \
	} while (0)
	REFUSED(bad.seq = 0);
	REFUSED(bad.seq = 1ull << 63);
	REFUSED(bad.writer[3] = 'X');
	REFUSED(bad.writer[3] = '\0');
	REFUSED(bad.attrs.type = 8);
	REFUSED(bad.attrs.id = 3);
	REFUSED(bad.attrs.name = (char *)"root");
	REFUSED(bad.drop = ((char *[]){ h.drop[0], (char *)"../up" }));
	REFUSED(bad.drop = ((char *[]){ h.drop[0], (char *)"/up" }));
	REFUSED(bad.drop = ((char *[]){ h.drop[0], (char *)"" }));
	remote_head_clear(&h);
}

static struct remote_intent sample_intent(void)
{
	struct remote_intent in = { .seq = 13, .writer = WRITER, .time = -1, .n = 4 };
	struct intent_op *op = in.op = calloc(4, sizeof(*op));

	op[0] = (struct intent_op){
		INTENT_PUT,	false,
		text_of("a/b"), NULL,
		text_of("a/b"), { .name = text_of("b"), .type = 8, .id = 33, .size = 4, .root = 9 }
	};
	op[1] = (struct intent_op){ INTENT_MOVE,  true,	 text_of("a"),
				     text_of("c"), text_of("a"), { 0 } };
	op[2] = (struct intent_op){
		INTENT_DELETE,	  false, text_of(".mirrorfs/id/21/0000000000000021"), NULL,
		text_of("x\xff"), { 0 }
	};
	op[3] = (struct intent_op){ INTENT_PUT, true, text_of("d"), NULL, NULL, { 0 } };
	return in;
}

static int fuzz_intent(const char *text, size_t len)
{
	struct remote_intent in;
	char *again;
	size_t n;
	ERR;
	int err = remote_intent_decode(text, len, &in, error, sizeof(error));

	if (!err) {
		assert_int_equal(remote_intent_encode(&in, &again, &n), 0);
		free(again);
	}
	remote_intent_clear(&in);
	return err;
}

static void intents(void **state)
{
	uint64_t seed = seed_of_run();
	struct remote_intent in = sample_intent(), back;
	int i, taken = 0;
	char *text, *keep;
	size_t len;
	ERR;

	(void)state;
	assert_int_equal(remote_intent_encode(&in, &text, &len), 0);
	assert_int_equal(remote_intent_decode(text, len, &back, error, sizeof(error)), 0);
	assert_true(back.seq == 13 && back.time == -1 && back.n == 4);
	assert_string_equal(back.writer, WRITER);
	for (i = 0; i < 4; i++) {
		assert_int_equal(back.op[i].kind, in.op[i].kind);
		assert_int_equal(back.op[i].dir, in.op[i].dir);
		assert_string_equal(back.op[i].name, in.op[i].name);
		assert_string_equal(back.op[i].path, in.op[i].path ? in.op[i].path : "");
		assert_equal(&back.op[i].entry, &in.op[i].entry);
	}
	assert_string_equal(back.op[1].to, "c");
	remote_intent_clear(&back);
	fuzz(&seed, "intent", body_of(text), strlen(body_of(text)) - 1, fuzz_intent, 5000, &taken);
	assert_in_range(taken, 50, 4500);
	free(text);
	keep = in.op[1].to;
	in.op[1].to = NULL; /* a move to nowhere */
	assert_int_equal(remote_intent_encode(&in, &text, &len), -EINVAL);
	in.op[1].to = keep;
	in.op[1].entry.type = 8; /* a move makes nothing */
	assert_int_equal(remote_intent_encode(&in, &text, &len), -EINVAL);
	in.op[1].entry.type = 0;
	in.op[2].to = text_of("y");
	assert_int_equal(remote_intent_encode(&in, &text, &len), -EINVAL);
	remote_intent_clear(&in);
}

static int read_format(const char *version, const char *layout, const char *volume, char *error)
{
	struct remote_format f;
	char body[300], *all;
	size_t len;
	int n, err;

	n = snprintf(body, sizeof(body),
		     "{\"version\":%s,\"layout\":\"%s\",\"volume\":\"%s\","
		     "\"writer\":\"" WRITER "\",\"created\":5}\n",
		     version, layout, volume);
	all = with_line("format", body, (size_t)n, &len);
	err = remote_format_decode(all, len, &f, error, 256);
	free(all);
	return err;
}

static void formats(void **state)
{
	static const char volume[] = "00112233445566778899aabbccddeeff";
	struct remote_format f = { 1, "tree", "0123456789abcde", WRITER, 1700000000 }, back;
	char *text;
	size_t len;
	ERR;

	(void)state;
	assert_int_equal(remote_format_encode(&f, &text, &len), 0);
	assert_int_equal(remote_format_decode(text, len, &back, error, sizeof(error)), 0);
	assert_true(back.version == 1 && back.created == f.created);
	assert_string_equal(back.layout, "tree");
	assert_string_equal(back.writer, WRITER);
	assert_memory_equal(back.volume, f.volume, sizeof(f.volume));
	assert_memory_equal(text, "mirrorfs-format 1 ", 18);
	free(text);
	assert_int_equal(read_format("1", "tree", volume, error), 0);
	assert_int_equal(read_format("2", "tree", volume, error), -EPROTONOSUPPORT);
	assert_non_null(strstr(error, "newer"));
	assert_int_equal(read_format("0", "tree", volume, error), -EBADMSG);
	assert_int_equal(read_format("1", "", volume, error), -EBADMSG);
	assert_int_equal(read_format("1", "Tree", volume, error), -EBADMSG);
	assert_int_equal(read_format("1", "sixteen-letters-", volume, error), -EBADMSG);
	assert_int_equal(read_format("1", "tree", volume + 1, error), -EBADMSG);
	f.layout[0] = '\0';
	assert_int_equal(remote_format_encode(&f, &text, &len), -EINVAL);
}

static void newer_versions_are_refused(void **state)
{
	static const char *const lines[] = {
		"mirrorfs-manifest 2 ",	      "mirrorfs-manifest 99999 ", "mirrorfs-manifest 0 ",
		"mirrorfs-manifest 1234567 ", "mirrorfs-manifest  ",	  "mirrorfs-page 1 ",
		"mirrorfs-manifest x ",	      "mirrorfs-manifests 1 ",	  "MIRRORFS-manifest 1 ",
	};
	static const char body[] = "{\"something\":\"new\"}\n";
	struct manifest m;
	char text[300], *all;
	size_t i, len;
	ERR;

	(void)state;
	all = with_line("x", body, strlen(body), &len);
	for (i = 0; i < N_ELEMS(lines); i++) {
		snprintf(text, sizeof(text), "%s%.*s", lines[i], (int)(len - 13), all + 13);
		assert_int_equal(
			manifest_decode(text, strlen(text), NULL, &m, error, sizeof(error)),
			i < 2 ? -EPROTONOSUPPORT : -EBADMSG);
		assert_true(*error);
	}
	free(all);
}

/* ---- leaf hashes ---- */

static void leaves(void **state)
{
	uint64_t seed = seed_of_run(), hash[33], *back = NULL;
	uint8_t sha[SHA256_LEN], expect[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0x80 };
	const uint64_t id = 0xabcdef, size = 32 * 4096 + 1;
	char line[54];
	char *text;
	size_t i, len;
	int bit;
	ERR;

	(void)state;
	for (i = 0; i < 33; i++)
		hash[i] = next_random(&seed);
	hash[0] = 0x0807060504030201;
	hash[1] = 1ull << 63;
	assert_int_equal(leaf_object_encode(id, size, hash, 33, &text, &len, sha), 0);
	assert_int_equal(len, 136 + 8 * 33);
	assert_memory_equal(text, "mirrorfs-leaves 1 ", 18);
	snprintf(line, sizeof(line), "%-52s\n", "{\"id\":\"0000000000abcdef\",\"size\":131073}");
	assert_memory_equal(text + 83, line, 53);
	assert_memory_equal(text + 136, expect, 16);
	assert_int_equal(leaf_object_decode(text, len, sha, id, size, &back, error, sizeof(error)),
			 0);
	assert_memory_equal(back, hash, sizeof(hash));
	free(back);
	assert_int_equal(leaf_object_decode(text, len, NULL, id, size, &back, error, sizeof(error)),
			 0);
	free(back);
#define REFUSES(n, i, s)                                                                       \
	assert_int_equal(leaf_object_decode(text, n, NULL, i, s, &back, error, sizeof(error)), \
			 -EBADMSG)
	REFUSES(len, id + 1, size);
	REFUSES(len, id, size + 1);
	REFUSES(len, id, UINT64_MAX);
	for (i = 0; i < len; i++) {
		REFUSES(i, id, size);
		for (bit = 0; bit < 8; bit++) {
			text[i] = (char)(text[i] ^ 1 << bit);
			if (i != 16) /* the version */
				REFUSES(len, id, size);
			text[i] = (char)(text[i] ^ 1 << bit);
		}
	}
	free(text);
	/* A right hash over too many, too few, half a one. */
	for (i = 0; i < 33; i++) {
		char body[53 + 8 * 33] = "{\"id\":\"0000000000abcdef\",\"size\":8192}";

		memset(body + strlen(body), ' ', 52 - strlen(body));
		body[52] = '\n';
		text = with_line("leaves", body, 53 + i, &len);
		assert_int_equal(
			leaf_object_decode(text, len, NULL, id, 8192, &back, error, sizeof(error)),
			i == 16 ? 0 : -EBADMSG);
		if (i == 16)
			free(back);
		free(text);
	}
	assert_int_equal(leaf_object_encode(id, size, hash, 32, &text, &len, sha), -EINVAL);
	assert_int_equal(leaf_object_encode(0, size, hash, 33, &text, &len, sha), -EINVAL);
	assert_int_equal(leaf_object_encode(id, 0, hash, 0, &text, &len, sha), 0);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_hold_their_names),
		cmocka_unit_test(foreign_names_in_a_page),
		cmocka_unit_test(indexes),
		cmocka_unit_test(damaged_indexes),
		cmocka_unit_test(bits_have_hysteresis),
		cmocka_unit_test(heads),
		cmocka_unit_test(heads_refused),
		cmocka_unit_test(intents),
		cmocka_unit_test(formats),
		cmocka_unit_test(newer_versions_are_refused),
		cmocka_unit_test(leaves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
