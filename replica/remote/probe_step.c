/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Steps of the attach probe: what the server can do with small objects.
 */
#include "replica/remote/probe_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define STALE_MS 5000            /* so long may old content show */

struct seen {
	bool small, dot;
	uint64_t size;
};

static int see(void *arg, const struct store_found *f)
{
	struct seen *seen = arg;

	seen->dot |= !strcmp(f->name, ".dot");
	if (!strcmp(f->name, "small")) {
		seen->small = true;
		seen->size = f->size;
	}
	return 0;
}

int probe_list(struct probe *p)
{
	struct seen seen = { .size = UINT64_MAX };
	struct store_op op;
	int err = probe_put(p, PROBE_DIR "/.dot", "x", &op);

	if (err)
		return probe_fail(p, err, &op);
	op = (struct store_op){ .verb = STORE_LIST, .name = PROBE_DIR, .found = see,
				.found_arg = &seen };
	err = probe_run(p, &op);
	if (err == -ENOTSUP && !store_is_s3(p->s)) {
		probe_say(p, PROBE_FAIL, "%s; PROPFIND is needed to list. nginx: the module "
			  "dav-ext and \"dav_ext_methods PROPFIND OPTIONS\"", op.error);
		return err;
	}
	if (err)
		return probe_fail(p, err, &op);
	if (!seen.small || (seen.size != UINT64_MAX && seen.size != strlen(p->mark)))
		return probe_refuse(p, -EPROTO, "what was stored is not in the list as it is");
	p->caps->hides_dots = !seen.dot;
	if (!seen.dot)
		probe_say(p, PROBE_WARN, "names that begin with a dot are left out of lists "
			  "(nginx does that)");
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Content that was replaced must be so at once, or at least soon: an answer cut
 * off, or of the wrong length, is what lighttpd makes of its cache. */
static int expect_text(struct probe *p, const char *name, const char *text)
{
	int64_t end = now_ms() + STALE_MS;
	struct probe_text got;
	struct store_op op;
	int err;

	for (;;) {
		err = probe_get(p->s, name, 0, 0, &got, &op);
		if (!err && !strcmp(got.b, text))
			return 0;
		if (now_ms() > end)
			break;
		p->caps->stale = true;
	}
	return err ? probe_fail(p, err, &op)
		   : probe_refuse(p, -EPROTO, "what was replaced is still there after 5 s: a cache "
				  "before the server?");
}

int probe_replace(struct probe *p)
{
	static const char *const texts[] = { "longer than what was there before", "", "short" };
	struct store_op op;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		int err = probe_put(p, PROBE_DIR "/small", texts[i], &op);

		if (err)
			return probe_fail(p, err, &op);
		err = expect_text(p, PROBE_DIR "/small", texts[i]);
		if (err)
			return err;
	}
	if (p->caps->stale)
		probe_say(p, PROBE_WARN, "what was replaced still shows for a while: lighttpd: "
			  "server.stat-cache-engine = \"disable\"");
	return 0;
}

int probe_range(struct probe *p)
{
	struct probe_text got;
	struct store_op op;
	int err = probe_put(p, PROBE_DIR "/small", "0123456789", &op);

	if (!err)
		err = probe_get(p->s, PROBE_DIR "/small", 3, 4, &got, &op);
	if (err)
		return probe_fail(p, err, &op);
	return strcmp(got.b, "3456") ? probe_refuse(p, -EPROTO, "a range is of other bytes") : 0;
}

/* from, with a text, and to, with another; then one onto the other. */
static int onto(struct probe *p, enum store_verb verb, struct store_op *op)
{
	int err = probe_put(p, PROBE_DIR "/to", "what was there", op);

	if (!err)
		err = probe_put(p, PROBE_DIR "/from", p->mark, op);
	if (err)
		return probe_fail(p, err, op);
	*op = (struct store_op){ .verb = verb, .name = PROBE_DIR "/from", .to = PROBE_DIR "/to" };
	return probe_run(p, op);
}

int probe_move(struct probe *p)
{
	struct store_op op;
	int err = onto(p, STORE_MOVE, &op);

	if (err)
		return op.verb == STORE_MOVE ? probe_fail(p, err, &op) : err;
	return expect_text(p, PROBE_DIR "/to", p->mark);
}

int probe_copy(struct probe *p)
{
	struct store_op op;
	int err = onto(p, STORE_COPY, &op);

	if (err && op.verb != STORE_COPY)
		return err;
	if (err == -EAGAIN || err == -EACCES)
		return probe_fail(p, err, &op);
	p->caps->copies = !err;
	if (err)
		probe_say(p, PROBE_WARN, "no copies at the server: %s", op.error);
	return err ? 0 : expect_text(p, PROBE_DIR "/to", p->mark);
}

int probe_move_dir(struct probe *p)
{
	struct probe_text got;
	struct store_op op;
	int err;

	if (store_is_s3(p->s))
		return 0;
	err = probe_put(p, PROBE_DIR "/a/file", p->mark, &op);
	if (err)
		return probe_fail(p, err, &op);
	op = (struct store_op){ .verb = STORE_MOVE, .name = PROBE_DIR "/a", .to = PROBE_DIR "/b",
				.dir = true };
	err = probe_run(p, &op);
	if (err == -EAGAIN || err == -EACCES)
		return probe_fail(p, err, &op);
	if (!err && (probe_get(p->s, PROBE_DIR "/b/file", 0, 0, &got, &op) ||
		     strcmp(got.b, p->mark)))
		err = -EPROTO;
	p->caps->moves_dirs = !err;
	if (err)
		probe_say(p, PROBE_WARN, "collections cannot be moved, a renamed directory is "
			  "sent again: %s", op.error);
	return 0;
}

int probe_exclusive(struct probe *p)
{
	struct store_op op = { .verb = STORE_PUT, .name = PROBE_DIR "/once", .data = "1",
			       .len = 1, .exclusive = true };
	int err = probe_run(p, &op);

	if (err == -ENOTSUP) /* Swift */
		return 0;
	if (err)
		return probe_fail(p, err, &op);
	p->caps->exclusive = probe_run(p, &op) == -EEXIST;
	if (op.result == -EAGAIN)
		return probe_fail(p, op.result, &op);
	return 0;
}

int probe_case(struct probe *p)
{
	struct store_op op;
	int err = probe_put(p, PROBE_DIR "/Case", "A", &op);

	if (err)
		return probe_fail(p, err, &op);
	op = (struct store_op){ .verb = STORE_HEAD, .name = PROBE_DIR "/cASE" };
	err = probe_run(p, &op);
	if (err && err != -ENOENT)
		return probe_fail(p, err, &op);
	p->caps->folds_case = !err;
	if (!err)
		probe_say(p, PROBE_WARN, "upper and lower case are one name here");
	return 0;
}

/* Only S3 can: WebDAV has no word for it. */
int probe_hash(struct probe *p)
{
	static const uint8_t wrong[32] = { 1, 2, 3 };
	struct store_op op = { .verb = STORE_PUT, .name = PROBE_DIR "/hash", .data = "1",
			       .len = 1, .sha256 = wrong };

	if (!store_is_s3(p->s))
		return 0;
	/* That it was damaged on its way is what the server must think: "try again". */
	if (probe_run(p, &op) == -EAGAIN && (!op.status || op.status >= 500))
		return probe_fail(p, op.result, &op);
	p->caps->checks_content = op.result != 0;
	if (!p->caps->checks_content)
		probe_say(p, PROBE_WARN, "the server takes a body that is not of the hash it was "
			  "told");
	return 0;
}
