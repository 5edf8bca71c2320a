/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Steps of the attach probe: how large a body the server takes, and whether one that is
 * only half there shows.
 */
#include "replica/remote/probe_priv.h"

#include <errno.h>
#include <string.h>

#include "replica/remote/store_priv.h"

#define GIB (1ULL << 30)
#define SLOW_BODY (4u << 20)     /* of the one that is broken off */
#define SLOW_END (3u << 20)

/* Not all zeros: some file systems and proxies make little of those. */
static void fill(uint64_t off, void *buf, size_t len)
{
	uint8_t *b = buf;

	for (size_t i = 0; i < len; i++, off++)
		b[i] = (uint8_t)(off * 167 + (off >> 11) + (off >> 17));
}

static ssize_t read_body(void *arg, uint64_t off, void *buf, size_t len)
{
	(void)arg;
	fill(off, buf, len);
	return (ssize_t)len;
}

static int compare_body(void *arg, const void *buf, size_t len)
{
	uint64_t *off = arg;
	const uint8_t *b = buf;
	uint8_t want[4096];

	for (size_t at = 0; at < len;) {
		size_t n = len - at < sizeof(want) ? len - at : sizeof(want);

		fill(*off, want, n);
		if (memcmp(b + at, want, n))
			return -EILSEQ;
		*off += n;
		at += n;
	}
	return 0;
}

int probe_body(struct probe *p)
{
	struct store_op op = { .verb = STORE_PUT, .name = PROBE_DIR "/body", .read = read_body,
			       .len = PROBE_BODY };
	uint64_t off = 0;
	int err = probe_run(p, &op);

	if (err)
		return probe_fail(p, err, &op);
	op = (struct store_op){ .verb = STORE_GET, .name = PROBE_DIR "/body",
				.write = compare_body, .write_arg = &off };
	err = probe_run(p, &op);
	if (err && err != -EILSEQ)
		return probe_fail(p, err, &op);
	if (err || off != PROBE_BODY)
		return probe_refuse(p, -EPROTO, "16 MiB that were stored come back changed");
	p->caps->body_max = PROBE_BODY;
	return 0;
}

/* ---- what it would take ---- */

struct announced {
	bool asked;
};

static ssize_t break_off(void *arg, uint64_t off, void *buf, size_t len)
{
	struct announced *a = arg;

	(void)off, (void)buf, (void)len;
	a->asked = true;
	return -ECANCELED;
}

/*
 * Only announced: a server with a limit says so before the body, to "Expect:
 * 100-continue", and one without asks for the body, and gets none.
 */
int probe_announced(struct probe *p)
{
	static const uint64_t sizes[] = { 1024 * GIB, 64 * GIB, 4 * GIB, GIB + 1, GIB, GIB / 4 };

	if (store_is_s3(p->s)) /* goes in parts there */
		return 0;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct announced a = { 0 };
		struct store_op op = { .verb = STORE_PUT, .name = PROBE_DIR "/announced",
				       .read = break_off, .read_arg = &a, .len = sizes[i] };
		int err = probe_run(p, &op);

		if (a.asked) {
			p->caps->body_max = sizes[i];
			break;
		}
		if (err != -EFBIG) /* says nothing of sizes */
			break;
	}
	if (p->caps->body_max < sizes[0])
		probe_say(p, PROBE_WARN, "files above %llu MiB are not taken: nginx: "
			  "\"client_max_body_size 0\"; Apache: \"LimitRequestBody 0\"; lighttpd: "
			  "server.max-request-size = 0",
			  (unsigned long long)(p->caps->body_max >> 20));
	return 0;
}

/* ---- half a body ---- */

struct slow {
	struct probe *p;
	struct store *other;         /* the one is busy with the PUT */
	bool seen;
};

/* Whether the old content is what a reader gets. */
static bool old_is_there(struct probe *p, struct store *s)
{
	struct probe_text got;
	struct store_op op;

	return !probe_get(s, PROBE_DIR "/slow", 0, 0, &got, &op) && !strcmp(got.b, p->mark);
}

static ssize_t read_slow(void *arg, uint64_t off, void *buf, size_t len)
{
	struct slow *slow = arg;

	if (off >= SLOW_END)
		return -ECANCELED;
	/* By now the server has had time to begin, and megabytes. */
	if (off >= SLOW_END - (256u << 10) && !slow->seen)
		slow->seen = !old_is_there(slow->p, slow->other);
	fill(off, buf, len);
	return (ssize_t)len;
}

int probe_in_place(struct probe *p)
{
	struct store_op op;
	struct slow slow = { .p = p };
	int err = probe_put(p, PROBE_DIR "/slow", p->mark, &op);

	if (err)
		return probe_fail(p, err, &op);
	err = store_open(p->s->def, p->s->secret, &slow.other);
	if (err)
		return err;
	slow.other->at = p->s->at;
	slow.other->caps = p->s->caps;
	op = (struct store_op){ .verb = STORE_PUT, .name = PROBE_DIR "/slow", .read = read_slow,
				.read_arg = &slow, .len = SLOW_BODY };
	err = probe_run(p, &op);
	if (err != -ECANCELED) {
		store_close(slow.other);
		return err ? probe_fail(p, err, &op)
			   : probe_refuse(p, -EPROTO, "half a body is taken for a whole one");
	}
	p->caps->in_place = slow.seen || !old_is_there(p, slow.other);
	store_close(slow.other);
	if (p->caps->in_place)
		probe_say(p, PROBE_WARN, "the server writes in place, half an upload shows: files "
			  "are sent aside and moved");
	return 0;
}
