/*
 * dcheck: prove inputs before they are merged (dcheck.1).  This is the
 * parent: options, and the loop that keeps workers busy (dcheck_work.c)
 * with what comes in and goes out (dcheck_pass.c).  It opens no input.
 * SPDX-License-Identifier: ISC
 */
#include "dcheck_run.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckpt.h"
#include "dcheck_known.h"
#include "dcheck_pass.h"
#include "dcheck_work.h"
#include "filter.h"
#include "io.h"
#include "mem.h"
#include "num.h"
#include "rec_kind.h"
#include "sandbox.h"
#include "stream.h"
#include "team.h"
#include "banned.h"

#define TIMEOUT_S	300U
#define TIMEOUT_MAX	604800U		/* a week */

static const char usage_text[] =
    "usage: dcheck [-kv] [-c db] [-P n] [-x cmd] [--allow-empty] "
    "[--cache dir]\n"
    "              [--json] [--json-in] [--log format] [--no-cache] "
    "[--recover-hot]\n"
    "              [--stage dir] [--timeout time] [--verdicts file]\n";

static const char help_text[] =
    "  -c, --checkpoints=DB  mark refused inputs failed in a checkpoint "
    "database\n"
    "  -k, --keep-going      name every bad input, not just the first\n"
    "  -P, --parallel=N      check N inputs at a time (1 to 64)\n"
    "  -v, --verbose         say what was found, and how workers are "
    "confined\n"
    "  -x, --exec=CMD        run CMD for each delta, its store is $1; not 0 "
    "refuses it\n"
    "      --allow-empty     accept stores without records\n"
    "      --cache=DIR       where verdicts are remembered\n"
    "      --json            write JSON lines\n"
    "      --json-in         read JSON lines\n"
    "      --log=FORMAT      on stderr: text or json\n"
    "      --no-cache        remember no verdicts\n"
    "      --recover-hot     roll back the journal of a writer that died\n"
    "      --stage=DIR       the run's staging directory\n"
    "      --timeout=TIME    for one input, such as 300, 90s, 5m\n"
    "      --verdicts=FILE   write every verdict there, as JSON lines\n"
    "  -h, --help            this text\n"
    "  -V, --version         the version\n"
    "See dcheck(1) for the verdicts.\n";

static int			 chld_fd = -1;

static void
on_child(int sig)
{
	int	saved = errno;

	(void)sig;
	if (write(chld_fd, "", 1) == -1)
		errno = saved;	/* full: it will be looked at anyway */
	errno = saved;
}

/* The loop ----------------------------------------------------------- */

struct polled {
	struct pollfd	 p[2 * JOBS_MAX + 3];
	struct slot	*s[2 * JOBS_MAX + 3];
	unsigned int	 n;
};

static void
watch(struct polled *w, int fd, short events, struct slot *s)
{
	w->p[w->n].fd = fd;
	w->p[w->n].events = events;
	w->p[w->n].revents = 0;
	w->s[w->n++] = s;
}

/* Milliseconds until the next deadline; -1: none. */
static int
patience(struct run *g)
{
	double	now = io_now(), first = -1;
	size_t	i;

	for (i = 0; i < g->n; i++) {
		const struct slot	*s = slot_at(g, i);

		if (s->pid != 0 && (first < 0 || s->deadline < first))
			first = s->deadline;
	}
	if (first < 0)
		return -1;
	if (first <= now)
		return 0;
	return first - now > 3600 ? 3600000 : (int)((first - now) * 1000) + 1;
}

/* Answers first: who has answered in time is not late. */
static void
look_at(struct run *g, const struct polled *w)
{
	struct slot	*s;
	unsigned int	 i;
	size_t		 k;
	int		 lost = 0;

	for (i = 0; i < w->n; i++) {
		s = w->s[i];
		if (s == NULL || w->p[i].revents == 0 || s->pid == 0)
			continue;
		if (w->p[i].fd == s->said) {
			if (work_drain(s->said, &s->words, &lost) == 0)
				work_shut(&s->said);
		} else if (w->p[i].fd == s->out &&
		    (work_drain(s->out, &s->answer, &s->errnum) == 0 ||
		    s->answer.over))
			work_done(g, s);
	}
	for (k = 0; k < g->n; k++) {
		s = slot_at(g, k);
		if (s->phase == HOOKED && work_exited(s->pid))
			work_hook_done(g, s);
		else if (s->pid != 0 && io_now() >= s->deadline)
			work_too_long(g, s);
	}
}

static void
say_status(struct run *g)
{
	msg_warn("%llu checked, %llu refused, %u at work",
	    (unsigned long long)g->checked, (unsigned long long)g->refused,
	    g->running);
}

/* Wait for input, answers, ends, deadlines, or a reader that leaves. */
static void
wait_for(struct run *g)
{
	struct err	e = { MSG_PROTOCOL, "" };
	struct polled	w;
	struct slot	*s;
	unsigned char	junk[256];
	size_t		i;
	int		want = !g->eof && g->n < g->cap;

	w.n = 0;
	watch(&w, STDOUT_FILENO, 0, NULL);
	watch(&w, g->chld[0], POLLIN, NULL);
	watch(&w, want ? STDIN_FILENO : -1, POLLIN, NULL);
	for (i = 0; i < g->n; i++) {
		s = slot_at(g, i);
		if (s->out != -1)
			watch(&w, s->out, POLLIN, s);
		if (s->said != -1)
			watch(&w, s->said, POLLIN, s);
	}
	if (io_poll(w.p, w.n, patience(g)) == -1) {
		if (errno != EINTR)
			filter_fail(&g->f, MSG_IOERR, "poll: %s",
			    strerror(errno));
		return;
	}
	if ((w.p[0].revents & POLLERR) != 0) {
		filter_fail_err(&g->f, &e);
		return;
	}
	if (w.p[1].revents != 0)
		while (read(g->chld[0], junk, sizeof(junk)) > 0)
			;
	look_at(g, &w);
	if (w.p[2].revents != 0)
		pass_take(g);
}

/* 1 while there is reason to go on. */
static int
going(const struct run *g)
{
	if (io_signal() != 0 || g->f.gone)
		return 0;
	if (g->f.status != 0 && !g->o.keep_going)
		return 0;
	return !g->eof || g->n != 0;
}

static void
run(struct run *g)
{
	struct slot	*s;
	uint64_t	 v;
	size_t		 i;

	while (going(g)) {
		if (io_status_wanted())
			say_status(g);
		for (i = 0; i < g->n && g->running < g->o.jobs; i++) {
			s = slot_at(g, i);
			if (s->phase == WAITING)
				work_start(g, s);
		}
		if (g->n != 0 && slot_at(g, 0)->phase == DONE)
			pass_emit(g);
		else if (!g->eof && g->n < g->cap && stream_pending(g->f.in))
			pass_take(g);
		else
			wait_for(g);
	}
	while (g->n != 0) {	/* stopped: what is unfinished is undone */
		s = slot_at(g, g->n - 1);
		(void)work_reap(g, s);
		work_drop(g, s);
		pass_drop(g, s);
		g->n--;
	}
	rec_set_u64(g->f.totals, "checked", g->checked);
	rec_set_u64(g->f.totals, "refused", g->refused);
	if (!filter_ok(&g->f))
		return;
	if (rec_get_u64(g->f.totals, "fetched", &v) && v != g->seen)
		filter_fail(&g->f, MSG_PROTOCOL, "totals: %llu inputs were "
		    "fetched, and %llu came", (unsigned long long)v,
		    (unsigned long long)g->seen);
}

/* Options ------------------------------------------------------------ */

static void
usage(void)
{
	(void)io_write(STDERR_FILENO, usage_text, sizeof(usage_text) - 1);
	exit(MSG_USAGE);
}

static void
tell(const char *a, const char *b, const char *c)
{
	if (io_write(STDOUT_FILENO, a, strlen(a)) == -1 ||
	    io_write(STDOUT_FILENO, b, strlen(b)) == -1 ||
	    io_write(STDOUT_FILENO, c, strlen(c)) == -1)
		msg_die(MSG_IOERR, "stdout: %s", strerror(errno));
	if (close(STDOUT_FILENO) == -1)
		msg_die(MSG_IOERR, "stdout: %s", strerror(errno));
	exit(0);
}

static void
help(void)
{
	tell("  drun 'dfetch -B target deltas/ | dcheck | dmerge | dpublish "
	    "target'\n"
	    "  dfetch deltas/ | dcheck -k --json\n"
	    "  dfetch deltas/ | dcheck --recover-hot --allow-empty --json\n\n",
	    usage_text, help_text);
}

static unsigned int
number(const char *s, uint64_t max, int duration, const char *what)
{
	const char	*why = NULL;
	uint64_t	 v = 0;
	int		 r;

	r = duration ? num_duration(s, &v, &why) :
	    num_u64(s, 1, max, &v, &why);
	if (r == 0 && (v == 0 || v > max)) {
		r = -1;
		why = v == 0 ? "too small" : "too large";
	}
	if (r == -1)
		msg_die(MSG_USAGE, "%s %s: %s: want 1%s to %llu%s", what, s,
		    why, duration ? "s" : "", (unsigned long long)max,
		    duration ? "s" : "");
	return (unsigned int)v;
}

enum {
	O_ALLOW_EMPTY = 256, O_CACHE, O_JSON, O_JSON_IN, O_LOG, O_NO_CACHE,
	O_RECOVER_HOT, O_STAGE, O_TIMEOUT, O_VERDICTS
};

static void
options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "allow-empty", no_argument, NULL, O_ALLOW_EMPTY },
		{ "cache", required_argument, NULL, O_CACHE },
		{ "checkpoints", required_argument, NULL, 'c' },
		{ "exec", required_argument, NULL, 'x' },
		{ "help", no_argument, NULL, 'h' },
		{ "json", no_argument, NULL, O_JSON },
		{ "json-in", no_argument, NULL, O_JSON_IN },
		{ "keep-going", no_argument, NULL, 'k' },
		{ "log", required_argument, NULL, O_LOG },
		{ "no-cache", no_argument, NULL, O_NO_CACHE },
		{ "parallel", required_argument, NULL, 'P' },
		{ "recover-hot", no_argument, NULL, O_RECOVER_HOT },
		{ "stage", required_argument, NULL, O_STAGE },
		{ "timeout", required_argument, NULL, O_TIMEOUT },
		{ "verbose", no_argument, NULL, 'v' },
		{ "verdicts", required_argument, NULL, O_VERDICTS },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 }
	};
	int	c;

	memset(o, 0, sizeof(*o));
	o->timeout_s = TIMEOUT_S;
	o->jobs = team_processors();
	if (o->jobs > JOBS_MAX)
		o->jobs = JOBS_MAX;
	while ((c = getopt_long(argc, argv, "c:hkP:vVx:", longs, NULL)) != -1)
		switch (c) {
		case 'c':
			o->ckpt = optarg;
			break;
		case 'h':
			help();
			break;
		case 'k':
			o->keep_going = 1;
			break;
		case 'P':
			o->jobs = number(optarg, JOBS_MAX, 0, "-P");
			break;
		case 'v':
			msg_set_verbose(1);
			break;
		case 'V':
			tell("dcheck ", MSG_VERSION, "\n");
			break;
		case 'x':
			o->hook = optarg;
			break;
		case O_ALLOW_EMPTY:
			o->flags |= CHECK_ALLOW_EMPTY;
			break;
		case O_CACHE:
			o->cache = optarg;
			break;
		case O_JSON:
			o->f.json = 1;
			break;
		case O_JSON_IN:
			o->f.json_in = 1;
			break;
		case O_LOG:
			if (msg_log_option(optarg) == -1)
				usage();
			break;
		case O_NO_CACHE:
			o->no_cache = 1;
			break;
		case O_RECOVER_HOT:
			o->flags |= CHECK_RECOVER_HOT;
			break;
		case O_STAGE:
			o->f.stage = optarg;
			break;
		case O_TIMEOUT:
			o->timeout_s = number(optarg, TIMEOUT_MAX, 1,
			    "--timeout");
			break;
		case O_VERDICTS:
			o->verdicts = optarg;
			break;
		default:
			usage();
		}
	if (optind != argc) {
		msg_warn("%s: no operand is wanted: what to check comes on "
		    "stdin, from dfetch", argv[optind]);
		usage();
	}
}

static void
catch_ends(void)
{
	struct sigaction	sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = on_child;
	sa.sa_flags = SA_RESTART;
	sigemptyset(&sa.sa_mask);
	(void)sigaction(SIGCHLD, &sa, NULL);
}

/* Unless the stream broke, what was judged was judged. */
static void
report(struct run *g)
{
	struct err	e = { 0, "" };

	if (io_signal() != 0 || g->f.broken || g->f.gone ||
	    g->f.status == MSG_PROTOCOL)
		return;
	if (verdicts_place(g->verdicts, &e) == -1)
		filter_fail_err(&g->f, &e);
	if (g->o.keep_going)
		verdicts_say(g->verdicts);
}

static int
prepare(struct run *g, struct err *e)
{
	struct hash	*h;
	struct ckpt	*c;

	if (work_pipe(g->chld, e) == -1)
		return -1;
	(void)fcntl(g->chld[1], F_SETFL, O_NONBLOCK);
	chld_fd = g->chld[1];
	catch_ends();
	io_catch_status();
	/* libcrypto reads its configuration before there is a sandbox */
	h = hash_new();
	hash_free(h);
	c = ckpt_open(g->o.ckpt, CKPT_CREATE, e);
	ckpt_close(c);
	if (c == NULL && e->code != 0)
		return -1;
	if (!g->o.no_cache && cache_open(&g->cache, g->o.cache, e) == -1)
		return -1;
	g->verdicts = verdicts_new(g->o.verdicts, e);
	return g->verdicts == NULL ? -1 : 0;
}

int
main(int argc, char **argv)
{
	struct run	g;
	struct err	e = { 0, "" };

	msg_init("dcheck");
	memset(&g, 0, sizeof(g));
	g.cache.dirfd = -1;
	g.chld[0] = g.chld[1] = -1;
	options(argc, argv, &g.o);
	io_catch_signals();
	g.cap = (size_t)g.o.jobs * 4;
	g.ring = mem_zero(g.cap, sizeof(*g.ring));
	msg_info("sandbox: %s", sandbox_name(sandbox_probe()));
	if (sandbox_lacks(sandbox_probe()) != NULL)
		msg_warn("warning: sandbox: %s",
		    sandbox_lacks(sandbox_probe()));
	if (filter_open(&g.f, &g.o.f) == 0) {
		if (prepare(&g, &e) == -1)
			filter_fail_err(&g.f, &e);
		else {
			run(&g);
			report(&g);
		}
	}
	verdicts_free(g.verdicts);
	cache_close(&g.cache);
	known_forget(&g);
	free(g.ring);
	return filter_finish(&g.f, filter_last());
}
