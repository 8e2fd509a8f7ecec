/*
 * dcheck: the processes of a run: a worker for each input, the operator's
 * command behind it, what they answer, and how they end.
 *
 * It judges nothing but whether an answer may be believed.
 * SPDX-License-Identifier: ISC
 */
#include "dcheck_work.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arc.h"
#include "chroma.h"
#include "dcheck_run.h"
#include "io.h"
#include "mem.h"
#include "rec.h"
#include "sandbox.h"
#include "stage.h"
#include "banned.h"

#define DYING_MS	1000		/* from closing the pipe to exiting */

struct slot *
slot_at(struct run *g, size_t i)
{
	return &g->ring[(g->first + i) % g->cap];
}

static char *
stage_path(const struct run *g, const char *rel)
{
	struct buf	b;
	char		*s;

	buf_init(&b, 65536);
	buf_printf(&b, "%s/%s", g->f.stage.path, rel);
	s = mem_dup(buf_cstr(&b));
	buf_free(&b);
	return s;
}

int
work_pipe(int fd[2], struct err *e)
{
	int	i;

	if (pipe(fd) == -1)
		return err_sys(e, errno, "pipe");
	for (i = 0; i < 2; i++)
		(void)fcntl(fd[i], F_SETFD, FD_CLOEXEC);
	(void)fcntl(fd[0], F_SETFL, O_NONBLOCK);
	return 0;
}

void
work_shut(int *fd)
{
	if (*fd != -1)
		(void)close(*fd);
	*fd = -1;
}

/*
 * End a slot's process, and whatever it started, for good.  Its group is
 * swept before it is waited for, while its number cannot be another's.
 */
int
work_reap(struct run *g, struct slot *s)
{
	int	st = 0;

	if (s->pid == 0)
		return 0;
	(void)kill(-s->pid, SIGKILL);
	(void)kill(s->pid, SIGKILL);
	while (waitpid(s->pid, &st, 0) == -1 && errno == EINTR)
		;
	s->pid = 0;
	g->running--;
	work_shut(&s->out);
	work_shut(&s->said);
	return st;
}

/* 1 when the process has exited; it stays to be reaped. */
int
work_exited(pid_t pid)
{
	siginfo_t	si;

	memset(&si, 0, sizeof(si));
	return waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG |
	    WNOWAIT) == 0 && si.si_pid == pid;
}

/*
 * Will a worker write?  What is small is read into memory, a digest needs
 * no room, and directories come and go more slowly than either.
 */
static int
needs_work(const struct job *j)
{
	if (j->opaque || (j->bytes_only && !j->unpack))
		return 0;
	return !j->is_dir || !j->has_size || j->size > CHROMA_SMALL_FILE ||
	    (j->flags & CHECK_RECOVER_HOT) != 0;
}

static int
make_work(struct run *g, struct slot *s, char **work, struct err *e)
{
	s->work[0] = '\0';
	if (!needs_work(&s->job))
		return 0;
	(void)snprintf(s->work, sizeof(s->work), "check.%ld.%llu",
	    (long)getpid(), (unsigned long long)g->serial++);
	if (mkdirat(g->f.stage.dirfd, s->work, 0700) == -1) {
		err_sys(e, errno, "%s/%s", g->f.stage.path, s->work);
		s->work[0] = '\0';
		return -1;
	}
	*work = stage_path(g, s->work);
	return 0;
}

void
work_start(struct run *g, struct slot *s)
{
	struct err	 e = { 0, "" };
	char		*work = NULL;
	int		 out[2] = { -1, -1 }, said[2] = { -1, -1 };
	pid_t		 me = getpid(), pid;

	s->phase = WORKING;
	/* once, here: the workers are confined, and may not open it */
	if (!s->job.is_dir && arc_load(&e) == -1)
		goto fail;
	if (make_work(g, s, &work, &e) == -1 || work_pipe(out, &e) == -1 ||
	    work_pipe(said, &e) == -1)
		goto fail;
	pid = fork();
	if (pid == -1) {
		err_sys(&e, errno, "fork");
		goto fail;
	}
	if (pid == 0)
		worker_run(&s->job, g->f.stage.path, work, g->o.timeout_s,
		    me, out[1], said[1]);
	(void)setpgid(pid, pid);
	free(work);
	(void)close(out[1]);
	(void)close(said[1]);
	s->pid = pid;
	s->out = out[0];
	s->said = said[0];
	buf_reset(&s->answer);
	buf_reset(&s->words);
	s->answer.over = s->words.over = 0;
	s->started = io_now();
	s->deadline = s->started + g->o.timeout_s;
	g->running++;
	return;
fail:
	free(work);
	work_shut(&out[0]);
	work_shut(&out[1]);
	work_shut(&said[0]);
	work_shut(&said[1]);
	answer_machine(&s->a, e.code, e.text);
	s->phase = DONE;
}

/* The operator's command, in a group of its own and not confined. */
static void
hook_child(const char *cmd, const char *store, const struct slot *s,
    pid_t me)
{
	struct err	e = { 0, "" };
	int		null = open("/dev/null", O_RDONLY);

	if (null == -1 || dup2(null, STDIN_FILENO) == -1 ||
	    dup2(STDERR_FILENO, STDOUT_FILENO) == -1 ||
	    sandbox_child(me, NULL, 0, &e) == -1 ||
	    setenv("DELTA_URL", s->url, 1) == -1 || (s->what == OPAQUE &&
	    setenv("FILE_NAME", s->file.name, 1) == -1))
		_exit(126);
	(void)signal(SIGXFSZ, SIG_DFL);
	(void)execl("/bin/sh", "sh", "-c", cmd, "sh", store, (char *)NULL);
	_exit(127);
}

static void
start_hook(struct run *g, struct slot *s)
{
	char		*rel = NULL, *path;
	pid_t		 me = getpid(), pid;

	if (s->a.where != NULL) {
		struct buf	b;

		buf_init(&b, 65536);
		buf_printf(&b, "%s/%s", s->work, s->a.where);
		rel = mem_dup(buf_cstr(&b));
		buf_free(&b);
	}
	path = stage_path(g, rel != NULL ? rel : s->job.path);
	pid = fork();
	if (pid == 0)
		hook_child(g->o.hook, path, s, me);
	free(path);
	free(rel);
	if (pid == -1) {
		answer_machine(&s->a, err_status(errno),
		    "fork: no process for -x");
		s->phase = DONE;
		return;
	}
	(void)setpgid(pid, pid);
	s->pid = pid;
	s->phase = HOOKED;
	s->deadline = io_now() + g->o.timeout_s;
	g->running++;
}

/* Answers ----------------------------------------------------------- */

/* A store that a worker claims to have made below its directory. */
static int
where_holds(const struct run *g, const struct slot *s)
{
	struct stat	 st;
	struct buf	 b;
	char		*p, *slash;
	int		 ok = 1;

	if (s->work[0] == '\0')
		return 0;
	buf_init(&b, 65536);
	buf_printf(&b, "%s/%s", s->work, s->a.where);
	p = buf_cstr(&b);
	for (slash = strchr(p, '/'); ok; slash = strchr(slash + 1, '/')) {
		if (slash != NULL)
			*slash = '\0';
		ok = fstatat(g->f.stage.dirfd, p, &st,
		    AT_SYMLINK_NOFOLLOW) == 0 &&
		    (S_ISDIR(st.st_mode) || (slash == NULL &&
		    S_ISREG(st.st_mode)));
		if (slash == NULL)
			break;
		*slash = '/';
	}
	if (ok && (S_ISDIR(st.st_mode) != 0) != (s->a.is_dir != 0))
		ok = 0;
	buf_free(&b);
	return ok && !b.over;
}

/* The worker's answer as it came: 0, or -1 when it is none. */
static int
read_answer(struct slot *s)
{
	struct err	 e = { 0, "" };
	const char	*why;
	struct rec	*r;
	size_t		 used;
	int		 rv;

	if (s->answer.over || s->answer.len == 0 ||
	    rec_scan(s->answer.p, s->answer.len, &used, &why) !=
	    REC_SCAN_OK || used != s->answer.len)
		return -1;
	r = rec_parse(s->answer.p, used, &e);
	if (r == NULL)
		return -1;
	rv = answer_get(&s->a, r);
	rec_free(r);
	return rv;
}

/* The worker ended without an answer: whose fault was it? */
static void
no_answer(struct run *g, struct slot *s, int st)
{
	char	*words = buf_cstr(&s->words), *nl;
	char	 text[SHOWN_MAX + 1];

	while (*words == '\n' || *words == '=')
		words++;
	nl = strchr(words, '\n');
	if (nl != NULL)
		*nl = '\0';
	(void)answer_shown(words, SHOWN_MAX, text);
	if (s->errnum != 0)
		answer_machine(&s->a, err_status(s->errnum),
		    "the worker's answer "
		    "cannot be read");
	else if (WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL)
		answer_machine(&s->a, MSG_IOERR, "worker killed from outside, "
		    "perhaps for want of memory");
	else if (WIFSIGNALED(st) && WTERMSIG(st) == SIGXCPU)
		answer_refuse(&s->a, CHECK_TIMEOUT, "used up %u seconds of "
		    "processor time", g->o.timeout_s);
	else if (WIFSIGNALED(st))
		answer_refuse(&s->a, CHECK_CRASH,
		    "worker died of signal %d%s%s",
		    WTERMSIG(st), *text != '\0' ? ": " : "", text);
	else if (WEXITSTATUS(st) == MSG_IOERR ||
	    WEXITSTATUS(st) == MSG_TEMPFAIL)
		answer_machine(&s->a, WEXITSTATUS(st), *text != '\0' ? text :
		    "worker gave up");
	else
		answer_refuse(&s->a, CHECK_CRASH,
		    "worker exited with %d and no "
		    "sound answer%s%s", WEXITSTATUS(st),
		    *text != '\0' ? ": " : "", text);
}

/* What was promised in the record, held against what was found. */
static void
judge_promises(struct slot *s)
{
	struct answer	*a = &s->a;
	const char	*format = NULL, *content = NULL;
	uint64_t	 want = 0;
	int		 has_want = 0;

	switch (s->what) {
	case DELTA:
		want = s->delta.want_records;
		has_want = s->delta.has_want_records;
		break;
	case BASE:
		format = s->base.format;
		content = s->base.content_digest;
		want = s->base.records;
		has_want = 1;
		break;
	case STORE:
		format = s->store.format;
		content = s->store.content_digest;
		want = s->store.records;
		has_want = 1;
		break;
	case PASS:
	case OPAQUE:
		break;
	}
	if (format != NULL && strcmp(format,
	    store_format_name(a->format)) != 0)
		answer_refuse(a, CHECK_FORMAT, "want %.40s, got %s", format,
		    store_format_name(a->format));
	else if (has_want && want != a->records)
		answer_refuse(a, CHECK_COUNT, "want %llu records, got %llu",
		    (unsigned long long)want, (unsigned long long)a->records);
	else if (content != NULL && strcmp(content, a->content) != 0)
		answer_refuse(a, CHECK_MANIFEST,
		    "content digest: want %.16s..., "
		    "got %.16s...", content, a->content);
}

void
work_drop(struct run *g, struct slot *s)
{
	struct err	e = { 0, "" };

	if (s->work[0] == '\0')
		return;
	if (io_rmtree(g->f.stage.dirfd, s->work, &e) == -1)
		msg_info("%s: %s", s->work, e.text);
	s->work[0] = '\0';
}

/*
 * After a worker that was only asked for the bytes: the remembered verdict
 * is the answer, when these are the files it was given on.
 */
static int
take_cached(struct run *g, struct slot *s)
{
	struct answer	*a = &s->a, *c = &s->cached;

	if (a->kind != ANSWER_OK)
		return 0; /* the bytes are wrong, or the machine failed */
	if (c->kind == ANSWER_OK && (strcmp(c->tree, a->tree) != 0 ||
	    c->is_dir != a->is_dir || (c->where == NULL) !=
	    (a->where == NULL) || (c->where != NULL &&
	    strcmp(c->where, a->where) != 0))) {
		/* unpacked otherwise than it was then: prove it anew */
		s->has_cached = 0;
		answer_clear(c);
		answer_clear(a);
		s->job.bytes_only = s->job.unpack = 0;
		work_drop(g, s);
		s->phase = WAITING;
		return 1;
	}
	answer_clear(a);
	*a = *c;
	memset(c, 0, sizeof(*c));
	msg_info("%s: verdict from the cache", s->url);
	return 0;
}

static void
settle(struct run *g, struct slot *s)
{
	struct answer	*a = &s->a;
	int		 known = s->has_cached;

	s->phase = DONE;
	if (s->has_cached && take_cached(g, s) == 1)
		return;
	if (s->what == OPAQUE) {
		if (a->kind == ANSWER_OK && g->o.hook != NULL)
			start_hook(g, s);
		return;
	}
	if (a->kind == ANSWER_OK && a->format == STORE_NONE)
		answer_refuse(a, CHECK_CRASH,
		    "worker's answer has no format");
	else if (a->kind == ANSWER_OK && a->where != NULL &&
	    !where_holds(g, s))
		answer_refuse(a, CHECK_CRASH,
		    "worker's store is not where it "
		    "says");
	if (!known)
		cache_put(&g->cache, &s->job, a);
	if (a->kind == ANSWER_OK) {
		msg_info("%s: ok: %s, %llu records, %.0f ms", s->url,
		    store_format_name(a->format),
		    (unsigned long long)a->records,
		    (io_now() - s->started) * 1000);
		judge_promises(s);
	}
	if (a->kind == ANSWER_OK && s->what == DELTA && g->o.hook != NULL)
		start_hook(g, s);
}

/*
 * Reads what there is, up to a bound, as a worker may write without end:
 * 1 more may come, 0 the end.
 */
int
work_drain(int fd, struct buf *b, int *errnum)
{
	unsigned char	chunk[16384];
	ssize_t		n;
	int		i;

	for (i = 0; i < 8; i++) {
		n = read(fd, chunk, sizeof(chunk));
		if (n > 0)
			buf_add(b, chunk, (size_t)n);
		else if (n == 0)
			return 0;
		else if (errno == EAGAIN)
			break;
		else if (errno != EINTR) {
			*errnum = errno;
			return 0;
		}
	}
	return 1;
}

void
work_done(struct run *g, struct slot *s)
{
	double	until = io_now() + DYING_MS / 1000.0;
	int	good, st, lost = 0;

	good = s->errnum == 0 && read_answer(s) == 0;
	/* its status says whose fault it was, so it may finish dying */
	while (!good && !work_exited(s->pid) && io_now() < until)
		(void)poll(NULL, 0, 5);
	if (s->said != -1)
		(void)work_drain(s->said, &s->words, &lost);
	st = work_reap(g, s);
	if (s->words.len != 0)
		msg_info("%s: worker: %s", s->url, buf_cstr(&s->words));
	if (!good)
		no_answer(g, s, st);
	settle(g, s);
}

void
work_hook_done(struct run *g, struct slot *s)
{
	int	st = work_reap(g, s);

	s->phase = DONE;
	if (WIFSIGNALED(st))
		answer_refuse(&s->a, CHECK_HOOK, "command died of signal %d",
		    WTERMSIG(st));
	else if (WEXITSTATUS(st) != 0)
		answer_refuse(&s->a, CHECK_HOOK, "command exited with %d",
		    WEXITSTATUS(st));
}

void
work_too_long(struct run *g, struct slot *s)
{
	int	hook = s->phase == HOOKED;

	(void)work_reap(g, s);
	s->phase = DONE;
	answer_refuse(&s->a, CHECK_TIMEOUT, "%s: no end within %u seconds",
	    hook ? "command" : "worker", g->o.timeout_s);
}
