/*
 * remote: what one process needs to talk to other machines, made when it
 * is first asked for: connections, the S3 client with the environment's
 * endpoint and keys, retries with the breakers that all processes share.
 * Make it after fork, not before.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_REMOTE_H
#define D_REMOTE_H

#include "msg.h"

struct net;
struct remote;
struct retry;
struct s3;

#define REMOTE_CONNECTIONS	64	/* to one host, at most */

/* ckpt: the checkpoint database's path; NULL: DCKPT_DB, if that is set. */
struct remote *remote_new(const char *ckpt);
/* One of n processes of a run: so much less of its budget of retries. */
void	 remote_share(struct remote *r, unsigned int n);
void	 remote_free(struct remote *r);	/* NULL is fine */
/* Each lives as long as r; NULL: *e. */
struct net *remote_net(struct remote *r, struct err *e);
struct retry *remote_retry(struct remote *r, struct err *e);
struct s3 *remote_s3(struct remote *r, struct err *e);

/* 1 when url begins with s3://, or with http:// or https://. */
int	 remote_is_s3(const char *url);
int	 remote_is_http(const char *url);
/*
 * The cache of DESIGN section 4: option (NULL: not given), DCACHE, else
 * XDG_CACHE_HOME/intact, else HOME/.cache/intact; NULL when there is none
 * ("" as option or DCACHE says so, too).  The caller frees it.
 */
char	*remote_cache_dir(const char *option);

#endif
