/*
 * chroma_schema: a migration that is applied leaves its tables and its row,
 * with the hash that a server computes of it; one that cannot be leaves
 * what was there.
 * SPDX-License-Identifier: ISC
 */
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <sqlite3.h>

#include "chroma_schema.h"
#include "tap.h"

static struct err err;

static int
count(sqlite3 *db, const char *sql)
{
	sqlite3_stmt	*st = NULL;
	int		 n = -1;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		n = sqlite3_column_int(st, 0);
	(void)sqlite3_finalize(st);
	return n;
}

static sqlite3 *
empty(void)
{
	sqlite3	*db = NULL;
	size_t	 i;

	if (sqlite3_open(":memory:", &db) != SQLITE_OK)
		return NULL;
	for (i = 0; chroma_before[i] != NULL; i++)
		(void)sqlite3_exec(db, chroma_before[i], NULL, NULL, NULL);
	return db;
}

static int
hash_is(const struct chroma_migration *m)
{
	unsigned char	d[EVP_MAX_MD_SIZE];
	char		hex[2 * EVP_MAX_MD_SIZE + 1] = "";
	unsigned int	i, n = 0;

	if (EVP_Digest(m->sql, strlen(m->sql), d, &n, EVP_md5(), NULL) != 1)
		return 0;
	for (i = 0; i < n; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", d[i]);
	return strcmp(hex, m->hash) == 0;
}

int
main(void)
{
	const struct chroma_migration	*m;
	sqlite3				*db = empty();
	int				 n = 0, bad = 0, r;

	tap_plan(7);
	for (m = chroma_migrations; m->dir != NULL; m++, n++) {
		bad += !hash_is(m);
		bad += chroma_apply(db, m->dir, m->version,
		    CHROMA_APPLY_SQL | CHROMA_APPLY_ROW, "x", &err) == -1;
	}
	tap_ok(bad == 0 && count(db, "SELECT count(*) FROM migrations") == n,
	    "%d migrations, each with its MD5", n);
	tap_ok(count(db, "SELECT count(*) FROM embeddings") == 0 &&
	    count(db, "SELECT count(*) FROM collections") == 0,
	    "make the tables");
	r = chroma_apply(db, CHROMA_SYSDB, 99, CHROMA_APPLY_SQL, "x", &err);
	tap_ok(r == -1 && err.code == MSG_SOFTWARE && strstr(err.text,
	    "x: no migration sysdb 99") != NULL, "there is no other");
	err.code = 0;
	m = chroma_migrations;
	r = chroma_apply(db, m->dir, m->version, CHROMA_APPLY_SQL |
	    CHROMA_APPLY_ROW, "x", &err);
	tap_ok(r == -1 && err.code != 0 && strncmp(err.text, "x:", 2) == 0 &&
	    count(db, "SELECT count(*) FROM migrations") == n,
	    "twice is refused, and no row says it: %s", err.text);
	(void)sqlite3_exec(db, "PRAGMA query_only = 1", NULL, NULL, NULL);
	err.code = 0;
	r = chroma_apply(db, m->dir, m->version, CHROMA_APPLY_ROW, "x", &err);
	tap_ok(r == -1 && err.code != 0 &&
	    count(db, "SELECT count(*) FROM migrations") == n,
	    "a database that cannot be written: %s", err.text);
	(void)sqlite3_close(db);
	(void)sqlite3_open(":memory:", &db);
	err.code = 0;
	r = chroma_apply(db, m->dir, m->version, CHROMA_APPLY_ROW, "x", &err);
	tap_ok(r == -1 && err.code != 0, "no table of migrations: %s",
	    err.text);
	(void)sqlite3_close(db);
	db = empty();
	(void)sqlite3_limit(db, SQLITE_LIMIT_LENGTH, 100);
	err.code = 0;
	r = chroma_apply(db, m->dir, m->version, CHROMA_APPLY_ROW, "x", &err);
	tap_ok(r == -1 && err.code != 0 &&
	    count(db, "SELECT count(*) FROM migrations") == 0,
	    "a text that is too long: %s", err.text);
	(void)sqlite3_close(db);
	return tap_done();
}
