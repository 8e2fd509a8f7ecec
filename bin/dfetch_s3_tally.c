/*
 * dfetch_s3_tally: objects of a list, added up and judged.  It asks nobody.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch_s3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "path.h"
#include "banned.h"

void
s3in_tally_init(struct tally *t)
{
	memset(t, 0, sizeof(*t));
	t->tags = hash_new();
}

void
s3in_tally_clear(struct tally *t)
{
	hash_free(t->tags);
	memset(t, 0, sizeof(*t));
}

void
s3in_tally_add(struct tally *t, const char *name, const struct s3_object *o)
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

void
s3in_tally_end(struct tally *t, struct fetch_info *info)
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

void
s3in_object_info(struct fetch_info *info, const struct s3_object *o)
{
	memset(info, 0, sizeof(*info));
	info->size = o->size;
	info->mtime = o->modified;
	fetch_etag(info->etag, o->etag);
}

void
s3in_files_add(struct files *f, const char *name, const struct s3_object *o)
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

void
s3in_files_clear(struct files *f)
{
	size_t	i;

	for (i = 0; i < f->n; i++)
		free(f->v[i].mem);
	free(f->v);
	memset(f, 0, sizeof(*f));
}

int
s3in_is_marker(const struct s3_object *o)
{
	size_t	n = strlen(o->key);

	return o->size == 0 && n != 0 && o->key[n - 1] == '/';
}

int
s3in_writable(const char *url, struct err *e)
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

int
s3in_judge_names(const char *url, const struct fetch_seen *s, struct err *e)
{
	const char	*slash;
	size_t		 i;
	int		 depth;

	if (s->n > HASH_TREE_MAX)
		return err_set(e, MSG_DATAERR, "%s: want at most %d "
		    "files, got more", url, HASH_TREE_MAX);
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

int
s3in_judge_info(const char *url, const struct fetch_info *info, struct err *e)
{
	if (!info->dir && info->size == 0)
		return err_set(e, MSG_DATAERR,
		    "%s: size: want more than 0 bytes, got 0", url);
	return 0;
}
