/*
 * dpublish, its options: what is asked for, as a struct, and the words that
 * say how to ask.  It opens nothing and does nothing.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish_opts.h"

#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "mem.h"
#include "num.h"
#include "banned.h"

#define LEASE_MAX	((uint64_t)365 * 86400)	/* seconds */

#define USAGE \
"usage: dpublish [-v] [-c db] [-p plan] [--allow-empty] [--allow-shrink n]\n" \
"                [--json] [--json-in] [--lock file] [--log format]\n" \
"                [--stage dir] [--verify how] target\n" \
"       dpublish -a dest [-v] [-c db] [--json] [--json-in] [--lock file]\n" \
"                [--log format] [--stage dir] [--verify how] [path ...]\n" \
"       dpublish --in-place [-nv] [-c db] [--delete] [--json] [--json-in]\n" \
"                [--lock file] [--log format] [--max-delete n]\n" \
"                [--stage dir] prefix\n" \
"       dpublish --in-place --rollback [-v] [--json] [--lock file]\n" \
"                [--log format] prefix\n" \
"       dpublish log [-v] [--json] [--log format] target\n" \
"       dpublish rollback [-v] [--json] [--lock file] [--log format] target\n" \
"                [version]\n" \
"       dpublish prune [-nv] [--json] [--keep n] [--lock file]\n" \
"                [--log format] --keep-newer-than age target\n" \
"       dpublish gc [-nv] [--json] [--keep n] [--lock file]\n" \
"                [--log format] --keep-newer-than age target\n" \
"       dpublish pin [-v] [--json] [--lock file] [--log format]\n" \
"                [--reason text] target [version]\n" \
"       dpublish pin --list [-v] [--json] [--log format] target\n" \
"       dpublish lease [-v] [--json] [--lock file] [--log format]\n" \
"                [--name name] [--reason text] --for age target [version]\n" \
"       dpublish unpin [-v] [--lock file] [--log format] target name ...\n" \
"       dpublish sources [-v] [--json] [--log format] target [version]\n" \
"       dpublish rebuild [-v] [--json] [--log format] target dir\n" \
"                [version]\n" \
"       dpublish quarantine [-nv] [--json] [--lock file] [--log format]\n" \
"                [--reason text] [--requeue file] [--verdict code]\n" \
"                [--verdicts file] target [input ...]\n" \
"       dpublish quarantine --list [-v] [--json] [--log format]\n" \
"                [--newer-than age] [--older-than age] [--verdict code]\n" \
"                target\n" \
"       dpublish unquarantine [-nv] [--json] [--lock file] [--log format]\n" \
"                target name ...\n" \
"       dpublish probe [-v] [--json] [--lock file] [--log format] target\n" \
"       dpublish holds [-v] [-p plan] [--json] [--log format]\n" \
"                [--verify how] place ...\n" \
"       dpublish --commit [-v] [-c db] [--log format] [--stage dir]\n" \
"       dpublish --discard [-v] [--log format] [--stage dir]\n"

static const char help[] =
"examples:\n"
"  drun 'dfetch -b /srv/rag deltas/ | dcheck | dmerge | dpublish /srv/rag'\n"
"  drun 'dfetch -b s3://b/t s3://b/in/ | dcheck | dmerge | dpublish s3://b/t'\n"
"  dpublish rollback /srv/rag\n"
"\n";

static const char help_options[] =
"\n"
"  -a, --artifact DEST    place an immutable delta or intermediate at DEST\n"
"                         (below DEST when it ends in /), never over another\n"
"  -c, --checkpoints DB   note in DB what was published (DCKPT_DB)\n"
"  -n, --dry-run          prune, gc, quarantine, --in-place: say what would\n"
"                         be done, no more\n"
"  -p, --plan PLAN        every line of PLAN must be in the store, no other\n"
"                         (holds: in the places together; - is stdin)\n"
"  -v, --verbose          say more on stderr\n"
"      --allow-empty      publish a store without records\n"
"      --allow-shrink N   publish with fewer records than before: exactly N\n"
"      --commit           commit what a run under drun prepared\n"
"      --delete           --in-place: what the set has not goes\n"
"      --discard          remove what a run under drun prepared\n"
"      --for AGE          lease: for so long (1h)\n"
"      --in-place         change plain keys below PREFIX, all or none\n"
"      --json             write JSON lines\n"
"      --json-in          read JSON lines\n"
"      --keep N           prune, gc: keep the N newest versions (1)\n"
"      --keep-newer-than AGE  prune, gc: keep what was current within AGE\n"
"                         (7d)\n"
"      --list             quarantine, pin: what there is\n"
"      --lock FILE        what keeps publishers apart where the store cannot:\n"
"                         all of them must name the same local file\n"
"      --log FORMAT       on stderr: text or json\n"
"      --max-delete N, N%  refuse to delete more (of the keys there)\n"
"      --rollback         --in-place: take back what is not finished\n"
"      --name NAME        lease: its name, to go on with it\n"
"      --newer-than AGE   quarantine --list: set aside within AGE\n"
"      --older-than AGE   quarantine --list: set aside before that\n"
"      --reason TEXT      quarantine, pin, lease: why\n"
"      --requeue FILE     quarantine: add what is to be sent again to FILE\n"
"      --stage DIR        the run's staging directory (DSTAGE)\n"
"      --verdict CODE     quarantine: only those of this verdict (often)\n"
"      --verdicts FILE    quarantine: what dcheck --verdicts wrote\n"
"      --verify HOW       of what lies elsewhere: bytes (the default), or\n"
"                         full: bring it back and open it, too\n"
"  -h, --help             this\n"
"  -V, --version          the version\n";

enum {
	O_ALLOW_EMPTY = 256,
	O_ALLOW_SHRINK,
	O_COMMIT,
	O_DELETE,
	O_DISCARD,
	O_IN_PLACE,
	O_JSON,
	O_JSON_IN,
	O_KEEP,
	O_LOCK,
	O_MAX_DELETE,
	O_LOG,
	O_NEWER,
	O_ROLLBACK,
	O_STAGE,
	O_VERIFY,
	O_FOR,
	O_LIST,
	O_NAME,
	O_AGE_NEWER,
	O_AGE_OLDER,
	O_REASON,
	O_REQUEUE,
	O_VERDICT,
	O_VERDICTS
};

static const struct option longopts[] = {
	{ "artifact",		required_argument, NULL, 'a' },
	{ "checkpoints",	required_argument, NULL, 'c' },
	{ "dry-run",		no_argument, NULL, 'n' },
	{ "plan",		required_argument, NULL, 'p' },
	{ "verbose",		no_argument, NULL, 'v' },
	{ "help",		no_argument, NULL, 'h' },
	{ "version",		no_argument, NULL, 'V' },
	{ "allow-empty",	no_argument, NULL, O_ALLOW_EMPTY },
	{ "allow-shrink",	required_argument, NULL, O_ALLOW_SHRINK },
	{ "commit",		no_argument, NULL, O_COMMIT },
	{ "delete",		no_argument, NULL, O_DELETE },
	{ "discard",		no_argument, NULL, O_DISCARD },
	{ "in-place",		no_argument, NULL, O_IN_PLACE },
	{ "json",		no_argument, NULL, O_JSON },
	{ "json-in",		no_argument, NULL, O_JSON_IN },
	{ "keep",		required_argument, NULL, O_KEEP },
	{ "keep-newer-than",	required_argument, NULL, O_NEWER },
	{ "lock",		required_argument, NULL, O_LOCK },
	{ "max-delete",		required_argument, NULL, O_MAX_DELETE },
	{ "rollback",		no_argument, NULL, O_ROLLBACK },
	{ "log",		required_argument, NULL, O_LOG },
	{ "stage",		required_argument, NULL, O_STAGE },
	{ "verify",		required_argument, NULL, O_VERIFY },
	{ "for",		required_argument, NULL, O_FOR },
	{ "list",		no_argument, NULL, O_LIST },
	{ "name",		required_argument, NULL, O_NAME },
	{ "newer-than",		required_argument, NULL, O_AGE_NEWER },
	{ "older-than",		required_argument, NULL, O_AGE_OLDER },
	{ "reason",		required_argument, NULL, O_REASON },
	{ "requeue",		required_argument, NULL, O_REQUEUE },
	{ "verdict",		required_argument, NULL, O_VERDICT },
	{ "verdicts",		required_argument, NULL, O_VERDICTS },
	{ NULL, 0, NULL, 0 }
};

/* The options that were seen, as bits. */
#define B_A		0x0001U
#define B_C		0x0002U
#define B_N		0x0004U
#define B_P		0x0008U
#define B_EMPTY		0x0010U
#define B_SHRINK	0x0020U
#define B_COMMIT	0x0040U
#define B_DISCARD	0x0080U
#define B_JSON		0x0100U
#define B_JSON_IN	0x0200U
#define B_KEEP		0x0400U
#define B_NEWER		0x0800U
#define B_STAGE		0x1000U
#define B_LOCK		0x2000U
#define B_VERIFY	0x4000U
#define B_IN_PLACE	0x10000U
#define B_DELETE	0x20000U
#define B_MAX_DELETE	0x40000U
#define B_ROLLBACK	0x80000U
#define B_FOR		0x01000000U
#define B_LIST		0x02000000U
#define B_NAME		0x04000000U
#define B_AGE		0x08000000U
#define B_REASON	0x10000000U
#define B_REQUEUE	0x20000000U
#define B_VERDICT	0x40000000U
#define B_VERDICTS	0x80000000U

/* What goes with what is done. */
static const unsigned int allowed[] = {
	[DO_PUBLISH] = B_C | B_P | B_EMPTY | B_SHRINK | B_JSON | B_JSON_IN |
	    B_STAGE | B_LOCK | B_VERIFY,
	[DO_ARTIFACT] = B_A | B_C | B_JSON | B_JSON_IN | B_STAGE | B_LOCK |
	    B_VERIFY,
	[DO_LOG] = B_JSON,
	[DO_ROLLBACK] = B_JSON | B_LOCK,
	[DO_PRUNE] = B_N | B_JSON | B_KEEP | B_NEWER | B_LOCK,
	[DO_PROBE] = B_JSON | B_LOCK,
	[DO_GC] = B_N | B_JSON | B_KEEP | B_NEWER | B_LOCK,
	[DO_PIN] = B_JSON | B_LOCK | B_REASON | B_LIST,
	[DO_LEASE] = B_JSON | B_LOCK | B_REASON | B_FOR | B_NAME,
	[DO_UNPIN] = B_LOCK,
	[DO_SOURCES] = B_JSON,
	[DO_REBUILD] = B_JSON,
	[DO_QUARANTINE] = B_N | B_JSON | B_LOCK | B_LIST | B_AGE | B_REASON |
	    B_REQUEUE | B_VERDICT | B_VERDICTS,
	[DO_UNQUARANTINE] = B_N | B_JSON | B_LOCK,
	[DO_HOLDS] = B_P | B_JSON | B_VERIFY,
	[DO_COMMIT] = B_COMMIT | B_C | B_STAGE,
	[DO_DISCARD] = B_DISCARD | B_STAGE,
	[DO_IN_PLACE] = B_IN_PLACE | B_C | B_N | B_JSON | B_JSON_IN |
	    B_STAGE | B_LOCK | B_DELETE | B_MAX_DELETE | B_ROLLBACK
};

int
dpub_usage(void)
{
	(void)fputs(USAGE, stderr);
	return MSG_USAGE;
}

/* optarg is none of that option's. */
static int
bad_value(int ch, const char *why)
{
	const struct option	*l = longopts;

	while (l->val != ch)
		l++;
	msg_warn("--%s: %s: %s", l->name, optarg, why);
	return dpub_usage();
}

/* N or N%. */
static int
max_delete(struct dpub_opts *o, const char *s, const char **why)
{
	size_t	 n = strlen(s);
	char	*copy;
	int	 rv;

	o->has_max_delete = 1;
	o->max_percent = n != 0 && s[n - 1] == '%';
	copy = mem_ndup(s, n - (o->max_percent ? 1 : 0));
	rv = num_u64(copy, 0, o->max_percent ? 100 : UINT32_MAX,
	    &o->max_delete, why);
	free(copy);
	return rv;
}

static int
show(const char *s)
{
	if (fputs(s, stdout) == EOF || fflush(stdout) == EOF) {
		msg_warn("stdout: write failed");
		return MSG_IOERR;
	}
	return 0;
}

static int
show_help(void)
{
	int	r = show(help);

	if (r == 0)
		r = show(USAGE);
	return r == 0 ? show(help_options) : r;
}

/* What is done, in the user's words; verbs are what operands may be. */
static const char *const whats[] = {
	[DO_PUBLISH] = "a target",
	[DO_ARTIFACT] = "-a",
	[DO_LOG] = "log",
	[DO_ROLLBACK] = "rollback",
	[DO_PRUNE] = "prune",
	[DO_PROBE] = "probe",
	[DO_GC] = "gc",
	[DO_PIN] = "pin",
	[DO_LEASE] = "lease",
	[DO_UNPIN] = "unpin",
	[DO_SOURCES] = "sources",
	[DO_REBUILD] = "rebuild",
	[DO_QUARANTINE] = "quarantine",
	[DO_UNQUARANTINE] = "unquarantine",
	[DO_HOLDS] = "holds",
	[DO_COMMIT] = "--commit",
	[DO_DISCARD] = "--discard",
	[DO_IN_PLACE] = "--in-place"
};

static int
is_verb(const char *s, enum dpub_what *w)
{
	int	i;

	for (i = DO_LOG; i <= DO_HOLDS; i++)
		if (strcmp(s, whats[i]) == 0) {
			*w = (enum dpub_what)i;
			return 1;
		}
	return 0;
}

/* Options that set a member and mean nothing else. */
enum type { SET, TEXT, COUNT, AGE };
static const struct plain {
	int		 ch;
	unsigned int	 bit;
	enum type	 type;
	size_t		 at;	/* of the member */
	size_t		 has;	/* of its "it was given"; 0 none */
	uint64_t	 least;	/* of a count */
} plain[] = {
#define AT(m)	offsetof(struct dpub_opts, m)
	{ 'c', B_C, TEXT, AT(ckpt), 0, 0 },
	{ 'n', B_N, SET, AT(dry_run), 0, 0 },
	{ 'p', B_P, TEXT, AT(plan), 0, 0 },
	{ O_AGE_NEWER, B_AGE, AGE, AT(age_newer), AT(has_age_newer), 0 },
	{ O_AGE_OLDER, B_AGE, AGE, AT(age_older), AT(has_age_older), 0 },
	{ O_ALLOW_EMPTY, B_EMPTY, SET, AT(allow_empty), 0, 0 },
	{ O_ALLOW_SHRINK, B_SHRINK, COUNT, AT(shrink), AT(has_shrink), 0 },
	{ O_DELETE, B_DELETE, SET, AT(del), 0, 0 },
	{ O_FOR, B_FOR, AGE, AT(lease), 0, 0 },
	{ O_JSON, B_JSON, SET, AT(filter.json), 0, 0 },
	{ O_JSON_IN, B_JSON_IN, SET, AT(filter.json_in), 0, 0 },
	{ O_KEEP, B_KEEP, COUNT, AT(keep), 0, 1 },
	{ O_LIST, B_LIST, SET, AT(list), 0, 0 },
	{ O_LOCK, B_LOCK, TEXT, AT(lock), 0, 0 },
	{ O_NAME, B_NAME, TEXT, AT(name), 0, 0 },
	{ O_NEWER, B_NEWER, AGE, AT(newer), AT(has_newer), 0 },
	{ O_REASON, B_REASON, TEXT, AT(reason), 0, 0 },
	{ O_REQUEUE, B_REQUEUE, TEXT, AT(requeue), 0, 0 },
	{ O_ROLLBACK, B_ROLLBACK, SET, AT(rollback), 0, 0 },
	{ O_STAGE, B_STAGE, TEXT, AT(filter.stage), 0, 0 },
	{ O_VERDICTS, B_VERDICTS, TEXT, AT(verdicts), 0, 0 }
#undef AT
};

static int
plain_option(const struct plain *p, struct dpub_opts *o)
{
	void		*at = (char *)o + p->at, *has = (char *)o + p->has;
	const char	*why;
	int		 r = 0;

	switch (p->type) {
	case SET:
		*(int *)at = 1;
		break;
	case TEXT:
		*(const char **)at = optarg;
		break;
	case COUNT:
		r = num_u64(optarg, p->least, INT64_MAX, at, &why);
		break;
	case AGE:
		r = num_duration(optarg, at, &why);
		break;
	}
	if (r == -1)
		return bad_value(p->ch, why);
	if (p->has != 0)
		*(int *)has = 1;
	return -1;
}

/* Those that say what is done, or are judged here. */
static int
other_option(int ch, struct dpub_opts *o, enum dpub_what *w,
    unsigned int *seen)
{
	const char	*why;

	switch (ch) {
	case 'a':
		o->artifact = optarg;
		*seen |= B_A;
		*w = DO_ARTIFACT;
		break;
	case 'h':
		return show_help();
	case 'v':
		msg_set_verbose(1);
		break;
	case 'V':
		return show("dpublish " MSG_VERSION "\n");
	case O_COMMIT:
		*w = DO_COMMIT;
		*seen |= B_COMMIT;
		break;
	case O_DISCARD:
		*w = DO_DISCARD;
		*seen |= B_DISCARD;
		break;
	case O_IN_PLACE:
		*w = DO_IN_PLACE;
		*seen |= B_IN_PLACE;
		break;
	case O_LOG:
		return msg_log_option(optarg) == -1 ? dpub_usage() : -1;
	case O_MAX_DELETE:
		if (max_delete(o, optarg, &why) == -1)
			return bad_value(ch, why);
		*seen |= B_MAX_DELETE;
		break;
	case O_VERDICT:
		if (check_code_parse(optarg) == CHECK_N &&
		    strcmp(optarg, "operator") != 0)
			return bad_value(ch,
			    "want one of dcheck(1), or operator");
		if (o->n_codes == CHECK_N)
			return dpub_usage();
		o->codes[o->n_codes++] = optarg;
		*seen |= B_VERDICT;
		break;
	case O_VERIFY:
		o->full = strcmp(optarg, "full") == 0;
		if (!o->full && strcmp(optarg, "bytes") != 0)
			return bad_value(ch, "want bytes or full");
		*seen |= B_VERIFY;
		break;
	default:
		return dpub_usage();
	}
	return -1;
}

/* One option: an exit status, or -1 to go on. */
static int
option(int ch, struct dpub_opts *o, enum dpub_what *w, unsigned int *seen)
{
	size_t	i;
	int	status;

	for (i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (plain[i].ch == ch)
			break;
	if (i == sizeof(plain) / sizeof(plain[0]))
		return other_option(ch, o, w, seen);
	*seen |= plain[i].bit;
	status = plain_option(&plain[i], o);
	if (status == -1 && ch == O_FOR && (o->lease == 0 ||
	    o->lease > LEASE_MAX))
		status = bad_value(ch, "want 1s to 365d");
	return status;
}

/* Options that do not go with what is done: the first of them is named. */
static int
stray(unsigned int bits, enum dpub_what w)
{
	static const struct {
		unsigned int	bit;
		int		ch;
	} other[] = { { B_A, 'a' }, { B_COMMIT, O_COMMIT },
	    { B_DISCARD, O_DISCARD }, { B_IN_PLACE, O_IN_PLACE },
	    { B_MAX_DELETE, O_MAX_DELETE }, { B_VERDICT, O_VERDICT },
	    { B_VERIFY, O_VERIFY } };
	const struct option	*l = longopts;
	size_t			 i;
	int			 ch = 0;

	for (i = 0; i < sizeof(other) / sizeof(other[0]); i++)
		if ((bits & other[i].bit) != 0)
			ch = other[i].ch;
	for (i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if ((bits & plain[i].bit) != 0)
			ch = plain[i].ch;
	while (l->val != ch)
		l++;
	msg_warn("--%s: does not go with %s", l->name, whats[w]);
	return dpub_usage();
}

int
dpub_options(int *argc, char ***argv, struct dpub_opts *o,
    enum dpub_what *w)
{
	unsigned int	seen = 0;
	int		ch, status;

	memset(o, 0, sizeof(*o));
	o->keep = 1;
	*w = DO_PUBLISH;
	while ((ch = getopt_long(*argc, *argv, "a:c:hnp:vV", longopts,
	    NULL)) != -1) {
		status = option(ch, o, w, &seen);
		if (status != -1)
			return status;
	}
	*argc -= optind;
	*argv += optind;
	/* a target of a verb's name is written ./log */
	if (*w == DO_PUBLISH && *argc > 0 && is_verb((*argv)[0], w)) {
		(*argc)--;
		(*argv)++;
	}
	if ((seen & ~allowed[*w]) != 0)
		return stray(seen & ~allowed[*w], *w);
	if (*w == DO_PUBLISH && o->plan != NULL && strcmp(o->plan, "-") ==
	    0) {
		msg_warn("-p -: stdin is the stream");
		return dpub_usage();
	}
	return -1;
}
