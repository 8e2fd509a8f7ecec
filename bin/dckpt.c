/*
 * dckpt: what the checkpoint database knows, for people and programs: what
 * is done, what failed and what to do about it; or, as a stage, records
 * what flows by.  Options and verbs are here, each verb's work in
 * dckpt_*.c.
 * SPDX-License-Identifier: ISC
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt.h"
#include "dckpt.h"
#include "io.h"
#include "msg.h"
#include "num.h"
#include "banned.h"

#define OPT_MAX		512	/* what getopt returns is below */

/* Long options without a letter. */
enum {
	O_CLASS = 256,
	O_CODE,
	O_FULL,
	O_HISTORY,
	O_JSON,
	O_JSON_IN,
	O_LIMIT,
	O_LOG,
	O_MAX_AGE,
	O_MAX_BREAKERS,
	O_MAX_RATE,
	O_MAX_STALE,
	O_NEWER,
	O_OLDER,
	O_PROMETHEUS,
	O_QUICK,
	O_RUN,
	O_SCOPE,
	O_STAGE,
	O_STATE
};

#define V_CREATES	1	/* the database, when it is not there */
#define V_NO_KEYS	2	/* its operands are not keys */
#define V_LOOKS		4	/* and changes nothing */

/* Which units; and with their state. */
#define WHICH	'g', O_CLASS, O_CODE, O_NEWER, O_OLDER, O_SCOPE

struct verb {
	const char	*name;
	int		(*f)(struct dckpt *o, int *status);
	int		 flags;
	int		 opts[20];	/* c, p, v and --log too */
};

static const struct verb verbs[] = {
	{ "list", dckpt_list, V_LOOKS, { WHICH, O_STATE, O_HISTORY, O_JSON,
	    O_LIMIT } },
	{ "failed", dckpt_failed, V_LOOKS, { WHICH, O_HISTORY, O_JSON,
	    O_LIMIT } },
	{ "stale", dckpt_stale, V_LOOKS, { WHICH, O_HISTORY, O_JSON,
	    O_LIMIT } },
	{ "show", dckpt_show, V_LOOKS, { O_SCOPE, O_JSON } },
	{ "stats", dckpt_stats, V_LOOKS, { WHICH, O_JSON } },
	{ "verify", dckpt_verify, V_LOOKS, { WHICH, O_JSON, O_LIMIT, O_FULL,
	    O_QUICK } },
	{ "retry", dckpt_retry, 0, { WHICH, '0', 'n', O_JSON, O_LIMIT,
	    O_RUN } },
	{ "force", dckpt_force, 0, { WHICH, O_STATE, '0', 'n', O_JSON,
	    O_LIMIT, O_RUN } },
	{ "clear", dckpt_clear, 0, { WHICH, O_STATE, 'n', 'y', O_JSON } },
	{ "expire", dckpt_expire, 0, { WHICH, O_STATE, 'n', 'y', O_JSON } },
	{ "breaker", dckpt_breaker, V_NO_KEYS | V_LOOKS, { 'n', O_JSON } },
	{ "alert", dckpt_alert, V_LOOKS, { WHICH, O_JSON, O_MAX_AGE,
	    O_MAX_BREAKERS, O_MAX_RATE, O_MAX_STALE } },
	{ "export", dckpt_export, V_NO_KEYS | V_LOOKS, { 'o', O_JSON,
	    O_PROMETHEUS } },
	{ "note", dckpt_note, V_CREATES | V_NO_KEYS, { 0 } },
	{ "beat", dckpt_beat, V_CREATES | V_NO_KEYS, { 0 } },
	{ "classes", NULL, V_NO_KEYS, { O_JSON } }
};
#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static const struct verb stage = { "a stage", NULL, V_CREATES, { O_JSON,
    O_JSON_IN, O_STAGE } };

static const struct option options[] = {
	{ "null", no_argument, NULL, '0' },
	{ "checkpoints", required_argument, NULL, 'c' },
	{ "glob", required_argument, NULL, 'g' },
	{ "help", no_argument, NULL, 'h' },
	{ "dry-run", no_argument, NULL, 'n' },
	{ "output", required_argument, NULL, 'o' },
	{ "pipeline", required_argument, NULL, 'p' },
	{ "version", no_argument, NULL, 'V' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "yes", no_argument, NULL, 'y' },
	{ "class", required_argument, NULL, O_CLASS },
	{ "code", required_argument, NULL, O_CODE },
	{ "full", no_argument, NULL, O_FULL },
	{ "history", no_argument, NULL, O_HISTORY },
	{ "json", no_argument, NULL, O_JSON },
	{ "json-in", no_argument, NULL, O_JSON_IN },
	{ "limit", required_argument, NULL, O_LIMIT },
	{ "log", required_argument, NULL, O_LOG },
	{ "max-age-success", required_argument, NULL, O_MAX_AGE },
	{ "max-failure-rate", required_argument, NULL, O_MAX_RATE },
	{ "max-open-breakers", required_argument, NULL, O_MAX_BREAKERS },
	{ "max-stale", required_argument, NULL, O_MAX_STALE },
	{ "newer-than", required_argument, NULL, O_NEWER },
	{ "older-than", required_argument, NULL, O_OLDER },
	{ "prometheus", no_argument, NULL, O_PROMETHEUS },
	{ "quick", no_argument, NULL, O_QUICK },
	{ "run", no_argument, NULL, O_RUN },
	{ "scope", required_argument, NULL, O_SCOPE },
	{ "stage", required_argument, NULL, O_STAGE },
	{ "state", required_argument, NULL, O_STATE },
	{ NULL, 0, NULL, 0 }
};

static const char usage_text[] =
    "usage: dckpt [-0hnVvy] [-c db] [-g glob] [-o file] [-p pipeline]\n"
    "             [--class class] [--code code] [--full] [--history]"
    " [--json]\n"
    "             [--json-in] [--limit n] [--log format]\n"
    "             [--max-age-success age] [--max-failure-rate percent]\n"
    "             [--max-open-breakers n] [--max-stale age]"
    " [--newer-than age]\n"
    "             [--older-than age] [--prometheus] [--quick] [--run]\n"
    "             [--scope scope] [--stage dir] [--state state]\n"
    "             [verb [key ...]]\n";

/* Flushed and closed, or not done. */
static int
finish_stdout(int status)
{
	int	bad = ferror(stdout);

	errno = 0;
	if (fclose(stdout) == EOF || bad) {
		if (errno == EPIPE)
			return msg_worse(status, MSG_PROTOCOL);
		msg_warn("stdout: %s", strerror(errno != 0 ? errno : EIO));
		return msg_worse(status, MSG_IOERR);
	}
	return status;
}

static void
help(void)
{
	(void)printf("%s",
	    "  dckpt -c ckpt.db failed\n"
	    "  dckpt -c ckpt.db retry --class transient --run\n"
	    "  dfetch deltas/ | dckpt -c ckpt.db | dcheck | dmerge -o out\n"
	    "\n");
	(void)printf("%s", usage_text);
	(void)printf("%s",
	    "verbs: list, failed, stale, show, stats, verify: look\n"
	    "  retry, force, clear, expire, breaker [reset [host]]: change\n"
	    "  alert, export: for monitors; classes: what statuses mean\n"
	    "  note: take in summaries of drun; beat run: renew its leases\n"
	    "  none: a stage of a pipe\n"
	    "  -0, --null            retry, force: end keys with NUL\n"
	    "  -c, --checkpoints db  the database; else DCKPT_DB\n"
	    "  -g, --glob glob       units whose key is like that\n"
	    "  -h, --help            this\n"
	    "  -n, --dry-run         show and change nothing\n"
	    "  -o, --output file     export: replace that file\n"
	    "  -p, --pipeline name   of that pipeline; else DCKPT_PIPELINE,"
	    " else all\n"
	    "  -V, --version         print the version\n"
	    "  -v, --verbose         say more\n"
	    "  -y, --yes             clear, expire: do not ask\n");
	(void)printf("%s",
	    "  --class class         transient, permanent or unknown\n"
	    "  --code code           of the error, such as hot or TEMPFAIL\n"
	    "  --full                verify: read all, whatever time says\n"
	    "  --history             every attempt\n"
	    "  --json                JSON lines\n"
	    "  --json-in             as a stage, read JSON lines\n"
	    "  --limit n             at most n units\n"
	    "  --log format          messages as text or json\n"
	    "  --max-age-success age, --max-failure-rate percent,\n"
	    "  --max-open-breakers n, --max-stale age\n"
	    "                        alert: the limits\n"
	    "  --newer-than age, --older-than age\n"
	    "                        units last changed within, or before\n"
	    "  --prometheus          export: for a textfile collector\n"
	    "  --quick               verify: read no content\n"
	    "  --run                 retry, force: run their pipelines\n"
	    "  --scope scope         pipeline, chunk, input or operation\n"
	    "  --stage dir           as a stage, the staging directory\n"
	    "  --state state         pending, in_progress, completed or"
	    " failed\n");
}

static int
usage(void)
{
	(void)fputs(usage_text, stderr);
	return MSG_USAGE;
}

/* "--limit" for messages. */
static const char *
option_name(int opt)
{
	size_t	i;

	for (i = 0; options[i].name != NULL; i++)
		if (options[i].val == opt)
			return options[i].name;
	return "?";
}

/* One value of --scope, --state or --class into its set. */
static int
add_word(struct dckpt_opts *o, int opt, const char *s)
{
	enum ckpt_scope	scope;
	enum ckpt_state	state;
	enum ckpt_class	class;

	if (opt == O_SCOPE && ckpt_scope_parse(s, &scope) == 0)
		o->sel.scopes |= 1U << scope;
	else if (opt == O_STATE && ckpt_state_parse(s, &state) == 0)
		o->sel.states |= 1U << state;
	else if (opt == O_CLASS && ckpt_class_parse(s, &class) == 0)
		o->sel.classes |= 1U << class;
	else {
		msg_warn("--%s: %s: want %s", option_name(opt), s,
		    opt == O_SCOPE ? "input, chunk, operation or pipeline" :
		    opt == O_STATE ? "pending, in_progress, completed or "
		    "failed" : "transient, permanent or unknown");
		return -1;
	}
	return 0;
}

/* "10%", "10" or "2.5%" as 0 to 1. */
static int
percent(const char *s, double *out, const char **why)
{
	char	*end;
	double	 v;

	*why = "want 0% to 100%";
	if (*s < '0' || *s > '9')
		return -1;
	v = strtod(s, &end);
	if (*end == '%')
		end++;
	if (*end != '\0' || !(v >= 0 && v <= 100))
		return -1;
	*out = v / 100;
	return 0;
}

static int
number(struct dckpt_opts *o, int opt, const char *s)
{
	const char	*why = NULL;
	uint64_t	 v = 0;
	int		 rv;

	if (opt == O_LIMIT)
		rv = num_u64(s, 1, UINT64_MAX, &o->sel.limit, &why);
	else if (opt == O_MAX_RATE)
		rv = percent(s, &o->max_rate, &why);
	else if (opt == O_MAX_BREAKERS)
		rv = num_u64(s, 0, INT32_MAX, &v, &why);
	else
		rv = num_duration(s, &v, &why);
	if (rv == 0 && v > INT32_MAX * (uint64_t)100) {
		why = "too large";
		rv = -1;
	}
	if (rv == -1) {
		msg_warn("--%s: %s: %s", option_name(opt), s, why);
		return -1;
	}
	if (opt == O_MAX_BREAKERS)
		o->max_breakers = (int64_t)v;
	else if (opt == O_MAX_AGE)
		o->max_age = (int64_t)v;
	else if (opt == O_MAX_STALE)
		o->max_stale = (int64_t)v;
	else if (opt == O_OLDER)
		o->sel.before = io_wall_ns() / 1000000 - (int64_t)v * 1000;
	else if (opt == O_NEWER)
		o->sel.since = io_wall_ns() / 1000000 - (int64_t)v * 1000;
	return 0;
}

/* An option with a value. */
static int
take_value(struct dckpt_opts *o, int opt, const char *s)
{
	switch (opt) {
	case 'c':
		o->db = s;
		return 0;
	case 'g':
		o->sel.glob = s;
		return 0;
	case 'o':
		o->out = s;
		return 0;
	case 'p':
		o->sel.pipeline = s;
		return 0;
	case O_CODE:
		o->sel.code = s;
		return 0;
	case O_STAGE:
		o->stage = s;
		return 0;
	case O_LOG:
		if (msg_set_log(s) == 0)
			return 0;
		msg_warn("--log: %s: want text or json", s);
		return -1;
	case O_CLASS:
	case O_SCOPE:
	case O_STATE:
		return add_word(o, opt, s);
	case O_LIMIT:
	case O_MAX_AGE:
	case O_MAX_BREAKERS:
	case O_MAX_RATE:
	case O_MAX_STALE:
	case O_NEWER:
	case O_OLDER:
		return number(o, opt, s);
	default:
		return -1;
	}
}

/* *exits: -h or -V was all. */
static int
parse(int argc, char **argv, struct dckpt_opts *o, unsigned char *used,
    int *exits)
{
	int	c;

	while ((c = getopt_long(argc, argv, "0c:g:hno:p:Vvy", options,
	    NULL)) != -1) {
		if (c >= 0 && c < OPT_MAX)
			used[c] = 1;
		switch (c) {
		case '0':
			o->nul = 1;
			break;
		case 'V':
			(void)printf("dckpt %s\n", MSG_VERSION);
			*exits = 1;
			return finish_stdout(0);
		case 'h':
			help();
			*exits = 1;
			return finish_stdout(0);
		case 'n':
			o->dry = 1;
			break;
		case 'v':
			msg_set_verbose(1);
			break;
		case 'y':
			o->yes = 1;
			break;
		case O_FULL:
			o->full = 1;
			break;
		case O_HISTORY:
			o->history = 1;
			break;
		case O_JSON:
			o->json = 1;
			break;
		case O_JSON_IN:
			o->json_in = 1;
			break;
		case O_PROMETHEUS:
			o->prometheus = 1;
			break;
		case O_QUICK:
			o->quick = 1;
			break;
		case O_RUN:
			o->run = 1;
			break;
		default:
			if (c == '?' || take_value(o, c, optarg) == -1)
				return usage();
			break;
		}
	}
	return 0;
}

/* 0 when every option given is one that the verb takes. */
static int
check_options(const struct verb *v, const unsigned char *used)
{
	static const int	all[] = { 'c', 'p', 'v', O_LOG };
	unsigned char		may[OPT_MAX];
	size_t			k;
	int			c;

	memset(may, 0, sizeof(may));
	for (k = 0; k < sizeof(all) / sizeof(all[0]); k++)
		may[all[k]] = 1;
	for (k = 0; k < sizeof(v->opts) / sizeof(v->opts[0]); k++)
		may[v->opts[k]] = 1;
	for (c = 1; c < OPT_MAX; c++)
		if (used[c] && !may[c]) {
			msg_warn("--%s: not an option of %s", option_name(c),
			    v->name);
			return usage();
		}
	return 0;
}

static int
one_key(const struct ckpt_unit *u, void *arg)
{
	(void)u;
	*(int *)arg = 1;
	return 1;
}

/* 1 some unit is so, 0 none, -1. */
static int
exists(struct ckpt *c, const struct ckpt_sel *q, struct err *e)
{
	int	seen = 0;

	return ckpt_each(c, q, one_key, &seen, e) == -1 ? -1 : seen;
}

/*
 * Whatever was named must be there, whatever its state: a word mistyped is
 * not "nothing failed".  0, or the status after saying which.
 */
static int
check_named(struct ckpt *c, const struct ckpt_sel *s, struct err *e)
{
	struct ckpt_sel	q;
	size_t		i;
	int		r, status = 0;

	memset(&q, 0, sizeof(q));
	q.pipeline = s->pipeline;
	q.limit = 1;
	if (s->pipeline != NULL && (r = exists(c, &q, e)) != 1) {
		if (r == 0)
			msg_error(MSG_NOINPUT, "%s: no such pipeline in this "
			    "database: dckpt stats names those it has",
			    s->pipeline);
		return r == 0 ? MSG_NOINPUT : e->code;
	}
	q.scopes = s->scopes;
	q.glob = s->glob;
	if (s->glob != NULL && (r = exists(c, &q, e)) != 1) {
		if (r == 0)
			msg_error(MSG_NOINPUT, "%s: no key is like this: dckpt "
			    "list shows them", s->glob);
		return r == 0 ? MSG_NOINPUT : e->code;
	}
	q.n_keys = 1;
	for (i = 0; i < s->n_keys; i++) {
		q.keys = &s->keys[i];
		r = exists(c, &q, e);
		if (r == -1)
			return e->code;
		if (r == 0) {
			msg_error(MSG_NOINPUT, "%s: no such checkpoint: dckpt "
			    "list shows those there are", s->keys[i]);
			status = MSG_NOINPUT;
		}
	}
	return status;
}

/* A list that was cut short does not look like a whole one. */
static void
tell_more(const struct dckpt *o)
{
	if (o->more == 0)
		return;
	if (o->o->json)
		(void)printf("{\"more\":%llu}\n",
		    (unsigned long long)o->more);
	msg_note("%llu more; --limit", (unsigned long long)o->more);
}

static int
ask_database(const struct verb *v, struct dckpt_opts *opts, struct ckpt *c)
{
	struct err	e = { 0, "" };
	struct ckpt_sel	named = opts->sel;
	struct dckpt	o;
	int		rv, status;

	memset(&o, 0, sizeof(o));
	o.o = opts;
	o.c = c;
	o.e = &e;
	o.now = io_wall_ns() / 1000000;
	buf_init(&o.b, DCKPT_LINE_MAX);
	if (v->flags & V_NO_KEYS)
		named.n_keys = 0;
	if (v->flags & V_CREATES)
		named.pipeline = NULL;
	opts->sel.more = &o.more;
	status = check_named(c, &named, &e);
	rv = status != 0 ? 0 : v->f(&o, &status);
	if (rv == -1 || e.code != 0) {
		msg_err(&e);
		status = e.code;
	}
	else
		tell_more(&o);
	buf_free(&o.b);
	ckpt_close(o.c);
	return finish_stdout(status);
}

static const struct verb *
find_verb(const char *name)
{
	size_t	i;

	for (i = 0; i < N_VERBS; i++)
		if (strcmp(name, verbs[i].name) == 0)
			return &verbs[i];
	return NULL;
}

/* NULL: said why, and *status. */
static struct ckpt *
open_database(struct dckpt_opts *o, const struct verb *v, int *status)
{
	const char	*env = getenv("DCKPT_PIPELINE");
	struct err	 e = { 0, "" };
	struct ckpt	*c;

	c = ckpt_open(o->db, (v->flags & V_CREATES ? CKPT_CREATE : 0) |
	    (v->flags & V_LOOKS ? CKPT_LOOK : 0), &e);
	if (c == NULL && e.code == 0)
		err_set(&e, MSG_USAGE, "no checkpoint database: give -c db or "
		    "set DCKPT_DB");
	if (c != NULL && o->sel.pipeline != NULL)
		(void)ckpt_set_pipeline(c, o->sel.pipeline, &e);
	else if (env != NULL && *env != '\0')
		o->sel.pipeline = env;
	if (e.code == 0)
		return c;
	msg_err(&e);
	ckpt_close(c);
	*status = e.code;
	return NULL;
}

int
main(int argc, char **argv)
{
	const struct verb	*v = &stage;
	unsigned char		 used[OPT_MAX];
	struct dckpt_opts	 o;
	struct ckpt		*c;
	int			 exits = 0, status;

	msg_init("dckpt");
	memset(&o, 0, sizeof(o));
	memset(used, 0, sizeof(used));
	o.max_rate = -1;
	o.max_stale = o.max_age = o.max_breakers = -1;
	status = parse(argc, argv, &o, used, &exits);
	if (status != 0 || exits)
		return status;
	if (optind < argc && (v = find_verb(argv[optind++])) == NULL) {
		msg_warn("%s: no such verb", argv[optind - 1]);
		return usage();
	}
	o.sel.keys = (const char *const *)(void *)(argv + optind);
	o.sel.n_keys = (size_t)(argc - optind);
	if (check_options(v, used) != 0)
		return MSG_USAGE;
	if (v != &stage && v->f == NULL) {
		if (o.sel.n_keys > 0) {
			msg_warn("classes: want no operand");
			return usage();
		}
		dckpt_classes(o.json);
		return finish_stdout(0);
	}
	c = open_database(&o, v, &status);
	if (c == NULL)
		return status;
	if (v == &stage)
		return dckpt_pass(&o, c);
	return ask_database(v, &o, c);
}
