/*
 * rec: a record of the stream (man/dstream.5) in memory: a map of string
 * keys that keeps the order, and untouched, the keys it does not know.
 * The only module that includes msgpack.  What the keys of a kind must be
 * is rec_kind's.
 *
 * A string that was handed out lives as long as its record; what is set is
 * copied.  Memory that is not to be had ends the program (mem.h).
 * SPDX-License-Identifier: ISC
 */
#ifndef D_REC_H
#define D_REC_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "msg.h"
#include "rec_scan.h"

struct rec;

/* A new record of that type (key "t" first). */
struct rec *rec_new(const char *type);
/* A map without a type, for nesting. */
struct rec *rec_map(void);
/* From bytes that rec_scan accepted, with n == used.  NULL: *e (76). */
struct rec *rec_parse(const void *p, size_t n, struct err *e);
struct rec *rec_copy(const struct rec *r);
void	rec_free(struct rec *r);
/* "" when there is no "t" or it is no string. */
const char *rec_type(const struct rec *r);

/* Setting replaces in place or appends.  A NULL string removes the key. */
void	rec_set_str(struct rec *r, const char *key, const char *s);
void	rec_set_u64(struct rec *r, const char *key, uint64_t v);
void	rec_set_i64(struct rec *r, const char *key, int64_t v);
void	rec_set_bool(struct rec *r, const char *key, int v);
void	rec_set_f64(struct rec *r, const char *key, double v);
/* A nested map; m stays the caller's. */
void	rec_set_map(struct rec *r, const char *key, const struct rec *m);
/* An array of n strings. */
void	rec_set_strs(struct rec *r, const char *key,
	    const char *const *v, size_t n);
void	rec_del(struct rec *r, const char *key);
int	rec_has(const struct rec *r, const char *key);

/* Getting: 1 found, 0 absent or of another type. Views live as r does. */
int	rec_get_str(const struct rec *r, const char *key, const char **s);
/* As a copy, which the caller frees; NULL: none. */
char	*rec_dup_str(const struct rec *r, const char *key);
int	rec_get_u64(const struct rec *r, const char *key, uint64_t *v);
int	rec_get_i64(const struct rec *r, const char *key, int64_t *v);
int	rec_get_bool(const struct rec *r, const char *key, int *v);
/* A copy of the nested map, which the caller frees; NULL: none. */
struct rec *rec_get_map(const struct rec *r, const char *key);
/* Calls f for each string of an array. */
int	rec_get_strs(const struct rec *r, const char *key,
	    void (*f)(const char *s, void *arg), void *arg);
/* Keys in order: the i-th, or NULL past the last. */
const char *rec_key(const struct rec *r, size_t i);

/* Appended to b; b->over when it does not fit. */
void	rec_encode(const struct rec *r, struct buf *b);
/* One JSON object without newline.  bin is {"$bin":"hex"}. */
void	rec_to_json(const struct rec *r, struct buf *b);
/* NULL: *e (76). */
struct rec *rec_from_json(const char *s, size_t n, struct err *e);

#endif
