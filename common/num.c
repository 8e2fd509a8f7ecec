/*
 * num: numbers from text.  It never guesses: what is not wholly a number
 * is none.
 * SPDX-License-Identifier: ISC
 */
#include "num.h"

#include "banned.h"

static const char *const NOT_A_NUMBER = "not a number";

static int
fail(const char **why, const char *reason)
{
	*why = reason;
	return -1;
}

int
num_add(uint64_t a, uint64_t b, uint64_t *out)
{
	if (a > UINT64_MAX - b)
		return -1;
	*out = a + b;
	return 0;
}

int
num_mul(uint64_t a, uint64_t b, uint64_t *out)
{
	if (b != 0 && a > UINT64_MAX / b)
		return -1;
	*out = a * b;
	return 0;
}

/* Digits at s; *end is the first byte that is none. */
static int
digits(const char *s, uint64_t *out, const char **end, const char **why)
{
	uint64_t	 v = 0;
	const char	*p;

	for (p = s; *p >= '0' && *p <= '9'; p++) {
		if (num_mul(v, 10, &v) == -1 ||
		    num_add(v, (uint64_t)(*p - '0'), &v) == -1)
			return fail(why, "too large");
	}
	if (p == s)
		return fail(why, NOT_A_NUMBER);
	*out = v;
	*end = p;
	return 0;
}

int
num_u64(const char *s, uint64_t min, uint64_t max, uint64_t *out,
    const char **why)
{
	const char	*end;
	uint64_t	 v;

	if (digits(s, &v, &end, why) == -1)
		return -1;
	if (*end != '\0')
		return fail(why, NOT_A_NUMBER);
	if (v < min)
		return fail(why, "too small");
	if (v > max)
		return fail(why, "too large");
	*out = v;
	return 0;
}

int
num_i64(const char *s, int64_t *out, const char **why)
{
	uint64_t	v;
	int		neg = *s == '-';

	if (num_u64(s + neg, 0, (uint64_t)INT64_MAX + (neg ? 1U : 0U), &v,
	    why) == -1)
		return -1;
	if (neg)
		*out = v == 0 ? 0 : -(int64_t)(v - 1) - 1;
	else
		*out = (int64_t)v;
	return 0;
}

/* Digits and one unit letter out of units, worth factor[i]; want says so. */
static int
scaled(const char *s, const char *units, const uint64_t *factor,
    const char *want, uint64_t *out, const char **why)
{
	const char	*end;
	uint64_t	 v;
	size_t		 i;

	if (digits(s, &v, &end, why) == -1)
		return -1;
	if (*end == '\0') {
		*out = v;
		return 0;
	}
	for (i = 0; units[i] != '\0'; i++) {
		if (units[i] != *end || end[1] != '\0')
			continue;
		if (num_mul(v, factor[i], out) == -1)
			return fail(why, "too large");
		return 0;
	}
	return fail(why, want);
}

int
num_size(const char *s, uint64_t *out, const char **why)
{
	static const uint64_t f[] = { 1ULL << 10, 1ULL << 20, 1ULL << 30,
		1ULL << 40 };

	return scaled(s, "KMGT", f, "want bytes, or a number with K, M, G or "
	    "T", out, why);
}

int
num_duration(const char *s, uint64_t *out, const char **why)
{
	static const uint64_t f[] = { 1, 60, 3600, 86400, 604800 };

	return scaled(s, "smhdw", f, "want seconds, or a number with s, m, h, "
	    "d or w", out, why);
}

static int
hex(int c)
{
	return c >= '0' && c <= '9' ? c - '0' :
	    c >= 'a' && c <= 'f' ? c - 'a' + 10 :
	    c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int
num_hex2(const char *s)
{
	int	hi = hex((unsigned char)s[0]), lo;

	lo = hi == -1 ? -1 : hex((unsigned char)s[1]);
	return lo == -1 ? -1 : hi << 4 | lo;
}

int64_t
num_days(int64_t y, int64_t m, int64_t d)
{
	/* years begin in March, so that a leap day is the last one */
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

int64_t
num_iso_ns(const char *s, size_t len)
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
	return (((num_days(v[0] * 100 + v[1], v[2], v[3]) * 24 + v[4]) * 60 +
	    v[5]) * 60 + v[6]) * 1000000000 + ns;
}
