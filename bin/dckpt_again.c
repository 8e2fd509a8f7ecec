/*
 * dckpt, recorded pipelines run again: each once, in the directory it was
 * run in, under drun.  What it is, who ran it said; nothing is guessed.
 * SPDX-License-Identifier: ISC
 */
#define _XOPEN_SOURCE 700 /* tsearch */
#include "dckpt.h"

#include <sys/types.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hide.h"
#include "io.h"
#include "mem.h"
#include "banned.h"

#define EXE_MAX		4096	/* bytes of our own executable's path */

/* No directory comes before any. */
static int
cwd_cmp(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return (a != NULL) - (b != NULL);
	return strcmp(a, b);
}

static int
again_cmp(const void *pa, const void *pb)
{
	const struct dckpt_again	*a = pa, *b = pb;
	int				 r = strcmp(a->command, b->command);

	if (r == 0)
		r = strcmp(a->pipeline, b->pipeline);
	return r != 0 ? r : cwd_cmp(a->cwd, b->cwd);
}

static void
again_free(struct dckpt_again *g)
{
	free(g->pipeline);
	free(g->command);
	free(g->cwd);
	free(g);
}

void
dckpt_again_add(struct dckpt_agains *a, const struct ckpt_unit *u)
{
	struct dckpt_again	*g, **found;

	if (u->command == NULL) {
		a->unknown++;
		return;
	}
	if (hide_is_in(u->command)) {
		a->hidden++;
		return;
	}
	g = mem_zero(1, sizeof(*g));
	g->pipeline = mem_dup(u->pipeline);
	g->command = mem_dup(u->command);
	g->cwd = u->cwd != NULL ? mem_dup(u->cwd) : NULL;
	found = tsearch(g, &a->tree, again_cmp);
	if (found == NULL)
		msg_die(MSG_IOERR, "pipelines to run again: no memory");
	if (*found != g) {
		again_free(g); /* it is there */
		return;
	}
	a->v = mem_grow(a->v, &a->cap, a->n + 1, sizeof(*a->v));
	a->v[a->n++] = g;
}

void
dckpt_again_clear(struct dckpt_agains *a)
{
	size_t	i;

	for (i = 0; i < a->n; i++) {
		(void)tdelete(a->v[i], &a->tree, again_cmp);
		again_free(a->v[i]);
	}
	free(a->v);
	memset(a, 0, sizeof(*a));
}

void
dckpt_again_say(struct dckpt *o, const struct dckpt_agains *a)
{
	struct buf	b;
	size_t		i;

	(void)o;
	buf_init(&b, DCKPT_LINE_MAX);
	for (i = 0; i < a->n; i++) {
		dckpt_quoted(&b, a->v[i]->command);
		msg_note("would run: drun %s%s%s", buf_cstr(&b),
		    a->v[i]->cwd != NULL ? " in " : "",
		    a->v[i]->cwd != NULL ? a->v[i]->cwd : "");
		buf_reset(&b);
	}
	buf_free(&b);
}

/* Our neighbour, else whatever PATH says. */
static const char *
find_drun(char b[EXE_MAX])
{
	static const char	name[] = "drun";
	ssize_t			n;
	char			*slash;

	n = readlink("/proc/self/exe", b, EXE_MAX - sizeof(name) - 1);
	if (n <= 0)
		return name;
	b[n] = '\0';
	slash = strrchr(b, '/');
	if (slash == NULL)
		return name;
	memcpy(slash + 1, name, sizeof(name));
	return access(b, X_OK) == 0 ? b : name;
}

/* In the child: it does not return. */
static void
become(const struct dckpt_again *g, const char *prog, const char *db,
    int stdin_too)
{
	static const char *const	not_ours[] = { "DSTAGE", "DRUN_ID",
	    "DRUN_LAST", "DRUN_PLAIN", "DRUN_PIPELINE", "DRUN_CWD" };
	size_t				i;
	int				fd;

	for (i = 0; i < sizeof(not_ours) / sizeof(not_ours[0]); i++)
		(void)unsetenv(not_ours[i]);
	if (setenv("DCKPT_DB", db, 1) == -1 ||
	    setenv("DCKPT_PIPELINE", g->pipeline, 1) == -1) {
		msg_warn("environment: %s", strerror(errno));
		_exit(MSG_IOERR);
	}
	if (g->cwd != NULL && chdir(g->cwd) == -1) {
		msg_warn("%s: %s", g->cwd, strerror(errno));
		_exit(err_status(errno));
	}
	if (!stdin_too) {
		fd = open("/dev/null", O_RDONLY);
		if (fd > STDIN_FILENO)
			(void)dup2(fd, STDIN_FILENO);
	}
	(void)execlp(prog, "drun", g->command, (char *)NULL);
	msg_warn("%s: %s", prog, strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

/* Its exit status; 128 + n for a signal, which ends us too. */
static int
run_one(const struct dckpt_again *g, const char *prog, const char *db,
    int stdin_too)
{
	struct err	e = { 0, "" };
	int		r, st = 0;

	r = io_run(&st, &e);
	if (r == 1)
		become(g, prog, db, stdin_too);
	if (r != 0) {
		msg_err(&e);
		return e.code;
	}
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

int
dckpt_again_run(struct dckpt *o, const struct dckpt_agains *a)
{
	char		 b[EXE_MAX];
	const char	*prog = find_drun(b);
	char		*db = dckpt_db_path(o);
	size_t		 i;
	int		 got, status = 0;

	(void)fflush(stdout);
	/* what we have open would be shared with it */
	ckpt_close(o->c);
	o->c = NULL;
	io_catch_signals();
	for (i = 0; i < a->n && io_signal() == 0; i++) {
		msg_info("run: %s", a->v[i]->command);
		/* one pipeline may read a plan; of several, who? */
		got = run_one(a->v[i], prog, db, a->n == 1);
		status = msg_worse(status, got);
	}
	free(db);
	io_die_of_signal();
	return status;
}
