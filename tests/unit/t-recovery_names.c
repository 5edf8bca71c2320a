/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names after a power cut, case by case: what each mirror shows and what the
 * journals say; what each mirror is to show then. */
#include "tests/unit/names.h"

/*
 * Trees: "path=id" a file, "path/=id" a sealed directory (generation 1, open),
 * "path*id" one that was never sealed, "path@" a link of the file before,
 * "path=0" no record. Words: "dir:name=id", "dir#generation:name=id". The root
 * and all directories that exist from the start are dirty unless `dirty` says
 * which are: "id.generation:path".
 */
struct row {
	const char *what;
	const char *tree[3];
	const char *words, *dirty;
	const char *want[3];     /* NULL: as the first one */
	unsigned quarantined;
};

static const struct row rows[] = {
	{ "create, one mirror", { "a=20", "" }, "", NULL, { "a=20", "" }, 0 },
	{ "create, the word is there, too", { "", "a=20" }, "1:a=20", NULL, { "", "a=20" }, 0 },
	{ "create cut short", { "a=0", "" }, "", NULL, { "" }, 0 },
	{ "create of a directory cut short", { "", "a/=0" }, "", NULL, { "" }, 0 },
	{ "create cut short everywhere", { "a=0", "a=0" }, "", NULL, { "a=0" }, 0 },
	{ "create cut short on one", { "a=0", "a=20" }, "", NULL, { "a=0", "a=20" }, 0 },
	{ "cut short, in the way of a rename", { "a=20 b=0", "b=20" }, "1:a=0 1:b=20", NULL,
	  { "b=20" }, 0 },
	{ "unlink, no word", { "a=20", "" }, "", NULL, { "a=20", "" }, 0 },
	{ "unlink", { "a=20", "" }, "1:a=0", NULL, { "" }, 0 },
	{ "unlink, seen by the first", { "", "a=20" }, "1:a=0", NULL, { "" }, 0 },
	{ "stale word", { "a=20", "" }, "1#0:x=9 30:a=0", "30.1:D", { "a=20", "" }, 0 },
	{ "word of an older generation", { "D/=30 D/a=20", "D/=30" }, "30#0:a=0", NULL,
	  { "D/=30 D/a=20", "D/=30" }, 0 },
	{ "directory sealed since", { "D/=30 D/a=20", "D/=30" }, "30#1:a=0", "30.0:D",
	  { "D/=30 D/a=20", "D/=30" }, 0 },
	{ "rename", { "a=20", "b=20" }, "1:a=0 1:b=20", NULL, { "b=20" }, 0 },
	{ "rename, no word", { "a=20", "b=20" }, "", NULL, { "a=20" }, 0 },
	{ "rename, no word, three", { "a=20", "b=20", "b=20" }, "", NULL, { "a=20" }, 0 },
	{ "rename, part of the words", { "a=20", "b=20" }, "1:b=20", NULL, { "b=20" }, 0 },
	{ "rename to another directory", { "D/=30 E/=31 D/a=20", "D/=30 E/=31 E/b=20" },
	  "30#1:a=0 31#1:b=20", NULL, { "D/=30 E/=31 E/b=20" }, 0 },
	{ "rename of a directory",
	  { "D/=30 D/x=20 D/y/=31 D/y/z=21", "E/=30 E/x=20 E/y/=31 E/y/z=21" },
	  "1:D=0 1:E=30", "1.0:.", { "E/=30 E/x=20 E/y/=31 E/y/z=21" }, 0 },
	{ "directory moved, its own names differ", { "D/=30 D/x=20", "E/=30 E/y=20" },
	  "1:D=0 1:E=30 30#1:x=0 30#1:y=20", NULL, { "E/=30 E/y=20" }, 0 },
	{ "rename over, words", { "a=20 b=21", "b=20" }, "1:a=0 1:b=20", NULL, { "b=20" }, 0 },
	{ "rename over, no words", { "b=20", "a=20 b=21" }, "", NULL, { "a=20", "a=20 b=21" }, 0 },
	{ "rename over a link", { "a=20 b=21 c@", "b=20 c=21" }, "1:a=0 1:b=20", NULL,
	  { "b=20 c=21" }, 0 },
	{ "rename over, undone", { "a=20 b=21 c@", "b=20 c=21" }, "", NULL,
	  { "a=20 b=21 c=21" }, 0 },
	{ "rename over an empty directory", { "D/=30 E/=31", "E/=30" }, "1:D=0 1:E=30", NULL,
	  { "E/=30" }, 0 },
	{ "exchange", { "a=20 b=21", "a=21 b=20" }, "1:a=21 1:b=20", NULL, { "a=21 b=20" }, 0 },
	{ "exchange, no words", { "a=20 b=21", "a=21 b=20" }, "", NULL, { "a=20 b=21" }, 0 },
	{ "exchange of a file and a directory", { "a=20 D/=30 D/x=22", "D=20 a/=30 a/x=22" },
	  "1:a=30 1:D=20", NULL, { "D=20 a/=30 a/x=22" }, 0 },
	{ "three in a ring", { "a=20 b=21 c=22", "a=22 b=20 c=21" }, "1:a=22 1:b=20 1:c=21", NULL,
	  { "a=22 b=20 c=21" }, 0 },
	{ "directories turned over", { "A/=30 A/B/=31", "B/=31 B/A/=30" },
	  "1:A=0 1:B=31 30#1:B=0 31#1:A=30", NULL, { "B/=31 B/A/=30" }, 0 },
	{ "two directories, each below the other by one word",
	  { "B/=31 B/x/=40 B/x/A/=30 B/x/A/y/=41", "A/=30 A/y/=41 A/y/B/=31 A/y/B/x/=40" },
	  "40#1:A=30 41#1:B=31", NULL, { "B/=31 B/x/=40 B/x/A/=30 B/x/A/y/=41" }, 0 },
	{ "chain, all words", { "a=20", "b=20", "c=20" }, "1:a=0 1:b=20 1:b=0 1:c=20", NULL,
	  { "c=20" }, 0 },
	{ "chain, first word", { "a=20", "b=20", "c=20" }, "1:a=0 1:b=20", NULL, { "b=20" }, 0 },
	{ "chain, last word", { "a=20", "b=20", "c=20" }, "1:b=0 1:c=20", NULL, { "c=20" }, 0 },
	{ "chain, no word", { "c=20", "b=20", "a=20" }, "", NULL, { "c=20" }, 0 },
	{ "chain of two", { "a=20 b=21", "b=20 c=21" }, "1:a=0 1:b=20 1:c=21", NULL,
	  { "b=20 c=21" }, 0 },
	{ "long chain", { "a=20 b=21 c=22 d=23", "b=20 c=21 d=22 e=23" },
	  "1:a=0 1:b=20 1:c=21 1:d=22 1:e=23", NULL, { "b=20 c=21 d=22 e=23" }, 0 },
	{ "link", { "a=20", "a=20 b@" }, "", NULL, { "a=20 b=20" }, 0 },
	{ "link, gone again", { "a=20", "a=20 b@" }, "1:b=0", NULL, { "a=20" }, 0 },
	{ "link and unlink by hand, between", { "a=20", "a=20 b@", "b=20" }, "", NULL,
	  { "a=20 b=20" }, 0 },
	{ "link and unlink by hand, done", { "a=20", "a=20 b@", "b=20" }, "1:a=0 1:b=20", NULL,
	  { "b=20" }, 0 },
	{ "link and unlink by hand, two", { "a=20", "b=20" }, "1:b=20", NULL, { "b=20" }, 0 },
	{ "two links never at once", { "a=20 b@", "a=20 c@" }, "1:b=0", NULL, { "a=20 c=20" }, 0 },
	{ "gone here, alive there", { "a=20", "b=20" }, "1:a=0", NULL, { "b=20" }, 0 },
	{ "gone here, said to be where nobody has it", { "a=20", "" }, "1:a=0 1:q=20", NULL,
	  { "a=20", "" }, 0 },
	{ "new directory, files moved into it", { "N*30 N/a=20", "a=20" }, "1:N=30 1:a=0 30#0:a=20",
	  "1.0:.", { "N*30 N/a=20" }, 0 },
	{ "new directory, files moved out", { "N*30 a=20", "N*30 N/a=20" }, "1:a=20 30#0:a=0",
	  "1.0:.", { "N*30 a=20" }, 0 },
	{ "new ones in new ones", { "N*30 N/O*31 N/O/a=20 N/b=21", "N*30" }, "", "1.0:.",
	  { "N*30 N/O*31 N/O/a=20 N/b=21", "N*30" }, 0 },
	{ "rename in a nested new one", { "N*30 N/O*31 N/O/a=20", "N*30 N/O*31 N/O/b=20" },
	  "31#0:a=0 31#0:b=20", "1.0:.", { "N*30 N/O*31 N/O/b=20" }, 0 },
	{ "directory moved into a new one", { "D/=40 D/a=20", "N*30 N/D/=40 N/D/a=20" },
	  "1:N=30 1:D=0 30#0:D=40", "1.0:.", { "N*30 N/D/=40 N/D/a=20" }, 0 },
	{ "directory moved into a new one, no words", { "D/=40 D/a=20", "N*30 N/D/=40 N/D/a=20" },
	  "", "1.0:.", { "D/=40 D/a=20", "D/=40 D/a=20 N*30" }, 0 },
	{ "a tree removed", { "D/=30 D/E/=31 D/E/a=20", "" }, "1:D=0 30#1:E=0 31#1:a=0", NULL,
	  { "" }, 0 },
	{ "a tree removed, no word for what is in it", { "D/=30 D/E/=31 D/E/a=20", "" },
	  "1:D=0 30#1:E=0", NULL, { "D/=30 D/E/=31 D/E/a=20", "" }, 0 },
	{ "directory emptied into another and removed", { "D/=30 D/a=20", "a=20" },
	  "1:D=0 1:a=20 30#1:a=0", NULL, { "a=20" }, 0 },
	{ "directory emptied and removed, undone", { "D/=30 D/a=20", "a=20" }, "", NULL,
	  { "D/=30 D/a=20" }, 0 },
	{ "another made in its place", { "a=20", "a=21" }, "1:a=21", NULL, { "", "a=21" }, 0 },
	{ "another made in its place, no word", { "a=20", "a=21" }, "", NULL, { "a=20", "" }, 1 },
	{ "directory replaced by a file", { "a/=30 a/x=20", "a=21" }, "30#1:x=0 1:a=21", NULL,
	  { "", "a=21" }, 0 },
	{ "the path when marked is stale", { "D/=30 D/a=20", "D/=30 D/b=20" },
	  "30#1:a=0 30#1:b=20", "1.0:. 30.1:X/Y", { "D/=30 D/b=20" }, 0 },
	{ "a directory above moved",
	  { "P/=30 Q/=31 Q/A/=32 Q/A/B/=33 Q/A/B/a=20",
	    "P/=30 Q/=31 P/A/=32 P/A/B/=33 P/A/B/b=20" },
	  "30#1:A=0 31#1:A=32 33#1:a=0 33#1:b=20", "30.1:P 31.1:Q 33.1:P/A/B",
	  { "P/=30 Q/=31 Q/A/=32 Q/A/B/=33 Q/A/B/b=20" }, 0 },
	{ "found on one mirror only, nothing known of the other",
	  { "A/=32 A/B/=33 A/B/a=20", "C/=32 C/B/=33 C/B/b=20" }, "33#1:a=0 33#1:b=20", "33.1:A/B",
	  { "A/=32 A/B/=33 A/B/a=20", "C/=32 C/B/=33 C/B/b=20" }, 0 },
	{ "all agree", { "a=20 D/=30 D/b=21", "a=20 D/=30 D/b=21" }, "1:a=0 30#1:b=0", NULL,
	  { "a=20 D/=30 D/b=21" }, 0 },
};

static uint64_t add_entry(struct bench *b, int m, char *entry, char *last)
{
	char *end = strpbrk(entry, "=*@");
	uint64_t id = strtoull(end + 1, NULL, 10);
	bool isnew = *end == '*', islink = *end == '@';

	*end = '\0';
	if (isnew || end[-1] == '/') {
		end[isnew ? 0 : -1] = '\0';
		make_dir(b, m, entry, id, isnew ? 0 : 1, true);
		return id;
	}
	if (islink) {
		assert_int_equal(linkat(b->v->m[m].rootfd, last, b->v->m[m].rootfd, entry, 0), 0);
		return 0;
	}
	make_file(b, m, entry, id);
	strcpy(last, entry);
	return 0;
}

static void build(struct bench *b, int m, const char *tree, bool all_dirty)
{
	char *text = strdup(tree), *save = NULL, last[300] = "";

	for (char *e = strtok_r(text, " ", &save); e; e = strtok_r(NULL, " ", &save)) {
		char path[300];
		bool old = strstr(e, "/=");
		uint64_t id, at;

		snprintf(path, sizeof(path), "%.*s", old ? (int)(strstr(e, "/=") - e) : 0, e);
		id = add_entry(b, m, e, last);
		if (old && id && all_dirty && !map_get(&b->r.dirs, id, &at))
			say_dirty(b, id, 1, path);
	}
	free(text);
}

static void say_words(struct bench *b, const char *words)
{
	char *text = strdup(words), *save = NULL;

	for (char *e = strtok_r(text, " ", &save); e; e = strtok_r(NULL, " ", &save)) {
		unsigned long long dir, gen = 0, id;
		char name[300];

		if (sscanf(e, "%llu#%llu:%299[^=]=%llu", &dir, &gen, name, &id) != 4) {
			gen = 0;
			assert_int_equal(sscanf(e, "%llu:%299[^=]=%llu", &dir, name, &id), 3);
		}
		say_name(b, dir, gen, name, id);
	}
	free(text);
}

static void say_all_dirty(struct bench *b, const char *dirty)
{
	char *text = strdup(dirty), *save = NULL;

	for (char *e = strtok_r(text, " ", &save); e; e = strtok_r(NULL, " ", &save)) {
		unsigned long long id, gen;
		char path[300];

		assert_int_equal(sscanf(e, "%llu.%llu:%299s", &id, &gen, path), 3);
		say_dirty(b, id, gen, path);
	}
	free(text);
}

static int word_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* As dump() writes it: sorted, and a new directory looks like any. */
static char *canonical(const char *tree)
{
	char *text = strdup(tree), *save = NULL, *word[64], *out = calloc(1, TEXT_MAX);
	size_t n = 0;

	for (char *e = strtok_r(text, " ", &save); e; e = strtok_r(NULL, " ", &save)) {
		word[n++] = e;
	}
	qsort(word, n, sizeof(*word), word_order);
	for (size_t i = 0; i < n; i++) {
		size_t len = strcspn(word[i], "*");

		sprintf(out + strlen(out), "%s%.*s%s%s", i ? " " : "", (int)len, word[i],
			word[i][len] ? "/=" : "", word[i][len] ? word[i] + len + 1 : "");
	}
	free(text);
	return out;
}

static char *dump_sorted(struct bench *b, int m)
{
	char *raw = dump(b, m), *out = canonical(raw);

	free(raw);
	return out;
}

static struct bench *bench_of(const struct row *r)
{
	int n = r->tree[2] ? 3 : 2;
	struct bench *b = bench_new(n);

	if (r->dirty)
		say_all_dirty(b, r->dirty);
	else
		say_dirty(b, 1, 0, ".");
	for (int m = 0; m < n; m++)
		build(b, m, r->tree[m], !r->dirty);
	say_words(b, r->words);
	return b;
}

static void expect(struct bench *b, const struct row *r, const char *when)
{
	for (unsigned m = 0; m < b->v->n; m++) {
		char *want = canonical(r->want[m] ? r->want[m] : r->want[0]);
		char *got = dump_sorted(b, (int)m);

		if (strcmp(want, got) != 0)
			fail_msg("%s%s: mirror %u is \"%s\", should be \"%s\"", r->what, when, m,
				 got, want);
		if (left_in_tmp(b, (int)m))
			fail_msg("%s%s: mirror %u has something left in tmp", r->what, when, m);
		free(want);
		free(got);
	}
	if (bench_quarantined(b) != r->quarantined)
		fail_msg("%s%s: %llu in quarantine, should be %u", r->what, when,
			 (unsigned long long)bench_quarantined(b), r->quarantined);
}

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMS(rows); i++) {
		struct bench *b = bench_of(&rows[i]);
		unsigned before;

		assert_int_equal(recovery_names(b->v), 0);
		expect(b, &rows[i], "");
		before = calls;
		assert_int_equal(recovery_names(b->v), 0);
		expect(b, &rows[i], ", again");
		if (calls != before)
			fail_msg("%s: the second run changed something", rows[i].what);
		bench_free(b);
	}
}

/* Cut after each call that changes a name; the next run ends as one uncut. */
static void test_cut(void **state)
{
	unsigned cuts = 0;

	(void)state;
	for (size_t i = 0; i < N_ELEMS(rows); i++) {
		bool ended = false;

		for (int after = 0; !ended; after++) {
			struct bench *b = bench_of(&rows[i]);
			char when[32];
			int status;
			pid_t pid = fork();

			assert_true(pid >= 0);
			if (pid == 0) {
				calls_left = after;
				_exit(recovery_names(b->v) == 0 ? 0 : 1);
			}
			assert_int_equal(waitpid(pid, &status, 0), pid);
			assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 1);
			ended = WEXITSTATUS(status) == 0;
			for (unsigned m = 0; m < b->v->n; m++) {
				quarantine_close(&b->v->m[m].quarantine);
				assert_int_equal(quarantine_open(&b->v->m[m].quarantine,
								 b->v->m[m].dotfd, 1u << 30), 0);
			}
			assert_int_equal(recovery_names(b->v), 0);
			snprintf(when, sizeof(when), ", cut after %d", after);
			expect(b, &rows[i], when);
			bench_free(b);
			cuts += !ended;
		}
	}
	print_message("%u cuts\n", cuts);
	assert_true(cuts > N_ELEMS(rows));
}

static void test_odd_names(void **state)
{
	char longest[256], odd[] = "new\nline \xff\xfe \\ ";
	struct bench *b = bench_new(2);

	(void)state;
	memset(longest, 'n', 255);
	longest[255] = '\0';
	say_dirty(b, 1, 0, ".");
	make_file(b, 0, longest, 20);
	make_file(b, 1, odd, 20);
	make_file(b, 0, "x", 21);
	say_name(b, 1, 0, longest, 0);
	say_name(b, 1, 0, odd, 20);
	say_name(b, 1, 0, "x", 0);
	assert_int_equal(recovery_names(b->v), 0);
	for (int m = 0; m < 2; m++) {
		assert_true(exists(b->v->m[m].rootfd, odd));
		assert_false(exists(b->v->m[m].rootfd, longest));
		assert_false(exists(b->v->m[m].rootfd, "x"));
	}
	bench_free(b);
}

/* Everything that has a name, and nothing that a link leads to. */
static void test_types(void **state)
{
	struct bench *b = bench_new(2);
	int r0 = b->v->m[0].rootfd, r1 = b->v->m[1].rootfd;

	(void)state;
	if (geteuid() != 0) {
		print_message("no trusted xattrs without privilege: skipped\n");
		bench_free(b);
		skip();
	}
	assert_int_equal(symlinkat("/etc", r0, "s"), 0);
	put_record(b, 0, r0, "s", TYPE_OF(S_IFLNK), 20, 0, true);
	assert_int_equal(symlinkat("/etc", r1, "t"), 0);
	put_record(b, 1, r1, "t", TYPE_OF(S_IFLNK), 20, 0, true);
	assert_int_equal(mknodat(r0, "p", S_IFIFO | 0600, 0), 0);
	put_record(b, 0, r0, "p", TYPE_OF(S_IFIFO), 21, 0, true);
	assert_int_equal(symlinkat("nowhere", r0, "bare"), 0);
	say_dirty(b, 1, 0, ".");
	say_dirty(b, 20, 0, "s");
	say_name(b, 1, 0, "s", 0);
	say_name(b, 1, 0, "t", 20);
	say_name(b, 1, 0, "p", 0);
	assert_int_equal(recovery_names(b->v), 0);
	assert_false(exists(r0, "s"));
	assert_true(exists(r0, "t"));
	assert_false(exists(r0, "p"));
	assert_true(exists(r0, "bare")); /* not empty: left to the checks */
	bench_free(b);
}

static void test_dot_dir_is_not_entered(void **state)
{
	struct bench *b = bench_new(2);

	(void)state;
	for (int m = 0; m < 2; m++) {
		make_dir(b, m, ".mirrorfs/x", 30, 1, true);
		make_dir(b, m, "lost+found", 0, 1, true);
	}
	make_file(b, 0, ".mirrorfs/x/a", 20);
	make_file(b, 0, "lost+found/a", 0);
	say_dirty(b, 1, 0, ".");
	say_dirty(b, 30, 1, ".mirrorfs/x");
	say_name(b, 30, 1, "a", 0);
	assert_int_equal(recovery_names(b->v), 0);
	assert_true(exists(b->v->m[0].rootfd, ".mirrorfs/x/a"));
	assert_true(exists(b->v->m[0].rootfd, "lost+found/a"));
	bench_free(b);
}

/* One that holds what nobody knows stays. */
static void test_directory_not_empty(void **state)
{
	struct bench *b = bench_new(2);

	(void)state;
	make_dir(b, 0, "D", 30, 1, true);
	make_file(b, 0, "D/a", 20);
	put_file(b->v->m[0].rootfd, "D/stranger", "x", 1);
	say_dirty(b, 1, 0, ".");
	say_dirty(b, 30, 1, "D");
	say_name(b, 30, 1, "a", 0);
	say_name(b, 1, 0, "D", 0);
	assert_int_equal(recovery_names(b->v), 0);
	assert_true(exists(b->v->m[0].rootfd, "D/stranger"));
	assert_false(exists(b->v->m[0].rootfd, "D/a"));
	bench_free(b);
}

/* A made directory is a copy of the other one. */
static void test_made_directory(void **state)
{
	struct bench *b = bench_new(2);
	struct stat st;

	(void)state;
	make_dir(b, 0, "N", 30, 0, true);
	assert_int_equal(fchmodat(b->v->m[0].rootfd, "N", 0750, 0), 0);
	make_file(b, 0, "N/a", 20);
	make_file(b, 1, "a", 20);
	say_dirty(b, 1, 0, ".");
	say_name(b, 1, 0, "a", 0);
	say_name(b, 1, 0, "N", 30);
	assert_int_equal(recovery_names(b->v), 0);
	assert_int_equal(fstatat(b->v->m[1].rootfd, "N", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(id_at(b, 1, b->v->m[1].rootfd, "N"), 30);
	assert_true(exists(b->v->m[1].rootfd, "N/a"));
	bench_free(b);
}

static void test_failed_sync_ejects(void **state)
{
	struct bench *b = bench_new(2);

	(void)state;
	log_set_level((enum log_level)-1);
	make_file(b, 0, "a", 20);
	make_file(b, 1, "b", 20);
	say_dirty(b, 1, 0, ".");
	fail_sync_of = b->v->m[1].rootfd;
	assert_int_equal(recovery_names(b->v), 0);
	fail_sync_of = -1;
	assert_int_equal(volume_in_sync(b->v), 1);
	bench_free(b);
}

static void test_read_only(void **state)
{
	struct bench *b = bench_new(2);
	unsigned before;

	(void)state;
	make_file(b, 0, "a", 20);
	make_file(b, 1, "b", 20);
	say_dirty(b, 1, 0, ".");
	b->v->opt.read_only = true;
	before = calls;
	assert_int_equal(recovery_names(b->v), 0);
	assert_int_equal(calls, before);
	bench_free(b);
}

/* What an earlier run left: to its place by a word, else to quarantine. */
static void test_parked(void **state)
{
	struct bench *b = bench_new(2);
	int root = b->v->m[0].rootfd;

	(void)state;
	assert_int_equal(mkdirat(root, ".mirrorfs/tmp", 0700), 0);
	make_file(b, 0, ".mirrorfs/tmp/names-0000000000000014", 20);
	make_file(b, 0, ".mirrorfs/tmp/names-0000000000000015", 21);
	make_dir(b, 0, ".mirrorfs/tmp/names-new", 0, 0, false);
	make_file(b, 0, ".mirrorfs/tmp/0000000000000016", 22);
	say_dirty(b, 1, 0, ".");
	say_name(b, 1, 0, "a", 20);
	assert_int_equal(recovery_names(b->v), 0);
	assert_int_equal(id_at(b, 0, root, "a"), 20);
	assert_int_equal(bench_quarantined(b), 1);
	assert_int_equal(left_in_tmp(b, 0), 1); /* not ours */
	bench_free(b);
}

/* Only the last name takes the leaf hashes with it. */
static void test_hashes_of_a_link_stay(void **state)
{
	struct bench *b = bench_new(2);
	struct mirror *x = &b->v->m[0];

	(void)state;
	assert_int_equal(io_mkdirs(x->dotfd, "hashes/14/00"), 0);
	assert_int_equal(io_mkdirs(x->dotfd, "hashes/15/00"), 0);
	put_file(x->dotfd, "hashes/14/00/0000000000000014", "x", 1);
	put_file(x->dotfd, "hashes/15/00/0000000000000015", "x", 1);
	make_dir(b, 0, "clean", 30, 1, false);
	make_file(b, 0, "clean/a", 20);
	assert_int_equal(linkat(x->rootfd, "clean/a", x->rootfd, "a", 0), 0);
	make_file(b, 0, "b", 21);
	make_dir(b, 1, "clean", 30, 1, false);
	make_file(b, 1, "clean/a", 20);
	say_dirty(b, 1, 0, ".");
	say_name(b, 1, 0, "a", 0);
	say_name(b, 1, 0, "b", 0);
	assert_int_equal(recovery_names(b->v), 0);
	assert_false(exists(x->rootfd, "a"));
	assert_false(exists(x->rootfd, "b"));
	assert_true(exists(x->dotfd, "hashes/14/00/0000000000000014"));
	assert_false(exists(x->dotfd, "hashes/15/00/0000000000000015"));
	bench_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_odd_names),
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_dot_dir_is_not_entered),
		cmocka_unit_test(test_directory_not_empty),
		cmocka_unit_test(test_made_directory),
		cmocka_unit_test(test_failed_sync_ejects),
		cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_parked),
		cmocka_unit_test(test_hashes_of_a_link_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
