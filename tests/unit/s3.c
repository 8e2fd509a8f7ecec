/*
 * s3: AWS's published signatures, the XML reader, where keys come from,
 * and what becomes of requests to servers that say odd things.
 * SPDX-License-Identifier: ISC
 */
#include <sys/resource.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <time.h>

#include "cred.h"
#include "http.h"
#include "io.h"
#include "net.h"
#include "retry.h"
#include "s3.h"
#include "sign.h"
#include "tap.h"
#include "tmp.h"
#include "xml.h"

#define FLIPS 20000


static struct http	web;
static struct err	err;
static char		dir[TMP_DIR];
static char		base[64];

/*
 * Signatures.  The keys are the examples of AWS's documentation.
 */

struct known {
	const char	*name, *method, *path, *query, *payload, *signature;
	const char	*headers[6];
};

#define HOST "Host: examplebucket.s3.amazonaws.com"
#define DATE "x-amz-date: 20130524T000000Z"
#define BODY "x-amz-content-sha256: " SIGN_EMPTY
#define WELCOME \
	"44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
static const struct known	s3_known[] = {
	{ "GET with a Range", "GET", "/test.txt", "", SIGN_EMPTY,
	    "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
	    { HOST, "Range: bytes=0-9", BODY, DATE, NULL, NULL } },
	{ "PUT", "PUT", "/test%24file.text", "", WELCOME,
	    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
	    { DATE, "Date: Fri, 24 May 2013 00:00:00 GMT",
	    "x-amz-storage-class:   REDUCED_REDUNDANCY ", HOST,
	    "X-Amz-Content-SHA256: " WELCOME, NULL } },
	{ "a query without value", "GET", "/", "lifecycle=", SIGN_EMPTY,
	    "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
	    { HOST, BODY, DATE, NULL, NULL, NULL } },
	{ "a list", "GET", "/", "max-keys=2&prefix=J", SIGN_EMPTY,
	    "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
	    { HOST, BODY, DATE, NULL, NULL, NULL } }
};
/* of the test suite: another service, another day */
#define HOST2 "Host:example.amazonaws.com"
#define DATE2 "X-Amz-Date:20150830T123600Z"
static const struct known	suite[] = {
	{ "get-vanilla", "GET", "/", "", SIGN_EMPTY,
	    "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
	    { HOST2, DATE2, NULL, NULL, NULL, NULL } },
	{ "post-vanilla", "POST", "/", "", SIGN_EMPTY,
	    "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
	    { HOST2, DATE2, NULL, NULL, NULL, NULL } },
	{ "get-vanilla-query-order-key-case", "GET", "/",
	    "Param1=value1&Param2=value2", SIGN_EMPTY,
	    "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
	    { HOST2, DATE2, NULL, NULL, NULL, NULL } },
	{ "get-utf8", "GET", "/%E1%88%B4", "", SIGN_EMPTY,
	    "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
	    { HOST2, DATE2, NULL, NULL, NULL, NULL } }
};

static void
check_known(const struct known *k, const char *date, const char *service,
    const char *id, const char *tail)
{
	char		 secret[64];
	struct sign_keys keys = { id, secret, NULL };
	struct sign_req	 q = { k->method, k->path, k->query, k->headers,
		k->payload, "us-east-1", service, date };
	struct buf	 b;
	const char	*s;

	/* in pieces, so that nobody takes it for a secret */
	(void)snprintf(secret, sizeof(secret), "wJalrXUtnFEMI%s%s%s",
	    "/K7MDENG", tail, "bPxRfiCYEXAMPLEKEY");
	buf_init(&b, 4096);
	err.code = 0;
	s = sign_v4(&b, &q, &keys, &err) == 0 ?
	    strstr(buf_cstr(&b), "Signature=") : NULL;
	tap_is(s != NULL ? s + 10 : err.text, k->signature, k->name);
	buf_free(&b);
}

/* RFC 4231, 4.7: a key longer than a block of SHA-256. */
static void
long_key(void)
{
	static const char	text[] =
	    "Test Using Larger Than Block-Size Key - Hash Key First";
	unsigned char		key[131], d[HASH_LEN];
	char			hex[HASH_HEX];

	memset(key, 0xaa, sizeof(key));
	hash_hmac(key, sizeof(key), text, sizeof(text) - 1, d);
	hash_hex(d, hex);
	tap_is(hex, "60e431591ee0b67f0d8a26aacbf5b77f"
	    "8e0bc6213728c5140546040f0ee37f54", "HMAC of a long key");
}

static void
signatures(void)
{
	static const char *const	twice[] = { "A: 1", "a: 2", NULL };
	struct sign_param	p[] = { { "b", "2" }, { "a-b", "1" },
		{ "a", "x y+z/\xc3\xbc" }, { "a", "w" }, { "c", NULL } };
	struct sign_keys	k = { "id", "secret", NULL };
	struct sign_req		q = { "GET", "/", "", twice, SIGN_EMPTY, "r",
		"s3", "20130524T000000Z" };
	struct buf		b;
	char			date[SIGN_DATE], b64[SIGN_B64_SHA];
	size_t			i;

	for (i = 0; i < sizeof(s3_known) / sizeof(s3_known[0]); i++)
		check_known(&s3_known[i], "20130524T000000Z", "s3",
		    "AKIA" "IOSFODNN7EXAMPLE", "/");
	for (i = 0; i < sizeof(suite) / sizeof(suite[0]); i++)
		check_known(&suite[i], "20150830T123600Z", "service",
		    "AKIDEXAMPLE", "+");
	buf_init(&b, 4096);
	sign_query(&b, p, 5);
	tap_is(buf_cstr(&b), "a=w&a=x%20y%2Bz%2F%C3%BC&a-b=1&b=2&c=",
	    "a query, encoded, then in order of names");
	buf_reset(&b);
	sign_encode(&b, "a/b c~%41\x01", 1);
	tap_is(buf_cstr(&b), "a/b%20c~%2541%01", "a path");
	buf_reset(&b);
	tap_ok(sign_v4(&b, &q, &k, &err) == -1, "not two headers of a name");
	buf_free(&b);
	sign_date(INT64_C(1369353600) * 1000000000, date);
	tap_is(date, "20130524T000000Z", "a date");
	(void)sign_b64_sha(SIGN_EMPTY, b64);
	tap_is(b64, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
	    "a digest in base64");
	sign_b64_md5("", 0, b64);
	tap_is(b64, "1B2M2Y8AsgTpgAmY7PhCfg==", "an MD5");
	long_key();
}

/*
 * XML.
 */

/* Events of a text: "<a" opens, "a=text>" closes, "$" ends, "!" bad. */
static const char *
events(const char *s, size_t n)
{
	static char	b[4096];
	struct xml	x;
	enum xml_type	t;
	size_t		len = 0;

	xml_init(&x, s, n);
	do {
		t = xml_next(&x);
		if (t == XML_OPEN)
			len += (size_t)snprintf(b + len, sizeof(b) - len,
			    "<%s", x.name);
		else if (t == XML_CLOSE)
			len += (size_t)snprintf(b + len, sizeof(b) - len,
			    "%s=%s>", x.name, x.str);
		else
			len += (size_t)snprintf(b + len, sizeof(b) - len,
			    t == XML_EOF ? "$" : "!");
	} while ((t == XML_OPEN || t == XML_CLOSE) && len < sizeof(b) - 200);
	xml_clear(&x);
	return b;
}

static int
is_bad(const char *s)
{
	const char	*r = events(s, strlen(s));

	return r[strlen(r) - 1] == '!';
}

static void
xml(void)
{
	static const char	doc[] = "\n<?xml version=\"1.0\"?>\n"
	    "<!-- - --><s:a xmlns:s='x' b=\"c>d\"><e/>"
	    "<k>x&amp;&#65;&#x20ac;&lt;</k>\n<k><![CDATA[<&]]]>y</k></s:a>\n";
	static const char *const	bad[] = { "", " ", "text", "<a>",
		"<a></b>", "</a>", "<a/><b/>", "<a/>x", "<a>&b;</a>",
		"<a>&#0;</a>", "<a>&#xd800;</a>", "<a>&#1114112;</a>",
		"<a>&amp</a>", "<!DOCTYPE a><a/>", "<a b=c/>", "<a b/>",
		"<a b='<'/>", "<a><!-- </a>", "< a/>", "<a\xff/>",
		"<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a>",
		"<!ENTITY x 'y'><a/>", "<a>]]><![CDATA[</a>" };
	char		copy[sizeof(doc)];
	const char	*r;
	struct buf	b;
	uint64_t	rng = 88172645463325252U;
	size_t		i, n = 0, refused = 0;

	tap_is(events(doc, sizeof(doc) - 1), "<a<e" "e=><kk=x&A\xe2\x82\xac<>"
	    "<kk=<&]y>a=\n>$", "elements, references, CDATA");
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (is_bad(bad[i]))
			n++;
		else
			printf("# taken: %s\n", bad[i]);
	}
	tap_ok(n == i, "what is malformed, or a DTD, is refused");
	for (i = 0; i < FLIPS; i++) {
		memcpy(copy, doc, sizeof(doc));
		rng ^= rng << 13;
		rng ^= rng >> 7;
		rng ^= rng << 17;
		copy[rng % (sizeof(doc) - 1)] ^= (char)(1 << (rng >> 32) % 8);
		r = events(copy, (size_t)((rng >> 40) % sizeof(doc)));
		refused += r[strlen(r) - 1] == '!';
	}
	/* all of it but the last newline is wanted */
	for (i = n = 0; i < sizeof(doc) - 2; i++) {
		r = events(doc, i);
		n += r[strlen(r) - 1] != '!';
	}
	printf("# %zu of %d refused\n", refused, FLIPS);
	tap_ok(n == 0 && refused > FLIPS / 2 && refused < FLIPS,
	    "flips and cuts");
	buf_init(&b, 1024);
	tap_ok(xml_put(&b, "a<b>&\t\"'") == 0, "put");
	tap_is(buf_cstr(&b), "a&lt;b&gt;&amp;&#9;\"'", "as text");
	tap_ok(xml_put(&b, "\x01") == -1 && xml_put(&b, "\xff") == -1,
	    "what it cannot say is refused");
	buf_free(&b);
}

/*
 * A server that says odd things: by the first letter of the bucket.
 */

#define PAGE(keys, more) "<?xml version=\"1.0\"?><ListBucketResult>" \
	"<EncodingType>url</EncodingType><Prefix>p</Prefix>" keys more \
	"</ListBucketResult>"
#define KEY(k) "<Contents><Key>" k "</Key><Size>7</Size>" \
	"<LastModified>2013-05-24T00:00:00.000Z</LastModified>" \
	"<ETag>&quot;e&quot;</ETag><Owner><ID>x</ID></Owner></Contents>"
#define MORE(t) "<IsTruncated>true</IsTruncated>" \
	"<NextContinuationToken>" t "</NextContinuationToken>"
#define ERROR(code) "<?xml version=\"1.0\"?><Error><Code>" code "</Code>" \
	"<Message>in words</Message><Region>eu-west-9</Region></Error>"

static enum http_next
say(struct http_req *q, const char *status, const char *more,
    const char *body)
{
	return http_answer(q, status, more, body) == 0 ? HTTP_KEEP :
	    HTTP_CLOSE;
}

static enum http_next
metadata(struct http_req *q)
{
	char	b[1024];
	time_t	t = time(NULL) + q->h->seen->other;
	struct tm tm;

	if (strcmp(q->target, "/latest/api/token") == 0)
		return strcmp(q->method, "PUT") == 0 && *http_value(q->head,
		    "X-aws-ec2-metadata-token-ttl-seconds") != '\0' ?
		    say(q, "200 OK", "", "the-token") :
		    say(q, "405 No", "", "");
	if (strncmp(q->target, "/latest/", 8) == 0 && strcmp(http_value(
	    q->head, "X-aws-ec2-metadata-token"), "the-token") != 0)
		return say(q, "401 No", "", "");
	if (strcmp(q->target,
	    "/latest/meta-data/iam/security-credentials/") == 0)
		return say(q, "200 OK", "", "role\n");
	if (strncmp(q->target, "/zkeys", 6) == 0 && strcmp(http_value(
	    q->head, "Authorization"), "letmein") != 0)
		return say(q, "403 No", "", "");
	memset(&tm, 0, sizeof(tm));
	(void)gmtime_r(&t, &tm);
	(void)snprintf(b, sizeof(b), "{\"Code\":\"Success\",\"AccessKeyId\":"
	    "\"META%d\",\"SecretAccessKey\":\"s\\/3\",\"Token\":\"tok%d\","
	    "\"Expiration\":\"%04d-%02d-%02dT%02d:%02d:%02dZ\"}",
	    q->h->seen->hits[25], q->h->seen->hits[25], tm.tm_year + 1900,
	    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	return say(q, "200 OK", "", b);
}

static enum http_next
list(struct http_req *q)
{
	if (strstr(q->target, "continuation-token=") == NULL)
		return say(q, "200 OK", "", PAGE(KEY("p+x") KEY("p%21")
		    "<CommonPrefixes><Prefix>p%2F</Prefix></CommonPrefixes>",
		    MORE("t+/=&amp;1")));
	if (strstr(q->target, "continuation-token=t%2B%2F%3D%261") != NULL)
		return say(q, "200 OK", "", PAGE("", MORE("t2")));
	return say(q, "200 OK", "", PAGE(KEY("p%2Bz") KEY("p%C3%BC"),
	    "<IsTruncated>false</IsTruncated>"));
}

static enum http_next
answer(struct http_req *q)
{
	const char	*date = http_value(q->head, "x-amz-date");

	if (strncmp(q->target, "/latest/", 8) == 0 ||
	    strncmp(q->target, "/zkeys", 6) == 0)
		return metadata(q);
	switch (q->target[1]) {
	case 'a': /* all is well */
		return say(q, "200 OK", "ETag: \"e\"\r\n"
		    "x-amz-checksum-sha256: abc=\r\n", "");
	case 'b':
		return say(q, "503 Slow", "", ERROR("SlowDown"));
	case 'c':
		return say(q, "409 Conflict", "",
		    ERROR("ConditionalRequestConflict"));
	case 'd':
		return say(q, "200 OK", "", "<DeleteResult><Deleted><Key>"
		    "good</Key></Deleted><Error><Key>bad</Key><Code>"
		    "AccessDenied</Code></Error></DeleteResult>");
	case 'e':
		return say(q, "200 OK", "", ERROR("InternalError"));
	case 'f':
		return say(q, "500 Oops", "", ERROR("InternalError"));
	case 'g':
		return HTTP_CLOSE;
	case 'h':
		return HTTP_RESET;
	case 'i': /* as one that ignores conditions */
		return say(q, "200 OK", "ETag: \"e\"\r\n", "");
	case 'j': /* just works at the third try */
		if (q->h->seen->hits['j' - 'a'] % 3 != 0)
			return say(q, "500 Oops", "", "");
		return say(q, "200 OK", "", "at last");
	case 'l':
		return list(q);
	case 'm': /* a list in a circle */
		return say(q, "200 OK", "", PAGE("", MORE("same")));
	case 'n': /* not in order */
		return say(q, "200 OK", "", PAGE(KEY("pb") KEY("pa"), ""));
	case 'o': /* others' keys */
		return say(q, "200 OK", "", PAGE(KEY("q"), ""));
	case 'p':
		return say(q, "412 No", "", ERROR("PreconditionFailed"));
	case 'q': /* a list that is cut */
		return say(q, "200 OK", "", "<ListBucketResult>" KEY("pa"));
	case 'r': /* elsewhere */
		if (strstr(http_value(q->head, "Authorization"),
		    "/eu-west-9/s3/") != NULL)
			return say(q, "200 OK", "", "there");
		return say(q, "400 Bad Request", "",
		    ERROR("AuthorizationHeaderMalformed"));
	case 's': /* another time */
		if (strncmp(date, "2040", 4) == 0)
			return say(q, "200 OK", "", "then");
		return say(q, "403 Forbidden",
		    "Date: Sun, 01 Jan 2040 12:00:00 GMT\r\n",
		    strcmp(q->method, "HEAD") == 0 ? "" :
		    ERROR("RequestTimeTooSkewed"));
	case 't':
		return say(q, "404 Not Found", "", ERROR("NoSuchUpload"));
	case 'u':
		return say(q, "403 Forbidden", "", ERROR("AccessDenied"));
	case 'w': /* complete, but who knows */
		return say(q, "200 OK", "", "<CompleteMultipart");
	case 'x': /* keys that are over */
		if (strcmp(http_value(q->head, "x-amz-security-token"),
		    "tok1") == 0)
			return say(q, "400 Bad Request", "",
			    ERROR("ExpiredToken"));
		return say(q, "200 OK", "", "renewed");
	default:
		return say(q, "501 No", "", ERROR("NotImplemented"));
	}
}

/*
 * Keys.
 */

static void
put_file(const char *name, const char *text)
{
	char	b[128];
	int	fd;

	(void)snprintf(b, sizeof(b), "%s/%s", dir, name);
	fd = open(b, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	(void)io_write(fd, text, strlen(text));
	(void)close(fd);
}

static void
forget_env(void)
{
	static const char *const v[] = { "AWS_ACCESS_KEY_ID",
		"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
		"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL",
		"AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT", "http_proxy" };
	char	b[128];
	size_t	i;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		(void)unsetenv(v[i]);
	(void)setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
	(void)snprintf(b, sizeof(b), "%s/credentials", dir);
	(void)setenv("AWS_SHARED_CREDENTIALS_FILE", b, 1);
	(void)snprintf(b, sizeof(b), "%s/config", dir);
	(void)setenv("AWS_CONFIG_FILE", b, 1);
}

/* "id secret token" of a profile (NULL: as the environment says). */
static const char *
keys_of(const char *profile)
{
	static char	 b[256];
	struct cred_conf conf;
	struct sign_keys k;
	struct cred	*c;

	memset(&err, 0, sizeof(err));
	if (cred_conf_load(&conf, profile, &err) == -1)
		return err.text;
	c = cred_new(&conf);
	if (cred_get(c, &k, &err) == 0)
		(void)snprintf(b, sizeof(b), "%s %s %s", k.access, k.secret,
		    k.token != NULL ? k.token : "-");
	else
		(void)snprintf(b, sizeof(b), "%d", err.code);
	cred_free(c);
	cred_conf_clear(&conf);
	return b;
}

static void
keys(void)
{
	struct cred_conf conf;
	struct sign_keys k;
	struct rlimit	 core;
	struct cred	*c;
	char		 b[128];

	put_file("credentials", "# c\n[default]\naws_access_key_id = FILE\n"
	    "aws_secret_access_key=a/b+c=\r\n\n[ two ]\n"
	    "aws_access_key_id = TWO\naws_secret_access_key = s2\n"
	    "aws_session_token = t2\n[half]\naws_access_key_id = HALF\n"
	    "[dirty]\naws_access_key_id = A B\naws_secret_access_key = s\n");
	put_file("config", "[default]\nregion = eu-central-1\n"
	    "[profile three]\naws_access_key_id = THREE\n"
	    "aws_secret_access_key = s3\nregion = xx\nca_bundle = /ca\n"
	    "s3 =\n  addressing_style = path\n  other = y\n"
	    "services = mine\n[services mine]\n"
	    "ec2 =\n  endpoint_url = http://ec2\n"
	    "s3 =\n  endpoint_url = http://in-config:1\n"
	    "[profile role]\nrole_arn = arn:x\nsource_profile = default\n");
	forget_env();
	tap_is(keys_of(NULL), "FILE a/b+c= -", "the default profile");
	tap_is(keys_of("two"), "TWO s2 t2", "another, with a token");
	tap_is(keys_of("three"), "THREE s3 -", "one of the config file");
	tap_is(keys_of("half"), "77", "half a key is none");
	tap_is(keys_of("dirty"), "77", "nor one with a space");
	tap_ok(strstr(err.text, "A B") == NULL, "which is not told");
	tap_is(keys_of("role"), "77", "a role");
	tap_ok(strstr(err.text, "role_arn") != NULL, "is said not to be done");
	(void)keys_of("nope");
	tap_ok(err.code == MSG_NOINPUT, "a profile that is not there: 66");
	(void)setenv("AWS_PROFILE", "two", 1);
	tap_is(keys_of(NULL), "TWO s2 t2", "AWS_PROFILE");
	(void)setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
	(void)setenv("AWS_SECRET_ACCESS_KEY", "es", 1);
	(void)setenv("AWS_SESSION_TOKEN", "et", 1);
	tap_is(keys_of(NULL), "ENV es et", "the environment wins");
	tap_is(keys_of("three"), "THREE s3 -", "but over a named profile");
	forget_env();
	(void)setenv("AWS_PROFILE", "three", 1);
	tap_ok(cred_conf_load(&conf, NULL, &err) == 0 &&
	    strcmp(conf.region, "xx") == 0 &&
	    strcmp(conf.ca_bundle, "/ca") == 0 &&
	    strcmp(conf.style, "path") == 0 &&
	    strcmp(conf.endpoint, "http://in-config:1") == 0,
	    "region, CA, style and endpoint of a profile");
	cred_conf_clear(&conf);
	(void)setenv("AWS_ENDPOINT_URL", "http://one", 1);
	(void)setenv("AWS_ENDPOINT_URL_S3", "http://two", 1);
	(void)setenv("AWS_REGION", "yy", 1);
	tap_ok(cred_conf_load(&conf, NULL, &err) == 0 &&
	    strcmp(conf.region, "yy") == 0 &&
	    strcmp(conf.endpoint, "http://two") == 0,
	    "of the environment");
	cred_conf_clear(&conf);

	tap_ok(getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0 &&
	    core.rlim_max == 0, "who holds keys leaves no core");

	/* metadata services */
	forget_env();
	(void)setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent", 1);
	(void)setenv("AWS_CONFIG_FILE", "/nonexistent", 1);
	tap_is(keys_of(NULL), "77", "none at all");
	(void)snprintf(b, sizeof(b), "%s/", base);
	(void)setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", b, 1);
	(void)unsetenv("AWS_EC2_METADATA_DISABLED");
	web.seen->other = 3600;
	(void)setenv("http_proxy", "http://127.0.0.1:1", 1);
	tap_is(keys_of(NULL), "META0 s/3 tok0", "an instance's, by IMDSv2");
	(void)unsetenv("http_proxy");
	(void)snprintf(b, sizeof(b), "%s/zkeys", base);
	(void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", b, 1);
	tap_is(keys_of(NULL), "77", "a container's, refused");
	(void)setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "letmein", 1);
	web.seen->hits[25] = 0;
	tap_is(keys_of(NULL), "META1 s/3 tok1", "a container's");
	(void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI",
	    "http://127.evil.example/zkeys", 1);
	tap_is(keys_of(NULL), "77", "not from afar without TLS");
	(void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", b, 1);
	(void)cred_conf_load(&conf, NULL, &err);
	c = cred_new(&conf);
	web.seen->other = CRED_EARLY_S - 60;
	web.seen->hits[25] = 0;
	(void)cred_get(c, &k, &err);
	(void)cred_get(c, &k, &err);
	tap_is(k.access, "META2", "fetched anew before they are over");
	web.seen->other = 3600;
	(void)cred_get(c, &k, &err);
	(void)cred_get(c, &k, &err);
	tap_is(k.access, "META3", "and no sooner");
	tap_ok(cred_expired(c) == 0 && cred_get(c, &k, &err) == 0 &&
	    strcmp(k.access, "META4") == 0, "or when the server says so");
	(void)cred_expired(c);
	(void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI",
	    "http://127.0.0.1:1/zkeys", 1);
	tap_ok(cred_get(c, &k, &err) == 0 && strcmp(k.access, "META4") == 0,
	    "the old ones serve while they last");
	cred_free(c);
	cred_conf_clear(&conf);
	forget_env();
}

/*
 * Requests.
 */

static struct net	*net;
static struct retry	*retry;
static struct s3	*s3;
static struct s3_res	res;
static char		 seen[1024];

static int
on_object(void *arg, const struct s3_object *o, struct err *e)
{
	size_t	n = strlen(seen);

	(void)arg;
	(void)e;
	(void)snprintf(seen + n, sizeof(seen) - n, "%s%s,", o->key,
	    o->is_prefix ? "(prefix)" : o->size == 7 && o->modified > 0 &&
	    strcmp(o->etag, "\"e\"") == 0 ? "" : "?");
	return 0;
}

static int
ls(const char *bucket)
{
	seen[0] = '\0';
	memset(&err, 0, sizeof(err));
	return s3_list(s3, bucket, "p", NULL, NULL, on_object, NULL, &err);
}

static int
put(const char *bucket, unsigned int flags)
{
	s3_res_clear(&res);
	memset(&err, 0, sizeof(err));
	return s3_put(s3, bucket, "k", "x", 1, flags, NULL, NULL, &res, &err);
}

static int
get(const char *bucket)
{
	s3_res_clear(&res);
	memset(&err, 0, sizeof(err));
	return s3_get(s3, bucket, "k", 100, &res, &err);
}

static int
hits(char c)
{
	return web.seen->hits[c - 'a'];
}

static void
fresh(void)
{
	struct cred_conf	conf;

	s3_free(s3);
	retry_free(retry);
	retry = retry_new(NULL, 0);
	(void)cred_conf_load(&conf, NULL, &err);
	s3 = s3_new(net, &conf, 1, retry, &err);
	cred_conf_clear(&conf);
}

/* A conditional PUT: what it ends as, with one request. */
static void
ends_as(const char *bucket, enum s3_outcome want, int code, const char *what)
{
	int	n = hits(bucket[0]), r;

	fresh();
	r = put(bucket, S3_IF_NONE);
	if (!tap_ok(r == -1 && res.outcome == want && err.code == code &&
	    hits(bucket[0]) == n + 1, "%s", what))
		printf("# %d, outcome %d, code %d, %d requests: %s\n", r,
		    (int)res.outcome, err.code, hits(bucket[0]) - n,
		    err.text);
}

static void
requests(void)
{
	char			*bucket, *key;
	int			 n;

	tap_ok(s3_url("s3://b-1/a//b?c%20", &bucket, &key, &err) == 0 &&
	    strcmp(bucket, "b-1") == 0 && strcmp(key, "a//b?c%20") == 0,
	    "a URL: its key as it is");
	free(bucket);
	free(key);
	tap_ok(s3_url("s3:///k", &bucket, &key, &err) == -1 &&
	    s3_url("http://b/k", &bucket, &key, &err) == -1 &&
	    s3_url("s3://../k", &bucket, &key, &err) == -1, "no URL");
	fresh();
	tap_ok(put("aaa", S3_CHECKSUM) == 0 && res.outcome == S3_DONE &&
	    strcmp(res.etag, "\"e\"") == 0 &&
	    strcmp(res.sha256, "abc=") == 0, "a PUT, its ETag and echo");
	tap_is(http_value(web.seen->last[0], "x-amz-security-token"), "et",
	    "with the session's token");
	tap_is(http_value(web.seen->last[0], "x-amz-content-sha256"),
	    "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
	    "and the digest of its body");
	tap_ok(strstr(http_value(web.seen->last[0], "Authorization"),
	    "x-amz-security-token") != NULL &&
	    strstr(web.seen->last[0], "es/secret") == NULL,
	    "the token signed, the secret not sent");
	(void)s3_put(s3, "aaa", "k", "x", 1, 0, "\"abc\"", NULL, NULL, &err);
	tap_is(http_value(web.seen->last[0], "If-Match"), "abc",
	    "If-Match of a PUT goes without quotes");

	tap_ok(ls("lll") == 0, "a list of three pages");
	tap_is(seen, "p x,p!,p/(prefix),p+z,p\xc3\xbc,",
	    "every key, decoded, in order");
	tap_ok(ls("mmm") == -1 && err.code == MSG_DATAERR, "in a circle: 65");
	tap_ok(ls("nnn") == -1 && err.code == MSG_DATAERR, "out of order");
	tap_ok(ls("ooo") == -1 && err.code == MSG_DATAERR, "not asked for");
	tap_ok(ls("qqq") == -1 && err.code == MSG_DATAERR, "cut short");

	n = hits('s');
	tap_ok(get("sss") == 0 && hits('s') == n + 2,
	    "a clock that is wrong: signed anew with the server's");
	tap_ok(get("sss") == 0 && hits('s') == n + 3, "from then on");
	fresh();
	memset(&err, 0, sizeof(err));
	tap_ok(s3_head(s3, "sss", "k", NULL, &err) == 0,
	    "of HEAD, which has no body to say it, too");
	tap_ok(get("rrr") == 0 && hits('r') == 2, "another region");
	tap_ok(get("rrr") == 0 && hits('r') == 3, "is remembered");
	n = hits('u');
	tap_ok(get("uuu") == -1 && err.code == MSG_NOPERM &&
	    strcmp(res.code, "AccessDenied") == 0 && hits('u') == n + 2,
	    "no right: 77");
	fresh();
	tap_ok(get("jjj") == 0 && hits('j') == 3, "a read is repeated");
	tap_ok(put("jjj", 0) == 0 && hits('j') == 6, "so is a plain PUT");
	n = hits('t');
	tap_ok(get("ttt") == -1 && err.code == MSG_NOINPUT &&
	    hits('t') == n + 1, "404: one request");
	tap_ok(strstr(err.text, "s3://ttt/k: 404 NoSuchUpload: in words") !=
	    NULL, "the error in the server's words");
}

static void
outcomes(void)
{
	struct s3_part	 part = { 1, 1, "\"e\"" };
	const char	*both[] = { "good", "bad" };
	enum s3_excludes x;
	int		 n, r;

	ends_as("ggg", S3_UNKNOWN, MSG_TEMPFAIL, "no answer: unknown");
	ends_as("hhh", S3_UNKNOWN, MSG_TEMPFAIL, "a reset: unknown");
	ends_as("fff", S3_UNKNOWN, MSG_TEMPFAIL, "500: unknown");
	ends_as("bbb", S3_UNKNOWN, MSG_TEMPFAIL, "503: unknown");
	ends_as("eee", S3_UNKNOWN, MSG_TEMPFAIL, "an error in a 200");
	ends_as("ppp", S3_TAKEN, MSG_CANTCREAT, "412: taken");
	ends_as("ccc", S3_TAKEN, MSG_CANTCREAT, "409: taken");
	/* nothing was asked for that another could have been first at */
	fresh();
	r = put("ppp", 0);
	tap_ok(r == -1 && res.outcome == S3_UNKNOWN && err.code ==
	    MSG_DATAERR, "412 without a condition is no lost race");
	tap_ok(get("ppp") == -1 && err.code == MSG_DATAERR,
	    "nor that of a read");
	fresh();
	err.code = 0;
	n = hits('e');
	tap_ok(s3_list(s3, "eee", "", NULL, NULL, NULL, NULL, &err) == -1 &&
	    err.code == MSG_TEMPFAIL && hits('e') == n + 5,
	    "an error in the 200 of a list: asked until the breaker opens");
	fresh();
	ends_as("ttt", S3_REFUSED, MSG_NOINPUT, "404: refused");
	ends_as("zzz", S3_REFUSED, MSG_DATAERR, "501: refused");
	fresh();
	s3_res_clear(&res);
	err.code = 0;
	r = s3_mp_complete(s3, "ttt", "k", "id", &part, 1, 0, &res, &err);
	tap_ok(r == -1 && res.outcome == S3_UNKNOWN,
	    "a complete of an upload that is gone: unknown");
	s3_res_clear(&res);
	err.code = 0;
	r = s3_mp_complete(s3, "eee", "k", "id", &part, 1, 0, &res, &err);
	tap_ok(r == -1 && res.outcome == S3_UNKNOWN &&
	    strcmp(res.code, "InternalError") == 0,
	    "an error in the 200 of a complete: unknown");
	s3_res_clear(&res);
	err.code = 0;
	r = s3_mp_complete(s3, "www", "k", "id", &part, 1, 0, &res, &err);
	tap_ok(r == -1 && res.outcome == S3_UNKNOWN, "half an answer, too");
	s3_res_clear(&res);
	err.code = 0;
	tap_ok(s3_mp_abort(s3, "ttt", "k", "id", &err) == 0 &&
	    s3_delete(s3, "ttt", "k", &err) == 0, "what is gone is gone");
	tap_ok(s3_delete_many(s3, "ddd", both, 2, NULL, NULL, &err) == -1 &&
	    err.code == MSG_NOPERM, "one of a batch stays: 77");
	err.code = 0;
	tap_ok(s3_delete_many(s3, "ddd", both, 1, NULL, NULL, &err) == -1,
	    "a batch whose answer does not add up");
	err.code = 0;
	tap_ok(s3_probe(s3, "iii", "p/", &x, &err) == 0 && x == S3_IGNORES,
	    "the probe sees who ignores conditions");
	err.code = 0;
	tap_ok(s3_probe(s3, "zzz", "p/", &x, &err) == -1 || x == S3_LACKS,
	    "and who has none");
}

static void
expired(void)
{
	char	b[128];

	(void)setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent", 1);
	(void)setenv("AWS_CONFIG_FILE", "/nonexistent", 1);
	(void)unsetenv("AWS_ACCESS_KEY_ID");
	(void)unsetenv("AWS_SECRET_ACCESS_KEY");
	(void)unsetenv("AWS_SESSION_TOKEN");
	(void)snprintf(b, sizeof(b), "%s/zkeys", base);
	(void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", b, 1);
	(void)setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "letmein", 1);
	web.seen->other = 3600;
	web.seen->hits[25] = 0;
	fresh();
	tap_ok(get("xxx") == 0 && hits('x') == 2,
	    "keys that are over: fetched, and signed anew");
	tap_ok(s3_host(s3) != NULL && strncmp(s3_host(s3), "127.0.0.1:",
	    10) == 0, "whom a breaker goes by");
}

int
main(void)
{
	char	b[128];

	tap_plan(90);
	msg_init("s3");
	if (tmp_dir(dir, "s3") == -1 || http_start(&web, answer) == -1)
		return 99;
	(void)snprintf(base, sizeof(base), "http://127.0.0.1:%d", web.port);
	signatures();
	xml();
	keys();
	(void)setenv("AWS_ENDPOINT_URL_S3", base, 1);
	(void)setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
	(void)setenv("AWS_SECRET_ACCESS_KEY", "es/secret", 1);
	(void)setenv("AWS_SESSION_TOKEN", "et", 1);
	net = net_new(&(struct net_opts){ 8, NULL, "test" }, &err);
	requests();
	outcomes();
	expired();
	s3_res_clear(&res);
	s3_free(s3);
	retry_free(retry);
	net_free(net);
	http_stop(&web);
	(void)snprintf(b, sizeof(b), "%s/credentials", dir);
	(void)unlink(b);
	(void)snprintf(b, sizeof(b), "%s/config", dir);
	(void)unlink(b);
	(void)rmdir(dir);
	return tap_done();
}
