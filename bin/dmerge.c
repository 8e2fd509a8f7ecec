/*
 * dmerge: checked stores become one, by DESIGN law 4; -o places it.
 * It fetches nothing, and publishes nothing.
 * SPDX-License-Identifier: ISC
 */
#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "ckpt.h"
#include "db.h"
#include "dmerge.h"
#include "dstore.h"
#include "filter.h"
#include "hash.h"
#include "hnsw_build.h"
#include "io.h"
#include "ledger.h"
#include "mem.h"
#include "num.h"
#include "path.h"
#include "sandbox.h"
#include "store.h"
#include "team.h"
#include "ticket.h"
#include "banned.h"

#define BUILT	"built"		/* below the work directory of -o */
#define PROOF_TMP "proof.tmp"	/* of staging: what SQLite spills there */
#define NAMED	20		/* plan lines named one by one */

struct opts {
	struct filter_opts	 f;
	enum store_format	 format;	/* STORE_NONE: the base's */
	const char		*out;		/* -o */
	const char		*plan;		/* -p */
	const char		*ckpt;		/* -c */
	const char		*expect;	/* --expect */
	unsigned int		 threads;	/* 0: as many as there are */
	int			 rebuild;
};

struct merge {
	struct filter	 f;
	struct opts	 o;
	struct join	*j;
	struct plan	 plan;
	struct ckpt	*ckpt;
	struct rec	*base_rec;	/* copy, or NULL */
	struct rec_base	 base;		/* views into base_rec */
	struct manifest	 base_m;
	int		 has_base;
	enum store_format format;	/* of what is written */
	int		 onto;		/* the base is changed in place */
	uint64_t	 inputs, skips;
	char		*out;		/* absolute -o, or NULL */
	char		*parent;	/* its directory */
	int		 parentfd;
	char		*work;		/* absolute work directory, or NULL */
	char		*store;		/* absolute directory of the store */
	double		 started;
	uint64_t	 missing;	/* plan lines, named or not */
};

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
		exit(MSG_IOERR);
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
	if (optind != argc)
		usage();
}

static char *
join(const char *a, const char *b)
{
	struct buf	 s;
	char		*rv;

	buf_init(&s, 16384);
	buf_printf(&s, "%s/%s", a, b);
	rv = mem_dup(buf_cstr(&s));
	buf_free(&s);
	return rv;
}

/* Where the store is built: beside -o DIR, else in staging. */
static int
prepare(struct merge *m, struct err *e)
{
	char	*name = NULL, *slash;
	int	 n;
	char	 store[32];

	if (m->o.out == NULL) {
		for (n = 1; n <= 100; n++) {
			(void)snprintf(store, sizeof(store), "store.%d", n);
			if (mkdirat(m->f.stage.dirfd, store, 0777) == 0) {
				m->store = join(m->f.stage.path, store);
				return 0;
			}
			if (errno != EEXIST)
				break;
		}
		return err_sys(e, errno, "%s/%s", m->f.stage.path, store);
	}
	m->out = path_from_url(m->o.out, e);
	if (m->out == NULL)
		return -1;
	if (strcmp(m->out, "/") == 0)
		return err_set(e, MSG_USAGE, "-o /: want a new directory");
	m->parent = mem_dup(m->out);
	slash = strrchr(m->parent, '/');
	*(slash == m->parent ? slash + 1 : slash) = '\0';
	m->parentfd = open(m->parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (m->parentfd == -1)
		return err_sys(e, errno, "-o %s: %s", m->o.out, m->parent);
	if (stage_work_collect(m->parentfd, e) == -1 ||
	    stage_work_make(&m->f.stage, m->parentfd, &name, e) == -1)
		return -1;
	m->work = join(m->parent, name);
	free(name);
	m->store = join(m->work, BUILT);
	if (mkdir(m->store, 0777) == -1)
		return err_sys(e, errno, "%s", m->store);
	return 0;
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
	path = join(m->f.stage.path, m->base.path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1) {
		err_sys(e, errno, "base: %s", path);
		goto done;
	}
	/* the bytes were proved by dcheck; here the manifest pins them, and
	   join_base and the content digest the rest */
	if (manifest_read(&m->base_m, fd, d, e) == -1 ||
	    manifest_verify(&m->base_m, fd, 0, e) == -1)
		goto done;
	hash_hex(d, hex);
	if (strcmp(hex, m->base.sha256) != 0) {
		err_set(e, MSG_DATAERR, "base %s: %s: want sha256 %s, got %s",
		    m->base.target, MANIFEST_NAME, m->base.sha256, hex);
		goto done;
	}
	m->has_base = 1;
	if (m->format == STORE_NONE)
		m->format = store_format_parse(m->base.format);
	m->onto = m->format == STORE_CHROMA && !m->o.rebuild &&
	    store_format_parse(m->base.format) == STORE_CHROMA;
	rv = join_base(m->j, path, m->base.format, m->onto, e);
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
	file = join(d->path, LEDGER_FILE);
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
	/*
	 * Records that are read anew are digested anew, and join_input holds
	 * them against the content digest that was proved.  A store of ours
	 * brings its digests along: there the bytes themselves are compared.
	 */
	if ((d.content_digest == NULL || brings_digests(m, &d)) &&
	    same_tree(m, &d, e) == -1)
		return -1;
	path = join(m->f.stage.path, d.path);
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
	if (m->o.plan != NULL)
		join_cover(m->j, &m->plan, say_cover, m);
	if (m->inputs == 0 && !m->has_base)
		filter_fail(&m->f, MSG_NOINPUT, "nothing to merge: no input "
		    "and no base");
	return m->f.status == 0 ? 0 : -1;
}

/* What the worker that opens the finished store has to say. */
struct proof {
	int		code;		/* 0, or a status */
	char		text[MSG_ERR_MAX];
	uint64_t	records, tombstones;
	unsigned char	content[HASH_LEN];
};

static void
prove(const char *dir, enum store_format format, const char *tmp,
    struct proof *p)
{
	struct check_summary	s;
	struct check_verdict	v;
	struct err		e = { 0, "" };
	struct sandbox_path	 box[3];
	int			 r;

	memset(&s, 0, sizeof(s));
	memset(&v, 0, sizeof(v));
	memset(p, 0, sizeof(*p));
	box[0].path = dir;
	box[0].write = 0;
	box[1].path = "/dev/urandom";
	box[1].write = 0;
	/* SQLite sorts there what it cannot hold */
	box[2].path = tmp;
	box[2].write = 1;
	db_set_tmpdir(tmp);
	if (sandbox_start(SANDBOX_WORKER, box, 3, &e) != -1) {
		r = check_store(dir, format, CHECK_ALLOW_EMPTY | CHECK_OURS,
		    &s, &v, &e);
		if (r == 1)
			err_set(&e, MSG_SOFTWARE, "the merged store does not "
			    "pass its own check: %s: %s",
			    check_code_name(v.code), v.reason);
	}
	p->code = e.code;
	(void)snprintf(p->text, sizeof(p->text), "%s", e.text);
	p->records = s.records;
	p->tombstones = s.tombstones;
	memcpy(p->content, s.content, HASH_LEN);
	check_summary_clear(&s);
}

/* The store's files, into the manifest; *bytes is their sum. */
static int
list_files(const struct merge *m, struct manifest *man, uint64_t *bytes,
    struct err *e)
{
	struct hash_tree	*t = hash_tree_new();
	unsigned char		 all[HASH_LEN];
	const unsigned char	*d;
	const char		*name;
	uint64_t		 size;
	size_t			 i;
	int			 rv;

	rv = hash_dir(AT_FDCWD, m->store, all, bytes, t, e);
	for (i = 0; rv == 0 && i < hash_tree_count(t); i++) {
		name = hash_tree_get(t, i, &size, &d);
		manifest_add_file(man, name, size, d);
	}
	hash_tree_free(t);
	return rv;
}

/*
 * Open the finished store in a process that knows nothing of how it was
 * made, and compare; its files are digested meanwhile.
 */
static int
verify(struct merge *m, struct manifest *man, const struct join_counts *c,
    uint64_t *bytes, struct err *e)
{
	struct proof	p;
	struct err	gone = { 0, "" };
	char		hex[HASH_HEX], *tmp;
	pid_t		pid;
	int		fd[2], st, listed;
	ssize_t		n;

	if (pipe(fd) == -1)
		return err_sys(e, errno, "pipe");
	tmp = join(m->f.stage.path, PROOF_TMP);
	pid = mkdir(tmp, 0700) == -1 && errno != EEXIST ? -1 : fork();
	if (pid == -1) {
		err_sys(e, errno, "%s, or fork", tmp);
		(void)close(fd[0]);
		(void)close(fd[1]);
		free(tmp);
		return -1;
	}
	if (pid == 0) {
		(void)close(fd[0]);
		prove(m->store, m->format, tmp, &p);
		_exit(io_write(fd[1], &p, sizeof(p)) == -1);
	}
	(void)close(fd[1]);
	listed = list_files(m, man, bytes, e);
	n = listed == 0 ? io_read(fd[0], &p, sizeof(p)) : 0;
	(void)close(fd[0]);
	if (n != (ssize_t)sizeof(p))
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, &st, 0) == -1 && errno == EINTR)
		;
	free(tmp);
	(void)io_rmtree(m->f.stage.dirfd, PROOF_TMP, &gone);
	if (listed == -1)
		return -1;
	if (io_signal() != 0)
		return err_set(e, MSG_PROTOCOL, "stopped by a signal");
	if (n != (ssize_t)sizeof(p))
		return err_set(e, MSG_SOFTWARE,
		    "%s: the worker that checks it died", m->store);
	if (p.code != 0)
		return err_set(e, p.code, "%s", p.text);
	hash_hex(p.content, hex);
	if (strcmp(hex, man->content_digest) != 0 || p.records != c->live ||
	    p.tombstones != c->tombstones)
		return err_set(e, MSG_SOFTWARE, "%s: written %llu records "
		    "with digest %s, read back %llu with %s", m->store,
		    (unsigned long long)c->live, man->content_digest,
		    (unsigned long long)p.records, hex);
	return 0;
}

static int
copy_file(const char *from, const char *to, struct err *e)
{
	uint64_t	size;
	int		in, out, rv = -1;

	in = open(from, O_RDONLY | O_CLOEXEC);
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (in == -1 || out == -1)
		err_sys(e, errno, "%s", in == -1 ? from : to);
	else
		rv = io_copy(in, out, to, NULL, &size, e);
	if (in != -1)
		(void)close(in);
	if (out != -1 && io_close(&out, to, e) == -1)
		rv = -1;
	return rv;
}

/* The directory that the file name lies in, below to. */
static int
make_above(const char *to, const char *name, struct err *e)
{
	const char	*slash = strrchr(name, '/');
	char		*dir, *path;
	int		 rv;

	if (slash == NULL)
		return 0;
	dir = mem_ndup(name, (size_t)(slash - name));
	path = join(to, dir);
	rv = io_mkdirs(path, e);
	free(dir);
	free(path);
	return rv;
}

/*
 * Every file of man from the directory from into to: by link where that
 * can be, or, to be changed there, as copies and without the manifest.
 */
static int
copy_tree(const char *from, const struct manifest *man, const char *to,
    int to_change, struct err *e)
{
	const char	*name;
	char		*a, *b;
	size_t		 i, n = man->n_files + !to_change;
	int		 rv = 0;

	for (i = 0; rv == 0 && i < n; i++) {
		name = i < man->n_files ? man->files[i].name : MANIFEST_NAME;
		if (make_above(to, name, e) == -1)
			return -1;
		a = join(from, name);
		b = join(to, name);
		if (to_change || link(a, b) == -1)
			rv = copy_file(a, b, e);
		free(a);
		free(b);
	}
	return rv;
}

/* A store directory in staging that holds what lies at m->store. */
static int
into_staging(struct merge *m, const struct manifest *man, char **rel,
    struct err *e)
{
	char	store[32], *path;
	int	n, rv;

	*rel = NULL;
	if (m->out == NULL) {
		*rel = mem_dup(path_base(m->store));
		return 0;
	}
	for (n = 1;; n++) {
		(void)snprintf(store, sizeof(store), "store.%d", n);
		if (mkdirat(m->f.stage.dirfd, store, 0777) == 0)
			break;
		if (errno != EEXIST || n >= 100)
			return err_sys(e, errno, "%s/%s", m->f.stage.path,
			    store);
	}
	path = join(m->f.stage.path, store);
	rv = copy_tree(m->store, man, path, 0, e);
	free(path);
	*rel = mem_dup(store);
	return rv;
}

static int
emit(struct merge *m, const struct rec_store *s, uint64_t processed)
{
	struct rec	*r = rec_new("store");
	int		 rv;

	rec_store_put(r, s);
	rec_set_str(r, "intermediate_key", m->out != NULL ? m->out : "");
	rec_set_u64(r, "embeddings_processed", processed);
	rec_set_f64(r, "processing_time", io_now() - m->started);
	rv = filter_put(&m->f, r);
	rec_free(r);
	return rv;
}

static int
place(struct merge *m, struct err *e)
{
	enum stream_mode	mode;

	if (m->out == NULL)
		return 0;
	mode = m->o.f.json ? STREAM_JSON :
	    isatty(STDOUT_FILENO) ? STREAM_TEXT : STREAM_MSGPACK;
	if (ticket_place(&m->f.stage, mode, m->work, m->store, m->out, e) ==
	    -1)
		return -1;
	free(m->work);
	m->work = NULL; /* placed, or the ticket's from now on */
	return 0;
}

static void
totals(struct merge *m, const struct rec_store *s)
{
	filter_count(&m->f, "records", s->records);
	filter_count(&m->f, "tombstones", s->tombstones);
	filter_count(&m->f, "superseded", s->superseded);
}

/* Nothing comes to the base, and it is in the form that is wanted. */
static int
as_it_is(const struct merge *m)
{
	return m->inputs == 0 && !m->o.rebuild &&
	    store_format_parse(m->base.format) == m->format;
}

/* --expect */
static int
expected(const struct merge *m, const char *digest, struct err *e)
{
	if (m->o.expect == NULL || strcmp(m->o.expect, digest) == 0)
		return 0;
	return err_set(e, MSG_DATAERR, "content digest: want %s, got %s",
	    m->o.expect, digest);
}

/* Nothing but a base and skips: the base itself is the answer. */
static int
hand_on(struct merge *m, struct err *e)
{
	struct rec_store	s;
	size_t			i;
	char			*from;
	int			rv;

	memset(&s, 0, sizeof(s));
	s.path = m->base.path;
	s.format = m->base.format;
	s.sha256 = m->base.sha256;
	s.content_digest = m->base.content_digest;
	s.records = m->base_m.records;
	s.tombstones = m->base_m.tombstones;
	s.unchanged = 1;
	if (expected(m, s.content_digest, e) == -1)
		return -1;
	for (i = 0; i < m->base_m.n_files; i++)
		s.bytes += m->base_m.files[i].size;
	if (m->out != NULL) {
		from = join(m->f.stage.path, m->base.path);
		rv = copy_tree(from, &m->base_m, m->store, 0, e);
		free(from);
		if (rv == -1)
			return -1;
	}
	if (place(m, e) == -1)
		return -1;
	totals(m, &s);
	return emit(m, &s, 0);
}

/* The join, into the directory m->store. */
static int
write_store(struct merge *m, struct manifest *man, struct join_counts *c,
    struct err *e)
{
	struct join_out	 o;
	char		*path = NULL, *from;
	int		 rv = 0;

	o.format = m->format;
	o.onto = m->onto;
	o.threads = m->o.threads != 0 ? m->o.threads : team_processors();
	o.path = m->store;
	if (m->format == STORE_SQLITE)
		o.path = path = join(m->store, DSTORE_FILE);
	if (m->onto) {
		from = join(m->f.stage.path, m->base.path);
		rv = copy_tree(from, &m->base_m, m->store, 1, e);
		free(from);
	}
	if (rv == 0)
		rv = join_write(m->j, &o, man, c, e);
	free(path);
	return rv;
}

static int
build(struct merge *m, struct err *e)
{
	struct rec_store	 s;
	struct join_counts	 c;
	struct manifest		 man;
	unsigned char		 d[HASH_LEN];
	char			 hex[HASH_HEX], *rel = NULL;
	int			 fd = -1, rv = -1;

	memset(&man, 0, sizeof(man));
	memset(&s, 0, sizeof(s));
	if (write_store(m, &man, &c, e) == -1)
		goto done;
	if (c.index.linked != 0)
		msg_info("index: %llu elements linked, %.2f s cpu",
		    (unsigned long long)c.index.linked, c.index.cpu);
	if (m->has_base) {
		man.parent = mem_dup(m->base.version);
		memcpy(man.parent_digest, m->base.content_digest, HASH_HEX);
		if (c.base_live != m->base.records) {
			err_set(e, MSG_DATAERR, "base %s: want %llu records, "
			    "got %llu", m->base.target,
			    (unsigned long long)m->base.records,
			    (unsigned long long)c.base_live);
			goto done;
		}
	}
	if (verify(m, &man, &c, &s.bytes, e) == -1 ||
	    expected(m, man.content_digest, e) == -1)
		goto done;
	fd = open(m->store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1) {
		err_sys(e, errno, "%s", m->store);
		goto done;
	}
	if (manifest_write(&man, fd, d, e) == -1)
		goto done;
	hash_hex(d, hex);
	if (into_staging(m, &man, &rel, e) == -1 || place(m, e) == -1)
		goto done;
	s.path = rel;
	s.format = man.format;
	s.sha256 = hex;
	s.content_digest = man.content_digest;
	s.records = c.live;
	s.tombstones = c.tombstones;
	s.superseded = c.superseded;
	s.inserted = c.inserted;
	s.replaced = c.replaced;
	s.deleted = c.deleted;
	s.merged = m->inputs;
	totals(m, &s);
	rv = emit(m, &s, c.from_inputs);
done:
	if (fd != -1)
		(void)close(fd);
	free(rel);
	manifest_clear(&man);
	return rv;
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
	if (prepare(m, &e) == -1 || confine(m, &e) == -1)
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
	if ((as_it_is(m) ? hand_on(m, &e) : build(m, &e)) == -1) {
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
