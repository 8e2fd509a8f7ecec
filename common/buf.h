/*
 * buf: a growing byte buffer with a hard maximum.
 *
 * Growth past the maximum is remembered (over) and the bytes are dropped;
 * the caller looks once, at the end.  Memory: at most max plus half.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_BUF_H
#define D_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "msg.h"

struct buf {
	unsigned char	*p;	/* owned */
	size_t		 len;
	size_t		 cap;
	size_t		 max;
	int		 over;	/* something did not fit */
};

/* max in bytes. */
void	buf_init(struct buf *b, size_t max);
void	buf_free(struct buf *b);
/* Forget the bytes, keep the memory. */
void	buf_reset(struct buf *b);
/* Room for n more bytes, or NULL; the caller adds what it used to len. */
unsigned char *buf_room(struct buf *b, size_t n);
void	buf_add(struct buf *b, const void *p, size_t n);
void	buf_addc(struct buf *b, int c);
void	buf_str(struct buf *b, const char *s);
void	buf_printf(struct buf *b, const char *fmt, ...) MSG_PRINTF(2, 3);
void	buf_u32(struct buf *b, uint32_t v);	/* big-endian */
/* The bytes with a NUL behind them (not counted); valid until next use. */
char	*buf_cstr(struct buf *b);

uint32_t buf_get_u32(const void *p);	/* big-endian */
uint64_t buf_get_u64(const void *p);
uint32_t buf_get_le32(const void *p);	/* little-endian */
uint64_t buf_get_le64(const void *p);

#endif
