/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may come in: Basic, Digest (SHA-256, with a nonce that the fault "nonce"
 * makes stale) and Bearer, as --auth says. The nonce is a number, so that no
 * lock is needed.
 */
#include "tests/http/faulty.h"

#include <sodium.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>

#define REALM "faulty"
#define HASH_HEX (2 * crypto_hash_sha256_BYTES + 1)

static atomic_uint nonce = 1;

/* The value of key="value" or key=value in the header of Digest. */
static bool field(const char *header, const char *key, char *out, size_t size)
{
	char pattern[32];
	const char *at;
	size_t len;

	snprintf(pattern, sizeof(pattern), " %s=", key);
	at = strcasestr(header, pattern);
	if (!at)
		return false;
	at += strlen(pattern);
	at += *at == '"';
	len = strcspn(at, at[-1] == '"' ? "\"" : ", ");
	if (len >= size)
		return false;
	memcpy(out, at, len);
	out[len] = '\0';
	return true;
}

static void hash_text(char *out, const char *text)
{
	unsigned char sum[crypto_hash_sha256_BYTES];

	crypto_hash_sha256(sum, (const unsigned char *)text, strlen(text));
	hex(out, sum, sizeof(sum));
}

/* credentials: "USER:PASSWORD" */
static bool digest_right(const struct exchange *x, const char *header, const char *credentials)
{
	char text[3 * PATH_SIZE], a1[HASH_HEX], a2[HASH_HEX], want[HASH_HEX], got[HASH_HEX];
	char its_nonce[32], nc[16], cnonce[128], uri[PATH_SIZE];
	const char *password = strrchr(credentials, ':') + 1;

	if (!field(header, "response", got, sizeof(got)) || !field(header, "nc", nc, sizeof(nc)) ||
	    !field(header, "nonce", its_nonce, sizeof(its_nonce)) ||
	    !field(header, "cnonce", cnonce, sizeof(cnonce)) ||
	    !field(header, "uri", uri, sizeof(uri)) || strcmp(uri, x->target) != 0)
		return false;
	snprintf(text, sizeof(text), "%.*s:" REALM ":%s", (int)(password - 1 - credentials),
		 credentials, password);
	hash_text(a1, text);
	snprintf(text, sizeof(text), "%s:%s", x->method, uri);
	hash_text(a2, text);
	snprintf(text, sizeof(text), "%s:%s:%s:%s:auth:%s", a1, its_nonce, nc, cnonce, a2);
	hash_text(want, text);
	return !strcmp(want, got);
}

static bool digest_check(struct exchange *x, const char *header, const char *credentials)
{
	char challenge[256], current[32], its_nonce[32] = "";
	bool right;

	if (x->effect.bits & FAULT_NONCE)
		atomic_fetch_add(&nonce, 1);
	snprintf(current, sizeof(current), "n%u", atomic_load(&nonce));
	right = header && digest_right(x, header, credentials);
	if (right && field(header, "nonce", its_nonce, sizeof(its_nonce)) &&
	    !strcmp(its_nonce, current))
		return true;
	snprintf(challenge, sizeof(challenge),
		 "WWW-Authenticate: Digest realm=\"" REALM "\", nonce=\"%s\", qop=\"auth\", "
		 "algorithm=SHA-256%s\r\n", current, right ? ", stale=true" : "");
	wire_answer(x, 401, challenge, "who are you?\n");
	return false;
}

static bool basic_right(const char *header, const char *credentials)
{
	char text[512];

	if (!header || strncasecmp(header, "Basic ", 6) != 0 || strlen(credentials) > 256)
		return false;
	sodium_bin2base64(text, sizeof(text), (const unsigned char *)credentials,
			  strlen(credentials), sodium_base64_VARIANT_ORIGINAL);
	return !strcmp(header + 6, text);
}

bool auth_check(struct exchange *x)
{
	const char *header = wire_header(x, "Authorization"), *auth = server.auth;
	bool right;

	if (!auth)
		return true;
	if (!strncmp(auth, "digest:", 7))
		return digest_check(x, header, auth + 7);
	if (!strncmp(auth, "bearer:", 7))
		right = header && !strncasecmp(header, "Bearer ", 7) &&
			!strcmp(header + 7, auth + 7);
	else
		right = basic_right(header, auth + 6);
	if (!right)
		wire_answer(x, 401, "WWW-Authenticate: Basic realm=\"" REALM "\"\r\n",
			    "who are you?\n");
	return right;
}
