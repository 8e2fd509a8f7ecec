/*
 * s3_endpoint: where requests to S3 go: the endpoint's host and path, which
 * of the two a bucket's name stands in, the region that signatures name, and
 * what servers said of buckets that lie elsewhere.  It sends nothing and
 * signs nothing.
 *
 * Hosts are in small letters, without the scheme's own port; a path is
 * encoded as it is sent and signed.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_S3_ENDPOINT_H
#define D_S3_ENDPOINT_H

#include <stddef.h>

#include "msg.h"

#define S3_REGION_MAX	64	/* bytes of a region's name, NUL included */
#define S3_HOST_MAX	768	/* bytes of a host, NUL included */

struct buf;
struct cred_conf;
struct net_res;

/* Where a bucket turned out to be. */
struct s3_place {
	char	*bucket;
	char	 region[S3_REGION_MAX];
	char	*host;			/* a 307's, or NULL */
};

struct s3_endpoint {
	char		*scheme;	/* "https" */
	char		*host;		/* "host" or "host:port" */
	char		*base;		/* "" or "/prefix", encoded */
	char		*label;		/* "host:port" */
	char		 region[S3_REGION_MAX];
	int		 aws;		/* the endpoint follows the region */
	int		 style;		/* 'p' 'v' 'a' */
	int		 named;		/* the host can have names below it */
	struct s3_place	*v;
	size_t		 n_v, cap;
};

/*
 * That of conf, which is not kept.  -1: 64 a region or an endpoint that is
 * none.  For s3_endpoint_clear either way.
 */
int	s3_endpoint_init(struct s3_endpoint *s, const struct cred_conf *conf,
	    struct err *e);
void	s3_endpoint_clear(struct s3_endpoint *s);
/* Is it the name of a region? */
int	s3_is_region(const char *r);
/* Host, and the path of a key (NULL: of the bucket itself) behind path. */
void	s3_endpoint_put(const struct s3_endpoint *s, const char *bucket,
	    const char *key, char host[S3_HOST_MAX], struct buf *path);
/* Of a bucket; lives until something is learned. */
const char *s3_endpoint_region(const struct s3_endpoint *s,
	    const char *bucket);
/*
 * An answer says that the bucket is elsewhere (301, 307, 400, 403); region:
 * what its body said, or "".  1: that is new, and within the endpoint's
 * domain; sign anew for there.
 */
int	s3_endpoint_learn(struct s3_endpoint *s, const char *bucket,
	    const struct net_res *r, const char *region);

#endif
