/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Made by one format a kind, and parsed by making it again: what is not byte
 * for byte the name we would give is none of ours, so no number has two spellings. No locks.
 */
#include "replica/remote/object_name.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "replica/remote/manifest_text.h"

#define N_ELEMS(a) (sizeof(a) / sizeof((a)[0]))

/* What comes after the folder. */
enum shape { NOTHING, SEQ20, XX_ID_SEQ, XX_ID_SEQ_PAGE, ID_SEQ };

static const struct {
	const char *folder;
	enum shape shape;
} shapes[] = {
	[OBJECT_FORMAT] = { OBJECT_FOLDER "/format", NOTHING },
	[OBJECT_HEAD] = { OBJECT_FOLDER_HEAD "/", SEQ20 },
	[OBJECT_INTENT] = { OBJECT_FOLDER_INTENT "/", SEQ20 },
	[OBJECT_DIR] = { OBJECT_FOLDER_DIR "/", XX_ID_SEQ },
	[OBJECT_PAGE] = { OBJECT_FOLDER_DIR "/", XX_ID_SEQ_PAGE },
	[OBJECT_LEAF] = { OBJECT_FOLDER_LEAF "/", XX_ID_SEQ },
	[OBJECT_ID] = { OBJECT_FOLDER_ID "/", XX_ID_SEQ },
	[OBJECT_ASIDE] = { OBJECT_FOLDER_ASIDE "/", ID_SEQ },
};

void object_name_make(const struct object_name *o, char out[OBJECT_NAME_MAX])
{
	enum shape shape = shapes[o->kind].shape;
	char xx[4] = "", id[17] = "", seq[24] = "", page[16] = "";

	if (shape >= XX_ID_SEQ && shape <= XX_ID_SEQ_PAGE)
		snprintf(xx, sizeof(xx), "%02x/", (unsigned)(o->id & 0xff));
	if (shape >= XX_ID_SEQ)
		snprintf(id, sizeof(id), "%016" PRIx64, o->id);
	if (shape == SEQ20)
		snprintf(seq, sizeof(seq), "%020" PRIu64, o->seq);
	if (shape >= XX_ID_SEQ)
		snprintf(seq, sizeof(seq), "-%" PRIu64, o->seq);
	if (shape == XX_ID_SEQ_PAGE)
		snprintf(page, sizeof(page), "p%u", o->page);
	snprintf(out, OBJECT_NAME_MAX, "%s%s%s%s%s", shapes[o->kind].folder, xx, id, seq, page);
}

/* Loosely; the comparison afterwards is strict. */
static void read_numbers(const char *s, enum shape shape, struct object_name *o)
{
	char *end = (char *)s;

	if (shape >= XX_ID_SEQ && shape <= XX_ID_SEQ_PAGE && strlen(s) > 3)
		end += 3;
	if (shape >= XX_ID_SEQ)
		o->id = strtoull(end, &end, 16);
	if (shape >= XX_ID_SEQ && *end == '-')
		end++;
	if (shape == SEQ20 || shape >= XX_ID_SEQ)
		o->seq = strtoull(end, &end, 10);
	if (shape == XX_ID_SEQ_PAGE && *end == 'p')
		o->page = (unsigned)strtoul(end + 1, NULL, 10);
}

int object_name_parse(const char *name, struct object_name *o)
{
	char again[OBJECT_NAME_MAX];
	size_t n;
	unsigned i;

	for (i = 0; i < N_ELEMS(shapes); i++) {
		n = strlen(shapes[i].folder);
		if (strncmp(name, shapes[i].folder, n))
			continue;
		*o = (struct object_name){ .kind = (enum object_kind)i };
		read_numbers(name + n, shapes[i].shape, o);
		object_name_make(o, again);
		if (!strcmp(name, again))
			return 0;
	}
	return -EINVAL;
}

static void make(char *out, enum object_kind kind, uint64_t id, uint64_t seq, unsigned page)
{
	struct object_name o = { .kind = kind, .id = id, .seq = seq, .page = page };

	object_name_make(&o, out);
}

void object_name_format(char out[OBJECT_NAME_MAX])
{
	make(out, OBJECT_FORMAT, 0, 0, 0);
}

void object_name_head(char out[OBJECT_NAME_MAX], uint64_t seq)
{
	make(out, OBJECT_HEAD, 0, seq, 0);
}

void object_name_intent(char out[OBJECT_NAME_MAX], uint64_t seq)
{
	make(out, OBJECT_INTENT, 0, seq, 0);
}

void object_name_dir(char out[OBJECT_NAME_MAX], uint64_t id, uint64_t seq)
{
	make(out, OBJECT_DIR, id, seq, 0);
}

void object_name_page(char out[OBJECT_NAME_MAX], uint64_t id, uint64_t seq, unsigned page)
{
	make(out, OBJECT_PAGE, id, seq, page);
}

void object_name_leaf(char out[OBJECT_NAME_MAX], uint64_t id, uint64_t seq)
{
	make(out, OBJECT_LEAF, id, seq, 0);
}

void object_name_id(char out[OBJECT_NAME_MAX], uint64_t id, uint64_t seq)
{
	make(out, OBJECT_ID, id, seq, 0);
}

void object_name_aside(char out[OBJECT_NAME_MAX], uint64_t id, uint64_t seq)
{
	make(out, OBJECT_ASIDE, id, seq, 0);
}

/* ---- names of files ---- */

/* What servers keep for themselves or refuse as they are set up by default, in any case. */
static const struct {
	const char *text;
	bool begins; /* names that begin so too */
} taken[] = {
	{ OBJECT_FOLDER, false },
	{ ".dav", false },	/* Apache: state of mod_dav */
	{ ".davfs.tmp", true }, /* Apache: uploads under way, left out of listings */
	{ ".ht", true },	/* Apache: denied, and .htaccess would be obeyed */
};

static bool is_taken(const char *s, size_t n)
{
	size_t i, want;

	for (i = 0; i < N_ELEMS(taken); i++) {
		want = strlen(taken[i].text);
		if ((n == want || (taken[i].begins && n > want)) &&
		    !strncasecmp(s, taken[i].text, want))
			return true;
	}
	return false;
}

/* U+FFFE and U+FFFF cannot stand in XML, so not in a listing. */
static bool breaks_xml(const char *s, size_t n)
{
	return memmem(s, n, "\xef\xbf\xbe", 3) || memmem(s, n, "\xef\xbf\xbf", 3);
}

static bool changes_with_case(const char *s, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if ((s[i] >= 'A' && s[i] <= 'Z') || (uint8_t)s[i] >= 0x80)
			return true;
	return false;
}

static bool plain(const char *s, size_t n, bool folds_case)
{
	if (!n || n > OBJECT_PLAIN_MAX || (n <= 2 && !memcmp(s, "..", n)))
		return false;
	/* lighttpd denies names that end so, and writes such ones itself. */
	if (s[n - 1] == '~' || memchr(s, '/', n) || memchr(s, '\\', n))
		return false;
	if (!text_plain(s, n) || breaks_xml(s, n) || is_taken(s, n))
		return false;
	return !folds_case || !changes_with_case(s, n);
}

bool object_name_plain(const char *name, bool folds_case)
{
	return plain(name, strlen(name), folds_case);
}

bool object_path_plain(const char *path, bool folds_case)
{
	size_t n;

	if (!*path)
		return true;
	if (strlen(path) > OBJECT_PATH_MAX)
		return false;
	for (;; path += n + 1) {
		n = strcspn(path, "/");
		if (!plain(path, n, folds_case))
			return false;
		if (!path[n])
			return true;
	}
}
