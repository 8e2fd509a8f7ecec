/*
 * mem: allocators that die.  They never return NULL, and never for less
 * than was asked.
 * SPDX-License-Identifier: ISC
 */
#include "mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "msg.h"
#include "banned.h"

void
mem_die(size_t sz)
{
	msg_die(MSG_IOERR, "no memory for %zu bytes", sz);
}

void *
mem_alloc(size_t sz)
{
	void	*p = malloc(sz != 0 ? sz : 1);

	if (p == NULL)
		mem_die(sz);
	return p;
}

void *
mem_zero(size_t n, size_t sz)
{
	void	*p = calloc(n != 0 ? n : 1, sz != 0 ? sz : 1);

	if (p == NULL)
		mem_die(n);
	return p;
}

void *
mem_resize(void *p, size_t n, size_t sz)
{
	void	*q;

	if (sz != 0 && n > SIZE_MAX / sz)
		mem_die(SIZE_MAX);
	q = realloc(p, n * sz != 0 ? n * sz : 1);
	if (q == NULL)
		mem_die(n * sz);
	return q;
}

char *
mem_ndup(const void *p, size_t len)
{
	char	*q = mem_alloc(len + 1);

	if (len != 0)
		memcpy(q, p, len);
	q[len] = '\0';
	return q;
}

char *
mem_dup(const char *s)
{
	return mem_ndup(s, strlen(s));
}

char *
mem_cat(const char *a, const char *b, const char *c)
{
	size_t	 na = strlen(a), nb = strlen(b), nc = strlen(c);
	char	*s = mem_alloc(na + nb + nc + 1);

	memcpy(s, a, na);
	memcpy(s + na, b, nb);
	memcpy(s + na + nb, c, nc + 1);
	return s;
}

void *
mem_grow(void *p, size_t *cap, size_t n, size_t sz)
{
	size_t	c = *cap;

	if (n <= c)
		return p;
	if (c < 16)
		c = 16;
	while (c < n) {
		if (c > SIZE_MAX / 2)
			mem_die(SIZE_MAX);
		c += c / 2;
	}
	*cap = c;
	return mem_resize(p, c, sz);
}
