/*
 * drun, the summary: what a run was, in one line for people and one JSON
 * record.  What the stages counted it takes from the files that they leave
 * in staging (drun(1)); it looks at no stream.
 * SPDX-License-Identifier: ISC
 */
#define _DEFAULT_SOURCE /* gethostname */
#include "drun.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

#define SUM_FILE	65536			/* bytes of a stage's file */
#define SUM_RECORD	((size_t)64 << 20)	/* bytes of a record */
#define SUM_KEYS	1000			/* counts in one run */
#define SUM_STAMP	48			/* bytes of a time as text */

struct tally {
	int		 stage;	/* 1 is the first */
	char		*key;
	uint64_t	 n;
};

struct attempt {
	char	 run[STAGE_RUN_MAX];
	char	 why[MSG_ERR_MAX];
	int64_t	 start, end;	/* ms since 1970 */
	double	 seconds;
	int	 status, stage;	/* that failed; 0 none */
};

struct report {
	int		 fd;	/* of the file; -1 none */
	int64_t		 start;
	double		 t0;
	struct tally	*t;	/* of the last try */
	size_t		 n, cap;
	struct tally	*cost;	/* of all tries; stage is 0 */
	size_t		 n_cost, cap_cost;
	struct attempt	*a;
	size_t		 n_a, cap_a;
};

/* Inputs by what became of them, and what is told in the line after. */
static const char *const outcomes[] = { "planned", "fetched", "skipped",
	"stale", "failed", "checked", "refused", "merged" };
static const char *const amounts[] = { "records", "bytes" };
/* what a try that failed has cost counts too */
static const char *const costs[] = { "requests", "retries",
	"breaker_openings" };
#define COUNT(v) (sizeof(v) / sizeof((v)[0]))

static int64_t
wall_ms(void)
{
	return io_wall_ns() / 1000000;
}

static int
open_file(const char *file, struct err *e)
{
	int	fd;

	if (strcmp(file, "-") == 0)
		return STDOUT_FILENO;
	fd = open(file, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (fd == -1)
		return err_sys(e, errno, "%s: summary", file);
	return fd;
}

struct report *
drun_report_new(const struct drun_opts *o, int *status)
{
	struct err	 e = { 0, "" };
	struct report	*rep;
	int		 fd;

	*status = 0;
	if (o->summary == NULL && !drun_note_wanted())
		return NULL;
	fd = o->summary != NULL ? open_file(o->summary, &e) : -1;
	if (e.code != 0) {
		msg_err(&e);
		*status = e.code;
		return NULL;
	}
	rep = mem_zero(1, sizeof(*rep));
	rep->fd = fd;
	rep->start = wall_ms();
	rep->t0 = io_now();
	return rep;
}

/*
 * Totals.
 */

static void
add(struct tally **v, size_t *n, size_t *cap, int stage, const char *key,
    size_t len, uint64_t add_n)
{
	size_t	i;

	for (i = 0; i < *n; i++)
		if ((*v)[i].stage == stage && strlen((*v)[i].key) == len &&
		    memcmp((*v)[i].key, key, len) == 0)
			break;
	if (i == SUM_KEYS)
		return;
	if (i == *n) {
		*v = mem_grow(*v, cap, *n + 1, sizeof(**v));
		(*v)[i].stage = stage;
		(*v)[i].key = mem_ndup(key, len);
		(*v)[i].n = 0;
		(*n)++;
	}
	(*v)[i].n += add_n;
}

static void
forget(struct tally *v, size_t *n)
{
	while (*n > 0)
		free(v[--*n].key);
}

/* What all stages together counted under key: 1 with *out, or 0. */
static int
total(const struct report *rep, const char *key, uint64_t *out)
{
	size_t	i;
	int	seen = 0;

	*out = 0;
	for (i = 0; i < rep->n; i++)
		if (strcmp(rep->t[i].key, key) == 0) {
			*out += rep->t[i].n;
			seen = 1;
		}
	return seen;
}

static int
cost(const struct report *rep, const char *key, uint64_t *out)
{
	size_t	i;

	for (i = 0; i < rep->n_cost; i++)
		if (strcmp(rep->cost[i].key, key) == 0) {
			*out = rep->cost[i].n;
			return 1;
		}
	return 0;
}

/* {"program":..,"totals":{"key":n,...}}: what is no count is passed over. */
static void
take(struct report *rep, int stage, const char *s, size_t len)
{
	struct json_val	v;
	struct json	j;
	size_t		i;
	int		r;

	json_init(&j, s, len);
	if (json_next(&j, &v) != JSON_OBJ)
		goto done;
	while ((r = json_more(&j, &v)) == 1 &&
	    !(v.type == JSON_OBJ && json_is(&v, "totals")))
		(void)json_pass(&j, &v); /* bad stays bad */
	if (r != 1)
		goto done;
	while (json_more(&j, &v) == 1) {
		if (v.type != JSON_INT || v.i < 0) {
			(void)json_pass(&j, &v);
			continue;
		}
		add(&rep->t, &rep->n, &rep->cap, stage, v.key, v.key_len,
		    (uint64_t)v.i);
		for (i = 0; i < COUNT(costs); i++)
			if (json_is(&v, costs[i]))
				add(&rep->cost, &rep->n_cost, &rep->cap_cost,
				    0, v.key, v.key_len, (uint64_t)v.i);
	}
done:
	json_clear(&j);
}

/* TOTALS/2.dcheck.4711.json is of stage 2. */
static void
take_all(struct report *rep, const struct run *r)
{
	struct dirent	*d;
	struct buf	 b;
	struct err	 e;
	char		*end;
	long		 stage;
	DIR		*dir;
	int		 fd;

	fd = openat(r->stage.dirfd, DRUN_TOTALS, O_RDONLY | O_DIRECTORY |
	    O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return;	/* nobody counted anything */
	dir = fdopendir(fd);
	if (dir == NULL) {
		(void)close(fd);
		return;
	}
	while ((d = readdir(dir)) != NULL) {
		stage = strtol(d->d_name, &end, 10);
		if (end == d->d_name || *end != '.' || stage < 1 ||
		    stage > r->n)
			continue;
		e.code = 0;
		buf_init(&b, SUM_FILE);
		if (io_slurp(fd, d->d_name, &b, &e) == 0)
			take(rep, (int)stage, (const char *)b.p, b.len);
		buf_free(&b);
	}
	(void)closedir(dir);
}

void
drun_report_try(struct report *rep, const struct run *r, int status)
{
	struct attempt	*a;

	if (rep == NULL)
		return;
	rep->a = mem_grow(rep->a, &rep->cap_a, rep->n_a + 1,
	    sizeof(*rep->a));
	a = &rep->a[rep->n_a++];
	memset(a, 0, sizeof(*a));
	(void)snprintf(a->run, sizeof(a->run), "%s", r->stage.run);
	(void)snprintf(a->why, sizeof(a->why), "%s", r->why);
	a->start = r->try_start;
	a->end = wall_ms();
	a->seconds = io_now() - r->try_t0;
	a->status = status;
	a->stage = status != 0 ? r->blame + 1 : 0;
	forget(rep->t, &rep->n);
	if (r->stage.path != NULL)
		take_all(rep, r);
}

/*
 * The record.
 */

static void
put_time(struct buf *b, const char *key, int64_t ms)
{
	char		s[SUM_STAMP];
	time_t		t = (time_t)(ms / 1000);
	struct tm	tm;

	if (gmtime_r(&t, &tm) == NULL)
		return;
	(void)snprintf(s, sizeof(s), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
	    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
	    tm.tm_min, tm.tm_sec, (int)(ms % 1000));
	json_put_kstr(b, key, s);
}

static void
put_seconds(struct buf *b, const char *key, double s)
{
	json_put_key(b, key);
	buf_printf(b, "%.3f", s);
}

/* Text of anyone's: JSON is UTF-8. */
static void
put_text(struct buf *b, const char *key, const char *s, size_t len)
{
	char	*c = mem_ndup(s, len), *p;

	if (!path_utf8(c, len))
		for (p = c; *p != '\0'; p++)
			if ((unsigned char)*p >= 0x80)
				*p = '?';
	json_put_kstr(b, key, c);
	free(c);
}

static void
put_status(struct buf *b, int status, const char *why)
{
	const char	*name = msg_fault_of(status)->name;
	const char	*class = msg_class_name(msg_fault_of(status)->class);

	json_put_kint(b, "status", status);
	if (status != 0 && *name != '\0')
		json_put_kstr(b, "code", name);
	if (status != 0 && *class != '\0')
		json_put_kstr(b, "class", class);
	if (*why != '\0')
		put_text(b, "reason", why, strlen(why));
}

static void
put_inputs(const struct report *rep, struct buf *b)
{
	uint64_t	n;
	size_t		i;

	json_put_key(b, "inputs");
	buf_addc(b, '{');
	for (i = 0; i < COUNT(outcomes); i++)
		if (total(rep, outcomes[i], &n))
			json_put_kint(b, outcomes[i], (int64_t)n);
	buf_addc(b, '}');
	for (i = 0; i < COUNT(amounts); i++)
		if (total(rep, amounts[i], &n))
			json_put_kint(b, amounts[i], (int64_t)n);
	for (i = 0; i < COUNT(costs); i++)
		if (cost(rep, costs[i], &n))
			json_put_kint(b, costs[i], (int64_t)n);
}

static void
put_stages(const struct report *rep, const struct run *r, struct buf *b)
{
	const struct stage_proc	*p;
	size_t			 k;
	int			 i;

	json_put_key(b, "stages");
	buf_addc(b, '[');
	for (i = 0; i < r->n; i++) {
		p = &r->p[i];
		if (b->p[b->len - 1] != '[')
			buf_addc(b, ',');
		buf_addc(b, '{');
		json_put_kint(b, "stage", i + 1);
		put_text(b, "command", p->shown, strlen(p->shown));
		if (p->t1 != 0) {
			json_put_kint(b, "status", drun_status(p->st));
			put_seconds(b, "seconds", p->t1 - p->t0);
		}
		json_put_key(b, "totals");
		buf_addc(b, '{');
		for (k = 0; k < rep->n; k++)
			if (rep->t[k].stage == i + 1)
				json_put_kint(b, rep->t[k].key,
				    (int64_t)rep->t[k].n);
		buf_str(b, "}}");
	}
	buf_addc(b, ']');
}

static void
put_attempts(const struct report *rep, struct buf *b)
{
	const struct attempt	*a;
	size_t			 i;

	json_put_key(b, "attempts");
	buf_addc(b, '[');
	for (i = 0; i < rep->n_a; i++) {
		a = &rep->a[i];
		if (i > 0)
			buf_addc(b, ',');
		buf_addc(b, '{');
		json_put_kstr(b, "run", a->run);
		put_time(b, "start", a->start);
		put_seconds(b, "seconds", a->seconds);
		put_status(b, a->status, a->why);
		if (a->stage > 0)
			json_put_kint(b, "stage", a->stage);
		buf_addc(b, '}');
	}
	buf_addc(b, ']');
}

static void
record(const struct report *rep, const struct run *r, const char *command,
    int status, struct buf *b)
{
	const struct attempt	*last;
	char			 host[256];

	last = rep->n_a > 0 ? &rep->a[rep->n_a - 1] : NULL;
	if (gethostname(host, sizeof(host)) == -1)
		(void)snprintf(host, sizeof(host), "localhost");
	host[sizeof(host) - 1] = '\0';
	buf_addc(b, '{');
	json_put_kstr(b, "t", "run");
	if (last != NULL)
		json_put_kstr(b, "run", last->run);
	put_text(b, "command", command, strlen(command));
	put_text(b, "host", host, strlen(host));
	json_put_kint(b, "pid", (int64_t)getpid());
	put_time(b, "start", rep->start);
	put_time(b, "end", wall_ms());
	put_seconds(b, "seconds", io_now() - rep->t0);
	put_status(b, status, r->why);
	if (last != NULL && last->stage > 0 && status != 0)
		json_put_kint(b, "stage", last->stage);
	json_put_kint(b, "tries", (int64_t)rep->n_a);
	put_inputs(rep, b);
	put_seconds(b, "commit_seconds", r->commit_s);
	put_stages(rep, r, b);
	put_attempts(rep, b);
	buf_str(b, "}\n");
}

/* One line: what came of it, how much, how long. */
static void
tell(const struct report *rep, const struct run *r, int status)
{
	const struct attempt	*last;
	const char		*sep = ": ";
	struct buf		 b;
	uint64_t		 n;
	size_t			 i;

	last = rep->n_a > 0 ? &rep->a[rep->n_a - 1] : NULL;
	buf_init(&b, 4096);
	buf_printf(&b, "run %s: ", last != NULL ? last->run : "-");
	if (status == 0)
		buf_str(&b, "done");
	else
		buf_str(&b, drun_show_status(status > 128 && r->sig != 0 ?
		    r->sig : status << 8));
	if (last != NULL && last->stage > 0 && status != 0)
		buf_printf(&b, " at %s", drun_show(r, last->stage - 1));
	for (i = 0; i < COUNT(outcomes); i++)
		if (total(rep, outcomes[i], &n)) {
			buf_printf(&b, "%s%" PRIu64 " %s", sep, n,
			    outcomes[i]);
			sep = ", ";
		}
	for (i = 0; i < COUNT(amounts); i++)
		if (total(rep, amounts[i], &n))
			buf_printf(&b, "; %" PRIu64 " %s", n, amounts[i]);
	for (i = 0; i < COUNT(costs); i++)
		if (cost(rep, costs[i], &n))
			buf_printf(&b, "; %" PRIu64 " %s", n,
			    i == 2 ? "breaker openings" : costs[i]);
	buf_printf(&b, "; %.1f s, %zu %s", io_now() - rep->t0, rep->n_a,
	    rep->n_a == 1 ? "try" : "tries");
	msg_note("%s", buf_cstr(&b));
	buf_free(&b);
}

/*
 * Append, whole or not at all: what others append at the same time, and
 * what a full disk once tore, stays out of it.
 */
static int
append(int fd, const char *name, const struct buf *b, struct err *e)
{
	struct err	held = { 0, "" };
	struct stat	st;
	char		c = '\n';

	if (fstat(fd, &st) == -1)
		return err_sys(e, errno, "%s: summary", name);
	if (fd == STDOUT_FILENO || !S_ISREG(st.st_mode)) {
		if (io_write(fd, b->p, b->len) == -1)
			return err_sys(e, errno, "%s: summary", name);
		return 0;
	}
	/* whoever holds it for longer is none of us */
	(void)io_flock(fd, 2, &held);
	if (fstat(fd, &st) == 0 && st.st_size > 0)
		(void)io_pread(fd, &c, 1, (uint64_t)st.st_size - 1);
	if ((c != '\n' && io_write(fd, "\n", 1) == -1) ||
	    io_write(fd, b->p, b->len) == -1) {
		err_sys(e, errno, "%s: summary", name);
		if (ftruncate(fd, st.st_size) == -1)
			return -1; /* the next one begins a line */
		return -1;
	}
	return 0;
}

/* The last try with the record, those before it as they ended. */
static void
note(const struct report *rep, const struct buf *b)
{
	struct drun_end	 n;
	struct buf	 text;
	size_t		 i;

	buf_init(&text, SUM_RECORD);
	buf_add(&text, b->p, b->len > 0 ? b->len - 1 : 0);
	for (i = 0; i < rep->n_a; i++) {
		if (rep->a[i].run[0] == '\0')
			continue;
		memset(&n, 0, sizeof(n));
		n.run = rep->a[i].run;
		n.started = rep->a[i].start;
		n.ended = rep->a[i].end;
		n.status = rep->a[i].status;
		if (i == rep->n_a - 1) {
			(void)total(rep, "records", &n.records);
			(void)total(rep, "bytes", &n.bytes);
			n.summary = buf_cstr(&text);
		}
		drun_note(&n);
	}
	buf_free(&text);
}

static void
report_free(struct report *rep)
{
	if (rep->fd != STDOUT_FILENO && rep->fd != -1)
		(void)close(rep->fd);
	forget(rep->t, &rep->n);
	forget(rep->cost, &rep->n_cost);
	free(rep->t);
	free(rep->cost);
	free(rep->a);
	free(rep);
}

int
drun_report_end(struct report *rep, const struct run *r,
    const struct drun_opts *o, const char *command, int status)
{
	struct err	e = { 0, "" };
	struct buf	b;

	if (rep == NULL)
		return status;
	buf_init(&b, SUM_RECORD);
	record(rep, r, command, status, &b);
	if (drun_note_wanted())
		note(rep, &b);
	if (rep->fd != -1)
		tell(rep, r, status);
	if (rep->fd != -1 && append(rep->fd, o->summary, &b, &e) == -1) {
		msg_warn("%s: the run has ended as said, its record is not "
		    "written", e.text);
		if (status == 0)
			status = e.code == MSG_OK ? MSG_IOERR : e.code;
	}
	buf_free(&b);
	report_free(rep);
	return status;
}
