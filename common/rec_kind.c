/*
 * rec_kind: the kinds of records as structs, in and out of records.  It
 * knows no byte of their form.
 * SPDX-License-Identifier: ISC
 */
#include "rec_kind.h"

#include <string.h>

#include "path.h"
#include "banned.h"

static int
want(struct err *e, const char *t, const char *key, const char *what)
{
	return err_set(e, MSG_PROTOCOL, "%s record: %s: want %s", t, key,
	    what);
}

static int
get_digest(const struct rec *r, const char *t, const char *key,
    const char **s, struct err *e)
{
	unsigned char	d[HASH_LEN];

	if (!rec_get_str(r, key, s) || hash_unhex(*s, d) == -1)
		return want(e, t, key, "64 lower-case hex digits");
	return 0;
}

static int
get_path(const struct rec *r, const char *t, const char **s, struct err *e)
{
	if (!rec_get_str(r, "path", s) || !path_is_safe(*s))
		return want(e, t, "path", "a path below staging");
	return 0;
}

static int
get_url(const struct rec *r, const char *t, const char **s, struct err *e)
{
	if (!rec_get_str(r, "url", s) || **s == '\0')
		return want(e, t, "url", "a URL or path");
	return 0;
}

/* merged: what dmerge makes and a base is; else whatever dcheck opens. */
static int
get_format(const struct rec *r, const char *t, int merged, const char **s,
    struct err *e)
{
	if (rec_get_str(r, "format", s) && (strcmp(*s, "chroma") == 0 ||
	    strcmp(*s, "sqlite") == 0 ||
	    (!merged && strcmp(*s, "batch") == 0)))
		return 0;
	return want(e, t, "format", merged ? "chroma or sqlite" :
	    "chroma, sqlite or batch");
}

int
rec_delta_get(const struct rec *r, struct rec_delta *d, struct err *e)
{
	static const char	t[] = "delta";

	memset(d, 0, sizeof(*d));
	if (get_url(r, t, &d->url, e) == -1 ||
	    get_digest(r, t, "sha256", &d->sha256, e) == -1 ||
	    get_path(r, t, &d->path, e) == -1)
		return -1;
	if (!rec_get_str(r, "kind", &d->kind) ||
	    (strcmp(d->kind, "file") != 0 && strcmp(d->kind, "dir") != 0))
		return want(e, t, "kind", "file or dir");
	if (!rec_get_u64(r, "size", &d->size))
		return want(e, t, "size", "bytes");
	if (!rec_get_i64(r, "seq", &d->seq))
		return want(e, t, "seq", "an integer");
	(void)rec_get_bool(r, "guessed", &d->guessed);
	(void)rec_get_i64(r, "mtime", &d->mtime);
	(void)rec_get_str(r, "etag", &d->etag);
	d->has_want_records = rec_get_u64(r, "want_records",
	    &d->want_records);
	if (!rec_get_str(r, "verdict", &d->verdict))
		return 0;
	if (strcmp(d->verdict, "ok") != 0)
		return want(e, t, "verdict", "ok");
	if (get_format(r, t, 0, &d->format, e) == -1 ||
	    get_digest(r, t, "tree", &d->tree, e) == -1)
		return -1;
	if (!rec_get_u64(r, "records", &d->records) ||
	    !rec_get_u64(r, "tombstones", &d->tombstones))
		return want(e, t, "records", "counts");
	(void)rec_get_bool(r, "recovered", &d->recovered);
	if (rec_has(r, "content_digest"))
		return get_digest(r, t, "content_digest", &d->content_digest,
		    e);
	return 0;
}

void
rec_delta_put(struct rec *r, const struct rec_delta *d)
{
	rec_set_str(r, "url", d->url);
	rec_set_str(r, "sha256", d->sha256);
	rec_set_str(r, "kind", d->kind);
	rec_set_str(r, "path", d->path);
	rec_set_u64(r, "size", d->size);
	rec_set_i64(r, "seq", d->seq);
	rec_set_bool(r, "guessed", d->guessed);
	rec_set_i64(r, "mtime", d->mtime);
	rec_set_str(r, "etag", d->etag);
	if (d->has_want_records)
		rec_set_u64(r, "want_records", d->want_records);
	if (d->verdict == NULL)
		return;
	rec_set_str(r, "verdict", d->verdict);
	rec_set_str(r, "format", d->format);
	rec_set_str(r, "tree", d->tree);
	rec_set_u64(r, "records", d->records);
	rec_set_u64(r, "tombstones", d->tombstones);
	if (d->recovered)
		rec_set_bool(r, "recovered", 1);
	rec_set_str(r, "content_digest", d->content_digest);
}

int
rec_base_get(const struct rec *r, struct rec_base *b, struct err *e)
{
	static const char	t[] = "base";

	memset(b, 0, sizeof(*b));
	if (!rec_get_str(r, "target", &b->target) || *b->target == '\0')
		return want(e, t, "target", "a URL or path");
	(void)rec_get_bool(r, "none", &b->none);
	if (b->none)
		return 0;
	if (!rec_get_str(r, "version", &b->version) ||
	    !path_is_name(b->version))
		return want(e, t, "version", "a version id");
	if (!rec_get_u64(r, "generation", &b->generation) ||
	    b->generation == 0)
		return want(e, t, "generation", "a number above 0");
	if (get_path(r, t, &b->path, e) == -1 ||
	    get_digest(r, t, "sha256", &b->sha256, e) == -1 ||
	    get_digest(r, t, "content_digest", &b->content_digest, e) == -1 ||
	    get_format(r, t, 1, &b->format, e) == -1)
		return -1;
	if (!rec_get_u64(r, "records", &b->records))
		return want(e, t, "records", "a count");
	(void)rec_get_bool(r, "unchanged", &b->unchanged);
	(void)rec_get_bool(r, "left", &b->left);
	if (b->left && !b->unchanged)
		return want(e, t, "left", "an unchanged one");
	if (!rec_get_str(r, "verdict", &b->verdict) ||
	    (b->unchanged && strcmp(b->verdict, REC_UNREAD) == 0))
		return 0;
	if (b->left || strcmp(b->verdict, "ok") != 0)
		return want(e, t, "verdict", "ok, or unread of an unchanged "
		    "one");
	return 0;
}

void
rec_base_put(struct rec *r, const struct rec_base *b)
{
	rec_set_str(r, "target", b->target);
	if (b->none) {
		rec_set_bool(r, "none", 1);
		return;
	}
	rec_set_str(r, "version", b->version);
	rec_set_u64(r, "generation", b->generation);
	rec_set_str(r, "path", b->path);
	rec_set_str(r, "sha256", b->sha256);
	rec_set_str(r, "format", b->format);
	rec_set_u64(r, "records", b->records);
	rec_set_str(r, "content_digest", b->content_digest);
	if (b->unchanged)
		rec_set_bool(r, "unchanged", 1);
	if (b->left)
		rec_set_bool(r, "left", 1);
	rec_set_str(r, "verdict", b->verdict);
}

int
rec_skip_get(const struct rec *r, struct rec_skip *s, struct err *e)
{
	static const char	t[] = "skip";

	memset(s, 0, sizeof(*s));
	if (get_url(r, t, &s->url, e) == -1 ||
	    get_digest(r, t, "sha256", &s->sha256, e) == -1)
		return -1;
	if (!rec_get_str(r, "why", &s->why))
		s->why = "";
	if (!rec_get_str(r, "name", &s->name))
		return 0;
	if (!path_is_safe(s->name))
		return want(e, t, "name", "a path below the set");
	if (!rec_get_u64(r, "size", &s->size) || s->size > INT64_MAX)
		return want(e, t, "size", "bytes");
	(void)rec_get_i64(r, "mtime", &s->mtime);
	(void)rec_get_str(r, "etag", &s->etag);
	return 0;
}

void
rec_skip_put(struct rec *r, const struct rec_skip *s)
{
	rec_set_str(r, "url", s->url);
	rec_set_str(r, "sha256", s->sha256);
	rec_set_str(r, "why", s->why);
	if (s->name == NULL)
		return;
	rec_set_str(r, "name", s->name);
	rec_set_u64(r, "size", s->size);
	rec_set_i64(r, "mtime", s->mtime);
	rec_set_str(r, "etag", s->etag);
}

int
rec_parent_get(const struct rec *r, struct rec_parent *p, struct err *e)
{
	static const char	t[] = "parent";

	memset(p, 0, sizeof(*p));
	if (!rec_get_str(r, "target", &p->target) || *p->target == '\0')
		return want(e, t, "target", "a URL or path");
	(void)rec_get_bool(r, "none", &p->none);
	if (p->none)
		return 0;
	if (!rec_get_str(r, "version", &p->version) ||
	    !path_is_name(p->version))
		return want(e, t, "version", "a version id");
	if (!rec_get_u64(r, "generation", &p->generation) ||
	    p->generation == 0)
		return want(e, t, "generation", "a number above 0");
	return get_digest(r, t, "sha256", &p->sha256, e);
}

void
rec_parent_put(struct rec *r, const struct rec_parent *p)
{
	rec_set_str(r, "target", p->target);
	if (p->none) {
		rec_set_bool(r, "none", 1);
		return;
	}
	rec_set_str(r, "version", p->version);
	rec_set_u64(r, "generation", p->generation);
	rec_set_str(r, "sha256", p->sha256);
}

int
rec_file_get(const struct rec *r, struct rec_file *f, struct err *e)
{
	static const char	t[] = "file";

	memset(f, 0, sizeof(*f));
	if (!rec_get_str(r, "name", &f->name) || !path_is_safe(f->name))
		return want(e, t, "name", "a path below the set");
	if (get_path(r, t, &f->path, e) == -1 ||
	    get_url(r, t, &f->url, e) == -1 ||
	    get_digest(r, t, "sha256", &f->sha256, e) == -1)
		return -1;
	if (!rec_get_u64(r, "size", &f->size) || f->size > INT64_MAX)
		return want(e, t, "size", "bytes");
	(void)rec_get_i64(r, "mtime", &f->mtime);
	(void)rec_get_str(r, "etag", &f->etag);
	if (rec_get_str(r, "verdict", &f->verdict) &&
	    strcmp(f->verdict, "ok") != 0)
		return want(e, t, "verdict", "ok");
	return 0;
}

void
rec_file_put(struct rec *r, const struct rec_file *f)
{
	rec_set_str(r, "name", f->name);
	rec_set_str(r, "path", f->path);
	rec_set_str(r, "url", f->url);
	rec_set_str(r, "sha256", f->sha256);
	rec_set_u64(r, "size", f->size);
	rec_set_i64(r, "mtime", f->mtime);
	rec_set_str(r, "etag", f->etag);
	rec_set_str(r, "verdict", f->verdict);
}

int
rec_store_get(const struct rec *r, struct rec_store *s, struct err *e)
{
	static const char	t[] = "store";
	static const char *const counts[] = { "records", "tombstones",
		"superseded", "inserted", "replaced", "deleted", "merged",
		"bytes" };
	uint64_t *const		into[] = { &s->records, &s->tombstones,
		&s->superseded, &s->inserted, &s->replaced, &s->deleted,
		&s->merged, &s->bytes };
	size_t			i;

	memset(s, 0, sizeof(*s));
	if (get_path(r, t, &s->path, e) == -1 ||
	    get_digest(r, t, "sha256", &s->sha256, e) == -1 ||
	    get_digest(r, t, "content_digest", &s->content_digest, e) == -1 ||
	    get_format(r, t, 1, &s->format, e) == -1)
		return -1;
	for (i = 0; i < sizeof(into) / sizeof(into[0]); i++)
		if (!rec_get_u64(r, counts[i], into[i]))
			return want(e, t, counts[i], "a count");
	(void)rec_get_bool(r, "unchanged", &s->unchanged);
	return 0;
}

void
rec_store_put(struct rec *r, const struct rec_store *s)
{
	rec_set_str(r, "path", s->path);
	rec_set_str(r, "format", s->format);
	rec_set_str(r, "sha256", s->sha256);
	rec_set_str(r, "content_digest", s->content_digest);
	rec_set_u64(r, "records", s->records);
	rec_set_u64(r, "tombstones", s->tombstones);
	rec_set_u64(r, "superseded", s->superseded);
	rec_set_u64(r, "inserted", s->inserted);
	rec_set_u64(r, "replaced", s->replaced);
	rec_set_u64(r, "deleted", s->deleted);
	rec_set_u64(r, "merged", s->merged);
	rec_set_u64(r, "bytes", s->bytes);
	if (s->unchanged)
		rec_set_bool(r, "unchanged", 1);
}
