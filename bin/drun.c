/*
 * drun: run a pipeline of which either everything is committed or nothing:
 * staging, process group, the first failure named, the commit at the end.
 * It looks at no record and publishes nothing itself: dpublish --commit
 * does, when every stage has exited 0.
 *
 * It is C and not a script so that each stage is a child whose pid and
 * status are known, and signals and staging are handled without a shell's
 * quirks.
 * SPDX-License-Identifier: ISC
 */
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "msg.h"
#include "path.h"
#include "stage.h"
#include "banned.h"

#define RUN_STAGES	64	/* stages of a pipeline */
#define RUN_DEPTH	64	/* quotes, braces, brackets in one another */
#define RUN_GRACE_S	0.5	/* after a 76, for others to say more */
#define RUN_TERM_S	2.0	/* after a signal passed on, TERM as well */
#define RUN_KILL_S	10.0	/* after TERM, KILL */
#define RUN_REAP_S	1.0	/* after KILL, to be seen gone */
#define RUN_SHOW	60	/* bytes of a stage's text in messages */
#define RUN_PATH_MAX	4096	/* bytes of our own executable's path */

struct stage_proc {
	const char	*text;	/* borrowed from the argument */
	size_t		 len;
	pid_t		 pid;	/* 0: reaped, or never started */
	int		 st;	/* of waitpid */
};

struct run {
	struct stage_proc	 p[RUN_STAGES];
	int			 n, left;
	struct stage		 stage;
	pid_t			 group;	/* the watcher's pid; 0 none */
	int			 ctl;	/* to the watcher; -1 none */
	int			 tty;	/* fd whose terminal they have; -1 */
	int			 blame;	/* stage that failed first; -1 */
	int			 sig;	/* that ended the run; 0 */
	int			 stopping;
	double			 grace_at, term_at, kill_at; /* 0: not set */
	sigset_t		 mask;	/* as it was when we came */
	sigset_t		 wait;	/* while waiting */
};

static const char *const usage_text =
    "usage: drun [-hknVv] [--stage-parent dir] 'pipeline'\n";

static volatile sig_atomic_t	got_sig, got_sigs;

/*
 * The pipeline's text, split.
 */

struct lex {
	const char	*s;
	size_t		 pos;
	char		 ctx[RUN_DEPTH];
	int		 depth;
	int		 cmd;	/* a reserved word is one here */
	int		 word;	/* inside a word */
	int		 redir;	/* straight after < or > */
	int		 some;	/* the stage has a token */
	int		 ended;	/* a newline came after it */
	size_t		 start;
};

static int
refuse(const char *what)
{
	msg_warn("pipeline: %s: want stages with | between them: wrap the "
	    "stage in { ...; }", what);
	return -1;
}

/* What this small lexer does not understand in braces either. */
static int
refuse_script(const char *what)
{
	msg_warn("pipeline: %s: not understood here: put the stage into a "
	    "script", what);
	return -1;
}

static char
top(const struct lex *l)
{
	return l->depth > 0 ? l->ctx[l->depth - 1] : '\0';
}

static int
push(struct lex *l, char c)
{
	if (l->depth == RUN_DEPTH) {
		msg_warn("pipeline: want at most %d quotes and brackets in "
		    "one another", RUN_DEPTH);
		return -1;
	}
	l->ctx[l->depth++] = c;
	return 0;
}

/* A word that ends here stands at pos: its length when it is w, else 0. */
static size_t
is_word(const struct lex *l, const char *w)
{
	size_t	n = strlen(w);
	int	c;

	if (strncmp(l->s + l->pos, w, n) != 0)
		return 0;
	c = (unsigned char)l->s[l->pos + n];
	return c == '\0' || strchr(" \t\n;|&()<>", c) != NULL ? n : 0;
}

/*
 * Reserved words change what a bracket or a bar means.  The bytes used, 0
 * for none here, -1.
 */
static int
lex_reserved(struct lex *l)
{
	static const char *const	go_on[] = { "if", "then", "else",
	    "elif", "while", "until", "do", "!" };
	size_t				i, n;

	if (top(l) == 'c' && (n = is_word(l, "in")) != 0) {
		l->cmd = 1;
		return (int)n;
	}
	if (!l->cmd)
		return 0;
	for (i = 0; i < sizeof(go_on) / sizeof(go_on[0]); i++)
		if ((n = is_word(l, go_on[i])) != 0)
			return (int)n;
	if ((n = is_word(l, "{")) != 0)
		return push(l, '{') == -1 ? -1 : (int)n;
	if ((n = is_word(l, "case")) != 0) {
		l->cmd = 0;
		return push(l, 'c') == -1 ? -1 : (int)n;
	}
	if ((top(l) == '{' && (n = is_word(l, "}")) != 0) ||
	    (top(l) == 'c' && (n = is_word(l, "esac")) != 0)) {
		l->depth--;
		return (int)n;
	}
	if (is_word(l, "}") != 0) {
		msg_warn("pipeline: a } that closes nothing");
		return -1;
	}
	return 0;
}

/* What counts within quotes and outside: the bytes used, 0 none, -1. */
static int
lex_quote(struct lex *l)
{
	const char	*p = l->s + l->pos, *q;
	char		 c = top(l);
	int		 dq = c == '"' || c == 'P';

	switch (*p) {
	case '\\':
		return p[1] != '\0' ? 2 : 1;
	case '\'':
		if (dq)
			return 0;
		q = strchr(p + 1, '\'');
		if (q == NULL) {
			msg_warn("pipeline: a ' that nothing closes");
			return -1;
		}
		return (int)(q - p) + 1;
	case '`':
		for (q = p + 1; *q != '\0' && *q != '`'; q++)
			if (*q == '\\' && q[1] != '\0')
				q++;
		if (*q == '\0') {
			msg_warn("pipeline: a ` that nothing closes");
			return -1;
		}
		return (int)(q - p) + 1;
	case '"':
		if (c == '"')
			l->depth--;
		else if (push(l, '"') == -1)
			return -1;
		return 1;
	case '$':
		if (p[1] == '{')
			return push(l, dq ? 'P' : 'p') == -1 ? -1 : 2;
		if (p[1] == '(' && p[2] == '(')
			return push(l, 'a') == -1 || push(l, 'a') == -1 ?
			    -1 : 3;
		if (p[1] == '(') {
			l->cmd = 1;
			l->word = 0;
			return push(l, '$') == -1 ? -1 : 2;
		}
		if (p[1] == '\'' && !dq)
			return refuse_script("$'");
		return 1;
	default:
		return 0;
	}
}

/* An operator of the shell: bytes used, 0 none, -1 refused. */
static int
lex_operator(struct lex *l, int *bar)
{
	const char	*p = l->s + l->pos;
	char		 c = top(l);

	switch (*p) {
	case '(':
		l->cmd = 1;
		return push(l, c == 'a' ? 'a' : '(') == -1 ? -1 : 1;
	case ')':
		if (c == '(' || c == '$' || c == 'a') {
			l->depth--;
			l->cmd = c == '(';
			l->word = c != '(';
		} else if (l->depth > 0) {
			l->cmd = 1; /* the end of a case pattern */
			l->word = 0;
		} else {
			msg_warn("pipeline: a ) that closes nothing");
			return -1;
		}
		return 1;
	case '<':
	case '>':
		if (*p == '<' && p[1] == '<' && c != 'a')
			return refuse_script("<<");
		l->redir = 1;
		return 1;
	case '&':
		if (l->depth == 0)
			return refuse(p[1] == '&' ? "&&" : "&");
		l->cmd = 1;
		return 1;
	case ';':
		if (l->depth == 0)
			return refuse(";");
		l->cmd = 1;
		return 1;
	case '|':
		if (l->depth == 0 && (p[1] == '|' || p[1] == '&'))
			return refuse(p[1] == '|' ? "||" : "|&");
		*bar = l->depth == 0;
		l->cmd = 1;
		return 1;
	default:
		return 0;
	}
}

/* Take text[start, end) as a stage, trimmed; -1 when it is none. */
static int
add_stage(struct run *r, const struct lex *l, size_t end)
{
	size_t	start = l->start;

	if (!l->some) {
		msg_warn("stage %d is empty: want PROGRAM | PROGRAM ...",
		    r->n + 1);
		return -1;
	}
	if (r->n == RUN_STAGES) {
		msg_warn("pipeline: want at most %d stages", RUN_STAGES);
		return -1;
	}
	while (isspace((unsigned char)l->s[start]))
		start++;
	while (end > start && isspace((unsigned char)l->s[end - 1]) &&
	    (end - 1 == start || l->s[end - 2] != '\\'))
		end--;
	r->p[r->n].text = l->s + start;
	r->p[r->n].len = end - start;
	r->n++;
	return 0;
}

/* Blanks, newlines, comments: bytes used, 0 none, -1. */
static int
lex_blank(struct lex *l)
{
	const char	*p = l->s + l->pos;

	if (*p == '#' && !l->word)
		return (int)strcspn(p, "\n");
	if (*p == '\\' && p[1] == '\n')
		return 2;
	if (*p != ' ' && *p != '\t' && *p != '\n')
		return 0;
	l->word = l->redir = 0;
	if (*p == '\n') {
		if (l->depth > 0)
			l->cmd = 1;
		else if (l->some)
			l->ended = 1;
	}
	return 1;
}

/* One token, or part of one, of shell text outside double quotes. */
static int
lex_token(struct lex *l, int *bar)
{
	int	used, redir = l->redir;

	used = lex_blank(l);
	if (used != 0)
		return used;
	if (l->depth == 0 && l->ended)
		return refuse("newline");
	if (!l->word && (used = lex_reserved(l)) != 0) {
		l->some = 1;
		return used;
	}
	l->redir = 0;
	if (redir && strchr("&|<>", l->s[l->pos]) != NULL) {
		l->redir = l->s[l->pos] == '<' || l->s[l->pos] == '>';
		return 1;
	}
	used = lex_operator(l, bar);
	if (used != 0) {
		if (!*bar)
			l->some = 1;
		/* $( leaves a word open, an operator ends it */
		if (l->s[l->pos] != ')')
			l->word = 0;
		return used;
	}
	l->some = 1;
	used = lex_quote(l);
	if (used == -1)
		return -1;
	if (used != 2 || l->s[l->pos] != '$' || l->s[l->pos + 1] != '(') {
		l->word = 1;
		l->cmd = 0;
	}
	return used != 0 ? used : 1;
}

/* One token inside "..." or ${...}. */
static int
lex_inside(struct lex *l)
{
	int	used;

	if (l->s[l->pos] == '}' && top(l) != '"') {
		l->depth--;
		l->word = 1;
		return 1;
	}
	used = lex_quote(l);
	return used != 0 ? used : 1;
}

/* Fill r->p from the operand; 0, or -1 after saying why (64). */
static int
split(struct run *r, const char *text)
{
	struct lex	l;
	int		used, bar;
	char		c;

	memset(&l, 0, sizeof(l));
	l.s = text;
	l.cmd = 1;
	while (text[l.pos] != '\0') {
		bar = 0;
		c = top(&l);
		if (c == '"' || c == 'p' || c == 'P')
			used = lex_inside(&l);
		else
			used = lex_token(&l, &bar);
		if (used == -1)
			return -1;
		if (bar) {
			if (add_stage(r, &l, l.pos) == -1)
				return -1;
			l.some = l.word = l.redir = 0;
			l.start = l.pos + 1;
		}
		l.pos += (size_t)used;
	}
	if (l.depth > 0) {
		c = top(&l);
		msg_warn("pipeline: a %s that nothing closes",
		    c == '"' ? "\"" : c == '{' ? "{" : c == 'c' ? "case" :
		    c == 'p' || c == 'P' ? "${" : "(");
		return -1;
	}
	return add_stage(r, &l, l.pos);
}

/*
 * Words about stages.
 */

/* "2 (dcheck -P 4)", for messages; valid until the next call. */
static const char *
show(const struct run *r, int i)
{
	static char	 b[RUN_SHOW + 32];
	const struct stage_proc *p = &r->p[i];
	size_t		 k, len, cut;
	int		 n;

	n = snprintf(b, sizeof(b), "stage %d (", i + 1);
	len = (size_t)n;
	cut = len + RUN_SHOW;
	for (k = 0; k < p->len && len < cut; k++) {
		if (!isspace((unsigned char)p->text[k]))
			b[len++] = p->text[k];
		else if (b[len - 1] != ' ')
			b[len++] = ' ';
	}
	(void)snprintf(b + len, sizeof(b) - len, "%s)",
	    k < p->len ? "..." : "");
	return b;
}

/* What our exit status is for a wait status. */
static int
status_of(int st)
{
	return WIFSIGNALED(st) ? 128 + WTERMSIG(st) : WEXITSTATUS(st);
}

/* One of the statuses of our table? */
static int
is_ours(int status)
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
static const char *
show_status(int st)
{
	static char	 b[96];
	const char	*name = "";
	int		 status = status_of(st);

	if (WIFSIGNALED(st)) {
		(void)snprintf(b, sizeof(b), "killed by signal %d (%s)",
		    WTERMSIG(st), strsignal(WTERMSIG(st)));
		return b;
	}
	if (is_ours(status))
		name = msg_status_name(status);
	else if (status == 127)
		name = "command not found";
	else if (status == 126)
		name = "command cannot be executed";
	(void)snprintf(b, sizeof(b), "exit %d%s%s%s", status,
	    *name != '\0' ? " (" : "", name, *name != '\0' ? ")" : "");
	return b;
}

/*
 * Signals and processes.
 */

static void
on_signal(int sig)
{
	got_sig = sig;
	got_sigs++;
}

static void
on_child(int sig)
{
	(void)sig; /* only there to end a wait */
}

/* INT, TERM, HUP and CHLD are delivered while we wait and only then. */
static void
catch_signals(struct run *r)
{
	static const int	sigs[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction	sa, old;
	sigset_t		set;
	size_t			i;

	memset(&sa, 0, sizeof(sa));
	sigemptyset(&sa.sa_mask);
	sigemptyset(&set);
	sigaddset(&set, SIGTTOU); /* so that we may take the terminal back */
	(void)sigprocmask(SIG_BLOCK, &set, &r->mask);
	r->wait = r->mask;
	sigaddset(&r->wait, SIGTTOU);
	sa.sa_handler = on_child;
	(void)sigaction(SIGCHLD, &sa, NULL);
	sigaddset(&set, SIGCHLD);
	sigdelset(&r->wait, SIGCHLD);
	sa.sa_handler = on_signal;
	for (i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++) {
		/* what nohup or a shell's & chose to ignore stays ignored */
		if (sigaction(sigs[i], NULL, &old) == 0 &&
		    old.sa_handler == SIG_IGN)
			continue;
		(void)sigaction(sigs[i], &sa, NULL);
		sigaddset(&set, sigs[i]);
		sigdelset(&r->wait, sigs[i]);
	}
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
}

/*
 * In a child before its exec: signals as we found them.  Handlers first: a
 * TERM that is waiting already must end the child and not be swallowed.
 */
static void
restore_signals(const struct run *r)
{
	static const int	sigs[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction	old;
	size_t			i;

	for (i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		if (sigaction(sigs[i], NULL, &old) == 0 &&
		    old.sa_handler == on_signal)
			(void)signal(sigs[i], SIG_DFL);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)signal(SIGXFSZ, SIG_DFL);
	(void)signal(SIGCHLD, SIG_DFL);
	(void)sigprocmask(SIG_SETMASK, &r->mask, NULL);
}

/* What came while we were busy is heard now. */
static void
hear(const struct run *r)
{
	sigset_t	old;

	(void)sigprocmask(SIG_SETMASK, &r->wait, &old);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
}

static void
die_of(int sig)
{
	sigset_t	set;

	(void)signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
	(void)raise(sig);
}

/* Wait for a signal or a child, at most until the time `until` (0: none). */
static void
wait_event(const struct run *r, double until)
{
	struct timespec	ts, *tp = NULL;
	double		d;

	if (until > 0) {
		d = until - io_now();
		if (d < 0)
			d = 0;
		ts.tv_sec = (time_t)d;
		ts.tv_nsec = (long)((d - (double)ts.tv_sec) * 1e9);
		tp = &ts;
	}
	(void)pselect(0, NULL, NULL, NULL, tp, &r->wait);
}

/* Pipes may not land on 0, 1 or 2: what is closed stays unusable. */
static int
guard_stdio(void)
{
	int	fd, got;

	for (fd = 0; fd <= 2; fd++) {
		if (fcntl(fd, F_GETFD) != -1)
			continue;
		got = open("/dev/null", fd == 1 ? O_RDONLY : O_WRONLY);
		if (got != fd) {
			msg_warn("/dev/null: %s", strerror(errno));
			return -1;
		}
	}
	return 0;
}

static int
pipe_cloexec(int fds[2])
{
	if (pipe(fds) == -1)
		return -1;
	if (fcntl(fds[0], F_SETFD, FD_CLOEXEC) == -1 ||
	    fcntl(fds[1], F_SETFD, FD_CLOEXEC) == -1) {
		(void)close(fds[0]);
		(void)close(fds[1]);
		return -1;
	}
	return 0;
}

static void
nap(double s)
{
	struct timespec	ts;

	ts.tv_sec = (time_t)s;
	ts.tv_nsec = (long)((s - (double)ts.tv_sec) * 1e9);
	(void)nanosleep(&ts, NULL);
}

/*
 * The watcher: leader of the stages' group, which therefore keeps its
 * number as long as we may have to signal it.  When drun is gone without a
 * word (kill -9), it stops the stages: nobody is left to commit their
 * work.  All signals are blocked in it.
 */
static void
watcher(const char *staging, int ctl)
{
	char	c;
	ssize_t	n;
	double	end;

	do
		n = read(ctl, &c, 1);
	while (n == -1 && errno == EINTR);
	if (n == 1)
		_exit(0);
	(void)kill(0, SIGTERM);
	end = io_now() + RUN_KILL_S;
	while (io_now() < end && stage_alive(staging))
		nap(0.05);
	(void)kill(0, SIGKILL);
	_exit(0);
}

/* Fork the watcher; its pid is the group. */
static int
start_watcher(struct run *r, struct err *e)
{
	sigset_t	all, old;
	int		fds[2], fd, max;
	pid_t		pid;

	if (pipe_cloexec(fds) == -1)
		return err_sys(e, errno, "pipe");
	sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid == 0) {
		(void)setpgid(0, 0);
		/* holds nothing open: neither the lock nor anyone's pipe */
		max = fds[0] > r->stage.lockfd ? fds[0] : r->stage.lockfd;
		max = max > r->stage.dirfd ? max : r->stage.dirfd;
		max = max > fds[1] ? max : fds[1];
		for (fd = 0; fd <= max; fd++)
			if (fd != fds[0])
				(void)close(fd);
		watcher(r->stage.path, fds[0]);
	}
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	(void)close(fds[0]);
	if (pid == -1) {
		(void)close(fds[1]);
		return err_sys(e, errno, "fork");
	}
	(void)setpgid(pid, pid);
	r->group = pid;
	r->ctl = fds[1];
	return 0;
}

/* Nothing is left to watch; the group ends with its last member. */
static void
end_watcher(struct run *r)
{
	if (r->group == 0 || r->ctl == -1)
		return;
	if (write(r->ctl, "b", 1) != 1)
		(void)kill(r->group, SIGKILL);
	(void)close(r->ctl);
	r->ctl = -1;
	while (waitpid(r->group, NULL, 0) == -1 && errno == EINTR)
		continue;
}

/*
 * The stages get the terminal when our stdin is one and we are in front of
 * it; not when stdout is a pipe, as its reader may be a pager that needs
 * the terminal itself.
 */
static void
give_terminal(struct run *r)
{
	struct stat	st;

	if (!isatty(STDIN_FILENO) || tcgetpgrp(STDIN_FILENO) != getpgrp())
		return;
	if (fstat(STDOUT_FILENO, &st) == 0 && S_ISFIFO(st.st_mode))
		return;
	if (tcsetpgrp(STDIN_FILENO, r->group) == 0)
		r->tty = STDIN_FILENO;
}

static void
take_terminal(struct run *r)
{
	if (r->tty != -1)
		(void)tcsetpgrp(r->tty, getpgrp());
	r->tty = -1;
}

/* In the child: become stage i, with in and out as its stdin and stdout. */
static void
become(const struct run *r, int i, int in, int out)
{
	const struct stage_proc	*p = &r->p[i];
	struct buf		 text;
	char			 sh[] = "sh", c[] = "-c", *argv[4];

	(void)setpgid(0, r->group);
	buf_init(&text, p->len + 2);
	/* a leading dash would be an option of sh */
	if (p->len > 0 && (p->text[0] == '-' || p->text[0] == '+'))
		buf_addc(&text, ' ');
	buf_add(&text, p->text, p->len);
	if ((in != STDIN_FILENO && dup2(in, STDIN_FILENO) == -1) ||
	    (out != STDOUT_FILENO && dup2(out, STDOUT_FILENO) == -1) ||
	    /* the run is alive as long as anything of it is */
	    fcntl(r->stage.lockfd, F_SETFD, 0) == -1) {
		msg_warn("stage %d: %s", i + 1, strerror(errno));
		_exit(err_status(errno));
	}
	restore_signals(r);
	if (i == r->n - 1 && setenv("DRUN_LAST", "1", 1) == -1)
		_exit(MSG_IOERR);
	argv[0] = sh;
	argv[1] = c;
	argv[2] = buf_cstr(&text);
	argv[3] = NULL;
	(void)execv("/bin/sh", argv);
	msg_warn("/bin/sh: %s", strerror(errno));
	_exit(errno == E2BIG ? MSG_USAGE : 127);
}

static int
start(struct run *r, struct err *e)
{
	int	fds[2], i, in = STDIN_FILENO, out;

	if (start_watcher(r, e) == -1)
		return -1;
	give_terminal(r);
	for (i = 0; i < r->n && e->code == 0; i++) {
		fds[0] = -1;
		out = STDOUT_FILENO;
		if (i < r->n - 1) {
			if (pipe_cloexec(fds) == -1) {
				err_sys(e, errno, "pipe");
				break;
			}
			out = fds[1];
		}
		r->p[i].pid = fork();
		if (r->p[i].pid == 0)
			become(r, i, in, out);
		if (r->p[i].pid == -1) {
			r->p[i].pid = 0;
			err_sys(e, errno, "fork");
		} else {
			(void)setpgid(r->p[i].pid, r->group);
			r->left++;
			msg_info("%s: pid %ld", show(r, i),
			    (long)r->p[i].pid);
		}
		if (in != STDIN_FILENO)
			(void)close(in);
		if (out != STDOUT_FILENO)
			(void)close(out);
		in = fds[0];
	}
	if (in > STDIN_FILENO)
		(void)close(in);
	return e->code != 0 ? -1 : 0;
}

static void
signal_group(const struct run *r, int sig)
{
	if (r->group == 0)
		return;
	(void)kill(-r->group, sig);
	(void)kill(-r->group, SIGCONT); /* who is stopped must hear it */
}

/* Stop what still runs: sig now, TERM a little later, KILL at the end. */
static void
stop(struct run *r, int sig)
{
	double	now = io_now();

	if (r->stopping)
		return;
	r->stopping = 1;
	r->grace_at = 0;
	r->term_at = sig == SIGTERM ? 0 : now + RUN_TERM_S;
	r->kill_at = now + RUN_KILL_S;
	signal_group(r, sig);
}

/* 76, or its reader left: somebody else may know more. */
static int
is_weak(int st)
{
	int	status = status_of(st);

	return status == MSG_PROTOCOL || status == 128 + SIGPIPE;
}

/* Stage i has ended: is it to blame, and what follows? */
static void
judge(struct run *r, int i)
{
	int	st = r->p[i].st, status = status_of(st);

	msg_info("%s: %s", show(r, i), show_status(st));
	if (status == 0 || r->sig != 0)
		return;
	/* Ctrl-C went to them and not to us: it was meant for us all */
	if (r->tty != -1 && !r->stopping && (status == 128 + SIGINT ||
	    status == 128 + SIGQUIT || status == 128 + SIGHUP)) {
		r->sig = status - 128;
		stop(r, r->sig);
		return;
	}
	if (r->stopping) {
		/* we did that; but a verdict still beats a broken stream */
		if (r->blame != -1 && is_weak(r->p[r->blame].st) &&
		    WIFEXITED(st) && is_ours(status) && !is_weak(st))
			r->blame = i;
		return;
	}
	if (r->blame == -1 || (is_weak(r->p[r->blame].st) && !is_weak(st)))
		r->blame = i;
	if (!is_weak(st))
		stop(r, SIGTERM);
	else if (r->grace_at == 0)
		r->grace_at = io_now() + RUN_GRACE_S;
}

/* Ctrl-Z, or a read of a terminal that the stages do not have. */
static void
stopped(struct run *r, int i, int sig)
{
	if (r->stopping)
		return;
	if (r->tty != -1) {
		(void)tcsetpgrp(r->tty, getpgrp());
		(void)kill(getpid(), SIGSTOP);
		/* and on with fg or bg */
		if (tcgetpgrp(r->tty) == getpgrp())
			(void)tcsetpgrp(r->tty, r->group);
		(void)kill(-r->group, SIGCONT);
	} else if (sig == SIGTTIN || sig == SIGTTOU) {
		msg_warn("%s: wants the terminal, which it cannot have here",
		    show(r, i));
		r->p[i].st = MSG_USAGE << 8;
		r->blame = i;
		stop(r, SIGTERM);
	}
}

static void
reap(struct run *r)
{
	pid_t	pid;
	int	i, st;

	while ((pid = waitpid(-1, &st, WNOHANG | WUNTRACED)) > 0) {
		for (i = 0; i < r->n && r->p[i].pid != pid; i++)
			continue;
		if (pid == r->group && !WIFSTOPPED(st)) {
			(void)close(r->ctl); /* somebody killed it */
			r->ctl = -1;
		}
		if (i == r->n)
			continue; /* an orphan of a stage */
		if (WIFSTOPPED(st)) {
			stopped(r, i, WSTOPSIG(st));
			continue;
		}
		r->p[i].pid = 0;
		r->left--;
		if (r->blame == i)
			continue; /* it was blamed when it stopped */
		r->p[i].st = st;
		judge(r, i);
	}
}

static double
earlier(double a, double b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* Wait for all stages, stopping them all when one has failed. */
static void
attend(struct run *r)
{
	double	now;
	int	seen = 0;

	while (r->left > 0) {
		reap(r);
		if (r->left == 0)
			break;
		now = io_now();
		if (got_sigs > seen) {
			r->sig = got_sig;
			if (seen > 0 && r->stopping)
				r->kill_at = now; /* asked twice */
			seen = got_sigs;
			stop(r, r->sig);
		}
		if (r->grace_at != 0 && now >= r->grace_at)
			stop(r, SIGTERM);
		if (r->term_at != 0 && now >= r->term_at) {
			r->term_at = 0;
			signal_group(r, SIGTERM);
		}
		if (r->kill_at != 0 && now >= r->kill_at) {
			r->kill_at = 0;
			msg_warn("a stage does not end on TERM: killed");
			signal_group(r, SIGKILL);
		}
		wait_event(r, earlier(r->grace_at, earlier(r->term_at,
		    r->kill_at)));
	}
	if (got_sigs > seen)
		r->sig = got_sig;
}

/* What the stages left running in the background ends with them. */
static void
sweep_group(struct run *r)
{
	double	end;
	int	sig;

	end_watcher(r);
	take_terminal(r);
	if (r->group == 0)
		return;
	for (sig = SIGTERM;; sig = SIGKILL) {
		if (kill(-r->group, sig) == -1)
			break;
		(void)kill(-r->group, SIGCONT);
		end = io_now() + (sig == SIGTERM ? RUN_KILL_S : RUN_REAP_S);
		while (io_now() < end) {
			reap(r); /* where orphans come to us */
			if (kill(-r->group, 0) == -1)
				break;
			nap(0.01);
		}
		if (sig == SIGKILL)
			break;
	}
	r->group = 0;
}

/*
 * The commit.
 */

/* 1 when stages left tickets in staging; -1 *e. */
static int
has_tickets(const struct run *r, struct err *e)
{
	struct dirent	*d;
	DIR		*dir;
	size_t		 len;
	int		 fd, rv = 0;

	fd = openat(r->stage.dirfd, "tickets", O_RDONLY | O_DIRECTORY |
	    O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return errno == ENOENT ? 0 :
		    err_sys(e, errno, "%s/tickets", r->stage.path);
	dir = fdopendir(fd);
	if (dir == NULL) {
		err_sys(e, errno, "%s/tickets", r->stage.path);
		(void)close(fd);
		return -1;
	}
	while (rv == 0 && (errno = 0, d = readdir(dir)) != NULL) {
		len = strlen(d->d_name);
		rv = len > 5 && strcmp(d->d_name + len - 5, ".json") == 0;
	}
	if (rv == 0 && errno != 0)
		rv = err_sys(e, errno, "%s/tickets", r->stage.path);
	(void)closedir(dir);
	return rv;
}

/* dpublish beside our own executable, else whatever PATH says. */
static const char *
find_dpublish(char b[RUN_PATH_MAX])
{
	static const char	name[] = "dpublish";
	char			*slash;
	ssize_t			 n;

	n = readlink("/proc/self/exe", b, RUN_PATH_MAX - sizeof(name));
	if (n <= 0)
		return name;
	b[n] = '\0';
	slash = strrchr(b, '/');
	if (slash == NULL)
		return name;
	memcpy(slash + 1, name, sizeof(name));
	return access(b, X_OK) == 0 ? b : name;
}

/*
 * Run dpublish with that option on our staging, passing signals on; *st
 * gets its wait status.
 */
static int
dpublish(struct run *r, const char *option, int *st, struct err *e)
{
	char		 path[RUN_PATH_MAX];
	const char	*prog = find_dpublish(path);
	int		 seen = got_sigs, fd;
	pid_t		 pid, got;

	pid = fork();
	if (pid == -1)
		return err_sys(e, errno, "fork");
	if (pid == 0) {
		(void)setpgid(0, 0);
		fd = open("/dev/null", O_RDONLY);
		if (fd > STDIN_FILENO)
			(void)dup2(fd, STDIN_FILENO);
		/* so that the run lives even if we do not */
		(void)fcntl(r->stage.lockfd, F_SETFD, 0);
		restore_signals(r);
		(void)execlp(prog, "dpublish", option, (char *)NULL);
		msg_warn("%s: %s", prog, strerror(errno));
		_exit(errno == ENOENT ? 127 : 126);
	}
	for (;;) {
		got = waitpid(pid, st, WNOHANG);
		if (got == pid)
			return 0;
		if (got == -1 && errno != EINTR)
			return err_sys(e, errno, "dpublish %s: wait", option);
		if (got_sigs > seen) {
			/* from the third on, it is not listening */
			(void)kill(pid, got_sigs > 2 ? SIGKILL : got_sig);
			seen = got_sigs;
		}
		wait_event(r, 0);
	}
}

/* Every stage has exited 0: what they prepared becomes visible. */
static int
commit(struct run *r)
{
	struct err	e = { 0, "" };
	int		st, sigs = got_sigs;

	switch (has_tickets(r, &e)) {
	case 0:
		return 0;
	case 1:
		break;
	default:
		msg_err(&e);
		return e.code;
	}
	if (dpublish(r, "--commit", &st, &e) == -1) {
		msg_err(&e);
		return e.code;
	}
	if (st != 0)
		msg_warn("dpublish --commit: %s", show_status(st));
	else if (got_sigs > sigs)
		msg_warn("signal %d came during the commit, which was "
		    "completed", (int)got_sig);
	if (WIFSIGNALED(st) && got_sigs > sigs && WTERMSIG(st) == got_sig) {
		msg_warn("the commit was cut short: run it again, or look "
		    "with dpublish log");
		r->sig = got_sig;
	}
	return status_of(st);
}

static void
discard_tickets(struct run *r)
{
	struct err	e = { 0, "" };
	int		st = 0;

	if (has_tickets(r, &e) != 1)
		return;
	if (dpublish(r, "--discard", &st, &e) == -1)
		msg_err(&e);
	else if (st != 0)
		msg_warn("dpublish --discard: %s: what was prepared is left, "
		    "and collected by a later run", show_status(st));
}

/* Out of the sweepers' sight, so that it stays. */
static void
keep_staging(struct run *r)
{
	const char	*base = path_base(r->stage.path);
	struct buf	 b;

	buf_init(&b, RUN_PATH_MAX + STAGE_RUN_MAX);
	buf_add(&b, r->stage.path, (size_t)(base - r->stage.path));
	buf_printf(&b, "kept.%s", base);
	if (rename(r->stage.path, buf_cstr(&b)) == -1)
		msg_warn("%s: rename: %s", r->stage.path, strerror(errno));
	else
		msg_warn("staging kept: %s", buf_cstr(&b));
	buf_free(&b);
}

/* Name the one that failed, and what its status is. */
static int
account(const struct run *r, const struct err *e)
{
	int	st;

	if (r->sig != 0) {
		msg_warn("signal %d (%s): stopped; nothing was published",
		    r->sig, strsignal(r->sig));
		return 128 + r->sig;
	}
	if (e->code != 0) {
		msg_warn("%s; nothing was published", e->text);
		return e->code;
	}
	if (r->blame == -1)
		return 0;
	st = r->p[r->blame].st;
	msg_warn("%s: %s; nothing was published", show(r, r->blame),
	    show_status(st));
	return status_of(st);
}

static int
run(struct run *r, const char *parent, int keep)
{
	struct err	e = { 0, "" };
	int		status;

	if (stage_make(&r->stage, parent != NULL ? parent : stage_parent(),
	    NULL, &e) == -1) {
		msg_err(&e);
		return e.code;
	}
	msg_info("run %s, staging %s", r->stage.run, r->stage.path);
	(void)unsetenv("DRUN_LAST");
	if (setenv("DSTAGE", r->stage.path, 1) == -1 ||
	    setenv("DRUN_ID", r->stage.run, 1) == -1)
		err_sys(&e, errno, "environment");
	else if (start(r, &e) == -1)
		stop(r, SIGTERM);
	attend(r);
	sweep_group(r);
	hear(r);
	if (r->sig == 0 && got_sigs > 0)
		r->sig = got_sig;
	status = account(r, &e);
	if (status == 0)
		status = commit(r);
	else
		discard_tickets(r);
	e.code = 0;
	if (status != 0 && keep)
		keep_staging(r);
	else if (stage_remove(&r->stage, &e) == -1)
		msg_err(&e); /* a later run collects it */
	stage_clear(&r->stage);
	return status;
}

static void
help(void)
{
	(void)printf("%s",
	    "  drun 'dfetch -B /srv/rag/lines deltas/ | dcheck | dmerge |\n"
	    "      dpublish /srv/rag/lines'\n"
	    "  drun 'dfetch - | dcheck | dmerge -o chunk.7' <plan.7\n"
	    "  drun -n 'dfetch deltas/ | dcheck -k | dmerge'\n"
	    "\n");
	(void)printf("%s", usage_text);
	(void)printf("%s",
	    "  -h, --help            this\n"
	    "  -k, --keep            keep staging when the run fails, and say"
	    " where\n"
	    "  -n, --dry-run         print the stages and run nothing\n"
	    "  -V, --version         print the version\n"
	    "  -v, --verbose         tell pids, statuses and staging\n"
	    "  --stage-parent dir    make staging there; else in TMPDIR, else"
	    " in\n"
	    "                        /var/tmp\n");
}

static int
finish_stdout(void)
{
	if (fflush(stdout) == EOF || ferror(stdout)) {
		msg_warn("stdout: %s", strerror(errno));
		return MSG_IOERR;
	}
	return 0;
}

static int
usage(void)
{
	(void)fputs(usage_text, stderr);
	return MSG_USAGE;
}

int
main(int argc, char **argv)
{
	static const struct option	opts[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "keep", no_argument, NULL, 'k' },
		{ "dry-run", no_argument, NULL, 'n' },
		{ "version", no_argument, NULL, 'V' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "stage-parent", required_argument, NULL, 'P' },
		{ NULL, 0, NULL, 0 }
	};
	static struct run	 r;
	const char		*parent = NULL;
	int			 c, dry = 0, i, keep = 0, status;

	msg_init("drun");
	r.ctl = r.tty = r.blame = -1;
	while ((c = getopt_long(argc, argv, "hknVv", opts, NULL)) != -1)
		switch (c) {
		case 'P':
			parent = optarg;
			break;
		case 'V':
			(void)printf("drun %s\n", MSG_VERSION);
			return finish_stdout();
		case 'h':
			help();
			return finish_stdout();
		case 'k':
			keep = 1;
			break;
		case 'n':
			dry = 1;
			break;
		case 'v':
			msg_set_verbose(1);
			break;
		default:
			return usage();
		}
	if (argc - optind != 1) {
		if (argc - optind > 1)
			msg_warn("want the whole pipeline as one argument, in "
			    "quotes; got %d", argc - optind);
		return usage();
	}
	if (split(&r, argv[optind]) == -1)
		return MSG_USAGE;
	if (dry) {
		for (i = 0; i < r.n; i++)
			(void)printf("%d\t%.*s\n", i + 1, (int)r.p[i].len,
			    r.p[i].text);
		return finish_stdout();
	}
	if (guard_stdio() == -1)
		return MSG_IOERR;
#ifdef __linux__
	/* what a stage leaves behind comes to us and not to init */
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1L, 0L, 0L, 0L);
#endif
	catch_signals(&r);
	status = run(&r, parent, keep);
	if (r.sig != 0)
		die_of(r.sig);
	return status;
}
