/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encodings of URLs, XML, dates. No state. */
#include "tests/http/faulty.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, tolower((unsigned char)c)) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* The byte of "%xx", 0: it is none. */
static int escaped(const char *s, size_t len)
{
	int high = len > 2 ? hex_digit(s[1]) : -1, low = len > 2 ? hex_digit(s[2]) : -1;

	return high < 0 || low < 0 ? 0 : high << 4 | low;
}

ssize_t percent_decode(const char *s, size_t len, char *out, size_t size)
{
	size_t i, n = 0;

	for (i = 0; i < len; i++) {
		int c = (unsigned char)s[i];

		if (c == '%') {
			c = escaped(s + i, len - i);
			i += 2;
		}
		if (!c || n + 1 >= size)
			return -1;
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return (ssize_t)n;
}

void percent_encode(FILE *out, const char *s, const char *also_plain)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if ((c < 0x80 && isalnum(c)) || strchr("-._~", c) || strchr(also_plain, c))
			fputc(c, out);
		else
			fprintf(out, "%%%02X", c);
	}
}

void xml_escape(FILE *out, const char *s)
{
	for (; *s; s++) {
		if (strchr("<>&\"'\r\n", *s))
			fprintf(out, "&#%d;", *s);
		else
			fputc(*s, out);
	}
}

bool query_get(const char *query, const char *key, char *out, size_t size)
{
	size_t key_len = strlen(key), len;

	for (; *query; query += len + (query[len] == '&')) {
		len = strcspn(query, "&");
		if (len < key_len || strncmp(query, key, key_len) != 0)
			continue;
		if (len == key_len) {
			*out = '\0';
			return true;
		}
		if (query[key_len] == '=')
			return percent_decode(query + key_len + 1, len - key_len - 1, out,
					      size) >= 0;
	}
	return false;
}

int64_t query_number(const char *query, const char *key, int64_t none)
{
	char text[32];

	return query_get(query, key, text, sizeof(text)) ? strtoll(text, NULL, 10) : none;
}

void http_date(char out[40], int64_t when)
{
	static const char days[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					  "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t t = (time_t)when;
	struct tm tm;

	gmtime_r(&t, &tm);
	snprintf(out, 40, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday],
		 tm.tm_mday % 100, months[tm.tm_mon], (tm.tm_year + 1900) % 10000,
		 tm.tm_hour % 100, tm.tm_min % 100, tm.tm_sec % 100);
}

void hex(char *out, const void *data, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		sprintf(out + 2 * i, "%02x", ((const unsigned char *)data)[i]);
}

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}
