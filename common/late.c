/*
 * late: dlopen, and one look-up for each function.  It knows no library.
 * SPDX-License-Identifier: ISC
 */
#include "late.h"

#include <dlfcn.h>
#include <string.h>

#include "banned.h"

int
late_load(int *done, const char *library, const struct late *v, size_t n,
    struct err *e)
{
	const char	*why;
	void		*h, *f;
	size_t		 i;

	if (*done)
		return 0;
	h = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
	if (h == NULL) {
		why = dlerror();
		if (why != NULL) /* it names the library, or what that lacks */
			return err_set(e, MSG_IOERR, "%s", why);
		return err_set(e, MSG_IOERR, "%s: cannot be loaded", library);
	}
	for (i = 0; i < n; i++) {
		f = dlsym(h, v[i].name);
		if (f == NULL)
			return err_set(e, MSG_IOERR, "%s: has no %s: want "
			    "the version that this was built with, or a "
			    "newer one", library, v[i].name);
		/* as POSIX has it: a pointer to data holds one to code */
		memcpy(v[i].at, &f, sizeof(f));
	}
	*done = 1;
	return 0;
}
