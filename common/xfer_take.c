/*
 * xfer_take: headers and bytes of the object, against what was promised:
 * size, ETag, SHA-256, and the MD5 where nothing better is known.
 * SPDX-License-Identifier: ISC
 */
#include "xfer_take.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mem.h"
#include "net.h"
#include "num.h"
#include "part.h"
#include "s3.h"
#include "xfer_job.h"
#include "banned.h"

#define XFER_JUNK	((uint64_t)256 << 10) /* bytes of an error's page */

static int
give_up(struct job *j, enum verdict v, int code, const char *fmt, ...)
    MSG_PRINTF(4, 5);

/* -1, for head and sink to return. */
static int
give_up(struct job *j, enum verdict v, int code, const char *fmt, ...)
{
	struct work	*w = j->w;
	va_list		 ap;
	size_t		 n;

	w->verdict = v;
	w->e.code = code;
	n = (size_t)snprintf(w->e.text, sizeof(w->e.text), "%s: ", j->g.name);
	if (n < sizeof(w->e.text)) {
		va_start(ap, fmt);
		(void)vsnprintf(w->e.text + n, sizeof(w->e.text) - n, fmt,
		    ap);
		va_end(ap);
	}
	return -1;
}

int
take_same_tag(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

int
take_is_strong(const char *tag)
{
	return tag != NULL && tag[0] == '"';
}

/* "0123456789abcdef0123456789abcdef", with its quotes. */
static int
is_md5(const char *tag)
{
	return tag != NULL && strlen(tag) == 2 * HASH_MD5 + 2 &&
	    tag[0] == '"' && tag[2 * HASH_MD5 + 1] == '"' &&
	    strspn(tag + 1, "0123456789abcdefABCDEF") == 2 * HASH_MD5;
}

/* May the ETag be the MD5 that the bytes must have? */
static int
may_md5(const struct job *j, const char *tag)
{
	return j->g.bucket != NULL && j->g.sha256 == NULL &&
	    !s3_is_tls(j->x->s3) && is_md5(tag);
}

/* 44 characters of base64 as 64 hex digits: 0, or -1 for other text. */
static int
unbase64(const char *s, char hex[HASH_HEX])
{
	static const char	 digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "abcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned char		 d[HASH_LEN + 1];
	const char		*p;
	uint32_t		 v = 0;
	size_t			 i, n = 0;

	if (strlen(s) != 44 || s[43] != '=')
		return -1;
	for (i = 0; i < 44; i++) {
		p = i < 43 ? strchr(digits, s[i]) : digits;
		if (p == NULL || *p == '\0')
			return -1;
		v = v << 6 | (uint32_t)(p - digits);
		if (i % 4 != 3)
			continue;
		d[n++] = (unsigned char)(v >> 16);
		d[n++] = (unsigned char)(v >> 8);
		if (n <= HASH_LEN)
			d[n++] = (unsigned char)v;
		v = 0;
	}
	hash_hex(d, hex);
	return 0;
}

/* What the headers say that the bytes' digest is. whole: of a 200. */
static void
expect_digest(struct job *j, const struct net_res *r, int whole)
{
	struct work	*w = j->w;
	unsigned char	 d[HASH_LEN];
	char		*s;
	size_t		 len;
	const char	*sse;

	w->use_md5 = 0;
	if (j->g.bucket == NULL || j->g.sha256 != NULL)
		return;
	if ((s = net_header_dup(r, "x-amz-meta-intact-sha256")) != NULL &&
	    hash_unhex(s, d) == 0)
		(void)snprintf(w->want, sizeof(w->want), "%s", s);
	free(s);
	/* of a range it would be that of a part */
	if (whole && w->want[0] == '\0' &&
	    (s = net_header_dup(r, "x-amz-checksum-sha256")) != NULL) {
		if (unbase64(s, w->want) == -1)
			w->want[0] = '\0';
		free(s);
	}
	if (w->want[0] != '\0' || !may_md5(j, w->tag))
		return;
	/* what is encrypted with such keys has another ETag */
	sse = net_header(r, "x-amz-server-side-encryption", &len);
	w->use_md5 = (sse == NULL || len < 7 ||
	    strncmp(sse, "aws:kms", 7) != 0) && net_header(r,
	    "x-amz-server-side-encryption-customer-algorithm", &len) == NULL;
	if (w->use_md5)
		part_md5(w->part);
}

int
take_replaced(struct job *j, const char *tag)
{
	return give_up(j, V_FINAL, MSG_TEMPFAIL, "was replaced meanwhile: "
	    "want ETag %s, got %s", j->g.etag != NULL ? j->g.etag :
	    j->w->tag != NULL ? j->w->tag : "none",
	    tag != NULL ? tag : "none");
}

int
take_anew(struct job *j, const char *tag)
{
	struct work	*w = j->w;

	if (w->anews++ > 0)
		return take_replaced(j, tag);
	w->cached = 0;
	w->want[0] = '\0';
	w->total = -1;
	w->e.code = 0;
	if (part_reset(w->part, 1, &w->e) == -1) {
		w->verdict = V_FINAL;
		return -1;
	}
	free(w->tag);
	w->tag = NULL;
	return 0;
}

/* Is the size what it may be? */
static int
check_size(struct job *j, int64_t n)
{
	const struct xfer_get	*g = &j->g;

	if (n < 0)
		return 0;
	if (g->max != 0 && (uint64_t)n > g->max)
		return give_up(j, V_FINAL, MSG_DATAERR, "size: want at most "
		    "%llu, got %lld", (unsigned long long)g->max,
		    (long long)n);
	if (g->has_size && (uint64_t)n != g->size)
		return give_up(j, V_OFF, MSG_DATAERR, "size: want %llu, got "
		    "%lld", (unsigned long long)g->size, (long long)n);
	return 0;
}

int
take_may_cache(const struct job *j, const char *tag, int64_t size)
{
	return j->x->cache && j->g.file != NULL && !j->w->cached &&
	    take_is_strong(tag) && size >= (int64_t)XFER_CACHE_MIN;
}

void
take_begin_reading(struct job *j)
{
	if (may_md5(j, j->w->tag))
		part_md5(j->w->part);
	j->reading = 1;
	j->x->reading++;
}

/* A 200. */
static int
head_whole(struct job *j, const struct net_res *r)
{
	struct work	*w = j->w;

	if (j->g.etag != NULL && !take_same_tag(j->g.etag, r->etag))
		return take_replaced(j, r->etag);
	if (part_at(w->part) > 0) {
		if (!take_same_tag(w->tag, r->etag) &&
		    take_anew(j, r->etag) == -1)
			return -1;
		w->e.code = 0;
		if (part_reset(w->part, 0, &w->e) == -1) {
			w->verdict = V_FINAL;
			return -1;
		}
	}
	if (!take_same_tag(w->tag, r->etag))
		w->want[0] = '\0';
	free(w->tag);
	w->tag = r->etag != NULL ? mem_dup(r->etag) : NULL;
	w->total = r->length;
	if (check_size(j, r->length) == -1)
		return -1;
	expect_digest(j, r, 1);
	if (!take_may_cache(j, w->tag, w->total))
		return 0;
	w->cached = 1;
	if (part_cache(w->part, w->tag) == 0)
		return 0;
	take_begin_reading(j);
	return give_up(j, V_AGAIN, MSG_TEMPFAIL, "some of it is here");
}

/* "bytes 5-9/10": where the part begins and what all of it has, or -1. */
static int
read_range(const struct net_res *r, uint64_t *from, int64_t *total)
{
	char		*s = net_header_dup(r, "content-range"), *dash, *slash;
	const char	*why;
	uint64_t	 to, n;
	int		 rv = -1;

	if (s == NULL || strncasecmp(s, "bytes ", 6) != 0)
		goto done;
	dash = strchr(s, '-');
	slash = strchr(s, '/');
	if (dash == NULL || slash == NULL || dash > slash)
		goto done;
	*dash = *slash = '\0';
	if (num_u64(s + 6, 0, INT64_MAX, from, &why) == -1 ||
	    num_u64(dash + 1, *from, INT64_MAX, &to, &why) == -1)
		goto done;
	*total = -1;
	if (strcmp(slash + 1, "*") != 0) {
		if (num_u64(slash + 1, to + 1, INT64_MAX, &n, &why) == -1)
			goto done;
		*total = (int64_t)n;
	}
	rv = 0;
done:
	free(s);
	return rv;
}

/* A 206: the same object, from where we are, or not at all. */
static int
head_rest(struct job *j, const struct net_res *r)
{
	struct work	*w = j->w;
	uint64_t	 from;
	int64_t		 total;

	if (!w->ranged)
		return give_up(j, V_FAILED, MSG_TEMPFAIL, "a part came that "
		    "was not asked for");
	if (!take_same_tag(w->tag, r->etag)) {
		if (j->g.etag != NULL)
			return take_replaced(j, r->etag);
		if (take_anew(j, r->etag) == -1)
			return -1;
		return give_up(j, V_AGAIN, MSG_TEMPFAIL, "another object");
	}
	if (read_range(r, &from, &total) == -1 ||
	    from != part_at(w->part) || (total >= 0 && w->total >= 0 &&
	    total != w->total)) {
		w->no_range = 1;
		return give_up(j, V_AGAIN, MSG_TEMPFAIL, "Content-Range: not "
		    "what was asked for");
	}
	if (total >= 0)
		w->total = total;
	if (check_size(j, total) == -1)
		return -1;
	expect_digest(j, r, 0);
	return 0;
}

int
take_head(void *arg, const struct net_res *r, struct err *e)
{
	struct job	*j = arg;
	struct work	*w = j->w;
	int		 rv = 0;

	w->status = r->status;
	if (r->status >= 300)
		return 0;
	if (r->modified != 0)
		w->modified = r->modified;
	if (r->status == 200)
		rv = head_whole(j, r);
	else if (r->status == 206)
		rv = head_rest(j, r);
	else
		rv = give_up(j, V_FINAL, MSG_DATAERR, "status %d",
		    r->status);
	if (rv == -1)
		*e = w->e;
	return rv;
}

uint64_t
take_promised(const struct job *j)
{
	if (j->g.has_size)
		return j->g.size;
	return j->w->total >= 0 ? (uint64_t)j->w->total : UINT64_MAX;
}

static int
take_bytes(struct job *j, const void *p, size_t n)
{
	struct work	*w = j->w;
	uint64_t	 at = part_at(w->part);

	if (n > take_promised(j) - at)
		return give_up(j, V_OFF, MSG_DATAERR, "size: want %llu, got "
		    "more", (unsigned long long)take_promised(j));
	if (j->g.max != 0 && (at > j->g.max || n > j->g.max - at))
		return give_up(j, V_FINAL, MSG_DATAERR, "size: want at most "
		    "%llu, got more", (unsigned long long)j->g.max);
	w->e.code = 0;
	if (part_add(w->part, p, n, &w->e) == 0)
		return 0;
	w->verdict = V_FINAL;
	return -1;
}

int
take_body(void *arg, int status, const void *p, size_t n, struct err *e)
{
	struct job	*j = arg;
	int		 rv;

	j->moved += n;
	j->x->bytes += n;
	if (status >= 300) {
		/* of http alone: somebody's page of excuses */
		j->w->junk += n;
		rv = j->w->junk > XFER_JUNK ? give_up(j, V_JUNK,
		    MSG_TEMPFAIL, "status %d", status) : 0;
	} else
		rv = take_bytes(j, p, n);
	if (rv == -1)
		*e = j->w->e;
	return rv;
}

int
take_check_digest(struct job *j, unsigned char d[HASH_LEN])
{
	struct work	*w = j->w;
	unsigned char	 md5[HASH_LEN] = { 0 };
	char		 hex[HASH_HEX], tag[2 * HASH_MD5 + 1];
	const char	*want = j->g.sha256 != NULL ? j->g.sha256 : w->want;
	int		 has;

	part_final(w->part, d, md5, &has);
	hash_hex(d, hex);
	if (*want != '\0' && strcmp(want, hex) != 0)
		return give_up(j, V_OFF, MSG_DATAERR, "SHA-256: want %s, got "
		    "%s", want, hex);
	if (!w->use_md5 || !has)
		return 0;
	hash_hex(md5, hex);
	hex[2 * HASH_MD5] = '\0';
	(void)snprintf(tag, sizeof(tag), "%s", w->tag + 1);
	if (strcasecmp(tag, hex) == 0)
		return 0;
	return give_up(j, V_OFF, MSG_DATAERR, "MD5: want %s (its ETag), got "
	    "%s", tag, hex);
}
