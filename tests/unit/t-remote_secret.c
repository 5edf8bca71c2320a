/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The credentials file of a remote: what is taken, what not, and that no word tells a secret. */
#include "replica/remote/remote_def.h"

#include <errno.h>
#include <sys/wait.h>

#include "replica/remote/http.h"
#include "tests/unit/tmpdir.h"

#define WORDS 256

#define DAV REMOTE_WEBDAV
#define S3 REMOTE_S3

/* words NULL: good. In no words is "geheim". */
static const struct {
	enum remote_kind kind;
	const char *text, *words;
	int auth;
	const char *user, *password, *token;
} files[] = {
	{ DAV, "user = u\npassword = geheim\n", NULL, HTTP_AUTH_BASIC, "u", "geheim", NULL },
	{ DAV, "# said\r\n\n  user=u\r\n\tpassword =  ge = heim # 1 \r\nauth = digest", NULL,
	  HTTP_AUTH_DIGEST, "u", "ge = heim # 1", NULL },
	{ DAV, "token = geheim\n", NULL, HTTP_AUTH_BEARER, NULL, "geheim", NULL },
	{ DAV, "auth=bearer\ntoken=geheim", NULL, HTTP_AUTH_BEARER, NULL, "geheim", NULL },
	{ S3, "access-key = A\nsecret-key = geheim/+=", NULL, HTTP_AUTH_NONE, "A", "geheim/+=",
	  NULL },
	{ S3, "access-key = A\nsecret-key = geheim\nsession-token = t", NULL, HTTP_AUTH_NONE, "A",
	  "geheim", "t" },
	{ DAV, "", "has neither \"user\" and \"password\" nor \"token\"", 0, 0, 0, 0 },
	{ DAV, "geheim\n", "line 1: not \"key = value\"", 0, 0, 0, 0 },
	{ DAV, "user = u\ngeheim = 1\n", "line 2: unknown key; there are user, password", 0, 0, 0,
	  0 },
	{ S3, "geheim = 1\n", "line 1: unknown key; there are access-key", 0, 0, 0, 0 },
	{ DAV, "access-key = geheim", "line 1: \"access-key\" is for S3, this remote is WebDAV", 0,
	  0, 0, 0 },
	{ S3, "password = geheim", "line 1: \"password\" is for WebDAV, this remote is S3", 0, 0,
	  0, 0 },
	{ DAV, "user = geheim\nuser = geheim\n", "line 2: \"user\" is there twice", 0, 0, 0, 0 },
	{ DAV, "user =  \n", "line 1: \"user\" has no value", 0, 0, 0, 0 },
	{ DAV, "token = geheim\x01", "line 1: \"token\" has a control character", 0, 0, 0, 0 },
	{ DAV, "token = gehe\rim", "line 1: \"token\" has a control character", 0, 0, 0, 0 },
	{ DAV, "user = geheim", "lacks \"password\"", 0, 0, 0, 0 },
	{ DAV, "password = geheim", "lacks \"user\"", 0, 0, 0, 0 },
	{ DAV, "user = ge:heim\npassword = geheim", "\"user\" must not have a ':' in it", 0, 0, 0,
	  0 },
	{ DAV, "auth = geheim\n", "\"auth\" must be basic, digest or bearer", 0, 0, 0, 0 },
	{ DAV, "auth = bearer\nuser = u\npassword = geheim", "\"auth = bearer\" needs \"token\"", 0,
	  0, 0, 0 },
	{ DAV, "auth = basic\ntoken = geheim", "\"token\" is for \"auth = bearer\"", 0, 0, 0, 0 },
	{ DAV, "token = geheim\nuser = u", "only one of the two ways", 0, 0, 0, 0 },
	{ S3, "access-key = geheim", "lacks \"secret-key\"", 0, 0, 0, 0 },
	{ S3, "secret-key = geheim", "lacks \"access-key\"", 0, 0, 0, 0 },
	{ S3, "access-key = ge/heim\nsecret-key = geheim", "\"access-key\" must not have", 0, 0, 0,
	  0 },
};

static const char *in_dir(int dir, const char *name)
{
	static char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	return path;
}

static void same_or_none(const char *a, const char *b)
{
	if (!a || !b)
		assert_ptr_equal(a, b);
	else
		assert_string_equal(a, b);
}

static void credentials_read(void **state)
{
	int dir = *(int *)*state;

	for (size_t i = 0; i < N_ELEMS(files); i++) {
		struct remote_secret s;
		char error[WORDS] = "";
		int r;

		put_file(dir, "c", files[i].text, strlen(files[i].text));
		r = remote_secret_load(in_dir(dir, "c"), files[i].kind, &s, error, sizeof(error));
		if (files[i].words) {
			if (r == 0)
				fail_msg("taken: %s", files[i].text);
			if (!strstr(error, files[i].words) || !strstr(error, in_dir(dir, "c")))
				fail_msg("%s: said %s", files[i].text, error);
			assert_null(strstr(error, "geheim"));
			assert_true(!s.user && !s.password && !s.session_token);
			continue;
		}
		if (r < 0)
			fail_msg("%s: %s", files[i].text, error);
		assert_int_equal(s.auth, files[i].auth);
		same_or_none(s.user, files[i].user);
		same_or_none(s.password, files[i].password);
		same_or_none(s.session_token, files[i].token);
		remote_secret_wipe(&s);
		assert_null(s.password);
	}
}

static void file_refused(int dir, const char *name, int err, const char *words)
{
	struct remote_secret s;
	char error[WORDS] = "";

	assert_int_equal(remote_secret_load(in_dir(dir, name), DAV, &s, error, sizeof(error)),
			 err);
	if (!strstr(error, words))
		fail_msg("%s: said %s", name, error);
}

static void mode_of(int dir, mode_t mode, bool good)
{
	struct remote_secret s;
	char error[WORDS] = "", words[32];

	assert_int_equal(fchmodat(dir, "c", mode, 0), 0);
	if (!good) {
		snprintf(words, sizeof(words), "has mode %04o, must be 0600", (unsigned)mode);
		file_refused(dir, "c", -EPERM, words);
		return;
	}
	assert_int_equal(remote_secret_load(in_dir(dir, "c"), DAV, &s, error, sizeof(error)), 0);
	remote_secret_wipe(&s);
}

static void credentials_guarded(void **state)
{
	static const char good[] = "token = geheim\n";
	static char huge[16385];
	int dir = *(int *)*state;

	file_refused(dir, "none", -ENOENT, "No such file");
	put_file(dir, "c", good, sizeof(good) - 1);
	mode_of(dir, 0600, true);
	mode_of(dir, 0644, false);
	mode_of(dir, 0640, false);
	mode_of(dir, 0700, false);
	mode_of(dir, 0601, false);
	if (geteuid() == 0) {
		mode_of(dir, 0400, true);
		assert_int_equal(fchmodat(dir, "c", 0600, 0), 0);
		assert_int_equal(fchownat(dir, "c", 12345, 0, 0), 0);
		file_refused(dir, "c", -EPERM, "belongs to user 12345, neither to us nor to root");
		assert_int_equal(fchownat(dir, "c", 0, 12345, 0), 0);
	}
	assert_int_equal(fchmodat(dir, "c", 0600, 0), 0);
	assert_int_equal(symlinkat("c", dir, "link"), 0);
	file_refused(dir, "link", -ELOOP, "is a symbolic link");
	assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
	file_refused(dir, "fifo", -EINVAL, "is not a regular file");
	assert_int_equal(mkdirat(dir, "dir", 0700), 0);
	file_refused(dir, "dir", -EINVAL, "is not a regular file");
	memset(huge, '#', sizeof(huge));
	put_file(dir, "huge", huge, sizeof(huge));
	file_refused(dir, "huge", -EFBIG, "is larger than 16384 bytes");
	put_file(dir, "huge", huge, sizeof(huge) - 1);
	file_refused(dir, "huge", -EINVAL, "has neither");
	put_file(dir, "zero", "token = a\0b", 11);
	file_refused(dir, "zero", -EINVAL, "has zero bytes in it");
}

/* Of another user: root's file is fine, if it can be read at all. */
static int as_nobody(const char *path)
{
	struct remote_secret s;
	char error[WORDS] = "";
	int r;

	if (setresuid(65534, 65534, 65534) < 0)
		return 2;
	r = remote_secret_load(path, DAV, &s, error, sizeof(error));
	return r == -EACCES && strstr(error, "Permission denied") ? 0 : 1;
}

static void credentials_unreadable(void **state)
{
	int dir = *(int *)*state, status;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	put_file(dir, "c", "token = t", 9);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(as_nobody(in_dir(dir, "c")));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmpdir_test(credentials_read),
		tmpdir_test(credentials_guarded),
		tmpdir_test(credentials_unreadable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
