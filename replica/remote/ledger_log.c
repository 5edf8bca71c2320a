/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of a ledger, `.mirrorfs/remote/<id>/ledger`. Records only, one behind the
 * other, each a multiple of 8 bytes long and at most 1 MiB. Little-endian.
 *
 *     0  4  magic "mLr1"
 *     4  4  length of the record, all of it
 *     8  8  hash_bytes of bytes 16..length, seed: length
 *    16  4  type
 *    20     by type, then zeros up to a multiple of 8; strings end with a zero byte
 *
 *    1 HEAD      20 4 version (1), 24 16 id of the remote, 40 8 seq. The first record, only
 *    2 MARK      20 4 flags of ledger.h, 24 8 directory, 32 8 seq, 40 8 since (ms),
 *                48 4 number of names, 52 path, names
 *    3 RENAME    20 from, to: paths at or below `from` in marks before this now begin with `to`
 *    4 EXCHANGE  20 a, b
 *    5 VOID      20 4 number, 24 8 each: these directories have no mark any more
 *    6 REPLACE   as MARK: what was said of the directory before is void
 *
 * MARK adds up: flags and names are united, the least seq and since stay, the newest
 * path counts. A MARK of the root with MARK_BELOW is everything there is: what is
 * marked after it adds nothing, and VOID does not end it (a new log does).
 * REPLACE is VOID and MARK in one, so that no torn end parts them.
 *
 * A record that does not hold is skipped, on to the next that does (all begin at
 * multiples of 8). What is bad at the end may be torn; in the middle, it is damage.
 */
#include "replica/remote/ledger_log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "replica/base/io.h"
#include "replica/base/le.h"
#include "replica/hash.h"

#define MAGIC 0x31724c6du
#define LOG_VERSION 1
#define RECORD_MAX (1u << 20)
#define READ_ROOM (2 * RECORD_MAX)
#define BODY 16             /* what the hash covers begins here */
#define FIELDS 20
#define MARK_PATH 52
#define VOID_MAX 4096
#define ID_LEN 16

enum type { HEAD = 1, MARK, RENAME, EXCHANGE, VOID, REPLACE, N_TYPES };

/* ---- writing ---- */

void wire_free(struct wire *w)
{
	free(w->p);
	memset(w, 0, sizeof(*w));
}

/* Room for n more bytes, zeroed; NULL: no memory. */
static uint8_t *grow(struct wire *w, size_t n)
{
	if (!w->failed && w->len + n > w->room) {
		size_t room = w->room ? w->room * 2 : 4096;
		uint8_t *bigger;

		while (room < w->len + n)
			room *= 2;
		bigger = realloc(w->p, room);
		w->failed = !bigger;
		if (bigger) {
			w->p = bigger;
			w->room = room;
		}
	}
	if (w->failed)
		return NULL;
	memset(w->p + w->len, 0, n);
	w->len += n;
	return w->p + w->len - n;
}

static void put_string(struct wire *w, const char *s)
{
	size_t len = strlen(s) + 1;
	uint8_t *p = grow(w, len);

	if (p)
		memcpy(p, s, len);
}

/* A record with `fixed` bytes before its strings; returns where it begins. */
static size_t begin(struct wire *w, enum type type, size_t fixed)
{
	size_t at = w->last = w->len;
	uint8_t *p = grow(w, fixed);

	if (p) {
		put32(p, MAGIC);
		put32(p + 16, type);
	}
	return at;
}

static void end(struct wire *w, size_t at)
{
	size_t len = (w->len - at + 7) & ~(size_t)7;

	if (!grow(w, len - (w->len - at)))
		return;
	put32(w->p + at + 4, (uint32_t)len);
	put64(w->p + at + 8, hash_bytes(w->p + at + BODY, len - BODY, len));
}

void log_put_head(struct wire *w, const char *remote_id, uint64_t seq)
{
	size_t at = begin(w, HEAD, 48);

	if (w->failed)
		return;
	put32(w->p + at + 20, LOG_VERSION);
	memcpy(w->p + at + 24, remote_id, ID_LEN);
	put64(w->p + at + 40, seq);
	end(w, at);
}

void log_put_move(struct wire *w, const struct rename_op *mv)
{
	size_t at = begin(w, mv->exchange ? EXCHANGE : RENAME, FIELDS);

	put_string(w, mv->from);
	put_string(w, mv->to);
	end(w, at);
}

void log_put_void(struct wire *w, const uint64_t *id, size_t n)
{
	while (n) {
		size_t some = n < VOID_MAX ? n : VOID_MAX;
		size_t at = begin(w, VOID, 24 + some * 8);

		if (w->failed)
			return;
		put32(w->p + at + 20, (uint32_t)some);
		for (size_t i = 0; i < some; i++)
			put64(w->p + at + 24 + i * 8, id[i]);
		end(w, at);
		id += some;
		n -= some;
	}
}

static size_t begin_mark(struct wire *w, const struct mark_entry *e, enum log_how how)
{
	size_t at = begin(w, how == LOG_REPLACE ? REPLACE : MARK, MARK_PATH);

	if (w->failed)
		return at;
	put32(w->p + at + 20, e->flags);
	put64(w->p + at + 24, e->id);
	put64(w->p + at + 32, e->seq);
	put64(w->p + at + 40, (uint64_t)e->since);
	put_string(w, e->path);
	return at;
}

void log_put_mark(struct wire *w, const struct mark_entry *e, enum log_how how)
{
	size_t at = begin_mark(w, e, how);
	uint32_t n = 0;

	for (uint32_t i = 0; i < e->n; i++)
		if (how != LOG_FRESH || e->name[i]->fresh) {
			put_string(w, e->name[i]->text);
			n++;
		}
	if (!w->failed)
		put32(w->p + at + 48, n);
	end(w, at);
}

void log_put_all(struct wire *w, const struct marks *m)
{
	char root[] = "";
	const struct mark_entry e = { .id = ROOT_ID, .path = root, .flags = MARK_FLAGS,
				      .seq = m->all_seq, .since = m->all_since };

	log_put_mark(w, &e, LOG_WHOLE);
}

/* ---- reading ---- */

struct reader {
	int fd, err;
	uint64_t off;               /* of the file, where buf + len is */
	uint8_t *buf;
	size_t at, len;
	bool eof;
};

/* Whether there are n bytes at buf + at; reads on. */
static bool have(struct reader *r, size_t n)
{
	ssize_t got;

	if (r->len - r->at >= n)
		return true;
	if (r->eof)
		return false;
	memmove(r->buf, r->buf + r->at, r->len - r->at);
	r->len -= r->at;
	r->at = 0;
	got = io_pread_full(r->fd, r->buf + r->len, READ_ROOM - r->len, (off_t)r->off);
	if (got < 0)
		r->err = (int)got;
	r->eof = got < (ssize_t)(READ_ROOM - r->len);
	if (got > 0) {
		r->len += (size_t)got;
		r->off += (uint64_t)got;
	}
	return r->len - r->at >= n;
}

/* Length of the good record at hand, 0: there is none. */
static size_t good_record(struct reader *r)
{
	size_t len;

	if (!have(r, LOG_HEAD) || get32(r->buf + r->at) != MAGIC)
		return 0;
	len = get32(r->buf + r->at + 4);
	if (len < LOG_HEAD || len > RECORD_MAX || len % 8 || !have(r, len))
		return 0;
	return hash_bytes(r->buf + r->at + BODY, len - BODY, len) == get64(r->buf + r->at + 8) ?
		len : 0;
}

/* The next string of a record; NULL: it has no more. */
static const char *next_string(const uint8_t **p, const uint8_t *stop)
{
	const char *s = (const char *)*p;
	const uint8_t *zero = memchr(*p, 0, (size_t)(stop - *p));

	if (!zero)
		return NULL;
	*p = zero + 1;
	return s;
}

/* A log being played back. */
struct replay {
	const char *remote_id;
	struct marks *m;
	struct renames renames;
	uint64_t seq;
	bool begun;                 /* HEAD was there */
};

/* What memory cannot hold is everything. */
static void give_up(struct replay *p)
{
	const struct mark_why why = { .seq = p->seq, .since = (int64_t)time(NULL) * 1000 };

	marks_add_all(p->m, &why);
}

static void catch_up(struct replay *p)
{
	if (!marks_move(p->m, &p->renames))
		give_up(p);
	renames_clear(&p->renames);
}

static bool play_head(struct replay *p, const uint8_t *rec, size_t len)
{
	if (p->begun || len < 48 || get32(rec + 20) != LOG_VERSION ||
	    memcmp(rec + 24, p->remote_id, ID_LEN) != 0)
		return false;
	p->begun = true;
	p->seq = get64(rec + 40);
	return true;
}

static bool play_mark(struct replay *p, const uint8_t *rec, size_t len)
{
	const uint8_t *at = rec + MARK_PATH, *stop = rec + len;
	struct mark_why why;
	uint64_t id;
	uint32_t n;
	const char *path;

	if (len < MARK_PATH || get32(rec + 20) & ~(uint32_t)MARK_FLAGS)
		return false;
	id = get64(rec + 24);
	why = (struct mark_why){ get64(rec + 32), (int64_t)get64(rec + 40),
				 renames_end(&p->renames) };
	path = next_string(&at, stop);
	if (!id || !path || !marks_good_path(path))
		return false;
	if (get32(rec + 16) == REPLACE)
		marks_drop(p->m, id);
	marks_add(p->m, id, path, get32(rec + 20), NULL, &why);
	for (n = get32(rec + 48); n; n--) {
		const char *name = next_string(&at, stop);

		if (!name || !marks_good_name(name))
			return false;
		marks_add(p->m, id, path, 0, name, &why);
	}
	if (why.seq > p->seq)
		p->seq = why.seq;
	return true;
}

static bool play_move(struct replay *p, const uint8_t *rec, size_t len)
{
	const uint8_t *at = rec + FIELDS;
	const char *from = next_string(&at, rec + len);
	const char *to = from ? next_string(&at, rec + len) : NULL;

	if (!to || !*from || !*to || !marks_good_path(from) || !marks_good_path(to))
		return false;
	if (p->renames.n == LEDGER_MOVES)
		catch_up(p);
	if (renames_add(&p->renames, from, to, get32(rec + 16) == EXCHANGE) < 0)
		give_up(p);
	return true;
}

static bool play_void(struct replay *p, const uint8_t *rec, size_t len)
{
	uint32_t n = get32(rec + 20);

	if (n > VOID_MAX || len < 24 + (size_t)n * 8)
		return false;
	for (uint32_t i = 0; i < n; i++)
		marks_drop(p->m, get64(rec + 24 + i * 8));
	return true;
}

static bool play(struct replay *p, const uint8_t *rec, size_t len)
{
	static bool (*const how[N_TYPES])(struct replay *, const uint8_t *, size_t) = {
		[HEAD] = play_head, [MARK] = play_mark, [RENAME] = play_move,
		[EXCHANGE] = play_move, [VOID] = play_void, [REPLACE] = play_mark,
	};
	uint32_t type = get32(rec + 16);

	if (type >= N_TYPES || !how[type] || (!p->begun && type != HEAD))
		return false;
	return how[type](p, rec, len);
}

static void replay_all(struct reader *r, struct replay *p, struct log_state *s)
{
	uint64_t bad = 0;

	while (have(r, 1)) {
		size_t len = good_record(r);

		if (len && play(p, r->buf + r->at, len)) {
			s->skipped += bad;
			bad = 0;
			s->last = r->off - r->len + r->at;
			memcpy(s->head, r->buf + r->at, LOG_HEAD);
			s->digest = (s->digest ^ get64(r->buf + r->at + 8)) *
				UINT64_C(0x9e3779b97f4a7c15);
		} else if (len) {
			s->skipped += len;
		} else {
			len = r->len - r->at < 8 ? r->len - r->at : 8;
			bad += len;
		}
		r->at += len;
	}
	s->torn = bad;
}

void log_replay(int fd, const char *remote_id, struct marks *m, struct log_state *s)
{
	struct reader r = { .fd = fd, .buf = malloc(READ_ROOM) };
	struct replay p = { .remote_id = remote_id, .m = m };
	struct stat st;

	memset(s, 0, sizeof(*s));
	if (!r.buf || fstat(fd, &st) < 0) {
		s->err = r.buf ? -errno : -ENOMEM;
		free(r.buf);
		return;
	}
	replay_all(&r, &p, s);
	catch_up(&p);
	marks_settled(m);
	s->size = (uint64_t)st.st_size;
	s->seq = p.seq;
	s->err = r.err ? r.err : p.begun ? 0 : -EBADMSG;
	free(r.buf);
}
