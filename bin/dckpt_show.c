/*
 * dckpt, units shown: as lines, as JSON, and one of them with all that is
 * known, down to the command that would mend it.  It changes nothing.
 * SPDX-License-Identifier: ISC
 */
#include "dckpt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hide.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

/*
 * Text for people.
 */

const char *
dckpt_iso(int64_t ms, char b[DCKPT_STAMP])
{
	time_t		t = (time_t)(ms / 1000);
	struct tm	tm;

	if (ms < 0 || gmtime_r(&t, &tm) == NULL)
		return "-";
	(void)snprintf(b, DCKPT_STAMP, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
	    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
	    tm.tm_min, tm.tm_sec, (int)(ms % 1000));
	return b;
}

const char *
dckpt_age(int64_t ms, char b[DCKPT_STAMP])
{
	int64_t	s = ms < 0 ? 0 : ms / 1000;

	if (s < 120)
		(void)snprintf(b, DCKPT_STAMP, "%" PRId64 " s", s);
	else if (s < 7200)
		(void)snprintf(b, DCKPT_STAMP, "%" PRId64 " min", s / 60);
	else if (s < 172800)
		(void)snprintf(b, DCKPT_STAMP, "%" PRId64 " h", s / 3600);
	else
		(void)snprintf(b, DCKPT_STAMP, "%" PRId64 " d", s / 86400);
	return b;
}

void
dckpt_masked(struct buf *b, const char *s)
{
	size_t	at = b->len;

	buf_str(b, s);
	if (!b->over)
		msg_mask((char *)b->p + at, b->len - at);
}

void
dckpt_quoted(struct buf *b, const char *s)
{
	static const char	plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "abcdefghijklmnopqrstuvwxyz0123456789"
				    "/._-:@%+=,";

	if (*s != '\0' && s[strspn(s, plain)] == '\0') {
		buf_str(b, s);
		return;
	}
	buf_addc(b, '\'');
	for (; *s != '\0'; s++)
		if (*s == '\'')
			buf_str(b, "'\\''");
		else
			buf_addc(b, *s);
	buf_addc(b, '\'');
}

void
dckpt_put(struct dckpt *o)
{
	if (o->b.len > 0)
		(void)fwrite(o->b.p, 1, o->b.len, stdout);
	buf_reset(&o->b);
}

char *
dckpt_db_path(const struct dckpt *o)
{
	struct err	 e = { 0, "" };
	const char	*db = o->o->db != NULL ? o->o->db : getenv("DCKPT_DB");
	char		*s = db != NULL ? path_from_url(db, &e) : NULL;

	return s != NULL ? s : mem_dup(db != NULL ? db : "");
}

/* What an operator may do about a unit, from the table of errors. */
static const char *
advice(const struct ckpt_unit *u)
{
	if (u->state == CKPT_IN_PROGRESS)
		return u->stale ? "its run is gone: run it again" :
		    "wait: its run lives";
	if (u->state == CKPT_COMPLETED)
		return "nothing: it is done";
	if (u->state == CKPT_PENDING && u->status == 0)
		return "nothing has been tried: run its pipeline";
	if (u->aside)
		return "have it sent again (its requeue line), or bring it "
		    "back: dpublish unquarantine";
	return msg_fault_of(u->status)->advice;
}

/*
 * The command that does the unit again once what stood in the way is
 * mended.  With its pipeline known that is all; without, the operator
 * runs it.
 */
static void
put_command(struct dckpt *o, struct buf *b, const struct ckpt_unit *u)
{
	char	*db;

	if ((u->state == CKPT_IN_PROGRESS && !u->stale) || u->aside)
		return;
	db = dckpt_db_path(o);
	buf_str(b, "dckpt -c ");
	dckpt_quoted(b, db);
	free(db);
	buf_str(b, u->state == CKPT_COMPLETED ? " force" : " retry");
	if (u->command != NULL && u->state != CKPT_COMPLETED &&
	    !hide_is_in(u->command))
		buf_str(b, " --run");
	if (strcmp(u->pipeline, CKPT_DEFAULT) != 0) {
		buf_str(b, " -p ");
		dckpt_quoted(b, u->pipeline);
	}
	buf_str(b, u->key[0] == '-' ? " -- " : " ");
	dckpt_quoted(b, u->key);
}

/* The pipeline as a shell takes it, in the directory it was run in. */
static void
put_pipeline(struct buf *b, const struct ckpt_unit *u)
{
	if (u->cwd != NULL) {
		buf_str(b, "cd ");
		dckpt_quoted(b, u->cwd);
		buf_str(b, " && ");
	}
	buf_str(b, "drun ");
	dckpt_quoted(b, u->command);
}

static int
history_text(const struct ckpt_attempt *a, void *arg)
{
	struct dckpt	*o = arg;
	char		 t[DCKPT_STAMP];

	buf_printf(&o->b, "    %s %s", dckpt_iso(a->started, t),
	    a->outcome[0] != '\0' ? a->outcome : "not ended");
	if (a->ended > a->started)
		buf_printf(&o->b, " after %s",
		    dckpt_age(a->ended - a->started, t));
	if (a->status != 0)
		buf_printf(&o->b, ", exit %d", a->status);
	if (a->class != CKPT_NONE)
		buf_printf(&o->b, " (%s)", ckpt_class_name(a->class));
	buf_printf(&o->b, ", run %s, %s pid %" PRId64,
	    a->run != NULL ? a->run : "-", a->host != NULL ? a->host : "-",
	    a->pid);
	if (a->error != NULL) {
		buf_str(&o->b, ": ");
		dckpt_masked(&o->b, a->error);
	}
	buf_addc(&o->b, '\n');
	return 0;
}

static int
put_history(struct dckpt *o, const struct ckpt_unit *u,
    int (*f)(const struct ckpt_attempt *, void *))
{
	return ckpt_history(o->c, u->id, f, o, o->e);
}

int
dckpt_line(struct dckpt *o, const struct ckpt_unit *u)
{
	char	t[DCKPT_STAMP];

	buf_printf(&o->b, "%-11s %-9s %s %2" PRIu64 " %s ",
	    u->stale ? "stale" : u->aside ? "aside" : u->forced ? "forced" :
	    ckpt_state_name(u->state), ckpt_scope_name(u->scope),
	    dckpt_iso(u->updated, t), u->attempts, u->pipeline);
	dckpt_masked(&o->b, u->key);
	buf_addc(&o->b, '\n');
	return o->o->history ? put_history(o, u, history_text) : 0;
}

/* "failed with exit 65 hot, permanent" and the like. */
static void
put_state(struct dckpt *o, const struct ckpt_unit *u)
{
	struct buf	*b = &o->b;

	if (u->stale)
		buf_printf(b, "in progress and stale (%s)",
		    u->lease < o->now ? "its lease is over" :
		    "its processes are gone");
	else if (u->state == CKPT_IN_PROGRESS)
		buf_str(b, "in progress");
	else
		buf_str(b, ckpt_state_name(u->state));
	if (u->status != 0 && u->state != CKPT_IN_PROGRESS)
		buf_printf(b, "%s with exit %d%s%s, %s",
		    u->state == CKPT_PENDING ? ", last" : "", u->status,
		    u->code != NULL ? " " : "",
		    u->code != NULL ? u->code : "",
		    ckpt_class_name(u->class));
	if (u->aside) {
		buf_str(b, "; set aside as ");
		dckpt_masked(b, u->result);
	}
	if (u->forced)
		buf_str(b, ", to be done again whatever it was");
}

static void
put_error(struct dckpt *o, const struct ckpt_unit *u)
{
	if (u->error == NULL)
		return;
	buf_str(&o->b, "    error: ");
	dckpt_masked(&o->b, u->error);
	buf_addc(&o->b, '\n');
}

static void
put_mend(struct dckpt *o, const struct ckpt_unit *u)
{
	buf_printf(&o->b, "    mend: %s\n", advice(u));
	if ((u->state == CKPT_IN_PROGRESS && !u->stale) || u->aside)
		return;
	buf_str(&o->b, "    command: ");
	put_command(o, &o->b, u);
	buf_addc(&o->b, '\n');
}

static int
failed_text(struct dckpt *o, const struct ckpt_unit *u)
{
	struct buf	*b = &o->b;
	char		 t[DCKPT_STAMP];

	dckpt_masked(b, u->key);
	buf_printf(b, "\n    %s of pipeline %s, ",
	    ckpt_scope_name(u->scope), u->pipeline);
	put_state(o, u);
	buf_printf(b, "\n    %s ago, attempt %" PRIu64 ", run %s on %s "
	    "pid %" PRId64 "\n", dckpt_age(o->now - u->updated, t),
	    u->attempts, u->run != NULL ? u->run : "-",
	    u->host != NULL ? u->host : "-", u->pid);
	put_error(o, u);
	put_mend(o, u);
	return o->o->history ? put_history(o, u, history_text) : 0;
}

/* "    name text" where there is one. */
static void
put_fact(struct buf *b, const char *name, const char *s)
{
	if (s == NULL)
		return;
	buf_printf(b, "    %s: ", name);
	dckpt_masked(b, s);
	buf_addc(b, '\n');
}

static void
put_facts(struct dckpt *o, const struct ckpt_unit *u)
{
	struct buf	*b = &o->b;
	char		 t[DCKPT_STAMP];

	put_fact(b, "digest", u->digest);
	if (u->size != 0)
		buf_printf(b, "    bytes: %" PRIu64 "\n", u->size);
	if (u->records != 0)
		buf_printf(b, "    records: %" PRIu64 "\n", u->records);
	if (u->mtime != 0)
		buf_printf(b, "    modified: %s\n",
		    dckpt_iso(u->mtime / 1000000, t));
	put_fact(b, "result", u->result);
	put_fact(b, "tool", u->tool);
	put_fact(b, "options", u->options);
	if (u->lease != 0)
		buf_printf(b, "    lease until: %s\n",
		    dckpt_iso(u->lease, t));
	if (u->command == NULL)
		return;
	buf_str(b, "    pipeline: ");
	put_pipeline(b, u);
	buf_str(b, hide_is_in(u->command) ? "\n    (a secret is not kept: "
	    "give what is " HIDE_MARK " anew)\n" : "\n");
}

static int
show_text(struct dckpt *o, const struct ckpt_unit *u)
{
	struct buf	*b = &o->b;
	char		 t[DCKPT_STAMP];

	dckpt_masked(b, u->key);
	buf_printf(b, "\n    %s of pipeline %s, ",
	    ckpt_scope_name(u->scope), u->pipeline);
	put_state(o, u);
	buf_printf(b, "\n    since %s", dckpt_iso(u->updated, t));
	buf_printf(b, " (%s ago)", dckpt_age(o->now - u->updated, t));
	buf_printf(b, ", first seen %s, %" PRIu64 " attempts\n",
	    dckpt_iso(u->created, t), u->attempts);
	buf_printf(b, "    run: %s on %s pid %" PRId64 "\n",
	    u->run != NULL ? u->run : "-", u->host != NULL ? u->host : "-",
	    u->pid);
	put_error(o, u);
	put_facts(o, u);
	put_mend(o, u);
	buf_str(b, "    history:\n");
	return put_history(o, u, history_text);
}

/*
 * JSON for programs: one object a line.
 */

static void
put_opt(struct buf *b, const char *key, const char *s)
{
	if (s != NULL && *s != '\0')
		json_put_kstr(b, key, s);
}

static void
put_time(struct buf *b, const char *key, int64_t ms)
{
	char	t[DCKPT_STAMP];

	if (ms != 0)
		json_put_kstr(b, key, dckpt_iso(ms, t));
}

static void
put_some(struct buf *b, const char *key, int64_t v)
{
	if (v != 0)
		json_put_kint(b, key, v);
}

static void
put_bool(struct buf *b, const char *key, int v)
{
	json_put_key(b, key);
	buf_str(b, v ? "true" : "false");
}

static int
history_json(const struct ckpt_attempt *a, void *arg)
{
	struct buf	*b = &((struct dckpt *)arg)->b;

	if (b->p[b->len - 1] != '[')
		buf_addc(b, ',');
	buf_addc(b, '{');
	put_time(b, "started", a->started);
	put_time(b, "ended", a->ended);
	put_opt(b, "outcome", a->outcome);
	put_opt(b, "run", a->run);
	put_opt(b, "host", a->host);
	json_put_kint(b, "pid", a->pid);
	put_opt(b, "tool", a->tool);
	put_opt(b, "digest", a->digest);
	put_some(b, "status", a->status);
	put_opt(b, "class", ckpt_class_name(a->class));
	put_opt(b, "code", a->code);
	put_opt(b, "error", a->error);
	buf_addc(b, '}');
	return 0;
}

static void
json_advice(struct dckpt *o, const struct ckpt_unit *u)
{
	struct buf	c;

	json_put_kint(&o->b, "age_s", (o->now - u->updated) / 1000);
	json_put_kstr(&o->b, "mend", advice(u));
	buf_init(&c, DCKPT_LINE_MAX);
	put_command(o, &c, u);
	put_opt(&o->b, "command", buf_cstr(&c));
	buf_free(&c);
	put_opt(&o->b, "pipeline_text", u->command);
	put_opt(&o->b, "cwd", u->cwd);
}

int
dckpt_json(struct dckpt *o, const struct ckpt_unit *u, int with_advice)
{
	struct buf	*b = &o->b;

	buf_addc(b, '{');
	json_put_kstr(b, "pipeline", u->pipeline);
	json_put_kstr(b, "scope", ckpt_scope_name(u->scope));
	json_put_kstr(b, "key", u->key);
	json_put_kstr(b, "state", ckpt_state_name(u->state));
	put_bool(b, "stale", u->stale);
	if (u->aside)
		put_bool(b, "aside", 1);
	if (u->forced)
		put_bool(b, "forced", 1);
	json_put_kint(b, "attempts", (int64_t)u->attempts);
	put_opt(b, "digest", u->digest);
	put_some(b, "size", (int64_t)u->size);
	put_some(b, "records", (int64_t)u->records);
	put_some(b, "mtime_ns", u->mtime);
	put_some(b, "inode", (int64_t)u->inode);
	put_opt(b, "result", u->result);
	put_opt(b, "tool", u->tool);
	put_opt(b, "options", u->options);
	put_opt(b, "run", u->run);
	put_opt(b, "host", u->host);
	put_some(b, "pid", u->pid);
	put_time(b, "lease", u->lease);
	put_some(b, "status", u->status);
	put_opt(b, "class", ckpt_class_name(u->class));
	put_opt(b, "code", u->code);
	put_opt(b, "error", u->error);
	put_time(b, "created", u->created);
	put_time(b, "updated", u->updated);
	if (with_advice)
		json_advice(o, u);
	if (o->o->history) {
		json_put_key(b, "history");
		buf_addc(b, '[');
		if (put_history(o, u, history_json) == -1)
			return -1;
		buf_addc(b, ']');
	}
	buf_str(b, "}\n");
	return 0;
}

/*
 * The verbs.
 */

static int
on_list(const struct ckpt_unit *u, void *arg)
{
	struct dckpt	*o = arg;
	int		 rv;

	o->n++;
	rv = o->o->json ? dckpt_json(o, u, 0) : dckpt_line(o, u);
	dckpt_put(o);
	return rv;
}

int
dckpt_list(struct dckpt *o, int *status)
{
	(void)status;
	return ckpt_each(o->c, &o->o->sel, on_list, o, o->e);
}

static int
on_failed(const struct ckpt_unit *u, void *arg)
{
	struct dckpt	*o = arg;
	int		 rv;

	o->n++;
	rv = o->o->json ? dckpt_json(o, u, 1) : failed_text(o, u);
	dckpt_put(o);
	return rv;
}

int
dckpt_failed(struct dckpt *o, int *status)
{
	int	rv;

	(void)status;
	o->o->sel.open = 1;
	rv = ckpt_each(o->c, &o->o->sel, on_failed, o, o->e);
	if (rv == 0 && o->n == 0)
		msg_info("nothing failed");
	return rv;
}

int
dckpt_stale(struct dckpt *o, int *status)
{
	int	rv;

	(void)status;
	o->o->sel.stale = 1;
	rv = ckpt_each(o->c, &o->o->sel, on_failed, o, o->e);
	if (rv == 0 && o->n == 0)
		msg_info("nothing is stale");
	return rv;
}

static int
on_show(const struct ckpt_unit *u, void *arg)
{
	struct dckpt	*o = arg;
	int		 rv;

	o->n++;
	rv = o->o->json ? dckpt_json(o, u, 1) : show_text(o, u);
	dckpt_put(o);
	return rv;
}

int
dckpt_show(struct dckpt *o, int *status)
{
	(void)status;
	if (o->o->sel.n_keys == 0)
		return err_set(o->e, MSG_USAGE, "show: want a key");
	o->o->history = 1;
	return ckpt_each(o->c, &o->o->sel, on_show, o, o->e);
}

void
dckpt_classes(int json)
{
	const struct msg_fault	*f;
	struct buf		 b;
	unsigned int		 i;

	buf_init(&b, DCKPT_LINE_MAX);
	if (!json)
		(void)printf("%-6s %-9s %-9s %s\n", "STATUS", "NAME", "CLASS",
		    "MEANING: WHAT TO DO");
	for (i = 0; i < MSG_FAULT_N; i++) {
		f = msg_fault_row(i);
		if (!json) {
			if (f->status == -1)
				(void)printf("other ");
			else
				(void)printf("%-6d", f->status);
			(void)printf(" %-9s %-9s %s: %s\n",
			    *f->name != '\0' ? f->name : "-",
			    f->class != MSG_CLASS_NONE ?
			    msg_class_name(f->class) : "-", f->means,
			    f->advice);
			continue;
		}
		buf_addc(&b, '{');
		if (f->status != -1)
			json_put_kint(&b, "status", f->status);
		put_opt(&b, "name", f->name);
		put_opt(&b, "class", msg_class_name(f->class));
		json_put_kstr(&b, "means", f->means);
		json_put_kstr(&b, "advice", f->advice);
		buf_str(&b, "}\n");
		(void)fwrite(b.p, 1, b.len, stdout);
		buf_reset(&b);
	}
	buf_free(&b);
}
