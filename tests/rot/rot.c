/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rot: plants random damages in a mirror, below the filesystem.
 *
 *   rot -s SEED -n COUNT -m MANIFEST [-k KINDS] [-x MANIFEST] [-b DIR] MIRROR [PATHS]
 *   rot -q DIR QUARANTINE...
 *   rot -l
 *
 * Draws COUNT objects of the mirror's tree (of the paths listed in PATHS, one
 * escaped path a line, if given), none twice and none that -x names, and does
 * one damage to each; KINDS is a comma separated list. The same seed on the
 * same tree does the same. MANIFEST gets one line a damage, tab separated:
 * kind, path (bytes other than printable ASCII, and backslash, as \ooo),
 * offset, length, old bytes in hex (the first 16), number of the file in the
 * -b DIR that holds the bad bytes or -, detail.
 *
 * -q says whether every file of DIR is found, byte for byte, inside some file
 * below the QUARANTINE directories: a repair must have kept what it replaced.
 */
#include "tests/rot/damage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HIDDEN ".mirrorfs"
#define TRIES 4000 /* draws for one damage before giving up */

struct taken {
	char *path;
	bool structural;
};

struct rot {
	struct rng rng;
	struct object *objects;
	size_t n_objects;
	struct taken *taken;
	size_t n_taken;
	bool *kinds;       /* enabled, by index of damage_kinds */
	FILE *manifest;
	int blobs;         /* directory for bad bytes, or -1 */
	unsigned planted, wanted;
};

static struct rot rot = { .blobs = -1 };

static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *fmt, ...)
{
	va_list ap;

	fputs("rot: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

static void *grow(void *array, size_t n, size_t size)
{
	/* doubled at each power of two */
	if (n != 0 && (n & (n - 1)) != 0)
		return array;
	array = realloc(array, (n == 0 ? 1 : 2 * n) * size);
	if (array == NULL)
		die("out of memory");
	return array;
}

static char *copy(const char *s)
{
	char *c = strdup(s);

	if (c == NULL)
		die("out of memory");
	return c;
}

/* ---- the tree ---- */

static int is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(path, dir, n) == 0 && path[n] == '/';
}

static int add_object(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	struct object *o;

	(void)type;
	if (ftw->level == 0)
		return FTW_CONTINUE;
	path += strlen("./");
	if (ftw->level == 1 && strcmp(path, HIDDEN) == 0)
		return FTW_SKIP_SUBTREE;
	rot.objects = grow(rot.objects, rot.n_objects, sizeof(*rot.objects));
	o = &rot.objects[rot.n_objects++];
	*o = (struct object){ .path = copy(path), .st = *st };
	return FTW_CONTINUE;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct object *)a)->path, ((const struct object *)b)->path);
}

static void scan(void)
{
	if (nftw(".", add_object, 32, FTW_PHYS | FTW_ACTIONRETVAL) != 0)
		die("cannot walk the mirror: %s", strerror(errno));
	if (rot.n_objects != 0)
		qsort(rot.objects, rot.n_objects, sizeof(*rot.objects), by_path);
}

/* What was marked takes its other names with it: they are the same object. */
static void take_links(const struct object *o)
{
	if (o->st.st_nlink < 2 || S_ISDIR(o->st.st_mode))
		return;
	for (size_t i = 0; i < rot.n_objects; i++)
		if (rot.objects[i].st.st_ino == o->st.st_ino &&
		    rot.objects[i].st.st_dev == o->st.st_dev)
			rot.objects[i].used = true;
}

/* Marks path as dealt with, and what a structural damage takes away with it. */
static void take(const char *path, bool structural)
{
	rot.taken = grow(rot.taken, rot.n_taken, sizeof(*rot.taken));
	rot.taken[rot.n_taken++] = (struct taken){ copy(path), structural };
	for (size_t i = 0; i < rot.n_objects; i++) {
		struct object *o = &rot.objects[i];

		if (strcmp(o->path, path) == 0 || (structural && is_below(o->path, path))) {
			o->used = true;
			take_links(o);
		}
	}
}

/* Whether a structural damage to dir would hide one that was planted. */
static bool holds_taken(const char *dir)
{
	for (size_t i = 0; i < rot.n_taken; i++)
		if (is_below(rot.taken[i].path, dir))
			return true;
	return false;
}

/* ---- escaped paths ---- */

static void put_escaped(FILE *f, const char *path)
{
	for (const unsigned char *p = (const unsigned char *)path; *p != '\0'; p++)
		if (*p < ' ' || *p > '~' || *p == '\\')
			fprintf(f, "\\%03o", *p);
		else
			fputc(*p, f);
}

static void unescape(char *s)
{
	char *out = s;

	while (*s != '\0') {
		if (s[0] == '\\' && s[1] != '\0' && s[2] != '\0' && s[3] != '\0') {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*out++ = *s++;
		}
	}
	*out = '\0';
}

static FILE *open_file(const char *path, const char *mode)
{
	FILE *f = fopen(path, mode);

	if (f == NULL)
		die("%s: %s", path, strerror(errno));
	return f;
}

/* Takes every object that the manifest of another mirror names. */
static void exclude(FILE *f)
{
	char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, f) > 0) {
		char *save, *kind = strtok_r(line, "\t\n", &save);
		char *path = strtok_r(NULL, "\t\n", &save);
		bool structural = false;

		if (kind == NULL || path == NULL)
			die("a line of the manifest to exclude has no path");
		for (size_t k = 0; k < damage_n_kinds; k++)
			if (strcmp(damage_kinds[k].name, kind) == 0)
				structural = damage_kinds[k].structural;
		unescape(path);
		take(path, structural);
	}
	free(line);
}

/* Only the listed paths stay in the draw. */
static void restrict_to(FILE *f)
{
	char *line = NULL;
	size_t size = 0;
	bool *listed = calloc(rot.n_objects + 1, sizeof(*listed));

	if (listed == NULL)
		die("out of memory");
	while (getline(&line, &size, f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		unescape(line);
		for (size_t i = 0; i < rot.n_objects; i++)
			if (strcmp(rot.objects[i].path, line) == 0)
				listed[i] = true;
	}
	for (size_t i = 0; i < rot.n_objects; i++)
		rot.objects[i].used |= !listed[i];
	free(listed);
	free(line);
}

/* ---- planting ---- */

static bool keep_bad_bytes(const struct damage *d)
{
	char name[24];
	int fd;

	if (rot.blobs < 0 || d->bad_len == 0)
		return false;
	snprintf(name, sizeof(name), "%06u", rot.planted);
	fd = openat(rot.blobs, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || write(fd, d->bad, d->bad_len) != (ssize_t)d->bad_len || close(fd) != 0)
		die("cannot keep bad bytes as %s: %s", name, strerror(errno));
	return true;
}

static void put_line(const struct kind *k, const struct damage *d)
{
	fprintf(rot.manifest, "%s\t", k->name);
	put_escaped(rot.manifest, d->path);
	fprintf(rot.manifest, "\t%" PRIu64 "\t%" PRIu64 "\t", d->off, d->len);
	for (size_t i = 0; i < d->old_len && i < 16; i++)
		fprintf(rot.manifest, "%02x", d->old[i]);
	if (d->old_len == 0)
		fputc('-', rot.manifest);
	if (keep_bad_bytes(d))
		fprintf(rot.manifest, "\t%06u\t", rot.planted);
	else
		fputs("\t-\t", rot.manifest);
	put_escaped(rot.manifest, d->detail[0] != '\0' ? d->detail : "-");
	fputc('\n', rot.manifest);
}

static bool fits(const struct kind *k, const struct object *o)
{
	if (o->used || (k->types & 1u << ((o->st.st_mode & S_IFMT) >> 12)) == 0)
		return false;
	return !k->structural || !holds_taken(o->path);
}

/* Returns whether a damage of kind k was done to object o. */
static bool plant(const struct kind *k, struct object *o)
{
	struct damage d = { .off = 0 };
	int r;

	if (!fits(k, o))
		return false;
	snprintf(d.path, sizeof(d.path), "%s", o->path);
	r = k->plant(&rot.rng, o, &d);
	if (r < 0)
		die("%s %s: %s", k->name, o->path, strerror(-r));
	if (r != PLANT_DONE)
		return false;
	put_line(k, &d);
	rot.planted++;
	take(d.path, k->structural);
	return true;
}

static void plant_all(void)
{
	unsigned tries = 0;

	while (rot.planted < rot.wanted && tries++ < TRIES) {
		size_t k = rng_below(&rot.rng, damage_n_kinds);

		if (!rot.kinds[k])
			continue;
		/* some draws for one kind, so that rare ones come up as often */
		for (unsigned i = 0; i < 200 && rot.n_objects != 0; i++) {
			size_t o = rng_below(&rot.rng, rot.n_objects);

			if (plant(&damage_kinds[k], &rot.objects[o])) {
				tries = 0;
				break;
			}
		}
	}
}

static void choose_kinds(const char *list)
{
	rot.kinds = calloc(damage_n_kinds, sizeof(*rot.kinds));
	if (rot.kinds == NULL)
		die("out of memory");
	for (size_t k = 0; k < damage_n_kinds; k++)
		rot.kinds[k] = list == NULL;
	while (list != NULL && *list != '\0') {
		size_t n = strcspn(list, ","), k;

		for (k = 0; k < damage_n_kinds; k++)
			if (strlen(damage_kinds[k].name) == n &&
			    memcmp(damage_kinds[k].name, list, n) == 0)
				break;
		if (k == damage_n_kinds)
			die("no such kind of damage: %.*s (see rot -l)", (int)n, list);
		rot.kinds[k] = true;
		list += n + (list[n] == ',');
	}
}

/* ---- the quarantine ---- */

static struct {
	struct haystack {
		uint8_t *bytes;
		size_t len;
	} *items;
	size_t n;
} kept;

static int load_item(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	uint8_t *bytes;
	int fd;

	(void)ftw;
	if (type != FTW_F || !S_ISREG(st->st_mode) || st->st_size == 0)
		return 0;
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return errno;
	bytes = mmap(NULL, (size_t)st->st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (bytes == MAP_FAILED)
		return errno;
	kept.items = grow(kept.items, kept.n, sizeof(*kept.items));
	kept.items[kept.n++] = (struct haystack){ bytes, (size_t)st->st_size };
	return 0;
}

static bool is_kept(const uint8_t *bad, size_t len)
{
	for (size_t i = 0; i < kept.n; i++)
		if (memmem(kept.items[i].bytes, kept.items[i].len, bad, len) != NULL)
			return true;
	return false;
}

static bool blob_is_kept(const char *dir, const char *name)
{
	char path[4096];
	uint8_t bad[BLOCK];
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = open_file(path, "r");
	len = fread(bad, 1, sizeof(bad), f);
	fclose(f);
	if (is_kept(bad, len))
		return true;
	printf("%s: not in the quarantine\n", name);
	return false;
}

static int check_quarantine(const char *dir, char **quarantines)
{
	struct dirent **names;
	int n = scandir(dir, &names, NULL, alphasort), missing = 0, seen = 0;

	if (n < 0)
		die("%s: %s", dir, strerror(errno));
	for (; *quarantines != NULL; quarantines++)
		if (nftw(*quarantines, load_item, 32, FTW_PHYS) != 0)
			die("cannot read %s", *quarantines);
	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.') {
			seen++;
			missing += !blob_is_kept(dir, names[i]->d_name);
		}
		free(names[i]);
	}
	free(names);
	printf("%d of %d bad pieces are in the quarantine\n", seen - missing, seen);
	return missing == 0 ? 0 : 1;
}

/* ---- command line ---- */

struct arguments {
	const char *manifest, *kinds, *exclude, *blobs, *quarantine;
	bool have_seed;
};

static int list_kinds(void)
{
	for (size_t k = 0; k < damage_n_kinds; k++)
		puts(damage_kinds[k].name);
	return 0;
}

static uint64_t number(const char *s)
{
	char *end;
	uint64_t n = strtoull(s, &end, 0);

	if (*s == '\0' || *end != '\0')
		die("not a number: %s", s);
	return n;
}

static void usage(void) __attribute__((noreturn));
static void usage(void)
{
	fputs("usage: rot -s SEED -n COUNT -m MANIFEST [-k KINDS] [-x MANIFEST] [-b DIR]"
	      " MIRROR [PATHS]\n       rot -q DIR QUARANTINE...\n       rot -l\n", stderr);
	exit(2);
}

static void parse(int argc, char **argv, struct arguments *a)
{
	int c;

	while ((c = getopt(argc, argv, "s:n:m:k:x:b:q:l")) != -1) {
		switch (c) {
		case 's':
			rot.rng.state = number(optarg);
			a->have_seed = true;
			break;
		case 'n': rot.wanted = (unsigned)number(optarg); break;
		case 'm': a->manifest = optarg; break;
		case 'k': a->kinds = optarg; break;
		case 'x': a->exclude = optarg; break;
		case 'b': a->blobs = optarg; break;
		case 'q': a->quarantine = optarg; break;
		case 'l': exit(list_kinds());
		default: usage();
		}
	}
}

/* Everything named on the command line is opened before the mirror becomes
 * the working directory. */
static void run(char **args, const struct arguments *a)
{
	FILE *paths = args[1] != NULL ? open_file(args[1], "r") : NULL;
	FILE *others = a->exclude != NULL ? open_file(a->exclude, "r") : NULL;

	rot.manifest = open_file(a->manifest, "w");
	if (a->blobs != NULL) {
		rot.blobs = open(a->blobs, O_RDONLY | O_DIRECTORY);
		if (rot.blobs < 0)
			die("%s: %s", a->blobs, strerror(errno));
	}
	if (chdir(args[0]) != 0)
		die("%s: %s", args[0], strerror(errno));
	choose_kinds(a->kinds);
	scan();
	if (paths != NULL)
		restrict_to(paths);
	if (others != NULL)
		exclude(others);
	plant_all();
	if (ferror(rot.manifest) != 0 || fclose(rot.manifest) != 0)
		die("%s: cannot write", a->manifest);
}

int main(int argc, char **argv)
{
	struct arguments a = { .manifest = NULL };

	parse(argc, argv, &a);
	if (a.quarantine != NULL && argv[optind] != NULL)
		return check_quarantine(a.quarantine, argv + optind);
	if (!a.have_seed || a.manifest == NULL || argv[optind] == NULL || argc - optind > 2)
		usage();
	run(argv + optind, &a);
	if (rot.planted < rot.wanted)
		fprintf(stderr, "rot: only %u of %u damages found a place\n", rot.planted,
			rot.wanted);
	return rot.planted == 0 && rot.wanted != 0 ? 1 : 0;
}
