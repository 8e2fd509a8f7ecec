/*
 * s3_send_odd: uploads to a server that loses, mangles, forgets and
 * refuses: what is asked for again, what is looked at before, what is taken
 * away again, and what is left to a rerun; each end with its class.
 * SPDX-License-Identifier: ISC
 */
#include "nth.h"

#include <sys/stat.h>

#include <fcntl.h>
#include <signal.h>

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
#define LISTED(s) "<ListBucketResult>" s "</ListBucketResult>"
#define OBJECT(n) "<Contents><Key>p/f</Key><Size>" n "</Size></Contents>"
#define UPLOADS(s) "<ListMultipartUploadsResult>" s \
	"</ListMultipartUploadsResult>"
#define UPLOAD(k, id, when) "<Upload><Key>" k "</Key><UploadId>" id \
	"</UploadId><Initiated>" when "</Initiated></Upload>"
#define PARTS(s) "<ListPartsResult>" s "</ListPartsResult>"
#define CREATED(id) "<InitiateMultipartUploadResult><UploadId>" id \
	"</UploadId></InitiateMultipartUploadResult>"
#define COMPLETE "<CompleteMultipartUploadResult/>"
#define BIG	(S3_SEND_BIG + 1)
#define OLD	"2001-01-01T00:00:00.000Z"

static struct net	*net;
static struct retry	*retry;
static struct s3	*s3;
static struct err	 err;
static int		 topfd, created;
static struct s3_file	 small = { "f", "p/f", 3, "" };
static struct s3_file	 big = { "big", "p/f", BIG, "" };
static struct s3_sent	 sent;
static char		 piece_tag[3][40];	/* MD5s of big's parts */

static void
refused(int rv, int code, const char *words, const char *what)
{
	if (!tap_ok(rv == -1 && err.code == code &&
	    strstr(err.text, words) != NULL, "%s: %d", what, code))
		printf("# returned %d, code %d: %s\n", rv, err.code,
		    err.text);
	memset(&err, 0, sizeof(err));
}

/* It went well; if not, why. */
static void
done(int rv, int good, const char *what)
{
	if (!tap_ok(rv == 0 && good, "%s", what))
		printf("# returned %d, code %d: %s; %d requests, sent %llu, "
		    "kept %llu\n", rv, err.code, err.text, script->n_log,
		    (unsigned long long)sent.objects,
		    (unsigned long long)sent.kept);
	memset(&err, 0, sizeof(err));
}

static void
fresh(void)
{
	struct cred_conf	conf;

	s3_free(s3);
	retry_free(retry);
	retry = retry_new(NULL, 0);
	(void)cred_conf_load(&conf, NULL, &err);
	free(conf.endpoint);
	conf.endpoint = mem_dup(script_url);
	s3 = s3_new(net, &conf, 1, retry, &err);
	cred_conf_clear(&conf);
	script_clear();
	script->meta[0] = '\0';
	memset(&err, 0, sizeof(err));
}

static void
tell(void *arg, const char *key)
{
	(void)arg;
	(void)key;
	created++;
}

/* One file, to what is listed as given; lists come last. */
static int
give(const struct s3_file *f, int create, const char *listed,
    const char *uploads)
{
	struct s3_send_opts	o;

	memset(&o, 0, sizeof(o));
	o.create = create;
	o.run = "r";
	o.created = tell;
	o.parallel = 2;
	created = 0;
	on("GET", "uploads", "200 OK", "", uploads);
	on("GET", "list-type", "200 OK", "", listed);
	return s3_send(s3, retry, "bucket", "p/", topfd, f, 1, &o, &sent,
	    &err);
}

static int
put(const struct s3_file *f, int create)
{
	return give(f, create, LISTED(""), UPLOADS(""));
}

/* What HEAD says of the object: its size, and what the last PUT said. */
static struct script_rule *
lies_there(unsigned long long size)
{
	struct script_rule	*r = on("HEAD", "", "200 OK", "", "");

	r->size = size;
	r->echo = 1;
	return r;
}

/* The same bytes, that somebody else put there. */
static struct script_rule *
theirs(const struct s3_file *f)
{
	struct script_rule	*r = on("HEAD", "", "200 OK", "", "");

	r->size = f->size;
	(void)snprintf(r->more, sizeof(r->more), "ETag: \"other\"\r\n"
	    "x-amz-meta-intact-sha256: %s\r\n", f->sha256);
	return r;
}

/*
 * Small ones.
 */

static void
files(void)
{
	struct s3_file		f = small;
	struct s3_send_opts	o;
	struct s3_sent		none;

	fresh();
	f.name = "none";
	refused(put(&f, 0), MSG_NOINPUT, "none", "no such file");
	f.name = "sub";
	refused(put(&f, 0), MSG_DATAERR, "not a regular file", "a directory");
	f.name = "f";
	f.size = 4;
	refused(put(&f, 0), MSG_DATAERR, "size: want 4, got 3", "a size");
	f.size = 3;
	f.key = "q/f";
	refused(put(&f, 0), MSG_SOFTWARE, "q/f: not below p/", "a key");
	tap_ok(asked("PUT") == 0, "none of them is sent");
	memset(&o, 0, sizeof(o));
	tap_ok(s3_send(s3, retry, "bucket", "p/", topfd, &small, 0, &o, &none,
	    &err) == 0 && none.objects == 0, "nothing to send is sent");
	o.run = "0123456789012345678901234567890123456789012345678901234567"
	    "890123456789012345678901234567890123456789012345678901234567890"
	    "123456789012345678901234567890123456789";
	script_clear();
	on("GET", "", "200 OK", "", LISTED(""));
	on("GET", "uploads", "200 OK", "", UPLOADS(""));
	script->v[0] = script->v[1];
	(void)snprintf(script->v[1].match, sizeof(script->v[1].match), "%s",
	    "list-type");
	(void)snprintf(script->v[1].body, sizeof(script->v[1].body), "%s",
	    LISTED(""));
	refused(s3_send(s3, retry, "bucket", "p/", topfd, &small, 1, &o,
	    NULL, &err), MSG_SOFTWARE, "too long for the name of a run",
	    "a run's name");
	nth_start("stat", 1);
	script_clear();
	refused(put(&small, 0), MSG_IOERR, "f: ", "a file that cannot be "
	    "asked for its size");
	(void)nth_stop();
}

static void
smalls(void)
{
	struct s3_file	lie = small;
	int		r;

	fresh();
	r = put(&small, 0);
	done(r, sent.objects == 1 && created == 1, "a file");

	/* what is there already */
	fresh();
	theirs(&small);
	r = give(&small, 0, LISTED(OBJECT("3")), UPLOADS(""));
	done(r, sent.kept == 1 && asked("PUT") == 0 && created == 0,
	    "one that is there is not sent");
	fresh();
	on("HEAD", "", "200 OK", "", "")->size = 3;
	refused(give(&small, 1, LISTED(OBJECT("3")), UPLOADS("")),
	    MSG_CANTCREAT, "something else is there", "another of its size");
	fresh();
	r = give(&small, 1, LISTED(OBJECT("3")), UPLOADS(""));
	done(r, sent.objects == 1, "one that was listed and went is sent");
	fresh();
	on("HEAD", "", "403 No", "", "");
	refused(give(&small, 1, LISTED(OBJECT("3")), UPLOADS("")),
	    MSG_NOPERM, "403", "one that we may not look at");

	/* bytes that arrive as others */
	fresh();
	once("PUT", "", "400 Bad", "", ERROR("BadDigest"));
	r = put(&small, 0);
	done(r, sent.objects == 1 && asked("PUT") == 2,
	    "what was mangled on its way is sent again");
	fresh();
	on("PUT", "", "400 Bad", "", ERROR("BadDigest"));
	refused(put(&small, 0), MSG_TEMPFAIL,
	    "it does not arrive as it is sent, 5 times", "again and again");
	tap_ok(asked("PUT") == 6, "and no more");
	fresh();
	memset(lie.sha256, 'a', HASH_HEX - 1);
	on("PUT", "", "400 Bad", "", ERROR("BadDigest"));
	refused(put(&lie, 0), MSG_DATAERR, "f", "a file that changed since");
	tap_ok(asked("PUT") == 1, "is not sent again");
	fresh();
	once("PUT", "", "409 Conflict", "", ERROR("OperationAborted"));
	r = put(&small, 0);
	done(r, asked("PUT") == 2, "a conflict of writers");

	/* a create of which nobody knows */
	fresh();
	once("PUT", "", "500 Oops", "", "");
	lies_there(3);
	r = put(&small, 1);
	done(r, sent.objects == 1 && asked("PUT") == 1 &&
	    created == 1, "a lost answer: it is ours, and there");
	fresh();
	on("PUT", "", "412 No", "", ERROR("PreconditionFailed"));
	theirs(&small);
	r = put(&small, 1);
	done(r, sent.kept == 1 && created == 0,
	    "told that it is taken: by the same, of another");
	fresh();
	on("PUT", "", "412 No", "", ERROR("PreconditionFailed"));
	on("HEAD", "", "200 OK", "", "")->size = 9;
	refused(put(&small, 1), MSG_CANTCREAT, "something else is there",
	    "by something else");
	fresh();
	on("PUT", "", "412 No", "", ERROR("PreconditionFailed"));
	refused(put(&small, 1), MSG_TEMPFAIL, "what was put is not there",
	    "by what is not there");
	fresh();
	on("PUT", "", "412 No", "", ERROR("PreconditionFailed"));
	on("HEAD", "", "403 No", "", "");
	refused(put(&small, 1), MSG_NOPERM, "403",
	    "by what we may not look at");
	fresh();
	once("PUT", "", "500 Oops", "", "");
	once("HEAD", "", "403 No", "", "");
	lies_there(3);
	refused(put(&small, 1), MSG_NOPERM, "403",
	    "a create of which nobody may know");
	tap_ok(created == 1, "that is ours is told, so that it can be removed");
}

/*
 * Large ones.
 */

/* The upload id; parts, and a complete, that all are well. */
static void
well(const char *id)
{
	struct script_rule	*r;
	char			 b[300];

	(void)snprintf(b, sizeof(b), CREATED("%s"), id);
	on("POST", "uploads", "200 OK", "", b);
	on("POST", "uploadId", "200 OK", "", COMPLETE);
	r = on("PUT", "", "200 OK", "", "");
	(void)snprintf(r->more, sizeof(r->more), "ETag: \"%032d\"\r\n", 0);
}

static void
parts_of(const char *id, int n)
{
	char	match[64], b[2048] = "<ListPartsResult>";
	size_t	k;
	int	i;

	(void)snprintf(match, sizeof(match), "uploadId=%s", id);
	for (i = 0; i < n; i++) {
		k = strlen(b);
		(void)snprintf(b + k, sizeof(b) - k, "<Part><PartNumber>%d"
		    "</PartNumber><ETag>\"%s\"</ETag><Size>%llu</Size>"
		    "</Part>", i + 1, piece_tag[i], (unsigned long long)
		    (i < 2 ? S3_SEND_PART : 1));
	}
	k = strlen(b);
	(void)snprintf(b + k, sizeof(b) - k, "</ListPartsResult>");
	on("GET", match, "200 OK", "", b);
}

static void
parts(void)
{
	struct s3_file	lie = big;
	int		r;

	fresh();
	well("U");
	on("GET", "uploadId", "404 Gone", "", ERROR("NoSuchUpload"));
	lies_there(BIG);
	r = put(&big, 0);
	done(r, sent.objects == 1 && asked("PUT") == 3,
	    "a file in three parts");
	tap_ok(asked("complete") == 0 && asked("POST /bucket/p/f?uploadId=U")
	    == 1, "made one");

	/* parts that arrive as others, or without a name */
	fresh();
	on("PUT", "partNumber=1", "400 Bad", "", ERROR("BadDigest"));
	well("U");
	refused(put(&big, 0), MSG_TEMPFAIL,
	    "a part does not arrive as it is sent", "a part that is mangled");
	tap_ok(asked("DELETE") == 0, "is left to a rerun");
	fresh();
	on("PUT", "", "200 OK", "", "");
	well("U");
	refused(put(&big, 0), MSG_TEMPFAIL, "the server gives no ETag",
	    "a part without an ETag");
	fresh();
	on("PUT", "", "403 No", "", ERROR("AccessDenied"));
	well("U");
	refused(put(&big, 0), MSG_NOPERM, "AccessDenied", "no right");
	tap_ok(asked("DELETE /bucket/p/f?uploadId=U") == 1,
	    "for good: the upload is taken away");
	fresh();
	memset(lie.sha256, 'a', HASH_HEX - 1);
	well("U");
	refused(put(&lie, 0), MSG_DATAERR, "big", "a file that changed since");
	tap_ok(asked("POST /bucket/p/f?uploadId") == 0, "is not made one");
	fresh();
	nth_start("read", 60);
	well("U");
	refused(put(&big, 0), MSG_IOERR, "", "a file that cannot be read");
	(void)nth_stop();

	/* an upload that cannot be begun, or gets lost */
	fresh();
	on("POST", "uploads", "403 No", "", ERROR("AccessDenied"));
	refused(put(&big, 0), MSG_NOPERM, "AccessDenied", "not begun");
	fresh();
	on("PUT", "", "404 Gone", "", ERROR("NoSuchUpload"));
	well("U");
	refused(put(&big, 0), MSG_TEMPFAIL, "was lost, 3 times",
	    "one that is lost again and again");
	tap_ok(asked("POST /bucket/p/f?uploads") == 3, "is begun thrice");
}

/* An end of which nobody knows, or that others had. */
static void
ends(void)
{
	int		r;

	fresh();
	well("U");
	refused(put(&big, 0), MSG_TEMPFAIL, "it was complete, and is not "
	    "there", "complete, and gone");
	fresh();
	well("U");
	on("HEAD", "", "200 OK", "", "")->size = 5;
	refused(put(&big, 0), MSG_CANTCREAT, "something else is there",
	    "complete, and another");
	fresh();
	well("U");
	on("HEAD", "", "403 No", "", "");
	refused(put(&big, 0), MSG_NOPERM, "403", "complete, and not for us");
	fresh();
	on("POST", "uploadId", "403 No", "", ERROR("AccessDenied"));
	well("U");
	refused(put(&big, 0), MSG_NOPERM, "AccessDenied",
	    "no right to complete");
	fresh();
	on("POST", "uploadId", "500 Oops", "", "");
	well("U");
	theirs(&big);
	r = put(&big, 0);
	done(r, sent.kept == 1 && sent.objects == 0 &&
	    created == 0 && asked("DELETE /bucket/p/f?uploadId=U") == 1,
	    "a lost answer, and the same of another: ours is taken away");
	fresh();
	once("POST", "uploadId", "500 Oops", "", "");
	well("U");
	parts_of("U", 3);
	once("HEAD", "", "404 Gone", "", "");
	lies_there(BIG);
	r = put(&big, 0);
	done(r, sent.objects == 1 &&
	    asked("POST /bucket/p/f?uploadId=U") == 2,
	    "a lost answer, and it is still open: completed again");
	fresh();
	on("POST", "uploadId", "500 Oops", "", "");
	well("U");
	on("GET", "uploadId", "403 No", "", ERROR("AccessDenied"));
	refused(put(&big, 0), MSG_NOPERM, "AccessDenied",
	    "a lost answer, and nobody may know");
	fresh();
	on("POST", "uploadId", "500 Oops", "", "");
	well("U");
	on("HEAD", "", "403 No", "", "");
	refused(put(&big, 0), MSG_NOPERM, "403",
	    "a lost answer, and what is there is not for us");

	fresh();
	once("POST", "uploadId", "500 Oops", "", "");
	well("U");
	on("GET", "uploadId", "404 Gone", "", ERROR("NoSuchUpload"));
	lies_there(BIG);
	r = put(&big, 0);
	done(r, sent.objects == 1 && created == 1 &&
	    asked("POST /bucket/p/f?uploadId=U") == 1,
	    "a lost answer, and it is ours and there");

	/* created only where nothing is */
	fresh();
	well("U");
	theirs(&big);
	r = put(&big, 1);
	done(r, sent.kept == 1 && created == 0 &&
	    asked("POST /bucket/p/f?uploadId") == 0 &&
	    asked("DELETE /bucket/p/f?uploadId=U") == 1,
	    "another was faster with the same: not completed");
	fresh();
	well("U");
	on("HEAD", "", "200 OK", "", "")->size = 5;
	refused(put(&big, 1), MSG_CANTCREAT, "something else is there",
	    "another was faster");
	fresh();
	on("POST", "uploadId", "412 No", "", ERROR("PreconditionFailed"));
	well("U");
	once("HEAD", "", "404 Gone", "", "");
	on("HEAD", "", "200 OK", "", "")->size = 5;
	refused(put(&big, 1), MSG_CANTCREAT, "something else is there",
	    "another was faster by a hair");
}

/* What an earlier run left. */
static void
left(void)
{
	int		r;

	fresh();
	parts_of("NEW", 2);
	parts_of("OLD", 3);
	well("U");
	lies_there(BIG);
	script->meta[0] = '\0';
	(void)snprintf(script->meta, sizeof(script->meta),
	    "x-amz-meta-intact-sha256: %s\r\n", big.sha256);
	r = give(&big, 0, LISTED(""), UPLOADS(
	    UPLOAD("p/f", "OLD", OLD) UPLOAD("p/f", "NEW",
	    "2002-01-01T00:00:00.000Z") UPLOAD("p/x", "X", OLD)));
	done(r, sent.objects == 1 && asked("PUT") == 1 &&
	    asked("POST /bucket/p/f?uploads") == 0 &&
	    asked("DELETE /bucket/p/f?uploadId=OLD") == 1 &&
	    asked("DELETE /bucket/p/x?uploadId=X") == 1,
	    "the newest is gone on with, others go");
	fresh();
	on("GET", "uploadId=OLD", "200 OK", "", PARTS("<Part><PartNumber>9"
	    "</PartNumber><ETag>e</ETag><Size>1</Size></Part>"));
	well("U");
	lies_there(BIG);
	r = give(&big, 0, LISTED(""), UPLOADS(UPLOAD("p/f", "OLD", OLD)));
	done(r, asked("PUT") == 3 &&
	    asked("DELETE /bucket/p/f?uploadId=OLD") == 1,
	    "what is of another file is taken away");
	fresh();
	on("GET", "uploadId=OLD", "403 No", "", ERROR("AccessDenied"));
	refused(give(&big, 0, LISTED(""), UPLOADS(UPLOAD("p/f", "OLD",
	    OLD))), MSG_NOPERM, "AccessDenied", "what we may not look at");
	fresh();
	on("GET", "uploadId=OLD", "200 OK", "", PARTS(""));
	on("DELETE", "", "403 No", "", ERROR("AccessDenied"));
	refused(give(&big, 0, LISTED(""), UPLOADS(UPLOAD("p/f", "OLD",
	    OLD))), MSG_NOPERM, "AccessDenied", "what we may not take away");
	fresh();
	on("GET", "uploadId", "200 OK", "", PARTS(""));
	well("U");
	once("HEAD", "", "404 Gone", "", "");
	lies_there(BIG);
	r = give(&big, 1, LISTED(""), UPLOADS(
	    UPLOAD("p/f", "OLD", OLD) UPLOAD("p/f", "NOW",
	    "2999-01-01T00:00:00.000Z") UPLOAD("p/x", "X", OLD)));
	done(r, asked("DELETE /bucket/p/f?uploadId=OLD") == 1 &&
	    asked("DELETE /bucket/p/f?uploadId=NOW") == 0 &&
	    asked("DELETE /bucket/p/x") == 0,
	    "where others write, only what is old goes");
	fresh();
	theirs(&big);
	on("DELETE", "", "403 No", "", ERROR("AccessDenied"));
	refused(give(&big, 0, LISTED("<Contents><Key>p/f</Key><Size>33554433"
	    "</Size></Contents>"), UPLOADS(UPLOAD("p/f", "OLD", OLD))),
	    MSG_NOPERM, "AccessDenied",
	    "an upload of what is there already");
	fresh();
	on("GET", "uploads", "403 No", "", ERROR("AccessDenied"));
	refused(put(&big, 0), MSG_NOPERM, "AccessDenied",
	    "uploads that we may not list");
}

static void
make_files(void)
{
	static unsigned char	b[1 << 20];
	unsigned char		d[HASH_LEN];
	struct hash		*h;
	uint64_t		 at, sz;
	size_t			 n;
	int			 fd, i, k;

	(void)mkdirat(topfd, "sub", 0700);
	fd = openat(topfd, "f", O_WRONLY | O_CREAT, 0600);
	(void)io_write(fd, "abc", 3);
	(void)close(fd);
	fd = openat(topfd, "big", O_WRONLY | O_CREAT, 0600);
	for (at = 0; at < BIG; at += n) {
		n = BIG - at < sizeof(b) ? (size_t)(BIG - at) : sizeof(b);
		memset(b, (int)(at >> 20), n);
		(void)io_write(fd, b, n);
	}
	(void)close(fd);
	fd = openat(topfd, "big", O_RDONLY);
	for (i = 0; i < 3; i++) {
		h = hash_md5_new();
		if (h == NULL)
			_exit(97);
		for (at = 0; at < (i < 2 ? S3_SEND_PART : 1); at += n) {
			n = i < 2 ? sizeof(b) : 1;
			(void)io_pread(fd, b, n, (uint64_t)i * S3_SEND_PART +
			    at);
			hash_add(h, b, n);
		}
		hash_md5_final(h, d);
		hash_free(h);
		for (k = 0; k < HASH_MD5; k++)
			(void)snprintf(piece_tag[i] + 2 * k, 3, "%02x", d[k]);
	}
	(void)close(fd);
	(void)hash_file(topfd, "f", d, &sz, &err);
	hash_hex(d, small.sha256);
	(void)hash_file(topfd, "big", d, &sz, &err);
	hash_hex(d, big.sha256);
}

int
main(void)
{
	const char	*tmp = getenv("TMPDIR");
	char		 dir[1024];

	msg_init("s3_send_odd");
	tap_plan(58);
	(void)snprintf(dir, sizeof(dir), "%s/s3_send.XXXXXX", tmp != NULL ?
	    tmp : "/tmp");
	if (mkdtemp(dir) == NULL)
		return 99;
	topfd = open(dir, O_RDONLY | O_DIRECTORY);
	make_files();
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
	files();
	smalls();
	parts();
	ends();
	left();
	s3_free(s3);
	retry_free(retry);
	net_free(net);
	http_stop(&web);
	(void)close(topfd);
	(void)io_rmtree(AT_FDCWD, dir, &err);
	return tap_done();
}
