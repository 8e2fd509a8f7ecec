/*
 * gendelta: writes ChromaDB persistent directories of any size, for tests
 * and benches: the schema and bookkeeping rows are cloned from a real one,
 * then the rows are put where ChromaDB itself puts them for a delta below
 * its sync threshold (records and metadata in their tables, vectors in the
 * queue, no index files).  The same options give the same bytes.
 *
 * It is no part of what is installed, and knows no format but that one.
 * SPDX-License-Identifier: ISC
 */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mem.h"
#include "msg.h"
#include "num.h"

#include "banned.h"

#ifndef GENDELTA_LIKE
#define GENDELTA_LIKE "tests/data/samples/clean_small/db"
#endif
#define CREATED "2026-01-01 00:00:00"	/* one for all: no clock */
#define TIME_0 1760000000U		/* seconds; mtime of delta 0 */
#define TEXT_MAX 4096			/* bytes of a document */
#define NOISE	0.5F			/* beside a cluster's centre */

static const char USAGE[] = "usage: gendelta --out DIR [--count N] "
    "[--records N] [--dim D] [--start K]\n"
    "                [--overlap N] [--delete ID]... [--collection NAME] "
    "[--space S]\n"
    "                [--seed S] [--time SECONDS] [--like DIR] "
    "[--clusters N] [--text N]\n";

struct gen {
	const char	 *out, *coll, *space, *like;
	const char	**dead;		/* ids to delete, in order */
	size_t		  n_dead, cap_dead;
	uint64_t	  count;	/* 0: DIR is the delta itself */
	uint64_t	  records, dim, start, overlap, seed, time;
	uint64_t	  clusters;	/* of vectors; 0: uniform noise */
	uint64_t	  text;		/* bytes of a document, about */
	unsigned char	 *blank;	/* database without records */
	sqlite3_int64	  blank_len;
	char		 *config, *schema;
};

/* One delta while it is written. */
struct delta {
	sqlite3		*db;
	sqlite3_stmt	*emb, *meta, *fts, *queue;
	char		 coll[37], vseg[37], mseg[37], topic[80];
	uint64_t	 seq;		/* of the last queue row */
	uint64_t	 seed;
	float		*vec;
};

/* A mixing step; the next of a sequence, or a hash of what went in. */
static uint64_t
mix(uint64_t *s)
{
	uint64_t	z = *s += 0x9e3779b97f4a7c15U;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
	z = (z ^ z >> 27) * 0x94d049bb133111ebU;
	return z ^ z >> 31;
}

static void
die_db(sqlite3 *db, const char *what)
{
	msg_die(MSG_IOERR, "%s: %s", what, sqlite3_errmsg(db));
}

/* The name is banned for db_text, and this links none of ours. */
static const char *
column(sqlite3_stmt *st, int i)
{
	return (const char *)(sqlite3_column_text)(st, i);
}

static void
exec(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		die_db(db, sql);
}

static sqlite3_stmt *
prepare(sqlite3 *db, const char *sql)
{
	sqlite3_stmt	*st;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
		die_db(db, sql);
	return st;
}

/* Step a statement that gives no row, and make it ready again. */
static void
run(sqlite3 *db, sqlite3_stmt *st)
{
	if (sqlite3_step(st) != SQLITE_DONE)
		die_db(db, sqlite3_sql(st));
	(void)sqlite3_reset(st);
}

static void
bind_str(sqlite3_stmt *st, int i, const char *s)
{
	(void)sqlite3_bind_text(st, i, s, -1, SQLITE_STATIC);
}

static void
bind_u64(sqlite3_stmt *st, int i, uint64_t v)
{
	(void)sqlite3_bind_int64(st, i, (sqlite3_int64)v);
}

static void
uuid(char out[37], uint64_t *s)
{
	uint64_t	a = mix(s), b = mix(s);

	(void)snprintf(out, 37, "%08lx-%04lx-4%03lx-%04lx-%012llx",
	    (unsigned long)(a >> 32), (unsigned long)(a >> 16 & 0xffff),
	    (unsigned long)(a & 0xfff),
	    (unsigned long)(0x8000 | (b >> 48 & 0x3fff)),
	    (unsigned long long)(b & 0xffffffffffffU));
}

/* text with every old replaced by new; the caller frees it. */
static char *
replace(const char *text, const char *old, const char *new)
{
	size_t		 n = 0, lo = strlen(old), ln = strlen(new);
	const char	*p;
	char		*out, *q;

	for (p = text; (p = strstr(p, old)) != NULL; p += lo)
		n++;
	out = q = mem_alloc(strlen(text) + n * ln + 1);
	while (*text != '\0') {
		if (strncmp(text, old, lo) == 0) {
			memcpy(q, new, ln);
			q += ln;
			text += lo;
		} else
			*q++ = *text++;
	}
	*q = '\0';
	return out;
}

/*
 * The database that every delta starts from: schema and bookkeeping of
 * the real one at g->like, in memory.
 */
static void
make_blank(struct gen *g)
{
	sqlite3		*db;
	sqlite3_stmt	*st;
	char		 uri[PATH_MAX + 64], space[32], *was;

	(void)snprintf(uri, sizeof(uri),
	    "ATTACH 'file:%s/chroma.sqlite3?mode=ro&immutable=1' AS src",
	    g->like);
	if (sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE |
	    SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, NULL) != SQLITE_OK)
		die_db(db, "memory");
	exec(db, uri);
	st = prepare(db, "SELECT sql FROM src.sqlite_schema WHERE sql NOT NULL"
	    " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
	    " AND name NOT LIKE 'embedding\\_fulltext\\_search\\_%' ESCAPE '\\'"
	    " ORDER BY rowid");
	while (sqlite3_step(st) == SQLITE_ROW)
		exec(db, column(st, 0));
	(void)sqlite3_finalize(st);
	exec(db, "INSERT INTO migrations SELECT * FROM src.migrations;"
	    "INSERT INTO tenants SELECT * FROM src.tenants;"
	    "INSERT INTO databases SELECT * FROM src.databases;"
	    "INSERT INTO acquire_write SELECT * FROM src.acquire_write"
	    " WHERE id = 1;"
	    "INSERT INTO embeddings_queue_config"
	    " SELECT * FROM src.embeddings_queue_config");
	st = prepare(db, "SELECT config_json_str, schema_str"
	    " FROM src.collections LIMIT 1");
	if (sqlite3_step(st) != SQLITE_ROW ||
	    column(st, 1) == NULL)
		msg_die(MSG_DATAERR, "%s: no collection with a schema",
		    g->like);
	g->config = mem_dup(column(st, 0));
	was = mem_dup(column(st, 1));
	(void)sqlite3_finalize(st);
	(void)snprintf(space, sizeof(space), "\"space\":\"%s\"", g->space);
	g->schema = replace(was, "\"space\":\"l2\"", space);
	free(was);
	exec(db, "DETACH src");
	g->blank = sqlite3_serialize(db, "main", &g->blank_len, 0);
	if (g->blank == NULL)
		msg_die(MSG_IOERR, "serialize: no memory");
	(void)sqlite3_close(db);
}

static void
put_file(const char *path, const void *p, size_t n)
{
	FILE	*f = fopen(path, "wx");

	if (f == NULL)
		msg_die(MSG_IOERR, "%s: %s", path, strerror(errno));
	if (fwrite(p, 1, n, f) != n || fclose(f) != 0)
		msg_die(MSG_IOERR, "%s: %s", path, strerror(errno));
}

static void
delta_open(struct delta *d, const struct gen *g, const char *dir, uint64_t i)
{
	uint64_t	 s = g->seed * 1000003U + g->start + (i << 40);
	sqlite3_stmt	*st;
	char		 path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/chroma.sqlite3", dir);
	put_file(path, g->blank, (size_t)g->blank_len);
	if (sqlite3_open(path, &d->db) != SQLITE_OK)
		die_db(d->db, path);
	exec(d->db, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
	    "PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -65536;"
	    "BEGIN");
	uuid(d->coll, &s);
	uuid(d->vseg, &s);
	uuid(d->mseg, &s);
	(void)snprintf(d->topic, sizeof(d->topic),
	    "persistent://default/default/%s", d->coll);
	d->seq = 0;
	d->seed = g->overlap > 0 ? g->seed + (i + 1) * 7919 : g->seed;
	st = prepare(d->db, "INSERT INTO collections(id, name, dimension,"
	    " database_id, config_json_str, schema_str)"
	    " VALUES(?, ?, ?, (SELECT id FROM databases), ?, ?)");
	bind_str(st, 1, d->coll);
	bind_str(st, 2, g->coll);
	if (g->records > 0)
		bind_u64(st, 3, g->dim);
	bind_str(st, 4, g->config);
	bind_str(st, 5, g->schema);
	run(d->db, st);
	(void)sqlite3_finalize(st);
	st = prepare(d->db, "INSERT INTO segments(id, type, scope, collection)"
	    " VALUES(?1, 'urn:chroma:segment/vector/hnsw-local-persisted',"
	    " 'VECTOR', ?3), (?2, 'urn:chroma:segment/metadata/sqlite',"
	    " 'METADATA', ?3)");
	bind_str(st, 1, d->vseg);
	bind_str(st, 2, d->mseg);
	bind_str(st, 3, d->coll);
	run(d->db, st);
	(void)sqlite3_finalize(st);
	d->emb = prepare(d->db, "INSERT INTO embeddings(id, segment_id,"
	    " embedding_id, seq_id, created_at) VALUES(?, ?, ?, ?, ?)");
	d->meta = prepare(d->db, "INSERT INTO embedding_metadata(id, key,"
	    " string_value, int_value, float_value, bool_value)"
	    " VALUES(?, ?, ?, ?, ?, ?)");
	d->fts = prepare(d->db, "INSERT INTO embedding_fulltext_search(rowid,"
	    " string_value) VALUES(?, ?)");
	d->queue = prepare(d->db, "INSERT INTO embeddings_queue(seq_id,"
	    " created_at, operation, topic, id, vector, encoding, metadata)"
	    " VALUES(?, ?, ?, ?, ?, ?, ?, ?)");
}

static void
put_queue(struct delta *d, int op, const char *id, uint64_t dim,
    const char *meta)
{
	(void)sqlite3_clear_bindings(d->queue);
	bind_u64(d->queue, 1, ++d->seq);
	bind_str(d->queue, 2, CREATED);
	(void)sqlite3_bind_int(d->queue, 3, op);
	bind_str(d->queue, 4, d->topic);
	bind_str(d->queue, 5, id);
	if (dim > 0) {
		(void)sqlite3_bind_blob(d->queue, 6, d->vec,
		    (int)(dim * sizeof(float)), SQLITE_STATIC);
		bind_str(d->queue, 7, "FLOAT32");
	}
	bind_str(d->queue, 8, meta);
	run(d->db, d->queue);
}

/* One metadata row; which of the values counts: s i f b. */
static void
put_meta(struct delta *d, uint64_t row, const char *key, char kind,
    const char *s, int64_t i, double f)
{
	(void)sqlite3_clear_bindings(d->meta);
	bind_u64(d->meta, 1, row);
	bind_str(d->meta, 2, key);
	if (kind == 's')
		bind_str(d->meta, 3, s);
	else if (kind == 'i')
		(void)sqlite3_bind_int64(d->meta, 4, i);
	else if (kind == 'f')
		(void)sqlite3_bind_double(d->meta, 5, f);
	else
		(void)sqlite3_bind_int64(d->meta, 6, i);
	run(d->db, d->meta);
}

/* A number from -1 to 1. */
static float
unit(uint64_t *s)
{
	return (float)(mix(s) >> 40) / 8388608.0F - 1.0F;
}

/*
 * The vector of a record: noise, or one of so many centres, the same for
 * every delta of this seed, with less of it.
 */
static void
make_vector(struct delta *d, const struct gen *g, uint64_t *s)
{
	uint64_t	i, c;

	if (g->clusters == 0) {
		for (i = 0; i < g->dim; i++)
			d->vec[i] = unit(s);
		return;
	}
	c = (g->seed + 1) * 0x9e3779b97f4a7c15U ^ mix(s) % g->clusters;
	for (i = 0; i < g->dim; i++)
		d->vec[i] = unit(&c) + NOISE * unit(s);
}

/* More words behind a document, until it has its size. */
static void
make_text(char *doc, size_t size, uint64_t *s)
{
	static const char *const part[] = { "ba", "cor", "den", "fi", "gal",
	    "hum", "ist", "jo", "kel", "lor", "min", "nav", "ost", "per",
	    "qui", "rad", "sol", "tem", "ulm", "ver" };
	size_t		n = sizeof(part) / sizeof(part[0]), len = strlen(doc);
	uint64_t	r;

	while (len + 12 < size) {
		r = mix(s);
		len += (size_t)snprintf(doc + len, size - len, " %s%s%s",
		    part[r % n], part[(r >> 8) % n], r & 1U << 20 ?
		    part[(r >> 24) % n] : "");
	}
}

/* Record k in all its tables; what it holds depends on seed and k. */
static void
put_record(struct delta *d, const struct gen *g, uint64_t k)
{
	char		id[64], image[32], doc[TEXT_MAX], json[2 * TEXT_MAX];
	char		doc_json[TEXT_MAX + 32] = "";
	uint64_t	s = d->seed * 0x100000001b3U ^ k, r;
	uint64_t	row = d->seq + 1;
	double		conf;

	make_vector(d, g, &s);
	r = mix(&s);
	conf = 0.5 + (double)(r % 4096) / 8192.0;	/* exact; never whole */
	if (conf == 0.5)
		conf = 0.75;
	(void)snprintf(image, sizeof(image), "img-%llu",
	    (unsigned long long)(k / 40));
	(void)snprintf(id, sizeof(id), "IMAGE#%llu#LINE#%05llu",
	    (unsigned long long)(k / 40), (unsigned long long)k);
	(void)snprintf(doc, sizeof(doc), "line %llu TOTAL %llu.%02llu caf\xc3"
	    "\xa9", (unsigned long long)k, (unsigned long long)(r >> 20 & 1023),
	    (unsigned long long)(r >> 40) % 100);
	make_text(doc, (size_t)g->text, &s);
	if (k % 17 != 16)
		(void)snprintf(doc_json, sizeof(doc_json),
		    "\"chroma:document\":\"%s\",", doc);
	(void)snprintf(json, sizeof(json), "{%s\"image_id\":\"%s\","
	    "\"line_id\":%llu,\"confidence\":%.17g,\"is_valid\":%s}",
	    doc_json, image, (unsigned long long)k, conf,
	    r & 1 ? "true" : "false");
	put_queue(d, 0, id, g->dim, json);
	bind_u64(d->emb, 1, row);
	bind_str(d->emb, 2, d->mseg);
	bind_str(d->emb, 3, id);
	bind_u64(d->emb, 4, d->seq);
	bind_str(d->emb, 5, CREATED);
	run(d->db, d->emb);
	put_meta(d, row, "image_id", 's', image, 0, 0);
	put_meta(d, row, "line_id", 'i', NULL, (int64_t)k, 0);
	put_meta(d, row, "confidence", 'f', NULL, 0, conf);
	put_meta(d, row, "is_valid", 'b', NULL, (int64_t)(r & 1), 0);
	if (doc_json[0] == '\0')
		return;
	put_meta(d, row, "chroma:document", 's', doc, 0, 0);
	bind_u64(d->fts, 1, row);
	bind_str(d->fts, 2, doc);
	run(d->db, d->fts);
}

/* Queue a DELETE of id and take away what the tables hold of it. */
static void
put_delete(struct delta *d, const char *id)
{
	static const char *const sql[] = {
		"DELETE FROM embedding_metadata WHERE id IN"
		" (SELECT id FROM embeddings WHERE embedding_id = ?)",
		"DELETE FROM embedding_fulltext_search WHERE rowid IN"
		" (SELECT id FROM embeddings WHERE embedding_id = ?)",
		"DELETE FROM embeddings WHERE embedding_id = ?"
	};
	sqlite3_stmt	*st;
	size_t		 i;

	put_queue(d, 3, id, 0, "{}");
	for (i = 0; i < sizeof(sql) / sizeof(sql[0]); i++) {
		st = prepare(d->db, sql[i]);
		bind_str(st, 1, id);
		run(d->db, st);
		(void)sqlite3_finalize(st);
	}
}

static void
delta_close(struct delta *d, const struct gen *g, const char *dir, uint64_t i)
{
	struct timespec	 ts[2];
	sqlite3_stmt	*st;
	char		 path[PATH_MAX];

	(void)sqlite3_finalize(d->emb);
	(void)sqlite3_finalize(d->meta);
	(void)sqlite3_finalize(d->fts);
	(void)sqlite3_finalize(d->queue);
	st = prepare(d->db, "INSERT INTO max_seq_id VALUES(?, ?)");
	bind_str(st, 1, d->mseg);
	bind_u64(st, 2, d->seq);
	if (d->seq > 0)
		run(d->db, st);
	(void)sqlite3_finalize(st);
	exec(d->db, "COMMIT");
	if (sqlite3_close(d->db) != SQLITE_OK)
		die_db(d->db, dir);
	memset(ts, 0, sizeof(ts));
	ts[0].tv_sec = ts[1].tv_sec = (time_t)(g->time + i);
	(void)snprintf(path, sizeof(path), "%s/chroma.sqlite3", dir);
	if (utimensat(AT_FDCWD, path, ts, 0) == -1 ||
	    utimensat(AT_FDCWD, dir, ts, 0) == -1)
		msg_die(MSG_IOERR, "%s: %s", dir, strerror(errno));
}

static void
make_delta(const struct gen *g, const char *dir, uint64_t i)
{
	struct delta	 d;
	uint64_t	 first, k;
	size_t		 j;

	if (mkdir(dir, 0777) == -1 && errno != EEXIST)
		msg_die(MSG_IOERR, "%s: %s", dir, strerror(errno));
	memset(&d, 0, sizeof(d));
	d.vec = mem_zero((size_t)g->dim, sizeof(*d.vec));
	delta_open(&d, g, dir, i);
	first = g->start + i * (g->records - g->overlap);
	for (k = first; k < first + g->records; k++)
		put_record(&d, g, k);
	for (j = 0; j < g->n_dead; j++)
		put_delete(&d, g->dead[j]);
	delta_close(&d, g, dir, i);
	free(d.vec);
}

static void
usage(void)
{
	(void)fputs(USAGE, stderr);
	exit(MSG_USAGE);
}

static uint64_t
number(const char *name, uint64_t min, uint64_t max)
{
	const char	*why;
	uint64_t	 v;

	if (num_u64(optarg, min, max, &v, &why) == -1)
		msg_die(MSG_USAGE, "--%s: %s: %s", name, optarg, why);
	return v;
}

static void
options(struct gen *g, int argc, char *argv[])
{
	static const struct option long_opts[] = {
		{ "out", 1, NULL, 'o' }, { "count", 1, NULL, 'n' },
		{ "records", 1, NULL, 'r' }, { "dim", 1, NULL, 'd' },
		{ "start", 1, NULL, 'k' }, { "overlap", 1, NULL, 'v' },
		{ "delete", 1, NULL, 'x' }, { "collection", 1, NULL, 'c' },
		{ "space", 1, NULL, 'm' }, { "seed", 1, NULL, 's' },
		{ "time", 1, NULL, 't' }, { "like", 1, NULL, 'l' },
		{ "clusters", 1, NULL, 'u' }, { "text", 1, NULL, 'w' },
		{ NULL, 0, NULL, 0 }
	};
	int	c, i;

	while ((c = getopt_long(argc, argv, "", long_opts, &i)) != -1) {
		switch (c) {
		case 'o':
			g->out = optarg;
			break;
		case 'c':
			g->coll = optarg;
			break;
		case 'm':
			g->space = optarg;
			break;
		case 'l':
			g->like = optarg;
			break;
		case 'n':
			g->count = number("count", 1, 100000);
			break;
		case 'r':
			g->records = number("records", 0, 10000000);
			break;
		case 'd':
			g->dim = number("dim", 1, 65536);
			break;
		case 'k':
			g->start = number("start", 0, 1U << 30);
			break;
		case 'v':
			g->overlap = number("overlap", 0, 10000000);
			break;
		case 'u':
			g->clusters = number("clusters", 0, 1U << 30);
			break;
		case 'w':
			g->text = number("text", 0, TEXT_MAX - 1);
			break;
		case 's':
			g->seed = number("seed", 0, 1U << 30);
			break;
		case 't':
			g->time = number("time", 0, UINT32_MAX);
			break;
		case 'x':
			g->dead = mem_grow(g->dead, &g->cap_dead,
			    g->n_dead + 1, sizeof(*g->dead));
			g->dead[g->n_dead++] = optarg;
			break;
		default:
			usage();
		}
	}
	if (optind != argc || g->out == NULL || g->overlap > g->records)
		usage();
}

int
main(int argc, char *argv[])
{
	struct gen	 g;
	uint64_t	 i;
	char		 dir[PATH_MAX];

	msg_init("gendelta");
	memset(&g, 0, sizeof(g));
	g.coll = "receipt_lines";
	g.space = "l2";
	g.like = GENDELTA_LIKE;
	g.records = 100;
	g.dim = 8;
	g.time = TIME_0;
	options(&g, argc, argv);
	make_blank(&g);
	if (g.count == 0)
		make_delta(&g, g.out, 0);
	else if (mkdir(g.out, 0777) == -1 && errno != EEXIST)
		msg_die(MSG_IOERR, "%s: %s", g.out, strerror(errno));
	for (i = 0; i < g.count; i++) {
		(void)snprintf(dir, sizeof(dir), "%s/delta-%04llu", g.out,
		    (unsigned long long)i);
		make_delta(&g, dir, i);
	}
	sqlite3_free(g.blank);
	free(g.config);
	free(g.schema);
	free(g.dead);
	return 0;
}
