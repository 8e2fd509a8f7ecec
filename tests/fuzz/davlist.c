/*
 * fuzz: what a WebDAV server answers to PROPFIND and DELETE.  The readers
 * are private to dav_list.c and dav_calls.c, which are therefore part of this
 * file.
 * SPDX-License-Identifier: ISC
 */
#include "fuzz.h"

#include "../../common/dav_calls.c"
#include "../../common/dav_list.c"

static int
one_name(void *arg, const char *name)
{
	(void)arg;
	FUZZ_MUST(strchr(name, '/') == NULL && strlen(name) <= PATH_REL_MAX);
	FUZZ_MUST(*name != '\0' && strcmp(name, ".") != 0 &&
	    strcmp(name, "..") != 0);
	return 0;
}

void
fuzz_davlist(const unsigned char *p, size_t n)
{
	struct err	 e = { 0, "" };
	struct listing	 l;
	struct staying	 s;
	struct dav	 d;
	struct buf	 b;
	char		 self[] = "/dav/key";

	memset(&d, 0, sizeof(d));
	d.base = mem_dup("http://127.0.0.1:80/dav");
	d.authority = mem_dup("127.0.0.1");
	d.path = mem_dup("/dav");
	memset(&l, 0, sizeof(l));
	l.d = &d;
	l.key = "key";
	l.self = self;
	l.f = one_name;
	buf_init(&b, DAV_LIST_MAX);
	buf_add(&b, n > 0 ? (const char *)p : "", n);
	FUZZ_MUST(dav_multistatus(&d, "key", &b, list_response, &l, &e) == 0 ||
	    e.code != 0);
	memset(&s, 0, sizeof(s));
	s.d = &d;
	s.key = "key";
	e.code = 0;
	FUZZ_MUST(dav_multistatus(&d, "key", &b, delete_response, &s,
	    &e) == 0 || e.code != 0);
	buf_free(&b);
	free(d.base);
	free(d.authority);
	free(d.path);
}
