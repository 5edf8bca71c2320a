// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The choices of the namespace exerciser: which operation, on which paths,
 * with which parameters. Few names in few directories, most of them there
 * already: collisions are the point. Every choice depends on the seed and on
 * what stands on the plain side only, so a seed replays on any filesystem.
 */
#include "names.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sysmacros.h>

static uint64_t rng;
static int plain;	     /* the plain side's base */
static const char *left_out; /* operations not to choose, comma separated */
static bool other_users;

static size_t rnd(size_t n)
{
	return rng_below(&rng, n);
}

#define PICK(table) ((table)[rnd(ARRAY_SIZE(table))])

static const struct {
	const char *path;
	mode_t mode;
	uid_t uid;
	gid_t gid;
} dirs[] = {
	{ "d0", 0755, 0, 0 },	    { "d1", 01777, 0, 0 },	  { "d2", 02775, 1000, 5000 },
	{ "d3", 0700, 1001, 1001 }, { "d0/s", 0777, 0, 0 },	  { "d1/t", 03777, 1000, 5001 },
	{ "d4", 0770, 0, 5000 },    { "d4/u", 0775, 1002, 5001 },
};

static char name_pool[14][300];

/* Letters for collisions, odd bytes, both sides of NAME_MAX. */
static void make_names(void)
{
	static const char *const fixed[] = { "a", "b", "c", "d", "e", ".mirrorfs", "f\n\"\xff" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(fixed); i++)
		strcpy(name_pool[i], fixed[i]);
	for (; i < 12; i++) {
		size_t len = i == 7 ? 255 : 1 + rnd(255);

		for (size_t k = 0; k < len; k++) {
			int c = 1 + (int)rnd(255);

			name_pool[i][k] = c == '/' || (!k && c == '.') ? 'x' : (char)c;
		}
	}
	memset(name_pool[12], 'n', 255);
	memset(name_pool[13], 'n', 256);
}

static const char *pick_name(bool in_root)
{
	size_t i = rnd(3) ? rnd(5) : rnd(ARRAY_SIZE(name_pool));

	if (i == 13 && rnd(3))
		i = 0;
	return name_pool[i == 5 && in_root ? 0 : i];
}

static int not_dots(const struct dirent *e)
{
	return strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int plain_entries(const char *path, struct dirent ***list)
{
	return scandirat(plain, path, list, not_dots, by_bytes);
}

/* Something that exists: walks down the plain side, sorted so a seed replays. */
static int pick_existing(char *out, bool want_dir)
{
	int depth = 0, len = 0;
	struct dirent **list;
	struct stat st;

	strcpy(out, ".");
	while (depth++ < 5 && (depth < 3 || rnd(2))) {
		int nr = plain_entries(out, &list), i = nr > 0 ? (int)rnd((size_t)nr) : 0,
		    keep = len;

		if (nr > 0)
			len += sprintf(out + len, "%s%s", len ? "/" : "", list[i]->d_name);
		for (i = 0; i < nr; i++)
			free(list[i]);
		if (nr < 0)
			break;
		free(list);
		if (fstatat(plain, out, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode)) {
			if (want_dir)
				out[len = keep] = '\0';
			break;
		}
	}
	return len;
}

static void pick_blindly(char *out)
{
	const char *dir = rnd(12) ? PICK(dirs).path : "";
	int n = sprintf(out, "%s%s%s", dir, *dir ? "/" : "", pick_name(!*dir));

	while (rnd(5) == 0 && n < 2000)
		n += sprintf(out + n, "/%s", pick_name(false));
	if (rnd(30) == 0)
		strcpy(out + n, rnd(2) ? "/" : "/.");
}

static void pick_path(char *out, bool existing)
{
	size_t how = rnd(10);
	int len;

	if (how == 0) {
		pick_blindly(out);
		return;
	}
	existing = how < 3 ? !existing : existing;
	len = pick_existing(out, !existing);
	if (!existing || !len)
		sprintf(out + len, "%s%s", len ? "/" : "", pick_name(!len));
}

static struct timespec pick_time(void)
{
	static const time_t sec[] = { -100000, -1, 0, 1, 999999999, 2147483653 };
	struct timespec ts = { .tv_sec = PICK(sec), .tv_nsec = (long)rnd(1000000000) };

	if (rnd(3) == 0)
		ts.tv_nsec = rnd(2) ? UTIME_NOW : UTIME_OMIT;
	if (rnd(60) == 0)
		ts.tv_nsec = 1000000000;
	return ts;
}

struct acl_entry {
	uint16_t tag, perm;
	uint32_t id;
};

static size_t add_acl(unsigned char *to, uint16_t tag, uint32_t id)
{
	struct acl_entry e = { tag, (uint16_t)rnd(8), id };

	memcpy(to, &e, sizeof(e));
	return sizeof(e);
}

/* The kernel's own form of an ACL; one in twelve lacks its mask. */
static size_t make_acl(unsigned char *to)
{
	enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };
	static const uint32_t version = 2;
	const uint32_t none = (uint32_t)-1;
	size_t users = rnd(3), groups = rnd(3), len = sizeof(version);

	memcpy(to, &version, sizeof(version));
	len += add_acl(to + len, USER_OBJ, none);
	for (size_t i = 0; i < users; i++)
		len += add_acl(to + len, USER, (uint32_t)(1000 + i));
	len += add_acl(to + len, GROUP_OBJ, none);
	for (size_t i = 0; i < groups; i++)
		len += add_acl(to + len, GROUP, (uint32_t)(5000 + i));
	if ((users || groups) && rnd(12))
		len += add_acl(to + len, MASK, none);
	return len + add_acl(to + len, OTHER, none);
}

static void pick_value(struct op *o)
{
	o->value_len = rnd(40) ? rnd(100) : 65537;
	for (size_t i = 0; i < 128; i++)
		o->value[i] = (unsigned char)rnd(256);
	if (!strncmp(o->kind->name, "acl", 3))
		o->value_len = make_acl(o->value);
}

static const char *pick_xattr(void)
{
	static char too_long[300];
	static const char *const name[] = { "user.a",	  "user.b", "user.c", "trusted.a",
					    "security.a", "user.",  "bogus.a" };

	if (rnd(30) == 0) {
		memset(too_long, 'x', sizeof(too_long) - 1);
		memcpy(too_long, "user.", 5);
		return too_long;
	}
	return PICK(name);
}

static bool excluded(const char *name)
{
	const char *at = left_out;
	size_t n = strlen(name);

	for (; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		if (!strncmp(at, name, n) && (at[n] == ',' || !at[n]))
			return true;
	return false;
}

static const struct op_kind *pick_kind(void)
{
	unsigned int total = 0, at;

	for (size_t i = 0; i < op_kinds_nr; i++)
		total += op_kinds[i].weight;
	at = (unsigned int)rnd(total);
	for (size_t i = 0;; i++) {
		if (at < op_kinds[i].weight)
			return excluded(op_kinds[i].name) ? pick_kind() : &op_kinds[i];
		at -= op_kinds[i].weight;
	}
}

void pick_op(struct op *o)
{
	static const mode_t mode[] = { 0644,  0600,  0666, 0755, 0777,	04755, 02755, 06777,
				       02644, 01777, 0,	   0444, 02775, 07777, 0751 };
	static const mode_t mask[] = { 022, 0, 077, 027, 0777 };
	static const uid_t uid[] = { 0, 1000, 1001, 1002, (uid_t)-1, (uid_t)-1 };
	static const gid_t gid[] = { 0, 1000, 1001, 5000, 5001, 7010, (gid_t)-1 };
	static const off_t size[] = { 0, 1, 100, 4096, 4097, 65535, 65536, 65537, 69000 };

	o->kind = pick_kind();
	pick_path(o->a, !o->kind->makes);
	pick_path(o->b, !strcmp(o->kind->name, "exchange"));
	o->mode = PICK(mode);
	o->mask = PICK(mask);
	o->uid = PICK(uid);
	o->gid = PICK(gid);
	if (o->uid == (uid_t)-1 && o->gid == (gid_t)-1)
		o->gid = 5000; /* of a chown that changes nothing, times may stay */
	o->dev = rnd(4) ? makedev(200 + rnd(300), rnd(1 << 18)) : 0;
	o->size = PICK(size);
	o->flags = (int)rnd(1 << 16);
	o->times[0] = pick_time();
	o->times[1] = pick_time();
	o->xattr = pick_xattr();
	o->cred = other_users && rnd(5) < 2 ? (int)(1 + rnd(CREDS - 1)) : 0;
	pick_value(o);
	if (!strcmp(o->kind->name, "mkdir") && rnd(2))
		strcpy(o->a, PICK(dirs).path);
}

void pick_make_dirs(const int base[SIDES])
{
	for (int s = 0; s < SIDES; s++)
		for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
			if (fchdir(base[s]) < 0 || mkdir(dirs[i].path, 0700) < 0)
				die_errno("mkdir", dirs[i].path);
			if (geteuid() == 0 && chown(dirs[i].path, dirs[i].uid, dirs[i].gid) < 0)
				die_errno("chown", dirs[i].path);
			if (chmod(dirs[i].path, dirs[i].mode) < 0)
				die_errno("chmod", dirs[i].path);
		}
}

bool pick_one_in(size_t n)
{
	return rnd(n) == 0;
}

void pick_start(uint64_t seed, int plain_base, const char *excluded_ops, bool users)
{
	rng = seed;
	plain = plain_base;
	left_out = excluded_ops;
	other_users = users;
	make_names();
}
