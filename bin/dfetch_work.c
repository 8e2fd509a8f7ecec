/*
 * dfetch_work: what is done to one input, and the processes that do it.
 * It decides no order and writes no record.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch.h"

#include <sys/socket.h>
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

#include "io.h"
#include "mem.h"
#include "sandbox.h"
#include "banned.h"

#define WORK_JUDGE_CPU	60			/* seconds */
#define WORK_JUDGE_MEM	((uint64_t)2 << 30)	/* bytes */

struct worker {
	pid_t		 pid;
	int		 fd;
	int		 remote;	/* takes any number of jobs */
	unsigned int	 busy;		/* jobs it has */
	const char	*url;		/* the last one's */
};

struct fetch_pool {
	struct worker	*v;	/* the remote ones, if any, are the last */
	struct pollfd	*p;
	unsigned int	 n;
	int		 out;	/* stdout, or -1: no use watching it */
	const struct plan *plan;
};

static int
url_cmp(const void *a, const void *b)
{
	return strcmp((*(const struct item_source *const *)a)->url,
	    (*(const struct item_source *const *)b)->url);
}

void
fetch_index(const struct manifest *m, const struct item_source ***by_url)
{
	size_t	i;

	*by_url = mem_zero(m->n_sources, sizeof(**by_url));
	for (i = 0; i < m->n_sources; i++)
		(*by_url)[i] = &m->sources[i];
	if (m->n_sources > 1)
		qsort(*by_url, m->n_sources, sizeof(**by_url), url_cmp);
}

/* The same thing as then: by ETag, or by time where one has none. */
static int
as_then(const struct item_source *s, const struct fetch_info *info)
{
	if (!info->unsized && s->size != info->size)
		return 0;
	if (s->etag != NULL && info->etag[0] != '\0')
		return strcmp(s->etag, info->etag) == 0;
	return s->mtime == info->mtime;
}

const struct item_source *
fetch_unchanged(const struct fetch_work *w, const struct plan_line *l,
    const struct fetch_info *info)
{
	const struct item_source	*s;
	size_t				 lo = 0, hi, mid;

	if (w->base == NULL || (info->unsized && info->etag[0] == '\0'))
		return NULL;
	for (hi = w->base->n_sources; lo < hi;) {
		mid = lo + (hi - lo) / 2;
		if (strcmp(w->by_url[mid]->url, l->url) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < w->base->n_sources; lo++) {
		s = w->by_url[lo];
		if (strcmp(s->url, l->url) != 0)
			break;
		if (as_then(s, info) && (l->sha256[0] == '\0' ||
		    strcmp(l->sha256, s->sha256) == 0))
			return s;
	}
	return NULL;
}

/*
 * Has the base this source, under this name?  The name counts: a plan is
 * covered by names, and what is skipped as a whole names none of its own.
 */
static int
has_source(const struct manifest *base, const struct item_source *want)
{
	const struct item_source	*s, *end;

	end = base->sources + base->n_sources;
	s = manifest_source(base, want->sha256);
	for (; s != NULL && s < end && strcmp(s->sha256, want->sha256) == 0;
	    s++)
		if (strcmp(s->url, want->url) == 0)
			return 1;
	return 0;
}

/*
 * In a process of its own: when the base has all sources of the store, the
 * digest of its first one goes to out.
 */
static void
judge(const struct fetch_work *w, const char *dir, int fd, int out,
    pid_t parent)
{
	struct sandbox_path	path;
	struct manifest		m;
	struct err		e = { 0, "" };
	char			abs[8192];
	size_t			i;
	int			keep[2], n;

	n = snprintf(abs, sizeof(abs), "%s/%s", w->stage, dir);
	if (n < 0 || (size_t)n >= sizeof(abs))
		return;
	path.path = abs;
	path.write = 0;
	keep[0] = fd;
	keep[1] = out;
	if (sandbox_child(parent, keep, 2, &e) == -1 ||
	    sandbox_limits(WORK_JUDGE_CPU, 0, 0, WORK_JUDGE_MEM, &e) == -1 ||
	    sandbox_start(SANDBOX_WORKER, &path, 1, &e) == -1)
		return;
	memset(&m, 0, sizeof(m));
	if (manifest_read(&m, fd, NULL, &e) == -1 || m.n_sources == 0)
		return;
	for (i = 0; i < m.n_sources; i++)
		if (!has_source(w->base, &m.sources[i]))
			return;
	(void)io_write(out, m.sources[0].sha256, HASH_HEX - 1);
}

/*
 * Is the copy in dir a store of ours whose sources the base all has?  Its
 * manifest comes from outside, so a confined child reads it; when that
 * comes to no answer the input is simply not skipped.  1 and held filled,
 * or 0.
 */
static int
sources_held(const struct fetch_work *w, const char *dir, int fd,
    char held[HASH_HEX])
{
	struct stat	st;
	unsigned char	d[HASH_LEN];
	pid_t		parent = getpid(), pid;
	ssize_t		n;
	int		p[2];

	if (fstatat(fd, MANIFEST_NAME, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    pipe(p) == -1)
		return 0;
	pid = fork();
	if (pid == 0) {
		(void)close(p[0]);
		judge(w, dir, fd, p[1], parent);
		_exit(0);
	}
	(void)close(p[1]);
	memset(held, 0, HASH_HEX);
	n = pid != -1 ? io_read(p[0], held, HASH_HEX - 1) : 0;
	(void)close(p[0]);
	while (pid != -1 && waitpid(pid, NULL, 0) == -1 && errno == EINTR)
		;
	/* a child that was taken over may write what it likes */
	if (n == HASH_HEX - 1 && hash_unhex(held, d) == 0 &&
	    manifest_source(w->base, held) != NULL)
		return 1;
	held[0] = '\0';
	return 0;
}

int
fetch_open_dir(const struct fetch_work *w, uint64_t n, struct err *e)
{
	char	dir[64];
	int	fd;

	if (w->list)
		return -1;
	(void)snprintf(dir, sizeof(dir), FETCH_DIR_FMT,
	    (unsigned long long)n);
	fd = openat(w->stagefd, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);
	if (fd == -1)
		err_sys(e, errno, "%s/%s", w->stage, dir);
	return fd;
}

static int
check_size(const struct fetch_work *w, const struct plan_line *l,
    const struct fetch_info *info, struct err *e)
{
	if (info->unsized)
		return 0;
	if (!info->dir && info->size == 0 && !w->files)
		return err_set(e, MSG_DATAERR,
		    "%s: size: want more than 0 bytes, got 0", l->url);
	if (l->has_size && l->size != info->size)
		return err_set(e, MSG_DATAERR,
		    "%s: size: want %llu (plan), got %llu", l->url,
		    (unsigned long long)l->size,
		    (unsigned long long)info->size);
	if (info->size > w->max_size)
		return err_set(e, MSG_DATAERR,
		    "%s: size: want at most %llu (--max-size), got %llu",
		    l->url, (unsigned long long)w->max_size,
		    (unsigned long long)info->size);
	return 0;
}

int
fetch_timed(const struct plan_line *l, const struct fetch_info *info,
    struct err *e)
{
	if (info->mtime != 0 || l->has_seq)
		return 0;
	return err_set(e, MSG_DATAERR, "%s: no Last-Modified: nobody knows "
	    "which of two records is the newer: want seq= in a plan",
	    l->url);
}

/* The operator wants it processed again (dckpt force). */
static int
is_forced(const struct fetch_work *w, const struct fetch_answer *a)
{
	return w->forced != NULL && w->forced[a->line];
}

/*
 * What comes from elsewhere only says that there was no room: where, and
 * what to do.
 */
static void
name_full_disk(const struct fetch_work *w, struct err *e)
{
	static const int	full[] = { ENOSPC, EDQUOT };
	const char		*why;
	size_t			 i, len = strlen(e->text), n;

	if (e->code != MSG_IOERR || w->list)
		return;
	for (i = 0; i < sizeof(full) / sizeof(full[0]); i++) {
		why = strerror(full[i]);
		n = strlen(why);
		if (len >= n && strcmp(e->text + len - n, why) == 0)
			(void)snprintf(e->text + len, sizeof(e->text) - len,
			    ": staging is %s: make room there, or set TMPDIR",
			    w->stage);
	}
}

/* Whatever failed, and however it was told. */
static void
judged(const struct fetch_work *w, struct fetch_answer *a)
{
	char	dir[64];

	(void)snprintf(dir, sizeof(dir), FETCH_DIR_FMT,
	    (unsigned long long)a->n);
	if (a->what != FETCH_DONE && !w->list)
		(void)io_rmtree(w->stagefd, dir, &a->e);
	if (a->e.code == 0)
		return;
	name_full_disk(w, &a->e);
	a->what = FETCH_FAILED;
}

int
fetch_before(const struct fetch_work *w, const struct fetch_job *j,
    struct fetch_answer *a)
{
	const struct plan_line		*l = &w->plan->v[j->line];
	const struct item_source	*s;

	memset(a, 0, sizeof(*a));
	a->line = j->line;
	a->n = j->n;
	if (w->seen != NULL && w->seen[j->line] != NULL) {
		a->info = w->seen[j->line]->info;
		(void)fetch_timed(l, &a->info, &a->e);
	} else
		(void)fetch_local.look(l->url, &a->info, &a->e);
	if (a->e.code != 0 || check_size(w, l, &a->info, &a->e) == -1)
		return 0;
	s = is_forced(w, a) ? NULL : fetch_unchanged(w, l, &a->info);
	a->what = FETCH_DONE;
	if (s != NULL) {
		memcpy(a->sha256, s->sha256, sizeof(a->sha256));
		memcpy(a->held, s->sha256, sizeof(a->held));
		a->what = FETCH_UNCHANGED;
		judged(w, a);
		return 0;
	}
	return !w->list || w->digest;
}

void
fetch_after(const struct fetch_work *w, int dirfd,
    const unsigned char d[HASH_LEN], struct fetch_answer *a)
{
	const struct plan_line	*l = &w->plan->v[a->line];
	char			 dir[64];

	if (a->what == FETCH_STALE)
		goto done;
	a->what = FETCH_DONE;
	if (a->e.code != 0)
		goto done;
	(void)snprintf(dir, sizeof(dir), FETCH_DIR_FMT,
	    (unsigned long long)a->n);
	hash_hex(d, a->sha256);
	if (l->sha256[0] != '\0' && strcmp(l->sha256, a->sha256) != 0) {
		err_set(&a->e, MSG_DATAERR,
		    "%s: sha256: want %s (plan), got %s", l->url, l->sha256,
		    a->sha256);
		goto done;
	}
	/* it may have grown since it was looked at, and be quiet now */
	if (check_size(w, l, &a->info, &a->e) == -1 ||
	    fetch_timed(l, &a->info, &a->e) == -1 || w->base == NULL ||
	    is_forced(w, a))
		goto done;
	if (manifest_source(w->base, a->sha256) != NULL) {
		memcpy(a->held, a->sha256, sizeof(a->held));
		a->what = FETCH_HELD;
	} else if (dirfd != -1 && a->info.dir &&
	    sources_held(w, dir, dirfd, a->held))
		a->what = FETCH_SOURCES;
done:
	judged(w, a);
}

void
fetch_one(const struct fetch_work *w, const struct fetch_job *j,
    struct fetch_answer *a)
{
	const struct plan_line	*l = &w->plan->v[j->line];
	unsigned char		 d[HASH_LEN];
	int			 fd;

	if (!fetch_before(w, j, a))
		return;
	fd = fetch_open_dir(w, j->n, &a->e);
	if (a->e.code == 0)
		(void)fetch_local.fetch(l->url, w->stage, fd, a->name,
		    &a->info, d, &a->e);
	fetch_after(w, fd, d, a);
	if (fd != -1)
		(void)close(fd);
}

/* A worker: jobs in, answers out, until there are no more. */
static void
work(const struct fetch_work *w, int fd)
{
	struct fetch_job	j;
	struct fetch_answer	a;

	while (io_read(fd, &j, sizeof(j)) == (ssize_t)sizeof(j)) {
		fetch_one(w, &j, &a);
		if (io_write(fd, &a, sizeof(a)) == -1)
			break;
	}
}

static int
start(struct fetch_pool *p, const struct fetch_work *w, int remote,
    struct err *e)
{
	struct worker	*k = &p->v[p->n];
	struct err	 e2 = { 0, "" };
	pid_t		 parent = getpid();
	size_t		 n = 0;
	int		 sv[2], keep[3];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == -1)
		return err_sys(e, errno, "a process to fetch with: socketpair");
	k->pid = fork();
	if (k->pid == -1) {
		err_sys(e, errno, "a process to fetch with: fork");
		(void)close(sv[0]);
		(void)close(sv[1]);
		return -1;
	}
	if (k->pid == 0) {
		keep[n++] = sv[1];
		if (w->stagefd != -1)
			keep[n++] = w->stagefd;
		if (w->lockfd != -1)
			keep[n++] = w->lockfd;
		if (sandbox_child(parent, keep, n, &e2) == -1)
			_exit(1);
		/* the stream is the parent's alone: no writer of it must
		   stay behind when that one is gone */
		(void)close(STDOUT_FILENO);
		(void)signal(SIGPIPE, SIG_IGN);
		if (remote)
			fetch_remote_work(w, sv[1]);
		else
			work(w, sv[1]);
		_exit(0);
	}
	(void)close(sv[1]);
	(void)fcntl(sv[0], F_SETFD, FD_CLOEXEC);
	k->fd = sv[0];
	k->remote = remote;
	k->busy = 0;
	p->n++;
	return 0;
}

struct fetch_pool *
fetch_pool_new(const struct fetch_work *w, unsigned int n,
    unsigned int remote, struct err *e)
{
	struct fetch_pool	*p = mem_zero(1, sizeof(*p));
	unsigned int		 i;

	p->v = mem_zero((size_t)n + remote, sizeof(*p->v));
	p->p = mem_zero((size_t)n + remote + 1, sizeof(*p->p));
	p->out = STDOUT_FILENO;
	p->plan = w->plan;
	for (i = 0; i < n + remote; i++)
		if (start(p, w, i >= n, e) == -1) {
			fetch_pool_free(p);
			return NULL;
		}
	return p;
}

int
fetch_pool_give(struct fetch_pool *p, const struct fetch_job *j, int remote,
    struct err *e)
{
	struct worker	*k = NULL;
	unsigned int	 i;

	/* who has least to do */
	for (i = 0; i < p->n; i++)
		if (p->v[i].remote == remote &&
		    (k == NULL || p->v[i].busy < k->busy))
			k = &p->v[i];
	if (k == NULL || (k->busy != 0 && !remote))
		return 0;
	if (io_write(k->fd, j, sizeof(*j)) == -1)
		return err_sys(e, errno, "%s: the process that is to fetch "
		    "it", p->plan->v[j->line].url);
	k->url = p->plan->v[j->line].url;
	k->busy++;
	return 1;
}

static int
died(struct worker *k, struct err *e)
{
	int	status = 0;

	(void)close(k->fd);
	k->fd = -1;
	(void)kill(k->pid, SIGKILL);
	while (waitpid(k->pid, &status, 0) == -1 && errno == EINTR)
		;
	k->pid = -1;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return err_set(e, MSG_IOERR, "%s%s: the process that fetched "
		    "it was killed from outside, perhaps for want of memory: "
		    "run again, or with a smaller -P", k->url,
		    k->busy > 1 ? " or another" : "");
	if (WIFSIGNALED(status))
		return err_set(e, MSG_IOERR, "%s%s: the process that fetched "
		    "it died of signal %d", k->url, k->busy > 1 ?
		    " or another" : "", WTERMSIG(status));
	return err_set(e, MSG_IOERR, "%s%s: the process that fetched it ended "
	    "with status %d and no answer", k->url, k->busy > 1 ?
	    " or another" : "", WEXITSTATUS(status));
}

int
fetch_pool_wait(struct fetch_pool *p, int ms, struct fetch_answer *a,
    struct err *e)
{
	unsigned int	i;

	for (i = 0; i < p->n; i++) {
		p->p[i].fd = p->v[i].busy != 0 ? p->v[i].fd : -1;
		p->p[i].events = POLLIN;
		p->p[i].revents = 0;
	}
	/* no events: only that its reader left */
	p->p[p->n].fd = p->out;
	p->p[p->n].events = 0;
	p->p[p->n].revents = 0;
	if (io_poll(p->p, p->n + 1, ms) == -1)
		return errno == EINTR ? 0 : err_sys(e, errno, "poll");
	for (i = 0; i < p->n; i++) {
		if (p->p[i].revents == 0)
			continue;
		if (io_read(p->v[i].fd, a, sizeof(*a)) != (ssize_t)sizeof(*a))
			return died(&p->v[i], e);
		if (a->what == FETCH_NEWS)
			a->n = i;
		else
			p->v[i].busy--;
		return 1;
	}
	/* closed, or a terminal that hung up: it would be told for ever */
	if ((p->p[p->n].revents & POLLERR) == 0)
		p->out = -1;
	return 0;
}

void
fetch_pool_free(struct fetch_pool *p)
{
	unsigned int	i;

	if (p == NULL)
		return;
	for (i = 0; i < p->n; i++) {
		if (p->v[i].fd != -1)
			(void)close(p->v[i].fd);
		/* idle ones end by themselves; none has anything to save */
		if (p->v[i].pid > 0)
			(void)kill(p->v[i].pid, SIGKILL);
	}
	for (i = 0; i < p->n; i++)
		while (p->v[i].pid > 0 &&
		    waitpid(p->v[i].pid, NULL, 0) == -1 && errno == EINTR)
			;
	free(p->v);
	free(p->p);
	free(p);
}
