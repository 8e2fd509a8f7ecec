/*
 * sign: SigV4 over hash's HMAC, and of libcrypto only what allocates
 * nothing.  It refuses to sign two headers of one name: servers differ in
 * what they make of them.
 * SPDX-License-Identifier: ISC
 */
#include "sign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "mem.h"
#include "banned.h"

#define SIGN_MAX	((size_t)256 << 10)	/* bytes of a canonical form */
#define SIGN_ALGORITHM	"AWS4-HMAC-SHA256"

void
sign_wipe(void *p, size_t n)
{
	if (p != NULL)
		OPENSSL_cleanse(p, n);
}

void
sign_encode(struct buf *b, const char *s, int slash)
{
	static const char	hex[] = "0123456789ABCDEF";
	unsigned char		c;

	for (; (c = (unsigned char)*s) != '\0'; s++)
		if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		    (c >= '0' && c <= '9') || c == '-' || c == '.' ||
		    c == '_' || c == '~' || (slash && c == '/'))
			buf_addc(b, c);
		else {
			buf_addc(b, '%');
			buf_addc(b, hex[c >> 4]);
			buf_addc(b, hex[c & 15]);
		}
}

/* A pair, encoded; ordered by the encoded name, then the value. */
struct pair {
	char	*name, *value;
};

static int
by_name(const void *a, const void *b)
{
	const struct pair	*x = a, *y = b;
	int			 r = strcmp(x->name, y->name);

	return r != 0 ? r : strcmp(x->value, y->value);
}

static char *
encoded(const char *s)
{
	struct buf	 b;
	char		*p;

	buf_init(&b, SIGN_MAX);
	sign_encode(&b, s, 0);
	p = mem_dup(buf_cstr(&b));
	buf_free(&b);
	return p;
}

void
sign_query(struct buf *b, const struct sign_param *p, size_t n)
{
	struct pair	*v = mem_zero(n + 1, sizeof(*v));
	size_t		 i;

	for (i = 0; i < n; i++) {
		v[i].name = encoded(p[i].name);
		v[i].value = encoded(p[i].value != NULL ? p[i].value : "");
	}
	qsort(v, n, sizeof(*v), by_name);
	for (i = 0; i < n; i++) {
		buf_printf(b, "%s%s=%s", i > 0 ? "&" : "", v[i].name,
		    v[i].value);
		free(v[i].name);
		free(v[i].value);
	}
	free(v);
}

void
sign_date(int64_t ns, char out[SIGN_DATE])
{
	time_t		t = (time_t)(ns / 1000000000);
	struct tm	tm;

	memset(&tm, 0, sizeof(tm));
	if (gmtime_r(&t, &tm) == NULL ||
	    strftime(out, SIGN_DATE, "%Y%m%dT%H%M%SZ", &tm) == 0)
		(void)snprintf(out, SIGN_DATE, "19700101T000000Z");
}

/* "Name:  a  b " as the pair "name", "a b". */
static int
split_header(const char *line, struct pair *h, struct err *e)
{
	const char	*colon = strchr(line, ':');
	size_t		 i, n = 0;
	char		*v;

	if (colon == NULL || colon == line)
		return err_set(e, MSG_SOFTWARE, "sign: a header without a "
		    "name");
	h->name = mem_ndup(line, (size_t)(colon - line));
	for (i = 0; h->name[i] != '\0'; i++)
		if (h->name[i] >= 'A' && h->name[i] <= 'Z')
			h->name[i] += 'a' - 'A';
	v = h->value = mem_dup(colon + 1);
	for (i = 0; v[i] != '\0'; i++)
		if ((v[i] != ' ' && v[i] != '\t') ||
		    (n > 0 && v[n - 1] != ' '))
			v[n++] = v[i] == '\t' ? ' ' : v[i];
	while (n > 0 && v[n - 1] == ' ')
		n--;
	v[n] = '\0';
	return 0;
}

/* The canonical request into c, the names of its headers into names. */
static int
canonical(const struct sign_req *q, struct buf *c, struct buf *names,
    struct err *e)
{
	struct pair	 h[SIGN_HEADERS];
	size_t		 i, n = 0;
	int		 rv = -1;

	memset(h, 0, sizeof(h));
	buf_printf(c, "%s\n%s\n%s\n", q->method, q->path, q->query);
	for (; q->headers[n] != NULL; n++) {
		if (n == SIGN_HEADERS) {
			err_set(e, MSG_SOFTWARE, "sign: more than %d headers",
			    SIGN_HEADERS);
			goto done;
		}
		if (split_header(q->headers[n], &h[n], e) == -1)
			goto done;
	}
	qsort(h, n, sizeof(h[0]), by_name);
	for (i = 0; i < n; i++) {
		if (i > 0 && strcmp(h[i - 1].name, h[i].name) == 0) {
			err_set(e, MSG_SOFTWARE, "sign: header %s twice",
			    h[i].name);
			goto done;
		}
		buf_printf(c, "%s:%s\n", h[i].name, h[i].value);
		buf_printf(names, "%s%s", i > 0 ? ";" : "", h[i].name);
	}
	buf_printf(c, "\n%s\n%s", buf_cstr(names), q->payload);
	if (c->over || names->over)
		err_set(e, MSG_SOFTWARE, "sign: a request of more than %zu "
		    "bytes", SIGN_MAX);
	else
		rv = 0;
done:
	while (n-- > 0) {
		sign_wipe(h[n].value, strlen(h[n].value));
		free(h[n].name);
		free(h[n].value);
	}
	return rv;
}

/* out may be key. */
static void
hmac(const void *key, size_t n, const char *s, unsigned char out[HASH_LEN])
{
	hash_hmac(key, n, s, strlen(s), out);
}

/* The key of the day, of this region and service. */
static void
day_key(const struct sign_req *q, const char *day, const char *secret,
    unsigned char k[HASH_LEN])
{
	size_t	 sz = strlen(secret) + 5;
	char	*s = mem_alloc(sz);

	(void)snprintf(s, sz, "AWS4%s", secret);
	hmac(s, sz - 1, day, k);
	sign_wipe(s, sz);
	free(s);
	hmac(k, HASH_LEN, q->region, k);
	hmac(k, HASH_LEN, q->service, k);
	hmac(k, HASH_LEN, "aws4_request", k);
}

int
sign_v4(struct buf *b, const struct sign_req *q, const struct sign_keys *k,
    struct err *e)
{
	struct buf	c, names, s;
	unsigned char	key[HASH_LEN];
	char		hex[HASH_HEX], day[9];
	int		rv = -1;

	buf_init(&c, SIGN_MAX);
	buf_init(&names, SIGN_MAX);
	buf_init(&s, SIGN_MAX);
	(void)snprintf(day, sizeof(day), "%.8s", q->date);
	if (canonical(q, &c, &names, e) == -1)
		goto done;
	hash_mem(c.p, c.len, key);
	hash_hex(key, hex);
	buf_printf(&s, SIGN_ALGORITHM "\n%s\n%s/%s/%s/aws4_request\n%s",
	    q->date, day, q->region, q->service, hex);
	day_key(q, day, k->secret, key);
	hmac(key, sizeof(key), buf_cstr(&s), key);
	hash_hex(key, hex);
	buf_printf(b, SIGN_ALGORITHM " Credential=%s/%s/%s/%s/aws4_request,"
	    "SignedHeaders=%s,Signature=%s", k->access, day, q->region,
	    q->service, buf_cstr(&names), hex);
	rv = 0;
done:
	sign_wipe(key, sizeof(key));
	if (c.p != NULL)
		sign_wipe(c.p, c.len);
	buf_free(&c);
	buf_free(&names);
	buf_free(&s);
	return rv;
}

void
sign_b64(const void *p, size_t n, char *out)
{
	(void)EVP_EncodeBlock((unsigned char *)out, p, (int)n);
}

int
sign_b64_sha(const char *hex, char out[SIGN_B64_SHA])
{
	unsigned char	d[HASH_LEN];

	if (hash_unhex(hex, d) == -1)
		return -1;
	sign_b64(d, sizeof(d), out);
	return 0;
}

void
sign_b64_md5(const void *p, size_t n, char out[SIGN_B64_MD5])
{
	unsigned char	d[HASH_MD5];

	hash_md5(p, n, d);
	sign_b64(d, sizeof(d), out);
}
