/*
 * drun, the note: that a run is still at it, for the checkpoint databases
 * that its stages opened; and how it ended, for the one that DCKPT_DB
 * names: dckpt shows it and makes metrics of it.  It is a memory only:
 * trouble with it is said, and changes nothing.
 * SPDX-License-Identifier: ISC
 */
#include "drun.h"

#include <sys/wait.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckpt.h"
#include "io.h"
#include "banned.h"

/*
 * The beat.
 */

static void
beat_in(const char *path, void *arg)
{
	const struct run	*r = arg;
	struct err		 e = { 0, "" };
	struct ckpt		*c = ckpt_open(path, 0, &e);

	if (c != NULL)
		(void)ckpt_beat(c, r->stage.run, &e);
	ckpt_close(c);
	/* nothing of ours is in a database that nobody has made */
	if (e.code != 0 && e.code != MSG_NOINPUT)
		msg_warn("warning: %s: leases are not renewed", e.text);
}

/* In s seconds, from now. */
static void
next_beat(struct run *r, int64_t lease)
{
	r->beat_at = io_now() + (double)lease / 1000 / CKPT_BEATS;
}

/* The environment has the run's DSTAGE and DRUN_ID by then. */
void
drun_beat_begin(struct run *r)
{
	struct err	e = { 0, "" };
	int64_t		lease = ckpt_lease(&e);

	r->beat_pid = 0;
	r->beat_at = 0;
	if (lease != -1) /* else whoever opens one says so */
		next_beat(r, lease);
}

/* In the child. */
static void
beat_now(const struct run *r)
{
	drun_restore_signals(r);
	/* if the database is locked, nobody is to wait for us */
	(void)close(STDIN_FILENO);
	(void)close(STDOUT_FILENO);
	(void)close(r->stage.lockfd);
	if (r->lockfd != -1)
		(void)close(r->lockfd);
	if (r->held != -1)
		(void)close(r->held);
	if (r->ctl != -1)
		(void)close(r->ctl);
	ckpt_run_each(NULL, beat_in, (void *)(uintptr_t)r);
	_exit(0);
}

void
drun_beat(struct run *r)
{
	struct err	e = { 0, "" };
	int64_t		lease;

	if (r->beat_at == 0 || io_now() < r->beat_at)
		return;
	lease = ckpt_lease(&e);
	next_beat(r, lease != -1 ? lease : CKPT_LEASE_S * 1000);
	if (r->beat_pid != 0 && waitpid(r->beat_pid, NULL, WNOHANG) == 0)
		return; /* it still waits for the database */
	r->beat_pid = fork();
	if (r->beat_pid == 0)
		beat_now(r);
	if (r->beat_pid == -1)
		r->beat_pid = 0; /* there will be another */
}

void
drun_beat_end(struct run *r)
{
	r->beat_at = 0;
	if (r->beat_pid == 0)
		return;
	(void)kill(r->beat_pid, SIGKILL);
	while (waitpid(r->beat_pid, NULL, 0) == -1 && errno == EINTR)
		continue;
	r->beat_pid = 0;
}

/*
 * The end.
 */

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
