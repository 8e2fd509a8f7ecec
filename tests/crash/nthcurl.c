/*
 * nthcurl: libcurl, whose Nth call fails: what nth.so opens in its place.
 * Only what may fail is here; the rest is found in the library below.  A
 * call fails as it does without memory, and so may a transfer, whatever had
 * become of it at the server.
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>

/* the first argument of this one became const on the way */
#define curl_url_get curl_url_get_declared
#include <curl/curl.h>
#undef curl_url_get
/* macros that look at types */
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

int		nth_called(const char *name, const void *caller);
CURLUcode	curl_url_get(const CURLU *, CURLUPart, char **, unsigned int);

#define FAILS_NOW	nth_called("curl", __builtin_return_address(0))
#define REAL(type, name, params) \
	static type (*real) params; \
	if (real == NULL) \
		*(void **)&real = dlsym(RTLD_NEXT, name)

#define FAILS(type, name, bad, params, args) \
type \
name params \
{ \
	REAL(type, #name, params); \
	return FAILS_NOW ? bad : real args; \
}

FAILS(CURLcode, curl_global_init, CURLE_OUT_OF_MEMORY, (long f), (f))
FAILS(CURL *, curl_easy_init, NULL, (void), ())
FAILS(CURLcode, curl_easy_pause, CURLE_OUT_OF_MEMORY, (CURL *c, int m), (c, m))
FAILS(CURLM *, curl_multi_init, NULL, (void), ())
FAILS(CURLMcode, curl_multi_add_handle, CURLM_OUT_OF_MEMORY, (CURLM *m,
    CURL *c), (m, c))
FAILS(CURLMcode, curl_multi_perform, CURLM_OUT_OF_MEMORY, (CURLM *m, int *n),
    (m, n))
FAILS(CURLMcode, curl_multi_poll, CURLM_OUT_OF_MEMORY, (CURLM *m,
    struct curl_waitfd *v, unsigned int n, int ms, int *ready),
    (m, v, n, ms, ready))
FAILS(struct curl_slist *, curl_slist_append, NULL, (struct curl_slist *l,
    const char *s), (l, s))
FAILS(CURLU *, curl_url, NULL, (void), ())
FAILS(CURLUcode, curl_url_get, CURLUE_OUT_OF_MEMORY, (const CURLU *u,
    CURLUPart p, char **s, unsigned int f), (u, p, s, f))
FAILS(CURLUcode, curl_url_set, CURLUE_OUT_OF_MEMORY, (CURLU *u, CURLUPart p,
    const char *s, unsigned int f), (u, p, s, f))

/* An option's number says of what type its value is. */
CURLcode
curl_easy_setopt(CURL *c, CURLoption o, ...)
{
	CURLcode	rv;
	va_list		ap;
	REAL(CURLcode, "curl_easy_setopt", (CURL *, CURLoption, ...));

	if (FAILS_NOW)
		return CURLE_OUT_OF_MEMORY;
	va_start(ap, o);
	if (o < CURLOPTTYPE_OBJECTPOINT)
		rv = real(c, o, va_arg(ap, long));
	else if (o >= CURLOPTTYPE_OFF_T && o < CURLOPTTYPE_BLOB)
		rv = real(c, o, va_arg(ap, curl_off_t));
	else
		rv = real(c, o, va_arg(ap, void *));
	va_end(ap);
	return rv;
}

CURLMsg *
curl_multi_info_read(CURLM *m, int *n)
{
	CURLMsg	*g;
	REAL(CURLMsg *, "curl_multi_info_read", (CURLM *, int *));

	g = real(m, n);
	if (g != NULL && FAILS_NOW)
		g->data.result = CURLE_OUT_OF_MEMORY;
	return g;
}
