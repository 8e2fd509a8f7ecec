/*
 * dckpt, export: what a monitor wants to know, for Prometheus' textfile
 * collector or as JSON lines, in one look.  It judges nothing: alert does,
 * and the monitor's own rules.
 * SPDX-License-Identifier: ISC
 */
#include "dckpt.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include "io.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

#define EXPORT_MAX	((size_t)64 << 20)	/* bytes of a whole export */
#define LABELS		4			/* of one value */

/*
 * Values are collected under their metric and written at the end, as all
 * of a metric must stand together.
 */
enum metric {
	M_UNITS,
	M_STALE,
	M_ATTEMPTS,
	M_FAILURES,
	M_RETRIES,
	M_REFUSED,
	M_SUCCESS,
	M_FAILURE,
	M_RECORDS,
	M_BYTES,
	M_BREAKER,
	M_BREAKER_FAILURES,
	M_RUN_STATUS,
	M_RUN_TIME,
	M_RUN_SECONDS,
	M_RUN_RECORDS,
	M_RUN_BYTES,
	M_RUN_REQUESTS,
	M_RUN_RETRIES,
	M_RUN_OPENINGS,
	M_STAGE_SECONDS,
	M_N
};

static const struct {
	const char	*name, *type, *help;
} metrics[M_N] = {
	[M_UNITS] = { "intact_units", "gauge",
	    "Units of work by state." },
	[M_STALE] = { "intact_units_stale", "gauge",
	    "Units in progress that nobody works on." },
	[M_ATTEMPTS] = { "intact_attempts_total", "counter",
	    "Attempts that ended, by outcome." },
	[M_FAILURES] = { "intact_failures_total", "counter",
	    "Attempts that failed, by class and by verdict or exit name." },
	[M_RETRIES] = { "intact_retries_total", "counter",
	    "Attempts that were not the first at their unit." },
	[M_REFUSED] = { "intact_refused", "gauge",
	    "Inputs that a check refuses now, by verdict." },
	[M_SUCCESS] = { "intact_last_success_timestamp_seconds", "gauge",
	    "When a unit was last completed." },
	[M_FAILURE] = { "intact_last_failure_timestamp_seconds", "gauge",
	    "When an attempt last failed." },
	[M_RECORDS] = { "intact_records", "gauge",
	    "Records of completed units, where known." },
	[M_BYTES] = { "intact_bytes", "gauge",
	    "Bytes of completed units, where known." },
	[M_BREAKER] = { "intact_breaker_state", "gauge",
	    "A host's breaker: 0 closed, 1 being tried, 2 open." },
	[M_BREAKER_FAILURES] = { "intact_breaker_failures", "gauge",
	    "Failures of a host in a row." },
	[M_RUN_STATUS] = { "intact_run_status", "gauge",
	    "Exit status of the last run that ended." },
	[M_RUN_TIME] = { "intact_run_timestamp_seconds", "gauge",
	    "When the last run ended." },
	[M_RUN_SECONDS] = { "intact_run_seconds", "gauge",
	    "How long the last run took." },
	[M_RUN_RECORDS] = { "intact_run_records", "gauge",
	    "Records of the last run." },
	[M_RUN_BYTES] = { "intact_run_bytes", "gauge",
	    "Bytes that the last run fetched." },
	[M_RUN_REQUESTS] = { "intact_run_requests", "gauge",
	    "Requests of the last run." },
	[M_RUN_RETRIES] = { "intact_run_retries", "gauge",
	    "Requests of the last run that were sent again." },
	[M_RUN_OPENINGS] = { "intact_run_breaker_openings", "gauge",
	    "Breakers that the last run opened." },
	[M_STAGE_SECONDS] = { "intact_stage_seconds", "gauge",
	    "How long each stage of the last run took." }
};

struct label {
	const char	*name, *value;
};

struct export {
	struct dckpt	*o;
	struct buf	 m[M_N];
};

static void
put_labels(struct buf *b, const struct label *l, size_t n)
{
	const char	*s;
	size_t		 i;

	for (i = 0; i < n; i++) {
		buf_printf(b, "%s%s=\"", i == 0 ? "{" : ",", l[i].name);
		for (s = l[i].value; *s != '\0'; s++)
			if (*s == '\n')
				buf_str(b, "\\n");
			else {
				if (*s == '"' || *s == '\\')
					buf_addc(b, '\\');
				buf_addc(b, *s);
			}
		buf_addc(b, '"');
	}
	if (n > 0)
		buf_addc(b, '}');
}

static void
put_labels_json(struct buf *b, const struct label *l, size_t n)
{
	size_t	i;

	for (i = 0; i < n; i++)
		json_put_kstr(b, l[i].name, l[i].value);
}

/* One value; v as text, a number. */
static void
add_text(struct export *x, enum metric m, const struct label *l, size_t n,
    const char *v)
{
	struct buf	*b = &x->m[m];

	if (x->o->o->json) {
		buf_addc(b, '{');
		json_put_kstr(b, "metric", metrics[m].name);
		put_labels_json(b, l, n);
		json_put_key(b, "value");
		buf_printf(b, "%s}\n", v);
		return;
	}
	buf_str(b, metrics[m].name);
	put_labels(b, l, n);
	buf_printf(b, " %s\n", v);
}

static void
add(struct export *x, enum metric m, const struct label *l, size_t n,
    uint64_t v)
{
	char	text[32];

	(void)snprintf(text, sizeof(text), "%" PRIu64, v);
	add_text(x, m, l, n, text);
}

static void
add_time(struct export *x, enum metric m, const struct label *l, size_t n,
    int64_t ms)
{
	char	text[48];

	(void)snprintf(text, sizeof(text), "%" PRId64 ".%03d", ms / 1000,
	    (int)(ms % 1000));
	add_text(x, m, l, n, text);
}

/* Counts of units. */
static int
add_units(struct export *x)
{
	struct dckpt_tallies	 t;
	struct ckpt_sel		 s;
	struct label		 l[LABELS];
	const struct dckpt_tally *v;
	size_t			 i;
	int			 k, rv;

	memset(&t, 0, sizeof(t));
	memset(&s, 0, sizeof(s));
	s.pipeline = x->o->o->sel.pipeline;
	rv = dckpt_count(x->o, &s, &t);
	for (i = 0; rv == 0 && i < t.n; i++) {
		v = &t.v[i];
		l[0] = (struct label){ "pipeline", v->pipeline };
		l[1] = (struct label){ "scope", ckpt_scope_name(v->scope) };
		for (k = 0; k < CKPT_STATE_N; k++) {
			l[2] = (struct label){ "state",
			    ckpt_state_name((enum ckpt_state)k) };
			add(x, M_UNITS, l, 3, k == CKPT_FAILED ?
			    v->n[k] - v->aside : v->n[k]);
		}
		l[2] = (struct label){ "state", "aside" };
		add(x, M_UNITS, l, 3, v->aside);
		add(x, M_STALE, l, 2, v->stale);
		add(x, M_RECORDS, l, 2, v->records);
		add(x, M_BYTES, l, 2, v->bytes);
	}
	dckpt_tallies_clear(&t);
	return rv;
}

/* Of one pipeline and scope, while its sums come one by one. */
struct group {
	struct export	*x;
	char		*pipeline;
	enum ckpt_scope	 scope;
	int		 some;
	uint64_t	 by_outcome[4], retries;
	int64_t		 success, failure;
};

static const char *const outcomes[4] = { "completed", "repeated", "failed",
	"abandoned" };

static void
end_group(struct group *g)
{
	struct label	l[LABELS];
	int		i;

	if (!g->some)
		return;
	l[0] = (struct label){ "pipeline", g->pipeline };
	l[1] = (struct label){ "scope", ckpt_scope_name(g->scope) };
	for (i = 0; i < 4; i++) {
		l[2] = (struct label){ "outcome", outcomes[i] };
		add(g->x, M_ATTEMPTS, l, 3, g->by_outcome[i]);
	}
	add(g->x, M_RETRIES, l, 2, g->retries);
	if (g->success != 0)
		add_time(g->x, M_SUCCESS, l, 2, g->success);
	if (g->failure != 0)
		add_time(g->x, M_FAILURE, l, 2, g->failure);
	free(g->pipeline);
	memset(g->by_outcome, 0, sizeof(g->by_outcome));
	g->pipeline = NULL;
	g->retries = 0;
	g->success = g->failure = 0;
	g->some = 0;
}

static int
on_sum(const struct ckpt_sum *s, void *arg)
{
	struct group	*g = arg;
	struct label	 l[LABELS];
	int		 i;

	if (g->some && (g->scope != s->scope ||
	    strcmp(g->pipeline, s->pipeline) != 0))
		end_group(g);
	if (!g->some) {
		g->pipeline = mem_dup(s->pipeline);
		g->scope = s->scope;
		g->some = 1;
	}
	for (i = 0; i < 4; i++)
		if (strcmp(outcomes[i], s->outcome) == 0)
			g->by_outcome[i] += s->n;
	g->retries += s->retries;
	if (strcmp(s->outcome, "completed") == 0 && s->last > g->success)
		g->success = s->last;
	if (strcmp(s->outcome, "failed") != 0)
		return 0;
	if (s->last > g->failure)
		g->failure = s->last;
	l[0] = (struct label){ "pipeline", s->pipeline };
	l[1] = (struct label){ "scope", ckpt_scope_name(s->scope) };
	l[2] = (struct label){ "class", ckpt_class_name(s->class) };
	l[3] = (struct label){ "code", s->code };
	add(g->x, M_FAILURES, l, 4, s->n);
	return 0;
}

static int
add_sums(struct export *x)
{
	struct group	g;
	int		rv;

	memset(&g, 0, sizeof(g));
	g.x = x;
	rv = ckpt_sums(x->o->c, x->o->o->sel.pipeline, on_sum, &g, x->o->e);
	end_group(&g);
	return rv;
}

/* Inputs that are refused now, by pipeline and verdict. */
struct refused {
	char		*pipeline, *code;
	uint64_t	 n;
};
struct refuseds {
	struct refused	*v;
	size_t		 n, cap;
};

static int
on_refused(const struct ckpt_unit *u, void *arg)
{
	struct refuseds	*w = arg;
	const char	*code = u->code != NULL ? u->code : "";
	size_t		 i;

	if (u->status != MSG_DATAERR || u->aside)
		return 0;
	for (i = 0; i < w->n; i++)
		if (strcmp(w->v[i].pipeline, u->pipeline) == 0 &&
		    strcmp(w->v[i].code, code) == 0)
			break;
	if (i == w->n) {
		w->v = mem_grow(w->v, &w->cap, w->n + 1, sizeof(*w->v));
		w->v[w->n].pipeline = mem_dup(u->pipeline);
		w->v[w->n].code = mem_dup(code);
		w->v[w->n++].n = 0;
	}
	w->v[i].n++;
	return 0;
}

static int
add_refused(struct export *x)
{
	struct refuseds	w;
	struct ckpt_sel	s;
	struct label	l[LABELS];
	size_t		i;
	int		rv;

	memset(&w, 0, sizeof(w));
	memset(&s, 0, sizeof(s));
	s.pipeline = x->o->o->sel.pipeline;
	s.scopes = 1U << CKPT_INPUT;
	s.states = 1U << CKPT_FAILED;
	rv = ckpt_each(x->o->c, &s, on_refused, &w, x->o->e);
	for (i = 0; i < w.n; i++) {
		l[0] = (struct label){ "pipeline", w.v[i].pipeline };
		l[1] = (struct label){ "verdict", w.v[i].code };
		add(x, M_REFUSED, l, 2, w.v[i].n);
		free(w.v[i].pipeline);
		free(w.v[i].code);
	}
	free(w.v);
	return rv;
}

static int
on_breaker(const char *host, const struct breaker *b, int64_t updated,
    void *arg)
{
	struct export	*x = arg;
	struct label	 l = { "host", host };

	(void)updated;
	add(x, M_BREAKER, &l, 1, b->state == BREAKER_CLOSED ? 0 :
	    b->state == BREAKER_HALF_OPEN ? 1 : 2);
	add(x, M_BREAKER_FAILURES, &l, 1, b->failures);
	return 0;
}

/*
 * Runs.
 */

/* The first word's last component: "dfetch" of "/opt/bin/dfetch -b T". */
static char *
program_of(const char *s, size_t len)
{
	size_t	from = 0, to;

	while (from < len && (s[from] == ' ' || s[from] == '\t'))
		from++;
	for (to = from; to < len && strchr(" \t\n", s[to]) == NULL; to++)
		if (s[to] == '/')
			from = to + 1;
	return mem_ndup(s + from, to - from);
}

/* One object of "stages". */
static void
add_stage(struct export *x, const char *pipeline, unsigned int nth,
    struct json *j)
{
	struct json_val	v;
	struct label	l[LABELS];
	double		seconds = -1;
	char		*prog = NULL, no[16], text[48];

	while (json_more(j, &v) == 1) {
		if (v.type == JSON_STR && json_is(&v, "command")) {
			free(prog);
			prog = program_of(v.str, v.len);
		} else if (json_is(&v, "seconds"))
			seconds = v.type == JSON_FLOAT ? v.f :
			    v.type == JSON_INT ? (double)v.i : -1;
		(void)json_pass(j, &v); /* bad stays bad */
	}
	if (prog != NULL && seconds >= 0) {
		(void)snprintf(no, sizeof(no), "%u", nth);
		(void)snprintf(text, sizeof(text), "%.3f", seconds);
		l[0] = (struct label){ "pipeline", pipeline };
		l[1] = (struct label){ "stage", no };
		l[2] = (struct label){ "program", prog };
		add_text(x, M_STAGE_SECONDS, l, 3, text);
	}
	free(prog);
}

/* What drun said of the run: counts, and its stages. */
static void
add_summary(struct export *x, const char *pipeline, const char *s)
{
	static const struct {
		const char	*key;
		enum metric	 m;
	} counts[] = {
		{ "requests", M_RUN_REQUESTS },
		{ "retries", M_RUN_RETRIES },
		{ "breaker_openings", M_RUN_OPENINGS }
	};
	struct label	l = { "pipeline", pipeline };
	struct json	j;
	struct json_val	v;
	unsigned int	nth = 0;
	size_t		i;

	json_init(&j, s, strlen(s));
	if (json_next(&j, &v) != JSON_OBJ)
		goto done;
	while (json_more(&j, &v) == 1) {
		for (i = 0; v.type == JSON_INT && v.i >= 0 &&
		    i < sizeof(counts) / sizeof(counts[0]); i++)
			if (json_is(&v, counts[i].key))
				add(x, counts[i].m, &l, 1, (uint64_t)v.i);
		if (v.type == JSON_ARR && json_is(&v, "stages"))
			while (json_next(&j, &v) == JSON_OBJ)
				add_stage(x, pipeline, ++nth, &j);
		else
			(void)json_pass(&j, &v); /* bad stays bad */
	}
done:
	json_clear(&j);
}

static int
on_run(const struct ckpt_run *r, void *arg)
{
	struct export	*x = arg;
	struct label	 l = { "pipeline", r->pipeline };

	if (r->ended == 0)
		return 0;
	add(x, M_RUN_STATUS, &l, 1, (uint64_t)r->status);
	add_time(x, M_RUN_TIME, &l, 1, r->ended);
	add_time(x, M_RUN_SECONDS, &l, 1, r->ended > r->started ?
	    r->ended - r->started : 0);
	if (r->records != 0)
		add(x, M_RUN_RECORDS, &l, 1, r->records);
	if (r->bytes != 0)
		add(x, M_RUN_BYTES, &l, 1, r->bytes);
	if (r->summary != NULL)
		add_summary(x, r->pipeline, r->summary);
	return 0;
}

/* Whole or not at all: a collector may look at any time. */
static int
write_file(const char *file, const struct buf *b, struct err *e)
{
	struct stat	 st;
	char		*path = path_from_url(file, e), *slash, *tmp;
	int		 fd, rv;

	if (path == NULL)
		return -1;
	slash = strrchr(path, '/');
	*slash = '\0';
	fd = open(slash == path ? "/" : path,
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1) {
		err_sys(e, errno, "%s", slash == path ? "/" : path);
		free(path);
		return -1;
	}
	/* as root, a device would be renamed over */
	if (fstatat(fd, slash + 1, &st, 0) == 0 && !S_ISREG(st.st_mode)) {
		err_set(e, MSG_USAGE, "%s: not a regular file: want one, or "
		    "no -o", file);
		(void)close(fd);
		free(path);
		return -1;
	}
	/* a name that no collector of *.prom reads */
	tmp = mem_alloc(strlen(slash + 1) + 32);
	(void)snprintf(tmp, strlen(slash + 1) + 32, ".%s.%ld", slash + 1,
	    (long)getpid());
	rv = io_replace(fd, slash + 1, tmp, b->p, b->len, e);
	(void)close(fd);
	free(tmp);
	free(path);
	return rv;
}

int
dckpt_export(struct dckpt *o, int *status)
{
	struct export	x;
	struct buf	all;
	int		i, rv = -1;

	(void)status;
	if (o->o->json + o->o->prometheus != 1)
		return err_set(o->e, MSG_USAGE, "export: want --prometheus "
		    "or --json");
	memset(&x, 0, sizeof(x));
	x.o = o;
	for (i = 0; i < M_N; i++)
		buf_init(&x.m[i], EXPORT_MAX);
	buf_init(&all, EXPORT_MAX);
	if (add_units(&x) == -1 || add_sums(&x) == -1 ||
	    add_refused(&x) == -1 || ckpt_breaker_each(o->c, on_breaker, &x,
	    o->e) == -1 || ckpt_runs(o->c, o->o->sel.pipeline, on_run, &x,
	    o->e) == -1)
		goto done;
	for (i = 0; i < M_N; i++) {
		if (x.m[i].len == 0)
			continue;
		if (!o->o->json)
			buf_printf(&all, "# HELP %s %s\n# TYPE %s %s\n",
			    metrics[i].name, metrics[i].help,
			    metrics[i].name, metrics[i].type);
		buf_add(&all, x.m[i].p, x.m[i].len);
		all.over |= x.m[i].over;
	}
	if (all.over) {
		err_set(o->e, MSG_IOERR, "export: want at most %zu bytes, got "
		    "more: give -p to export one pipeline", EXPORT_MAX);
		goto done;
	}
	rv = 0;
	if (o->o->out != NULL)
		rv = write_file(o->o->out, &all, o->e);
	else if (all.len > 0)
		(void)fwrite(all.p, 1, all.len, stdout);
done:
	for (i = 0; i < M_N; i++)
		buf_free(&x.m[i]);
	buf_free(&all);
	return rv;
}
