/*
 * drun, the note: how a run ended, for the checkpoint database that
 * DCKPT_DB names; dckpt shows it and makes metrics of it.  It is a memory
 * only: trouble with it is said, and changes nothing.
 * SPDX-License-Identifier: ISC
 */
#include "drun.h"

#include <stdlib.h>
#include <string.h>

#include "ckpt.h"
#include "banned.h"

int
drun_note_wanted(void)
{
	const char	*s = getenv("DCKPT_DB");

	return s != NULL && *s != '\0';
}

void
drun_note(const struct drun_end *n)
{
	struct err		 e = { 0, "" };
	struct ckpt_run_end	 end;
	struct ckpt		*c;

	c = ckpt_open(NULL, CKPT_CREATE, &e);
	if (c != NULL) {
		memset(&end, 0, sizeof(end));
		end.started = n->started;
		end.ended = n->ended;
		end.status = n->status;
		end.records = n->records;
		end.bytes = n->bytes;
		end.summary = n->summary;
		/* in this order, so that it began when it began */
		if (ckpt_run_end(c, n->run, &end, &e) == 0)
			(void)ckpt_run_note(c, n->run,
			    getenv("DRUN_PIPELINE"), getenv("DRUN_CWD"), &e);
		/* what it began and nobody finished is to be done again */
		(void)ckpt_release(c, n->run, n->status, NULL, &e);
		ckpt_close(c);
	}
	if (e.code != 0)
		msg_warn("warning: %s", e.text);
}
