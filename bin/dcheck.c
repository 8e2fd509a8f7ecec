/*
 * dcheck: prove inputs before they are merged (dcheck.1).  This is the
 * parent: it reads the stream, keeps workers busy, holds their answers
 * against each other and against what was promised, and writes the stream.
 * It opens no input.
 * SPDX-License-Identifier: ISC
 */
#include "dcheck.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arc.h"
#include "chroma.h"
#include "ckpt.h"
#include "filter.h"
#include "io.h"
#include "mem.h"
#include "num.h"
#include "path.h"
#include "rec_kind.h"
#include "sandbox.h"
#include "stage.h"
#include "stream.h"
#include "team.h"
#include "banned.h"

#define JOBS_MAX	64U
#define TIMEOUT_S	300U
#define TIMEOUT_MAX	604800U		/* a week */
#define SAID_MAX	((size_t)16 * 1024)	/* bytes of last words kept */
#define SHOWN_MAX	250		/* bytes of a URL in a message */
#define MENDED_MAX	150		/* bytes of a URL in a mend */
#define KNOWN_MAX	100000		/* collections of one run */
#define DYING_MS	1000		/* from closing the pipe to exiting */

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

struct options {
	struct filter_opts	 f;
	int			 keep_going;
	int			 flags;		/* CHECK_* */
	unsigned int		 jobs;
	unsigned int		 timeout_s;
	const char		*hook;
	const char		*cache;
	const char		*ckpt;
	const char		*verdicts;
	int			 no_cache;
};

enum what {
	PASS,		/* a record that is not ours to judge */
	DELTA,
	BASE,
	STORE,
	OPAQUE		/* a file of a set */
};

enum phase {
	WAITING,
	WORKING,
	HOOKED,
	DONE
};

/* One record of the stream on its way through. */
struct slot {
	enum what	 what;
	enum phase	 phase;
	struct rec	*r;
	struct rec_delta delta;		/* views into r */
	struct rec_base	 base;
	struct rec_store store;
	struct rec_file	 file;
	const char	*url;
	struct job	 job;
	struct answer	 a;		/* when DONE */
	struct answer	 cached;
	int		 has_cached;
	char		 work[64];	/* below staging */
	pid_t		 pid;		/* 0: no process */
	int		 out, said;
	int		 errnum;	/* of a read of the answer; 0 none */
	struct buf	 answer, words;
	double		 started, deadline;
};

/* What is known of a collection, and from which input. */
struct known {
	char		*name;
	uint32_t	 dim;
	enum item_space	 space;
	int		 space_known;
	char		*model;
	char		*dim_from, *space_from, *model_from;
};

struct run {
	struct filter	 f;
	struct options	 o;
	struct cache	 cache;
	struct verdicts	*verdicts;
	struct slot	*ring;
	size_t		 cap, first, n;
	unsigned int	 running;
	uint64_t	 seen, checked, refused;	/* seen: deltas */
	uint64_t	 serial;	/* of work directories */
	struct known	*known;
	size_t		 n_known, cap_known;
	int		 eof;		/* END was read, or the stream broke */
	int		 chld[2];	/* self-pipe of SIGCHLD */
};

static int			 chld_fd = -1;
static volatile sig_atomic_t	 wants_status;

static void
on_child(int sig)
{
	int	saved = errno;

	(void)sig;
	if (write(chld_fd, "", 1) == -1)
		errno = saved;	/* full: it will be looked at anyway */
	errno = saved;
}

static void
on_usr1(int sig)
{
	(void)sig;
	wants_status = 1;
}

static struct slot *
slot_at(struct run *g, size_t i)
{
	return &g->ring[(g->first + i) % g->cap];
}

/* s, cut where a character ends, so that messages stay UTF-8. */
static const char *
shown(const char *s, size_t max, char *out)
{
	size_t	n = strlen(s);

	if (n > max) {
		n = max - 3;
		while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80)
			n--;
	}
	memcpy(out, s, n);
	out[n] = '\0';
	if (s[n] != '\0')
		memcpy(out + n, "...", 4);
	answer_clean(out);
	return out;
}

static void
mend_text(enum check_code code, const char *url, char *out, size_t sz)
{
	const char	*m = check_code_mend(code), *p = strstr(m, "{}");
	char		 name[SHOWN_MAX + 1];

	if (p == NULL) {
		(void)snprintf(out, sz, "%s", m);
		return;
	}
	if (strlen(url) > MENDED_MAX)
		(void)snprintf(name, sizeof(name), "it");
	else
		(void)shown(url, MENDED_MAX, name);
	(void)snprintf(out, sz, "%.*s%s%s", (int)(p - m), m, name, p + 2);
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

static void
machine(struct answer *a, int status, const char *text)
{
	answer_clear(a);
	a->kind = ANSWER_MACHINE;
	(void)err_set(&a->e, status, "%s", text);
}

static void
refuse(struct answer *a, enum check_code code, const char *fmt, ...)
    MSG_PRINTF(3, 4);

static void
refuse(struct answer *a, enum check_code code, const char *fmt, ...)
{
	va_list	ap;
	char	text[sizeof(a->v.reason)];

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	answer_clean(text);
	answer_clear(a);
	a->kind = ANSWER_REFUSED;
	(void)check_refuse(&a->v, code, "%s", text);
}

/* Processes --------------------------------------------------------- */

static int
make_pipe(int fd[2], struct err *e)
{
	int	i;

	if (pipe(fd) == -1)
		return err_sys(e, errno, "pipe");
	for (i = 0; i < 2; i++)
		(void)fcntl(fd[i], F_SETFD, FD_CLOEXEC);
	(void)fcntl(fd[0], F_SETFL, O_NONBLOCK);
	return 0;
}

static void
shut(int *fd)
{
	if (*fd != -1)
		(void)close(*fd);
	*fd = -1;
}

/*
 * End a slot's process, and whatever it started, for good.  Its group is
 * swept before it is waited for, while its number cannot be another's.
 */
static int
reap(struct run *g, struct slot *s)
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
	shut(&s->out);
	shut(&s->said);
	return st;
}

/* 1 when the process has exited; it stays to be reaped. */
static int
has_exited(pid_t pid)
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

static void
start_worker(struct run *g, struct slot *s)
{
	struct err	 e = { 0, "" };
	char		*work = NULL;
	int		 out[2] = { -1, -1 }, said[2] = { -1, -1 };
	pid_t		 me = getpid(), pid;

	s->phase = WORKING;
	/* once, here: the workers are confined, and may not open it */
	if (!s->job.is_dir && arc_load(&e) == -1)
		goto fail;
	if (make_work(g, s, &work, &e) == -1 || make_pipe(out, &e) == -1 ||
	    make_pipe(said, &e) == -1)
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
	shut(&out[0]);
	shut(&out[1]);
	shut(&said[0]);
	shut(&said[1]);
	machine(&s->a, e.code, e.text);
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
		machine(&s->a, err_status(errno), "fork: no process for -x");
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
	(void)shown(words, SHOWN_MAX, text);
	if (s->errnum != 0)
		machine(&s->a, err_status(s->errnum), "the worker's answer "
		    "cannot be read");
	else if (WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL)
		machine(&s->a, MSG_IOERR, "worker killed from outside, "
		    "perhaps for want of memory");
	else if (WIFSIGNALED(st) && WTERMSIG(st) == SIGXCPU)
		refuse(&s->a, CHECK_TIMEOUT, "used up %u seconds of "
		    "processor time", g->o.timeout_s);
	else if (WIFSIGNALED(st))
		refuse(&s->a, CHECK_CRASH, "worker died of signal %d%s%s",
		    WTERMSIG(st), *text != '\0' ? ": " : "", text);
	else if (WEXITSTATUS(st) == MSG_IOERR ||
	    WEXITSTATUS(st) == MSG_TEMPFAIL)
		machine(&s->a, WEXITSTATUS(st), *text != '\0' ? text :
		    "worker gave up");
	else
		refuse(&s->a, CHECK_CRASH, "worker exited with %d and no "
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
		refuse(a, CHECK_FORMAT, "want %.40s, got %s", format,
		    store_format_name(a->format));
	else if (has_want && want != a->records)
		refuse(a, CHECK_COUNT, "want %llu records, got %llu",
		    (unsigned long long)want, (unsigned long long)a->records);
	else if (content != NULL && strcmp(content, a->content) != 0)
		refuse(a, CHECK_MANIFEST, "content digest: want %.16s..., "
		    "got %.16s...", content, a->content);
}

static void
drop_work(struct run *g, struct slot *s)
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
		drop_work(g, s);
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
		refuse(a, CHECK_CRASH, "worker's answer has no format");
	else if (a->kind == ANSWER_OK && a->where != NULL &&
	    !where_holds(g, s))
		refuse(a, CHECK_CRASH, "worker's store is not where it "
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
static int
drain(int fd, struct buf *b, int *errnum)
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

static void
worker_done(struct run *g, struct slot *s)
{
	double	until = io_now() + DYING_MS / 1000.0;
	int	good, st, lost = 0;

	good = s->errnum == 0 && read_answer(s) == 0;
	/* its status says whose fault it was, so it may finish dying */
	while (!good && !has_exited(s->pid) && io_now() < until)
		(void)poll(NULL, 0, 5);
	if (s->said != -1)
		(void)drain(s->said, &s->words, &lost);
	st = reap(g, s);
	if (s->words.len != 0)
		msg_info("%s: worker: %s", s->url, buf_cstr(&s->words));
	if (!good)
		no_answer(g, s, st);
	settle(g, s);
}

static void
hook_done(struct run *g, struct slot *s)
{
	int	st = reap(g, s);

	s->phase = DONE;
	if (WIFSIGNALED(st))
		refuse(&s->a, CHECK_HOOK, "command died of signal %d",
		    WTERMSIG(st));
	else if (WEXITSTATUS(st) != 0)
		refuse(&s->a, CHECK_HOOK, "command exited with %d",
		    WEXITSTATUS(st));
}

static void
too_long(struct run *g, struct slot *s)
{
	int	hook = s->phase == HOOKED;

	(void)reap(g, s);
	s->phase = DONE;
	refuse(&s->a, CHECK_TIMEOUT, "%s: no end within %u seconds",
	    hook ? "command" : "worker", g->o.timeout_s);
}

/* Collections across inputs ------------------------------------------ */

static struct known *
find_known(struct run *g, const char *name, size_t *at)
{
	size_t	lo = 0, hi = g->n_known, mid;
	int	c;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		c = strcmp(g->known[mid].name, name);
		if (c == 0)
			return &g->known[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*at = lo;
	return NULL;
}

/* 1 and a refusal when c cannot be merged with what came before. */
static int
conflicts(const struct known *k, const struct item_coll *c, struct answer *a)
{
	char	name[61], from[101], mine[61], theirs[61];

	(void)shown(c->name, sizeof(name) - 1, name);
	if (k->dim != 0 && c->dim != 0 && k->dim != c->dim) {
		refuse(a, CHECK_BASE, "collection %s: dimension %u, but %u "
		    "in %s", name, c->dim, k->dim,
		    shown(k->dim_from, sizeof(from) - 1, from));
		return 1;
	}
	if (k->space_known && c->space_known && k->space != c->space) {
		refuse(a, CHECK_BASE, "collection %s: space %s, but %s in "
		    "%s", name, item_space_name(c->space),
		    item_space_name(k->space),
		    shown(k->space_from, sizeof(from) - 1, from));
		return 1;
	}
	if (k->model != NULL && c->model != NULL &&
	    strcmp(k->model, c->model) != 0) {
		refuse(a, CHECK_BASE, "collection %s: embedding model %s, "
		    "but %s in %s", name,
		    shown(c->model, sizeof(mine) - 1, mine),
		    shown(k->model, sizeof(theirs) - 1, theirs),
		    shown(k->model_from, sizeof(from) - 1, from));
		return 1;
	}
	return 0;
}

static void
learn(struct run *g, const struct item_coll *c, const char *url)
{
	struct known	*k;
	size_t		 at = 0;

	k = find_known(g, c->name, &at);
	if (k == NULL) {
		g->known = mem_grow(g->known, &g->cap_known, g->n_known + 1,
		    sizeof(*g->known));
		k = &g->known[at];
		memmove(k + 1, k, (g->n_known - at) * sizeof(*k));
		memset(k, 0, sizeof(*k));
		k->name = mem_dup(c->name);
		g->n_known++;
	}
	if (k->dim == 0 && c->dim != 0) {
		k->dim = c->dim;
		k->dim_from = mem_dup(url);
	}
	if (!k->space_known && c->space_known) {
		k->space = c->space;
		k->space_known = 1;
		k->space_from = mem_dup(url);
	}
	if (k->model == NULL && c->model != NULL) {
		k->model = mem_dup(c->model);
		k->model_from = mem_dup(url);
	}
}

static void
judge_collections(struct run *g, struct slot *s)
{
	const struct known	*k;
	size_t			 i, at, more = 0;

	for (i = 0; i < s->a.n_colls; i++) {
		k = find_known(g, s->a.colls[i].name, &at);
		if (k == NULL)
			more++;
		else if (conflicts(k, &s->a.colls[i], &s->a))
			return;
	}
	if (more > KNOWN_MAX - g->n_known) {
		refuse(&s->a, CHECK_LIMIT, "more than %d collections in one "
		    "run", KNOWN_MAX);
		return;
	}
	for (i = 0; i < s->a.n_colls; i++)
		learn(g, &s->a.colls[i], s->url);
}

static void
forget(struct run *g)
{
	struct known	*k;
	size_t		 i;

	for (i = 0; i < g->n_known; i++) {
		k = &g->known[i];
		free(k->name);
		free(k->model);
		free(k->dim_from);
		free(k->space_from);
		free(k->model_from);
	}
	free(g->known);
}

/* Out ---------------------------------------------------------------- */

/*
 * The database is open only while it is written: a worker that is forked
 * meanwhile would share the memory in which its readers and writers meet.
 */
static void
checkpoint(struct run *g, const struct slot *s)
{
	const char	*run = getenv("DRUN_ID");
	struct err	 e = { 0, "" };
	struct ckpt	*c;

	c = ckpt_open(g->o.ckpt, CKPT_CREATE, &e);
	if (e.code == 0 && ckpt_fail(c, CKPT_INPUT, s->url,
	    run != NULL && *run != '\0' ? run : g->f.stage.run, MSG_DATAERR,
	    check_code_name(s->a.v.code), s->a.v.reason, &e) != -1)
		e.code = 0;
	ckpt_close(c);
	if (e.code != 0)
		filter_fail_err(&g->f, &e);
}

static void
say_refused(struct run *g, struct slot *s)
{
	const char	*code = check_code_name(s->a.v.code);
	struct rec	*r;
	char		 mend[512], name[SHOWN_MAX + 1];
	int		 bad;

	g->refused++;
	mend_text(s->a.v.code, s->url, mend, sizeof(mend));
	if (s->what == DELTA)
		verdicts_add(g->verdicts, &s->delta, &s->a, mend);
	r = rec_new("refused");
	rec_set_str(r, "url", s->url);
	rec_set_str(r, "verdict", code);
	rec_set_str(r, "reason", s->a.v.reason);
	rec_set_str(r, "mend", mend);
	bad = filter_put(&g->f, r);
	rec_free(r);
	if (bad == -1)
		return;
	filter_fail(&g->f, MSG_DATAERR, "%s: %s: %s; mend: %s",
	    shown(s->url, SHOWN_MAX, name), code, s->a.v.reason, mend);
	if (s->what == DELTA || s->what == OPAQUE)
		checkpoint(g, s);
}

static void
put_delta(struct run *g, struct slot *s)
{
	struct rec_delta	d = s->delta;
	struct buf		b;

	buf_init(&b, 65536);
	if (s->a.where != NULL) {
		buf_printf(&b, "%s/%s", s->work, s->a.where);
		d.path = buf_cstr(&b);
		d.kind = s->a.is_dir ? "dir" : "file";
	}
	d.verdict = "ok";
	d.format = store_format_name(s->a.format);
	d.tree = s->a.tree;
	d.records = s->a.records;
	d.tombstones = s->a.tombstones;
	if (s->a.recovered)
		d.recovered = 1;
	rec_delta_put(s->r, &d);
	rec_set_str(s->r, "content_digest",
	    s->a.content[0] != '\0' ? s->a.content : NULL);
	buf_free(&b);
	(void)filter_put(&g->f, s->r);
}

/* Accepted: what is private and not needed goes, the record goes on. */
static void
say_accepted(struct run *g, struct slot *s)
{
	struct err	e = { 0, "" };
	struct buf	b;

	if (s->a.where == NULL)
		drop_work(g, s);
	else {
		buf_init(&b, 256);
		buf_printf(&b, "%s/tmp", s->work);
		if (io_rmtree(g->f.stage.dirfd, buf_cstr(&b), &e) == -1)
			msg_info("%s: %s", s->work, e.text);
		buf_free(&b);
	}
	if (s->what == DELTA) {
		g->checked++;
		verdicts_add(g->verdicts, &s->delta, &s->a, NULL);
		put_delta(g, s);
		return;
	}
	if (s->what == OPAQUE)
		g->checked++;
	rec_set_str(s->r, "verdict", "ok");
	(void)filter_put(&g->f, s->r);
}

static void
slot_clear(struct run *g, struct slot *s)
{
	(void)reap(g, s);
	answer_clear(&s->a);
	answer_clear(&s->cached);
	buf_free(&s->answer);
	buf_free(&s->words);
	rec_free(s->r);
	memset(s, 0, sizeof(*s));
}

/* The first record of the window, which is DONE. */
static void
emit(struct run *g)
{
	struct slot	*s = slot_at(g, 0);
	char		 name[SHOWN_MAX + 1];

	if (s->what == PASS) {
		(void)filter_put(&g->f, s->r);
	} else {
		if (s->a.kind == ANSWER_OK)
			judge_collections(g, s);
		switch (s->a.kind) {
		case ANSWER_OK:
			say_accepted(g, s);
			break;
		case ANSWER_REFUSED:
			drop_work(g, s);
			say_refused(g, s);
			break;
		case ANSWER_MACHINE:
			drop_work(g, s);
			if (s->what == DELTA)
				verdicts_add(g->verdicts, &s->delta, &s->a,
				    NULL);
			filter_fail(&g->f, s->a.e.code, "%s: not checked: "
			    "%s", shown(s->url, SHOWN_MAX, name),
			    s->a.e.text);
			break;
		}
	}
	slot_clear(g, s);
	g->first = (g->first + 1) % g->cap;
	g->n--;
}

/* In ----------------------------------------------------------------- */

static int
take_delta(struct slot *s, struct err *e)
{
	struct rec_delta	*d = &s->delta;

	if (rec_delta_get(s->r, d, e) == -1)
		return -1;
	s->what = DELTA;
	s->url = d->url;
	s->job.path = d->path;
	s->job.is_dir = strcmp(d->kind, "dir") == 0;
	/* checked before: the promise is what that check left there */
	s->job.sha256 = d->verdict != NULL ? d->tree : d->sha256;
	s->job.has_size = d->verdict == NULL;
	s->job.size = d->size;
	return 0;
}

static int
take_base(struct slot *s, struct err *e)
{
	if (rec_base_get(s->r, &s->base, e) == -1)
		return -1;
	s->url = s->base.target;
	if (s->base.none)
		return 0;
	/* nothing comes to it: who wants it read all the same proves it */
	if (s->base.unchanged) {
		rec_set_str(s->r, "verdict", REC_UNREAD);
		return 0;
	}
	s->what = BASE;
	s->job.path = s->base.path;
	s->job.sha256 = s->base.sha256;
	s->job.is_dir = s->job.of_manifest = 1;
	return 0;
}

static int
take_store(struct slot *s, struct err *e)
{
	if (rec_store_get(s->r, &s->store, e) == -1)
		return -1;
	s->what = STORE;
	s->url = s->job.path = s->store.path;
	s->job.sha256 = s->store.sha256;
	s->job.is_dir = s->job.of_manifest = 1;
	return 0;
}

/* A file of a set is nobody's to understand: its bytes, and your hook. */
static int
take_file(struct slot *s, struct err *e)
{
	struct rec_file	*f = &s->file;

	if (rec_file_get(s->r, f, e) == -1)
		return -1;
	s->what = OPAQUE;
	s->url = f->url;
	s->job.path = f->path;
	s->job.sha256 = f->sha256;
	s->job.has_size = s->job.opaque = 1;
	s->job.size = f->size;
	return 0;
}

/* Put a record at the end of the window.  -1: it is malformed. */
static int
take(struct run *g, const struct rec *r)
{
	struct slot	*s = slot_at(g, g->n);
	struct err	 e = { 0, "" };
	int		 rv = 0;

	memset(s, 0, sizeof(*s));
	s->out = s->said = -1;
	buf_init(&s->answer, REC_MAX);
	buf_init(&s->words, SAID_MAX);
	s->r = rec_copy(r);
	s->job.flags = g->o.flags;
	if (strcmp(rec_type(r), "delta") == 0) {
		rv = take_delta(s, &e);
		g->seen++;
	} else if (strcmp(rec_type(r), "file") == 0) {
		rv = take_file(s, &e);
		g->seen++;
	} else if (strcmp(rec_type(r), "base") == 0)
		rv = take_base(s, &e);
	else if (strcmp(rec_type(r), "store") == 0)
		rv = take_store(s, &e);
	if (s->what != DELTA)	/* a snapshot may well be empty */
		s->job.flags |= CHECK_ALLOW_EMPTY;
	s->phase = s->what == PASS ? DONE : WAITING;
	g->n++;
	if (rv == -1) {
		filter_fail_err(&g->f, &e);
		g->eof = 1;
		s->what = PASS;
		s->phase = DONE;
		slot_clear(g, s);
		g->n--;
		return -1;
	}
	if (s->what != PASS && s->what != OPAQUE &&
	    cache_get(&g->cache, &s->job, &s->cached)) {
		s->has_cached = 1;
		s->job.bytes_only = 1;
		s->job.unpack = s->cached.kind == ANSWER_OK &&
		    s->cached.where != NULL;
	}
	return 0;
}

static void
take_next(struct run *g)
{
	const struct rec	*r;

	if (filter_next(&g->f, &r) == 1)
		(void)take(g, r);
	else
		g->eof = 1;
}

/* The loop ----------------------------------------------------------- */

struct polled {
	struct pollfd	 p[2 * JOBS_MAX + 3];
	struct slot	*s[2 * JOBS_MAX + 3];
	nfds_t		 n;
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
	nfds_t		 i;
	size_t		 k;
	int		 lost = 0;

	for (i = 0; i < w->n; i++) {
		s = w->s[i];
		if (s == NULL || w->p[i].revents == 0 || s->pid == 0)
			continue;
		if (w->p[i].fd == s->said) {
			if (drain(s->said, &s->words, &lost) == 0)
				shut(&s->said);
		} else if (w->p[i].fd == s->out &&
		    (drain(s->out, &s->answer, &s->errnum) == 0 ||
		    s->answer.over))
			worker_done(g, s);
	}
	for (k = 0; k < g->n; k++) {
		s = slot_at(g, k);
		if (s->phase == HOOKED && has_exited(s->pid))
			hook_done(g, s);
		else if (s->pid != 0 && io_now() >= s->deadline)
			too_long(g, s);
	}
}

static void
say_status(struct run *g)
{
	wants_status = 0;
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
	if (poll(w.p, w.n, patience(g)) == -1) {
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
		take_next(g);
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
		if (wants_status)
			say_status(g);
		for (i = 0; i < g->n && g->running < g->o.jobs; i++) {
			s = slot_at(g, i);
			if (s->phase == WAITING)
				start_worker(g, s);
		}
		if (g->n != 0 && slot_at(g, 0)->phase == DONE)
			emit(g);
		else if (!g->eof && g->n < g->cap && stream_pending(g->f.in))
			take_next(g);
		else
			wait_for(g);
	}
	while (g->n != 0) {	/* stopped: what is unfinished is undone */
		s = slot_at(g, g->n - 1);
		(void)reap(g, s);
		drop_work(g, s);
		slot_clear(g, s);
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
		msg_die(MSG_USAGE, "%s %s: %s", what, s, why);
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
	if (optind != argc)
		usage();
}

static void
catch(int sig, void (*f)(int))
{
	struct sigaction	sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = f;
	sa.sa_flags = SA_RESTART;
	sigemptyset(&sa.sa_mask);
	(void)sigaction(sig, &sa, NULL);
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

	if (make_pipe(g->chld, e) == -1)
		return -1;
	(void)fcntl(g->chld[1], F_SETFL, O_NONBLOCK);
	chld_fd = g->chld[1];
	catch(SIGCHLD, on_child);
	catch(SIGUSR1, on_usr1);
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
	forget(&g);
	free(g.ring);
	return filter_finish(&g.f, filter_last());
}
