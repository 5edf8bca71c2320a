/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Objects at a remote: every field comes back, what is written is pinned, and
 * no bytes from a server are believed or crash the reader, even with a right hash.
 */
#include "replica/remote/manifest.h"

#include <errno.h>
#include <sys/sysmacros.h>

#include "tests/unit/manifest.h"

/* ---- manifests ---- */

static int decode_body(const char *what, const char *body, struct manifest *m, char *error,
		       size_t n)
{
	size_t len;
	char *all = with_line(what, body, strlen(body), &len);
	int err = manifest_decode(all, len, NULL, m, error, n);

	free(all);
	return err;
}

static void every_field_comes_back(void **state)
{
	uint64_t seed = seed_of_run();
	uint8_t hash[SHA256_LEN];
	struct manifest m, back;
	size_t i, len;
	char *text;
	int round;
	ERR;

	(void)state;
	for (round = 0; round < 30; round++) {
		m = random_manifest(&seed, next_random(&seed) % 100);
		assert_int_equal(manifest_encode(&m, &text, &len, hash), 0);
		assert_int_equal(manifest_decode(text, len, hash, &back, error, sizeof(error)), 0);
		assert_int_equal(back.id, m.id);
		assert_int_equal(back.n, m.n);
		assert_true(back.bits == 0 && !back.page);
		for (i = 0; i < m.n; i++)
			assert_equal(&m.entry[i], &back.entry[i]);
		hash[0] ^= 1;
		manifest_free(&back);
		assert_int_equal(manifest_decode(text, len, hash, &back, error, sizeof(error)),
				 -EBADMSG);
		assert_true(!back.entry && !back.n);
		free(text);
		manifest_free(&m);
	}
}

static const char pinned[] =
	"{\"id\":\"00000000000000a1\",\"count\":3,\"entries\":[\n"
	"{\"name\":\"a "
	"\\\"b\\\\\",\"type\":\"file\",\"id\":\"00000000000000a2\",\"gen\":3,\"size\":5,"
	"\"root\":\"fedcba9876543210\",\"mode\":\"0644\",\"uid\":1000,\"gid\":100,"
	"\"mtime\":1700000000123456789,\"ctime\":-1,\"xattr\":[[\"user.a\",\"\"],[\"user.b\",\"AP8="
	"\"]]},\n"
	"{\"name\":{\"b64\":\"/"
	"wo=\"},\"type\":\"chr\",\"id\":\"00000000000000a3\",\"mode\":\"0000\","
	"\"rdev\":\"8:1\"},\n"
	"{\"name\":{\"b64\":\"/"
	"ws=\"},\"type\":\"symlink\",\"link\":true,\"id\":\"00000000000000a4\"}\n"
	"]}\n";

static struct manifest pinned_manifest(void)
{
	struct manifest m = { .id = 0xa1, .n = 3 };
	struct manifest_entry *e = m.entry = calloc(3, sizeof(*e));

	e[0] = (struct manifest_entry){
		.name = text_of("a \"b\\"),
		.type = 8,
		.id = 0xa2,
		.gen = 3,
		.size = 5,
		.root = 0xfedcba9876543210,
		.mode = 0644,
		.uid = 1000,
		.gid = 100,
		.mtime = 1700000000123456789,
		.ctime = -1,
	};
	add_xattr(&e[0], "user.b", "\0\xff", 2);
	add_xattr(&e[0], "user.a", "", 0);
	e[1] = (struct manifest_entry){
		.name = text_of("\xff\n"),
		.type = 2,
		.id = 0xa3,
		.rdev = makedev(8, 1),
	};
	e[2] = (struct manifest_entry){
		.name = text_of("\xff\v"),
		.type = 10,
		.id = 0xa4,
		.link = true,
		.size = 7,
		.mode = 0777,
	};
	return m;
}

static void text_is_pinned(void **state)
{
	struct manifest m = pinned_manifest(), back;
	char *text, *again, *expect = text_of(pinned), *mode;
	size_t len, all;
	ERR;

	(void)state;
	/* A mode of 0 is left out like all that is zero. */
	mode = strstr(expect, "\"mode\":\"0000\",");
	memmove(mode, mode + 14, strlen(mode + 14) + 1);
	assert_int_equal(manifest_encode(&m, &text, &len, NULL), 0);
	assert_int_equal(len, 18 + 2 + 64 + 1 + strlen(expect));
	assert_memory_equal(body_of(text), expect, strlen(expect));
	again = with_line("manifest", expect, strlen(expect), &all);
	assert_int_equal(all, len);
	assert_memory_equal(text, again, len);
	assert_int_equal(decode_body("manifest", pinned, &back, error, sizeof(error)), 0);
	assert_int_equal(back.entry[0].n_xattr, 2);
	assert_string_equal(back.entry[2].name, "\xff\v");
	assert_int_equal(back.entry[2].mode, 0);
	manifest_free(&back);
	manifest_free(&m);
	free(text);
	free(again);
	free(expect);
}

/* One entry of that name: whether it is stored as a string. */
static bool stored_as_string(const char *name)
{
	struct manifest_entry e = { .name = (char *)name, .type = 8, .id = 77 };
	struct manifest m = { .id = 1, .entry = &e, .n = 1 }, back;
	bool string;
	char *text;
	size_t len;
	ERR;

	assert_int_equal(manifest_encode(&m, &text, &len, NULL), 0);
	string = !memmem(text, len, "b64", 3);
	assert_int_equal(manifest_decode(text, len, NULL, &back, error, sizeof(error)), 0);
	assert_string_equal(back.entry[0].name, name);
	manifest_free(&back);
	free(text);
	return string;
}

static void odd_names(void **state)
{
	static const char *const plain[] = {
		"\xc3\xa4\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xc2\xa0", "\xed\x9f\xbf",
		"\xee\x80\x80", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf", "...", " ", "a\"\\b",
		"{}[],:", "\\u0000",
	}, *const coded[] = {
		"\xc3", "a\xc3" "b", "\xe2\x82", "\xf0\x9f\x98", "\x80", "\xff", "\xc0\xaf",
		"\xc1\xbf", "\xe0\x80\xaf", "\xe0\x9f\xbf", "\xf0\x80\x80\xaf", "\xed\xa0\x80",
		"\xed\xbf\xbf", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xc2\x80",
		"\xc2\x9f", "\n", "a\tb", "\x7f",
	};
	char name[257], all[256];
	size_t i, n = 0;

	(void)state;
	for (i = 0; i < N_ELEMS(plain); i++)
		assert_true(stored_as_string(plain[i]));
	for (i = 0; i < N_ELEMS(coded); i++)
		assert_false(stored_as_string(coded[i]));
	for (i = 1; i < 256; i++) {
		snprintf(name, sizeof(name), "x%cy", (int)i);
		if (i == '/')
			continue;
		all[n++] = (char)i;
		assert_int_equal(stored_as_string(name), i >= ' ' && i < 0x7f);
	}
	all[n] = '\0';
	assert_false(stored_as_string(all));
	memset(name, 'n', 255);
	name[255] = '\0';
	assert_true(stored_as_string(name));
	memset(name, '\xee', 255);
	assert_false(stored_as_string(name));
}

static void writer_refuses(void **state)
{
	char long_name[257];
	const struct manifest_entry bad[] = {
		{ .name = (char *)"", .type = 8, .id = 5 },
		{ .name = NULL, .type = 8, .id = 5 },
		{ .name = (char *)".", .type = 8, .id = 5 },
		{ .name = (char *)"..", .type = 8, .id = 5 },
		{ .name = (char *)"a/b", .type = 8, .id = 5 },
		{ .name = long_name, .type = 8, .id = 5 },
		{ .name = (char *)"a", .type = 0, .id = 5 },
		{ .name = (char *)"a", .type = 3, .id = 5 },
		{ .name = (char *)"a", .type = 8, .id = 0 },
		{ .name = (char *)"a", .type = 8, .id = 5, .mode = 010000 },
		{ .name = (char *)"a", .type = 8, .id = 5, .size = 1ull << 63 },
		{ .name = (char *)"a", .type = 8, .id = 5, .rdev = 3 },
		{ .name = (char *)"a", .type = 8, .id = 5, .target = (char *)"b" },
		{ .name = (char *)"a", .type = 10, .id = 5 },
		{ .name = (char *)"a", .type = 10, .id = 5, .target = (char *)"" },
		{ .name = (char *)"a", .type = 4, .id = 5, .root = 3 },
		{ .name = (char *)"a", .type = 4, .id = 5, .link = true },
		{ .name = (char *)"a", .type = 4, .id = 5, .leaves = { .seq = 3 } },
		{ .name = (char *)"a", .type = 8, .id = 5, .dir = { .seq = 3 } },
		{ .name = (char *)"a", .type = 8, .id = 5, .bytes = 3 },
	};
	struct manifest_entry two[2] = { { .name = (char *)"b", .type = 8, .id = 5 } };
	struct manifest m = { .id = 1, .n = 1 };
	char *text = NULL;
	size_t i, len;

	(void)state;
	memset(long_name, 'a', 256);
	long_name[256] = '\0';
	for (i = 0; i < N_ELEMS(bad); i++) {
		m.entry = (struct manifest_entry *)&bad[i];
		assert_int_equal(manifest_encode(&m, &text, &len, NULL), -EINVAL);
	}
	m = (struct manifest){ .id = 1, .entry = two, .n = 2 };
	two[1] = two[0]; /* the same twice */
	assert_int_equal(manifest_encode(&m, &text, &len, NULL), -EINVAL);
	two[1].name = (char *)"a"; /* not sorted */
	assert_int_equal(manifest_encode(&m, &text, &len, NULL), -EINVAL);
	two[1].name = (char *)"\xff"; /* strcmp: above all ASCII */
	assert_int_equal(manifest_encode(&m, &text, &len, NULL), 0);
	free(text);
	m.id = 0;
	assert_int_equal(manifest_encode(&m, &text, &len, NULL), -EINVAL);
}

/* In a good text, one piece is replaced; the line says where and which. */
static void reader_refuses(void **state)
{
	static const struct {
		const char *from, *to, *says;
	} cases[] = {
		{ "\"id\":\"00000000000000a1\"", "\"id\":\"0000000000000000\"", "id is 0" },
		{ "\"id\":\"00000000000000a1\"", "\"id\":\"a1\"", "id is not 16" },
		{ "\"id\":\"00000000000000a1\"", "\"id\":161", "id is not 16" },
		{ "\"id\":\"00000000000000a1\",", "", "id is missing" },
		{ "\"count\":3", "\"count\":2", "count is not" },
		{ "\"count\":3", "\"count\":-3", "count is -3" },
		{ "\"count\":3", "\"count\":3.0", "count is no integer" },
		{ "\"count\":3", "\"count\":99999999999999999999", "no JSON" },
		{ "\"count\":3", "\"count\":3,\"count\":3", "no JSON" },
		{ "\"count\":3", "\"count\":3,\"bits\":1", "bits is no field" },
		{ "\"entries\":[", "\"entries\":{\"a\":[", "no JSON" },
		{ "]}\n", "]} x", "no JSON" },
		{ "]}\n", ",7]}", "entry 3: it is no object" },
		{ "\"a \\\"b\\\\\"", "\"\"", "entry 0: name has an empty" },
		{ "\"a \\\"b\\\\\"", "\"..\"", "entry 0 (\"..\"): name has a part \".\"" },
		{ "\"a \\\"b\\\\\"", "\"a/b\"", "name has a \"/\"" },
		{ "\"a \\\"b\\\\\"", "\"a\\u0000b\"", "no JSON" },
		{ "\"a \\\"b\\\\\"", "\"\xc3\"", "no JSON" },
		{ "\"a \\\"b\\\\\"", "{\"b64\":\"AAA=\"}", "name has a zero byte" },
		{ "\"a \\\"b\\\\\"", "{\"b64\":\"/wo\"}", "name is no base64" },
		{ "\"a \\\"b\\\\\"", "{\"b64\":\"/wo=\",\"x\":1}", "name is neither" },
		{ "\"a \\\"b\\\\\"", "[]", "name is neither" },
		{ "{\"b64\":\"/wo=\"}", "{\"b64\":\"/ws=\"}",
		  "entry 2 (\"??\"): name is not above" },
		{ "{\"b64\":\"/wo=\"}", "\"A\"", "entry 1 (\"A\"): name is not above" },
		{ "\"name\":{\"b64\":\"/wo=\"},", "", "entry 1: name is missing" },
		{ "\"type\":\"file\"", "\"type\":\"fil\"",
		  "entry 0 (\"a ?b\\\"): type is no type" },
		{ "\"type\":\"file\"", "\"type\":8", "type is no type" },
		{ "\"type\":\"file\",", "", "type is missing" },
		{ "\"type\":\"file\"", "\"type\":\"dir\"", "root is of no regular file" },
		{ "\"type\":\"chr\"", "\"type\":\"fifo\"", "entry 1: rdev is of no device" },
		{ "\"type\":\"chr\"", "\"type\":\"symlink\"", "target is missing" },
		{ "\"type\":\"symlink\"", "\"type\":\"dir\"", "link is true of a directory" },
		{ "\"link\":true", "\"link\":true,\"size\":1", "size is no field" },
		{ "\"link\":true", "\"link\":1", "link is neither" },
		{ "\"gen\":3", "\"gen\":-1", "gen is -1" },
		{ "\"gen\":3", "\"gen\":3,\"new\\u000akey\":1", "new?key is no field" },
		{ "\"mode\":\"0644\"", "\"mode\":\"0648\"", "mode is not" },
		{ "\"mode\":\"0644\"", "\"mode\":\"10644\"", "mode is not" },
		{ "\"mode\":\"0644\"", "\"mode\":420", "mode is not" },
		{ "\"uid\":1000", "\"uid\":4294967296", "uid is 4294967296" },
		{ "\"mtime\":1700000000123456789", "\"mtime\":true", "mtime is no integer" },
		{ "\"rdev\":\"8:1\"", "\"rdev\":\"8:01\"", "rdev is not" },
		{ "\"rdev\":\"8:1\"", "\"rdev\":\"8:4294967296\"", "rdev is not" },
		{ "\"rdev\":\"8:1\"", "\"rdev\":\"8\"", "rdev is not" },
		{ "[\"user.a\",\"\"]", "[\"user.b\",\"\"]", "xattr has a name twice" },
		{ "[\"user.a\",\"\"]", "[\"\",\"\"]", "xattr has a name that is empty" },
		{ "[\"user.a\",\"\"]", "[\"user.a\"]", "xattr is not a list of pairs" },
		{ "[\"user.a\",\"\"]", "[\"user.a\",\"!\"]", "xattr is no base64" },
		{ "[\"user.a\",\"\"]", "[\"user.a\",null]", "xattr is no string" },
		{ "\"xattr\":[", "\"xattr\":[],\"x\":[", "xattr is not a list" },
		{ "\"ctime\":-1", "\"leaves\":{\"seq\":0,\"sha256\":\"\"}", "leaves is 0" },
		{ "\"ctime\":-1", "\"leaves\":{\"seq\":1,\"sha256\":\"12\"}", "leaves is not 64" },
		{ "\"ctime\":-1", "\"leaves\":{\"seq\":1}", "leaves is not {" },
		{ "\"ctime\":-1", "\"target\":\"\"", "target is empty" },
		{ "\"ctime\":-1", "\"files\":1", "files or bytes" },
	};
	struct manifest m;
	const char *at;
	char body[2048];
	size_t i;
	ERR;

	(void)state;
	for (i = 0; i < N_ELEMS(cases); i++) {
		at = strstr(pinned, cases[i].from);
		assert_non_null(at);
		snprintf(body, sizeof(body), "%.*s%s%s", (int)(at - pinned), pinned, cases[i].to,
			 at + strlen(cases[i].from));
		error[0] = '\0';
		if (decode_body("manifest", body, &m, error, sizeof(error)) != -EBADMSG ||
		    !strstr(error, cases[i].says))
			fail_msg("%s -> %s: \"%s\", not \"%s\"", cases[i].from, cases[i].to, error,
				 cases[i].says);
		assert_null(m.entry);
	}
}

/* Without luck: every bit, every length. */
static void no_damage_goes_unseen(void **state)
{
	struct manifest m = pinned_manifest(), back;
	uint8_t hash[SHA256_LEN];
	char *text, *copy;
	size_t len, i;
	int err, bit;
	ERR;

	(void)state;
	assert_int_equal(manifest_encode(&m, &text, &len, hash), 0);
	for (i = 0; i < len; i++) {
		for (bit = 0; bit < 8; bit++) {
			text[i] = (char)(text[i] ^ 1 << bit);
			assert_int_equal(
				manifest_decode(text, len, hash, &back, error, sizeof(error)),
				-EBADMSG);
			err = manifest_decode(text, len, NULL, &back, error, sizeof(error));
			/* The version alone is not covered, and says that it is another. */
			assert_int_equal(err, text[18] > '1' && text[18] <= '9' ? -EPROTONOSUPPORT
										: -EBADMSG);
			text[i] = (char)(text[i] ^ 1 << bit);
		}
		copy = malloc(i + 1); /* the sanitizer sees what reads beyond */
		memcpy(copy, text, i);
		copy = realloc(copy, i ? i : 1);
		assert_int_equal(manifest_decode(copy, i, NULL, &back, error, sizeof(error)),
				 -EBADMSG);
		assert_true(*error);
		free(copy);
	}
	manifest_free(&m);
	free(text);
}

/* ---- damage under a right hash ---- */

/* What is taken can be written, and read again as the same. */
static void assert_sound(const struct manifest *m)
{
	struct manifest back;
	size_t len, i;
	char *text;
	ERR;

	assert_int_equal(manifest_encode(m, &text, &len, NULL), 0);
	assert_int_equal(manifest_decode(text, len, NULL, &back, error, sizeof(error)), 0);
	assert_int_equal(back.n, m->n);
	for (i = 0; i < m->n; i++)
		assert_equal(&m->entry[i], &back.entry[i]);
	manifest_free(&back);
	free(text);
}

static int fuzz_manifest(const char *text, size_t len)
{
	struct manifest m;
	ERR;
	int err = manifest_decode(text, len, NULL, &m, error, sizeof(error));

	assert_true(!err == !*error);
	if (!err)
		assert_sound(&m);
	manifest_free(&m);
	return err;
}

static void damage_under_a_right_hash(void **state)
{
	uint64_t seed = seed_of_run();
	struct manifest m;
	int i, taken = 0;
	char *text;
	size_t len;

	(void)state;
	for (i = 0; i < 60; i++) {
		m = random_manifest(&seed, 3);
		assert_int_equal(manifest_encode(&m, &text, &len, NULL), 0);
		fuzz(&seed, "manifest", body_of(text), len - (size_t)(body_of(text) - text),
		     fuzz_manifest, 200, &taken);
		free(text);
		manifest_free(&m);
	}
	print_message("%d of 12000 damaged manifests were manifests still\n", taken);
	assert_in_range(taken, 100, 11000);
}

/* ---- sizes ---- */

static void limits(void **state)
{
	char *body = malloc(80u << 20);
	struct manifest m;
	size_t i, n, len;
	char *all;
	ERR;

	(void)state;
	/* Values: what a reader spends memory on. */
	n = (size_t)sprintf(body, "{\"id\":\"0000000000000001\",\"count\":0,\"entries\":[");
	for (i = 0; i < 1u << 20; i++, n += 2)
		memcpy(body + n, "0,", 2);
	n += (size_t)sprintf(body + n, "0]}");
	all = with_line("manifest", body, n, &len);
	assert_int_equal(manifest_decode(all, len, NULL, &m, error, sizeof(error)), -EBADMSG);
	assert_non_null(strstr(error, "values"));
	free(all);
	/* Depth. */
	memset(body, '[', 100000);
	all = with_line("manifest", body, 100000, &len);
	assert_int_equal(manifest_decode(all, len, NULL, &m, error, sizeof(error)), -EBADMSG);
	free(all);
	/* Bytes. */
	memset(body, ' ', 65u << 20);
	all = with_line("manifest", body, 65u << 20, &len);
	assert_int_equal(manifest_decode(all, len, NULL, &m, error, sizeof(error)), -EBADMSG);
	assert_non_null(strstr(error, "more than"));
	free(all);
	free(body);
}

static void writer_keeps_the_limits(void **state)
{
	static char value[65536];
	struct manifest_entry e = { .name = (char *)"a", .type = 8, .id = 5 };
	struct manifest m = { .id = 1, .entry = &e, .n = 1 };
	char name[16], *text;
	size_t i, len;

	(void)state;
	for (i = 0; i < 800; i++) { /* 800 * 64 KiB * 4 / 3 > 64 MiB */
		snprintf(name, sizeof(name), "user.%zu", i);
		add_xattr(&e, name, value, sizeof(value));
	}
	assert_int_equal(manifest_encode(&m, &text, &len, NULL), -EFBIG);
	e.name = NULL;
	manifest_entry_clear(&e);
}

static double cpu_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void ten_thousand(void **state)
{
	struct manifest m = { .id = 1, .n = 10000 }, back;
	double begun, encoded, decoded;
	uint8_t hash[SHA256_LEN];
	char name[40], *text;
	size_t i, len;
	ERR;

	(void)state;
	m.entry = calloc(m.n, sizeof(*m.entry));
	for (i = 0; i < m.n; i++) {
		snprintf(name, sizeof(name), "some-file-%06zu.txt", i);
		m.entry[i] = (struct manifest_entry){
			.name = text_of(name),
			.type = 8,
			.id = 1000 + i,
			.gen = 2,
			.size = 4096 + i,
			.root = i * 0x9e3779b97f4a7c15,
			.mode = 0644,
			.uid = 1000,
			.gid = 1000,
			.mtime = 1700000000123456789,
			.atime = 1700000000123456789,
			.ctime = 1700000000123456789,
		};
	}
	begun = cpu_ms();
	assert_int_equal(manifest_encode(&m, &text, &len, hash), 0);
	encoded = cpu_ms();
	assert_int_equal(manifest_decode(text, len, hash, &back, error, sizeof(error)), 0);
	decoded = cpu_ms();
	print_message("10,000 entries, %zu bytes: encoded in %.1f ms, decoded in %.1f ms\n", len,
		      encoded - begun, decoded - encoded);
	assert_true(decoded - begun < 3000); /* with sanitizers too */
	manifest_free(&back);
	manifest_free(&m);
	free(text);
}

static void same_and_copy(void **state)
{
	uint64_t seed = seed_of_run();
	struct manifest_entry a, b;
	struct manifest_xattr x;
	int i;

	(void)state;
	for (i = 0; i < 500; i++) {
		a = random_entry(&seed);
		assert_int_equal(manifest_entry_copy(&b, &a), 0);
		assert_equal(&a, &b);
		b.name[0] = 'x';
		b.gen++;
		b.refs++;
		b.atime++;
		b.files++;
		b.leaves.seq++;
		b.dir.seq++;
		if (b.n_xattr > 1) {
			x = b.xattr[0];
			b.xattr[0] = b.xattr[1];
			b.xattr[1] = x;
		}
		assert_true(manifest_entry_same(&a, &b));
		b.mode ^= 1;
		assert_int_equal(manifest_entry_same(&a, &b), a.link);
		b.mode ^= 1;
		if (b.n_xattr && !b.link) {
			b.xattr[0].name[0] ^= 1;
			assert_false(manifest_entry_same(&a, &b));
		}
		manifest_entry_clear(&a);
		manifest_entry_clear(&b);
	}
	a = (struct manifest_entry){ .type = 8, .id = 1, .by_id = true };
	b = (struct manifest_entry){ .type = 8, .id = 1 };
	assert_true(manifest_entry_same(&a, &b));
	b.size = 1;
	assert_false(manifest_entry_same(&a, &b));
	a.type = b.type = 4; /* a count, of a directory */
	assert_true(manifest_entry_same(&a, &b));
	b.type = 8;
	assert_false(manifest_entry_same(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_comes_back),
		cmocka_unit_test(text_is_pinned),
		cmocka_unit_test(odd_names),
		cmocka_unit_test(writer_refuses),
		cmocka_unit_test(reader_refuses),
		cmocka_unit_test(no_damage_goes_unseen),
		cmocka_unit_test(damage_under_a_right_hash),
		cmocka_unit_test(limits),
		cmocka_unit_test(writer_keeps_the_limits),
		cmocka_unit_test(ten_thousand),
		cmocka_unit_test(same_and_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
