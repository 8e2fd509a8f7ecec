/*
 * net: libcurl's multi interface behind net.h.  Redirects, the limit of
 * idle time and every verdict on an answer are our own: the library only
 * moves bytes.
 * SPDX-License-Identifier: ISC
 */
#include "net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>
#include <openssl/crypto.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "net_op.h"
#include "banned.h"

#define NET_TICK_MS	500		/* between looks at who stands still */

/*
 * Requests.
 */

/*
 * libcrypto 3 makes its context when it is first used, within a handshake,
 * and where memory is short for that, crashes in whatever it is asked next.
 * It is made here, where that can be told.
 */
static int
crypto_ready(void)
{
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	return OSSL_LIB_CTX_get0_global_default() != NULL;
#else
	return 1;
#endif
}

struct net *
net_new(const struct net_opts *o, struct err *e)
{
	struct net	*n;
	long		 c = o->connections > 0 ? (long)o->connections : 1;

	if (net_load(e) == -1)
		return NULL;
	if (!crypto_ready()) {
		err_set(e, MSG_IOERR, "libcrypto: no memory");
		return NULL;
	}
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

void
net_free(struct net *n)
{
	struct net_op	*x;

	if (n == NULL)
		return;
	while ((x = n->list) != NULL) {
		net_op_unlink(x);
		net_op_free(x);
	}
	while (n->n_idle > 0)
		curl_easy_cleanup(n->idle[--n->n_idle]);
	curl_multi_cleanup(n->multi);
	free(n->ca_file);
	free(n->agent);
	free(n);
	curl_global_cleanup();
}

/* No "Expect: 100-continue", which libcurl writes unless it is taken out. */
static int
ask_nothing(struct net_op *x, struct err *e)
{
	struct curl_slist	*l = curl_slist_append(x->headers, "Expect:");

	if (l == NULL)
		return err_set(e, MSG_IOERR, "libcurl: no memory");
	x->headers = l;
	return 0;
}

int
net_start(struct net *n, const struct net_req *q,
    void (*done)(void *arg, const struct net_res *r, const struct err *e),
    void *arg, struct err *e)
{
	struct net_op	*x = mem_zero(1, sizeof(*x));
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
	if (net_op_url(x, q->url, e) == -1)
		goto fail;
	for (i = 0; q->headers != NULL && q->headers[i] != NULL; i++) {
		if (i == NET_HEADERS) {
			err_set(e, MSG_USAGE, "%s: more than %d headers",
			    x->label, NET_HEADERS);
			goto fail;
		}
		if (net_op_header(x, q->headers[i], e) == -1)
			goto fail;
	}
	/* libcurl would ask before every body */
	if ((q->n == 0 || !(q->flags & NET_EXPECT)) &&
	    ask_nothing(x, e) == -1)
		goto fail;
	if (net_op_hop(x, e) == -1)
		goto fail;
	x->next = n->list;
	if (n->list != NULL)
		n->list->prev = x;
	n->list = x;
	n->running++;
	rv = 0;
fail:
	if (rv == -1)
		net_op_free(x);
	return rv;
}

/*
 * Ends.
 */

/* libcurl's verdict as ours. */
static int
err_curl(struct net_op *x, CURLcode rc)
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
redirect(struct net_op *x)
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
	if (net_op_url(x, to, &x->e) == -1) {
		/* what the server said is not the caller's mistake */
		x->e.code = MSG_DATAERR;
		net_wipe(user);
		net_wipe(password);
		goto done;
	}
	/* what a redirect says of users is not listened to */
	net_wipe(x->user);
	net_wipe(x->password);
	x->user = user;
	x->password = password;
	if (strcmp(old, x->origin) != 0 && net_op_strip(x, &x->e) == -1)
		goto done;
	/* strip_headers drops it with the rest */
	if (strcmp(old, x->origin) != 0 && ask_nothing(x, &x->e) == -1)
		goto done;
	rv = net_op_hop(x, &x->e);
done:
	free(to);
	free(old);
	return rv;
}

/* Is the answer whole?  0, or -1 and x->e. */
static int
judge(struct net_op *x, CURLcode rc)
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
unexpected(struct net_op *x)
{
	if (x->plain || x->status != 417 || !(x->q.flags & NET_EXPECT))
		return 0;
	x->plain = 1;
	if (ask_nothing(x, &x->e) == -1)
		return 0;
	x->e.code = 0;
	return net_op_hop(x, &x->e) == 0;
}

static void
finish(struct net_op *x, CURLcode rc)
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
	net_op_unlink(x);
	/* off the multi first: done may start the next one */
	(void)curl_multi_remove_handle(x->n->multi, x->easy);
	x->done(x->arg, &x->r, good ? NULL : &x->e);
	net_op_free(x);
}

/* Ends those of whom nothing was heard for too long; how many. */
static unsigned int
end_stalled(struct net *n)
{
	struct net_op	*x, *next;
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
	struct net_op	*x;
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
		x = (struct net_op *)(void *)p;
		finish(x, rc);
		ended++;
	}
	return ended;
}

/* Those whose last byte was held and may go now. */
static void
release(struct net *n)
{
	struct net_op	*x;

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
	struct net_op	*x, *next;

	for (x = n->list; x != NULL; x = next) {
		next = x->next;
		if (x->arg != arg)
			continue;
		net_op_unlink(x);
		net_op_free(x);
	}
}

char *
net_host(const char *url, struct err *e)
{
	struct net_op	x;
	char		*s = NULL;

	memset(&x, 0, sizeof(x));
	if (net_load(e) == 0 && net_op_url(&x, url, e) == 0)
		s = mem_dup(x.label);
	free(x.url);
	free(x.origin);
	net_wipe(x.user);
	net_wipe(x.password);
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
	struct net_op	*x;

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
