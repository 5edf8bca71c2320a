/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Definitions of remotes: what is refused and in which words, what comes back from
 * the mirrors, and that no word tells a secret. Credentials are in t-remote_secret.c.
 */
#include "replica/remote/remote_def.h"

#include "tests/unit/volume.h"

#define WORDS 256

static struct remote_def sample(void)
{
	struct remote_def d;

	remote_def_new(&d);
	strcpy(d.name, "office");
	d.url[0] = strdup("https://nas.example:8443/dav/backup");
	d.url[1] = strdup("http://[fd00::1]:80/dav/b%20ackup/");
	d.n_urls = 2;
	d.credentials = strdup("/etc/mirrorfs/office");
	d.ca = strdup("/etc/mirrorfs/ca.pem");
	return d;
}

static void set(char **to, const char *s)
{
	free(*to);
	*to = s ? strdup(s) : NULL;
}

static void make_s3(struct remote_def *d)
{
	d->kind = REMOTE_S3;
	d->n_urls = 1;
	set(&d->url[0], "https://s3.example/bucket/prefix");
	set(&d->region, "eu-west-1");
}

static void assert_same(const struct remote_def *a, const struct remote_def *b)
{
	char *x = remote_def_encode(a), *y = remote_def_encode(b);

	assert_non_null(x);
	assert_non_null(y);
	assert_string_equal(x, y);
	free(x);
	free(y);
}

static void fresh(void **state)
{
	struct remote_def a, b;

	(void)state;
	remote_def_new(&a);
	remote_def_new(&b);
	assert_string_not_equal(a.id, b.id);
	assert_string_not_equal(a.writer, b.writer);
	assert_true(remote_def_is_id(a.id));
	assert_true(remote_def_is_id(a.writer));
	assert_false(remote_def_is_id("../../../../etc/x"));
	assert_false(remote_def_is_id("0123456789ABCDEF"));
	assert_false(remote_def_is_id("0123456789abcdef0"));
	assert_int_equal(a.connections, 8);
	assert_int_equal(a.settle_s, 120);
	assert_int_equal(a.brake_percent, 30);
	assert_int_equal(a.brake_files, 100);
	assert_true(a.scrub_bytes == 1u << 30);
	assert_true(a.fallback && !a.paused && !a.held && a.seq == 0);
}

/* ---- text ---- */

static void round_trip(void **state)
{
	struct remote_def d = sample(), back, copy;
	char error[WORDS] = "", *text;

	(void)state;
	d.connections = 3;
	d.up_limit = 123456;
	d.down_limit = UINT64_C(1) << 40;
	d.settle_s = 0;
	d.brake_percent = 0;
	d.scrub_bytes = 0;
	d.fallback = false;
	d.paused = d.held = true;
	d.seq = 77;
	text = remote_def_encode(&d);
	assert_non_null(text);
	assert_int_equal(remote_def_decode(text, &back, error, sizeof(error)), 0);
	assert_same(&d, &back);
	assert_true(back.paused && back.held && !back.fallback && back.seq == 77);
	assert_string_equal(back.url[1], d.url[1]);
	assert_int_equal(remote_def_copy(&copy, &back), 0);
	assert_ptr_not_equal(copy.url[0], back.url[0]);
	remote_def_free(&back);
	assert_same(&d, &copy);
	remote_def_free(&copy);
	free(text);

	make_s3(&d);
	text = remote_def_encode(&d);
	assert_int_equal(remote_def_decode(text, &back, error, sizeof(error)), 0);
	assert_int_equal(back.kind, REMOTE_S3);
	assert_string_equal(back.region, "eu-west-1");
	remote_def_free(&back);
	remote_def_free(&d);
	free(text);
}

#define HEAD "{\"version\": 1, \"id\": \"0123456789abcdef\", \"writer\": \"fedcba9876543210\", " \
	"\"name\": \"n\", "
#define REST "\"kind\": \"webdav\", \"urls\": [\"http://h/\"]"

/* Texts, and what is said of them; NULL: nothing. */
static const struct {
	const char *json, *words;
} texts[] = {
	{ HEAD REST "}", NULL },
	{ HEAD REST ", \"colour\": \"red\"}", NULL },
	{ "{\"version\": 2, \"id\": \"0123456789abcdef\", \"writer\": \"fedcba9876543210\", "
	  "\"name\": \"n\", " REST "}", NULL },
	{ "{\"version\": 2, \"id\": \"0123456789abcdef\", \"writer\": \"fedcba9876543210\", "
	  "\"name\": \"n\", \"colour\": 1, " REST "}",
	  "written by a newer mirrorfs (version 2), \"colour\" is unknown here" },
	{ "", "no JSON" },
	{ "[]", "not a JSON object" },
	{ "{", "no JSON, line 1" },
	{ HEAD "\"name\": \"n\", " REST "}", "no JSON, line 1" },
	{ "{\"id\": \"0123456789abcdef\"}", "\"version\" is missing" },
	{ "{\"version\": 1}", "\"id\" is missing" },
	{ HEAD "\"urls\": []}", "\"kind\" is neither" },
	{ HEAD "\"kind\": \"ftp\", \"urls\": []}", "\"kind\" is neither" },
	{ HEAD "\"kind\": \"webdav\"}", "\"urls\" is not a list" },
	{ HEAD "\"kind\": \"webdav\", \"urls\": [1]}", "\"urls\" is not a string" },
	{ HEAD "\"kind\": \"webdav\", \"urls\": []}", "url: 1 to 8 of them, not 0" },
	{ HEAD REST ", \"connections\": 9}", "connections: from 1 to 8, not 9" },
	{ HEAD REST ", \"connections\": -1}", "\"connections\" is not a whole number" },
	{ HEAD REST ", \"connections\": 1.5}", "\"connections\" is not a whole number" },
	{ HEAD REST ", \"settle\": 4294967297}", "settle: from 0 to 86400" },
	{ HEAD REST ", \"fallback\": 1}", "\"fallback\" is not true or false" },
	{ HEAD REST ", \"ca\": 1}", "\"ca\" is not a string" },
	{ HEAD REST ", \"sum\": \"0\"}", "does not match its \"sum\"" },
	{ HEAD REST ", \"sum\": 0}", "does not match its \"sum\"" },
};

static void text_judged(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMS(texts); i++) {
		char error[WORDS] = "";
		struct remote_def d;
		int r = remote_def_decode(texts[i].json, &d, error, sizeof(error));

		if (!texts[i].words) {
			if (r < 0)
				fail_msg("%s: %s", texts[i].json, error);
			remote_def_free(&d);
			continue;
		}
		if (r == 0)
			fail_msg("taken: %s", texts[i].json);
		if (!strstr(error, texts[i].words))
			fail_msg("%s: said %s", texts[i].json, error);
		assert_null(strchr(error, '\n'));
	}
}

/* No flip of a bit makes another definition of it. */
static void text_flipped(void **state)
{
	struct remote_def d = sample();
	char *text = remote_def_encode(&d);
	size_t len = strlen(text);

	(void)state;
	for (size_t i = 0; i < len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			char error[WORDS];
			struct remote_def back;

			text[i] = (char)(text[i] ^ 1 << bit);
			if (remote_def_decode(text, &back, error, sizeof(error)) == 0) {
				assert_same(&d, &back);
				remote_def_free(&back);
			}
			text[i] = (char)(text[i] ^ 1 << bit);
		}
	free(text);
	remote_def_free(&d);
}

/* ---- what a person can get wrong ---- */

#define CREDENTIALS "credentials (user:password@) do not belong into it"

static const struct {
	const char *url, *words;
	bool s3;
} urls[] = {
	{ "http://h", NULL, false },
	{ "HTTPS://h.example:443/", NULL, false },
	{ "https://h/a@b/%c3%a4/x~y,(z)", NULL, false },
	{ "http://127.0.0.1:8080/dav/", NULL, false },
	{ "http://[::1]/dav", NULL, false },
	{ "https://h/bucket", NULL, true },
	{ "https://h/bucket/a/b/", NULL, true },
	{ "ftp://h/", "must begin with http:// or https://", false },
	{ "h/dav", "must begin with http:// or https://", false },
	{ "", "must begin with http:// or https://", false },
	{ "http://geheim@h/", CREDENTIALS, false },
	{ "https://u:geheim@h/dav", CREDENTIALS, false },
	{ "https://u:ge heim@h/dav", CREDENTIALS, false },
	{ "https://u:ge/heim@h/dav", CREDENTIALS, false },
	{ "https://u:ge?heim@h/dav", CREDENTIALS, false },
	{ "https://h/dav?geheim=1", "must not have a query", false },
	{ "https://h/dav#geheim", "must not have a fragment", false },
	{ "http:///dav", "has no host", false },
	{ "http://:80/dav", "has no host", false },
	{ "http://-h/", "the host is not a name or an address", false },
	{ "http://[::1/", "the host is not a name or an address", false },
	{ "http://[geheim]/", "the host is not a name or an address", false },
	{ "http://h:0/", "the port is not a number from 1 to 65535", false },
	{ "http://h:65536/", "the port is not a number from 1 to 65535", false },
	{ "http://h:geheim/", "the port is not a number from 1 to 65535", false },
	{ "http://h:/", "the port is not a number from 1 to 65535", false },
	{ "http://h/a b", "must be percent-encoded", false },
	{ "http://h/a\nb", "must be percent-encoded", false },
	{ "http://h/\x7f", "must be percent-encoded", false },
	{ "http://h/\\", "must be percent-encoded", false },
	{ "http://h/a//b", "has an empty component", false },
	{ "http://h/../b", "has a component '.' or '..'", false },
	{ "http://h/a/%2E%2e", "has a component '.' or '..'", false },
	{ "http://h/%zz", "two hex digits", false },
	{ "http://h/%2", "two hex digits", false },
	{ "http://h/a%2fb", "%00 and %2F cannot be in it", false },
	{ "http://h/a%00b", "%00 and %2F cannot be in it", false },
	{ "https://h", "S3 needs a bucket", true },
	{ "https://h/", "S3 needs a bucket", true },
	{ "https://h/b", "3 to 63 letters", true },
	{ "https://h/buck~et", "3 to 63 letters", true },
};

static void urls_judged(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMS(urls); i++) {
		struct remote_def d = sample();
		char error[WORDS] = "";
		int r;

		d.n_urls = 1;
		if (urls[i].s3)
			make_s3(&d);
		set(&d.url[0], urls[i].url);
		r = remote_def_check(&d, error, sizeof(error));
		remote_def_free(&d);
		if (!urls[i].words) {
			if (r < 0)
				fail_msg("%s: %s", urls[i].url, error);
			continue;
		}
		if (r != -EINVAL)
			fail_msg("taken: %s", urls[i].url);
		if (strncmp(error, "url: ", 5) || !strstr(error, urls[i].words))
			fail_msg("%s: said %s", urls[i].url, error);
		assert_null(strstr(error, "geheim"));
	}
}

static void refused(struct remote_def *d, const char *words)
{
	char error[WORDS] = "";

	assert_int_equal(remote_def_check(d, error, sizeof(error)), -EINVAL);
	if (!strstr(error, words))
		fail_msg("said %s, not %s", error, words);
	remote_def_free(d);
	*d = sample();
}

static void long_url(struct remote_def *d)
{
	char *url = malloc(3000);

	memset(url, 'x', 2999);
	url[2999] = '\0';
	memcpy(url, "http://h/", 9);
	set(&d->url[0], url);
	free(url);
	refused(d, "url 1: is longer than 2048 bytes");
}

static void options_judged(void **state)
{
	struct remote_def d = sample();

	(void)state;
	d.name[0] = '\0';
	refused(&d, "name: is empty");
	memset(d.name, 'x', REMOTE_NAME_MAX + 1);
	refused(&d, "name: longer than 32 characters");
	strcpy(d.name, "a b");
	refused(&d, "name: only letters, digits, '.', '_' and '-'");
	strcpy(d.name, "a\xc3\xa4");
	refused(&d, "name: only letters");
	strcpy(d.name, "-a");
	refused(&d, "name: must not begin with '-'");
	strcpy(d.name, ".a");
	refused(&d, "name: must not begin with '.'");
	d.kind = (enum remote_kind)7;
	refused(&d, "kind: must be webdav or s3");
	set(&d.url[1], "ftp://h/");
	refused(&d, "url 2: must begin with http");
	set(&d.url[1], d.url[0]);
	refused(&d, "url 2: is the same as url 1");
	long_url(&d);
	set(&d.credentials, "secrets");
	refused(&d, "credentials: must be an absolute path");
	set(&d.ca, "ca.pem");
	refused(&d, "ca: must be an absolute path");
	set(&d.ca, "/ca\n.pem");
	refused(&d, "ca: the path has a control character");
	set(&d.region, "eu");
	refused(&d, "region: is for --kind=s3 only");
	make_s3(&d);
	set(&d.region, "eu/west");
	refused(&d, "region: 1 to 64 letters");
	make_s3(&d);
	set(&d.credentials, NULL);
	refused(&d, "credentials: S3 needs a file with access-key and secret-key");
	d.connections = 0;
	refused(&d, "connections: from 1 to 8, not 0");
	d.up_limit = 1;
	refused(&d, "up-limit: at least 1024 bytes a second, or 0 for none");
	d.down_limit = UINT64_MAX;
	refused(&d, "down-limit: from 1024 to");
	d.settle_s = 86401;
	refused(&d, "settle: from 0 to 86400, not 86401");
	d.brake_percent = 101;
	refused(&d, "brake-percent: from 0 to 100, not 101");
	strcpy(d.writer, "nobody");
	refused(&d, "id and writer: must be 16 hex digits");
	remote_def_free(&d);
}

/* ---- on the mirrors ---- */

static size_t load(struct bed *b, struct remote_def **defs)
{
	size_t n = 0;

	assert_int_equal(remote_def_load(b->v, defs, &n), 0);
	return n;
}

static void unload(struct remote_def *defs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		remote_def_free(&defs[i]);
	free(defs);
}

static const char *place(const struct remote_def *d)
{
	static char path[100];

	snprintf(path, sizeof(path), DOT_DIR "/remote/%s/definition", d->id);
	return path;
}

static void stored(void **state)
{
	struct bed *b = *state;
	struct remote_def d = sample(), e = sample(), *defs;
	struct stat st;

	assert_int_equal(load(b, &defs), 0);
	unload(defs, 0);
	strcpy(e.name, "another");
	assert_int_equal(remote_def_store(b->v, &d), 0);
	assert_int_equal(remote_def_store(b->v, &e), 0);
	d.paused = true;
	assert_int_equal(remote_def_store(b->v, &d), 0);
	assert_int_equal(d.seq, 2);
	for (int m = 0; m < 2; m++) {
		assert_int_equal(fstatat(b->fd[m], place(&d), &st, 0), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
	}
	bed_reopen(b);
	assert_int_equal(load(b, &defs), 2);
	assert_same(&defs[0], &e);
	assert_same(&defs[1], &d);
	unload(defs, 2);

	strcpy(d.name, "");
	assert_int_equal(remote_def_store(b->v, &d), -EINVAL);
	assert_int_equal(d.seq, 2);
	assert_int_equal(remote_def_remove(b->v, d.id), 0);
	assert_int_equal(remote_def_remove(b->v, d.id), 0);
	assert_int_equal(remote_def_remove(b->v, "../remote"), -EINVAL);
	assert_false(exists(b->fd[0], place(&d)) || exists(b->fd[1], place(&d)));
	assert_int_equal(load(b, &defs), 1);
	assert_same(&defs[0], &e);
	unload(defs, 1);
	remote_def_free(&d);
	remote_def_free(&e);
}

/* The newest counts, on whichever mirror it is; a damaged one never. */
static void mirrors_differ(void **state)
{
	struct bed *b = *state;
	struct remote_def d = sample(), *defs;
	char *old, *new;
	size_t old_len, new_len;

	assert_int_equal(remote_def_store(b->v, &d), 0);
	assert_int_equal(bed_raw(b, 0, place(&d), &old, &old_len), 0);
	d.brake_percent = 55;
	assert_int_equal(remote_def_store(b->v, &d), 0);
	assert_int_equal(bed_raw(b, 0, place(&d), &new, &new_len), 0);
	for (int m = 0; m < 2; m++) {
		put_file(b->fd[m], place(&d), old, old_len);
		assert_int_equal(load(b, &defs), 1);
		assert_int_equal(defs[0].brake_percent, 55);
		unload(defs, 1);
		/* the other one is damaged: the older one is better than none */
		flip_byte(b->fd[!m], place(&d), (off_t)new_len / 2, 1);
		assert_int_equal(load(b, &defs), 1);
		assert_int_equal(defs[0].brake_percent, 30);
		unload(defs, 1);
		put_file(b->fd[!m], place(&d), new, new_len);
		put_file(b->fd[m], place(&d), new, new_len);
	}
	/* none is good: told and left out */
	for (int m = 0; m < 2; m++)
		put_file(b->fd[m], place(&d), new, new_len / 2);
	assert_int_equal(load(b, &defs), 0);
	unload(defs, 0);
	/* at the place of another */
	assert_int_equal(unlinkat(b->fd[0], place(&d), 0), 0);
	strcpy(d.id, "0123456789abcdef");
	assert_int_equal(mkdirat(b->fd[0], DOT_DIR "/remote/0123456789abcdef", 0700), 0);
	put_file(b->fd[0], place(&d), new, new_len);
	assert_int_equal(load(b, &defs), 0);
	unload(defs, 0);
	free(old);
	free(new);
	remote_def_free(&d);
}

static void many_left_out(void **state)
{
	struct bed *b = *state;
	struct remote_def *defs;

	for (unsigned i = 0; i < REMOTE_MAX + 2; i++) {
		struct remote_def d = sample();

		assert_int_equal(remote_def_store(b->v, &d), 0);
		remote_def_free(&d);
	}
	assert_int_equal(load(b, &defs), REMOTE_MAX);
	unload(defs, REMOTE_MAX);
}

/* A mirror that does not take it is out; when none does, that is an error. */
static void mirror_fails(void **state)
{
	struct bed *b = *state;
	struct remote_def d = sample(), *defs;

	for (int m = 0; m < 2; m++)
		put_file(b->fd[m], DOT_DIR "/remote", "", 0);
	assert_int_equal(remote_def_store(b->v, &d), -ENOTDIR);
	assert_int_equal(d.seq, 0);
	assert_int_equal(volume_in_sync(b->v), 3);
	assert_int_equal(unlinkat(b->fd[0], DOT_DIR "/remote", 0), 0);
	assert_int_equal(remote_def_store(b->v, &d), 0);
	assert_int_equal(volume_in_sync(b->v), 1);
	assert_int_equal(load(b, &defs), 1);
	unload(defs, 1);
	assert_int_equal(io_remove_tree(b->fd[0], DOT_DIR "/remote"), 0);
	put_file(b->fd[0], DOT_DIR "/remote", "", 0);
	assert_true(remote_def_store(b->v, &d) < 0);
	assert_int_equal(d.seq, 1);
	assert_int_equal(volume_in_sync(b->v), 1);
	assert_int_equal(unlinkat(b->fd[0], DOT_DIR "/remote", 0), 0);
	remote_def_free(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fresh),
		cmocka_unit_test(round_trip),
		cmocka_unit_test(text_judged),
		cmocka_unit_test(text_flipped),
		cmocka_unit_test(urls_judged),
		cmocka_unit_test(options_judged),
		bed_test(stored),
		bed_test(mirrors_differ),
		bed_test(many_left_out),
		bed_test(mirror_fails),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
