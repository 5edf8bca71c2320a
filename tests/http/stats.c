/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counters, for the tests to ask: how many requests, how many at a time, how
 * many in a second. One lock around all of it.
 */
#include "tests/http/faulty.h"

#include <pthread.h>
#include <string.h>

#define RECENT 16384

static const char *const methods[] = { "GET",  "HEAD", "PUT",	  "DELETE", "MKCOL", "MOVE",
				       "COPY", "POST", "PROPFIND", "OPTIONS", "other" };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	uint64_t requests, by_method[N_ELEMS(methods)];
	uint64_t active, max_active;
	uint64_t connections, open, max_open;
	uint64_t expects, chunked, faults;
	uint64_t bytes_in, bytes_out;
	uint64_t peak;                /* most requests within any second */
	uint64_t recent[RECENT];      /* when the last ones came, a ring */
} s;

static uint64_t last_second(uint64_t now)
{
	uint64_t n = 0, most = s.requests < RECENT ? s.requests : RECENT;

	while (n < most && s.recent[(s.requests - 1 - n) % RECENT] + 1000 > now)
		n++;
	return n;
}

void stats_connection(int change)
{
	pthread_mutex_lock(&lock);
	s.open += (uint64_t)(int64_t)change;
	if (change > 0)
		s.connections++;
	if (s.open > s.max_open)
		s.max_open = s.open;
	pthread_mutex_unlock(&lock);
}

void stats_begin(const struct exchange *x)
{
	uint64_t now = now_ms();
	size_t i = 0;

	while (i + 1 < N_ELEMS(methods) && strcmp(methods[i], x->method) != 0)
		i++;
	pthread_mutex_lock(&lock);
	s.by_method[i]++;
	s.recent[s.requests++ % RECENT] = now;
	if (last_second(now) > s.peak)
		s.peak = last_second(now);
	if (++s.active > s.max_active)
		s.max_active = s.active;
	s.expects += x->expects;
	s.chunked += x->chunked;
	s.faults += x->effect.bits != 0;
	pthread_mutex_unlock(&lock);
}

void stats_end(const struct exchange *x)
{
	(void)x;
	pthread_mutex_lock(&lock);
	s.active--;
	pthread_mutex_unlock(&lock);
}

void stats_bytes(uint64_t in, uint64_t out)
{
	pthread_mutex_lock(&lock);
	s.bytes_in += in;
	s.bytes_out += out;
	pthread_mutex_unlock(&lock);
}

/* But not what is under way. */
void stats_zero(void)
{
	uint64_t active, open;

	pthread_mutex_lock(&lock);
	active = s.active;
	open = s.open;
	memset(&s, 0, sizeof(s));
	s.active = s.max_active = active;
	s.open = s.max_open = open;
	pthread_mutex_unlock(&lock);
}

void stats_print(FILE *out)
{
	size_t i;

	pthread_mutex_lock(&lock);
#define LINE(name, value) fprintf(out, name " %llu\n", (unsigned long long)(value))
	LINE("requests", s.requests);
	LINE("active", s.active);
	LINE("max_active", s.max_active);
	LINE("connections", s.connections);
	LINE("open_connections", s.open);
	LINE("max_connections", s.max_open);
	LINE("expects", s.expects);
	LINE("chunked", s.chunked);
	LINE("faults", s.faults);
	LINE("bytes_in", s.bytes_in);
	LINE("bytes_out", s.bytes_out);
	LINE("last_second", last_second(now_ms()));
	LINE("peak_second", s.peak);
#undef LINE
	for (i = 0; i < N_ELEMS(methods); i++)
		fprintf(out, "%s %llu\n", methods[i], (unsigned long long)s.by_method[i]);
	pthread_mutex_unlock(&lock);
}
