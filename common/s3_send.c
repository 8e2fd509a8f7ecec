/*
 * s3_send: what is there, what is not, and in which order it gets there:
 * small files in one request (s3_send_job), large ones in parts
 * (s3_send_big).  It proves nothing: s3_prove does.
 * SPDX-License-Identifier: ISC
 */
#include "s3_send.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "mem.h"
#include "s3.h"
#include "s3_pool.h"
#include "s3_send_big.h"
#include "s3_send_job.h"
#include "banned.h"

/*
 * The order of things.
 */

static int
more_heads(void *arg, struct s3_job **out, struct err *e)
{
	struct send	*s = arg;

	(void)e;
	for (; s->at < s->end; s->at++)
		if (s->it[s->at].listed == IT_SIZE) {
			*out = &send_job(s, s->at++, J_HEAD)->j;
			return 1;
		}
	return 0;
}

static int
more_files(void *arg, struct s3_job **out, struct err *e)
{
	struct send	*s = arg;
	struct big	*b;
	struct job	*j = NULL;
	int		 r;

	for (;;) {
		for (b = s->bigs; b != NULL; b = b->next_big)
			if ((b->next < b->n && !b->lost) ||
			    b->under_way == 0)
				break;
		if (b != NULL && b->next < b->n && !b->lost) {
			if ((r = big_next_part(s, b, &j, e)) == 1)
				*out = &j->j;
			if (r != 0)
				return r;
		} else if (b != NULL) {
			if (big_finish(s, b, e) == -1)
				return -1;
		} else {
			while (s->at < s->end && s->it[s->at].done)
				s->at++;
			if (s->at == s->end)
				return 0;
			if (!send_is_big(s, s->at)) {
				*out = &send_job(s, s->at++, J_PUT)->j;
				return 1;
			}
			if (big_begin(s, s->at++, e) == -1)
				return -1;
		}
	}
}

static int
run(struct send *s, size_t at, size_t end, int (*more)(void *,
    struct s3_job **, struct err *), struct err *e)
{
	s->at = at;
	s->end = end;
	return pool_run(&s->pool, more, s, e);
}

/*
 * What is there.
 */

static int
by_key(const void *a, const void *b)
{
	return strcmp(((const struct keyed *)a)->key,
	    ((const struct keyed *)b)->key);
}

/* The file of a key, or n. */
static size_t
find(const struct send *s, const char *key)
{
	size_t	lo = 0, hi = s->n, mid;
	int	c;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		c = strcmp(key, s->by_key[mid].key);
		if (c == 0)
			return s->by_key[mid].i;
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return s->n;
}

static int
on_object(void *arg, const struct s3_object *o, struct err *e)
{
	struct send	*s = arg;
	size_t		 i = find(s, o->key);

	if (i == s->n)
		return 0;
	s->it[i].listed = o->size == s->v[i].size ? IT_SIZE : IT_OTHER;
	return s->it[i].listed == IT_OTHER && s->o->create ?
	    send_taken(s, i, e) : 0;
}

static int
on_upload(void *arg, const struct s3_upload *u, struct err *e)
{
	struct send	*s = arg;
	size_t		 i = find(s, u->key);

	if (i < s->n && send_is_big(s, i)) {
		s->left = mem_grow(s->left, &s->left_cap, s->n_left + 1,
		    sizeof(*s->left));
		s->left[s->n_left].i = i;
		s->left[s->n_left].id = mem_dup(u->id);
		s->left[s->n_left++].initiated = u->initiated;
		return 0;
	}
	return s->o->create ? 0 : s3_mp_abort(s->s, s->bucket, u->key, u->id,
	    e);
}

static int
newest_first(const void *a, const void *b)
{
	const struct left	*x = a, *y = b;

	return x->initiated != y->initiated ?
	    (x->initiated < y->initiated) - (x->initiated > y->initiated) :
	    strcmp(y->id, x->id);
}

/* Uploads of files that are there already. */
static int
sweep(struct send *s, struct err *e)
{
	size_t	k;

	for (k = 0; k < s->n_left; k++)
		if (s->left[k].id != NULL && s->it[s->left[k].i].done &&
		    big_is_litter(s, &s->left[k]) && s3_mp_abort(s->s,
		    s->bucket, s->v[s->left[k].i].key, s->left[k].id, e) ==
		    -1)
			return -1;
	return 0;
}

/* All is there: no upload of it is wanted any more. */
static int
abort_any(void *arg, const struct s3_upload *u, struct err *e)
{
	struct send	*s = arg;

	return find(s, u->key) == s->n ? 0 : s3_mp_abort(s->s, s->bucket,
	    u->key, u->id, e);
}

static int
see(struct send *s, const char *prefix, struct err *e)
{
	size_t	i;
	int	any = !s->o->create;

	for (i = 0; i < s->n; i++)
		any |= send_is_big(s, i);
	if (s3_list(s->s, s->bucket, prefix, NULL, NULL, on_object, s, e) ==
	    -1)
		return -1;
	if (any && s3_mp_list(s->s, s->bucket, prefix, on_upload, s, e) ==
	    -1)
		return -1;
	if (s->n_left > 0)
		qsort(s->left, s->n_left, sizeof(*s->left), newest_first);
	return 0;
}

/* It failed: what may be there, and what is to be gone on with? */
static void
clean(struct send *s, int code)
{
	struct s3_res	 r;
	struct err	 ignored = { 0, "" };
	size_t		 k;
	int		 for_good = io_signal() == 0 && (s->o->give_up ||
			    (code != MSG_TEMPFAIL && code != MSG_IOERR));

	memset(&r, 0, sizeof(r));
	while (s->bigs != NULL) {
		if (for_good && s->bigs->id != NULL && ignored.code == 0)
			(void)s3_mp_abort(s->s, s->bucket,
			    s->v[s->bigs->i].key, s->bigs->id, &ignored);
		big_free(s, s->bigs);
	}
	ignored.code = 0;
	for (k = 0; k < s->n_maybe; k++) {
		if (!s->o->create)
			send_tell(s, s->maybe[k]);
		else if (io_signal() == 0 && ignored.code == 0 &&
		    send_look(s, s->maybe[k], &r, &ignored) == 1 &&
		    send_is_ours(s, &r))
			send_tell(s, s->maybe[k]);
	}
	s3_res_clear(&r);
}

static int
send_all(struct send *s, const char *prefix, struct err *e)
{
	size_t	i, n_prefix = strlen(prefix);

	for (i = 0; i < s->n; i++)
		if (strncmp(s->v[i].key, prefix, n_prefix) != 0)
			return err_set(e, MSG_SOFTWARE, "%s: not below %s",
			    s->v[i].key, prefix);
	if (io_random_hex(s->put, SEND_PUT_LEN, e) == -1 ||
	    see(s, prefix, e) == -1 ||
	    run(s, 0, s->n, more_heads, e) == -1 || sweep(s, e) == -1)
		return -1;
	(void)snprintf(s->put_line, SEND_LINE, SEND_META_PUT ": %s", s->put);
	if (s->o->run != NULL && (size_t)snprintf(s->run_line, SEND_LINE,
	    SEND_META_RUN ": %s", s->o->run) >= SEND_LINE)
		return err_set(e, MSG_SOFTWARE, "%s: too long for the name "
		    "of a run", s->o->run);
	if (run(s, 0, s->n - 1, more_files, e) == -1 ||
	    run(s, s->n - 1, s->n, more_files, e) == -1)
		return -1;
	/* with create, one that is not ours may be another's */
	return s->litter && (!s->o->create || s->o->locked) ?
	    s3_mp_list(s->s, s->bucket, prefix, abort_any, s, e) : 0;
}

int
s3_send(struct s3 *s3, struct retry *r, const char *bucket,
    const char *prefix, int dirfd, const struct s3_file *v, size_t n,
    const struct s3_send_opts *o, struct s3_sent *sent, struct err *e)
{
	struct send	 s;
	struct err	 mine = { 0, "" };
	size_t		 i;
	int		 rv;

	memset(&s, 0, sizeof(s));
	if (sent != NULL)
		*sent = s.sent;
	if (n == 0)
		return 0;
	pool_init(&s.pool, s3, r, o->parallel > 0 ? o->parallel :
	    S3_SEND_PARALLEL);
	s.s = s3;
	s.bucket = bucket;
	s.dirfd = dirfd;
	s.v = v;
	s.n = n;
	s.o = o;
	s.it = mem_zero(n, sizeof(*s.it));
	s.by_key = mem_zero(n, sizeof(*s.by_key));
	for (i = 0; i < n; i++)
		s.by_key[i] = (struct keyed){ v[i].key, i };
	qsort(s.by_key, n, sizeof(*s.by_key), by_key);
	rv = send_all(&s, prefix, &mine);
	if (rv == -1) {
		clean(&s, mine.code);
		err_set(e, mine.code, "%s", mine.text);
	}
	s.sent.retries = s.pool.retries;
	if (sent != NULL)
		*sent = s.sent;
	for (i = 0; i < s.n_left; i++)
		free(s.left[i].id);
	free(s.left);
	free(s.maybe);
	free(s.by_key);
	free(s.it);
	return rv;
}
