/*
 * target_s3_odd: a target on S3 whose server has no dates, no conditions,
 * or no rights for us; that loses claims; that is a whole bucket; and the
 * operator's lock.
 * SPDX-License-Identifier: ISC
 */
#include "nth.h"

#include <sys/stat.h>

#include <fcntl.h>

#include "buf.h"
#include "hash.h"
#include "io.h"
#include "manifest.h"
#include "mem.h"
#include "script.h"
#include "tap.h"
#include "target.h"

#define ERROR(code) "<Error><Code>" code "</Code></Error>"
#define V1	"20260101T000000.000000Z-00000001"

static struct target	*t;
static struct err	 err;
static int		 topfd;
static char		 top[1024];
static struct manifest	 m;
static unsigned char	 digest[HASH_LEN];

static void
refused(int rv, int code, const char *words, const char *what)
{
	if (!tap_ok(rv == -1 && err.code == code &&
	    strstr(err.text, words) != NULL, "%s: %d", what, code))
		printf("# returned %d, code %d: %s\n", rv, err.code,
		    err.text);
	memset(&err, 0, sizeof(err));
}

/* A target anew, with a breaker that knows nothing. */
static void
fresh(const char *url, const char *lock)
{
	struct target_opts	o = { 0, lock, NULL, 2 };

	target_close(t);
	script_clear();
	memset(&err, 0, sizeof(err));
	t = target_open(url, &o, &err);
	if (t == NULL) {
		printf("# %s\n", err.text);
		_exit(98);
	}
}

static void
opening(void)
{
	struct target_opts	o = { 0, NULL, NULL, 0 };
	char			url[700] = "s3://bucket/";

	refused(target_open("s3:///x", &o, &err) == NULL ? -1 : 0, MSG_USAGE,
	    "bucket: want", "no bucket");
	memset(url + 12, 'p', 600);
	refused(target_open(url, &o, &err) == NULL ? -1 : 0, MSG_USAGE,
	    "prefix too long", "a prefix");
	(void)setenv("AWS_ENDPOINT_URL_S3", "ftp://x", 1);
	refused(target_open("s3://bucket/p", &o, &err) == NULL ? -1 : 0,
	    MSG_USAGE, "endpoint", "an endpoint");
	(void)setenv("AWS_ENDPOINT_URL_S3", script_url, 1);
	refused(target_open("gopher://x", &o, &err) == NULL ? -1 : 0,
	    MSG_USAGE, "not a target", "another scheme");
}

static char	names[256];

static int
on_name(const char *name, void *arg)
{
	(void)snprintf(names + strlen(names), sizeof(names) - strlen(names),
	    "%s,", name);
	return arg != NULL ? -1 : 0;
}

static void
reading(void)
{
#define KEY(k) "<Contents><Key>" k "</Key></Contents>"
	struct buf	b;
	int64_t		age = 0;
	int		stop = 1;

	fresh("s3://bucket/p", NULL);
	on("GET", "", "200 OK", "", "<ListBucketResult>" KEY("p/commits/")
	    KEY("p/commits/.x") KEY("p/commits/1.json")
	    KEY("p/commits/2.json") "</ListBucketResult>");
	tap_ok(t->ops->list(t->impl, "commits", on_name, NULL, &err) == 0 &&
	    strcmp(names, "1.json,2.json,") == 0,
	    "names, but the directory's own and what is hidden: %s", names);
	names[0] = '\0';
	tap_ok(t->ops->list(t->impl, "commits", on_name, &stop, &err) == 0 &&
	    strcmp(names, "1.json,") == 0, "or the first of them");
	script_clear();
	on("HEAD", "", "200 OK", "", "");
	refused(target_note_age(t, "staging/x/owner", &age, &err),
	    MSG_DATAERR, "no Date or no Last-Modified", "without a clock");
	script_clear();
	on("HEAD", "", "200 OK", "Date: Thu, 01 Jan 2026 00:01:00 GMT\r\n"
	    "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n", "");
	tap_ok(target_note_age(t, "staging/x/owner", &age, &err) == 1 &&
	    age == 60, "an age by the server's clock: %lld",
	    (long long)age);
	script_clear();
	on("", "", "403 No", "", ERROR("AccessDenied"));
	refused(target_has(t, V1, &err), MSG_NOPERM, "403", "no right");
	script_clear();
	on("", "", "404 No", "", ERROR("NoSuchBucket"));
	buf_init(&b, 100);
	refused(target_object(t, "x", &b, &err), MSG_NOINPUT, "NoSuchBucket",
	    "a bucket that is not there is not an empty one");
	buf_free(&b);
}

static int
replace(const char *text)
{
	int	unsure = 0;

	return t->ops->replace(t->impl, "staging/x", "latest-pointer.txt",
	    text, strlen(text), &unsure, &err);
}

static void
see(const char *etag)
{
	struct buf	b;
	char		more[64];

	fresh("s3://bucket/p", NULL);
	(void)snprintf(more, sizeof(more), "ETag: \"%s\"\r\n", etag);
	once("GET", "latest-pointer", "200 OK", more, "old");
	buf_init(&b, 100);
	(void)target_object(t, "latest-pointer.txt", &b, &err);
	buf_free(&b);
}

static void
replacing(void)
{
	see("a");
	tap_ok(replace("new") == 0 && strcmp(http_value(web.seen->last[1],
	    "If-Match"), "a") == 0, "replaced, if it is what was seen");
	see("a");
	on("PUT", "", "412 No", "", ERROR("PreconditionFailed"));
	on("HEAD", "", "200 OK", "ETag: \"b\"\r\n", "");
	tap_ok(replace("new") == 1 && asked("PUT") == 1,
	    "another has been there");
	see("a");
	once("PUT", "", "412 No", "", ERROR("PreconditionFailed"));
	on("HEAD", "", "200 OK", "ETag: \"a\"\r\n", "");
	tap_ok(replace("new") == 0 && asked("PUT") == 2 &&
	    *http_value(web.seen->last[1], "If-Match") == '\0',
	    "one that never says that it fits is not asked to");
	see("a");
	once("PUT", "", "501 No", "", ERROR("NotImplemented"));
	on("HEAD", "", "200 OK", "ETag: \"b\"\r\n", "");
	tap_ok(replace("new") == 0 && asked("PUT") == 2,
	    "nor one that cannot");
	tap_ok(replace("newer") == 0 && asked("PUT") == 3, "from then on");
	see("a");
	on("PUT", "", "412 No", "", ERROR("PreconditionFailed"));
	on("HEAD", "", "403 No", "", "");
	refused(replace("new"), MSG_NOPERM, "403", "one we may not look at");
}

static int
claim(void)
{
	int	held;

	return t->ops->claim(t->impl, "staging/r", "owner", 5, &held, &err);
}

static void
claiming(void)
{
	int	unsure = 0;

	fresh("s3://bucket/p", NULL);
	on("PUT", "", "501 No", "", ERROR("NotImplemented"));
	refused(t->ops->create(t->impl, "", "commits/1.json", "x", 1, &unsure,
	    &err), MSG_USAGE, "it has no conditional writes (501)",
	    "a commit where nothing excludes");
	tap_ok(unsure == 0, "is not there");
	fresh("s3://bucket/p", NULL);
	once("PUT", "", "500 Oops", "", "");
	on("GET", "", "200 OK", "", "owner");
	tap_ok(claim() == 0 && asked("PUT") == 1,
	    "a claim whose answer is lost is there");
	fresh("s3://bucket/p", NULL);
	once("PUT", "", "500 Oops", "", "");
	tap_ok(claim() == 0 && asked("PUT") == 2,
	    "or is not, and is sent again");
	fresh("s3://bucket/p", NULL);
	once("PUT", "", "500 Oops", "", "");
	on("PUT", "", "412 No", "", ERROR("PreconditionFailed"));
	once("GET", "", "404 No", "", ERROR("NoSuchKey"));
	on("GET", "", "200 OK", "", "another's, and longer");
	tap_ok(claim() == 1, "another was faster");
}

static void
nobody_hears(const char *what, void *arg)
{
	(void)what;
	(*(int *)arg)++;
}

static int
probe(void)
{
	int	n = 0;

	return t->ops->probe(t->impl, "staging/r", nobody_hears, &n, &err);
}

static void
probing(void)
{
	fresh("s3://bucket/p", NULL);
	on("PUT", "", "501 No", "", ERROR("NotImplemented"));
	refused(probe(), MSG_USAGE, "it has no conditional writes (501)",
	    "a store without conditions");
	fresh("s3://bucket/p", NULL);
	refused(probe(), MSG_USAGE, "wrote over the first",
	    "one that does not heed them");
	fresh("s3://bucket/p", NULL);
	once("PUT", "-0$", "200 OK", "", "");
	on("PUT", "-0$", "412 No", "", ERROR("PreconditionFailed"));
	refused(probe(), MSG_USAGE, "more than one succeeded",
	    "one that does not heed them at once");
	fresh("s3://bucket/p", NULL);
	on("PUT", "", "403 No", "", ERROR("AccessDenied"));
	refused(probe(), MSG_NOPERM, "AccessDenied", "one we may not ask");
}

static void
locking(void)
{
	char	path[1100];
	int	unsure = 0, n = 0;

	(void)snprintf(path, sizeof(path), "%s/lock", top);
	fresh("s3://bucket/p", path);
	tap_ok(t->ops->probe(t->impl, "x", nobody_hears, &n, &err) == 0 &&
	    n == 1 && script->n_log == 0, "a lock is all that is asked for");
	tap_ok(t->ops->lock(t->impl, &err) == 0 &&
	    t->ops->create(t->impl, "", "commits/1.json", "x", 1, &unsure,
	    &err) == 0 && *http_value(web.seen->last[1], "If-None-Match") ==
	    '\0', "under it nothing is conditional");
	on("HEAD", "", "200 OK", "", "");
	tap_ok(t->ops->create(t->impl, "", "commits/1.json", "x", 1, &unsure,
	    &err) == 1 && asked("PUT") == 1, "but what is there is seen");
	script_clear();
	on("HEAD", "", "403 No", "", "");
	refused(t->ops->create(t->impl, "", "commits/1.json", "x", 1, &unsure,
	    &err), MSG_NOPERM, "403", "or not for us to see");
	t->ops->unlock(t->impl);
	nth_start("lock", 1);
	refused(t->ops->lock(t->impl, &err), MSG_IOERR, path,
	    "a lock that cannot be taken");
	(void)nth_stop();
	fresh("s3://bucket/p", "/nonexistent/lock");
	refused(probe(), MSG_NOINPUT, "/nonexistent/lock",
	    "one that cannot be there");
}

/* A version of one file, in a bucket that is all target. */
static void
fetching(void)
{
	struct buf	b;
	char		text[2000];
	int		dir;

	fresh("s3://bucket", NULL);
	dir = openat(topfd, "store", O_RDONLY | O_DIRECTORY);
	buf_init(&b, sizeof(text) - 1);
	(void)io_slurp(dir, MANIFEST_NAME, &b, &err);
	(void)snprintf(text, sizeof(text), "%s", buf_cstr(&b));
	buf_free(&b);
	on("GET", MANIFEST_NAME, "200 OK", "ETag: \"m\"\r\n", text);
	once("GET", "/bytes", "200 OK", "ETag: \"e\"\r\n", "bytes");
	tap_ok(target_fetch(t, V1, topfd, "copy", &err) == 0 &&
	    faccessat(topfd, "copy/bytes", F_OK, 0) == 0 &&
	    asked("GET /bucket/timestamped/" V1 "/bytes") == 1,
	    "a version of a whole bucket is fetched");
	on("GET", "/bytes", "403 No", "", ERROR("AccessDenied"));
	refused(target_fetch(t, V1, topfd, "copy2", &err), MSG_NOPERM,
	    "s3://bucket/timestamped/" V1 "/bytes", "a file that is not ours");
	tap_ok(faccessat(topfd, "copy2", F_OK, 0) == -1, "leaves no copy");
	(void)unlinkat(dir, MANIFEST_NAME, 0);
	refused(t->ops->put(t->impl, "timestamped/" V1, dir, &m, digest, 0,
	    &err), MSG_NOINPUT, MANIFEST_NAME, "a store without manifest");
	(void)close(dir);
}

static void
make_store(void)
{
	unsigned char	sum[HASH_LEN];
	uint64_t	sz;
	int		dir, fd;

	(void)mkdirat(topfd, "store", 0700);
	dir = openat(topfd, "store", O_RDONLY | O_DIRECTORY);
	fd = openat(dir, "bytes", O_WRONLY | O_CREAT, 0600);
	(void)io_write(fd, "bytes", 5);
	(void)close(fd);
	m.format = mem_dup("sqlite");
	memset(m.content_digest, 'a', HASH_HEX - 1);
	(void)hash_file(dir, "bytes", sum, &sz, &err);
	manifest_add_file(&m, "bytes", sz, sum);
	if (manifest_write(&m, dir, digest, &err) == -1)
		_exit(97);
	(void)close(dir);
}

int
main(void)
{
	const char	*tmp = getenv("TMPDIR");

	msg_init("target_s3_odd");
	tap_plan(35);
	(void)snprintf(top, sizeof(top), "%s/target_s3.XXXXXX", tmp != NULL ?
	    tmp : "/tmp");
	if (mkdtemp(top) == NULL)
		return 99;
	topfd = open(top, O_RDONLY | O_DIRECTORY);
	make_store();
	script_start();
	(void)unsetenv("http_proxy");
	(void)unsetenv("AWS_PROFILE");
	(void)unsetenv("AWS_SESSION_TOKEN");
	(void)unsetenv("DCKPT_DB");
	(void)setenv("DCACHE", top, 1);
	(void)setenv("AWS_ENDPOINT_URL_S3", script_url, 1);
	(void)setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
	(void)setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent", 1);
	(void)setenv("AWS_CONFIG_FILE", "/nonexistent", 1);
	(void)setenv("AWS_ACCESS_KEY_ID", "ID", 1);
	(void)setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
	opening();
	reading();
	replacing();
	claiming();
	probing();
	locking();
	fetching();
	target_close(t);
	http_stop(&web);
	manifest_clear(&m);
	(void)close(topfd);
	(void)io_rmtree(AT_FDCWD, top, &err);
	return tap_done();
}
