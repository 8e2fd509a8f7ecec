/*
 * ckpt_breaker: the hosts' breakers, kept for all processes.  What opens
 * and closes one is breaker's.
 * SPDX-License-Identifier: ISC
 */
#include "ckpt_db.h"

#include <stdio.h>
#include <string.h>

#include <sqlite3.h>

#include "db.h"
#include "banned.h"

static int
get_breaker(struct ckpt *c, sqlite3_stmt *st, struct breaker *b,
    struct err *e)
{
	const char	*s = ckpt_db_col(st, 3);

	memset(b, 0, sizeof(*b));
	if (ckpt_breaker_parse(ckpt_db_col(st, 1), &b->state) == -1 ||
	    s == NULL || strlen(s) > BREAKER_LAST ||
	    s[strspn(s, "+-")] != '\0')
		return err_set(e, MSG_DATAERR, "%s: a breaker makes no sense",
		    c->path);
	b->failures = (unsigned int)sqlite3_column_int(st, 2);
	(void)snprintf(b->recent, sizeof(b->recent), "%s", s);
	b->opened = sqlite3_column_int64(st, 4);
	b->until = sqlite3_column_int64(st, 5);
	b->wait = sqlite3_column_int64(st, 6);
	if ((s = ckpt_db_col(st, 7)) != NULL)
		(void)snprintf(b->probe_host, sizeof(b->probe_host), "%s", s);
	b->probe_pid = sqlite3_column_int64(st, 8);
	b->probe_until = sqlite3_column_int64(st, 9);
	if ((s = ckpt_db_col(st, 10)) != NULL)
		(void)snprintf(b->why, sizeof(b->why), "%s", s);
	return 0;
}

int
ckpt_breaker_get(struct ckpt *c, const char *host, struct breaker *b,
    struct err *e)
{
	sqlite3_stmt	*st;
	int		 r;

	memset(b, 0, sizeof(*b));
	if (c == NULL)
		return 0;
	st = ckpt_db_stmt(c, CKPT_ST_BREAKER, e);
	if (st == NULL)
		return -1;
	ckpt_db_str(st, 1, host);
	r = db_step(st, c->path, e);
	if (r == 1 && get_breaker(c, st, b, e) == -1)
		r = -1;
	(void)sqlite3_reset(st);
	return r;
}

static int
put_breaker(struct ckpt *c, const char *host, const struct breaker *b,
    struct err *e)
{
	sqlite3_stmt	*st = ckpt_db_stmt(c, CKPT_ST_BREAKER_PUT, e);

	if (st == NULL)
		return -1;
	ckpt_db_str(st, 1, host);
	ckpt_db_str(st, 2, ckpt_breaker_state(b->state));
	ckpt_db_int(st, 3, b->failures);
	ckpt_db_str(st, 4, b->recent);
	if (b->state != BREAKER_CLOSED) {
		ckpt_db_int(st, 5, b->opened);
		ckpt_db_int(st, 6, b->until);
		ckpt_db_int(st, 7, b->wait);
	}
	if (b->state == BREAKER_HALF_OPEN) {
		ckpt_db_str(st, 8, b->probe_host);
		ckpt_db_int(st, 9, b->probe_pid);
		ckpt_db_int(st, 10, b->probe_until);
	}
	if (b->why[0] != '\0')
		ckpt_db_str(st, 11, b->why);
	ckpt_db_int(st, 12, c->now);
	return db_step(st, c->path, e);
}

int
ckpt_breaker_change(struct ckpt *c, const char *host,
    int (*f)(struct breaker *b, int64_t now, void *arg), void *arg,
    struct err *e)
{
	char		why[CKPT_TEXT_MAX + 1];
	struct breaker	b;
	int		own = c != NULL && !c->begun, r, rv = -1;

	if (c == NULL)
		return 0;
	if (*host == '\0' || strlen(host) > CKPT_KEY_MAX)
		return err_set(e, MSG_USAGE, "breaker: want a host's name");
	/* it is asked in the middle of a transfer: no wait for the disk */
	if (own && db_exec(c->db, "PRAGMA synchronous = NORMAL", c->path,
	    e) == -1)
		return -1;
	if (ckpt_db_enter(c, e) == -1)
		goto done;
	r = ckpt_breaker_get(c, host, &b, e);
	if (r != -1 && f(&b, c->now, arg)) {
		(void)snprintf(b.why, sizeof(b.why), "%s",
		    ckpt_db_text(b.why, why));
		r = put_breaker(c, host, &b, e);
	}
	rv = ckpt_db_leave(c, r == -1 ? -1 : 0, e);
done:
	if (own && db_exec(c->db, "PRAGMA synchronous = FULL", c->path, e) ==
	    -1)
		rv = -1;
	return rv;
}

int
ckpt_breaker_each(struct ckpt *c, int (*f)(const char *host,
    const struct breaker *b, int64_t updated, void *arg), void *arg,
    struct err *e)
{
	sqlite3_stmt	*st;
	struct breaker	 b;
	int		 r;

	st = db_prepare(c->db, "SELECT host, state, failures, recent, opened,"
	    " until, wait, probe_host, probe_pid, probe_until, error, updated"
	    " FROM breaker ORDER BY host", c->path, e);
	if (st == NULL)
		return -1;
	while ((r = db_step(st, c->path, e)) == 1) {
		r = get_breaker(c, st, &b, e);
		if (r == -1 || f(ckpt_db_col(st, 0), &b,
		    sqlite3_column_int64(st, 11), arg) != 0)
			break;
	}
	sqlite3_finalize(st);
	return r == -1 ? -1 : 0;
}

int
ckpt_breaker_clear(struct ckpt *c, const char *host, uint64_t *n,
    struct err *e)
{
	sqlite3_stmt	*st;
	int		 rows = 0, rv = -1;

	*n = 0;
	if (c == NULL)
		return 0;
	if (ckpt_db_enter(c, e) == -1)
		return -1;
	st = db_prepare(c->db, "DELETE FROM breaker WHERE ?1 IS NULL OR"
	    " host = ?1", c->path, e);
	if (st != NULL) {
		ckpt_db_str(st, 1, host);
		rv = ckpt_db_change(c, st, &rows, e);
		*n = (uint64_t)rows;
	}
	sqlite3_finalize(st);
	return ckpt_db_leave(c, rv, e);
}
