/*
 * tmp: a directory of a unit test's own, below TMPDIR; below /tmp where that
 * is not set, or longer than tests have room for.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_TMP_H
#define D_TMP_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TMP_DIR	56	/* bytes of its name; 8 remain of 64 for a file's */

/* b becomes its name: 0; -1 and errno. */
static inline int
tmp_dir(char b[TMP_DIR], const char *name)
{
	const char	*at = getenv("TMPDIR");

	if (at == NULL || *at == '\0' ||
	    strlen(at) + strlen(name) + sizeof("/.XXXXXX") > TMP_DIR)
		at = "/tmp";
	(void)snprintf(b, TMP_DIR, "%s/%s.XXXXXX", at, name);
	return mkdtemp(b) == NULL ? -1 : 0;
}

#endif
