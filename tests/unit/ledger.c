/*
 * ledger: what is put comes back, in order, after any change; the same
 * calls make the same bytes; a file of something else is refused; and the
 * fix makes a vector whole to the bit.
 * SPDX-License-Identifier: ISC
 */
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "buf.h"
#include "hash.h"
#include "ledger.h"
#include "mem.h"
#include "tap.h"
#include "tmp.h"

#define N	3000	/* records of one collection */
#define ROUNDS	2000	/* random vectors */
#define DIM_MAX	40

static char	dir[TMP_DIR];
static char	digest[HASH_HEX];	/* any */
static uint64_t	rng = 88172645463325252U;

static uint64_t
next(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static const char *
path(const char *name)
{
	static char	b[4][256];
	static int	i;

	i = (i + 1) % 4;
	(void)snprintf(b[i], sizeof(b[i]), "%s/%s", dir, name);
	return b[i];
}

static struct item_coll
coll(const char *name, enum item_space space)
{
	struct item_coll	c;

	memset(&c, 0, sizeof(c));
	c.name = (char *)(uintptr_t)name;
	c.dim = 8;
	c.space = space;
	c.space_known = 1;
	c.config_seq = 7;
	return c;
}

static struct item_source
source(int i)
{
	struct item_source	s;
	unsigned char		d[HASH_LEN];
	static char		url[32];

	memset(&s, 0, sizeof(s));
	memset(d, i, sizeof(d));
	hash_hex(d, s.sha256);
	(void)snprintf(url, sizeof(url), "file:///%d", i);
	s.url = url;
	s.size = 100;
	s.seq = 1000 + i;
	s.records = 3;
	return s;
}

static struct ledger_rec
rec(int i, char id[64], int round)
{
	struct ledger_rec	r;

	memset(&r, 0, sizeof(r));
	(void)snprintf(id, 64, "id-%05d-\303\251", i);
	r.id = id;
	r.id_len = strlen(id);
	r.seq = i * (int64_t)10 - 5 + round;
	r.src = i % 3;
	memset(r.digest, i + round, HASH_LEN);
	r.label = i % 7 == round ? 0 : (uint64_t)i + 1;
	if (r.label != 0 && i % 3 == 0) {
		r.fix = "\1\2";
		r.fix_len = 2;
	}
	return r;
}

static int
same(const struct ledger_rec *a, const struct ledger_rec *b)
{
	return a->id_len == b->id_len &&
	    memcmp(a->id, b->id, a->id_len) == 0 && a->seq == b->seq &&
	    a->src == b->src && a->label == b->label &&
	    memcmp(a->digest, b->digest, HASH_LEN) == 0 &&
	    a->fix_len == b->fix_len && (a->fix == NULL) == (b->fix == NULL) &&
	    (a->fix == NULL || memcmp(a->fix, b->fix, a->fix_len) == 0);
}

/* Two collections, three sources, N records in the first. */
static int
make(const char *name, struct err *e)
{
	struct ledger		l;
	struct ledger_rec	r;
	struct item_coll	c;
	struct item_source	s;
	char			id[64];
	int			i, rv = -1;

	memset(e, 0, sizeof(*e));
	if (ledger_create(&l, path(name), e) == -1)
		goto done;
	c = coll("zeta", ITEM_COSINE);
	if (ledger_put_coll(&l, &c, e) != 0)
		goto done;
	c = coll("alpha", ITEM_IP);
	c.model = (char *)(uintptr_t)"\"m\"";
	if (ledger_put_coll(&l, &c, e) != 1)
		goto done;
	for (i = 0; i < 3; i++) {
		s = source(i);
		if (ledger_put_source(&l, &s, e) != i)
			goto done;
	}
	for (i = 0; i < N; i++) {
		r = rec(i, id, 0);
		if (ledger_put(&l, 0, &r, e) == -1)
			goto done;
	}
	return ledger_finish(&l, digest, 1, 2, e);
done:
	ledger_close(&l);
	return rv;
}

/* Every third record anew, one collection and one source more. */
static int
change(const char *name, struct err *e)
{
	struct ledger		l;
	struct ledger_rec	r;
	struct item_coll	c;
	struct item_source	s;
	char			id[64];
	int			i;

	memset(e, 0, sizeof(*e));
	if (ledger_open(&l, path(name), LEDGER_WRITE, e) == -1)
		goto fail;
	c = coll("alpha", ITEM_IP);
	c.dim = 99;
	if (ledger_put_coll(&l, &c, e) != 1)
		goto fail;
	c = coll("beta", ITEM_L2);
	if (ledger_put_coll(&l, &c, e) != 2)
		goto fail;
	s = source(1);
	s.etag = (char *)(uintptr_t)"\"e\"";
	if (ledger_put_source(&l, &s, e) != 1)
		goto fail;
	s = source(9);
	if (ledger_put_source(&l, &s, e) != 3)
		goto fail;
	for (i = 0; i < N; i += 3) {
		r = rec(i, id, 1);
		if (ledger_get(&l, 0, r.id, r.id_len, &r, e) != 1)
			goto fail;
		r = rec(i, id, 1);
		if (ledger_put(&l, 0, &r, e) == -1)
			goto fail;
	}
	r = rec(1, id, 1);
	if (ledger_put(&l, 2, &r, e) == -1)
		goto fail;
	return ledger_finish(&l, digest, 3, 4, e);
fail:
	ledger_close(&l);
	return -1;
}

/* Walk and get; every record as it should be. */
static int
hold(const char *name, int changed, struct err *e)
{
	struct ledger		l;
	struct ledger_rec	r, want;
	char			id[64];
	int			i, k = -1, bad = 0;

	memset(e, 0, sizeof(*e));
	if (ledger_open(&l, path(name), LEDGER_READ, e) == -1) {
		ledger_close(&l);
		return 0;
	}
	bad = l.records != (changed ? 3U : 1U) ||
	    l.tombstones != (changed ? 4U : 2U) ||
	    strcmp(l.content, digest) != 0 ||
	    l.n_colls != (changed ? 3U : 2U) ||
	    l.n_sources != (changed ? 4U : 3U) ||
	    strcmp(l.colls[0].name, "zeta") != 0 ||
	    l.colls[0].space != ITEM_COSINE ||
	    l.colls[1].dim != (changed ? 99U : 8U) ||
	    (l.sources[1].etag != NULL) != changed;
	if (ledger_walk(&l, 0, e) == -1)
		bad = 1;
	for (i = 0; !bad && (k = ledger_next(&l, &r, e)) == 1; i++) {
		want = rec(i, id, changed && i % 3 == 0);
		bad = !same(&r, &want);
	}
	bad = bad || k != 0 || i != N;
	for (i = 0; !bad && i < N; i += 17) {
		want = rec(i, id, changed && i % 3 == 0);
		bad = ledger_get(&l, 0, id, strlen(id), &r, e) != 1 ||
		    !same(&r, &want);
	}
	bad = bad || ledger_get(&l, 1, id, strlen(id), &r, e) != 0 ||
	    ledger_get(&l, 0, "id", 2, &r, e) != 0;
	ledger_close(&l);
	return !bad;
}

static int
same_file(const char *a, const char *b)
{
	unsigned char	da[HASH_LEN], db[HASH_LEN];
	struct err	e = { 0, "" };
	uint64_t	n;

	return hash_file(AT_FDCWD, path(a), da, &n, &e) == 0 &&
	    hash_file(AT_FDCWD, path(b), db, &n, &e) == 0 &&
	    memcmp(da, db, HASH_LEN) == 0;
}

/* Make one, damage it by sql, and read it all: the status. */
static int
damaged(const char *sql)
{
	struct ledger		l;
	struct ledger_rec	r;
	struct err		e;
	sqlite3			*db = NULL;
	size_t			 i;
	int			 k;

	(void)unlink(path("bad"));
	if (make("bad", &e) == -1)
		return -1;
	if (sqlite3_open(path("bad"), &db) != SQLITE_OK ||
	    sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
		printf("# %s\n", sqlite3_errmsg(db));
		sqlite3_close(db);
		return -1;
	}
	sqlite3_close(db);
	memset(&e, 0, sizeof(e));
	k = ledger_open(&l, path("bad"), LEDGER_READ, &e);
	for (i = 0; k == 0 && i < l.n_colls; i++) {
		k = ledger_walk(&l, i, &e);
		while (k == 0 && (k = ledger_next(&l, &r, &e)) == 1)
			k = 0;
	}
	ledger_close(&l);
	printf("# %s\n", e.text);
	return e.code;
}

static void
refuse(void)
{
	static const char *const	sql[] = {
		"PRAGMA application_id=1",
		"PRAGMA user_version=2",
		"DELETE FROM info WHERE key='records'",
		"UPDATE info SET value='x' WHERE key='content_digest'",
		"CREATE TABLE more(a)",
		"CREATE TRIGGER t AFTER INSERT ON record BEGIN SELECT 1; END",
		"DROP TABLE record; CREATE VIEW record AS SELECT 1 AS c, "
		    "'a' AS id, 1 AS seq, 1 AS s, zeroblob(32) AS digest, "
		    "1 AS label, NULL AS fix",
		"DELETE FROM source WHERE s=1",
		"DELETE FROM collection WHERE c=1",
		"UPDATE collection SET space='round'",
		"UPDATE collection SET dimension=-1",
		"UPDATE source SET sha256='x' WHERE s=1",
		"UPDATE record SET digest=x'00' WHERE id LIKE 'id-00100%'",
		"UPDATE record SET label=0 WHERE id LIKE 'id-00100%'",
		"UPDATE record SET label=1.5 WHERE id LIKE 'id-00100%'",
		"UPDATE record SET s=4 WHERE id LIKE 'id-00100%'",
		"UPDATE record SET fix='x' WHERE id LIKE 'id-00100%'",
		("UPDATE record SET id=CAST('x' AS BLOB) WHERE "
		    "id LIKE 'id-00100%'"),
		"UPDATE record SET id='' WHERE id LIKE 'id-00100%'",
	};
	size_t	i, n = sizeof(sql) / sizeof(sql[0]), ok = 0;

	for (i = 0; i < n; i++)
		if (damaged(sql[i]) == MSG_DATAERR)
			ok++;
		else
			printf("# not refused: %s\n", sql[i]);
	tap_ok(ok == n && damaged("SELECT 1") == 0,
	    "%zu kinds of damage are refused", n);
}

static void
put_le(unsigned char *p, float f)
{
	uint32_t	v;

	memcpy(&v, &f, 4);
	p[0] = (unsigned char)v;
	p[1] = (unsigned char)(v >> 8);
	p[2] = (unsigned char)(v >> 16);
	p[3] = (unsigned char)(v >> 24);
}

/* A float of any size, now and then one of the odd ones. */
static float
any(void)
{
	static const float	odd[] = { 0.0F, -0.0F, 1e-45F, -1e-45F,
				    3.4028235e38F, -3.4028235e38F, 1.0F };

	if (next() % 4 == 0)
		return odd[next() % 7];
	return ldexpf((float)(next() % 20001) - 10000.0F,
	    (int)(next() % 200) - 100);
}

/* Every vector comes back; far: one float is further off than a unit. */
static int
fixes(int far)
{
	unsigned char	want[DIM_MAX * 4], got[DIM_MAX * 4];
	struct buf	b;
	float		f, g;
	uint32_t	dim, i;
	int		n, rv = 1;

	buf_init(&b, 1024);
	for (n = 0; rv && n < ROUNDS; n++) {
		dim = 1 + (uint32_t)(next() % DIM_MAX);
		for (i = 0; i < dim; i++) {
			f = g = any();
			switch (next() % 3) {
			case 0:
				g = nextafterf(f, INFINITY);
				break;
			case 1:
				g = nextafterf(f, -INFINITY);
				break;
			}
			/* the other zero lies between */
			if (f == 0.0F)
				g = copysignf(g, f);
			put_le(want + 4 * i, f);
			put_le(got + 4 * i, isfinite(g) ? g : f);
		}
		if (far)
			put_le(got + 4 * (next() % dim), 12345.678F);
		buf_reset(&b);
		ledger_fix_make(want, got, dim, &b);
		if (b.len == 0)
			rv = memcmp(want, got, dim * 4) == 0;
		else
			rv = b.len == (far ? dim * 4 : (dim + 3) / 4) &&
			    ledger_fix_apply(got, dim, b.p, b.len) == 0 &&
			    memcmp(want, got, dim * 4) == 0;
	}
	buf_free(&b);
	return rv;
}

static void
fix(void)
{
	unsigned char	v[4 * 4] = { 0 };
	struct buf	b;

	tap_ok(fixes(0), "a unit up, down or none: two bits each");
	tap_ok(fixes(1), "further off: the vector itself");
	buf_init(&b, 64);
	ledger_fix_make(v, v, 4, &b);
	tap_ok(b.len == 0, "the same: nothing");
	buf_free(&b);
	tap_ok(ledger_fix_apply(v, 4, "\1\1", 2) == -1 &&
	    ledger_fix_apply(v, 4, "", 0) == -1 &&
	    ledger_fix_apply(v, 4, "\3", 1) == -1 &&
	    ledger_fix_apply(v, 3, "\100", 1) == -1 &&
	    ledger_fix_apply(v, 3, "\1", 1) == 0,
	    "what is no fix is refused");
}

int
main(void)
{
	struct err	e;
	struct ledger	l;
	char		cmd[4][8] = { "a", "b", "bad", "x" };
	int		i;

	tap_plan(14);
	if (tmp_dir(dir, "ledger") == -1)
		return 1;
	memset(digest, 'a', HASH_HEX - 1);
	tap_ok(make("a", &e) == 0 && make("b", &e) == 0, "made %s", e.text);
	tap_ok(same_file("a", "b"), "the same calls, the same bytes");
	tap_ok(hold("a", 0, &e), "every record comes back %s", e.text);
	tap_ok(make("a", &e) == -1 && e.code != 0, "not made twice");
	tap_ok(change("a", &e) == 0 && change("b", &e) == 0,
	    "changed in place %s", e.text);
	tap_ok(hold("a", 1, &e), "and every record comes back %s", e.text);
	tap_ok(same_file("a", "b"), "the same changes, the same bytes");
	tap_ok(access(path("a-journal"), F_OK) == -1 &&
	    access(path("a-wal"), F_OK) == -1, "nothing beside it");
	memset(&e, 0, sizeof(e));
	tap_ok(ledger_open(&l, path("x"), LEDGER_READ, &e) == -1 &&
	    access(path("x"), F_OK) == -1, "absent is an error");
	ledger_close(&l);
	refuse();
	fix();
	for (i = 0; i < 4; i++)
		(void)unlink(path(cmd[i]));
	(void)rmdir(dir);
	return tap_done();
}
