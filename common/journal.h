/*
 * journal: what one publication in place does to plain keys, as JSON that
 * lies in its version (journal.json) before its commit makes it binding:
 * for each key what it becomes and what it was.
 *
 *	{"intact":1,"generation":7,"prefix":"s3://b/prod","keys":[
 *	{"name":"a/x","size":3,"sha256":"..","was":{"size":2,"sha256":".."}},
 *	{"name":"b","size":1,"sha256":"..","was":null},
 *	{"name":"gone","delete":true,"was":{"size":9,"etag":"\"..\""}}
 *	]}
 *
 * It moves nothing.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_JOURNAL_H
#define D_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "hash.h"
#include "msg.h"

#define JOURNAL_NAME	"journal.json"
#define JOURNAL_MAX	((size_t)256 << 20)	/* bytes */
#define JOURNAL_KEYS	1000000			/* put and deleted */

struct journal_key {
	char		*name;		/* below the prefix, safe */
	int		 remove;	/* it goes; else it becomes: */
	uint64_t	 size;
	char		 sha256[HASH_HEX];
	int		 was;		/* something was there: */
	uint64_t	 was_size;
	char		 was_sha256[HASH_HEX];	/* "" not known */
	char		*was_etag;	/* NULL: it had none */
};

struct journal {
	uint64_t		 generation;
	char			*prefix;
	struct journal_key	*v;
	size_t			 n, cap;
};

void	journal_clear(struct journal *j);
/* A new key, zeroed but for its name, which is copied. */
struct journal_key *journal_add(struct journal *j, const char *name);
/* Is what it becomes what it was? */
int	journal_same(const struct journal_key *k);
/* JOURNAL_NAME in the directory; the digest and size of its bytes. */
int	journal_write(const struct journal *j, int dirfd,
	    unsigned char d[HASH_LEN], uint64_t *size, struct err *e);
/* Malformed is 65, and *j is cleared. */
int	journal_parse(struct journal *j, const char *p, size_t n,
	    struct err *e);

#endif
