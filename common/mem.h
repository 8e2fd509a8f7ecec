/*
 * mem: allocators that die (status 74) when there is no memory.
 * No bare malloc elsewhere.  What they return is freed with free().
 * SPDX-License-Identifier: ISC
 */
#ifndef D_MEM_H
#define D_MEM_H

#include <stddef.h>

/* For a library that has told us so instead. */
void	mem_die(size_t sz);
void	*mem_alloc(size_t sz);
/* Zeroed. */
void	*mem_zero(size_t n, size_t sz);
/* p may be NULL; dies when n * sz overflows. */
void	*mem_resize(void *p, size_t n, size_t sz);
char	*mem_dup(const char *s);
/* Copies len bytes and adds a NUL. */
char	*mem_ndup(const void *p, size_t len);
/* a, b and c as one. */
char	*mem_cat(const char *a, const char *b, const char *c);
/*
 * For an array p of *cap elements of size sz that must hold n: grows by
 * half where needed, sets *cap, returns the array.
 */
void	*mem_grow(void *p, size_t *cap, size_t n, size_t sz);

#endif
