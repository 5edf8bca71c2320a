/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The HTTP client with many requests at a time: connections, rates, waiting,
 * waking, cancelling, large bodies in little memory. Times are generous above
 * and strict below, as the machine may be busy.
 */
#include "replica/remote/http.h"

#include <pthread.h>
#include <sys/resource.h>

#include "replica/remote/rate.h"
#include "tests/http/spawn.h"

static struct faulty server;

static int setup(void **state)
{
	(void)state;
	faulty_start(&server, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	faulty_stop(&server);
	return 0;
}

static int begin(void **state)
{
	(void)state;
	faulty_command(&server, "clear");
	faulty_command(&server, "zero");
	return 0;
}

static double clock_of(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double now(void)
{
	return clock_of(CLOCK_MONOTONIC);
}

static struct http *open_client(const struct http_options *o)
{
	struct http *h;

	assert_int_equal(http_open(o, &h), 0);
	return h;
}

/* Body of any length: byte n is known. */
static uint8_t byte_at(uint64_t n)
{
	return (uint8_t)(n * 2654435761u >> 13);
}

static ssize_t read_any(void *arg, uint64_t off, void *buf, size_t len)
{
	size_t i;

	(void)arg;
	for (i = 0; i < len; i++)
		((uint8_t *)buf)[i] = byte_at(off + i);
	return (ssize_t)len;
}

static int check_any(void *arg, const void *buf, size_t len)
{
	uint64_t *at = arg;
	size_t i;

	for (i = 0; i < len; i++)
		if (((const uint8_t *)buf)[i] != byte_at(*at + i))
			return -EBADMSG;
	*at += len;
	return 0;
}

struct job {
	struct http_request r;
	char url[128];
	uint64_t at;
};

static struct job *make_job(struct job *j, const char *method, const char *path, uint64_t len)
{
	memset(j, 0, sizeof(*j));
	snprintf(j->url, sizeof(j->url), "%s%s", server.url, path);
	j->r.method = method;
	j->r.url = j->url;
	if (len) {
		j->r.read = read_any;
		j->r.body_len = len;
	} else {
		j->r.write = check_any;
		j->r.write_arg = &j->at;
	}
	return j;
}

static void put_object(struct http *h, const char *path, uint64_t len)
{
	struct job j;

	make_job(&j, "PUT", path, len);
	assert_int_equal(http_perform(h, &j.r), 0);
	assert_int_equal(j.r.status / 100, 2);
	http_request_clear(&j.r);
}

/* All that run, with a limit of time. */
static void wait_for_all(struct http *h)
{
	double end = now() + 60;

	while (http_running(h)) {
		struct http_request *r = http_wait(h, 1000);

		assert_true(now() < end);
		if (!r)
			continue;
		assert_int_equal(r->err, 0);
		assert_int_equal(r->status / 100, 2);
		http_request_clear(r);
	}
}

static void test_connections(void **state)
{
	static const struct http_options o = { .connections = 3 };
	struct http *h = open_client(&o);
	struct job jobs[60];
	size_t i;

	(void)state;
	put_object(h, "/obj", 20000);
	faulty_command(&server, "fault=hang&seconds=1&count=6");
	for (i = 0; i < N_ELEMS(jobs); i++)
		assert_int_equal(http_start(h, &make_job(&jobs[i], "GET", "/obj", 0)->r), 0);
	assert_int_equal(http_running(h), N_ELEMS(jobs));
	wait_for_all(h);
	for (i = 0; i < N_ELEMS(jobs); i++)
		assert_int_equal(jobs[i].at, 20000);
	assert_int_equal(faulty_count(&server, "max_active"), 3);
	assert_int_equal(faulty_count(&server, "requests"), 61);
	/* Three of ours, one of a command, and one that has not gone yet. */
	assert_in_range(faulty_count(&server, "max_connections"), 4, 5);
	http_close(h);
}

/* Requests that wait for a connection are not stalled. */
static void test_queue_is_no_stall(void **state)
{
	static const struct http_options o = { .connections = 1, .stall_s = 2, .connect_ms = 1000 };
	struct http *h = open_client(&o);
	struct job jobs[5];
	size_t i;

	(void)state;
	put_object(h, "/obj", 20000);
	faulty_command(&server, "fault=hang&seconds=1&count=0&method=GET");
	for (i = 0; i < N_ELEMS(jobs); i++)
		assert_int_equal(http_start(h, &make_job(&jobs[i], "GET", "/obj", 0)->r), 0);
	wait_for_all(h);
	http_close(h);
}

static void test_stall(void **state)
{
	static const struct http_options o = { .stall_s = 1 };
	struct http *h = open_client(&o);
	struct job j;
	double from;

	(void)state;
	put_object(h, "/obj", 2000);
	/* Slow, but it comes. */
	faulty_command(&server, "fault=slow&rate=600");
	make_job(&j, "GET", "/obj", 0);
	from = now();
	assert_int_equal(http_perform(h, &j.r), 0);
	assert_true(now() - from > 2.5);
	assert_int_equal(j.at, 2000);
	/* Neither side of a connection gets on. */
	faulty_command(&server, "fault=hang");
	make_job(&j, "GET", "/obj", 0);
	from = now();
	assert_int_equal(http_perform(h, &j.r), -ETIMEDOUT);
	assert_true(now() - from < 20);
	faulty_command(&server, "fault=hang");
	make_job(&j, "PUT", "/stalled", 100000000);
	assert_int_equal(http_perform(h, &j.r), -ETIMEDOUT);
	http_close(h);
}

/* Rates */

static void test_rate(void **state)
{
	struct rate r;
	uint64_t t = 1000, taken = 0;

	(void)state;
	rate_set(&r, 0, t);
	assert_true(rate_open(&r, t));
	rate_take(&r, 1 << 30);
	assert_int_equal(rate_delay_ms(&r, t), 0);
	assert_int_equal(rate_piece(&r, 65536), 65536);
	rate_set(&r, 1000000, t);
	assert_false(rate_open(&r, t));
	/* Ten seconds of taking pieces as soon as one may. */
	while (t < 10001000) {
		t += (uint64_t)rate_delay_ms(&r, t) * 1000;
		assert_true(rate_open(&r, t));
		rate_take(&r, 40000);
		taken += 40000;
	}
	assert_in_range(taken, 9500000, 10100000);
	/* A long pause is worth a tenth of a second, not more. */
	t += 100000000;
	for (taken = 0; rate_open(&r, t); taken += 1000)
		rate_take(&r, 1000);
	assert_in_range(taken, 99000, 102000);
	/* Asked every microsecond, a slow one still fills. */
	rate_set(&r, 10, t);
	for (taken = 0; taken < 1000000 && !rate_open(&r, t); taken++)
		t++;
	assert_in_range(taken, 90000, 110000);
	rate_set(&r, UINT64_MAX, t);
	assert_true(rate_open(&r, t + 100));
	assert_int_equal(rate_delay_ms(&r, t + 100), 0);
}

/* Seconds that n requests of len bytes took together. */
static double time_of(struct http *h, const char *method, size_t n, uint64_t len)
{
	struct job jobs[8];
	double from = now();
	size_t i;

	for (i = 0; i < n; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/rate%zu", i);
		make_job(&jobs[i], method, path, strcmp(method, "PUT") ? 0 : len);
		assert_int_equal(http_start(h, &jobs[i].r), 0);
	}
	wait_for_all(h);
	for (i = 0; i < n; i++)
		assert_true(jobs[i].at == len || !strcmp(method, "PUT"));
	return now() - from;
}

/* Two at a time keep to the limit together; to wait for it is no stall (1 s),
 * and takes no time of the processor. */
static void test_limits(void **state)
{
	static const struct http_options o = { .up_limit = 200000, .down_limit = 200000,
					       .stall_s = 1 };
	struct http *h = open_client(&o);
	double cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID), t;

	(void)state;
	t = time_of(h, "PUT", 2, 300000);
	print_message("up: %.2f s\n", t);
	assert_true(t > 2.8 && t < 6);
	assert_int_equal(faulty_count(&server, "max_active"), 2);
	t = time_of(h, "GET", 2, 300000);
	print_message("down: %.2f s\n", t);
	assert_true(t > 2.8 && t < 6);
	assert_int_equal(faulty_count(&server, "bytes_in"), 600000);
	t = clock_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	print_message("processor: %.2f s\n", t);
	assert_true(t < 1);
	http_limit(h, 0, 0);
	assert_true(time_of(h, "PUT", 2, 300000) < 2);
	http_close(h);
}

/* So slow that each waits for seconds until it may go on. */
static void test_low_limit(void **state)
{
	static const struct http_options o = { .up_limit = 4000, .down_limit = 4000, .stall_s = 1 };
	struct http *h = open_client(&o);

	(void)state;
	assert_in_range(time_of(h, "PUT", 6, 3000), 4, 12);
	assert_in_range(time_of(h, "GET", 6, 3000), 3, 12);
	http_close(h);
}

static void test_limit_lifted(void **state)
{
	static const struct http_options o = { .up_limit = 1000 };
	struct http *h = open_client(&o);
	struct job j;
	double from = now();

	(void)state;
	assert_int_equal(http_start(h, &make_job(&j, "PUT", "/lifted", 100000)->r), 0);
	assert_null(http_wait(h, 300));
	http_limit(h, 0, 0);
	wait_for_all(h);
	assert_true(now() - from < 10);
	http_close(h);
}

/* Waiting */

static void *wake_later(void *arg)
{
	faulty_pause(100);
	http_wake(arg);
	return NULL;
}

static void test_wake(void **state)
{
	static const struct http_options o = { 0 };
	struct http *h = open_client(&o);
	double from = now();
	pthread_t thread;

	(void)state;
	assert_null(http_wait(h, 0));
	assert_int_equal(pthread_create(&thread, NULL, wake_later, h), 0);
	assert_null(http_wait(h, -1));
	assert_true(now() - from > 0.09);
	pthread_join(thread, NULL);
	/* One that came while nobody waited counts, also after a request alone. */
	http_wake(h);
	http_wake(h);
	put_object(h, "/wake", 10);
	from = now();
	assert_null(http_wait(h, 20000));
	assert_true(now() - from < 10);
	/* ... once. */
	from = now();
	assert_null(http_wait(h, 200));
	assert_true(now() - from > 0.19);
	http_close(h);
}

static void test_no_hot_loop(void **state)
{
	static const struct http_options o = { 0 };
	struct http *h = open_client(&o);
	double cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID), from = now();
	struct job j;

	(void)state;
	faulty_command(&server, "fault=hang");
	assert_int_equal(http_start(h, &make_job(&j, "GET", "/hot", 0)->r), 0);
	assert_null(http_wait(h, 2000));
	assert_true(now() - from > 1.9);
	assert_true(clock_of(CLOCK_PROCESS_CPUTIME_ID) - cpu < 0.5);
	assert_int_equal(http_running(h), 1);
	http_close(h);
	assert_int_equal(j.r.err, -ECANCELED);
}

static void test_cancel(void **state)
{
	static const struct http_options o = { .connections = 2 };
	struct http *h = open_client(&o);
	struct http_request *r;
	struct job jobs[6];
	unsigned cancelled = 0;
	size_t i;

	(void)state;
	put_object(h, "/obj", 20000);
	faulty_command(&server, "fault=hang&count=2&match=/hang");
	for (i = 0; i < N_ELEMS(jobs); i++)
		assert_int_equal(http_start(h, &make_job(&jobs[i], "GET", i < 2 ? "/hang" : "/obj",
							 0)->r), 0);
	/* The first two hold both connections, so the others have not begun. */
	assert_null(http_wait(h, 200));
	http_cancel(h, &jobs[0].r);
	http_cancel(h, &jobs[1].r);
	http_cancel(h, &jobs[5].r);
	http_cancel(h, &jobs[5].r);
	while (http_running(h)) {
		r = http_wait(h, 20000);
		assert_non_null(r);
		if (r->err) {
			assert_int_equal(r->err, -ECANCELED);
			assert_string_equal(r->error, strerror(ECANCELED));
			cancelled++;
		}
		http_cancel(h, r); /* has come back: nothing */
	}
	assert_int_equal(cancelled, 3);
	for (i = 2; i < 5; i++)
		assert_int_equal(jobs[i].r.status, 200);
	http_close(h);
}

static int cancel_another(void *arg, const void *buf, size_t len)
{
	struct job *j = arg;

	(void)buf, (void)len;
	http_cancel(j[0].r.user, &j[0].r);
	http_cancel(j[0].r.user, &j[1].r);
	return 0;
}

/* From within a callback of the one that is cancelled. */
static void test_cancel_within(void **state)
{
	static const struct http_options o = { .down_limit = 20000 };
	struct http *h = open_client(&o);
	struct job jobs[2];
	size_t i;

	(void)state;
	put_object(h, "/obj", 200000);
	for (i = 0; i < N_ELEMS(jobs); i++) {
		make_job(&jobs[i], "GET", "/obj", 0);
		jobs[i].r.user = h;
		jobs[i].r.write = cancel_another;
		jobs[i].r.write_arg = jobs;
		assert_int_equal(http_start(h, &jobs[i].r), 0);
	}
	for (i = 0; i < N_ELEMS(jobs); i++)
		assert_int_equal(http_wait(h, 20000)->err, -ECANCELED);
	assert_int_equal(http_running(h), 0);
	http_close(h);
}

/* What waits for its rate, or for a connection, is forgotten with it. */
static void test_cancel_paused(void **state)
{
	static const struct http_options o = { .connections = 2, .down_limit = 4000 };
	struct http *h = open_client(&o);
	struct job jobs[6];
	size_t i;

	(void)state;
	put_object(h, "/obj", 20000);
	for (i = 0; i < N_ELEMS(jobs); i++)
		assert_int_equal(http_start(h, &make_job(&jobs[i], "GET", "/obj", 0)->r), 0);
	assert_null(http_wait(h, 600));
	for (i = 0; i < N_ELEMS(jobs); i++)
		http_cancel(h, &jobs[i].r);
	for (i = 0; i < N_ELEMS(jobs); i++)
		assert_int_equal(http_wait(h, 20000)->err, -ECANCELED);
	assert_int_equal(http_start(h, &make_job(&jobs[0], "GET", "/obj", 0)->r), 0);
	wait_for_all(h);
	http_close(h);
}

/* Size */

static long peak_kib(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss;
}

static void test_large(void **state)
{
	static const struct http_options o = { 0 };
	const uint64_t len = 128 << 20;
	struct http *h = open_client(&o);
	struct job j;
	long before;

	(void)state;
	put_object(h, "/large", 1 << 20);
	before = peak_kib();
	put_object(h, "/large", len);
	make_job(&j, "GET", "/large", 0);
	assert_int_equal(http_perform(h, &j.r), 0);
	assert_int_equal(j.at, len);
	assert_int_equal(j.r.body_got, len);
	assert_int_equal(j.r.content_length, len);
	print_message("memory: %ld KiB more\n", peak_kib() - before);
	assert_true(peak_kib() - before < 16 << 10);
	http_close(h);
}

static void test_garbled(void **state)
{
	static const struct http_options o = { 0 };
	struct http *h = open_client(&o);
	struct job j;

	(void)state;
	put_object(h, "/g", 100000);
	faulty_command(&server, "fault=flip");
	make_job(&j, "GET", "/g", 0);
	assert_int_equal(http_perform(h, &j.r), -EBADMSG);
	make_job(&j, "GET", "/g", 0);
	assert_int_equal(http_perform(h, &j.r), 0);
	http_close(h);
}

#define http_test(f) cmocka_unit_test_setup(f, begin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rate),
		http_test(test_connections),
		http_test(test_queue_is_no_stall),
		http_test(test_stall),
		http_test(test_limits),
		http_test(test_low_limit),
		http_test(test_limit_lifted),
		http_test(test_wake),
		http_test(test_no_hot_loop),
		http_test(test_cancel),
		http_test(test_cancel_within),
		http_test(test_cancel_paused),
		http_test(test_large),
		http_test(test_garbled),
	};

	return cmocka_run_group_tests_name("http_many", tests, setup, teardown);
}
