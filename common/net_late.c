/*
 * net_late: the functions of libcurl that net.c calls, loaded when they
 * are needed (late.h).  It sends nothing.
 * SPDX-License-Identifier: ISC
 */
#include "net.h"

#include <stdarg.h>

/* the first argument of this one became const on the way */
#define curl_url_get curl_url_get_declared
#include <curl/curl.h>
#undef curl_url_get

#include "late.h"
#include "banned.h"

#ifndef NET_LIBRARY
#define NET_LIBRARY "libcurl.so.4"
#endif

/* these three are macros, too, that look at types */
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

CURLUcode	curl_url_get(const CURLU *, CURLUPart, char **, unsigned int);

#define FUNCTIONS(X)							\
X(CURLcode, curl_global_init, (long f), (f))				\
X(CURL *, curl_easy_init, (void), ())					\
X(CURLcode, curl_easy_pause, (CURL *c, int m), (c, m))			\
X(const char *, curl_easy_strerror, (CURLcode r), (r))			\
X(CURLM *, curl_multi_init, (void), ())					\
X(CURLMcode, curl_multi_cleanup, (CURLM *m), (m))			\
X(CURLMcode, curl_multi_add_handle, (CURLM *m, CURL *c), (m, c))	\
X(CURLMcode, curl_multi_remove_handle, (CURLM *m, CURL *c), (m, c))	\
X(CURLMcode, curl_multi_perform, (CURLM *m, int *n), (m, n))		\
X(CURLMcode, curl_multi_poll, (CURLM *m, struct curl_waitfd *v,		\
    unsigned int n, int ms, int *ready), (m, v, n, ms, ready))		\
X(CURLMsg *, curl_multi_info_read, (CURLM *m, int *n), (m, n))		\
X(const char *, curl_multi_strerror, (CURLMcode r), (r))		\
X(struct curl_slist *, curl_slist_append, (struct curl_slist *l,	\
    const char *s), (l, s))						\
X(CURLU *, curl_url, (void), ())					\
X(CURLUcode, curl_url_get, (const CURLU *u, CURLUPart p, char **s,	\
    unsigned int f), (u, p, s, f))					\
X(CURLUcode, curl_url_set, (CURLU *u, CURLUPart p, const char *s,	\
    unsigned int f), (u, p, s, f))					\
X(time_t, curl_getdate, (const char *s, const time_t *t), (s, t))
#define VOIDS(X)							\
X(curl_global_cleanup, (void), ())					\
X(curl_easy_cleanup, (CURL *c), (c))					\
X(curl_easy_reset, (CURL *c), (c))					\
X(curl_free, (void *p), (p))						\
X(curl_slist_free_all, (struct curl_slist *l), (l))			\
X(curl_url_cleanup, (CURLU *u), (u))

FUNCTIONS(LATE_FN)
VOIDS(LATE_VOID)

static CURLcode		(*real_setopt)(CURL *, CURLoption, ...);
static CURLcode		(*real_getinfo)(CURL *, CURLINFO, ...);
static CURLMcode	(*real_multi_setopt)(CURLM *, CURLMoption, ...);

/* An option's number says of what type its value is. */
CURLcode
curl_easy_setopt(CURL *c, CURLoption o, ...)
{
	CURLcode	rv;
	va_list		ap;

	va_start(ap, o);
	if (o < CURLOPTTYPE_OBJECTPOINT)
		rv = real_setopt(c, o, va_arg(ap, long));
	else if (o >= CURLOPTTYPE_FUNCTIONPOINT && o < CURLOPTTYPE_OFF_T)
		rv = real_setopt(c, o, va_arg(ap, void (*)(void)));
	else if (o >= CURLOPTTYPE_OFF_T && o < CURLOPTTYPE_BLOB)
		rv = real_setopt(c, o, va_arg(ap, curl_off_t));
	else
		rv = real_setopt(c, o, va_arg(ap, void *));
	va_end(ap);
	return rv;
}

CURLcode
curl_easy_getinfo(CURL *c, CURLINFO i, ...)
{
	CURLcode	rv;
	va_list		ap;

	va_start(ap, i);
	rv = real_getinfo(c, i, va_arg(ap, void *));
	va_end(ap);
	return rv;
}

/* Of those that net.c sets, all are numbers. */
CURLMcode
curl_multi_setopt(CURLM *m, CURLMoption o, ...)
{
	CURLMcode	rv = CURLM_UNKNOWN_OPTION;
	va_list		ap;

	va_start(ap, o);
	if ((int)o < CURLOPTTYPE_OBJECTPOINT)
		rv = real_multi_setopt(m, o, va_arg(ap, long));
	va_end(ap);
	return rv;
}

int
net_load(struct err *e)
{
	static const struct late	v[] = {
		FUNCTIONS(LATE_AT)
		VOIDS(LATE_VOID_AT)
		{ "curl_easy_setopt", &real_setopt },
		{ "curl_easy_getinfo", &real_getinfo },
		{ "curl_multi_setopt", &real_multi_setopt }
	};
	static int			done;

	return late_load(&done, NET_LIBRARY, v, sizeof(v) / sizeof(v[0]), e);
}
