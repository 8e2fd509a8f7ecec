/*
 * net: libcurl's multi interface behind net.h.  Redirects, the limit of
 * idle time and every verdict on an answer are our own: the library only
 * moves bytes.
 *
 * libcurl sends a request again by itself when a connection that it had
 * kept dies before the first byte of the answer, a PUT as well.  The
 * callback that it makes before each sending (before_send) forbids the
 * second one, and no body can be rewound.
 * SPDX-License-Identifier: ISC
 */
#include "net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <sys/socket.h>

#include <curl/curl.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "num.h"
#include "banned.h"

#define NET_BUFFER	(256L * 1024)	/* bytes libcurl reads at once */
#define NET_TICK_MS	500		/* between looks at who stands still */
#define NET_EXPECT_MS	1000L		/* for a 100 Continue */
#define NET_IDLE	32		/* handles kept for the next ones */
#define NET_LABEL	300		/* bytes of "host:port" */

/* One request under way, over all its redirects. */
struct xfer {
	struct xfer	*prev, *next;
	struct net	*n;
	struct net_req	 q;		/* url and headers are not used */
	char		*url;		/* of this hop; no user in it */
	char		*origin;	/* "https://host:port" */
	char		*user, *password; /* of the URL, or NULL */
	int		 no_socket;	/* errno of socket(2), or 0 */
	char		 label[NET_LABEL];
	struct curl_slist *headers;
	CURL		*easy;
	char		 errbuf[CURL_ERROR_SIZE];
	struct net_res	 r;
	struct err	 e;
	struct buf	 head;		/* the headers of the answer */
	size_t		 head_all;	/* bytes, of all answers */
	uint64_t	 pos;		/* of the body, sent */
	uint64_t	 seen;		/* bytes either way, at the last look */
	double		 begun, moved;	/* s: started; last byte */
	double		 out, in;	/* s: sent; first byte of an answer */
	unsigned int	 hops;
	int		 status;	/* once its headers are whole */
	int		 follow;	/* a redirect that we go after */
	int		 issued;	/* times this hop was to be sent */
	int		 plain;		/* no Expect: it was refused */
	int		 held;		/* the last byte waits for q.hold */
	int		 well;		/* the handle's last hop ended well */
	void		(*done)(void *, const struct net_res *,
			    const struct err *);
	void		*arg;
};

struct net {
	CURLM		*multi;
	struct net_opts	 o;
	char		*ca_file, *agent;
	struct xfer	*list;
	unsigned int	 running;
	CURL		*idle[NET_IDLE];
	unsigned int	 n_idle;
	double		 looked;	/* s: at who stands still */
	int		 direct;	/* past all proxies */
};

/*
 * Answers.
 */

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

/* Days since 1970 of a day of the Gregorian calendar. */
static int64_t
days(int64_t y, int64_t m, int64_t d)
{
	if (m <= 2) {
		y--;
		m += 12;
	}
	return 365 * y + y / 4 - y / 100 + y / 400 +
	    (153 * (m - 3) + 2) / 5 + d - 719469;
}

/* Two digits at s, or -1. */
static int
two(const char *s)
{
	if (s[0] < '0' || s[0] > '9' || s[1] < '0' || s[1] > '9')
		return -1;
	return (s[0] - '0') * 10 + (s[1] - '0');
}

/* 2013-05-24T00:00:00[.000]Z */
static int64_t
iso_date(const char *s, size_t len)
{
	int64_t	ns = 0, unit = 1000000000;
	int	v[7], i;
	static const int at[7] = { 0, 2, 5, 8, 11, 14, 17 };

	if (len < 20 || s[4] != '-' || s[7] != '-' || s[10] != 'T' ||
	    s[13] != ':' || s[16] != ':' || s[len - 1] != 'Z')
		return 0;
	for (i = 0; i < 7; i++)
		if ((v[i] = two(s + at[i])) == -1)
			return 0;
	/* what nanoseconds around 1970 can say */
	if (v[0] < 19 || v[0] > 21 || v[2] < 1 || v[2] > 12 || v[3] < 1 ||
	    v[3] > 31)
		return 0;
	if (len > 21 && s[19] == '.')
		for (s += 20, len -= 21; len > 0 && *s >= '0' && *s <= '9' &&
		    unit > 1; s++, len--) {
			unit /= 10;
			ns += (*s - '0') * unit;
		}
	return (((days(v[0] * 100 + v[1], v[2], v[3]) * 24 + v[4]) * 60 +
	    v[5]) * 60 + v[6]) * 1000000000 + ns;
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
		return iso_date(b, len);
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

/* What the headers say, into r. */
static void
read_headers(struct net_res *r)
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

/*
 * What libcurl calls.
 */

/* Just before a request is sent.  Only once for what we asked for. */
static int
before_send(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct xfer	*x = arg;

	(void)ip;
	(void)local_ip;
	(void)port;
	(void)local_port;
	x->moved = x->out = io_now();
	return x->issued++ == 0 ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static int
is_get(const struct xfer *x)
{
	return strcmp(x->q.method, "GET") == 0 ||
	    strcmp(x->q.method, "HEAD") == 0;
}

/* The headers of an answer are whole. */
static int
headers_end(struct xfer *x)
{
	const char	*p;
	size_t		 len;
	int		 status = 0, i;

	free(x->r.headers);
	x->r.headers = mem_dup(buf_cstr(&x->head));
	/* "HTTP/1.1 200 OK" */
	p = strchr(x->r.headers, ' ');
	for (i = 1; p != NULL && i <= 3 && p[i] >= '0' && p[i] <= '9'; i++)
		status = status * 10 + (p[i] - '0');
	if (status < 200)
		return 0; /* 100 Continue: the answer is still to come */
	x->status = status;
	x->follow = !(x->q.flags & NET_NOREDIR) && is_get(x) &&
	    (status == 301 || status == 302 || status == 303 ||
	    status == 307 || status == 308) &&
	    net_header(&x->r, "location", &len) != NULL;
	read_headers(&x->r);
	if (x->follow || x->q.head == NULL)
		return 0;
	x->r.status = status;
	if (x->q.head(x->q.arg, &x->r, &x->e) == 0)
		return 0;
	return err_set(&x->e, MSG_IOERR, "%s: the answer could not be taken",
	    x->label);
}

static size_t
on_header(char *p, size_t one, size_t n, void *arg)
{
	struct xfer	*x = arg;

	n *= one;
	x->head_all += n;
	if (x->in == 0)
		x->in = io_now();
	if (n >= 5 && memcmp(p, "HTTP/", 5) == 0) {
		buf_reset(&x->head);
		x->status = 0;
	}
	buf_add(&x->head, p, n);
	if (x->head.over || x->head_all > 4 * NET_HEADER_MAX) {
		err_set(&x->e, MSG_DATAERR, "%s: the headers of the answer "
		    "are larger than %zu bytes", x->label, NET_HEADER_MAX);
		return 0;
	}
	if ((n == 2 && p[0] == '\r' && p[1] == '\n') ||
	    (n == 1 && p[0] == '\n'))
		if (x->status == 0 && headers_end(x) == -1)
			return 0;
	return n;
}

static size_t
on_body(char *p, size_t one, size_t n, void *arg)
{
	struct xfer	*x = arg;
	uint64_t	 max = x->follow || x->q.max == 0 ? NET_BODY_MAX :
			     x->q.max;

	n *= one;
	if (n > max || x->r.bytes > max - n) {
		err_set(&x->e, MSG_DATAERR, "%s: the answer is larger than "
		    "%llu bytes", x->label, (unsigned long long)max);
		return 0;
	}
	x->r.bytes += n;
	if (x->follow || x->q.sink == NULL || n == 0)
		return n;
	if (x->q.sink(x->q.arg, x->status, p, n, &x->e) == 0)
		return n;
	err_set(&x->e, MSG_IOERR, "%s: the answer could not be taken",
	    x->label);
	return 0;
}

/* A piece of the request's body. */
static size_t
on_read(char *p, size_t one, size_t n, void *arg)
{
	struct xfer	*x = arg;
	uint64_t	 left = x->q.n - x->pos;
	ssize_t		 got;

	n *= one;
	if (n > left)
		n = (size_t)left;
	if (n == 0)
		return 0;
	if (x->q.hold != NULL && *x->q.hold != 0 && n == left && --n == 0) {
		x->held = 1;
		return CURL_READFUNC_PAUSE;
	}
	if (x->q.body != NULL) {
		memcpy(p, (const unsigned char *)x->q.body + x->pos, n);
		x->pos += n;
		return n;
	}
	got = io_pread(x->q.fd, p, n, x->q.off + x->pos);
	if (got == -1)
		err_sys(&x->e, errno, "%s: what is to be sent", x->label);
	else if ((size_t)got < n)
		err_set(&x->e, MSG_DATAERR, "%s: what is to be sent: want "
		    "%llu bytes, got %llu", x->label,
		    (unsigned long long)x->q.n,
		    (unsigned long long)(x->pos + (size_t)got));
	if (got == -1 || (size_t)got < n)
		return CURL_READFUNC_ABORT;
	x->pos += n;
	return n;
}

/*
 * Requests.
 */

struct net *
net_new(const struct net_opts *o, struct err *e)
{
	struct net	*n;
	long		 c = o->connections > 0 ? (long)o->connections : 1;

	if (net_load(e) == -1)
		return NULL;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		err_set(e, MSG_IOERR, "libcurl: cannot be initialized");
		return NULL;
	}
	n = mem_zero(1, sizeof(*n));
	n->ca_file = o->ca_file != NULL ? mem_dup(o->ca_file) : NULL;
	n->agent = o->agent != NULL ? mem_dup(o->agent) : NULL;
	n->multi = curl_multi_init();
	if (n->multi == NULL || curl_multi_setopt(n->multi,
	    CURLMOPT_MAX_HOST_CONNECTIONS, c) != CURLM_OK ||
	    curl_multi_setopt(n->multi, CURLMOPT_MAXCONNECTS, c + 4) !=
	    CURLM_OK || curl_multi_setopt(n->multi, CURLMOPT_PIPELINING,
	    CURLPIPE_MULTIPLEX) != CURLM_OK) {
		err_set(e, MSG_IOERR, "libcurl: no memory");
		net_free(n);
		return NULL;
	}
	return n;
}

void
net_go_direct(struct net *n)
{
	n->direct = 1;
}

static void
wipe(char *s)
{
	volatile char	*p;

	if (s != NULL)
		for (p = s; *p != '\0'; p++)
			*p = '\0';
	free(s);
}

/* Requests may carry secrets: nothing of them is left behind. */
static void
free_headers(struct curl_slist *l)
{
	struct curl_slist	*i;
	volatile char		*p;

	for (i = l; i != NULL; i = i->next)
		for (p = i->data; *p != '\0'; p++)
			*p = '\0';
	curl_slist_free_all(l);
}

static void
xfer_free(struct xfer *x)
{
	struct net	*n = x->n;

	if (x->easy != NULL) {
		(void)curl_multi_remove_handle(n->multi, x->easy);
		curl_easy_reset(x->easy);
		/* one that failed before it was connected keeps buffers, and
		   would not let us set their size again */
		if (x->well && n->n_idle < NET_IDLE)
			n->idle[n->n_idle++] = x->easy;
		else
			curl_easy_cleanup(x->easy);
	}
	free_headers(x->headers);
	buf_free(&x->head);
	net_res_clear(&x->r);
	free(x->url);
	free(x->origin);
	wipe(x->user);
	wipe(x->password);
	free(x);
}

static void
unlink_xfer(struct xfer *x)
{
	struct net	*n = x->n;

	if (x->prev != NULL)
		x->prev->next = x->next;
	else
		n->list = x->next;
	if (x->next != NULL)
		x->next->prev = x->prev;
	n->running--;
}

void
net_free(struct net *n)
{
	struct xfer	*x;

	if (n == NULL)
		return;
	while ((x = n->list) != NULL) {
		unlink_xfer(x);
		xfer_free(x);
	}
	while (n->n_idle > 0)
		curl_easy_cleanup(n->idle[--n->n_idle]);
	curl_multi_cleanup(n->multi);
	free(n->ca_file);
	free(n->agent);
	free(n);
	curl_global_cleanup();
}

/*
 * The URL's parts, into x.  A user in it is taken out, and used only for
 * the origin that the caller named.
 */
static int
set_url(struct xfer *x, const char *url, struct err *e)
{
	CURLU	*u = curl_url();
	char	*scheme = NULL, *host = NULL, *port = NULL, *s = NULL;
	char	*user = NULL, *password = NULL;
	size_t	 sz;
	int	 rv = -1;

	if (u == NULL)
		return err_set(e, MSG_IOERR, "libcurl: no memory");
	if (curl_url_set(u, CURLUPART_URL, url, CURLU_PATH_AS_IS) !=
	    CURLUE_OK ||
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) !=
	    CURLUE_OK || (strcmp(scheme, "http") != 0 &&
	    strcmp(scheme, "https") != 0)) {
		err_set(e, MSG_USAGE, "%s: no http or https URL",
		    x->url != NULL ? x->label : "request");
		goto done;
	}
	if (curl_url_get(u, CURLUPART_USER, &user, CURLU_URLDECODE) ==
	    CURLUE_OK) {
		x->user = mem_dup(user);
		(void)curl_url_get(u, CURLUPART_PASSWORD, &password,
		    CURLU_URLDECODE);
		x->password = mem_dup(password != NULL ? password : "");
	}
	if (curl_url_set(u, CURLUPART_USER, NULL, 0) != CURLUE_OK ||
	    curl_url_set(u, CURLUPART_PASSWORD, NULL, 0) != CURLUE_OK ||
	    curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_URL, &s, 0) != CURLUE_OK) {
		err_set(e, MSG_USAGE, "%s: no http or https URL", host);
		goto done;
	}
	free(x->url);
	x->url = mem_dup(s);
	sz = strlen(scheme) + strlen(host) + strlen(port) + 5;
	free(x->origin);
	x->origin = mem_alloc(sz);
	(void)snprintf(x->origin, sz, "%s://%s:%s", scheme, host, port);
	(void)snprintf(x->label, sizeof(x->label), "%s:%s", host, port);
	rv = 0;
done:
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_free(s);
	curl_free(user);
	if (password != NULL)
		memset(password, 0, strlen(password));
	curl_free(password);
	curl_url_cleanup(u);
	return rv;
}

static int
add_header(struct xfer *x, const char *line, struct err *e)
{
	struct curl_slist	*l;
	const char		*colon = strchr(line, ':');
	const char		*v;
	char			*s = NULL;

	if (colon == NULL || colon == line || strpbrk(line, "\r\n") != NULL)
		return err_set(e, MSG_USAGE, "%s: a header must be one "
		    "line, \"Name: value\"", x->label);
	for (v = colon + 1; *v == ' '; v++)
		continue;
	if (*v == '\0') {
		/* an empty value is written so, or libcurl drops it */
		s = mem_ndup(line, (size_t)(colon - line) + 1);
		s[colon - line] = ';';
	}
	l = curl_slist_append(x->headers, s != NULL ? s : line);
	free(s);
	if (l == NULL)
		return err_set(e, MSG_IOERR, "libcurl: no memory");
	x->headers = l;
	return 0;
}

/* May go to a host that the caller did not name. */
static int
is_harmless(const char *line)
{
	static const char *const names[] = { "Accept:", "Accept-Encoding:",
		"Range:", "If-Range:", "If-Match:", "If-None-Match:",
		"If-Modified-Since:", "If-Unmodified-Since:" };
	size_t	i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncasecmp(line, names[i], strlen(names[i])) == 0)
			return 1;
	return 0;
}

/* Another origin now: drop what may be secret. */
static int
strip_headers(struct xfer *x, struct err *e)
{
	struct curl_slist	*old = x->headers, *i;
	int			 rv = 0;

	x->headers = NULL;
	for (i = old; i != NULL && rv == 0; i = i->next)
		if (is_harmless(i->data))
			rv = add_header(x, i->data, e);
	free_headers(old);
	wipe(x->user);
	wipe(x->password);
	x->user = x->password = NULL;
	return rv;
}

#define SET(opt, v) (curl_easy_setopt(x->easy, (opt), (v)) == CURLE_OK)

/* As libcurl would; but why there is none it would not tell. */
static curl_socket_t
on_socket(void *arg, curlsocktype what, struct curl_sockaddr *a)
{
	struct xfer	*x = arg;
	int		 fd;

	(void)what;
	fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
	if (fd == -1 && (errno == EMFILE || errno == ENFILE ||
	    errno == ENOBUFS || errno == ENOMEM))
		x->no_socket = errno;
	return fd == -1 ? CURL_SOCKET_BAD : fd;
}

static int
set_method(struct xfer *x)
{
	const char	*m = x->q.method;
	int		 put = strcmp(m, "PUT") == 0 ||
			     strcmp(m, "POST") == 0;

	if (strcmp(m, "HEAD") == 0)
		return SET(CURLOPT_NOBODY, 1L);
	if (!put && x->q.n == 0)
		return SET(CURLOPT_HTTPGET, 1L) &&
		    (strcmp(m, "GET") == 0 || SET(CURLOPT_CUSTOMREQUEST, m));
	return SET(CURLOPT_UPLOAD, 1L) && SET(CURLOPT_CUSTOMREQUEST, m) &&
	    SET(CURLOPT_READFUNCTION, on_read) && SET(CURLOPT_READDATA, x) &&
	    SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)x->q.n) &&
	    SET(CURLOPT_UPLOAD_BUFFERSIZE, NET_BUFFER) &&
	    SET(CURLOPT_EXPECT_100_TIMEOUT_MS, NET_EXPECT_MS);
}

static int
set_tls(struct xfer *x)
{
	return SET(CURLOPT_SSL_VERIFYPEER, 1L) &&
	    SET(CURLOPT_SSL_VERIFYHOST, 2L) &&
	    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
	    (x->n->ca_file == NULL || SET(CURLOPT_CAINFO, x->n->ca_file)) &&
	    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS) &&
	    SET(CURLOPT_PIPEWAIT, strncmp(x->url, "https:", 6) == 0 ?
	    1L : 0L);
}

static int
set_all(struct xfer *x)
{
	long	ms = 0;

	if (x->q.timeout > 0) {
		ms = (long)((x->begun + x->q.timeout - io_now()) * 1000);
		if (ms < 1)
			ms = 1;
	}
	return SET(CURLOPT_ERRORBUFFER, x->errbuf) &&
	    SET(CURLOPT_PRIVATE, x) && SET(CURLOPT_NOSIGNAL, 1L) &&
	    SET(CURLOPT_PROTOCOLS_STR, "http,https") &&
	    SET(CURLOPT_URL, x->url) && SET(CURLOPT_PATH_AS_IS, 1L) &&
	    SET(CURLOPT_FOLLOWLOCATION, 0L) &&
	    SET(CURLOPT_HTTPHEADER, x->headers) &&
	    SET(CURLOPT_CONNECTTIMEOUT, (long)NET_CONNECT_S) &&
	    SET(CURLOPT_TIMEOUT_MS, ms) &&
	    SET(CURLOPT_TCP_KEEPALIVE, 1L) &&
	    SET(CURLOPT_OPENSOCKETFUNCTION, on_socket) &&
	    SET(CURLOPT_OPENSOCKETDATA, x) &&
	    SET(CURLOPT_BUFFERSIZE, NET_BUFFER) &&
	    SET(CURLOPT_HEADERFUNCTION, on_header) &&
	    SET(CURLOPT_HEADERDATA, x) &&
	    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) &&
	    SET(CURLOPT_WRITEFUNCTION, on_body) &&
	    SET(CURLOPT_WRITEDATA, x) &&
	    SET(CURLOPT_PREREQFUNCTION, before_send) &&
	    SET(CURLOPT_PREREQDATA, x) &&
	    (x->n->agent == NULL || SET(CURLOPT_USERAGENT, x->n->agent)) &&
	    (x->user == NULL || (SET(CURLOPT_USERNAME, x->user) &&
	    SET(CURLOPT_PASSWORD, x->password))) &&
	    (!(x->q.flags & NET_NOPROXY || x->n->direct) ||
	    SET(CURLOPT_NOPROXY, "*")) &&
	    (!(x->q.flags & NET_FRESH) || SET(CURLOPT_FRESH_CONNECT, 1L)) &&
	    set_tls(x) && set_method(x);
}

#undef SET

/* One hop: what is known of an earlier one is forgotten. */
static int
hop(struct xfer *x, struct err *e)
{
	struct net	*n = x->n;
	CURLMcode	 rc;

	net_res_clear(&x->r);
	memset(&x->r, 0, sizeof(x->r));
	x->r.length = x->r.retry_after = -1;
	buf_reset(&x->head);
	x->status = x->follow = x->issued = x->held = 0;
	x->pos = x->seen = 0;
	x->in = 0;
	x->errbuf[0] = '\0';
	if (x->easy != NULL) {
		(void)curl_multi_remove_handle(n->multi, x->easy);
		curl_easy_reset(x->easy);
	} else
		x->easy = n->n_idle > 0 ? n->idle[--n->n_idle] :
		    curl_easy_init();
	if (x->easy == NULL || !set_all(x))
		return err_set(e, MSG_IOERR, "%s: libcurl: no memory",
		    x->label);
	rc = curl_multi_add_handle(n->multi, x->easy);
	if (rc != CURLM_OK)
		return err_set(e, MSG_SOFTWARE, "%s: libcurl: %s", x->label,
		    curl_multi_strerror(rc));
	return 0;
}

int
net_start(struct net *n, const struct net_req *q,
    void (*done)(void *arg, const struct net_res *r, const struct err *e),
    void *arg, struct err *e)
{
	struct xfer	*x = mem_zero(1, sizeof(*x));
	size_t		 i;
	int		 rv = -1;

	x->n = n;
	x->q = *q;
	x->done = done;
	x->arg = arg;
	x->begun = x->moved = io_now();
	buf_init(&x->head, NET_HEADER_MAX);
	if (x->q.stall == 0)
		x->q.stall = NET_STALL_S;
	if (set_url(x, q->url, e) == -1)
		goto fail;
	for (i = 0; q->headers != NULL && q->headers[i] != NULL; i++) {
		if (i == NET_HEADERS) {
			err_set(e, MSG_USAGE, "%s: more than %d headers",
			    x->label, NET_HEADERS);
			goto fail;
		}
		if (add_header(x, q->headers[i], e) == -1)
			goto fail;
	}
	/* libcurl would ask before every body */
	if ((q->n == 0 || !(q->flags & NET_EXPECT)) &&
	    (x->headers = curl_slist_append(x->headers, "Expect:")) == NULL) {
		err_set(e, MSG_IOERR, "libcurl: no memory");
		goto fail;
	}
	if (hop(x, e) == -1)
		goto fail;
	x->next = n->list;
	if (n->list != NULL)
		n->list->prev = x;
	n->list = x;
	n->running++;
	rv = 0;
fail:
	if (rv == -1)
		xfer_free(x);
	return rv;
}

/*
 * Ends.
 */

/* libcurl's verdict as ours. */
static int
err_curl(struct xfer *x, CURLcode rc)
{
	const char	*why = x->errbuf[0] != '\0' ? x->errbuf :
			    curl_easy_strerror(rc);
	int		 code = MSG_TEMPFAIL;

	switch ((int)rc) {
	case CURLE_COULDNT_CONNECT:
		if (x->no_socket != 0) {
			x->r.local = 1;
			return err_sys(&x->e, x->no_socket, "%s", x->label);
		}
		break;
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
		/* the same code says that the answer was not HTTP */
		code = x->issued > 0 ? MSG_TEMPFAIL : MSG_USAGE;
		break;
	case CURLE_SSL_CACERT_BADFILE:
		code = MSG_USAGE;
		break;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_INVALIDCERTSTATUS:
		code = MSG_NOPERM;
		break;
	case CURLE_OUT_OF_MEMORY:
		code = MSG_IOERR;
		break;
	case CURLE_GOT_NOTHING:
		why = "the connection was closed without an answer";
		break;
	case CURLE_PARTIAL_FILE:
		why = "the answer was cut short";
		break;
	case CURLE_SEND_FAIL_REWIND:
	case CURLE_ABORTED_BY_CALLBACK:
		why = "the kept connection was closed before an answer";
		break;
	default:
		break;
	}
	return err_set(&x->e, code, "%s: %s", x->label, why);
}

/* The next hop of a redirect: 0, or -1 and x->e. */
static int
redirect(struct xfer *x)
{
	char	*to = NULL, *old, *user, *password;
	int	 rv = -1;

	if (++x->hops > NET_REDIRECTS)
		return err_set(&x->e, MSG_DATAERR, "%s: more than %d "
		    "redirects", x->label, NET_REDIRECTS);
	if (curl_easy_getinfo(x->easy, CURLINFO_REDIRECT_URL, &to) !=
	    CURLE_OK || to == NULL)
		return err_set(&x->e, MSG_DATAERR, "%s: a redirect to "
		    "nowhere", x->label);
	if (strncmp(x->origin, "https:", 6) == 0 &&
	    strncasecmp(to, "https:", 6) != 0)
		return err_set(&x->e, MSG_DATAERR, "%s: a redirect from "
		    "https to http", x->label);
	to = mem_dup(to);
	old = mem_dup(x->origin);
	user = x->user;
	password = x->password;
	x->user = x->password = NULL;
	if (set_url(x, to, &x->e) == -1) {
		/* what the server said is not the caller's mistake */
		x->e.code = MSG_DATAERR;
		wipe(user);
		wipe(password);
		goto done;
	}
	/* what a redirect says of users is not listened to */
	wipe(x->user);
	wipe(x->password);
	x->user = user;
	x->password = password;
	if (strcmp(old, x->origin) != 0 && strip_headers(x, &x->e) == -1)
		goto done;
	/* strip_headers drops it with the rest */
	if (strcmp(old, x->origin) != 0 &&
	    (x->headers = curl_slist_append(x->headers, "Expect:")) == NULL) {
		err_set(&x->e, MSG_IOERR, "libcurl: no memory");
		goto done;
	}
	rv = hop(x, &x->e);
done:
	free(to);
	free(old);
	return rv;
}

/* Is the answer whole?  0, or -1 and x->e. */
static int
judge(struct xfer *x, CURLcode rc)
{
	int	no_body = strcmp(x->q.method, "HEAD") == 0 ||
		    x->status == 204 || x->status == 304;

	if (x->e.code != 0)
		return -1; /* ours to say, and said */
	if (rc != CURLE_OK) {
		/* refused in full while we were still sending */
		if (x->status < 400 || no_body || x->r.length < 0 ||
		    x->r.bytes != (uint64_t)x->r.length)
			return err_curl(x, rc);
		return 0;
	}
	if (x->status == 0)
		return err_set(&x->e, MSG_TEMPFAIL, "%s: no answer",
		    x->label);
	if (!no_body && x->r.length >= 0 &&
	    net_header(&x->r, "transfer-encoding", &(size_t){ 0 }) == NULL &&
	    x->r.bytes != (uint64_t)x->r.length)
		return err_set(&x->e, MSG_TEMPFAIL, "%s: the answer was cut "
		    "short: want %lld bytes, got %llu", x->label,
		    (long long)x->r.length, (unsigned long long)x->r.bytes);
	return 0;
}

/* The body was refused before it was sent: once more, without asking. */
static int
unexpected(struct xfer *x)
{
	struct curl_slist	*l;

	if (x->plain || x->status != 417 || !(x->q.flags & NET_EXPECT))
		return 0;
	x->plain = 1;
	l = curl_slist_append(x->headers, "Expect:");
	if (l == NULL)
		return 0;
	x->headers = l;
	x->e.code = 0;
	return hop(x, &x->e) == 0;
}

static void
finish(struct xfer *x, CURLcode rc)
{
	long		connects = 1;
	int		good;

	if (unexpected(x))
		return;
	(void)curl_easy_getinfo(x->easy, CURLINFO_NUM_CONNECTS, &connects);
	x->r.first = x->in > 0 ? x->in - x->out : 0;
	x->r.total = io_now() - x->begun;
	x->r.sent = x->issued > 0;
	x->r.stale = x->issued > 1 || (rc != CURLE_OK && x->issued > 0 &&
	    connects == 0 && x->head.len == 0 &&
	    rc != CURLE_OPERATION_TIMEDOUT && x->e.code == 0);
	good = judge(x, rc) == 0;
	if (good && x->follow && redirect(x) == 0)
		return;
	good = good && x->e.code == 0;
	x->well = good;
	x->r.status = good ? x->status : 0;
	unlink_xfer(x);
	/* off the multi first: done may start the next one */
	(void)curl_multi_remove_handle(x->n->multi, x->easy);
	x->done(x->arg, &x->r, good ? NULL : &x->e);
	xfer_free(x);
}

/* Ends those of whom nothing was heard for too long; how many. */
static unsigned int
end_stalled(struct net *n)
{
	struct xfer	*x, *next;
	curl_off_t	 up, down;
	uint64_t	 seen;
	double		 now = io_now();
	unsigned int	 ended = 0;

	if (now - n->looked < NET_TICK_MS / 1000.0)
		return 0;
	n->looked = now;
	for (x = n->list; x != NULL; x = next) {
		next = x->next;
		if (x->issued == 0)
			continue; /* the time to connect is libcurl's */
		up = down = 0;
		(void)curl_easy_getinfo(x->easy, CURLINFO_SIZE_UPLOAD_T, &up);
		(void)curl_easy_getinfo(x->easy, CURLINFO_SIZE_DOWNLOAD_T,
		    &down);
		seen = (uint64_t)up + (uint64_t)down + x->head_all;
		if (seen != x->seen) {
			x->seen = seen;
			x->moved = now;
		} else if (now - x->moved >= x->q.stall) {
			err_set(&x->e, MSG_TEMPFAIL, "%s: nothing came for "
			    "%u seconds", x->label, x->q.stall);
			finish(x, CURLE_OPERATION_TIMEDOUT);
			ended++;
			/* done may have ended or begun others */
			next = n->list;
		}
	}
	return ended;
}

/* Hands out what has come to its end; how many. */
static unsigned int
collect(struct net *n)
{
	struct xfer	*x;
	CURLMsg		*m;
	CURLcode	 rc;
	char		*p;
	unsigned int	 ended = 0;
	int		 left;

	while ((m = curl_multi_info_read(n->multi, &left)) != NULL) {
		if (m->msg != CURLMSG_DONE)
			continue;
		rc = m->data.result;
		if (curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &p) !=
		    CURLE_OK)
			continue;
		x = (struct xfer *)(void *)p;
		finish(x, rc);
		ended++;
	}
	return ended;
}

/* Those whose last byte was held and may go now. */
static void
release(struct net *n)
{
	struct xfer	*x;

	for (x = n->list; x != NULL; x = x->next)
		if (x->held && *x->q.hold == 0) {
			x->held = 0;
			(void)curl_easy_pause(x->easy, CURLPAUSE_CONT);
		}
}

int
net_wait(struct net *n, unsigned int ms, struct err *e)
{
	CURLMcode	rc;
	double		end = io_now() + ms / 1000.0, left;
	int		running, wait;

	for (;;) {
		release(n);
		rc = curl_multi_perform(n->multi, &running);
		if (rc != CURLM_OK)
			return err_set(e, rc == CURLM_OUT_OF_MEMORY ?
			    MSG_IOERR : MSG_SOFTWARE, "libcurl: %s",
			    curl_multi_strerror(rc));
		if (collect(n) + end_stalled(n) > 0)
			return n->running > 0;
		if (n->running == 0)
			return 0;
		if (io_signal() != 0)
			return err_set(e, MSG_TEMPFAIL, "interrupted");
		left = (end - io_now()) * 1000;
		if (left <= 0)
			return 1;
		wait = left < NET_TICK_MS ? (int)left + 1 : NET_TICK_MS;
		rc = curl_multi_poll(n->multi, NULL, 0, wait, NULL);
		if (rc != CURLM_OK)
			return err_set(e, MSG_IOERR, "libcurl: %s",
			    curl_multi_strerror(rc));
	}
}

void
net_cancel(struct net *n, const void *arg)
{
	struct xfer	*x, *next;

	for (x = n->list; x != NULL; x = next) {
		next = x->next;
		if (x->arg != arg)
			continue;
		unlink_xfer(x);
		xfer_free(x);
	}
}

char *
net_host(const char *url, struct err *e)
{
	struct xfer	x;
	char		*s = NULL;

	memset(&x, 0, sizeof(x));
	if (net_load(e) == 0 && set_url(&x, url, e) == 0)
		s = mem_dup(x.label);
	free(x.url);
	free(x.origin);
	wipe(x.user);
	wipe(x.password);
	return s;
}

unsigned int
net_running(const struct net *n)
{
	return n->running;
}

/* One that is waited for. */
struct wait {
	struct net_res	*r;
	struct err	*e;
	int		 rv;	/* 1: under way */
};

static void
on_done(void *arg, const struct net_res *r, const struct err *e)
{
	struct wait	*w = arg;

	*w->r = *r;
	w->r->etag = r->etag != NULL ? mem_dup(r->etag) : NULL;
	w->r->headers = r->headers != NULL ? mem_dup(r->headers) : NULL;
	w->rv = e == NULL ? 0 : -1;
	if (e != NULL)
		*w->e = *e;
}

int
net_do(struct net *n, const struct net_req *q, struct net_res *r,
    struct err *e)
{
	struct wait	 w = { r, e, 1 };
	struct xfer	*x;

	memset(r, 0, sizeof(*r));
	r->length = r->retry_after = -1;
	if (net_start(n, q, on_done, &w, e) == -1)
		return -1;
	while (w.rv == 1)
		if (net_wait(n, 1000, e) == -1 && w.rv == 1)
			break;
	if (w.rv != 1)
		return w.rv;
	/* interrupted: it may have been applied */
	for (x = n->list; x != NULL && x->arg != &w; x = x->next)
		continue;
	r->sent = x != NULL && x->issued > 0;
	net_cancel(n, &w);
	return -1;
}
