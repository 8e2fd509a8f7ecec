/*
 * hide: text of people's, such as a pipeline, without what would let its
 * reader in, so that it can be kept and shown: signed queries and user
 * names of URLs, values of variables that are named like secrets, and of
 * headers that are.  It knows these and guesses no others.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_HIDE_H
#define D_HIDE_H

#define HIDE_MARK "[hidden]"	/* stands where a secret stood */

/* Does the query (behind its '?') hold what lets its bearer in? */
int	hide_is_signed(const char *query);
/*
 * A copy with every secret replaced by HIDE_MARK; the caller frees it.
 */
char	*hide_text(const char *text);
/* The same for each string in JSON; what is no JSON is hidden whole. */
char	*hide_json(const char *json);
/* Was something hidden in it? */
int	hide_is_in(const char *text);

#endif
