/*
 * dfetch_s3: inputs that are objects and prefixes in S3.  It lists, and
 * says what is to be downloaded; the downloads are xfer's, and whether a
 * writer was still at work is seen by listing again.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch_s3.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "mem.h"
#include "remote.h"
#include "xfer.h"
#include "banned.h"

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
	s3in_tally_end(&p->part, &g->info);
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
	if (s3in_is_marker(o)) {
		if (*name != '\0')
			msg_info("%s: marks a directory, passed over",
			    o->key);
		return 0;
	}
	g = group_of(p, name);
	s3in_tally_add(&p->whole, name, o);
	if (g->info.dir)
		s3in_tally_add(&p->part, name + strlen(g->name), o);
	else {
		s3in_object_info(&g->info, o);
		g->n = 1;
		if (fetch_marks_delta(name))
			p->delta = 1;
	}
	if (p->l->kept < FETCH_KEEP && p->kept) {
		s3in_files_add(&p->files, name, o);
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
	if (s3in_writable(url, e) == -1 ||
	    s3in_judge_info(url, &s->info, e) == -1 ||
	    (s->v != NULL && s3in_judge_names(url, s, e) == -1)) {
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
	unsigned int	 marks = 0;
	int		 rv = 0;

	for (i = 0; i < p->n_g; i++)
		marks |= fetch_marks_target(p->g[i].name);
	if (fetch_is_target(marks))
		return fetch_no_input(url, e);
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
		rv = err_set(e, MSG_NOINPUT, "%s: %s this prefix: want at "
		    "least one object", url, p->n_g > 0 ? "only hidden names, "
		    "with a leading dot, lie below" : "nothing lies below");
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
	s3in_tally_init(&p.whole);
	s3in_tally_init(&p.part);
	rv = s3_list(s3, bucket, key, NULL, NULL, on_operand, &p, e);
	group_end(&p);
	if (rv == 0 && p.delta) {
		s3in_tally_end(&p.whole, &info);
		rv = add_input(&p, url, seen_of(&p, &info, 0, p.files.n, 0),
		    e);
	} else if (rv == 0)
		rv = add_groups(&p, url, e);
	for (i = 0; i < p.n_g; i++)
		free(p.g[i].name);
	free(p.g);
	s3in_files_clear(&p.files);
	s3in_tally_clear(&p.whole);
	s3in_tally_clear(&p.part);
	return rv;
}

static int
s3_see(struct fetch_list *l, struct fetch_look *v, size_t n, struct err *e)
{
	return s3in_see(l, v, n, 1, e);
}

int
fetch_s3_again(struct fetch_list *l, struct fetch_look *v, size_t n,
    struct err *e)
{
	return s3in_see(l, v, n, 0, e);
}

static int
s3_check(const char *url, struct err *e)
{
	char	*bucket, *key;

	if (s3_url(url, &bucket, &key, e) == -1 || s3in_writable(url, e) == -1)
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
	rv = s3in_see(l, &k, 1, 0, e);
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
	1, s3_check, s3_list_operand, NULL, NULL, NULL, s3_see, s3in_open,
	s3_ask
};
