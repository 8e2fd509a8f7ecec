/*
 * dpublish rebuild: a version made anew, from the deltas that its manifest
 * names.  It plans, starts the pipeline that everybody uses, which proves
 * the content digest before anything is placed, and says how it ended.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish.h"

#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "stage.h"
#include "banned.h"

/* What a shell's variables hold needs no quoting. */
#define PIPELINE "dfetch -f \"$REBUILD_PLAN\" | dcheck --allow-empty | " \
	"dmerge -F \"$REBUILD_FORMAT\" -p \"$REBUILD_PLAN\" " \
	"--expect \"$REBUILD_DIGEST\" -o \"$REBUILD_DIR\""

static int
write_plan(const char *path, const struct manifest *m, struct err *e)
{
	FILE	*f = fopen(path, "wxe");
	size_t	 i;
	int	 bad = 0;

	if (f == NULL)
		return err_sys(e, errno, "%s", path);
	for (i = 0; i < m->n_sources && !bad; i++)
		bad = dpub_source_line(f, &m->sources[i]) < 0;
	if (fclose(f) == EOF || bad)
		return err_sys(e, errno, "%s", path);
	return 0;
}

/* In the child: it does not return. */
static void
become(const char *plan, const char *dir, const struct manifest *m)
{
	int	null = open("/dev/null", O_RDWR);

	/* it is a run of its own, with a staging of its own */
	if (null == -1 || dup2(null, 0) == -1 || dup2(null, 1) == -1 ||
	    unsetenv("DSTAGE") == -1 || unsetenv("DRUN_ID") == -1 ||
	    unsetenv("DRUN_LAST") == -1 || unsetenv("DRUN_PLAIN") == -1 ||
	    setenv("REBUILD_PLAN", plan, 1) == -1 ||
	    setenv("REBUILD_DIR", dir, 1) == -1 ||
	    setenv("REBUILD_FORMAT", m->format, 1) == -1 ||
	    setenv("REBUILD_DIGEST", m->content_digest, 1) == -1) {
		msg_warn("rebuild: %s", strerror(errno));
		_exit(MSG_IOERR);
	}
	if (null > STDERR_FILENO)
		(void)close(null);
	(void)execlp("drun", "drun", PIPELINE, (char *)NULL);
	msg_warn("drun: %s: want all programs of intact in PATH",
	    strerror(errno));
	_exit(MSG_NOINPUT);
}

/* The pipeline's exit status; a signal for us is one for it. */
static int
pipeline(const char *plan, const char *dir, const struct manifest *m,
    struct err *e)
{
	int	r, st = 0;

	if (io_signal() != 0)
		return err_set(e, MSG_TEMPFAIL, "stopped by a signal");
	r = io_run(&st, e);
	if (r == 1)
		become(plan, dir, m);
	if (r != 0)
		return -1;
	if (WIFEXITED(st) && WEXITSTATUS(st) == 0)
		return 0;
	return err_set(e, WIFEXITED(st) ? WEXITSTATUS(st) : MSG_TEMPFAIL,
	    "%s: not made anew: the pipeline ended with status %d", dir,
	    WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st));
}

static int
tell(const struct target *t, const char *version, const char *dir,
    const struct manifest *m, const struct dpub_opts *o, struct err *e)
{
	struct rec	*r;
	int		 rv = 0;

	if (o->filter.json) {
		r = rec_new("rebuilt");
		rec_set_str(r, "target", target_url(t));
		rec_set_str(r, "version", version);
		rec_set_str(r, "path", dir);
		rec_set_str(r, "content_digest", m->content_digest);
		rec_set_u64(r, "records", m->records);
		rec_set_u64(r, "sources", m->n_sources);
		rv = dpub_json(r, e);
		rec_free(r);
	} else if (printf("%s: content digest %s, %" PRIu64 " records from "
	    "%zu deltas, as %s\n", dir, m->content_digest, m->records,
	    m->n_sources, version) < 0)
		rv = err_sys(e, errno, "stdout");
	return rv == -1 ? -1 : dpub_flush(e);
}

static int
anew(struct target *t, const char *dir, const char *version,
    const struct dpub_opts *o, struct err *e)
{
	struct manifest	 m;
	struct stage	 s;
	struct err	 gone = { 0, "" };
	char		 id[TARGET_VERSION_MAX], *plan = NULL;
	int		 rv = -1;

	memset(&s, 0, sizeof(s));
	if (dpub_which(t, version, id, e) == -1 ||
	    target_manifest(t, id, &m, NULL, e) == -1)
		return -1;
	if (strcmp(m.format, DPUB_FILES) == 0) {
		err_set(e, MSG_USAGE, "%s: version %s is a file set: it was "
		    "made of no deltas", target_url(t), id);
		goto done;
	}
	if (m.n_sources == 0) {
		err_set(e, MSG_USAGE, "%s: version %s was made of no delta",
		    target_url(t), id);
		goto done;
	}
	if (stage_make(&s, stage_parent(), NULL, e) == -1)
		goto done;
	plan = mem_alloc(strlen(s.path) + sizeof("/plan"));
	(void)snprintf(plan, strlen(s.path) + sizeof("/plan"), "%s/plan",
	    s.path);
	if (write_plan(plan, &m, e) == 0 &&
	    pipeline(plan, dir, &m, e) == 0)
		rv = tell(t, id, dir, &m, o, e);
done:
	if (s.path != NULL) {
		(void)stage_remove(&s, &gone);
		stage_clear(&s);
	}
	free(plan);
	manifest_clear(&m);
	return rv;
}

int
dpub_rebuild(const char *target, const char *dir, const char *version,
    const struct dpub_opts *o)
{
	struct err	 e = { 0, "" };
	struct target	*t;
	int		 rv = 0;

	io_catch_signals();
	t = dpub_open_target(target, 0, o, &e);
	if (t == NULL || anew(t, dir, version, o, &e) == -1)
		rv = dpub_failed(&e);
	target_close(t);
	io_die_of_signal();
	return rv;
}
