/*
 * net_op: URLs, headers and options for libcurl, and its callbacks.
 *
 * libcurl sends a request again by itself when a connection that it had
 * kept dies before the first byte of the answer, a PUT as well.  The
 * callback that it makes before each sending (before_send) forbids the
 * second one, and no body can be rewound.
 * SPDX-License-Identifier: ISC
 */
#include "net_op.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <sys/socket.h>

#include <curl/curl.h>

#include "io.h"
#include "mem.h"
#include "net_answer.h"
#include "banned.h"

#define NET_BUFFER	(256L * 1024)	/* bytes libcurl reads at once */
#define NET_EXPECT_MS	1000L		/* for a 100 Continue */

_Static_assert(NET_ERROR >= CURL_ERROR_SIZE, "room for libcurl's words");

/*
 * What libcurl calls.
 */

/* Just before a request is sent.  Only once for what we asked for. */
static int
before_send(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct net_op	*x = arg;

	(void)ip;
	(void)local_ip;
	(void)port;
	(void)local_port;
	x->moved = x->out = io_now();
	return x->issued++ == 0 ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static int
is_get(const struct net_op *x)
{
	return strcmp(x->q.method, "GET") == 0 ||
	    strcmp(x->q.method, "HEAD") == 0;
}

/* The headers of an answer are whole. */
static int
headers_end(struct net_op *x)
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
	net_answer_read(&x->r);
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
	struct net_op	*x = arg;

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
	struct net_op	*x = arg;
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
	struct net_op	*x = arg;
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
 * What it is told.
 */

/* memset of what is freed next may be left out by a compiler */
static void
overwrite(char *s)
{
	volatile char	*p;

	if (s != NULL)
		for (p = s; *p != '\0'; p++)
			*p = '\0';
}

void
net_wipe(char *s)
{
	overwrite(s);
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

void
net_op_free(struct net_op *x)
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
	net_wipe(x->user);
	net_wipe(x->password);
	free(x);
}

void
net_op_unlink(struct net_op *x)
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

/* user and password out of u, when there are any */
static CURLUcode
take_user(struct net_op *x, CURLU *u)
{
	CURLUcode	 rc;
	char		*user = NULL, *password = NULL;

	rc = curl_url_get(u, CURLUPART_USER, &user, CURLU_URLDECODE);
	if (rc != CURLUE_OK)
		return rc == CURLUE_NO_USER ? CURLUE_OK : rc;
	rc = curl_url_get(u, CURLUPART_PASSWORD, &password, CURLU_URLDECODE);
	if (rc == CURLUE_OK || rc == CURLUE_NO_PASSWORD) {
		rc = CURLUE_OK;
		x->user = mem_dup(user);
		x->password = mem_dup(password != NULL ? password : "");
	}
	curl_free(user);
	overwrite(password);
	curl_free(password);
	return rc;
}

int
net_op_url(struct net_op *x, const char *url, struct err *e)
{
	CURLU		*u = curl_url();
	CURLUcode	 rc;
	char		*scheme = NULL, *host = NULL, *port = NULL, *s = NULL;
	size_t		 sz;
	int		 rv = -1;

	if (u == NULL)
		return err_set(e, MSG_IOERR, "libcurl: no memory");
	rc = curl_url_set(u, CURLUPART_URL, url, CURLU_PATH_AS_IS);
	if (rc == CURLUE_OK)
		rc = curl_url_get(u, CURLUPART_SCHEME, &scheme, 0);
	if (rc == CURLUE_OK && strcmp(scheme, "http") != 0 &&
	    strcmp(scheme, "https") != 0)
		rc = CURLUE_UNSUPPORTED_SCHEME;
	if (rc == CURLUE_OK)
		rc = curl_url_get(u, CURLUPART_HOST, &host, 0);
	if (rc == CURLUE_OK)
		rc = curl_url_get(u, CURLUPART_PORT, &port,
		    CURLU_DEFAULT_PORT);
	if (rc == CURLUE_OK)
		rc = take_user(x, u);
	if (rc == CURLUE_OK)
		rc = curl_url_set(u, CURLUPART_USER, NULL, 0);
	if (rc == CURLUE_OK)
		rc = curl_url_set(u, CURLUPART_PASSWORD, NULL, 0);
	if (rc == CURLUE_OK)
		rc = curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
	if (rc == CURLUE_OK)
		rc = curl_url_get(u, CURLUPART_URL, &s, 0);
	if (rc == CURLUE_OUT_OF_MEMORY) {
		err_set(e, MSG_IOERR, "libcurl: no memory");
		goto done;
	}
	if (rc != CURLUE_OK) {
		/* the URL may hold secrets, its host does not */
		err_set(e, MSG_USAGE, "%s: no http or https URL",
		    x->url != NULL ? x->label : host != NULL ? host :
		    "request");
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
	curl_url_cleanup(u);
	return rv;
}

int
net_op_header(struct net_op *x, const char *line, struct err *e)
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

int
net_op_strip(struct net_op *x, struct err *e)
{
	struct curl_slist	*old = x->headers, *i;
	int			 rv = 0;

	x->headers = NULL;
	for (i = old; i != NULL && rv == 0; i = i->next)
		if (is_harmless(i->data))
			rv = net_op_header(x, i->data, e);
	free_headers(old);
	net_wipe(x->user);
	net_wipe(x->password);
	x->user = x->password = NULL;
	return rv;
}

#define SET(opt, v) (curl_easy_setopt(x->easy, (opt), (v)) == CURLE_OK)

/* As libcurl would; but why there is none it would not tell. */
static curl_socket_t
on_socket(void *arg, curlsocktype what, struct curl_sockaddr *a)
{
	struct net_op	*x = arg;
	int		 fd;

	(void)what;
	fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
	if (fd == -1 && (errno == EMFILE || errno == ENFILE ||
	    errno == ENOBUFS || errno == ENOMEM))
		x->no_socket = errno;
	return fd == -1 ? CURL_SOCKET_BAD : fd;
}

static int
set_method(struct net_op *x)
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
set_tls(struct net_op *x)
{
	/* to resume a session spares little where connections are kept; and
	   without memory to keep one, libcurl (7.88) frees it twice */
	return SET(CURLOPT_SSL_SESSIONID_CACHE, 0L) &&
	    SET(CURLOPT_SSL_VERIFYPEER, 1L) &&
	    SET(CURLOPT_SSL_VERIFYHOST, 2L) &&
	    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
	    (x->n->ca_file == NULL || SET(CURLOPT_CAINFO, x->n->ca_file)) &&
	    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS) &&
	    SET(CURLOPT_PIPEWAIT, strncmp(x->url, "https:", 6) == 0 ?
	    1L : 0L);
}

static int
set_all(struct net_op *x)
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

int
net_op_hop(struct net_op *x, struct err *e)
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
		return err_set(e, rc == CURLM_OUT_OF_MEMORY ? MSG_IOERR :
		    MSG_SOFTWARE, "%s: libcurl: %s", x->label,
		    curl_multi_strerror(rc));
	return 0;
}
