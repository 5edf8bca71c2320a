/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Command line and mount options. Options are data: one table says what each
 * word does; what mount(8) passes for others is dropped, what the kernel
 * understands is handed on, anything else is refused by name.
 */
#include "fs/mount.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/base/exitcode.h"
#include "replica/base/log.h"

enum kind { K_TRUE, K_FALSE, K_UNSIGNED, K_SIZE, K_TEXT, K_IGNORE, K_KERNEL };

#define OPT(field) offsetof(struct mount_options, field)

static const struct option_word {
	const char *word;     /* with '=' at the end: takes a value */
	enum kind kind;
	size_t at;
} option_words[] = {
	{ "ro", K_TRUE, OPT(volume.read_only) },
	{ "rw", K_FALSE, OPT(volume.read_only) },
	{ "degraded", K_TRUE, OPT(volume.degraded) },
	{ "clone", K_TRUE, OPT(volume.clone) },
	{ "noatime", K_TRUE, OPT(volume.noatime) },
	{ "relatime", K_FALSE, OPT(volume.noatime) },
	{ "strictatime", K_TRUE, OPT(volume.strictatime) },
	{ "quarantine=", K_SIZE, OPT(volume.quarantine_limit) },
	{ "max_inodes=", K_UNSIGNED, OPT(volume.max_nodes) },
	{ "strict", K_TRUE, OPT(volume.strict) },
	{ "seal_ms=", K_UNSIGNED, OPT(volume.seal_ms) },
#ifdef ENABLE_ABLATIONS
	{ "ablate=barrier", K_TRUE, OPT(volume.ablate.barrier) },
	{ "ablate=checkpoint", K_TRUE, OPT(volume.ablate.checkpoint) },
	{ "ablate=verify", K_TRUE, OPT(volume.ablate.verify) },
	{ "ablate=seal", K_TRUE, OPT(volume.ablate.seal) },
	{ "ablate=commit", K_TRUE, OPT(volume.ablate.commit) },
#endif
	{ "threads=", K_UNSIGNED, OPT(threads) },
	{ "writeback", K_TRUE, OPT(writeback) },
	{ "allow_other", K_TRUE, OPT(allow_other) },
	{ "noallow_other", K_FALSE, OPT(allow_other) },
	{ "fsname=", K_TEXT, OPT(fsname) },
	{ "remount", K_TRUE, OPT(remount) },
	{ "debug", K_TRUE, OPT(debug) },
	{ "suid", K_KERNEL, 0 }, { "nosuid", K_KERNEL, 0 },
	{ "dev", K_KERNEL, 0 }, { "nodev", K_KERNEL, 0 },
	{ "exec", K_KERNEL, 0 }, { "noexec", K_KERNEL, 0 },
	{ "sync", K_KERNEL, 0 }, { "async", K_KERNEL, 0 },
	{ "dirsync", K_KERNEL, 0 },
	{ "default_permissions", K_IGNORE, 0 },
	{ "defaults", K_IGNORE, 0 }, { "auto", K_IGNORE, 0 }, { "noauto", K_IGNORE, 0 },
	{ "user", K_IGNORE, 0 }, { "nouser", K_IGNORE, 0 }, { "users", K_IGNORE, 0 },
	{ "nofail", K_IGNORE, 0 }, { "_netdev", K_IGNORE, 0 }, { "diratime", K_IGNORE, 0 },
	{ "nodiratime", K_IGNORE, 0 }, { "owner", K_IGNORE, 0 }, { "group", K_IGNORE, 0 },
};

static int usage_error(const char *fmt, const char *what)
{
	log_error(fmt, what);
	return EXIT_MOUNT_USAGE;
}

void opts_usage(void)
{
	printf("usage: mirrorfs MIRROR:MIRROR[:MIRROR...] MOUNTPOINT [-o OPTION,...] [-f] [-d]\n"
	       "\n"
	       "  -o ro               read-only: nothing is changed, nothing healed\n"
	       "  -o degraded         mount although mirrors are missing\n"
	       "  -o clone            take a copied mirror, after comparing all of it\n"
	       "  -o noatime|relatime|strictatime\n"
	       "  -o allow_other      let other users in (default when root mounts)\n"
	       "  -o quarantine=SIZE  keep at most SIZE of replaced data (default 1G)\n"
	       "  -o threads=N        request threads (default 4)\n"
	       "  -o strict           flush the journal at every overwrite\n"
	       "  -o writeback        let the kernel hold written data back\n"
	       "  -f                  stay in the foreground, log to stderr\n"
	       "  -d                  debug output of the FUSE session (implies -f)\n"
	       "  -h, -V              help, version\n"
	       "\n"
	       "Directories become a volume by 'mirrorctl init'. See mirrorfs(8).\n");
}

static int parse_size(const char *text, uint64_t *out)
{
	static const char unit[] = "KMGT";
	char *end;
	unsigned long long n;
	const char *u;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (end == text || *text == '-' || errno)
		return -EINVAL;
	u = *end ? strchr(unit, *end) : NULL;
	if (u) {
		unsigned shift = 10 * (unsigned)(u - unit + 1);

		if (n > UINT64_MAX >> shift)
			return -EINVAL;
		n <<= shift;
		end++;
	}
	*out = n;
	return *end ? -EINVAL : 0;
}

static int append_kernel(struct mount_options *o, const char *word)
{
	char *all = NULL;

	if (asprintf(&all, "%s%s%s", o->kernel, *o->kernel ? "," : "", word) < 0)
		return -ENOMEM;
	free(o->kernel);
	o->kernel = all;
	return 0;
}

static int apply_word(struct mount_options *o, const struct option_word *w, const char *word)
{
	char *at = (char *)o + w->at;
	uint64_t n;

	switch (w->kind) {
	case K_TRUE:
		*(bool *)at = true;
		return 0;
	case K_FALSE:
		*(bool *)at = false;
		return 0;
	case K_KERNEL:
		return append_kernel(o, word);
	case K_TEXT:
		free(*(char **)at);
		*(char **)at = strdup(word + strlen(w->word));
		return *(char **)at ? 0 : EXIT_MOUNT_SYSERR;
	case K_IGNORE:
		return 0;
	default:
		break;
	}
	if (parse_size(word + strlen(w->word), &n) < 0 ||
	    (w->kind == K_UNSIGNED && (n == 0 || n > UINT_MAX)))
		return usage_error("option '%s': not a good number", word);
	if (w->kind == K_SIZE)
		*(uint64_t *)at = n;
	else
		*(unsigned *)at = (unsigned)n;
	return 0;
}

static int parse_word(struct mount_options *o, const char *word)
{
	if (!*word || strncmp(word, "x-", 2) == 0 || strncmp(word, "comment=", 8) == 0 ||
	    strncmp(word, "subtype=", 8) == 0)
		return 0;
	for (size_t i = 0; i < sizeof(option_words) / sizeof(option_words[0]); i++) {
		const struct option_word *w = &option_words[i];
		size_t len = strlen(w->word);

		if (w->word[len - 1] == '=' ? strncmp(word, w->word, len) == 0 :
					      strcmp(word, w->word) == 0)
			return apply_word(o, w, word);
	}
	return usage_error("unknown mount option '%s'", word);
}

static int parse_list(struct mount_options *o, char *list)
{
	char *save = NULL;

	for (char *w = strtok_r(list, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		int r = parse_word(o, w);

		if (r)
			return r;
	}
	return 0;
}

/* "a:b\:c:d" -> "a", "b:c", "d" */
static int parse_source(struct mount_options *o)
{
	const char *c = o->source;

	while (*c) {
		char *to, *dir = malloc(strlen(c) + 1);

		if (!dir)
			return EXIT_MOUNT_SYSERR;
		for (to = dir; *c && *c != ':'; c++) {
			if (*c == '\\' && (c[1] == ':' || c[1] == '\\'))
				c++;
			*to++ = *c;
		}
		*to = '\0';
		if (!*dir || o->n_dirs == MAX_MIRRORS) {
			free(dir);
			return usage_error(o->n_dirs == MAX_MIRRORS ?
					   "too many mirrors in '%s'" :
					   "empty mirror name in '%s'", o->source);
		}
		o->dir[o->n_dirs++] = dir;
		if (*c == ':' && !*++c)
			return usage_error("empty mirror name in '%s'", o->source);
	}
	return o->n_dirs ? 0 : usage_error("no mirror given%s", "");
}

static bool lies_in(const char *outer, const char *inner)
{
	size_t n = strlen(outer);

	return strncmp(outer, inner, n) == 0 && (inner[n] == '/' || !inner[n] || n == 1);
}

static int check_places(struct mount_options *o)
{
	char *real = realpath(o->mountpoint, NULL);
	struct stat st;
	int r = 0;

	if (!real) {
		log_err(-errno, "mount point %s", o->mountpoint);
		return EXIT_MOUNT_FAIL;
	}
	free(o->mountpoint);
	o->mountpoint = real;
	if (stat(real, &st) < 0 || !S_ISDIR(st.st_mode))
		return usage_error("mount point %s is not a directory", real);
	for (int i = 0; r == 0 && i < o->n_dirs; i++) {
		char *dir = realpath(o->dir[i], NULL);

		if (dir && lies_in(dir, real))
			r = usage_error("the mount point lies in the mirror %s", dir);
		else if (dir && lies_in(real, dir))
			r = usage_error("mirror %s lies in the mount point", dir);
		free(dir);
	}
	return r;
}

static int parse_flags(int argc, char **argv, struct mount_options *o)
{
	bool helper = strstr(argv[0], "mount.mirrorfs") != NULL;
	int c, r = 0;

	opterr = 0;
	while (r == 0 && (c = getopt(argc, argv, "+o:fdhVsnvN:t:")) != -1) {
		switch (c) {
		case 'o':
			r = parse_list(o, optarg);
			break;
		case 'f': /* of a mount helper: pretend only */
			o->foreground = !helper;
			o->fake = helper;
			break;
		case 'd':
			o->debug = o->foreground = true;
			break;
		case 'h':
			o->show_help = true;
			break;
		case 'V':
			o->show_version = true;
			break;
		case '?': {
			char flag[3] = { '-', (char)optopt, 0 };

			r = usage_error("unknown or incomplete option '%s'; see -h", flag);
			break;
		}
		default: /* -s -n -v -N -t: for mount helpers, without meaning here */
			break;
		}
	}
	return r;
}

int opts_parse(int argc, char **argv, struct mount_options *o)
{
	char *place[2] = { NULL, NULL };
	int n = 0, r = 0;

	volume_options_default(&o->volume);
	o->threads = 4;
	o->allow_other = geteuid() == 0;
	o->kernel = strdup(geteuid() == 0 ? "dev,suid" : "");
	while (r == 0 && optind < argc) {
		r = parse_flags(argc, argv, o);
		if (r == 0 && optind < argc) {
			if (n == 2)
				return usage_error("one argument too many: '%s'", argv[optind]);
			place[n++] = argv[optind++];
		}
	}
	if (r || o->show_help || o->show_version)
		return r;
	if (n < 2)
		return usage_error("usage: mirrorfs MIRROR:MIRROR... MOUNTPOINT [-o OPTIONS]%s", "");
	if (o->threads > MAX_THREADS)
		o->threads = MAX_THREADS;
	o->source = strdup(place[0]);
	o->mountpoint = strdup(place[1]);
	r = parse_source(o);
	return r ? r : check_places(o);
}

void opts_free(struct mount_options *o)
{
	free(o->source);
	free(o->mountpoint);
	free(o->kernel);
	free(o->fsname);
	for (int i = 0; i < o->n_dirs; i++)
		free(o->dir[i]);
}
