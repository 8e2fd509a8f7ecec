/*
 * What SQLite says, as statuses: also where it says nothing.
 * SPDX-License-Identifier: ISC
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "db.h"
#include "msg.h"
#include "tap.h"
#include "banned.h"

/* What SQLite could open for reading alone, by no fault of the file. */
static void
read_only(void)
{
	char		 path[] = "/tmp/db-unit.XXXXXX";
	struct sqlite3	*db;
	struct err	 e = { 0, "" };
	int		 fd = mkstemp(path);

	if (fd == -1 || close(fd) == -1 || sqlite3_open_v2(path, &db,
	    SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
		return;
	tap_ok(db_exec(db, "CREATE TABLE a (b)", path, &e) == -1 &&
	    e.code == MSG_IOERR && strstr(e.text, "may be written") != NULL,
	    "a file that may be written and was not opened so: the machine");
	(void)sqlite3_close(db);
	(void)unlink(path);
}

int
main(void)
{
	struct sqlite3	*db;
	struct err	 e = { 0, "" };
	int64_t		 n;

	msg_init("unit");
	tap_plan(6);
	db = db_open(":memory:", DB_MEMORY, 0, &e);
	tap_ok(db == NULL && e.code == MSG_NOINPUT &&
	    strstr(e.text, ":memory:") != NULL, "a name is a file's, always");
	e.code = 0;
	tap_ok(db_err(NULL, "x", &e) == -1 && e.code == MSG_IOERR &&
	    strcmp(e.text, "x: sqlite: out of memory (code 7)") == 0,
	    "no handle: there was no memory for it");
	if (sqlite3_open(":memory:", &db) != SQLITE_OK)
		return 1;
	e.code = 0;
	tap_ok(db_err(db, "x", &e) == -1 && e.code == MSG_IOERR &&
	    strcmp(e.text, "x: sqlite: out of memory (code 7)") == 0,
	    "what fails without a word had no memory");
	e.code = 0;
	tap_ok(db_int(db, "SELECT a FROM b", "x", &n, &e) == -1 &&
	    e.code == MSG_DATAERR && strstr(e.text, "no such table: b") !=
	    NULL, "a table that is not there is what the file lacks");
	tap_ok(db_int(db, "SELECT 7", "x", &n, &e) == 1 && n == 7,
	    "and a row is a row");
	(void)sqlite3_close(db);
	read_only();
	return tap_done();
}
