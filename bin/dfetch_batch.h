/*
 * dfetch: openai-batch:ID as a source: what a provider of OpenAI's batch
 * interface made of a batch, held against what was asked of it, as one
 * batch result file (batch.h).
 *
 * Where and who: OPENAI_BASE_URL (https://api.openai.com/v1),
 * OPENAI_API_KEY, OPENAI_ORG_ID, OPENAI_PROJECT_ID or OPENAI_PROJECT.  The
 * key is in no error, no record and no process that reads what the
 * provider sent; with a key, http is for loopback alone.
 *
 * What the provider sent is read by a confined child (batch_join.h); this
 * process reads the batch object, a few kB, and moves bytes.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DFETCH_BATCH_H
#define D_DFETCH_BATCH_H

#include <stdint.h>

#include "dfetch.h"
#include "hash.h"
#include "msg.h"

#define FETCH_BATCH		"openai-batch:"
#define FETCH_BATCH_ID_MAX	240		/* bytes of ID */
#define FETCH_BATCH_OBJECT	((uint64_t)4 << 20)	/* bytes of JSON */
#define FETCH_BATCH_FILE	((uint64_t)16 << 30)	/* bytes of a file */
#define FETCH_BATCH_STALE	((uint64_t)64 << 20)	/* bytes of a list */

struct buf;
struct remote;

/*
 * How many requests may have failed or be missing: max_failed of them, or
 * max_failed per cent of those in the batch.
 * requeue: a file that gets the requests to be sent again (replaced as a
 * whole each time the answers of a batch were read; of 0 bytes when there
 * are none); or a directory that exists, in which that file is ID.jsonl.  More
 * than one batch in a run wants a directory: see to it (64).  NULL: none.
 * stale: the requests whose results are out of date, as batch_join.h has
 * them; these are left out, and are to be sent again.  NULL: none.
 */
struct fetch_batch_opts {
	const char	*requeue;
	const char	*stale;
	size_t		 stale_len;
	uint64_t	 max_failed;
	int		 percent;
};

/* 1 when url is one of a batch. */
int	fetch_batch_is(const char *url);
/*
 * What it looks like: its time and etag (its two files' ids), always the
 * same for the same batch.  size is 0: it is not known before fetch_batch.
 * -1: 75 not ready yet, its status named; 65 failed, or a status that is
 * not known; 66 no such batch; 77 the key; 64 the URL or the environment.
 */
int	fetch_batch_look(struct remote *r, const char *url,
	    struct fetch_info *info, struct err *e);
/*
 * The results as file name in the empty directory dirfd, or with dirfd -1
 * only their digest.  All else as fetch_batch_look; and 65: more failed
 * and missing than o allows, or what came is not what was asked for.
 * 1: every result is stale, and there is no file.
 * Files are taken anew each time.  May be called many times, one at a time.
 */
int	fetch_batch(struct remote *r, const struct fetch_batch_opts *o,
	    const char *url, int dirfd, char name[FETCH_NAME_MAX],
	    struct fetch_info *info, unsigned char d[HASH_LEN],
	    struct err *e);

/*
 * --stale: the list in the file name ("-": stdin) into b, and o names it.
 * 64: it is none.
 */
int	fetch_batch_stale(struct fetch_batch_opts *o, const char *name,
	    struct buf *b, struct err *e);

/*
 * Between its files: the provider, in dfetch_batch_api.c.
 */
#define FETCH_BATCH_HEADERS	4

struct net;
struct batch_api {
	struct remote	*remote;
	const char	*url;		/* openai-batch:ID, for messages */
	char		*base;		/* no slash at its end */
	char		*key;		/* NULL: none */
	struct net	*own;		/* NULL: remote's is used */
	char		*header[FETCH_BATCH_HEADERS];
	const char	*headers[FETCH_BATCH_HEADERS + 1];
};

/* From the environment. 64 it makes no sense, 77 there must be a key. */
int	batch_api_open(struct batch_api *a, struct remote *r,
	    const char *url, struct err *e);
/* Wipes. */
void	batch_api_clear(struct batch_api *a);
/* In a child that is to read what strangers sent: it has no key. */
void	batch_api_forget(struct batch_api *a);
/* In a text: the key becomes asterisks, what is not printable '?'. */
void	batch_api_mask(const struct batch_api *a, char *text);
/* "BASE/kind/ID" with tail behind it; the caller frees it. */
char	*batch_api_url(const struct batch_api *a, const char *kind,
	    const char *id, const char *tail);
/* Its connections: of this host, past all proxies; NULL: *e. */
struct net *batch_api_net(struct batch_api *a, struct err *e);
/* The JSON at url into b.  *status is the answer's, or 0. */
int	batch_api_get(struct batch_api *a, const char *url, struct buf *b,
	    int *status, struct err *e);

/*
 * And who reads its files, in dfetch_batch_read.c.
 */
#define FETCH_BATCH_WORK	"work"	/* below the input's directory */

struct batch_join;
struct batch_joined;
/*
 * batch_join in a confined child, which may touch FETCH_BATCH_WORK below
 * dir and nothing else; paths are relative to dir, bytes is the size of all
 * its files.  65 also when it crashes or takes too long.
 */
int	batch_read(struct batch_api *a, int dir, const struct batch_join *j,
	    uint64_t bytes, struct batch_joined *r, struct err *e);
/* What it left as file below dir, durably to path (a file, a directory). */
int	batch_requeue(const char *url, const char *id, int dir,
	    const char *file, const char *path, struct err *e);

#endif
