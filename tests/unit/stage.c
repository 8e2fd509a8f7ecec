/*
 * stage: who is alive keeps its staging, who is dead is swept, and a
 * sweep at the wrong moment costs nobody anything.
 * SPDX-License-Identifier: ISC
 */
#include <sys/stat.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "stage.h"
#include "tap.h"

static char	parent[256];

static int
there(const char *path)
{
	struct stat	st;

	return lstat(path, &st) == 0;
}

/* A directory below fd with something in it, untouched for so long. */
static void
leave_dir(int fd, const char *name, time_t age)
{
	struct timespec	t[2];
	int		d;

	(void)mkdirat(fd, name, 0700);
	d = openat(fd, name, O_RDONLY | O_DIRECTORY);
	(void)mkdirat(d, "built", 0700);
	t[0].tv_sec = t[1].tv_sec = (time_t)(io_wall_ns() / 1000000000) - age;
	t[0].tv_nsec = t[1].tv_nsec = 0;
	(void)futimens(d, t);
	(void)close(d);
}

/* What a power cut leaves of a removal: all but what said whose it was. */
static int
lost(int fd)
{
	const char	*run = "intact.20260101T000000.000000Z-00000000";
	struct err	 e = { 0, "" };
	char		 work[128];
	unsigned int	 n;
	int		 ok;

	(void)snprintf(work, sizeof(work), ".%s.00000000", run);
	leave_dir(fd, run, 3600);
	leave_dir(fd, work, 3600);
	ok = stage_collect(parent, &n, &e) == 0 &&
	    stage_work_collect(fd, &e) == 0 &&
	    faccessat(fd, run, F_OK, 0) == 0 &&
	    faccessat(fd, work, F_OK, 0) == 0;
	leave_dir(fd, run, 90000);
	leave_dir(fd, work, 90000);
	leave_dir(fd, "intact.2026", 90000);
	leave_dir(fd, ".intact.20260101T000000.000000Z-0000000x", 90000);
	ok = ok && stage_collect(parent, &n, &e) == 0 &&
	    stage_work_collect(fd, &e) == 0 &&
	    faccessat(fd, run, F_OK, 0) == -1 &&
	    faccessat(fd, work, F_OK, 0) == -1 &&
	    faccessat(fd, "intact.2026", F_OK, 0) == 0 && faccessat(fd,
	    ".intact.20260101T000000.000000Z-0000000x", F_OK, 0) == 0;
	return ok;
}

/* A child that makes a staging and dies with it; its path into out. */
static void
die_with(char *out, size_t n, int work)
{
	struct stage	s;
	struct err	e = { 0, "" };
	char		*name;
	int		p[2], st, fd;
	pid_t		pid;
	ssize_t		got;

	if (pipe(p) == -1)
		exit(1);
	pid = fork();
	if (pid == 0) {
		if (stage_make(&s, parent, NULL, &e) == -1)
			_exit(1);
		fd = open(parent, O_RDONLY | O_DIRECTORY);
		if (work && stage_work_make(&s, fd, &name, &e) == -1)
			_exit(1);
		fd = openat(s.dirfd, "file", O_WRONLY | O_CREAT, 0600);
		(void)mkdirat(s.dirfd, "dir", 0700);
		(void)io_write(p[1], s.path, strlen(s.path) + 1);
		(void)raise(SIGKILL);
	}
	(void)close(p[1]);
	got = io_read(p[0], out, n);
	(void)close(p[0]);
	(void)waitpid(pid, &st, 0);
	if (got <= 0)
		exit(1);
}

/* The owner of the work directory name below fd, with from made to. */
static void
forge(int fd, const char *name, const char *from, const char *to)
{
	struct err	e = { 0, "" };
	struct buf	b;
	char		file[256], *s;

	buf_init(&b, 65536);
	(void)snprintf(file, sizeof(file), "%s/owner", name);
	if (io_slurp(fd, file, &b, &e) == -1 ||
	    (s = strstr(buf_cstr(&b), from)) == NULL)
		exit(1);
	memcpy(s, to, strlen(to));
	if (io_replace(fd, file, "owner.forged", b.p, b.len, &e) == -1)
		exit(1);
	buf_free(&b);
}

/*
 * A run that lives, whose work directory says another process name space,
 * and then another boot: that one is over, where the disk is this machine's.
 */
static int
rebooted(int fd)
{
	static const char	boot[] =
	    "00000000-0000-0000-0000-000000000000";
	struct stage		s;
	struct err		e = { 0, "" };
	char			place[STAGE_PLACE_MAX], *name;
	int			ok, other;

	if (stage_make(&s, parent, NULL, &e) == -1 ||
	    stage_work_make(&s, fd, &name, &e) == -1)
		return 0;
	stage_place(place);
	forge(fd, name, "pid:[", "pid:]");
	ok = !stage_other_boot(fd, place) &&
	    stage_work_collect(fd, &e) == 0 &&
	    faccessat(fd, name, F_OK, 0) == 0;
	place[36] = '\0';
	forge(fd, name, place, boot);
	memcpy(place, boot, 36);
	other = stage_other_boot(fd, place);
	ok = ok && stage_work_collect(fd, &e) == 0 &&
	    (faccessat(fd, name, F_OK, 0) == -1) == other;
	(void)io_rmtree(fd, name, &e);
	free(name);
	ok = ok && stage_remove(&s, &e) == 0;
	stage_clear(&s);
	return ok;
}

/* Four processes make stagings while four sweep. */
static int
storm(void)
{
	struct stage	s;
	struct err	e;
	pid_t		pid[8];
	unsigned int	n;
	int		i, k, st, ok = 1;

	for (i = 0; i < 8; i++) {
		pid[i] = fork();
		if (pid[i] != 0)
			continue;
		for (k = 0; k < 100; k++) {
			memset(&e, 0, sizeof(e));
			if (i < 4) {
				if (stage_collect(parent, &n, &e) == -1)
					_exit(1);
				continue;
			}
			if (stage_make(&s, parent, NULL, &e) == -1 ||
			    !there(s.path) || !stage_alive(s.path))
				_exit(2);
			if (stage_remove(&s, &e) == -1)
				_exit(3);
			stage_clear(&s);
		}
		_exit(0);
	}
	for (i = 0; i < 8; i++) {
		(void)waitpid(pid[i], &st, 0);
		if (st != 0) {
			printf("# process %d: status %d\n", i, st);
			ok = 0;
		}
	}
	return ok;
}

int
main(void)
{
	struct stage	 a, b, c;
	struct err	 e = { 0, "" };
	char		 dead[512], *name = NULL, *tmp;
	unsigned int	 n = 0;
	int		 fd;

	tmp = getenv("TMPDIR");
	(void)snprintf(parent, sizeof(parent), "%s/stage.XXXXXX",
	    tmp != NULL ? tmp : "/var/tmp");
	if (mkdtemp(parent) == NULL)
		return 1;
	tap_plan(23);
	tap_ok(stage_make(&a, parent, NULL, &e) == 0, "make: %s", e.text);
	tap_ok(there(a.path) && stage_alive(a.path), "it is alive");
	tap_ok(stage_join(&b, a.path, &e) == 0 && strcmp(a.run, b.run) == 0,
	    "join");
	stage_clear(&a);
	tap_ok(stage_alive(b.path), "alive while one of the run lives");
	tap_ok(stage_collect(parent, &n, &e) == 0 && n == 0 && there(b.path),
	    "and not swept");
	die_with(dead, sizeof(dead), 0);
	tap_ok(there(dead) && !stage_alive(dead), "killed: dead");
	tap_ok(stage_make(&c, parent, NULL, &e) == 0 && !there(dead),
	    "the next one sweeps it");
	tap_ok(stage_remove(&c, &e) == 0 && !there(c.path), "remove");
	stage_clear(&c);

	if (stage_make(&a, parent, NULL, &e) == -1 ||
	    stage_join(&c, a.path, &e) == -1)
		return 1;
	tap_ok(stage_leave(&a, 1, &e) == 0 && there(c.path),
	    "a failed stage leaves: its neighbour is still at work in it");
	stage_clear(&a);
	tap_ok(stage_leave(&c, 0, &e) == 0 && !there(c.path),
	    "who leaves last takes it away");
	stage_clear(&c);
	if (stage_make(&a, parent, NULL, &e) == -1)
		return 1;
	tap_ok(stage_leave(&a, 0, &e) == 0 && there(a.path) &&
	    stage_remove(&a, &e) == 0, "but only when the run is over");
	stage_clear(&a);

	fd = open(parent, O_RDONLY | O_DIRECTORY);
	tap_ok(stage_work_make(&b, fd, &name, &e) == 0 && name != NULL,
	    "a work directory");
	tap_ok(stage_work_collect(fd, &e) == 0 &&
	    faccessat(fd, name, F_OK, 0) == 0, "lives with its run");
	tap_ok(stage_remove(&b, &e) == 0, "remove the staging");
	stage_clear(&b);
	tap_ok(stage_work_collect(fd, &e) == 0 &&
	    faccessat(fd, name, F_OK, 0) == -1, "and dies with it");
	free(name);
	(void)mkdirat(fd, ".intact.20260101T000000.000000Z-00000000.00000000",
	    0700);
	tap_ok(stage_work_collect(fd, &e) == 0 && faccessat(fd,
	    ".intact.20260101T000000.000000Z-00000000.00000000", F_OK, 0) ==
	    -1, "one that was killed while it was made goes");
	tap_ok(lost(fd), "what has lost its lock goes when it is a day old, "
	    "and has a name of ours");
	tap_ok(rebooted(fd), "another boot's goes at once, another name "
	    "space's stays");
	(void)mkdirat(fd, "intact.x", 0755);
	(void)snprintf(dead, sizeof(dead), "%s/intact.x", parent);
	tap_ok(stage_join(&a, dead, &e) == -1 && e.code == MSG_NOPERM,
	    "a directory that others may enter is refused");
	e.code = 0;
	tap_ok(stage_join(&a, parent, &e) == -1 && e.code == MSG_USAGE,
	    "so is one that is no staging");
	e.code = 0;
	tap_ok(stage_join(&a, "/nonexistent/intact.y", &e) == -1 &&
	    e.code == MSG_NOINPUT, "and one that is absent");
	tap_ok(storm(), "makers and sweepers at once");
	e.code = 0;
	(void)close(fd);
	tap_ok(io_rmtree(AT_FDCWD, parent, &e) == 0, "tidy");
	return tap_done();
}
