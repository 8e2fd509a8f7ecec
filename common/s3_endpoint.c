/*
 * s3_endpoint: host names, addressing styles, and what servers said of the
 * place of a bucket.
 * SPDX-License-Identifier: ISC
 */
#include "s3_endpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "buf.h"
#include "cred.h"
#include "mem.h"
#include "net.h"
#include "sign.h"
#include "banned.h"

/*
 * Is the host an address, or a name that nothing can stand before?  A name
 * without a dot is one, unless the configuration says otherwise (asked).
 */
static int
is_nameless(const char *host, int asked)
{
	size_t	n = strcspn(host, ":");

	return host[0] == '[' || strspn(host, "0123456789.") == n ||
	    (!asked && memchr(host, '.', n) == NULL);
}

static void
aws_host(const char *region, char *out, size_t sz)
{
	(void)snprintf(out, sz, "s3.%s.amazonaws.com%s", region,
	    strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
}

int
s3_is_region(const char *r)
{
	return *r != '\0' && strlen(r) < S3_REGION_MAX &&
	    r[strspn(r, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "0123456789-_")] == '\0';
}

/* "http://host:port/base" */
static int
set_endpoint(struct s3_endpoint *s, const char *url, struct err *e)
{
	size_t		 skip, n, i;
	const char	*dflt;
	char		*h;

	if (strncasecmp(url, "https://", 8) == 0) {
		skip = 8;
		dflt = ":443";
	} else if (strncasecmp(url, "http://", 7) == 0) {
		skip = 7;
		dflt = ":80";
	} else
		goto bad;
	s->scheme = mem_dup(skip == 8 ? "https" : "http");
	n = strcspn(url + skip, "/?#");
	if (n == 0 || memchr(url + skip, '@', n) != NULL ||
	    strpbrk(url, "?# \r\n\t") != NULL)
		goto bad;
	h = s->host = mem_ndup(url + skip, n);
	for (i = 0; i < n; i++)
		if (h[i] >= 'A' && h[i] <= 'Z')
			h[i] += 'a' - 'A';
	s->label = mem_alloc(n + 5);
	(void)snprintf(s->label, n + 5, "%s%s", h,
	    h[n - 1] != ']' && strrchr(h, ':') != NULL ? "" : dflt);
	/* as it is sent: without the default port */
	i = strlen(dflt);
	if (n > i && strcmp(h + n - i, dflt) == 0)
		h[n - i] = '\0';
	url += skip + n;
	for (n = strlen(url); n > 0 && url[n - 1] == '/'; n--)
		continue;
	s->base = mem_ndup(url, n);
	s->named = !is_nameless(h, s->style == 'v');
	return 0;
bad:
	return err_set(e, MSG_USAGE, "the endpoint of S3: want "
	    "http[s]://host[:port], without user or query");
}

int
s3_endpoint_init(struct s3_endpoint *s, const struct cred_conf *conf,
    struct err *e)
{
	char	b[S3_REGION_MAX + 64];

	memset(s, 0, sizeof(*s));
	s->style = conf->style == NULL ? 'a' : conf->style[0];
	if (!s3_is_region(conf->region))
		return err_set(e, MSG_USAGE, "the region of S3: want letters, "
		    "digits and hyphens");
	(void)snprintf(s->region, sizeof(s->region), "%s", conf->region);
	s->aws = conf->endpoint == NULL;
	(void)snprintf(b, sizeof(b), "https://");
	aws_host(s->region, b + 8, sizeof(b) - 8);
	return set_endpoint(s, s->aws ? b : conf->endpoint, e);
}

void
s3_endpoint_clear(struct s3_endpoint *s)
{
	while (s->n_v > 0) {
		s->n_v--;
		free(s->v[s->n_v].bucket);
		free(s->v[s->n_v].host);
	}
	free(s->v);
	free(s->scheme);
	free(s->host);
	free(s->base);
	free(s->label);
	memset(s, 0, sizeof(*s));
}

/* What is known of a bucket, or NULL. */
static struct s3_place *
find_place(const struct s3_endpoint *s, const char *bucket)
{
	size_t	i;

	for (i = 0; i < s->n_v; i++)
		if (strcmp(s->v[i].bucket, bucket) == 0)
			return &s->v[i];
	return NULL;
}

static struct s3_place *
make_place(struct s3_endpoint *s, const char *bucket)
{
	struct s3_place	*p = find_place(s, bucket);

	if (p != NULL)
		return p;
	s->v = mem_grow(s->v, &s->cap, s->n_v + 1, sizeof(*s->v));
	memset(&s->v[s->n_v], 0, sizeof(*s->v));
	s->v[s->n_v].bucket = mem_dup(bucket);
	return &s->v[s->n_v++];
}

/* Can the bucket stand before the host's name? */
static int
is_virtual(const struct s3_endpoint *s, const char *b)
{
	size_t	n = strlen(b);

	if (s->style == 'p' || !s->named)
		return 0;
	if (n < 3 || n > 63 || b[strspn(b,
	    "abcdefghijklmnopqrstuvwxyz0123456789.-")] != '\0' ||
	    b[0] == '-' || b[0] == '.' || b[n - 1] == '-' ||
	    b[n - 1] == '.' || strstr(b, "..") != NULL)
		return 0;
	/* certificates hold for one name below the host's */
	return strcmp(s->scheme, "https") != 0 || strchr(b, '.') == NULL;
}

void
s3_endpoint_put(const struct s3_endpoint *s, const char *bucket,
    const char *key, char host[S3_HOST_MAX], struct buf *path)
{
	const struct s3_place	*p = find_place(s, bucket);
	int			 virtual = is_virtual(s, bucket);
	char			 aws[S3_REGION_MAX + 64];
	const char		*base = s->host;

	if (s->aws && p != NULL && p->region[0] != '\0') {
		aws_host(p->region, aws, sizeof(aws));
		base = aws;
	}
	if (p != NULL && p->host != NULL)
		(void)snprintf(host, S3_HOST_MAX, "%s", p->host);
	else
		(void)snprintf(host, S3_HOST_MAX, "%s%s%s", virtual ? bucket :
		    "", virtual ? "." : "", base);
	buf_str(path, s->base);
	if (!virtual) {
		buf_addc(path, '/');
		sign_encode(path, bucket, 0);
	}
	if (key != NULL || virtual)
		buf_addc(path, '/');
	if (key != NULL)
		sign_encode(path, key, 1);
}

const char *
s3_endpoint_region(const struct s3_endpoint *s, const char *bucket)
{
	const struct s3_place	*p = find_place(s, bucket);

	return p != NULL && p->region[0] != '\0' ? p->region : s->region;
}

/* Is host ours, or a name below the endpoint's domain? */
static int
is_ours(const struct s3_endpoint *s, const char *host)
{
	const char	*domain = s->aws ? strstr(s->host, ".amazonaws.") :
			     s->host;
	size_t		 n = strlen(host), m;

	if (strcmp(host, s->host) == 0)
		return 1;
	if (domain == NULL || !s->named)
		return 0;
	m = strlen(domain);
	return n > m && strcmp(host + n - m, domain) == 0 &&
	    (domain[0] == '.' || host[n - m - 1] == '.');
}

int
s3_endpoint_learn(struct s3_endpoint *s, const char *bucket,
    const struct net_res *r, const char *said)
{
	struct s3_place	*p;
	char		*region = NULL, *to = NULL;
	const char	*h;
	int		 rv = 0;

	region = net_header_dup(r, "x-amz-bucket-region");
	if (region == NULL && said[0] != '\0')
		region = mem_dup(said);
	if ((r->status == 301 || r->status == 400 || r->status == 403) &&
	    region != NULL && s3_is_region(region)) {
		p = make_place(s, bucket);
		rv = strcmp(p->region[0] != '\0' ? p->region : s->region,
		    region) != 0;
		(void)snprintf(p->region, sizeof(p->region), "%s", region);
	} else if (r->status == 307 &&
	    (to = net_header_dup(r, "location")) != NULL) {
		h = strstr(to, "://");
		if (h != NULL && (size_t)(h - to) == strlen(s->scheme) &&
		    strncmp(to, s->scheme, (size_t)(h - to)) == 0) {
			h += 3;
			to[strcspn(h, "/?#") + (size_t)(h - to)] = '\0';
			if (is_ours(s, h)) {
				p = make_place(s, bucket);
				free(p->host);
				p->host = mem_dup(h);
				rv = 1;
			}
		}
	}
	free(region);
	free(to);
	return rv;
}
