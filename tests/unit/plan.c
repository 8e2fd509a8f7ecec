/*
 * plan, path, num: what people write by hand.
 * SPDX-License-Identifier: ISC
 */
#include <stdlib.h>
#include <string.h>

#include "num.h"
#include "path.h"
#include "plan.h"
#include "tap.h"

static int
line(struct plan *p, const char *s)
{
	struct err	e = { 0, "" };

	return plan_add_line(p, s, "plan", 1, &e) == 0 ? 0 : e.code;
}

static int
abs_is(const char *url, const char *want)
{
	struct err	 e = { 0, "" };
	char		*s = path_from_url(url, &e);
	int		 ok = want == NULL ? s == NULL :
	    s != NULL && strcmp(s, want) == 0;

	free(s);
	return ok;
}

int
main(void)
{
	static const char	hex[] = "0123456789abcdef0123456789abcdef"
	    "0123456789abcdef0123456789abcdef";
	static const char *const unsafe[] = { "", "/a", "..", "a/..", "a//b",
		"./a", "a/", "a\\b", "a\nb", "\xff" };
	static const char *const queries[] = { "X-Amz-Signature=1",
		"a=1&x-amz-signature=2", "sig=x", "a;token=1", "SIGNATURE",
		"Expires=1&Signature=2", "X-Goog-Signature=1&b" };
	struct plan		 p;
	struct plan_line	*l;
	struct err		 e = { 0, "" };
	char			 b[256], *s, *ask;
	const char		*why;
	uint64_t		 u;
	int64_t			 v;
	size_t			 i, wrong = 0;

	tap_plan(37);
	plan_init(&p);
	tap_ok(line(&p, "") == 0 && line(&p, "# x") == 0 && p.n == 0,
	    "nothing and comments");
	(void)snprintf(b, sizeof(b), "/d/a\tseq=-5\tsha256=%s\tsize=10\t"
	    "records=3", hex);
	tap_ok(line(&p, b) == 0 && p.n == 1, "all fields");
	l = plan_find(&p, "/d/a");
	tap_ok(l != NULL && l->has_seq && l->seq == -5 && l->size == 10 &&
	    l->records == 3 && strcmp(l->sha256, hex) == 0, "as given");
	tap_ok(line(&p, b) == 0 && p.n == 1, "repeated lines are one");
	tap_ok(line(&p, "/d/a\tseq=6") == MSG_USAGE, "but not if they differ");
	tap_ok(line(&p, "/d/../d/./b") == 0 && plan_find(&p, "/d/b") != NULL,
	    "paths are made canonical");
	tap_ok(line(&p, "file:///d/c%20d") == 0 &&
	    plan_find(&p, "/d/c d") != NULL, "file:// is a path");
	tap_ok(line(&p, "s3://b/k/../x") == 0 &&
	    plan_find(&p, "s3://b/k/../x") != NULL, "other URLs stay");
	tap_ok(line(&p, "/x\tfoo=1") == MSG_USAGE, "unknown field");
	tap_ok(line(&p, "/x\tseq=1x") == MSG_USAGE, "seq is no number");
	tap_ok(line(&p, "/x\tsha256=ABC") == MSG_USAGE, "sha256 is none");
	tap_ok(line(&p, "/x\tsize=-1") == MSG_USAGE, "size below zero");
	tap_ok(line(&p, "\tseq=1") == MSG_USAGE, "no URL");
	tap_ok(line(&p, "/x\tseq=1\tseq=1") == MSG_USAGE, "a field twice");
	tap_ok(line(&p, "/x\tseq=1\r") == MSG_USAGE, "CR LF");
	for (i = 0; i < 5000; i++) {
		(void)snprintf(b, sizeof(b), "/many/%zu", i);
		wrong += line(&p, b) != 0;
	}
	for (i = 0; i < 5000; i++) {
		(void)snprintf(b, sizeof(b), "/many/%zu", i);
		l = plan_find(&p, b);
		wrong += l == NULL || strcmp(l->url, b) != 0;
	}
	tap_ok(wrong == 0 && plan_find(&p, "/many/5000") == NULL, "5000 lines");
	plan_clear(&p);
	plan_init(&p);
	tap_ok(plan_read(&p, "/dev/null", &e) == -1 && e.code == MSG_NOINPUT,
	    "an empty plan is an error");
	e.code = 0;
	tap_ok(plan_read(&p, "/nonexistent/plan", &e) == -1 &&
	    e.code == MSG_NOINPUT, "so is an absent one");
	plan_clear(&p);

	tap_ok(abs_is("/a/b/", "/a/b") && abs_is("/../a", "/a") &&
	    abs_is("/", "/"), "absolute");
	tap_ok(abs_is("file:///a%2Fb", "/a/b") &&
	    abs_is("file://localhost/a", "/a"), "file URLs");
	tap_ok(abs_is("file://host/a", NULL) && abs_is("file:///a%0", NULL) &&
	    abs_is("file:///a%00b", NULL) && abs_is("", NULL), "bad ones");
	s = path_to_url("/a\tb");
	tap_is(s, "file:///a%09b", "control bytes are written as URL");
	tap_ok(abs_is(s, "/a\tb"), "and read back");
	free(s);
	s = path_to_url("/caf\xc3\xa9 x");
	tap_is(s, "/caf\xc3\xa9 x", "others as they are");
	free(s);
	for (wrong = i = 0; i < sizeof(unsafe) / sizeof(unsafe[0]); i++)
		wrong += path_is_safe(unsafe[i]);
	tap_ok(wrong == 0 && path_is_safe("a/b.c/...d"), "safe and unsafe");
	tap_ok(path_utf8("\xf4\x8f\xbf\xbf", 4) &&
	    !path_utf8("\xf4\x90\x80\x80", 4) && !path_utf8("\xc0\x80", 2) &&
	    !path_utf8("\xed\xa0\x80", 3) && !path_utf8("\xe2\x82", 2),
	    "UTF-8");
	for (wrong = i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
		(void)snprintf(b, sizeof(b), "https://h/f?%s", queries[i]);
		s = plan_url(b, &ask, &e);
		wrong += strcmp(s, "https://h/f") != 0 || ask == NULL ||
		    strcmp(ask, b) != 0;
		free(s);
		free(ask);
	}
	tap_ok(wrong == 0, "what is signed has no query in its name");
	s = plan_url("https://h/f?v=2&sigma=1&x=token", &ask, &e);
	tap_is(s, "https://h/f?v=2&sigma=1&x=token", "others have");
	tap_ok(ask == NULL, "and are asked for so");
	free(s);
	plan_init(&p);
	tap_ok(line(&p, "http://h/f?token=1\tsize=3") == 0 &&
	    line(&p, "http://h/f?token=2\tsize=3") == 0 && p.n == 1 &&
	    strcmp(p.v[0].url, "http://h/f") == 0 &&
	    strcmp(p.v[0].ask, "http://h/f?token=1") == 0,
	    "signed twice, it is one input");
	plan_clear(&p);
	tap_ok(path_is_local("a:b") && path_is_local("./x://y") &&
	    !path_is_local("s3://b") && !path_is_local("openai-batch:1"),
	    "local or not");

	tap_ok(num_u64("18446744073709551615", 0, UINT64_MAX, &u, &why) == 0
	    && u == UINT64_MAX, "the largest number");
	tap_ok(num_u64("18446744073709551616", 0, UINT64_MAX, &u, &why) == -1
	    && num_u64("", 0, 9, &u, &why) == -1 &&
	    num_u64("+1", 0, 9, &u, &why) == -1 &&
	    num_u64(" 1", 0, 9, &u, &why) == -1, "no numbers");
	tap_ok(num_u64("3", 4, 9, &u, &why) == -1 &&
	    strcmp(why, "too small") == 0, "bounds");
	tap_ok(num_i64("-9223372036854775808", &v, &why) == 0 &&
	    v == INT64_MIN && num_i64("-9223372036854775809", &v, &why) == -1
	    && num_i64("--1", &v, &why) == -1, "signed");
	tap_ok(num_size("2K", &u, &why) == 0 && u == 2048 &&
	    num_size("1X", &u, &why) == -1 &&
	    num_size("99999999999T", &u, &why) == -1, "sizes");
	tap_ok(num_duration("2d", &u, &why) == 0 && u == 172800 &&
	    num_duration("1dd", &u, &why) == -1, "durations");
	return tap_done();
}
