/*
 * Unit test of late: a library that is there, one that is not, and one
 * that lacks a function.
 * SPDX-License-Identifier: ISC
 */
#include "late.h"

#include <string.h>

#include "arc.h"
#include "net.h"
#include "tap.h"

static double	(*root)(double);
static void	(*none)(void);

int
main(void)
{
	static const struct late	good[] = { { "sqrt", &root } };
	static const struct late	bad[] = {
		{ "sqrt", &root }, { "late_is_not_in_it", &none }
	};
	struct err	e = { 0, "" };
	int		done = 0, not_done = 0;

	tap_plan(10);
	tap_ok(late_load(&done, "libm.so.6", good, 1, &e) == 0,
	    "a library that is there");
	tap_ok(done == 1, "is loaded");
	tap_ok(root != NULL && root(9.0) > 2.9 && root(9.0) < 3.1,
	    "and its function works");
	tap_ok(late_load(&done, "nowhere.so.1", good, 1, &e) == 0,
	    "once is enough");
	tap_ok(late_load(&not_done, "nowhere.so.1", good, 1, &e) == -1,
	    "one that is not there");
	tap_ok(e.code == MSG_IOERR && strstr(e.text, "nowhere.so.1: ") ==
	    e.text && not_done == 0, "is named: %s", e.text);
	e.code = 0;
	tap_ok(late_load(&not_done, "libm.so.6", bad, 2, &e) == -1,
	    "one that lacks a function");
	tap_ok(strstr(e.text, "late_is_not_in_it") != NULL && not_done == 0,
	    "names it: %s", e.text);
	tap_ok(arc_load(&e) == 0, "libarchive has what arc calls");
	tap_ok(net_load(&e) == 0, "libcurl has what net calls");
	return tap_done();
}
