/*
 * tap: TAP output for unit tests: plan, ok, is, done.  No framework.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_TAP_H
#define D_TAP_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int	tap_n, tap_bad;

static void
tap_plan(int n)
{
	printf("1..%d\n", n);
}

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static int
tap_ok(int good, const char *fmt, ...)
{
	va_list	ap;

	printf("%sok %d - ", good ? "" : "not ", ++tap_n);
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	(void)fflush(stdout);
	if (!good)
		tap_bad++;
	return good;
}

static inline int
tap_is(const char *got, const char *want, const char *what)
{
	int	good = got != NULL && strcmp(got, want) == 0;

	if (!tap_ok(good, "%s", what))
		printf("# got  %s\n# want %s\n", got != NULL ? got : "NULL",
		    want);
	return good;
}

static int
tap_done(void)
{
	return tap_bad != 0;
}

#endif
