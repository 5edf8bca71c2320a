/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The verdict. Pure. One table says of each errno whom it speaks of; an errno
 * that is not in it blames the member, as trusting a member that answers
 * strangely risks data and copying it anew does not.
 */
#include "replica/verdict.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#define MAX_MEMBERS SUPERBLOCK_MAX_MEMBERS

enum blame {
	BLAME_NONE,     /* no error */
	BLAME_REQUEST,  /* the application asked for the impossible */
	BLAME_MEMBER,
	BLAME_RESOURCE, /* of this process or machine, at this moment */
};

static const struct {
	int err;
	enum blame blame;
} blame_table[] = {
	{ 0, BLAME_NONE },
	{ ENOMEM, BLAME_RESOURCE },     { EMFILE, BLAME_RESOURCE },
	{ ENFILE, BLAME_RESOURCE },     { EINTR, BLAME_RESOURCE },
	{ EAGAIN, BLAME_RESOURCE },
	{ EPERM, BLAME_REQUEST },       { ENOENT, BLAME_REQUEST },
	{ E2BIG, BLAME_REQUEST },       { EACCES, BLAME_REQUEST },
	{ EBUSY, BLAME_REQUEST },       { EEXIST, BLAME_REQUEST },
	{ EXDEV, BLAME_REQUEST },       { ENOTDIR, BLAME_REQUEST },
	{ EISDIR, BLAME_REQUEST },      { EINVAL, BLAME_REQUEST },
	{ ETXTBSY, BLAME_REQUEST },     { EFBIG, BLAME_REQUEST },
	{ ESPIPE, BLAME_REQUEST },      { EMLINK, BLAME_REQUEST },
	{ ERANGE, BLAME_REQUEST },      { ENAMETOOLONG, BLAME_REQUEST },
	{ ENOSYS, BLAME_REQUEST },      { ENOTEMPTY, BLAME_REQUEST },
	{ ELOOP, BLAME_REQUEST },       { ENODATA, BLAME_REQUEST },
	{ EOVERFLOW, BLAME_REQUEST },   { EILSEQ, BLAME_REQUEST },
	{ EOPNOTSUPP, BLAME_REQUEST },
};

/* With no success and nobody to blame but members: the mildest first. */
static const int mildest[] = { ENOSPC, EDQUOT, EROFS };

static enum blame blame_of(int e)
{
	size_t i;

	for (i = 0; i < sizeof(blame_table) / sizeof(blame_table[0]); i++)
		if (blame_table[i].err == e)
			return blame_table[i].blame;
	return BLAME_MEMBER;
}

int verdict_blames_member(int e)
{
	return blame_of(e) == BLAME_MEMBER;
}

/* The results sorted by whom they blame, a bit per member. */
struct tally {
	uint32_t by[BLAME_RESOURCE + 1];
	uint32_t full;
	int first[BLAME_RESOURCE + 1]; /* result of the first member of each kind */
	int common;                    /* the result of all, or 1 if they differ */
};

static struct tally count(uint32_t asked, const int *result)
{
	struct tally t = { 0 };
	bool seen = false;
	int m;

	for (m = 0; m < MAX_MEMBERS; m++) {
		enum blame b;

		if (!(asked >> m & 1))
			continue;
		b = blame_of(-result[m]);
		if (!t.by[b])
			t.first[b] = result[m];
		t.by[b] |= 1u << m;
		if (result[m] == -ENOSPC || result[m] == -EDQUOT)
			t.full |= 1u << m;
		t.common = !seen || t.common == result[m] ? result[m] : 1;
		seen = true;
	}
	return t;
}

static int mildest_of(uint32_t asked, const int *result)
{
	size_t i;
	int m;

	for (i = 0; i < sizeof(mildest) / sizeof(mildest[0]); i++)
		for (m = 0; m < MAX_MEMBERS; m++)
			if (asked >> m & 1 && result[m] == -mildest[i])
				return -mildest[i];
	return -EIO;
}

/*
 * Nobody succeeded and the errors differ. A request error decides, the first
 * one if several differ; a member that could not even look is stale then. Next
 * a resource error: it passes, and trying again is right. Else the mildest.
 */
static void all_failed(struct verdict *v, const struct tally *t, uint32_t asked,
		       const int *result)
{
	if (t->by[BLAME_REQUEST]) {
		v->reply = t->first[BLAME_REQUEST];
		v->stale = t->by[BLAME_MEMBER];
	} else if (t->by[BLAME_RESOURCE]) {
		v->reply = t->first[BLAME_RESOURCE];
	} else {
		v->reply = mildest_of(asked, result);
	}
}

struct verdict verdict_of(enum verdict_class class, uint32_t asked, const int *result)
{
	struct tally t = count(asked, result);
	struct verdict v = { 0 };

	asked &= (1u << MAX_MEMBERS) - 1;
	if (t.by[BLAME_NONE])
		v.stale = asked & ~t.by[BLAME_NONE];
	else if (t.common <= 0)
		v.reply = t.common;
	else if (class == VERDICT_SYNC)
		v.reply = -EIO;
	else
		all_failed(&v, &t, asked, result);
	v.full = v.stale & t.full;
	v.retry = t.by[BLAME_RESOURCE] & ~v.stale;
	return v;
}
