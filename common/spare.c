/*
 * spare: a permission is an empty file of staging, whose name says whose it
 * is and what it gives, so that it is whole as soon as it is there.  It
 * knows no base.
 * SPDX-License-Identifier: ISC
 */
#include "spare.h"

#include <sys/stat.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "msg.h"
#include "banned.h"

#define SPARE_FMT	"spare.%s.%s"
#define SPARE_NAME_MAX	64
#define SPARE_TICK	5	/* ms between two looks */

static int
is_plain(void)
{
	const char	*s = getenv("DRUN_PLAIN");

	return s != NULL && strcmp(s, "1") == 0;
}

void
spare_tell(const char *what)
{
	const char	*stage = getenv("DSTAGE");
	char		 name[SPARE_NAME_MAX];
	int		 dir, fd;

	if (!is_plain() || stage == NULL)
		return;
	(void)snprintf(name, sizeof(name), SPARE_FMT, msg_prog(), what);
	dir = open(stage, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir == -1)
		return;
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW |
	    O_CLOEXEC, 0600);
	if (fd != -1)
		(void)close(fd);
	(void)close(dir);
}

int
spare_told(void)
{
	const char	*s = getenv("DRUN_STAGE");

	/* what a stage starts inherits all of it but is none */
	return is_plain() && s != NULL && strcmp(s, "1") == 0;
}

static int
said(int stagefd, const char *prog, const char *what)
{
	struct stat	st;
	char		name[SPARE_NAME_MAX];

	(void)snprintf(name, sizeof(name), SPARE_FMT, prog, what);
	return fstatat(stagefd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

int
spare_base(int stagefd, const char *format)
{
	static const char *const	progs[] = { "dmerge", "dpublish" };
	static const char *const	all[] = { SPARE_NO, "sqlite",
	    "chroma" };
	double				end = io_now() + SPARE_WAIT_S;
	size_t				i, k;

	for (i = 0; i < 2; i++)
		while (!said(stagefd, progs[i], SPARE_ANY) &&
		    !said(stagefd, progs[i], format)) {
			for (k = 0; k < 3; k++)
				if (strcmp(all[k], format) != 0 &&
				    said(stagefd, progs[i], all[k]))
					return 0;
			if (io_signal() != 0 || io_now() > end)
				return 0;
			(void)poll(NULL, 0, SPARE_TICK);
		}
	return 1;
}
