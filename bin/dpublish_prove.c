/*
 * dpublish, the proofs: every source accounted for, no accidental loss,
 * and a store that opens where it lies.  It changes nothing.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arc.h"
#include "check.h"
#include "db.h"
#include "io.h"
#include "mem.h"
#include "plan.h"
#include "sandbox.h"
#include "store.h"
#include "banned.h"

void
dpub_srcs_add(struct dpub_srcs *s, const char *sha256, const char *url)
{
	s->v = mem_grow(s->v, &s->cap, s->n + 1, sizeof(*s->v));
	memset(&s->v[s->n], 0, sizeof(*s->v));
	memcpy(s->v[s->n].sha256, sha256, HASH_HEX - 1);
	s->v[s->n].url = mem_dup(url);
	s->n++;
	s->sorted = 0;
}

void
dpub_srcs_clear(struct dpub_srcs *s)
{
	size_t	i;

	for (i = 0; i < s->n; i++)
		free(s->v[i].url);
	free(s->v);
	memset(s, 0, sizeof(*s));
}

static int
cmp_sha(const void *a, const void *b)
{
	const struct dpub_src	*x = a, *y = b;

	return strcmp(x->sha256, y->sha256);
}

static int
srcs_have(struct dpub_srcs *s, const char *sha256)
{
	struct dpub_src	key;

	if (s->n == 0)
		return 0;
	if (!s->sorted) {
		qsort(s->v, s->n, sizeof(*s->v), cmp_sha);
		s->sorted = 1;
	}
	memset(&key, 0, sizeof(key));
	memcpy(key.sha256, sha256, HASH_HEX - 1);
	return bsearch(&key, s->v, s->n, sizeof(*s->v), cmp_sha) != NULL;
}

/* How many complaints of a kind were kept back, in one line. */
static void
more(struct dpub *p, size_t n, const char *what)
{
	if (n > DPUB_NAMED)
		filter_fail(&p->f, MSG_DATAERR, "%zu more sources that %s",
		    n - DPUB_NAMED, what);
}

void
dpub_prove_sources(struct dpub *p, const struct manifest *m,
    const struct manifest *base)
{
	size_t	i, n = 0;

	for (i = 0; i < p->given.n; i++)
		if (manifest_source(m, p->given.v[i].sha256) == NULL &&
		    ++n <= DPUB_NAMED)
			filter_fail(&p->f, MSG_DATAERR, "%s (%.12s): it was "
			    "given and is not in the store: merge again",
			    p->given.v[i].url, p->given.v[i].sha256);
	more(p, n, "were given and are not in the store");
	for (i = 0, n = 0; i < base->n_sources; i++)
		if (manifest_source(m, base->sources[i].sha256) == NULL &&
		    ++n <= DPUB_NAMED)
			filter_fail(&p->f, MSG_DATAERR, "%s (%.12s): the base "
			    "holds it and the store does not: merge again",
			    base->sources[i].url, base->sources[i].sha256);
	more(p, n, "the base holds and the store does not");
	for (i = 0, n = 0; i < m->n_sources; i++)
		if (manifest_source(base, m->sources[i].sha256) == NULL &&
		    !srcs_have(&p->given, m->sources[i].sha256) &&
		    ++n <= DPUB_NAMED)
			filter_fail(&p->f, MSG_DATAERR, "%s (%.12s): it is in "
			    "the store and was not given: neither the base "
			    "nor a delta holds it", m->sources[i].url,
			    m->sources[i].sha256);
	more(p, n, "are in the store and were not given");
	for (i = 0, n = 0; i < p->skips.n; i++)
		if (manifest_source(base, p->skips.v[i].sha256) == NULL &&
		    ++n <= DPUB_NAMED)
			filter_fail(&p->f, MSG_DATAERR, "%s (%.12s): it was "
			    "skipped and the base does not hold it: fetch "
			    "again", p->skips.v[i].url,
			    p->skips.v[i].sha256);
	more(p, n, "were skipped and the base does not hold");
}

/* Mark the plan's line for this url, when its digest is in the store. */
static int
mark(struct plan *plan, const char *url, const char *sha256,
    const struct manifest *m)
{
	struct plan_line	*l = plan_find(plan, url);

	if (l == NULL)
		return 0;
	if (manifest_source(m, sha256) != NULL)
		l->seen = 1;
	return 1;
}

void
dpub_prove_plan(struct dpub *p, const struct manifest *m,
    const struct manifest *base)
{
	struct err	 e = { 0, "" };
	struct plan	 plan;
	size_t		 i, n = 0;

	if (p->o->plan == NULL)
		return;
	plan_init(&plan);
	if (plan_read(&plan, p->o->plan, &e) == -1) {
		filter_fail_err(&p->f, &e);
		plan_clear(&plan);
		return;
	}
	for (i = 0; i < p->skips.n; i++)
		(void)mark(&plan, p->skips.v[i].url, p->skips.v[i].sha256, m);
	for (i = 0; i < p->deltas.n; i++)
		(void)mark(&plan, p->deltas.v[i].url,
		    p->deltas.v[i].sha256, m);
	for (i = 0; i < m->n_sources; i++) {
		if (mark(&plan, m->sources[i].url, m->sources[i].sha256, m))
			continue;
		/* a base may hold more than this plan, an input may not */
		if (manifest_source(base, m->sources[i].sha256) == NULL &&
		    ++n <= DPUB_NAMED)
			filter_fail(&p->f, MSG_DATAERR, "%s: it is in the "
			    "store and not in the plan %s", m->sources[i].url,
			    p->o->plan);
	}
	more(p, n, "are in the store and not in the plan");
	for (i = 0, n = 0; i < plan.n; i++) {
		if (plan.v[i].seen || (plan.v[i].sha256[0] != '\0' &&
		    manifest_source(m, plan.v[i].sha256) != NULL))
			continue;
		if (++n <= DPUB_NAMED)
			filter_fail(&p->f, MSG_DATAERR, "%s: the plan %s names"
			    " it and the store does not hold it: run again "
			    "with it", plan.v[i].url, p->o->plan);
	}
	more(p, n, "the plan names and the store does not hold");
	plan_clear(&plan);
}

void
dpub_prove_size(struct dpub *p, const struct manifest *m,
    const struct target_commit *head, uint64_t deleted)
{
	uint64_t	least;

	if (m->records == 0 && !p->o->allow_empty &&
	    !(p->o->has_shrink && p->o->shrink == 0))
		filter_fail(&p->f, MSG_DATAERR, "%s: the store has no live "
		    "record: give --allow-empty if it must have none",
		    p->target);
	if (p->o->has_shrink && m->records != p->o->shrink) {
		filter_fail(&p->f, MSG_DATAERR, "%s: --allow-shrink names "
		    "%llu records and the store has %llu", p->target,
		    (unsigned long long)p->o->shrink,
		    (unsigned long long)m->records);
		return;
	}
	if (head->generation == 0 || p->o->has_shrink)
		return;
	least = head->records > deleted ? head->records - deleted : 0;
	if (m->records < least)
		filter_fail(&p->f, MSG_DATAERR, "%s: the store has %llu "
		    "records, version %s has %llu and %llu deletions were "
		    "given: %llu are missing; if that is meant, give "
		    "--allow-shrink %llu", p->target,
		    (unsigned long long)m->records, head->version,
		    (unsigned long long)head->records,
		    (unsigned long long)deleted,
		    (unsigned long long)(least - m->records),
		    (unsigned long long)m->records);
}

/* What the worker says, through a pipe. */
struct answer {
	int			 r;
	struct err		 e;
	struct check_verdict	 v;
	uint64_t		 records, tombstones;
	int			 has_content;
	unsigned char		 content[HASH_LEN];
};

/* An archive is unpacked below dirfd; anything else is opened. */
static int
work(const char *path, enum store_format fmt, int dirfd,
    struct check_summary *s, struct answer *a)
{
	if (fmt == STORE_ARCHIVE)
		return arc_unpack(path, dirfd, NULL, NULL, &a->v, &a->e);
	return check_store(path, fmt, CHECK_ALLOW_EMPTY, s, &a->v, &a->e);
}

static void
worker(const char *path, enum store_format fmt, const char *tmp, int fd,
    pid_t parent)
{
	struct sandbox_path	 may[2];
	struct check_summary	 s;
	struct answer		 a;
	int			 keep[2];

	memset(&a, 0, sizeof(a));
	memset(&s, 0, sizeof(s));
	a.r = -1;
	keep[0] = fd;
	keep[1] = open(tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	may[0].path = path;
	may[0].write = 0;
	may[1].path = tmp;
	may[1].write = 1;
	db_set_tmpdir(tmp);
	if (keep[1] == -1)
		err_sys(&a.e, errno, "%s", tmp);
	else if (sandbox_child(parent, keep, 2, &a.e) != -1 &&
	    sandbox_limits(0, fmt == STORE_ARCHIVE ? ARC_BYTES : 0, 0, 0,
	    &a.e) != -1 &&
	    sandbox_start(SANDBOX_WORKER, may, 2, &a.e) != -1)
		a.r = work(path, fmt, keep[1], &s, &a);
	if (a.r == 0) {
		a.records = s.records;
		a.tombstones = s.tombstones;
		a.has_content = s.has_content;
		memcpy(a.content, s.content, HASH_LEN);
	}
	_exit(io_write(fd, &a, sizeof(a)) == -1 ? MSG_IOERR : 0);
}

/* The answer of a worker that may sort in tmp; -1 when it gave none. */
static int
ask_in(const char *tmp, const char *path, enum store_format fmt,
    struct answer *a, struct err *e)
{
	pid_t	pid, self = getpid();
	ssize_t	n;
	int	p[2], st, sig;

	/* the worker is confined, and may not open it */
	if (fmt == STORE_ARCHIVE && arc_load(e) == -1)
		return -1;
	if (pipe(p) == -1)
		return err_sys(e, errno, "pipe");
	pid = fork();
	if (pid == -1) {
		err_sys(e, errno, "fork");
		(void)close(p[0]);
		(void)close(p[1]);
		return -1;
	}
	if (pid == 0) {
		(void)close(p[0]);
		worker(path, fmt, tmp, p[1], self);
	}
	(void)close(p[1]);
	n = io_await(p[0]) == -1 ? -1 : io_read(p[0], a, sizeof(*a));
	sig = io_signal();
	if (n == -1 && sig == 0)
		err_sys(e, errno, "%s: the answer of the process that opened "
		    "it", path);
	(void)close(p[0]);
	if (sig != 0)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, &st, 0) == -1 && errno == EINTR)
		if (sig == 0 && (sig = io_signal()) != 0)
			(void)kill(pid, SIGKILL);
	if (sig != 0)
		return err_set(e, MSG_TEMPFAIL, "stopped by a signal");
	if (n == (ssize_t)sizeof(*a))
		return 0;
	if (n == -1)
		return -1;
	/* nobody's bytes do that: the machine did, or somebody */
	if (WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL)
		return err_set(e, MSG_IOERR, "%s: the process that opened it "
		    "was killed from outside, perhaps for want of memory",
		    path);
	if (WIFSIGNALED(st))
		return err_set(e, MSG_DATAERR, "%s: the process that opened "
		    "it died of signal %d", path, WTERMSIG(st));
	/* it has said why */
	if (WEXITSTATUS(st) == MSG_IOERR)
		return err_set(e, MSG_IOERR, "%s: the process that opened it "
		    "had no memory, or its pipe broke", path);
	return err_set(e, MSG_SOFTWARE, "%s: the process that opened it said "
	    "nothing", path);
}

/* The same, in a directory of staging that is the worker's alone. */
static int
ask(const char *path, enum store_format fmt, const struct stage *s,
    struct answer *a, struct err *e)
{
	struct err	 f = { 0, "" };
	char		 name[32], tmp[8192];
	int		 n, rv;

	(void)snprintf(name, sizeof(name), "open.%ld", (long)getpid());
	n = snprintf(tmp, sizeof(tmp), "%s/%s", s->path, name);
	if (n < 0 || (size_t)n >= sizeof(tmp))
		return err_set(e, MSG_USAGE, "%.200s: path too long",
		    s->path);
	if (mkdirat(s->dirfd, name, 0700) == -1)
		return err_sys(e, errno, "%s", tmp);
	rv = ask_in(tmp, path, fmt, a, e);
	if (io_rmtree(s->dirfd, name, &f) == -1)
		msg_info("%s: %s", s->path, f.text);
	return rv;
}

int
dpub_unpack(const char *path, const char *name, const char *into,
    struct err *e)
{
	struct answer	a;

	memset(&a, 0, sizeof(a));
	if (ask_in(into, path, STORE_ARCHIVE, &a, e) == -1)
		return -1;
	if (a.r == 1)
		return err_set(e, MSG_DATAERR, "%s: %s: %s", name,
		    check_code_name(a.v.code), a.v.reason);
	return a.r == 0 ? 0 : err_set(e, a.e.code, "%s", a.e.text);
}

int
dpub_judge(const char *path, enum store_format fmt, const struct stage *s,
    struct err *e)
{
	struct answer	a;

	memset(&a, 0, sizeof(a));
	if (ask(path, fmt, s, &a, e) == -1)
		return -1;
	if (a.r == 1)
		return err_set(e, MSG_DATAERR, "%s: %s: %s", path,
		    check_code_name(a.v.code), a.v.reason);
	return a.r == 0 ? 0 : err_set(e, a.e.code, "%s", a.e.text);
}

int
dpub_open_store(const char *path, const struct manifest *m,
    const struct stage *s, struct err *e)
{
	struct answer		a;
	enum store_format	fmt = store_format_parse(m->format);
	char			hex[HASH_HEX];

	if (fmt != STORE_SQLITE && fmt != STORE_CHROMA)
		return err_set(e, MSG_DATAERR, "%s: format %s: want sqlite or"
		    " chroma", path, m->format);
	memset(&a, 0, sizeof(a));
	if (ask(path, fmt, s, &a, e) == -1)
		return -1;
	if (a.r == 1)
		return err_set(e, MSG_DATAERR, "%s: %s: %s", path,
		    check_code_name(a.v.code), a.v.reason);
	if (a.r != 0)
		return err_set(e, a.e.code, "%s", a.e.text);
	if (a.records != m->records)
		return err_set(e, MSG_DATAERR, "%s: records: want %llu "
		    "(manifest), got %llu", path,
		    (unsigned long long)m->records,
		    (unsigned long long)a.records);
	if (a.tombstones != m->tombstones)
		return err_set(e, MSG_DATAERR, "%s: tombstones: want %llu "
		    "(manifest), got %llu", path,
		    (unsigned long long)m->tombstones,
		    (unsigned long long)a.tombstones);
	if (!a.has_content)
		return 0;
	hash_hex(a.content, hex);
	if (strcmp(hex, m->content_digest) != 0)
		return err_set(e, MSG_DATAERR, "%s: content digest: want %s "
		    "(manifest), got %s", path, m->content_digest, hex);
	return 0;
}
