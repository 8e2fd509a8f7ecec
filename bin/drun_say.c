/*
 * drun, its words: stages and statuses for people, and who is to blame.
 * It decides nothing.
 * SPDX-License-Identifier: ISC
 */
#include "drun.h"

#include <sys/wait.h>

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "banned.h"

#define SAY_TEXT	60	/* bytes of a stage's text in messages */

/* "2 (dcheck -P 4)", for messages; valid until the next call. */
const char *
drun_show(const struct run *r, int i)
{
	static char	 b[SAY_TEXT + 32];
	const struct stage_proc *p = &r->p[i];
	const char	*s = p->shown;
	size_t		 k, len, cut;
	int		 n;

	n = snprintf(b, sizeof(b), "stage %d (", i + 1);
	len = (size_t)n;
	cut = len + SAY_TEXT;
	for (k = 0; s[k] != '\0' && len < cut; k++) {
		if (!isspace((unsigned char)s[k]))
			b[len++] = s[k];
		else if (b[len - 1] != ' ')
			b[len++] = ' ';
	}
	(void)snprintf(b + len, sizeof(b) - len, "%s)",
	    s[k] != '\0' ? "..." : "");
	return b;
}

/* What our exit status is for a wait status. */
int
drun_status(int st)
{
	return WIFSIGNALED(st) ? 128 + WTERMSIG(st) : WEXITSTATUS(st);
}

/* One of the statuses of our table? */
int
drun_is_ours(int status)
{
	switch (status) {
	case MSG_USAGE:
	case MSG_DATAERR:
	case MSG_NOINPUT:
	case MSG_SOFTWARE:
	case MSG_CANTCREAT:
	case MSG_IOERR:
	case MSG_TEMPFAIL:
	case MSG_PROTOCOL:
	case MSG_NOPERM:
		return 1;
	default:
		return 0;
	}
}

/* "exit 65 (DATAERR)", "killed by signal 9 (Killed)". */
const char *
drun_show_status(int st)
{
	static char	 b[96];
	const char	*name = "";
	int		 status = drun_status(st);

	if (WIFSIGNALED(st)) {
		(void)snprintf(b, sizeof(b), "killed by signal %d (%s)",
		    WTERMSIG(st), strsignal(WTERMSIG(st)));
		return b;
	}
	if (drun_is_ours(status))
		name = msg_status_name(status);
	else if (status == 127)
		name = "command not found";
	else if (status == 126)
		name = "command cannot be executed";
	(void)snprintf(b, sizeof(b), "exit %d%s%s%s", status,
	    *name != '\0' ? " (" : "", name, *name != '\0' ? ")" : "");
	return b;
}

void
drun_blame(struct run *r, int status, const char *fmt, ...)
{
	va_list	ap;

	va_start(ap, fmt);
	(void)vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
	msg_error(status, "%s", r->why);
}

/* Name the one that failed, and what its status is. */
int
drun_account(struct run *r, const struct err *e)
{
	int	st;

	if (r->sig != 0) {
		drun_blame(r, 128 + r->sig, "signal %d (%s): stopped; "
		    "nothing was published", r->sig, strsignal(r->sig));
		return 128 + r->sig;
	}
	if (e->code != 0) {
		drun_blame(r, e->code, "%.400s; nothing was published",
		    e->text);
		return e->code;
	}
	if (r->late) {
		drun_blame(r, MSG_TEMPFAIL, "deadline: passed before the "
		    "pipeline was done: stopped; nothing was published");
		return MSG_TEMPFAIL;
	}
	if (r->blame == -1)
		return 0;
	st = r->p[r->blame].st;
	drun_blame(r, drun_status(st), "%s: %s; nothing was published",
	    drun_show(r, r->blame), drun_show_status(st));
	return drun_status(st);
}
