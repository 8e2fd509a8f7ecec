/*
 * dfetch_files: --files: which files a file set has, and what each is
 * called in it.  It reads none of them and knows nothing of what they mean.
 *
 * A set is what its trees held at one moment: they are listed again when
 * all has been copied, and must be as they were.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "path.h"
#include "remote.h"
#include "s3.h"
#include "banned.h"

#define FILES_URL_MAX	16384	/* bytes, as a line of a plan */

/* One operand that is listed; add is not set when it is the second time. */
struct tree {
	struct fetch	*x;
	const char	*url;		/* of the directory or prefix */
	const char	*path;		/* here: absolute */
	const char	*bucket;	/* of S3 */
	size_t		 plen;		/* bytes of its prefix's key */
	struct hash	*said;		/* digests the lists */
	int		 add;
	uint64_t	 n;
};

/* One more file of the set; takes seen; st: of what is here, else NULL. */
static int
add(struct tree *t, const char *url, const char *name,
    struct fetch_seen *seen, const struct fetch_stat *st, struct err *e)
{
	struct fetch		*x = t->x;
	struct plan_line	*l;
	char			*id;
	size_t			 i, n = x->plan.n;

	if (!path_is_safe(name)) {
		fetch_seen_free(seen);
		return err_set(e, MSG_DATAERR, "%s: not a safe name: want "
		    "UTF-8 without control bytes or backslashes, at most %d "
		    "bytes", url, PATH_REL_MAX);
	}
	if (x->plan.n >= HASH_TREE_MAX) {
		fetch_seen_free(seen);
		return err_set(e, MSG_DATAERR, "%s: want at most %d "
		    "files, got more", t->url, HASH_TREE_MAX);
	}
	id = plan_url(url, NULL, e);
	if (id == NULL || fetch_add_url(x, url, seen, e) == -1) {
		free(id);
		return -1;
	}
	l = plan_find(&x->plan, id);
	free(id);
	i = (size_t)(l - x->plan.v);
	if (x->plan.n == n) {
		/* the same file by two operands, or by two names */
		return strcmp(x->names[i], name) == 0 ? 0 : err_set(e,
		    MSG_USAGE, "%s: it would be in the set twice, as %s and "
		    "as %s: name it once", url, x->names[i], name);
	}
	x->names = mem_grow(x->names, &x->cap_names, x->n_names + 1,
	    sizeof(*x->names));
	x->known = mem_grow(x->known, &x->cap_known, x->n_names + 1,
	    sizeof(*x->known));
	memset(&x->known[x->n_names], 0, sizeof(*x->known));
	if (st != NULL) {
		x->known[x->n_names].here = 1;
		x->known[x->n_names].st = *st;
	}
	x->names[x->n_names++] = mem_dup(name);
	return 0;
}

static void
say(struct tree *t, const char *name, uint64_t size, int64_t a, int64_t b,
    uint64_t inode, const char *etag)
{
	char	text[128];

	(void)snprintf(text, sizeof(text), "%llu %lld %lld %llu ",
	    (unsigned long long)size, (long long)a, (long long)b,
	    (unsigned long long)inode);
	hash_add(t->said, name, strlen(name) + 1);
	hash_add(t->said, text, strlen(text));
	hash_add(t->said, etag, strlen(etag) + 1);
}

/*
 * Here.
 */

static int
on_local(void *arg, const char *name, const struct fetch_stat *st,
    struct err *e)
{
	struct tree	*t = arg;
	struct buf	 b;
	char		*url;
	int		 rv;

	t->n++;
	say(t, name, st->size, st->mtime, st->ctime, st->inode, "");
	if (!t->add)
		return 0;
	buf_init(&b, FILES_URL_MAX);
	buf_printf(&b, "%s%s%s", strcmp(t->path, "/") == 0 ? "" : t->path,
	    *name != '\0' ? "/" : "", name);
	url = path_to_url(buf_cstr(&b));
	rv = b.over ? err_set(e, MSG_DATAERR, "%s/%s: path too long", t->url,
	    name) : add(t, url, *name != '\0' ? name : path_base(t->path),
	    NULL, st, e);
	free(url);
	buf_free(&b);
	return rv;
}

static int
local_tree(struct tree *t, const char *operand, struct err *e)
{
	char	*path = path_from_url(operand, e), *url;
	int	 rv;

	if (path == NULL)
		return -1;
	url = path_to_url(path);
	t->path = path;
	t->url = url;
	rv = fetch_local_files(url, path, on_local, t, e);
	if (rv == 0 && t->n == 0)
		rv = err_set(e, MSG_NOINPUT, "%s: an empty directory: want "
		    "at least one file", url);
	free(url);
	free(path);
	return rv;
}

/*
 * In S3.
 */

static struct fetch_seen *
seen_of(const struct s3_object *o)
{
	struct fetch_seen	*s = mem_zero(1, sizeof(*s));

	s->info.size = o->size;
	s->info.mtime = o->modified;
	fetch_etag(s->info.etag, o->etag);
	return s;
}

static int
on_object(void *arg, const struct s3_object *o, struct err *e)
{
	struct tree	*t = arg;
	const char	*name = o->key + t->plen, *s;
	size_t		 n = strlen(o->key);
	struct buf	 b;
	int		 rv;

	/* the empty object that stands for a directory in some eyes */
	if (o->size == 0 && n != 0 && o->key[n - 1] == '/')
		return 0;
	for (s = name; s != NULL; s = strchr(s, '/')) {
		s += s != name;
		if (*s != '.' || !path_is_safe(name))
			continue;
		if (t->add)
			msg_info("s3://%s/%s: hidden, passed over",
			    t->bucket, o->key);
		return 0;
	}
	t->n++;
	say(t, name, o->size, o->modified, 0, 0,
	    o->etag != NULL ? o->etag : "");
	if (!t->add)
		return 0;
	buf_init(&b, FILES_URL_MAX);
	buf_printf(&b, "s3://%s/%s", t->bucket, o->key);
	rv = add(t, buf_cstr(&b), name, seen_of(o), NULL, e);
	buf_free(&b);
	return rv;
}

/* One object, by its own name: 1 it is there, 0, -1. */
static int
one_object(struct tree *t, struct s3 *s3, const char *key, struct err *e)
{
	struct s3_object	o;
	struct s3_res		r;
	struct err		f = { 0, "" };
	int			rv = 1;

	if (s3_head(s3, t->bucket, key, &r, &f) == 0) {
		memset(&o, 0, sizeof(o));
		o.key = key;
		o.size = r.length > 0 ? (uint64_t)r.length : 0;
		o.modified = r.modified;
		o.etag = r.etag;
		t->plen = (size_t)(path_base(key) - key);
		if (on_object(t, &o, e) == -1)
			rv = -1;
	} else if (f.code == MSG_NOINPUT)
		rv = 0;
	else {
		*e = f;
		rv = -1;
	}
	s3_res_clear(&r);
	return rv;
}

static int
s3_tree(struct tree *t, const char *url, struct err *e)
{
	struct s3	*s3;
	struct buf	 b;
	char		*bucket, *key;
	size_t		 n;
	int		 r = 0, rv = -1;

	if (t->x->list.remote == NULL)
		t->x->list.remote = remote_new(t->x->o.ckpt);
	s3 = remote_s3(t->x->list.remote, e);
	if (s3 == NULL || s3_url(url, &bucket, &key, e) == -1)
		return -1;
	t->bucket = bucket;
	t->url = url;
	n = strlen(key);
	buf_init(&b, FILES_URL_MAX);
	if (n != 0 && key[n - 1] != '/')
		r = one_object(t, s3, key, e);
	if (r == 0) {
		/* as elsewhere, a prefix may be named without its slash */
		buf_printf(&b, "%s%s", key, n == 0 || key[n - 1] == '/' ? "" :
		    "/");
		t->plen = b.len;
		rv = s3_list(s3, bucket, buf_cstr(&b), NULL, NULL, on_object,
		    t, e);
		if (rv == 0 && t->n == 0)
			rv = err_set(e, MSG_NOINPUT, "%s: nothing lies "
			    "below this prefix: want at least one object",
			    url);
	} else
		rv = r == 1 ? 0 : -1;
	buf_free(&b);
	free(bucket);
	free(key);
	return rv;
}

/*
 * All of them.
 */

static int
one_tree(struct tree *t, const char *operand, struct err *e)
{
	const struct fetch_src	*s = fetch_src_of(operand, e);
	char			 name[FETCH_NAME_MAX];

	if (s == NULL || s->check(operand, e) == -1)
		return -1;
	t->n = 0;
	t->url = operand;
	if (s == &fetch_local)
		return local_tree(t, operand, e);
	if (s == &fetch_s3)
		return s3_tree(t, operand, e);
	if (s != &fetch_http)
		return err_set(e, MSG_USAGE, "%s: no file: --files takes "
		    "directories, prefixes and files", operand);
	/* what came is held against its ETag while it comes */
	if (!t->add)
		return 0;
	fetch_http_name(name, operand);
	return add(t, operand, name, NULL, NULL, e);
}

/* A name in the set, and whose line of the plan it is. */
struct named {
	const char	*name;
	size_t		 line;
};

static int
name_cmp(const void *a, const void *b)
{
	return strcmp(((const struct named *)a)->name,
	    ((const struct named *)b)->name);
}

static int
refuse(const struct fetch *x, const struct named *a, const struct named *b,
    struct err *e)
{
	return err_set(e, MSG_USAGE, "%s: two files cannot have this place in "
	    "the set: %s and %s: name one of them, or the directory above "
	    "both", a->name, x->plan.v[a->line].url,
	    x->plan.v[b->line].url);
}

/* Does the directory of v[i] belong to a file, too? */
static int
below_file(const struct fetch *x, const struct named *v, size_t i,
    struct err *e)
{
	const struct named	*up;
	struct named		 key;
	char			*dir = mem_dup(v[i].name), *slash;
	int			 rv = 0;

	memset(&key, 0, sizeof(key));
	key.name = dir;
	while (rv == 0 && (slash = strrchr(dir, '/')) != NULL) {
		*slash = '\0';
		up = bsearch(&key, v, i, sizeof(*v), name_cmp);
		if (up != NULL)
			rv = refuse(x, up, &v[i], e);
	}
	free(dir);
	return rv;
}

/* No two files in one place, and none where another has a directory. */
static int
apart(const struct fetch *x, struct err *e)
{
	struct named	*v;
	size_t		 i;
	int		 rv = 0;

	v = mem_zero(x->n_names + 1, sizeof(*v));
	for (i = 0; i < x->n_names; i++) {
		v[i].name = x->names[i];
		v[i].line = i;
	}
	qsort(v, x->n_names, sizeof(*v), name_cmp);
	for (i = 1; i < x->n_names && rv == 0; i++) {
		if (strcmp(v[i - 1].name, v[i].name) == 0)
			rv = refuse(x, &v[i - 1], &v[i], e);
		else
			rv = below_file(x, v, i, e);
	}
	free(v);
	return rv;
}

/* -1: it was said what went wrong. */
static int
walk(struct fetch *x, int first, unsigned char d[HASH_LEN])
{
	struct tree	 t;
	struct err	 e;
	char		**v;
	int		 rv = 0;

	memset(&t, 0, sizeof(t));
	t.x = x;
	t.add = first;
	t.said = hash_new();
	for (v = x->trees; *v != NULL && io_signal() == 0; v++) {
		memset(&e, 0, sizeof(e));
		if (one_tree(&t, *v, &e) == 0)
			continue;
		if (!first && e.code == MSG_NOINPUT)
			err_set(&e, MSG_TEMPFAIL, "%s: it went while it "
			    "was read: run again when nobody is at work there",
			    *v);
		fetch_fail(x, &e);
		rv = -1;
	}
	hash_final(t.said, d);
	hash_free(t.said);
	return rv;
}

int
fetch_add_files(struct fetch *x, char **v)
{
	struct err	e = { 0, "" };
	int		rv;

	x->trees = v;
	x->listed = io_wall_ns();
	rv = walk(x, 1, x->tree_d);
	if (rv == 0 && apart(x, &e) == -1) {
		fetch_fail(x, &e);
		rv = -1;
	}
	return rv;
}

void
fetch_files_still(struct fetch *x)
{
	struct err	e = { 0, "" };
	unsigned char	d[HASH_LEN];

	if (walk(x, 0, d) == -1 || memcmp(d, x->tree_d, HASH_LEN) == 0)
		return;
	err_set(&e, MSG_TEMPFAIL, "%s%s: changed while it was read; its "
	    "writer is still at work: run again when it has ended",
	    x->trees[0], x->trees[1] != NULL ? " or another tree" : "");
	fetch_fail(x, &e);
}

void
fetch_files_clear(struct fetch *x)
{
	size_t	i;

	for (i = 0; i < x->n_names; i++)
		free(x->names[i]);
	free(x->names);
	free(x->known);
}
