/*
 * step: a preload that stops a program at named points of what it does to
 * a target, until it is told to go on: for tests/crash/interleave.pl, which
 * lets several take their steps in every order.
 *	STEP_FD		a socket: "NAME EVENT\n" is written to it where the
 *			program stops, and one byte is read to go on
 *	STEP_AT		a line a point: NAME N REGEX, to stop before the Nth
 *			event that matches (0: before each); of a +NAME only
 *			those count that come after the point of the line
 *			before; at a -NAME it does not stop
 * An event is a call and the path that it is about, absolute as far as the
 * directory goes, or the first line of a request: "linkat /t/commits/./2.json",
 * "PUT /bucket/t/commits/2.json".  Who has to wait for the lock of a target
 * says "blocked", too, instead of trying again and again.
 * It changes nothing of what the program does, and stops no child of it.
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP_POINTS	16
#define STEP_EVENT	(2 * PATH_MAX)
#define STEP_LOCK	"/staging/.lock"

struct point {
	char		name[32];
	unsigned long	want, seen;
	int		after;	/* the one before was come to */
	int		hit;
	regex_t		re;
};

static struct point	 points[STEP_POINTS];
static size_t		 n_points;
static int		 fd_out = -1;
static pid_t		 self;

/* One line of STEP_AT; a wrong one ends the test. */
static void
add_point(char *line)
{
	struct point	*p = &points[n_points];
	int		 at = 0;

	if (*line == '\0')
		return;
	if (n_points == STEP_POINTS ||
	    sscanf(line, "%31s %lu %n", p->name, &p->want, &at) < 2 ||
	    at == 0 || regcomp(&p->re, line + at, REG_EXTENDED | REG_NOSUB)) {
		(void)fprintf(stderr, "step: not a point: %s\n", line);
		_exit(70);
	}
	p->after = p->name[0] == '+' && n_points > 0;
	n_points++;
}

__attribute__((constructor)) static void
start(void)
{
	const char	*fd = getenv("STEP_FD"), *at = getenv("STEP_AT");
	char		*copy, *line, *next;

	if (fd == NULL || at == NULL)
		return;
	copy = strdup(at);
	for (line = copy; line != NULL; line = next) {
		next = strchr(line, '\n');
		if (next != NULL)
			*next++ = '\0';
		add_point(line);
	}
	free(copy);
	self = getpid();
	fd_out = (int)strtol(fd, NULL, 10);
}

static int
is_stepped(void)
{
	return fd_out != -1 && getpid() == self;
}

/* Say where we are, and wait; when nobody listens, go on for good. */
static void
stop(const char *name, const char *event)
{
	char	line[STEP_EVENT + 64], go;
	ssize_t	n;
	int	len, saved = errno;

	len = snprintf(line, sizeof(line), "%s %s\n", name, event);
	if (len >= (int)sizeof(line))
		_exit(70);
	n = write(fd_out, line, (size_t)len);
	while (n == len || (n == -1 && errno == EINTR)) {
		n = read(fd_out, &go, 1);
		if (n != -1 || errno != EINTR)
			break;
	}
	if (n != 1)
		fd_out = -1;
	errno = saved;
}

static void
come_to(const char *event)
{
	struct point	*hit = NULL;
	size_t		 i;

	for (i = 0; i < n_points; i++) {
		struct point	*p = &points[i];

		if ((p->after && !points[i - 1].hit) ||
		    regexec(&p->re, event, 0, NULL, 0) != 0)
			continue;
		p->seen++;
		if (hit == NULL && (p->want == 0 || p->want == p->seen))
			hit = p;
	}
	if (hit != NULL) {
		hit->hit = 1;
		if (hit->name[0] != '-')
			stop(hit->name + hit->after, event);
	}
}

/* The path of an open descriptor, "" when there is none. */
static void
path_of(int fd, char out[PATH_MAX])
{
	char	link[64];
	ssize_t	n = 0;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (fd != AT_FDCWD)
		n = readlink(link, out, PATH_MAX - 1);
	out[n > 0 ? n : 0] = '\0';
}

static void
about(const char *call, int dirfd, const char *path)
{
	char	dir[PATH_MAX], event[STEP_EVENT];
	int	saved = errno;

	if (!is_stepped())
		return;
	dir[0] = '\0';
	if (path[0] != '/')
		path_of(dirfd, dir);
	(void)snprintf(event, sizeof(event), "%s %s%s%s", call, dir,
	    dir[0] != '\0' ? "/" : "", path);
	come_to(event);
	errno = saved;
}

#define REAL(type, name, args) \
	static type (*real) args; \
	if (real == NULL) \
		*(void **)&real = dlsym(RTLD_NEXT, name)

#define STEPS(name, params, args, dirfd, path) \
int \
name params \
{ \
	REAL(int, #name, params); \
	about(#name, dirfd, path); \
	return real args; \
}

STEPS(linkat, (int f, const char *a, int t, const char *b, int k),
    (f, a, t, b, k), t, b)
STEPS(renameat, (int f, const char *a, int t, const char *b), (f, a, t, b),
    t, b)
STEPS(mkdirat, (int f, const char *a, mode_t m), (f, a, m), f, a)
STEPS(unlinkat, (int f, const char *a, int k), (f, a, k), f, a)

/* A target's lock: one who cannot have it says so and waits to be told. */
int
flock(int fd, int how)
{
	char	path[PATH_MAX];
	size_t	n, k = sizeof(STEP_LOCK) - 1;
	int	rv;
	REAL(int, "flock", (int, int));

	if (!is_stepped())
		return real(fd, how);
	path_of(fd, path);
	about("flock", AT_FDCWD, path);
	n = strlen(path);
	while ((rv = real(fd, how)) == -1 && errno == EWOULDBLOCK &&
	    fd_out != -1 && n > k && strcmp(path + n - k, STEP_LOCK) == 0)
		stop("blocked", path);
	return rv;
}

/* A request begins where its first line is sent. */
ssize_t
send(int fd, const void *p, size_t n, int flags)
{
	static const char *const verbs[] = { "GET /", "HEAD /", "PUT /",
		"POST /", "DELETE /" };
	const char	*s = p, *end;
	char		 event[STEP_EVENT];
	size_t		 i, k;
	REAL(ssize_t, "send", (int, const void *, size_t, int));

	for (i = 0; is_stepped() && i < sizeof(verbs) / sizeof(*verbs); i++) {
		k = strlen(verbs[i]);
		if (n <= k || memcmp(s, verbs[i], k) != 0)
			continue;
		end = memchr(s + k, ' ', n - k);
		if (end != NULL && (size_t)(end - s) < sizeof(event)) {
			(void)snprintf(event, sizeof(event), "%.*s",
			    (int)(end - s), s);
			come_to(event);
		}
		break;
	}
	return real(fd, p, n, flags);
}
