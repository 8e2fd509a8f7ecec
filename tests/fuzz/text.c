/*
 * fuzz: the small texts: plans, XML, manifests, journals, commits and what
 * lies beside them, requests to sign, and files of credentials.
 * SPDX-License-Identifier: ISC
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "cred.h"
#include "journal.h"
#include "manifest.h"
#include "net.h"
#include "path.h"
#include "plan.h"
#include "sign.h"
#include "target.h"
#include "xml.h"
#include "banned.h"

#define TEXT_MAX	((size_t)1 << 20)	/* bytes of what is signed */
#define LINES_MAX	64

void
fuzz_plan(const unsigned char *p, size_t n)
{
	struct plan	 plan;
	struct err	 e;
	char		*line;
	unsigned long	 i;

	plan_init(&plan);
	for (i = 1; p != NULL && i <= LINES_MAX; i++) {
		line = fuzz_str(&p, &n);
		e.code = 0;
		FUZZ_MUST(plan_add_line(&plan, line, "fuzz", i, &e) == 0 ||
		    e.code != 0);
		free(line);
	}
	for (i = 0; i < plan.n; i++)
		FUZZ_MUST(plan_find(&plan, plan.v[i].url) == &plan.v[i]);
	plan_clear(&plan);
}

void
fuzz_xml(const unsigned char *p, size_t n)
{
	struct xml	x;
	enum xml_type	t;
	int		open = 0;

	xml_init(&x, p, n);
	while ((t = xml_next(&x)) == XML_OPEN || t == XML_CLOSE) {
		open += t == XML_OPEN ? 1 : -1;
		FUZZ_MUST(open >= 0 && open <= XML_DEPTH);
		if (t == XML_CLOSE)
			FUZZ_MUST(x.str[x.len] == '\0');
	}
	FUZZ_MUST(t == XML_BAD ? x.why != NULL : open == 0);
	xml_clear(&x);
}

void
fuzz_manifest(const unsigned char *p, size_t n)
{
	struct manifest	m;
	struct err	e = { 0, "" };
	size_t		i;

	if (manifest_parse(&m, p, n, &e) == -1) {
		FUZZ_MUST(e.code == MSG_DATAERR);
		return;
	}
	for (i = 0; i < m.n_files; i++) {
		FUZZ_MUST(path_is_safe(m.files[i].name));
		FUZZ_MUST(i == 0 || strcmp(m.files[i - 1].name,
		    m.files[i].name) < 0);
	}
	for (i = 0; i < m.n_sources; i++)
		FUZZ_MUST(manifest_source(&m, m.sources[i].sha256) != NULL);
	manifest_clear(&m);
}

void
fuzz_journal(const unsigned char *p, size_t n)
{
	struct journal	j;
	struct err	e = { 0, "" };
	size_t		i;

	if (journal_parse(&j, (const char *)p, n, &e) == -1) {
		FUZZ_MUST(e.code == MSG_DATAERR);
		return;
	}
	for (i = 0; i < j.n; i++)
		FUZZ_MUST(path_is_safe(j.v[i].name));
	journal_clear(&j);
}

/* A commit, a pointer and a manifest, as a target's owner may find them. */
void
fuzz_commit(const unsigned char *p, size_t n)
{
	struct target_opts	 o;
	struct target_commit	 c;
	struct manifest		 m;
	struct target		*t;
	struct err		 e = { 0, "" };
	const unsigned char	*part;
	size_t			 k;

	k = fuzz_part(&p, &n, &part);
	fuzz_put("commits/1.json", part, k);
	k = fuzz_part(&p, &n, &part);
	fuzz_put("latest-pointer.txt", part, k);
	k = fuzz_part(&p, &n, &part);
	fuzz_put("timestamped/20261120T161248.123456Z-0123abcd/manifest.json",
	    part, k);
	memset(&o, 0, sizeof(o));
	memset(&c, 0, sizeof(c));
	t = target_open(fuzz_dir, &o, &e);
	FUZZ_MUST(t != NULL);
	if (target_head(t, &c, &e) == 1) {
		FUZZ_MUST(c.generation == 1 && target_version_ok(c.version));
		e.code = 0;
		if (target_manifest(t, c.version, &m, NULL, &e) == 0) {
			(void)target_verify(t, c.version, &e);
			manifest_clear(&m);
		}
	} else
		FUZZ_MUST(e.code != 0);
	target_commit_clear(&c);
	target_close(t);
}

void
fuzz_sign(const unsigned char *p, size_t n)
{
	struct sign_param	 v[4];
	struct sign_req		 q;
	struct sign_keys	 k;
	struct buf		 path, query, out;
	struct err		 e = { 0, "" };
	char			*s[10], date[SIGN_DATE], *host;
	const char		*headers[3];
	size_t			 i;

	for (i = 0; i < 10; i++)
		s[i] = fuzz_str(&p, &n);
	buf_init(&path, TEXT_MAX);
	buf_init(&query, TEXT_MAX);
	buf_init(&out, TEXT_MAX);
	buf_addc(&path, '/');
	sign_encode(&path, s[0], 1);
	for (i = 0; i < 4; i++)
		v[i] = (struct sign_param){ s[1 + i / 2], s[3 + i % 2] };
	sign_query(&query, v, 4);
	host = s[5];
	sign_date((int64_t)(strlen(s[6]) % 100) * 79999999 * 1000000000, date);
	headers[0] = "Host: h";
	headers[1] = strchr(host, ':') != NULL ? host : NULL;
	headers[2] = NULL;
	memset(&q, 0, sizeof(q));
	q.method = "GET";
	q.path = buf_cstr(&path);
	q.query = buf_cstr(&query);
	q.headers = headers;
	q.payload = SIGN_UNSIGNED;
	q.region = s[7];
	q.service = "s3";
	q.date = date;
	k.access = s[8];
	k.secret = s[9];
	k.token = NULL;
	FUZZ_MUST(sign_v4(&out, &q, &k, &e) == 0 || e.code != 0);
	for (i = 0; i < path.len; i++)
		FUZZ_MUST(path.p[i] > ' ' && path.p[i] < 0x7f);
	for (i = 0; i < 10; i++)
		free(s[i]);
	buf_free(&path);
	buf_free(&query);
	buf_free(&out);
}

void
fuzz_cred(const unsigned char *p, size_t n)
{
	struct cred_conf	 c;
	struct cred		*k;
	struct sign_keys	 keys;
	struct err		 e = { 0, "" };
	const unsigned char	*part;
	size_t			 len;

	len = fuzz_part(&p, &n, &part);
	(void)net_date((const char *)part, len);
	fuzz_put("config", part, len);
	len = fuzz_part(&p, &n, &part);
	fuzz_put("credentials", part, len);
	(void)setenv("AWS_CONFIG_FILE", fuzz_path("config"), 1);
	(void)setenv("AWS_SHARED_CREDENTIALS_FILE", fuzz_path("credentials"),
	    1);
	(void)setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
	if (cred_conf_load(&c, "default", &e) == -1) {
		FUZZ_MUST(e.code != 0);
		return;
	}
	FUZZ_MUST(c.region != NULL && *c.region != '\0');
	k = cred_new(&c);
	(void)cred_get(k, &keys, &e);
	cred_free(k);
	cred_conf_clear(&c);
}
