/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text for people and JSON for programs. Every result is a JSON object; a
 * table of rows says which of its keys are shown as text, and how.
 */
#ifndef TOOLS_OUTPUT_H
#define TOOLS_OUTPUT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define OUTPUT_SIZE_MAX 32

enum output_kind {
	OUTPUT_TEXT,     /* a string; null and a missing key are "-" */
	OUTPUT_NUMBER,   /* an integer as it is */
	OUTPUT_BYTES,    /* an integer as 1.2 GiB */
	OUTPUT_DURATION, /* an integer of seconds as 0:07:31 */
	OUTPUT_SECONDS,  /* seconds, also parts of them: 0.8 s, from a minute on 0:07:31 */
	OUTPUT_RATE,     /* an integer of bytes a second as 1.2 MiB/s */
	OUTPUT_TIME,     /* an integer of seconds since the epoch as 2024-02-29 12:30 */
};

struct output_row {
	const char *key;   /* in the object */
	const char *title; /* heading of the column, label of the line */
	enum output_kind kind;
};

/* "0 B", "1023 B", "1.0 KiB", "12 MiB": at most four significant places. */
void output_size(uint64_t bytes, char out[OUTPUT_SIZE_MAX]);
/* "0:07:31", "26:00:00", "12 d 03:00:00" */
void output_duration(uint64_t seconds, char out[OUTPUT_SIZE_MAX]);

void output_seconds(double seconds, char out[OUTPUT_SIZE_MAX]);
/* Local time. */
void output_time(int64_t at, char out[OUTPUT_SIZE_MAX]);

/* One value as text in fresh memory, harmless to print. NULL: no memory. */
char *output_value(const json_t *object, const struct output_row *row);
/* "title: value", a line a row; rows whose key is missing are left out. */
int output_lines(FILE *f, const json_t *object, const struct output_row *rows, size_t n);
/* A table of an array of objects: a heading, columns as wide as needed, numbers
 * to the right, the last column as long as it is. 0 or -ENOMEM. */
int output_table(FILE *f, const json_t *array, const struct output_row *rows, size_t n);
/* "key: value" of each integer member that is not 0. */
void output_nonzero(FILE *f, const json_t *object);
/* The object as indented JSON and a newline. 0 or -EIO. */
int output_json(FILE *f, const json_t *object);

#endif
