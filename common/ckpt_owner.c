/*
 * ckpt_owner: processes looked at from outside.  It sends no signal but 0
 * and guesses nothing of other machines.
 * SPDX-License-Identifier: ISC
 */
#include "ckpt_owner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "banned.h"

#define STAT_MAX	4096	/* bytes of /proc/PID/stat */
#define STAT_BORN	19	/* fields between the state and its birth */

enum life {
	DEAD,
	ALIVE,		/* and the one that is meant */
	REUSED,		/* another one has its number */
	PERHAPS		/* a process has that number; which, is not known */
};

/* Clock ticks since boot at which it began; 0 unknown, -1 it is dead. */
static int64_t
birth(int64_t pid)
{
	struct err	 e = { 0, "" };
	struct buf	 b;
	char		 path[64], *s;
	int64_t		 born = 0;
	int		 i;

	(void)snprintf(path, sizeof(path), "/proc/%lld/stat",
	    (long long)pid);
	buf_init(&b, STAT_MAX);
	if (io_slurp(AT_FDCWD, path, &b, &e) == -1)
		goto done;
	/* "pid (name) S ...", and a name may hold anything */
	s = strrchr(buf_cstr(&b), ')');
	if (s == NULL || s[1] != ' ')
		goto done;
	s += 2;
	if (*s == 'Z' || *s == 'X') {
		born = -1; /* it only waits to be reaped */
		goto done;
	}
	for (i = 0; s != NULL && i < STAT_BORN; i++)
		s = strchr(s + 1, ' ');
	if (s != NULL)
		born = strtoll(s, NULL, 10);
done:
	buf_free(&b);
	return born;
}

static enum life
life(int64_t pid, int64_t born)
{
	int64_t	now;

	if (pid <= 1 || (kill((pid_t)pid, 0) == -1 && errno == ESRCH))
		return DEAD;
	now = birth(pid);
	if (now == -1)
		return DEAD;
	if (now == 0 || born == 0)
		return PERHAPS;
	return now == born ? ALIVE : REUSED;
}

void
ckpt_owner_self(struct ckpt_owner *o, int alone)
{
	struct err	 e = { 0, "" };
	struct buf	 b;
	char		 ns[64] = "";
	ssize_t		 n;

	memset(o, 0, sizeof(*o));
	if (gethostname(o->host, sizeof(o->host) - 1) == -1)
		(void)snprintf(o->host, sizeof(o->host), "localhost");
	buf_init(&b, CKPT_PLACE_MAX);
	n = readlink("/proc/self/ns/pid", ns, sizeof(ns) - 1);
	if (n > 0 && io_slurp(AT_FDCWD, "/proc/sys/kernel/random/boot_id",
	    &b, &e) == 0) {
		while (b.len > 0 && b.p[b.len - 1] == '\n')
			b.len--;
		(void)snprintf(o->place, sizeof(o->place), "%.48s %.60s",
		    buf_cstr(&b), ns);
	}
	buf_free(&b);
	o->pid = getpid();
	o->born = birth(o->pid);
	o->pgid = getpgrp();
	if (alone)
		o->pgborn = birth(o->pgid);
	if (o->pgborn < 0)
		o->pgborn = 0;
}

/* On this machine: 1 gone, 0 it lives, -1 only the lease can say. */
static int
gone_here(const struct ckpt_owner *o)
{
	enum life	me = life(o->pid, o->born), group;
	int		some;

	if (me == ALIVE)
		return 0;
	if (o->pgid <= 1)
		return me == PERHAPS ? -1 : 1;
	group = life(o->pgid, o->pgborn);
	if (o->pgborn != 0 && group == ALIVE)
		return 0;
	if (group == REUSED)
		return 1; /* no group has the number of a process outside */
	some = kill(-(pid_t)o->pgid, 0) == 0 || errno != ESRCH;
	return some || me == PERHAPS ? -1 : 1;
}

int
ckpt_owner_gone(const struct ckpt_owner *o, const struct ckpt_owner *self,
    int over)
{
	int	gone = -1;

	if (o->place[0] != '\0' ? strcmp(o->place, self->place) == 0 :
	    o->host[0] != '\0' && strcmp(o->host, self->host) == 0)
		gone = gone_here(o);
	return gone == -1 ? over : gone;
}
