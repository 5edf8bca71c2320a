/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HTTP/1.1 on one connection: heads and bodies of requests, answers, and those
 * faults that are about bytes on the wire. A connection belongs to one thread.
 * x->broken: the connection is closed after this exchange.
 */
#include "tests/http/faulty.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DRAIN_MAX (64 << 20)

static void sleep_ms(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

/* Reading */

static bool fill(struct conn *c)
{
	ssize_t n;

	if (c->at) {
		memmove(c->in, c->in + c->at, c->end - c->at);
		c->end -= c->at;
		c->at = 0;
	}
	if (c->end == sizeof(c->in))
		return false;
	n = recv(c->fd, c->in + c->end, sizeof(c->in) - c->end, 0);
	if (n <= 0)
		return false;
	c->end += (size_t)n;
	return true;
}

/* Length of the head that is in the buffer, with the empty line; 0: none. */
static size_t head_length(const struct conn *c)
{
	const char *end = memmem(c->in + c->at, c->end - c->at, "\r\n\r\n", 4);

	return end ? (size_t)(end - (c->in + c->at)) + 4 : 0;
}

static bool split_line(struct exchange *x, char *line)
{
	char *colon = strchr(line, ':'), *value;

	if (!colon || x->n_headers == HEADERS_MAX)
		return false;
	*colon = '\0';
	value = colon + 1;
	value += strspn(value, " \t");
	x->name[x->n_headers] = line;
	x->value[x->n_headers++] = value;
	return true;
}

static bool split_request_line(struct exchange *x, char *line)
{
	char *save, *version;
	size_t len;

	x->method = strtok_r(line, " ", &save);
	x->target = strtok_r(NULL, " ", &save);
	version = strtok_r(NULL, " ", &save);
	if (!version || strcmp(version, "HTTP/1.1") != 0 || x->target[0] != '/')
		return false;
	len = strcspn(x->target, "?");
	x->query = x->target[len] ? x->target + len + 1 : "";
	return percent_decode(x->target, len, x->path, sizeof(x->path)) > 0;
}

static bool split_head(struct exchange *x)
{
	char *line = x->head, *end;
	bool first = true;

	for (; (end = strstr(line, "\r\n")) && end != line; line = end + 2) {
		*end = '\0';
		if (!(first ? split_request_line(x, line) : split_line(x, line)))
			return false;
		first = false;
	}
	return !first;
}

const char *wire_header(const struct exchange *x, const char *name)
{
	size_t i;

	for (i = 0; i < x->n_headers; i++)
		if (!strcasecmp(x->name[i], name))
			return x->value[i];
	return NULL;
}

static bool is(const struct exchange *x, const char *name, const char *value)
{
	const char *v = wire_header(x, name);

	return v && !strcasecmp(v, value);
}

int wire_request(struct conn *c, struct exchange *x)
{
	const char *length;
	size_t len;

	memset(x, 0, offsetof(struct exchange, head));
	x->conn = c;
	while (!(len = head_length(c)))
		if (!fill(c))
			return 0;
	if (len >= sizeof(x->head))
		return -EBADMSG;
	memcpy(x->head, c->in + c->at, len);
	x->head[len] = '\0';
	c->at += len;
	if (!split_head(x))
		return -EBADMSG;
	length = wire_header(x, "Content-Length");
	x->body_left = length ? strtoll(length, NULL, 10) : 0;
	x->chunked = is(x, "Transfer-Encoding", "chunked");
	x->expects = is(x, "Expect", "100-continue");
	x->keep_alive = !is(x, "Connection", "close");
	return 1;
}

bool wire_has_body(const struct exchange *x)
{
	return x->chunked || x->body_left > 0;
}

/* Writing */

static bool send_all(struct exchange *x, const void *buf, size_t len)
{
	const char *p = buf;

	while (len && !x->broken) {
		ssize_t n = send(x->conn->fd, p, len, MSG_NOSIGNAL);

		if (n <= 0) {
			x->broken = true;
			break;
		}
		p += n;
		len -= (size_t)n;
	}
	return !x->broken;
}

void wire_reset(struct exchange *x)
{
	struct linger hard = { .l_onoff = 1 };

	setsockopt(x->conn->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	x->broken = x->answered = true;
}

/* Until the time is over or the client has gone. */
void wire_hang(struct exchange *x)
{
	struct pollfd p = { .fd = x->conn->fd, .events = POLLRDHUP };
	long seconds = x->effect.seconds;

	poll(&p, 1, seconds > 0 ? (int)(seconds * 1000) : -1);
	if (p.revents)
		x->broken = x->answered = true;
}

/* Bodies of requests */

static bool read_line(struct conn *c, char *line, size_t size)
{
	char *end;
	size_t len;

	while (!(end = memmem(c->in + c->at, c->end - c->at, "\r\n", 2)))
		if (!fill(c))
			return false;
	len = (size_t)(end - (c->in + c->at));
	if (len >= size)
		return false;
	memcpy(line, c->in + c->at, len);
	line[len] = '\0';
	c->at += len + 2;
	return true;
}

/* The next chunk begins; after the last one x->chunked is false. */
static bool next_chunk(struct exchange *x)
{
	char line[64];

	if (x->body_got && !read_line(x->conn, line, sizeof(line)))
		return false;
	if (!read_line(x->conn, line, sizeof(line)))
		return false;
	x->body_left = strtoll(line, NULL, 16);
	if (x->body_left > 0)
		return true;
	x->chunked = false;
	return x->body_left == 0 && read_line(x->conn, line, sizeof(line));
}

/* A reset comes after so many bytes of body: cuts off what may be read. */
static size_t until_reset(struct exchange *x, size_t len)
{
	int64_t most = x->effect.bytes > 0 ? x->effect.bytes : 0;

	if (!(x->effect.bits & FAULT_RESET) || (int64_t)len <= most - x->body_got)
		return len;
	return most > x->body_got ? (size_t)(most - x->body_got) : 0;
}

static size_t slowly(struct exchange *x, size_t len)
{
	size_t piece = x->effect.rate > 20 ? (size_t)x->effect.rate / 20 : 1;

	if (!(x->effect.bits & FAULT_SLOW_READ))
		return len;
	sleep_ms(50);
	return len < piece ? len : piece;
}

static void send_continue(struct exchange *x)
{
	static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";

	if (x->expects)
		send_all(x, line, sizeof(line) - 1);
	x->expects = false;
}

ssize_t wire_body(struct exchange *x, void *buf, size_t len)
{
	struct conn *c = x->conn;

	send_continue(x);
	if (x->chunked && !x->body_left && !next_chunk(x))
		goto broken;
	if (!x->body_left)
		return 0;
	len = slowly(x, until_reset(x, len));
	if (!len) {
		wire_reset(x);
		return -ECONNRESET;
	}
	if (c->at == c->end && !fill(c))
		goto broken;
	if (len > c->end - c->at)
		len = c->end - c->at;
	if ((int64_t)len > x->body_left)
		len = (size_t)x->body_left;
	memcpy(buf, c->in + c->at, len);
	c->at += len;
	x->body_left -= (int64_t)len;
	x->body_got += (int64_t)len;
	stats_bytes(len, 0);
	return (ssize_t)len;
broken:
	x->broken = x->answered = true;
	return -ECONNRESET;
}

/* What the client still sends, so that it can read the answer. An answer in
 * place of a 100 ends the connection: who knows whether the body comes. */
static void drain(struct exchange *x)
{
	int64_t before = x->body_got;
	char buf[16384];
	ssize_t n;

	if (x->expects && wire_has_body(x)) {
		x->keep_alive = false;
		return;
	}
	do
		n = wire_body(x, buf, sizeof(buf));
	while (n > 0 && x->body_got - before < DRAIN_MAX);
	if (n)
		x->keep_alive = false;
}

/* Answers */

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} known[] = {
		{ 200, "OK" }, { 201, "Created" }, { 204, "No Content" },
		{ 206, "Partial Content" }, { 207, "Multi-Status" }, { 301, "Moved Permanently" },
		{ 400, "Bad Request" }, { 401, "Unauthorized" }, { 403, "Forbidden" },
		{ 404, "Not Found" }, { 405, "Method Not Allowed" }, { 409, "Conflict" },
		{ 412, "Precondition Failed" }, { 413, "Content Too Large" },
		{ 416, "Range Not Satisfiable" }, { 429, "Too Many Requests" },
		{ 500, "Internal Server Error" }, { 501, "Not Implemented" },
		{ 503, "Service Unavailable" }, { 507, "Insufficient Storage" },
	};
	size_t i;

	for (i = 0; i < N_ELEMS(known); i++)
		if (known[i].status == status)
			return known[i].text;
	return "Some Status";
}

static void send_useless_headers(struct exchange *x)
{
	int64_t left = x->effect.bytes > 0 ? x->effect.bytes : 1 << 20;
	char line[128];

	memset(line, 'x', sizeof(line));
	memcpy(line, "X-Useless: ", 11);
	memcpy(line + sizeof(line) - 2, "\r\n", 2);
	for (; left > 0 && send_all(x, line, sizeof(line)); left -= (int64_t)sizeof(line))
		;
}

static bool no_body(int status)
{
	return status == 204 || status == 304;
}

static void send_head(struct exchange *x, int status, const char *headers, uint64_t len)
{
	long skew = x->effect.bits & FAULT_SKEW ? x->effect.seconds : 0;
	char line[2048], date[40];
	int n;

	http_date(date, (int64_t)time(NULL) + skew);
	n = snprintf(line, sizeof(line), "HTTP/1.1 %d %s\r\nDate: %s\r\nServer: faulty\r\n%s%s",
		     status, reason(status), date, headers ? headers : "",
		     x->keep_alive ? "" : "Connection: close\r\n");
	send_all(x, line, (size_t)n);
	if (x->effect.bits & FAULT_HEADERS)
		send_useless_headers(x);
	if (no_body(status))
		n = snprintf(line, sizeof(line), "\r\n");
	else
		n = snprintf(line, sizeof(line), "Content-Length: %llu\r\n\r\n",
			     (unsigned long long)len);
	send_all(x, line, (size_t)n);
}

/* What is left of an answer that does not come in the ordinary way. */
static bool answer_faulty(struct exchange *x)
{
	static const char garbage[] = "\x16\x03\x01 this is not HTTP\n\n\xff\xfe";

	drain(x);
	if (x->effect.bits & FAULT_RESET_AFTER)
		wire_reset(x);
	if (x->effect.bits & FAULT_HANG_AFTER && !x->answered)
		wire_hang(x);
	if (x->effect.bits & FAULT_GARBAGE && !x->answered) {
		send_all(x, garbage, sizeof(garbage) - 1);
		x->broken = x->answered = true;
	}
	return x->answered;
}

static uint64_t truncated(const struct exchange *x, uint64_t len)
{
	if (!(x->effect.bits & FAULT_TRUNCATE))
		return len;
	return x->effect.bytes >= 0 && (uint64_t)x->effect.bytes < len ? (uint64_t)x->effect.bytes
									 : len / 2;
}

/* One piece of a body; at: where it is in the body of len bytes. */
static bool send_piece(struct exchange *x, char *buf, size_t n, uint64_t at, uint64_t len)
{
	uint64_t flip = x->effect.bytes >= 0 ? (uint64_t)x->effect.bytes : len / 2;

	if (x->effect.bits & FAULT_FLIP && flip >= at && flip - at < n)
		buf[flip - at] ^= 0x10;
	if (x->effect.bits & FAULT_SLOW)
		sleep_ms(50);
	stats_bytes(0, n);
	return send_all(x, buf, n);
}

static size_t piece_size(const struct exchange *x, size_t most)
{
	size_t piece = x->effect.rate > 20 ? (size_t)x->effect.rate / 20 : 1;

	return x->effect.bits & FAULT_SLOW && piece < most ? piece : most;
}

void wire_answer_file(struct exchange *x, int status, const char *headers, int fd, uint64_t off,
		      uint64_t len)
{
	uint64_t at, end = truncated(x, len);
	char buf[65536];

	if (answer_faulty(x))
		return;
	x->answered = true;
	send_head(x, status, headers, len);
	if (!strcmp(x->method, "HEAD"))
		return;
	for (at = 0; at < end && !x->broken;) {
		size_t want = piece_size(x, sizeof(buf));
		ssize_t n = pread(fd, buf, want < end - at ? want : end - at, (off_t)(off + at));

		if (n <= 0 || !send_piece(x, buf, (size_t)n, at, len))
			break;
		at += (uint64_t)n;
	}
	x->broken |= at < len || (x->effect.bits & FAULT_CLOSE);
}

void wire_answer(struct exchange *x, int status, const char *headers, const char *body)
{
	uint64_t at, len = body ? strlen(body) : 0, end = truncated(x, len);
	char buf[16384];

	if (answer_faulty(x))
		return;
	x->answered = true;
	send_head(x, status, headers, len);
	if (!strcmp(x->method, "HEAD") || no_body(status))
		return;
	for (at = 0; at < end && !x->broken;) {
		size_t n = piece_size(x, sizeof(buf));

		n = n < end - at ? n : (size_t)(end - at);
		memcpy(buf, body + at, n);
		if (!send_piece(x, buf, n, at, len))
			break;
		at += n;
	}
	x->broken |= at < len || (x->effect.bits & FAULT_CLOSE);
}
