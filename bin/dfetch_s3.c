/*
 * dfetch_s3: inputs that are objects and prefixes in S3.  It lists, and
 * says what is to be downloaded; the downloads are xfer's, and whether a
 * writer was still at work is seen by listing again.
 *
 * Lines of a plan that lie beside each other are looked up in one list,
 * from the first to the last of them: a page of it tells of a thousand
 * objects.  Where too many strangers lie between two lines, the list is
 * begun anew at the second.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "path.h"
#include "remote.h"
#include "s3.h"
#include "xfer.h"
#include "banned.h"

#define S3_URL_MAX	2048	/* bytes; a key has 1024 */
#define S3_STRANGERS	1000	/* objects between two lines of one list */

/* What lists say of one input, as it goes by. */
struct tally {
	uint64_t	 n, size;
	int64_t		 mtime;
	struct hash	*tags;
};

static void
tally_init(struct tally *t)
{
	memset(t, 0, sizeof(*t));
	t->tags = hash_new();
}

static void
tally_clear(struct tally *t)
{
	hash_free(t->tags);
	memset(t, 0, sizeof(*t));
}

/* name is that below the input. */
static void
tally_add(struct tally *t, const char *name, const struct s3_object *o)
{
	char	when[48];

	t->n++;
	t->size += o->size;
	if (o->modified > t->mtime)
		t->mtime = o->modified;
	hash_add(t->tags, name, strlen(name) + 1);
	if (o->etag != NULL)
		hash_add(t->tags, o->etag, strlen(o->etag));
	else {
		(void)snprintf(when, sizeof(when), "%llu %lld",
		    (unsigned long long)o->size, (long long)o->modified);
		hash_add(t->tags, when, strlen(when));
	}
	hash_add(t->tags, "\n", 1);
}

/* Of a prefix; t is as new. */
static void
tally_end(struct tally *t, struct fetch_info *info)
{
	unsigned char	 d[HASH_LEN];
	char		 hex[HASH_HEX];
	struct hash	*h = t->tags;

	memset(info, 0, sizeof(*info));
	info->dir = 1;
	info->size = t->size;
	info->mtime = t->mtime;
	hash_final(h, d);
	hash_hex(d, hex);
	(void)snprintf(info->etag, sizeof(info->etag), "tree-%s", hex);
	memset(t, 0, sizeof(*t));
	t->tags = h;
}

static void
object_info(struct fetch_info *info, const struct s3_object *o)
{
	memset(info, 0, sizeof(*info));
	info->size = o->size;
	info->mtime = o->modified;
	fetch_etag(info->etag, o->etag);
}

/* Objects of a list that are kept. */
struct files {
	struct fetch_file	*v;
	size_t			 n, cap;
};

static void
files_add(struct files *f, const char *name, const struct s3_object *o)
{
	struct fetch_file	*x;
	size_t			 n = strlen(name) + 1;
	size_t			 m = o->etag != NULL ? strlen(o->etag) + 1 : 0;

	f->v = mem_grow(f->v, &f->cap, f->n + 1, sizeof(*f->v));
	x = &f->v[f->n++];
	x->mem = mem_alloc(n + m);
	memcpy(x->mem, name, n);
	if (m != 0)
		memcpy(x->mem + n, o->etag, m);
	x->name = x->mem;
	x->etag = m != 0 ? x->mem + n : NULL;
	x->size = o->size;
}

static void
files_clear(struct files *f)
{
	size_t	i;

	for (i = 0; i < f->n; i++)
		free(f->v[i].mem);
	free(f->v);
	memset(f, 0, sizeof(*f));
}

/* The empty object that stands for a directory in some tools' eyes. */
static int
is_marker(const struct s3_object *o)
{
	size_t	n = strlen(o->key);

	return o->size == 0 && n != 0 && o->key[n - 1] == '/';
}

/* A URL that fits into a line of a plan, and of the terminal. */
static int
writable(const char *url, struct err *e)
{
	const char	*s;
	int		 plain = path_utf8(url, strlen(url));

	for (s = url; plain && *s != '\0'; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			plain = 0;
	if (plain)
		return 0;
	return err_set(e, MSG_DATAERR, "%s: a key that no plan can name: "
	    "want UTF-8 without control bytes: copy it to another", url);
}

static int
file_cmp(const void *a, const void *b)
{
	return strcmp(((const struct fetch_file *)a)->name,
	    ((const struct fetch_file *)b)->name);
}

/* Is one of the directories above name a file, too? */
static int
below_file(const struct fetch_seen *s, const char *name)
{
	struct fetch_file	 k;
	char			*copy = mem_dup(name), *slash;
	int			 rv = 0;

	memset(&k, 0, sizeof(k));
	k.name = copy;
	for (slash = strrchr(copy, '/'); slash != NULL && !rv;
	    slash = strrchr(copy, '/')) {
		*slash = '\0';
		rv = bsearch(&k, s->v, s->n, sizeof(*s->v), file_cmp) !=
		    NULL;
	}
	free(copy);
	return rv;
}

/* Can the objects of a prefix be the files of a directory? */
static int
judge_names(const char *url, const struct fetch_seen *s, struct err *e)
{
	const char	*slash;
	size_t		 i;
	int		 depth;

	if (s->n > HASH_TREE_MAX)
		return err_set(e, MSG_DATAERR, "%s: more than %d files", url,
		    HASH_TREE_MAX);
	for (i = 0; i < s->n; i++) {
		if (!path_is_safe(s->v[i].name))
			return err_set(e, MSG_DATAERR, "%s%s: not a safe "
			    "name: want UTF-8 without control bytes, "
			    "backslashes, or \"\", \".\" and \"..\" between "
			    "slashes", url, s->v[i].name);
		depth = 0;
		for (slash = strchr(s->v[i].name, '/'); slash != NULL;
		    slash = strchr(slash + 1, '/'))
			depth++;
		if (depth > FETCH_DEPTH)
			return err_set(e, MSG_DATAERR, "%s%s: deeper than "
			    "%d directories", url, s->v[i].name,
			    FETCH_DEPTH);
		if (depth != 0 && below_file(s, s->v[i].name))
			return err_set(e, MSG_DATAERR, "%s%s: below an "
			    "object that would be a directory", url,
			    s->v[i].name);
	}
	return 0;
}

static int
judge_info(const char *url, const struct fetch_info *info, struct err *e)
{
	if (!info->dir && info->size == 0)
		return err_set(e, MSG_DATAERR,
		    "%s: size: want more than 0 bytes, got 0", url);
	return 0;
}

/*
 * Operands: the whole list is at hand before it is known whether what it
 * tells of is one delta or many.
 */

struct group {
	char			*name;	/* a key, or all up to a slash */
	struct fetch_info	 info;
	size_t			 first, n;	/* of the files */
};

struct operand {
	struct fetch_list	*l;
	size_t			 plen;		/* of the prefix */
	struct tally		 whole, part;
	struct group		*g;
	size_t			 n_g, cap_g;
	struct files		 files;
	int			 kept;		/* all files are */
	int			 delta;		/* a mark lies in it */
};

static void
group_end(struct operand *p)
{
	struct group	*g = p->n_g != 0 ? &p->g[p->n_g - 1] : NULL;

	if (g == NULL || !g->info.dir)
		return;
	tally_end(&p->part, &g->info);
	g->n = p->files.n - g->first;
}

/* The group that name is in, which is the last one or a new one. */
static struct group *
group_of(struct operand *p, const char *name)
{
	struct group	*g = p->n_g != 0 ? &p->g[p->n_g - 1] : NULL;
	size_t		 n = strcspn(name, "/");
	int		 dir = name[n] == '/';

	n += dir ? 1 : 0;
	if (g != NULL && dir && strlen(g->name) == n &&
	    strncmp(g->name, name, n) == 0)
		return g;
	group_end(p);
	p->g = mem_grow(p->g, &p->cap_g, p->n_g + 1, sizeof(*p->g));
	g = &p->g[p->n_g++];
	memset(g, 0, sizeof(*g));
	g->name = mem_ndup(name, n);
	g->info.dir = dir;
	g->first = p->files.n;
	return g;
}

static int
on_operand(void *arg, const struct s3_object *o, struct err *e)
{
	struct operand	*p = arg;
	const char	*name = o->key + p->plen;
	struct group	*g;

	(void)e;
	if (is_marker(o)) {
		if (*name != '\0')
			msg_info("%s: marks a directory, passed over",
			    o->key);
		return 0;
	}
	g = group_of(p, name);
	tally_add(&p->whole, name, o);
	if (g->info.dir)
		tally_add(&p->part, name + strlen(g->name), o);
	else {
		object_info(&g->info, o);
		g->n = 1;
		if (fetch_marks_delta(name))
			p->delta = 1;
	}
	if (p->l->kept < FETCH_KEEP && p->kept) {
		files_add(&p->files, name, o);
		p->l->kept++;
	} else
		p->kept = 0;
	return 0;
}

/* The files from first on, with cut bytes of their names gone. */
static struct fetch_seen *
seen_of(struct operand *p, const struct fetch_info *info, size_t first,
    size_t n, size_t cut)
{
	struct fetch_seen	*s = mem_zero(1, sizeof(*s));
	size_t			 i;

	s->info = *info;
	if (!info->dir || !p->kept || n == 0)
		return s;
	s->v = mem_zero(n, sizeof(*s->v));
	s->n = n;
	for (i = 0; i < n; i++) {
		s->v[i] = p->files.v[first + i];
		s->v[i].name += cut;
		p->files.v[first + i].mem = NULL;
	}
	return s;
}

/* Takes s. */
static int
add_input(struct operand *p, const char *url, struct fetch_seen *s,
    struct err *e)
{
	if (writable(url, e) == -1 || judge_info(url, &s->info, e) == -1 ||
	    (s->v != NULL && judge_names(url, s, e) == -1)) {
		fetch_seen_free(s);
		return -1;
	}
	return p->l->add(p->l->arg, url, s, e);
}

static int
add_groups(struct operand *p, const char *url, struct err *e)
{
	struct group	*g;
	struct buf	 b;
	size_t		 i, used = 0;
	int		 rv = 0;

	buf_init(&b, S3_URL_MAX);
	for (i = 0; i < p->n_g && rv == 0; i++) {
		g = &p->g[i];
		buf_reset(&b);
		buf_printf(&b, "%s%s", url, g->name);
		if (g->name[0] == '.') {
			msg_info("%s: hidden, passed over", buf_cstr(&b));
			continue;
		}
		used++;
		rv = add_input(p, buf_cstr(&b), seen_of(p, &g->info,
		    g->first, g->n, strlen(g->name)), e);
	}
	buf_free(&b);
	if (rv == 0 && used == 0)
		rv = err_set(e, MSG_NOINPUT, "%s: nothing lies below this "
		    "prefix: want at least one object", url);
	return rv;
}

/* All inputs below the prefix key, whose URL is url. */
static int
list_prefix(struct fetch_list *l, const char *url, const char *bucket,
    const char *key, struct err *e)
{
	struct s3		*s3 = remote_s3(l->remote, e);
	struct fetch_info	 info;
	struct operand		 p;
	size_t			 i;
	int			 rv;

	if (s3 == NULL)
		return -1;
	memset(&p, 0, sizeof(p));
	p.l = l;
	p.plen = strlen(key);
	p.kept = 1;
	tally_init(&p.whole);
	tally_init(&p.part);
	rv = s3_list(s3, bucket, key, NULL, NULL, on_operand, &p, e);
	group_end(&p);
	if (rv == 0 && p.delta) {
		tally_end(&p.whole, &info);
		rv = add_input(&p, url, seen_of(&p, &info, 0, p.files.n, 0),
		    e);
	} else if (rv == 0)
		rv = add_groups(&p, url, e);
	for (i = 0; i < p.n_g; i++)
		free(p.g[i].name);
	free(p.g);
	files_clear(&p.files);
	tally_clear(&p.whole);
	tally_clear(&p.part);
	return rv;
}

/*
 * Lines of a plan.
 */

struct place {
	struct fetch_look	*look;
	char			*bucket, *key;
	size_t			 klen, parent;	/* bytes of the key */
	int			 dir;		/* all below it is one input */
};

/* One list that goes by some places of one parent, in order. */
struct sweep {
	struct fetch_list	*l;
	struct place		*v;
	size_t			 cur, n;
	unsigned int		 strangers;
	int			 lost;		/* too many of them */
	struct tally		 t;
	struct files		 files;
	int			 kept;
	int			 keep;		/* files are wanted at all */
	int			 all;		/* over FETCH_KEEP, too */
};

static int
place_init(struct place *p, struct fetch_look *look, struct err *e)
{
	const char	*url = look->seen != NULL &&
			    look->seen->from != NULL ? look->seen->from :
			    look->line->url;
	size_t		 n;

	memset(p, 0, sizeof(*p));
	p->look = look;
	if (s3_url(url, &p->bucket, &p->key, e) == -1)
		return -1;
	n = p->klen = strlen(p->key);
	p->dir = n == 0 || p->key[n - 1] == '/';
	n -= n != 0 && p->dir;
	while (n > 0 && p->key[n - 1] != '/')
		n--;
	p->parent = n;
	return 0;
}

static void
place_clear(struct place *p)
{
	free(p->bucket);
	free(p->key);
}

/* By bucket, what they lie in, and key. */
static int
place_cmp(const void *a, const void *b)
{
	const struct place	*x = a, *y = b;
	int			 r = strcmp(x->bucket, y->bucket);

	if (r == 0 && x->parent != y->parent)
		r = x->parent < y->parent ? -1 : 1;
	if (r == 0)
		r = memcmp(x->key, y->key, x->parent);
	return r != 0 ? r : strcmp(x->key, y->key);
}

static int
place_same(const struct place *a, const struct place *b)
{
	/* "" is above all others */
	return a->klen != 0 && strcmp(a->bucket, b->bucket) == 0 &&
	    a->parent == b->parent &&
	    memcmp(a->key, b->key, a->parent) == 0;
}

static void
place_fill(struct place *p, const struct fetch_info *info, struct files *f)
{
	struct fetch_look	*k = p->look;

	if (judge_info(k->line->url, info, &k->e) == -1)
		return;
	if (k->seen == NULL)
		k->seen = mem_zero(1, sizeof(*k->seen));
	k->seen->info = *info;
	if (f != NULL && f->n != 0) {
		k->seen->v = f->v;
		k->seen->n = f->n;
		memset(f, 0, sizeof(*f));
		if (judge_names(k->line->url, k->seen, &k->e) == -1) {
			fetch_seen_free(k->seen);
			k->seen = NULL;
		}
	}
}

/* No more of the place that the list is at. */
static void
settle(struct sweep *w)
{
	struct place		*p = &w->v[w->cur];
	struct fetch_info	 info;

	if (p->dir && w->t.n != 0) {
		tally_end(&w->t, &info);
		place_fill(p, &info, w->kept ? &w->files : NULL);
	}
	files_clear(&w->files);
	w->kept = w->keep;
	w->strangers = 0;
	w->cur++;
}

static void
object_here(struct sweep *w, const struct s3_object *o)
{
	struct place		*p = &w->v[w->cur];
	struct fetch_info	 info;
	const char		*name = o->key + p->klen;

	if (!p->dir) {
		object_info(&info, o);
		place_fill(p, &info, NULL);
		settle(w);
		return;
	}
	if (is_marker(o))
		return;
	tally_add(&w->t, name, o);
	if (!w->kept)
		return;
	if (w->l->kept >= FETCH_KEEP && !w->all)
		w->kept = 0;
	else if (w->files.n <= HASH_TREE_MAX) {
		files_add(&w->files, name, o);
		w->l->kept++;
	}
}

static int
on_sweep(void *arg, const struct s3_object *o, struct err *e)
{
	struct sweep	*w = arg;
	struct place	*p;

	(void)e;
	for (; w->cur < w->n; settle(w)) {
		p = &w->v[w->cur];
		if (p->dir ? strncmp(o->key, p->key, p->klen) == 0 :
		    strcmp(o->key, p->key) == 0) {
			object_here(w, o);
			return w->cur < w->n ? 0 : -1;
		}
		if (strcmp(o->key, p->key) < 0) {
			w->lost = ++w->strangers > S3_STRANGERS;
			return w->lost ? -1 : 0;
		}
	}
	return -1;
}

/*
 * A key shortly before the object key (or ""): a list that begins behind
 * it soon comes to it.
 */
static char *
before(const char *key)
{
	size_t		 n = strlen(key);
	unsigned char	 c = n != 0 ? (unsigned char)key[n - 1] : 0;
	struct buf	 b;
	char		*s;

	buf_init(&b, S3_URL_MAX);
	if (c > 0x21 && c < 0x7f) {
		buf_add(&b, key, n - 1);
		buf_addc(&b, c - 1);
		buf_str(&b, "~~~~");
	} else if (n != 0) {
		/* not within a character */
		for (n--; n > 0 && ((unsigned char)key[n] & 0xc0) == 0x80;)
			n--;
		buf_add(&b, key, n);
	}
	s = mem_dup(buf_cstr(&b));
	buf_free(&b);
	return s;
}

/* One list over places from w->cur on; many: they share a parent. */
static int
sweep(struct sweep *w, int many, struct err *e)
{
	struct place	*p = &w->v[w->cur];
	struct s3	*s3 = remote_s3(w->l->remote, e);
	char		*prefix, *after = NULL;
	int		 rv;

	if (s3 == NULL)
		return -1;
	prefix = mem_ndup(p->key, many ? p->parent : p->klen);
	if (p->dir)
		after = mem_dup(p->key);
	else if (many)
		after = before(p->key);
	w->lost = 0;
	w->strangers = 0;
	w->kept = w->keep;
	rv = s3_list(s3, p->bucket, prefix, NULL,
	    after != NULL && *after != '\0' ? after : NULL, on_sweep, w, e);
	if (rv == 0 && !w->lost)
		while (w->cur < w->n)
			settle(w);
	else {
		tally_clear(&w->t);
		tally_init(&w->t);
		files_clear(&w->files);
	}
	free(prefix);
	free(after);
	return rv;
}

/* Rights to get objects, and none to list them. */
static int
head(struct sweep *w, struct place *p, struct err *e)
{
	struct s3		*s3 = remote_s3(w->l->remote, e);
	struct s3_object	 o;
	struct s3_res		 r;
	struct fetch_info	 info;
	int			 rv;

	if (s3 == NULL)
		return -1;
	rv = s3_head(s3, p->bucket, p->key, &r, e);
	if (rv == 0) {
		memset(&o, 0, sizeof(o));
		o.size = r.length > 0 ? (uint64_t)r.length : 0;
		o.modified = r.modified;
		o.etag = r.etag;
		object_info(&info, &o);
		place_fill(p, &info, NULL);
	}
	s3_res_clear(&r);
	return rv;
}

/* No rights to this, which says nothing of other requests. */
static int
denied(const struct err *e)
{
	return e->code == MSG_NOPERM &&
	    strstr(e->text, "AccessDenied") != NULL;
}

/* There is no such object: is it meant to be a prefix? */
static int
as_prefix(struct sweep *w, struct place *p, struct err *e)
{
	struct fetch_look	*k = p->look;
	struct sweep		 again = *w;
	struct place		 q = *p;
	size_t			 n = p->klen + 2;
	int			 rv;

	if (p->klen >= S3_KEY_MAX)
		return 0;
	q.key = mem_alloc(n);
	(void)snprintf(q.key, n, "%s/", p->key);
	q.klen++;
	q.dir = 1;
	again.v = &q;
	again.cur = 0;
	again.n = 1;
	tally_init(&again.t);
	rv = sweep(&again, 0, e);
	tally_clear(&again.t);
	if (rv == 0 && k->seen != NULL) {
		n = strlen(k->line->url) + 2;
		k->seen->from = mem_alloc(n);
		(void)snprintf(k->seen->from, n, "%s/", k->line->url);
	}
	free(q.key);
	return rv;
}

/* One place, by a list of its own. */
static int
see_one(struct sweep *w, struct err *e)
{
	struct place		*p = &w->v[w->cur];
	struct fetch_look	*k = p->look;
	struct sweep		 one = *w;
	int			 rv;

	one.v = p;
	one.cur = 0;
	one.n = 1;
	tally_init(&one.t);
	rv = sweep(&one, 0, e);
	tally_clear(&one.t);
	w->cur++;
	if (rv == -1 && !p->dir && denied(e)) {
		memset(e, 0, sizeof(*e));
		rv = head(w, p, e);
		if (rv == -1 && e->code == MSG_NOINPUT) {
			k->e = *e;
			memset(e, 0, sizeof(*e));
			rv = 0;
		}
	} else if (rv == 0 && k->seen == NULL && k->e.code == 0 && !p->dir)
		rv = as_prefix(w, p, e);
	if (rv == 0 && k->seen == NULL && k->e.code == 0)
		err_set(&k->e, MSG_NOINPUT, p->dir ? "%s: nothing lies "
		    "below this prefix: want at least one object" :
		    "%s: no such object, and nothing below it",
		    k->line->url);
	return rv;
}

/* The places from w->cur to w->n, which share a parent. */
static int
see_many(struct sweep *w, struct err *e)
{
	size_t	first, i;

	while (w->n - w->cur > 1) {
		first = i = w->cur;
		if (sweep(w, 1, e) == -1) {
			if (!denied(e))
				return -1;
			/* rights to the places alone? */
			memset(e, 0, sizeof(*e));
			break;
		}
		/* who was not met is asked for by name */
		for (; i < w->cur; i++) {
			struct sweep	one = *w;

			if (w->v[i].look->seen != NULL ||
			    w->v[i].look->e.code != 0)
				continue;
			one.cur = i;
			if (see_one(&one, e) == -1)
				return -1;
		}
		if (w->cur == first && see_one(w, e) == -1)
			return -1;
	}
	while (w->cur < w->n)
		if (see_one(w, e) == -1)
			return -1;
	return 0;
}

/* keep: 0 no files, 1 within FETCH_KEEP, 2 in any case. */
static int
see(struct fetch_list *l, struct fetch_look *v, size_t n, int keep,
    struct err *e)
{
	struct place	*p = mem_zero(n, sizeof(*p));
	struct sweep	 w;
	size_t		 i, j, end;
	int		 rv = 0;

	memset(&w, 0, sizeof(w));
	w.l = l;
	w.v = p;
	w.keep = keep != 0;
	w.all = keep == 2;
	tally_init(&w.t);
	for (i = 0; i < n && rv == 0; i++)
		rv = place_init(&p[i], &v[i], e);
	if (rv == 0 && n > 1)
		qsort(p, n, sizeof(*p), place_cmp);
	for (i = 0; i < n && rv == 0; i = end) {
		for (end = i + 1; end < n && place_same(&p[i], &p[end]);)
			end++;
		w.cur = i;
		w.n = end;
		rv = see_many(&w, e);
		if (rv == -1 && e->code == MSG_NOINPUT) {
			/* no such bucket */
			for (j = i; j < end; j++)
				if (p[j].look->seen == NULL &&
				    p[j].look->e.code == 0)
					err_set(&p[j].look->e, e->code,
					    "%s: %s", p[j].look->line->url,
					    e->text);
			memset(e, 0, sizeof(*e));
			rv = 0;
		}
	}
	for (i = 0; i < n; i++)
		place_clear(&p[i]);
	free(p);
	tally_clear(&w.t);
	return rv;
}

static int
s3_see(struct fetch_list *l, struct fetch_look *v, size_t n, struct err *e)
{
	return see(l, v, n, 1, e);
}

int
fetch_s3_again(struct fetch_list *l, struct fetch_look *v, size_t n,
    struct err *e)
{
	return see(l, v, n, 0, e);
}

/* The objects of one prefix, which was listed and is so again. */
static int
s3_open(struct fetch_list *l, const struct plan_line *line,
    struct fetch_seen *s, struct err *e)
{
	struct fetch_look	k;

	memset(&k, 0, sizeof(k));
	k.line = line;
	k.seen = mem_zero(1, sizeof(*k.seen));
	if (s->from != NULL)
		k.seen->from = mem_dup(s->from);
	if (see(l, &k, 1, 2, e) == -1)
		goto done;
	if (k.seen == NULL || k.seen->n == 0) {
		if (k.e.code == 0 || k.e.code == MSG_NOINPUT) {
			memset(e, 0, sizeof(*e));
			err_set(e, MSG_TEMPFAIL, "%s: changed while it was "
			    "read; its writer is still at work", line->url);
		} else
			*e = k.e;
		goto done;
	}
	s->info = k.seen->info;
	s->v = k.seen->v;
	s->n = k.seen->n;
	k.seen->v = NULL;
	k.seen->n = 0;
done:
	fetch_seen_free(k.seen);
	return e->code == 0 ? 0 : -1;
}

static int
s3_check(const char *url, struct err *e)
{
	char	*bucket, *key;

	if (s3_url(url, &bucket, &key, e) == -1 || writable(url, e) == -1)
		return -1;
	free(bucket);
	free(key);
	return 0;
}

/* All below key, which may lack its slash. */
static int
list_dir(struct fetch_list *l, const char *bucket, const char *key,
    struct err *e)
{
	struct buf	b, k;
	const char	*slash;
	int		rv;

	buf_init(&b, S3_URL_MAX);
	buf_init(&k, S3_URL_MAX);
	slash = *key == '\0' || key[strlen(key) - 1] == '/' ? "" : "/";
	buf_printf(&b, "s3://%s/%s%s", bucket, key, slash);
	buf_printf(&k, "%s%s", key, slash);
	rv = list_prefix(l, buf_cstr(&b), bucket, buf_cstr(&k), e);
	buf_free(&b);
	buf_free(&k);
	return rv;
}

static int
s3_list_operand(struct fetch_list *l, const char *url, struct err *e)
{
	struct plan_line	 line;
	struct fetch_look	 k;
	char			*bucket, *key;
	size_t			 n;
	int			 rv;

	if (s3_url(url, &bucket, &key, e) == -1)
		return -1;
	n = strlen(key);
	memset(&k, 0, sizeof(k));
	if (n == 0 || key[n - 1] == '/') {
		rv = list_dir(l, bucket, key, e);
		goto done;
	}
	memset(&line, 0, sizeof(line));
	line.url = mem_dup(url);
	k.line = &line;
	/* which keeps nothing of a prefix: it may be many inputs */
	rv = see(l, &k, 1, 0, e);
	if (rv == 0 && k.e.code != 0) {
		*e = k.e;
		rv = -1;
	} else if (rv == 0 && k.seen->from != NULL)
		rv = list_dir(l, bucket, key, e);
	else if (rv == 0) {
		rv = l->add(l->arg, url, k.seen, e);
		k.seen = NULL;
	}
	free(line.url);
done:
	fetch_seen_free(k.seen);
	free(bucket);
	free(key);
	return rv;
}

static int
s3_ask(const struct plan_line *line, const struct fetch_seen *s, size_t i,
    struct xfer_get *g, char *mem[2], struct err *e)
{
	const char		*url = s->from != NULL ? s->from : line->url;
	const struct fetch_file	*f;
	char			*bucket, *key;
	struct buf		 b;

	if (s3_url(url, &bucket, &key, e) == -1)
		return -1;
	mem[0] = bucket;
	mem[1] = key;
	g->bucket = bucket;
	g->has_size = 1;
	if (!s->info.dir) {
		g->key = key;
		g->size = s->info.size;
		if (s->info.etag[0] == '"')
			g->etag = s->info.etag;
		return 0;
	}
	f = &s->v[i];
	buf_init(&b, S3_URL_MAX);
	buf_printf(&b, "%s%s", key, f->name);
	free(key);
	mem[1] = mem_dup(buf_cstr(&b));
	buf_free(&b);
	g->key = mem[1];
	g->etag = f->etag;
	g->size = f->size;
	return 0;
}

const struct fetch_src	fetch_s3 = {
	1, s3_check, s3_list_operand, NULL, NULL, NULL, s3_see, s3_open,
	s3_ask
};
