/*
 * script: an HTTP server on loopback that answers as a list of rules says,
 * the first that fits and is not used up; and remembers what it was asked.
 * Without a rule: 404 to HEAD and GET, an ETag to PUT, nothing to others.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_SCRIPT_H
#define D_SCRIPT_H

#include "http.h"

#define SCRIPT_RULES	12
#define SCRIPT_LOG	1000

struct script_rule {
	char		 method[16], match[120];	/* "" any: part of it */
	char		 status[64];		/* "CUT": no answer at all */
	char		 more[384];		/* headers, "A: b\r\n" each */
	char		 body[2048];
	unsigned long	 filler;		/* bytes before the body */
	unsigned long long size;		/* what HEAD says; 0: nothing */
	int		 once, used;		/* it fits once; it did */
	int		 echo;			/* what the last PUT said */
};

struct script {
	struct script_rule v[SCRIPT_RULES];
	int		 n;
	int		 n_log;
	char		 log[SCRIPT_LOG][160];	/* "METHOD target" */
	char		 meta[512];		/* of the last PUT or POST */
};

static struct http	web;
static struct script	*script;
static char		script_url[64];

static inline int
script_fits(struct script_rule *r, const struct http_req *q)
{
	size_t	n = strlen(r->match), k = strlen(q->target);

	if (r->method[0] != '\0' && strcmp(r->method, q->method) != 0)
		return 0;
	/* at its end; or anywhere */
	if (n > 0 && r->match[n - 1] == '$' ? k < n - 1 ||
	    strncmp(q->target + k - (n - 1), r->match, n - 1) != 0 :
	    strstr(q->target, r->match) == NULL)
		return 0;
	return !r->once || __sync_fetch_and_add(&r->used, 1) == 0;
}

static inline void
script_note(const struct http_req *q)
{
	int	i = __sync_fetch_and_add(&script->n_log, 1);

	if (i < SCRIPT_LOG)
		(void)snprintf(script->log[i], sizeof(script->log[i]),
		    "%s %.140s", q->method, q->target);
	if (*http_value(q->head, "x-amz-meta-intact-put") != '\0')
		(void)snprintf(script->meta, sizeof(script->meta),
		    "x-amz-meta-intact-sha256: %.80s\r\n"
		    "x-amz-meta-intact-put: %.80s\r\n",
		    http_value(q->head, "x-amz-meta-intact-sha256"),
		    http_value(q->head, "x-amz-meta-intact-put"));
}

static inline enum http_next
script_say(struct http_req *q, const struct script_rule *r)
{
	static char		b[4096], filler[65536];
	unsigned long		k, left = r->filler;
	unsigned long long	n = r->size != 0 ? r->size : r->filler +
				    (unsigned long long)strlen(r->body);

	if (strcmp(r->status, "CUT") == 0)
		return HTTP_CLOSE;
	(void)snprintf(b, sizeof(b), "HTTP/1.1 %s\r\nContent-Length: %llu\r\n"
	    "%s%s\r\n", r->status, n, r->more, r->echo ? script->meta : "");
	if (http_send(q->fd, b, strlen(b)) == -1)
		return HTTP_CLOSE;
	if (strcmp(q->method, "HEAD") == 0)
		return HTTP_KEEP;
	memset(filler, ' ', sizeof(filler));
	for (; left > 0; left -= k) {
		k = left < sizeof(filler) ? left : sizeof(filler);
		if (http_send(q->fd, filler, k) == -1)
			return HTTP_CLOSE;
	}
	return http_send(q->fd, r->body, strlen(r->body)) == 0 ? HTTP_KEEP :
	    HTTP_CLOSE;
}

static inline enum http_next
script_answer(struct http_req *q)
{
	static struct script_rule	r;
	int				i;

	if (*http_value(q->head, "Expect") != '\0' &&
	    (http_send(q->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25) == -1 ||
	    !http_body(q)))
		return HTTP_CLOSE;
	script_note(q);
	for (i = 0; i < script->n; i++)
		if (script_fits(&script->v[i], q))
			break;
	/* a copy: who has the head of an answer without a body may write the
	   next rules while this process has yet to come to the body */
	memset(&r, 0, sizeof(r));
	if (i < script->n)
		r = script->v[i];
	else {
		(void)snprintf(r.status, sizeof(r.status), "%s",
		    q->method[0] == 'H' || q->method[0] == 'G' ?
		    "404 Not Found" : "200 OK");
		(void)snprintf(r.more, sizeof(r.more), "ETag: \"e\"\r\n");
	}
	return script_say(q, &r);
}

static inline void
script_start(void)
{
	script = mmap(NULL, sizeof(*script), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (script == MAP_FAILED || http_start(&web, script_answer) == -1)
		_exit(99);
	(void)snprintf(script_url, sizeof(script_url), "http://127.0.0.1:%d",
	    web.port);
}

static inline void
script_clear(void)
{
	script->n = script->n_log = 0;
}

/* A rule more; the caller may change it before anything is asked. */
static inline struct script_rule *
on(const char *method, const char *match, const char *status,
    const char *more, const char *body)
{
	struct script_rule	*r = &script->v[script->n];

	if (script->n == SCRIPT_RULES)
		_exit(98);
	memset(r, 0, sizeof(*r));
	(void)snprintf(r->method, sizeof(r->method), "%s", method);
	(void)snprintf(r->match, sizeof(r->match), "%s", match);
	(void)snprintf(r->status, sizeof(r->status), "%s", status);
	(void)snprintf(r->more, sizeof(r->more), "%s", more);
	(void)snprintf(r->body, sizeof(r->body), "%s", body);
	script->n++;
	return r;
}

static inline void
once(const char *method, const char *match, const char *status,
    const char *more, const char *body)
{
	on(method, match, status, more, body)->once = 1;
}

/* How many requests were "METHOD target" with this in it. */
static inline int
asked(const char *what)
{
	int	i, n = 0;

	for (i = 0; i < script->n_log && i < SCRIPT_LOG; i++)
		n += strstr(script->log[i], what) != NULL;
	return n;
}

#endif
