/*
 * arc_fault: verdicts and errors in the words of arc.  It decides nothing.
 * SPDX-License-Identifier: ISC
 */
#include "arc_fault.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <archive.h>

#include "banned.h"

#define ARC_SHOWN	200		/* bytes of a name in a message */

/* A foreign name as it may stand in a message. */
static const char *
shown(const char *name, char out[ARC_SHOWN])
{
	size_t	i, n;

	if (name == NULL)
		return "(no name)";
	n = strlen(name) < ARC_SHOWN ? strlen(name) : ARC_SHOWN - 1;
	for (i = 0; i < n; i++)
		out[i] = (unsigned char)name[i] < 0x20 ||
		    (unsigned char)name[i] > 0x7e ? '?' : name[i];
	out[i] = '\0';
	return out;
}

int
arc_bad(struct arc_fault *f, enum check_code code, const char *name,
    const char *why)
{
	char	s[ARC_SHOWN], w[ARC_SHOWN];

	f->failed = 1;
	if (name == NULL)
		return check_refuse(f->v, code, "%s", shown(why, w));
	return check_refuse(f->v, code, "%s: %s", shown(name, s),
	    shown(why, w));
}

int
arc_too_much(struct arc_fault *f, const char *name, uint64_t most,
    const char *what)
{
	char	why[96];

	(void)snprintf(why, sizeof(why), "want at most %llu %s, got more",
	    (unsigned long long)most, what);
	return arc_bad(f, CHECK_LIMIT, name, why);
}

int
arc_machine(struct arc_fault *f, int errnum, const char *what)
{
	f->failed = -1;
	return err_sys(f->e, errnum, "%s: %s", f->path, what);
}

int
arc_judge(struct arc_fault *f, struct archive *ar, int r,
    const char *name)
{
	const char	*s;
	char		 why[ARC_SHOWN];

	if (f->failed != 0)
		return f->failed;
	if (archive_errno(ar) == ENOMEM)
		return arc_machine(f, ENOMEM, "unpack");
	s = archive_error_string(ar);
	if (s == NULL || *s == '\0')
		s = "damaged";
	switch (r) {
	case ARCHIVE_WARN: /* read, but not wholly as it was meant */
		(void)snprintf(why, sizeof(why), "odd entry: %.150s", s);
		break;
	case ARCHIVE_RETRY: /* a header was passed over */
		(void)snprintf(why, sizeof(why), "damaged entry: %.150s", s);
		break;
	case ARCHIVE_FAILED: /* this entry is lost */
		(void)snprintf(why, sizeof(why), "unreadable: %.150s", s);
		break;
	default: /* ARCHIVE_FATAL: the rest is lost */
		(void)snprintf(why, sizeof(why), "broken archive: %.150s",
		    s);
		break;
	}
	return arc_bad(f, CHECK_ARCHIVE, name, why);
}
