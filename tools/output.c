// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rows to text. Values are printed from the very objects that --json prints,
 * so the two cannot tell different things. Strings are made harmless first: a
 * name or a message must not reach the terminal as a control sequence.
 */
#include "tools/output.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "replica/base/cleanup.h"
#include "replica/ctlpath.h"

void output_size(uint64_t bytes, char out[OUTPUT_SIZE_MAX])
{
	static const char units[][4] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	size_t unit = 0;

	/* what would be rounded to 1024 belongs to the next unit */
	while (value >= 1023.5 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}
	snprintf(out, OUTPUT_SIZE_MAX, unit && value < 9.95 ? "%.1f %s" : "%.0f %s", value,
		 units[unit]);
}

void output_duration(uint64_t seconds, char out[OUTPUT_SIZE_MAX])
{
	unsigned long long hours = seconds / 3600;
	unsigned min = (unsigned)(seconds / 60 % 60), sec = (unsigned)(seconds % 60);

	if (hours < 72)
		snprintf(out, OUTPUT_SIZE_MAX, "%llu:%02u:%02u", hours, min, sec);
	else
		snprintf(out, OUTPUT_SIZE_MAX, "%llu d %02llu:%02u:%02u", hours / 24, hours % 24,
			 min, sec);
}

void output_seconds(double seconds, char out[OUTPUT_SIZE_MAX])
{
	if (seconds < 59.95)
		snprintf(out, OUTPUT_SIZE_MAX, "%.1f s", seconds);
	else if (seconds < 1e15)
		output_duration((uint64_t)(seconds + 0.5), out);
	else
		snprintf(out, OUTPUT_SIZE_MAX, "ever");
}

void output_time(int64_t at, char out[OUTPUT_SIZE_MAX])
{
	time_t t = (time_t)at;
	struct tm tm;

	if (!localtime_r(&t, &tm) || !strftime(out, OUTPUT_SIZE_MAX, "%Y-%m-%d %H:%M", &tm))
		snprintf(out, OUTPUT_SIZE_MAX, "%lld", (long long)at);
}

static void format_number(long long n, enum output_kind kind, char out[OUTPUT_SIZE_MAX])
{
	if (kind == OUTPUT_TIME)
		output_time(n, out);
	else if (kind == OUTPUT_SECONDS)
		output_seconds((double)n, out);
	else if (kind == OUTPUT_DURATION && n >= 0)
		output_duration((uint64_t)n, out);
	else if ((kind == OUTPUT_BYTES || kind == OUTPUT_RATE) && n >= 0)
		output_size((uint64_t)n, out);
	else
		snprintf(out, OUTPUT_SIZE_MAX, "%lld", n);
	if (kind == OUTPUT_RATE)
		strcat(out, "/s");
}

char *output_value(const json_t *object, const struct output_row *row)
{
	const json_t *v = json_object_get(object, row->key);
	char text[OUTPUT_SIZE_MAX];

	if (json_is_string(v))
		return ctlpath_printable(json_string_value(v));
	if (json_is_integer(v))
		format_number(json_integer_value(v), row->kind, text);
	else if (json_is_real(v))
		output_seconds(json_real_value(v), text); /* the only reals there are */
	else
		return strdup(json_is_true(v) ? "yes" : json_is_false(v) ? "no" : "-");
	return strdup(text);
}

int output_lines(FILE *f, const json_t *object, const struct output_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		CLEANUP_FREE char *text = NULL;

		if (!json_object_get(object, rows[i].key))
			continue;
		text = output_value(object, &rows[i]);
		if (!text)
			return -ENOMEM;
		fprintf(f, "%s: %s\n", rows[i].title, text);
	}
	return 0;
}

/* Columns that a string takes: its characters, as UTF-8 goes. */
static size_t columns(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

static void print_cell(FILE *f, const char *text, size_t width, bool right, bool last)
{
	int pad = (int)(width - columns(text));

	if (right)
		fprintf(f, "%*s%s", pad, "", text);
	else if (last)
		fputs(text, f);
	else
		fprintf(f, "%s%*s", text, pad, "");
	fputs(last ? "\n" : "  ", f);
}

/* All cells, headings first, row by row. */
static char **make_cells(const json_t *array, const struct output_row *rows, size_t n)
{
	size_t lines = json_array_size(array) + 1;
	char **cell = calloc(lines * n, sizeof(*cell));

	for (size_t i = 0; cell && i < lines * n; i++) {
		if (i < n)
			cell[i] = strdup(rows[i].title);
		else
			cell[i] = output_value(json_array_get(array, i / n - 1), &rows[i % n]);
		if (cell[i])
			continue;
		while (i-- > 0)
			free(cell[i]);
		free(cell);
		cell = NULL;
	}
	return cell;
}

static size_t column_width(char *const *cell, size_t lines, size_t n, size_t column)
{
	size_t width = 0, w;

	for (size_t l = 0; l < lines; l++) {
		w = columns(cell[l * n + column]);
		if (w > width)
			width = w;
	}
	return width;
}

int output_table(FILE *f, const json_t *array, const struct output_row *rows, size_t n)
{
	size_t lines = json_array_size(array) + 1;
	char **cell = make_cells(array, rows, n);

	if (!cell)
		return -ENOMEM;
	for (size_t i = 0; i < lines * n; i++)
		print_cell(f, cell[i], column_width(cell, lines, n, i % n),
			   rows[i % n].kind != OUTPUT_TEXT, i % n == n - 1);
	for (size_t i = 0; i < lines * n; i++)
		free(cell[i]);
	free(cell);
	return 0;
}

void output_nonzero(FILE *f, const json_t *object)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)object, key, v) {
		CLEANUP_FREE char *name = ctlpath_printable(key);

		if (name && json_is_integer(v) && json_integer_value(v) != 0)
			fprintf(f, "%s: %lld\n", name, (long long)json_integer_value(v));
	}
}

int output_json(FILE *f, const json_t *object)
{
	if (json_dumpf(object, f, JSON_INDENT(2)) < 0 || fputc('\n', f) == EOF)
		return -EIO;
	return 0;
}
