/*
 * http: a throw-away HTTP server on loopback for unit tests: a process for
 * each connection, and a function that answers, as badly as it likes.
 * What it saw lies in memory that the test shares.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_HTTP_H
#define D_HTTP_H

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS 0x20
#endif

#define HTTP_HEAD	65536	/* bytes of a request's headers */
#define HTTP_PATHS	64

/* Shared by the test and the processes of the server. */
struct http_seen {
	int	conns, requests;
	int	other;				/* for the test's own use */
	int	hits[26];			/* by the path's first letter */
	char	last[26][HTTP_HEAD];		/* the headers, the same */
};

struct http {
	struct http_seen *seen;
	pid_t		 pid;
	int		 port;
};

struct http_req {
	int	 fd;
	char	 head[HTTP_HEAD];	/* request line and headers */
	char	 method[16], target[16384];
	char	*body;
	size_t	 n;		/* bytes of it */
	size_t	 promised;	/* its Content-Length */
	int	 nth;		/* on this connection, from 1 */
	char	*rest;		/* read already, of the next one */
	size_t	 n_rest;
	struct http *h;
};

/* How a connection goes on. */
enum http_next { HTTP_KEEP, HTTP_CLOSE, HTTP_RESET };

static inline int
http_send(int fd, const void *p, size_t n)
{
	const char	*s = p;
	ssize_t		 k;

	for (; n > 0; s += k, n -= (size_t)k)
		if ((k = send(fd, s, n, MSG_NOSIGNAL)) <= 0)
			return -1;
	return 0;
}

/* status, more headers ("A: b\r\n" each), body; with Content-Length. */
static inline int
http_answer(const struct http_req *q, const char *status, const char *more,
    const char *body)
{
	char	b[4096];
	size_t	n = strlen(body);

	(void)snprintf(b, sizeof(b), "HTTP/1.1 %s\r\nContent-Length: %zu\r\n"
	    "%s\r\n", status, n, more);
	if (http_send(q->fd, b, strlen(b)) == -1)
		return -1;
	if (strcmp(q->method, "HEAD") == 0)
		return 0;
	return http_send(q->fd, body, n);
}

/* The value of a header of a request, as a static copy, or "". */
static inline const char *
http_value(const char *head, const char *name)
{
	static char	 b[4][8192];
	static int	 turn;
	const char	*p;
	size_t		 n = strlen(name), k;

	turn = (turn + 1) % 4;
	b[turn][0] = '\0';
	for (p = head; (p = strchr(p, '\n')) != NULL;) {
		p++;
		if (strncasecmp(p, name, n) != 0 || p[n] != ':')
			continue;
		p += n + 1;
		p += strspn(p, " ");
		k = strcspn(p, "\r\n");
		if (k >= sizeof(b[turn]))
			k = sizeof(b[turn]) - 1;
		memcpy(b[turn], p, k);
		b[turn][k] = '\0';
		break;
	}
	return b[turn];
}

/* Headers, into q->head: 1, 0 the client has left. */
static inline int
http_head(struct http_req *q)
{
	size_t	 len = q->n_rest;
	ssize_t	 k;
	char	*end;

	memcpy(q->head, q->rest, len);
	q->head[len] = '\0';
	while ((end = strstr(q->head, "\r\n\r\n")) == NULL) {
		k = len + 1 < sizeof(q->head) ? recv(q->fd, q->head + len,
		    sizeof(q->head) - len - 1, 0) : 0;
		if (k <= 0)
			return 0;
		len += (size_t)k;
		q->head[len] = '\0';
	}
	q->n_rest = len - (size_t)(end + 4 - q->head);
	memcpy(q->rest, end + 4, q->n_rest);
	end[2] = '\0';
	return sscanf(q->head, "%15s %16383s", q->method, q->target) == 2;
}

/* What has been read, and then the rest, of the body. */
static inline int
http_body(struct http_req *q)
{
	ssize_t	k;

	free(q->body);
	q->body = malloc(q->promised + 1);
	if (q->body == NULL)
		return 0;
	q->n = q->n_rest < q->promised ? q->n_rest : q->promised;
	memcpy(q->body, q->rest, q->n);
	memmove(q->rest, q->rest + q->n, q->n_rest - q->n);
	q->n_rest -= q->n;
	for (; q->n < q->promised; q->n += (size_t)k)
		if ((k = recv(q->fd, q->body + q->n, q->promised - q->n,
		    0)) <= 0)
			return 0;
	q->body[q->n] = '\0';
	return 1;
}

static inline void
http_conn(struct http *h, int fd, enum http_next (*f)(struct http_req *))
{
	static struct http_req	q;
	static char		rest[HTTP_HEAD];
	struct linger		l = { 1, 0 };
	enum http_next		next = HTTP_KEEP;
	int			i = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &i, sizeof(i));
	memset(&q, 0, sizeof(q));
	q.fd = fd;
	q.h = h;
	q.rest = rest;
	while (next == HTTP_KEEP && http_head(&q)) {
		q.nth++;
		q.promised = (size_t)strtoul(http_value(q.head,
		    "Content-Length"), NULL, 10);
		i = q.target[1] >= 'a' && q.target[1] <= 'z' ?
		    q.target[1] - 'a' : 25;
		(void)__sync_add_and_fetch(&h->seen->requests, 1);
		(void)__sync_add_and_fetch(&h->seen->hits[i], 1);
		memcpy(h->seen->last[i], q.head, sizeof(q.head));
		/* a body that is to be asked for, f asks for */
		if (*http_value(q.head, "Expect") == '\0' &&
		    q.target[1] != 'y' && !http_body(&q))
			next = HTTP_CLOSE;
		else
			next = f(&q);
	}
	if (next == HTTP_RESET)
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	(void)close(fd);
}

static inline void
http_serve(struct http *h, int s, enum http_next (*f)(struct http_req *))
{
	int	fd;

	(void)signal(SIGCHLD, SIG_IGN);
	(void)signal(SIGTERM, SIG_DFL);
	for (;;) {
		fd = accept(s, NULL, NULL);
		if (fd == -1)
			continue;
		(void)__sync_add_and_fetch(&h->seen->conns, 1);
		if (fork() == 0) {
			(void)close(s);
			(void)alarm(60);
			http_conn(h, fd, f);
			_exit(0);
		}
		(void)close(fd);
	}
}

static inline int
http_start(struct http *h, enum http_next (*f)(struct http_req *))
{
	struct sockaddr_in	a;
	socklen_t		n = sizeof(a);
	int			s = socket(AF_INET, SOCK_STREAM, 0);

	memset(&a, 0, sizeof(a));
	a.sin_family = AF_INET;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	h->seen = mmap(NULL, sizeof(*h->seen), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == -1 || h->seen == MAP_FAILED ||
	    bind(s, (struct sockaddr *)&a, sizeof(a)) == -1 ||
	    listen(s, 128) == -1 ||
	    getsockname(s, (struct sockaddr *)&a, &n) == -1)
		return -1;
	h->port = ntohs(a.sin_port);
	(void)fflush(stdout);
	h->pid = fork();
	if (h->pid == 0) {
		(void)setpgid(0, 0);
		http_serve(h, s, f);
		_exit(0);
	}
	(void)setpgid(h->pid, h->pid);
	(void)close(s);
	return h->pid == -1 ? -1 : 0;
}

static inline void
http_stop(struct http *h)
{
	(void)kill(-h->pid, SIGKILL);
	(void)waitpid(h->pid, NULL, 0);
	(void)munmap(h->seen, sizeof(*h->seen));
}

#endif
