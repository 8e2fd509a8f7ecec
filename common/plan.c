/*
 * plan: reading plans.  It fetches nothing and knows no file's content.
 * SPDX-License-Identifier: ISC
 */
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "hide.h"
#include "io.h"
#include "mem.h"
#include "num.h"
#include "path.h"
#include "banned.h"

/* Open addressing over the lines, by FNV-1a of the url. */
struct index {
	size_t	*slot;		/* line + 1, 0 empty */
	size_t	 n;		/* a power of two */
};

static uint64_t
fnv(const char *s)
{
	uint64_t	h = 14695981039346656037ULL;

	for (; *s != '\0'; s++)
		h = (h ^ (unsigned char)*s) * 1099511628211ULL;
	return h;
}

void
plan_init(struct plan *p)
{
	memset(p, 0, sizeof(*p));
	p->index = mem_zero(1, sizeof(struct index));
}

void
plan_clear(struct plan *p)
{
	struct index	*x = p->index;
	size_t		 i;

	for (i = 0; i < p->n; i++) {
		free(p->v[i].url);
		free(p->v[i].ask);
	}
	free(p->v);
	if (x != NULL)
		free(x->slot);
	free(x);
	memset(p, 0, sizeof(*p));
}

/* The slot of url: filled with its line, or empty. */
static size_t *
slot(const struct plan *p, const char *url)
{
	struct index	*x = p->index;
	size_t		 i = (size_t)fnv(url) & (x->n - 1);

	while (x->slot[i] != 0 && strcmp(p->v[x->slot[i] - 1].url, url) != 0)
		i = (i + 1) & (x->n - 1);
	return &x->slot[i];
}

static void
rehash(struct plan *p)
{
	struct index	*x = p->index;
	size_t		 i;

	if (x->n > 2 * (p->n + 1))
		return;
	free(x->slot);
	x->n = x->n == 0 ? 64 : 4 * x->n;
	x->slot = mem_zero(x->n, sizeof(*x->slot));
	for (i = 0; i < p->n; i++)
		*slot(p, p->v[i].url) = i + 1;
}

struct plan_line *
plan_find(struct plan *p, const char *url)
{
	size_t	*s;

	if (p->n == 0)
		return NULL;
	s = slot(p, url);
	return *s != 0 ? &p->v[*s - 1] : NULL;
}

static int
field(struct plan_line *l, const char *s, const char **why)
{
	unsigned char	d[HASH_LEN];
	size_t		n = strlen(s);

	if (n != 0 && s[n - 1] == '\r') {
		*why = "the line ends in CR LF: want LF alone";
		return -1;
	}
	if ((l->has_seq && strncmp(s, "seq=", 4) == 0) ||
	    (l->has_size && strncmp(s, "size=", 5) == 0) ||
	    (l->has_records && strncmp(s, "records=", 8) == 0) ||
	    (l->sha256[0] != '\0' && strncmp(s, "sha256=", 7) == 0)) {
		*why = "given twice";
		return -1;
	}
	if (strncmp(s, "seq=", 4) == 0) {
		l->has_seq = 1;
		return num_i64(s + 4, &l->seq, why);
	}
	if (strncmp(s, "size=", 5) == 0) {
		l->has_size = 1;
		return num_u64(s + 5, 0, INT64_MAX, &l->size, why);
	}
	if (strncmp(s, "records=", 8) == 0) {
		l->has_records = 1;
		return num_u64(s + 8, 0, INT64_MAX, &l->records, why);
	}
	if (strncmp(s, "sha256=", 7) == 0) {
		if (hash_unhex(s + 7, d) == -1) {
			*why = "want 64 lower-case hex digits";
			return -1;
		}
		memcpy(l->sha256, s + 7, HASH_HEX);
		return 0;
	}
	*why = "want seq=, sha256=, size= or records=";
	return -1;
}

static int
same(const struct plan_line *a, const struct plan_line *b)
{
	return strcmp(a->sha256, b->sha256) == 0 &&
	    a->has_seq == b->has_seq && a->seq == b->seq &&
	    a->has_size == b->has_size && a->size == b->size &&
	    a->has_records == b->has_records && a->records == b->records;
}

char *
plan_url(const char *url, char **ask, struct err *e)
{
	const char	*q;
	char		*abs, *rv;

	if (ask != NULL)
		*ask = NULL;
	if (path_is_local(url)) {
		abs = path_from_url(url, e);
		if (abs == NULL)
			return NULL;
		rv = path_to_url(abs);
		free(abs);
		return rv;
	}
	q = strncmp(url, "http", 4) == 0 ? strchr(url, '?') : NULL;
	if (q == NULL || !hide_is_signed(q + 1))
		return mem_dup(url);
	if (ask != NULL)
		*ask = mem_dup(url);
	return mem_ndup(url, (size_t)(q - url));
}

int
plan_add_line(struct plan *p, const char *line, const char *name,
    unsigned long number, struct err *e)
{
	struct plan_line	 l, *old;
	const char		*why;
	char			*copy, *tab, *next;
	int			 rv = -1;

	memset(&l, 0, sizeof(l));
	if (*line == '\0' || *line == '#')
		return 0;
	if (strncmp(line, "\xef\xbb\xbf", 3) == 0)
		return err_set(e, MSG_USAGE, "%s:%lu: begins with a byte "
		    "order mark: want UTF-8 without it, or ./ before a name",
		    name, number);
	copy = mem_dup(line);
	tab = strchr(copy, '\t');
	if (tab != NULL)
		*tab++ = '\0';
	for (; tab != NULL; tab = next) {
		next = strchr(tab, '\t');
		if (next != NULL)
			*next++ = '\0';
		if (*tab != '\0' && field(&l, tab, &why) == -1) {
			err_set(e, MSG_USAGE, "%s:%lu: %.80s: %s", name,
			    number, tab, why);
			goto done;
		}
	}
	if (*copy == '\0') {
		err_set(e, MSG_USAGE, "%s:%lu: want a URL first", name,
		    number);
		goto done;
	}
	l.url = plan_url(copy, &l.ask, e);
	if (l.url == NULL)
		goto done;
	rehash(p);
	old = plan_find(p, l.url);
	if (old != NULL) {
		if (!same(old, &l)) {
			err_set(e, MSG_USAGE, "%s:%lu: %s: planned twice, "
			    "with different fields", name, number, l.url);
			goto done;
		}
		rv = 0;
		goto done;
	}
	if (p->n >= PLAN_LINES_MAX) {
		err_set(e, MSG_USAGE, "%s: more than %d lines", name,
		    PLAN_LINES_MAX);
		goto done;
	}
	p->v = mem_grow(p->v, &p->cap, p->n + 1, sizeof(*p->v));
	*slot(p, l.url) = p->n + 1;
	p->v[p->n++] = l;
	l.url = l.ask = NULL;
	rv = 0;
done:
	free(l.url);
	free(l.ask);
	free(copy);
	return rv;
}

/* Lines out of the bytes that fd gives; *some: there was an input. */
static int
lines(struct plan *p, int fd, const char *name, int *some, struct err *e)
{
	struct buf	 line;
	char		 b[16384], *s, *nl, *end;
	unsigned long	 number = 0;
	ssize_t		 n;
	int		 rv = -1;

	buf_init(&line, PLAN_LINE_MAX);
	for (;;) {
		n = io_read_some(fd, b, sizeof(b));
		if (n == -1) {
			err_sys(e, errno, "%s", name);
			goto done;
		}
		if (n == 0)
			break;
		for (s = b, end = b + n; s < end; s = nl + 1) {
			nl = memchr(s, '\n', (size_t)(end - s));
			buf_add(&line, s, (size_t)((nl != NULL ? nl : end) -
			    s));
			if (nl == NULL)
				break;
			number++;
			if (line.over)
				goto toolong;
			if (line.len != 0 && memchr(line.p, 0, line.len) !=
			    NULL) {
				err_set(e, MSG_USAGE, "%s:%lu: NUL in line",
				    name, number);
				goto done;
			}
			if (plan_add_line(p, buf_cstr(&line), name, number,
			    e) == -1)
				goto done;
			*some |= line.len != 0 && line.p[0] != '#';
			buf_reset(&line);
		}
	}
	if (line.over)
		goto toolong;
	if (line.len != 0 && plan_add_line(p, buf_cstr(&line), name,
	    number + 1, e) == -1)
		goto done;
	*some |= line.len != 0 && line.p[0] != '#';
	rv = 0;
	goto done;
toolong:
	err_set(e, MSG_USAGE, "%s:%lu: line longer than %d bytes", name,
	    number, PLAN_LINE_MAX);
done:
	buf_free(&line);
	return rv;
}

int
plan_read(struct plan *p, const char *name, struct err *e)
{
	int	fd = STDIN_FILENO, some = 0, rv;

	if (strcmp(name, "-") == 0)
		name = "stdin";
	else
		fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, errno, "%s", name);
	rv = lines(p, fd, name, &some, e);
	if (fd != STDIN_FILENO)
		(void)close(fd);
	if (rv == 0 && !some)
		return err_set(e, MSG_NOINPUT,
		    "%s: an empty plan: want at least one line", name);
	return rv;
}
