/*
 * num: numbers from text, with bounds and a reason; sums that cannot wrap;
 * days and times as text has them.  Where it is not said otherwise, it
 * accepts decimal digits only: no sign, space or hex slips through.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_NUM_H
#define D_NUM_H

#include <stddef.h>
#include <stdint.h>

/*
 * Each returns 0 and sets *out, or returns -1 and sets *why to a literal
 * such as "not a number", "too small", "too large".
 */
int	num_u64(const char *s, uint64_t min, uint64_t max, uint64_t *out,
	    const char **why);
/* An optional leading '-'. */
int	num_i64(const char *s, int64_t *out, const char **why);
/* Bytes: digits and an optional K, M, G or T (powers of 1024). */
int	num_size(const char *s, uint64_t *out, const char **why);
/* Seconds: digits and an optional s, m, h, d or w. */
int	num_duration(const char *s, uint64_t *out, const char **why);

/* Checked: 0, or -1 when the result does not fit. */
int	num_add(uint64_t a, uint64_t b, uint64_t *out);
int	num_mul(uint64_t a, uint64_t b, uint64_t *out);

/* The two hex digits at s, 0 to 255; -1: they are none. */
int	num_hex2(const char *s);
/* Days since 1970 of a day of the Gregorian calendar, month and day from 1. */
int64_t	num_days(int64_t y, int64_t m, int64_t d);
/* 2013-05-24T00:00:00[.000]Z, len bytes: ns since 1970; 0: that is none. */
int64_t	num_iso_ns(const char *s, size_t len);

#endif
