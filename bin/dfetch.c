/*
 * dfetch: from a plan or operands to records of what lies in staging.  It
 * decides which inputs there are, in which order, and when to stop; what
 * they mean it does not know.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch_run.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "num.h"
#include "remote.h"
#include "retry.h"
#include "team.h"
#include "xfer.h"
#include "banned.h"

#define FETCH_P_DEFAULT	4	/* processes at most, without -P */

static const char	usage_text[] =
"usage: dfetch [-lv] [-b target | -B target] [-c db] [-f plan] [-P n]\n"
"              [--cache dir] [--json] [--log format] [--max-failed n]\n"
"              [--max-size size] [--max-time duration] [--newer-than age]\n"
"              [--older-than age] [--requeue file] [--sha256] [--stage dir]\n"
"              [--stale file] [input ...]\n"
"       dfetch --files [-v] [-b target | -B target] [-c db] [-P n]\n"
"              [--cache dir] [--json] [--log format] [--max-size size]\n"
"              [--max-time duration] [--stage dir] tree ...\n";

static const char	help_text[] =
"examples:\n"
"  drun 'dfetch -B target deltas/ | dcheck | dmerge | dpublish target'\n"
"  drun 'dfetch -b s3://b/lines s3://b/deltas/ | dcheck | dmerge |\n"
"      dpublish s3://b/lines'\n"
"  dfetch -l s3://b/deltas/ > plan; split -l 25 plan chunk.\n"
"  drun 'dfetch -f chunk.aa | dcheck | dmerge -o out/aa'\n"
"\n"
"%s"
"\n"
"An input is a ChromaDB directory, a store, an archive or a batch result, a\n"
"directory of them, or - for a plan on stdin.  It is a path, file://PATH,\n"
"s3://BUCKET/KEY, s3://BUCKET/PREFIX/, http(s)://HOST/FILE, or\n"
"openai-batch:ID.\n"
"\n"
"  -b, --base=TARGET         bring the current snapshot, skip what it holds\n"
"  -B, --base-if-any=TARGET  the same, if there is one\n"
"  -c, --checkpoints=DB      keep the checkpoint database DB\n"
"  -f, --plan=FILE           read a plan\n"
"  -l, --list                print the inputs as a plan, copy nothing\n"
"  -P, --parallel=N          copy with N processes, download N at once\n"
"  -v, --verbose             say what is passed over\n"
"      --cache=DIR           where downloads lie while they come\n"
"      --files               the files below each tree, whatever they are\n"
"      --json                write JSON lines\n"
"      --log=FORMAT          on stderr: text or json\n"
"      --max-failed=N, N%%    of a batch, as many may have failed\n"
"      --max-size=SIZE       refuse an input that is larger (1T)\n"
"      --max-time=DURATION   for one input from elsewhere (no end)\n"
"      --newer-than=AGE      of operands, only what came within AGE (1d)\n"
"      --older-than=AGE      of operands, only what is older than AGE\n"
"      --requeue=FILE        the requests of a batch to send again\n"
"      --sha256              with -l: digests, too\n"
"      --stage=DIR           the staging directory\n"
"      --stale=FILE          custom_ids whose results are out of date\n"
"  -h, --help                this text\n"
"  -V, --version             the version\n";

static void
usage(void)
{
	(void)fputs(usage_text, stderr);
	exit(MSG_USAGE);
}

void
fetch_fail(struct fetch *x, const struct err *e)
{
	fetch_progress_hide(&x->progress);
	if (!x->o.list) {
		filter_fail_err(&x->f, e);
		return;
	}
	if (io_signal() == 0 && e->text[0] != '\0')
		msg_err(e);
	x->status = msg_worse(x->status, e->code);
}

int
fetch_good(const struct fetch *x)
{
	return x->o.list ? x->status == 0 && io_signal() == 0 :
	    filter_ok(&x->f);
}

const char *
fetch_run_id(const struct fetch *x)
{
	const char	*s = getenv("DRUN_ID");

	return s != NULL && *s != '\0' ? s : x->f.stage.run;
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

/* What fetch_ckpt_start found to be held; 0 nothing. */
static int
known(const struct fetch *x, size_t line, struct fetch_answer *a)
{
	const struct fetched	*d;

	if (x->done == NULL || x->done[line].what != FETCH_UNCHANGED)
		return 0;
	d = &x->done[line];
	memset(a, 0, sizeof(*a));
	a->line = line;
	a->what = d->what;
	a->info = d->info;
	memcpy(a->sha256, d->sha256, sizeof(a->sha256));
	memcpy(a->held, d->sha256, sizeof(a->held));
	return 1;
}

/* Hand out lines from *next on, as far as the window goes. */
static int
give(struct fetch *x, struct fetch_answer *ring, size_t *next, struct err *e)
{
	int	r;

	while (*next < x->plan.n && *next < x->told + FETCH_WINDOW) {
		if (known(x, *next, &ring[*next % FETCH_WINDOW])) {
			(*next)++;
			continue;
		}
		if (!x->has_job) {
			memset(&x->job, 0, sizeof(x->job));
			x->job.line = *next;
			if (next_dir(x, &x->job, e) == -1)
				return -1;
			x->has_job = 1;
		}
		r = fetch_pool_give(x->pool, &x->job,
		    x->seen[*next] != NULL, e);
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
	char	bytes[32];

	fetch_progress_show(&x->progress, x->told, x->plan.n);
	if (!io_status_wanted())
		return;
	fetch_progress_hide(&x->progress);
	fetch_bytes_text(bytes, (double)x->progress.bytes);
	if (x->n_remote == 0)
		msg_warn("%llu of %llu inputs", (unsigned long long)x->told,
		    (unsigned long long)x->plan.n);
	else
		msg_warn("%llu of %llu inputs, %s came, %llu at once",
		    (unsigned long long)x->told,
		    (unsigned long long)x->plan.n, bytes,
		    (unsigned long long)x->progress.running);
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

/* Records for what has come, in the order of the plan.  -1: it is over. */
static int
tell_ready(struct fetch *x, struct fetch_answer *ring)
{
	struct fetch_answer	*w;

	while (x->told < x->plan.n) {
		w = &ring[x->told % FETCH_WINDOW];
		if (w->what == FETCH_FAILED || w->line != x->told)
			break;
		if (fetch_tell(x, w) == -1)
			return -1;
		w->what = FETCH_FAILED;
	}
	return 0;
}

static void
fetch_all(struct fetch *x)
{
	struct fetch_answer	*ring, a;
	struct err		 e = { 0, "" };
	size_t			 next = 0;
	int			 r;

	ring = mem_zero(FETCH_WINDOW, sizeof(*ring));
	while (x->told < x->plan.n && fetch_good(x) && !reader_gone(x)) {
		tell_status(x);
		if (give(x, ring, &next, &e) == -1 ||
		    tell_ready(x, ring) == -1)
			break;
		/* nobody is at work */
		if (x->told == next)
			continue;
		r = fetch_pool_wait(x->pool, x->progress.on ? 1000 : -1, &a,
		    &e);
		if (r == -1)
			break;
		if (r == 0)
			continue;
		if (a.what == FETCH_NEWS) {
			fetch_progress_news(&x->progress, &a);
			continue;
		}
		if (a.what == FETCH_FAILED) {
			(void)fetch_lose(x, a.line, &a.e);
			break;
		}
		ring[a.line % FETCH_WINDOW] = a;
		if (tell_ready(x, ring) == -1)
			break;
	}
	fetch_progress_hide(&x->progress);
	if (e.code != 0)
		fetch_fail(x, &e);
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
			fetch_fail(x, &a.e);
		else
			(void)fetch_tell(x, &a);
	}
}

static unsigned int
processors(void)
{
	unsigned int	n = team_processors();

	return n > FETCH_P_DEFAULT ? FETCH_P_DEFAULT : n;
}

/* As many processes as there is work here, and some for what is not. */
static void
start_pool(struct fetch *x)
{
	struct err	e = { 0, "" };
	unsigned int	n = x->o.parallel != 0 ? x->o.parallel : processors();
	unsigned int	movers = processors();

	if (n > x->plan.n - x->n_remote)
		n = (unsigned int)(x->plan.n - x->n_remote);
	if (movers > FETCH_MOVERS)
		movers = FETCH_MOVERS;
	if (movers > x->n_remote)
		movers = (unsigned int)x->n_remote;
	if (movers > x->work.parallel)
		movers = x->work.parallel;
	x->work.movers = movers;
	fetch_unlink(x);
	fetch_ckpt_close(x);
	x->pool = fetch_pool_new(&x->work, n, movers, &e);
	if (x->pool == NULL)
		fetch_fail(x, &e);
	if (!x->o.list)
		fetch_ckpt_open(x);
}

static void
fill_work(struct fetch *x, const char *cache)
{
	x->work.plan = &x->plan;
	x->work.list = x->o.list;
	x->work.digest = x->o.sha256;
	x->work.stage = x->o.list ? NULL : x->f.stage.path;
	x->work.stagefd = x->o.list ? -1 : x->f.stage.dirfd;
	x->work.lockfd = x->o.list ? -1 : x->f.stage.lockfd;
	x->work.seen = x->seen;
	x->work.forced = x->forced;
	x->work.max_size = x->o.max_size;
	x->work.files = x->o.files;
	x->work.max_time = x->o.max_time;
	x->work.parallel = x->o.parallel != 0 ? x->o.parallel : XFER_PARALLEL;
	x->work.cache = cache;
	x->work.ckpt = x->o.ckpt;
	x->work.batch = &x->o.batch;
}

/* All that there was is out of date: a run that does nothing is told. */
static void
not_only_stale(struct fetch *x)
{
	if (fetch_good(x) && filter_total(&x->f, "stale") != 0 &&
	    filter_total(&x->f, "stale") == x->plan.n)
		filter_fail(&x->f, MSG_DATAERR, "--stale: every result of "
		    "every input is out of date: nothing is ingested; send "
		    "the requests again (--requeue)");
}

/* What another dfetch wrote for us while we were at work is not lost. */
static void
unread(struct fetch *x)
{
	struct err	e = { 0, "" };

	if (fetch_good(x) && x->o.no_stdin && stream_unread(1, &e) == -1)
		fetch_fail(x, &e);
}

static void
copy_all(struct fetch *x)
{
	if (!fetch_good(x) || x->plan.n == 0)
		return;
	/* of what is unchanged nothing is read */
	if (!x->unchanged)
		start_pool(x);
	if ((x->pool != NULL || x->unchanged) && fetch_good(x))
		fetch_all(x);
	fetch_pool_free(x->pool);
	x->pool = NULL;
	if (fetch_good(x) && x->o.files)
		fetch_files_still(x);
	else if (fetch_good(x) && x->n_remote != 0)
		fetch_still_there(x);
}

/* A set that the base holds: nothing of it need be read. */
static void
skip_all(struct fetch *x)
{
	const struct fetch_known	*k;
	struct fetch_answer		 a;
	size_t				 i;

	for (i = 0; i < x->plan.n && fetch_good(x); i++) {
		k = &x->known[i];
		memset(&a, 0, sizeof(a));
		a.line = i;
		a.what = FETCH_UNCHANGED;
		if (k->here) {
			a.info.size = k->st.size;
			a.info.mtime = k->st.mtime;
			a.info.inode = k->st.inode;
		} else
			a.info = x->seen[i]->info;
		hash_hex(k->digest, a.sha256);
		memcpy(a.held, a.sha256, sizeof(a.held));
		(void)fetch_tell(x, &a);
	}
	if (fetch_good(x))
		fetch_files_still(x);
}

static int
run_list(struct fetch *x, const char *cache)
{
	int	bad, saved;

	x->done = mem_zero(x->plan.n, sizeof(*x->done));
	if (fetch_good(x) && x->o.sha256)
		(void)fetch_all_there(x);
	else if (fetch_good(x))
		(void)fetch_see_remote(x);
	if ((fetch_good(x) || !x->o.sha256) && x->o.base != NULL)
		(void)fetch_base(x);
	fill_work(x, cache);
	if (x->o.sha256)
		copy_all(x);
	else if (fetch_good(x))
		look_all(x);
	unread(x);
	if (fetch_good(x)) {
		fetch_print_plan(x);
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

/* A total of END. */
static void
add_total(const char *key, uint64_t n, void *filter)
{
	filter_count(filter, key, n);
}

static int
run_stream(struct fetch *x, const char *cache)
{
	struct err	e = { 0, "" };

	filter_count(&x->f, "planned", x->plan.n);
	filter_count(&x->f, "fetched", 0);
	filter_count(&x->f, "skipped", 0);
	filter_count(&x->f, "bytes", 0);
	if (x->o.files)
		filter_count(&x->f, "files", 0);
	if (mkdirat(x->f.stage.dirfd, FETCH_IN, 0700) == -1 &&
	    errno != EEXIST) {
		err_sys(&e, errno, "%s/%s", x->f.stage.path, FETCH_IN);
		fetch_fail(x, &e);
	}
	if (fetch_good(x))
		fetch_ckpt_first(x);
	if (x->ckpt != NULL || x->n_remote != 0 || x->o.base != NULL)
		x->done = mem_zero(x->plan.n, sizeof(*x->done));
	if (fetch_good(x))
		(void)fetch_all_there(x);
	fill_work(x, cache);
	if (fetch_good(x) && x->o.base != NULL)
		(void)fetch_base(x);
	if (fetch_good(x) && x->o.files && fetch_files_known(x, cache))
		skip_all(x);
	else {
		if (fetch_good(x))
			fetch_ckpt_start(x);
		copy_all(x);
		if (fetch_good(x) && x->o.files)
			fetch_files_keep(x, cache);
	}
	fetch_ckpt_last(x);
	not_only_stale(x);
	if (fetch_good(x) && filter_total(&x->f, "planned") !=
	    filter_total(&x->f, "fetched") +
	    filter_total(&x->f, "skipped") + filter_total(&x->f, "stale"))
		filter_fail(&x->f, MSG_SOFTWARE, "totals do not add up");
	unread(x);
	fetch_ckpt_give_back(x);
	retry_count(add_total, &x->f);
	/* nobody reads records from a terminal, nor what they name */
	return filter_finish(&x->f, isatty(STDOUT_FILENO));
}

static void
one_base(struct fetch_opts *o, const char *target, int if_any)
{
	if (o->base != NULL) {
		msg_warn("-b, -B: want one of them, once");
		usage();
	}
	o->base = target;
	o->base_if_any = if_any;
}

static void
bad_value(const char *option, const char *value, const char *why)
{
	msg_warn("%s: %s: %s", option, value, why);
	usage();
}

/* N or N%. */
static void
max_failed(struct fetch_batch_opts *b, const char *s)
{
	size_t		 n = strlen(s);
	const char	*why;
	char		*copy;

	b->percent = n != 0 && s[n - 1] == '%';
	copy = mem_ndup(s, n - (b->percent ? 1 : 0));
	if (num_u64(copy, 0, b->percent ? 100 : INT64_MAX, &b->max_failed,
	    &why) == -1)
		bad_value("--max-failed", s, why);
	free(copy);
}

enum { O_NEWER = 256, O_OLDER, O_FILES, O_STALE };

static const struct option longs[] = {
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
	{ "cache",	 required_argument, NULL, 4 },
	{ "max-failed",	 required_argument, NULL, 5 },
	{ "max-size",	 required_argument, NULL, 6 },
	{ "max-time",	 required_argument, NULL, 7 },
	{ "requeue",	 required_argument, NULL, 8 },
	{ "log",	 required_argument, NULL, 9 },
	{ "newer-than",	 required_argument, NULL, O_NEWER },
	{ "older-than",	 required_argument, NULL, O_OLDER },
	{ "files",	 no_argument, NULL, O_FILES },
	{ "stale",	 required_argument, NULL, O_STALE },
	{ NULL, 0, NULL, 0 }
};

/* The index of the first operand. */
static int
options(struct fetch *x, int argc, char **argv, char ***plans, size_t *n)
{
	struct fetch_opts	*o = &x->o;
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
		case 4:
			o->cache = optarg;
			break;
		case 5:
			max_failed(&o->batch, optarg);
			break;
		case 6:
			if (num_size(optarg, &o->max_size, &why) == -1)
				bad_value("--max-size", optarg, why);
			break;
		case 7:
			if (num_duration(optarg, &o->max_time, &why) == -1)
				bad_value("--max-time", optarg, why);
			break;
		case 9:
			if (msg_log_option(optarg) == -1)
				usage();
			break;
		case 8:
			o->batch.requeue = optarg;
			break;
		case O_NEWER:
			if (num_duration(optarg, &o->newer, &why) == -1)
				bad_value("--newer-than", optarg, why);
			o->has_newer = 1;
			break;
		case O_OLDER:
			if (num_duration(optarg, &o->older, &why) == -1)
				bad_value("--older-than", optarg, why);
			o->has_older = 1;
			break;
		case O_FILES:
			o->files = 1;
			break;
		case O_STALE:
			o->stale = optarg;
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

/* --stale, before anything else is read: it may come on stdin, too. */
static void
read_stale(struct fetch *x)
{
	struct err	e = { 0, "" };

	if (strcmp(x->o.stale, "-") == 0) {
		if (!x->o.no_stdin) {
			msg_warn("--stale: stdin is the plan already");
			usage();
		}
		x->o.no_stdin = 0;
	}
	if (fetch_batch_stale(&x->o.batch, x->o.stale, &x->stale, &e) == -1)
		msg_die(e.code, "%s", e.text);
}

int
main(int argc, char **argv)
{
	struct fetch		 x;
	struct err		 e = { 0, "" };
	char			**plans = NULL, *cache;
	size_t			 i, n = 0;
	int			 first, rv;

	msg_init("dfetch");
	memset(&x, 0, sizeof(x));
	x.o.max_size = FETCH_SIZE_MAX;
	x.o.filter.source = 1;
	first = options(&x, argc, argv, &plans, &n);
	if (first == argc && n == 0 && (x.o.base == NULL || x.o.list)) {
		msg_warn("nothing to %s: want an input%s or a plan (-f)",
		    x.o.list ? "list" : "fetch",
		    x.o.list ? "" : ", a base (-b)");
		usage();
	}
	if (x.o.list && x.o.filter.json) {
		msg_warn("-l prints a plan, not --json");
		usage();
	}
	if (x.o.sha256 && !x.o.list) {
		msg_warn("--sha256 goes with -l");
		usage();
	}
	if (x.o.files && (x.o.list || n != 0 ||
	    x.o.batch.requeue != NULL || x.o.stale != NULL || x.o.has_newer ||
	    x.o.has_older || first == argc)) {
		msg_warn("--files wants trees, and neither -f, -l, "
		    "an age, --requeue nor --stale");
		usage();
	}
	io_catch_signals();
	/* workers ask, too; where there is no memory, they are not counted */
	(void)retry_share(&e);
	e.code = 0;
	io_catch_status();
	plan_init(&x.plan);
	buf_init(&x.stale, FETCH_BATCH_STALE);
	x.o.no_stdin = !reads_stdin(plans, n, argv + first, argc - first);
	if (x.o.stale != NULL)
		read_stale(&x);
	if (x.o.no_stdin &&
	    stream_unread(0, &e) == -1)
		msg_die(e.code, "%s", e.text);
	if (!x.o.list && filter_open(&x.f, &x.o.filter) == -1)
		goto done;
	for (i = 0; i < n; i++) {
		memset(&e, 0, sizeof(e));
		if (fetch_add_plan(&x, plans[i], &e) == -1)
			fetch_fail(&x, &e);
	}
	(void)fetch_add_operands(&x, argv + first, argc - first);
done:
	free(plans);
	cache = remote_cache_dir(x.o.cache);
	fetch_progress_init(&x.progress);
	if (x.o.list)
		rv = run_list(&x, cache);
	else if (fetch_good(&x))
		rv = run_stream(&x, cache);
	else {
		retry_count(add_total, &x.f);
		rv = filter_finish(&x.f, 0);
	}
	free(cache);
	fetch_unlink(&x);
	for (i = 0; i < x.n_seen; i++)
		fetch_seen_free(x.seen[i]);
	free(x.seen);
	fetch_files_clear(&x);
	plan_clear(&x.plan);
	buf_free(&x.stale);
	manifest_clear(&x.base);
	free(x.work.by_url);
	free(x.done);
	free(x.forced);
	io_die_of_signal();
	return rv;
}
