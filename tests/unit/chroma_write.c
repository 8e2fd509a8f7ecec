/*
 * chroma_write: directories made and changed in place are judged and read
 * by what knows nothing of the writer, and hold what was put, to the bit;
 * the same calls make the same bytes; what has no place is refused.
 * SPDX-License-Identifier: ISC
 */
#include <sys/resource.h>
#include <sys/stat.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <sqlite3.h>

#include "buf.h"
#include "check.h"
#include "chroma.h"
#include "chroma_schema.h"
#include "chroma_write.h"
#include "hash.h"
#include "hnsw.h"
#include "io.h"
#include "json.h"
#include "ledger.h"
#include "manifest.h"
#include "mem.h"
#include "store.h"
#include "tap.h"
#include "tmp.h"

#define MAX	1200	/* records of one store */
#define N_COS	300
#define N_IP	60
#define LONG_ID	10000	/* bytes: longer than a page of SQLite's */
#define COLLS	8

struct rec {
	int		 coll;
	char		*id, *doc, *meta;	/* doc NULL: none */
	float		*vec;			/* NULL: tombstone */
	int64_t		 seq;
	int		 src, changed;
	struct item	 it;
};

struct world {
	struct item_coll	 colls[COLLS];
	size_t			 n_colls;
	struct item_source	 srcs[3];
	size_t			 n_srcs;
	struct rec		 recs[MAX];
	size_t			 n, live;
	char			 content[HASH_HEX];
};

static char	top[TMP_DIR];
static char	data[1024];
static uint32_t	seed = 1;

static uint32_t
next(void)
{
	seed = seed * 1664525U + 1013904223U;
	return seed >> 8;
}

static void
die(const char *what, const struct err *e)
{
	printf("Bail out! %s: %s\n", what, e != NULL ? e->text : "");
	exit(1);
}

static const char *
in(const char *dir, const char *name)
{
	static char	p[4][1024];
	static int	k;

	k = (k + 1) % 4;
	(void)snprintf(p[k], sizeof(p[k]), "%s/%s", dir, name);
	return p[k];
}

/* A new directory below top; until the call after next three. */
static const char *
new_dir(void)
{
	static char	p[4][256];
	static unsigned	k;

	k++;
	(void)snprintf(p[k % 4], sizeof(p[0]), "%s/%u", top, k);
	if (mkdir(p[k % 4], 0700) == -1)
		die(p[k % 4], NULL);
	return p[k % 4];
}

/* -- what is to be written ---------------------------------------- */

static struct item_coll *
coll(struct world *w, const char *name, uint32_t dim, enum item_space space,
    const char *config)
{
	struct item_coll	*c = &w->colls[w->n_colls++];

	memset(c, 0, sizeof(*c));
	c->name = mem_dup(name);
	c->dim = dim;
	c->space = space;
	c->space_known = 1;
	c->config = config != NULL ? mem_dup(config) : NULL;
	return c;
}

static void
source(struct world *w, int i)
{
	struct item_source	*s = &w->srcs[w->n_srcs++];

	memset(s, 0, sizeof(*s));
	memset(s->sha256, '1' + i, HASH_HEX - 1);
	s->url = mem_dup(i == 0 ? "/d/one" : i == 1 ? "/d/two" : "/d/three");
	s->size = 4096;
	s->seq = 100 + i;
	s->records = 9;
}

static void
set_vec(struct world *w, struct rec *r)
{
	uint32_t	k, dim = w->colls[r->coll].dim;

	free(r->vec);
	r->vec = mem_zero(dim, sizeof(float));
	for (k = 0; k < dim; k++)
		r->vec[k] = ((float)next() / 16777216.0F - 0.5F) *
		    (float)(1 + next() % 9);
	r->changed = 1;
}

static void
set_text(char **to, const char *s)
{
	free(*to);
	*to = s != NULL ? mem_dup(s) : NULL;
}

static struct rec *
add(struct world *w, int c, const char *id, const char *doc,
    const char *meta)
{
	struct rec	*r = &w->recs[w->n++];

	if (w->n > MAX)
		die("too many records", NULL);
	memset(r, 0, sizeof(*r));
	r->coll = c;
	r->id = mem_dup(id);
	r->seq = (int64_t)w->n * 7;
	r->src = (int)(w->n % w->n_srcs);
	r->meta = mem_dup(meta);
	set_text(&r->doc, doc);
	set_vec(w, r);
	return r;
}

static int
by_id(const void *a, const void *b)
{
	const struct rec	*x = a, *y = b;

	if (x->coll != y->coll)
		return x->coll < y->coll ? -1 : 1;
	return item_cmp(x->id, strlen(x->id), y->id, strlen(y->id));
}

/* In order, with digests; counts and the content digest. */
static void
settle(struct world *w)
{
	struct hash	*h = hash_new(), *all = hash_new();
	unsigned char	 d[HASH_LEN];
	struct item	*it;
	struct rec	*r;
	size_t		 i;

	qsort(w->recs, w->n, sizeof(w->recs[0]), by_id);
	w->live = 0;
	item_content_start(all);
	for (i = 0; i < w->n; i++) {
		r = &w->recs[i];
		it = &r->it;
		memset(it, 0, sizeof(*it));
		it->coll = r->coll;
		it->id = r->id;
		it->id_len = strlen(r->id);
		it->seq = r->seq;
		it->src = r->src;
		it->dead = r->vec == NULL;
		if (!it->dead) {
			it->vec = r->vec;
			it->doc = r->doc;
			it->doc_len = r->doc != NULL ? strlen(r->doc) : 0;
			it->meta = r->meta;
			it->meta_len = strlen(r->meta);
			w->live++;
		}
		item_digest(h, w->colls[r->coll].name,
		    w->colls[r->coll].dim, it);
		if (!it->dead)
			item_content_add(all, w->colls[r->coll].name, it);
	}
	hash_final(all, d);
	hash_hex(d, w->content);
	hash_free(all);
	hash_free(h);
}

static void
world_clear(struct world *w)
{
	size_t	i;

	for (i = 0; i < w->n; i++) {
		free(w->recs[i].id);
		free(w->recs[i].doc);
		free(w->recs[i].meta);
		free(w->recs[i].vec);
	}
	for (i = 0; i < w->n_colls; i++)
		item_coll_clear(&w->colls[i]);
	for (i = 0; i < w->n_srcs; i++)
		item_source_clear(&w->srcs[i]);
	memset(w, 0, sizeof(*w));
}

/* Collections of every space; ids, documents and metadata of every kind. */
static void
populate(struct world *w, int arrays)
{
	char		 id[64], doc[160], meta[128], *big;
	struct rec	*r;
	int		 i;

	memset(w, 0, sizeof(*w));
	coll(w, "cos", 24, ITEM_COSINE, NULL);
	coll(w, "empty", 0, ITEM_L2, NULL);
	coll(w, "gone", 4, ITEM_L2, NULL);
	coll(w, "ip", 3, ITEM_IP, NULL);
	coll(w, "l2", 1, ITEM_L2, NULL);
	source(w, 0);
	source(w, 1);
	for (i = 0; i < N_COS; i++) {
		(void)snprintf(id, sizeof(id), "id%05d", i);
		(void)snprintf(doc, sizeof(doc), "document number %d of "
		    "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", i);
		(void)snprintf(meta, sizeof(meta), "{\"f\":%d.5,\"n\":%d,"
		    "\"s\":\"\xc3\xa9 %d\",\"t\":%s}", i, -i, i,
		    i % 2 ? "true" : "false");
		r = add(w, 0, id, i % 3 == 0 ? NULL : doc,
		    i % 5 == 0 ? "{}" : meta);
		if (i % 11 == 0) {
			free(r->vec);
			r->vec = NULL;
		}
	}
	r = add(w, 2, "was", NULL, "{}");
	free(r->vec);
	r->vec = NULL;
	big = mem_zero(LONG_ID + 1, 1);
	memset(big, 'x', LONG_ID);
	for (i = 0; i < N_IP; i++) {
		big[0] = (char)('a' + i % 26);
		big[1] = (char)('a' + i / 26);
		add(w, 3, big, "", "{\"\":\"\",\"chroma:uri\":\"u\"}");
	}
	free(big);
	add(w, 4, "\xc3\xa9 / ' \" \x01", "a\tb", "{\"i\":"
	    "-9223372036854775808,\"x\":1e+300}");
	add(w, 4, "\xf0\x9f\x99\x82", "ab", arrays ? "{\"b\":[true,false],"
	    "\"f\":[0.5,1.0],\"i\":[3,1,2],\"s\":[\"\",\"\xc3\xbc\"]}" :
	    "{}");
	settle(w);
}

/* -- writing ------------------------------------------------------- */

/* A manifest of what lies there now. */
static void
manifest(const char *dir, const struct world *w)
{
	struct manifest		 m;
	struct hash_tree	*t = hash_tree_new();
	struct err		 e = { 0, "" };
	const unsigned char	*d;
	unsigned char		 all[HASH_LEN];
	const char		*name;
	uint64_t		 size;
	size_t			 i;
	int			 fd;

	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	memset(&m, 0, sizeof(m));
	m.format = mem_dup("chroma");
	memcpy(m.content_digest, w->content, HASH_HEX);
	m.records = w->live;
	m.tombstones = w->n - w->live;
	if (fd == -1 || hash_dir(fd, ".", all, NULL, t, &e) == -1)
		die("hash_dir", &e);
	for (i = 0; i < hash_tree_count(t); i++) {
		name = hash_tree_get(t, i, &size, &d);
		manifest_add_file(&m, name, size, d);
	}
	if (manifest_write(&m, fd, all, &e) == -1)
		die("manifest_write", &e);
	hash_tree_free(t);
	manifest_clear(&m);
	(void)close(fd);
}

/* All records, or those that changed; 0, or the status. */
static int
try(const struct world *w, const char *dir, int onto, unsigned int threads,
    struct err *e)
{
	struct chroma_writer	*c;
	size_t			 i;

	memset(e, 0, sizeof(*e));
	(void)unlink(in(dir, MANIFEST_NAME));
	c = (onto ? chroma_onto : chroma_create)(dir, w->colls, w->n_colls,
	    w->srcs, w->n_srcs, threads, e);
	if (c == NULL)
		return e->code;
	for (i = 0; i < w->n; i++)
		if ((!onto || w->recs[i].changed) &&
		    chroma_put(c, &w->recs[i].it, e) == -1) {
			chroma_discard(c);
			return e->code;
		}
	return chroma_finish(c, w->content, w->live, w->n - w->live,
	    NULL, e) ==
	    0 ? 0 : e->code;
}

static void
make(const struct world *w, const char *dir, int onto, unsigned int threads)
{
	struct err	e;

	if (try(w, dir, onto, threads, &e) != 0)
		die(dir, &e);
	manifest(dir, w);
}

static void
tree_hex(const char *dir, char hex[HASH_HEX])
{
	struct err	e = { 0, "" };
	unsigned char	d[HASH_LEN];

	if (hash_dir(AT_FDCWD, dir, d, NULL, NULL, &e) == -1)
		die("hash_dir", &e);
	hash_hex(d, hex);
}

static int
same_tree(const char *a, const char *b)
{
	char	x[HASH_HEX], y[HASH_HEX];

	tree_hex(a, x);
	tree_hex(b, y);
	return strcmp(x, y) == 0;
}

static void
copy(const char *from, const char *to)
{
	struct hash_tree	*t = hash_tree_new();
	struct err		 e = { 0, "" };
	const unsigned char	*d;
	unsigned char		 all[HASH_LEN];
	const char		*name;
	char			*slash, sub[1024];
	uint64_t		 size;
	size_t			 i;
	int			 a, b;

	if (hash_dir(AT_FDCWD, from, all, NULL, t, &e) == -1)
		die("hash_dir", &e);
	hash_tree_final(t, all, &size);
	for (i = 0; i < hash_tree_count(t); i++) {
		name = hash_tree_get(t, i, &size, &d);
		(void)snprintf(sub, sizeof(sub), "%s/%s", to, name);
		if (strchr(name, '/') != NULL &&
		    (slash = strrchr(sub, '/')) != NULL) {
			*slash = '\0';
			(void)mkdir(sub, 0700);
		}
		a = open(in(from, name), O_RDONLY);
		b = open(in(to, name), O_RDWR | O_CREAT | O_EXCL, 0600);
		if (a == -1 || b == -1 ||
		    io_copy(a, b, name, NULL, &size, &e) == -1)
			die("copy", &e);
		(void)close(a);
		(void)close(b);
	}
	hash_tree_free(t);
}

/* -- reading ------------------------------------------------------- */

static int
same_item(const struct world *w, const struct store *s,
    const struct item *it, const struct rec *r)
{
	const struct item	*x = &r->it;

	if (strcmp(s->colls[it->coll].name, w->colls[x->coll].name) != 0 ||
	    item_cmp(it->id, it->id_len, x->id, x->id_len) != 0 ||
	    it->dead != x->dead || it->seq != x->seq ||
	    memcmp(it->digest, x->digest, HASH_LEN) != 0 ||
	    strcmp(s->sources[it->src].url, w->srcs[x->src].url) != 0)
		return 0;
	if (x->dead)
		return 1;
	return memcmp(it->vec, x->vec, w->colls[x->coll].dim * 4) == 0 &&
	    (it->doc == NULL) == (x->doc == NULL) &&
	    it->doc_len == x->doc_len &&
	    (x->doc == NULL || memcmp(it->doc, x->doc, x->doc_len) == 0) &&
	    it->meta_len == x->meta_len &&
	    memcmp(it->meta, x->meta, x->meta_len) == 0;
}

/* Judged whole and sound, and holding exactly these records. */
static int
holds(const struct world *w, const char *dir)
{
	struct check_summary	 sum;
	struct check_verdict	 v;
	struct err		 e = { 0, "" };
	struct store		*s;
	struct item		 it;
	size_t			 n = 0;
	int			 k, bad = 0;

	memset(&sum, 0, sizeof(sum));
	memset(&v, 0, sizeof(v));
	k = check_store(dir, STORE_CHROMA, CHECK_ALLOW_EMPTY, &sum, &v, &e);
	if (k != 0) {
		printf("# %s: %s%s\n", dir, k == 1 ? v.reason : "", e.text);
		return 0;
	}
	bad = sum.records != w->live || sum.tombstones != w->n - w->live;
	check_summary_clear(&sum);
	if ((s = store_open(dir, STORE_CHROMA, 0, &e)) == NULL) {
		printf("# %s\n", e.text);
		return 0;
	}
	while ((k = store_next(s, &it, &e)) == 1) {
		if (n >= w->n || !same_item(w, s, &it, &w->recs[n])) {
			printf("# %s: record %zu: %.60s\n", dir, n,
			    n < w->n ? w->recs[n].id : "one more");
			bad = 1;
			break;
		}
		n++;
	}
	if (k == -1)
		printf("# %s\n", e.text);
	bad = bad || k != 0 || n != w->n || !s->has_ledger ||
	    s->n_colls != w->n_colls;
	store_close(s);
	return !bad;
}

/* The first column of the first row, as text; "" for none. */
static const char *
ask(const char *dir, const char *sql)
{
	static char	 out[2][4096];
	static int	 k;
	sqlite3		*db = NULL;
	sqlite3_stmt	*st = NULL;
	const char	*s = NULL;

	k = !k;
	out[k][0] = '\0';
	if (sqlite3_open(in(dir, CHROMA_FILE), &db) == SQLITE_OK &&
	    sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK) {
		if (sqlite3_step(st) == SQLITE_ROW)
			s = (const char *)sqlite3_column_text(st, 0);
		(void)snprintf(out[k], sizeof(out[k]), "%s",
		    s != NULL ? s : "");
	} else
		(void)snprintf(out[k], sizeof(out[k]), "%s",
		    sqlite3_errmsg(db));
	sqlite3_finalize(st);
	sqlite3_close(db);
	return out[k];
}

static const char *const levels = "SELECT group_concat(v, ' ') FROM (SELECT "
    "max(version) AS v FROM migrations GROUP BY dir ORDER BY dir DESC)";

/* Elements of the index of a collection; -1: it has none. */
static int64_t
elements(const char *dir, const char *name)
{
	struct hnsw_header	h;
	unsigned char		b[HNSW_HEADER_LEN];
	const char		*why, *dim;
	char			sql[256], p[1024];
	ssize_t			n = 0;
	int			fd;

	(void)snprintf(sql, sizeof(sql), "SELECT s.id FROM segments s JOIN "
	    "collections c ON c.id = s.collection WHERE c.name = '%s' AND "
	    "s.scope = 'VECTOR'", name);
	(void)snprintf(p, sizeof(p), "%s/%s/%s", dir, ask(dir, sql),
	    HNSW_HEADER_FILE);
	(void)snprintf(sql, sizeof(sql), "SELECT dimension FROM collections "
	    "WHERE name = '%s'", name);
	dim = ask(dir, sql);
	if ((fd = open(p, O_RDONLY)) == -1)
		return -1;
	n = io_read(fd, b, sizeof(b));
	(void)close(fd);
	if (n != (ssize_t)sizeof(b) || hnsw_header_decode(b,
	    (uint32_t)strtoul(dim, NULL, 10), &h, &why) == -1)
		return -2;
	return (int64_t)h.count;
}

/* -- tests --------------------------------------------------------- */

static void
test_schema(const char *dir)
{
	static const char	sql[] = "SELECT group_concat(name || ':' || "
	    "coalesce(sql, ''), '|') FROM (SELECT name, sql FROM "
	    "sqlite_schema WHERE name NOT LIKE 'sqlite_autoindex%' ORDER BY "
	    "name)";
	const struct chroma_migration	*m;
	unsigned char			 d[EVP_MAX_MD_SIZE];
	char				 hex[33], sample[1200];
	unsigned int			 n, i, bad = 0, count = 0;

	for (m = chroma_migrations; m->dir != NULL; m++, count++) {
		if (EVP_Digest(m->sql, strlen(m->sql), d, &n, EVP_md5(),
		    NULL) != 1 || n != 16)
			die("md5", NULL);
		for (i = 0; i < 16; i++)
			(void)snprintf(hex + 2 * i, 3, "%02x", d[i]);
		if (strcmp(hex, m->hash) != 0) {
			printf("# %s %d\n", m->dir, m->version);
			bad++;
		}
	}
	tap_ok(bad == 0 && count == 18, "%u migrations, to the byte", count);
	(void)snprintf(sample, sizeof(sample), "%s/samples/metadata_types/"
	    "db", data);
	tap_is(ask(dir, sql), ask(sample, sql), "the tables of a server");
	tap_is(ask(dir, "SELECT group_concat(dir || version || filename || "
	    "hash || sql) FROM migrations"),
	    ask(sample, "SELECT group_concat(dir || version || filename || "
	    "hash || sql) FROM migrations"), "the migrations of a server");
}

static void
test_made(const struct world *w, const char *a)
{
	const char	*b = new_dir();

	make(w, a, 0, 1);
	tap_ok(holds(w, a), "made: every record, to the bit");
	make(w, b, 0, 3);
	tap_ok(same_tree(a, b), "the same bytes again, with three threads");
	tap_ok(elements(a, "gone") == -1 && elements(a, "empty") == -1 &&
	    elements(a, "ip") == N_IP, "an index where there are records");
	tap_is(ask(a, "SELECT (SELECT count(*) FROM embeddings_queue) || "
	    "(SELECT count(*) FROM max_seq_id) || (SELECT group_concat(k || "
	    "v) FROM embedding_fulltext_search_config) || (SELECT count(*) "
	    "FROM embeddings WHERE typeof(seq_id) = 'integer' AND "
	    "strftime('%s', created_at) = '0')"),
	    "00version4334", "an empty queue, and what else a server needs");
	tap_is(ask(a, "SELECT count(*) FROM embedding_fulltext_search WHERE "
	    "string_value MATCH '\"number 17 \"'"), "1",
	    "full text is found");
	tap_is(ask(a, "SELECT dimension FROM collections WHERE name = "
	    "'empty'"), "", "no record, no dimension");
	tap_ok(access(in(a, CHROMA_FILE "-journal"), F_OK) == -1 &&
	    access(in(a, LEDGER_FILE "-journal"), F_OK) == -1,
	    "nothing beside it");
}

/* A second round of everything that can happen to a record. */
static void
mutate(struct world *w)
{
	char		 id[64];
	struct rec	*r;
	size_t		 i, n = w->n;

	coll(w, "new", 5, ITEM_COSINE, NULL);
	source(w, 2);
	w->colls[1].dim = 2;
	for (i = 0; i < n; i++) {
		r = &w->recs[i];
		r->changed = 0;
		if (r->coll == 0 && i % 4 == 0)
			continue;
		r->changed = r->coll == 0 || i % 2 == 0;
		if (!r->changed)
			continue;
		r->seq += 100000;
		r->src = 2;
		if (r->vec == NULL && i % 2 == 0)
			set_vec(w, r);		/* again */
		else if (r->vec == NULL)
			continue;
		else if (i % 8 == 1)
			set_text(&r->doc, i % 3 == 0 ? "other text" : NULL);
		else if (i % 8 == 2)
			set_text(&r->meta, "{\"k\":[\"x\",\"y\"]}");
		else if (i % 8 == 3)
			set_vec(w, r);
		else if (i % 8 == 5 && i % 3 == 0) {
			free(r->vec);		/* no more */
			r->vec = NULL;
		}
	}
	for (i = 0; i < 40; i++) {
		(void)snprintf(id, sizeof(id), "later %zu", i);
		add(w, i % 2 == 0 ? 0 : 5, id, "put later", "{}");
	}
	add(w, 1, "first", "the first of its collection", "{}");
	settle(w);
}

static void
test_onto(struct world *w, const char *a)
{
	const char	*b = new_dir(), *c = new_dir();
	int64_t		 live = 0;
	size_t		 i;

	copy(a, b);
	mutate(w);
	make(w, a, 1, 1);
	tap_ok(holds(w, a), "changed in place: every record, to the bit");
	make(w, b, 1, 2);
	tap_ok(same_tree(a, b), "the same change, the same bytes");
	tap_ok(elements(a, "cos") > N_COS && elements(a, "empty") == 1 &&
	    elements(a, "new") == 20, "the index was extended, not rebuilt");
	tap_is(ask(a, levels), "9 6 2", "arrays came: the tables for them");
	make(w, c, 0, 1);
	tap_ok(holds(w, c), "and so does one that is made of all that");
	/* now half of one collection, and all of another */
	for (i = 0; i < w->n; i++) {
		w->recs[i].changed = w->recs[i].vec != NULL &&
		    (w->recs[i].coll == 3 || (w->recs[i].coll == 0 && i % 2));
		if (w->recs[i].changed) {
			free(w->recs[i].vec);
			w->recs[i].vec = NULL;
			w->recs[i].seq += 1000000;
		}
	}
	settle(w);
	make(w, a, 1, 1);
	tap_ok(holds(w, a), "half of it deleted");
	tap_ok(elements(a, "ip") == -1, "all dead: no index");
	for (i = 0; i < w->n; i++)
		if (w->recs[i].coll == 0 && w->recs[i].vec != NULL)
			live++;
	tap_ok(elements(a, "cos") == live,
	    "half dead: the index is made anew");
	/* what was all dead comes back */
	for (i = 0; i < w->n; i++) {
		w->recs[i].changed = 0;
		if (w->recs[i].coll == 3) {
			w->recs[i].seq += 2000000;
			set_vec(w, &w->recs[i]);
		}
	}
	settle(w);
	make(w, a, 1, 1);
	tap_ok(holds(w, a) && elements(a, "ip") == N_IP, "and back again");
}

/* Configurations: which are kept, and what the others become. */
static void
test_config(void)
{
	static const char	made[] = "{\"vector_index\":{\"hnsw\":{"
	    "\"space\":\"cosine\",\"ef_construction\":100,\"ef_search\":100,"
	    "\"max_neighbors\":16,\"resize_factor\":1.2,"
	    "\"sync_threshold\":1000}},\"embedding_function\":null}";
	static const char	tuned[] = "{\"vector_index\":{\"hnsw\":{"
	    "\"space\":\"ip\",\"ef_construction\":77,\"ef_search\":9,"
	    "\"max_neighbors\":8,\"resize_factor\":1.5,"
	    "\"sync_threshold\":50}},\"embedding_function\":null}";
	static const char	uuid[] = "6e0948a6-8705-442b-8453-"
	    "d6c4e48bf61a";
	static struct world	w;
	const char		*a = new_dir(), *b = new_dir();
	struct buf		 cfg;

	memset(&w, 0, sizeof(w));
	source(&w, 0);
	coll(&w, "a", 2, ITEM_COSINE, "{\"uuid\":\"6e0948a6-8705-442b-8453-"
	    "d6c4e48bf61a\",\"config\":\"{\\\"hnsw_configuration\\\": "
	    "{\\\"space\\\": \\\"l2\\\"}, \\\"_type\\\": \\\"x\\\"}\","
	    "\"schema\":null,\"metadata\":{\"b\":true,\"f\":0.5,"
	    "\"hnsw:space\":\"cosine\",\"i\":5}}");
	coll(&w, "b", 2, ITEM_IP, "{\"uuid\":\"6e0948a6-8705-442b-8453-"
	    "d6c4e48bf61a\",\"config\":null,\"schema\":null,\"metadata\":{"
	    "\"hnsw:M\":8,\"hnsw:construction_ef\":77,"
	    "\"hnsw:resize_factor\":1.5,\"hnsw:search_ef\":9,"
	    "\"hnsw:sync_threshold\":50}}");
	coll(&w, "c", 2, ITEM_L2, NULL)->space_known = 0;
	buf_init(&cfg, 4096);
	buf_str(&cfg, "{\"uuid\":\"nonsense\",\"config\":");
	json_put_str(&cfg, tuned, sizeof(tuned) - 1);
	buf_str(&cfg, ",\"schema\":null,\"metadata\":{}}");
	coll(&w, "d", 2, ITEM_IP, buf_cstr(&cfg));
	coll(&w, "e", 2, ITEM_COSINE, buf_cstr(&cfg));
	add(&w, 0, "x", NULL, "{}");
	add(&w, 1, "x", NULL, "{}");
	settle(&w);
	make(&w, a, 0, 1);
	tap_ok(holds(&w, a), "configurations of every age");
	tap_is(ask(a, levels), "9 5 2", "the oldest servers open it");
	tap_is(ask(a, "SELECT config_json_str FROM collections WHERE name = "
	    "'a'"), made, "of the Python age: made anew");
	tap_is(ask(a, "SELECT config_json_str FROM collections WHERE name = "
	    "'b'"), tuned, "none: made of the metadata");
	tap_is(ask(a, "SELECT config_json_str FROM collections WHERE name = "
	    "'d'"), tuned, "of 1.0: taken over");
	tap_is(ask(a, "SELECT config_json_str FROM collections WHERE name = "
	    "'e'"), made, "of another space: made anew");
	tap_is(ask(a, "SELECT id FROM collections WHERE name = 'a'"), uuid,
	    "a uuid is kept");
	tap_ok(strcmp(ask(a, "SELECT count(DISTINCT id) || count(DISTINCT "
	    "substr(id, 15, 1)) FROM collections WHERE name <> 'a'"),
	    "41") == 0 && strcmp(ask(a, "SELECT substr(id, 15, 1) FROM "
	    "collections WHERE name = 'b'"), "8") == 0,
	    "a second one of the same is derived, as where there is none");
	tap_is(ask(a, "SELECT group_concat(key || coalesce(str_value, '') || "
	    "typeof(bool_value) || typeof(int_value) || "
	    "typeof(float_value)) FROM collection_metadata WHERE "
	    "collection_id LIKE '6e09%'"), "bintegernullnull,"
	    "fnullnullreal,hnsw:spacecosinenullnullnull,inullintegernull",
	    "metadata of a collection");
	tap_is(ask(a, "SELECT config_json_str LIKE '%\"l2\"%' FROM "
	    "collections WHERE name = 'c'"), "1", "space unknown: l2");
	/* a schema comes with the second round */
	copy(a, b);
	coll(&w, "f", 2, ITEM_COSINE, "{\"uuid\":null,\"config\":\"{}\","
	    "\"schema\":\"{\\\"keys\\\":{\\\"#embedding\\\":{\\\""
	    "float_list\\\":{\\\"vector_index\\\":{\\\"config\\\":{"
	    "\\\"space\\\":\\\"cosine\\\",\\\"hnsw\\\":{\\\""
	    "max_neighbors\\\":4}}}}}}}\",\"metadata\":{}}");
	w.recs[0].changed = w.recs[1].changed = 0;
	add(&w, 5, "x", NULL, "{}");
	settle(&w);
	make(&w, b, 1, 1);
	tap_ok(holds(&w, b), "a schema comes later");
	tap_is(ask(b, levels), "10 5 2", "and its tables with it");
	tap_is(ask(b, "SELECT config_json_str || substr(schema_str, 1, 7) "
	    "FROM collections WHERE name = 'f'"), "{}{\"keys\"",
	    "both as they came");
	buf_free(&cfg);
	world_clear(&w);
}

/* One record of this metadata, and one collection of that: the status. */
static int
status(const char *meta, const char *config)
{
	static struct world	w;
	struct err		e;
	int			rv;

	memset(&w, 0, sizeof(w));
	source(&w, 0);
	coll(&w, "a", 2, ITEM_L2, config);
	add(&w, 0, "the-record", NULL, meta);
	settle(&w);
	rv = try(&w, new_dir(), 0, 1, &e);
	if (rv != 0)
		printf("# %s\n", e.text);
	if (rv == MSG_DATAERR && config == NULL &&
	    strstr(e.text, "the-record") == NULL)
		rv = -1;
	world_clear(&w);
	return rv;
}

static void
test_refuse(void)
{
	tap_ok(status("{\"a\":1}", NULL) == 0, "a record");
	tap_ok(status("{\"chroma:document\":\"x\"}", NULL) == MSG_DATAERR,
	    "metadata where the document lies");
	tap_ok(status("{\"a\":[]}", NULL) == MSG_DATAERR, "an empty array");
	tap_ok(status("{\"a\":[1,\"x\"]}", NULL) == MSG_DATAERR,
	    "an array of two types");
	tap_ok(status("{\"a\":[[1]]}", NULL) == MSG_DATAERR &&
	    status("{\"a\":[{\"b\":1}]}", NULL) == MSG_DATAERR &&
	    status("{\"a\":{\"b\":1}}", NULL) == MSG_DATAERR,
	    "values within values");
	tap_ok(status("[1]", NULL) == MSG_DATAERR &&
	    status("", NULL) == MSG_DATAERR &&
	    status("{\"a\":1,", NULL) == MSG_DATAERR,
	    "metadata that is no object");
	tap_ok(status("{}", "{\"metadata\":{\"a\":[1]}}") == MSG_DATAERR,
	    "an array in a collection's metadata");
	tap_ok(status("{}", "{\"metadata\":7}") == MSG_DATAERR &&
	    status("{}", "[") == MSG_DATAERR, "a configuration that is none");
	tap_ok(status("{}", "{\"config\":\"{\\\"vector_index\\\":{\\\"hnsw"
	    "\\\":{\\\"max_neighbors\\\":1000000}}}\"}") == MSG_DATAERR,
	    "an index of a million neighbours");
}

/* A base that is not what was written. */
static void
test_base(const struct world *w, const char *a)
{
	static const char *const	sql[] = {
		"INSERT INTO embeddings_queue (operation, topic, id) VALUES "
		    "(3, 't', 'x')",
		"DELETE FROM embeddings WHERE id = (SELECT max(id) FROM "
		    "embeddings)",
		"INSERT INTO max_seq_id (segment_id, seq_id) SELECT id, 5 "
		    "FROM segments",
		"DELETE FROM migrations WHERE version > 4"
	};
	static struct world	x;
	struct err		e;
	sqlite3			*db;
	const char		*b;
	size_t			 i, n = sizeof(sql) / sizeof(sql[0]), ok = 0;
	int			 rv;

	x = *w;
	for (i = 0; i < x.n; i++) {
		if ((x.recs[i].changed = x.recs[i].it.dead == 0)) {
			x.recs[i].it.dead = 1;
			x.recs[i].it.vec = NULL;
		}
	}
	for (i = 0; i < n; i++) {
		b = new_dir();
		copy(a, b);
		if (sqlite3_open(in(b, CHROMA_FILE), &db) != SQLITE_OK ||
		    sqlite3_exec(db, sql[i], NULL, NULL, NULL) != SQLITE_OK)
			die(sql[i], NULL);
		sqlite3_close(db);
		rv = try(&x, b, 1, 1, &e);
		printf("# %s\n", e.text);
		if (rv == MSG_DATAERR)
			ok++;
	}
	tap_ok(ok == n, "%zu bases that were changed are refused", n);
}

/* Disks that are full after so many bytes of any file. */
static void
test_full(void)
{
	static struct world	w;
	struct rlimit		was, now;
	struct err		e;
	const char		*dir;
	rlim_t			max;
	int			rv = -1, wrong = 0, failed = 0, fd, before;

	populate(&w, 0);
	before = fd = open("/dev/null", O_RDONLY);
	(void)close(fd);
	(void)signal(SIGXFSZ, SIG_IGN);
	(void)getrlimit(RLIMIT_FSIZE, &was);
	for (max = 0; rv != 0 && max < 1 << 21; max += max < 2000 ? 400 :
	    24000) {
		dir = new_dir();
		now = was;
		now.rlim_cur = max;
		(void)setrlimit(RLIMIT_FSIZE, &now);
		rv = try(&w, dir, 0, 1, &e);
		(void)setrlimit(RLIMIT_FSIZE, &was);
		failed += rv != 0;
		if (rv != 0 && rv != MSG_IOERR) {
			printf("# %llu: %d %s\n", (unsigned long long)max,
			    rv, e.text);
			wrong++;
		}
		if (rv == 0) {
			manifest(dir, &w);
			wrong += !holds(&w, dir);
		}
	}
	fd = open("/dev/null", O_RDONLY);
	(void)close(fd);
	tap_ok(rv == 0 && wrong == 0 && failed > 8 && fd == before,
	    "%d disks too full: an error each, no descriptor kept", failed);
	world_clear(&w);
}

int
main(int argc, char **argv)
{
	static struct world	w;
	struct err		e = { 0, "" };
	const char		*dir = getenv("DATA"), *a, *s;

	msg_init("chroma_write");
	if (argc > 1)
		dir = argv[1];
	(void)snprintf(data, sizeof(data), "%s",
	    dir != NULL ? dir : "tests/data");
	if (tmp_dir(top, "write") == -1)
		return 1;
	tap_plan(45);
	a = mem_dup(new_dir());
	populate(&w, 0);
	test_made(&w, a);
	tap_is(ask(a, levels), "9 5 2", "the oldest servers open it");
	test_onto(&w, a);
	test_base(&w, a);
	world_clear(&w);
	free((void *)(uintptr_t)a);
	populate(&w, 1);
	item_coll_clear(&w.colls[4]);
	w.n_colls--;
	coll(&w, "l2", 1, ITEM_L2, "{\"config\":\"{}\",\"schema\":\"{}\"}");
	s = new_dir();
	make(&w, s, 0, 1);
	tap_ok(holds(&w, s), "arrays and a schema");
	test_schema(s);
	world_clear(&w);
	test_config();
	test_refuse();
	test_full();
	(void)io_rmtree(AT_FDCWD, top, &e);
	return tap_done();
}
