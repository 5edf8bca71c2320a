/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One request as curl wants it: options, callbacks, errors. A handle is used
 * for many requests, so what differs between them is set for every one.
 */
#include "replica/remote/http_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* From here on it is worth a round trip to ask the server first. */
#define EXPECT_MIN (1 << 20)
/* First libcurl whose uploads over HTTP/2 can be trusted. */
#define HTTP2_SINCE 0x080400
#define N_ELEMS(a) (sizeof(a) / sizeof((a)[0]))

/* Callbacks of curl */

static size_t on_read(char *buf, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	struct http_request *r = t->request;
	struct rate *rate = &t->http->rate[UP];
	uint64_t left = r->body_len - t->at, len = rate_piece(rate, size * n);
	ssize_t got;

	if (!left)
		return 0;
	if (!rate_open(rate, http_now_us())) {
		http_await_rate(t, UP);
		return CURL_READFUNC_PAUSE;
	}
	if (len > left)
		len = left;
	got = r->read(r->read_arg, t->at, buf, len);
	if (got <= 0 || (uint64_t)got > len) {
		t->fault = got < 0 ? (int)got : -EIO;
		return CURL_READFUNC_ABORT;
	}
	t->at += (uint64_t)got;
	rate_take(rate, (uint64_t)got);
	return (size_t)got;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct transfer *t = arg;

	if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->request->body_len)
		return CURL_SEEKFUNC_FAIL;
	t->at = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

static size_t on_write(char *buf, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	struct rate *rate = &t->http->rate[DOWN];
	size_t len = size * n;
	long status = 0;

	if (!rate_open(rate, http_now_us())) {
		http_await_rate(t, DOWN);
		return CURL_WRITEFUNC_PAUSE;
	}
	rate_take(rate, len);
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	t->fault = http_answer_body(&t->answer, status, buf, len);
	/* Another number than len is an error to curl. */
	return t->fault ? !len : len;
}

static size_t on_header(char *buf, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;

	t->fault = http_answer_header(&t->answer, buf, size * n);
	return t->fault ? 0 : size * n;
}

static int on_try(void *arg, char *remote, char *local, int remote_port, int local_port)
{
	struct transfer *t = arg;

	(void)remote, (void)local, (void)remote_port, (void)local_port;
	t->tries++;
	return CURL_PREREQFUNC_OK;
}

/* Options */

#define SET(rc, easy, option, value) \
	((rc) = (rc) ? (rc) : curl_easy_setopt(easy, option, value))

static CURLcode set_fixed(CURL *e)
{
	static const struct {
		CURLoption option;
		long value;
	} fixed[] = {
		{ CURLOPT_NOSIGNAL, 1 },
		{ CURLOPT_NOPROGRESS, 1 },
		{ CURLOPT_FOLLOWLOCATION, 0 },
		{ CURLOPT_PATH_AS_IS, 1 },
		{ CURLOPT_DISALLOW_USERNAME_IN_URL, 1 },
		{ CURLOPT_NETRC, CURL_NETRC_IGNORED },
		{ CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2 },
		{ CURLOPT_SSL_VERIFYPEER, 1 },
		{ CURLOPT_SSL_VERIFYHOST, 2 },
		{ CURLOPT_TCP_KEEPALIVE, 1 },
		{ CURLOPT_SUPPRESS_CONNECT_HEADERS, 1 },
		{ CURLOPT_LOW_SPEED_LIMIT, 1 },
	};
	bool http2 = curl_version_info(CURLVERSION_NOW)->version_num >= HTTP2_SINCE;
	CURLcode rc = CURLE_OK;
	size_t i;

	for (i = 0; i < N_ELEMS(fixed); i++)
		SET(rc, e, fixed[i].option, fixed[i].value);
	SET(rc, e, CURLOPT_HTTP_VERSION,
	    (long)(http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
	SET(rc, e, CURLOPT_PROTOCOLS_STR, "http,https");
	SET(rc, e, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	SET(rc, e, CURLOPT_USERAGENT, "mirrorfs");
	return rc;
}

static CURLcode set_auth(const struct http *h, CURL *e)
{
	CURLcode rc = CURLE_OK;

	if (h->o.auth == HTTP_AUTH_NONE)
		return CURLE_OK;
	if (h->o.auth == HTTP_AUTH_BEARER) {
		SET(rc, e, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
		SET(rc, e, CURLOPT_XOAUTH2_BEARER, h->password);
		return rc;
	}
	/* Not USERPWD: a colon may be part of the name. */
	SET(rc, e, CURLOPT_HTTPAUTH,
	    (long)(h->o.auth == HTTP_AUTH_DIGEST ? CURLAUTH_DIGEST : CURLAUTH_BASIC));
	SET(rc, e, CURLOPT_USERNAME, h->user);
	SET(rc, e, CURLOPT_PASSWORD, h->password);
	return rc;
}

static CURLcode set_client(const struct http *h, struct transfer *t)
{
	CURL *e = t->easy;
	CURLcode rc = set_fixed(e);

	SET(rc, e, CURLOPT_CONNECTTIMEOUT_MS, (long)h->o.connect_ms);
	SET(rc, e, CURLOPT_LOW_SPEED_TIME, (long)h->o.stall_s);
	if (h->ca_file) {
		SET(rc, e, CURLOPT_CAINFO, h->ca_file);
		SET(rc, e, CURLOPT_CAPATH, NULL);
	}
	SET(rc, e, CURLOPT_PRIVATE, t);
	SET(rc, e, CURLOPT_ERRORBUFFER, t->error);
	SET(rc, e, CURLOPT_READFUNCTION, on_read);
	SET(rc, e, CURLOPT_READDATA, t);
	SET(rc, e, CURLOPT_SEEKFUNCTION, on_seek);
	SET(rc, e, CURLOPT_SEEKDATA, t);
	SET(rc, e, CURLOPT_WRITEFUNCTION, on_write);
	SET(rc, e, CURLOPT_WRITEDATA, t);
	SET(rc, e, CURLOPT_HEADERFUNCTION, on_header);
	SET(rc, e, CURLOPT_HEADERDATA, t);
	SET(rc, e, CURLOPT_PREREQFUNCTION, on_try);
	SET(rc, e, CURLOPT_PREREQDATA, t);
	return rc ? rc : set_auth(h, e);
}

void transfer_free(struct transfer *t)
{
	if (!t)
		return;
	if (t->easy)
		curl_easy_cleanup(t->easy);
	curl_slist_free_all(t->headers);
	free(t);
}

struct transfer *transfer_new(struct http *h)
{
	struct transfer *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->http = h;
	t->easy = curl_easy_init();
	if (!t->easy || set_client(h, t)) {
		transfer_free(t);
		return NULL;
	}
	return t;
}

static bool has_body(const struct http_request *r)
{
	return r->read || !strcmp(r->method, "PUT") || !strcmp(r->method, "POST");
}

/* Each request sets all of them, since the handle was used for others. */
static CURLcode set_request(struct transfer *t, const struct http_request *r)
{
	bool plain = !strcmp(r->method, "GET") || !strcmp(r->method, "HEAD") ||
		     !strcmp(r->method, "PUT");
	uint64_t limit = t->http->rate[DOWN].limit;
	CURL *e = t->easy;
	CURLcode rc = CURLE_OK;

	SET(rc, e, CURLOPT_URL, r->url);
	SET(rc, e, CURLOPT_HTTPGET, 1L);
	SET(rc, e, CURLOPT_CUSTOMREQUEST, plain ? NULL : r->method);
	SET(rc, e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)(has_body(r) ? r->body_len : 0));
	if (has_body(r))
		SET(rc, e, CURLOPT_UPLOAD, 1L);
	if (!strcmp(r->method, "HEAD"))
		SET(rc, e, CURLOPT_NOBODY, 1L);
	SET(rc, e, CURLOPT_HTTPHEADER, t->headers);
	/* Small pieces, where a large one would be in debt for long. Refused by a handle
	 * whose last request never got a connection: then it has the size of that. */
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE,
			 limit && limit < 16 * CURL_MAX_WRITE_SIZE ? (long)(limit / 16 + 1024)
								   : (long)CURL_MAX_WRITE_SIZE);
	return rc;
}

static int add_header(struct transfer *t, const char *line)
{
	struct curl_slist *list = curl_slist_append(t->headers, line);

	if (!list)
		return -ENOMEM;
	t->headers = list;
	return 0;
}

static int set_headers(struct transfer *t, const struct http_request *r)
{
	const char *const *line;
	int ret = 0;

	for (line = r->header; line && *line && !ret; line++)
		ret = add_header(t, *line);
	if (!ret && has_body(r) && r->body_len < EXPECT_MIN)
		ret = add_header(t, "Expect:");
	return ret;
}

int transfer_begin(struct transfer *t, struct http_request *r)
{
	int ret;

	t->request = r;
	http_answer_begin(&t->answer, r);
	t->at = 0;
	t->tries = 0;
	t->fault = 0;
	t->cancelled = false;
	t->error[0] = '\0';
	curl_slist_free_all(t->headers);
	t->headers = NULL;
	ret = set_headers(t, r);
	if (!ret && set_request(t, r))
		ret = -EINVAL;
	return ret;
}

/* What came of it */

static int connect_error(CURL *e)
{
	long err = 0;

	curl_easy_getinfo(e, CURLINFO_OS_ERRNO, &err);
	return err == ECONNREFUSED || err == ETIMEDOUT ? -(int)err : -EHOSTUNREACH;
}

static int error_of(const struct transfer *t, CURLcode rc)
{
	static const struct {
		CURLcode rc;
		int err;
	} known[] = {
		{ CURLE_OK, 0 },
		{ CURLE_URL_MALFORMAT, -EINVAL },
		{ CURLE_COULDNT_RESOLVE_PROXY, -EHOSTUNREACH },
		{ CURLE_COULDNT_RESOLVE_HOST, -EHOSTUNREACH },
		{ CURLE_PROXY, -EHOSTUNREACH },
		{ CURLE_OPERATION_TIMEDOUT, -ETIMEDOUT },
		{ CURLE_PARTIAL_FILE, -ECONNRESET },
		{ CURLE_GOT_NOTHING, -ECONNRESET },
		{ CURLE_SEND_ERROR, -ECONNRESET },
		{ CURLE_RECV_ERROR, -ECONNRESET },
		{ CURLE_SSL_CONNECT_ERROR, -ECONNRESET },
		{ CURLE_HTTP2, -ECONNRESET },
		{ CURLE_HTTP2_STREAM, -ECONNRESET },
		{ CURLE_PEER_FAILED_VERIFICATION, -EKEYREJECTED },
		{ CURLE_SSL_ISSUER_ERROR, -EKEYREJECTED },
		{ CURLE_SSL_INVALIDCERTSTATUS, -EKEYREJECTED },
		{ CURLE_SSL_CACERT_BADFILE, -EINVAL },
		{ CURLE_SSL_CERTPROBLEM, -EINVAL },
		{ CURLE_LOGIN_DENIED, -EINVAL }, /* a password in the URL */
		{ CURLE_OUT_OF_MEMORY, -ENOMEM },
	};
	size_t i;

	if (rc == CURLE_COULDNT_CONNECT)
		return connect_error(t->easy);
	/* Of the URL, or of an answer that is not HTTP. */
	if (rc == CURLE_UNSUPPORTED_PROTOCOL)
		return t->tries ? -EIO : -EINVAL;
	for (i = 0; i < N_ELEMS(known); i++)
		if (known[i].rc == rc)
			return known[i].err;
	return -EIO;
}

static unsigned version_of(struct transfer *t)
{
	long version = 0;

	curl_easy_getinfo(t->easy, CURLINFO_HTTP_VERSION, &version);
	switch (version) {
	case CURL_HTTP_VERSION_1_0:
		return 10;
	case CURL_HTTP_VERSION_1_1:
		return 11;
	case CURL_HTTP_VERSION_2_0:
		return 20;
	case CURL_HTTP_VERSION_3:
		return 30;
	default:
		return 0;
	}
}

static void take_answer(struct transfer *t)
{
	struct http_request *r = t->request;
	curl_off_t n = -1;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &r->status);
	if (!curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &n) && n >= 0)
		r->content_length = (uint64_t)n;
	n = 0;
	curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &n);
	r->sent = n > 0 ? (uint64_t)n : 0;
	http_answer_end(&t->answer);
	r->version = version_of(t);
	r->reused = t->tries > 1;
}

static void take_error(struct transfer *t, CURLcode rc)
{
	struct http_request *r = t->request;
	const char *text = t->error[0] ? t->error : curl_easy_strerror(rc);

	if (t->cancelled)
		r->err = -ECANCELED;
	else if (t->answer.enough)
		r->err = 0;
	else if (t->fault)
		r->err = t->fault;
	else
		r->err = error_of(t, rc);
	if (t->cancelled || t->fault)
		text = strerror(-r->err);
	if (r->err)
		http_answer_text(r->error, sizeof(r->error), text, strlen(text));
}

void transfer_end(struct transfer *t, CURLcode rc)
{
	take_answer(t);
	take_error(t, rc);
}
