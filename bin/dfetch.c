/*
 * dfetch: from a plan or operands to records of what lies in staging.  It
 * decides which inputs there are, in which order, and when to stop; what
 * they mean it does not know.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckpt.h"
#include "filter.h"
#include "io.h"
#include "mem.h"
#include "num.h"
#include "path.h"
#include "target.h"
#include "banned.h"

#define FETCH_P_MAX	64	/* processes */
#define FETCH_P_DEFAULT	4	/* at most, without -P */
#define FETCH_WINDOW	256	/* answers that wait for their turn */
#define FETCH_BASE	"base"	/* below staging */

static const char	usage_text[] =
"usage: dfetch [-lv] [-b target | -B target] [-c db] [-f plan] [-P n]\n"
"              [--json] [--sha256] [--stage dir] [input ...]\n";

static const char	help_text[] =
"examples:\n"
"  drun 'dfetch -B target deltas/ | dcheck | dmerge | dpublish target'\n"
"  dfetch -l deltas/ > plan; split -l 25 plan chunk.\n"
"  drun 'dfetch -f chunk.aa | dcheck | dmerge -o out/aa'\n"
"\n"
"%s"
"\n"
"An input is a ChromaDB directory, a store, an archive or a batch result, a\n"
"directory of them, or - for a plan on stdin.\n"
"\n"
"  -b, --base=TARGET         bring the current snapshot, skip what it holds\n"
"  -B, --base-if-any=TARGET  the same, if there is one\n"
"  -c, --checkpoints=DB      keep the checkpoint database DB\n"
"  -f, --plan=FILE           read a plan\n"
"  -l, --list                print the inputs as a plan, copy nothing\n"
"  -P, --parallel=N          copy with N processes\n"
"  -v, --verbose             say what is passed over\n"
"      --json                write JSON lines\n"
"      --sha256              with -l: digests, too\n"
"      --stage=DIR           the staging directory\n"
"  -h, --help                this text\n"
"  -V, --version             the version\n";

struct opts {
	struct filter_opts	 filter;
	const char		*base;
	int			 base_if_any;
	const char		*ckpt;
	unsigned int		 parallel;
	int			 list, sha256;
	int			 no_stdin;	/* no plan comes there */
};

/* What is kept of each line until the run ends. */
struct fetched {
	enum fetch_what		 what;
	struct fetch_info	 info;
	char			 sha256[HASH_HEX];
};

struct fetch {
	struct opts		 o;
	struct plan		 plan;
	struct manifest		 base;
	struct fetch_work	 work;
	struct fetch_pool	*pool;
	struct fetched		*done;	/* by line; -l, checkpoints */
	struct ckpt		*ckpt;
	struct filter		 f;	/* not with -l */
	int			 status; /* with -l */
	uint64_t		 dirs;	/* last number used below in/ */
	struct fetch_job	 job;	/* ready, and not taken yet */
	int			 has_job;
	uint64_t		 told;	/* lines */
};

static volatile sig_atomic_t	want_status;

static void
on_usr1(int sig)
{
	(void)sig;
	want_status = 1;
}

static void
usage(void)
{
	(void)fputs(usage_text, stderr);
	exit(MSG_USAGE);
}

/* One line, the status, and a reason in FAIL where there is a stream. */
static void
fail(struct fetch *x, const struct err *e)
{
	if (!x->o.list) {
		filter_fail_err(&x->f, e);
		return;
	}
	if (io_signal() == 0 && e->text[0] != '\0')
		msg_err(e);
	x->status = msg_worse(x->status, e->code);
}

static int
good(const struct fetch *x)
{
	return x->o.list ? x->status == 0 && io_signal() == 0 :
	    filter_ok(&x->f);
}

static const char *
run_id(const struct fetch *x)
{
	const char	*s = getenv("DRUN_ID");

	return s != NULL && *s != '\0' ? s : x->f.stage.run;
}

/*
 * The plan: files of lines, and what operands stand for.
 */

static int
add_url(const char *url, void *arg, struct err *e)
{
	struct fetch	*x = arg;

	/* whatever else a plan says of it, it is the same input */
	if (plan_find(&x->plan, url) != NULL)
		return 0;
	return plan_add_line(&x->plan, url, "operand", 0, e);
}

static int
only_local(const char *url, struct err *e)
{
	if (path_is_local(url))
		return 0;
	return err_set(e, MSG_USAGE, "%s: this dfetch reads local inputs "
	    "only: a path or a file:// URL", url);
}

static int
add_plan(struct fetch *x, const char *name, struct err *e)
{
	if (strcmp(name, "-") == 0 && isatty(STDIN_FILENO))
		return err_set(e, MSG_USAGE, "stdin is a terminal: want a "
		    "plan, as in: dfetch -l DIR | dfetch -");
	return plan_read(&x->plan, name, e);
}

/* Each operand that fails is named. */
static int
add_operands(struct fetch *x, char **v, int n)
{
	struct err	e;
	int		i, rv = 0;
	size_t		k;

	for (i = 0; i < n; i++) {
		memset(&e, 0, sizeof(e));
		if (strcmp(v[i], "-") == 0)
			(void)add_plan(x, v[i], &e);
		else if (only_local(v[i], &e) == 0)
			(void)fetch_local.list(v[i], add_url, x, &e);
		if (e.code != 0) {
			fail(x, &e);
			rv = -1;
		}
	}
	for (k = 0; k < x->plan.n; k++) {
		memset(&e, 0, sizeof(e));
		if (only_local(x->plan.v[k].url, &e) == -1) {
			fail(x, &e);
			rv = -1;
		}
	}
	return rv;
}

/* Every input that is not there is named before anything is copied. */
static int
all_there(struct fetch *x)
{
	struct err	e, e2;
	size_t		i;
	int		rv = 0;

	for (i = 0; i < x->plan.n && io_signal() == 0; i++) {
		memset(&e, 0, sizeof(e));
		memset(&e2, 0, sizeof(e2));
		if (fetch_local.exists(x->plan.v[i].url, &e) == 0)
			continue;
		fail(x, &e);
		rv = -1;
		if (ckpt_fail(x->ckpt, CKPT_INPUT, x->plan.v[i].url,
		    run_id(x), e.code, NULL, e.text, &e2) == -1) {
			fail(x, &e2);
			break;
		}
	}
	return rv;
}

/*
 * The base.
 */

static int
no_base(struct fetch *x, const char *url)
{
	struct rec_base	 b;
	struct rec	*r;
	int		 rv = 0;

	memset(&b, 0, sizeof(b));
	b.target = url;
	b.none = 1;
	msg_info("%s: holds no snapshot: there is no base", url);
	if (!x->o.list) {
		r = rec_new("base");
		rec_base_put(r, &b);
		rv = filter_put(&x->f, r);
		rec_free(r);
	}
	return rv;
}

/* The version into staging; x->base and the record from what came. */
static int
bring_base(struct fetch *x, struct target *t, const struct target_commit *c,
    struct err *e)
{
	unsigned char	 d[HASH_LEN];
	char		 hex[HASH_HEX];
	struct rec_base	 b;
	struct rec	*r;
	int		 fd, rv;

	if (target_fetch(t, c->version, x->f.stage.dirfd, FETCH_BASE,
	    e) == -1)
		return -1;
	fd = openat(x->f.stage.dirfd, FETCH_BASE, O_RDONLY | O_DIRECTORY |
	    O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, errno, "%s/%s", x->f.stage.path,
		    FETCH_BASE);
	rv = manifest_read(&x->base, fd, d, e);
	(void)close(fd);
	if (rv == -1)
		return -1;
	hash_hex(d, hex);
	if (strcmp(hex, c->manifest_sha256) != 0)
		return err_set(e, MSG_DATAERR, "%s: version %s: manifest: "
		    "want sha256 %s (commit %llu), got %s", target_url(t),
		    c->version, c->manifest_sha256,
		    (unsigned long long)c->generation, hex);
	memset(&b, 0, sizeof(b));
	b.target = target_url(t);
	b.version = c->version;
	b.generation = c->generation;
	b.path = FETCH_BASE;
	b.sha256 = hex;
	b.format = x->base.format;
	b.records = x->base.records;
	b.content_digest = x->base.content_digest;
	r = rec_new("base");
	rec_base_put(r, &b);
	rv = filter_put(&x->f, r);
	rec_free(r);
	return rv;
}

/* A target that is not there at all, which -B takes for none. */
static int
absent(const char *url, char **canon, struct err *e)
{
	struct stat	 st;
	char		*path = path_from_url(url, e);
	int		 rv = 0;

	*canon = NULL;
	if (path == NULL)
		return -1;
	if (lstat(path, &st) == -1 && errno == ENOENT) {
		*canon = path_to_url(path);
		rv = 1;
	}
	free(path);
	return rv;
}

static int
base(struct fetch *x)
{
	struct target_commit	 c;
	struct target		*t = NULL;
	struct err		 e = { 0, "" };
	char			*canon = NULL;
	int			 r, rv = -1;

	memset(&c, 0, sizeof(c));
	if (only_local(x->o.base, &e) == -1)
		goto done;
	if (x->o.base_if_any) {
		r = absent(x->o.base, &canon, &e);
		if (r != 0) {
			rv = r == 1 ? no_base(x, canon) : -1;
			goto done;
		}
	}
	t = target_open(x->o.base, 0, &e);
	r = t != NULL ? target_head(t, &c, &e) : -1;
	if (r == -1)
		goto done;
	if (r == 0) {
		rv = x->o.base_if_any ? no_base(x, target_url(t)) :
		    err_set(&e, MSG_NOINPUT, "%s: holds no snapshot: want "
		    "one (-B takes none for an answer)", target_url(t));
		goto done;
	}
	if (x->o.list)
		rv = target_manifest(t, c.version, &x->base, NULL, &e);
	else
		rv = bring_base(x, t, &c, &e);
	if (rv == 0) {
		fetch_index(&x->base, &x->work.by_url);
		x->work.base = &x->base;
	}
done:
	if (e.code != 0)
		fail(x, &e);
	target_commit_clear(&c);
	target_close(t);
	free(canon);
	return rv;
}

/*
 * Answers, in the order of the plan.
 */

static int
put_skip(struct fetch *x, const struct fetch_answer *a, const char *why)
{
	struct rec_skip	 s;
	struct rec	*r = rec_new("skip");
	int		 rv;

	memset(&s, 0, sizeof(s));
	s.url = x->plan.v[a->line].url;
	s.sha256 = a->held;
	s.why = why;
	rec_skip_put(r, &s);
	rv = filter_put(&x->f, r);
	rec_free(r);
	filter_count(&x->f, "skipped", 1);
	msg_info("%s: skipped, the base holds it (%s)", s.url, why);
	return rv;
}

static int
put_delta(struct fetch *x, const struct fetch_answer *a)
{
	const struct plan_line	*l = &x->plan.v[a->line];
	struct rec_delta	 d;
	struct rec		*r = rec_new("delta");
	char			 path[64 + FETCH_NAME_MAX];
	int			 n, rv;

	n = snprintf(path, sizeof(path), FETCH_DIR_FMT,
	    (unsigned long long)a->n);
	if (!a->info.dir)
		(void)snprintf(path + n, sizeof(path) - (size_t)n, "/%s",
		    a->name);
	memset(&d, 0, sizeof(d));
	d.url = l->url;
	d.sha256 = a->sha256;
	d.kind = a->info.dir ? "dir" : "file";
	d.path = path;
	d.size = a->info.size;
	d.seq = l->has_seq ? l->seq : a->info.mtime;
	d.guessed = !l->has_seq;
	d.mtime = a->info.mtime;
	d.want_records = l->records;
	d.has_want_records = l->has_records;
	rec_delta_put(r, &d);
	rv = filter_put(&x->f, r);
	rec_free(r);
	filter_count(&x->f, "fetched", 1);
	filter_count(&x->f, "bytes", a->info.size);
	return rv;
}

static int
put(struct fetch *x, const struct fetch_answer *a)
{
	x->told++;
	if (x->done != NULL) {
		x->done[a->line].what = a->what;
		x->done[a->line].info = a->info;
		memcpy(x->done[a->line].sha256, a->sha256,
		    sizeof(a->sha256));
	}
	if (x->o.list)
		return 0;
	switch (a->what) {
	case FETCH_DONE:
		return put_delta(x, a);
	case FETCH_UNCHANGED:
		return put_skip(x, a, "unchanged");
	case FETCH_HELD:
		return put_skip(x, a, "digest");
	case FETCH_SOURCES:
		return put_skip(x, a, "sources");
	case FETCH_FAILED:
		break;
	}
	return -1;
}

/* One input is lost, and with it the run. */
static void
lose(struct fetch *x, const struct fetch_answer *a)
{
	struct err	e = { 0, "" };

	fail(x, &a->e);
	if (ckpt_fail(x->ckpt, CKPT_INPUT, x->plan.v[a->line].url,
	    run_id(x), a->e.code, NULL, a->e.text, &e) == -1)
		fail(x, &e);
}

/* An empty directory of its own for the next input. */
static int
next_dir(struct fetch *x, struct fetch_job *j, struct err *e)
{
	char	name[64];

	if (x->o.list)
		return 0;
	for (;;) {
		j->n = ++x->dirs;
		(void)snprintf(name, sizeof(name), FETCH_DIR_FMT,
		    (unsigned long long)j->n);
		if (mkdirat(x->f.stage.dirfd, name, 0700) == 0)
			return 0;
		/* another dfetch of this run has that number */
		if (errno != EEXIST)
			return err_sys(e, errno, "%s/%s", x->f.stage.path,
			    name);
	}
}

/* Hand out lines from *next on, as far as the window goes. */
static int
give(struct fetch *x, size_t *next, struct err *e)
{
	int	r;

	while (*next < x->plan.n && *next < x->told + FETCH_WINDOW) {
		if (!x->has_job) {
			memset(&x->job, 0, sizeof(x->job));
			x->job.line = *next;
			if (next_dir(x, &x->job, e) == -1)
				return -1;
			x->has_job = 1;
		}
		r = fetch_pool_give(x->pool, &x->job, e);
		if (r != 1)
			return r;
		x->has_job = 0;
		(*next)++;
	}
	return 0;
}

static void
tell_status(struct fetch *x)
{
	if (!want_status)
		return;
	want_status = 0;
	msg_warn("%llu of %llu inputs", (unsigned long long)x->told,
	    (unsigned long long)x->plan.n);
}

static int
reader_gone(struct fetch *x)
{
	if (x->o.list || !stream_reader_gone(x->f.out))
		return 0;
	x->f.gone = 1;
	x->f.status = msg_worse(x->f.status, MSG_PROTOCOL);
	return 1;
}

static void
fetch_all(struct fetch *x)
{
	struct fetch_answer	*ring, a;
	struct err		 e = { 0, "" };
	size_t			 next = 0;
	int			 r;

	ring = mem_zero(FETCH_WINDOW, sizeof(*ring));
	while (x->told < x->plan.n && good(x) && !reader_gone(x)) {
		tell_status(x);
		if (give(x, &next, &e) == -1)
			break;
		r = fetch_pool_wait(x->pool, &a, &e);
		if (r == -1)
			break;
		if (r == 0)
			continue;
		if (a.what == FETCH_FAILED) {
			lose(x, &a);
			break;
		}
		ring[a.line % FETCH_WINDOW] = a;
		for (;;) {
			struct fetch_answer	*w;

			w = &ring[x->told % FETCH_WINDOW];
			if (w->what == FETCH_FAILED || w->line != x->told ||
			    x->told >= x->plan.n)
				break;
			if (put(x, w) == -1)
				goto done;
			w->what = FETCH_FAILED;
		}
	}
done:
	if (e.code != 0)
		fail(x, &e);
	free(ring);
}

/* Without reading or copying there is nothing to do in parallel. */
static void
look_all(struct fetch *x)
{
	struct fetch_answer	a;
	struct fetch_job	j;
	size_t			i;

	memset(&j, 0, sizeof(j));
	for (i = 0; i < x->plan.n && io_signal() == 0; i++) {
		tell_status(x);
		j.line = i;
		fetch_one(&x->work, &j, &a);
		if (a.what == FETCH_FAILED)
			fail(x, &a.e);
		else
			(void)put(x, &a);
	}
}

static void
start_pool(struct fetch *x)
{
	struct err	e = { 0, "" };
	unsigned int	n = x->o.parallel;

	if (n > x->plan.n)
		n = (unsigned int)x->plan.n;
	x->pool = fetch_pool_new(&x->work, n, &e);
	if (x->pool == NULL)
		fail(x, &e);
}

/*
 * Checkpoints: all inputs in progress before the first record leaves, so
 * that nothing a later stage says is undone; the facts at the end.
 */

static void
ckpt_first(struct fetch *x)
{
	struct err	e = { 0, "" };
	size_t		i;

	x->ckpt = ckpt_open(x->o.ckpt, CKPT_CREATE, &e);
	if (x->ckpt == NULL) {
		if (e.code != 0)
			fail(x, &e);
		return;
	}
	x->done = mem_zero(x->plan.n, sizeof(*x->done));
	if (ckpt_begin(x->ckpt, &e) == -1)
		goto fail;
	for (i = 0; i < x->plan.n; i++)
		if (ckpt_start(x->ckpt, CKPT_INPUT, x->plan.v[i].url, NULL,
		    run_id(x), &e) == -1)
			goto fail;
	if (ckpt_commit(x->ckpt, &e) == 0)
		return;
fail:
	ckpt_rollback(x->ckpt);
	fail(x, &e);
}

static void
ckpt_last(struct fetch *x)
{
	struct ckpt_facts	 facts;
	struct err		 e = { 0, "" };
	const struct fetched	*d;
	size_t			 i;

	if (x->ckpt == NULL || !good(x))
		return;
	if (ckpt_begin(x->ckpt, &e) == -1)
		goto fail;
	for (i = 0; i < x->plan.n; i++) {
		d = &x->done[i];
		memset(&facts, 0, sizeof(facts));
		facts.size = d->info.size;
		facts.mtime = d->info.mtime;
		facts.inode = d->info.inode;
		if (d->what != FETCH_DONE && ckpt_done(x->ckpt, CKPT_INPUT,
		    x->plan.v[i].url, d->sha256, run_id(x), &e) == -1)
			goto fail;
		if (ckpt_note(x->ckpt, CKPT_INPUT, x->plan.v[i].url, &facts,
		    &e) == -1)
			goto fail;
	}
	if (ckpt_commit(x->ckpt, &e) == 0)
		return;
fail:
	ckpt_rollback(x->ckpt);
	fail(x, &e);
}

/* The run has failed: what it was at is anybody's again. */
static void
ckpt_give_back(struct fetch *x)
{
	struct err	e = { 0, "" };

	if (!good(x) && ckpt_release(x->ckpt, run_id(x), x->f.status, NULL,
	    &e) == -1)
		fail(x, &e);
	ckpt_close(x->ckpt);
	x->ckpt = NULL;
}

static void
fill_work(struct fetch *x)
{
	x->work.plan = &x->plan;
	x->work.list = x->o.list;
	x->work.digest = x->o.sha256;
	x->work.stage = x->o.list ? NULL : x->f.stage.path;
	x->work.stagefd = x->o.list ? -1 : x->f.stage.dirfd;
	x->work.lockfd = x->o.list ? -1 : x->f.stage.lockfd;
}

/* -l: the lines, once everything is known. */
static void
print_plan(const struct fetch *x)
{
	const struct plan_line	*l;
	const struct fetched	*d;
	size_t			 i;

	for (i = 0; i < x->plan.n; i++) {
		l = &x->plan.v[i];
		d = &x->done[i];
		if (d->what != FETCH_DONE)
			continue;
		(void)printf("%s\tseq=%lld\tsize=%llu", l->url,
		    (long long)(l->has_seq ? l->seq : d->info.mtime),
		    (unsigned long long)d->info.size);
		if (d->sha256[0] != '\0' || l->sha256[0] != '\0')
			(void)printf("\tsha256=%s", d->sha256[0] != '\0' ?
			    d->sha256 : l->sha256);
		if (l->has_records)
			(void)printf("\trecords=%llu",
			    (unsigned long long)l->records);
		if (putchar('\n') == EOF)
			return;
	}
}

/* What another dfetch wrote for us while we were at work is not lost. */
static void
unread(struct fetch *x)
{
	struct err	e = { 0, "" };

	if (good(x) && x->o.no_stdin && stream_unread(1, &e) == -1)
		fail(x, &e);
}

static int
run_list(struct fetch *x)
{
	int	bad, saved;

	if (good(x) && x->o.base != NULL)
		(void)base(x);
	fill_work(x);
	x->done = mem_zero(x->plan.n, sizeof(*x->done));
	if (good(x) && !x->o.sha256)
		look_all(x);
	else if (good(x) && all_there(x) == 0 && x->plan.n > 0) {
		start_pool(x);
		if (x->pool != NULL)
			fetch_all(x);
		fetch_pool_free(x->pool);
	}
	unread(x);
	if (good(x)) {
		print_plan(x);
		bad = ferror(stdout);
		saved = errno;
		if (fclose(stdout) == EOF) {
			bad = 1;
			saved = errno;
		}
		if (bad && saved == EPIPE)
			x->status = MSG_PROTOCOL;
		else if (bad) {
			msg_warn("stdout: %s", strerror(saved));
			x->status = err_status(saved);
		}
	}
	return x->status;
}

static int
run_stream(struct fetch *x)
{
	struct err	e = { 0, "" };

	filter_count(&x->f, "planned", x->plan.n);
	filter_count(&x->f, "fetched", 0);
	filter_count(&x->f, "skipped", 0);
	filter_count(&x->f, "bytes", 0);
	if (mkdirat(x->f.stage.dirfd, FETCH_IN, 0700) == -1 &&
	    errno != EEXIST) {
		err_sys(&e, errno, "%s/%s", x->f.stage.path, FETCH_IN);
		fail(x, &e);
	}
	if (good(x))
		ckpt_first(x);
	if (good(x))
		(void)all_there(x);
	if (good(x) && x->o.base != NULL)
		(void)base(x);
	fill_work(x);
	if (good(x) && x->plan.n > 0)
		start_pool(x);
	if (x->pool != NULL)
		fetch_all(x);
	fetch_pool_free(x->pool);
	ckpt_last(x);
	if (good(x) && filter_total(&x->f, "planned") !=
	    filter_total(&x->f, "fetched") + filter_total(&x->f, "skipped"))
		filter_fail(&x->f, MSG_SOFTWARE, "totals do not add up");
	unread(x);
	ckpt_give_back(x);
	/* nobody reads records from a terminal, nor what they name */
	return filter_finish(&x->f, isatty(STDOUT_FILENO));
}

static unsigned int
processors(void)
{
	long	n = sysconf(_SC_NPROCESSORS_ONLN);

	if (n < 1)
		return 1;
	return n > FETCH_P_DEFAULT ? FETCH_P_DEFAULT : (unsigned int)n;
}

static void
one_base(struct opts *o, const char *target, int if_any)
{
	if (o->base != NULL) {
		msg_warn("-b, -B: want one of them, once");
		usage();
	}
	o->base = target;
	o->base_if_any = if_any;
}

/* The index of the first operand. */
static int
options(struct fetch *x, int argc, char **argv, char ***plans, size_t *n)
{
	static const struct option	longs[] = {
		{ "base",	 required_argument, NULL, 'b' },
		{ "base-if-any", required_argument, NULL, 'B' },
		{ "checkpoints", required_argument, NULL, 'c' },
		{ "plan",	 required_argument, NULL, 'f' },
		{ "help",	 no_argument, NULL, 'h' },
		{ "list",	 no_argument, NULL, 'l' },
		{ "parallel",	 required_argument, NULL, 'P' },
		{ "version",	 no_argument, NULL, 'V' },
		{ "verbose",	 no_argument, NULL, 'v' },
		{ "json",	 no_argument, NULL, 1 },
		{ "sha256",	 no_argument, NULL, 2 },
		{ "stage",	 required_argument, NULL, 3 },
		{ NULL, 0, NULL, 0 }
	};
	struct opts	*o = &x->o;
	const char	*why;
	uint64_t	 v;
	size_t		 cap = 0;
	int		 c;

	while ((c = getopt_long(argc, argv, "B:b:c:f:hlP:Vv", longs,
	    NULL)) != -1) {
		switch (c) {
		case 'B':
			one_base(o, optarg, 1);
			break;
		case 'b':
			one_base(o, optarg, 0);
			break;
		case 'c':
			o->ckpt = optarg;
			break;
		case 'f':
			*plans = mem_grow(*plans, &cap, *n + 1,
			    sizeof(**plans));
			(*plans)[(*n)++] = optarg;
			break;
		case 'h':
			(void)printf(help_text, usage_text);
			exit(fclose(stdout) == 0 ? 0 : MSG_IOERR);
		case 'l':
			o->list = 1;
			break;
		case 'P':
			if (num_u64(optarg, 1, FETCH_P_MAX, &v, &why) == -1) {
				msg_warn("-P: %s: %s: want 1 to %d", optarg,
				    why, FETCH_P_MAX);
				usage();
			}
			o->parallel = (unsigned int)v;
			break;
		case 'V':
			(void)printf("dfetch %s\n", MSG_VERSION);
			exit(fclose(stdout) == 0 ? 0 : MSG_IOERR);
		case 'v':
			msg_set_verbose(1);
			break;
		case 1:
			o->filter.json = 1;
			break;
		case 2:
			o->sha256 = 1;
			break;
		case 3:
			o->filter.stage = optarg;
			break;
		default:
			usage();
		}
	}
	return optind;
}

/* A plan comes on stdin, by that name or by one that only means it. */
static int
reads_stdin(char **plans, size_t n, char **v, int nv)
{
	size_t	i;

	for (i = 0; i < n; i++)
		if (strcmp(plans[i], "-") == 0 ||
		    strncmp(plans[i], "/dev/", 5) == 0 ||
		    strncmp(plans[i], "/proc/", 6) == 0)
			return 1;
	for (; nv > 0; nv--, v++)
		if (strcmp(*v, "-") == 0)
			return 1;
	return 0;
}

int
main(int argc, char **argv)
{
	struct sigaction	 sa;
	struct fetch		 x;
	struct err		 e = { 0, "" };
	char			**plans = NULL;
	size_t			 i, n = 0;
	int			 first, rv;

	msg_init("dfetch");
	memset(&x, 0, sizeof(x));
	x.o.parallel = processors();
	x.o.filter.source = 1;
	first = options(&x, argc, argv, &plans, &n);
	if (first == argc && n == 0 && (x.o.base == NULL || x.o.list))
		usage();
	if (x.o.list && x.o.filter.json) {
		msg_warn("-l prints a plan, not --json");
		usage();
	}
	if (x.o.sha256 && !x.o.list) {
		msg_warn("--sha256 goes with -l");
		usage();
	}
	io_catch_signals();
	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = on_usr1;
	sigemptyset(&sa.sa_mask);
	(void)sigaction(SIGUSR1, &sa, NULL);
	plan_init(&x.plan);
	x.o.no_stdin = !reads_stdin(plans, n, argv + first, argc - first);
	if (x.o.no_stdin &&
	    stream_unread(0, &e) == -1)
		msg_die(e.code, "%s", e.text);
	if (!x.o.list && filter_open(&x.f, &x.o.filter) == -1)
		goto done;
	for (i = 0; i < n; i++) {
		memset(&e, 0, sizeof(e));
		if (add_plan(&x, plans[i], &e) == -1)
			fail(&x, &e);
	}
	(void)add_operands(&x, argv + first, argc - first);
done:
	free(plans);
	if (x.o.list)
		rv = run_list(&x);
	else if (good(&x))
		rv = run_stream(&x);
	else
		rv = filter_finish(&x.f, 0);
	plan_clear(&x.plan);
	manifest_clear(&x.base);
	free(x.work.by_url);
	free(x.done);
	io_die_of_signal();
	return rv;
}
