/*
 * buf: bytes that grow to a limit.  It is no string library.
 * SPDX-License-Identifier: ISC
 */
#include "buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "banned.h"

void
buf_init(struct buf *b, size_t max)
{
	memset(b, 0, sizeof(*b));
	b->max = max;
}

void
buf_free(struct buf *b)
{
	free(b->p);
	memset(b, 0, sizeof(*b));
}

void
buf_reset(struct buf *b)
{
	b->len = 0;
	b->over = 0;
}

unsigned char *
buf_room(struct buf *b, size_t n)
{
	if (b->over || n > b->max || b->len > b->max - n) {
		b->over = 1;
		return NULL;
	}
	b->p = mem_grow(b->p, &b->cap, b->len + n + 1, 1);
	return b->p + b->len;
}

void
buf_add(struct buf *b, const void *p, size_t n)
{
	unsigned char	*q;

	if (n == 0 || (q = buf_room(b, n)) == NULL)
		return;
	memcpy(q, p, n);
	b->len += n;
}

void
buf_addc(struct buf *b, int c)
{
	unsigned char	u = (unsigned char)c;

	buf_add(b, &u, 1);
}

void
buf_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list	 ap;
	char	 small[256];
	char	*big;
	int	 n;

	va_start(ap, fmt);
	n = vsnprintf(small, sizeof(small), fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->over = 1;
		return;
	}
	if ((size_t)n < sizeof(small)) {
		buf_add(b, small, (size_t)n);
		return;
	}
	big = mem_alloc((size_t)n + 1);
	va_start(ap, fmt);
	(void)vsnprintf(big, (size_t)n + 1, fmt, ap);
	va_end(ap);
	buf_add(b, big, (size_t)n);
	free(big);
}

void
buf_u32(struct buf *b, uint32_t v)
{
	unsigned char	c[4];
	int		i;

	for (i = 0; i < 4; i++)
		c[i] = (unsigned char)(v >> (24 - 8 * i));
	buf_add(b, c, sizeof(c));
}

char *
buf_cstr(struct buf *b)
{
	b->p = mem_grow(b->p, &b->cap, b->len + 1, 1);
	b->p[b->len] = '\0';
	return (char *)b->p;
}

uint32_t
buf_get_u32(const void *p)
{
	const unsigned char	*c = p;

	return (uint32_t)c[0] << 24 | (uint32_t)c[1] << 16 |
	    (uint32_t)c[2] << 8 | c[3];
}

uint64_t
buf_get_u64(const void *p)
{
	const unsigned char	*c = p;

	return (uint64_t)buf_get_u32(c) << 32 | buf_get_u32(c + 4);
}

uint32_t
buf_get_le32(const void *p)
{
	const unsigned char	*c = p;

	return (uint32_t)c[3] << 24 | (uint32_t)c[2] << 16 |
	    (uint32_t)c[1] << 8 | c[0];
}

uint64_t
buf_get_le64(const void *p)
{
	const unsigned char	*c = p;

	return (uint64_t)buf_get_le32(c + 4) << 32 | buf_get_le32(c);
}
