/*
 * dfetch_batch_api: whom to ask of a batch, with which key, and the small
 * requests.  It knows no meaning of an answer.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch_batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "cred.h"
#include "json.h"
#include "mem.h"
#include "net.h"
#include "remote.h"
#include "retry.h"
#include "sign.h"
#include "banned.h"

#define API_BASE	"https://api.openai.com/v1"
#define API_CONNECTIONS	4
#define API_TIMEOUT	60	/* s for one small request */
#define API_URL_MAX	8192	/* bytes */
#define API_SHOWN	200	/* bytes of a provider's message */

/* -- the environment --------------------------------------------------- */

static const char *
env(const char *name)
{
	const char	*s = getenv(name);

	return s != NULL && *s != '\0' ? s : NULL;
}

/* Visible ASCII alone, as a header's value or a URL wants it. */
static int
is_plain(const char *s)
{
	for (; *s != '\0'; s++)
		if (*s < 0x21 || *s > 0x7e)
			return 0;
	return 1;
}

static int
add_header(struct batch_api *a, const char *name, const char *var,
    const char *value, struct err *e)
{
	size_t		i = 0;
	struct buf	b;

	if (value == NULL)
		return 0;
	if (!is_plain(value))
		return err_set(e, MSG_USAGE, "%s: it holds what no header "
		    "can: spaces, control or other than ASCII characters",
		    var);
	while (a->header[i] != NULL)
		i++;
	buf_init(&b, API_URL_MAX);
	buf_printf(&b, "%s%s", name, value);
	if (b.over)
		err_set(e, MSG_USAGE, "%s: too long", var);
	else {
		a->header[i] = mem_dup(buf_cstr(&b));
		a->headers[i] = a->header[i];
	}
	if (b.p != NULL)
		memset(b.p, 0, b.len);
	buf_free(&b);
	return a->header[i] != NULL ? 0 : -1;
}

/* http: may a key go there? */
static int
is_loopback(const char *base)
{
	static const char *const	ok[] = { "127.", "localhost",
	    "[::1]" };
	const char			*host = base + strlen("http://");
	size_t				 i, n;

	for (i = 0; i < sizeof(ok) / sizeof(ok[0]); i++) {
		n = strlen(ok[i]);
		if (strncmp(host, ok[i], n) != 0)
			continue;
		if (i == 0) /* an address, not 127.example.org */
			n += strspn(host + n, "0123456789.");
		if (host[n] == '\0' || host[n] == ':' || host[n] == '/')
			return 1;
	}
	return 0;
}

static int
check_base(struct batch_api *a, struct err *e)
{
	const char	*b = a->base;

	if (!remote_is_http(b) || !is_plain(b) ||
	    strpbrk(b, "?#@\"<>\\^`{|}") != NULL ||
	    strlen(b) > API_URL_MAX / 4)
		return err_set(e, MSG_USAGE, "OPENAI_BASE_URL: want the URL "
		    "of a provider, as %s, without user, ? or #", API_BASE);
	if (a->key == NULL || strncmp(b, "https://", 8) == 0)
		return 0;
	if (!is_loopback(b))
		return err_set(e, MSG_USAGE, "OPENAI_BASE_URL: %s: a key is "
		    "not sent over http to another host: want https", b);
	return 0;
}

int
batch_api_open(struct batch_api *a, struct remote *r, const char *url,
    struct err *e)
{
	const char	*base = env("OPENAI_BASE_URL");
	const char	*project = env("OPENAI_PROJECT_ID");
	size_t		 n;

	memset(a, 0, sizeof(*a));
	a->remote = r;
	a->url = url;
	a->base = mem_dup(base != NULL ? base : API_BASE);
	for (n = strlen(a->base); n > 0 && a->base[n - 1] == '/'; n--)
		a->base[n - 1] = '\0';
	cred_guard();
	if (env("OPENAI_API_KEY") != NULL)
		a->key = mem_dup(env("OPENAI_API_KEY"));
	else if (base == NULL)
		return err_set(e, MSG_NOPERM, "%s: OPENAI_API_KEY is not "
		    "set: want the key of %s", url, API_BASE);
	if (project == NULL)
		project = env("OPENAI_PROJECT");
	if (check_base(a, e) == -1 ||
	    add_header(a, "Authorization: Bearer ", "OPENAI_API_KEY",
	    a->key, e) == -1 ||
	    add_header(a, "OpenAI-Organization: ", "OPENAI_ORG_ID",
	    env("OPENAI_ORG_ID"), e) == -1 ||
	    add_header(a, "OpenAI-Project: ", "OPENAI_PROJECT", project,
	    e) == -1)
		return -1;
	return 0;
}

static void
wipe(char *s)
{
	volatile char	*p = s;

	while (p != NULL && *p != '\0')
		*p++ = '\0';
}

void
batch_api_forget(struct batch_api *a)
{
	size_t	i;

	for (i = 0; i < FETCH_BATCH_HEADERS; i++)
		wipe(a->header[i]);
	wipe(a->key);
	wipe(getenv("OPENAI_API_KEY"));
	wipe(getenv("AWS_SECRET_ACCESS_KEY"));
	wipe(getenv("AWS_SESSION_TOKEN"));
}

void
batch_api_clear(struct batch_api *a)
{
	size_t	i;

	for (i = 0; i < FETCH_BATCH_HEADERS; i++) {
		wipe(a->header[i]);
		free(a->header[i]);
	}
	wipe(a->key);
	free(a->key);
	free(a->base);
	net_free(a->own);
}

void
batch_api_mask(const struct batch_api *a, char *text)
{
	size_t	n = a->key != NULL ? strlen(a->key) : 0;
	char	*p;

	for (p = text; *p != '\0'; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';

	/* one of a few bytes is no secret, and would spoil every text */
	if (n < 8)
		return;
	for (p = text; (p = strstr(p, a->key)) != NULL; p += n)
		memset(p, '*', n);
}

/* -- requests ---------------------------------------------------------- */

char *
batch_api_url(const struct batch_api *a, const char *kind, const char *id,
    const char *tail)
{
	struct buf	b;
	char		*s;

	buf_init(&b, API_URL_MAX);
	buf_printf(&b, "%s/%s/", a->base, kind);
	sign_encode(&b, id, 0);
	buf_str(&b, tail);
	s = mem_dup(buf_cstr(&b));
	buf_free(&b);
	return s;
}

struct net *
batch_api_net(struct batch_api *a, struct err *e)
{
	struct net_opts	o;

	if (strncmp(a->base, "https://", 8) == 0 || !is_loopback(a->base))
		return remote_net(a->remote, e);
	if (a->own == NULL) {
		/* a proxy would see the key */
		memset(&o, 0, sizeof(o));
		o.connections = API_CONNECTIONS;
		o.agent = "intact/" MSG_VERSION;
		if ((a->own = net_new(&o, e)) != NULL)
			net_go_direct(a->own);
	}
	return a->own;
}

struct ask {
	struct batch_api	*a;
	struct net		*net;
	const char		*url;
	struct buf		*body;
	int			 status;
};

static int
sink(void *arg, int status, const void *p, size_t n, struct err *e)
{
	struct ask	*k = arg;

	(void)status;
	(void)e;
	buf_add(k->body, p, n);
	return 0;
}

/* What the provider says of a refusal, or "". */
static void
message(const struct ask *k, char *out, size_t size)
{
	struct json	j;
	struct json_val	v;

	out[0] = '\0';
	memset(&j, 0, sizeof(j));
	if (json_find(&j, (const char *)k->body->p, k->body->len, &v,
	    "error", "message", NULL) == 1 && v.type == JSON_STR)
		(void)snprintf(out, size, ": %.*s",
		    v.len < API_SHOWN ? (int)v.len : API_SHOWN, v.str);
	json_clear(&j);
}

static int
refused(struct ask *k, const struct net_res *res, struct err *e)
{
	char	text[API_SHOWN + 8];
	int	code = net_status(res);

	/* what is said of a wrong key quotes it */
	if (res->status == 401)
		return err_set(e, MSG_NOPERM, "%s: %s: status 401: %s",
		    k->a->url, k->url, k->a->key != NULL ?
		    "it does not take the key in OPENAI_API_KEY" :
		    "it wants a key, and OPENAI_API_KEY is not set");
	message(k, text, sizeof(text));
	return err_set(e, code != 0 ? code : MSG_DATAERR,
	    "%s: %s: want status 200, got %d%s", k->a->url, k->url,
	    res->status, text);
}

static int
try(void *arg, enum retry_what *what, int64_t *after, struct err *e)
{
	struct ask	*k = arg;
	struct net_req	 q;
	struct net_res	 res;
	struct err	 sub = { 0, "" };
	int		 rv;

	memset(&q, 0, sizeof(q));
	q.method = "GET";
	q.url = k->url;
	q.headers = k->a->headers;
	q.fd = -1;
	q.max = FETCH_BATCH_OBJECT;
	q.timeout = API_TIMEOUT;
	q.sink = sink;
	q.arg = k;
	buf_reset(k->body);
	k->status = 0;
	if ((rv = net_do(k->net, &q, &res, &sub)) == -1) {
		*what = retry_judge(&res, &sub);
		err_set(e, sub.code, "%s: %s", k->a->url, sub.text);
	} else {
		*what = retry_judge(&res, NULL);
		*after = res.retry_after;
		k->status = res.status;
		if (res.status != 200)
			rv = refused(k, &res, e);
	}
	net_res_clear(&res);
	return rv;
}

int
batch_api_get(struct batch_api *a, const char *url, struct buf *b,
    int *status, struct err *e)
{
	struct ask	 k;
	struct retry	*retry;
	char		*host;
	int		 rv = -1;

	memset(&k, 0, sizeof(k));
	k.a = a;
	k.url = url;
	k.body = b;
	k.net = batch_api_net(a, e);
	retry = k.net != NULL ? remote_retry(a->remote, e) : NULL;
	if (retry != NULL && (host = net_host(url, e)) != NULL) {
		rv = retry_do(retry, host, try, &k, e);
		free(host);
	}
	*status = k.status;
	return rv;
}
