/*
 * sign: AWS Signature Version 4, the canonical forms that it needs, and
 * the two digests that S3 takes in base64.  It sends nothing and keeps no
 * key.
 *
 * What is signed and what is sent must be the same bytes: encode once,
 * with these, and use the result for the URL too.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_SIGN_H
#define D_SIGN_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "hash.h"
#include "msg.h"

#define SIGN_DATE	17		/* "20130524T000000Z" and a NUL */
#define SIGN_HEADERS	64		/* of one request */
#define SIGN_B64_MD5	25		/* bytes of its text, NUL included */
#define SIGN_B64_SHA	45
#define SIGN_EMPTY	/* SHA-256 of nothing */ \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SIGN_UNSIGNED	"UNSIGNED-PAYLOAD"

struct sign_keys {
	const char	*access, *secret;
	const char	*token;		/* of a session, or NULL */
};

/* name=value of a query, raw bytes; value NULL is "". */
struct sign_param {
	const char	*name, *value;
};

struct sign_req {
	const char	*method;
	const char	*path;		/* encoded, begins with '/' */
	const char	*query;		/* by sign_query, or "" */
	/* "Name: value", NULL at the end; all are signed. Host is one. */
	const char	*const *headers;
	const char	*payload;	/* hex SHA-256, or SIGN_UNSIGNED */
	const char	*region, *service;
	const char	*date;		/* by sign_date */
};

/* %XX for every byte but A-Z a-z 0-9 - . _ ~ and, with slash, '/'. */
void	sign_encode(struct buf *b, const char *s, int slash);
/* "a=b&c=" encoded, in the order that signing wants. */
void	sign_query(struct buf *b, const struct sign_param *p, size_t n);
void	sign_date(int64_t ns, char out[SIGN_DATE]);
/* The value of the header Authorization, into b. -1: 70. */
int	sign_v4(struct buf *b, const struct sign_req *q,
	    const struct sign_keys *k, struct err *e);

void	sign_b64(const void *p, size_t n, char *out);
/* base64 of a hex SHA-256; -1: that is none. */
int	sign_b64_sha(const char *hex, char out[SIGN_B64_SHA]);
/* base64 of the MD5 of memory. */
void	sign_b64_md5(const void *p, size_t n, char out[SIGN_B64_MD5]);
/* Forget n bytes for good. */
void	sign_wipe(void *p, size_t n);

#endif
