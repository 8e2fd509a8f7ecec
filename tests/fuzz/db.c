/*
 * fuzz: databases that strangers made.  What check accepts must be read to
 * its end, and hold as many records as it said.
 * SPDX-License-Identifier: ISC
 */
#include "fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "buf.h"
#include "check.h"
#include "io.h"
#include "ledger.h"
#include "store.h"
#include "banned.h"

#ifndef FUZZ_SAMPLE
#define FUZZ_SAMPLE	"tests/data/samples/updates_deletes/db"
#endif
#define SAMPLE_MAX	((size_t)8 << 20)	/* bytes of its database */
#define STEPS_MAX	1000	/* thousands of SQLite's operations */

static void
prove(const char *path, enum store_format format)
{
	struct check_summary	 s;
	struct check_verdict	 v;
	struct store		*st;
	struct item		 it;
	struct err		 e = { 0, "" };
	uint64_t		 live = 0, dead = 0;
	int			 r;

	memset(&s, 0, sizeof(s));
	memset(&v, 0, sizeof(v));
	r = check_store(path, format, CHECK_ALLOW_EMPTY, &s, &v, &e);
	FUZZ_MUST(r != 1 || v.code != CHECK_OK);
	FUZZ_MUST(r != -1 || e.code != 0);
	if (r == 0) {
		st = store_open(path, format, 0, &e);
		FUZZ_MUST(st != NULL);
		while ((r = store_next(st, &it, &e)) == 1)
			*(it.dead ? &dead : &live) += 1;
		FUZZ_MUST(r == 0);
		FUZZ_MUST(live == s.records && dead == s.tombstones);
		store_close(st);
	}
	check_summary_clear(&s);
}

void
fuzz_chroma(const unsigned char *p, size_t n)
{
	fuzz_put("d/chroma.sqlite3", p, n);
	prove(fuzz_path("d"), STORE_CHROMA);
}

void
fuzz_store(const unsigned char *p, size_t n)
{
	fuzz_put("s/store.sqlite3", p, n);
	prove(fuzz_path("s"), STORE_SQLITE);
}

void
fuzz_ledger(const unsigned char *p, size_t n)
{
	struct ledger		l;
	struct ledger_rec	r;
	struct err		e = { 0, "" };
	size_t			i;

	fuzz_put("l.sqlite3", p, n);
	if (ledger_open(&l, fuzz_path("l.sqlite3"), LEDGER_READ, &e) == 0)
		for (i = 0; i < l.n_colls; i++)
			if (ledger_walk(&l, i, &e) == 0)
				while (ledger_next(&l, &r, &e) == 1)
					FUZZ_MUST(r.src >= 0 &&
					    (size_t)r.src < l.n_sources);
	ledger_close(&l);
}

/*
 * A real directory to which somebody did what SQL can do: statements, a
 * line each; those that fail are passed over.
 */

/* Nothing that reaches beyond this file. */
static int
allow(void *arg, int what, const char *a, const char *b, const char *c,
    const char *d)
{
	(void)arg;
	(void)c;
	(void)d;
	if (what == SQLITE_ATTACH || what == SQLITE_DETACH ||
	    (what == SQLITE_PRAGMA && (a == NULL ||
	    strcmp(a, "writable_schema") != 0)) ||
	    (what == SQLITE_FUNCTION && b != NULL &&
	    strcmp(b, "load_extension") == 0))
		return SQLITE_DENY;
	return SQLITE_OK;
}

/* Nor for ever. */
static int
stop(void *arg)
{
	int	*left = arg;

	return --*left <= 0;
}

static void
change(const char *path, char *sql)
{
	sqlite3	*db;
	char	*s, *next;
	int	 left = STEPS_MAX;

	FUZZ_MUST(sqlite3_open(path, &db) == SQLITE_OK);
	(void)sqlite3_exec(db, "PRAGMA synchronous=OFF; "
	    "PRAGMA journal_mode=MEMORY; PRAGMA writable_schema=ON",
	    NULL, NULL, NULL);
	(void)sqlite3_limit(db, SQLITE_LIMIT_LENGTH, 1 << 20);
	(void)sqlite3_set_authorizer(db, allow, NULL);
	sqlite3_progress_handler(db, 1000, stop, &left);
	for (s = sql; s != NULL; s = next) {
		next = strchr(s, '\n');
		if (next != NULL)
			*next++ = '\0';
		(void)sqlite3_exec(db, s, NULL, NULL, NULL);
	}
	(void)sqlite3_close(db);
}

void
fuzz_sql(const unsigned char *p, size_t n)
{
	static struct buf	 sample;
	struct err		 e = { 0, "" };
	char			*sql;
	size_t			 len = n;

	if (sample.max == 0) {
		buf_init(&sample, SAMPLE_MAX);
		FUZZ_MUST(io_slurp(AT_FDCWD, FUZZ_SAMPLE "/chroma.sqlite3",
		    &sample, &e) == 0);
	}
	fuzz_put("d/chroma.sqlite3", sample.p, sample.len);
	sql = fuzz_str(&p, &len);
	change(fuzz_path("d/chroma.sqlite3"), sql);
	free(sql);
	prove(fuzz_path("d"), STORE_CHROMA);
}
