/*
 * path: may this foreign name be used below this directory?  And the
 * canonical text of a local input's URL.  It opens nothing.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_PATH_H
#define D_PATH_H

#include <stddef.h>

#include "buf.h"

#define PATH_REL_MAX 1024	/* bytes of a relative path we accept */

/*
 * 1 when s is a relative path that stays below its directory: not empty,
 * no leading '/', no "." or ".." or empty component, no control byte, no
 * backslash, valid UTF-8, at most PATH_REL_MAX bytes.
 */
int	path_is_safe(const char *s);
/* The same for a single component. */
int	path_is_name(const char *s);
/* 1 when the n bytes are valid UTF-8 (no surrogates, no overlong form). */
int	path_utf8(const void *p, size_t n);
/*
 * The absolute, canonical path behind a local operand or file:// URL, or
 * NULL with *e set.  "." and ".." and doubled slashes go; links stay, as
 * the name is the identity of the input.  The caller frees it.
 */
char	*path_from_url(const char *url, struct err *e);
/*
 * How an absolute path is written in plans and records: itself, or
 * file:// with %XX where it holds control bytes or invalid UTF-8.  The
 * caller frees it.
 */
char	*path_to_url(const char *abs);
/* 1 when url names a local path ("/x", "x", "file:///x"). */
int	path_is_local(const char *url);
/* Last component; points into s. */
const char *path_base(const char *s);

#endif
