/*
 * cred: the sources of keys, one after the other.  It signs nothing, and
 * asks only the metadata services that it is told of, never by a proxy.
 * SPDX-License-Identifier: ISC
 */
#include "cred.h"

#include <sys/resource.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "net.h"
#include "retry.h"
#include "banned.h"

#define CRED_PATH_MAX	4096
#define CRED_URL_MAX	2048
#define CRED_ANSWER_MAX	((size_t)64 << 10)
#define CRED_ECS	"http://169.254.170.2"
#define CRED_IMDS	"http://169.254.169.254"
#define CRED_ROLES	"/latest/meta-data/iam/security-credentials/"

struct cred {
	char		*profile;
	int		 explicit;
	char		*access, *secret, *token;
	int64_t		 expires;	/* ns; 0: never */
	int64_t		 again;		/* ns: not fetched sooner */
	int		 over;		/* the server said so */
	int		 moves;		/* their source may have others */
	char		 from[128];
	struct net	*net;		/* for metadata, or NULL */
};

void
cred_guard(void)
{
	struct rlimit	none = { 0, 0 };

	(void)setrlimit(RLIMIT_CORE, &none);
#ifdef __linux__
	/* a core that goes to a pipe heeds no limit */
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

static void
wipe(char **s)
{
	if (*s != NULL)
		sign_wipe(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

static void
wipe_buf(struct buf *b)
{
	if (b->p != NULL)
		sign_wipe(b->p, b->cap);
	buf_free(b);
}

static const char *
env(const char *name)
{
	const char	*s = getenv(name);

	return s != NULL && *s != '\0' ? s : NULL;
}

/*
 * The files.
 */

/* What of, or ~/.aws/name. NULL: there is no home. */
static const char *
file_path(const char *var, const char *name, char b[CRED_PATH_MAX])
{
	const char	*s = env(var), *home = env("HOME");

	if (s != NULL && strncmp(s, "~/", 2) != 0)
		return s;
	if (home == NULL)
		return NULL;
	if (s != NULL)
		(void)snprintf(b, CRED_PATH_MAX, "%s%s", home, s + 1);
	else
		(void)snprintf(b, CRED_PATH_MAX, "%s/.aws/%s", home, name);
	return b;
}

/* A file's text: 1, 0 there is none, -1. */
static int
read_file(const char *path, struct buf *b, struct err *e)
{
	if (path == NULL || access(path, F_OK) == -1)
		return path == NULL || errno == ENOENT || errno == ENOTDIR ?
		    0 : err_sys(e, errno, "%s", path);
	return io_slurp(AT_FDCWD, path, b, e) == -1 ? -1 : 1;
}

static char *
trimmed(const char *s, size_t n)
{
	while (n > 0 && (*s == ' ' || *s == '\t')) {
		s++;
		n--;
	}
	while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t' ||
	    s[n - 1] == '\r'))
		n--;
	return mem_ndup(s, n);
}

/* "key = value" of a line: the value when it is that key, else NULL. */
static char *
value_of(const char *s, size_t n, const char *key)
{
	const char	*eq = memchr(s, '=', n);
	char		*k, *v = NULL;

	if (eq == NULL)
		return NULL;
	k = trimmed(s, (size_t)(eq - s));
	if (strcmp(k, key) == 0)
		v = trimmed(eq + 1, n - (size_t)(eq - s) - 1);
	free(k);
	return v;
}

/* Is the line, which begins with '[', the head of section? */
static int
is_section(const char *s, size_t n, const char *section)
{
	const char	*end = memchr(s, ']', n);
	char		*name;
	int		 r;

	if (end == NULL)
		return 0;
	name = trimmed(s + 1, (size_t)(end - s) - 1);
	r = strcmp(name, section) == 0;
	free(name);
	return r;
}

/*
 * key of [section], or of the indented lines below "sub =" in it; the
 * caller frees.  *seen: the section is there.
 */
static char *
ini_get(const struct buf *b, const char *section, const char *sub,
    const char *key, int *seen)
{
	const char	*p = (const char *)b->p, *end = p + b->len, *nl;
	char		*v = NULL, *s;
	size_t		 n;
	int		 in = 0, below = 0;

	*seen = 0;
	for (; p < end; p = nl + 1) {
		nl = memchr(p, '\n', (size_t)(end - p));
		if (nl == NULL)
			nl = end;
		n = (size_t)(nl - p);
		if (n == 0 || *p == '#' || *p == ';' || *p == '\r')
			continue;
		if (*p == '[') {
			in = is_section(p, n, section);
			below = 0;
			*seen |= in;
			continue;
		}
		if (!in)
			continue;
		if (*p != ' ' && *p != '\t') {
			s = sub != NULL ? value_of(p, n, sub) : NULL;
			below = s != NULL;
			free(s);
			if (sub != NULL)
				continue;
		} else if (!below || sub == NULL)
			continue;
		s = value_of(p, n, key);
		if (s != NULL) {
			/* the last one counts */
			wipe(&v);
			v = s;
		}
	}
	/* what is empty is not said */
	if (v != NULL && *v == '\0')
		wipe(&v);
	return v;
}

/* The section of a profile in the config file. */
static void
config_section(const char *profile, char *out, size_t sz)
{
	if (strcmp(profile, "default") == 0)
		(void)snprintf(out, sz, "default");
	else
		(void)snprintf(out, sz, "profile %s", profile);
}

static void
default_to(char **s, const char *v)
{
	if (*s == NULL && v != NULL)
		*s = mem_dup(v);
}

/* What the profile of the config file says, into what is still unsaid. */
static int
conf_file(struct cred_conf *c, int *seen, struct err *e)
{
	char		 path[CRED_PATH_MAX], section[256], *s;
	struct buf	 b;
	int		 r, here = 0;

	buf_init(&b, CRED_FILE_MAX);
	r = read_file(file_path("AWS_CONFIG_FILE", "config", path), &b, e);
	if (r != 1)
		goto done;
	config_section(c->profile, section, sizeof(section));
	if (c->region == NULL)
		c->region = ini_get(&b, section, NULL, "region", seen);
	if (c->ca_bundle == NULL)
		c->ca_bundle = ini_get(&b, section, NULL, "ca_bundle", seen);
	c->style = ini_get(&b, section, "s3", "addressing_style", seen);
	s = env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") != NULL ?
	    mem_dup("") : ini_get(&b, section, NULL, "services", &here);
	if (c->endpoint == NULL && s != NULL && *s != '\0') {
		(void)snprintf(section, sizeof(section), "services %s", s);
		c->endpoint = ini_get(&b, section, "s3", "endpoint_url",
		    &here);
		config_section(c->profile, section, sizeof(section));
	}
	if (c->endpoint == NULL && (s == NULL || *s != '\0'))
		c->endpoint = ini_get(&b, section, NULL, "endpoint_url",
		    &here);
	free(s);
done:
	wipe_buf(&b);
	return r == -1 ? -1 : 0;
}

/* Is the profile in the file of keys? */
static int
in_credentials(const char *profile, int *seen, struct err *e)
{
	char		 path[CRED_PATH_MAX], *s;
	struct buf	 b;
	int		 r, here = 0;

	buf_init(&b, CRED_FILE_MAX);
	r = read_file(file_path("AWS_SHARED_CREDENTIALS_FILE", "credentials",
	    path), &b, e);
	if (r == 1) {
		s = ini_get(&b, profile, NULL, "", &here);
		free(s);
		*seen |= here;
	}
	wipe_buf(&b);
	return r == -1 ? -1 : 0;
}

int
cred_conf_load(struct cred_conf *c, const char *profile, struct err *e)
{
	const char	*s = env("AWS_PROFILE");
	int		 seen = 0;

	memset(c, 0, sizeof(*c));
	c->explicit = profile != NULL;
	c->profile = mem_dup(profile != NULL ? profile : s != NULL ? s :
	    "default");
	default_to(&c->region, env("AWS_REGION"));
	default_to(&c->region, env("AWS_DEFAULT_REGION"));
	default_to(&c->ca_bundle, env("AWS_CA_BUNDLE"));
	if (env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") == NULL) {
		default_to(&c->endpoint, env("AWS_ENDPOINT_URL_S3"));
		default_to(&c->endpoint, env("AWS_ENDPOINT_URL"));
	}
	if (conf_file(c, &seen, e) == -1)
		goto fail;
	if (!seen && (profile != NULL || s != NULL)) {
		if (in_credentials(c->profile, &seen, e) == -1)
			goto fail;
		if (!seen) {
			err_set(e, MSG_NOINPUT, "profile %s: it is neither in "
			    "AWS's credentials file nor in its config file",
			    c->profile);
			goto fail;
		}
	}
	default_to(&c->region, CRED_REGION);
	return 0;
fail:
	cred_conf_clear(c);
	return -1;
}

void
cred_conf_clear(struct cred_conf *c)
{
	free(c->profile);
	free(c->region);
	free(c->endpoint);
	free(c->ca_bundle);
	free(c->style);
	memset(c, 0, sizeof(*c));
}

/*
 * The keys.
 */

struct cred *
cred_new(const struct cred_conf *conf)
{
	struct cred	*c = mem_zero(1, sizeof(*c));

	cred_guard();
	c->profile = mem_dup(conf->profile);
	c->explicit = conf->explicit;
	return c;
}

static void
drop(struct cred *c)
{
	wipe(&c->access);
	wipe(&c->secret);
	wipe(&c->token);
	c->expires = c->again = 0;
	c->over = c->moves = 0;
}

void
cred_free(struct cred *c)
{
	if (c == NULL)
		return;
	drop(c);
	net_free(c->net);
	free(c->profile);
	free(c);
}

int
cred_expired(struct cred *c)
{
	c->over = 1;
	return c->moves ? 0 : -1;
}

/* A line for a header: nothing in it may end one. */
static int
is_clean(const char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s <= 0x20 || (unsigned char)*s >= 0x7f)
			return 0;
	return 1;
}

/* Takes the strings over: 1, or -1. */
static int
take(struct cred *c, char *id, char *secret, char *token, struct err *e)
{
	drop(c);
	c->access = id;
	c->secret = secret;
	c->token = token;
	if (token != NULL && *token == '\0')
		wipe(&c->token);
	if (id == NULL || secret == NULL || *id == '\0' || *secret == '\0')
		err_set(e, MSG_NOPERM, "credentials from %s: want a key id "
		    "and a secret key", c->from);
	else if (!is_clean(id) || !is_clean(secret) ||
	    (c->token != NULL && !is_clean(c->token)))
		err_set(e, MSG_NOPERM, "credentials from %s: spaces or "
		    "control characters in them", c->from);
	else
		return 1;
	drop(c);
	return -1;
}

/* Each source: 1 it has them, 0 it is not one here, -1. */

static int
from_env(struct cred *c, struct err *e)
{
	const char	*id = env("AWS_ACCESS_KEY_ID");
	const char	*secret = env("AWS_SECRET_ACCESS_KEY");
	const char	*token = env("AWS_SESSION_TOKEN");

	if (c->explicit || (id == NULL && secret == NULL))
		return 0;
	(void)snprintf(c->from, sizeof(c->from), "the environment");
	return take(c, id != NULL ? mem_dup(id) : NULL,
	    secret != NULL ? mem_dup(secret) : NULL,
	    token != NULL ? mem_dup(token) : NULL, e);
}

static int
from_file(struct cred *c, const char *path, const char *section,
    struct err *e)
{
	static const char *const	other[] = { "role_arn", "sso_session",
		"sso_start_url", "credential_process",
		"web_identity_token_file" };
	struct buf	 b;
	char		*id = NULL, *secret = NULL, *token = NULL, *s;
	size_t		 i;
	int		 r, seen;

	buf_init(&b, CRED_FILE_MAX);
	r = read_file(path, &b, e);
	if (r != 1)
		goto done;
	(void)snprintf(c->from, sizeof(c->from), "profile %s", c->profile);
	id = ini_get(&b, section, NULL, "aws_access_key_id", &seen);
	secret = ini_get(&b, section, NULL, "aws_secret_access_key", &seen);
	token = ini_get(&b, section, NULL, "aws_session_token", &seen);
	if (id != NULL || secret != NULL) {
		r = take(c, id, secret, token, e);
		c->moves = 1; /* people's tools renew them in there */
		goto done;
	}
	wipe(&token);
	r = 0;
	for (i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		s = ini_get(&b, section, NULL, other[i], &seen);
		if (s != NULL && r == 0)
			r = err_set(e, MSG_NOPERM, "profile %s: %s is not "
			    "done here: export the keys themselves (aws "
			    "configure export-credentials --format env)",
			    c->profile, other[i]);
		free(s);
	}
done:
	wipe_buf(&b);
	return r;
}

static int
from_files(struct cred *c, struct err *e)
{
	char		path[CRED_PATH_MAX], section[256];
	int		r;

	r = from_file(c, file_path("AWS_SHARED_CREDENTIALS_FILE",
	    "credentials", path), c->profile, e);
	if (r != 0)
		return r;
	config_section(c->profile, section, sizeof(section));
	return from_file(c, file_path("AWS_CONFIG_FILE", "config", path),
	    section, e);
}

/* An answer's body, kept. */
static int
keep(void *arg, int status, const void *p, size_t n, struct err *e)
{
	(void)status;
	(void)e;
	buf_add(arg, p, n);
	return 0;
}

/*
 * One request to a metadata service: 1 and its body, 0 a status that says
 * that there is nothing, -1 it did not answer.  header may be NULL.
 */
static int
ask(struct cred *c, const char *method, const char *url, const char *header,
    struct buf *b, struct err *e)
{
	const char	*headers[] = { header, NULL };
	struct net_opts	 o = { 1, NULL, "intact/" MSG_VERSION };
	struct net_req	 q;
	struct net_res	 r;
	int		 tries, rv = -1;

	if (c->net == NULL && (c->net = net_new(&o, e)) == NULL)
		return -1;
	memset(&q, 0, sizeof(q));
	q.method = method;
	q.url = url;
	q.headers = headers;
	q.fd = -1;
	q.max = CRED_ANSWER_MAX;
	q.timeout = CRED_META_S;
	q.flags = NET_NOREDIR | NET_NOPROXY;
	q.sink = keep;
	q.arg = b;
	for (tries = 0; tries < 3; tries++) {
		e->code = 0;
		buf_reset(b);
		rv = net_do(c->net, &q, &r, e);
		if (rv == 0 && net_class(&r) != NET_TRANSIENT)
			rv = r.status == 200 ? 1 : 0;
		else if (rv == 0)
			rv = err_set(e, MSG_TEMPFAIL, "metadata service: "
			    "status %d", r.status);
		else if (!r.sent) {
			/* nobody is there, and that is an answer */
			net_res_clear(&r);
			return -1;
		}
		net_res_clear(&r);
		if (rv != -1 || retry_sleep(0.2 * (tries + 1), e) == -1)
			break;
	}
	return rv;
}

static char *
member(const struct buf *b, const char *name)
{
	struct json	 j;
	struct json_val	 v;
	char		*s = NULL;

	json_init(&j, (const char *)b->p, b->len);
	if (b->len > 0 && json_find(&j, (const char *)b->p, b->len, &v, name,
	    (const char *)NULL) == 1 && v.type == JSON_STR)
		s = mem_ndup(v.str, v.len);
	json_clear(&j);
	return s;
}

/* {"AccessKeyId": ..., "Expiration": ...} */
static int
take_json(struct cred *c, const struct buf *b, struct err *e)
{
	char	*until = member(b, "Expiration");
	int	 r;

	r = take(c, member(b, "AccessKeyId"), member(b, "SecretAccessKey"),
	    member(b, "Token"), e);
	if (r == 1) {
		c->moves = 1;
		c->expires = until != NULL ? net_date(until, strlen(until)) :
		    0;
	}
	free(until);
	return r;
}

/* May keys be sent for there without TLS? */
static int
is_local_service(const char *url)
{
	static const char *const	ok[] = { "http://127.",
		"http://localhost", "http://[::1]", "http://169.254.170.2",
		"http://169.254.170.23", "http://[fd00:ec2::23]" };
	size_t	i, n;

	if (strncmp(url, "https://", 8) == 0)
		return 1;
	for (i = 0; i < sizeof(ok) / sizeof(ok[0]); i++) {
		n = strlen(ok[i]);
		if (strncmp(url, ok[i], n) != 0)
			continue;
		if (i == 0) /* an address, not 127.example.org */
			n += strspn(url + n, "0123456789.");
		if (url[n] == '\0' || url[n] == ':' || url[n] == '/')
			return 1;
	}
	return 0;
}

static int
from_container(struct cred *c, struct err *e)
{
	const char	*rel = env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char	*full = env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	const char	*file = env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	const char	*token = env("AWS_CONTAINER_AUTHORIZATION_TOKEN");
	char		 url[CRED_URL_MAX];
	struct buf	 b, h, f;
	int		 r = -1;

	if (rel == NULL && full == NULL)
		return 0;
	buf_init(&b, CRED_ANSWER_MAX);
	buf_init(&h, CRED_ANSWER_MAX);
	buf_init(&f, CRED_ANSWER_MAX);
	(void)snprintf(c->from, sizeof(c->from), "the container");
	if (rel != NULL)
		(void)snprintf(url, sizeof(url), CRED_ECS "%s%s",
		    *rel == '/' ? "" : "/", rel);
	else
		(void)snprintf(url, sizeof(url), "%s", full);
	if (!is_local_service(url)) {
		err_set(e, MSG_NOPERM, "AWS_CONTAINER_CREDENTIALS_FULL_URI: "
		    "want https, or an address of this machine");
		goto done;
	}
	if (file != NULL) {
		if (io_slurp(AT_FDCWD, file, &f, e) == -1)
			goto done;
		while (f.len > 0 && (f.p[f.len - 1] == '\n' ||
		    f.p[f.len - 1] == '\r'))
			f.len--;
		token = buf_cstr(&f);
	}
	if (token != NULL)
		buf_printf(&h, "Authorization: %s", token);
	r = ask(c, "GET", url, token != NULL ? buf_cstr(&h) : NULL, &b, e);
	if (r == 0)
		r = err_set(e, MSG_NOPERM, "credentials of the container: "
		    "the service refuses");
	else if (r == 1)
		r = take_json(c, &b, e);
done:
	wipe_buf(&b);
	wipe_buf(&h);
	wipe_buf(&f);
	return r;
}

static int
from_instance(struct cred *c, struct err *e)
{
	const char	*base = env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
	const char	*off = env("AWS_EC2_METADATA_DISABLED");
	char		 url[CRED_URL_MAX];
	struct buf	 b, h;
	struct err	 none = { 0, "" };
	size_t		 n;
	int		 r = 0;

	if (off != NULL && strcmp(off, "true") == 0)
		return 0;
	if (base == NULL)
		base = CRED_IMDS;
	n = strlen(base);
	while (n > 0 && base[n - 1] == '/')
		n--;
	buf_init(&b, CRED_ANSWER_MAX);
	buf_init(&h, CRED_ANSWER_MAX);
	(void)snprintf(c->from, sizeof(c->from), "the instance");
	(void)snprintf(url, sizeof(url), "%.*s/latest/api/token", (int)n,
	    base);
	/* no answer, no such service: not on an instance */
	if (ask(c, "PUT", url, "X-aws-ec2-metadata-token-ttl-seconds: 21600",
	    &b, &none) != 1 || b.len == 0 || b.len > 1024 ||
	    !is_clean(buf_cstr(&b)))
		goto done;
	buf_printf(&h, "X-aws-ec2-metadata-token: %s", buf_cstr(&b));
	(void)snprintf(url, sizeof(url), "%.*s" CRED_ROLES, (int)n, base);
	r = ask(c, "GET", url, buf_cstr(&h), &b, e);
	if (r != 1)
		goto done;
	/* the first line is the role */
	(void)buf_cstr(&b);
	b.p[strcspn((char *)b.p, "\r\n")] = '\0';
	r = 0;
	if (b.p[0] == '\0' || !is_clean((char *)b.p) ||
	    strpbrk((char *)b.p, "/?#%") != NULL)
		goto done;
	(void)snprintf(url, sizeof(url), "%.*s" CRED_ROLES "%.512s", (int)n,
	    base, (char *)b.p);
	r = ask(c, "GET", url, buf_cstr(&h), &b, e);
	if (r == 0)
		r = err_set(e, MSG_NOPERM, "credentials of the instance: "
		    "the service refuses");
	else if (r == 1)
		r = take_json(c, &b, e);
done:
	wipe_buf(&b);
	wipe_buf(&h);
	return r;
}

/* Fetch them: 0, or -1. */
static int
fetch(struct cred *c, struct err *e)
{
	int	r = from_env(c, e);

	if (r == 0)
		r = from_files(c, e);
	if (r == 0 && !c->explicit)
		r = from_container(c, e);
	if (r == 0 && !c->explicit)
		r = from_instance(c, e);
	if (r == 0)
		return err_set(e, MSG_NOPERM, "no credentials for S3: set "
		    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a "
		    "profile in ~/.aws/credentials (AWS_PROFILE)");
	return r == 1 ? 0 : -1;
}

int
cred_get(struct cred *c, struct sign_keys *k, struct err *e)
{
	struct err	try = { 0, "" };
	int64_t		now = io_wall_ns(), end = c->expires;
	struct cred	old;
	int		due;

	due = c->over || (end != 0 && now >= c->again &&
	    now > end - (int64_t)CRED_EARLY_S * 1000000000);
	if (c->access == NULL) {
		if (fetch(c, e) == -1)
			return -1;
	} else if (due) {
		/* the old ones serve as long as they last */
		old = *c;
		c->access = c->secret = c->token = NULL;
		if (fetch(c, &try) == 0) {
			wipe(&old.access);
			wipe(&old.secret);
			wipe(&old.token);
		} else {
			drop(c);
			c->access = old.access;
			c->secret = old.secret;
			c->token = old.token;
			c->expires = old.expires;
			c->moves = old.moves;
			c->again = now + (int64_t)CRED_AGAIN_S * 1000000000;
			if (end != 0 && now >= end)
				return err_set(e, try.code, "%s", try.text);
		}
	}
	k->access = c->access;
	k->secret = c->secret;
	k->token = c->token;
	return 0;
}
