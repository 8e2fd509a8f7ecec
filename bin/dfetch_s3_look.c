/*
 * dfetch_s3_look: lines of a plan, looked up in S3.
 *
 * Lines that lie beside each other are looked up in one list, from the
 * first to the last of them: a page of it tells of a thousand objects.
 * Where too many strangers lie between two lines, the list is begun anew
 * at the second.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch_s3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "mem.h"
#include "remote.h"
#include "banned.h"

#define S3_STRANGERS	1000	/* objects between two lines of one list */

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

	if (s3in_judge_info(k->line->url, info, &k->e) == -1)
		return;
	if (k->seen == NULL)
		k->seen = mem_zero(1, sizeof(*k->seen));
	k->seen->info = *info;
	if (f != NULL && f->n != 0) {
		k->seen->v = f->v;
		k->seen->n = f->n;
		memset(f, 0, sizeof(*f));
		if (s3in_judge_names(k->line->url, k->seen, &k->e) == -1) {
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
		s3in_tally_end(&w->t, &info);
		place_fill(p, &info, w->kept ? &w->files : NULL);
	}
	s3in_files_clear(&w->files);
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
		s3in_object_info(&info, o);
		place_fill(p, &info, NULL);
		settle(w);
		return;
	}
	if (s3in_is_marker(o))
		return;
	s3in_tally_add(&w->t, name, o);
	if (!w->kept)
		return;
	if (w->l->kept >= FETCH_KEEP && !w->all)
		w->kept = 0;
	else if (w->files.n <= HASH_TREE_MAX) {
		s3in_files_add(&w->files, name, o);
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
		s3in_tally_clear(&w->t);
		s3in_tally_init(&w->t);
		s3in_files_clear(&w->files);
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
		s3in_object_info(&info, &o);
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
	s3in_tally_init(&again.t);
	rv = sweep(&again, 0, e);
	s3in_tally_clear(&again.t);
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
	s3in_tally_init(&one.t);
	rv = sweep(&one, 0, e);
	s3in_tally_clear(&one.t);
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

int
s3in_see(struct fetch_list *l, struct fetch_look *v, size_t n, int keep,
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
	s3in_tally_init(&w.t);
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
	s3in_tally_clear(&w.t);
	return rv;
}

int
s3in_open(struct fetch_list *l, const struct plan_line *line,
    struct fetch_seen *s, struct err *e)
{
	struct fetch_look	k;

	memset(&k, 0, sizeof(k));
	k.line = line;
	k.seen = mem_zero(1, sizeof(*k.seen));
	if (s->from != NULL)
		k.seen->from = mem_dup(s->from);
	if (s3in_see(l, &k, 1, 2, e) == -1)
		goto done;
	if (k.seen == NULL || k.seen->n == 0) {
		if (k.e.code == 0 || k.e.code == MSG_NOINPUT) {
			memset(e, 0, sizeof(*e));
			(void)fetch_changed(line->url, e);
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
