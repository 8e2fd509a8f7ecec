/*
 * dfetch_known: --files -b: is a file set what its target holds already?
 * It reads no file of the set, and is believed only when the digests that
 * it has of each make the content digest of the target's current version.
 *
 * Of a file elsewhere the version's manifest tells, as of any input.  Of one
 * here an index in the cache does: URL, size, times, inode and device at the
 * moment when it was read, and its SHA-256.  A file that was changed within
 * FRESH of being listed may have been changed again without that showing:
 * it is not kept, and read the next time.  The index ends with the digest of
 * its bytes; what is damaged, or was made by another machine, is none.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch_run.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

#define FRESH	((int64_t)2000000000)	/* ns; the slowest clock in use */
#define DIR	"sets"			/* of the cache */
#define MAGIC	"intact set 1\n\0\0"	/* 16 bytes with its end */
#define ORDER	((uint64_t)0x0102030405060708)

struct head {
	char		magic[16];
	uint64_t	order;		/* of bytes in a number */
	uint64_t	n;
};

struct entry {
	unsigned char		url[HASH_LEN];	/* its digest */
	unsigned char		digest[HASH_LEN];
	struct fetch_stat	st;
};
#define INDEX_MAX	(sizeof(struct head) + HASH_LEN + \
	    (size_t)HASH_TREE_MAX * sizeof(struct entry))

struct index {
	struct entry	*v;	/* by url */
	size_t		 n;
};

static void
digest_of(const void *p, size_t n, unsigned char d[HASH_LEN])
{
	struct hash	*h = hash_new();

	hash_add(h, p, n);
	hash_final(h, d);
	hash_free(h);
}

static int
entry_cmp(const void *a, const void *b)
{
	return memcmp(((const struct entry *)a)->url,
	    ((const struct entry *)b)->url, HASH_LEN);
}

/* One for these operands: "sets/<hex>". */
static void
index_name(const struct fetch *x, char out[64])
{
	struct hash	*h = hash_new();
	struct err	 e = { 0, "" };
	unsigned char	 d[HASH_LEN];
	char		 hex[HASH_HEX], *path, **v;

	for (v = x->trees; *v != NULL; v++) {
		path = path_is_local(*v) ? path_from_url(*v, &e) : NULL;
		hash_add(h, path != NULL ? path : *v,
		    strlen(path != NULL ? path : *v) + 1);
		free(path);
	}
	hash_final(h, d);
	hash_free(h);
	hash_hex(d, hex);
	(void)snprintf(out, 64, "%.32s", hex);
}

/* The directory, or -1. */
static int
index_dir(const char *cache, int make)
{
	struct err	 e = { 0, "" };
	struct buf	 b;
	int		 fd = -1;

	buf_init(&b, 8192);
	buf_printf(&b, "%s/" DIR, cache);
	if (!b.over && (!make || io_mkdirs(buf_cstr(&b), &e) == 0))
		fd = open(buf_cstr(&b), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	buf_free(&b);
	return fd;
}

/* Bytes to entries: 0, or -1 they are no index. */
static int
index_parse(struct index *x, const struct buf *b)
{
	struct head	h;
	unsigned char	d[HASH_LEN];
	size_t		body;

	if (b->over || b->len < sizeof(h) + HASH_LEN)
		return -1;
	memcpy(&h, b->p, sizeof(h));
	body = b->len - sizeof(h) - HASH_LEN;
	if (memcmp(h.magic, MAGIC, sizeof(h.magic)) != 0 ||
	    h.order != ORDER || h.n > HASH_TREE_MAX ||
	    body != (size_t)h.n * sizeof(struct entry))
		return -1;
	digest_of(b->p, b->len - HASH_LEN, d);
	if (memcmp(d, b->p + b->len - HASH_LEN, HASH_LEN) != 0)
		return -1;
	x->n = (size_t)h.n;
	x->v = mem_zero(x->n + 1, sizeof(*x->v));
	memcpy(x->v, b->p + sizeof(h), body);
	qsort(x->v, x->n, sizeof(*x->v), entry_cmp);
	return 0;
}

/* Whatever is wrong with it: there is none then. */
static void
index_read(struct index *x, const struct fetch *f, const char *cache)
{
	struct err	e = { 0, "" };
	struct stat	st;
	struct buf	b;
	char		name[64];
	int		dir = index_dir(cache, 0);

	memset(x, 0, sizeof(*x));
	if (dir == -1)
		return;
	index_name(f, name);
	buf_init(&b, INDEX_MAX);
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
	    (io_slurp(dir, name, &b, &e) == -1 ||
	    index_parse(x, &b) == -1))
		msg_info("%s/" DIR "/%s: damaged: all files are read", cache,
		    name);
	(void)close(dir);
	buf_free(&b);
}

/* The digest that line i must have, if it has not changed.  1, 0. */
static int
known_here(struct fetch *x, const struct index *idx, size_t i)
{
	struct fetch_known	*k = &x->known[i];
	const struct entry	*f;
	struct entry		 key;

	if (idx->n == 0)
		return 0;
	memset(&key, 0, sizeof(key));
	digest_of(x->plan.v[i].url, strlen(x->plan.v[i].url), key.url);
	f = bsearch(&key, idx->v, idx->n, sizeof(*idx->v), entry_cmp);
	if (f == NULL || f->st.size != k->st.size ||
	    f->st.inode != k->st.inode || f->st.dev != k->st.dev ||
	    f->st.mtime != k->st.mtime || f->st.ctime != k->st.ctime)
		return 0;
	memcpy(k->digest, f->digest, HASH_LEN);
	return 1;
}

static int
known_there(struct fetch *x, size_t i)
{
	const struct item_source	*s;
	struct fetch_work		 w;

	memset(&w, 0, sizeof(w));
	w.base = &x->base;
	w.by_url = x->work.by_url;
	s = x->seen[i] != NULL ? fetch_unchanged(&w, &x->plan.v[i],
	    &x->seen[i]->info) : NULL;
	return s != NULL && hash_unhex(s->sha256, x->known[i].digest) == 0;
}

int
fetch_files_known(struct fetch *x, const char *cache)
{
	struct hash_tree	*t;
	struct index		 idx;
	struct err		 e = { 0, "" };
	unsigned char		 d[HASH_LEN];
	char			 hex[HASH_HEX];
	size_t			 i;
	int			 rv = 1;

	/* without a cache everything is read, as it is asked for */
	if (x->work.by_url == NULL || cache == NULL)
		return 0;
	index_read(&idx, x, cache);
	t = hash_tree_new();
	for (i = 0; rv == 1 && i < x->plan.n; i++) {
		if (x->forced != NULL && x->forced[i])
			rv = 0;
		else
			rv = x->known[i].here ? known_here(x, &idx, i) :
			    known_there(x, i);
		if (rv == 1 && hash_tree_add(t, x->names[i],
		    x->known[i].here ? x->known[i].st.size :
		    x->seen[i]->info.size, x->known[i].digest, &e) == -1)
			rv = 0;
	}
	hash_tree_final(t, d, NULL);
	hash_tree_free(t);
	hash_hex(d, hex);
	free(idx.v);
	return rv == 1 && strcmp(hex, x->base.content_digest) == 0;
}

/* Bytes of an index of what was read. */
static void
index_put(const struct fetch *x, struct buf *b)
{
	const struct fetch_known	*k;
	struct head			 h;
	struct entry			 t;
	unsigned char			 d[HASH_LEN];
	size_t				 i;

	memset(&h, 0, sizeof(h));
	memcpy(h.magic, MAGIC, sizeof(h.magic));
	h.order = ORDER;
	buf_add(b, &h, sizeof(h));
	for (i = 0; i < x->plan.n; i++) {
		k = &x->known[i];
		if (!k->here || !k->has_digest ||
		    k->st.ctime >= x->listed - FRESH)
			continue;
		memset(&t, 0, sizeof(t));
		digest_of(x->plan.v[i].url, strlen(x->plan.v[i].url), t.url);
		memcpy(t.digest, k->digest, HASH_LEN);
		t.st = k->st;
		buf_add(b, &t, sizeof(t));
		h.n++;
	}
	memcpy(b->p, &h, sizeof(h));
	digest_of(b->p, b->len, d);
	buf_add(b, d, sizeof(d));
}

void
fetch_files_keep(const struct fetch *x, const char *cache)
{
	struct err	e = { 0, "" };
	struct buf	b;
	char		name[64], tmp[96];
	int		dir;

	if (x->o.base == NULL || cache == NULL)
		return;
	dir = index_dir(cache, 1);
	if (dir == -1) {
		msg_info("%s/" DIR ": %s", cache, strerror(errno));
		return;
	}
	index_name(x, name);
	(void)snprintf(tmp, sizeof(tmp), ".%s.%ld", name, (long)getpid());
	buf_init(&b, INDEX_MAX);
	index_put(x, &b);
	if (io_replace(dir, name, tmp, b.p, b.len, &e) == -1)
		msg_info("%s/" DIR "/%s: %s", cache, name, e.text);
	buf_free(&b);
	(void)close(dir);
}
