/*
 * net_answer: headers, dates and statuses of answers.
 * SPDX-License-Identifier: ISC
 */
#include "net_answer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <curl/curl.h>

#include "io.h"
#include "mem.h"
#include "net.h"
#include "num.h"
#include "banned.h"

void
net_res_clear(struct net_res *r)
{
	free(r->etag);
	free(r->headers);
	r->etag = NULL;
	r->headers = NULL;
}

const char *
net_header(const struct net_res *r, const char *name, size_t *len)
{
	size_t		 n = strlen(name), k;
	const char	*p, *end;

	for (p = r->headers; p != NULL && *p != '\0'; p = end + 1) {
		end = strchr(p, '\n');
		if (end == NULL)
			break;
		if (strncasecmp(p, name, n) != 0 || p[n] != ':')
			continue;
		for (p += n + 1; *p == ' ' || *p == '\t'; p++)
			continue;
		for (k = (size_t)(end - p); k > 0 && (p[k - 1] == '\r' ||
		    p[k - 1] == ' ' || p[k - 1] == '\t'); k--)
			continue;
		*len = k;
		return p;
	}
	return NULL;
}

char *
net_header_dup(const struct net_res *r, const char *name)
{
	size_t		 len;
	const char	*p = net_header(r, name, &len);

	return p != NULL ? mem_ndup(p, len) : NULL;
}

int64_t
net_date(const char *s, size_t len)
{
	struct err	e = { 0, "" };
	char		b[64];
	time_t		t;

	if (len == 0 || len >= sizeof(b))
		return 0;
	memcpy(b, s, len);
	b[len] = '\0';
	if (b[0] >= '0' && b[0] <= '9')
		return num_iso_ns(b, len);
	if (net_load(&e) == -1)
		return 0;
	t = curl_getdate(b, NULL);
	if (t <= 0 || (int64_t)t > INT64_MAX / 1000000000)
		return 0;
	return (int64_t)t * 1000000000;
}

enum net_class
net_class(const struct net_res *r)
{
	switch (r->status) {
	case 0:
	case 408:
	case 429:
	case 500:
	case 502:
	case 503:
	case 504:
		return NET_TRANSIENT;
	default:
		return r->status >= 400 ? NET_PERMANENT : NET_FINE;
	}
}

int
net_status(const struct net_res *r)
{
	if (net_class(r) == NET_TRANSIENT)
		return MSG_TEMPFAIL;
	switch (r->status) {
	case 401:
	case 403:
	case 407:
		return MSG_NOPERM;
	case 404:
	case 410:
		return MSG_NOINPUT;
	case 409:
	case 412:
		return MSG_CANTCREAT;
	case 507:
		return MSG_IOERR;
	default:
		return r->status >= 400 ? MSG_DATAERR : MSG_OK;
	}
}

void
net_answer_read(struct net_res *r)
{
	const char	*p, *why;
	char		*s;
	size_t		 len;
	uint64_t	 v;
	int64_t		 t;

	r->length = r->retry_after = -1;
	free(r->etag);
	r->etag = net_header_dup(r, "etag");
	if ((p = net_header(r, "date", &len)) != NULL)
		r->date = net_date(p, len);
	if ((p = net_header(r, "last-modified", &len)) != NULL)
		r->modified = net_date(p, len);
	if ((s = net_header_dup(r, "content-length")) != NULL &&
	    num_u64(s, 0, INT64_MAX, &v, &why) == 0)
		r->length = (int64_t)v;
	free(s);
	if ((s = net_header_dup(r, "retry-after")) == NULL)
		return;
	if (num_u64(s, 0, INT32_MAX, &v, &why) == 0)
		r->retry_after = (int64_t)v;
	else if ((t = net_date(s, strlen(s))) != 0) {
		/* by the server's clock, where it tells it */
		t -= r->date != 0 ? r->date : io_wall_ns();
		r->retry_after = t <= 0 ? 0 : (t + 999999999) / 1000000000;
	}
	free(s);
}
