/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Manifests, indexes and pages: lists of entries and of pages, and how many
 * pages there are. An index and its pages are found by number, and believed by hash. No locks.
 */
#include "replica/remote/manifest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica/hash.h"
#include "replica/remote/manifest_json.h"

#define N_ELEMS(a) (sizeof(a) / sizeof((a)[0]))
#define FIELD(type, key, kind, member, always)                                    \
	{ key, kind, offsetof(type, member), always, NULL }

/* Any of the three, as it is written. */
struct doc {
	uint64_t id, count;
	unsigned bits, no;
	struct manifest_entry *entry;
	size_t n;
	struct manifest_page *page;
	size_t pages;
};

unsigned manifest_page_of(const char *name, unsigned bits)
{
	return bits ? (unsigned)(hash_bytes(name, strlen(name), 0) >> (64 - bits)) : 0;
}

unsigned manifest_bits(size_t entries, unsigned now)
{
	unsigned bits = 0;

	if (now && now <= MANIFEST_BITS_MAX && entries > (size_t)MANIFEST_PAGE / 4 << now &&
	    entries <= (size_t)MANIFEST_PAGE * 4 << now)
		return now;
	while (bits < MANIFEST_BITS_MAX && entries > (size_t)MANIFEST_PAGE * 2 << bits)
		bits++;
	return bits;
}

void manifest_free(struct manifest *m)
{
	entries_free(m->entry, m->n);
	free(m->page);
	*m = (struct manifest){ 0 };
}

/* ---- lists as fields of a doc ---- */

static bool list_zero(const void *p)
{
	(void)p;
	return false;
}

static void write_entries(struct text *t, const struct field *f, const void *p)
{
	const struct doc *d = p;

	(void)f;
	entries_write(t, d->entry, d->n);
}

static int read_entries(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	struct doc *d = p;

	(void)f;
	return entries_read(r, j, &d->entry, &d->n);
}

static const struct field_kind field_entries = { list_zero, write_entries, read_entries };

static const struct field page_list_fields[] = {
	FIELD(struct manifest_page, "object", &field_ref, ref, false),
	FIELD(struct manifest_page, "entries", &field_u32, entries, false),
};

/* A page without entries needs no object, but may have one. */
static bool lacks_object(const struct manifest_page *p)
{
	return p->entries && !p->ref.seq;
}

static void write_pages(struct text *t, const struct field *f, const void *p)
{
	const struct doc *d = p;
	size_t i;

	(void)f;
	for (i = 0; i < d->pages; i++) {
		text_puts(t, i ? ",\n" : "[\n");
		if (lacks_object(&d->page[i]))
			text_fail(t, -EINVAL);
		object_write(t, page_list_fields, N_ELEMS(page_list_fields), &d->page[i]);
	}
	text_puts(t, "\n]");
}

static int read_each_page(struct reader *r, const json_t *j, struct doc *d)
{
	size_t i;
	int err = 0;

	r->list = "page";
	for (i = 0; !err && i < d->pages; i++) {
		r->index = i;
		err = object_read(r, page_list_fields, N_ELEMS(page_list_fields),
				  json_array_get(j, i), &d->page[i]);
		if (!err && lacks_object(&d->page[i]))
			err = reader_bad(r, "object", "is missing");
	}
	r->list = NULL;
	return err;
}

static int read_pages(struct reader *r, const struct field *f, const json_t *j, void *p)
{
	struct doc *d = p;
	size_t n = json_array_size(j);

	if (!n || n > 1u << MANIFEST_BITS_MAX)
		return reader_bad(r, f->key, "is no list of 2 to %u pages",
				  1u << MANIFEST_BITS_MAX);
	d->page = calloc(n, sizeof(*d->page));
	if (!d->page)
		return reader_no_memory(r);
	d->pages = n;
	return read_each_page(r, j, d);
}

static const struct field_kind field_pages = { list_zero, write_pages, read_pages };

/* ---- the three objects ---- */

static const struct field whole_fields[] = {
	FIELD(struct doc, "id", &field_id, id, true),
	FIELD(struct doc, "count", &field_u64, count, true),
	{ "entries", &field_entries, 0, true, NULL },
};
static const struct field index_fields[] = {
	FIELD(struct doc, "id", &field_id, id, true),
	FIELD(struct doc, "count", &field_u64, count, true),
	FIELD(struct doc, "bits", &field_u32, bits, true),
	{ "pages", &field_pages, 0, true, NULL },
};
static const struct field page_fields[] = {
	FIELD(struct doc, "id", &field_id, id, true),
	FIELD(struct doc, "bits", &field_u32, bits, true),
	FIELD(struct doc, "page", &field_u32, no, true),
	FIELD(struct doc, "count", &field_u64, count, true),
	{ "entries", &field_entries, 0, true, NULL },
};

static const struct doc_kind {
	const char *what;
	const struct field *fields;
	size_t n;
} whole_kind = { "manifest", whole_fields, N_ELEMS(whole_fields) },
  index_kind = { "index", index_fields, N_ELEMS(index_fields) },
  page_kind = { "page", page_fields, N_ELEMS(page_fields) };

static uint64_t count_of(const struct doc *d)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < d->pages; i++)
		sum += d->page[i].entries;
	return d->pages ? sum : d->n;
}

static bool bits_fit(const struct doc *d)
{
	return d->bits >= 1 && d->bits <= MANIFEST_BITS_MAX && d->no < 1u << d->bits;
}

/* What no table says. The same for writer (who tells nobody) and reader. */
static int check_doc(struct reader *r, const struct doc_kind *kind, const struct doc *d)
{
	size_t i;

	if (!d->id)
		return reader_bad(r, "id", "is 0");
	if (d->count != count_of(d))
		return reader_bad(r, "count", "is not that of the entries");
	if (kind == &whole_kind)
		return 0;
	if (!bits_fit(d))
		return reader_bad(r, "bits", "or page is out of range");
	if (kind == &index_kind)
		return d->pages == 1u << d->bits ? 0 : reader_bad(r, "pages", "are not 1 << bits");
	for (i = 0; i < d->n; i++) {
		r->list = "entry";
		r->index = i;
		r->name = d->entry[i].name;
		if (manifest_page_of(d->entry[i].name, d->bits) != d->no)
			return reader_bad(r, "name", "does not belong to this page");
	}
	return 0;
}

static int encode(const struct doc_kind *kind, const struct doc *d, char **out, size_t *len,
		  uint8_t sha256[SHA256_LEN])
{
	struct reader nobody = { .error = NULL };
	struct text t;

	text_begin(&t, kind->what);
	object_write(&t, kind->fields, kind->n, d);
	text_puts(&t, "\n");
	/* Afterwards: by now the names are known to be there. */
	if (!t.err && check_doc(&nobody, kind, d))
		text_fail(&t, -EINVAL);
	return text_finish(&t, true, out, len, sha256);
}

int manifest_encode(const struct manifest *m, char **out, size_t *len, uint8_t sha256[SHA256_LEN])
{
	struct doc d = { .id = m->id, .bits = m->bits };

	if (m->bits > MANIFEST_BITS_MAX || (m->bits && (m->n || !m->page)))
		return -EINVAL;
	if (m->bits) {
		d.page = m->page;
		d.pages = (size_t)1 << m->bits;
	} else {
		d.entry = m->entry;
		d.n = m->n;
	}
	d.count = count_of(&d);
	return encode(m->bits ? &index_kind : &whole_kind, &d, out, len, sha256);
}

int manifest_encode_page(uint64_t id, unsigned bits, unsigned no, const struct manifest_entry *e,
			 size_t n, char **out, size_t *len, uint8_t sha256[SHA256_LEN])
{
	struct doc d = {
		.id = id,
		.bits = bits,
		.no = no,
		.count = n,
		.entry = (struct manifest_entry *)e,
		.n = n,
	};

	return encode(&page_kind, &d, out, len, sha256);
}

static void doc_clear(struct doc *d)
{
	entries_free(d->entry, d->n);
	free(d->page);
	*d = (struct doc){ 0 };
}

static int decode(const struct doc_kind *kind, const char *text, size_t len,
		  const uint8_t want[SHA256_LEN], struct doc *d, char *error, size_t n)
{
	struct reader r = { .error = error, .size = n };
	int err = object_decode(kind->what, text, len, want, kind->fields, kind->n, d, error, n);

	if (!err)
		err = check_doc(&r, kind, d);
	if (err)
		doc_clear(d);
	return err;
}

int manifest_decode(const char *text, size_t len, const uint8_t want[SHA256_LEN],
		    struct manifest *m, char *error, size_t n)
{
	static const char index_start[] = "mirrorfs-index ";
	size_t start = sizeof(index_start) - 1;
	bool index = len >= start && !memcmp(text, index_start, start);
	struct doc d = { 0 };
	int err = decode(index ? &index_kind : &whole_kind, text, len, want, &d, error, n);

	*m = (struct manifest){
		.id = d.id, .bits = d.bits, .entry = d.entry, .n = d.n, .page = d.page
	};
	return err;
}

int manifest_decode_page(const char *text, size_t len, const uint8_t want[SHA256_LEN], uint64_t id,
			 unsigned bits, unsigned no, struct manifest_entry **e, size_t *count,
			 char *error, size_t n)
{
	struct reader r = { .error = error, .size = n };
	struct doc d = { 0 };
	int err = decode(&page_kind, text, len, want, &d, error, n);

	if (!err && (d.id != id || d.bits != bits || d.no != no)) {
		err = reader_bad(&r, "page", "%u of 1 << %u of directory %016llx is another one",
				 d.no, d.bits, (unsigned long long)d.id);
		doc_clear(&d);
	}
	*e = d.entry;
	*count = d.n;
	return err;
}
