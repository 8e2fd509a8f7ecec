/*
 * s3_send_big: which parts are there, which are sent, and what became of a
 * complete of which nobody knows.
 * SPDX-License-Identifier: ISC
 */
#include "s3_send_big.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "net.h"
#include "s3.h"
#include "s3_pool.h"
#include "s3_send_job.h"
#include "banned.h"

#define SEND_ANEW	3	/* beginnings of one upload in parts */
#define SEND_STALE_NS	((int64_t)86400 * 1000000000) /* nobody's */
#define ETAG_MAX	56	/* bytes of one of S3's */

void
big_free(struct send *s, struct big *b)
{
	struct big	**p;

	for (p = &s->bigs; *p != b; p = &(*p)->next_big)
		continue;
	*p = b->next_big;
	if (b->fd != -1)
		(void)close(b->fd);
	hash_free(b->whole);
	free(b->id);
	free(b->v);
	free(b);
}

static int
on_have(void *arg, const struct s3_part *p, struct err *e)
{
	struct big	*b = arg;

	(void)e;
	/* of another size, or behind our end: none of ours */
	if (p->number < 1 || p->number > b->n ||
	    p->size != b->v[p->number - 1].size)
		b->lost = 1;
	else
		(void)snprintf(b->v[p->number - 1].etag,
		    sizeof(b->v->etag), "%s", p->etag);
	return 0;
}

static void
forget_parts(struct big *b)
{
	unsigned int	i;

	for (i = 0; i < b->n; i++)
		b->v[i].etag[0] = '\0';
	b->lost = 0;
}

/* "md5" as an ETag has it, with quotes; suffix is "" or "-N". */
static void
etag_of(struct hash *md5, const char *suffix, char out[ETAG_MAX])
{
	unsigned char	d[HASH_MD5];
	size_t		i, at = 1;

	hash_md5_final(md5, d);
	out[0] = '"';
	for (i = 0; i < HASH_MD5; i++, at += 2)
		(void)snprintf(out + at, ETAG_MAX - at, "%02x", d[i]);
	(void)snprintf(out + at, ETAG_MAX - at, "%s\"", suffix);
}

/* Is part i, that lies there, what we would send?  1, 0, -1. */
static int
is_piece(const struct send *s, const struct big *b, unsigned int i,
    struct err *e)
{
	struct hash	*h = hash_md5_new();
	char		 tag[ETAG_MAX];
	int		 rv;

	if (h == NULL)
		return 0; /* nobody knows: it is sent again */
	rv = send_digest(s, b->i, b->fd, i * b->each, b->v[i].size, h, NULL, e);
	etag_of(h, "", tag);
	hash_free(h);
	return rv == -1 ? -1 : strcmp(tag, b->v[i].etag) == 0;
}

/* Are all parts that lie there pieces of our file, and is there any? */
static int
fits(struct send *s, struct big *b, const char *id, struct err *e)
{
	struct err	one = { 0, "" };
	unsigned int	i, n = 0;
	int		r;

	forget_parts(b);
	if (s3_mp_parts(s->s, s->bucket, s->v[b->i].key, id, on_have, b,
	    &one) == -1)
		return one.code == MSG_NOINPUT ? 0 :
		    err_set(e, one.code, "%s", one.text);
	for (i = 0; i < b->n && !b->lost; i++) {
		if (b->v[i].etag[0] == '\0')
			continue;
		n++;
		if ((r = is_piece(s, b, i, e)) == -1)
			return -1;
		b->lost = !r;
		/* the others must not starve meanwhile */
		if (net_wait(s3_net(s->s), 0, e) == -1)
			return -1;
	}
	return n > 0 && !b->lost;
}

int
big_is_litter(const struct send *s, const struct left *l)
{
	if (!s->o->create || s->o->locked)
		return 1; /* nobody else writes there */
	return l->initiated > 0 &&
	    io_wall_ns() - l->initiated > SEND_STALE_NS;
}

/* One to go on with: the newest that fits. The others go. */
static int
find_left(struct send *s, struct big *b, struct err *e)
{
	struct left	*l;
	size_t		 k;
	int		 r;

	/* by the time of their beginning, the newest first */
	for (k = 0; k < s->n_left; k++) {
		l = &s->left[k];
		if (l->i != b->i || l->id == NULL)
			continue;
		r = b->id == NULL ? fits(s, b, l->id, e) : 0;
		if (r == -1)
			return -1;
		if (r == 1) {
			b->id = l->id;
			b->resumed = 1;
			l->id = NULL;
			continue;
		}
		if (b->id == NULL)
			forget_parts(b);
		if (big_is_litter(s, l) && s3_mp_abort(s->s, s->bucket,
		    s->v[b->i].key, l->id, e) == -1)
			return -1;
		free(l->id);
		l->id = NULL;
	}
	return 0;
}

/* An upload of our own, from its first part. */
static int
create_upload(struct send *s, struct big *b, struct err *e)
{
	const char	*meta[4];
	char		 line[SEND_LINE];
	int		 tries = 0;
	struct err	 one;

	if (b->begun++ == SEND_ANEW)
		return err_set(e, MSG_TEMPFAIL, "s3://%s/%s: its upload in "
		    "parts was lost, %d times", s->bucket, s->v[b->i].key,
		    SEND_ANEW);
	send_set_meta(s, b->i, line, meta);
	free(b->id);
	b->resumed = 0;
	forget_parts(b);
	for (;;) {
		one.code = 0;
		b->id = s3_mp_create(s->s, s->bucket, s->v[b->i].key, meta,
		    &one);
		if (b->id != NULL)
			return 0;
		/* it may have been created all the same */
		s->litter |= one.code == MSG_TEMPFAIL;
		if (one.code != MSG_TEMPFAIL || ++tries == SEND_LOOKS ||
		    io_signal() != 0)
			return err_set(e, one.code, "%s", one.text);
		if (pool_pause(&s->pool, send_delay((unsigned int)tries),
		    e) == -1)
			return -1;
	}
}

int
big_begin(struct send *s, size_t i, struct err *e)
{
	struct big	*b = mem_zero(1, sizeof(*b));
	unsigned int	 k;

	b->next_big = s->bigs;
	s->bigs = b;
	b->i = i;
	b->whole = hash_new();
	b->each = S3_SEND_PART;
	while ((s->v[i].size + b->each - 1) / b->each > S3_PARTS_MAX)
		b->each *= 2;
	b->n = (unsigned int)((s->v[i].size + b->each - 1) / b->each);
	b->v = mem_zero(b->n, sizeof(*b->v));
	for (k = 0; k < b->n; k++) {
		b->v[k].number = k + 1;
		b->v[k].size = k + 1 < b->n ? b->each :
		    s->v[i].size - k * b->each;
	}
	if ((b->fd = send_open(s, i, e)) == -1 || find_left(s, b, e) == -1)
		return -1;
	return b->id != NULL ? 0 : create_upload(s, b, e);
}

int
big_next_part(struct send *s, struct big *b, struct job **out, struct err *e)
{
	struct s3_part	*p = &b->v[b->next];
	struct hash	*h = p->etag[0] == '\0' ? hash_new() : NULL;
	unsigned char	 d[HASH_LEN];
	struct job	*j = NULL;

	if (send_digest(s, b->i, b->fd, b->next * b->each, p->size, b->whole, h,
	    e) == -1) {
		hash_free(h);
		return -1;
	}
	if (h != NULL) {
		j = send_job(s, b->i, J_PART);
		j->b = b;
		j->part = b->next;
		hash_final(h, d);
		hash_hex(d, j->sha);
		hash_free(h);
		b->under_way++;
	} else {
		b->kept += p->size;
		s->sent.kept_bytes += p->size;
	}
	/* before the last one goes: is it the file that was meant? */
	if (++b->next == b->n && send_check_whole(s, b->i, b->whole, e) == -1) {
		if (j != NULL)
			send_drop(&j->j, 0);
		return -1;
	}
	*out = j;
	return j != NULL;
}

/* Has an object of these parts this ETag? */
static int
is_of_parts(const struct big *b, const char *etag)
{
	struct hash	*h = hash_md5_new();
	char		 want[ETAG_MAX], suffix[16];
	unsigned char	 d;
	unsigned int	 i, k, c;

	if (h == NULL || etag == NULL) {
		hash_free(h);
		return 0;
	}
	for (i = 0; i < b->n; i++)
		for (k = 0; k < HASH_MD5; k++) {
			if (sscanf(b->v[i].etag + 1 + 2 * k, "%2x", &c) != 1)
				c = 0;
			d = (unsigned char)c;
			hash_add(h, &d, 1);
		}
	(void)snprintf(suffix, sizeof(suffix), "-%u", b->n);
	etag_of(h, suffix, want);
	hash_free(h);
	return strcmp(etag, want) == 0;
}

static int
count_part(void *arg, const struct s3_part *p, struct err *e)
{
	(void)p;
	(void)e;
	*(int *)arg = 1;
	return -1;
}

/* Is the upload still there?  1, 0, -1. */
static int
is_open(struct send *s, struct big *b, struct err *e)
{
	struct err	one = { 0, "" };
	int		any = 0;

	if (s3_mp_parts(s->s, s->bucket, s->v[b->i].key, b->id, count_part,
	    &any, &one) == 0)
		return 1;
	return one.code == MSG_NOINPUT ? 0 :
	    err_set(e, one.code, "%s", one.text);
}

static void
big_over(struct send *s, struct big *b, int created)
{
	if (created) {
		send_mark_sent(s, b->i);
		send_tell(s, b->i);
	} else {
		/* what was sent of it was for nothing */
		send_mark_kept(s, b->i);
	}
	big_free(s, b);
}

static int
anew(struct send *s, struct big *b, struct err *e)
{
	/* it is of no use any more, but may be another's who began it */
	if ((!b->resumed || send_condition(s) == 0) && s3_mp_abort(s->s,
	    s->bucket, s->v[b->i].key, b->id, e) == -1)
		return -1;
	b->next = 0;
	hash_reset(b->whole);
	s->sent.kept_bytes -= b->kept;
	b->kept = 0;
	return create_upload(s, b, e);
}

/* It says it is complete: what is there now? 0 over or begun anew. */
static int
after_complete(struct send *s, struct big *b, struct s3_res *r,
    struct err *e)
{
	int	is = send_look(s, b->i, r, e);

	switch (is) {
	case -1:
		return -1;
	case 1:
		big_over(s, b, 1);
		return 0;
	case 0:
		return err_set(e, MSG_TEMPFAIL, "s3://%s/%s: it was complete, "
		    "and is not there", s->bucket, s->v[b->i].key);
	default:
		break;
	}
	/* our bytes under the digest of another's upload: take it away */
	if (b->resumed && is_of_parts(b, r->etag)) {
		if (s3_delete(s->s, s->bucket, s->v[b->i].key, e) == -1)
			return -1;
		return anew(s, b, e);
	}
	return send_taken(s, b->i, e);
}

/* Nobody said that it is complete.  1: ask again; 0 over; -1. */
static int
after_doubt(struct send *s, struct big *b, struct s3_res *r, int refused,
    struct err *e)
{
	int	is = send_look(s, b->i, r, e), open;

	if (is == -1)
		return -1;
	if (is == 1) {
		if (send_is_ours(s, r) || b->resumed) {
			open = is_open(s, b, e);
			if (open == -1)
				return -1;
			if (!open) {
				big_over(s, b, 1);
				return 0;
			}
		}
		/* the same, by another upload */
		if (s3_mp_abort(s->s, s->bucket, s->v[b->i].key, b->id, e) ==
		    -1)
			return -1;
		big_over(s, b, 0);
		return 0;
	}
	if (is == 2 && s->o->create)
		return send_taken(s, b->i, e);
	open = is_open(s, b, e);
	if (open == 1)
		return refused || b->lost ? anew(s, b, e) : 1;
	return open == -1 ? -1 : anew(s, b, e);
}

/*
 * A complete of which nobody knows is never asked for again before a look.
 * With create, what is there is looked at before, too: there are servers
 * that complete over another object and do not heed If-None-Match; for them
 * that look is all there is, and two who complete at the same moment both
 * win.
 */
int
big_finish(struct send *s, struct big *b, struct err *e)
{
	struct s3_res	 r;
	struct err	 one;
	const char	*key = s->v[b->i].key;
	unsigned int	 k;
	int		 rv = 1, refused;

	memset(&r, 0, sizeof(r));
	if (s->o->create && !b->lost) {
		rv = send_look(s, b->i, &r, e);
		if (rv == 2)
			rv = send_taken(s, b->i, e);
		else if (rv == 1) {
			rv = s3_mp_abort(s->s, s->bucket, key, b->id, e);
			if (rv == 0)
				big_over(s, b, 0);
			goto done;
		} else if (rv == 0)
			rv = 1;
	}
	for (k = 1; rv == 1; k++) {
		one.code = 0;
		s3_res_clear(&r);
		if (!b->lost && s3_mp_complete(s->s, s->bucket, key, b->id,
		    b->v, b->n, send_condition(s), &r, &one) == 0) {
			rv = after_complete(s, b, &r, e);
			break;
		}
		/* such as a part that it does not know any more */
		refused = !b->lost && r.outcome == S3_REFUSED &&
		    one.code == MSG_DATAERR;
		if (!b->lost && r.outcome == S3_REFUSED && !refused &&
		    one.code != MSG_TEMPFAIL) {
			rv = err_set(e, one.code, "%s", one.text);
			break;
		}
		rv = io_signal() != 0 ? err_set(e, one.code, "%s",
		    one.text) : after_doubt(s, b, &r, refused, e);
		if (rv == 1 && k == SEND_LOOKS)
			rv = err_set(e, MSG_TEMPFAIL, "%s", one.text);
		if (rv == 1)
			rv = pool_pause(&s->pool, send_delay(k), e) == -1 ?
			    -1 : 1;
	}
done:
	s3_res_clear(&r);
	return rv;
}
