/*
 * json: a pull parser that proves what it passes on (RFC 8259, UTF-8, no
 * lone surrogates) and a canonical writer.  It builds no tree.
 * SPDX-License-Identifier: ISC
 */
#include "json.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "path.h"
#include "banned.h"

#define JSON_NUM_MAX 512	/* bytes of a number's text */

void
json_init(struct json *j, const char *s, size_t len)
{
	memset(j, 0, sizeof(*j));
	j->s = s;
	j->len = len;
	buf_init(&j->key, len + 1);
	buf_init(&j->str, len + 1);
}

void
json_clear(struct json *j)
{
	buf_free(&j->key);
	buf_free(&j->str);
}

static enum json_type
bad(struct json *j, struct json_val *v, const char *why)
{
	j->why = why;
	j->pos = j->len;
	j->done = 1;
	j->depth = 0;
	v->type = JSON_BAD;
	return JSON_BAD;
}

static void
space(struct json *j)
{
	while (j->pos < j->len && (j->s[j->pos] == ' ' ||
	    j->s[j->pos] == '\t' || j->s[j->pos] == '\n' ||
	    j->s[j->pos] == '\r'))
		j->pos++;
}

static int
hex4(const char *s, unsigned int *out)
{
	unsigned int	v = 0;
	int		i;

	for (i = 0; i < 4; i++) {
		v <<= 4;
		if (s[i] >= '0' && s[i] <= '9')
			v |= (unsigned int)(s[i] - '0');
		else if (s[i] >= 'a' && s[i] <= 'f')
			v |= (unsigned int)(s[i] - 'a' + 10);
		else if (s[i] >= 'A' && s[i] <= 'F')
			v |= (unsigned int)(s[i] - 'A' + 10);
		else
			return -1;
	}
	*out = v;
	return 0;
}

static void
put_utf8(struct buf *b, unsigned int c)
{
	if (c < 0x80) {
		buf_addc(b, (int)c);
	} else if (c < 0x800) {
		buf_addc(b, (int)(0xc0 | c >> 6));
		buf_addc(b, (int)(0x80 | (c & 0x3f)));
	} else if (c < 0x10000) {
		buf_addc(b, (int)(0xe0 | c >> 12));
		buf_addc(b, (int)(0x80 | (c >> 6 & 0x3f)));
		buf_addc(b, (int)(0x80 | (c & 0x3f)));
	} else {
		buf_addc(b, (int)(0xf0 | c >> 18));
		buf_addc(b, (int)(0x80 | (c >> 12 & 0x3f)));
		buf_addc(b, (int)(0x80 | (c >> 6 & 0x3f)));
		buf_addc(b, (int)(0x80 | (c & 0x3f)));
	}
}

/* One \escape at j->pos (past the backslash) into b. */
static int
escape(struct json *j, struct buf *b)
{
	static const char	from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char		*p;
	unsigned int		 c, lo;

	if (j->pos >= j->len)
		return -1;
	if (j->s[j->pos] != 'u') {
		p = j->s[j->pos] != '\0' ? strchr(from, j->s[j->pos]) : NULL;
		if (p == NULL)
			return -1;
		buf_addc(b, to[p - from]);
		j->pos++;
		return 0;
	}
	if (j->len - j->pos < 5 || hex4(j->s + j->pos + 1, &c) == -1)
		return -1;
	j->pos += 5;
	if (c >= 0xdc00 && c <= 0xdfff)
		return -1;
	if (c >= 0xd800 && c <= 0xdbff) {
		if (j->len - j->pos < 6 || j->s[j->pos] != '\\' ||
		    j->s[j->pos + 1] != 'u' ||
		    hex4(j->s + j->pos + 2, &lo) == -1 || lo < 0xdc00 ||
		    lo > 0xdfff)
			return -1;
		j->pos += 6;
		c = 0x10000 + ((c - 0xd800) << 10) + (lo - 0xdc00);
	}
	put_utf8(b, c);
	return 0;
}

/* A string at the opening quote; a view, or a copy in b when escaped. */
static int
string(struct json *j, struct buf *b, const char **s, size_t *len,
    const char **why)
{
	size_t	start = ++j->pos, run;
	int	copied = 0;

	*why = "string without end";
	buf_reset(b);
	for (run = start; j->pos < j->len;) {
		unsigned char	c = (unsigned char)j->s[j->pos];

		if (c == '"') {
			if (copied) {
				buf_add(b, j->s + run, j->pos - run);
				*s = buf_cstr(b);
				*len = b->len;
			} else {
				*s = j->s + start;
				*len = j->pos - start;
			}
			j->pos++;
			if (!path_utf8(*s, *len)) {
				*why = "string is not UTF-8";
				return -1;
			}
			return 0;
		}
		if (c < 0x20) {
			*why = "control byte in string";
			return -1;
		}
		if (c != '\\') {
			j->pos++;
			continue;
		}
		buf_add(b, j->s + run, j->pos - run);
		copied = 1;
		j->pos++;
		if (escape(j, b) == -1) {
			*why = "bad escape in string";
			return -1;
		}
		run = j->pos;
	}
	return -1;
}

static size_t
run_of_digits(const char *s, size_t i, size_t n)
{
	while (i < n && s[i] >= '0' && s[i] <= '9')
		i++;
	return i;
}

static int
number(struct json *j, struct json_val *v)
{
	const char	*s = j->s;
	char		 b[JSON_NUM_MAX + 1], *end;
	size_t		 i = j->pos, start = i, d;
	int		 neg = 0, isint = 1;
	uint64_t	 u = 0;

	if (s[i] == '-') {
		neg = 1;
		i++;
	}
	d = run_of_digits(s, i, j->len);
	if (d == i || (s[i] == '0' && d > i + 1))
		return -1;
	i = d;
	if (i < j->len && s[i] == '.') {
		isint = 0;
		d = run_of_digits(s, i + 1, j->len);
		if (d == i + 1)
			return -1;
		i = d;
	}
	if (i < j->len && (s[i] == 'e' || s[i] == 'E')) {
		isint = 0;
		i++;
		if (i < j->len && (s[i] == '+' || s[i] == '-'))
			i++;
		d = run_of_digits(s, i, j->len);
		if (d == i)
			return -1;
		i = d;
	}
	if (i - start > JSON_NUM_MAX)
		return -1;
	memcpy(b, s + start, i - start);
	b[i - start] = '\0';
	j->pos = i;
	if (isint) {
		const char	*p = b + neg;

		for (; *p != '\0'; p++) {
			if (u > (UINT64_MAX - 9) / 10)
				break;
			u = u * 10 + (uint64_t)(*p - '0');
		}
		if (*p == '\0' && u <= (uint64_t)INT64_MAX + (uint64_t)neg &&
		    !(neg && u == 0)) {
			v->type = JSON_INT;
			v->i = neg ? -(int64_t)(u - 1) - 1 : (int64_t)u;
			return 0;
		}
	}
	v->type = JSON_FLOAT;
	v->f = strtod(b, &end);
	return *end == '\0' && isfinite(v->f) ? 0 : -1;
}

static int
literal(struct json *j, const char *word)
{
	size_t	n = strlen(word);

	if (j->len - j->pos < n || memcmp(j->s + j->pos, word, n) != 0)
		return -1;
	j->pos += n;
	return 0;
}

static enum json_type
value(struct json *j, struct json_val *v)
{
	const char	*why;

	if (j->pos >= j->len)
		return bad(j, v, "text ends early");
	v->raw = j->s + j->pos;
	switch (j->s[j->pos]) {
	case '{':
	case '[':
		if (j->depth >= JSON_DEPTH)
			return bad(j, v, "nested too deep");
		j->kind[j->depth] = j->s[j->pos];
		j->first[j->depth++] = 1;
		v->type = j->s[j->pos++] == '{' ? JSON_OBJ : JSON_ARR;
		return v->type;
	case '"':
		if (string(j, &j->str, &v->str, &v->len, &why) == -1)
			return bad(j, v, why);
		v->type = JSON_STR;
		break;
	case 't':
		if (literal(j, "true") == -1)
			return bad(j, v, "unknown word");
		v->type = JSON_BOOL;
		v->i = 1;
		break;
	case 'f':
		if (literal(j, "false") == -1)
			return bad(j, v, "unknown word");
		v->type = JSON_BOOL;
		v->i = 0;
		break;
	case 'n':
		if (literal(j, "null") == -1)
			return bad(j, v, "unknown word");
		v->type = JSON_NULL;
		break;
	default:
		if (number(j, v) == -1)
			return bad(j, v, "not a JSON value");
		break;
	}
	v->raw_len = (size_t)(j->s + j->pos - v->raw);
	if (j->depth == 0)
		j->done = 1;
	return v->type;
}

enum json_type
json_next(struct json *j, struct json_val *v)
{
	const char	*why;
	int		 obj;
	char		 close;

	memset(v, 0, sizeof(*v));
	if (j->why != NULL) {
		v->type = JSON_BAD;
		return JSON_BAD;
	}
	space(j);
	if (j->depth == 0) {
		if (!j->done)
			return value(j, v);
		if (j->pos != j->len)
			return bad(j, v, "text after the value");
		v->type = JSON_EOF;
		return JSON_EOF;
	}
	obj = j->kind[j->depth - 1] == '{';
	close = obj ? '}' : ']';
	if (j->pos >= j->len)
		return bad(j, v, "text ends early");
	if (j->s[j->pos] == close) {
		v->raw = j->s + j->pos++;
		if (--j->depth == 0)
			j->done = 1;
		v->type = JSON_CLOSE;
		return JSON_CLOSE;
	}
	if (!j->first[j->depth - 1]) {
		if (j->s[j->pos] != ',')
			return bad(j, v, "comma expected");
		j->pos++;
		space(j);
	}
	j->first[j->depth - 1] = 0;
	if (obj) {
		if (j->pos >= j->len || j->s[j->pos] != '"')
			return bad(j, v, "key expected");
		if (string(j, &j->key, &v->key, &v->key_len, &why) == -1)
			return bad(j, v, why);
		space(j);
		if (j->pos >= j->len || j->s[j->pos] != ':')
			return bad(j, v, "colon expected");
		j->pos++;
		space(j);
	}
	return value(j, v);
}

int
json_more(struct json *j, struct json_val *v)
{
	switch (json_next(j, v)) {
	case JSON_CLOSE:
		return 0;
	case JSON_EOF:
		(void)bad(j, v, "text ends early");
		return -1;
	case JSON_BAD:
		return -1;
	case JSON_NULL:
	case JSON_BOOL:
	case JSON_INT:
	case JSON_FLOAT:
	case JSON_STR:
	case JSON_ARR:
	case JSON_OBJ:
		break;
	}
	return 1;
}

int
json_is(const struct json_val *v, const char *key)
{
	return v->key != NULL && v->key_len == strlen(key) &&
	    memcmp(v->key, key, v->key_len) == 0;
}

int
json_skip(struct json *j)
{
	struct json_val	v;
	int		depth = j->depth;

	while (j->depth >= depth)
		if (json_next(j, &v) == JSON_BAD)
			return -1;
	return 0;
}

int
json_pass(struct json *j, const struct json_val *v)
{
	return v->type == JSON_ARR || v->type == JSON_OBJ ? json_skip(j) : 0;
}

int
json_find(struct json *j, const char *s, size_t len, struct json_val *v, ...)
{
	va_list		 ap;
	const char	*want;
	struct json_val	 end;
	int		 r;

	json_clear(j);
	json_init(j, s, len);
	va_start(ap, v);
	(void)json_next(j, v);
	while ((want = va_arg(ap, const char *)) != NULL) {
		if (v->type != JSON_OBJ)
			break;
		while ((r = json_more(j, v)) == 1 && !json_is(v, want))
			(void)json_pass(j, v); /* bad stays bad */
		if (r != 1)
			break;
	}
	va_end(ap);
	if (v->type == JSON_BAD)
		return -1;
	if (want != NULL)
		return 0;
	if (v->type == JSON_OBJ || v->type == JSON_ARR) {
		end = *v;
		if (json_skip(j) == -1)
			return -1;
		end.raw_len = (size_t)(j->s + j->pos - end.raw);
		*v = end;
	}
	return 1;
}

int
json_valid(const char *s, size_t len)
{
	struct json	j;
	struct json_val	v;
	enum json_type	t;

	json_init(&j, s, len);
	do
		t = json_next(&j, &v);
	while (t != JSON_EOF && t != JSON_BAD);
	json_clear(&j);
	return t == JSON_EOF;
}

void
json_put_str(struct buf *b, const char *s, size_t len)
{
	size_t	i, run = 0;

	buf_addc(b, '"');
	for (i = 0; i < len; i++) {
		unsigned char	c = (unsigned char)s[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		buf_add(b, s + run, i - run);
		run = i + 1;
		if (c < 0x20)
			buf_printf(b, "\\u%04x", c);
		else {
			buf_addc(b, '\\');
			buf_addc(b, c);
		}
	}
	if (run < len)
		buf_add(b, s + run, len - run);
	buf_addc(b, '"');
}

void
json_put_int(struct buf *b, int64_t v)
{
	buf_printf(b, "%lld", (long long)v);
}

/*
 * The common case of json_put_float without a printf: v from 1e-4 to below
 * 1e15, in arithmetic of 64 bits or more.  0 where a rounding is too close
 * to call, and printf must decide.
 */
#if LDBL_MANT_DIG >= 64 && UINTPTR_MAX > 0xffffffffU
#define JSON_CLOSE_CALL 0.015625L	/* twice the error of a product */

/* 1 n / scale reads back as a, 0 it does not, -1 too close to call. */
static int
reads_back(uint64_t n, long double scale, double a)
{
	long double	y = (long double)n / scale;
	uint64_t	low;
	int		exp;

	low = (uint64_t)ldexpl(frexpl(y, &exp), 64) & 0x7ff;
	if (low >= 0x3ff && low <= 0x401)
		return -1;
	return (double)y == a;
}

static int
quick_float(double v, char t[40])
{
	static const long double	p10[] = {
		1e0L, 1e1L, 1e2L, 1e3L, 1e4L, 1e5L, 1e6L, 1e7L, 1e8L, 1e9L,
		1e10L, 1e11L, 1e12L, 1e13L, 1e14L, 1e15L, 1e16L, 1e17L,
		1e18L, 1e19L, 1e20L
	};
	/* emulators, and some systems' settings, give less than promised */
	volatile long double one = 1;
	double		a = fabs(v);
	long double	x, frac;
	uint64_t	n = 0;
	char		d[20], *s = t;
	int		e10 = 14, p, i, back;

	if (!(a >= 1e-4 && a < 1e15) || one + 0x1p-62L == one)
		return 0;
	while (e10 >= 0 && (long double)a < p10[e10])
		e10--;
	if (e10 < 0)
		for (e10 = -1; (long double)a * p10[-e10] < 1; e10--)
			;
	for (p = 15; p <= 17; p++) {
		x = (long double)a * p10[p - 1 - e10];
		n = (uint64_t)x;
		frac = x - (long double)n;
		if (fabsl(frac - 0.5L) < JSON_CLOSE_CALL)
			return 0;
		n += frac > 0.5L;
		if ((long double)n >= p10[p])
			return 0;
		back = p == 17 ? 1 : reads_back(n, p10[p - 1 - e10], a);
		if (back == -1)
			return 0;
		if (back)
			break;
	}
	for (i = p; i-- > 0; n /= 10)
		d[i] = (char)('0' + n % 10);
	while (p > 1 && d[p - 1] == '0')
		p--;
	if (v < 0)
		*s++ = '-';
	if (e10 < 0) {
		*s++ = '0';
		*s++ = '.';
		for (i = -1; i > e10; i--)
			*s++ = '0';
	}
	for (i = 0; i < p || i <= e10; i++) {
		if (i == e10 + 1 && e10 >= 0)
			*s++ = '.';
		*s++ = i < p ? d[i] : '0';
	}
	*s = '\0';
	return 1;
}
#else
static int
quick_float(double v, char t[40])
{
	(void)v;
	(void)t;
	return 0;
}
#endif

void
json_put_float(struct buf *b, double v)
{
	char	t[40];
	int	p;

	for (p = quick_float(v, t) ? 18 : 15; p <= 17; p++) {
		(void)snprintf(t, sizeof(t), "%.*g", p, v);
		if (strtod(t, NULL) == v)
			break;
	}
	buf_str(b, t);
	if (strpbrk(t, ".e") == NULL)
		buf_str(b, ".0");
}

void
json_put_key(struct buf *b, const char *key)
{
	if (b->len != 0 && b->p[b->len - 1] != '{' &&
	    b->p[b->len - 1] != '[')
		buf_addc(b, ',');
	json_put_str(b, key, strlen(key));
	buf_addc(b, ':');
}

void
json_put_kstr(struct buf *b, const char *key, const char *s)
{
	json_put_key(b, key);
	json_put_str(b, s, strlen(s));
}

void
json_put_kint(struct buf *b, const char *key, int64_t v)
{
	json_put_key(b, key);
	json_put_int(b, v);
}
