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
#include "drun.h"

#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hide.h"
#include "io.h"
#include "num.h"
#include "banned.h"

#define DURATION_MAX	(52 * 604800)	/* s: a year, about */

/* Long options without a letter. */
enum {
	O_DEADLINE = 256,
	O_LOCK,
	O_LOCK_WAIT,
	O_LOG,
	O_PARENT,
	O_RETRY,
	O_SUMMARY
};

static const char *const usage_text =
    "usage: drun [-hknVv] [--deadline duration] [--lock file]\n"
    "            [--lock-wait duration] [--log format] [--retry n]\n"
    "            [--stage-parent dir] [--summary file] 'pipeline'\n";

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
	    "  --deadline duration   stop what is not done by then: 75\n"
	    "  --lock file           one run at a time: 75 when it is held\n"
	    "  --lock-wait duration  wait so long for it\n"
	    "  --log format          text or json, for the stages too\n");
	(void)printf("%s",
	    "  --retry n             again, at most n times, after 73 and"
	    " 75\n"
	    "  --stage-parent dir    make staging there; else in TMPDIR, else"
	    " in\n"
	    "                        /var/tmp\n"
	    "  --summary file        a line on stderr, and a JSON record"
	    " appended\n");
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

static int
take_duration(const char *option, const char *arg, uint64_t *out)
{
	const char	*why;

	if (num_duration(arg, out, &why) == -1 || *out > DURATION_MAX) {
		msg_error(MSG_USAGE, "%s: %s: want a duration such as 90, "
		    "10m or 2h, at most 52w", option, arg);
		return -1;
	}
	return 0;
}

static int
take_retry(const char *arg, unsigned int *out)
{
	const char	*why;
	uint64_t	 n;

	if (num_u64(arg, 0, DRUN_RETRY_MAX, &n, &why) == -1) {
		msg_error(MSG_USAGE, "--retry: %s: %s: want 0 to %d", arg,
		    why, DRUN_RETRY_MAX);
		return -1;
	}
	*out = (unsigned int)n;
	return 0;
}

static int
take_log(const char *arg)
{
	if (msg_log_option(arg) == -1)
		return -1;
	return setenv("DLOG", arg, 1);
}

/* Values that need a look: 0, or -1 after saying what was wanted. */
static int
take_value(int c, const char *arg, struct drun_opts *o)
{
	switch (c) {
	case O_DEADLINE:
		if (take_duration("--deadline", arg, &o->deadline) == -1)
			return -1;
		if (o->deadline > 0)
			return 0;
		msg_error(MSG_USAGE, "--deadline: want at least 1 s");
		return -1;
	case O_LOCK_WAIT:
		return take_duration("--lock-wait", arg, &o->lock_wait);
	case O_LOG:
		return take_log(arg);
	case O_RETRY:
		return take_retry(arg, &o->retry);
	default:
		return -1;
	}
}

static int
print_stages(const struct run *r)
{
	int	i;

	for (i = 0; i < r->n; i++)
		(void)printf("%d\t%s\n", i + 1, r->p[i].shown);
	return finish_stdout();
}

/* What is run, and where, so that it can be run again; and no secret. */
static int
tell_stages(const char *text)
{
	char	cwd[PATH_MAX];

	if (getcwd(cwd, sizeof(cwd)) == NULL)
		cwd[0] = '\0'; /* gone, or not ours to see: nobody is told */
	if (setenv("DRUN_PIPELINE", text, 1) == -1 ||
	    (cwd[0] != '\0' ? setenv("DRUN_CWD", cwd, 1) :
	    unsetenv("DRUN_CWD")) == -1) {
		msg_error(MSG_IOERR, "environment: %s", strerror(errno));
		return -1;
	}
	return 0;
}

/* The run, from lock to record: its status.  text: as it may be kept. */
static int
run(struct run *r, const struct drun_opts *o, const char *text)
{
	struct report	*rep;
	int		 status;

	if (guard_stdio() == -1)
		return MSG_IOERR;
#ifdef __linux__
	/* what a stage leaves behind comes to us and not to init */
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1L, 0L, 0L, 0L);
#endif
	if (tell_stages(text) == -1)
		return MSG_IOERR;
	status = drun_check_stdin(r, o);
	if (status != 0)
		return status;
	rep = drun_report_new(o, &status);
	if (status != 0)
		return status;
	drun_catch_signals(r);
	if (o->deadline > 0)
		r->deadline_at = io_now() + (double)o->deadline;
	if (o->lock != NULL)
		status = drun_lock(r, o);
	if (status == 0)
		status = drun_tries(r, o, rep);
	return drun_report_end(rep, r, o, text, status);
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
		{ "deadline", required_argument, NULL, O_DEADLINE },
		{ "lock", required_argument, NULL, O_LOCK },
		{ "lock-wait", required_argument, NULL, O_LOCK_WAIT },
		{ "log", required_argument, NULL, O_LOG },
		{ "retry", required_argument, NULL, O_RETRY },
		{ "stage-parent", required_argument, NULL, O_PARENT },
		{ "summary", required_argument, NULL, O_SUMMARY },
		{ NULL, 0, NULL, 0 }
	};
	static struct run	 r;
	struct drun_opts	 o;
	char			*shown;
	int			 c, dry = 0, status;

	msg_init("drun");
	memset(&o, 0, sizeof(o));
	r.ctl = r.tty = r.blame = r.held = r.lockfd = -1;
	while ((c = getopt_long(argc, argv, "hknVv", opts, NULL)) != -1)
		switch (c) {
		case 'V':
			(void)printf("drun %s\n", MSG_VERSION);
			return finish_stdout();
		case 'h':
			help();
			return finish_stdout();
		case 'k':
			o.keep = 1;
			break;
		case 'n':
			dry = 1;
			break;
		case 'v':
			msg_set_verbose(1);
			break;
		case O_LOCK:
			o.lock = optarg;
			break;
		case O_PARENT:
			o.parent = optarg;
			break;
		case O_SUMMARY:
			o.summary = optarg;
			break;
		default:
			if (c == '?' || take_value(c, optarg, &o) == -1)
				return usage();
		}
	if (argc - optind != 1) {
		if (argc - optind > 1)
			msg_warn("want the whole pipeline as one argument, in "
			    "quotes; got %d", argc - optind);
		else
			msg_warn("want a pipeline: 'PROGRAM | PROGRAM ...'");
		return usage();
	}
	if (o.lock_wait > 0 && o.lock == NULL) {
		msg_error(MSG_USAGE, "--lock-wait: want --lock as well");
		return usage();
	}
	if (drun_split(&r, argv[optind]) == -1)
		return MSG_USAGE;
	if (dry)
		return print_stages(&r);
	shown = hide_text(argv[optind]);
	status = run(&r, &o, shown);
	free(shown);
	if (r.sig != 0)
		drun_die_of(r.sig);
	return status;
}
