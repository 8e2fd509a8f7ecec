/*
 * genrun: what dfetch, dcheck and dmerge would have handed to dpublish:
 * a staging directory with a store merged onto a target's current version,
 * and the stream that goes with it, as JSON lines.  For tests alone: each
 * source holds one record, and everything follows from the sources' names;
 * one that is called big... has a document of 8,000,000 bytes.
 *
 *	genrun [-BeSuW] [-d n] [-D NAME] [-g n] [-k NAME] [-K NAME] [-s n]
 *	    [-X NAME] TARGET STAGE [NAME ...]
 *
 * -B no base record; -D NAME given but left out of the store; -X NAME in
 * the store but not given; -k NAME a skip record; -K NAME a base's source
 * left out; -e no end; -u the base handed on unchanged; -W wrong version of
 * the stream; -d n deletions claimed; -s n records left out; -g n say that
 * the base is that generation; -S a source more than the store has.
 * SPDX-License-Identifier: ISC
 */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dstore.h"
#include "hash.h"
#include "io.h"
#include "manifest.h"
#include "mem.h"
#include "path.h"
#include "rec.h"
#include "target.h"
#include "banned.h"

#define MAX 4096
#define BIG 8000000

static struct item_source	src[MAX];
static size_t			n_src;

static void
die(const struct err *e)
{
	msg_err(e);
	exit(e->code != 0 ? e->code : MSG_SOFTWARE);
}

static void
sha_of(const char *name, char out[HASH_HEX])
{
	struct hash	*h = hash_new();
	unsigned char	 d[HASH_LEN];

	hash_add(h, name, strlen(name));
	hash_final(h, d);
	hash_hex(d, out);
	hash_free(h);
}

static void
url_of(const char *name, char *out, size_t sz)
{
	(void)snprintf(out, sz, "/deltas/%s", name);
}

static void
add_source(const char *name, int64_t seq)
{
	struct item_source	*s = &src[n_src];
	char			 url[512];
	size_t			 i;

	for (i = 0; i < n_src; i++)
		if (strcmp(path_base(src[i].url), name) == 0)
			return;
	if (n_src == MAX)
		exit(70);
	n_src++;
	url_of(name, url, sizeof(url));
	memset(s, 0, sizeof(*s));
	sha_of(name, s->sha256);
	s->url = mem_dup(url);
	s->size = strlen(name);
	s->seq = seq;
	s->records = 1;
}

static int
cmp_src(const void *a, const void *b)
{
	const struct item_source	*x = a, *y = b;

	return strcmp(x->sha256, y->sha256);
}

static int
cmp_idx(const void *a, const void *b)
{
	const struct item_source	*x = &src[*(const size_t *)a];
	const struct item_source	*y = &src[*(const size_t *)b];

	return strcmp(path_base(x->url), path_base(y->url));
}

/* The document of a record: one that no page of a file has twice. */
static void
add_doc(struct item *it, char *buf)
{
	uint32_t	x = (uint32_t)it->id[it->id_len - 1] * 2654435761U + 1;
	size_t		i;

	if (strncmp(it->id, "big", 3) != 0)
		return;
	for (i = 0; i < BIG; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		buf[i] = (char)('a' + x % 26);
	}
	it->doc = buf;
	it->doc_len = BIG;
}

/* One record a source, but for the last `less` ones. */
static uint64_t
make_store(const char *dir, size_t less, char content[HASH_HEX],
    struct err *e)
{
	static size_t		 idx[MAX];
	struct item_coll	 coll;
	struct dstore_writer	*w;
	struct hash		*rh = hash_new(), *ch = hash_new();
	struct item		 it;
	unsigned char		 d[HASH_LEN];
	char			 file[1100], *doc = mem_alloc(BIG);
	float			 vec[4];
	size_t			 i, live;

	memset(&coll, 0, sizeof(coll));
	coll.name = mem_dup("lines");
	coll.dim = 4;
	coll.space = ITEM_L2;
	coll.space_known = 1;
	qsort(src, n_src, sizeof(*src), cmp_src);
	for (i = 0; i < n_src; i++)
		idx[i] = i;
	qsort(idx, n_src, sizeof(*idx), cmp_idx);
	live = n_src > less ? n_src - less : 0;
	(void)snprintf(file, sizeof(file), "%s/" DSTORE_FILE, dir);
	w = dstore_create(file, &coll, 1, src, n_src, e);
	if (w == NULL)
		die(e);
	item_content_start(ch);
	for (i = 0; i < live; i++) {
		memset(&it, 0, sizeof(it));
		it.id = path_base(src[idx[i]].url);
		it.id_len = strlen(it.id);
		vec[0] = (float)it.id_len;
		vec[1] = (float)it.id[0];
		vec[2] = vec[3] = 0.5f;
		it.vec = vec;
		it.meta = "{}";
		it.meta_len = 2;
		add_doc(&it, doc);
		it.seq = src[idx[i]].seq;
		it.src = (int)idx[i];
		item_digest(rh, coll.name, coll.dim, &it);
		item_content_add(ch, coll.name, &it);
		if (dstore_put(w, &it, e) == -1)
			die(e);
	}
	hash_final(ch, d);
	hash_hex(d, content);
	if (dstore_finish(w, content, e) == -1)
		die(e);
	hash_free(rh);
	hash_free(ch);
	free(doc);
	free(coll.name);
	return live;
}

static void
put(struct rec *r)
{
	struct buf	b;

	buf_init(&b, REC_MAX);
	rec_to_json(r, &b);
	buf_addc(&b, '\n');
	if (fwrite(b.p, 1, b.len, stdout) != b.len)
		exit(74);
	buf_free(&b);
	rec_free(r);
}

static void
put_input(const char *type, const char *name)
{
	struct rec	*r = rec_new(type);
	char		 url[512], sha[HASH_HEX];

	url_of(name, url, sizeof(url));
	sha_of(name, sha);
	rec_set_str(r, "url", url);
	rec_set_str(r, "sha256", sha);
	if (strcmp(type, "skip") == 0)
		rec_set_str(r, "why", "digest");
	else {
		rec_set_str(r, "kind", "file");
		rec_set_str(r, "path", "in/x");
		rec_set_u64(r, "size", 1);
		rec_set_i64(r, "seq", 1);
		rec_set_str(r, "verdict", "ok");
		rec_set_str(r, "format", "batch");
		rec_set_str(r, "tree", sha);
		rec_set_u64(r, "records", 1);
		rec_set_u64(r, "tombstones", 0);
	}
	put(r);
}

int
main(int argc, char **argv)
{
	struct err		 e = { 0, "" };
	struct target_commit	 head;
	struct target		*t;
	struct manifest		 m, base;
	struct stat		 st;
	struct target_opts	 how = { 0, NULL, NULL, 0 };
	unsigned char		 d[HASH_LEN];
	char			 dir[1024], hex[HASH_HEX], content[HASH_HEX];
	const char		*omit = NULL, *extra = NULL, *skip = NULL;
	const char		*lose = NULL, *stage, *run;
	unsigned long		 less = 0, gen = 0, deleted = 0;
	uint64_t		 records, sz;
	int			 no_base = 0, no_end = 0, same = 0, wrong = 0;
	int			 ch, fd, have = 0, i, more = 0;
	struct rec		*r, *totals;
	size_t			 k;

	msg_init("genrun");
	memset(&head, 0, sizeof(head));
	memset(&m, 0, sizeof(m));
	memset(&base, 0, sizeof(base));
	while ((ch = getopt(argc, argv, "BSed:D:g:k:K:s:uWX:")) != -1)
		switch (ch) {
		case 'B': no_base = 1; break;
		case 'S': more = 1; break;
		case 'e': no_end = 1; break;
		case 'd': deleted = strtoul(optarg, NULL, 10); break;
		case 'D': omit = optarg; break;
		case 'g': gen = strtoul(optarg, NULL, 10); break;
		case 'k': skip = optarg; break;
		case 'K': lose = optarg; break;
		case 's': less = strtoul(optarg, NULL, 10); break;
		case 'u': same = 1; break;
		case 'W': wrong = 1; break;
		case 'X': extra = optarg; break;
		default: return 64;
		}
	argc -= optind;
	argv += optind;
	if (argc < 2)
		return 64;
	stage = argv[1];
	run = path_base(stage) + strlen("intact.");
	if (mkdir(stage, 0700) == -1)
		return 73;
	(void)snprintf(dir, sizeof(dir), "%s/lock", stage);
	fd = open(dir, O_WRONLY | O_CREAT, 0600);
	(void)close(fd);

	if (!path_is_local(argv[0]) || stat(argv[0], &st) == 0) {
		t = target_open(argv[0], &how, &e);
		have = t == NULL ? -1 : target_head(t, &head, &e);
		if (have == -1)
			die(&e);
		(void)snprintf(dir, sizeof(dir), "%s/base", stage);
		if (have && (target_manifest(t, head.version, &base, NULL,
		    &e) == -1 || target_fetch(t, head.version, AT_FDCWD, dir,
		    &e) == -1))
			die(&e);
		target_close(t);
	}
	for (k = 0; k < base.n_sources; k++)
		if (lose == NULL || strcmp(lose,
		    path_base(base.sources[k].url)) != 0)
			add_source(path_base(base.sources[k].url),
			    base.sources[k].seq);
	for (i = 2; i < argc; i++)
		add_source(argv[i], i);
	if (extra != NULL)
		add_source(extra, 1000);

	r = rec_new("hello");
	rec_set_u64(r, "v", wrong ? 99 : 1);
	rec_set_str(r, "prog", "genrun");
	rec_set_str(r, "run", run);
	put(r);
	if (!no_base) {
		char	*abs = path_is_local(argv[0]) ?
			    path_from_url(argv[0], &e) : mem_dup(argv[0]);

		r = rec_new("base");
		rec_set_str(r, "target", abs);
		rec_set_bool(r, "none", !have);
		if (have) {
			rec_set_str(r, "version", head.version);
			rec_set_u64(r, "generation", gen != 0 ? gen :
			    head.generation);
			rec_set_str(r, "path", "base");
			rec_set_str(r, "sha256", head.manifest_sha256);
			rec_set_str(r, "format", head.format);
			rec_set_u64(r, "records", head.records);
			rec_set_str(r, "content_digest",
			    head.content_digest);
			rec_set_str(r, "verdict", "ok");
		}
		put(r);
		free(abs);
	}
	for (i = 2; i < argc; i++)
		put_input("delta", argv[i]);
	if (omit != NULL)
		put_input("delta", omit);
	if (skip != NULL)
		put_input("skip", skip);
	if (more)
		put_input("later", "x");

	(void)snprintf(dir, sizeof(dir), "%s/%s", stage,
	    same ? "base" : "store");
	if (!same) {
		if (mkdir(dir, 0700) == -1)
			return 74;
		records = make_store(dir, less, content, &e);
		fd = open(dir, O_RDONLY | O_DIRECTORY);
		m.format = mem_dup("sqlite");
		memcpy(m.content_digest, content, HASH_HEX);
		m.records = records;
		if (hash_file(fd, DSTORE_FILE, d, &sz, &e) == -1)
			die(&e);
		manifest_add_file(&m, DSTORE_FILE, sz, d);
		for (k = 0; k < n_src; k++)
			manifest_add_source(&m, &src[k]);
		if (manifest_write(&m, fd, d, &e) == -1)
			die(&e);
		(void)close(fd);
	} else {
		fd = open(dir, O_RDONLY | O_DIRECTORY);
		if (manifest_read(&m, fd, d, &e) == -1)
			die(&e);
		(void)close(fd);
	}
	hash_hex(d, hex);
	r = rec_new("store");
	rec_set_str(r, "path", same ? "base" : "store");
	rec_set_str(r, "format", "sqlite");
	rec_set_str(r, "sha256", hex);
	rec_set_str(r, "content_digest", m.content_digest);
	rec_set_u64(r, "records", m.records);
	rec_set_u64(r, "tombstones", 0);
	rec_set_u64(r, "superseded", 0);
	rec_set_u64(r, "inserted", 0);
	rec_set_u64(r, "replaced", 0);
	rec_set_u64(r, "deleted", deleted);
	rec_set_u64(r, "merged", (uint64_t)(argc - 2));
	rec_set_u64(r, "bytes", 1);
	rec_set_bool(r, "unchanged", same);
	put(r);
	if (!no_end) {
		r = rec_new("end");
		totals = rec_map();
		rec_set_u64(totals, "merged", (uint64_t)(argc - 2));
		rec_set_map(r, "totals", totals);
		put(r);
		rec_free(totals);
	}
	manifest_clear(&m);
	manifest_clear(&base);
	target_commit_clear(&head);
	return fflush(stdout) == EOF ? 74 : 0;
}
