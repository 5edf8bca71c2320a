// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The judge: is what is found one of the states that a power cut may leave?
 *
 * Names: each step that changes names took effect whole or not at all. All
 * subsets of the steps that had begun are allowed, less what a completed sync
 * covers, and less a second step that stands on a missing first.
 *
 * Objects: size, mode, xattr and each sector of the content are of any version
 * from the last one covered by a sync to the last one begun. What took the
 * place of another file by rename has at least the content it had by then.
 *
 * An fsync covers the object: its versions, the names it was given, and if it
 * is a directory the names in it. This is what ext4, xfs and btrfs all do,
 * though POSIX asks for less; what was needed to reach it is covered too.
 */
#include "tests/crash/ace.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/xattr.h>

#include "replica/base/cleanup.h"
#include "tests/crash/ace_found.h"
#include "tests/exercise/common.h"

#define SECTOR 512
#define MAX_NODES 64
#define REASON 256

struct judge {
	struct ace_model *m;
	const struct found *f;
	const char *top; /* of the sequence */
	unsigned begun;  /* steps */
	unsigned must;   /* bits of steps: their names are durable */
	unsigned floor[ACE_OBJECTS]; /* version */
	bool plain;      /* no mirrorfs: no promise of its own */

	/* the state that is being compared */
	unsigned mask;
	int at[ACE_ENTRIES];
	int object[MAX_NODES];         /* of a node */
	unsigned content[ACE_OBJECTS]; /* floor of the content */
	char reason[REASON];
};

__attribute__((format(printf, 2, 3)))
static bool no(struct judge *j, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(j->reason, sizeof(j->reason), format, ap);
	va_end(ap);
	return false;
}

/* --- what is covered ------------------------------------------------------------- */

/* Does the second step stand on what the first did? */
static bool depends(const struct ace_model *m)
{
	const struct ace_action *a = &m->action[0], *b = &m->action[1];
	unsigned i, k;

	for (i = 0; i < a->n_changes; i++)
		for (k = 0; k < b->n_changes; k++) {
			int before = m->at[0][a->change[i].entry], after = a->change[i].after;
			int moved = m->at[1][b->change[k].entry];

			if (a->change[i].entry == b->change[k].entry ||
			    (moved >= 0 && (moved == after || moved == before)) ||
			    m->entry[b->change[k].entry].dir == after)
				return true;
		}
	return false;
}

static void cover_object(struct judge *j, int object, unsigned time)
{
	const struct ace_model *m = j->m;
	unsigned s, i;

	j->floor[object] = ace_version_at(&m->object[object], time);
	for (s = 0; s < time; s++)
		for (i = 0; i < m->action[s].n_changes; i++)
			if (m->action[s].change[i].after == object ||
			    m->entry[m->action[s].change[i].entry].dir == object)
				j->must |= 1u << s;
}

static void cover_all(struct judge *j, unsigned time)
{
	unsigned o;

	for (o = 0; o < j->m->n_objects; o++)
		j->floor[o] = ace_version_at(&j->m->object[o], time);
	j->must |= (1u << time) - 1;
}

static void cover(struct judge *j, const struct ace_run *run, uint64_t cut)
{
	unsigned s;

	for (s = 0; s < run->seq.n && run->ack[s].ran && cut > run->ack[s].before; s++) {
		const struct ace_action *a = &j->m->action[s];

		j->begun = s + 1;
		if (cut < run->ack[s].done || run->seq.step[s].sync == ACE_NONE)
			continue;
		if (run->seq.step[s].sync == ACE_SYNC)
			cover_all(j, s + 1);
		else
			cover_object(j, a->sync_object[run->seq.step[s].sync == ACE_DIR], s + 1);
	}
	if ((j->must & 2) && depends(j->m))
		j->must |= 1;
}

/* --- one state of the names ---------------------------------------------------------- */

static void take_steps(struct judge *j, unsigned mask)
{
	const struct ace_model *m = j->m;
	unsigned s, i, over;

	j->mask = mask;
	memcpy(j->at, m->at[0], sizeof(j->at));
	memcpy(j->content, j->floor, sizeof(j->content));
	for (s = 0; s < ACE_STEPS; s++) {
		const struct ace_action *a = &m->action[s];

		if (!(mask & (1u << s)))
			continue;
		for (i = 0; i < a->n_changes; i++)
			j->at[a->change[i].entry] = a->change[i].after;
		if (!a->over || j->plain)
			continue;
		over = ace_version_at(&m->object[a->sync_object[0]], s);
		if (over > j->content[a->sync_object[0]])
			j->content[a->sync_object[0]] = over;
	}
}

static int entry_at(const struct judge *j, int dir, const char *name)
{
	unsigned e;

	for (e = 0; e < j->m->n_entries; e++)
		if (j->m->entry[e].dir == dir && j->at[e] != ACE_NOTHING &&
		    !strcmp(j->m->entry[e].name, name))
			return (int)e;
	return -1;
}

/* Every name found is one of the state; finds which object each node is. */
static bool names_known(struct judge *j)
{
	char path[ACE_PATH * 4];
	unsigned i;
	int e;

	j->object[0] = ACE_ROOT;
	for (i = 1; i < j->f->n; i++) {
		const struct found_node *n = &j->f->node[i];

		found_path(j->f, i, path, sizeof(path));
		e = entry_at(j, j->object[n->dir], n->name);
		if (e < 0)
			return no(j, "%s should not be there", path);
		j->object[i] = j->at[e];
		if ((n->st.st_mode & S_IFMT) != j->m->object[j->at[e]].type)
			return no(j, "%s has type %o", path, n->st.st_mode & S_IFMT);
	}
	return true;
}

static bool names_there(struct judge *j)
{
	unsigned e, i;

	for (e = 0; e < j->m->n_entries; e++) {
		if (j->at[e] == ACE_NOTHING)
			continue;
		for (i = 1; i < j->f->n; i++)
			if (j->object[j->f->node[i].dir] == j->m->entry[e].dir &&
			    !strcmp(j->f->node[i].name, j->m->entry[e].name))
				break;
		if (i == j->f->n)
			return no(j, "%s is missing", j->m->entry[e].name);
	}
	return true;
}

/* Links of one object are one inode, and all its links are here. */
static bool links_right(struct judge *j)
{
	char path[ACE_PATH * 4];
	unsigned i, k, links;

	for (i = 1; i < j->f->n; i++) {
		const struct stat *st = &j->f->node[i].st;

		for (links = 0, k = 1; k < j->f->n; k++) {
			bool same = st->st_ino == j->f->node[k].st.st_ino;

			found_path(j->f, i, path, sizeof(path));
			if (same != (j->object[i] == j->object[k]))
				return no(j, "%s and %s are %s", path, j->f->node[k].name,
					  same ? "one object" : "two objects");
			links += same;
		}
		if (!S_ISDIR(st->st_mode) && st->st_nlink != links)
			return no(j, "%s has a link count of %u, and %u names", path,
				  (unsigned)st->st_nlink, links);
	}
	return true;
}

/* --- objects ---------------------------------------------------------------------------- */

/* Is [off, off + len) that of the version, with zeros after its end? */
static bool sector_is(const struct ace_version *v, const uint8_t *bytes, uint64_t off, uint64_t len)
{
	uint64_t i, common = off >= v->size ? 0 : v->size - off < len ? v->size - off : len;

	if (common && memcmp(v->bytes + off, bytes, common) != 0)
		return false;
	for (i = common; i < len; i++)
		if (bytes[i])
			return false;
	return true;
}

/* One of the versions', or on the way from one to the next the end of a page or
 * of the range of a punch: that far ext4, and so a mirror, may have come. */
static bool size_right(const struct judge *j, const struct ace_object *o, unsigned first,
		       unsigned last, uint64_t size)
{
	bool between = size % 4096 == 0;
	unsigned v, s;

	for (s = 0; s < j->begun; s++)
		if (j->m->seq.step[s].op == ACE_PUNCH)
			between |= size == j->m->action[s].off + j->m->action[s].len;
	for (v = first; v <= last; v++)
		if (o->version[v].size == size ||
		    (between && v > first && size > o->version[v - 1].size &&
		     size < o->version[v].size))
			return true;
	return false;
}

static bool content_right(struct judge *j, const struct found_node *n, int object)
{
	const struct ace_object *o = &j->m->object[object];
	unsigned first = j->content[object], last = ace_version_at(o, j->begun), v;
	uint64_t off, len, size = (uint64_t)n->st.st_size;

	if (!size_right(j, o, first, last, size))
		return no(j, "%s has size %" PRIu64 ", not %" PRIu64 " (version %u) to %" PRIu64
			  " (version %u)", n->name, size, o->version[first].size, first,
			  o->version[last].size, last);
	for (off = 0; off < size; off += len) {
		len = size - off < SECTOR ? size - off : SECTOR;
		for (v = first; v <= last; v++)
			if (sector_is(&o->version[v], n->bytes + off, off, len))
				break;
		if (v > last)
			return no(j, "%s has other bytes than versions %u to %u at %" PRIu64,
				  n->name, first, last, off);
	}
	return true;
}

static bool attributes_right(struct judge *j, unsigned i, int object)
{
	const struct ace_object *o = &j->m->object[object];
	const struct found_node *n = &j->f->node[i];
	unsigned first = j->floor[object], last = ace_version_at(o, j->begun), v;
	char path[1024], inner[512], xattr[32] = "";
	ssize_t len;

	found_path(j->f, i, inner, sizeof(inner));
	snprintf(path, sizeof(path), "%s/%s", j->top, inner);
	for (v = first; v <= last && (n->st.st_mode & 07777) != o->version[v].mode; v++)
		;
	if (v > last)
		return no(j, "%s has mode %o, not %o to %o", inner, n->st.st_mode & 07777,
			  o->version[first].mode, o->version[last].mode);
	len = lgetxattr(path, ACE_XATTR, xattr, sizeof(xattr) - 1);
	if (len < 0 && errno != ENODATA)
		return no(j, "%s: getxattr: %s", inner, strerror(errno));
	for (v = first; v <= last && strcmp(xattr, o->version[v].xattr) != 0; v++)
		;
	if (v > last)
		return no(j, "%s has xattr \"%s\", not \"%s\" to \"%s\"", inner, xattr,
			  o->version[first].xattr, o->version[last].xattr);
	return true;
}

static bool objects_right(struct judge *j)
{
	unsigned i;

	for (i = 1; i < j->f->n; i++) {
		const struct found_node *n = &j->f->node[i];
		const struct ace_object *o = &j->m->object[j->object[i]];

		if (o->type == S_IFLNK) {
			if (strcmp(n->target, o->target) != 0)
				return no(j, "%s leads to %s", n->name, n->target);
			continue;
		}
		if (!attributes_right(j, i, j->object[i]) ||
		    (o->type == S_IFREG && !content_right(j, n, j->object[i])))
			return false;
	}
	return true;
}

/* --- the verdict ---------------------------------------------------------------------------- */

static bool readable(struct judge *j)
{
	char path[1024];
	unsigned i;

	if (j->f->n > MAX_NODES)
		return no(j, "%u names", j->f->n);
	for (i = 0; i < j->f->n; i++) {
		found_path(j->f, i, path, sizeof(path));
		if (j->f->node[i].error)
			return no(j, "%s: %s", path, j->f->node[i].error);
	}
	return true;
}

static bool changes_names(const struct judge *j, unsigned s)
{
	return j->m->action[s].n_changes > 0;
}

/* Tries all allowed states, the fullest first; says what is wrong with each. */
static bool allowed_state(struct judge *j, char *why, size_t size)
{
	static const char *const taken[] = { "none took effect", "1 took effect", "2 took effect",
					     "both took effect" };
	unsigned mask, all = (1u << j->begun) - 1, s;
	size_t len = 0;

	for (s = 0; s < ACE_STEPS; s++)
		if (!changes_names(j, s))
			all &= ~(1u << s);
	for (mask = all + 1; mask-- > 0;) {
		if ((mask & ~all) || (j->must & all & ~mask) ||
		    ((mask & 3) == 2 && (all & 1) && depends(j->m)))
			continue;
		take_steps(j, mask);
		if (names_known(j) && names_there(j) && links_right(j) && objects_right(j))
			return true;
		len += (size_t)snprintf(why + len, len < size ? size - len : 0, "%sif %s: %s",
					len ? "; " : "", all ? taken[mask] : "names as they were",
					j->reason);
		len = len < size ? len : size - 1;
	}
	return false;
}

static void complain(const struct judge *j, const char *why, uint64_t cut)
{
	static const char *const durable[] = { "no names", "names of 1", "names of 2",
					       "names of 1 and 2" };
	char words[ACE_WORDS], text[ACE_TEXT], path[1024];
	unsigned i;

	ace_words(j->m, words);
	ace_format(&j->m->seq, text);
	printf("violation: %s\n\treplay: ACE_ONLY=%s; %s/%04u, cut %" PRIu64
	       ", %u begun, %s durable\n\t%s\n\tfound:", words, text, ACE_TOP, j->m->index, cut,
	       j->begun, durable[j->must], why);
	for (i = 1; i < j->f->n; i++) {
		found_path(j->f, i, path, sizeof(path));
		printf(" %s", path);
		if (S_ISREG(j->f->node[i].st.st_mode))
			printf("(%lld)", (long long)j->f->node[i].st.st_size);
	}
	putchar('\n');
}

static bool check_one(int dirfd, const char *dir, const struct ace_run *run, unsigned index,
		      uint64_t cut, bool plain)
{
	char name[16], top[512], why[4 * REASON] = "";
	struct judge j = { .plain = plain };
	struct ace_model m;
	struct found f;
	bool right;

	snprintf(name, sizeof(name), "%04u", index);
	snprintf(top, sizeof(top), "%s/%s/%s", dir, ACE_TOP, name);
	ace_model_make(&m, &run->seq, index);
	found_read(&f, dirfd, name, NULL);
	j.m = &m;
	j.f = &f;
	j.top = top;
	cover(&j, run, cut);
	right = readable(&j);
	if (!right)
		snprintf(why, sizeof(why), "%s", j.reason);
	else
		right = allowed_state(&j, why, sizeof(why));
	if (!right)
		complain(&j, why, cut);
	found_free(&f);
	ace_model_free(&m);
	return right;
}

/* Nothing may appear beside the sequences either. */
static unsigned strangers(const char *dir, bool plain)
{
	DIR *d = opendir(dir);
	unsigned wrong = 0;
	struct dirent *e;
	bool known;

	for (errno = 0; d && (e = readdir(d)); errno = 0) {
		known = e->d_name[0] == '.' && (!e->d_name[1] || !strcmp(e->d_name, ".."));
		known |= plain || !strcmp(e->d_name, ACE_TOP);
		known |= strlen(e->d_name) == 4 && strspn(e->d_name, "0123456789") == 4;
		if (known)
			continue;
		printf("violation: %s should not be there\n", e->d_name);
		wrong++;
	}
	if (!d || errno) {
		printf("violation: readdir %s: %s\n", dir, strerror(errno));
		wrong++;
	}
	if (d)
		closedir(d);
	return wrong;
}

int ace_check(const char *dir, const char *logpath, uint64_t cut, bool plain)
{
	CLEANUP_CLOSE int dirfd = -1;
	unsigned i, wrong;
	struct ace_log log;
	char path[4096];

	ace_log_read(&log, logpath);
	snprintf(path, sizeof(path), "%s/%s", dir, ACE_TOP);
	dirfd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (dirfd < 0) {
		printf("violation: open %s: %s\n", ACE_TOP, strerror(errno));
		return EXERCISE_FAULT;
	}
	wrong = strangers(dir, plain) + strangers(path, plain);
	for (i = 0; i < log.n; i++)
		if (!check_one(dirfd, dir, &log.run[i], i, cut, plain))
			wrong++;
	ace_log_free(&log);
	return wrong ? EXERCISE_FAULT : 0;
}
