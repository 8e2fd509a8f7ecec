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

/* Digits and one unit letter out of units, worth factor[i]. */
static int
scaled(const char *s, const char *units, const uint64_t *factor,
    uint64_t *out, const char **why)
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
	return fail(why, "unknown unit");
}

int
num_size(const char *s, uint64_t *out, const char **why)
{
	static const uint64_t f[] = { 1ULL << 10, 1ULL << 20, 1ULL << 30,
		1ULL << 40 };

	return scaled(s, "KMGT", f, out, why);
}

int
num_duration(const char *s, uint64_t *out, const char **why)
{
	static const uint64_t f[] = { 1, 60, 3600, 86400, 604800 };

	return scaled(s, "smhdw", f, out, why);
}
