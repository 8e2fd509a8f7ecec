/*
 * s3_odd: what a server may say that no server here does: places and pages
 * that make no sense, digests of its own, answers that are missing; and
 * what is asked of us that cannot be asked of any.  Each with its class.
 * SPDX-License-Identifier: ISC
 */
#include <sys/stat.h>

#include <fcntl.h>

#include "cred.h"
#include "hash.h"
#include "io.h"
#include "mem.h"
#include "net.h"
#include "retry.h"
#include "s3.h"
#include "s3_send.h"
#include "script.h"
#include "tap.h"

#define ERROR(code) "<Error><Code>" code "</Code></Error>"
#define UPLOADS(s) "<ListMultipartUploadsResult>" s \
	"</ListMultipartUploadsResult>"
#define UPLOAD(k, id) "<Upload><Key>" k "</Key><UploadId>" id "</UploadId>" \
	"</Upload>"
#define PARTS(s) "<ListPartsResult>" s "</ListPartsResult>"
#define PART(n) "<Part><PartNumber>" n "</PartNumber><ETag>e" n "</ETag>" \
	"<Size>7</Size></Part>"
#define MORE "<IsTruncated>true</IsTruncated>"

static struct net	*net;
static struct retry	*retry;
static struct s3	*s3;
static struct s3_res	 res;
static struct err	 err;

static void
refused(int rv, int code, const char *words, const char *what)
{
	if (!tap_ok(rv == -1 && err.code == code &&
	    strstr(err.text, words) != NULL, "%s: %d", what, code))
		printf("# returned %d, code %d: %s\n", rv, err.code,
		    err.text);
	memset(&err, 0, sizeof(err));
}

/* A client of that endpoint, with nothing learned; NULL: the script. */
static struct s3 *
client(const char *endpoint, int keys)
{
	struct cred_conf	 conf;
	struct s3		*s;

	memset(&err, 0, sizeof(err));
	(void)cred_conf_load(&conf, NULL, &err);
	free(conf.endpoint);
	conf.endpoint = mem_dup(endpoint != NULL ? endpoint : script_url);
	s = s3_new(net, &conf, keys, retry, &err);
	cred_conf_clear(&conf);
	return s;
}

static void
fresh(void)
{
	s3_res_clear(&res);
	s3_free(s3);
	retry_free(retry);
	retry = retry_new(NULL, 0);
	s3 = client(NULL, 1);
	script_clear();
	memset(&err, 0, sizeof(err));
}

static int
get(const char *bucket)
{
	s3_res_clear(&res);
	return s3_get(s3, bucket, "k", 100, &res, &err);
}

/*
 * Places.
 */

static void
endpoints(void)
{
	static const char *const bad[] = { "ftp://x", "http://", "http://u@x",
		"http://x?y", "http://x#y", "http://x y", "s3.example" };
	struct cred_conf	 conf;
	struct s3		*s;
	size_t			 i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		s = client(bad[i], 0);
		refused(s == NULL ? -1 : 0, MSG_USAGE, "the endpoint of S3",
		    bad[i]);
	}
	s = client("HTTP://S3.Example:80/base//", 0);
	tap_ok(s != NULL && !s3_is_tls(s), "an endpoint in capitals");
	tap_is(s3_host(s), "s3.example:80", "is known by its small name");
	s3_free(s);
	s = client("https://[::1]", 0);
	tap_is(s3_host(s), "[::1]:443", "an address of six");
	s3_free(s);
	(void)cred_conf_load(&conf, NULL, &err);
	free(conf.region);
	conf.region = mem_dup("eu/west");
	s = s3_new(net, &conf, 0, NULL, &err);
	refused(s == NULL ? -1 : 0, MSG_USAGE, "the region of S3",
	    "a region of no letters");
	cred_conf_clear(&conf);
}

static void
places(void)
{
	fresh();
	s3_free(s3);
	(void)setenv("http_proxy", script_url, 1);
	s3 = client("http://s3.test", 1);
	once("GET", "//buck.s3.test/", "307 Go", "Location: "
	    "http://buck.eu.s3.test/k?x\r\n", "");
	on("GET", "//buck.eu.s3.test/k", "200 OK", "", "there");
	tap_ok(get("buck") == 0 && script->n_log == 2 && res.body.len == 5,
	    "a bucket that is elsewhere in the same domain");
	tap_ok(get("buck") == 0 && script->n_log == 3, "is remembered");
	once("GET", "//odd.s3.test/", "307 Go", "Location: "
	    "http://odd.evil.test/k\r\n", "");
	refused(get("odd"), MSG_DATAERR, "307", "a place of others");
	tap_ok(asked("evil") == 0, "is not gone to");
	once("GET", "//mal.s3.test/", "307 Go", "Location: "
	    "http://mals3.test/k\r\n", "");
	refused(get("mal"), MSG_DATAERR, "307", "nor a name that ends so");
	tap_ok(asked("//mals3.test") == 0, "is not gone to");
	once("GET", "//tls.s3.test/", "307 Go", "Location: "
	    "https://tls.eu.s3.test/k\r\n", "");
	refused(get("tls"), MSG_DATAERR, "307", "nor another scheme");
	on("GET", "//round.", "307 Go", "Location: "
	    "http://round.s3.test/k\r\n", "");
	refused(get("round"), MSG_DATAERR, "307", "a place in a circle");
	tap_ok(asked("//round.") == 3, "is asked three times");
	on("GET", "//s3.test/Not_A_Name/k", "200 OK", "", "x");
	tap_ok(get("Not_A_Name") == 0, "a bucket that is no host's name");
	(void)unsetenv("http_proxy");
	fresh();
	on("GET", "", "307 Go", "Location: http://10.0.0.1/k\r\n", "");
	refused(get("addr"), MSG_DATAERR, "307", "an address has no domain");
}

/*
 * What cannot be asked, and what cannot be understood.
 */

static int
sink(void *arg, int status, const void *p, size_t n, struct err *e)
{
	(void)status;
	(void)p;
	(void)e;
	*(size_t *)arg += n;
	return 0;
}

static void
not_called(void *arg, const struct s3_res *r, const struct err *e)
{
	(void)r;
	(void)e;
	*(int *)arg = 1;
}

static int
put_fd(int fd, uint64_t n, const char *sha, unsigned int flags)
{
	struct s3_req	q;

	memset(&q, 0, sizeof(q));
	q.method = "PUT";
	q.bucket = "bucket";
	q.key = "k";
	q.fd = fd;
	q.n = n;
	q.sha256 = sha;
	q.flags = flags;
	s3_res_clear(&res);
	return s3_do(s3, &q, &res, &err);
}

static void
questions(void)
{
	static char		 big[300000], lines[80][8];
	const char		*headers[81];
	struct sign_param	 param = { "x", big };
	struct s3_req		 q;
	struct s3		*plain;
	char			 name[] = "/tmp/intact-s3_odd.XXXXXX";
	size_t			 i, got = 0;
	int			 fd, called = 0;

	fresh();
	memset(big, 'k', S3_KEY_MAX + 1);
	refused(s3_head(s3, "a b", "k", NULL, &err), MSG_USAGE, "bucket",
	    "no bucket's name");
	refused(s3_head(s3, "bucket", big, NULL, &err), MSG_USAGE,
	    "a key has 1 to 1024 bytes", "a key that is too long");
	fd = mkstemp(name);
	(void)unlink(name);
	(void)io_write(fd, "abc", 3);
	refused(put_fd(fd, 10, NULL, 0), MSG_DATAERR, "is shorter than said",
	    "a file that is shorter");
	(void)close(fd);
	refused(put_fd(fd, 3, NULL, 0), MSG_IOERR, "s3://bucket/k",
	    "a file that is not open");
	refused(put_fd(-1, 0, "no digest", S3_CHECKSUM), MSG_SOFTWARE,
	    "not 64 hex digits", "a digest that is none");
	memset(&q, 0, sizeof(q));
	q.method = "GET";
	q.bucket = "bucket";
	for (i = 0; i < 80; i++) {
		(void)snprintf(lines[i], sizeof(lines[i]), "x%zu: 1", i);
		headers[i] = lines[i];
	}
	headers[80] = NULL;
	q.headers = headers;
	refused(s3_do(s3, &q, &res, &err), MSG_USAGE, "too many headers",
	    "eighty headers");
	memset(big, 'q', sizeof(big) - 1);
	q.headers = NULL;
	q.query = &param;
	q.n_query = 1;
	refused(s3_do(s3, &q, &res, &err), MSG_USAGE, "too long",
	    "a query without end");
	tap_ok(script->n_log == 0, "none of them is sent");

	memset(&q, 0, sizeof(q));
	q.method = "GET";
	q.bucket = "bucket";
	q.key = "k";
	q.sink = sink;
	q.arg = &got;
	once("GET", "", "503 Slow", "", ERROR("SlowDown"));
	refused(s3_do(s3, &q, &res, &err), MSG_TEMPFAIL, "SlowDown",
	    "what cannot take back what it was given");
	tap_ok(script->n_log == 1 && got == 0, "is asked once");
	s3_res_clear(&res);

	fresh();
	once("PUT", "", "408 Late", "", ERROR("RequestTimeout"));
	tap_ok(s3_put(s3, "bucket", "k", "x", 1, S3_IF_NONE, NULL, NULL, &res,
	    &err) == -1 && res.outcome == S3_UNKNOWN && script->n_log == 1,
	    "408 of a create: nobody knows");
	err.code = 0;
	s3_res_clear(&res);
	once("PUT", "", "400 Late", "", ERROR("RequestTimeout"));
	tap_ok(s3_put(s3, "bucket", "k", "x", 1, 0, NULL, NULL, &res,
	    &err) == 0 && script->n_log == 3, "who was too slow tries again");
	on("GET", "", "400 Bad", "", ERROR("Odd"))->filler = 300000;
	refused(s3_get(s3, "bucket", "k", 1 << 20, NULL, &err), MSG_DATAERR,
	    "status 400", "an error without end");

	/* of a client that repeats nothing */
	plain = client(NULL, 0);
	s3_free(plain);
	{
		struct cred_conf	conf;

		(void)cred_conf_load(&conf, NULL, &err);
		free(conf.endpoint);
		conf.endpoint = mem_dup(script_url);
		plain = s3_new(net, &conf, 0, NULL, &err);
		cred_conf_clear(&conf);
	}
	script_clear();
	on("GET", "", "503 Slow", "", ERROR("SlowDown"));
	refused(s3_get(plain, "bucket", "k", 9, NULL, &err), MSG_TEMPFAIL,
	    "SlowDown", "without a retry");
	tap_ok(script->n_log == 1, "is asked once");
	tap_ok(*http_value(web.seen->last[1], "Authorization") == '\0',
	    "unsigned");
	memset(&q, 0, sizeof(q));
	q.method = "GET";
	q.bucket = "bucket";
	tap_ok(s3_start(plain, &q, not_called, &called, &err) == 0, "begun");
	s3_free(plain);
	tap_ok(called == 0, "and ended without a word");
}

/* Keys that are over, where new ones cannot be had. */
static void
keys(void)
{
	char	b[128];

	(void)unsetenv("AWS_ACCESS_KEY_ID");
	(void)unsetenv("AWS_SECRET_ACCESS_KEY");
	(void)snprintf(b, sizeof(b), "%s/zkeys", script_url);
	(void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", b, 1);
	fresh();
	once("GET", "/zkeys", "200 OK", "", "{\"AccessKeyId\":\"A\","
	    "\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":"
	    "\"2001-01-01T00:00:00Z\"}");
	on("GET", "/zkeys", "403 No", "", "");
	on("GET", "/bucket", "400 Bad", "", ERROR("ExpiredToken"));
	refused(get("bucket"), MSG_NOPERM, "", "keys that are over, and no "
	    "others");
	tap_ok(asked("/bucket") <= 1, "are not signed with again");
	(void)unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	(void)setenv("AWS_ACCESS_KEY_ID", "ID", 1);
	(void)setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
}

/*
 * Lists.
 */

static char	seen[512];
static int	stop;

static int
on_object(void *arg, const struct s3_object *o, struct err *e)
{
	(void)arg;
	(void)e;
	(void)snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen),
	    "%s %s,", o->key, o->etag);
	return 0;
}

static int
on_upload(void *arg, const struct s3_upload *u, struct err *e)
{
	(void)arg;
	(void)e;
	(void)snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen),
	    "%s %s,", u->key, u->id);
	return stop ? -1 : 0;
}

static int
on_part(void *arg, const struct s3_part *p, struct err *e)
{
	(void)arg;
	(void)e;
	(void)snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen),
	    "%u %s,", p->number, p->etag);
	return stop ? -1 : 0;
}

static int
ls(const char *body)
{
	script_clear();
	seen[0] = '\0';
	on("GET", "", "200 OK", "", body);
	return s3_list(s3, "bucket", "", NULL, NULL, on_object, NULL, &err);
}

static void
lists(void)
{
#define LIST(s) "<ListBucketResult>" s "</ListBucketResult>"
	fresh();
	refused(ls("<Other></Other>"), MSG_DATAERR, "another answer",
	    "another answer than a list");
	refused(ls("no XML"), MSG_DATAERR, "ListBucketResult", "no answer");
	refused(ls(LIST("<Contents><Key>k</Key><Size>-1</Size></Contents>")),
	    MSG_DATAERR, "a number that is none", "a size below nothing");
	refused(ls(LIST("<EncodingType>url</EncodingType><Contents><Key>%zz"
	    "</Key></Contents>")), MSG_DATAERR, "not encoded", "a key");
	refused(ls(LIST("<EncodingType>url</EncodingType><Contents><Key>a%00"
	    "</Key></Contents>")), MSG_DATAERR, "not encoded", "one with NUL");
	tap_ok(ls(LIST("<Contents><Key>k</Key><ETag>abc</ETag></Contents>"))
	    == 0, "an ETag without quotes");
	tap_is(seen, "k \"abc\",", "gets them");
}

static int
uploads(void)
{
	seen[0] = '\0';
	return s3_mp_list(s3, "bucket", "p/", on_upload, NULL, &err);
}

static int
parts(void)
{
	seen[0] = '\0';
	return s3_mp_parts(s3, "bucket", "k", "id", on_part, NULL, &err);
}

static void
multipart(void)
{
	struct s3_part	part = { 1, 1, "\"e\"" };
	char		long_tag[256];
	char		*id;

	fresh();
	on("GET", "key-marker=p%2Fa&uploads=&upload-id-marker=2", "500", "",
	    "");
	on("GET", "key-marker=p%2Fb", "200 OK", "", UPLOADS(
	    UPLOAD("p/b", "3")));
	on("GET", "upload-id-marker=1", "200 OK", "", UPLOADS(
	    UPLOAD("p/a", "2") MORE "<NextKeyMarker>p/b</NextKeyMarker>"));
	on("GET", "", "200 OK", "", UPLOADS(UPLOAD("p/a", "1")
	    "<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>" MORE
	    "<NextKeyMarker>p/a</NextKeyMarker>"
	    "<NextUploadIdMarker>1</NextUploadIdMarker>"));
	tap_ok(uploads() == 0 && script->n_log == 3, "three pages of uploads");
	tap_is(seen, "p/a 1,p/a 2,p/b 3,", "each once");
	stop = 1;
	tap_ok(uploads() == 0 && strcmp(seen, "p/a 1,") == 0, "or the first");
	stop = 0;
	script_clear();
	on("GET", "", "200 OK", "", UPLOADS(UPLOAD("p/a", "1") MORE
	    "<NextKeyMarker>p/a</NextKeyMarker>"));
	refused(uploads(), MSG_DATAERR, "it goes on, but not where",
	    "uploads in a circle");
	script_clear();
	on("GET", "", "200 OK", "", UPLOADS(MORE));
	refused(uploads(), MSG_DATAERR, "it goes on, but not where",
	    "uploads that go on nowhere");
	script_clear();
	on("GET", "", "200 OK", "", UPLOADS(UPLOAD("q", "1")));
	refused(uploads(), MSG_DATAERR, "not asked for", "another's upload");
	script_clear();
	on("GET", "", "200 OK", "", UPLOADS("<EncodingType>url</EncodingType>"
	    MORE "<NextKeyMarker>%zz</NextKeyMarker>"));
	refused(uploads(), MSG_DATAERR, "a marker that is not encoded",
	    "a marker");
	script_clear();
	on("GET", "", "403 No", "", ERROR("AccessDenied"));
	refused(uploads(), MSG_NOPERM, "AccessDenied", "no uploads for us");

	script_clear();
	on("GET", "part-number-marker=2", "200 OK", "", PARTS(PART("3")));
	on("GET", "", "200 OK", "", PARTS(PART("1") PART("2") MORE
	    "<NextPartNumberMarker>2</NextPartNumberMarker>"
	    "<CommonPrefixes><Prefix>x</Prefix></CommonPrefixes>"));
	tap_ok(parts() == 0 && script->n_log == 2, "two pages of parts");
	tap_is(seen, "1 \"e1\",2 \"e2\",3 \"e3\",", "each once");
	script_clear();
	on("GET", "", "200 OK", "", PARTS(PART("2") PART("1")));
	refused(parts(), MSG_DATAERR, "parts out of order", "parts");
	script_clear();
	on("GET", "part-number-marker", "200 OK", "", PARTS(MORE));
	on("GET", "", "200 OK", "", PARTS(PART("1") MORE));
	refused(parts(), MSG_DATAERR, "it goes on, but not where",
	    "parts without end");
	script_clear();
	memset(long_tag, 'e', sizeof(long_tag) - 1);
	long_tag[sizeof(long_tag) - 1] = '\0';
	(void)snprintf(on("GET", "", "200 OK", "", "")->body, 2048,
	    "<ListPartsResult><Part><PartNumber>1</PartNumber><ETag>%s</ETag>"
	    "</Part></ListPartsResult>", long_tag);
	refused(parts(), MSG_DATAERR, "an ETag that is too long", "a part");

	script_clear();
	on("POST", "uploads", "200 OK", "", "<InitiateMultipartUploadResult/>");
	id = s3_mp_create(s3, "bucket", "k", NULL, &err);
	refused(id == NULL ? -1 : 0, MSG_TEMPFAIL, "names no upload",
	    "an upload without a name");
	script_clear();
	on("POST", "", "200 OK", "", "<CompleteMultipartUploadResult/>");
	tap_ok(s3_mp_complete(s3, "bucket", "k", "id", &part, 1, 0, NULL,
	    &err) == 0, "complete");
	script_clear();
	on("DELETE", "", "403 No", "", ERROR("AccessDenied"));
	refused(s3_mp_abort(s3, "bucket", "k", "id", &err), MSG_NOPERM,
	    "AccessDenied", "an upload that stays");
}

static void
on_bad(void *arg, const char *key, const char *code)
{
	(void)arg;
	(void)snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen),
	    "%s %s,", key, code);
}

static void
deletions(void)
{
	const char	*v[] = { "a", "b\x01" };

	fresh();
	seen[0] = '\0';
	on("POST", "", "200 OK", "", "<Deleted><Key>a</Key></Deleted>");
	refused(s3_delete_many(s3, "bucket", v, 1, NULL, NULL, &err),
	    MSG_TEMPFAIL, "the server names 0", "another answer");
	script_clear();
	on("POST", "", "200 OK", "", "<DeleteResult><Error><Key>a</Key><Code>"
	    "NoSuchKey</Code></Error></DeleteResult>");
	tap_ok(s3_delete_many(s3, "bucket", v, 1, on_bad, NULL, &err) == 0 &&
	    *seen == '\0', "what is not there is gone");
	script_clear();
	on("POST", "", "200 OK", "", "<DeleteResult><Error><Key>a</Key><Code>"
	    "AccessDenied</Code></Error></DeleteResult>");
	on("DELETE", "/b%01", "403 No", "", ERROR("AccessDenied"));
	refused(s3_delete_many(s3, "bucket", v, 2, on_bad, NULL, &err),
	    MSG_NOPERM, "AccessDenied", "two that stay");
	tap_ok(strstr(seen, "a AccessDenied,") != NULL &&
	    strstr(seen, "b\x01 ,") != NULL, "are named");
	script_clear();
	on("POST", "", "200 OK", "", "<DeleteResult><Deleted><Key>a</Key>"
	    "</Deleted></DeleteResult>");
	memset(&err, 0, sizeof(err));
	tap_ok(s3_delete_many(s3, "bucket", v, 2, on_bad, NULL, &err) == 0 &&
	    asked("DELETE /bucket/b%01") == 1,
	    "what XML cannot say goes by itself");
	refused(s3_remove_tree(s3, "bucket", "", NULL, &err), MSG_SOFTWARE,
	    "all of it was to be removed", "all of a bucket");
}

static void
trees(void)
{
	fresh();
	on("GET", "uploads", "200 OK", "", UPLOADS(UPLOAD("p/a", "7")));
	on("GET", "", "200 OK", "", LIST("<Contents><Key>p/a</Key>"
	    "</Contents>"));
	on("POST", "", "200 OK", "", "<DeleteResult><Deleted><Key>p/a</Key>"
	    "</Deleted></DeleteResult>");
	tap_ok(s3_remove_tree(s3, "bucket", "p/", "p/first", &err) == 0 &&
	    asked("DELETE /bucket/p/a?uploadId=7") == 1 &&
	    strcmp(script->log[0], "DELETE /bucket/p/first") == 0,
	    "a tree goes, what is first first, and uploads too");
	script_clear();
	on("DELETE", "first", "403 No", "", ERROR("AccessDenied"));
	refused(s3_remove_tree(s3, "bucket", "p/", "p/first", &err),
	    MSG_NOPERM, "AccessDenied", "where the first stays");
	tap_ok(script->n_log == 1, "all stays");
	script_clear();
	on("GET", "", "403 No", "", ERROR("AccessDenied"));
	refused(s3_remove_tree(s3, "bucket", "p/", NULL, &err), MSG_NOPERM,
	    "AccessDenied", "a tree that cannot be listed");
	script_clear();
	on("GET", "", "200 OK", "", LIST("<Contents><Key>p/a</Key>"
	    "</Contents>"));
	on("POST", "", "200 OK", "", "<DeleteResult><Error><Key>p/a</Key>"
	    "<Code>AccessDenied</Code></Error></DeleteResult>");
	refused(s3_remove_tree(s3, "bucket", "p/", NULL, &err), MSG_NOPERM,
	    "p/a: not deleted", "one that stays");
	tap_ok(asked("uploads") == 0, "ends it");
}

/* A server that has no batches says so with status. */
static void
no_batches(const char *status, const char *c)
{
	script_clear();
	memset(&err, 0, sizeof(err));
	on("GET", "uploads", "200 OK", "", UPLOADS(""));
	on("GET", "", "200 OK", "", LIST("<Contents><Key>p/a</Key></Contents>"
	    "<Contents><Key>p/b</Key></Contents>"
	    "<Contents><Key>p/c</Key></Contents>"));
	on("POST", "", status, "", "");
	on("DELETE", "p/b", "404 No", "", ERROR("NoSuchKey"));
	once("DELETE", "p/c", "503 No", "", ERROR("SlowDown"));
	if (c != NULL)
		on("DELETE", "p/c", c, "", ERROR("AccessDenied"));
}

static void
batches(void)
{
	static const char	one[] = "<Deleted></Deleted>";
	const char		*keys[120];
	struct script_rule	*r[2];
	size_t			 i, k;

	fresh();
	no_batches("501 No", NULL);
	tap_ok(s3_remove_tree(s3, "bucket", "p/", NULL, &err) == 0 &&
	    asked("POST") == 1 && asked("DELETE /bucket/p/a") == 1 &&
	    asked("DELETE /bucket/p/b") == 1 &&
	    asked("DELETE /bucket/p/c") == 2 && asked("uploads") == 1,
	    "without batches a tree goes key by key");
	no_batches("405 No", "403 No");
	refused(s3_remove_tree(s3, "bucket", "p/", NULL, &err), MSG_NOPERM,
	    "p/c: 403 AccessDenied", "one of them that may not go");
	no_batches("403 No", NULL);
	refused(s3_remove_tree(s3, "bucket", "p/", NULL, &err), MSG_NOPERM,
	    "403", "a batch that may not be");
	tap_ok(asked("DELETE") == 0, "is not tried key by key");

	script_clear();
	memset(&err, 0, sizeof(err));
	for (i = 0; i < 120; i++)
		keys[i] = "k";
	r[0] = on("POST", "", "200 OK", "", "<DeleteResult>");
	r[1] = on("POST", "", "200 OK", "", "<DeleteResult>");
	r[0]->once = 1;
	for (k = 0; k < 2; k++) {
		for (i = 0; i < (k == 0 ? 50 : 70); i++)
			(void)snprintf(r[k]->body + strlen(r[k]->body),
			    sizeof(one), "%s", one);
		(void)snprintf(r[k]->body + strlen(r[k]->body), 16,
		    "</DeleteResult>");
	}
	tap_ok(s3_remove(s3, "bucket", keys, 120, &err) == 0 &&
	    asked("POST") == 2, "a quick server gets larger batches: 50, 70");
}

/*
 * The probe, and the proof.
 */

static int
probe(enum s3_excludes *x)
{
	return s3_probe(s3, "bucket", "p/", x, &err);
}

static void
probes(void)
{
	enum s3_excludes	x = S3_LACKS;

	fresh();
	once("PUT", "-0$", "200 OK", "", "");
	on("PUT", "-0$", "412 No", "", ERROR("PreconditionFailed"));
	once("PUT", "-1$", "200 OK", "", "");
	on("PUT", "-1$", "412 No", "", ERROR("PreconditionFailed"));
	tap_ok(probe(&x) == 0 && x == S3_EXCLUDES, "one of many wins");
	tap_ok(asked("PUT") == 2 + S3_WRITERS && asked("DELETE") == 2,
	    "and nothing is left");
	script_clear();
	once("PUT", "-0$", "200 OK", "", "");
	on("PUT", "-0$", "412 No", "", ERROR("PreconditionFailed"));
	tap_ok(probe(&x) == 0 && x == S3_RACES, "all of many win");
	script_clear();
	once("PUT", "-0$", "200 OK", "", "");
	on("PUT", "-0$", "412 No", "", ERROR("PreconditionFailed"));
	once("PUT", "-1$", "200 OK", "", "");
	on("PUT", "-1$", "403 No", "", ERROR("AccessDenied"));
	refused(probe(&x), MSG_NOPERM, "AccessDenied",
	    "many of whom some may not");
	script_clear();
	once("PUT", "-0$", "200 OK", "", "");
	on("PUT", "-0$", "412 No", "", ERROR("PreconditionFailed"));
	on("PUT", "", "412 No", "", ERROR("PreconditionFailed"));
	refused(probe(&x), MSG_TEMPFAIL, "of many writers at once none won",
	    "all of many are told");
	script_clear();
	once("PUT", "-0$", "200 OK", "", "");
	on("PUT", "-0$", "403 No", "", ERROR("AccessDenied"));
	refused(probe(&x), MSG_NOPERM, "AccessDenied", "a second that may not");
	tap_ok(asked("DELETE") == 1, "the first is removed");
	fresh();
	on("PUT", "", "412 No", "", ERROR("PreconditionFailed"));
	refused(probe(&x), MSG_TEMPFAIL, "PreconditionFailed",
	    "a name nobody has is taken");
	script_clear();
	once("PUT", "-0$", "500 Oops", "", "");
	on("PUT", "-0$", "412 No", "", ERROR("PreconditionFailed"));
	once("PUT", "-1$", "200 OK", "", "");
	on("PUT", "-1$", "412 No", "", ERROR("PreconditionFailed"));
	tap_ok(probe(&x) == 0 && x == S3_EXCLUDES,
	    "taken by our own, of which nobody knew");
	script_clear();
	on("PUT", "-0$", "501 No", "", ERROR("NotImplemented"));
	on("DELETE", "", "403 No", "", ERROR("AccessDenied"));
	refused(probe(&x), MSG_NOPERM, "AccessDenied",
	    "what cannot be removed");
	script_clear();
	once("PUT", "-0$", "200 OK", "", "");
	on("PUT", "-0$", "412 No", "", ERROR("PreconditionFailed"));
	on("DELETE", "-1$", "403 No", "", ERROR("AccessDenied"));
	refused(probe(&x), MSG_NOPERM, "AccessDenied", "nor after a race");
}

#define SHA "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define SUM "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="

static int
prove(const char *sha)
{
	struct s3_file	f = { "f", "k", 3, "" };

	(void)snprintf(f.sha256, sizeof(f.sha256), "%s", sha);
	return s3_prove(s3, retry, "bucket", &f, 1, 1, &err);
}

static struct script_rule *
summed(const char *sum, unsigned long long size)
{
	struct script_rule	*r;

	script_clear();
	r = on("HEAD", "", "200 OK", "", "");
	(void)snprintf(r->more, sizeof(r->more),
	    "x-amz-checksum-sha256: %s\r\n", sum);
	r->size = size;
	return r;
}

static void
proofs(void)
{
	fresh();
	(void)summed(SUM, 3);
	tap_ok(prove(SHA) == 0 && script->n_log == 1,
	    "a server's own SHA-256 proves an object, unread");
	tap_is(http_value(web.seen->last[1], "x-amz-checksum-mode"),
	    "ENABLED", "which is asked for");
	(void)summed("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", 3);
	refused(prove(SHA), MSG_DATAERR, "the server's SHA-256",
	    "another disproves it");
	(void)summed(SUM, 4);
	refused(prove(SHA), MSG_DATAERR, "size", "another size, too");
	(void)summed(SUM, 3);
	refused(prove("x"), MSG_SOFTWARE, "no SHA-256", "nothing to prove");
	(void)summed("ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=-2", 3);
	on("GET", "", "200 OK", "", "abc");
	tap_ok(prove(SHA) == 0 && script->n_log == 2,
	    "one of parts does not: it is read");
	(void)summed("", 3);
	once("GET", "", "200 OK", "", "abd");
	on("GET", "", "200 OK", "", "abc");
	tap_ok(prove(SHA) == 0 && script->n_log == 3,
	    "what differs is read twice");
	(void)summed("", 3);
	on("GET", "", "200 OK", "", "abd");
	refused(prove(SHA), MSG_DATAERR, "SHA-256", "and no more");
	(void)summed("", 3);
	on("GET", "", "200 OK", "", "abcd");
	refused(prove(SHA), MSG_DATAERR, "size", "more than there should be");
	(void)summed("", 3);
	on("GET", "", "200 OK", "", "ab");
	refused(prove(SHA), MSG_DATAERR, "size", "less than that");
	script_clear();
	refused(prove(SHA), MSG_NOINPUT, "404", "what is gone");
}

int
main(void)
{
	msg_init("s3_odd");
	tap_plan(104);
	script_start();
	(void)unsetenv("http_proxy");
	(void)unsetenv("AWS_PROFILE");
	(void)unsetenv("AWS_SESSION_TOKEN");
	(void)unsetenv("AWS_REGION");
	(void)unsetenv("AWS_DEFAULT_REGION");
	(void)setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
	(void)setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent", 1);
	(void)setenv("AWS_CONFIG_FILE", "/nonexistent", 1);
	(void)setenv("AWS_ACCESS_KEY_ID", "ID", 1);
	(void)setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
	net = net_new(&(struct net_opts){ 8, NULL, "test" }, &err);
	endpoints();
	places();
	questions();
	keys();
	lists();
	multipart();
	deletions();
	trees();
	batches();
	probes();
	proofs();
	s3_res_clear(&res);
	s3_free(s3);
	retry_free(retry);
	net_free(net);
	http_stop(&web);
	return tap_done();
}
