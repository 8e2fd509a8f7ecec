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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "banned.h"

static const char *const usage_text =
    "usage: drun [-hknVv] [--stage-parent dir] 'pipeline'\n";

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
	else if (drun_start(r, &e) == -1)
		drun_stop(r, SIGTERM);
	drun_attend(r);
	drun_group_sweep(r);
	drun_hear(r);
	if (r->sig == 0 && drun_got_sigs > 0)
		r->sig = drun_got_sig;
	status = drun_account(r, &e);
	if (status == 0)
		status = drun_commit(r);
	else
		drun_discard(r);
	e.code = 0;
	if (status != 0 && keep)
		drun_keep(r);
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
	if (drun_split(&r, argv[optind]) == -1)
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
	drun_catch_signals(&r);
	status = run(&r, parent, keep);
	if (r.sig != 0)
		drun_die_of(r.sig);
	return status;
}
