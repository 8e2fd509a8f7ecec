/*
 * batch_check: the verdict on a file of batch results.  All that can be
 * wrong with one is found in reading it.
 * SPDX-License-Identifier: ISC
 */
#include "check.h"

#include <string.h>

#include "batch.h"
#include "banned.h"

int
batch_check(const char *path, int flags, struct check_verdict *v,
    struct err *e)
{
	static const enum check_code	codes[] = {
		CHECK_OK, CHECK_SIZE, CHECK_BATCH, CHECK_DUPLICATE,
		CHECK_LIMIT, CHECK_UTF8, CHECK_VECTOR
	};
	enum batch_fault	 fault = BATCH_FINE;
	struct batch		*b;
	size_t			 n = strlen(path);
	const char		*s;

	(void)flags;
	if ((b = batch_load(path, &fault, e)) != NULL) {
		batch_free(b);
		return 0;
	}
	if (fault == BATCH_FINE && e->code == MSG_NOINPUT) {
		memset(e, 0, sizeof(*e));
		return check_refuse(v, CHECK_MISSING, "it is not there");
	}
	if (fault == BATCH_FINE)
		return -1;
	/* the caller names the input */
	s = e->text;
	if (strncmp(s, path, n) == 0 && s[n] == ':' && s[n + 1] == ' ')
		s += n + 2;
	check_refuse(v, codes[fault], "%s", s);
	memset(e, 0, sizeof(*e));
	return 1;
}
