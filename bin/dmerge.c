/*
 * dmerge: checked stores become one, by DESIGN law 4; -o places it.  Here is
 * how it is called and what comes down the stream.
 * It fetches nothing, and publishes nothing.
 * SPDX-License-Identifier: ISC
 */
#include "dmerge_run.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "db.h"
#include "hash.h"
#include "hnsw_build.h"
#include "io.h"
#include "ledger.h"
#include "mem.h"
#include "num.h"
#include "path.h"
#include "sandbox.h"
#include "spare.h"
#include "ticket.h"
#include "banned.h"

static const char usage_text[] =
    "usage: dmerge [-hVv] [-F sqlite | chroma] [-o DIR] [-p PLAN] [-c DB]\n"
    "              [--expect DIGEST] [--json] [--json-in] [--log FORMAT]\n"
    "              [--rebuild] [--stage DIR] [--threads N]\n";

static const char help_text[] =
    "examples:\n"
    "  drun 'dfetch -B /srv/t deltas/ | dcheck | dmerge | dpublish /srv/t'\n"
    "  dfetch deltas/ | dcheck | dmerge -o merged --json\n"
    "  dfetch -b /srv/t parts/ | dcheck | dmerge -p plan | dpublish /srv/t\n"
    "\n"
    "Merges the base and the checked inputs of the stream into one store.\n"
    "\n"
    "  -F, --format FORMAT  write sqlite, or chroma (else the base's format)\n"
    "  -o, --output DIR     place the store as DIR, whole or not at all\n"
    "  -p, --plan PLAN      refuse unless exactly PLAN's inputs are in it\n"
    "  -c, --checkpoint DB  note the chunk in this checkpoint database\n"
    "      --expect DIGEST  refuse a store with another content digest\n"
    "      --json           write JSON lines\n"
    "      --json-in        read JSON lines\n"
    "      --log FORMAT     on stderr: text or json\n"
    "      --rebuild        chroma: make it anew, not onto the base's files\n"
    "      --stage DIR      staging directory (else DSTAGE, else hello's)\n"
    "      --threads N      that build an index (else one per processor)\n"
    "  -v, --verbose        say more on stderr\n"
    "  -h, --help           this text\n"
    "  -V, --version        the version\n";

static void
usage(void)
{
	(void)fputs(usage_text, stderr);
	exit(MSG_USAGE);
}

static void
show(const char *a, const char *b)
{
	if (fputs(a, stdout) == EOF || fputs(b, stdout) == EOF ||
	    fflush(stdout) == EOF)
		msg_die(MSG_IOERR, "stdout: %s", strerror(errno));
	exit(0);
}

static void
options(int argc, char *argv[], struct opts *o)
{
	enum { EXPECT = 256, JSON, JSON_IN, LOG, REBUILD, STAGE, THREADS };
	static const struct option	longs[] = {
		{ "format", required_argument, NULL, 'F' },
		{ "output", required_argument, NULL, 'o' },
		{ "plan", required_argument, NULL, 'p' },
		{ "checkpoint", required_argument, NULL, 'c' },
		{ "expect", required_argument, NULL, EXPECT },
		{ "json", no_argument, NULL, JSON },
		{ "json-in", no_argument, NULL, JSON_IN },
		{ "log", required_argument, NULL, LOG },
		{ "rebuild", no_argument, NULL, REBUILD },
		{ "stage", required_argument, NULL, STAGE },
		{ "threads", required_argument, NULL, THREADS },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 }
	};
	unsigned char	 d[HASH_LEN];
	const char	*why;
	uint64_t	 n;
	int		 ch;

	memset(o, 0, sizeof(*o));
	while ((ch = getopt_long(argc, argv, "F:c:ho:p:vV", longs, NULL)) !=
	    -1) {
		switch (ch) {
		case 'F':
			o->format = store_format_parse(optarg);
			if (o->format != STORE_SQLITE &&
			    o->format != STORE_CHROMA)
				msg_die(MSG_USAGE, "-F %s: want sqlite or "
				    "chroma", optarg);
			break;
		case 'c':
			o->ckpt = optarg;
			break;
		case 'h':
			show(help_text, usage_text);
			break;
		case 'o':
			o->out = optarg;
			break;
		case 'p':
			o->plan = optarg;
			break;
		case 'v':
			msg_set_verbose(1);
			break;
		case 'V':
			show("dmerge ", MSG_VERSION "\n");
			break;
		case EXPECT:
			if (hash_unhex(optarg, d) == -1)
				msg_die(MSG_USAGE, "--expect %s: want 64 "
				    "lower-case hex digits", optarg);
			o->expect = optarg;
			break;
		case JSON:
			o->f.json = 1;
			break;
		case JSON_IN:
			o->f.json_in = 1;
			break;
		case LOG:
			if (msg_log_option(optarg) == -1)
				usage();
			break;
		case REBUILD:
			o->rebuild = 1;
			break;
		case STAGE:
			o->f.stage = optarg;
			break;
		case THREADS:
			if (num_u64(optarg, 1, HNSW_THREADS_MAX, &n, &why) ==
			    -1)
				msg_die(MSG_USAGE, "--threads %s: %s: want 1 "
				    "to %u", optarg, why, HNSW_THREADS_MAX);
			o->threads = (unsigned int)n;
			break;
		default:
			usage();
		}
	}
	if (optind != argc) {
		msg_warn("%s: want no operand: inputs are what the stream on "
		    "stdin names", argv[optind]);
		usage();
	}
}

/* From here on: staging, the place of -o, and nothing else. */
static int
confine(const struct merge *m, struct err *e)
{
	struct sandbox_path	v[5];
	char			*db = NULL, *slash, *above;
	const char		*c;
	size_t			 n = 0;
	int			 rv;

	c = m->o.ckpt != NULL ? m->o.ckpt : getenv("DCKPT_DB");
	v[n].path = m->f.stage.path;
	v[n++].write = 1;
	if (m->parent != NULL) {
		v[n].path = m->parent;
		v[n++].write = 1;
	}
	if (m->ckpt != NULL && c != NULL) {
		db = path_from_url(c, e);
		if (db == NULL)
			return -1;
		slash = strrchr(db, '/');
		*(slash == db ? slash + 1 : slash) = '\0';
		v[n].path = db;
		v[n++].write = 1;
	}
	v[n].path = "/dev/urandom";
	v[n++].write = 0;
	/* the staging itself goes at the end, when this stage is the last */
	above = mem_dup(m->f.stage.path);
	*strrchr(above, '/') = '\0';
	v[n].path = *above != '\0' ? above : "/";
	v[n++].write = 2;
	/* libcrypto and SQLite load what they need before the door shuts */
	hash_free(hash_new());
	rv = sandbox_start(SANDBOX_STAGE, v, n, e);
	free(db);
	free(above);
	return rv == -1 ? -1 : 0;
}

/* The base's records will be wanted: it takes its place before the inputs. */
static int
open_base(struct merge *m, struct err *e)
{
	char	*path;
	int	 rv;

	path = merge_path(m->f.stage.path, m->base.path);
	rv = join_base(m->j, path, m->base.format, m->onto, e);
	free(path);
	return rv;
}

/* Whoever left it unread thought that nothing would come to it. */
static int
need_base(struct merge *m, struct err *e)
{
	if (!m->unread)
		return 0;
	return merge_prove_base(m, e) == -1 ? -1 : open_base(m, e);
}

static int
take_base(struct merge *m, const struct rec *r, struct err *e)
{
	unsigned char	 d[HASH_LEN];
	char		 hex[HASH_HEX], *path;
	int		 fd, rv = -1;

	if (m->base_rec != NULL)
		return err_set(e, MSG_PROTOCOL, "stream: a second base");
	if (m->inputs != 0)
		return err_set(e, MSG_PROTOCOL, "stream: the base must come "
		    "before the inputs");
	m->base_rec = rec_copy(r);
	if (rec_base_get(m->base_rec, &m->base, e) == -1)
		return -1;
	if (m->base.none)
		return 0;
	if (m->base.verdict == NULL)
		return err_set(e, MSG_PROTOCOL, "base %s: not checked: put "
		    "dcheck before dmerge", m->base.target);
	path = merge_path(m->f.stage.path, m->base.path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1) {
		err_sys(e, errno, "base: %s", path);
		goto done;
	}
	/* the bytes were proved by dcheck, or will be by merge_prove_base;
	   here the manifest pins them, and join_base and the content digest
	   the rest */
	if (manifest_read(&m->base_m, fd, d, e) == -1 || (!m->base.left &&
	    manifest_verify(&m->base_m, fd, 0, e) == -1))
		goto done;
	hash_hex(d, hex);
	if (strcmp(hex, m->base.sha256) != 0) {
		err_set(e, MSG_DATAERR, "base %s: %s: want sha256 %s, got %s",
		    m->base.target, MANIFEST_NAME, m->base.sha256, hex);
		goto done;
	}
	m->has_base = 1;
	m->unread = strcmp(m->base.verdict, REC_UNREAD) == 0;
	if (m->format == STORE_NONE)
		m->format = store_format_parse(m->base.format);
	m->onto = m->format == STORE_CHROMA && !m->o.rebuild &&
	    store_format_parse(m->base.format) == STORE_CHROMA;
	rv = m->unread ? 0 : open_base(m, e);
done:
	if (fd != -1)
		(void)close(fd);
	free(path);
	return rv;
}

/* What dcheck left at the path is still what lies there. */
static int
same_tree(const struct merge *m, const struct rec_delta *d, struct err *e)
{
	struct stat	st;
	unsigned char	got[HASH_LEN];
	char		hex[HASH_HEX];
	int		r;

	if (fstatat(m->f.stage.dirfd, d->path, &st, AT_SYMLINK_NOFOLLOW) ==
	    -1)
		return err_sys(e, errno, "%s: %s", d->url, d->path);
	if (S_ISDIR(st.st_mode))
		r = hash_dir(m->f.stage.dirfd, d->path, got, NULL, NULL, e);
	else
		r = hash_file(m->f.stage.dirfd, d->path, got, NULL, e);
	if (r == -1)
		return -1;
	hash_hex(got, hex);
	if (strcmp(hex, d->tree) != 0)
		return err_set(e, MSG_DATAERR, "%s: changed in staging since "
		    "it was checked: want %s, got %s", d->url, d->tree, hex);
	return 0;
}

/* Is it a store of ours, in either form? */
static int
brings_digests(const struct merge *m, const struct rec_delta *d)
{
	struct stat	st;
	char		*file;
	int		 rv;

	if (strcmp(d->format, "sqlite") == 0)
		return 1;
	file = merge_path(d->path, LEDGER_FILE);
	rv = fstatat(m->f.stage.dirfd, file, &st, AT_SYMLINK_NOFOLLOW) == 0;
	free(file);
	return rv;
}

static int
take_delta(struct merge *m, const struct rec *r, struct err *e)
{
	struct rec_delta	 d;
	char			*path;
	int			 rv;

	if (rec_delta_get(r, &d, e) == -1)
		return -1;
	if (d.verdict == NULL)
		return err_set(e, MSG_PROTOCOL, "%s: not checked: put dcheck "
		    "before dmerge", d.url);
	if (need_base(m, e) == -1)
		return -1;
	/*
	 * Records that are read anew are digested anew, and join_input holds
	 * them against the content digest that was proved.  A store of ours
	 * brings its digests along: there the bytes themselves are compared.
	 */
	if ((d.content_digest == NULL || brings_digests(m, &d)) &&
	    same_tree(m, &d, e) == -1)
		return -1;
	path = merge_path(m->f.stage.path, d.path);
	rv = join_input(m->j, &d, path, e);
	free(path);
	if (rv == 0) {
		m->inputs++;
		filter_count(&m->f, "merged", 1);
	}
	return rv;
}

static int
take_skip(struct merge *m, const struct rec *r, struct err *e)
{
	struct rec_skip	s;

	if (rec_skip_get(r, &s, e) == -1)
		return -1;
	if (!m->has_base || manifest_source(&m->base_m, s.sha256) == NULL)
		return err_set(e, MSG_PROTOCOL, "%s: skipped, but the base "
		    "does not hold %s", s.url, s.sha256);
	join_skip(m->j, &s);
	m->skips++;
	return 0;
}

static int
take(struct merge *m, const struct rec *r, struct err *e)
{
	const char	*t = rec_type(r);

	if (strcmp(t, "base") == 0)
		return take_base(m, r, e);
	if (strcmp(t, "delta") == 0)
		return take_delta(m, r, e);
	if (strcmp(t, "skip") == 0)
		return take_skip(m, r, e);
	return 0;
}

static void
say_cover(void *arg, int status, const char *url)
{
	struct merge	*m = arg;

	if (status == MSG_NOINPUT)
		filter_fail(&m->f, status, "%s: planned in %s, but not "
		    "merged", url, m->o.plan);
	else
		filter_fail(&m->f, status, "%s: merged, but not planned in "
		    "%s", url, m->o.plan);
}

/* Law 2: what was promised upstream is what came. */
static int
conserve(struct merge *m)
{
	static const char *const	keys[] = { "fetched", "checked" };
	struct err			e = { 0, "" };
	size_t				i;

	for (i = 0; i < 2; i++)
		if (rec_has(m->f.totals, keys[i]) &&
		    filter_total(&m->f, keys[i]) != m->inputs) {
			filter_fail(&m->f, MSG_PROTOCOL, "%llu inputs %s "
			    "upstream, %llu arrived to be merged",
			    (unsigned long long)filter_total(&m->f, keys[i]),
			    keys[i], (unsigned long long)m->inputs);
			return -1;
		}
	if (rec_has(m->f.totals, "skipped") &&
	    filter_total(&m->f, "skipped") != m->skips) {
		filter_fail(&m->f, MSG_PROTOCOL, "%llu inputs skipped "
		    "upstream, %llu skip records arrived",
		    (unsigned long long)filter_total(&m->f, "skipped"),
		    (unsigned long long)m->skips);
		return -1;
	}
	if (m->o.plan != NULL && m->unread &&
	    join_holds(m->j, &m->base_m, &e) == -1)
		filter_fail_err(&m->f, &e);
	if (m->o.plan != NULL)
		join_cover(m->j, &m->plan, say_cover, m);
	if (m->inputs == 0 && !m->has_base)
		filter_fail(&m->f, MSG_NOINPUT, "nothing to merge: no input "
		    "and no base");
	return m->f.status == 0 ? 0 : -1;
}

static int
note(struct merge *m, int done, struct err *e)
{
	if (m->ckpt == NULL || m->out == NULL)
		return 0;
	if (done)
		return ckpt_done(m->ckpt, CKPT_CHUNK, m->out, NULL,
		    m->f.stage.run, e) == -1 || ckpt_finish(m->ckpt,
		    m->f.stage.run, NULL, e) == -1 ? -1 : 0;
	return ckpt_start(m->ckpt, CKPT_CHUNK, m->out, NULL, m->f.stage.run,
	    e) == -1 ? -1 : 0;
}

static void
run(struct merge *m)
{
	const struct rec	*r;
	struct err		 e = { 0, "" };

	if (m->o.plan != NULL && plan_read(&m->plan, m->o.plan, &e) == -1)
		goto fail;
	m->ckpt = ckpt_open(m->o.ckpt, CKPT_CREATE, &e);
	if (m->ckpt == NULL && e.code != 0)
		goto fail;
	if (merge_prepare(m, &e) == -1 || confine(m, &e) == -1)
		goto fail;
	db_set_tmpdir(m->f.stage.path);
	m->j = join_new(m->f.stage.path);
	m->format = m->o.format;
	if (note(m, 0, &e) == -1)
		goto fail;
	while (filter_ok(&m->f) && filter_next(&m->f, &r) == 1) {
		if (take(m, r, &e) == -1 ||
		    ckpt_beat(m->ckpt, m->f.stage.run, &e) == -1)
			goto fail;
		if (filter_put(&m->f, r) == -1)
			return;
		if (stream_reader_gone(m->f.out)) {
			e.code = MSG_PROTOCOL;
			goto fail;
		}
	}
	if (!filter_ok(&m->f) || conserve(m) == -1)
		return;
	if (m->format == STORE_NONE)
		m->format = STORE_SQLITE;
	if ((merge_as_it_is(m) ? merge_hand_on(m, &e) :
	    need_base(m, &e) == -1 ? -1 : merge_build(m, &e)) == -1) {
		if (e.code != 0)
			goto fail;
		return;
	}
	if (ticket_wanted() == 0 && note(m, 1, &e) == -1)
		goto fail;
	return;
fail:
	filter_fail_err(&m->f, &e);
}

static void
tidy(struct merge *m)
{
	struct err	e = { 0, "" };

	if (m->work != NULL && io_rmtree(m->parentfd, path_base(m->work),
	    &e) == -1)
		msg_err(&e);
	if (m->f.status != 0 && m->ckpt != NULL && m->out != NULL) {
		e.code = 0;
		if (ckpt_fail(m->ckpt, CKPT_CHUNK, m->out, m->f.stage.run,
		    m->f.status, NULL, m->f.n_reasons != 0 ?
		    m->f.reasons[0] : "", &e) == -1)
			msg_err(&e);
	}
	ckpt_close(m->ckpt);
	join_free(m->j);
	plan_clear(&m->plan);
	manifest_clear(&m->base_m);
	rec_free(m->base_rec);
	if (m->parentfd != -1)
		(void)close(m->parentfd);
	free(m->out);
	free(m->parent);
	free(m->work);
	free(m->store);
}

/*
 * A page of a mapped index that the file system cannot give room for after
 * all, which a shared extent may need when it is written to.
 */
static void
no_page(int sig)
{
	static const char	text[] = "dmerge: no space behind a mapped "
				    "index file: free some, run again\n";

	(void)sig;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) == -1)
		_exit(MSG_IOERR);
	_exit(MSG_IOERR);
}

int
main(int argc, char *argv[])
{
	static struct merge	m;
	struct sigaction	bus;

	msg_init("dmerge");
	options(argc, argv, &m.o);
	spare_tell(merge_spares(&m.o));
	m.started = io_now();
	m.parentfd = -1;
	io_catch_signals();
	memset(&bus, 0, sizeof(bus));
	bus.sa_handler = no_page;
	(void)sigaction(SIGBUS, &bus, NULL);
	plan_init(&m.plan);
	if (filter_open(&m.f, &m.o.f) == 0)
		run(&m);
	tidy(&m);
	return filter_finish(&m.f, filter_last());
}
