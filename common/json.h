/*
 * json: a pull parser over text in memory, and the canonical way we write
 * values.  It builds no tree and keeps nothing of what it read.
 *
 * Canonical text: no spaces; strings escape only '"', '\' and bytes below
 * 0x20 (as \u00xx); integers as decimal int64; floats as the first of
 * %.15g %.16g %.17g that reads back the same, with ".0" added where that
 * has neither '.' nor 'e'.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_JSON_H
#define D_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

#define JSON_DEPTH 32	/* arrays and objects inside one another */

enum json_type {
	JSON_NULL,
	JSON_BOOL,	/* i is 0 or 1 */
	JSON_INT,	/* fits int64: i */
	JSON_FLOAT,	/* f; also integers beyond int64 */
	JSON_STR,	/* str, len: unescaped, valid UTF-8 */
	JSON_ARR,	/* elements follow, then JSON_CLOSE */
	JSON_OBJ,	/* members follow, then JSON_CLOSE */
	JSON_CLOSE,	/* of the innermost array or object */
	JSON_EOF,	/* the one top value has ended; only spaces followed */
	JSON_BAD	/* malformed; j->why says how */
};

/* Views are valid until the next call on the same struct json. */
struct json_val {
	enum json_type	 type;
	int64_t		 i;
	double		 f;
	const char	*str;
	size_t		 len;
	const char	*key;	/* in an object, else NULL */
	size_t		 key_len;
	const char	*raw;	/* where the value starts in the text */
	size_t		 raw_len; /* whole value; containers: json_find only */
};

struct json {
	const char	*s;
	size_t		 len, pos;
	int		 depth;
	char		 kind[JSON_DEPTH];	/* '{' or '[' */
	char		 first[JSON_DEPTH];
	int		 done;
	struct buf	 key, str;
	const char	*why;
};

/* Borrows s. json_clear frees the scratch memory. */
void	json_init(struct json *j, const char *s, size_t len);
void	json_clear(struct json *j);
enum json_type json_next(struct json *j, struct json_val *v);
/*
 * The next member or element of the array or object that is open: 1 *v is
 * one, of which all must be read before the next call; 0 it has closed; -1
 * malformed, and j->why says how.  Where a caller leaves in the middle the
 * rest stays unread.
 */
int	json_more(struct json *j, struct json_val *v);
/* Is v a member, and key its key? */
int	json_is(const struct json_val *v, const char *key);
/* v just returned JSON_ARR or JSON_OBJ: pass over it. 0, or -1 when bad. */
int	json_skip(struct json *j);
/* v, of whatever type, is not wanted: the same. */
int	json_pass(struct json *j, const struct json_val *v);
/*
 * The value at a path of object keys, ended by NULL: 1 found, 0 absent,
 * -1 malformed.  v->str is only valid when the string had no escapes or
 * through the copy: *v stays valid as long as the text and j live.
 */
int	json_find(struct json *j, const char *s, size_t len,
	    struct json_val *v, ...);

/* Is s one well-formed JSON text? */
int	json_valid(const char *s, size_t len);

void	json_put_str(struct buf *b, const char *s, size_t len);
void	json_put_int(struct buf *b, int64_t v);
/* v must be finite. */
void	json_put_float(struct buf *b, double v);
/* "key":  with a comma first unless b ends in '{' or '['. */
void	json_put_key(struct buf *b, const char *key);
/* key and value in one. */
void	json_put_kstr(struct buf *b, const char *key, const char *s);
void	json_put_kint(struct buf *b, const char *key, int64_t v);

#endif
