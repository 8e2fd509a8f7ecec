/*
 * dfetch_http: inputs that are files on web servers.  It asks what a file
 * looks like, many files at once, and says what is to be downloaded; the
 * downloads are xfer's.
 *
 * HEAD is asked first.  Where a server does not know it, and where the
 * query is signed (for GET alone), the headers of a GET tell, whose body
 * is not taken.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "mem.h"
#include "num.h"
#include "net.h"
#include "remote.h"
#include "retry.h"
#include "xfer.h"
#include "banned.h"

#define HTTP_AT_ONCE	16	/* files looked at */
#define HTTP_LOOK_S	60	/* seconds for one answer */
#define HTTP_URL_MAX	16384	/* bytes, as a line of a plan */

/* One file that is looked at. */
struct ask {
	struct fetch_look	*look;
	struct https		*all;
	char			*host;
	struct retry_op		 op;
	int			 get;	/* HEAD is of no use */
	int			 told;	/* the headers that were wanted came */
	int			 again;	/* it is to be asked once more */
	double			 wait;	/* s, before that */
};
struct https {
	struct net	*net;
	struct retry	*retry;
	unsigned int	 running;
};

static const char *
asked(const struct plan_line *l)
{
	return l->ask != NULL ? l->ask : l->url;
}

static int
http_check(const char *url, struct err *e)
{
	const char	*s, *host = strstr(url, "://") + 3;
	size_t		 n = strcspn(host, "/?#"), i;
	char		*h;

	/* the text must not hold what it warns of */
	for (i = 0; i < n; i++)
		if (host[i] == '@')
			return err_set(e, MSG_USAGE, "http URL: a user or "
			    "password before the host is not taken: "
			    "arguments and records are no place for it");
	for (s = url; *s != '\0'; s++)
		if ((unsigned char)*s <= 0x20 || (unsigned char)*s >= 0x7f)
			return err_set(e, MSG_USAGE, "%s: want spaces, "
			    "control and other than ASCII characters as %%XX",
			    url);
	h = net_host(url, e);
	if (h == NULL)
		return -1;
	free(h);
	if (strchr(url, '#') != NULL)
		return err_set(e, MSG_USAGE, "%s: '#' has no meaning to a "
		    "server: want a file's URL, '#' in names as %%23", url);
	s = host + strcspn(host, "?");
	if (s[-1] == '/' || memchr(host, '/', (size_t)(s - host)) == NULL)
		return err_set(e, MSG_USAGE, "%s: no file's name at its end: "
		    "web servers have no lists: name each file, as in a "
		    "plan", url);
	return 0;
}

static int
http_list(struct fetch_list *l, const char *url, struct err *e)
{
	return l->add(l->arg, url, NULL, e);
}

static int
has_class(int status, int hundreds)
{
	return status / 100 == hundreds;
}

/* What the headers of a good answer say. */
static void
take(struct ask *a, const struct net_res *r)
{
	struct fetch_seen	*s = mem_zero(1, sizeof(*s));

	s->info.mtime = r->modified;
	s->info.unsized = r->length < 0;
	if (r->length > 0)
		s->info.size = (uint64_t)r->length;
	fetch_etag(s->info.etag, r->etag);
	a->look->seen = s;
	if (r->length == 0)
		err_set(&a->look->e, MSG_DATAERR, "%s: size: want more than "
		    "0 bytes, got 0", a->look->line->url);
	if (a->look->e.code != 0) {
		fetch_seen_free(s);
		a->look->seen = NULL;
	}
}

/* The headers are all that is wanted of a GET. */
static int
on_head(void *arg, const struct net_res *r, struct err *e)
{
	struct ask	*a = arg;

	if (!a->get || !has_class(r->status, 2))
		return 0;
	a->told = 1;
	take(a, r);
	return err_set(e, MSG_SOFTWARE, "%s: enough", a->host);
}

static int
no_sink(void *arg, int status, const void *p, size_t n, struct err *e)
{
	(void)arg;
	(void)status;
	(void)p;
	(void)n;
	(void)e;
	return 0;
}

static void
request(struct ask *a, struct net_req *q)
{
	memset(q, 0, sizeof(*q));
	q->method = a->get ? "GET" : "HEAD";
	q->url = asked(a->look->line);
	q->fd = -1;
	q->max = NET_BODY_MAX;
	q->timeout = HTTP_LOOK_S;
	q->sink = no_sink;
	q->head = on_head;
	q->arg = a;
}

/*
 * What an answer (e NULL), or none, comes to: seen, e, or again; a->get
 * where HEAD will not do.  For retry, that.
 */
static enum retry_what
judge(struct ask *a, const struct net_res *r, const struct err *e)
{
	enum retry_what	what;

	a->again = 0;
	if (a->told) {
		/* the body was not wanted */
		return RETRY_GOOD;
	}
	what = retry_judge(r, e);
	if (e == NULL && has_class(r->status, 2))
		take(a, r);
	else if (e == NULL && !a->get &&
	    (r->status == 405 || r->status == 501)) {
		a->get = 1;
		a->again = 1;
		return RETRY_GOOD;
	} else if (e == NULL)
		err_set(&a->look->e, net_status(r) != 0 ? net_status(r) :
		    MSG_DATAERR, "%s: %s: want status 200, got %d",
		    a->look->line->url, a->get ? "GET" : "HEAD", r->status);
	else
		err_set(&a->look->e, e->code, "%s: %s", a->look->line->url,
		    e->text);
	return what;
}

static void
on_done(void *arg, const struct net_res *r, const struct err *e)
{
	struct ask	*a = arg;
	enum retry_what	 what = judge(a, r, e);

	a->wait = retry_tell(a->all->retry, a->host, &a->op, what,
	    r->retry_after, a->look->e.code != 0 ? a->look->e.text : NULL);
	if (a->look->e.code != 0 && a->wait >= 0)
		a->again = 1;
	a->all->running--;
}

/* Until it is good, or there is no use in asking. */
static int
again(struct ask *a, struct err *e)
{
	struct net_req	q;
	struct net_res	r;
	struct err	e2;
	int		rv;

	while (a->again) {
		a->again = 0;
		if (a->look->e.code == 0)
			/* another request, since HEAD is not known */
			memset(&a->op, 0, sizeof(a->op));
		else if (retry_sleep(a->wait, e) == -1)
			return -1;
		memset(&a->look->e, 0, sizeof(a->look->e));
		memset(&e2, 0, sizeof(e2));
		if (retry_ask(a->all->retry, a->host, &a->op,
		    &a->look->e) == -1)
			return 0;
		request(a, &q);
		rv = net_do(a->all->net, &q, &r, &e2);
		a->all->running++;
		on_done(a, &r, rv == 0 ? NULL : &e2);
		net_res_clear(&r);
	}
	return 0;
}

static int
start(struct ask *a, struct err *e)
{
	struct net_req	q;

	if (retry_ask(a->all->retry, a->host, &a->op, &a->look->e) == -1)
		return 0;
	request(a, &q);
	if (net_start(a->all->net, &q, on_done, a, e) == -1)
		return -1;
	a->all->running++;
	return 0;
}

/* All once, some at a time; then, one by one, who is worth it. */
static int
look_all(struct https *h, struct ask *v, size_t n, struct err *e)
{
	size_t	i = 0;

	while (i < n || h->running != 0) {
		while (i < n && h->running < HTTP_AT_ONCE)
			if (start(&v[i++], e) == -1)
				return -1;
		if (h->running != 0 && net_wait(h->net, 1000, e) == -1)
			return -1;
	}
	for (i = 0; i < n; i++)
		if (again(&v[i], e) == -1)
			return -1;
	return 0;
}

static int
http_see(struct fetch_list *l, struct fetch_look *v, size_t n,
    struct err *e)
{
	struct https	 h;
	struct ask	*a = mem_zero(n, sizeof(*a));
	size_t		 i;
	int		 rv = -1;

	memset(&h, 0, sizeof(h));
	h.net = remote_net(l->remote, e);
	h.retry = h.net != NULL ? remote_retry(l->remote, e) : NULL;
	if (h.retry == NULL)
		goto done;
	for (i = 0; i < n; i++) {
		a[i].look = &v[i];
		a[i].all = &h;
		a[i].get = v[i].line->ask != NULL;
		a[i].host = net_host(v[i].line->url, e);
		if (a[i].host == NULL)
			goto done;
	}
	rv = look_all(&h, a, n, e);
done:
	for (i = 0; i < n; i++) {
		if (h.net != NULL)
			net_cancel(h.net, &a[i]);
		free(a[i].host);
	}
	free(a);
	return rv;
}

void
fetch_http_name(char out[FETCH_NAME_MAX], const char *url)
{
	const char	*end = url + strcspn(url, "?"), *s = end;
	struct buf	 b;
	int		 c;

	while (s > url && s[-1] != '/')
		s--;
	buf_init(&b, HTTP_URL_MAX);
	for (; s < end; s++) {
		c = *s == '%' ? num_hex2(s + 1) : -1;
		if (c == -1) {
			buf_addc(&b, *s);
			continue;
		}
		/* no name has a NUL in it: what is no name, either */
		buf_addc(&b, c == 0 ? '/' : c);
		s += 2;
	}
	fetch_name(out, buf_cstr(&b));
	buf_free(&b);
}

static int
http_ask(const struct plan_line *line, const struct fetch_seen *s, size_t i,
    struct xfer_get *g, char *mem[2], struct err *e)
{
	(void)i;
	(void)mem;
	(void)e;
	g->url = asked(line);
	if (!s->info.unsized) {
		g->size = s->info.size;
		g->has_size = 1;
	}
	return 0;
}

const struct fetch_src	fetch_http = {
	1, http_check, http_list, NULL, NULL, NULL, http_see, NULL, http_ask
};
