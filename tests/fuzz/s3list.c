/*
 * fuzz: what an S3 server answers to lists and batches of deletions.  The
 * readers are private to s3_list.c and s3_calls.c, which are therefore part
 * of this file.
 * SPDX-License-Identifier: ISC
 */
#include "fuzz.h"

#include "../../common/s3_calls.c"
#include "../../common/s3_list.c"

static int
one_object(void *arg, const struct s3_object *o, struct err *e)
{
	(void)arg;
	(void)e;
	FUZZ_MUST(o->key != NULL && *o->key != '\0');
	return 0;
}

static int
one_upload(void *arg, const struct s3_upload *u, struct err *e)
{
	(void)arg;
	(void)e;
	FUZZ_MUST(u->key != NULL && u->id != NULL);
	return 0;
}

static int
one_part(void *arg, const struct s3_part *p, struct err *e)
{
	(void)arg;
	(void)e;
	FUZZ_MUST(p->number >= 1 && p->number <= S3_PARTS_MAX);
	return 0;
}

static void
page(const struct buf *b, const char *root, const char *what,
    int (*entry)(struct list *, const struct entry *, int, struct err *))
{
	struct err	e = { 0, "" };
	struct list	l;
	struct page	p;

	memset(&l, 0, sizeof(l));
	memset(&p, 0, sizeof(p));
	l.bucket = "bucket";
	l.root = root;
	l.what = what;
	l.prefix = "in/";
	l.entry = entry;
	l.f_object = one_object;
	l.f_upload = one_upload;
	l.f_part = one_part;
	if (read_page(&l, b, &p, 0, 0, &e) == 0)
		FUZZ_MUST(read_page(&l, b, &p, p.url, 1, &e) == 0 ||
		    e.code != 0);
	else
		FUZZ_MUST(e.code != 0);
	page_clear(&p);
	free(l.last);
}

void
fuzz_s3list(const unsigned char *p, size_t n)
{
	struct err	e = { 0, "" };
	struct buf	b;

	buf_init(&b, (size_t)64 << 20);
	buf_add(&b, n > 0 ? (const char *)p : "", n);
	page(&b, "ListBucketResult", "Contents", object_entry);
	page(&b, "ListMultipartUploadsResult", "Upload", upload_entry);
	page(&b, "ListPartsResult", "Part", part_entry);
	FUZZ_MUST(read_deleted("bucket", &b, 1, NULL, NULL, &e) == 0 ||
	    e.code != 0);
	buf_free(&b);
}
