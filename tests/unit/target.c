/*
 * target: what no pipeline shows: ids made in one instant, claims of the
 * dead and of other hosts, a commit that was taken.
 * SPDX-License-Identifier: ISC
 */
#include "target.h"

#include <sys/stat.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "manifest.h"
#include "mem.h"
#include "tap.h"
#include "banned.h"

#define N 1000

static int
cmp(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void
ids(void)
{
	static char	v[N][TARGET_VERSION_MAX];
	char		id[TARGET_VERSION_MAX];
	struct err	e = { 0, "" };
	int		i, same = 0, bad = 0;

	for (i = 0; i < N; i++) {
		if (target_version_id(v[i], i > 0 ? v[i - 1] : NULL, &e) ||
		    !target_version_ok(v[i]))
			bad++;
		if (i > 0 && strcmp(v[i], v[i - 1]) <= 0)
			bad++;
	}
	tap_ok(bad == 0, "%d ids, each sorts after the one before", N);
	for (i = 0; i < N; i++)
		if (target_version_id(v[i], NULL, &e) == -1)
			bad++;
	qsort(v, N, sizeof(v[0]), cmp);
	for (i = 1; i < N; i++)
		same += strcmp(v[i], v[i - 1]) == 0;
	tap_ok(bad == 0 && same == 0, "%d ids of nobody are unique", N);
	tap_ok(target_version_id(id, "29991231T235959.999999Z-ffffffff",
	    &e) == 0 && strncmp(id, "30000101T000000.000000Z", 23) == 0,
	    "a clock that is behind carries into the year: %s", id);
	tap_ok(target_version_id(id, "24000229T235959.999999Z-ffffffff",
	    &e) == 0 && strncmp(id, "24000301T000000.000000Z", 23) == 0,
	    "and past a leap day: %s", id);
	tap_ok(!target_version_ok("") && !target_version_ok("..") &&
	    !target_version_ok("20261120T161248.123456Z-0123ABCD") &&
	    !target_version_ok("20261120T161248.123456Z-0123abcd/") &&
	    !target_version_ok("20261320T161248.123456Z-0123abcd") &&
	    target_version_ok("20261120T161248.123456Z-0123abcd"),
	    "what is no version id is none");
}

/* A store directory with one file; its manifest into *m and d. */
static int
store(int top, struct manifest *m, unsigned char d[HASH_LEN], struct err *e)
{
	unsigned char	sum[HASH_LEN];
	uint64_t	sz;
	int		dir, fd;

	memset(m, 0, sizeof(*m));
	if (mkdirat(top, "store", 0700) == -1)
		return -1;
	dir = openat(top, "store", O_RDONLY | O_DIRECTORY);
	fd = openat(dir, "store.sqlite3", O_WRONLY | O_CREAT, 0600);
	if (dir == -1 || fd == -1 || io_write(fd, "bytes", 5) == -1)
		return -1;
	(void)close(fd);
	m->format = mem_dup("sqlite");
	memset(m->content_digest, 'a', HASH_HEX - 1);
	m->records = 1;
	if (hash_file(dir, "store.sqlite3", sum, &sz, e) == -1)
		return -1;
	manifest_add_file(m, "store.sqlite3", sz, sum);
	if (manifest_write(m, dir, d, e) == -1)
		return -1;
	return dir;
}

static void
fill(struct target_commit *c, uint64_t g, const char *version,
    const char *run, const unsigned char d[HASH_LEN])
{
	memset(c, 0, sizeof(*c));
	c->generation = g;
	c->version = mem_dup(version);
	(void)snprintf(c->run, sizeof(c->run), "%s", run);
	hash_hex(d, c->manifest_sha256);
	memset(c->content_digest, 'a', HASH_HEX - 1);
	c->format = mem_dup("sqlite");
	c->kind = mem_dup("publish");
	c->records = 1;
	c->created = (int64_t)1700000000123456 * 1000;
}

static void
count(void *arg, const struct target_left *l)
{
	(void)l;
	(*(unsigned int *)arg)++;
}

static int
sweep(struct target *t, uint64_t age, unsigned int *n, struct err *e)
{
	*n = 0;
	return target_collect(t, age, 0, count, n, e);
}

static int
exists(int fd, const char *name)
{
	return faccessat(fd, name, F_OK, 0) == 0;
}

static void
owner(int fd, const char *run, const char *host, int64_t created)
{
	char	name[256], text[512];
	int	f;

	(void)snprintf(name, sizeof(name), "staging/%s", run);
	(void)mkdirat(fd, name, 0777);
	(void)snprintf(name, sizeof(name), "staging/%s/owner", run);
	(void)snprintf(text, sizeof(text), "{\"host\":\"%s\",\"run\":\"%s\","
	    "\"staging\":\"/nowhere\",\"created_ns\":%lld}\n", host, run,
	    (long long)created);
	f = openat(fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (f == -1 || io_write(f, text, strlen(text)) == -1)
		tap_ok(0, "owner");
	(void)close(f);
}

static void
life(const char *dir, int top)
{
	struct err		 e = { 0, "" };
	struct target		*t;
	struct target_upload	*u, *w;
	struct target_commit	 c, got, won;
	struct manifest		 m;
	unsigned char		 d[HASH_LEN];
	char			 v1[TARGET_VERSION_MAX], path[2048];
	char			 ptr[TARGET_VERSION_MAX];
	unsigned int		 n;
	struct target_opts	 is = { 0, NULL, NULL, 0 };
	struct target_opts	 make = { 1, NULL, NULL, 0 };
	struct target_claim	 first = { NULL, 1, NULL, NULL };
	struct target_claim	 none = { NULL, 0, NULL, NULL };
	int			 sfd, fd;

	first.version = v1;
	(void)snprintf(path, sizeof(path), "%s/T", dir);
	tap_ok(target_open(path, &is, &e) == NULL && e.code == MSG_NOINPUT,
	    "a target that is not there is 66");
	e.code = 0;
	t = target_open(path, &make, &e);
	fd = openat(top, "T", O_RDONLY | O_DIRECTORY);
	sfd = store(top, &m, d, &e);
	tap_ok(t != NULL && fd != -1 && sfd != -1 &&
	    target_head(t, &got, &e) == 0, "a new one holds nothing");

	/* a first publisher that dies between its upload and its commit */
	(void)target_version_id(v1, NULL, &e);
	u = target_begin(t, NULL, "dead", &first, &e);
	tap_ok(u != NULL && target_put(u, sfd, &m, d, 1, &e) == 0 &&
	    target_has(t, v1, &e) == 1, "an upload comes to lie there");
	tap_ok(target_head(t, &got, &e) == 0,
	    "and without a commit it is no version");
	tap_ok(sweep(t, 0, &n, &e) == 0 && n == 0 &&
	    target_has(t, v1, &e) == 1, "the living are not swept");
	target_upload_free(u);
	tap_ok(target_head(t, &got, &e) == 0,
	    "what a dead first publisher left is no version either");
	tap_ok(sweep(t, 0, &n, &e) == 0 && n == 1 &&
	    target_has(t, v1, &e) == 0 && !exists(fd, "staging/dead"),
	    "and is swept");

	u = target_begin(t, NULL, "one", &first, &e);
	w = target_begin(t, NULL, "one", &none, &e);
	tap_ok(u != NULL && w != NULL && strcmp(target_upload_name(u),
	    target_upload_name(w)) != 0, "two claims of one run");
	(void)target_finish(w, &e);
	target_upload_free(w);
	fill(&c, 1, v1, "one", d);
	tap_ok(target_commit(u, &c, &won, &e) == -1 &&
	    e.code == MSG_TEMPFAIL && target_newest(t, &got, &e) == 0,
	    "a version that does not lie there is not committed");
	e.code = 0;
	tap_ok(target_put(u, sfd, &m, d, 1, &e) == 0 &&
	    target_commit(u, &c, &won, &e) == 0, "one that does is");
	tap_ok(target_commit(u, &c, &won, &e) == 0,
	    "and asking again says that it is ours");
	tap_ok(target_commit_get(t, 1, &got, &e) == 1 &&
	    strcmp(got.version, v1) == 0 && got.created == c.created &&
	    got.records == 1 && got.parent == NULL &&
	    strcmp(got.run, "one") == 0, "what was written is read");
	target_commit_clear(&got);
	tap_ok(target_pointer(t, ptr, &e) == 0 && target_advance(u, &e) == 1
	    && target_advance(u, &e) == 0 && target_pointer(t, ptr, &e) == 1
	    && strcmp(ptr, v1) == 0, "the pointer is made, once");
	target_commit_clear(&c);
	fill(&c, 1, v1, "two", d);
	tap_ok(target_commit(u, &c, &won, &e) == 1 &&
	    strcmp(won.run, "one") == 0, "another run does not get it");
	target_commit_clear(&won);
	target_commit_clear(&c);
	fill(&c, 3, v1, "two", d);
	tap_ok(target_commit(u, &c, NULL, &e) == -1 &&
	    e.code == MSG_NOINPUT, "nor one that leaves a generation out");
	e.code = 0;
	target_upload_free(u);
	tap_ok(sweep(t, 0, &n, &e) == 0 && n == 1 &&
	    target_has(t, v1, &e) == 1,
	    "who died after its commit leaves its version");
	target_commit_clear(&c);

	owner(fd, "far", "elsewhere.invalid", io_wall_ns() -
	    (int64_t)7200 * 1000000000);
	(void)mkdirat(fd, "staging/bare", 0777);
	tap_ok(sweep(t, 0, &n, &e) == 0 && n == 1 &&
	    exists(fd, "staging/far") && !exists(fd, "staging/bare"),
	    "another host's claim stays, one without an owner goes");
	tap_ok(sweep(t, 10000, &n, &e) == 0 && n == 0 &&
	    sweep(t, 3600, &n, &e) == 0 && n == 1 &&
	    !exists(fd, "staging/far"), "until it is old");
	tap_ok(target_resume(t, "gone", &e) == NULL &&
	    e.code == MSG_NOINPUT, "a claim that is gone is 66");
	e.code = 0;
	tap_ok(target_resume(t, "../x", &e) == NULL && e.code == MSG_USAGE,
	    "a claim of a bad name is 64");
	e.code = 0;
	tap_ok(target_fetch(t, v1, top, "copy", &e) == 0 &&
	    exists(top, "copy/manifest.json") &&
	    exists(top, "copy/store.sqlite3"), "a version is fetched");
	tap_ok(target_verify(t, v1, &e) == 0, "and is whole");
	(void)snprintf(path, sizeof(path), "timestamped/%s/store.sqlite3",
	    v1);
	(void)unlinkat(fd, path, 0);
	tap_ok(target_fetch(t, v1, top, "copy2", &e) == -1 &&
	    e.code != 0 && !exists(top, "copy2"),
	    "one that is not leaves nothing: %s", e.text);
	manifest_clear(&m);
	target_close(t);
}

int
main(void)
{
	char		 dir[1024];
	const char	*tmp = getenv("TMPDIR");
	struct err	 e = { 0, "" };
	int		 top;

	msg_init("target");
	tap_plan(28);
	ids();
	(void)snprintf(dir, sizeof(dir), "%s/target.XXXXXX",
	    tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(dir) == NULL)
		return 99;
	top = open(dir, O_RDONLY | O_DIRECTORY);
	life(dir, top);
	(void)io_rmtree(AT_FDCWD, dir, &e);
	return tap_done();
}
