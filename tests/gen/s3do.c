/*
 * s3do: the calls of s3.h from a shell, for tests alone.  Keys are bytes
 * of the command line; what it prints of them is encoded as in URLs.
 *
 *	s3do [-ancx] [-i ETAG] [-k N] [-P N] [-p PROFILE]
 *	    [-r RANGE] VERB s3://bucket/key [ARG ...]
 *
 * make URL		create the bucket
 * list URL		size, ETag and key of each, a line each
 * head URL		status, length, ETag
 * get URL FILE		the object (with -r, a part of it), into FILE
 * put URL FILE		-n: If-None-Match: *, -i: If-Match; -c: checksum
 * mput URL FILE SIZE	in parts of SIZE bytes, -P at once; -k: dies of
 *			SIGKILL after N parts; an upload that is under way
 *			is gone on with
 * del URL [KEY ...]	one, or a batch
 * uploads URL		those that are under way
 * abort URL		all of them
 * parts URL		of each upload of the key
 * probe URL		EXCLUDES IGNORES LACKS RACES
 * race URL N		N conditional writes at once: how many won
 * fill URL N		N empty objects, URL0 and so on
 * sum URL		SHA-256 of the bytes that a GET brings
 *
 * s3do -: such commands from stdin, a line each, words apart by tabs; after
 * what one prints comes a line "."; the first that fails ends it.  One
 * process for a thousand objects: tests/real/S3do.pm.
 *
 * -x prints "STATUS CODE OUTCOME" of what failed, on stdout.
 * SPDX-License-Identifier: ISC
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ckpt.h"
#include "cred.h"
#include "hash.h"
#include "io.h"
#include "mem.h"
#include "num.h"
#include "retry.h"
#include "s3.h"
#include "banned.h"

#define MAX_PARTS 10000
#define MAX_WORDS 8	/* of a line of stdin */

static struct s3	*s3;
static struct net	*net;
static unsigned int	 parallel = 4, kill_after, flags;
static const char	*if_match, *range;
static int		 anonymous, tell;

static void
die(const struct err *e, const struct s3_res *r)
{
	static const char *const names[] = { "DONE", "REFUSED", "TAKEN",
		"UNKNOWN" };

	if (tell && r != NULL)
		(void)printf("%d %s %s\n", r->status,
		    r->code[0] != '\0' ? r->code : "-", names[r->outcome]);
	(void)fflush(stdout);
	msg_err(e);
	exit(e->code != 0 ? e->code : MSG_SOFTWARE);
}

static void
print_key(const char *key)
{
	struct buf	b;

	buf_init(&b, 8192);
	sign_encode(&b, key, 1);
	(void)printf("%s\n", buf_cstr(&b));
	buf_free(&b);
}

static int
on_object(void *arg, const struct s3_object *o, struct err *e)
{
	(void)arg;
	(void)e;
	if (o->is_prefix)
		(void)printf("prefix ");
	else
		(void)printf("%llu %s ", (unsigned long long)o->size,
		    o->etag != NULL ? o->etag : "-");
	print_key(o->key);
	return 0;
}

static int
to_fd(void *arg, int status, const void *p, size_t n, struct err *e)
{
	(void)status;
	if (io_write(*(int *)arg, p, n) == -1)
		return err_set(e, MSG_IOERR, "cannot write");
	return 0;
}

static void
get(const char *bucket, const char *key, const char *file)
{
	struct s3_req	q;
	struct s3_res	r;
	struct err	e = { 0, "" };
	int		fd;

	fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (fd == -1)
		exit(MSG_IOERR);
	memset(&q, 0, sizeof(q));
	q.method = "GET";
	q.bucket = bucket;
	q.key = key;
	q.fd = -1;
	q.max = UINT64_MAX;
	q.range = range;
	q.if_match = if_match;
	q.sink = to_fd;
	q.arg = &fd;
	if (s3_do(s3, &q, &r, &e) == -1)
		die(&e, &r);
	(void)printf("%d %llu\n", r.status, (unsigned long long)r.bytes);
	s3_res_clear(&r);
	(void)close(fd);
}

static int
to_hash(void *arg, int status, const void *p, size_t n, struct err *e)
{
	(void)status;
	(void)e;
	hash_add(arg, p, n);
	return 0;
}

static void
sum(const char *bucket, const char *key)
{
	unsigned char	d[HASH_LEN];
	char		hex[HASH_HEX];
	struct s3_req	q;
	struct s3_res	r;
	struct err	e = { 0, "" };
	struct hash	*h = hash_new();

	memset(&q, 0, sizeof(q));
	q.method = "GET";
	q.bucket = bucket;
	q.key = key;
	q.fd = -1;
	q.max = UINT64_MAX;
	q.sink = to_hash;
	q.arg = h;
	if (s3_do(s3, &q, &r, &e) == -1)
		die(&e, &r);
	s3_res_clear(&r);
	hash_final(h, d);
	hash_free(h);
	hash_hex(d, hex);
	(void)printf("%s\n", hex);
}

static void
put(const char *bucket, const char *key, const char *file)
{
	struct s3_req	q;
	struct s3_res	r;
	struct stat	st;
	struct err	e = { 0, "" };
	const char	*meta[] = { "x-amz-meta-of:  a   test ", NULL };
	int		fd = open(file, O_RDONLY);

	if (fd == -1 || fstat(fd, &st) == -1)
		exit(MSG_NOINPUT);
	memset(&q, 0, sizeof(q));
	q.method = "PUT";
	q.bucket = bucket;
	q.key = key;
	q.headers = meta;
	q.fd = fd;
	q.n = (uint64_t)st.st_size;
	q.flags = flags;
	q.if_match = if_match;
	if (s3_do(s3, &q, &r, &e) == -1)
		die(&e, &r);
	(void)printf("%d %s %s\n", r.status, r.etag != NULL ? r.etag : "-",
	    r.sha256 != NULL ? "echoed" : "-");
	s3_res_clear(&r);
	(void)close(fd);
}

/*
 * Multipart.
 */

struct mput;
struct slot {
	struct mput		*m;
	unsigned int		 part;
	char			 number[8];
	struct sign_param	 query[2];
};
struct mput {
	struct s3_part		*v;
	unsigned int		 n, done, next, running;
	const char		*bucket, *key;
	char			*id;
	uint64_t		 size, each;
	int			 fd;
	struct err		 e;
};

static void
on_part(void *arg, const struct s3_res *r, const struct err *e)
{
	struct slot	*slot = arg;
	struct mput	*m = slot->m;
	struct s3_part	*p = &m->v[slot->part - 1];

	m->running--;
	if (e != NULL) {
		if (m->e.code == 0)
			m->e = *e;
	} else if (r->etag != NULL)
		(void)snprintf(p->etag, sizeof(p->etag), "%s", r->etag);
	m->done++;
	if (kill_after > 0 && m->done == kill_after)
		(void)kill(getpid(), SIGKILL);
	free(slot);
}

static int
on_upload(void *arg, const struct s3_upload *u, struct err *e)
{
	struct mput	*m = arg;

	(void)e;
	if (m->id == NULL && strcmp(u->key, m->key) == 0)
		m->id = mem_dup(u->id);
	return 0;
}

static int
on_have(void *arg, const struct s3_part *p, struct err *e)
{
	struct mput	*m = arg;

	(void)e;
	if (p->number <= m->n && (p->size == m->each || p->number == m->n))
		m->v[p->number - 1] = *p;
	return 0;
}

static void
start_parts(struct mput *m)
{
	struct s3_req	 q;
	struct slot	*slot;

	for (; m->next < m->n && m->running < parallel; m->next++) {
		if (m->v[m->next].etag[0] != '\0')
			continue;
		slot = mem_zero(1, sizeof(*slot));
		slot->m = m;
		slot->part = m->next + 1;
		m->v[m->next].number = slot->part;
		s3_part_req(&q, m->bucket, m->key, m->id, slot->part,
		    slot->number, slot->query);
		q.fd = m->fd;
		q.off = m->next * m->each;
		q.n = m->size - q.off < m->each ? m->size - q.off : m->each;
		if (s3_start(s3, &q, on_part, slot, &m->e) == -1)
			die(&m->e, NULL);
		m->running++;
	}
}

static void
mput(const char *bucket, const char *key, const char *file, const char *size)
{
	struct mput	 m;
	struct s3_res	 r;
	struct stat	 st;
	struct err	 e = { 0, "" };
	const char	*why;
	unsigned int	 had = 0, i;

	memset(&m, 0, sizeof(m));
	m.bucket = bucket;
	m.key = key;
	m.fd = open(file, O_RDONLY);
	if (m.fd == -1 || fstat(m.fd, &st) == -1 ||
	    num_size(size, &m.each, &why) == -1 || m.each == 0)
		exit(MSG_NOINPUT);
	m.size = (uint64_t)st.st_size;
	m.n = (unsigned int)((m.size + m.each - 1) / m.each);
	if (m.n == 0 || m.n > MAX_PARTS)
		exit(MSG_USAGE);
	m.v = mem_zero(m.n, sizeof(*m.v));
	if (s3_mp_list(s3, bucket, key, on_upload, &m, &e) == -1)
		die(&e, NULL);
	if (m.id == NULL)
		m.id = s3_mp_create(s3, bucket, key, NULL, &e);
	else if (s3_mp_parts(s3, bucket, key, m.id, on_have, &m, &e) == -1)
		die(&e, NULL);
	if (m.id == NULL)
		die(&e, NULL);
	for (i = 0; i < m.n; i++)
		had += m.v[i].etag[0] != '\0';
	do {
		start_parts(&m);
		if (m.running > 0 && net_wait(net, 1000, &e) == -1)
			die(&e, NULL);
		if (m.e.code != 0)
			die(&m.e, NULL);
	} while (m.running > 0 || m.next < m.n);
	if (s3_mp_complete(s3, bucket, key, m.id, m.v, m.n, flags, &r, &e) ==
	    -1)
		die(&e, &r);
	(void)printf("%u parts, %u were there\n", m.n, had);
	s3_res_clear(&r);
	free(m.v);
	free(m.id);
	(void)close(m.fd);
}

static int
print_upload(void *arg, const struct s3_upload *u, struct err *e)
{
	(void)arg;
	(void)e;
	(void)printf("%s ", u->initiated > 0 ? "dated" : "-");
	print_key(u->key);
	return 0;
}

static int
abort_upload(void *arg, const struct s3_upload *u, struct err *e)
{
	return s3_mp_abort(s3, arg, u->key, u->id, e);
}

static int
print_part(void *arg, const struct s3_part *p, struct err *e)
{
	(void)arg;
	(void)e;
	(void)printf("%u %llu %s\n", p->number, (unsigned long long)p->size,
	    p->etag);
	return 0;
}

static const char	*parts_key;

static int
print_parts(void *arg, const struct s3_upload *u, struct err *e)
{
	if (strcmp(u->key, parts_key) != 0)
		return 0;
	return s3_mp_parts(s3, arg, u->key, u->id, print_part, NULL, e);
}

static void
on_bad(void *arg, const char *key, const char *code)
{
	(void)arg;
	(void)printf("%s ", code);
	print_key(key);
}

/*
 * The rest.
 */

static unsigned int	won, told, others;

static void
on_racer(void *arg, const struct s3_res *r, const struct err *e)
{
	(void)arg;
	if (e == NULL)
		won++;
	else if (r->outcome == S3_TAKEN)
		told++;
	else
		others++;
}

static void
race(const char *bucket, const char *key, unsigned int n)
{
	struct s3_req	q;
	struct err	e = { 0, "" };
	unsigned int	i;

	for (i = 0; i < n; i++) {
		memset(&q, 0, sizeof(q));
		q.method = "PUT";
		q.bucket = bucket;
		q.key = key;
		q.body = &i;
		q.n = 0;
		q.flags = S3_IF_NONE;
		if (s3_start(s3, &q, on_racer, NULL, &e) == -1)
			die(&e, NULL);
	}
	while (net_running(net) > 0)
		if (net_wait(net, 1000, &e) == -1)
			die(&e, NULL);
	(void)printf("%u won, %u told, %u other\n", won, told, others);
}

static void
fill(const char *bucket, const char *key, unsigned int n)
{
	char		(*keys)[S3_KEY_MAX] = mem_zero(n, sizeof(*keys));
	struct s3_req	q;
	struct err	e = { 0, "" };
	unsigned int	i;

	for (i = 0; i < n; i++) {
		(void)snprintf(keys[i], sizeof(keys[i]), "%s%u", key, i);
		memset(&q, 0, sizeof(q));
		q.method = "PUT";
		q.bucket = bucket;
		q.key = keys[i];
		q.fd = -1;
		if (s3_start(s3, &q, on_racer, NULL, &e) == -1)
			die(&e, NULL);
	}
	while (net_running(net) > 0)
		if (net_wait(net, 1000, &e) == -1)
			die(&e, NULL);
	(void)printf("%u\n", won);
	free(keys);
}

static void
run(const char *verb, const char *bucket, const char *key, int argc,
    char **argv)
{
	static const char *const names[] = { "EXCLUDES", "IGNORES", "LACKS",
		"RACES" };
	enum s3_excludes	 x;
	struct s3_req		 q;
	struct s3_res		 r;
	struct err		 e = { 0, "" };

	if (strcmp(verb, "make") == 0) {
		memset(&q, 0, sizeof(q));
		q.method = "PUT";
		q.bucket = bucket;
		q.fd = -1;
		if (s3_do(s3, &q, &r, &e) == -1)
			die(&e, &r);
		s3_res_clear(&r);
	} else if (strcmp(verb, "list") == 0) {
		if (s3_list(s3, bucket, key, argc > 0 ? argv[0] : NULL, NULL,
		    on_object, NULL, &e) == -1)
			die(&e, NULL);
	} else if (strcmp(verb, "head") == 0) {
		if (s3_head(s3, bucket, key, &r, &e) == -1)
			die(&e, &r);
		(void)printf("%d %lld %s\n", r.status, (long long)r.length,
		    r.etag != NULL ? r.etag : "-");
		s3_res_clear(&r);
	} else if (strcmp(verb, "get") == 0 && argc == 1)
		get(bucket, key, argv[0]);
	else if (strcmp(verb, "sum") == 0 && argc == 0)
		sum(bucket, key);
	else if (strcmp(verb, "put") == 0 && argc == 1)
		put(bucket, key, argv[0]);
	else if (strcmp(verb, "mput") == 0 && argc == 2)
		mput(bucket, key, argv[0], argv[1]);
	else if (strcmp(verb, "del") == 0 && argc == 0) {
		if (s3_delete(s3, bucket, key, &e) == -1)
			die(&e, NULL);
	} else if (strcmp(verb, "del") == 0) {
		if (s3_delete_many(s3, bucket, (const char *const *)argv,
		    (size_t)argc, on_bad, NULL, &e) != 0)
			die(&e, NULL);
	} else if (strcmp(verb, "uploads") == 0) {
		if (s3_mp_list(s3, bucket, key, print_upload, NULL, &e) == -1)
			die(&e, NULL);
	} else if (strcmp(verb, "abort") == 0) {
		if (s3_mp_list(s3, bucket, key, abort_upload,
		    (void *)(size_t)bucket, &e) == -1)
			die(&e, NULL);
	} else if (strcmp(verb, "parts") == 0) {
		parts_key = key;
		if (s3_mp_list(s3, bucket, key, print_parts,
		    (void *)(size_t)bucket, &e) == -1)
			die(&e, NULL);
	} else if (strcmp(verb, "probe") == 0) {
		if (s3_probe(s3, bucket, key, &x, &e) == -1)
			die(&e, NULL);
		(void)printf("%s\n", names[x]);
	} else if (strcmp(verb, "race") == 0 && argc == 1)
		race(bucket, key, (unsigned int)strtoul(argv[0], NULL, 10));
	else if (strcmp(verb, "fill") == 0 && argc == 1)
		fill(bucket, key, (unsigned int)strtoul(argv[0], NULL, 10));
	else
		msg_die(MSG_USAGE, "%s: no such verb, or its operands",
		    verb);
}

/* One command: a verb, a URL and what else the verb takes. */
static void
command(int argc, char **argv)
{
	struct err	 e = { 0, "" };
	char		*bucket = NULL, *key = NULL;

	if (s3_url(argv[1], &bucket, &key, &e) == -1)
		die(&e, NULL);
	run(argv[0], bucket, key, argc - 2, argv + 2);
	free(bucket);
	free(key);
}

/* The commands of stdin, and when each of them is done. */
static void
commands(void)
{
	char	*line = NULL, *words[MAX_WORDS + 1], *p;
	size_t	 size = 0;
	ssize_t	 len;
	int	 n;

	while ((len = getline(&line, &size, stdin)) != -1) {
		if (len > 0 && line[len - 1] == '\n')
			line[len - 1] = '\0';
		for (n = 0, p = line; p != NULL && n < MAX_WORDS; n++) {
			words[n] = p;
			p = strchr(p, '\t');
			if (p != NULL)
				*p++ = '\0';
		}
		words[n] = NULL;
		if (n < 2 || p != NULL)
			msg_die(MSG_USAGE, "%s: want a verb and a URL",
			    line);
		command(n, words);
		(void)printf(".\n");
		(void)fflush(stdout);
	}
	free(line);
}

int
main(int argc, char **argv)
{
	struct cred_conf	 conf;
	struct net_opts		 o = { 32, NULL, "s3do" };
	struct retry		*retry;
	struct ckpt		*ckpt;
	struct err		 e = { 0, "" };
	const char		*profile = NULL;
	int			 c, all;

	msg_init("s3do");
	io_catch_signals();
	while ((c = getopt(argc, argv, "anci:k:P:p:r:x")) != -1)
		switch (c) {
		case 'a':
			anonymous = 1;
			break;
		case 'n':
			flags |= S3_IF_NONE;
			break;
		case 'c':
			flags |= S3_CHECKSUM;
			break;
		case 'i':
			if_match = optarg;
			break;
		case 'k':
			kill_after = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'P':
			parallel = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'p':
			profile = optarg;
			break;
		case 'r':
			range = optarg;
			break;
		case 'x':
			tell = 1;
			break;
		default:
			return MSG_USAGE;
		}
	all = argc - optind == 1 && strcmp(argv[optind], "-") == 0;
	if (!all && argc - optind < 2)
		return MSG_USAGE;
	ckpt = ckpt_open(NULL, CKPT_CREATE, &e);
	if (e.code != 0 || cred_conf_load(&conf, profile, &e) == -1)
		die(&e, NULL);
	o.ca_file = conf.ca_bundle;
	if ((net = net_new(&o, &e)) == NULL)
		die(&e, NULL);
	retry = retry_new(ckpt, 0);
	if ((s3 = s3_new(net, &conf, !anonymous, retry, &e)) == NULL)
		die(&e, NULL);
	if (all)
		commands();
	else
		command(argc - optind, argv + optind);
	s3_free(s3);
	retry_free(retry);
	net_free(net);
	ckpt_close(ckpt);
	cred_conf_clear(&conf);
	return fflush(stdout) == EOF ? MSG_IOERR : 0;
}
