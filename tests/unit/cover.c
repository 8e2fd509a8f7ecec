/*
 * cover: when a source is what a line plans, and when a line is held.
 * SPDX-License-Identifier: ISC
 */
#include "cover.h"

#include <stdio.h>
#include <string.h>

#include "tap.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static int	base;	/* the source is one of the base */

/* Is the source (url, sha256, size, seq) one that the line plans? */
static int
planned(const char *line, const char *url, const char *sha256, uint64_t size,
    int64_t seq, int *held)
{
	struct item_source	 s;
	struct plan		 p;
	struct cover		*c;
	struct err		 e = { 0, "" };
	char			 copy[64];
	int			 rv;

	plan_init(&p);
	if (plan_add_line(&p, line, "plan", 1, &e) == -1)
		printf("# %s\n", e.text);
	memset(&s, 0, sizeof(s));
	(void)snprintf(copy, sizeof(copy), "%s", url);
	memcpy(s.sha256, sha256, HASH_HEX);
	s.url = copy;
	s.size = size;
	s.seq = seq;
	c = cover_new(&p);
	rv = cover_take(c, &s, base);
	*held = p.n == 1 && cover_has(c, &p.v[0]);
	cover_free(c);
	plan_clear(&p);
	return rv;
}

/* Planned, and its line held; or neither. */
static int
both(const char *line, const char *url, const char *sha256, uint64_t size,
    int64_t seq)
{
	int	held, is = planned(line, url, sha256, size, seq, &held);

	return is == held ? is : -1;
}

static void
many(void)
{
	struct item_source	 s;
	struct plan		 p;
	struct cover		*c;
	struct err		 e = { 0, "" };
	char			 url[64], line[192], *u = url;
	int			 i, n = 0, held = 0;

	plan_init(&p);
	memset(&s, 0, sizeof(s));
	s.url = u;
	for (i = 0; i < 1000; i++) {
		(void)snprintf(line, sizeof(line), "/d/%d\tsha256=%064x", i,
		    (unsigned int)i / 2);
		if (plan_add_line(&p, line, "plan", 1, &e) == -1)
			break;
	}
	c = cover_new(&p);
	/* every second one, under its own name */
	for (i = 0; i < 1000; i += 4) {
		(void)snprintf(url, sizeof(url), "/d/%d", i);
		(void)snprintf(s.sha256, sizeof(s.sha256), "%064x",
		    (unsigned int)i / 2);
		n += cover_take(c, &s, base);
	}
	for (i = 0; i < 1000; i++)
		held += cover_has(c, &p.v[i]);
	tap_ok(n == 250 && held == 500, "of many pins, those that were taken");
	cover_free(c);
	c = cover_new(&p);
	for (i = 0, held = 0; i < 1000; i++)
		held += cover_has(c, &p.v[i]);
	tap_ok(held == 0, "a new one knows of none");
	cover_free(c);
	plan_clear(&p);
}

int
main(void)
{
	int	held;

	tap_plan(18);
	tap_ok(both("/d/x", "/d/x", A, 9, 5) == 1, "the name alone");
	tap_ok(both("/d/x", "/d/y", A, 9, 5) == 0, "another name");
	tap_ok(both("/d/x\tsize=9", "/d/x", A, 9, 5) == 1, "the size");
	tap_ok(both("/d/x\tsize=8", "/d/x", A, 9, 5) == 0, "another size");
	tap_ok(both("/d/x\tseq=5", "/d/x", A, 9, 5) == 1, "the seq");
	tap_ok(both("/d/x\tseq=6", "/d/x", A, 9, 5) == 0, "an older one");
	tap_ok(both("/d/x\tseq=4", "/d/x", A, 9, 5) == 1,
	    "the same bytes came again, later");
	tap_ok(both("/d/x\tsha256=" A, "/d/x", A, 9, 5) == 1, "the bytes");
	tap_ok(both("/d/x\tsha256=" A, "/d/x", B, 9, 5) == 0, "other bytes");
	tap_ok(both("/d/x\tsha256=" A, "/d/y", A, 9, 5) == 1,
	    "the bytes under another name");
	tap_ok(both("/d/x\tsha256=" A "\tseq=6", "/d/x", A, 9, 5) == 1,
	    "bytes that are pinned may be older");
	tap_ok(planned("/d/x\tseq=-3", "/d/x", A, 9, -3, &held) && held,
	    "a seq below 0");
	tap_ok(!planned("/d/x\tseq=-3", "/d/x", A, 9, -4, &held) && !held,
	    "and one below that");
	tap_ok(!planned("/d/x\tsize=8", "/d/x", A, 9, 5, &held) && !held,
	    "what is not planned holds nothing");
	base = 1;
	tap_ok(both("/d/x\tseq=6", "/d/x", A, 9, 5) == 1,
	    "of a base an older one, too");
	tap_ok(both("/d/x\tseq=6\tsize=8", "/d/x", A, 9, 5) == 0,
	    "but not one of another size");
	base = 0;
	many();
	return tap_done();
}
