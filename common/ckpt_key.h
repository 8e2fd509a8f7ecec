/*
 * ckpt_key: keys as they are kept.  A local path below the root is kept as
 * "./" and what follows; any other one absolute; URLs as they are.  So a
 * state directory that is mounted elsewhere knows its units again, and no
 * two names of different things are one.
 *
 * Which keys are paths the scope says: those of inputs and chunks, and
 * what comes after "publish " in an operation's.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CKPT_KEY_H
#define D_CKPT_KEY_H

#include "ckpt.h"

/* The directory the file at path lies in, absolute; the caller frees. */
char	*ckpt_key_dir(const char *path, struct err *e);
/*
 * To and from the form that is kept; the caller frees.  root is absolute
 * and canonical.  Relative paths are those of the working directory.
 */
char	*ckpt_key_in(const char *root, enum ckpt_scope scope,
	    const char *key);
char	*ckpt_key_out(const char *root, enum ckpt_scope scope,
	    const char *kept);

#endif
